"""A1, A2, A3 and A5: graphs whose nodes are tied together by artifacts, all of them flags in memory.

Lives here: work units that declare what they need and make, work units whose is_ready looks at flags, and the
question why one of them does not run. What is timed starts before the first flag is made and ends when the last node
has run.

Must not know: how figures are shown, files.
"""

from __future__ import annotations

import asyncio
import gc
import random
import time
import tracemalloc
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Self

import runcue
from benchmarks.graphs import LIMIT, NOTHING, Layers
from benchmarks.measuring import Figure, compare, compared, in_new_process, resident, timed, traced, value

__all__ = ["a1", "a2", "a3", "a5"]

DEEP = 10_000
"""Work units in the chain of A5; each link that is followed costs time, a fan costs none."""


class Graph:
    """Nodes that need others, each of which sets a flag of its own.

    Attributes:
        needs: By node, whose flags must have been set before.
        order: The nodes as they are submitted.
        asked: How often is_ready was called in the last run in which it looked at the flags.
    """

    def __init__(self, needs: list[tuple[int, ...]], order: list[int]) -> None:
        self.needs = needs
        self.order = order
        self.asked = 0

    @classmethod
    def of(cls, layers: Layers) -> Self:
        """The graph of P4, submitted in its order."""
        needs = [tuple(need for need in pair if need != NOTHING) for pair in layers.needs]
        return cls(needs, layers.order)

    @classmethod
    def columns(cls, layers: int, width: int, seed: int = 1) -> Self:
        """Layers in which each node needs the one before it in its column, submitted shuffled."""
        needs = [(node - width,) if node >= width else () for node in range(layers * width)]
        order = list(range(len(needs)))
        random.Random(seed).shuffle(order)
        return cls(needs, order)

    async def declared(self) -> float:
        """Run it through a cue that is told what each node needs and makes."""
        needs = self.needs

        async def handler(work: runcue.Work) -> None:
            work.outputs[0].set()

        began = time.perf_counter()
        flags = flags_for(needs)
        cue = cue_with(
            handler,
            inputs=lambda work: [flags[need] for need in needs[work.params["node"]]],
            outputs=lambda work: flags[work.params["node"]],
        )
        await self._run(cue)
        took = time.perf_counter() - began
        assert all(flag.valid() for flag in flags)
        return took

    async def tracked(self) -> float:
        """Run it through a cue that sees nothing but which flags is_ready looks at."""
        needs = self.needs
        asked = 0

        def is_ready(work: runcue.Work) -> bool:
            nonlocal asked
            asked += 1
            return all(flags[need].valid() for need in needs[work.params["node"]])

        async def handler(work: runcue.Work) -> None:
            flags[work.params["node"]].set()

        began = time.perf_counter()
        flags = flags_for(needs)
        cue = cue_with(handler)
        cue.is_ready(is_ready)
        await self._run(cue)
        took = time.perf_counter() - began
        assert all(flag.valid() for flag in flags)
        self.asked = asked
        return took

    async def counted(self) -> tuple[list[int], list[int]]:
        """Run it declared, with a flag of its own for each declaration: flags of one name are one artifact.

        Returns:
            How often each work unit asked each artifact that it needs, and how often the one that it makes.
        """
        needs = self.needs
        inputs: list[CountedFlag] = []
        outputs: list[CountedFlag] = []

        def noted(flags: list[CountedFlag], nodes: Iterable[int]) -> list[CountedFlag]:
            made = [CountedFlag(str(node)) for node in nodes]
            flags += made
            return made

        done: set[int] = set()

        async def handler(work: runcue.Work) -> None:
            assert done.issuperset(needs[work.params["node"]])
            done.add(work.params["node"])
            work.outputs[0].set()

        cue = cue_with(
            handler,
            inputs=lambda work: noted(inputs, needs[work.params["node"]]),
            outputs=lambda work: noted(outputs, (work.params["node"],)),
        )
        await self._run(cue)
        assert len(done) == len(outputs) == len(needs)
        assert len(inputs) == sum(map(len, needs))
        return [flag.asked for flag in inputs], [flag.asked for flag in outputs]

    async def hold(self, look: Callable[[], float]) -> float:
        """Bytes per pending work unit, artifacts included, params subtracted as measured on lone copies."""
        needs = self.needs
        works = len(needs)
        before = look()
        flags = flags_for(needs)
        cue = cue_with(
            never,
            inputs=lambda work: [flags[need] for need in needs[work.params["node"]]],
            outputs=lambda work: flags[work.params["node"]],
        )
        for node in self.order:
            await cue.submit("node", params={"node": node})
        between = look()
        params = [{"node": node} for node in self.order]
        after = look()
        assert len(params) == works
        assert len(await cue.list(limit=works + 1)) == works
        return ((between - before) - (after - between)) / works

    async def _run(self, cue: runcue.Cue) -> None:
        cue.start()
        for node in self.order:
            await cue.submit("node", params={"node": node})
        summary = await cue.drain()
        await cue.stop()
        assert summary.ok
        assert summary.counts["completed"] == len(self.needs)


class CountedFlag(runcue.Flag):
    """A flag that counts how often it is asked.

    Attributes:
        asked: So often.
    """

    __slots__ = ("asked",)

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.asked = 0

    def valid(self) -> bool:
        self.asked += 1
        return super().valid()


async def never(work: runcue.Work) -> None:
    """A handler whose work is only pending."""
    raise AssertionError(work)


def flags_for(needs: list[tuple[int, ...]]) -> list[runcue.Flag]:
    """A flag per node."""
    return [runcue.Flag(str(node)) for node in range(len(needs))]


def cue_with(handler: Callable[..., object], **declared: Callable[[runcue.Work], object]) -> runcue.Cue:
    """A cue with one task, whose work units are nodes."""
    cue = runcue.Cue()
    cue.service("service", concurrent=LIMIT)
    cue.task("node", uses="service", **declared)(handler)
    return cue


def a1(*, quick: bool) -> list[Figure]:
    layers, width = (20, 50) if quick else (100, 1000)
    drawn = Layers(layers, width)
    graph, nodes = Graph.of(drawn), layers * width
    name = f"graph {layers} x {width}, declared"
    inputs, outputs = asyncio.run(graph.counted())
    found = compare(
        lambda: timed(partial(drawn.through_graphlib, nodes)),
        lambda: timed(graph.declared),
    )
    beside = "graphlib, needs asked once"
    return [
        value("A1", f"{name}: asks of an artifact by a work that needs it, most", 2, [max(inputs)], "asks"),
        value("A1", f"{name}: the same, mean", None, [sum(inputs) / len(inputs)], "asks"),
        value("A1", f"{name}: asks of what a work makes, most", None, [max(outputs)], "asks"),
        value("A1", f"{name}: the same, mean", None, [sum(outputs) / len(outputs)], "asks"),
        compared("A1", name, 2.0, found, scale=1e6 / nodes, each="µs per work", beside=beside),
    ]


def a2(*, quick: bool) -> list[Figure]:
    layers, width = (20, 50) if quick else (100, 1000)
    drawn = Layers(layers, width)
    graph, nodes = Graph.of(drawn), layers * width
    name = f"graph {layers} x {width}, is_ready looks at flags"
    asked: list[float] = []

    def ours() -> float:
        took = timed(graph.tracked)
        asked.append(graph.asked / nodes)
        return took

    found = compare(lambda: timed(partial(drawn.through_graphlib, nodes)), ours)
    beside = "graphlib, needs asked once"
    return [
        value("A2", f"{name}: is_ready calls per work", 3.2, asked[1:], "calls"),
        compared("A2", name, 2.5, found, scale=1e6 / nodes, each="µs per work", beside=beside),
    ]


def per_work(layers: int, width: int, *, columns: bool, collecting: bool) -> float:
    """Seconds per work of a graph that declares; in columns, or that of A1."""
    graph = Graph.columns(layers, width) if columns else Graph.of(Layers(layers, width))
    gc.collect()
    if not collecting:
        gc.disable()
    try:
        return asyncio.run(graph.declared()) / layers / width
    finally:
        gc.enable()


def bytes_resident(layers: int, width: int) -> float:
    graph = Graph.columns(layers, width)
    gc.collect()
    return asyncio.run(graph.hold(resident))


def bytes_traced(layers: int, width: int) -> float:
    graph = Graph.columns(layers, width)
    tracemalloc.start()
    try:
        return asyncio.run(graph.hold(traced))
    finally:
        tracemalloc.stop()


def a3(*, quick: bool) -> list[Figure]:
    (layers, width), few = ((40, 100), (20, 50)) if quick else ((1000, 1000), (100, 1000))
    figures = []
    for collecting, reach in ((True, 1.3), (False, None)):
        # Each in a process of its own: a heap that a million work units have left behind slows whatever comes after.
        found = compare(
            partial(in_new_process, partial(per_work, *few, columns=False, collecting=collecting)),
            partial(in_new_process, partial(per_work, layers, width, columns=True, collecting=collecting)),
            rounds=2 if quick else 3,
        )
        name = f"{layers} x {width} in columns, declared, garbage collector {'on' if collecting else 'off'}"
        beside = f"the graph of A1, {few[0]} x {few[1]}"
        figures.append(compared("A3", name, reach, found, scale=1e6, each="µs per work", beside=beside))
    kinds = [("tracemalloc", bytes_traced, min(layers, 200))]
    if Path("/proc/self/status").exists():
        kinds.append(("resident memory", bytes_resident, layers))
    for kind, measure, height in kinds:
        measured = [in_new_process(measure, height, width) for _ in range(1 if quick else 2)]
        name = f"memory per pending work of {height * width:,}, artifacts included ({kind})"
        figures.append(value("A3", name, 1500, measured, "bytes"))
    return figures


async def why(works: int, samples: int) -> dict[str, list[float]]:
    """Seconds that it takes to say why a work unit does not run.

    They are a chain of at most `DEEP` and a fan; both are held by one root, and that waits for the only slot.
    """
    root = runcue.Flag("root")
    taken, free = asyncio.Event(), asyncio.Event()

    async def take_the_slot(work: runcue.Work) -> None:
        taken.set()
        await free.wait()

    async def set_it(work: runcue.Work) -> None:
        work.outputs[0].set()

    cue = runcue.Cue()
    cue.service("service", concurrent=1)
    cue.task("hog", uses="service")(take_the_slot)
    cue.task("node", uses="service")(set_it)
    cue.start()
    await cue.submit("hog")
    await taken.wait()
    first = await cue.submit("node", outputs=root)
    chain = []
    before = root
    depth = min(works // 2, DEEP)
    for number in range(depth):
        flag = runcue.Flag(f"chain {number}")
        chain.append(await cue.submit("node", inputs=before, outputs=flag))
        before = flag
    for number in range(works - depth):
        widest = await cue.submit("node", inputs=root, outputs=runcue.Flag(f"fan {number}"))
    # Until all have been asked and put aside, of which a cue tells nobody.
    while len(cue.debug_blocked()) < works + 1:  # noqa: ASYNC110
        await asyncio.sleep(0.1)
    asked = {
        "the root": (first, "slot"),
        "one of the fan": (widest, "slot"),
        f"the end of a chain of {depth:,}": (chain[-1], "slot"),
    }
    measured: dict[str, list[float]] = {where: [] for where in asked}
    for counts in (False, *[True] * samples):
        for where, (work_id, reason) in asked.items():
            await asyncio.sleep(0)
            began = time.perf_counter()
            said = str(cue.why(work_id))
            took = time.perf_counter() - began
            assert reason in said
            if counts:
                measured[where].append(took)
    free.set()
    summary = await cue.drain()
    await cue.stop()
    assert summary.ok
    assert summary.counts["completed"] == works + 2
    return measured


def a5(*, quick: bool) -> list[Figure]:
    works, samples = (2_000, 5) if quick else (100_000, 50)
    return [
        value("A5", f"why of {where}, {works:,} pending", 5, [1e3 * one for one in measured], "ms")
        for where, measured in asyncio.run(why(works, samples)).items()
    ]
