"""`runcue.blocking(cue)`: the same calls without await."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import runcue
from runcue.testing import Recorder


def cue_with_tasks() -> runcue.Cue:
    cue = runcue.Cue(pending_timeout=30)
    cue.service("some", concurrent=4)

    @cue.task("double", uses="some")
    def double(work: runcue.Work) -> int:
        return 2 * int(work.params["n"])

    @cue.task("later", uses="some")
    async def later(work: runcue.Work) -> int:
        await asyncio.sleep(0.01)
        return int(work.params["n"])

    @cue.task("fails")
    def fails(work: runcue.Work) -> None:
        raise ValueError("no")

    @cue.task("hangs")
    async def hangs(work: runcue.Work) -> None:
        await asyncio.sleep(1000)

    cue.task("unready")(double)
    cue.is_ready(task="unready")(lambda work: (False, "page 7 is missing"))
    cue.on_failure(lambda work, error: None)
    return cue


def test_results_are_had_without_await() -> None:
    cue = cue_with_tasks()
    with runcue.blocking(cue) as b:
        assert b.cue is cue
        handle = b.submit("double", params={"n": 21})
        assert b.result(handle) == 42
        handles = [b.submit("later", params={"n": n}) for n in range(20)]
        assert [b.result(handle) for handle in handles] == list(range(20))


def test_a_failure_is_raised_by_result_and_told_by_wait() -> None:
    with runcue.blocking(cue_with_tasks()) as b:
        handle = b.submit("fails")
        with pytest.raises(ValueError, match="no"):
            b.result(handle)
        work = b.wait(handle)
        assert (work.state, work.error) == (runcue.WorkState.FAILED, "no")


def test_work_units_can_be_looked_up_and_cancelled() -> None:
    with runcue.blocking(cue_with_tasks()) as b:
        handle = b.submit("hangs")
        done = b.submit("double", params={"n": 1})
        b.result(done)
        assert b.get(handle) is handle.work
        assert b.get("unknown") is None
        assert [work.id for work in b.list()] == [handle, done]
        assert [work.id for work in b.list(task="double", state=runcue.WorkState.COMPLETED, limit=5)] == [
            done
        ]
        assert b.list(limit=0) == []
        assert b.cancel(handle) is True
        assert b.cancel(handle) is False
        with pytest.raises(runcue.WorkCancelled):
            b.result(handle)


@pytest.mark.rule(16, 35)
def test_handles_tell_in_any_thread_how_their_work_units_have_ended() -> None:
    cue = runcue.Cue()

    @cue.task("fails")
    def fails(work: runcue.Work) -> None:
        raise ValueError("as planned")

    with runcue.blocking(cue) as b:
        handle = b.submit("fails")
        for _ in range(2):
            with pytest.raises(ValueError, match="as planned") as raised:
                b.result(handle)
            assert raised.traceback[-1].name == "fails"
        assert (handle.done(), handle.state, str(handle.exception())) == (
            True,
            runcue.WorkState.FAILED,
            "as planned",
        )


def test_what_only_a_handle_can_do_is_refused_to_its_id_with_the_way_out() -> None:
    with runcue.blocking(cue_with_tasks()) as b:
        text = str(b.submit("double", params={"n": 1}))
        for call in (b.result, b.wait):
            with pytest.raises(runcue.UsageError, match=r"a handle, as submit\(\) gives it.*get\(id\)"):
                call(text)  # type: ignore[arg-type]


def test_drain_and_stop_give_their_summaries() -> None:
    with runcue.blocking(cue_with_tasks()) as b:
        for n in range(5):
            b.submit("later", params={"n": n})
        b.submit("unready")
        summary = b.drain()
        assert summary.counts["completed"] == 5
        assert "page 7 is missing" in summary.blocked[0]["details"]
        b.submit("hangs")
        summary = b.stop(timeout=0.05)
        assert summary.counts == {"completed": 5, "skipped": 0, "failed": 0, "cancelled": 2}
        with pytest.raises(runcue.CueStopped):
            b.submit("double", params={"n": 1})


def test_stop_without_drain_cancels_what_is_pending() -> None:
    with runcue.blocking(cue_with_tasks()) as b:
        b.submit("unready")
        assert b.stop(drain=False).counts["cancelled"] == 1


def test_a_clean_exit_drains() -> None:
    cue = cue_with_tasks()
    recorder = Recorder(cue)
    with runcue.blocking(cue) as b:
        for n in range(10):
            b.submit("later", params={"n": n})
    assert recorder.counts() == {"start": 10, "complete": 10}


def test_an_exception_cancels_everything_and_is_passed_on() -> None:
    cue = cue_with_tasks()
    recorder = Recorder(cue)
    began = time.monotonic()
    with pytest.raises(ZeroDivisionError), runcue.blocking(cue) as b:  # noqa: PT012 - what is raised comes out of the `with`
        b.submit("hangs")
        b.submit("unready")
        raise ZeroDivisionError
    assert recorder.counts()["cancel"] == 2
    assert time.monotonic() - began < 30


def test_mistakes_are_raised_where_they_are_made() -> None:
    with runcue.blocking(cue_with_tasks()) as b:
        with pytest.raises(runcue.UnknownTask):
            b.submit("unknown")
        with pytest.raises(runcue.InvalidParams):
            b.submit("double", params=[1])  # type: ignore[arg-type]


def test_it_is_usable_from_many_threads_at_once() -> None:
    with runcue.blocking(cue_with_tasks()) as b, ThreadPoolExecutor(8) as pool:
        results = pool.map(lambda n: b.result(b.submit("double", params={"n": n})), range(100))
        assert list(results) == [2 * n for n in range(100)]


def test_work_units_submitted_before_are_run() -> None:
    cue = cue_with_tasks()

    async def submits() -> runcue.WorkHandle:
        return await cue.submit("double", params={"n": 4})

    handle = asyncio.run(submits())
    with runcue.blocking(cue) as b:
        assert b.result(handle) == 8


def test_outside_of_its_with_it_is_an_error() -> None:
    b = runcue.blocking(cue_with_tasks())
    with pytest.raises(runcue.UsageError, match="with"):
        b.submit("double", params={"n": 1})
    with b:
        pass
    with pytest.raises(runcue.UsageError, match="with"):
        b.drain()


def test_it_can_be_entered_again() -> None:
    cue = cue_with_tasks()
    for _ in range(2):
        b = runcue.blocking(cue)
        with b:
            assert b.result(b.submit("double", params={"n": 2})) == 4
        with b:
            assert b.result(b.submit("later", params={"n": 2})) == 2


def test_entering_twice_at_once_is_an_error_and_the_first_goes_on() -> None:
    b = runcue.blocking(cue_with_tasks())
    with b:
        with pytest.raises(runcue.UsageError), b:
            pass
        assert b.result(b.submit("double", params={"n": 2})) == 4


def test_a_cue_that_is_started_elsewhere_is_refused_and_leaves_no_thread_behind() -> None:
    async def main() -> None:
        async with cue_with_tasks() as cue:
            before = threading.active_count()

            def blocks() -> None:
                with runcue.blocking(cue):
                    pytest.fail("it was entered")

            with pytest.raises(runcue.WrongLoop):
                await asyncio.to_thread(blocks)
            assert threading.active_count() <= before + 1  # to_thread's own
            handle = await cue.submit("double", params={"n": 2})
            assert await handle.result() == 4

    asyncio.run(main())


def test_waiting_in_a_handler_for_its_own_cue_through_blocking_is_refused_or_works_but_never_hangs() -> None:
    cue = cue_with_tasks()
    b = runcue.blocking(cue)

    @cue.task("parent")
    def parent(work: runcue.Work) -> object:
        return b.result(b.submit("double", params={"n": 5}))

    @cue.task("stops")
    def stops(work: runcue.Work) -> object:
        return b.drain()

    with b:
        assert b.result(b.submit("parent")) == 10
        with pytest.raises(runcue.UsageError, match="inside"):
            b.result(b.submit("stops"))


@pytest.mark.rule(24)
def test_threads_that_call_while_the_block_ends_have_their_answer_or_are_told_so() -> None:
    unforeseen: list[BaseException] = []
    answers = 0

    def calls(b: Any) -> None:
        nonlocal answers
        while True:
            try:
                assert b.result(b.submit("double", params={"n": 4})) == 8
                b.list()
                answers += 1
            except (runcue.UsageError, runcue.WorkCancelled):
                return
            except BaseException as error:
                unforeseen.append(error)
                return

    for number in range(6):
        cue = cue_with_tasks()
        threads = []
        try:
            with runcue.blocking(cue) as b:
                threads = [threading.Thread(target=calls, args=(b,), daemon=True) for _ in range(4)]
                for thread in threads:
                    thread.start()
                time.sleep(0.004)
                if number % 2:
                    raise KeyError("on purpose")
        except KeyError:
            pass
        for thread in threads:
            thread.join(10)
            assert not thread.is_alive(), "it waits for ever"
    assert not unforeseen
    assert answers


@pytest.mark.rule(24)
def test_a_call_that_is_on_its_way_when_the_loop_ends_is_told_so() -> None:
    with runcue.blocking(cue_with_tasks()) as b:
        calls = b._loop_calls
        assert calls is not None
    with pytest.raises(runcue.CueStopped, match="has ended"):
        calls.call(list)


def test_a_call_in_the_event_loops_own_thread_says_what_to_write_there() -> None:
    cue = cue_with_tasks()

    @cue.task("inside")
    async def inside(work: runcue.Work) -> None:
        b.submit("double", params={"n": 1})

    with runcue.blocking(cue) as b, pytest.raises(runcue.UsageError, match=r"await\s+cue.submit"):
        b.result(b.submit("inside"))
