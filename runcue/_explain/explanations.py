"""The door of this room: what explains the work units of a cue is loaded when something is to be explained.

Most programs ask nothing and are told nothing, and what finds reasons and puts them in words is a quarter of all
modules behind a cue: of the time that the first `Cue()` takes it would be a third.

It may be needed just when there are no more files to be had (`ulimit -n`), so that it is loaded patiently.

Must not know: what a reason is, how it is worded.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from runcue._artifacts.descriptors import patiently
from runcue._artifacts.watched_folders import WatchedFolders
from runcue._explain.activity import Activity
from runcue._scheduling.core import Core

if TYPE_CHECKING:
    from runcue._explain.answers import Blocked
    from runcue._explain.why import Explainer

__all__ = ["Explanations", "load"]


def load(module: str = "runcue._explain.why") -> None:
    """Load what finds reasons and puts them in words: from then on it can be imported where it is used.

    Args:
        module: Another one that needs it.
    """
    patiently(import_module, module)


class Explanations:
    """Has the explainer of one cue.

    Args:
        core: The state.
        activity: What runs its work units.
        watched: The folders of which changes are told.
    """

    def __init__(self, core: Core, activity: Activity, watched: WatchedFolders) -> None:
        self._core = core
        self._activity = activity
        self._watched = watched
        self._explainer: Explainer | None = None

    @property
    def explainer(self) -> Explainer:
        """What says why work units do not run. With it all of this room is loaded."""
        explainer = self._explainer
        if explainer is None:
            load()
            from runcue._explain.why import Explainer  # noqa: PLC0415 - see above

            explainer = self._explainer = Explainer(self._core, self._activity, self._watched)
        return explainer

    def blocked(self, now: float, wall: float) -> list[Blocked]:
        """Why each pending work unit does not run, oldest first.

        Args:
            now: Monotonic.
            wall: The same instant in seconds since the epoch.
        """
        if not self._core.pending():
            return []  # without going through all that have settled
        found = self.explainer.reasons(self._core.pending_works(), now, wall)
        from runcue._explain.answers import blocked  # noqa: PLC0415 - loaded when something is to be explained
        from runcue._explain.reasons import Reason  # noqa: PLC0415 - loaded when something is to be explained

        return blocked((reason or Reason(work, "not asked") for work, reason in found), now, wall)
