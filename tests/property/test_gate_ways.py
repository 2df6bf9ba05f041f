"""Every short way through the gate of a real cue ends where the long way does.

The gate asks at submission and again before a start, in batches, after a wake-up, with answers that have to be awaited,
and leaves out what it need not ask. Whatever the way, the answer is that of the tables in docs/artifacts.md, which are
written down once more below.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

import runcue
from runcue.testing import FakeExecutor
from tests.support.worlds import orders, virtually


class Answer(NamedTuple):
    """What a callback answers, and whether that means yes."""

    said: str
    give: Callable[[], Any]
    means: bool


def plainly(value: Any, *, means: bool) -> Answer:
    return Answer(repr(value), lambda: value, means)


def later(value: Any, *, means: bool, after: float = 0.0) -> Answer:
    async def answering() -> Any:
        if after:
            await asyncio.sleep(after)
        if isinstance(value, BaseException):
            raise value
        return value

    return Answer(f"{value!r} later", answering, means)


def raising(*, means: bool) -> Answer:
    def give() -> Any:
        raise RuntimeError("on purpose")

    return Answer("raises", give, means)


YES = [True, True, 1, "yes", "no", 2.5, [0]]
NO = [False, False, 0, "", 0.0, {}]
# No answer at all: not ready, and stale.
NEITHER = [None, NotImplemented, len, asyncio.sleep, ("three", "of", "them"), (), ValueError("not raised")]
BROKEN = OSError("on purpose")
READY = [
    *(plainly(value, means=True) for value in (*YES, (True, "why"), (1, ""))),
    *(later(value, means=True, after=0.1) for value in (True, "yes", (True, "why"))),
    *(plainly(value, means=False) for value in (*NO, *NEITHER, (False, "why"), (None, "why"))),
    *(later(value, means=False) for value in (False, None, (False, "why"), BROKEN)),
    raising(means=False),
]
STALE = [
    *(plainly(value, means=True) for value in (*YES, *NEITHER, (False, "is no reason here"))),
    *(later(value, means=True, after=0.1) for value in (True, 1, None, BROKEN)),
    *(plainly(value, means=False) for value in NO),
    *(later(value, means=False) for value in (False, 0)),
    raising(means=True),
]

Policy = Literal["newer", "digest", "none"]


class Plan(NamedTuple):
    """A work unit.

    Attributes:
        task: The first has both callbacks, the second is_ready, the third is_stale, the fourth none.
        uses: Whether its task uses the service.
        ready: The answers of its is_ready, the last of them for ever.
        stale: The answer of is_stale.
        inputs: Which of its inputs are there; None if it declares nothing.
        outputs: Which of its outputs are there.
        changed: Whether an input has changed since the outputs were made.
        policy: What says so.
        forced: Whether it is submitted by force.
        sync: Whether its handler is a plain function.
        after: How long after the start it is submitted.
    """

    task: int
    uses: bool
    ready: list[Answer]
    stale: Answer
    inputs: list[bool] | None
    outputs: list[bool]
    changed: bool
    policy: Policy
    forced: bool
    sync: bool
    after: float


def answers(of: list[Answer]) -> st.SearchStrategy[Answer]:
    """More often a yes."""
    yes = [answer for answer in of if answer.means]
    return st.sampled_from((*yes, *yes, *(answer for answer in of if not answer.means)))


ready = answers(READY).flatmap(
    # What is a yes now and a no later depends on when it is asked.
    lambda last: st.lists(answers(READY).filter(lambda one: last.means or not one.means), max_size=2).map(
        lambda before: [*before, last]
    )
)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    mostly = st.sampled_from((True, True, True, False))
    inputs = draw(st.none() | st.lists(mostly, max_size=2))
    return Plan(
        task=draw(st.integers(0, 3)),
        uses=draw(st.booleans()),
        ready=draw(ready),
        stale=draw(answers(STALE)),
        inputs=inputs,
        outputs=[] if inputs is None else draw(st.lists(mostly, max_size=2)),
        changed=draw(st.booleans()),
        policy=draw(st.sampled_from(("newer", "digest", "none"))),
        forced=inputs is not None and not draw(mostly),
        sync=draw(st.booleans()),
        after=draw(st.sampled_from((0.0, 0.0, 0.0, 0.1, 0.5))),
    )


class Setting(NamedTuple):
    """What is around the work units: their service, and whether there is a priority."""

    rate: str | None
    concurrent: int | None
    priority: bool


settings_ = st.builds(
    Setting, st.sampled_from((None, "2/sec", "10/sec")), st.none() | st.integers(1, 2), st.booleans()
)


def by_the_tables(plan: Plan) -> str:
    """What becomes of a work unit."""
    inputs = plan.inputs or []
    if not all(inputs):
        return "waits"
    if plan.task in (0, 1) and not plan.ready[-1].means:
        return "waits"
    if plan.forced:
        return "runs"
    if plan.outputs and all(plan.outputs) and not (plan.changed and inputs and plan.policy != "none"):
        return "is skipped"
    if plan.task in (0, 2) and not plan.stale.means:
        return "is skipped"
    return "runs"


class World:
    """Work units by plan, on real files."""

    def __init__(self, plans_: list[Plan], around: Setting, folder: Path) -> None:
        self.plans = plans_
        self.around = around
        self.folder = folder
        self.asked: Counter[int] = Counter()
        self.entered: Counter[int] = Counter()

    def files(self, number: int, kind: str) -> list[Path]:
        there = (self.plans[number].inputs or []) if kind == "input" else self.plans[number].outputs
        return [self.folder / f"{kind}-{number}-{index}" for index in range(len(there))]

    def declared(self, number: int) -> dict[str, Any]:
        plan = self.plans[number]
        if plan.inputs is None:
            return {}
        policy = {"newer": runcue.newer(), "digest": runcue.digest(), "none": None}[plan.policy]
        if not plan.outputs and plan.policy == "digest":
            policy = None  # it needs a place for its stamp
        return {
            "inputs": self.files(number, "input"),
            "outputs": self.files(number, "output"),
            "fresh": policy,
        }

    async def prepare(self) -> None:
        """Have everything made, then bring about what is to be found."""
        async with runcue.Cue() as cue:

            @cue.task("make")
            def make(work: runcue.Work) -> None:
                for output in work.outputs:
                    Path(output).write_text("made")  # type: ignore[arg-type]

            for number in range(len(self.plans)):
                for path in self.files(number, "input"):
                    path.write_text("before")
                await cue.submit("make", params={"number": number}, **self.declared(number))
        for number, plan in enumerate(self.plans):
            if plan.changed:
                for path in self.files(number, "input"):
                    path.write_text("afterwards")
            for kind, there in (("input", plan.inputs or []), ("output", plan.outputs)):
                for path, is_there in zip(self.files(number, kind), there, strict=True):
                    if not is_there:
                        path.unlink()

    def asks(self, question: str) -> Callable[[runcue.Work], Any]:
        def asked(work: runcue.Work) -> Any:
            number = work.params["number"]
            plan = self.plans[number]
            if question == "is_stale":
                return plan.stale.give()
            self.asked[number] += 1
            return plan.ready[min(self.asked[number], len(plan.ready)) - 1].give()

        return asked

    def enter(self, work: runcue.Work) -> None:
        self.entered[work.params["number"]] += 1
        for output in work.outputs:
            Path(output).write_text("made again")  # type: ignore[arg-type]

    async def enter_slowly(self, work: runcue.Work) -> None:
        await asyncio.sleep(0.1)
        self.enter(work)

    def cue(self) -> runcue.Cue:
        cue = runcue.Cue(run_in=FakeExecutor(0.1))
        cue.service("api", rate=self.around.rate, concurrent=self.around.concurrent)
        for task in range(4):
            for uses in (False, True):
                for sync in (False, True):
                    name = f"{task} {uses} {sync}"
                    cue.task(name, uses="api" if uses else ())(self.enter if sync else self.enter_slowly)
                    if task in (0, 1):
                        cue.is_ready(task=name)(self.asks("is_ready"))
                    if task in (0, 2):
                        cue.is_stale(task=name)(self.asks("is_stale"))
        if self.around.priority:
            cue.priority(lambda ctx: ctx.work.params["number"] % 3 / 2)
        return cue

    async def run(self) -> list[str]:
        """Returns what became of each."""
        await self.prepare()
        cue = self.cue()
        cue.start()
        handles = []
        for number, plan in enumerate(self.plans):
            if plan.after:
                await asyncio.sleep(plan.after)
            handles.append(
                await cue.submit(
                    f"{plan.task} {plan.uses} {plan.sync}",
                    params={"number": number},
                    force=plan.forced,
                    **self.declared(number),
                )
            )
        for _ in range(4):
            await asyncio.sleep(3)
            cue.nudge()
        await cue.drain()
        found = []
        for number, handle in enumerate(handles):
            work = handle.work
            if work.state is runcue.WorkState.PENDING:
                found.append("waits")
            else:
                assert work.state is runcue.WorkState.COMPLETED, (work, work.error)
                found.append("is skipped" if work.skipped else "runs")
            assert self.entered[number] == (found[-1] == "runs"), work
        await cue.stop(drain=False)
        return found


@pytest.mark.rule(2, 12, 13, 14)
@settings(max_examples=max(1, settings().max_examples // 2))
@given(st.lists(plans(), min_size=1, max_size=8), settings_, orders)
def test_whatever_the_way_through_the_gate_it_ends_where_the_tables_say(
    plans_: list[Plan], around: Setting, order: int | None
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = World(plans_, around, Path(folder))
        found = virtually(world.run, order)
    for plan, became in zip(plans_, found, strict=True):
        event(became)
        assert became == by_the_tables(plan), plan
