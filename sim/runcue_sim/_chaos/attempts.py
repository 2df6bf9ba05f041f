"""Judging attempts: whether one may start, whether it may be the last, whether it takes too long.

Lives here: functions that say what is wrong, as a promise and a sentence, or nothing.

Must not know: what becomes of a violation, who listens.
"""

from __future__ import annotations

from typing import TypeAlias

import runcue
from runcue_sim._chaos.observations import BY_WALL, ROUNDING, Observations, ObservedWork, Start

Objection: TypeAlias = tuple[str, str] | None
"""The name of a promise, and how it was broken."""


def of_start(now: float, work: ObservedWork, attempt: int | None, *, resumes: bool | None) -> Objection:
    """A handler is about to be entered."""
    if work.started is not None or work.ended:
        was = work.ended or "started"
        return "once", f"{work} starts at {now:g} although it has {was} before"
    if now < work.may_start:
        return "early", f"{work} starts at {now:g}, {work.may_start - now:.3g} s before its time"
    if attempt is not None and not work.joinable and attempt != work.attempt:
        return "attempts", f"{work} starts with attempt {attempt} at {now:g}; it is attempt {work.attempt}"
    if resumes is not None and not work.joinable and resumes != work.is_resumed:
        said = "the same attempt as before" if resumes else "a new attempt"
        return "attempts", f"{work} starts at {now:g} with what is said to be {said}, and is not"
    return None


def of_end(now: float, work: ObservedWork, start: Start | None, error: BaseException) -> Objection:
    """A work unit has failed: whether its policy allows that."""
    policy = work.wish.policy
    if policy is None or work.joinable or start is None:
        return None
    seconds = policy.after(work.attempt, error)
    if seconds is None or _has_outlasted(now, work, start, error):
        return None
    last = f"attempt {work.attempt} of {policy.attempts}"
    return "attempts", f"{work} fails for good at {now:g} with {last}, and was to try again in {seconds:g} s"


def _has_outlasted(now: float, work: ObservedWork, start: Start, error: BaseException) -> bool:
    """Whether the handler of an attempt that has run out of time has not returned in as much time again."""
    limit = work.timeout
    timed_out = isinstance(error, runcue.WorkTimeout) and limit is not None
    return timed_out and not work.left and now >= start.at + 2 * (limit or 0.0) - ROUNDING


def of_repetition(now: float, observed: Observations, work: ObservedWork, reason: str) -> Objection:
    """A work unit is put back: whether somebody has asked for that."""
    if work.ended:
        return "once", f"{work} is put back at {now:g} although it has {work.ended} before"
    if work.joinable:
        return None  # the handler and the error may be those of another one, in whose place it is
    if work.started is None:
        return "attempts", f"{work} is put back at {now:g}, and does not run"
    if not work.left:
        return "once", f"{work} is put back at {now:g} while its handler is at work"
    if reason == "postponed":
        if work.id not in observed.injected.postponed:
            return (
                "attempts",
                f"{work} is postponed at {now:g}, and its handler did not ask for that",
            )
    elif work.error is None:
        return "attempts", f"{work} is put back at {now:g}, and no attempt of it was heard to fail"
    elif work.wish.policy is None or work.wish.policy.after(work.attempt, work.error) is None:
        return (
            "attempts",
            f"{work} is tried again after attempt {work.attempt} at {now:g}, which was its last",
        )
    return None


def of_wait(
    now: float, observed: Observations, work: ObservedWork, start: Start | None, reason: str, delay: float
) -> tuple[Objection, float, float]:
    """When a work unit that is put back may start.

    Args:
        now: The instant.
        observed: What was seen.
        work: The work unit.
        start: Of the attempt that is over.
        reason: As it was told.
        delay: Likewise.

    Returns:
        What is wrong with that; the instant, and how exactly it is known.
    """
    policy, seconds = work.wish.policy, None
    if reason == "postponed":
        seconds = observed.injected.postponed.pop(work.id, None)
    elif policy is not None and work.error is not None and not work.joinable:
        seconds = policy.after(work.attempt, work.error)
    if seconds is None:
        return None, now + delay, BY_WALL
    if isinstance(work.error, runcue.WorkTimeout) and reason != "postponed":
        # It counts from the instant at which that was noticed, however late that was; now its handler has returned.
        last = now if start is None else min(now, start.over)
        first = last if start is None or work.timeout is None else min(last, start.at + work.timeout)
        early, late = (max(0.0, over + seconds - now) for over in (first, last))
        return _of_delay(work, delay, early, late), now + delay, BY_WALL
    return _of_delay(work, delay, seconds, seconds), now + seconds, 0.0


def _of_delay(work: ObservedWork, told: float, early: float, late: float) -> Objection:
    if early - ROUNDING <= told <= late + ROUNDING:
        return None
    return "attempts", f"{work} is to start in {told:g} s, and was to in {late:g} s"


def is_of_joined(work: ObservedWork, error: BaseException) -> bool:
    """Whether a time-out is that of the work unit that another one, which has none, has joined."""
    joined = work.joined
    return isinstance(error, runcue.WorkTimeout) and joined is not None and joined.timeout is not None


def of_running(now: float, start: Start) -> Objection:
    """Whether a handler has had its time."""
    work = start.work
    limit, policy = work.timeout, work.wish.policy
    if limit is None or now < start.at + limit:
        return None
    start.over = min(start.over, now)
    late = runcue.WorkTimeout("")
    if policy is not None and policy.after(work.attempt, late) is not None and now < start.over + limit:
        return None  # it has as much time again to return
    ran = now - start.at
    return "timeout", f"{work} still runs after {ran:g} s, its timeout is {limit:g} s"
