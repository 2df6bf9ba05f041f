"""Loops that end without stop(), strangers who cancel asyncio tasks, and callers who give up waiting."""

from __future__ import annotations

import asyncio
import gc
import logging
from typing import Any

import pytest

import runcue
from runcue.testing import Recorder, VirtualTimeLoop, run
from tests.support.virtual_time import now, virtual


def hour_long_works(cue: runcue.Cue, started: list[str]) -> None:
    """Registers "long" on a service with one slot."""
    cue.service("one", concurrent=1)

    @cue.task("long", uses="one")
    async def long(work: runcue.Work) -> None:
        started.append(work.id)
        await asyncio.sleep(3600)


@pytest.mark.rule(16, 19)
def test_nothing_starts_while_asyncio_run_comes_to_its_end(caplog: pytest.LogCaptureFixture) -> None:
    cue = runcue.Cue()
    started: list[str] = []
    hour_long_works(cue, started)
    handles: list[runcue.WorkHandle] = []

    async def leave_without_stop() -> None:
        cue.start()
        handles.extend([await cue.submit("long") for _ in range(3)])
        await asyncio.sleep(1)

    async def come_back() -> None:
        assert {handle.work.state for handle in handles[1:]} == {runcue.WorkState.PENDING}
        cue.start()
        await asyncio.sleep(1)
        assert started == handles[:2]
        await cue.stop(timeout=0)

    run(leave_without_stop)
    assert started == handles[:1]
    assert handles[0].work.state is runcue.WorkState.CANCELLED
    run(come_back)
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


@pytest.mark.rule(19)
@pytest.mark.parametrize("call", ["submit", "drain", "stop", "cancel", "get"])
def test_a_cue_whose_loop_has_ended_answers_in_the_next_one(call: str) -> None:
    answer_in_the_next_loop(call)
    # asyncio logs that tasks of the first loop are collected unfinished: here, not while another test reads the log.
    gc.collect()


def answer_in_the_next_loop(call: str) -> None:
    cue = runcue.Cue()
    hour_long_works(cue, [])

    async def first() -> str:
        cue.start()
        await cue.submit("long")
        return await cue.submit("long")

    async def second(known: str) -> None:
        if call == "submit":
            await cue.submit("long")
            assert len(await cue.list()) == 3
        elif call == "cancel":
            assert await cue.cancel(known)
        elif call == "get":
            assert await cue.get(known) is not None
        else:
            with pytest.raises(runcue.UsageError, match=r"start\(\)"):
                await getattr(cue, call)()

    known = run(first)
    run(second(known))


@pytest.mark.rule(19)
@pytest.mark.parametrize("turns", [0, 1, 2])
@pytest.mark.parametrize("kind", ["work", "gate", "listener"])
def test_who_cancels_all_asyncio_tasks_does_not_stop_the_scheduler(kind: str, turns: int) -> None:
    async def main() -> None:
        cue = runcue.Cue()
        cue.service("one", concurrent=1)

        @cue.task("t", uses="one")
        async def t(work: runcue.Work) -> None:
            await asyncio.sleep(1)

        if kind == "gate":

            @cue.is_ready
            async def is_ready(work: runcue.Work) -> bool:
                await asyncio.sleep(0)
                return True

        if kind == "listener":

            @cue.on_start
            async def on_start(work: runcue.Work) -> None:
                await asyncio.sleep(0)

        cue.start()
        for _ in range(4):
            await cue.submit("t")
        for _ in range(turns):
            await asyncio.sleep(0)
        for task in asyncio.all_tasks():
            if task is not asyncio.current_task():
                task.cancel()
        summary = await cue.stop()
        assert sum(summary.counts.values()) == 4
        assert summary.counts["completed"] >= 2

    run(main)


@pytest.mark.rule(23)
def test_a_time_out_around_async_with_cancels_what_the_block_started() -> None:
    async def main() -> None:
        cue = runcue.Cue()
        started: list[str] = []
        hour_long_works(cue, started)
        heard = Recorder(cue)

        async def given_up() -> None:
            async with asyncio.timeout(10), cue:
                for _ in range(3):
                    await cue.submit("long")

        with pytest.raises(TimeoutError):
            await given_up()
        assert len(started) == 1
        assert heard.counts() == {"start": 1, "cancel": 3}
        assert asyncio.get_running_loop().time() < 12

    run(main)


@pytest.mark.rule(18)
def test_waits_that_were_given_up_leave_nothing_behind() -> None:
    async def main() -> None:
        cue = runcue.Cue()
        hour_long_works(cue, [])
        cue.start()
        handle = await cue.submit("long")
        for wait in (handle.result, handle.wait, cue.drain):
            for _ in range(100):
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(wait(), 0.01)
        assert not handle.work._waiters
        assert cue._stopping._waiters == []
        await cue.stop(timeout=0)

    run(main)


@pytest.mark.rule(6)
@pytest.mark.parametrize("is_async", [True, False])
def test_work_that_needs_two_busy_services_is_passed_for_a_minute_and_no_longer(is_async: bool) -> None:
    async def main() -> None:
        cue = runcue.Cue(run_in=runcue.testing.FakeExecutor(lambda work: work.params["lasts"]))
        cue.service("a", concurrent=1)
        cue.service("b", concurrent=1)
        ended: dict[str, float] = {}

        async def on_the_loop(work: runcue.Work) -> None:
            await asyncio.sleep(work.params["lasts"])

        def in_a_thread(work: runcue.Work) -> None: ...

        handler: Any = on_the_loop if is_async else in_a_thread
        for name, uses in (("a", "a"), ("b", "b"), ("both", ["a", "b"])):
            cue.task(name, uses=uses)(handler)
        cue.on_complete(lambda work, result, duration: ended.setdefault(work.task, 0.0))

        @cue.on_complete
        def note(work: runcue.Work, result: object, duration: float) -> None:
            ended[work.task] = asyncio.get_running_loop().time()

        async with cue:
            await cue.submit("a", params={"lasts": 10})
            await cue.submit("b", params={"lasts": 5})  # so that the two are never free at the same time
            await cue.submit("both", params={"lasts": 1})
            for _ in range(50):
                await cue.submit("a", params={"lasts": 10})
                await cue.submit("b", params={"lasts": 10})
        assert ended["both"] <= 60 + 10 + 1
        assert ended["a"] > 500

    run(main)


@pytest.mark.rule(23)
def test_a_summary_is_of_this_run_and_is_not_lost() -> None:
    async def main() -> None:
        cue = runcue.Cue()

        @cue.task("t")
        async def t(work: runcue.Work) -> None:
            await asyncio.sleep(1)
            if work.params:
                raise ValueError("as asked")

        cue.is_ready(lambda work: "never" not in work.params)
        assert (await runcue.Cue().stop()).duration == 0.0
        cue.start()
        await cue.submit("t", params={"fail": True})
        await cue.submit("t", params={"never": True})
        first = await cue.stop()
        await asyncio.sleep(100)
        assert await cue.stop() is first
        assert (len(first.failed), len(first.blocked)) == (1, 1)
        cue.start()
        await cue.submit("t")
        second = await cue.stop()
        assert (second.counts["completed"], second.failed, second.ok) == (1, [], True)

    run(main)


def test_a_gate_for_a_task_that_does_not_exist_is_told_at_the_start(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        cue = runcue.Cue()
        cue.task("report")(lambda work: None)
        cue.is_ready(task="reprot")(lambda work: False)
        cue.start()
        await cue.stop()

    run(main)
    [warning] = [record.getMessage() for record in caplog.records if record.name == "runcue"]
    assert "is_ready" in warning
    assert "'reprot'" in warning
    assert "'report'" in warning


def test_waiting_on_a_cue_that_is_not_started_is_told(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        cue = runcue.Cue()
        cue.task("t")(lambda work: None)
        handle = await cue.submit("t")
        [blocked] = cue.debug_blocked()
        assert "start()" in blocked["details"]
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(handle.result(), 1)
        await cue.cancel(handle)

    run(main)
    [warning] = [record.getMessage() for record in caplog.records]
    assert "start()" in warning


@pytest.mark.parametrize(
    ("register", "takes"),
    [
        (lambda cue: cue.is_ready(lambda: True), "work"),
        (lambda cue: cue.is_stale(lambda: True), "work"),
        (lambda cue: cue.priority(lambda: 1), "ctx"),
        (lambda cue: cue.on_start(lambda: None), "work"),
        (lambda cue: cue.on_complete(lambda work: None), "work, result, duration"),
        (lambda cue: cue.on_failure(lambda work: None), "work, error"),
        (lambda cue: cue.on_stall_warning(lambda seconds: None), "seconds_since_progress, pending_count"),
    ],
)
def test_a_callback_that_cannot_take_what_it_is_given_is_refused_where_it_is_registered(
    register: Any, takes: str
) -> None:
    with pytest.raises(runcue.ConfigurationError) as refused:
        register(runcue.Cue())
    assert f"({takes})" in str(refused.value)


def test_an_async_priority_is_refused_where_it_is_registered() -> None:
    async def priority(ctx: runcue.PriorityContext) -> float:
        return 1.0

    with pytest.raises(runcue.ConfigurationError, match="plain function"):
        runcue.Cue().priority(priority)  # type: ignore[arg-type]


@pytest.mark.rule(7)
@pytest.mark.parametrize(
    ("text", "count"),
    [("16.67/min", 16), ("33.33/min", 33), ("1.01/hour", 1), ("1.5/sec", 3), ("0.1/sec", 1)],
)
def test_a_decimal_rate_makes_no_giant_burst(text: str, count: int) -> None:
    async def main() -> int:
        cue = runcue.Cue()
        cue.service("api", rate=text)
        cue.task("t", uses="api")(lambda work: None)
        cue.start()
        for _ in range(200):
            await cue.submit("t")
        await asyncio.sleep(0.1)
        started = len(await cue.list(state=runcue.WorkState.COMPLETED, limit=1000))
        await cue.stop(timeout=0)
        return started

    loop = VirtualTimeLoop()
    try:
        assert loop.run_until_complete(main()) == count
    finally:
        loop.close()


@pytest.mark.rule(24)
@virtual
async def test_nothing_spins_while_starts_are_held_back_because_a_stranger_has_cancelled_a_handler() -> None:
    cue = runcue.Cue()
    tasks: list[asyncio.Task[Any] | None] = []

    @cue.task
    async def torn(work: runcue.Work) -> None:
        tasks.append(asyncio.current_task())
        await asyncio.sleep(9)

    @cue.task
    async def waits(work: runcue.Work) -> None: ...

    @cue.is_ready(task="waits")
    def after_that(work: runcue.Work) -> bool:
        return now() > 1

    async with cue:
        await cue.submit("torn")
        handle = await cue.submit("waits")
        await asyncio.sleep(1)
        assert tasks[0] is not None
        tasks[0].cancel()
        await handle


class OneAtATime(runcue.abc.Limit):
    """It cannot say when there will be room."""

    def __init__(self) -> None:
        self.inside: set[runcue.Work] = set()

    def room(self, now: float, work: runcue.Work, /) -> bool:
        return not self.inside

    def acquire(self, now: float, work: runcue.Work, /) -> None:
        self.inside.add(work)

    def release(self, now: float, work: runcue.Work, actual: Any, /) -> None:
        self.inside.discard(work)


@pytest.mark.rule(23, 50)
@pytest.mark.parametrize(("limit", "end"), [("breaker", "drain"), ("own", "drain"), ("own", "stop")])
@virtual
async def test_what_waits_for_the_end_of_another_one_still_runs_when_a_stranger_cancels_that(
    limit: str, end: str
) -> None:
    cue = runcue.Cue()
    if limit == "breaker":
        cue.service("api", breaker=runcue.Breaker(failures=1, cooldown="60s"))
    else:
        cue.service("api", limits=[OneAtATime()])
    tasks: list[asyncio.Task[Any] | None] = []

    @cue.task(uses="api")
    async def call(work: runcue.Work) -> None:
        tasks.append(asyncio.current_task())
        await asyncio.sleep(1)
        if len(tasks) == 1:
            raise ConnectionError("refused")

    cue.start()
    await (await cue.submit("call")).wait()
    handles = [await cue.submit("call") for _ in range(2)]
    ending = asyncio.ensure_future(getattr(cue, end)())
    while len(tasks) < 2:
        await asyncio.sleep(0.5)
    assert tasks[1] is not None
    tasks[1].cancel()
    await ending
    assert [handle.work.state.value for handle in handles] == ["cancelled", "completed"]
    if end == "drain":
        await cue.stop()
