"""`Cue(order="depth")`: what was begun is finished first."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

import runcue
from runcue import Flag
from tests.support.virtual_time import there, virtual

pytestmark = pytest.mark.rule(53)


def chains(order: Any, **options: Any) -> tuple[runcue.Cue, list[str]]:
    """A cue with one slot, in which each chain has three steps, and the order in which they begin."""
    cue = runcue.Cue(order=order, **options)
    cue.service("one", concurrent=1)
    begun: list[str] = []

    def flags(step: int, name: str) -> Any:
        return [Flag(f"{step}{name}")] if step else ()

    @cue.task(
        "step",
        uses="one",
        inputs=lambda step, name: flags(step - 1, name),
        outputs=lambda step, name: flags(step, name),
    )
    async def step(step: int, name: str) -> None:
        begun.append(f"{step}{name}")
        await asyncio.sleep(1)
        Flag(f"{step}{name}").set()

    return cue, begun


@pytest.mark.parametrize("prioritised", [False, True])
@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("submission", ["1a", "1b", "1c", "2a", "2b", "2c", "3a", "3b", "3c"]),
        ("depth", ["1a", "2a", "3a", "1b", "2b", "3b", "1c", "2c", "3c"]),
    ],
)
@virtual
async def test_a_chain_that_was_begun_is_finished_first(
    order: str, expected: list[str], prioritised: bool
) -> None:
    cue, begun = chains(order)
    if prioritised:
        cue.priority(lambda context: 0.5)
    async with cue:
        for step in (1, 2, 3):
            for name in "abc":
                await cue.submit("step", {"step": step, "name": name})
    assert begun == expected


@virtual
@pytest.mark.rule(6)
async def test_a_priority_counts_from_there() -> None:
    cue, begun = chains("depth", head_start=None)
    async with cue:
        for step in (1, 2, 3):
            for name in "abc":
                await cue.submit("step", {"step": step, "name": name}, priority=0.9 if name == "c" else None)
    assert begun == ["1c", "2c", "3c", "1a", "2a", "3a", "1b", "2b", "3b"]


@virtual
async def test_what_is_submitted_when_its_maker_has_ended_counts_from_that_one() -> None:
    cue, begun = chains("depth")

    @cue.on_complete
    async def go_on(work: runcue.Work, result: Any, duration: float) -> None:
        if work.params["step"] < 3:
            await cue.submit("step", {"step": work.params["step"] + 1, "name": work.params["name"]})

    async with cue:
        for name in "abc":
            await cue.submit("step", {"step": 1, "name": name})
        await asyncio.sleep(5)
    assert begun == ["1a", "2a", "3a", "1b", "2b", "3b", "1c", "2c", "3c"]


@virtual
async def test_those_that_are_submitted_before_their_makers_count_from_the_oldest_of_all() -> None:
    cue, begun = chains("depth")
    async with cue:
        for step in (3, 2, 1):
            for name in "ab":
                await cue.submit("step", {"step": step, "name": name})
    assert begun == ["1a", "2a", "3a", "1b", "2b", "3b"]


@virtual
async def test_what_was_found_up_to_date_counts_as_a_maker() -> None:
    cue, begun = chains("depth")
    async with cue:
        there(cue, Flag("1b"))
        for step, name in ((1, "b"), (1, "a"), (1, "c"), (2, "a"), (2, "b")):
            await cue.submit("step", {"step": step, "name": name})
    assert begun == ["2b", "1a", "2a", "1c"]


@virtual
async def test_who_reads_a_folder_counts_from_the_oldest_that_made_something_in_it(tmp_path: Path) -> None:
    cue = runcue.Cue(order="depth")
    cue.service("one", concurrent=1)
    begun: list[str] = []

    @cue.task("make", uses="one", outputs=lambda path: path)
    async def make(work: runcue.Work, path: Path) -> None:
        begun.append(path.name)
        await asyncio.sleep(1)
        with work.write(work.outputs[0]) as file:
            file.write("")

    @cue.task("read", uses="one", inputs=lambda folder: folder)
    async def read(folder: Path) -> None:
        begun.append(f"read {folder.name}")

    async with cue:
        for name in "ab":
            (tmp_path / name).mkdir()
            await cue.submit("make", {"path": tmp_path / name / f"1{name}"})
        for name in "ab":
            await cue.submit("make", {"path": tmp_path / name / f"2{name}"})
        await cue.submit("make", {"path": tmp_path / "last"})
        for name in "ba":
            await cue.submit("read", {"folder": tmp_path / name})
    assert begun == ["1a", "1b", "2a", "read a", "2b", "read b", "last"]


@virtual
async def test_lanes_and_depth_go_together() -> None:
    cue, begun = chains("depth")
    async with cue:
        for step in (1, 2, 3):
            for name in "abc":
                await cue.submit("step", {"step": step, "name": name}, lane=name)
    assert begun == ["1a", "2a", "3a", "1b", "2b", "3b", "1c", "2c", "3c"]


@virtual
async def test_those_submitted_for_later_count_from_their_makers_when_their_instant_has_come() -> None:
    cue, begun = chains("depth")
    async with cue:
        for step in (1, 2, 3):
            for name in "abc":
                await cue.submit("step", {"step": step, "name": name}, delay=5)
    assert begun == ["1a", "2a", "3a", "1b", "2b", "3b", "1c", "2c", "3c"]


@virtual
async def test_who_comes_back_to_its_line_from_an_async_gate_counts_from_its_maker_as_before() -> None:
    cue = runcue.Cue(order="depth", head_start="1h")
    cue.service("slow", rate="1/10sec")

    @cue.task("make", uses="slow", outputs=lambda name: Flag(name), priority=0.4)
    async def make(work: runcue.Work) -> None:
        Flag(work.params["name"]).set()

    @cue.task("use", uses="slow", inputs=lambda name: Flag(name), priority=0.4)
    async def use(name: str, more: int = 0) -> None: ...

    @cue.task("passes", uses="slow", priority=1.0)
    async def passes() -> None: ...

    @cue.is_ready(task="use")
    async def look(work: runcue.Work) -> bool:
        await asyncio.sleep(1)
        return True

    async with cue:
        await cue.submit("make", {"name": "a"})
        await asyncio.sleep(100)
        last = await cue.submit("use", {"name": "a"})
        keys = []
        await asyncio.sleep(1.5)  # there is room, and it is asked once more before its start
        await cue.submit("passes")
        for _ in range(3):
            keys.append(last.work._order_key)
            await asyncio.sleep(1)
    assert keys == pytest.approx([360.0, 360.0, 360.0])


@virtual
async def test_what_is_made_again_is_remembered_longer(monkeypatch: Any) -> None:
    monkeypatch.setattr("runcue._scheduling.depth._REMEMBERED", 2)
    cue, _ = chains("depth")
    async with cue:
        for name in "abac":
            await (await cue.submit("step", {"step": 1, "name": name})).wait()
    assert [*cue._core._made] == [Flag("1a")._key, Flag("1c")._key]  # type: ignore[attr-defined]


@virtual
async def test_only_so_many_artifacts_are_remembered(monkeypatch: Any) -> None:
    monkeypatch.setattr("runcue._scheduling.depth._REMEMBERED", 2)
    cue, begun = chains("depth")
    async with cue:
        for name in "abc":
            await cue.submit("step", {"step": 1, "name": name})
    assert len(begun) == 3
    assert [*cue._core._made] == [Flag("1b")._key, Flag("1c")._key]  # type: ignore[attr-defined]


@pytest.mark.parametrize("order", ["breadth", None, 1, ["depth"]])
def test_another_order_is_refused(order: Any) -> None:
    with pytest.raises(runcue.ConfigurationError, match=r'order must be "submission" or "depth", not'):
        runcue.Cue(order=order)
