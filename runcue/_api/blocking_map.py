"""`runcue.blocking(cue).map()`: a map that is gone through by a plain `for`.

Two threads take part: that of who goes through it, where plain iterables are gone through as well (a database's cursor,
say, belongs to one thread), and that of the event loop, where the map itself is. With each step into the loop go as
many items as the window has room for, and what has settled comes back. So there is one change of threads for many, and
the loop never waits for an iterable that takes its time, nor for who takes time over each work unit.

Lives here: `go_through`, and `next_of`.

Must not know: how a map submits, and what it waits for.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from functools import partial
from typing import Any, Final

from runcue._api.many import Map
from runcue._api.sources import ITERABLE, no_end
from runcue._model.errors import UsageError

__all__ = ["END", "go_through", "next_of"]

_SLICE: Final = 0.002
"""Seconds for which items are pulled before it is seen what has settled meanwhile."""

_AT_ONCE: Final = 64
"""So many work units come back at once at the most."""

END: Final[Any] = object()
"""In the place of a work unit: there are no more."""

_Call = Callable[[Callable[[], Any]], Any]
"""Calls something in the event loop, and waits for it."""


def go_through(
    call: _Call, checked: Map[Any], make: Callable[..., Map[Any]], window: int
) -> Generator[Any, None, None]:
    """Go through a map, in a thread that is not the event loop's.

    Args:
        call: The way into the loop.
        checked: A map of all that was given, which nobody goes through.
        make: Makes another one, of other iterables.
        window: How many may be submitted and not given.
    """
    checked._is_unused = False
    sources = checked._feed._sources
    if any(source.is_async for source in sources):
        steps = _Steps(checked, None)
        items: Iterator[tuple[Any, ...]] = iter(())
    else:
        hand = _Hand([source.items for source in sources], [source.length for source in sources])
        steps = _Steps(make(*hand.sources), hand)
        items = hand.items
    given = taken = 0
    ready: deque[Any] = deque()
    has_ended = steps.hand is None
    error: Exception | None = None
    try:
        while True:
            lot: list[tuple[Any, ...]] = []
            room, until = window - (given - taken), time.monotonic() + _SLICE
            while not has_ended and len(lot) < room:
                try:
                    lot.append(next(items))
                except StopIteration:
                    has_ended = True
                except Exception as raised:
                    has_ended, error = True, no_end(raised, ITERABLE)
                if time.monotonic() > until:
                    break
            given += len(lot)
            waits = not ready and (has_ended or given - taken >= window)
            ready += call(partial(steps.take, lot, has_ended=has_ended, error=error, waits=waits))
            until = time.monotonic() + _SLICE
            while ready:
                if ready[0] is END:
                    return
                taken += 1
                yield ready.popleft()
                if time.monotonic() > until:
                    break  # there is room for others meanwhile
    finally:
        del error  # its traceback leads to this frame: together they would live on
        try:
            call(steps.close)
        except UsageError:  # what is left of it has ended with its cue
            pass
        for source in sources:
            if isinstance(source.items, Generator):
                source.items.close()


class _Hand:
    """Items on their way from the thread that pulls them into the loop.

    Args:
        iterators: What they are pulled out of.
        lengths: How many these have, None where that is not known.

    Attributes:
        items: What is pulled, in that thread.
        sources: What the map goes through in its place, in the loop.
    """

    def __init__(self, iterators: list[Iterator[Any]], lengths: list[int | None]) -> None:
        self.items: Iterator[tuple[Any, ...]] = zip(*iterators, strict=False)
        length = min((one for one in lengths if one is not None), default=None)
        self.sources = [_Handed(self, length) for _ in iterators]
        self.has_ended = False
        self.error: Exception | None = None
        self.asked: asyncio.Future[None] | None = None

    def give(self, lot: list[tuple[Any, ...]], *, has_ended: bool, error: Exception | None) -> None:
        """Have so many more. In the loop."""
        for item in lot:
            for source, value in zip(self.sources, item, strict=True):
                source.line.append(value)
        self.has_ended, self.error = has_ended, error
        if self.asked is not None and not self.asked.done():
            self.asked.set_result(None)


class _Handed:
    """One of the iterables, as the map sees it.

    Args:
        hand: What it is a part of.
        length: How many items there will be, None if that is not known.
    """

    def __init__(self, hand: _Hand, length: int | None) -> None:
        self._hand = hand
        self._length = length
        self.line: deque[Any] = deque()

    def __length_hint__(self) -> Any:
        return NotImplemented if self._length is None else self._length

    def __aiter__(self) -> _Handed:
        return self

    async def __anext__(self) -> Any:
        hand = self._hand
        while not self.line:
            if hand.error is not None:
                raise hand.error
            if hand.has_ended:
                raise StopAsyncIteration
            hand.asked = asyncio.get_running_loop().create_future()
            await hand.asked
        return self.line.popleft()


class _Steps:
    """The steps into the loop.

    Args:
        works: The map.
        hand: The way of the items; None if the map pulls them itself.
    """

    def __init__(self, works: Map[Any], hand: _Hand | None) -> None:
        self.hand = hand
        self._works = works
        self._next: asyncio.Task[Any] | None = None
        # What ends it, to be raised after all that came before it.
        self._error: BaseException | None = None

    async def take(
        self, lot: list[tuple[Any, ...]], *, has_ended: bool, error: Exception | None, waits: bool
    ) -> list[Any]:
        """Give more items, and take what the map gives.

        Args:
            lot: The items.
            has_ended: Whether there are no more.
            error: Why, if it is an error.
            waits: Whether to wait until there is something.

        Returns:
            What has settled, in its order.
        """
        if self._error is not None:
            raise self._error
        if self.hand is not None:
            self.hand.give(lot, has_ended=has_ended, error=error)
        task = self._next
        if task is None:
            task = self._next = asyncio.create_task(next_of(self._works), name="runcue map")
        if waits:
            await asyncio.wait([task])
        else:
            for _ in range(2):
                await asyncio.sleep(0)
            if not task.done():
                return []
        self._next = None
        found = [task.result()]
        try:
            while self._works._has_settled and len(found) < _AT_ONCE:
                found.append(await next_of(self._works))
        except Exception as raised:
            self._error = raised
        return found

    async def close(self) -> None:
        """It is left."""
        # Held here: whoever was broken off while taking may have it taken out meanwhile.
        task = self._next
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled():
                task.exception()  # which nobody wants any more
        await self._works.aclose()


async def next_of(works: AsyncIterator[Any]) -> Any:
    """The next one, END if there is none."""
    try:
        return await anext(works)
    except StopAsyncIteration:
        return END
