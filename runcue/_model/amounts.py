"""Amounts of what budgets count, exactly: "90_000/min", "2.50/day"; a cost of 712, of 0.0003.

Lives here: the grammar, and `Allowance`, so much per period. An amount is an int where it is whole, else a `Fraction`;
a float is taken for what is written, so that ten times 0.1 is 1. What is done with amounts is the business of
`_limits`.

Must not know: clocks, services, work units.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import inf
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from runcue._model.checks import check_name
from runcue._model.errors import ConfigurationError
from runcue._model.rate import SECONDS
from runcue._model.texts import words_of

if TYPE_CHECKING:
    from decimal import Decimal
    from fractions import Fraction

__all__ = [
    "FORMS",
    "Allowance",
    "Amount",
    "amount_in_words",
    "amount_of",
    "amounts_of",
    "as_decimal",
    "parse_allowance",
    "plainly",
]

Amount: TypeAlias = "int | Fraction"

FORMS: Final = '"90_000/min", "2.50/day", "100/15min"'

# Patterns as text: most programs parse a budget or two, or none.
_NUMBER: Final = r"\d+(?:_\d+)*(?:\.\d+(?:_\d+)*)?|\.\d+"
_AMOUNT: Final = rf"\s*(?:{_NUMBER})(?:e[+-]?\d{{1,3}})?\s*"
_SHAPE: Final = rf"\s*({_NUMBER})\s*(?:/|per)\s*(\d+(?:\.\d+)?)?\s*([a-z]+)\s*"
_FLAGS: Final = re.IGNORECASE | re.ASCII
_LONGEST: Final = 60

_MOST: Final = 10**30
"""What is more, or has as many places behind the point, is no amount of anything, and would take time to count with."""


class Allowance(NamedTuple):
    """At most `limit` in any window of `period` seconds.

    Attributes:
        limit: More than 0.
        period: In seconds.
        per: The period as it was written: "min", "15 min".
        text: All of it as it was written.
    """

    limit: Amount
    period: float
    per: str
    text: str

    def of(self, name: str) -> str:
        """The same with the name of what is counted: "90,000 tokens per min"."""
        return f"{amount_in_words(self.limit)} {name} per {self.per}"


def parse_allowance(value: object, what: str) -> Allowance:
    """Read how much a budget allows.

    Args:
        value: Text such as "90_000/min". Units are sec, min, hour, day (24 hours) and their usual abbreviations;
            spaces, decimals, underscores and a number before the unit are allowed.
        what: What it is, for the message.

    Raises:
        ConfigurationError: Anything else, with the value and the accepted forms in the text.
    """
    match = None
    if isinstance(value, str) and len(value) <= _LONGEST:
        match = re.fullmatch(_SHAPE, value, _FLAGS)
    seconds = SECONDS.get(match[3].lower()) if match else None
    if match is None or seconds is None:
        raise ConfigurationError(f"{what} must be text like {FORMS}, not {words_of(value)}.")
    limit, period = amount_of(match[1], what), float(match[2] or 1) * seconds
    if not limit or not 0 < period < inf:
        raise ConfigurationError(f"{what} must allow more than zero, not {words_of(value)}. Forms: {FORMS}.")
    per = match[3] if match[2] is None else f"{match[2]} {match[3]}"
    return Allowance(limit, period, per, match[0].strip())


def amount_of(value: Any, what: str) -> Amount:
    """Read an amount: a whole number, a float, a Decimal, a Fraction, or text that is a decimal number.

    Args:
        value: As it was given.
        what: What it is, for the message.

    Raises:
        ConfigurationError: It is none, or negative, or beyond all measure.
    """
    if type(value) is int and 0 <= value <= _MOST:  # by far the most frequent
        return value
    found = _exactly(value)
    if found is None:
        raise ConfigurationError(
            f"{what} must be a number of at least 0 (or text that is one, a Decimal or a Fraction), not "
            f"{words_of(value)}."
        )
    if found < 0:
        raise ConfigurationError(f"{what} must be at least 0, not {words_of(value)}.")
    if found > _MOST or found.denominator > _MOST:
        raise ConfigurationError(f"{what} is beyond all measure: {words_of(value)}.")
    return plainly(found)


def plainly(amount: Amount) -> Amount:
    """An amount as an int if it is whole."""
    return amount.numerator if amount.denominator == 1 else amount


def as_decimal(amount: Amount) -> int | Decimal:
    """An amount for people, who write 2.50 and would have to read 5/2. What has no end is cut, far behind the point."""
    amount = plainly(amount)
    if isinstance(amount, int):
        return amount
    from decimal import Context, Decimal  # noqa: PLC0415 - it takes as long as a tenth of asyncio

    return Context(prec=2 * len(str(_MOST))).divide(Decimal(amount.numerator), Decimal(amount.denominator))


def _exactly(value: Any) -> Amount | None:
    """A number as what is written, None if it is none."""
    from fractions import Fraction  # noqa: PLC0415 - brings decimal along, which takes as long as a tenth of asyncio

    try:
        if isinstance(value, bool):
            return None
        if isinstance(value, float):
            return Fraction(float.__repr__(value))  # ValueError for what is no number, or endless
        if isinstance(value, str):
            is_number = len(value) <= _LONGEST and re.fullmatch(_AMOUNT, value, _FLAGS)
            return Fraction(value.replace("_", "").strip()) if is_number else None
        if hasattr(type(value), "adjusted"):  # a Decimal, of which 1E+999999999 is one
            exponent = value.as_tuple().exponent
            return Fraction(value) if abs(value.adjusted()) < 100 and abs(exponent) < 100 else None
        if hasattr(type(value), "as_integer_ratio"):
            return Fraction(*value.as_integer_ratio())
        return value.__index__()  # type: ignore[no-any-return]
    except Exception:
        return None


def amounts_of(value: Any, what: str) -> dict[str, Amount]:
    """Read amounts by the names of the budgets that they are of.

    Args:
        value: As they were given.
        what: What they are, for the message: "cost of task 'ask'"; "it": the message says that already.

    Raises:
        ConfigurationError: It is no dict, or what is in it is none.
    """
    if type(value) is not dict and not isinstance(value, Mapping):
        raise ConfigurationError(
            f'{what} must be a dict, such as {{"tokens": 700}}, not {type(value).__name__}: {words_of(value)}.'
        )
    try:
        found = dict(value)
    except Exception as error:
        from runcue._model.texts import error_words  # noqa: PLC0415 - only where something is wrong

        raise ConfigurationError(
            f"{what} must be a dict that can be copied: {error_words(error)}."
        ) from error
    whose = "" if what == "it" else f"{what}: "
    for name, one in found.items():
        if type(name) is not str or not name:
            check_name(name, "budget")
        if type(one) is not int or not 0 <= one <= _MOST:
            found[name] = amount_of(one, f"{whose}{words_of(name)}")
    return found


def amount_in_words(amount: Amount) -> str:
    """An amount for people: "90,000", "2.5", "0.0003"."""
    if amount.denominator == 1:
        return f"{amount.numerator:,}"
    text = f"{float(amount):,.6f}" if amount > 1 else f"{float(amount):.6g}"
    return text.rstrip("0").rstrip(".") if "." in text and "e" not in text else text
