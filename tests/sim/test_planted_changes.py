"""`--check` finds what is planted where limits of services change, and where services are paused by hand."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

import pytest

from runcue._dispatch.recount import Recount
from runcue._lifecycle.pausing import Pausing
from runcue._limits.pause import Pause
from runcue._limits.sliding_window import SlidingWindow
from runcue._registration import services
from runcue._registration.services import Services
from runcue_sim._chaos.seeds import Outcome, Trial
from runcue_sim._chaos.trial import run_trial

Plant = Callable[[pytest.MonkeyPatch], None]


def what_has_started_counts_in_no_new_window(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(services, "inherit", lambda *args: None)


def new_slots_are_never_given(patch: pytest.MonkeyPatch) -> None:
    equip = services.equip

    def once(service: Any, limits: Any, log: Any) -> None:
        was = service.concurrent
        equip(service, limits, log)
        if service.name in seen:
            service.concurrent = was
        seen.add(service.name)

    seen = set[str]()
    patch.setattr(services, "equip", once)


def nobody_is_woken_by_a_change(patch: pytest.MonkeyPatch) -> None:
    give = Services.give

    def quiet(self: Services, name: str, limits: Any) -> None:
        self._wake = lambda: None
        give(self, name, limits)

    patch.setattr(Services, "give", quiet)


def starts_are_counted_as_on_their_way_for_ever(patch: pytest.MonkeyPatch) -> None:
    def inherit_one_more(self: SlidingWindow, starts: Any, reserved: int, now: float) -> None:
        inherit(self, starts, reserved + 1, now)

    inherit = SlidingWindow.inherit
    patch.setattr(SlidingWindow, "inherit", inherit_one_more)
    patch.setattr(Recount, "settle", lambda self: self._core.run_queues.changed.clear())


def a_pause_keeps_nothing_from_starting(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Pause, "room", lambda *args: True)


def a_pause_is_over_early(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Pause, "room", lambda self, now, work=None: now >= self.until - 0.1)


def nobody_comes_back_after_a_pause(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Pause, "next_room", lambda *args: inf)


def a_service_is_not_let_go_on(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Pausing, "resume", lambda *args: None)


SEEDS = 60

PLANTS: dict[str, dict[Plant, set[str]]] = {
    "change": {
        what_has_started_counts_in_no_new_window: {"rate"},
        new_slots_are_never_given: {"slots", "prompt"},
        nobody_is_woken_by_a_change: {"prompt"},
        starts_are_counted_as_on_their_way_for_ever: {"prompt", "drained"},
    },
    "pause": {
        a_pause_keeps_nothing_from_starting: {"paused"},
        a_pause_is_over_early: {"paused"},
        nobody_comes_back_after_a_pause: {"prompt", "drained"},
        a_service_is_not_let_go_on: {"prompt"},
    },
}


def first_violation(kind: str) -> Outcome | None:
    """Of the first seed that shows one."""
    for seed in range(SEEDS):
        for rate in ("2/sec", None):
            trial = Trial(seed, "pipeline", count=4, rate=rate, kinds=frozenset({kind}), share=0.5)
            outcome = run_trial(trial)
            if outcome.violation is not None:
                return outcome
    return None


@pytest.mark.parametrize(
    ("plant", "what"),
    [(plant, what) for what, plants in PLANTS.items() for plant in plants],
    ids=lambda one: getattr(one, "__name__", one),
)
def test_a_planted_mistake_is_found_within_sixty_seeds(
    plant: Plant, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    outcome = first_violation(what)
    assert outcome is not None
    assert outcome.violation is not None
    assert outcome.violation.invariant in PLANTS[what][plant], outcome.violation
    monkeypatch.undo()
    assert run_trial(outcome.trial).violation is None
