"""The core, without any loop: the table of transitions, what a start takes, what a settlement leaves behind."""

from __future__ import annotations

from math import inf

import pytest

from runcue._limits.service import Service
from runcue._model.errors import InvalidTransition
from runcue._model.phases import (
    CANCELLED,
    CHECKING,
    COMPLETED,
    FAILED,
    NEW,
    NOT_READY,
    READY,
    RUNNING,
    SETTLED,
    SKIPPED,
    WorkState,
)
from runcue._model.rate import parse_rate
from runcue._model.work import Task, Work
from runcue._registration.registry import Registry
from runcue._scheduling.core import Core
from runcue._scheduling.selection import select

NAMES = {
    NEW: "new",
    READY: "ready",
    NOT_READY: "not_ready",
    CHECKING: "checking",
    RUNNING: "running",
    SETTLED: "settled",
}

TABLE = {
    NEW: {READY, NOT_READY, CHECKING, RUNNING, SETTLED},
    READY: {NOT_READY, CHECKING, RUNNING, SETTLED},
    NOT_READY: {READY, CHECKING, SETTLED},
    CHECKING: {READY, NOT_READY, RUNNING, SETTLED},
    RUNNING: {SETTLED},
    SETTLED: set(),
}

WAY = {  # how to get there
    NEW: [],
    READY: [READY],
    NOT_READY: [NOT_READY],
    CHECKING: [CHECKING],
    RUNNING: [RUNNING],
    SETTLED: [RUNNING, SETTLED],
}

LISTED = [(old, new) for old, allowed in TABLE.items() for new in sorted(allowed)]
UNLISTED = [(old, new) for old in NAMES for new in NAMES if new not in TABLE[old]]


def name(pair: tuple[int, int]) -> str:
    return f"{NAMES[pair[0]]} to {NAMES[pair[1]]}"


class World:
    def __init__(self, **options: float) -> None:
        self.core = Core(**{"keep": 100, "max_threads": 4, **options})  # type: ignore[arg-type]
        self.registry = Registry(self.core)
        self.number = 0

    def task(self, name: str = "task", *uses: str) -> Task:
        async def handler(work: Work) -> None: ...

        return self.registry.add_task(name, handler, uses, None, None, None)

    def add(self, task: Task, now: float = 0.0) -> Work:
        self.number += 1
        work = Work(str(self.number), task.name)
        work._task = task
        self.core.add(work, now)
        return work

    def settle(self, work: Work, outcome: int = COMPLETED, now: float = 0.0, value: object = None) -> None:
        if outcome in {COMPLETED, FAILED} and work._phase != RUNNING:
            self.core.move(work, RUNNING)
        self.core.settle(work, outcome, value, now, now)

    def next_stall(self) -> float:
        return self.core.stall.next_timeout(self.core.progressed_at, self.core.pending())

    def next_stall_warning(self) -> float:
        return self.core.stall.next_warning(self.core.progressed_at, self.core.unsettled)

    def wait(self, work: Work) -> None:
        if work in work._task.run_queue.new:
            work._task.run_queue.new.remove(work)
        self.core.wait(work, 0.0)


def in_phase(phase: int) -> tuple[World, Work]:
    world = World()
    work = world.add(world.task())
    if phase == SETTLED:
        world.settle(work)
    else:
        for step in WAY[phase]:
            world.core.move(work, step)
    return world, work


def test_the_table_lists_every_phase() -> None:
    assert len(LISTED) + len(UNLISTED) == len(NAMES) ** 2 == 36


@pytest.mark.parametrize("pair", LISTED, ids=name)
def test_a_listed_transition_changes_the_phase_and_both_counts(pair: tuple[int, int]) -> None:
    old, new = pair
    world, work = in_phase(old)
    before = list(world.core.count)

    world.core.move(work, new)

    assert work._phase == new
    assert world.core.count[old] == before[old] - 1
    assert world.core.count[new] == before[new] + 1
    assert sum(world.core.count) == 1


@pytest.mark.parametrize("pair", UNLISTED, ids=name)
def test_an_unlisted_pair_raises_and_changes_nothing(pair: tuple[int, int]) -> None:
    old, new = pair
    world, work = in_phase(old)
    before = list(world.core.count)

    with pytest.raises(InvalidTransition, match=f"{NAMES[old]} to {NAMES[new]}"):
        world.core.move(work, new)

    assert work._phase == old
    assert world.core.count == before


@pytest.mark.rule(16)
@pytest.mark.parametrize("outcome", [COMPLETED, SKIPPED, FAILED, CANCELLED])
def test_a_settled_work_cannot_be_settled_again_and_keeps_its_outcome(outcome: int) -> None:
    world = World()
    work = world.add(world.task())
    world.settle(work, outcome, value="first")
    state, totals, settlements = work.state, list(world.core.totals), world.core.settlements

    for again in (COMPLETED, SKIPPED, FAILED, CANCELLED):
        with pytest.raises(InvalidTransition):
            world.core.settle(work, again, "second", 1.0, 1.0)

    assert work.state is state
    assert work._value == "first"
    assert (world.core.totals, world.core.settlements) == (totals, settlements)
    assert world.core.unsettled == 0


def test_states_are_what_users_see_of_phases() -> None:
    for phase in (NEW, READY, NOT_READY, CHECKING):
        assert in_phase(phase)[1].state is WorkState.PENDING
    assert in_phase(RUNNING)[1].state is WorkState.RUNNING
    seen = {}
    for outcome in (COMPLETED, SKIPPED, FAILED, CANCELLED):
        world = World()
        work = world.add(world.task())
        world.settle(work, outcome)
        seen[outcome] = (work.state, work.skipped)
    assert seen == {
        COMPLETED: (WorkState.COMPLETED, False),
        SKIPPED: (WorkState.COMPLETED, True),
        FAILED: (WorkState.FAILED, False),
        CANCELLED: (WorkState.CANCELLED, False),
    }


@pytest.mark.rule(5)
def test_a_start_takes_slot_and_token_of_each_service_in_one_step() -> None:
    world = World()
    for service in (
        Service("one", concurrent=2),
        Service("two", parse_rate("2/min")),
        Service("three", concurrent=1),
    ):
        world.core.services[service.name] = service
    work = world.add(world.task("task", "one", "two", "three"))
    assert select(work._task.run_queue, 0.0, world.core.ordered) is work
    assert [service.active for service in world.core.services.values()] == [0, 0, 0], (
        "nothing is taken before"
    )

    world.core.start(work, 0.0, 0.0)

    assert [service.active for service in world.core.services.values()] == [1, 1, 1]
    assert world.core.services["two"].reserved == 1
    assert work.state is WorkState.RUNNING


@pytest.mark.rule(2)
def test_works_that_wait_hold_no_place_in_the_line_of_their_service() -> None:
    world = World()
    world.core.services["api"] = Service("api", concurrent=1)
    task = world.task("task", "api")
    first, second = world.add(task), world.add(task)
    world.wait(first)
    assert task.run_queue.backlog() == 1
    assert select(task.run_queue, 0.0, world.core.ordered) is second
    assert list(task.waiting) == [first]


def test_pending_counts_all_four_kinds_of_pending() -> None:
    world = World()
    task = world.task()
    works = [world.add(task) for _ in range(6)]
    for work, phase in zip(works, NAMES, strict=True):
        for step in WAY[phase]:
            world.core.move(work, step)
    works[-1]._outcome = COMPLETED
    assert world.core.pending() == 4
    assert list(world.core.pending_works()) == works[:4]


def test_each_settlement_and_each_start_is_progress() -> None:
    world = World(stall_timeout=10.0, stall_warn_after=5.0)
    task = world.task()
    first = world.add(task, now=100.0)
    world.add(task, now=103.0)
    assert world.next_stall() == 110.0, "submitting more is no progress"
    world.core.start(first, 104.0, 0.0)
    assert (world.next_stall(), world.next_stall_warning()) == (114.0, 109.0)
    world.settle(first, now=106.0)
    assert (world.next_stall(), world.next_stall_warning()) == (116.0, 111.0)


def test_a_cue_that_had_nothing_to_do_was_not_stalled() -> None:
    world = World(stall_timeout=10.0)
    task = world.task()
    assert world.next_stall() == inf
    world.settle(world.add(task, now=1.0), now=2.0)
    assert world.next_stall() == inf
    world.add(task, now=1000.0)
    assert world.next_stall() == 1010.0


@pytest.mark.rule(20)
def test_the_oldest_pending_work_is_due_first_and_what_has_started_never() -> None:
    world = World(pending_timeout=10.0, pending_warn_after=4.0)
    task = world.task()
    started, skipped, waiting, late = (world.add(task, now=float(now)) for now in (0, 1, 2, 7))
    world.core.move(started, RUNNING)
    world.settle(skipped, SKIPPED)
    world.wait(waiting)
    assert (world.core.timeouts.next(), world.core.warnings.next()) == (12.0, 6.0)
    assert world.core.warnings.pop(5.9) is None
    assert world.core.warnings.pop(6.0) is waiting
    assert world.core.warnings.pop(10.9) is None, "each is warned about once"
    assert world.core.warnings.next() == 11.0
    assert world.core.timeouts.pop(20.0) is waiting
    world.core.settle(waiting, FAILED, None, 0.0, 0.0)
    assert world.core.timeouts.pop(20.0) is late


def test_ages_are_not_kept_of_works_that_have_long_settled() -> None:
    world = World(pending_timeout=10.0, keep=0)
    task = world.task()
    world.add(task, now=0.0)
    for number in range(5000):
        world.settle(world.add(task, now=float(number)))
        task.run_queue.new.clear()
    assert len(world.core.timeouts) <= 64 + 2 * 2


# --- Who wakes whom -------------------------------------------------------------------------------------------------


@pytest.mark.rule(4)
def test_who_makes_a_waiting_work_ready_is_remembered_per_pair_of_tasks() -> None:
    world = World()
    producer, reader, stranger = world.task("maker"), world.task("reader"), world.task("stranger")
    waiting = world.add(reader)
    world.wait(waiting)
    world.settle(world.add(stranger))
    world.settle(world.add(producer))
    assert not world.core.wakeups.settled_causes, "nothing was learned yet"

    world.core.enqueue(waiting, waiting._order_key, 0.0)

    assert set(producer.learned_dependents) == {reader}
    assert not stranger.learned_dependents
    world.settle(world.add(producer))
    assert list(world.core.wakeups.settled_causes) == [producer]


@pytest.mark.rule(4)
def test_a_waiting_work_that_turns_out_up_to_date_teaches_as_well() -> None:
    world = World()
    producer, reader = world.task("maker"), world.task("reader")
    waiting = world.add(reader)
    world.wait(waiting)
    world.settle(world.add(producer))
    world.core.settle(waiting, SKIPPED, None, 0.0, 0.0)
    assert set(producer.learned_dependents) == {reader}


@pytest.mark.rule(4)
def test_work_that_was_ready_when_first_asked_teaches_nothing() -> None:
    world = World()
    producer, reader = world.task("maker"), world.task("reader")
    world.settle(world.add(producer))
    ready = world.add(reader)
    world.core.enqueue(ready, ready._order_key, 0.0)
    assert not producer.learned_dependents


@pytest.mark.rule(4)
def test_experience_that_proves_wrong_again_and_again_is_forgotten_and_one_success_restores_it() -> None:
    world = World()
    producer, reader = world.task("maker"), world.task("reader")
    world.core.wakeups.last_settled = producer
    world.core.wakeups.learn(reader)
    misses = 0
    while reader in producer.learned_dependents:
        world.core.wakeups.missed(producer, reader)
        misses += 1
        if misses == 200:
            world.core.wakeups.learn(reader)
        assert misses < 1000
    assert misses > 400, "200 misses, then a success, then as many as it takes from anew"
    world.core.wakeups.learn(reader)
    assert producer.learned_dependents == {reader: 0}
