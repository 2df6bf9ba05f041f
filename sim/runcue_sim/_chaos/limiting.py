"""Bringing about what services are limited by, and what becomes of these limits while work runs.

Lives here: `Limiting`, which declares services with limits that a seed has drawn, changes and pauses them, and says
what was done to the accounts of whoever watches.

Must not know: which limits are drawn, what is promised of them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from math import inf
from typing import Any

import runcue
from runcue_sim._chaos.allowances import Allowances, key_of, place_of
from runcue_sim._chaos.faults import Injected
from runcue_sim._chaos.invariants import Limits, limits_of
from runcue_sim._chaos.regimes import NO_REGIME, UNIT, Halt, LimitChange, Regime, Regimes, windows
from runcue_sim._records.ledger import item_of


class Limiting:
    """Limits the services of one cue.

    Args:
        cue: The cue.
        regimes: Says how.
        injected: What was done.
        tell: Tells of a fault: its kind, what was done, and to which work unit if to one.
        later: Calls something after some seconds.

    Attributes:
        limits: The slots and rates of all services that were declared.
        regimes: What else they have.
        allowances: Whoever watches keeps accounts in these; None: nobody does, or there is nothing to keep.
        on_change: Called with the name of a service and its slots and rate, when these have become others.
        on_resume: Called with that and the place, when somebody is about to let it go on.
    """

    def __init__(
        self,
        cue: runcue.Cue,
        regimes: Regimes,
        injected: Injected,
        tell: Callable[..., None],
        later: Callable[..., None],
    ) -> None:
        self._cue = cue
        self._drawn = regimes
        self._injected = injected
        self._tell = tell
        self._later = later
        self._now: Callable[[], float] = lambda: 0.0
        self.limits: dict[str, Limits] = {}
        self.regimes: dict[str, Regime] = {}
        self.allowances: Allowances | None = None
        self.on_change: Callable[[str, Limits], object] = lambda name, limits: None
        self.on_resume: Callable[[str, str], object] = lambda name, place: None

    def add(self, name: str, options: dict[str, Any]) -> None:
        """Register a service."""
        regime = self.regimes[name] = self._drawn.of(name)
        if regime is NO_REGIME:
            self._cue.service(name, **options)
            return
        limits = _as_read(tuple(options.items()))
        further: tuple[int, float] | None = regime.further
        if further is not None:
            further = further[0], further[1] + regime.margin
        self.limits[name] = limits._replace(period=limits.period + regime.margin, further=further)
        self._cue.service(name, **regime.options(options, lambda work: key_of(regime, item_of(work))))

    def count(self, services: tuple[str, ...]) -> None:
        """A work unit was submitted that uses some services: count what these have from the beginning."""
        counts = self._injected.counts
        for regime in map(self.regimes.__getitem__, services):
            if regime.keys:
                counts["keys"] += 1
            if regime.failures:
                counts["breaker"] += 1

    def cost(self, services: tuple[str, ...], task: str, item: str, nth: int) -> int | None:
        """What a submission says that its work unit costs, None if nothing."""
        budgets = [one.budget for name in services if (one := self.regimes[name]).budget is not None]
        return self._drawn.cost(task, item, nth, budgets) if budgets else None

    def spend(
        self, work: runcue.Work, services: tuple[str, ...], task: str, item: str, nth: int, entry: int
    ) -> None:
        """A handler says what it has spent."""
        if any(self.regimes[name].budget is not None for name in services):
            for amount in self._drawn.spends(task, item, nth, entry):
                self._tell("budget", f"has spent {amount}", work)
                self._injected.spent[work.id] += amount
                work.spent(**{UNIT: amount})

    def refuse(self, work: runcue.Work, service: str, seconds: float) -> None:
        """The server of a service refuses what a handler asks for.

        Args:
            work: That of the handler.
            service: Which.
            seconds: For how long; 0.0: it does not say.
        """
        said = f"for {seconds:g} s" if seconds else "for now"
        self._tell("refuse", f"{service} refuses it {said}", work)
        self._injected.refused[work.id] = service, seconds or None
        raise runcue.Throttled(seconds or None, service=service)

    def places(self, services: tuple[str, ...], work: runcue.Work) -> tuple[str, ...]:
        """Where the limits are that count for a work unit which uses these services."""
        return services if self.allowances is None else self.allowances.places(services, item_of(work))

    def begin(self, now: Callable[[], float]) -> None:
        """The life begins: from here on limits become others."""
        self._now = now
        for name, regime in self.regimes.items():
            for change in regime.changes:
                self._later(change.after, self._change, name, change)
            for halt in regime.halts:
                self._later(halt.after, self._halt, name, halt)

    def _change(self, name: str, change: LimitChange) -> None:
        limits, regime, value = self.limits[name], self.regimes[name], change.value
        api = self._cue.get_service(name)
        if change.option == "concurrent":
            limits = limits._replace(concurrent=value)
            api.change(concurrent=value)
        elif change.option == "rate" and limits.starts is not None:
            limits = limits._replace(starts=value)
            api.change(rate=windows(f"{value}/{limits.period - regime.margin:g}s", regime.further))
        elif change.option == "budget" and regime.budget is not None:
            api.change(budget={UNIT: f"{value}/{regime.budget.period:g}s"})
            if self.allowances is not None:
                self.allowances.set_budget(name, value)
        else:
            return
        self._tell("change", f"{change.option} of {name} is {value} from now on")
        self.limits[name] = limits
        self.on_change(name, limits)

    def _halt(self, name: str, halt: Halt) -> None:
        place = place_of(name, halt.key)
        length = "until it is resumed" if halt.seconds is None else f"for {halt.seconds:g} s"
        self._tell("pause", f"{place} is paused {length}")
        self._cue.get_service(name).pause(halt.seconds, halt.key)
        if self.allowances is not None:
            self.allowances.halted(place, inf if halt.seconds is None else self._now() + halt.seconds)
        if halt.resumed is not None:
            self._later(halt.resumed, self._resume, name, place, halt.key)

    def _resume(self, name: str, place: str, key: int | None) -> None:
        self._tell("pause", f"{place} is resumed")
        if self.allowances is not None:
            self.allowances.resumed(name, place)
        self.on_resume(name, place)
        self._cue.get_service(name).resume(key)


@cache
def _as_read(options: tuple[tuple[str, Any], ...]) -> Limits:
    """What the options of a service say, as a cue reads them."""
    cue = runcue.Cue()
    cue.service("any", **dict(options))
    return limits_of(cue)["any"]
