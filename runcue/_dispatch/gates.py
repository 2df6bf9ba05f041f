"""Checking work units: asked before and besides their start, and put where the verdict says they belong.

Lives here: `Gates`: the first asking after submission, that of work units that were woken, or are to be started. What
has to be awaited is in `awaited_gates`.

Must not know: when waiting work units are asked again (that is `_scheduling.rechecking`), how handlers run.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextvars import Context
from math import inf
from typing import Final

from runcue._artifacts.places import PASS
from runcue._callbacks.callbacks import Callbacks
from runcue._callbacks.verdicts import RUN, STAYS_PENDING, AwaitableAnswer, GateVerdict
from runcue._dispatch.awaited_gates import AwaitedGates, Starts
from runcue._dispatch.settlement import Settlement
from runcue._dispatch.turns import Turns
from runcue._model.declaration import InLane
from runcue._model.phases import FAILED, NEW, READY, SETTLED, SKIPPED
from runcue._model.task import Task
from runcue._model.work import Work
from runcue._scheduling.core import Core
from runcue._scheduling.lane_turns import come_first
from runcue._scheduling.lending import lend_all
from runcue._scheduling.priority_queue import order_key
from runcue._scheduling.recheck_pass import ASKED, HIT, LATER, MISS
from runcue._scheduling.rechecking import Rechecker
from runcue._scheduling.run_queue import RunQueue

__all__ = ["CHECK_FIRST", "Gates"]

CHECK_FIRST: Final = 0.05
"""Where there are priorities, nothing starts before all that is new was asked, for at most this long."""


class Gates:
    """Asks gates and puts work units where the verdicts say they belong.

    Args:
        core: The state.
        callbacks: The user's gates and priority.
        settlement: Settles what is up to date, or can never run.
        turns: The turns of the loop.
        starts: Starts a work unit whose async gate has just said yes.
        context: The contextvars that gates are asked in.

    Attributes:
        awaited: Async gates that are being awaited.
        rechecker: Decides which waiting work units are asked again.
        put_off: Woken work units that cannot be asked before a slot is free, by their run queue. They are in nobody's
            way until then, and cost nothing, however many they are.
    """

    def __init__(
        self,
        core: Core,
        callbacks: Callbacks,
        settlement: Settlement,
        turns: Turns,
        starts: Starts,
        context: Context,
    ) -> None:
        self._core = core
        self._gate = callbacks.gate
        self._declared_gate = callbacks.declared_gate
        self._priority = callbacks.priority
        self._settlement = settlement
        self._turns = turns
        self._checking_since = inf
        self.put_off: dict[RunQueue, deque[Work]] = {}
        self.rechecker = rechecker = Rechecker(core, self.check_not_ready, self._now)
        self.awaited = AwaitedGates(core, callbacks, turns, rechecker, self, starts, context)

    def _now(self) -> float:
        return self._turns.now()

    def abandon(self) -> None:
        """The loop has ended: no gate that is being awaited will ever answer."""
        self.awaited.abandon()
        for works in self.put_off.values():
            for work in works:
                work._wakeup_queued = False
                self._core.wakeups.add(work)
        self.put_off.clear()

    def is_late(self, until: float) -> bool:
        """Whether the last answer has come after an instant."""
        return self._gate.at > until

    def held_back(self, now: float) -> bool:
        """Whether an order by priority is not known yet, because some contenders were not asked."""
        return self._checking_since <= now < self._checking_since + CHECK_FIRST

    def check_new(self, now: float, until: float, closed: bool) -> bool:
        """Ask work units for the first time, soon after their submission, whether or not they could start.

        Args:
            now: Monotonic.
            until: Stop at this instant.
            closed: Whether nothing may start any more.

        Returns:
            Whether some are left for the next turn.
        """
        ordered = self._core.ordered
        left = False
        # Where there is room the workers ask, immediately before the start. An order by priority is known only when all
        # have been asked. An async gate takes a slot, which may be the last one of those who had room before.
        run_queues = tuple(self._core.run_queues.values())
        asked: tuple[RunQueue, ...] = ()
        goes_on = True
        while goes_on:
            goes_on = False
            for run_queue in run_queues:
                if (
                    run_queue.new
                    and (
                        ordered
                        or closed
                        or not run_queue.expects_room(now)
                        or (run_queue.held_for is not None and run_queue.keeps_off_for() is not None)
                    )
                    and run_queue not in asked
                ):
                    left |= self._check_run_queue(run_queue, until, ordered)
                    asked += (run_queue,)
                    goes_on = bool(self.awaited)
        if not left or not ordered:
            self._checking_since = inf
        elif self._checking_since == inf:
            self._checking_since = now
        return left

    def check_unstarted(self, run_queue: RunQueue, until: float) -> bool:
        """Ask those of a run queue that were left to its workers, and it turns out to have no room.

        Args:
            run_queue: The run queue.
            until: Stop at this instant.

        Returns:
            Whether some are left for the next turn.
        """
        left = bool(run_queue.unasked) and self.check_unasked(run_queue, until)
        if run_queue.new and not self._core.ordered:
            left |= self._check_run_queue(run_queue, until, ordered=False)
        return left

    def _check_run_queue(self, run_queue: RunQueue, until: float, ordered: bool) -> bool:
        new = run_queue.new
        turned_away = 0
        while len(new) > turned_away:
            work = new[0]
            if work._phase != NEW:
                new.popleft()
                run_queue.new_tombstones -= 1
                continue
            if (
                not work._task.gated
                and not ordered
                and not any(task.gated for task in self._tasks_of(run_queue))
            ):
                return False  # nothing to ask: they stay in line
            new.popleft()
            if self.check(work) == LATER:
                if run_queue.is_keyed and not ordered:
                    self._enqueue_unasked(work)
                    continue
                new.append(work)
                turned_away += 1
                # Of other keys there may be free slots.
                if not run_queue.is_keyed and all(task.gate_is_async for task in self._tasks_of(run_queue)):
                    new.rotate(turned_away)
                    return False  # the others would be turned away as well, and they may be a great many
            elif self._gate.at > until and self._turns.now() > until:
                break
        left = len(new) > turned_away
        new.rotate(turned_away)  # who was turned away keeps the place in line
        return left

    def _enqueue_unasked(self, work: Work) -> None:
        """It waits for a slot of its own key, where it stands in line for that, and is asked at its turn."""
        self.enqueue(work, found=False)
        work._approved_in = -1

    def _tasks_of(self, run_queue: RunQueue) -> Iterator[Task]:
        return (task for task in self._core.all_tasks if task.run_queue is run_queue)

    def check_not_ready(self, work: Work) -> int:
        """Ask a work in hand that was not ready. Returns what `Rechecker` makes of it."""
        verdict = self.check(work)
        if verdict == LATER and work._awaited is None:
            work._task.waiting.appendleft(work)
        return verdict

    def check_unasked(self, run_queue: RunQueue, until: float) -> bool:
        """Ask work units that were put in order unasked, because there was room, and have not had their turn.

        Args:
            run_queue: It has no room now.
            until: Stop at this instant.

        Returns:
            Whether some are left for the next turn.
        """
        unasked, gate = run_queue.unasked, self._gate
        while unasked:
            work = unasked.popleft()
            if work._phase != READY or work._approved_in != -1:
                continue
            if work._task.gate_is_async and not self.awaited.have_room(work):
                continue  # asked when its turn comes: there is no slot to hold meanwhile
            verdict = gate.ask(work, self._turns.now())
            if verdict is RUN:
                work._approved_in = self._core.generation
            elif isinstance(verdict, AwaitableAnswer) and self._turned_away(work, verdict):
                pass
            else:
                if run_queue.is_keyed:
                    run_queue.ready.left.add(work)
                run_queue.discard_later(work)
                self.place(work, verdict, starts=False)
            if gate.at > until:
                break
        return bool(unasked)

    def check(self, work: Work, *, found: bool = True) -> int:
        """Ask a work unit that is in hand and put it where it belongs.

        Returns:
            HIT (it can run, or is settled), MISS (not ready), ASKED (being asked), LATER (could not be asked now).
        """
        task = work._task
        if task.gated:
            if task.gate_is_async and not self.awaited.have_room(work):
                return LATER
            verdict = self._gate.ask(work, self._turns.now())
            if verdict in STAYS_PENDING:
                self._keep_pending(work, verdict)
                return MISS
            if isinstance(verdict, AwaitableAnswer):
                if self._turned_away(work, verdict):
                    return LATER
                self.awaited.begin(work, verdict, starts=False)
                return ASKED
            if verdict is not RUN:
                self.place(work, verdict)
                return HIT
        self.enqueue(work, found=found)
        return HIT

    def _turned_away(self, work: Work, answer: AwaitableAnswer) -> bool:
        """Whether an answer that is to be awaited was given up, as no slot is free to hold meanwhile."""
        if answer.question == "content":
            return False
        work._task.gate_is_async = True
        return not self.awaited.have_room(work) and answer.discard()

    def _keep_pending(self, work: Work, verdict: GateVerdict | AwaitableAnswer) -> None:
        """Keep a work in hand pending: it is not ready."""
        gate = self._gate
        if verdict is GateVerdict.HELD:
            self._core.hold(work, gate.at, work._not_ready_reason)
            return
        if PASS.turned != self._declared_gate.turned:
            self._turns.wake()
        work._recheck_pass = self.rechecker.passes
        reads = gate.reads
        self._core.wait(work, gate.at, tuple(reads.values()) if reads else None)

    def check_woken(self, until: float) -> bool:
        """Ask work units again that wait for an artifact to which something has happened.

        Args:
            until: Stop at this instant.

        Returns:
            Whether some are left for the next turn.
        """
        core = self._core
        asked = 0
        while (work := (self._next_put_off() if self.put_off else None) or core.wakeups.next()) is not None:
            asked += 1
            declared = work._declared
            if type(declared) is InLane and come_first(core, work):
                continue
            if declared is not None and core.hold_if_being_made(work, declared, self._gate.at):
                continue  # for another of its inputs now
            run_queue: RunQueue = work._task.run_queue
            if not core.ordered and run_queue.expects_room(self._gate.at, work):
                # It is asked when its turn comes; should there be no room any more, before that.
                core.enqueue(work, work._order_key, self._gate.at, found=False)
                work._approved_in = -1
                if run_queue.services:
                    run_queue.note_unasked(work)
            elif self.check(work, found=False) == LATER:
                if run_queue.is_keyed:
                    self._enqueue_unasked(work)
                else:
                    # What has the slots wakes everything when it gives them back.
                    core.wakeups.keep(work)
                    self.put_off.setdefault(run_queue, deque()).append(work)
            if self._gate.at > until or (asked & 15 == 0 and self._turns.now() > until):
                return bool(core.wakeups.queue) or any(map(self._may_be_asked, self.put_off.values()))
        return False

    def _next_put_off(self) -> Work | None:
        """A woken work unit that was put off and for whose gate a slot is free again."""
        for run_queue, works in self.put_off.items():
            if self._may_be_asked(works):
                while works:
                    work = works.popleft()
                    work._wakeup_queued = False
                    if work._awaited is not None:  # as for those that `wakeups.next` gives
                        return work
                del self.put_off[run_queue]
                return self._next_put_off()
        return None

    def _may_be_asked(self, works: deque[Work]) -> bool:
        return not works or self.awaited.have_room(works[0])

    def may_start(self, work: Work, now: float) -> bool:
        """Ask the gate of a work unit that has been taken to be started.

        Args:
            work: In hand, its limits allow the start.
            now: Monotonic.

        Returns:
            Whether to start it at once. If not, it has been put where it belongs.
        """
        verdict = self._gate.ask(work, now)
        if verdict is RUN:
            return True
        self.place(work, verdict)
        return False

    def check_batch(self, run_queue: RunQueue, until: float) -> Work | None:
        """Pass over new work units that are not ready, which may be a great many, up to one that is.

        Args:
            run_queue: It has room.
            until: Stop at this instant.

        Returns:
            A work unit to be started at once, if one was found.
        """
        self._hold_new(run_queue, until)
        # What is asked with each work unit has said yes to another one.
        asks = run_queue.is_guarded or run_queue.budgets
        if self._core.ordered or run_queue.contenders or run_queue.ready or asks:
            return None
        not_ready, work, answer = self._gate.ask_batch(run_queue.new, NEW, until)
        passes = self.rechecker.passes
        for one in not_ready:
            one._recheck_pass = passes
        self._core.wait_all(not_ready, self._gate.at)
        if work is None:
            return None
        verdict = self._gate.interpret(work, answer)
        if verdict is RUN:
            return work
        self.place(work, verdict)
        return None

    def _hold_new(self, run_queue: RunQueue, until: float) -> None:
        """Hold new work units whose inputs others are about to make, however many there are in a row."""
        new, core = run_queue.new, self._core
        now = self._gate.at
        held = 0
        while new:
            work = new[0]
            declared = work._declared
            if declared is None or work._phase != NEW or not core.hold_if_being_made(work, declared, now):
                return
            new.popleft()
            held += 1
            if held & 63 == 0 and self._turns.now() > until:
                return

    def place(self, work: Work, verdict: GateVerdict | AwaitableAnswer, *, starts: bool = True) -> None:
        """Put a work in hand that may not start, or not yet, where it belongs.

        Args:
            work: The work.
            verdict: Any but RUN.
            starts: Whether it is asked in order to be started, and not merely to know.
        """
        if verdict in STAYS_PENDING:
            self._keep_pending(work, verdict)
        elif verdict is GateVerdict.SKIP:
            declared = work._declared
            if declared is not None and declared.comparison is not None:
                declared.comparison.renew()
                declared.comparison = None
            self._settlement.settle(work, SKIPPED, self._gate.at)
        elif verdict is GateVerdict.INVALID:
            assert work._declared is not None
            self._settlement.settle(work, FAILED, self._gate.at, work._declared.fault)
        elif verdict is GateVerdict.CANCELLED:
            self._settlement.cancel_in_hand(work)
        else:
            assert isinstance(verdict, AwaitableAnswer)
            if verdict.question != "content":
                work._task.gate_is_async = True
            self.awaited.begin(work, verdict, starts=starts)

    def enqueue(self, work: Work, *, found: bool = True) -> None:
        """Put a work in hand whose gate said yes in its place.

        Args:
            work: The work.
            found: Whether it was found by looking rather than woken.
        """
        core = self._core
        key = work._order_key
        if core.ordered and work._phase != READY:
            self._gate.asking = True
            priority = self._priority.of(work, self._turns.now(), core.pending)
            self._gate.asking = False
            if work in self._gate.cancelled:
                self._settlement.cancel_in_hand(work)
                return
            key = order_key(core.counts_from(work), priority, core.head_start)
            core.enqueue(work, key, self._gate.at, found=found)
            if work._declared is not None:
                lend_all(core, work)
        else:
            core.enqueue(work, key, self._gate.at, found=found)
        work._approved_in = core.generation

    def ask_for_skip(self, work: Work) -> bool:
        """Before a work unit that never got its turn is given up: is it up to date by now?"""
        if not work._task.gated:
            return False
        verdict = self._gate.ask(work, self._turns.now())
        while isinstance(verdict, AwaitableAnswer):
            if verdict.question != "content":
                verdict.discard()
                break
            verdict.awaitable()  # nothing else moves any more
            verdict = self._gate.resume(work, "content", None, None)
        return verdict is GateVerdict.SKIP and work._phase != SETTLED
