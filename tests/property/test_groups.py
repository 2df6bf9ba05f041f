"""Whatever fails, raises or is cancelled in a group: at its end all of it has settled, and it raises what it says.

Handlers fail, are tried again and add to their group; the body waits, takes, cancels or raises; others cancel work
units, the asyncio task, or the cue.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

import runcue
from tests.support.worlds import orders, virtually

PAUSES = (0.0, 0.1, 0.5, 1.0)


class Boom(Exception):
    """What handlers raise."""


class Mine(Exception):
    """What the body raises."""


class Life:
    """One group, and all that happens to it."""

    def __init__(self, seed: int) -> None:
        self.luck = luck = random.Random(seed)
        self.cue = cue = runcue.Cue(max_pending=luck.choice((None, None, 2)))
        cue.service("few", concurrent=luck.choice((1, 3, 50)))
        self.fail: Any = luck.choice(("all", "first", "never"))
        self.group = cue.group(fail=self.fail)
        self.handles: list[runcue.WorkHandle[int]] = []
        fails, same = luck.choice((0.0, 0.1, 0.5)), luck.random() < 0.2

        @cue.task(uses="few", retry=luck.choice((None, 2)), key=(lambda number: number) if same else None)
        async def handler(number: int) -> int:
            if luck.random() < 0.7:
                await asyncio.sleep(luck.choice(PAUSES))
            if luck.random() < fails:
                raise Boom(number)
            if len(self.handles) < 40 and luck.random() < 0.1:
                await self.add()
            return number

        self.handler = handler
        if luck.random() < 0.2:
            cue.is_stale(lambda work: luck.random() < 0.5)

    async def add(self) -> None:
        self.handles.append(await self.group.call(self.handler, self.luck.randrange(20)))

    async def body(self) -> None:
        luck = self.luck
        async with self.group as group:
            for _ in range(luck.choice((0, 1, 5, 20))):
                await self.add()
                lot = luck.random()
                if lot < 0.2:
                    await asyncio.sleep(luck.choice(PAUSES))
                elif lot < 0.22:
                    raise Mine
                elif lot < 0.24:
                    group.cancel()
                elif lot < 0.27:
                    await luck.choice(self.handles)
            if luck.random() < 0.5:
                await self.take()

    async def take(self) -> None:
        got = set()
        async for work in self.group.as_completed():
            assert work not in got
            got.add(work)
            if self.luck.random() < 0.03:
                return
            if len(self.handles) < 40 and self.luck.random() < 0.1:
                await self.add()
        assert all(handle.done() for handle in self.handles)

    async def cancel_some(self) -> None:
        while True:
            await asyncio.sleep(0.3)
            if self.handles and self.luck.random() < 0.4:
                self.luck.choice(self.handles).cancel()

    async def stop(self) -> None:
        await asyncio.sleep(2 * self.luck.random())
        await self.cue.stop(drain=self.luck.random() < 0.5)


async def live(seed: int) -> None:
    life = Life(seed)
    luck = life.luck
    life.cue.start()
    beside: list[Coroutine[Any, Any, None]] = []
    for chance, other in ((0.3, life.cancel_some), (0.1, life.stop)):
        if luck.random() < chance:
            beside.append(other())
    others = [asyncio.create_task(one) for one in beside]
    task = asyncio.create_task(life.body())
    if luck.random() < 0.1:
        asyncio.get_running_loop().call_later(2 * luck.random(), task.cancel)
    end = "nothing"
    try:
        await task
    except (ExceptionGroup, Boom, Mine, runcue.WorkCancelled, runcue.CueStopped) as error:
        end = type(error).__name__
    except asyncio.CancelledError:
        end = "CancelledError"
    event(f"{life.fail}: {end}")
    # At once, and not only when those who were beside it have ended.
    assert all(handle.done() for handle in life.handles)
    summary = life.group.summary
    assert not summary.left
    assert sum(summary.counts.values()) >= len(life.handles)
    if life.fail != "never":
        assert end != "nothing" or not summary.failed
    assert end != "ExceptionGroup" or (life.fail == "all" and summary.failed)
    for one in others:
        one.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await life.cue.stop()
    assert life.cue._callbacks.unheard._held == {}


@pytest.mark.rule(41)
@settings(max_examples=max(1, settings().max_examples // 8))
@given(seed=st.integers(0, 1 << 32), order=orders)
def test_at_the_end_of_a_group_all_has_settled_and_it_has_raised_what_it_says(
    seed: int, order: int | None
) -> None:
    virtually(lambda: live(seed), order)
