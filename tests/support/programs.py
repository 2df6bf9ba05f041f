"""Programs run as their users run them: in processes of their own, which find the packages installed or not.

Lives here: `run_python`, to the end; `start_python`, which goes on meanwhile; `run_example` and `runcue_sim`, an
example and the simulator as commands.

Must not know: what is tested.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]

PATHS = os.pathsep.join([str(ROOT), str(ROOT / "sim")])

OF_DEVELOPMENT = ("PYTHONDEVMODE", "PYTHONWARNINGS")

SECONDS = 50
"""After which a program is ended: before pytest would give up the test, and so with what it has said until then."""


def environment(**more: str) -> dict[str, str]:
    """The variables of this process, and under which the packages are found.

    Without those of development: as with `-X dev -W error` on the command line, that is how tests are run, not how
    users run their programs.
    """
    inherited = {name: value for name, value in os.environ.items() if name not in OF_DEVELOPMENT}
    return {**inherited, "PYTHONPATH": PATHS, **more}


def run_python(
    *arguments: object,
    folder: Path | None = None,
    env: dict[str, str] | None = None,
    check: bool = False,
    **options: Any,
) -> subprocess.CompletedProcess[str]:
    """Run Python with these arguments, a program's path say, to the end.

    Args:
        *arguments: Beginning with "-c", "-m" or a file.
        folder: Where it is at work.
        env: Variables beside those of this process.
        check: Whether another exit code than 0 is an error.
        **options: See `subprocess.run`.
    """
    command = [sys.executable, *map(str, arguments)]
    usual = {"capture_output": True, "text": True, "timeout": SECONDS}
    return subprocess.run(
        command, cwd=folder, env=environment(**(env or {})), check=check, **{**usual, **options}
    )


def but_for_slowness(said: str) -> str:
    """What a program has said, without what is added where the machine is busy: that something kept the loop.

    Runcue says so of handlers, asyncio of everything, in development mode.
    """
    slowness = r"^.*( blocked the event loop for \d+ ms|Executing <.*> took [\d.]+ seconds).*\n"
    return re.sub(slowness, "", said, flags=re.MULTILINE)


def run_example(*arguments: object, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run an example to the end, on a machine of any speed. See `run_python`."""
    done = run_python(*arguments, folder=folder)
    done.stderr = but_for_slowness(done.stderr)
    return done


def start_python(
    *arguments: object, folder: Path | None = None, env: dict[str, str] | None = None, **options: Any
) -> subprocess.Popen[str]:
    """Start Python with these arguments; its output can be read meanwhile. See `run_python`."""
    command = [sys.executable, *map(str, arguments)]
    usual = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=folder, env=environment(**(env or {})), **{**usual, **options})


def runcue_sim(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the simulator's command. See `run_python`."""
    return run_python("-m", "runcue_sim", *arguments, **options)


def wait_until(there: Callable[[], Any], seconds: float = 30.0) -> Any:
    """Wait for what a running program does: the moment is aimed at by what is seen, not by the clock.

    Args:
        there: What it has done; nothing or False until then.
        seconds: Longest.

    Returns:
        What was there.
    """
    end = time.monotonic() + seconds
    while not (found := there()):
        assert time.monotonic() < end, f"nothing for {seconds:g} s"
        time.sleep(0.005)
    return found
