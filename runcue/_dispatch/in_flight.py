"""Handlers in flight, and the slots that they hold.

Lives here: `InFlight`: which handlers have not returned, whether their work units have settled or not; giving slots
back. A thread cannot be ended, so its slot stays taken until it has returned, whether somebody waits for it or not, and
after a stop and the next start as well; so long it also remains the producer of what it makes.

Must not know: how handlers are started, or what their end means.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from runcue._dispatch.turns import Turns
from runcue._handlers.call_runs import CallRun
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
        works: The work units they were started for, with the coroutine of an async handler, the `CallRun` of one that
            runs in another process, and the `ThreadRun` of a sync one that makes something, or runs in an executor
            that tells nothing after its stop.
        late: Those that nobody waits for any longer although they go on: as in `works`.
    """

    __slots__ = ("_told", "_turns", "_wakeups", "late", "works")

    def __init__(self, wakeups: Wakeups, turns: Turns) -> None:
        self._wakeups = wakeups
        self._turns = turns
        self.works: dict[Work, Any] = {}
        self.late: dict[Work, Any] = {}
        # However many of these return, one callback of a loop takes them: the loop that will.
        self._told: asyncio.AbstractEventLoop | None = None

    def release(self, work: Work, now: float) -> bool:
        """A handler has returned: give back what it holds. Returns whether a service is to hear how that has ended."""
        if work in self.works:
            del self.works[work]
        elif work in self.late:
            del self.late[work]
        else:
            return False
        if work._declared is not None:
            self._wakeups.returned(owner_of(work))
        run_queue: RunQueue = work._task.run_queue
        if run_queue.sole_slots is not None:
            run_queue.sole_slots.active -= 1
            return False
        run_queue.release(now, work)
        return bool(run_queue.hears)

    def take_back(self, work: Work, now: float) -> None:
        """A handler could not be started."""
        self._count_as_entered(work, now)
        run = self.works[work]
        if run is None:
            self.release(work, now)
        else:
            self.abandon(work, now)  # an executor may have begun with it before it raised

    def abandon(self, work: Work, now: float) -> None:
        """Do not wait for a handler any longer: it could not be ended."""
        self._count_as_entered(work, now)
        if work not in self.works:
            return
        run = self.works[work]
        if work._runner is None and isinstance(run, _RUNS):
            run.give_up(self._returned)
        if _goes_on(work, run):
            self.late[work] = run
            del self.works[work]
        else:
            rollback(work, returned=True)
            self.release(work, now)

    def end(self, work: Work) -> bool:
        """Have what runs of a handler elsewhere ended, if that can be done: nobody waits for it.

        Returns:
            Whether it is heard of within a moment.
        """
        if work not in self.works or work._runner is not None:
            return False
        cancel = getattr(work._task.executor, "cancel", None)
        return cancel is not None and bool(cancel(work))

    def withdraw(self, work: Work, now: float) -> bool:
        """Take a handler back that was given to an executor and has not begun there. Returns whether it was."""
        executor = work._task.executor
        # By an executor that ends nothing, what is cancelled has not begun.
        if getattr(executor, "kills", True) or not self.end(work):
            return False
        run = self.works[work]
        if type(run) is CallRun:
            run.goes_on = False
        self.abandon(work, now)
        return True

    def _count_as_entered(self, work: Work, now: float) -> None:
        run_queue: RunQueue = work._task.run_queue
        if run_queue.limits and work._entered_at == NOT_ENTERED:
            # A thread that is late may still enter it: what that takes counts as taken.
            work._entered_at = now
            run_queue.entered(now, work, now)

    def start(self) -> None:
        """The cue was started: what has returned meanwhile holds and makes nothing any more."""
        self._told = None
        for work, run in list(self.late.items()):
            if not _goes_on(work, run):
                rollback(work, returned=True)
                self.release(work, self._turns.now())

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
    # One that is in a thread of runcue's is told of when it returns.
    return run.goes_on if isinstance(run, _RUNS) else run is None


_RUNS: Final = (CallRun, ThreadRun)
