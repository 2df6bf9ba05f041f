"""The accounts of a run: when each work was submitted, ready, started and done, and what it waited for meanwhile.

Lives here: `Ledger`, which listens to a cue; `ServiceAccount` and `TaskAccount`, its sums; `Record`, one work. All
times are seconds of the event loop's clock.

A ready work waits for one of two things, and an account is kept of both: how long the rate of a service was used up
(dry), and how long, apart from that, all its slots were taken (full). What a work waited for is the difference between
two readings, so it costs the same for a long wait as for a short one.

Must not know: what is made of it, where work units come from.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Hashable, Mapping
from typing import Final

import runcue
from runcue_sim._records.event_log import Trace
from runcue_sim._text.figures import plain, shortened

THREADS: Final = "(threads)"
"""The threads of a cue, as a service."""

_ONE: Final = 1.0 - 1e-9
"""Enough of a token, after some rounding."""

_SAME_INSTANT: Final = 0.005
"""On a real clock the end of one work and the start of the next are this near, at the most."""


class Record:
    """One work.

    Attributes:
        id: Its id.
        task: The name of its task.
        item: What it is about, in a word: from its params.
        services: Names of its services.
        submitted: When it was submitted.
        ready: When all it needs was there; None before it started.
        started: When its handler was entered, None if it never was.
        ended: When it settled, None if it never did.
        outcome: "completed", "failed", "skipped", "cancelled", or "" for none.
        on_purpose: Whether it failed because that was asked for.
        rate: Seconds it was ready and waited for the rate of a service.
        slots: Seconds it was ready and waited for a slot.
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
    bound_by = ""

    def __init__(self, id: str, task: str, item: str, services: tuple[str, ...], submitted: float) -> None:
        self.id = id
        self.task = task
        self.item = item
        self.services = services
        self.submitted = submitted

    @property
    def gate(self) -> float:
        """Seconds until what it needs was there."""
        return 0.0 if self.ready is None else self.ready - self.submitted

    @property
    def other(self) -> float:
        """Seconds it was ready and waited for neither rate nor slots: others were before it."""
        if self.started is None or self.ready is None:
            return 0.0
        return max(0.0, self.started - self.ready - self.rate - self.slots)


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
            self.rate = f"{self.per_second * 60:g}/min, bursts of {self.burst:g}"
        # What is in the bucket; negative if somebody else had put it there.
        self._level = self.burst
        self.in_use = self.most = self.starts = self.done = self.failed = 0
        self.busy = self.full = self.dry = self.last_start = 0.0
        self.at: float | None = None
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

    def end(self, now: float, *, completed: bool) -> None:
        """A work that had started has settled."""
        self.advance(now)
        self.in_use -= 1
        if completed:
            self.done += 1
        else:
            self.failed += 1

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
        skipped: How many were up to date.
        durations: Seconds of each completed run.
        unproved: How many completed and declare nothing that would prove it.
    """

    __slots__ = ("done", "durations", "failed", "name", "skipped", "submitted", "unproved")

    def __init__(self, name: str) -> None:
        self.name = name
        self.submitted = self.done = self.failed = self.skipped = self.unproved = 0
        self.durations: list[float] = []


class Ledger:
    """Keeps the accounts of one run. Make it before the cue is started.

    Args:
        cue: The cue to observe.
        trace: Is told of every event.
        on_purpose: Whether an error was asked for.
        ready_at: When is_ready first said yes, by work, as far as somebody noted it.

    Attributes:
        submitted: How many work units were submitted; likewise `running`, `completed`, `failed`, `skipped`,
            `cancelled`.
        failed_on_purpose: How many of the failed ones were asked for, or could not run because of those.
        excused: The ids of work units whose failure is the consequence of one that was asked for.
        services: By name.
        tasks: By name.
        records: Of all work units, in the order of submission.
        began: When the first work was submitted.
        ended: When the last one settled.
        open: Whether it still listens.
    """

    def __init__(
        self,
        cue: runcue.Cue,
        trace: Trace,
        *,
        on_purpose: Callable[[BaseException], bool] = lambda error: False,
        ready_at: Mapping[str, float] | None = None,
    ) -> None:
        self._trace = trace
        self._takers = trace.takers
        self._on_purpose = on_purpose
        self._ready_at = {} if ready_at is None else ready_at
        self._cue = cue
        self.services = {status.name: ServiceAccount(status) for status in cue.services()}
        self.tasks = {task.name: TaskAccount(task.name) for task in cue.tasks()}
        self._uses = {task.name: self._used_by(task, cue.max_threads) for task in cue.tasks()}
        self._all = tuple(self.services.values())
        self._time: Callable[[], float] = float  # the loop's, as soon as there is one
        self.records: list[Record] = []
        self._of: dict[str, Record] = {}
        self._made: dict[Hashable, float] = {}
        self._ends: list[float] = []
        self._enders: list[Record] = []
        self.submitted = self.running = self.completed = self.failed = self.skipped = self.cancelled = 0
        self.failed_on_purpose = 0
        self.excused: set[str] = set()
        self.began = self.ended = 0.0
        self.open = True
        cue.observe(_Bookkeeper(self))

    def _used_by(self, task: runcue.Task, max_threads: int) -> tuple[ServiceAccount, ...]:
        uses = [self.services[name] for name in task.services]
        if not task.is_async and all(service.concurrent is None for service in uses):
            # Plain handlers that no service limits share the threads of their cue.
            status = runcue.ServiceStatus(THREADS, max_threads, 0, None, None, None, None, None, None, None)
            uses.append(self.services.setdefault(THREADS, ServiceAccount(status)))
        return tuple(uses)

    @property
    def moves(self) -> int:
        """How many events there were; whether it has grown tells whether anything moves."""
        return (
            self.submitted + self.running + 2 * len(self._ends) + self.skipped + self.cancelled + self.failed
        )

    @property
    def pending(self) -> int:
        """How many work units are neither running nor settled."""
        return self.submitted - self.running - self.completed - self.failed - self.skipped - self.cancelled

    def record(self, work_id: str) -> Record | None:
        """The record of a work."""
        return self._of.get(work_id)

    def ended_at(self, instant: float) -> Record | None:
        """The work whose end made something possible at an instant, None if none ended then."""
        place = bisect_right(self._ends, instant) - 1
        if place < 0 or instant - self._ends[place] > _SAME_INSTANT:
            return None
        return self._enders[place]

    def close(self) -> None:
        """Listen no more: what comes now is the end of the rehearsal, not of what is rehearsed."""
        self.open = False
        for service in self.services.values():
            service.advance(self._time())

    def asking(self, work: runcue.Work, change: int) -> None:
        """A gate of a work is being awaited (1), or was (-1): it holds the slots of the work meanwhile."""
        if self.open and work.id in self._of:
            for service in self._uses[work.task]:
                service.hold(self._time(), change)

    def enter(self, work: runcue.Work) -> None:
        """A work was submitted."""
        if not self.open:
            return
        if not self.records:
            self._time = asyncio.get_running_loop().time
            self.began = self.ended = self._time()
        now = self._time()
        item = item_of(work)
        uses = self._uses[work.task]
        record = Record(work.id, work.task, item, tuple(service.name for service in uses), now)
        self.records.append(record)
        self._of[work.id] = record
        self.submitted += 1
        self.tasks[work.task].submitted += 1
        for service in uses:
            service.advance(now)
        if self._takers:
            self._trace.add(work.created_at, "queued", work.task, work.id, item)

    def start(self, work: runcue.Work) -> None:
        """The handler of a work is about to be entered."""
        record = self._of.get(work.id)
        if record is None or not self.open:
            return
        now = self._time()
        self.running += 1
        record.started = now
        ready = record.submitted
        if self._ready_at:
            ready = max(ready, self._ready_at.get(work.id, 0.0))
        for artifact in work.inputs:
            ready = max(ready, self._made.get(artifact, 0.0))
        record.ready = ready = min(now, ready)
        for service in self._uses[work.task]:
            service.start(now)
            if ready < now:
                rate, slots = service.waited(ready)
                if rate + slots > record.rate + record.slots:
                    record.rate, record.slots, record.bound_by = rate, slots, service.name
        if self._takers:
            waited = f"waited {now - record.submitted:.1f}s" if now - record.submitted >= 0.05 else ""
            self._trace.add(work.started_at or 0.0, "started", work.task, work.id, _with(record.item, waited))

    def end(self, work: runcue.Work, duration: float) -> None:
        """A work has settled; its handler has run for so long."""
        record = self._of.get(work.id)
        if record is None or record.outcome or not self.open:
            return
        now, details = self._time(), ""
        record.outcome = outcome = event = "skipped" if work.skipped else work.state.value
        record.ended = self.ended = now
        task = self.tasks[work.task]
        if outcome == "completed":
            self._note_completed(work, task, now, duration)
            details = f"{duration * 1000:.0f}ms" if self._takers else ""
        elif outcome == "failed":
            self.failed += 1
            task.failed += 1
            error = work.exception
            assert error is not None
            record.on_purpose = self._on_purpose(error) or work.id in self.excused
            self.failed_on_purpose += record.on_purpose
            details = str(error) or type(error).__name__
            if isinstance(error, TimeoutError) and isinstance(error, runcue.RuncueError):
                event = "timeout"
        elif outcome == "skipped":
            self.skipped += 1
            task.skipped += 1
        else:
            self.cancelled += 1
        if record.started is not None:
            self._ends.append(now)
            self._enders.append(record)
            self.running -= 1
            for service in self._uses[work.task]:
                service.end(now, completed=outcome == "completed")
        # Whatever this end makes ready begins to wait now, so there must be a reading to count from.
        for service in self._all:
            if service.at != now:
                service.advance(now)
        if self._takers:
            at = work.completed_at or 0.0
            self._trace.add(at, event, work.task, work.id, _with(record.item, details))

    def _note_completed(self, work: runcue.Work, task: TaskAccount, now: float, duration: float) -> None:
        self.completed += 1
        task.done += 1
        task.durations.append(duration)
        outputs = work.outputs
        task.unproved += not outputs
        for artifact in outputs:
            self._made[artifact] = now


class _Bookkeeper(runcue.Observer):
    """Enters into a ledger what a cue does."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def submitted(self, work: runcue.Work) -> None:
        self._ledger.enter(work)

    def started(self, work: runcue.Work) -> None:
        self._ledger.start(work)

    def settled(self, work: runcue.Work, duration: float) -> None:
        self._ledger.end(work, duration)


def _with(item: str, details: str) -> str:
    return f"{item} {details}".strip()


def item_of(work: runcue.Work) -> str:
    """What a work is about, in a word: its only or first param, shortened."""
    for value in work.params.values():
        return shortened(plain(value if type(value) is str else str(value)), 40)
    return ""
