"""Handlers that do not run in the event loop: given to executors, and taken back.

Lives here: `HandOff`: which executors a cue uses, and that no other cue uses them meanwhile; what is given to them,
when they have entered a handler, what they have got out of it.

Must not know: where an executor runs a handler, what becomes of a work unit whose handler has ended.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Awaitable, Callable
from contextvars import Context
from inspect import unwrap
from typing import Any

from runcue._callbacks.callbacks import Callbacks
from runcue._callbacks.door import BE_QUICK, BLOCKS_AFTER
from runcue._callbacks.forks import FORKS, leave
from runcue._callbacks.listeners import Listeners
from runcue._dispatch.answers import SEND_LESS, Answers
from runcue._dispatch.clock import clock_of
from runcue._dispatch.closed_loops import is_being_closed
from runcue._dispatch.commits import commit_before
from runcue._dispatch.endings import Endings
from runcue._dispatch.in_flight import NOT_ENTERED, InFlight
from runcue._dispatch.outside_tasks import outside_tasks
from runcue._dispatch.overtime import MAY_START
from runcue._dispatch.settlement import Settlement
from runcue._dispatch.timers import Timers
from runcue._dispatch.turns import Turns
from runcue._handlers.call_runs import CallRun
from runcue._handlers.coroutines import follow
from runcue._handlers.outputs import mark, owner_of, run_handler
from runcue._handlers.thread_runs import ThreadRun
from runcue._model.awaitables import discard, is_awaitable
from runcue._model.checks import is_async
from runcue._model.current import CURRENT, call_inside
from runcue._model.errors import UsageError, is_a
from runcue._model.events import Event
from runcue._model.phases import COMPLETED, SETTLED
from runcue._model.texts import message_of, words_of
from runcue._model.work import Work
from runcue._scheduling.core import Core
from runcue._scheduling.run_queue import RunQueue
from runcue.abc import CallExecutor, Executor
from runcue.executors.threads import ThreadExecutor

__all__ = ["HandOff"]

# Who uses an executor, by its identity: whoever does keeps it alive. What is collected without a stop uses nothing.
_in_use: dict[int, weakref.ref[HandOff]] = {}


class HandOff:
    """Gives the handlers of one core to executors.

    Args:
        core: The state.
        callbacks: For artifacts' policies that are told of a start.
        listeners: Who hears of starts.
        turns: The turns of the loop.
        timers: Where handlers' time-outs wait.
        in_flight: Handlers in flight.
        settlement: Settles work units.
        endings: What the ends of handlers mean.
        context: The contextvars of what has none of its own.
    """

    def __init__(
        self,
        core: Core,
        callbacks: Callbacks,
        listeners: Listeners,
        turns: Turns,
        timers: Timers,
        in_flight: InFlight,
        settlement: Settlement,
        endings: Endings,
        context: Context,
    ) -> None:
        self._core = core
        self._callbacks = callbacks
        self._gate = callbacks.gate
        self._turns = turns
        self._timers = timers
        self._in_flight = in_flight
        self._settlement = settlement
        self._endings = endings
        self._context = context
        self._home = context[CURRENT]
        self._executors: dict[int, Executor | CallExecutor] = {}
        self._stand_in: Executor | None = None
        # Whether there are executors that runcue has not written: these may block.
        self._not_ours = False
        # Whether the handlers of a task give something to be awaited, by its name: what was seen last.
        self._gives_awaitable: dict[str, bool] = {}
        # Run queues for which there was no thread, and whether that was told since the start.
        self._short: set[RunQueue] = set()
        self._told_of_shortage = False
        self._answers = Answers(callbacks, turns, in_flight, self._home, self._count_from, self._returned)
        self._listeners = listeners
        self._on_start = listeners.of[Event.START]

    def use(self, executor: Executor | CallExecutor) -> None:
        """Use an executor from the next start on; at once if the cue is started.

        Raises:
            UsageError: The cue is started, and another one that is uses it.
        """
        if id(executor) in self._executors or self._stand_in is not None:
            return
        if self._turns.loop is not None:
            _check_free(executor, self)
            self._start(executor, self._turns.loop)
        self._executors[id(executor)] = executor
        self._not_ours |= not type(executor).__module__.startswith("runcue.")

    def stand_in(self, executor: Executor) -> None:
        """Have this one run everything, instead of all others: nothing is done, it is only pretended."""
        for other in self._executors.values():
            # Nobody will find out how many workers it has.
            if not getattr(other, "is_known", True) and (heard := getattr(other, "heard", None)) is not None:
                heard(None)
        self._stand_in = executor
        self._executors = {id(executor): executor}

    @property
    def pretends(self) -> bool:
        """Whether nothing is done."""
        return self._stand_in is not None

    def check_free(self) -> None:
        """Check that no other started cue uses the executors of this one.

        Raises:
            UsageError: One does.
        """
        for executor in self._executors.values():
            _check_free(executor, self)

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start all executors; they are free."""
        self._short_no_longer()
        self._told_of_shortage = False
        self._answers.start()
        try:
            for executor in self._executors.values():
                self._start(executor, loop)
        except BaseException:
            self.stop()  # those that were started
            raise

    def _start(self, executor: Executor | CallExecutor, loop: asyncio.AbstractEventLoop) -> None:
        # Inside of the cue. A ThreadExecutor tells of ends in the context of here, others do in whatever they please.
        returned: Callable[..., None] = self._returned_elsewhere
        if isinstance(executor, ThreadExecutor):
            returned = self._returned
        elif hasattr(executor, "takes_calls"):
            returned = self._answers.take
        call_inside(self._home, executor.start, returned, self._entered, clock_of(loop))
        key = id(executor)
        _in_use[key] = weakref.ref(
            self, lambda gone: _in_use.pop(key, None) if _in_use.get(key) is gone else None
        )

    def stop(self) -> None:
        """Stop all executors."""
        for executor in self._executors.values():
            try:
                self._stop(executor)
            except BaseException as error:
                # It is somebody else's; the others are stopped all the same, and so is the cue.
                self._callbacks.failures.raised(f"stop() of executor {words_of(executor)}", error, None)

    def _stop(self, executor: Executor | CallExecutor) -> None:
        user = _in_use.get(id(executor))
        if user is not None and user() is self:
            del _in_use[id(executor)]
            # Whoever stops a cue is in an asyncio task of their own.
            _at_once(outside_tasks(self._turns.loop, executor.stop), f"stop() of {words_of(executor)}")

    def give(  # noqa: C901, PLR0915 - one more call for each work unit would cost half a percent
        self, work: Work, now: float
    ) -> bool:
        """Give a handler to the executor of its task.

        Returns:
            False: nothing was done, because there is no thread for it.
        """
        context = work._context
        assert context is not None
        task = work._task
        run_queue: RunQueue = task.run_queue
        executor: Any = self._stand_in or task.executor
        stamped = bool(run_queue.limits)
        threads = executor if isinstance(executor, ThreadExecutor) else None
        if threads is not None and threads.idle <= 0:
            has_thread = threads.hire()
            if threads.shortage is not None:
                self._tell_of_shortage(threads, threads.shortage)
            if not has_thread:
                self._wait_for_thread(run_queue, threads.retry_at)
                return False
        if work._attempts is not None and self._endings.may_not_begin(work, now):
            return True
        if (refused := self._core.start(work, now, now + self._turns.skew)) is not None:
            self._endings.refused(work, refused, now)
            return True
        work._entered_at = NOT_ENTERED  # before anybody hears of the start, and may cancel it
        on_begin = self._on_start if work._attempts is None else self._listeners.at_begin(work)
        if on_begin:
            now = self._listeners.emit(on_begin.each, now, work, (work,))
        if task.timed:
            late = 0.0
            if task.calls is not None and getattr(executor, "kills", False):
                # It counts from the entry: to import what a handler needs may take longer than the handler may.
                stamped, late = True, MAY_START
            self._timers.active.set(owner_of(work), now + work._timeout + late)
            self._turns.wake()  # arms the timer
        self._gate.at = now
        declared = work._declared
        calls = task.calls if self._stand_in is None else None
        run: Any = None
        if calls is not None:
            run = CallRun()
        elif declared is not None or threads is None:
            run = ThreadRun()
        self._in_flight.works[work] = run
        forks = FORKS.number
        try:
            if declared is not None and declared.files:
                self._callbacks.declared_gate.note_start(work, declared)
            if calls is not None:
                self._pack(work, run)
            submit: Callable[..., object] = executor.submit
            given = submit(work, run or run_handler, context.copy(), stamped=stamped)
            if FORKS.number != forks:
                leave(None)
            if calls is not None:
                run.goes_on = True
            if given is not None:
                _at_once(given, f"submit() of {words_of(executor)}")
            if self._not_ours and (ended := self._turns.now()) - now > BLOCKS_AFTER:
                self._callbacks.door.blocked(f"submit() of {words_of(executor)}", now, ended, BE_QUICK, work)
        except BaseException as error:  # an executor of the user's
            if FORKS.number != forks:
                leave(error)
            if is_a(error, KeyboardInterrupt):
                self._turns.interrupt(error)
            self._in_flight.take_back(work, now)
            self._endings.of_handler(work, None, error, now, 0.0, final=True)
            self._turns.wake()
        return True

    def _pack(self, work: Work, run: CallRun) -> None:
        """Make the call of a handler ready, and what it is about to make."""
        began = self._turns.now()
        if work._declared is not None and work._declared.files:
            mark(work)
        run.payload = work._task.calls.pack(work)
        if (ended := self._turns.now()) - began > BLOCKS_AFTER:
            what = f"Pickling the params of task {work.task!r}"
            self._callbacks.door.blocked(what, began, ended, SEND_LESS, work)

    def _wait_for_thread(self, run_queue: RunQueue, retry_at: float) -> None:
        """Let nothing start on a run queue until a handler has returned, or it can be tried again."""
        run_queue.short_until = retry_at
        self._short.add(run_queue)
        self._timers.active.set(run_queue, retry_at)
        self._turns.wake()  # arms the timer

    def _tell_of_shortage(self, executor: ThreadExecutor, why: Exception) -> None:
        if not self._told_of_shortage:
            self._told_of_shortage = True
            self._callbacks.failures.log.tell(
                "shortage",
                (),
                "No more threads can be started (%s; there are %d): plain handlers run on those, the others wait, and "
                "to start another is tried again and again. Fewer slots need fewer threads. This is told once",
                message_of(why),
                executor.threads,
            )

    def _entered(self, work: Work, entered: float) -> None:
        """A handler was entered, at that instant."""
        task = work._task
        if task.timed and task.calls is not None and work._entered_at == NOT_ENTERED and not work.cancelled:
            self._timers.active.set(owner_of(work), entered + work._timeout)
            self._turns.wake()
        # What gives something to be awaited has its first line in there, which may have to wait for the loop.
        if not self._probably_gives_awaitable(work):
            self._count_from(work, entered)

    def count_entered(self) -> None:
        """Count who was handed on before there was anything to be counted, and is in its handler by now."""
        for executor in self._executors.values():
            entries = getattr(executor, "entries", None)
            for work, entered in () if entries is None else entries():
                self._entered(work, entered)

    def _probably_gives_awaitable(self, work: Work) -> bool:
        known = self._gives_awaitable.get(work.task)
        if known is None:
            # By its definition for now: an async def behind a decorator that is none.
            known = self._gives_awaitable[work.task] = is_async(unwrap(work._task.call))
        return known

    def _count_from(self, work: Work, entered: float) -> None:
        """Its tokens count from this instant, unless they do already."""
        if work in self._in_flight.works and work._entered_at == NOT_ENTERED:
            work._entered_at = entered
            work._task.run_queue.entered(self._turns.now(), work, entered)
            self._turns.wake()

    def _returned_elsewhere(self, *told: Any) -> None:
        """The same, told in whatever context."""
        call_inside(self._home, self._returned, *told)

    def _returned(
        self,
        work: Work,
        succeeded: bool,
        outcome: Any,
        entered: float,
        left: float,
        *,
        final: bool = False,
    ) -> None:
        """A handler has returned or raised.

        Args:
            work: What it was started for.
            succeeded: Whether it has returned.
            outcome: Its value, or what it has raised.
            entered: When it was entered.
            left: When it was left.
            final: Whether there is no other attempt in any case.
        """
        try:
            if work not in self._in_flight.works:  # abandoned, or answered before
                self._in_flight.release(work, self._turns.now())
                self._turns.wake()
                if succeeded and is_awaitable(outcome):
                    discard(outcome)
                return
            self._core.generation += 1
            gives_awaitable = succeeded and outcome is not None and is_awaitable(outcome)
            limits = work._task.run_queue.limits
            if limits and succeeded:
                self._gives_awaitable[work.task] = gives_awaitable
            if gives_awaitable and owner_of(work)._phase != SETTLED:
                self._adopt(work, outcome, entered)
                return
            if limits:
                # An executor that did not tell, or not before: its tokens count from the entry all the same.
                self._count_from(work, entered)
            heard = self._in_flight.release(work, self._turns.now())
            if self._short:
                self._short_no_longer()
            if gives_awaitable:  # of a work unit that is settled
                discard(outcome)
            if succeeded and work._declared is None and work._attempts is None and work._phase != SETTLED:
                # What `Endings` does for those in which nothing is rare, with a call less for each.
                if heard:
                    work._task.run_queue.hear(left, work, "passed")
                self._settlement.settle(work, COMPLETED, left, outcome, left - entered, None)
            else:
                value, error = (outcome, None) if succeeded else (None, outcome)
                self._endings.of_handler(work, value, error, left, left - entered, final=final)
            if not self._turns.woken:
                self._turns.wake()
        except BaseException as error:
            self._turns.fail(error)
        if not succeeded and is_a(outcome, KeyboardInterrupt):
            self._turns.interrupt(outcome)

    def _short_no_longer(self) -> None:
        for run_queue in self._short:
            run_queue.short_until = 0.0
        self._short.clear()

    def _adopt(self, work: Work, awaitable: Awaitable[Any], entered: float) -> None:
        """A handler returned an awaitable: await it in the loop, in the same slot."""
        counted = work._entered_at != NOT_ENTERED or not work._task.run_queue.limits

        def count() -> None:
            """After the first step, as for an `async def`: its first line is earlier than that."""
            nonlocal counted
            if not counted:
                counted = True
                outside_tasks(self._turns.loop, self._count_from, work, self._turns.now())
                work._entered_at = entered

        if counted:
            work._entered_at = entered

        async def rest() -> None:
            value, error = None, None
            try:
                value = await follow(awaitable, None, work, door, None if counted else count)
                value = await commit_before(work, value, door)
            except BaseException as raised:
                if type(raised) is GeneratorExit and is_being_closed(task):
                    raise
                error = raised
            ended(value, error)

        def ended(value: Any, error: BaseException | None) -> None:
            # It has not ended before, and no later attempt runs by now.
            if work._runner is task:
                count()  # should it have ended before its first step
                self._endings.of_awaitable(work, value, error, cancelled=bool(task.cancelling()))
                self._turns.wake()

        # If the work unit was cancelled while it was in its thread, somebody who had joined it owns the run.
        owner = owner_of(work)
        context = (owner._context or self._context).copy()
        door = self._callbacks.door
        task = asyncio.Task(rest(), loop=self._turns.loop, context=context)
        work._runner = owner._runner = task
        # A task that is cancelled before its first step never runs any of its code.
        task.add_done_callback(lambda task: discard(awaitable))
        task.add_done_callback(lambda task: ended(None, asyncio.CancelledError()))


def _at_once(answer: object, what: str) -> None:
    """See that an executor has done what it was asked for.

    Raises:
        TypeError: It has not yet.
    """
    if is_awaitable(answer):
        discard(answer)
        raise TypeError(f"{what} gave something to be awaited; the methods of an executor must be plain")


def _check_free(executor: Executor | CallExecutor, wanted: HandOff) -> None:
    user = _in_use.get(id(executor))
    other = None if user is None else user()
    if other is not None and other is not wanted:
        raise UsageError(
            f"{words_of(executor)} is in use by another cue that is started; stop() that one first, or give each cue "
            "an executor of its own."
        )
