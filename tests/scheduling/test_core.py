"""The core, without any loop: what a start takes, what is counted, what a settlement leaves behind."""

from __future__ import annotations

import pytest

from runcue._limits.service import Service
from runcue._limits.sliding_window import SlidingWindow
from runcue._model.errors import InvalidTransition
from runcue._model.phases import (
    CANCELLED,
    CHECKING,
    COMPLETED,
    FAILED,
    NEW,
    NOT_DUE,
    NOT_READY,
    READY,
    RUNNING,
    SKIPPED,
    WorkState,
)
from runcue._model.rate import parse_rate
from runcue._scheduling.numbers import totals
from tests.support.cores import WAY_TO, CoreWorld, in_phase


@pytest.mark.rule(16)
@pytest.mark.parametrize("outcome", [COMPLETED, SKIPPED, FAILED, CANCELLED])
def test_a_settled_work_cannot_be_settled_again_and_keeps_its_outcome(outcome: int) -> None:
    world = CoreWorld()
    work = world.add(world.task())
    world.settle(work, outcome, value="first")
    state, before, settlements = work.state, totals(world.core), world.core.settlements

    for again in (COMPLETED, SKIPPED, FAILED, CANCELLED):
        with pytest.raises(InvalidTransition):
            world.core.settle(work, again, "second", 1.0, 1.0)

    assert work.state is state
    assert work._value == "first"
    assert (totals(world.core), world.core.settlements) == (before, settlements)
    assert world.core.unsettled == 0


def test_states_are_what_users_see_of_phases() -> None:
    for phase in (NEW, READY, NOT_READY, CHECKING, NOT_DUE):
        assert in_phase(phase)[1].state is WorkState.PENDING
    assert in_phase(RUNNING)[1].state is WorkState.RUNNING
    seen = {}
    for outcome in (COMPLETED, SKIPPED, FAILED, CANCELLED):
        world = CoreWorld()
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
    world = CoreWorld()
    window = SlidingWindow(parse_rate("2/min"))
    for service in (
        Service("one", concurrent=2),
        Service("two", (window,)),
        Service("three", concurrent=1),
    ):
        world.core.services[service.name] = service
    work = world.add(world.task("task", "one", "two", "three"))
    assert world.select(work._task.run_queue) is work
    assert [service.active for service in world.core.services.values()] == [0, 0, 0], (
        "nothing is taken before"
    )

    world.core.start(work, 0.0, 0.0)

    assert [service.active for service in world.core.services.values()] == [1, 1, 1]
    assert window.reserved == 1
    assert work.state is WorkState.RUNNING


@pytest.mark.rule(2)
def test_work_units_that_wait_hold_no_place_in_the_line_of_their_service() -> None:
    world = CoreWorld()
    world.core.services["api"] = Service("api", concurrent=1)
    task = world.task("task", "api")
    first, second = world.add(task), world.add(task)
    world.wait(first)
    assert task.run_queue.backlog() == 1
    assert world.select(task.run_queue) is second
    assert list(task.waiting) == [first]


def test_pending_counts_every_phase_before_the_start() -> None:
    world = CoreWorld()
    task = world.task()
    works = [world.add(task) for _ in WAY_TO]
    for work, way in zip(works, WAY_TO.values(), strict=True):
        for step in way:
            world.core.move(work, step)
    works[-1]._outcome = COMPLETED
    assert world.core.pending() == 7
    assert list(world.core.pending_works()) == works[:7]
