"""Budgets over random histories: no window over the limit, nothing lost in the books, nobody waits for ever.

What is charged is counted here once more, by hand, over each window that there is.
"""

from __future__ import annotations

import asyncio
from fractions import Fraction
from math import inf
from typing import Any, NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import runcue
from runcue._limits.expenses import Expense
from runcue._limits.ledger import Charge, Ledger
from tests.support.worlds import orders, virtually

PERIOD = 8.0
LIMIT = 10
# Of halves and quarters floats know the sum exactly: what is tested here is the book-keeping, not the rounding.
moments = st.sampled_from([0.0, 0.25, 1.0, 1.5, 3.0, 7.75, 8.0, 20.0])
amounts = st.integers(0, LIMIT) | st.sampled_from([Fraction(1, 2), Fraction(10, 3)])


# A few at hand, the many in the torture.
_EXAMPLES = settings().max_examples if settings().max_examples > 1000 else 25


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
        self.ledger = Ledger(LIMIT, PERIOD, Expense())
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


OWED_WHEN_ANOTHER_IS_STAMPED = [
    Step(0.0, "start", 0, 0, 0.0),
    Step(0.0, "start", 9, 0, 0.0),
    Step(0.0, "spend", 2, 0, 0.0),
    Step(7.75, "start", 0, 0, 0.25),
    Step(0.0, "end", 0, 0, 0.0),
    Step(0.25, "start", 0, 0, 0.0),
]
"""What is owed is charged when room returns, be that seen because a thread tells when it has started."""


@settings(max_examples=_EXAMPLES)
@example(plan=OWED_WHEN_ANOTHER_IS_STAMPED, amount=0)
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
    assert (history.ledger.open, history.ledger.used, history.ledger.debt) == ({}, 0, 0)
    assert history.ledger.unused_from() <= history.now
    assert not history.ledger._log
    assert not history.ledger._past


# The same of a cue that runs.


class Ask(NamedTuple):
    """A work unit that is submitted so much later than the one before, what it is to cost, has spent, and takes."""

    after: float
    cost: int
    spends: int
    lasts: float
    task: int
    cancelled: bool


asks = st.lists(
    st.builds(
        Ask,
        after=st.sampled_from([0.0, 0.0, 0.5, 3.0]),
        cost=st.integers(0, LIMIT),
        spends=st.integers(0, 2 * LIMIT) | st.just(-1),
        lasts=st.sampled_from([0.0, 1.0, 5.0, 20.0]),
        task=st.integers(0, 2),
        cancelled=st.sampled_from([False, False, False, True]),
    ),
    min_size=1,
    max_size=25,
)


class Run(NamedTuple):
    """What a run has come to: by number, when each started and what it was charged, and who was promised what."""

    starts: dict[int, float]
    charges: dict[int, int]
    promises: dict[int, float]
    ended: float


def run_of(plan: list[Ask], *, honest: bool, rate: str | None, order: int | None) -> Run:
    starts: dict[int, float] = {}
    charges: dict[int, int] = {}
    promises: dict[int, float] = {}

    async def main() -> float:
        loop = asyncio.get_running_loop()
        cue = runcue.Cue()
        cue.service("api", budget={"tokens": f"{LIMIT}/8sec"}, rate=rate)
        cue.service("other")

        async def ask(work: runcue.Work) -> None:
            number = work.params["number"]
            one = plan[number]
            starts[number], charges[number] = loop.time(), one.cost
            if one.lasts:
                await asyncio.sleep(one.lasts)
            if one.spends >= 0:
                spent = min(one.spends, one.cost) if honest else one.spends
                work.spent(tokens=spent)
                charges[number] = spent

        for name, uses in (("0", ["api"]), ("1", ["api", "other"]), ("2", ["api"])):
            cue.task(name, uses=uses, cost=lambda work: {"tokens": plan[work.params["number"]].cost})(ask)

        def look() -> None:
            for run_queue in cue._core.run_queues.values():
                if run_queue.promised is not None:
                    head, until, _ = run_queue.promised
                    promises.setdefault(head.params["number"], until)

        async with cue:
            for number, one in enumerate(plan):
                if one.after:
                    await asyncio.sleep(one.after)
                handle = await cue.submit(str(one.task), {"number": number})
                if one.cancelled:
                    loop.call_later(1.0, handle.cancel)
                look()
                loop.call_soon(look)
        return loop.time()

    return Run(starts, charges, promises, virtually(main, order))


@pytest.mark.rule(6, 46)
@settings(max_examples=_EXAMPLES)
@given(plan=asks, rate=st.sampled_from([None, "2/sec", "3/5sec"]), order=orders)
def test_in_a_run_no_window_is_over_the_limit_and_nobody_is_put_off(
    plan: list[Ask], rate: str | None, order: int | None
) -> None:
    run = run_of(plan, honest=True, rate=rate, order=order)
    made = sorted((run.starts[number], amount) for number, amount in run.charges.items())
    for end, _ in made:
        assert sum(amount for at, amount in made if end - PERIOD < at <= end) <= LIMIT
    for number, until in run.promises.items():
        if number in run.starts:
            assert run.starts[number] <= until + 1e-6, (number, run.starts, until)
    kept = {number for number, one in enumerate(plan) if not one.cancelled}
    assert kept <= run.starts.keys()


@pytest.mark.rule(46)
@settings(max_examples=_EXAMPLES)
@given(plan=asks, rate=st.sampled_from([None, "3/5sec"]), order=orders)
def test_nobody_waits_for_ever_whatever_the_others_spend(
    plan: list[Ask], rate: str | None, order: int | None
) -> None:
    run = run_of(plan, honest=False, rate=rate, order=order)
    kept = {number for number, one in enumerate(plan) if not one.cancelled}
    assert kept <= run.starts.keys()
    # All that was charged, and a window, a start of the rate and a handler for each: it goes on all the time.
    most = sum(run.charges.values()) / LIMIT * PERIOD + len(plan) * (2 * PERIOD + 25.0)
    assert run.ended <= most
