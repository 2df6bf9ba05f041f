"""Work units that are left when the event loop or the interpreter ends: what is said of them.

Lives here: `Leftovers`, which knows which work units those are, and tells how many, of which tasks, and what was
missing.

Must not know: how it is found out that something ends.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from runcue._callbacks.warning_log import WarningLog
from runcue._dispatch.dispatcher import Dispatcher
from runcue._handlers.outputs import owner_of
from runcue._model.phases import SETTLED
from runcue._model.texts import how_many, listed
from runcue._model.work import Work
from runcue._scheduling.core import Core

__all__ = ["CUT_OFF", "NOT_STARTED", "NOT_STOPPED", "Leftovers"]

NOT_STOPPED: Final = (
    "{} has ended without stop(). Call `await cue.stop()` before that, or use `async with cue`"
)
NOT_STARTED: Final = (
    "their cue was never started. Call `cue.start()`, and `await cue.stop()`, or use `async with cue`"
)
CUT_OFF: Final = "the event loop has ended while their cue was stopping. Await `cue.stop()` to its end"

_LONGEST_NAME: Final = 60


class Leftovers:
    """Those of one cue.

    Args:
        core: Which work units there are.
        dispatcher: What runs, and what was cut off just now.
        log: Where it is told.
    """

    def __init__(self, core: Core, dispatcher: Dispatcher, log: WarningLog) -> None:
        self._core = core
        self._dispatcher = dispatcher
        self._log = log
        # How many had been submitted when it was told last.
        self._told = 0

    def begin(self) -> None:
        """The cue was started: what is left from now on is news."""
        self._told = 0
        self._dispatcher.endings.cut_off.clear()

    def works(self) -> list[Work]:
        """Those that are pending, that run, and whose handlers were cut off by the end of the loop."""
        running = (owner_of(run) for run in self._dispatcher.in_flight.works)
        return [
            *self._dispatcher.endings.cut_off,
            *(work for work in running if work._phase != SETTLED),
            *self._core.pending_works(),
        ]

    def words(self) -> str:
        """A sentence by which the cue is known, and how much is left in it."""
        tasks = dict.fromkeys(_shortened(task.name) for task in self._core.all_tasks)
        works = how_many(len(self.works()), "work unit", "work units")
        return f"Its tasks: {listed(tasks) or 'none'}; left in it: {works}"

    def tell(self, because: str, *, observed: bool = True) -> None:
        """Tell of them, once, if there are any.

        Args:
            because: What has ended, and what was missing.
            observed: Whether observers are to hear of it.
        """
        works = self.works()
        if not works or self._told == self._core.submitted:
            return
        self._told = self._core.submitted
        numbers = Counter(work.task for work in works)
        tasks = listed(f"{number} of {_shortened(task)}" for task, number in numbers.most_common())
        self._log.tell(
            "left",
            works,
            "%s left (%s): %s",
            how_many(len(works), "work unit is", "work units are"),
            tasks,
            because,
            observed=observed,
        )


def _shortened(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else name[:_LONGEST_NAME] + "..."
