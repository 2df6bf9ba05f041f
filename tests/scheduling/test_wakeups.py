"""What is learned of who makes whom ready."""

from __future__ import annotations

import pytest

from runcue._model.phases import SKIPPED
from tests.support.cores import CoreWorld


@pytest.mark.rule(4)
def test_who_makes_a_waiting_work_ready_is_remembered_per_pair_of_tasks() -> None:
    world = CoreWorld()
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
    world = CoreWorld()
    producer, reader = world.task("maker"), world.task("reader")
    waiting = world.add(reader)
    world.wait(waiting)
    world.settle(world.add(producer))
    world.core.settle(waiting, SKIPPED, None, 0.0, 0.0)
    assert set(producer.learned_dependents) == {reader}


@pytest.mark.rule(4)
def test_work_that_was_ready_when_first_asked_teaches_nothing() -> None:
    world = CoreWorld()
    producer, reader = world.task("maker"), world.task("reader")
    world.settle(world.add(producer))
    ready = world.add(reader)
    world.core.enqueue(ready, ready._order_key, 0.0)
    assert not producer.learned_dependents


@pytest.mark.rule(4)
def test_experience_that_proves_wrong_again_and_again_is_forgotten_and_one_success_restores_it() -> None:
    world = CoreWorld()
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
