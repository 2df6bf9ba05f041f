"""`--set` of a budget."""

from __future__ import annotations

import pytest

import runcue
from runcue_sim._pipelines.limits import apply
from runcue_sim._text.usage import BadUsage


def test_a_slip_in_the_name_of_a_budget_makes_no_new_one() -> None:
    cue = runcue.Cue()
    api = cue.service("api", budget={"tokens": "9/min"})
    with pytest.raises(BadUsage, match="did you mean 'tokens'"):
        apply(cue, ["api.budget.token=5/min"])
    apply(cue, ["api.budget.tokens=5/min"])
    assert api.status().budgets["tokens"].limit == 5
