"""The account of one budget: what was charged when, and when it was used up for somebody.

Must not know: services, slots, how it is shown.
"""

from __future__ import annotations

from collections import deque
from fractions import Fraction
from typing import Any, Final, TypeAlias

import runcue
from runcue_sim._text.figures import figure, period_in_words

Amount: TypeAlias = int | Fraction
"""Of what a budget counts, exactly."""

Span: TypeAlias = tuple[float, float]
"""From when and until when."""

_ROUNDING: Final = 1e-9


class BudgetAccount:
    """The sums of one budget.

    Attributes:
        name: What it counts.
        limit: What may be charged in any window.
        period: Seconds, as declared.
        most: The most that was in one window.
        charged: What was charged in all.
        dry: Seconds in which it was used up for whoever was to start.
        text: What it allows, in words.
        lacks: When it was used up for somebody, from and until, in order.
    """

    def __init__(self, name: str, status: runcue.BudgetStatus, margin: float) -> None:
        self.name = name
        self.limit = Fraction(status.limit)
        self.period = status.period
        self.most: Amount = 0
        self.charged: Amount = 0
        self.dry = 0.0
        self.text = f"{figure(self.limit)} {name} per {period_in_words(status.period)}"
        # When it was used up for somebody.
        self.lacks: list[Span] = []
        self._window = status.period + margin
        self._used: Amount = 0
        # What counts, as instants and amounts; the last of those of work units that run.
        self._log: deque[list[Any]] = deque()
        self._open: dict[str, list[Any]] = {}

    def room_at(self, now: float, amount: Amount) -> float:
        """Since when there has been room for so much, which there is by now."""
        log, used, when = self._log, self._used, 0.0
        while log and log[0][0] + self._window <= now + _ROUNDING:
            if used and used + amount > self.limit:
                when = log[0][0] + self._window
            used -= log.popleft()[1]
        self._used = used
        # It may be that something of it was not charged in truth.
        return now if used and used + amount > self.limit else min(when, now)

    def charge(self, now: float, work_id: str, amount: Amount) -> None:
        """A work unit has started."""
        charge = self._open[work_id] = [now, amount]
        self._log.append(charge)
        self._add(amount)

    def settle(self, work_id: str, spent: Amount | None) -> None:
        """Its attempt has ended, and so much was spent; None: what it was charged."""
        charge = self._open.pop(work_id, None)
        if charge is not None and spent is not None:
            self._add(spent - charge[1])
            charge[1] = spent

    def _add(self, amount: Amount) -> None:
        self._used += amount
        self.charged += amount
        self.most = max(self.most, self._used)
