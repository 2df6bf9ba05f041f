"""Works by key and number, whatever leaves in the middle."""

from __future__ import annotations

import random

import pytest

from runcue._model.declaration import Declaration, Followers
from runcue._model.phases import NEW, READY, RUNNING, SETTLED
from runcue._model.work import Work
from runcue._scheduling.priority_queue import PriorityQueue, place_of


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
def test_work_units_that_leave_and_come_back_are_counted_once(seed: int) -> None:
    # Once 2,000 work units with an async gate had all run, a backlog of 1,500 remained and the dispatcher spun.
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


@pytest.mark.rule(6)
def test_work_units_come_out_by_key_and_then_by_submission_number() -> None:
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


def test_tombstones_never_outnumber_the_living_for_long() -> None:
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


@pytest.mark.parametrize("most", [5, 40, 1000])
@pytest.mark.parametrize("seed", range(10))
def test_those_before_a_place_are_counted_without_going_through_all_and_never_too_many(
    seed: int, most: int
) -> None:
    luck = random.Random(seed)
    order = PriorityQueue()
    works = [ready(luck.choice((float(seq), luck.random() * 300, 7.0)), seq) for seq in range(300)]
    for work in works:
        order.push(work)
    for work in luck.sample(works, 60 * (seed % 2)):
        order.discard_later()
        work._phase = SETTLED
    for one in works:
        before = sum(
            other._phase == READY and place_of(other) < place_of(one) for other in works if other is not one
        )
        number, is_exact = order.count_before(place_of(one), most)
        assert number == before if is_exact else number <= before
        assert is_exact or most < 1000


@pytest.mark.parametrize("seed", range(40))
def test_those_whose_places_change_are_where_their_keys_say(seed: int) -> None:
    luck, queue = random.Random(seed), PriorityQueue()
    own: dict[Work, float] = {}

    def add(number: int) -> None:
        work = Work(str(number), "t")
        work._seq, work._phase = number, READY
        work._order_key = own[work] = float(number if luck.random() < 0.7 else luck.randrange(200))
        if luck.random() < 0.3:
            lead(work)
        queue.push(work)

    def lead(work: Work) -> None:
        work._declared = Declaration()
        work._declared.followers = Followers(work)

    def move(work: Work) -> None:
        if work._declared is None:
            lead(work)
        key = own[work] - luck.choice([0, luck.randrange(60)])
        if key != work._order_key:
            work._order_key = key
            queue.move(work)

    for number in range(1, 400):
        what = luck.random()
        if what < 0.4 or not own:
            add(number)
        elif what < 0.7:
            move(luck.choice(list(own)))
        elif what < 0.9:
            work = queue.peek()
            assert work is min(own, key=place_of)
            queue.drop(work)
            work._phase = RUNNING
            del own[work]
        else:
            work = luck.choice(list(own))
            queue.discard_later()
            work._phase = SETTLED
            del own[work]
        assert (len(queue), set(queue.works())) == (len(own), set(own))
