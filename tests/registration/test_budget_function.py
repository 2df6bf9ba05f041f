"""Budgets that a function gives are those of a key."""

from __future__ import annotations

import pytest

import runcue


def test_a_function_of_one_budget_is_told_where_it_goes() -> None:
    cue = runcue.Cue()
    with pytest.raises(runcue.ConfigurationError, match=r"budget=lambda key: \{'usd': \.\.\.\}"):
        cue.service("api", budget={"usd": lambda key: "2/day"})  # type: ignore[dict-item]
