"""A service that is paused by hand: nothing of it starts before an instant, or before somebody lets it go on.

Lives here: `Pause`.

Must not know: who has paused what, order, where the clock comes from.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, nextafter

from runcue._limits.rate_limit import RateLimit
from runcue._model.texts import seconds_in_words

__all__ = ["Pause"]


class Pause(RateLimit):
    """No start before an instant. What runs goes on.

    Attributes:
        until: That instant; inf: until somebody takes the pause away.
        since: When it began.
    """

    __slots__ = ("since", "until")

    kind = "paused"

    def __init__(self, since: float, until: float) -> None:
        self.since = since
        self.until = until

    def room(self, now: float, work: object = None, /) -> bool:
        """See `Limit.room`."""
        return now >= self.until

    def next_room(self, now: float, work: object = None, /) -> float:
        """See `Limit.next_room`."""
        return max(self.until, nextafter(now, inf))

    def nth_room(self, now: float, n: int) -> float:
        """See `RateLimit.nth_room`."""
        return max(self.until, now)

    def unused_from(self) -> float:
        """See `RateLimit.unused_from`."""
        return self.until

    def at_least(self, works: Sequence[object], /) -> float:
        """See `Limit.at_least`: it is about what runs otherwise."""
        return 0.0

    def describe(self, now: float, work: object = None, /) -> str:
        """See `Limit.describe`."""
        if self.until == inf:
            return "paused by hand, until resume() is called"
        return f"paused by hand for another {seconds_in_words(max(self.until - now, 0.0))}"
