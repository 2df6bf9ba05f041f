"""`--faults`: one run of a scenario in which things go wrong and the process dies up to twice.

Lives here: the command and its options.

Must not know: which faults there are, or how what is promised is judged.
"""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from runcue_sim._chaos.campaign import Report
from runcue_sim._chaos.faults import KINDS
from runcue_sim._chaos.shrinking import shrink
from runcue_sim._chaos.trial import Trial, run_trial
from runcue_sim._commands.sweep import without
from runcue_sim._pipelines.handler_model import HandlerOptions
from runcue_sim._pipelines.scenarios import Settings
from runcue_sim._records.event_log import HEADER
from runcue_sim._report.report import FAILURES, OK
from runcue_sim._text.options import option
from runcue_sim._text.usage import BadUsage
from runcue_sim._workload.luck import seed_or_any

_LIVES: Final = 2
_HANGS: Final = 20.0
"""A handler that takes so many times as long as usual is ended by a time-out."""


@dataclass(frozen=True, slots=True)
class FaultsOptions:
    """What can be said of a run with faults; those without flags are options of other commands as well."""

    faults: bool = option(
        False, "--faults", "faults", "let things go wrong by seed, and check what is promised"
    )
    scenario: str = "single_queue"
    settings: Settings = field(default_factory=Settings)
    handlers: HandlerOptions = field(default_factory=HandlerOptions)
    seed: int | None = None
    verbose: bool = False
    fast: bool = False
    no_tui: bool = False


def run_faults(options: FaultsOptions, arguments: Sequence[str]) -> int:
    """Do what `--faults` asks for.

    Args:
        options: What the arguments mean.
        arguments: As given, for a line that repeats the run.

    Returns:
        The exit code.

    Raises:
        BadUsage: An option is about one task.
    """
    settings, handlers = options.settings, options.handlers
    for values, flag in ((handlers.latency, "--latency"), (handlers.error_rate, "--error-rate")):
        if any(one.task is not None for one in values):
            raise BadUsage(f"--faults cannot be had together with {flag} for one task")
    seed = seed_or_any(options.seed)
    trial = Trial(
        seed,
        options.scenario,
        count=settings.count,
        concurrent=settings.concurrent,
        rate=settings.rate,
        submit_rate=settings.submit_rate,
        latency=handlers.usual_latency,
        jitter=handlers.jitter,
        outliers=handlers.outliers,
        error_rate=handlers.usual_error_rate,
        kinds=frozenset(KINDS),
        lives=_LIVES,
        timeout=max(1.0, _HANGS * handlers.usual_latency.seconds(0.5, 0)),
    )
    print(f"runcue-sim {trial.scenario} with faults, seed {trial.seed}\n")
    if options.verbose:
        print(f"{HEADER}\n{'-' * 80}")
    began = time.perf_counter()
    outcome = run_trial(trial, tell=(lambda entry: print(entry.line())) if options.verbose else None)
    report = Report((trial.scenario,), seeds=1, seconds=time.perf_counter() - began)
    report.add(outcome)
    if outcome.violation is not None:
        command = shlex.join(["runcue-sim", *without(arguments, ("--seed",)), "--seed", str(seed)])
        report.found.append(shrink(seed, outcome, command=command))
    if options.verbose:
        print("-" * 80)
    sys.stdout.write(report.text())
    return OK if report.ok else FAILURES
