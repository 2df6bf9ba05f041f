"""Deadlocks: handlers, gates and listeners that wait for work units which need what they hold, told unasked.

What is proven is told as a deadlock within a second. Those whose wait has an end of its own, a time-out or a task that
may let them go on, are told to wait for themselves until then. What cannot be read is told by nobody here: a handler
that waits for an event of its own looks like one that is slow.

Looked for while somebody in the cue waits for work units, every 0.4 s at most and for 5 % of the time, because tasks
come to wait for each other without runcue hearing of it. This wakes no clock and keeps no drain waiting.

Must not know: how it is found out who waits for what, how a drain or stop ends it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING, Any, Final

from runcue._callbacks.warning_log import WarningLog
from runcue._dispatch.dispatcher import Dispatcher
from runcue._dispatch.timers import Alarm
from runcue._explain.explanations import load
from runcue._handlers.outputs import owner_of
from runcue._model.texts import listed, name_of
from runcue._model.work import Work
from runcue._scheduling.knots import Knot

if TYPE_CHECKING:
    from runcue._explain.answers import Blocked

__all__ = ["Deadlocks"]

LOOK_AFTER: Final = 0.4
"""Seconds between two looks. It is told within a second what has come about just after a look, and what comes loose by
itself soon is told only if the next one sees it again."""
_SLICE: Final = 0.005
"""Seconds after which a look at very many is broken off, and goes on later."""
_AT_ONCE: Final = 200
"""Work units of which that is asked together, before the clock is: 2 to 5 ms if each has somebody else who waits."""
_SHARE: Final = 20
"""The pause after a look is at least so many times as long as the look was."""

_AGAIN_AFTER: Final = 60.0
"""Seconds until other work units of the same tasks are told to wait for themselves until a time-out."""

_WORTH_TELLING: Final = 0.25
"""Seconds; what comes loose sooner than that is told only if it was seen before."""


class Deadlocks:
    """Looks for them in one cue.

    Args:
        dispatcher: What runs.
        log: Where it is told.

    Attributes:
        awaited: What somebody in the cue waits for, by what is awaited.
        works: The work units whose handlers, gates or listeners a drain or a stop has found in one.
    """

    def __init__(self, dispatcher: Dispatcher, log: WarningLog) -> None:
        self._dispatcher = dispatcher
        self.awaited = dispatcher.waiting.awaited
        self._log = log
        self._alarm = Alarm(dispatcher.timers, self._due, passive=True)
        self.works: dict[Work, None] = {}
        # By what makes them themselves: those that were told of, and those that were seen to wait for themselves.
        self._told: set[Any] = set()
        self._told_to_wait: set[Any] = set()
        self._seen: set[Any] = set()
        # Work units that somebody waits for and that have not been looked at in this round.
        self._left: list[Work] = []
        # When it was told last, by the names of the tasks.
        self._said: dict[frozenset[str], float] = {}

    def begin(self) -> None:
        """The cue was started."""
        self.works = {}
        self._told.clear()
        self._told_to_wait.clear()
        self._seen.clear()
        self._left = []
        self._said.clear()

    def set_alarms(self) -> None:
        """Look soon: somebody in the cue waits for work units."""
        if self._alarm.when == inf:
            self._alarm.set(self._dispatcher.turns.now() + LOOK_AFTER)

    def _due(self, now: float) -> None:
        turns, awaited = self._dispatcher.turns, self.awaited
        standstill = self._dispatcher.standstill
        began = turns.now()
        standstill.untie()
        if not self._left:
            self._left = self._dispatcher.waiting.awaited_works()
        while self._left:
            some, self._left = self._left[:_AT_ONCE], self._left[_AT_ONCE:]
            if standstill.find(some):
                self._left = []
                self._tell(standstill.find(), began)
                break
            if turns.now() - began > _SLICE:
                break
        else:
            self._seen.clear()
        pause = _SHARE * (turns.now() - began)
        if awaited:
            self._alarm.set(turns.now() + (pause if self._left else max(LOOK_AFTER, pause)))
        else:
            self._left = []  # nothing is kept for nobody
            self._told.clear()
            self._told_to_wait.clear()

    def _tell(self, knots: list[Knot], now: float) -> None:
        before, self._seen = self._seen, {waiter.key for knot in knots for waiter in knot.waits}
        if self._told or self._told_to_wait:
            alive = self._dispatcher.standstill.everybody()
            self._told &= alive
            self._told_to_wait &= alive
        for knot in knots:
            keys = {waiter.key for waiter in knot.waits}
            if knot.is_proven:
                if not keys <= self._told:
                    self._told |= keys
                    self._tell_of(knot, now)
            elif not keys <= self._told_to_wait and (knot.until - now > _WORTH_TELLING or keys <= before):
                self._told_to_wait |= keys
                tasks = frozenset(waiter.work.task for waiter in knot.waits if waiter.work is not None)
                if now >= self._said.get(tasks, -inf) + _AGAIN_AFTER:
                    self._said[tasks] = now
                    self._tell_of(knot, now)

    def _tell_of(self, knot: Knot, now: float) -> None:
        load()
        from runcue._explain.knot_words import knot_in_words  # noqa: PLC0415 - loaded when something is to be explained
        from runcue._explain.next_steps import way_out  # noqa: PLC0415 - loaded when something is to be explained

        self._log.tell(
            "deadlock" if knot.is_proven else "self_wait",
            dict.fromkeys(waiter.work for waiter in knot.waits if waiter.work is not None),
            "%s. %s",
            knot_in_words(knot, now, now + self._dispatcher.turns.skew),
            way_out(knot),
            level=logging.ERROR if knot.is_proven else logging.WARNING,
        )

    def at_rest(self, reasons: Callable[[], list[Blocked]]) -> None:
        """Nothing goes on any more: whoever waits for a work unit waits in vain.

        Args:
            reasons: Gives why pending work units do not run.
        """
        dispatcher = self._dispatcher
        standstill = dispatcher.standstill
        now = dispatcher.turns.now()
        knots = [knot for knot in standstill.find() if knot.is_proven]
        self._tell(knots, now)
        handlers = list(dispatcher.in_flight.works)
        listeners = dispatcher.lines.served()
        if dispatcher.core.run_queues.are_paused():
            # Somebody may let what is paused go on, and by that the others.
            handlers = [run for run in handlers if run in self._told]
            listeners = [one for one in listeners if one.task in self._told]
        for run in handlers:
            self.works[owner_of(run)] = None
        for one in listeners:
            if one.work is not None:
                self.works[one.work] = None
        left: list[tuple[Any, str, Work | None]] = [
            (run, name_of(owner_of(run)), owner_of(run)) for run in handlers if run not in self._told
        ]
        left += [(one.task, f"the {one.name}", one.work) for one in listeners if one.task not in self._told]
        if left:
            self._told.update(key for key, _, _ in left)
            # For another reason than what the others hold.
            waits = [self._words_of_wait(key, name) for key, name, _ in left]
            why = "; ".join(f"{name_of(one.work)}: {one.details}" for one in reasons()[:5])
            self._log.tell(
                "deadlock",
                [work for _, _, work in left if work is not None],
                "Deadlock: %s, and nothing else goes on. %s",
                listed(waits, 5, "; "),
                why,
                level=logging.ERROR,
            )

    def _words_of_wait(self, key: Any, name: str) -> str:
        waiting = self._dispatcher.waiting
        found = waiting.read_handler(key) if isinstance(key, Work) else waiting.read(key)
        works = [] if found is None else found.ends
        return f"{name} waits for {listed(map(name_of, works), 3) or 'work units'}"
