"""`runcue.testing`: the virtual clock, the fake executor and the recorder, as a user's own tests would use them."""

from __future__ import annotations

import asyncio
import contextvars
import socket
import threading
import time
from typing import Any

import pytest

import runcue
from runcue.testing import EPOCH, FakeExecutor, NothingLeft, Recorder, VirtualTimeLoop, run
from tests.support.virtual_time import now


async def nothing(work: runcue.Work) -> None: ...


def test_an_hour_of_rate_limits_takes_no_time() -> None:
    async def main() -> float:
        cue = runcue.Cue()
        recorder = Recorder(cue)
        cue.service("api", rate="60/min")
        cue.task("t", uses="api")(nothing)
        async with cue:
            for _ in range(3600):
                await cue.submit("t")
        starts = recorder.times("start")
        assert starts[::60] == [60.0 * minute for minute in range(60)]
        return now()

    began = time.monotonic()
    assert run(main) == 59 * 60
    assert time.monotonic() - began < 30


def test_time_begins_at_nought_and_passes_only_when_everything_waits() -> None:
    async def main() -> list[float]:
        times = [now()]
        time.sleep(0.01)  # noqa: ASYNC251 - it is to block
        await asyncio.sleep(0)
        times.append(now())
        await asyncio.sleep(5)
        times.append(now())
        await asyncio.gather(asyncio.sleep(3), asyncio.sleep(7))
        times.append(now())
        return times

    assert run(main) == [0, 0, 5, 12]


def test_timers_come_in_their_order_and_at_their_very_instants() -> None:
    async def main() -> list[tuple[float, str]]:
        heard: list[tuple[float, str]] = []
        loop = asyncio.get_running_loop()
        for delay, name in ((3, "c"), (1, "a"), (3, "d"), (2, "b"), (1e-12, "soon"), (0.1 + 0.2, "x")):
            loop.call_later(delay, lambda name=name: heard.append((now(), name)))
        loop.call_later(2.5, pytest.fail, "it was cancelled").cancel()
        await asyncio.sleep(10)
        return heard

    heard = run(main)
    assert [name for _, name in heard] == ["soon", "x", "a", "b", "c", "d"]
    assert [when for when, _ in heard] == [1e-12, 0.1 + 0.2, 1, 2, 3, 3]


def test_asyncios_own_timeouts_live_in_virtual_time() -> None:
    async def main() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1_000_000):
                await asyncio.Event().wait()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.sleep(100), 50)
        return now()

    assert run(main) == 1_000_050


def test_far_instants_are_reached_without_spinning() -> None:
    async def main() -> float:
        await asyncio.sleep(1e9 + 0.1)
        await asyncio.sleep(1e-9)
        await asyncio.sleep(0.7 / 3)
        return now()

    assert run(main) == pytest.approx(1e9 + 0.1 + 0.7 / 3)


def test_run_gives_and_raises_what_main_does() -> None:
    async def five() -> int:
        return 5

    async def fails() -> None:
        raise ZeroDivisionError

    assert run(five) == run(five()) == 5
    with pytest.raises(ZeroDivisionError):
        run(fails)


def test_two_runs_of_the_same_program_are_the_same() -> None:
    async def main() -> list[tuple[str, str, float]]:
        cue = runcue.Cue(id_prefix="w")
        recorder = Recorder(cue)
        cue.service("api", rate="3/min", concurrent=2)
        cue.task("t", uses="api")(lambda work: asyncio.sleep(work.params["n"]))
        async with cue:
            for n in range(20):
                await cue.submit("t", params={"n": n})
        return [(heard.event, heard.work.id, heard.time) for heard in recorder.events]

    assert run(main) == run(main)


def test_stamps_of_work_units_begin_at_the_epoch_of_virtual_time() -> None:
    async def main() -> None:
        async with runcue.Cue() as cue:
            cue.task("t")(nothing)
            await asyncio.sleep(60)
            handle = await cue.submit("t")
            await handle.wait()
            assert handle.work.created_at == handle.work.started_at == EPOCH + 60

    run(main)


def test_waiting_for_what_can_never_happen_is_an_error_at_once_that_names_the_waiter() -> None:
    async def waits_in_vain() -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        await asyncio.sleep(7)
        await asyncio.create_task(waits_in_vain())

    began = time.monotonic()
    with pytest.raises(NothingLeft, match=r"virtual time 7; .*waits_in_vain") as caught:
        run(main)
    assert isinstance(caught.value, runcue.RuncueError)
    assert time.monotonic() - began < 30


def test_a_lost_wake_up_fails_at_once() -> None:
    """With the recheck off, a work whose input comes from outside and without a nudge never runs; that is told."""

    async def main(recheck: bool) -> None:
        cue = runcue.Cue(recheck=recheck)
        cue.task("t")(nothing)
        cue.is_ready(lambda work: False)
        cue.start()
        await (await cue.submit("t")).result()

    for recheck in (False, True):
        with pytest.raises(NothingLeft):
            run(main(recheck))


def test_passive_timers_let_no_time_pass_by_themselves_but_come_when_it_does() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        heard: list[tuple[str, float]] = []
        context = contextvars.copy_context()
        for when in (2, 1, 5, 30):
            loop.call_passive(when, lambda when=when: heard.append((when, now())), context)
        loop.call_passive(3, lambda: pytest.fail("it was cancelled"), context).cancel()
        await asyncio.sleep(0)
        assert heard == []
        await asyncio.sleep(10)
        await asyncio.sleep(0)
        # Time jumped from 0 to 10 for another reason; they come in order.
        assert heard == [(1, 10), (2, 10), (5, 10)]

    run(main)


def test_a_recheck_comes_when_time_passes_for_another_reason() -> None:
    async def main() -> None:
        ready: list[bool] = []
        async with runcue.Cue() as cue:
            cue.task("t")(nothing)
            cue.is_ready(lambda work: bool(ready))
            handle = await cue.submit("t")
            await asyncio.sleep(1)
            ready.append(True)
            assert handle.work.state is runcue.WorkState.PENDING
            await asyncio.sleep(1)
            await asyncio.sleep(0.01)
            assert handle.work.state is runcue.WorkState.COMPLETED

    run(main)


def test_time_stands_still_while_a_sync_handler_is_in_its_thread() -> None:
    async def main() -> None:
        async with runcue.Cue() as cue:

            @cue.task("t")
            def t(work: runcue.Work) -> str:
                time.sleep(0.05)
                return threading.current_thread().name

            ticks: list[float] = []
            asyncio.get_running_loop().call_later(10, lambda: ticks.append(now()))
            handle = await cue.submit("t")
            assert await handle.result() != threading.main_thread().name
            assert now() == 0
            assert ticks == []
            await asyncio.sleep(20)
            assert ticks == [10]

    run(main)


def test_to_thread_works_and_lets_no_time_pass() -> None:
    async def main() -> None:
        assert await asyncio.to_thread(lambda: time.sleep(0.02) or 5) == 5
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(lambda: 1 / 0)
        assert now() == 0
        await asyncio.sleep(1)
        assert now() == 1

    run(main)


@pytest.mark.parametrize("order", [None, *range(10)])
def test_what_is_due_comes_while_a_thread_is_at_work(order: int | None) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        for callback_of_the_same_instant in range(20):
            heard = threading.Event()
            waiting = asyncio.ensure_future(asyncio.to_thread(heard.wait, 30))
            await asyncio.sleep(0)
            # Whatever turn it is, it comes: the thread waits for it.
            for _ in range(callback_of_the_same_instant):
                loop.call_later(0, int)
            loop.call_later(0, heard.set)
            assert await waiting
        assert now() == 0

    run(main, order=order)


def test_hold_lets_real_sockets_be_waited_for() -> None:
    async def main() -> bytes:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            threading.Timer(0.05, theirs.send, (b"hello",)).start()
            loop.hold()
            try:
                received = await loop.sock_recv(ours, 5)
            finally:
                loop.release()
        assert now() == 0
        return received

    assert run(main) == b"hello"


def test_a_fake_executor_runs_sync_handlers_in_the_loop_after_a_time_of_your_choice() -> None:
    async def main() -> None:
        executor = FakeExecutor(2.5)
        cue = runcue.Cue(run_in=executor)
        durations: list[float] = []
        cue.on_complete(lambda work, result, duration: durations.append(duration))
        cue.service("some", concurrent=2)
        names: list[str] = []
        cue.task("t", uses="some")(lambda work: names.append(threading.current_thread().name))
        async with cue:
            for _ in range(4):
                await cue.submit("t")
        assert now() == 5
        assert durations == [2.5] * 4
        assert set(names) == {threading.current_thread().name}
        assert (executor.in_flight, executor.most_in_flight) == (0, 2)

    run(main)


def test_a_fake_executors_time_may_depend_on_the_work() -> None:
    async def main() -> None:
        cue = runcue.Cue(run_in=FakeExecutor(lambda work: work.params["seconds"]))
        recorder = Recorder(cue)
        cue.task("t")(lambda work: None)
        async with cue:
            for seconds in (3, 1, 2):
                await cue.submit("t", params={"seconds": seconds})
        assert recorder.times("complete") == [1, 2, 3]
        assert [heard.work.params["seconds"] for heard in recorder.events if heard.event == "complete"] == [
            1,
            2,
            3,
        ]

    run(main)


@pytest.mark.parametrize("error", [ValueError("x"), SystemExit("x"), asyncio.CancelledError("x")])
def test_what_a_handler_raises_in_a_fake_executor_fails_its_work(error: BaseException) -> None:
    def fails(work: runcue.Work) -> None:
        raise error

    async def main() -> None:
        async with runcue.Cue(run_in=FakeExecutor(1)) as cue:
            cue.task("t")(fails)
            handle = await cue.submit("t")
            with pytest.raises(ValueError if isinstance(error, ValueError) else runcue.HandlerExited):
                await handle.result()

    run(main)


def test_a_fake_executor_keeps_contextvars_and_rates_like_the_real_one() -> None:
    variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable")

    async def main() -> None:
        cue = runcue.Cue(run_in=FakeExecutor(1))
        recorder = Recorder(cue)
        cue.service("api", rate="1/min")
        cue.task("t", uses="api")(lambda work: variable.get())
        async with cue:
            handles = []
            for n in range(3):
                variable.set(n)
                handles.append(await cue.submit("t"))
            assert [await handle.result() for handle in handles] == [0, 1, 2]
        assert recorder.times("start") == [0, 60, 120]

    run(main)


def test_a_cancelled_work_keeps_its_slot_in_a_fake_executor_until_its_time_is_over() -> None:
    async def main() -> None:
        cue = runcue.Cue(run_in=FakeExecutor(10))
        cue.service("one", concurrent=1)
        cue.task("t", uses="one")(lambda work: now())
        cue.start()
        first, second = await cue.submit("t"), await cue.submit("t")
        await asyncio.sleep(1)
        await cue.cancel(first)
        assert await second.result() == 20
        await cue.stop()

    run(main)


def test_a_fake_executor_can_be_stopped_and_started_again() -> None:
    async def main() -> None:
        executor = FakeExecutor(10)
        cue = runcue.Cue(run_in=executor)
        cue.service("one", concurrent=1)
        recorder = Recorder(cue)
        cue.task("t", uses="one")(lambda work: "done")
        cue.start()
        abandoned = await cue.submit("t")
        await asyncio.sleep(1)
        await cue.stop(timeout=0)
        cue.start()
        handles = [await cue.submit("t") for _ in range(2)]
        assert [await handle.result() for handle in handles] == ["done", "done"]
        await cue.stop()
        assert recorder.of(abandoned) == ["start", "cancel"]
        # The slots of the two were their own: the late return of the abandoned one gave none away.
        assert recorder.times("complete") == [11, 21]
        assert executor.in_flight == 0

    run(main)


def test_a_recorder_notes_what_was_heard_when_and_with_what() -> None:
    async def main() -> None:
        cue = runcue.Cue()
        recorder = Recorder(cue)

        @cue.task("t")
        async def t(work: runcue.Work) -> Any:
            await asyncio.sleep(3)
            if work.params["n"] == 1:
                raise ValueError("no")
            return "yes"

        cue.is_stale(lambda work: work.params["n"] != 2)
        cue.start()
        handles = [await cue.submit("t", params={"n": n}) for n in range(4)]
        await asyncio.sleep(1)
        await cue.cancel(handles[3])
        await cue.stop()
        assert [recorder.of(handle) for handle in handles] == [
            ["start", "complete"],
            ["start", "failure"],
            ["skip"],
            ["start", "cancel"],
        ]
        assert recorder.counts() == {"start": 3, "complete": 1, "failure": 1, "skip": 1, "cancel": 1}
        assert recorder.times("start") == [0, 0, 0]
        assert recorder.times("cancel") == [1]
        assert recorder.times("complete") == [3]
        values = {heard.event: heard.value for heard in recorder.events}
        assert values["complete"] == "yes"
        assert isinstance(values["failure"], ValueError)
        assert values["cancel"] is None
        first = recorder.events[0]
        assert (first.event, first.time) in {("start", 0), ("skip", 0)}
        assert recorder.of("unknown") == []

    run(main)
