"""How much something does, told by how many functions it calls: the same on a quick machine and on a busy one.

Must not know: what is tested.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["calls_in", "counted_calls", "without_collector"]


def calls_in(action: Callable[[], object]) -> int:
    """The number of calls, of functions written in C as well, that an action takes in this thread."""
    with counted_calls() as calls:
        action()
    return calls()


@contextmanager
def counted_calls() -> Iterator[Callable[[], int]]:
    """Counts those of a block, which may await; yields what tells how many there have been."""
    calls = 0

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    before = sys.getprofile()
    with without_collector():
        sys.setprofile(count)
        try:
            yield lambda: calls
        finally:
            sys.setprofile(before)


@contextmanager
def without_collector() -> Iterator[None]:
    """What is counted or timed in here is not what the garbage of other tests takes to be collected."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
