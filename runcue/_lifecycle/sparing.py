"""What a stop does not cut off: what must complete, and what that needs.

Lives here: `Sparing`.

Must not know: when a stop cuts something off, how.
"""

from __future__ import annotations

import logging

from runcue._callbacks.warning_log import WarningLog
from runcue._dispatch.endings import Endings
from runcue._model.phases import RUNNING, SETTLED
from runcue._model.texts import how_many, listed, name_of
from runcue._model.work import Work
from runcue._scheduling.core import Core
from runcue._scheduling.essential import essential_works

__all__ = ["Sparing"]


class Sparing:
    """Finds what is not cut off, for one cue.

    Args:
        core: The state.
        endings: Gives another attempt to nothing else.
        log: Where it is told.
    """

    def __init__(self, core: Core, endings: Endings, log: WarningLog) -> None:
        self._core = core
        self._endings = endings
        self._log = log

    def begin(self) -> None:
        """The cue was started."""
        self._endings.spared = None

    def spare(self, *, nothing: bool) -> dict[Work, None]:
        """Find what alone goes on from here.

        Args:
            nothing: Spare nothing.
        """
        spared = self._endings.spared = {} if nothing else essential_works(self._core)
        return spared

    def is_left(self) -> bool:
        """Whether some of that is left, or has come since."""
        spared = self._endings.spared
        assert spared is not None
        while spared and (first := next(iter(spared)))._phase == SETTLED:
            del spared[first]
        if not spared:
            spared |= essential_works(self._core)
        return bool(spared)

    def tell(self, *, is_late: bool) -> None:
        """Say what is spared.

        Args:
            is_late: All that runs is cut off, for want of time, and this is waited for. Else nothing more is to start,
                and what starts yet is news.
        """
        works = [work for work in self._endings.spared or () if is_late or work._phase < RUNNING]
        if works:
            self._log.tell(
                "must_complete",
                works,
                "%s %s, which must complete or %s needed for that: %s",
                "The time of stop(timeout=) is over; it goes on for"
                if is_late
                else "stop(drain=False) still runs",
                how_many(len(works), "work unit", "work units"),
                "is" if len(works) == 1 else "are",
                listed(map(name_of, works), 3),
                level=logging.WARNING if is_late else logging.INFO,
            )
