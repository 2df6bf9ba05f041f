"""An instant in place of a limit that has said no, where several have: those of several keys.

Lives here: `Instant`; and `STAMPED`, which never says no.

Must not know: whose limits these are.
"""

from __future__ import annotations

from math import inf
from typing import Final

from runcue._limits.rate_limit import RateLimit

__all__ = ["STAMPED", "Instant"]


class Instant(RateLimit):
    """The limits of several keys have said no, and this is when to ask again."""

    def __init__(self, when: float) -> None:
        self.when = when

    def room(self, now: float, work: object = None, /) -> bool:
        """See `Limit.room`."""
        return self.when <= now

    def next_room(self, now: float, work: object = None, /) -> float:
        """See `Limit.next_room`."""
        return self.when

    def nth_room(self, now: float, n: int) -> float:
        """See `RateLimit.nth_room`."""
        return self.when

    def unused_from(self) -> float:
        """See `RateLimit.unused_from`."""
        return self.when


STAMPED: Final = Instant(-inf)
"""Among the limits of a run queue: starts have to be stamped for those that the keys have."""
