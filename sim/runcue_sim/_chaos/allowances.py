"""What services allow beside slots and rates, kept as an onlooker keeps it: budgets, pauses, breakers.

Lives here: `Allowances`, told of all that happens; it says whether a start was allowed, and whether one that does not
come may be kept back by one of these. Where it cannot be told from outside, both are allowed.

Must not know: slots and rates, refusals, artifacts, what becomes of a violation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Final, TypeAlias

import runcue
from runcue_sim._chaos.observed_work import BY_WALL, ROUNDING, ObservedWork, Start
from runcue_sim._chaos.regimes import Allowance, Regime

Objection: TypeAlias = tuple[str, str] | None

_MEMORY: Final = 200
_WHILE: Final = 1.0 + ROUNDING
# So many cooldowns after its last failure a key's breaker may be forgotten (rule 50).
_REMEMBERED: Final = 10


@dataclass(slots=True, eq=False)
class _Charge:
    """What one start has taken of a budget, as far as it is known for sure."""

    start: Start
    amount: int
    is_open: bool = True


@dataclass(slots=True)
class _Place:
    """One service, or what one key has of it.

    Attributes:
        charges: To its budget, the latest last.
        most: What they may be together since it was unused last, and when it is unused again at the latest.
        failures, failures_most: Attempts that have failed in a row, at the least and at the most.
        broken_until: When a breaker that is open for sure lets one through; -inf: it may be closed.
        failed_at: When the last one failed.
        try_out: The one that was let through.
    """

    charges: list[_Charge] = field(default_factory=list)
    most: int = 0
    unused_at: float = -inf
    failures: int = 0
    failures_most: int = 0
    broken_until: float = -inf
    failed_at: float = -inf
    try_out: Start | None = None


class Allowances:
    """The accounts of one life.

    Args:
        regimes: What services are limited by, by name.

    Attributes:
        on_end: Called with an instant at which something ends that may keep work units back: to look then.
        running: Who has started and not ended, by id.
    """

    def __init__(self, regimes: Mapping[str, Regime]) -> None:
        self._regimes = regimes
        self.on_end: Callable[[float], object] = lambda when: None
        self.running: Mapping[str, Start] = {}
        self._places: dict[str, _Place] = {}
        self._budgets: dict[str, Allowance] = {
            name: one.budget for name, one in regimes.items() if one.budget is not None
        }
        # The largest limit that there was.
        self._largest = {name: one.limit for name, one in self._budgets.items()}
        # By the place or the service, until when it is paused by hand.
        self._halted: dict[str, float] = {}
        self._may_break = any(one.failures for one in regimes.values())
        self._counts = bool(self._budgets)

    def key_of(self, service: str, item: str) -> int | None:
        """The key that what something is about has in a service; None: it has no keys."""
        return key_of(self._regimes[service], item)

    def places(self, services: Iterable[str], item: str) -> tuple[str, ...]:
        """Where the limits are that count for a work unit."""
        return tuple(place_of(name, self.key_of(name, item)) for name in services)

    def _at(self, place: str) -> _Place:
        found = self._places.get(place)
        if found is None:
            found = self._places[place] = _Place()
        return found

    # What is done to limits.

    def set_budget(self, service: str, limit: int) -> None:
        """A budget has another limit from now on."""
        self._budgets[service] = self._budgets[service]._replace(limit=limit)
        self._largest[service] = max(limit, self._largest[service])

    def halted(self, place: str, until: float) -> None:
        """Somebody pauses a service or a key of it; inf: until it is resumed."""
        self._halted[place] = until

    def resumed(self, service: str, place: str) -> None:
        """Somebody lets it go on, whatever keeps it from that."""
        whole = place == service
        for name in [one for one in self._halted if one == place or (whole and service_of(one) == service)]:
            del self._halted[name]
        for name, one in self._places.items():
            if name == place or (whole and service_of(name) == service):
                one.broken_until, one.failures, one.failures_most = -inf, 0, 0

    def is_halted_without_end(self, now: float) -> bool:
        """Whether something is paused by hand, and nobody knows for how long."""
        return any(until == inf for until in self._halted.values())

    def may_be_broken(self, now: float) -> bool:
        """Whether the breaker of something may be open."""
        return self._may_break and (
            any(one.failures_most for one in self._places.values()) or self._timed_out(now) > 0
        )

    def _timed_out(self, now: float, but: Start | None = None) -> int:
        """How many may have failed by a time-out of which nobody has heard yet; one of them left out."""
        return sum(start is not but and start.is_over_time(now) for start in self.running.values())

    # What happens to work units.

    def of_start(self, now: float, work: ObservedWork) -> Objection:
        """A handler is about to be entered: whether all that it uses allows that."""
        for service, place in zip(work.duty.services, work.places, strict=True):
            self._forget_breaker(now, service, place)
            until = max(self._halted.get(place, -inf), self._halted.get(service, -inf))
            if now < until:
                left = "until it is resumed" if until == inf else f"for another {until - now:.3g} s"
                return "paused", f"{work} starts at {now:g} although {place} is paused {left}"
            objection = self._of_breaker(now, work, place)
            if objection is None and service in self._budgets:
                objection = self._of_budget(now, work, service, place)
            if objection is not None:
                return objection
        return None

    def _forget_breaker(self, now: float, service: str, name: str) -> None:
        """That of a key may be forgotten by now; it is not known when somebody has waited for it last."""
        place = self._places.get(name) if name != service else None
        if (
            place is not None
            and now + BY_WALL >= place.failed_at + _REMEMBERED * self._regimes[service].cooldown
        ):
            place.broken_until, place.try_out, place.failures = -inf, None, 0

    def _of_breaker(self, now: float, work: ObservedWork, name: str) -> Objection:
        place = self._places.get(name)
        if place is None or place.broken_until == -inf:
            return None
        if now < place.broken_until - BY_WALL:
            early = place.broken_until - now
            return (
                "broken",
                f"{work} starts at {now:g}, {early:.3g} s before the breaker of {name} lets one through",
            )
        probe = place.try_out
        # What has run out of time has failed by that, whether its handler has returned or not.
        if probe is not None and not probe.work.left and not probe.work.ended and not probe.is_over_time(now):
            return (
                "broken",
                f"{work} starts at {now:g} beside {probe.work}, which the breaker of {name} has let through",
            )
        return None

    def _of_budget(self, now: float, work: ObservedWork, service: str, name: str) -> Objection:
        """Between any start before and this one no more was charged than windows of that length allow.

        Nothing starts as long as something is owed. So all that was spent by what has ended is charged by now.
        """
        limit, period, _ = self._budgets[service]
        margin = self._regimes[service].margin
        total = min(work.wish.cost or 0, limit)
        if not total:
            limit = self._largest[service]  # what costs nothing need not wait until a smaller one is kept
        for charge in reversed(self._at(name).charges):
            total += charge.amount
            whole = int((now - charge.start.at + ROUNDING) / (period + margin))
            allowed = limit + whole * self._largest[service]
            if total > allowed:
                since = now - charge.start.at
                text = (
                    f"{work} starts at {now:g}; so {total} units are charged to {name} since {charge.start.work} has "
                    f"started {since:g} s ago, and {allowed} are allowed"
                )
                return "budget", text
        return None

    def started(self, now: float, start: Start) -> None:
        """A handler is about to be entered."""
        work = start.work
        for service, name in zip(work.duty.services, work.places, strict=True):
            budget = self._budgets.get(service)
            place = self._places.get(name)
            if place is None:
                if budget is None:
                    continue
                place = self._at(name)
            if place.broken_until > -inf:
                place.try_out = start
            if budget is not None:
                cost = work.wish.cost or 0
                place.charges.append(_Charge(start, cost))
                del place.charges[:-_MEMORY]
                self._may_take(now, place, service, cost)

    def _may_take(self, now: float, place: _Place, service: str, amount: int) -> None:
        """So much may be charged by now, or owed: when it is unused again at the latest."""
        limit, period, _ = self._budgets[service]
        if now >= place.unused_at and not any(one.is_open for one in place.charges[:-1]):
            place.most = 0
        place.most += amount
        windows = 2 + place.most // min(limit, 4)
        place.unused_at = max(place.unused_at, now + windows * (period + self._regimes[service].margin))
        self.on_end(place.unused_at + ROUNDING)

    def left(self, now: float, work: ObservedWork, spent: int | None, *, refused: bool) -> None:
        """A handler has come to its end."""
        for service, name in zip(work.duty.services, work.places, strict=True) if self._counts else ():
            place = self._at(name)
            for charge in place.charges:
                if charge.is_open and charge.start.work is work:
                    # What is over is charged when its end is heard of.
                    charge.amount = (
                        0 if refused else charge.amount if spent is None else min(spent, charge.amount)
                    )
                    if work.ended:
                        charge.is_open = False
                        self._may_take(now, place, service, spent or 0)

    def over(
        self, now: float, work: ObservedWork, start: Start | None, how: object, spent: int | None
    ) -> None:
        """An attempt is over: `how` is "passed", an error, "throttled" or something else."""
        for service, name in zip(work.duty.services, work.places, strict=True):
            if service in self._budgets:
                self._settle(now, self._at(name), service, work, how, spent)
            failures = self._regimes[service].failures
            if failures:
                self._count(now, self._at(name), service, start, how)

    def _settle(
        self, now: float, place: _Place, service: str, work: ObservedWork, how: object, spent: int | None
    ) -> None:
        if work.started is not None and not work.left:
            return  # who was cancelled has spent what the handler says until it comes to its end
        for charge in place.charges:
            if charge.is_open and charge.start.work is work:
                charge.is_open = False
                if spent is not None:
                    self._may_take(now, place, service, spent)
                    if how != "throttled":
                        charge.amount = spent
                else:
                    self._may_take(now, place, service, 0)

    def _count(self, now: float, place: _Place, service: str, start: Start | None, how: object) -> None:
        regime = self._regimes[service]
        # Else it may be open, since a time-out counts from an instant of which nobody hears.
        is_closed = place.failures_most + self._timed_out(now, start) < regime.failures
        if how == "otherwise" and start is not None and start.is_over_time(now):
            # It may have failed by a time-out before it was cancelled.
            place.failed_at = now
            place.failures_most += 1
            self.on_end(now + regime.cooldown + 2 * BY_WALL)
        if how == "passed":
            if start is None:
                # The handler of another one, which may have been anything.
                place.failures = 0
                place.broken_until = -inf
            elif place.broken_until == -inf:
                place.failures = 0
                if is_closed or start.begun >= place.failed_at + regime.cooldown:
                    place.failures_most = 0
            elif start is place.try_out:
                place.failures, place.broken_until, place.try_out = 0, -inf, None
                place.failures_most = 0
        elif isinstance(how, BaseException):
            place.failed_at = now
            self.on_end(now + regime.cooldown + 2 * BY_WALL)
            place.failures_most += 1
            if start is None or isinstance(how, (runcue.WorkTimeout, runcue.GiveUp)):
                return
            if place.broken_until > -inf:
                if start is place.try_out:
                    place.broken_until, place.try_out = now + regime.cooldown, None
                return
            place.failures += 1
            # At the least: what came before may count as well, and what had begun before it opened does not.
            if place.failures >= regime.failures and is_closed:
                place.broken_until, place.try_out = now + regime.cooldown, None

    # What may be kept back.

    def keeps(self, now: float, work: ObservedWork, inside: Mapping[str, object]) -> bool:
        """Whether one of these may keep back a work unit that could start.

        Args:
            now: The instant.
            work: The work unit.
            inside: Who is at work, by place.
        """
        for service, name in zip(work.duty.services, work.places, strict=True):
            if now < max(self._halted.get(name, -inf), self._halted.get(service, -inf)):
                return True
            # Nothing may have been heard of there, and yet some have run out of time.
            place = self._places.get(name) or _Place()
            # Who has failed lets others go first for a second, who may be unable to start.
            longer = _WHILE if work.tried else 0.0
            if self._keeps(now, longer, place, service, is_busy=bool(inside[name])):
                return True
        # Who waits for a budget is not passed by those who take what it will need, of whatever service.
        return self._counts and any(
            now < place.unused_at or any(one.is_open for one in place.charges)
            for place in self._places.values()
        )

    def _keeps(self, now: float, longer: float, place: _Place, service: str, *, is_busy: bool) -> bool:
        regime = self._regimes[service]
        if not regime.failures:
            return False
        unheard = self._timed_out(now)
        if place.failures_most + unheard >= regime.failures:
            return is_busy or unheard > 0 or now < place.failed_at + regime.cooldown + longer + BY_WALL
        return False


def key_of(regime: Regime, item: str) -> int | None:
    """The key that what something is about has under a regime; None: there are no keys."""
    return sum(item.encode()) % regime.keys if regime.keys else None


def place_of(service: str, key: int | None) -> str:
    """What a service, or what a key has of it, is called."""
    return service if key is None else f"{service}/{key}"


def service_of(place: str) -> str:
    """The service that a place belongs to."""
    return place.partition("/")[0]
