"""How work units come in: admission, ids, checks of loop and thread, the calls of other threads.

Lives here: `Intake`, which knows to which event loop and thread its cue belongs, and whether it takes work.

Must not know: what users call a thing, when a cue starts or stops.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextvars import Context
from typing import Any, Final

from runcue._api.handle import WorkHandle, handle_of
from runcue._api.prefixes import random_prefix, redraw_in_children
from runcue._artifacts.reads import READS
from runcue._callbacks.door import BE_QUICK, BLOCKS_AFTER
from runcue._callbacks.listeners import Listeners
from runcue._dispatch.answers import SEND_LESS
from runcue._dispatch.dispatcher import Dispatcher
from runcue._dispatch.loop_calls import too_late
from runcue._dispatch.outside_tasks import outside_tasks
from runcue._handlers.outputs import load_for_files
from runcue._lifecycle.room import Room
from runcue._lifecycle.stopping import Stopping
from runcue._lifecycle.unstopped import Unstopped, let_go_of_closed_loops
from runcue._model.current import CURRENT
from runcue._model.errors import CueStopped, UsageError, WrongLoop
from runcue._model.events import Event
from runcue._model.overrides import NO_OVERRIDES, Overrides
from runcue._model.task import Task
from runcue._model.work import Work
from runcue._registration.charges import look_at_cost, place_of_cost
from runcue._registration.declarations import declared_by_values, functions_of, tell_no_key
from runcue._registration.duplicates import leader_for
from runcue._registration.registry import Registry
from runcue._registration.submission import params_for
from runcue._scheduling.appointments import Appointment, appointment_of
from runcue._scheduling.coalescing import follow
from runcue._scheduling.core import Core
from runcue._scheduling.later import add_later, join
from runcue._scheduling.lending import lend, lend_in_lane

__all__ = ["Intake"]

_new_work = Work.__new__

# No cue will ever have given so many ids, and Python does not read numbers of any length.
_MOST_DIGITS: Final = 20


class Intake:
    """Takes the work units of one cue in.

    Args:
        core: Where they go.
        registry: Says what they declare.
        dispatcher: Is woken.
        listeners: Hear of submissions.
        stopping: Says whether work is still taken.
        room: Who submits more than may be pending waits here; None: any number may be.
        unstopped: Hears when a loop ends in which the cue has not been stopped.
        id_prefix: The first part of the ids; None for a random one.

    Attributes:
        loop: The event loop that the cue belongs to; None before it is started, and when that loop has ended.
        thread: The ident of its thread.
        stopped: Whether the cue was stopped since.
        declared_to: Told of work units that declare something; None: nobody is.
        prefix: The first part of the ids.
        room: As given.
        loop_calls: What other threads submit, on its way.
    """

    def __init__(
        self,
        core: Core,
        registry: Registry,
        dispatcher: Dispatcher,
        listeners: Listeners,
        stopping: Stopping,
        room: Room | None,
        unstopped: Unstopped,
        id_prefix: str | None,
    ) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        self.thread = 0
        self.stopped = False
        # A random prefix and a counter: unique across cues and runs, at a tenth of the price of a uuid each.
        self.prefix = id_prefix or ""
        if id_prefix is None:
            self.draw_prefix()
            redraw_in_children(self)
        self._number = 0
        self._is_loaded = False
        self.declared_to: Callable[[Work], None] | None = None
        self._core = core
        self._registry = registry
        self._dispatcher = dispatcher
        self._turns = dispatcher.turns
        self._listeners = listeners
        self._on_submit = listeners.of[Event.SUBMIT]
        self._stopping = stopping
        self.room = room
        self.loop_calls = dispatcher.loop_calls
        self._unstopped = unstopped

    def draw_prefix(self) -> None:
        """Begin another series of ids."""
        self.prefix = random_prefix()

    def number_in(self, work_id: str) -> int | None:
        """The how-manieth id this is, None if this cue has not given it."""
        number = work_id.removeprefix(self.prefix)
        if not (number.isascii() and number.isdigit() and len(number) < _MOST_DIGITS):
            return None
        is_own = 0 < int(number) <= self._number and work_id == f"{self.prefix}{int(number)}"
        return int(number) if is_own else None

    @property
    def is_open(self) -> bool:
        """Whether the cue is started and not stopped."""
        return self.loop is not None and not self.stopped

    @property
    def is_closing(self) -> bool:
        """Whether `check_open` has to be asked: the cue stops, has been stopped, or has failed."""
        return self._stopping.level is not None or self._turns.failure is not None

    @property
    def is_shut(self) -> bool:
        """Whether the cue is being stopped, and starts nothing more."""
        return self._stopping.shut

    def prepare(self) -> None:
        """The cue is about to be started."""
        let_go_of_closed_loops()
        if any(task.declares for task in self._core.all_tasks):
            self._load()

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """The cue belongs to this running loop from now on."""
        self.loop = loop
        self.thread = threading.get_ident()
        self.stopped = False
        self.loop_calls.begin(loop)
        self._unstopped.expect(loop, self._let_go)

    def _load(self) -> None:
        self._is_loaded = True
        load_for_files()

    def meet(self, loop: asyncio.AbstractEventLoop) -> None:
        """The cue takes work in this running loop, and is not started."""
        self._dispatcher.use_clock(loop)
        self._unstopped.expect(loop)

    def end(self) -> None:
        """The cue was stopped: whoever is on the way in is told so."""
        self.stopped = True
        self._unstopped.expect_no_more()
        self.loop_calls.end()

    def check_loop(self, call: str) -> None:
        """Check that a call comes in the cue's own event loop.

        A loop that has ended without `stop()` is let go: what ran in it is gone, what is pending waits for the next
        start.

        Args:
            call: What was called, for messages.

        Raises:
            WrongLoop: It comes in another one, while the cue's own is alive.
        """
        loop = self.loop
        if loop is None or self.stopped or loop is asyncio._get_running_loop():
            return
        if not loop.is_closed():
            self._turns.check_process(call)
            raise WrongLoop(
                f"{call} in another event loop or thread than the one this cue was started in. "
                "From other threads use cue.submit_threadsafe(), in a plain handler work.submit()."
            )
        self._unstopped.look()
        self._dispatcher.use_clock(asyncio.get_running_loop())

    def _let_go(self) -> None:
        """The cue's loop has ended without `stop()`."""
        self.loop = None
        self.loop_calls.refuse()
        if self.room is not None:
            self.room.let_go()
        self._stopping.let_go()
        self._dispatcher.calls.abandon()
        self._dispatcher.abandon()
        self._turns.has_ended = True

    def check_thread(self) -> None:
        """Check that a call comes from a thread that is not the event loop's.

        Raises:
            UsageError: It comes in the loop's own, or in a forked process.
        """
        self._turns.check_process("work.submit()")
        # The ident of a thread that has ended may be another one's by now.
        alive = self.loop is not None and not self.loop.is_closed()
        if alive and threading.get_ident() == self.thread:
            raise UsageError(
                "work.submit() is for sync handlers; in the event loop it is `await cue.submit(...)`."
            )

    def check_other_thread(self) -> None:
        """Check that another thread can submit.

        Raises:
            UsageError: The cue is not started, or this is the event loop's own thread.
            CueStopped: The cue has been stopped, or its loop has ended.
        """
        loop = self.loop
        if loop is None and not self.loop_calls.began:
            raise UsageError("submit_threadsafe() needs a started cue: call start() in its event loop first.")
        self._turns.check_process("submit_threadsafe()")
        if self.stopped or loop is None or loop.is_closed():
            raise too_late()
        if threading.get_ident() == self.thread:
            raise UsageError(
                "submit_threadsafe() in the event loop's own thread: there it is `await cue.submit(...)`."
            )

    def is_inside(self, context: Context | None = None) -> bool:
        """Whether what comes in a context, by default in that of here, comes from this cue's own code."""
        current = CURRENT.get() if context is None else context.get(CURRENT)
        return current is self._dispatcher

    def task_now(self, task: Task) -> Task:
        """A task as it is defined by now."""
        return self._core.tasks[task.name]

    def soon(self, call: Callable[[], None]) -> None:
        """Make a call in the next turn of the event loop, in no context but that of this cue's own code."""
        assert self.loop is not None
        self.loop.call_soon(call, context=self._dispatcher.inside.copy())

    def check_open(self, context: Context, task: Task, must_complete: object) -> None:
        """Check that work is taken from whoever submits in this context.

        Args:
            context: That one.
            task: Of the work unit.
            must_complete: Whether it must complete, as its submission says; None: as its task does.

        Raises:
            CueFailed: The scheduler has failed.
            CueStopped: The cue has been stopped, or is being stopped and this comes from outside.
        """
        if self._turns.failure is not None:
            raise self._turns.failed()
        if self._stopping.level is None:
            return
        inside = self.is_inside(context) and not self.stopped
        is_essential = task.must_complete if must_complete is None else must_complete is True
        if not inside or not self._stopping.takes(is_essential=is_essential):
            raise CueStopped(
                "This cue has been stopped and takes no more work; call start() to begin again."
                if self.stopped
                else "This cue is being stopped and takes no more work."
            )

    def admit(
        self, task: Task, params: dict[str, Any], context: Context, overrides: Overrides | None
    ) -> Work:
        """Take a work unit in. In the event loop.

        Args:
            task: Its task.
            params: Its own from now on.
            context: Its own from now on.
            overrides: What is declared for it; None if neither its task nor its submission declares anything.

        Raises:
            ConfigurationError, DuplicateWork: As `Cue.submit` says.
        """
        self._number = number = self._number + 1
        dispatcher = self._dispatcher
        turns = self._turns
        now = turns.now()
        work = _new_work(Work)
        work._begin(f"{self.prefix}{number}", task.name, params, now + turns.skew)
        work._task = task
        if context:
            context.run(CURRENT.set, dispatcher)
            if READS in context:
                context.run(READS.set, None)  # submitted by a gate or a plain listener
            work._context = context
        else:
            # Nearly always there are no variables: one object for all, not one more each for the garbage collector.
            work._context = dispatcher.inside
        # The asyncio task that runs is that of whoever submits, and nobody's to cancel who is called in here.
        if overrides is None:
            self._core.add(work, now)
        elif overrides is NO_OVERRIDES:
            outside_tasks(turns.loop, self._add_asked, work, now, overrides)
        else:
            self._add_overriding(work, now, overrides)
        if not turns.woken:
            turns.wake()
        if self._on_submit:
            outside_tasks(turns.loop, self._listeners.submitted, now, work, work._context.copy())
        return work

    def refuse(self, task: Task, params: dict[str, Any], error: BaseException) -> Work:
        """What stands for a work unit that cannot be taken in: it has failed by that, and the cue does not know it.

        Args:
            task: Its task.
            params: Its own from now on.
            error: Why, as it is kept.
        """
        self._number += 1
        now = self._turns.now()
        work = Work(f"{self.prefix}{self._number}", task.name, params, now + self._turns.skew)
        work._task = task
        work._refuse(error, now)
        return work

    def admit_once_more(self, work: Work, context: Context) -> WorkHandle:
        """Take in a work unit that does once more what one that has ended in vain was to do. See `admit`.

        Raises:
            CueFailed, CueStopped: As for `check_open`.
        """
        if self.loop is None:
            self.meet(asyncio.get_running_loop())
        given, task = work._overrides or NO_OVERRIDES, self._registry.find(work.task)
        self.check_open(context, task, given.must_complete)
        overrides = given.once_more(work.id, **declared_by_values(work, given))
        # It may have been defined anew.
        return handle_of(self.admit(task, params_for(task, work.params), context, overrides))

    def _add_overriding(self, work: Work, now: float, overrides: Overrides) -> None:
        """Take in one whose submission says something in place of its task."""
        lane = overrides.lane
        if (
            lane is not None
            and len(overrides.__dict__) == 1
            and not (work._task.says_per_work or callable(lane))
        ):
            # It is not kept that nothing else is said, as the lane is known: two objects less for each that waits.
            self._core.lanes.assign(work, lane)
            self._add(work, now, None)
            return
        work._overrides = overrides
        if overrides.priority is not None:
            self._core.ordered = True
        if overrides.timeout is not None:
            work._task.timed = True
        asks = overrides.declares or work._task.says_per_work or overrides.cost is not None or callable(lane)
        if lane is not None and not asks:
            self._core.lanes.assign(work, lane)
        elif not (asks or overrides.waits):
            self._core.add(work, now)
            return
        later = self.later(overrides) if overrides.waits else None
        if asks:
            outside_tasks(self._turns.loop, self._add_asked, work, now, overrides, later)
        else:
            self._add(work, now, later)
        if later is not None and self._stopping.level is not None:
            self._stopping.leaving.submitted(work)

    def later(self, overrides: Overrides) -> Appointment | None:
        """When what a submission declares lets its work unit begin; None if that is at once."""
        return appointment_of(overrides, self._turns.now(), self._turns.wall())

    def _add(self, work: Work, now: float, later: Appointment | None) -> None:
        if later is None:
            self._core.add(work, now)
        else:
            add_later(self._core, work, later, now, self._turns.wall())
        if self._core.ordered and work._declared is not None and work._declared.lane is not None:
            lend_in_lane(self._core, work, work._declared.lane)

    def _add_asked(
        self, work: Work, now: float, overrides: Overrides, later: Appointment | None = None
    ) -> None:
        # Now, as the params are taken over now: it says what this work unit is.
        task = work._task
        declared = self._registry.look_up(work, self._dispatcher.flags, overrides)
        looked = self._turns.now()
        if task.checks_calls and not self._dispatcher.hand_off.pretends:
            task.calls = task.calls if task.calls.check(work) else None
            task.checks_calls = False
            look_at_cost(task)
            if (ended := self._turns.now()) - looked > BLOCKS_AFTER:
                self._dispatcher.callbacks.door.blocked(
                    f"Pickling the params of task {work.task!r}", looked, ended, SEND_LESS, work
                )
        if looked - now > BLOCKS_AFTER:
            places = ", ".join((*functions_of(work, overrides).values(), *place_of_cost(work, overrides)))
            what = f"finding out what task {work.task!r} declares{places and f', by {places},'}"
            self._dispatcher.callbacks.door.blocked(what, now, looked, BE_QUICK, work)
        if declared is None:
            self._add(work, now, later)
            return
        if declared.files and not self._is_loaded:
            self._load()
        if self.declared_to is not None:
            self.declared_to(work)
        work._task.declares_per_work = work._task.gated = True
        dependencies = self._core.dependencies
        producer_of = dependencies.producer_of
        for artifact in declared.outputs if declared._makes is None else declared._makes:
            if artifact._key in producer_of:
                break
        else:
            if declared.key is None:
                if work._task.key is not None or overrides.key is not None:
                    tell_no_key(self._dispatcher.callbacks.door, work, overrides)
                if not dependencies.later:
                    self._add(work, now, later)
                    return
        leader = leader_for(work, overrides.duplicate, dependencies, later=later is not None)
        if leader is None:
            self._add(work, now, later)
        elif later is None and not dependencies.later:
            follow(work, leader)
            self._core.add(work, now)
        else:
            join(self._core, work, leader, later, now, self._turns.wall())
        if leader is not None and self._core.ordered:
            lend(self._core, leader, work)

    def in_loop(self, change: Callable[[], None]) -> None:
        """Make a change where nothing else happens meanwhile: in the event loop, or here if it does not run.

        In another thread, which waits for it.
        """
        loop = self.loop
        if loop is None or self.stopped or loop.is_closed() or threading.get_ident() == self.thread:
            change()
        else:
            self.loop_calls.call(change)
