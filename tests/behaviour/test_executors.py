"""`run_in=`: any object that is a `runcue.abc.Executor` runs the handlers of a task, beside threads for another."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context, ContextVar
from typing import Any

import pytest

import runcue
import runcue.abc
from runcue.testing import FakeExecutor, Recorder, run

LOOPS = ["asyncio", "uvloop"]


def run_on(loop: str, main: Callable[[], Any]) -> Any:
    """Runs an async function on a real loop of that kind."""
    factory = None
    if loop == "uvloop":
        factory = pytest.importorskip("uvloop").new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main())


class PoolExecutor:
    """A second real executor: a pool of the standard library, with what a user would write around it."""

    def __init__(self, size: int = 2) -> None:
        self.size = size
        self.starts = 0
        self.stops = 0
        self.pool: ThreadPoolExecutor | None = None

    def start(
        self,
        deliver: runcue.abc.Deliver,
        entered: Callable[[Any, float], None],
        clock: runcue.abc.Clock,
    ) -> None:
        self.starts += 1
        self.pool = ThreadPoolExecutor(self.size, thread_name_prefix="pool")
        self.deliver, self.entered, self.clock = deliver, entered, clock
        self.loop = asyncio.get_running_loop()

    def submit(self, work: Any, handler: Callable[[Any], Any], context: Context, *, stamped: bool) -> None:
        assert self.pool is not None
        self.pool.submit(self._run, work, handler, context, stamped)

    def _run(self, work: Any, handler: Callable[[Any], Any], context: Context, stamped: bool) -> None:
        began = self.clock.monotonic()
        if stamped:
            self.loop.call_soon_threadsafe(self.entered, work, began)
        try:
            succeeded, outcome = True, context.run(handler, work)
        except BaseException as error:
            succeeded, outcome = False, error
        self.loop.call_soon_threadsafe(self.deliver, work, succeeded, outcome, began, self.clock.monotonic())

    def stop(self) -> None:
        self.stops += 1
        assert self.pool is not None
        self.pool.shutdown(wait=False)


def thread_name(work: runcue.Work) -> str:
    return threading.current_thread().name


@pytest.mark.rule(9)
@pytest.mark.parametrize("loop", LOOPS)
def test_each_task_runs_where_it_says_and_the_others_in_threads(loop: str) -> None:
    async def main() -> tuple[list[str], PoolExecutor]:
        cue, pool = runcue.Cue(), PoolExecutor()
        cue.task("pool", run_in=pool)(thread_name)
        cue.task("thread", run_in="thread")(lambda work: thread_name(work))
        cue.task("usual")(lambda work: thread_name(work))

        @cue.task("loop", run_in="loop")
        async def on_the_loop(work: runcue.Work) -> str:
            return thread_name(work)

        async with cue:
            handles = [await cue.submit(name) for name in ("pool", "thread", "usual", "loop")]
            return [await handle.result() for handle in handles], pool

    names, pool = run_on(loop, main)
    assert names[0].startswith("pool")
    assert names[1].startswith("runcue-")
    assert names[2].startswith("runcue-")
    assert names[3] == threading.current_thread().name
    assert (pool.starts, pool.stops) == (1, 1)


def test_a_fake_executor_for_one_task_stands_beside_threads_for_another() -> None:
    async def main() -> tuple[list[Any], float]:
        cue = runcue.Cue()
        cue.task("slow", run_in=FakeExecutor(3600.0))(thread_name)
        cue.task("quick")(lambda work: thread_name(work))
        async with cue:
            slow, quick = await cue.submit("slow"), await cue.submit("quick")
            return [await slow.result(), await quick.result()], asyncio.get_running_loop().time()

    (slow, quick), time = run(main)
    assert slow == threading.current_thread().name
    assert quick.startswith("runcue-")
    assert time == 3600.0


@pytest.mark.rule(7)
@pytest.mark.rule(8)
@pytest.mark.parametrize("loop", LOOPS)
def test_a_rate_is_stamped_by_what_the_executor_says_of_the_entry(loop: str) -> None:
    async def main() -> list[float]:
        cue, pool = runcue.Cue(), PoolExecutor(1)
        cue.service("api", rate="4/sec")
        entered: list[float] = []
        clock = asyncio.get_running_loop()
        cue.task("call", uses="api", run_in=pool)(lambda work: entered.append(clock.time()))
        async with cue:
            for _ in range(9):
                await cue.submit("call")
        return entered

    entered = run_on(loop, main)
    assert len(entered) == 9
    # uvloop reads its clock once per turn, in whole milliseconds; the rate itself is held by the monotonic clock.
    assert all(later - earlier >= 0.99 for earlier, later in zip(entered, entered[4:], strict=False))


@pytest.mark.rule(3)
@pytest.mark.rule(6)
def test_tasks_of_one_service_in_different_executors_share_its_slots_and_its_order() -> None:
    async def main() -> tuple[list[str], int]:
        cue = runcue.Cue()
        cue.service("knife", concurrent=1)
        one, two = FakeExecutor(1.0), FakeExecutor(1.0)
        cue.task("one", uses="knife", run_in=one)(lambda work: None)
        cue.task("two", uses="knife", run_in=two)(lambda work: None)

        @cue.task("three", uses="knife")
        async def three(work: runcue.Work) -> None:
            await asyncio.sleep(1.0)

        recorder = Recorder(cue)
        async with cue:
            for name in ("one", "two", "three", "two", "one"):
                await cue.submit(name)
        started = [heard.work.task for heard in recorder.events if heard.event == "start"]
        return started, max(one.most_in_flight, two.most_in_flight)

    assert run(main) == (["one", "two", "three", "two", "one"], 1)


@pytest.mark.rule(9)
def test_without_a_service_each_executor_has_as_many_slots_as_max_threads_says() -> None:
    async def main() -> tuple[int, int, list[str]]:
        cue = runcue.Cue(max_threads=3)
        one, two = FakeExecutor(1.0), FakeExecutor(1.0)
        cue.task("one", run_in=one)(lambda work: None)
        cue.task("two", run_in=two)(lambda work: None)
        async with cue:
            for _ in range(10):
                await cue.submit("one")
                await cue.submit("two")
            await asyncio.sleep(0.5)
            blocked = [found["details"] for found in cue.debug_blocked()]
        return one.most_in_flight, two.most_in_flight, blocked

    one, two, blocked = run(main)
    assert (one, two) == (3, 3)
    assert set(blocked) == {"FakeExecutor: all 3 slots in use"}


@pytest.mark.rule(9)
def test_an_executor_gets_the_submitters_context() -> None:
    variable: ContextVar[str] = ContextVar("variable", default="nobody")

    async def main() -> str:
        cue = runcue.Cue(run_in=FakeExecutor())
        cue.task("t")(lambda work: variable.get())
        async with cue:
            variable.set("submitter")
            handle = await cue.submit("t")
            variable.set("later")
            return str(await handle.result())

    assert run(main) == "submitter"


@pytest.mark.rule(8)
@pytest.mark.parametrize("tells", ["never", "late"])
def test_an_executor_that_tells_of_the_entry_late_or_never_loses_no_token(tells: str) -> None:
    class Silent(FakeExecutor):
        def start(self, deliver: Any, entered: Any, clock: Any) -> None:
            def deliver_then_tell(
                work: Any, succeeded: bool, outcome: Any, began: float, left: float
            ) -> None:
                deliver(work, succeeded, outcome, began, left)
                if tells == "late":
                    entered(work, began)

            super().start(deliver_then_tell, lambda work, began: None, clock)

    async def main() -> float:
        cue = runcue.Cue()
        cue.service("api", rate="1/sec")
        cue.task("t", uses="api", run_in=Silent())(lambda work: None)
        async with cue:
            for _ in range(4):
                await cue.submit("t")
        return asyncio.get_running_loop().time()

    assert run(main) == 3.0


@pytest.mark.rule(16)
def test_what_an_executor_raises_when_it_is_given_a_handler_fails_that_work_unit_alone() -> None:
    class Refusing(FakeExecutor):
        def submit(self, work: Any, handler: Any, context: Context, *, stamped: bool) -> None:
            if work.params["number"] == 1:
                raise OSError("no more processes")
            super().submit(work, handler, context, stamped=stamped)

    async def main() -> runcue.Summary:
        cue = runcue.Cue()
        cue.service("api", concurrent=1, rate="60/min")
        cue.task("t", uses="api", run_in=Refusing())(lambda work: None)
        cue.on_failure(lambda work, error: None)
        async with cue:
            for number in range(3):
                await cue.submit("t", params={"number": number})
            return await cue.drain()

    summary = run(main)
    assert summary.counts == {"completed": 2, "skipped": 0, "failed": 1, "cancelled": 0}
    assert isinstance(summary.failed[0].exception, OSError)


@pytest.mark.rule(19)
def test_an_executor_in_use_by_another_cue_is_a_usage_error_and_nothing_is_started() -> None:
    async def main() -> None:
        shared = FakeExecutor()
        first, second = runcue.Cue(run_in=shared), runcue.Cue()
        first.task("t")(lambda work: "first")
        second.task("t", run_in=shared)(lambda work: "second")
        first.start()
        with pytest.raises(runcue.UsageError, match="in use by another cue"):
            second.start()
        with pytest.raises(runcue.UsageError, match="needs a started cue"):
            await second.drain()
        await first.stop()
        async with second:
            assert await (await second.submit("t")).result() == "second"

    run(main)


def test_an_executor_that_comes_after_the_start_is_started_at_once() -> None:
    async def main() -> tuple[str, int, int]:
        cue, pool = runcue.Cue(), PoolExecutor()
        async with cue:
            cue.task("late", run_in=pool)(thread_name)
            name = await (await cue.submit("late")).result()
        return name, pool.starts, pool.stops

    name, starts, stops = run_on("asyncio", main)
    assert name.startswith("pool")
    assert (starts, stops) == (1, 1)


def test_an_executor_in_use_cannot_be_taken_by_a_task_that_is_registered_later() -> None:
    async def main() -> None:
        shared = FakeExecutor()
        first, second = runcue.Cue(run_in=shared), runcue.Cue()
        first.task("t")(lambda work: "first")
        async with first, second:
            with pytest.raises(runcue.UsageError, match="in use by another cue"):
                second.task("t", run_in=shared)(lambda work: "second")
            assert second.get_task("t") is None

    run(main)


def test_an_executor_is_started_once_per_start_of_the_cue_and_can_be_used_again() -> None:
    async def main() -> tuple[int, int]:
        cue, pool = runcue.Cue(), PoolExecutor()
        cue.task("a", run_in=pool)(thread_name)
        cue.task("b", run_in=pool)(lambda work: thread_name(work))
        for _ in range(2):
            async with cue:
                await (await cue.submit("a")).result()
                await (await cue.submit("b")).result()
        return pool.starts, pool.stops

    assert run_on("asyncio", main) == (2, 2)


def test_an_executor_that_fails_to_start_leaves_the_cue_as_it_was() -> None:
    class Broken(FakeExecutor):
        def start(self, *args: Any) -> None:
            raise OSError("no such cluster")

    async def main() -> tuple[int, int]:
        cue, pool = runcue.Cue(), PoolExecutor()
        cue.task("good", run_in=pool)(thread_name)
        cue.task("bad", run_in=Broken())(lambda work: None)
        with pytest.raises(OSError, match="no such cluster"):
            cue.start()
        with pytest.raises(runcue.UsageError, match="needs a started cue"):
            await cue.drain()
        return pool.starts, pool.stops

    assert run_on("asyncio", main) == (1, 1)


@pytest.mark.parametrize("value", [7, "processes", FakeExecutor, object(), lambda work: None])
def test_what_is_no_executor_is_refused_in_the_line_of_the_mistake(value: Any) -> None:
    cue = runcue.Cue()
    with pytest.raises(runcue.ConfigurationError, match="run_in of task 't' must be"):
        cue.task("t", run_in=value)
    with pytest.raises(runcue.ConfigurationError, match="run_in must be"):
        runcue.Cue(run_in=value)


def test_a_handler_is_refused_where_it_cannot_run() -> None:
    cue = runcue.Cue()

    async def async_handler(work: runcue.Work) -> None: ...

    with pytest.raises(runcue.ConfigurationError, match="is an async def and runs on the event loop"):
        cue.task("t", run_in="thread")(async_handler)
    with pytest.raises(runcue.ConfigurationError, match="run_in must be"):
        runcue.Cue(run_in="loop")  # type: ignore[arg-type]
    assert cue.tasks() == []


class Sorry(FakeExecutor):
    """Raises when it is stopped."""

    def stop(self) -> None:
        raise OSError("the cluster is gone")


@pytest.mark.rule(13)
def test_an_executor_that_raises_in_stop_is_told_of_and_the_others_are_stopped(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> tuple[str, int]:
        cue, pool = runcue.Cue(), PoolExecutor()
        cue.task("bad", run_in=Sorry())(lambda work: None)
        cue.task("good", run_in=pool)(lambda work: None)
        async with cue:
            await cue.submit("good")
        return repr(cue), pool.stops

    said, stops = run_on("asyncio", main)
    assert said.startswith("<Cue stopped")
    assert stops == 1
    assert "stop() of executor" in caplog.text


@pytest.mark.rule(16)
def test_an_executor_that_answers_twice_settles_once() -> None:
    class Twice(FakeExecutor):
        def start(self, deliver: Any, entered: Any, clock: Any) -> None:
            def both(*answer: Any) -> None:
                deliver(*answer)
                deliver(*answer)

            super().start(both, entered, clock)

    async def main() -> runcue.Summary:
        cue = runcue.Cue(run_in=Twice(1.0))
        cue.service("api", concurrent=1)
        cue.task("t", uses="api")(lambda work: None)
        async with cue:
            for _ in range(3):
                await cue.submit("t")
            return await cue.drain()

    assert run(main).counts["completed"] == 3


def test_a_refused_task_does_not_use_its_executor() -> None:
    async def main() -> str:
        executor = FakeExecutor()
        first, second = runcue.Cue(), runcue.Cue(run_in=executor)
        first.task("t")(lambda work: "one")
        with pytest.raises(runcue.DuplicateTask):
            first.task("t", run_in=executor)(thread_name)
        second.task("t")(lambda work: "two")
        async with first, second:
            return str(await (await second.submit("t")).result())

    assert run(main) == "two"


def test_observers_hear_how_long_a_cancelled_handler_ran() -> None:
    heard: list[float] = []

    class Durations(runcue.Observer):
        def settled(self, work: runcue.Work, duration: float) -> None:
            heard.append(duration)

    async def main() -> None:
        cue = runcue.Cue()
        cue.task("t")(lambda work: None)

        @cue.task("long")
        async def long(work: runcue.Work) -> None:
            await asyncio.sleep(100)

        cue.observe(Durations())
        async with cue:
            handle = await cue.submit("long")
            await asyncio.sleep(10)
            await cue.cancel(handle)

    run(main)
    assert heard == [10.0]
