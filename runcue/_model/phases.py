"""Where a work unit is, and how it can end.

Lives here: the states that users see, the finer phases behind them and the outcomes.

Must not know: which phase may follow which (that is `_scheduling.transitions`).
"""

from __future__ import annotations

from enum import Enum
from typing import Final

__all__ = ["OUTCOMES", "PHASES", "STATES", "WorkState"]


class WorkState(Enum):
    """What a user sees of a work unit's life."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


# Where a work unit is, finer than its state; plain ints because the core compares them on its hottest path.
NEW: Final = 0
"""Pending, not asked yet."""
READY: Final = 1
"""Pending, both questions were answered yes; waits for a slot or a token."""
NOT_READY: Final = 2
"""Pending, is_ready said no."""
CHECKING: Final = 3
"""Pending, an async gate is being awaited; holds a slot."""
HELD: Final = 4
"""Pending, another work unit makes one of its inputs; not asked before that has settled."""
JOINED: Final = 5
"""Settles with another work unit that makes the same; never asked, never started."""
NOT_DUE: Final = 6
"""Pending, may not begin or go on before an instant: it is delayed, or was put back; holds nothing, asked by nobody."""
RUNNING: Final = 7
"""The handler runs."""
SETTLED: Final = 8
"""Completed, failed, skipped or cancelled."""
PHASES: Final = ("new", "ready", "not_ready", "checking", "held", "joined", "not_due", "running", "settled")
"""Their names. What comes before RUNNING is pending."""


# How a work unit can end; indexes into what is kept per outcome.
COMPLETED: Final = 0
SKIPPED: Final = 1
FAILED: Final = 2
CANCELLED: Final = 3
OUTCOMES: Final = ("completed", "skipped", "failed", "cancelled")

STATES: Final = (WorkState.COMPLETED, WorkState.COMPLETED, WorkState.FAILED, WorkState.CANCELLED)
