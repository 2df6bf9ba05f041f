"""How many work units may be pending: who submits more waits for room.

How this goes about it: whoever finds no room stands in line with a `Ticket`. When work units have left the pending ones
tickets are let in, first come first, one for each place; who was let in submits in the next step of the event loop, and
gives the ticket back with that. A place that somebody has been let in to is taken until then.

Nobody of the cue's own waits: a handler that waited for room would keep the slot that makes it. So whoever is seen to
be waited for by a handler is let in: a thread that it has started itself does not show whose it is before that. And
where nothing that is pending can move, as where all of it waits for what the next one in line would make, room never
comes by itself: then the first in line is let in although there is none.

Lives here: `Room`, `Place`, and the error of who does not want to wait.

Must not know: what is submitted, who waits and how.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Container
from math import inf
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from runcue._callbacks.warning_log import WarningLog
from runcue._dispatch.dispatcher import Dispatcher
from runcue._dispatch.loop_calls import too_late
from runcue._dispatch.timers import Alarm
from runcue._model.errors import CueStopped, RuncueError
from runcue._model.phases import JOINED, RUNNING
from runcue._model.texts import how_many, shortened
from runcue._scheduling.core import Core

if TYPE_CHECKING:
    from concurrent.futures import Future

__all__ = ["CueFull", "Place", "Room", "Ticket"]

_LOOK_AFTER: Final = 0.05
"""Seconds between two looks whether a handler has come to wait for a thread that waits for room."""
_LOOK_SELDOM: Final = 1.0
"""The same where only asyncio tasks wait, of which handlers await none as a rule."""
_SHARE: Final = 50
"""The pause after a look is at least so many times as long as the look was."""


class CueFull(RuncueError, asyncio.QueueFull):
    """As many work units are pending as `Cue(max_pending=)` allows, and this submission was not to wait."""

    __module__ = "runcue"


class Ticket:
    """The place in line of somebody who waits for room.

    Args:
        room: For that one.
        task: The name of the task of the work unit.
        let_in: Called when there is room for it, which is kept until it is given back, or with an error when there
            will be none.
        stays: Whether it is for what a stop takes all the same, since it came before that.

    Attributes:
        by: What waits: an asyncio task, or the future that another thread is blocked by.
        is_of_thread: Whether it is another thread that waits, itself or by a call into the loop.
    """

    __slots__ = ("_room", "by", "is_of_thread", "let_in", "stays", "task")

    def __init__(
        self, room: Room, task: str, let_in: Callable[[BaseException | None], None], *, stays: bool
    ) -> None:
        self._room = room
        self.task = task
        self.let_in = let_in
        self.stays = stays
        self.by: Any = None
        self.is_of_thread = False

    def give_back(self) -> None:
        """Take the room with the next step, which is to be now, or wait no longer."""
        self._room.leave(self)


class Place:
    """The place in line of somebody who goes on meanwhile, and asks now and then whether there is room.

    Args:
        room: For that one.
        changed: Called when there is room, with None, or with the error when there will be none any more.
        stays: As for `Room.stand_in_line`.
    """

    __slots__ = ("_changed", "_is_let_in", "_room", "_stays", "_ticket")

    def __init__(
        self, room: Room, changed: Callable[[BaseException | None], None], *, stays: bool = False
    ) -> None:
        self._room = room
        self._changed = changed
        self._stays = stays
        self._ticket: Ticket | None = None
        self._is_let_in = False

    @property
    def waits(self) -> bool:
        """Whether it stands in line."""
        return self._ticket is not None and not self._is_let_in

    def has_room(self, task: str, has_to_wait: Callable[[], bool]) -> bool:
        """Whether a work unit may be submitted with the next step, which is to be now. If not, stand in line for that.

        Args:
            task: The name of its task.
            has_to_wait: Whether it has to wait, if it does not stand in line yet.
        """
        if self._ticket is not None:
            if not self._is_let_in:
                return False
            self.leave()
            return True
        if not has_to_wait():
            return True
        self._ticket = self._room.stand_in_line(task, self._let_in, stays=self._stays)
        return False

    def _let_in(self, error: BaseException | None) -> None:
        if error is None:
            self._is_let_in = True
        else:
            self._ticket = None
        self._changed(error)

    def leave(self) -> None:
        """Wait no longer, or take the room with the next step, which is to be now."""
        ticket, self._ticket, self._is_let_in = self._ticket, None, False
        if ticket is not None:
            ticket.give_back()


class Room:
    """Room for the pending work units of one cue.

    Args:
        most: So many at the most.
        core: Knows how many there are.
        dispatcher: Says whether any of them can move.
        log: Where it is told that none can.
    """

    def __init__(self, most: int, core: Core, dispatcher: Dispatcher, log: WarningLog) -> None:
        self.most = most
        self._core = core
        self._dispatcher = dispatcher
        self._loop_calls = dispatcher.loop_calls
        self._log = log
        # An ordered dict: anybody may leave, and of a plain one the first key is found by passing over all that left.
        self._line: OrderedDict[Ticket, None] = OrderedDict()
        # Those who were let in and have not come in yet.
        self._let_in: dict[Ticket, None] = {}
        self._told = False
        # When it is to be looked again for whom handlers wait.
        self._look_at = -inf
        self._alarm = Alarm(dispatcher.timers, self._look_for_own, passive=True)

    @property
    def waiting(self) -> int:
        """How many wait for room, or have just got it."""
        return len(self._line) + len(self._let_in)

    def waiting_threads(self) -> int:
        """How many of these are other threads."""
        return sum(ticket.is_of_thread for ticket in self._line)

    def places_of_threads(self) -> list[str]:
        """At which lines of their code those are."""
        from runcue._dispatch.blocked_threads import places_of_waiting  # noqa: PLC0415 - mostly nobody waits for room

        return places_of_waiting([ticket.by for ticket in self._line if ticket.is_of_thread])

    def begin(self) -> None:
        """The cue was started."""
        self._told = False

    def pending(self) -> int:
        """How many work units count: by their states, and not before the instant that they were submitted for."""
        core = self._core
        later = core.appointments.works
        number = core.pending() - len(later)
        if core.count[JOINED]:
            for crowd in core.crowds.values():
                if crowd.leader._phase == RUNNING:  # so these run as well
                    number -= sum(work not in later for work in crowd) if later else len(crowd)
        return number

    def is_free(self) -> bool:
        """Whether one more may come in now, before nobody who waits."""
        return not self._line and self.pending() + len(self._let_in) < self.most

    def full(self) -> CueFull:
        """The error of somebody who does not want to wait."""
        return CueFull(
            f"No room: {self._words()}. By wait=True, as is usual, submit() waits until one of them starts or ends."
        )

    def never(self) -> str:
        """That nobody makes room, in words."""
        return (
            f"submit() would wait for room ({self._words()}), and a cue that is not started makes none: call start() "
            "before it, or use `async with cue`."
        )

    def _words(self) -> str:
        are = how_many(self.pending(), "work unit is pending", "work units are pending")
        waits = how_many(self.waiting, "submission waits", "submissions wait")
        also = f", {waits}" if self.waiting else ""
        return f"{are}{also}, max_pending={self.most}"

    def stand_in_line(
        self,
        task: str,
        let_in: Callable[[BaseException | None], None],
        *,
        stays: bool = False,
        thread: Future[Any] | None = None,
    ) -> Ticket:
        """Wait for room, behind all who do.

        Args:
            task: The name of the task of the work unit.
            let_in: Called when there is room, with None, or with the error if there will be none any more.
            stays: Also while the cue is being stopped.
            thread: By what another thread is blocked, if it is one that waits; else the asyncio task of here waits.
        """
        ticket = Ticket(self, task, let_in, stays=stays)
        ticket.by = asyncio.current_task(self._dispatcher.turns.loop) if thread is None else thread
        ticket.is_of_thread = thread is not None or self._is_of_call(ticket.by)
        if ticket.is_of_thread:
            self._alarm.clear()  # look soon
        self._line[ticket] = None
        self._dispatcher.turns.wake()  # to see whether anything can move
        return ticket

    async def enter(self, task: str) -> None:
        """Wait until there is room. The work unit is to be submitted in the very next step.

        Args:
            task: The name of its task.

        Raises:
            CueStopped: The cue is stopped.
            CueFailed: The scheduler failed.
        """
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def let_in(error: BaseException | None) -> None:
            # Whoever waits is being cancelled, or has ended with the loop.
            if future.done() or future.get_loop().is_closed():
                return
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)

        ticket = self.stand_in_line(task, let_in)
        try:
            await future
        finally:
            ticket.give_back()

    def wait_no_longer(self, tasks: Container[Any], error: Callable[[], BaseException] | None) -> None:
        """End the waiting of some.

        Args:
            tasks: The asyncio tasks that may wait.
            error: Gives the error for each; None: they are to come in, although there is no room.
        """
        for ticket in [one for one in self._line if one.by in tasks]:
            del self._line[ticket]
            if error is None:
                self._let_in[ticket] = None
            ticket.let_in(error and error())

    def leave(self, ticket: Ticket) -> None:
        """Somebody who was let in comes in now, or somebody waits no longer."""
        self._let_in.pop(ticket, None)
        self._line.pop(ticket, None)
        self._dispatcher.turns.wake()  # who is behind may come in, if this one does not

    def look(self, *, is_closing: bool) -> None:
        """Something may have started or ended: let in as many as there is room for.

        Args:
            is_closing: Whether the cue is being stopped, which takes nothing from outside but what came before.
        """
        if is_closing:
            for ticket in [one for one in self._line if not one.stays]:
                if ticket in self._line:
                    del self._line[ticket]
                    ticket.let_in(self._stopped())
        while self._line and self.pending() + len(self._let_in) < self.most:
            self._let_first_in()

    def _is_of_call(self, task: Any) -> bool:
        """Whether another thread is blocked by an asyncio task: by a call of runcue's, or one of asyncio's own."""
        chained = "_chain_future.<locals>._call_set_state"
        return task in self._dispatcher.calls.tasks or any(
            getattr(callback, "__qualname__", "") == chained
            for callback, _ in getattr(task, "_callbacks", None) or ()
        )

    def _look_for_own(self, now: float) -> None:
        """Let those in for whom handlers, gates or listeners wait."""
        dispatcher = self._dispatcher
        if not self._line or not (own := dispatcher.standstill.everybody()):
            return
        if now < self._look_at:
            self._alarm.set(self._look_at)
            return
        from runcue._dispatch.blocked_threads import waited_for  # noqa: PLC0415 - mostly nobody waits for room

        began = perf_counter()
        self.wait_no_longer(waited_for(own, dispatcher.waiting), None)
        pause = _SHARE * (perf_counter() - began)
        self._look_at = now + pause
        if self._line:
            of_threads = any(ticket.is_of_thread for ticket in self._line)
            self._alarm.set(now + max(pause, _LOOK_AFTER if of_threads else _LOOK_SELDOM))

    def look_for_standstill(self) -> None:
        """All was looked at: if nothing can move that is pending, the first in line is let in all the same."""
        if self._line and self._alarm.when == inf:
            self._look_for_own(self._dispatcher.turns.now())
        if self._dispatcher.turns.failure is not None:
            self.refuse(self._dispatcher.turns.failed)
        elif self._line and not self._let_in and self.pending() >= self.most and self._stands_still():
            self._tell(next(iter(self._line)))
            self._let_first_in()

    def _stands_still(self) -> bool:
        dispatcher = self._dispatcher
        if dispatcher.gates.awaited or self._loop_calls or self._core.wakeups.queue:
            return False
        if dispatcher.active() or dispatcher.standstill.listening():
            dispatcher.standstill.watch()  # it is told when that changes
            return False
        if self._core.run_queues.are_paused():
            return False  # whoever has paused a service lets it go on
        return not dispatcher.can_go_on() and dispatcher.rechecker.exhausted

    def _let_first_in(self) -> None:
        ticket, _ = self._line.popitem(last=False)
        self._let_in[ticket] = None
        ticket.let_in(None)

    def let_go(self) -> None:
        """The loop has ended: who was let in will not come in any more."""
        self._let_in.clear()
        self.refuse(too_late)

    def refuse(self, error: Callable[[], BaseException]) -> None:
        """Nobody comes in any more.

        Args:
            error: Gives the error for each.
        """
        while self._line:
            ticket, _ = self._line.popitem(last=False)
            ticket.let_in(error())

    def _stopped(self) -> CueStopped:
        return CueStopped(
            f"This cue is being stopped while submit() waits for room (max_pending={self.most}), and nothing was "
            "submitted."
        )

    def _tell(self, ticket: Ticket) -> None:
        if not self._told:
            self._told = True
            self._log.tell(
                "full",
                (),
                "Nothing that is pending can move, and whoever submits more waits for room (%s). So %s is taken in all "
                "the same: it may make what the others wait for. Submit first what others need, or let more be "
                "pending. This is told once, and goes on as long as nothing else can move",
                self._words(),
                shortened(ticket.task, 80),
            )
