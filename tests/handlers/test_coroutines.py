"""Driving awaitables of all kinds, step by step."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any

import pytest

from runcue._handlers.coroutines import watched


class Iterates:
    """An awaitable whose iterator is no generator: it can neither be sent to nor thrown into."""

    def __init__(self, turns: int) -> None:
        self._turns = turns

    def __await__(self) -> Any:
        return iter([None] * self._turns)


class Sends:
    """One whose steps are told what they were resumed with."""

    def __init__(self, future: asyncio.Future[str]) -> None:
        self._future = future

    def __await__(self) -> Iterator[Any]:
        yield from self._future
        return self._future.result()


def drive(value: Any) -> Any:
    return watched(value, monotonic, lambda began, ended: None, lambda: pytest.fail("nobody has cancelled"))


@pytest.mark.rule(12)
def test_an_iterator_that_is_no_generator_is_driven_to_its_end() -> None:
    async def main() -> Any:
        return await drive(Iterates(3))

    assert asyncio.run(main()) is None


@pytest.mark.rule(12)
def test_a_future_within_an_awaitable_of_another_class_gives_its_result() -> None:
    async def main() -> Any:
        future = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(future.set_result, "result")
        return await drive(Sends(future))

    assert asyncio.run(main()) == "result"


@pytest.mark.rule(13)
@pytest.mark.parametrize("make", [lambda: Iterates(1000), lambda: asyncio.sleep(100)])
def test_a_cancellation_from_outside_ends_it(make: Callable[[], Any]) -> None:
    async def main() -> None:
        task = asyncio.ensure_future(drive(make()))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())


@pytest.mark.rule(13)
def test_a_cancellation_from_outside_is_told_from_the_callbacks_own() -> None:
    cancelled: list[None] = []

    async def cancels_itself() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        asyncio.get_running_loop().call_soon(task.cancel)

    async def main() -> None:
        async def drives() -> None:
            await watched(
                cancels_itself(), monotonic, lambda began, ended: None, lambda: cancelled.append(None)
            )
            await asyncio.sleep(100)

        task = asyncio.ensure_future(drives())
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert len(cancelled) == 1


def test_what_gives_no_iterator_raises_as_it_would_anywhere() -> None:
    class Wrong:
        def __await__(self) -> Any:
            return 5

    async def main() -> None:
        await drive(Wrong())

    with pytest.raises(TypeError):
        asyncio.run(main())
