"""The timer for instants after which each moment is lost: never early, heard on both loops, and gone with its cue."""

from __future__ import annotations

import asyncio
import gc
import time
from contextlib import suppress
from contextvars import ContextVar, copy_context
from itertools import pairwise
from pathlib import Path

import pytest

import runcue
from runcue._dispatch import exact_timer
from runcue._dispatch.exact_timer import ExactTimer
from tests.support.loops import each_loop, run_on

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/fd").exists(), reason="there are no timers that are files"
)


def timers() -> int:
    """How many such files this process has open."""
    found = 0
    for file in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            found += str(file.readlink()) == "anon_inode:[timerfd]"
    return found


@each_loop
def test_it_calls_once_in_the_given_context_and_never_before_the_instant(loop: str) -> None:
    where: ContextVar[str] = ContextVar("where", default="nowhere")

    async def main() -> None:
        context = copy_context()
        context.run(where.set, "there")
        timer = ExactTimer(asyncio.get_running_loop())
        called: list[tuple[float, str]] = []
        for milliseconds in (0.0, 0.1, 0.7, 1.0, 3.3, 10.0):
            when = time.monotonic() + milliseconds / 1000
            called.clear()
            timer.call_at(when, lambda: called.append((time.monotonic(), where.get())), context)
            while not called:
                await asyncio.sleep(0.001)
            assert called[0][0] >= when
            assert called[0][1] == "there"
        await asyncio.sleep(0.005)
        assert len(called) == 1
        timer.close()

    run_on(loop, main)


@each_loop
def test_it_has_one_instant_and_can_be_cancelled(loop: str) -> None:
    async def main() -> None:
        timer = ExactTimer(asyncio.get_running_loop())
        called: list[str] = []
        context = copy_context()
        timer.call_at(time.monotonic() + 0.002, lambda: called.append("first"), context)
        timer.call_at(time.monotonic() + 0.004, lambda: called.append("second"), context)
        await asyncio.sleep(0.02)
        assert called == ["second"]
        timer.call_at(time.monotonic() + 0.002, lambda: called.append("cancelled"), context).cancel()
        await asyncio.sleep(0.02)
        assert called == ["second"]
        timer.close()
        timer.close()

    run_on(loop, main)


async def serve(count: int) -> list[float]:
    """Have a few work units start through a rate that keeps nothing. Returns when they did."""
    cue = runcue.Cue()
    cue.service("api", rate="500/sec", burst=1)
    starts: list[float] = []

    @cue.task("t", uses="api")
    async def t(work: runcue.Work) -> None:
        starts.append(time.monotonic())

    cue.start()
    for _ in range(count):
        await cue.submit("t")
    while len(starts) < 5:
        await asyncio.sleep(0.001)
    if count == 5:
        await cue.stop()
    return starts


@pytest.mark.rule(7)
@each_loop
@pytest.mark.parametrize("there_are", [True, False], ids=["a file", "no such files"])
def test_with_and_without_it_a_rate_is_kept_and_nothing_is_left_open(
    there_are: bool, loop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        raise OSError("none here")

    gc.collect()
    before = timers()
    if not there_are:
        monkeypatch.setattr(exact_timer, "_libc", refuse)
    starts = run_on(loop, lambda: serve(5))
    assert all(later - earlier >= 0.00199 for earlier, later in pairwise(starts))
    assert timers() == before


@each_loop
def test_it_goes_with_a_cue_that_nobody_has_stopped(loop: str) -> None:
    gc.collect()
    before = timers()
    with pytest.warns(ResourceWarning, match="A Cue was not stopped"):
        run_on(loop, lambda: serve(2000))
    gc.collect()
    assert timers() == before


def test_it_goes_with_a_loop_that_was_closed_before_it() -> None:
    loop = asyncio.new_event_loop()
    before = timers()
    timer = ExactTimer(loop)
    assert timers() == before + 1
    loop.close()
    del timer, loop
    gc.collect()
    assert timers() == before


def test_where_the_loop_cannot_wait_for_files_nothing_is_left_open() -> None:
    class Proactor(asyncio.SelectorEventLoop):
        def add_reader(self, *args: object) -> None:
            raise NotImplementedError

    loop = Proactor()
    before = timers()
    with pytest.raises(NotImplementedError):
        ExactTimer(loop)
    assert timers() == before
    loop.close()


def test_a_timer_that_cannot_be_had_is_an_error_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    class Libc:
        timerfd_settime = None

        def timerfd_create(self, clock: int, flags: int) -> int:
            return -1

    monkeypatch.setattr(exact_timer, "_libc", Libc)
    loop = asyncio.new_event_loop()
    with pytest.raises(OSError, match="timerfd"):
        ExactTimer(loop)
    loop.close()
