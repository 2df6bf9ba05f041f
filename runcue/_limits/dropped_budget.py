"""A budget that was taken away: it is to know what it was charged, as it may be given again.

Lives here: `DroppedBudget`.

Must not know: who takes budgets away, and when.
"""

from __future__ import annotations

from typing import Any

from runcue._limits.budget import Budget
from runcue._model.work import Work
from runcue.abc import Limit

__all__ = ["DroppedBudget", "kind_of"]


def kind_of(name: str) -> str:
    """By what the dropped budget of a name is installed at its service."""
    return f"dropped {name}"


class DroppedBudget(Limit):
    """Passes on what is told of those that have started before, and keeps nobody from starting.

    Args:
        budget: What was taken away.

    Attributes:
        budget: See above.
    """

    __slots__ = ("budget", "kind")

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.kind = kind_of(budget.name)

    def room(self, now: float, work: Work, /) -> bool:
        """See `Limit.room`."""
        return True

    def acquire(self, now: float, work: Work, /) -> None:
        """See `Limit.acquire`: who starts now takes nothing of it."""

    def entered(self, now: float, work: Work, at: float, /) -> None:
        """See `Limit.entered`."""
        self.budget.entered(now, work, at)

    def release(self, now: float, work: Work, actual: Any, /) -> None:
        """See `Limit.release`."""
        self.budget.release(now, work, actual)

    def unused_from(self) -> float:
        """From when on it remembers nothing more; inf if that is not known."""
        return self.budget.unused_from()

    def at_least(self, works: object, /) -> float:
        """See `Limit.at_least`: nobody has to wait for it."""
        return 0.0
