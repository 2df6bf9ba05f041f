"""Handlers in processes and pools, real ones: whatever becomes of one call is no matter to any other one.

Each example is a mix of calls that return, raise, die, hang or are cancelled, in one or two workers. How many run at
once is not measured but tried: each holds one of as many locks as there are workers, and the system lets go of those of
the dead.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import runcue
from tests.support.in_processes import act
from tests.support.worlds import Tally, silence

PATIENCE = 30.0  # seconds of real time, for a busy machine; an example takes some tenths of one
ATTEMPTS = 2

Where = Literal["process", "ThreadPool", "ProcessPool"]


class Job(NamedTuple):
    """What one call does in each of its attempts, and after how many seconds somebody cancels it."""

    acts: list[str]
    cancelled_after: float | None


def jobs(*deaths: str) -> st.SearchStrategy[list[Job]]:
    """Mixes of calls. Those that hang do nothing else that a time-out would find in their place on a slow machine."""
    ends = st.lists(
        st.sampled_from(("return", "return", "pause", "raise", *deaths)), min_size=1, max_size=ATTEMPTS
    )
    hangs = st.lists(st.sampled_from(("hang", "exit")), min_size=1, max_size=ATTEMPTS)
    acts = st.one_of(ends, ends, ends, hangs) if deaths else ends
    job = st.builds(Job, acts, st.sampled_from((None, None, None, 0.0, 0.001, 0.03)))
    return st.lists(job, min_size=1, max_size=8)


@pytest.fixture(scope="module")
def pools() -> Iterator[dict[tuple[str, int], Executor]]:
    """Those of the user's: they are his, and live for all examples."""
    kinds = {
        "ThreadPool": ThreadPoolExecutor,
        "ProcessPool": lambda workers: ProcessPoolExecutor(workers, get_context("spawn")),
    }
    with ExitStack() as stack:
        yield {
            (name, workers): stack.enter_context(make(workers))
            for name, make in kinds.items()
            for workers in (1, 2)
        }


# 2 of 100, and of a torture's 20,000 no more than 400: a new process takes some time.
few = settings(max_examples=max(2, settings.default.max_examples // 50))


@pytest.mark.rule(56, 9)
@few
@given(jobs("exit", "kill"), st.sampled_from((1, 2)))
def test_what_dies_hangs_or_is_cancelled_in_a_process_is_noticed_by_nobody_else(
    plan: list[Job], workers: int
) -> None:
    check(plan, "process", workers)


@pytest.mark.rule(9)
@few
@given(jobs(), st.sampled_from(("ThreadPool", "ProcessPool")), st.sampled_from((1, 2)))
def test_what_fails_or_is_cancelled_in_a_pool_is_noticed_by_nobody_else(
    pools: dict[tuple[str, int], Executor], plan: list[Job], kind: Any, workers: int
) -> None:
    check(plan, pools[kind, workers], workers)


def check(plan: list[Job], where: Any, workers: int) -> None:
    """Run it, and hold what has come of it to what was promised."""
    Tally.examples += 1
    ended: Counter[str] = Counter()

    async def main(folder: str) -> list[runcue.Work]:
        cue = runcue.Cue(max_processes=workers, stall_timeout=PATIENCE)
        retry = runcue.Retry(ATTEMPTS, wait_initial=0, wait_jitter=0)
        cue.task("act", run_in=where, retry=retry)(act)
        for listen in (cue.on_complete, cue.on_failure, cue.on_cancel):
            listen(lambda work, *_: ended.update([work.id]))
        async with asyncio.timeout(PATIENCE), cue:
            handles = [
                await cue.submit(
                    "act",
                    {"number": number, "acts": job.acts, "folder": folder, "most": workers},
                    timeout=0.05 if hangs(job) else None,
                )
                for number, job in enumerate(plan)
            ]
            await asyncio.gather(*map(cancel, handles, plan))
            return [await handle.wait() for handle in handles]

    async def cancel(handle: runcue.WorkHandle, job: Job) -> None:
        if job.cancelled_after is not None:
            await asyncio.sleep(job.cancelled_after)
            handle.cancel()

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        with silence():
            works = asyncio.run(main(folder))
        if (noted := Path(folder, "begun")).exists():
            begun = [tuple(map(int, line.split())) for line in noted.read_text("utf-8").splitlines()]
        else:
            begun = []
        if where == "process":
            until = time.monotonic() + PATIENCE
            while left := [pid for *_, pid in begun if Path(f"/proc/{pid}").exists()]:
                assert time.monotonic() < until, f"left running: {left}"
                time.sleep(0.002)
        # A pool's handlers that were given up may go on; the next example waits for them there.
        assert not Path(folder, "too many").exists(), f"more than {workers} at once"

    assert ended == {work.id: 1 for work in works}, "not settled once each"
    attempts = {(number, attempt) for number, attempt, _ in begun}
    assert len(attempts) == len(begun), "an attempt that was begun twice"
    for number, (work, job) in enumerate(zip(works, plan, strict=True)):
        tried = sum(1 for other, _ in attempts if other == number)
        if work.state == runcue.WorkState.CANCELLED:
            assert job.cancelled_after is not None
            assert tried <= work.attempt
            continue
        acts = [job.acts[min(attempt, len(job.acts) - 1)] for attempt in range(ATTEMPTS)]
        good = next((at for at, what in enumerate(acts, 1) if what in ("return", "pause")), None)
        assert work.state == (runcue.WorkState.FAILED if good is None else runcue.WorkState.COMPLETED)
        assert work.attempt == (good or ATTEMPTS)
        assert tried == work.attempt or (hangs(job) and tried < work.attempt)


def hangs(job: Job) -> bool:
    return "hang" in job.acts
