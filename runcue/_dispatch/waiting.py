"""Who waits for whom: those who wait for work units, and handlers that only wait for others of their own cue.

Lives here: `Waiting`, where one waits for a work unit to settle; and `awaits_only_work`, the question behind the
deadlock verdict, which follows a suspended handler to what it awaits: a result or wait of a handle, directly, in a task
of its own, through `asyncio.gather` or an `asyncio.TaskGroup`. asyncio has no public way to ask what a task awaits, so
this reads two of its private attributes, and where they are missing, or for anything else (`asyncio.wait`, an event of
your own), the handler counts as moving: a missed verdict is a wait, a wrong one would kill healthy work.

Must not know: how work units are run or settled.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from runcue._dispatch.in_flight import InFlight
from runcue._dispatch.turns import Turns
from runcue._handlers.outputs import owner_of
from runcue._model.current import CURRENT
from runcue._model.phases import SETTLED
from runcue._model.work import Work
from runcue._scheduling.core import Core

__all__ = ["Waiting", "awaits_only_work"]

Awaiting = Mapping[Any, "asyncio.Future[Any]"]


class Waiting:
    """Those who wait for work units of one cue.

    Args:
        cue: What `CURRENT` is set to in this cue's own code.
        core: Its state, which has to know what the handlers of running work units await.
        turns: The turns of its loop.
        in_flight: Its handlers in flight.
    """

    def __init__(self, cue: object, core: Core, turns: Turns, in_flight: InFlight) -> None:
        self._cue = cue
        self._core = core
        core.holds.awaited_by = self.awaited_by
        self._turns = turns
        self._in_flight = in_flight
        # Which asyncio tasks of this cue's own code wait for which work units.
        self._awaiting: dict[asyncio.Task[Any], asyncio.Future[BaseException | None]] = {}
        # And which work units these are.
        self._awaited: dict[asyncio.Future[Any], Work] = {}

    async def settled(self, work: Work) -> BaseException | None:
        """Wait until a work unit has settled. Returns the very error of a failed one to the first who waits.

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
        if work._waiters is None:
            work._waiters = [future]
        else:
            work._waiters.append(future)
        inside: object = CURRENT.get()
        me = asyncio.current_task()
        if inside is self._cue and me is not None:
            self._awaiting[me] = future
            self._awaited[future] = work
            self._core.wakeups.reconsider(held_by_running=True)
            self._turns.wake()
        try:
            return await future
        finally:
            if me is not None:
                self._awaiting.pop(me, None)
                self._awaited.pop(future, None)
            if work._waiters is not None:  # given up: somebody may ask like this for ever
                work._waiters.remove(future)

    def awaiting(self) -> list[Work]:
        """Running work units whose handlers only wait for others of this cue that have not settled."""
        if not self._awaiting:
            return []
        return [
            work
            for work, steps in self._in_flight.works.items()
            if awaits_only_work(work._runner, steps, self._awaiting)
        ]

    def awaited_by(self, work: Work) -> list[Work]:
        """The work units of this cue whose ends the handler of a running one awaits."""
        if not self._awaiting:
            return []
        return [
            self._awaited[future]
            for run, steps in self._in_flight.works.items()
            if (run is work or owner_of(run) is work)
            for future in _futures_of(run._runner, steps, self._awaiting)
        ]

    def active(self) -> int:
        """How many handlers in flight do not merely wait for another work unit of this cue.

        One that was abandoned counts while somebody waits for what it makes.
        """
        active = len(self._in_flight.works) - len(self.awaiting())
        for run in self._in_flight.late:
            declared = owner_of(run)._declared
            active += declared is not None and bool(self._core.dependencies.awaited_of(declared))
        return active

    def fail(self, works: Iterable[Work]) -> None:
        """The scheduler has failed: whoever waits for one of these gets `CueFailed`."""
        for work in works:
            for waiter in work._waiters or ():
                if not waiter.done():
                    waiter.set_exception(self._turns.failed())
            work._waiters = None

    def abandon(self) -> None:
        """The loop has ended, and all who waited in it."""
        self._awaiting.clear()
        self._awaited.clear()


def awaits_only_work(task: Any, steps: Any, awaiting: Awaiting) -> bool:
    """Whether an asyncio task waits for work units that have not settled, and for nothing else.

    Args:
        task: A suspended task.
        steps: The coroutine that it runs.
        awaiting: What tasks wait for work units, and the futures they wait on.
    """
    future = awaiting.get(task)
    if future is not None:
        return not future.done()
    awaited = getattr(task, "_fut_waiter", None)
    if isinstance(awaited, asyncio.Task):
        return awaits_only_work(awaited, awaited.get_coro(), awaiting)
    children = getattr(awaited, "_children", None)  # asyncio.gather
    if children is None:
        children = _group_members(steps)
    open_ones = [child for child in children if not child.done()]
    return bool(open_ones) and all(_child_waits(child, awaiting) for child in open_ones)


def _futures_of(task: Any, steps: Any, awaiting: Awaiting) -> Iterator[asyncio.Future[Any]]:
    """The futures that a suspended asyncio task waits on, by itself or through others, until work units settle."""
    future = awaiting.get(task)
    if future is not None:
        yield future
        return
    awaited = getattr(task, "_fut_waiter", None)
    children = [awaited] if isinstance(awaited, asyncio.Task) else getattr(awaited, "_children", None)
    for child in _group_members(steps) if children is None else children:
        if isinstance(child, asyncio.Task) and not child.done():
            yield from _futures_of(child, child.get_coro(), awaiting)


def _child_waits(child: Any, awaiting: Awaiting) -> bool:
    return isinstance(child, asyncio.Task) and awaits_only_work(child, child.get_coro(), awaiting)


def _group_members(steps: Any) -> list[Any]:
    """The tasks of the TaskGroup whose end a coroutine awaits, none if it awaits something else."""
    while steps is not None:
        frame = getattr(steps, "cr_frame", None)
        owner = frame.f_locals.get("self") if frame is not None else None
        if isinstance(owner, asyncio.TaskGroup):
            return list(getattr(owner, "_tasks", ()))
        steps = getattr(steps, "cr_await", None)
    return []
