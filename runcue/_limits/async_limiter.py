"""What stands behind `limiter=`: somebody's `aiolimiter.AsyncLimiter`, perhaps shared with code outside runcue.

Lives here: the adapter. `has_capacity()` is asked and an instant computed; aiolimiter's own waiters are never used,
they cannot tell when there will be room and spin on a clock that does not move.

Must not know: who starts, services, order.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, nextafter
from typing import Any

from aiolimiter import AsyncLimiter

from runcue._model.errors import ConfigurationError
from runcue._model.texts import seconds_in_words, used_up, words_of

__all__ = ["AsyncLimiterLimit"]


# It reads the loop's clock, and what the clock says may lag behind `now`: then the next look is this much later.
_STEP = 1e-6


class AsyncLimiterLimit:
    """An `aiolimiter.AsyncLimiter` as a `Limit`.

    Others take from it as well, so that no token can be kept free in it: it is debited at hand-off.

    Args:
        limiter: The limiter.

    Attributes:
        limiter: As given.
        burst: How many starts it can hold.
        per_second: How many flow back per second.

    Raises:
        ConfigurationError: It is of another kind, or could never let anything through.
    """

    def __init__(self, limiter: Any) -> None:
        if not isinstance(limiter, AsyncLimiter):
            raise ConfigurationError(f"limiter must be an aiolimiter.AsyncLimiter, not {words_of(limiter)}.")
        if limiter.max_rate < 1:
            raise ConfigurationError(
                f"A limiter of max_rate={limiter.max_rate!r} can never let anything start, as each start takes 1; "
                "write the same rate as 1 per a longer time_period."
            )
        self.limiter = limiter
        self.burst = float(limiter.max_rate)
        self.per_second = limiter.max_rate / limiter.time_period

    def room(self, now: float, work: object = None, /) -> bool:
        """See `Limit.room`."""
        return bool(self.limiter.has_capacity())

    def next_room(self, now: float, work: object = None, /) -> float:
        """See `Limit.next_room`."""
        return max(now + self._missing() / self.per_second, now + _STEP, nextafter(now, inf))

    def nth_room(self, now: float, n: int) -> float:
        """When the n-th start from now on may be, from 1, if nobody else takes from it meanwhile."""
        level = self._level(self.burst)
        return now + max(0.0, n - level) / self.per_second

    def _missing(self) -> float:
        """How much of one token has yet to flow back."""
        return 1.0 - self._level(1.0)

    def _level(self, most: float) -> float:
        """How much is in it, as far as that is less than so much."""
        # It does not tell its level, only whether an amount would fit.
        fits, too_much = 0.0, most
        for _ in range(40):
            amount = (fits + too_much) / 2
            if self.limiter.has_capacity(amount):
                fits = amount
            else:
                too_much = amount
        return fits

    def acquire(self, now: float, work: object = None, /) -> None:
        """See `Limit.acquire`."""
        step = self.limiter.acquire().__await__()
        try:
            next(step)
        except StopIteration:
            return
        step.close()
        raise RuntimeError("The limiter had room and then none; was it used from another thread?")

    def entered(self, now: float, work: object, at: float, /) -> None:
        """See `Limit.entered`. It was debited before."""

    def release(self, now: float, work: object, actual: object, /) -> None:
        """See `Limit.release`. A token comes back with time alone."""

    def at_least(self, works: Sequence[object], /) -> None:
        """See `Limit.at_least`: others use it, too."""

    def describe(self, now: float, work: object = None, /) -> str:
        """See `Limit.describe`."""
        limiter = self.limiter
        text = f"its limiter ({limiter.max_rate:g} per {seconds_in_words(limiter.time_period)})"
        return used_up(text, self.next_room(now) - now)
