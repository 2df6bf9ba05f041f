"""What rates have in common, whatever promise they keep: they hang on the clock and on nothing else.

Lives here: `RateLimit`. Whoever asks many times for each start may rely on it: a rate says the same of every work unit,
it never raises, and nothing comes back to it when an attempt ends.

Must not know: how a rate is kept.
"""

from __future__ import annotations

from abc import abstractmethod

from runcue.abc import Limit

__all__ = ["RateLimit"]


class RateLimit(Limit):
    """A `Limit` by the clock alone.

    Attributes:
        free: So many starts it allows for sure, without being asked; there may be more. Who takes one counts it down.
    """

    __slots__ = ()

    free: int = 0
    # To be asked by name: isinstance() with a Protocol among the bases takes a microsecond.
    is_rate = True

    kind = "rate"
    """What reasons call it."""

    @abstractmethod
    def room(self, now: float, work: object = None, /) -> bool:
        """See `Limit.room`."""

    @abstractmethod
    def next_room(self, now: float, work: object = None, /) -> float:
        """See `Limit.next_room`; inf while all depends on starts that have not been confirmed yet."""

    @abstractmethod
    def nth_room(self, now: float, n: int) -> float:
        """When the n-th start from now on may be, from 1, if each of those before it takes place as soon as it may.

        Those that have not been confirmed yet count as if they were at this instant.
        """

    def keeps_from(self, now: float, until: float) -> bool:
        """Whether a start now would keep another one from having room at a later instant, at which it has otherwise."""
        return False

    @abstractmethod
    def unused_from(self) -> float:
        """From when on it is as if nothing had ever started; inf while that hangs on starts not confirmed yet."""
