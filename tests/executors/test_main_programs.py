"""`run_in="process"` in programs as they are run: scripts, `python -m`, from a pipe, guarded or not."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from textwrap import dedent

import pytest

from tests.support.programs import run_python, start_python, wait_until

pytestmark = pytest.mark.rule(57)

HANDLERS = """
import os

def who():
    return os.getpid()

def echo(text: str):
    os.system(f"echo {text} from echo")
    print(text, "printed")
    return text
"""

GUARDED = """
    import dataclasses, functools, os, sys
    import runcue

    cue = runcue.Cue(max_processes=1)

    @dataclasses.dataclass
    class Point:
        x: int

    class Sorry(Exception):
        pass

    def twice(function):
        @functools.wraps(function)
        def inner(*args, **kwargs):
            return function(*args, **kwargs) * 2
        return inner

    @cue.task(run_in="process")
    def mirror(point: Point, fails: bool = False) -> Point:
        if fails:
            raise Sorry("it is so")
        assert type(point) is Point
        return Point(-point.x)

    @twice
    @cue.task(run_in="process")
    def number():
        return 21

    @cue.task(run_in="process")
    @twice
    def decorated():
        return os.getpid(), sys.argv[1:], __name__

    async def main():
        async with cue:
            point = await (await cue.call(mirror, Point(3)))
            assert type(point) is Point and point.x == -3, point
            try:
                await (await cue.call(mirror, Point(3), fails=True))
            except Sorry as error:
                assert type(error) is Sorry
                assert "in mirror" in str(error.__cause__), error.__cause__
            assert await (await cue.submit("number")) == 21
            pid, arguments, name, *again = await (await cue.submit("decorated"))
            assert pid != os.getpid() and arguments == sys.argv[1:] == ["one"] and again
        print("done", name)

    if __name__ == "__main__":
        runcue.run(main)
    """


def write(folder: Path, name: str, content: str) -> Path:
    path = folder / name
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text(dedent(content), encoding="utf-8")
    return path


def test_functions_classes_and_exceptions_of_a_script_survive_both_ways(tmp_path: Path) -> None:
    script = write(tmp_path, "script.py", GUARDED)
    done = run_python("-W", "default::ResourceWarning", script, "one", folder=tmp_path)
    assert (done.stdout, done.stderr) == ("done __mp_main__\n", "")  # no process has left a file open, either


def test_a_module_that_is_run_as_a_program_has_its_relative_imports(tmp_path: Path) -> None:
    write(tmp_path, "pkg/__init__.py", "")
    write(tmp_path, "pkg/beside.py", "def answer(): return 42")
    program = """
        import os
        import runcue
        from .beside import answer

        cue = runcue.Cue(max_processes=1)

        @cue.task(run_in="process")
        def ask():
            return answer(), __package__, os.getpid()

        async def main():
            async with cue:
                number, package, pid = await (await cue.call(ask))
                print(number, package, pid != os.getpid())

        if __name__ == "__main__":
            runcue.run(main)
        """
    write(tmp_path, "pkg/mod.py", program)
    write(tmp_path, "pkg/__main__.py", program)
    for name in ("pkg.mod", "pkg"):
        done = run_python("-m", name, folder=tmp_path)
        assert (done.stdout, done.stderr) == ("42 pkg True\n", "")
    done = run_python(write(tmp_path, "folder/__main__.py", GUARDED).parent, "one", folder=tmp_path)
    assert (done.stdout, done.stderr) == ("done __mp_main__\n", "")


def test_a_program_without_a_guard_or_without_a_file_may_use_handlers_of_modules(tmp_path: Path) -> None:
    write(tmp_path, "handlers.py", HANDLERS)
    program = dedent("""
        import os
        import runcue
        from handlers import echo, who

        print("here")
        cue = runcue.Cue(max_processes=1)
        cue.task("who", run_in="process")(who)
        cue.task("echo", run_in="process")(echo)

        async def main():
            async with cue:
                assert await (await cue.call(who)) != os.getpid()
                assert await (await cue.call(echo, "word")) == "word"

        runcue.run(main)
        """)
    script = write(tmp_path, "script.py", program)
    expected = "here\nword from echo\nword printed\n"
    for arguments, given in (((script,), None), (("-",), program), (("-c", program), None)):
        done = run_python(*arguments, folder=tmp_path, input=given, env={"PYTHONUNBUFFERED": "1"})
        assert (done.stdout, done.stderr) == (expected, "")


def test_a_script_without_a_guard_is_told_of_it_and_what_needs_it_is_tried_once(tmp_path: Path) -> None:
    done = run_python(
        write(
            tmp_path,
            "script.py",
            """
            import runcue

            cue = runcue.Cue(max_processes=1)

            @cue.task(run_in="process", retry=3)
            def own():
                return 1

            async def main():
                async with cue:
                    work = await (await cue.call(own)).wait()
                    print(work.attempt, type(work.exception).__name__, work.exception)

            try:
                with runcue.blocking(cue) as b:
                    print(b.result(b.call(own)), "never")
            except Exception as error:
                print(error)
                if __name__ == "__mp_main__":
                    raise
            runcue.run(main)
            """,
        ),
        folder=tmp_path,
    )
    assert "never" not in done.stdout
    assert '`if __name__ == "__main__":`' in done.stdout
    assert done.stdout.splitlines()[-1].startswith("1 "), done.stdout


def test_what_a_script_raises_where_it_is_imported_fails_each_attempt_that_needs_it(tmp_path: Path) -> None:
    done = run_python(
        write(
            tmp_path,
            "script.py",
            """
            import runcue

            cue = runcue.Cue(max_processes=1)

            @cue.task(run_in="process", retry=3)
            def own():
                return 1

            async def main():
                async with cue:
                    for _ in range(2):
                        work = await (await cue.call(own)).wait()
                        print(work.attempt, work.exception)

            if __name__ == "__main__":
                runcue.run(main)
            else:
                raise ZeroDivisionError("in the middle")
            """,
        ),
        folder=tmp_path,
    )
    for line in done.stdout.splitlines():
        assert line.startswith("1 ")
        assert "script.py, cannot be imported in a process: ZeroDivisionError: in the middle" in line
    assert done.stderr.count("ZeroDivisionError: in the middle") == 1


def test_descriptors_that_are_closed_are_not_taken_for_those_of_a_process(tmp_path: Path) -> None:
    write(tmp_path, "handlers.py", HANDLERS)
    script = write(
        tmp_path,
        "script.py",
        """
        import os, sys
        os.close(0); os.close(1); os.close(2)
        import runcue
        from handlers import echo

        cue = runcue.Cue(max_processes=1)
        cue.task("echo", run_in="process")(echo)

        async def main():
            async with cue:
                assert await (await cue.call(echo, "word")) == "word"
            open("done", "w").close()

        runcue.run(main)
        """,
    )
    run_python(script, folder=tmp_path)
    assert (tmp_path / "done").exists()


LONG = """
    import os, pathlib, subprocess, sys, time
    import runcue

    cue = runcue.Cue(max_processes=2)

    @cue.task(run_in="process")
    def take_long(number: int):
        child = subprocess.Popen(["sleep", "60"])
        pathlib.Path(f"pids{number}").write_text(f"{os.getpid()} {child.pid}")
        print(number, "goes on", flush=True)
        time.sleep(60)

    @cue.task(run_in="process")
    def quick():
        pathlib.Path(f"pids1").write_text(f"{os.getpid()}")

    async def main():
        async with cue:
            await (await cue.call(quick))
            await cue.call(take_long, 0)
            {more}

    if __name__ == "__main__":
        runcue.run(main)
    """


def state_of(pid: int) -> str:
    """Of a process, as of `ps`: "Z" is one that has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


def is_alive(pid: int) -> bool:
    return state_of(pid) != "Z"


def pids_in(folder: Path) -> list[int]:
    return [int(pid) for path in folder.glob("pids*") for pid in path.read_text(encoding="utf-8").split()]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_when_a_program_is_killed_or_interrupted_its_processes_are_gone_within_a_second(
    tmp_path: Path, number: signal.Signals
) -> None:
    script = write(tmp_path, "script.py", LONG.replace("{more}", ""))
    with start_python(
        script,
        folder=tmp_path,
        stdin=-3,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as program:
        wait_until(lambda: len(pids_in(tmp_path)) >= 2)
        time.sleep(0.2)
        program.send_signal(number)
        if number == signal.SIGINT:
            program.send_signal(number)
            time.sleep(0.1)
            program.send_signal(number)
        killed = time.monotonic()
        wait_until(lambda: not any(map(is_alive, pids_in(tmp_path))))
        assert time.monotonic() - killed < 5  # a second, on a machine that has nothing else to do
        program.wait(20)
    assert pids_in(tmp_path)


def test_when_a_program_is_killed_a_process_ends_that_keeps_its_lock_and_one_that_was_stopped(
    tmp_path: Path,
) -> None:
    script = write(
        tmp_path,
        "script.py",
        """
        import os, pathlib, re, signal
        import runcue

        cue = runcue.Cue(max_processes=2)

        def tell(number):
            pathlib.Path("new").write_text(f"{os.getpid()}")
            os.replace("new", f"pids{number}")

        @cue.task(run_in="process")
        def keep_the_lock():
            tell(0)
            re.match("(a+)+$", 60 * "a" + "b")

        @cue.task(run_in="process")
        def be_stopped():
            tell(1)
            os.kill(os.getpid(), signal.SIGSTOP)

        async def main():
            async with cue:
                await cue.call(keep_the_lock)
                await cue.call(be_stopped)

        if __name__ == "__main__":
            runcue.run(main)
        """,
    )
    with start_python(script, folder=tmp_path, stdin=-3) as program:
        wait_until(lambda: len(pids_in(tmp_path)) == 2)
        keeping, stopped = (int((tmp_path / f"pids{one}").read_text()) for one in range(2))
        wait_until(lambda: state_of(stopped) == "T")
        program.kill()
        wait_until(lambda: not (is_alive(keeping) or is_alive(stopped)))
