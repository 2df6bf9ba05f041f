"""Work units that need the same services: whether there is room, and what is left when some leave in the middle."""

from __future__ import annotations

import random

import pytest

from runcue._limits.guarded import GuardedLimit
from runcue._limits.service import Service
from runcue._limits.sliding_window import SlidingWindow
from runcue._model.phases import NEW, READY
from runcue._model.rate import parse_rate
from runcue._model.work import Work
from runcue.abc import Limit
from runcue.testing import FakeExecutor
from tests.support.cores import CoreWorld


@pytest.mark.rule(5)
def test_a_route_has_room_only_if_each_of_its_services_has_slot_and_token() -> None:
    world = CoreWorld(
        Service("slots", concurrent=1),
        Service("rate", (SlidingWindow(parse_rate("1/min")),)),
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
def test_waiting_work_units_that_were_cancelled_leave_the_line(gone: int) -> None:
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


class Own(Limit):
    """Says yes to some, and notes what it is asked and told."""

    def __init__(self, *, refuses: Work | None = None, raising: bool = False) -> None:
        self.refuses = refuses
        self.raising = raising
        self.asked: list[Work] = []
        self.held: list[Work] = []

    def room(self, now: float, work: Work) -> bool:
        self.asked.append(work)
        return work is not self.refuses

    def acquire(self, now: float, work: Work) -> None:
        if self.raising:
            raise ValueError("boom")
        self.held.append(work)

    def release(self, now: float, work: Work, actual: object) -> None:
        self.held.remove(work)


def guarded(own: Own) -> GuardedLimit:
    return GuardedLimit(own, "limit Own", print, print)


def test_a_limit_is_asked_with_the_first_in_line_and_its_no_is_kept_with_it() -> None:
    own = Own()
    world = CoreWorld(Service("api", own=[guarded(own)]))
    task = world.task("task", "api")
    assert task.run_queue.has_room(0.0), "nobody is there to be refused"
    assert not own.asked
    works = [world.add(task), world.add(task)]
    own.refuses = works[0]
    assert not task.run_queue.has_room(0.0)
    assert world.select(task.run_queue) is None
    assert task.run_queue.refusal == (task.run_queue.limits[0], works[0])
    assert task.run_queue.has_room(0.0, works[1]), "one that is in hand is asked about itself"
    assert own.asked == [works[0], works[0], works[1]]
    own.refuses = works[1]
    assert world.select(task.run_queue) is works[0]
    assert world.select(task.run_queue) is None


@pytest.mark.rule(5)
def test_what_may_raise_is_taken_first_and_given_back_if_a_later_one_raises() -> None:
    window = SlidingWindow(parse_rate("2/min"))
    first, second = Own(), Own(raising=True)
    world = CoreWorld(
        Service("api", (window,), 1, [guarded(first)]), Service("other", concurrent=1, own=[guarded(second)])
    )
    run_queue = world.task("task", "api", "other").run_queue
    work = world.new_work(world.core.tasks["task"])
    error = run_queue.acquire(0.0, work)
    assert str(error) == "acquire() of limit Own raised ValueError: boom"
    assert (first.held, window.reserved, window.tokens) == ([], 0, 2)
    assert [service.active for service in run_queue.services] == [0, 0]
    second.raising = False
    assert run_queue.acquire(0.0, work) is None
    assert (first.held, second.held, window.reserved) == ([work], [work], 1)
    assert [service.active for service in run_queue.services] == [1, 1]


def test_a_limit_that_two_of_its_services_share_counts_a_start_once() -> None:
    own, window = Own(), SlidingWindow(parse_rate("2/min"))
    world = CoreWorld(
        Service("one", (window,), own=[guarded(own)]), Service("two", (window,), own=[guarded(own)])
    )
    run_queue = world.task("task", "one", "two").run_queue
    work = world.new_work(world.core.tasks["task"])
    run_queue.acquire(0.0, work)
    assert (own.held, window.reserved) == ([work], 1)
    run_queue.entered(0.0, work, 0.0)
    run_queue.release(0.0, work)
    assert (own.held, window.reserved, window.tokens) == ([], 0, 1)
