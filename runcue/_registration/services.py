"""Services as they are declared: their limits, checked in the line of the mistake.

Lives here: the rules for the values of `Cue.service`, and what is made of them.

Must not know: tasks, how anything runs.
"""

from __future__ import annotations

from typing import Any

from runcue._limits.guarded import Ask, Failed, GuardedLimit, Raised
from runcue._limits.service import UNBOUNDED, Service, name_of
from runcue._limits.sliding_window import SlidingWindow
from runcue._limits.token_bucket import TokenBucket
from runcue._model.checks import check_name, is_async, positive_int
from runcue._model.errors import ConfigurationError
from runcue._model.rate import parse_rate
from runcue._scheduling.core import Core
from runcue.abc import Limit

__all__ = ["Services"]

METHODS = ("room", "next_room", "acquire", "entered", "release", "at_least", "describe")


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

    def add(
        self,
        name: str,
        rate: str | None,
        concurrent: int | None,
        burst: int | None,
        limiter: Any,
        limits: Any,
    ) -> None:
        """Register a service; see `Cue.service` for the values.

        Args:
            name: Its name.
            rate: Text, or None.
            concurrent: Slots, or None.
            burst: Size of a continuously refilled bucket, or None.
            limiter: An aiolimiter object, or None.
            limits: Those of the user's own, or None.

        Raises:
            ConfigurationError: A value cannot work, or the name is taken.
        """
        check_name(name, "service")
        if name in self._core.services:
            raise ConfigurationError(f"Service {name!r} is already registered.")
        slots = (
            UNBOUNDED if concurrent is None else positive_int(concurrent, f"concurrent of service {name!r}")
        )
        kept = _rate(name, rate, burst)
        if limiter is not None:
            if kept is not None:
                raise ConfigurationError(
                    f"Service {name!r}: limiter= stands instead of rate= and burst=, not beside."
                )
            # aiolimiter is needed by few and costs import time.
            from runcue._limits.async_limiter import AsyncLimiterLimit  # noqa: PLC0415

            kept = self._guarded(AsyncLimiterLimit(limiter), f"the limiter of service {name!r}")
        own = [
            self._guarded(limit, f"limit {name_of(limit)} of service {name!r}")
            for limit in _own_limits(name, limits)
        ]
        self._core.services[name] = Service(name, kept, slots, own)

    def _guarded(self, limit: Limit, name: str) -> GuardedLimit:
        return GuardedLimit(limit, name, self._failed, self._raised, self._ask)


def _rate(name: str, rate: str | None, burst: int | None) -> Limit | None:
    parsed = None if rate is None else parse_rate(rate)
    if burst is not None:
        positive_int(burst, f"burst of service {name!r}")
        if parsed is None:
            raise ConfigurationError(
                f"Service {name!r}: burst={burst!r} needs a rate at which it is refilled."
            )
        return TokenBucket(burst, parsed.per_second)
    return None if parsed is None else SlidingWindow(parsed)


def _own_limits(name: str, limits: Any) -> list[Limit]:
    """Check limits of the user's own: a list or tuple of them, or one alone."""
    if limits is None:
        return []
    found = list(limits) if isinstance(limits, (list, tuple)) else [limits]
    for limit in found:
        missing = [one for one in METHODS if not callable(getattr(limit, one, None))]
        if isinstance(limit, type):
            problem = "it is a class; give an object of it"
        elif missing:
            problem = f"it has no method {', '.join(f'{one}()' for one in missing)}"
        elif waiting := [one for one in METHODS if is_async(getattr(limit, one))]:
            problem = f"{waiting[0]}() is async; the methods of a limit are plain and answer at once"
        else:
            continue
        raise ConfigurationError(f"limits of service {name!r}: {limit!r} is no runcue.abc.Limit: {problem}.")
    return found
