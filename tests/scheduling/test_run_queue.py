"""The pending set: who is next, and what is left, whatever leaves in the middle."""

from __future__ import annotations

import random

import pytest

from runcue._limits.service import Service
from runcue._model.phases import CANCELLED, NEW, READY, SETTLED
from runcue._model.rate import parse_rate
from runcue._model.work import Task, Work
from runcue._registration.registry import Registry
from runcue._scheduling.core import Core
from runcue._scheduling.priority_queue import PriorityQueue
from runcue._scheduling.selection import select
from runcue.testing import FakeExecutor


def ready(key: float, seq: int) -> Work:
    work = Work(str(seq), "task")
    work._phase, work._order_key, work._seq = READY, key, seq
    return work


def take_all(order: PriorityQueue) -> list[Work]:
    found = []
    while (work := order.peek()) is not None:
        order.drop(work)
        found.append(work)
    return found


@pytest.mark.parametrize("seed", range(30))
def test_works_that_leave_and_come_back_are_counted_once(seed: int) -> None:
    # Once 2,000 works with an async gate had all run, a backlog of 1,500 remained and the dispatcher spun.
    luck = random.Random(seed)
    order = PriorityQueue()
    works = [ready(luck.choice((0.0, 1.0)), seq) for seq in range(300)]
    inside = set()
    for _ in range(3000):
        work = luck.choice(works)
        if work in inside:
            if luck.random() < 0.7:
                order.discard_later()
                work._phase = NEW
                inside.discard(work)
            elif (first := order.peek()) is not None:
                order.drop(first)
                first._phase = SETTLED if luck.random() < 0.1 else NEW
                inside.discard(first)
        elif work._phase != SETTLED:
            work._phase = READY
            order.push(work)
            inside.add(work)
        assert len(order) == len(inside)
    left = []
    while (first := order.peek()) is not None:
        order.drop(first)
        first._phase = SETTLED
        left.append(first)
    assert set(left) == inside
    assert len(order) == 0
    assert not order


class World:
    """A core with services and tasks, and works in it."""

    def __init__(self, **services: Service) -> None:
        self.core = Core(keep=0, max_threads=1000)
        self.core.services.update(services)
        self.registry = Registry(self.core)
        self.number = 0

    def task(self, name: str, *uses: str) -> Task:
        async def handler(work: Work) -> None: ...

        return self.registry.add_task(name, handler, uses, None, None, None)

    def add(self, task: Task, now: float = 0.0) -> Work:
        self.number += 1
        work = Work(str(self.number), task.name)
        work._task = task
        self.core.add(work, now)
        return work

    def add_ready(self, task: Task, now: float = 0.0) -> Work:
        work = self.add(task, now)
        assert task.run_queue.new.pop() is work
        self.core.enqueue(work, work._order_key, 0.0)
        return work

    def cancel(self, work: Work) -> None:
        self.core.withdraw(work)
        self.core.settle(work, CANCELLED, None, 0.0, 0.0)


# --- Ordered --------------------------------------------------------------------------------------------------------


@pytest.mark.rule(6)
def test_works_come_out_by_key_and_then_by_submission_number() -> None:
    order = PriorityQueue()
    works = [ready(key, seq) for key, seq in ((5.0, 1), (5.0, 3), (5.0, 2), (4.0, 9), (6.0, 4), (5.0, 0))]
    for work in works:
        order.push(work)
    assert [(work._order_key, work._seq) for work in take_all(order)] == [
        (4.0, 9), (5.0, 0), (5.0, 1), (5.0, 2), (5.0, 3), (6.0, 4)
    ]  # fmt: skip
    assert len(order) == 0
    assert not order


@pytest.mark.rule(6)
def test_a_look_at_the_first_one_takes_nothing_out() -> None:
    order = PriorityQueue()
    order.push(ready(1.0, 1))
    assert order.peek() is order.peek()
    assert len(order) == 1


@pytest.mark.parametrize("keys", ["rising", "falling", "random"])
def test_what_left_in_another_way_never_comes_out_and_never_counts(keys: str) -> None:
    luck = random.Random(3)
    order = PriorityQueue()
    works = []
    for seq in range(500):
        key = {"rising": float(seq), "falling": -float(seq), "random": luck.random()}[keys]
        works.append(ready(key, seq))
        order.push(works[-1])
    alive = set(works)
    for work in luck.sample(works, 400):
        order.discard_later()  # the core says so first
        work._phase = SETTLED
        alive.remove(work)
        assert len(order) == len(alive)
    assert set(order.works()) == alive
    assert take_all(order) == sorted(alive, key=lambda work: (work._order_key, work._seq))
    assert len(order) == 0, "an order that counts what is not there makes the scheduler wait for it for ever"
    order.push(ready(1.0, 1))
    assert len(order) == 1


def test_dead_works_never_outnumber_the_living_for_long() -> None:
    order = PriorityQueue()
    works = [ready(float(seq % 10), seq) for seq in range(2000)]
    for work in works:
        order.push(work)
    for work in works[:1990]:
        order.discard_later()
        work._phase = SETTLED
    assert len(order._line) + len(order._heap) <= 2 * 10 + 65
    assert len(order) == 10


def test_pushes_that_arrive_in_order_cost_no_heap() -> None:
    order = PriorityQueue()
    for seq in range(1000):
        order.push(ready(1.0, seq))
    assert not order._heap


# --- Route ----------------------------------------------------------------------------------------------------------


@pytest.mark.rule(5)
def test_a_route_has_room_only_if_each_of_its_services_has_slot_and_token() -> None:
    world = World(
        slots=Service("slots", concurrent=1), rate=Service("rate", parse_rate("1/min")), free=Service("free")
    )
    run_queue = world.task("task", "slots", "rate", "free").run_queue
    slots, rate = world.core.services["slots"], world.core.services["rate"]
    assert run_queue.has_room(0.0)
    slots.acquire_slot()
    assert not run_queue.has_room(0.0)
    slots.release()
    rate.acquire(0.0)
    rate.record_start(0.0)
    assert not run_queue.has_room(59.0)
    assert run_queue.has_room(60.0)


def test_free_slots_are_those_of_the_narrowest_service() -> None:
    world = World(wide=Service("wide", concurrent=10), narrow=Service("narrow", concurrent=3))
    run_queue = world.task("task", "wide", "narrow").run_queue
    assert run_queue.free_slots() == 3
    for _ in range(8):
        world.core.services["wide"].acquire_slot()
    assert run_queue.free_slots() == 2


def test_tasks_with_the_same_services_share_a_run_queue_unless_they_run_elsewhere() -> None:
    executor = FakeExecutor()
    world = World(one=Service("one"), two=Service("two"))
    sync = world.registry.add_task("sync", lambda work: None, ("one",), None, executor, world.core.threads)
    assert world.task("a", "one").run_queue is world.task("b", "one").run_queue
    assert world.task("a2", "one", "two").run_queue is not world.task("b2", "one").run_queue
    assert sync.run_queue is not world.task("c", "one").run_queue
    assert world.task("c2", "one").run_queue in sync.run_queue.contenders


def test_routes_that_share_a_service_know_of_each_other() -> None:
    world = World(one=Service("one"), two=Service("two"), three=Service("three"))
    first, both = world.task("first", "one").run_queue, world.task("both", "one", "two").run_queue
    second, third = world.task("second", "two").run_queue, world.task("third", "three").run_queue
    assert set(both.contenders) == {first, second}
    assert first.contenders == [both]
    assert second.contenders == [both]
    assert third.contenders == []


@pytest.mark.rule(6)
def test_fresh_and_asked_works_are_taken_in_one_order() -> None:
    world = World(api=Service("api"))
    task = world.task("task", "api")
    first, second = world.add_ready(task), world.add(task)
    third = world.add_ready(task)
    taken = [select(task.run_queue, 0.0, world.core.ordered) for _ in range(4)]
    # What was asked comes first: its asking was paid for.
    assert sorted(map(str, taken)) == sorted(map(str, [first, second, third, None]))
    assert taken.index(first) < taken.index(third)


@pytest.mark.rule(6)
def test_works_of_different_tasks_and_routes_with_one_service_are_taken_in_submission_order() -> None:
    world = World(one=Service("one", concurrent=100), two=Service("two", concurrent=100))
    tasks = [
        world.task("a", "one"),
        world.task("b", "one", "two"),
        world.task("c", "one"),
        world.task("d", "two"),
    ]
    luck = random.Random(1)
    works = [world.add(luck.choice(tasks)) for _ in range(60)]
    taken = []
    while (work := select(tasks[1].run_queue, 0.0, world.core.ordered)) is not None:
        taken.append(work)
    assert taken == works


@pytest.mark.rule(3)
def test_a_work_whose_other_service_is_full_is_passed_over() -> None:
    world = World(one=Service("one", concurrent=2), two=Service("two", concurrent=1))
    both, single = world.task("both", "one", "two"), world.task("single", "one")
    world.core.services["two"].acquire_slot()
    world.add(both)
    passed = world.add(single)
    assert select(single.run_queue, 0.0, world.core.ordered) is passed
    assert select(single.run_queue, 0.0, world.core.ordered) is None


@pytest.mark.rule(2)
def test_nothing_is_taken_where_no_limit_allows_a_start() -> None:
    world = World(api=Service("api", concurrent=1), slow=Service("slow", parse_rate("1/hour")))
    one, other = world.task("one", "api"), world.task("other", "slow")
    first, second = world.add(one), world.add(other)
    world.core.services["api"].acquire_slot()
    world.core.services["slow"].acquire(0.0)
    assert select(one.run_queue, 0.0, world.core.ordered) is None
    assert select(other.run_queue, 0.0, world.core.ordered) is None
    assert (first._phase, second._phase) == (NEW, NEW)
    assert one.run_queue.backlog() == other.run_queue.backlog() == 1


@pytest.mark.parametrize("add", [World.add, World.add_ready])
@pytest.mark.parametrize("gone", [1, 64, 65, 66, 100, 129, 199, 200])
def test_the_backlog_counts_exactly_what_is_left_after_any_number_of_cancellations(
    add: object, gone: int
) -> None:
    world = World(api=Service("api", concurrent=1000))
    task = world.task("task", "api")
    works = [add(world, task) for _ in range(200)]  # type: ignore[operator]
    for work in works[:gone]:
        world.cancel(work)
    assert task.run_queue.backlog() == 200 - gone
    taken = []
    while (work := select(task.run_queue, 0.0, world.core.ordered)) is not None:
        taken.append(work)
    assert taken == works[gone:]
    assert task.run_queue.backlog() == 0
    assert world.core.count[NEW] + world.core.count[READY] == 200 - gone


@pytest.mark.parametrize("gone", [1, 64, 65, 66, 100, 129, 199, 200])
def test_waiting_works_that_were_cancelled_leave_the_line(gone: int) -> None:
    world = World()
    task = world.task("task")
    works = [world.add(task) for _ in range(200)]
    task.run_queue.new.clear()
    for work in works:
        world.core.wait(work, 0.0)
    for work in works[:gone]:
        world.cancel(work)
    assert len(task.waiting) - task.waiting_tombstones == 200 - gone
    assert len(task.waiting) <= 2 * (200 - gone) + 66
