"""Ctrl-C in programs that are not async: what `runcue.blocking()` makes of it.

As with `runcue.run()`: the first one finishes what is running and starts nothing more, the second one cancels what is
running. Unlike there, `KeyboardInterrupt` is raised at once where the program is, out of a call that waits as well, and
it is the end of the `with` that waits. There, and while it begins, it is raised when that is done.

Lives here: `Interruption`, that of one `with`.

Must not know: how a cue stops, or how calls get into the loop.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from contextlib import AbstractContextManager
from signal import SIGINT
from types import CodeType, FrameType
from typing import Any, ClassVar

from runcue._api.run import finish, listening
from runcue._dispatch.interruptions import INTERRUPTIONS

__all__ = ["Interruption"]

logger = logging.getLogger("runcue")


class Interruption:
    """Ctrl-C while one `with runcue.blocking(cue)` is entered, gone through and left.

    Args:
        cue: The cue.
        leaves: The code of its end, which is not broken off at its first step.

    Attributes:
        loop: Where it is answered; None until that is there.
        strikes: How many the loop has answered.
    """

    # Those of all blocks that the main thread is in.
    _open: ClassVar[list[Interruption]] = []

    def __init__(self, cue: Any, leaves: CodeType) -> None:
        self._cue = cue
        self._leaves = leaves
        self._listening: AbstractContextManager[None] | None = None
        self._signals = 0
        self.loop: asyncio.AbstractEventLoop | None = None
        self.strikes = 0

    def begin(self) -> None:
        """Answer Ctrl-C from now on, unless this is not the main thread, or the program does so by itself."""
        if threading.current_thread() is not threading.main_thread():
            return
        if not self._open:
            self._listening = listening(_signalled, (SIGINT,))
            self._listening.__enter__()
            INTERRUPTIONS.thread = threading.get_ident()
        self._open.append(self)

    def end(self) -> None:
        """Answer it no longer."""
        if self in self._open:
            self._open.remove(self)
        if self._listening is not None:
            self._listening.__exit__(None, None, None)
            self._listening = None
            INTERRUPTIONS.thread = 0

    @property
    def is_in_vain(self) -> bool:
        """Whether the loop has not answered the last two: something in it computes and never awaits."""
        return self._signals - self.strikes > 2

    def strike(self) -> None:
        """Answer one signal. In the loop."""
        self.strikes += 1
        if self._cue._intake.is_open:
            if self.strikes > 1:
                self._cue._interrupt(kill=True)
            elif not self._cue._intake.is_shut:
                is_at_work = bool(self._cue._dispatcher.in_flight.works)
                running = finish([self._cue])
                if is_at_work or self._cue._core.pending():
                    logger.warning("Interrupted: finishing %s. Ctrl-C again cancels them.", running)
        INTERRUPTIONS.end_calls()

    def _signalled(self) -> None:
        self._signals += 1
        if self.loop is not None:
            try:
                self.loop.call_soon_threadsafe(self.strike)
            except RuntimeError:
                self.strikes += 1  # the loop has come to its end

    def _is_at_its_end(self, frame: FrameType | None) -> bool:
        return frame is not None and frame.f_code is self._leaves


def _signalled(number: int, frame: FrameType | None) -> None:
    """The signal handler.

    Raises:
        KeyboardInterrupt: At once, where nothing is broken off by that which must not be.
    """
    entered = tuple(Interruption._open)
    for one in entered:
        one._signalled()
    if any(one.is_in_vain for one in entered):
        raise KeyboardInterrupt
    if any(one._is_at_its_end(frame) for one in entered):
        INTERRUPTIONS.is_held = True
    elif not INTERRUPTIONS.holds(frame):
        raise KeyboardInterrupt
