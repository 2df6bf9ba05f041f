#!/usr/bin/env python3
"""One door to everything a developer does here: `python3 dev.py --help`.

What lives here: making the project's own environment (.venv, an editable install with the `dev` extra) and handing over
to the tool a command stands for. What it must not know: what the tests, the demo or the benchmarks do.

Only the standard library is imported, since this file runs before anything is installed, and the syntax stays within
Python 3.6, so that an older Python reads far enough to say that it is too old.
"""

import sys

if sys.version_info < (3, 11):
    sys.stderr.write(
        "dev.py: needs Python 3.11 or newer, but {} is {}.{}\n".format(sys.executable, *sys.version_info[:2])
    )
    sys.exit(1)

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
STAMP = VENV / "runcue-dev.json"
WINDOWS = os.name == "nt"
PYTHON = VENV / ("Scripts/python.exe" if WINDOWS else "bin/python")

# Run inside .venv by its own interpreter: only that one can tell whether it still works and what it can import.
PROBE = """
import importlib.util, json, sys
has = lambda name: importlib.util.find_spec(name) is not None
print(json.dumps({"python": "%d.%d" % sys.version_info[:2], "prefix": sys.prefix, "base": sys.base_prefix,
                  "pip": has("pip"), "installed": has("runcue") and has("pytest")}))
"""


class Trouble(Exception):
    """Something only the user can put right. Its text is the one line they get to read."""


class Command(NamedTuple):
    """One word of the command line: what it runs, and the line that --help prints for it."""

    run: Callable[[list[str]], int]
    summary: str


def say(text: str) -> None:
    """Prints progress to stderr, so that stdout belongs to the command alone."""
    print("dev.py:", text, file=sys.stderr, flush=True)


def environment() -> dict[str, str]:
    """Returns the variables for everything started from here: .venv first, whatever else was active left out."""
    foreign = {"PYTHONHOME", "PYTHONPATH", "__PYVENV_LAUNCHER__"}
    variables = {name: value for name, value in os.environ.items() if name not in foreign}
    variables["VIRTUAL_ENV"] = str(VENV)
    variables["PATH"] = str(PYTHON.parent) + os.pathsep + variables.get("PATH", os.defpath)
    variables["PIP_USER"] = "0"  # a user-wide `user = true` makes pip refuse to install into any venv
    return variables


def wanted_stamp() -> dict[str, str]:
    """Returns what an installation depends on; a stamp that differs in any of it is out of date."""
    return {
        "python": "{}.{}".format(*sys.version_info[:2]),
        "root": str(ROOT),
        "pyproject": hashlib.sha256((ROOT / "pyproject.toml").read_bytes()).hexdigest(),
    }


def read_stamp() -> dict[str, str]:
    """Returns the stamp of the last finished installation, or an empty one."""
    try:
        stamp = json.loads(STAMP.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def probe() -> dict[str, Any]:
    """Returns what .venv's interpreter says of itself, or an empty answer when it does not run."""
    try:
        answer = subprocess.run(
            [str(PYTHON), "-I", "-c", PROBE],
            capture_output=True, check=True, timeout=60, env=environment(),
        )  # fmt: skip
        found = json.loads(answer.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def reason_to_remake(found: dict[str, Any], stamp: dict[str, str], wanted: dict[str, str]) -> str:
    """Returns why the .venv that is there cannot be used, or "" if it can.

    Args:
        found: The answer of `probe`.
        stamp: What `read_stamp` found.
        wanted: What `wanted_stamp` asks for.
    """
    if not found:
        return "its Python does not start"
    if found["python"] != wanted["python"]:
        return "it was made by Python {}, and this is {}".format(found["python"], wanted["python"])
    if found["prefix"] == found["base"] or not os.path.samefile(found["prefix"], VENV):
        return "its Python belongs to {}".format(found["prefix"])
    if not found["pip"]:
        return "it has no pip"
    if stamp.get("root", wanted["root"]) != wanted["root"]:
        return "it was made in {}".format(stamp["root"])
    return ""


def remove_venv() -> None:
    """Removes .venv, but nothing that is not recognisably a virtual environment.

    Raises:
        Trouble: If `.venv` is something else, which only its owner may delete.
    """
    if VENV.is_symlink():
        VENV.unlink()
        return
    ours = VENV.is_dir() and (
        (VENV / "pyvenv.cfg").exists() or os.path.lexists(PYTHON) or not any(VENV.iterdir())
    )
    if not ours:
        raise Trouble("{} is there, but is no virtual environment; move it away and try again".format(VENV))
    shutil.rmtree(VENV)


def make_venv() -> None:
    """Creates .venv with pip in it.

    Raises:
        Trouble: If this Python cannot make one, as Debian's cannot without a package of its own.
    """
    if not (importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip")):
        package = "python{}.{}-venv".format(*sys.version_info[:2])
        raise Trouble(
            "this Python cannot make a virtual environment (no venv or ensurepip); "
            "on Debian and Ubuntu: apt install {}".format(package)
        )
    # Not sys.executable: that may be the interpreter of the very .venv that was removed a moment ago.
    base = getattr(sys, "_base_executable", None) or sys.executable
    made = subprocess.run([base, "-m", "venv", str(VENV)], env=environment(), stdout=2, check=False)
    if made.returncode:
        raise Trouble("{} -m venv {} failed; see above".format(base, VENV))


def install() -> None:
    """Installs runcue as an editable package with everything its tests need.

    Raises:
        Trouble: If pip fails; what it said stands above.
    """
    command = [
        str(PYTHON),
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--editable",
        ".[dev]",
    ]
    if subprocess.run(command, cwd=ROOT, env=environment(), stdout=2, check=False).returncode:
        raise Trouble(
            "pip could not install what runcue needs; see above (a package index must be in reach, once)"
        )


def prepare() -> None:
    """Makes .venv fit for use, doing only what is missing: create, install, or nothing at all."""
    wanted, stamp, found = wanted_stamp(), read_stamp(), {}
    if os.path.lexists(VENV):
        found = probe()
        reason = reason_to_remake(found, stamp, wanted)
        if reason:
            say("making .venv again: {}".format(reason))
            remove_venv()
            stamp, found = {}, {}
    if not found:
        say("making .venv with Python {}".format(wanted["python"]))
        make_venv()
    if stamp != wanted or not found.get("installed"):
        say(
            "installing runcue and its tools into .venv (once, and when pyproject.toml changed; a minute or so)"
        )
        install()
        STAMP.write_text(json.dumps(wanted, indent=1) + "\n", encoding="utf-8")


def become(arguments: Sequence[str], directory: Path) -> int:
    """Runs .venv's Python in the place of this process, so that Ctrl-C and kill reach that and nothing between.

    Args:
        arguments: What follows `python` on its command line.
        directory: Where it runs.

    Returns:
        Its exit code, on Windows; elsewhere this does not return.
    """
    command = [str(PYTHON), *arguments]
    sys.stdout.flush()
    if not WINDOWS:
        os.chdir(directory)
        os.execve(command[0], command, environment())  # noqa: S606 - no shell is wanted
    child = subprocess.Popen(command, cwd=directory, env=environment())
    while True:
        try:
            return child.wait()
        except KeyboardInterrupt:  # the console told the child as well, and how to end is the child's affair
            continue


def demo(arguments: list[str]) -> int:
    """Runs the PDF pipeline where the caller stands, since its arguments are the caller's paths."""
    return become([str(ROOT / "examples" / "pdf_pipeline"), *arguments], Path.cwd())


def processes(arguments: list[str]) -> list[str]:
    """Returns pytest's options for running tests on all cores, or none where one process is meant.

    Args:
        arguments: The caller's: they come later and so win, and who debugs or wants to see output needs one process.
    """
    usable = getattr(os, "sched_getaffinity", None)
    cores = len(usable(0)) if usable else os.cpu_count() or 1
    if cores == 1 or not {"-s", "--capture=no", "--pdb", "--trace", "no:xdist"}.isdisjoint(arguments):
        return []
    # One more for every two, since many a test waits: for another process, for a signal, for real time to pass. Whoever
    # is done takes over tests from the others: the slowest ones stand together in a few files.
    return ["--numprocesses={}".format(cores + cores // 2), "--dist=worksteal"]


def test(arguments: list[str]) -> int:
    """Runs pytest."""
    return become(["-m", "pytest", *processes(arguments), *arguments], ROOT)


def bench(arguments: list[str]) -> int:
    """Runs the benchmarks."""
    return become([str(ROOT / "benchmarks" / "run.py"), *arguments], ROOT)


def torture(arguments: list[str]) -> int:
    """Runs the property tests for long."""
    return become([str(ROOT / "tests" / "torture.py"), *arguments], ROOT)


def lint(arguments: list[str]) -> int:
    """Runs every static check to its end, even after one has failed: a reader wants the whole list."""
    if arguments not in ([], ["--fix"]):
        raise Trouble("lint takes --fix or nothing, not {}".format(" ".join(arguments)))
    fix = bool(arguments)
    checks = [
        ["ruff", "check", "--fix"] if fix else ["ruff", "check"],
        ["ruff", "format"] if fix else ["ruff", "format", "--check"],
        ["mypy"],
    ]
    failed = []
    for check in checks:
        say(" ".join(check))
        if subprocess.run([str(PYTHON), "-m", *check], cwd=ROOT, env=environment(), check=False).returncode:
            failed.append(" ".join(check))
    say("failed: {}".format(", ".join(failed)) if failed else "all clean")
    return 1 if failed else 0


COMMANDS = {
    "demo": Command(
        demo, "a real PDF through the pipeline example: pages, texts, summary, timeline  [PDF] [options]"
    ),
    "test": Command(test, "the whole test suite and the table of behaviour rules  [pytest options]"),
    "bench": Command(bench, "the benchmarks, each beside its floor  [--quick]"),
    "torture": Command(torture, "the property tests with many more examples  [options]"),
    "lint": Command(lint, "ruff check, ruff format --check, mypy  [--fix]"),
}


def usage() -> str:
    """Returns the text of --help."""
    width = max(map(len, COMMANDS))
    lines = ["  {:<{}}  {}".format(name, width, command.summary) for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "usage: python3 dev.py COMMAND [ARGUMENTS...]",
            "",
            *lines,
            "",
            "Arguments go to the command as they are: python3 dev.py test -k rate",
            "Each command makes .venv and installs into it what is missing; nothing else on the machine is touched.",
        ]
    )


def main(arguments: list[str]) -> int:
    """Does what the command line asks for.

    Returns:
        The exit code: that of the command, 1 when something must be put right first, 2 for a wrong command line.
    """
    if not arguments or arguments[0] in {"-h", "--help", "help"}:
        print(usage())
        return 0 if arguments else 2
    name, *rest = arguments
    if name not in COMMANDS:
        say("no command {!r}; there are {}".format(name, ", ".join(COMMANDS)))
        return 2
    try:
        prepare()
        return COMMANDS[name].run(rest)
    except Trouble as trouble:
        say(str(trouble))
        return 1
    except KeyboardInterrupt:
        say("interrupted")
        return 130


def run() -> NoReturn:
    """Ends the process with the exit code of `main`."""
    sys.exit(main(sys.argv[1:]))


if __name__ == "__main__":
    run()
