"""Work units that may not go on before an instant: the one alarm for all of them, and letting them go on.

That is after a failed attempt, and before the first one where the submission says so. A date is compared with the wall
clock in each look, and once a minute there is one: somebody may set that clock, and a computer that sleeps stops the
other one alone. That look waits with all else that is no reason for time to pass (rechecks, warnings), behind the same
one timer of the loop where time is real. As a part of the alarm it would be such a reason, and to wait for a date a
year ahead would take the virtual clock half a million steps.

Lives here: `Delays`.

Must not know: why a work unit waits, what becomes of it then.
"""

from __future__ import annotations

from math import inf
from typing import Final

from runcue._dispatch.timers import Alarm, Timers
from runcue._dispatch.turns import Turns
from runcue._scheduling.core import Core
from runcue._scheduling.later import expect_anew, keep, recall
from runcue._scheduling.returning import take_back

__all__ = ["Delays"]

COMPARE_EVERY: Final = 60.0
"""Seconds between two looks at the wall clock at the most."""

_STEP: Final = 1.0
"""A wall clock that has moved by more seconds than the other one was set, or the computer has slept."""

_AT_ONCE: Final = 32
"""So many work units are let go on before it is looked how long that has taken."""


class Delays:
    """The work units of one core that wait for an instant.

    Args:
        core: The state.
        turns: The turns of the loop.
        timers: Where the first of the instants waits.

    Attributes:
        ahead: Whether an instant was waited for when it was looked last.
    """

    def __init__(self, core: Core, turns: Turns, timers: Timers) -> None:
        self._core = core
        self._turns = turns
        self.ahead = False
        self._skew = 0.0
        # The looks themselves are what matters.
        self._alarm = Alarm(timers, lambda now: None)
        # No reason for time to pass: where it passes by itself, so does that of the wall clock.
        self._comparison = Alarm(timers, lambda now: None, passive=True)

    def take_back(self, until: float) -> bool:
        """Let those stand in line whose instant has come.

        Args:
            until: Stop at this instant.

        Returns:
            Whether some are left for the next turn.
        """
        core, turns = self._core, self._turns
        now, wall = turns.now(), turns.wall()
        appointments = core.appointments
        if abs(wall - now - self._skew) > _STEP:
            self._skew = wall - now
            expect_anew(core, now, wall)
        if appointments.recalls:
            recall(core, now, wall)
        while take_back(core, now, _AT_ONCE) + keep(core, now, wall, _AT_ONCE):
            if turns.now() > until:
                return True
        return False

    def next(self) -> float:
        """When the first of the instants will come, as far as is known; inf if there is none."""
        now = self._turns.now()
        return min(self._core.returning.next(), self._core.appointments.next(now, self._turns.wall()))

    def arm(self) -> None:
        """Set the alarms that follow from the state."""
        due = self.next()
        self._alarm.set(due)
        self.ahead = due != inf
        if not self._core.appointments.has_dates:
            self._comparison.clear()
        elif self._comparison.when == inf:
            self._comparison.set(self._turns.now() + COMPARE_EVERY)
