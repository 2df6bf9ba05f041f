"""Plans of work units in lanes: their order, who is blocked by whom, and cycles against the order of a lane."""

from __future__ import annotations

from typing import Any

import pytest

import runcue
from runcue import Flag
from tests.support.virtual_time import virtual

pytestmark = pytest.mark.rule(51)


def described() -> runcue.Cue:
    cue = runcue.Cue()

    @cue.task("ask", lane=lambda work: work.params.get("user"))
    async def ask(work: runcue.Work) -> None: ...

    @cue.task("need", inputs=lambda name: Flag(name))
    async def need(name: str) -> None: ...

    @cue.task("make", outputs=lambda name: Flag(name))
    async def make(name: str) -> None: ...

    return cue


def submission(task: str, lane: Any = None, **options: Any) -> dict[str, Any]:
    params = {"name": "a"} if task != "ask" else {}
    return {"task": task, "params": params, "lane": lane, **options}


def test_one_of_a_lane_comes_after_the_other_however_they_are_put_off() -> None:
    later = [submission("ask", "x", delay="1h"), submission("ask", "x"), submission("ask", "y")]
    plan = described().plan(later)
    assert [one.id for one in plan.runs] == ["#3", "#1", "#2"]
    assert plan.runs[1].not_before == plan.runs[2].not_before
    assert plan.runs[0].not_before is None


def test_who_comes_after_one_that_is_blocked_is_blocked_and_no_other_lane() -> None:
    plan = described().plan(
        [submission("need", "x"), submission("ask", "x"), submission("ask", "x"), submission("ask", "y")]
    )
    assert [one.id for one in plan.runs] == ["#4"]
    assert [one.id for one in plan.blocked] == ["#1", "#2", "#3"]
    assert (
        plan.blocked[2].reason == "it comes after ask #2 in lane 'x'; that is blocked in the end by need #1"
    )


@pytest.mark.rule(52)
def test_what_needs_what_comes_after_it_in_its_lane_is_a_cycle() -> None:
    plan = described().plan([submission("need", "x"), submission("make", "x"), submission("ask", "x")])
    assert not plan.runs
    [cycle] = plan.cycles
    assert str(cycle) == "need #1 comes before make #2 in lane 'x', make #2 makes Flag('a') for need #1"
    reasons = [one.reason for one in plan.blocked]
    assert reasons[1] == "it comes after need #1 in lane 'x', which waits for it in a cycle"
    assert reasons[2].startswith(
        "it comes after make #2 in lane 'x'; that is blocked in the end by the cycle"
    )


@pytest.mark.rule(52)
def test_works_of_different_lanes_are_not_planned_to_join() -> None:
    plan = described().plan([submission("ask", lane, key=1) for lane in ("x", "x", "y", None)])
    assert [len(plan.runs), len(plan.joined), len(plan.problems)] == [1, 1, 2]
    assert "in another lane by ask #1" in plan.problems[0]


@virtual
async def test_what_is_pending_or_runs_is_in_its_lane_as_well() -> None:
    cue = described()
    cue.start()
    for _ in range(2):
        await cue.submit("need", {"name": "a"}, lane="x")
    plan = cue.plan([submission("ask", "x"), submission("ask")])
    assert [one.id for one in plan.runs] == ["#2"]
    assert len(plan.blocked) == 3
    assert cue._core.lanes["x"].works() == await cue.list()
    await cue.stop(drain=False)
