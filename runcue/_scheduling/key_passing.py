"""Who may pass a work unit that waits for a budget of its key: those with the same keys, under the same rules.

Those with other keys may, unless they would take what keys share, such as a start of a total, and it needs that.

Lives here: `KeyPassing`, one lane as `overtaking` sees a line; `put_off_until`, `put_off_by_others` and
`claims_of_keys`, for those of other lanes and lines; `left_to`, for answers.

Must not know: who else waits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from math import inf
from typing import Any, Final

from runcue._limits.budget import Budget
from runcue._limits.keyed import KeyService
from runcue._limits.rate_limit import RateLimit
from runcue._limits.service import Service
from runcue._model.work import Work
from runcue._scheduling.lines import services_for
from runcue._scheduling.overtaking import Claim, budget_claim_of, claim_of, first_to_pass
from runcue._scheduling.priority_queue import place_of
from runcue._scheduling.selection import STARVED_AFTER
from runcue._scheduling.turnstiles import Lane, Turnstiles
from runcue.abc import Limit

__all__ = ["KeyPassing", "claims_of_keys", "left_to", "put_off_by_others", "put_off_until"]

# So many with other keys are looked at, those that were found waiting first.
_MOST_OTHERS: Final = 16


class KeyPassing:
    """One lane whose first has been refused by a budget.

    Args:
        lane: That one.
        parked: Who waits, with their lanes.
        refused_by: The budget.
        has_room: Whether the keys of a work unit have room for it.

    Attributes:
        passes_at: When somebody may pass who cannot now; inf if nobody is known.
    """

    def __init__(
        self,
        lane: Lane,
        parked: dict[Work, Lane],
        refused_by: Budget,
        has_room: Callable[[float, Work], bool],
    ) -> None:
        self._lane = lane
        self._parked = parked
        self._has_room = has_room
        # What all keys share it will need as well.
        self.services: tuple[Service, ...] = services_for(lane.first)
        self.limits: tuple[Limit, ...] = tuple(limit for one in self.services for limit in one.limits)
        self.budgets = tuple(limit for limit in self.limits if isinstance(limit, Budget))
        self.refusal: tuple[Limit, Any] | None = (refused_by, lane.first)
        self.passes_at = inf

    @property
    def promised(self) -> tuple[Work, float, float | None] | None:
        """See `Lane`."""
        return self._lane.promised

    @promised.setter
    def promised(self, promised: tuple[Work, float, float | None] | None) -> None:
        self._lane.promised = promised

    def peek(self, ordered: bool) -> Work:
        """The first."""
        return self._lane.first

    def first_ones(self, most: int) -> list[Work]:
        """So many of the first, in order."""
        return [work for work in self._lane.first_ones(most) if self._parked.get(work) is self._lane]

    def has_room(self, now: float, work: Work | None = None) -> bool:
        """Whether one may start by its keys."""
        return self._has_room(now, work or self._lane.first)

    def next(self, now: float, *, ordered: bool) -> Work | None:
        """Who may start now; None: nobody.

        Args:
            now: Monotonic.
            ordered: As for `RunQueue.peek`.
        """
        claim = self.claim(now)
        if claim is None:
            return None
        claims = [claim, *claims_at(self._lane.keys, now, but=self._lane)]
        if claim is min(claims, key=lambda one: one.place):
            claim.promise(self, now)
        return first_to_pass(self, claims, now, ordered=ordered)

    def claim(self, now: float) -> Claim | None:
        """What the first needs."""
        first = self._lane.first
        waits_long = now - first._submitted_at > STARVED_AFTER
        return claim_of(self, first, now, keeps_slots=waits_long, kept=self._lane.keys)


def claims_at(keys: Iterable[KeyService], now: float, but: Lane | None = None) -> list[Claim]:
    """What those need who wait for budgets of some keys, in whatever run queue.

    Args:
        keys: Those keys.
        now: Monotonic.
        but: Not of this lane.
    """
    found = []
    for key in keys:
        for turnstile in key.turnstiles or ():
            lane = turnstile.home.first_lane(turnstile)
            if lane is None or lane is but or not lane.is_short:
                continue
            if (claim := _claim_of(lane, turnstile.home, now)) is not None:
                found.append(claim)
    return found


def _claim_of(lane: Lane, home: Turnstiles, now: float) -> Claim | None:
    refusing = (
        limit
        for one in lane.keys
        for limit in one.limits
        if isinstance(limit, Budget) and not limit.room(now, lane.first)
    )
    budget = next(refusing, None)
    return None if budget is None else KeyPassing(lane, home.parked, budget, _nobody).claim(now)


def claims_of_keys(
    homes: Iterable[Turnstiles], shared: Sequence[Service], now: float
) -> Iterator[tuple[Lane, Claim]]:
    """What those need who wait for budgets of their keys, of services that all keys share, such as a total beside.

    Args:
        homes: Where they wait.
        shared: Those services. Where they have enough for everybody, nobody is looked at.
        now: Monotonic.
    """
    if not any(
        service.budgets
        or any(rate.keeps_from(now, now) for rate in service.rates if isinstance(rate, RateLimit))
        for service in shared
    ):
        return
    for home in homes:
        for lane in list(islice(home.short, _MOST_OTHERS)):
            if (claim := _claim_of(lane, home, now)) is not None:
                yield lane, claim


def put_off_by_others(work: Work, homes: Sequence[Turnstiles], now: float) -> float | None:
    """As `put_off_until`, of those with other keys: by what all keys share, such as a total beside.

    Args:
        work: Whose start that would be.
        homes: Where the others wait.
        now: Monotonic.
    """
    keys, place = work._keyed or (), place_of(work)
    shared = [one for one in services_for(work) if one not in keys]
    for lane, claim in claims_of_keys(homes, shared, now):
        if lane.keys != keys and claim.place < place and claim.is_put_off_by(work, shared):
            lane.putting_off.update(keys)
            return claim.until
    return None


def put_off_until(work: Work, now: float) -> float | None:
    """Whether a start would put off who came before and waits for a budget of the same key, and until when that waits.

    Args:
        work: Whose start that would be.
        now: Monotonic.
    """
    place, services = place_of(work), services_for(work)
    for claim in claims_at(work._keyed or (), now):
        if claim.place < place and claim.is_put_off_by(work, services):
            return claim.until
    return None


def left_to(work: Work, now: float) -> Claim | None:
    """For whom a work unit leaves what it has room for, since that one waits for a budget; for whoever only looks.

    Args:
        work: The first in its line.
        now: Monotonic.
    """
    run_queue = work._task.run_queue
    keys, place, services = work._keyed or (), place_of(work), services_for(work)
    shared = [one for one in services if one not in keys]
    near = (run_queue, *run_queue.contenders)
    homes = [one.turnstiles for one in near if one.is_keyed and one.turnstiles.short]
    claims: list[tuple[Sequence[Service], Claim]] = [(services, claim) for claim in claims_at(keys, now)]
    claims += [(shared, claim) for lane, claim in claims_of_keys(homes, shared, now) if lane.keys != keys]
    for one in run_queue.contenders:
        if one.budgets and not one.is_keyed and (claim := budget_claim_of(one, now)) is not None:
            claims.append((run_queue.services, claim))
    putting_off = [
        claim for taken, claim in claims if claim.place < place and claim.is_put_off_by(work, taken)
    ]
    return min(putting_off, key=lambda claim: claim.place, default=None)


def _nobody(now: float, work: Work) -> bool:
    return False
