"""The timeline listening to a real cue: a bar for each work, with its service and its outcome."""

from __future__ import annotations

import asyncio
import re
import time

import runcue
from runcue.timeline import Timeline
from tests.support.virtual_time import virtual


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


@virtual
async def test_between_two_attempts_nothing_is_drawn_and_each_is_a_bar() -> None:
    cue = runcue.Cue(id_prefix="")
    cue.service("api", concurrent=1)

    @cue.task("call", uses="api", retry=runcue.Retry(3, wait_initial=60, wait_jitter=0))
    async def call(work: runcue.Work) -> None:
        await asyncio.sleep(2)
        if work.attempt < 3:
            raise ConnectionError

    waits = [True]

    @cue.task("later", uses="api")
    async def later(work: runcue.Work) -> None:
        await asyncio.sleep(1)
        if waits:
            waits.pop()
            raise runcue.RetryLater(600)

    timeline = Timeline(cue)
    async with cue:
        await cue.submit("call")
        await asyncio.sleep(30)
        [bar] = timeline.bars
        assert (bar.outcome, bar.duration) == ("retried", 2.0), "it does not run while it waits"
        assert "1 work unit " in timeline.svg()
        await cue.submit("later")
        await cue.drain()
    began = timeline.bars[0].start
    assert [(bar.task, bar.outcome, bar.start - began, bar.end - began) for bar in timeline.bars] == [
        ("call", "retried", 0.0, 2.0),
        ("later", "postponed", 30.0, 31.0),
        ("call", "retried", 62.0, 64.0),
        ("call", "completed", 124.0, 126.0),
        ("later", "completed", 631.0, 632.0),
    ]
    svg = timeline.svg()
    assert "2 work units" in svg, "though there are five bars"
    assert "tried again" in svg
    [postponed] = re.findall(r"<g><title>later[^<]*</title>.*?</g>", svg)
    assert 'class="postponed"' in postponed, "and is not red"
    assert "call (1)" in svg


@virtual
async def test_who_is_cancelled_or_skipped_while_it_waits_for_an_attempt_has_a_mark_there() -> None:
    cue = runcue.Cue(id_prefix="")
    done: list[int] = []
    cue.is_stale(lambda work: not done)
    cue.task("call", retry=runcue.Retry(3, wait_initial=10, wait_jitter=0))(lambda work: 1 / 0)
    timeline = Timeline(cue)
    async with cue:
        first, second = await cue.submit("call"), await cue.submit("call")
        await asyncio.sleep(4)
        await cue.cancel(first)
        done.append(1)
        await second.wait()
    found = [(bar.outcome, bar.duration) for bar in timeline.bars]
    assert found == [("retried", 0.0), ("retried", 0.0), ("cancelled", 0.0), ("skipped", 0.0)]
