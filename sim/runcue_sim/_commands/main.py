"""`runcue-sim`: reads the command line, runs what it asks for, shows it, and says by its exit code how that went.

Lives here: `main`, and the order of things. What is wrong with a call is one line on standard error and exit code 2.

Must not know: how anything is simulated.
"""

from __future__ import annotations

import errno
import os
import sys
import traceback
from pathlib import Path

from runcue_sim._commands.check import CheckOptions, run_check
from runcue_sim._commands.command_line import parse
from runcue_sim._commands.faults import FaultsOptions, run_faults
from runcue_sim._commands.run import RunOptions, run
from runcue_sim._commands.sweep import SweepOptions, run_sweep
from runcue_sim._pipelines.scenarios import SCENARIOS
from runcue_sim._report.report import INTERRUPTED, OK, USAGE
from runcue_sim._text.options import read
from runcue_sim._text.usage import BadUsage

BROKEN_PIPE = 141
"""What shells say of a program that was ended by SIGPIPE."""


def main(arguments: list[str] | None = None) -> int:
    """The program.

    Args:
        arguments: Of the command line, by default those of this process.

    Returns:
        The exit code: 0, 1 (too many failures), 2 (wrong usage), 3 (work units were blocked), 130 (interrupted), 141
        (who read the output has left).
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    for name in ("stdin", "stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by whoever started us
            setattr(sys, name, Path(os.devnull).open("r+", encoding="utf-8"))  # noqa: SIM115
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal without a sign for something shows a "?"
    try:
        code = _run(arguments)
        sys.stdout.flush()
    except BadUsage as error:
        if "--debug" in arguments:
            traceback.print_exc()
        print(f"runcue-sim: {error}", file=sys.stderr)
        return USAGE
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _give_up_output()
        return BROKEN_PIPE
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        _give_up_output()
        print(f"runcue-sim: the output cannot be written: {error.strerror}", file=sys.stderr)
        return USAGE
    return code


def _give_up_output() -> None:
    """Whoever read the output has enough. Python would complain again when it flushes at the end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(arguments: list[str]) -> int:
    given = parse(arguments)
    if "list_scenarios" in given:
        for scenario in SCENARIOS.values():
            print(f"{scenario.name:<14} {scenario.description}")
        return OK
    if "check" in given:
        return run_check(read(CheckOptions, given))
    if "faults" in given:
        return run_faults(read(FaultsOptions, given), arguments)
    if "sweep" in given:
        return run_sweep(read(SweepOptions, given), arguments)
    return run(read(RunOptions, given))
