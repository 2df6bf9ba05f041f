"""The turns of an event loop: when everything is looked at, for how long at a time, and the end of it by a failure.

Lives here: `Turns`. The loop runs for two reasons only: something happened (`wake`), or a computed instant arrived.
There is no polling. In one turn scheduling takes a slice of time, all of it together, before everything else in the
loop gets its turn.

Must not know: work units, limits, what is looked at.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable
from contextvars import Context
from math import inf
from typing import Final, Protocol

from runcue._artifacts.places import PASS, next_pass
from runcue._dispatch.clock import clock_of
from runcue._model.errors import CueFailed, WrongLoop
from runcue._model.texts import error_words

__all__ = ["HOLD_BACK", "Turns"]

logger = logging.getLogger("runcue")

SLICE: Final = 0.002
"""Seconds that scheduling may take in one turn of the event loop before everything else in it gets its turn."""

HOLD_BACK: Final = 0.05
"""Seconds without starts where the loop seems to be ending: a stranger has cancelled a handler's asyncio task, or user
code has raised KeyboardInterrupt."""


class Turn(Protocol):
    """What a turn consists of."""

    def look(self) -> None:
        """Look at everything, once."""

    def failed(self) -> None:
        """The scheduler has failed: let nobody wait for it."""

    def interrupted(self) -> None:
        """The loop is about to be ended by a KeyboardInterrupt."""


class Turns:
    """The turns of one cue in its event loop.

    Args:
        turn: What they consist of.
        context: The contextvars they are taken in.

    Attributes:
        loop: The running event loop, None without one.
        has_ended: Whether there was one, which has ended without a stop.
        thread: The ident of its thread.
        now: The monotonic clock of the loop.
        wall: Its wall clock.
        skew: What to add to `now()` for a wall-clock stamp; one clock to read per work unit instead of two.
        woken: Whether a look at everything is on its way.
        failure: What made the scheduler itself fail, None as long as it works.
        closed: Nothing may start any more.
        may_start: Not closed, and not holding back because the loop seems to be ending.
    """

    __slots__ = (
        "__weakref__",
        "_context",
        "_in_slice",
        "_interrupted_at",
        "_process",
        "_slice_until",
        "_turn",
        "closed",
        "failure",
        "has_ended",
        "loop",
        "may_start",
        "now",
        "skew",
        "thread",
        "wall",
        "woken",
    )

    def __init__(self, turn: Turn, context: Context) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        self.has_ended = False
        self.thread = 0
        self._process = 0
        self.now: Callable[[], float] = time.monotonic
        self.wall: Callable[[], float] = time.time
        self.skew = 0.0
        self.woken = False
        self.failure: BaseException | None = None
        self.closed = False
        self.may_start = True
        self._turn = turn
        self._context = context
        self._in_slice = False
        self._interrupted_at = -inf
        self._slice_until = 0.0

    def use_clock(self, loop: asyncio.AbstractEventLoop) -> None:
        """Take the time from this loop: work may come before the start."""
        clock = clock_of(loop)
        self.now = clock.monotonic
        self.wall = clock.time
        self.skew = clock.time() - clock.monotonic()

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Take turns in the running loop from now on."""
        self.loop = loop
        self.has_ended = False
        self.thread = threading.get_ident()
        self._process = os.getpid()
        self.closed = self.woken = self._in_slice = False
        self.may_start = True

    def check_process(self, call: str) -> None:
        """Check that this is the process in which the turns are taken.

        Args:
            call: What was called, for messages.

        Raises:
            WrongLoop: It is one that was forked since.
        """
        if self.loop is not None and os.getpid() != self._process:
            raise WrongLoop(
                f"{call} in a forked process: this cue was started by process {self._process} and runs there. Make a "
                "Cue of its own here, or fork before start()."
            )

    def close(self) -> None:
        """Let nothing start any more."""
        self.closed = True
        self.may_start = False

    def reopen(self) -> None:
        """Something may start after all, if that was closed; what is held back stays so."""
        if self.closed:
            self.closed = False
            self.may_start = True

    def wake(self) -> None:
        """Something happened: look at everything, once, in the next turn.

        Nobody looks in any other way. So there is one look in a turn at most, whatever happens in it: where there are
        two on their way, each has the next one follow it, and that does not end while there is work.
        """
        if not self.woken and self.loop is not None:
            try:
                self.loop.call_soon(self._turn.look, context=self._context)
            except RuntimeError:
                if not self.loop.is_closed():
                    raise
            else:
                self.woken = True

    def interrupt(self, error: KeyboardInterrupt) -> None:
        """Raise a KeyboardInterrupt that came out of user code where it ends the loop, and nothing else.

        An asyncio task that it came through would keep it, and complain that nobody has retrieved it. Without a loop it
        is raised at once. One ends the loop. Others that come before it has are the same one, and so are those of the
        moment after that: whoever raises it each time would tear off what the loop does at its end, too.
        """
        loop = self.loop or asyncio._get_running_loop()
        if loop is None or loop.is_closed():
            raise error
        now = self.now()
        if now >= self._interrupted_at + HOLD_BACK:
            self._interrupted_at = now
            self._turn.interrupted()
            loop.call_soon(_raise, error)

    def slice(self, now: float) -> float:
        """Until when scheduling may go on in this turn: one slice for the rechecks and all workers together."""
        if not self._in_slice and self.loop is not None:
            self._in_slice = True
            if PASS.until:  # else no file was ever looked at
                next_pass()
            self._slice_until = now + SLICE
            self.skew = self.wall() - now
            self.loop.call_soon(self._end_slice, context=self._context)
        return self._slice_until

    def _end_slice(self) -> None:
        self._in_slice = False

    def fail(self, error: BaseException) -> None:
        """The scheduler itself failed: say so to everyone who waits, now and later."""
        if self.failure is not None:
            return
        self.failure = error
        self.close()
        logger.critical(
            "The scheduler of a cue has failed, so that all who wait for it get CueFailed. That is a defect of "
            "runcue: please report it with this traceback",
            exc_info=error,
        )
        self._turn.failed()

    def failed(self) -> CueFailed:
        """The error for those who wait on a cue whose scheduler failed."""
        assert self.failure is not None
        error = CueFailed(
            f"The scheduler of this cue failed, which is a defect of runcue: {error_words(self.failure)}"
        )
        error.__cause__ = self.failure
        return error


def _raise(error: KeyboardInterrupt) -> None:
    raise error
