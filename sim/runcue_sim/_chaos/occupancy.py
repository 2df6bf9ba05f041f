"""What is taken of services, as an onlooker counts it: slots, starts, and what servers have refused.

Lives here: `Occupancy`. It counts by place: a service, or what one key has of it.

Must not know: artifacts, who waits, what is promised.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Final

from runcue_sim._chaos.allowances import Allowances, service_of
from runcue_sim._chaos.faults import Injected
from runcue_sim._chaos.invariants import Limits, is_over
from runcue_sim._chaos.observed_work import Start
from runcue_sim._chaos.refusals import Refusals

_MANY: Final = 64
"""So many starts are known where limits may become others."""


class Occupancy:
    """What is taken at this moment, and was a short while ago.

    Args:
        services: The limits of services.
        injected: Which faults were brought about.
        allowances: What else services allow, None if that is nothing.

    Attributes:
        limits: Slots and rates, by place.
        injected: See above.
        allowances: See above.
        inside: By place, the work units whose handlers have not come to their end, whatever became of the work units.
        starts: By place, the last ones, at least as many as its rate allows in one period.
        refusals: By place, what its server has refused.
    """

    def __init__(
        self, services: Mapping[str, Limits], injected: Injected, allowances: Allowances | None
    ) -> None:
        self.limits: dict[str, Limits] = {}
        self.injected = injected
        self.allowances = allowances
        self.inside: dict[str, dict[str, None]] = {}
        self.starts: dict[str, deque[Start]] = {}
        self.refusals: dict[str, Refusals] = {}
        for name, limits in services.items():
            self._add(name, limits)

    def _add(self, place: str, limits: Limits) -> None:
        self.limits[place] = limits
        self.inside[place], self.refusals[place] = {}, Refusals()
        self.starts[place] = deque(maxlen=limits.starts or 1 if self.allowances is None else _MANY)

    def add_place(self, service: str, place: str) -> None:
        """A service is used, or a key of it."""
        if place not in self.limits:
            self._add(place, self.limits[service])

    def set_limits(self, service: str, limits: Limits) -> None:
        """A service has other limits from now on, and each key of it."""
        for place in self.limits:
            if service_of(place) == service:
                self.limits[place] = limits

    def busy(self, name: str) -> int:
        """How many slots of a service are taken. An async gate takes one while it is awaited."""
        return len(self.inside[name]) + self.injected.asking[name]

    def tokens(self, name: str, now: float) -> int:
        """How many starts of a service with a rate count at this instant."""
        return self._starts_in(self.limits[name].period, name, now)

    def _starts_in(self, period: float, name: str, now: float) -> int:
        return sum(not is_over(start.at, period, now) for start in self.starts[name])

    def has_slot(self, name: str) -> bool:
        """Whether a slot of a service is free."""
        concurrent = self.limits[name].concurrent
        return concurrent is None or self.busy(name) < concurrent

    def has_room(self, name: str, now: float) -> bool:
        """Whether the limits of a service allow a start."""
        _, starts, period, further = self.limits[name]
        if not self.has_slot(name) or (starts is not None and self._starts_in(period, name, now) >= starts):
            return False
        if further is not None and self._starts_in(further[1], name, now) >= further[0]:
            return False
        return self.refusals[name].have_room(now)
