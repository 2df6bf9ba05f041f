"""`--check` finds what is planted where a cue stops, in successions, in what is left, and in pauses after refusals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import runcue
from runcue._dispatch import endings, settlement
from runcue._dispatch.endings import Endings
from runcue._dispatch.settlement import Settlement
from runcue._lifecycle import leaving, sparing
from runcue._lifecycle.leaving import Leaving
from runcue._lifecycle.stopping import CUT, FINISH, Stopping
from runcue._limits.throttle import Throttle
from runcue._model.attempts import Again
from runcue._model.phases import NOT_DUE
from runcue._scheduling import returning, succession
from runcue._scheduling.core import Core
from runcue._scheduling.holds import Holds
from runcue._scheduling.later import call_in
from runcue_sim._chaos.seeds import Outcome, Trial
from runcue_sim._chaos.trial import run_trial

Plant = Callable[[pytest.MonkeyPatch], None]


def what_must_complete_is_cut_off(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(sparing, "essential_works", lambda core: {})


def who_makes_what_that_needs_is_cut_off(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Holds, "needed_by", lambda *args: iter(()))


def stop_that_lets_nothing_more_start_ends_what_runs(patch: pytest.MonkeyPatch) -> None:
    escalate = Stopping.escalate

    def harsh(self: Stopping, level: int) -> None:
        escalate(self, level)
        if level == FINISH:
            self._cancellation.cancel(())

    patch.setattr(Stopping, "escalate", harsh)


def stop_that_lets_nothing_more_start_forgets_what_waits(patch: pytest.MonkeyPatch) -> None:
    cancel = Stopping._cancel_pending

    def forgetful(self: Stopping, *rest: Any) -> list[Any]:
        return [] if self.level == FINISH else cancel(self, *rest)

    patch.setattr(Stopping, "_cancel_pending", forgetful)


def time_of_a_stop_is_never_over(patch: pytest.MonkeyPatch) -> None:
    escalate = Stopping.escalate

    def patient(self: Stopping, level: int) -> None:
        if level != CUT:
            escalate(self, level)

    patch.setattr(Stopping, "escalate", patient)


def what_need_not_complete_is_tried_again(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Endings, "is_over_for", lambda self, work: False)


def successor_begins_with_the_first_attempt(patch: pytest.MonkeyPatch) -> None:
    succeed = succession.succeed

    def anew(*args: Any) -> runcue.Work | None:
        successor = succeed(*args)
        if successor is not None:
            successor.attempt = 1
        return successor

    patch.setattr(succession, "succeed", anew)


def _successor(patch: pytest.MonkeyPatch, change: Callable[[Core, runcue.Work], None]) -> None:
    """Changes what takes the place of one that waits for its next attempt."""
    successor_of = succession.successor_of

    def otherwise(core: Core, leader: runcue.Work) -> runcue.Work | None:
        successor = successor_of(core, leader)
        if successor is not None and successor._phase == NOT_DUE and successor in core.returning:
            change(core, successor)
        return successor

    patch.setattr(settlement, "successor_of", otherwise)


def successor_begins_at_once(patch: pytest.MonkeyPatch) -> None:
    _successor(patch, lambda core, successor: core.returning.set(successor, 0.0))


def successor_is_lost(patch: pytest.MonkeyPatch) -> None:
    _successor(patch, lambda core, successor: core.returning.clear(successor))


def successor_of_what_is_for_later_begins_at_once(patch: pytest.MonkeyPatch) -> None:
    successor_of = succession.successor_of

    def hasty(core: Core, leader: runcue.Work) -> runcue.Work | None:
        successor = successor_of(core, leader)
        if successor is not None and core.waits_for_appointment(successor):
            call_in(core, successor, leader._phase_since)
        return successor

    patch.setattr(settlement, "successor_of", hasty)


def those_who_have_joined_end_with_the_one_that_is_cancelled(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Settlement, "_successor_of", lambda *args: None)


def what_a_stop_cuts_off_is_never_listed_as_left(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Leaving, "takes", lambda *args: False)


def what_has_no_end_is_not_left_as_a_stop_begins(patch: pytest.MonkeyPatch) -> None:
    def begin(self: Leaving) -> None:
        if self._core.came_back is None:
            self._core.came_back = []

    patch.setattr(Leaving, "leave_endless", begin)


def what_comes_back_while_the_cue_stops_is_not_left(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Leaving, "look", lambda self: None)


def who_has_joined_what_comes_back_is_not_left(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(leaving, "_followers_of", lambda work: ())


def what_is_for_later_is_waited_for_nevertheless(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Leaving, "leave_for_later", lambda self: None)


def what_is_tried_again_with_an_end_is_left(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(leaving, "is_endless", lambda work: True)


def last_of_what_is_left_is_not_listed(patch: pytest.MonkeyPatch) -> None:
    summary = Stopping.summary
    patch.setattr(Stopping, "summary", lambda self, blocked, left: summary(self, blocked, left[:-1]))


def who_is_refused_comes_back_and_nobody_else_waits(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Throttle, "room", lambda *args: True)


def several_go_first(patch: pytest.MonkeyPatch) -> None:
    acquire = Throttle.acquire

    def forgetful(self: Throttle, now: float, work: runcue.Work) -> None:
        acquire(self, now, work)
        self.probe = None

    patch.setattr(Throttle, "acquire", forgetful)


def the_first_instant_counts(patch: pytest.MonkeyPatch) -> None:
    throttled = Throttle.throttled

    def short(self: Throttle, now: float, run: runcue.Work, seconds: float | None, *rest: float) -> float:
        return throttled(self, now, run, None if self.closed else seconds, *rest)

    patch.setattr(Throttle, "throttled", short)


def the_first_one_never_passes(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Throttle, "_pass", lambda self, at: self._dismiss_probe())


def a_refusal_is_an_attempt(patch: pytest.MonkeyPatch) -> None:
    put_back = returning.put_back
    patch.setattr(
        endings, "put_back", lambda core, work, again, now: put_back(core, work, _counted(again), now)
    )


def _counted(again: Again) -> Again:
    return again._replace(counts=True)


SEEDS = 90

KINDS = {
    "stops": {"stop", "must", "raise", "retry", "delay"},
    "successors": {"again", "cancel", "raise", "retry", "delay"},
    "left": {"stop", "again", "raise", "retry", "postpone", "delay"},
    "refusals": {"refuse", "cancel"},
}
"""The faults that show what is wrong in each of these."""

PLANTS: dict[str, dict[Plant, set[str]]] = {
    "stops": {
        what_must_complete_is_cut_off: {"stopped", "drained", "cause"},
        who_makes_what_that_needs_is_cut_off: {"drained", "stopped", "cause"},
        stop_that_lets_nothing_more_start_ends_what_runs: {"stopped", "ends"},
        stop_that_lets_nothing_more_start_forgets_what_waits: {"stopped", "ends"},
        time_of_a_stop_is_never_over: {"stopped"},
        what_need_not_complete_is_tried_again: {"stopped"},
    },
    "successors": {
        successor_begins_with_the_first_attempt: {"attempts"},
        successor_begins_at_once: {"early"},
        successor_is_lost: {"prompt", "drained", "once"},
        successor_of_what_is_for_later_begins_at_once: {"early"},
        those_who_have_joined_end_with_the_one_that_is_cancelled: {"cause"},
    },
    "left": {
        what_a_stop_cuts_off_is_never_listed_as_left: {"left"},
        what_has_no_end_is_not_left_as_a_stop_begins: {"left"},
        what_comes_back_while_the_cue_stops_is_not_left: {"left"},
        who_has_joined_what_comes_back_is_not_left: {"left"},
        what_is_for_later_is_waited_for_nevertheless: {"left"},
        what_is_tried_again_with_an_end_is_left: {"cause", "left"},
        last_of_what_is_left_is_not_listed: {"left"},
    },
    "refusals": {
        who_is_refused_comes_back_and_nobody_else_waits: {"refused"},
        several_go_first: {"refused"},
        the_first_instant_counts: {"refused", "attempts"},
        the_first_one_never_passes: {"prompt", "drained", "ends"},
        a_refusal_is_an_attempt: {"attempts"},
    },
}


LAST_FOUND_WITH: dict[Plant, int] = {
    who_makes_what_that_needs_is_cut_off: 52,
    what_need_not_complete_is_tried_again: 29,
    who_has_joined_what_comes_back_is_not_left: 79,
    what_is_for_later_is_waited_for_nevertheless: 30,
}
"""Seeds that are tried first, to save the time of those before them. If one shows nothing any more, all are tried."""


def first_violation(kinds: set[str], first: int) -> Outcome | None:
    """Of the first seed that shows one."""
    for seed in (first, *range(SEEDS)):
        for scenario in ("pipeline", "fanout"):
            trial = Trial(seed, scenario, count=3, kinds=frozenset(kinds), share=0.5, drains=seed % 2 == 0)
            outcome = run_trial(trial)
            if outcome.violation is not None:
                return outcome
    return None


@pytest.mark.parametrize(
    ("plant", "what"),
    [(plant, what) for what, plants in PLANTS.items() for plant in plants],
    ids=lambda one: getattr(one, "__name__", one),
)
def test_a_planted_mistake_is_found_within_ninety_seeds(
    plant: Plant, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    outcome = first_violation(KINDS[what], LAST_FOUND_WITH.get(plant, 0))
    assert outcome is not None
    assert outcome.violation is not None
    assert outcome.violation.invariant in PLANTS[what][plant], outcome.violation
    monkeypatch.undo()
    assert run_trial(outcome.trial).violation is None
