"""A service that has its limits once for each key: for each user, for each tenant, for each account of a provider.

Lives here: `KeyedService`, which knows the keys, and `KeyService`, what one of them has. It is made when its key is
first used, and kept as long as a work unit uses it or one of its limits remembers something: who has no traffic costs
nothing, however many have had some.

Must not know: where a key comes from, who waits, where the clock comes from.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from math import inf
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakValueDictionary

from runcue._limits.budget import Budget
from runcue._limits.guarded import GuardedLimit
from runcue._limits.service import MAX_PAUSE, MAX_THROTTLED, UNBOUNDED, Service
from runcue._model.identity import Identity
from runcue._model.texts import words_of
from runcue._model.work import Work
from runcue.abc import Limit

if TYPE_CHECKING:
    from runcue._limits.status import ServiceStatus

__all__ = ["KeyService", "KeyedService"]

# What all have that have nothing of it. Never changed.
_NONE: Final[dict[str, Limit]] = {}
_NO_BUDGETS: Final[Mapping[str, Budget]] = MappingProxyType({})

_SOONEST: Final = 1.0
_EACH: Final = 5e-5
_LATEST: Final = 60.0
"""Seconds between looks through the keys: at least, and so much more for each key, of which a look takes a fiftieth; at
most where it is not known when there will be something to forget. While a limit remembers something there are no more
than four."""


def _is_rate(limit: object) -> bool:
    return getattr(limit, "is_rate", False)


class KeyService(Service):
    """What one key of a service has: slots and limits of its own.

    Attributes:
        service: The service.
        key: The key.
        turnstiles: Those of run queues in which work units wait for it; None if none do.
        is_kept: Whether its limits may remember something.
        timing: Those of its limits that hang on the clock alone.
        counting: The others.
    """

    __slots__ = ("counting", "is_kept", "key", "service", "timing", "turnstiles")

    def __init__(
        self,
        service: KeyedService,
        key: Hashable,
        rates: Iterable[Limit] = (),
        own: Iterable[Limit] = (),
        budgets: Sequence[Budget] = (),
    ) -> None:
        # One by one what its base begins with: there may be very many. A test compares the two.
        self.name = service.name
        self.concurrent = UNBOUNDED
        self.active = 0
        self.feedback = self.claims = None
        self.max_throttled, self.max_pause = MAX_THROTTLED, MAX_PAUSE
        self._passing = _NONE
        self.service = service
        self.key = key
        self.turnstiles: list[Any] | None = None
        self.rates, self.own = tuple(rates), tuple(own)
        self.budgets = {budget.name: budget for budget in budgets} if budgets else _NO_BUDGETS
        self._gather()
        self.is_kept = False

    @property
    def budgets_by_key(self) -> bool:  # type: ignore[override]
        """See `Service`."""
        return self.service.budgets_by_key

    @property
    def whole(self) -> Service:
        """See `Service.whole`."""
        return self.service

    @property
    def label(self) -> str:
        """See `Service.label`."""
        return f"{self.name} for key {words_of(self.key)}"

    def _gather(self) -> None:
        self.counting: tuple[Limit, ...] = ()
        if not (self._passing or self.budgets or self.own) and all(map(_is_rate, self.rates)):
            # One tuple: each object more of each of them makes the garbage collector slower.
            self.limits = self.timing = self.rates
            return
        super()._gather()
        self.timing = tuple(filter(_is_rate, self.limits))
        self.counting = tuple(limit for limit in self.limits if not _is_rate(limit))

    def install(self, kind: str, limit: Limit | None) -> None:
        """See `Service.install`."""
        if self._passing is _NONE:
            self._passing = {}
        super().install(kind, limit)
        self.service.learns |= self.feedback is not None
        if limit is not None and not self.is_kept:
            self.service.keep(self)
        if self.is_paused():
            self.service.paused.add(self)
        else:
            self.service.paused.discard(self)

    def free_from(self, now: float) -> float:
        """From when on it is as if it had never been used, if nobody uses it meanwhile; inf if that is not known."""
        if self.active:
            return inf
        when = -inf
        for limit in self.limits:
            if isinstance(limit, GuardedLimit):
                # What the user's own remember nobody knows.
                when = when if limit in self.service.shared else inf
            else:
                tells = getattr(limit, "unused_from", None)
                when = inf if tells is None else max(when, tells())
        return when

    def status(self, now: float, *, running: bool) -> ServiceStatus:
        """See `Service.status`."""
        from dataclasses import replace  # noqa: PLC0415 - `status` has loaded it

        pauses = [one for one in (self._paused_for(now), self.service._paused_for(now)) if one is not None]
        paused = max(pauses, default=None)
        return replace(super().status(now, running=running), paused=paused, keys=len(self.service))

    def reopen(self) -> None:
        """It may have room again: who waits for it is to be looked at."""
        if self.turnstiles:
            for turnstile in self.turnstiles:
                turnstile.reopen()


class KeyedService(Service):
    """Limits for each key under one name.

    Its own slots and limits are those that hold for all keys together; it has none but what is set on it as a whole.

    Args:
        name: The name.
        make: Makes what a key has.
        shared: Limits of the user's own that are the same objects for all keys.

    Attributes:
        per: Gives the key of a work unit.
        shared: See above.
        paused: Those keys that somebody has to let go on.
        told: What was told once of what its server says.
        learns: Whether some of its keys learn from how attempts end.
        template: What budgets each key has, of which nothing is ever taken; None if a function says that.
    """

    __slots__ = ("_kept", "_keys", "_make", "learns", "paused", "per", "shared", "template", "told")

    is_keyed = True

    def __init__(
        self,
        name: str,
        per: Callable[[Work], Any],
        make: Callable[[KeyedService, Hashable], KeyService],
        shared: Sequence[GuardedLimit] = (),
    ) -> None:
        super().__init__(name)
        self.per = per
        self.shared = shared
        self.paused: set[KeyService] = set()
        self.told: set[str] = set()
        self.learns = False
        self.template: Mapping[str, Budget] | None = {}
        self._make = make
        self._keys: WeakValueDictionary[Hashable, KeyService] = WeakValueDictionary()
        # Those that may remember something, in the order in which they were used first.
        self._kept: deque[KeyService] = deque()

    @property
    def budgets_by_key(self) -> bool:  # type: ignore[override]
        """See `Service`."""
        return self.template is None

    @property
    def named_budgets(self) -> Mapping[str, Budget]:
        """See `Service.named_budgets`."""
        return self.template or {}

    def of_key(self, key: Hashable) -> KeyService:
        """What a key has.

        Raises:
            ConfigurationError, TypeError: It cannot be a key, or a limit that is a function of it cannot work.
        """
        known = key if type(key) is str else Identity(key)
        found = self._keys.get(known)
        if found is None:
            found = self._keys[known] = self._make(self, key)
        return found

    def parts(self) -> list[Service]:
        """See `Service.parts`."""
        return [self, *self.each()]

    def each(self) -> list[KeyService]:
        """What the keys have that are in use, or not forgotten yet."""
        return list(self._keys.values())

    def __len__(self) -> int:
        return len(self._keys)

    def __bool__(self) -> bool:
        return True

    def keep(self, one: KeyService) -> None:
        """A key is about to be used: keep what it has for as long as its limits remember that."""
        one.is_kept = True
        self._kept.append(one)

    def forget_at(self, now: float) -> float:
        """When `forget` may find something to do, monotonic; inf if nothing is kept."""
        if not self._kept:
            return inf
        when = self._kept[0].free_from(now)
        return max(now + _SOONEST, now + _LATEST if when == inf else when)

    def forget(self, now: float) -> float:
        """Let go of what keys have whose limits remember nothing any more.

        Returns:
            When to do that again, monotonic; inf if nothing is kept.
        """
        kept: list[KeyService] = []
        first, last = inf, now
        for one in self._kept:
            when = one.free_from(now)
            if when <= now:
                one.is_kept = False
            else:
                kept.append(one)
                if when < inf:
                    first, last = min(first, when), max(last, when)
        self._kept = deque(kept)
        if not kept:
            return inf
        soonest = _SOONEST + len(kept) * _EACH
        return now + max(min(first - now, _LATEST), soonest, (last - now) / 4)

    def of(self, work: Work) -> Service:
        """See `Service.of`."""
        services: tuple[Service, ...] = work._task.run_queue.services_for(work)
        return next((one for one in services if isinstance(one, KeyService) and one.service is self), self)

    def status(self, now: float, *, running: bool) -> ServiceStatus:
        """See `Service.status`."""
        from dataclasses import replace  # noqa: PLC0415 - `status` has loaded it

        return replace(super().status(now, running=running), next_token=None, keys=len(self))

    def at_least(self, works: Sequence[Work]) -> float | None:
        """See `Service.at_least`: what the key takes that takes longest."""
        keys: dict[KeyService, list[Work]] = {}
        for work in works:
            for one in work._keyed or ():
                if one.service is self:
                    keys.setdefault(one, []).append(work)
        told = [one.at_least(their) for one, their in keys.items()]
        return max((seconds for seconds in told if seconds is not None), default=None if told else 0.0)
