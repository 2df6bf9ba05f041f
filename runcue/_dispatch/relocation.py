"""Files of pending work units whose paths lead elsewhere by now, because a link on the way was turned.

Lives here: `follow_turned_links`. That a folder leads elsewhere is noticed by whoever looks at it (`Pass.turned`); what
is pending is then declared anew, as if it had been submitted now. What runs has its files open, and is left alone.

Must not know: how it is found out where a path leads, when this is asked.
"""

from __future__ import annotations

from typing import Any

from runcue._artifacts.file import File
from runcue._artifacts.places import PASS
from runcue._callbacks.declared_gate import DeclaredGate
from runcue._model.declaration import Declaration
from runcue._model.phases import JOINED, RUNNING
from runcue._model.work import Work
from runcue._scheduling.core import Core
from runcue._scheduling.holds import Hold

__all__ = ["follow_turned_links"]


def _has_moved(artifact: Any) -> bool:
    return isinstance(artifact, File) and artifact.again() is not artifact


def follow_turned_links(core: Core, gate: DeclaredGate) -> None:
    """A link on the way to a file was turned: all pending work units declare the files to which their paths lead now.

    Args:
        core: The state.
        gate: Is told that this is done.
    """
    gate.turned = PASS.turned
    for work in list(core.history):
        declared = work._declared
        if declared is None or work._phase >= RUNNING:
            continue
        if any(map(_has_moved, declared.outputs)):
            _change_outputs(core, work, declared)
        if any(map(_has_moved, declared.inputs)):
            declared.inputs = declared.needs = tuple(map(_as_of_now, declared.inputs))
            if isinstance(declared.hold, Hold):
                declared.hold.place = 0
            if work._awaited is not None:
                core.wakeups.add(work)
    core.generation += 1  # whoever was approved before may have to wait now


def _change_outputs(core: Core, work: Work, declared: Declaration) -> None:
    is_producer = work._phase != JOINED and declared.fault is None
    if is_producer:
        core.wakeups.end(work, declared)
    outputs = tuple(map(_as_of_now, declared.outputs))
    pointed = tuple(one for file in outputs if isinstance(file, File) for one in file.pointed())
    declared.outputs = outputs
    declared.makes = outputs + pointed if pointed else outputs
    if is_producer:
        core.dependencies.enter(work, declared)


def _as_of_now(artifact: Any) -> Any:
    return artifact.again() if isinstance(artifact, File) else artifact
