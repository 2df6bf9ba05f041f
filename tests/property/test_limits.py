"""Limits hold over all windows, wherever they start, as the handlers themselves see it."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

import runcue
from runcue.abc import Limit
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

ROUNDING = 1e-6


class Job(NamedTuple):
    """A work that is submitted `after` seconds after the one before it; None: in the same step."""

    after: float | None
    task: int
    pauses: tuple[float, ...]
    lateness: tuple[float, float]
    gate: float | None  # seconds an async is_ready takes; None: it answers at once
    cancel_after: float | None


jobs = st.builds(
    Job,
    after=st.none() | seconds | st.floats(0, 3),
    task=st.integers(0, 99),
    pauses=st.lists(seconds, max_size=2).map(tuple),
    lateness=st.tuples(st.sampled_from(SECONDS[:6]), st.sampled_from(SECONDS[:6])),
    gate=st.none() | st.sampled_from(SECONDS[:8]),  # a gate that takes over 30 s counts as raising
    cancel_after=st.none() | st.none() | seconds,
)


class Limited(Body):
    def __init__(self, book: Book, plan: list[Job], *, late: bool) -> None:
        super().__init__(book, late=late)
        self.plan = plan

    def pauses(self, work: runcue.Work) -> tuple[float, ...]:
        return self.plan[work.params["number"]].pauses

    def lateness(self, work: runcue.Work) -> tuple[float, float]:
        return self.plan[work.params["number"]].lateness


class Turns(Limit):
    """So many works of each kind at the same time, and a pause after each of that kind: a no with and without instant.

    Notes what is wrong with how it is asked and told.
    """

    def __init__(self, together: int, pause: float) -> None:
        self.together, self.pause = together, pause
        self.inside: dict[int, dict[runcue.Work, bool]] = {}
        self.free_from: dict[int, float] = {}
        self.starts = 0
        self.wrong: list[str] = []

    def _of(self, work: runcue.Work) -> tuple[int, dict[runcue.Work, bool]]:
        kind = work.params["number"] % 3
        return kind, self.inside.setdefault(kind, {})

    def room(self, now: float, work: runcue.Work, /) -> bool:
        kind, inside = self._of(work)
        return len(inside) < self.together and now >= self.free_from.get(kind, 0.0)

    def next_room(self, now: float, work: runcue.Work, /) -> float:
        kind, inside = self._of(work)
        return float("inf") if len(inside) >= self.together else self.free_from[kind]

    def acquire(self, now: float, work: runcue.Work, /) -> None:
        _, inside = self._of(work)
        if work in inside or not self.room(now, work):
            self.wrong.append(f"{work} is taken in at {now}, where there is no room")
        inside[work] = False
        self.starts += 1

    def entered(self, now: float, work: runcue.Work, at: float, /) -> None:
        _, inside = self._of(work)
        if inside.get(work) is not False or at > now:
            self.wrong.append(f"{work} is said at {now} to have been entered at {at}")
        inside[work] = True

    def release(self, now: float, work: runcue.Work, actual: object, /) -> None:
        kind, inside = self._of(work)
        if inside.pop(work, None) is not True:
            self.wrong.append(f"{work} is given back at {now} and was not entered")
        self.free_from[kind] = now + self.pause


turns = st.builds(Turns, st.integers(1, 2), st.sampled_from((0.0, 0.1, 1 / 3, 7.0)))


def check_windows(times: list[float], plan: ServicePlan) -> None:
    """No half-open window of one period sees more starts than the rate: the one over it is a period later."""
    for first, one_over in zip(times, times[plan.count :], strict=False):
        # Both forms: rounding may tell them apart, and a user may check with either.
        for holds in (one_over - first >= plan.period, one_over >= first + plan.period):
            assert holds, f"{plan.count + 1} starts within {one_over - first!r} s at {plan.rate}: {times}"


def check_burst(times: list[float], plan: ServicePlan) -> None:
    """At most burst + elapsed * rate starts, over every stretch from one start to another."""
    assert plan.burst is not None
    for i, first in enumerate(times):
        for j in range(i, len(times)):
            allowed = plan.burst + (times[j] - first) * plan.count / plan.period
            assert j - i + 1 <= allowed + ROUNDING, f"{j - i + 1} starts, {allowed} allowed: {times}"


@pytest.mark.rule(5, 7, 8, 10)
@given(
    st.lists(services(), min_size=1, max_size=3).flatmap(
        lambda some: st.tuples(st.just(some), st.lists(tasks(len(some)), min_size=1, max_size=4))
    ),
    st.lists(jobs, min_size=1, max_size=25),
    st.none() | turns,
    st.booleans(),
    orders,
)
def test_no_window_sees_more_starts_than_the_rate_and_no_instant_more_than_the_slots(
    described: tuple[list[ServicePlan], list[TaskPlan]],
    plan: list[Job],
    own: Turns | None,
    late: bool,
    order: int | None,
) -> None:
    limits = () if own is None else (own,)  # all services share it
    book = Book([service._replace(limits=limits) for service in described[0]], described[1])
    body = Limited(book, plan, late=late)

    def task_of(number: int) -> int:
        return plan[number].task % len(book.tasks)

    async def main() -> runcue.Summary:
        cue = body.cue()

        @cue.is_ready
        def is_ready(work: runcue.Work) -> object:
            job = plan[work.params["number"]]
            return True if job.gate is None else slow_yes(job.gate, int(work.task))

        async def slow_yes(gate: float, task: int) -> bool:
            book.hold(task)  # it holds a slot while it is asked
            try:
                await asyncio.sleep(gate)
            finally:
                book.release(task)
            return True

        async def cancel(handle: str, after: float) -> None:
            await asyncio.sleep(after)
            await cue.cancel(handle)

        cancelling = []
        async with cue:
            for number, job in enumerate(plan):
                if job.after is not None:
                    await asyncio.sleep(job.after)
                handle = await cue.submit(str(task_of(number)), params={"number": number})
                if job.cancel_after is not None:
                    cancelling.append(asyncio.create_task(cancel(handle, job.cancel_after)))
            summary = await cue.drain()
            await asyncio.gather(*cancelling)
        return summary

    summary = virtually(main, order)
    assert not book.wrong, book.wrong
    assert not summary.blocked
    assert sum(summary.counts.values()) == len(plan)
    assert len(book.entries) >= summary.counts["completed"]
    if own is not None:
        limited = [entry for entry in book.entries if book.tasks[task_of(entry.number)].uses]
        assert not own.wrong
        assert own.starts == len(limited)
        assert not any(own.inside.values())
    for number, service in enumerate(book.services):
        times = book.times(number, task_of)
        if service.burst is not None:
            check_burst(times, service)
        elif service.rate is not None:
            check_windows(times, service)


# In periods: instants shortly before, at and shortly after a token comes back.
fractions = st.sampled_from((0.0, 0.0, 0.1, 1 / 3, 0.5, 0.9, 0.9995, 1.0, 1.0005)) | st.floats(0, 2)


@pytest.mark.rule(7, 8)
@given(
    services(rated=True),
    st.lists(st.tuples(st.booleans(), fractions, fractions, fractions), min_size=2, max_size=25),
    orders,
)
def test_a_rate_holds_however_late_threads_enter_their_handlers_and_however_late_that_is_told(
    service: ServicePlan, works: list[tuple[bool, float, float, float]], order: int | None
) -> None:
    book = Book([service], [TaskPlan((0,), is_async=False), TaskPlan((0,), is_async=True)])
    plan = [
        Job(
            after=after * service.period,
            task=int(is_async),
            pauses=(),
            lateness=(late * service.period, told * service.period),
            gate=None,
            cancel_after=None,
        )
        for is_async, after, late, told in works
    ]
    body = Limited(book, plan, late=True)

    async def main() -> None:
        async with body.cue() as cue:
            for number, job in enumerate(plan):
                if job.after:
                    await asyncio.sleep(job.after)
                await cue.submit(str(job.task), params={"number": number})

    virtually(main, order)
    assert not book.wrong, book.wrong
    times = book.times(0, lambda number: plan[number].task)
    assert len(times) == len(plan)
    if service.burst is None:
        check_windows(times, service)
    else:
        check_burst(times, service)


@pytest.mark.rule(7)
@given(services(rated=True), st.booleans(), st.integers(1, 40), st.sampled_from(((), (0.0,))), orders)
def test_a_rate_is_used_up_to_its_last_token(
    service: ServicePlan,
    is_async: bool,
    number_of_works: int,
    pauses: tuple[float, ...],
    order: int | None,
) -> None:
    service = service._replace(concurrent=None)
    book = Book([service], [TaskPlan((0,), is_async)])
    job = Job(None, 0, pauses, (0.0, 0.0), None, None)
    body = Limited(book, [job] * number_of_works, late=False)

    async def main() -> None:
        async with body.cue() as cue:
            for number in range(number_of_works):
                await cue.submit("0", params={"number": number})

    virtually(main, order)
    times = book.times(0, lambda number: 0)
    assert len(times) == number_of_works
    for place, time in enumerate(times):
        if service.burst is None:
            due = place // service.count * service.period
        else:
            due = max(0, place + 1 - service.burst) * service.period / service.count
        # Without a single token lost: late by no more than rounding, and what a bucket looks again after.
        slack = ROUNDING + (service.period / service.count / 8 if service.burst is not None else 0.0)
        assert time <= due + slack, f"start {place} at {time}, due at {due}: {times}"
