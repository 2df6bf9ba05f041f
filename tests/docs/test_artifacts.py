"""docs/artifacts.md tells the truth: its programs run as written, and its tables say what happens.

The tables are read from the page. A row that nobody tries here fails the test, and so does a cell that says otherwise
than what was seen.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest

import runcue
from tests.docs.test_readme import LANGUAGES, ROOT, Block, blocks, run_block

PAGE = ROOT / "docs" / "artifacts.md"
PYTHON = [block for block in blocks(PAGE) if block.language == "python"]
NOBODY = object()


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, logger="runcue")


def output_said(block: Block) -> str:
    """What the page says that a program prints: the blocks after it, up to the next program."""
    page = blocks(PAGE)
    after = page[page.index(block) + 1 :]
    return "".join(one.body for one in takewhile(lambda one: one.language != "python", after))


def without_trifles(text: str) -> str:
    """What is printed without times, counts of askings and colours."""
    return re.sub(r"\d+(\.\d+)? s\b|, found not ready \d+ times?| *classDef .*", "", text).strip()


@pytest.mark.parametrize("block", PYTHON, ids=lambda block: f"line{block.line}")
def test_a_program_of_the_page_runs_as_written_and_prints_what_is_said(block: Block, tmp_path: Path) -> None:
    printed = run_block(PAGE, block, tmp_path)
    said = output_said(block)
    assert not said or without_trifles(printed) == without_trifles(said)
    comments = re.findall(r"^ +print\(.*\)  # (.*)$", block.body, re.MULTILINE)
    assert [comment for comment in comments if comment not in printed] == []


def test_the_page_has_the_three_storage_examples_and_no_block_escapes_by_its_name() -> None:
    assert {block.language for block in blocks(PAGE)} <= LANGUAGES
    programs = "\n".join(block.body for block in PYTHON)
    assert all(word in programs for word in ("sqlite3", "do_PUT", "count_of"))


def table(first_cell: str) -> dict[str, list[str]]:
    """The table of the page whose header begins with this: its rows, by what stands in front of the last cells."""
    lines = iter(PAGE.read_text(encoding="utf-8").splitlines())
    rows: list[list[str]] = []
    for line in lines:
        if line.startswith(f"| {first_cell} |".replace("|  |", "| |")):
            next(lines)
            for row in lines:
                if not row.startswith("|"):
                    break
                rows.append([cell.strip() for cell in row.strip("|").split("|")])
    assert rows, first_cell
    return (
        {row[0]: row[1:] for row in rows}
        if not first_cell
        else {" | ".join(row[:2]): row[2:] for row in rows}
    )


class World:
    """One work that makes `out` from `in`, in a folder of its own."""

    def __init__(self, folder: Path, fresh: Any = NOBODY) -> None:
        self.source, self.target = folder / "in", folder / "out"
        self.inputs: Any = self.source
        self.outputs: Any = self.target
        self.options: dict[str, Any] = {} if fresh is NOBODY else {"fresh": fresh}
        self.params: dict[str, Any] = {}
        self.force = False
        self.decorate: Callable[[Any], Any] = lambda make: make
        self.gates: dict[str, bool] = {}
        self.producer: Callable[[runcue.Work], Any] | None = None
        self.while_running: Callable[[], object] = lambda: None

    def put(self, path: Path, content: str = "old", *, age: float) -> None:
        path.write_text(content)
        then = time.time() - age
        os.utime(path, (then, then))

    async def run(self) -> str:
        """Returns "runs", "is skipped" or "waits", in the words of the page."""
        ran: list[str] = []
        cue = runcue.Cue()

        async def make(work: runcue.Work) -> None:
            ran.append(work.id)
            self.while_running()
            self.target.write_text("new")

        cue.task("make", inputs=self.inputs, outputs=self.outputs, **self.options)(self.decorate(make))
        if self.producer is not None:
            cue.task("maker", outputs=self.source)(self.producer)
        if "ready" in self.gates:
            cue.is_ready(task="make")(lambda work: self.gates["ready"])
        if "stale" in self.gates:
            cue.is_stale(task="make")(lambda work: self.gates["stale"])
        async with cue:
            handle = await cue.submit("make", params=self.params, force=self.force)
            if self.producer is not None:
                await cue.submit("maker", force=True)
            await cue.drain()
            if handle.work.state is runcue.WorkState.PENDING:
                return "waits"
        return "runs" if ran else "is skipped"

    def now(self) -> str:
        return asyncio.run(self.run())


def no_input(world: World) -> None:
    world.put(world.target, age=5)


def being_made(world: World) -> None:
    async def producer(work: runcue.Work) -> None:
        world.source.write_text("made")

    world.put(world.source, age=10)
    world.put(world.target, age=5)
    world.producer = producer


def no_output(world: World) -> None:
    world.put(world.source, age=10)


def too_old(world: World) -> None:
    up_to_date(world)
    world.outputs = runcue.File(world.target, max_age=1)


def out_of_date(world: World) -> None:
    world.put(world.source, age=5)
    world.put(world.target, age=10)


def up_to_date(world: World) -> None:
    world.put(world.source, age=10)
    world.put(world.target, age=5)


def forced(world: World) -> None:
    up_to_date(world)
    world.force = True


def no_inputs_declared(world: World) -> None:
    up_to_date(world)
    world.inputs = None


def no_outputs_declared(world: World) -> None:
    up_to_date(world)
    world.outputs = None


WORKS = {
    "one will be made by a pending or running work unit | any": (being_made, "runs"),  # after it has waited
    "one is missing or not valid, and nobody makes it | any": (no_input, "waits"),
    "all valid | one is missing, older than its `max_age`, or refused by `validate`": (too_old, "runs"),
    "all valid | all valid, one out of date by the freshness policy": (out_of_date, "runs"),
    "all valid | all valid and fresh": (up_to_date, "is skipped"),
    "all valid | any, with `submit(..., force=True)`": (forced, "runs"),
    "none declared | all valid": (no_inputs_declared, "is skipped"),
    "all valid, or none | none declared": (no_outputs_declared, "runs"),
}


@pytest.mark.rule(27)
@pytest.mark.parametrize("row", WORKS)
def test_what_happens_to_a_work_is_what_the_table_says(row: str, tmp_path: Path) -> None:
    said = table("inputs")
    assert said.keys() == WORKS.keys()
    world = World(tmp_path)
    arrange, outcome = WORKS[row]
    arrange(world)
    assert world.now() == outcome
    assert said[row][0].startswith("waits" if arrange is being_made else outcome)


def test_an_output_that_is_missing_is_made(tmp_path: Path) -> None:
    world = World(tmp_path)
    no_output(world)
    assert world.now() == "runs"


GATES: dict[str, tuple[Callable[[World], None], dict[str, bool]]] = {
    "ready | `is_ready` says no": (no_output, {"ready": False}),
    "not ready | not asked": (no_input, {"ready": True}),
    "stale | `is_stale` says no": (no_output, {"stale": False}),
    "fresh | not asked": (up_to_date, {"stale": True}),
    "stale | `is_stale` says yes": (no_output, {"stale": True}),
    "forced | not asked": (forced, {"stale": False}),
}


@pytest.mark.parametrize("row", GATES)
def test_declared_artifacts_and_callbacks_must_both_say_yes_as_the_table_says(
    row: str, tmp_path: Path
) -> None:
    said = table("declared")
    assert said.keys() == GATES.keys()
    world = World(tmp_path)
    arrange, world.gates = GATES[row]
    arrange(world)
    assert world.now() == said[row][0]


def touched(world: World) -> None:
    os.utime(world.source)


def another_status(world: World) -> None:
    """Whatever changes nothing but the time of the last change of its status."""
    world.source.chmod(0o600)
    also = world.source.with_name("also")
    os.link(world.source, also)
    world.source.rename(also.with_name("away")).rename(world.source)


def older_one(world: World) -> None:
    world.put(world.source, "another", age=10_000)


def other_params(world: World) -> None:
    world.params = {"size": 2}


def other_code(world: World) -> None:
    world.decorate = partial


def another_input(world: World) -> None:
    older = world.source.with_name("also")
    world.put(older, age=10_000)
    world.inputs = [world.source, older]


def output_changed(world: World) -> None:
    world.target.write_text("by hand")


def same_result(world: World) -> None:
    world.source.write_text(world.source.read_text())


def changed_meanwhile(world: World) -> None:
    """The next run is disturbed; what is looked at is the one after that."""
    world.force = True
    world.while_running = lambda: world.source.write_text("changed meanwhile")
    assert world.now() == "runs"
    world.force = False
    world.while_running = lambda: None


def same_time(world: World) -> None:
    status = world.source.stat()
    os.utime(world.target, ns=(status.st_atime_ns, status.st_mtime_ns))


def from_the_future(world: World) -> None:
    world.put(world.target, world.target.read_text(), age=-3600)


# What is seen, as the beginning of the cell: for newer(), digest() and None.
FRESHNESS = {
    "input touched, same content": touched,
    "other rights, one more hard link, moved away and back": another_status,
    "input replaced by an older one": older_one,
    "other params": other_params,
    "other code of the handler": other_code,
    "input added or taken away": another_input,
    "output changed by hand": output_changed,
    "upstream ran again, same result": same_result,
    "both have the same time": same_time,
    "output or input dated in the future, by more than 0.1 s": from_the_future,
    "input changed while the handler ran": changed_meanwhile,
}
MEANS = {
    "runs": ("runs", "out of date"),
    "is skipped": ("skips", "does not matter", "not noticed", "an added one, if it is newer"),
}


def cells() -> Iterator[Any]:
    for row in FRESHNESS:
        for column, policy in enumerate((runcue.newer(), runcue.digest(), None)):
            yield pytest.param(row, column, policy, id=f"{row}, {policy}")


@pytest.mark.parametrize(("row", "column", "policy"), list(cells()))
def test_a_freshness_policy_does_what_the_table_says(
    row: str, column: int, policy: Any, tmp_path: Path
) -> None:
    said = table("")
    assert said.keys() == FRESHNESS.keys()
    world = World(tmp_path, policy)
    world.put(world.source, age=10)
    assert world.now() == "runs"
    assert world.now() == "is skipped"
    FRESHNESS[row](world)
    assert said[row][column].startswith(MEANS[world.now()])
