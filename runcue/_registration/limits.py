"""The limits of a service as they are declared: each option of `Cue.service`, checked in the line of the mistake.

Lives here: `OPTIONS`, the table of what can be said of a service; and `Limits`, what has been said of one.

Must not know: which services there are, what is made of their limits.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from operator import eq
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from runcue._model.callables import located
from runcue._model.checks import (
    check_callback,
    check_name,
    has_methods,
    is_async,
    is_one_of,
    nearest,
    positive_int,
)
from runcue._model.errors import ConfigurationError
from runcue._model.no_answers import never_returns
from runcue._model.rate import Rate, parse_duration, parse_rate
from runcue._model.texts import describe, how_many, listed, message_of, seconds_in_words, words_of
from runcue._registration.keys import ByKey, is_same_function, read_by_key, read_per
from runcue.abc import Limit

if TYPE_CHECKING:
    from runcue._model.amounts import Allowance

__all__ = ["OPTIONS", "Limits", "hint"]

METHODS: Final = ("room", "next_room", "acquire", "entered", "release", "at_least", "describe")


class Option(NamedTuple):
    """One thing that can be said of a service.

    Attributes:
        read: Checks what was given, which is not None; what it is called in messages comes second. None: nothing is set
            by that.
        words: What was read, in words.
        same: Whether two that were read mean the same, however they were written.
        by_key: Whether it may be a function of the key, where a service has limits for each.
    """

    read: Callable[[Any, str], Any]
    words: Callable[[Any], str]
    same: Callable[[Any, Any], bool] = eq
    by_key: bool = True


class Limits:
    """What has been said of one service. It never changes: `but` gives another one.

    Args:
        values: What was read, by the names of the options; those that are missing were not set.
    """

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, Any] | None = None) -> None:
        self._values: dict[str, Any] = dict(values or {})

    def get(self, option: str) -> Any:
        """What was read of an option; None if it is not set."""
        return self._values.get(option)

    def set_options(self) -> list[str]:
        """The options that are set."""
        return list(self._values)

    def but(self, name: str, given: Mapping[Any, Any]) -> Limits:
        """The same, but for what is given.

        Args:
            name: Of the service.
            given: By option; None takes one away.

        Raises:
            ConfigurationError: There is no such option, or a value cannot work, or not beside the others.
        """
        values = dict(self._values)
        for option, value in given.items():
            if not isinstance(option, str) or option not in OPTIONS:
                raise ConfigurationError(f"A service has no {words_of(option)}. {hint(option, OPTIONS)}")
            values.pop(option, None)
            read = None if value is None else _read(option, value, f"{option} of service {name!r}")
            if read is not None:
                values[option] = read
        values = {option: values[option] for option in OPTIONS if option in values}
        made = Limits(values)
        _check_together(name, made, given, self)
        return made

    def of_key(self, name: str, key: Hashable) -> Limits:
        """Those of one key, of a service that has limits for each.

        Args:
            name: Of the service.
            key: The key.

        Raises:
            ConfigurationError: What a function has given for it cannot work. What one raises itself comes as it is.
        """
        if not any(isinstance(value, ByKey) for value in self._values.values()):
            return self
        values = {
            option: value.of(key) if isinstance(value, ByKey) else value
            for option, value in self._values.items()
            if option != "per"
        }
        made = Limits({option: value for option, value in values.items() if value is not None})
        try:
            _check_together(name, made, values, made)
        except ConfigurationError as error:
            raise ConfigurationError(f"For key {words_of(key)}: {message_of(error)}") from None
        return made

    def differing(self, other: Limits) -> list[str]:
        """The options of which others mean something else, or of which one of both says nothing."""
        return [option for option in OPTIONS if not self._has_same(other, option)]

    def _has_same(self, other: Limits, option: str) -> bool:
        one, two = self.get(option), other.get(option)
        if one is None or two is None:
            return one is two
        if isinstance(one, ByKey) or isinstance(two, ByKey):
            return (
                isinstance(one, ByKey)
                and isinstance(two, ByKey)
                and is_same_function(one.function, two.function)
            )
        return OPTIONS[option].same(one, two)

    def __str__(self) -> str:
        found = [
            f"{option} {located(value.function)}"
            if isinstance(value, ByKey)
            else OPTIONS[option].words(value)
            for option, value in self._values.items()
        ]
        return listed(found) or "no limits"


def _read(option: str, value: Any, what: str) -> Any:
    """What is said by an option: a limit, or a function that gives that of a key."""
    read = OPTIONS[option].read
    is_function = callable(value) and not (isinstance(value, type) or has_methods(value, ("room",)))
    return read_by_key(value, what, read) if is_function and OPTIONS[option].by_key else read(value, what)


def _read_rates(value: Any, what: str) -> tuple[Rate, ...]:
    """Check a rate, or several: all of them hold."""
    if not isinstance(value, (list, tuple)) or not value:
        return (parse_rate(value),)
    rates = tuple(map(parse_rate, value))
    by_period: dict[float, Rate] = {}
    for rate in rates:
        other = by_period.setdefault(rate.period, rate)
        if other is not rate:
            raise ConfigurationError(
                f"{what} has two of one period, {words_of(other.text)} and {words_of(rate.text)}; the lower one is the "
                "one that counts: leave out the other."
            )
    return rates


def _are_same_rates(one: tuple[Rate, ...], other: tuple[Rate, ...]) -> bool:
    return {(rate.count, rate.period) for rate in one} == {(rate.count, rate.period) for rate in other}


def _read_budgets(value: Any, what: str) -> dict[str, Allowance] | None:
    """Check budgets: so much per period of each, by name."""
    from runcue._model.amounts import parse_allowance  # noqa: PLC0415 - needed by few

    if not isinstance(value, Mapping):
        raise ConfigurationError(
            f'{what} must be a dict, such as {{"tokens": "90_000/min"}}, not {type(value).__name__}: {words_of(value)}.'
        )
    for name, one in value.items():
        if callable(one):
            raise ConfigurationError(
                f"{what}, {words_of(name)}, is a function; one of the key gives all budgets of it: "
                f"budget=lambda key: {{{words_of(name)}: ...}}, beside per=."
            )
    return {
        check_name(name, "budget"): parse_allowance(one, f"{what}, {words_of(name)},")
        for name, one in value.items()
    } or None


def _read_oversize(value: Any, what: str) -> str | None:
    if not is_one_of(value, ("error", "borrow")):
        raise ConfigurationError(f'{what} must be "error" or "borrow", not {words_of(value)}.')
    return None if str(value) == "error" else str(value)


def _read_margin(value: Any, what: str) -> float | None:
    return parse_duration(value, what, zero=True) or None


def _are_same_budgets(one: Mapping[str, Allowance], other: Mapping[str, Allowance]) -> bool:
    return {name: kept[:2] for name, kept in one.items()} == {name: kept[:2] for name, kept in other.items()}


def _read_duration(value: Any, what: str) -> float:
    return parse_duration(value, what)


def _read_limiter(value: Any, what: str) -> Any:
    # aiolimiter is needed by few and costs import time.
    from runcue._limits.async_limiter import AsyncLimiterLimit  # noqa: PLC0415

    return AsyncLimiterLimit(value)


def _read_own(value: Any, what: str) -> tuple[Limit, ...] | None:
    """Check limits of the user's own: a list or tuple of them, or one alone."""
    found = tuple(value) if isinstance(value, (list, tuple)) else (value,)
    for limit in found:
        missing = [one for one in METHODS if not has_methods(limit, (one,))]
        if isinstance(limit, type):
            problem = "it is a class; give an object of it"
        elif missing:
            problem = f"it has no method {', '.join(f'{one}()' for one in missing)}"
        elif waiting := [one for one in METHODS if is_async(getattr(limit, one))]:
            problem = f"{waiting[0]}() is async; the methods of a limit are plain and answer at once"
        else:
            continue
        raise ConfigurationError(f"{what}: {words_of(limit)} is no runcue.abc.Limit: {problem}.")
    return found or None


def _are_equal(one: tuple[Limit, ...], other: tuple[Limit, ...]) -> bool:
    return len(one) == len(other) and all(map(_is_equal, one, other))


def _is_equal(one: object, other: object) -> bool:
    try:
        return one is other or bool(one == other)
    except Exception:  # it is the user's code
        return False


def _read_slots(value: Any, what: str) -> Any:
    if not (hasattr(type(value), "low") or type(value) is type):
        return positive_int(value, what)
    from runcue._limits.adaptive import Adaptive  # noqa: PLC0415 - needed by few

    if value is Adaptive:
        raise ConfigurationError(
            f"{what} is Adaptive itself; say within which bounds: runcue.Adaptive(1, 50)."
        )
    return value if isinstance(value, Adaptive) else positive_int(value, what)


def _slots_in_words(slots: Any) -> str:
    if isinstance(slots, int):
        return how_many(slots, "slot", "slots")
    return f"{slots.low} to {slots.high} slots"


def _read_breaker(value: Any, what: str) -> Any:
    from runcue._limits.breaker import Breaker  # noqa: PLC0415 - needed by few

    if isinstance(value, Breaker):
        return value
    hint = f" Write runcue.Breaker(failures={value})." if type(value) is int and value > 0 else ""
    hint = " Write runcue.Breaker() with parentheses." if value is Breaker else hint
    raise ConfigurationError(f"{what} must be a runcue.Breaker, not {words_of(value)}.{hint}")


def _read_throttle(value: Any, what: str) -> Any:
    if isinstance(value, type) or not callable(value):
        raise ConfigurationError(
            f"{what} must be a function of the error that gives seconds, True or None, such as runcue.http_errors, "
            f"not {words_of(value)}."
        )
    check_callback(value, what, ("error",))
    if is_async(value):
        raise ConfigurationError(
            f"{what} must be a plain function, not the `async def` {located(value)}: it is asked in one step."
        )
    if never_returns(value):
        raise ConfigurationError(f"{what}, {located(value)}, returns nothing: is a `return` missing?")
    return value


def _read_max_throttled(value: Any, what: str) -> float:
    return parse_duration(value, what, zero=True, endless=True)


OPTIONS: Final[dict[str, Option]] = {
    "rate": Option(
        _read_rates, lambda rates: f"rate {', '.join(rate.text for rate in rates)}", _are_same_rates
    ),
    "burst": Option(positive_int, lambda burst: f"burst {burst}"),
    "budget": Option(
        _read_budgets,
        lambda budgets: f"budget {', '.join(kept.of(name) for name, kept in budgets.items())}",
        _are_same_budgets,
    ),
    "oversize": Option(_read_oversize, lambda word: f"oversize {word}"),
    "margin": Option(_read_margin, lambda seconds: f"margin {seconds_in_words(seconds)}"),
    "concurrent": Option(_read_slots, _slots_in_words),
    "limiter": Option(
        _read_limiter,
        lambda kept: f"limiter {words_of(kept.limiter)}",
        lambda one, other: one.limiter is other.limiter,
    ),
    "per": Option(read_per, lambda per: f"per {located(per)}", is_same_function, by_key=False),
    "throttle": Option(
        _read_throttle, lambda claims: f"throttle {describe(claims)}", _is_equal, by_key=False
    ),
    "max_throttled": Option(
        _read_max_throttled, lambda seconds: f"max_throttled {seconds_in_words(seconds)}"
    ),
    "max_pause": Option(_read_duration, lambda seconds: f"max_pause {seconds_in_words(seconds)}"),
    "breaker": Option(_read_breaker, words_of),
    "limits": Option(_read_own, lambda own: ", ".join(f"limit {words_of(one)}" for one in own), _are_equal),
}
"""What can be said of a service, in the order in which it is told."""


def _check_together(name: str, limits: Limits, given: Mapping[str, Any], before: Limits) -> None:
    """Check that what was said of a service goes together.

    Args:
        name: Of the service.
        limits: All that is said of it.
        given: What is said now: blamed is what is not among it, if that was said before.
        before: What was said before.

    Raises:
        ConfigurationError: It does not.
    """
    per = limits.get("per")
    if before.set_options() and (per is None) != (before.get("per") is None) and "per" in given:
        raise ConfigurationError(
            f"Service {name!r} cannot be given per=, nor lose it, once it is registered: what has been counted is "
            "that of all, or of each key. Give this to another name, or make the Cue anew."
        )
    by_key = [option for option in OPTIONS if isinstance(limits.get(option), ByKey)]
    if by_key and per is None:
        raise ConfigurationError(
            f"{by_key[0]} of service {name!r} is a function, of the key that per= gives; say what that is, such as "
            "per=lambda work: work.params['user']."
        )
    if per is not None and limits.get("limiter") is not None and "limiter" not in by_key:
        raise ConfigurationError(
            f"Service {name!r} has limits for each key, and one limiter= for all of them; give a function of the key, "
            "or put it on a second service: uses=[...] takes both."
        )
    rate, burst = limits.get("rate"), limits.get("burst")
    if limits.get("limiter") is not None and limits.get("margin") is not None:
        raise ConfigurationError(
            f"Service {name!r}: margin= counts windows longer that runcue keeps, and has no say in those of a limiter=."
        )
    # What functions give is seen for each key.
    fixed = [
        option for option in ("rate", "burst") if limits.get(option) is not None and option not in by_key
    ]
    if limits.get("limiter") is not None and "limiter" not in by_key and fixed:
        if before.get("limiter") is not None and "limiter" not in given:
            raise ConfigurationError(
                f"Service {name!r} has a limiter, which stands instead of rate and burst; take it away as well: "
                "limiter=None."
            )
        raise ConfigurationError(
            f"Service {name!r}: limiter= stands instead of rate= and burst=, not beside."
        )
    for option, needs in (("oversize", ("budget",)), ("margin", ("rate", "budget"))):
        is_said = given.get(option) is not None and limits.get(option) is not None
        if is_said and all(limits.get(one) is None for one in needs):
            raise ConfigurationError(
                f"Service {name!r}: {option}={words_of(given[option])} says nothing without "
                f"{' or '.join(f'{one}=' for one in needs)}."
            )
    if burst is not None and rate is None:
        if before.get("burst") is not None and "burst" not in given:
            raise ConfigurationError(
                f"Service {name!r} keeps its burst={burst}, which needs a rate at which it is refilled; take it away "
                "as well: burst=None."
            )
        raise ConfigurationError(f"Service {name!r}: burst={burst} needs a rate at which it is refilled.")
    if burst is not None and not isinstance(rate, ByKey) and len(rate) > 1:
        raise ConfigurationError(
            f"Service {name!r}: burst={burst} goes with a single rate, not with "
            f"{', '.join(one.text for one in rate)}: of several, all windows hold."
        )


def hint(wanted: object, known: Mapping[str, Any]) -> str:
    """What there is in place of what is not there."""
    near = nearest(wanted, known)
    return f"There is {listed(map(repr, known)) or 'none'}." if near is None else f"Did you mean {near!r}?"
