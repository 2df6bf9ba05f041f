"""P5: how soon one submitted work starts when the cue has nothing else to do.

Lives here: the time from `submit()` to the first line of the handler, beside that from `create_task` to the first step.

Must not know: how figures are shown.
"""

from __future__ import annotations

import asyncio
import gc
import time
from statistics import median

import runcue
from benchmarks.measuring import Compared, Figure, compared

__all__ = ["p5"]

# Long enough for a cue to come to rest, so that each work unit finds it asleep.
PAUSE = 0.0005


async def turns(samples: int) -> tuple[float, float]:
    """The median of floor and ours, sample by sample in turns."""
    entered = 0.0

    async def first_step() -> None:
        nonlocal entered
        entered = time.perf_counter()

    async def handler(work: runcue.Work) -> None:
        nonlocal entered
        entered = time.perf_counter()

    cue = runcue.Cue()
    cue.service("service", concurrent=100)
    cue.task("enter", uses="service")(handler)
    floor, ours = [], []
    async with cue:
        for _ in range(samples):
            await asyncio.sleep(PAUSE)
            began = time.perf_counter()
            task = asyncio.create_task(first_step())
            await task
            floor.append(entered - began)
            await asyncio.sleep(PAUSE)
            began = time.perf_counter()
            handle = await cue.submit("enter")
            await handle.wait()
            ours.append(entered - began)
    return median(floor), median(ours)


def p5(*, quick: bool) -> list[Figure]:
    samples, rounds = (50, 2) if quick else (1_000, 5)
    found = Compared([], [])
    for counts in (False, *[True] * rounds):
        gc.collect()
        floor, ours = asyncio.run(turns(samples))
        if counts:
            found.floor.append(floor)
            found.ours.append(ours)
    name = "one submit on an idle cue, to the handler's start"
    return [compared("P5", name, 15.0, found, scale=1e6, each="µs", beside="create_task to its first step")]
