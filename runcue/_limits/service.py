"""A service: limits under one name.

Lives here: `Service`, which has slots and holds the other limits. What it says of itself to those who merely look is in
`status`.

Must not know: order, where the clock comes from (`now` is an argument). What it has is taken and given back by the run
queues of those who use it, all of a run queue's services in one step.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from math import inf
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeGuard

from runcue._limits.guarded import GuardedLimit
from runcue._limits.pause import Pause
from runcue._limits.rate_limit import RateLimit
from runcue._limits.sliding_window import SlidingWindow
from runcue._limits.token_bucket import TokenBucket
from runcue._model.work import Work
from runcue.abc import Limit

if TYPE_CHECKING:
    from runcue._limits.budget import Budget
    from runcue._limits.feedback import Feedback
    from runcue._limits.status import BudgetStatus, ServiceStatus

__all__ = ["MAX_PAUSE", "MAX_THROTTLED", "UNBOUNDED", "Refusal", "Service", "is_budget"]

UNBOUNDED = sys.maxsize

MAX_PAUSE: Final = 3600.0
"""Seconds; no server stops a service for longer, if nothing else is said."""

MAX_THROTTLED: Final = 600.0
"""Seconds; who has waited for so long because a server refused it fails with its next refusal, if nothing else is
said."""


class Refusal(NamedTuple):
    """Why a service does not let a work unit start at this instant, for people.

    Attributes:
        service: The service.
        by: What keeps it from that: "slots", "rate" (or the bucket in its place), "budget", "limit" of the user's own,
            "paused", "throttle", "breaker".
        details: One phrase.
        until: When it is to be asked again; inf: not before something that runs has ended.
    """

    service: Service
    by: str
    details: str
    until: float


class Service:
    """Limits under one name. It executes nothing.

    Args:
        name: The name.
        rates: What keeps its rates: sliding windows, or a bucket.
        concurrent: Slots.
        own: Limits of the user's.
        budgets: What else each start takes something of.

    Attributes:
        is_keyed: Whether what it has is had by each key; then it is a `KeyedService`.
        budgets_by_key: Whether its budgets are those of each key, and it is not known what there is beforehand.
        active: Slots in use.
        rates: See above.
        own: See above.
        budgets: Its budgets by name.
        max_pause: Seconds for which it stays paused at most because its server says so.
        limits: Those that come and go, the rates, the budgets, then those of the user's own.
        feedback: What it learns from how attempts end; None: nothing.
        claims: The user's function that says whether an error is a refusal by its server; None if there is none.
        max_throttled: Seconds of waiting after which a work unit that is refused once more fails; inf: never.
    """

    __slots__ = (
        "__weakref__",
        "_passing",
        "active",
        "budgets",
        "claims",
        "concurrent",
        "feedback",
        "limits",
        "max_pause",
        "max_throttled",
        "name",
        "own",
        "rates",
    )

    is_keyed = False
    budgets_by_key = False

    def __init__(
        self,
        name: str,
        rates: Iterable[Limit] = (),
        concurrent: int = UNBOUNDED,
        own: Iterable[Limit] = (),
        budgets: Iterable[Budget] = (),
    ) -> None:
        self.name = name
        self.concurrent = concurrent
        self.active = 0
        self.feedback: Feedback | None = None
        self.claims: Callable[[Any], Any] | None = None
        self.max_throttled = MAX_THROTTLED
        self.max_pause = MAX_PAUSE
        self.own: tuple[Limit, ...] = ()
        # Limits that nobody has declared, such as a pause: there is one of each kind at most, while it has a say.
        self._passing: dict[str, Limit] = {}
        self.rates: tuple[Limit, ...] = ()
        self.budgets: Mapping[str, Budget] = _NO_BUDGETS
        self.limits: tuple[Limit, ...] = ()
        self.set_limits(rates, budgets, own)

    def set_limits(
        self,
        rates: Iterable[Limit] | None = None,
        budgets: Iterable[Budget] | None = None,
        own: Iterable[Limit] | None = None,
    ) -> None:
        """Let something else keep its rates, its budgets, or be its limits of the user's own. The others stay."""
        if rates is not None:
            self.rates = tuple(rates)
        if budgets is not None:
            self.budgets = {budget.name: budget for budget in budgets} or _NO_BUDGETS
        if own is not None:
            self.own = tuple(own)
        self._gather()

    def install(self, kind: str, limit: Limit | None) -> None:
        """Let a limit of some kind have a say beside the others, or (None) no longer. Its run queues must look."""
        self._passing.pop(kind, None)
        if limit is not None:
            self._passing[kind] = limit
        self._gather()

    def installed(self, kind: str) -> Limit | None:
        """The limit of that kind that has a say by now."""
        return self._passing.get(kind)

    def all_budgets(self) -> dict[str, Budget]:
        """Its budgets by name, and those that were taken away and may be given again."""
        dropped = (getattr(limit, "budget", None) for limit in self._passing.values())
        return {**self.budgets, **{budget.name: budget for budget in dropped if budget is not None}}

    def _gather(self) -> None:
        self.limits = (*self._passing.values(), *self.rates, *self.budgets.values(), *self.own)

    def is_paused(self) -> bool:
        """Whether it is paused by hand, without an end that is known."""
        pause = self._passing.get("paused")
        return isinstance(pause, Pause) and pause.until == inf

    @property
    def rate_text(self) -> str:
        """The rates as they were written, a burst as well; "" if there is none or somebody's limiter decides."""
        return ", ".join(
            rate.text if isinstance(rate, TokenBucket) else rate.rate.text
            for rate in self.rates
            if isinstance(rate, (TokenBucket, SlidingWindow))
        )

    @property
    def limits_text(self) -> str:
        """The same, and the budgets: "100/min, 90,000 tokens per min"."""
        budgets = [budget.allowance.of(budget.name) for budget in self.budgets.values()]
        return ", ".join((*filter(None, (self.rate_text,)), *budgets))

    def starts_in(self, seconds: float) -> int | None:
        """How many starts its rate allows in its shortest window that is as long as this, else in its longest.

        Returns:
            Of a bucket, how many at once; None if there is no rate, or it does not tell.
        """
        for rate in self.rates:
            if isinstance(rate, TokenBucket):
                return rate.burst
        windows = sorted(
            (rate.rate.period, rate.rate.count) for rate in self.rates if isinstance(rate, SlidingWindow)
        )
        long_enough = [count for period, count in windows if period >= seconds]
        return long_enough[0] if long_enough else windows[-1][1] if windows else None

    @property
    def named_budgets(self) -> Mapping[str, Budget]:
        """The budgets that there are by name, for who says what is taken of them."""
        return self.budgets

    @property
    def whole(self) -> Service:
        """What it is a part of: itself, or that which has limits for each key."""
        return self

    def reopen(self) -> None:
        """It may have room again: where limits are those of keys, some look for that."""

    @property
    def label(self) -> str:
        """What it is called in texts."""
        return self.name

    def parts(self) -> list[Service]:
        """All that there is of it: itself, and with limits for each key what the keys have."""
        return [self]

    @property
    def full_text(self) -> str:
        """That it has no slot left, in words."""
        slots = "the only slot is" if self.concurrent == 1 else f"all {self.concurrent} slots"
        return f"{self.label}: {slots} in use"

    def has_slot(self) -> bool:
        """Whether one more may run at the same time."""
        return self.active < self.concurrent

    def acquire_slot(self) -> None:
        """Take a slot and nothing else: an async gate is being asked."""
        self.active += 1

    def release_slot(self) -> None:
        """Give such a slot back."""
        self.active -= 1

    def of(self, work: Work) -> Service:
        """What a work unit has of it that uses it: all of it, or with limits for each key what its key has."""
        return self

    def refusals(self, now: float, work: Work) -> Iterator[Refusal]:
        """All that keeps it from letting a work unit start at this instant, to tell people."""
        if not self.has_slot():
            yield Refusal(self, "slots", self.full_text, inf)
        # Of several rates it is told which one holds for longest; of each budget what is missing.
        by_rate: Refusal | None = None
        others = []
        for limit in self.limits:
            if (refusal := self._refusal_by(limit, now, work)) is None:
                continue
            if refusal.by != "rate":
                others.append(refusal)
            elif by_rate is None or refusal.until > by_rate.until:
                by_rate = refusal
        if by_rate is not None:
            yield by_rate
        yield from others

    def refusal_by_limits(self, now: float, work: Work) -> Refusal | None:
        """The first of these that its limits give, slots aside; None if they have room."""
        for limit in self.limits:
            refusal = self._refusal_by(limit, now, work)
            if refusal is not None:
                return refusal
        return None

    def _refusal_by(self, limit: Limit, now: float, work: Work) -> Refusal | None:
        if isinstance(limit, GuardedLimit):
            said = limit.refusal(now, work)
        elif limit.room(now, work):
            said = None
        else:
            said = limit.describe(now, work), limit.next_room(now, work)
        if said is None:
            return None
        by = "rate" if limit in self.rates else getattr(limit, "kind", "limit")
        return Refusal(self, by, f"{self.label}: {said[0]}", said[1])

    def at_least(self, works: Sequence[Work]) -> float | None:
        """Seconds that the starts of work units take at the least by its limits, beginning with all of them unused.

        Returns:
            None if nothing is known of that: none of its limits tells.
        """
        told = [limit.at_least(works) for limit in self.limits]
        return max((seconds for seconds in told if seconds is not None), default=None if told else 0.0)

    def that_tell_turns(self) -> list[Any]:
        """Those of its limits that can tell when the n-th start from now on may be, by `nth_room`."""
        limits = (limit.own if isinstance(limit, GuardedLimit) else limit for limit in self.limits)
        # By the name of its module: aiolimiter is not loaded for who does not use it.
        return [
            limit
            for limit in limits
            if isinstance(limit, RateLimit) or type(limit).__module__ == "runcue._limits.async_limiter"
        ]

    def status(self, now: float, *, running: bool) -> ServiceStatus:
        """What its slots and its rate allow at this instant.

        Args:
            now: Monotonic.
            running: Whether an event loop is: without one, a bucket that others use as well cannot be asked.
        """
        from runcue._limits.status import RateStatus, ServiceStatus  # noqa: PLC0415 - loaded when somebody looks

        tokens: int | None = None
        next_token: float | None = 0.0
        rate, bucket = None, None
        rates = []
        for limit in self.rates:
            is_shared = isinstance(limit, GuardedLimit)
            kept: Any = limit.own if isinstance(limit, GuardedLimit) else limit
            if is_shared and not running:
                next_token = None
            elif not kept.room(now, _NOBODY) and next_token is not None:
                when = kept.next_room(now, _NOBODY)
                next_token = None if when == inf else max(next_token, when - now)
            if not isinstance(kept, SlidingWindow):
                bucket = kept
                continue
            if tokens is None or kept.tokens < tokens:
                tokens, rate = kept.tokens, kept.rate
            rates.append(RateStatus(kept.rate.text, kept.rate.count, kept.rate.period, kept.tokens))
        server: Any = self._passing.get("server")
        return ServiceStatus(
            self.name,
            None if self.concurrent == UNBOUNDED else self.concurrent,
            self.active,
            self.rate_text if rate else None,
            rate.count if rate else None,
            rate.period if rate else None,
            tokens,
            next_token,
            getattr(bucket, "burst", None),
            getattr(bucket, "per_second", None),
            tuple(name_of(limit) for limit in self.own),
            self._paused_for(now),
            {name: self._status_of(budget, now) for name, budget in self.budgets.items()},
            *((None, None) if self.feedback is None else self.feedback.status(now)),
            rates=tuple(rates),
            margin=max(
                (getattr(one, "margin", 0.0) for one in (*self.rates, *self.budgets.values())), default=0.0
            ),
            server={} if server is None else server.status(now),
        )

    def _paused_for(self, now: float) -> float | None:
        """Seconds for which it stays paused by hand; None if it is not."""
        pause = self._passing.get("paused")
        return pause.until - now if isinstance(pause, Pause) and not pause.room(now) else None

    @staticmethod
    def _status_of(budget: Budget, now: float) -> BudgetStatus:
        from runcue._limits.status import BudgetStatus  # noqa: PLC0415 - see above
        from runcue._model.amounts import as_decimal  # noqa: PLC0415 - a budget has loaded it

        budget.advance(now)
        used, limit, debt = map(as_decimal, (budget.used, budget.limit, budget.debt))
        return BudgetStatus(used, limit, budget.allowance.period, debt)


_NO_BUDGETS: Mapping[str, Budget] = MappingProxyType({})

# Rates and buckets are the same to everybody.
_NOBODY = Work("", "")


def is_budget(limit: object) -> TypeGuard[Budget]:
    """Whether a limit is a budget; none is loaded for that."""
    return getattr(limit, "kind", None) == "budget"


def name_of(limit: object) -> str:
    """What a limit of the user's own is called."""
    return type(limit.own if isinstance(limit, GuardedLimit) else limit).__qualname__
