"""What every benchmark is measured with: fair turns, ratios, memory, loop lag, and the figures they end up in.

Lives here: `Figure`, one line of the table; `compare`, which lets floor and ours take turns; processes of their own and
what one holds in memory; the sampler of loop lag.

Must not know: what is measured, or how it is shown.
"""

from __future__ import annotations

import asyncio
import gc
import time
import tracemalloc
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple, Self

__all__ = [
    "Compared",
    "Figure",
    "LagSampler",
    "Spread",
    "compare",
    "compared",
    "in_new_process",
    "percentile",
    "resident",
    "timed",
    "traced",
    "value",
]

ROUNDS = 5


class Spread(NamedTuple):
    """The median of several measurements with the least and the greatest of them."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, measured: Sequence[float]) -> Spread:
        """The spread of at least one measurement."""
        return cls(median(measured), min(measured), max(measured))


@dataclass(frozen=True)
class Figure:
    """One line of the table.

    Attributes:
        benchmark: Its row in the table of the project: "P1" to "P9", "A1" to "A9", "S1" to "S3", "H2", "H5", "L5".
        name: What was measured, a few words.
        figure: What the reach is about: a ratio of ours to the floor, or a plain value in `unit`.
        unit: Of `figure`; "x" for a ratio.
        reach: What `figure` should be at most, or at least where `at_least`. None: shown for comparison only.
        ours: What runcue took, in `each`; None where `figure` is no ratio.
        floor: What the floor took, likewise.
        each: The unit of `ours` and `floor`.
        beside: What the floor is.
        rounds: How many measurements each spread is of.
        at_least: Whether more is better.
    """

    benchmark: str
    name: str
    figure: Spread
    unit: str
    reach: float | None
    ours: Spread | None = None
    floor: Spread | None = None
    each: str = ""
    beside: str = ""
    rounds: int = ROUNDS
    at_least: bool = False

    @property
    def met(self) -> bool | None:
        """Whether the median is within reach, None if there is no reach."""
        if self.reach is None:
            return None
        return self.figure.median >= self.reach if self.at_least else self.figure.median <= self.reach


class Compared(NamedTuple):
    """Measurements of ours and of the floor, taken in turns."""

    ours: list[float]
    floor: list[float]


def timed(run: Callable[[], Coroutine[Any, Any, float]]) -> float:
    """Run one measurement in a fresh event loop, after a full garbage collection.

    Args:
        run: An async function that returns the seconds it measured.
    """
    gc.collect()
    return asyncio.run(run())


def compare(floor: Callable[[], float], ours: Callable[[], float], *, rounds: int = ROUNDS) -> Compared:
    """Measure floor, ours, floor, ours, ..., so that a drift of the machine meets both alike.

    Args:
        floor: Takes one measurement and returns it.
        ours: The same for runcue.
        rounds: How often. One more is taken first and thrown away: it fills caches and allocators.
    """
    found = Compared([], [])
    for counts in (False, *[True] * rounds):
        one, other = floor(), ours()
        if counts:
            found.floor.append(one)
            found.ours.append(other)
    return found


def compared(
    benchmark: str, name: str, reach: float | None, found: Compared, *, scale: float, each: str, beside: str
) -> Figure:
    """The figure of a comparison: the ratio of each pair of neighbours, and both sides.

    Args:
        benchmark: See `Figure`.
        name: See `Figure`.
        reach: See `Figure`.
        found: The measurements, in seconds.
        scale: Makes `each` of them: 1e6 / 100_000 for microseconds per work of 100,000.
        each: See `Figure`.
        beside: See `Figure`.
    """
    ratios = [ours / floor for ours, floor in zip(found.ours, found.floor, strict=True)]
    return Figure(
        benchmark=benchmark,
        name=name,
        figure=Spread.of(ratios),
        unit="x",
        reach=reach,
        ours=Spread.of([one * scale for one in found.ours]),
        floor=Spread.of([one * scale for one in found.floor]),
        each=each,
        beside=beside,
        rounds=len(ratios),
    )


def value(
    benchmark: str,
    name: str,
    reach: float | None,
    measured: Sequence[float],
    unit: str,
    *,
    at_least: bool = False,
) -> Figure:
    """A figure that is no ratio."""
    return Figure(benchmark, name, Spread.of(measured), unit, reach, rounds=len(measured), at_least=at_least)


def percentile(measured: Sequence[float], percent: float) -> float:
    """The least of the measurements that so many percent do not exceed, 0.0 if there are none."""
    ordered = sorted(measured) or [0.0]
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def in_new_process(measure: Callable[..., float], *args: Any) -> float:
    """Take one measurement in a process of its own.

    Memory that an earlier measurement gave back would be used again without being counted, and what it has learned of
    files would be known.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(measure, *args).result()


def resident() -> float:
    """The process's resident memory in bytes."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return float(line.split()[1]) * 1024
    raise OSError("no VmRSS in /proc/self/status")


def traced() -> float:
    """Bytes that Python's allocators have given out."""
    return float(tracemalloc.get_traced_memory()[0])


class LagSampler:
    """How late the event loop gives a task its turn, found by one that wants it every millisecond.

    Attributes:
        lags: Seconds by which each waking was late.
    """

    INTERVAL = 0.001

    def __init__(self) -> None:
        self.lags: list[float] = []
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._sample())
        return self

    async def __aexit__(self, *exit_of_the_block: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _sample(self) -> None:
        while True:
            wanted = time.perf_counter() + self.INTERVAL
            try:
                await asyncio.sleep(self.INTERVAL)
            finally:  # the last one too: if nothing else got its turn, it has waited from beginning to end
                self.lags.append(max(0.0, time.perf_counter() - wanted))
