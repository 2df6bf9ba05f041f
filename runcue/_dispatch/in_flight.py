"""Handlers in flight, and the slots that they hold.

Lives here: `InFlight`: which handlers have not returned, whether their work units have settled or not; giving slots
back. A thread cannot be ended, so its slot stays taken until it has returned.

Must not know: how handlers are started, or what their end means.
"""

from __future__ import annotations

from typing import Any, Final

from runcue._handlers.outputs import owner_of
from runcue._model.work import Work
from runcue._scheduling.run_queue import RunQueue
from runcue._scheduling.wakeups import Wakeups

__all__ = ["NOT_ENTERED", "InFlight"]

NOT_ENTERED: Final = -1.0
"""Where a thread has not told yet when it entered the handler."""


class InFlight:
    """Handlers in flight beyond one step.

    Args:
        wakeups: Hears when a handler has returned that had outlived its work unit.

    Attributes:
        works: The work units they were started for, with the coroutine of an async handler.
    """

    __slots__ = ("_wakeups", "works")

    def __init__(self, wakeups: Wakeups) -> None:
        self._wakeups = wakeups
        self.works: dict[Work, Any] = {}

    def release(self, work: Work, now: float) -> None:
        """A handler has returned: give back what it holds."""
        if work in self.works:
            del self.works[work]
            if work._declared is not None:
                self._wakeups.returned(owner_of(work))
            run_queue: RunQueue = work._task.run_queue
            if run_queue.sole_slots is not None:
                run_queue.sole_slots.active -= 1
                return
            run_queue.release(now, work)

    def abandon(self, work: Work, now: float) -> None:
        """Do not wait for a handler any longer: it could not be ended."""
        run_queue: RunQueue = work._task.run_queue
        if run_queue.limits and work._entered_at == NOT_ENTERED:
            # A thread that is late may still enter it: what that takes counts as taken.
            run_queue.entered(now, work, now)
        self.release(work, now)
