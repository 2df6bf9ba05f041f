"""P9: many work units that wait for an instant, of a delay or of their next attempt.

Lives here: what they cost while they wait, and when the instants of all of them come at once.

Must not know: how figures are shown.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import Any

import runcue
from benchmarks.measuring import Figure, LagSampler, compare, compared, percentile, timed, value

__all__ = ["p9"]

HOUR = 3600.0


def _lead(works: int) -> float:
    """Seconds in which all of them are submitted, on a slow machine as well."""
    return 1.0 + works * 110e-6


def _timers() -> int:
    """How many timers the running loop has."""
    loop: Any = asyncio.get_running_loop()
    return sum(not handle.cancelled() for handle in loop._scheduled)  # noqa: SLF001 - no public name leads to them


class Waiting:
    """A cue of which all work units wait.

    Attributes:
        timers: How many timers of the loop they take.
        idle_share: Of one core, used while they wait.
    """

    def __init__(self, works: int, idle: float) -> None:
        self.works = works
        self.idle = idle
        self.timers = 0
        self.idle_share = 0.0

    async def for_an_hour(self, kind: str) -> None:
        """Let them wait, and look.

        Args:
            kind: "delay", "run_at", or "retry" for work units of which an attempt has failed.
        """
        cue = runcue.Cue()
        policy = runcue.Retry(attempts=2, wait_initial=HOUR, wait_max=HOUR, wait_jitter=0)
        failed = 0
        all_wait = asyncio.Event()

        @cue.task("wait", retry=policy)
        async def wait(work: runcue.Work) -> None:
            nonlocal failed
            failed += 1
            if failed == self.works:
                all_wait.set()
            raise ValueError

        before = _timers()
        cue.start()
        options: dict[str, Any] = {"delay": {"delay": HOUR}, "run_at": {"run_at": time.time() + HOUR}}.get(
            kind, {}
        )
        for _ in range(self.works):
            await cue.submit("wait", **options)
        if kind == "retry":
            await all_wait.wait()
        await asyncio.sleep(0.5)
        self.timers = _timers() - before
        used, began = time.process_time(), time.perf_counter()
        await asyncio.sleep(self.idle)
        self.idle_share = (time.process_time() - used) / (time.perf_counter() - began)
        summary = await cue.stop(drain=False)
        assert summary.counts["cancelled"] == self.works


async def together(works: int, lags: list[float] | None = None) -> float:
    """Seconds from the one instant that all wait for to the end of the last of them."""
    handled = 0
    all_done = asyncio.Event()

    async def count(work: runcue.Work) -> None:
        nonlocal handled
        handled += 1
        if handled == works:
            all_done.set()

    cue = runcue.Cue()
    cue.service("service", concurrent=100)
    cue.task("count", uses="service")(count)
    cue.start()
    instant = time.time() + _lead(works)
    for _ in range(works):
        await cue.submit("count", run_at=instant)
    assert time.time() < instant - 0.1
    await asyncio.sleep(instant - time.time() - 0.01)
    if lags is None:
        await all_done.wait()
    else:
        async with LagSampler() as sampler:
            await all_done.wait()
        lags += sampler.lags
    took = time.time() - instant
    await cue.stop()
    return took


async def by_hand(works: int) -> float:
    """The same with a task for each, which sleeps until then and takes one of a hundred slots."""
    slots = asyncio.Semaphore(100)
    loop = asyncio.get_running_loop()
    instant = loop.time() + _lead(works)

    async def one() -> None:
        await asyncio.sleep(instant - loop.time())
        async with slots:
            pass

    async with asyncio.TaskGroup() as group:
        for _ in range(works):
            group.create_task(one())
    return loop.time() - instant


def p9(*, quick: bool) -> list[Figure]:
    works, idle, rounds = (5_000, 0.3, 2) if quick else (100_000, 3.0, 3)
    figures = []
    for kind, words in (("delay", "a delay"), ("run_at", "a date"), ("retry", "their next attempt")):
        shares, timers = [], []
        for _ in range(rounds):
            waiting = Waiting(works, idle)
            asyncio.run(waiting.for_an_hour(kind))
            shares.append(100 * waiting.idle_share)
            timers.append(float(waiting.timers))
        figures.append(value("P9", f"{works:,} wait for {words}: idle, of a core", 10, shares, "%"))
        figures.append(value("P9", f"{works:,} wait for {words}: timers of the loop", 2, timers, "timers"))
    found = compare(
        partial(timed, partial(by_hand, works)), partial(timed, partial(together, works)), rounds=rounds
    )
    lags: list[float] = []
    asyncio.run(together(works, lags))
    name = f"{works:,} that wait for the same instant, from then on"
    each, scale = "µs per work", 1e6 / works
    figures.append(
        compared("P9", name, None, found, scale=scale, each=each, beside="a task that sleeps for each")
    )
    figures.append(value("P9", f"{name}: loop lag p99", 20, [percentile(lags, 99) * 1e3], "ms"))
    return figures
