"""`--check` finds what is planted in the limits of services: budgets, keys, changes, pauses and breakers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import runcue
from runcue._lifecycle.pausing import Pausing
from runcue._limits.breaker import BreakerLimit
from runcue._limits.budget import Budget
from runcue._limits.keyed import KeyedService, KeyService
from runcue._limits.ledger import Ledger
from runcue._limits.pause import Pause
from runcue._registration import services
from runcue._registration.services import Services
from runcue._scheduling.keyed_run_queue import KeyedRunQueue
from runcue._scheduling.run_queue import RunQueue
from runcue._scheduling.run_queues import RunQueues
from runcue_sim._chaos.seeds import Outcome, Trial
from runcue_sim._chaos.trial import run_trial

Plant = Callable[[pytest.MonkeyPatch], None]


def budget_lets_start_what_is_more_than_is_left(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Budget, "room", lambda self, now, work: self.fits(now, 0))


def what_is_owed_keeps_nobody(patch: pytest.MonkeyPatch) -> None:
    owe = Ledger._owe

    def forgive(self: Ledger, charge: Any, amount: Any) -> None:
        owe(self, charge, amount)
        self.debt -= amount
        self._debts.pop()
        charge.owed = 0

    patch.setattr(Ledger, "_owe", forgive)


def what_was_spent_is_not_charged(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Ledger, "_raise", lambda *args: None)


def charge_counts_too_short(patch: pytest.MonkeyPatch) -> None:
    entered = Budget.entered
    patch.setattr(Budget, "entered", lambda self, now, work, at: entered(self, now, work, at - 0.3))


def nobody_comes_back_to_a_budget(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Budget, "next_room", lambda self, now, work: now + 1000)


def all_keys_are_one(patch: pytest.MonkeyPatch) -> None:
    of_key = KeyedService.of_key
    patch.setattr(KeyedService, "of_key", lambda self, key: of_key(self, 0))


def key_is_not_looked_at_when_its_slot_is_free(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(KeyService, "reopen", lambda self: None)


def slots_of_keys_are_never_taken(patch: pytest.MonkeyPatch) -> None:
    acquire = KeyedRunQueue.acquire

    def generous(self: KeyedRunQueue, now: float, work: runcue.Work) -> Any:
        error = acquire(self, now, work)
        for key in self.holds.keys_of(work):
            key.active = 0
        return error

    patch.setattr(KeyedRunQueue, "acquire", generous)


def change_changes_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Services, "_give", lambda *args: None)


def change_forgets_what_has_started(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(services, "inherit", lambda *args: None)


def change_wakes_nobody(patch: pytest.MonkeyPatch) -> None:
    given = Services.give

    def give(self: Services, name: str, limits: Any) -> None:
        wake, self._wake = self._wake, lambda: None
        given(self, name, limits)
        self._wake = wake

    patch.setattr(Services, "give", give)


def pause_keeps_nobody(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Pause, "room", lambda *args: True)


def pause_is_not_seen_by_who_has_come_before(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(RunQueues, "look_at", lambda *args: None)


def end_of_a_pause_wakes_nobody(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Pause, "next_room", lambda self, now, work=None: now + 1000)
    patch.setattr(Pausing, "_tidy", lambda self, now: None)


def breaker_lets_all_pass(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(BreakerLimit, "room", lambda *args: True)


def breaker_hears_of_no_failure(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(RunQueue, "hear", lambda *args: None)
    patch.setattr(KeyedRunQueue, "hear", lambda *args: None)


def breaker_lets_several_through(patch: pytest.MonkeyPatch) -> None:
    acquire = BreakerLimit.acquire

    def forgetful(self: BreakerLimit, now: float, work: runcue.Work) -> None:
        acquire(self, now, work)
        self.probe = None

    patch.setattr(BreakerLimit, "acquire", forgetful)


SEEDS = 100

KINDS = {
    "budgets": {"budget", "raise", "retry"},
    "keys": {"keys", "raise"},
    "changes": {"change", "budget"},
    "pauses": {"pause", "keys"},
    "breakers": {"breaker", "raise", "retry"},
}
"""The faults that show what is wrong in each of these."""

PLANTS: dict[str, dict[Plant, set[str]]] = {
    "budgets": {
        budget_lets_start_what_is_more_than_is_left: {"budget"},
        what_is_owed_keeps_nobody: {"budget"},
        what_was_spent_is_not_charged: {"budget"},
        charge_counts_too_short: {"budget"},
        nobody_comes_back_to_a_budget: {"prompt", "ends", "drained"},
    },
    "keys": {
        all_keys_are_one: {"prompt"},
        key_is_not_looked_at_when_its_slot_is_free: {"prompt"},
        slots_of_keys_are_never_taken: {"slots"},
    },
    "changes": {
        change_changes_nothing: {"slots", "prompt", "rate", "budget"},
        change_forgets_what_has_started: {"rate"},
        change_wakes_nobody: {"prompt"},
    },
    "pauses": {
        pause_keeps_nobody: {"paused"},
        pause_is_not_seen_by_who_has_come_before: {"paused", "prompt"},
        end_of_a_pause_wakes_nobody: {"prompt"},
    },
    "breakers": {
        breaker_lets_all_pass: {"broken"},
        breaker_hears_of_no_failure: {"broken"},
        breaker_lets_several_through: {"broken"},
    },
}


def first_violation(kinds: set[str]) -> Outcome | None:
    """Of the first seed that shows one."""
    for seed in range(SEEDS):
        for scenario in ("single_queue", "pipeline", "fanout"):
            rate = "3/sec" if seed % 2 else None
            trial = Trial(seed, scenario, count=4, concurrent=2, rate=rate, kinds=frozenset(kinds), share=0.5)
            outcome = run_trial(trial)
            if outcome.violation is not None:
                return outcome
    return None


@pytest.mark.parametrize(
    ("plant", "what"),
    [(plant, what) for what, plants in PLANTS.items() for plant in plants],
    ids=lambda one: getattr(one, "__name__", one),
)
def test_a_planted_mistake_is_found_within_a_hundred_seeds(
    plant: Plant, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    outcome = first_violation(KINDS[what])
    assert outcome is not None
    assert outcome.violation is not None
    assert outcome.violation.invariant in PLANTS[what][plant], outcome.violation
    monkeypatch.undo()
    assert run_trial(outcome.trial).violation is None
