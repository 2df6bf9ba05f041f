"""How work units end: exactly once, whatever is raised; what is kept of them; what happens when runcue itself fails."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
import pickle
import threading
import time
import weakref
from collections.abc import Callable
from contextvars import Context
from typing import Any

import pytest

import runcue
from runcue.testing import FakeExecutor, Recorder, VirtualTimeLoop, run
from tests.support.virtual_time import now

SETTLING = {"complete", "failure", "skip", "cancel"}


class Odd(BaseException):
    """Neither an Exception nor one of Python's own exits."""


class Unlike(Exception):
    """An exception that cannot be copied: its arguments are not those of its constructor."""

    def __init__(self, code: int, *, reason: str) -> None:
        super().__init__(f"{reason} ({code})")


def tasks_for(cue: runcue.Cue, kind: str, body: Callable[[runcue.Work], Any], **options: Any) -> None:
    """Registers task "t" with that body: in a thread, or async before or after its first suspension."""
    if kind == "sync":

        @cue.task("t", **options)
        def in_a_thread(work: runcue.Work) -> Any:
            return body(work)

    elif kind == "async":

        @cue.task("t", **options)
        async def at_once(work: runcue.Work) -> Any:
            return body(work)

    else:

        @cue.task("t", **options)
        async def suspended(work: runcue.Work) -> Any:
            await asyncio.sleep(1)
            return body(work)


def raises(error: BaseException) -> Callable[[runcue.Work], Any]:
    def body(work: runcue.Work) -> Any:
        raise error

    return body


KINDS = pytest.mark.parametrize("kind", ["sync", "async", "suspended"])
EXITS = [asyncio.CancelledError("x"), SystemExit("x"), Odd("x"), GeneratorExit("x")]


@pytest.mark.rule(16)
@KINDS
def test_a_handler_that_returns_is_completed_once(kind: str) -> None:
    async def main() -> None:
        cue = runcue.Cue()
        recorder = Recorder(cue)
        tasks_for(cue, kind, lambda work: work.params["n"] * 2)
        async with cue:
            handles = [await cue.submit("t", params={"n": n}) for n in range(10)]
            assert [await handle.result() for handle in handles] == [2 * n for n in range(10)]
        for handle in handles:
            assert recorder.of(handle) == ["start", "complete"]
            assert handle.work.state is runcue.WorkState.COMPLETED
            assert handle.work.attempt == 1

    run(main)


@pytest.mark.rule(16)
@KINDS
@pytest.mark.parametrize(
    "error", [ValueError("x"), Unlike(7, reason="odd"), ExceptionGroup("both", [ValueError()])]
)
def test_a_handler_that_raises_fails_its_work_once_and_result_raises_it(kind: str, error: Exception) -> None:
    async def main() -> None:
        cue = runcue.Cue()
        recorder = Recorder(cue)
        tasks_for(cue, kind, raises(error))
        async with cue:
            handle = await cue.submit("t")
            with pytest.raises(type(error)) as caught:
                await handle.result()
            assert caught.value is error
            with pytest.raises(type(error)) as caught_later:
                await handle.result()
            assert str(caught_later.value) == str(error)
        assert recorder.of(handle) == ["start", "failure"]
        assert handle.work.state is runcue.WorkState.FAILED
        assert handle.work.error == str(error)
        assert isinstance(handle.work.exception, type(error))

    run(main)


@pytest.mark.rule(16)
@KINDS
@pytest.mark.parametrize("error", EXITS, ids=lambda error: type(error).__name__)
def test_what_is_no_exception_fails_the_work_once_and_ends_no_waiter(kind: str, error: BaseException) -> None:
    async def main() -> None:
        cue = runcue.Cue()
        recorder = Recorder(cue)
        tasks_for(cue, kind, raises(error))
        cue.task("fine")(lambda work: "fine")
        async with cue:
            handle = await cue.submit("t")
            for _ in range(2):
                with pytest.raises(runcue.HandlerExited) as caught:
                    await handle.result()
                assert type(caught.value.__cause__) is type(error)
                assert type(error).__name__ in str(caught.value)
            me = asyncio.current_task()
            assert me is not None
            assert not me.cancelling()
            assert await (await cue.submit("fine")).result() == "fine"  # the scheduler goes on
        assert recorder.of(handle) == ["start", "failure"]
        assert handle.work.state is runcue.WorkState.FAILED

    run(main)


@pytest.mark.rule(16)
def test_a_stop_iteration_out_of_a_thread_is_a_failure_like_any_other() -> None:
    async def main() -> None:
        cue = runcue.Cue()
        recorder = Recorder(cue)
        tasks_for(cue, "sync", lambda work: next(iter([])))
        async with cue:
            handle = await cue.submit("t")
            assert (await handle.wait()).state is runcue.WorkState.FAILED
            with pytest.raises(Exception, match="StopIteration"):
                await handle.result()
        assert recorder.of(handle) == ["start", "failure"]

    run(main)


@pytest.mark.rule(16)
@KINDS
def test_a_keyboard_interrupt_settles_its_work_and_then_propagates(kind: str) -> None:
    cue = runcue.Cue()
    recorder = Recorder(cue)
    tasks_for(cue, kind, raises(KeyboardInterrupt()))
    handles: list[runcue.WorkHandle] = []

    async def main() -> None:
        cue.start()
        handles.append(await cue.submit("t"))
        await asyncio.sleep(1000)

    with pytest.raises(KeyboardInterrupt):
        run(main)
    assert recorder.of(handles[0]) == ["start", "failure"]
    assert isinstance(handles[0].exception(), runcue.HandlerExited)


@pytest.mark.rule(16)
@pytest.mark.parametrize("gate", ["plain", "async"])
def test_a_work_that_is_up_to_date_is_skipped_once_and_never_started(gate: str) -> None:
    async def later(work: runcue.Work) -> bool:
        await asyncio.sleep(1)
        return False

    async def main() -> None:
        cue = runcue.Cue()
        recorder = Recorder(cue)
        tasks_for(cue, "async", lambda work: "ran")
        cue.is_stale(later if gate == "async" else lambda work: False)
        async with cue:
            handle = await cue.submit("t")
            assert await handle.result() is None
        assert recorder.of(handle) == ["skip"]
        assert handle.work.state is runcue.WorkState.COMPLETED
        assert handle.work.skipped

    run(main)


@pytest.mark.rule(16)
def test_every_kind_of_end_is_one_event_and_the_summary_counts_them() -> None:
    async def main() -> None:
        cue = runcue.Cue(pending_timeout=50, run_in=FakeExecutor(5))
        recorder = Recorder(cue)
        cue.service("one", concurrent=1)
        cue.task("returns", uses="one")(lambda work: None)
        cue.task("raises", uses="one")(raises(ValueError()))
        cue.task("exits", uses="one")(raises(SystemExit()))
        cue.task("overdue", timeout=7)(lambda work: asyncio.sleep(100))
        cue.task("cancelled running")(lambda work: asyncio.sleep(100))
        for name in ("skipped", "cancelled pending", "never ready"):
            cue.task(name)(lambda work: None)
        cue.is_stale(task="skipped")(lambda work: False)
        cue.is_ready(task="cancelled pending")(lambda work: False)
        cue.is_ready(task="never ready")(lambda work: False)
        cue.start()
        handles = {name: await cue.submit(name) for name in cue._core.tasks}
        await asyncio.sleep(10)
        await cue.cancel(handles["cancelled running"])
        await cue.cancel(handles["cancelled pending"])
        await asyncio.sleep(60)
        last = await cue.submit("never ready")
        summary = await cue.stop()
        assert {name: recorder.of(handle) for name, handle in handles.items()} == {
            "returns": ["start", "complete"],
            "raises": ["start", "failure"],
            "exits": ["start", "failure"],
            "overdue": ["start", "failure"],
            "cancelled running": ["start", "cancel"],
            "skipped": ["skip"],
            "cancelled pending": ["cancel"],
            "never ready": ["failure"],
        }
        assert recorder.of(last) == ["cancel"]
        assert summary.counts == {"completed": 1, "skipped": 1, "failed": 4, "cancelled": 3}
        assert {work.task for work in summary.failed} == {"raises", "exits", "overdue", "never ready"}
        assert len(summary.failed) == 4

    run(main)


@pytest.mark.rule(16)
def test_result_of_a_cancelled_work_raises_and_does_not_cancel_the_waiter() -> None:
    async def main() -> None:
        async with runcue.Cue() as cue:
            tasks_for(cue, "suspended", lambda work: None)
            handle = await cue.submit("t")
            waiter = asyncio.create_task(handle.result())
            await asyncio.sleep(0.5)
            await cue.cancel(handle)
            with pytest.raises(runcue.WorkCancelled, match=str(handle)):
                await waiter
            assert not waiter.cancelled()

    run(main)


@pytest.mark.rule(16)
def test_a_thread_that_cannot_be_started_fails_its_work_and_no_other() -> None:
    class NoMoreThreads(FakeExecutor):
        full = True

        def submit(
            self, work: Any, handler: Callable[[Any], Any], context: Context, *, stamped: bool
        ) -> None:
            if self.full:
                raise RuntimeError("can't start new thread")
            super().submit(work, handler, context, stamped=stamped)

    async def main() -> None:
        executor = NoMoreThreads()
        cue = runcue.Cue(run_in=executor)
        recorder = Recorder(cue)
        cue.service("one", concurrent=1, rate="2/min")
        cue.task("t", uses="one")(lambda work: "ran")
        async with cue:
            handle = await cue.submit("t")
            with pytest.raises(RuntimeError, match="new thread"):
                await handle.result()
            executor.full = False
            assert await (await cue.submit("t")).result() == "ran"
        assert recorder.of(handle) == ["start", "failure"]

    run(main)


@pytest.mark.rule(16)
def test_a_handler_that_cancels_its_own_asyncio_task_ends_its_own_work_only() -> None:
    async def main() -> None:
        cue = runcue.Cue()
        recorder = Recorder(cue)
        cue.service("one", concurrent=1)

        @cue.task("cancels itself", uses="one")
        async def cancels_itself(work: runcue.Work) -> None:
            me = asyncio.current_task()
            assert me is not None
            me.cancel()
            if work.params["suspends"]:
                await asyncio.sleep(1)

        @cue.task("innocent", uses="one")
        async def innocent(work: runcue.Work) -> str:
            await asyncio.sleep(1)
            return "done"

        async with cue:
            guilty, neighbours = [], []
            for suspends in (False, True):
                guilty.append(await cue.submit("cancels itself", params={"suspends": suspends}))
                neighbours.append(await cue.submit("innocent"))
            assert [await handle.result() for handle in neighbours] == ["done", "done"]
        assert all(len(SETTLING & set(recorder.of(handle))) == 1 for handle in guilty)
        assert recorder.of(guilty[1]) == ["start", "cancel"]

    run(main)


@pytest.mark.rule(17)
@pytest.mark.parametrize("phase", ["not asked", "not ready", "service full", "being asked"])
def test_cancelling_pending_work_settles_it_at_once_and_it_never_runs(phase: str) -> None:
    async def never(work: runcue.Work) -> bool:
        await asyncio.sleep(5)
        return True

    async def main() -> None:
        cue = runcue.Cue()
        recorder = Recorder(cue)
        cue.service("one", concurrent=1)
        tasks_for(cue, "suspended", lambda work: "ran", uses="one")
        cue.task("other", uses="one")(lambda work: asyncio.sleep(3))
        if phase == "not ready":
            cue.is_ready(task="t")(lambda work: False)
        elif phase == "being asked":
            cue.is_ready(task="t")(never)
        cue.start()
        if phase == "service full":
            await cue.submit("other")
        handle = await cue.submit("t")
        if phase != "not asked":
            await asyncio.sleep(1)
        assert handle.work.state is runcue.WorkState.PENDING
        assert await cue.cancel(handle) is True
        assert handle.work.state is runcue.WorkState.CANCELLED
        assert handle.work.cancelled
        assert recorder.of(handle) == ["cancel"]
        assert await cue.cancel(handle) is False
        after = await cue.submit("other")
        await after.result()  # the slot is free again
        await cue.stop()
        assert recorder.of(handle) == ["cancel"]

    run(main)


@pytest.mark.rule(17)
def test_cancelling_running_async_work_settles_it_at_once_and_cancels_its_coroutine() -> None:
    async def main() -> None:
        cue = runcue.Cue()
        recorder = Recorder(cue)
        cue.service("one", concurrent=1)
        ended: list[float] = []

        @cue.task("t", uses="one")
        async def t(work: runcue.Work) -> None:
            try:
                await asyncio.sleep(100)
            except asyncio.CancelledError:
                assert work.cancelled
                await asyncio.sleep(5)  # its clean-up; the slot stays taken
                ended.append(now())
                raise

        cue.task("next", uses="one")(lambda work: None)
        cue.start()
        handle = await cue.submit("t")
        after = await cue.submit("next")
        await asyncio.sleep(1)
        assert await cue.cancel(handle)
        assert handle.work.state is runcue.WorkState.CANCELLED
        assert recorder.of(handle) == ["start", "cancel"]
        await after.result()
        assert ended == [6]
        assert now() == 6
        await cue.stop()
        assert recorder.of(handle) == ["start", "cancel"]

    run(main)


@pytest.mark.rule(17)
@pytest.mark.parametrize("ends", ["returns", "raises"])
def test_a_coroutine_that_suppresses_its_cancellation_stays_cancelled(ends: str) -> None:
    async def main() -> None:
        cue = runcue.Cue()
        recorder = Recorder(cue)

        @cue.task("t")
        async def t(work: runcue.Work) -> str:
            try:
                await asyncio.sleep(100)
            except asyncio.CancelledError:
                await asyncio.sleep(5)
            if ends == "raises":
                raise ValueError
            return "too late"

        cue.start()
        handle = await cue.submit("t")
        await asyncio.sleep(1)
        await cue.cancel(handle)
        await cue.stop()
        assert now() == 6
        assert recorder.of(handle) == ["start", "cancel"]
        assert handle.work.result is None

    run(main)


@pytest.mark.rule(17)
def test_cancelling_work_in_a_thread_settles_it_at_once_and_keeps_its_slot_until_the_thread_returns() -> None:
    async def main() -> None:
        cue = runcue.Cue()
        recorder = Recorder(cue)
        cue.service("one", concurrent=1)
        entered, may_end = threading.Event(), threading.Event()
        saw: list[bool] = []

        @cue.task("t", uses="one")
        def t(work: runcue.Work) -> str:
            saw.append(work.cancelled)
            entered.set()
            may_end.wait(30)
            saw.append(work.cancelled)
            return "too late"

        @cue.task("next", uses="one")
        async def following(work: runcue.Work) -> None: ...

        cue.start()
        handle = await cue.submit("t")
        after = await cue.submit("next")
        await asyncio.to_thread(entered.wait, 30)
        assert await cue.cancel(handle)
        assert handle.work.state is runcue.WorkState.CANCELLED
        with pytest.raises(runcue.WorkCancelled):
            await handle.result()
        for _ in range(20):  # as often as it may look: the slot stays taken
            await asyncio.sleep(0)
        assert after.work.state is runcue.WorkState.PENDING
        [blocked] = cue.debug_blocked()
        assert (blocked["work"].id, blocked["reason"]) == (after, "service_full")
        may_end.set()
        await after.result()
        await cue.stop()
        assert saw == [False, True]
        assert recorder.of(handle) == ["start", "cancel"]
        assert handle.work.result is None

    asyncio.run(main())


@pytest.mark.rule(17)
@pytest.mark.parametrize("suspends", ["never", "before", "after"])
def test_a_handler_may_cancel_its_own_work(suspends: str) -> None:
    async def main() -> None:
        cue = runcue.Cue()
        recorder = Recorder(cue)
        went_on: list[str] = []

        @cue.task("t")
        async def t(work: runcue.Work) -> str:
            if suspends == "before":
                await asyncio.sleep(1)
            await cue.cancel(work.id)
            if suspends != "never":
                await asyncio.sleep(1)
                went_on.append("went on")
            return "too late"

        cue.task("fine")(lambda work: "fine")
        cue.start()
        handle = await cue.submit("t")
        with pytest.raises(runcue.WorkCancelled):
            await handle.result()
        assert await (await cue.submit("fine")).result() == "fine"
        await cue.stop()
        assert recorder.of(handle) == ["start", "cancel"]
        assert went_on == []

    run(main)


@pytest.mark.rule(17)
def test_cancelling_what_is_unknown_or_settled_is_no_error_and_changes_nothing() -> None:
    async def main() -> None:
        async with runcue.Cue() as cue:
            tasks_for(cue, "async", lambda work: "done")
            handle = await cue.submit("t")
            assert await handle.result() == "done"
            assert await cue.cancel(handle) is False
            assert await cue.cancel("no such work") is False
            assert handle.work.state is runcue.WorkState.COMPLETED

    run(main)


@pytest.mark.rule(18)
@pytest.mark.parametrize("keep", [0, 1, 5])
def test_the_last_settled_work_units_are_kept_and_handles_hold_their_own(keep: int) -> None:
    async def main() -> None:
        async with runcue.Cue(keep=keep) as cue:
            tasks_for(cue, "suspended", lambda work: work.params["n"])
            never_ready = cue.task("waits")(lambda work: None)
            cue.is_ready(task="waits")(lambda work: False)
            waiting = await cue.submit(never_ready)
            handles = []
            for n in range(20):
                handles.append(await cue.submit("t", params={"n": n}))
                await handles[-1].result()
            known = [work.id for work in await cue.list(task="t")]
            assert known == (handles[-keep:] if keep else [])
            assert [await cue.get(handle) is not None for handle in handles] == [False] * (20 - keep) + [
                True
            ] * keep
            assert await cue.get(waiting) is waiting.work  # unsettled work units are always known
            assert [await handle.result() for handle in handles] == list(range(20))
            assert [(await handle.wait()).state for handle in handles] == [runcue.WorkState.COMPLETED] * 20

    run(main)


@pytest.mark.rule(18)
def test_a_handle_is_a_plain_str_in_every_respect() -> None:
    async def main() -> runcue.WorkHandle:
        async with runcue.Cue() as cue:
            cue.task("t")(lambda work: None)
            return await cue.submit("t")

    handle = run(main)
    plain = str(handle)
    assert isinstance(handle, str)
    assert type(plain) is str
    assert handle == plain == handle.work.id
    assert hash(handle) == hash(plain)
    assert {plain: 1}[handle] == 1
    assert {handle, plain} == {plain}
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        copy = pickle.loads(pickle.dumps(handle, protocol))
        assert type(copy) is str
        assert copy == plain


def hidden_in(body: Callable[[Any], None]) -> tuple[Callable[[runcue.Work], None], weakref.WeakSet[Any]]:
    """A handler with a large local, and the set that tells whether it is alive."""
    alive: weakref.WeakSet[Any] = weakref.WeakSet()

    class Large:
        pass

    def handler(work: runcue.Work) -> None:
        local = Large()
        alive.add(local)
        body(local)

    return handler, alive


async def gone(alive: weakref.WeakSet[Any]) -> None:
    """Waits until nothing in there is alive: a thread that has told its result may need a moment to let go of it."""
    deadline = time.monotonic() + 5
    gc.collect()
    while alive and threading.active_count() > 1 and time.monotonic() < deadline:
        await asyncio.to_thread(time.sleep, 0.01)
        gc.collect()
    assert list(alive) == []


def _plain(local: Any) -> None:
    raise ValueError("plain")


def _chained(local: Any) -> None:
    try:
        _plain(local)
    except ValueError as error:
        raise KeyError("chained") from error


def _in_context(local: Any) -> None:
    try:
        _plain(local)
    except ValueError:
        raise KeyError("in context")  # noqa: B904 - that is the case


def _grouped(local: Any) -> None:
    try:
        _chained(local)
    except KeyError as error:
        raise ExceptionGroup("group", [error, ValueError()]) from error


def _uncopyable(local: Any) -> None:
    raise Unlike(7, reason="odd")


def _exits(local: Any) -> None:
    raise SystemExit(3)


FAILURES = pytest.mark.parametrize("body", [_plain, _chained, _in_context, _grouped, _uncopyable, _exits])


@pytest.mark.rule(18)
@FAILURES
@KINDS
def test_a_kept_error_holds_no_frames(body: Callable[[Any], None], kind: str) -> None:
    async def main() -> None:
        async with runcue.Cue() as cue:
            cue.on_failure(lambda work, error: None)
            handler, alive = hidden_in(body)
            tasks_for(cue, kind, handler)
            handle = await cue.submit("t")
            work = await handle.wait()
            await cue.drain()
            assert work.exception is not None
            await gone(alive)

    run(main)


@pytest.mark.rule(18)
@FAILURES
def test_an_error_that_was_raised_to_waiters_holds_no_frames_afterwards(body: Callable[[Any], None]) -> None:
    async def main() -> None:
        async with runcue.Cue() as cue:
            handler, alive = hidden_in(body)
            tasks_for(cue, "suspended", handler)
            handle = await cue.submit("t")

            async def waits() -> None:
                mine = type("Mine", (), {})()
                alive.add(mine)
                try:
                    await handle.result()
                except Exception:
                    return
                pytest.fail("it did not raise")

            await asyncio.gather(waits(), waits())  # while it runs
            await waits()  # and when it has settled
            await waits()
            assert handle.work.exception is not None
            await gone(alive)

    run(main)


@pytest.mark.rule(18)
def test_a_kept_error_is_told_with_its_type_text_and_cause() -> None:
    async def main() -> None:
        async with runcue.Cue() as cue:
            tasks_for(cue, "async", lambda work: _chained(None))
            handle = await cue.submit("t")
            error = (await handle.wait()).exception
            assert isinstance(error, KeyError)
            assert error.args == ("chained",)
            assert isinstance(error.__cause__, ValueError)
            assert handle.work.error == "'chained'"

    run(main)


@pytest.mark.rule(18)
@KINDS
def test_nothing_is_left_of_work_units_that_were_forgotten(kind: str) -> None:
    class Result:
        pass

    async def main() -> None:
        alive: weakref.WeakSet[Any] = weakref.WeakSet()
        async with runcue.Cue(keep=10) as cue:
            cue.service("some", concurrent=5, rate="100000/sec")

            def body(work: runcue.Work) -> Result:
                result = Result()
                alive.update((work, result, work.params["input"]))
                return result

            tasks_for(cue, kind, body, uses="some", timeout=1000)
            cue.is_ready(lambda work: True)
            cue.on_complete(lambda work, result, duration: None)
            for _ in range(30):
                for _ in range(10):
                    await cue.submit("t", params={"input": Result()})
                await cue.drain()
            gc.collect()
            assert len(alive) <= 3 * 10

    run(main)


@pytest.mark.rule(18)
def test_memory_does_not_grow_with_the_number_of_work_units_ever_run() -> None:
    import tracemalloc

    async def main() -> None:
        async with runcue.Cue(keep=50, pending_timeout=100, pending_warn_after=100, stall_timeout=100) as cue:
            cue.service("some", concurrent=20)
            ready = [False]

            @cue.task("t", uses="some")
            async def t(work: runcue.Work) -> None:
                if work.params["n"] % 3:
                    await asyncio.sleep(0.001)
                if work.params["n"] % 5 == 0:
                    raise ValueError

            cue.task("waits")(t)
            cue.is_ready(task="waits")(lambda work: ready[0])
            cue.on_failure(lambda work, error: None)

            async def some() -> int:
                for n in range(500):
                    await cue.submit("t", params={"n": n})
                    handle = await cue.submit("waits", params={"n": n})
                    if n % 2:
                        await cue.cancel(handle)
                ready[0] = True
                cue.nudge()
                await cue.drain()
                ready[0] = False
                gc.collect()
                return tracemalloc.get_traced_memory()[0]

            tracemalloc.start()
            try:
                await some()
                first = await some()
                for _ in range(4):
                    last = await some()
            finally:
                tracemalloc.stop()
            assert last - first < 50_000  # 4,000 work units of at least 500 bytes each would be 2,000,000

    run(main)


class BrokenClock:
    """A clock that fails when it is asked for a timer later than an hour."""

    def __init__(self, loop: VirtualTimeLoop) -> None:
        self._clock = loop.runcue_clock
        self.monotonic = self._clock.monotonic
        self.time = self._clock.time
        self.hold = self._clock.hold
        self.release = self._clock.release

    def call_at(self, when: float, callback: Callable[[], object], *, passive: bool, context: Context) -> Any:
        if when > 3600:
            raise OverflowError("no such instant")
        return self._clock.call_at(when, callback, passive=passive, context=context)


def cue_that_will_fail() -> runcue.Cue:
    """A cue in which work with a rate of one per day breaks the scheduler by the second start."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    loop.runcue_clock = BrokenClock(loop)
    cue = runcue.Cue()
    cue.service("daily", rate="1/day")
    cue.task("breaks", uses="daily")(lambda work: None)

    @cue.task("runs")
    async def runs(work: runcue.Work) -> None:
        await asyncio.sleep(1000)

    return cue


@pytest.mark.rule(19)
def test_a_failing_scheduler_reaches_everyone_who_waits_and_every_later_call(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        cue = cue_that_will_fail()
        cue.start()
        running = await cue.submit("runs")
        waiting = [asyncio.create_task(call) for call in (running.result(), running.wait(), cue.drain())]
        await asyncio.sleep(1)
        stopping = asyncio.create_task(cue.drain())
        for _ in range(2):
            handle = await cue.submit("breaks")
        for call in (*waiting, stopping):
            with pytest.raises(runcue.CueFailed, match="no such instant") as caught:
                await call
            assert isinstance(caught.value.__cause__, OverflowError)
        assert now() == 1
        for later in (handle.result, handle.wait, cue.drain, lambda: cue.submit("runs"), cue.stop):
            with pytest.raises(runcue.CueFailed, match="no such instant"):
                await later()
        with pytest.raises(runcue.CueFailed):
            cue.start()
        assert now() <= 2

    run(main)
    [record] = [record for record in caplog.records if record.levelno == logging.CRITICAL]
    assert record.exc_info is not None


@pytest.mark.rule(19)
def test_a_failing_scheduler_reaches_a_stop_that_waits() -> None:
    async def main() -> None:
        cue = cue_that_will_fail()
        cue.start()

        @cue.task("submits")
        async def submits(work: runcue.Work) -> None:
            await asyncio.sleep(10)
            for _ in range(2):
                await cue.submit("breaks")

        await cue.submit("submits")
        with pytest.raises(runcue.CueFailed):
            await cue.stop()

    run(main)


@pytest.mark.rule(19)
def test_a_failing_scheduler_reaches_the_end_of_async_with() -> None:
    async def main() -> None:
        with pytest.raises(runcue.CueFailed):  # noqa: PT012 - what is raised comes out of the `with`
            async with cue_that_will_fail() as cue:
                for _ in range(2):
                    await cue.submit("breaks")

    run(main)


@pytest.mark.rule(19)
def test_a_failing_scheduler_reaches_threads_that_submit() -> None:
    async def main() -> None:
        cue = cue_that_will_fail()
        cue.start()
        for _ in range(2):
            await cue.submit("breaks")
        await asyncio.sleep(1)
        with pytest.raises(runcue.CueFailed):
            await asyncio.to_thread(cue.submit_threadsafe, "runs")

    run(main)


def elsewhere(call: Callable[[], Any]) -> BaseException | None:
    """Calls it in an event loop of another thread. Returns what it raised."""
    raised: list[BaseException] = []

    async def main() -> None:
        outcome = call()
        if asyncio.iscoroutine(outcome):
            await outcome

    def target() -> None:
        try:
            asyncio.run(main())
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=target)
    thread.start()
    thread.join(30)
    assert not thread.is_alive()
    return raised[0] if raised else None


CALLS: dict[str, Callable[[runcue.Cue, runcue.WorkHandle], Any]] = {
    "submit": lambda cue, handle: cue.submit("t"),
    "cancel": lambda cue, handle: cue.cancel(handle),
    "drain": lambda cue, handle: cue.drain(),
    "stop": lambda cue, handle: cue.stop(),
    "start": lambda cue, handle: cue.start(),
    "result": lambda cue, handle: handle.result(),
    "wait": lambda cue, handle: handle.wait(),
}


@pytest.mark.rule(19)
@pytest.mark.parametrize("call", CALLS)
def test_use_from_another_loop_is_an_error_that_names_submit_threadsafe(call: str) -> None:
    async def main() -> None:
        async with runcue.Cue() as cue:
            cue.service("one", concurrent=1)
            tasks_for(cue, "suspended", lambda work: None, uses="one")
            handle = await cue.submit("t")
            error = elsewhere(lambda: CALLS[call](cue, handle))
            assert isinstance(error, runcue.WrongLoop)
            assert "submit_threadsafe" in str(error)
            assert len(await cue.list()) == 1
            assert handle.work.state is runcue.WorkState.PENDING

    run(main)


@pytest.mark.rule(19)
def test_a_settled_work_may_be_read_from_anywhere() -> None:
    async def main() -> None:
        async with runcue.Cue() as cue:
            cue.task("t")(lambda work: 5)
            handle = await cue.submit("t")
            await handle.wait()
            assert elsewhere(handle.result) is None

    run(main)


@pytest.mark.rule(19)
@pytest.mark.parametrize("gate", [None, "plain", "async"])
def test_work_units_that_suspend_share_their_asyncio_task_with_no_other_work(gate: str | None) -> None:
    async def yes(work: runcue.Work) -> bool:
        await asyncio.sleep(0)
        return True

    async def main() -> None:
        suspended: list[Any] = []
        others: list[Any] = []
        async with runcue.Cue() as cue:
            cue.service("some", concurrent=3)
            if gate:
                cue.is_ready(yes if gate == "async" else lambda work: True)

            @cue.task("t", uses="some")
            async def t(work: runcue.Work) -> None:
                me = asyncio.current_task()
                (suspended if work.params["n"] % 3 else others).append(me)
                if work.params["n"] % 3:
                    await asyncio.sleep(work.params["n"] % 2)
                    assert asyncio.current_task() is me

            for n in range(60):
                await cue.submit("t", params={"n": n})
        assert len(suspended) == len(set(suspended)) == 40
        # One that never suspends may go before it in the same Task, but nothing comes after it.
        assert len(others) == 20

    run(main)


@pytest.mark.rule(19)
def test_nothing_runs_in_the_task_of_a_work_after_it_has_suspended() -> None:
    async def main() -> None:
        ended: set[Any] = set()
        async with runcue.Cue() as cue:
            cue.service("one", concurrent=1)

            @cue.task("t", uses="one")
            async def t(work: runcue.Work) -> None:
                assert asyncio.current_task() not in ended
                if work.params["n"] % 2:
                    await asyncio.sleep(0)
                    ended.add(asyncio.current_task())

            handles = [await cue.submit("t", params={"n": n}) for n in range(30)]
            for handle in handles:
                await handle.result()
            assert len(ended) == 15

    run(main)


@pytest.mark.rule(19)
@KINDS
def test_each_work_has_contextvars_of_its_own_as_of_its_submission(kind: str) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")

    async def main() -> None:
        async with runcue.Cue() as cue:
            cue.service("one", concurrent=1)

            def body(work: runcue.Work) -> str:
                found = variable.get()
                variable.set(f"left by {work.id}")
                return found

            tasks_for(cue, kind, body, uses="one")
            handles = [await cue.submit("t")]
            for n in range(5):
                variable.set(f"submitted {n}")
                handles += [await cue.submit("t"), await cue.submit("t")]
            found = [await handle.result() for handle in handles]
            assert found == ["unset"] + [f"submitted {n}" for n in range(5) for _ in range(2)]
            assert variable.get() == "submitted 4"

    run(main)


@pytest.mark.rule(19)
def test_a_contextvar_set_before_a_suspension_is_there_after_it() -> None:
    variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable")

    async def main() -> None:
        async with runcue.Cue() as cue:

            @cue.task("t")
            async def t(work: runcue.Work) -> bool:
                token = variable.set(work.params["n"])
                for _ in range(3):
                    await asyncio.sleep(1)
                    assert variable.get() == work.params["n"]
                variable.reset(token)  # a token is valid in its own context only
                return variable.get(None) is None

            handles = [await cue.submit("t", params={"n": n}) for n in range(5)]
            assert all([await handle.result() for handle in handles])

    run(main)


@pytest.mark.rule(19)
def test_asyncio_timeouts_and_task_groups_work_inside_of_handlers() -> None:
    async def main() -> None:
        async with runcue.Cue() as cue:

            @cue.task("t")
            async def t(work: runcue.Work) -> str:
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(1):
                        await asyncio.sleep(5)
                with pytest.raises(ExceptionGroup):  # noqa: PT012 - what is raised comes out of the group
                    async with asyncio.TaskGroup() as group:
                        group.create_task(asyncio.sleep(100))
                        group.create_task(_fail())
                return "done"

            async def _fail() -> None:
                await asyncio.sleep(1)
                raise ValueError

            handles = [await cue.submit("t") for _ in range(5)]
            assert [await handle.result() for handle in handles] == ["done"] * 5
            assert now() == 2

    run(main)


def test_a_nudge_may_come_from_any_thread() -> None:
    async def main() -> None:
        opened = threading.Event()
        cue = runcue.Cue(recheck=False)

        @cue.task("enter")
        async def enter(work: runcue.Work) -> str:
            return "entered"

        @cue.is_ready
        def is_ready(work: runcue.Work) -> bool:
            return opened.is_set()

        async with cue:
            handle = await cue.submit("enter")
            await asyncio.sleep(0.01)

            def open_up() -> None:
                opened.set()
                cue.nudge()

            threading.Thread(target=open_up).start()
            assert await asyncio.wait_for(handle.result(), 20) == "entered"

    asyncio.run(main())


@pytest.mark.rule(16, 24)
def test_at_the_next_start_what_ran_in_a_loop_that_ended_is_settled_and_what_was_asked_is_asked_anew() -> (
    None
):
    cue = runcue.Cue()
    cue.service("one", concurrent=1)
    heard = Recorder(cue)
    handles: list[runcue.WorkHandle] = []

    @cue.task("hang", uses="one")
    async def hang(work: runcue.Work) -> None:
        await asyncio.Event().wait()

    @cue.task("ask")
    async def ask(work: runcue.Work) -> str:
        return "asked"

    @cue.is_ready(task="ask")
    async def is_ready(work: runcue.Work) -> bool:
        if len(handles) < 3:
            await asyncio.Event().wait()
        return True

    async def first() -> None:
        cue.start()
        handles.append(await cue.submit("hang"))
        handles.append(await cue.submit("ask"))
        await asyncio.sleep(0.01)

    loop = VirtualTimeLoop()
    loop.run_until_complete(first())
    loop.close()  # without the courtesy of cancelling its tasks

    async def second() -> None:
        cue.start()
        handles.append(await cue.submit("ask"))
        assert await handles[2].result() == "asked"
        await cue.stop()

    run(second())
    assert [heard.of(handle)[-1] for handle in handles] == ["cancel", "complete", "complete"]
