"""Stand-ins: work units that look like those of a cue, which no core knows.

Must not know: what becomes of them.
"""

from __future__ import annotations

from runcue._model.declaration import Declaration
from runcue._model.work import Work

__all__ = ["stand_in_of"]


def stand_in_of(work: Work) -> Work:
    """One for a work unit, with what that declares."""
    twin = work._stand_in()
    declared = work._declared
    if declared is None:
        return twin
    twin._declared = own = Declaration(declared.inputs, declared.outputs, declared.fresh)
    own.makes, own.needs, own.files = declared.makes, declared.needs, declared.files
    if declared.key is not None:
        own.key = declared.key
    if declared.forced:
        own.forced = True
    if declared.fault is not None:
        own.fault = declared.fault
    if declared.lane is not None:
        own.lane = declared.lane
    return twin
