"""A time-out is a failed attempt: the next one waits until the handler of the last one has returned."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import runcue
from runcue.testing import FakeExecutor, Recorder
from tests.support.virtual_time import now, virtual

SOON = runcue.Retry(3, wait_initial=1, wait_exp_base=1, wait_jitter=0)


@pytest.mark.rule(21, 25)
@virtual
async def test_an_async_handler_is_cancelled_and_tried_again_when_its_clean_up_is_through() -> None:
    cue = runcue.Cue()
    cue.service("api", concurrent=1)
    log: list[tuple[str, float]] = []
    heard = []

    @cue.task("t", uses="api", timeout=5, retry=SOON)
    async def t(work: runcue.Work) -> int:
        log.append((f"entered {work.attempt} {work.cancelled}", now()))
        try:
            await asyncio.sleep(100 if work.attempt < 3 else 1)
        finally:
            if work.attempt < 3:
                await asyncio.sleep(2.5)
                log.append(("cleaned up", now()))
        return work.attempt

    cue.on_retry(lambda work, error, delay: heard.append((type(error), now(), delay)))
    async with cue:
        handle = await cue.submit("t")
        await asyncio.sleep(6)
        assert handle.state is runcue.WorkState.RUNNING, "its handler has not returned"
        assert cue.services()[0].in_use == 1
        await asyncio.sleep(1.75)
        assert await handle.result() == 3
    assert log == [
        ("entered 1 False", 0.0),
        ("cleaned up", 7.5),
        ("entered 2 False", 7.5),
        ("cleaned up", 15.0),
        ("entered 3 False", 15.0),
    ]
    assert heard == [(runcue.WorkTimeout, 7.5, 0.0), (runcue.WorkTimeout, 15.0, 0.0)]
    assert [(one.duration, type(one.error)) for one in handle.work.attempts] == [
        (7.5, runcue.WorkTimeout),
        (7.5, runcue.WorkTimeout),
        (1.0, type(None)),
    ]


@pytest.mark.rule(21, 25)
@virtual
async def test_what_is_left_of_the_wait_is_waited_when_the_handler_has_returned_before() -> None:
    cue = runcue.Cue()
    starts = []

    @cue.task("t", timeout=5, retry=runcue.Retry(2, wait_initial=10, wait_jitter=0))
    async def t(work: runcue.Work) -> None:
        starts.append(now())
        await asyncio.sleep(100 if work.attempt < 2 else 0)

    async with cue:
        await (await cue.submit("t")).result()
    assert starts == [0.0, 15.0]


@pytest.mark.rule(25)
@pytest.mark.parametrize(("on", "attempts"), [(runcue.WorkTimeout, 3), (TimeoutError, 3), (ValueError, 1)])
@virtual
async def test_on_sees_the_timeout(on: Any, attempts: int) -> None:
    cue = runcue.Cue()

    @cue.task("t", timeout=5, retry=runcue.Retry(on=on))
    async def t(work: runcue.Work) -> None:
        await asyncio.sleep(100)

    cue.on_failure(lambda work, error: None)
    async with cue:
        handle = await cue.submit("t")
        with pytest.raises(runcue.WorkTimeout, match="ran for longer than its timeout of 5 s"):
            await handle.result()
    assert len(handle.work.attempts) == attempts


@pytest.mark.rule(21, 25)
@pytest.mark.parametrize("ends", ["returns", "raises", "asks for later", "gives up"])
@virtual
async def test_whatever_a_thread_gives_after_its_timeout_it_is_tried_again_when_it_has_returned(
    ends: str, tmp_path: Path
) -> None:
    slow = [8.0, 1.0]
    cue = runcue.Cue(run_in=FakeExecutor(lambda work: slow.pop(0)))
    said = {
        "raises": ValueError("late"),
        "asks for later": runcue.RetryLater(99),
        "gives up": runcue.GiveUp("late"),
    }
    seen = []

    @cue.task("t", timeout=5, retry=SOON, outputs=tmp_path / "out")
    def t(work: runcue.Work) -> str:
        # The fake executor calls the handler when its time is over.
        seen.append((now(), work.attempt, work.cancelled))
        with work.write(work.outputs[0], durable=False) as file:
            file.write(f"attempt {work.attempt}")
        if work.attempt == 1 and ends in said:
            raise said[ends]
        return f"attempt {work.attempt}"

    recorder = Recorder(cue)
    async with cue:
        handle = await cue.submit("t")
        await asyncio.sleep(7)
        assert handle.state is runcue.WorkState.RUNNING
        assert await handle.result() == "attempt 2"
    assert seen == [(8.0, 1, True), (9.0, 2, False)]
    assert recorder.of(handle) == ["start", "put_back", "start", "complete"]
    assert (tmp_path / "out").read_text() == "attempt 2"
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["out"]  # noqa: ASYNC240


@pytest.mark.rule(21, 25)
@pytest.mark.parametrize("kind", ["sync", "async"])
@virtual
async def test_one_that_does_not_return_within_another_timeout_fails_and_keeps_its_slot(kind: str) -> None:
    cue = runcue.Cue(run_in=FakeExecutor(30.0))
    cue.service("api", concurrent=1)
    calls = []

    async def stubborn(work: runcue.Work) -> None:
        calls.append(work.attempt)
        for _ in range(30):
            try:
                await asyncio.sleep(1)
            except asyncio.CancelledError:
                pass

    cue.task("t", uses="api", timeout=5, retry=runcue.Retry(-1))(
        stubborn if kind == "async" else lambda work: calls.append(work.attempt)
    )
    cue.task("other", uses="api")(lambda work: None)
    retries, failures = [], []
    cue.on_retry(lambda work, error, delay: retries.append(error))
    cue.on_failure(lambda work, error: failures.append((now(), str(error))))
    async with cue:
        handle, other = await cue.submit("t"), await cue.submit("other")
        with pytest.raises(runcue.WorkTimeout, match=r"timeout of 5 s.* has not returned within another 5 s"):
            await handle.result()
        assert now() == 10.0
        assert handle.work.cancelled
        assert cue.services()[0].in_use == 1
        await other.result()
    assert now() >= 29.0
    assert retries == [], "no attempt followed"
    assert len(failures) == 1
    assert calls == [1]
    assert len(handle.work.attempts) == 1


@pytest.mark.rule(17, 25)
@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("follower", [False, True])
@virtual
async def test_one_that_is_cancelled_while_its_handler_is_waited_for_settles_at_once(
    kind: str, follower: bool
) -> None:
    cue = runcue.Cue(run_in=FakeExecutor(lambda work: 8.0 if work.attempt == 1 else 1.0))
    cleaned = []

    async def slow(work: runcue.Work) -> int:
        if work.attempt > 1:
            return work.attempt
        try:
            await asyncio.sleep(100)
        finally:
            await asyncio.sleep(3)
            cleaned.append(now())
        return 0

    cue.task("t", timeout=5, retry=SOON, key="one")(slow if kind == "async" else lambda work: work.attempt)
    recorder = Recorder(cue)
    async with cue:
        handles = [await cue.submit("t") for _ in range(1 + follower)]
        await asyncio.sleep(6)
        assert handles[0].cancel()
        assert handles[0].state is runcue.WorkState.CANCELLED
        if follower:
            assert await handles[1].result() == 2
    assert recorder.of(handles[0]) == ["start", "cancel"]
    if kind == "async":
        assert cleaned == [8.0], "its clean-up was not cut short by a second cancellation"
    if follower:
        assert recorder.of(handles[1]) == ["put_back", "start", "complete"]


@pytest.mark.rule(25)
@pytest.mark.parametrize("how", ["cancel", "follower", "stop"])
@pytest.mark.parametrize("kind", ["sync", "async"])
@virtual
async def test_an_attempt_that_is_cancelled_has_taken_as_long_as_it_ran_and_failed_if_it_had_timed_out(
    kind: str, how: str
) -> None:
    cue = runcue.Cue(run_in=FakeExecutor(lambda work: 8.0))
    ends: dict[str, float] = {}

    class Ear(runcue.Observer):
        def settled(self, work: runcue.Work, duration: float) -> None:
            ends.setdefault(work.task, duration)

    async def slow(work: runcue.Work) -> None:
        try:
            await asyncio.sleep(100)
        finally:
            await asyncio.sleep(3)

    handler = slow if kind == "async" else lambda work: None
    cue.observe(Ear())
    cue.task("t", key="t")(handler)
    cue.task("late", key="late", timeout=5, retry=SOON)(handler)
    cue.start()
    handles = [await cue.submit(name) for name in ("t", "late")]
    if how == "follower":
        for name in ("t", "late"):
            await cue.submit(name)
    await asyncio.sleep(6)
    if how != "stop":
        for handle in handles:
            await cue.cancel(handle)
    await cue.stop(timeout=0)
    assert ends == pytest.approx({"t": 6.0, "late": 6.0})
    attempts = [one for handle in handles for one in handle.work.attempts]
    assert [one.duration for one in attempts] == pytest.approx([6.0, 6.0])
    assert [type(one.error) for one in attempts] == [type(None), runcue.WorkTimeout]


@pytest.mark.rule(23, 25)
@pytest.mark.parametrize("how", ["drain", "finish", "kill"])
@pytest.mark.parametrize("kind", ["sync", "async"])
@virtual
async def test_a_stop_while_a_handler_is_waited_for(how: str, kind: str) -> None:
    cue = runcue.Cue(run_in=FakeExecutor(lambda work: 8.0 if work.attempt == 1 else 1.0))

    async def slow(work: runcue.Work) -> int:
        try:
            await asyncio.sleep(100 if work.attempt == 1 else 1)
        finally:
            await asyncio.sleep(3 if work.attempt == 1 else 0)
        return work.attempt

    cue.task("t", timeout=5, retry=SOON)(slow if kind == "async" else lambda work: work.attempt)
    cue.on_failure(lambda work, error: None)
    cue.start()
    handle = await cue.submit("t")
    await asyncio.sleep(6)
    if how == "drain":
        await cue.stop()
        assert handle.work.result == 2
    elif how == "finish":
        await cue.stop(drain=False)
        assert isinstance(handle.work.exception, runcue.WorkTimeout), (
            "there is no more time for another attempt"
        )
        assert now() == 8.0
    else:
        await cue.stop(drain=False, timeout=0)
        assert handle.state is runcue.WorkState.CANCELLED
    assert cue.counts()["running"] == 0, "nothing is left running"


@pytest.mark.rule(25)
@pytest.mark.parametrize("where", ["at once", "suspending", "sync"])
@virtual
async def test_a_handler_that_is_through_in_time_hears_nothing_of_its_limit(where: str) -> None:
    cue = runcue.Cue(run_in=FakeExecutor(4.0))

    async def at_once(work: runcue.Work) -> int:
        return work.attempt

    async def suspending(work: runcue.Work) -> int:
        await asyncio.sleep(4)
        return work.attempt

    handlers: dict[str, Any] = {
        "at once": at_once,
        "suspending": suspending,
        "sync": lambda work: work.attempt,
    }
    cue.task("t", timeout=5, retry=3)(handlers[where])
    async with cue:
        handle = await cue.submit("t")
        assert await handle.result() == 1
        assert len(cue._dispatcher.timers.active) == 0
        await asyncio.sleep(10)
    assert handle.work.attempt == 1


@pytest.mark.rule(15, 21)
def test_a_first_step_that_takes_longer_than_the_limit_is_over_its_limit_as_soon_as_it_suspends() -> None:
    async def main() -> None:
        cue = runcue.Cue()

        @cue.task("t", timeout=0.1)
        async def t(work: runcue.Work) -> None:
            time.sleep(0.3)  # noqa: ASYNC251 - on purpose
            await asyncio.sleep(60)

        cue.on_failure(lambda work, error: None)
        async with cue:
            handle = await cue.submit("t")
            with pytest.raises(runcue.WorkTimeout):
                await handle.result()

    logging.getLogger("runcue").setLevel(logging.CRITICAL)
    try:
        began = time.monotonic()
        asyncio.run(main())
        assert time.monotonic() - began < 30
    finally:
        logging.getLogger("runcue").setLevel(logging.NOTSET)


@pytest.mark.rule(21, 25)
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_real_threads_are_waited_for_and_told_by_cancelled(loop: str) -> None:
    log: list[tuple[int, bool]] = []
    running = threading.Semaphore(1)

    async def main() -> Any:
        cue = runcue.Cue()
        cue.service("disk", concurrent=2)

        @cue.task("t", uses="disk", timeout=0.2, retry=runcue.Retry(3, wait_initial=0, wait_jitter=0))
        def t(work: runcue.Work) -> int:
            assert running.acquire(blocking=False), "never two at once for one work unit"
            try:
                while work.attempt < 3:
                    work.checkpoint()
                    time.sleep(0.001)
                return work.attempt
            finally:
                log.append((work.attempt, work.cancelled))
                running.release()

        async with cue:
            return await (await cue.submit("t")).result()

    if loop == "uvloop":
        import uvloop

        assert uvloop.run(main()) == 3
    else:
        assert asyncio.run(main()) == 3
    assert log == [(1, True), (2, True), (3, False)]


@pytest.mark.rule(25)
@virtual
async def test_the_time_since_the_first_start_counts_however_late_a_time_out_is_noticed() -> None:
    cue = runcue.Cue()
    loop: Any = asyncio.get_running_loop()
    asked: list[float] = []

    def policy(attempt: int, error: BaseException, elapsed: float) -> float | None:
        asked.append(elapsed)
        return None if attempt == 2 else 1

    @cue.task("t", timeout=5, retry=policy)
    async def t(work: runcue.Work) -> None:
        await asyncio.sleep(100)

    cue.on_failure(lambda work, error: None)
    async with cue:
        await cue.submit("t")
        await asyncio.sleep(4)
        loop.reach(8)  # a callback that blocks the loop
    assert asked == [8, 14]
