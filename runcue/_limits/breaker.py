"""A service that is left in peace after failures in a row: `breaker=runcue.Breaker(failures=5, cooldown="60s")`.

Lives here: `Breaker`, what users write, and `BreakerLimit`, which it is for one service: closed it lets all pass
and counts failures in a row; open it lets nothing start until the cooldown is over; then one work unit is let through,
and its end decides. What waits for it waits: it does not fail.

What says nothing of the service does not count: a handler that gives up or asks for later, a refusal by a rate
limit, a cancellation.

Must not know: what an error means, who is told.
"""

from __future__ import annotations

from math import inf, nextafter
from typing import TYPE_CHECKING, Any, Final, Never
from weakref import WeakSet

from runcue._model.checks import positive_int, says_what_it_takes
from runcue._model.rate import parse_duration
from runcue._model.texts import clause_of, error_words, seconds_in_words, shortened
from runcue._model.work import Work
from runcue.abc import Limit

if TYPE_CHECKING:
    from datetime import timedelta

__all__ = ["Breaker", "BreakerLimit"]

# So many cooldowns after its last failure one that is open is forgotten, if it is of a key that nobody uses any more
# (rule 50): of all the hosts that somebody meets, those that are dead are many, and are never seen again.
_REMEMBERED: Final = 10


class Breaker:
    """After so many failures in a row, a service is left in peace for a while. Given as `breaker=` of a service.

    What needs the service then waits, and does not fail. After the cooldown one work unit is let through: if its
    attempt succeeds, all go on, and if it fails, there is another cooldown. Attempts count, whether they are tried
    again or not; GiveUp, RetryLater, throttles and cancellations do not.

    Args:
        failures: So many in a row.
        cooldown: For how long nothing starts then: seconds, a timedelta, or text such as "60s".

    Raises:
        ConfigurationError: A value cannot work.

    Example:
        >>> import runcue
        >>> runcue.Breaker(failures=3, cooldown="2 min")
        Breaker(failures=3, cooldown=120)
    """

    __slots__ = ("cooldown", "failures")

    failures: int
    cooldown: float

    @says_what_it_takes
    def __init__(self, failures: int = 5, cooldown: float | str | timedelta = "60s") -> None:
        object.__setattr__(self, "failures", positive_int(failures, "failures of Breaker"))
        object.__setattr__(self, "cooldown", parse_duration(cooldown, "cooldown of Breaker"))

    def __setattr__(self, name: str, value: object) -> Never:
        """It is what it was made as: others may have it as well."""
        raise AttributeError("A Breaker cannot be changed: make another one.")

    def __delattr__(self, name: str) -> Never:
        """Likewise."""
        raise AttributeError("A Breaker cannot be changed.")

    def __eq__(self, other: object) -> bool:
        """Whether the other one says the same."""
        return isinstance(other, Breaker) and (self.failures, self.cooldown) == (
            other.failures,
            other.cooldown,
        )

    def __hash__(self) -> int:
        return hash((self.failures, self.cooldown))

    def __reduce__(self) -> tuple[Any, ...]:
        return Breaker, (self.failures, self.cooldown)

    def __repr__(self) -> str:
        return f"Breaker(failures={self.failures}, cooldown={self.cooldown:g})"


class BreakerLimit(Limit):
    """The breaker of one service.

    Args:
        breaker: What its user has written.

    Attributes:
        breaker: See above.
        until: While it is open, when one is let through; else -inf.
        since: When it has opened last.
        probe: The one that was.
        failures: How many attempts have failed in a row.
        tried: Those that were let through since it has opened, and have failed.
    """

    kind = "breaker"
    __slots__ = (
        "_failed_at",
        "_last",
        "_probe_returned",
        "breaker",
        "failures",
        "probe",
        "since",
        "tried",
        "until",
    )

    def __init__(self, breaker: Breaker) -> None:
        self.breaker = breaker
        self.until = self.since = -inf
        self.failures = 0
        self.probe: Work | None = None
        self.tried = WeakSet[Work]()
        self._probe_returned = False
        self._failed_at = -inf
        self._last = ""

    @property
    def is_open(self) -> bool:
        """Whether it keeps work units from starting, the probe aside."""
        return self.until > -inf

    def ended(self, now: float, run: Work, how: object, /) -> bool:
        """An attempt has ended. Returns whether the breaker has opened by that, and not only stayed open.

        Args:
            now: Monotonic.
            run: The work unit whose attempt it was.
            how: "passed" if it has succeeded, the error if it has failed with one that counts, else "otherwise".
        """
        if self.is_open:
            if run is not self.probe:
                return False  # it had begun before
            self._dismiss_probe()
            if how == "passed":
                self.close()
            elif isinstance(how, BaseException):
                self.tried.add(run)
                self._open(now, how)
        elif how == "passed":
            self.failures = 0
        elif isinstance(how, BaseException):
            self.failures += 1
            self._failed_at = now
            if self.failures >= self.breaker.failures:
                self._open(now, how)
                self.since = now
                return True
        return False

    def _open(self, now: float, error: BaseException) -> None:
        self.until = self._failed_at = now + self.breaker.cooldown
        self._last = shortened(clause_of(error_words(error)), 200)

    def _words(self) -> str:
        times = "1 failure" if self.failures == 1 else f"{self.failures} failures in a row"
        return f"its breaker is open after {times} (the last: {self._last})"

    def close(self) -> None:
        """Let all pass, and count anew."""
        self.until = -inf
        self.failures = 0
        self.tried.clear()
        self._dismiss_probe()

    def _dismiss_probe(self) -> None:
        self.probe = None
        self._probe_returned = False

    def room(self, now: float, work: Work, /) -> bool:
        """See `Limit.room`."""
        if not self.is_open:
            return True
        if now < self.until:
            return False
        return not self.is_probed()

    def is_probed(self) -> bool:
        """Whether one that was let through runs. One that was cancelled is replaced."""
        if self.probe is not None and (self._probe_returned or self.probe.cancelled):
            self._dismiss_probe()
        return self.probe is not None

    def next_room(self, now: float, work: Work, /) -> float:
        """See `Limit.next_room`."""
        # A timer for now would fire for ever.
        return max(self.until, nextafter(now, inf)) if now < self.until else inf

    def acquire(self, now: float, work: Work, /) -> None:
        """See `Limit.acquire`."""
        if self.is_open:
            self.probe = work
            self._probe_returned = False

    def release(self, now: float, work: Work, actual: Any, /) -> None:
        """See `Limit.release`. How it has ended is said in the same step, unless nobody waits for it any longer."""
        if work is self.probe:
            self._probe_returned = True

    def unused_from(self) -> float:
        """From when on failures are so long ago that they tell nothing any more.

        One that is open is remembered for longer, since the next to come has to be let through alone.
        """
        if not (self.is_open or self.failures):
            return -inf
        return self._failed_at + self.breaker.cooldown * (_REMEMBERED if self.is_open else 1)

    def at_least(self, works: object, /) -> float:
        """See `Limit.at_least`."""
        return 0.0

    def describe(self, now: float, work: Work, /) -> str:
        """See `Limit.describe`."""
        if now < self.until:
            return f"{self._words()}; one is let through in {seconds_in_words(round(self.until - now, 1))}"
        return f"{self._words()}; one was let through, the others follow when that has succeeded"


# In tracebacks, in pickles and in documentation it is named as users import it.
Breaker.__module__ = "runcue"
