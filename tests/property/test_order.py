"""In which order work units start: as submitted, and with priorities by the key submitted_at - 60 s * priority."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

import runcue
from tests.support.worlds import (
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

HEAD_START = 60.0
SAME = 1e-6  # keys that differ by less are rounded; nothing is claimed about their order

STRANGE: dict[str, float] = {"raises": 0.5, "nan": 0.5, "words": 0.5, "awaitable": 0.5, "2": 0.5, "-inf": 0.5}


class Job(NamedTuple):
    """A work.

    Attributes:
        after: Seconds after the former submission; None: in the same step.
        ready_at: When its input is there, in virtual time; None: always.
        up_to_date: It is skipped.
        priority: A number, or a name out of `STRANGE`.
    """

    after: float | None
    task: int
    pauses: tuple[float, ...]
    ready_at: float | None
    up_to_date: bool
    cancel_after: float | None
    priority: float | str


priorities = st.sampled_from((0.0, 0.25, 0.5, 0.9, 1.0)) | st.floats(0, 1) | st.sampled_from(sorted(STRANGE))

jobs = st.builds(
    Job,
    after=st.none() | seconds,
    task=st.integers(0, 99),
    pauses=st.lists(seconds, max_size=2).map(tuple),
    ready_at=st.none() | st.none() | st.none() | seconds,
    up_to_date=st.sampled_from((False, False, False, False, True)),
    cancel_after=st.sampled_from((None, None, None, None, 0.0, 1.0)),
    priority=priorities,
)

described = st.lists(services(), min_size=1, max_size=3).flatmap(
    lambda some: st.tuples(st.just(some), st.lists(tasks(len(some)), min_size=1, max_size=4))
)

# One service that everything wants, for long: most of the work units wait, some for as long as a priority is worth.
contended = st.tuples(
    st.integers(1, 2).map(lambda slots: [ServicePlan(concurrent=slots)]),
    st.lists(st.builds(TaskPlan, uses=st.just((0,)), is_async=st.booleans()), min_size=1, max_size=2),
)
patient = st.builds(
    Job,
    after=st.none() | st.sampled_from((0.1, 1.0, 2.0, 7.0)),
    task=st.integers(0, 1),
    pauses=st.sampled_from(((7.0,), (60.0,))),
    ready_at=st.none(),
    up_to_date=st.just(False),
    cancel_after=st.none() | st.sampled_from((1.0, 7.0)),
    priority=st.sampled_from((0.3, 0.45, 0.5, 0.55, 0.6, 1.0)),
)
plans = st.tuples(described, st.lists(jobs, min_size=1, max_size=25)) | st.tuples(
    contended, st.lists(patient, min_size=4, max_size=12)
)


class Queued(Body):
    def __init__(self, described: tuple[list[ServicePlan], list[TaskPlan]], plan: list[Job]) -> None:
        super().__init__(Book(*described), late=False)
        self.plan = plan
        # How urgent a submission says that it is; None for what is said of it elsewhere.
        self.says: Callable[[int], float | None] = lambda number: None
        self.submitted: dict[int, float] = {}
        self.batch: dict[int, int] = {}

    def task_of(self, number: int) -> int:
        return self.plan[number].task % len(self.book.tasks)

    def pauses(self, work: runcue.Work) -> tuple[float, ...]:
        return self.plan[work.params["number"]].pauses

    async def run(self, cue: runcue.Cue) -> None:
        @cue.is_ready
        def is_ready(work: runcue.Work) -> bool:
            ready_at = self.plan[work.params["number"]].ready_at
            return ready_at is None or asyncio.get_running_loop().time() >= ready_at

        @cue.is_stale
        def is_stale(work: runcue.Work) -> bool:
            return not self.plan[work.params["number"]].up_to_date

        async def cancel(handle: str, after: float) -> None:
            await asyncio.sleep(after)
            await cue.cancel(handle)

        async with cue:
            batch = 0
            cancelling = []
            for number, job in enumerate(self.plan):
                if job.after is not None:
                    await asyncio.sleep(job.after)
                    batch += 1
                handle = await cue.submit(
                    str(self.task_of(number)), params={"number": number}, priority=self.says(number)
                )
                self.submitted[number] = asyncio.get_running_loop().time()
                self.batch[number] = batch
                if job.cancel_after is not None:
                    cancelling.append(asyncio.create_task(cancel(handle, job.cancel_after)))
            await asyncio.gather(*cancelling)

    def comparable(self) -> dict[frozenset[int], list[int]]:
        """Works that were ready from the beginning, by the services they need, in the order of their starts.

        Works of different services are not compared: one that needs a second service lets others pass while that is
        full. Works of no service compete for nothing.
        """
        found: dict[frozenset[int], list[int]] = {}
        for entry in self.book.entries:
            uses = self.book.tasks[self.task_of(entry.number)].uses
            if uses and self.plan[entry.number].ready_at is None:
                found.setdefault(frozenset(uses), []).append(entry.number)
        return found


@pytest.mark.rule(3, 6)
@given(plans, st.booleans(), orders)
def test_work_units_of_equal_priority_start_in_the_order_of_their_submission(
    described_and_plan: tuple[tuple[list[ServicePlan], list[TaskPlan]], list[Job]],
    same_priority: bool,
    order: int | None,
) -> None:
    world = Queued(*described_and_plan)

    async def main() -> None:
        cue = world.cue()
        if same_priority:
            cue.priority(lambda ctx: 0.7)
        await world.run(cue)

    virtually(main, order)
    assert not world.book.wrong, world.book.wrong
    for uses, started in world.comparable().items():
        assert started == sorted(started), f"services {set(uses)}: started {started}"


def asked_priority(job: Job) -> Any:
    """What the callback answers."""
    match job.priority:
        case "raises":
            raise ValueError("on purpose")
        case "nan":
            return float("nan")
        case "words":
            return "very urgent"
        case "awaitable":
            return asyncio.sleep(0, result=1.0)
        case "2":
            return 2
        case "-inf":
            return float("-inf")
        case _:
            return job.priority


@pytest.mark.rule(6, 13)
@given(plans, orders, st.sampled_from(("callback", "submission", "both")))
def test_with_priorities_the_aged_key_decides(
    described_and_plan: tuple[tuple[list[ServicePlan], list[TaskPlan]], list[Job]],
    order: int | None,
    by: str,
) -> None:
    world = Queued(*described_and_plan)
    plan = world.plan
    if by != "callback":
        world.says = lambda number: None if number % 2 and by == "both" else priority(number)

    def priority(number: int) -> float:
        given = plan[number].priority
        return STRANGE[given] if isinstance(given, str) else given

    def key(number: int) -> float:
        return world.submitted[number] - HEAD_START * priority(number)

    async def main() -> None:
        cue = world.cue()
        if by != "submission":
            cue.priority(lambda ctx: asked_priority(plan[ctx.work.params["number"]]))
        await world.run(cue)

    virtually(main, order)
    assert not world.book.wrong, world.book.wrong
    started_at = {entry.number: entry.time for entry in world.book.entries}
    for started in world.comparable().values():
        for place, number in enumerate(started):
            for later in started[place + 1 :]:
                # Was the later one there to be compared when the earlier one was taken?
                known = (
                    world.submitted[later] < started_at[number] or world.batch[later] == world.batch[number]
                )
                twins = world.submitted[later] == world.submitted[number] and priority(later) == priority(
                    number
                )
                ahead = later < number if twins else key(later) < key(number) - SAME
                assert not (known and ahead), f"{number} before {later}: started {started}"
        # Where all were submitted in one step, that is the whole order.
        if len({world.batch[number] for number in started}) == 1:
            for one, other in pairwise(started):
                assert key(one) <= key(other) + SAME
