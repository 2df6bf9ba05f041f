"""The hard end of a stop: what runs is cancelled, coroutines have a moment for their clean-up, and then it is given up.

Lives here: `Cancellation`.

Must not know: when a stop comes to that.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from runcue._callbacks.warning_log import WarningLog
from runcue._dispatch.dispatcher import Dispatcher
from runcue._dispatch.overtime import cut_short
from runcue._dispatch.timers import Alarm
from runcue._explain.likeness import grouped
from runcue._handlers.outputs import owner_of, rollback
from runcue._model.phases import CANCELLED, SETTLED
from runcue._model.texts import listed
from runcue._model.work import Work
from runcue._scheduling.core import Core

__all__ = ["BY_STOP", "GRACE", "Cancellation"]

BY_STOP: Final = "stop()"
"""Who has cancelled a work unit that a stop has."""

GRACE: Final = 1.0
"""Seconds that cancelled coroutines have for their clean-up before they are abandoned."""


class Cancellation:
    """Cancels what runs in one dispatcher.

    Args:
        core: The state.
        dispatcher: Where it runs.
        log: Where it is told what was given up.

    Attributes:
        abandoned: The work units whose handlers were given up.
        is_over: Whether nothing more is waited for.
    """

    def __init__(self, core: Core, dispatcher: Dispatcher, log: WarningLog) -> None:
        self._core = core
        self._dispatcher = dispatcher
        self._log = log
        self.abandoned: list[Work] = []
        self.is_over = False
        # Whose coroutines were cancelled: a second time would cut their clean-up short.
        self._cancelled: set[Work] = set()
        self._spares = False
        self._end_of_grace = Alarm(dispatcher.timers, self._out_of_grace)

    def begin(self) -> None:
        """The cue was started."""
        self.abandoned = []
        self.is_over = False
        self._cancelled = set()

    def take_back(self, spared: Collection[Work]) -> None:
        """Cancel what was handed on and has not begun, as it waits for a worker of a cluster, say.

        Args:
            spared: Work units that go on.
        """
        dispatcher = self._dispatcher
        for work in list(dispatcher.in_flight.works):
            owner, now = owner_of(work), dispatcher.turns.now()
            if owner in spared or owner._phase == SETTLED or not dispatcher.in_flight.withdraw(work, now):
                continue
            work.cancelled = owner.cancelled = True
            dispatcher.settlement.settle(owner, CANCELLED, now, BY_STOP, 0.0)

    def cancel(self, spared: Collection[Work]) -> None:
        """Cancel what runs. Coroutines get a moment for their clean-up, threads cannot be ended.

        Args:
            spared: Work units that go on, and with them all async listeners.
        """
        dispatcher = self._dispatcher
        self._spares = bool(spared)
        threads = []
        for work in list(dispatcher.in_flight.works):
            owner = owner_of(work)
            if owner in spared or work in self._cancelled:
                continue
            work.cancelled = True
            rollback(work)
            if owner._phase != SETTLED:
                owner.cancelled = True
                self._core.dependencies.outlive(owner)
                now = dispatcher.turns.now()
                settlement = dispatcher.settlement
                by, lasted = cut_short(work, BY_STOP), settlement.ran_for(owner, now)
                settlement.settle(owner, CANCELLED, now, by, lasted)
            if work._runner is not None:
                self._cancelled.add(work)
                work._runner.cancel()
            elif dispatcher.in_flight.end(work):
                self._cancelled.add(work)
            else:
                threads.append(work)
        self._abandon(threads)
        self._end_of_grace.set(dispatcher.turns.now() + GRACE)

    def _out_of_grace(self, now: float) -> None:
        works = list(self._dispatcher.in_flight.works)
        if self._spares:
            self._abandon([work for work in works if work in self._cancelled])
            return
        self._abandon(works)
        lines = self._dispatcher.lines.cancel()
        if lines:
            names = listed((f"the {name}" for name in lines), 3)
            self._log.tell("abandoned", (), "stop() cancelled %s, which had not ended in time", names)
        self.is_over = True
        self._dispatcher.turns.wake()

    def _abandon(self, works: list[Work]) -> None:
        """Wait for handlers no longer; of however many there are, in one line."""
        for work in works:
            self.abandoned.append(work)
            self._dispatcher.in_flight.abandon(work, self._dispatcher.turns.now())
        if works:
            self._dispatcher.turns.wake()
            kinds = ((work, _kind_of(work)) for work in works)
            whose = grouped(
                ((work, f"the {kind} of its handler did not end in time") for work, kind in kinds), see=""
            )
            self._log.tell("abandoned", works, "stop() abandoned %s", whose)


def _kind_of(work: Work) -> str:
    if work._runner is not None:
        return "coroutine"
    return "thread" if work._task.calls is None else "call"
