"""The event loops that tests in real time run on: asyncio's own, and uvloop's where it is installed.

Must not know: what is tested.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest

__all__ = ["each_loop", "run_on"]

T = TypeVar("T")

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
try:
    import uvloop
except ImportError:
    pass
else:
    LOOPS["uvloop"] = uvloop.new_event_loop

each_loop = pytest.mark.parametrize("loop", LOOPS)
"""Runs a test once on each of them: `loop` is its name."""


def run_on(loop: str, main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run an async function on one of them; what the loop would only have complained about is a failure."""
    complaints: list[dict[str, Any]] = []
    try:
        with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
            runner.get_loop().set_exception_handler(lambda loop, context: complaints.append(context))
            return runner.run(main())
    finally:
        gc.collect()  # what nobody has retrieved
        assert not complaints, complaints
