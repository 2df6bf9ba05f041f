"""When mistakes are looked for that make work wait for ever or leave it outdated: within a second, without a time-out.

Lives here: `Diagnostics`, which knows when there is something to look for, and how many work units have run again
because another version of runcue had stamped what they make. What is found, and told, is in `findings`: it is loaded
when something waits for the first time.

Looked for half a second after anything has changed, while time passes anyway: this wakes no clock and keeps no drain
waiting. If very many work units come to wait at once, it is done when nothing moves any more.

Must not know: how anything is decided.
"""

from __future__ import annotations

import time
from math import inf
from typing import TYPE_CHECKING, Final

from runcue._artifacts.watched_folders import WatchedFolders
from runcue._callbacks.warning_log import WarningLog
from runcue._dispatch.dispatcher import Dispatcher
from runcue._dispatch.timers import Alarm
from runcue._explain.explanations import Explanations, load
from runcue._model.phases import HELD, NOT_READY
from runcue._model.texts import how_many
from runcue._scheduling.core import Core
from runcue._scheduling.dependencies import NEWCOMERS

if TYPE_CHECKING:
    from runcue._lifecycle.findings import Findings

__all__ = ["Diagnostics"]

LOOK_AFTER: Final = 0.5
GRACE: Final = 0.4
"""Seconds that something must have been so before it is told: what is submitted next may put it right."""


class Diagnostics:
    """Looks for them in one cue.

    Args:
        core: The state.
        dispatcher: Says what moves.
        explanations: Say why work units do not run.
        watched: The folders of which changes are told.
        log: Where it is told.
    """

    def __init__(
        self,
        core: Core,
        dispatcher: Dispatcher,
        explanations: Explanations,
        watched: WatchedFolders,
        log: WarningLog,
    ) -> None:
        self._watched = watched
        self._log = log
        self._core = core
        self._dispatcher = dispatcher
        self._gate, self._declared_gate = dispatcher.callbacks.gate, dispatcher.callbacks.declared_gate
        self._explanations = explanations
        self._looked_at: object = None
        self._subscriptions_seen = 0
        self._began = time.time_ns()
        # None as long as nothing has waited since the start.
        self._findings: Findings | None = None
        self._alarm = Alarm(dispatcher.timers, self._due, passive=True)

    def begin(self) -> None:
        """The cue was started: what was told before may be so again."""
        self._findings = None
        self._began = time.time_ns()
        self._looked_at = None

    def _state(self) -> object:
        core = self._core
        return core.settlements, core.submitted, core.count[NOT_READY], core.count[HELD]

    def set_alarms(self) -> None:
        """Look into what has changed, soon."""
        core = self._core
        dependencies = core.dependencies
        if not (
            core.count[NOT_READY]
            or core.count[HELD]
            or dependencies.remade
            or self._gate.skipped
            or self._declared_gate.other_stamps
        ):
            if dependencies.newcomers:
                dependencies.newcomers.clear()
            self._subscriptions_seen = dependencies.subscriptions
            return
        if self._alarm.when == inf and self._looked_at != self._state():
            self._alarm.set(self._dispatcher.turns.now() + LOOK_AFTER)

    def _due(self, now: float) -> None:
        self._looked_at = self._state()
        if not self._look(now, GRACE):
            self._looked_at = None  # something was too young, or too much: again

    def look_now(self) -> None:
        """Tell what is found without waiting: nothing moves any more."""
        self._looked_at = self._state()
        self._look(self._dispatcher.turns.now(), 0.0)

    def _look(self, now: float, grace: float) -> bool:
        """Tell what is found.

        Args:
            now: Monotonic.
            grace: Seconds that a work unit must have waited.

        Returns:
            Whether everything was looked at.
        """
        core = self._core
        dependencies = core.dependencies
        at_rest = self._dispatcher.is_idle()
        too_many = dependencies.subscriptions - self._subscriptions_seen > NEWCOMERS
        self._subscriptions_seen = dependencies.subscriptions
        whole = True
        if core.count[NOT_READY] or core.count[HELD]:
            whole = self._found().look(now, grace, at_rest=at_rest, too_many=too_many)
        else:
            dependencies.newcomers.clear()
        if at_rest:
            self.tell_other_stamps()
        if dependencies.remade or self._gate.skipped:
            self._found().tell_outdated()
        return whole

    def _found(self) -> Findings:
        found = self._findings
        if found is None:
            load("runcue._lifecycle.findings")
            from runcue._lifecycle.findings import Findings  # noqa: PLC0415 - most programs make no such mistake

            found = self._findings = Findings(
                self._core,
                self._dispatcher,
                self._explanations.explainer,
                self._watched,
                self._log,
                self._began,
            )
        return found

    def tell_other_stamps(self) -> None:
        """Tell how many work units have run again because of the form of their stamps; no more is started."""
        declared_gate = self._declared_gate
        number, declared_gate.other_stamps = declared_gate.other_stamps, 0
        if number:
            self._log.tell(
                "other_stamps",
                (),
                "%s ran again because what digest() remembers of their outputs was noted by another version of "
                "runcue, in a form that this one does not read. From now on they are up to date again",
                how_many(number, "work unit", "work units"),
            )
