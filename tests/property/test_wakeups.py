"""No wake-up is lost with recheck off, and the gate's answer holds at the instant the handler is entered.

Both on pipelines: every work makes one artifact, named by its number, and needs some of those with lower numbers.
"""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

import runcue
from tests.support.worlds import (
    SECONDS,
    Body,
    Book,
    ServicePlan,
    TaskPlan,
    orders,
    seconds,
    services,
    tasks,
    virtually,
)

short = st.sampled_from(SECONDS[:8])


class Step(NamedTuple):
    """A work of a pipeline.

    Attributes:
        needs: Artifacts of earlier numbers; -1 is one that comes from outside.
        task: Taken modulo the number of tasks.
        pauses: Of its handler.
        makes_at_once: The artifact is there when the handler is entered, not when it returns.
        fails: It raises instead of making anything.
        up_to_date: Its artifact is there from the beginning.
        gate: None for a plain is_ready; otherwise seconds before and after it looks at the artifacts.
        after: Seconds between the former submission and this one; None: the same step.
    """

    needs: frozenset[int]
    task: int
    pauses: tuple[float, ...]
    makes_at_once: bool
    fails: bool
    up_to_date: bool
    gate: tuple[float, float] | None
    after: float | None


class Pipeline(NamedTuple):
    services: list[ServicePlan]
    tasks: list[TaskPlan]
    steps: list[Step]
    order: list[int]
    late: bool


@st.composite
def pipelines(draw: st.DrawFn, *, contended: bool = False) -> Pipeline:
    """A pipeline; a contended one has a single, rated service, so that most of its work units wait for a token."""
    if contended:
        some = [draw(services(rated=True))]
        kinds = st.builds(TaskPlan, uses=st.just((0,)), is_async=st.booleans())
    else:
        some = draw(st.lists(services(), min_size=1, max_size=2))
        kinds = tasks(len(some))
    size = draw(st.integers(1, 14))
    gates = draw(st.sampled_from((st.none(), st.none() | st.tuples(short, short))))
    afters = draw(st.sampled_from((st.none(), st.none() | seconds)))
    steps = [
        Step(
            needs=draw(st.frozensets(st.integers(-1, number - 1), max_size=3)),
            task=draw(st.integers(0, 3)),
            pauses=draw(st.lists(seconds, max_size=2).map(tuple)),
            makes_at_once=draw(st.booleans()),
            fails=draw(st.sampled_from((False,) * 9 + (True,))),
            up_to_date=draw(st.sampled_from((False,) * 9 + (True,))),
            gate=draw(gates),
            after=draw(afters),
        )
        for number in range(size)
    ]
    return Pipeline(
        some,
        draw(st.lists(kinds, min_size=1, max_size=4)),
        steps,
        draw(st.permutations(range(size))),
        draw(st.booleans()),
    )


class Piped(Body):
    def __init__(self, plan: Pipeline) -> None:
        super().__init__(Book(plan.services, plan.tasks), late=plan.late)
        self.plan = plan
        self.made = {number for number, step in enumerate(plan.steps) if step.up_to_date}

    def step(self, work: runcue.Work) -> Step:
        return self.plan.steps[work.params["number"]]

    def pauses(self, work: runcue.Work) -> tuple[float, ...]:
        return self.step(work).pauses

    def entered(self, work: runcue.Work) -> None:
        step = self.step(work)
        if step.makes_at_once and not step.fails and self.plan.tasks[int(work.task)].is_async:
            self.made.add(work.params["number"])

    def finish(self, work: runcue.Work) -> Any:
        if self.step(work).fails:
            raise ValueError("on purpose")
        self.made.add(work.params["number"])

    def is_ready(self, work: runcue.Work) -> object:
        step = self.step(work)
        if step.gate is None:
            return step.needs <= self.made
        return self.slowly_ready(step, *step.gate)

    async def slowly_ready(self, step: Step, before: float, after: float) -> bool:
        await asyncio.sleep(before)
        answer = step.needs <= self.made
        await asyncio.sleep(after)
        return answer

    def is_stale(self, work: runcue.Work) -> bool:
        return work.params["number"] not in self.made

    def can_run(self) -> set[int]:
        """Works whose inputs will all be there, once what is outside is."""
        made = {-1} | {number for number, step in enumerate(self.plan.steps) if step.up_to_date}
        able = set()
        for number, step in enumerate(self.plan.steps):  # needs point to lower numbers
            if step.needs <= made:
                able.add(number)
                if not step.fails:
                    made.add(number)
        return able


@pytest.mark.rule(2, 4, 23)
@given(pipelines(), st.lists(seconds, max_size=2), st.booleans(), orders)
def test_every_work_whose_inputs_get_made_runs_though_nothing_is_rechecked(
    plan: Pipeline, outside: list[float], by_drain: bool, order: int | None
) -> None:
    body = Piped(plan)
    expected = body.can_run()

    async def main() -> tuple[dict[int, runcue.WorkHandle], runcue.Summary]:
        cue = body.cue(recheck=False)
        cue.is_ready(body.is_ready)
        cue.is_stale(body.is_stale)
        cue.start()
        handles = {}

        async def from_outside() -> None:
            for pause in outside:
                await asyncio.sleep(pause)
                cue.nudge()  # for nothing
            body.made.add(-1)
            cue.nudge()

        nudging = asyncio.create_task(from_outside())
        for number in plan.order:
            step = plan.steps[number]
            if step.after is not None:
                await asyncio.sleep(step.after)
            handles[number] = await cue.submit(str(step.task % len(plan.tasks)), params={"number": number})
        await nudging
        if by_drain:
            summary = await cue.drain()
        else:
            await asyncio.gather(*(handles[number].wait() for number in expected))
            summary = await cue.drain()
        blocked = {int(one["work"].params["number"]) for one in summary.blocked}
        assert blocked == set(handles) - expected, (
            f"blocked: {blocked}, to be expected: {set(handles) - expected}"
        )
        assert [handle for handle in handles.values() if handle.work.state is runcue.WorkState.RUNNING] == []
        return handles, await cue.stop()

    handles, summary = virtually(main, order)
    event(f"async gates: {any(step.gate for step in plan.steps)}")
    ran = {entry.number for entry in body.book.entries}
    assert not body.book.wrong, body.book.wrong
    for number, handle in handles.items():
        step = plan.steps[number]
        runs = number in expected and not step.up_to_date
        assert (number in ran) == runs
        if number not in expected:
            assert handle.work.state is runcue.WorkState.CANCELLED
        elif runs and step.fails:
            assert handle.work.state is runcue.WorkState.FAILED
        else:
            assert handle.work.state is runcue.WorkState.COMPLETED
            assert handle.work.skipped == step.up_to_date
    assert summary.counts["cancelled"] == len(handles) - len(expected)


class Flipping(Piped):
    """A pipeline in which artifacts come and go: each handler, on entry, turns some of them over."""

    def __init__(self, plan: Pipeline, flips: list[frozenset[int]]) -> None:
        super().__init__(plan)
        self.flips = flips
        self.broken: list[str] = []

    def entered(self, work: runcue.Work) -> None:
        number = work.params["number"]
        if not self.step(work).needs <= self.made:
            self.broken.append(f"work {number} was entered and was not ready")
        if number in self.made:
            self.broken.append(f"work {number} was entered and was up to date")
        super().entered(work)
        if self.plan.tasks[int(work.task)].is_async:
            # A sync handler does what it does in its thread, at no instant that the loop knows of; see finish().
            self.made ^= self.flips[number % len(self.flips)]

    def finish(self, work: runcue.Work) -> Any:
        self.made ^= self.flips[work.params["number"] % len(self.flips) - 1]
        return super().finish(work)


numbers: st.SearchStrategy[frozenset[int]] = st.frozensets(
    st.integers(-1, 5) | st.integers(-1, 13), max_size=5
)


@pytest.mark.rule(2, 13, 16)
@given(
    pipelines() | pipelines(contended=True),
    st.just([frozenset()]) | st.lists(numbers, min_size=1, max_size=5),
    st.lists(st.tuples(seconds, numbers), max_size=8),
    st.booleans(),
    st.booleans(),
    orders,
)
def test_what_is_entered_is_ready_and_not_up_to_date_at_that_very_instant(
    plan: Pipeline,
    flips: list[frozenset[int]],
    outside: list[tuple[float, frozenset[int]]],
    recheck: bool,
    with_priorities: bool,
    order: int | None,
) -> None:
    # Plain gates, and handlers that are entered at their hand-off: what happens between that and a late entry is
    # beyond anybody's sight.
    plan = plan._replace(steps=[step._replace(gate=None) for step in plan.steps], late=False)
    body = Flipping(plan, flips)

    async def main() -> None:
        cue = body.cue(recheck=recheck)
        cue.is_ready(body.is_ready)
        cue.is_stale(body.is_stale)
        if with_priorities:
            cue.priority(lambda ctx: ctx.work.params["number"] / 14)

        async def from_outside() -> None:
            for pause, turned in outside:
                await asyncio.sleep(pause)
                body.made ^= turned

        async with cue:
            turning = asyncio.create_task(from_outside())
            handles = []
            for number in plan.order:
                step = plan.steps[number]
                if step.after is not None:
                    await asyncio.sleep(step.after)
                handles.append(await cue.submit(str(step.task % len(plan.tasks)), params={"number": number}))
            await turning
        for handle in handles:
            assert handle.work.state not in {runcue.WorkState.PENDING, runcue.WorkState.RUNNING}

    virtually(main, order)
    assert not body.broken, body.broken
    assert not body.book.wrong, body.book.wrong
