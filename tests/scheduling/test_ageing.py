"""Who has been pending for too long, and since when nothing has moved."""

from __future__ import annotations

from math import inf

import pytest

from runcue._model.phases import FAILED, RUNNING, SKIPPED
from tests.support.cores import CoreWorld


def next_stall(world: CoreWorld) -> float:
    return world.core.stall.next_timeout(world.core.progressed_at, world.core.pending())


def next_stall_warning(world: CoreWorld) -> float:
    return world.core.stall.next_warning(world.core.progressed_at, world.core.unsettled)


def test_each_settlement_and_each_start_is_progress() -> None:
    world = CoreWorld(stall_timeout=10.0, stall_warn_after=5.0)
    task = world.task()
    first = world.add(task, now=100.0)
    world.add(task, now=103.0)
    assert next_stall(world) == 110.0, "submitting more is no progress"
    world.core.start(first, 104.0, 0.0)
    assert (next_stall(world), next_stall_warning(world)) == (114.0, 109.0)
    world.settle(first, now=106.0)
    assert (next_stall(world), next_stall_warning(world)) == (116.0, 111.0)


def test_a_cue_that_had_nothing_to_do_was_not_stalled() -> None:
    world = CoreWorld(stall_timeout=10.0)
    task = world.task()
    assert next_stall(world) == inf
    world.settle(world.add(task, now=1.0), now=2.0)
    assert next_stall(world) == inf
    world.add(task, now=1000.0)
    assert next_stall(world) == 1010.0


@pytest.mark.rule(20)
def test_the_oldest_pending_work_is_due_first_and_what_has_started_never() -> None:
    world = CoreWorld(pending_timeout=10.0, pending_warn_after=4.0)
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


def test_ages_are_not_kept_of_work_units_that_have_long_settled() -> None:
    world = CoreWorld(pending_timeout=10.0, keep=0)
    task = world.task()
    world.add(task, now=0.0)
    for number in range(5000):
        world.settle(world.add(task, now=float(number)))
        task.run_queue.new.clear()
    assert len(world.core.timeouts) <= 64 + 2 * 2
