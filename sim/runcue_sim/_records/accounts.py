"""The accounts of one service, one task and one work.

Lives here: `ServiceAccount` and `TaskAccount`, sums; `Record`, one work. Times are seconds of the event loop's clock.

A ready work waits for one of three things, and an account is kept of each: how long the rate of a service was used up
(dry), how long a budget of it was, and how long, apart from that, all its slots were taken (full). What a work waited
for is the difference between two readings, so it costs the same for a long wait as for a short one.

Whether a budget is used up depends on who asks. So that is found out when the next work unit starts: it was used up for
as long as what this one takes had no room.

Must not know: who enters into them, what is made of them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Hashable, Mapping
from typing import Final, NamedTuple

import runcue
from runcue_sim._records.budget_account import Amount, BudgetAccount, Span
from runcue_sim._records.holds import REFUSED, Holds, Look

_ONE: Final = 1.0 - 1e-9
"""Enough of a token, after some rounding."""


class Record:
    """One work.

    Attributes:
        id: Its id.
        task: The name of its task.
        item: What it is about, in a word: from its params.
        services: Names of its services.
        submitted: When it was submitted.
        ready: When all it needs was there; None before it started.
        started: When its handler was entered last, None if it never was.
        ended: When it settled, None if it never did.
        outcome: "completed", "failed", "skipped", "cancelled", or "" for none.
        on_purpose: Whether it failed because that was asked for.
        rate: Seconds it was ready and waited for the rate of a service.
        budget: Seconds it was ready and waited for a budget of a service.
        slots: Seconds it was ready and waited for a slot.
        ahead: Seconds from its submission until the instant that it was submitted for.
        tried: Seconds that attempts took which were not the last.
        put_back: Seconds between the end of such an attempt and the instant of the next one.
        retries: How many of them have failed.
        bound_by: The service that these are about, empty if there is none.
        counted: What the budget that it waited for counts.
        held: Seconds it was ready and waited because nothing of a service could start.
        held_by: What kept it from that: "refused", "broken" or "paused".
    """

    # What most work units never have stands in the class: a record is made for each of a million work units.
    ready: float | None = None
    started: float | None = None
    ended: float | None = None
    outcome = ""
    on_purpose = False
    rate = 0.0
    budget = 0.0
    slots = 0.0
    ahead = 0.0
    tried = 0.0
    put_back = 0.0
    retries = 0
    bound_by = ""
    counted = ""
    held = 0.0
    held_by = ""

    def __init__(self, id: str, task: str, item: str, services: tuple[str, ...], submitted: float) -> None:
        self.id = id
        self.task = task
        self.item = item
        self.services = services
        self.submitted = submitted

    def wait(self, waited: Waited) -> None:
        """An attempt has waited so long, and longest for that service."""
        if waited.seconds > self.rate + self.budget + self.slots + self.held:
            self.bound_by = waited.service
        if waited.budget > self.budget:
            self.counted = waited.counted
        if waited.held > self.held:
            self.held_by = waited.held_by
        self.rate += waited.rate
        self.budget += waited.budget
        self.slots += waited.slots
        self.held += waited.held

    @property
    def gate(self) -> float:
        """Seconds until what it needs was there, from when it was to start."""
        return 0.0 if self.ready is None else max(0.0, self.ready - self.submitted - self.ahead)

    @property
    def other(self) -> float:
        """Seconds it was ready and waited for neither rate nor slots: others were before it."""
        if self.started is None or self.ready is None:
            return 0.0
        known = self.rate + self.budget + self.slots + self.held + self.tried + self.put_back
        return max(0.0, self.started - self.ready - known)


class Waited(NamedTuple):
    """Seconds for which a work unit has waited for a service.

    Attributes:
        service: Its name.
        rate: For its rate.
        budget: For a budget of it.
        slots: For its slots.
        counted: What that budget counts.
        held: Because nothing of it could start.
        held_by: What kept it from that, most of the time.
    """

    service: str = ""
    rate: float = 0.0
    budget: float = 0.0
    slots: float = 0.0
    counted: str = ""
    held: float = 0.0
    held_by: str = ""

    @property
    def seconds(self) -> float:
        """In all."""
        return self.rate + self.budget + self.slots + self.held


class ServiceAccount:
    """The sums of one service, or of a key of one that has its limits for each key.

    Args:
        status: What it is.
        look: Tells by what it is held.

    Attributes:
        name: Its name.
        concurrent: Its slots, None for any number; of slots that find themselves the most there were.
        rate: The rate as written, None for none.
        burst: Size of the bucket that decides instead, 0 for none.
        per_second: Starts that flow back into it.
        budgets: Those of its budgets.
        keys: Those of its keys, by the key; None if it has none.
        in_use: Slots taken now.
        most: The most that were ever taken.
        starts: How many work units started.
        done: How many completed.
        failed: How many failed.
        busy: Slot-seconds taken.
        full: Seconds in which all slots were taken and the rate was not used up.
        dry: Seconds in which the rate was used up.
        lacked: Seconds in which a budget was.
        refusals: How often its server refused a work unit for now.
        holds: When nothing of it could start.
        last_start: When the last work started.
        at: Up to when the sums go, None before the first.
    """

    def __init__(self, status: runcue.ServiceStatus, look: Look | None = None) -> None:
        self.name = status.name
        self.concurrent = status.concurrent
        self.rate = status.rate
        self.burst = status.burst or 0.0
        self.per_second = status.per_second or 0.0
        if self.burst:
            self.rate = f"{self.per_second * 60:g}/min, burst {self.burst:g}"
        self.keys: dict[Hashable, ServiceAccount] | None = None if status.keys is None else {}
        self.budgets = [BudgetAccount(name, one, status.margin) for name, one in status.budgets.items()]
        # What is in the bucket; negative if somebody else had put it there.
        self._level = self.burst
        self.in_use = self.most = self.starts = self.done = self.failed = 0
        self.busy = self.full = self.dry = self.lacked = self.last_start = 0.0
        self.at: float | None = None
        # The sums as they were when the last work unit settled.
        self._noted = 0.0, 0.0, 0.0
        # Of each rate how many starts in how many seconds, and the latest of them.
        self._windows = [(one.count, one.period, one.period + status.margin) for one in status.rates]
        self._recent: list[deque[float]] = [deque(maxlen=count) for count, _, _ in self._windows]
        # The budget that was used up last, and when one was for somebody.
        self._counted = ""
        self._lacked: list[Span] = []
        self.refusals = 0
        self.holds = Holds(look)
        # Readings: instants, and the sums at them.
        self._times: list[float] = []
        self._drys: list[float] = []
        self._lacks: list[float] = []
        self._fulls: list[float] = []

    def advance(self, now: float) -> None:
        """Bring the sums up to an instant."""
        if self.at is None:
            self.at = now
        at = self.at
        if now <= at:
            return
        self._sum_up(now, at)
        self._times.append(now)
        self._drys.append(self.dry)
        self._fulls.append(self.full)
        if self.budgets:
            self._lacks.append(self.lacked)

    def _sum_up(self, now: float, at: float) -> None:
        passed = now - at
        self.busy += passed * self.in_use
        dry = 0.0
        if self.burst:
            if self._level < _ONE:
                dry = min((1.0 - self._level) / self.per_second, passed)
            self._level = min(self.burst, self._level + passed * self.per_second)
        for (count, _, window), recent in zip(self._windows, self._recent, strict=True):
            if len(recent) >= count:
                dry = max(dry, min(recent[0] + window - at, passed))
        self.dry += dry
        if self.concurrent is not None and self.in_use >= self.concurrent:
            self.full += passed - dry
        self.at = now

    def start(self, now: float) -> None:
        """A work has started. Nobody begins to wait at that, so it takes no reading."""
        if self.at is None:
            self.at = now
        elif now > self.at:
            self._sum_up(now, self.at)
        self.in_use += 1
        self.starts += 1
        if self.in_use > self.most:
            self.most = self.in_use
            if self.concurrent is not None:
                # Slots that find themselves have become more.
                self.concurrent = max(self.concurrent, self.most)
        self.last_start = now
        if self.burst:
            self._level -= 1.0
        for recent in self._recent:
            recent.append(now)

    def charge(self, now: float, ready: float, work_id: str, cost: Mapping[str, Amount]) -> None:
        """A work unit is about to start that has been ready since an instant. To be called before `start`.

        It may be that others have passed it meanwhile that take less: for it a budget was used up all the same, save
        for the time in which all slots were taken.
        """
        if self.at is not None and now > self.at:
            self._sum_up(now, self.at)
        until = ready
        for budget in self.budgets:
            amount = cost.get(budget.name, 0)
            room_at = budget.room_at(now, amount)
            if room_at > ready:
                budget.dry += self._uncovered(budget.lacks, ready, room_at)
            if room_at > until:
                until, self._counted = room_at, budget.name
            budget.charge(now, work_id, amount)
        if until > ready:
            self.lacked += self._uncovered(self._lacked, ready, until)

    def _uncovered(self, spans: list[Span], since: float, until: float) -> float:
        """Add a span to others that do not overlap, in order.

        Returns:
            Seconds by which they cover more than before, without those in which all slots were taken.
        """
        before = 0.0
        first, last = since, until
        while spans and spans[-1][1] >= since:
            start, end = spans.pop()
            before += self._free_in(start, end)
            first, last = min(first, start), max(last, end)
        spans.append((first, last))
        return max(0.0, self._free_in(first, last) - before)

    def _free_in(self, since: float, until: float) -> float:
        """Seconds of a span in which a slot was free."""
        return until - since - (self._full_by(until) - self._full_by(since))

    def _full_by(self, instant: float) -> float:
        """Seconds until an instant in which all slots were taken."""
        if self.at is None or instant >= self.at:
            return self.full
        place = bisect_right(self._times, instant) - 1
        return self._fulls[place] if place >= 0 else 0.0

    def settle(self, work_id: str, spent: Mapping[str, Amount] | None, *, is_free: bool = False) -> None:
        """An attempt has ended that has spent so much of the budgets; None: what it was charged."""
        for budget in self.budgets:
            budget.settle(work_id, 0 if is_free else None if spent is None else spent.get(budget.name))

    def hold(self, now: float, change: int) -> None:
        """Slots are taken without a start, or given back."""
        self.advance(now)
        self.in_use += change
        self.most = max(self.most, self.in_use)

    def leave(self, now: float) -> None:
        """An attempt is over, and its work unit has not settled."""
        self.advance(now)
        self.in_use -= 1

    def end(self, now: float, *, completed: bool) -> None:
        """A work that had started has settled."""
        self.leave(now)
        if completed:
            self.done += 1
        else:
            self.failed += 1

    def refuse(self, now: float, until: float) -> None:
        """Its server has refused a work unit for now."""
        self.refusals += 1
        self.holds.add(REFUSED, now, until)

    def note(self) -> None:
        """A work unit has settled, of this service or another, and the sums go up to now: it may be the last one."""
        self._noted = self.busy, self.full, self.dry

    def go_back(self) -> None:
        """Let the sums be what they were when the last work unit settled."""
        self.busy, self.full, self.dry = self._noted

    def waited(self, since: float, now: float) -> Waited:
        """For what a work unit has waited that was ready at an instant and starts now.

        There may be no reading of that instant; that before it tells too much.
        """
        place = bisect_right(self._times, since) - 1
        dry, lacked, full = self.dry, self.lacked, self.full
        if place >= 0:
            dry, full = dry - self._drys[place], full - self._fulls[place]
            lacked -= self._lacks[place] if self.budgets else 0.0
        left = now - since
        # Where there are several at a time the one counts that lasts longest.
        by = self.holds.by(since, now) if self.holds else []
        held, held_by = (by[0].seconds, by[0].by) if by else (0.0, "")
        left -= held
        lacked = min(lacked, left)
        dry = min(dry, left - lacked)
        return Waited(self.name, dry, lacked, min(full, left - lacked - dry), self._counted, held, held_by)

    @property
    def _for_each(self) -> list[ServiceAccount]:
        """What has limits of its own: itself, or its keys."""
        return [self] if self.keys is None else list(self.keys.values())

    @property
    def rate_text(self) -> str:
        """Its rate in words, "" if there is none."""
        return self._said([one.rate or "" for one in self._for_each])

    @property
    def slots_text(self) -> str:
        """How many slots it has, in words."""
        return self._said([str(one.concurrent or "any number") for one in self._for_each])

    def budget_text(self, counted: str) -> str:
        """What a budget allows, in words."""
        return self._said(
            [one.text for each in self._for_each for one in each.budgets if one.name == counted]
        )

    def _said(self, texts: list[str]) -> str:
        """What each key has, in words."""
        if self.keys is None or not any(texts):
            return "".join(texts[:1])
        return f"{texts[0]} per key" if len(set(texts)) == 1 else "what each key has"

    def worst(self) -> ServiceAccount:
        """Itself, or of its keys the one for whose rate or budgets most was waited."""
        return max(self._for_each, key=lambda one: (one.dry + one.lacked, one.starts), default=self)

    def slots_used(self, seconds: float) -> float | None:
        """The share of its slots that was taken over so many seconds, None without a limit."""
        return self.busy / (self.concurrent * seconds) if self.concurrent and seconds > 0 else None

    def rate_used(self, began: float) -> float | None:
        """The share of the starts that the rate allowed which were made, None without a rate."""
        if not self.starts:
            return None
        passed = self.last_start - began
        if self.burst:
            return self.starts / (self.burst + passed * self.per_second)
        return max(
            (self.starts / (count * (int(passed / period) + 1)) for count, period, _ in self._windows),
            default=None,
        )


class TaskAccount:
    """The sums of one task.

    Attributes:
        name: Its name.
        submitted: How many of its work units were submitted.
        done: How many completed.
        failed: How many failed.
        retries: How many attempts were not the last.
        skipped: How many were up to date.
        durations: Seconds of each completed run.
        unproved: How many completed and declare nothing that would prove it.
    """

    __slots__ = ("done", "durations", "failed", "name", "retries", "skipped", "submitted", "unproved")

    def __init__(self, name: str) -> None:
        self.name = name
        self.submitted = self.done = self.failed = self.retries = self.skipped = self.unproved = 0
        self.durations: list[float] = []
