"""`runcue.run(main)`: the synchronous entry, and its two-step Ctrl-C, in real processes with real signals."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any, Self

import pytest

import runcue

posix = pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT to a child process")

ROOT = Path(__file__).parents[2]


def test_run_returns_what_main_returns() -> None:
    async def main() -> int:
        await asyncio.sleep(0)
        return 42

    assert runcue.run(main) == 42
    assert runcue.run(main()) == 42


def test_run_raises_what_main_raises() -> None:
    async def main() -> None:
        raise ZeroDivisionError("as planned")

    with pytest.raises(ZeroDivisionError, match="as planned"):
        runcue.run(main)


@pytest.mark.parametrize(
    "error", [runcue.UsageError("mine"), SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError()]
)
def test_run_passes_every_kind_of_exception_on(error: BaseException) -> None:
    async def main() -> None:
        raise error

    with pytest.raises(type(error)):
        runcue.run(main)


def test_run_passes_debug_to_the_loop() -> None:
    async def main() -> bool:
        return asyncio.get_running_loop().get_debug()

    assert runcue.run(main, debug=True) is True
    assert runcue.run(main, debug=False) is False


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("form", ["function", "coroutine"])
def test_run_inside_of_a_running_loop_is_an_error_that_leaves_nothing_behind(form: str) -> None:
    async def inner() -> None: ...

    async def main() -> None:
        with pytest.raises(runcue.UsageError, match="await"):
            runcue.run(inner if form == "function" else inner())

    asyncio.run(main())


@pytest.mark.parametrize("main", [None, 5, "main", lambda: 5])
def test_run_of_something_else_is_an_error(main: Any) -> None:
    with pytest.raises(runcue.UsageError, match="async function"):
        runcue.run(main)


def test_run_leaves_no_signal_handler_and_no_event_loop_behind() -> None:
    before = signal.getsignal(signal.SIGINT)

    async def main() -> None:
        assert signal.getsignal(signal.SIGINT) is not before

    runcue.run(main)
    assert signal.getsignal(signal.SIGINT) is before
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()


def test_run_works_in_a_thread_that_cannot_have_signal_handlers() -> None:
    results: list[int] = []

    async def main() -> int:
        async with runcue.Cue() as cue:
            cue.task("t")(lambda work: 5)
            result: int = await (await cue.submit("t")).result()
            return result

    thread = threading.Thread(target=lambda: results.append(runcue.run(main)))
    thread.start()
    thread.join(30)
    assert results == [5]


def test_run_uses_uvloop_where_it_is_installed_and_asyncios_own_loop_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def main() -> str:
        return type(asyncio.get_running_loop()).__module__

    if sys.platform != "win32":
        pytest.importorskip("uvloop")
        assert runcue.run(main).startswith("uvloop")
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert runcue.run(main).startswith("asyncio")


def test_whatever_main_forgot_to_stop_ends_with_the_run() -> None:
    cue = runcue.Cue()
    ended: list[str] = []

    @cue.task("t")
    async def t(work: runcue.Work) -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            ended.append(work.id)

    async def main() -> runcue.WorkHandle:
        cue.start()
        handle = await cue.submit("t")
        await asyncio.sleep(0.01)
        return handle

    handle = runcue.run(main)
    assert ended == [handle]
    assert handle.work.state is runcue.WorkState.CANCELLED


class Program:
    """A program in a process of its own, which prints lines and is sent SIGINT."""

    def __init__(self, source: str, loop: str) -> None:
        hide = "import sys; sys.modules['uvloop'] = None\n" if loop != "uvloop" else ""
        if loop == "without add_signal_handler":  # as on Windows
            hide += (
                "import asyncio\n"
                "def none(self, *args): raise NotImplementedError\n"
                "asyncio.SelectorEventLoop.add_signal_handler = none\n"
            )
        head = (
            "import asyncio, logging, sys, threading, time, runcue\n"
            "logging.basicConfig(format='%(name)s: %(message)s')\n"
            # One write per line: threads say something as well.
            "def say(*words): sys.stdout.write(' '.join(map(str, words)) + '\\n'); sys.stdout.flush()\n"
        )
        self.process = subprocess.Popen(
            [sys.executable, "-c", hide + head + textwrap.dedent(source)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        self.lines: list[str] = []

    def until(self, line: str) -> None:
        assert self.process.stdout is not None
        for said in self.process.stdout:
            self.lines.append(said.rstrip())
            if line in said:
                return
        pytest.fail(f"it ended without {line!r}: {self.lines}")

    def interrupt(self) -> None:
        self.process.send_signal(signal.SIGINT)

    def end(self) -> int:
        """Waits for its end. Returns the exit code; what it said is in `lines`."""
        try:
            out, _ = self.process.communicate(timeout=30)
        finally:
            self.process.kill()
        self.lines += out.splitlines()
        return self.process.returncode

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


LOOPS = pytest.mark.parametrize("loop", ["asyncio", "uvloop", "without add_signal_handler"])

INTERRUPTED = (-signal.SIGINT, 128 + signal.SIGINT)
"""How a program ends that lets KeyboardInterrupt through."""

PROGRAM = """
    cue = runcue.Cue()
    cue.service("two", concurrent=2)
    cue.on_start(lambda work: say("start", work.task))
    cue.on_complete(lambda work, result, duration: say("complete", work.task))
    cue.on_cancel(lambda work: say("cancel", work.task))
    go_on = threading.Event()

    @cue.task("async", uses="two")
    async def in_the_loop(work):
        while not go_on.is_set():
            await asyncio.sleep(0.01)

    @cue.task("sync", uses="two")
    def in_a_thread(work):
        while not go_on.is_set() and not work.cancelled:
            time.sleep(0.01)
        say("thread ends", work.cancelled)

    @cue.task("pending", uses="two")
    async def pending(work): ...

    async def main():
        async with cue:
            for name in ("async", "sync", "pending"):
                await cue.submit(name)
            await asyncio.sleep(0.1)
            say("running")
            async def end():
                while not cue._stopping.shut:
                    await asyncio.sleep(0.01)
                say("interrupted once")
                if {ends}:
                    go_on.set()
            ending = asyncio.create_task(end())
            await cue.drain()
        say("main goes on")
        return "never"

    try:
        runcue.run(main)
        say("run returned")
    finally:
        states = sorted(f"{{work.task}} {{work.state.value}}" for work in asyncio.run(cue.list()))
        say("states:", ", ".join(states))
"""


@posix
@LOOPS
def test_one_ctrl_c_finishes_what_runs_cancels_what_is_pending_and_raises_keyboard_interrupt(
    loop: str,
) -> None:
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    with Program(PROGRAM.format(ends=True), loop) as program:
        program.until("running")
        program.interrupt()
        code = program.end()
        said = "\n".join(program.lines)
        assert code in INTERRUPTED, said
        assert "finishing 2 running work units. Ctrl-C again cancels them." in said
        assert "states: async completed, pending cancelled, sync completed" in said
        assert "run returned" not in said
        assert "start pending" not in said
        assert "thread ends False" in said
        assert "KeyboardInterrupt" in said


@posix
@LOOPS
def test_a_second_ctrl_c_cancels_what_runs(loop: str) -> None:
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    with Program(PROGRAM.format(ends=False), loop) as program:
        program.until("running")
        program.interrupt()
        program.until("interrupted once")
        program.interrupt()
        code = program.end()
        said = "\n".join(program.lines)
        assert code in INTERRUPTED, said
        assert "states: async cancelled, pending cancelled, sync cancelled" in said
        assert "abandoned sync" in said
        assert "KeyboardInterrupt" in said


NAP = "async def nap(n: float) -> float:\n    await asyncio.sleep(n)\n    return n"

GOES_ON: dict[str, str] = {
    "a map": "async for work in cue.map(nap, [0.01] * 1000, window=3): pass",
    "submissions": "while True:\n    await (await cue.call(nap, 0.01)).wait()",
    "results": "await asyncio.gather(*[await cue.call(nap, 0.01) for _ in range(1000)])",
    "a group": "async with cue.group() as group:\n    for _ in range(1000):\n        await group.call(nap, 0.01)",
    "room": "for _ in range(1000):\n    await full.call(nap, 0.01)",
}


@posix
@pytest.mark.parametrize("what", GOES_ON)
def test_what_ctrl_c_leads_to_in_main_is_not_told_as_an_error(what: str) -> None:
    cue, full = runcue.Cue(), runcue.Cue(max_pending=2)
    space: dict[str, Any] = {"asyncio": asyncio, "cue": cue, "full": full}
    for one in (cue, full):
        one.service("three", concurrent=3)
    main = f"async def main():\n    async with cue, full:\n{textwrap.indent(GOES_ON[what], ' ' * 8)}"
    exec(f"{NAP}\n{main}", space)  # noqa: S102 - as a user would write it
    for one in (cue, full):
        one.task(uses="three")(space["nap"])
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        threading.Timer(0.06, os.kill, (os.getpid(), signal.SIGINT)).start()
        with pytest.raises(KeyboardInterrupt) as raised:
            runcue.run(space["main"])
    finally:
        signal.signal(signal.SIGINT, before)
    # So a program that lets it through shows a few lines, of which none is about what runcue is inside.
    assert raised.value.__cause__ is raised.value.__context__ is None
    assert [entry.name for entry in raised.traceback if entry.path.parent.name == "_api"] == ["run"]
    assert max(cue.counts()["completed"], full.counts()["completed"]) < 1000
    assert not any(one.counts()["pending"] or one.counts()["running"] for one in (cue, full))


@posix
def test_ctrl_c_pressed_many_times_ends_the_program_all_the_same() -> None:
    with Program(PROGRAM.format(ends=False), "asyncio") as program:
        program.until("running")
        deadline = time.monotonic() + 30
        while program.process.poll() is None and time.monotonic() < deadline:
            program.interrupt()
            time.sleep(0.05)
        assert program.end() in INTERRUPTED, program.lines


@posix
def test_a_hung_thread_does_not_keep_the_program_alive_after_the_second_ctrl_c() -> None:
    source = """
        cue = runcue.Cue()
        cue.task("hangs")(lambda work: (say("running"), threading.Event().wait()))
        async def main():
            async with cue:
                await cue.submit("hangs")
        runcue.run(main)
    """
    with Program(source, "asyncio") as program:
        program.until("running")
        program.interrupt()
        program.until("Ctrl-C again")
        program.interrupt()
        assert program.end() in INTERRUPTED, program.lines
        assert "abandoned hangs" in "\n".join(program.lines)


@posix
@LOOPS
def test_ctrl_c_without_a_cue_cancels_main(loop: str) -> None:
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    source = """
        async def main():
            try:
                say("running")
                await asyncio.sleep(1000)
            finally:
                say("cleaned up")
        runcue.run(main)
    """
    with Program(source, loop) as program:
        program.until("running")
        program.interrupt()
        assert program.end() in INTERRUPTED, program.lines
        assert "cleaned up" in program.lines


@posix
def test_after_a_ctrl_c_main_may_print_its_report_before_the_end() -> None:
    source = """
        cue = runcue.Cue()
        @cue.task("t")
        async def t(work):
            say("running")
            await asyncio.sleep(0.2)
        async def main():
            cue.start()
            handle = await cue.submit("t")
            summary = await cue.drain()
            await asyncio.sleep(0)
            say("report:", summary.counts["completed"])
        runcue.run(main)
    """
    with Program(source, "asyncio") as program:
        program.until("running")
        program.interrupt()
        assert program.end() in INTERRUPTED, program.lines
        assert "report: 1" in program.lines


@posix
def test_after_a_ctrl_c_a_main_that_waits_for_something_else_is_cancelled() -> None:
    source = """
        cue = runcue.Cue()
        cue.task("t")(lambda work: say("running"))
        async def main():
            cue.start()
            await cue.submit("t")
            try:
                await asyncio.sleep(1000)
            finally:
                say("cleaned up")
        runcue.run(main)
    """
    with Program(source, "asyncio") as program:
        program.until("running")
        program.interrupt()
        assert program.end() in INTERRUPTED, program.lines
        assert "cleaned up" in program.lines


@posix
def test_ctrl_c_stops_every_cue_of_the_program() -> None:
    source = """
        cues = [runcue.Cue(), runcue.Cue()]
        for cue in cues:
            @cue.task("t")
            async def t(work):
                await asyncio.sleep(0.3)
        async def main():
            async with cues[0], cues[1]:
                for cue in cues:
                    await cue.submit("t")
                await asyncio.sleep(0.05)
                say("running")
                await asyncio.sleep(1000)
        try:
            runcue.run(main)
        finally:
            for cue in cues:
                say([work.state.value for work in asyncio.run(cue.list())])
    """
    with Program(source, "asyncio") as program:
        program.until("running")
        program.interrupt()
        assert program.end() in INTERRUPTED, program.lines
        assert program.lines.count("['completed']") == 2


@posix
def test_a_main_that_submits_in_a_loop_is_ended_by_one_ctrl_c() -> None:
    source = """
        cue = runcue.Cue()
        cue.service("some", concurrent=3)
        @cue.task("t", uses="some")
        async def t(work):
            await asyncio.sleep(0.01)
        async def main():
            async with cue:
                for n in range(1_000_000):
                    handle = await cue.submit("t")
                    if n == 20:
                        say("running")
                    await handle.result()
        runcue.run(main)
    """
    with Program(source, "asyncio") as program:
        program.until("running")
        program.interrupt()
        assert program.end() in INTERRUPTED, program.lines
