"""The async shell: what turns the core's decisions into running handlers.

Lives here: `Dispatcher`, which puts the shell's parts together and looks at everything once after a cause. The parts
are the only owners of asyncio tasks and timers:

- `turns`: when everything is looked at; `timers`: the instants that are waited for, `delays` those of work units;
- `gates`: asks work units; `workers` and `hand_off`: start handlers, in the loop and elsewhere; `refusals`: what it
  means that a limit has said no;
- `recount`: what is on its way while limits are changed;
- `in_flight`, `endings`, `settlement`: what runs, what its end means, who is told;
- `waiting`: who waits for work units; `standstill`: whether anything goes on, and who waits for each other;
- `listening`: async listeners; `loop_calls`, `thread_calls`: calls of other threads;
- `change_inbox`: what others have changed; `keys`: services that have limits for each key.

Must not know: how limits are kept, in which order work units come, how callbacks fail, when a cue may stop.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Hashable, Iterable
from math import inf
from typing import Protocol

from runcue._artifacts.places import PASS
from runcue._artifacts.reads import READS
from runcue._callbacks.callbacks import Callbacks
from runcue._callbacks.listeners import Line, Listeners
from runcue._callbacks.verdicts import OpenQuestion
from runcue._dispatch.change_inbox import ChangeInbox
from runcue._dispatch.clock import clock_of
from runcue._dispatch.closed_loops import dismiss
from runcue._dispatch.delays import Delays
from runcue._dispatch.endings import Endings
from runcue._dispatch.gates import Gates
from runcue._dispatch.hand_off import HandOff
from runcue._dispatch.in_flight import InFlight
from runcue._dispatch.keys import Keys
from runcue._dispatch.listening import Lines
from runcue._dispatch.loop_calls import LoopCalls
from runcue._dispatch.recount import Recount
from runcue._dispatch.refusals import Refusals
from runcue._dispatch.relocation import follow_turned_links
from runcue._dispatch.settlement import Settlement
from runcue._dispatch.shortage_news import ShortageNews
from runcue._dispatch.standstill import Standstill
from runcue._dispatch.thread_calls import ThreadCalls
from runcue._dispatch.timers import Alarm, Timers
from runcue._dispatch.turns import Turns
from runcue._dispatch.waiting import Waiting
from runcue._dispatch.whereabouts import where_it_is
from runcue._dispatch.workers import Workers
from runcue._model.current import CURRENT
from runcue._model.phases import NEW, NOT_DUE, NOT_READY, RUNNING
from runcue._model.work import Work
from runcue._scheduling.core import Core
from runcue._scheduling.deadlines import Deadlines
from runcue._scheduling.knots import Knot

__all__ = ["Dispatcher", "Lifecycle"]


class Lifecycle(Protocol):
    """What goes on around the dispatch: time-outs and warnings, and the end of it all."""

    def before_returns(self) -> None:
        """Work units were put back while the cue stops, and their instants may have come."""

    def before_timers(self) -> None:
        """The timers are about to be armed: set the alarms that follow from the state."""

    def after_look(self) -> None:
        """Everything was looked at and nothing is left to be done at once, or the scheduler has failed."""


class Dispatcher:
    """Runs the work units of a core in the running event loop.

    Args:
        core: The state.
        callbacks: The user's gates and priority.
        recheck: Whether what waits for nothing in particular is asked again now and then.

    Attributes:
        inside: The contextvars of everything that is run for this cue and brings none of its own.
        asking: Those in which gates are asked.
        listeners: Who hears of events.
        flags: The cells of the flags that this cue has met, by key.
        began: When it was started last.
        readers: What bounds how many values are read in threads at once, and in which loop; None before the first.
        rechecks: See above.
    """

    def __init__(self, core: Core, callbacks: Callbacks, *, recheck: bool) -> None:
        self.core = core
        self.callbacks = callbacks
        self.flags: dict[Hashable, list[int]] = {}
        self.began = -inf
        self.readers: tuple[asyncio.AbstractEventLoop, asyncio.Semaphore] | None = None
        self.inside = contextvars.Context()
        self.inside.run(CURRENT.set, self)
        # Where gates are asked, artifacts write down that they were; in handlers they do not.
        self.asking = asking = self.inside.copy()
        asking.run(READS.set, callbacks.gate.reads)
        self.lines = Lines(callbacks, self.inside, self._listened)
        self.listeners = listeners = Listeners(callbacks.failures, callbacks.door, self.lines.defer)
        self.turns = turns = Turns(self, asking)
        self.loop_calls = LoopCalls(turns.wake)
        callbacks.failures.hand_interrupts_to(turns.interrupt)
        self.timers = timers = Timers(self._due, asking)
        self.in_flight = in_flight = InFlight(core.wakeups, turns)
        self.waiting = Waiting(self, core, turns, in_flight)
        self.calls = ThreadCalls(self.waiting)
        self.settlement = settlement = Settlement(core, callbacks, listeners, turns, timers, in_flight)
        self.endings = endings = Endings(core, turns, timers, in_flight, settlement, listeners, callbacks)
        self.hand_off = HandOff(
            core, callbacks, listeners, turns, timers, in_flight, settlement, endings, self.inside
        )
        self.gates = Gates(core, callbacks, settlement, turns, self, asking)
        self.rechecker = self.gates.rechecker
        self.refusals = Refusals(turns, timers, self.gates, settlement, endings)
        self.standstill = Standstill(
            core, self.waiting, in_flight, self.gates.awaited, self.lines, turns, timers
        )
        self.recount = Recount(core, turns, in_flight, self.gates.awaited, self.hand_off)
        self.workers = Workers(
            core,
            callbacks,
            listeners,
            self.gates,
            turns,
            timers,
            self.refusals,
            in_flight,
            settlement,
            endings,
            self.hand_off,
            asking,
        )
        self.changes = ChangeInbox(core, self.gates, turns, asking, recheck=recheck)
        self._shortage_news = ShortageNews(callbacks.failures.log, turns, self.inside)
        self.rechecks = recheck
        self._recheck_alarm = Alarm(timers, lambda now: self.rechecker.want_full(), passive=True)
        self._rechecks_ahead = False
        self.delays = Delays(core, turns, timers)
        self.keys = Keys(core, self.gates, timers)
        # How many work units had been submitted when all that is held and may give way was asked.
        self._reconsidered = 0
        # At an instant at which what has settled is looked into once more; the look itself is what matters.
        self._look_alarm = Alarm(timers, lambda now: None)
        self._lifecycle: Lifecycle | None = None

    def run_now(self, work: Work) -> Awaitable[None]:
        """Start a work in hand in the current asyncio task."""
        return self.workers.run_now(work)

    def note_cut_off(self) -> None:
        """A stranger has cancelled the asyncio task in which a gate was awaited."""
        self.endings.hold_back()

    def use_clock(self, loop: asyncio.AbstractEventLoop) -> None:
        """Take the time from this loop: work may come before the start."""
        self.turns.use_clock(loop)
        self.callbacks.use_clock(self.turns.now)

    def start(self, loop: asyncio.AbstractEventLoop, lifecycle: Lifecycle) -> None:
        """Bind to the running loop and look at what is there.

        Args:
            loop: The running event loop.
            lifecycle: What goes on around the dispatch.

        Raises:
            UsageError: Another started cue uses one of the executors.
        """
        self.hand_off.check_free()
        self._lifecycle = lifecycle
        self.use_clock(loop)
        self.hand_off.start(loop)
        self.turns.start(loop)
        self.timers.start(clock_of(loop))
        self.began = self.core.progressed_at = self.turns.now()
        self.in_flight.start()
        self.changes.start()
        self._shortage_news.start()
        self.lines.start()
        self.turns.wake()

    def detach(self) -> None:
        """Let go of the loop: timers and executors."""
        self.changes.stop()
        self._shortage_news.stop()
        self.timers.stop()
        self.keys.forget(self.turns.now())
        self.hand_off.stop()
        self.turns.loop = None

    def dismiss(self) -> None:
        """The loop was closed: let go of what was to go on in it.

        Nothing else changes, and nothing of the user's is run: this may be called from anywhere, in any thread.
        """
        self.workers.dismiss()
        self.gates.awaited.dismiss()
        self.lines.dismiss()
        for work in [*self.in_flight.works, *self.in_flight.late]:
            if work._runner is not None:
                dismiss(work._runner)

    def abandon(self) -> None:
        """Settle what ran in a loop that has ended without `stop()`, so that nothing stays RUNNING for ever."""
        self.turns.loop = None  # there is nothing left to wake
        self.dismiss()
        self.waiting.abandon()
        self.workers.abandon()
        for run in list(self.in_flight.works):
            self.endings.abandon(run)
        self.gates.abandon()
        self.lines.abandon()
        self.standstill.abandon()
        self.detach()

    def failed(self) -> None:
        """The scheduler has failed: let nobody wait for it, and end what runs."""
        self.waiting.fail(list(self.core.history))
        for work in self.in_flight.works:
            if work._runner is not None:
                work._runner.cancel()
        if self._lifecycle is not None:
            self._lifecycle.after_look()

    def interrupted(self) -> None:
        """User code has raised KeyboardInterrupt, which is about to end the loop."""
        if self.turns.loop is not None:
            self.endings.hold_back()

    def _listened(self, line: Line) -> None:
        """An async listener has come to its end: it may have made what others wait for."""
        # Not an observer: what it is warned of may come from the next asking, and a drain would never end.
        if not line.observes:
            self.rechecker.changed()
        self.turns.wake()

    def look(self) -> None:  # noqa: C901 - what is rare is asked for here, without a call
        """Look at everything, once."""
        turns = self.turns
        turns.woken = False
        if turns.loop is None or turns.failure is not None:
            return
        try:
            core = self.core
            core.generation += 1
            now = self.callbacks.gate.at = turns.now()
            until = turns.slice(now)
            if core.run_queues.changed:
                self.recount.settle()
            if PASS.turned != self.callbacks.declared_gate.turned:
                follow_turned_links(core, self.callbacks.declared_gate)
            late = (core.count[NOT_DUE] or core.appointments.works) and self._take_back(until)
            again = bool(core.wakeups.settled_causes) and not self.rechecker.follow_settlements(until)
            if core.wakeups.queue or self.gates.put_off:
                again |= self.gates.check_woken(until)
            if core.count[NEW]:
                again |= self.gates.check_new(now, until, turns.closed)
            if core.keyed:
                again |= self.keys.check_parked(until)
                if core.count[NEW] and self.gates.awaited:
                    # An async gate of these may have taken the last slot of those who had room before.
                    again |= self.gates.check_new(now, until, turns.closed)
            if core.count[NOT_READY] and turns.may_start:  # else the loop is most likely ending
                again |= self.rechecker.step(until, idle=self._is_quiet())
            if self.callbacks.gate.cancelled:
                self.settlement.cancel_asked()
            # After the rechecks: what they found ready starts in this turn.
            starting = False
            for run_queue in tuple(core.run_queues.values()):
                if run_queue.starting:
                    # One that was cancelled before its first step will never come.
                    run_queue.starting = {task for task in run_queue.starting if not task.done()}
                if turns.may_start and run_queue.backlog(core.ordered):
                    again |= self.workers.fill(run_queue, now, until)
                starting |= bool(run_queue.starting)
            # After the starts: one of another run queue may have taken the last slot that they share.
            for run_queue in core.run_queues.values():
                if run_queue.unasked and not run_queue.expects_room(now):
                    again |= self.gates.check_unasked(run_queue, until)
            again |= bool(core.keyed) and self.keys.check_parked(until)
            again |= bool(self.refusals.errors) and self.refusals.settle_errors()
            if core.dependencies.giving_way and core.submitted != self._reconsidered and self._is_quiet():
                # What has come since may have closed a circle.
                self._reconsidered = core.submitted
                core.holds.be_thorough()
                core.wakeups.reconsider(held_by_running=False)
            again |= bool(core.wakeups.queue) or bool(late)  # by what settled in here
            if again or starting:  # until the last worker has come, or was found cancelled
                turns.wake()
            if not again and self._lifecycle is not None:
                self._lifecycle.after_look()
            self._arm()
        except BaseException as error:
            turns.fail(error)

    def _take_back(self, until: float) -> bool:
        if self.core.came_back and self._lifecycle is not None:
            self._lifecycle.before_returns()
        return self.delays.take_back(until)

    def _arm(self) -> None:
        if self._lifecycle is not None:
            self._lifecycle.before_timers()
        if self.core.count[NOT_READY]:
            self._rechecks_ahead = True
            if self.rechecks:
                # Never later than it was set: but work units of which nothing is known may have come since.
                due = self.turns.now() + self.rechecker.recheck_after()
                if due < self._recheck_alarm.when:
                    self._recheck_alarm.set(due)
            # Whoever is not to start anything is not to be asked either: see `look`.
            if self.turns.may_start and not self.rechecker.exhausted and self._is_quiet():
                self._look_alarm.set(self.rechecker.idle_due(self.turns.now()))
        elif self._rechecks_ahead or self.rechecker.full_wanted:
            self.rechecker.nothing_waits()
            self._recheck_alarm.clear()
            self._rechecks_ahead = self.rechecker.asking > 0
        if self.core.count[NOT_DUE] or self.core.appointments.works or self.delays.ahead:
            self.delays.arm()
        if self.core.keyed:
            self.keys.arm(self.turns.now())
        self.timers.arm()

    def _due(self, deadlines: Deadlines[Hashable]) -> None:
        try:
            self.core.generation += 1
            now = self.turns.now()
            while (key := deadlines.pop_due(now)) is not None:
                if isinstance(key, Alarm):
                    key.ring(now)
                elif isinstance(key, Work):
                    if key._phase < RUNNING:
                        self.refusals.note_late(key)
                    else:
                        self.endings.timed_out(key, now)
                # Else a run queue: that its limits may have room again is seen by the look.
            self.turns.wake()  # it arms the timers again, too
        except BaseException as error:
            self.turns.fail(error)

    def _is_quiet(self) -> bool:
        """Whether nothing runs, nothing is being asked and nothing that is ready could start."""
        if self.gates.awaited or (not self.waiting.awaited and self.active()):
            return False
        now = self.turns.now()
        ordered = self.core.ordered
        for run_queue in self.core.run_queues.values():
            if run_queue.starting or (run_queue.backlog(ordered) and run_queue.expects_room(now)):
                return False
        return not self.active()  # last, as all those who wait for others may have to be asked

    def active(self) -> bool:
        """Whether a handler in flight goes on by itself: it does not merely wait for work units of this cue."""
        return self.standstill.active()

    def holders(self) -> list[Work]:
        """Work units that hold slots: their handlers have not returned, or their gates are being awaited."""
        return [*self.in_flight.works, *self.in_flight.late, *self.gates.awaited.works()]

    def knots(self, works: Iterable[Work]) -> list[Knot]:
        """Those who wait for each other, as far as these work units depend on them."""
        return self.standstill.find(works)

    def awaited_by(self, work: Work, most: float = inf) -> tuple[list[Work], bool]:
        """The work units whose ends the handler of a running one awaits; see `Waiting.awaited_by`."""
        return self.waiting.awaited_by(work, most)

    def question_of(self, work: Work) -> OpenQuestion | None:
        """The question about a work unit whose answer is awaited."""
        return self.gates.awaited.question_of(work)

    def where_it_is(self, work: Work) -> str:
        """Where the handler that was started for a work unit is at this moment; "" if that is not known."""
        return where_it_is(work, self.in_flight.works)

    def is_idle(self) -> bool:
        """Whether nothing runs, is being asked or will start by itself: all that is left is changes from outside."""
        return not (
            self.active()
            or self.gates.awaited
            or self.standstill.listening()
            or self.core.wakeups.queue
            or self.can_start()
        )

    def can_start(self) -> bool:
        """Whether something will be able to start by itself: now, when its limits allow it, or at its instant."""
        return self.core.count[NOT_DUE] > len(self.core.appointments.aside) or self.can_go_on()

    def can_go_on(self) -> bool:
        """Whether something of what is due, or was begun, will be able to start by itself."""
        turns = self.turns
        now = turns.now()
        # While starts are held back no limit is asked: what it has said before may be old.
        held_back = not (turns.may_start or turns.closed)
        return bool(len(self.core.returning)) or any(
            run_queue.backlog() and (held_back or run_queue.can_come(now))
            for run_queue in self.core.run_queues.values()
        )

    def next_start(self) -> float:
        """When what waits for a limit, or for an instant, can go on; inf if nothing does."""
        waiting = map(self.timers.active.when, self.core.run_queues.values())
        return min(self.delays.next(), min(waiting, default=inf))
