"""What was charged to a budget and when: a sliding log in which charges may change after they were made.

Lives here: `Ledger`, its arithmetic. In no window of one period, wherever it begins, do charges exceed the limit. What
does not fit is debt: it is charged as room returns, before anything else is. Amounts are exact, an int or a Fraction.

How this goes about it: a charge is reserved, and counts as if it were made at each instant anew until it is stamped.
From then on it stands in the log at its stamp, and no longer counts one period later. When what was spent in truth is
known it becomes that, at the same stamp: less at once, more as far as each window that it is in has room. So charges
that no longer count are remembered as long as one that has not been settled is in a window with them.

Must not know: work units, services, where the clock comes from.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from itertools import chain
from math import inf, nextafter
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from runcue._limits.expenses import Expense
    from runcue._model.amounts import Amount

__all__ = ["Charge", "Ledger"]

_FEW: Final = 64


class Charge:
    """One charge.

    Attributes:
        amount: What of it is charged by now, at its stamp.
        stamp: When it was made; None: it is merely reserved.
        spent: What was said to be spent in truth so far; None: nothing was said.
        owed: What of it is debt.
        paid: What of its debt was charged since.
        counts: Whether it is in the window that ends now.
        vain: Whether whose it is is known not to succeed.
    """

    __slots__ = ("amount", "counts", "owed", "paid", "spent", "stamp", "vain")

    def __init__(self, amount: Amount, owed: Amount, stamp: float | None) -> None:
        self.amount = amount
        self.stamp = stamp
        self.spent: Amount | None = None
        self.owed = owed
        self.paid: list[Charge] | None = None
        self.counts = True
        self.vain = False

    @property
    def reserved(self) -> Amount:
        """All of it, charged by now or not."""
        paid = sum(one.amount for one in self.paid) if self.paid is not None else 0
        return self.amount + self.owed + paid

    @property
    def whole(self) -> Amount:
        """What was said to be spent, or else what was reserved."""
        return self.reserved if self.spent is None else self.spent


class Ledger:
    """The charges of one budget.

    Args:
        limit: See below.
        period: See below.
        expense: Where it is noted what was spent in all.

    Attributes:
        limit: What they may be together in any window.
        period: How long a window is, in seconds.
        expense: See above.
        used: What they are in the window that ends now, those that are reserved among them.
        debt: What has yet to be charged.
        open: Charges that have not been settled, by whoever has made them, in that order.
    """

    __slots__ = (
        "_debts",
        "_ended",
        "_ended_of",
        "_log",
        "_many",
        "_past",
        "_past_used",
        "_reserved",
        "debt",
        "expense",
        "limit",
        "open",
        "period",
        "used",
    )

    def __init__(self, limit: Amount, period: float, expense: Expense) -> None:
        self.limit = limit
        self.period = period
        self.expense = expense
        self.used: Amount = 0
        self.debt: Amount = 0
        self.open: dict[Any, Charge] = {}
        # What is stamped, in that order, as long as it counts; of `used`, what is not stamped.
        self._log: deque[Charge] = deque()
        self._reserved: Amount = 0
        # What no longer counts, and may be in one window with what is open; and no less than that is together.
        self._past: deque[Charge] = deque()
        self._past_used: Amount = 0
        # From so many of these on it is looked who of them is still needed.
        self._many = _FEW
        self._ended: Charge | None = None
        self._ended_of = 0
        # Those that owe something, and perhaps some that no longer do.
        self._debts: deque[Charge] = deque()

    def fits(self, now: float, amount: Amount) -> bool:
        """Whether so much can be charged now. What is more than the limit can when nothing else is."""
        self.advance(now)
        if self.debt:
            return False
        return not amount or self.used + amount <= self.limit or (not self.used and amount > self.limit)

    def next_fit(self, now: float, amount: Amount) -> float:
        """When so much can be charged, if nothing else is until then.

        Returns:
            An instant after now; inf: not before something that is reserved was stamped, or released.
        """
        self.advance(now)
        # So much may be used then.
        most = max(self.limit - amount, 0)
        used, debt, period = self.used, self.debt, self.period
        when = now
        if not debt:
            for charge in self._log:
                if used <= most:
                    break
                used -= charge.amount
                assert charge.stamp is not None
                when = charge.stamp + period
            return max(when, nextafter(now, inf)) if used <= most else inf
        line = deque((charge.stamp + period, charge.amount) for charge in self._log)  # type: ignore[operator]
        left = len(line)
        while line:
            when, amount = line.popleft()
            used, left = used - amount, left - 1
            payment = min(debt, self.limit - used)
            if payment > 0:
                debt -= payment
                used += payment
                line.append((when + period, payment))
            if not debt and used <= most:
                return max(when, nextafter(now, inf))
            room = self.limit - self._reserved
            if left <= 0 and debt > 2 * room > 0:
                # From here on each period is like the one before.
                rounds = int(debt // room) - 1
                debt -= rounds * room
                line = deque((at + rounds * period, paid) for at, paid in line)
        return inf

    def used_at(self, when: float) -> Amount:
        """What of all that counts now will count at a later instant."""
        used, period = self.used, self.period
        for charge in self._log:
            assert charge.stamp is not None
            if charge.stamp + period > when:
                break
            used -= charge.amount
        return used

    def unused_from(self) -> float:
        """See `RateLimit.unused_from`."""
        log = self._log
        if self.open:
            return inf
        if self.debt:
            # As if the whole limit were to be charged next: that needs all that is owed to be charged and gone.
            return self.next_fit(log[0].stamp, self.limit) if log else inf  # type: ignore[arg-type]
        return log[-1].stamp + self.period if log else -inf  # type: ignore[operator]

    def reserve(self, owner: Any, amount: Amount) -> None:
        """Reserve a charge, because that much fits. What goes beyond the limit is owed."""
        owed: Amount = 0
        if amount > self.limit:
            amount, owed = self.limit, amount - self.limit
        if self.expense.is_shared:
            self.expense.reopen(id(owner))
        charge = self.open[owner] = Charge(amount, owed, None)
        self.used += amount
        self._reserved += amount
        if owed:
            self._owe(charge, owed)

    def entered(self, now: float, owner: Any, at: float, /) -> None:
        """A charge that was reserved counts from an instant."""
        charge = self.open.get(owner)
        if charge is None or charge.stamp is not None:
            return
        charge.stamp = at
        self._reserved -= charge.amount
        log = self._log
        if log and log[0].stamp + self.period <= at:  # type: ignore[operator]
            self.advance(at)
        if charge.amount:
            if not log or log[-1].stamp <= at:  # type: ignore[operator]
                log.append(charge)
            else:
                self._insert(charge)

    def release(self, now: float, owner: Any, actual: Any, /) -> None:
        """A charge becomes what was said to be spent; if nothing was, it stays what it is."""
        charge = self.open.get(owner)
        if charge is None:
            return
        if charge.stamp is None:
            self.drop(charge, now)
        else:
            spent = charge.spent
            if spent is not None:
                self._settle(charge, spent, now)
            else:
                spent = charge.amount if charge.paid is None and not charge.owed else charge.reserved
            expense = self.expense
            if expense.is_shared:
                expense.add(id(owner), spent, wasted=charge.vain)
            else:
                expense.total += spent
                if charge.vain:
                    expense.wasted += spent
        del self.open[owner]  # as long as it is open, what is in one window with it is remembered
        if not self.open and self._past:
            self._past.clear()
            self._past_used = 0
        # Whose it was may be charged nothing after all; as a number: it is not to live on for that.
        self._ended, self._ended_of = charge, id(owner)

    def refund(self, now: float, owner: Any) -> None:
        """A charge that was released in this very step, or will be, is taken back."""
        if (charge := self.open.get(owner)) is not None:
            charge.spent = 0
        elif self._ended is not None and self._ended_of == id(owner):
            self.expense.take_back(id(owner), self._ended.whole, wasted=self._ended.vain)
            self.drop(self._ended, now)
            self._ended = None

    def is_vain(self, owner: Any) -> None:
        """Whose charge was released in this very step, or will be, does not succeed."""
        if (charge := self.open.get(owner)) is not None:
            charge.vain = True
        elif self.expense.is_shared:
            self.expense.is_vain(id(owner))
        elif (charge := self._ended) is not None and self._ended_of == id(owner) and not charge.vain:
            charge.vain = True
            self.expense.wasted += charge.whole

    def _settle(self, charge: Charge, spent: Amount, now: float) -> None:
        """A charge that is stamped becomes what was spent."""
        self.advance(now)
        whole = charge.reserved
        if spent < whole:
            self._lower(charge, whole - spent)
        elif spent > whole:
            self._raise(charge, spent - whole, now)
        if self.debt:
            self._pay(now)

    def drop(self, charge: Charge, now: float) -> None:
        """A charge that is settled, or was never stamped, counts as nothing."""
        self.advance(now)
        if charge.stamp is None:
            self._reserved -= charge.amount
        self._lower(charge, inf)
        if self.debt:
            self._pay(now)

    def change(self, limit: Amount, period: float, now: float) -> None:
        """Keep another limit from now on. What counts longer by that is as much as is still remembered."""
        self.advance(now)
        self.limit, self.period = limit, period
        while self._past and now - self._past[-1].stamp < period:  # type: ignore[operator]
            charge = self._past.pop()
            charge.counts = True
            self._past_used -= charge.amount
            self.used += charge.amount
            self._log.appendleft(charge)
        self.advance(now)
        if self.debt:
            self._pay(now)

    def advance(self, now: float) -> None:
        """Let go of what no longer counts, and charge what is owed at the instants at which room has returned."""
        log, period = self._log, self.period
        while log:
            since = log[0].stamp
            assert since is not None
            # Both forms, because either alone can be off by a rounding and someone will check with the other.
            if since + period > now or now - since < period:
                break
            self._expire()
            if self.debt:
                self._pay(since + period)

    def _expire(self) -> None:
        charge = self._log.popleft()
        charge.counts = False
        self.used -= charge.amount
        if self.open:
            self._past.append(charge)
            self._past_used += charge.amount
            if len(self._past) > self._many:
                self._tidy()

    def _tidy(self) -> None:
        """Forget of what no longer counts what is in no window with what is open."""
        stamps = sorted(one.stamp for one in self.open.values() if one.stamp is not None)
        self._past = deque(one for one in self._past if self._is_near(one.stamp, stamps))  # type: ignore[arg-type]
        self._past_used = sum(one.amount for one in self._past)
        self._many = 2 * len(self._past) + _FEW

    def _is_near(self, stamp: float, stamps: list[float]) -> bool:
        """Whether an instant is in one window with any of these."""
        at = bisect_right(stamps, stamp)
        return any(abs(one - stamp) < self.period for one in stamps[max(at - 1, 0) : at + 1])

    def _insert(self, charge: Charge) -> None:
        """Put a charge into the log, at its stamp."""
        log, stamp = self._log, charge.stamp
        assert stamp is not None
        if not log or log[-1].stamp <= stamp:  # type: ignore[operator]
            log.append(charge)
            return
        # Threads report out of order by microseconds; the log is read from its left end.
        later = []
        while log and log[-1].stamp > stamp:  # type: ignore[operator]
            later.append(log.pop())
        log.append(charge)
        log.extend(reversed(later))

    def _owe(self, charge: Charge, amount: Amount) -> None:
        self.debt += amount
        self._debts.append(charge)

    def _pay(self, at: float) -> None:
        """Charge what is owed, as far as there is room, at this instant."""
        debts = self._debts
        while self.debt and (room := self.limit - self.used) > 0:
            debtor = debts[0]
            if debtor.owed <= room:
                debts.popleft()
            payment = min(debtor.owed, room)
            if not payment:
                continue
            debtor.owed -= payment
            self.debt -= payment
            self.used += payment
            charge = Charge(payment, 0, at)
            self._insert(charge)
            if debtor.paid is None:
                debtor.paid = []
            debtor.paid.append(charge)

    def _lower(self, charge: Charge, amount: Any) -> None:
        """Take something off a charge: first what it owes, then what was charged last."""
        less = min(amount, charge.owed)
        charge.owed -= less
        self.debt -= less
        amount -= less
        for one in (*reversed(charge.paid or ()), charge):
            less = min(amount, one.amount)
            one.amount -= less
            amount -= less
            if one.counts:
                self.used -= less

    def _raise(self, charge: Charge, amount: Amount, now: float) -> None:
        """Add something to a charge at its stamp; what does not fit there is owed."""
        more = amount
        if self.used + self._past_used + amount > self.limit:
            more = max(min(amount, self.limit - self._most_around(charge, now)), 0)
        if more:
            is_new = not charge.amount
            charge.amount += more
            if is_new:
                self._enter(charge, now)
            elif charge.counts:
                self.used += more
            else:
                self._past_used += more
        if amount > more:
            charge.owed += amount - more
            self._owe(charge, amount - more)

    def _enter(self, charge: Charge, now: float) -> None:
        """Let a charge count at its stamp that was none so far."""
        since = charge.stamp
        assert since is not None
        if since + self.period > now or now - since < self.period:
            self.used += charge.amount
            self._insert(charge)
            return
        charge.counts = False
        at = bisect_right(self._past, since, key=lambda one: one.stamp)  # type: ignore[arg-type, return-value]
        self._past.insert(at, charge)
        self._past_used += charge.amount

    def _most_around(self, charge: Charge, now: float) -> Amount:
        """The most that is charged in any window that a charge is in."""
        since, period = charge.stamp, self.period
        assert since is not None
        # Each of them ends with a charge, and the first with this one.
        near = [
            (one.stamp, one.amount)
            for one in chain(self._past, self._log)
            if since - period < one.stamp < since + period  # type: ignore[operator]
        ]
        if not charge.amount:  # then it stands nowhere yet
            near.append((since, 0))
            near.sort(key=lambda one: one[0])  # type: ignore[arg-type, return-value]
        most: Amount = 0
        total: Amount = 0
        begin = 0
        for stamp, amount in near:
            total += amount
            while near[begin][0] + period <= stamp:  # type: ignore[operator]
                total -= near[begin][1]
                begin += 1
            if stamp >= since:  # type: ignore[operator]
                most = max(most, total)
        # Of what is reserved nobody has told yet when it counts from.
        return most + (self._reserved if now - since < period else 0)
