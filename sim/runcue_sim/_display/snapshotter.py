"""Snapshots of a run, taken while it goes on.

Lives here: `Camera`, which puts together what the accounts, the cue and the latest events say.

Must not know: how anything is drawn, or how often.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import runcue
from runcue.testing import VirtualTimeLoop
from runcue_sim._display.snapshot import Group, ServiceLine, Snapshot, group_blocked
from runcue_sim._engine.clocks import wall_clock
from runcue_sim._records.eta import Eta, Left, Limit, Steady, estimate
from runcue_sim._records.event_log import Entry
from runcue_sim._records.ledger import Ledger

_WINDOW: Final = 10.0
_SAMPLED_EVERY: Final = 0.25
_KEPT_ENTRIES: Final = 100
_KEPT_STARTS: Final = 5000
_DURATIONS: Final = 500
_ASK_EVERY: Final = 1.0
_ASK_SHARE: Final = 100.0

_ENDS: Final = frozenset(("completed", "failed", "cancelled", "timeout"))


class Camera:
    """Takes snapshots of a run. It is a taker of the run's trace, for the latest events.

    Args:
        books: The accounts of the run.
        cue: What runs.
        settings: What is run, in a line.
        expected: How many works there will be if all goes well, None if nobody knows.
        more: Whether there may be more than that, or than are submitted.
        submit_rate: Works that are submitted per second, None if all are at once.
        warnings: Gives what was warned of so far, a line each.
    """

    def __init__(
        self,
        books: Ledger,
        cue: runcue.Cue,
        *,
        settings: str = "",
        expected: int | None = None,
        more: Callable[[], bool] = lambda: False,
        submit_rate: float | None = None,
        warnings: Callable[[], Iterable[str]] = tuple,
    ) -> None:
        self._books = books
        self._cue = cue
        self._settings = settings
        self._expected = expected
        self._more = more
        self._submit_rate = submit_rate
        self._warnings = warnings
        self._entries: deque[Entry] = deque(maxlen=_KEPT_ENTRIES)
        self._uses = {task.name: tuple(task.services) for task in cue.tasks()}
        self._starts: dict[str, deque[float]] = {}
        for status in cue.services():
            if status.count is not None or status.burst is not None:
                self._starts[status.name] = deque(maxlen=min(status.count or _KEPT_STARTS, _KEPT_STARTS))
        self._running: dict[str, tuple[str, float]] = {}
        self._cancelled: dict[str, int] = {}
        self._samples: deque[tuple[float, int, dict[str, int]]] = deque()
        self._steady = Steady()
        self._groups: tuple[Group, ...] = ()
        self._ask_at = 0.0
        self._moved = (0, 0, 0)
        self._stuck = False

    def add(self, entry: Entry) -> None:
        """Take note of an event."""
        self._entries.append(entry)
        if entry.event == "started":
            self._running[entry.work_id] = (entry.task, entry.at)
            for service in self._uses.get(entry.task, ()):
                starts = self._starts.get(service)
                if starts is not None:
                    starts.append(entry.at)
        elif entry.event in _ENDS:
            self._running.pop(entry.work_id, None)
            if entry.event == "cancelled":
                self._cancelled[entry.task] = self._cancelled.get(entry.task, 0) + 1

    def take(self) -> Snapshot:
        """The run as it is now. To be called from the run's event loop."""
        books = self._books
        loop = asyncio.get_running_loop()
        elapsed = max(0.0, loop.time() - books.began) if books.submitted else 0.0
        settled = books.completed + books.failed + books.skipped + books.cancelled
        self._ask()
        paces = self._paces(elapsed, settled)
        total = max(books.submitted, self._expected or 0)
        more = self._more()
        services = self._cue.services()
        eta = self._estimate(services, total - books.submitted, elapsed, more=more)
        return Snapshot(
            settings=self._settings,
            clock="virtual time" if isinstance(loop, VirtualTimeLoop) else "real time",
            elapsed=elapsed,
            queued=books.pending,
            running=books.running,
            completed=books.completed,
            failed=books.failed,
            on_purpose=books.failed_on_purpose,
            skipped=books.skipped,
            cancelled=books.cancelled,
            blocked=min(sum(group.count for group in self._groups), books.pending),
            total=total,
            more=more,
            eta=self._steady.follow(eta, elapsed),
            pace=paces.get("", 0.0),
            mean_pace=settled / elapsed if elapsed > 0 else 0.0,
            services=tuple(self._line(status, paces) for status in services),
            groups=self._groups,
            entries=tuple(self._entries),
            warnings=tuple(self._warnings()),
        )

    def _line(self, status: runcue.ServiceStatus, paces: Mapping[str, float]) -> ServiceLine:
        book = self._books.services.get(status.name)
        return ServiceLine(
            name=status.name,
            in_use=status.in_use,
            slots=status.concurrent,
            rate=status.rate,
            tokens=status.tokens,
            count=status.count,
            next_token=status.next_token,
            bucket=status.burst is not None,
            done=book.done if book else 0,
            failed=book.failed if book else 0,
            pace=paces.get(status.name, 0.0),
        )

    def _ask(self) -> None:
        """Ask what is blocked, but only now and then: the answer takes time for each work, and gates may be asked."""
        began = time.monotonic()
        if began < self._ask_at:
            return
        books = self._books
        self._groups = group_blocked(self._cue.debug_blocked()) if books.pending else ()
        took = time.monotonic() - began
        self._ask_at = began + max(_ASK_EVERY, _ASK_SHARE * took)
        moved = (books.submitted, books.running, books.pending)
        # Between the end of a work and the start of the next one everything looks blocked for a moment.
        blocked = sum(group.count for group in self._groups)
        self._stuck = moved == self._moved and not books.running and blocked >= books.pending > 0
        self._moved = moved

    def _paces(self, elapsed: float, settled: int) -> dict[str, float]:
        """What ended per second, by service, and in all for the empty name."""
        ended = {book.name: book.done + book.failed for book in self._books.services.values()}
        samples = self._samples
        if not samples or elapsed - samples[-1][0] >= _SAMPLED_EVERY:
            samples.append((elapsed, settled, ended))
        while len(samples) > 2 and elapsed - samples[1][0] >= _WINDOW:
            samples.popleft()
        since, settled_then, ended_then = samples[0]
        seconds = elapsed - since
        if seconds <= 0:
            return {}
        paces = {name: (number - ended_then.get(name, 0)) / seconds for name, number in ended.items()}
        paces[""] = (settled - settled_then) / seconds
        return paces

    def _estimate(
        self, services: list[runcue.ServiceStatus], unsubmitted: int, elapsed: float, *, more: bool
    ) -> Eta:
        """How long the rest takes, from all that is known."""
        now = wall_clock()
        waiting: dict[str, int] = {}
        for group in self._groups:
            waiting[group.task] = waiting.get(group.task, 0) + group.count
        running: dict[str, list[float]] = {}
        for task, started in self._running.values():
            running.setdefault(task, []).append(max(0.0, now - started))
        # With a single task there is no doubt of which task the others will be.
        certain = unsubmitted if len(self._books.tasks) == 1 else 0
        left = []
        for book in self._books.tasks.values():
            runs = running.get(book.name, ())
            settled = book.done + book.failed + book.skipped + self._cancelled.get(book.name, 0)
            left.append(
                Left(
                    book.name,
                    self._uses.get(book.name, ()),
                    queued=max(0, book.submitted - settled - len(runs)) + certain,
                    running=runs,
                    took=sorted(book.durations[-_DURATIONS:]),
                    finished=book.done,
                    waiting=waiting.get(book.name, 0),
                )
            )
        limits = {
            status.name: Limit(
                status.name,
                slots=status.concurrent,
                count=status.count,
                period=status.period or 0.0,
                tokens=status.tokens or 0,
                next_token=status.next_token,
                starts=self._starts.get(status.name, ()),
                now=now,
                bucket=status.burst is not None,
            )
            for status in services
        }
        coming = None
        if unsubmitted > 0 and self._submit_rate:
            coming = unsubmitted / self._submit_rate
        elif certain and self._books.submitted > 1:
            coming = certain * elapsed / (self._books.submitted - 1)
        return estimate(
            left,
            limits,
            coming=coming,
            more=more or unsubmitted > certain,
            stuck=self._stuck and not unsubmitted,
        )
