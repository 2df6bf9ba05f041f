"""What was spent of one thing that budgets count, in a run: by all of their attempts together, and for nothing.

Lives here: `Expense`. Several services may have a budget of the same name, a total beside that of a key: what a work
unit takes of all of them it has spent once.

Must not know: limits, periods, which work units there are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from runcue._model.amounts import Amount

__all__ = ["Expense"]

_NOBODY: Final = 0


class Expense:
    """The sums of one thing since the start of a cue.

    Attributes:
        total: What all attempts that have ended have spent of it.
        wasted: What of that those have spent that did not succeed.
        is_shared: Whether several services count it: then what they tell has to go through `add` and its like, and else
            the sums are kept by who knows the charges, with calls less for each work unit.
    """

    __slots__ = ("_amount", "_is_wasted", "_owner", "_services", "is_shared", "total", "wasted")

    def __init__(self) -> None:
        self.is_shared = False
        self._services: set[str] = set()
        self.begin()

    def begin(self) -> None:
        """The cue is started: it is counted from here."""
        self.total: Amount = 0
        self.wasted: Amount = 0
        # Whose attempt has ended last, by `id`: as a number, so that nothing lives on for that. And what it has spent.
        self._owner = _NOBODY
        self._amount: Amount = 0
        self._is_wasted = False

    def counted_by(self, service: str) -> None:
        """A service has a budget of it."""
        self._services.add(service)
        self.is_shared = len(self._services) > 1

    def add(self, owner: int, amount: Amount, *, wasted: bool) -> None:
        """An attempt has ended. In the same step the budgets of other services may tell the same of it.

        Args:
            owner: See above.
            amount: What it has spent.
            wasted: Whether it is known already that it does not succeed.
        """
        if owner == self._owner:
            return
        self._owner, self._amount, self._is_wasted = owner, amount, wasted
        self.total += amount
        if wasted:
            self.wasted += amount

    def is_vain(self, owner: int) -> None:
        """The attempt that has ended in this very step has not succeeded."""
        if owner == self._owner and not self._is_wasted:
            self._is_wasted = True
            self.wasted += self._amount

    def take_back(self, owner: int, amount: Amount, *, wasted: bool) -> None:
        """The attempt that has ended in this very step has spent nothing after all; see `add`."""
        if self.is_shared:
            if owner != self._owner:
                return
            self._owner, wasted = _NOBODY, self._is_wasted
        self.total -= amount
        if wasted:
            self.wasted -= amount

    def reopen(self, owner: int) -> None:
        """The next attempt of a work unit begins."""
        if owner == self._owner:
            self._owner = _NOBODY
