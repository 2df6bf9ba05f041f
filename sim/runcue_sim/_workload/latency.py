"""How long handlers take and whether they fail: the model that stands in for them.

Lives here: kinds of latency and the text they are written as; `Model`, which draws for a work.

Must not know: cues, clocks, scenarios.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import exp
from statistics import NormalDist
from typing import NamedTuple, Protocol

from runcue_sim._workload.luck import Luck

FORMS = '"200" (milliseconds), "1.5s", "uniform:100:300", "lognormal:200:0.5" (median and sigma)'

LONGEST = 1e9
"""Seconds, thirty years: a clock that has to count more is no longer exact."""

_NORMAL = NormalDist()
_TINY = 1e-12


class Try(NamedTuple):
    """A run of a handler after which its work unit came back.

    Attributes:
        seconds: How long it took.
        reason: "failed", "throttled" or "postponed".
        delay: Seconds until it was to go on.
        spent: What it has spent of budgets, as text.
    """

    seconds: float
    reason: str
    delay: float
    spent: Mapping[str, str] = {}


class Latency(Protocol):
    """Seconds that a handler takes."""

    @property
    def jittery(self) -> bool:
        """Whether the model's jitter applies: not to what has a spread of its own."""

    def seconds(self, roll: float, nth: int) -> float:
        """How long one takes.

        Args:
            roll: A number in [0, 1).
            nth: The how many-th work of its task it is, from 0.
        """


@dataclass(frozen=True, slots=True)
class Constant:
    """Always the same, but for the model's jitter."""

    value: float
    jittery: bool = True

    def seconds(self, roll: float, nth: int) -> float:
        """See `Latency`."""
        return self.value


@dataclass(frozen=True, slots=True)
class Uniform:
    """Anything between two bounds."""

    low: float
    high: float
    jittery: bool = False

    def seconds(self, roll: float, nth: int) -> float:
        """See `Latency`."""
        return self.low + roll * (self.high - self.low)


@dataclass(frozen=True, slots=True)
class Lognormal:
    """What network services usually do: most near the median, some much longer.

    Attributes:
        median: Half take longer.
        sigma: The spread of the logarithm: 0.5 puts one in six above 1.6 times the median.
    """

    median: float
    sigma: float
    jittery: bool = False

    def seconds(self, roll: float, nth: int) -> float:
        """See `Latency`."""
        return self.median * exp(self.sigma * _NORMAL.inv_cdf(min(max(roll, _TINY), 1 - _TINY)))


@dataclass(frozen=True, slots=True)
class Recorded:
    """What was measured in a real run: the n-th work takes what the n-th took then, and again from the first.

    In order, not at random: then the same work units take the same time as they did, and a few work units take no other
    time in all than was measured.

    Attributes:
        durations: Seconds, at least one.
        failing: The numbers of those that failed.
        tries: By number, what came before its last attempt.
        spent: By number, what its last attempt has spent of budgets.
    """

    durations: Sequence[float]
    failing: frozenset[int] = frozenset()
    jittery: bool = False
    tries: Mapping[int, Sequence[Try]] = field(default_factory=dict)
    spent: Mapping[int, Mapping[str, str]] = field(default_factory=dict)

    def seconds(self, roll: float, nth: int) -> float:
        """See `Latency`."""
        return self.durations[nth % len(self.durations)]

    def try_of(self, nth: int, run: int) -> Try | None:
        """What became of one run of a handler of it, from 0; None if that was the last one."""
        tries = self.tries.get(nth % len(self.durations), ())
        return tries[run] if run < len(tries) else None

    def spends(self, nth: int) -> Mapping[str, str]:
        """What its last attempt has spent."""
        return self.spent.get(nth % len(self.durations), {})

    def fails(self, nth: int) -> bool:
        """Whether that one failed."""
        return nth % len(self.durations) in self.failing


def parse_latency(text: str) -> Latency:
    """Read a latency as people write it; see `FORMS`.

    Raises:
        ValueError: It is none; the text shows the forms.
    """
    kind, *values = text.strip().split(":")
    try:
        if not values:
            return Constant(_seconds(kind))
        if kind == "constant" and len(values) == 1:
            return Constant(_seconds(values[0]))
        if kind == "uniform" and len(values) == 2:
            low, high = map(_seconds, values)
            if low <= high:
                return Uniform(low, high)
        if kind == "lognormal" and len(values) == 2 and 0 <= (sigma := float(values[1])) <= 10:
            return Lognormal(_seconds(values[0]), sigma)
    except ValueError:
        pass
    raise ValueError(f"latency {text!r} is none of {FORMS}")


def _seconds(text: str) -> float:
    text = text.strip()
    for unit, size in (("ms", 0.001), ("s", 1.0), ("", 0.001)):
        if text.endswith(unit):
            value = float(text.removesuffix(unit)) * size
            if 0 <= value < LONGEST:
                return value
            break
    raise ValueError(text)


class Draw(NamedTuple):
    """What the model says of one attempt."""

    seconds: float
    fails: bool
    outlier: bool
    spent: Mapping[str, str] = {}
    comes_back: Try | None = None


@dataclass
class Model:
    """Stands in for handlers.

    Attributes:
        luck: Where the rolls of the dice come from.
        latency: Of tasks that have none of their own.
        latencies: By task.
        scales: Factors on `latency` by task: what a scenario says of its stages.
        error_rate: The share of attempts that fail, 0.0 to 1.0.
        error_rates: By task.
        error_scales: Factors on `error_rate` by task.
        jitter: 0.2 lets latencies without a spread of their own vary by 20 % up and down.
        outliers: The share of attempts that take `outlier_mult` times as long.
        outlier_mult: That factor.
    """

    luck: Luck
    latency: Latency = field(default_factory=lambda: Constant(0.1))
    latencies: Mapping[str, Latency] = field(default_factory=dict)
    scales: Mapping[str, float] = field(default_factory=dict)
    error_rate: float = 0.0
    error_rates: Mapping[str, float] = field(default_factory=dict)
    error_scales: Mapping[str, float] = field(default_factory=dict)
    jitter: float = 0.2
    outliers: float = 0.0
    outlier_mult: float = 5.0

    def draw(
        self, task: str, item: str, nth: int = 0, round_: int = 0, attempt: int = 1, run: int = 0
    ) -> Draw:
        """What becomes of one attempt.

        Args:
            task: The task's name.
            item: What tells the work from others of its task.
            nth: The how many-th of its task it is, from 0.
            round_: Which time the same is done.
            attempt: The number of the attempt, from 1; each has luck of its own.
            run: The number of the run of its handler, from 0; of an attempt that was put back there are several.
        """
        names = (task, item, round_) if attempt == 1 else (task, item, round_, attempt)
        length, spread, outlier, error = self.luck.four(*names)
        own = self.latencies.get(task)
        latency = self.latency if own is None else own
        seconds = latency.seconds(length, nth)
        if own is None:
            seconds *= self.scales.get(task, 1.0)
        if latency.jittery and self.jitter:
            seconds *= 1 + self.jitter * (2 * spread - 1)
        slow = outlier < self.outliers
        if slow:
            seconds *= self.outlier_mult
        rate = self.error_rates.get(task)
        if rate is None:
            rate = self.error_rate * self.error_scales.get(task, 1.0)
            if isinstance(latency, Recorded) and latency.fails(nth):
                rate = 1.0
        if isinstance(latency, Recorded):
            if (before := latency.try_of(nth, run)) is not None:
                return Draw(before.seconds, False, False, before.spent, before)
            return Draw(min(seconds, LONGEST), error < rate, slow, latency.spends(nth))
        return Draw(min(seconds, LONGEST), error < rate, slow)
