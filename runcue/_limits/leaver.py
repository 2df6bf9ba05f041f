"""A limit of the user's own that was taken away while work units run: it is to hear when those end that it let start.

Lives here: `Leaver`; and `exchange`, which lets some go and others come.

Must not know: who takes limits away, and when.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import inf
from typing import Any

from runcue._limits.guarded import GuardedLimit
from runcue._model.work import Work
from runcue.abc import Limit

__all__ = ["Leaver", "exchange"]


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

    def unused_from(self) -> float:
        """From when on it has nothing to pass on; inf as long as somebody runs."""
        return inf if self.works else -inf

    def at_least(self, works: object, /) -> float:
        """See `Limit.at_least`: it says nothing of what is to come."""
        return 0.0


def exchange(
    former: Sequence[GuardedLimit], own: Iterable[GuardedLimit], begun: set[Work]
) -> tuple[list[GuardedLimit], list[Leaver]]:
    """Let limits take the place of others while work units run.

    Args:
        former: Those that there were.
        own: Those that are to be. What is among the former ones stays as it is.
        begun: The work units that may have been let start by the former ones, and have not returned.

    Returns:
        Those that there are by that, and what has to stay until the last of these work units has returned.
    """
    kept = {id(limit.own): limit for limit in former}
    there = []
    for limit in own:
        if id(limit.own) not in kept:
            limit.strangers = set(begun)
        there.append(kept.get(id(limit.own), limit))
    gone = [limit for limit in former if limit not in there]
    leavers = [Leaver(limit, begun - limit.strangers) for limit in gone]
    return there, [leaver for leaver in leavers if leaver.works]
