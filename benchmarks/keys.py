"""L6: what many keys of one service (`per=`) cost, beside a single key, and what is left of them.

What is timed starts before the first submission and ends when the last work unit has ended.

Lives here: work units of one key and of one each, a total beside them, and counting what the keys leave.

Must not know: how figures are shown.
"""

from __future__ import annotations

import asyncio
import gc
import time
from functools import partial

import runcue
from benchmarks.measuring import Figure, compare, compared, timed, value
from runcue._limits.keyed import KeyService
from runcue.testing import run

__all__ = ["l6"]


async def of_keys(works: int, *, keys: int, total: bool = False) -> float:
    """Work units of so many keys, no one of which is ever used up, or each of which runs one at a time."""
    cue = runcue.Cue()
    if total:
        cue.service("api", per=lambda work: work.params["user"], concurrent=1)
        cue.service("total", concurrent=100)
    else:
        cue.service("api", per=lambda work: work.params["user"], rate="1000000/sec", concurrent=100)
    ended = 0

    async def ask(work: runcue.Work) -> None:
        nonlocal ended
        if total:
            await asyncio.sleep(0)
        ended += 1

    cue.task("ask", uses=["api", "total"] if total else "api")(ask)
    params = [{"user": f"user {number % keys}"} for number in range(works)]
    began = time.perf_counter()
    async with cue:
        for each in params:
            await cue.submit("ask", each)
    took = time.perf_counter() - began
    assert ended == works
    return took


def left_of(keys: int) -> float:
    """How many keys are known, and how many objects there are of them, some time after they were used."""
    left = 0

    async def main() -> None:
        nonlocal left
        cue = runcue.Cue(keep=0)
        cue.service(
            "api",
            per=lambda work: work.params["user"],
            rate="5/min",
            concurrent=2,
            budget={"tokens": "9/min"},
        )

        @cue.task(uses="api", cost={"tokens": 3})
        async def ask(work: runcue.Work) -> None: ...

        async with cue:
            for number in range(keys):
                await cue.submit("ask", {"user": number})
            await cue.drain()
            await asyncio.sleep(600)
            gc.collect()
            objects = sum(isinstance(one, KeyService) for one in gc.get_objects())
            left = (cue.get_service("api").status().keys or 0) + objects

    run(main)
    return float(left)


def l6(*, quick: bool) -> list[Figure]:
    """See the module."""
    works = 5_000 if quick else 100_000
    found = compare(
        partial(timed, partial(of_keys, works, keys=1)), partial(timed, partial(of_keys, works, keys=works))
    )
    figures = [
        compared(
            "L6",
            f"{works:,} work units, each of another key",
            2.0,
            found,
            scale=1e6 / works,
            each="µs per work",
            beside="all of one key",
        )
    ]
    some = works // 10
    found = compare(
        partial(timed, partial(of_keys, works, keys=some // 10, total=True)),
        partial(timed, partial(of_keys, works, keys=some, total=True)),
    )
    name = f"{works:,} work units of {some:,} keys, one at a time each, a total beside them"
    figures.append(
        compared("L6", name, 1.5, found, scale=1e6 / works, each="µs per work", beside="a tenth of the keys")
    )
    figures.append(value("L6", f"left of {works:,} keys ten minutes later", 0, [left_of(works)], "keys"))
    return figures
