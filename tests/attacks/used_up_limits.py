"""Limits that are used up all the time: whatever they are and however they are combined, everything runs.

A limit that says no names an instant, and somebody has to come back then. If it is read twice, a clock that has moved
on in between may give two answers, of which one leads to no start and the other one to no timer: then a cue stands
still for ever. uvloop is the loop to try that on: its timers fire up to a millisecond early.

Lives here: batches of work units under small limits, each of which has to come to its end in time.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import time
from collections.abc import Callable
from typing import Any

import aiolimiter

import runcue
from runcue.abc import Limit
from tests.attacks.loops import Run

PATIENCE = 300.0

PER_SECOND = 500
WORKS = 200


class OwnClock(Limit):
    """Starts at equal distances, by a clock of its own that it reads each time that it is asked."""

    def __init__(self, apart: float) -> None:
        self._apart = apart
        self._free_from = 0.0

    def room(self, now: float, work: runcue.Work, /) -> bool:
        return time.monotonic() >= self._free_from

    def next_room(self, now: float, work: runcue.Work, /) -> float:
        return self._free_from

    def acquire(self, now: float, work: runcue.Work, /) -> None:
        self._free_from = time.monotonic() + self._apart


LIMITS: dict[str, Callable[[], dict[str, Any]]] = {
    "burst=1": lambda: {"rate": f"{PER_SECOND}/sec", "burst": 1},
    "burst=7": lambda: {"rate": f"{PER_SECOND}/sec", "burst": 7},
    "rate": lambda: {"rate": f"{PER_SECOND // 100}/0.01sec"},
    "limiter": lambda: {"limiter": aiolimiter.AsyncLimiter(1, 1 / PER_SECOND)},
    "own clock": lambda: {"limits": [OwnClock(1 / PER_SECOND)]},
}


async def batch(limits: tuple[str, ...], handlers: str, works: int) -> None:
    """Run a batch under limits of these kinds, with plain handlers, async ones, or both."""
    cue = runcue.Cue()
    for name in limits:
        cue.service(name, **LIMITS[name]())

    @cue.task("plain", uses=list(limits))
    def plain(work: runcue.Work) -> None: ...

    @cue.task("async", uses=list(limits))
    async def asynchronous(work: runcue.Work) -> None:
        if work.params["number"] % 2:
            await asyncio.sleep(0)

    if "by priority" in handlers:

        @cue.priority
        def priority(context: runcue.PriorityContext) -> float:
            return float(context.work.params["number"] % 3) / 2

    tasks = [name for name in ("plain", "async") if name in handlers]
    cue.start()
    for number in range(works):
        await cue.submit(tasks[number % len(tasks)], params={"number": number})
    # A start may be a tick of the loop's timers late each time; much more than that is a halt.
    seconds = works * (1 / PER_SECOND + 0.01) + 20
    try:
        async with asyncio.timeout(seconds):
            await cue.drain()
    except TimeoutError:
        raise AssertionError(
            f"{limits} with {handlers}: {cue.debug_blocked()} after {seconds:g} s, {await cue.stop(timeout=0)}"
        ) from None
    summary = await cue.stop()
    assert summary.counts["completed"] == works, summary


def attack(run: Run[None], scale: float) -> str:
    works = math.ceil(WORKS * scale)
    alone = [(name,) for name in LIMITS]
    kinds = [*alone, *itertools.combinations(LIMITS, 2)]
    began = time.monotonic()
    batches = 0
    for limits in kinds:
        for handlers in ("plain", "async", "plain and async", "plain and async, by priority"):
            run(batch(limits, handlers, works))
            batches += 1
    return f"{batches} batches of {works} work units under limits that are used up, {time.monotonic() - began:.0f} s"
