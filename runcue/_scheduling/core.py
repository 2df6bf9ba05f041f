"""The state of one cue, and the only hands that change it. Nothing here waits, calls user code or does I/O.

Lives here: the one setter of a work unit's phase, and what happens to a work unit on its way from `add` to `settle`:
each step moves it in every index that knows it. What can be decided apart from that has its own module: which phase may
follow (`transitions`), which work unit starts next (`selection`), who settles with whom (`coalescing`) and who takes
whose place (`succession`), who has waited for too long (`ageing`), who is to be asked again (`wakeups`), whether there
is another attempt (`attempts`). `now` is always an argument.

Must not know: event loops, threads, callbacks, clocks, loggers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakValueDictionary

from runcue._limits.service import Service
from runcue._model.declaration import Declaration, Followers, InLane
from runcue._model.errors import InvalidTransition, LimitError
from runcue._model.phases import (
    CHECKING,
    COMPLETED,
    FAILED,
    HELD,
    JOINED,
    NEW,
    NOT_DUE,
    NOT_READY,
    PHASES,
    READY,
    RUNNING,
    SETTLED,
    SKIPPED,
    WorkState,
)
from runcue._model.priority import DEFAULT_PRIORITY
from runcue._model.task import Task
from runcue._model.work import Work
from runcue._scheduling.ageing import AgeLine, Stall
from runcue._scheduling.appointments import Appointments
from runcue._scheduling.attempts import Decide, settle_failed
from runcue._scheduling.coalescing import part
from runcue._scheduling.deadlines import Deadlines
from runcue._scheduling.dependencies import Dependencies
from runcue._scheduling.history import History
from runcue._scheduling.holds import FEW, LANE, Hold, Holds
from runcue._scheduling.lanes import Lane, Lanes
from runcue._scheduling.run_queue import RunQueue
from runcue._scheduling.run_queues import RunQueues
from runcue._scheduling.transitions import ALLOWED
from runcue._scheduling.wakeups import Wakeups

if TYPE_CHECKING:
    from runcue._limits.keyed import KeyedService

__all__ = ["Core"]

# The two ends that every work unit meets, as bits of `ALLOWED`.
_TO_RUNNING: Final = 1 << RUNNING
_TO_SETTLED: Final = 1 << SETTLED


class Core:
    """The state of one cue.

    Args:
        keep: How many settled work units are remembered.
        max_threads: How many sync handlers may run at once where no service says so.
        head_start: Seconds that a priority of 1.0 is worth against 0.0.
        pending_timeout: Seconds after which a pending work unit is due to fail, None for never.
        stall_timeout: Seconds without progress after which what is pending is due to fail, None for never.
        pending_warn_after, stall_warn_after: The same for a warning.
        decide: What the end of an attempt means.
    """

    def __init__(
        self,
        *,
        keep: int,
        max_threads: int,
        head_start: float = 60.0,
        pending_timeout: float | None = None,
        pending_warn_after: float | None = None,
        stall_timeout: float | None = None,
        stall_warn_after: float | None = None,
        decide: Decide = settle_failed,
    ) -> None:
        # Services by name, and those that have limits for each key; tasks by name. One that was defined again is in
        # `tasks` once, with its newest handler; in `all_tasks` are those from before, whose work units may be around.
        self.services: dict[str, Service] = {}
        self.keyed: list[KeyedService] = []
        self.tasks: dict[str, Task] = {}
        self.all_tasks: list[Task] = []
        # Whether there are priorities, so that nothing starts before its contenders were asked; what 1.0 is worth; and
        # what counts without one, 0.0 if a callback says that of each.
        self.ordered, self.head_start, self.usual_priority = False, head_start, DEFAULT_PRIORITY

        # Every work unit that is still known: all that have not settled, and the last of those that have.
        self.history = History(keep)
        # Those that have not started stand in one of these, one for each executor and set of services...
        self.run_queues = RunQueues()
        # ...or wait at their task for anything to change, or here for an artifact, of which is known who makes it.
        self.dependencies = Dependencies()
        self.holds = Holds(self.dependencies)
        self.lanes = Lanes()  # ...or for whoever comes first in their lane.
        # ...or for the instant of their next attempt, or, before the first one, for that of their submission.
        self.returning: Deadlines[Work] = Deadlines()
        self.appointments = Appointments()
        # Those of the first whose instant has come, and that let others go first for now.
        self.giving_way: dict[Work, None] = {}
        # Those that were put back, for who wants to hear of them; None: nobody does.
        self.came_back: list[Work] | None = None
        # Those that wait and are to be asked soon, and what was learned of whose settlement makes whom ready.
        self.wakeups = Wakeups(self.dependencies, self.lanes)
        # Sync handlers without any other bound share the threads; being out of threads is being out of slots.
        self.threads = Service("threads", concurrent=max_threads)

        # How many work units are in each of the pending phases; kept by the one setter, so nobody has to go and look.
        # How many run, and how many have ended how, their tasks know: some want it by task, and it is as cheap.
        self.count = [0] * RUNNING
        # Those who have joined another one, as long as anybody knows them, for who counts by states.
        self.crowds = WeakValueDictionary[int, Followers]()
        # How many were ever submitted (each bears its number, for the order), have ended, and will make something yet.
        self.submitted = self.settlements = self.proving = 0
        # Advances when something settles and whenever the loop has turned: a yes of a gate holds for one.
        self.generation = 0
        self.decide = decide
        # Pending work units by age, for those who fail or warn about what is pending for too long; None if nobody does.
        self.timeouts = None if pending_timeout is None else AgeLine(pending_timeout, self.pending)
        self.warnings = None if pending_warn_after is None else AgeLine(pending_warn_after, self.pending)
        self._ages = tuple(line for line in (self.timeouts, self.warnings) if line is not None)
        # The last start, settlement or end of an attempt, or first submission after a pause: a stall counts from here.
        self.progressed_at = 0.0
        self.stall = Stall(stall_timeout, stall_warn_after)

    @property
    def unsettled(self) -> int:
        """How many work units are pending or running."""
        return self.submitted - self.settlements

    def pending(self) -> int:
        """How many work units are pending."""
        return sum(self.count)

    def pending_works(self) -> Iterator[Work]:
        """All pending work units, in submission order; not those that have joined one that runs."""
        return (
            work
            for work in self.history
            if work._phase < RUNNING and (work._phase != JOINED or work.state is WorkState.PENDING)
        )

    def move(self, work: Work, phase: int) -> None:
        """The one setter of a work unit's phase.

        What happens to every work unit, or to very many at once, does the same without this call, here and nowhere else
        (a test looks): start() and settle() would take 26 and 45 ns longer with it, in 5 µs for a work unit as a whole,
        and wait_all() 150 ns for each instead of 42.

        Raises:
            InvalidTransition: The table does not allow it; nothing was changed.
        """
        old = work._phase
        if not ALLOWED[old] >> phase & 1:
            raise InvalidTransition(f"{work!r} cannot go from {PHASES[old]} to {PHASES[phase]}.")
        work._phase = phase
        task = work._task
        if old == RUNNING:
            task.running -= 1
        else:
            self.count[old] -= 1
        if phase == RUNNING:
            task.running += 1
        elif phase != SETTLED:
            self.count[phase] += 1
        else:
            task.unsettled -= 1
            self.settlements += 1

    def start(self, work: Work, now: float, wall: float) -> LimitError | None:
        """Let a work unit in hand run, all that its limits take taken; or change nothing and say what one raised."""
        task = work._task
        run_queue: RunQueue = task.run_queue
        if run_queue.sole_slots is not None:
            run_queue.sole_slots.active += 1
        elif (error := run_queue.acquire(now, work)) is not None:
            return error
        phase = work._phase
        if not ALLOWED[phase] & _TO_RUNNING:
            self.move(work, RUNNING)  # raises
        self.count[phase] -= 1
        task.running += 1
        work._phase = RUNNING
        if work._declared is not None and self.dependencies.folders is not None:
            self.dependencies.note_start(work, work._declared)
            self.generation += 1  # whoever was approved before may have to keep off it
        work.started_at = wall
        self.progressed_at = now
        return None

    def settle(  # noqa: C901, PLR0915 - one more call for each work unit would cost half a percent
        self, work: Work, outcome: int, value: Any, now: float, wall: float, duration: float = 0.0
    ) -> None:
        """Settle a work unit: its last transition.

        Args:
            work: It is out of its queue, or withdrawn from it.
            outcome: COMPLETED, SKIPPED, FAILED or CANCELLED.
            value: The result or the error.
            now: Monotonic.
            wall: Seconds since the epoch.
            duration: How long its handler took.
        """
        task = work._task
        phase = work._phase
        if phase == RUNNING:
            task.running -= 1
            if outcome == COMPLETED:
                task.seconds += duration
                # Not by min() and max(), two calls that would cost a twentieth of what runcue does for a work unit.
                if duration < task.shortest:  # noqa: PLR1730
                    task.shortest = duration
                if duration > task.longest:  # noqa: PLR1730
                    task.longest = duration
            elif self.run_queues.expenses:
                task.run_queue.spend_in_vain(work)
        else:
            if work._awaited is not None:
                self.unsubscribe(work)
            elif phase == NOT_READY and outcome == SKIPPED:
                self.wakeups.learn(task)
            elif outcome == COMPLETED:
                task.shared += 1
            if not ALLOWED[phase] & _TO_SETTLED:
                self.move(work, SETTLED)  # raises
            self.count[phase] -= 1
        work._phase = SETTLED
        work._outcome = outcome
        work._value = value
        work.completed_at = wall
        work._context = work._keyed = None
        task.unsettled -= 1
        task.ended[outcome] += 1
        self.settlements += 1
        self.generation += 1
        self.progressed_at = now
        wakeups = self.wakeups
        wakeups.last_settled = task
        if task.learned_dependents:
            wakeups.settled_causes.append(task)
        if work._declared is not None:
            if type(work._declared) is not InLane:
                self.proving -= bool(work._declared.outputs)
                wakeups.settled(work, work._declared, outcome)
            elif not work._declared.unreturned:
                wakeups.free_lane(work, work._declared)
            if self.appointments.works:
                self.appointments.clear(work)  # others may have let it begin earlier
        history = self.history
        history.line.append(work)
        if len(history.line) > history.keep:
            forgotten = history.line.popleft()
            del history.works[forgotten.id]
            if forgotten._outcome >= FAILED and forgotten._declared is not None:
                self.dependencies.forget(forgotten)

    def wait_all(self, works: list[Work], now: float) -> None:
        """`wait` for many NEW work units at once, of which nothing is known."""
        for work in works:
            work._phase = NOT_READY
            work._phase_since = now
            work._refusals += 1
            work._task.waiting.append(work)
        self.count[NEW] -= len(works)
        self.count[NOT_READY] += len(works)

    def add(self, work: Work, now: float) -> None:
        """Take a new work in, NEW, or JOINED if it has a leader."""
        if self.submitted == self.settlements:  # a cue that had nothing to do was not stalled
            self.progressed_at = now
        task = work._task
        task.unsettled += 1
        self.submitted = work._seq = self.submitted + 1
        work._submitted_at = work._order_key = now
        self.history.works[work.id] = work
        self.count[NEW] += 1
        declared = work._declared
        if declared is None:
            task.run_queue.new.append(work)
        elif type(declared) is InLane:
            if self.lanes.enter(work, declared):
                task.run_queue.new.append(work)
            else:
                self.hold_in_lane(work, now, work._declared.lane)  # type: ignore[union-attr]
        elif declared.joined is not None:
            self.crowds[id(declared.joined)] = declared.joined
            self.proving += bool(declared.outputs)
            self.move(work, JOINED)
        else:
            self.proving += bool(declared.outputs)
            if declared.lane is not None:
                self.lanes.enter(work, declared)
            if declared.fault is None:  # else nobody knows what it would make
                self.dependencies.enter(work, declared)
                if declared.outputs:
                    self.generation += 1  # whoever was approved before may have to wait for it
            if not self.hold_if_being_made(work, declared, now):
                task.run_queue.new.append(work)
        if self._ages:
            self.age(work)

    def instant_of(self, now: float) -> float:
        """The instant at which who comes now counts as submitted."""
        return now

    def counts_from(self, work: Work) -> float:
        """The instant at which a work unit counts as submitted, where that is of interest for the order."""
        return work._submitted_at

    def age(self, work: Work) -> None:
        """The age of a work unit counts from now on, or anew, for those who say what is pending for too long."""
        for line in self._ages:
            line.add(work)

    def wait(self, work: Work, now: float, reads: tuple[Any, ...] | None = None) -> None:
        """Put a work unit that is in hand among those that wait for their inputs.

        Args:
            work: It was asked, and is not ready.
            now: Monotonic.
            reads: The artifacts it looked at; it waits for these. None: nothing is known of what it needs.
        """
        if work._awaited is not None:
            self.unsubscribe(work)
        if work._phase != NOT_READY:
            self.move(work, NOT_READY)
            work._phase_since = now
        work._refusals += 1
        if reads:
            self.dependencies.subscribed += 1
            self.dependencies.subscribe(work, reads)
        else:
            work._task.waiting.append(work)

    def hold(self, work: Work, now: float, hold: Hold) -> None:
        """Let a work unit in hand wait until another one has settled."""
        if hold.relation is LANE:
            self.hold_in_lane(work, now, work._declared.lane)  # type: ignore[union-attr]
            return
        self._hold(work, now, hold.artifact, hold, hold)
        if self.dependencies.folders is not None and hold.gives_way:
            self.dependencies.giving_way[work] = None

    def _hold(self, work: Work, now: float, artifact: Any, by: Work | Hold, over: Any) -> None:
        """The same. `by` is what `Declaration.hold` says, `over` what is awaited: the artifact, or the hold."""
        work._not_ready_reason = artifact
        if work._awaited is not None:
            self.unsubscribe(work)
        if work._phase != HELD:
            self.move(work, HELD)
            work._phase_since = now
        work._declared.hold = by  # type: ignore[union-attr]
        self.dependencies.subscribe(work, (over,))

    def hold_in_lane(self, work: Work, now: float, lane: Lane) -> None:
        """Let it wait for whoever comes first in its lane; who wakes it knows that one, so nobody need be told."""
        if work._awaited is not None:
            self.unsubscribe(work)
        if work._phase != HELD:
            self.move(work, HELD)
            work._phase_since = now
        work._not_ready_reason = None
        work._declared.hold = lane.hold or lane.common_hold()  # type: ignore[union-attr]
        work._awaited = lane.awaited

    def hold_if_being_made(self, work: Work, declared: Declaration, now: float) -> bool:
        """Hold a work unit in hand if it has to wait for another."""
        lane = declared.lane
        if lane is not None and lane.head is not work:
            self.hold_in_lane(work, now, lane)
            return True
        dependencies = self.dependencies
        if not (dependencies.folders or dependencies.running or dependencies.later or declared._needs):
            # Whoever makes an input itself is seen without a call. Folders are learned of when it is asked.
            producer_of, found = dependencies.producer_of, None
            for artifact in declared.inputs:
                if artifact._key in producer_of:
                    found = artifact
            if found is None:
                return False
            # With a few inputs it makes no difference which is waited for first: each look is at all of them anyway.
            if len(declared.inputs) <= FEW and (maker := producer_of[found._key]) is not work:
                self._hold(work, now, found, maker, found)
                return True
        if (hold := self.holds.hold_of(work, declared)) is not None:
            self.hold(work, now, hold)
        return hold is not None

    def unsubscribe(self, work: Work) -> None:
        if work._phase == NOT_READY:
            self.dependencies.subscribed -= 1
        elif work._declared is not None and type(work._declared) is not InLane:
            work._declared.hold = None
        self.dependencies.unsubscribe(work)

    def ask_elsewhere(self, work: Work) -> None:
        """An async gate is being awaited: while it is, the work waits for nothing."""
        if work._awaited is not None:
            self.unsubscribe(work)
        self.move(work, CHECKING)

    def enqueue(self, work: Work, key: float, now: float, *, found: bool = True) -> None:
        """Put a work unit that is in hand and whose gate said yes at its place in the order.

        Args:
            work: The work.
            key: Its place.
            now: Monotonic.
            found: Whether it was found by looking, which is worth learning from; not if it was woken.
        """
        phase = work._phase
        if work._awaited is not None:
            self.unsubscribe(work)
        elif found and phase == NOT_READY:
            self.wakeups.learn(work._task)
        if phase != READY:
            self.move(work, READY)
            work._phase_since = now
        work._order_key = key
        work._task.run_queue.ready.push(work)

    def withdraw(self, work: Work) -> None:
        """Note that a work unit will be settled out of its queue: it stays in there, a tombstone, until it surfaces."""
        if work._phase in (NEW, READY):
            work._task.run_queue.discard_later(work)
        elif work._awaited is not None:
            self.unsubscribe(work)
        elif work._phase == JOINED:
            part(work)
        elif work._phase == NOT_DUE:
            self.returning.clear(work)
        elif work._phase == NOT_READY:
            work._task.run_queue.leave_waiting(work)
        if self.appointments.works:
            self.appointments.withdraw(work)

    def waits_for_appointment(self, work: Work) -> bool:
        """Whether a work unit has not begun because the instant that it was submitted for is ahead."""
        return work._phase == NOT_DUE and work not in self.returning
