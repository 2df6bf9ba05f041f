"""Async gates that are being awaited, each in an asyncio task of its own.

Lives here: `AwaitedGates`. An async gate holds a slot while it is asked, never a token, and at most as many are asked
at once as slots are free. When it has answered, its work unit goes where the verdict says, or starts in the very task.
Where no callback is asked but files are read to know whether outputs are out of date, no slot is held.

Must not know: when work units are asked, how handlers run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Hashable
from contextvars import Context
from functools import partial
from math import inf
from typing import Any, Final, Protocol

from runcue._artifacts.places import next_pass
from runcue._artifacts.reads import READS
from runcue._callbacks.callbacks import Callbacks
from runcue._callbacks.door import AWAIT
from runcue._callbacks.verdicts import (
    RUN,
    STAYS_PENDING,
    AwaitableAnswer,
    GateVerdict,
    OpenQuestion,
    Question,
)
from runcue._dispatch.closed_loops import dismiss, is_being_closed
from runcue._dispatch.off_loop import NO_THREAD, off_loop
from runcue._dispatch.turns import Turns
from runcue._handlers.coroutines import watched
from runcue._model.callables import located
from runcue._model.phases import CHECKING, NOT_READY
from runcue._model.work import Work
from runcue._scheduling.core import Core
from runcue._scheduling.rechecking import Rechecker
from runcue._scheduling.run_queue import RunQueue
from runcue._scheduling.wakeups import Reading

__all__ = ["GATE_LIMIT", "AwaitedGates", "Places", "Starts"]

GATE_LIMIT: Final = 30.0
"""Seconds after which an async gate that has not answered counts as raising."""

# Async gates asked at once where no number of slots says how many.
_MOST: Final = 100

# Files are read for so many work units at once: enough for a disk, and few threads.
_READERS: Final = 4


class Places(Protocol):
    """Where work units go that were asked."""

    def place(self, work: Work, verdict: GateVerdict | AwaitableAnswer) -> None:
        """Put a work in hand that may not start where it belongs."""

    def enqueue(self, work: Work) -> None:
        """Put a work in hand that may start in its place."""

    def check_not_ready(self, work: Work) -> int:
        """Ask a work once more that was put among those that wait, and is in hand again."""


class Starts(Protocol):
    """What starts work units."""

    def run_now(self, work: Work) -> Awaitable[None]:
        """Start a work in hand in the current asyncio task."""

    def note_cut_off(self) -> None:
        """A stranger has cancelled the asyncio task in which a gate was awaited."""


class AwaitedGate(Reading):
    """One async gate that is being awaited.

    Attributes:
        work: Who is asked.
        starts: Whether it is asked in order to be started, and not merely to know.
        holds: Whether it holds a slot.
        waited: Whether it was not ready before.
        nudges: How many nudges there had been when it was asked.
        settlements: How many settlements.
        question: The one that is open.
        since: When that was asked.
    """

    __slots__ = ("holds", "nudges", "question", "settlements", "since", "starts", "waited", "work")

    def __init__(
        self, work: Work, nudges: int, settlements: int, reads: dict[Hashable, Any], *, starts: bool
    ) -> None:
        super().__init__(reads)
        self.work = work
        self.starts = starts
        self.holds = False
        self.waited = work._phase == NOT_READY
        self.nudges = nudges
        self.settlements = settlements
        self.question: Question = "ready"
        self.since = 0.0


class AwaitedGates:
    """Awaits async gates. True while there are any.

    Args:
        core: The state.
        callbacks: The user's gates.
        turns: The turns of the loop.
        rechecker: Hears of answers to what it has asked.
        places: Where work units go by what was answered.
        starts: Starts those that may, at once.
        context: The contextvars that gates are awaited in.
    """

    def __init__(
        self,
        core: Core,
        callbacks: Callbacks,
        turns: Turns,
        rechecker: Rechecker,
        places: Places,
        starts: Starts,
        context: Context,
    ) -> None:
        self._core = core
        self._gate = callbacks.gate
        self._door = callbacks.door
        self._turns = turns
        self._rechecker = rechecker
        self._places = places
        self._starts = starts
        self._context = context
        self._awaited: set[AwaitedGate] = set()
        self._readers = asyncio.Semaphore(_READERS)
        # Held, since the loop holds its tasks weakly; with what each awaits first.
        self._tasks: dict[asyncio.Task[None], AwaitableAnswer] = {}

    def __bool__(self) -> bool:
        return bool(self._awaited)

    def works(self) -> list[Work]:
        """The work units whose gates are being awaited."""
        return [awaited.work for awaited in self._awaited]

    def holders(self) -> list[Work]:
        """The work units whose gates hold a slot meanwhile."""
        return [awaited.work for awaited in self._awaited if awaited.holds]

    def question_of(self, work: Work) -> OpenQuestion | None:
        """The question about a work unit that is open."""
        for awaited in self._awaited:
            if awaited.work is work:
                limit = inf if awaited.question == "content" else GATE_LIMIT
                return OpenQuestion(awaited.question, awaited.since, awaited.since + limit)
        return None

    def read(self) -> list[Hashable]:
        """The keys of the artifacts that gates have looked at."""
        return [key for awaited in self._awaited for key in awaited.reads]

    @staticmethod
    def have_room(work: Work) -> bool:
        """Whether the gate of a work unit may be awaited beside those that are."""
        run_queue: RunQueue = work._task.run_queue
        return run_queue.asking < _MOST and run_queue.free_slots(work) > 0

    def begin(self, work: Work, answer: AwaitableAnswer, *, starts: bool) -> None:
        """Await a gate in a task of its own, holding a slot but no token; no slot while it only takes reading.

        Args:
            work: In hand.
            answer: What the callback returned.
            starts: Whether it is asked in order to be started, and not merely to know.
        """
        reads: dict[Hashable, Any] = dict(self._gate.reads)
        awaited = AwaitedGate(work, self._rechecker.nudges, self._core.settlements, reads, starts=starts)
        awaited.question, awaited.since = answer.question, self._gate.at
        if not self._awaited:
            self._readers = asyncio.Semaphore(_READERS)  # the one before may belong to another loop
        if answer.question != "content":
            self._hold_slot(awaited)
        self._awaited.add(awaited)
        self._core.wakeups.readings.add(awaited)
        if awaited.waited:
            self._rechecker.asking += 1
        self._core.ask_elsewhere(work)
        # In a context of its own, where the artifacts that are asked while it is awaited write themselves down.
        context = self._context.copy()
        context.run(READS.set, reads)
        task = asyncio.Task(self._carry_on(awaited, answer), loop=self._turns.loop, context=context)
        work._runner = task
        self._tasks[task] = answer
        # A task that is cancelled before its first step never runs any of its code.
        task.add_done_callback(lambda task: self._gone(task, awaited, answer))

    @staticmethod
    def _hold_slot(awaited: AwaitedGate) -> None:
        run_queue: RunQueue = awaited.work._task.run_queue
        run_queue.hold_slots(awaited.work)
        run_queue.asking += 1
        awaited.holds = True

    def _gone(self, task: asyncio.Task[None], awaited: AwaitedGate, answer: AwaitableAnswer) -> None:
        self._tasks.pop(task, None)
        if awaited in self._awaited:
            answer.discard()
            self._drop(awaited)

    def dismiss(self) -> None:
        """The loop was closed: let go of what was to be awaited in it."""
        for task, answer in list(self._tasks.items()):
            if dismiss(task):
                answer.discard()

    def abandon(self) -> None:
        """The loop has ended: no gate that is being awaited will ever answer."""
        for awaited in list(self._awaited):
            self._drop(awaited)
        for task, answer in self._tasks.items():
            if not task.get_loop().is_closed():
                # It has only just begun, or it would have been cancelled with all others.
                task.cancel()
                task.add_done_callback(partial(_discard, answer))
        self._tasks.clear()

    def _drop(self, awaited: AwaitedGate) -> None:
        """The task of a gate was cancelled: with its work unit, or by a loop that shuts down; then it is asked anew."""
        self._give_back(awaited, hit=False)
        work = awaited.work
        if work._phase == CHECKING:
            work._runner = None
            work._not_ready_reason = (
                "nothing yet, since the asyncio task was cancelled in which it was awaited"
            )
            self._places.place(work, GateVerdict.NOT_READY)
            self._starts.note_cut_off()
        self._turns.wake()

    def _give_back(self, awaited: AwaitedGate, *, hit: bool) -> None:
        """Give back what was held for a gate."""
        if awaited not in self._awaited:
            return  # when its loop had ended, which has gone on for a moment
        self._awaited.discard(awaited)
        self._core.wakeups.readings.discard(awaited)
        if awaited.holds:
            run_queue: RunQueue = awaited.work._task.run_queue
            run_queue.give_back_slots(awaited.work)
            run_queue.asking -= 1
        if awaited.waited:
            self._rechecker.answered(hit)
            if hit:
                self._core.wakeups.learn(awaited.work._task)

    async def _carry_on(self, awaited: AwaitedGate, answer: AwaitableAnswer) -> None:
        work = awaited.work
        me = asyncio.current_task()
        assert me is not None
        try:
            verdict: GateVerdict | AwaitableAnswer = answer
            while isinstance(verdict, AwaitableAnswer):
                awaited.question, awaited.since = verdict.question, self._turns.now()
                value, error = await self._outcome_of(verdict, work, me)
                self._core.generation += 1
                next_pass()
                if work._phase != CHECKING or me.cancelling():
                    self._drop(awaited)
                    return
                verdict = self._gate.resume(work, verdict.question, value, error)
                if work._phase != CHECKING:  # who was asked just now has cancelled it
                    self._drop(awaited)
                    return
                if isinstance(verdict, AwaitableAnswer) and not self._may_go_on(awaited, verdict):
                    return
            self._give_back(awaited, hit=verdict not in STAYS_PENDING)
            work._runner = None
            if verdict is not RUN:
                if verdict is GateVerdict.NOT_READY:
                    self._gate.reads.update(awaited.reads)
                self._places.place(work, verdict)
                if verdict in STAYS_PENDING:
                    self._ask_again_if_outdated(awaited)
            elif not awaited.starts or work in self._core.appointments.recalls:
                self._places.enqueue(work)
            else:
                has_room = work._task.run_queue.has_room(self._turns.now(), work)
                if work._phase == CHECKING:  # else the limit that was asked has cancelled it
                    if has_room:
                        await self._starts.run_now(work)
                    else:  # its place in the order was decided before
                        self._core.enqueue(work, work._order_key, self._turns.now())
            self._turns.wake()
        except GeneratorExit:
            raise
        except KeyboardInterrupt as error:
            self._turns.wake()
            self._turns.interrupt(error)
        except BaseException as error:
            self._turns.fail(error)

    def _may_go_on(self, awaited: AwaitedGate, answer: AwaitableAnswer) -> bool:
        """Whether one more answer may be awaited. If not, its work unit is asked again when its turn comes."""
        work = awaited.work
        if awaited.holds or answer.question == "content":
            return True
        work._task.gate_is_async = True
        if self.have_room(work):
            self._hold_slot(awaited)
            return True
        answer.discard()
        self._give_back(awaited, hit=True)
        work._runner = None
        self._places.enqueue(work)
        work._approved_in = -1
        self._turns.wake()
        return False

    def _ask_again_if_outdated(self, awaited: AwaitedGate) -> None:
        """A no may be older than what a nudge was about, than what was touched or has settled since."""
        work = awaited.work
        nudged = awaited.nudges != self._rechecker.nudges
        if nudged and work._awaited is None:
            work._task.waiting.pop()
            self._context.run(self._places.check_not_ready, work)
        elif nudged or awaited.touched:
            self._core.wakeups.add(work)
        if awaited.settlements != self._core.settlements:
            self._rechecker.changed()

    async def _outcome_of(
        self, answer: AwaitableAnswer, work: Work, me: asyncio.Task[None]
    ) -> tuple[Any, BaseException | None]:
        """What the awaitable gives, or what it raised."""
        if answer.question == "content":

            def blocked_by_reading(began: float, ended: float) -> None:
                self._door.blocked(f"Reading files of task {work.task!r}", began, ended, NO_THREAD, work)

            try:
                async with self._readers:
                    await off_loop(answer.awaitable, blocked_by_reading)
            except GeneratorExit:
                raise  # it is being closed
            except BaseException as error:
                return None, error
            return None, None
        task = work._task
        gate = task.is_ready if answer.question == "ready" else task.is_stale

        def blocked(began: float, ended: float) -> None:
            self._door.blocked(f"is_{answer.question} callback {located(gate)}", began, ended, AWAIT, work)

        def cancelled() -> None:
            if work._phase == CHECKING:
                self._door.cancelled(f"is_{answer.question} callback {located(gate)}", work)

        limit = asyncio.timeout(GATE_LIMIT)
        try:
            async with limit:
                return await watched(answer.awaitable, self._door.now, blocked, cancelled), None
        except TimeoutError as error:
            return None, TimeoutError(f"no answer within {GATE_LIMIT:g} s") if limit.expired() else error
        except BaseException as error:
            if type(error) is GeneratorExit and is_being_closed(me):
                raise
            return None, error


def _discard(answer: AwaitableAnswer, task: asyncio.Task[None]) -> None:
    answer.discard()
