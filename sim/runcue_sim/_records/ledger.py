"""What happened in a run: when each work was submitted, ready, started and done, and what it waited for meanwhile.

Lives here: `Ledger`, which observes a cue and keeps the accounts.

Must not know: what is made of it, where work units come from.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Callable, Hashable, Mapping
from operator import attrgetter
from typing import Final

import runcue
from runcue.rehearsal import Place, cost_of, holds_of, keys_of, not_before, places_of
from runcue_sim._records.accounts import Record, ServiceAccount, TaskAccount, Waited
from runcue_sim._records.budget_account import Amount
from runcue_sim._records.event_log import Trace
from runcue_sim._text.figures import plain, seconds_in_words, shortened

_NO_KEY: Final = object()
_NOT_AT_ALL: Final = Waited()
_seconds: Final = attrgetter("seconds")

_OPTIONS: Final = {"threads": "max_threads", "processes": "max_processes"}
"""What bounds those of a cue's own."""

_SAME_INSTANT: Final = 0.005
"""On a real clock the end of one work and the start of the next are this near, at the most."""


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
        retries: How many attempts were not the last of their work unit.
        failed_on_purpose: How many of the failed ones were asked for, or could not run because of those.
        excused: The ids of work units whose failure is the consequence of one that was asked for.
        services: By name. Where handlers run has an account among them if that bounds how many do, such as "(threads)".
        places: Each of these in words, by its name.
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
        self.services = {
            status.name: ServiceAccount(status, holds_of(cue, status.name)) for status in cue.services()
        }
        self.tasks = {task.name: TaskAccount(task.name) for task in cue.tasks()}
        self.places: dict[str, str] = {}
        # What runs in one place shares its account.
        shared: dict[int, ServiceAccount] = {}
        self._uses: dict[str, tuple[ServiceAccount, ...]] = {}
        places = places_of(cue)
        for task in cue.tasks():
            uses = [self.services[name] for name in task.services]
            if (place := places.get(task.name)) is not None:
                if id(place) not in shared:
                    shared[id(place)] = self._open(place)
                uses.append(shared[id(place)])
            self._uses[task.name] = tuple(uses)
        self._all = tuple(self.services.values())
        self._time: Callable[[], float] = float  # the loop's, as soon as there is one
        self.records: list[Record] = []
        self._of: dict[str, Record] = {}
        # Of work units that have not settled and use services with limits for each key: what their keys have.
        self._parts: dict[str, tuple[ServiceAccount, ...]] = {}
        # What attempts that run have spent in truth.
        self._spent: dict[str, Mapping[str, Amount]] = {}
        self._made: dict[Hashable, float] = {}
        self._ends: list[float] = []
        self._enders: list[Record] = []
        self.submitted = self.running = self.completed = self.failed = self.skipped = self.cancelled = 0
        self.failed_on_purpose = self.retries = self._returns = 0
        # When those may go on that were put back, and those that have an instant ahead.
        self._again_at: dict[str, float] = {}
        self.excused: set[str] = set()
        self.began = self.ended = 0.0
        self.open = True
        cue.observe(_Bookkeeper(self))

    def _open(self, place: Place) -> ServiceAccount:
        """Open the account of a place where handlers run."""
        name, number = place.name, 1
        while f"({name})" in self.services:
            number += 1
            name = f"{place.name} {number}"
        if option := _OPTIONS.get(place.name):
            words = f"the {name} of the cue ({option}={place.slots})"
        elif place.is_known:
            words = f"the workers of {name} ({place.slots})"
        else:
            words = f"the workers of {name} (it is not known how many: max_threads={place.slots})"
        self.places[f"({name})"] = words
        status = runcue.ServiceStatus(f"({name})", place.slots, 0, None, None, None, None, None, None, None)
        account = self.services[f"({name})"] = ServiceAccount(status)
        return account

    @property
    def moves(self) -> int:
        """How many events there were; whether it has grown tells whether anything moves."""
        return (
            self.submitted
            + self.running
            + 2 * len(self._ends)
            + self.skipped
            + self.cancelled
            + self.failed
            + 2 * self._returns
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

    def close(self, *, cut: bool) -> None:
        """Listen no more: what comes now is the end of the rehearsal, not of what is rehearsed.

        Args:
            cut: Whether it is over in the midst of the work. Else it was over when the last work unit settled; gates
                of what is blocked may have been asked since.
        """
        self.open = False
        for service in self.services.values():
            if cut:
                service.advance(self._time())
            else:
                service.go_back()

    def asking(self, work: runcue.Work, change: int) -> None:
        """A gate of a work is being awaited (1), or was (-1): it holds the slots of the work meanwhile."""
        if self.open and work.id in self._of:
            for service in self._uses[work.task]:
                service.hold(self._time(), change)
            for part in self._parts.get(work.id, ()):
                part.hold(self._time(), change)

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
        if (instant := not_before(work)) is not None:
            record.ahead = max(0.0, instant - now)
        self.records.append(record)
        self._of[work.id] = record
        self.submitted += 1
        self.tasks[work.task].submitted += 1
        for service in uses:
            service.advance(now)
            if service.keys is not None:
                self._find_key(work, service, now)
        self._watch(work, now)
        if self._takers:
            self._trace.add(work.created_at, "queued", work.task, work.id, item)

    def _watch(self, work: runcue.Work, now: float) -> None:
        """Something has become of a work unit: see by what its services are held."""
        for service in (*self._uses[work.task], *self._parts.get(work.id, ())):
            service.holds.watch(now)

    def _find_key(self, work: runcue.Work, service: ServiceAccount, now: float) -> None:
        key = keys_of(work).get(service.name, _NO_KEY)
        if key is _NO_KEY:  # it could not be said, and the work unit fails by that
            return
        assert service.keys is not None
        part = service.keys.get(key)
        if part is None:
            kept = self._cue.get_service(service.name)
            assert kept is not None
            part = service.keys[key] = ServiceAccount(
                kept.status(key), holds_of(self._cue, service.name, key)
            )
        part.advance(now)
        self._parts[work.id] = (*self._parts.get(work.id, ()), part)

    def spend(self, work: runcue.Work, amounts: Mapping[str, Amount]) -> None:
        """The attempt of a work unit that runs has spent so much."""
        self._spent[work.id] = amounts

    def start(self, work: runcue.Work, event: str = "started") -> None:
        """The handler of a work is about to be entered."""
        record = self._of.get(work.id)
        if record is None or not self.open:
            return
        now = self._time()
        self.running += 1
        record.started = now
        ready = self._again_at.pop(work.id, None)
        if ready is None:
            ready = record.submitted + record.ahead
            if self._ready_at:
                ready = max(ready, self._ready_at.get(work.id, 0.0))
            for artifact in work.inputs:
                ready = max(ready, self._made.get(artifact, 0.0))
            record.ready = min(now, ready)
        ready = min(now, ready)
        self._watch(work, now)
        longest = _NOT_AT_ALL
        for service in (*self._uses[work.task], *self._parts.get(work.id, ())):
            if service.budgets:
                service.charge(now, ready, work.id, cost_of(work))
            service.start(now)
            if ready < now:
                longest = max(longest, service.waited(ready, now), key=_seconds)
        record.wait(longest)
        if self._takers:
            waited = f"waited {now - record.submitted:.1f}s" if now - record.submitted >= 0.05 else ""
            self._trace.add(work.started_at or 0.0, event, work.task, work.id, _with(record.item, waited))

    def put_back(self, work: runcue.Work, reason: str, delay: float) -> None:
        """An attempt is over, and its work unit goes on after so many seconds."""
        record = self._of.get(work.id)
        if record is None or not self.open:
            return
        now = self._time()
        self.running -= 1
        self._returns += 1
        if reason == "failed":
            self.retries += 1
            record.retries += 1
            self.tasks[work.task].retries += 1
        record.tried += now - (now if record.started is None else record.started)
        record.put_back += delay
        self._again_at[work.id] = now + delay
        spent = self._spent.pop(work.id, None)
        for service in (*self._uses[work.task], *self._parts.get(work.id, ())):
            service.leave(now)
            service.settle(work.id, spent, is_free=reason == "throttled")
        self._watch(work, now)
        if reason == "throttled":
            # Those of a key where it has keys; the first that it uses is meant where nobody names one.
            for service in self._refused(work):
                service.refuse(now, now + delay)
        if self._takers:
            why = str(work.attempts[-1].error) if reason == "failed" else reason
            details = f"for {seconds_in_words(delay)}: {why}"
            at = (work.started_at or 0.0) + now - (now if record.started is None else record.started)
            self._trace.add(at, "put back", work.task, work.id, _with(record.item, details))

    def _refused(self, work: runcue.Work) -> list[ServiceAccount]:
        """Whose server has refused a work unit, as far as is known: it is the first that it uses."""
        first = self._uses[work.task][:1]
        parts = (one for one in self._parts.get(work.id, ()) if first and one.name == first[0].name)
        return [*first, *parts]

    def end(self, work: runcue.Work, duration: float) -> None:
        """A work has settled; its handler has run for so long."""
        record = self._of.get(work.id)
        if record is None or record.outcome or not self.open:
            return
        now, details = self._time(), ""
        record.outcome = outcome = event = outcome_of(work)
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
            if self._again_at.pop(work.id, None) is None:  # else it ends while it waits for its next attempt
                self.running -= 1
                spent = self._spent.pop(work.id, None)
                for service in (*self._uses[work.task], *self._parts.get(work.id, ())):
                    service.end(now, completed=outcome == "completed")
                    service.settle(work.id, spent)
                self._watch(work, now)
        self._parts.pop(work.id, None)
        # Whatever this end makes ready begins to wait now, so there must be a reading to count from.
        for service in self._all:
            if service.at != now:
                service.advance(now)
            service.note()
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

    def resumed(self, work: runcue.Work) -> None:
        self._ledger.start(work, "resumed")

    def put_back(self, work: runcue.Work, reason: str, delay: float | None) -> None:
        self._ledger.put_back(work, reason, delay or 0.0)

    def settled(self, work: runcue.Work, duration: float) -> None:
        self._ledger.end(work, duration)


def _with(item: str, details: str) -> str:
    return f"{item} {details}".strip()


def outcome_of(work: runcue.Work) -> str:
    """How a settled work has ended: "completed", "failed", "skipped" or "cancelled"."""
    return "skipped" if work.skipped else work.state.value


def item_of(work: runcue.Work) -> str:
    """What a work is about, in a word: its only or first param, shortened."""
    for value in work.params.values():
        return shortened(plain(value if type(value) is str else str(value)), 40)
    return ""
