"""The accounts of one service, one task and one work.

Lives here: `ServiceAccount` and `TaskAccount`, sums; `Record`, one work. Times are seconds of the event loop's clock.

A ready work waits for one of two things, and an account is kept of both: how long the rate of a service was used up
(dry), and how long, apart from that, all its slots were taken (full). What a work waited for is the difference between
two readings, so it costs the same for a long wait as for a short one.

Must not know: who enters into them, what is made of them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from typing import Final

import runcue

THREADS: Final = "(threads)"
"""The threads of a cue, as a service."""

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
        slots: Seconds it was ready and waited for a slot.
        ahead: Seconds from its submission until the instant that it was submitted for.
        tried: Seconds that attempts took which were not the last.
        put_back: Seconds between the end of such an attempt and the instant of the next one.
        retries: How many of them have failed.
        bound_by: The service that these are about, empty if there is none.
    """

    # What most work units never have stands in the class: a record is made for each of a million work units.
    ready: float | None = None
    started: float | None = None
    ended: float | None = None
    outcome = ""
    on_purpose = False
    rate = 0.0
    slots = 0.0
    ahead = 0.0
    tried = 0.0
    put_back = 0.0
    retries = 0
    bound_by = ""

    def __init__(self, id: str, task: str, item: str, services: tuple[str, ...], submitted: float) -> None:
        self.id = id
        self.task = task
        self.item = item
        self.services = services
        self.submitted = submitted

    def wait(self, rate: float, slots: float, service: str) -> None:
        """An attempt has waited so long, and longest for that service."""
        if rate + slots > self.rate + self.slots:
            self.bound_by = service
        self.rate += rate
        self.slots += slots

    @property
    def gate(self) -> float:
        """Seconds until what it needs was there, from when it was to start."""
        return 0.0 if self.ready is None else max(0.0, self.ready - self.submitted - self.ahead)

    @property
    def other(self) -> float:
        """Seconds it was ready and waited for neither rate nor slots: others were before it."""
        if self.started is None or self.ready is None:
            return 0.0
        known = self.rate + self.slots + self.tried + self.put_back
        return max(0.0, self.started - self.ready - known)


class ServiceAccount:
    """The sums of one service.

    Attributes:
        name: Its name.
        concurrent: Its slots, None for any number.
        rate: The rate as written, None for none.
        count: Starts per period.
        period: Seconds.
        burst: Size of the bucket that decides instead, 0 for none.
        per_second: Starts that flow back into it.
        in_use: Slots taken now.
        most: The most that were ever taken.
        starts: How many work units started.
        done: How many completed.
        failed: How many failed.
        busy: Slot-seconds taken.
        full: Seconds in which all slots were taken and the rate was not used up.
        dry: Seconds in which the rate was used up.
        last_start: When the last work started.
        at: Up to when the sums go, None before the first.
    """

    def __init__(self, status: runcue.ServiceStatus) -> None:
        self.name = status.name
        self.concurrent = status.concurrent
        self.rate = status.rate
        self.count = status.count or 0
        self.period = status.period or 0.0
        self.burst = status.burst or 0.0
        self.per_second = status.per_second or 0.0
        if self.burst:
            self.rate = f"{self.per_second * 60:g}/min, burst {self.burst:g}"
        # What is in the bucket; negative if somebody else had put it there.
        self._level = self.burst
        self.in_use = self.most = self.starts = self.done = self.failed = 0
        self.busy = self.full = self.dry = self.last_start = 0.0
        self.at: float | None = None
        # The sums as they were when the last work unit settled.
        self._noted = 0.0, 0.0, 0.0
        self._recent: deque[float] = deque()
        # Readings: instants, and both sums at them.
        self._times: list[float] = []
        self._drys: list[float] = []
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

    def _sum_up(self, now: float, at: float) -> None:
        passed = now - at
        self.busy += passed * self.in_use
        recent = self._recent
        dry = 0.0
        if self.burst:
            if self._level < _ONE:
                dry = min((1.0 - self._level) / self.per_second, passed)
            self._level = min(self.burst, self._level + passed * self.per_second)
        elif self.count and len(recent) >= self.count:
            dry = min(max(recent[0] + self.period - at, 0.0), passed)
            while recent and recent[0] + self.period <= now:
                recent.popleft()
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
        self.most = max(self.most, self.in_use)
        self.last_start = now
        if self.burst:
            self._level -= 1.0
        elif self.count:
            self._recent.append(now)
            if len(self._recent) > self.count:
                self._recent.popleft()

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

    def note(self) -> None:
        """A work unit has settled, of this service or another, and the sums go up to now: it may be the last one."""
        self._noted = self.busy, self.full, self.dry

    def go_back(self) -> None:
        """Let the sums be what they were when the last work unit settled."""
        self.busy, self.full, self.dry = self._noted

    def waited(self, since: float) -> tuple[float, float]:
        """Seconds for which the rate was used up, and all slots taken, from an instant until the last reading."""
        place = bisect_right(self._times, since) - 1
        if place < 0:
            return self.dry, self.full
        return self.dry - self._drys[place], self.full - self._fulls[place]

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
        return self.starts / (self.count * (int(passed / self.period) + 1)) if self.count else None


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
