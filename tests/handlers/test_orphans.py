"""What programs were started by a process that is killed is gone with it: a real process, real programs."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from subprocess import DEVNULL

import pytest

from tests.support.programs import run_python, start_python, wait_until

pytestmark = [
    pytest.mark.rule(58),
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="NOT TESTED: nothing tells of processes"),
]

PROGRAM = """
import asyncio, os, sys
import runcue

cue = runcue.Cue(max_processes=4)
# One that has ended and left something in the background, and one whose child has a process group of its own.
cue.task("ends")(runcue.shell("sleep 50 >/dev/null 2>&1 & echo $! > left"))
cue.task("runs")(runcue.shell("echo $$ > leader; timeout 50 sh -c 'echo $$ > child; sleep 50'; true"))

async def main():
    async with cue:
        await (await cue.submit("ends"))
        await cue.submit("runs")
        while sys.argv[1:] and not os.path.exists("child"):
            await asyncio.sleep(0.01)
        if sys.argv[1:] and os.fork() == 0:
            open("forked", "w").write(str(os.getpid()))
            os.execvp("sleep", ["sleep", "50"])
        await cue.drain()

asyncio.run(main())
"""


def pid_in(file: Path) -> int:
    return int(wait_until(lambda: file.exists() and file.read_text().strip()))


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGHUP])
@pytest.mark.parametrize("forks", [(), ("forks",)], ids=["alone", "beside a forked one"])
def test_commands_end_with_the_program_that_is_killed_and_so_does_what_they_have_started(
    by: signal.Signals, forks: tuple[str, ...], tmp_path: Path
) -> None:
    process = start_python("-c", PROGRAM, *forks, folder=tmp_path, start_new_session=True)
    names = ("leader", "child", "left", *(("forked",) if forks else ()))
    leader, child, *others = (pid_in(tmp_path / name) for name in names)
    assert is_alive(leader)
    process.send_signal(by)
    process.wait(20)
    wait_until(lambda: not is_alive(leader) and not is_alive(child))
    assert all(map(is_alive, others)), (
        "what a command that has ended has left is nobody's, nor is a process of the program"
    )
    for other in others:
        os.kill(other, signal.SIGKILL)
    process.communicate(timeout=20)


def test_who_watches_is_no_child_of_the_program_and_is_replaced_when_it_is_killed(tmp_path: Path) -> None:
    program = """
        import asyncio, os, signal
        import runcue
        from pathlib import Path

        cue = runcue.Cue()
        cue.task("runs")(runcue.shell("true"))

        def link(file):
            try:
                return os.readlink(file)
            except OSError:  # gone meanwhile
                return ""

        def shells():
            # All whose standard input is a pipe of this program.
            ours = {link(one) for one in Path("/proc/self/fd").iterdir()}
            processes = [one for one in Path("/proc").glob("[0-9]*") if link(one / "fd/0").startswith("pipe:")]
            return [int(one.name) for one in processes if link(one / "fd/0") in ours and int(one.name) != os.getpid()]

        async def main():
            async with cue:
                await (await cue.submit("runs"))
                await (await cue.submit("runs"))
                one, = shells()
                try:
                    os.waitpid(-1, os.WNOHANG)
                except ChildProcessError:
                    print("no children")
                os.kill(one, signal.SIGKILL)
                while shells():
                    await asyncio.sleep(0.01)
                await (await cue.submit("runs"))
                print(len(shells()))

        asyncio.run(main())
    """
    done = run_python("-c", "if True:" + program, folder=tmp_path, stdin=DEVNULL)
    assert done.stdout.split("\n") == ["no children", "1", ""], done.stderr
