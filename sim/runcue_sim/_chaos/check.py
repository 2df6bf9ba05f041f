"""Checking what is promised, over many seeds: each is played on every scenario, with limits and faults of its own.

Lives here: `check`, which plays and, where a promise was broken, looks for the shortest log that shows it; `Report`,
what was found, in words.

Must not know: how a trial is played, what is promised.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from runcue_sim._chaos.invariants import INVARIANTS
from runcue_sim._chaos.seeds import describe, smaller_than, trial_of
from runcue_sim._chaos.trial import PATIENCE, Outcome, play
from runcue_sim._pipelines.scenarios import SCENARIOS
from runcue_sim._records.event_log import HEADER, Entry

ENOUGH: Final = 3
"""Violations after which no more are looked for."""

_TRIES: Final = 250
_TRIES_WITHOUT_END: Final = 20
_SECONDS: Final = 4.0
_READABLE: Final = 30


@dataclass
class Found:
    """A violation.

    Attributes:
        seed: Whose trial it was.
        outcome: The smallest trial that still shows it, with its log.
        tries: How many were played to find that.
        command: What repeats it; by default a check of its seed.
    """

    seed: int
    outcome: Outcome
    tries: int = 0
    command: str = ""

    def text(self) -> str:
        """It in words, with the log."""
        outcome = self.outcome
        violation, trial = outcome.violation, outcome.trial
        assert violation is not None
        shown = relevant(outcome)
        left_out = len(outcome.entries) - len(shown)
        note = f"   ({left_out} entries about other works left out)" if left_out else ""
        return "\n".join(
            [
                f"VIOLATION in {trial.scenario}, seed {self.seed}: {INVARIANTS[violation.invariant]}",
                f"  {violation.text}",
                f"  repeat it: {self.command or f'runcue-sim --check 1 --seed {self.seed}'}",
                f"  shown by: {describe(trial)}",
                "",
                HEADER,
                *(entry.line() for entry in shown),
                *([note] if note else []),
            ]
        )


@dataclass
class Report:
    """What a check has found.

    Attributes:
        scenarios: Names of those that were played.
        seeds: How many seeds.
        trials: How many trials.
        lives: How many lives there were in them.
        deaths: How many ended in death.
        works: How many works were submitted.
        faults: How often each kind of fault struck.
        settled: How often works ended how.
        found: The violations.
        seconds: Of real time.
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

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return not self.found

    def text(self) -> str:
        """It in words, for people."""
        faults = sum(self.faults.values())
        seeds = "seed" if self.seeds == 1 else "seeds"
        ends = ", ".join(f"{number:,} {how}" for how, number in self.settled.most_common())
        kinds = ", ".join(f"{kind} {number:,}" for kind, number in sorted(self.faults.items()))
        lines = [found.text() + "\n" for found in self.found]
        played = (
            f"{_number(self.trials, 'run')}, {_number(self.lives, 'life', 'lives')}, "
            f"{_number(self.deaths, 'death')}, in {self.seconds:.1f} s"
        )
        lines += [
            f"{self.seeds:,} {seeds} over {', '.join(self.scenarios)}: {played}",
            f"{self.works:,} works: {ends or 'none settled'}",
            f"{faults:,} faults: {kinds or 'none'}",
            self._verdict(),
        ]
        return "\n".join(lines) + "\n"

    def _verdict(self) -> str:
        if self.ok:
            return "no violation"
        number = len(self.found)
        stopped = "; no more were looked for" if number >= ENOUGH else ""
        return f"{number} {'violation' if number == 1 else 'violations'}{stopped}"


def check(
    seeds: Iterable[int],
    scenarios: Sequence[str] = tuple(SCENARIOS),
    *,
    enough: int = ENOUGH,
    progress: Callable[[int], object] | None = None,
    patience: float = PATIENCE,
) -> Report:
    """Play every seed on every scenario, and judge what happens.

    Args:
        seeds: Which.
        scenarios: Their names.
        enough: Stop after so many violations.
        progress: Called after each seed with how many have been played.
        patience: Seconds of computing time after which a trial counts as endless.

    Returns:
        What was found.
    """
    began = time.perf_counter()
    report = Report(tuple(scenarios))
    for seed in seeds:
        report.seeds += 1
        for scenario in scenarios:
            outcome = play(trial_of(seed, scenario), patience=patience)
            report.trials += 1
            report.lives += outcome.lives
            report.deaths += outcome.deaths
            report.works += outcome.works
            report.faults += outcome.faults
            report.settled += outcome.settled
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


# --- The shortest log -----------------------------------------------------------------------------------------------


def shrink(seed: int, outcome: Outcome, *, patience: float = PATIENCE, command: str = "") -> Found:
    """Look for a smaller trial that breaks the same promise, with a log that is no longer.

    Args:
        seed: Whose trial it is.
        outcome: With a violation.
        patience: See `play`.
        command: See `Found`.
    """
    found = Found(seed, outcome, command=command)
    is_endless = outcome.violation is not None and outcome.violation.invariant == "ends"
    most = _TRIES_WITHOUT_END if is_endless else _TRIES
    until = time.perf_counter() + _SECONDS
    again = True
    while again:
        again = False
        for trial in smaller_than(found.outcome.trial):
            if found.tries >= most or time.perf_counter() > until:
                return found
            found.tries += 1
            tried = play(trial, patience=patience)
            if _shows(tried, found.outcome):
                found.outcome = tried
                again = True
                break
    return found


def _shows(tried: Outcome, known: Outcome) -> bool:
    return (
        tried.violation is not None
        and known.violation is not None
        and tried.violation.invariant == known.violation.invariant
        and len(tried.entries) <= len(known.entries)
    )


def relevant(outcome: Outcome) -> list[Entry]:
    """The entries of a log that matter for its violation; all of them, if they are few."""
    violation, entries = outcome.violation, outcome.entries
    if violation is None or len(entries) <= _READABLE:
        return entries
    ids, names = set(violation.works), set(violation.names)
    for _ in range(len(outcome.trial.scenario)):
        before = len(ids)
        ids |= {one for one, (_, proves) in outcome.ties.items() if names.intersection(proves)}
        if violation.invariant not in ("lost", "drained") or len(ids) == before:
            break
        for one in ids:
            names.update(outcome.ties[one][0])
    last = entries[-1].at
    return [
        entry
        for entry in entries
        if entry.work_id in ids
        or entry.event == "died"
        or entry.at == last  # the instant at which it should have been otherwise
        or (not entry.work_id and any(name in entry.details for name in names))
    ]


def _number(count: int, one: str, many: str = "") -> str:
    return f"{count:,} {one if count == 1 else many or one + 's'}"
