"""Rates and durations as people write them: "60/min", "1.5 / sec", "100/15min"; "24h", "90 min".

Lives here: the grammar, and `Rate`, its meaning as whole tokens per period. What is done with a rate is the business
of `_limits`.

Must not know: clocks, services, work units.
"""

from __future__ import annotations

import re
import sys
from math import inf

from runcue._model.checks import number_of
from runcue._model.errors import ConfigurationError
from runcue._model.texts import shortened, words_of

__all__ = ["FORMS", "SECONDS", "Rate", "duration_or_none", "parse_duration", "parse_rate"]

FORMS = '"60/min", "10/sec", "1.5/sec", "1000/hour", "5000/day", "100/15min"'

_UNITS = {
    1.0: ("s", "sec", "secs", "second", "seconds"),
    60.0: ("m", "min", "mins", "minute", "minutes"),
    3600.0: ("h", "hr", "hrs", "hour", "hours"),
    86400.0: ("d", "day", "days"),
}
SECONDS = {word: seconds for seconds, words in _UNITS.items() for word in words}
# Patterns as text: re keeps them compiled from their first use on, and most programs parse a rate or two, or none.
_SHAPE = r"\s*(\d+(?:[._]\d+)*|\.\d+)\s*(?:/|per)\s*(\d+(?:\.\d+)?)?\s*([a-z]+)\s*"
_DURATION = r"\s*(\d+(?:\.\d+)?|\.\d+)\s*([a-z]+)\s*"
_FLAGS = re.IGNORECASE | re.ASCII


class Rate:
    """At most `count` starts in any window of `period` seconds.

    Attributes:
        count: Whole tokens, at least 1.
        period: Seconds after which a spent token is usable again.
        text: What the user wrote, for messages.
    """

    __slots__ = ("count", "period", "text")

    def __init__(self, count: int, period: float, text: str) -> None:
        self.count = count
        self.period = period
        self.text = text

    @property
    def per_second(self) -> float:
        """Tokens that come back in one second, on average."""
        return self.count / self.period


def parse_rate(value: object) -> Rate:
    """Read a rate.

    A rate that is no whole number per unit becomes the same rate over several units: 1.5/sec is 3 per 2 s.

    Args:
        value: Text such as "60/min". Units are sec, min, hour, day and their usual abbreviations; spaces, a decimal
            count, underscores in it and a number before the unit ("100/15min") are allowed.

    Returns:
        The rate in whole tokens.

    Raises:
        ConfigurationError: Anything else, with the value and the accepted forms in the text.
    """
    match = re.fullmatch(_SHAPE, value, _FLAGS) if isinstance(value, str) else None
    seconds = SECONDS.get(match[3].lower()) if match else None
    if match is None or seconds is None:
        raise ConfigurationError(f"Invalid rate {words_of(value)}: write it as one of {FORMS}.")
    from fractions import Fraction  # noqa: PLC0415 - brings decimal along, which takes as long as a tenth of asyncio

    try:
        written = Fraction(match[1].replace("_", ""))
        per = Fraction(match[2] or 1)
    except ValueError:
        raise ConfigurationError(f"Invalid rate {words_of(value)}: write it as one of {FORMS}.") from None
    if written <= 0 or per <= 0:
        raise ConfigurationError(
            f"Invalid rate {words_of(value)}: it must allow more than zero. Forms: {FORMS}."
        )
    # Any number of tokens over the time that so many take is the same rate, exactly. But the burst must stay what was
    # meant: 1.5/sec is 3 per 2 s, and 16.67/min is 16 per 57.6 s, not 1667 at once.
    whole = max(int(written), 1)
    count = written.numerator if written.numerator <= 2 * whole + 1 else whole
    try:
        period = float(per * count / written) * seconds
    except OverflowError:
        period = inf
    if not 0 < period < inf or count > sys.maxsize:
        raise ConfigurationError(
            f"Invalid rate {words_of(value)}: that is beyond all measure. Forms: {FORMS}."
        )
    return Rate(count, period, shortened(match[0].strip(), 80))


def duration_or_none(value: object, what: str, *, zero: bool = False) -> float | None:
    """Read a length of time that need not be given; see `parse_duration`."""
    return None if value is None else _duration(value, what, " or None", zero=zero)


def parse_duration(value: object, what: str, *, zero: bool = False, endless: bool = False) -> float:
    """Read a length of time.

    Args:
        value: A number of seconds, a timedelta, or text such as "30s", "90 min", "1.5 days".
        what: What it is for, for the message.
        zero: Whether none at all is one, too.
        endless: Whether `math.inf` is one, too: no limit.

    Returns:
        Seconds, more than zero.

    Raises:
        ConfigurationError: Anything else, with the value and the accepted forms in the text.
    """
    return _duration(value, what, "", zero=zero, endless=endless)


def _duration(value: object, what: str, end: str, *, zero: bool, endless: bool = False) -> float:
    seconds: float | None = None
    # A timedelta has it; to import datetime for this would cost every program time.
    if hasattr(type(value), "total_seconds"):
        try:
            seconds = number_of(value.total_seconds())  # type: ignore[attr-defined]
        except Exception:
            seconds = None
    elif isinstance(value, str):
        match = re.fullmatch(_DURATION, value, _FLAGS)
        unit = SECONDS.get(match[2].lower()) if match else None
        seconds = None if match is None or unit is None else float(match[1]) * unit
    else:
        seconds = number_of(value)
    if seconds is None or not (seconds > 0 or (zero and seconds == 0)) or (seconds == inf and not endless):
        number = "number of seconds of at least 0" if zero else "positive number of seconds"
        number += " (math.inf: no limit)" if endless else ""
        forms = f'a {number}, a timedelta{"," if end else " or"} text like "30s", "5 min", "24h"{end}'
        raise ConfigurationError(f"{what} must be {forms}, not {words_of(value)}.")
    return seconds
