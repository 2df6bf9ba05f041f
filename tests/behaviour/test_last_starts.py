"""`Retry(timeout=)`: as soon as it is too late for another attempt, the work unit fails, whatever it waits for."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import runcue
from runcue.testing import FakeExecutor
from tests.support.virtual_time import now, virtual

pytestmark = pytest.mark.rule(25)


async def hour(work: runcue.Work) -> None:
    await asyncio.sleep(3600)


@pytest.mark.parametrize("lacks", ["slot", "input", "gate", "answer", "rate"])
@virtual
async def test_it_fails_then_whatever_it_waits_for_and_whoever_has_joined_it(lacks: str) -> None:
    cue = runcue.Cue()
    cue.service("one", concurrent=1)
    cue.service("rate", rate="1/h")
    flag = runcue.Flag("there")
    flag.set()
    retry = runcue.Retry(3, wait_initial=1, wait_jitter=0, timeout=10)
    uses = {"slot": "one", "rate": "rate"}.get(lacks)

    async def answer(work: runcue.Work) -> bool:
        await asyncio.sleep(0 if work.attempt == 1 else 100)
        return True

    gate = {"gate": lambda work: work.attempt == 1, "answer": answer}.get(lacks)
    if gate is not None:
        cue.is_ready(gate, task="t")

    @cue.task("t", retry=retry, key="t", uses=uses, inputs=flag if lacks == "input" else None)
    async def t(work: runcue.Work) -> None:
        if lacks == "input":
            flag.clear()
        raise ValueError(f"attempt {work.attempt}")

    cue.task("other", uses="one")(hour)
    heard: list[tuple[float, str, int]] = []
    cue.on_failure(lambda work, error: heard.append((now(), str(error), work.attempt)))
    async with cue:
        first, second, third = [await cue.submit("t") for _ in range(3)]
        await asyncio.sleep(0.5)
        other = await cue.submit("other")
        await cue.cancel(first)
        await asyncio.sleep(1.5)
        await cue.cancel(second)
        await third.wait()
        assert heard == [(10.0, "attempt 1", 1)]
        assert len(third.work.attempts) == 1
        await cue.cancel(other)


@virtual
async def test_each_who_has_joined_goes_by_its_own_policy_once_it_is_alone() -> None:
    cue = runcue.Cue()
    cue.service("one", concurrent=1)

    @cue.task("t", uses="one", key="t")
    async def t(work: runcue.Work) -> None:
        raise ValueError("no")

    cue.task("other", uses="one")(hour)
    heard: list[float] = []
    cue.on_failure(lambda work, error: heard.append(now()))
    async with cue:
        first, _ = [
            await cue.submit("t", retry=runcue.Retry(3, wait_initial=1, wait_jitter=0, timeout=timeout))
            for timeout in (10, 20)
        ]
        await asyncio.sleep(0.5)
        other = await cue.submit("other")
        await asyncio.sleep(1.5)
        await cue.cancel(first)
        await asyncio.sleep(100)
        await cue.cancel(other)
    assert heard == [20.0]


@pytest.mark.parametrize("gate", ["none", "async"])
@pytest.mark.parametrize("kind", ["sync", "async", "rate"])
@virtual
async def test_an_attempt_may_begin_in_the_last_instant(kind: str, gate: str) -> None:
    cue = runcue.Cue(run_in=FakeExecutor(0.0))
    cue.service("rate", rate="1/min")
    calls: list[float] = []
    wait = 1 if kind == "rate" else 60
    retry = runcue.Retry(2, wait_initial=wait, wait_jitter=0, timeout=60)

    def fail(work: runcue.Work) -> None:
        calls.append(now())
        raise ValueError(f"attempt {work.attempt}")

    async def fail_in_the_loop(work: runcue.Work) -> None:
        fail(work)

    async def is_ready(work: runcue.Work) -> bool:
        await asyncio.sleep(0)
        return True

    options: dict[str, Any] = {"uses": "rate"} if kind == "rate" else {}
    if gate == "async":
        cue.is_ready(is_ready, task="t")
    cue.task("t", retry=retry, **options)(fail if kind == "sync" else fail_in_the_loop)
    cue.on_failure(lambda work, error: None)
    async with cue:
        await (await cue.submit("t")).wait()
    assert calls == [0.0, 60.0]


@virtual
async def test_who_begins_or_ends_in_time_is_left_alone() -> None:
    cue = runcue.Cue()
    retry = runcue.Retry(3, wait_initial=1, wait_jitter=0, timeout=10)

    @cue.task("t", retry=retry)
    async def t(work: runcue.Work) -> int:
        if work.attempt == 1:
            raise ValueError("once")
        await asyncio.sleep(100)
        return work.attempt

    @cue.task("later", retry=retry)
    async def later(work: runcue.Work) -> int:
        if now() == 0.0:
            raise ValueError("once")
        if now() < 50.0:
            raise runcue.RetryLater(60)
        return work.attempt

    async with cue:
        handles = [await cue.submit(name) for name in ("t", "later")]
        assert [await handle.result() for handle in handles] == [2, 2]
