"""What happens while gates are being asked: an answer that is out of date when it comes is asked for again, at once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import runcue
from runcue import File, Flag
from runcue.testing import FakeExecutor
from tests.support.virtual_time import now, there, virtual


@pytest.mark.rule(4)
@pytest.mark.parametrize("what", ["nothing", "a thing"])
@virtual
async def test_a_nudge_while_all_that_waits_is_being_asked_asks_it_again(what: str) -> None:
    cue = runcue.Cue(recheck=False)
    open_, starts = set(), []

    @cue.task("plain")
    async def plain(work: runcue.Work) -> None:
        starts.append(now())

    @cue.task("slow")
    async def slow(work: runcue.Work) -> None: ...

    @cue.is_ready(task="plain")
    def is_open(work: runcue.Work) -> bool:
        return bool(open_)

    @cue.is_ready(task="slow")
    async def is_never(work: runcue.Work) -> bool:
        answer = Flag("never").valid()
        await asyncio.sleep(5.0)
        return answer

    cue.start()
    await cue.submit("slow")
    await cue.submit("plain")
    await asyncio.sleep(20.0)
    cue.nudge()  # all is asked, and the slow one takes its time
    await asyncio.sleep(1.0)
    open_.add("it")
    cue.nudge(None if what == "nothing" else Flag("it"))
    await asyncio.sleep(1.0)
    assert starts == [21.0]
    await cue.stop(drain=False)


@pytest.mark.rule(4)
@pytest.mark.parametrize("way", ["settlement", "touch", "nudge", "nudge all"])
@virtual
async def test_what_an_async_gate_looked_at_and_is_made_meanwhile_is_asked_for_again(way: str) -> None:
    cue = runcue.Cue(recheck=False)
    flag, starts = Flag("made"), []
    there(cue)
    flag.share(cue._dispatcher.flags)

    @cue.task("make", outputs=flag)
    async def make(work: runcue.Work) -> None:
        await asyncio.sleep(1.0)
        flag.set()

    @cue.task("busy")
    async def busy(work: runcue.Work) -> None:
        await asyncio.sleep(100.0)  # so that nothing is asked for want of anything else to do

    @cue.task("read")
    async def read(work: runcue.Work) -> None:
        starts.append(now())

    @cue.is_ready(task="read")
    async def is_made(work: runcue.Work) -> bool:
        answer = flag.valid()
        await asyncio.sleep(3.0)
        return answer

    cue.start()
    await cue.submit("busy")
    await cue.submit("read")
    if way == "settlement":
        await cue.submit("make")
    await asyncio.sleep(1.0)
    if way != "settlement":
        flag.set()
        if way.startswith("nudge"):
            cue.nudge(flag if way == "nudge" else None)
    await asyncio.sleep(10.0)
    assert starts == [6.0]  # asked at 0.0 and, when that had come, at 3.0
    await cue.stop(drain=False)


@pytest.mark.rule(4)
@pytest.mark.parametrize("made", ["tree", "tree/leaf"])
@virtual
async def test_so_it_is_with_files_and_folders(
    made: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cue = runcue.Cue(recheck=False)
    starts = []

    @cue.task("make", outputs=made)
    async def make(work: runcue.Work) -> None:
        await asyncio.sleep(1.0)
        (tmp_path / "tree").mkdir(exist_ok=True)
        (tmp_path / "tree" / "leaf").write_text("it")

    @cue.task("busy")
    async def busy(work: runcue.Work) -> None:
        await asyncio.sleep(100.0)

    @cue.task("read")
    async def reader(work: runcue.Work) -> None:
        starts.append(now())

    @cue.is_ready(task="read")
    async def is_made(work: runcue.Work) -> bool:
        answer = File(made).valid()
        await asyncio.sleep(3.0)
        return answer

    cue.start()
    for task in ("busy", "read", "make"):
        await cue.submit(task)
    await asyncio.sleep(10.0)
    assert starts == [6.0]
    await cue.stop(drain=False)


@pytest.mark.rule(2)
@pytest.mark.parametrize("taker", ["async gate", "plain handler"])
@virtual
async def test_who_is_up_to_date_is_skipped_although_the_last_slot_was_taken_just_now(taker: str) -> None:
    cue = runcue.Cue(recheck=False, run_in=FakeExecutor(50.0))
    cue.service("shared", concurrent=1)
    cue.service("one")
    cue.service("other")

    @cue.task("done", uses=["shared", "one"])
    def done(work: runcue.Work) -> None: ...

    @cue.task("taker", uses=["shared", "other"])
    def take(work: runcue.Work) -> None: ...

    @cue.is_stale(task="done")
    def is_stale(work: runcue.Work) -> bool:
        return False

    if taker == "async gate":

        @cue.is_ready(task="taker")
        async def is_ready(work: runcue.Work) -> bool:
            await asyncio.sleep(20.0)
            return True

    cue.start()
    takers = [await cue.submit("taker")]
    handles = [await cue.submit("done", params={"n": n}) for n in range(3)]
    await asyncio.sleep(1.0)
    assert [handle.work.skipped for handle in handles] == [True] * 3
    assert takers[0].work.state.value == ("pending" if taker == "async gate" else "running")
    await cue.stop(drain=False)


@pytest.mark.rule(2)
@virtual
async def test_who_is_up_to_date_is_skipped_although_slots_are_left_to_one_that_needs_several_services() -> (
    None
):
    cue = runcue.Cue(recheck=False, run_in=FakeExecutor(500.0))
    cue.service("taken", concurrent=1)
    cue.service("free", concurrent=1)

    @cue.task("hold", uses="taken")
    def hold(work: runcue.Work) -> None: ...

    @cue.task("both", uses=["taken", "free"])
    def both(work: runcue.Work) -> None: ...

    @cue.task("one", uses="free")
    def one(work: runcue.Work) -> None: ...

    @cue.is_stale(task="one")
    def is_stale(work: runcue.Work) -> bool:
        return bool(work.params["stale"])

    cue.start()
    await cue.submit("hold")
    await cue.submit("both")
    await asyncio.sleep(70.0)
    stale = [await cue.submit("one", params={"n": n, "stale": True}) for n in range(2)]
    fresh = [await cue.submit("one", params={"n": n, "stale": False}) for n in range(2)]
    await asyncio.sleep(1.0)
    assert [handle.work.skipped for handle in fresh] == [True, True]
    assert [handle.work.state.value for handle in stale] == ["pending", "pending"]
    await cue.stop(drain=False)


@pytest.mark.rule(4)
@virtual
async def test_who_lacks_a_slot_when_a_nudge_asks_all_is_asked_when_it_is_free_whatever_comes_first() -> None:
    cue, open_, starts = runcue.Cue(), set(), []
    cue.service("api", concurrent=1)

    @cue.task("slow", uses="api")
    async def slow(work: runcue.Work) -> None:
        starts.append(now())

    @cue.task("hold", uses="api")
    async def hold(work: runcue.Work) -> None:
        await asyncio.sleep(0.25)

    @cue.task("other")
    async def other(work: runcue.Work) -> None:
        await asyncio.sleep(20.0)  # so that nothing is asked for want of anything else to do

    @cue.is_ready(task="slow")
    async def is_open(work: runcue.Work) -> bool:
        return Flag("valid").valid() or bool(open_)

    @cue.is_ready(task="other")
    def is_first(work: runcue.Work) -> bool:
        return work.params["is_first"]  # the other one is asked again twenty times a second

    async with cue:
        await cue.submit("slow")
        for is_first in (True, False):
            await cue.submit("other", {"is_first": is_first})
        await asyncio.sleep(10.0)
        await cue.submit("hold")
        await asyncio.sleep(0.1)
        open_.add("it")
        cue.nudge()
        await asyncio.sleep(0.5)
        assert starts == [10.25]
        await cue.stop(drain=False)
