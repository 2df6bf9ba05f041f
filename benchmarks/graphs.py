"""P4 and P4b: a layered graph of dependencies that only an opaque is_ready knows.

Lives here: the same graph through a cue and through graphlib with an asyncio task per node. What is timed starts before
the first submission (or `add`) and ends when the last node has run.

Must not know: how figures are shown.
"""

from __future__ import annotations

import asyncio
import random
import time
from functools import partial
from graphlib import TopologicalSorter

import runcue
from benchmarks.measuring import Compared, Figure, LagSampler, compare, compared, percentile, timed, value

__all__ = ["p4", "p4b"]

LIMIT = 100
NOTHING = -1
"""What the nodes of the first layer need; it is done from the beginning."""


class Layers:
    """A graph in layers: each node needs two of the layer before. Nodes are numbered layer by layer.

    Attributes:
        needs: By node, what must have run before.
        order: The nodes as they are submitted, shuffled.
        asked: How often is_ready was called in the last run through a cue.
        lags: Loop lag of the last sampled run.
    """

    def __init__(self, layers: int, width: int, seed: int = 1) -> None:
        chance = random.Random(seed)
        self.layers = layers
        self.width = width
        self.needs: list[tuple[int, int]] = []
        for layer in range(layers):
            before = range((layer - 1) * width, layer * width)
            for _ in range(width):
                first, second = chance.sample(before, 2) if layer else (NOTHING, NOTHING)
                self.needs.append((first, second))
        self.order = list(range(len(self.needs)))
        chance.shuffle(self.order)
        self.asked = 0
        self.lags: list[float] = []

    async def through_cue(self, *, task_per_layer: bool, sampling: bool = False) -> float:
        """Run the graph through a cue."""
        done: set[int] = {NOTHING}
        needs, width = self.needs, self.width
        asked = 0

        def is_ready(work: runcue.Work) -> bool:
            nonlocal asked
            asked += 1
            first, second = needs[work.params["node"]]
            return first in done and second in done

        async def handler(work: runcue.Work) -> None:
            node = work.params["node"]
            assert all(need in done for need in needs[node])
            done.add(node)

        cue = runcue.Cue()
        cue.service("service", concurrent=LIMIT)
        for layer in range(self.layers if task_per_layer else 1):
            # A function of its own for each, as a program with a hundred tasks would have.
            cue.task(f"layer {layer}", uses="service")(partial(handler))
        cue.is_ready(is_ready)
        names = [f"layer {node // width if task_per_layer else 0}" for node in range(len(needs))]
        sampler = LagSampler()
        began = time.perf_counter()
        cue.start()
        for node in self.order:
            await cue.submit(names[node], params={"node": node})
        if sampling:
            async with sampler:
                summary = await cue.drain()
        else:
            summary = await cue.drain()
        took = time.perf_counter() - began
        await cue.stop()
        assert len(done) - 1 == summary.counts["completed"] == len(needs)
        self.asked = asked
        self.lags = sampler.lags
        return took

    async def through_graphlib(self, asking: int) -> float:
        """Run the graph with an asyncio task per node.

        Args:
            asking: How often is_ready is asked, all nodes together.
        """
        done: set[int] = {NOTHING}
        needs = self.needs
        asked = 0

        def is_ready(node: int) -> bool:
            nonlocal asked
            asked += 1
            first, second = needs[node]
            return first in done and second in done

        async def handler(node: int) -> None:
            done.add(node)

        each, more = divmod(asking, len(needs))
        finished: list[int] = []
        wake = asyncio.Event()

        async def run(node: int) -> None:
            ready = True
            for _ in range(each + (node < more)):
                ready = is_ready(node) and ready
            assert ready
            await handler(node)
            finished.append(node)
            wake.set()

        began = time.perf_counter()
        sorter: TopologicalSorter[int] = TopologicalSorter()
        for node in self.order:
            sorter.add(node, *(needs[node] if node >= self.width else ()))
        sorter.prepare()
        async with asyncio.TaskGroup() as group:
            while sorter.is_active():
                for node in sorter.get_ready():
                    group.create_task(run(node))
                await wake.wait()
                wake.clear()
                sorter.done(*finished)
                finished.clear()
        took = time.perf_counter() - began
        assert len(done) - 1 == len(needs)
        assert asked == asking
        return took


def against_graphlib(graph: Layers, *, task_per_layer: bool, as_often: bool) -> tuple[Compared, list[float]]:
    """Times of both, and how often a cue asked per work."""
    asked: list[float] = []
    nodes = len(graph.needs)

    def ours() -> float:
        took = timed(partial(graph.through_cue, task_per_layer=task_per_layer))
        asked.append(graph.asked / nodes)
        return took

    ours()  # says how often the floor has to ask in the first round
    asked.clear()
    found = compare(lambda: timed(partial(graph.through_graphlib, graph.asked if as_often else nodes)), ours)
    return found, asked[1:]


def p4(*, quick: bool) -> list[Figure]:
    layers, width = (20, 50) if quick else (100, 1000)
    graph = Layers(layers, width)
    name = f"graph {layers} x {width}, a task per layer"
    found, asked = against_graphlib(graph, task_per_layer=True, as_often=True)
    scale, each = 1e6 / len(graph.needs), "µs per work"
    return [
        value("P4", f"{name}: is_ready calls per work", 5, asked, "calls"),
        compared("P4", name, 2.0, found, scale=scale, each=each, beside="graphlib, is_ready as often"),
    ]


def p4b(*, quick: bool) -> list[Figure]:
    layers, width = (20, 30) if quick else (100, 300)
    graph = Layers(layers, width)
    name = f"graph {layers} x {width}, one task"
    scale, each = 1e6 / len(graph.needs), "µs per work"
    found, asked = against_graphlib(graph, task_per_layer=False, as_often=True)
    once, _ = against_graphlib(graph, task_per_layer=False, as_often=False)
    lags = []
    for _ in range(len(asked)):
        timed(partial(graph.through_cue, task_per_layer=False, sampling=True))
        lags.append(percentile(graph.lags, 99) * 1e3)
    return [
        value("P4b", f"{name}: is_ready calls per work", 60, asked, "calls"),
        compared("P4b", name, 15.0, found, scale=scale, each=each, beside="graphlib, is_ready as often"),
        compared("P4b", name, 15.0, once, scale=scale, each=each, beside="graphlib, is_ready once"),
        value("P4b", f"{name}: loop lag p99", 20, lags, "ms"),
    ]
