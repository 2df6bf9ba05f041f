"""Whether what runs goes on by itself, and who does not: handlers, gates and listeners that wait for each other.

A handler goes on by itself unless it waits for work units of its cue and for nothing else. A time-out around its wait,
`timeout=` of its task, `pending_timeout=` of what it waits for, or a task, thread or process that it has spawned and
holds will let it go on, too; that is looked for only in those that seem to stand still. What does not tell what it
waits for goes on: a thread, a socket, an event.

Nothing is asked while nobody in the cue waits for a work unit. While many do, the question whether anything goes on is
answered by who did so the last time, then by the one that was started last: mostly that is a child of those who wait.

Lives here: `Standstill`: whether anything goes on (`active`), being told when that may have changed (`watch`), and the
knots of those that do not (`find`).

Must not know: what is said of that and when, or what becomes of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from itertools import chain
from math import inf
from typing import Any, Final, NamedTuple

from runcue._dispatch.awaited_gates import AwaitedGates
from runcue._dispatch.in_flight import InFlight
from runcue._dispatch.listening import Lines
from runcue._dispatch.suspension import MOVING, Suspension, beside
from runcue._dispatch.timers import Alarm, Timers
from runcue._dispatch.turns import Turns
from runcue._dispatch.waiting import Waiting
from runcue._handlers.outputs import owner_of
from runcue._limits.service import Service
from runcue._model.phases import CHECKING, RUNNING, SETTLED
from runcue._model.texts import name_of
from runcue._model.work import Work
from runcue._scheduling.core import Core
from runcue._scheduling.knots import Knot, Wait, Waiter, find
from runcue._scheduling.lines import services_for
from runcue._scheduling.run_queue import RunQueue
from runcue._scheduling.selection import STARVED_AFTER

__all__ = ["Standstill"]

MARGIN: Final = 0.1
"""Seconds between an instant and the look that finds out whether what was to happen then has let somebody go on."""

_GRAIN: Final = 0.05
"""Timers that are further apart than that come in their order, however coarse the clock of the loop is."""

_AGAIN_AFTER: Final = 0.5
"""Seconds until it is looked again whether a thread or a process that somebody holds goes on."""

_SOME: Final = 100
"""So many of those that somebody waits for mostly tell that it goes on."""

_EVER: Final = 1e8
"""Seconds; what is further away than three years is an instant of some other clock."""


class _Beside(NamedTuple):
    """What may let somebody go on who seems to stand still.

    Attributes:
        until: The first instant at which something will; inf if none is known.
        by: What else may, for people; "" if nothing may.
        works: Work units that tasks wait for which it holds.
        moving: What the first of these tasks waits for.
    """

    until: float
    by: str
    works: tuple[Work, ...]
    moving: Any


class Standstill:
    """Asks those who run in one cue.

    Args:
        core: The state.
        waiting: Who waits for work units.
        in_flight: Handlers in flight.
        gates: Async gates that are being awaited.
        lines: Async listeners.
        turns: The turns of the loop.
        timers: Where handlers' time-outs wait.
    """

    def __init__(
        self,
        core: Core,
        waiting: Waiting,
        in_flight: InFlight,
        gates: AwaitedGates,
        lines: Lines,
        turns: Turns,
        timers: Timers,
    ) -> None:
        self._core = core
        self._waiting = waiting
        self._in_flight = in_flight
        self._gates = gates
        self._lines = lines
        self._turns = turns
        self._timers = timers
        # The handler that was seen to go on last.
        self._witness: Work | None = None
        # Why it does, as was found last: the future it waits for, or when it will.
        self._cause: Any = None
        self._until = inf
        self._watched: Any = None
        self._alarm = Alarm(timers, lambda now: None)

    def active(self) -> bool:
        """Whether a handler in flight goes on by itself.

        One that was abandoned counts while somebody waits for its slot, or for what it makes.
        """
        works = self._in_flight.works
        if not works:
            return self._is_late()
        if not self._waiting.awaited:
            return True
        witness = self._witness
        if witness is not None and witness in works and self._goes_on(witness, thorough=True):
            return True
        for thorough in (False, True):
            for run in reversed(works):
                if self._goes_on(run, thorough=thorough):
                    self._witness = run
                    return True
        self._witness = None
        return self._is_late()

    def _is_late(self) -> bool:
        for run in self._in_flight.late:
            run_queue: RunQueue = run._task.run_queue
            if run_queue.free_slots(run) <= 0 and any(
                one.backlog() for one in (run_queue, *run_queue.contenders)
            ):
                return True
            declared = owner_of(run)._declared
            if declared is not None and self._core.dependencies.awaited_of(declared):
                return True
        return False

    def _goes_on(self, run: Work, *, thorough: bool) -> bool:
        return self._is_moving(self._waiting.read_handler(run), owner_of(run), thorough=thorough)

    def listening(self) -> bool:
        """Whether an async listener has something left to do and does not merely wait for work units."""
        if not self._waiting.awaited:
            return bool(self._lines)
        return any(self._is_moving(self._waiting.read(one.task), None) for one in self._lines.served())

    def _is_moving(self, found: Suspension | None, work: Work | None, *, thorough: bool = True) -> bool:
        self._cause, self._until = None, inf
        if found is None:
            return True
        if found.moving is not None or not found.ends:
            self._cause = found.moving
            return True
        if not thorough:
            return False
        other = self.beside(found, work)
        self._cause, self._until = other.moving, other.until
        if other.by and other.moving is None:  # which nobody tells when it ends
            self._until = min(self._until, self._turns.now() + _AGAIN_AFTER)
        return bool(other.by) or other.until < inf

    def beside(self, found: Suspension, work: Work | None) -> _Beside:
        """What else may let somebody go on who waits for work units.

        Args:
            found: What it waits for.
            work: Whose handler it is, if it is one.
        """
        now = self._turns.now()
        # Not what is past by the clock: while the loop lags behind, a time-out may be due and still on its way.
        origin = 0.0 if self._turns.loop is None else now - self._turns.loop.time()
        end = beside(found, self._timers.reached - _GRAIN - origin)
        until, by = (end.when + origin if end.when < now + _EVER else inf), end.outside
        if work is not None:
            until = min(until, self._timers.active.when(work))
        moving, works = None, list[Work]()
        for task in end.tasks:
            there = self._waiting.read(task)
            if there.moving is None and not there.ends and not there.tasks.isdisjoint(self._waiting.resting):
                continue
            if there.moving is not None or not there.ends:
                by = by or _words_of_task(task)
                moving = moving or there.moving
            works += there.ends
        if self._core.timeouts is not None:
            until = min(until, *map(self._core.timeouts.due, (*found.ends, *works)), inf)
        return _Beside(until, by, tuple(works), moving)

    def watch(self) -> None:
        """Have everything looked at when that may have ended which was the last to go on.

        Whatever happens to work units is known anyway. But a handler that comes to wait for a task which waits for one
        already makes no difference to anything but itself.
        """
        if not self._waiting.awaited:
            return
        cause = self._cause
        if cause is MOVING and self._turns.loop is not None:
            cause = self._turns.loop.create_future()
            cause.set_result(None)
        if cause is not None and cause is not self._watched:
            self._watched = cause
            cause.add_done_callback(self._changed)
        if self._until < inf:
            self._alarm.set(max(self._until, self._turns.now()) + MARGIN)

    def watch_no_longer(self) -> None:
        """Nobody has to be told any more when something may have ended."""
        self._alarm.clear()

    def _changed(self, future: asyncio.Future[Any]) -> None:
        if self._watched is future:
            self._watched = None
        self._turns.wake()

    def everybody(self) -> set[Any]:
        """What makes those that may wait themselves; see `Waiter.key`."""
        gates = (work._runner for work in self._gates.works())
        listeners = (one.task for one in self._lines.served())
        return {*self._in_flight.works, *gates, *listeners}

    def abandon(self) -> None:
        """The loop has ended."""
        self._witness = self._cause = self._watched = None

    def find(self, starts: Iterable[Work] | None = None) -> list[Knot]:
        """The knots of those who wait for each other.

        Args:
            starts: The work units to begin with, pending or running; by default all that somebody in the cue waits for.
        """
        if not self._waiting.awaited:
            return []
        return [knot for knot in self._find(starts) if not _kept_from(knot)]

    def untie(self) -> None:
        """Let pass what is kept from starting in favour of a work unit that waits for just that.

        A work unit that needs several services and has waited for too long has slots left free for it. If who holds
        the others waits for what needs such a slot, all would wait for ever.
        """
        if not self._waiting.awaited or all(one.held_for is None for one in self._core.run_queues.values()):
            return
        for starving in {one for knot in self._find(None) for one in _kept_from(knot)}:
            starving.let_pass(self._turns.now() + STARVED_AFTER)
            self._turns.wake()

    def _find(self, starts: Iterable[Work] | None) -> list[Knot]:
        whole = starts is None
        some = list(self._waiting.awaited_works() if starts is None else dict.fromkeys(starts))
        if not whole:
            # Who can go on by one of some of those that it waits for can: mostly that is seen of the first.
            survey = self._survey(_SOME)
            if not find(self._core, survey, [work for work in some if work._phase != SETTLED]):
                return []
        survey = self._survey()
        begin: list[Waiter | Work] = [work for work in some if work._phase != SETTLED]
        knots = find(self._core, survey, begin)
        if knots and whole:
            # Those who wait for them without holding anything that is wanted.
            begin += survey.everybody()
            knots = find(self._core, survey, begin)
        others = [survey.look_beside(waiter) for knot in knots for waiter in knot.waits]
        if not any(others):
            return knots
        proven = find(self._core, survey, begin)
        stuck = {waiter for knot in proven for waiter in knot.waits}
        for knot in knots:
            waits = {waiter: works for waiter, works in knot.waits.items() if waiter not in stuck}
            if waits:
                until, by = survey.end_of(waits)
                works = {work for one in proven for work in one.works}
                left = tuple(work for work in knot.works if work not in works)
                proven.append(Knot(waits, left, knot.services, until, by))
        return proven

    def _survey(self, most: float = inf) -> _Survey:
        now = self._turns.now()
        return _Survey(self, self._waiting, self._in_flight, self._gates, self._lines, now, most)


class _Survey:
    """Who waits for what at one instant; see `knots.Situation`."""

    def __init__(
        self,
        standstill: Standstill,
        waiting: Waiting,
        in_flight: InFlight,
        gates: AwaitedGates,
        lines: Lines,
        now: float,
        most: float,
    ) -> None:
        self.now = now
        # Of what each waits for, about so many are looked for.
        self._most = most
        self._standstill = standstill
        self._waiting = waiting
        self._in_flight = in_flight
        self._gates = gates
        self._lines = lines
        self._found: dict[Waiter, Suspension | None] = {}
        self._waits: dict[Waiter, Wait] = {}
        self._beside: dict[Waiter, _Beside] = {}
        self._handlers: dict[Work, Waiter] = {}
        self._asked: dict[Work, Waiter] = {}
        self._listeners: list[Waiter] | None = None
        self._holders: dict[Service, tuple[list[Work], list[Work]] | None] = {}
        # Of those whose work unit is another one by now than that which they were started for.
        self._heirs: dict[Work, Work] | None = None

    def wait_of(self, waiter: Waiter) -> Wait:
        """What somebody waits for."""
        wait = self._waits.get(waiter)
        if wait is None:
            found = self._found[waiter] = self._read(waiter)
            if found is None or found.moving is not None or not found.ends:
                wait = Wait((), True)
            else:
                wait = Wait(tuple(found.ends), False)
            self._waits[waiter] = wait
        return wait

    def _read(self, waiter: Waiter) -> Suspension | None:
        if waiter.kind == "handler":
            return self._waiting.read_handler(waiter.key, self._most)
        task = waiter.key
        return None if task is None else self._waiting.read(task, most=self._most)

    def holders(self, service: Service) -> Iterable[Waiter] | None:
        """Who holds its slots, None if that is not known of all of them."""
        if service not in self._holders:
            runs = [run for run in reversed(self._in_flight.works) if service in services_for(run)]
            asked = [work for work in self._gates.holders() if service in services_for(work)]
            self._holders[service] = (runs, asked) if len(runs) + len(asked) == service.active else None
        holders = self._holders[service]
        if holders is None:
            return None
        # Each is made only when it is looked at: mostly the first is enough.
        return chain(map(self._handler, holders[0]), map(self._gate, holders[1]))

    def runner_of(self, work: Work) -> Waiter | None:
        """The handler of a work unit that runs, or the gate of one that is being asked."""
        if work._phase == CHECKING:
            return None if work._runner is None else self._gate(work)
        if work in self._in_flight.works:
            return self._handler(work)
        if self._heirs is None:
            self._heirs = {owner_of(run): run for run in self._in_flight.works if run._declared is not None}
        run = self._heirs.get(work)
        return None if run is None else self._handler(run)

    def _handler(self, run: Work) -> Waiter:
        waiter = self._handlers.get(run)
        if waiter is None:
            waiter = self._handlers[run] = Waiter("handler", owner_of(run), run)
        return waiter

    def _gate(self, work: Work) -> Waiter:
        waiter = self._asked.get(work)
        if waiter is None:
            waiter = self._asked[work] = Waiter("gate", work, work._runner)
        return waiter

    def everybody(self) -> Iterator[Waiter]:
        """All who may wait."""
        yield from map(self._handler, self._in_flight.works)
        yield from map(self._gate, self._gates.works())
        if self._listeners is None:
            self._listeners = [
                Waiter("listener", one.work, one.task, one.name) for one in self._lines.served()
            ]
        yield from self._listeners

    def look_beside(self, waiter: Waiter) -> bool:
        """Whether something else may let somebody go on who was found to wait for work units only.

        From now on it counts for `wait_of`.
        """
        found = self._found[waiter]
        assert found is not None
        other = self._standstill.beside(found, waiter.work if waiter.kind == "handler" else None)
        if other.until == inf and not other.by and not other.works:
            return False
        self._beside[waiter] = other
        works = (*self._waits[waiter].works, *other.works)
        self._waits[waiter] = Wait(works, other.until < inf or bool(other.by))
        return True

    def end_of(self, waiters: Iterable[Waiter]) -> tuple[float, str]:
        """When the first of them will go on, and by what else one of them may."""
        found = [self._beside[waiter] for waiter in waiters if waiter in self._beside]
        until = min((other.until for other in found), default=inf)
        by = next((other.by for other in found if other.by), "")
        if not by and until == inf:
            works = [work for other in found for work in other.works]
            by = f"a task that waits for {name_of(works[0])}" if works else "what it waits for"
        return until, by


def _kept_from(knot: Knot) -> list[RunQueue]:
    """The run queues for whose sake work units in a knot are kept from starting."""
    run_queues: list[RunQueue] = [work._task.run_queue for work in knot.works if work._phase < RUNNING]
    return [
        one.held_for for one in run_queues if one.keeps_off_for() is not None and one.held_for is not None
    ]


def _words_of_task(task: asyncio.Task[Any]) -> str:
    """What an asyncio task is called: by its coroutine, and by its name if it was given one."""
    coroutine = getattr(task.get_coro(), "__qualname__", "")
    name = task.get_name()
    return f"the task {coroutine or name}" if name.startswith("Task-") else f"the task {name} ({coroutine})"
