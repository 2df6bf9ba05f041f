"""H2b and H3, in processes: many calls of one function, beside what people use for that.

Lives here: calls that take no time, which show what each costs, and calls of a millisecond of Python, which show how
much of the processors is left for users' code; through a cue, osiiso, joblib, and a ProcessPoolExecutor whose processes
are there already. The others start theirs within what is measured. All of them give the value of each call, in order.

Must not know: how figures are shown.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib import import_module
from importlib.util import find_spec

import runcue
from benchmarks.measuring import Figure, compare, compared, value
from runcue._model.cpus import usable_cpus

__all__ = ["h2b", "h3"]

PROCESSES = usable_cpus()
ROUNDS = 5

MILLISECOND = 0.001
"""Seconds of its processor that `compute` uses."""

Run = Callable[[Callable[[int], int], int], Iterable[int]]


def plain(number: int) -> int:
    """Returns at once."""
    return 2 * number


def compute(number: int) -> int:
    """Keeps its processor for a millisecond, however many others want it."""
    until = time.thread_time() + MILLISECOND
    while time.thread_time() < until:
        pass
    return 2 * number


def took(run: Run, function: Callable[[int], int], calls: int) -> float:
    """Seconds for all the values of so many calls, which must be right."""
    gc.collect()
    began = time.perf_counter()
    values = run(function, calls)
    seconds = time.perf_counter() - began
    assert sum(values) == calls * (calls - 1)
    return seconds


def by_runcue(function: Callable[[int], int], calls: int) -> list[int]:
    """Through a cue that is made for them."""

    async def main() -> list[int]:
        cue = runcue.Cue(max_processes=PROCESSES)
        cue.task(run_in="process")(function)
        async with cue:
            return [value async for value in cue.map(function, range(calls), ordered=True, values=True)]

    return asyncio.run(main())


def by_osiiso(function: Callable[[int], int], calls: int) -> Iterable[int]:
    values: Iterable[int] = import_module("osiiso").pmap(function, range(calls), workers=PROCESSES)
    return values


def by_joblib(function: Callable[[int], int], calls: int) -> Iterable[int]:
    """One call at a time: its batches are for calls of which it is known that they take little."""
    joblib = import_module("joblib")
    each = joblib.delayed(function)
    values: Iterable[int] = joblib.Parallel(n_jobs=PROCESSES, batch_size=1)(each(one) for one in range(calls))
    return values


def by_pool(pool: ProcessPoolExecutor, function: Callable[[int], int], calls: int) -> Iterable[int]:
    return list(pool.map(function, range(calls)))


def h2b(*, quick: bool) -> list[Figure]:
    """What a call costs."""
    calls = 200 if quick else 10_000
    name = f"{calls:,} calls in {PROCESSES} processes"
    ours = partial(took, by_runcue, plain, calls)
    with ProcessPoolExecutor(PROCESSES) as pool:
        list(pool.map(plain, range(100)))
        others: dict[str, tuple[str, Run, float]] = {
            "osiiso": ("osiiso.pmap", by_osiiso, 1.0),
            "joblib": ("joblib.Parallel(batch_size=1)", by_joblib, 1.0),
            "concurrent": (f"a kept ProcessPoolExecutor({PROCESSES}).map", partial(by_pool, pool), 2.0),
        }
        figures = [
            _against(module, name, reach, partial(took, run, plain, calls), ours, calls, beside)
            for module, (beside, run, reach) in others.items()
        ]
    if find_spec("joblib") is not None:
        # Its processes are kept, and the end of a process that multiprocessing has made would wait for them for ever.
        import_module("joblib.externals.loky").get_reusable_executor().shutdown(wait=True)
    return figures


def _against(
    module: str,
    name: str,
    reach: float,
    floor: Callable[[], float],
    ours: Callable[[], float],
    calls: int,
    beside: str,
) -> Figure:
    if find_spec(module) is None:
        measured = [ours() * 1e6 / calls for _ in range(ROUNDS)]
        return value("H2b", f"{name}; {module}: not installed", None, measured, "µs per call")
    found = compare(floor, ours, rounds=ROUNDS)
    return compared("H2b", name, reach, found, scale=1e6 / calls, each="µs per call", beside=beside)


def h3(*, quick: bool) -> list[Figure]:
    """How much of the processors is users' code."""
    calls = 200 if quick else 10_000
    with ProcessPoolExecutor(PROCESSES) as pool:
        list(pool.map(plain, range(100)))
        found = compare(
            partial(took, partial(by_pool, pool), compute, calls),
            partial(took, by_runcue, compute, calls),
            rounds=ROUNDS,
        )
    ideal = calls * MILLISECOND / PROCESSES
    shares = [floor / ours for ours, floor in zip(found.ours, found.floor, strict=True)]
    name = f"share of users' code, {calls:,} calls of 1 ms in {PROCESSES} processes, as part of ProcessPoolExecutor's"
    own = f"share of users' code, {calls:,} calls of 1 ms in {PROCESSES} processes"
    return [
        value("H3", name, 0.9, shares, "x", at_least=True),
        value("H3", own, None, [ideal / ours for ours in found.ours], "of all"),
        value("H3", f"{own}: ProcessPoolExecutor", None, [ideal / floor for floor in found.floor], "of all"),
    ]
