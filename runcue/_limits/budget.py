"""A budget: so much of something, tokens or money, per period, of which each start takes what it costs.

Lives here: `Budget`, a `Limit` by the amounts that work units cost. A charge is reserved when a work unit starts,
counts from the instant at which its handler was entered, and becomes what that said it has spent (`work.spent`) when
the attempt has ended. The arithmetic is in `ledger`.

Must not know: where costs come from, order, where the clock comes from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import ceil, inf
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from runcue._limits.ledger import Charge, Ledger
from runcue._model.amounts import Allowance, amount_in_words
from runcue._model.texts import seconds_in_words
from runcue._model.work import Work
from runcue.abc import Limit

if TYPE_CHECKING:
    from runcue._limits.expenses import Expense
    from runcue._model.amounts import Amount

__all__ = ["Budget", "charge_of"]

_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


def charge_of(work: Work) -> Mapping[str, Amount]:
    """What a work unit takes of each budget, by name."""
    charge = work._charge
    if charge is None:
        charge = work._task.charge
    return _NOTHING if charge is None else charge


class Budget(Ledger, Limit):
    """A budget of one service.

    Args:
        name: What is counted: "tokens", "usd".
        allowance: How much of it per period.
        expense: Where it is noted what was spent of it in all.
        borrows: Whether more than it allows may be taken at once: then that starts when nothing is used, and what is
            over is debt.
        margin: So many seconds longer is each window counted.
        unpriced: Takes a work unit that starts and says nothing of what it costs.

    Attributes:
        name: See above.
        allowance: See above.
        borrows: See above.
    """

    __slots__ = ("_unpriced", "allowance", "borrows", "margin", "name")

    kind = "budget"

    def __init__(
        self,
        name: str,
        allowance: Allowance,
        expense: Expense,
        *,
        borrows: bool = False,
        margin: float = 0.0,
        unpriced: Callable[[Work], object] | None = None,
    ) -> None:
        super().__init__(allowance.limit, allowance.period + margin, expense)
        self.name = name
        self.allowance = allowance
        self.borrows = borrows
        self.margin = margin
        self._unpriced = unpriced

    def keep(self, allowance: Allowance, now: float, *, borrows: bool, margin: float) -> None:
        """Allow another amount from now on; what was charged stays charged."""
        self.allowance, self.borrows, self.margin = allowance, borrows, margin
        self.change(allowance.limit, allowance.period + margin, now)

    def amount_for(self, work: Work) -> Amount:
        """What a work unit takes of it."""
        charge = work._charge
        if charge is None:
            charge = work._task.charge
        return 0 if charge is None else charge.get(self.name, 0)

    def can_ever(self, amount: Amount) -> bool:
        """Whether so much can ever be taken at once."""
        return self.borrows or amount <= self.limit

    def room(self, now: float, work: Work, /) -> bool:
        """See `Limit.room`."""
        charge = work._charge
        if charge is None:
            charge = work._task.charge
        amount = 0 if charge is None else charge.get(self.name, 0)
        if self.used + amount <= self.limit and not self.debt:  # it may be less by now
            return True
        return self.fits(now, amount)

    def next_room(self, now: float, work: Work, /) -> float:
        """See `Limit.next_room`; inf while all depends on starts that have not been stamped yet."""
        return self.next_fit(now, self.amount_for(work))

    def acquire(self, now: float, work: Work, /) -> None:
        """See `Limit.acquire`."""
        charge = work._charge
        if charge is None:
            charge = work._task.charge
        if charge is None and self._unpriced is not None:
            self._unpriced(work)
        amount = 0 if charge is None else charge.get(self.name, 0)
        if amount > self.limit:
            self.reserve(work, amount)
            return
        # As `reserve` does, without a call for each start.
        self.open[work] = Charge(amount, 0, None)
        self.used += amount
        self._reserved += amount

    def spent(self, work: Work, amount: Amount) -> bool:
        """A handler has spent so much more. In any thread, but in one at a time.

        Returns:
            Whether it runs: else nothing was noted.
        """
        charge = self.open.get(work)
        if charge is None:
            return False
        charge.spent = amount if charge.spent is None else charge.spent + amount
        return True

    def spent_by(self, work: Work) -> Amount | None:
        """What the attempt of a work unit has said that it spent, while it runs and in the step in which it ends."""
        charge = self.open.get(work)
        if charge is None and self._ended_of == id(work):
            charge = self._ended
        return None if charge is None else charge.spent

    def spare(self, now: float, head: Work, until: float) -> Amount | float:
        """How much can be charged now, so that another work unit still has room at a later instant; inf: any amount."""
        if now + self.period <= until:
            return inf
        # What is over the limit starts when nothing is used.
        return max(self.limit - self.amount_for(head), 0) - self.used_at(until)

    def at_least(self, works: Sequence[Work], /) -> float:
        """See `Limit.at_least`."""
        amounts = [self.amount_for(work) for work in works]
        total, largest = sum(amounts), max(amounts, default=0)
        if not total:
            return 0.0
        # What starts last need not have been charged; what is over the limit starts when all else no longer counts.
        windows = (
            ceil((total - largest) / self.limit) if largest > self.limit else ceil(total / self.limit) - 1
        )
        return windows * self.period

    def describe(self, now: float, work: Work, /) -> str:
        """See `Limit.describe`."""
        amount, when = self.amount_for(work), self.next_room(now, work)
        owed = f", {amount_in_words(self.debt)} owed" if self.debt else ""
        needs = (
            f"needs {amount_in_words(amount)}"
            if amount
            else "needs nothing of it, but what is owed comes first"
        )
        if amount > self.limit:
            needs += ", more than that, and starts when all of it is unused"
        until = "when a start is confirmed" if when == inf else f"in {seconds_in_words(round(when - now, 1))}"
        return (
            f"its budget of {self.allowance.of(self.name)} is used up: {amount_in_words(self.used)} used{owed}, "
            f"{needs}, {until}"
        )
