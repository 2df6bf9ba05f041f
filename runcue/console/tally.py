"""What becomes of the work units of a cue, counted as it happens.

Lives here: `Tally`, which observes a cue and gives a `Snapshot` of it. An event costs a few look-ups; a snapshot costs
something for each task and service, and nothing for each work unit.

Must not know: how anything is shown, or how often. It lives in the cue's event loop only.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import islice
from typing import Any, Final

import runcue
from runcue.console.attempts import AttemptTally, Trouble
from runcue.console.eta import Budget, Eta, Left, Limit, Steady, estimate
from runcue.console.snapshot import Snapshot, TaskCounts
from runcue.console.waits import Waits, some

logger = logging.getLogger("runcue")

_WINDOW: Final = 10.0
_SAMPLED_EVERY: Final = 0.25
_COMING: Final = 2.0
_STILL: Final = 1.0
_DURATIONS: Final = 500
_STARTS: Final = 5000
_RUNNING: Final = 200

_DONE, _FAILED, _SKIPPED, _CANCELLED = range(4)


class TaskTally:
    """What has become of the work units of one task.

    Attributes:
        name: Its name.
        services: Those that it uses.
        pending: Its work units that have not started, as keys, in the order in which they were heard of.
        running: Those that run, likewise.
        ended: How many have completed, failed, were up to date, were cancelled.
        took: Seconds that the latest of those that completed took.
        began: When the first one started, by the wall clock; 0.0: none has.
        attempts: How their attempts end.
        starts: When work units started, a line of instants for each of its services that has a rate.
    """

    def __init__(self, name: str, services: tuple[str, ...], starts: tuple[deque[float], ...]) -> None:
        self.name = name
        self.services = services
        self.pending: dict[runcue.Work, None] = {}
        self.running: dict[runcue.Work, None] = {}
        self.ended = [0, 0, 0, 0]
        self.took: deque[float] = deque(maxlen=_DURATIONS)
        self.began = 0.0
        self.attempts = AttemptTally()
        self.starts = starts

    def there(self) -> tuple[dict[runcue.Work, None], dict[runcue.Work, None]]:
        """Its work units that are not over."""
        return self.pending, self.running

    def counts(self, pace: float) -> TaskCounts:
        """The numbers."""
        done, failed, skipped, cancelled = self.ended
        there = len(self.pending), len(self.running)
        return TaskCounts(self.name, *there, done, failed, skipped, cancelled, pace, self.attempts.retried)


class Tally(runcue.Observer):
    """Counts what becomes of the work units of a cue.

    Args:
        title: What is run, in a line.
        total: How many work units there will be, None if nobody knows.
        notes: Gives further lines to be shown.

    Attributes:
        loop: The event loop of the cue, None as long as that is not known.
        is_lost: Whether it is to be found out anew with the next event: there was none yet, or it was closed.
    """

    def __init__(self, title: str, total: int | None, notes: Callable[[], Iterable[str]] | None) -> None:
        self._title = title
        self._total = total
        # How many there will be by what was said of those that are to come; 0: nothing was.
        self._expected = 0
        self._notes = notes
        self._cue: runcue.Cue
        self.loop: asyncio.AbstractEventLoop | None = None
        self.is_lost = True
        self._began = 0.0
        self._tasks: dict[str, TaskTally] = {}
        self._starts: dict[str, deque[float]] = {}
        # The services whose servers have refused some, by their names.
        self._refusing: set[str] = set()
        # Now and then: the instant, and how many were over of each task.
        self._samples: deque[tuple[float, dict[str, int]]] = deque()
        # How many were pending, running and over, and since when that is so; and since when their sum is.
        self._there = (0, 0, 0)
        self._there_since = self._known_since = 0.0
        self._waits = Waits()
        self._steady = Steady()

    def attached(self, cue: runcue.Cue) -> None:
        """Take over what the cue holds already."""
        self._cue = cue
        with contextlib.suppress(RuntimeError):
            self._find_loop()

    def expected(self, task: str, number: int) -> None:
        """So many more are to come, or fewer, than are known so far."""
        if self.is_lost:
            self._find_loop()
        self._expected = max(self._expected, self._known()) + number

    def submitted(self, work: runcue.Work) -> None:
        """Count it."""
        if self.is_lost:
            self._find_loop()
        tally = self._tasks.get(work.task) or self._new(work.task)
        tally.pending[work] = None

    def started(self, work: runcue.Work) -> None:
        """Count it."""
        if self.is_lost:
            self._find_loop()
        tally = self._tasks.get(work.task) or self._new(work.task)
        tally.pending.pop(work, None)
        tally.running[work] = None
        tally.attempts.goes_on(work)
        if not tally.began:
            tally.began = work.started_at or 0.0
        for starts in tally.starts:
            starts.append(work.started_at or 0.0)

    resumed = started

    def attempt_failed(self, work: runcue.Work, error: BaseException, delay: float) -> None:
        """Another one follows."""
        tally = self._tasks.get(work.task) or self._new(work.task)
        tally.attempts.failed(work, error, delay)

    def put_back(self, work: runcue.Work, reason: str, delay: float | None) -> None:
        """It is pending again."""
        tally = self._tasks.get(work.task) or self._new(work.task)
        tally.running.pop(work, None)
        tally.pending[work] = None
        if reason == "throttled":
            tally.attempts.refuse(work)

    def settled(self, work: runcue.Work, duration: float) -> None:
        """Count it."""
        tally = self._tasks.get(work.task) or self._new(work.task)
        state = work.state
        has_run = tally.running.pop(work, False) is None
        if not has_run:
            tally.pending.pop(work, None)
        elif state is runcue.WorkState.COMPLETED:
            tally.took.append(duration)
        tally.attempts.ended(work, has_run=has_run)
        if state is runcue.WorkState.COMPLETED:
            tally.ended[_SKIPPED if work.skipped else _DONE] += 1
        else:
            tally.ended[_FAILED if state is runcue.WorkState.FAILED else _CANCELLED] += 1

    def _known(self) -> int:
        """How many work units there are, or were."""
        return sum(len(one.pending) + len(one.running) + sum(one.ended) for one in self._tasks.values())

    def _foreseen(self) -> int | None:
        """How many work units there will be, None if nobody knows."""
        return self._expected or None if self._total is None else self._total

    def _find_loop(self) -> None:
        """Learn in which event loop the cue is, and what was submitted before anybody watched.

        Raises:
            RuntimeError: In none.
        """
        loop = asyncio.get_running_loop()
        if self.loop is None:
            self._began = loop.time()
        self.loop, self.is_lost = loop, False
        listing = self._cue.list()
        try:
            listing.send(None)  # it awaits nothing, so this is all of it
        except StopIteration as listed:
            for work in listed.value:
                tally = self._tasks.get(work.task) or self._new(work.task)
                if work.state is runcue.WorkState.RUNNING:
                    tally.running[work] = None
                elif work.state is runcue.WorkState.PENDING:
                    tally.pending[work] = None

    def _new(self, name: str) -> TaskTally:
        task = self._cue.get_task(name)
        services = () if task is None else task.services
        for status in self._cue.services():
            if status.name in services and _limits_starts(status):
                self._starts.setdefault(status.name, deque(maxlen=_remembered(status)))
        starts = tuple(self._starts[service] for service in services if service in self._starts)
        tally = self._tasks[name] = TaskTally(name, services, starts)
        return tally

    def take(self) -> Snapshot:
        """The cue as it is now; to be called in its event loop, or when that has ended."""
        assert self.loop is not None
        for task in self._cue.tasks():
            if task.name not in self._tasks:
                self._new(task.name)
        now = self.loop.time()
        elapsed = max(0.0, now - self._began)
        clock: Any = getattr(self.loop, "runcue_clock", time)
        paces = self._paces(now)
        pending = {tally.name: tally.pending for tally in self._tasks.values()}
        services = tuple(self._cue.services())
        held = [(one.name, one.paused is None, one.throttled is None, one.broken is None) for one in services]
        snapshot = Snapshot(
            title=self._title,
            elapsed=elapsed,
            virtual=clock is not time,
            tasks=tuple(one.counts(paces.get(one.name, 0.0)) for one in self._tasks.values()),
            services=services,
            waits=self._waits.ask(self._cue, pending, clock.time(), held),
            troubles=self._troubles(),
            notes=self._noted(),
        )
        whole = snapshot.whole
        there = (whole.pending, whole.running, whole.settled)
        known, total = sum(there), self._foreseen()
        if known != sum(self._there):
            # At the first look they may all have been there for long.
            age = 0.0 if sum(self._there) else self._age_of_newest(clock.time())
            self._known_since = now - age
        if there != self._there:
            self._there, self._there_since = there, now
        return replace(
            snapshot,
            total=max(known, total or 0),
            eta=self._steady.follow(self._estimate(snapshot, clock.time(), now), elapsed),
            mean_pace=whole.settled / elapsed if elapsed > 0 else 0.0,
        )

    def _troubles(self) -> tuple[Trouble, ...]:
        """Of which tasks attempts fail, those of which most do first."""
        told = [one for tally in self._tasks.values() if (one := tally.attempts.trouble(tally.name))]
        return tuple(sorted(told, key=lambda one: (-one.failed, -one.waiting)))

    def _age_of_newest(self, wall: float) -> float:
        """Seconds for which nothing was submitted."""
        newest = [
            next(reversed(one)).created_at for tally in self._tasks.values() for one in tally.there() if one
        ]
        return max(0.0, wall - max(newest, default=wall))

    def _paces(self, now: float) -> dict[str, float]:
        """What ended per second, by task."""
        over = {tally.name: sum(tally.ended) for tally in self._tasks.values()}
        samples = self._samples
        if not samples or now - samples[-1][0] >= _SAMPLED_EVERY:
            samples.append((now, over))
        while len(samples) > 2 and now - samples[1][0] >= _WINDOW:
            samples.popleft()
        since, before = samples[0]
        if now <= since:
            return {}
        return {name: (number - before.get(name, 0)) / (now - since) for name, number in over.items()}

    def _noted(self) -> tuple[str, ...]:
        try:
            return tuple(map(str, self._notes())) if self._notes is not None else ()
        except Exception:
            logger.exception("notes= of runcue.progress() raised; it is not asked again.")
            self._notes = None
            return ()

    def _estimate(self, snapshot: Snapshot, wall: float, now: float) -> Eta:
        """How long the rest takes, from all that is known."""
        pending, running, _ = self._there
        known = sum(self._there)
        total = self._foreseen()
        unsubmitted = max(0, (total or 0) - known)
        # With a single task there is no doubt of which task the others will be.
        certain = unsubmitted if len(self._tasks) == 1 else 0
        if unsubmitted and not certain and not pending and not running:
            return Eta(None, "nothing is submitted")
        waiting, ahead = Counter[str](), defaultdict[str, float](float)
        for group in snapshot.waits:
            waiting[group.task] += 0 if group.for_turn else group.number
            ahead[group.task] = max(ahead[group.task], group.ahead)
        left = []
        for tally in self._tasks.values():
            # Of a great many that run, most count as if they were about to start.
            ages = [max(0.0, wall - (one.started_at or wall)) for one in islice(tally.running, _RUNNING)]
            queued = len(tally.pending) + len(tally.running) - len(ages) + certain
            took, done, waits = sorted(tally.took), tally.ended[_DONE], waiting[tally.name]
            tries = tally.attempts
            left.append(
                Left(
                    tally.name,
                    tally.services,
                    queued,
                    ages,
                    took,
                    done,
                    waits,
                    ahead[tally.name],
                    tries.each,
                    sorted(tries.took),
                    tries.delay,
                    tries.unended,
                )
            )
        limits = {}
        for one in snapshot.services:
            limits[one.name] = self._limit(one, wall)
        is_still = pending and not running and not unsubmitted and now - self._there_since >= _STILL
        comes_more = now - self._known_since < _COMING and (total is None or known > total)
        return estimate(
            left,
            limits,
            coming=certain * snapshot.elapsed / (known - 1) if certain and known > 1 else None,
            more=comes_more or unsubmitted > certain,
            stuck=bool(is_still) and self._waits.hopeless,
        )

    def _limit(self, one: runcue.ServiceStatus, wall: float) -> Limit:
        """What a service allows."""
        starts = self._starts.get(one.name, ())
        period = one.period + one.margin if one.period else 0.0
        rates = [
            Limit(one.name, None, rate.count, rate.period + one.margin, rate.tokens, None, starts, wall)
            for rate in one.rates
            if (rate.count, rate.period) != (one.count, one.period)
        ]
        return Limit(
            one.name,
            None if one.keys is not None else one.concurrent,
            one.count,
            period,
            one.tokens or 0,
            one.next_token,
            starts,
            wall,
            # What limits of a user's own allow shows in the pace alone, as with a bucket; so does what keys have.
            one.burst is not None or bool(one.limits) or one.keys is not None,
            rates,
            self._budgets(one) if one.budgets else (),
            max(one.paused or 0.0, one.throttled or 0.0, one.broken or 0.0),
            one.throttled is not None or one.broken is not None,
            max((tally.attempts.refused for tally in self._using(one.name)), default=0),
            self._pace_of(one, wall),
        )

    def _using(self, service: str) -> list[TaskTally]:
        return [tally for tally in self._tasks.values() if service in tally.services]

    def _pace_of(self, one: runcue.ServiceStatus, wall: float) -> float:
        """How many ended per second of those that use a service, if its server has refused some."""
        if one.throttled is not None:
            self._refusing.add(one.name)
        if one.name not in self._refusing:
            return 0.0
        using = [tally for tally in self._using(one.name) if tally.began]
        began = min((tally.began for tally in using), default=wall)
        ended = sum(tally.ended[_DONE] + tally.ended[_FAILED] for tally in using)
        return ended / (wall - began) if wall > began else 0.0

    def _budgets(self, one: runcue.ServiceStatus) -> list[Budget]:
        """Its budgets, and what all those take of them together that have not started."""
        from runcue.rehearsal import cost_of  # noqa: PLC0415 - only where there are budgets

        queued = dict.fromkeys(one.budgets, 0.0)
        for tally in self._tasks.values():
            if one.name in tally.services and tally.pending:
                # All of them are asked if they are few.
                costs = [cost_of(work) for work in some(tally.pending)]
                starts = len(tally.pending) * tally.attempts.each
                starts += len(tally.running) * (tally.attempts.each - 1)
                for name in queued:
                    mean = float(sum(cost.get(name, 0) for cost in costs)) / len(costs)
                    queued[name] += mean * starts
        return [
            Budget(name, float(it.limit), it.period + one.margin, float(it.used + it.debt), queued[name])
            for name, it in one.budgets.items()
        ]


def _limits_starts(status: runcue.ServiceStatus) -> bool:
    """Whether a service limits starts in a way for which the former ones are to be known."""
    bucket = status.burst is not None or bool(status.limits) or status.keys is not None
    return bucket or bool(status.count or status.budgets)


def _remembered(status: runcue.ServiceStatus) -> int:
    """How many of its starts are to be known."""
    return (
        _STARTS if status.budgets else min(max((one.count for one in status.rates), default=_STARTS), _STARTS)
    )
