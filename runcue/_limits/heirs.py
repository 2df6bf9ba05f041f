"""Rates that take the place of others: what those have let start counts in these as well.

Lives here: `inherit`.

Must not know: who changes rates, and when.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from runcue._limits.sliding_window import SlidingWindow
from runcue._limits.token_bucket import TokenBucket
from runcue.abc import Limit

__all__ = ["inherit"]


def inherit(rates: Iterable[Limit], former: Iterable[Limit], starting: Callable[[], int], now: float) -> None:
    """Let rates know of the starts that their predecessors remember.

    Args:
        rates: New.
        former: Of the same service. The one of the longest window remembers all that the others do.
        starting: Counts the starts that are on their way, if there was none that did.
        now: Monotonic.
    """
    known = [one for one in former if isinstance(one, (SlidingWindow, TokenBucket))]
    heirs = [one for one in rates if isinstance(one, (SlidingWindow, TokenBucket))]
    if heirs:
        reserved = max(one.reserved for one in known) if known else starting()
        starts = max((tuple(one.recent_starts) for one in known), key=len, default=())
        for one in heirs:
            one.inherit(starts, reserved, now)
