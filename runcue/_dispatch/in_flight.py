"""Handlers in flight, and the slots that they hold.

Lives here: `InFlight`: which handlers have not returned, whether their work units have settled or not; giving slots
back. A thread cannot be ended, so its slot stays taken until it has returned, or until it is waited for no longer; and
even then it remains the producer of what it makes.

Must not know: how handlers are started, or what their end means.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from runcue._dispatch.turns import Turns
from runcue._handlers.outputs import owner_of, rollback
from runcue._handlers.thread_runs import ThreadRun
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
        turns: The turns of the loop.

    Attributes:
        works: The work units they were started for, with the coroutine of an async handler, and the `ThreadRun` of a
            sync one that makes something.
        late: Those that nobody waits for any longer although they go on, and make something: as in `works`.
    """

    __slots__ = ("_told", "_turns", "_wakeups", "late", "works")

    def __init__(self, wakeups: Wakeups, turns: Turns) -> None:
        self._wakeups = wakeups
        self._turns = turns
        self.works: dict[Work, Any] = {}
        self.late: dict[Work, Any] = {}
        # However many of these return, one callback of a loop takes them: the loop that will.
        self._told: asyncio.AbstractEventLoop | None = None

    def release(self, work: Work, now: float) -> None:
        """A handler has returned: give back what it holds."""
        if work in self.works:
            del self.works[work]
            if work._declared is not None and work not in self.late:
                self._wakeups.returned(owner_of(work))
            run_queue: RunQueue = work._task.run_queue
            if run_queue.sole_slots is not None:
                run_queue.sole_slots.active -= 1
                return
            run_queue.release(now, work)
        elif work in self.late:
            self._let_go(work)

    def abandon(self, work: Work, now: float) -> None:
        """Do not wait for a handler any longer: it could not be ended, or not be started."""
        run_queue: RunQueue = work._task.run_queue
        if run_queue.limits and work._entered_at == NOT_ENTERED:
            # A thread that is late may still enter it: what that takes counts as taken.
            run_queue.entered(now, work, now)
        if work in self.works and work._declared is not None:
            run = self.works[work]
            if work._runner is None and type(run) is ThreadRun:
                run.give_up(self._returned)
            if _goes_on(work, run):
                self.late[work] = run
            else:
                rollback(work, returned=True)
        self.release(work, now)

    def start(self) -> None:
        """The cue was started: what has returned meanwhile makes nothing any more."""
        self._told = None
        for work, run in list(self.late.items()):
            if not _goes_on(work, run):
                rollback(work, returned=True)
                self._let_go(work)

    def _let_go(self, work: Work) -> None:
        del self.late[work]
        self._wakeups.returned(owner_of(work))

    def _returned(self) -> None:
        """A sync handler has returned that was abandoned. Called in its thread."""
        loop = self._turns.loop
        if loop is not None and self._told is not loop:  # else the next start will see it
            self._told = loop
            try:
                loop.call_soon_threadsafe(self._take)
            except RuntimeError:
                pass  # that loop has ended

    def _take(self) -> None:
        self.start()  # the flag first: who returns after that tells again
        self._turns.wake()


def _goes_on(work: Work, run: Any) -> bool:
    """Whether a handler that is not waited for any longer may still change something."""
    if work._runner is not None:
        return not (work._runner.done() or work._runner.get_loop().is_closed())
    return type(run) is ThreadRun and run.goes_on
