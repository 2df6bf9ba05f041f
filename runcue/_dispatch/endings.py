"""What the end of a handler means for the work unit that it ran for.

Lives here: `Endings`: returned, raised, timed out, cancelled by a stranger. A handler belongs to the work unit that it
was started for, or to one that has taken it over since.

Must not know: how handlers are started or driven, who is told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from runcue._callbacks.callbacks import Callbacks
from runcue._callbacks.declared_gate import looking_at
from runcue._callbacks.door import BE_QUICK, BLOCKS_AFTER
from runcue._callbacks.listeners import Listeners
from runcue._dispatch.in_flight import InFlight
from runcue._dispatch.outside_tasks import outside_tasks
from runcue._dispatch.overtime import MAY_START, overtime
from runcue._dispatch.proof_news import ProofNews
from runcue._dispatch.settlement import Settlement
from runcue._dispatch.timers import Alarm, Timers
from runcue._dispatch.turns import HOLD_BACK, Turns
from runcue._handlers.outputs import owner_of, prove, rollback, run_of
from runcue._model.attempts import Again, Attempt, Attempts, Overrun
from runcue._model.declaration import Declaration
from runcue._model.errors import HandlerExited, LimitError, is_a
from runcue._model.events import Event
from runcue._model.kept_errors import kept
from runcue._model.phases import CANCELLED, COMPLETED, FAILED, NOT_DUE, RUNNING, SETTLED
from runcue._model.texts import error_words
from runcue._model.work import Work
from runcue._scheduling.attempts import FailedAttempt, Settle
from runcue._scheduling.core import Core
from runcue._scheduling.essential import essential_works, must_complete
from runcue._scheduling.later import recall
from runcue._scheduling.misfits import fault_of_change
from runcue._scheduling.retry import latest_start
from runcue._scheduling.returning import put_back
from runcue._scheduling.run_queue import RunQueue

__all__ = ["Endings"]


class Endings:
    """The ends of the handlers of one core.

    Args:
        core: The state.
        turns: The turns of the loop.
        timers: For the end of holding back; and where handlers' time-outs wait.
        in_flight: Handlers in flight.
        settlement: Settles work units.
        listeners: Who hears of attempts that another one follows.
        callbacks: For what is said of runs that leave no lasting proof.

    Attributes:
        spared: While a stop runs nothing but what must complete, the work units that this needs; None: there is no such
            stop.
    """

    def __init__(
        self,
        core: Core,
        turns: Turns,
        timers: Timers,
        in_flight: InFlight,
        settlement: Settlement,
        listeners: Listeners,
        callbacks: Callbacks,
    ) -> None:
        self._core = core
        self._turns = turns
        self._timers = timers
        self._in_flight = in_flight
        self._settlement = settlement
        self._listeners = listeners
        self._gate = callbacks.gate
        self._door = callbacks.door
        self._proof_news = ProofNews(callbacks)
        # Told of what work units have made, with what these have declared; None: nobody is.
        self.made_to: Callable[[Work, Declaration], None] | None = None
        self.spared: dict[Work, None] | None = None
        # How many had been submitted when that was found last.
        self._submitted = -1
        # Those whose handlers a stranger has cancelled just now: most likely the loop ends.
        self.cut_off: list[Work] = []
        self._end_of_hold_back = Alarm(timers, self._hold_back_no_longer)

    def of_awaitable(
        self,
        work: Work,
        value: Any,
        error: BaseException | None,
        *,
        cancelled: bool,
    ) -> None:
        """An awaitable that a handler consists of has come to its end.

        Args:
            work: The work unit that it was started for.
            value: What it returned.
            error: What it raised instead.
            cancelled: Whether somebody has cancelled the asyncio task that it ran in.
        """
        self._core.generation += 1
        work._runner = None
        now = self._turns.now()
        self._in_flight.release(work, now)
        if (
            error is None
            or not (cancelled and is_a(error, asyncio.CancelledError))
            or _overrun_of(owner_of(work)) is not None
        ):
            self.of_handler(work, value, error, now, now - work._entered_at)
            return
        rollback(work, returned=True)
        work = owner_of(work)
        if work._phase != SETTLED:
            # Somebody cancelled the asyncio task itself, as asyncio.run() does with all of them at its end.
            work.cancelled = True
            by = "whoever has cancelled the asyncio task that it ran in"
            self._settlement.settle(work, CANCELLED, now, by, self._settlement.ran_for(work, now))
            self.note_cut_off(work)

    def note_cut_off(self, work: Work) -> None:
        """A stranger has cancelled the asyncio task of a work unit, which was settled by that."""
        if not self._turns.closed:
            self.cut_off.append(work)
        self.hold_back()

    def of_handler(
        self,
        run: Work,
        value: Any,
        error: BaseException | None,
        now: float,
        duration: float,
        *,
        final: bool = False,
    ) -> None:
        """A handler has come to its end: settle the work unit that it belongs to by now.

        Args:
            run: The work unit that it was started for.
            value: What it returned.
            error: What it raised instead.
            now: Monotonic.
            duration: Seconds that it took.
            final: Whether there is no other attempt in any case: it could not be handed on, and may begin nevertheless.
        """
        work = run
        declared = run._declared
        if declared is not None and declared.left is not None:
            work = owner_of(run)
        if work._attempts is not None and (overrun := _overrun_of(work)) is not None:
            rollback(run, returned=True)
            self._after_overrun(work, overrun, error, now, duration)
            return
        if declared is not None:
            if error is not None or work._phase == SETTLED:
                rollback(run, returned=True)
            else:
                error = prove(run, work)
        if work._phase == SETTLED:
            self._core.wakeups.returned(work)  # it may have settled in its first step
            return
        if error is not None:
            self.failed(work, error, duration, final=final)
            return
        if declared is not None:
            news = self._proof_news
            if declared.files:
                news.note_made(declared, work)
            if self.made_to is not None:
                self.made_to(work, declared)
            if declared.input_changed or work.task in news.told_of_change:
                news.look_at_change(declared, work, now)
            if declared.outputs and work.task not in news.told:
                stale = declared.stale
                # What is made for the first time is not yet made for ever; what runs again after that is looked at.
                if stale is None or stale[0] != "missing" or work.task not in news.has_looked_at_first_runs:
                    news.look_at_proof(declared, run, work)
            if (looked := self._turns.now()) - now > BLOCKS_AFTER:
                what = looking_at(work)
                self._door.blocked(what, now, looked, BE_QUICK, work)
        run_queue: RunQueue = run._task.run_queue
        if run_queue.hears:
            run_queue.hear(now, run, "passed")
        self._settlement.settle(work, COMPLETED, now, value, duration)

    def failed(self, work: Work, error: BaseException, duration: float, *, final: bool = False) -> None:
        """A handler has raised, or could not be run: settle its work unit, or put it back for another attempt.

        Args:
            work: Running.
            error: Why.
            duration: Seconds that the handler took.
            final: Whether there is no other attempt in any case.
        """
        if not is_a(error, Exception):
            exited = HandlerExited(f"The handler of {work.task!r} ended with {error_words(error)}")
            exited.__cause__ = error
            error = exited
        now = self._turns.now()
        decision: Settle | Again = Settle(FAILED, error)
        if not final:
            work, decision = self._decide(work, error, now, duration)
        if work._phase == SETTLED:  # whoever was asked has cancelled it
            self._core.wakeups.returned(work)
        elif isinstance(decision, Settle):
            self._settlement.settle(work, decision.outcome, now, decision.value, duration)
        elif decision.is_same_attempt or not self.is_over_for(work):
            # What is postponed or refused while its cue stops has not failed, and is left.
            self._put_back(work, decision, error, now, duration)
        else:
            self._settlement.settle(work, FAILED, now, error, duration)

    def _decide(
        self, work: Work, error: BaseException, now: float, duration: float
    ) -> tuple[Work, Settle | Again]:
        """What the failure of an attempt means, and for which work unit: who is asked may cancel it."""
        # The asyncio task that runs is that of a worker.
        run = run_of(work)
        failed = FailedAttempt(work, error, now, duration, run)
        decision = outside_tasks(self._turns.loop, self._core.decide, failed)
        run_queue: RunQueue = run._task.run_queue
        if run_queue.hears:
            counts = decision.counts if isinstance(decision, Settle) else decision.after_failure
            run_queue.hear(now, run, error if counts else "otherwise")
        return owner_of(work), decision

    def _put_back(self, work: Work, again: Again, error: BaseException, now: float, duration: float) -> None:
        """Let a work unit wait for its next attempt, and tell so; fail one that could not begin any more."""
        if (fault := fault_of_change(work)) is not None:
            fault.__cause__ = kept(error)
            self._settlement.settle(work, FAILED, now, fault, duration)
            return
        ended = Attempt(work.attempt, work.started_at or 0.0, duration, kept(error)) if again.counts else None
        if self._core.run_queues.expenses:
            work._task.run_queue.spend_in_vain(work)
        put_back(self._core, work, again, now)
        work.cancelled = False  # as it is if it has timed out
        attempts = work._attempts
        assert attempts is not None
        attempts.overrun = None
        if attempts.began is None:
            attempts.began = now - duration
        # Not that of the handler any more.
        self._timers.active.set(work, latest_start(work))
        delay = max(0.0, again.at - now)
        hears = self._listeners.of
        if ended is not None:
            attempts.note(ended)
            now = self._listeners.emit(hears[Event.RETRY].each, now, work, (work, error, delay))
        # Who has heard of the failure may have cancelled it.
        if hears[Event.PUT_BACK] and work._phase == NOT_DUE:
            now = self._listeners.emit(hears[Event.PUT_BACK].each, now, work, (work, again.reason, delay))
        self._gate.at = now
        self._turns.wake()

    def is_over_for(self, work: Work) -> bool:
        """Whether there is no more time for another attempt of a work unit."""
        spared = self.spared
        if self._turns.closed:
            return True
        if spared is None or work in spared or must_complete(work):
            return False
        if not self._is_any_essential(spared):
            return True
        # What must complete may have come to need it since the stop began.
        spared |= essential_works(self._core)
        return work not in spared

    def _is_any_essential(self, spared: dict[Work, None]) -> bool:
        """Whether something that must complete may be left, or may have come: else nobody needs anything."""
        if self._core.submitted != self._submitted:
            self._submitted = self._core.submitted
            spared |= essential_works(self._core)
        while spared and (first := next(iter(spared)))._phase == SETTLED:
            del spared[first]
        return bool(spared)

    def may_not_begin(self, work: Work, now: float) -> bool:
        """Whether the turn of a work unit has come too early or too late for another attempt.

        Too early: who has joined it and wanted it before its instant has left since it was found ready; then it waits
        for that again. Too late: its policy allows no more after an attempt that has failed; then it has failed with
        what that one had failed with.

        Args:
            work: In hand, with attempts.
            now: Monotonic.
        """
        core = self._core
        if work in core.appointments.recalls:
            core.enqueue(work, work._order_key, now, found=False)
            recall(core, now, self._turns.wall())
            self._turns.wake()  # arms the timer for its instant
            return True
        self._timers.active.clear(work)
        if now <= latest_start(work):
            return False
        last = _count_last(work)
        self._settlement.settle(work, FAILED, now, last.error, last.duration)
        return True

    def give_up_late(self, work: Work) -> None:
        """The turn of a pending work unit can no longer come early enough: it fails likewise."""
        last = _count_last(work)
        self._settlement.withdraw(work, FAILED, last.error, last.duration)

    def refused(self, work: Work, error: LimitError, now: float) -> None:
        """A limit has raised as an attempt was about to begin: so there was none, and nothing is decided about it."""
        if work._phase != SETTLED:  # as it is where the limit has cancelled it
            self._settlement.settle(work, FAILED, now, error)

    def timed_out(self, work: Work, now: float) -> None:
        """A handler has run for longer than its task allows."""
        if work._phase != RUNNING:  # it was cancelled before its time began to count
            return
        run = run_of(work)
        limit = run._timeout
        overrun = _overrun_of(work)
        # What is killed is gone within moments, however short the time was that it had.
        patience = max(limit, MAY_START) if getattr(work._task.executor, "kills", False) else limit
        error: BaseException = overtime(run, overrun, patience)
        if overrun is None and not self.is_over_for(work):
            # It may have been noticed late.
            work, decision = self._decide(work, error, now, max(limit, self._settlement.ran_for(work, now)))
            if work._phase == SETTLED:  # whoever was asked has cancelled it
                return
            if isinstance(decision, Again):
                self._await_return(work, Overrun(decision, error), now + patience)
                return
            error = decision.value
        self._settlement.let_handler_know(work)
        # Of what runs elsewhere it may not be known yet when it was entered.
        duration = limit if overrun is None else max(2 * limit, self._settlement.ran_for(work, now))
        self._settlement.settle(work, FAILED, now, error, duration)
        if work._runner is not None and overrun is None:
            work._runner.cancel()

    def _await_return(self, work: Work, overrun: Overrun, until: float) -> None:
        """An attempt has timed out that is not the last: the next one has to wait until the handler has returned.

        Args:
            work: Running.
            overrun: What was decided.
            until: How long that is waited for.
        """
        if work._attempts is None:
            work._attempts = Attempts(overrun.again)
        work._attempts.overrun = overrun
        run = run_of(work)
        work.cancelled = run.cancelled = True
        rollback(run)
        self._timers.active.set(work, until)
        if work._runner is not None:
            work._runner.cancel()
        else:
            self._in_flight.end(run)

    def _after_overrun(
        self, work: Work, overrun: Overrun, error: BaseException | None, now: float, duration: float
    ) -> None:
        """A handler has returned whose attempt had timed out: whatever it gives, nobody waits for that."""
        assert work._attempts is not None
        work._attempts.overrun = None
        if work._phase == SETTLED:
            self._core.wakeups.returned(work)
        elif self.is_over_for(work) or (error is not None and is_a(error, KeyboardInterrupt)):
            self._settlement.settle(work, FAILED, now, overrun.error, duration)
        else:
            again = overrun.again._replace(at=max(overrun.again.at, now))
            self._put_back(work, again, overrun.error, now, duration)

    def abandon(self, run: Work) -> None:
        """The loop in which a handler ran has ended: settle what it ran for, so that nothing stays RUNNING for ever."""
        now = self._turns.now()
        work = owner_of(run)
        if work._phase != SETTLED:
            self._settlement.let_handler_know(work)
            self._settlement.settle(
                work, CANCELLED, now, "the end of its event loop", self._settlement.ran_for(work, now)
            )
        runner = run._runner
        self._in_flight.abandon(run, now)
        if runner is not None and not runner.get_loop().is_closed():
            runner.cancel()  # it has only just begun, or it would have been cancelled with all others

    def hold_back(self) -> None:
        """Let nothing start for a moment: most likely the loop is ending, and what starts now would be torn off."""
        if self._turns.may_start:
            self._turns.may_start = False
            self._end_of_hold_back.set(self._turns.now() + HOLD_BACK)
            self._turns.wake()

    def _hold_back_no_longer(self, now: float) -> None:
        self.cut_off.clear()
        self._turns.may_start = not self._turns.closed


def _count_last(work: Work) -> Attempt:
    """The last attempt of a work unit, after which another one was to come, and will not."""
    assert work._attempts is not None
    last = work._attempts.ended[-1]
    followers = None if work._declared is None else work._declared.followers
    for one in (work, *(followers or ())):
        one.attempt = last.number
    return last


def _overrun_of(work: Work) -> Overrun | None:
    """What follows the attempt that runs, if that has timed out and is not the last one."""
    return None if work._attempts is None else work._attempts.overrun
