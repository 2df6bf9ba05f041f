"""What is the same of many is said once, and what is not the same is not said of all."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

import runcue
from tests.support.virtual_time import virtual


@virtual
async def test_that_nobody_makes_what_is_missing_is_said_once_of_all_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cue = runcue.Cue()
    cue.task("join", inputs=lambda work: work.params["files"])(lambda work: None)
    cue.task("make", outputs="c")(lambda work: None)
    cue.service("none", concurrent=1).pause()
    cue.task("slow", uses="none", outputs="d")(lambda work: None)
    async with cue:
        one = await cue.submit("join", {"files": ["a"]})
        some = await cue.submit("join", {"files": ["d", "a", "b"]})
        slow = await cue.submit("slow")
        await asyncio.sleep(1)
        assert str(cue.why(one)).count("declares it as an output") == 1
        where = [
            f"  File({name!r}) is missing (at '{tmp_path / name}', from the working folder)" for name in "ab"
        ]
        assert str(cue.why(some)).splitlines()[1:5] == [
            *where,
            "  nothing that is pending or running declares these as outputs",
            f"  File('d') is missing; slow {slow} makes it (pending)",
        ]
        await cue.stop(drain=False)


@virtual
async def test_those_that_are_tried_again_after_different_errors_are_told_apart() -> None:
    cue = runcue.Cue()

    @cue.task("call", retry=runcue.Retry(3, wait_initial=20, wait_jitter=0))
    async def call(work: runcue.Work) -> None:
        raise (TimeoutError if work.params["number"] % 2 else ConnectionError)("no answer")

    async with cue:
        await asyncio.gather(*[cue.submit("call", {"number": number}) for number in range(10)])
        await asyncio.sleep(5)
        assert sorted(str(cue.why()).splitlines()) == [
            f"5 call wait for their next attempts, all in 15 s, after {error}: no answer"
            for error in ("ConnectionError", "TimeoutError")
        ]
        await cue.stop(drain=False)


async def test_an_output_that_was_not_made_is_told_with_where_it_was_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cue = runcue.Cue()

    @cue.task("make", outputs=["page-1.txt", tmp_path / "other"])
    def make(work: runcue.Work) -> None:
        for name in work.params["names"]:
            (tmp_path / name).touch()

    async with cue:
        page = await (await cue.submit("make", {"names": ["Page-1.txt"]})).wait()
        (tmp_path / "Page-1.txt").unlink()
        other = await (await cue.submit("make", {"names": ["page-1.txt"]})).wait()
    assert page.error is not None
    assert other.error is not None
    assert (
        f"its output File('page-1.txt') is missing (at '{tmp_path}/page-1.txt', from the working folder; "
        "'Page-1.txt' is there, beside it, with other capitals)." in page.error
    )
    assert f"its output File('{tmp_path}/other') is missing." in other.error
