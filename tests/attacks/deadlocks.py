"""Handlers that wait for each other, many programs of them at once, in a loop that is kept, beside a busy thread.

What is proven is no matter of time. But time-outs are, and so is a verdict that is given while one is due and has not
been served, because something else kept the loop.

Lives here: random programs on the real clock, of which each is told to be deadlocked if it is, and only then; what lags
and computes beside them.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import threading
import time
from math import inf

from tests.attacks.loops import Run
from tests.support.waiting_programs import ENDING, LASTING, QUIET, UNREADABLE, Program, is_readable, units_by

PATIENCE = 300.0

PROGRAMS = 60
ROUNDS = 4

LATE = 5.0
"""Seconds within which a deadlock is told on a machine that does something else as well; by itself it takes 0.4."""


async def tried(seed: int) -> bool:
    """Run one program. Returns whether it was a deadlock."""
    luck = random.Random(seed)
    styles = [*LASTING, *ENDING, *(UNREADABLE if luck.random() < 0.3 else ())]
    roots = [units_by(luck, 2, styles) for _ in range(luck.choice((1, 2, 3)))]
    readable = all(map(is_readable, roots))
    program = Program((luck.choice((1, 2)), luck.choice((1, 2))))
    loop = asyncio.get_running_loop()
    program.stirred = loop.time()
    cue, told = program.cue, program.told
    cue.start()
    for root in roots:
        await program.submit(root)
    listed = None
    if readable and luck.random() < 0.5:
        listed = set((await cue.drain()).deadlocked)
    while loop.time() < program.stirred + QUIET:
        await asyncio.sleep(0.5)
    stuck = program.running()
    wrong = set(told.deadlocks) - stuck
    assert not wrong, f"seed {seed}: {wrong} were told to be deadlocked"
    if readable:
        late = [work for work in stuck if told.deadlocks.get(work, inf) > program.stirred + LATE]
        assert not late, f"seed {seed}: of {late} nobody was told"
        listed = set((await cue.drain()).deadlocked) if listed is None else listed
        assert listed == stuck, f"seed {seed}: {listed} instead of {stuck}"
        await cue.stop()
    else:
        await cue.stop(timeout=0)
    assert not program.running(), f"seed {seed}"
    return bool(stuck)


async def several(seeds: range) -> int:
    """Run programs at once, in a loop that is kept now and then. Returns how many were deadlocks."""
    luck = random.Random(seeds.start)
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)  # what programs leave behind

    async def lag() -> None:
        while True:
            await asyncio.sleep(luck.random() / 2)
            time.sleep(luck.random() ** 4 / 2)  # noqa: ASYNC251 - it is the point

    lagging = asyncio.create_task(lag())
    try:
        return sum(await asyncio.gather(*map(tried, seeds)))
    finally:
        lagging.cancel()


def attack(run: Run[int], scale: float) -> str:
    number = math.ceil(PROGRAMS * scale)
    over = threading.Event()

    def compute() -> None:
        while not over.is_set():
            sum(range(1000))

    threading.Thread(target=compute, daemon=True).start()
    logging.getLogger("runcue").setLevel(logging.CRITICAL + 1)
    began = time.monotonic()
    try:
        rounds = max(1, round(ROUNDS * min(1.0, scale)))
        stuck = sum(run(several(range(number * one, number * (one + 1)))) for one in range(rounds))
    finally:
        over.set()
    return f"{number * rounds} programs of which {stuck} were deadlocks, {time.monotonic() - began:.0f} s"
