"""What may put a turn off that is foretold: those who are not in the line yet, or take what is needed beside it.

Must not know: how a turn is foretold, words.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import islice
from typing import Final

from runcue._limits.service import Service
from runcue._model.phases import CHECKING, HELD, NOT_DUE, NOT_READY
from runcue._model.work import Work
from runcue._scheduling.appointments import begins_at
from runcue._scheduling.core import Core
from runcue._scheduling.lines import services_for
from runcue._scheduling.priority_queue import place_of
from runcue._scheduling.run_queue import RunQueue

__all__ = ["may_come_before", "may_come_in", "may_pass", "others_take"]

_LOOKED_AT: Final = 1000
"""So many work units, and so many run queues, are looked at; of more it is not known."""

_ASIDE: Final = (NOT_READY, CHECKING, HELD, NOT_DUE)
"""Who has not come into its line yet, or comes back to it."""


def may_come_before(core: Core, work: Work, until: float) -> bool:
    """Whether somebody who wants the same and does not stand in line may do so before a work unit.

    Whoever is not ready, or waits for its next attempt, then has the place of its submission.

    Args:
        core: The state.
        work: It stands in line.
        until: The monotonic instant of its turn.
    """
    aside = sum(core.count[phase] for phase in _ASIDE)
    if not aside:
        return False
    place, services = place_of(work), set(services_for(work))
    queue: RunQueue = work._task.run_queue
    # By depth, or by priorities, it may get an earlier place than that of its submission.
    unknown = core.ordered or type(core) is not Core
    # Of most it is seen by their run queue that they want something else.
    sharing = {queue, *queue.contenders}
    for one in islice(core.history, _LOOKED_AT):
        if one is work and not unknown:
            return False
        if one._phase not in _ASIDE:
            continue
        aside -= 1
        if (
            one._task.run_queue in sharing
            and _is_before(one, None if unknown else place, core, until)
            and not services.isdisjoint(services_for(one))
        ):
            return True
        if not aside:
            return False
    return True


def _is_before(one: Work, place: tuple[float, int] | None, core: Core, until: float) -> bool:
    """Whether one that stands in no line may come before a place; None: that may be, whatever the place."""
    if place is not None and (one in core.appointments.works or place_of(one) >= place):
        return False  # what is for later comes as if it was submitted then
    return one._phase != NOT_DUE or begins_at(one) < until


def others_take(queue: RunQueue, slowest: Sequence[Service]) -> bool:
    """Whether there are others who may take what a run queue needs while it waits for some of its services.

    Args:
        queue: The run queue.
        slowest: Those, none of which these need.
    """
    if len(queue.services) < 2:
        return False
    return len(queue.contenders) > _LOOKED_AT or any(
        one.backlog() and not any(service in one.services for service in slowest) for one in queue.contenders
    )


def may_come_in(work: Work, counted: Collection[RunQueue]) -> bool:
    """Whether some stand before a work unit that were not counted, since they need something besides that is used up.

    Args:
        work: It stands in line.
        counted: The run queues of which those before it were counted.
    """
    queue: RunQueue = work._task.run_queue
    place = place_of(work)
    return len(queue.contenders) > _LOOKED_AT or any(
        one not in counted and (head := one.peek(ordered=False)) is not None and place_of(head) < place
        for one in queue.contenders
    )


def may_pass(queue: RunQueue, before: Sequence[RunQueue]) -> bool:
    """Whether a work unit may pass some of those ahead of it, in these run queues: they need something besides."""
    return any(service not in queue.services for one in before for service in one.services)
