"""Asking work units, before and besides their start: the first asking after submission, and async gates.

Lives here: what becomes of a work unit once its gate was asked, and the tasks in which async gates are awaited. An
async gate holds a slot while it is asked, never a token, and at most as many are asked at once as slots are free.

Must not know: when waiting work units are asked again (that is `_looks`), how handlers run.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Hashable, Iterator
from contextvars import Context
from math import inf
from typing import Any, Final, Protocol

from runcue._artifacts.reads import READS
from runcue._callbacks.callbacks import Callbacks
from runcue._callbacks.failures import BLOCKS_AFTER
from runcue._callbacks.verdicts import RUN, STAYS_PENDING, AwaitableAnswer, GateVerdict
from runcue._handlers.coroutines import timed
from runcue._model.phases import CANCELLED, CHECKING, FAILED, NEW, NOT_READY, READY, SKIPPED
from runcue._model.texts import describe
from runcue._model.work import Task, Work
from runcue._scheduling.core import Core
from runcue._scheduling.rechecking import ASKED, HIT, LATER, MISS, Rechecker
from runcue._scheduling.run_queue import RunQueue

__all__ = ["CHECK_FIRST", "GATE_LIMIT", "Gates"]

GATE_LIMIT: Final = 30.0
"""An async gate that takes longer counts as raising."""

CHECK_FIRST: Final = 0.05
"""With a priority callback nothing starts before all that is new was asked, for at most this long."""

# Async gates asked at once where no number of slots says how many.
_MAX_ASKING = 100


_SETTLED_BY = (GateVerdict.SKIP, GateVerdict.INVALID)


class Settle(Protocol):
    """Settles a work with an outcome, at an instant."""

    def __call__(self, work: Work, outcome: int, now: float, value: Any = None) -> None:
        """See `Dispatcher.settle`."""


class Gates:
    """Asks gates and puts work units where the answers say they belong.

    Args:
        core: The state.
        callbacks: The user's code.
        context: The contextvars that gates are awaited in.
        settle: Settles a work with an outcome, at an instant.
        wake: Has everything looked at soon.
        run_now: Starts a work unit whose async gate has just said yes, in the current task; None once nothing may
            start.

    Attributes:
        rechecker: Decides which waiting work units are asked again.
        put_off: Woken work units that cannot be asked before a slot is free, by their run queue. They are in nobody's
            way until then, and cost nothing, however many they are.
    """

    def __init__(
        self,
        core: Core,
        callbacks: Callbacks,
        context: Context,
        settle: Settle,
        wake: Callable[[], None],
        run_now: Callable[[Work], Any],
        fail: Callable[[BaseException], None],
    ) -> None:
        self._core = core
        self._callbacks = callbacks
        self._context = context
        self._settle = settle
        self._wake = wake
        self._run_now = run_now
        self._fail = fail
        self._tasks: set[asyncio.Task[None]] = set()
        self._asked: set[_Asking] = set()
        self._checking_since = inf
        self.put_off: dict[RunQueue, deque[Work]] = {}
        self.rechecker = Rechecker(core, self._check_not_ready, self._now)

    def _now(self) -> float:
        return self._callbacks.failures.now()

    @property
    def being_asked(self) -> bool:
        """Whether an async gate is being awaited."""
        return bool(self._asked)

    def asked(self) -> list[Work]:
        """The work units whose async gates are being awaited."""
        return [asking.work for asking in self._asked]

    def touched(self, key: Hashable) -> None:
        """Something happened to an artifact while async gates are awaited that may have looked at it before."""
        for asking in self._asked:
            if key in asking.reads:
                asking.touched = True

    def being_read(self) -> list[Hashable]:
        """The keys of the artifacts that async gates have looked at while they are awaited."""
        return [key for asking in self._asked for key in asking.reads]

    def held_back(self, now: float) -> bool:
        """Whether an order by priority is not known yet, because some contenders were not asked."""
        return self._checking_since <= now < self._checking_since + CHECK_FIRST

    # --- Asking -------------------------------------------------------------------------------------------------

    def check_new(self, now: float, until: float, closed: bool) -> bool:
        """Ask work units for the first time, soon after their submission, whether or not they could start.

        Args:
            now: Monotonic.
            until: Stop at this instant.
            closed: Whether nothing may start any more.

        Returns:
            Whether some are left for the next turn.
        """
        ordered = self._core.ordered
        left = False
        for run_queue in tuple(self._core.run_queues.values()):
            # Where there is room the workers ask, immediately before the start. An order by priority is known only
            # when all have been asked.
            if run_queue.new and (ordered or closed or not run_queue.has_room(now)):
                left |= self._check_run_queue(run_queue, until, ordered)
        if not left or not ordered:
            self._checking_since = inf
        elif self._checking_since == inf:
            self._checking_since = now
        return left

    def _check_run_queue(self, run_queue: RunQueue, until: float, ordered: bool) -> bool:
        new = run_queue.new
        turned_away = 0
        while len(new) > turned_away:
            work = new[0]
            if work._phase != NEW:
                new.popleft()
                run_queue.new_tombstones -= 1
                continue
            if (
                not work._task.gated
                and not ordered
                and not any(task.gated for task in self._tasks_of(run_queue))
            ):
                return False  # nothing to ask: they stay in line
            new.popleft()
            if self._check(work) == LATER:
                new.append(work)
                turned_away += 1
                if all(task.gate_is_async for task in self._tasks_of(run_queue)):
                    new.rotate(turned_away)
                    return False  # the others would be turned away as well, and they may be a great many
            elif self._callbacks.gate.at > until and self._now() > until:
                break
        left = len(new) > turned_away
        new.rotate(turned_away)  # who was turned away keeps the place in line
        return left

    def _tasks_of(self, run_queue: RunQueue) -> Iterator[Task]:
        return (task for task in self._core.all_tasks if task.run_queue is run_queue)

    def _check_not_ready(self, work: Work) -> int:
        verdict = self._check(work)
        if verdict == LATER and work._awaited is None:
            work._task.waiting.appendleft(work)
        return verdict

    def check_unasked(self, run_queue: RunQueue, until: float) -> bool:
        """Ask work units that were put in order unasked, because there was room, and have not had their turn.

        Args:
            run_queue: It has no room now.
            until: Stop at this instant.

        Returns:
            Whether some are left for the next turn.
        """
        unasked, callbacks = run_queue.unasked, self._callbacks
        while unasked:
            work = unasked.popleft()
            if work._phase != READY or work._approved_in != -1:
                continue
            verdict = callbacks.gate.ask(work, callbacks.failures.now())
            if verdict is RUN:
                work._approved_in = self._core.generation
            else:
                run_queue.ready.discard_later()
                self.place(work, verdict, start=False)
            if callbacks.gate.at > until:
                break
        return bool(unasked)

    def _check(self, work: Work, *, found: bool = True) -> int:
        """Ask a work unit that is in hand and put it where it belongs.

        Returns:
            HIT (it can run, or is settled), MISS (not ready), ASKED (being asked), LATER (could not be asked now).
        """
        task = work._task
        if task.gated:
            if task.gate_is_async and not self._may_ask(task.run_queue):
                return LATER
            verdict = self._callbacks.gate.ask(work, self._callbacks.failures.now())
            if verdict in STAYS_PENDING:
                self._wait(work, verdict)
                return MISS
            if verdict in _SETTLED_BY:
                self.place(work, verdict)
                return HIT
            if isinstance(verdict, AwaitableAnswer):
                task.gate_is_async = True
                if not self._may_ask(task.run_queue) and verdict.discard():
                    return LATER
                self.await_answer(work, verdict, start=False)
                return ASKED
        self.enqueue(work, found=found)
        return HIT

    def _wait(self, work: Work, verdict: GateVerdict | AwaitableAnswer) -> None:
        """Put a work in hand aside that is not ready."""
        callbacks = self._callbacks
        if verdict is GateVerdict.HELD:
            self._core.hold(work, callbacks.gate.at, work._not_ready_reason)
            return
        work._recheck_pass = self.rechecker.passes
        reads = callbacks.gate.reads
        self._core.wait(work, callbacks.gate.at, tuple(reads.values()) if reads else None)

    def check_woken(self, until: float) -> bool:
        """Ask work units again that wait for an artifact to which something has happened.

        Args:
            until: Stop at this instant.

        Returns:
            Whether some are left for the next turn.
        """
        core = self._core
        asked = 0
        while (work := self._next_put_off() or core.wakeups.next()) is not None:
            asked += 1
            declared = work._declared
            if declared is not None and core.hold_if_being_made(work, declared, self._callbacks.gate.at):
                continue  # for another of its inputs now
            run_queue: RunQueue = work._task.run_queue
            if not core.ordered and run_queue.has_room(self._callbacks.gate.at):
                # It is asked when its turn comes; should there be no room any more, before that.
                core.enqueue(work, work._order_key, self._callbacks.gate.at, found=False)
                work._approved_in = -1
                if run_queue.services:
                    run_queue.note_unasked(work)
            elif self._check(work, found=False) == LATER:
                # What has the slots wakes everything when it gives them back.
                core.wakeups.keep(work)
                self.put_off.setdefault(run_queue, deque()).append(work)
            if self._callbacks.gate.at > until or (asked & 15 == 0 and self._now() > until):
                return bool(core.wakeups.queue) or any(map(self._may_ask, self.put_off))
        return False

    def _next_put_off(self) -> Work | None:
        """A called work that was put off and for whose gate a slot is free again."""
        for run_queue, works in self.put_off.items():
            if self._may_ask(run_queue):
                while works:
                    work = works.popleft()
                    work._wakeup_queued = False
                    if work._awaited is not None:  # as for those that `next_called` gives
                        return work
                del self.put_off[run_queue]
                return self._next_put_off()
        return None

    def _may_ask(self, run_queue: RunQueue) -> bool:
        return run_queue.asking < _MAX_ASKING and run_queue.free_slots() > 0

    def may_start(self, work: Work, now: float) -> bool:
        """Ask the gate of a work unit that has been taken to be started, unless its yes still holds.

        Args:
            work: In hand, its limits allow the start.
            now: Monotonic.

        Returns:
            Whether to start it at once. If not, it has been put where it belongs.
        """
        verdict = self._callbacks.gate.ask(work, now)
        if verdict is RUN:
            return True
        self.place(work, verdict)
        return False

    def check_batch(self, run_queue: RunQueue, until: float) -> Work | None:
        """Pass over new work units that are not ready, which may be a great many, up to one that is.

        Args:
            run_queue: It has room.
            until: Stop at this instant.

        Returns:
            A work unit to be started at once, if one was found.
        """
        self._hold_new(run_queue, until)
        if self._core.ordered or run_queue.contenders or run_queue.ready:
            return None
        not_ready, work, answer = self._callbacks.gate.ask_batch(run_queue.new, NEW, until)
        passes = self.rechecker.passes
        for one in not_ready:
            one._recheck_pass = passes
        self._core.wait_all(not_ready, self._callbacks.gate.at)
        if work is None:
            return None
        verdict = self._callbacks.gate.interpret(work, answer)
        if verdict is RUN:
            return work
        self.place(work, verdict)
        return None

    def _hold_new(self, run_queue: RunQueue, until: float) -> None:
        """Put new work units aside whose inputs others are about to make, however many there are in a row."""
        new, core = run_queue.new, self._core
        now = self._callbacks.gate.at
        held = 0
        while new:
            work = new[0]
            declared = work._declared
            if declared is None or work._phase != NEW or not core.hold_if_being_made(work, declared, now):
                return
            new.popleft()
            held += 1
            if held & 63 == 0 and self._now() > until:
                return

    def place(self, work: Work, verdict: GateVerdict | AwaitableAnswer, *, start: bool = True) -> None:
        """Put a work unit that was to be started, and may not, where it belongs."""
        if verdict in STAYS_PENDING:
            self._wait(work, verdict)
        elif verdict is GateVerdict.SKIP:
            self._settle(work, SKIPPED, self._callbacks.gate.at)
        elif verdict is GateVerdict.INVALID:
            assert work._declared is not None
            self._settle(work, FAILED, self._callbacks.gate.at, work._declared.fault)
        else:
            assert isinstance(verdict, AwaitableAnswer)
            work._task.gate_is_async = True
            self.await_answer(work, verdict, start=start)

    def enqueue(self, work: Work, *, found: bool = True) -> None:
        """Put a work in hand whose gate said yes in its place.

        Args:
            work: The work.
            found: Whether it was found by looking rather than called.
        """
        core = self._core
        key = work._order_key
        if core.ordered and work._phase != READY:
            priority = self._callbacks.priority.ask(work, self._now() - work._submitted_at, core.pending())
            # Linear ageing is a constant key: a priority of 1.0 is worth a head start of 60 s over one of 0.0.
            key = work._submitted_at - 60.0 * (priority - 0.5)
        core.enqueue(work, key, self._callbacks.gate.at, found=found)
        work._approved_in = core.generation

    def ask_for_skip(self, work: Work) -> bool:
        """Before a work unit that never got its turn is given up: is it up to date by now?"""
        if not work._task.gated:
            return False
        verdict = self._callbacks.gate.ask(work, self._now())
        if isinstance(verdict, AwaitableAnswer):
            verdict.discard()
        return verdict is GateVerdict.SKIP

    # --- Async gates --------------------------------------------------------------------------------------------

    def await_answer(self, work: Work, answer: AwaitableAnswer, *, start: bool) -> None:
        """Await an async gate in a task of its own, holding a slot but no token.

        Args:
            work: In hand.
            answer: What the callback returned.
            start: Whether it is asked in order to be started, and not merely to know.
        """
        asking = _Asking(work, self.rechecker.nudges, self._core.settlements)
        for service in work._task.run_queue.services:
            service.acquire_slot()
        work._task.run_queue.asking += 1
        self._asked.add(asking)
        if asking.waited:
            self.rechecker.asking += 1
        self._core.ask_elsewhere(work)
        gate = self._gate(asking, answer, start)
        # In a context of its own, where the artifacts that are asked while it is awaited write themselves down.
        asking.reads.update(self._callbacks.gate.reads)
        context = self._context.copy()
        context.run(READS.set, asking.reads)
        task = asyncio.Task(gate, loop=asyncio.get_running_loop(), context=context)
        work._runner = task
        self._tasks.add(task)
        # A task that is cancelled before its first step never runs any of its code.
        task.add_done_callback(lambda task: self._gone(task, asking, answer))

    def _gone(self, task: asyncio.Task[None], asking: _Asking, answer: AwaitableAnswer) -> None:
        self._tasks.discard(task)
        if asking in self._asked:
            answer.discard()
            self._answered(asking, hit=False)
            self._drop(asking.work)

    def abandon(self) -> None:
        """The loop has ended: no gate that is being awaited will ever answer."""
        for asking in list(self._asked):
            self._answered(asking, hit=False)
            self._drop(asking.work)
        self._tasks.clear()
        for works in self.put_off.values():
            for work in works:
                work._wakeup_queued = False
                self._core.wakeups.add(work)
        self.put_off.clear()

    def _answered(self, asking: _Asking, *, hit: bool) -> None:
        """Give back what was held for an async gate."""
        self._asked.discard(asking)
        run_queue: RunQueue = asking.work._task.run_queue
        for service in run_queue.services:
            service.release()
        run_queue.asking -= 1
        if asking.waited:
            self.rechecker.answered(hit)
            if hit:
                self._core.wakeups.learn(asking.work._task)

    def _drop(self, work: Work) -> None:
        """The task of a gate was cancelled: with its work, or by a loop that shuts down."""
        if work._phase == CHECKING:
            work._runner = None
            self._settle(work, CANCELLED, self._now())
        self._wake()

    async def _gate(self, asking: _Asking, answer: AwaitableAnswer, start: bool) -> None:
        work = asking.work
        me = asyncio.current_task()
        try:
            verdict: GateVerdict | AwaitableAnswer = answer
            while isinstance(verdict, AwaitableAnswer):
                value, error = await self._answer_of(verdict, work)
                self._core.generation += 1
                if work._phase != CHECKING or (me is not None and me.cancelling()):
                    self._answered(asking, hit=False)
                    self._drop(work)
                    return
                verdict = self._callbacks.gate.resume(work, verdict.question, value, error)
            self._answered(asking, hit=verdict not in STAYS_PENDING)
            work._runner = None
            if verdict in STAYS_PENDING:
                if verdict is GateVerdict.NOT_READY:
                    self._callbacks.gate.reads.update(asking.reads)
                self._wait(work, verdict)
                # Its answer may be older than what the nudge was about, than what was touched or has settled since.
                if work._awaited is None and asking.nudges != self.rechecker.nudges:
                    work._task.waiting.pop()
                    self._context.run(self._check_not_ready, work)
                elif asking.touched or asking.nudges != self.rechecker.nudges:
                    self._core.wakeups.add(work)
                if asking.settlements != self._core.settlements:
                    self.rechecker.changed()
            elif verdict is GateVerdict.SKIP:
                self._settle(work, SKIPPED, self._now())
            elif start and work._task.run_queue.has_room(self._now()):
                await self._run_now(work)
            elif start:
                self._core.enqueue(
                    work, work._order_key, self._now()
                )  # its place in the order was decided before
            else:
                self.enqueue(work)
            self._wake()
        except GeneratorExit:
            raise
        except KeyboardInterrupt:
            self._wake()
            raise
        except BaseException as error:
            self._fail(error)

    async def _answer_of(self, answer: AwaitableAnswer, work: Work) -> tuple[Any, BaseException | None]:
        """What the awaitable gives, or what it raised."""
        task = work._task
        gate = task.is_ready if answer.question == "ready" else task.is_stale

        def told(seconds: float) -> None:
            if seconds > BLOCKS_AFTER:
                self._callbacks.failures.blocked(f"is_{answer.question} callback {describe(gate)}", seconds)

        limit = asyncio.timeout(GATE_LIMIT)
        try:
            async with limit:
                return await timed(answer.awaitable, self._callbacks.failures.now, told), None
        except TimeoutError as error:
            return None, TimeoutError(f"no answer within {GATE_LIMIT:g} s") if limit.expired() else error
        except BaseException as error:
            return None, error


class _Asking:
    """One async gate that is being awaited."""

    __slots__ = ("nudges", "reads", "settlements", "touched", "waited", "work")

    def __init__(self, work: Work, nudges: int, settlements: int) -> None:
        self.work = work
        self.nudges = nudges
        self.settlements = settlements
        self.waited = work._phase == NOT_READY
        self.reads: dict[Hashable, Any] = {}
        self.touched = False
