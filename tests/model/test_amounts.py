"""Amounts of budgets: what is written is what counts, exactly."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

import runcue
from runcue._model.amounts import amount_in_words, amount_of, amounts_of, as_decimal, parse_allowance


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (3, 3),
        (0, 0),
        (2.0, 2),
        (0.1, Fraction(1, 10)),
        ("2.50", Fraction(5, 2)),
        (" 90_000 ", 90_000),
        ("1e6", 1_000_000),
        (Decimal("0.0003"), Fraction(3, 10_000)),
        (Fraction(1, 3), Fraction(1, 3)),
        (Fraction(6, 3), 2),
    ],
)
def test_an_amount_is_what_is_written(written: Any, meant: Any) -> None:
    found = amount_of(written, "the amount")
    assert found == meant
    assert isinstance(found, int) == (Fraction(meant).denominator == 1)


def test_ten_times_a_tenth_is_one() -> None:
    assert sum(amount_of(0.1, "the amount") for _ in range(10)) == 1


@pytest.mark.parametrize(
    "given",
    [
        -1,
        -0.5,
        float("nan"),
        float("inf"),
        True,
        None,
        "many",
        "1/3",
        "",
        [],
        Decimal("NaN"),
        Decimal("1e999999999"),
        10**40,
        1e-40,
        "9" * 100,
        object(),
    ],
)
def test_what_is_no_amount_is_refused_with_its_value(given: Any) -> None:
    with pytest.raises(runcue.ConfigurationError, match="the amount") as caught:
        amount_of(given, "the amount")
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("text", "limit", "period", "words"),
    [
        ("90_000/min", 90_000, 60.0, "90,000 tokens per min"),
        ("2.50 / day", Fraction(5, 2), 86_400.0, "2.5 tokens per day"),
        ("100 per 15min", 100, 900.0, "100 tokens per 15 min"),
        (".5/sec", Fraction(1, 2), 1.0, "0.5 tokens per sec"),
    ],
)
def test_a_budget_is_read_as_it_is_written(text: str, limit: Any, period: float, words: str) -> None:
    found = parse_allowance(text, "budget 'tokens'")
    assert (found.limit, found.period, found.of("tokens")) == (limit, period, words)


@pytest.mark.parametrize(
    "text", ["0/min", "1/0min", "-1/min", "90,000/min", "min", "5", 5, None, "1/fortnight", b"1/min"]
)
def test_a_budget_that_cannot_be_read_is_refused_with_the_forms(text: Any) -> None:
    with pytest.raises(runcue.ConfigurationError, match=r"budget 'tokens'.*90_000/min"):
        parse_allowance(text, "budget 'tokens'")


@pytest.mark.parametrize("given", [None, 5, ["tokens"], {3: 1}, {"": 1}, {"tokens": "many"}, {"tokens": -1}])
def test_costs_that_are_none_are_refused(given: Any) -> None:
    with pytest.raises(runcue.ConfigurationError):
        amounts_of(given, "cost of task 'ask'")


def test_amounts_are_told_as_people_write_them() -> None:
    told = [amount_in_words(amount_of(one, "it")) for one in (90_000, 2.5, 0.0003, "1234.5", 0)]
    assert told == ["90,000", "2.5", "0.0003", "1,234.5", "0"]


@pytest.mark.parametrize(
    ("amount", "told"),
    [
        (712, "712"),
        (Fraction(6, 3), "2"),
        (Fraction(5, 2), "2.5"),
        (Fraction(1, 3125), "0.00032"),
        (Fraction(10**29 + 1, 10**29), "1." + "0" * 28 + "1"),
    ],
)
def test_a_status_tells_amounts_as_people_write_them_and_exactly(amount: Any, told: str) -> None:
    assert str(as_decimal(amount)) == told
    assert as_decimal(amount) == amount


def test_a_status_cuts_what_has_no_end() -> None:
    assert str(as_decimal(Fraction(1, 3))).startswith("0.33333333")
    assert f"{as_decimal(Fraction(2, 3)):.2f}" == "0.67"
