"""H4: a map over very many items, beside as many submissions one by one, and what it holds in memory.

Lives here: P1's cue and handlers, fed by `cue.map`.

Must not know: how figures are shown.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial

import runcue
from benchmarks.measuring import Figure, compare, compared, in_new_process, resident, timed, value
from benchmarks.throughput import LIMIT, through_cue

__all__ = ["h4"]

WINDOW = 200
SETTLED_IN = 100_000
"""Items after which all is there that is kept however many come, such as the last 10,000 work units."""


async def mapped(
    items: int, *, suspends: bool, ordered: bool = False, held: list[float] | None = None
) -> float:
    """Go through a map. Returns the seconds per item.

    Args:
        items: How many.
        suspends: Whether each handler suspends once.
        ordered: As for `map`.
        held: Takes the resident memory when the map has settled in, and at its end.
    """
    cue = runcue.Cue()
    cue.service("service", concurrent=LIMIT)
    count = 0

    @cue.task(uses="service")
    async def counts(number: int) -> None:
        nonlocal count
        count += 1
        if suspends:
            await asyncio.sleep(0)

    cue.is_ready(lambda work: True)
    cue.is_stale(lambda work: True)
    cue.on_start(lambda work: None)
    cue.on_complete(lambda work, result, duration: None)
    given = 0
    began = time.perf_counter()
    async with cue:
        async for _ in cue.map(counts, range(items), window=WINDOW, ordered=ordered):
            given += 1
            if held is not None and given in (SETTLED_IN, items):
                held.append(resident())
    took = time.perf_counter() - began
    assert given == count == items
    return took / items


async def one_by_one(works: int, *, suspends: bool) -> float:
    """P1: submit them one by one. Returns the seconds per work unit."""
    return await through_cue(works, suspends=suspends) / works


def growth(items: int) -> float:
    """Bytes by which a map over so many items grows once it has settled in."""
    held: list[float] = []
    asyncio.run(mapped(items, suspends=False, held=held))
    return held[-1] - held[0]


def h4(*, quick: bool) -> list[Figure]:
    works, items = (5_000, 20_000) if quick else (100_000, 1_000_000)
    figures = []
    for suspends, ordered, label in (
        (False, False, "no suspension"),
        (True, False, "one suspension"),
        (False, True, "no suspension, in order"),
    ):
        found = compare(
            partial(timed, partial(one_by_one, works, suspends=suspends)),
            partial(timed, partial(mapped, items, suspends=suspends, ordered=ordered)),
            rounds=3,
        )
        name = f"map over {items:,} items, {label}"
        beside = f"P1: {works:,} submitted one by one"
        figures.append(compared("H4", name, 1.5, found, scale=1e6, each="µs per item", beside=beside))
    items = max(items, 2 * SETTLED_IN)
    grown = [in_new_process(growth, items) / 2**20]
    name = f"memory: what it grows by from item {SETTLED_IN:,} to {items:,}"
    return [*figures, value("H4", name, 1.0, grown, "MB")]
