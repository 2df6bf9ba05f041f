"""Those who wait for each other although some of them run, in words: who waits for what, what is needed, the way out.

Must not know: how they are found.
"""

from __future__ import annotations

from itertools import islice
from math import inf
from typing import Final

from runcue._explain.phrases import phrases_of
from runcue._explain.reasons import reason_of
from runcue._explain.time_words import clock_in_words
from runcue._model.phases import CHECKING, HELD, JOINED, RUNNING
from runcue._model.texts import listed, name_of, seconds_in_words
from runcue._model.work import Work
from runcue._scheduling.knots import Knot
from runcue._scheduling.lanes import is_behind_in_lane
from runcue._scheduling.lines import line_of, services_for

__all__ = ["knot_in_short", "knot_in_words"]

# What waits for a slot stands in a line with others.
_BY_THEMSELVES: Final = (HELD, JOINED, CHECKING)


def knot_in_words(knot: Knot, now: float, wall: float) -> str:
    """What is wrong, who waits for what, and who holds what that needs; what to do about it is told by `next_steps`.

    Args:
        knot: Those who wait for each other.
        now: Monotonic.
        wall: The same instant in seconds since the epoch.
    """
    what = "Deadlock" if knot.is_proven else _tied_until(knot, now, wall)
    links = [*_waits_of(knot), *_needs_of(knot, now, wall)]
    return f"{what}: {listed(links, 6, '; ')}"


def knot_in_short(knot: Knot) -> str:
    """Who waits for what, as what follows the reason of one that cannot run because of that."""
    if knot.is_proven:
        what = "deadlock"
    elif knot.until < inf:
        what = "it ends by itself"
    else:
        what = f"for ever, unless {knot.by} lets it go on"
    return f"{listed(_waits_of(knot), 3, '; ')} ({what})"


def _waits_of(knot: Knot) -> list[str]:
    waits = [
        f"{waiter.name} waits for {listed(map(name_of, works), 3)}"
        for waiter, works in islice(knot.waits.items(), 3)
    ]
    return waits + ([f"and {len(knot.waits) - 3} more wait likewise"] if len(knot.waits) > 3 else [])


def _needs_of(knot: Knot, now: float, wall: float) -> list[str]:
    """What the pending work units in a knot need, and who has it."""
    # Those who stand in one line need the same.
    lines: dict[object, list[Work]] = {}
    for work in knot.works:
        if work._phase < RUNNING:
            line = work if work._phase in _BY_THEMSELVES else line_of(work)
            lines.setdefault(line, []).append(work)
    alike: dict[str, list[Work]] = {}
    for works in lines.values():
        alike.setdefault(_need_of(works[0], knot, now, wall), []).extend(works)
    return [
        f"{listed(map(name_of, works), 3)} {'needs' if len(works) == 1 else 'need'} {what}"
        for what, works in alike.items()
    ]


def _need_of(work: Work, knot: Knot, now: float, wall: float) -> str:
    if work._phase == CHECKING:
        return "the answer of a gate"
    if is_behind_in_lane(work):
        lane = work._declared.lane  # type: ignore[union-attr]
        return f"the lane {lane!r}, which {name_of(lane.head)} has"
    found = []
    for service in services_for(work) if work._phase not in _BY_THEMSELVES else ():
        if service in knot.services:
            holders = listed(
                waiter.name
                for waiter in knot.waits
                if waiter.work is not None
                and waiter.kind != "listener"
                and service in services_for(waiter.work)
            )
            found.append(f"a slot ({service.full_text}, held by {holders})")
    if found:
        return " and ".join(found)
    reason = reason_of(work, now)
    if reason is None:
        return "the end of one of those that wait"
    return f"something else first ({phrases_of(reason, now, wall)})"


def _tied_until(knot: Knot, now: float, wall: float) -> str:
    """Who waits for itself, and until when."""
    names = [waiter.name for waiter in knot.waits]
    who = f"{names[0]} waits for itself" if len(names) == 1 else f"{listed(names, 3)} wait for each other"
    if knot.until == inf:
        return f"{who} until {knot.by} lets it go on, or for ever"
    seconds = max(0.0, knot.until - now)
    return f"{who} until {clock_in_words(wall + seconds, wall)} (in {seconds_in_words(round(seconds, 1))})"
