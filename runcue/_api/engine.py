"""What stands behind one cue, put together: every part is given what it needs by its constructor.

Lives here: `Engine`, which is read from top to bottom to see who knows whom. It is loaded with the first cue, not with
`import runcue`: a program that only imports it, or asks for its help, does not pay for what runs work units.

Must not know: what any part does.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from runcue._api.drop_folders import DropFolders
from runcue._api.entrance import Entrance
from runcue._api.inquiry import Inquiry
from runcue._api.intake import Intake
from runcue._artifacts.descriptors import patiently
from runcue._artifacts.watched_folders import WatchedFolders
from runcue._callbacks.callbacks import Callbacks
from runcue._callbacks.throttling import Throttling
from runcue._callbacks.warning_log import WarningLog
from runcue._dispatch.dispatcher import Dispatcher
from runcue._explain.explanations import Explanations
from runcue._lifecycle.deadlocks import Deadlocks
from runcue._lifecycle.diagnostics import Diagnostics
from runcue._lifecycle.leaving import Leaving
from runcue._lifecycle.leftovers import Leftovers
from runcue._lifecycle.lifecycle import Lifecycle
from runcue._lifecycle.overdue import Overdue
from runcue._lifecycle.pausing import Pausing
from runcue._lifecycle.room import Room
from runcue._lifecycle.stopping import Stopping
from runcue._lifecycle.unstopped import Unstopped
from runcue._model.checks import is_one_of
from runcue._model.errors import ConfigurationError
from runcue._model.texts import words_of
from runcue._registration.executors import Elsewhere, Executors
from runcue._registration.registry import Registry
from runcue._registration.services import Services
from runcue._scheduling.core import Core

if TYPE_CHECKING:
    from runcue._lifecycle.server_news import ServerNews
    from runcue._limits.service import Service
    from runcue._limits.status import ServiceStatus

__all__ = ["Engine", "core_for"]


def core_for(order: object) -> type[Core]:
    """The kind of state that a cue of some order has; see `Cue`.

    Raises:
        ConfigurationError: There is no such order.
    """
    if not is_one_of(order, ("submission", "depth")):
        raise ConfigurationError(f'order must be "submission" or "depth", not {words_of(order)}.')
    if order == "submission":
        return Core
    from runcue._scheduling.depth import DepthFirst  # noqa: PLC0415 - few want that

    return DepthFirst


class Engine:
    """The parts of one cue.

    Args:
        core: Its state, made with its options.
        ended: Called when a stop is complete.
        register: Registers a function as a task of its own name.
        run_in: As for `Cue`.
        max_processes: How many processes of its own may run handlers or commands at once.
        recheck: As for `Cue`.
        id_prefix: As for `Cue`.
        max_pending: As for `Cue`.
    """

    def __init__(
        self,
        core: Core,
        ended: Callable[[], None],
        register: Callable[[Any], object],
        run_in: Elsewhere | None,
        *,
        max_processes: int,
        recheck: bool,
        id_prefix: str | None,
        max_pending: int | None,
    ) -> None:
        self.core = core
        self.warnings = WarningLog()
        self.callbacks = Callbacks(core.holds, self.warnings)
        # The core is there before anybody can be asked.
        callbacks = self.callbacks
        core.decide = Throttling(core, callbacks.retrying, callbacks.failures, callbacks.door).decide
        self.registry = Registry(core, register)
        self.dispatcher = dispatcher = Dispatcher(core, self.callbacks, recheck=recheck)
        self.executors = Executors(run_in, core.threads, max_processes, dispatcher.turns.wake)
        self.services = Services(
            core,
            self.callbacks.door.ask,
            dispatcher.refusals.note_error,
            dispatcher.settlement.fail_unfit,
            self.callbacks.failures.raised,
            self.callbacks.door.unpriced,
            dispatcher.turns.wake,
            dispatcher.recount,
            self.warnings,
        )
        self.drops = drops = DropFolders(core, dispatcher, self.warnings)
        self.watched = WatchedFolders(dispatcher.changes.hear_outside, drops.hear)
        explanations = Explanations(core, dispatcher, self.watched)
        self.pausing = Pausing(core, dispatcher)
        self._server_news: ServerNews | None = None
        room = None if max_pending is None else Room(max_pending, core, dispatcher, self.warnings)
        overdue = Overdue(core, dispatcher, explanations, dispatcher.listeners, room, self.warnings)
        diagnostics = Diagnostics(core, dispatcher, explanations, self.watched, self.warnings)
        deadlocks = Deadlocks(dispatcher, self.warnings)
        leftovers = Leftovers(core, dispatcher, self.warnings)
        leaving = Leaving(core, dispatcher, explanations, self.warnings)
        self.stopping = Stopping(
            core,
            dispatcher,
            explanations,
            diagnostics,
            deadlocks,
            leaving,
            leftovers,
            lambda: bool(dispatcher.loop_calls) or drops.awaited() or (room is not None and room.waiting > 0),
            self.warnings,
            ended,
        )
        self.lifecycle = Lifecycle(
            room,
            overdue,
            diagnostics,
            deadlocks,
            leftovers,
            self.stopping,
            drops,
            dispatcher.waiting,
            self.pausing,
        )
        self.intake = Intake(
            core,
            self.registry,
            dispatcher,
            dispatcher.listeners,
            self.stopping,
            room,
            Unstopped(dispatcher.turns, leftovers, dispatcher.dismiss),
            id_prefix,
        )
        self.entrance = Entrance(self.intake)
        self.inquiry = Inquiry(core, self.callbacks, dispatcher, explanations, self.intake)

    @property
    def server_news(self) -> ServerNews:
        """What learns from the headers of answers; loaded with the first of them."""
        if self._server_news is None:
            patiently(import_module, "runcue._lifecycle.server_news")
            from runcue._lifecycle.server_news import ServerNews  # noqa: PLC0415 - see above

            self._server_news = ServerNews(self.core, self.dispatcher, self.warnings)
        return self._server_news

    def status_of(self, service: Service) -> ServiceStatus:
        """A service and what its limits allow now."""
        patiently(import_module, "runcue._limits.status")  # loaded when somebody looks
        running = self.intake.loop is not None
        return service.status(self.dispatcher.turns.now(), running=running)
