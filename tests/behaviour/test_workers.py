"""A worker learns who it is from the running task: no order in which a loop runs what is ready can confuse it."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest

import runcue
from runcue.testing import VirtualTimeLoop


class ShufflingLoop(VirtualTimeLoop):
    """Runs what is ready in any order, which is more than asyncio leaves open."""

    def __init__(self, seed: int) -> None:
        self._luck = random.Random(seed)
        super().__init__()

    def _run_once(self) -> None:
        ready = list(self._ready)
        self._luck.shuffle(ready)
        self._ready.clear()
        self._ready.extend(ready)
        super()._run_once()


@pytest.mark.rule(5)
@pytest.mark.rule(16)
@pytest.mark.rule(19)
@pytest.mark.parametrize("seed", range(30))
def test_whatever_order_workers_come_in_each_work_unit_runs_once_and_slots_hold(seed: int) -> None:
    async def main() -> tuple[Counter[str], int, runcue.Summary]:
        cue = runcue.Cue(recheck=False)
        cue.service("a", concurrent=3)
        cue.service("b", concurrent=2, rate="50/sec")
        ran: Counter[str] = Counter()
        tasks, cancelled, ended = set[object](), set[str](), set[str]()
        running = most = 0

        def handler(uses: list[str], suspends: int) -> None:
            name = f"{'+'.join(uses)} {suspends}"

            @cue.task(name, uses=uses)
            async def run(work: runcue.Work) -> None:
                nonlocal running, most
                ran[work.id] += 1
                running += 1
                most = max(most, running)
                me = asyncio.current_task()
                if suspends:
                    # Of its own, that no other handler has met before.
                    assert me not in tasks
                    tasks.add(me)
                try:
                    for _ in range(suspends):
                        await asyncio.sleep(0.01)
                except asyncio.CancelledError:
                    ended.add(work.id)
                    raise
                finally:
                    running -= 1

        for uses in (["a"], ["b"], ["a", "b"]):
            for suspends in (0, 1, 3):
                handler(uses, suspends)
        async with cue:
            handles = [await cue.submit(task.name) for _ in range(20) for task in cue.tasks()]
            for _ in range(4):
                await asyncio.sleep(0.013)
                for handle in [one for one in handles if one.work.state is runcue.WorkState.RUNNING][::2]:
                    cancelled.add(str(handle))
                    await cue.cancel(handle)
            summary = await cue.drain()
        # Whose cancellation was asked for, and nobody else, was cancelled in its handler.
        assert ended == cancelled
        assert cancelled
        return ran, most, summary

    with asyncio.Runner(loop_factory=lambda: ShufflingLoop(seed)) as runner:
        ran, most, summary = runner.run(main())
    assert set(ran.values()) == {1}
    assert most <= 5
    assert sum(summary.counts.values()) == 180
    assert summary.counts["failed"] == 0
    assert summary.blocked == []
