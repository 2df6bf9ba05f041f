"""The one policy for user code that fails: what is said of it, how often, and what is kept of an exception.

Lives here: the words about callbacks that raise and about failures that nobody hears of; and the copy of an
exception that outlives its frames.

A callback that raises is logged with its traceback and never disturbs the scheduler. What its failing means (not
ready, stale, the default priority) is known to whoever asked it.

Must not know: which callbacks there are, event loops, limits.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, Final

from runcue._callbacks.warning_log import WarningLog
from runcue._model.texts import words_of
from runcue._model.work import Work

__all__ = ["REPEAT_AFTER", "Failures", "without_frames"]

REPEAT_AFTER: Final = 60.0
"""Seconds until the same callback's raising the same type of exception is told again."""


class Failures:
    """What becomes known of callbacks that fail.

    Attributes:
        now: The clock.
        interrupt: Takes a KeyboardInterrupt out of a callback. Without a loop it is raised at once.
        log: Where it is told.
    """

    def __init__(self, log: WarningLog) -> None:
        self.log = log
        self.now: Callable[[], float] = time.monotonic
        self.interrupt: Callable[[KeyboardInterrupt], None] = _raise
        self._reported: dict[tuple[object, object], float] = {}

    def raised(self, name: str, error: BaseException, work: Work | None, *, observed: bool = True) -> None:
        """Tell of a callback that raised, once per minute for the same callback and type of exception.

        Args:
            name: Of the callback, in messages.
            error: What it raised.
            work: What it was about, if about one.
            observed: Whether observers are to hear of it, or only the log.
        """
        if self._is_news(name, type(error)):
            about = "" if work is None else f" (work {work.id} of task {work.task})"
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
        if isinstance(error, KeyboardInterrupt):
            self.interrupt(error)

    def unobserved(self, work: Work, error: BaseException) -> None:
        """Tell of a failed work unit that no listener and no waiting `result()` hears of."""
        self.log.tell(
            "failure",
            (work,),
            "Work %s of task %s failed: %s",
            work.id,
            work.task,
            words_of(error),
            level=logging.ERROR,
            error=error,
        )

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


def without_frames(error: BaseException, depth: int = 8) -> BaseException:
    """A copy of an exception that holds no frames, and so nothing of what was alive in them.

    An exception that cannot be copied is stripped itself.

    Args:
        error: The exception, left as it is if it can be copied.
        depth: How far causes and contexts are followed.
    """
    twin = _twin_of(error, depth)
    if twin is None:
        error.__traceback__ = None
        error.__context__ = error.__cause__ = None
        return error
    twin.__traceback__ = None
    if depth > 0:
        if error.__cause__ is not None:
            twin.__cause__ = without_frames(error.__cause__, depth - 1)
        elif error.__context__ is not None and not error.__suppress_context__:
            twin.__context__ = without_frames(error.__context__, depth - 1)
        twin.__suppress_context__ = error.__suppress_context__
    return twin


def _twin_of(error: BaseException, depth: int) -> BaseException | None:
    """A faithful copy without its traceback, None if that cannot be made."""
    try:
        if isinstance(error, BaseExceptionGroup):
            if depth < 0:
                return None
            group = error.derive([without_frames(one, depth - 1) for one in error.exceptions])
            return group if type(group) is type(error) and group.message == error.message else None
    except KeyboardInterrupt:
        raise
    except BaseException:
        return None
    from copy import copy  # noqa: PLC0415 - only where something has failed

    return _made_by(copy, error) or _made_by(_without_constructor, error)


def _made_by(make: Callable[[Any], Any], error: BaseException) -> BaseException | None:
    try:
        twin: BaseException = make(error)
        faithful = type(twin) is type(error) and twin.args == error.args and str(twin) == str(error)
    except KeyboardInterrupt:
        raise
    except BaseException:
        return None
    return twin if faithful else None


def _without_constructor(error: BaseException) -> BaseException:
    # A constructor with arguments of its own is the usual reason why an exception cannot be copied.
    twin: BaseException = type(error).__new__(type(error), *error.args)
    twin.__dict__.update(error.__dict__)
    return twin
