"""The shortest log that shows a violation.

Lives here: `shrink`, which looks for a smaller trial that breaks the same promise; `Found`, what came of it, in words.

Must not know: how a trial is run, what is promised.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

from runcue_sim._chaos.invariants import INVARIANTS
from runcue_sim._chaos.seeds import Outcome, Trial, describe
from runcue_sim._chaos.trial import PATIENCE, run_trial
from runcue_sim._records.event_log import HEADER, Entry
from runcue_sim._workload.latency import Constant

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
        tries: How many were run to find that.
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
        left_out = len(outcome.event_log) - len(shown)
        note = f"   ({left_out} entries about other work units left out)" if left_out else ""
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


def shrink(seed: int, outcome: Outcome, *, patience: float = PATIENCE, command: str = "") -> Found:
    """Look for a smaller trial that breaks the same promise, with a log that is no longer.

    Args:
        seed: Whose trial it is.
        outcome: With a violation.
        patience: See `run_trial`.
        command: See `Found`.
    """
    found = Found(seed, outcome, command=command)
    is_endless = outcome.violation is not None and outcome.violation.invariant == "ends"
    most = _TRIES_WITHOUT_END if is_endless else _TRIES
    until = time.perf_counter() + _SECONDS
    # Of those that are simpler in one respect, the next to try. It stays where it is when one shows it: what is left of
    # that respect comes next, not all that was in vain before. Once nothing more was simpler, all are tried again.
    position, in_vain = 0, 0
    while simpler := list(smaller_than(found.outcome.trial)):
        position %= len(simpler)
        if in_vain == len(simpler) or found.tries >= most or time.perf_counter() > until:
            break
        found.tries += 1
        tried = run_trial(simpler[position], patience=patience)
        if _shows(tried, found.outcome):
            found.outcome = tried
            in_vain = 0
        else:
            position += 1
            in_vain += 1
    return found


def _shows(tried: Outcome, known: Outcome) -> bool:
    return (
        tried.violation is not None
        and known.violation is not None
        and tried.violation.invariant == known.violation.invariant
        and len(tried.event_log) <= len(known.event_log)
    )


def relevant(outcome: Outcome) -> list[Entry]:
    """The entries of a log that matter for its violation; all of them, if they are few."""
    violation, event_log = outcome.violation, outcome.event_log
    if violation is None or len(event_log) <= _READABLE:
        return event_log
    ids, names = set(violation.works), set(violation.names)
    for _ in range(len(outcome.trial.scenario)):
        before = len(ids)
        ids |= {one for one, (_, proves) in outcome.ties.items() if names.intersection(proves)}
        if violation.invariant not in ("lost", "drained") or len(ids) == before:
            break
        for one in ids:
            names.update(outcome.ties[one][0])
    last = event_log[-1].at
    return [
        entry
        for entry in event_log
        if entry.work_id in ids
        or entry.event == "died"
        or entry.at == last  # the instant at which it should have been otherwise
        or (not entry.work_id and any(name in entry.details for name in names))
    ]


def smaller_than(trial: Trial) -> Iterator[Trial]:
    """Trials that are simpler in one respect, the boldest first. Each of them has something to do."""
    for changes in _simplifications(trial):
        one = replace(trial, **changes)
        without = frozenset(number for number in one.without if number < one.count)
        if one != trial and len(without) < one.count:
            yield replace(one, without=without)


def _simplifications(trial: Trial) -> Iterator[dict[str, Any]]:
    yield {"kinds": frozenset()}
    yield {"count": 1}
    yield {"lives": 0}
    yield {"order": None}
    yield {"error_rate": 0.0}
    yield {"outliers": 0.0}
    yield {"jitter": 0.0}
    yield {"submit_rate": None}
    yield {"timeout": None}
    yield {"rate": None}
    if trial.rate is not None:
        yield {"rate": "1/sec"}
    yield {"drains": True}
    yield {"latency": Constant(0.1)}
    yield {"concurrent": 1}
    yield {"concurrent": min(trial.concurrent, 2)}
    if trial.lives > 1:
        yield {"lives": 1, "first": trial.first + trial.lives - 1}
        yield {"lives": trial.lives - 1, "first": trial.first + 1}
        yield {"lives": trial.lives - 1}
    for kind in sorted(trial.kinds):
        yield {"kinds": trial.kinds - {kind}}
    if trial.count > 1:
        yield {"count": trial.count - 1}
    for number in range(trial.count):
        yield {"without": trial.without | {number}}
