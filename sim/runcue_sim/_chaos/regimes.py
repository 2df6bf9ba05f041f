"""What services are limited by beside slots and a rate, by seed, and what becomes of these limits while work runs.

Lives here: `Regime`, what a service has and what is done to it; `Regimes`, which draws them, by name as all faults are.

Must not know: cues, event loops, how it is brought about, what is promised.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import cache
from typing import Any, Final, NamedTuple

import runcue

_HARDLY: Final = 1e-6
"""Seconds for which nobody is asked to wait."""

UNIT: Final = "units"
"""What budgets are of."""

_PERIODS: Final = (0.5, 1.0, 2.0)
_FURTHER: Final = (7, 11)
_MOST_COST: Final = 4
_KEYS: Final = (2, 3)


class Allowance(NamedTuple):
    """A budget.

    Attributes:
        limit: So much in any window.
        period: Its seconds.
        borrows: Whether more than that may be taken at once.
    """

    limit: int
    period: float
    borrows: bool = False


class LimitChange(NamedTuple):
    """A limit becomes another one.

    Attributes:
        after: Seconds since the life began.
        option: "concurrent", "rate" or "budget".
        value: So many slots or starts, or so much.
    """

    after: float
    option: str
    value: int


class Halt(NamedTuple):
    """Somebody pauses a service.

    Attributes:
        after: Seconds since the life began.
        seconds: For how long; None: until it is resumed.
        resumed: Seconds until somebody lets it go on, None for never.
        key: Whose; None: all of it.
    """

    after: float
    seconds: float | None
    resumed: float | None
    key: int | None


class Regime(NamedTuple):
    """What a service is limited by beside its slots and its rate.

    Attributes:
        keys: How many keys have limits of their own; 0: it has none.
        further: Another window of its rate: how many starts, and seconds.
        margin: So many seconds longer are all windows counted.
        budget: Its budget.
        failures: After so many in a row its breaker opens; 0: it has none.
        cooldown: For so long.
        changes: What becomes of limits.
        halts: Its pauses by hand.
    """

    keys: int = 0
    further: tuple[int, int] | None = None
    margin: float = 0.0
    budget: Allowance | None = None
    failures: int = 0
    cooldown: float = 0.0
    changes: tuple[LimitChange, ...] = ()
    halts: tuple[Halt, ...] = ()

    def options(self, given: dict[str, Any], per: Callable[[runcue.Work], int | None]) -> dict[str, Any]:
        """Options of `cue.service` that say so, beside those that are given."""
        options = dict(given)
        if self.keys:
            options["per"] = per
        if self.further is not None:
            options["rate"] = windows(given.get("rate"), self.further)
        if self.margin and (options.get("rate") or self.budget is not None):  # else it would say nothing
            options["margin"] = self.margin
        if self.budget is not None:
            options["budget"] = {UNIT: f"{self.budget.limit}/{self.budget.period:g}s"}
            options["oversize"] = "borrow" if self.budget.borrows else "error"
        if self.failures:
            options["breaker"] = runcue.Breaker(failures=self.failures, cooldown=self.cooldown)
        return options


def windows(rate: str | None, further: tuple[int, int] | None) -> str | list[str]:
    """Several windows of a rate as they are written."""
    found = [*([rate] if rate else []), *([f"{further[0]}/{further[1]}s"] if further else [])]
    return found[0] if len(found) == 1 else found


NO_REGIME: Final = Regime()

OF_LIMITS: Final = frozenset({"budget", "keys", "change", "pause", "breaker"})
"""The kinds of faults that a regime is made of."""


class Regimes:
    """Draws regimes.

    Args:
        four: Rolls the dice, by name.
        after: Makes an instant of a roll.
        kinds: Of faults.
        share: How many of those that could be struck are.
        pace: Seconds that a handler usually takes.
    """

    def __init__(
        self,
        four: Callable[..., tuple[float, float, float, float]],
        after: Callable[[float], float],
        kinds: frozenset[str],
        share: float,
        pace: float,
    ) -> None:
        self._four = four
        self._after = after
        self._kinds = kinds
        self._share = share
        self._pace = pace
        self.of = cache(self._of)
        self._refusing = cache(self._when_it_refuses)

    def _of(self, service: str) -> Regime:
        kinds = self._kinds & OF_LIMITS
        if not kinds:
            return NO_REGIME
        regime = NO_REGIME
        if "keys" in kinds:
            roll, number, _, _ = self._four("keys", service)
            if roll < 0.7:
                regime = regime._replace(keys=_KEYS[int(number * len(_KEYS))])
        if "budget" in kinds:
            regime = self._with_budget(service, regime)
        if "breaker" in kinds:
            roll, number, length, _ = self._four("breaker", service)
            if roll < 0.7:
                regime = regime._replace(
                    failures=1 + int(number * 3), cooldown=max(self._pace, 0.1) * (1 + 9 * length)
                )
        if "change" in kinds:
            regime = regime._replace(changes=self._changes(service))
        if "pause" in kinds:
            regime = regime._replace(halts=self._halts(service, regime.keys))
        return regime

    def _with_budget(self, service: str, regime: Regime) -> Regime:
        roll, limit, period, borrows = self._four("budget", service)
        windowed, starts, length, margin = self._four("windows", service)
        if roll < 0.7:
            regime = regime._replace(
                budget=Allowance(
                    _MOST_COST + int(limit * 7), _PERIODS[int(period * len(_PERIODS))], borrows < 0.3
                )
            )
        if windowed < 0.5:
            regime = regime._replace(further=(2 + int(starts * 6), _FURTHER[int(length * len(_FURTHER))]))
        return regime._replace(margin=0.25 if margin < 0.3 else 0.0)

    def _changes(self, service: str) -> tuple[LimitChange, ...]:
        found = []
        for nth in range(1 + int(self._four("changes", service)[0] * 4)):
            when, option, value, _ = self._four("change", service, nth)
            name = ("concurrent", "rate", "budget")[int(option * 3)]
            most = {"concurrent": 4, "rate": 5, "budget": 7}[name]
            least = _MOST_COST if name == "budget" else 1
            found.append(LimitChange(self._after(when), name, least + int(value * most)))
        return tuple(found)

    def _halts(self, service: str, keys: int) -> tuple[Halt, ...]:
        found = []
        for nth in range(1 + int(self._four("halts", service)[0] * 3)):
            when, length, back, whose = self._four("halt", service, nth)
            seconds = max(self._after(length), 0.01) if length < 0.7 else None
            # Without an end of its own it is resumed, or nothing more would ever be seen of it.
            resumed = self._after(back) if seconds is None or back < 0.3 else None
            key = int(whose * 2 * keys)
            found.append(Halt(self._after(when), seconds, resumed, key if key < keys else None))
        return tuple(found)

    def cost(self, task: str, item: str, nth: int, budgets: Collection[Allowance]) -> int | None:
        """What a work unit is said to cost; None: nothing is said."""
        if not budgets:
            return None
        roll, oversize, _, _ = self._four("cost", task, item, nth)
        if oversize < 0.2 and all(one.borrows for one in budgets):
            return 2 * _MOST_COST + int(roll * 2 * _MOST_COST)
        return int(roll * (_MOST_COST + 1))

    def spends(self, task: str, item: str, nth: int, entry: int) -> tuple[int, ...]:
        """What a handler says that it has spent; several amounts add up."""
        roll, amount, parts, _ = self._four("spends", task, item, nth, entry)
        if "budget" not in self._kinds or roll < 0.4:
            return ()
        spent = int(amount * 2 * _MOST_COST)
        return (spent,) if parts < 0.5 else (spent // 2, spent - spent // 2)

    def _when_it_refuses(self, service: str) -> tuple[float, float, bool]:
        roll, begin, length, told = self._four("refusing", service)
        begin = self._after(begin)
        return begin, begin + (self._pace * (1 + 9 * length) if roll < 0.4 else 0.0), told < 0.6

    def refuses(self, service: str, seconds: float) -> float | None:
        """Whether the server of a service refuses all.

        Args:
            service: Its name.
            seconds: Since the life began.

        Returns:
            For how long, as it says; 0.0: it does not say. None: it takes all.
        """
        if "refuse" not in self._kinds:
            return None
        begin, end, told = self._refusing(service)
        left = end - seconds
        return (left if told else 0.0) if begin <= seconds and left > _HARDLY else None
