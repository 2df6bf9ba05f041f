"""What a suspended task waits for is read to its end, or not at all: what each way to wait looks like from outside."""

from __future__ import annotations

import asyncio
import types
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator
from typing import Any

import pytest

from runcue._dispatch.suspension import MOVING, Suspension, beside, read
from tests.attacks.loops import LOOPS, run_on


class Ends:
    """Futures whose names are what a wait comes to in the end."""

    def __init__(self) -> None:
        self.futures: dict[str, asyncio.Future[None]] = {}

    async def end(self, name: str) -> None:
        future = self.futures[name] = asyncio.get_running_loop().create_future()
        await future

    def of(self, coroutine: Any) -> Suspension | None:
        if getattr(coroutine, "cr_code", None) is not Ends.end.__code__:
            return None
        return Suspension([coroutine.cr_frame.f_locals["name"]], None, set(), [], [])


async def read_of(wait: Callable[[Ends], Coroutine[Any, Any, Any]]) -> Suspension:
    ends = Ends()
    task = asyncio.create_task(wait(ends))
    for _ in range(5):
        await asyncio.sleep(0)
    found = read(task, task.get_coro(), ends.of)
    task.cancel()
    await asyncio.wait([task])
    return found


class Own:
    """An awaitable of somebody's own."""

    def __init__(self, awaitable: Awaitable[Any], *, by_hand: bool) -> None:
        self.awaitable = awaitable
        self.by_hand = by_hand

    def __await__(self) -> Any:
        return self._steps() if self.by_hand else self.awaitable.__await__()

    def _steps(self) -> Generator[Any, Any, Any]:
        yield from self.awaitable.__await__()


class Iterator:
    """Steps of which nothing can be known."""

    def __init__(self, awaitable: Awaitable[Any]) -> None:
        self.steps = awaitable.__await__()

    def __await__(self) -> Iterator:
        return self

    def __iter__(self) -> Iterator:
        return self

    def __next__(self) -> Any:
        return next(self.steps)


@types.coroutine
def driven(coroutine: Any) -> Generator[Any, Any, Any]:
    while True:
        try:
            yield coroutine.send(None)
        except StopIteration:
            return


async def generated(ends: Ends) -> AsyncIterator[None]:
    await ends.end("a")
    yield


async def next_of_generator(ends: Ends) -> None:
    await anext(generated(ends), None)


async def for_first_error(ends: Ends, *, failed: bool) -> None:
    async def other() -> None:
        if failed:
            raise ValueError

    await asyncio.wait(
        {asyncio.create_task(ends.end("a")), asyncio.create_task(other())},
        return_when=asyncio.FIRST_EXCEPTION,
    )


async def on_a_future_in_python(ends: Ends) -> None:
    await asyncio.futures._PyFuture()  # type: ignore[attr-defined]


async def in_a_task_in_python(ends: Ends) -> None:
    await asyncio.tasks._PyTask(ends.end("a"))  # type: ignore[attr-defined]


READABLE: dict[str, Callable[[Ends], Coroutine[Any, Any, Any]]] = {
    "itself": lambda ends: ends.end("a"),
    "an awaitable of one's own": lambda ends: _await(Own(ends.end("a"), by_hand=False)),
    "a generator of one's own": lambda ends: _await(Own(ends.end("a"), by_hand=True)),
    "anext": next_of_generator,
    "FIRST_EXCEPTION": lambda ends: for_first_error(ends, failed=False),
    "a task in Python": in_a_task_in_python,
    "shield of gather": lambda ends: _await(asyncio.shield(asyncio.gather(ends.end("a")))),
}
UNREADABLE: dict[str, Callable[[Ends], Coroutine[Any, Any, Any]]] = {
    "an iterator": lambda ends: _await(Iterator(ends.end("a"))),
    "steps taken by hand": lambda ends: _await(driven(ends.end("a"))),
    "a future in Python": on_a_future_in_python,
    "a queue": lambda ends: asyncio.Queue[None]().get(),
    "a sleep": lambda ends: asyncio.sleep(10),
    "a gather of futures": lambda ends: _await(asyncio.gather(asyncio.get_running_loop().create_future())),
}


async def _await(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("wait", READABLE.values(), ids=READABLE)
def test_what_can_be_read_is_read_to_its_end(
    wait: Callable[[Ends], Coroutine[Any, Any, Any]], loop: str
) -> None:
    found = run_on(loop, read_of(wait))
    assert (found.ends, found.moving) == (["a"], None)


@pytest.mark.parametrize("wait", UNREADABLE.values(), ids=UNREADABLE)
def test_what_cannot_be_read_to_its_end_moves(wait: Callable[[Ends], Coroutine[Any, Any, Any]]) -> None:
    found = asyncio.run(read_of(wait))
    assert found.ends == []
    assert asyncio.isfuture(found.moving)


def test_a_task_that_is_about_to_take_a_step_moves() -> None:
    async def main() -> None:
        ends = Ends()
        task = asyncio.create_task(ends.end("a"))
        assert read(task, task.get_coro(), ends.of).moving is MOVING
        await asyncio.sleep(0)
        assert read(task, task.get_coro(), ends.of).moving is None
        ends.futures["a"].set_result(None)
        assert read(task, task.get_coro(), ends.of).moving is MOVING
        await task
        assert read(task, task.get_coro(), ends.of).moving is MOVING

    asyncio.run(main())


@pytest.mark.filterwarnings("ignore:coroutine")
@pytest.mark.parametrize("how", ["gather", "FIRST_EXCEPTION", "FIRST_COMPLETED", "group", "as_completed"])
def test_what_has_ended_and_is_not_known_to_have_is_on_its_way(how: str) -> None:
    """Between the end of a task and what is called because of that, nothing must look as if it waited for the rest."""

    async def main() -> None:
        ends = Ends()
        fail = asyncio.get_running_loop().create_future()
        tasks: list[asyncio.Future[None]] = []

        async def fails() -> None:
            await fail

        async def waits() -> None:
            tasks.extend((asyncio.ensure_future(ends.end("a")), asyncio.ensure_future(fails())))
            if how == "gather":
                await asyncio.gather(*tasks)
            elif how == "as_completed":
                for one in asyncio.as_completed(tasks):
                    await one
            elif how == "group":
                async with asyncio.TaskGroup() as group:
                    group.create_task(ends.end("a"))
                    group.create_task(fails())
            else:
                await asyncio.wait(tasks, return_when=getattr(asyncio, how))

        task = asyncio.create_task(waits())
        seen = []

        def look() -> None:
            seen.append(read(task, task.get_coro(), ends.of).moving)

        for _ in range(5):
            await asyncio.sleep(0)
        fail.set_exception(ValueError())
        loop = asyncio.get_running_loop()
        loop.call_soon(look)  # the one that fails has ended, and nobody was told
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        look()
        assert seen[0] is not None
        assert seen[1] is not None
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()
        ends.futures["a"].cancel()
        for one in tasks:
            one.cancel()
        # What nobody asks for is logged when it is collected, which may be while another test reads the log.
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(main())


def test_what_is_beside_a_wait_is_found_where_frames_hold_it() -> None:
    class Limited:
        deadline = float("inf")

    class Raises:
        @property
        def deadline(self) -> float:
            raise ValueError

    async def waits(ends: Ends, limits: list[Any]) -> None:
        limited, raises, late = Limited(), Raises(), None
        inner = asyncio.create_task(asyncio.sleep(10))
        beside_it = {"task": inner}
        limited.deadline = limits[0]
        try:
            await ends.end("a")
        finally:
            inner.cancel()
            late = (limited, raises, beside_it)
        assert late

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for deadline, until in ((loop.time() + 5, 5.0), (float("inf"), float("inf")), (True, float("inf"))):
            ends = Ends()
            task = asyncio.create_task(waits(ends, [deadline]))
            await asyncio.sleep(0)
            found = read(task, task.get_coro(), ends.of)
            when, tasks, _ = beside(found, loop.time())
            assert when == pytest.approx(until + loop.time(), abs=1) or when == until
            assert [one.get_coro().__qualname__ for one in tasks] == ["sleep"]
            task.cancel()
            await asyncio.wait([task])

    asyncio.run(main())


class Unwilling:
    """Raises whatever is asked of it."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(name)


class UnwillingList(list[Any]):
    def __iter__(self) -> Any:
        raise RuntimeError


class UnwillingType(type):
    def __getattr__(cls, name: str) -> Any:
        raise RuntimeError(name)


class OfUnwillingType(metaclass=UnwillingType):
    pass


class When:
    def when(self) -> float:
        raise RuntimeError


def test_what_frames_hold_may_be_anything() -> None:
    async def waits(ends: Ends, held: list[Any]) -> None:
        one, other, third = held
        await ends.end("a")
        assert one is not other is not third

    async def main() -> None:
        for held, ends_by_itself in (
            ([Unwilling(), UnwillingList([1]), When()], False),
            ([float("nan"), {"deadline": 5}, object()], False),
            ([None, None, OfUnwillingType()], True),  # nobody knows
        ):
            ends = Ends()
            task = asyncio.create_task(waits(ends, held))
            await asyncio.sleep(0)
            found = read(task, task.get_coro(), ends.of)
            assert (found.ends, found.moving) == (["a"], None)
            until, tasks, _ = beside(found, 0.0)
            assert (until < float("inf"), tasks) == (ends_by_itself, [])
            task.cancel()
            await asyncio.wait([task])

    asyncio.run(main())


def test_a_future_of_somebodys_own_moves() -> None:
    class Future(asyncio.Future[None]):
        @property
        def _callbacks(self) -> Any:
            raise RuntimeError

    async def waits(future: Future) -> None:
        await future

    async def main() -> None:
        future: Any = Future()
        task = asyncio.create_task(waits(future))
        await asyncio.sleep(0)
        assert read(task, task.get_coro(), Ends().of).moving is MOVING
        future.set_result(None)
        await task

    asyncio.run(main())
