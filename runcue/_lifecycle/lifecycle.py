"""What goes on around the dispatch of one cue, in one object: time-outs, diagnostics, deadlocks, the end of it all.

Must not know: what any of them does.
"""

from __future__ import annotations

from typing import Any, Protocol

from runcue._dispatch.waiting import Waiting
from runcue._lifecycle.deadlocks import Deadlocks
from runcue._lifecycle.diagnostics import Diagnostics
from runcue._lifecycle.leftovers import Leftovers
from runcue._lifecycle.overdue import Overdue
from runcue._lifecycle.pausing import Pausing
from runcue._lifecycle.room import Room
from runcue._lifecycle.stopping import Stopping

__all__ = ["Arriving", "Lifecycle"]


class Arriving(Protocol):
    """What comes from outside by itself and is submitted then.

    Attributes:
        trays: Empty as long as nothing can come.
    """

    trays: dict[str, Any]

    def look(self) -> None:
        """Everything was looked at: see what has come."""


class Lifecycle:
    """See `_dispatch.dispatcher.Lifecycle`, which this is."""

    def __init__(
        self,
        room: Room | None,
        overdue: Overdue,
        diagnostics: Diagnostics,
        deadlocks: Deadlocks,
        leftovers: Leftovers,
        stopping: Stopping,
        arriving: Arriving,
        waiting: Waiting,
        pausing: Pausing,
    ) -> None:
        self._room = room
        self._overdue = overdue
        self._diagnostics = diagnostics
        self._deadlocks = deadlocks
        self._awaited = deadlocks.awaited
        self._leftovers = leftovers
        self._stopping = stopping
        self._arriving = arriving
        self._trays = arriving.trays
        self._waiting = waiting
        self._pausing = pausing

    def begin(self) -> None:
        """The cue was started."""
        self._stopping.begin()
        self._diagnostics.begin()
        self._deadlocks.begin()
        self._leftovers.begin()
        self._pausing.begin()
        if self._room is not None:
            self._room.begin()

    def before_returns(self) -> None:
        """Leave those of them that have no end, before they are tried once more."""
        self._stopping.leaving.look()

    def before_timers(self) -> None:
        """Set the alarms that follow from the state."""
        self._overdue.set_alarms()
        self._diagnostics.set_alarms()
        if self._awaited:
            self._deadlocks.set_alarms()
        is_closing = self._stopping.level is not None
        if self._room is not None:
            self._room.look(is_closing=is_closing)
        if is_closing:
            self._waiting.wake_fed()
        if self._trays:
            self._arriving.look()

    def after_look(self) -> None:
        """See whether the cue has come to rest."""
        if self._room is not None:
            self._room.look_for_standstill()
        self._stopping.look()
