"""Rules 28 and 32 for handlers that a stop, or the end of their event loop, has given up and that go on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextvars import Context
from pathlib import Path
from typing import Any

import pytest

import runcue
from runcue.testing import FakeExecutor

Loop = Callable[[], asyncio.AbstractEventLoop]


def _both_loops() -> list[Loop]:
    loops: list[Loop] = [asyncio.new_event_loop]
    try:
        import uvloop

        loops.append(uvloop.new_event_loop)
    except ImportError:
        pass
    return loops


both_loops = pytest.mark.parametrize("loop", _both_loops())


class Late:
    """A handler in a thread: its first run writes half, and the rest when it is let; the others write at once."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.go_on = threading.Event()
        self.returned = threading.Event()
        self.runs = 0
        self.running = 0
        self.most = 0
        self.error: Exception | None = None

    def __call__(self, work: runcue.Work) -> None:
        self.runs += 1
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            if self.runs > 1:
                Path("o").write_text("whole")
                return
            Path("o").write_text("half")
            self.entered.set()
            self.go_on.wait(10)
            Path("o").write_text("late half")
            if self.error is not None:
                raise self.error
        finally:
            self.running -= 1
            if self.go_on.is_set():
                self.returned.set()

    async def is_in(self) -> None:
        assert await asyncio.to_thread(self.entered.wait, 10)

    async def has_returned(self) -> None:
        self.go_on.set()
        assert await asyncio.to_thread(self.returned.wait, 10)
        await asyncio.sleep(0.05)  # what is around it has to return, too


@pytest.fixture
def late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Late]:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    Path("i").write_text("input")
    one = Late()
    yield one
    one.go_on.set()
    assert not one.running or one.returned.wait(10)  # else it writes where the next one is


def text(path: str) -> str:
    return Path(path).read_text()


def write(path: str, content: str) -> None:
    Path(path).write_text(content)


def marks() -> list[Path]:
    return list(Path(".runcue-marks").glob("*.mark"))


def cue_of(late: Late, **declared: Any) -> runcue.Cue:
    cue = runcue.Cue(id_prefix="")
    declared = declared or {"inputs": "i", "outputs": "o"}
    cue.task("t", **declared)(late)

    @cue.task("read", inputs="o", outputs="r", fresh=declared.get("fresh", runcue.newer()))
    def read(work: runcue.Work) -> None:
        Path("r").write_text(Path("o").read_text())

    return cue


async def give_up(cue: runcue.Cue, late: Late) -> None:
    """Have a stop give the first run up."""
    handle = await cue.submit("t", force=True)
    await late.is_in()
    summary = await cue.stop(drain=False, timeout=0.05)
    assert [work.id for work in summary.abandoned] == [handle.work.id]


@pytest.mark.rule(28)
@both_loops
@pytest.mark.parametrize("fresh", [runcue.newer(), runcue.digest(), None], ids=["newer", "digest", "None"])
@pytest.mark.parametrize("error", [None, OSError("late")], ids=["returns", "raises"])
def test_a_thread_that_a_stop_gave_up_remains_the_producer_after_the_next_start(
    late: Late, loop: Loop, fresh: Any, error: Exception | None
) -> None:
    late.error = error

    async def main() -> None:
        cue = cue_of(late, inputs="i", outputs="o", fresh=fresh)
        cue.start()
        await give_up(cue, late)
        cue.start()
        again = await cue.submit("t")
        reader = await cue.submit("read")
        drained = asyncio.ensure_future(cue.drain())
        await asyncio.sleep(0.2)
        assert again.work.state is reader.work.state is runcue.WorkState.PENDING
        assert not drained.done()
        assert "t 1 has been cancelled, but its handler has not returned" in str(cue.why(again))
        late.go_on.set()
        await asyncio.wait_for(drained, 5)
        assert (late.runs, late.most) == (2, 1)
        assert text("r") == "whole"
        await cue.stop()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main())


@pytest.mark.rule(28)
@both_loops
@pytest.mark.parametrize("end", ["while it runs", "before the start", "before the submission"])
@pytest.mark.parametrize("declared", [{"inputs": "i", "outputs": "o"}, {"key": "k"}], ids=["file", "key"])
def test_a_thread_remains_the_producer_in_the_next_event_loop(
    late: Late, loop: Loop, end: str, declared: dict[str, Any]
) -> None:
    cue = cue_of(late, **declared)

    async def first() -> None:
        cue.start()
        await cue.submit("t")
        await late.is_in()

    async def second() -> None:
        if end == "before the submission":
            await late.has_returned()
        again = await cue.submit("t")
        if end == "before the start":
            await late.has_returned()
        cue.start()
        if end == "while it runs":
            await asyncio.sleep(0.2)
            assert again.work.state is runcue.WorkState.PENDING
            late.go_on.set()
        await asyncio.wait_for(again.result(), 5)
        await cue.stop()

    for main in (first, second):
        with asyncio.Runner(loop_factory=loop) as runner:
            runner.run(main())
    assert (late.runs, late.most) == (2, 1)


@pytest.mark.rule(28)
async def test_what_has_returned_between_a_stop_and_the_next_start_holds_up_nobody(late: Late) -> None:
    cue = cue_of(late)
    cue.start()
    await give_up(cue, late)
    await late.has_returned()
    async with cue:
        again = await cue.submit("t")
        await asyncio.wait_for(again.result(), 5)
    assert (late.runs, late.most) == (2, 1)
    assert not marks()


@pytest.mark.rule(28)
async def test_a_stop_does_not_wait_for_what_an_earlier_one_gave_up(late: Late) -> None:
    cue = cue_of(late)
    cue.start()
    await give_up(cue, late)
    cue.start()
    again = await cue.submit("t")
    await asyncio.wait_for(cue.stop(drain=False), 5)
    assert again.work.state is runcue.WorkState.CANCELLED
    cue.start()
    await asyncio.wait_for(cue.drain(), 5)
    await asyncio.wait_for(cue.stop(), 5)
    assert late.runs == 1


@pytest.mark.rule(28)
async def test_a_coroutine_in_its_clean_up_that_a_stop_gave_up_remains_the_producer(late: Late) -> None:
    cue = runcue.Cue(id_prefix="")
    steps: list[str] = []
    may_end = asyncio.Event()

    @cue.task("t", outputs="o")
    async def t(work: runcue.Work) -> None:
        steps.append("in")
        try:
            if len(steps) == 1:
                await asyncio.sleep(10)
        finally:
            if len(steps) == 1:
                await may_end.wait()
            write("o", "x")
            steps.append("out")

    cue.start()
    await cue.submit("t")
    await asyncio.sleep(0.05)
    await cue.stop(drain=False, timeout=0.05)
    cue.start()
    again = await cue.submit("t")
    await asyncio.sleep(0.1)
    assert steps == ["in"]
    may_end.set()
    await asyncio.wait_for(again.result(), 5)
    assert steps == ["in", "out", "in", "out"]
    await cue.stop()


class Slow:
    """An executor that hands over what it was given when it is told to, stopped or not."""

    def __init__(self) -> None:
        self.given: list[Callable[[], Any]] = []

    def start(self, deliver: Any, entered: Any, clock: Any) -> None:
        pass

    def submit(self, work: Any, handler: Callable[[Any], Any], context: Context, *, stamped: bool) -> None:
        self.given.append(lambda: context.run(handler, work))

    def stop(self) -> None:
        pass


@pytest.mark.rule(28)
async def test_a_handler_that_was_given_up_before_it_was_entered_is_not_entered_any_more(late: Late) -> None:
    cue, slow = runcue.Cue(id_prefix=""), Slow()
    late.runs = 1
    cue.task("t", outputs="o", run_in=slow)(late)
    cue.start()
    await cue.submit("t")
    await asyncio.sleep(0.05)
    await cue.stop(drain=False, timeout=0.05)
    cue.start()
    again = await cue.submit("t")
    await asyncio.sleep(0.05)
    assert again.work.state is runcue.WorkState.RUNNING
    for run in slow.given:
        run()
    assert late.runs == 2
    await cue.stop(drain=False, timeout=0.05)


@pytest.mark.rule(28)
async def test_what_an_executor_without_threads_was_given_is_let_go_when_it_returns(late: Late) -> None:
    cue = runcue.Cue(id_prefix="", run_in=FakeExecutor(0.2))
    late.runs = 1
    cue.task("t", outputs="o")(late)
    cue.start()
    await cue.submit("t")
    await asyncio.sleep(0.05)
    await cue.stop(drain=False, timeout=0.01)
    async with cue:
        await asyncio.wait_for((await cue.submit("t")).result(), 5)
    assert late.runs == 2


@pytest.mark.rule(32)
@pytest.mark.parametrize("made", ["o", "."], ids=["the same", "the folder that it is in"])
async def test_the_success_of_another_cue_is_no_proof_while_a_handler_goes_on_that_was_given_up(
    late: Late, made: str
) -> None:
    cue = cue_of(late, inputs=None if made == "." else "i", outputs=made)
    cue.start()
    await give_up(cue, late)

    other = runcue.Cue(id_prefix="other-")
    runs: list[str] = []

    @other.task("t", outputs="o")
    def make(work: runcue.Work) -> None:
        runs.append("t")
        Path("o").write_text("by another")

    @other.task("read", inputs="o", outputs="elsewhere/r")
    def read(work: runcue.Work) -> None:
        runs.append(Path("o").read_text())
        Path("elsewhere").mkdir(exist_ok=True)
        Path("elsewhere/r").write_text("r")

    async with other:
        await (await other.submit("t")).result()
        reader = await other.submit("read")
        await asyncio.sleep(0.1)
        assert reader.work.state is runcue.WorkState.PENDING
        await late.has_returned()
        assert text("o") == "late half"
        await (await other.submit("t")).result()
        await asyncio.wait_for(reader.result(), 5)
        await (await other.submit("t")).result()
    assert runs == ["t", "t", "by another"]
