"""Processes are killed at random instants: nothing is lost, and nothing runs more often than attempts were counted.

Run as a program it kills more often: `python tests/executors/test_killed_processes.py 1000`.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

import runcue  # noqa: E402 - found only from there
from runcue.executors import _process  # noqa: E402
from tests.support import in_processes  # noqa: E402

SEED = 20261128
CONTENT = "".join(f"{{number}} {part}\n" for part in range(20))


class Findings(NamedTuple):
    """What has become of all of them."""

    kills: int
    works: int
    attempts: int
    began: int

    def __str__(self) -> str:
        return (
            f"{self.kills:,} kills: {self.works:,} work units in {self.attempts:,} attempts, of which {self.began:,} "
            "had begun"
        )


async def kill_at(folder: Path, kills: int) -> Findings:
    """Have so many processes killed at random instants, while there is work for them.

    Args:
        folder: Where it is done.
        kills: How many.
    """
    luck = random.Random(SEED)
    cue = runcue.Cue(max_processes=2, keep=1_000_000)
    cue.task(
        "make",
        run_in="process",
        retry=runcue.Retry(attempts=-1, on=runcue.WorkerDied, wait_initial=0, wait_jitter=0),
        outputs=lambda number, folder: Path(folder, "out", str(number)),
    )(in_processes.make)
    killed = 0

    async def kill() -> None:
        nonlocal killed
        while killed < kills:
            if luck.random() < 0.7:  # or most of them would meet a process that is being started
                before = _size(folder / "begun")
                while _size(folder / "begun") == before and not done():
                    await asyncio.sleep(0.001)
            await asyncio.sleep(luck.random() * luck.choice((0.001, 0.01, 0.1)))
            alive = [
                process for process in _process._alive if process.work is not None or luck.random() < 0.2
            ]
            if alive:
                os.kill(luck.choice(alive).pid, signal.SIGKILL)
                killed += 1

    def done() -> bool:
        return all(handle.done() for handle in handles)

    works, handles = [], []
    async with cue:
        killing = asyncio.create_task(kill())
        while not killing.done():
            params = [{"number": len(works) + one, "folder": str(folder)} for one in range(10)]
            handles = [await cue.submit("make", params=one) for one in params]
            works += [await handle.wait() for handle in handles]
        await killing
    began = Counter[int]()
    for line in (folder / "begun").read_text(encoding="ascii").splitlines():
        began[int(line.split()[0])] += 1
    for work in works:
        number = work.params["number"]
        assert work.state is runcue.WorkState.COMPLETED, work.error
        assert work.result == number
        assert 1 <= began[number] <= work.attempt
        written = (folder / "out" / str(number)).read_text(encoding="ascii")
        assert written == CONTENT.format(number=number)
    assert len(list((folder / "out").glob("[!.]*"))) == len(works)
    assert not [path for path in (folder / "out").glob(".*") if path.is_file() and "marks" not in path.name]
    return Findings(killed, len(works), sum(work.attempt for work in works), sum(began.values()))


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


@pytest.mark.rule(56, 25)
async def test_of_processes_that_are_killed_nothing_is_lost_and_nothing_runs_uncounted(
    tmp_path: Path,
) -> None:
    findings = await kill_at(tmp_path, 6)
    assert findings.attempts > findings.works


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        print(asyncio.run(kill_at(Path(name), int(sys.argv[1]))))
