"""P2 and P3: many pending work units, ready or never ready, and what they cost.

Lives here: time and memory per pending work unit, and what work units that cannot run do to those that can.

Must not know: how figures are shown.
"""

from __future__ import annotations

import asyncio
import gc
import time
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import runcue
from benchmarks.measuring import (
    Figure,
    LagSampler,
    compare,
    compared,
    in_new_process,
    percentile,
    resident,
    timed,
    traced,
    value,
)

__all__ = ["p2", "p3"]

LIMIT = 100


async def submit_and_run(works: int) -> float:
    """All work units are pending before the first can start, since submitting does not yield to the loop."""
    handled = 0

    async def count(work: runcue.Work) -> None:
        nonlocal handled
        handled += 1

    cue = runcue.Cue()
    cue.service("service", concurrent=LIMIT)
    cue.task("count", uses="service")(count)
    began = time.perf_counter()
    async with cue:
        for _ in range(works):
            await cue.submit("count")
    took = time.perf_counter() - began
    assert handled == works
    return took


def per_work(works: int, repeats: int, *, collecting: bool) -> float:
    """Seconds per work; the small size is repeated, so that one measurement is not over in a few milliseconds."""
    total = 0.0
    for _ in range(repeats):
        gc.collect()
        if not collecting:
            gc.disable()
        try:
            total += asyncio.run(submit_and_run(works))
        finally:
            gc.enable()
    return total / works / repeats


async def _hold(works: int, look: Callable[[], float]) -> float:
    """Bytes per pending work unit, its params subtracted as measured on as many lone copies of them."""
    cue = runcue.Cue()
    cue.service("service", concurrent=LIMIT)

    @cue.task("never", uses="service")
    async def never(work: runcue.Work) -> None: ...

    await cue.submit("never", params={"number": -1})
    before = look()
    for number in range(works):
        await cue.submit("never", params={"number": number})
    between = look()
    params = [{"number": number} for number in range(works)]
    after = look()
    assert len(params) == works
    assert len(await cue.list(limit=works + 2)) == works + 1
    return ((between - before) - (after - between)) / works


def bytes_resident(works: int) -> float:
    gc.collect()
    return asyncio.run(_hold(works, resident))


def bytes_traced(works: int) -> float:
    tracemalloc.start()
    try:
        return asyncio.run(_hold(works, traced))
    finally:
        tracemalloc.stop()


def p2(*, quick: bool) -> list[Figure]:
    many, few, repeats = (20_000, 2_000, 5) if quick else (1_000_000, 10_000, 20)
    figures = []
    for collecting, reach in ((True, 2.5), (False, 1.5)):
        found = compare(
            partial(per_work, few, repeats, collecting=collecting),
            partial(per_work, many, 1, collecting=collecting),
        )
        name = f"{many:,} pending, garbage collector {'on' if collecting else 'off'}"
        beside = f"the same with {few:,}"
        figures.append(compared("P2", name, reach, found, scale=1e6, each="µs per work", beside=beside))
    kinds: list[tuple[str, Any, int, int]] = [("tracemalloc", bytes_traced, min(many, 200_000), 5)]
    if Path("/proc/self/status").exists():
        kinds.append(("resident memory", bytes_resident, many, 5))
    for kind, measure, works, rounds in kinds:
        measured = [in_new_process(measure, works) for _ in range(1 if quick else rounds)]
        figures.append(value("P2", f"memory per pending work of {works:,} ({kind})", 700, measured, "bytes"))
    return figures


class Crowd:
    """A cue with runnable work units, beside work units that are never ready or alone.

    Attributes:
        lags: Loop lag while the runnable ones ran.
        idle_lags: Loop lag afterwards, with only the others left.
        idle_share: Of one core, used afterwards.
    """

    def __init__(self, runnable: int, blocked: int, idle: float) -> None:
        self.runnable = runnable
        self.blocked = blocked
        self.idle = idle
        self.lags: list[float] = []
        self.idle_lags: list[float] = []
        self.idle_share = 0.0

    async def take(self, *, sampling: bool, together: bool = False) -> float:
        """Measure the seconds from the first submission of the runnable work units to the end of their last.

        Args:
            sampling: Also sample the lag. It wakes the loop up a thousand times per second, so not while timing.
            together: Submit the others in the same step, before them, instead of long before.
        """
        handled = 0
        all_done = asyncio.Event()

        async def count(work: runcue.Work) -> None:
            nonlocal handled
            handled += 1
            if handled == self.runnable:
                all_done.set()

        cue = runcue.Cue()
        cue.service("service", concurrent=LIMIT)
        cue.task("runnable", uses="service")(count)
        cue.task("blocked", uses="service")(count)
        cue.is_ready(lambda work: work.params["ready"])
        cue.start()
        if not together:
            await self._submit(cue, "blocked", self.blocked, ready=False)
            # Nothing can run, so a drain ends when all of them have been asked.
            summary = await cue.drain()
            assert len(summary.blocked) == self.blocked
            del summary
            await asyncio.sleep(0.2)
            gc.collect()
        began = time.perf_counter()
        if together:
            await self._submit(cue, "blocked", self.blocked, ready=False)
        await self._submit(cue, "runnable", self.runnable, ready=True)
        if sampling:
            # From here on: while work units are submitted in one go it is the program that keeps the loop, not the cue.
            async with LagSampler() as sampler:
                await all_done.wait()
            self.lags += sampler.lags
        else:
            await all_done.wait()
        took = time.perf_counter() - began
        if self.idle and self.blocked:
            await self._rest(sampling=sampling)
        assert handled == self.runnable
        summary = await cue.stop(drain=False)
        assert summary.counts["completed"] == self.runnable
        return took

    async def _rest(self, *, sampling: bool) -> None:
        await asyncio.sleep(0.5)
        used, began = time.process_time(), time.perf_counter()
        if sampling:
            async with LagSampler() as sampler:
                await asyncio.sleep(self.idle)
            self.idle_lags += sampler.lags
        else:
            await asyncio.sleep(self.idle)
            self.idle_share = (time.process_time() - used) / (time.perf_counter() - began)

    @staticmethod
    async def _submit(cue: runcue.Cue, task: str, works: int, *, ready: bool) -> None:
        for _ in range(works):
            await cue.submit(task, params={"ready": ready})


def p3(*, quick: bool) -> list[Figure]:
    runnable, blocked, idle, rounds = (1_000, 5_000, 0.3, 2) if quick else (10_000, 100_000, 3.0, 5)
    beside, alone = f"{runnable:,} beside {blocked:,} never ready", "the same alone"
    shares: list[float] = []

    def with_crowd() -> float:
        crowd = Crowd(runnable, blocked, idle)
        took = timed(partial(crowd.take, sampling=False))
        shares.append(crowd.idle_share)
        return took

    def with_crowd_at_once() -> float:
        return timed(partial(Crowd(runnable, blocked, 0).take, sampling=False, together=True))

    def without() -> float:
        return timed(partial(Crowd(runnable, 0, 0).take, sampling=False))

    scale = 1e6 / runnable
    found = compare(without, with_crowd, rounds=rounds)
    at_once = compare(without, with_crowd_at_once, rounds=rounds)
    busy, resting = [], []
    for _ in range(rounds):
        crowd = Crowd(runnable, blocked, idle)
        timed(partial(crowd.take, sampling=True))
        busy.append(percentile(crowd.lags, 99) * 1e3)
        resting.append(percentile(crowd.idle_lags, 99) * 1e3)
    return [
        compared("P3", beside, 2.0, found, scale=scale, each="µs per work", beside=alone),
        compared(
            "P3",
            f"{beside}, submitted in the same step",
            None,
            at_once,
            scale=scale,
            each="µs per work",
            beside=alone,
        ),
        value("P3", "loop lag p99 while they run", 20, busy, "ms"),
        value("P3", "loop lag p99 afterwards", 20, resting, "ms"),
        value("P3", "idle afterwards, of a core", 10, [100 * share for share in shares[1:]], "%"),
    ]
