"""Texts that once were not understood at first reading, in the situations in which they are told."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

import runcue
from runcue import Flag
from tests.support.virtual_time import virtual


async def nothing(work: runcue.Work) -> None:
    pass


def test_an_age_that_is_told_as_the_limit_itself_says_by_how_much_it_is_over(tmp_path: Path) -> None:
    path = tmp_path / "dough"
    path.touch()
    hours = 30 * 3600
    os.utime(path, (time.time() - hours - 12,) * 2)
    told = runcue.File(path, max_age=hours).problem()
    assert told is not None
    assert told.startswith("is older than its max_age of 30 h, by 12")


@virtual
async def test_repr_of_a_cue_and_why_count_who_has_joined_by_its_state() -> None:
    cue = runcue.Cue()

    @cue.task("make", outputs=Flag("made"))
    async def make(work: runcue.Work) -> None:
        await asyncio.sleep(10)

    cue.start()
    for _ in range(3):
        await cue.submit("make")
    await asyncio.sleep(1)
    running = len(await cue.list(state=runcue.WorkState.RUNNING))
    assert running == 3
    assert repr(cue).endswith("; 3 running>")
    assert str(cue.why()) == "Nothing waits, 3 running"
    await cue.stop(drain=False, timeout=0)


@virtual
async def test_who_is_stuck_is_told_what_to_do(caplog: pytest.LogCaptureFixture) -> None:
    cue = runcue.Cue(id_prefix="")
    cue.task("post")(nothing)
    cue.is_ready(task="post")(lambda work: (False, "the office is closed"))
    cue.start()
    await cue.submit("post")
    await asyncio.sleep(1)
    [text] = [text for text in caplog.messages if text.startswith("Stuck: ")]
    assert text.endswith(
        "No work unit of this cue can change that (1 work unit is not ready). If what it waits for comes from outside, "
        "is_ready is asked again now and then, and cue.nudge() has that done at once; if another work unit makes it, "
        "declare it as inputs= and outputs=, and runcue says who is to make it"
    )
    await cue.stop(drain=False)


def test_code_in_the_place_of_other_code_is_told_as_gone_and_as_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def bake(work: runcue.Work) -> None:
        Path("loaf").write_text("baked")

    def fry(work: runcue.Work) -> None:
        Path("loaf").write_text("fried")

    async def ran(handler: object) -> str:
        cue = runcue.Cue(id_prefix="")
        cue.task("make", outputs="loaf", fresh=runcue.digest(code=True))(handler)  # type: ignore[type-var]
        async with cue:
            handle = await cue.submit("make")
            await handle.wait()
            return str(cue.why_stale(handle))

    asyncio.run(ran(bake))
    told = asyncio.run(ran(fry))
    assert "the code of its handler is not that which made File('loaf'): " in told
    assert told.index("fry") < told.index("not part of it then") < told.index("bake") < told.index("no more")
