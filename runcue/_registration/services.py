"""Services as they are declared: their limits, checked in the line of the mistake.

Lives here: the rules for the values of `Cue.service`, and what is made of them.

Must not know: tasks, how anything runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from runcue._limits.guarded import Ask, Failed, GuardedLimit, Raised
from runcue._limits.service import UNBOUNDED, Service, name_of
from runcue._limits.sliding_window import SlidingWindow
from runcue._limits.token_bucket import TokenBucket
from runcue._model.checks import check_name, has_methods, is_async, is_one_of, nearest, positive_int
from runcue._model.errors import ConfigurationError, UnknownService
from runcue._model.rate import Rate, parse_rate
from runcue._model.texts import how_many, listed, words_of
from runcue._scheduling.core import Core
from runcue.abc import Limit

__all__ = ["Services"]

METHODS = ("room", "next_room", "acquire", "entered", "release", "at_least", "describe")

CHANGEABLE: Final = ("rate", "burst", "concurrent", "limiter")
"""The limits that a service can be given anew."""


class Services:
    """Enters services into a core.

    Args:
        core: Gets them.
        ask: Calls the methods of limits that runcue has not written.
        failed: Takes a work unit that fails by what a limit has raised, and the error.
        raised: Tells of what a limit has raised where that disturbs nothing.
    """

    def __init__(self, core: Core, ask: Ask, failed: Failed, raised: Raised) -> None:
        self._core = core
        self._ask = ask
        self._failed = failed
        self._raised = raised
        self._declared: dict[str, _Limits] = {}
        # Of those that were given others since.
        self._changed: dict[str, _Limits] = {}

    def add(
        self,
        name: str,
        rate: str | None,
        concurrent: int | None,
        burst: int | None,
        limiter: Any,
        limits: Any,
    ) -> str:
        """Register a service, or find that it is there with the same limits; see `Cue.service` for the values.

        Args:
            name: Its name.
            rate: Text, or None.
            concurrent: Slots, or None.
            burst: Size of a continuously refilled bucket, or None.
            limiter: An aiolimiter object, or None.
            limits: Those of the user's own, or None.

        Returns:
            Its name.

        Raises:
            ConfigurationError: A value cannot work, or the service has other limits.
        """
        name = check_name(name, "service")
        slots = _slots(name, concurrent)
        declared = _Limits(None if rate is None else parse_rate(rate), slots, burst, limiter, ())
        kept = self._kept(name, declared)
        own = _own_limits(name, limits)
        declared = declared._replace(own=tuple(own))
        if name in self._core.services:
            _check_same(name, self._declared[name], declared)
            return name
        self._declared[name] = declared
        guarded = [self._guarded(limit, f"limit {name_of(limit)} of service {name!r}") for limit in own]
        self._core.services[name] = Service(name, kept, slots, guarded)
        return name

    def changed(self, name: object, values: Mapping[Any, Any]) -> _Limits:
        """What the limits of a service are with others among them, for `give`. What is not named stays as it is.

        Args:
            name: Of the service.
            values: Those of `CHANGEABLE` that are to be others, as for `Cue.service`; None takes one away.

        Raises:
            UnknownService: There is none of that name.
            ConfigurationError: A value cannot work, or not beside what stays.
        """
        services = self._core.services
        if not isinstance(name, str) or name not in services:
            raise UnknownService(f"Unknown service: {words_of(name)}. {_hint(name, services)}")
        for one in values:
            if not is_one_of(one, CHANGEABLE):
                raise ConfigurationError(f"A service has no {words_of(one)}. {_hint(one, CHANGEABLE)}")
        limits = self._changed.get(name, self._declared[name])._replace(**values)
        if "concurrent" in values:
            limits = limits._replace(concurrent=_slots(name, values["concurrent"]))
        if values.get("rate") is not None:
            limits = limits._replace(rate=parse_rate(values["rate"]))
        _check_goes_together(name, limits, values)
        self._kept(name, limits)
        return limits

    def give(self, name: str, limits: _Limits) -> None:
        """Give a service the limits that `changed` has made of its own."""
        service, before = self._core.services[name], self._changed.get(name, self._declared[name])
        service.concurrent = limits.concurrent
        if limits._replace(concurrent=before.concurrent) != before:
            service.set_rate(self._kept(name, limits))
        self._changed[name] = limits
        for run_queue in self._core.run_queues.values():
            run_queue.look_at_limits()

    def _kept(self, name: str, limits: _Limits) -> Limit | None:
        """What keeps the rate of a service."""
        kept, limiter = _rate(name, limits.rate, limits.burst), limits.limiter
        if limiter is None:
            return kept
        if kept is not None:
            raise ConfigurationError(
                f"Service {name!r}: limiter= stands instead of rate= and burst=, not beside."
            )
        # aiolimiter is needed by few and costs import time.
        from runcue._limits.async_limiter import AsyncLimiterLimit  # noqa: PLC0415

        return self._guarded(AsyncLimiterLimit(limiter), f"the limiter of service {name!r}")

    def _guarded(self, limit: Limit, name: str) -> GuardedLimit:
        return GuardedLimit(limit, name, self._failed, self._raised, self._ask)


class _Limits(NamedTuple):
    """The limits of a service as they were declared."""

    rate: Rate | None
    concurrent: int
    burst: int | None
    limiter: Any
    own: tuple[Limit, ...]

    def is_same(self, other: _Limits) -> bool:
        """Whether others mean the same, however they are written."""
        rates = [None if one is None else (one.count, one.period) for one in (self.rate, other.rate)]
        return (
            rates[0] == rates[1]
            and (self.concurrent, self.burst) == (other.concurrent, other.burst)
            and self.limiter is other.limiter
            and len(self.own) == len(other.own)
            and all(map(_are_equal, self.own, other.own))
        )

    def __str__(self) -> str:
        found = [] if self.rate is None else [f"rate {self.rate.text}"]
        found += [] if self.burst is None else [f"burst {self.burst}"]
        found += [] if self.concurrent == UNBOUNDED else [how_many(self.concurrent, "slot", "slots")]
        found += [] if self.limiter is None else [f"limiter {words_of(self.limiter)}"]
        found += [f"limit {words_of(limit)}" for limit in self.own]
        return listed(found) or "no limits"


def _are_equal(one: object, other: object) -> bool:
    try:
        return one is other or bool(one == other)
    except Exception:  # it is the user's code
        return False


def _check_same(name: str, known: _Limits, given: _Limits) -> None:
    """Check that a service that is declared again has the same limits.

    Raises:
        ConfigurationError: It has others.
    """
    if not known.is_same(given):
        raise ConfigurationError(
            f"Service {name!r} is already registered with other limits: {known}; here it has: {given}. Limits stay "
            "what they are; a limiter must be the same object, limits of your own must compare equal. Give these "
            "to another name, or make the Cue anew."
        )


def _check_goes_together(name: str, limits: _Limits, given: Mapping[str, Any]) -> None:
    """Check that what a service keeps goes with what it is given, where `Cue.service` would blame what it keeps.

    Raises:
        ConfigurationError: It does not.
    """
    if limits.limiter is not None and not given.keys().isdisjoint(("rate", "burst")):
        raise ConfigurationError(
            f"Service {name!r} has a limiter, which stands instead of rate and burst; take it away as well: "
            "limiter=None."
        )
    if limits.burst is not None and limits.rate is None and "burst" not in given:
        raise ConfigurationError(
            f"Service {name!r} keeps its burst={limits.burst}, which needs a rate at which it is refilled; take it "
            "away as well: burst=None."
        )


def _hint(wanted: object, known: Iterable[str]) -> str:
    near = nearest(wanted, known)
    return f"There is {listed(map(repr, known)) or 'none'}." if near is None else f"Did you mean {near!r}?"


def _slots(name: str, concurrent: int | None) -> int:
    return UNBOUNDED if concurrent is None else positive_int(concurrent, f"concurrent of service {name!r}")


def _rate(name: str, parsed: Rate | None, burst: int | None) -> Limit | None:
    if burst is not None:
        positive_int(burst, f"burst of service {name!r}")
        if parsed is None:
            raise ConfigurationError(f"Service {name!r}: burst={burst} needs a rate at which it is refilled.")
        return TokenBucket(burst, parsed.per_second, parsed.text)
    return None if parsed is None else SlidingWindow(parsed)


def _own_limits(name: str, limits: Any) -> list[Limit]:
    """Check limits of the user's own: a list or tuple of them, or one alone."""
    if limits is None:
        return []
    found = list(limits) if isinstance(limits, (list, tuple)) else [limits]
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
        raise ConfigurationError(
            f"limits of service {name!r}: {words_of(limit)} is no runcue.abc.Limit: {problem}."
        )
    return found
