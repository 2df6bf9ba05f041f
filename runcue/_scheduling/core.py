"""What state work units are in and what follows from it. Nothing here waits, calls user code or does I/O.

Lives here: the transition table, the one setter of a work unit's phase with every index derived from it, the choice
of the next work unit, what was learned about who wakes whom, and which work units are overdue. `now` is always an
argument.

Must not know: event loops, threads, callbacks, clocks, loggers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterator
from math import inf
from typing import Any

from runcue._limits.service import UNBOUNDED, Service
from runcue._model.errors import InvalidTransition
from runcue._model.phases import (
    CHECKING,
    FAILED,
    HELD,
    JOINED,
    NEW,
    NOT_READY,
    OUTCOMES,
    READY,
    RUNNING,
    SETTLED,
    SKIPPED,
    WorkState,
)
from runcue._model.work import Declaration, Task, Work
from runcue._scheduling.dependencies import Dependencies
from runcue._scheduling.history import History
from runcue._scheduling.run_queue import RunQueue

__all__ = ["Core"]

_PHASES = ("new", "ready", "not_ready", "checking", "held", "joined", "running", "settled")


def _mask(*phases: int) -> int:
    return sum(1 << phase for phase in phases)


_NEXT = (
    _mask(READY, NOT_READY, CHECKING, HELD, JOINED, RUNNING, SETTLED),  # from NEW
    _mask(NOT_READY, CHECKING, HELD, RUNNING, SETTLED),  # from READY: the second asking may say no
    _mask(READY, CHECKING, HELD, SETTLED),  # from NOT_READY
    _mask(READY, NOT_READY, HELD, RUNNING, SETTLED),  # from CHECKING
    _mask(READY, NOT_READY, CHECKING, SETTLED),  # from HELD
    _mask(NEW, RUNNING, SETTLED),  # from JOINED: it takes the place of one that was cancelled
    _mask(SETTLED),  # from RUNNING
    0,  # from SETTLED: nothing, ever
)
"""Which phase may follow which. An unlisted pair raises and changes nothing."""

# start() and settle() happen to every work unit and do what move() does without a call.
_TO_RUNNING = _mask(RUNNING)
_TO_SETTLED = _mask(SETTLED)

STARVED_AFTER = 60.0
"""Seconds that work units further back may pass one that needs several services and never finds them free at once."""

# A learned wake-up that was fruitless this often in a row is forgotten; it will be learned again if it is true.
_FORGET_AFTER = 256

_PENDING_PHASES = (NEW, READY, NOT_READY, CHECKING, HELD, JOINED)


class Core:
    """The state of one cue.

    Attributes:
        services: By name.
        tasks: By name.
        all_tasks: Those and the ones that were defined again since, whose work units may still be around.
        run_queues: One per executor and set of services.
        history: Every work unit that is still known.
        count: How many work units are in each phase.
        totals: How many work units ended with each outcome since the start.
        unsettled: How many work units are pending or running.
        proving: How many of those declare what they make.
        settlements: How many work units have settled, ever.
        generation: Advances when something settles and whenever the loop has turned: a yes of a gate holds for one.
        ordered: Whether a priority callback exists, so that nothing starts before its contenders were asked.
        settled_causes: Tasks with a settlement that others, by experience, are waiting for.
        dependencies: Who makes which artifact, and who waits for it.
        wakeup_queue: Work units to be asked soon, because something happened to an artifact they wait for.
    """

    def __init__(
        self,
        *,
        keep: int,
        max_threads: int,
        pending_timeout: float | None = None,
        pending_warn_after: float | None = None,
        stall_timeout: float | None = None,
        stall_warn_after: float | None = None,
    ) -> None:
        self.services: dict[str, Service] = {}
        self.tasks: dict[str, Task] = {}
        self.all_tasks: list[Task] = []
        self.run_queues: dict[tuple[int, tuple[str, ...]], RunQueue] = {}
        self.history = History(keep)
        self.count = [0] * len(_PHASES)
        self.totals = [0] * len(OUTCOMES)
        self.unsettled = 0
        self.proving = 0
        self.settlements = 0
        self.generation = 0
        self.last_settled: Task | None = None
        self.last_hit: Task | None = None
        self.ordered = False
        self.settled_causes: deque[Task] = deque()
        self.dependencies = Dependencies()
        self.wakeup_queue: deque[Work] = deque()
        # Sync handlers without any other bound share the threads; being out of threads is being out of slots.
        self.threads = Service("threads", concurrent=max_threads)
        self.pending_timeout = pending_timeout
        self.pending_warn_after = pending_warn_after
        self.stall_timeout = stall_timeout
        self.stall_warn_after = stall_warn_after
        self.progressed_at = 0.0
        # Which stall was warned about, by its beginning.
        self.stall_warned_at = -inf
        self._ages = pending_timeout is not None or pending_warn_after is not None
        self._by_age: deque[Work] = deque()
        self._by_age_unwarned: deque[Work] = deque()
        self._seq = 0

    # --- Description: services and tasks ------------------------------------------------------------------------

    def run_queue_for(self, services: tuple[str, ...], executor: Any, slots: Service | None) -> RunQueue:
        """The run queue of work units that use these services, made when it is new.

        Args:
            services: Names of registered services.
            executor: Runs their handlers; None: the event loop does.
            slots: What bounds them there if none of the services has slots.
        """
        names = tuple(dict.fromkeys(services))
        known = self.run_queues.get((id(executor), names))
        if known is not None:
            return known
        members = tuple(self.services[name] for name in names)
        if slots is not None and all(service.concurrent == UNBOUNDED for service in members):
            members += (slots,)
        run_queue = RunQueue(members, executor)
        # It holds the executor, so no other one can have that identity.
        self.run_queues[id(executor), names] = run_queue
        for other in self.run_queues.values():
            if other is not run_queue and not set(members).isdisjoint(other.services):
                run_queue.contenders.append(other)
                other.contenders.append(run_queue)
        return run_queue

    @property
    def submitted(self) -> int:
        """How many work units were ever submitted."""
        return self._seq

    # --- Phases -------------------------------------------------------------------------------------------------

    def move(self, work: Work, phase: int) -> None:
        """The one setter of a work unit's phase, besides `start` and `settle`, which are its two ends.

        Raises:
            InvalidTransition: The table does not allow it; nothing was changed.
        """
        old = work._phase
        if not _NEXT[old] >> phase & 1:
            raise InvalidTransition(f"{work!r} cannot go from {_PHASES[old]} to {_PHASES[phase]}.")
        work._phase = phase
        count = self.count
        count[old] -= 1
        count[phase] += 1

    def pending(self) -> int:
        """How many work units are pending."""
        return sum(self.count[:RUNNING])

    def pending_works(self) -> Iterator[Work]:
        """All pending work units, in submission order; not those that have joined one that runs."""
        return (
            work
            for work in self.history
            if work._phase in _PENDING_PHASES and (work._phase != JOINED or work.state is WorkState.PENDING)
        )

    def add(self, work: Work, now: float) -> None:
        """Take a new work in, NEW, or JOINED if it has a leader."""
        if not self.unsettled:
            # A cue that had nothing to do was not stalled.
            self.progressed_at = now
        self.unsettled += 1
        self._seq = work._seq = self._seq + 1
        work._submitted_at = work._order_key = now
        self.history.works[work.id] = work
        self.count[NEW] += 1
        declared = work._declared
        if declared is None:
            work._task.run_queue.new.append(work)
        elif declared.leader is not None:
            self.proving += bool(declared.outputs)
            self.move(work, JOINED)
        else:
            self.proving += bool(declared.outputs)
            dependencies = self.dependencies
            if declared.fault is None:  # else nobody knows what it would make
                dependencies.enter(work, declared)
            if len(dependencies.producer_of) <= len(declared.outputs) or not self.hold_if_being_made(
                work, declared, now
            ):
                work._task.run_queue.new.append(work)
        if self._ages:
            self._age(work)

    def select(self, run_queue: RunQueue, now: float) -> Work | None:
        """The next work unit to ask and start, out of this run queue and its contenders; it has left its queue.

        Returns:
            A work unit that is NEW or READY and whose limits allow a start at this instant; None if there is none.
        """
        if not run_queue.contenders:
            sole_slots = run_queue.sole_slots
            if (
                sole_slots.active >= sole_slots.concurrent
                if sole_slots is not None
                else not run_queue.has_room(now)
            ):
                return None
            ready = run_queue.ready
            if ready._line or ready._heap or self.ordered:
                return run_queue.pop(self.ordered)
            new = run_queue.new
            while new:
                work = new.popleft()
                if work._phase == NEW:
                    return work
                run_queue.new_tombstones -= 1
            return None
        best = self._first_among(run_queue, now)
        while best is not None:
            # A contender has contenders of its own, which may have older claims on what it would take.
            older = self._first_among(best, now)
            if older is None:  # it keeps its slots for a starved one; that need not hold this run queue up
                best = run_queue if best is not run_queue and run_queue.has_room(now) else None
                break
            if older is best:
                break
            best = older
        return None if best is None else best.pop(self.ordered)

    def _first_among(self, run_queue: RunQueue, now: float) -> RunQueue | None:
        """Which of a run queue and its contenders has the first work unit that may start."""
        best: RunQueue | None = None
        first: Work | None = None
        starved: RunQueue | None = None
        oldest: Work | None = None
        for one in (run_queue, *run_queue.contenders):
            head = one.peek(self.ordered)
            if head is None:
                continue
            if one.has_room(now):
                if first is None or (head._order_key, head._seq) < (first._order_key, first._seq):
                    best, first = one, head
            elif one.lacks_slots_only(head, now) and (oldest is None or head._order_key < oldest._order_key):
                starved, oldest = one, head
        if best is None or first is None:
            return None
        if (
            starved is not None
            and oldest is not None
            and now - oldest._submitted_at > STARVED_AFTER
            and (oldest._order_key, oldest._seq) < (first._order_key, first._seq)
            and not set(starved.services).isdisjoint(best.services)
        ):
            best.held_for = starved  # its slots are left free until it has all it needs
            return None
        return best

    def wait(self, work: Work, now: float, reads: tuple[Any, ...] | None = None) -> None:
        """Put a work unit that is in hand among those that wait for their inputs.

        Args:
            work: It was asked, and is not ready.
            now: Monotonic.
            reads: The artifacts it looked at; it waits for these. None: nothing is known of what it needs.
        """
        dependencies = self.dependencies
        if work._awaited is not None:
            self._unsubscribe(work)
        if work._phase != NOT_READY:
            self.move(work, NOT_READY)
            work._phase_since = now
        work._refusals += 1
        if reads:
            dependencies.subscribed += 1
            dependencies.subscribe(work, reads)
        else:
            work._task.waiting.append(work)

    def wait_all(self, works: list[Work], now: float) -> None:
        """`wait` for many NEW work units at once, of which nothing is known."""
        for work in works:
            work._phase = NOT_READY
            work._phase_since = now
            work._refusals += 1
            work._task.waiting.append(work)
        self.count[NEW] -= len(works)
        self.count[NOT_READY] += len(works)

    def hold(self, work: Work, now: float, artifact: Any) -> None:
        """Put a work in hand aside until the producer of one of its inputs has settled.

        Args:
            work: The work.
            now: Monotonic.
            artifact: That input.
        """
        work._not_ready_reason = artifact
        if work._awaited is not None:
            self._unsubscribe(work)
        if work._phase != HELD:
            self.move(work, HELD)
            work._phase_since = now
        self.dependencies.subscribe(work, (artifact,))

    def hold_if_being_made(self, work: Work, declared: Declaration, now: float) -> bool:
        """Put a work in hand aside if another is about to make one of its inputs."""
        producer_of = self.dependencies.producer_of
        for artifact in declared.inputs:
            producer = producer_of.get(artifact._key)
            if producer is not None and producer is not work:
                self.hold(work, now, artifact)
                return True
        return False

    def _unsubscribe(self, work: Work) -> None:
        if work._phase == NOT_READY:
            self.dependencies.subscribed -= 1
        self.dependencies.unsubscribe(work)

    def enqueue(self, work: Work, key: float, now: float, *, found: bool = True) -> None:
        """Put a work unit that is in hand and whose gate said yes at its place in the order.

        Args:
            work: The work.
            key: Its place.
            now: Monotonic.
            found: Whether it was found by looking, which is worth learning from; not if it was called.
        """
        phase = work._phase
        if work._awaited is not None:
            self._unsubscribe(work)
        elif found and phase == NOT_READY:
            self.learn_wakeup(work._task)
        if phase != READY:
            self.move(work, READY)
            work._phase_since = now
        work._order_key = key
        work._task.run_queue.ready.push(work)

    def ask_elsewhere(self, work: Work) -> None:
        """An async gate is being awaited: while it is, the work waits for nothing."""
        if work._awaited is not None:
            self._unsubscribe(work)
        self.move(work, CHECKING)

    # --- Artifacts ----------------------------------------------------------------------------------------------

    def touch(self, key: Hashable, *, settled: bool = False) -> bool:
        """Something happened to an artifact: those that wait for it are to be asked.

        Args:
            key: Its key.
            settled: Its producer has settled; before that, those that are held for it are not asked.

        Returns:
            Whether there are any.
        """
        there = self.dependencies.subscribers.get(key)
        if there is None:
            return False
        found = False
        for work in there if isinstance(there, dict) else (there,):
            phase = work._phase
            if phase == NOT_READY or (settled and phase == HELD):
                found = True
                if not work._wakeup_queued:
                    work._wakeup_queued = True
                    self.wakeup_queue.append(work)
        return found

    def queue_wakeup(self, work: Work) -> None:
        """Have a work unit that waits asked soon."""
        if not work._wakeup_queued:
            work._wakeup_queued = True
            self.wakeup_queue.append(work)

    @staticmethod
    def keep_queued(work: Work) -> None:
        """Somebody keeps a called work and will ask it: what happens meanwhile need not call it again."""
        work._wakeup_queued = True

    def next_wakeup(self) -> Work | None:
        """Take out the next work unit that is to be asked because of `touch`."""
        queue = self.wakeup_queue
        while queue:
            work = queue.popleft()
            work._wakeup_queued = False
            if work._awaited is not None:  # else it waits no longer, or for nothing in particular by now
                return work
        return None

    def join(self, work: Work, leader: Work, now: float) -> None:
        """Take in a new work unit that wants what another is about to make.

        Args:
            work: New, with a declaration.
            leader: Pending or running, with a declaration.
            now: Monotonic.
        """
        own, theirs = work._declared, leader._declared
        assert own is not None
        assert theirs is not None
        own.leader = leader
        self.add(work, now)
        if theirs.followers is None:
            theirs.followers = {}
        theirs.followers[work] = None
        theirs.forced |= own.forced

    def successor_of(self, leader: Work, now: float) -> Work | None:
        """Before a work unit that others have joined is withdrawn: let the first of them take its place.

        With a running handler it takes over the run; else it takes the place in line, unasked.

        Returns:
            The successor, None if nobody has joined.
        """
        left = leader._declared
        followers = None if left is None else left.followers
        if left is not None and followers:
            successor = next(iter(followers))
            del followers[successor]
            own = successor._declared
            assert own is not None
            own.leader = None
            own.forced = left.forced
            own.followers, left.followers = followers, None
            for follower in followers:
                if follower._declared is not None:
                    follower._declared.leader = successor
            self.dependencies.enter(successor, own)
            if leader._phase == RUNNING:
                own.before, own.was, own.stale = left.before, left.was, left.stale
                left.successor = successor
                self.move(successor, RUNNING)
                successor.started_at = leader.started_at
                successor._entered_at = leader._entered_at
                successor._runner = leader._runner
            else:
                self.move(successor, NEW)
                successor._task.run_queue.new.appendleft(successor)
            return successor
        return None

    def start(self, work: Work, now: float, wall: float) -> None:
        """Let a work unit that is in hand run: slots and tokens are taken, all in this step."""
        run_queue = work._task.run_queue
        if run_queue.sole_slots is not None:
            run_queue.sole_slots.active += 1
        else:
            for service in run_queue.services:
                service.acquire(now)
        phase = work._phase
        if not _NEXT[phase] & _TO_RUNNING:
            self.move(work, RUNNING)  # raises
        count = self.count
        count[phase] -= 1
        count[RUNNING] += 1
        work._phase = RUNNING
        work.started_at = wall
        self.progressed_at = now

    def withdraw(self, work: Work) -> None:
        """Note that a work unit will be settled out of its queue: it stays in there, dead, until it surfaces."""
        if work._phase == NEW:
            work._task.run_queue.discard_new_later()
        elif work._phase == READY:
            work._task.run_queue.ready.discard_later()
        elif work._awaited is not None:
            self._unsubscribe(work)
        elif work._phase == JOINED:
            self._part(work)
        elif work._phase == NOT_READY:
            task = work._task
            task.waiting_tombstones += 1
            if task.waiting_tombstones > 64 and task.waiting_tombstones * 2 > len(task.waiting):
                # The caller is about to settle this one too.
                task.waiting = deque(
                    one for one in task.waiting if one._phase == NOT_READY and one is not work
                )
                task.waiting_tombstones = 0

    @staticmethod
    def _part(work: Work) -> None:
        """A joined work unit wants it no longer."""
        leader = work._declared.leader if work._declared is not None else None
        if leader is not None and leader._declared is not None and leader._declared.followers:
            leader._declared.followers.pop(work, None)

    def settle(self, work: Work, outcome: int, value: Any, now: float, wall: float) -> None:
        """Settle a work unit: its last transition.

        Args:
            work: It is out of its queue, or withdrawn from it.
            outcome: COMPLETED, SKIPPED, FAILED or CANCELLED.
            value: The result or the error.
            now: Monotonic.
            wall: Seconds since the epoch.
        """
        task = work._task
        phase = work._phase
        if work._awaited is not None:
            self._unsubscribe(work)
        elif phase == NOT_READY and outcome == SKIPPED:
            self.learn_wakeup(task)
        if not _NEXT[phase] & _TO_SETTLED:
            self.move(work, SETTLED)  # raises
        count = self.count
        count[phase] -= 1
        count[SETTLED] += 1
        work._phase = SETTLED
        work._outcome = outcome
        work._value = value
        work.completed_at = wall
        work._context = None
        self.unsettled -= 1
        self.settlements += 1
        self.generation += 1
        self.last_settled = task
        self.progressed_at = now
        self.totals[outcome] += 1
        if task.learned_dependents:
            self.settled_causes.append(task)
        if work._declared is not None:
            self._settle_producer(work, work._declared, outcome)
        history = self.history
        history.line.append(work)
        if len(history.line) > history.keep:
            forgotten = history.line.popleft()
            del history.works[forgotten.id]
            if forgotten._outcome >= FAILED and forgotten._declared is not None:
                self.dependencies.forget(forgotten)

    def _settle_producer(self, work: Work, declared: Declaration, outcome: int) -> None:
        """A work unit that declares something has settled."""
        self.proving -= bool(declared.outputs)
        if declared.leader is None and declared.successor is None:
            dependencies = self.dependencies
            producer_of, subscribers = dependencies.producer_of, dependencies.subscribers
            for artifact in declared.outputs:
                artifact_key = artifact._key
                if producer_of.get(artifact_key) is work:
                    del producer_of[artifact_key]
                if artifact_key in subscribers:
                    self.touch(artifact_key, settled=True)
            if outcome != SKIPPED or declared.key is not None or dependencies.failed:
                dependencies.leave(work, declared, outcome >= FAILED)

    # --- Who wakes whom -----------------------------------------------------------------------------------------

    def learn_wakeup(self, task: Task) -> None:
        """A waiting work unit of this task became ready: remember after whose settlement."""
        self.last_hit = task
        if self.last_settled is not None:
            self.last_settled.learned_dependents[task] = 0

    def wakeup_missed(self, cause: Task, task: Task) -> None:
        """A look at the waiting work units of a task, because another one's work settled, found nothing."""
        fruitless = cause.learned_dependents.get(task, 0) + 1
        if fruitless > _FORGET_AFTER:
            cause.learned_dependents.pop(task, None)
        else:
            cause.learned_dependents[task] = fruitless

    # --- What is overdue ----------------------------------------------------------------------------------------

    def _age(self, work: Work) -> None:
        for line, after in (
            (self._by_age, self.pending_timeout),
            (self._by_age_unwarned, self.pending_warn_after),
        ):
            if after is None:
                continue
            line.append(work)
            if len(line) > 64 + 2 * self.pending():
                alive = [one for one in line if one._phase < RUNNING]
                line.clear()
                line.extend(alive)

    def next_timeout(self) -> float:
        """When the oldest pending work unit times out, inf if never."""
        return self._next_older(self._by_age, self.pending_timeout)

    def next_warning(self) -> float:
        """When the oldest pending work unit that was not warned about is due for it, inf if never."""
        return self._next_older(self._by_age_unwarned, self.pending_warn_after)

    @staticmethod
    def _next_older(line: deque[Work], after: float | None) -> float:
        # One that has joined a running one is not pending either, and will not be again.
        while line and (line[0]._phase >= RUNNING or line[0].state is not WorkState.PENDING):
            line.popleft()
        return line[0]._submitted_at + after if line and after is not None else inf

    def pop_timed_out(self, now: float) -> Work | None:
        """One work unit that has been pending for too long, None if there is none."""
        return self._pop_older(self._by_age, self.pending_timeout, now)

    def pop_unwarned(self, now: float) -> Work | None:
        """One work unit that has been pending for long enough to be warned about, each once."""
        return self._pop_older(self._by_age_unwarned, self.pending_warn_after, now)

    def _pop_older(self, line: deque[Work], after: float | None, now: float) -> Work | None:
        return line.popleft() if self._next_older(line, after) <= now else None

    def next_stall(self) -> float:
        """When the pending work units have seen no progress for too long, inf if that cannot be."""
        return (
            self.progressed_at + self.stall_timeout
            if self.stall_timeout is not None and self.pending()
            else inf
        )

    def next_stall_warning(self) -> float:
        """When to warn that nothing moves, once per stall; inf if never."""
        if self.stall_warn_after is None or self.stall_warned_at == self.progressed_at or not self.unsettled:
            return inf
        return self.progressed_at + self.stall_warn_after
