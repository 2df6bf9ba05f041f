"""At passes of the garbage collector nothing is done that could lose what a signal handler raises."""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
import time
from types import FrameType, FunctionType, MethodType

import pytest

import runcue
from runcue._callbacks.collector import anew, at_each_pass


class Interrupted(Exception):
    """In the place of KeyboardInterrupt."""


def interrupt(number: int, frame: FrameType | None) -> None:
    raise Interrupted


async def a_cue_that_has_run() -> None:
    async with runcue.Cue() as cue:
        await (await cue.call(asyncio.sleep, 0))


@pytest.mark.skipif(sys.platform == "win32", reason="a timer of the system sends the signals")
def test_ctrl_c_during_a_pass_of_the_garbage_collector_is_not_lost() -> None:
    asyncio.run(a_cue_that_has_run())
    large = [[number] for number in range(100_000)]
    callbacks, before = gc.callbacks[:], signal.signal(signal.SIGALRM, interrupt)
    # Hypothesis has one of its own, which is written in Python.
    gc.callbacks[:] = [one for one in callbacks if getattr(one, "__module__", "runcue").startswith("runcue")]
    heard = 0
    try:
        for _ in range(8):
            until = time.monotonic() + 20
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.02)
                while time.monotonic() < until:
                    gc.collect()
            except Interrupted:
                heard += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        gc.callbacks[:] = callbacks
    assert heard == 8
    assert len(large) == 100_000


def test_what_is_called_at_each_pass_is_not_written_in_python() -> None:
    asyncio.run(a_cue_that_has_run())
    ours = [
        one
        for one in gc.callbacks
        if isinstance(one, FunctionType | MethodType) and "runcue" in one.__module__
    ]
    assert not ours


def test_what_is_done_at_each_pass_is_done_anew() -> None:
    heard: list[int] = []
    numbers = iter(range(100))
    callback = at_each_pass("stop", anew(map, heard.append, anew(map, next, (numbers,))))
    try:
        gc.collect()
        gc.collect()
    finally:
        gc.callbacks.remove(callback)
    assert heard[:2] == [0, 1]
