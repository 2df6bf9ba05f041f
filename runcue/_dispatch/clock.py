"""The real clock on a real event loop.

Lives here: `SystemClock`, and the choice of a loop's own clock over it.

Must not know: work units, limits.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextvars import Context
from math import ceil
from typing import Final

from runcue._dispatch.exact_timer import ExactTimer
from runcue.abc import Clock, TimerHandle

__all__ = ["SystemClock", "clock_of"]

_LONGEST: Final = 365 * 86400.0
"""Seconds for which a timer is set. Beyond some length loops refuse them; whoever is called too early looks again."""


class SystemClock:
    """`time.monotonic` and `time.time`, and the timers of an event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        # Asyncio's rounds up itself where it waits, and only there.
        self._is_fine = isinstance(loop, asyncio.BaseEventLoop)
        self._exact: ExactTimer | None = None
        self._may_be_exact = True
        # The builtins themselves: they are read several times for every work.
        self.monotonic = time.monotonic
        self.time = time.time

    def call_at(
        self, when: float, callback: Callable[[], object], *, passive: bool, context: Context
    ) -> TimerHandle:
        """See `Clock.call_at`. All real timers let time pass, the passive ones too."""
        delay = min(max(when - time.monotonic(), 0.0), _LONGEST)
        if not self._is_fine:
            # The loop's own clock may have another origin and a coarser grain (uvloop: whole milliseconds, read once
            # per iteration). Rounding up to the grain saves a second, immediate firing.
            delay = ceil(delay * 1000) / 1000
        return self._loop.call_later(delay, callback, context=context)

    def call_exactly(self, when: float, callback: Callable[[], object], *, context: Context) -> TimerHandle:
        """The same, and if that can be had not a millisecond late."""
        if self._exact is None and self._may_be_exact:
            try:
                self._exact = ExactTimer(self._loop)
            except (OSError, NotImplementedError, ImportError):
                self._may_be_exact = False
        if self._exact is None:
            return self.call_at(when, callback, passive=False, context=context)
        return self._exact.call_at(when, callback, context)

    def close(self) -> None:
        """No timer is set any more."""
        if self._exact is not None:
            self._exact.close()
            self._exact = None

    def hold(self) -> None:
        """Nothing to do: real time passes anyway."""

    def release(self) -> None:
        """Nothing to do."""


def clock_of(loop: asyncio.AbstractEventLoop) -> Clock:
    """The clock that the loop brings along, or the system's."""
    own = getattr(loop, "runcue_clock", None)
    return own if own is not None else SystemClock(loop)
