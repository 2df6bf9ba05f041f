"""What work units take of budgets, without loading what only those need that have any.

Lives here: `look_at_cost`, which sees whether that is the same for all work units of a task, `place_of_cost` and
`note_spent`. What costs may be, and what single work units take, is in `costs`: that is loaded with the first of them.

Must not know: how budgets are kept, when a work unit starts.
"""

from __future__ import annotations

from typing import Any

from runcue._model.callables import located
from runcue._model.overrides import Overrides
from runcue._model.task import Task
from runcue._model.work import Work

__all__ = ["look_at_cost", "note_spent", "place_of_cost"]


def look_at_cost(task: Task) -> None:
    """Note whether the costs of a task are the same for all of its work units, and can be had."""
    cost = task.cost
    task.charge = cost if isinstance(cost, dict) else None
    asks = cost is not None
    if task.charge is not None:
        from runcue._registration.costs import can_be_had  # noqa: PLC0415 - see above

        asks = not can_be_had(task, task.charge)  # what cannot be had is told where it is submitted
    task.says_per_work = (
        task.declares or asks or task.lane is not None or task.run_queue.is_keyed or task.checks_calls
    )


def place_of_cost(work: Work, overrides: Overrides) -> tuple[str, ...]:
    """The function that says what a work unit costs, with its place in the source; empty if none does."""
    cost = overrides.cost if overrides.cost is not None else work._task.cost
    return (f"cost= {located(cost)}",) if callable(cost) else ()


def note_spent(work: Work, amounts: dict[str, Any]) -> None:
    """The handler of a work unit has spent something; see `spending.spend`."""
    from runcue._handlers.spending import spend  # noqa: PLC0415 - needed by few

    spend(work, amounts)
