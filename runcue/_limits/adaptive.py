"""As many slots as a server turns out to have: `concurrent=runcue.Adaptive(low, high)`.

Lives here: `Adaptive`, what users write, and `AdaptiveSlots`, which moves the slots of one service. It goes by what the
server says and by nothing else: one more for each round of successes while all slots are in use, a fifth fewer, once
for a burst, when the server refuses some (additive increase, multiplicative decrease: Chiu and Jain, 1989). It is never
driven by how long anything takes: answers of a language model take ten times as long as others for reasons of their
own.

Well above the number at which it was refused last there are two more in a round: the server has come to have more slots
than it had, and nobody knows how many. A part of those that there are in place of two (a quarter was tried) follows it
faster, and is no additive increase any more: of 40 slots ten more are refused together.

Must not know: what a refusal looks like, order, clocks.
"""

from __future__ import annotations

from math import inf
from typing import Any, Final, Never

from runcue._model.checks import positive_int, says_what_it_takes
from runcue._model.errors import ConfigurationError
from runcue._model.work import Work
from runcue.abc import Limit

__all__ = ["Adaptive", "AdaptiveSlots"]

_DECREASE: Final = 0.8
"""That part of the slots is left after a burst of refusals."""

_ROUNDING: Final = 1e-9

_BEYOND: Final = 2.0
"""So many slots are added in a round well above what was too many."""

_NEAR: Final = 1.1
"""Up to so many times what was too many, and one more, the end is believed to be near."""


class Adaptive:
    """How many handlers of a service run at the same time, where only its server knows how many it takes.

    Given as `concurrent=` of a service. It begins with `low`. Whenever a round of work units has succeeded while all
    slots were in use, there is one more, and well above what was too many before there are two more; when the server
    refuses some (`runcue.Throttled`, or what `throttle=` of the service knows), there are a fifth fewer, once for a
    burst. How long anything takes does not matter.

    A refusal that does not say for how long (`retry_after=`) pauses the refused work unit alone: for a second, then for
    two, up to a minute.

    Args:
        low: At least so many.
        high: At most so many.

    Raises:
        ConfigurationError: A value cannot work.

    Example:
        >>> import runcue
        >>> cue = runcue.Cue()
        >>> cue.service("api", concurrent=runcue.Adaptive(2, 50))
        'api'
    """

    __slots__ = ("high", "low")

    low: int
    high: int

    @says_what_it_takes
    def __init__(self, low: int, high: int) -> None:
        low = positive_int(low, "low of Adaptive")
        high = positive_int(high, "high of Adaptive")
        if low > high:
            raise ConfigurationError(
                f"Adaptive(low, high) needs a low that is at most as much as its high, not Adaptive({low}, {high})."
            )
        object.__setattr__(self, "low", low)
        object.__setattr__(self, "high", high)

    def __setattr__(self, name: str, value: object) -> Never:
        """It is what it was made as: others may have it as well."""
        raise AttributeError("An Adaptive cannot be changed: make another one.")

    def __delattr__(self, name: str) -> Never:
        """Likewise."""
        raise AttributeError("An Adaptive cannot be changed.")

    def __eq__(self, other: object) -> bool:
        """Whether the other one says the same."""
        return isinstance(other, Adaptive) and (self.low, self.high) == (other.low, other.high)

    def __hash__(self) -> int:
        return hash((self.low, self.high))

    def __reduce__(self) -> tuple[Any, ...]:
        return Adaptive, (self.low, self.high)

    def __repr__(self) -> str:
        return f"Adaptive({self.low}, {self.high})"


class AdaptiveSlots(Limit):
    """How many slots a service has by now. As a limit it always has room: the slots themselves are what is asked for.

    Args:
        bounds: What its user has written.
        size: How many slots it begins with, None for as few as there may be.
    """

    kind = "adaptive"
    __slots__ = (
        "_begun",
        "_ceiling",
        "_decreased",
        "_full",
        "_in_a_row",
        "_number",
        "_returned",
        "_size",
        "bounds",
    )

    def __init__(self, bounds: Adaptive, size: int | None = None) -> None:
        self.bounds = bounds
        # With fractions: a success adds a part of a slot.
        self._size = float(min(max(size or bounds.low, bounds.low), bounds.high))
        # What was too many the last time; inf: nothing was.
        self._ceiling = inf
        # Starts are numbered. Of each that runs its number; the last one after which no slot was free; and the last one
        # before the slots became fewer: those up to there belong to that burst.
        self._number = self._full = 0
        self._decreased = -1
        self._begun: dict[Work, int] = {}
        self._returned: tuple[Work, int] | None = None
        # Refusals with no success in between.
        self._in_a_row = 0

    @property
    def number(self) -> int:
        """How many slots there are by now."""
        return int(self._size + _ROUNDING)

    def change(self, bounds: Adaptive) -> None:
        """Have other bounds from now on."""
        self.bounds = bounds
        self._resize(self._size)

    def _resize(self, size: float) -> None:
        self._size = min(max(size, float(self.bounds.low)), float(self.bounds.high))

    def _number_of(self, run: Work) -> int:
        """The number of an attempt that runs or has just returned; 0 if it began before this was there."""
        returned = self._returned
        if returned is not None and returned[0] is run:
            return returned[1]
        return self._begun.get(run, 0)

    def ended(self, now: float, run: Work, how: object, /) -> None:
        """An attempt has ended, in another way than by being refused.

        Args:
            now: Monotonic.
            run: The work unit whose attempt it was.
            how: PASSED if it has succeeded.
        """
        number = self._number_of(run)
        self._returned = None
        if how != "passed":
            return
        self._in_a_row = 0
        if number <= self._full:  # all slots were in use after it had begun
            step = _BEYOND if self._size > self._ceiling * _NEAR + 1 else 1.0
            self._resize(self._size + step / self.number)

    def throttled(self, run: Work) -> bool:
        """The server has refused an attempt.

        Returns:
            Whether it refuses whatever comes: then fewer slots are no help, and the service has to pause.
        """
        number = self._number_of(run)
        self._returned = None
        self._in_a_row += 1
        if number > self._decreased:
            self._decreased = self._number
            self._ceiling = self._size
            self._resize(self._size * _DECREASE)
        return self._size <= self.bounds.low and self._in_a_row > 2 * self.bounds.low + 2

    def room(self, now: float, work: Work, /) -> bool:
        """See `Limit.room`."""
        return True

    def acquire(self, now: float, work: Work, /) -> None:
        """See `Limit.acquire`."""
        self._number += 1
        self._begun[work] = self._number
        if len(self._begun) >= self.number:
            self._full = self._number

    def release(self, now: float, work: Work, actual: Any, /) -> None:
        """See `Limit.release`. How it has ended is said in the same step, unless nobody waits for it any longer."""
        number = self._begun.pop(work, 0)
        self._returned = (work, number)

    def unused_from(self) -> float:
        """From when on it is not missed: what it has learned is of use to those who wait."""
        return -inf

    def at_least(self, works: object, /) -> float:
        """See `Limit.at_least`."""
        return 0.0


# In tracebacks, in pickles and in documentation it is named as users import it.
Adaptive.__module__ = "runcue"
