"""When a cue has come to rest, and how it stops.

Lives here: the verdict "nothing can move any more", drain(), the three levels of stop() and the Summary.

A cue is at rest when no handler, gate or listener is in flight and nothing has a time of its own. Handlers and
listeners that wait for other work units of the same cue do not count as moving; if they are all there is, that is a
deadlock.

Must not know: how work units run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from runcue._callbacks.warning_log import WarningLog
from runcue._dispatch.closed_loops import dismiss, is_being_closed
from runcue._dispatch.dispatcher import Dispatcher
from runcue._dispatch.outside_tasks import outside_tasks
from runcue._dispatch.timers import Alarm
from runcue._explain.explanations import Explanations
from runcue._explain.likeness import grouped
from runcue._handlers.outputs import remove_orphans
from runcue._lifecycle.cancellation import Cancellation
from runcue._lifecycle.deadlocks import Deadlocks
from runcue._lifecycle.diagnostics import Diagnostics
from runcue._lifecycle.draining import DrainNews
from runcue._lifecycle.leaving import Leaving
from runcue._lifecycle.leftovers import CUT_OFF, Leftovers
from runcue._lifecycle.sparing import Sparing
from runcue._model.current import CURRENT, call_inside
from runcue._model.errors import UsageError
from runcue._model.phases import NOT_READY, READY, SKIPPED
from runcue._model.summary import Summary
from runcue._model.texts import how_many
from runcue._model.work import Work
from runcue._scheduling.core import Core
from runcue._scheduling.numbers import numbers

if TYPE_CHECKING:
    from runcue._explain.answers import Blocked

__all__ = ["Stopping"]

DRAIN: Final = 1
"""Everything that can run runs."""
FINISH: Final = 2
"""What runs finishes, nothing starts."""
CUT: Final = 3
"""What runs is cancelled, but for what must complete and what that needs."""
KILL: Final = 4
"""All that runs is cancelled."""

FIRST_STEPS: Final = 3
"""Turns of the loop in which what a listener has spawned may submit: a task, or a callback or group that spawns it."""


class Stopping:
    """Drains and stops one dispatcher.

    Args:
        core: The state.
        dispatcher: What is drained and stopped.
        explanations: Say why work units do not run.
        diagnostics: Told when a drain is at rest: what it finds is told before the summary.
        deadlocks: Told likewise: whoever waits then waits in vain.
        leaving: What a stop leaves although it could run some time.
        leftovers: Told when a stop is cut off by the end of the loop.
        coming: Whether submissions are on their way in: by other threads, or of files that have come.
        log: Where what goes wrong is told.
        stopped: Called when a stop is complete.

    Attributes:
        level: None while the cue is open; otherwise how it is being stopped.
        shut: No work unit is accepted any more, not even from inside; but see `takes`.
        last: What the last stop returned.
        leaving: See there.
    """

    def __init__(
        self,
        core: Core,
        dispatcher: Dispatcher,
        explanations: Explanations,
        diagnostics: Diagnostics,
        deadlocks: Deadlocks,
        leaving: Leaving,
        leftovers: Leftovers,
        coming: Callable[[], bool],
        log: WarningLog,
        stopped: Callable[[], None],
    ) -> None:
        self._core = core
        self._explanations = explanations
        self._dispatcher = dispatcher
        self.level: int | None = None
        self.shut = False
        self._diagnostics = diagnostics
        self._deadlocks = deadlocks
        self.leaving = leaving
        self._leftovers = leftovers
        self._coming = coming
        self._log = log
        self._news = DrainNews(core, dispatcher, log)
        self._stopped = stopped
        self._waiters: list[asyncio.Future[None]] = []
        self._task: asyncio.Task[Summary] | None = None
        self._began: float | None = None
        # Work units that had settled before this start.
        self._former: set[str] = set()
        self.last: Summary | None = None
        self._given_up: list[Blocked] = []
        # Those of them that could not run; the others were not to.
        self._stuck: list[Blocked] = []
        self._cancellation = Cancellation(core, dispatcher, log)
        self._sparing = Sparing(core, dispatcher.endings, log)
        self._end_of_time = Alarm(dispatcher.timers, lambda now: self.escalate(CUT))

    def begin(self) -> None:
        """The cue was started."""
        self._began = self._dispatcher.turns.now()
        self._former = {work.id for work in self._core.history.line}
        for task in self._core.all_tasks:
            task.begin()
        for expense in self._core.run_queues.expenses.values():
            expense.begin()
        self._core.dependencies.begin()
        self._dispatcher.settlement.refusals = 0
        self.level, self.shut = None, False
        self._task = None
        self._given_up = []
        self._stuck = []
        self.leaving.begin()
        self._cancellation.begin()
        self._sparing.begin()

    def let_go(self) -> None:
        """The loop has ended without this: whoever waited for a drain or a stop has ended with it."""
        self.level = None
        self._waiters.clear()
        task, self._task = self._task, None
        if task is not None:
            dismiss(task)

    def check_outside(self, call: str) -> None:
        """Refuse calls that would wait for their own caller.

        Raises:
            UsageError: The caller is a handler or a listener of this cue, or was spawned by one.
        """
        if CURRENT.get() is self._dispatcher:
            raise UsageError(
                f"{call} was called from inside a handler or callback of this cue and would wait for itself; "
                "call it from the code that started the cue."
            )

    def look(self) -> None:
        """See whether what is waited for has come to rest."""
        if self.level is not None:
            self.leaving.look()
        if self.level == CUT and not self._sparing.is_left():
            self.escalate(KILL)
        if self._waiters and (self._dispatcher.turns.failure is not None or self._at_rest()):
            waiters, self._waiters = self._waiters, []
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)

    def _at_rest(self) -> bool:
        dispatcher = self._dispatcher
        if self.level == KILL:
            in_flight = dispatcher.in_flight.works or dispatcher.gates.awaited or dispatcher.lines
            return self._cancellation.is_over or not in_flight
        is_closed = dispatcher.turns.closed
        if dispatcher.gates.awaited or self._coming() or (self._core.wakeups.queue and not is_closed):
            return False
        if dispatcher.waiting.awaited and not is_closed and dispatcher.can_start():
            return False  # which is soon asked, unlike all those who wait
        if dispatcher.active() or dispatcher.standstill.listening():
            dispatcher.standstill.watch()
            return False
        return is_closed or (not dispatcher.can_start() and dispatcher.rechecker.exhausted)

    async def rest(self) -> None:
        """Wait until nothing can move any more, and what listeners have spawned last has had its first steps.

        Raises:
            CueFailed: The scheduler failed.
        """
        await self._come_to_rest()
        turns, steps = self._dispatcher.turns, 0
        while (steps := steps + 1) <= FIRST_STEPS:
            await asyncio.sleep(0)
            # What has woken it, such as the end of a pause, may not have been looked at yet.
            if turns.failure is not None or turns.woken or not self._at_rest():
                await self._come_to_rest()
                steps = 0

    async def _come_to_rest(self) -> None:
        dispatcher = self._dispatcher
        if dispatcher.turns.failure is None:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            self._news.begin()
            dispatcher.turns.wake()
            try:
                await waiter
            finally:
                if waiter in self._waiters:
                    self._waiters.remove(waiter)
                if not self._waiters:
                    self._news.end()
                    dispatcher.standstill.watch_no_longer()
        if dispatcher.turns.failure is not None:
            raise dispatcher.turns.failed()

    @contextmanager
    def _resting(self) -> Iterator[None]:
        """While this asyncio task waits for the cue to come to rest."""
        resting, me = self._dispatcher.waiting.resting, asyncio.current_task()
        resting.add(me)
        try:
            yield
        finally:
            resting.discard(me)

    async def drain(self, timeout: float | None) -> Summary:
        """See `Cue.drain`."""
        self.check_outside("drain()")
        with self._resting():
            limit = asyncio.timeout(timeout)
            try:
                async with limit:
                    return await self._drain()
            except TimeoutError:
                if not limit.expired():
                    raise
                return self.summary([], self.leaving.unsettled())

    async def _drain(self) -> Summary:
        await self.rest()
        while self._core.wakeups.let_go():
            await self.rest()
        if self._core.count[NOT_READY]:
            # What was made outside and told to nobody: one last recheck, as before a stop gives up what is left.
            self._dispatcher.rechecker.want_all()
            await self.rest()
        self._deadlocks.at_rest(self.reasons)
        outside_tasks(self._dispatcher.turns.loop, self._diagnostics.look_now)
        return self.summary(self.reasons(), self.leaving.unsettled())

    def reasons(self) -> list[Blocked]:
        """Why each pending work unit does not run, oldest first."""
        now = (turns := self._dispatcher.turns).now()
        return outside_tasks(turns.loop, self._explanations.blocked, now, now + turns.skew)

    def summary(self, blocked: list[Blocked], left: list[Work]) -> Summary:
        """What became of the work units since the start."""
        dependencies = self._core.dependencies
        return Summary(
            **numbers(self._core, self._former),
            blocked=[one.as_dict() for one in blocked],
            duration=0.0 if self._began is None else self._dispatcher.turns.now() - self._began,
            left=left,
            abandoned=list(self._cancellation.abandoned),
            deadlocked=list(self._deadlocks.works),
            downstream=dependencies.passed_over,
            because=tuple(dependencies.passed_over_for),
            refused=self._dispatcher.settlement.refusals,
        )

    async def stop(
        self, *, drain: bool, timeout: float | None, delayed: str = "wait", patient: bool = False
    ) -> Summary:
        """See `Cue.stop`.

        Args:
            drain: As there.
            timeout: As there.
            delayed: As there.
            patient: Wait for what is tried again without end, too.
        """
        self.check_outside("stop()")
        before = self.level
        until = None if timeout is None else self._dispatcher.turns.now() + timeout
        self.begin_to_stop(DRAIN if drain else FINISH)
        if delayed == "cancel":
            self.leaving.leave_for_later()
        if not patient:
            self.leaving.leave_endless()
        if timeout is not None and timeout <= 0:
            self.escalate(KILL)
        elif until is not None:
            self._end_of_time.set(min(self._end_of_time.when, until))
            self._dispatcher.turns.wake()
        self._tell_spared(before)
        return await self.stopped()

    def begin_to_stop(self, level: int) -> None:
        """Stop, or go on stopping in a harder way, without waiting for the end of it."""
        if self._task is None:
            self.level = DRAIN
            self.leaving.begin_to_stop()
            # A task of its own: a caller who is cancelled does not leave the cue half stopped. What listeners spawn
            # that are called by it is inside.
            self._task = call_inside(self._dispatcher, asyncio.create_task, self._stop())
            self._dispatcher.waiting.resting.add(self._task)
            self._task.add_done_callback(self._dispatcher.waiting.resting.discard)
        call_inside(self._dispatcher, self.escalate, level)

    def interrupt(self, *, kill: bool) -> None:
        """Begin to stop, without waiting: finish what is running, or cancel that too."""
        before = self.level
        self.begin_to_stop(KILL if kill else FINISH)
        self.leaving.leave_endless()
        self._tell_spared(before)

    def _tell_spared(self, before: int | None) -> None:
        """Say what still runs if it was not stopped so before: some of what was spared may have been left since."""
        if self.level == FINISH and before != FINISH:
            self._sparing.tell(is_late=False)

    async def stopped(self) -> Summary:
        """Wait for the end of a stop that was begun."""
        assert self._task is not None
        return await asyncio.shield(self._task)

    def escalate(self, level: int) -> None:
        """Stop in a harder way from here on."""
        if self.level is not None and level <= self.level:
            return
        self.level = level
        spared: dict[Work, None] = {}
        if level >= FINISH:
            self.shut = True
            has_ended = self._dispatcher.turns.failure is not None or bool(self._stuck)
            spared = self._sparing.spare(nothing=level == KILL or has_ended)
            if not spared:
                self.level = FINISH if level == FINISH else KILL
                self._dispatcher.turns.close()
            elif level == CUT:
                self._sparing.tell(is_late=True)
            self._cancel_pending(spared)
            self._cancellation.take_back(spared)
        self._dispatcher.rechecker.changed()
        if level >= CUT:
            self.leaving.ends_runs = True
            self._cancellation.cancel(spared)
        self._dispatcher.turns.wake()

    def takes(self, *, is_essential: bool) -> bool:
        """Whether a work unit is accepted that is submitted from inside.

        Args:
            is_essential: Whether it must complete.
        """
        if not self.shut:
            return True
        if not is_essential or self.level not in (FINISH, CUT) or self._stuck:
            return False
        self._dispatcher.turns.reopen()  # should there have been nothing more to start
        return True

    async def _stop(self) -> Summary:
        dispatcher, core = self._dispatcher, self._core
        me = asyncio.current_task()
        assert me is not None
        asked = False
        try:
            while True:
                await self.rest()
                if not core.unsettled and not dispatcher.in_flight.works:
                    if dispatcher.callbacks.unheard.tell_rest() and dispatcher.lines:
                        continue  # an async observer hears of it
                    break
                if not dispatcher.turns.closed and next(core.pending_works(), None) is not None:
                    if core.wakeups.let_go():
                        continue
                    if not asked:
                        asked = True
                        outside_tasks(dispatcher.turns.loop, self._ask_once_more)
                        continue
                    self._deadlocks.at_rest(self.reasons)
                    # What an on_cancel listener submits now would be cancelled again, for ever.
                    self.shut = True
                    self._stuck += self._cancel_pending()
                elif dispatcher.in_flight.works:
                    # Handlers that wait for each other: nothing but their end will end that.
                    self._deadlocks.at_rest(self.reasons)
                    self.escalate(KILL)
            if self._stuck:
                self._tell_blocked(self._stuck)
            if self.level == DRAIN:
                self.leaving.tell()
            self._diagnostics.tell_other_stamps()
            self.last = self.summary(self._given_up, list(self.leaving.works))
            remove_orphans(core.history.line)
            return self.last  # noqa: TRY300 - what follows is for all ends
        except asyncio.CancelledError:
            # Nobody cancels this task but asyncio.run() at its end, with all others.
            if self.level == DRAIN:
                self._leftovers.tell(CUT_OFF)
            raise
        finally:
            # Else its loop was closed, and the cue may be started in another one by now.
            if not is_being_closed(me):
                self._end()

    def _end(self) -> None:
        """The stop has come to its end, or was cut off."""
        dispatcher = self._dispatcher
        self.shut = True
        if dispatcher.turns.failure is None:
            # Something is left only if the task of the stop itself was cancelled, as asyncio.run() does at its end.
            self._cancel_pending()
            dispatcher.abandon()
        else:
            dispatcher.detach()
        dispatcher.callbacks.unheard.tell_rest()
        self._stopped()

    def _ask_once_more(self) -> None:
        """Before work units are given up: what is up to date by now is skipped, what became ready runs."""
        for run_queue in self._core.run_queues.values():
            for work in [*run_queue.new, *run_queue.ready.works()]:
                if work._phase <= READY and self._dispatcher.gates.ask_for_skip(work):
                    self._dispatcher.settlement.withdraw(work, SKIPPED)
        self._dispatcher.rechecker.want_all()

    def _cancel_pending(self, spared: Collection[Work] = ()) -> list[Blocked]:
        """Cancel what is pending. Returns why those of them did not run that could not."""
        # All of them before the first is cancelled: that may free a slot.
        reasons = [reason for reason in self.reasons() if reason.work not in spared]
        given_up = [reason for reason in reasons if not self.leaving.takes(reason)]
        self._given_up += given_up
        self.leaving.cancel(reason.work for reason in reasons)
        return given_up

    def _tell_blocked(self, blocked: list[Blocked]) -> None:
        reasons = grouped(((one.work, one.details) for one in blocked), see="Summary.blocked has all")
        self._log.tell(
            "cancelled",
            (one.work for one in blocked),
            "stop() cancelled %s that could not run: %s",
            how_many(len(blocked), "work unit", "work units"),
            reasons,
        )
