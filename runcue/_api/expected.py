"""What the work unit of a file will declare, found out before it is submitted.

That has to be known of all files that have come before the first of them is submitted: one of them may be what another
one makes. The functions that say it are not asked a second time, then: what they have answered goes with the
submission, unless they have looked at what a work unit has from its submission on only, its id and its date.

Lives here: `expect`, `Expected`.

Must not know: folders, when a file is submitted.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Final

from runcue._model.overrides import Overrides
from runcue._model.task import Task
from runcue._model.work import Work
from runcue._registration.declarations import declare

__all__ = ["Expected", "expect"]

# What a work unit declares apart from its outputs is of no interest before it is submitted.
_WITHOUT_KEY: Final = Overrides({"key": ""})
_OUTPUTS_ALONE: Final = Overrides({"key": "", "inputs": ()})


class _NotYet:
    """An attribute that has its value from the submission on only. Who asks before is noted."""

    def __init__(self, value: object) -> None:
        self._value = value

    def __get__(self, work: Expected, kind: type | None = None) -> Any:
        work.is_asked_too_early = True
        return self._value

    def __set__(self, work: Expected, value: object) -> None: ...


class Expected(Work):
    """A work unit that is going to be submitted.

    Attributes:
        is_asked_too_early: Whether somebody has looked at what it does not have yet.
    """

    __slots__ = ("is_asked_too_early",)

    is_asked_too_early: bool
    id: Any = _NotYet("")
    created_at: Any = _NotYet(0.0)

    def said(self, task: Task) -> Overrides | None:
        """What its functions have answered, for its submission; None if they are to be asked then.

        Args:
            task: As it is defined by now.
        """
        declared = self._declared
        if declared is None or declared.fault is not None or self.is_asked_too_early:
            return None
        if task is not self._task or not callable(task.outputs):
            return None
        said: dict[str, Any] = {"outputs": declared.outputs, "declares": True}
        if callable(task.inputs) and _sees_work(task, self):
            said["inputs"] = declared.inputs
        return Overrides(said)


def expect(task: Task, params: dict[str, Any], cells: dict[Hashable, list[int]]) -> Expected:
    """Find out what the work unit of a file will declare.

    Args:
        task: Its task, which has outputs.
        params: Its params.
        cells: Those of the cue's flags.

    Raises:
        Exception: What it will fail by.
    """
    work = Expected("", task.name, params)
    work._task = task
    work.is_asked_too_early = False
    # The inputs may be looked at only where the work unit is seen; nobody else is asked for them ahead.
    declare(work, cells, _WITHOUT_KEY if _sees_work(task, work) else _OUTPUTS_ALONE)
    return work


def _sees_work(task: Task, work: Work) -> bool:
    """Whether the function that says its outputs is given the work unit."""
    sees = getattr(task.outputs, "sees_work", None)
    return callable(task.outputs) if sees is None else bool(sees(work.params))
