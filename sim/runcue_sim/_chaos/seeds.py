"""What a seed stands for: a scenario with limits, a model of its handlers, faults, and lives to live.

Lives here: `Trial`, all that makes a run what it is; `trial_of`, which a seed stands for; `Outcome`, what was seen of
one.

Must not know: how a trial is run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

from runcue_sim._chaos.faults import KINDS
from runcue_sim._chaos.invariants import Violation
from runcue_sim._chaos.regimes import OF_LIMITS
from runcue_sim._records.event_log import Entry
from runcue_sim._workload.latency import Constant, Latency, Lognormal, Model, Uniform
from runcue_sim._workload.luck import Luck

T = TypeVar("T")

COUNTS: Final[Mapping[str, int]] = {
    "single_queue": 10,
    "pipeline": 6,
    "fanout": 3,
    "dynamic": 3,
    "services": 4,
}
"""At most so many per scenario: what goes wrong at all goes wrong with a few, and a few can be read."""

_WITH_LIMITS: Final = 0.4
"""The share of the trials with faults that are about limits."""

_RATES: Final = (None, None, None, "1/sec", "2/sec", "3/sec", "5/sec", "5/3s", "10/min")
_LATENCIES: Final[Sequence[Latency]] = (
    Constant(0.1),
    Constant(0.1),
    Constant(0.5),
    Constant(0.0),
    Uniform(0.05, 0.4),
    Lognormal(0.2, 0.7),
)


@dataclass(frozen=True, slots=True)
class Trial:
    """What makes a run what it is. Equal trials give equal logs.

    Attributes:
        seed: Of all luck.
        scenario: Its name.
        count: Of the scenario.
        concurrent: Slots of its main service.
        rate: Of its main service, None for none.
        submit_rate: Submissions per second, None for all at once.
        latency: Of handlers.
        jitter: See `Model`.
        outliers: See `Model`.
        error_rate: See `Model`; not in the last life.
        kinds: Of faults.
        share: How many of those that a kind of fault could strike are.
        lives: Before the last one, which has no faults.
        first: The number of the first of them: each has faults of its own.
        without: Numbers, below `count`, that are left out.
        timeout: Of all tasks, None for none.
        drains: Whether the cue is drained before it is stopped.
        model: Of its handlers, in the place of what is said of them above; in the last life without errors.
        order: Seeds the order of what asyncio leaves open, None for that of registration; see `VirtualTimeLoop`.
    """

    seed: int
    scenario: str = "single_queue"
    count: int = 5
    concurrent: int = 2
    rate: str | None = None
    submit_rate: float | None = None
    latency: Latency = field(default_factory=lambda: Constant(0.1))
    jitter: float = 0.0
    outliers: float = 0.0
    error_rate: float = 0.0
    kinds: frozenset[str] = frozenset()
    share: float = 0.1
    lives: int = 1
    first: int = 1
    without: frozenset[int] = frozenset()
    timeout: float | None = None
    drains: bool = True
    model: Model | None = None
    order: int | None = None

    @property
    def pace(self) -> float:
        """Seconds that a handler usually takes."""
        return max(self.latency.seconds(0.5, 0), 0.001)


@dataclass
class Outcome:
    """What was seen of a trial.

    Attributes:
        trial: The trial.
        violation: What must not be, None if all is well.
        event_log: What happened.
        lives: How many there were.
        deaths: How many of them ended early.
        works: How many work units were submitted.
        faults: How often each kind of fault struck.
        settled: How often work units ended how.
        ties: What each work needs and proves, by its id.
    """

    trial: Trial
    violation: Violation | None = None
    event_log: list[Entry] = field(default_factory=list)
    lives: int = 0
    deaths: int = 0
    works: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    settled: Counter[str] = field(default_factory=Counter)
    ties: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = field(default_factory=dict)


def trial_of(seed: int, scenario: str) -> Trial:
    """What a seed stands for on a scenario.

    Args:
        seed: Any.
        scenario: Its name.
    """
    luck = Luck(seed)

    def roll(*what: object) -> float:
        return luck.one("trial", scenario, *what)

    def one_of(what: str, choices: Sequence[T]) -> T:
        return choices[int(roll(what) * len(choices))]

    often = one_of("often", (0.0, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 0.6, 0.6, 0.6))
    kinds = frozenset(kind for kind in KINDS if roll("kind", kind) < often)
    # Where they are, less is known of when something has to start. So most trials have none of them.
    if roll("limits") >= _WITH_LIMITS:
        kinds -= OF_LIMITS
    return Trial(
        seed,
        scenario,
        count=1 + int(roll("count") * COUNTS[scenario]),
        concurrent=one_of("concurrent", (1, 1, 2, 3, 4)),
        rate=one_of("rate", _RATES),
        submit_rate=one_of("submit rate", (None, None, 5.0, 20.0)),
        latency=one_of("latency", _LATENCIES),
        jitter=one_of("jitter", (0.0, 0.2)),
        outliers=one_of("outliers", (0.0, 0.1)),
        error_rate=one_of("error rate", (0.0, 0.0, 0.1, 0.3)),
        kinds=kinds,
        share=one_of("share", (0.05, 0.15, 0.4)),
        lives=one_of("lives", (1, 1, 2, 3)),
        timeout=one_of("timeout", (None, 0.5, 2.0)),
        drains=one_of("drains", (True, True, False)),
        # Not by luck: who checks two seeds in a row has checked both kinds.
        order=seed if seed % 2 else None,
    )


def describe(trial: Trial) -> str:
    """What a trial is, in a line."""
    number = trial.count - len(trial.without)
    parts = [
        f"{number} to begin with",
        f"{trial.concurrent} at once",
        *([trial.rate] if trial.rate else []),
        *([f"{trial.submit_rate:g} submitted per second"] if trial.submit_rate else []),
        *([f"{trial.error_rate:.0%} errors"] if trial.error_rate else []),
        *([f"timeout {trial.timeout:g} s"] if trial.timeout else []),
        *([f"shuffled by seed {trial.order}"] if trial.order is not None else []),
    ]
    kinds = ", ".join(sorted(trial.kinds)) if trial.lives else ""
    return f"{', '.join(parts)}; {'faults: ' + kinds if kinds else 'no faults'}"
