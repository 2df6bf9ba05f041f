"""Handlers in flight, and the slots that they hold.

Lives here: `InFlight`: which handlers have not returned, whether their work units have settled or not; giving slots
back. A thread cannot be ended, so its slot stays taken until it has returned.

Must not know: how handlers are started, or what their end means.
"""

from __future__ import annotations

from typing import Any, Final

from runcue._model.work import Work
from runcue._scheduling.run_queue import RunQueue

__all__ = ["NOT_ENTERED", "InFlight"]

NOT_ENTERED: Final = -1.0
"""Where a thread has not told yet when it entered the handler."""


class InFlight:
    """Handlers in flight beyond one step.

    Attributes:
        works: The work units they were started for, with the coroutine of an async handler.
    """

    __slots__ = ("works",)

    def __init__(self) -> None:
        self.works: dict[Work, Any] = {}

    def release(self, work: Work) -> None:
        """A handler has returned: give its slots back."""
        if work in self.works:
            del self.works[work]
            run_queue: RunQueue = work._task.run_queue
            if run_queue.sole_slots is not None:
                run_queue.sole_slots.active -= 1
                return
            for service in run_queue.services:
                service.release()

    def record_start(self, work: Work, entered: float, now: float) -> None:
        """A handler was entered: its tokens count from that instant, which was told now."""
        for service in work._task.run_queue.services:
            service.record_start(entered, now)

    def abandon(self, work: Work, now: float) -> None:
        """Do not wait for a handler any longer: it could not be ended."""
        if work._task.run_queue.rate_limited and work._entered_at == NOT_ENTERED:
            self.record_start(work, now, now)
        self.release(work)
