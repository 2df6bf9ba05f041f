"""Workers: asyncio tasks that take work units of a run queue and run them. The hot path, from top to bottom.

How this goes about it: (1) what may start on a run queue is given to an executor, or a worker is spawned for it
(`fill`, `spawn_if_room`); (2) a worker takes one work unit after the other (`_worker`, `_work_off`), (3) begins it by
taking its first step (`_begin`), and (4) if the handler has suspended, carries it on to its end
(`_carry_on`).

Shape of the hot path: a worker goes on until its run queue is dry or a handler has suspended. A handler that never
suspends costs no task of its own; one that suspends ends its worker's reuse, so that nothing keyed to `current_task()`
leaks from one work unit into the next. Each work unit runs in its own copy of the contextvars of its submission. A
Task exists only where a slot is free, none is parked; each worker starts the next while work remains.

Must not know: how limits are kept, in which order work units come, what becomes of those that may not start.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextvars import Context
from types import CoroutineType
from typing import Any, Final

from runcue._callbacks.callbacks import Callbacks
from runcue._callbacks.door import BLOCKS_AFTER
from runcue._callbacks.forks import FORKS, leave, leave_suspended
from runcue._callbacks.listeners import Listeners
from runcue._callbacks.verdicts import RUN, STAYS_PENDING
from runcue._dispatch.closed_loops import dismiss
from runcue._dispatch.commits import commit_at_once
from runcue._dispatch.endings import Endings
from runcue._dispatch.gates import Gates
from runcue._dispatch.hand_off import HandOff
from runcue._dispatch.in_flight import NOT_ENTERED, InFlight
from runcue._dispatch.last_step import LastStep
from runcue._dispatch.outside_tasks import outside_tasks
from runcue._dispatch.refusals import Refusals
from runcue._dispatch.settlement import Settlement
from runcue._dispatch.timers import Timers
from runcue._dispatch.turns import Turns
from runcue._handlers.coroutines import begin_to_follow, resume
from runcue._handlers.outputs import commit_due, mark, owner_of
from runcue._model.awaitables import is_awaitable
from runcue._model.declaration import InLane
from runcue._model.events import Event
from runcue._model.phases import COMPLETED, NEW, SETTLED
from runcue._model.texts import listed, name_of
from runcue._model.work import Work
from runcue._scheduling.core import Core
from runcue._scheduling.run_queue import RunQueue
from runcue._scheduling.selection import select

__all__ = ["Workers"]

_BREAK_OFF: Final = object()
"""In the place of what is left of a handler: nothing more is to be begun in this asyncio task."""


class Workers:
    """Takes and runs the work units of a core.

    Args:
        core: The state.
        callbacks: The gates that are asked at once.
        listeners: Who hears of starts.
        gates: Where work units go that may not start.
        turns: The turns of the loop.
        timers: Where handlers' time-outs wait.
        refusals: What it means that a limit has said no.
        in_flight: Handlers in flight.
        settlement: Settles work units.
        endings: What the ends of handlers mean.
        hand_off: Takes those whose handlers do not run in the loop.
        context: The contextvars of the workers themselves.
    """

    def __init__(
        self,
        core: Core,
        callbacks: Callbacks,
        listeners: Listeners,
        gates: Gates,
        turns: Turns,
        timers: Timers,
        refusals: Refusals,
        in_flight: InFlight,
        settlement: Settlement,
        endings: Endings,
        hand_off: HandOff,
        context: Context,
    ) -> None:
        self._core = core
        self._callbacks = callbacks
        self._door = callbacks.door
        self._gate = callbacks.gate
        self._gates = gates
        self._rechecker = gates.rechecker
        self._turns = turns
        self._timers = timers
        self._refusals = refusals
        self._in_flight = in_flight
        self._settlement = settlement
        self._endings = endings
        self._hand_off = hand_off
        self._ended = LastStep(core, callbacks, turns, in_flight, settlement, endings).ended
        self._context = context
        self._listeners = listeners
        self._on_start = listeners.of[Event.START]

    def abandon(self) -> None:
        """The loop has ended: workers that are on their way yet find nothing to begin."""
        self._turns.may_start = False
        for run_queue in self._core.run_queues.values():
            run_queue.starting.clear()

    def dismiss(self) -> None:
        """The loop was closed: let go of workers that were on their way in it."""
        for run_queue in self._core.run_queues.values():
            for task in list(run_queue.starting):
                dismiss(task)

    def fill(self, run_queue: RunQueue, now: float, until: float) -> bool:
        """Start what may start on a run queue. Returns whether more is left for the next turn."""
        core = self._core
        if core.ordered and self._gates.held_back(now):
            return False  # there will be another look anyway
        run_queue.refusal = run_queue.refused_until = None
        if run_queue.short_until:
            if run_queue.short_until > now:
                return False
            run_queue.short_until = 0.0
        if run_queue.executor is None:
            self.spawn_if_room(run_queue)
        else:
            began = False
            while (work := select(run_queue, now, core.ordered)) is not None:
                began = True
                task = work._task
                if not task.gated or work._approved_in == core.generation or self._gates.may_start(work, now):
                    if task.executor is None:
                        # A contender's work is first in line. Its worker goes on with this run queue when its turn
                        # comes.
                        self._gates.enqueue(work)
                        self.spawn_if_room(task.run_queue)
                        return False
                    if not self._hand_off.give(work, self._turns.now()):
                        self._gates.enqueue(work)  # there is no thread for it: it keeps its place
                        return False
                if self._gate.cancelled:
                    self._settlement.cancel_asked()
                now = self._turns.now()
                if now > until:
                    return True
            # Those that had room until here, and may be up to date.
            asks = (began or run_queue.held_for is not None) and core.count[NEW]
            if asks and self._gates.check_new(now, until, closed=False):
                return True
        # Slots refuse nothing: they are seen to be taken.
        return run_queue.sole_slots is None and self._refusals.note(run_queue, now, until)

    def spawn_if_room(self, run_queue: RunQueue, follows: bool = False) -> None:
        """Let one more worker come, if there is work for it and a slot.

        Args:
            run_queue: Whose work units it will take.
            follows: Whether another one has just been at work on it. Then most likely rates and budgets let one more
                start, and they are asked by the one that comes: if it comes in vain, none follows it.
        """
        turns = self._turns
        if (
            run_queue.wants_worker(self._core.ordered)
            and turns.may_start
            and turns.loop is not None
            and (
                run_queue.sole_slots is not None
                or (follows and run_queue.refused_until is None and not run_queue.is_guarded)
                or self._refusals.let_come(run_queue, turns.now(), self._core.ordered)
            )
        ):
            # Not through the loop's task factory: an eager one would run the worker inside of whoever spawns it.
            worker = self._worker(run_queue)
            run_queue.starting.add(
                asyncio.Task(worker, loop=turns.loop, name="runcue", context=self._context)
            )

    async def _worker(self, run_queue: RunQueue) -> None:
        """One asyncio task that takes and runs work units."""
        turns = self._turns
        me = asyncio.current_task(turns.loop)
        assert me is not None
        run_queue.starting.discard(me)
        try:
            rest = self._work_off(run_queue, me)
            if rest is not None:
                await rest
            # One that merely ran out of time needs no more than one successor.
            if rest is not None or not run_queue.starting:
                self.spawn_if_room(run_queue, rest is not None)
            if not turns.woken:
                turns.wake()
        except GeneratorExit:
            raise
        except KeyboardInterrupt as error:
            turns.wake()
            turns.interrupt(error)
        except BaseException as error:
            turns.fail(error)

    def _work_off(  # noqa: C901 - one more call for each worker would cost more than it explains
        self, run_queue: RunQueue, me: asyncio.Task[None]
    ) -> Awaitable[None] | None:
        """Take and run work units until there are none, a handler has suspended, or the turn is over.

        Returns:
            What is left of the handler that has suspended, to be awaited.
        """
        core = self._core
        wakeups = core.wakeups
        gate = self._gate
        turns = self._turns
        core.generation += 1
        now = gate.at = turns.now()
        until = turns.slice(now)
        in_vain = True
        run_queue.refusal = None
        if wakeups.queue and turns.may_start:
            # Of whom the last one has held up some may come before all that stand in line.
            self._gates.check_woken(until)
            now = gate.at
        while turns.may_start:
            work = select(run_queue, now, core.ordered)
            if work is None:
                if in_vain:
                    self._refusals.came_in_vain(run_queue, now)
                break
            if in_vain:
                in_vain = False
                run_queue.unsure_until = 0.0
            if work._task.gated and work._approved_in != core.generation:
                verdict = gate.ask(work, now)
                if verdict is not RUN:
                    self._gates.place(work, verdict)
                    turns.wake()  # it may wait now, with nobody to look after it until this worker is through
                    # While an async gate is asked, it has the slot.
                    work = self._gates.check_batch(run_queue, until) if verdict in STAYS_PENDING else None
                now = gate.at
            if work is not None:
                if work._task.executor is not None:
                    if not self._hand_off.give(work, now):
                        self._gates.enqueue(work)
                else:
                    rest = self._begin(work, now, me, False)
                    if rest is not None:
                        return None if rest is _BREAK_OFF else rest
            if gate.cancelled:
                self._settlement.cancel_asked()
            if wakeups.queue:
                self._gates.check_woken(until)
            if wakeups.settled_causes:
                self._rechecker.follow_settlements(until)
                gate.at = turns.now()
            now = gate.at
            if now > until:
                break
        return None

    async def run_now(self, work: Work) -> None:
        """Start a work unit in the current task: its async gate has just said yes."""
        now = self._turns.now()
        if not self._turns.may_start:
            self._gates.enqueue(work)
        elif work._task.executor is not None:
            if not self._hand_off.give(work, now):
                self._gates.enqueue(work)
        else:
            me = asyncio.current_task()
            assert me is not None
            rest = self._begin(work, now, me, False)
            if rest is not None and rest is not _BREAK_OFF:
                await rest

    def _begin(  # noqa: C901, PLR0915 - one more call for each work unit would cost half a percent
        self, work: Work, now: float, me: asyncio.Task[None], started: bool
    ) -> Any:
        """Start an async handler and take its first step.

        Args:
            work: In hand.
            now: Monotonic.
            me: The asyncio task that this is done in.
            started: Whether it has been started, in another asyncio task.

        Returns:
            None if that was all of it, otherwise what is left, to be awaited; `_BREAK_OFF` if `me` must begin no more.
        """
        context: Context = work._context.copy()
        run_queue: RunQueue = work._task.run_queue
        if not started:
            attempts = work._attempts
            if attempts is not None and self._endings.may_not_begin(work, now):
                return None
            if (refused := self._core.start(work, now, now + self._turns.skew)) is not None:
                self._endings.refused(work, refused, now)
                return None
            on_begin = self._on_start if attempts is None else self._listeners.at_begin(work)
            if on_begin:
                work._entered_at = NOT_ENTERED  # who hears of the start may cancel it
                now = self._listeners.emit(on_begin.each, now, work, (work,))
        began = entered = work._entered_at = now
        left: float | None = None
        declared = work._declared
        value: Any = None
        error: BaseException | None = None
        rest: Any = None
        yielded: Any = None
        forks = FORKS.number
        try:
            if declared is not None and declared.files and not started:
                self._callbacks.declared_gate.note_start(work, declared)
                mark(work)
                entered = self._turns.now()
            if me.cancelling() and not started:
                self._begin_elsewhere(work)
                return _BREAK_OFF
            # The first step, taken by hand: StopIteration says that there was no other.
            steps = context.run(work._task.call, work)
            if type(steps) is not CoroutineType:
                steps = steps.__await__()
            yielded = context.run(steps.send, None)
            rest = steps
            if FORKS.number != forks:
                leave_suspended(f"The handler of {name_of(work)}")
        except StopIteration as stop:
            if FORKS.number != forks:
                leave(None)
            value = stop.value
            if value is not None and is_awaitable(value):
                rest, yielded, value, error = begin_to_follow(work, value, context, self._door)
            # One that has declared nothing may have written all the same.
            if (
                (declared := work._declared) is not None
                and (declared.files or declared.transaction is not None)
                and rest is None
                and error is None
                and (due := commit_due(work))
            ):
                left = self._turns.now()
                rest, error = commit_at_once(work, value, due, self._door)
        except BaseException as raised:
            if FORKS.number != forks:
                leave(raised)
            error = raised
        now = self._turns.now()
        if now - entered > BLOCKS_AFTER:
            self._door.blocked_by_handler(work, entered, now if left is None else left)
        # After the first step, not before it: whatever instant the handler itself took is earlier than the stamp.
        if run_queue.limits:
            if run_queue.is_guarded:
                outside_tasks(self._turns.loop, run_queue.entered, now, work, now)
            else:
                run_queue.entered(now, work, now)
        if rest is not None:
            return self._carry_on(work, rest, yielded, context, me)
        if run_queue.sole_slots is not None:
            run_queue.sole_slots.active -= 1
        else:
            run_queue.release(now, work)
            if run_queue.hears and error is None and work._declared is None and work._phase != SETTLED:
                run_queue.hear(now, work, "passed")
        if work._declared is not None and (
            type(work._declared) is not InLane
            or work._phase == SETTLED
            or work._declared.transaction is not None
        ):
            self._endings.of_handler(work, value, error, now, now - began)
        elif work._phase == SETTLED:  # it has cancelled itself
            self._gate.at = now
        elif error is None:
            self._settlement.settle(work, COMPLETED, now, value, now - began, None)
            return None
        else:
            self._endings.failed(work, error, now - began)
        if type(error) is KeyboardInterrupt:
            self._turns.interrupt(error)
            return _BREAK_OFF
        return None

    def _begin_elsewhere(self, work: Work) -> None:
        """Take the first step of a handler in an asyncio task of its own.

        The one that has started it was cancelled in this very step: by who was asked or told about it, or by the
        handler before it. None of these means this handler.
        """
        places = [*self._gate.places(work._task), *(listener.place for listener in self._on_start)]
        places += dict.fromkeys(listener.place for audience in self._listeners.ends for listener in audience)
        places += [name for limit in work._task.run_queue.limits if (name := getattr(limit, "name", ""))]
        if work._declared is not None:
            places.append(f"what task {work.task!r} declares")
        if places:  # else it was the handler before it, which may
            self._door.cancelled(places[0] if len(places) == 1 else f"One of {listed(places, 3)}", work)

        async def begin() -> None:
            if work._runner is not task:
                return
            work._runner = None
            del self._in_flight.works[work]
            rest = self._begin(work, self._turns.now(), task, True)
            if rest is not None and rest is not _BREAK_OFF:
                await rest
            self._turns.wake()

        def gone(task: asyncio.Task[None]) -> None:
            # One that is cancelled before its first step never runs any of its code.
            if work._runner is task and work in self._in_flight.works:
                self._endings.of_awaitable(work, None, asyncio.CancelledError(), cancelled=True)
                self._turns.wake()

        task = asyncio.Task(begin(), loop=self._turns.loop, name="runcue", context=self._context)
        work._runner = task
        self._in_flight.works[work] = None
        task.add_done_callback(gone)

    def _carry_on(
        self, work: Work, steps: Any, yielded: Any, context: Context, me: asyncio.Task[None]
    ) -> Awaitable[None]:
        """Carry an async handler that has suspended on to its end, in the asyncio task `me`."""
        work._runner = me
        self._in_flight.works[work] = steps
        owner = work
        if work._declared is not None:
            owner = owner_of(work)
            owner._runner = me
        if owner._phase == SETTLED:  # it has cancelled itself in its first step
            me.cancel()
        elif work._task.timed:
            # Only now: most handlers that have a limit are through in their first step.
            self._timers.active.set(owner, work._entered_at + work._timeout)
            self._turns.wake()  # arms the timer
        run_queue: RunQueue = work._task.run_queue
        sole = run_queue.sole_service
        if sole is None or sole.active < sole.concurrent:
            # Nearly always enough workers are on their way, which is seen without a call.
            if sole is None or sole.active + len(run_queue.starting) < sole.concurrent:
                self.spawn_if_room(run_queue, True)
            if not self._turns.woken:
                self._turns.wake()
        return resume(steps, yielded, context, work, self._door, self._ended)
