"""The pure core under random stimuli: no loop, no clock, no user code. After every step its books must agree."""

from __future__ import annotations

from collections import Counter
from math import inf

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from runcue._limits.service import UNBOUNDED, Service
from runcue._limits.sliding_window import SlidingWindow
from runcue._model.attempts import Again, Attempt
from runcue._model.errors import InvalidTransition
from runcue._model.overrides import Overrides
from runcue._model.phases import (
    CANCELLED,
    CHECKING,
    COMPLETED,
    FAILED,
    NEW,
    NOT_DUE,
    NOT_READY,
    OUTCOMES,
    READY,
    RUNNING,
    SETTLED,
    SKIPPED,
    WorkState,
)
from runcue._model.rate import parse_rate
from runcue._model.task import Task
from runcue._model.work import Work
from runcue._scheduling import later
from runcue._scheduling.appointments import Appointment
from runcue._scheduling.core import Core
from runcue._scheduling.essential import essential_works
from runcue._scheduling.numbers import counts, counts_by_task, totals
from runcue._scheduling.priority_queue import PriorityQueue
from runcue._scheduling.returning import put_back, take_back
from runcue._scheduling.run_queue import RunQueue
from runcue._scheduling.selection import select
from runcue._scheduling.transitions import TRANSITIONS
from runcue.abc import Limit
from runcue.testing import FakeExecutor
from tests.support.cores import by_phase
from tests.support.worlds import Tally

KEEP = 5
TIMEOUT = 10.0
WARN_AFTER = 5.0
WALL = 1_700_000_000.0
USES = ((), ("a",), ("b",), ("a", "b"))
picks = st.integers(0, 10_000)
keys = st.floats(-60, 60).map(lambda value: round(value, 1))


class Tenants(Limit):
    """So many work units of each tenant at the same time; both services share it, and a start counts once."""

    def __init__(self, together: int) -> None:
        self.together = together
        self.inside: set[Work] = set()
        self.entered_: set[Work] = set()

    def room(self, now: float, work: Work, /) -> bool:
        tenant = work.params["tenant"]
        return sum(one.params["tenant"] == tenant for one in self.inside) < self.together

    def acquire(self, now: float, work: Work, /) -> None:
        assert self.room(now, work)
        assert work not in self.inside
        self.inside.add(work)

    def entered(self, now: float, work: Work, at: float, /) -> None:
        assert work in self.inside - self.entered_
        self.entered_.add(work)

    def release(self, now: float, work: Work, actual: object, /) -> None:
        self.inside.remove(work)
        self.entered_.remove(work)


class CoreMachine(RuleBasedStateMachine):
    """Plays the shell: takes work units in hand and puts them where a gate's answer would."""

    def __init__(self) -> None:
        super().__init__()
        Tally.examples += 1
        self.now = 0.0
        self.works: list[Work] = []
        self.hand: list[Work] = []  # taken out of a queue, not put anywhere yet
        self.reserved: list[Work] = []
        self.settled = 0
        self.instants: dict[Work, float] = {}  # of the next attempts of those that were put back
        self.attempts: Counter[Work] = Counter()
        self.for_later: set[Work] = set()  # those whose first instant has not come
        self.outcomes: Counter[int] = Counter()
        self.warned: set[tuple[Work, float]] = set()
        self.must_complete: set[Work] = set()
        self.awaits: dict[Work, Work] = {}  # whom the handlers of running ones await
        self.ended: dict[Work, tuple[int, tuple[Attempt, ...]]] = {}

    @initialize(
        slots=st.tuples(st.integers(1, 3), st.integers(1, 3) | st.just(UNBOUNDED)),
        rate=st.sampled_from((None, "2/sec", "3/10sec")),
        together=st.sampled_from((0, 1, 2)),
        ordered=st.booleans(),
        max_threads=st.integers(1, 3),
        essential=st.integers(0, 15),
    )
    def describe(
        self,
        slots: tuple[int, int],
        rate: str | None,
        together: int,
        ordered: bool,
        max_threads: int,
        essential: int,
    ) -> None:
        core = self.core = Core(
            keep=KEEP, max_threads=max_threads, pending_timeout=TIMEOUT, pending_warn_after=WARN_AFTER
        )
        self.executor = FakeExecutor()
        core.holds.awaited_by = lambda work: [self.awaits[work]] if work in self.awaits else []
        core.ordered = ordered
        self.window = SlidingWindow(parse_rate(rate)) if rate else None
        self.tenants = Tenants(together) if together else None
        own = [] if self.tenants is None else [self.tenants]
        core.services["a"] = Service("a", (), slots[0], own)
        core.services["b"] = Service("b", () if self.window is None else (self.window,), slots[1], own)
        for number, uses in enumerate(USES * 2):
            executor = None if number < len(USES) else self.executor
            task = Task(str(number), print, uses, None, executor)
            task.must_complete = number == essential
            slots = None if executor is None else core.threads
            task.run_queue = core.run_queues.find(uses, core.services, executor, slots)
            core.tasks[task.name] = task
            core.all_tasks.append(task)

    def pick(self, among: list[Work], number: int) -> Work:
        return among[number % len(among)]

    def of(self, *phases: int) -> list[Work]:
        return [work for work in self.works if work._phase in phases and work not in self.hand]

    def since(self, work: Work) -> float:
        """By its own account: an age begins to count with the submission and with the instant of each next attempt."""
        return max(work._submitted_at, self.instants.get(work, 0.0))

    def settle(self, work: Work, outcome: int) -> None:
        self.core.settle(work, outcome, None, self.now, self.now)
        self.awaits.pop(work, None)
        self.ended[work] = (work.attempt, work.attempts)
        self.settled += 1
        self.outcomes[outcome] += 1

    @rule(passed=st.sampled_from((0.0, 0.1, 0.5, 1.0, 4.0)))
    def time_passes(self, passed: float) -> None:
        self.now += passed

    def new_work(self, number: int, said: bool | None) -> Work:
        task = self.core.all_tasks[number % len(self.core.all_tasks)]
        work = Work(str(len(self.works)), task.name, {"tenant": len(self.works) % 3})
        work._task = task
        if said is not None:
            work._overrides = Overrides({"must_complete": said})
        if task.must_complete if said is None else said:
            self.must_complete.add(work)
        self.works.append(work)
        return work

    @rule(
        number=picks, several=st.sampled_from((1, 1, 2, 10)), said=st.sampled_from((None, None, True, False))
    )
    def add(self, number: int, several: int, said: bool | None) -> None:
        for _ in range(several):
            self.core.add(self.new_work(number, said), self.now)

    @rule(
        number=picks,
        delay=st.sampled_from((0.1, 0.5, 3.0, 20.0)),
        by_wall=st.booleans(),
        said=st.sampled_from((None, None, True, False)),
    )
    def add_for_later(self, number: int, delay: float, by_wall: bool, said: bool | None) -> None:
        work = self.new_work(number, said)
        at = self.now + delay
        appointment = Appointment(at + WALL if by_wall else at, by_wall=by_wall)
        later.add_later(self.core, work, appointment, self.now, self.now + WALL)
        self.instants[work] = at
        self.for_later.add(work)

    def first_among(self, run_queue: RunQueue) -> Work | None:
        """What a run queue and those that share a service with it have to start first."""
        run_queues = self.core.run_queues.values()
        contenders = [
            one for one in run_queues if one is run_queue or set(one.services) & set(run_queue.services)
        ]
        able = [one for one in contenders if self.has_room(one)]
        phases = (READY,) if self.core.ordered else (NEW, READY)
        return min(
            (work for work in self.of(*phases) if work._task.run_queue in able),
            key=lambda work: (work._order_key, work._seq),
            default=None,
        )

    @rule(number=picks)
    def take(self, number: int) -> None:
        core = self.core
        run_queues = list(core.run_queues.values())
        run_queue = run_queues[number % len(run_queues)]
        first = self.first_among(run_queue)
        while first is not None:  # a contender's work gives way to what its own contenders have to do first
            older = self.first_among(first._task.run_queue)
            if older is first:
                break
            first = older
        taken = select(run_queue, self.now, core.ordered)
        assert taken is first, f"took {taken}, first is {first}"
        if taken is not None:
            self.hand.append(taken)

    def first_in_line(self, run_queue: RunQueue) -> Work | None:
        phases = (READY,) if self.core.ordered else (NEW, READY)
        line = (work for work in self.of(*phases) if work._task.run_queue is run_queue)
        return min(line, key=lambda work: (work._order_key, work._seq), default=None)

    def has_room(self, run_queue: RunQueue, work: Work | None = None) -> bool:
        """By its own account, not by that of the services; for the first in line, or for a work in hand."""
        work = work or self.first_in_line(run_queue)
        for service in run_queue.services:
            holding = [one for one in self.of(RUNNING, CHECKING) if service in one._task.run_queue.services]
            if len(holding) >= service.concurrent:
                return False
            if service.name == "b" and self.window is not None and not self.window.room(self.now):
                return False
            if work is not None and service.name in ("a", "b") and self.tenants is not None:
                tenant = work.params["tenant"]
                inside = [one for one in self.of(RUNNING) if one in self.tenants.inside]
                if sum(one.params["tenant"] == tenant for one in inside) >= self.tenants.together:
                    return False
        return True

    @precondition(lambda self: self.of(NEW))
    @rule(number=picks)
    def take_to_be_checked(self, number: int) -> None:
        run_queue = self.pick(self.of(NEW), number)._task.run_queue
        while run_queue.new:
            work = run_queue.new.popleft()
            if work._phase == NEW:
                self.hand.append(work)
                return
            run_queue.new_tombstones -= 1

    @precondition(lambda self: self.of(NOT_READY))
    @rule(number=picks)
    def take_to_be_asked_again(self, number: int) -> None:
        task = self.pick(self.of(NOT_READY), number)._task
        while True:
            work = task.waiting.popleft()
            if work._phase == NOT_READY:
                self.hand.append(work)
                return
            task.waiting_tombstones -= 1

    @precondition(lambda self: self.hand)
    @rule(number=picks)
    def not_ready(self, number: int) -> None:
        work = self.hand.pop(number % len(self.hand))
        self.core.wait(work, 0.0)

    @precondition(lambda self: self.hand)
    @rule(number=picks, key=keys)
    def ready(self, number: int, key: float) -> None:
        work = self.hand.pop(number % len(self.hand))
        self.core.enqueue(work, key if self.core.ordered else work._order_key, 0.0)

    @precondition(lambda self: self.hand)
    @rule(number=picks)
    def start(self, number: int) -> None:
        work = self.pick(self.hand, number)
        if work._phase == NOT_READY or not self.has_room(work._task.run_queue, work):
            return
        self.hand.remove(work)
        self.core.start(work, self.now, self.now)
        if work._task.run_queue.limits:
            self.reserved.append(work)

    @precondition(lambda self: self.hand)
    @rule(number=picks)
    def ask(self, number: int) -> None:
        work = self.pick(self.hand, number)
        if work._phase == CHECKING or work._task.run_queue.free_slots() <= 0:
            return
        self.hand.remove(work)
        for service in work._task.run_queue.services:
            service.acquire_slot()
        self.core.move(work, CHECKING)

    @precondition(lambda self: self.of(CHECKING))
    @rule(number=picks)
    def answered(self, number: int) -> None:
        work = self.pick(self.of(CHECKING), number)
        for service in work._task.run_queue.services:
            service.release_slot()
        self.hand.append(work)

    @precondition(lambda self: self.reserved)
    @rule(number=picks, late=st.sampled_from((0.0, 0.1)))
    def entered(self, number: int, late: float) -> None:
        work = self.reserved.pop(number % len(self.reserved))
        work._task.run_queue.entered(self.now, work, self.now - late)

    @precondition(lambda self: self.of(RUNNING))
    @rule(number=picks, outcome=st.sampled_from((COMPLETED, FAILED, CANCELLED)))
    def ended(self, number: int, outcome: int) -> None:
        work = self.pick(self.of(RUNNING), number)
        if work in self.reserved:
            return
        work._task.run_queue.release(self.now, work)
        self.settle(work, outcome)

    @precondition(lambda self: self.of(RUNNING))
    @rule(number=picks, delay=st.sampled_from((0.0, 0.1, 0.5, 3.0, 20.0)), counts=st.booleans())
    def again(self, number: int, delay: float, counts: bool) -> None:
        work = self.pick(self.of(RUNNING), number)
        if work in self.reserved:
            return
        work._task.run_queue.release(self.now, work)
        put_back(self.core, work, Again(self.now + delay, counts=counts), self.now)
        self.awaits.pop(work, None)
        self.instants[work] = self.now + delay
        self.attempts[work] += counts

    @precondition(lambda self: self.of(RUNNING))
    @rule(number=picks, other=picks)
    def awaits_another(self, number: int, other: int) -> None:
        self.awaits[self.pick(self.of(RUNNING), number)] = self.pick(self.works, other)

    @rule()
    def instants_come(self) -> None:
        waiting = self.of(NOT_DUE)
        fresh = [work for work in waiting if work in self.for_later]
        later.keep(self.core, self.now, self.now + WALL, 1_000_000)
        for work in fresh:
            assert (work._phase == NEW) == (self.instants[work] <= self.now), "at its instant, and not before"
            if work._phase == NEW:
                self.for_later.discard(work)
                assert work._order_key == self.now, "as if it was submitted then"
                self.instants[work] = self.now
        due = [
            work
            for work in self.of(NOT_DUE)
            if work not in self.for_later and self.instants[work] <= self.now
        ]
        keys = {work: (work._order_key, work._seq) for work in due}
        take_back(self.core, self.now, 1_000_000)
        assert {work for work in due if work._phase == NEW} == set(due)
        assert keys == {work: (work._order_key, work._seq) for work in due}, "each has the place that it had"

    @precondition(lambda self: self.hand)
    @rule(number=picks)
    def up_to_date(self, number: int) -> None:
        self.settle(self.hand.pop(number % len(self.hand)), SKIPPED)

    @precondition(lambda self: self.of(NEW, READY, NOT_READY, NOT_DUE))
    @rule(number=picks, outcome=st.sampled_from((CANCELLED, FAILED, SKIPPED)))
    def withdraw(self, number: int, outcome: int) -> None:
        work = self.pick(self.of(NEW, READY, NOT_READY, NOT_DUE), number)
        self.core.withdraw(work)
        self.settle(work, outcome)

    @precondition(lambda self: len(self.of(NEW, READY, NOT_READY)) > 20)
    @rule(keep_every=st.integers(2, 9))
    def withdraw_most(self, keep_every: int) -> None:
        for place, work in enumerate(self.of(NEW, READY, NOT_READY)):
            if place % keep_every:
                self.core.withdraw(work)
                self.settle(work, CANCELLED)

    @rule()
    def time_out(self) -> None:
        if self.hand or self.of(CHECKING):
            return
        pending = [work for work in self.of(NEW, READY, NOT_READY, NOT_DUE) if work not in self.for_later]
        due = {work for work in pending if self.since(work) + TIMEOUT <= self.now}
        line = self.core.timeouts
        assert line is not None
        found = []
        while (work := line.pop(self.now)) is not None:
            found.append(work)
            self.core.withdraw(work)
            self.settle(work, FAILED)
        assert found == sorted(found, key=self.since), "the oldest first"
        assert (set(found), len(found)) == (due, len(due))

    @rule()
    def warn(self) -> None:
        line = self.core.warnings
        assert line is not None
        while (work := line.pop(self.now)) is not None:
            # Each once, and once more after each time that it was put back.
            told = (work, self.since(work))
            assert self.since(work) + WARN_AFTER <= self.now
            assert told not in self.warned
            self.warned.add(told)

    @precondition(lambda self: self.of(RUNNING, SETTLED))
    @rule(number=picks, phase=st.integers(NEW, SETTLED))
    def forbidden(self, number: int, phase: int) -> None:
        work = self.pick(self.of(RUNNING, SETTLED), number)
        if phase in TRANSITIONS[work._phase]:
            return
        before = (work._phase, by_phase(self.core))
        with pytest.raises(InvalidTransition):
            self.core.move(work, phase)
        assert before == (work._phase, by_phase(self.core))

    @invariant()
    def counts_agree_with_a_recount(self) -> None:
        if not self.works:
            return
        core = self.core
        phases = Counter(work._phase for work in self.works)
        assert by_phase(core) == [phases[phase] for phase in range(SETTLED + 1)]
        assert core.pending() == sum(phases[phase] for phase in (NEW, READY, NOT_READY, CHECKING, NOT_DUE))
        assert core.unsettled == core.pending() + phases[RUNNING]
        assert core.settlements == phases[SETTLED] == self.settled
        ended = [self.outcomes[outcome] for outcome in range(len(OUTCOMES))]
        assert list(totals(core).values()) == ended
        assert list(counts(core).values()) == [core.pending(), phases[RUNNING], *ended]
        by_task = [list(numbers.values()) for numbers in counts_by_task(core).values()]
        assert [sum(column) for column in zip(*by_task, strict=True)] == list(counts(core).values())
        for task in core.tasks.values():
            states = Counter(work.state for work in self.works if work.task == task.name)
            own = counts_by_task(core)[task.name]
            assert own["pending"] == states[WorkState.PENDING]
            assert own["running"] == states[WorkState.RUNNING]
        pending = [work for work in self.works if work._phase < RUNNING]
        assert list(core.pending_works()) == pending

    @invariant()
    def every_work_is_in_exactly_one_place(self) -> None:
        if not self.works:
            return
        places: Counter[Work] = Counter(self.hand)
        for run_queue in self.core.run_queues.values():
            fresh = [work for work in run_queue.new if work._phase == NEW]
            ready = run_queue.ready.works()
            places.update(fresh)
            places.update(ready)
            assert len(run_queue.new) - len(fresh) == run_queue.new_tombstones
            assert len(run_queue.ready) == len(ready)
            assert run_queue.backlog() == len(fresh) + len(ready)
            assert run_queue.backlog(ordered=True) == len(ready)
            assert all(work._task.run_queue is run_queue for work in (*fresh, *ready))
        for task in self.core.all_tasks:
            waiting = [work for work in task.waiting if work._phase == NOT_READY]
            places.update(waiting)
            assert len(task.waiting) - len(waiting) == task.waiting_tombstones
        for work in self.works:
            expected = 1 if work in self.hand or work._phase in {NEW, READY, NOT_READY} else 0
            assert places[work] == expected, f"{work!r} is in {places[work]} places"

    @invariant()
    def slots_in_use_are_those_of_running_and_asked_works(self) -> None:
        for service in (*self.core.services.values(), self.core.threads) if self.works else ():
            holding = sum(
                work._phase in {RUNNING, CHECKING}
                and work not in self.hand
                and service in work._task.run_queue.services
                for work in self.works
            )
            assert service.active == holding <= service.concurrent

    @invariant()
    def limits_hold_what_runs_and_nothing_else(self) -> None:
        if not self.works:
            return

        def users(*names: str) -> set[Work]:
            return {work for work in self.works if not {*names}.isdisjoint(work._task.services)}

        if self.window is not None:
            assert self.window.reserved == len(users("b") & {*self.reserved})
        if self.tenants is not None:
            held = {work for work in users("a", "b") if work._phase == RUNNING}
            assert self.tenants.inside == held
            assert self.tenants.entered_ == held - {*self.reserved}

    @invariant()
    def history_is_bounded_and_knows_everything_unsettled(self) -> None:
        if not self.works:
            return
        known = self.core.history.works
        assert all(work.id in known for work in self.works if work._phase != SETTLED)
        assert sum(work._phase == SETTLED for work in known.values()) == min(KEEP, self.settled)

    @invariant()
    def the_oldest_pending_work_times_out_next(self) -> None:
        if not self.works or self.hand:
            return
        since = [
            self.since(work) for work in self.works if work._phase < RUNNING and work not in self.for_later
        ]
        # One that was popped as overdue is settled at once, so all that are pending are in line.
        line = self.core.timeouts
        assert line is not None
        assert line.next() == min(since, default=inf) + TIMEOUT

    @invariant()
    def the_first_instant_is_known_and_those_who_wait_for_theirs_are_at_their_next_attempt(self) -> None:
        if not self.works:
            return
        delayed = [work for work in self.of(NOT_DUE) if work not in self.for_later]
        assert self.core.returning.next() == min((self.instants[work] for work in delayed), default=inf)
        assert len(self.core.returning) == len(delayed)
        ahead = {work for work in self.for_later if work._phase == NOT_DUE}
        appointments = self.core.appointments
        assert appointments.works == ahead
        first = min((self.instants[work] for work in ahead), default=inf)
        assert appointments.next(self.now, self.now + WALL) == pytest.approx(first, abs=1e-6)
        assert all(work.attempt == 1 + self.attempts[work] for work in self.works)

    @invariant()
    def what_must_complete_is_known_with_all_that_its_handlers_await(self) -> None:
        if not self.works:
            return
        line = [work for work in self.must_complete if work._phase != SETTLED]
        expected: set[Work] = set()
        while line:
            expected.add(work := line.pop())
            awaited = self.awaits.get(work) if work._phase == RUNNING else None
            if awaited is not None and awaited._phase != SETTLED and awaited not in expected:
                line.append(awaited)
        assert {*essential_works(self.core)} == expected

    @invariant()
    def nothing_is_added_to_what_has_settled(self) -> None:
        assert self.ended == {work: (work.attempt, work.attempts) for work in self.ended}

    def teardown(self) -> None:
        if not self.works:
            return
        for run_queue in self.core.run_queues.values():
            popped = []
            while (work := run_queue.pop(ordered=False)) is not None:
                popped.append((work._order_key, work._seq))
                work._phase = SETTLED
            assert popped == sorted(popped)


@pytest.mark.rule(6, 16, 18, 39)
def test_the_books_of_the_core_agree_after_any_stimuli() -> None:
    run_state_machine_as_test(CoreMachine)


class PriorityQueueMachine(RuleBasedStateMachine):
    """The priority queue alone, against a sorted list."""

    def __init__(self) -> None:
        super().__init__()
        Tally.examples += 1
        self.ordered = PriorityQueue()
        self.model: list[Work] = []
        self.seq = 0

    @rule(key=keys, several=st.sampled_from((1, 1, 3, 40)))
    def push(self, key: float, several: int) -> None:
        for _ in range(several):
            self.seq += 1
            work = Work(str(self.seq), "x")
            work._phase, work._order_key, work._seq = READY, key, self.seq
            self.ordered.push(work)
            self.model.append(work)

    @precondition(lambda self: self.model)
    @rule(number=picks)
    def push_again(self, number: int) -> None:
        """One that had its turn and could not start comes back to its old place."""
        work = self.ordered.peek()
        assert work is not None
        self.ordered.drop(work)
        self.ordered.push(work)

    @rule()
    def pop(self) -> None:
        first = min(self.model, key=lambda work: (work._order_key, work._seq), default=None)
        assert self.ordered.peek() is first
        if first is not None:
            self.ordered.drop(first)
            self.model.remove(first)
            first._phase = RUNNING

    @precondition(lambda self: self.model)
    @rule(numbers=st.lists(picks, min_size=1, max_size=120))
    def discard(self, numbers: list[int]) -> None:
        for number in numbers:
            if self.model:
                work = self.model.pop(number % len(self.model))
                self.ordered.discard_later()  # told before the phase changes
                work._phase = SETTLED

    @invariant()
    def it_holds_what_it_should(self) -> None:
        assert len(self.ordered) == len(self.model)
        assert set(self.ordered.works()) == set(self.model)


@pytest.mark.rule(6)
def test_work_units_leave_the_line_in_order_however_they_came() -> None:
    run_state_machine_as_test(PriorityQueueMachine)
