"""Work units that are submitted for later: `delay=`, `run_at=`, and what drains, stops and others make of them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from math import inf, nan
from pathlib import Path
from typing import Any

import pytest

import runcue
from runcue import Flag, WorkState
from runcue.testing import FakeExecutor, Recorder
from runcue.testing.virtual_time import EPOCH
from tests.support.loops import each_loop, run_on
from tests.support.virtual_time import now, there, virtual

TOMORROW = 86_400.0


def noting(cue: runcue.Cue, name: str = "t", takes: float = 0.0, **options: Any) -> list[tuple[str, float]]:
    """Registers a task. Returns what its handlers note: whose they are and when they began."""
    log: list[tuple[str, float]] = []

    @cue.task(name, **options)
    async def handler(work: runcue.Work) -> str:
        log.append((work.id, now()))
        await asyncio.sleep(takes)
        return work.id

    return log


def cue_of(**options: Any) -> runcue.Cue:
    return runcue.Cue(id_prefix="", **options)


class SetClock:
    """The wall clock of the running loop, as somebody has set it, by so many seconds."""

    def __init__(self) -> None:
        self.ahead = 0.0
        clock: Any = asyncio.get_running_loop()
        clock = clock.runcue_clock
        read: Callable[[], float] = clock.time
        clock.time = lambda: read() + self.ahead


@pytest.mark.rule(40)
@pytest.mark.parametrize("delay", [5, 5.0, "5s", "5 sec", timedelta(seconds=5)])
@virtual
async def test_a_delay_is_waited_for_from_the_submission_on(delay: Any) -> None:
    cue = cue_of()
    log = noting(cue)
    async with cue:
        await asyncio.sleep(1)
        handle = await cue.submit("t", delay=delay)
        await cue.submit("t")
        assert handle.state is WorkState.PENDING
    assert log == [("2", 1.0), ("1", 6.0)]


@pytest.mark.rule(40)
@pytest.mark.parametrize(
    "run_at",
    [
        EPOCH + 5,
        int(EPOCH) + 5,
        datetime(2024, 1, 1, 0, 0, 5, tzinfo=UTC),
        datetime(2024, 1, 1, 2, 0, 5, tzinfo=timezone(timedelta(hours=2))),
    ],
)
@virtual
async def test_an_instant_is_waited_for_by_the_wall_clock(run_at: Any) -> None:
    cue = cue_of()
    log = noting(cue)
    async with cue:
        await asyncio.sleep(1)
        await cue.submit("t", run_at=run_at)
    assert log == [("1", 5.0)]


@pytest.mark.rule(40)
@pytest.mark.parametrize("options", [{"delay": 0}, {"delay": "0s"}, {"run_at": EPOCH - 1}, {"run_at": -1e9}])
@virtual
async def test_an_instant_that_has_passed_is_now(options: dict[str, Any]) -> None:
    cue = cue_of()
    log = noting(cue)
    async with cue:
        await cue.submit("t", **options)
    assert log == [("1", 0.0)]


@pytest.mark.rule(40)
@virtual
async def test_nothing_is_asked_and_nothing_is_held_before_the_instant() -> None:
    cue = cue_of()
    asked: list[tuple[str, float]] = []
    cue.is_ready(lambda work: asked.append((work.id, now())) or True)
    cue.service("api", concurrent=1, rate="1/min")
    log = noting(cue, uses="api")
    async with cue:
        await cue.submit("t", delay=30)
        await asyncio.sleep(20)
        await cue.submit("t")
        assert asked == []
    assert log == [("2", 20.0), ("1", 80.0)], "the other one had the slot and the token meanwhile"
    assert asked[0] == ("2", 20.0)
    assert ("1", 30.0) in asked, "soon after its instant"


@pytest.mark.rule(6, 40)
@virtual
async def test_its_place_among_others_counts_from_its_instant() -> None:
    cue = cue_of()
    cue.service("api", concurrent=1)
    log = noting(cue, uses="api", takes=10.0)
    async with cue:
        await cue.submit("t", delay=5)  # 1
        for _ in range(2):
            await cue.submit("t")  # 2, 3
        await asyncio.sleep(7)
        await cue.submit("t")  # 4
    assert [one for one, _ in log] == ["2", "3", "1", "4"]


@pytest.mark.rule(6, 40)
@virtual
async def test_an_hour_of_delay_is_no_head_start_over_what_is_more_urgent() -> None:
    cue = cue_of()
    cue.service("api", concurrent=1)
    log = noting(cue, uses="api", takes=10.0)
    async with cue:
        await cue.submit("t", delay=3600, priority=0.0)
        await asyncio.sleep(3595)
        await cue.submit("t")
        await asyncio.sleep(6)
        await cue.submit("t", priority=1.0)
    assert [one for one, _ in log] == ["2", "3", "1"]


@pytest.mark.rule(20, 40)
@pytest.mark.parametrize("when", [{"delay": 60}, {"run_at": EPOCH + 60}])
@virtual
async def test_pending_time_outs_count_from_the_instant(when: dict[str, Any]) -> None:
    cue = cue_of(pending_timeout=10, pending_warn_after=5, recheck=False)
    warned: list[tuple[float, float]] = []
    cue.on_pending_warning(lambda work, seconds: warned.append((now(), seconds)))
    cue.is_ready(lambda work: False)
    noting(cue)
    async with cue:
        asyncio.get_running_loop().call_later(65, print)
        handle = await cue.submit("t", **when)
        with pytest.raises(runcue.PendingTimeout, match=r"was pending for 10\.0 s"):
            await handle.result()
        assert now() == 70.0
        assert warned == [(65.0, 5.0)]


@pytest.mark.rule(21, 40)
@virtual
async def test_a_cue_that_merely_waits_for_an_instant_neither_stalls_nor_fails_anything(
    caplog: pytest.LogCaptureFixture,
) -> None:
    cue = cue_of(stall_timeout=3, stall_warn_after=2)
    log = noting(cue)
    async with cue:
        await cue.submit("t", delay=TOMORROW)
        await asyncio.sleep(100)
    assert log == [("1", TOMORROW)]
    assert "No progress" not in caplog.text


@pytest.mark.rule(17, 40)
@virtual
async def test_one_that_waits_for_its_instant_can_be_cancelled_and_time_does_not_wait_for_it() -> None:
    cue = cue_of()
    noting(cue)
    async with cue:
        delayed, dated = await cue.submit("t", delay=100), await cue.submit("t", run_at=EPOCH + 100)
        for handle in (delayed, dated):
            assert await cue.cancel(handle)
            assert handle.state is WorkState.CANCELLED
        await cue.drain()
        assert now() == 0.0
        assert cue._dispatcher.timers.active.next() == inf, "nothing is waited for any more"
        assert cue._dispatcher.timers.passive.next() == inf


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"delay": -1}, r"delay must be a number of seconds of at least 0, .* not -1\."),
        ({"delay": timedelta(seconds=-1)}, r"delay must be .* not datetime\.timedelta"),
        ({"delay": nan}, r"delay must be .* not nan"),
        ({"delay": inf}, r"delay must be .* not inf"),
        ({"delay": True}, r"delay must be .* not True"),
        ({"delay": "soon"}, r"delay must be .* not 'soon'"),
        (
            {"run_at": datetime(2030, 1, 1)},  # noqa: DTZ001 - that is what is refused
            r"run_at must be a datetime with a time zone, .* has no time zone",
        ),
        ({"run_at": "2030-01-01"}, r"run_at must be a datetime with a time zone, or a Unix timestamp"),
        ({"run_at": nan}, r"run_at must be .* not nan"),
        ({"run_at": -inf}, r"run_at must be .* not -inf"),
        ({"run_at": True}, r"run_at must be .* not True"),
        ({"run_at": 1e308}, r"run_at must be an instant before the year 10000 in seconds, not 1e\+308\."),
        ({"run_at": 1_704_067_200_000}, r"not 1704067200000; is it in milliseconds\?"),
        ({"run_at": datetime(2030, 1, 1).date()}, r"run_at must be"),  # noqa: DTZ001 - likewise
        ({"delay": 1, "run_at": EPOCH}, r"delay and run_at both say"),
    ],
)
@virtual
async def test_a_value_that_cannot_work_is_refused_where_it_is_given(
    options: dict[str, Any], text: str
) -> None:
    cue = cue_of()
    noting(cue)
    async with cue:
        with pytest.raises(runcue.ConfigurationError, match=text):
            await cue.submit("t", **options)
        with pytest.raises(runcue.ConfigurationError, match=text):
            cue.plan([{"task": "t", **options}])
        assert await cue.list() == []


@virtual
async def test_the_end_of_the_year_9999_may_be_waited_for() -> None:
    cue = cue_of()
    noting(cue)
    cue.start()
    handle = await cue.submit("t", run_at=datetime.max.replace(tzinfo=UTC))
    other = await cue.submit("t", delay=1e308)
    await asyncio.sleep(10)
    assert {handle.state, other.state} == {WorkState.PENDING}
    assert str(cue.why(handle))
    assert str(cue.why(other))
    assert len(cue.debug_blocked()) == 2
    summary = await cue.stop(delayed="cancel")
    assert summary.left == [handle.work, other.work]


@pytest.mark.rule(40)
@virtual
async def test_submissions_from_threads_and_handlers_may_be_for_later_too() -> None:
    cue = runcue.Cue(id_prefix="", run_in=FakeExecutor(0.0))
    log = noting(cue)

    @cue.task("outer")
    async def outer(work: runcue.Work) -> None:
        await cue.submit("t", delay=3)

    async with cue:
        await cue.submit("outer")
        handle = await asyncio.to_thread(cue.submit_threadsafe, "t", delay=2)
        assert handle.state is WorkState.PENDING
    assert [when for _, when in log] == [2.0, 3.0]


# --- the wall clock


@pytest.mark.rule(40)
@pytest.mark.parametrize("when", [0.0, 200.0])
@virtual
async def test_a_computer_that_has_slept_notices_within_a_minute_that_an_instant_has_passed(
    when: float,
) -> None:
    cue = cue_of()
    log = noting(cue)
    clock = SetClock()
    async with cue:
        await cue.submit("t", run_at=EPOCH + TOMORROW)
        await asyncio.sleep(when)
        clock.ahead = TOMORROW  # while the monotonic clock stood still
        for _ in range(70):
            await asyncio.sleep(1)
    [(_, began)] = log
    assert when <= began <= when + 60


@pytest.mark.rule(40)
@virtual
async def test_a_wall_clock_that_is_set_back_is_waited_for() -> None:
    cue = cue_of(pending_timeout=5)
    log = noting(cue)
    clock = SetClock()
    async with cue:
        handle = await cue.submit("t", run_at=EPOCH + 100)
        await asyncio.sleep(50)
        clock.ahead = -3600.0
        await asyncio.sleep(60)
        assert handle.state is WorkState.PENDING
        assert cue.why(handle).eta == pytest.approx(3590, abs=1)
    assert log == [("1", 3700.0)]


@pytest.mark.rule(40)
@virtual
async def test_a_delay_does_not_mind_the_wall_clock() -> None:
    cue = cue_of()
    log = noting(cue)
    clock = SetClock()
    async with cue:
        await cue.submit("t", delay=100)
        for step in (3600.0, -7200.0, 0.0):
            clock.ahead = step
            await asyncio.sleep(20)
    assert log == [("1", 100.0)]


@pytest.mark.rule(40)
@each_loop
def test_in_real_time_nothing_begins_too_early_whatever_the_loop(loop: str) -> None:
    began: dict[str, tuple[float, float]] = {}

    async def main() -> None:
        cue = runcue.Cue()

        @cue.task("t")
        async def t(work: runcue.Work) -> None:
            began[work.params["by"]] = time.monotonic(), time.time()

        async with cue:
            start, wall = time.monotonic(), time.time()
            await cue.submit("t", {"by": "delay"}, delay=0.05)
            await cue.submit("t", {"by": "run_at"}, run_at=wall + 0.1)
            thread = asyncio.to_thread(cue.submit_threadsafe, "t", {"by": "thread"}, delay=0.02)
            await thread
        assert began["delay"][0] >= start + 0.05
        assert began["run_at"][1] >= wall + 0.1
        assert began["thread"][0] >= start + 0.02

    run_on(loop, main)


# --- many


@pytest.mark.rule(40)
@virtual
async def test_however_many_wait_they_take_one_timer() -> None:
    loop: Any = asyncio.get_running_loop()
    cue = cue_of(keep=10)
    ran: list[int] = []

    @cue.task("t")
    async def t(work: runcue.Work) -> None:
        ran.append(work.params["n"])

    async with cue:
        before = len(loop._timers) + len(loop._passive)
        for n in range(5_000):
            await cue.submit("t", params={"n": n}, **({"delay": 10} if n % 2 else {"run_at": EPOCH + 10}))
        await asyncio.sleep(1)
        assert len(loop._timers) + len(loop._passive) - before <= 3
        await cue.drain()
    assert sorted(ran) == [*range(5_000)]


@pytest.mark.rule(40)
def test_delays_dates_warnings_and_time_outs_take_one_timer_of_a_real_loop_together() -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        cue = runcue.Cue(pending_warn_after=3_600, pending_timeout=7_200)

        @cue.task("t", timeout=3_600)
        async def t(work: runcue.Work) -> None:
            await asyncio.sleep(0)

        cue.start()
        before = sum(not timer.cancelled() for timer in loop._scheduled)
        for n in range(100):
            await cue.submit("t", **({"delay": 3_600 + n} if n % 2 else {"run_at": time.time() + 3_600 + n}))
        handle = await cue.submit("t")
        await handle
        await asyncio.sleep(0.01)
        assert sum(not timer.cancelled() for timer in loop._scheduled) - before == 1
        await cue.stop(drain=False)

    asyncio.run(main())


@virtual
async def test_many_that_wait_are_cancelled_at_once_and_nothing_is_left_of_them() -> None:
    cue = cue_of(keep=0)
    noting(cue)
    async with cue:
        handles = [await cue.submit("t", delay=n + 1) for n in range(2_000)]
        handles += [await cue.submit("t", run_at=EPOCH + n + 1) for n in range(2_000)]
        for handle in reversed(handles):
            assert await cue.cancel(handle)
        appointments = cue._core.appointments
        assert not appointments.works
        assert len(appointments._timed._heap) + len(appointments._dated._heap) <= 130
        await cue.drain()
        assert now() == 0.0


# --- drain and stop


@pytest.mark.rule(23, 40)
@pytest.mark.parametrize("how", ["drain", "stop", "stop twice", "async with"])
@virtual
async def test_an_end_waits_for_what_was_submitted_for_later(how: str) -> None:
    cue = cue_of()
    log = noting(cue)
    cue.start()
    await cue.submit("t", delay=TOMORROW)
    if how == "drain":
        summary = await cue.drain()
        assert summary.ok
        await cue.stop()
    elif how == "async with":
        await cue.__aexit__(None, None, None)
    else:
        stops = [cue.stop(delayed="wait") for _ in range(1 + (how == "stop twice"))]
        for summary in await asyncio.gather(*stops):
            assert summary.left == []
            assert summary.counts["completed"] == 1
    assert log == [("1", TOMORROW)]


@pytest.mark.rule(23, 40)
@virtual
async def test_a_stop_need_not_wait_for_it(caplog: pytest.LogCaptureFixture) -> None:
    cue = cue_of()
    recorder = Recorder(cue)
    log = noting(cue, takes=5.0)
    cue.start()
    await cue.submit("t")
    waiting = [await cue.submit("t", delay=TOMORROW), await cue.submit("t", run_at=EPOCH + TOMORROW)]
    summary = await cue.stop(delayed="cancel")
    assert now() == 5.0, "what can run has run"
    assert log == [("1", 0.0)]
    assert summary.left == [handle.work for handle in waiting]
    assert summary.blocked == []
    assert summary.counts == {"completed": 1, "skipped": 0, "failed": 0, "cancelled": 2}
    assert not summary.ok
    assert str(summary) == "1 completed, 2 cancelled before they were due in 5.00 s"
    assert [recorder.of(handle) for handle in waiting] == [["cancel"], ["cancel"]]
    with pytest.raises(runcue.WorkCancelled):
        await waiting[0].result()
    assert caplog.text == "", "it was asked for"


@pytest.mark.rule(23, 40)
@virtual
async def test_a_second_stop_ends_the_waiting_of_the_first_and_no_stop_begins_it_again() -> None:
    cue = cue_of()
    noting(cue)
    cue.start()
    await cue.submit("t", delay=TOMORROW)
    first = asyncio.create_task(cue.stop())
    await asyncio.sleep(10)
    second = await cue.stop(delayed="cancel")
    third = await cue.stop(delayed="wait")
    assert now() == 10.0
    assert [work.id for work in second.left] == ["1"]
    assert await first is second is third


@pytest.mark.rule(23, 40)
@pytest.mark.parametrize("options", [{"drain": False}, {"timeout": 0}, {"timeout": 7.0}])
@virtual
async def test_harder_stops_leave_what_was_to_run_later(options: dict[str, Any]) -> None:
    cue = cue_of()
    noting(cue)
    cue.start()
    handle = await cue.submit("t", delay=TOMORROW)
    summary = await cue.stop(**options)
    assert now() == options.get("timeout", 0.0)
    assert summary.left == [handle.work]
    assert summary.blocked == []
    assert handle.state is WorkState.CANCELLED


@pytest.mark.rule(23, 40)
@pytest.mark.parametrize("how", ["stop", "async with"])
@virtual
async def test_what_is_submitted_for_later_while_a_cue_ends_is_left_and_said(
    how: str, caplog: pytest.LogCaptureFixture
) -> None:
    cue = cue_of()
    handles: list[Any] = []

    @cue.task("nightly")
    async def nightly(work: runcue.Work) -> None:
        await asyncio.sleep(5)
        handles.append(await cue.submit("nightly", delay=TOMORROW))
        handles.append(await cue.submit("nightly", run_at=EPOCH + TOMORROW))
        assert handles[0].state is WorkState.PENDING

    cue.start()
    await cue.submit("nightly")
    await asyncio.sleep(1)
    if how == "stop":
        await cue.stop()
    else:
        await cue.__aexit__(None, None, None)
    summary = await cue.stop()
    assert now() == 5.0
    assert summary.left == [handle.work for handle in handles]
    assert [handle.state for handle in handles] == [WorkState.CANCELLED] * 2
    assert summary.counts["completed"] == 1
    [said] = [record.getMessage() for record in caplog.records]
    assert said.startswith("stop() cancelled 2 work units before they were due, to be submitted again: ")


@pytest.mark.rule(23)
@virtual
async def test_a_value_that_cannot_work_is_refused_by_stop_and_drain() -> None:
    cue = cue_of()
    noting(cue)
    async with cue:
        with pytest.raises(
            runcue.ConfigurationError, match=r'delayed of stop\(\) must be "wait" or "cancel"'
        ):
            await cue.stop(delayed="never")  # type: ignore[arg-type]
        for timeout in (-1, nan, "5", True):
            with pytest.raises(
                runcue.ConfigurationError,
                match=r"timeout of drain\(\) must be a number of seconds of at least 0",
            ):
                await cue.drain(timeout=timeout)  # type: ignore[arg-type]
        await (await cue.submit("t")).result()


@pytest.mark.rule(23)
@virtual
async def test_a_drain_with_a_time_out_lists_what_has_not_settled_and_cancels_nothing() -> None:
    cue = cue_of()
    cue.service("api", concurrent=1)
    noting(cue, uses="api", takes=4.0)
    async with cue:
        handles = [await cue.submit("t") for _ in range(4)]
        later = await cue.submit("t", delay=100)
        summary = await cue.drain(timeout=5.0)
        assert now() == 5.0
        assert summary.left == [handle.work for handle in [*handles[1:], later]]
        assert summary.counts["completed"] == 1
        assert str(summary) == "1 completed, 4 not settled yet in 5.00 s"
        assert not summary.ok
        assert (await cue.drain(timeout=0)).left == summary.left
        assert handles[1].state is WorkState.RUNNING
        assert (await cue.drain(timeout=1000)).left == []
        assert now() == 104.0


@pytest.mark.rule(23)
@virtual
async def test_a_drain_that_comes_to_rest_lists_what_is_blocked_among_what_is_left() -> None:
    cue = cue_of(recheck=False)
    noting(cue)
    cue.is_ready(lambda work: work.params != {})
    cue.start()
    handle = await cue.submit("t")
    summary = await cue.drain(timeout=60)
    assert now() < 60
    assert summary.left == [handle.work] == [entry["work"] for entry in summary.blocked]
    assert str(summary) == f"nothing ran, 1 blocked in {summary.duration:.2f} s"
    await cue.stop()


@pytest.mark.rule(23)
@pytest.mark.parametrize("kind", ["attempts=-1", "RetryLater"])
@pytest.mark.parametrize("waits", [True, False])
@virtual
async def test_a_stop_leaves_what_is_tried_without_end_and_tries_it_no_more(kind: str, waits: bool) -> None:
    cue = cue_of()
    tries: list[float] = []

    @cue.task("t", retry=runcue.Retry(attempts=-1, wait_initial=10, wait_exp_base=1, wait_jitter=0))
    async def t(work: runcue.Work) -> None:
        tries.append(now())
        await asyncio.sleep(1)
        if kind == "RetryLater":
            raise runcue.RetryLater(10)
        raise ValueError

    cue.start()
    handle = await cue.submit("t")
    await asyncio.sleep(5 if waits else 0.5)
    summary = await cue.stop()
    assert tries == [0.0]
    assert summary.left == [handle.work]
    assert now() == (5 if waits else 1)
    assert handle.state is WorkState.CANCELLED


@pytest.mark.rule(23)
@pytest.mark.parametrize("how", ["drain", "async with"])
@virtual
async def test_a_drain_and_the_clean_end_of_a_block_wait_for_what_is_tried_without_end(how: str) -> None:
    cue = cue_of()

    @cue.task("t", retry=runcue.Retry(attempts=-1, wait_initial=10, wait_exp_base=1, wait_jitter=0))
    async def t(work: runcue.Work) -> int:
        if work.attempt < 4:
            raise ValueError
        return work.attempt

    async with cue:
        handle = await cue.submit("t")
        if how == "drain":
            await cue.drain()
            assert handle.done()
    assert await handle.result() == 4
    assert now() == 30.0


@pytest.mark.rule(23, 40)
@virtual
async def test_a_drain_that_waits_for_an_instant_says_so(caplog: pytest.LogCaptureFixture) -> None:
    cue = cue_of()
    noting(cue)
    with caplog.at_level(logging.INFO, "runcue"):
        async with cue:
            await cue.submit("t", delay=TOMORROW)
            await cue.submit("t", delay=2 * TOMORROW)
            for seconds in (6, 70, 3600, TOMORROW + 70):
                asyncio.get_running_loop().call_later(seconds, print)
    assert caplog.messages[0] == (
        'Draining: 2 work units wait for their time, the first for another 24 h (stop(delayed="cancel") would not wait '
        "for them)"
    )
    assert [record.levelname for record in caplog.records].count("WARNING") == 2, "of each instant once"


# --- with artifacts


@pytest.mark.rule(27, 40)
@virtual
async def test_before_its_instant_a_maker_holds_up_only_readers_that_come_after_it() -> None:
    cue = cue_of()
    cue.service("api", concurrent=1)
    makers = noting(cue, "maker", outputs=Flag("made"), fresh=None)
    readers = noting(cue, "reader", inputs=Flag("made"), uses="api")
    noting(cue, "other", takes=2.0, uses="api")
    there(cue, Flag("made"))
    async with cue:
        await cue.submit("other")
        before = await cue.submit("reader")
        await cue.submit("maker", delay=10, force=True)
        after = await cue.submit("reader")
        await asyncio.sleep(3)
        assert before.done()
        assert after.state is WorkState.PENDING
        assert "maker" in str(cue.why(after))
    assert readers == [("2", 2.0), ("4", 10.0)]
    assert makers == [("3", 10.0)]


@pytest.mark.rule(27, 40)
@virtual
async def test_from_its_instant_on_a_maker_holds_up_all_readers() -> None:
    cue = cue_of(recheck=False)
    cue.service("slow", concurrent=1)
    noting(cue, "maker", takes=5.0, outputs=Flag("made"), fresh=None)
    readers = noting(cue, "reader", inputs=Flag("made"), uses="slow")
    noting(cue, "other", takes=20.0, uses="slow")
    there(cue, Flag("made"))
    async with cue:
        await cue.submit("other")
        await cue.submit("reader")
        await cue.submit("maker", delay=18, force=True)
    assert readers == [("2", 23.0)]


@pytest.mark.rule(27, 40)
@virtual
async def test_a_reader_that_was_held_goes_on_when_the_maker_is_cancelled() -> None:
    cue = cue_of(recheck=False)
    there = Flag("there")
    noting(cue, "maker", outputs=there)
    noting(cue, "reader", inputs=there)

    @cue.task("set", outputs=Flag("other"))
    async def set_it(work: runcue.Work) -> None: ...

    async with cue:
        maker = await cue.submit("maker", delay=1000)
        reader = await cue.submit("reader")
        await asyncio.sleep(1)
        await cue.cancel(maker)
        summary = await cue.drain()
        assert now() == 1.0
        assert [entry["work"] for entry in summary.blocked] == [reader.work]
        await cue.cancel(reader)


@pytest.mark.rule(28, 40)
@pytest.mark.parametrize("how", ["key", "outputs"])
@virtual
async def test_a_nightly_handler_submits_the_next_run_of_itself(how: str) -> None:
    cue = cue_of()
    began: list[tuple[str, float]] = []

    @cue.task(
        "nightly",
        key="report" if how == "key" else None,
        outputs=Flag("report") if how == "outputs" else None,
        fresh=None,
    )
    async def nightly(work: runcue.Work) -> str:
        began.append((work.id, now()))
        if len(began) < 4:
            handle = await cue.submit("nightly", params={"night": len(began)}, delay=TOMORROW, force=True)
            again = await cue.submit("nightly", params={"night": len(began)}, delay=TOMORROW, force=True)
            assert handle.state is again.state is WorkState.PENDING, (
                "not joined with this one, but with each other"
            )
        await asyncio.sleep(100)
        for output in work.outputs:
            output.set()
        return work.id

    async with cue:
        first = await cue.submit("nightly", params={"night": 0}, force=True)
        assert await first.result() == "1"
        await asyncio.sleep(5 * TOMORROW)
    assert began == [("1", 0.0), ("2", TOMORROW), ("4", 2 * TOMORROW), ("6", 3 * TOMORROW)]


@pytest.mark.rule(28, 40)
@pytest.mark.parametrize("how", ["key", "outputs"])
@virtual
async def test_a_run_whose_instant_comes_while_the_one_before_runs_has_its_turn_after_it(how: str) -> None:
    cue = cue_of()
    log = noting(cue, "t", takes=30.0, key="report" if how == "key" else None)
    options: dict[str, Any] = (
        {} if how == "key" else {"outputs": Flag("report"), "fresh": None, "force": True}
    )

    @cue.on_start
    def make(work: runcue.Work) -> None:
        for output in work.outputs:
            output.set()

    async with cue:
        await cue.submit("t", **options)
        await asyncio.sleep(1)
        second = await cue.submit("t", delay=10, **options)
        await asyncio.sleep(15)
        assert second.state is WorkState.PENDING
        assert "1" in str(cue.why(second))
        joined = await cue.submit("t", **options)
        assert joined.state is WorkState.RUNNING, "what is submitted for now joins the one that runs"
        assert await joined.result() == "1"
        assert await second.result() == "2"
    assert log == [("1", 0.0), ("2", 30.0)]
    assert not cue._core.dependencies.later
    assert not cue._core.dependencies.behind


# --- joining


def joining(cue: runcue.Cue, **options: Any) -> list[tuple[str, float]]:
    return noting(cue, key="same", **options)


@pytest.mark.rule(28, 40)
@virtual
async def test_who_joins_and_wants_it_at_once_lets_it_begin_at_once() -> None:
    cue = cue_of()
    log = joining(cue)
    async with cue:
        later = await cue.submit("t", delay=60)
        await asyncio.sleep(5)
        at_once = await cue.submit("t")
        assert await later.result() == await at_once.result() == "1"
    assert log == [("1", 5.0)]


@pytest.mark.rule(28, 40)
@pytest.mark.parametrize("by", ["delay", "run_at"])
@virtual
async def test_of_several_instants_the_first_counts_as_long_as_who_has_it_stays(by: str) -> None:
    cue = cue_of()
    log = joining(cue)

    def in_seconds(seconds: float) -> dict[str, float]:
        return {"delay": seconds} if by == "delay" else {"run_at": EPOCH + now() + seconds}

    async with cue:
        await cue.submit("t", delay=60)
        earlier = await cue.submit("t", **in_seconds(20))
        await cue.submit("t", **in_seconds(40))
        await cue.submit("t", **in_seconds(80))
        await cue.cancel(earlier)
    assert log == [("1", 40.0)]


@pytest.mark.rule(28, 40)
@pytest.mark.parametrize("phase", ["new", "ready", "not_ready", "held"])
@virtual
async def test_who_leaves_takes_the_earlier_instant_along(phase: str) -> None:
    cue = cue_of(recheck=False)
    cue.service("api", concurrent=1)
    ready = [phase != "not_ready"]
    made = Flag("made")
    options: dict[str, Any] = {"inputs": made} if phase == "held" else {}
    log = joining(cue, uses="api")
    if phase in ("ready", "not_ready"):
        cue.is_ready(task="t")(lambda work: ready[0])
    noting(cue, "other", takes=10.0, uses="api")

    @cue.task("maker", outputs=made)
    async def maker(work: runcue.Work) -> None:
        await asyncio.sleep(20)
        made.set()

    async with cue:
        await cue.submit("other")
        if phase == "held":
            await cue.submit("maker")
        later = await cue.submit("t", delay=60, **options)
        await asyncio.sleep(1)
        at_once = await cue.submit("t", **options)
        await asyncio.sleep(1)
        assert later.work._phase != 6
        await cue.cancel(at_once)
        await asyncio.sleep(1)
        assert cue.why(later).eta == pytest.approx(57.0)
        ready[0] = True
        await asyncio.sleep(30)
        assert log == []
    assert log == [(later, 60.0)]
    assert await later.result() == later


@pytest.mark.rule(28, 40)
@pytest.mark.parametrize("second", [{}, {"delay": 20}, {"delay": 90}])
@virtual
async def test_who_takes_the_place_of_a_cancelled_one_takes_its_instant_over(second: dict[str, Any]) -> None:
    cue = cue_of()
    cue.service("api", concurrent=1)
    log = joining(cue, uses="api")
    noting(cue, "other", takes=5.0, uses="api")
    async with cue:
        await cue.submit("other")
        leader = await cue.submit("t", delay=60)
        follower = await cue.submit("t", **second)
        await asyncio.sleep(1)
        await cue.cancel(leader)
        assert await follower.result() == follower
    assert log == [(follower, {None: 5.0, 20: 20.0, 90: 60.0}[second.get("delay")])]


@pytest.mark.rule(40, 28)
@pytest.mark.parametrize("runs_in", ["loop", "thread"])
@pytest.mark.parametrize("steps", range(6))
@virtual
async def test_who_leaves_in_whatever_step_before_the_start_takes_the_instant_along(
    steps: int, runs_in: str
) -> None:
    cue = cue_of()
    began: list[float] = []

    async def suspends(work: runcue.Work) -> None: ...

    def returns(work: runcue.Work) -> None: ...

    cue.task("t", key="k", uses=cue.service("one", concurrent=1))(suspends if runs_in == "loop" else returns)
    cue.is_ready(task="t")(lambda work: True)
    cue.on_start(lambda work: began.append(now()))
    async with cue:
        first = await cue.submit("t", delay=5)
        second = await cue.submit("t")
        for _ in range(steps):
            await asyncio.sleep(0)
        had_started = first.work.state is not WorkState.PENDING
        second.cancel()
        await first.wait()
    assert [round(at, 6) for at in began] == [0.0 if had_started else 5.0]


@pytest.mark.rule(28, 40)
@virtual
async def test_who_was_submitted_for_later_and_is_left_alone_waits_for_its_own_instant() -> None:
    cue = cue_of()
    cue.service("api", concurrent=1)
    log = joining(cue, uses="api")
    noting(cue, "other", takes=5.0, uses="api")
    async with cue:
        await cue.submit("other")
        leader = await cue.submit("t")
        follower = await cue.submit("t", delay=60)
        another = await cue.submit("t", run_at=EPOCH + 90)
        await asyncio.sleep(1)
        await cue.cancel(leader)
        assert await follower.result() == await another.result() == follower
    assert log == [(follower, 60.0)]


@pytest.mark.rule(28, 40)
@pytest.mark.parametrize("when", [lambda after: {"delay": after}, lambda after: {"run_at": EPOCH + after}])
@virtual
async def test_all_that_is_told_of_an_instant_is_about_the_first_of_all_who_have_joined(when: Any) -> None:
    cue = cue_of()
    log = noting(cue, key=lambda work: "one")

    def told() -> set[float | None]:
        """Every instant that the cue names at present, in seconds on the virtual clock."""
        found = {cue.why(one).eta for one in handles if one.state is WorkState.PENDING}
        found.add(cue.plan([]).runs[0].not_before - EPOCH)  # type: ignore[operator]
        words = [str(cue.why()), str(cue.plan([])), *(one["details"] for one in cue.debug_blocked())]
        found.update(float(text.rsplit("00:0", 1)[1][0]) * 60 for text in words if "00:0" in text)
        return found

    async with cue:
        handles = [await cue.submit("t", **how) for how in (when(420), when(180), when(120), {"delay": 300})]
        assert told() == {120}
        await cue.cancel(handles[2])
        assert told() == {180}, "whoever has lent the first has left"
        await cue.cancel(handles[0])
        assert told() == {180}, "the next one has taken its place, and waits for its own"
        await cue.cancel(handles[1])
        assert told() == {180}, "and so does the one after it, that has taken the instant over"
    assert [at for _, at in log] == [180]


@pytest.mark.rule(28, 40)
@virtual
async def test_nobody_lends_an_instant_to_what_waits_for_its_next_attempt() -> None:
    cue = cue_of()
    began: list[tuple[int, float]] = []

    @cue.task("t", key="same", retry=runcue.Retry(attempts=2, wait_initial=100, wait_max=100, wait_jitter=0))
    async def t(work: runcue.Work) -> None:
        began.append((work.attempt, now()))
        if work.attempt < 2:
            raise ValueError

    async with cue:
        await cue.submit("t", delay=10)
        await cue.submit("t", delay=50)
        await asyncio.sleep(20)
        await cue.submit("t")
        await cue.submit("t", delay=5)
    assert began == [(1, 10.0), (2, 110.0)]


@pytest.mark.rule(20, 28, 40)
@virtual
async def test_the_age_of_who_has_joined_counts_from_its_own_instant() -> None:
    cue = cue_of(pending_timeout=10, recheck=False)
    cue.is_ready(lambda work: False)
    joining(cue)
    ends: list[tuple[str, float]] = []
    cue.on_failure(lambda work, error: ends.append((work.id, now())))
    async with cue:
        await cue.submit("t")
        await cue.submit("t", delay=30)
        await asyncio.sleep(60)
    assert ends == [("1", 10.0), ("2", 40.0)]


@pytest.mark.rule(28, 40)
@virtual
async def test_all_who_were_submitted_for_later_and_have_joined_are_left_by_a_stop() -> None:
    cue = cue_of()
    joining(cue)
    cue.start()
    handles = [await cue.submit("t", delay=60 + n) for n in range(3)]
    summary = await cue.stop(delayed="cancel")
    assert summary.left == [handle.work for handle in handles]
    assert now() == 0.0


@pytest.mark.rule(23, 40)
@virtual
async def test_who_submits_again_whatever_a_stop_has_left_keeps_no_stop_from_ending() -> None:
    cue = cue_of()
    noting(cue)

    @cue.on_cancel
    async def again(work: runcue.Work) -> None:
        await cue.submit("t", delay=TOMORROW)

    for delayed in ("cancel", "wait"):
        cue.start()
        await cue.submit("t", delay=60 if delayed == "wait" else TOMORROW)
        ending = asyncio.create_task(cue.stop(delayed=delayed))  # type: ignore[arg-type]
        await asyncio.sleep(1)
        if delayed == "wait":
            for work in await cue.list(state=WorkState.PENDING):
                await cue.cancel(work)
        summary = await ending
        assert now() <= 100
        assert len(summary.left) <= 110


@pytest.mark.rule(23, 40)
@virtual
async def test_what_was_submitted_for_later_at_the_end_and_waits_again_does_not_keep_the_end() -> None:
    cue = cue_of()
    cue.service("one", concurrent=1)
    cue.task("t", key="key", uses="one")(lambda work: None)
    handles: list[runcue.WorkHandle] = []

    @cue.task("busy", uses="one")
    async def busy(work: runcue.Work) -> None:
        await asyncio.sleep(20)

    @cue.task("ends")
    async def ends(work: runcue.Work) -> None:
        await asyncio.sleep(1)
        handles.append(await cue.submit("t", delay=TOMORROW))
        at_once = await cue.submit("t")  # which lets the other one go on at once, as long as it stays
        await asyncio.sleep(1)
        at_once.cancel()

    async with cue:
        await cue.submit("busy")
        await cue.submit("ends")
    assert now() == 20.0
    assert handles[0].state is WorkState.CANCELLED


@pytest.mark.rule(28, 40)
@pytest.mark.parametrize("asked", ["before", "after"])
@virtual
async def test_who_takes_the_place_of_one_for_later_holds_up_whom_that_has_held_up(asked: str) -> None:
    cue = cue_of()
    log: list[str] = []
    made = Flag("made")
    made.set()

    async def notes(work: runcue.Work) -> None:
        log.append(f"{work.task} at {now():g}")

    cue.task("make", outputs=made)(notes)
    cue.task("read", inputs=made)(notes)
    async with cue:
        first = await cue.submit("make", delay=60, force=True)
        await cue.submit("read", delay=None if asked == "before" else 20)
        await cue.submit("make", delay=100, force=True)
        await asyncio.sleep(10)
        first.cancel()
    assert log == ["make at 60", "read at 60"], "the reader came after the place that it has taken"


@pytest.mark.rule(28, 40)
@virtual
async def test_who_leaves_while_an_async_gate_is_asked_takes_the_instant_along_too() -> None:
    cue = cue_of()
    log = joining(cue)

    @cue.is_ready
    async def slowly(work: runcue.Work) -> bool:
        await asyncio.sleep(2)
        return True

    async with cue:
        await cue.submit("t", delay=60)
        await asyncio.sleep(1)
        at_once = await cue.submit("t")
        await asyncio.sleep(1)
        await cue.cancel(at_once)
    assert log == [("1", 62.0)]


@pytest.mark.rule(39, 40)
@virtual
async def test_what_must_complete_is_waited_for_until_its_instant_unless_the_stop_says_otherwise() -> None:
    cue = cue_of()
    log = noting(cue, must_complete=True)
    for delayed, completed in (("wait", 1), ("cancel", 0)):
        cue.start()
        await cue.submit("t", delay=50)
        summary = await cue.stop(drain=False, delayed=delayed)  # type: ignore[arg-type]
        assert summary.counts["completed"] == completed
    assert log == [("1", 50.0)]
    assert now() == 50.0


@pytest.mark.rule(28)
@pytest.mark.parametrize("gone", ["follower", "leader"])
@virtual
async def test_who_joins_for_later_and_leaves_keeps_no_other_from_its_start(gone: str) -> None:
    cue = runcue.Cue()
    asked: list[float] = []

    @cue.task("t", outputs=Flag("made"))
    async def t(work: runcue.Work) -> None:
        work.outputs[0].set()

    @cue.is_ready(task="t")
    async def ready(work: runcue.Work) -> bool:
        asked.append(now())
        await asyncio.sleep(0.3)
        return True

    cue.start()
    first = await cue.submit("t")
    await asyncio.sleep(0.1)
    followers = [await cue.submit("t", delay=60 if gone == "follower" else None) for _ in range(2)]
    (first if gone == "leader" else followers[0]).cancel()
    followers[1].cancel()
    async with asyncio.timeout(10):
        await cue.stop()
    assert len(asked) <= 3
    assert now() <= 1


@pytest.mark.rule(27, 28)
@pytest.mark.parametrize("gone", [False, True])
@virtual
async def test_who_takes_the_place_of_a_reader_waits_for_who_makes_its_input_later_as_well(
    gone: bool, tmp_path: Path
) -> None:
    cue = cue_of()
    begun: list[tuple[str, float]] = []
    made, other, read = (tmp_path / name for name in ("made", "other", "read"))
    made.write_text("old")
    other.write_text("old")

    @cue.task("write")
    async def write(work: runcue.Work) -> None:
        begun.append((work.id, now()))
        work.outputs[0].path.write_text("new")

    cue.start()
    # All that is about files is known by now.
    await cue.submit("write", inputs=made, outputs=other, force=True)
    await cue.submit("write", outputs=made, force=True, delay=10)
    readers = [await cue.submit("write", inputs=made, outputs=read, force=True) for _ in range(3)]
    await asyncio.sleep(1)
    if gone:
        readers[0].cancel()
    await asyncio.sleep(20)
    assert begun == [("1", 0.0), ("2", 10.0), (readers[gone], 10.0)]
    await cue.stop()
