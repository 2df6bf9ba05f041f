"""What a run has spent of its budgets, those attempts included that did not succeed: `summary.spent`."""

from __future__ import annotations

import asyncio
import threading
from decimal import Decimal
from typing import Any

import pytest

import runcue
from runcue import Spent
from tests.support.virtual_time import virtual

ALL = {"tokens": "1_000_000/min", "usd": "1000/day"}


def a_cue(budget: dict[str, str] | None = None, **options: Any) -> runcue.Cue:
    cue = runcue.Cue()
    cue.service("api", budget=budget or ALL, **options)
    cue.on_failure(lambda work, error: None)
    return cue


@pytest.mark.rule(46)
@virtual
async def test_each_attempt_counts_and_those_that_did_not_succeed_are_told_apart() -> None:
    cue = a_cue()

    @cue.task(uses="api", cost={"tokens": 500, "usd": "0.25"}, retry=3)
    async def ask(work: runcue.Work, fails: int, spends: int | None) -> None:
        if spends is not None:
            work.spent(tokens=spends)
            work.spent(tokens=1, usd="0.1")
        if work.attempt <= fails:
            raise OSError("gone")

    async with cue:
        await cue.submit(ask, {"fails": 0, "spends": 99})  # 100 tokens, 0.1 usd
        await cue.submit(ask, {"fails": 0, "spends": None})  # as reserved
        await cue.submit(ask, {"fails": 2, "spends": 9})  # twice 10 for nothing, and 10
        await cue.submit(ask, {"fails": 3, "spends": None})  # three times 500 for nothing
        summary = await cue.drain()
    assert summary.spent == {
        "tokens": Spent(total=100 + 500 + 30 + 1500, wasted=20 + 1500),
        "usd": Spent(total=Decimal("1.4"), wasted=Decimal("0.95")),
    }
    assert str(summary).splitlines()[1] == (
        "spent 2,130 tokens, 1.4 usd; 1,520 tokens, 0.95 usd of that by attempts that did not succeed"
    )


@pytest.mark.rule(46)
@virtual
async def test_what_a_server_has_refused_has_spent_nothing() -> None:
    cue = a_cue({"tokens": "1000/min"})
    refusals = [True, True, False]

    @cue.task(uses="api", cost={"tokens": 500})
    async def ask(work: runcue.Work) -> None:
        work.spent(tokens=20)
        if refusals.pop(0):
            raise runcue.Throttled(retry_after=1)

    async with cue:
        await cue.submit(ask)
        summary = await cue.drain()
    assert summary.spent == {"tokens": Spent(20, 0)}
    assert str(summary).splitlines()[1:] == ["spent 20 tokens"]


@pytest.mark.rule(46)
@virtual
async def test_what_is_postponed_cancelled_or_cut_off_has_spent_in_vain() -> None:
    cue = a_cue({"tokens": "1000000/min"})

    later = [True, False]

    @cue.task(uses="api", cost={"tokens": 1})
    async def postponed() -> None:
        if later.pop(0):
            raise runcue.RetryLater("1s")

    @cue.task(uses="api", cost={"tokens": 10})
    async def cancelled() -> None:
        await asyncio.sleep(100)

    @cue.task(uses="api", cost={"tokens": 100}, timeout=5, retry=2)
    async def hangs() -> None:
        await asyncio.sleep(100)

    @cue.task(uses="api", cost={"tokens": 1000})
    async def cancels_itself(work: runcue.Work) -> None:
        await cue.cancel(work.id)

    async with cue:
        await cue.submit(postponed)
        handle = await cue.submit(cancelled)
        await cue.submit(hangs)
        await cue.submit(cancels_itself)
        await asyncio.sleep(1)
        await cue.cancel(handle)
        summary = await cue.drain()
    assert summary.spent == {"tokens": Spent(2 + 10 + 200 + 1000, 1 + 10 + 200 + 1000)}


@pytest.mark.rule(46)
@virtual
async def test_what_several_services_count_counts_once() -> None:
    cue = runcue.Cue()
    cue.service("user", budget={"tokens": "1000/min"}, per=lambda user: user)
    cue.service("all", budget={"tokens": "5000/min", "usd": "5/day"})

    @cue.task(uses=["user", "all"], cost={"tokens": 7, "usd": 1}, retry=runcue.Retry(2, wait_initial=0))
    async def ask(work: runcue.Work, user: str) -> None:
        if work.attempt == 1 and user == "ann":
            raise OSError("gone")

    async with cue:
        for user in ("ann", "bob", "bob"):
            await cue.submit(ask, {"user": user})
        summary = await cue.drain()
    assert summary.spent == {"tokens": Spent(28, 7), "usd": Spent(4, 1)}


@pytest.mark.rule(46)
@virtual
async def test_what_is_refused_is_taken_back_once_where_several_services_count() -> None:
    cue = runcue.Cue()
    cue.service("one", budget={"tokens": "1000/min"})
    cue.service("all", budget={"tokens": "5000/min"})
    refusals = [True, False]

    @cue.task(uses=["one", "all"], cost={"tokens": 7})
    async def ask(work: runcue.Work) -> None:
        await asyncio.sleep(1)
        if refusals.pop(0):
            raise runcue.Throttled(retry_after=1)

    async with cue:
        await cue.submit(ask)
        assert (await cue.drain()).spent == {"tokens": Spent(7, 0)}


@pytest.mark.rule(46)
@virtual
async def test_a_handler_that_goes_on_for_another_one_has_not_spent_in_vain() -> None:
    cue = a_cue({"tokens": "1000000/min"})

    @cue.task(uses="api", cost={"tokens": 5}, key=lambda work: "same")
    async def ask(fails: bool) -> None:
        await asyncio.sleep(1)
        if fails:
            raise OSError("gone")

    async with cue:
        for fails in (False, True):
            leader = await cue.submit(ask, {"fails": fails})
            await cue.submit(ask, {"fails": fails})
            await asyncio.sleep(0.5)
            await cue.cancel(leader)
            await asyncio.sleep(1)
        summary = await cue.drain()
    assert summary.spent == {"tokens": Spent(10, 5)}


@pytest.mark.rule(46)
@virtual
async def test_it_counts_from_the_start_and_of_what_was_never_used_nothing_is_told() -> None:
    cue = a_cue()

    @cue.task(uses="api", cost={"tokens": 5})
    async def ask() -> None: ...

    for _ in range(2):
        cue.start()
        await cue.submit(ask)
        summary = await cue.stop()
        assert summary.spent == {"tokens": Spent(5, 0)}
    cue.start()
    summary = await cue.stop()
    assert summary.spent == {}
    assert str(summary) == "nothing ran in 0.00 s"


@pytest.mark.rule(46)
def test_what_threads_spend_counts_likewise() -> None:
    cue = a_cue({"tokens": "1000000/min"})
    begun = threading.Event()

    @cue.task(uses="api", cost={"tokens": 5}, retry=runcue.Retry(2, wait_initial=0))
    def ask(work: runcue.Work, way: str) -> None:
        if way == "cancelled":
            begun.set()
            while not work.cancelled:
                threading.Event().wait(0.001)
        elif way == "fails" and work.attempt == 1:
            raise OSError("gone")

    with runcue.blocking(cue) as calls:
        for way in ("fine", "fails"):
            calls.submit(ask, {"way": way})
        handle = calls.submit(ask, {"way": "cancelled"})
        begun.wait()
        calls.cancel(handle)
        summary = calls.drain()
        for _ in range(1000):
            if summary.spent["tokens"].total == 20:
                break
            threading.Event().wait(0.005)
            summary = calls.drain()
    assert summary.spent == {"tokens": Spent(20, 10)}
