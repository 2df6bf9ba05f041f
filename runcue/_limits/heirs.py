"""Rates that take the place of others: what those have let start counts in these as well.

Lives here: `inherit`; and `FormerRates`, what is remembered while a service has no rate.

Must not know: who changes rates, and when.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import inf
from typing import Final

from runcue._limits.rate_limit import RateLimit
from runcue._limits.sliding_window import SlidingWindow
from runcue._limits.token_bucket import TokenBucket
from runcue.abc import Limit

__all__ = ["FORMER_RATES", "FormerRates", "inherit"]

FORMER_RATES: Final = "former rates"
"""By what they are installed at a service."""


class FormerRates(RateLimit):
    """What rates remember that were taken away, and may be given again. It keeps nobody from starting.

    Args:
        recent_starts: The stamps, in order.
        until: From this instant on none of them counted any more.

    Attributes:
        recent_starts: See above.
    """

    __slots__ = ("_until", "recent_starts")

    kind = FORMER_RATES
    free = 1

    def __init__(self, recent_starts: tuple[float, ...], until: float) -> None:
        self.recent_starts = recent_starts
        self._until = until

    def room(self, now: float, work: object = None, /) -> bool:
        """See `Limit.room`."""
        return True

    def next_room(self, now: float, work: object = None, /) -> float:
        """See `Limit.next_room`."""
        return now

    def nth_room(self, now: float, n: int) -> float:
        """See `RateLimit.nth_room`."""
        return now

    def unused_from(self) -> float:
        """See `RateLimit.unused_from`."""
        return self._until

    def at_least(self, works: Sequence[object], /) -> float:
        """See `Limit.at_least`: nobody has to wait for it."""
        return 0.0


def inherit(
    rates: Iterable[Limit], former: Iterable[Limit], starting: Callable[[], int], now: float
) -> FormerRates | None:
    """Let rates know of the starts that their predecessors remember.

    Args:
        rates: New.
        former: Of the same service. The one of the longest window remembers all that the others do.
        starting: Counts the starts that are on their way, if there was none that did.
        now: Monotonic.

    Returns:
        What is to be remembered of these until there are others, if none of the new ones can; None: nothing.
    """
    known = [one for one in former if isinstance(one, (SlidingWindow, TokenBucket))]
    heirs = [one for one in rates if isinstance(one, (SlidingWindow, TokenBucket))]
    remembered = [one for one in former if isinstance(one, (SlidingWindow, TokenBucket, FormerRates))]
    starts = max((tuple(one.recent_starts) for one in remembered), key=len, default=())
    if not heirs:
        until = max((_counts_until(one, now) for one in remembered), default=-inf)
        return FormerRates(starts, until) if until > now else None
    reserved = max(one.reserved for one in known) if known else starting()
    for one in heirs:
        one.inherit(starts, reserved, now)
    return None


def _counts_until(rate: SlidingWindow | TokenBucket | FormerRates, now: float) -> float:
    """From when on the starts that a rate remembers count no more; of those on their way nobody will tell it."""
    if not isinstance(rate, SlidingWindow):
        until = rate.unused_from()
        return now if until == inf else until
    rate.room(now)
    return rate.recent_starts[-1] + rate.rate.period + rate.margin if rate.recent_starts else -inf
