"""How long the handlers of a task usually take, from those that the cue still knows.

Nothing is written down for this while work runs: each work unit bears when it was started and when it settled.

Must not know: who wants to know, words.
"""

from __future__ import annotations

from itertools import islice
from typing import Final

from runcue._model.phases import COMPLETED
from runcue._scheduling.history import History

__all__ = ["usual_duration"]

_LOOKED_AT: Final = 10_000
_ENOUGH: Final = 101


def usual_duration(history: History, task: str) -> float | None:
    """The median of the last runs of a task that have succeeded, in seconds; None if there is none.

    Args:
        history: The work units that are known.
        task: The name of the task.
    """
    found: list[float] = []
    for work in islice(reversed(history.line), _LOOKED_AT):
        if work.task == task and work._outcome == COMPLETED and work.started_at is not None:
            found.append(max(0.0, (work.completed_at or work.started_at) - work.started_at))
            if len(found) == _ENOUGH:
                break
    found.sort()
    return found[len(found) // 2] if found else None
