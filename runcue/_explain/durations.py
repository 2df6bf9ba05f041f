"""How long the handlers of a task usually take, from those that the cue still knows.

Nothing is written down for this while work runs: each work unit bears when it was started and when it settled.

Must not know: who wants to know, words.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Final

from runcue._model.phases import COMPLETED
from runcue._scheduling.history import History

__all__ = ["usual_duration", "usual_durations"]

_LOOKED_AT: Final = 10_000
_ENOUGH: Final = 101


def usual_duration(history: History, task: str) -> float | None:
    """The median of the last runs of a task that have succeeded, in seconds; None if there is none.

    Args:
        history: The work units that are known.
        task: The name of the task.
    """
    return usual_durations(history, (task,)).get(task)


def usual_durations(history: History, tasks: Iterable[str]) -> dict[str, float]:
    """The same of several tasks; those of which nothing is known are not in it."""
    found: dict[str, list[float]] = {task: [] for task in tasks}
    wanted = len(found)
    for work in islice(reversed(history.line), _LOOKED_AT):
        if work._outcome == COMPLETED and work.task in found and work.started_at is not None:
            lasted = found[work.task]
            if len(lasted) < _ENOUGH:
                lasted.append(max(0.0, (work.completed_at or work.started_at) - work.started_at))
                wanted -= len(lasted) == _ENOUGH
                if not wanted:
                    break
    return {task: sorted(lasted)[len(lasted) // 2] for task, lasted in found.items() if lasted}
