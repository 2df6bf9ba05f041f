"""`handle.result_sync()`: waiting for a work unit in plain handlers and in other threads."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import threading
import time
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any

import pytest

import runcue
from tests.support.loops import LOOPS, each_loop, run_on

# A thread that hangs would hold up the whole suite.
pytestmark = pytest.mark.timeout(60)


def cue_with_tasks(**options: Any) -> runcue.Cue:
    cue = runcue.Cue(id_prefix="", **options)
    cue.service("some", concurrent=4)

    @cue.task("double", uses="some")
    async def double(work: runcue.Work) -> int:
        await asyncio.sleep(work.params.get("seconds", 0.01))
        return 2 * int(work.params["n"])

    @cue.task("fails")
    async def fails(work: runcue.Work) -> None:
        await asyncio.sleep(0.01)
        raise ValueError("no ink")

    @cue.task("hangs")
    async def hangs(work: runcue.Work) -> None:
        await asyncio.sleep(3600)

    return cue


def started(loop: str, use: Callable[[runcue.Cue], Coroutine[Any, Any, None]], **options: Any) -> None:
    async def main() -> None:
        async with cue_with_tasks(**options) as cue:
            await use(cue)

    run_on(loop, main)


@each_loop
def test_a_plain_handler_waits_for_what_it_has_submitted(loop: str) -> None:
    async def use(cue: runcue.Cue) -> None:
        @cue.task("sum", uses="some")
        def add_up(work: runcue.Work) -> int:
            handles: list[Any] = [work.submit("double", {"n": n}) for n in range(5)]
            return sum(handle.result_sync() for handle in handles)

        assert await (await cue.submit("sum")) == 20

    started(loop, use)


@each_loop
def test_a_thread_gets_values_failures_and_cancellations(loop: str) -> None:
    async def use(cue: runcue.Cue) -> None:
        double = await cue.submit("double", {"n": 21})
        assert await asyncio.to_thread(double.result_sync) == 42
        assert await asyncio.to_thread(double.result_sync, timeout=0) == 42, "it has settled"
        for _ in range(2):
            fails = await cue.submit("fails")
            with pytest.raises(ValueError, match="no ink") as raised:
                await asyncio.to_thread(fails.result_sync, timeout="30s")
            assert any(entry.name == "fails" for entry in raised.traceback)
            with pytest.raises(ValueError, match="no ink"):
                await asyncio.to_thread(fails.result_sync)
        hangs = await cue.submit("hangs")
        waits = asyncio.create_task(asyncio.to_thread(hangs.result_sync))
        await asyncio.sleep(0.02)
        hangs.cancel()
        with pytest.raises(runcue.WorkCancelled):
            await waits
        with pytest.raises(runcue.WorkCancelled):
            await asyncio.to_thread(hangs.result_sync)

    started(loop, use)


@each_loop
def test_who_waits_for_no_longer_is_told_for_what_and_it_goes_on(loop: str) -> None:
    async def use(cue: runcue.Cue) -> None:
        handle = await cue.submit("double", {"n": 1, "seconds": 0.3})
        for timeout, words in ((0, "0"), (0.05, "0.05"), (timedelta(milliseconds=20), "0.02")):
            began = time.monotonic()
            with pytest.raises(TimeoutError, match=f"double 1 has not ended within {words} s .*: it is "):
                await asyncio.to_thread(handle.result_sync, timeout=timeout)
            assert time.monotonic() - began < 0.3
        await asyncio.sleep(0.01)
        assert not cue._dispatcher.calls.tasks, "nothing is left of who has given up"
        assert await asyncio.to_thread(handle.result_sync, timeout=30) == 2

    started(loop, use)


@pytest.mark.parametrize("timeout", [-1, float("nan"), "soon", "-5s", True, [1], float("inf")])
def test_a_time_out_that_is_none_is_refused(timeout: Any) -> None:
    async def use(cue: runcue.Cue) -> None:
        handle = await cue.submit("double", {"n": 1})
        with pytest.raises(runcue.ConfigurationError, match="timeout of result_sync\\(\\) must be "):
            await asyncio.to_thread(handle.result_sync, timeout=timeout)

    started("asyncio", use)


@each_loop
def test_in_the_event_loop_it_says_what_to_write_there(loop: str) -> None:
    async def use(cue: runcue.Cue) -> None:
        handle = await cue.submit("double", {"n": 1})
        with pytest.raises(runcue.UsageError, match="there it is `await handle`"):
            handle.result_sync()
        with pytest.raises(runcue.UsageError, match="there it is `await handle`"):
            handle.result_sync(timeout=0)
        await handle
        with pytest.raises(runcue.UsageError, match="there it is `await handle`"):
            handle.result_sync()  # or it would work or not, depending on who is quicker

        @cue.task("asks")
        async def asks(work: runcue.Work) -> int:
            other: Any = await cue.submit("double", {"n": 1})
            return int(other.result_sync())

        with pytest.raises(runcue.UsageError, match="there it is `await handle`"):
            await (await cue.submit("asks"))

    started(loop, use)


def test_between_two_runs_of_a_loop_it_says_that_nothing_runs() -> None:
    loop = asyncio.new_event_loop()
    cue = cue_with_tasks()

    async def begin() -> runcue.WorkHandle:
        cue.start()
        return await cue.submit("double", {"n": 1})

    handle = loop.run_until_complete(begin())
    with pytest.raises(runcue.UsageError, match="which does not run meanwhile"):
        handle.result_sync()
    loop.run_until_complete(cue.stop())
    assert handle.result_sync() == 2, "it has settled"
    loop.close()
    assert handle.result_sync() == 2


def test_of_a_cue_that_is_not_started_or_whose_loop_has_ended_it_is_an_error() -> None:
    cue = cue_with_tasks()

    async def submit() -> runcue.WorkHandle:
        return await cue.submit("double", {"n": 1})

    handle = asyncio.run(submit())
    with pytest.raises(runcue.UsageError, match="whose cue is not started, would wait for ever"):
        handle.result_sync(timeout=5)

    async def begin() -> runcue.WorkHandle:
        cue.start()
        cue.is_ready(lambda work: False)
        return await cue.submit("double", {"n": 1})

    with pytest.warns(ResourceWarning, match="A Cue was not stopped"):
        pending = asyncio.run(begin())
    with pytest.raises(runcue.WrongLoop, match="whose event loop has ended"):
        pending.result_sync(timeout=5)


@pytest.mark.parametrize("how", ["stop", "end", "close", "close in order"])
@each_loop
def test_whoever_waits_while_the_loop_ends_is_told_so(
    loop: str, how: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("runcue._dispatch.loop_calls._LOOK_EVERY", 0.05)
    said: list[BaseException] = []
    cue = cue_with_tasks()
    thread: list[threading.Thread] = []

    def wait(handle: runcue.WorkHandle) -> None:
        try:
            handle.result_sync()
        except BaseException as error:
            said.append(error)

    async def main() -> None:
        cue.start()
        handle = await cue.submit("hangs")
        thread.append(threading.Thread(target=wait, args=(handle,)))
        thread[0].start()
        while not cue._dispatcher.calls.tasks:
            await asyncio.sleep(0.001)
        if how == "stop":
            await cue.stop(drain=False, timeout=0)

    if how.startswith("close"):
        own = LOOPS[loop]()
        own.run_until_complete(main())
        if how == "close in order":
            with pytest.warns(ResourceWarning):
                own.run_until_complete(own.shutdown_asyncgens())
        own.close()
    else:
        with pytest.warns(ResourceWarning) if how == "end" else contextlib.nullcontext():
            run_on(loop, main)
    thread[0].join(10)
    assert not thread[0].is_alive()
    assert [type(error) for error in said] == [runcue.WorkCancelled if how == "stop" else runcue.CueStopped]
    if how == "close":
        with pytest.warns(ResourceWarning):
            cue._intake._unstopped.look()
    gc.collect()
    assert "was destroyed" not in caplog.text


@each_loop
def test_the_failure_of_the_scheduler_ends_the_wait(loop: str, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        cue = cue_with_tasks()
        cue.start()
        handle = await cue.submit("hangs")
        later = await cue.submit("fails", delay=100)
        waits = asyncio.create_task(asyncio.to_thread(handle.result_sync))
        while not cue._dispatcher.calls.tasks:
            await asyncio.sleep(0.001)
        cue._dispatcher.turns.fail(RuntimeError("broken"))
        with pytest.raises(runcue.CueFailed):
            await waits
        with pytest.raises(runcue.CueFailed):
            await asyncio.to_thread(later.result_sync)
        with pytest.raises(runcue.CueFailed):
            await cue.stop()

    run_on(loop, main)


@pytest.mark.rule(36)
@each_loop
def test_a_child_that_needs_the_slot_of_who_waits_for_it_is_a_deadlock_that_is_told(loop: str) -> None:
    told = threading.Event()
    heard: list[runcue.abc.CueWarning] = []

    class Hears(runcue.Observer):
        def warned(self, warning: runcue.abc.CueWarning) -> None:
            if warning.kind in ("deadlock", "self_wait"):
                heard.append(warning)
                told.set()

    async def main() -> None:
        cue = runcue.Cue(id_prefix="")
        cue.service("one", concurrent=1)
        cue.observe(Hears())
        cue.task("child", uses="one")(lambda work: None)

        @cue.task("parent", uses="one")
        def parent(work: runcue.Work) -> str:
            child: Any = work.submit("child")
            try:
                child.result_sync(timeout=work.params.get("timeout"))
            except (runcue.WorkCancelled, TimeoutError) as error:
                return type(error).__name__
            return ""

        cue.start()
        handle = await cue.submit("parent")
        assert await asyncio.to_thread(told.wait, 10)
        assert heard[-1].kind == "deadlock"
        assert heard[-1].works == (handle.work,)
        assert cue.why(handle).verdict == "deadlock"
        summary = await cue.stop()
        assert summary.deadlocked == [handle.work]
        assert handle.work.result == "WorkCancelled"

        cue.start()
        told.clear()
        handle = await cue.submit("parent", {"timeout": 1.5})
        assert await asyncio.to_thread(told.wait, 10)
        assert heard[-1].kind == "self_wait", "this one has an end"
        assert await handle == "TimeoutError"
        await cue.stop()

    run_on(loop, main)


@each_loop
def test_while_somebody_waits_in_a_thread_the_failure_is_heard_of(
    loop: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def use(cue: runcue.Cue) -> None:
        handle = await cue.submit("fails")
        with pytest.raises(ValueError, match="no ink"):
            await asyncio.to_thread(handle.result_sync)

    started(loop, use)
    assert not caplog.records


def test_what_load_reads_is_had_as_well_also_when_the_loop_has_ended() -> None:
    cue = runcue.Cue()

    @cue.task("t", load=lambda work: work.params["n"])
    async def t(work: runcue.Work) -> None: ...

    cue.is_stale(lambda work: False)

    async def main() -> list[runcue.WorkHandle]:
        async with cue:
            handles = [await cue.submit("t", {"n": n}) for n in range(2)]
            await handles[0].wait()
            assert await asyncio.to_thread(handles[0].result_sync) == 0
        return handles

    assert [handle.result_sync() for handle in asyncio.run(main())] == [0, 1]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forked processes")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_in_a_forked_process_it_is_an_error() -> None:
    async def use(cue: runcue.Cue) -> None:
        handle = await cue.submit("double", {"n": 1, "seconds": 0.2})
        told, tells = os.pipe()

        def fork() -> str:
            child = os.fork()
            if child == 0:
                try:
                    handle.result_sync(timeout=5)
                except BaseException as error:
                    os.write(tells, f"{type(error).__name__}: {error}".encode())
                os._exit(0)
            os.waitpid(child, 0)
            return os.read(told, 2000).decode()

        line = await asyncio.to_thread(fork)
        assert line.startswith("WrongLoop: result_sync() of double 1 in a forked process")
        await handle

    started("asyncio", use)
