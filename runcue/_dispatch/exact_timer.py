"""A timer that is not late, for instants after which each moment is lost.

Lives here: `ExactTimer`. Event loops wait in whole milliseconds, since epoll does. Where starts may follow each other
every 5 ms, and what is not started at once is lost, that would cost a tenth of them. Linux has a timer that is a file:
whoever waits for files is woken by it, to the microsecond. Rejected: to let the loop turn until it is time, which takes
a fifth of a processor at 100 starts a second; a thread that sleeps, which takes the GIL from others.

Must not know: what is waited for.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context
from typing import Any, Final

from runcue.abc import TimerHandle

__all__ = ["ExactTimer"]

_LEADS: Final = (0.00005, 0.0003)
"""Seconds by which the loop is woken before the instant, at least and at most: as long as it has taken to wake up, for
that depends on how deep a processor sleeps. For what is left then the loop turns."""

_WEIGHT: Final = 0.25
"""Of the last time, in what is expected of the next one."""

_CLOCK_MONOTONIC: Final = 1
_TFD_TIMER_ABSTIME: Final = 1


class ExactTimer:
    """One instant at a time.

    Args:
        loop: The running event loop.

    Raises:
        OSError: There is no such timer here, or no more files can be opened.
        NotImplementedError: The loop cannot wait for files.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._when = self._set_to = 0.0
        self._lead = _LEADS[0]
        self._callback: Callable[[], object] | None = None
        self._context: Context | None = None
        self._fd = -1
        self._set = _setter()
        self._fd = _made()
        try:
            loop.add_reader(self._fd, self._wake)
        except BaseException:
            os.close(self._fd)
            self._fd = -1
            raise

    def call_at(self, when: float, callback: Callable[[], object], context: Context) -> TimerHandle:
        """Call back at an instant of `time.monotonic`, in place of what it was set to before."""
        self._when, self._callback, self._context = when, callback, context
        self._set_to = when - self._lead
        self._set(self._fd, max(self._set_to, 1e-9))
        return self

    def cancel(self) -> None:
        """Do not call back."""
        self._callback = None

    def close(self) -> None:
        """The loop does not wait for it any longer."""
        self.cancel()
        if self._fd >= 0:
            if not self._loop.is_closed():
                self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def __del__(self) -> None:
        """Its loop has ended without a stop."""
        if self._fd >= 0:
            os.close(
                self._fd
            )  # from whichever thread, and in a forked process: the loop is not asked for anything

    def _wake(self) -> None:
        with suppress(BlockingIOError):
            os.read(self._fd, 8)
        late = time.monotonic() - self._set_to
        if late >= 0.0:
            self._lead = min(max(self._lead + (late - self._lead) * _WEIGHT, _LEADS[0]), _LEADS[1])
        self._wait()

    def _wait(self) -> None:
        if self._callback is None or self._context is None:
            return
        left = self._when - time.monotonic()
        if left > _LEADS[1]:  # it was set anew meanwhile
            return
        if left > 0.0:
            self._loop.call_soon(self._wait)
            return
        callback, self._callback = self._callback, None
        self._context.run(callback)


def _made() -> int:
    fd: int = _libc().timerfd_create(_CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
    return _checked(fd)


def _setter() -> Callable[[int, float], object]:
    """What sets a timer to an instant."""
    import ctypes  # noqa: PLC0415 - only for rates without a burst; Python has these calls from 3.13 on

    spec = (ctypes.c_long * 4)()  # the interval, and the instant: each in seconds and nanoseconds
    set_time = _libc().timerfd_settime

    def settle(fd: int, when: float) -> None:
        spec[2], spec[3] = divmod(int(when * 1e9), 1_000_000_000)
        _checked(set_time(fd, _TFD_TIMER_ABSTIME, ctypes.byref(spec), None))

    return settle


def _libc() -> Any:
    import ctypes  # noqa: PLC0415 - as above

    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "timerfd_create"):
        raise OSError("there are no timers that are files here")
    return libc


def _checked(answer: int) -> int:
    if answer < 0:
        import ctypes  # noqa: PLC0415 - as above

        raise OSError(ctypes.get_errno(), "timerfd")
    return answer
