"""A shortage of threads is waiting: real limits of the operating system, in processes of their own."""

from __future__ import annotations

import asyncio
import sys
import textwrap
from contextvars import copy_context
from typing import Any

import pytest

from runcue.executors.threads import ThreadExecutor
from tests.support.programs import run_python

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits threads as Linux does")

NOT_ALLOWED = 77

HEAD = """
import asyncio, logging, os, resource, sys, threading, time
if {loop!r} == "asyncio":
    sys.modules["uvloop"] = None
import runcue

STACK = 256 << 20
threading.stack_size(STACK)

def allow_threads(more):
    # That many more can be started from now on.
    if {by!r} == "processes":
        there = len(os.listdir("/proc/self/task"))
        resource.setrlimit(resource.RLIMIT_NPROC, (there + more, 1000))
    else:
        pages = int(open("/proc/self/statm").read().split()[0])
        size = pages * resource.getpagesize() + more * STACK + STACK // 2
        resource.setrlimit(resource.RLIMIT_AS, (size, resource.RLIM_INFINITY))

def become_somebody():
    # Whoever has no other process. The superuser is not limited. What root alone may read must be loaded before.
    if {by!r} == "processes":
        other = runcue.Cue()
        other.service("any")
        other.services(), other.debug_blocked(), other.why()
        try:
            os.setgroups([])
            os.setresgid(54321, 54321, 54321)
            os.setresuid(54321, 54321, 54321)
        except OSError as error:
            print(error)
            sys.exit({not_allowed})

lock = threading.Lock()
at_once = most = 0
def work_on(work):
    global at_once, most
    with lock:
        at_once += 1
        most = max(most, at_once)
    time.sleep(0.005)
    with lock:
        at_once -= 1
"""


def run(source: str, by: str, loop: str = "asyncio") -> tuple[list[str], str]:
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    text = HEAD.format(loop=loop, by=by, not_allowed=NOT_ALLOWED) + textwrap.dedent(source)
    # Or each thread takes some of the memory for its own heap.
    done = run_python("-c", text, env={"MALLOC_ARENA_MAX": "1"})
    if done.returncode == NOT_ALLOWED:
        pytest.skip(
            f"NOT TESTED: nobody can be limited here without being the superuser ({done.stdout.strip()})"
        )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines(), done.stderr


FIVE = """
    cue = runcue.Cue()
    cue.service("some", concurrent=40{rate})
    cue.task("t", uses="some", timeout=30)(work_on)
    starts = []
    cue.on_start(starts.append)
    async def main():
        async with cue:
            become_somebody()
            allow_threads(5)
            for _ in range(40):
                await cue.submit("t")
            summary = await cue.drain()
            print(summary.counts["completed"], most, len(starts))
    asyncio.Runner(loop_factory={factory}).run(main())
"""
FACTORIES = {"asyncio": "None", "uvloop": "__import__('uvloop').new_event_loop"}


@pytest.mark.rule(37)
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("rate", ["", ", rate='1000/sec'"], ids=["slots", "rate"])
@pytest.mark.parametrize("by", ["memory", "processes"])
def test_40_plain_handlers_run_on_the_five_threads_that_can_be_had(by: str, rate: str, loop: str) -> None:
    lines, told = run(FIVE.format(rate=rate, factory=FACTORIES[loop]), by, loop)
    most = 4 if rate else 5  # one tells of entries
    assert lines == [f"40 {most} 40"]
    assert told.count("No more threads can be started") == 1
    assert f"can't start new thread; there are {most}" in told
    assert "RuntimeError" not in told


@pytest.mark.rule(37)
@pytest.mark.parametrize("by", ["memory", "processes"])
def test_where_no_thread_can_be_had_at_first_everything_waits_until_there_are_some(by: str) -> None:
    source = """
        cue = runcue.Cue(stall_timeout=0.05)
        cue.service("some", concurrent=40)
        cue.task("plain", uses="some", timeout=0.1)(work_on)
        @cue.task("async", uses="some")
        async def in_the_loop(work): ...
        async def main():
            async with cue:
                become_somebody()
                allow_threads(0)
                handles = [await cue.submit(("plain", "async")[n % 2]) for n in range(20)]
                await asyncio.sleep(0.3)
                print(cue.debug_blocked()[0]["details"])
                print(cue.why(handles[0]).details)
                print(sorted({f"{handle.work.task} {handle.work.state.value}" for handle in handles}))
                print(cue.services()[0].in_use)
                allow_threads(3)
                summary = await cue.drain()
                print(summary.counts["completed"], most)
        asyncio.run(main())
    """
    lines, told = run(source, by)
    assert lines == [
        "no thread is free, and no more can be started",
        "no thread is free, and no more can be started",
        "['async completed', 'plain pending']",
        "0",
        "20 3",
    ]
    assert told.count("No more threads can be started") == 1


@pytest.mark.rule(37)
def test_what_waits_for_a_thread_can_be_cancelled_and_a_stop_without_drain_ends() -> None:
    source = """
        cue = runcue.Cue()
        cue.task("t")(work_on)
        async def main():
            cue.start()
            allow_threads(0)
            handles = [await cue.submit("t") for _ in range(3)]
            await asyncio.sleep(0.05)
            print(await cue.cancel(handles[1]))
            summary = await cue.stop(drain=False)
            print(summary.counts["cancelled"], [work.id for work in await cue.list() if work.started_at])
        asyncio.run(main())
    """
    lines, _ = run(source, "memory")
    assert lines == ["True", "3 []"]


@pytest.mark.rule(37)
def test_files_of_async_handlers_are_published_where_no_thread_can_be_had(tmp_path: Any) -> None:
    source = f"""
        cue = runcue.Cue()
        @cue.task("t", outputs={str(tmp_path / "o")!r})
        async def t(work):
            with work.write(work.outputs[0]) as file:
                file.write("whole")
        async def main():
            async with cue:
                allow_threads(0)
                await (await cue.submit("t")).result()
        asyncio.run(main())
    """
    _, told = run(source, "memory")
    assert (tmp_path / "o").read_text() == "whole"
    assert told == "" or "no thread could be had for it" in told  # if the disk takes long


def test_an_executor_of_threads_that_is_used_by_another_makes_its_threads_itself() -> None:
    async def main() -> list[Any]:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Any] = loop.create_future()
        executor = ThreadExecutor()

        class Clock:
            monotonic = staticmethod(loop.time)

            def hold(self) -> None: ...
            def release(self) -> None: ...

        executor.start(lambda *told: done.set_result(told), lambda *told: None, Clock())  # type: ignore[arg-type]
        executor.submit("work", lambda work: f"{work} done", copy_context(), stamped=False)
        told = await done
        assert (executor.threads, executor.idle) == (1, 1)
        executor.stop()
        return list(told[:3])

    assert asyncio.run(main()) == ["work", True, "work done"]
