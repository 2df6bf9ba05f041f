"""A task that is defined anew while work units of it are pending: they are carried out by what it is now.

Lives here: `hand_over`.

Must not know: why it was defined anew, handlers, what is declared for it.
"""

from __future__ import annotations

from collections import deque

from runcue._model.phases import CHECKING, RUNNING
from runcue._model.task import Task
from runcue._model.work import Work
from runcue._scheduling.core import Core

__all__ = ["hand_over"]


def hand_over(core: Core, former: Task, task: Task) -> dict[Work, None]:
    """Let the pending work units of a task be those of what has taken its place, with its handler and services.

    What they declare stays what it was when they were submitted. A handler that runs comes to its end; so does, for a
    work unit that holds slots meanwhile which the new task does not use, the asking of an async gate.

    Args:
        core: The state.
        former: Not used for new work units any more.
        task: In its place from now on; it has its run queue.

    Returns:
        The work units that are its by that, as the keys of a dict.
    """
    same = former.run_queue is task.run_queue
    moved: dict[Work, None] = {}
    left = False
    for work in core.history:
        if work._task is former and work._phase <= RUNNING:
            if work._phase == RUNNING or (work._phase == CHECKING and not same):
                left = True
            else:
                work._task = task
                moved[work] = None
    task.waiting, former.waiting = former.waiting, deque()
    task.waiting_tombstones, former.waiting_tombstones = former.waiting_tombstones, 0
    task.gate_is_async = former.gate_is_async
    task.timed |= former.timed
    task.declares_per_work = former.declares_per_work
    task.learned_dependents.update(former.learned_dependents)
    for other in core.all_tasks:
        if former in other.learned_dependents:
            other.learned_dependents[task] = other.learned_dependents.pop(former)
    if not same:
        former.run_queue.hand_over(moved, task.run_queue)
    if not left:
        core.all_tasks.remove(former)
        task.add(former)
    core.generation += 1  # whatever the gate said was about the task as it was
    return moved
