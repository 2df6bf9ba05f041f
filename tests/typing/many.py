"""What maps and groups give is typed by what is called. Checked, never run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, assert_type

import runcue

cue = runcue.Cue()


class Page:
    """What a handler returns."""


async def fetch(url: str, page: int = 1) -> Page:
    return Page()


def parse(page: Page) -> list[str]:
    return []


async def with_work(work: runcue.Work, url: str) -> bytes:
    return b""


async def urls() -> AsyncIterator[str]:
    yield "https://..."


async def maps(values: bool) -> None:
    async for work in cue.map(fetch, ["a", "b"], range(2), window=20, ordered=True):
        assert_type(work, runcue.Work)
    assert_type(cue.map("fetch", [{"url": "a"}]), runcue.Map[runcue.Work])
    assert_type(cue.map(fetch, urls(), values=False), runcue.Map[runcue.Work])
    assert_type(cue.map(fetch, urls(), values=True), runcue.Map[Page])
    assert_type(cue.map(parse, [Page()], values=True), runcue.Map[list[str]])
    assert_type(cue.map(with_work, ["a"], values=True), runcue.Map[bytes])
    assert_type(cue.map("fetch", [{}], values=True), runcue.Map[Any])
    assert_type(cue.map(fetch, ["a"], values=values), runcue.Map[Any])
    async with cue.map(fetch, ["a"], values=True) as pages:
        assert_type(pages, runcue.Map[Page])
        async for page in pages:
            assert_type(page, Page)
    assert_type([links async for links in cue.map(parse, pages, values=True)], list[list[str]])
    await pages.aclose()


async def groups() -> None:
    async with cue.group(fail="first") as group:
        assert_type(group, runcue.Group)
        assert_type(await group.submit("fetch", {"url": "a"}, priority=1.0), runcue.WorkHandle)
        handle = await group.call(fetch, "a", page=2)
        assert_type(handle, runcue.WorkHandle[Page])
        assert_type(await handle, Page)
        assert_type(await (await group.call(parse, Page())), list[str])
        assert_type(await (await group.call(with_work, "a")), bytes)
        async for work in group.as_completed():
            assert_type(work, runcue.Work)
        group.cancel()
    assert_type(group.summary, runcue.Summary)
    assert_type(group.summary.values, list[Any])


class Bar(runcue.Observer):
    """Hears how many work units will come."""

    def expected(self, task: str, number: int) -> None:
        print(task.upper(), number + 1)


cue.observe(Bar())

with runcue.blocking(cue) as calls:
    assert_type(calls, runcue.Blocking)
    assert_type(calls.drain().durations, dict[str, runcue.Durations])

print(runcue.Nonsense)  # type: ignore[attr-defined]
