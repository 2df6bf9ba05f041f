"""`--check` and `--faults`: runs in which things go wrong, and what is said of them.

Lives here: `run_check` and `run_faults`, the commands.

Must not know: which faults there are, or how what is promised is judged.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Sequence
from random import SystemRandom

from runcue_sim._chaos.check import Report, check, shrink
from runcue_sim._chaos.faults import KINDS
from runcue_sim._chaos.trial import Trial, play
from runcue_sim._commands.options import for_all
from runcue_sim._commands.sweep import without
from runcue_sim._pipelines.scenarios import SCENARIOS
from runcue_sim._records.event_log import HEADER
from runcue_sim._report.report import FAILURES, OK
from runcue_sim._workload.latency import Constant

_LIVES = 2
_HANGS = 20.0
"""A handler that takes so many times as long as usual is ended by a time-out."""

_TELL_EVERY = 2.0


def run_check(options: argparse.Namespace) -> int:
    """Do what `--check` asks for.

    Returns:
        The exit code.
    """
    first = 0 if options.seed is None else options.seed
    scenarios = tuple(SCENARIOS) if options.scenario is None else (options.scenario,)
    report = check(range(first, first + options.check), scenarios, progress=_Progress(options.check))
    sys.stdout.write(report.text())
    return OK if report.ok else FAILURES


class _Progress:
    """Tells those who wait at a terminal how far it is."""

    def __init__(self, seeds: int) -> None:
        self._seeds = seeds
        self._next = time.monotonic() + _TELL_EVERY
        self._watched = sys.stderr.isatty()

    def __call__(self, played: int) -> None:
        if self._watched and time.monotonic() >= self._next:
            self._next = time.monotonic() + _TELL_EVERY
            print(f"{played} of {self._seeds} seeds", file=sys.stderr, flush=True)


def run_faults(options: argparse.Namespace, arguments: Sequence[str]) -> int:
    """Do what `--faults` asks for: one run of a scenario in which the process dies up to twice.

    Args:
        options: What the arguments mean.
        arguments: As given, for a line that repeats the run.

    Returns:
        The exit code.
    """
    seed = SystemRandom().randrange(10**6) if options.seed is None else options.seed
    latency = for_all(options.latency, Constant(0.1))
    trial = Trial(
        seed,
        options.scenario or "single_queue",
        count=100 if options.count is None else options.count,
        concurrent=5 if options.concurrent is None else options.concurrent,
        rate=options.rate_limit,
        submit_rate=options.submit_rate,
        latency=latency,
        jitter=0.2 if options.jitter is None else options.jitter,
        outliers=options.outliers,
        error_rate=for_all(options.error_rate, 0.0),
        kinds=frozenset(KINDS),
        lives=_LIVES,
        timeout=max(1.0, _HANGS * latency.seconds(0.5, 0)),
    )
    print(f"runcue-sim {trial.scenario} with faults, seed {trial.seed}\n")
    if options.verbose:
        print(f"{HEADER}\n{'-' * 80}")
    began = time.perf_counter()
    outcome = play(trial, tell=(lambda entry: print(entry.line())) if options.verbose else None)
    report = Report((trial.scenario,), 1, 1, outcome.lives, outcome.deaths, outcome.works)
    report.faults, report.settled = outcome.faults, outcome.settled
    report.seconds = time.perf_counter() - began
    if outcome.violation is not None:
        command = shlex.join(["runcue-sim", *without(arguments, ("--seed",)), "--seed", str(seed)])
        report.found.append(shrink(seed, outcome, command=command))
    if options.verbose:
        print("-" * 80)
    sys.stdout.write(report.text())
    return OK if report.ok else FAILURES
