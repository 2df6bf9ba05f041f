"""The two clocks: real time for those who watch, virtual time for those who want to know.

Lives here: `run`, which runs on either; `RehearsalLoop`, the virtual one, which knows when nothing can happen any more.

Must not know: what is run.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable, Coroutine
from math import inf
from typing import Any, TypeVar

from runcue.testing import NothingLeft, VirtualTimeLoop

T = TypeVar("T")


class RehearsalLoop(VirtualTimeLoop):
    """Virtual time for whole programs.

    Attributes:
        step: Gives the seconds by which time may pass at once, so that what is looked at now and then is looked at on
            the way to a timer that is far off; None for any.
        on_nothing_left: Called, once, when nothing is left that could ever happen, instead of raising `NothingLeft`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.step: Callable[[], float] | None = None
        self.on_nothing_left: Callable[[], object] | None = None

    def advance(self, until: float = inf) -> None:
        """See `VirtualTimeLoop.advance`."""
        if self.step is not None:
            until = min(until, self.time() + self.step())
        try:
            super().advance(until)
        except NothingLeft:
            tell, self.on_nothing_left = self.on_nothing_left, None
            if tell is None:
                raise
            self.call_soon(tell)


def run(main: Coroutine[Any, Any, T], *, realtime: bool) -> T:
    """Run to the end on one of the clocks. The virtual one begins at `runcue.testing.EPOCH`."""
    # A run makes a great many objects and throws few away before its end: looking through them every few hundred takes
    # a third of the time.
    gc.set_threshold(50_000, 20, 50)
    with asyncio.Runner(loop_factory=None if realtime else RehearsalLoop) as runner:
        return runner.run(main)


def wall_clock() -> float:
    """Seconds since the epoch, on the clock of the running loop."""
    clock = getattr(asyncio.get_running_loop(), "runcue_clock", None)
    return time.time() if clock is None else float(clock.time())
