"""The timeline listening to a real cue: a bar for each work, with its service and its outcome."""

from __future__ import annotations

import asyncio
import time

import runcue
from runcue.timeline import Timeline


async def test_every_work_of_a_run_becomes_a_bar_within_the_time_it_took() -> None:
    cue = runcue.Cue()
    cue.service("disk", concurrent=2)
    cue.service("net", concurrent=1)

    @cue.is_ready
    def is_ready(work: runcue.Work) -> bool:
        return work.task != "never"

    @cue.is_stale
    def is_stale(work: runcue.Work) -> bool:
        return work.task != "done_before"

    @cue.task("both", uses=["disk", "net"])
    async def both(work: runcue.Work) -> None:
        await asyncio.sleep(0.02)

    @cue.task("thread", uses="disk")
    def thread(work: runcue.Work) -> None:
        time.sleep(0.02)

    @cue.task("fails")
    async def fails(work: runcue.Work) -> None:
        raise ValueError("on purpose")

    @cue.task("done_before", uses="net")
    async def done_before(work: runcue.Work) -> None: ...

    @cue.task("never", uses="net")
    async def never(work: runcue.Work) -> None: ...

    # Someone has to hear of the failure, or the cue says it aloud.
    cue.on_failure(lambda work, error: None)
    timeline = Timeline(cue)
    began = time.time()
    cue.start()
    for task in ("both", "thread", "fails", "done_before", "never"):
        await cue.submit(task)
    await cue.stop()
    ended = time.time()

    bars = {bar.task: bar for bar in timeline.bars}
    assert {task: (bar.services, bar.outcome, bar.ran) for task, bar in bars.items()} == {
        "both": (("disk", "net"), "completed", True),
        "thread": (("disk",), "completed", True),
        "fails": ((), "failed", True),
        "done_before": (("net",), "skipped", False),
        "never": (("net",), "cancelled", False),
    }
    assert all(began <= bar.start <= bar.end <= ended for bar in bars.values())
    assert bars["thread"].duration >= 0.019
    assert "no service" in timeline.svg()
