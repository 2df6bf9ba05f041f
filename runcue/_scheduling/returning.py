"""Work units whose attempt has ended in "again at this instant": put back until then, and taken back.

Lives here: what that means in the core. The instants themselves are in `Core.returning`.

Must not know: why there is another attempt (`retry`), clocks, timers.
"""

from __future__ import annotations

from math import inf

from runcue._model.attempts import Again
from runcue._model.errors import InvalidTransition
from runcue._model.phases import NEW, NOT_DUE, RUNNING
from runcue._model.work import Work
from runcue._scheduling.coalescing import all_that_come_again
from runcue._scheduling.core import Core
from runcue._scheduling.giving_way import goes_on_at, look_again

__all__ = ["put_back", "take_back"]


def put_back(core: Core, work: Work, again: Again, now: float) -> None:
    """Let a running work unit, whose handler has ended and whose slots are free, wait for its next attempt."""
    assert again.at < inf, "it would never come back"
    if work._phase != RUNNING:
        raise InvalidTransition(f"{work!r} does not run, and cannot be put back.")
    core.move(work, NOT_DUE)
    work._phase_since = core.progressed_at = now
    work.attempt += again.counts
    work._not_ready_reason = work._runner = None
    core.generation += 1  # whatever the gate said was about the attempt that has ended
    core.returning.set(work, again.at)
    if core.came_back is not None:
        core.came_back.append(work)
    declared = work._declared
    if declared is not None:
        core.appointments.clear(work)
        declared.committed = False
        core.wakeups.pause(work, declared)
    for one in all_that_come_again(work, again):
        one.attempt = work.attempt
        core.age(one)


def take_back(core: Core, now: float, most: float = inf) -> int:
    """Let so many work units at most whose next attempt is due stand in line again, unasked. Returns how many.

    Each has the place that it had, by its key and number (rule 6): at the end of the line it would be overtaken by
    all that came since, for each attempt anew. What that costs the others is bounded by the delay.
    """
    if core.giving_way:
        look_again(core, now)
    taken = 0
    while taken < most and (work := core.returning.pop_due(now)) is not None:
        taken += 1
        if (at := goes_on_at(core, work, now)) > now:  # others go first
            core.returning.set(work, at)
            continue
        core.giving_way.pop(work, None)
        core.move(work, NEW)
        if (declared := work._declared) is None or not core.hold_if_being_made(work, declared, now):
            work._task.run_queue.take_back(work)
    return taken
