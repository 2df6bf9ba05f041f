"""The async shell: what turns the core's decisions into running handlers.

Lives here: the pump, which looks at everything once after a cause; workers, which take work after work; threads' work
units; settling; and who waits for whom. Together with the timers, gates and lines it owns, this is the only place
with asyncio tasks and timers.

The loop runs for two reasons only: something happened (`wake`), or a computed instant arrived. There is no polling.

Shape of the hot path: a worker is an asyncio task that takes work units of a run queue and runs them until it is dry
or a handler has suspended. A handler that never suspends costs no task of its own; one that suspends ends its
worker's reuse, so that nothing keyed to `current_task()` leaks from one work unit into the next. Each work unit runs
in its own copy of the contextvars of its submission.

Must not know: how limits are kept, in which order work units come, how callbacks fail, when a cue may stop.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from inspect import isawaitable
from types import CoroutineType
from typing import Any, Final

from runcue._artifacts.artifact import READS, changed, hear_changes, others_hear, unhear_changes
from runcue._callbacks.callbacks import Callbacks
from runcue._callbacks.failures import without_frames
from runcue._callbacks.verdicts import RUN, STAYS_PENDING, discard
from runcue._dispatch.clock import clock_of
from runcue._dispatch.finishing import commit_at_once, commit_in_thread
from runcue._dispatch.gates import Gates
from runcue._dispatch.listening import Lines
from runcue._dispatch.timers import Timers
from runcue._dispatch.waiting import awaits_only_work
from runcue._handlers.coroutines import resume
from runcue._handlers.outputs import has_uncommitted, missing_output, owner_of, rollback, run_handler
from runcue._limits.service import Service
from runcue._model.current import CURRENT
from runcue._model.errors import CueFailed, HandlerExited, WorkTimeout
from runcue._model.events import Event
from runcue._model.phases import CANCELLED, COMPLETED, FAILED, NEW, NOT_READY, RUNNING, SETTLED, SKIPPED
from runcue._model.texts import words_of
from runcue._model.work import Declaration, Work
from runcue._scheduling.core import Core
from runcue._scheduling.deadlines import Deadlines
from runcue._scheduling.run_queue import RunQueue
from runcue.abc import Executor

__all__ = ["Dispatcher"]

logger = logging.getLogger("runcue")

SLICE: Final = 0.002
"""Seconds that scheduling may take in one turn of the event loop before everything else in it gets its turn."""

HOLD_BACK: Final = 0.05
"""Seconds without starts after a stranger has cancelled a handler's asyncio task."""

# Where a thread has not told yet when it entered the handler.
NOT_ENTERED: Final = -1.0


class Dispatcher:
    """Runs the work units of a core in the running event loop.

    Attributes:
        core: The state.
        callbacks: The user's code.
        timers: The instants that are waited for.
        gates: Asks work units.
        running: Work units whose handlers are in flight beyond one step, settled or not: they hold slots. With the
            coroutine of an async handler.
        failure: What made the scheduler itself fail, None as long as it works.
        closed: Nothing may start any more.
        may_start: Not closed, and not holding back because the loop seems to be ending.
        woken: Whether a look at everything is on its way.
        inside: The contextvars of everything that is run for this cue and brings none of its own.
        flags: The cells of the flags that this cue has met, by key.
        now: The monotonic clock of the loop.
        wall: Its wall clock.
        skew: What to add to `now()` for a wall-clock stamp; one clock to read per work instead of two.
        at_rest: Called after every look at everything, to see whether the cue has come to rest. Set by the owner.
        preparing: Called before the timers are armed, to set the deadlines that follow from the state.
    """

    def __init__(self, core: Core, callbacks: Callbacks, executor: Executor, *, recheck: bool) -> None:
        self.core = core
        self.callbacks = callbacks
        self.executor = executor
        self.running: dict[Work, Any] = {}
        self.failure: BaseException | None = None
        self.closed = False
        self.may_start = True
        self.loop: asyncio.AbstractEventLoop | None = None
        self.now: Callable[[], float] = time.monotonic
        self.wall: Callable[[], float] = time.time
        self.at_rest: Callable[[], None] = lambda: None
        self.preparing: list[Callable[[], None]] = []
        self.flags: dict[Hashable, list[int]] = {}
        self.inside = contextvars.Context()
        self.inside.run(CURRENT.set, self)
        # Where gates are asked, artifacts write down that they were; in handlers they do not.
        self._asking = self.inside.copy()
        self._asking.run(READS.set, callbacks.reads)
        callbacks.producer_of = core.dependencies.producer_of
        self.timers = Timers(self._due, self._asking)
        self.gates = Gates(core, callbacks, self._asking, self.settle, self.wake, self._run_now, self.fail)
        self.rechecker = self.gates.rechecker
        self.lines = Lines(callbacks, self.inside, self._listened)
        self.timers.on_due["recheck"] = lambda now: self.rechecker.want_full()
        self.timers.on_due["end of hold back"] = self._end_hold_back
        self._recheck = recheck
        self.skew = 0.0
        self.woken = False
        self._in_slice = False
        self._slice_until = 0.0
        self._thread = 0
        # Keys of artifacts that changed in other threads.
        self._changes: deque[Hashable] = deque()
        self._told_of_changes = False
        self._changed_outside = False
        # Which asyncio tasks of handlers wait for which work units.
        self._awaiting: dict[asyncio.Task[Any], asyncio.Future[BaseException | None]] = {}
        heard = callbacks.listeners
        self._on_start = heard[Event.START]
        # By outcome.
        self._on_end = (heard[Event.COMPLETE], heard[Event.SKIP], heard[Event.FAILURE], heard[Event.CANCEL])

    # --- Lifecycle ----------------------------------------------------------------------------------------------

    def use_clock(self, loop: asyncio.AbstractEventLoop) -> None:
        """Take the time from this loop: work units may come before the start."""
        clock = clock_of(loop)
        self.now = self.callbacks.now = clock.monotonic
        self.wall = clock.time
        self.skew = clock.time() - clock.monotonic()

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Bind to the running loop and look at what is there."""
        self.loop = loop
        self.use_clock(loop)
        clock = clock_of(loop)
        self.timers.start(clock)
        self.core.progressed_at = self.now()
        self.closed = self.woken = self._in_slice = False
        self.may_start = True
        for run_queue in self.core.run_queues.values():
            run_queue.starting.clear()
        self.executor.start(self._returned, self._handler_entered, clock)
        self._thread = threading.get_ident()
        self._told_of_changes = False
        unhear_changes(self.hear)
        hear_changes(self.hear)
        self.wake()

    def close(self) -> None:
        """Let nothing start any more."""
        self.closed = True
        self.may_start = False

    def _hold_back(self) -> None:
        """Somebody cancels asyncio tasks: most likely asyncio.run() ends, and what starts now would be torn off."""
        if self.may_start:
            self.may_start = False
            self.timers.active.set("end of hold back", self.now() + HOLD_BACK)
            self.wake()

    def _end_hold_back(self, now: float) -> None:
        self.may_start = not self.closed

    def detach(self) -> None:
        """Let go of the loop: timers and threads."""
        unhear_changes(self.hear)
        self.timers.stop()
        self.executor.stop()
        self.loop = None

    def abandon(self) -> None:
        """Settle what ran in a loop that has ended without `stop()`, so that nothing stays RUNNING for ever."""
        self.loop = None  # there is nothing left to wake
        for run in list(self.running):
            self.forget(run)
            rollback(run)
            work = owner_of(run)
            if work._phase != SETTLED:
                self.settle(work, CANCELLED, self.now())
        self.gates.abandon()
        self.lines.abandon()
        self._awaiting.clear()
        self.detach()

    def fail(self, error: BaseException) -> None:
        """The scheduler itself failed: say so to everyone who waits, now and later."""
        if self.failure is not None:
            return
        self.failure = error
        self.close()
        logger.critical("runcue's scheduler failed; all who wait on this cue get CueFailed", exc_info=error)
        for work in list(self.core.history):
            for waiter in work._waiters or ():
                if not waiter.done():
                    waiter.set_exception(self.failed())
            work._waiters = None
        for work in self.running:
            if work._runner is not None:
                work._runner.cancel()
        self.at_rest()

    def failed(self) -> CueFailed:
        """The error for those who wait on a cue whose scheduler failed."""
        error = CueFailed(
            f"The scheduler of this cue failed: {type(self.failure).__name__}: {words_of(self.failure)}"
        )
        error.__cause__ = self.failure
        return error

    # --- Causes -------------------------------------------------------------------------------------------------

    def wake(self) -> None:
        """Something happened: look at everything, once, soon."""
        if not self.woken and self.loop is not None and not self.loop.is_closed():
            self.woken = True
            self.loop.call_soon(self._pump, context=self._asking)

    def nudge(self, key: Hashable) -> None:
        """Something outside changed: an artifact, or (None) anything."""
        if key is None:
            self.rechecker.nudged()
        else:
            self._touch(key)
            self.rechecker.nudged_others()
        self.wake()

    def hear(self, key: Hashable) -> None:
        """An artifact was published or touched, in whatever thread."""
        if threading.get_ident() == self._thread:
            if self.core.touch(key) or self.gates.being_asked:
                self._touch(key)
            return
        # Not looked up here: the loop may be in the middle of asking about this very artifact.
        self._changes.append(key)
        if not self._told_of_changes and self.loop is not None:
            self._told_of_changes = True
            try:
                self.loop.call_soon_threadsafe(self._take_changes, context=self._asking)
            except RuntimeError:
                pass  # the loop has ended, and all waiting with it

    def hear_outside(self, key: Hashable) -> None:
        """A file was changed by somebody else. Called in a watcher's thread."""
        self._changed_outside = True
        self.hear(key)

    def _take_changes(self) -> None:
        self._told_of_changes = False  # before the deque is emptied: what is appended after that tells again
        if self._changed_outside and not self._recheck:
            # Work units of which nothing is known have no other net; with it they are asked within 50 ms anyway.
            self.rechecker.nudged_others()
            self.wake()
        self._changed_outside = False
        while self._changes:
            self._touch(self._changes.popleft())

    def _touch(self, key: Hashable) -> None:
        self.core.touch(key)
        self.gates.touched(key)
        if self.core.wakeup_queue:
            self.wake()

    def _listened(self) -> None:
        """An async listener has come to its end: it may have made what others wait for."""
        self.rechecker.changed()
        self.wake()

    def _pump(self) -> None:
        self.woken = False
        if self.loop is None or self.failure is not None:
            return
        try:
            core = self.core
            core.generation += 1
            now = self.now()
            until = self._slice(now)
            again = not self.rechecker.follow_settlements(until)
            if core.wakeup_queue or self.gates.put_off:
                again |= self.gates.check_woken(until)
            if core.count[NEW]:
                again |= self.gates.check_new(now, until, self.closed)
            if core.count[NOT_READY] and not self.closed:
                again |= self.rechecker.step(until, idle=self._is_quiet())
            # After the looks: what they found ready starts in this turn.
            starting = False
            for run_queue in tuple(core.run_queues.values()):
                while run_queue.starting and run_queue.starting[0].done():
                    run_queue.starting.popleft()
                if run_queue.unasked and not run_queue.has_room(now):
                    again |= self.gates.check_unasked(run_queue, until)
                if self.may_start and run_queue.backlog(core.ordered):
                    again |= self._fill(run_queue, now, until)
                starting |= bool(run_queue.starting)
            again |= bool(core.wakeup_queue)  # by what settled in here
            if again or starting:  # until the last worker has come, or was found cancelled
                self.wake()
            if not again:
                self.at_rest()
            self._arm()
        except BaseException as error:
            self.fail(error)
        self._raise_interrupt()

    def _slice(self, now: float) -> float:
        # One slice per turn of the loop for the pump and all workers together.
        if not self._in_slice and self.loop is not None:
            self._in_slice = True
            self._slice_until = now + SLICE
            self.skew = self.wall() - now
            self.loop.call_soon(self._end_slice, context=self._asking)
        return self._slice_until

    def _end_slice(self) -> None:
        self._in_slice = False

    def _is_quiet(self) -> bool:
        """Whether nothing runs, nothing is being asked and nothing that is ready could start."""
        if self.active() or self.gates.being_asked:
            return False
        now = self.now()
        ordered = self.core.ordered
        return not any(
            bool(run_queue.starting) or (run_queue.backlog(ordered) and run_queue.has_room(now))
            for run_queue in self.core.run_queues.values()
        )

    def _raise_interrupt(self) -> None:
        interrupt = self.callbacks.interrupted
        if interrupt is not None:
            self.callbacks.interrupted = None
            raise interrupt

    # --- Instants -----------------------------------------------------------------------------------------------

    def _arm(self) -> None:
        timers = self.timers
        for prepare in self.preparing:
            prepare()
        if self.core.count[NOT_READY]:
            if self._recheck:
                # Never later than it was set: but work units of which nothing is known may have come since.
                due = self.now() + self.rechecker.recheck_after()
                if due < timers.passive.when("recheck"):
                    timers.passive.set("recheck", due)
            if not self.closed and not self.rechecker.exhausted and self._is_quiet():
                timers.active.set("look", self.rechecker.idle_due(self.now()))
        else:
            self.rechecker.nothing_waits()
            timers.passive.clear("recheck")
        timers.arm()

    def _due(self, deadlines: Deadlines) -> None:
        try:
            self.core.generation += 1
            now = self.now()
            while (key := deadlines.pop_due(now)) is not None:
                if isinstance(key, Work):
                    self._timed_out(key, now)
                elif key in self.timers.on_due:
                    self.timers.on_due[key](now)
        except BaseException as error:
            self.fail(error)
        self._pump()

    def _timed_out(self, work: Work, now: float) -> None:
        place = (
            ""
            if work._task.is_async
            else " Its thread cannot be interrupted and holds its slot until it returns."
        )
        limit = work._task.timeout
        self._let_handler_know(work)
        text = f"The handler of {work.task!r} ran for longer than its timeout of {limit:g} s.{place}"
        self.settle(work, FAILED, now, WorkTimeout(text))
        if work._runner is not None:
            work._runner.cancel()

    # --- Starting -----------------------------------------------------------------------------------------------

    def _fill(self, run_queue: RunQueue, now: float, until: float) -> bool:
        """Start what may start on a run queue. Returns whether more is left for the next turn."""
        core = self.core
        if core.ordered and self.gates.held_back(now):
            return False  # the pump comes again anyway
        if run_queue.is_async:
            self._spawn_if_room(run_queue, now)
        else:
            while (work := core.select(run_queue, now)) is not None:
                task = work._task
                if not task.gated or work._approved_in == core.generation or self.gates.may_start(work, now):
                    if task.is_async:
                        # A contender's work is first in line. Its worker goes on with this run queue when its turn
                        # comes.
                        self.gates.enqueue(work)
                        self._spawn_if_room(task.run_queue, now)
                        return False
                    self._hand_off(work, self.now())
                now = self.now()
                if now > until:
                    return True
        self._note_refill(run_queue, now)
        return False

    def _note_refill(self, run_queue: RunQueue, now: float) -> None:
        """If a rate is what keeps this run queue from starting, come back when it no longer does."""
        if run_queue.backlog():
            for service in run_queue.services:
                if not service.has_token(now):
                    self.timers.active.set(service, service.next_token(now))

    def _spawn_if_room(self, run_queue: RunQueue, now: float) -> None:
        if (
            run_queue.wants_worker(self.core.ordered)
            and self.may_start
            and self.loop is not None
            and (run_queue.sole_slots is not None or run_queue.has_room(now))
        ):
            # Not through the loop's task factory: an eager one would run the worker inside of whoever spawns it.
            worker = self._worker(run_queue)
            run_queue.starting.append(
                asyncio.Task(worker, loop=self.loop, name="runcue", context=self._asking)
            )

    async def _worker(self, run_queue: RunQueue) -> None:
        """One asyncio task that takes and runs work units."""
        me = run_queue.starting.popleft()
        while (
            me.done()
        ):  # cancelled before its first step, by somebody who cancels all asyncio tasks there are
            me = run_queue.starting.popleft()
        try:
            suspended = self._work_off(run_queue, me)
            if suspended is not None:
                await self._finish(*suspended, me)
            # One that merely ran out of time needs no more than one successor.
            if suspended is not None or not run_queue.starting:
                self._spawn_if_room(run_queue, self.now())
            if not self.woken:
                self.wake()
        except GeneratorExit:
            raise
        except KeyboardInterrupt:
            self.wake()
            raise
        except BaseException as error:
            self.fail(error)
        self._raise_interrupt()

    def _work_off(self, run_queue: RunQueue, me: asyncio.Task[None]) -> tuple[Work, Any] | None:
        """Take and run work units until there are none, a handler has suspended, or the turn is over.

        Returns:
            The work whose handler has suspended, with what `_finish` goes on with.
        """
        core = self.core
        callbacks = self.callbacks
        core.generation += 1
        now = callbacks.at = self.now()
        until = self._slice(now)
        while self.may_start:
            work = core.select(run_queue, now)
            if work is None:
                break
            if work._task.gated and work._approved_in != core.generation:
                verdict = callbacks.ask(work, now)
                if verdict is not RUN:
                    self.gates.place(work, verdict)
                    self.wake()  # it may wait now, with nobody to look after it until this worker is through
                    # While an async gate is asked, it has the slot.
                    work = self.gates.check_batch(run_queue, until) if verdict in STAYS_PENDING else None
                now = callbacks.at
            if work is not None:
                if not work._task.is_async:
                    self._hand_off(work, now)
                else:
                    rest = self._begin(work, now)
                    if rest is not None:
                        return work, rest
                    if me.cancelling():  # by the handler itself; it must not reach the next one
                        break
            if core.wakeup_queue:
                self.gates.check_woken(until)
            if core.settled_causes:
                self.rechecker.follow_settlements(until)
                callbacks.at = self.now()
            now = callbacks.at
            if now > until:
                break
        return None

    async def _run_now(self, work: Work) -> None:
        """Start a work in the current task: its async gate has just said yes."""
        if not self.may_start:
            self.gates.enqueue(work)
        elif not work._task.is_async:
            self._hand_off(work, self.now())
        elif (rest := self._begin(work, self.now())) is not None:
            await self._finish(work, rest, asyncio.current_task())

    def _limit(self, work: Work, when: float) -> None:
        self.timers.active.set(work, when)
        self.wake()  # arms the timer

    def _begin(self, work: Work, now: float) -> tuple[Any, Any] | None:
        """Start an async handler and take its first step.

        Returns:
            None if that was all of it; otherwise what `_finish` goes on with.
        """
        context: contextvars.Context = work._context.copy()
        run_queue: RunQueue = work._task.run_queue
        self.core.start(work, now, now + self.skew)
        if self._on_start:
            now = self.callbacks.emit(self._on_start, now, work, work)
        if work._task.timeout is not None:
            self._limit(work, now + work._task.timeout)
        began = work._entered_at = now
        declared = work._declared
        if declared is not None and declared.files:
            self._note_start(work)
        value: Any = None
        error: BaseException | None = None
        rest: tuple[Any, Any] | None = None
        try:
            # The first step, taken by hand: StopIteration says that there was no other.
            steps = context.run(work._task.handler, work)
            if type(steps) is not CoroutineType:
                steps = steps.__await__()
            rest = steps, context.run(steps.send, None)
        except StopIteration as stop:
            value = stop.value
            if work._declared is not None and has_uncommitted(
                work
            ):  # an undeclared one may have written all the same
                rest, error = commit_at_once(work, value)
        except BaseException as raised:
            error = raised
        now = self.now()
        if run_queue.rate_limited:
            # After the first step, not before it: whatever instant the handler itself took is earlier than the stamp.
            self._stamp(work, now, now)
        if rest is not None:
            work._context = context
            return rest
        if run_queue.sole_slots is not None:
            run_queue.sole_slots.active -= 1
        else:
            for service in run_queue.services:
                service.release()
        if work._declared is not None:
            self._end(work, value, error, now, now - began)
            _pass_on(error)
        elif work._phase == SETTLED:  # it has cancelled itself
            self.callbacks.at = now
            _pass_on(error)
        elif error is None:
            self.settle(work, COMPLETED, now, value, now - began)
        else:
            self._settle_failed(work, error)
            _pass_on(error)
        return None

    async def _finish(self, work: Work, rest: tuple[Any, Any], me: asyncio.Task[None] | None) -> None:
        """Carry an async handler that has suspended on to its end, in the asyncio task `me`."""
        work._runner = me
        self.running[work] = rest[0]
        owner = work
        if work._declared is not None:
            owner = owner_of(work)
            owner._runner = me
        if owner._phase == SETTLED and me is not None:  # it has cancelled itself in its first step
            me.cancel()
        run_queue: RunQueue = work._task.run_queue
        if run_queue.sole_slots is None or run_queue.sole_slots.active < run_queue.sole_slots.concurrent:
            self._spawn_if_room(run_queue, work._entered_at)
            if not self.woken:
                self.wake()
        value: Any = None
        error: BaseException | None = None
        try:
            value = await resume(work._context, *rest)
            if work._declared is not None and has_uncommitted(work):
                value = await commit_in_thread(work, value)
        except BaseException as raised:
            if type(raised) is GeneratorExit and (me is None or me.get_loop().is_closed()):
                raise  # the loop is gone and with it this task; what it held was given back by bury()
            error = raised
        self._ended(work, value, error, me is not None and bool(me.cancelling()))
        if type(error) is KeyboardInterrupt:
            raise error

    def _ended(self, work: Work, value: Any, error: BaseException | None, cancelled: bool) -> None:
        """An awaitable that a handler consists of has come to its end."""
        self.core.generation += 1
        work._runner = None
        self._release(work)
        now = self.now()
        if error is None and work._declared is None:
            if work._phase != SETTLED:
                self.settle(work, COMPLETED, now, value, now - work._entered_at)
            return
        if error is None or not (cancelled and isinstance(error, asyncio.CancelledError)):
            self._end(work, value, error, now, now - work._entered_at)
            return
        rollback(work)
        work = owner_of(work)
        if work._phase != SETTLED:
            # Somebody cancelled the asyncio task itself, as asyncio.run() does with all of them at its end.
            work.cancelled = True
            self.settle(work, CANCELLED, now)
            self._hold_back()

    def _end(self, run: Work, value: Any, error: BaseException | None, now: float, duration: float) -> None:
        """A handler has come to its end: settle the work that it belongs to by now.

        Args:
            run: The work that it was started for.
            value: What it returned.
            error: What it raised instead.
            now: Monotonic.
            duration: Seconds that it took.
        """
        work = run
        if run._declared is not None:
            work = owner_of(run)
            if error is not None or work._phase == SETTLED:
                rollback(run)
            elif work._declared is not None and work._declared.outputs:
                error = missing_output(work)
        if work._phase == SETTLED:
            return
        if error is None:
            self.settle(work, COMPLETED, now, value, duration)
        else:
            self._settle_failed(work, error)

    def _note_start(self, work: Work) -> None:
        """Let the freshness policy know that a handler is about to be entered."""
        declared = work._declared
        if declared is not None and declared.fresh is not None:
            try:
                declared.fresh.started(work)
            except BaseException as error:
                self.callbacks.raised(f"{words_of(declared.fresh)}", error, work)

    def _settle_failed(self, work: Work, error: BaseException) -> None:
        if not isinstance(error, Exception):
            exited = HandlerExited(
                f"The handler of {work.task!r} ended with {type(error).__name__}: {words_of(error)}"
            )
            exited.__cause__ = error
            error = exited
        self.settle(work, FAILED, self.now(), error)

    def _stamp(self, work: Work, entered: float, now: float) -> None:
        for service in work._task.run_queue.services:
            service.record_start(entered, now)

    # --- Sync handlers ------------------------------------------------------------------------------------------

    def _hand_off(self, work: Work, now: float) -> None:
        """Give a sync handler to the executor."""
        context = work._context
        assert context is not None
        run_queue: RunQueue = work._task.run_queue
        self.core.start(work, now, now + self.skew)
        if self._on_start:
            now = self.callbacks.emit(self._on_start, now, work, work)
        if work._task.timeout is not None:
            self._limit(work, now + work._task.timeout)
        self.callbacks.at = now
        work._entered_at = NOT_ENTERED
        self.running[work] = None
        try:
            if work._declared is not None and work._declared.files:
                self._note_start(work)
            self.executor.submit(work, run_handler, context.copy(), stamped=run_queue.rate_limited)
        except Exception as error:  # no more threads to be had
            self.forget(work)
            self._settle_failed(work, error)

    def _handler_entered(self, work: Work, entered: float) -> None:
        """A sync handler was entered, at that instant."""
        if work in self.running and work._entered_at == NOT_ENTERED:
            work._entered_at = entered
            self._stamp(work, entered, self.now())
            self.wake()

    def _returned(self, work: Work, succeeded: bool, outcome: Any, entered: float, left: float) -> None:
        """A sync handler has returned or raised."""
        try:
            self.core.generation += 1
            if (
                succeeded
                and outcome is not None
                and owner_of(work)._phase != SETTLED
                and isawaitable(outcome)
            ):
                self._adopt(work, outcome, entered)
                return
            self._release(work)
            if succeeded and isawaitable(outcome):  # of a work unit that is settled
                discard(outcome)
            self._end(
                work,
                outcome if succeeded else None,
                None if succeeded else outcome,
                left,
                left - entered,
            )
            if not self.woken:
                self.wake()
        except BaseException as error:
            self.fail(error)
        if not succeeded and isinstance(outcome, KeyboardInterrupt):
            raise outcome
        self._raise_interrupt()

    def _release(self, work: Work) -> None:
        if work in self.running:
            del self.running[work]
            run_queue: RunQueue = work._task.run_queue
            if run_queue.sole_slots is not None:
                run_queue.sole_slots.active -= 1
                return
            for service in run_queue.services:
                service.release()

    def _adopt(self, work: Work, awaitable: Awaitable[Any], entered: float) -> None:
        """A sync handler returned an awaitable: await it in the loop, in the same slot."""
        assert self.loop is not None
        work._entered_at = entered

        async def rest() -> None:
            value, error = None, None
            try:
                value = await awaitable
                if has_uncommitted(work):
                    value = await commit_in_thread(work, value)
            except BaseException as raised:
                error = raised
            ended(value, error)

        def ended(value: Any, error: BaseException | None) -> None:
            if work._runner is not None:
                self._ended(work, value, error, bool(task.cancelling()))
                self.wake()

        # If the work was cancelled while it was in its thread, somebody who had joined it owns the run.
        owner = owner_of(work)
        task = asyncio.Task(rest(), loop=self.loop, context=(owner._context or self.inside).copy())
        work._runner = owner._runner = task
        # A task that is cancelled before its first step never runs any of its code.
        task.add_done_callback(lambda task: discard(awaitable))
        task.add_done_callback(lambda task: ended(None, asyncio.CancelledError()))

    # --- Settling -----------------------------------------------------------------------------------------------

    def settle(self, work: Work, outcome: int, now: float, value: Any = None, duration: float = 0.0) -> None:
        """The one place where a work unit ends.

        Args:
            work: Not settled yet, and out of its queue or withdrawn from it.
            outcome: COMPLETED, SKIPPED, FAILED or CANCELLED.
            now: Monotonic.
            value: What the handler returned, or why it failed.
            duration: Seconds that the handler took.
        """
        self.core.settle(work, outcome, value, now, now + self.skew)
        callbacks = self.callbacks
        callbacks.at = now
        if work._task.timeout is not None:
            self.timers.active.clear(work)
        waiters = work._waiters
        listeners = self._on_end[outcome]
        if outcome == COMPLETED:
            if listeners:
                callbacks.at = callbacks.emit(listeners, now, work, work, value, duration)
        elif outcome == FAILED:
            if listeners:
                callbacks.at = callbacks.emit(listeners, now, work, work, value)
            elif not waiters or all(waiter.done() for waiter in waiters):
                callbacks.unobserved(work, value)
        elif listeners:
            callbacks.at = callbacks.emit(listeners, now, work, work)
        if waiters:
            work._waiters = None
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(value if outcome == FAILED else None)
        if work._declared is not None:
            self._tell_others(work._declared, outcome, now, value, duration)
        if outcome == FAILED:
            # Those who wait now get the original; what is kept must not keep the frames' locals alive.
            work._value = without_frames(value)

    def _tell_others(
        self, declared: Declaration, outcome: int, now: float, value: Any, duration: float
    ) -> None:
        """Settle those who wanted the same as a work unit that has settled, and tell the other cues of this process."""
        if outcome == COMPLETED and others_hear():
            for artifact in declared.outputs:
                changed(artifact._key)
        followers, declared.followers = declared.followers, None
        for follower in followers or ():
            self.settle(follower, outcome, now, value, duration)

    def cancel(self, work: Work) -> bool:
        """Cancel a work unit: it settles at once. What others have joined goes on for them.

        Returns:
            Whether it was still unsettled.
        """
        if work._phase == SETTLED:
            return False
        limit = self.timers.active.when(work)
        successor = None if work._declared is None else self.core.successor_of(work, self.now())
        if successor is not None and work._phase == RUNNING:
            # The handler does not learn of it: it runs for somebody else from here on.
            self.settle(work, CANCELLED, self.now())
            self.timers.active.set(successor, limit)
        else:
            self._let_handler_know(work)
            self._withdraw(work, CANCELLED)
        self.wake()
        return True

    def _let_handler_know(self, work: Work) -> None:
        work.cancelled = True
        if work._declared is not None and work._phase == RUNNING:
            for run in self.running:
                if run._declared is not None and owner_of(run) is work:
                    run.cancelled = True
                    rollback(run)

    def give_up(self, work: Work, error: BaseException) -> None:
        """Fail a pending work unit; what others have joined goes on for them."""
        if work._declared is not None:
            self.core.successor_of(work, self.now())
        self._withdraw(work, FAILED, error)

    def skip_if_up_to_date(self, work: Work) -> None:
        """Skip a work unit that could run but never got its turn, if it is up to date by now."""
        if self.gates.ask_for_skip(work):
            self._withdraw(work, SKIPPED)

    def _withdraw(self, work: Work, outcome: int, value: Any = None) -> None:
        runner = work._runner
        self.core.withdraw(work)
        self.settle(work, outcome, self.now(), value)
        if runner is not None:
            runner.cancel()

    def forget(self, work: Work) -> None:
        """Do not wait for a running handler any longer: it could not be ended."""
        if work._task.run_queue.rate_limited and work._entered_at == NOT_ENTERED:
            self._stamp(work, self.now(), self.now())
        self._release(work)
        self.wake()

    # --- Waiting for work units --------------------------------------------------------------------------------------

    async def settled(self, work: Work) -> BaseException | None:
        """Wait until a work unit has settled. Returns the error of a failed one.

        A handler that waits here for a work unit of its own cue does not count as moving: if nothing else can move
        either, that is a deadlock.
        """
        if work._phase == SETTLED:
            return work.exception
        if self.failure is not None:
            raise self.failed()
        future: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()
        if work._waiters is None:
            work._waiters = [future]
        else:
            work._waiters.append(future)
        inside: object = CURRENT.get()
        me = asyncio.current_task()
        if inside is self and me is not None:
            self._awaiting[me] = future
            self.wake()
        try:
            return await future
        finally:
            if me is not None:
                self._awaiting.pop(me, None)
            if work._waiters is not None:  # given up: somebody may ask like this for ever
                work._waiters.remove(future)

    def awaiting(self) -> list[Work]:
        """Running work units whose handlers only wait for others of this cue that have not settled."""
        if not self._awaiting:
            return []
        return [
            work
            for work, steps in self.running.items()
            if awaits_only_work(work._runner, steps, self._awaiting)
        ]

    def holders(self) -> list[Work]:
        """Work units that hold slots: their handlers have not returned, or their gates are being awaited."""
        return [*self.running, *self.gates.asked()]

    def active(self) -> int:
        """How many handlers in flight do not merely wait for another work unit of this cue."""
        return len(self.running) - len(self.awaiting())

    def is_idle(self) -> bool:
        """Whether nothing runs, is being asked or will start by itself: all that is left is changes from outside."""
        return not (
            self.active()
            or self.gates.being_asked
            or self.lines
            or self.core.wakeup_queue
            or self.can_start()
        )

    def can_start(self) -> bool:
        """Whether something is ready that will be able to start, now or when its rate allows it."""
        return any(
            run_queue.backlog() and all(service.has_slot() for service in run_queue.services)
            for run_queue in self.core.run_queues.values()
        )

    def next_token(self, service: Service) -> float:
        """When work units that wait for the rate of a service can go on; inf if none do."""
        return self.timers.active.when(service)


def _pass_on(error: BaseException | None) -> None:
    """Raise a KeyboardInterrupt out of a handler, once its work has settled."""
    if type(error) is KeyboardInterrupt:
        raise error
