"""Limits that are changed all the time, from handlers, threads and the loop: nothing is lost, and all slots come back.

A change may come in the midst of a start, of an end, or of a question to a limit. Whatever was counted by then has to
be counted in what comes after, and what holds a slot has to give it back to whoever counts it.

Lives here: batches of work units whose service is changed, paused and let go on by several threads at once.
"""

from __future__ import annotations

import asyncio
import math
import random
import threading
import time

import runcue
from runcue.abc import Limit
from tests.attacks.loops import Run

PATIENCE = 300.0

WORKS = 400
SEED = 16


class Two(Limit):
    """Two at a time. Notes if it is told of one that it has not let start, or of one twice."""

    def __init__(self) -> None:
        self.wrong: list[str] = []
        self.inside: set[runcue.Work] = set()

    def room(self, now: float, work: runcue.Work, /) -> bool:
        return len(self.inside) < 2

    def acquire(self, now: float, work: runcue.Work, /) -> None:
        if work in self.inside:
            self.wrong.append(f"{work} is let start twice")
        self.inside.add(work)

    def release(self, now: float, work: runcue.Work, actual: object, /) -> None:
        if work not in self.inside:
            self.wrong.append(f"{work} is given back and was not let start")
        self.inside.discard(work)


def change(api: runcue.Service, own: Two, luck: random.Random) -> None:
    """Change something."""
    what = luck.randrange(9)
    if what < 3:
        api.change(concurrent=luck.choice((None, 1, 2, 8)))
    elif what < 5:
        api.change(rate=luck.choice((None, "5/0.01sec", "20/0.05sec")), burst=None)
    elif what == 5:
        api.change(rate="500/sec", burst=luck.choice((1, 4)))
    elif what == 6:
        api.change(limits=luck.choice((None, own)))
    elif what == 7:
        api.pause(luck.choice((0.001, None)))
    else:
        api.read_headers({"x-ratelimit-remaining": "2", "x-ratelimit-reset": "5ms"})
    if what >= 7:
        api.resume()


async def batch(works: int, luck: random.Random) -> None:
    """Run a batch while its service is changed."""
    cue = runcue.Cue(max_threads=4)
    api, own = cue.service("api"), Two()

    @cue.task("plain", uses=api)
    def plain(work: runcue.Work) -> None:
        if work.params["number"] % 3 == 0:
            change(api, own, luck)

    @cue.task("async", uses=api)
    async def asynchronous(work: runcue.Work) -> None:
        if work.params["number"] % 3 == 0:
            change(api, own, luck)
        if work.params["number"] % 2:
            await asyncio.sleep(0)

    raised: list[BaseException] = []
    has_ended = threading.Event()

    def disturb() -> None:
        try:
            while not has_ended.is_set():
                change(api, own, luck)
                time.sleep(0.0005)
        except runcue.CueStopped:
            pass
        except BaseException as error:
            raised.append(error)

    cue.start()
    handles = [
        await cue.submit("plain" if number % 2 else "async", params={"number": number})
        for number in range(works)
    ]
    threads = [threading.Thread(target=disturb) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        await asyncio.gather(*handles)
    finally:
        has_ended.set()
        while any(thread.is_alive() for thread in threads):
            await asyncio.sleep(0.001)
    summary = await cue.stop()
    assert summary.counts["completed"] == works, summary
    assert not raised, raised
    assert not own.wrong, own.wrong
    held = api.status().in_use, cue._core.threads.active, len(own.inside)
    assert held == (0, 0, 0), f"slots in use, of threads, and of a limit, after the end: {held}"


def attack(run: Run[None], scale: float) -> str:
    luck = random.Random(SEED)
    batches = math.ceil(20 * scale)
    for _ in range(batches):
        run(batch(WORKS, luck))
    return f"{batches} batches of {WORKS} work units while their service is changed"
