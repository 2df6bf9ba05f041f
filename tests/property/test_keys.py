"""Limits for each key: each goes as if it was alone, and with totals beside it nothing is over its limit or lost."""

from __future__ import annotations

import asyncio
import gc
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import runcue
from runcue.testing import FakeExecutor
from tests.support.worlds import SECONDS, orders, seconds, virtually

_EXAMPLES = settings().max_examples if settings().max_examples > 1000 else 25

KEYS = ("a", "b", ("c", 1), 4)


class Job(NamedTuple):
    """A work unit that is submitted `after` seconds after the one before it; None: in the same step."""

    after: float | None
    key: Any
    other: int
    task: int
    lasts: float
    fails: bool
    gate: float | None
    cancel_after: float | None
    priority: float | None


def jobs(*, mixed: bool) -> st.SearchStrategy[Job]:
    return st.builds(
        Job,
        after=st.none() | seconds,
        key=st.sampled_from(KEYS),
        other=st.integers(0, 2),
        task=st.integers(0, 3) if mixed else st.just(0),
        lasts=seconds,
        fails=st.booleans(),
        gate=st.none() | st.sampled_from(SECONDS[:5]),
        cancel_after=st.none() | st.none() | seconds,
        priority=st.none() | st.none() | st.floats(0, 1) if mixed else st.none(),
    )


class Limits(NamedTuple):
    """What each key has."""

    rate: tuple[str, int, float] | None
    burst: int | None
    concurrent: int | None

    def options(self) -> dict[str, Any]:
        return {
            "rate": None if self.rate is None else self.rate[0],
            "burst": None if self.rate is None else self.burst,
            "concurrent": self.concurrent,
        }


limits = st.builds(
    Limits,
    st.none() | st.sampled_from((("2/sec", 2, 1.0), ("3/0.7sec", 3, 0.7), ("1/min", 1, 60.0))),
    st.none() | st.integers(1, 3),
    st.none() | st.integers(1, 3),
)


def run(
    plan: list[Job], limits: Limits, order: int | None, only: Any = None
) -> tuple[dict[int, list[float]], dict[int, Any]]:
    """Runs a plan, or what of it has one key; says when attempts began and how work units have ended, by number."""
    began: dict[int, list[float]] = defaultdict(list)
    ended: dict[int, Any] = {}

    async def main() -> None:
        loop = asyncio.get_running_loop()
        cue = runcue.Cue()
        cue.service("api", per=lambda work: work.params["job"].key, **limits.options())

        # Not a sum of what handlers take: who is tried again goes before others, or comes too late by a rounding.
        @cue.task(uses="api", retry=runcue.Retry(attempts=2, wait_initial=0.5037, wait_jitter=0))
        async def ask(work: runcue.Work) -> None:
            # Timers of other keys may come a rounding earlier or later.
            began[work.params["number"]].append(round(loop.time(), 6))
            await asyncio.sleep(work.params["job"].lasts)
            if work.params["job"].fails and work.attempt == 1:
                raise ValueError

        async def cancel(handle: str, after: float) -> None:
            await asyncio.sleep(after)
            await cue.cancel(handle)

        handles = {}
        cancelling = []
        async with cue:
            for number, job in enumerate(plan):
                if job.after is not None:
                    await asyncio.sleep(job.after)
                if only is None or job.key == only:
                    handles[number] = await cue.submit(ask, {"number": number, "job": job})
                    if job.cancel_after is not None:
                        cancelling.append(asyncio.create_task(cancel(handles[number], job.cancel_after)))
            await cue.drain()
            await asyncio.gather(*cancelling)
        for number, handle in handles.items():
            ended[number] = handle.state

    virtually(main, order)
    return dict(began), ended


@pytest.mark.rule(47)
@settings(max_examples=_EXAMPLES)
@given(st.lists(jobs(mixed=False), min_size=1, max_size=20), limits, orders)
def test_each_key_goes_as_if_it_was_alone(plan: list[Job], limits: Limits, order: int | None) -> None:
    # Where a cancellation comes in the very instant of a start or an end, either may be first; and one makes room for
    # the next to start. So each has an instant of its own.
    plan = [
        job._replace(
            gate=None,
            cancel_after=None if job.cancel_after is None else job.cancel_after + 0.0123 + number * 1e-5,
        )
        for number, job in enumerate(plan)
    ]
    began, ended = run(plan, limits, order)
    for key in {job.key for job in plan}:
        alone, ended_alone = run(plan, limits, order, only=key)
        assert {number: began.get(number) for number in ended_alone} == {
            number: alone.get(number) for number in ended_alone
        }
        assert {number: ended[number] for number in ended_alone} == ended_alone


def run_beside(
    plan: list[Job], limits: Limits, order: int | None, *, keyed: bool, total: int | None, budget: bool
) -> tuple[dict[int, list[float]], dict[int, Any]]:
    """Runs a plan through a service with one key, or with none; says the same as `run`."""
    began: dict[int, list[float]] = defaultdict(list)
    ended: dict[int, Any] = {}

    async def main() -> None:
        loop = asyncio.get_running_loop()
        cue = runcue.Cue(run_in=FakeExecutor(lambda work: work.params["job"].lasts))
        options = limits.options() | ({"budget": {"tokens": "10/min"}} if budget else {})
        cue.service("api", **options, **({"per": lambda job: "the only one"} if keyed else {}))
        if total is not None:
            cue.service("total", concurrent=total)
        uses = ["api"] if total is None else ["api", "total"]
        cost = (lambda job: {"tokens": 2 * job.other + 1}) if budget else None

        @cue.task(
            "loop", uses=uses, retry=runcue.Retry(attempts=2, wait_initial=0.5, wait_jitter=0), cost=cost
        )
        async def in_loop(work: runcue.Work) -> None:
            await asyncio.sleep(work.params["job"].lasts)
            if work.params["job"].fails and work.attempt == 1:
                raise ValueError

        @cue.task(
            "thread", uses=uses, retry=runcue.Retry(attempts=2, wait_initial=0.5, wait_jitter=0), cost=cost
        )
        def in_thread(work: runcue.Work) -> None:
            if work.params["job"].fails and work.attempt == 1:
                raise ValueError

        @cue.on_start
        def on_start(work: runcue.Work) -> None:
            began[work.params["number"]].append(round(loop.time(), 6))

        @cue.is_ready
        def is_ready(work: runcue.Work) -> object:
            gate = work.params["job"].gate
            return True if gate is None else asyncio.sleep(gate, True)

        handles = {}
        async with cue:
            for number, job in enumerate(plan):
                if job.after is not None:
                    await asyncio.sleep(job.after)
                own = {} if job.priority is None else {"priority": job.priority}
                task = "loop" if job.task % 2 or budget else "thread"
                handles[number] = await cue.submit(task, {"number": number, "job": job}, **own)
                if job.cancel_after is not None:
                    await cue.cancel(
                        handles[number]
                    )  # an earlier one may start in this very instant, or have
            await cue.drain()
        for number, handle in handles.items():
            ended[number] = handle.state

    virtually(main, order)
    return dict(began), ended


@pytest.mark.rule(47, 6)
@settings(max_examples=_EXAMPLES)
@given(
    st.lists(jobs(mixed=True), min_size=1, max_size=20),
    limits,
    st.none() | st.integers(1, 3),
    st.booleans(),
    orders,
)
def test_a_service_with_one_key_is_as_one_without_keys(
    plan: list[Job], limits: Limits, total: int | None, budget: bool, order: int | None
) -> None:
    plan = [job._replace(gate=None) for job in plan]
    if any(job.priority is not None for job in plan):
        # Where a more urgent one comes in the very instant of a start, either may be first.
        plan = [
            job._replace(after=None if job.after is None else job.after + 0.00123 * (number + 1))
            for number, job in enumerate(plan)
        ]
    if budget:
        # Who passes whom hangs on what was promised when, which is not as in a line that others come back to.
        total, plan = None, [job._replace(fails=False, priority=None) for job in plan]
    with_key = run_beside(plan, limits, order, keyed=True, total=total, budget=budget)
    assert with_key == run_beside(plan, limits, order, keyed=False, total=total, budget=budget)


@contextmanager
def older_garbage_apart() -> Iterator[None]:
    """Let `gc.collect()` look at what has come into being since, and at nothing else.

    What Hypothesis remembers of each example before is hundreds of objects, and to look at all of them at the end of
    each example takes a second after some thousand.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


class Watched:
    """What runs now by service and key, and when each has started."""

    def __init__(self) -> None:
        self.running: dict[Any, int] = defaultdict(int)
        self.starts: dict[Any, list[float]] = defaultdict(list)
        self.wrong: list[str] = []

    def begin(self, at: float, *places: tuple[Any, int | None]) -> None:
        for place, most in places:
            self.running[place] += 1
            self.starts[place].append(at)
            if most is not None and self.running[place] > most:
                self.wrong.append(f"{self.running[place]} of {place} at {at}, {most} allowed")

    def end(self, *places: tuple[Any, int | None]) -> None:
        for place, _ in places:
            self.running[place] -= 1


USES = (["api"], ["api", "total"], ["api", "other"], ["other", "api", "total"])


@pytest.mark.rule(47, 5)
@settings(max_examples=_EXAMPLES)
@given(
    st.lists(jobs(mixed=True), min_size=1, max_size=25),
    limits,
    limits,
    st.integers(1, 4),
    st.lists(st.booleans(), min_size=4, max_size=4),
    st.booleans(),
    orders,
)
def test_nothing_is_over_its_limit_or_lost_with_several_keys_and_a_total(  # noqa: C901 - one program
    plan: list[Job],
    limits: Limits,
    others: Limits,
    total: int,
    is_async: list[bool],
    strict: bool,
    order: int | None,
) -> None:
    watched = Watched()
    limits, others = limits._replace(burst=None), others._replace(burst=None)

    def places(work: runcue.Work) -> list[tuple[Any, int | None]]:
        job = work.params["job"]
        uses = USES[job.task]
        found: list[tuple[Any, int | None]] = [(("api", job.key), limits.concurrent)]
        if "other" in uses:
            found.append((("other", job.other), others.concurrent))
        if "total" in uses:
            found.append(("total", total))
        return found

    async def main() -> tuple[runcue.Summary, int]:
        loop = asyncio.get_running_loop()
        cue = runcue.Cue(
            run_in=FakeExecutor(lambda work: work.params["job"].lasts), head_start=None if strict else 60
        )
        cue.service("api", per=lambda work: work.params["job"].key, **limits.options())
        cue.service("other", per=lambda job: job.other, **others.options())
        cue.service("total", concurrent=total)

        async def in_loop(work: runcue.Work) -> None:
            await asyncio.sleep(work.params["job"].lasts)
            watched.end(*places(work))
            if work.params["job"].fails and work.attempt == 1:
                raise ValueError

        def in_thread(work: runcue.Work) -> None:
            watched.end(*places(work))
            if work.params["job"].fails and work.attempt == 1:
                raise ValueError

        for number, uses in enumerate(USES):
            handler = in_loop if is_async[number] else in_thread
            cue.task(f"task {number}", uses=uses, retry=runcue.Retry(attempts=2, wait_initial=0.5))(handler)

        @cue.on_start
        def on_start(work: runcue.Work) -> None:
            watched.begin(loop.time(), *places(work))

        @cue.is_ready
        def is_ready(work: runcue.Work) -> object:
            gate = work.params["job"].gate
            return True if gate is None else asyncio.sleep(gate, True)

        async with cue:
            handles = []
            for job in plan:
                if job.after is not None:
                    await asyncio.sleep(job.after)
                options = {} if job.priority is None else {"priority": job.priority}
                handles.append(await cue.submit(f"task {job.task}", {"job": job}, **options))
                if job.cancel_after == 0.0:
                    await cue.cancel(handles[-1])
            summary = await cue.drain()
            await asyncio.sleep(1000)
            handles.clear()
            gc.collect()
            left = sum(len(service) for service in cue._core.keyed)
            for run_queue in cue._core.run_queues.values():
                assert not run_queue.backlog()
                assert not getattr(run_queue, "turnstiles", ()) or not run_queue.turnstiles.parked
        return summary, left

    with older_garbage_apart():
        summary, left = virtually(main, order)
    assert not watched.wrong, watched.wrong
    assert not any(watched.running.values())
    assert not summary.blocked
    assert sum(summary.counts.values()) == len(plan)
    assert not summary.counts["failed"]
    assert left == 0
    for place, times in watched.starts.items():
        rate = (limits if place[0] == "api" else others).rate if place != "total" else None
        if rate is not None:
            for first, one_over in zip(times, times[rate[1] :], strict=False):
                assert one_over - first >= rate[2], (place, times)
