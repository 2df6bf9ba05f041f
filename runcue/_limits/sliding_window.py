"""A rate as an exact promise: no window of one period, wherever it begins, sees more starts than its count.

Lives here: the log of recent starts that stands behind `rate=`. A token is usable again when the clock has reached its
stamp plus the period. A token bucket lets nearly twice as many through one window (aiolimiter#298); that kind is
`token_bucket`.

Must not know: who starts, order, where the clock comes from.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from math import inf, nextafter

from runcue._limits.rate_limit import RateLimit
from runcue._model.rate import Rate
from runcue._model.texts import used_up

__all__ = ["SlidingWindow"]


class SlidingWindow(RateLimit):
    """A rate that keeps a rate.

    A token has two instants. At hand-off it is reserved (`acquire`), so that nobody else can have it; when the handler
    was entered, which for a thread may be later, it is stamped (`entered`), and its period counts from there.

    Args:
        rate: What it keeps.
        margin: So many seconds longer is each window counted.

    Attributes:
        rate: See above.
        margin: See above.
        recent_starts: The stamps that still count, in order.
        reserved: Tokens that were taken and have not been stamped yet.
    """

    __slots__ = ("_count", "_period", "free", "margin", "rate", "recent_starts", "reserved")

    def __init__(self, rate: Rate, margin: float = 0.0) -> None:
        self.rate = rate
        self.margin = margin
        self._count = rate.count
        self._period = rate.period + margin
        self.recent_starts: deque[float] = deque()
        self.reserved = self.free = 0

    @property
    def tokens(self) -> int:
        """How many starts it allows, as of the last time it was asked for room."""
        return max(0, self._count - len(self.recent_starts) - self.reserved)

    def room(self, now: float, work: object = None, /) -> bool:
        """See `Limit.room`."""
        recent_starts = self.recent_starts
        period = self._period
        # Both forms, because either alone can be off by a rounding and someone will check with the other.
        while recent_starts and recent_starts[0] + period <= now and now - recent_starts[0] >= period:
            recent_starts.popleft()
        self.free = self._count - len(recent_starts) - self.reserved
        return self.free > 0

    def next_room(self, now: float, work: object = None, /) -> float:
        """See `Limit.next_room`; inf while all depends on starts that have not been stamped yet."""
        recent_starts = self.recent_starts
        if not recent_starts:
            return inf
        # Of a larger count that it has inherited starts from more than one of them have to be forgotten.
        over = len(recent_starts) + self.reserved - self._count
        first = recent_starts[min(over, len(recent_starts) - 1) if over > 0 else 0]
        # Rounding may put the instant at "now": a timer must advance, or it spins for ever.
        return max(first + self._period, nextafter(now, inf))

    def nth_room(self, now: float, n: int) -> float:
        """See `RateLimit.nth_room`."""
        self.room(now)
        recent_starts = self.recent_starts
        # So many can start at once. From then on each takes the token of the one that was `count` starts before it.
        # There may be more of them than `count`, inherited from a rate that had a larger one.
        free = self._count - len(recent_starts) - self.reserved
        if n <= free:
            return now
        rounds, place = divmod(n - 1, self._count)
        place -= free
        if place < 0:  # one of those that start at once
            return now + rounds * self._period
        taken = recent_starts[place] if place < len(recent_starts) else now
        return max(taken + (rounds + 1) * self._period, now + rounds * self._period)

    def keeps_from(self, now: float, until: float) -> bool:
        """See `RateLimit.keeps_from`."""
        if now + self._period <= until:
            return False
        gone = 0
        for at in self.recent_starts:
            if at + self._period > until:
                break
            gone += 1
        return len(self.recent_starts) - gone + self.reserved + 1 >= self._count

    def unused_from(self) -> float:
        """See `RateLimit.unused_from`."""
        if self.reserved:
            return inf
        return self.recent_starts[-1] + self._period if self.recent_starts else -inf

    def acquire(self, now: float, work: object = None, /) -> None:
        """See `Limit.acquire`."""
        self.reserved += 1
        self.free -= 1

    def entered(self, now: float, work: object, at: float, /) -> None:
        """See `Limit.entered`."""
        self.reserved -= 1
        recent_starts = self.recent_starts
        if recent_starts and at < recent_starts[-1]:
            # Threads report out of order by microseconds; the log is read from its left end.
            late = [at]
            while recent_starts and recent_starts[-1] > at:
                late.append(recent_starts.pop())
            recent_starts.extend((late[0], *reversed(late[1:])))
        else:
            recent_starts.append(at)
        if at - recent_starts[0] > self._period:
            self.room(at)  # where nobody has to ask, old ones are let go of here

    def inherit(self, starts: Iterable[float], reserved: int, now: float) -> None:
        """Take starts over that others remember, in order; of those that are on their way it will be told."""
        self.recent_starts = deque(starts)
        self.reserved = reserved
        self.room(now)  # lets go of what does not count here

    def at_least(self, works: Sequence[object], /) -> float:
        """See `Limit.at_least`."""
        return (max(len(works), 1) - 1) // self._count * self._period

    def describe(self, now: float, work: object = None, /) -> str:
        """See `Limit.describe`."""
        return used_up(self.rate.text, self.next_room(now) - now)
