"""aiolimiter's continuously refilled bucket as a `Limiter`: what stands behind `burst=` and `limiter=`.

Lives here: the adapter. `has_capacity()` is asked and a timer computed; aiolimiter's own waiters are never used, they
cannot tell when there will be room and spin on a clock that does not move.

The promise: at most burst + elapsed * rate starts in any stretch of time.

Must not know: works, services, order.
"""

from __future__ import annotations

from math import inf, nextafter
from typing import Any

from aiolimiter import AsyncLimiter

__all__ = ["BucketLimiter"]


class BucketLimiter:
    """An `aiolimiter.AsyncLimiter`, asked and taken from without waiting.

    Args:
        limiter: An existing one, perhaps shared with code outside runcue.
        burst: Size of a bucket to be made.
        per_second: Tokens that flow back per second into a bucket to be made.
    """

    def __init__(self, *, limiter: Any = None, burst: int = 0, per_second: float = 1.0) -> None:
        self._bucket: AsyncLimiter = AsyncLimiter(burst, burst / per_second) if limiter is None else limiter
        self._one = self._bucket.time_period / self._bucket.max_rate
        # When the next token will have flowed back, as far as our own takings tell; somebody else's only make it later.
        self._refilled_at = -inf

    def has_room(self, now: float) -> bool:
        """See `Limiter.has_room`."""
        return bool(self._bucket.has_capacity())

    def take(self, now: float) -> None:
        """See `Limiter.take`."""
        step = self._bucket.acquire().__await__()
        try:
            next(step)
        except StopIteration:
            # The instant is counted on from the former one, not from "now": a wait that overslept must not cost rate.
            self._refilled_at = max(self._refilled_at, now) + self._one
            return
        step.close()
        raise RuntimeError("The limiter had room and then none; was it used from another thread?")

    def next_room(self, now: float) -> float:
        """See `Limiter.next_room`."""
        # A full bucket of size B holds B tokens that return one by one; the first returns B - 1 steps before the last.
        first = self._refilled_at - (self._bucket.max_rate - 1) * self._one
        return max(first, nextafter(now, inf)) if first > now else now + self._one / 8
