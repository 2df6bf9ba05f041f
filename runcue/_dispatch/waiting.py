"""Who waits for work units to settle: outside, in handlers, gates and listeners, and in tasks that these spawn.

Lives here: `Waiting`, where one waits for a work unit; and what a suspended handler, gate or listener waits for, as far
as that is such a wait.

Must not know: how work units are run or settled, what it means that somebody waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from math import inf
from typing import Any

from runcue._dispatch.batch import Batch, waiters_of
from runcue._dispatch.in_flight import InFlight
from runcue._dispatch.suspension import Suspension, read
from runcue._dispatch.turns import Turns
from runcue._handlers.outputs import owner_of, run_of
from runcue._handlers.thread_runs import ThreadRun
from runcue._model.current import CURRENT
from runcue._model.phases import CHECKING, SETTLED
from runcue._model.work import Work
from runcue._scheduling.core import Core

__all__ = ["Waiting"]


class Waiting:
    """Those who wait for work units of one cue.

    Args:
        cue: What `CURRENT` is set to in this cue's own code.
        core: Its state, which has to know what the handlers of running work units await.
        turns: The turns of its loop.
        in_flight: Its handlers in flight.

    Attributes:
        awaited: What this cue's own code waits for, by the futures of those waits. While it is empty, nobody has to ask
            what handlers wait for.
        threads: The asyncio tasks that sync handlers wait for, blocked in a call of runcue's own.
        fed: The batches of which nothing is left to settle, and whose takers wait for what somebody may bring.
        resting: The asyncio tasks that wait for the cue to come to rest. They let nobody in it go on before it has.
    """

    def __init__(self, cue: object, core: Core, turns: Turns, in_flight: InFlight) -> None:
        self._cue = cue
        self._core = core
        core.holds.awaited_by = self.all_awaited_by
        self._turns = turns
        self._in_flight = in_flight
        self.awaited: dict[asyncio.Future[Any], Work | Batch] = {}
        self.threads: dict[Work, asyncio.Task[Any]] = {}
        self.fed: set[Batch] = set()
        self.resting: set[asyncio.Task[Any] | None] = set()

    async def settled(self, work: Work) -> BaseException | None:
        """Wait until a work unit has settled. Returns the very error of a failed one to the first who waits.

        The names `self` and `work` are read out of its frame, by `_end_of`.

        A handler that waits here for a work unit of its own cue does not count as moving: if nothing else can move
        either, that is a deadlock.

        Raises:
            CueFailed: The scheduler failed.
        """
        if work._phase == SETTLED:
            return None
        if self._turns.failure is not None:
            raise self._turns.failed()
        future: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()
        waiters_of(work)[future] = None
        inside: object = CURRENT.get()
        if inside is self._cue:
            self._note_wait(future, work)
        try:
            return await future
        finally:
            if self.awaited.pop(future, None) is not None and work._phase != SETTLED:
                self._turns.wake()  # who has given up waiting goes on
            if type(work._waiters) is dict:  # given up: somebody may ask like this for ever
                work._waiters.pop(future, None)

    def _note_wait(self, future: asyncio.Future[Any], awaited: Work | Batch) -> None:
        """This cue's own code waits for something."""
        self.awaited[future] = awaited
        self._core.wakeups.reconsider(held_by_running=True)
        self._turns.wake()

    async def followed(self, batch: Batch, *, all_of_them: bool = False) -> None:
        """Wait until the next work unit of a batch can be taken, or until something else lets all look who wait.

        The names `self`, `batch` and `all_of_them` are read out of its frame, by `_end_of`. For a handler it is as for
        `settled`.

        Args:
            batch: Some of it have not settled, or there is somebody who may bring others.
            all_of_them: Until all of it have settled.

        Raises:
            CueFailed: The scheduler failed.
        """
        if self._turns.failure is not None:
            raise self._turns.failed()
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiters = batch.stayers if all_of_them else batch.takers
        waiters.append(future)
        inside: object = CURRENT.get()
        if not batch.open:
            self.fed.add(batch)
        elif inside is self._cue:
            self._note_wait(future, batch)
        try:
            await future
        finally:
            self.fed.discard(batch)
            if future in waiters:  # given up
                waiters.remove(future)
            if self.awaited.pop(future, None) is not None:
                self._turns.wake()
        if self._turns.failure is not None:
            raise self._turns.failed()

    def read(self, task: Any, steps: Any = None, most: float = inf) -> Suspension:
        """What a suspended asyncio task waits for; at its ends are work units of this cue.

        Args:
            task: The task.
            steps: Its coroutine, if only a part of that matters.
            most: No more is read once so many of these were found.
        """
        return read(task, task.get_coro() if steps is None else steps, self._end_of, self.resting, most)

    def read_handler(self, run: Work, most: float = inf) -> Suspension | None:
        """What a handler in flight waits for; None if it is in a thread, and not known to be blocked.

        Args:
            run: The work unit that it was started for.
            most: As for `read`.
        """
        if run._runner is None:
            task = self.threads.get(run)
            return None if task is None else self.read(task, most=most)
        steps = self._in_flight.works.get(run)
        return self.read(run._runner, None if type(steps) is ThreadRun else steps, most)

    def _end_of(self, coroutine: Any) -> Suspension | None:
        """For what a suspended coroutine waits, if it is `settled` or `followed` that is suspended."""
        code = getattr(coroutine, "cr_code", None)
        if code is not _SETTLED and code is not _FOLLOWED:
            return None
        there = coroutine.cr_frame.f_locals
        if there["self"] is not self:
            return None
        if code is _SETTLED:
            return Suspension([there["work"]], None, set(), [], [])
        batch: Batch = there["batch"]
        works = batch.awaited(all_of_them=there["all_of_them"])
        return Suspension(works, None, set() if batch.feeder is None else {batch.feeder}, [], [])

    def awaited_works(self) -> list[Work]:
        """The work units that this cue's own code waits for; of a batch the first of them."""
        works = (
            next(iter(one.awaited(all_of_them=False)), None) if isinstance(one, Batch) else one
            for one in self.awaited.values()
        )
        return list(dict.fromkeys(work for work in works if work is not None and work._phase != SETTLED))

    def all_awaited_by(self, work: Work) -> list[Work]:
        """All of those of `awaited_by`."""
        return self.awaited_by(work, inf)[0]

    def awaited_by(self, work: Work, most: float) -> tuple[list[Work], bool]:
        """The work units of this cue whose ends the handler of a running one awaits, or the gate of one being asked.

        Args:
            work: That one.
            most: About so many are looked for.

        Returns:
            Those, and whether these are all.
        """
        found = None
        if not self.awaited:
            return [], True
        if work._phase == CHECKING:
            found = None if work._runner is None else self.read(work._runner, most=most)
        elif (run := run_of(work)) in self._in_flight.works:
            found = self.read_handler(run, most)
        return ([], True) if found is None else (found.ends, len(found.ends) < most)

    def wake_fed(self) -> None:
        """Nothing may come in any more: whoever waits for what would is to look whether that is so."""
        for batch in list(self.fed):
            batch.wake()

    def fail(self, works: Iterable[Work]) -> None:
        """The scheduler has failed: whoever waits for one of these, or for others to come, gets `CueFailed`."""
        self.wake_fed()
        for work in works:
            for waiter, followed in waiters_of(work).items():
                if followed is not None:
                    waiter.wake()
                elif not waiter.done():
                    waiter.set_exception(self._turns.failed())
            work._waiters = None

    def abandon(self) -> None:
        """The loop has ended, and all who waited in it."""
        for work in [*self._core.pending_works(), *map(owner_of, self._in_flight.works)]:
            waiters = waiters_of(work)
            for waiter, followed in list(waiters.items()):
                if followed is not None or waiter.get_loop().is_closed():
                    del waiters[waiter]
        self.awaited.clear()
        self.fed.clear()
        self.threads.clear()


_SETTLED = Waiting.settled.__code__
_FOLLOWED = Waiting.followed.__code__
