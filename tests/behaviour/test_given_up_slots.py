"""Rule 17 for handlers that a stop, or the end of their loop, has given up: they keep their slots until they return."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context
from typing import Any

import pytest

import runcue
from tests.support.loops import each_loop, run_on

pytestmark = pytest.mark.rule(17)


class Crowd:
    """A plain handler that stays until it is let go, and knows how many are in it at once."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.entered = threading.Semaphore(0)
        self.inside = self.most = self.returned = 0
        self._lock = threading.Lock()

    def __call__(self, work: runcue.Work) -> None:
        with self._lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
        self.entered.release()
        if work.params.get("stays"):
            self.go_on.wait(20)
        with self._lock:
            self.inside -= 1
            self.returned += 1

    async def has_entered(self) -> None:
        assert await asyncio.to_thread(self.entered.acquire, True, 10)


@pytest.fixture
def crowd() -> Iterator[Crowd]:
    made = Crowd()
    yield made
    made.go_on.set()


def a_cue(crowd: Crowd, slots: int = 1, **options: Any) -> runcue.Cue:
    cue = runcue.Cue(**options)
    cue.service("one", concurrent=slots)
    cue.task("stay", uses="one")(crowd)
    cue.task("other", uses="one")(crowd)
    return cue


def in_use(cue: runcue.Cue) -> int:
    [service] = [one for one in cue.services() if one.name == "one"]
    return service.in_use


async def begin(cue: runcue.Cue, crowd: Crowd, many: int = 1) -> None:
    for _ in range(many):
        await cue.submit("stay", {"stays": True})
        await crowd.has_entered()


@each_loop
@pytest.mark.parametrize("rate", [None, "1000/sec"])
def test_a_thread_that_was_given_up_keeps_its_slot_after_the_next_start_until_it_returns(
    loop: str, rate: str | None, crowd: Crowd
) -> None:
    async def main() -> None:
        cue = runcue.Cue()
        cue.service("one", concurrent=1, rate=rate)
        cue.task("stay", uses="one")(crowd)
        cue.start()
        await begin(cue, crowd)
        await cue.stop(timeout=0)
        cue.start()
        handle = await cue.submit("stay")
        await asyncio.sleep(0.05)
        assert in_use(cue) == 1
        assert not handle.done()
        why = cue.why(handle)
        assert why.verdict == "waiting for a slot"
        assert len(why.held_by) == 1
        crowd.go_on.set()
        await asyncio.wait_for(handle, 10)
        await cue.stop()
        assert in_use(cue) == 0

    run_on(loop, main)
    assert crowd.most == 1


@each_loop
def test_so_it_does_in_another_event_loop(loop: str, crowd: Crowd) -> None:
    cue = a_cue(crowd, slots=2)

    async def first() -> None:
        cue.start()
        await begin(cue, crowd, 2)
        await cue.stop(timeout=0)

    async def second() -> None:
        async with cue:
            handles = [await cue.submit("other") for _ in range(6)]
            await asyncio.sleep(0.05)
            assert not any(handle.done() for handle in handles)
            crowd.go_on.set()
            await asyncio.wait_for(asyncio.gather(*handles), 10)

    run_on(loop, first)
    run_on(loop, second)
    assert crowd.most == 2


@pytest.mark.parametrize("ends", ["stop", "the loop"])
def test_what_has_returned_in_between_holds_nothing(ends: str, crowd: Crowd) -> None:
    cue = a_cue(crowd)

    async def first() -> None:
        cue.start()
        await begin(cue, crowd)
        if ends == "stop":
            await cue.stop(timeout=0)

    async def second() -> None:
        async with cue:
            await asyncio.wait_for(await cue.submit("other"), 10)

    asyncio.run(first())
    crowd.go_on.set()
    asyncio.run(second())
    assert crowd.most == 1
    assert in_use(cue) == 0


async def test_several_starts_in_a_row_count_each_of_those_that_were_given_up(crowd: Crowd) -> None:
    cue = a_cue(crowd, slots=3)
    for given_up in range(3):
        cue.start()
        assert in_use(cue) == given_up
        await begin(cue, crowd)
        await cue.stop(timeout=0)
    async with cue:
        handle = await cue.submit("other")
        await asyncio.sleep(0.05)
        assert not handle.done()
        crowd.go_on.set()
        await asyncio.wait_for(handle, 10)
    assert crowd.most == 3


async def test_a_drain_waits_for_a_slot_that_was_given_up_if_somebody_needs_it_and_else_does_not(
    crowd: Crowd,
) -> None:
    cue = a_cue(crowd)
    cue.task("free")(lambda work: None)
    cue.start()
    await begin(cue, crowd)
    await cue.stop(timeout=0)
    cue.start()
    await cue.submit("free")
    assert (await asyncio.wait_for(cue.drain(), 10)).counts["completed"] == 1
    handle = await cue.submit("other")
    draining = asyncio.ensure_future(cue.drain())
    await asyncio.sleep(0.05)
    assert not draining.done()
    crowd.go_on.set()
    assert (await asyncio.wait_for(draining, 10)).counts["completed"] == 2
    assert handle.done()
    await cue.stop()


async def test_a_coroutine_that_does_not_end_keeps_its_slot_too() -> None:
    cue = runcue.Cue()
    cue.service("one", concurrent=1)
    go_on, running = asyncio.Event(), []

    @cue.task("stay", uses="one")
    async def stay(work: runcue.Work) -> None:
        running.append(work)
        while work.params.get("stays") and not go_on.is_set():
            try:
                await go_on.wait()
            except asyncio.CancelledError:
                pass
        assert len(running) == 1
        running.clear()

    cue.start()
    await cue.submit("stay", {"stays": True})
    await asyncio.sleep(0.01)
    stopping = asyncio.ensure_future(cue.stop(timeout=0))
    await asyncio.wait_for(stopping, 10)  # after a second of grace
    cue.start()
    handle = await cue.submit("stay")
    await asyncio.sleep(0.01)
    assert not handle.done()
    go_on.set()
    await asyncio.wait_for(handle, 10)
    await cue.stop()


class Elsewhere:
    """An executor of somebody's own, which tells nothing after its stop."""

    def __init__(self) -> None:
        self.pool = ThreadPoolExecutor(4)

    def start(self, deliver: Any, entered: Any, clock: Any) -> None:
        self.deliver, self.clock = deliver, clock
        self.loop, self.is_open = asyncio.get_running_loop(), True

    def submit(self, work: Any, handler: Callable[[Any], Any], context: Context, *, stamped: bool) -> None:
        def call() -> None:
            began = self.clock.monotonic()
            value = context.run(handler, work)
            if self.is_open:
                args = work, True, value, began, self.clock.monotonic()
                self.loop.call_soon_threadsafe(self.deliver, *args)

        self.pool.submit(call)

    def stop(self) -> None:
        self.is_open = False


async def test_so_it_is_in_an_executor_that_tells_nothing_after_its_stop(crowd: Crowd) -> None:
    cue = a_cue(crowd, run_in=Elsewhere())
    cue.start()
    await begin(cue, crowd)
    await cue.stop(timeout=0)
    cue.start()
    handle = await cue.submit("other")
    await asyncio.sleep(0.05)
    assert not handle.done()
    assert crowd.most == 1
    crowd.go_on.set()
    await asyncio.sleep(0.05)
    assert crowd.returned >= 1
    await cue.stop(timeout=0)
