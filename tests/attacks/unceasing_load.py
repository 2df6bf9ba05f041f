"""Ten slots that are never free, for as long as one likes: what a work unit costs does not grow.

Beside the load there is what wakes the scheduler in other ways: a work unit that is never ready, time-outs and a rate
that set timers all the time, a thread that nudges, another one that computes, and something that keeps the loop now and
then. A look at everything that brings about more than one other would show as fewer and fewer work units in a second.

Lives here: that load, on a fresh cue; its pace at the beginning and at the end.
"""

from __future__ import annotations

import asyncio
import threading
import time

import runcue
from tests.attacks.loops import Run
from tests.support.turns import Turns

PATIENCE = 120.0

SECONDS = 20.0
PARTS = 8

SLOWER = 0.85
"""The last part has at least so much of the pace of the first. On a quiet machine it is 0.97 and more, but others may
use this one; a look too many took away nine tenths within 20 s."""


class Load:
    """Slots that are never free, and a rate that is used up all the time."""

    def __init__(self) -> None:
        self.cue = cue = runcue.Cue()
        self.done = 0
        self.is_over = threading.Event()
        cue.service("slots", concurrent=10)
        cue.service("rated", rate="200/sec", burst=1)

        @cue.task("again", uses="slots", timeout=5)
        async def again(work: runcue.Work) -> None:
            await asyncio.sleep(0)
            self.done += 1
            await self.submit("again")

        @cue.task("rated", uses="rated")
        async def rated(work: runcue.Work) -> None:
            await self.submit("rated")

        @cue.task("never")
        async def never(work: runcue.Work) -> None: ...

        cue.is_ready(lambda work: work.task != "never")

    async def submit(self, *tasks: str) -> None:
        if not self.is_over.is_set():
            for task in tasks:
                await self.cue.submit(task)

    def disturb(self) -> asyncio.Task[None]:
        for one in (self._nudges, self._computes):
            threading.Thread(target=one, daemon=True).start()
        return asyncio.create_task(self._lags())

    def _nudges(self) -> None:
        while not self.is_over.wait(0.001):
            self.cue.nudge()

    def _computes(self) -> None:
        while not self.is_over.wait(0.001):
            sum(range(10_000))

    async def _lags(self) -> None:
        while not self.is_over.is_set():
            time.sleep(0.003)  # noqa: ASYNC251 - that is the point
            await asyncio.sleep(0.05)


async def load(seconds: float, disturbed: bool) -> tuple[list[float], Turns]:
    """Run it. Returns for each part the work units in a second of the loop's own time, and the turns."""
    under = Load()
    turns = Turns(under.cue)
    under.cue.start()
    disturbance = under.disturb() if disturbed else None
    await under.submit("never", *["again"] * 10, *["rated"] * 5)
    paces: list[float] = []
    for _ in range(PARTS):
        # Of the thread that the loop runs in: what others take of the processor is not its doing.
        before, began = under.done, time.thread_time()
        await asyncio.sleep(seconds / PARTS)
        paces.append((under.done - before) / (time.thread_time() - began))
    under.is_over.set()
    turns.end()
    if disturbance is not None:
        await disturbance
    await under.cue.stop(drain=False, timeout=5)
    return paces, turns


def attack(run: Run[tuple[list[float], Turns]], scale: float) -> str:
    said = []
    for disturbed in (False, True):
        paces, turns = run(load(SECONDS * scale, disturbed))
        first, last = max(paces[:2]), max(paces[-2:])
        words = f"{first:,.0f} work units/s at first, {last:,.0f} in the end, {turns.most} look a turn"
        assert turns.most == 1, words
        assert last >= SLOWER * first, words
        said.append(f"{'disturbed' if disturbed else 'alone'}: {words}")
    return "; ".join(said)
