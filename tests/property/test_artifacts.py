"""Declared artifacts on random graphs: who waits for whom, who joins whom, and what a second run runs.

Every work makes one or two artifacts and needs some of those with lower numbers. They are submitted in any order, some
of them several times, some by force; handlers fail, forget their outputs and are cancelled. Nothing is rechecked, so a
wake-up that is lost leaves a work pending that could run.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

import runcue
from runcue.testing import FakeExecutor
from tests.support.worlds import SECONDS, ServicePlan, TaskPlan, orders, seconds, services, tasks, virtually

OUTSIDE = -1  # the artifact that nobody here makes
PENDING = {runcue.WorkState.PENDING, runcue.WorkState.RUNNING}

short = st.sampled_from(SECONDS[:8])


class Row(runcue.Artifact):
    """An artifact that tells nobody when it changes."""

    def __init__(self, store: dict[str, int], name: str) -> None:
        self._store = store
        self.name = name

    def valid(self) -> bool:
        return self.name in self._store

    def version(self) -> int | None:
        return self._store.get(self.name)


class Node(NamedTuple):
    """What makes one or two artifacts.

    Attributes:
        kind: Of its artifacts.
        several: It makes two.
        needs: Numbers of others, all lower; `OUTSIDE` too.
        task: Taken modulo the number of tasks.
        pauses: Of its handler.
        fails: Its handler raises, or returns without its output.
        gate: An async gate that takes so long and says yes.
        there: Its artifacts are there from the beginning.
    """

    kind: Literal["flag", "row", "file"]
    several: bool
    needs: frozenset[int]
    task: int
    pauses: tuple[float, ...]
    fails: Literal["raises", "forgets"] | None
    gate: tuple[Literal["ready", "stale"], float] | None
    there: bool


class Submission(NamedTuple):
    """One submission, so long after the former one (None: in the same step), cancelled so long after that."""

    number: int
    after: float | None
    force: bool
    cancelled_after: float | None


class Graph(NamedTuple):
    services: list[ServicePlan]
    tasks: list[TaskPlan]
    nodes: list[Node]
    submissions: list[Submission]
    outside_after: float | None
    """When the artifact from outside appears; None: it is there."""
    priorities: bool


def rarely(what: Any, often: Any = None) -> st.SearchStrategy[Any]:
    return st.sampled_from((often,) * 7 + (what,))


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    some = draw(st.lists(services(), min_size=1, max_size=2))
    gates = draw(
        st.sampled_from((st.none(), st.none() | st.tuples(st.sampled_from(("ready", "stale")), short)))
    )
    kinds = draw(st.lists(st.sampled_from(("flag", "row", "file")), min_size=1, max_size=3))
    nodes = [
        Node(
            kind=draw(st.sampled_from(kinds)),
            several=draw(st.booleans()),
            needs=draw(st.frozensets(st.integers(-1, number - 1), max_size=3)),
            task=draw(st.integers(0, 3)),
            pauses=draw(st.lists(seconds, max_size=2).map(tuple)),
            fails=draw(rarely("raises") | rarely("forgets")),
            gate=draw(gates),
            there=draw(st.booleans()),
        )
        for number in range(draw(st.integers(1, 9)))
    ]
    numbers = draw(st.permutations(range(len(nodes))))
    numbers += draw(st.lists(st.integers(0, len(nodes) - 1), max_size=8))
    afters = draw(st.sampled_from((st.none(), st.none() | seconds)))
    cancels = draw(st.sampled_from((st.none(), st.none() | seconds)))
    submissions = [
        Submission(number, draw(afters), draw(rarely(what=True, often=False)), draw(cancels))
        for number in numbers
    ]
    return Graph(
        some,
        draw(st.lists(tasks(len(some)), min_size=1, max_size=4)),
        nodes,
        submissions,
        draw(st.none() | seconds),
        draw(st.booleans()),
    )


class World:
    """A graph with its artifacts, its cue, and what went wrong in it."""

    def __init__(self, graph: Graph, folder: str) -> None:
        self.graph = graph
        self.healthy = False
        self.wrong: list[str] = []
        self.started: list[int] = []
        self.events: dict[str, list[str]] = {}
        self.handles: list[runcue.WorkHandle] = []
        # What the inputs of each handler were when it began, and whose files were made while an input changed.
        self._read: dict[int, list[Any]] = {}
        self._outdated: set[int] = set()
        self._store: dict[str, int] = {}
        self.artifacts: dict[int, list[runcue.Artifact]] = {OUTSIDE: [runcue.Flag("outside")]}
        for number, node in enumerate(graph.nodes):
            names = [f"{number}", f"{number}b"][: 1 + node.several]
            kinds: dict[str, Callable[[str], runcue.Artifact]] = {
                "flag": runcue.Flag,
                "row": lambda name: Row(self._store, name),
                "file": lambda name: runcue.File(f"{folder}/{name}"),
            }
            make = kinds[node.kind]
            self.artifacts[number] = [make(name) for name in names]

    def needs(self, number: int) -> list[runcue.Artifact]:
        return [artifact for need in sorted(self.node(number).needs) for artifact in self.artifacts[need]]

    def node(self, number: int) -> Node:
        return self.graph.nodes[number]

    def make(self, number: int, work: runcue.Work | None = None) -> None:
        for artifact in self.artifacts[number]:
            if isinstance(artifact, runcue.Flag):
                artifact.set()
            elif isinstance(artifact, Row):
                self._store[artifact.name] = max(time.time_ns(), self._store.get(artifact.name, 0) + 1)
            elif work is not None:
                assert isinstance(artifact, runcue.File)
                with work.write(artifact, durable=False) as file:
                    file.write("made")
            else:
                runcue.atomic_write(artifact, "was there", durable=False)  # type: ignore[arg-type]

    def finish(self, work: runcue.Work) -> int:
        number: int = work.params["number"]
        fails = None if self.healthy else self.node(number).fails
        if fails == "raises":
            raise ValueError("on purpose")
        if fails is None and not work.cancelled:
            if self.versions(number) == self._read[number]:
                self._outdated.discard(number)
            else:
                self._outdated.add(number)
            self.make(number, work)
        return number

    def versions(self, number: int) -> list[Any]:
        return [artifact.version() for artifact in self.needs(number)]

    def cue(self) -> runcue.Cue:
        def lasts(work: runcue.Work) -> float:
            return sum(self.node(work.params["number"]).pauses)

        cue = runcue.Cue(run_in=FakeExecutor(lasts), id_prefix="", recheck=False)
        for number, service in enumerate(self.graph.services):
            cue.service(str(number), rate=service.rate, burst=service.burst, concurrent=service.concurrent)
        for number, task in enumerate(self.graph.tasks):
            uses = [str(service) for service in task.uses]
            if task.is_async:

                async def handler(work: runcue.Work) -> int:
                    for pause in self.node(work.params["number"]).pauses:
                        await asyncio.sleep(pause)
                    return self.finish(work)

            else:

                def handler(work: runcue.Work) -> int:  # type: ignore[misc]
                    return self.finish(work)

            cue.task(str(number), uses=uses)(handler)
        if any(node.gate for node in self.graph.nodes):
            cue.is_ready(lambda work: self.slowly(work, "ready"))
            cue.is_stale(lambda work: self.slowly(work, "stale"))
        if self.graph.priorities:
            cue.priority(lambda ctx: ctx.work.params["number"] / 10)
        cue.on_start(self.on_start)
        cue.on_complete(lambda work, result, duration: self.on_end(work, "complete"))
        cue.on_failure(lambda work, error: self.on_end(work, "failure"))
        cue.on_skip(lambda work: self.on_end(work, "skip"))
        cue.on_cancel(lambda work: self.on_end(work, "cancel"))
        return cue

    def slowly(self, work: runcue.Work, question: str) -> Any:
        gate = self.node(work.params["number"]).gate
        if gate is None or gate[0] != question:
            return True

        async def yes() -> bool:
            await asyncio.sleep(gate[1])
            return True

        return yes()

    def on_start(self, work: runcue.Work) -> None:
        number = work.params["number"]
        self.started.append(number)
        self._read[number] = self.versions(number)
        self.events.setdefault(work.id, []).append("start")
        for artifact in work.inputs:
            if not artifact.valid():
                self.wrong.append(f"{work.id} ({number}) was started, and its input {artifact} is not valid")
        keys = {artifact.identity() for artifact in work.inputs}
        for handle in self.handles:
            other = handle.work
            if other is work or other.state not in PENDING:
                continue
            if not keys.isdisjoint(artifact.identity() for artifact in other.outputs):
                self.wrong.append(
                    f"{work.id} ({number}) was started, and {other} is about to make one of its inputs"
                )
            if other.params == work.params and other._declared.leader is not work:  # type: ignore[union-attr]
                self.wrong.append(f"{work.id} ({number}) was started, and {other} makes the same")
        if not work._declared.forced and self.is_up_to_date(number):  # type: ignore[union-attr]
            self.wrong.append(f"{work.id} ({number}) was started, and is up to date")

    def is_up_to_date(self, number: int) -> bool:
        outputs = self.artifacts[number]
        if not all(artifact.valid() for artifact in outputs):
            return False
        if self.node(number).kind == "file" and number in self._outdated:
            return False  # whatever the dates, as a mark says
        newest = max((artifact.version() for artifact in self.needs(number)), default=0)
        return all(artifact.version() > newest for artifact in outputs)

    def on_end(self, work: runcue.Work, what: str) -> None:
        self.events.setdefault(work.id, []).append(what)

    async def submit(self, cue: runcue.Cue, number: int, *, force: bool = False) -> runcue.WorkHandle:
        handle = await cue.submit(
            str(self.node(number).task % len(self.graph.tasks)),
            params={"number": number},
            inputs=self.needs(number),
            outputs=self.artifacts[number],
            force=force,
        )
        self.handles.append(handle)
        return handle

    async def run(self, cue: runcue.Cue, numbers: Iterable[int]) -> list[int]:
        """Submit all of these at once and let them end. Returns which were started."""
        self.started.clear()
        handles = [await self.submit(cue, number) for number in numbers]
        summary = await cue.drain()
        assert not summary.blocked, summary.blocked
        for handle in handles:
            assert handle.work.state is runcue.WorkState.COMPLETED, (handle.work, handle.work.error)
        return sorted(self.started)

    def downstream(self, touched: set[int]) -> list[int]:
        """Who reads what was touched, or what those make."""
        found: set[int] = set()
        for number, node in enumerate(self.graph.nodes):  # needs point to lower numbers
            if not node.needs.isdisjoint(touched | found):
                found.add(number)
        return sorted(found)

    def check_that_the_blocked_cannot_run(self) -> None:
        """Each pending work lacks an input, or waits for one that is pending itself."""
        pending = {handle.work.params["number"] for handle in self.handles if handle.work.state in PENDING}
        for handle in self.handles:
            assert handle.work.state is not runcue.WorkState.RUNNING
            if handle.work.state is runcue.WorkState.PENDING:
                number = handle.work.params["number"]
                lacks = [artifact for artifact in self.needs(number) if not artifact.valid()]
                assert lacks or not self.node(number).needs.isdisjoint(pending), f"{handle.work} could run"

    def check_the_events(self) -> None:
        assert not self.wrong, self.wrong
        for handle in self.handles:
            heard = self.events.get(handle, [])
            ends = [what for what in heard if what != "start"]
            assert len(ends) == 1, (handle.work, heard)
            assert heard[-1] == ends[0], (handle.work, heard)
            assert Counter(heard)["start"] <= 1, (handle.work, heard)


@pytest.mark.rule(2, 16, 27, 28)
@given(graphs(), st.data(), orders)
def test_whatever_the_order_readers_wait_for_makers_and_a_second_run_runs_what_is_out_of_date(
    graph: Graph, data: st.DataObject, order: int | None
) -> None:
    every = range(len(graph.nodes))
    second, third, fourth = (data.draw(st.permutations(every)) for _ in range(3))
    told = [OUTSIDE, *(number for number in every if graph.nodes[number].kind != "file")]
    touched = data.draw(st.sets(st.sampled_from(told), max_size=2))

    async def main(world: World) -> None:
        cue = world.cue()
        cue.start()
        for artifact in (one for several in world.artifacts.values() for one in several):
            if isinstance(artifact, runcue.Flag):
                artifact.share(cue._dispatcher.flags)
        if graph.outside_after is None:
            world.make(OUTSIDE)
        else:
            asyncio.get_running_loop().call_later(graph.outside_after, world.make, OUTSIDE)
        for number in every:
            if graph.nodes[number].there:
                world.make(number)
        for one in graph.submissions:
            if one.after is not None:
                await asyncio.sleep(one.after)
            handle = await world.submit(cue, one.number, force=one.force)
            if one.cancelled_after is not None:
                asyncio.get_running_loop().call_later(
                    one.cancelled_after, cue._dispatcher.settlement.cancel, handle.work
                )
        await cue.drain()
        await asyncio.sleep(100)  # the longest time after which something is cancelled or appears
        await cue.drain()
        world.check_that_the_blocked_cannot_run()
        for handle in world.handles:
            await cue.cancel(handle)
        await cue.drain()

        # From here on everything goes well.
        world.healthy = True
        world.make(OUTSIDE)
        await world.run(cue, second)
        assert await world.run(cue, third) == [], "all was up to date"
        for number in sorted(touched, reverse=True):  # what is upstream is the newer
            world.make(number)
        ran = await world.run(cue, fourth)
        assert ran == world.downstream(touched)
        await cue.stop()
        event(f"ran after a touch: {bool(ran)}")

    with tempfile.TemporaryDirectory() as folder:
        world = World(graph, folder)
        virtually(lambda: main(world), order)
        world.check_the_events()
        marks = Path(folder, ".runcue-marks")
        assert [path for path in Path(folder).iterdir() if path.name.startswith(".runcue-")] in ([], [marks])
        # Who gave up before it wrote anything may have left a mark, unless the file was made too soon before that.
        for mark in marks.rglob("*"):
            assert (mark.suffix, Path(folder, mark.stem).read_text()) == (".mark", "was there")
