"""Whom a work unit stands in line with, and for what.

Lives here: `services_for`, `uses` and `line_of`, for whoever has a work unit and not its run queue.

Must not know: order, limits.
"""

from __future__ import annotations

from collections.abc import Hashable

from runcue._limits.service import Service
from runcue._model.work import Work
from runcue._scheduling.run_queue import RunQueue

__all__ = ["line_of", "services_for", "uses"]


def services_for(work: Work) -> tuple[Service, ...]:
    """The services that a work unit takes, or holds; see `RunQueue.services_for`."""
    run_queue: RunQueue = work._task.run_queue
    return run_queue.services_for(work)


def uses(work: Work, service: Service) -> bool:
    """Whether a work unit takes, or holds, something of a service, or of one key of it: of thousands that is asked."""
    run_queue = work._task.run_queue
    return service in run_queue.services or (run_queue.is_keyed and service in run_queue.holds.keys_of(work))


def line_of(work: Work) -> Hashable:
    """What is the same for all that stand in one line, where the first keeps the others from starting."""
    return work._task.run_queue if work._keyed is None else (work._task.run_queue, work._keyed)
