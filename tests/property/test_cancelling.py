"""Whatever is called may cancel whatever it likes, at any instant: each work unit ends once, and nothing is left of it.

Handlers, gates, priorities, limits, listeners and observers draw lots whether they cancel, and whom: those who have
joined, hold others up, are being asked, are about to start or have ended. In the end no queue counts what is not in it,
no slot is held, nothing is being made or waited for.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

import runcue
from runcue import Flag
from runcue.abc import Limit
from runcue.testing import FakeExecutor
from tests.support.cores import by_phase
from tests.support.worlds import orders, silence, virtually

TASKS = 6
MOST = 60


class Cancelling(Limit):
    """A limit that is moody, and cancels in each of its methods."""

    def __init__(self, life: Life) -> None:
        self._life = life

    def room(self, now: float, work: runcue.Work, /) -> bool:
        self._life.perhaps()
        return self._life.luck.random() < 0.9

    def next_room(self, now: float, work: runcue.Work, /) -> float:
        self._life.perhaps()
        return now + 0.05

    def acquire(self, now: float, work: runcue.Work, /) -> None:
        self._life.perhaps()

    def entered(self, now: float, work: runcue.Work, at: float, /) -> None:
        self._life.perhaps()

    def release(self, now: float, work: runcue.Work, actual: float | None, /) -> None:
        self._life.perhaps()


class Book(runcue.Observer):
    """How often each work unit has ended."""

    def __init__(self, life: Life) -> None:
        self._life = life
        self.ends: Counter[str] = Counter()

    def settled(self, work: runcue.Work, duration: float) -> None:
        self.ends[work.id] += 1
        self._life.perhaps()


class Life:
    """One cue, its work units, and everybody who cancels some of them."""

    def __init__(self, seed: int) -> None:
        self.luck = luck = random.Random(seed)
        self.handles: list[runcue.WorkHandle] = []
        self._often = luck.choice((0.0, 0.02, 0.05))
        # In the loop's own thread, so that what a seed stands for is the same each time.
        self.cue = cue = runcue.Cue(
            pending_timeout=luck.choice((None, 3.0)),
            keep=luck.choice((0, 5, 1_000)),
            run_in=FakeExecutor(lambda work: luck.choice((0.0, 0.1))),
        )
        self.book = Book(self)
        cue.observe(self.book)
        cue.service("slots", concurrent=luck.choice((1, 2, 5)))
        cue.service("rate", concurrent=3, rate="20/sec")
        cue.service("own", concurrent=3, limits=Cancelling(self))
        for number in range(TASKS):
            self._describe(number)
        self._gates = luck.choice(("none", "plain", "async", "mixed"))
        if self._gates != "none":
            cue.is_ready(self._is_ready)
            cue.is_stale(lambda work: self.perhaps() or luck.random() < 0.7)
        if luck.random() < 0.3:
            cue.priority(lambda context: self.perhaps() or luck.random())
        for listen in (cue.on_submit, cue.on_start, cue.on_complete, cue.on_cancel, cue.on_skip):
            if luck.random() < 0.4:
                listen(luck.choice((self._listens, self._listens_async)))
        cue.on_failure(self._listens)

    def perhaps(self) -> None:
        """Draw lots, and cancel one or a few."""
        if self.handles and self.luck.random() < self._often:
            number = min(len(self.handles), self.luck.choice((1, 1, 3, 20)))
            for handle in self.luck.sample(self.handles, number):
                handle.cancel()

    def _listens(self, *heard: object) -> None:
        self.perhaps()

    async def _listens_async(self, *heard: object) -> None:
        await asyncio.sleep(0.01)
        self.perhaps()

    def _is_ready(self, work: runcue.Work) -> Any:
        self.perhaps()
        if self._gates == "plain" or (self._gates == "mixed" and self.luck.random() < 0.5):
            return self.luck.random() < 0.8
        return self._answers()

    async def _answers(self) -> bool:
        await asyncio.sleep(self.luck.random() * 0.2)
        self.perhaps()
        return self.luck.random() < 0.8

    def _describe(self, number: int) -> None:
        luck, more = self.luck, dict[str, Any]()
        if (lot := luck.random()) < 0.3:
            more["key"] = lambda work: (work.task, work.params["k"])
        elif lot < 0.7:
            more["outputs"] = lambda work: Flag(f"{work.task} {work.params['k']}")
        if number and luck.random() < 0.5:
            more["inputs"] = lambda work: Flag(f"{number - 1} {work.params['k']}")
        if luck.random() < 0.3:
            more["timeout"] = luck.choice((0.1, 1.0))
        uses = luck.choice(("slots", "rate", ["slots", "rate"], "own", ["slots", "own"], None))
        handler = luck.choice((self._plain, self._suspends, self._suspends))
        self.cue.task(str(number), uses=uses, **more)(handler)

    def _plain(self, work: runcue.Work) -> None:
        for output in work.outputs:
            output.set()
        if self.luck.random() < 0.1:
            raise ValueError("on purpose")

    async def _suspends(self, work: runcue.Work) -> None:
        self.perhaps()
        for _ in range(self.luck.randrange(3)):
            await asyncio.sleep(self.luck.random() * 0.3)
            self.perhaps()
        if self.luck.random() < 0.1:
            await self._submit()
        self._plain(work)

    async def _submit(self) -> None:
        with contextlib.suppress(runcue.DuplicateWork, runcue.CueStopped):
            task, params = str(self.luck.randrange(TASKS)), {"k": self.luck.randrange(3)}
            self.handles.append(await self.cue.submit(task, params=params, force=self.luck.random() < 0.2))

    async def live(self) -> None:
        self.cue.start()
        for _ in range(self.luck.randrange(1, MOST)):
            await self._submit()
            self.perhaps()
            if self.luck.random() < 0.1:
                await asyncio.sleep(self.luck.random() * 0.2)
            if self.luck.random() < 0.05:
                self.cue.nudge()
        how = self.luck.choice(("stop", "drain", "finish", "kill"))
        if how == "drain":
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(20):
                    await self.cue.drain()
        await self.cue.stop(
            drain=how in ("stop", "drain"), timeout={"finish": None, "kill": 0.0}.get(how, 30.0)
        )
        event(f"stopped by {how}, {self._gates} gates")

    def nothing_is_left(self) -> None:
        ends, core, dispatcher = self.book.ends, self.cue._core, self.cue._dispatcher
        assert all(ends[handle] == 1 for handle in self.handles)
        assert not core.unsettled
        assert not any(by_phase(core)[:-1])
        for run_queue in core.run_queues.values():
            assert not run_queue.backlog()
            assert not run_queue.asking
            assert not any(service.active for service in run_queue.services)
        assert not dispatcher.in_flight.works
        dependencies = core.dependencies
        for index in ("producer_of", "keyed", "running", "subscribers"):
            assert not getattr(dependencies, index), index


@pytest.mark.rule(13, 16, 17)
@settings(max_examples=max(1, settings().max_examples // 3))
@given(seed=st.integers(0, 1 << 32), order=orders)
def test_each_work_unit_ends_once_and_nothing_is_left_whoever_cancels_whom(
    seed: int, order: int | None
) -> None:
    async def main() -> None:
        for _ in range(2):  # started again after its stop
            await life.live()
            life.nothing_is_left()

    with silence():
        life = Life(seed)
        virtually(main, order)
