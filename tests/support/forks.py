"""A program that is run many times: forked from a process that has imported everything, which takes a tenth of a start.

Each run is a process of its own, with its own memory, working folder and arguments, and may end in any way. The one it
is forked from never starts a thread nor an event loop, so that a fork of it is as good as a new process.

Must not know: what is tested.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.support.programs import environment

__all__ = ["Forks", "Ran", "forks"]

FORKING = """
import asyncio, json, os, signal, subprocess, sys, traceback
import runcue
from runcue._api import engine

code = compile(sys.argv[1], "<program>", "exec")
for line in sys.stdin:
    folder, arguments, out, err = json.loads(line)
    child = os.fork()
    if child == 0:
        ended = 1
        try:
            os.chdir(folder)
            for number, file in enumerate((os.devnull, out, err)):
                os.dup2(os.open(file, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600), number)
            sys.argv = ["-c", *arguments]
            exec(code, {"__name__": "__main__"})
            ended = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(ended)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Ran(NamedTuple):
    """How a run ended: its exit code, -SIGKILL after a kill, and what it printed."""

    returncode: int
    stdout: str
    stderr: str


class Forks:
    """Runs one program, one run after the other."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def run(self, arguments: Sequence[str], said: Path) -> Ran:
        """Run it in the working folder of this process, to its end.

        Args:
            arguments: What it finds in `sys.argv[1:]`.
            said: A folder for what it prints.
        """
        out, err = (said / name for name in ("stdout", "stderr"))
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        order = [str(Path.cwd()), list(arguments), str(out), str(err)]
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        code = int(self._process.stdout.readline())
        return Ran(code, out.read_text(encoding="utf-8"), err.read_text(encoding="utf-8"))


@contextmanager
def forks(program: str) -> Iterator[Forks]:
    """A process that is ready to run this program."""
    with subprocess.Popen(
        [sys.executable, "-c", FORKING, program],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield Forks(process)
