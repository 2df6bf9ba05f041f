"""Forty thousand work units with something in common are ended, in any order: that takes as long as there are many.

Lives here: what they may have in common, the ways of ending them, and what that costs beside a quarter of them.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import random
import time
from collections.abc import Callable
from typing import Any

import runcue
from runcue import Flag
from tests.attacks.loops import Run

PATIENCE = 300.0

MANY = 40_000

TOO_MUCH = 2.5
"""So many times what they take for each where there are a quarter of them. If each had to do with all others it would
be 4; the caches of the processor make it 1.3 or so."""

ORDERS: dict[str, Callable[[list[Any]], list[Any]]] = {
    "first to last": list,
    "last to first": lambda handles: handles[::-1],
    "in any order": lambda handles: random.Random(3).sample(handles, len(handles)),
}

ALIKE: dict[str, Callable[[], dict[str, Any]]] = {
    "output": lambda: {"outputs": Flag("same")},
    "key": lambda: {"key": "same"},
    "input": lambda: {"inputs": Flag("made"), "outputs": lambda work: Flag(work.id)},
    "nothing": dict,
}


async def end(alike: str, running: bool, how: str, number: int) -> float:
    """End so many work units. Returns the seconds that takes."""
    cue = runcue.Cue(keep=100)

    async def handler(work: runcue.Work) -> None:
        await asyncio.sleep(1000)

    cue.task("makes", outputs=Flag("made"))(handler)
    cue.task("t", **ALIKE[alike]())(handler)
    cue.is_ready(lambda work: running)
    cue.start()
    if alike == "input":
        await cue.submit("makes")
    handles = [await cue.submit("t") for _ in range(number)]
    await asyncio.sleep(0.05)
    gc.collect()
    gc.disable()
    began = time.process_time()
    if how == "stop":
        await cue.stop(drain=False, timeout=0)
    else:
        for handle in ORDERS[how](handles):
            await cue.cancel(handle)
    seconds = time.process_time() - began
    gc.enable()
    assert {handle.work.state for handle in handles} == {runcue.WorkState.CANCELLED}
    await cue.stop(drain=False, timeout=0)
    return seconds


def attack(run: Run[float], scale: float) -> str:
    logging.getLogger("runcue").setLevel(logging.CRITICAL)
    number = max(2_000, round(MANY * min(scale, 1.0)))
    slowest = 0.0, ""
    for alike in ALIKE:
        for running in (False, True):
            if running and alike == "nothing":
                continue  # each would have an asyncio task of its own
            for how in (*ORDERS, "stop"):
                words = f"{how}, {'running' if running else 'pending'}, with the same {alike}"
                few = run(end(alike, running, how, number // 4))
                many = run(end(alike, running, how, number))
                assert many < 4 * TOO_MUCH * max(few, 0.002), f"{words}: {few:.3f} s, then {many:.3f} s"
                slowest = max(slowest, (many, words))
    return f"{number:,} ended in {slowest[0] * 1000:,.0f} ms at most ({slowest[1]})"
