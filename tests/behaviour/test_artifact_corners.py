"""Artifacts where several things meet at once: successors of work units that are cancelled, gates awaited meanwhile.

Rules 4, 27, 28 and 30 each by itself stand in test_artifacts.py, test_joining.py and test_tracked.py. In each of these
corners something was wrong once.
"""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import weakref
from pathlib import Path
from typing import Any

import pytest

import runcue
from runcue import Flag
from runcue._artifacts.reads import READS
from runcue.testing import FakeExecutor, Recorder
from tests.support.virtual_time import now, there, virtual

COMPLETED, PENDING = runcue.WorkState.COMPLETED, runcue.WorkState.PENDING
RUNNING, CANCELLED = runcue.WorkState.RUNNING, runcue.WorkState.CANCELLED


def producer(cue: runcue.Cue, *, lasts: float = 10.0, **options: Any) -> list[str]:
    """Registers "make", which makes its flags within so many seconds; notes whose handler was entered."""
    ran: list[str] = []
    options.setdefault("outputs", Flag("x"))

    @cue.task("make", **options)
    async def make(work: runcue.Work) -> str:
        ran.append(work.id)
        await asyncio.sleep(lasts)
        for flag in work.outputs:
            flag.set()
        return "made"

    return ran


def idle(cue: runcue.Cue, name: str, *, lasts: float = 0.0, **options: Any) -> list[float]:
    """Registers a task that makes nothing; notes when it was entered."""
    at: list[float] = []

    @cue.task(name, **options)
    async def handler(work: runcue.Work) -> None:
        at.append(now())
        await asyncio.sleep(lasts)

    return at


@pytest.mark.rule(2, 28)
@pytest.mark.parametrize("ordered", [False, True], ids=["plain", "priorities"])
@pytest.mark.parametrize("held", [False, True], ids=["free", "held"])
@virtual
async def test_a_successor_that_is_up_to_date_is_skipped_at_once_though_its_service_is_exhausted(
    held: bool, ordered: bool
) -> None:
    cue = runcue.Cue(recheck=False)
    cue.service("api", rate="1/hour")
    i, x = Flag("i"), Flag("x")
    stale = True
    producer(cue, inputs=i, outputs=x, uses="api")
    cue.is_stale(task="make")(lambda work: stale)
    if ordered:
        cue.priority(lambda ctx: 0.5)
    idle(cue, "burn", uses="api")

    @cue.task("before", outputs=i)
    async def before(work: runcue.Work) -> None:
        await asyncio.sleep(5.0)  # and leaves what is there

    async with cue:
        await cue.submit("burn")
        await cue.drain()
        there(cue, i)
        leader, follower = [await cue.submit("make") for _ in range(2)]
        await asyncio.sleep(1.0)
        there(cue, x)
        if held:
            await cue.submit("before", force=True)
            await asyncio.sleep(1.0)
        stale = False
        await cue.cancel(leader)
        assert (await follower.wait()).skipped
        assert now() == (6.0 if held else 1.0)


@pytest.mark.rule(6, 28)
@virtual
async def test_a_successor_has_the_priority_that_it_is_asked_for() -> None:
    cue = runcue.Cue(recheck=False)
    cue.service("one", concurrent=1)
    ran: list[Any] = []
    asked: list[str] = []

    @cue.task("t", uses="one", outputs=lambda work: Flag(str(work.params["n"])))
    async def handler(work: runcue.Work) -> None:
        await asyncio.sleep(1.0)
        ran.append(work.params["n"])
        work.outputs[0].set()

    @cue.priority
    def priority(ctx: runcue.PriorityContext) -> float:
        asked.append(ctx.work.id)
        return 0.0 if ctx.work.params["n"] == 2 else 0.4

    async with cue:
        await cue.submit("t", params={"n": 0})
        await asyncio.sleep(0.1)
        await cue.submit("t", params={"n": 1})
        leader, successor = [await cue.submit("t", params={"n": 2}) for _ in range(2)]
        await asyncio.sleep(0.1)
        await cue.cancel(leader)
        await cue.submit("t", params={"n": 3})
    assert ran == [0, 1, 3, 2]
    assert asked.count(successor) == 1


@pytest.mark.rule(17, 28)
@pytest.mark.parametrize("kind", ["async", "thread", "awaitable from a thread"])
@virtual
async def test_a_handler_goes_on_for_successor_after_successor_and_ends_with_the_last_one(kind: str) -> None:
    cue = runcue.Cue(recheck=False)
    cue.service("one", concurrent=1)
    heard = Recorder(cue)
    x = Flag("x")
    inside, goes_on = threading.Event(), threading.Event()
    seen: list[Any] = []

    async def rest(work: runcue.Work) -> str:
        try:
            await asyncio.sleep(10.0)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise
        seen.append(work.cancelled)
        x.set()
        return "made"

    def in_thread(work: runcue.Work) -> Any:
        inside.set()
        assert goes_on.wait(10)
        if kind == "awaitable from a thread":
            return rest(work)
        seen.append(work.cancelled)
        x.set()
        return "made"

    cue.task("make", outputs=x, uses="one")(rest if kind == "async" else in_thread)

    async def begin() -> list[runcue.WorkHandle]:
        for event in (inside, goes_on):
            event.clear()
        handles = [await cue.submit("make", force=True) for _ in range(3)]
        if kind == "async":
            await asyncio.sleep(1.0)
        else:
            assert await asyncio.get_running_loop().run_in_executor(None, inside.wait, 10)
        return handles

    async with cue:
        first, second, third = await begin()
        await cue.cancel(first)
        await cue.cancel(second)
        assert third.work.state is RUNNING
        assert not first.work.cancelled, "this is the one that the handler knows"
        goes_on.set()
        assert await third.result() == "made"
        assert seen == [False]
        assert [heard.of(handle) for handle in (first, second, third)] == [
            ["start", "cancel"],
            ["cancel"],
            ["complete"],
        ]

        seen.clear()
        first, second, third = await begin()
        await cue.cancel(third)
        await cue.cancel(first)
        goes_on.set()
        if kind == "awaitable from a thread":
            await asyncio.sleep(5.0)  # it is the successor's awaitable by now
        await cue.cancel(second)
        ended = now()
        await cue.drain()
        assert now() == ended
        assert first.work.cancelled
        assert seen == ([True] if kind == "thread" else ["cancelled"])
        assert [heard.of(handle)[-1] for handle in (first, second, third)] == ["cancel"] * 3
        assert cue._core.services["one"].active == 0


@pytest.mark.rule(21, 28)
@virtual
async def test_the_time_out_of_a_thread_is_shared_with_those_who_joined_late() -> None:
    cue = runcue.Cue(recheck=False, run_in=FakeExecutor(100.0))
    heard = Recorder(cue)

    @cue.task("make", outputs=Flag("x"), timeout=20.0)
    def make(work: runcue.Work) -> None: ...

    async with cue:
        leader, successor = [await cue.submit("make") for _ in range(2)]
        await asyncio.sleep(15.0)
        late = await cue.submit("make")
        await cue.cancel(leader)
        for handle in (successor, late):
            with pytest.raises(runcue.WorkTimeout):
                await handle.result()
            assert heard.of(handle) == ["failure"]
        assert now() == 20.0
        assert leader.work.cancelled


@pytest.mark.rule(20, 28)
@virtual
async def test_what_has_joined_a_running_work_is_not_pending() -> None:
    cue = runcue.Cue(recheck=False, pending_timeout=10.0, pending_warn_after=5.0)
    warned: list[str] = []
    cue.on_pending_warning(lambda work, seconds: warned.append(work.id))
    producer(cue, lasts=100.0)
    async with cue:
        handles = [await cue.submit("make") for _ in range(2)]
        await asyncio.sleep(1.0)
        handles.append(await cue.submit("make"))
        assert [await handle.result() for handle in handles] == ["made"] * 3
    assert warned == []


@pytest.mark.rule(28)
@virtual
async def test_a_handler_that_cancels_its_own_work_in_its_first_step_goes_on_for_the_successor() -> None:
    cue = runcue.Cue(recheck=False)
    x = Flag("x")

    @cue.task("make", outputs=x)
    async def make(work: runcue.Work) -> str:
        await cue.cancel(work.id)
        await asyncio.sleep(1.0)
        x.set()
        return "made"

    async with cue:
        leader, successor = [await cue.submit("make") for _ in range(2)]
        assert await successor.result() == "made"
        assert leader.work.state is CANCELLED
        x.clear()
        assert (await (await cue.submit("make")).wait()).state is CANCELLED
        await cue.drain()
        assert not x.valid()


@pytest.mark.rule(28)
@pytest.mark.parametrize("phase", ["waiting", "held", "is_stale is awaited"])
@virtual
async def test_who_joins_by_force_has_the_leader_run_whatever_it_waits_for(phase: str) -> None:
    cue = runcue.Cue(recheck=False)
    i, x = Flag("i"), Flag("x")
    ran = producer(cue, inputs=i, outputs=x)
    idle(cue, "before", outputs=i, lasts=5.0)

    async def up_to_date(work: runcue.Work) -> bool:
        await asyncio.sleep(5.0)
        return False

    if phase == "is_stale is awaited":
        cue.is_stale(task="make")(up_to_date)
    async with cue:
        if phase != "waiting":
            there(cue, i)
        if phase != "is_stale is awaited":  # which is asked only where the outputs are stale
            there(cue, x)
        if phase == "held":
            await cue.submit("before", force=True)
        leader = await cue.submit("make")
        await asyncio.sleep(1.0)
        follower = await cue.submit("make", force=True)
        if phase == "waiting":
            there(cue, i, x)
        assert await follower.result() == "made"
    assert ran == [leader]


@pytest.mark.rule(27, 28)
@virtual
async def test_readers_wait_for_the_successor_as_for_the_leader() -> None:
    cue = runcue.Cue(recheck=False)
    x, y = Flag("x"), Flag("y")
    producer(cue, outputs=x)
    at = idle(cue, "reads", inputs=x)
    async with cue:
        there(cue, x, y)
        leader, _ = [await cue.submit("make", force=True) for _ in range(2)]
        await cue.submit("reads")
        await asyncio.sleep(5.0)
        await cue.cancel(leader)
        await cue.submit("reads")
    assert at == [10.0, 10.0]


@pytest.mark.rule(28, 30)
@virtual
async def test_what_a_cancelled_leader_writes_is_published_for_its_successor_and_for_nobody_else(
    tmp_path: Path,
) -> None:
    cue = runcue.Cue(recheck=False)
    path = tmp_path / "x"

    @cue.task("make", outputs=path)
    async def make(work: runcue.Work) -> None:
        with work.write(path) as file:
            file.write("half")
            await asyncio.sleep(10.0)
            file.write(" and half")

    async with cue:
        leader, successor, last = [await cue.submit("make") for _ in range(3)]
        await asyncio.sleep(5.0)
        await cue.cancel(leader)
        await cue.cancel(successor)
        assert (await last.wait()).state is COMPLETED
        assert path.read_text(encoding="utf-8") == "half and half"
        path.unlink()
        leader, successor = [await cue.submit("make") for _ in range(2)]
        await asyncio.sleep(5.0)
        await cue.cancel(successor)
        await cue.cancel(leader)
    assert os.listdir(tmp_path) == [".runcue-marks"]  # noqa: PTH208 - a list is what is compared


@pytest.mark.rule(18, 28)
@virtual
async def test_joiners_that_were_cancelled_are_forgotten_while_their_leader_runs() -> None:
    cue = runcue.Cue(recheck=False, keep=0)
    producer(cue, lasts=100.0)
    async with cue:
        await cue.submit("make")
        await asyncio.sleep(1.0)
        handle = await cue.submit("make")
        kept = weakref.ref(handle.work)
        await cue.cancel(handle)
        del handle
        for _ in range(200):
            await cue.cancel(await cue.submit("make"))
        gc.collect()
        assert kept() is None


@pytest.mark.rule(28)
@virtual
async def test_params_that_cannot_be_compared_are_other_params() -> None:
    class Odd:
        __hash__ = None  # type: ignore[assignment]

        def __eq__(self, other: object) -> bool:
            raise ValueError("ambiguous")

    cue = runcue.Cue(recheck=False)
    producer(cue)
    async with cue:
        await cue.submit("make", params={"n": Odd()})
        with pytest.raises(runcue.DuplicateWork):
            await cue.submit("make", params={"n": Odd()})


@pytest.mark.rule(4, 27)
@pytest.mark.parametrize("question", ["ready", "stale"])
@virtual
async def test_an_input_that_goes_while_a_gate_is_awaited_is_what_the_work_waits_for_then(
    question: str,
) -> None:
    cue = runcue.Cue(recheck=False)
    i, other = Flag("i"), Flag("other")
    at = idle(cue, "t", inputs=i)
    idle(cue, "busy", lasts=100.0)  # no look for want of anything else to do

    async def slowly(work: runcue.Work) -> bool:
        other.valid()
        await asyncio.sleep(1.0)
        return True

    (cue.is_ready if question == "ready" else cue.is_stale)(task="t")(slowly)
    async with cue:
        there(cue, i)
        await cue.submit("busy")
        handle = await cue.submit("t")
        await asyncio.sleep(0.5)
        i.clear()
        await asyncio.sleep(4.5)
        assert handle.work.state is PENDING
        i.set()
        await handle.wait()
    assert at == [6.0]


@pytest.mark.rule(4)
@pytest.mark.parametrize("file", [False, True], ids=["artifact", "kind of file"])
@virtual
async def test_a_valid_declared_input_is_no_read_of_a_callback_that_reads_nothing(
    file: bool, tmp_path: Path
) -> None:
    class Row(runcue.Artifact):
        def __init__(self) -> None:
            self.name = "row"

        def valid(self) -> bool:
            return True

    class OwnFile(runcue.File):
        pass

    (tmp_path / "x").touch()
    cue = runcue.Cue()
    door = False
    at = idle(cue, "t", inputs=OwnFile(tmp_path / "x") if file else Row())
    cue.is_ready(lambda work: door)
    async with cue:
        handle = await cue.submit("t")
        await asyncio.sleep(0.5)
        door = True
        while handle.work.state is not COMPLETED:  # the safety net moves no virtual clock
            await asyncio.sleep(0.001)
    assert at[0] - 0.5 <= 0.052


@pytest.mark.rule(4, 12)
@virtual
async def test_a_handler_submitted_from_a_plain_listener_reads_for_nobody() -> None:
    cue = runcue.Cue(recheck=False)
    submitting: list[asyncio.Task[Any]] = []
    notes: list[Any] = []

    @cue.task("first")
    async def first(work: runcue.Work) -> None: ...

    @cue.task("looks")
    def looks(work: runcue.Work) -> None:
        notes.append(READS.get())

    @cue.on_complete
    def done(work: runcue.Work, result: Any, duration: float) -> None:
        if work.task == "first":
            submitting.append(asyncio.create_task(cue.submit("looks")))

    async with cue:
        await cue.submit("first")
        await asyncio.sleep(1.0)
    assert notes == [None], "what it looks at must not count as read by the gate that is asked meanwhile"


@pytest.mark.rule(4)
@pytest.mark.parametrize("is_async", [False, True], ids=["plain gate", "async gate"])
def test_no_touch_is_lost_between_the_reading_and_the_answer_however_threads_hammer(is_async: bool) -> None:
    """Each flag is set in a thread while work units are being asked about it; nothing else would ever wake them."""
    rounds, width = 30, 8

    async def main() -> None:
        cue = runcue.Cue(recheck=False)
        flags: dict[int, Flag] = {}

        @cue.task("t")
        async def handler(work: runcue.Work) -> None: ...

        @cue.task("busy")
        async def busy(work: runcue.Work) -> None:
            await asyncio.sleep(60)

        def looks(work: runcue.Work) -> bool:
            return flags[work.params["n"]].valid()

        async def looks_slowly(work: runcue.Work) -> bool:
            answer = looks(work)
            await asyncio.sleep(0)
            return answer

        cue.is_ready(task="t")(looks_slowly if is_async else looks)
        cue.start()
        await cue.submit("busy")
        for turn in range(rounds):
            numbers = range(turn * width, (turn + 1) * width)
            for number in numbers:
                flags[number] = Flag(f"{is_async} {number}")
                flags[number].share(cue._dispatcher.flags)
            barrier = threading.Barrier(2)

            def hammer(numbers: range = numbers, barrier: threading.Barrier = barrier) -> None:
                barrier.wait(10)
                for number in numbers:
                    flags[number].set()

            thread = threading.Thread(target=hammer)
            thread.start()
            handles = [await cue.submit("t", params={"n": number}) for number in numbers]
            barrier.wait(10)
            await asyncio.wait_for(asyncio.gather(*(handle.wait() for handle in handles)), 10)
            thread.join()
        await cue.stop(drain=False, timeout=0)

    asyncio.run(main())


@pytest.mark.rule(4)
@virtual
async def test_a_gate_that_looks_at_something_else_each_time_waits_for_what_it_saw_last() -> None:
    cue = runcue.Cue(recheck=False)
    a, b = Flag("a"), Flag("b")
    asked: list[float] = []
    idle(cue, "t")
    idle(cue, "busy", lasts=100.0)

    @cue.is_ready(task="t")
    def is_ready(work: runcue.Work) -> bool:
        asked.append(now())
        return (a if len(asked) % 2 else b).valid() and len(asked) > 4

    async with cue:
        await cue.submit("busy")
        handle = await cue.submit("t")
        for at, flag in ((1.0, b), (2.0, a), (3.0, a), (4.0, b), (5.0, a), (6.0, a)):
            await asyncio.sleep(at - now())
            flag.set()
        await asyncio.sleep(1.0)
        assert asked == [0.0, 2.0, 4.0, 5.0]
        assert handle.work.state is PENDING
        b.set()
        await handle.wait()
