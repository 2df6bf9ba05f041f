"""Which work starts next, among all that compete for the same services."""

from __future__ import annotations

import random

import pytest

from runcue._limits.service import Service
from runcue._limits.sliding_window import SlidingWindow
from runcue._model.phases import NEW
from runcue._model.rate import parse_rate
from runcue._scheduling.selection import STARVED_AFTER
from tests.support.cores import CoreWorld


def test_routes_that_share_a_service_know_of_each_other() -> None:
    world = CoreWorld(Service("one"), Service("two"), Service("three"))
    first, both = world.task("first", "one").run_queue, world.task("both", "one", "two").run_queue
    second, third = world.task("second", "two").run_queue, world.task("third", "three").run_queue
    assert set(both.contenders) == {first, second}
    assert first.contenders == [both]
    assert second.contenders == [both]
    assert third.contenders == []


@pytest.mark.rule(6)
def test_new_work_units_and_those_asked_are_taken_in_one_order() -> None:
    world = CoreWorld(Service("api"))
    task = world.task("task", "api")
    first, second = world.add_ready(task), world.add(task)
    third = world.add_ready(task)
    taken = [world.select(task.run_queue) for _ in range(4)]
    # What was asked comes first: its asking was paid for.
    assert sorted(map(str, taken)) == sorted(map(str, [first, second, third, None]))
    assert taken.index(first) < taken.index(third)


@pytest.mark.rule(6)
def test_work_units_of_different_tasks_and_routes_with_one_service_are_taken_in_submission_order() -> None:
    world = CoreWorld(Service("one", concurrent=100), Service("two", concurrent=100))
    tasks = [
        world.task("a", "one"),
        world.task("b", "one", "two"),
        world.task("c", "one"),
        world.task("d", "two"),
    ]
    luck = random.Random(1)
    works = [world.add(luck.choice(tasks)) for _ in range(60)]
    taken = []
    while (work := world.select(tasks[1].run_queue)) is not None:
        taken.append(work)
    assert taken == works


@pytest.mark.rule(3)
def test_a_work_whose_other_service_is_full_is_passed_over() -> None:
    world = CoreWorld(Service("one", concurrent=2), Service("two", concurrent=1))
    both, single = world.task("both", "one", "two"), world.task("single", "one")
    world.core.services["two"].acquire_slot()
    world.add(both)
    passed = world.add(single)
    assert world.select(single.run_queue) is passed
    assert world.select(single.run_queue) is None


@pytest.mark.rule(2)
def test_nothing_is_taken_where_no_limit_allows_a_start() -> None:
    world = CoreWorld(Service("api", concurrent=1), Service("slow", (SlidingWindow(parse_rate("1/hour")),)))
    one, other = world.task("one", "api"), world.task("other", "slow")
    first, second = world.add(one), world.add(other)
    world.core.services["api"].acquire_slot()
    other.run_queue.acquire(0.0, world.new_work(other))
    assert world.select(one.run_queue) is None
    assert world.select(other.run_queue) is None
    assert (first._phase, second._phase) == (NEW, NEW)
    assert one.run_queue.backlog() == other.run_queue.backlog() == 1


@pytest.mark.rule(5)
def test_who_leaves_a_slot_to_a_starved_one_holds_up_nobody_who_shares_nothing_with_that_one() -> None:
    world = CoreWorld(Service("a", concurrent=1), Service("b"), Service("c"), Service("d"))
    starved, gives = world.task("starved", "a", "b"), world.task("gives", "b", "c")
    free = world.task("free", "c", "d")
    world.core.services["a"].acquire_slot()
    world.add_ready(starved)
    late = STARVED_AFTER + 1.0
    kept, passes = world.add(gives), world.add(free)
    assert world.select(free.run_queue, late) is passes
    assert world.select(free.run_queue, late) is None
    assert world.select(gives.run_queue, late) is None
    assert kept._phase == NEW
    assert not gives.run_queue.wants_worker(
        ordered=False
    )  # or a worker would come in vain, and another after it
    world.core.services["a"].release_slot()
    assert world.select(gives.run_queue, late) is not None


@pytest.mark.rule(5)
def test_all_who_leave_their_slots_to_a_starved_one_want_no_workers_meanwhile() -> None:
    world = CoreWorld(Service("a", concurrent=1), Service("b"), Service("c"), Service("d"))
    starved = world.task("starved", "a", "b")
    first, second = world.task("first", "b", "c"), world.task("second", "b", "d")
    world.core.services["a"].acquire_slot()
    world.add_ready(starved)
    world.add(first)
    world.add(second)
    assert world.select(second.run_queue, STARVED_AFTER + 1.0) is None
    assert not first.run_queue.wants_worker(ordered=False)
    assert not second.run_queue.wants_worker(ordered=False)
