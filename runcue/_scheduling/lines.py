"""Whom a work unit stands in line with, and for what.

Lives here: `services_for` and `line_of`, for whoever has a work unit and not its run queue.

Must not know: order, limits.
"""

from __future__ import annotations

from collections.abc import Hashable

from runcue._limits.service import Service
from runcue._model.work import Work
from runcue._scheduling.run_queue import RunQueue

__all__ = ["line_of", "services_for"]


def services_for(work: Work) -> tuple[Service, ...]:
    """The services that a work unit takes, or holds; see `RunQueue.services_for`."""
    run_queue: RunQueue = work._task.run_queue
    return run_queue.services_for(work)


def line_of(work: Work) -> Hashable:
    """What is the same for all that stand in one line, where the first keeps the others from starting."""
    return work._task.run_queue if work._keyed is None else (work._task.run_queue, work._keyed)
