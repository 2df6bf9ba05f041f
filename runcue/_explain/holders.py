"""Who holds what others need, in words: those who wait for each other, and those who merely run for long.

Must not know: how it is found out.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from itertools import islice
from math import inf
from typing import Final

from runcue._explain.reasons import reason_of
from runcue._limits.service import Service
from runcue._model.phases import CHECKING, HELD, JOINED, RUNNING
from runcue._model.texts import listed, name_of, seconds_in_words
from runcue._model.work import Work
from runcue._scheduling.core import Core
from runcue._scheduling.knots import Knot

__all__ = ["describe_knot", "short_of_knot", "wanted_slots"]


# What waits for a slot stands in a line with others.
_BY_THEMSELVES: Final = (HELD, JOINED, CHECKING)


def describe_knot(knot: Knot, now: float, wall: float) -> str:
    """What is wrong, who waits for what, who holds what that needs, and the way out.

    Args:
        knot: Those who wait for each other.
        now: Monotonic.
        wall: The same instant in seconds since the epoch.
    """
    what = "Deadlock" if knot.is_proven else _tied_until(knot, now, wall)
    links = [*_waits_of(knot), *_needs_of(knot, now)]
    return f"{what}: {listed(links, 6, '; ')}. {_way_out(knot)}"


def short_of_knot(knot: Knot) -> str:
    """Who waits for what, as what follows the reason of one that cannot run because of that."""
    return f"{listed(_waits_of(knot), 3, '; ')} ({'deadlock' if knot.is_proven else 'it ends by itself'})"


def _waits_of(knot: Knot) -> list[str]:
    waits = [
        f"{waiter.name} waits for {listed(map(name_of, works), 3)}"
        for waiter, works in islice(knot.waits.items(), 3)
    ]
    return waits + ([f"and {len(knot.waits) - 3} more wait likewise"] if len(knot.waits) > 3 else [])


def _needs_of(knot: Knot, now: float) -> list[str]:
    """What the pending work units in a knot need, and who has it."""
    # Those who stand in one line need the same.
    lines: dict[object, list[Work]] = {}
    for work in knot.works:
        if work._phase < RUNNING:
            line = work if work._phase in _BY_THEMSELVES else work._task.run_queue
            lines.setdefault(line, []).append(work)
    alike: dict[str, list[Work]] = {}
    for works in lines.values():
        alike.setdefault(_need_of(works[0], knot, now), []).extend(works)
    return [
        f"{listed(map(name_of, works), 3)} {'needs' if len(works) == 1 else 'need'} {what}"
        for what, works in alike.items()
    ]


def _need_of(work: Work, knot: Knot, now: float) -> str:
    if work._phase == CHECKING:
        return "the answer of a gate"
    found = []
    for service in work._task.run_queue.services if work._phase not in _BY_THEMSELVES else ():
        if service in knot.services:
            holders = listed(
                waiter.name
                for waiter in knot.waits
                if waiter.work is not None
                and waiter.kind != "listener"
                and service in waiter.work._task.run_queue.services
            )
            found.append(f"a slot ({service.name}: all {service.concurrent} slots in use, held by {holders})")
    if found:
        return " and ".join(found)
    reason = reason_of(work, now)
    return "the end of one that waits" if reason is None else f"something else first ({reason.details})"


def _way_out(knot: Knot) -> str:
    if knot.services:
        names = listed(service.name for service in knot.services)
        more = " and ".join(dict.fromkeys(map(_more, knot.services)))
        return (
            f"Give {names} more slots ({more}), or do not wait in a slot for what needs one: submit and return, or "
            f"wait in a task that does not use {names}"
        )
    if any(work._phase == HELD for work in knot.works):
        return "Who makes what another needs must not wait for it: submit and return"
    if any(work._phase == JOINED for work in knot.works):
        return "Who wants the same has joined it, and settles with it: do not wait for it, or give it another key"
    if any(work._phase == CHECKING for work in knot.works):
        return "A gate must not wait for who waits for its answer: say no, and it is asked again"
    return "One of them has to return without waiting for the others: submit and return"


def _more(service: Service) -> str:
    return "Cue(max_threads=)" if service.name == "threads" else "concurrent="


def _tied_until(knot: Knot, now: float, wall: float) -> str:
    """Who waits for itself, and until when."""
    names = [waiter.name for waiter in knot.waits]
    who = f"{names[0]} waits for itself" if len(names) == 1 else f"{listed(names, 3)} wait for each other"
    if knot.until == inf:
        return f"{who} until {knot.by} lets it go on"
    seconds = max(0.0, knot.until - now)
    clock = time.strftime("%H:%M:%S", time.localtime(wall + seconds))
    return f"{who} until {clock} (in {seconds_in_words(round(seconds, 1))})"


def _held_for_long(holders: Sequence[Work], needed_by: Work, others: int, wall: float) -> str:
    """That some have run for so long and hold the slots that others need.

    Args:
        holders: Whose handlers have not returned.
        needed_by: A pending work unit that needs one.
        others: How many more do.
        wall: Now, in seconds since the epoch.
    """
    seconds = max(wall - (work.started_at or wall) for work in holders)
    span = seconds_in_words(round(max(0.0, seconds), 0 if seconds >= 10 else 1))
    who, whom = listed(map(name_of, holders), 3), name_of(needed_by)
    whom += f" and {others} more need" if others else " needs"
    if len(holders) == 1:
        return f"{who} has run for {span} and holds the slot that {whom}"
    return f"{who} have run for up to {span} and hold the slots that {whom}"


def wanted_slots(
    core: Core, holders: Iterable[Work], wall: float, *, only: Service | None = None
) -> list[str]:
    """Which handlers hold, and for how long, what pending work units need: in words, for each full service.

    Args:
        core: The state.
        holders: The work units whose handlers have not returned.
        wall: Now, in seconds since the epoch.
        only: Of this service alone.
    """
    running = [work for work in holders if work.started_at is not None]
    found = []
    for service in dict.fromkeys(one for work in running for one in work._task.run_queue.services):
        if service.has_slot() or only not in (None, service):
            continue
        first, others = None, -1
        for run_queue in core.run_queues.values():
            if service in run_queue.services and (work := run_queue.peek(ordered=False)) is not None:
                first = first or work
                others += run_queue.backlog()
        if first is not None:
            mine = [work for work in running if service in work._task.run_queue.services]
            found.append(_held_for_long(mine, first, others, wall))
    return found
