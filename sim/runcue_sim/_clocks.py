"""The two clocks: real time for those who watch, virtual time for those who want to know.

Must not know: what is run.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

from runcue.testing import VirtualTimeLoop

T = TypeVar("T")


def run(main: Coroutine[Any, Any, T], *, realtime: bool) -> T:
    """Run to the end on one of the clocks. The virtual one begins at `runcue.testing.EPOCH`."""
    # A run makes a great many objects and throws few away before its end: looking through them every few hundred takes
    # a third of the time.
    gc.set_threshold(50_000, 20, 50)
    with asyncio.Runner(loop_factory=None if realtime else VirtualTimeLoop) as runner:
        return runner.run(main)


def is_virtual() -> bool:
    """Whether time is virtual in the running loop."""
    return isinstance(asyncio.get_running_loop(), VirtualTimeLoop)


def wall_clock() -> float:
    """Seconds since the epoch, on the clock of the running loop."""
    clock = getattr(asyncio.get_running_loop(), "runcue_clock", None)
    return time.time() if clock is None else float(clock.time())
