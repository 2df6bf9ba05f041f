"""aiolimiter's continuously refilled bucket as a `Limiter`: what stands behind `burst=` and `limiter=`.

Lives here: the adapter. `has_capacity()` is asked and a timer computed; aiolimiter's own waiters are never used, they
cannot tell when there will be room and spin on a clock that does not move.

The promise: at most burst + elapsed * rate starts in any stretch of time.

Must not know: work units, services, order.
"""

from __future__ import annotations

from math import inf, nextafter
from typing import Any

from aiolimiter import AsyncLimiter

from runcue._model.errors import ConfigurationError

__all__ = ["BucketLimiter"]


# Where rounding makes the bucket say "not yet" at the computed instant, the next look is this much later.
_STEP = 1e-6


class BucketLimiter:
    """An `aiolimiter.AsyncLimiter`, asked and taken from without waiting.

    A bucket of our own is debited when a handler was entered, for until then the token is merely kept free: so the
    promise holds for what the handlers themselves see, threads included. A bucket that others use too cannot keep a
    token free and is debited at hand-off.

    Args:
        limiter: An existing one, perhaps shared with code outside runcue.
        burst: Size of a bucket to be made.
        per_second: Tokens that flow back per second into a bucket to be made.

    Raises:
        ConfigurationError: The limiter is of another kind, or could never let anything through.
    """

    def __init__(self, *, limiter: Any = None, burst: int = 0, per_second: float = 1.0) -> None:
        if limiter is not None and not isinstance(limiter, AsyncLimiter):
            raise ConfigurationError(f"limiter must be an aiolimiter.AsyncLimiter, not {limiter!r}.")
        self._shared = limiter is not None
        self._bucket = AsyncLimiter(burst, burst / per_second) if limiter is None else limiter
        if self._bucket.max_rate < 1:
            raise ConfigurationError(
                f"A limiter of max_rate={self._bucket.max_rate!r} can never hold the one token that a start takes; "
                "write the same rate as 1 per a longer time_period."
            )
        self._one = self._bucket.time_period / self._bucket.max_rate
        self._reserved = 0
        # When the bucket will be full again, as far as our own takings tell; somebody else's only make it later.
        self._full_at = -inf

    @property
    def burst(self) -> float:
        """How many starts it can hold."""
        return float(self._bucket.max_rate)

    @property
    def per_second(self) -> float:
        """How many flow back per second."""
        return 1 / self._one

    def has_room(self, now: float) -> bool:
        """See `Limiter.has_room`."""
        return bool(self._bucket.has_capacity(self._reserved + 1))

    def acquire(self, now: float) -> None:
        """See `Limiter.take`."""
        if self._shared:
            self._debit(now)
        else:
            self._reserved += 1

    def record_start(self, now: float) -> None:
        """See `Limiter.stamp`."""
        if not self._shared:
            self._reserved -= 1
            self._debit(now)

    def _debit(self, now: float) -> None:
        step = self._bucket.acquire().__await__()
        try:
            next(step)
        except StopIteration:
            self._full_at = max(self._full_at, now) + self._one
            return
        step.close()
        raise RuntimeError("The limiter had room and then none; was it used from another thread?")

    def next_room(self, now: float) -> float:
        """See `Limiter.next_room`."""
        if self._shared:
            return max(now + self._missing() * self._one, now + _STEP, nextafter(now, inf))
        # There is room for one when all but one token have flowed back.
        first = self._full_at - (self._bucket.max_rate - 1 - self._reserved) * self._one
        if self._reserved and first <= now:
            return inf  # it depends on a start that has not been confirmed yet
        return max(first, now + _STEP, nextafter(now, inf))

    def at_least(self, starts: int) -> float | None:
        """Seconds that so many starts take at the least, None if that cannot be known: others use the bucket, too."""
        return None if self._shared else max(0.0, starts - self._bucket.max_rate) * self._one

    def _missing(self) -> float:
        """How much of one token has yet to flow back into a bucket that others take from, too."""
        # It does not tell its level, only whether an amount would fit.
        fits, too_much = 0.0, 1.0
        for _ in range(40):
            amount = (fits + too_much) / 2
            if self._bucket.has_capacity(amount):
                fits = amount
            else:
                too_much = amount
        return 1.0 - fits
