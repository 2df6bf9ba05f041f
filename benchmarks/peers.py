"""H2: many calls of one function, beside what people use for that.

Lives here: the same calls with the same limit through a cue, osiiso, aiometer and a TaskGroup with a semaphore; and in
threads through a cue, osiiso, a ThreadPoolExecutor whose threads are there already, and joblib. All of them give the
value of each call, all but aiometer in their order.

Must not know: how figures are shown.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import runcue
from benchmarks.measuring import Figure, compare, compared, value

__all__ = ["h2"]

LIMIT = 100
THREADS = 32
ROUNDS = 9

Function = Callable[[int], Any]


async def at_once(number: int) -> int:
    """Returns without suspending."""
    return 2 * number


async def suspending(number: int) -> int:
    """Suspends once."""
    await asyncio.sleep(0)
    return 2 * number


def plain(number: int) -> int:
    """Returns at once, in a thread."""
    return 2 * number


def took(run: Callable[[int], Iterable[int]], calls: int) -> float:
    """Seconds for all the values of so many calls, which must be right."""
    gc.collect()
    began = time.perf_counter()
    values = run(calls)
    seconds = time.perf_counter() - began
    assert sum(values) == calls * (calls - 1)
    return seconds


def in_loop(
    run: Callable[[Function, int], Awaitable[Iterable[int]]], function: Function, calls: int
) -> float:
    """The same of what gives them in an event loop, which is new, and whose making and closing counts for nobody."""

    async def main() -> tuple[float, Iterable[int]]:
        began = time.perf_counter()
        values = await run(function, calls)
        return time.perf_counter() - began, values

    gc.collect()
    seconds, values = asyncio.run(main())
    assert sum(values) == calls * (calls - 1)
    return seconds


async def by_runcue(function: Function, calls: int, limit: int = LIMIT) -> list[int]:
    cue = runcue.Cue()
    cue.service("service", concurrent=limit)
    cue.task(uses="service")(function)
    async with cue:
        return [value async for value in cue.map(function, range(calls), ordered=True, values=True)]


async def by_task_group(function: Function, calls: int) -> list[int]:
    semaphore = asyncio.Semaphore(LIMIT)

    async def run(number: int) -> int:
        async with semaphore:
            return await function(number)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(run(number)) for number in range(calls)]
    return [task.result() for task in tasks]


async def by_aiometer(function: Function, calls: int) -> list[int]:
    amap = import_module("aiometer").amap
    async with amap(function, range(calls), max_at_once=LIMIT) as results:
        return [result async for result in results]


async def by_osiiso(function: Function, calls: int) -> tuple[int, ...]:
    return await import_module("osiiso").amap(function, range(calls), workers=LIMIT)


def by_osiiso_threads(calls: int) -> tuple[int, ...]:
    return import_module("osiiso").tmap(plain, range(calls), workers=THREADS)


def by_joblib(calls: int) -> list[int]:
    joblib = import_module("joblib")
    each = joblib.delayed(plain)
    return joblib.Parallel(n_jobs=THREADS, backend="threading")(each(number) for number in range(calls))


def by_pool(pool: ThreadPoolExecutor, calls: int) -> list[int]:
    return list(pool.map(plain, range(calls)))


IN_LOOP: dict[str, tuple[str, Callable[[Function, int], Awaitable[Iterable[int]]], float]] = {
    "osiiso": ("osiiso.amap", by_osiiso, 1.0),
    "aiometer": ("aiometer.amap", by_aiometer, 1.0),
    "asyncio": ("TaskGroup and Semaphore", by_task_group, 1.25),
}


def h2(*, quick: bool) -> list[Figure]:
    calls = 500 if quick else 10_000
    figures = []
    for function, label in ((at_once, "no suspension"), (suspending, "one suspension")):
        ours = partial(in_loop, by_runcue, function, calls)
        for module, (beside, run, reach) in IN_LOOP.items():
            floor = partial(in_loop, run, function, calls)
            figures.append(against(module, f"{calls:,} calls, {label}", reach, floor, ours, calls, beside))
    ours = partial(in_loop, partial(by_runcue, limit=THREADS), plain, calls)
    name = f"{calls:,} calls in {THREADS} threads"
    with ThreadPoolExecutor(THREADS) as pool:
        # Each submission that finds no idle thread makes one: now they are all there.
        list(pool.map(time.sleep, [0.01] * THREADS * 4))
        in_threads: dict[str, tuple[str, Callable[[int], Iterable[int]]]] = {
            "osiiso": ("osiiso.tmap", by_osiiso_threads),
            "concurrent": (f"a kept ThreadPoolExecutor({THREADS}).map", partial(by_pool, pool)),
            "joblib": ('joblib.Parallel(backend="threading")', by_joblib),
        }
        for module, (beside, run) in in_threads.items():
            figures.append(against(module, name, 1.0, partial(took, run, calls), ours, calls, beside))
    return figures


def against(
    module: str,
    name: str,
    reach: float,
    floor: Callable[[], float],
    ours: Callable[[], float],
    calls: int,
    beside: str,
) -> Figure:
    """The figure beside one of them, or that it is not installed."""
    if find_spec(module) is None:
        why = "not installed, it needs Python 3.13" if module == "osiiso" else "not installed"
        measured = [ours() * 1e6 / calls for _ in range(ROUNDS)]
        return value("H2", f"{name}; {module}: {why}", None, measured, "µs per call")
    found = compare(floor, ours, rounds=ROUNDS)
    return compared("H2", name, reach, found, scale=1e6 / calls, each="µs per call", beside=beside)
