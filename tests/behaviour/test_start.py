"""A start that fails has started nothing, and can be made again once what was wrong is mended."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

import runcue
from runcue.testing import FakeExecutor

pytestmark = pytest.mark.rule(19)

LOOPS = ["asyncio", "uvloop"]
each_loop = pytest.mark.parametrize("loop", LOOPS)
each_way = pytest.mark.parametrize("way", ["start", "async with"])


def run(loop: str, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    factory = pytest.importorskip("uvloop").new_event_loop if loop == "uvloop" else asyncio.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main())


async def begin(cue: runcue.Cue, way: str) -> None:
    if way == "start":
        cue.start()
    else:
        await cue.__aenter__()


async def assert_not_started(cue: runcue.Cue, handle: runcue.WorkHandle) -> None:
    assert "not started" in repr(cue)
    await asyncio.sleep(0.02)
    assert handle.work.state is runcue.WorkState.PENDING
    with pytest.raises(runcue.UsageError, match="needs a started cue"):
        await cue.drain()
    with pytest.raises(runcue.UsageError, match="never started"):
        await cue.stop()


class Temperamental(FakeExecutor):
    """Fails to start while it is broken, and to stop if it is stubborn; it is one that runs at once otherwise."""

    def __init__(self, *, broken: bool = False, stubborn: bool = False) -> None:
        super().__init__()
        self.broken = broken
        self.stubborn = stubborn
        self.running = 0

    def start(self, *args: Any) -> None:
        if self.broken:
            raise OSError("no such cluster")
        super().start(*args)
        self.running += 1

    def stop(self) -> None:
        self.running -= 1
        super().stop()
        if self.stubborn:
            raise OSError("no goodbye")


@each_loop
@each_way
def test_executors_that_do_not_start_leave_the_others_stopped(
    way: str, loop: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        cue = runcue.Cue()
        good, bad = [Temperamental(stubborn=True), Temperamental()], Temperamental(broken=True)
        for number, executor in enumerate([*good, bad]):
            cue.task(f"t{number}", run_in=executor)(lambda work: work.task)
        handle = await cue.submit("t0")
        with pytest.raises(OSError, match="no such cluster"):
            await begin(cue, way)
        assert [one.running for one in good] == [0, 0]
        assert "no goodbye" in caplog.text
        await assert_not_started(cue, handle)
        other = runcue.Cue()
        other.task("t", run_in=good[1])(lambda work: None)
        other.start()  # it is free
        await other.stop()
        bad.broken = False
        await begin(cue, way)
        assert await asyncio.wait_for(handle.result(), 5.0) == "t0"
        await cue.stop()

    run(loop, main)


@each_loop
@each_way
def test_a_watch_for_which_there_is_no_thread_leaves_the_cue_not_started(
    way: str, loop: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("watchfiles")
    start = threading.Thread.start
    left = 1

    def refuses(thread: threading.Thread) -> None:
        nonlocal left
        if thread.name == "runcue-watch":
            left -= 1
            if left < 0:
                raise RuntimeError("can't start new thread")
        start(thread)

    async def main() -> None:
        nonlocal left
        cue = runcue.Cue()
        cue.task("t")(lambda work: "done")
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            cue.watch(tmp_path / name)
        handle = await cue.submit("t")
        monkeypatch.setattr(threading.Thread, "start", refuses)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            await begin(cue, way)
        await assert_not_started(cue, handle)
        for _ in range(500):
            if not watchers():
                break
            await asyncio.sleep(0.01)
        assert not watchers(), "the first one watches no more"
        left = 100
        await begin(cue, way)
        assert await asyncio.wait_for(handle.result(), 5.0) == "done"
        await cue.stop()

    run(loop, main)


def watchers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "runcue-watch"]


@each_loop
def test_a_watched_folder_that_is_gone_is_waited_for_and_the_cue_runs(loop: str, tmp_path: Path) -> None:
    pytest.importorskip("watchfiles")

    async def main() -> None:
        cue = runcue.Cue()
        cue.task("t")(lambda work: "done")
        folder = tmp_path / "watched"
        folder.mkdir()
        cue.watch(folder)
        shutil.rmtree(folder)
        async with cue:
            assert await (await cue.submit("t")).result() == "done"

    run(loop, main)


@each_way
def test_a_start_in_another_loop_than_the_one_that_is_alive_changes_nothing(way: str) -> None:
    cue = runcue.Cue()
    cue.task("t")(lambda work: "done")
    refused: list[BaseException] = []

    async def elsewhere() -> None:
        with pytest.raises(runcue.WrongLoop) as error:
            await begin(cue, way)
        refused.append(error.value)

    async def main() -> None:
        async with cue:
            thread = threading.Thread(target=lambda: asyncio.run(elsewhere()))
            thread.start()
            while thread.is_alive():
                await asyncio.sleep(0.001)
            assert refused
            assert await (await cue.submit("t")).result() == "done"

    asyncio.run(main())


def test_blocking_can_be_entered_once_what_was_wrong_is_mended() -> None:
    cue, bad = runcue.Cue(), Temperamental(broken=True)
    cue.task("t", run_in=bad)(lambda work: "done")
    with pytest.raises(OSError, match="no such cluster"), runcue.blocking(cue):
        pass
    bad.broken = False
    with runcue.blocking(cue) as blocking:
        assert blocking.result(blocking.submit("t")) == "done"
