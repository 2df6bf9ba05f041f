"""What happens when work is pending for too long, or nothing moves: `pending_*` and `stall_*`.

Lives here: the four time-outs and warnings and their texts. `pending_*` count the time of one work unit since its
submission; `stall_*` the time since anything made progress. A stall fails work only if no handler runs, nothing is
being asked and no instant is known at which something will start: a healthy slow batch is not a stall.

Warnings are passive: they wake no clock and keep no drain waiting.

Must not know: how a work unit is settled, or timers.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from math import inf

from runcue._callbacks.listeners import Listeners
from runcue._callbacks.warning_log import WarningLog
from runcue._dispatch.dispatcher import Dispatcher
from runcue._dispatch.timers import Alarm
from runcue._explain.explanations import Explanations
from runcue._explain.likeness import grouped
from runcue._lifecycle.room import Room
from runcue._model.errors import PendingTimeout, StallTimeout
from runcue._model.events import Event
from runcue._model.phases import SETTLED
from runcue._model.texts import how_many, listed, name_of
from runcue._model.work import Work
from runcue._scheduling.ageing import pending_since
from runcue._scheduling.core import Core

__all__ = ["Overdue"]

# So many work units are put in words to be grouped; of a hundred thousand the first thousand say enough.
_LOOKED_INTO = 1000


class Overdue:
    """Sets the deadlines that follow from a core's options, and acts on them.

    Args:
        core: The state.
        dispatcher: What time-outs fail.
        explanations: Say why work units do not run.
        listeners: Who hears of warnings in the place of the log.
        room: Where submissions may wait; None: none does.
        log: Takes the others.
    """

    def __init__(
        self,
        core: Core,
        dispatcher: Dispatcher,
        explanations: Explanations,
        listeners: Listeners,
        room: Room | None,
        log: WarningLog,
    ) -> None:
        self._room = room
        self._core = core
        self._dispatcher = dispatcher
        self._listeners = listeners
        self._log = log
        timers = dispatcher.timers
        self._pending_timeout = Alarm(timers, self._fail_pending)
        self._pending_warning = Alarm(timers, self._warn_of_pending, passive=True)
        self._stall_timeout = Alarm(timers, self._fail_stalled)
        self._stall_warning = Alarm(timers, self._warn_of_stall, passive=True)
        self._stall_looked_at = 0.0
        self._explanations = explanations

    def set_alarms(self) -> None:
        """Set the alarms that follow from the state of the core."""
        core = self._core
        if core.timeouts is not None:
            self._pending_timeout.set(core.timeouts.next())
        if core.warnings is not None:
            self._pending_warning.set(core.warnings.next())
        stall = core.stall
        if stall.timeout is not None:
            # If something was still moving when it was looked at, it is looked at again one time-out later.
            due = stall.next_timeout(core.progressed_at, core.pending())
            # What is paused by hand is meant to stand still: whoever lets it go on has it looked at again.
            self._stall_timeout.set(
                inf if due < inf and self._is_paused() else max(due, self._stall_looked_at + stall.timeout)
            )
        if stall.warn_after is not None:
            self._stall_warning.set(stall.next_warning(core.progressed_at, self._unsettled()))

    def _is_paused(self) -> bool:
        """Whether some work units are pending that use a service that somebody has to let go on."""
        paused = {service for service in self._core.services.values() if service.is_paused()}
        is_one = bool(paused) and any(
            task.unsettled > task.running and not paused.isdisjoint(task.run_queue.services)
            for task in self._core.all_tasks
        )
        return is_one or (bool(self._core.keyed) and self._core.run_queues.are_paused())

    def _unsettled(self) -> int:
        """How many work units might move; what was submitted for later is not meant to."""
        return self._core.unsettled - len(self._core.appointments.works)

    def _why(self, work: Work, now: float) -> str:
        [(_, words)] = self._whys((work,), now)
        return words

    def _whys(self, works: Iterable[Work], now: float) -> list[tuple[Work, str]]:
        wall = now + self._dispatcher.turns.skew
        reasons = self._explanations.explainer.reasons(works, now, wall)
        from runcue._explain.wording import in_short  # noqa: PLC0415 - loaded when something is to be explained

        return [(work, in_short(reason, now, wall)) for work, reason in reasons]

    def _fail_pending(self, now: float) -> None:
        line = self._core.timeouts
        while line is not None and (work := line.pop(now)) is not None:
            text = (
                f"{name_of(work)} was pending for {now - pending_since(work):.1f} s "
                f"(pending_timeout={line.after:g}); {self._why(work, now)}"
            )
            self._dispatcher.settlement.give_up(work, PendingTimeout(text))

    def _warn_of_pending(self, now: float) -> None:
        line = self._core.warnings
        if line is None:
            return
        observed: list[Work] = []
        unobserved: list[Work] = []
        while (work := line.pop(now)) is not None:
            if self._listeners.hears(Event.PENDING_WARNING, work):
                audience = self._listeners.of[Event.PENDING_WARNING]
                self._listeners.emit(audience.each, now, work, (work, now - pending_since(work)))
                observed.append(work)
            else:
                unobserved.append(work)
        if observed and self._log.hearers:
            self._tell_pending(observed, line.after, now, logged=False)
        if unobserved:
            self._tell_pending(unobserved, line.after, now, logged=True)

    def _tell_pending(self, works: list[Work], after: float, now: float, *, logged: bool) -> None:
        self._log.tell(
            "pending",
            works,
            "%s pending for more than %g s: %s",
            how_many(len(works), "work unit is", "work units are"),
            after,
            grouped(self._whys(works, now)),
            logged=logged,
        )

    def _fail_stalled(self, now: float) -> None:
        core, dispatcher = self._core, self._dispatcher
        self._stall_looked_at = now
        timeout = core.stall.timeout
        if timeout is None or now < core.stall.next_timeout(core.progressed_at, core.pending()):
            return
        if dispatcher.active() or dispatcher.gates.awaited:
            return
        if dispatcher.can_start():
            # The next token or attempt may be an hour away; before it comes there is nothing new to be seen.
            start = dispatcher.next_start()
            self._stall_looked_at = now if start == inf else max(now, start)
            return
        seconds = now - core.progressed_at  # the first failure is progress, too
        # All reasons before the first failure, which would be the reason of the next.
        for work, reason in self._whys(core.pending_works(), now):
            text = (
                f"{name_of(work)} failed by stall_timeout={timeout:g}: nothing moved for "
                f"{seconds:.1f} s and nothing that runs could change that; {reason}"
            )
            if work._phase != SETTLED:
                dispatcher.settlement.give_up(work, StallTimeout(text))

    def _warn_of_stall(self, now: float) -> None:
        core, dispatcher = self._core, self._dispatcher
        if now < core.stall.next_warning(core.progressed_at, self._unsettled()):
            return
        core.stall.warned_at = core.progressed_at
        seconds = now - core.progressed_at
        audience = self._listeners.of[Event.STALL_WARNING]
        if audience:
            self._listeners.emit(audience.each, now, None, (seconds, core.pending()))
            if not self._log.hearers:
                return
        running = listed(map(name_of, dispatcher.in_flight.works))
        waits = grouped(self._whys(islice(core.pending_works(), _LOOKED_INTO), now), before="; ")
        from runcue._explain.holders import wanted_slots  # noqa: PLC0415 - loaded when something is to be explained
        from runcue._explain.slot_words import slots_in_words  # noqa: PLC0415 - loaded when something is to be explained

        wall = now + dispatcher.turns.skew
        holding = wanted_slots(core, dispatcher.in_flight.works, wall, dispatcher.where_it_is)
        held = listed(slots_in_words(holding), 3, "; ")
        if (submissions := self._submissions()) and dispatcher.in_flight.works:
            held = f"{held}; {submissions}" if held else submissions
        self._log.tell(
            "stalled",
            dispatcher.in_flight.works,
            "No progress for %.0f s: %s pending, %s%s%s",
            seconds,
            how_many(core.pending(), "work unit is", "work units are"),
            f"running: {running}" if running else "and nothing runs",
            f"; {held}" if held else "",
            waits,
            logged=not audience,
        )

    def _submissions(self) -> str:
        """That submissions wait for room, where handlers may wait for these without that being seen; else ""."""
        room = self._room
        if room is None or not (threads := room.waiting_threads()):
            return ""
        from runcue._explain.why_all import submissions_in_words  # noqa: PLC0415 - likewise

        return submissions_in_words(room.waiting, threads, room.places_of_threads())
