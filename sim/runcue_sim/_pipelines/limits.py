"""Limits of services as people write them: `--set` gives a service one, `--sweep` tries several.

Lives here: the text (`read_rate`, `parse_one`, `parse`, `written`), and `apply`, which gives a cue what was read.

Must not know: how the runs of a sweep are made or compared.
"""

from __future__ import annotations

import itertools
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import runcue
from runcue.rehearsal import set_limits
from runcue_sim._text.error_origin import one_line
from runcue_sim._text.usage import BadUsage, nearest

Limits = dict[str, dict[str, Any]]
"""By service: "rate", "burst", "concurrent", "limiter", "margin", and "budget.tokens" for one of its budgets."""

FORMS: Final = (
    "SERVICE.concurrent=5, SERVICE.rate=60/min, SERVICE.burst=10 or SERVICE.budget.tokens=90_000/min"
)
_BUDGET: Final = "budget."
MOST: Final = 100

_PAIR: Final = re.compile(r"\s*(\d+)\s*/\s*(\d+(?:\.\d+)?)\s*")


class Rates(tuple[str, ...]):
    """Several rates that all hold, in text as they are written."""

    __slots__ = ()

    def __str__(self) -> str:
        return "+".join(self)


def read_rate(text: str) -> str:
    """A rate as runcue takes it: "60/min" as it is, "20/1" as 20 in 1 second.

    Raises:
        ValueError: It is none; the text shows the forms.
    """
    pair = _PAIR.fullmatch(text)
    rate = f"{pair[1]}/{pair[2]}s" if pair else text
    try:
        # Whoever keeps rates knows which there can be.
        runcue.Cue().service("any", rate=rate)
    except ValueError as error:
        raise ValueError(f"{error} Or a count and seconds, as in 20/1.") from None
    return rate


def parse_one(text: str) -> Limits:
    """Read one limit.

    Args:
        text: "openai.concurrent=5", "openai.rate=60/min", "openai.burst=10"; "openai.rate=none" takes one away.

    Raises:
        BadUsage: It is none, or no service can have it.
    """
    service, what, values = _parsed(text)
    if len(values) > 1:
        raise BadUsage(f"{text!r} has several values; one can be set, and --sweep tries several")
    return {service: {what: values[0]}}


def parse(texts: Iterable[str]) -> list[Limits]:
    """Read what is to be tried: every combination of the values, in the order in which they are given.

    Args:
        texts: Each like "openai.concurrent=1,2,5,10".

    Raises:
        BadUsage: One of them is none, or they are too many.
    """
    axes: dict[tuple[str, str], list[Any]] = {}
    for text in texts:
        service, what, values = _parsed(text)
        if (service, what) in axes:
            raise BadUsage(f"--sweep {service}.{what} is given twice; write its values with commas")
        axes[service, what] = list(dict.fromkeys(values))
    points = []
    for chosen in itertools.islice(itertools.product(*axes.values()), MOST + 1):
        limits: Limits = {}
        for (service, what), value in zip(axes, chosen, strict=True):
            limits.setdefault(service, {})[what] = value
        points.append(limits)
    if len(points) > MOST:
        raise BadUsage(f"--sweep would be more than {MOST} runs; give fewer values")
    return points


def written(limits: Limits) -> list[str]:
    """Limits as they are written."""
    return [
        f"{service}.{what}={'none' if value is None else value}"
        for service, values in limits.items()
        for what, value in values.items()
    ]


def apply(cue: runcue.Cue, texts: Iterable[str]) -> None:
    """Give services the limits of `--set`. What is not named stays as it is, and the last of several values counts.

    Raises:
        BadUsage: There is no such service, or it cannot have that limit, or not beside its others.
    """
    together: Limits = {}
    said: dict[str, dict[str, str]] = {}
    for text in texts:
        for service, values in parse_one(text).items():
            for what, value in values.items():
                together.setdefault(service, {})[what] = value
                said.setdefault(service, {})[what] = text
    for service, values in together.items():
        _check_budgets(cue, service, said[service])
        try:
            set_limits(cue, {service: _options(values)})
        except runcue.RuncueError as error:
            raise BadUsage(f"--set {' '.join(said[service].values())}: {one_line(str(error))}") from error


def _check_budgets(cue: runcue.Cue, service: str, said: Mapping[str, str]) -> None:
    """A service that has budgets gets no other ones: that is a slip of the pen.

    Raises:
        BadUsage: It has none of that name.
    """
    there = next((one.budgets for one in cue.services() if one.name == service), {})
    for what, text in said.items():
        name = what.removeprefix(_BUDGET)
        if what.startswith(_BUDGET) and there and name not in there:
            raise BadUsage(
                f"--set {text}: service {service!r} has no budget {name!r}; {nearest(name, there)}"
            )


def _options(values: Mapping[str, Any]) -> dict[str, Any]:
    """What was read, as options of a service."""
    options = {what: value for what, value in values.items() if not what.startswith(_BUDGET)}
    budgets = {what.removeprefix(_BUDGET): value for what, value in values.items() if what not in options}
    return {**options, "budget": budgets} if budgets else options


def _parsed(text: str) -> tuple[str, str, list[Any]]:
    # The names of services may hold anything; what follows the last dot and the last equals sign may not.
    left, equals, right = text.rpartition("=")
    service, dot, what = left.strip().rpartition(".")
    read = _READ.get(what)
    if service.endswith(".budget"):
        service, what, read = service.removesuffix(".budget"), f"{_BUDGET}{what}", _budget
    if not equals or not dot or not service:
        raise BadUsage(f"{text!r} is no limit; write {FORMS}")
    if what == "budget":
        raise BadUsage(f"{text!r}: say which budget, as in {service}.budget.tokens=90_000/min")
    if read is None:
        raise BadUsage(f"{text!r}: a service has no {what!r}; {nearest(what, _READ)}")
    try:
        return service, what, [read(value.strip()) for value in right.split(",")]
    except ValueError as error:
        raise BadUsage(f"{text!r}: {one_line(str(error))}") from error


def _number(what: str) -> Callable[[str], int | None]:
    def number(text: str) -> int | None:
        if _is_none(text):
            return None
        if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= sys.maxsize:
            raise ValueError(f"{what} must be a whole number of at least 1, or none, not {text!r}")
        return int(text)

    return number


def _rate(text: str) -> str | Rates | None:
    """One rate, or several that all hold: "10/sec+500/min"."""
    if _is_none(text):
        return None
    rates = [read_rate(one.strip()) for one in text.split("+")]
    return rates[0] if len(rates) == 1 else Rates(rates)


def _budget(text: str) -> str | None:
    if _is_none(text):
        return None
    _check("a budget", budget={"any": text})
    return text


def _margin(text: str) -> str | float | None:
    if _is_none(text):
        return None
    try:
        margin: str | float = int(text) if text.isdigit() else float(text)
    except ValueError:
        margin = text
    _check("a margin", rate="1/sec", margin=margin)
    return margin


def _check(what: str, **options: Any) -> None:
    """Raise ValueError if a service cannot have that. Whoever keeps limits knows which there can be."""
    try:
        runcue.Cue().service("any", **options)
    except ValueError as error:
        raise ValueError(f"{what} must {str(error).partition(' must ')[2]}") from None


def _limiter(text: str) -> None:
    if not _is_none(text):
        raise ValueError(
            f"a limiter can only be taken away, by none, not {text!r}; give the service a rate instead"
        )


def _is_none(text: str) -> bool:
    return text.lower() == "none"


_READ: Final[dict[str, Callable[[str], Any]]] = {
    "concurrent": _number("concurrent"),
    "rate": _rate,
    "burst": _number("burst"),
    "limiter": _limiter,
    "margin": _margin,
}
