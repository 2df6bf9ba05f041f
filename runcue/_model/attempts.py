"""What became of the attempts of a work unit, and when the next one may begin.

Lives here: `Again`, the decision that a work unit comes back; `Attempt`, one that has ended; `Attempts`, both for one
work unit. Most work units have none of this: they may begin at once, and their one attempt is their end. And what a
handler raises to decide it itself: `RetryLater`, `GiveUp`.

Must not know: who decides, clocks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

from runcue._model.errors import ConfigurationError, RuncueError
from runcue._model.rate import parse_duration

if TYPE_CHECKING:
    from datetime import timedelta

__all__ = ["Again", "Attempt", "Attempts", "GiveUp", "Overrun", "Reason", "RetryLater"]

Reason: TypeAlias = Literal["failed", "postponed", "delayed"]
"""Why a work unit may not begin or go on before its instant: an attempt has failed, its handler has postponed it by
`RetryLater`, or it was submitted so. Nobody compares these words: `Again` answers."""

_MOST: Final = 100


class Again(NamedTuple):
    """Decision: the work unit comes back.

    Attributes:
        at: When its next attempt may begin at the earliest; monotonic, a number that will come.
        counts: Whether what has ended was an attempt; if not, the next one has its number.
        reason: Why it does not go on at once.
    """

    at: float
    counts: bool = True
    reason: Reason = "failed"

    @property
    def after_failure(self) -> bool:
        """Whether an attempt has failed, so that what begins then is another one."""
        return self.reason == "failed"

    @property
    def is_postponed(self) -> bool:
        """Whether its handler has asked for that: what goes on then is the same attempt, whose start was heard."""
        return self.reason == "postponed"

    @property
    def is_delayed(self) -> bool:
        """Whether it was submitted so, and what begins then is its first attempt."""
        return self.reason == "delayed"


class Attempt(NamedTuple):
    """An attempt that has ended.

    Attributes:
        number: From 1.
        started_at: Wall-clock time at which its handler was started, seconds since the epoch; if `RetryLater` had put
            it back, the last time: when it went on.
        duration: Seconds that its handler ran from then on.
        error: Why it failed, as it is kept; None if it succeeded, or was cancelled before its time was over.
    """

    number: int
    started_at: float
    duration: float
    error: BaseException | None


class Overrun(NamedTuple):
    """An attempt that has timed out, and another one follows when its handler has returned.

    Attributes:
        again: What was decided.
        error: Why the attempt has failed.
    """

    again: Again
    error: BaseException


class Attempts:
    """The attempts of a work unit and of those that have joined it, who share this.

    Attributes:
        again: What was decided last.
        overrun: If the one that runs has timed out and is not to be the last; else None.
        began: When the first one began; monotonic, None before one has ended.
        ended: Those that have ended, oldest first, the last hundred: there may be any number.
    """

    __slots__ = ("again", "began", "ended", "overrun")

    def __init__(self, again: Again) -> None:
        self.again = again
        self.overrun: Overrun | None = None
        self.began: float | None = None
        self.ended: list[Attempt] = []

    def note(self, attempt: Attempt) -> None:
        """Note one that has ended."""
        self.ended.append(attempt)
        if len(self.ended) > _MOST:
            del self.ended[0]

    def parted(self) -> Attempts:
        """The same for one that goes its own way from here on."""
        own = Attempts(self.again)
        own.overrun, own.began, own.ended = self.overrun, self.began, self.ended.copy()
        return own


class GiveUp(RuncueError):
    """Raised by a handler to say that no other attempt will do better: its work unit fails with it, at once.

    Example:
        >>> import runcue
        >>> def parse(work):
        ...     if not work.params["text"]:
        ...         raise runcue.GiveUp("there is nothing in it")
    """


class RetryLater(RuncueError):
    """Raised by a handler to say that it is too early: it is called again after a while, and has not failed.

    That needs no `retry=`, and is no attempt: `work.attempt` stays, and so does what `Retry` counts. Meanwhile its work
    unit is pending and holds no slot. What it wrote with `work.write()` is thrown away.

    Args:
        delay: After how long: seconds, a timedelta, or text such as "10s".

    Attributes:
        delay: The same in seconds.

    Raises:
        ConfigurationError: There is no delay, or it is none.
    """

    def __init__(self, delay: float | str | timedelta | None = None, *misplaced: object) -> None:
        if delay is None or misplaced:
            raise ConfigurationError(
                'RetryLater takes a delay alone, after which the handler is called again: raise RetryLater("10s").'
            )
        # As it was given: so it comes out of another process, too.
        super().__init__(delay)
        self.delay = parse_duration(delay, "The delay of RetryLater", zero=True)

    def __str__(self) -> str:
        return f"again in {self.delay:g} s"
