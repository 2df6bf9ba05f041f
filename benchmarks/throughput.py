"""P1, P6 and H1: how many work units per second go through a cue, async and sync.

Lives here: no-op handlers through runcue and by hand. What is timed starts before the first submission and ends when
the last work unit has ended, on both sides.

Must not know: how figures are shown.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from functools import partial
from typing import Any

import runcue
from benchmarks.measuring import Figure, compare, compared, timed

__all__ = ["h1", "p1", "p6"]

LIMIT = 100
WINDOWS = {"rate": ["1_000_000/sec", "10_000_000/min"], "budget": {"tokens": "10_000_000_000/min"}}
THREADS = 32


class Counter:
    """Handlers that do nothing but count, so that a run that lost work units is found out."""

    def __init__(self) -> None:
        self.count = 0

    async def at_once(self, work: object) -> None:
        """Returns without suspending."""
        self.count += 1

    async def suspending(self, work: object) -> None:
        """Suspends once."""
        self.count += 1
        await asyncio.sleep(0)

    async def plain(self, url: str, page: int = 1) -> None:
        """Takes params by name, one of them by default, and returns without suspending."""
        self.count += 1


async def through_cue(
    works: int, *, suspends: bool, insured: bool = False, counted: bool = False, lanes: int = 0
) -> float:
    counter = Counter()
    cue = runcue.Cue()
    limits: Any = WINDOWS if counted else {}
    cue.service("service", concurrent=LIMIT, **limits)
    options: Any = {"retry": 3, "timeout": 30} if insured else {}
    if counted:
        options["cost"] = {"tokens": 700}
    cue.task("count", uses="service", **options)(counter.suspending if suspends else counter.at_once)
    cue.is_ready(lambda work: True)
    cue.is_stale(lambda work: True)
    cue.on_start(lambda work: None)
    cue.on_complete(lambda work, result, duration: None)
    began = time.perf_counter()
    async with cue:
        if lanes:
            for number in range(works):
                await cue.submit("count", lane=f"user:{number % lanes}")
        else:
            for _ in range(works):
                await cue.submit("count")
    took = time.perf_counter() - began
    assert counter.count == works
    return took


async def by_hand(works: int, *, suspends: bool) -> float:
    counter = Counter()
    handler = counter.suspending if suspends else counter.at_once
    semaphore = asyncio.Semaphore(LIMIT)

    async def run(number: int) -> None:
        async with semaphore:
            await handler(number)

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number in range(works):
            group.create_task(run(number))
    took = time.perf_counter() - began
    assert counter.count == works
    return took


async def by_hand_bounded(works: int, *, suspends: bool) -> float:
    counter = Counter()
    handler = counter.suspending if suspends else counter.at_once
    semaphore = asyncio.Semaphore(LIMIT)

    async def run(number: int) -> None:
        try:
            await handler(number)
        finally:
            semaphore.release()

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number in range(works):
            await semaphore.acquire()
            group.create_task(run(number))
    took = time.perf_counter() - began
    assert counter.count == works
    return took


def p1(*, quick: bool) -> list[Figure]:
    works = 5_000 if quick else 100_000
    figures = []
    for suspends, label in ((False, "no suspension"), (True, "one suspension")):
        ours = partial(timed, partial(through_cue, works, suspends=suspends))
        for floor, beside, reach in ((by_hand, "by hand", 0.6), (by_hand_bounded, "by hand, bounded", None)):
            found = compare(partial(timed, partial(floor, works, suspends=suspends)), ours)
            name = f"{works:,} async work units, {label}"
            figures.append(
                compared("P1", name, reach, found, scale=1e6 / works, each="µs per work", beside=beside)
            )
        insured = partial(timed, partial(through_cue, works, suspends=suspends, insured=True))
        found = compare(ours, insured)
        name = f"{works:,} async work units, {label}, retry=3 and timeout=, nothing failing"
        figures.append(
            compared("P1", name, 1.3, found, scale=1e6 / works, each="µs per work", beside="the same without")
        )
        limited = partial(timed, partial(through_cue, works, suspends=suspends, insured=True, counted=True))
        found = compare(ours, limited)
        name = (
            f"{works:,} async work units, {label}, retry=3, timeout=, two windows and a budget, none used up"
        )
        figures.append(
            compared("P1", name, 1.6, found, scale=1e6 / works, each="µs per work", beside="the same without")
        )
    return figures


async def plain_through_cue(works: int, *, plain: bool) -> float:
    counter = Counter()
    cue = runcue.Cue()
    cue.service("service", concurrent=LIMIT)
    cue.task("count", uses="service")(counter.plain if plain else counter.at_once)
    cue.is_ready(lambda work: True)
    cue.is_stale(lambda work: True)
    cue.on_start(lambda work: None)
    cue.on_complete(lambda work, result, duration: None)
    params = {"url": "https://..."}
    began = time.perf_counter()
    async with cue:
        for _ in range(works):
            await cue.submit("count", params)
    took = time.perf_counter() - began
    assert counter.count == works
    return took


def h1(*, quick: bool) -> list[Figure]:
    works = 5_000 if quick else 100_000
    beside, ours = (partial(timed, partial(plain_through_cue, works, plain=plain)) for plain in (False, True))
    return [
        compared(
            "H1",
            f"{works:,} async work units, params by name, one by default",
            1.25,
            compare(beside, ours),
            scale=1e6 / works,
            each="µs per work",
            beside="a handler of the work",
        ),
        in_lanes(works),
    ]


def in_lanes(works: int) -> Figure:
    """P1, with and without lanes."""
    lanes = works // 10
    ours = partial(timed, partial(through_cue, works, suspends=False, lanes=lanes))
    beside = partial(timed, partial(through_cue, works, suspends=False))
    return compared(
        "H1",
        f"{works:,} async work units in {lanes:,} lanes",
        2.0,
        compare(beside, ours),
        scale=1e6 / works,
        each="µs per work",
        beside="in no lane",
    )


async def sync_through_cue(works: int) -> float:
    handled: list[object] = []  # append is atomic, += on a number is not
    cue = runcue.Cue()
    cue.service("service", concurrent=THREADS)
    cue.task("append", uses="service")(handled.append)
    began = time.perf_counter()
    async with cue:
        for _ in range(works):
            await cue.submit("append")
    took = time.perf_counter() - began
    assert len(handled) == works
    return took


async def sync_by_hand(works: int) -> float:
    handled: list[object] = []
    began = time.perf_counter()
    with ThreadPoolExecutor(THREADS) as pool:
        wait_for([pool.submit(handled.append, number) for number in range(works)])
        # Without the end of the threads: a cue does not wait for that either.
        took = time.perf_counter() - began
    assert len(handled) == works
    return took


def p6(*, quick: bool) -> list[Figure]:
    works = 1_000 if quick else 10_000
    ours, floor = (
        partial(timed, partial(sync_through_cue, works)),
        partial(timed, partial(sync_by_hand, works)),
    )
    found = compare(floor, ours, rounds=15)
    beside = f"ThreadPoolExecutor({THREADS}).submit"
    return [
        compared(
            "P6",
            f"{works:,} sync work units",
            0.8,
            found,
            scale=1e6 / works,
            each="µs per work",
            beside=beside,
        )
    ]
