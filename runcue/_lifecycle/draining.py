"""What a drain that lasts says meanwhile: for what it waits, and until when as far as that is known.

Lives here: `DrainNews`. A batch that goes on as it should is nothing to warn of, so that this is news and no warning;
one that stands still for a minute or more is told as one, once, and so is one of a minute or more in which nothing
starts for most of the time.

Must not know: when a drain ends, how a cue stops.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from math import inf
from typing import Final

from runcue._callbacks.warning_log import WarningLog
from runcue._dispatch.dispatcher import Dispatcher
from runcue._dispatch.timers import Alarm
from runcue._explain.attempt_words import attempt_of
from runcue._explain.outlook import done_by_limits
from runcue._limits.service import Service
from runcue._model.attempts import Attempts
from runcue._model.phases import NOT_DUE
from runcue._model.texts import how_many, listed, name_of, seconds_in_words
from runcue._model.work import Work
from runcue._scheduling.core import Core
from runcue._scheduling.retry import Retry, is_endless, policy_of

__all__ = ["DrainNews"]

logger = logging.getLogger("runcue")

TELL_AFTER: Final = 5.0
TELL_AGAIN_AFTER: Final = 60.0

_NOW: Final = 0.001


class DrainNews:
    """Tells of drains that last.

    Args:
        core: The state.
        dispatcher: What is drained.
        log: Where it is told.
    """

    def __init__(self, core: Core, dispatcher: Dispatcher, log: WarningLog) -> None:
        self._core = core
        self._dispatcher = dispatcher
        self._log = log
        self._time_to_tell = Alarm(dispatcher.timers, self._tell, passive=True)
        # Until when nothing can start, of which was warned, and whether that was in this drain.
        self._warned_of = -inf
        self._has_warned = False

    def begin(self) -> None:
        """A drain begins."""
        self._has_warned = False
        self._time_to_tell.set(self._dispatcher.turns.now() + TELL_AFTER)

    def end(self) -> None:
        """No drain goes on any more."""
        self._time_to_tell.clear()

    def _tell(self, now: float) -> None:
        """A drain has been waiting for a while."""
        for service in self._core.services.values():
            users = [one for one in self._core.run_queues.values() if service in one.services]
            first = next(filter(None, (one.peek(ordered=False) for one in users)), None)
            if first is not None and service.limits and service.has_slot():
                self._tell_of_limit(service, first, [work for one in users for work in one.in_line()], now)
                break
        else:
            still = now - self._core.progressed_at
            if still >= TELL_AFTER and (busy := self._busy()):
                # No warning: a handler may well take that long.
                span = seconds_in_words(round(still))
                logger.info("Draining: for %s it has waited for the end of %s", span, listed(busy))
            elif self._core.count[NOT_DUE]:
                self._tell_of_instants(now)
        self._time_to_tell.set(now + TELL_AGAIN_AFTER)

    def _tell_of_instants(self, now: float) -> None:
        """Tell of those that are not due, of each kind by itself: the way out of one is none of another."""
        core = self._core
        retries: list[Work] = []
        postponed: list[Work] = []
        throttled: list[Work] = []
        for work in core.returning:
            attempts: Attempts | None = work._attempts
            again = None if attempts is None else attempts.again
            if again is not None and again.is_throttled:
                throttled.append(work)
            else:
                (postponed if again is not None and again.is_postponed else retries).append(work)
        firsts, told = [], []
        for works, one, many in (
            (retries, "work unit waits for its next attempt", "work units wait for their next attempts"),
            (
                postponed,
                "work unit was postponed by its handler",
                "work units were postponed by their handlers",
            ),
            (throttled, "work unit was refused by its server", "work units were refused by their servers"),
        ):
            if works:
                first = min(works, key=core.returning.when)
                firsts.append(first)
                which = f"{name_of(first)}, {attempt_of(first)}" if works is retries else name_of(first)
                when = _for_how_long(len(works), core.returning.when(first) - now)
                told.append(f"{how_many(len(works), one, many)}{when} ({which}{_way_out(first)})")
        if delayed := core.count[NOT_DUE] - len(core.returning) - len(core.appointments.aside):
            until = core.appointments.next(now, self._dispatcher.turns.wall())
            waiting = how_many(delayed, "work unit waits for its time", "work units wait for their time")
            whom = "it" if delayed == 1 else "them"
            told.append(
                f'{waiting}{_for_how_long(delayed, until - now)} (stop(delayed="cancel") would not wait for {whom})'
            )
        until = self._dispatcher.delays.next()
        self._log.tell("draining", firsts, "Draining: %s", "; ".join(told), level=self._level(until, now))

    def _level(self, until: float, now: float) -> int:
        """How urgent it is that nothing can start before an instant: it is warned of once if that is a minute away."""
        if not (TELL_AGAIN_AFTER <= until - now < inf and until > self._warned_of):
            return logging.INFO
        self._warned_of = until
        self._has_warned = True
        return logging.WARNING

    def _tell_of_limit(self, service: Service, first: Work, waiting: Sequence[Work], now: float) -> None:
        refusal = service.refusal_by_limits(now, first)
        details = f"{service.name}: the next one can start now" if refusal is None else refusal.details
        until = now if refusal is None else refusal.until
        seconds = done_by_limits(self._core.history, service, waiting, until - now, now)
        level = self._level(until, now)
        # In most of that time nothing happens that could be seen.
        is_slow = seconds is not None and seconds >= max(TELL_AGAIN_AFTER, TELL_AFTER * len(waiting))
        if is_slow and not self._has_warned:
            self._has_warned, level = True, logging.WARNING
        self._log.tell(
            "draining",
            (),
            "Draining: %s for %s; %s",
            how_many(len(waiting), "work unit waits", "work units wait"),
            details,
            _done_in(len(waiting), seconds),
            level=level,
        )

    def _busy(self) -> list[str]:
        """What goes on, by name."""
        in_flight = self._dispatcher.in_flight
        busy = [*map(name_of, (*in_flight.works, *in_flight.late))]
        busy += [f"the gate of {name_of(work)}" for work in self._dispatcher.gates.awaited.works()]
        return busy + [f"the {name}" for name in self._dispatcher.lines.names()]


def _done_in(number: int, seconds: float | None) -> str:
    """In what time so many who wait for a service will be done, in words."""
    if seconds is None:
        return "until when is not known"
    who = "it is" if number == 1 else "all of them are"
    return f"{who} done in {seconds_in_words(round(seconds))} at the earliest"


def _for_how_long(number: int, seconds: float) -> str:
    """Until when so many wait, of which the first is due in so many seconds."""
    is_now = seconds < _NOW
    if number == 1:
        return "" if is_now else f", for another {seconds_in_words(seconds)}"
    return (
        ", of which the first goes on now"
        if is_now
        else f", the first for another {seconds_in_words(seconds)}"
    )


def _way_out(work: Work) -> str:
    """What to do if nothing says that what a work unit goes on with has an end."""
    if work._attempts is not None and work._attempts.again.is_throttled and not is_endless(work):
        return ""
    may_be_endless = is_endless(work) or not isinstance(policy_of(work), Retry)
    return "; if that has no end, cancel() ends it" if may_be_endless else ""
