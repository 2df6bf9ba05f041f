"""What `cue.call()` gives must be known to a strict type checker, and what it cannot be given be refused. Never run.

`.ci/run` checks this file twice, as it does `api.py`.
"""

import asyncio
import functools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar, assert_type

import runcue

cue = runcue.Cue()
T = TypeVar("T")


@dataclass
class Page:
    url: str
    number: int = 1


@cue.task(uses=[])
async def fetch(url: str, page: int = 1) -> Page:
    return Page(url, page)


@cue.task
def convert(url: str, *, width: float = 1.0) -> bytes:
    return url.encode()


@cue.task(
    "shrink", outputs=lambda url: f"{url}.txt", key=lambda work: work.id, priority=lambda page: page / 10
)
async def shrink(work: runcue.Work, url: str, page: int = 1) -> str:
    return url


@cue.task
def log(work: runcue.Work, *, level: int = 1) -> None: ...


def later(page: int) -> Awaitable[Page]:
    return fetch("a", page)


def twice(function: Callable[[int], T]) -> Callable[[int], tuple[T, T]]:
    return lambda page: (function(page), function(page))


@twice
def half(page: int) -> float:
    return page / 2


class Shelf:
    def put(self, book: str, place: int = 0) -> Page:
        return Page(book, place)

    async def find(self, work: runcue.Work, book: str) -> Page:
        return Page(book)


async def gives_back_what_the_function_returns() -> None:
    handle = await cue.call(fetch, "https://...", page=2)
    assert_type(handle, runcue.WorkHandle[Page])
    assert_type(await handle, Page)
    assert_type(await handle.result(), Page)
    assert_type(await handle.wait(), runcue.Work)
    assert_type(await (await cue.call(fetch, "https://...")), Page)
    assert_type(await (await cue.call(fetch, url="https://...", page=3)), Page)
    assert_type(await (await cue.call(convert, "a", width=2.0)), bytes)
    assert_type(await (await cue.call(later, 1)), Page)
    assert_type(await (await cue.call(half, 1)), tuple[float, float])
    # The work is not given.
    assert_type(await (await cue.call(shrink, "a", 2)), str)
    assert_type(await (await cue.call(shrink, url="a")), str)
    await (await cue.call(log, level=2))
    # What is called like a function.
    assert_type(await (await cue.call(Page, "a", number=2)), Page)
    assert_type(await (await cue.call(Shelf().put, "a")), Page)
    assert_type(await (await cue.call(Shelf().find, "a")), Page)
    assert_type(await (await cue.call(functools.partial(fetch, page=2), "a")), Page)
    # A handle is awaited as a future is.
    pages = await asyncio.gather(await cue.call(fetch, "a"), await cue.call(convert, "b"))
    assert_type(pages, tuple[Page, bytes])
    assert_type(await asyncio.wait_for(handle.result(), 5), Page)
    # Of a task by its name nothing is known.
    assert_type(await cue.call("fetch", "a", page=2), runcue.WorkHandle[Any])


async def options_go_with_submit_which_gives_back_the_same() -> None:
    handle = await cue.submit(fetch, {"url": "a"}, priority=0.9, retry=3, timeout="5s")
    assert_type(handle, runcue.WorkHandle[Page])
    assert_type(await handle, Page)
    assert_type(await (await cue.submit(convert, params={"url": "a"})), bytes)
    assert_type(await (await cue.submit(shrink, {"url": "a"}, force=True, metadata={"user": "anna"})), str)
    assert_type(cue.submit_threadsafe(fetch, {"url": "a"}, delay="1 min").result_sync(), Page)
    with runcue.blocking(cue) as b:
        assert_type(b.submit(convert, {"url": "a"}, wait=False).result_sync(), bytes)
        assert_type(b.result(b.submit(fetch, {"url": "a"})), Page)
        with b.group() as blocking_group:
            assert_type(blocking_group.submit(fetch, {"url": "a"}, key="a"), runcue.WorkHandle[Page])
    async with cue.group() as group:
        assert_type(await group.submit(fetch, {"url": "a"}, priority=0.1), runcue.WorkHandle[Page])
    # Of a task by its name nothing is known.
    assert_type(await cue.submit("fetch", {"url": "a"}, run_at=0), runcue.WorkHandle[Any])
    assert_type(await group.submit("fetch", {"url": "a"}), runcue.WorkHandle[Any])
    either: str | Callable[..., Any] = fetch
    assert_type(await cue.submit(either), runcue.WorkHandle[Any])
    await cue.submit(fetch, {"url": "a"}, retyr=3)  # type: ignore[call-overload]
    await cue.submit(fetch, {"url": "a"}, wait="no")  # type: ignore[call-overload]
    await cue.submit(5)  # type: ignore[call-overload]
    wrong: str = await handle  # type: ignore[assignment]
    print(wrong)


async def refuses_what_the_function_does_not_take() -> None:
    await cue.call(fetch)  # type: ignore[call-overload]
    await cue.call(fetch, 1)  # type: ignore[call-overload]
    await cue.call(fetch, "a", "b")  # type: ignore[call-overload]
    await cue.call(fetch, "a", page="b")  # type: ignore[arg-type]
    await cue.call(fetch, "a", pages=2)  # type: ignore[call-arg]
    await cue.call(fetch, "a", 1, 2)  # type: ignore[call-overload]
    await cue.call(convert, "a", 2.0)  # type: ignore[call-overload]
    await cue.call(shrink)  # type: ignore[call-overload]
    await cue.call(log, "high")  # type: ignore[call-overload]
    await cue.call(Shelf().put)  # type: ignore[call-overload]
    await cue.call(5)  # type: ignore[call-overload]
    handle = await cue.call(fetch, "a")
    wrong: str = await handle  # type: ignore[assignment]
    print(wrong)


async def a_handle_is_still_an_id_and_may_be_written_without_what_it_gives() -> None:
    bare: runcue.WorkHandle = await cue.submit(fetch, {"url": "a"})
    assert_type(await bare, Any)
    anything: runcue.WorkHandle[object] = await cue.call(fetch, "a")
    text: str = anything
    handles: list[runcue.WorkHandle[Page]] = [await cue.call(fetch, url) for url in ("a", "b")]
    pages: list[Page] = [await handle for handle in handles]
    print(text, pages)


# The decorated function stays what it was.
assert_type(convert("a", width=1), bytes)
assert_type(log(runcue.Work("id", "log"), level=1), None)
