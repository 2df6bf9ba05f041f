"""Judging lanes: whether somebody else has the lane of a work unit, or comes before it there.

Whoever takes the place of another one that made the same has that one's place in their lane. What has taken which place
cannot be told from outside; so the first that made the same counts, which may be too early, and never too late.

Lives here: functions of what has been observed.

Must not know: what becomes of a violation, who listens.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from runcue_sim._chaos.invariants import Violation
from runcue_sim._chaos.observed_work import ObservedWork, broken

__all__ = ["comes_first", "in_its_turn", "is_behind"]


def _others(works: Iterable[ObservedWork], work: ObservedWork) -> Iterator[ObservedWork]:
    """Those in the lane of a work unit that have not ended, or whose handlers have not."""
    for one in works:
        if one.wish.lane == work.wish.lane and one is not work and (not one.ended or _is_at_work(one)):
            yield one


def _is_at_work(work: ObservedWork) -> bool:
    return work.started is not None and not work.left


def _first_of(works: Iterable[ObservedWork], work: ObservedWork) -> int:
    """The number of the first that was submitted of the same."""
    return min(one.number for one in works if (one.task, one.item) == (work.task, work.item))


def in_its_turn(now: float, works: Iterable[ObservedWork], work: ObservedWork) -> Violation | None:
    """Whether it is the turn of a work unit that starts."""
    if work.wish.lane is None:
        return None
    works = tuple(works)
    first = _first_of(works, work)
    for one in _others(works, work):
        if _is_at_work(one):
            text = f"{work} starts at {now:g}, while {one} is at work in lane {work.wish.lane!r}"
            return broken("lane", text, work, one)
        if one.number < first and one.task + one.item != work.task + work.item:
            text = f"{work} starts at {now:g} before {one}, which comes first in lane {work.wish.lane!r}"
            return broken("lane", text, work, one)
    return None


def is_behind(works: Iterable[ObservedWork], work: ObservedWork) -> bool:
    """Whether somebody may have the lane of a pending work unit, or come before it there."""
    if work.wish.lane is None:
        return False
    works = tuple(works)
    return any(_is_at_work(one) or comes_first(works, one, work) for one in _others(works, work))


def comes_first(works: Iterable[ObservedWork], one: ObservedWork, work: ObservedWork) -> bool:
    """Whether one may come before another work unit in the same lane, or have done so as long as it had not ended."""
    lane = work.wish.lane
    return lane is not None and one.wish.lane == lane and _first_of(works, one) < work.number
