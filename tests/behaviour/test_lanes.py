"""Lanes: work units of one lane run one at a time, in the order of their submission, whatever their tasks are."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import runcue
from runcue import Flag, Retry, Throttled, WorkState
from runcue._model.declaration import InLane, alone, is_common
from runcue.testing import FakeExecutor, Recorder
from tests.support.loops import each_loop, run_on
from tests.support.virtual_time import now, there, virtual

pytestmark = pytest.mark.rule(51)

Log = list[tuple[float, str, str]]


def described(**options: Any) -> tuple[runcue.Cue, Log]:
    """A cue with two tasks that take as long as their params say, and what was entered and left when."""
    cue = runcue.Cue(**options)
    log: Log = []

    async def run(work: runcue.Work) -> str:
        name = work.params["name"]
        log.append((now(), "begin", name))
        try:
            await asyncio.sleep(work.params.get("seconds", 1))
        finally:
            log.append((now(), "end", name))
        return str(name)

    @cue.task("one")
    async def one(work: runcue.Work) -> str:
        return await run(work)

    @cue.task("other")
    async def other(work: runcue.Work) -> str:
        return await run(work)

    return cue, log


def begun(log: Log) -> list[tuple[str, float]]:
    return [(name, instant) for instant, what, name in log if what == "begin"]


async def submit(cue: runcue.Cue, name: str, lane: Any = "x", task: str = "one", **options: Any) -> Any:
    seconds = options.pop("seconds", 1)
    return await cue.submit(task, {"name": name, "seconds": seconds}, lane=lane, **options)


# In order, and over tasks.


@virtual
async def test_one_of_a_lane_runs_at_a_time_in_the_order_of_submission_over_tasks() -> None:
    cue, log = described()
    async with cue:
        for number in range(4):
            await submit(cue, f"x{number}", task="one" if number % 2 else "other")
        await submit(cue, "y", "y")
        await submit(cue, "free", None)
    assert begun(log) == [("x0", 0.0), ("y", 0.0), ("free", 0.0), ("x1", 1.0), ("x2", 2.0), ("x3", 3.0)]
    assert cue._core.lanes == {}


@virtual
async def test_a_task_has_a_lane_or_a_function_gives_it_and_none_means_no_lane() -> None:
    cue = runcue.Cue()
    begun: list[tuple[str, float]] = []

    @cue.task("fixed", lane="printer")
    async def fixed(name: str) -> None:
        begun.append((name, now()))
        await asyncio.sleep(1)

    @cue.task("by_user", lane=lambda user: user)
    async def by_user(name: str, user: str | None = None) -> None:
        begun.append((name, now()))
        await asyncio.sleep(1)

    async with cue:
        await cue.submit("fixed", {"name": "a"})
        await cue.submit("by_user", {"name": "b", "user": "printer"})
        await cue.submit("by_user", {"name": "c"})
        await cue.submit("by_user", {"name": "d"})
        await cue.submit("by_user", {"name": "e", "user": "u"}, lane=lambda work: "printer")
        await cue.submit("fixed", {"name": "f"}, lane="else")
        await cue.call(by_user, "g", user="printer")
    expected = [("a", 0), ("c", 0), ("d", 0), ("f", 0), ("b", 1), ("e", 2), ("g", 3)]
    assert begun == expected


@virtual
async def test_only_the_head_is_asked_its_questions() -> None:
    cue, _ = described()
    asked: list[str] = []

    @cue.is_ready
    def is_ready(work: runcue.Work) -> bool:
        asked.append(work.params["name"])
        return True

    async with cue:
        for name in "abc":
            await submit(cue, name)
        await asyncio.sleep(0.5)
        assert set(asked) == {"a"}
        await asyncio.sleep(1)
        assert set(asked) == {"a", "b"}
    assert set(asked) == {"a", "b", "c"}


@virtual
async def test_what_is_up_to_date_is_skipped_when_it_has_its_turn() -> None:
    cue, log = described()
    there(cue, done := Flag("done"))
    async with cue:
        await submit(cue, "a")
        skipped = await submit(cue, "b", outputs=done)
        await submit(cue, "c")
        await asyncio.sleep(0.5)
        assert not skipped.done()
    assert skipped.work.skipped
    assert begun(log) == [("a", 0.0), ("c", 1.0)]


# What holds up a lane, and it alone.


@virtual
async def test_a_head_that_is_not_ready_holds_up_its_lane_alone() -> None:
    cue, log = described()
    gone = Flag("gone")
    async with cue:
        await submit(cue, "a", inputs=gone)
        await submit(cue, "b")
        await submit(cue, "free", "y")
        await asyncio.sleep(5)
        assert begun(log) == [("free", 0.0)]
        there(cue, gone)
        await asyncio.sleep(0.1)
        assert [name for name, _ in begun(log)] == ["free", "a"]
    assert [name for name, _ in begun(log)] == ["free", "a", "b"]


@virtual
async def test_retries_and_what_is_postponed_or_refused_hold_up_the_lane() -> None:
    cue = runcue.Cue()
    cue.service("server", throttle=runcue.http_errors)
    tries: list[tuple[str, float]] = []

    @cue.task("t", retry=Retry(attempts=3, wait_initial=10, wait_exp_base=1, wait_jitter=0))
    async def t(work: runcue.Work) -> None:
        name = work.params["name"]
        tries.append((name, now()))
        if name == "fails" and work.attempt < 3:
            raise ValueError(name)
        if name == "later" and tries.count(("later", now())) and now() < 30:
            raise runcue.RetryLater(5)

    @cue.task("refused", uses="server")
    async def refused(work: runcue.Work) -> None:
        tries.append((work.params["name"], now()))
        if now() < 60:
            raise Throttled(retry_after=40)

    async with cue:
        for task, name in (("t", "fails"), ("t", "later"), ("refused", "refused"), ("t", "last")):
            await cue.submit(task, {"name": name}, lane="x")
    assert tries == [
        ("fails", 0.0),
        ("fails", 10.0),
        ("fails", 20.0),
        ("later", 20.0),
        ("later", 25.0),
        ("later", 30.0),
        ("refused", 30.0),
        ("refused", 70.0),
        ("last", 70.0),
    ]


@virtual
async def test_endless_retrying_blocks_the_lane_for_ever_as_asked() -> None:
    cue = runcue.Cue()

    @cue.task("t", retry=Retry(attempts=-1, wait_initial=10, wait_exp_base=1, wait_jitter=0))
    async def t(work: runcue.Work) -> None:
        raise ValueError

    @cue.task("u")
    async def u(work: runcue.Work) -> None: ...

    cue.start()
    first = await cue.submit("t", lane="x")
    behind = await cue.submit("u", lane="x")
    await asyncio.sleep(10_000)
    assert behind.state is WorkState.PENDING
    first.cancel()
    await behind
    await cue.stop()


@virtual
async def test_a_delay_of_the_head_holds_up_its_lane_and_one_of_those_behind_begins_when_it_has_its_turn() -> (
    None
):
    cue, log = described()
    async with cue:
        await submit(cue, "a", delay=10)
        await submit(cue, "b", delay=5)
        await submit(cue, "c", delay=30)
        await submit(cue, "d")
        await submit(cue, "free", "y")
    assert begun(log) == [("free", 0.0), ("a", 10.0), ("b", 11.0), ("c", 30.0), ("d", 31.0)]


@virtual
async def test_what_was_given_an_instant_by_the_wall_clock_keeps_its_place() -> None:
    cue, log = described()
    async with cue:
        await submit(cue, "a")
        await submit(cue, "b", run_at=time.time() + 0.0)
        await submit(cue, "c")
    assert [name for name, _ in begun(log)] == ["a", "b", "c"]


@virtual
async def test_a_head_that_waits_for_a_limit_holds_up_its_lane_alone() -> None:
    cue = runcue.Cue()
    cue.service("slow", rate="1/10s")
    begun: list[tuple[str, float]] = []

    @cue.task("slow", uses="slow")
    async def slow(work: runcue.Work) -> None:
        begun.append((work.params["name"], now()))

    @cue.task("quick")
    async def quick(work: runcue.Work) -> None:
        begun.append((work.params["name"], now()))

    async with cue:
        await cue.submit("slow", {"name": "s0"})
        await cue.submit("slow", {"name": "s1"}, lane="x")
        await cue.submit("quick", {"name": "q0"}, lane="x")
        await cue.submit("quick", {"name": "q1"}, lane="y")
    assert begun == [("s0", 0.0), ("q1", 0.0), ("s1", 10.0), ("q0", 10.0)]


# Ends.


@pytest.mark.parametrize("which", [0, 1, 2])
@virtual
async def test_whoever_is_cancelled_leaves_its_place_and_the_others_keep_theirs(which: int) -> None:
    cue, log = described()
    async with cue:
        handles = [await submit(cue, name) for name in "abc"]
        await asyncio.sleep(0.5)
        handles[which].cancel()
        await asyncio.sleep(0.1)
    names = [name for name, _ in begun(log)]
    assert names == [name for number, name in enumerate("abc") if number != which or which == 0]
    if which == 0:
        assert begun(log)[1] == ("b", 0.5)


@virtual
async def test_a_handler_that_takes_its_time_to_be_cancelled_has_the_lane_until_it_has_returned() -> None:
    cue = runcue.Cue()
    log: list[tuple[str, float]] = []

    @cue.task("t")
    async def t(work: runcue.Work) -> None:
        log.append((f"begin {work.params['name']}", now()))
        try:
            await asyncio.sleep(10)
        finally:
            await asyncio.sleep(3)
            log.append((f"end {work.params['name']}", now()))

    cue.start()
    first = await cue.submit("t", {"name": "a"}, lane="x")
    second = await cue.submit("t", {"name": "b"}, lane="x")
    await asyncio.sleep(1)
    first.cancel()
    await asyncio.sleep(1)
    assert first.done()
    assert "cancelled, but its handler has not returned" in cue.why(second).details
    await second
    assert log == [("begin a", 0.0), ("end a", 4.0), ("begin b", 4.0), ("end b", 17.0)]
    await cue.stop()


@virtual
async def test_one_that_has_failed_lets_the_next_go_on() -> None:
    cue, log = described()

    @cue.task("fails")
    async def fails(work: runcue.Work) -> None:
        raise ValueError

    @cue.on_failure
    def hear(work: runcue.Work, error: BaseException) -> None: ...

    async with cue:
        await cue.submit("fails", lane="x")
        await submit(cue, "a")
        await cue.submit("fails", lane="x")
        await submit(cue, "b")
    assert begun(log) == [("a", 0.0), ("b", 1.0)]


@pytest.mark.parametrize("where", ["lane", "inputs", "run_in"])
@virtual
async def test_who_comes_into_a_lane_while_it_is_found_out_what_the_first_of_it_declares_has_it_before(
    where: str,
) -> None:
    cue, log = described()

    def submit_before() -> None:
        begin = cue.submit("one", {"name": "inner"}, lane="x").__await__()
        with pytest.raises(StopIteration):
            next(begin)

    def lane_of(name: str) -> str:
        submit_before()
        return "x"

    def inputs_of(name: str) -> tuple[()]:
        submit_before()
        return ()

    def make_pool() -> ThreadPoolExecutor:
        submit_before()
        return ThreadPoolExecutor(1)

    options = {"lane": lane_of, "inputs": inputs_of, "run_in": make_pool}

    @cue.task("outer", **{"lane": "x", where: options[where]})  # type: ignore[call-overload]
    def outer(name: str, more: int = 0) -> None:
        log.append((instant(), "begin", name))

    instant = asyncio.get_running_loop().time
    async with cue:
        await cue.submit("outer", {"name": "outer"})
        await submit(cue, "last")
    assert begun(log) == [("inner", 0.0), ("outer", 1.0), ("last", 1.0)]
    assert not cue._core.lanes


@each_loop
def test_a_thread_that_has_timed_out_has_its_lane_until_it_has_returned(loop: str) -> None:
    let_go, log = threading.Event(), list[str]()

    async def main() -> None:
        cue = runcue.Cue()

        @cue.task("hangs", timeout=0.05, lane="x")
        def hangs(work: runcue.Work) -> None:
            log.append("hangs")
            let_go.wait(20)
            log.append("returns")

        @cue.task("next", lane="x")
        def after(work: runcue.Work) -> None:
            log.append("next")

        @cue.on_failure
        def hear(work: runcue.Work, error: BaseException) -> None:
            log.append("failed")

        async with cue:
            first, second = await cue.submit("hangs"), await cue.submit("next")
            await first.wait()
            await asyncio.sleep(0.05)
            assert second.state is WorkState.PENDING
            assert "has not returned" in cue.why(second).details
            let_go.set()
            await second

    run_on(loop, main)
    assert log == ["hangs", "failed", "returns", "next"]


@each_loop
def test_a_thread_that_was_cancelled_has_its_lane_until_it_has_returned(loop: str) -> None:
    let_go, entered, log = threading.Event(), threading.Event(), list[str]()

    async def main() -> None:
        cue = runcue.Cue()

        @cue.task("t", lane="x")
        def t(name: str) -> None:
            log.append(f"begin {name}")
            entered.set()
            if name == "a":
                let_go.wait(20)
            log.append(f"end {name}")

        async with cue:
            first, second = await cue.submit("t", {"name": "a"}), await cue.submit("t", {"name": "b"})
            await asyncio.to_thread(entered.wait, 20)
            first.cancel()
            await asyncio.sleep(0.05)
            assert log == ["begin a"]
            let_go.set()
            await second

    run_on(loop, main)
    assert log == ["begin a", "end a", "begin b", "end b"]


@each_loop
def test_who_was_cancelled_behind_a_thread_that_has_not_returned_does_not_come_back(loop: str) -> None:
    let_go, log = threading.Event(), list[str]()

    async def main() -> None:
        cue = runcue.Cue()

        @cue.task("hangs", timeout=0.05, lane="x")
        def hangs() -> None:
            let_go.wait(20)
            log.append("returns")

        @cue.task("next", lane="x")
        def after(name: str) -> None:
            log.append(name)

        async with cue:
            first = await cue.submit("hangs")
            second, third = [await cue.submit("next", {"name": name}) for name in "ab"]
            await first.wait()
            second.cancel()
            assert third.state is WorkState.PENDING
            let_go.set()
            await third
            assert not cue._core.lanes

    run_on(loop, main)
    assert log == ["returns", "b"]


@virtual
async def test_what_one_of_a_lane_writes_is_published_by_its_own_success_alone(tmp_path: Any) -> None:
    cue = runcue.Cue()

    @cue.task("write", lane="x")
    async def write(work: runcue.Work) -> None:
        with work.write(tmp_path / work.params["name"]) as file:
            file.write("whole")
        if work.params["name"] == "b":
            raise ValueError

    @cue.task("none", lane="x")
    def none(work: runcue.Work) -> None: ...

    async with cue:
        written = [await cue.submit("write", {"name": name}) for name in "abc"]
        await cue.submit("none")
        await asyncio.gather(*written, return_exceptions=True)
    assert [one.state for one in written] == [WorkState.COMPLETED, WorkState.FAILED, WorkState.COMPLETED]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "c"]


@virtual
async def test_what_is_noted_of_one_of_a_lane_says_nothing_of_the_others_and_is_not_kept() -> None:
    cue = runcue.Cue()

    @cue.task("t", lane="x")
    async def t(work: runcue.Work) -> None:
        await asyncio.sleep(1)

    async with cue:
        works = [(await cue.submit("t")).work for _ in range(3)]
        common = works[0]._declared
        assert type(common) is InLane
        assert is_common(common)
        assert all(work._declared is common for work in works)
        own = alone(works[0])
        assert own is not common
        assert own is alone(works[0]) is works[0]._declared
        assert not is_common(own)
        assert own.lane is common.lane
        alone(works[1])
        assert list(common.apart or ()) == [works[1]]
    assert [work.state for work in works] == [WorkState.COMPLETED] * 3


@virtual
async def test_plain_handlers_of_a_lane_run_one_at_a_time() -> None:
    executor = FakeExecutor(1.0)
    cue = runcue.Cue(run_in=executor)

    @cue.task("t", lane=lambda work: work.params["number"] % 2)
    def t(work: runcue.Work) -> None: ...

    recorder = Recorder(cue)
    async with cue:
        for number in range(10):
            await cue.submit("t", {"number": number})
    assert executor.most_in_flight == 2
    assert now() == 5.0
    assert recorder.counts()["complete"] == 10


@virtual
async def test_a_stop_that_cuts_off_what_is_pending_does_so_to_lanes_and_spares_what_must_complete() -> None:
    cue, log = described()
    cue.start()
    await submit(cue, "a")
    between = await submit(cue, "b")
    last = await submit(cue, "c", must_complete=True)
    await asyncio.sleep(0.5)
    await cue.stop(drain=False)
    assert between.state is WorkState.CANCELLED
    assert last.state is WorkState.COMPLETED
    assert begun(log) == [("a", 0.0), ("c", 1.0)]


@virtual
async def test_a_lane_goes_on_after_a_stop_and_the_next_start() -> None:
    cue, log = described()
    await submit(cue, "a")
    await submit(cue, "b")
    async with cue:
        pass
    cue.start()
    await submit(cue, "c")
    await submit(cue, "d")
    await cue.stop()
    assert begun(log) == [("a", 0.0), ("b", 1.0), ("c", 2.0), ("d", 3.0)]


def test_a_lane_goes_on_in_the_next_event_loop() -> None:
    cue, log = described()

    async def first() -> None:
        cue.start()
        for name in "abc":
            await submit(cue, name, seconds=0.01 if name != "a" else 60)
        await asyncio.sleep(0.02)

    async def then() -> None:
        async with cue:
            pass

    with pytest.warns(ResourceWarning):
        asyncio.run(first())
    asyncio.run(then())
    assert [name for name, _ in begun(log)] == ["a", "b", "c"]


# Beside others.


@virtual
async def test_who_makes_the_same_in_one_lane_joins_and_in_another_is_refused() -> None:
    cue, log = described()
    async with cue:
        await submit(cue, "first")
        params = {"name": "a"}
        leader = await cue.submit("one", params, lane="x", key="k")
        joined = await cue.submit("one", params, lane="x", key="k")
        with pytest.raises(runcue.DuplicateWork, match="in another lane by one"):
            await cue.submit("one", params, lane="y", key="k")
        with pytest.raises(runcue.DuplicateWork, match="in another lane by one"):
            await cue.submit("one", params, key="k")
        free = await cue.submit("other", params, key="f")
        with pytest.raises(runcue.DuplicateWork, match="in no lane by other"):
            await cue.submit("other", params, lane="x", key="f")
        await submit(cue, "last")
    assert await joined == await leader == await free == "a"
    assert begun(log) == [("first", 0.0), ("a", 0.0), ("a", 1.0), ("last", 2.0)]


@pytest.mark.parametrize("runs", [False, True])
@virtual
async def test_whoever_takes_the_place_of_one_that_is_cancelled_has_it_in_the_lane_too(runs: bool) -> None:
    cue, log = described()
    async with cue:
        if not runs:
            await submit(cue, "first")
        leader = await submit(cue, "a", key="k")
        successor = await submit(cue, "a", key="k")
        await submit(cue, "last")
        await asyncio.sleep(0.5)
        leader.cancel()
        assert cue._core.lanes["x"].place_of(successor.work) == (1 if runs else 2)
    assert await successor == "a"
    expected = [("a", 0.0), ("last", 1.0)] if runs else [("first", 0.0), ("a", 1.0), ("last", 2.0)]
    assert begun(log) == expected


@virtual
async def test_what_another_makes_is_waited_for_by_the_head_and_its_lane() -> None:
    cue, log = described()
    made = Flag("made")

    @cue.task("make", outputs=made)
    async def make(work: runcue.Work) -> None:
        await asyncio.sleep(3)
        made.set()

    async with cue:
        await submit(cue, "a", inputs=made)
        await submit(cue, "b")
        await cue.submit("make", lane="y")
        await submit(cue, "c", "y")
    assert begun(log) == [("a", 3.0), ("c", 3.0), ("b", 4.0)]


@virtual
async def test_a_lane_is_waited_for_first_and_then_what_is_needed() -> None:
    cue, log = described()
    made = Flag("made")

    @cue.task("make", outputs=made)
    async def make(work: runcue.Work) -> None:
        await asyncio.sleep(3)
        made.set()

    async with cue:
        await cue.submit("make")
        await submit(cue, "a")
        await submit(cue, "b", inputs=made)
        await submit(cue, "c")
    assert begun(log) == [("a", 0.0), ("b", 3.0), ("c", 4.0)]


@virtual
async def test_a_reader_of_a_folder_does_not_wait_for_a_maker_in_it_that_comes_after_it_in_its_lane(
    tmp_path: Any,
) -> None:
    cue, _ = described()
    (tmp_path / "folder").mkdir()

    @cue.task("make", outputs=tmp_path / "folder" / "file")
    async def make(work: runcue.Work) -> None:
        with work.write(work.outputs[0]) as file:
            file.write("")

    async with cue:
        reader = await submit(cue, "reads", inputs=tmp_path / "folder")
        maker = await cue.submit("make", lane="x")
        await asyncio.wait([asyncio.ensure_future(maker.wait())], timeout=30)
    assert reader.state is maker.state is WorkState.COMPLETED


@pytest.mark.rule(41)
@virtual
async def test_maps_and_groups_take_part() -> None:
    cue = runcue.Cue()
    running: list[int] = []

    @cue.task("t", lane=lambda number: number % 2)
    async def t(number: int) -> int:
        running.append(number % 2)
        assert running.count(number % 2) == 1
        await asyncio.sleep(1)
        running.remove(number % 2)
        return number

    async with cue:
        found = [value async for value in cue.map(t, range(10), ordered=True, values=True)]
        async with cue.group() as group:
            for _ in range(3):
                await group.submit("t", {"number": 0}, lane="g")
    assert found == list(range(10))
    assert now() == 8.0


@pytest.mark.rule(42)
@virtual
async def test_those_that_wait_in_a_lane_count_as_pending_where_there_is_no_room() -> None:
    cue, log = described(max_pending=2)
    async with cue:
        for name in "abcde":
            await submit(cue, name)
    assert [instant for _, instant in begun(log)] == [0.0, 1.0, 2.0, 3.0, 4.0]


@pytest.mark.rule(19)
@virtual
async def test_a_time_out_of_those_pending_counts_in_a_lane_too() -> None:
    cue, log = described(pending_timeout=2.5)

    @cue.on_failure
    def hear(work: runcue.Work, error: BaseException) -> None: ...

    cue.start()
    handles = [await submit(cue, name, seconds=2) for name in "abcd"]
    await asyncio.sleep(20)
    assert begun(log) == [("a", 0.0), ("b", 2.0)]
    assert isinstance(handles[3].exception(), runcue.PendingTimeout)
    assert "in lane 'x', behind" in str(handles[3].exception())
    await cue.stop()


def test_other_threads_and_blocking_programs_name_lanes() -> None:
    log: list[str] = []
    cue = runcue.Cue()

    @cue.task
    def t(name: str) -> None:
        log.append(f"begin {name}")
        time.sleep(0.01)
        log.append(f"end {name}")

    @cue.task
    def parent(work: runcue.Work) -> None:
        for name in "cd":
            work.submit("t", {"name": name}, lane="x")

    with runcue.blocking(cue) as b:
        for name in "ab":
            b.submit("t", {"name": name}, lane="x")
        b.submit("parent")
    assert log == [f"{what} {name}" for name in "abcd" for what in ("begin", "end")]


# Order by priority.


def one_at_a_time() -> tuple[runcue.Cue, list[str]]:
    cue = runcue.Cue(head_start=None)
    cue.service("one", concurrent=1)
    begun: list[str] = []

    @cue.task("t", uses="one")
    async def t(work: runcue.Work) -> None:
        begun.append(work.params["name"])
        await asyncio.sleep(1)

    return cue, begun


@virtual
@pytest.mark.rule(6)
async def test_a_lane_goes_with_the_highest_priority_in_it_as_long_as_that_one_stays() -> None:
    for cancels, order in (
        (False, ["busy", "low", "urgent", "other"]),
        (True, ["busy", "other", "low"]),
    ):
        cue, begun = one_at_a_time()
        async with cue:
            await cue.submit("t", {"name": "busy"}, priority=1.0)
            await asyncio.sleep(0.1)
            await cue.submit("t", {"name": "other"}, priority=0.5)
            await cue.submit("t", {"name": "low"}, priority=0.1, lane="x")
            await asyncio.sleep(0.1)
            urgent = await cue.submit("t", {"name": "urgent"}, priority=0.9, lane="x")
            await asyncio.sleep(0.1)
            if cancels:
                urgent.cancel()
        assert begun == order


@virtual
@pytest.mark.rule(6, 28)
async def test_who_joins_one_of_a_lane_lends_its_priority_to_the_lane() -> None:
    for leaves, order in ((False, ["busy", "a", "b", "other"]), (True, ["busy", "other", "a", "b"])):
        cue, begun = one_at_a_time()
        async with cue:
            await cue.submit("t", {"name": "busy"}, priority=1.0)
            await cue.submit("t", {"name": "other"}, priority=0.5)
            await cue.submit("t", {"name": "a"}, priority=0.1, lane="x")
            await cue.submit("t", {"name": "b"}, priority=0.1, lane="x", key="b")
            await asyncio.sleep(0.1)
            joined = await cue.submit("t", {"name": "b"}, priority=0.9, lane="x", key="b")
            await asyncio.sleep(0.1)
            if leaves:
                joined.cancel()
        assert begun == order


# What is said of them.


@pytest.mark.rule(51)
@virtual
async def test_why_says_whom_one_of_a_lane_waits_for() -> None:
    cue, _ = described()
    cue.start()
    handles = [await submit(cue, name, "user:42", seconds=60) for name in map(str, range(13))]
    first = f"one {handles[0]}"
    await asyncio.sleep(4)
    why = cue.why(handles[2])
    assert why.verdict == "waiting for its lane"
    assert why.details == f"third in lane 'user:42', behind {first} (has run for 4 s)"
    assert why.chain == (handles[2].work, handles[0].work)
    assert cue.why(handles[12]).details.startswith("number 13 in lane")
    assert str(cue.why()) == f"12 one wait behind {first} in its lane, which has run for 4 s"
    blocked = cue.debug_blocked()
    assert [one["reason"] for one in blocked] == ["not_ready"] * 12
    assert blocked[0]["details"].startswith(f"second in lane 'user:42', behind {first} (has run for 4 s)")
    handles[1].cancel()
    assert cue.why(handles[2]).details.startswith("second in lane")
    await cue.stop(timeout=0)


@virtual
async def test_a_head_that_is_pending_is_the_root_of_what_its_lane_waits_for() -> None:
    cue, _ = described()
    cue.start()
    await submit(cue, "a", inputs=Flag("gone"))
    behind = await submit(cue, "b")
    await asyncio.sleep(1)
    why = cue.why(behind)
    assert "(pending)" in why.details
    assert why.root is not None
    assert why.root.verdict == "no producer"
    summary = await cue.drain()
    assert len(summary.blocked) == 2
    await cue.stop(drain=False)


@virtual
async def test_who_has_just_come_to_have_the_lane_waits_behind_nobody() -> None:
    cue, _ = described(pending_timeout=2)
    told: list[str] = []
    cue.on_failure(lambda work, error: told.append(str(error)))
    cue.service("slow", rate="1/min")
    cue.task("slow", uses="slow")(lambda work: None)
    cue.start()
    for _ in range(3):
        await cue.submit("slow", lane="x")
    await asyncio.sleep(5)
    assert len(told) == 2
    assert told[0].endswith("slow: 1/min is used up, next start in 58.0 s")
    assert told[1].endswith("not asked yet")
    await cue.stop()


@virtual
async def test_lanes_that_wait_for_those_that_run_are_told_together() -> None:
    cue, _ = described()
    cue.start()
    for number in range(30):
        await submit(cue, str(number), lane=number % 10, seconds=60)
    await asyncio.sleep(1)
    assert "20 one wait behind 10 one in their lanes, of which one" in str(cue.why())
    await cue.stop(timeout=0)


@pytest.mark.rule(52)
@virtual
async def test_a_handler_that_awaits_what_comes_after_it_in_its_lane_is_a_proven_deadlock() -> None:
    cue, _ = described()

    @cue.task("parent", lane="x")
    async def parent(work: runcue.Work) -> None:
        await (await submit(cue, "child"))

    cue.start()
    handle = await cue.submit("parent")
    await asyncio.sleep(2)
    why = cue.why(handle)
    assert why.verdict == "deadlock"
    child = cue.debug_blocked()[0]["work"]
    assert f"one {child.id} needs the lane 'x', which parent {handle} has" in why.details
    assert "another lane=" in why.next_step
    summary = await cue.drain()
    assert summary.deadlocked == [handle.work]
    await cue.stop(timeout=0)


@pytest.mark.rule(52)
@virtual
async def test_lanes_that_wait_for_each_other_are_a_proven_deadlock() -> None:
    cue, _ = described()
    waits: dict[str, Any] = {}

    @cue.task("waits")
    async def wait(work: runcue.Work) -> None:
        await waits[work.params["for"]]

    cue.start()
    first = await cue.submit("waits", {"for": "b"}, lane="a")
    second = await cue.submit("waits", {"for": "a"}, lane="b")
    waits["a"], waits["b"] = await submit(cue, "1", "a"), await submit(cue, "2", "b")
    await asyncio.sleep(2)
    assert cue.why(first).verdict == cue.why(second).verdict == "deadlock"
    assert {*(await cue.drain()).deadlocked} == {first.work, second.work}
    await cue.stop(timeout=0)


@pytest.mark.rule(52)
@virtual
async def test_a_head_that_needs_what_one_behind_it_makes_is_told_as_a_cycle(caplog: Any) -> None:
    cue, _ = described()
    made = Flag("made")

    @cue.task("make", outputs=made)
    async def make(work: runcue.Work) -> None:
        made.set()

    cue.start()
    reader = await submit(cue, "reads", inputs=made)
    maker = await cue.submit("make", lane="x")
    assert cue.why(reader).details == f"input Flag('made') is being made by make {maker}"
    await asyncio.sleep(2)
    assert cue.why(reader).verdict == cue.why(maker).verdict == "cycle"
    assert "(for lane 'x')" in caplog.text
    assert f"submit make {maker} before one {reader}, or give one of the two another lane=" in caplog.text
    assert len((await cue.drain()).blocked) == 2
    await cue.stop(drain=False)


# Mistakes.


@pytest.mark.rule(51)
@pytest.mark.parametrize(
    ("lane", "words"),
    [
        (["a"], "must be something hashable by which it is known, such as text or a tuple, not ['a']"),
        ({"a": 1}, "not {'a': 1}: TypeError: unhashable"),
        (float("nan"), "not equal to itself"),
        (iter("a"), "equal to nothing else"),
    ],
)
@virtual
async def test_a_value_that_can_be_no_lane_is_refused_in_the_line_of_the_mistake(
    lane: Any, words: str
) -> None:
    cue, _ = described()
    with pytest.raises(runcue.ConfigurationError) as refused:
        await submit(cue, "a", lane)
    assert words in str(refused.value)
    assert str(refused.value).startswith("lane must be")
    with pytest.raises(runcue.ConfigurationError, match=r"lane of task 't' must be"):
        cue.task("t", lane=lane)
    assert cue.counts()["pending"] == 0


def test_a_function_that_can_give_no_lane_is_refused_where_it_is_given() -> None:
    cue = runcue.Cue()

    async def later(work: runcue.Work) -> str:
        return "a"

    def forgets(work: runcue.Work) -> None:
        str(work)

    with pytest.raises(runcue.ConfigurationError, match="lane of task 't' must be given by a plain function"):
        cue.task("t", lane=later)
    with pytest.raises(runcue.ConfigurationError, match="returns nothing; is a `return` missing"):
        cue.task("t", lane=forgets)
    with pytest.raises(runcue.ConfigurationError, match="lane of task 't'"):

        @cue.task("t", lane=lambda user, page: (user, page))
        def t(name: str) -> None: ...

    coroutine = later(None)  # type: ignore[arg-type]
    with pytest.raises(runcue.ConfigurationError, match="await it before"):
        cue.task("t", lane=coroutine)


@virtual
async def test_a_function_that_raises_or_gives_no_lane_fails_its_work_unit_alone() -> None:
    cue, log = described()

    @cue.on_failure
    def hear(work: runcue.Work, error: BaseException) -> None: ...

    async with cue:
        raised = await submit(cue, "a", lambda work: work.params["user"])
        unhashable = await submit(cue, "b", lambda work: [work.params["name"]])
        itself = await submit(cue, "c", lambda work: work)
        misplaced = await submit(cue, "d", lambda work: 1 / 0, outputs=Flag("o"))
        await submit(cue, "e")
    words = [str(one.exception()) for one in (raised, unhashable, itself, misplaced)]
    assert "lane of a submission of task 'one' raised KeyError: 'user' in " in words[0]
    assert "gave ['b'], which is no lane: TypeError: unhashable type: 'list'" in words[1]
    assert "which is no lane: each work unit is like no other one" in words[2]
    assert "ZeroDivisionError" in words[3]
    assert all(
        isinstance(one.exception(), runcue.LimitError) for one in (raised, unhashable, itself, misplaced)
    )
    assert begun(log) == [("e", 0.0)]


@virtual
async def test_lanes_are_told_apart_by_value_and_kind_of_text() -> None:
    cue, log = described()
    async with cue:
        for name, lane in (("a", "1"), ("b", 1), ("c", (1,)), ("d", 1), ("e", (1,)), ("f", "")):
            await submit(cue, name, lane)
    assert begun(log) == [("a", 0.0), ("b", 0.0), ("c", 0.0), ("f", 0.0), ("d", 1.0), ("e", 1.0)]


# Many.


@virtual
async def test_many_lanes_and_a_long_one_leave_nothing_behind() -> None:
    cue = runcue.Cue()
    done: list[int] = []

    @cue.task("t")
    async def t(work: runcue.Work) -> None:
        done.append(work.params["number"])

    async with cue:
        for number in range(2_000):
            await cue.submit("t", {"number": -1}, lane=number)
        for number in range(2_000):
            await cue.submit("t", {"number": number}, lane="one")
    assert [number for number in done if number >= 0] == list(range(2_000))
    assert len(done) == 4_000
    assert not cue._core.lanes
    assert not cue._core.dependencies.subscribers


@virtual
async def test_a_task_that_is_defined_anew_keeps_its_lane() -> None:
    cue = runcue.Cue()
    begun: list[tuple[str, float]] = []

    def define(version: str) -> None:
        @cue.task("t", lane="x")
        async def t(work: runcue.Work) -> None:
            begun.append((version, now()))
            await asyncio.sleep(1)

    define("old")
    async with cue:
        await cue.submit("t")
        await cue.submit("t")
        await asyncio.sleep(0.5)
        define("new")
        await cue.submit("t")
    assert begun == [("old", 0.0), ("new", 1.0), ("new", 2.0)]


@virtual
async def test_whoever_does_once_more_what_has_failed_is_in_the_same_lane() -> None:
    cue, log = described()

    @cue.task("fails", lane=lambda user, times: (user, times[0]))
    async def fails(user: str, times: list[int]) -> None:
        times[0] += 1
        if times[0] < 3:
            raise ValueError

    @cue.on_failure
    def hear(work: runcue.Work, error: BaseException) -> None: ...

    async with cue:
        by_task = await cue.submit("fails", {"user": "u", "times": [0]})
        by_value = await cue.submit("fails", {"user": "u", "times": [0]}, lane="x")
        await by_task.wait()
        await by_value.wait()
        first = await submit(cue, "a")
        again = await cue.retry(by_value)
        await submit(cue, "b")
        assert cue._core.lanes["x"].works() == [first.work, again.work, *cue._core.lanes["x"].works()[2:]]
        once_more = await cue.retry(by_task)
        assert once_more.work._declared is not None
        assert repr(once_more.work._declared.lane) == "('u', 0)"
    assert begun(log) == [("a", 0.0), ("b", 1.0)]
