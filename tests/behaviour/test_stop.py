"""drain() and stop(): what still runs, what is given up, what is said about it, and that nothing is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest

import runcue
from runcue.testing import FakeExecutor, Recorder, run
from tests.support.virtual_time import now, virtual

UNSETTLED = (runcue.WorkState.PENDING, runcue.WorkState.RUNNING)


def sleeps(seconds: float) -> Callable[[runcue.Work], Any]:
    async def handler(work: runcue.Work) -> None:
        await asyncio.sleep(seconds)

    return handler


async def nothing(work: runcue.Work) -> None: ...


def never(work: runcue.Work) -> bool:
    return False


async def nothing_is_left(cue: runcue.Cue) -> None:
    assert [work for work in await cue.list(limit=1000) if work.state in UNSETTLED] == []


def told(caplog: pytest.LogCaptureFixture, *parts: str) -> list[logging.LogRecord]:
    records = [record for record in caplog.records if record.name == "runcue"]
    return [record for record in records if all(part in record.getMessage() for part in parts)]


@pytest.mark.rule(23)
@pytest.mark.parametrize("limit", ["rate", "burst", "limiter"])
def test_a_drain_of_a_healthy_batch_warns_of_nothing_and_its_news_say_in_what_time_all_is_done(
    limit: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        from aiolimiter import AsyncLimiter

        cue = runcue.Cue()
        options: dict[str, dict[str, Any]] = {
            "rate": {"rate": "60/min"},
            "burst": {"rate": "60/min", "burst": 1},
            "limiter": {"limiter": AsyncLimiter(1, 1)},
        }
        cue.service("llm", **options[limit])
        cue.task("ask", uses="llm")(sleeps(2))
        async with cue:
            for _ in range(261):
                await cue.submit("ask")
            asyncio.get_running_loop().call_later(5.0, print)

    with caplog.at_level(logging.INFO, "runcue"):
        run(main)
    assert {record.levelno for record in caplog.records} == {logging.INFO}
    first, *_, last = caplog.messages
    assert 4 <= len(caplog.messages) <= 6  # once a minute
    assert first.startswith(f"Draining: {201 if limit == 'rate' else 256} work units wait for llm: ")
    assert last.startswith("Draining: ")
    # Sixty at each full minute, or one each second; and the two seconds that a call takes.
    done = {"rate": "3.95 min", "burst": "4.28 min", "limiter": "4.28 min"}[limit]
    assert first.endswith(f"all of them are done in {done} at the earliest")


@pytest.mark.rule(23)
def test_a_drain_that_stands_still_for_an_hour_warns_of_that_once(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        cue = runcue.Cue()
        cue.service("llm", rate="2/hour")
        cue.task("ask", uses="llm")(nothing)
        async with cue:
            for _ in range(6):
                await cue.submit("ask")
            for minutes in range(120):
                asyncio.get_running_loop().call_later(60.0 * minutes + 5, print)

    with caplog.at_level(logging.INFO, "runcue"):
        run(main)
    warned = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warned) == 2  # of each hour once
    assert warned[0].startswith("Draining: 4 work units wait for llm: 2/hour is used up, next start in ")
    assert warned[0].endswith("all of them are done in 120 min at the earliest")
    assert warned[1].startswith("Draining: 2 work units wait for llm: ")


@pytest.mark.rule(23)
@pytest.mark.parametrize("drain", [True, False])
def test_while_stopping_work_from_outside_is_refused(drain: bool) -> None:
    async def main() -> None:
        cue = runcue.Cue()
        cue.task("t")(sleeps(10))
        cue.start()
        handle = await cue.submit("t")
        await asyncio.sleep(1)
        stopping = asyncio.create_task(cue.stop(drain=drain))
        await asyncio.sleep(1)
        with pytest.raises(runcue.CueStopped, match="stop"):
            await cue.submit("t")
        with pytest.raises(runcue.CueStopped, match="stop"):
            await asyncio.to_thread(cue.submit_threadsafe, "t")
        summary = await stopping
        assert summary.counts["completed"] == 1
        assert handle.work.state is runcue.WorkState.COMPLETED

    run(main)


@pytest.mark.rule(23)
@pytest.mark.rule(23, 25)
@pytest.mark.parametrize("policy", ["function", "endless", "later", "bounded"])
@virtual
async def test_a_drain_that_waits_for_a_retry_names_the_work_unit_and_the_way_out(
    policy: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "runcue")
    cue = runcue.Cue()
    retries: dict[str, Any] = {
        "function": lambda attempt, error, elapsed: 20,
        "endless": runcue.Retry(-1, wait_initial=20, wait_jitter=0),
        "bounded": runcue.Retry(3, wait_initial=20, wait_jitter=0),
    }

    @cue.task("t", retry=retries.get(policy))
    async def t(work: runcue.Work) -> None:
        raise runcue.RetryLater(20) if policy == "later" else ValueError("no")

    cue.on_failure(lambda work, error: None)
    async with cue:
        handle = await cue.submit("t")
        await cue.drain(timeout=6)
        await cue.cancel(handle)
    what = "was postponed by its handler" if policy == "later" else "waits for its next attempt"
    which = {"later": "", "bounded": ", attempt 2 of 3"}.get(policy, ", attempt 2")
    way_out = "" if policy == "bounded" else "; if that has no end, cancel() ends it"
    [news] = [record.getMessage() for record in caplog.records if "Draining" in record.getMessage()]
    assert news.startswith(f"Draining: 1 work unit {what}, for another 1")
    assert news.endswith(f" s (t {handle}{which}{way_out})")


@pytest.mark.rule(23, 25, 40)
@virtual
async def test_a_drain_tells_each_kind_that_is_not_due_by_itself(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "runcue")
    cue = runcue.Cue(id_prefix="")

    @cue.task("call", retry=runcue.Retry(2, wait_initial=300, wait_max=300, wait_jitter=0))
    async def call(work: runcue.Work) -> None:
        if work.attempt == 1:
            raise TimeoutError

    waits = [True, True]

    @cue.task("poll")
    async def poll(work: runcue.Work) -> None:
        if waits:
            waits.pop()
            raise runcue.RetryLater(100)

    cue.task("rest")(lambda work: None)
    async with cue:
        for task in ("call", "poll", "poll"):
            await cue.submit(task)
        await cue.submit("rest", delay="20 min")
        await cue.submit("rest", delay="3h")
        asyncio.get_running_loop().call_later(6, print)
    news = [record.getMessage() for record in caplog.records if "Draining" in record.getMessage()]
    retry = "Draining: 1 work unit waits for its next attempt, for another {} (call 1, attempt 2 of 2)"
    assert news[0] == (
        f"{retry.format('4.9 min')}; 2 work units were postponed by their handlers, the first for another 94 s "
        "(poll 2; if that has no end, cancel() ends it); 2 work units wait for their time, the first for another 19.9 "
        'min (stop(delayed="cancel") would not wait for them)'
    )
    assert news[1].startswith(
        f"{retry.format('3.33 min')}; 2 work units were postponed by their handlers, of which the first goes on now "
    )
    assert news[-1] == (
        'Draining: 1 work unit waits for its time (stop(delayed="cancel") would not wait for it)'
    ), "its instant has come"
    assert not any("0 s" in one for one in news)


def test_while_draining_work_from_inside_is_accepted_and_run() -> None:
    async def main() -> None:
        cue = runcue.Cue()
        ran: list[str] = []
        spawned: set[asyncio.Task[Any]] = set()

        @cue.task("t")
        async def t(work: runcue.Work) -> None:
            ran.append(work.params["by"])

        @cue.task("async handler")
        async def async_handler(work: runcue.Work) -> None:
            await asyncio.sleep(10)
            await cue.submit("t", params={"by": "async handler"})
            spawned.add(asyncio.create_task(spawned_by_handler()))

        async def spawned_by_handler() -> None:
            await cue.submit("t", params={"by": "task of a handler"})

        @cue.task("sync handler")
        def sync_handler(work: runcue.Work) -> None:
            work.submit("t", params={"by": "sync handler"})
            cue.submit_threadsafe("t", params={"by": "submit_threadsafe"})
            to_thread = threading.Thread(target=lambda: None)
            to_thread.start()
            to_thread.join()

        @cue.on_complete
        async def async_listener(work: runcue.Work, result: Any, duration: float) -> None:
            if work.task == "async handler":
                await asyncio.sleep(10)
                await cue.submit("t", params={"by": "async listener"})

        @cue.on_complete
        def plain_listener(work: runcue.Work, result: Any, duration: float) -> None:
            if work.task == "async handler":
                spawned.add(asyncio.create_task(spawned_by_listener()))

        async def spawned_by_listener() -> None:
            await cue.submit("t", params={"by": "task of a listener"})

        cue.start()
        await cue.submit("async handler")
        await cue.submit("sync handler")
        summary = await cue.stop()
        await asyncio.gather(*spawned)
        assert sorted(ran) == [
            "async handler",
            "async listener",
            "submit_threadsafe",
            "sync handler",
            "task of a handler",
            "task of a listener",
        ]
        assert summary.counts == {"completed": 8, "skipped": 0, "failed": 0, "cancelled": 0}

    run(main)


@pytest.mark.rule(23)
@pytest.mark.parametrize("kind", ["async", "sync"])
def test_a_chain_of_handlers_that_each_submit_the_next_is_run_to_its_end(kind: str) -> None:
    async def main() -> None:
        cue = runcue.Cue(run_in=FakeExecutor() if kind == "async" else None)
        if kind == "async":

            @cue.task("t")
            async def t(work: runcue.Work) -> None:
                if work.params["left"]:
                    await cue.submit("t", params={"left": work.params["left"] - 1})

        else:

            @cue.task("t")
            def in_a_thread(work: runcue.Work) -> None:
                if work.params["left"]:
                    work.submit("t", params={"left": work.params["left"] - 1})

        cue.start()
        await cue.submit("t", params={"left": 300})
        summary = await cue.stop()
        assert summary.counts["completed"] == 301

    run(main)


@pytest.mark.rule(23)
def test_a_chain_of_async_listeners_that_each_submit_the_next_is_run_to_its_end() -> None:
    async def main() -> None:
        cue = runcue.Cue()
        cue.task("t")(nothing)

        @cue.on_complete
        async def again(work: runcue.Work, result: Any, duration: float) -> None:
            if work.params["left"]:
                await asyncio.sleep(1)
                await cue.submit("t", params={"left": work.params["left"] - 1})

        cue.start()
        await cue.submit("t", params={"left": 100})
        summary = await cue.stop()
        assert summary.counts["completed"] == 101
        assert now() == 100

    run(main)


@pytest.mark.rule(23)
def test_an_on_cancel_listener_that_submits_again_does_not_keep_a_stop_going_for_ever() -> None:
    async def main() -> None:
        cue = runcue.Cue()
        cue.task("t")(nothing)
        cue.is_ready(never)
        refused: list[BaseException] = []

        @cue.on_cancel
        async def again(work: runcue.Work) -> None:
            try:
                await cue.submit("t")
            except runcue.CueStopped as error:
                refused.append(error)

        cue.start()
        await cue.submit("t")
        summary = await cue.stop()
        assert summary.counts["cancelled"] >= 1
        assert len(refused) == 1
        await nothing_is_left(cue)

    run(main)


@pytest.mark.rule(23)
def test_handlers_of_another_cue_are_outside() -> None:
    async def main() -> None:
        stopping, other = runcue.Cue(), runcue.Cue()
        stopping.task("t")(sleeps(10))

        @other.task("submits")
        async def submits(work: runcue.Work) -> None:
            await stopping.submit("t")

        async with other:
            stopping.start()
            await stopping.submit("t")
            stop = asyncio.create_task(stopping.stop())
            await asyncio.sleep(1)
            handle = await other.submit("submits")
            with pytest.raises(runcue.CueStopped):
                await handle.result()
            await stop

    run(main)


@pytest.mark.rule(23)
@pytest.mark.parametrize("call", ["drain", "stop"])
def test_stop_waits_for_everything_that_can_run_rate_waits_included(call: str) -> None:
    async def main() -> None:
        cue = runcue.Cue()
        recorder = Recorder(cue)
        cue.service("api", rate="2/hour", concurrent=1)
        cue.task("t", uses="api")(sleeps(60))
        cue.start()
        for _ in range(7):
            await cue.submit("t")
        summary = await getattr(cue, call)()
        assert summary.counts == {"completed": 7, "skipped": 0, "failed": 0, "cancelled": 0}
        assert summary.ok
        assert summary.blocked == []
        assert summary.duration == now() == 3 * 3600 + 60
        assert len(recorder.times("start")) == 7
        await cue.stop()

    run(main)


@pytest.mark.rule(23)
@pytest.mark.parametrize("call", ["drain", "stop"])
def test_stop_waits_for_chains_of_work_that_become_ready_one_by_one(call: str) -> None:
    async def main() -> None:
        done: set[int] = set()
        cue = runcue.Cue(recheck=False)

        @cue.task("t")
        async def t(work: runcue.Work) -> None:
            await asyncio.sleep(1)
            done.add(work.params["n"])

        cue.is_ready(lambda work: not work.params["n"] or work.params["n"] - 1 in done)
        cue.start()
        for n in reversed(range(50)):
            await cue.submit("t", params={"n": n})
        summary = await getattr(cue, call)()
        assert summary.counts["completed"] == 50
        assert now() == 50
        await cue.stop()

    run(main)


@pytest.mark.rule(23)
@pytest.mark.parametrize("call", ["drain", "stop"])
@pytest.mark.parametrize("what", ["async handler", "sync handler", "async gate", "async listener"])
def test_it_ends_when_no_handler_gate_listener_or_thread_is_in_flight(what: str, call: str) -> None:
    in_flight = 0

    async def slow(*heard: Any) -> bool:
        nonlocal in_flight
        in_flight += 1
        await asyncio.sleep(20)
        in_flight -= 1
        return False

    async def main() -> None:
        cue = runcue.Cue(run_in=FakeExecutor(20))
        cue.task("async")(slow if what == "async handler" else nothing)
        cue.task("sync")(lambda work: None)
        if what == "async gate":
            cue.is_ready(slow)
        elif what == "async listener":
            cue.on_complete(slow)
        cue.start()
        await cue.submit("sync" if what == "sync handler" else "async")
        await getattr(cue, call)()
        assert in_flight == 0
        assert now() >= 20
        await cue.stop()
        assert in_flight == 0

    run(main)


@pytest.mark.rule(23)
def test_stop_waits_for_real_threads() -> None:
    async def main() -> None:
        ended: list[int] = []
        may_end = threading.Event()

        def body(work: runcue.Work) -> None:
            may_end.wait(30)
            ended.append(work.params["n"])

        cue = runcue.Cue()
        cue.task("t")(body)
        cue.start()
        for n in range(5):
            await cue.submit("t", params={"n": n})
        asyncio.get_running_loop().call_later(0.05, may_end.set)
        summary = await cue.stop()
        assert sorted(ended) == [0, 1, 2, 3, 4]
        assert summary.counts["completed"] == 5

    asyncio.run(main())


@pytest.mark.rule(23)
@pytest.mark.parametrize("call", ["drain", "stop"])
def test_rechecks_and_warnings_keep_neither_a_drain_nor_the_clock_going(call: str) -> None:
    async def main() -> None:
        cue = runcue.Cue(recheck=True, pending_warn_after=30, stall_warn_after=30)
        asked: list[str] = []
        cue.task("t")(nothing)

        @cue.is_ready
        def is_ready(work: runcue.Work) -> bool:
            asked.append(work.id)
            return False

        cue.start()
        await cue.submit("t")
        summary = await getattr(cue, call)()
        assert len(summary.blocked) == 1
        assert now() == 0
        assert len(asked) < 10
        await cue.stop()
        assert now() == 0

    run(main)


@pytest.mark.rule(23)
@pytest.mark.parametrize("kind", ["plain", "async"])
def test_what_is_left_is_asked_once_more_and_what_is_up_to_date_or_ready_by_then_is_served(kind: str) -> None:
    async def main() -> None:
        cue = runcue.Cue(recheck=False)
        outside = {"ready": False, "fresh": False}

        def is_ready(work: runcue.Work) -> bool:
            return outside["ready"] if work.task != "hopeless" else False

        def is_stale(work: runcue.Work) -> bool:
            return not (work.task == "made outside" and outside["fresh"])

        async def is_ready_later(work: runcue.Work) -> bool:
            await asyncio.sleep(1)
            return is_ready(work)

        async def is_stale_later(work: runcue.Work) -> bool:
            await asyncio.sleep(1)
            return is_stale(work)

        cue.is_ready(is_ready if kind == "plain" else is_ready_later)
        cue.is_stale(is_stale if kind == "plain" else is_stale_later)
        for name in ("made outside", "ready by now", "hopeless"):
            cue.task(name)(nothing)
        cue.start()
        handles = {name: await cue.submit(name) for name in ("made outside", "ready by now", "hopeless")}
        await cue.drain()
        assert all(handle.work.state is runcue.WorkState.PENDING for handle in handles.values())
        outside.update(ready=True, fresh=True)
        summary = await cue.stop()
        assert handles["made outside"].work.skipped
        assert handles["ready by now"].work.state is runcue.WorkState.COMPLETED
        assert not handles["ready by now"].work.skipped
        assert handles["hopeless"].work.state is runcue.WorkState.CANCELLED
        assert summary.counts == {"completed": 1, "skipped": 1, "failed": 0, "cancelled": 1}

    run(main)


@pytest.mark.rule(23)
def test_what_cannot_run_is_cancelled_counted_listed_and_logged_as_one_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        cue = runcue.Cue()
        cue.task("t")(nothing)
        cue.task("runs")(nothing)
        cue.is_ready(task="t")(lambda work: (False, f"page {work.params['n']} is missing"))
        cue.start()
        handles = [await cue.submit("t", params={"n": n}) for n in range(8)]
        await cue.submit("runs")
        summary = await cue.stop()
        assert summary.counts == {"completed": 1, "skipped": 0, "failed": 0, "cancelled": 8}
        assert [blocked["work"].id for blocked in summary.blocked] == handles
        assert "page 7 is missing" in summary.blocked[7]["details"]
        assert not summary.ok
        line = "1 completed, 8 cancelled before they could start in 0.00 s"
        assert repr(summary) == f"<Summary {line}>"
        assert str(summary).splitlines()[0] == line
        for handle in handles:
            with pytest.raises(runcue.WorkCancelled):
                await handle.result()

    run(main)
    [warning] = told(caplog, "")
    assert warning.levelno == logging.WARNING
    assert "cancelled 8 work units" in warning.getMessage()
    assert "page 0 is missing" in warning.getMessage()
    assert "and 5 more" in warning.getMessage()


@pytest.mark.rule(23)
def test_a_drain_leaves_what_cannot_run_pending_and_lists_it() -> None:
    async def main() -> None:
        ready: list[bool] = []
        cue = runcue.Cue()
        cue.task("t")(nothing)
        cue.is_ready(lambda work: (bool(ready), "page 7 is missing"))
        cue.start()
        handle = await cue.submit("t")
        for _ in range(2):
            summary = await cue.drain()
            assert [blocked["work"].id for blocked in summary.blocked] == [handle]
            assert "page 7 is missing" in summary.blocked[0]["details"]
            assert summary.counts == {"completed": 0, "skipped": 0, "failed": 0, "cancelled": 0}
        ready.append(True)
        cue.nudge()
        assert (await cue.drain()).ok
        assert handle.work.state is runcue.WorkState.COMPLETED
        await cue.submit("t")  # the cue is still open
        await cue.stop()

    run(main)


@pytest.mark.rule(23)
def test_several_may_drain_at_once() -> None:
    async def main() -> None:
        async with runcue.Cue() as cue:
            cue.task("t")(sleeps(10))
            await cue.submit("t")
            summaries = await asyncio.gather(*(cue.drain() for _ in range(5)))
            assert [summary.counts["completed"] for summary in summaries] == [1] * 5

    run(main)


def waiting_for_a_child(cue: runcue.Cue, how: str) -> None:
    """Registers "parent", which waits for a "child" that needs the slot the parent holds."""
    cue.service("one", concurrent=1)
    cue.task("child", uses="one")(nothing)

    @cue.task("parent", uses="one")
    async def parent(work: runcue.Work) -> None:
        if how == "after a suspension":
            await asyncio.sleep(1)
        child = await cue.submit("child")
        if how == "wait()":
            await child.wait()
        elif how == "gather":
            await asyncio.gather(child.result(), (await cue.submit("child")).result())
        elif how == "a task group":
            async with asyncio.TaskGroup() as group:
                group.create_task(child.result())
                group.create_task((await cue.submit("child")).wait())
        else:
            await child.result()


@pytest.mark.rule(23)
@pytest.mark.parametrize("call", ["drain", "stop"])
@pytest.mark.parametrize("how", ["result()", "wait()", "after a suspension", "gather", "a task group"])
def test_a_handler_that_awaits_work_that_cannot_run_is_a_deadlock_and_said_so(
    how: str, call: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        cue = runcue.Cue()
        waiting_for_a_child(cue, how)
        cue.start()
        handle = await cue.submit("parent")
        summary = await getattr(cue, call)()
        assert summary.deadlocked == [handle.work]
        [error] = told(caplog, "Deadlock")
        assert error.levelno == logging.ERROR
        assert handle in error.getMessage()
        assert "one: the only slot is in use" in error.getMessage()
        await cue.stop()
        assert len(told(caplog, "Deadlock")) == 1
        await nothing_is_left(cue)

    run(main)


@pytest.mark.rule(23)
def test_a_handler_that_also_does_something_else_is_no_deadlock() -> None:
    async def main() -> None:
        cue = runcue.Cue()
        waiting_for_a_child(cue, "gather")

        @cue.task("busy")
        async def busy(work: runcue.Work) -> None:
            other = await cue.submit("parent")
            async with asyncio.TaskGroup() as group:
                waiting = group.create_task(other.wait())
                await asyncio.sleep(100)
                waiting.cancel()

        cue.start()
        handle = await cue.submit("busy")
        summary = await cue.drain()
        assert asyncio.get_running_loop().time() >= 100
        assert handle.work not in summary.deadlocked
        await cue.stop()

    run(main)


@pytest.mark.rule(23)
@pytest.mark.parametrize("call", ["drain", "stop"])
@pytest.mark.parametrize("how", ["gather", "a task group", "asyncio.wait", "a task beside"])
def test_a_handler_that_also_awaits_what_will_come_is_no_deadlock(
    how: str, call: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        cue = runcue.Cue()
        cue.service("one", concurrent=1)
        cue.task("child", uses="one")(lambda work: "child")

        @cue.task("parent", uses="one")
        async def parent(work: runcue.Work) -> str:
            child = await cue.submit("child")
            waiting = asyncio.create_task(child.result())
            helps = asyncio.create_task(asyncio.sleep(10))
            helps.add_done_callback(lambda done: waiting.cancel())
            if how == "gather":
                await asyncio.gather(waiting, helps, return_exceptions=True)
            elif how == "a task group":
                async with asyncio.TaskGroup() as group:
                    group.create_task(asyncio.wait([waiting]))
                    group.create_task(asyncio.sleep(10))
            elif how == "asyncio.wait":
                await asyncio.wait([waiting, helps])
            else:
                await helps
            return "parent"

        cue.start()
        handle = await cue.submit("parent")
        summary = await getattr(cue, call)()
        assert await handle.result() == "parent"
        assert summary.deadlocked == []
        assert summary.counts["completed"] == 2
        assert now() == 10
        await cue.stop()

    run(main)
    assert told(caplog, "Deadlock") == []


@pytest.mark.rule(23)
def test_handlers_that_await_each_other_are_a_deadlock_and_are_ended() -> None:
    async def main() -> None:
        cue = runcue.Cue()
        handles: dict[str, runcue.WorkHandle] = {}

        @cue.task("t")
        async def t(work: runcue.Work) -> None:
            await asyncio.sleep(1)
            await handles[work.params["other"]].result()

        cue.start()
        handles["a"] = await cue.submit("t", params={"other": "b"})
        handles["b"] = await cue.submit("t", params={"other": "a"})
        summary = await cue.stop()
        assert set(summary.deadlocked) == {handle.work for handle in handles.values()}
        await nothing_is_left(cue)

    run(main)


@pytest.mark.rule(23)
@pytest.mark.parametrize("call", ["drain", "stop"])
def test_a_handler_that_awaits_work_that_can_run_is_no_deadlock(
    call: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        cue = runcue.Cue()
        cue.service("api", rate="1/hour")
        cue.task("child", uses="api")(sleeps(10))

        @cue.task("parent")
        async def parent(work: runcue.Work) -> str:
            for _ in range(2):
                await (await cue.submit("child")).result()
            return "done"

        cue.start()
        handle = await cue.submit("parent")
        summary = await getattr(cue, call)()
        assert await handle.result() == "done"
        assert summary.deadlocked == []
        await cue.stop()

    run(main)
    assert told(caplog, "Deadlock") == []


@pytest.mark.rule(23)
def test_a_handler_that_awaits_something_else_as_well_is_waited_for() -> None:
    async def main() -> None:
        cue = runcue.Cue()
        cue.service("one", concurrent=1)
        cue.task("child", uses="one")(nothing)

        @cue.task("parent", uses="one")
        async def parent(work: runcue.Work) -> str:
            try:
                async with asyncio.timeout(100):
                    await (await cue.submit("child")).result()
            except TimeoutError:
                return "gave up"
            return "child ran"

        cue.start()
        handle = await cue.submit("parent")
        await asyncio.sleep(200)
        assert await handle.result() == "gave up"
        assert (await cue.stop()).ok

    run(main)


@pytest.mark.rule(23)
@pytest.mark.parametrize("call", ["drain", "stop"])
def test_after_5_seconds_of_waiting_for_a_rate_it_says_for_what_and_until_when(
    call: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        cue = runcue.Cue()
        cue.service("api", rate="1/min")
        cue.task("t", uses="api")(nothing)
        cue.start()
        for _ in range(2):
            await cue.submit("t")
        await asyncio.sleep(1)
        ending = asyncio.create_task(getattr(cue, call)())
        await asyncio.sleep(4.5)
        assert told(caplog, "") == []
        await asyncio.sleep(1)
        [news] = told(caplog, "1 work unit waits for api: 1/min")
        assert "53.5 s" in news.getMessage() or "54.0 s" in news.getMessage()
        assert news.levelno == logging.INFO
        await ending
        await cue.stop()

    caplog.set_level(logging.INFO, "runcue")
    run(main)


@pytest.mark.rule(23)
def test_stop_without_drain_finishes_what_runs_and_cancels_what_is_pending() -> None:
    async def main() -> None:
        cue = runcue.Cue(run_in=FakeExecutor(30))
        recorder = Recorder(cue)
        cue.service("some", concurrent=2)
        cue.task("async", uses="some")(sleeps(20))
        cue.task("sync", uses="some")(lambda work: None)
        cue.task("unready")(nothing)
        cue.is_ready(task="unready")(never)
        cue.start()
        running = [await cue.submit("async"), await cue.submit("sync")]
        pending = [await cue.submit("async"), await cue.submit("sync"), await cue.submit("unready")]
        await asyncio.sleep(1)
        summary = await cue.stop(drain=False)
        assert now() == 30
        assert [recorder.of(handle) for handle in running] == [["start", "complete"]] * 2
        assert [recorder.of(handle) for handle in pending] == [["cancel"]] * 3
        assert summary.counts == {"completed": 2, "skipped": 0, "failed": 0, "cancelled": 3}
        assert [blocked["work"].id for blocked in summary.blocked] == pending

    run(main)


@pytest.mark.rule(23)
def test_stop_without_drain_starts_nothing_that_was_submitted_just_before() -> None:
    async def main() -> None:
        cue = runcue.Cue()
        recorder = Recorder(cue)
        cue.task("t")(nothing)
        cue.start()
        handles = [await cue.submit("t") for _ in range(3)]
        await cue.stop(drain=False)
        assert [recorder.of(handle) for handle in handles] == [["cancel"]] * 3

    run(main)


@pytest.mark.rule(23)
@pytest.mark.parametrize("drain", [True, False])
def test_stop_with_a_timeout_then_cancels_what_runs(drain: bool) -> None:
    async def main() -> None:
        cue = runcue.Cue()
        recorder = Recorder(cue)
        cleaned_up: list[float] = []
        cue.service("some", concurrent=2)

        @cue.task("t", uses="some")
        async def t(work: runcue.Work) -> None:
            try:
                await asyncio.sleep(work.params["seconds"])
            finally:
                cleaned_up.append(now())

        cue.start()
        handles = [await cue.submit("t", params={"seconds": seconds}) for seconds in (10, 1000, 1000, 1000)]
        await asyncio.sleep(1)
        summary = await cue.stop(drain=drain, timeout=50)
        assert now() == 51
        assert cleaned_up == [10, 51, 51] if drain else [10, 51]
        assert recorder.of(handles[0]) == ["start", "complete"]
        assert recorder.of(handles[1]) == ["start", "cancel"]
        assert recorder.of(handles[3]) == ["cancel"]
        assert summary.counts == {"completed": 1, "skipped": 0, "failed": 0, "cancelled": 3}
        assert summary.abandoned == []
        await nothing_is_left(cue)

    run(main)


@pytest.mark.rule(23)
def test_stop_with_a_timeout_that_is_not_needed_ends_early() -> None:
    async def main() -> None:
        cue = runcue.Cue()
        cue.task("t")(sleeps(10))
        cue.start()
        await cue.submit("t")
        summary = await cue.stop(timeout=1000)
        assert now() == 10
        assert summary.ok

    run(main)


@pytest.mark.rule(23)
def test_stop_with_a_timeout_lists_the_threads_it_had_to_abandon(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        cue = runcue.Cue()
        recorder = Recorder(cue)
        entered, may_end = threading.Event(), threading.Event()
        saw: list[bool] = []

        def body(work: runcue.Work) -> None:
            entered.set()
            may_end.wait(30)
            saw.append(work.cancelled)

        cue.task("t")(body)
        cue.start()
        handle = await cue.submit("t")
        await asyncio.to_thread(entered.wait, 30)
        summary = await cue.stop(timeout=0.05)
        assert summary.abandoned == [handle.work]
        assert summary.counts["cancelled"] == 1
        assert handle.work.state is runcue.WorkState.CANCELLED
        assert recorder.of(handle) == ["start", "cancel"]
        assert len(told(caplog, "abandoned", handle, "thread")) == 1
        may_end.set()
        cue.start()  # the thread's late return disturbs nobody
        cue.task("next")(nothing)
        await (await cue.submit("next")).result()
        await cue.stop()
        assert recorder.of(handle) == ["start", "cancel"]
        deadline = asyncio.get_running_loop().time() + 30
        while not saw and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.01)
        assert saw == [True]

    asyncio.run(main())


@pytest.mark.rule(23)
def test_however_many_threads_are_abandoned_it_is_told_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        cue = runcue.Cue(max_threads=100)
        may_end = threading.Event()
        heard: list[runcue.abc.CueWarning] = []

        class Book(runcue.Observer):
            def warned(self, warning: runcue.abc.CueWarning) -> None:
                heard.append(warning)

        cue.observe(Book())
        for name in ("many", "few"):
            cue.task(name)(lambda work: may_end.wait(30))
        cue.start()
        handles = [await cue.submit("many") for _ in range(98)]
        handles += [await cue.submit("few") for _ in range(2)]
        while any(handle.work.state is not runcue.WorkState.RUNNING for handle in handles):
            await asyncio.sleep(0.01)
        summary = await cue.stop(timeout=0)
        may_end.set()
        assert summary.abandoned == [handle.work for handle in handles]
        (line,) = told(caplog, "abandoned")
        assert "98 many" in line.getMessage()
        assert "and 95 more" in line.getMessage()
        assert "2 few" in line.getMessage()
        assert len(line.getMessage()) < 500
        (warning,) = [one for one in heard if one.kind == "abandoned"]
        assert list(warning.works) == summary.abandoned

    asyncio.run(main())


@pytest.mark.rule(23)
def test_however_many_coroutines_and_listeners_will_not_end_it_is_told_in_a_line_each(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        cue = runcue.Cue()

        @cue.task("stubborn")
        async def stubborn(work: runcue.Work) -> None:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(100)
            await asyncio.sleep(100)

        async def listens(work: runcue.Work) -> None:
            await asyncio.sleep(1000)

        for _ in range(20):
            cue.on_start(lambda work: listens(work))
        cue.start()
        for _ in range(30):
            await cue.submit("stubborn")
        await asyncio.sleep(1)
        await cue.stop(timeout=1)
        (line,) = told(caplog, "abandoned")
        assert "30 stubborn" in line.getMessage()
        (line,) = told(caplog, "had not ended in time")
        assert "and 17 more" in line.getMessage()

    run(main)


@pytest.mark.rule(23)
def test_a_coroutine_that_will_not_end_is_abandoned_after_a_moment() -> None:
    async def main() -> None:
        cue = runcue.Cue()
        give_in = asyncio.Event()

        @cue.task("t")
        async def stubborn(work: runcue.Work) -> None:
            while not give_in.is_set():
                try:
                    await asyncio.sleep(1000)
                except asyncio.CancelledError:
                    await asyncio.sleep(100)

        cue.start()
        handle = await cue.submit("t")
        await asyncio.sleep(1)
        summary = await cue.stop(timeout=10)
        assert summary.abandoned == [handle.work]
        assert handle.work.state is runcue.WorkState.CANCELLED
        assert 11 <= now() < 20
        give_in.set()

    run(main)


@pytest.mark.rule(23)
def test_stop_with_a_timeout_of_nothing_cancels_at_once() -> None:
    async def main() -> None:
        cue = runcue.Cue()
        cue.task("t")(sleeps(1000))
        cue.start()
        handles = [await cue.submit("t") for _ in range(3)]
        await asyncio.sleep(1)
        handles.append(await cue.submit("t"))
        summary = await cue.stop(timeout=0)
        assert summary.counts["cancelled"] == 4
        assert now() == 1
        await nothing_is_left(cue)

    run(main)


@pytest.mark.rule(23)
@pytest.mark.parametrize("what", ["gate", "listener"])
def test_stop_with_a_timeout_does_not_wait_for_hung_gates_and_listeners(what: str) -> None:
    async def hangs(*heard: Any) -> bool:
        await asyncio.Event().wait()
        return True

    async def main() -> None:
        cue = runcue.Cue()
        cue.task("t")(nothing)
        if what == "gate":
            cue.is_ready(hangs)
        else:
            cue.on_complete(hangs)
        cue.start()
        handle = await cue.submit("t")
        await asyncio.sleep(1)
        await cue.stop(timeout=10)
        assert 11 <= now() <= 12
        assert handle.work.state not in UNSETTLED

    run(main)


@pytest.mark.rule(23)
@pytest.mark.parametrize("drain", [True, False])
@pytest.mark.parametrize("timeout", [None, 0, 5])
def test_nothing_is_ever_left_pending_or_running(drain: bool, timeout: float | None) -> None:
    async def yes_later(work: runcue.Work) -> bool:
        await asyncio.sleep(3)
        return True

    async def main() -> None:
        cue = runcue.Cue(run_in=FakeExecutor(7))
        recorder = Recorder(cue)
        cue.on_failure(lambda work, error: None)
        cue.service("one", concurrent=1, rate="3/min")
        cue.service("some", concurrent=3)
        cue.task("one", uses="one")(sleeps(4))
        cue.task("both", uses=["one", "some"])(lambda work: None)
        cue.task("gated", uses="some")(sleeps(2))
        cue.task("never")(nothing)
        cue.task("fails", timeout=1)(sleeps(4))
        cue.is_ready(task="gated")(yes_later)
        cue.is_ready(task="never")(never)
        cue.start()
        handles = []
        for _ in range(4):
            handles += [await cue.submit(name) for name in ("one", "both", "gated", "never", "fails")]
            await asyncio.sleep(1)
        summary = await cue.stop(drain=drain, timeout=timeout)
        await nothing_is_left(cue)
        assert sum(summary.counts.values()) == len(handles)
        for handle in handles:
            assert len([event for event in recorder.of(handle) if event != "start"]) == 1

    run(main)


@pytest.mark.rule(23)
def test_stop_of_a_cue_that_was_never_started_but_holds_work_raises() -> None:
    async def main() -> None:
        cue = runcue.Cue()
        cue.task("t")(nothing)
        handle = await cue.submit("t")
        with pytest.raises(runcue.UsageError, match="never started but holds 1 work unit"):
            await cue.stop()
        cue.start()
        await handle.result()
        await cue.stop()

    run(main)


@pytest.mark.rule(23)
def test_stop_of_a_cue_that_was_never_started_and_is_empty_does_nothing() -> None:
    async def main() -> None:
        summary = await runcue.Cue().stop()
        assert summary.ok
        assert str(summary).startswith("nothing ran")

    run(main)


@pytest.mark.rule(23)
@pytest.mark.parametrize("call", ["drain", "stop"])
@pytest.mark.parametrize(
    "where",
    ["handler", "handler's task", "async listener", "listener's task", "async is_ready", "async is_stale"],
)
def test_drain_and_stop_from_inside_raise(where: str, call: str) -> None:
    async def main() -> None:
        cue = runcue.Cue()
        raised: list[BaseException] = []
        tasks: set[asyncio.Task[Any]] = set()

        async def call_it(*heard: Any) -> bool:
            try:
                await getattr(cue, call)()
            except runcue.UsageError as error:
                raised.append(error)
            return True

        async def handler(work: runcue.Work) -> None:
            if where == "handler":
                await call_it()
            elif where == "handler's task":
                tasks.add(asyncio.create_task(call_it()))
                await asyncio.sleep(1)

        cue.task("t")(handler)
        if where == "async listener":
            cue.on_start(call_it)
        elif where == "listener's task":
            cue.on_start(lambda work: tasks.add(asyncio.create_task(call_it())))
        elif where == "async is_ready":
            cue.is_ready(call_it)
        elif where == "async is_stale":
            cue.is_stale(call_it)
        cue.start()
        handle = await cue.submit("t")
        await handle.result()
        await cue.drain()
        assert len(raised) >= 1
        assert call in str(raised[0])
        assert "inside" in str(raised[0])
        await cue.stop()

    run(main)


@pytest.mark.rule(23)
def test_a_handler_may_drain_and_stop_another_cue() -> None:
    async def main() -> None:
        async with runcue.Cue() as outer:

            @outer.task("t")
            async def t(work: runcue.Work) -> int:
                async with runcue.Cue() as inner:
                    inner.task("t")(nothing)
                    await inner.submit("t")
                    return (await inner.drain()).counts["completed"]

            assert await (await outer.submit("t")).result() == 1

    run(main)


@pytest.mark.rule(23)
def test_stop_called_by_several_is_one_stop_and_the_harder_one_counts() -> None:
    async def main() -> None:
        cue = runcue.Cue()
        cue.task("t")(sleeps(100))
        cue.start()
        await cue.submit("t")
        first = asyncio.create_task(cue.stop())
        await asyncio.sleep(10)
        second = asyncio.create_task(cue.stop())
        await asyncio.sleep(10)
        third = await cue.stop(timeout=5)
        assert now() == 25
        assert (await first).counts == (await second).counts == third.counts
        assert third.counts["cancelled"] == 1

    run(main)


@pytest.mark.rule(23)
def test_a_stop_whose_caller_is_cancelled_goes_on() -> None:
    async def main() -> None:
        cue = runcue.Cue()
        cue.task("t")(sleeps(100))
        cue.start()
        handle = await cue.submit("t")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(10):
                await cue.stop()
        with pytest.raises(runcue.CueStopped):
            await cue.submit("t")
        summary = await cue.stop()
        assert summary.counts["completed"] == 1
        assert handle.work.state is runcue.WorkState.COMPLETED

    run(main)


@pytest.mark.rule(23)
def test_a_drain_whose_caller_is_cancelled_leaves_no_trace() -> None:
    async def main() -> None:
        async with runcue.Cue() as cue:
            cue.task("t")(sleeps(100))
            await cue.submit("t")
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(10):
                    await cue.drain()
            assert (await cue.drain()).counts["completed"] == 1
            assert now() == 100

    run(main)


@pytest.mark.rule(23)
def test_stop_twice_is_harmless() -> None:
    async def main() -> None:
        cue = runcue.Cue()
        cue.task("t")(nothing)
        cue.start()
        await cue.submit("t")
        first = await cue.stop()
        second = await cue.stop()
        assert first.counts == second.counts

    run(main)


@pytest.mark.rule(24)
def test_submit_after_stop_is_an_error_that_says_so() -> None:
    async def main() -> None:
        cue = runcue.Cue()
        cue.task("t")(nothing)
        cue.start()
        await cue.stop()
        with pytest.raises(runcue.CueStopped, match=r"stopped.*start\(\)"):
            await cue.submit("t")
        with pytest.raises(runcue.CueStopped, match=r"stopped.*start\(\)"):
            await asyncio.to_thread(cue.submit_threadsafe, "t")
        assert await cue.list() == []

    run(main)


@pytest.mark.rule(24)
@pytest.mark.parametrize("kind", ["async", "sync"])
def test_start_again_works(kind: str) -> None:
    async def main() -> None:
        cue = runcue.Cue(pending_timeout=100, stall_timeout=100)
        recorder = Recorder(cue)
        cue.service("one", concurrent=1, rate="1/min")
        cue.task("t", uses="one")(nothing if kind == "async" else lambda work: None)
        cue.task("unready")(nothing)
        cue.is_ready(task="unready")(never)
        for _ in range(3):
            cue.start()
            await cue.submit("unready")
            handle = await cue.submit("t")
            await handle.result()
            summary = await cue.stop()
            assert summary.counts == {"completed": 1, "skipped": 0, "failed": 0, "cancelled": 1}
            with pytest.raises(runcue.CueStopped):
                await cue.submit("t")
        assert recorder.times("start") == [0, 60, 120]  # limits go on where they were
        assert len(await cue.list()) == 6

    run(main)


@pytest.mark.rule(24)
def test_start_again_works_after_a_stop_that_abandoned_what_ran() -> None:
    async def main() -> None:
        cue = runcue.Cue()
        cue.service("one", concurrent=1)
        may_end = threading.Event()
        cue.task("hangs", uses="one")(lambda work: may_end.wait(30))
        cue.task("t", uses="one")(nothing)
        cue.start()
        await cue.submit("hangs")
        await asyncio.sleep(0)
        await cue.stop(timeout=0)
        cue.start()
        await (await cue.submit("t")).result()  # the slot is there again
        summary = await cue.stop()
        assert summary.abandoned == []
        may_end.set()

    asyncio.run(main())


@pytest.mark.rule(24)
def test_a_thread_that_was_abandoned_and_returns_later_takes_nothing_from_the_next_start() -> None:
    async def main() -> None:
        cue = runcue.Cue()
        entered, may_end = threading.Event(), threading.Event()
        threads: list[threading.Thread] = []

        @cue.task("hangs")
        def hangs(work: runcue.Work) -> None:
            threads.append(threading.current_thread())
            entered.set()
            may_end.wait(30)

        cue.task("t")(lambda work: "ran")
        cue.start()
        await cue.submit("hangs")
        await asyncio.to_thread(entered.wait, 30)
        await cue.stop(timeout=0)
        cue.start()
        may_end.set()
        await asyncio.to_thread(threads[0].join, 30)
        assert not threads[0].is_alive()
        assert await (await cue.submit("t")).result() == "ran"
        await cue.stop()
        await asyncio.sleep(1)  # on the virtual clock time passes again

    asyncio.run(asyncio.wait_for(main(), 30))
    run(main)


@pytest.mark.rule(23, 24)
def test_a_listener_that_will_not_end_is_given_up_and_takes_nothing_from_the_next_start() -> None:
    async def main() -> None:
        cue = runcue.Cue()
        cue.task("t")(nothing)
        give_in = asyncio.Event()
        heard: list[str] = []

        @cue.on_complete
        async def stubborn(work: runcue.Work, result: Any, duration: float) -> None:
            while work.params and not give_in.is_set():
                try:
                    await give_in.wait()
                except asyncio.CancelledError:
                    continue
            if not work.params:
                await asyncio.sleep(10)
            heard.append(work.id)

        cue.start()
        await cue.submit("t", params={"stubborn": True})
        await asyncio.sleep(1)
        await cue.stop(timeout=5)
        cue.start()
        handle = await cue.submit("t")
        await handle.result()
        give_in.set()
        await cue.drain()
        assert heard[-1] == handle  # it was waited for
        await cue.stop()
        await asyncio.sleep(100)

    run(main)


@pytest.mark.rule(24)
def test_start_again_works_in_another_loop() -> None:
    cue = runcue.Cue()
    recorder = Recorder(cue)
    cue.task("async")(sleeps(0))
    cue.task("sync")(lambda work: None)

    async def main() -> None:
        async with cue:
            for name in ("async", "sync"):
                await (await cue.submit(name)).result()

    for _ in range(2):
        asyncio.run(main())
        run(main)
    assert recorder.counts() == {"start": 8, "complete": 8}


@pytest.mark.rule(24)
def test_a_loop_that_ended_without_a_stop_leaves_nothing_running_when_the_cue_starts_again() -> None:
    cue = runcue.Cue()
    recorder = Recorder(cue)
    cue.service("one", concurrent=1)
    cue.task("async", uses="one")(sleeps(1000))
    cue.task("t", uses="one")(nothing)
    handles: list[runcue.WorkHandle] = []

    async def forgets_to_stop() -> None:
        cue.start()
        handles.append(await cue.submit("async"))
        handles.append(await cue.submit("t"))
        await asyncio.sleep(1)

    async def main() -> None:
        async with cue:
            await handles[1].result()
            await nothing_is_left_running()

    async def nothing_is_left_running() -> None:
        assert await cue.list(state=runcue.WorkState.RUNNING) == []

    run(forgets_to_stop)
    run(main)
    assert recorder.of(handles[0]) == ["start", "cancel"]
    assert recorder.of(handles[1]) == ["start", "complete"]


async def gathers(cue: runcue.Cue, handles: list[runcue.WorkHandle]) -> None:
    await asyncio.gather(*handles)


async def spawns(cue: runcue.Cue, handles: list[runcue.WorkHandle]) -> None:
    async with asyncio.TaskGroup() as group:
        for handle in handles:
            group.create_task(handle.result())


async def goes_on_to_submit(cue: runcue.Cue, handles: list[runcue.WorkHandle]) -> None:
    while True:
        await cue.submit("sleeps")
        await asyncio.sleep(0.1)


async def awaits_in_a_group(cue: runcue.Cue, handles: list[runcue.WorkHandle]) -> None:
    async with cue.group() as group:
        await group.submit("free")
        await handles[-1]


@pytest.mark.rule(23, 41)
@virtual
@pytest.mark.parametrize("body", [gathers, spawns, goes_on_to_submit, awaits_in_a_group])
async def test_what_a_stop_lets_finish_is_not_cut_off_by_the_error_that_its_own_end_raises_in_the_body(
    body: Callable[[runcue.Cue, list[runcue.WorkHandle]], Any],
) -> None:
    cue = runcue.Cue()
    cue.service("one", concurrent=1)
    cue.task("sleeps", uses="one")(sleeps(5))
    cue.task("free")(sleeps(5))
    stopping: list[asyncio.Task[runcue.Summary]] = []

    async def stop() -> runcue.Summary:
        await asyncio.sleep(1)
        return await cue.stop(drain=False)

    with contextlib.suppress(runcue.WorkCancelled, runcue.CueStopped, ExceptionGroup):
        async with cue:
            handles = [await cue.submit("sleeps") for _ in range(3)]
            stopping.append(asyncio.create_task(stop()))
            await body(cue, handles)
            pytest.fail("it has ended without an error")
    assert now() == 5
    assert handles[0].state is runcue.WorkState.COMPLETED
    assert (await stopping[0]).counts["completed"] == (2 if body is awaits_in_a_group else 1)


@pytest.mark.rule(23)
@virtual
async def test_another_error_in_the_body_still_cuts_off_what_a_stop_lets_finish() -> None:
    cue = runcue.Cue()
    cue.task("sleeps")(sleeps(5))
    stopping: list[asyncio.Task[runcue.Summary]] = []

    async def fails() -> None:
        async with cue:
            await cue.submit("sleeps")
            await asyncio.sleep(1)
            stopping.append(asyncio.create_task(cue.stop(drain=False)))
            await asyncio.sleep(1)
            raise KeyError

    with pytest.raises(KeyError):
        await fails()
    assert now() == 2
    assert (await stopping[0]).counts["cancelled"] == 1
