"""What a cue asks its user, in one object, behind one failure policy.

Lives here: `Callbacks`, which puts the parts together. Who is told of events is in `listeners`.

Must not know: event loops, tasks, limits.
"""

from __future__ import annotations

from collections.abc import Callable

from runcue._callbacks.declared_gate import DeclaredGate
from runcue._callbacks.door import Door
from runcue._callbacks.failures import Failures
from runcue._callbacks.gate import Gate
from runcue._callbacks.priority import Priority
from runcue._callbacks.retrying import Retrying
from runcue._callbacks.unheard import Unheard
from runcue._callbacks.warning_log import WarningLog
from runcue._scheduling.holds import Holds

__all__ = ["Callbacks"]


class Callbacks:
    """All that is asked of the user of a cue.

    Args:
        holds: Says whom a work unit has to wait for.
        log: Where failing callbacks are told of.

    Attributes:
        failures: What becomes known of callbacks that fail.
        door: What else becomes known of them.
        declared_gate: Asks what work units declare.
        gate: Asks is_ready and is_stale, and what is declared before them.
        priority: Asks how urgent a work unit is.
        retrying: Decides whether there is another attempt.
        unheard: Failures of work units that nobody has heard of.
    """

    def __init__(self, holds: Holds, log: WarningLog) -> None:
        self.failures = Failures(log)
        self.door = door = Door(self.failures)
        self.declared_gate = DeclaredGate(self.failures, holds, door)
        self.gate = Gate(self.failures, door, self.declared_gate)
        self.priority = Priority(self.failures, door)
        self.retrying = Retrying(self.failures, door)
        self.unheard = Unheard(log)

    def use_clock(self, now: Callable[[], float]) -> None:
        """Take the time from this clock from now on."""
        self.door.use_clock(now)
