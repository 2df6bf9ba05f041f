"""Folders and what is in them, in programs of any kind: all that can end does, and nobody runs who had to wait.

What the rules say of who has to wait for whom is written down once more below, plainly and for all pairs.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

import runcue
from tests.support.worlds import GuardedLoop

pytestmark = [pytest.mark.rule(27), pytest.mark.rule(28)]

FOLDERS = ["a", "a/b", "a/b/c", "d"]
FILES = [f"{folder}/{name}" for folder in FOLDERS for name in ("x.txt", "y.txt")] + ["x.txt"]


class Spec(NamedTuple):
    """One work unit: what it needs and makes, how long it takes, and whether it comes later than the others."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    seconds: int
    later: bool


def names(most: int) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.sampled_from(FOLDERS + FILES), max_size=most, unique=True).map(tuple)


specs = st.lists(
    st.builds(Spec, names(2), names(2), st.integers(1, 3), st.booleans()), min_size=2, max_size=7
)


def inside(one: str, folder: str) -> bool:
    return one.startswith(folder + "/")


class Model:
    """The rules, for all pairs of the work units that were taken in, by number."""

    def __init__(self, works: list[Spec]) -> None:
        self.works = works
        every = range(len(works))
        self.needs = {one: [other for other in every if self._needs(one, other)] for one in every}
        may = {one: {*self.needs[one], *self._fillers(one)} for one in every}
        self.reaches = {one: self._closure(one, may) for one in every}
        hard = {one: {*self.needs[one]} for one in every}
        self.stuck = {one for one in every if one in self._closure(one, hard)}
        self.stuck |= {one for one in every if self._closure(one, hard) & self.stuck}

    def _needs(self, one: int, other: int) -> bool:
        """By its inputs: the very artifact, or a folder around it. What it makes itself it does not wait for."""
        return other != one and any(
            i == o or inside(i, o) for i in self.works[one].inputs for o in self.works[other].outputs
        )

    def _fillers(self, one: int) -> Iterator[int]:
        """Who makes something in the folders that it reads."""
        for other, spec in enumerate(self.works):
            if other != one and any(inside(o, i) for i in self.works[one].inputs for o in spec.outputs):
                yield other

    @staticmethod
    def _closure(start: int, edges: dict[int, set[int]]) -> set[int]:
        found: set[int] = set()
        line = [start]
        while line:
            new = edges[line.pop()] - found
            found |= new
            line += new
        return found

    def _reads(self, one: int, folder: str) -> bool:
        return any(i == folder or inside(folder, i) for i in self.works[one].inputs)

    def had_to_wait(self, reader: int, maker: int) -> bool:
        """Whether a reader of a folder should have waited for a maker of something in it."""
        for folder in self.works[reader].inputs:
            if not any(inside(o, folder) for o in self.works[maker].outputs):
                continue
            bound = any(self._reads(one, folder) for one in {maker, *self.reaches[maker]})
            if not bound:
                return True
            fills = any(inside(o, folder) for o in self.works[reader].outputs)
            if maker < reader and not fills and reader not in self.reaches[maker]:
                return True
        return False

    def overlap(self, one: int, other: int) -> bool:
        return any(
            a == b or inside(a, b) or inside(b, a)
            for a in self.works[one].outputs
            for b in self.works[other].outputs
        )


async def _run(programs: list[Spec], slots: int) -> tuple[list[Spec], list[Any], list[Any]]:
    cue = runcue.Cue(id_prefix="")
    cue.service("slots", concurrent=slots)
    taken: list[Spec] = []
    numbers: dict[str, int] = {}
    unsettled: dict[int, None] = {}
    running: list[int] = []
    starts: list[tuple[int, list[int], list[int]]] = []

    @cue.task("t", uses="slots", fresh=None)
    async def t(work: runcue.Work) -> None:
        me = numbers[work.id]
        starts.append((me, [*unsettled], [*running]))
        running.append(me)
        await asyncio.sleep(work.params["seconds"])
        running.remove(me)

    @cue.on_complete
    def ended(work: runcue.Work, *_: Any) -> None:
        unsettled.pop(numbers[work.id], None)

    async def submit(spec: Spec) -> None:
        number = len(taken)
        made = {output for one in unsettled for output in taken[one].outputs}
        if made & {*spec.outputs}:
            return  # one producer at a time
        handle = await cue.submit(
            "t",
            params={"seconds": spec.seconds, "number": number},
            inputs=spec.inputs,
            outputs=spec.outputs,
            force=True,
        )
        numbers[handle] = number
        taken.append(spec)
        unsettled[number] = None

    async with cue:
        for spec in programs:
            if not spec.later:
                await submit(spec)
        await asyncio.sleep(1.5)
        for spec in programs:
            if spec.later:
                await submit(spec)
        summary = await cue.drain()
        blocked = [numbers[one["work"].id] for one in summary.blocked]
        for one in blocked:
            assert cue.why(str(next(handle for handle, number in numbers.items() if number == one))).verdict
    return taken, starts, blocked


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(specs, st.integers(1, 4))
def test_everything_ends_and_nobody_runs_who_had_to_wait(
    tmp_path_factory: pytest.TempPathFactory, programs: list[Spec], slots: int
) -> None:
    root = tmp_path_factory.getbasetemp() / "folders"
    for name in FOLDERS:
        (root / name).mkdir(parents=True, exist_ok=True)
    for name in FILES:
        (root / name).touch()
    before = Path.cwd()
    os.chdir(root)
    try:
        with asyncio.Runner(loop_factory=GuardedLoop) as runner:
            taken, starts, blocked = runner.run(_run(programs, slots))
    finally:
        os.chdir(before)
    model = Model(taken)
    assert {*blocked} <= model.stuck, "nobody hangs by a folder alone"
    event(f"blocked: {bool(blocked)}")
    for me, unsettled, running in starts:
        for other in unsettled:
            if other == me:
                continue
            event(f"needs: {other in model.needs[me]}")
            assert other not in model.needs[me], (me, other, taken)
            waits = model.had_to_wait(me, other)
            # One that can never run holds nobody up for ever.
            assert not waits or other in model.stuck, (me, other, taken)
        for other in running:
            assert not model.overlap(me, other), (me, other, taken)
