"""Memory does not grow with the number of work units ever run."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

import runcue
from tests.support.worlds import silence

WAVE = 500  # work units submitted in one go


class Footprint(NamedTuple):
    """What the process holds."""

    works: int
    objects: int  # that the garbage collector knows
    blocks: int  # of memory that Python has handed out
    rss: int  # bytes; 0 where the system does not say

    def __str__(self) -> str:
        return (
            f"{self.works:>9,} works  {self.objects:>9,} objects  {self.blocks:>9,} blocks  "
            f"{self.rss / 2**20:7.1f} MiB resident"
        )


def footprint(works: int) -> Footprint:
    gc.collect()
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
        resident = int(status.partition("VmRSS:")[2].split(maxsplit=1)[0]) * 1024
    except (OSError, IndexError):
        resident = 0
    return Footprint(works, len(gc.get_objects()), sys.getallocatedblocks(), resident)


def listen(cue: runcue.Cue) -> Counter[str]:
    """Counts the events of a cue, and has an async listener besides."""
    heard: Counter[str] = Counter()
    for event in ("start", "complete", "failure", "skip", "cancel"):

        def note(*what: object, event: str = event) -> None:
            heard[event] += 1

        getattr(cue, f"on_{event}")(note)

    @cue.on_complete
    async def slowly(work: runcue.Work, result: object, duration: float) -> None: ...

    return heard


async def soak(
    number_of_works: int, keep: int, every: int, report: Callable[[Footprint], None] = lambda footprint: None
) -> list[Footprint]:
    """Runs work units of every kind and fate through one cue.

    Async and sync, with a rate and slots, gated, at first not ready, up to date, failing, cancelled while pending and
    while running, with a timeout that is never reached, with listeners and with waiters.

    Args:
        number_of_works: All in all.
        keep: `Cue(keep=)`.
        every: After so many works the footprint is taken, when all of them have settled.
        report: Hears each footprint.
    """
    cue = runcue.Cue(keep=keep, pending_timeout=3600, stall_warn_after=3600)
    cue.service("slots", concurrent=50)
    cue.service("rated", rate="1000000/0.01sec", burst=None)
    cue.service("bucket", rate="100000000/sec", burst=100000000)
    open_: set[int] = set()

    @cue.task("async", uses="slots", timeout=60)
    async def async_(work: runcue.Work) -> int:
        return int(work.params["number"])

    @cue.task("suspends", uses=["slots", "rated"])
    async def suspends(work: runcue.Work) -> int:
        await asyncio.sleep(0)
        if work.params["number"] % 7 == 0:
            raise ValueError(f"number {work.params['number']}")
        return int(work.params["number"])

    @cue.task("sync", uses="bucket", timeout=60)
    def sync(work: runcue.Work) -> int:
        return int(work.params["number"])

    @cue.task("later")
    async def later(work: runcue.Work) -> None: ...

    @cue.task("hangs")
    async def hangs(work: runcue.Work) -> None:
        await asyncio.Event().wait()

    names = ("async", "suspends", "async", "suspends", "async", "later", "suspends", "async", "sync", "hangs")

    @cue.is_ready
    def is_ready(work: runcue.Work) -> bool:
        return work.task != "later" or work.params["number"] in open_

    @cue.is_stale
    def is_stale(work: runcue.Work) -> bool:
        return bool(work.params["number"] % 13)

    heard = listen(cue)
    found = []
    async with cue:
        for first in range(0, number_of_works, WAVE):
            numbers = range(first, min(first + WAVE, number_of_works))
            handles = [
                await cue.submit(names[number % len(names)], params={"number": number}) for number in numbers
            ]
            await asyncio.sleep(0)
            open_.update(numbers)
            cue.nudge()
            await asyncio.sleep(0)
            for handle, number in zip(handles, numbers, strict=True):
                if names[number % len(names)] == "hangs" or number % 101 == 0:
                    await cue.cancel(handle)
            for handle in handles:
                await handle.wait()
            open_.difference_update(numbers)
            done = numbers.stop
            if done % every == 0 or done == number_of_works:
                del handle, handles
                await cue.drain()
                found.append(footprint(done))
                report(found[-1])
        assert sum(heard[end] for end in ("complete", "failure", "skip", "cancel")) == number_of_works
        assert min(heard.values()) > 0, heard
    return found


@pytest.mark.rule(18)
def test_memory_is_flat_once_the_history_is_full() -> None:
    with silence():
        found = asyncio.run(soak(60_000, keep=2_000, every=10_000))
    full, *rest = found  # after the first 10,000 everything that is bounded has reached its bound
    for later in rest:
        assert later.objects - full.objects < 500, "\n".join(map(str, found))
        assert later.blocks - full.blocks < 5_000, "\n".join(map(str, found))
