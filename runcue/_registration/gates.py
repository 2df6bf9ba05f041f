"""is_ready and is_stale as they are registered: in general, and for one task.

Lives here: which of them a task is asked by, and what else makes its work units be asked.

Must not know: how they are asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from runcue._callbacks.verdicts import Question
from runcue._model.checks import check_callback, check_name, is_async
from runcue._model.task import Task
from runcue._model.work import Work

__all__ = ["GateRegistry"]


class GateRegistry:
    """The callbacks of a cue's gates, by the name of the task; None: for all that have none of their own."""

    def __init__(self) -> None:
        self._ready: dict[str | None, Callable[[Work], Any]] = {}
        self._stale: dict[str | None, Callable[[Work], Any]] = {}

    def add(self, question: Question, gate: Callable[[Work], Any], task: str | None) -> None:
        """Register a callback. Tasks that exist know of it once they are resolved.

        Raises:
            ConfigurationError: It cannot be asked, or the name is none.
        """
        check_callback(gate, f"is_{question}", ("work",))
        if task is not None:
            check_name(task, "task")
        (self._ready if question == "ready" else self._stale)[task] = gate

    def resolve(self, task: Task) -> None:
        """Tell a task by what its work units are asked."""
        task.is_ready = self._ready.get(task.name, self._ready.get(None))
        task.is_stale = self._stale.get(task.name, self._stale.get(None))
        task.gated = (
            task.is_ready is not None or task.is_stale is not None or task.declares or task.declares_per_work
        )
        task.gate_is_async = any(
            gate is not None and is_async(gate) for gate in (task.is_ready, task.is_stale)
        )

    def bound(self) -> Iterator[tuple[str, str]]:
        """Those that are for one task, as (decorator, name of the task)."""
        for decorator, there in (("is_ready", self._ready), ("is_stale", self._stale)):
            for task in there:
                if task is not None:
                    yield decorator, task
