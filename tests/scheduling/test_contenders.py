"""Run queues that share services know which of the others may wait for a budget, however many they are."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

import runcue
from runcue._scheduling.run_queue import RunQueue


async def nothing(work: runcue.Work) -> None:
    pass


def check(cue: runcue.Cue) -> None:
    for one in cue._core.run_queues.values():
        near = [other for other in one.contenders if other.has_key_budgets()]
        assert one.keyed_near == (() if one.is_keyed else tuple(near))
        has = one.keyed_near or one.budgets or any(other.budgets for other in one.contenders)
        assert one.near_budgets == bool(has)


@pytest.mark.parametrize("seed", range(12))
def test_who_may_wait_for_a_budget_is_known_after_each_registration_and_change(seed: int) -> None:
    luck = Random(seed)
    cue = runcue.Cue()
    names: list[str] = []
    for number in range(6):
        options: dict[str, Any] = {"concurrent": 2}
        if luck.random() < 0.3:
            options["budget"] = {f"tokens {number}": "100/min"}
        if luck.random() < 0.3:
            options["per"] = lambda work: work.id
        names.append(cue.service(f"service {number}", **options))
    for number in range(16):
        uses = luck.sample(names, luck.choice((1, 2, 2, 3)))
        cue.task(f"task {number}", uses=uses)(nothing)
        check(cue)
        index = luck.randrange(len(names))
        budget = {f"tokens {index}": "50/min"} if luck.random() < 0.4 else None
        cue.get_service(names[index]).change(budget=budget)
        check(cue)


def test_of_many_that_share_a_total_each_is_told_once_of_a_new_one(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = 0
    has_key_budgets = RunQueue.has_key_budgets

    def counted(self: RunQueue) -> bool:
        nonlocal asked
        asked += 1
        return has_key_budgets(self)

    monkeypatch.setattr(RunQueue, "has_key_budgets", counted)
    cue = runcue.Cue()
    cue.service("total", concurrent=1)
    number = 60
    for one in range(number):
        cue.service(f"own {one}", concurrent=1)
        cue.task(f"task {one}", uses=["total", f"own {one}"])(nothing)
    assert asked < 2 * number**2  # and not of each pair of others as well, for each of these again
    check(cue)
