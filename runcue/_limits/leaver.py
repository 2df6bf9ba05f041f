"""A limit of the user's own that was taken away while work units run: it is to hear when those end that it let start.

Lives here: `Leaver`.

Must not know: who takes limits away, and when.
"""

from __future__ import annotations

from typing import Any

from runcue._limits.guarded import GuardedLimit
from runcue._model.work import Work
from runcue.abc import Limit

__all__ = ["Leaver"]


class Leaver(Limit):
    """Passes on what is told of the work units that a limit has let start, and keeps nobody from starting.

    Args:
        limit: That one.
        works: Those work units, as far as they have not returned.

    Attributes:
        works: See above.
    """

    __slots__ = ("_limit", "kind", "works")

    def __init__(self, limit: GuardedLimit, works: set[Work]) -> None:
        self._limit = limit
        self.works = works
        # Any number may leave a service at the same time.
        self.kind = f"leaving {id(limit)}"

    def room(self, now: float, work: Work, /) -> bool:
        """See `Limit.room`."""
        return True

    def acquire(self, now: float, work: Work, /) -> None:
        """See `Limit.acquire`. One that is tried again is none of those any more."""
        self.works.discard(work)

    def entered(self, now: float, work: Work, at: float, /) -> None:
        """See `Limit.entered`."""
        if work in self.works:
            self._limit.entered(now, work, at)

    def release(self, now: float, work: Work, actual: Any, /) -> None:
        """See `Limit.release`."""
        if work in self.works:
            self.works.discard(work)
            self._limit.release(now, work, actual)

    def at_least(self, works: object, /) -> float:
        """See `Limit.at_least`: it says nothing of what is to come."""
        return 0.0
