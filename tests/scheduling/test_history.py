"""What a cue still knows: all that is unsettled, and the last few that settled."""

from __future__ import annotations

import pytest

from runcue._model.phases import COMPLETED, RUNNING
from runcue._model.work import Work
from runcue._registration.registry import Registry
from runcue._scheduling.core import Core


def core_with(keep: int, works: int) -> tuple[Core, list[Work]]:
    core = Core(keep=keep, max_threads=1)
    registry = Registry(core)
    task = registry.add_task(registry.describe_task("task"), lambda work: None)
    made = []
    for number in range(works):
        work = Work(str(number), "task")
        work._task = task
        core.add(work, 0.0)
        made.append(work)
    return core, made


def settle(core: Core, work: Work) -> None:
    core.move(work, RUNNING)
    core.settle(work, COMPLETED, None, 0.0, 0.0)


def test_work_units_are_listed_in_submission_order_however_they_settle() -> None:
    core, works = core_with(keep=10, works=5)
    for work in reversed(works):
        settle(core, work)
    assert list(core.history) == works


def test_the_one_that_settled_longest_ago_is_forgotten_first() -> None:
    core, works = core_with(keep=2, works=4)
    for number in (3, 0, 2):
        settle(core, works[number])
    assert list(core.history) == [works[0], works[1], works[2]]


def test_what_has_not_settled_is_never_forgotten() -> None:
    core, works = core_with(keep=1, works=100)
    for work in works[1:]:
        settle(core, work)
    assert list(core.history) == [works[0], works[99]]
    assert list(core.pending_works()) == [works[0]]


@pytest.mark.parametrize("keep", [0, 1, 7])
def test_no_more_than_keep_settled_work_units_are_held(keep: int) -> None:
    core, works = core_with(keep=keep, works=50)
    for number, work in enumerate(works, start=1):
        settle(core, work)
        assert len(core.history.works) == 50 - number + min(keep, number)
