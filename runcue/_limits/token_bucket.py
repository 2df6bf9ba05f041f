"""A rate as a bucket that is refilled continuously: at most burst + elapsed * rate starts in any stretch of time.

Lives here: the arithmetic behind `burst=`. All of it follows from one number, the instant at which the bucket will be
full again, so that it can be read as often as one likes and says the same for the same instant.

Must not know: who starts, order, where the clock comes from.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from math import inf, nextafter
from typing import Final

from runcue._limits.rate_limit import RateLimit
from runcue._model.texts import used_up, words_of

__all__ = ["TokenBucket"]

_REMEMBERED: Final = 1_000
"""So many starts are remembered, for what may take the place of a bucket."""


class TokenBucket(RateLimit):
    """A rate that holds up to `burst` tokens; they flow back at `per_second`.

    It is debited as of the instant at which a handler was entered; until that is known the token is merely kept free.
    So the promise holds for what the handlers themselves see, threads included.

    Args:
        burst: How many starts it can hold.
        per_second: How many flow back per second.
        rate: The rate as it was written.
        margin: So many seconds after it was taken a token begins to flow back.

    Attributes:
        burst: See above.
        per_second: See above.
        margin: See above.
        reserved: Tokens that were taken and have not been stamped yet.
        recent_starts: The last stamps, in about their order: for what may take its place. It goes by none of them.
    """

    __slots__ = (
        "_full_at",
        "_one",
        "_rate",
        "burst",
        "free",
        "margin",
        "per_second",
        "recent_starts",
        "reserved",
    )

    def __init__(self, burst: int, per_second: float, rate: str = "", margin: float = 0.0) -> None:
        self.burst = burst
        self.per_second = per_second
        self._rate = rate or f"{per_second:g}/sec"
        self._one = 1 / per_second
        self.margin = margin
        self.reserved = self.free = 0
        self.recent_starts: deque[float] = deque(maxlen=_REMEMBERED)
        self._full_at = -inf

    @property
    def keeps_nothing(self) -> bool:
        """Whether what is not started at once is lost: it holds no other token meanwhile."""
        return self.burst == 1

    @property
    def text(self) -> str:
        """Both as they were written."""
        return f"{self._rate}, burst {words_of(self.burst)}"

    def _room_from(self) -> float:
        """When there is a token that is not kept free for a start that has not been confirmed yet."""
        left = self.burst - 1 - self.reserved
        return inf if left < 0 else self._full_at - left * self._one

    def room(self, now: float, work: object = None, /) -> bool:
        """See `Limit.room`."""
        return self._room_from() <= now

    def next_room(self, now: float, work: object = None, /) -> float:
        """See `Limit.next_room`; inf while all depends on starts that have not been confirmed yet."""
        return max(self._room_from(), nextafter(now, inf))

    def nth_room(self, now: float, n: int) -> float:
        """See `RateLimit.nth_room`."""
        full_at, before, spare = self._full_at, n - 1, (self.burst - 1) * self._one
        if self.reserved:
            full_at = max(full_at, now + self.margin) + self.reserved * self._one
        if self.margin > spare:
            # Each of them waits for the margin of the one before it as well, which is more than there is in store.
            return max(full_at - spare, now) + before * (self._one + self.margin - spare)
        if before:
            full_at = max(full_at, now + self.margin)
        return max(full_at + before * self._one - spare, now)

    def keeps_from(self, now: float, until: float) -> bool:
        """See `RateLimit.keeps_from`."""
        full_at = max(self._full_at, now + self.margin) + self._one
        left = self.burst - 1 - self.reserved
        return left < 0 or full_at - left * self._one > until

    def unused_from(self) -> float:
        """See `RateLimit.unused_from`."""
        return inf if self.reserved else self._full_at

    def acquire(self, now: float, work: object = None, /) -> None:
        """See `Limit.acquire`."""
        self.reserved += 1

    def entered(self, now: float, work: object, at: float, /) -> None:
        """See `Limit.entered`."""
        self.reserved -= 1
        self._count(at)

    def _count(self, at: float) -> None:
        # Reported out of order, a start counts as if it had come after those reported before it: late, never early.
        self._full_at = max(self._full_at, at + self.margin) + self._one
        self.recent_starts.append(at)

    def inherit(self, starts: Iterable[float], reserved: int, now: float) -> None:
        """Take starts over that others remember, in order; of those that are on their way it will be told."""
        self.reserved = reserved
        for at in starts:
            self._count(at)

    def at_least(self, works: Sequence[object], /) -> float:
        """See `Limit.at_least`."""
        full = TokenBucket(self.burst, self.per_second, margin=self.margin)
        return full.nth_room(0.0, max(len(works), 1))

    def describe(self, now: float, work: object = None, /) -> str:
        """See `Limit.describe`."""
        return used_up(self.text, self.next_room(now) - now)
