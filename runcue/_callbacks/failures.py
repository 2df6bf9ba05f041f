"""The one policy for callbacks that fail: what is said of it, and how often.

Lives here: the words about callbacks that raise.

A callback that raises is logged with its traceback and never disturbs the scheduler. What its failing means (not
ready, stale, the default priority) is known to whoever asked it.

Must not know: which callbacks there are, event loops, limits.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

from runcue._callbacks.warning_log import WarningLog
from runcue._model.errors import is_a
from runcue._model.texts import which_of
from runcue._model.work import Work

__all__ = ["REPEAT_AFTER", "Failures"]

REPEAT_AFTER: Final = 60.0
"""Seconds until the same callback's raising the same type of exception is told again."""


class Failures:
    """What becomes known of callbacks that fail.

    Attributes:
        now: The clock.
        log: Where it is told.
    """

    def __init__(self, log: WarningLog) -> None:
        self.log = log
        self.now: Callable[[], float] = time.monotonic
        self._interrupt: Callable[[KeyboardInterrupt], None] = _raise
        self._reported: dict[tuple[object, object], float] = {}

    def hand_interrupts_to(self, interrupt: Callable[[KeyboardInterrupt], None]) -> None:
        """Let something else have a KeyboardInterrupt that comes out of a callback; without, it is raised at once."""
        self._interrupt = interrupt

    def raised(
        self, name: str, error: BaseException, work: Work | None, *, observed: bool = True, then: str = ""
    ) -> None:
        """Tell of a callback that raised, once per minute for the same callback and type of exception.

        Args:
            name: Of the callback, in messages.
            error: What it raised.
            work: What it was about, if about one.
            observed: Whether observers are to hear of it, or only the log.
            then: What becomes of the work unit, for the message.
        """
        if self._is_news(name, type(error)):
            about = "" if work is None else f" (work {which_of(work)}{then and ', '}{then})"
            self.log.tell(
                "raised",
                () if work is None else (work,),
                "%s raised %s%s",
                name,
                type(error).__name__,
                about,
                level=logging.ERROR,
                error=error,
                observed=observed,
            )
        self.pass_on(error)

    def pass_on(self, error: BaseException) -> None:
        """Let a KeyboardInterrupt out of a callback end the event loop; anything else has done all that it does."""
        if is_a(error, KeyboardInterrupt):
            self._interrupt(error)

    def _is_news(self, name: str, what: object) -> bool:
        now = self.now()
        if now < self._reported.get((name, what), 0.0):
            return False
        if len(self._reported) > 1000:  # names of lambdas and partials are not bounded by the program's text
            self._reported.clear()
        self._reported[name, what] = now + REPEAT_AFTER
        return True


def _raise(error: KeyboardInterrupt) -> None:
    raise error
