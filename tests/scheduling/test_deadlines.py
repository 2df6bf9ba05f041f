"""One heap of instants under keys."""

from __future__ import annotations

import random
from math import inf

import pytest

from runcue._scheduling.deadlines import Deadlines


def drain(deadlines: Deadlines, now: float) -> list[object]:
    found = []
    while (key := deadlines.pop_due(now)) is not None:
        found.append(key)
    return found


def test_without_any_key_nothing_is_ever_due() -> None:
    deadlines = Deadlines()
    assert deadlines.next() == inf
    assert deadlines.pop_due(1e9) is None
    assert len(deadlines) == 0


def test_keys_fall_due_in_the_order_of_their_instants_and_not_before() -> None:
    deadlines = Deadlines()
    for key, when in (("c", 3.0), ("a", 1.0), ("b", 2.0)):
        deadlines.set(key, when)
    assert deadlines.next() == 1.0
    assert drain(deadlines, 0.999) == []
    assert drain(deadlines, 2.0) == ["a", "b"]
    assert deadlines.next() == 3.0
    assert drain(deadlines, 3.0) == ["c"]


def test_keys_of_one_instant_fall_due_in_the_order_they_were_set() -> None:
    deadlines = Deadlines()
    for key in "zyx":
        deadlines.set(key, 1.0)
    assert drain(deadlines, 1.0) == ["z", "y", "x"]


@pytest.mark.parametrize("moved_to", [0.5, 5.0])
def test_setting_a_key_again_moves_it(moved_to: float) -> None:
    deadlines = Deadlines()
    deadlines.set("key", 2.0)
    deadlines.set("key", moved_to)
    assert len(deadlines) == 1
    assert deadlines.next() == moved_to
    assert drain(deadlines, moved_to - 0.1) == []
    assert drain(deadlines, 10.0) == ["key"]
    assert drain(deadlines, 10.0) == []


def test_a_key_that_is_cleared_or_set_to_never_is_forgotten() -> None:
    deadlines = Deadlines()
    deadlines.set("one", 1.0)
    deadlines.set("other", 1.0)
    deadlines.clear("one")
    deadlines.set("other", inf)
    deadlines.clear("nobody")
    assert "one" not in deadlines
    assert "other" not in deadlines
    assert deadlines.next() == inf
    assert drain(deadlines, 10.0) == []


def test_a_key_can_be_set_again_to_the_instant_it_once_had() -> None:
    deadlines = Deadlines()
    deadlines.set("key", 1.0)
    deadlines.set("key", 2.0)
    deadlines.set("key", 1.0)
    assert drain(deadlines, 1.5) == ["key"]
    assert drain(deadlines, 10.0) == []


def test_a_key_that_is_moved_a_million_times_takes_no_room() -> None:
    deadlines = Deadlines()
    for number in range(10_000):
        deadlines.set("key", float(number))
        deadlines.set(number % 7, float(number))
    assert len(deadlines) == 8
    assert len(deadlines._heap) <= 64 + 2
    for number in range(200):
        deadlines.set(("passing", number), 1e6)
    for number in range(200):
        deadlines.clear(("passing", number))
    assert len(deadlines._heap) <= 64 + 2


def test_it_agrees_with_a_sorted_list_whatever_is_done_to_it() -> None:
    luck = random.Random(7)
    deadlines, model = Deadlines(), {}
    for _ in range(5000):
        key, now = luck.randrange(20), luck.uniform(0, 100)
        action = luck.random()
        if action < 0.6:
            deadlines.set(key, now)
            model[key] = now
        elif action < 0.8:
            deadlines.clear(key)
            model.pop(key, None)
        elif (due := deadlines.pop_due(now)) is not None:
            earliest = min(model.values())
            assert model.pop(due) == earliest <= now
        assert deadlines.next() == min(model.values(), default=inf)
        assert len(deadlines) == len(model)
