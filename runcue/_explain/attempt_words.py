"""Attempts in words: which one it is, of how many, after what, and until when a work unit must not start.

Must not know: how reasons are found.
"""

from __future__ import annotations

from typing import Final

from runcue._explain.time_words import clock_in_words, duration_in_words
from runcue._model.attempts import Again, Attempts
from runcue._model.texts import clause_of, error_words, shortened
from runcue._model.work import Work
from runcue._scheduling.retry import Retry, policy_of

__all__ = [
    "after_what",
    "attempt_of",
    "ended_with",
    "last_error",
    "not_before",
    "throttled_by",
    "with_attempt",
]

_LONGEST_ERROR: Final = 200


def attempt_of(work: Work, further: int = 0) -> str:
    """The attempt that a work unit is in or waits for, such as "attempt 3 of 5"; of how many, where that is known.

    Args:
        work: The work unit.
        further: So many after that one.
    """
    policy, number = policy_of(work), work.attempt + further
    most = policy.attempts if isinstance(policy, Retry) else 0
    return f"attempt {number} of {most}" if most >= number else f"attempt {number}"


def last_error(work: Work) -> BaseException | None:
    """With what the last attempt of a work unit has ended; None if none has failed."""
    attempts: Attempts | None = work._attempts
    return attempts.ended[-1].error if attempts is not None and attempts.ended else None


def after_what(work: Work) -> str:
    """Why there is another attempt, as what follows it: ", after TimeoutError: no answer"; "" if there is no such."""
    error = last_error(work)
    return "" if error is None else f", after {shortened(clause_of(error_words(error)), _LONGEST_ERROR)}"


def not_before(work: Work, until: float, now: float, wall: float) -> str:
    """What a work unit waits for that must not start before an instant.

    Args:
        work: The work unit.
        until: That instant, monotonic.
        now: Monotonic.
        wall: The same instant in seconds since the epoch.
    """
    attempts: Attempts | None = work._attempts
    assert attempts is not None
    seconds = max(0.0, until - now)
    when = f"in {duration_in_words(seconds)}"
    if attempts.again.after_failure:
        return f"{attempt_of(work)} {when}{after_what(work)}"
    at = f"at {clock_in_words(wall + seconds, wall)}, {when}"
    if attempts.again.is_postponed:
        return f"its handler has postponed it by RetryLater; it goes on {at}"
    if attempts.again.is_throttled:
        return f"{throttled_by(attempts.again)}; it goes on {at}"
    return f"it is for later, {at}"


def throttled_by(again: Again) -> str:
    """That a server has refused a work unit, how often in a row, and of which service it is the server."""
    throttles = again.throttles
    often = "" if throttles.in_a_row <= 1 else f" {throttles.in_a_row} times in a row"
    return f"service {shortened(throttles.service, 80)} has refused it for now{often}"


def with_attempt(work: Work) -> str:
    """What is said besides of one that has been tried before, and is pending or running; "" of all others."""
    attempts: Attempts | None = work._attempts
    if attempts is not None and attempts.overrun is not None:
        return f"its time is over, and {attempt_of(work, 1)} waits until its handler has returned"
    if attempts is None or not attempts.ended:
        return ""
    return f"it is {attempt_of(work)}{after_what(work)}"


def ended_with(work: Work) -> str:
    """Which attempt of a settled work unit was the last, or did not begin any more; "" if it had but one."""
    attempts: Attempts | None = work._attempts
    if work.attempt <= 1 or attempts is None or not attempts.ended:
        return ""
    last = attempts.ended[-1].number
    if last == work.attempt or attempts.again.is_same_attempt:
        return f"that was {attempt_of(work)}"
    if work._declared is not None and work._declared.leader is not None and work.started_at is None:
        # It had joined another one, which may have been in that attempt.
        return f"that was after {attempt_of(work, last - work.attempt)}"
    return f"that was before {attempt_of(work)}"
