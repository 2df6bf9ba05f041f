"""Gates, priorities and listeners: what is awaited, what a failing one does, what is said about slow ones."""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import Callable
from typing import Any

import pytest

import runcue
from runcue.testing import FakeExecutor, Recorder, VirtualTimeLoop, run

LISTENERS = ["on_submit", "on_start", "on_complete", "on_failure", "on_skip", "on_cancel"]


class Odd(BaseException):
    """Neither an Exception nor one of Python's own exits."""


RAISED = [RuntimeError("broken"), asyncio.CancelledError("broken"), SystemExit("broken"), Odd("broken")]


def said(caplog: pytest.LogCaptureFixture, text: str) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.name == "runcue" and text in record.getMessage()]


class AnswersLater:
    """A callable whose `__call__` is a coroutine function."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    async def __call__(self, work: runcue.Work) -> Any:
        await asyncio.sleep(0)
        return self.answer


def _a_future(answer: Any, work: runcue.Work) -> asyncio.Future[Any]:
    future = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(1, future.set_result, answer)
    return future


def awaitable_gates(answer: Any) -> dict[str, Callable[[runcue.Work], Any]]:
    async def at_once(work: runcue.Work) -> Any:
        return answer

    async def later(work: runcue.Work) -> Any:
        await asyncio.sleep(1)
        return answer

    return {
        "async def": at_once,
        "async def that suspends": later,
        "lambda that returns a coroutine": lambda work: at_once(work),
        "partial": functools.partial(at_once),
        "object with async __call__": AnswersLater(answer),
        "function that returns a future": functools.partial(_a_future, answer),
    }


FORMS = list(awaitable_gates(None))


@pytest.mark.rule(12)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("answer", [False, (False, "no input")])
def test_an_awaitable_is_ready_that_answers_no_never_lets_work_run(form: str, answer: Any) -> None:
    async def main() -> None:
        cue = runcue.Cue()
        ran: list[str] = []

        @cue.task("t")
        async def t(work: runcue.Work) -> None:
            ran.append(work.id)

        cue.is_ready(awaitable_gates(answer)[form])
        cue.start()
        handles = [await cue.submit("t") for _ in range(3)]
        summary = await cue.drain()
        assert ran == []
        assert [blocked["work"].id for blocked in summary.blocked] == handles
        await asyncio.sleep(100)
        assert ran == []
        await cue.stop()
        assert ran == []

    run(main)


@pytest.mark.rule(12)
@pytest.mark.parametrize("form", FORMS)
def test_an_awaitable_is_stale_that_answers_no_skips_the_work(form: str) -> None:
    async def main() -> None:
        async with runcue.Cue() as cue:
            ran: list[str] = []
            cue.task("t")(lambda work: ran.append(work.id))
            cue.is_stale(awaitable_gates(False)[form])
            handle = await cue.submit("t")
            assert await handle.result() is None
            assert handle.work.skipped
            assert ran == []

    run(main)


@pytest.mark.rule(12)
@pytest.mark.parametrize("form", FORMS)
def test_awaitable_gates_that_say_yes_let_work_run(form: str) -> None:
    async def main() -> None:
        async with runcue.Cue() as cue:
            cue.task("t")(lambda work: "ran")
            cue.is_ready(awaitable_gates(True)[form])
            cue.is_stale(awaitable_gates(True)[form])
            assert await (await cue.submit("t")).result() == "ran"

    run(main)


@pytest.mark.rule(12)
def test_a_gate_that_answers_plainly_once_and_awaitably_the_next_time_is_understood_both_times() -> None:
    async def no() -> bool:
        return False

    async def main() -> None:
        cue = runcue.Cue()
        ran: list[int] = []

        @cue.task("t")
        async def t(work: runcue.Work) -> None:
            ran.append(work.params["n"])

        cue.is_ready(lambda work: True if work.params["n"] % 2 else no())
        cue.start()
        for n in range(6):
            await cue.submit("t", params={"n": n})
        summary = await cue.drain()
        assert ran == [1, 3, 5]
        assert [blocked["work"].params["n"] for blocked in summary.blocked] == [0, 2, 4]
        await cue.stop()

    run(main)


@pytest.mark.rule(12)
def test_what_a_plain_handler_returns_is_awaited_in_the_same_slot() -> None:
    async def double(number: int) -> int:
        await asyncio.sleep(10)
        return 2 * number

    async def main() -> None:
        async with runcue.Cue(run_in=FakeExecutor()) as cue:
            cue.service("one", concurrent=1)
            cue.task("double", uses="one")(lambda work: double(work.params["n"]))
            handles = [await cue.submit("double", params={"n": n}) for n in (1, 2)]
            assert [await handle.result() for handle in handles] == [2, 4]
            assert asyncio.get_running_loop().time() == 20

    run(main)


@pytest.mark.rule(12)
def test_an_async_is_ready_that_takes_over_30_seconds_counts_as_raising(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        cue = runcue.Cue(recheck=False)
        ran: list[str] = []
        cue.task("t")(lambda work: ran.append(work.id))

        @cue.is_ready
        async def asks_the_network(work: runcue.Work) -> bool:
            await asyncio.sleep(31 if cue_is_young() else 29)
            return True

        def cue_is_young() -> bool:
            return asyncio.get_running_loop().time() < 1

        cue.start()
        handle = await cue.submit("t")
        await asyncio.sleep(30.5)
        assert ran == []
        assert "TimeoutError" in said(caplog, "asks_the_network")[0].getMessage()
        assert "30 s" in caplog.text
        await handle.result()  # asked again, it answers within the limit
        assert ran == [handle]
        await cue.stop()

    run(main)


@pytest.mark.rule(12)
def test_a_hung_is_ready_is_shown_as_raising_and_holds_up_no_stop() -> None:
    async def main() -> None:
        cue = runcue.Cue(recheck=False)
        cue.task("t")(lambda work: None)

        @cue.is_ready
        async def hangs(work: runcue.Work) -> bool:
            await asyncio.Event().wait()
            return True

        cue.start()
        handle = await cue.submit("t")
        summary = await cue.drain()
        assert "is_ready raised TimeoutError: no answer within 30 s" in summary.blocked[0]["details"]
        await cue.stop()
        assert handle.work.state is runcue.WorkState.CANCELLED

    run(main)


@pytest.mark.rule(12)
def test_an_async_is_stale_that_takes_over_30_seconds_counts_as_stale() -> None:
    async def main() -> None:
        async with runcue.Cue() as cue:
            cue.task("t")(lambda work: "ran")

            @cue.is_stale
            async def hangs(work: runcue.Work) -> bool:
                await asyncio.Event().wait()
                return False

            assert await (await cue.submit("t")).result() == "ran"
            assert asyncio.get_running_loop().time() == pytest.approx(30, abs=0.1)

    run(main)


@pytest.mark.rule(12)
def test_an_async_listener_hears_one_event_at_a_time_in_their_order() -> None:
    async def main() -> None:
        heard: list[tuple[str, int]] = []
        async with runcue.Cue() as cue:

            @cue.task("t")
            async def t(work: runcue.Work) -> None: ...

            @cue.on_complete
            async def slow(work: runcue.Work, result: Any, duration: float) -> None:
                number = work.params["n"]
                heard.append(("begins", number))
                await asyncio.sleep(10 - number)
                heard.append(("ends", number))

            for n in range(5):
                await cue.submit("t", params={"n": n})
        assert heard == [(what, n) for n in range(5) for what in ("begins", "ends")]

    run(main)


@pytest.mark.rule(12)
def test_each_async_listener_has_a_line_of_its_own() -> None:
    async def main() -> None:
        heard: list[float] = []
        async with runcue.Cue() as cue:

            @cue.task("t")
            async def t(work: runcue.Work) -> None: ...

            @cue.on_complete
            async def slow(work: runcue.Work, result: Any, duration: float) -> None:
                await asyncio.sleep(100)

            @cue.on_complete
            async def quick(work: runcue.Work, result: Any, duration: float) -> None:
                await asyncio.sleep(1)
                heard.append(asyncio.get_running_loop().time())

            for _ in range(3):
                await cue.submit("t")
        assert heard == [1, 2, 3]

    run(main)


@pytest.mark.rule(12)
@pytest.mark.parametrize("executor", [None, "fake"])
def test_async_listeners_never_delay_dispatch(executor: str | None) -> None:
    async def main() -> None:
        starts: list[float] = []
        cue = runcue.Cue(run_in=FakeExecutor(1) if executor else None)
        cue.service("one", concurrent=1)
        if executor:
            cue.task("t", uses="one")(lambda work: None)
        else:

            @cue.task("t", uses="one")
            async def t(work: runcue.Work) -> None:
                await asyncio.sleep(1)

        async def slow(*heard: Any) -> None:
            await asyncio.sleep(1000)

        cue.on_start(lambda work: starts.append(asyncio.get_running_loop().time()))
        cue.on_start(slow)
        cue.on_complete(slow)
        async with cue:
            handles = [await cue.submit("t") for _ in range(4)]
            for handle in handles:
                await handle.result()
            assert asyncio.get_running_loop().time() == 4
        assert starts == [0, 1, 2, 3]

    run(main)


@pytest.mark.rule(12)
@pytest.mark.parametrize("end", LISTENERS[2:])
def test_plain_listeners_have_heard_it_before_a_waiter_is_woken(end: str) -> None:
    async def main() -> None:
        order: list[str] = []
        cue = runcue.Cue()

        @cue.task("t")
        async def t(work: runcue.Work) -> None:
            await asyncio.sleep(1)
            if end == "on_failure":
                raise ValueError

        getattr(cue, end)(lambda *heard: order.append("listener"))
        cue.is_stale(lambda work: end != "on_skip")
        cue.start()
        handle = await cue.submit("t")

        async def wait() -> None:
            await handle.wait()
            order.append("waiter")

        waiter = asyncio.create_task(wait())
        if end == "on_cancel":
            await asyncio.sleep(0.5)
            await cue.cancel(handle)
        await waiter
        assert order == ["listener", "waiter"]
        await cue.stop()

    run(main)


@pytest.mark.rule(12)
@pytest.mark.parametrize("call", ["drain", "stop"])
@pytest.mark.parametrize("event", LISTENERS)
def test_drain_and_stop_wait_for_listeners(call: str, event: str) -> None:
    async def main() -> None:
        done: list[str] = []
        cue = runcue.Cue()

        @cue.task("t")
        async def t(work: runcue.Work) -> None:
            if event == "on_failure":
                raise ValueError

        async def slow(*heard: Any) -> None:
            await asyncio.sleep(500)
            done.append("async")

        getattr(cue, event)(slow)
        getattr(cue, event)(lambda *heard: done.append("plain"))
        cue.is_stale(lambda work: event != "on_skip")
        cue.start()
        handle = await cue.submit("t")
        if event == "on_cancel":
            await cue.cancel(handle)
        await getattr(cue, call)()
        assert done == ["plain", "async"]
        await cue.stop()

    run(main)


def raising(error: BaseException, kind: str) -> Callable[..., Any]:
    def plain_callback(*heard: Any) -> Any:
        raise error

    async def async_callback(*heard: Any) -> Any:
        await asyncio.sleep(0)
        raise error

    return plain_callback if kind == "plain" else async_callback


def everything_happens(cue: runcue.Cue) -> Callable[[], Any]:
    """Registers tasks, and returns a function that makes every event happen once and waits until it has."""

    @cue.task("works")
    async def works(work: runcue.Work) -> str:
        return "fine"

    @cue.task("fails")
    async def fails(work: runcue.Work) -> None:
        raise ValueError("as planned")

    @cue.task("hangs")
    async def hangs(work: runcue.Work) -> None:
        await asyncio.Event().wait()

    cue.task("skipped")(works)
    cue.is_stale(task="skipped")(lambda work: False)

    async def go() -> None:
        cue.start()
        for _ in range(2):
            works_, fails_, skips_ = [await cue.submit(name) for name in ("works", "fails", "skipped")]
            hangs_ = await cue.submit("hangs")
            assert await works_.result() == "fine"
            with pytest.raises(ValueError, match="as planned"):
                await fails_.result()
            assert await skips_.result() is None
            await asyncio.sleep(0.1)
            assert await cue.cancel(hangs_)
        await cue.stop()
        assert [work.state for work in await cue.list() if work.state in _UNSETTLED] == []

    return go


_UNSETTLED = (runcue.WorkState.PENDING, runcue.WorkState.RUNNING)


@pytest.mark.rule(13)
@pytest.mark.parametrize("error", RAISED, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("kind", ["plain", "async"])
@pytest.mark.parametrize("event", LISTENERS)
def test_a_listener_that_raises_is_logged_and_disturbs_nothing(
    event: str, kind: str, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        cue = runcue.Cue(id_prefix="w")
        before, after = [], []
        getattr(cue, event)(lambda *heard: before.append(heard))
        getattr(cue, event)(raising(error, kind))
        getattr(cue, event)(lambda *heard: after.append(heard))
        await everything_happens(cue)()
        assert len(before) == len(after) >= 2

    run(main)
    [record] = said(caplog, f"{kind}_callback")  # twice raised, once logged
    assert record.levelno == logging.ERROR
    assert event in record.getMessage()
    assert type(error).__name__ in record.getMessage()
    assert record.exc_info is not None
    assert record.exc_info[1] is error
    assert error.__traceback__ is not None
    assert f"in {kind}_callback" in (caplog.handler.formatter or logging.Formatter()).format(record)


@pytest.mark.rule(13)
@pytest.mark.parametrize("kind", ["plain", "async"])
@pytest.mark.parametrize("event", LISTENERS)
def test_the_log_of_a_raising_listener_names_the_work(
    event: str, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        cue = runcue.Cue(id_prefix="number-")
        getattr(cue, event)(raising(RuntimeError("broken"), kind))
        await everything_happens(cue)()

    run(main)
    [record] = said(caplog, f"{kind}_callback")
    assert "number-" in record.getMessage()


@pytest.mark.rule(13)
@pytest.mark.parametrize("error", RAISED, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("kind", ["plain", "async"])
@pytest.mark.parametrize("event", ["on_pending_warning", "on_stall_warning"])
def test_a_warning_listener_that_raises_is_logged_and_disturbs_nothing(
    event: str, kind: str, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        cue = runcue.Cue(pending_warn_after=10, stall_warn_after=10)
        cue.service("one", concurrent=1)

        @cue.task("t", uses="one")
        async def t(work: runcue.Work) -> str:
            await asyncio.sleep(30)
            return "fine"

        getattr(cue, event)(raising(error, kind))
        async with cue:
            handles = [await cue.submit("t") for _ in range(2)]
            ticking = asyncio.create_task(asyncio.sleep(15))  # lets time come by the passive timers
            assert [await handle.result() for handle in handles] == ["fine", "fine"]
            await ticking

    run(main)
    records = said(caplog, f"{kind}_callback")
    assert len(records) == 1
    assert records[0].exc_info is not None


@pytest.mark.rule(13)
@pytest.mark.parametrize("error", RAISED, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("kind", ["plain", "async"])
def test_a_raising_is_ready_means_not_ready_and_the_error_is_shown(
    kind: str, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        cue = runcue.Cue(id_prefix="number-")
        cue.task("t")(lambda work: pytest.fail("it ran"))
        cue.task("other")(lambda work: "fine")
        cue.is_ready(task="t")(raising(error, kind))
        cue.start()
        handle = await cue.submit("t")
        assert await (await cue.submit("other")).result() == "fine"
        summary = await cue.drain()
        [blocked] = cue.debug_blocked()
        assert blocked["work"].id == handle
        assert blocked["reason"] == "not_ready"
        assert f"{type(error).__name__}: broken" in blocked["details"]
        assert summary.blocked == [blocked]
        await cue.stop()

    run(main)
    # What tells that the work unit is stuck, and that it was cancelled, names the callback as well.
    [record] = [one for one in said(caplog, f"{kind}_callback") if one.getMessage().startswith("is_ready")]
    assert "is_ready" in record.getMessage()
    assert "number-1" in record.getMessage()
    assert record.exc_info is not None


@pytest.mark.rule(13)
@pytest.mark.parametrize("error", RAISED, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("kind", ["plain", "async"])
def test_a_raising_is_stale_means_stale(
    kind: str, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with runcue.Cue(id_prefix="number-") as cue:
            cue.task("t")(lambda work: "ran")
            cue.is_stale(raising(error, kind))
            for _ in range(3):
                assert await (await cue.submit("t")).result() == "ran"

    run(main)
    [record] = said(caplog, f"{kind}_callback")
    assert "is_stale" in record.getMessage()
    assert "number-1" in record.getMessage()
    assert record.exc_info is not None


class NeitherTrueNorFalse:
    def __bool__(self) -> bool:
        raise Odd("numpy arrays do so")


@pytest.mark.rule(13)
@pytest.mark.parametrize("kind", ["plain", "async"])
def test_an_answer_that_is_neither_true_nor_false_counts_as_raising(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def later(work: runcue.Work) -> Any:
        return NeitherTrueNorFalse()

    gate = later if kind == "async" else lambda work: NeitherTrueNorFalse()

    async def main() -> None:
        cue = runcue.Cue()
        for name in ("unready", "stale"):
            cue.task(name)(lambda work: work.task)
        cue.is_ready(task="unready")(gate)
        cue.is_stale(task="stale")(gate)
        cue.start()
        await cue.submit("unready")
        assert await (await cue.submit("stale")).result() == "stale"
        summary = await cue.drain()
        assert "Odd: numpy arrays do so" in summary.blocked[0]["details"]
        await cue.stop()

    run(main)
    assert len(said(caplog, "raised Odd (work")) == 2


async def _order_with(priority: Callable[[runcue.PriorityContext], Any]) -> list[str]:
    cue = runcue.Cue()
    cue.service("one", concurrent=1)
    order: list[str] = []

    @cue.task("t", uses="one")
    async def t(work: runcue.Work) -> None:
        order.append(work.params["name"])
        await asyncio.sleep(0.1)

    cue.priority(priority)
    async with cue:
        for name in ("low", "default", "high"):
            await cue.submit("t", params={"name": name})
    return order


@pytest.mark.rule(13)
@pytest.mark.parametrize("error", RAISED, ids=lambda error: type(error).__name__)
def test_a_raising_priority_means_the_default(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    def by_name(ctx: runcue.PriorityContext) -> float:
        if ctx.work.params["name"] == "default":
            raise error
        return 0.6 if ctx.work.params["name"] == "high" else 0.4

    assert run(lambda: _order_with(by_name)) == ["high", "default", "low"]
    [record] = said(caplog, "by_name")
    assert record.exc_info is not None
    assert record.exc_info[1] is error


@pytest.mark.rule(13)
@pytest.mark.parametrize("answer", ["urgent", None, float("nan"), object(), "async"])
def test_a_priority_that_is_no_number_means_the_default_and_is_told(
    answer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def later() -> float:
        return 1.0

    def by_name(ctx: runcue.PriorityContext) -> Any:
        if ctx.work.params["name"] == "default":
            return later() if answer == "async" else answer
        return 0.6 if ctx.work.params["name"] == "high" else 0.4

    assert run(lambda: _order_with(by_name)) == ["high", "default", "low"]
    assert len(said(caplog, "by_name")) == 1


@pytest.mark.rule(13)
def test_the_same_callback_and_type_of_exception_is_logged_once_per_minute(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        async with runcue.Cue() as cue:

            @cue.task("t")
            async def t(work: runcue.Work) -> None: ...

            @cue.on_start
            def one(work: runcue.Work) -> None:
                raise ValueError if work.params["n"] % 2 else KeyError

            @cue.on_start
            def two(work: runcue.Work) -> None:
                raise ValueError

            for n in range(130):  # one per second
                await cue.submit("t", params={"n": n})
                await asyncio.sleep(1)

    run(main)
    assert len(said(caplog, ".one raised ValueError")) == 3  # at 1, 61 and 121 s
    assert len(said(caplog, ".one raised KeyError")) == 3
    assert len(said(caplog, ".two raised ValueError")) == 3


@pytest.mark.rule(13)
def test_a_keyboard_interrupt_out_of_a_callback_is_not_swallowed() -> None:
    async def main() -> None:
        cue = runcue.Cue()
        cue.task("t")(lambda work: None)

        @cue.on_start
        def interrupted(work: runcue.Work) -> None:
            raise KeyboardInterrupt

        cue.start()
        await cue.submit("t")
        await asyncio.sleep(10)

    with pytest.raises(KeyboardInterrupt):
        run(main)


@pytest.mark.rule(14)
@pytest.mark.parametrize("kind", ["plain", "async"])
def test_the_reason_that_is_ready_gives_is_shown(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        cue = runcue.Cue(recheck=False)
        missing = ["page 7"]

        def plain(work: runcue.Work) -> Any:
            return (False, f"waits for {missing[0]}") if missing else (True, "all there")

        async def later(work: runcue.Work) -> Any:
            return plain(work)

        cue.task("t")(lambda work: "ran")
        cue.is_ready(plain if kind == "plain" else later)
        cue.start()
        handle = await cue.submit("t")
        summary = await cue.drain()
        assert "waits for page 7" in summary.blocked[0]["details"]
        missing[0] = "page 8"
        cue.nudge()
        await cue.drain()
        [blocked] = cue.debug_blocked()
        assert blocked["reason"] == "not_ready"
        assert "waits for page 8" in blocked["details"]
        assert "page 7" not in blocked["details"]
        missing.clear()
        cue.nudge()
        assert await handle.result() == "ran"

        missing.append("page 9")
        await cue.submit("t")
        await cue.stop()

    run(main)
    assert "waits for page 9" in caplog.text


@pytest.mark.rule(14)
def test_the_reason_is_shown_before_the_cue_is_started() -> None:
    async def main() -> None:
        cue = runcue.Cue()
        cue.task("t")(lambda work: None)
        cue.is_ready(lambda work: (False, "no disk"))
        handle = await cue.submit("t")
        [blocked] = cue.debug_blocked()
        assert "no disk" in blocked["details"]
        await cue.cancel(handle)

    run(main)


@pytest.mark.rule(14)
def test_a_reason_does_not_outlive_the_answer_it_came_with() -> None:
    async def main() -> None:
        cue = runcue.Cue(recheck=False)
        answers: list[Any] = [(False, "page 7"), False]
        cue.task("t")(lambda work: None)
        cue.is_ready(lambda work: answers[0])
        cue.start()
        await cue.submit("t")
        await cue.drain()
        del answers[0]
        cue.nudge()
        await cue.drain()
        assert "page 7" not in cue.debug_blocked()[0]["details"]
        await cue.stop()

    run(main)


def blocks(seconds: float, answer: Any = None, *, kind: str = "plain") -> Callable[..., Any]:
    """A callback that blocks the (virtual) loop: time passes, and nothing else gets its turn."""

    def block() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        loop._now += seconds

    def a_blocking_callback(*heard: Any) -> Any:
        block()
        return answer

    async def an_async_blocking_callback(*heard: Any) -> Any:
        await asyncio.sleep(1)
        block()
        await asyncio.sleep(1)
        return answer

    return a_blocking_callback if kind == "plain" else an_async_blocking_callback


@pytest.mark.rule(15)
@pytest.mark.parametrize(
    ("what", "kind"),
    [("priority", "plain")]
    + [(what, kind) for what in ("is_ready", "is_stale", *LISTENERS) for kind in ("plain", "async")],
)
def test_a_callback_that_blocks_the_loop_for_over_50_ms_is_reported_once_by_name(
    what: str, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        cue = runcue.Cue()
        answer = {"priority": 0.5}.get(what, True)
        getattr(cue, what)(blocks(0.051, answer, kind=kind))
        await everything_happens(cue)()

    run(main)
    [record] = said(caplog, "blocking_callback")
    assert record.levelno == logging.WARNING
    assert what in record.getMessage()
    assert "51 ms" in record.getMessage()


@pytest.mark.rule(15)
@pytest.mark.parametrize("kind", ["plain", "async"])
@pytest.mark.parametrize("what", ["is_ready", "is_stale", *LISTENERS])
def test_a_callback_that_takes_less_is_not_reported(
    what: str, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        cue = runcue.Cue()
        getattr(cue, what)(blocks(0.049, answer=True, kind=kind))
        await everything_happens(cue)()

    run(main)
    assert said(caplog, "blocking_callback") == []


@pytest.mark.rule(15)
def test_blocking_is_measured_by_the_real_clock_on_a_real_loop(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with runcue.Cue() as cue:

            @cue.task("t")
            async def t(work: runcue.Work) -> None: ...

            @cue.on_complete
            def reads_a_file(work: runcue.Work, result: Any, duration: float) -> None:
                time.sleep(0.06)

            for _ in range(3):
                await cue.submit("t")

    asyncio.run(main())
    assert len(said(caplog, "reads_a_file")) == 1


def fails_on_purpose(work: runcue.Work) -> None:
    raise ValueError("the disk is full")


async def fails_on_purpose_later(work: runcue.Work) -> None:
    await asyncio.sleep(1)
    raise ValueError("the disk is full")


HANDLERS = pytest.mark.parametrize("handler", [fails_on_purpose, fails_on_purpose_later])


@pytest.mark.rule(15)
@HANDLERS
def test_a_failure_that_nobody_hears_of_is_logged_with_its_traceback(
    handler: Callable[[runcue.Work], Any], caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> str:
        async with runcue.Cue() as cue:
            cue.task("t")(handler)
            return await cue.submit("t")

    work_id = run(main)
    [record] = said(caplog, "the disk is full")
    assert record.levelno == logging.ERROR
    assert work_id in record.getMessage()
    assert record.exc_info is not None
    assert f"in {handler.__name__}" in logging.Formatter().format(record)


@pytest.mark.rule(15)
@HANDLERS
@pytest.mark.parametrize("hears", ["listener", "async listener", "result()"])
def test_a_failure_that_somebody_hears_of_is_not_logged(
    handler: Callable[[runcue.Work], Any], hears: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async def later(work: runcue.Work, error: BaseException) -> None: ...

        async with runcue.Cue() as cue:
            cue.task("t")(handler)
            if hears == "listener":
                cue.on_failure(lambda work, error: None)
            elif hears == "async listener":
                cue.on_failure(later)
            handle = await cue.submit("t")
            if hears == "result()":
                with pytest.raises(ValueError, match="the disk is full"):
                    await handle.result()

    run(main)
    assert said(caplog, "the disk is full") == []


@pytest.mark.rule(15)
def test_a_result_that_is_no_longer_waited_for_does_not_hear_of_the_failure(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        async with runcue.Cue() as cue:
            cue.task("t")(fails_on_purpose_later)
            handle = await cue.submit("t")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(handle.result(), 0.5)

    run(main)
    assert len(said(caplog, "the disk is full")) == 1


@pytest.mark.rule(15)
def test_one_stream_of_events_serves_every_listener_alike() -> None:
    async def main() -> None:
        cue = runcue.Cue()
        first, second = Recorder(cue), Recorder(cue)
        await everything_happens(cue)()
        assert first.events == second.events
        assert first.counts() == {"start": 6, "complete": 2, "failure": 2, "skip": 2, "cancel": 2}

    run(main)
