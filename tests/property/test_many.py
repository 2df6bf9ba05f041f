"""Whatever fails, is cancelled, joins or is given up meanwhile: a map gives each item once, or it is cancelled with it.

Handlers sleep, fail and are tried again; items cannot be submitted, or are the same, or are skipped; others cancel
some; iterables are plain, async or both, and raise in the middle; who takes them is slow, gives up a step, or leaves
early. At no instant are there more than the window that were submitted and not given.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

import runcue
from runcue import WorkState
from tests.support.worlds import orders, virtually

PAUSES = (0.0, 0.0, 0.1, 0.5, 1.0)


class Broken(Exception):
    """What an iterable raises."""


class Life:
    """One map, and who goes through it."""

    def __init__(self, seed: int) -> None:
        self.luck = luck = random.Random(seed)
        self.cue = cue = runcue.Cue()
        cue.service("few", concurrent=luck.choice((1, 3, 50)))
        cue.observe(Outstanding(self))
        self.window = luck.choice((1, 2, 5, 200))
        self.ordered = luck.random() < 0.5
        self.values = luck.random() < 0.3
        self.items = [luck.randrange(100) for _ in range(luck.choice((0, 1, 5, 30)))]
        # After so many the iterable raises.
        self.breaks_at = luck.choice((None, None, None, len(self.items) // 2))
        self.leaves_at = luck.choice((None, None, luck.randrange(20)))
        self.works: list[runcue.Work] = []
        self.given: list[Any] = []
        self.taken = self.pulled = 0
        self.most = 0
        self.closed = 0
        key: Any = (lambda number: number % 7) if luck.random() < 0.2 else None
        fails, sleeps = luck.choice((0.0, 0.1)), luck.choice((0.0, 0.5, 1.0))

        @cue.task(uses="few", key=key, retry=luck.choice((None, 2)))
        async def handler(number: int, other: int = 0) -> int:
            if luck.random() < sleeps:
                await asyncio.sleep(luck.choice(PAUSES))
            if luck.random() < fails:
                raise ValueError(number)
            return number

        self.handler = handler
        self.is_joining = key is not None
        if luck.random() < 0.2:
            cue.is_stale(lambda work: luck.random() < 0.5)

    def sources(self) -> tuple[list[Any], bool]:
        """Iterables over the items, and whether items are the params."""
        luck = self.luck
        kind = luck.choice(("plain", "async", "both", "params"))
        if kind == "both":
            return [self.plain(), self.awaited()] if luck.random() < 0.5 else [
                self.awaited(),
                self.plain(),
            ], False
        if kind == "params":
            bad = ({"numbr": one} if luck.random() < 0.1 else {"number": one} for one in self.plain())
            return [bad], True
        return [self.plain() if kind == "plain" else self.awaited()], False

    def plain(self) -> Iterator[int]:
        try:
            for place, item in enumerate(self.items):
                if place == self.breaks_at:
                    raise Broken
                yield item
        finally:
            self.closed += 1

    async def awaited(self) -> AsyncIterator[int]:
        try:
            for item in self.plain():
                if self.luck.random() < 0.5:
                    await asyncio.sleep(self.luck.choice(PAUSES))
                yield item
        finally:
            await asyncio.sleep(0)

    async def go_through(self) -> str:
        """Take what the map gives. Returns how that has ended."""
        luck = self.luck
        sources, by_params = self.sources()
        called: Any = self.cue.tasks()[0].name if by_params else self.handler
        options = {"window": self.window, "ordered": self.ordered, "values": self.values}
        async with self.cue.map(called, *sources, **options) as works:
            while self.taken != self.leaves_at:
                try:
                    step: Any = anext(works)
                    if luck.random() < 0.2:
                        step = asyncio.wait_for(step, luck.choice((0.05, 0.3)))
                    one = await step
                except TimeoutError:
                    continue
                except StopAsyncIteration:
                    return "all"
                except (Broken, ValueError, runcue.RuncueError) as error:
                    return type(error).__name__
                self.given.append(one)
                self.taken += 1
                if luck.random() < 0.3:
                    await asyncio.sleep(luck.choice(PAUSES))
        return "left"

    async def cancel_some(self) -> None:
        """Somebody else."""
        while True:
            await asyncio.sleep(0.3)
            if self.works and self.luck.random() < 0.3:
                await self.cue.cancel(self.luck.choice(self.works))


class Outstanding(runcue.Observer):
    """Counts what was submitted and not given."""

    def __init__(self, life: Life) -> None:
        self._life = life

    def submitted(self, work: runcue.Work) -> None:
        life = self._life
        life.works.append(work)
        life.most = max(life.most, len(life.works) - life.taken)


async def live(seed: int) -> None:
    life = Life(seed)
    async with life.cue:
        others = asyncio.create_task(life.cancel_some()) if life.luck.random() < 0.3 else None
        end = await life.go_through()
        event(end)
        if others is not None:
            others.cancel()
        for _ in range(3):
            await asyncio.sleep(0)
        left = life.cue.counts()
        assert left["pending"] == left["running"] == 0
        assert life.closed >= 1 or not life.works
    assert life.most <= life.window
    states = {work.state for work in life.works}
    assert states <= {WorkState.COMPLETED, WorkState.FAILED, WorkState.CANCELLED}
    if life.values:
        done = [work for work in life.works if work.state is WorkState.COMPLETED]
        expected = [None if work.skipped else work.params["number"] for work in done]
        if life.ordered:
            assert life.given == expected[: len(life.given)]
        elif end == "all":
            assert sorted(map(str, life.given)) == sorted(map(str, expected))
        return
    assert len(set(life.given)) == len(life.given)
    assert {work for work in life.given if work.attempts or work in life.works} <= set(life.works) | {
        work for work in life.given if isinstance(work.exception, runcue.InvalidParams)
    }
    if life.ordered:
        submitted = [work for work in life.given if work in life.works]
        assert submitted == life.works[: len(submitted)]
    if end == "all":
        assert set(life.works) <= set(life.given)
        assert len(life.given) == len(life.items)
    elif end == "Broken":
        assert set(life.works) <= set(life.given)
        assert len(life.given) == life.breaks_at
    else:
        assert end == "left"
        for work in set(life.works) - set(life.given):
            assert work.state is not WorkState.FAILED or work.attempts


@pytest.mark.rule(41)
@settings(max_examples=max(1, settings().max_examples // 2))
@given(seed=st.integers(0, 1 << 32), order=orders)
def test_each_item_is_given_once_or_cancelled_and_never_more_than_the_window_are_outstanding(
    seed: int, order: int | None
) -> None:
    virtually(lambda: live(seed), order)
