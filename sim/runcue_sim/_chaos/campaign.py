"""Checking what is promised, over many seeds: each is run on every scenario, with limits and faults of its own.

Lives here: `check`, which runs them and has the shortest log looked for where a promise was broken; `Report`, what was
found, in words.

Must not know: how a trial is run, what is promised.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from runcue_sim._chaos.seeds import Outcome, trial_of
from runcue_sim._chaos.shrinking import Found, shrink
from runcue_sim._chaos.trial import PATIENCE, run_trial
from runcue_sim._pipelines.scenarios import SCENARIOS
from runcue_sim._text.figures import counted, wrapped

ENOUGH: Final = 3
"""Violations after which no more are looked for."""


@dataclass
class Report:
    """What a check has found.

    Attributes:
        scenarios: Names of those that were run.
        seeds: How many seeds.
        trials: How many trials.
        lives: How many lives there were in them.
        deaths: How many ended in death.
        works: How many work units were submitted.
        faults: How often each kind of fault struck.
        settled: How often work units ended how.
        found: The violations.
        seconds: Of real time.
        shuffled: How many of the trials were run in another order of what asyncio leaves open.
    """

    scenarios: tuple[str, ...]
    seeds: int = 0
    trials: int = 0
    lives: int = 0
    deaths: int = 0
    works: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    settled: Counter[str] = field(default_factory=Counter)
    found: list[Found] = field(default_factory=list)
    seconds: float = 0.0
    shuffled: int = 0

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return not self.found

    def add(self, outcome: Outcome) -> None:
        """Count what was seen of one more trial."""
        self.trials += 1
        self.shuffled += outcome.trial.order is not None
        self.lives += outcome.lives
        self.deaths += outcome.deaths
        self.works += outcome.works
        self.faults += outcome.faults
        self.settled += outcome.settled

    def text(self) -> str:
        """It in words, for people."""
        ends = ", ".join(f"{number:,} {how}" for how, number in self.settled.most_common())
        kinds = ", ".join(f"{kind} {number:,}" for kind, number in sorted(self.faults.items()))
        lines = [found.text() + "\n" for found in self.found]
        shuffled = f" ({self.shuffled:,} in shuffled order)" if self.shuffled else ""
        run = (
            f"{counted(self.trials, 'run')}{shuffled}, {counted(self.lives, 'life', 'lives')}, "
            f"{counted(self.deaths, 'death')}, in {self.seconds:.1f} s"
        )
        for line in (
            f"{counted(self.seeds, 'seed')} over {', '.join(self.scenarios)}: {run}",
            f"{counted(self.works, 'work unit')}: {ends or 'none settled'}",
            f"{counted(sum(self.faults.values()), 'fault')}: {kinds or 'none'}",
            self._verdict(),
        ):
            lines += wrapped(line, 2)
        return "\n".join(lines) + "\n"

    def _verdict(self) -> str:
        if self.ok:
            return "no violation"
        number = len(self.found)
        stopped = "; no more were looked for" if number >= ENOUGH else ""
        return counted(number, "violation") + stopped


def check(
    seeds: Iterable[int],
    scenarios: Sequence[str] = tuple(SCENARIOS),
    *,
    enough: int = ENOUGH,
    progress: Callable[[int], object] | None = None,
    patience: float = PATIENCE,
) -> Report:
    """Run every seed on every scenario, and judge what happens.

    Args:
        seeds: Which.
        scenarios: Their names.
        enough: Stop after so many violations.
        progress: Called after each seed with how many have been run.
        patience: Seconds of computing time after which a trial counts as endless.

    Returns:
        What was found.
    """
    began = time.perf_counter()
    report = Report(tuple(scenarios))
    for seed in seeds:
        report.seeds += 1
        for scenario in scenarios:
            outcome = run_trial(trial_of(seed, scenario), patience=patience)
            report.add(outcome)
            if outcome.violation is not None:
                report.found.append(shrink(seed, outcome, patience=patience))
            if len(report.found) >= enough:
                break
        if progress is not None:
            progress(report.seeds)
        if len(report.found) >= enough:
            break
    report.seconds = time.perf_counter() - began
    return report
