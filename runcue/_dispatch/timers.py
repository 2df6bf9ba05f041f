"""All instants that a cue waits for, behind one timer of the event loop.

Lives here: `Timers`, two heaps of deadlines, and `Alarm`, one thing that falls due. The passive ones (rechecks,
warnings) are no reason for a virtual clock to move, nor for a drain to wait: so a clock that is not the system's has a
timer for each of the two.

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
        active, passive = self.active, self.passive
        if self._clock is None or not (active.moved or passive.moved):
            return
        if isinstance(self._clock, SystemClock):
            # Real time passes for all of them, so one timer is enough.
            self._arm(0, min(active.next(), passive.next()), self._first_due, is_passive=False)
        else:
            if active.moved:
                self._arm(0, active.next(), self._active_due, is_passive=False)
            if passive.moved:
                self._arm(1, passive.next(), self._passive_due, is_passive=True)
        active.moved = passive.moved = False

    def _arm(self, index: int, when: float, callback: Callable[[], None], *, is_passive: bool) -> None:
        clock, armed = self._clock, self._armed[index]
        assert clock is not None
        if armed is not None:
            if armed[0] == when:
                return
            armed[1].cancel()
            self._armed[index] = None
        if when != inf:
            if when in self.exact and isinstance(clock, SystemClock):
                handle = clock.call_exactly(when, callback, context=self._context)
            else:
                handle = clock.call_at(when, callback, passive=is_passive, context=self._context)
            self._armed[index] = (when, handle)

    def _active_due(self) -> None:
        self._called_for(0)
        self._fire_active()

    def _passive_due(self) -> None:
        self._called_for(1)
        self._fire(self.passive)

    def _first_due(self) -> None:
        when = self._called_for(0)
        is_passive = self.passive.next() <= when
        if not is_passive or self.active.next() <= when:
            self._fire_active()
        if is_passive:
            self._fire(self.passive)

    def _fire_active(self) -> None:
        self.exact.clear()  # whoever still waits for one says so in the look that follows
        self._fire(self.active)

    def _called_for(self, index: int) -> float:
        """A timer is spent. Returns the instant that it was set to."""
        armed, self._armed[index] = self._armed[index], None
        self.active.moved = self.passive.moved = True
        when = -inf if armed is None else armed[0]
        self.reached = max(self.reached, when)
        return when


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
