"""Each mistake has one clear error, raised where it is made; and whatever user code raises, every work settles."""

from __future__ import annotations

import asyncio
import functools
import itertools
import threading
from collections.abc import Callable
from typing import Any

import pytest

import runcue
from runcue.testing import Recorder, run
from tests.support.places import from_the_checkout


async def nothing(work: runcue.Work) -> None: ...


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (runcue.ConfigurationError, ValueError),
        (runcue.DuplicateTask, ValueError),
        (runcue.InvalidParams, TypeError),
        (runcue.UnknownTask, LookupError),
        (runcue.UnknownTask, ValueError),
        (runcue.UnknownService, LookupError),
        (runcue.PendingTimeout, TimeoutError),
        (runcue.StallTimeout, TimeoutError),
        (runcue.WorkTimeout, TimeoutError),
        (runcue.UsageError, RuntimeError),
        (runcue.WrongLoop, runcue.UsageError),
        (runcue.CueStopped, runcue.UsageError),
        (runcue.WorkCancelled, runcue.RuncueError),
        (runcue.HandlerExited, runcue.RuncueError),
        (runcue.CueFailed, runcue.RuncueError),
    ],
)
def test_every_error_is_a_runcue_error_and_what_a_caller_would_catch(
    kind: type[Exception], builtin: type[Exception]
) -> None:
    assert issubclass(kind, runcue.RuncueError)
    assert issubclass(kind, builtin)


def test_a_cancelled_work_is_not_mistaken_for_a_cancelled_waiter() -> None:
    assert not issubclass(runcue.WorkCancelled, asyncio.CancelledError)
    assert issubclass(runcue.HandlerExited, Exception)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        (option, value)
        for option in ("pending_warn_after", "pending_timeout", "stall_warn_after", "stall_timeout")
        for value in (0, -1, "30", True, float("inf"), float("nan"))
    ]
    + [("keep", value) for value in (-1, 1.5, "10", None, True)]
    + [("max_threads", value) for value in (0, -1, 1.5, "10", None, True)]
    + [("max_processes", value) for value in (0, -1, 1.5, "10", True)]
    + [("id_prefix", value) for value in (1, b"x")],
)
def test_a_cue_with_an_option_that_cannot_work_is_refused(option: str, value: Any) -> None:
    with pytest.raises(runcue.ConfigurationError) as caught:
        runcue.Cue(**{option: value})
    assert option in str(caught.value)
    assert repr(value) in str(caught.value)


@pytest.mark.parametrize(
    "value", ["", "fast", "0/min", "-1/min", "10/parsec", "10", "/min", "10/", "1/0sec", 10, b"1/s"]
)
def test_a_bad_rate_is_refused_naming_the_value_and_the_forms(value: Any) -> None:
    cue = runcue.Cue()
    with pytest.raises(runcue.ConfigurationError) as caught:
        cue.service("api", rate=value)
    assert repr(value) in str(caught.value)
    assert "60/min" in str(caught.value)
    cue.service("api", rate="1/min")  # nothing of it was registered


@pytest.mark.parametrize("option", ["concurrent", "burst"])
@pytest.mark.parametrize("value", [0, -1, 1.5, "5", True, float("inf")])
def test_slots_that_are_no_positive_int_are_refused(option: str, value: Any) -> None:
    cue = runcue.Cue()
    with pytest.raises(runcue.ConfigurationError) as caught:
        cue.service("api", rate="1/min", **{option: value})
    assert option in str(caught.value)
    assert repr(value) in str(caught.value)
    assert "'api'" in str(caught.value)


def test_burst_without_a_rate_and_two_kinds_of_limiter_are_refused() -> None:
    from aiolimiter import AsyncLimiter

    cue = runcue.Cue()
    with pytest.raises(runcue.ConfigurationError, match="needs a rate"):
        cue.service("api", burst=5)
    with pytest.raises(runcue.ConfigurationError, match="not beside"):
        cue.service("api", rate="1/min", limiter=AsyncLimiter(1, 1))


@pytest.mark.parametrize("name", ["", None, 5])
def test_names_are_non_empty_strings(name: Any) -> None:
    cue = runcue.Cue()
    with pytest.raises(runcue.ConfigurationError):
        cue.service(name)
    with pytest.raises(runcue.ConfigurationError):
        cue.task(name)(nothing)


def test_a_service_registered_twice_is_refused() -> None:
    cue = runcue.Cue()
    cue.service("api", rate="1/min")
    with pytest.raises(runcue.ConfigurationError, match="'api' is already registered"):
        cue.service("api", rate="2/min")


@pytest.mark.parametrize("uses", ["opnai", ["openai", "opnai"], ("opnai",)])
def test_an_unknown_service_is_refused_where_it_is_written_with_a_suggestion(uses: Any) -> None:
    cue = runcue.Cue()
    cue.service("openai")
    with pytest.raises(runcue.UnknownService, match=r"'opnai'.*'t'.*'openai'"):
        cue.task("t", uses=uses)  # not applied to a function yet
    assert cue.get_task("t") is None


@pytest.mark.parametrize("uses", [5, [5], [None]])
def test_uses_that_names_no_service_is_refused(uses: Any) -> None:
    with pytest.raises((runcue.ConfigurationError, runcue.UnknownService)):
        runcue.Cue().task("t", uses=uses)


@pytest.mark.parametrize("timeout", [0, -1, "5", True, float("inf")])
def test_a_bad_timeout_is_refused(timeout: Any) -> None:
    with pytest.raises(runcue.ConfigurationError, match="timeout of task 't'"):
        runcue.Cue().task("t", timeout=timeout)


def test_a_task_name_that_is_taken_is_refused_and_the_first_stays() -> None:
    cue = runcue.Cue()

    @cue.task("t")
    def first(work: runcue.Work) -> None: ...

    with from_the_checkout(), pytest.raises(runcue.DuplicateTask, match=r"'t'.*first.*second"):

        @cue.task("t")
        def second(work: runcue.Work) -> None: ...

    task = cue.get_task("t")
    assert task is not None
    assert task.handler is first


def test_the_same_function_defined_again_replaces_itself() -> None:
    async def main() -> None:
        async with runcue.Cue() as cue:

            def cell(answer: int) -> Callable[[runcue.Work], int]:
                @cue.task("t")
                def t(work: runcue.Work) -> int:
                    return answer

                return t

            cell(1)
            cell(2)
            assert await (await cue.submit("t")).result() == 2
            again = cell(3)
            assert await (await cue.submit(again)).result() == 3

    run(main)


def work_last(more: int, work: runcue.Work) -> None: ...


def values_beside_work(work: runcue.Work, *more: int) -> None: ...


def positional_only(more: int, /) -> None: ...


def generator(work: runcue.Work) -> Any:
    yield 1


async def async_generator(work: runcue.Work) -> Any:
    yield 1


@pytest.mark.parametrize(
    "handler",
    [work_last, values_beside_work, positional_only, generator, async_generator, "text", None, 5],
)
def test_a_handler_that_cannot_be_called_with_a_work_is_refused(handler: Any) -> None:
    cue = runcue.Cue()
    with pytest.raises(runcue.ConfigurationError, match="'t'"):
        cue.task("t")(handler)
    assert cue.get_task("t") is None


@pytest.mark.parametrize(
    "handler",
    [
        lambda work: "done",
        lambda *args: "done",
        lambda work, more="x": "done",
        functools.partial(lambda more, work: "done", 1),
    ],
)
def test_whatever_can_be_called_with_a_work_is_a_handler(handler: Any) -> None:
    async def main() -> None:
        async with runcue.Cue() as cue:
            cue.task("t")(handler)
            assert await (await cue.submit("t")).result() == "done"

    run(main)


@pytest.mark.parametrize(
    "register",
    [
        "is_ready",
        "is_stale",
        "priority",
        "on_start",
        "on_complete",
        "on_failure",
        "on_skip",
        "on_cancel",
        "on_pending_warning",
        "on_stall_warning",
    ],
)
def test_a_callback_that_is_not_callable_is_refused(register: str) -> None:
    with pytest.raises(runcue.ConfigurationError, match="callable, not 5"):
        getattr(runcue.Cue(), register)(5)


@pytest.mark.parametrize("task", ["extract_tex", "", None, 5, nothing, ["extract_text"], {}])
def test_an_unknown_task_is_refused(task: Any) -> None:
    async def main() -> None:
        async with runcue.Cue() as cue:
            cue.task("extract_text")(lambda work: None)
            with pytest.raises(runcue.UnknownTask) as caught:
                await cue.submit(task)
            assert isinstance(caught.value, ValueError)
            assert repr(task) in str(caught.value)
            if task == "extract_tex":
                assert "'extract_text'" in str(caught.value)
            assert await cue.list() == []

    run(main)


@pytest.mark.parametrize("params", [[], [("a", 1)], "text", 5, {1}, object(), True])
def test_params_that_are_no_mapping_are_refused(params: Any) -> None:
    async def main() -> None:
        async with runcue.Cue() as cue:
            cue.task("t")(nothing)
            with pytest.raises(runcue.InvalidParams, match="must be a mapping"):
                await cue.submit("t", params=params)
            assert await cue.list() == []

    run(main)


def test_changes_of_the_callers_params_are_not_seen_by_handlers_and_gates() -> None:
    async def main() -> None:
        cue = runcue.Cue()
        seen: list[Any] = []
        cue.task("t")(lambda work: seen.append(dict(work.params)))
        cue.is_ready(lambda work: seen.append(dict(work.params)) or True)
        params = {"n": 1}
        handle = await cue.submit("t", params=params)
        params.clear()
        params["other"] = 2
        cue.start()
        await handle.wait()
        await cue.stop()
        assert seen
        assert all(one == {"n": 1} for one in seen)
        assert params == {"other": 2}

    run(main)


def test_work_units_submitted_with_one_dict_do_not_share_it() -> None:
    async def main() -> None:
        async with runcue.Cue() as cue:

            @cue.task("t")
            async def spoils(work: runcue.Work) -> int:
                work.params["n"] = work.params.get("n", 0) + 1
                return work.params["n"]

            params: dict[str, Any] = {}
            handles = [await cue.submit("t", params=params) for _ in range(3)]
            assert [await handle.result() for handle in handles] == [1, 1, 1]

    run(main)


def test_start_outside_of_a_running_loop_is_an_error() -> None:
    cue = runcue.Cue()
    cue.task("t")(lambda work: 5)
    with pytest.raises(runcue.UsageError, match="running event loop"):
        cue.start()

    async def main() -> None:
        async with cue:
            assert await (await cue.submit("t")).result() == 5

    run(main)


def test_a_second_start_does_nothing() -> None:
    async def main() -> None:
        cue = runcue.Cue()
        recorder = Recorder(cue)
        cue.task("t")(nothing)
        cue.start()
        await cue.submit("t")
        cue.start()
        cue.start()
        assert (await cue.stop()).counts["completed"] == 1
        assert recorder.counts() == {"start": 1, "complete": 1}

    run(main)


def test_start_while_stopping_is_an_error() -> None:
    async def main() -> None:
        cue = runcue.Cue()
        cue.task("t")(lambda work: asyncio.sleep(10))
        cue.start()
        await cue.submit("t")
        stopping = asyncio.create_task(cue.stop())
        await asyncio.sleep(1)
        with pytest.raises(runcue.UsageError, match="stopping"):
            cue.start()
        await stopping
        cue.start()
        await cue.stop()

    run(main)


def test_drain_of_a_cue_that_is_not_started_is_an_error() -> None:
    async def main() -> None:
        cue = runcue.Cue()
        with pytest.raises(runcue.UsageError, match="start"):
            await cue.drain()
        cue.start()
        await cue.stop()
        with pytest.raises(runcue.UsageError, match="start"):
            await cue.drain()

    run(main)


@pytest.mark.parametrize("timeout", [-1, "5", True, float("nan")])
def test_a_bad_timeout_of_stop_is_refused_and_nothing_is_stopped(timeout: Any) -> None:
    async def main() -> None:
        async with runcue.Cue() as cue:
            cue.task("t")(lambda work: 5)
            with pytest.raises(runcue.ConfigurationError, match="timeout"):
                await cue.stop(timeout=timeout)
            assert await (await cue.submit("t")).result() == 5

    run(main)


def test_submit_from_another_thread_is_an_error_that_names_submit_threadsafe() -> None:
    async def main() -> None:
        async with runcue.Cue() as cue:
            cue.task("t")(nothing)
            raised: list[BaseException] = []

            def in_a_thread() -> None:
                try:
                    asyncio.run(cue.submit("t"))
                except BaseException as error:
                    raised.append(error)

            thread = threading.Thread(target=in_a_thread)
            thread.start()
            await asyncio.to_thread(thread.join)
            assert isinstance(raised[0], runcue.WrongLoop)
            assert "submit_threadsafe" in str(raised[0])
            assert await cue.list() == []

    run(main)


def test_submit_threadsafe_to_a_cue_that_is_not_started_is_an_error() -> None:
    cue = runcue.Cue()
    cue.task("t")(nothing)
    with pytest.raises(runcue.UsageError, match="started"):
        cue.submit_threadsafe("t")


def test_submit_threadsafe_to_a_cue_whose_loop_is_gone_is_an_error() -> None:
    cue = runcue.Cue()
    cue.task("t")(nothing)

    async def forgets_to_stop() -> None:
        cue.start()

    run(forgets_to_stop)
    thread_raised: list[BaseException] = []

    def in_a_thread() -> None:
        try:
            cue.submit_threadsafe("t")
        except BaseException as error:
            thread_raised.append(error)

    thread = threading.Thread(target=in_a_thread)
    thread.start()
    thread.join(30)
    assert not thread.is_alive()
    assert isinstance(thread_raised[0], runcue.CueStopped)


class Odd(BaseException):
    """Neither an Exception nor one of Python's own exits."""


ERRORS: list[type[BaseException]] = [ValueError, asyncio.CancelledError, SystemExit, Odd, GeneratorExit]


@pytest.mark.parametrize("error", ERRORS)
def test_every_work_settles_though_everything_raises(error: type[BaseException]) -> None:
    """All callbacks and handlers raise now and then; the work units still end, each with one event."""

    async def main() -> None:
        cue = runcue.Cue(recheck=True, pending_warn_after=1, stall_warn_after=1)
        recorder = Recorder(cue)
        cue.service("some", concurrent=3)
        turns = itertools.count()

        def now_and_then(answer: Any) -> Any:
            if next(turns) % 3 == 0:
                raise error("now and then")
            return answer

        async def later(answer: Any) -> Any:
            await asyncio.sleep(0.1)
            return now_and_then(answer)

        for event in ("on_start", "on_complete", "on_failure", "on_skip", "on_cancel", "on_pending_warning"):
            getattr(cue, event)(lambda *heard: now_and_then(None))
            getattr(cue, event)(lambda *heard: later(None))
        cue.on_stall_warning(lambda *heard: now_and_then(None))
        cue.priority(lambda ctx: now_and_then(0.7))
        cue.is_ready(lambda work: now_and_then(True))
        cue.is_stale(lambda work: now_and_then(True))
        cue.is_ready(task="async")(lambda work: later(True))
        cue.is_stale(task="async")(lambda work: later(True))
        cue.task("sync", uses="some")(lambda work: now_and_then("fine"))
        cue.task("async", uses="some")(lambda work: later("fine"))

        @cue.task("suspends", uses="some")
        async def suspends(work: runcue.Work) -> Any:
            return await later("fine")

        cue.start()
        handles = []
        for n in range(60):
            handles.append(await cue.submit(["sync", "async", "suspends"][n % 3]))
            if n % 10 == 9:
                await asyncio.sleep(0.3)
                await cue.cancel(handles[-2])
        await asyncio.sleep(30)
        summary = await cue.stop()
        assert sum(summary.counts.values()) == 60
        assert summary.counts["completed"]
        assert summary.counts["failed"]
        for handle in handles:
            heard = recorder.of(handle)
            assert len([event for event in heard if event != "start"]) == 1
            assert heard.count("start") <= 1
            assert (await handle.wait()).state not in (runcue.WorkState.PENDING, runcue.WorkState.RUNNING)

    run(main)
