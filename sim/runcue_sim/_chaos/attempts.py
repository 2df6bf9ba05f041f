"""Judging attempts: whether one may start, whether it may be the last, whether it takes too long.

Lives here: functions that say what is wrong, as a promise and a sentence, or nothing.

Must not know: what becomes of a violation, who listens.
"""

from __future__ import annotations

from typing import TypeAlias

import runcue
from runcue_sim._chaos.observations import Observations
from runcue_sim._chaos.observed_work import BY_WALL, ROUNDING, ObservedWork, Start
from runcue_sim._chaos.refusals import FIRST_WAIT, stays_away

Objection: TypeAlias = tuple[str, str] | None
"""The name of a promise, and how it was broken."""


def of_start(now: float, work: ObservedWork, attempt: int | None, *, resumes: bool | None) -> Objection:
    """A handler is about to be entered."""
    if work.started is not None or work.ended:
        was = work.ended or "started"
        return "once", f"{work} starts at {now:g} although it has {was} before"
    if now < work.may_start:
        return "early", f"{work} starts at {now:g}, {work.may_start - now:.3g} s before its time"
    if work.is_sure and now > work.latest + ROUNDING:
        late = now - work.latest
        return (
            "attempts",
            f"{work} starts at {now:g}, {late:.3g} s after its policy allows no further attempt",
        )
    if attempt is not None and work.is_sure and attempt != work.attempt:
        return "attempts", f"{work} starts with attempt {attempt} at {now:g}; it is attempt {work.attempt}"
    if resumes is not None and work.is_sure and resumes != work.is_resumed:
        said = "the same attempt as before" if resumes else "a new attempt"
        return "attempts", f"{work} starts at {now:g} with what is said to be {said}, and is not"
    return None


def of_end(now: float, work: ObservedWork, start: Start | None, error: BaseException) -> Objection:
    """A work unit has failed: whether its policy allows that."""
    policy = work.wish.policy
    if not work.is_sure:
        return None
    if start is None:
        if now >= work.latest - ROUNDING:
            return None
        return "cause", f"{work} fails at {now:g}, and does not run: {type(error).__name__}: {error}"
    seconds = None if policy is None else policy.after(work.attempt, error, _elapsed(now, work, start))
    if policy is None or seconds is None or _has_outlasted(now, work, start, error):
        return None
    last = f"attempt {work.attempt}" + (f" of {policy.attempts}" if policy.attempts > 0 else "")
    return "attempts", f"{work} fails for good at {now:g} with {last}, and was to try again in {seconds:g} s"


def _elapsed(now: float, work: ObservedWork, start: Start | None) -> float:
    """Seconds since the first attempt of a work unit began."""
    began = work.began if work.began is not None else now if start is None else start.at
    return now - began


def _has_outlasted(now: float, work: ObservedWork, start: Start, error: BaseException) -> bool:
    """Whether the handler of an attempt that has run out of time has not returned in as much time again."""
    limit = work.timeout
    timed_out = isinstance(error, runcue.WorkTimeout) and limit is not None
    return timed_out and not work.left and now >= start.at + 2 * (limit or 0.0) - ROUNDING


def of_repetition(
    now: float, observed: Observations, work: ObservedWork, start: Start | None, reason: str
) -> Objection:
    """A work unit is put back: whether somebody has asked for that."""
    if work.ended:
        return "once", f"{work} is put back at {now:g} although it has {work.ended} before"
    if not work.is_sure:
        return None  # the handler and the error may be those of another one, in whose place it is
    if work.started is None:
        return "attempts", f"{work} is put back at {now:g}, and does not run"
    if not work.left:
        return "once", f"{work} is put back at {now:g} while its handler is at work"
    if reason == "throttled":
        if work.id not in observed.injected.refused:
            return "attempts", f"{work} is put back at {now:g} as refused, and its handler was not"
    elif reason == "postponed":
        if work.id not in observed.injected.postponed:
            return (
                "attempts",
                f"{work} is postponed at {now:g}, and its handler did not ask for that",
            )
    elif reason == "throttled":
        if work.id not in observed.injected.refused:
            return "attempts", f"{work} is put back at {now:g} as refused, and no server has refused it"
    elif work.error is None:
        return "attempts", f"{work} is put back at {now:g}, and no attempt of it was heard to fail"
    elif _wait(now, work, start) is None:
        return (
            "attempts",
            f"{work} is tried again after attempt {work.attempt} at {now:g}, which was its last",
        )
    return None


def _wait(now: float, work: ObservedWork, start: Start | None) -> float | None:
    """Seconds that an attempt of a work unit is followed after by the next one; None: it was the last."""
    policy, error = work.wish.policy, work.error
    if policy is None or error is None:
        return None
    if isinstance(error, runcue.WorkTimeout) and start is not None and work.timeout is not None:
        # It was decided when that was noticed, at the earliest, and the handler has returned since.
        now = min(now, start.at + work.timeout)
    return policy.after(work.attempt, error, _elapsed(now, work, start))


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
    seconds = None
    work.gives_way = False
    if reason == "throttled":
        name, seconds = observed.injected.refused.pop(work.id, (work.duty.services[-1], None))
        refusals = observed.refusals[work.places[work.duty.services.index(name)]]
        if start is None or not work.is_sure or observed.injected.blocks:
            # Callbacks that block take time between what happens and what is heard of it. And its service need not
            # pause for as long as it stays away.
            work.gives_way = True
            if seconds is None and not refusals.has_begun_before(work):
                seconds = FIRST_WAIT
            refusals.refused(now, work, None if seconds is None else min(delay, seconds), None)
        else:
            number = work.refusals + 1
            work.gives_way = number > 1 or refusals.goes_first(now, work)
            at = refusals.refused(now, work, seconds, now - start.at)
            if refusals.is_sure:
                most = stays_away(number, at - now)
                return _of_delay(work, delay, at - now, at - now + most), now + delay, 0.0
        return None, now + delay, BY_WALL
    if reason == "postponed":
        seconds = observed.injected.postponed.pop(work.id, None)
    elif work.is_sure and reason == "failed":
        seconds = _wait(now, work, start)
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


def of_running(now: float, start: Start) -> Objection:
    """Whether a handler has had its time."""
    work = start.work
    limit, policy = work.timeout, work.wish.policy
    if limit is None or now < start.at + limit:
        return None
    start.over = min(start.over, now)
    late = runcue.WorkTimeout("")
    # It was decided when that was noticed, which may have been then, whenever time was about to pass again.
    elapsed = _elapsed(start.at + limit, work, start)
    if (
        policy is not None
        and policy.after(work.attempt, late, elapsed) is not None
        and now < start.over + limit
    ):
        return None  # it has as much time again to return
    ran = now - start.at
    return "timeout", f"{work} still runs after {ran:g} s, its timeout is {limit:g} s"


def of_waiting(now: float, observed: Observations, work: ObservedWork) -> Objection:
    """Whether the next attempt of a work unit that waits for it can still begin in time."""
    # An async gate that was asked at the last instant may say yes at that same instant.
    is_asked = now <= work.latest + ROUNDING and work.id in observed.injected.awaited
    if now < work.latest or is_asked:
        return None
    return (
        "attempts",
        f"{work} still waits at {now:g}, and its policy allows no attempt after {work.latest:g}",
    )
