"""What SIGTERM and Ctrl-C mean to `runcue.run()`, in real processes with real signals."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import runcue
from tests.support.programs import SECONDS, start_python

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="sends signals to child processes")

LOOPS = pytest.mark.parametrize("loop", ["asyncio", "uvloop"])

HEAD = """
import asyncio, logging, os, signal, sys, threading, time
if {loop!r} == "asyncio":
    sys.modules["uvloop"] = None
import runcue
def say(*words):
    sys.stdout.write(" ".join(map(str, words)) + "\\n"); sys.stdout.flush()
"""


@contextmanager
def program(source: str, loop: str) -> Iterator[subprocess.Popen[str]]:
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    text = HEAD.format(loop=loop) + textwrap.dedent(source)
    with start_python("-W", "ignore::DeprecationWarning", "-c", text, stderr=subprocess.STDOUT) as process:
        try:
            yield process
        finally:
            process.kill()


def until(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdout is not None
    said = []
    for one in process.stdout:
        said.append(one)
        if line in one:
            return
    pytest.fail(f"it ended without {line!r}: {said}")


def end(process: subprocess.Popen[str]) -> tuple[int, str]:
    # Not by communicate(), which passes over what `until` has read ahead.
    assert process.stdout is not None
    too_late = threading.Timer(SECONDS, process.kill)
    too_late.start()
    said = process.stdout.read()
    too_late.cancel()
    return process.wait(), said


TWO_RUN_AND_ONE_WAITS = """
    cue = runcue.Cue()
    cue.service("two", concurrent=2)
    go_on = threading.Event()
    running = []

    @cue.task("async", uses="two")
    async def in_the_loop(work):
        running.append(work)
        while not go_on.is_set():
            await asyncio.sleep(0.01)

    @cue.task("sync", uses="two")
    def in_a_thread(work):
        running.append(work)
        while not go_on.is_set() and not work.cancelled:
            time.sleep(0.01)

    @cue.task("pending", uses="two")
    async def pending(work): ...

    async def main():
        async with cue:
            handles = [await cue.submit(name) for name in ("async", "sync", "pending")]
            while len(running) < 2:
                await asyncio.sleep(0.01)
            say("running")
            while not cue._stopping.shut:
                await asyncio.sleep(0.01)
            say("answered")
            if {ends}:
                go_on.set()
            await cue.drain()
    try:
        runcue.run(main)
    finally:
        say(*sorted(f"{{work.task}} {{work.state.value}}" for work in cue._core.history))
        say(signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)
"""


@pytest.mark.rule(23)
@LOOPS
def test_one_sigterm_finishes_what_runs_cancels_what_is_pending_and_ends_with_143(loop: str) -> None:
    with program(TWO_RUN_AND_ONE_WAITS.format(ends=True), loop) as process:
        until(process, "running")
        process.send_signal(signal.SIGTERM)
        code, said = end(process)
        assert code == 143, said
        assert "async completed pending cancelled sync completed\nTrue" in said
        assert "Traceback" not in said


MUST_COMPLETE = """
    cue = runcue.Cue()
    cue.service("one", concurrent=1)

    @cue.task("running", uses="one")
    async def running(work):
        say("running")
        while not cue._stopping.shut:
            await asyncio.sleep(0.01)

    @cue.task("must", uses="one", must_complete=True)
    def must(work):
        say("must has begun")
        while {hangs} and not work.cancelled:
            time.sleep(0.01)

    cue.task("pending", uses="one")(lambda work: None)

    async def main():
        async with cue:
            for name in ("running", "pending", "must"):
                await cue.submit(name)
            while not cue._stopping.shut:
                await asyncio.sleep(0.01)
    try:
        runcue.run(main)
    finally:
        say(*sorted(f"{{work.task}} {{work.state.value}}" for work in cue._core.history))
"""


@pytest.mark.rule(23, 39)
@pytest.mark.parametrize(("loop", "hangs"), [("asyncio", False), ("uvloop", True)])
def test_what_must_complete_runs_after_the_first_signal_and_is_cut_by_the_second(
    hangs: bool, loop: str
) -> None:
    with program(MUST_COMPLETE.format(hangs=hangs), loop) as process:
        until(process, "running")
        process.send_signal(signal.SIGINT)
        until(process, "finishing 1 running work unit and 1 that must complete or is needed for that.")
        until(process, "must has begun")
        if hangs:
            process.send_signal(signal.SIGINT)
        code, said = end(process)
        assert code == -signal.SIGINT, said
        assert f"must {'cancelled' if hangs else 'completed'} pending cancelled running completed" in said


@pytest.mark.rule(23)
@LOOPS
@pytest.mark.parametrize(
    ("first", "second", "code"),
    [
        (signal.SIGTERM, signal.SIGTERM, 143),
        (signal.SIGTERM, signal.SIGINT, 143),
        (signal.SIGINT, signal.SIGTERM, -signal.SIGINT),
    ],
)
def test_a_second_signal_cuts_what_runs_and_the_first_decides_how_it_ends(
    first: signal.Signals, second: signal.Signals, code: int, loop: str
) -> None:
    with program(TWO_RUN_AND_ONE_WAITS.format(ends=False), loop) as process:
        until(process, "running")
        process.send_signal(first)
        until(process, "answered")
        process.send_signal(second)
        ended, said = end(process)
        assert ended == code, said
        assert "async cancelled pending cancelled sync cancelled\nTrue" in said


def test_a_loop_that_does_not_answer_is_ended_by_the_third_sigterm() -> None:
    source = """
        cue = runcue.Cue()
        @cue.task("t")
        async def t(work):
            taken, seen = signal.getsignal(signal.SIGTERM).__self__, None
            end = time.monotonic() + 40
            while time.monotonic() < end:
                if taken._signals != seen:
                    seen = taken._signals
                    say("seen", seen)
        async def main():
            async with cue:
                await cue.submit("t")
        runcue.run(main)
    """
    with program(source, "asyncio") as process:
        for number in range(3):
            until(process, f"seen {number}")
            process.send_signal(signal.SIGTERM)
        assert end(process)[0] == 143


@pytest.mark.parametrize("main", ["sleeps", "is in a task group"])
def test_a_main_without_a_report_ends_with_143_whatever_it_stumbles_over(main: str) -> None:
    source = """
        cue = runcue.Cue()
        @cue.task("t")
        async def t(work):
            await asyncio.sleep(0.05)
        async def submits():
            while True:
                await (await cue.submit("t")).result()
        async def sleeps():
            try:
                say("running")
                await asyncio.sleep(1000)
            finally:
                say("cleaned up")
        async def group():
            cue.start()
            async with asyncio.TaskGroup() as group:
                for _ in range(2):
                    group.create_task(submits())
                await asyncio.sleep(0.01)
                say("running")
        runcue.run({main})
    """
    with program(source.format(main="sleeps" if main == "sleeps" else "group"), "asyncio") as process:
        until(process, "running")
        process.send_signal(signal.SIGTERM)
        code, said = end(process)
        assert code == 143, said
        assert "Traceback" not in said
        assert "cleaned up" in said or main != "sleeps"


@LOOPS
def test_processes_that_handlers_fork_have_the_usual_handlers(loop: str) -> None:
    source = """
        import multiprocessing, subprocess
        cue = runcue.Cue()
        told, tells = os.pipe()
        def is_usual():
            here = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
            return here == (signal.SIG_DFL, signal.default_int_handler)
        def sleeps():
            os.write(tells, b"u" if is_usual() else b"x")
            time.sleep(30)
        @cue.task("t")
        def t(work):
            forked = os.fork()
            if forked == 0:
                sleeps()
                os._exit(3)
            process = multiprocessing.get_context("fork").Process(target=sleeps)
            process.start()
            command = subprocess.Popen(["sleep", "30"])
            say(os.read(told, 1), os.read(told, 1))
            for pid in (forked, process.pid, command.pid):
                os.kill(pid, signal.SIGTERM)
            process.join()
            say("ends", os.waitstatus_to_exitcode(os.waitpid(forked, 0)[1]), process.exitcode, command.wait())
        async def main():
            async with cue:
                await (await cue.submit("t")).result()
                say("still there", not is_usual())
        runcue.run(main)
    """
    with program(source, loop) as process:
        code, said = end(process)
        assert code == 0, said
        assert said.splitlines() == ["b'u' b'u'", "ends -15 -15 -15", "still there True"]


@pytest.fixture
def restored() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("restored")
@pytest.mark.parametrize("handler", [signal.SIG_IGN, lambda number, frame: None], ids=["ignored", "own"])
def test_a_handler_of_sigterm_that_is_the_programs_own_stays(handler: Any) -> None:
    signal.signal(signal.SIGTERM, handler)

    async def main() -> Any:
        return signal.getsignal(signal.SIGTERM)

    assert runcue.run(main) is handler
    assert signal.getsignal(signal.SIGTERM) is handler


@pytest.mark.usefixtures("restored")
def test_a_handler_of_sigterm_that_main_sets_stays_as_well() -> None:
    def mine(number: int, frame: object) -> None: ...

    async def main() -> None:
        assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
        signal.signal(signal.SIGTERM, mine)

    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    runcue.run(main)
    assert signal.getsignal(signal.SIGTERM) is mine


@pytest.mark.usefixtures("restored")
def test_who_shows_a_run_on_a_terminal_does_not_care_for_signals(monkeypatch: pytest.MonkeyPatch) -> None:
    def gives_the_terminal_back(number: int, frame: object) -> None: ...

    monkeypatch.setattr(gives_the_terminal_back, "__module__", "runcue.console.terminal")
    signal.signal(signal.SIGTERM, gives_the_terminal_back)

    async def main() -> None:
        signal.raise_signal(signal.SIGTERM)

    with pytest.raises(SystemExit):
        runcue.run(main)
    assert signal.getsignal(signal.SIGTERM) is gives_the_terminal_back


@pytest.mark.usefixtures("restored")
def test_a_signal_that_comes_as_main_returns_is_not_lost() -> None:
    async def main() -> str:
        signal.raise_signal(signal.SIGTERM)
        return "done"

    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with pytest.raises(SystemExit) as ended:
        runcue.run(main)
    assert ended.value.code == 143
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
