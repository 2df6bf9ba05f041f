"""What became of the attempts of a work unit, and when the next one may begin.

Lives here: `Again`, the decision that a work unit comes back; `Attempt`, one that has ended; `Attempts`, both for one
work unit. Most work units have none of this: they may begin at once, and their one attempt is their end. And what a
handler raises to decide it itself: `RetryLater`, `Throttled`, `GiveUp`.

Must not know: who decides, clocks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypeAlias

from runcue._model.errors import ConfigurationError, RuncueError
from runcue._model.rate import parse_duration
from runcue._model.texts import shortened, words_of

if TYPE_CHECKING:
    from datetime import timedelta

__all__ = [
    "NEVER_THROTTLED",
    "Again",
    "Attempt",
    "Attempts",
    "GiveUp",
    "Overrun",
    "Reason",
    "RetryLater",
    "Throttled",
    "Throttles",
]

Reason: TypeAlias = Literal["failed", "postponed", "throttled", "delayed"]
"""Why a work unit may not begin or go on before its instant: an attempt has failed, its handler has postponed it by
`RetryLater`, a server has refused it for now, or it was submitted so. Nobody compares these words: `Again` answers."""

_MOST: Final = 100


class Throttles(NamedTuple):
    """How often servers have refused a work unit for now.

    Attributes:
        in_a_row: How often with nothing else in between.
        waited: Seconds that it has waited because of that, until it went on last.
        since: When it was refused last, monotonic.
        service: By which service; "" if by none that it uses.
        ends: Whether it fails when that has gone on for long enough.
        gives_way: Whether it lets others go first when its service may be asked again.
        paused: Seconds of all pauses of that service by then.
    """

    in_a_row: int = 0
    waited: float = 0.0
    since: float = 0.0
    service: str = ""
    ends: bool = True
    gives_way: bool = False
    paused: float = 0.0


NEVER_THROTTLED: Final = Throttles()


class Again(NamedTuple):
    """Decision: the work unit comes back.

    Attributes:
        at: When its next attempt may begin at the earliest; monotonic, a number that will come.
        counts: Whether what has ended was an attempt; if not, the next one has its number.
        reason: Why it does not go on at once.
        throttles: How often it was refused so far.
    """

    at: float
    counts: bool = True
    reason: Reason = "failed"
    throttles: Throttles = NEVER_THROTTLED

    @property
    def after_failure(self) -> bool:
        """Whether an attempt has failed, so that what begins then is another one."""
        return self.reason == "failed"

    @property
    def is_postponed(self) -> bool:
        """Whether its handler has asked for that: what goes on then is the same attempt, whose start was heard."""
        return self.reason == "postponed"

    @property
    def is_throttled(self) -> bool:
        """Whether a server has refused it: the same attempt likewise."""
        return self.reason == "throttled"

    @property
    def is_same_attempt(self) -> bool:
        """Whether what goes on then is an attempt whose start was heard."""
        return self.reason in ("postponed", "throttled")

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


class Throttled(RuncueError):
    """Raised by a handler to say that a server has refused it for now, as by an answer 429: its service pauses.

    The work unit has not failed: it comes back, and that is no attempt. Its service lets nothing start until the time
    is over, then one work unit, and the rest when that has passed. A burst of such answers is one pause. Without any
    service it is as `RetryLater`. What SDKs and HTTP clients raise themselves is known to `throttle=` of the service,
    see `runcue.http_errors`.

    Args:
        retry_after: For how long the server wants to be left in peace: seconds, a timedelta, text such as "12s", or
            what a header has: "12", or a date of HTTP. None: it has not said, which makes it a second, and twice as
            long each time, up to a minute, until one passes.
        service: Which one of those that the task uses; by default the first.

    Attributes:
        retry_after: The same in seconds, or None; None also where it is a date.
        until: A date in seconds since the epoch, or None.
        service: As given.
        at_the_end: Of the last refusal, with which its work unit fails: how long that was in all; else "".

    Raises:
        ConfigurationError: A value cannot work.

    Example:
        >>> import runcue
        >>> def ask(work, response):
        ...     if response.status_code == 429:
        ...         raise runcue.Throttled(response.headers.get("retry-after"))
    """

    def __init__(
        self,
        retry_after: float | str | timedelta | None = None,
        service: str | None = None,
        *misplaced: object,
        **unknown: object,
    ) -> None:
        if misplaced or unknown:
            raise ConfigurationError(
                "Throttled takes after how long to try again, and the service that is to pause: "
                'raise Throttled(retry_after=12, service="api").'
            )
        if service is not None and not isinstance(service, str):
            raise ConfigurationError(
                f"service of Throttled must be the name of a service, not {words_of(service)}."
            )
        # As it was given: so it comes out of another process, too.
        super().__init__(retry_after, service)
        self.until = _date_of(retry_after)
        is_said = retry_after is not None and self.until is None
        self.retry_after = _seconds_of(retry_after) if is_said else None
        self.service = service

    at_the_end = ""

    def __str__(self) -> str:
        if self.at_the_end:
            return self.at_the_end
        whose = "the service" if self.service is None else f"the service {shortened(self.service, 80)!r}"
        if self.retry_after is None:
            return f"{whose} has refused it for now"
        return f"{whose} has refused it for {self.retry_after:g} s"


def _date_of(value: object) -> float | None:
    """A date as a header has it, in seconds since the epoch; None if it is none."""
    if not isinstance(value, str):
        return None
    # Few servers write dates.
    from runcue._model.http_headers import instant_of  # noqa: PLC0415

    return instant_of(value.strip())


def _seconds_of(value: object) -> float:
    """Seconds, also as a header has them: "12"."""
    what = "retry_after of Throttled"
    if isinstance(value, str):
        try:
            value = float(str.__str__(value))  # a subclass of str may do anything
        except ValueError:
            return parse_duration(value, what, zero=True)
    return parse_duration(value, what, zero=True)
