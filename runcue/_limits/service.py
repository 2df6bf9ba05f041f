"""A service: slots in use and starts remembered. The exact promise behind `rate=` and `concurrent=`.

Lives here: `Service`, which answers "is there room now?", takes, and gives back. A rate of N per period is kept by a
sliding log: a token is usable again when the clock has reached its stamp plus the period. So no window of one period,
wherever it starts, sees more than N starts. A token bucket lets nearly 2N through one window (aiolimiter#298); that
kind is available as `burst=`, through a `Limiter`.

Must not know: work units, order, where the clock comes from (`now` is an argument).
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from math import inf, nextafter

from runcue._model.rate import Rate
from runcue.abc import Limiter

__all__ = ["UNBOUNDED", "Service", "ServiceStatus"]

UNBOUNDED = sys.maxsize


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """A service and its limits at one instant.

    Attributes:
        name: Its name.
        concurrent: How many handlers may run at the same time, None if any number.
        in_use: How many slots are taken.
        rate: The rate as it was written, None if there is none (or a bucket decides).
        count: Starts allowed by the rate in any window of `period`.
        period: Seconds.
        tokens: Starts that the rate allows at this instant, None if there is none.
        next_token: Seconds until it allows one more; 0.0 if it does now, None if that is not known.
        burst: Size of the bucket (`burst=`, `limiter=`) that decides instead of a rate, None if there is none.
        per_second: Starts that flow back into it per second, None if there is none.
    """

    name: str
    concurrent: int | None
    in_use: int
    rate: str | None
    count: int | None
    period: float | None
    tokens: int | None
    next_token: float | None
    burst: float | None
    per_second: float | None


def _not_known(starts: int) -> None:
    return None


class Service:
    """Limits under one name. It executes nothing.

    A token has two instants. At hand-off it is debited (`take`), so that nobody else can have it; when the handler was
    entered, which for a thread may be later, it is stamped (`stamp`), and its period counts from there.
    """

    __slots__ = ("active", "concurrent", "limiter", "name", "rate", "recent_starts", "reserved")

    def __init__(
        self,
        name: str,
        rate: Rate | None = None,
        concurrent: int = UNBOUNDED,
        limiter: Limiter | None = None,
    ) -> None:
        self.name = name
        self.rate = rate
        self.concurrent = concurrent
        self.limiter = limiter
        self.active = 0
        self.reserved = 0
        self.recent_starts: deque[float] = deque()

    @property
    def rate_limited(self) -> bool:
        """Whether starts have to be stamped."""
        return self.rate is not None or self.limiter is not None

    def has_slot(self) -> bool:
        """Whether one more may run at the same time."""
        return self.active < self.concurrent

    def has_token(self, now: float) -> bool:
        """Whether the rate allows a start at this instant."""
        rate = self.rate
        if rate is not None:
            recent_starts = self.recent_starts
            period = rate.period
            # Both forms, because either alone can be off by a rounding and someone will check with the other.
            while recent_starts and recent_starts[0] + period <= now and now - recent_starts[0] >= period:
                recent_starts.popleft()
            if len(recent_starts) + self.reserved >= rate.count:
                return False
        return self.limiter is None or self.limiter.has_room(now)

    def next_token(self, now: float) -> float:
        """When to look again after `has_token` said no.

        Returns:
            An instant later than `now`; inf when it depends on a start that has not been stamped yet.
        """
        when = -inf
        rate = self.rate
        if rate is not None and len(self.recent_starts) + self.reserved >= rate.count:
            if not self.recent_starts:
                return inf
            when = self.recent_starts[0] + rate.period
        if self.limiter is not None and not self.limiter.has_room(now):
            when = max(when, self.limiter.next_room(now))
        # Rounding may put the instant at "now": a timer must advance, or it spins for ever.
        return max(when, nextafter(now, inf))

    def at_least(self, starts: int) -> float | None:
        """Seconds that so many starts take at the least by the rate, beginning with all of it unused.

        Returns:
            None if that is not known: a limiter decides that does not tell.
        """
        if self.limiter is not None:
            ask: Callable[[int], float | None] = getattr(self.limiter, "at_least", _not_known)
            return ask(starts)
        return 0.0 if self.rate is None else (max(starts, 1) - 1) // self.rate.count * self.rate.period

    def acquire(self, now: float) -> None:
        """Take a slot and a token. Only after `has_slot()` and `has_token(now)`."""
        self.active += 1
        if self.rate is not None:
            self.reserved += 1
        if self.limiter is not None:
            self.limiter.acquire(now)

    def record_start(self, entered: float, told: float | None = None) -> None:
        """Say when the handler of a taken token was entered.

        Args:
            entered: That instant.
            told: The instant now, if that is later: a thread's report takes its time.
        """
        if self.limiter is not None:
            self.limiter.record_start(entered if told is None else told)
        if self.rate is None:
            return
        self.reserved -= 1
        recent_starts = self.recent_starts
        if recent_starts and entered < recent_starts[-1]:
            # Threads report out of order by microseconds; the log is read from its left end.
            late = [entered]
            while recent_starts and recent_starts[-1] > entered:
                late.append(recent_starts.pop())
            recent_starts.extend((late[0], *reversed(late[1:])))
        else:
            recent_starts.append(entered)

    def acquire_slot(self) -> None:
        """Take a slot without a token: an async gate is being asked."""
        self.active += 1

    def release(self) -> None:
        """Give a slot back."""
        self.active -= 1

    def status(self, now: float, *, running: bool) -> ServiceStatus:
        """What its limits allow at this instant.

        Args:
            now: Monotonic.
            running: Whether an event loop is: without one, a limiter cannot be asked.
        """
        when = now
        if self.limiter is not None and not running:
            when = inf
        elif not self.has_token(now):
            when = self.next_token(now)
        rate = self.rate
        return ServiceStatus(
            self.name,
            None if self.concurrent == UNBOUNDED else self.concurrent,
            self.active,
            rate.text if rate else None,
            rate.count if rate else None,
            rate.period if rate else None,
            max(0, rate.count - len(self.recent_starts) - self.reserved) if rate else None,
            None if when == inf else when - now,
            getattr(self.limiter, "burst", None),
            getattr(self.limiter, "per_second", None),
        )

    def describe_slots(self) -> str:
        """One phrase on the slots, for messages."""
        return f"{self.name}: all {self.concurrent} slots in use"

    def describe_rate(self, now: float) -> str:
        """One phrase on the rate, for messages."""
        limit = self.rate.text if self.rate else "its limiter"
        when = self.next_token(now)
        until = "when a start is confirmed" if when == inf else f"in {when - now:.1f} s"
        return f"{self.name}: {limit} is used up, next token {until}"
