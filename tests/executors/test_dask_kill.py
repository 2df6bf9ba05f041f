"""Workers of a Dask cluster are killed at random instants: nothing is lost, and nothing runs that is no attempt.

As a program, with a number of kills, for as many as you like: `python3 tests/executors/test_dask_kill.py 100`.
"""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
from collections import Counter
from pathlib import Path

import pytest

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import runcue
from tests.support import elsewhere
from tests.support.clusters import Cluster

pytest.importorskip("distributed", reason="it takes the extra `dask`")

WORKERS = 2
TAKES = 0.02
"""Seconds of a call: short, so that a kill may come before it begins, after it has ended, and while its answer is
fetched."""


async def kill_workers(cluster: Cluster, folder: Path, kills: int, luck: random.Random) -> str:
    """Kill so many workers, one after the other, while work units run.

    Args:
        cluster: With so many workers, and with as many in the end.
        folder: For what they write.
        kills: How many.
        luck: By which the instants and the workers are chosen.

    Returns:
        What was hit, in words.
    """
    log = folder / "calls"
    hit = 0
    cue, executor = runcue.Cue(), runcue.executors.dask(cluster.address)
    cue.task(run_in=executor, retry=runcue.Retry(attempts=20, wait_initial=0.01, wait_max=0.1))(
        elsewhere.note
    )
    handles: list[runcue.WorkHandle] = []
    async with cue:
        left = kills
        while left or len(handles) < 20:
            for _ in range(4):
                handles.append(await cue.call(elsewhere.note, log, len(handles), TAKES))
            await asyncio.sleep(luck.uniform(0.0, 2 * TAKES))
            if left and executor.workers == WORKERS:
                left -= 1
                # Others may have been killed before, by other tests.
                victim = luck.choice([one for one in cluster.workers if one.poll() is None])
                cluster.workers.remove(victim)
                victim.kill()
                victim.wait()
                cluster.add_worker()
            elif left:
                # Until the new one is there.
                await asyncio.sleep(0.05)
        works = [await handle.wait() for handle in handles]
        while executor.workers < WORKERS:
            await asyncio.sleep(0.02)
    begun = Counter(int(line.split()[0]) for line in log.read_text().splitlines() if " begins " in line)
    for number, work in enumerate(works):
        assert work.state is runcue.WorkState.COMPLETED, (number, work.error)
        assert 1 <= begun[number] <= len(work.attempts), (number, begun[number], work.attempts)
        lost = [one for one in work.attempts if one.error is not None]
        assert all(isinstance(one.error, runcue.WorkerDied) for one in lost), lost
        hit += len(lost)
    again = sum(begun.values()) - len(works)
    return f"{kills} kills, {len(works)} work units: {hit} attempts were lost, of which {again} had begun"


@pytest.mark.rule(59)
@pytest.mark.skipif(sys.platform == "win32", reason="no kill -9 there")
def test_workers_are_killed_and_nothing_is_lost_or_run_beyond_its_attempts(tmp_path: Path) -> None:
    with Cluster(tmp_path, WORKERS) as own:  # not that of other tests, which kill in it as well
        asyncio.run(kill_workers(own, tmp_path, 2, random.Random(59)))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made, Cluster(Path(made), WORKERS) as own:
        print(asyncio.run(kill_workers(own, Path(made), int(sys.argv[1]), random.Random())))
