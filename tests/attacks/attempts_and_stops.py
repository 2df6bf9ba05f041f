"""Work units are tried again, submitted for later, timed out, joined, cancelled and done once more, while their cue is
stopped in every way and started again: each settles once, no slot is held twice, and nothing is left behind.

Lives here: such lives by seed, and the judgement of one.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import threading
import time
from collections import Counter, defaultdict
from contextlib import suppress
from typing import Any

import runcue
from runcue import Flag, Retry
from runcue.abc import Observer
from tests.attacks.loops import Run

PATIENCE = 600.0

LIVES = 80

UNIT = 0.004
"""Seconds that stand for one: what takes that long is neither at once nor slow."""

REFUSED = (runcue.DuplicateWork, runcue.CueStopped)
PAUSES = (0, 0.5, 1, 5, 20)


class Book(Observer):
    """What is heard of each work unit."""

    def __init__(self) -> None:
        self.heard: defaultdict[str, list[str]] = defaultdict(list)

    def started(self, work: runcue.Work) -> None:
        self.heard[work.id].append(f"started {work.attempt}")

    def put_back(self, work: runcue.Work, reason: str, delay: float | None) -> None:
        self.heard[work.id].append("put back")

    def settled(self, work: runcue.Work, duration: float) -> None:
        self.heard[work.id].append("settled")


class Life:
    """One cue and what is done to it, by seed."""

    def __init__(self, seed: int) -> None:
        self.luck = random.Random(seed)
        self.cue = runcue.Cue(pending_timeout=self.luck.choice([None, 60 * UNIT]))
        self.book = Book()
        self.cue.observe(self.book)
        self.slots = {"one": 1, "two": 2}
        self.handles: dict[str, runcue.WorkHandle] = {}
        self.wrong: list[str] = []
        self._inside: Counter[str] = Counter()
        self._running: Counter[str] = Counter()
        self._lock = threading.Lock()
        for name, slots in self.slots.items():
            self.cue.service(name, concurrent=slots)
            self._describe(name)
        if self.luck.random() < 0.5:
            for listen in (self.cue.on_start, self.cue.on_retry, self.cue.on_failure, self.cue.on_cancel):
                listen(self._interfere)

    def _describe(self, service: str) -> None:
        def options() -> dict[str, Any]:
            return {
                "uses": service,
                "retry": self._policy(),
                "timeout": self.luck.choice([None, 3 * UNIT, 10 * UNIT]),
                "must_complete": self.luck.random() < 0.2,
            }

        @self.cue.task(f"async {service}", **options())
        async def in_the_loop(work: runcue.Work) -> str:
            with self._entered(work, service):
                try:
                    await asyncio.sleep(self.luck.choice(PAUSES) * UNIT)
                except asyncio.CancelledError:
                    await asyncio.sleep(self.luck.choice([0, 0, 1]) * UNIT)
                    raise
                if self.luck.random() < 0.1:
                    with suppress(*REFUSED):
                        await self.submit()
                return self._end(work)

        @self.cue.task(f"plain {service}", **options())
        def in_a_thread(work: runcue.Work) -> str:
            with self._entered(work, service):
                for _ in range(self.luck.choice([0, 1, 5, 12])):
                    time.sleep(UNIT)
                    work.checkpoint()
                return self._end(work)

    def _policy(self) -> Any:
        return self.luck.choice(
            [
                None,
                3,
                Retry(4, wait_initial=UNIT, wait_jitter=UNIT),
                Retry(-1, wait_initial=UNIT, wait_max=UNIT, timeout=40 * UNIT),
                lambda attempt, error, elapsed: None if attempt > 2 else UNIT,
                Retry(3, wait_from=lambda error: "no number"),
            ]
        )

    def _entered(self, work: runcue.Work, service: str) -> Any:
        life = self

        class Inside:
            def __enter__(self) -> None:
                with life._lock:
                    life._count(work, service, 1)

            def __exit__(self, *error: object) -> None:
                with life._lock:
                    life._count(work, service, -1)

        return Inside()

    def _count(self, work: runcue.Work, service: str, change: int) -> None:
        self._inside[service] += change
        self._running[work.id] += change
        if self._inside[service] > self.slots[service]:
            self.wrong.append(f"{self._inside[service]} run in {service}")
        if self._running[work.id] > 1:
            self.wrong.append(f"two handlers of {work}")

    def _end(self, work: runcue.Work) -> str:
        what = self.luck.random()
        if what < 0.3:
            raise ValueError
        if what < 0.4:
            raise runcue.RetryLater(self.luck.choice([0, UNIT]))
        if what < 0.45:
            raise runcue.GiveUp
        for output in work.outputs:
            output.set()
        return "done"

    def _interfere(self, *heard: object) -> None:
        if self.luck.random() < 0.1 and self.handles:
            self.any().cancel()

    def any(self) -> runcue.WorkHandle:
        return self.handles[self.luck.choice(list(self.handles))]

    async def submit(self) -> None:
        luck, options = self.luck, dict[str, Any]()
        for option, values in {
            "retry": (1, 2, 3),
            "timeout": (2 * UNIT, 20 * UNIT, math.inf),
            "must_complete": (True, False),
            "key": ("k", "l"),
            "outputs": (Flag("a"), Flag("b")),
            "inputs": (Flag("a"), Flag("c")),
            "priority": (0.1, 0.9),
            "delay": (0, UNIT, 10 * UNIT),
        }.items():
            if luck.random() < 0.25:
                options[option] = luck.choice(values)
        task = f"{luck.choice(['async', 'plain'])} {luck.choice(list(self.slots))}"
        handle = await self.cue.submit(task, **options)
        self.handles[str(handle)] = handle

    async def live(self) -> None:
        """Some submissions, cancellations and pauses, then an end; perhaps twice."""
        for _ in range(self.luck.choice([1, 1, 2])):
            self.cue.start()
            for _ in range(self.luck.randrange(3, 20)):
                what = self.luck.random()
                with suppress(*REFUSED, runcue.UsageError):
                    if what < 0.6 or not self.handles:
                        await self.submit()
                    elif what < 0.75:
                        await asyncio.sleep(self.luck.choice(PAUSES) * UNIT)
                    elif what < 0.85:
                        self.any().cancel()
                    else:
                        again = await self.cue.retry(self.any())
                        self.handles[str(again)] = again
            self._judge(await self._stop())

    async def _stop(self) -> runcue.Summary:
        soon = self.luck.choice([1, 5, 20]) * UNIT
        if self.luck.random() < 0.2:
            await self.cue.drain(timeout=soon)
        if self.luck.random() < 0.2:
            self.cue._interrupt(kill=False)
            await asyncio.sleep(soon)
        how: list[dict[str, Any]] = [
            {},
            {"drain": False},
            {"timeout": soon},
            {"timeout": 0},
            {"delayed": "cancel"},
        ]
        return await self.cue.stop(**self.luck.choice(how))

    def _judge(self, summary: runcue.Summary) -> None:
        for handle in self.handles.values():
            heard = self.book.heard[handle]
            if heard.count("settled") != 1 or heard[-1] != "settled":
                self.wrong.append(f"{handle}: {heard}")
            starts = [one for one in heard if one.startswith("started")]
            if len(starts) > len(set(starts)):
                self.wrong.append(f"{handle}: {heard}")
        core = self.cue._core
        if core.unsettled or len(core.returning) or core.appointments.works:
            self.wrong.append(f"left: {core.count}")
        if not summary.abandoned and not self.cue._dispatcher.in_flight.late:
            held = [service.name for service in core.services.values() if service.active]
            if held or core.dependencies.producer_of or core.dependencies.keyed:
                self.wrong.append(f"held: {held}, {core.dependencies.producer_of}, {core.dependencies.keyed}")


async def _lives(seeds: range) -> int:
    works = 0
    for seed in seeds:
        life = Life(seed)
        await asyncio.wait_for(life.live(), 60)
        assert not life.wrong, f"seed {seed}: {life.wrong[:3]}"
        works += len(life.handles)
    return works


def attack(run: Run[int], scale: float) -> str:
    logging.getLogger("runcue").setLevel(logging.CRITICAL + 1)
    number = max(5, round(LIVES * scale))
    works = run(_lives(range(number)))
    return f"{works:,} work units in {number:,} lives have each ended once"
