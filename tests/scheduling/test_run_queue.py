"""The works that need the same services: whether there is room, and what is left, whatever leaves in the middle."""

from __future__ import annotations

import random

import pytest

from runcue._limits.service import Service
from runcue._limits.sliding_window import SlidingWindow
from runcue._model.phases import NEW, READY
from runcue._model.rate import parse_rate
from runcue._model.work import Work
from runcue.testing import FakeExecutor
from tests.support.cores import CoreWorld


@pytest.mark.rule(5)
def test_a_route_has_room_only_if_each_of_its_services_has_slot_and_token() -> None:
    world = CoreWorld(
        Service("slots", concurrent=1),
        Service("rate", SlidingWindow(parse_rate("1/min"))),
        Service("free"),
    )
    run_queue = world.task("task", "slots", "rate", "free").run_queue
    slots = world.core.services["slots"]
    work = Work("1", "task")
    assert run_queue.has_room(0.0, work)
    slots.acquire_slot()
    assert not run_queue.has_room(0.0, work)
    slots.release_slot()
    run_queue.acquire(0.0, work)
    run_queue.entered(0.0, work, 0.0)
    run_queue.release(0.0, work)
    assert not run_queue.has_room(59.0, work)
    assert run_queue.has_room(60.0, work)


def test_free_slots_are_those_of_the_narrowest_service() -> None:
    world = CoreWorld(Service("wide", concurrent=10), Service("narrow", concurrent=3))
    run_queue = world.task("task", "wide", "narrow").run_queue
    assert run_queue.free_slots() == 3
    for _ in range(8):
        world.core.services["wide"].acquire_slot()
    assert run_queue.free_slots() == 2


def test_tasks_with_the_same_services_share_a_run_queue_unless_they_run_elsewhere() -> None:
    executor = FakeExecutor()
    world = CoreWorld(Service("one"), Service("two"))
    sync = world.registry.add_task(
        world.registry.describe_task("sync", uses="one"), lambda work: None, executor, world.core.threads
    )
    assert world.task("a", "one").run_queue is world.task("b", "one").run_queue
    assert world.task("a2", "one", "two").run_queue is not world.task("b2", "one").run_queue
    assert sync.run_queue is not world.task("c", "one").run_queue
    assert world.task("c2", "one").run_queue in sync.run_queue.contenders


@pytest.mark.parametrize("add", [CoreWorld.add, CoreWorld.add_ready])
@pytest.mark.parametrize("gone", [1, 64, 65, 66, 100, 129, 199, 200])
def test_the_backlog_counts_exactly_what_is_left_after_any_number_of_cancellations(
    add: object, gone: int
) -> None:
    world = CoreWorld(Service("api", concurrent=1000))
    task = world.task("task", "api")
    works = [add(world, task) for _ in range(200)]  # type: ignore[operator]
    for work in works[:gone]:
        world.cancel(work)
    assert task.run_queue.backlog() == 200 - gone
    taken = []
    while (work := world.select(task.run_queue)) is not None:
        taken.append(work)
    assert taken == works[gone:]
    assert task.run_queue.backlog() == 0
    assert world.core.count[NEW] + world.core.count[READY] == 200 - gone


@pytest.mark.parametrize("gone", [1, 64, 65, 66, 100, 129, 199, 200])
def test_waiting_works_that_were_cancelled_leave_the_line(gone: int) -> None:
    world = CoreWorld()
    task = world.task("task")
    works = [world.add(task) for _ in range(200)]
    task.run_queue.new.clear()
    for work in works:
        world.core.wait(work, 0.0)
    for work in works[:gone]:
        world.cancel(work)
    assert len(task.waiting) - task.waiting_tombstones == 200 - gone
    assert len(task.waiting) <= 2 * (200 - gone) + 66


@pytest.mark.rule(6)
@pytest.mark.parametrize("seed", range(20))
def test_what_is_taken_back_stands_at_its_place_among_the_new(seed: int) -> None:
    luck = random.Random(seed)
    world = CoreWorld()
    task = world.task()
    works = [world.add(task) for _ in range(100)]
    away = luck.sample(works, luck.choice((1, 3, 60, 100)))
    for work in away:
        world.take(work)
    for work in away:
        task.run_queue.take_back(work)
    assert list(task.run_queue.new) == works
    assert task.run_queue.backlog() == 100
