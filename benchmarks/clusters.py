"""H5: work on a Dask cluster, beside what Dask does with it alone.

Lives here: the same calls, of which each takes a tenth of a second, given to the same two workers by a cue, and all at
once by a client of Dask's.

Must not know: how figures are shown.
"""

from __future__ import annotations

import asyncio
import gc
import time
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import runcue
from benchmarks.measuring import Figure, Spread, compare
from tests.support.clusters import Cluster

__all__ = ["h5"]

WORKERS = 2
TAKES = 0.1
ROUNDS = 3
REACH = 0.9


def wait(seconds: float) -> float:
    """What is called."""
    time.sleep(seconds)
    return seconds


async def by_runcue(address: str, calls: int) -> float:
    """Seconds of a cue, from the first submission to the last value; it is connected before."""
    cue = runcue.Cue()
    cue.task(run_in=runcue.executors.dask(address))(wait)
    async with cue:
        await (await cue.call(wait, 0.0))
        gc.collect()
        began = time.perf_counter()
        values = [value async for value in cue.map(wait, [TAKES] * calls, values=True)]
        took = time.perf_counter() - began
    assert values == [TAKES] * calls
    return took


async def by_dask(address: str, calls: int) -> float:
    """The same of Dask's client."""
    from distributed import Client

    async with Client(address, asynchronous=True, set_as_default=False) as client:
        await client.submit(wait, 0.0, pure=False)
        gc.collect()
        began = time.perf_counter()
        futures = client.map(wait, [TAKES] * calls, pure=False)
        values = await client.gather(futures)
        took = time.perf_counter() - began
        del futures
    assert values == [TAKES] * calls
    return took


def h5(*, quick: bool) -> list[Figure]:
    calls = 20 if quick else 200
    name = f"Dask: {calls} work units of {TAKES * 1000:.0f} ms, {WORKERS} workers"
    if find_spec("distributed") is None:
        return []
    with TemporaryDirectory() as folder, Cluster(Path(folder), WORKERS) as cluster:
        found = compare(
            lambda: asyncio.run(by_dask(cluster.address, calls)),
            lambda: asyncio.run(by_runcue(cluster.address, calls)),
            rounds=1 if quick else ROUNDS,
        )
    each = 1e3 / calls
    return [
        Figure(
            "H5",
            f"{name}: share of what Dask alone does",
            Spread.of([100 * floor / ours for ours, floor in zip(found.ours, found.floor, strict=True)]),
            "%",
            100 * REACH,
            Spread.of([one * each for one in found.ours]),
            Spread.of([one * each for one in found.floor]),
            "ms per call",
            "Dask's client",
            rounds=ROUNDS,
            at_least=True,
        )
    ]
