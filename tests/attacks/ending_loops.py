"""Threads that submit, and handlers in threads that submit more, while one loop after the other ends.

Loops end in every way: the cue is stopped, drained or left as it is; work runs on in threads; the loop is kept busy
meanwhile. Nobody waits for ever, what was taken in ends once, if need be after the next start, and what came too late
is told so.

Lives here: those threads, and the lives of one cue in many loops.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
import time
from collections import Counter

import runcue
from tests.attacks.loops import Run

PATIENCE = 300.0

LIVES = 150
THREADS = 6
SECONDS = 20.0
"""For something that takes milliseconds, on a busy machine."""


class Submitters:
    """Threads that submit to a cue, each as fast as it can."""

    def __init__(self, cue: runcue.Cue) -> None:
        self._cue = cue
        self._is_over = threading.Event()
        self.taken: list[str] = []
        self.late = 0
        self.odd: list[BaseException] = []
        self._threads = [
            threading.Thread(target=self._submit, args=(i,), daemon=True) for i in range(THREADS)
        ]
        for thread in self._threads:
            thread.start()

    def _submit(self, number: int) -> None:
        luck = random.Random(number)
        while not self._is_over.is_set():
            try:
                self.taken.append(self._cue.submit_threadsafe(luck.choice(("plain", "parent", "async"))))
                if luck.random() < 0.3:
                    self._cue.nudge()
            except runcue.CueStopped:
                self.late += 1
                time.sleep(0.0002)  # or nobody else would have a turn
            except BaseException as error:
                self.odd.append(error)
                return

    def end(self) -> None:
        """End them, and see that none of them waits for ever."""
        self._is_over.set()
        limit = time.monotonic() + SECONDS
        for thread in self._threads:
            thread.join(max(0.0, limit - time.monotonic()))
            assert not thread.is_alive(), f"{thread} waits for ever"
        assert not self.odd, self.odd


class Book(runcue.Observer):
    """How often each work unit has ended."""

    def __init__(self) -> None:
        self.ends: Counter[str] = Counter()

    def settled(self, work: runcue.Work, duration: float) -> None:
        self.ends[work.id] += 1


def described() -> tuple[runcue.Cue, list[str]]:
    cue = runcue.Cue(max_threads=8)
    children: list[str] = []

    @cue.task("plain")
    def plain(work: runcue.Work) -> None: ...

    @cue.task("parent")
    def parent(work: runcue.Work) -> None:
        time.sleep(0.001)
        with contextlib.suppress(runcue.CueStopped):
            children.append(work.submit("plain"))

    @cue.task("async")
    async def asynchronous(work: runcue.Work) -> None:
        await asyncio.sleep(0.001)

    return cue, children


async def life(cue: runcue.Cue, luck: random.Random) -> None:
    """Start the cue, be there for a moment, and go."""
    cue.start()
    for _ in range(luck.randrange(1, 5)):
        await asyncio.sleep(luck.choice((0, 0.001, 0.004)))
        if luck.random() < 0.3:
            time.sleep(0.003)  # noqa: ASYNC251 - the loop is kept busy
    how = luck.choice(("leave", "leave", "stop", "hurry", "drain"))
    if how == "stop":
        async with asyncio.timeout(SECONDS):
            await cue.stop()
    elif how == "hurry":
        async with asyncio.timeout(SECONDS):
            await cue.stop(drain=False, timeout=0)
    elif how == "drain":
        with contextlib.suppress(TimeoutError):  # there is always more
            async with asyncio.timeout(0.05):
                await cue.drain()


def attack(run: Run[None], scale: float) -> str:
    cue, children = described()
    cue.observe(book := Book())
    luck = random.Random(12)

    async def last() -> None:
        cue.start()
        async with asyncio.timeout(SECONDS):
            await cue.stop()

    lives = max(5, round(LIVES * scale))
    run(life(cue, luck))
    submitters = Submitters(cue)
    for _ in range(lives):
        run(life(cue, luck))
    submitters.end()
    run(last())
    taken = [*submitters.taken, *children]
    assert len(taken) == len(set(taken))
    lost = [one for one in taken if not book.ends[one]]
    assert not lost, f"{len(lost)} of {len(taken)} never ended: {lost[:5]}"
    twice = [one for one, times in book.ends.items() if times > 1]
    assert not twice, f"{len(twice)} ended twice: {twice[:5]}"
    return (
        f"{lives} loops ended, {len(taken):,} work units taken in and ended once, "
        f"{submitters.late:,} submissions told that they came too late"
    )
