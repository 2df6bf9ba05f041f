"""`--check` finds what is planted in lanes: their order, who has one, and who comes next."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import runcue
from runcue._dispatch import endings
from runcue._model.declaration import Declaration, alone
from runcue._scheduling import returning
from runcue._scheduling.dependencies import Dependencies
from runcue._scheduling.lanes import Lanes
from runcue_sim._chaos.trial import Outcome, Trial, run_trial

SEEDS = 60

Plant = Callable[[pytest.MonkeyPatch], None]


def the_last_one_comes_next(patch: pytest.MonkeyPatch) -> None:
    leave = Lanes.leave

    def hasty(self: Lanes, work: runcue.Work, declared: Declaration) -> runcue.Work | None:
        lane = declared.lane
        if lane.head is work and lane.behind:
            lane.behind.move_to_end(next(reversed(lane.behind)), last=False)
        return leave(self, work, declared)

    patch.setattr(Lanes, "leave", hasty)


def the_next_one_is_not_woken(patch: pytest.MonkeyPatch) -> None:
    leave = Lanes.leave

    def silent(self: Lanes, work: runcue.Work, declared: Declaration) -> None:
        leave(self, work, declared)

    patch.setattr(Lanes, "leave", silent)


def a_handler_that_has_not_returned_has_no_lane(patch: pytest.MonkeyPatch) -> None:
    outlive = Dependencies.outlive

    def forgetful(self: Dependencies, work: runcue.Work) -> None:
        if work._declared is not None and work._declared.lane is None:
            outlive(self, work)

    patch.setattr(Dependencies, "outlive", forgetful)


def who_is_tried_again_gives_up_its_lane(patch: pytest.MonkeyPatch) -> None:
    put_back = returning.put_back

    def generous(core: Any, work: runcue.Work, *args: Any) -> None:
        put_back(core, work, *args)
        if work._declared is not None and work._declared.lane is not None:
            core.wakeups.free_lane(work, work._declared)
            alone(work).lane = None

    patch.setattr(endings, "put_back", generous)


PLANTS: dict[Plant, set[str]] = {
    the_last_one_comes_next: {"lane"},
    the_next_one_is_not_woken: {"prompt", "drained", "ends"},
    a_handler_that_has_not_returned_has_no_lane: {"lane"},
    who_is_tried_again_gives_up_its_lane: {"lane"},
}
KINDS = frozenset({"lane", "hang", "timeout", "cancel", "raise", "retry"})


def first_violation() -> Outcome | None:
    """Of the first seed that shows one."""
    for seed in range(SEEDS):
        for scenario in ("fanout", "pipeline"):
            outcome = run_trial(Trial(seed, scenario, count=3, kinds=KINDS, share=0.5, drains=seed % 2 == 0))
            if outcome.violation is not None:
                return outcome
    return None


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.__name__)
def test_a_planted_mistake_is_found_within_sixty_seeds(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    outcome = first_violation()
    assert outcome is not None
    assert outcome.violation is not None
    assert outcome.violation.invariant in PLANTS[plant], outcome.violation
    monkeypatch.undo()
    assert run_trial(outcome.trial).violation is None
