"""Time-outs and warnings: from when they count, what they respect, what they say."""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from typing import Any

import pytest

import runcue
import runcue.submissions
from runcue import Flag
from runcue.testing import EPOCH, FakeExecutor, Recorder, run
from tests.support.virtual_time import now


async def let_time_pass(seconds: float) -> None:
    """In small steps, so that what is passive (warnings, rechecks) comes at its time."""
    until = now() + seconds
    while now() < until:
        await asyncio.sleep(min(0.25, until - now()))


def never(work: runcue.Work) -> bool:
    return False


def told(caplog: pytest.LogCaptureFixture, *parts: str) -> list[str]:
    messages = [record.getMessage() for record in caplog.records if record.name == "runcue"]
    return [message for message in messages if all(part in message for part in parts)]


@pytest.mark.rule(20, 22)
def test_each_work_times_out_by_its_own_time_since_submission() -> None:
    async def main() -> None:
        cue = runcue.Cue(pending_timeout=30)
        recorder = Recorder(cue)
        cue.task("t")(lambda work: None)
        cue.is_ready(never)
        cue.start()
        handles = []
        for _ in range(3):
            handles.append(await cue.submit("t"))
            await asyncio.sleep(10)
        for handle in handles:
            with pytest.raises(runcue.PendingTimeout):
                await handle.result()
        assert recorder.times("failure") == [30, 40, 50]
        assert [recorder.of(handle) for handle in handles] == [["failure"]] * 3
        await cue.stop()

    run(main)


@pytest.mark.rule(20)
def test_time_before_the_start_of_the_cue_counts_as_well() -> None:
    async def main() -> None:
        cue = runcue.Cue(pending_timeout=30)
        cue.task("t")(lambda work: None)
        cue.is_ready(never)
        handle = await cue.submit("t")
        await asyncio.sleep(20)
        cue.start()
        await handle.wait()
        assert now() == 30
        await cue.stop()

    run(main)


@pytest.mark.rule(20)
def test_a_pending_timeout_does_not_strike_what_has_started_nor_what_is_settled() -> None:
    async def main() -> None:
        cue = runcue.Cue(pending_timeout=30)
        recorder = Recorder(cue)
        cue.service("one", concurrent=1)
        cue.task("long", uses="one")(lambda work: asyncio.sleep(100))
        cue.task("next", uses="one")(lambda work: None)
        cue.start()
        done = await cue.submit("next")
        running = await cue.submit("long")
        waiting = await cue.submit("next")
        await running.result()
        assert recorder.of(done) == ["start", "complete"]
        assert recorder.of(running) == ["start", "complete"]
        assert recorder.of(waiting) == ["failure"]
        await cue.stop()

    run(main)


@pytest.mark.rule(20)
def test_a_pending_timeout_strikes_while_an_async_gate_is_asked() -> None:
    async def slow(work: runcue.Work) -> bool:
        await asyncio.sleep(25)
        return True

    async def main() -> None:
        cue = runcue.Cue(pending_timeout=10)
        cue.service("one", concurrent=1)
        cue.task("t", uses="one")(lambda work: None)
        cue.task("quick", uses="one")(lambda work: "done")
        cue.is_ready(task="t")(slow)
        cue.start()
        handle = await cue.submit("t")
        with pytest.raises(runcue.PendingTimeout):
            await handle.result()
        assert now() == 10
        assert await (await cue.submit("quick")).result() == "done"  # its slot is free
        assert now() == 10
        await cue.stop()

    run(main)


@pytest.mark.rule(20)
def test_a_pending_warning_is_heard_once_per_work_with_its_seconds(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        cue = runcue.Cue(pending_warn_after=5)
        heard: list[tuple[str, float]] = []
        cue.on_pending_warning(lambda work, seconds: heard.append((work.id, seconds)))
        cue.task("t")(lambda work: None)
        cue.is_ready(never)
        cue.start()
        first = await cue.submit("t")
        await let_time_pass(3)
        second = await cue.submit("t")
        await let_time_pass(30)
        assert heard == [(first, pytest.approx(5, abs=0.25)), (second, pytest.approx(5, abs=0.25))]
        await cue.stop()

    run(main)
    assert told(caplog, "pending for more than") == []


@pytest.mark.rule(20, 22)
def test_the_default_pending_warning_goes_to_the_logger_and_says_why(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        cue = runcue.Cue(pending_warn_after=5)
        cue.service("api", rate="1/hour")
        cue.task("unready")(lambda work: None)
        cue.task("limited", uses="api")(lambda work: None)
        cue.is_ready(task="unready")(lambda work: (False, "page 7 is missing"))
        cue.start()
        await cue.submit("unready")
        for _ in range(2):
            await cue.submit("limited")
        await let_time_pass(20)
        await cue.stop(drain=False)

    run(main)
    [warning] = told(caplog, "pending for more than 5 s")
    assert "page 7 is missing" in warning
    assert "1/hour" in warning
    assert [r.levelno for r in caplog.records if r.getMessage() == warning] == [logging.WARNING]


@pytest.mark.rule(20)
def test_without_the_options_nothing_times_out_and_only_that_it_is_stuck_is_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        cue = runcue.Cue()
        cue.task("t")(lambda work: None)
        cue.is_ready(never)
        cue.start()
        handle = await cue.submit("t")
        await asyncio.sleep(1_000_000)
        assert handle.work.state is runcue.WorkState.PENDING
        assert [message[:5] for message in told(caplog, "")] == ["Stuck"]
        await cue.stop()

    run(main)


@pytest.mark.rule(21, 22)
def test_a_stall_fails_all_pending_work_when_nothing_has_moved_for_so_long() -> None:
    async def main() -> None:
        cue = runcue.Cue(stall_timeout=60)
        recorder = Recorder(cue)
        cue.task("t")(lambda work: None)
        cue.task("moves")(lambda work: None)
        cue.is_ready(task="t")(never)
        cue.start()
        handles = [await cue.submit("t") for _ in range(3)]
        await asyncio.sleep(50)
        await (await cue.submit("moves")).result()
        for handle in handles:
            with pytest.raises(runcue.StallTimeout, match=r"nothing moved for 60\.0 s"):
                await handle.result()
        assert now() == 110
        assert recorder.counts()["failure"] == 3
        await cue.stop()

    run(main)


@pytest.mark.rule(21)
@pytest.mark.parametrize("progress", ["start", "complete", "failure", "skip", "cancel"])
def test_every_start_settlement_or_skip_counts_as_progress(progress: str) -> None:
    async def main() -> None:
        cue = runcue.Cue(stall_timeout=60)
        cue.on_failure(lambda work, error: None)
        cue.task("t")(lambda work: None)
        cue.is_ready(task="t")(never)

        @cue.task("moves")
        async def moves(work: runcue.Work) -> None:
            if progress == "failure":
                raise ValueError
            if progress == "start":
                await asyncio.sleep(1)

        cue.is_stale(task="moves")(lambda work: progress != "skip")
        cue.task("waits")(lambda work: None)
        cue.is_ready(task="waits")(never)
        cue.start()
        handle = await cue.submit("t")
        other = await cue.submit("waits")
        await asyncio.sleep(50)
        if progress == "cancel":
            await cue.cancel(other)
        else:
            await cue.submit("moves")
        with pytest.raises(runcue.StallTimeout):
            await handle.result()
        assert now() == 111 if progress == "start" else now() == 110
        await cue.stop()

    run(main)


@pytest.mark.rule(21)
@pytest.mark.parametrize("kind", ["async", "sync"])
def test_a_stall_timeout_respects_a_running_handler(kind: str) -> None:
    async def main() -> None:
        cue = runcue.Cue(stall_timeout=60, run_in=FakeExecutor(1000))
        cue.service("one", concurrent=1)
        done: list[str] = []
        if kind == "async":

            @cue.task("long", uses="one")
            async def long(work: runcue.Work) -> None:
                await asyncio.sleep(1000)

        else:
            cue.task("long", uses="one")(lambda work: None)
        cue.task("waits")(lambda work: "ran")
        cue.is_ready(task="waits")(lambda work: bool(done))
        cue.start()
        cue.on_complete(lambda work, result, duration: done.append(work.id))
        running, queued = await cue.submit("long"), await cue.submit("long")
        waiting = await cue.submit("waits")
        await running.result()
        assert now() == 1000
        assert await waiting.result() == "ran"
        await queued.result()
        await cue.stop()

    run(main)


@pytest.mark.rule(21)
def test_a_stall_timeout_respects_a_token_that_will_come_at_a_known_instant() -> None:
    async def main() -> None:
        cue = runcue.Cue(stall_timeout=60)
        cue.service("api", rate="1/hour")
        recorder = Recorder(cue)
        cue.task("t", uses="api")(lambda work: None)
        cue.task("waits for the second")(lambda work: None)
        cue.is_ready(task="waits for the second")(lambda work: recorder.counts().get("complete", 0) >= 2)
        async with cue:
            for _ in range(3):
                await cue.submit("t")
            await cue.submit("waits for the second")
        assert recorder.counts() == {"start": 4, "complete": 4}
        assert recorder.times("start") == [0, 3600, 3600, 7200]

    run(main)


@pytest.mark.rule(21)
def test_a_stall_timeout_respects_a_gate_that_is_being_asked() -> None:
    async def slow(work: runcue.Work) -> bool:
        await asyncio.sleep(25)
        return True

    async def main() -> None:
        async with runcue.Cue(stall_timeout=10) as cue:
            cue.task("t")(lambda work: "ran")
            cue.is_ready(slow)
            assert await (await cue.submit("t")).result() == "ran"

    run(main)


@pytest.mark.rule(21)
def test_handlers_that_merely_wait_for_pending_work_do_not_hold_up_a_stall_timeout() -> None:
    async def main() -> None:
        cue = runcue.Cue(stall_timeout=60)
        cue.service("one", concurrent=1)

        @cue.task("parent", uses="one")
        async def parent(work: runcue.Work) -> Any:
            await asyncio.sleep(1)
            child = await cue.submit("child")
            return await child.result()

        cue.task("child", uses="one")(lambda work: None)
        cue.start()
        handle = await cue.submit("parent")
        with pytest.raises(runcue.StallTimeout):
            await handle.result()
        assert now() == 60  # the last thing that moved was the parent's start
        await cue.stop()

    run(main)


@pytest.mark.rule(21)
def test_a_cue_that_had_nothing_to_do_was_not_stalled() -> None:
    async def main() -> None:
        cue = runcue.Cue(stall_timeout=60)
        cue.task("t")(lambda work: None)
        cue.is_ready(never)
        cue.start()
        await asyncio.sleep(1000)
        handle = await cue.submit("t")
        await handle.wait()
        assert now() == 1060
        await cue.stop()

    run(main)


@pytest.mark.rule(21)
def test_the_stall_warning_says_how_long_nothing_moved_and_what_runs(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> str:
        cue = runcue.Cue(stall_warn_after=10)
        cue.task("hangs")(lambda work: asyncio.sleep(100))
        cue.task("waits")(lambda work: None)
        cue.is_ready(task="waits")(lambda work: (False, "page 7 is missing"))
        cue.start()
        handle = await cue.submit("hangs")
        await cue.submit("waits")
        await let_time_pass(95)
        await cue.stop(drain=False)
        return handle

    handle = run(main)
    [warning] = told(caplog, "No progress for 10 s")  # once per stall
    assert f"hangs {handle}" in warning
    assert "1 work unit is pending" in warning
    assert "page 7 is missing" in warning
    assert len(told(caplog, "No progress")) == 1


@pytest.mark.rule(21)
def test_a_stall_warning_listener_hears_each_stall_once_and_replaces_the_log_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        cue = runcue.Cue(stall_warn_after=10)
        heard: list[tuple[float, int]] = []
        cue.on_stall_warning(lambda seconds, pending: heard.append((seconds, pending)))
        cue.service("one", concurrent=1)
        cue.task("long", uses="one")(lambda work: asyncio.sleep(25))
        cue.start()
        for _ in range(3):
            await cue.submit("long")
        await let_time_pass(100)
        soon = pytest.approx(10, abs=0.25)
        assert heard == [(soon, 2), (soon, 1), (soon, 0)]
        await cue.stop()

    run(main)
    assert told(caplog, "No progress") == []


@pytest.mark.rule(21, 22)
def test_timeout_cancels_an_async_handler_and_fails_its_work() -> None:
    async def main() -> None:
        cue = runcue.Cue()
        recorder = Recorder(cue)
        cue.service("one", concurrent=1)
        cancelled_at: list[float] = []

        @cue.task("t", uses="one", timeout=30)
        async def t(work: runcue.Work) -> None:
            try:
                await asyncio.sleep(1000)
            finally:
                assert work.cancelled
                cancelled_at.append(now())

        cue.start()
        first, second = await cue.submit("t"), await cue.submit("t")
        for handle in (first, second):
            with pytest.raises(runcue.WorkTimeout):
                await handle.result()
            assert recorder.of(handle) == ["start", "failure"]
        await cue.stop()
        assert cancelled_at == [30, 60]  # counted from the start, not from the submission

    run(main)


@pytest.mark.rule(21)
def test_a_coroutine_that_suppresses_its_timeout_stays_failed_and_keeps_its_slot_until_it_ends() -> None:
    async def main() -> None:
        cue = runcue.Cue()
        recorder = Recorder(cue)
        cue.service("one", concurrent=1)

        @cue.task("t", uses="one", timeout=30)
        async def t(work: runcue.Work) -> str:
            try:
                await asyncio.sleep(1000)
            except asyncio.CancelledError:
                await asyncio.sleep(10)
            return "too late"

        cue.task("next", uses="one")(lambda work: now())
        cue.start()
        handle = await cue.submit("t")
        after = await cue.submit("next")
        with pytest.raises(runcue.WorkTimeout):
            await handle.result()
        assert now() == 30
        await after.wait()
        assert now() == 40
        assert recorder.of(handle) == ["start", "failure"]
        await cue.stop()

    run(main)


@pytest.mark.rule(21, 22)
def test_timeout_settles_work_in_a_thread_while_its_slot_stays_taken_until_it_returns() -> None:
    async def main() -> None:
        cue = runcue.Cue()
        recorder = Recorder(cue)
        cue.service("one", concurrent=1)
        may_end = threading.Event()
        saw: list[bool] = []

        @cue.task("t", uses="one", timeout=0.05)
        def t(work: runcue.Work) -> str:
            may_end.wait(30)
            saw.append(work.cancelled)
            return "too late"

        @cue.task("next", uses="one")
        async def following(work: runcue.Work) -> None: ...

        cue.start()
        handle = await cue.submit("t")
        after = await cue.submit("next")
        with pytest.raises(runcue.WorkTimeout, match="cannot be interrupted"):
            await handle.result()
        for _ in range(20):
            await asyncio.sleep(0)
        assert after.work.state is runcue.WorkState.PENDING
        may_end.set()
        await after.result()
        assert saw == [True]
        assert recorder.of(handle) == ["start", "failure"]
        await cue.stop()

    asyncio.run(main())


@pytest.mark.rule(21)
@pytest.mark.parametrize("kind", ["async", "sync", "returns an awaitable"])
def test_what_ends_in_time_is_not_touched_by_its_timeout(kind: str) -> None:
    async def main() -> None:
        cue = runcue.Cue(run_in=FakeExecutor(29))
        if kind == "async":

            @cue.task("t", timeout=30)
            async def t(work: runcue.Work) -> str:
                await asyncio.sleep(29)
                return "done"

        else:

            async def rest() -> str:
                await asyncio.sleep(0.5)
                return "done"

            cue.task("t", timeout=30)(lambda work: rest() if kind != "sync" else "done")
        async with cue:
            handles = [await cue.submit("t") for _ in range(3)]
            assert [await handle.result() for handle in handles] == ["done"] * 3
            await asyncio.sleep(100)
        assert [handle.work.state.value for handle in handles] == ["completed"] * 3

    run(main)


@pytest.mark.rule(21)
@pytest.mark.parametrize("declares", [False, True])
@pytest.mark.parametrize("kind", ["async", "sync"])
@pytest.mark.parametrize(
    ("of_task", "said", "limit"), [(None, 20, 20), (30, 20, 20), (30, 50, 50), (30, None, 30)]
)
def test_a_submission_says_how_long_its_run_may_take_in_place_of_its_task(
    of_task: float | None, said: float | None, limit: float, kind: str, declares: bool
) -> None:
    async def main() -> None:
        cue = runcue.Cue(run_in=FakeExecutor(1000))
        outputs = Flag("made") if declares else None

        @cue.task("t", timeout=of_task)
        async def t(work: runcue.Work) -> None:
            await asyncio.sleep(1000)

        cue.task("plain", timeout=of_task)(lambda work: None)
        async with cue:
            handle = await cue.submit("t" if kind == "async" else "plain", outputs=outputs, timeout=said)
            with pytest.raises(runcue.WorkTimeout, match=f"its timeout of {limit} s"):
                await handle.result()
            assert now() == limit
            await cue.stop(timeout=0)

    run(main)


@pytest.mark.rule(21)
def test_a_submission_may_do_without_the_time_out_of_its_task() -> None:
    async def main() -> None:
        async with runcue.Cue() as cue:

            @cue.task("t", timeout=30)
            async def t(work: runcue.Work) -> float:
                await asyncio.sleep(100)
                return now()

            others = [await cue.submit("t"), await cue.submit("t", timeout=math.inf), await cue.submit("t")]
            assert [(await one.wait()).result for one in others] == [None, 100, None]

    run(main)


@pytest.mark.rule(21, 34)
def test_a_time_out_of_a_submission_holds_for_its_task_defined_anew() -> None:
    async def main() -> None:
        cue = runcue.Cue()
        cue.service("one", concurrent=1)

        def cell() -> None:
            @cue.task("t", uses="one")
            async def t(work: runcue.Work) -> None:
                await asyncio.sleep(1000)

        async with cue:
            cell()
            first, second = await cue.submit("t", timeout=10), await cue.submit("t", timeout=10)
            await asyncio.sleep(5)
            cell()
            assert [(await one.wait()).state.value for one in (first, second)] == ["failed"] * 2
            assert now() == 20

    run(main)


@pytest.mark.rule(28)
def test_of_work_units_that_have_joined_the_time_out_of_the_one_that_runs_counts() -> None:
    async def main() -> None:
        async with runcue.Cue() as cue:

            @cue.task("t", outputs=Flag("made"))
            async def t(work: runcue.Work) -> None:
                await asyncio.sleep(1000)

            first, second = await cue.submit("t", timeout=10), await cue.submit("t", timeout=5)
            with pytest.raises(runcue.WorkTimeout, match="its timeout of 10 s"):
                await second.result()
            assert first.state is runcue.WorkState.FAILED
            first, second = await cue.submit("t", timeout=10), await cue.submit("t", timeout=5)
            first.cancel()
            with pytest.raises(runcue.WorkTimeout, match="its timeout of 5 s"):
                await second.result()

    run(main)


def test_a_time_out_can_be_written_down() -> None:
    for value, written in ((2.5, "2.5"), ("30s", '"30s"'), ("5 min", '"5 min"')):
        line = b'{"task": "t", "timeout": %s}' % written.encode()
        assert next(runcue.submissions.read_lines([line], "work.jsonl")).options == {"timeout": value}
    for value in ("0", "-1", "true", '"5"', '"5 parsecs"', "[]"):
        with pytest.raises(
            runcue.ConfigurationError, match="'timeout' must be a positive number of seconds, or text"
        ):
            next(
                runcue.submissions.read_lines(
                    [b'{"task": "t", "timeout": %s}' % value.encode()], "work.jsonl"
                )
            )


@pytest.mark.rule(21, 25)
def test_an_attempt_that_has_not_returned_within_another_time_out_has_taken_both() -> None:
    async def main() -> None:
        async with runcue.Cue() as cue:

            @cue.task("t", timeout=5, retry=3)
            async def t(work: runcue.Work) -> None:
                try:
                    await asyncio.sleep(100)
                except asyncio.CancelledError:
                    await asyncio.sleep(100)

            handle = await cue.submit("t")
            assert [one.duration for one in (await handle.wait()).attempts] == [10]

    run(main)


@pytest.mark.rule(21)
def test_timeout_covers_the_awaitable_that_a_plain_handler_returns() -> None:
    async def main() -> None:
        cue = runcue.Cue(run_in=FakeExecutor(20))
        cue.task("t", timeout=30)(lambda work: asyncio.sleep(1000))
        cue.start()
        with pytest.raises(runcue.WorkTimeout):
            await (await cue.submit("t")).result()
        assert now() == 30
        await cue.stop()
        assert now() == 30

    run(main)


@pytest.mark.rule(21)
def test_a_timeout_error_of_the_handlers_own_is_passed_on_as_it_is() -> None:
    async def main() -> None:
        async with runcue.Cue() as cue:

            @cue.task("t", timeout=30)
            async def t(work: runcue.Work) -> None:
                async with asyncio.timeout(5):
                    await asyncio.sleep(10)

            with pytest.raises(TimeoutError) as caught:
                await (await cue.submit("t")).result()
            assert not isinstance(caught.value, runcue.RuncueError)

    run(main)


@pytest.mark.rule(22)
@pytest.mark.parametrize("kind", [runcue.PendingTimeout, runcue.StallTimeout, runcue.WorkTimeout])
def test_all_time_outs_are_timeout_errors(kind: type[Exception]) -> None:
    assert issubclass(kind, TimeoutError)
    assert issubclass(kind, runcue.RuncueError)


def blocked_by(cue: runcue.Cue, what: str) -> str:
    """Sets it up so that a work of task "t" does not run. Returns what should be said about it."""
    if what == "no":
        cue.task("t")(lambda work: None)
        cue.is_ready(task="t")(never)
        return "is_ready said no"
    if what == "reason":
        cue.task("t")(lambda work: None)
        cue.is_ready(task="t")(lambda work: (False, "page 7 is missing"))
        return "page 7 is missing"
    if what == "raises":
        cue.task("t")(lambda work: None)
        cue.is_ready(task="t")(lambda work: {}["no such key"])
        return "KeyError: 'no such key'"
    if what == "slots":
        cue.service("ovens", concurrent=1)
        cue.task("t", uses="ovens")(lambda work: None)
        cue.task("first", uses="ovens")(lambda work: asyncio.sleep(1000))
        return "ovens: the only slot is in use"
    cue.service("api", rate="1/hour")
    for name in ("t", "first"):
        cue.task(name, uses="api")(lambda work: None)
    return "api: 1/hour is used up, next start in 3555.0 s"


@pytest.mark.rule(22)
@pytest.mark.parametrize("what", ["no", "reason", "raises", "slots", "rate"])
def test_a_pending_timeout_says_what_the_work_waited_for(what: str) -> None:
    async def main() -> None:
        cue = runcue.Cue(pending_timeout=45)
        expected = blocked_by(cue, what)
        cue.start()
        if cue.get_task("first"):
            await cue.submit("first")
        handle = await cue.submit("t")
        with pytest.raises(runcue.PendingTimeout) as caught:
            await handle.result()
        text = str(caught.value)
        assert expected in text
        assert f"t {handle} was pending for 45.0 s" in text
        assert "pending_timeout=45" in text
        assert handle.work.error == text
        await cue.stop(timeout=0)

    run(main)


@pytest.mark.rule(22)
@pytest.mark.parametrize("what", ["no", "reason", "raises"])
def test_a_stall_timeout_says_what_the_work_waited_for(what: str) -> None:
    async def main() -> None:
        cue = runcue.Cue(stall_timeout=45)
        expected = blocked_by(cue, what)
        cue.start()
        handles = [await cue.submit("t") for _ in range(3)]
        for handle in handles:
            with pytest.raises(runcue.StallTimeout) as caught:
                await handle.result()
            text = str(caught.value)
            assert expected in text
            assert f"t {handle} " in text
            assert "stall_timeout=45" in text
            assert "45.0 s" in text
        await cue.stop()

    run(main)


@pytest.mark.rule(22)
def test_a_work_timeout_names_the_task_and_the_limit() -> None:
    async def main() -> None:
        cue = runcue.Cue()
        cue.task("render", timeout=1.5)(lambda work: asyncio.sleep(1000))
        cue.start()
        with pytest.raises(runcue.WorkTimeout, match=r"'render'.* 1\.5 s"):
            await (await cue.submit("render")).result()
        await cue.stop()

    run(main)


@pytest.mark.rule(22)
def test_a_wall_clock_that_jumps_changes_stamps_but_no_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    wall = [1_000_000.0]
    monkeypatch.setattr(time, "time", lambda: wall[0])

    async def main() -> None:
        cue = runcue.Cue(pending_timeout=3600, stall_timeout=3600, pending_warn_after=3600)
        durations: list[float] = []
        cue.on_complete(lambda work, result, duration: durations.append(duration))
        cue.service("daily", rate="2/day")
        ready = asyncio.Event()
        resume = asyncio.Event()

        @cue.task("t", uses="daily", timeout=3600)
        async def t(work: runcue.Work) -> None:
            ready.set()
            await resume.wait()

        cue.task("never")(t)
        cue.is_ready(task="never")(never)
        cue.start()
        waiting = await cue.submit("never")
        handle = await cue.submit("t")
        await ready.wait()
        wall[0] += 10 * 86_400
        later = await cue.submit("never")
        resume.set()
        await handle.result()
        assert handle.work.created_at == pytest.approx(1_000_000, abs=1)
        assert handle.work.started_at == pytest.approx(1_000_000, abs=1)
        assert handle.work.completed_at == pytest.approx(1_864_000, abs=1)
        assert durations[0] < 3600
        await cue.submit("t")
        third = await cue.submit("t")  # the token of the first is not back: no day has passed
        for _ in range(20):
            await asyncio.sleep(0)
        wall[0] -= 20 * 86_400
        for _ in range(20):
            await asyncio.sleep(0)
        assert {work.state for work in (waiting.work, later.work, third.work)} == {runcue.WorkState.PENDING}
        await cue.stop(timeout=0)

    asyncio.run(main())


@pytest.mark.rule(22)
def test_stamps_are_wall_clock_times() -> None:
    async def main() -> None:
        async with runcue.Cue() as cue:
            cue.service("one", concurrent=1)
            cue.task("t", uses="one")(lambda work: asyncio.sleep(10))
            await asyncio.sleep(5)
            handles = [await cue.submit("t") for _ in range(2)]
            assert handles[0].work.started_at is None
            assert handles[0].work.completed_at is None
            for handle in handles:
                await handle.wait()
            work = handles[1].work
            assert (work.created_at, work.started_at, work.completed_at) == (
                EPOCH + 5,
                EPOCH + 15,
                EPOCH + 25,
            )

    run(main)
