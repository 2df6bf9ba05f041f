"""The one place where a work unit ends, and who is told.

Lives here: `Settlement`: settling, those who have joined, waiters, listeners; cancelling and giving up what is pending.

Must not know: how handlers run, or what their end means.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from runcue._artifacts.changes import HEARERS, changed
from runcue._callbacks.callbacks import Callbacks
from runcue._callbacks.door import ODD_RESULTS
from runcue._callbacks.listeners import Listener, Listeners
from runcue._callbacks.unheard import TELL_AFTER
from runcue._dispatch.batch import Batch
from runcue._dispatch.in_flight import NOT_ENTERED, InFlight
from runcue._dispatch.outside_tasks import outside_tasks
from runcue._dispatch.overtime import cut_short
from runcue._dispatch.timers import Alarm, Timers
from runcue._dispatch.turns import Turns
from runcue._handlers.outputs import rollback, run_of
from runcue._handlers.parameters import hint_at_work
from runcue._model.attempts import Attempt, Attempts
from runcue._model.callables import caller
from runcue._model.declaration import Declaration
from runcue._model.errors import LimitError
from runcue._model.events import Event
from runcue._model.kept_errors import kept
from runcue._model.phases import CANCELLED, COMPLETED, FAILED, JOINED, RUNNING, SETTLED
from runcue._model.texts import message_of
from runcue._model.work import Work
from runcue._scheduling.core import Core
from runcue._scheduling.lending import take_along, take_out_of_lane
from runcue._scheduling.misfits import fault_of_change
from runcue._scheduling.retry import latest_start
from runcue._scheduling.succession import successor_of

__all__ = ["Settlement"]


class Settlement:
    """Settles the work units of one core.

    Args:
        core: The state.
        callbacks: For failures that nobody hears of.
        listeners: Who hears of ends.
        turns: The turns of the loop.
        timers: Where handlers' time-outs wait.
        in_flight: Handlers in flight.

    Attributes:
        refusals: How many were to be submitted since the start, and could not be: items of maps.
        succeeds: Told of who has taken the place of one that is withdrawn; None: nobody is.
    """

    def __init__(
        self,
        core: Core,
        callbacks: Callbacks,
        listeners: Listeners,
        turns: Turns,
        timers: Timers,
        in_flight: InFlight,
    ) -> None:
        self.refusals = 0
        self.succeeds: Callable[[Work], object] | None = None
        self._core = core
        self._door = callbacks.door
        self._gate = callbacks.gate
        self._unheard = callbacks.unheard
        self._turns = turns
        self._timers = timers
        self._in_flight = in_flight
        self._listeners = listeners
        self._audiences = listeners.ends
        # Whether an end is being heard of, and those that have come of that: heard of after it, one by one.
        self._telling = False
        self._untold: deque[tuple[tuple[Listener, ...], Work, tuple[Any, ...], float]] = deque()
        self._time_to_tell = Alarm(timers, self._tell_unheard, passive=True)

    def settle(  # noqa: C901, PLR0915 - one more call for each work unit would cost half a percent
        self,
        work: Work,
        outcome: int,
        now: float,
        value: Any = None,
        duration: float = 0.0,
        lasting: Any = None,
    ) -> None:
        """The one place where a work unit ends.

        Args:
            work: Not settled yet, and out of its queue or withdrawn from it.
            outcome: COMPLETED, SKIPPED, FAILED or CANCELLED.
            now: Monotonic.
            value: What the handler returned, why it failed, or who has cancelled it.
            duration: Seconds that the handler took, if it has come to an end.
            lasting: What is kept of the value of a work unit that this one has joined.
        """
        original = None
        if outcome != FAILED:
            lasting = value
            if value is not None and type(value) in ODD_RESULTS:
                self._door.returned_odd(work, value)
        elif lasting is None:
            # Those who listen now get the original; what is kept must not keep alive what is in its frames.
            lasting, original = kept(_hinted(work, value)), value
        if work._attempts is not None:
            self._end_attempts(work, work._attempts, lasting if outcome == FAILED else None, duration)
        self._core.settle(work, outcome, lasting, now, now + self._turns.skew, duration)
        gate = self._gate
        gate.at = now
        if work._task.timed:
            self._timers.active.clear(work)
        waiters = work._waiters
        audience = self._audiences[outcome]
        if audience:
            heard: tuple[Any, ...]
            if outcome == COMPLETED:
                heard = (work, value, duration)
            elif outcome == FAILED:
                heard = (work, value)
            else:
                heard = (work,)
            if self._telling:
                self._untold.append((audience.each, work, heard, duration))
            else:
                self._telling = True
                try:
                    gate.at = self._listeners.emit(audience.each, now, work, heard, duration)
                    while self._untold:
                        each, other, hears, lasted = self._untold.popleft()
                        gate.at = self._listeners.emit(each, gate.at, other, hears, lasted)
                finally:
                    self._telling = False
        if outcome == FAILED and not self._listeners.hears(Event.FAILURE, work):
            # Those who wait have not heard of it before they go on, which a time-out may keep them from.
            self._unheard.add(work, lasting, now)
            self._tell_soon(now)
        if waiters is not None:
            work._waiters = None
            if type(waiters) is dict:
                for waiter, followed in waiters.items():
                    if followed is not None:
                        waiter.settled(followed)
                    elif not waiter.done():
                        # For one of them alone: where several raise it, its traceback tells each of all others.
                        waiter.set_result(original)
                        original = None
            else:
                waiters.settled(work)
        if work._declared is not None and (work._declared.followers is not None or len(HEARERS) > 1):
            self._tell_others(work._declared, outcome, now, value, duration, lasting)

    def _end_attempts(
        self, work: Work, attempts: Attempts, error: BaseException | None, duration: float
    ) -> None:
        """A work unit with attempts is about to settle."""
        if work._phase == RUNNING:
            if error is None and attempts.overrun is not None:
                error = kept(attempts.overrun.error)  # it had timed out before it was cancelled
            attempts.note(Attempt(work.attempt, work.started_at or 0.0, duration, error))
        else:
            self._timers.active.clear(work)  # where the last instant for another one may be waited for

    def refused(self, work: Work, now: float) -> None:
        """A work unit has failed that was never taken in: nobody but who follows it can hear of that."""
        self.refusals += 1
        self._unheard.add(work, work._value, now)
        self._tell_soon(now)

    def let_go(self, batch: Batch, by: Any) -> None:
        """Nobody follows a batch any more: cancel what is left of it, and tell of failures that nobody has taken.

        Args:
            batch: That one.
            by: As for `cancel`; None: nothing is cancelled.
        """
        if by is not None:
            self.cancel_all(batch, by)
        now = self._turns.now()
        if batch.let_go(now):
            if self._turns.loop is None:
                self._unheard.tell_rest()  # the cue has ended before this
            else:
                self._tell_soon(now)

    def cancel_all(self, batch: Batch, by: Any = None) -> None:
        """Cancel what has not settled of a batch; see `cancel`."""
        by = by or caller()
        if self._turns.failure is not None:
            return  # nothing settles any more
        # Not those that listeners add meanwhile; and one of those that are left may be gone by then.
        for work in list(batch.open):
            self.cancel(work, by)

    def _tell_soon(self, now: float) -> None:
        """Of a failure that nobody has heard of, unless somebody comes."""
        if self._time_to_tell.when > now + TELL_AFTER:
            self._time_to_tell.set(now + TELL_AFTER)
            self._turns.wake()

    def _tell_unheard(self, now: float) -> None:
        self._time_to_tell.set(self._unheard.tell_due(now))

    def _tell_others(
        self, declared: Declaration, outcome: int, now: float, value: Any, duration: float, lasting: Any
    ) -> None:
        """Settle those who wanted the same as a work unit that has settled, and tell the other cues of this process."""
        if outcome == COMPLETED and len(HEARERS) > 1:
            for artifact in declared.makes:
                changed(artifact._key)
        followers, declared.followers = declared.followers, None
        while followers:
            # One by one: a listener may cancel those that are left.
            self.settle(followers.popitem(last=False)[0], outcome, now, value, duration, lasting)

    def cancel(self, work: Work, by: Any = None) -> bool:
        """Cancel a work unit: it settles at once, or, if a gate does that, as soon as that has answered.

        What others have joined goes on for them.

        Args:
            work: The work unit.
            by: Who cancels it: a phrase, or the code and line of the user's that does; by default whoever has called.

        Returns:
            Whether it was still unsettled.
        """
        gate = self._gate
        if work._phase == SETTLED or work in gate.cancelled:
            return False
        by = by or caller()
        # The others are never in hand, and one that runs might end before.
        if gate.asking and work._phase < JOINED:
            gate.cancelled[work] = by
            self._core.generation += 1  # who was approved before is asked once more
            self._turns.wake()
            return True
        # The asyncio task that runs is that of whoever cancels, and no listener's to cancel.
        outside_tasks(self._turns.loop, self._cancel, work, by)
        self._turns.wake()
        return True

    def cancel_asked(self) -> None:
        """Cancel those that gates have cancelled, or fail them; now nobody is being asked, nor in hand."""
        cancelled = self._gate.cancelled
        while cancelled:
            work, by = cancelled.popitem()
            if isinstance(by, LimitError):
                self.fail_unfit(work, by)
            else:
                self.cancel(work, by)

    def fail_unfit(self, work: Work, error: LimitError) -> None:
        """Fail a work unit that can never start any more, as limits were changed: at once, likewise."""
        gate = self._gate
        if work._phase >= RUNNING or work in gate.cancelled:
            return
        if gate.asking:
            gate.cancelled[work] = error
            self._core.generation += 1
        else:
            outside_tasks(self._turns.loop, self.withdraw, work, FAILED, error)
        self._turns.wake()

    def cancel_in_hand(self, work: Work) -> None:
        """Cancel, or fail, a work unit in hand, which stands in no line, because its own gate has led to that."""
        by = self._gate.cancelled.pop(work)
        if isinstance(by, LimitError):
            self.settle(work, FAILED, self._gate.at, by)
            return
        successor = None if work._declared is None else self._successor_of(work)
        work.cancelled = True
        self.settle(work, CANCELLED, self._gate.at, by)
        self._look_at_heir(successor)
        self._turns.wake()

    def _cancel(self, work: Work, by: Any) -> None:
        limit = self._timers.active.when(work)
        now = self._turns.now()
        lasted = self.ran_for(work, now)  # before the handler belongs to somebody else
        successor = None if work._declared is None else self._successor_of(work)
        if successor is not None and work._phase == RUNNING:
            # The handler does not learn of it: it runs for somebody else from here on.
            self._timers.active.set(successor, limit)
            self.settle(work, CANCELLED, now, by, lasted)
        else:
            self.let_handler_know(work)
            self.withdraw(work, CANCELLED, cut_short(run_of(work), by))
        self._look_at_heir(successor)

    def give_up(self, work: Work, error: BaseException) -> None:
        """Fail a pending work unit; what others have joined goes on for them."""
        if work._phase == SETTLED:  # by somebody who was asked why it waits
            return
        successor = None if work._declared is None else self._successor_of(work)
        self.withdraw(work, FAILED, error)
        self._look_at_heir(successor)

    def _successor_of(self, work: Work) -> Work | None:
        """See `succession.successor_of`."""
        successor = successor_of(self._core, work)
        if successor is not None and successor._attempts is not None and successor._phase != RUNNING:
            self._timers.active.set(successor, latest_start(successor))
        return successor

    def _look_at_heir(self, successor: Work | None) -> None:
        """See whether who has taken a place is to go on: it has never been asked about itself."""
        if successor is None:
            return
        # It had joined another one when limits were changed. What runs is looked at when it comes back.
        fault = fault_of_change(successor) if successor._phase < RUNNING else None
        if fault is not None:
            self.withdraw(successor, FAILED, fault)
        elif self.succeeds is not None:
            self.succeeds(successor)

    def withdraw(self, work: Work, outcome: int, value: Any = None, duration: float | None = None) -> None:
        """Settle a work unit out of its queue, and cancel what runs of it in the loop.

        Args:
            work: Not settled yet.
            outcome: As of `settle`.
            value: Likewise.
            duration: Seconds that its last handler took; by default for how long one has run so far.
        """
        runner = work._runner
        now = self._turns.now()
        leader = work._declared.leader if work._declared is not None else None
        self._core.withdraw(work)
        if leader is not None and self._core.ordered:
            take_along(self._core, leader, work)
        self.settle(work, outcome, now, value, self.ran_for(work, now) if duration is None else duration)
        if self._core.ordered and work._declared is not None and work._declared.lane is not None:
            take_out_of_lane(self._core, work._declared.lane)
        attempts = work._attempts
        # One whose attempt has timed out was cancelled then, and is at its clean-up.
        if runner is not None and (attempts is None or attempts.overrun is None):
            runner.cancel()

    def let_handler_know(self, work: Work) -> None:
        """Tell a running handler that nobody waits for it any more, and throw away what it wrote.

        The work unit is about to settle. Nobody else makes what this handler makes before it has returned.
        """
        work.cancelled = True
        if work._phase != RUNNING:
            return
        run = work
        if work._declared is not None:
            self._core.dependencies.outlive(work)
            run = run_of(work)
            if run in self._in_flight.works:
                run.cancelled = True
                rollback(run)
        if work._task.executor is not None:
            self._in_flight.end(run)

    def ran_for(self, work: Work, now: float) -> float:
        """Seconds for which the handler of a work unit has run so far; 0.0 if it was not entered."""
        if work._phase != RUNNING:
            return 0.0
        if work._entered_at != NOT_ENTERED:
            return now - work._entered_at
        # What runs elsewhere need not tell before its end when it was entered; then its start counts.
        if work.started_at is None or run_of(work) not in self._in_flight.works:
            return 0.0
        return max(0.0, now + self._turns.skew - work.started_at)


def _hinted(work: Work, error: BaseException) -> BaseException:
    """What a handler has raised, with a note if it seems to have taken its work unit for a param."""
    if work._task.parameters is None and "Work" in message_of(error):
        hint_at_work(work._task.handler, error)
    return error
