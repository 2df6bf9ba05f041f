"""Everything is looked at once in a turn of the loop at most, and other threads wake it once, whatever happens."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

import runcue
from tests.support.turns import Turns

LOOPS = ["asyncio", "uvloop"]
each_loop = pytest.mark.parametrize("loop", LOOPS)


def run(loop: str, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    factory = pytest.importorskip("uvloop").new_event_loop if loop == "uvloop" else asyncio.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main())


class Load:
    """Ten handlers at a time that suspend once and submit the next, beside a work unit that is never ready."""

    def __init__(self, **more: Any) -> None:
        self.cue = cue = runcue.Cue(**more)
        self.done = 0
        self.goes_on = True
        cue.service("slots", concurrent=10)

        @cue.task("again", uses="slots", timeout=0.05)
        async def again(work: runcue.Work) -> None:
            await asyncio.sleep(0)
            self.done += 1
            if self.goes_on:
                await cue.submit("again")

        @cue.task("never")
        async def never(work: runcue.Work) -> None: ...

        cue.is_ready(lambda work: work.task != "never")

    async def begin(self) -> None:
        await self.cue.submit("never")
        for _ in range(10):
            await self.cue.submit("again")

    async def end(self) -> None:
        self.goes_on = False
        await self.cue.stop(drain=False)


@pytest.mark.rule(1)
@each_loop
def test_under_load_everything_is_looked_at_once_in_a_turn_however_many_timers_fire(loop: str) -> None:
    async def main() -> None:
        load = Load()
        cue = load.cue
        # Each refusal by the rate sets a timer, and each start of the others a time-out.
        cue.service("rated", rate="500/sec", burst=1)
        cue.task("rated", uses="rated")(lambda work: None)
        turns = Turns(cue)
        async with cue:
            await load.begin()
            for _ in range(200):
                await cue.submit("rated")
            while load.done < 3_000:
                await asyncio.sleep(0.01)
            turns.end()
            await load.end()
        assert turns.most == 1
        assert turns.looks <= turns.turns

    run(loop, main)


class Watched:
    """Counts what threads give a loop to call."""

    def __init__(self, loop: str) -> None:
        base: Any = asyncio.SelectorEventLoop if loop == "asyncio" else pytest.importorskip("uvloop").Loop
        calls: list[str] = []

        class Counting(base):  # type: ignore[misc]
            def call_soon_threadsafe(self, callback: Any, *args: Any, context: Any = None) -> Any:
                calls.append(getattr(callback, "__qualname__", type(callback).__name__))
                return super().call_soon_threadsafe(callback, *args, context=context)

        self.calls = calls
        self.factory = Counting


@pytest.mark.rule(1, 4)
@each_loop
def test_however_often_threads_nudge_a_busy_loop_it_is_woken_once(loop: str) -> None:
    watched = Watched(loop)
    asked: list[str] = []

    async def main() -> None:
        cue = runcue.Cue(recheck=False)

        @cue.task("never", inputs="never/there")
        async def never(work: runcue.Work) -> None: ...

        @cue.is_ready
        def count(work: runcue.Work) -> bool:
            asked.append(work.id)
            return False

        @cue.task("gated")
        async def gated(work: runcue.Work) -> None: ...

        async with cue:
            await cue.submit("never")
            await cue.submit("gated")
            await cue.drain()
            watched.calls.clear()
            asked.clear()

            def nudges() -> None:
                for _ in range(500):
                    cue.nudge()
                    cue.nudge("never/there")

            threads = [threading.Thread(target=nudges) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()  # nobody turns the loop meanwhile
            assert len(watched.calls) == 1
            await cue.drain()
            assert asked, "they were heard"
            assert len(asked) < 10
            await cue.stop(drain=False)

    with asyncio.Runner(loop_factory=watched.factory) as runner:
        runner.run(main())


@pytest.mark.rule(4)
@each_loop
def test_what_changed_while_no_loop_ran_is_asked_about_at_the_next_start(loop: str) -> None:
    cue = runcue.Cue(recheck=False)
    is_ready = False
    cue.task("t")(lambda work: "done")
    cue.is_ready(lambda work: is_ready)

    async def first() -> None:
        cue.start()
        handles.append(await cue.submit("t"))
        await cue.drain()

    async def second() -> None:
        cue.start()
        assert await asyncio.wait_for(handles[0].result(), 5.0) == "done"
        await cue.stop()

    handles: list[runcue.WorkHandle] = []
    run(loop, first)
    is_ready = True
    teller = threading.Thread(target=cue.nudge)
    teller.start()
    teller.join()
    began = time.monotonic()
    run(loop, second)
    assert time.monotonic() - began < 5.0
