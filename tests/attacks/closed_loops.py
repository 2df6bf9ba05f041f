"""One cue in loop after loop, each of which ends or is only closed in the midst of gates, handlers, drains and stops.

Whoever waited in a loop that is closed has ended with it. In the next one nothing comes of that: no work unit ends
twice or never, no slot is lost or given back twice, no drain waits for ever, and the scheduler goes on.

Lives here: those lives, and what is done in them.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
import time
import warnings
from collections import Counter
from collections.abc import Callable

import runcue
from tests.attacks.loops import Run

PATIENCE = 300.0

ROUNDS = 60
LIVES = 6
SECONDS = 20.0
"""For something that takes milliseconds, on a busy machine."""


class Life:
    """A cue, and what has become of its work units.

    Args:
        luck: What everything is drawn from.
    """

    def __init__(self, luck: random.Random) -> None:
        self._luck = luck
        self.cue = cue = runcue.Cue()
        self.slots = luck.choice((1, 3))
        self.running = 0
        self.ends: Counter[str] = Counter()
        self.handles: list[runcue.WorkHandle] = []
        self._tasks: list[asyncio.Future[object]] = []
        cue.service("some", concurrent=self.slots)

        @cue.task("async", uses="some")
        async def asynchronous(work: runcue.Work) -> None:
            self.running += 1
            assert self.running <= self.slots
            try:
                await asyncio.sleep(luck.random() * 0.01)
            finally:
                self.running -= 1

        cue.task("plain")(lambda work: time.sleep(luck.random() * 0.005))
        cue.task("awaited")(lambda work: asyncio.sleep(luck.random() * 0.005))

        @cue.is_ready
        async def is_ready(work: runcue.Work) -> bool:
            await asyncio.sleep(luck.random() * 0.003)
            return luck.random() < 0.7

        @cue.on_complete
        async def hears(work: runcue.Work, result: object, duration: float) -> None:
            await asyncio.sleep(luck.random() * 0.003)

        for event in (cue.on_complete, cue.on_failure, cue.on_cancel, cue.on_skip):
            event(lambda work, *heard: self.ends.update([work.id]))

    async def go_on(self) -> None:
        """Start the cue, submit, wait here and there, and go."""
        luck, cue = self._luck, self.cue
        self.running = 0  # what was suspended in a loop that was closed never goes on
        cue.start()
        for _ in range(luck.randrange(8)):
            self.handles.append(await cue.submit(luck.choice(("async", "plain", "awaited"))))
        await asyncio.sleep(luck.random() * 0.03)
        for call in (
            cue.drain,
            cue.stop,
            lambda: cue.stop(drain=False),
            *(h.wait for h in self.handles[-2:]),
        ):
            if luck.random() < 0.2:
                self._tasks.append(asyncio.ensure_future(call()))
        if luck.random() < 0.2:
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                if luck.random() < 0.5:
                    task.cancel()
        await asyncio.sleep(luck.random() * 0.01)

    async def come_to_an_end(self) -> None:
        """Let everything end."""
        self.running = 0
        self._tasks.clear()
        self.cue.start()
        gc.collect()
        async with asyncio.timeout(SECONDS):
            await self.cue.drain()
            await self.cue.stop()


def attack(run: Run[None], scale: float) -> str:
    made: list[Callable[[], asyncio.AbstractEventLoop]] = []

    async def note_kind() -> None:
        made.append(type(asyncio.get_running_loop()))

    run(note_kind())
    rounds = max(5, round(ROUNDS * scale))
    works = 0
    for number in range(rounds):
        luck = random.Random(number)
        life = Life(luck)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            for _ in range(LIVES):
                with contextlib.suppress(asyncio.CancelledError, runcue.CueStopped):
                    if luck.random() < 0.5:
                        run(life.go_on())
                    else:
                        loop = made[0]()
                        try:
                            loop.run_until_complete(life.go_on())
                        finally:
                            loop.close()
                if luck.random() < 0.3:
                    gc.collect()
            run(life.come_to_an_end())
        works += len(life.handles)
        wrong = [handle for handle in life.handles if not handle.done() or life.ends[handle] != 1]
        assert not wrong, f"round {number}: {wrong[:5]} have not ended, or not once"
    return f"{rounds * LIVES} loops ended or closed, {works:,} work units ended once"
