"""Which cue's code is running here: how a call knows that it comes from inside.

Lives here: one context variable. Handlers, gates, listeners and the tasks and threads they spawn see it set; that is
how `submit()` is still allowed from inside while a cue drains, and why `drain()` is not. It is set in the contexts
that they run in, once per context and not once per work.

Must not know: what is done with the answer.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

__all__ = ["CURRENT"]

CURRENT: ContextVar[Any] = ContextVar("runcue_current", default=None)
"""The dispatcher whose code this is, None outside of all cues."""
