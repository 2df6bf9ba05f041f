"""Budgets over random histories: no window over the limit, nothing lost in the books, nobody waits for ever.

What is charged is counted here once more, by hand, over each window that there is.
"""

from __future__ import annotations

from fractions import Fraction
from math import inf
from typing import Any, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from runcue._limits.ledger import Charge, Ledger

PERIOD = 8.0
LIMIT = 10
# Of halves and quarters floats know the sum exactly: what is tested here is the book-keeping, not the rounding.
moments = st.sampled_from([0.0, 0.25, 1.0, 1.5, 3.0, 7.75, 8.0, 20.0])
amounts = st.integers(0, LIMIT) | st.sampled_from([Fraction(1, 2), Fraction(10, 3)])


# A few at hand, the many in the torture.
_EXAMPLES = settings().max_examples if settings().max_examples > 1000 else 40


class Step(NamedTuple):
    """What happens next: after so much time, of what kind, with which amount, about which of those who run."""

    after: float
    kind: str
    amount: Any
    which: int
    late: float


steps = st.lists(
    st.builds(
        Step,
        after=moments,
        kind=st.sampled_from(["start", "start", "start", "spend", "end", "end", "refund", "big"]),
        amount=amounts | st.integers(0, 3 * LIMIT),
        which=st.integers(0, 9),
        late=st.sampled_from([0.0, 0.0, 0.25, 1.0]),
    ),
    max_size=30,
)


class History:
    """A ledger, and all that was ever charged to it."""

    def __init__(self) -> None:
        self.ledger = Ledger(LIMIT, PERIOD)
        self.now = 0.0
        self.charges: dict[int, Charge] = {}
        self.wanted: dict[int, Any] = {}
        # Those who have started and of whom it is not known yet when: a thread tells that a little later.
        self.unstamped: dict[int, float] = {}
        self.running: list[int] = []
        self.number = 0

    def take(self, step: Step) -> None:
        self.now += step.after
        for owner, at in list(self.unstamped.items()):
            if at <= self.now:
                self.stamp(owner)
        ledger = self.ledger
        if step.kind in ("start", "big"):
            amount = step.amount if step.kind == "big" else min(step.amount, LIMIT)
            if ledger.fits(self.now, amount):
                self.number += 1
                ledger.reserve(self.number, amount)
                self.charges[self.number] = ledger.open[self.number]
                self.wanted[self.number] = amount
                self.running.append(self.number)
                self.unstamped[self.number] = self.now + step.late
                if not step.late:
                    self.stamp(self.number)
        elif self.running:
            owner = self.running[step.which % len(self.running)]
            charge = self.charges[owner]
            if step.kind == "spend":
                charge.spent = step.amount if charge.spent is None else charge.spent + step.amount
                return
            if owner in self.unstamped:
                self.stamp(owner)
            if charge.spent is not None:
                self.wanted[owner] = charge.spent
            ledger.release(self.now, owner, None)
            self.running.remove(owner)
            if step.kind == "refund":
                ledger.refund(self.now, owner)
                self.wanted[owner] = 0

    def stamp(self, owner: int) -> None:
        self.ledger.entered(self.now, owner, min(self.unstamped.pop(owner), self.now))

    def made(self) -> list[tuple[float, Any]]:
        """All that was charged, by when."""
        found: list[Charge] = []
        for charge in self.charges.values():
            found += [charge, *(charge.paid or ())]
        return sorted(
            ((self.now if one.stamp is None else one.stamp, one.amount) for one in found),
            key=lambda one: one[0],
        )

    def check(self) -> None:
        ledger, made = self.ledger, self.made()
        in_window, begin = 0, 0
        for stamp, amount in made:
            in_window += amount
            while made[begin][0] <= stamp - PERIOD:
                in_window -= made[begin][1]
                begin += 1
            assert in_window <= LIMIT, (made, stamp)
        ledger.advance(self.now)
        assert ledger.used == sum(amount for stamp, amount in self.made() if self.now - PERIOD < stamp)
        owed = 0
        for owner, charge in self.charges.items():
            paid = sum(one.amount for one in charge.paid or ())
            assert charge.amount + charge.owed + paid == self.wanted[owner]
            assert charge.amount >= 0 <= charge.owed
            owed += charge.owed
        assert ledger.debt == owed

    def check_prediction(self, amount: Any) -> None:
        """It has room at the instant that it has named, and not before."""
        ledger = self.ledger
        if ledger.fits(self.now, amount):
            return
        when = ledger.next_fit(self.now, amount)
        if when == inf:
            assert self.unstamped
            return
        instants = {stamp + PERIOD for stamp, _ in self.made()}
        for instant in sorted(one for one in instants if self.now < one < when):
            self.now = instant
            assert not ledger.fits(instant, amount), (instant, when)
        self.now = when
        assert ledger.fits(when, amount)


def history_of(plan: list[Step]) -> History:
    history = History()
    for step in plan:
        history.take(step)
    history.check()
    return history


@settings(max_examples=_EXAMPLES)
@given(plan=steps)
def test_no_window_is_over_the_limit_and_the_books_are_right(plan: list[Step]) -> None:
    history = History()
    for step in plan:
        history.take(step)
        history.check()


@settings(max_examples=_EXAMPLES)
@given(plan=steps, amount=st.integers(0, 3 * LIMIT))
def test_there_is_room_when_it_was_said_and_not_before(plan: list[Step], amount: int) -> None:
    history = history_of(plan)
    for owner in list(history.unstamped):
        history.stamp(owner)
    history.check_prediction(amount)
    history.check()


@settings(max_examples=_EXAMPLES)
@given(plan=steps)
def test_in_the_end_nothing_is_owed_used_or_remembered(plan: list[Step]) -> None:
    history = history_of(plan)
    for owner in list(history.unstamped):
        history.stamp(owner)
    for owner in list(history.running):
        history.ledger.release(history.now, owner, None)
    history.now += 1000 * PERIOD
    history.ledger.fits(history.now, 1)
    assert history.ledger.is_unused(history.now)
    assert not history.ledger._log
    assert not history.ledger._past
