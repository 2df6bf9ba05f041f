"""Work units that are settled and yet not as they should be: left as they were, or out of date by now."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import runcue
from runcue import testing


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for age, name in ((3, "A"), (2, "B"), (1, "C")):
        dated(name, age)
    # What has changed in the very tick of the clock in which a handler starts may have been changed by it.
    time.sleep(0.05)


def dated(name: str, hours: float) -> None:
    Path(name).touch()
    os.utime(name, (time.time() - hours * 3600,) * 2)


def fails(work: runcue.Work) -> None:
    raise OSError("no space")


def touches(work: runcue.Work) -> None:
    for one in work.outputs:
        Path(str(one)).touch()


async def run_line(first: Callable[[runcue.Work], None]) -> dict[str, tuple[str, str]]:
    """What why() and why_stale() say of a, forced, and of what is made from it."""
    cue = runcue.Cue(id_prefix="")
    cue.task("a", outputs="A")(first)
    cue.task("b", inputs="A", outputs="B")(touches)
    cue.task("c", inputs="B", outputs="C")(touches)
    cue.on_failure(lambda work, error: None)
    async with cue:
        handles = [await cue.submit("a", force=True), await cue.submit("b"), await cue.submit("c")]
        await cue.drain()
        return {one.work.task: (str(cue.why(one)), str(cue.why_stale(one))) for one in handles}


def test_who_was_not_run_because_of_a_failure_is_not_said_to_be_up_to_date() -> None:
    said = testing.run(lambda: run_line(fails))
    for text in (*said["b"], *said["c"]):
        assert "up to date" not in text
    left = "left as it was: a 1 failed, which was to make File('A') anew. Mend that, and submit both again"
    assert said["b"][1] == f"b 2: {left}"
    assert said["b"][0].splitlines()[1] == f"  it was {left}"
    assert said["c"][1].startswith(
        "c 3: left as it was: its input File('B') was, too, because a 1 failed. Mend"
    )


def test_who_was_looked_at_and_is_right_is_said_to_be_up_to_date_as_before() -> None:
    async def main() -> Any:
        cue = runcue.Cue(id_prefix="")
        cue.task("b", inputs="A", outputs="B")(touches)
        async with cue:
            handle = await cue.submit("b")
            await cue.drain()
            return cue.why_stale(handle)

    answer = testing.run(main)
    assert (answer.stale, answer.verdict) == (False, "up to date")
    assert str(answer).startswith("b 1: up to date: File('B') is up to date with File('A'), by newer()")


def test_who_waits_for_one_that_is_cancelled_is_left_as_it_was_too() -> None:
    async def main() -> tuple[str, str]:
        cue = runcue.Cue(id_prefix="")
        cue.task("a", inputs="never", outputs="A")(touches)
        cue.task("b", inputs="A", outputs="B")(touches)
        async with cue:
            maker, reader = await cue.submit("a", force=True), await cue.submit("b")
            await cue.cancel(maker)
            await cue.drain()
            return str(cue.why(reader)), str(cue.why_stale(reader))

    for text in testing.run(main):
        assert (
            "left as it was: a 1 was cancelled, which was to make File('A') anew. Submit both again" in text
        )


async def two(then: Callable[[runcue.Cue], Any]) -> tuple[str, str]:
    """What why() and why_stale() say of a work unit that has made B from A, after something else."""
    cue = runcue.Cue(id_prefix="")
    cue.task("a", outputs="A")(touches)
    cue.task("b", inputs="A", outputs="B")(touches)
    async with cue:
        one = await cue.submit("b", force=True)
        await cue.drain()
        await then(cue)
        return str(cue.why(one)), str(cue.why_stale(one))


async def nothing(cue: runcue.Cue) -> None:
    pass


async def input_is_made_anew(cue: runcue.Cue) -> None:
    await cue.submit("a", force=True)
    await cue.drain()
    os.utime("A", (time.time() + 1,) * 2)


async def output_is_removed(cue: runcue.Cue) -> None:
    Path("B").unlink()  # noqa: ASYNC240 - it takes microseconds


async def input_is_about_to_be_made_anew(cue: runcue.Cue) -> None:
    await cue.submit("a", force=True)


@pytest.mark.parametrize(
    ("then", "told"),
    [
        (input_is_made_anew, "By now it is out of date: "),
        (output_is_removed, "By now it is out of date: File('B') is missing; submit it again"),
        (
            input_is_about_to_be_made_anew,
            "a 2 is pending, which makes File('A'): submit this again after it",
        ),
        (nothing, ""),
    ],
    ids=["made anew", "removed", "about to be", "nothing"],
)
def test_who_is_settled_and_out_of_date_by_now_is_told_so_when_it_is_asked(
    then: Callable[[runcue.Cue], Any], told: str
) -> None:
    one, stale = testing.run(lambda: two(then))
    assert stale.startswith("b 1: it ran because it was submitted with force=True")
    for text in (one, stale):
        assert told in text
        assert ("By now" in text or "submit this" in text) == bool(told)


def test_what_made_a_work_unit_run_is_told_in_the_tense_of_its_state() -> None:
    async def main() -> list[str]:
        cue = runcue.Cue(id_prefix="")
        told = []

        @cue.task("t", outputs="new")
        async def new(work: runcue.Work) -> None:
            told.append(str(cue.why_stale(work)))
            Path("new").touch()  # noqa: ASYNC240 - it takes microseconds

        async with cue:
            handle = await cue.submit("t")
            await cue.drain()
            return [*told, str(cue.why_stale(handle))]

    assert testing.run(main) == [
        "t 1: it runs because its output File('new') was missing",
        "t 1: it ran because its output File('new') was missing",
    ]
