"""Lanes, whatever becomes of their work units: one at a time, in order, and nobody is left behind."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import runcue
from runcue import Flag, Retry
from runcue.testing import FakeExecutor
from tests.support.worlds import orders, seconds, virtually

pytestmark = pytest.mark.rule(51, 52)

_EXAMPLES = settings().max_examples if settings().max_examples > 1000 else 25


class Job(NamedTuple):
    """A work unit.

    Attributes:
        after: Seconds after the former submission; None: in the same step.
        lane: Its lane, None: none.
        task: One of three.
        takes: Seconds that each attempt takes.
        fails: So many attempts fail.
        delay: As of a submission.
        cancel_after: Seconds after its submission, None: never.
        key: The same in one lane join.
        priority: As of a submission.
        needs: Whether it waits for something that comes from outside after a while.
        lingers: Seconds that its handler goes on after it was cancelled.
    """

    after: float | None
    lane: str | None
    task: int
    takes: float
    fails: int
    delay: float | None
    cancel_after: float | None
    key: int | None
    priority: float | None
    needs: bool
    lingers: float


jobs = st.builds(
    Job,
    after=st.none() | seconds,
    lane=st.sampled_from((None, "a", "a", "b")),
    task=st.integers(0, 2),
    takes=seconds,
    fails=st.sampled_from((0, 0, 0, 1, 2)),
    delay=st.none() | st.none() | seconds,
    cancel_after=st.none() | st.none() | seconds,
    key=st.sampled_from((None, None, None, 0, 1)),
    priority=st.sampled_from((None, None, 0.1, 0.9)),
    needs=st.sampled_from((False, False, False, True)),
    lingers=st.sampled_from((0.0, 0.0, 0.25)),
)


class World:
    """A cue in which they run, and what has been seen of it."""

    def __init__(self, jobs: list[Job], concurrent: int) -> None:
        self.jobs = jobs
        self.cue = runcue.Cue(run_in=FakeExecutor(lambda work: jobs[work.params["number"]].takes))
        self.cue.service("s", concurrent=concurrent)
        self.inside: dict[str, int] = {}
        self.begun: dict[str, list[int]] = {"a": [], "b": []}
        self.handles: dict[int, runcue.WorkHandle] = {}
        retry = Retry(attempts=2, wait_initial=0.25, wait_exp_base=1, wait_jitter=0)
        self.cue.task("0", uses="s", retry=retry)(self.run)
        self.cue.task("1", retry=retry, timeout=50)(self.run)
        self.cue.task("2", uses="s")(self.plain)
        self.cue.on_failure(lambda work, error: None)

    def enter(self, work: runcue.Work) -> None:
        job = self.jobs[work.params["number"]]
        if job.lane is not None:
            other = self.inside.get(job.lane)
            assert other is None, f"{work.params} and {other} at once in {job.lane}"
            if work.attempt == 1:
                self.begun[job.lane].append(work.params["number"])

    async def run(self, work: runcue.Work) -> None:
        number = work.params["number"]
        job = self.jobs[number]
        self.enter(work)
        if job.lane is not None:
            self.inside[job.lane] = number
        try:
            await asyncio.sleep(job.takes)
        finally:
            try:
                if job.lingers:
                    await asyncio.sleep(job.lingers)
            finally:
                if job.lane is not None:
                    del self.inside[job.lane]
        if work.attempt <= job.fails:
            raise ValueError(number)

    def plain(self, work: runcue.Work) -> None:
        self.enter(work)

    async def submit(self, number: int) -> None:
        job = self.jobs[number]
        options: dict[str, Any] = {"lane": job.lane, "delay": job.delay, "priority": job.priority}
        if job.needs:
            options["inputs"] = Flag("outside")
        if job.key is not None:
            # Only what is the same joins: the first of them says what it is.
            first = next(n for n, one in enumerate(self.jobs) if (one.key, one.lane) == (job.key, job.lane))
            job = self.jobs[first]
            options = {"lane": job.lane, "key": (job.key, job.lane)}
            number_said = first
        else:
            number_said = number
        handle = await self.cue.submit(str(job.task), {"number": number_said}, **options)
        self.handles[number] = handle
        if self.jobs[number].cancel_after is not None:
            asyncio.get_running_loop().call_later(self.jobs[number].cancel_after, handle.cancel)

    async def live(self) -> None:
        self.cue.start()
        for number, job in enumerate(self.jobs):
            if job.after is not None:
                await asyncio.sleep(job.after)
            await self.submit(number)
        await asyncio.sleep(100)
        flag = Flag("outside")
        flag.share(self.cue._dispatcher.flags)
        flag.set()
        summary = await self.cue.drain()
        assert not summary.blocked
        assert all(handle.done() for handle in self.handles.values())
        core = self.cue._core
        assert not core.lanes, core.lanes
        assert not any(core.count), core.count
        assert not core.dependencies.subscribers
        await self.cue.stop()


@settings(max_examples=_EXAMPLES)
@given(st.lists(jobs, min_size=1, max_size=12), st.integers(1, 3), orders)
def test_one_of_a_lane_runs_at_a_time_in_order_and_all_end(
    jobs: list[Job], concurrent: int, order: int | None
) -> None:
    world = World(jobs, concurrent)
    virtually(world.live, order)
    for lane, begun in world.begun.items():
        # Who has joined takes the place of one that was cancelled: that is the place of the first that was the same.
        alone = [number for number in begun if jobs[number].key is None]
        assert alone == sorted(alone), f"lane {lane}: {begun}"
