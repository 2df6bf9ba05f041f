"""`--check`: many seeds over all scenarios, with faults, and what is said of them.

Lives here: the command and its options.

Must not know: which faults there are, or how what is promised is judged.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import Final

from runcue_sim._chaos.campaign import check
from runcue_sim._pipelines.scenarios import SCENARIOS
from runcue_sim._report.report import FAILURES, OK
from runcue_sim._text.options import option
from runcue_sim._text.values import whole

_TELL_EVERY: Final = 2.0


@dataclass(frozen=True, slots=True)
class CheckOptions:
    """What can be said of a check; those without flags are options of other commands as well.

    Attributes:
        scenario: The only one that is checked, None for all.
        seed: The first.
    """

    check: int | None = option(
        None, "--check N", "faults", "N seeds with faults over all scenarios; exit 1 on a violation", whole(1)
    )
    scenario: str | None = None
    seed: int = 0


def run_check(options: CheckOptions) -> int:
    """Do what `--check` asks for.

    Returns:
        The exit code.
    """
    number = options.check or 0
    scenarios = tuple(SCENARIOS) if options.scenario is None else (options.scenario,)
    report = check(range(options.seed, options.seed + number), scenarios, progress=_Progress(number))
    sys.stdout.write(report.text())
    return OK if report.ok else FAILURES


class _Progress:
    """Tells those who wait at a terminal how far it is."""

    def __init__(self, seeds: int) -> None:
        self._seeds = seeds
        self._next = time.monotonic() + _TELL_EVERY
        self._watched = sys.stderr.isatty()

    def __call__(self, done: int) -> None:
        if self._watched and time.monotonic() >= self._next:
            self._next = time.monotonic() + _TELL_EVERY
            print(f"{done} of {self._seeds} seeds", file=sys.stderr, flush=True)
