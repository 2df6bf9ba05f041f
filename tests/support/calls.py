"""How much something does, told by how many functions it calls: the same on a quick machine and on a busy one.

Must not know: what is tested.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType

__all__ = ["calls_in"]


def calls_in(action: Callable[[], object]) -> int:
    """The number of calls, of functions written in C as well, that an action takes in this thread."""
    calls = 0

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        action()
    finally:
        sys.setprofile(before)
    return calls
