"""What must complete, whatever a stop cuts off: the work units that say so, and what these need.

Lives here: who that is.

Must not know: how a cue stops.
"""

from __future__ import annotations

from collections.abc import Hashable
from itertools import chain

from runcue._model.phases import RUNNING, SETTLED
from runcue._model.work import Work
from runcue._scheduling.core import Core

__all__ = ["essential_works", "must_complete"]


def _says_so(work: Work) -> bool:
    said = None if work._overrides is None else work._overrides.must_complete
    return work._task.must_complete if said is None else said


def must_complete(work: Work) -> bool:
    """Whether a work unit must complete, or one of those that have joined it, which lend it that."""
    if _says_so(work):
        return True
    followers = None if work._declared is None else work._declared.followers
    return followers is not None and any(map(_says_so, followers))


def essential_works(core: Core) -> dict[Work, None]:
    """Those that must complete and have not ended, and all that they need for it.

    That is: who makes their inputs, whom they have joined, whose end their handlers await; and what these need.
    """
    line = [work for work in core.history if work._phase < SETTLED and _says_so(work)]
    found = dict.fromkeys(line)
    expanded: set[Hashable] = set()
    while line:
        work = line.pop()
        later = core.holds.appointed_for(work) if work._phase < RUNNING else ()
        for other in chain(core.holds.needed_by(work, expanded), later):
            if other._phase < SETTLED and other not in found:
                found[other] = None
                line.append(other)
    return found
