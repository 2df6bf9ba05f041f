"""All instants that a cue waits for, behind two timers of the event loop.

Lives here: `Timers`, two heaps of deadlines with one armed timer each, and `Alarm`, one thing that falls due. The
passive ones (rechecks, warnings) are no reason for a virtual clock to move, nor for a drain to wait.

Must not know: what is due.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from contextvars import Context
from math import inf

from runcue._dispatch.clock import SystemClock
from runcue._scheduling.deadlines import Deadlines
from runcue.abc import Clock, TimerHandle

__all__ = ["Alarm", "Timers"]


class Timers:
    """Deadlines by key, active and passive, on a clock.

    Attributes:
        active: Instants at which something will or must happen.
        passive: Instants at which to have a look, if time gets there.
        exact: Those of the active ones after which each moment is lost.
        reached: The last instant for which the loop has called: whatever else was to happen in it before that has.

    Args:
        fire: Takes the deadlines of which the earliest is due. Keys are alarms, and whatever else whoever fires knows.
        context: The contextvars to fire in.
    """

    def __init__(self, fire: Callable[[Deadlines[Hashable]], None], context: Context) -> None:
        self.active: Deadlines[Hashable] = Deadlines()
        self.passive: Deadlines[Hashable] = Deadlines()
        self.exact: set[float] = set()
        self._fire = fire
        self._context = context
        self.reached = -inf
        self._clock: Clock | None = None
        self._armed: list[tuple[float, TimerHandle] | None] = [None, None]

    def start(self, clock: Clock) -> None:
        """Use this clock from now on."""
        self.reached = -inf
        self._clock = clock
        self._armed = [None, None]
        self.active.moved = self.passive.moved = True

    def stop(self) -> None:
        """Forget everything."""
        for armed in self._armed:
            if armed is not None:
                armed[1].cancel()
        self._armed = [None, None]
        if isinstance(self._clock, SystemClock):
            self._clock.close()
        self._clock = None
        self.exact.clear()
        self.active.keep(lambda key: False)
        self.passive.keep(lambda key: False)

    def arm(self) -> None:
        """Make sure that the loop wakes up for the earliest of each kind."""
        if self._clock is None:
            return
        for index, deadlines in ((0, self.active), (1, self.passive)):
            if not deadlines.moved:
                continue
            when = deadlines.next()
            deadlines.moved = False
            armed = self._armed[index]
            if armed is not None:
                if armed[0] == when:
                    continue
                armed[1].cancel()
                self._armed[index] = None
            if when != inf:
                callback = self._passive_due if index else self._active_due
                if when in self.exact and isinstance(self._clock, SystemClock):
                    handle = self._clock.call_exactly(when, callback, context=self._context)
                else:
                    handle = self._clock.call_at(when, callback, passive=bool(index), context=self._context)
                self._armed[index] = (when, handle)

    def _active_due(self) -> None:
        self._called_for(0, self.active)
        self.exact.clear()  # whoever still waits for one says so in the look that follows
        self._fire(self.active)

    def _passive_due(self) -> None:
        self._called_for(1, self.passive)
        self._fire(self.passive)

    def _called_for(self, index: int, deadlines: Deadlines[Hashable]) -> None:
        deadlines.moved = True  # its timer is spent
        armed = self._armed[index]
        if armed is not None:
            self.reached = max(self.reached, armed[0])
            self._armed[index] = None


class Alarm:
    """One thing that falls due now and then.

    Args:
        timers: The timers that wait for it.
        ring: Takes the instant, monotonic, once it is due.
        passive: Whether it is no reason for time to pass.
    """

    __slots__ = ("_deadlines", "ring")

    def __init__(self, timers: Timers, ring: Callable[[float], None], *, passive: bool = False) -> None:
        self._deadlines = timers.passive if passive else timers.active
        self.ring = ring

    @property
    def when(self) -> float:
        """When it is due, inf if it is not set."""
        return self._deadlines.when(self)

    def set(self, when: float) -> None:
        """Let it be due at an instant, instead of any earlier setting. At inf it is cleared."""
        self._deadlines.set(self, when)

    def clear(self) -> None:
        """Do not let it be due. Harmless if it is not set."""
        self._deadlines.clear(self)
