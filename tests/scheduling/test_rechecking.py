"""Which waiting work units are asked again, and when: through a check that answers from a set."""

from __future__ import annotations

from math import inf

import pytest

from runcue._model.phases import CANCELLED, COMPLETED, RUNNING, SKIPPED
from runcue._model.task import Task
from runcue._model.work import Work
from runcue._registration.registry import Registry
from runcue._scheduling.core import Core
from runcue._scheduling.recheck_pass import ASKED, HIT, LATER, MISS
from runcue._scheduling.rechecking import Rechecker

pytestmark = pytest.mark.rule(4)


class World:
    """A core, its rechecker, and a check that notes whom it asked and takes `cost` seconds for each."""

    def __init__(self, cost: float = 0.0) -> None:
        self.core = Core(keep=0, max_threads=1000)
        self.registry = Registry(self.core)
        self.time = 0.0
        self.cost = cost
        self.ready: set[Work] = set()
        self.asked: list[Work] = []
        self.answers: dict[Work, int] = {}
        self.rechecker = Rechecker(self.core, self.check, lambda: self.time)
        self.number = 0

    def check(self, work: Work) -> int:
        answer = self.answers.get(work, HIT if work in self.ready else MISS)
        if answer == LATER:
            work._task.waiting.append(work)
            return LATER
        self.asked.append(work)
        self.time += self.cost
        if answer == HIT:
            self.core.enqueue(work, work._order_key, 0.0)
        elif answer == MISS:
            self.core.wait(work, 0.0)
        else:
            self.rechecker.asking += 1
        return answer

    def task(self, name: str) -> Task:
        async def handler(work: Work) -> None: ...

        return self.registry.add_task(self.registry.describe_task(name), handler)

    def add(self, task: Task) -> Work:
        self.number += 1
        work = Work(f"{task.name}{self.number}", task.name)
        work._task = task
        self.core.add(work, 0.0)
        task.run_queue.new.remove(work)
        return work

    def waiting(self, task: Task, count: int) -> list[Work]:
        works = [self.add(task) for _ in range(count)]
        for work in works:
            self.core.wait(work, 0.0)
        return works

    def settle(self, task: Task) -> None:
        work = self.add(task)
        self.core.move(work, RUNNING)
        self.core.settle(work, COMPLETED, None, 0.0, 0.0)

    def learn_wakeup(self, producer: Task, reader: Task) -> None:
        """One of the readers becomes ready after a settlement of the maker, and is gone."""
        work = self.add(reader)
        self.core.wait(work, 0.0)
        reader.waiting.remove(work)
        self.core.wakeups.last_settled = producer
        self.core.settle(work, SKIPPED, None, 0.0, 0.0)
        self.core.wakeups.settled_causes.clear()

    def look(self, *, until: float = inf, idle: bool = False) -> list[Work]:
        """Returns the work units asked by one turn of both kinds of rechecks."""
        self.asked.clear()
        self.rechecker.follow_settlements(until)
        self.rechecker.step(until, idle=idle)
        return list(self.asked)

    def exhaust(self) -> None:
        while not self.rechecker.exhausted:
            self.look(idle=True)


def test_a_settlement_that_never_made_anything_ready_has_nobody_asked_while_others_run() -> None:
    world = World()
    producer, reader = world.task("maker"), world.task("reader")
    world.waiting(reader, 100)
    world.settle(producer)
    assert world.look() == []


def test_a_settlement_known_to_make_work_units_ready_asks_one_that_is_not_and_the_next_one_another() -> None:
    world = World()
    producer, reader = world.task("maker"), world.task("reader")
    works = world.waiting(reader, 100)
    world.learn_wakeup(producer, reader)
    seen = []
    for _ in range(100):
        world.settle(producer)
        asked = world.look()
        assert len(asked) == 1, "one fruitless question per settlement"
        seen += asked
    assert seen == works, "its waiting works take turns, none is left out"


def test_the_work_that_a_settlement_made_ready_is_found_though_others_of_its_task_are_not() -> None:
    world = World()
    producer, reader, other = world.task("maker"), world.task("reader"), world.task("other")
    works = world.waiting(reader, 30)
    world.waiting(other, 30)
    world.learn_wakeup(producer, reader)
    world.ready = set(works[:20])
    world.settle(producer)
    assert world.look() == works[:21], "hits are free: on until the first that is not ready"
    assert world.core.pending() == 60


def test_a_handful_of_waiting_work_units_is_asked_whole() -> None:
    world = World()
    producer, reader = world.task("maker"), world.task("reader")
    works = world.waiting(reader, 5)
    world.learn_wakeup(producer, reader)
    world.ready = {works[4]}
    world.settle(producer)
    assert world.look() == works


def test_tasks_that_wait_for_the_same_one_take_turns_with_the_fruitless_question_of_a_settlement() -> None:
    world = World()
    producer = world.task("maker")
    readers = [world.task(f"reader{number}") for number in range(5)]
    firsts = [world.waiting(reader, 50)[0] for reader in readers]
    for reader in readers:
        world.learn_wakeup(producer, reader)
    for first in firsts:
        world.settle(producer)
        assert world.look() == [first]


def test_success_with_one_task_does_not_keep_the_others_from_being_asked() -> None:
    world = World()
    producer, lucky, other = world.task("maker"), world.task("lucky"), world.task("other")
    ready = world.waiting(lucky, 20)[:3]
    first = world.waiting(other, 20)[0]
    for reader in (lucky, other):
        world.learn_wakeup(producer, reader)
    world.ready = set(ready)
    world.settle(producer)
    asked = world.look()
    assert asked[:3] == ready
    assert first in asked


def test_when_time_is_up_the_rest_of_what_a_settlement_made_ready_is_asked_next_turn() -> None:
    world = World(cost=0.001)
    producer, reader = world.task("maker"), world.task("reader")
    works = world.waiting(reader, 200)
    world.learn_wakeup(producer, reader)
    world.ready = set(works)
    world.settle(producer)
    found: list[Work] = []
    for _ in range(50):
        asked = world.look(
            until=world.time + 0.01
        )  # something else runs: nothing but the settlement has them asked
        assert len(asked) <= 32
        found += asked
    assert found == works


def test_a_settlement_that_is_always_in_vain_costs_less_than_one_question_each() -> None:
    world = World()
    producer, reader = world.task("maker"), world.task("reader")
    world.waiting(reader, 100)
    world.learn_wakeup(producer, reader)
    total = 0
    for _ in range(5000):
        world.settle(producer)
        total += len(world.look())
    assert total < 1000


def test_a_settlement_when_nothing_else_runs_asks_until_all_were_asked_and_no_further() -> None:
    world = World()
    tasks = [world.task(f"task{number}") for number in range(3)]
    works = [work for task in tasks for work in world.waiting(task, 40)]
    world.settle(tasks[0])
    assert sorted(world.look(idle=True), key=str) == sorted(works, key=str)
    assert world.rechecker.exhausted
    assert world.look(idle=True) == []
    world.settle(tasks[0])
    assert not world.rechecker.exhausted
    assert len(world.look(idle=True)) == 120


def test_while_something_runs_nobody_is_asked_for_want_of_anything_else() -> None:
    world = World()
    task = world.task("task")
    world.waiting(task, 40)
    world.settle(task)
    assert world.look(idle=False) == []
    assert not world.rechecker.exhausted


def test_the_next_layer_of_a_graph_is_found_with_few_questions_per_task() -> None:
    world = World()
    layers = [world.task(f"layer{number}") for number in range(50)]
    works = [world.waiting(layer, 20) for layer in layers]
    world.ready = set(works[30])
    world.settle(world.task("first"))
    asked = world.look(idle=True)
    assert set(works[30]) <= set(asked)
    assert len(asked) <= 50 + 20 + 32, "tasks take turns: one question each, then the hits and some company"


def test_the_task_that_last_became_ready_is_asked_first() -> None:
    world = World()
    tasks = [world.task(f"task{number}") for number in range(10)]
    works = [world.waiting(task, 20) for task in tasks]
    world.learn_wakeup(tasks[0], tasks[7])
    assert world.look(idle=True)[0] is works[7][0]


def test_a_look_goes_on_where_the_last_one_stopped() -> None:
    world = World()
    task = world.task("task")
    works = world.waiting(task, 500)
    seen: set[Work] = set()
    for ready in (works[100], works[300], works[450]):
        world.ready = {ready}
        world.settle(task)
        asked = world.look(idle=True)
        assert ready in asked
        assert not seen & set(asked), "nobody is asked twice before everyone was"
        seen |= set(asked)


def test_a_dear_and_fruitless_look_is_not_repeated_before_twenty_times_its_cost() -> None:
    world = World(cost=0.01)
    task = world.task("task")
    world.waiting(task, 100)
    world.settle(task)
    world.look(idle=True)
    assert world.time == pytest.approx(1.0)
    world.settle(task)
    assert world.look(idle=True) == []
    due = world.rechecker.idle_due(world.time)
    assert due == pytest.approx(world.time + 20.0)
    assert not world.rechecker.exhausted, "it is still owed: nothing may be given up before"
    world.time = due
    assert len(world.look(idle=True)) == 100


def test_a_look_that_found_something_makes_the_next_one_wait_for_nothing() -> None:
    world = World(cost=0.01)
    task = world.task("task")
    works = world.waiting(task, 100)
    world.ready = {works[0]}
    world.settle(task)
    world.look(idle=True)
    assert world.rechecker.idle_due(world.time) == world.time


def test_a_settlement_during_a_look_makes_the_look_owed_again() -> None:
    world = World(cost=0.01)
    task = world.task("task")
    world.waiting(task, 20)
    world.settle(task)
    world.look(idle=True, until=0.05)
    world.settle(task)  # what was asked so far may have changed
    while world.rechecker.step(inf, idle=False):
        pass
    assert not world.rechecker.exhausted


def test_a_full_pass_asks_every_waiting_work_once_whatever_the_others_say() -> None:
    world = World()
    works = [work for number in range(4) for work in world.waiting(world.task(f"task{number}"), 60)]
    world.ready = set(works[::3])
    world.rechecker.want_full()
    assert sorted(world.look(), key=str) == sorted(works, key=str)
    assert world.look() == []


def test_a_full_pass_goes_on_in_slices_until_it_is_through() -> None:
    world = World(cost=0.001)
    works = world.waiting(world.task("task"), 1000)
    world.rechecker.want_full()
    turns, asked = 0, []
    while True:
        world.asked.clear()
        more = world.rechecker.step(world.time + 0.01, idle=False)
        asked += world.asked
        turns += 1
        assert len(world.asked) <= 10 + 8, "a slice ends when its time is up, give or take a few questions"
        if not more:
            break
    assert asked == works
    assert turns > 50


def test_what_a_full_pass_cost_is_told_so_that_the_next_can_keep_its_distance() -> None:
    world = World(cost=0.01)
    world.waiting(world.task("task"), 100)
    world.rechecker.want_full()
    world.look()
    assert world.rechecker.last_cost == pytest.approx(1.0)


def test_work_units_that_were_cancelled_while_they_waited_are_never_asked() -> None:
    world = World()
    task = world.task("task")
    works = world.waiting(task, 10)
    for work in works[::2]:
        world.core.withdraw(work)
        world.core.settle(work, CANCELLED, None, 0.0, 0.0)
    world.rechecker.want_full()
    assert world.look() == works[1::2]
    assert task.waiting_tombstones == 0


def test_work_units_that_begin_to_wait_during_a_pass_were_just_asked_and_do_not_prolong_it() -> None:
    world = World(cost=0.001)
    task = world.task("task")
    works = world.waiting(task, 50)
    world.rechecker.want_full()
    world.look(until=0.01)
    late = world.waiting(task, 5)
    asked = []
    while world.rechecker.step(inf, idle=False):
        pass
    asked = world.asked
    assert set(asked) == set(works)
    assert not set(late) & set(asked)


def test_a_recheck_that_falls_due_during_a_full_pass_does_not_start_it_over() -> None:
    world = World(cost=0.001)
    works = world.waiting(world.task("task"), 100)
    world.rechecker.want_full()
    asked = []
    for _ in range(200):
        world.asked.clear()
        world.rechecker.want_full()
        more = world.rechecker.step(world.time + 0.01, idle=False)
        asked += world.asked
        if not more:
            break
    assert asked == works


def test_a_nudge_during_a_full_pass_has_everyone_asked_again() -> None:
    world = World(cost=0.001)
    works = world.waiting(world.task("task"), 100)
    world.rechecker.want_full()
    early = world.look(until=0.01)
    world.ready = {early[0]}  # it was asked a moment ago
    world.rechecker.nudged()
    while world.rechecker.step(world.time + 0.01, idle=False):
        pass
    assert world.core.pending() == 100
    assert early[0] in world.asked
    assert len(works[0]._task.waiting) == 99


def test_work_units_whose_async_gate_needs_a_slot_keep_the_look_open_and_hold_up_nobody_else() -> None:
    world = World()
    blocked, free = world.task("blocked"), world.task("free")
    no_slot, others = world.waiting(blocked, 50), world.waiting(free, 50)
    world.answers = dict.fromkeys(no_slot, LATER)
    world.settle(free)
    assert set(world.look(idle=True)) == set(others)
    assert world.rechecker._pass is not None  # it goes on when a slot is free
    world.answers.clear()
    assert set(world.look()) == set(no_slot)
    assert len(world.asked) == 50
    assert world.rechecker.exhausted


def test_a_look_is_not_over_before_all_answers_are_in_and_its_cost_includes_the_wait() -> None:
    world = World()
    works = world.waiting(world.task("task"), 3)
    world.answers = dict.fromkeys(works, ASKED)
    world.rechecker.want_full()
    assert world.look() == works
    assert not world.rechecker.exhausted
    world.time = 7.0
    for work in works:
        world.rechecker.answered(hit=False)
        world.core.wait(work, 0.0)
        world.look()
    assert world.rechecker.exhausted
    assert world.rechecker.last_cost == 7.0


def test_an_answer_that_came_later_counts_as_a_find() -> None:
    world = World()
    work = world.waiting(world.task("task"), 1)[0]
    world.answers = {work: ASKED}
    world.rechecker.want_full()
    world.look()
    world.time = 5.0
    world.rechecker.answered(hit=True)
    world.core.enqueue(work, work._order_key, 0.0)
    world.waiting(work._task, 1)
    world.look()
    assert world.rechecker.idle_due(world.time) == world.time
