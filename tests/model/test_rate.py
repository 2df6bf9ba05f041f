"""The grammar of rates: every accepted form with its meaning, and what is refused, with what the refusal says."""

from __future__ import annotations

import pytest

import runcue
from runcue._model.rate import parse_rate

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0

UNITS = {
    1.0: ["s", "sec", "secs", "second", "seconds"],
    MINUTE: ["m", "min", "mins", "minute", "minutes"],
    HOUR: ["h", "hr", "hrs", "hour", "hours"],
    DAY: ["d", "day", "days"],
}
UNIT_OF = {unit: seconds for seconds, units in UNITS.items() for unit in units}

FORMS = [
    ("60/min", 60, MINUTE),
    ("10/sec", 10, 1.0),
    ("1000/hour", 1000, HOUR),
    ("5000/day", 5000, DAY),
    ("100/15min", 100, 15 * MINUTE),
    ("100/15 min", 100, 15 * MINUTE),
    ("3/0.5s", 3, 0.5),
    ("1.5/sec", 3, 2.0),
    ("1.5 / sec", 3, 2.0),
    (".5/sec", 1, 2.0),
    ("0.1/min", 1, 10 * MINUTE),
    ("2.25/hour", 2, 2 / 2.25 * HOUR),
    ("1.0/sec", 1, 1.0),
    ("60 / min", 60, MINUTE),
    ("  60/min\n", 60, MINUTE),
    ("60 per min", 60, MINUTE),
    ("60/MIN", 60, MINUTE),
    ("90_000/min", 90_000, MINUTE),
    ("007/sec", 7, 1.0),
]

NO_FORMS = [
    "", " ", "60", "/min", "60/", "min", "60min", "60//min", "60/min/sec", "-5/sec", "+5/sec",
    "60/fortnight", "60/minn", "60/ms", "1e3/sec", "inf/sec", "nan/sec", "1.5.2/sec", "1,5/sec", "1__0/sec",
    "_1/sec", "1_/sec", "0x10/sec", "60/-1min", "sixty/min", "60/min 10/sec", "1/2/sec", None, 60, 1.5,
    b"60/min", ["60/min"], ("60/min",), True,
]  # fmt: skip

ZEROES = ["0/sec", "0/min", "0.0/min", "00/hour", "10/0min", "10/0.0 s", "0/15min"]


@pytest.mark.rule(7)
@pytest.mark.parametrize(("text", "count", "period"), FORMS)
def test_a_rate_means_whole_tokens_per_period(text: str, count: int, period: float) -> None:
    rate = parse_rate(text)

    assert (rate.count, rate.period) == (count, period)
    assert rate.text == text.strip()


@pytest.mark.rule(7)
@pytest.mark.parametrize(
    ("unit", "seconds"), [(unit, seconds) for seconds, units in UNITS.items() for unit in units]
)
def test_every_usual_name_of_a_unit_is_known(unit: str, seconds: float) -> None:
    assert parse_rate(f"5/{unit}").period == seconds
    assert parse_rate(f"5/{unit.upper()}").period == seconds
    assert parse_rate(f"5/3{unit}").period == 3 * seconds


@pytest.mark.rule(7)
@pytest.mark.parametrize("value", NO_FORMS)
def test_anything_else_is_a_value_error_that_names_the_value_and_shows_the_forms(value: object) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011 - that it is one is the point, its text is looked at below
        parse_rate(value)

    assert isinstance(refused.value, runcue.ConfigurationError)
    assert repr(value) in str(refused.value)
    assert '"60/min"' in str(refused.value)
    assert '"100/15min"' in str(refused.value)


@pytest.mark.rule(7, 11)
@pytest.mark.parametrize("value", ZEROES)
def test_a_rate_of_zero_is_refused_since_nothing_could_ever_start(value: str) -> None:
    with pytest.raises(runcue.ConfigurationError, match="more than zero") as refused:
        parse_rate(value)

    assert repr(value) in str(refused.value)
    assert '"60/min"' in str(refused.value)


@pytest.mark.rule(7)
@pytest.mark.parametrize(
    "text", ["0.333/sec", "0.999/sec", "33.333/min", "1.001/sec", "0.0001/day", "0.0101/s", "99.999/hour"]
)
def test_a_fraction_is_never_rounded_up_and_never_bursts_out_of_proportion(text: str) -> None:
    rate = parse_rate(text)
    number, unit = text.split("/")
    written = float(number) / UNIT_OF[unit]

    # Who writes 0.999 where 1 is allowed wants that margin.
    assert rate.per_second <= written * (1 + 1e-12)
    assert rate.per_second == pytest.approx(written)
    assert rate.count <= 100 * max(1.0, float(number))


@pytest.mark.rule(7)
@pytest.mark.parametrize("text", ["1/" + "9" * 400 + "days", "0." + "0" * 400 + "1/sec", "9" * 400 + "/min"])
def test_a_rate_beyond_all_numbers_is_refused_in_the_same_words(text: str) -> None:
    with pytest.raises(runcue.ConfigurationError, match="60/min"):
        parse_rate(text)
