#!/usr/bin/env python3
"""What the suite does, for longer: `python3 dev.py torture`.

What lives here: running each property in a process of its own, one line for each; each attack on each event loop;
2,000 kills of makers of files, 500 of the PDF pipeline and of handlers' processes each, 100 of Dask's workers; and the
soak of a million works. What the properties are stands in `tests/property`, what is attacked in `tests/attacks`, what a
kill may leave behind in `tests/artifacts/test_files_kill.py`, `tests/examples/test_pdf_pipeline_kill.py`,
`tests/executors/test_killed_processes.py`, `tests/executors/test_dask_kill.py`.
"""

from __future__ import annotations

import argparse
import asyncio
import faulthandler
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDER = "tests/property"
REAL_TIME = "test_threads.py"  # measures real time, so it runs alone
ONCE = "test_soak.py"  # has no examples; the long soak stands in for it

ATTACKS = "tests/attacks"

KILLS = 2_000
KILLERS = {
    "makers of files": ("tests/artifacts/test_files_kill.py", 1),
    "the PDF pipeline": ("tests/examples/test_pdf_pipeline_kill.py", 4),
    "workers of a Dask cluster": ("tests/executors/test_dask_kill.py", 20),
    "processes of handlers": ("tests/executors/test_killed_processes.py", 4),
}
"""Programs that kill, and how many times fewer kills each gets: a life of the pipeline, or a start of a worker, takes
longer."""

SOAK = 1_000_000
SOAK_KEEP = 10_000
SOAK_STEP = 100_000
# After the first step, growth beyond this is a leak: one object for every 200 work units would show.
OBJECTS_SPREAD = 5_000
RESIDENT_SPREAD = 8 * 2**20


class Outcome(NamedTuple):
    """What became of one property."""

    ok: bool
    line: str
    output: str


class Run:
    """Plugin of the pytest that runs one property: sets the number of examples, counts and reports them."""

    def __init__(self, examples: int) -> None:
        self.examples = examples
        self.passed = 0
        self.seconds = 0.0

    # Before the test modules are imported: one of them derives its own number of examples from the profile's.
    def pytest_sessionstart(self) -> None:
        import hypothesis  # pytest must be the first to import what it rewrites

        torture = hypothesis.settings.get_profile("torture")
        hypothesis.settings.register_profile("this torture", torture, max_examples=self.examples)
        hypothesis.settings.load_profile("this torture")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call":
            self.passed += report.passed
            self.seconds += report.duration


def run_property(nodeid: str, examples: int) -> int:
    """Runs one property in this process; the last line of stdout is its examples and seconds."""
    run = Run(examples)
    code = pytest.main(
        [
            nodeid,
            "-q",
            "-p",
            "no:cacheprovider",
            "--hypothesis-profile=torture",
            "--timeout=0",
            "--no-header",
        ],
        [run],
    )
    from tests.support.worlds import Tally  # the same

    print(f"\n{run.passed} {Tally.examples} {run.seconds:.1f}")
    return int(code)


def torture(nodeid: str, examples: int) -> Outcome:
    """Runs one property in a process of its own."""
    command = [
        sys.executable,
        str(Path(__file__).resolve()),
        "--property",
        nodeid,
        "--examples",
        str(examples),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    name = nodeid.rpartition("::")[2].removeprefix("test_").replace("_", " ")
    try:
        passed, ran, seconds = done.stdout.strip().rpartition("\n")[2].split()
    except ValueError:
        passed, ran, seconds = "0", "?", "?"
    ok = done.returncode == 0 and passed == "1"
    line = f"{'ok  ' if ok else 'FAIL'} {ran:>7} examples {seconds:>8} s  {name}"
    return Outcome(ok, line, "" if ok else done.stdout + done.stderr)


def properties() -> list[str]:
    """The node ids of all properties."""
    found = subprocess.run(
        [sys.executable, "-m", "pytest", FOLDER, "--collect-only", "-q", "--no-header"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if found.returncode:
        sys.exit(found.stdout + found.stderr)
    return [line for line in found.stdout.splitlines() if line.startswith(FOLDER) and "::" in line]


def attacks() -> list[str]:
    """The names of all attacks: the modules of their folder that have one."""
    modules = sorted((ROOT / ATTACKS).glob("*.py"))
    return [one.stem for one in modules if "\ndef attack(" in one.read_text(encoding="utf-8")]


def run_attack(name: str, loop: str, scale: float) -> int:
    """Runs one attack in this process; what it prints is what it has found."""
    from tests.attacks.loops import run_on

    module = import_module(f"tests.attacks.{name}")
    # Whoever hangs says where: that is what attacks are looking for.
    faulthandler.dump_traceback_later(module.PATIENCE * max(scale, 1.0), exit=True)
    print(module.attack(partial(run_on, loop), scale))
    return 0


def attack(name: str, loop: str, scale: float) -> bool:
    """Runs one attack on one loop, in a process of its own. Returns whether all was right."""
    command = [sys.executable, str(Path(__file__).resolve()), "--attack", name, "--loop", loop]
    done = subprocess.run(
        [*command, "--attacks", str(scale)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    ok = done.returncode == 0
    found = done.stdout.strip() if ok else f"\n{done.stdout}{done.stderr}"
    print(f"{'ok  ' if ok else 'FAIL'} attack {name.replace('_', ' ')}, {loop}: {found}", flush=True)
    return ok


def kill(name: str, kills: int) -> bool:
    """Runs a program that kills at so many instants and prints what was hit. Returns whether all was right."""
    program, fewer = KILLERS[name]
    command = [sys.executable, str(ROOT / program), str(max(1, kills // fewer))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    ok = done.returncode == 0
    print(f"{'ok  ' if ok else 'FAIL'} kill -9 of {name}: {done.stdout.strip() or done.stderr}", flush=True)
    return ok


def soak(number_of_works: int) -> bool:
    """Runs the long soak and prints what memory does. Returns whether it is flat."""
    from tests.property.test_soak import Footprint, soak
    from tests.support.worlds import silence

    def show(footprint: Footprint) -> None:
        print(f"     {footprint}  {time.monotonic() - began:7.1f} s", flush=True)

    began = time.monotonic()
    step = max(1, number_of_works // (SOAK // SOAK_STEP))
    print(f"soak: {number_of_works:,} works through one cue, keep={SOAK_KEEP:,}", flush=True)
    with silence():
        full, *rest = asyncio.run(soak(number_of_works, SOAK_KEEP, step, show))
    objects = max(later.objects for later in rest) - full.objects
    resident = max(later.rss for later in rest) - full.rss
    ok = objects < OBJECTS_SPREAD and resident < RESIDENT_SPREAD
    print(
        f"{'ok  ' if ok else 'FAIL'} after the first {full.works:,}: at most {objects:+,} objects, "
        f"{resident / 2**20:+.1f} MiB resident"
    )
    return ok


def main() -> int:
    """Runs everything and returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--examples", type=int, default=20_000, help="of each property (default: %(default)s)"
    )
    parser.add_argument(
        "--soak", type=int, default=SOAK, help="works in the soak, 0 for none (default: %(default)s)"
    )
    parser.add_argument(
        "--kills",
        type=int,
        default=KILLS,
        help="of makers of files, and fewer of others; 0 for none (default: %(default)s)",
    )
    parser.add_argument(
        "--attacks",
        type=float,
        default=1.0,
        help="how long attacks go on, in terms of what is usual; 0 for none (default: %(default)s)",
    )
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, help="properties at once (default: cores)"
    )
    parser.add_argument("-k", dest="matching", default="", help="only what has this in its name")
    # How this program calls itself.
    parser.add_argument("--property", help=argparse.SUPPRESS)
    parser.add_argument("--attack", help=argparse.SUPPRESS)
    parser.add_argument("--loop", help=argparse.SUPPRESS)
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    if options.property:
        return run_property(options.property, options.examples)
    if options.attack:
        return run_attack(options.attack, options.loop, options.attacks)

    chosen = [one for one in properties() if options.matching in one and ONCE not in one]
    together = [one for one in chosen if REAL_TIME not in one]
    alone = [one for one in chosen if REAL_TIME in one]
    print(f"{len(chosen)} properties, {options.examples:,} examples each ({REAL_TIME}: 3 of 20)", flush=True)
    failed = []
    with ThreadPoolExecutor(options.jobs) as pool:
        for outcome in pool.map(lambda nodeid: torture(nodeid, options.examples), together):
            print(outcome.line, flush=True)
            failed += [] if outcome.ok else [outcome]
    for nodeid in alone:
        outcome = torture(nodeid, options.examples)
        print(outcome.line, flush=True)
        failed += [] if outcome.ok else [outcome]
    from tests.attacks.loops import LOOPS

    # One at a time: they measure real time.
    named = [name for name in attacks() if options.matching in name] if options.attacks else []
    survived = [attack(name, loop, options.attacks) for name in named for loop in LOOPS]
    killers = (
        [name for name in KILLERS if options.matching in name.replace(" ", "_")] if options.kills else []
    )
    survived += [kill(name, options.kills) for name in killers]
    flat = soak(options.soak) if options.soak else True
    for outcome in failed:
        print(f"\n{outcome.line}\n{outcome.output}")
    return 1 if failed or not all(survived) or not flat else 0


if __name__ == "__main__":
    sys.exit(main())
