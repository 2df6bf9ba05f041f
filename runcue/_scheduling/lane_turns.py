"""The turn of a work unit in its lane: it comes first there, and stands in line.

Lives here: `come_first`, for those that declare nothing but their lane. The others are looked at for what they need.

Must not know: who wakes them, when.
"""

from __future__ import annotations

from runcue._model.phases import HELD, NEW
from runcue._model.work import Work
from runcue._scheduling.core import Core

__all__ = ["come_first"]


def come_first(core: Core, work: Work) -> bool:
    """Let a work unit stand in line that waited in its lane, and declares nothing else.

    Not where there are priorities: there it is to be asked at once for its place. Returns whether it stands there.
    """
    if core.ordered or work._phase != HELD:
        return False
    core.move(work, NEW)
    work._awaited = None
    work._task.run_queue.take_back(work)
    return True
