"""All instants that a cue waits for, behind two timers of the event loop.

Lives here: `Timers`, two heaps of deadlines with one armed timer each. The passive ones (rechecks, warnings) are no
reason for a virtual clock to move, nor for a drain to wait.

Must not know: what is due, beyond calling what was registered for it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from contextvars import Context
from math import inf

from runcue._scheduling.deadlines import Deadlines
from runcue.abc import Clock, TimerHandle

__all__ = ["Timers"]


class Timers:
    """Deadlines by key, active and passive, on a clock.

    Attributes:
        active: Instants at which something will or must happen.
        passive: Instants at which to have a look, if time gets there.
        on_due: What to do when a key falls due; keys that are not in here only wake the dispatcher.
    """

    def __init__(self, fire: Callable[[Deadlines], None], context: Context) -> None:
        self.active = Deadlines()
        self.passive = Deadlines()
        self.on_due: dict[Hashable, Callable[[float], None]] = {}
        self._fire = fire
        self._context = context
        self._clock: Clock | None = None
        self._armed: list[tuple[float, TimerHandle] | None] = [None, None]

    def start(self, clock: Clock) -> None:
        """Use this clock from now on."""
        self._clock = clock
        self._armed = [None, None]

    def stop(self) -> None:
        """Forget everything."""
        for armed in self._armed:
            if armed is not None:
                armed[1].cancel()
        self._armed = [None, None]
        self._clock = None
        self.active = Deadlines()
        self.passive = Deadlines()

    def arm(self) -> None:
        """Make sure that the loop wakes up for the earliest of each kind."""
        if self._clock is None:
            return
        for index, deadlines in enumerate((self.active, self.passive)):
            when = deadlines.next()
            armed = self._armed[index]
            if armed is not None:
                if armed[0] == when:
                    continue
                armed[1].cancel()
                self._armed[index] = None
            if when != inf:
                callback = self._passive_due if index else self._active_due
                handle = self._clock.call_at(when, callback, passive=bool(index), context=self._context)
                self._armed[index] = (when, handle)

    def _active_due(self) -> None:
        self._armed[0] = None
        self._fire(self.active)

    def _passive_due(self) -> None:
        self._armed[1] = None
        self._fire(self.passive)
