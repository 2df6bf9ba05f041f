"""Spans of time and instants in words, as people say them.

Must not know: what they are about.
"""

from __future__ import annotations

import time
from typing import Final

from runcue._model.texts import seconds_in_words

__all__ = ["about_in_words", "clock_in_words", "duration_in_words"]


def duration_in_words(seconds: float) -> str:
    """How long something has lasted: to a tenth of a second while it is short."""
    return seconds_in_words(round(max(0.0, seconds), 0 if seconds >= 10 else 1))


def clock_in_words(when: float, now: float) -> str:
    """An instant as people say it: the date, too, if it is not within a day, and the year if it is another one."""
    try:
        at = time.localtime(when)
        if when - now < _DAY:
            return time.strftime("%H:%M:%S", at)
        return time.strftime(
            "%d %B, %H:%M" if at.tm_year == time.localtime(now).tm_year else "%d %B %Y, %H:%M", at
        )
    except (OverflowError, ValueError, OSError):
        return "a time beyond all calendars"


_DAY: Final = 86400.0


def about_in_words(seconds: float) -> str:
    """How long something usually takes: to two digits."""
    return f"{seconds * 1000:.2g} ms" if seconds < _A_TENTH else seconds_in_words(float(f"{seconds:.2g}"))


_A_TENTH: Final = 0.1
