"""Who looked at what: artifacts that are asked inside a gate write themselves down, so that the asker hears of them.

Must not know: what an artifact is, who asks.
"""

from __future__ import annotations

from collections.abc import Hashable
from contextvars import ContextVar
from typing import Any

__all__ = ["OVERLAY", "READS"]

READS: ContextVar[dict[Hashable, Any] | None] = ContextVar("runcue_reads", default=None)
"""Where artifacts that are asked write themselves down, None outside of gates."""

OVERLAY: ContextVar[Any] = ContextVar("runcue_overlay", default=None)
"""What answers for artifacts that gates ask, in a cue that is rehearsed (`runcue.rehearsal.Overlay`); usually None."""
