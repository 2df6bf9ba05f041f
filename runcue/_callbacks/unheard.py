"""Failures of work units that nobody has heard of yet, and what is said of them.

Lives here: `Unheard`. A failure is heard of by a listener, or by who takes the outcome from a handle. If that is
nobody within a second, it is told in one line, and if it is nobody before the end of the cue, with its traceback: so
who waits in time has the failure in the exception alone, and a failure that is nobody's concern is not lost.

Must not know: event loops, timers, who listens.
"""

from __future__ import annotations

import logging
import os
import weakref
from collections import OrderedDict
from math import inf
from typing import Any, Final, NamedTuple

from runcue._callbacks.warning_log import WarningLog
from runcue._model.texts import error_words
from runcue._model.work import Work

__all__ = ["TELL_AFTER", "Unheard"]

logger = logging.getLogger("runcue")

TELL_AFTER: Final = 1.0
"""Seconds that somebody has to come for a failure before it is told."""

_MOST: Final = 10_000
"""So many failures are kept for whoever may come; of more, the oldest are told at once."""

_IN_TIME: Final = (
    "Work %s of task %s failed: %s. Nobody has heard of it: await its handle, or listen with @cue.on_failure"
)
_AT_THE_END: Final = "Work %s of task %s failed, and nobody has asked why: %s"


class _Failure(NamedTuple):
    """One failure, of one work unit or of several that have joined.

    Attributes:
        error: As it is kept.
        id: Of the work unit.
        task: The name of its task.
        work: The work unit, which may be forgotten meanwhile. It leads to its cue, which nothing here may keep alive.
        at: When it failed; monotonic.
    """

    error: BaseException
    id: str
    task: str
    work: weakref.ref[Work]
    at: float

    @property
    def works(self) -> tuple[Work, ...]:
        work = self.work()
        return () if work is None else (work,)

    @property
    def words(self) -> tuple[str, str, str]:
        return self.id, self.task, " ".join(error_words(self.error).splitlines())


class Unheard:
    """The failures of one cue that nobody has heard of.

    Args:
        log: Where they are told.
    """

    def __init__(self, log: WarningLog) -> None:
        self._log = log
        # Under the identity of the kept error, which is one for all who have joined; the oldest first.
        # Ordered dicts: of a plain one the first key is found by passing over all that were deleted before it.
        self._untold: OrderedDict[int, _Failure] = OrderedDict()
        self._told: OrderedDict[int, _Failure] = OrderedDict()
        self._at_the_end: weakref.finalize[Any, Unheard] | None = None

    def add(self, work: Work, error: BaseException, now: float) -> None:
        """A work unit has failed, and no listener has heard of it.

        Args:
            work: The work unit.
            error: As it is kept.
            now: Monotonic.
        """
        if self._at_the_end is None:
            # A cue that is never stopped ends when it is collected, or with the interpreter.
            self._at_the_end = weakref.finalize(self, _tell_all, os.getpid(), self._told, self._untold)
        if id(error) not in self._untold:
            self._untold[id(error)] = _Failure(error, work.id, work.task, weakref.ref(work), now)
            if len(self._untold) + len(self._told) > _MOST:
                first = self._told or self._untold
                self._tell_at_the_end(first.pop(next(iter(first))), news=first is self._untold)

    def heard(self, error: object) -> None:
        """Somebody has a failure in hand. Harmless if it was none, or was heard of before."""
        if self._untold.pop(id(error), None) is None:
            self._told.pop(id(error), None)

    def tell_due(self, now: float) -> float:
        """Tell of those for which nobody came in time. Returns when the next is due, inf if there is none."""
        while self._untold:
            key, failure = next(iter(self._untold.items()))
            if failure.at + TELL_AFTER > now:
                return failure.at + TELL_AFTER
            self._told[key] = self._untold.pop(key)
            self._log.tell(
                "failure",
                failure.works,
                _IN_TIME,
                *failure.words[:2],
                failure.words[2].rstrip("."),  # a sentence follows
                level=logging.ERROR,
            )
        return inf

    def tell_rest(self) -> bool:
        """The cue ends: tell of all that is left, with tracebacks. Returns whether there was anything to tell."""
        found = bool(self._told or self._untold)
        for failures in (self._told, self._untold):
            while failures:
                self._tell_at_the_end(failures.pop(next(iter(failures))), news=failures is self._untold)
        return found

    def _tell_at_the_end(self, failure: _Failure, *, news: bool) -> None:
        self._log.tell(
            "failure",
            failure.works,
            _AT_THE_END,
            *failure.words,
            level=logging.ERROR,
            error=failure.error,
            observed=news,
        )


def _tell_all(process: int, *several: dict[int, _Failure]) -> None:
    if os.getpid() != process:
        return  # a forked process ends; the cue is that of its parent
    # In the log alone: what observes a cue is gone with it.
    for failures in several:
        for failure in failures.values():
            logger.error(_AT_THE_END, *failure.words, exc_info=failure.error)
        failures.clear()
