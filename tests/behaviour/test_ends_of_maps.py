"""How maps end: by their items, by what is raised, and with their cue."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator
from typing import Any, Self

import pytest

import runcue
from tests.support.loops import each_loop, run_on
from tests.support.virtual_time import virtual

pytestmark = pytest.mark.rule(41)


def cue_of(**options: Any) -> runcue.Cue:
    return runcue.Cue(id_prefix="", **options)


async def take_all(source: AsyncIterator[Any], given: list[Any]) -> None:
    """What comes before an error counts, too."""
    async for one in source:
        given.append(one)  # noqa: PERF401


def plus_one(n: int) -> int:
    return n + 1


class EndsOddly:
    """An iterator, which raises after two items what only async ones are to raise."""

    def __init__(self) -> None:
        self.left = [2, 1]

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> int:
        if not self.left:
            raise StopAsyncIteration
        return self.left.pop()


@pytest.mark.parametrize("ordered", [False, True])
@each_loop
def test_no_error_is_taken_for_the_end_of_a_map(loop: str, *, ordered: bool) -> None:
    async def first_line(n: int) -> int:
        async def lines() -> AsyncIterator[int]:
            if n != 2:
                yield n

        return await anext(lines())

    async def beside() -> AsyncIterator[int]:
        for n in (4, 5, 6):
            yield n

    async def main() -> None:
        cue = cue_of()
        cue.task(first_line)
        add = cue.task("add")(lambda one, other: one + other)
        async with cue:
            given: list[int] = []
            with pytest.raises(RuntimeError, match=r"^first_line 3 raised StopAsyncIteration") as raised:
                await take_all(cue.map(first_line, range(5), ordered=True, values=True), given)
            assert given == [0, 1]
            assert isinstance(raised.value.__cause__, StopAsyncIteration)
            for source in ([EndsOddly()], [beside(), EndsOddly()]):
                given = []
                function = first_line if len(source) == 1 else add
                with pytest.raises(
                    RuntimeError, match=r"^An iterable that map\(\) goes through raised StopAsyncIter"
                ):
                    await take_all(cue.map(function, *source, ordered=ordered), given)
                assert len(given) == 2

    run_on(loop, main)


def test_no_error_is_taken_for_the_end_of_a_map_of_a_program_without_a_loop() -> None:
    cue = cue_of()

    @cue.task
    async def first_line(n: int) -> int:
        if n == 1:
            raise StopAsyncIteration
        return n

    with runcue.blocking(cue) as b:
        with pytest.raises(RuntimeError, match=r"^first_line 2 raised StopAsyncIteration"):
            list(b.map(first_line, range(5), ordered=True, values=True))
        with pytest.raises(
            RuntimeError, match=r"^An iterable that map\(\) goes through raised StopAsyncIteration"
        ):
            list(b.map(first_line, EndsOddly()))


@pytest.mark.parametrize("when", ["meanwhile", "before"])
@pytest.mark.parametrize("ordered", [False, True])
@each_loop
def test_a_map_that_waits_for_an_item_ends_with_its_cue(loop: str, when: str, *, ordered: bool) -> None:
    """Nobody may ever come with the next item."""
    closed: list[str] = []

    async def jobs() -> AsyncIterator[int]:
        try:
            yield 1
            await asyncio.Event().wait()
        finally:
            closed.append("jobs")

    async def main() -> None:
        cue = cue_of()
        cue.task(plus_one)
        cue.start()
        given: list[runcue.Work] = []
        task = asyncio.create_task(take_all(works := cue.map(plus_one, jobs(), ordered=ordered), given))
        while not given:
            await asyncio.sleep(0.001)
        if when == "before":
            task.cancel()
            await asyncio.wait([task])
        await cue.stop()
        with pytest.raises(runcue.CueStopped):
            await asyncio.wait_for(task if when == "meanwhile" else anext(works), 5)
        assert closed == ["jobs"]
        assert cue.counts()["completed"] == 1
        with pytest.raises(StopAsyncIteration):
            await anext(works)

    run_on(loop, main)


@pytest.mark.rule(41, 23)
@each_loop
def test_a_map_of_a_handler_goes_on_to_wait_for_items_as_long_as_they_are_taken(loop: str) -> None:
    async def main() -> None:
        cue = cue_of()
        go_on = asyncio.Event()

        async def later() -> AsyncIterator[int]:
            await go_on.wait()
            yield 1

        cue.task(plus_one)

        @cue.task
        async def handler() -> list[int]:
            return [value async for value in cue.map(plus_one, later(), values=True)]

        cue.start()
        handle = await cue.call(handler)
        await asyncio.sleep(0.01)
        stop = asyncio.create_task(cue.stop())
        await asyncio.sleep(0.01)
        go_on.set()
        await stop
        assert await handle == [2]

        cue.start()
        go_on.clear()
        handle = await cue.call(handler)
        await asyncio.sleep(0.01)
        await asyncio.wait_for(cue.stop(drain=False), 5)
        with pytest.raises(runcue.CueStopped):
            await handle

    run_on(loop, main)


@pytest.mark.rule(41, 19)
@each_loop
def test_a_map_that_waits_for_an_item_ends_with_the_scheduler(
    loop: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def never() -> AsyncIterator[int]:
        await asyncio.Event().wait()
        yield 1

    async def main() -> None:
        cue = cue_of()
        cue.task(plus_one)
        cue.start()
        task = asyncio.create_task(take_all(cue.map(plus_one, never()), []))
        await asyncio.sleep(0.01)
        cue._dispatcher.turns.fail(RuntimeError("on purpose"))
        with pytest.raises(runcue.CueFailed):
            await asyncio.wait_for(task, 5)
        with pytest.raises(runcue.CueFailed):
            await cue.stop(drain=False, timeout=0)

    run_on(loop, main)
    assert "has failed" in caplog.messages[0]


@pytest.mark.parametrize("how", ["closed", "left", "stopped"])
@pytest.mark.parametrize("waits", [True, False])
@each_loop
def test_what_a_generator_raises_as_it_is_closed_is_raised_or_told(
    loop: str, how: str, *, waits: bool
) -> None:
    told: list[BaseException | None] = []

    async def jobs() -> AsyncIterator[int]:
        try:
            yield 1
            if waits:
                await asyncio.Event().wait()
            yield 2
        finally:
            raise ValueError("not closed")

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(
            lambda loop, what: told.append(what.get("exception"))
        )
        cue = cue_of()
        cue.task(plus_one)
        async with cue:
            works = cue.map(plus_one, jobs(), window=5 if waits else 1)
            await anext(works)
            await asyncio.sleep(0)
            if how == "left":
                del works
                await asyncio.sleep(0.01)
                gc.collect()
                await asyncio.sleep(0.01)
            elif how == "stopped":
                await cue.stop()
                with pytest.raises(ValueError if waits else runcue.CueStopped):
                    await anext(works)
                if not waits:
                    with pytest.raises(ValueError, match="not closed"):
                        await works.aclose()
            else:
                with pytest.raises(ValueError, match="not closed"):
                    await works.aclose()
                await works.aclose()

    run_on(loop, main)
    gc.collect()
    assert [str(error) for error in told] == ["not closed"] * (how == "left")


@pytest.mark.parametrize("ordered", [False, True])
@virtual
async def test_a_generator_that_does_not_let_itself_be_closed_adds_nothing(*, ordered: bool) -> None:
    async def jobs() -> AsyncIterator[int]:
        yield 1
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            yield 2

    async with cue_of() as cue:
        cue.task(plus_one)
        async with cue.map(plus_one, jobs(), ordered=ordered) as works:
            await anext(works)
        assert cue.counts()["completed"] == 1
        assert (await cue.drain()).counts["completed"] == 1


@virtual
async def test_a_program_that_an_iterable_ends_leaves_nothing_of_the_map() -> None:
    def numbers() -> Iterator[int]:
        yield 1
        raise SystemExit(3)

    async with cue_of() as cue:

        @cue.task
        async def nap(n: int) -> None:
            await asyncio.sleep(60)

        works = cue.map(nap, numbers())
        with pytest.raises(SystemExit):
            await anext(works)
        assert cue.counts()["cancelled"] == 1
        with pytest.raises(StopAsyncIteration):
            await anext(works)
