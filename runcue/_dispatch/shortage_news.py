"""The news that no more files can be opened, for those who observe a cue: the log has it already.

Must not know: what is opened, or what observers do with it.
"""

from __future__ import annotations

from contextvars import Context
from functools import partial

from runcue._artifacts.descriptors import SHORTAGE_HEARERS
from runcue._callbacks.warning_log import WarningLog
from runcue._dispatch.turns import Turns

__all__ = ["ShortageNews"]


class ShortageNews:
    """Brings it into the event loop of a started cue.

    Args:
        log: Whose observers hear of it.
        turns: The turns of the loop.
        context: The contextvars to tell of it in.
    """

    __slots__ = ("__weakref__", "_context", "_log", "_turns")

    def __init__(self, log: WarningLog, turns: Turns, context: Context) -> None:
        self._log = log
        self._turns = turns
        self._context = context

    def start(self) -> None:
        """The cue was started."""
        SHORTAGE_HEARERS.add(self)

    def stop(self) -> None:
        """The cue was stopped."""
        SHORTAGE_HEARERS.discard(self)

    def hear_of_shortage(self, text: str) -> None:
        """See `ShortageHearer`."""
        loop = self._turns.loop
        if loop is not None:
            tell = partial(self._log.tell, "shortage", (), "%s", text, logged=False)
            try:
                loop.call_soon_threadsafe(tell, context=self._context)
            except RuntimeError:
                pass  # it was closed meanwhile
