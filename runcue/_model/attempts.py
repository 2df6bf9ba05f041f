"""What became of the attempts of a work unit, and when the next one may begin.

Lives here: `Again`, the decision that a work unit comes back; `Attempt`, one that has ended; `Attempts`, both for one
work unit. Most work units have none of this: they may begin at once, and their one attempt is their end.

Must not know: who decides, why, clocks.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Again", "Attempt", "Attempts"]


class Again(NamedTuple):
    """Decision: the work unit comes back.

    Attributes:
        at: When its next attempt may begin at the earliest; monotonic, a number that will come.
        counts: Whether what has ended was an attempt; if not, the next one has its number.
    """

    at: float
    counts: bool = True


class Attempt(NamedTuple):
    """An attempt that has ended.

    Attributes:
        number: From 1.
        started_at: Wall-clock time of its start, seconds since the epoch.
        duration: Seconds that its handler ran.
        error: Why it failed, as it is kept; None if it succeeded or was cancelled.
    """

    number: int
    started_at: float
    duration: float
    error: BaseException | None


class Attempts:
    """The attempts of a work unit and of those that have joined it, who share this.

    Attributes:
        again: What was decided last.
        ended: Those that have failed, oldest first, without the one that runs.
    """

    __slots__ = ("again", "ended")

    def __init__(self, again: Again) -> None:
        self.again = again
        self.ended: list[Attempt] = []
