"""Who holds, and for how long, the slots that pending work units need: as data.

Lives here: `Holders`, all that hold slots, as of one question; `wanted_slots`.

Must not know: how that is put in words, how to change anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property
from operator import attrgetter
from typing import Any, NamedTuple

from runcue._explain.durations import usual_duration
from runcue._limits.keyed import KeyService
from runcue._limits.service import Service
from runcue._model.work import Work
from runcue._scheduling.core import Core
from runcue._scheduling.lines import services_for

__all__ = ["Holders", "Holding", "wanted_slots"]


class Holders:
    """The work units that hold slots at this moment, for one question: there may be thousands.

    Args:
        works: Gives these.
    """

    def __init__(self, works: Callable[[], Iterable[Work]]) -> None:
        self._works = works
        self._of: dict[Service, tuple[Work, ...]] = {}

    @cached_property
    def all(self) -> tuple[Work, ...]:
        """All of them."""
        return tuple(self._works())

    @cached_property
    def _lines(self) -> set[Any]:
        return {work._task.run_queue for work in self.all}

    def of(self, service: Service) -> tuple[Work, ...]:
        """Those that hold a slot of one service, or of one key of it."""
        found = self._of.get(service)
        if found is None:
            found = self._of[service] = self._look(service)
        return found

    def _look(self, service: Service) -> tuple[Work, ...]:
        # Not by asking each of them: they are of a few run queues.
        lines = self._lines
        if isinstance(service, KeyService):
            return tuple(work for one in lines if one.is_keyed for work in one.holds.holders_of(service))
        mine = {one for one in lines if service in one.services}
        if len(mine) == len(lines):
            return self.all
        return tuple([work for work in self.all if work._task.run_queue in mine])


class Holding(NamedTuple):
    """A service that is full, and who has its slots.

    Attributes:
        service: The service.
        holders: The work units whose handlers have not returned.
        oldest: The one of them that has run for longest.
        seconds: For how long that has.
        usual: How long the task of that one usually takes, in seconds; None if that is not known.
        where: Where its handler is at this moment; "" if that is not known.
        needed_by: The first pending work unit that needs a slot.
        others: How many more do.
    """

    service: Service
    holders: tuple[Work, ...]
    oldest: Work
    seconds: float
    usual: float | None
    where: str
    needed_by: Work
    others: int


def _nowhere(work: Work) -> str:
    return ""


def wanted_slots(
    core: Core,
    holders: Iterable[Work],
    wall: float,
    where_it_is: Callable[[Work], str] = _nowhere,
    *,
    of: Service | None = None,
) -> tuple[Holding, ...]:
    """Which handlers hold what pending work units need, for each full service.

    Args:
        core: The state.
        holders: The work units whose handlers have not returned.
        wall: Now, in seconds since the epoch.
        where_it_is: Says where a handler is.
        of: Of this service alone: all of them hold slots of it.
    """
    running = [work for work in holders if work.started_at is not None]
    found = []
    users: dict[Service, list[Work]] = {} if of is None else {of: running}
    for work in running if of is None else ():
        for service in services_for(work):
            users.setdefault(service, []).append(work)
    for service, mine in users.items():
        if service.has_slot():
            continue
        first, others = None, -1
        for run_queue in core.run_queues.values():
            head, number = run_queue.line_for(service)
            first = first or head
            others += number
        if first is not None and mine:
            oldest = min(mine, key=attrgetter("started_at"))
            seconds = max(0.0, wall - (oldest.started_at or wall))
            usual = usual_duration(core.history, oldest.task)
            where = where_it_is(oldest)
            found.append(Holding(service, tuple(mine), oldest, seconds, usual, where, first, others))
    return tuple(found)
