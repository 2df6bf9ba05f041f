"""What a plan says of what is for later, and of what waits for its next attempt."""

from __future__ import annotations

import asyncio
import re

import pytest

import runcue
import runcue.testing
from runcue import Flag
from tests.support.virtual_time import virtual


def kitchen() -> runcue.Cue:
    cue = runcue.Cue(id_prefix="")

    async def nothing(work: runcue.Work) -> None:
        for flag in work.outputs:
            flag.set()

    cue.task("mix", outputs=Flag("dough"))(nothing)
    cue.task("bake", inputs=Flag("dough"), outputs=Flag("bread"))(nothing)
    cue.task("sing")(nothing)
    return cue


def told(plan: runcue.Plan) -> list[str]:
    """What runs, without the time of day."""
    return [re.sub(r"before \d\d:\d\d:\d\d", "before some time", str(work)) for work in plan.runs]


@virtual
async def test_what_is_for_later_comes_after_what_is_not_and_says_when() -> None:
    async with kitchen() as cue:
        plan = cue.plan([{"task": "sing", "delay": "2h"}, {"task": "sing", "delay": 60}, "sing"])
    assert told(plan) == [
        "sing #3: nothing says it is up to date",
        "sing #2: nothing says it is up to date; not before some time, in 60 s",
        "sing #1: nothing says it is up to date; not before some time, in 2 h",
    ]
    assert plan.runs[0].not_before is None
    assert plan.runs[2].not_before == runcue.testing.EPOCH + 7200
    assert "in 60 s" in str(plan)


@virtual
async def test_who_needs_what_is_made_later_is_as_late() -> None:
    async with kitchen() as cue:
        plan = cue.plan([{"task": "mix", "run_at": runcue.testing.EPOCH + 90}, "bake", "sing"])
    assert [(work.task, work.not_before) for work in plan.runs] == [
        ("sing", None),
        ("mix", runcue.testing.EPOCH + 90),
        ("bake", runcue.testing.EPOCH + 90),
    ]


@virtual
async def test_what_is_made_anew_later_holds_up_only_who_comes_after_it() -> None:
    cue = kitchen()
    async with cue:
        await cue.submit("mix")
        await cue.drain()
        late = {"task": "mix", "delay": 60, "force": True}
        assert [(work.task, bool(work.not_before)) for work in cue.plan(["bake", late]).runs] == [
            ("bake", False),
            ("mix", True),
        ]
        assert [(work.task, bool(work.not_before)) for work in cue.plan([late, "bake"]).runs] == [
            ("mix", True),
            ("bake", True),
        ]


@virtual
async def test_who_joins_what_is_for_later_lends_it_an_earlier_instant() -> None:
    late, earlier = {"task": "mix", "delay": 60}, {"task": "mix", "delay": 10}
    async with kitchen() as cue:
        [run] = cue.plan([late, earlier]).runs
        assert run.not_before == runcue.testing.EPOCH + 10
        [run] = cue.plan([late, "mix"]).runs
        assert run.not_before is None


@virtual
async def test_known_work_units_are_planned_for_their_instants() -> None:
    cue = kitchen()

    @cue.task("call", retry=runcue.Retry(3, wait_initial=50, wait_jitter=0))
    async def call(work: runcue.Work) -> None:
        raise ConnectionError

    async with cue:
        handles = [await cue.submit("call"), await cue.submit("mix", delay=30)]
        await asyncio.sleep(10)
        plan = cue.plan(["bake"])
        now = runcue.testing.EPOCH + 10
        assert [(work.task, work.not_before and work.not_before - now) for work in plan.runs] == [
            ("mix", pytest.approx(20)),
            ("bake", pytest.approx(20)),
            ("call", pytest.approx(40)),
        ]
        for handle in handles:
            await cue.cancel(handle)


@virtual
async def test_what_is_for_later_joins_nobody_who_runs() -> None:
    cue = kitchen()

    @cue.task("nightly", key="nightly")
    async def nightly(work: runcue.Work) -> None:
        await asyncio.sleep(5)

    async with cue:
        await cue.submit("nightly")
        await asyncio.sleep(1)
        plan = cue.plan([{"task": "nightly", "delay": "1h"}, "nightly"])
        assert [work.id for work in plan.runs if work.not_before] == ["#1"]
        assert len(plan.joined) == 1
