"""A8: many work units that each need all that many others make, submitted in several orders.

Lives here: a graph whose edges outnumber its nodes by far. What is timed starts before the first submission and ends
when the last reader has run.

Must not know: how figures are shown, files.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from functools import partial

import runcue
from benchmarks.artifacts import cue_with
from benchmarks.measuring import Figure, compare, compared, timed

__all__ = ["a8"]


async def through_cue(nodes: int, order: Sequence[int]) -> float:
    """Run a graph in which the first half of the nodes makes a flag each, and each of the others needs them all."""
    makers = nodes // 2
    flags = [runcue.Flag(str(node)) for node in range(makers)]
    ran = 0

    async def handler(work: runcue.Work) -> None:
        nonlocal ran
        ran += 1
        if work.outputs:
            work.outputs[0].set()  # type: ignore[attr-defined]

    cue = cue_with(
        handler,
        inputs=lambda work: () if work.params["node"] < makers else flags,
        outputs=lambda work: flags[work.params["node"]] if work.params["node"] < makers else (),
    )
    began = time.perf_counter()
    cue.start()
    for node in order:
        await cue.submit("node", params={"node": node})
    summary = await cue.drain()
    took = time.perf_counter() - began
    await cue.stop()
    assert summary.ok
    assert ran == nodes
    return took


def a8(*, quick: bool) -> list[Figure]:
    each_side = 60 if quick else 1_200
    nodes, edges = 2 * each_side, each_side**2
    makers_first = list(range(nodes))
    readers_first = makers_first[each_side:] + makers_first[:each_side]
    orders = {
        "readers first": readers_first,
        "all in the other order": makers_first[::-1],
        "shuffled": random.Random(1).sample(makers_first, nodes),
    }
    figures = []
    for name, order in orders.items():
        found = compare(
            lambda: timed(partial(through_cue, nodes, makers_first)),
            lambda order=order: timed(partial(through_cue, nodes, order)),  # type: ignore[misc]
            rounds=3,
        )
        title = f"{each_side:,} readers of what {each_side:,} make, {name}"
        figures.append(
            compared("A8", title, 2.0, found, scale=1e6 / edges, each="µs per edge", beside="makers first")
        )
    fewer = nodes // 2
    readers_first_of_fewer = [*range(fewer // 2, fewer), *range(fewer // 2)]
    found = compare(
        lambda: timed(partial(through_cue, fewer, readers_first_of_fewer)) * 4,
        lambda: timed(partial(through_cue, nodes, readers_first)),
        rounds=3,
    )
    title = f"{each_side:,} readers of what {each_side:,} make, readers first, by the number of edges"
    beside = "a quarter of the edges"
    figures.append(compared("A8", title, None, found, scale=1e6 / edges, each="µs per edge", beside=beside))
    return figures
