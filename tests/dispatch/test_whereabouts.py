"""The line that a handler is at while it runs, whatever it waits in: it is what `why()` shows of who holds a slot."""

from __future__ import annotations

import asyncio
import threading
import types
from collections.abc import AsyncIterator, Callable, Generator
from typing import Any

import pytest

import runcue
from runcue._dispatch.whereabouts import where_it_is


async def asleep() -> None:
    await asyncio.sleep(30)


async def in_its_own_line(work: runcue.Work) -> None:
    await asyncio.sleep(30)


async def in_a_coroutine(work: runcue.Work) -> None:
    await asleep()


async def in_an_async_generator(work: runcue.Work) -> None:
    async def pages() -> AsyncIterator[int]:
        await asleep()
        yield 1

    async for _ in pages():
        pass


async def in_a_generator(work: runcue.Work) -> None:
    @types.coroutine
    def steps() -> Generator[Any, Any, None]:
        yield from asleep().__await__()

    await steps()


async def in_a_library(work: runcue.Work) -> None:
    async with asyncio.timeout(60):
        await asyncio.wait_for(asyncio.Event().wait(), 60)


PLACES: dict[Callable[..., Any], str] = {
    in_its_own_line: "in_its_own_line",
    in_a_coroutine: "asleep",
    # Python does not tell what is awaited in the next step of an async generator, nor behind __await__().
    in_an_async_generator: "in_an_async_generator",
    in_a_generator: "steps",
    in_a_library: "in_a_library",
}


@pytest.mark.parametrize("handler", PLACES, ids=lambda handler: handler.__name__)
async def test_a_coroutine_is_where_the_users_innermost_line_waits(handler: Callable[..., Any]) -> None:
    cue = runcue.Cue()
    cue.task("t")(handler)
    cue.start()
    work = (await cue.submit("t")).work
    for _ in range(100):
        await asyncio.sleep(0.005)
        if (place := cue._dispatcher.where_it_is(work)) and PLACES[handler] in place:
            break
    assert f"{PLACES[handler]} (" in place
    assert "test_whereabouts.py:" in place
    await cue.stop(drain=False, timeout=0)
    assert cue._dispatcher.where_it_is(work) == ""


async def test_a_thread_is_where_its_innermost_own_line_is_and_of_others_nothing_is_known() -> None:
    cue = runcue.Cue(max_threads=1)
    go_on = threading.Event()
    inside = threading.Event()

    def waits() -> None:
        inside.set()
        go_on.wait(30)

    cue.task("t")(lambda work: waits())
    async with cue:
        running, pending = [(await cue.submit("t")).work for _ in range(2)]
        while not inside.is_set():
            await asyncio.sleep(0.005)
        assert "waits (" in cue._dispatcher.where_it_is(running)
        assert where_it_is(pending, {}) == ""
        go_on.set()
