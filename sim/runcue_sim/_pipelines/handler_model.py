"""What the command line says of the model in the place of handlers.

Lives here: `HandlerOptions`, which every run can have; `ModelOptions`, with what only a run without faults can have,
which makes the model.

Must not know: cues, what is run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from runcue_sim._text.options import option
from runcue_sim._text.usage import BadUsage, nearest
from runcue_sim._text.values import factor, share
from runcue_sim._workload.latency import Constant, Latency, Model, parse_latency
from runcue_sim._workload.luck import Luck
from runcue_sim.recording import load

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class PerTask(Generic[T]):
    """A value that may differ from task to task: "0.1", or "ask=0.1" for one.

    Attributes:
        task: The task it is for, None for all others.
        value: The value.
    """

    task: str | None
    value: T


def _per_task(read: Callable[[str], T]) -> Callable[[str], PerTask[T]]:
    def per_task(text: str) -> PerTask[T]:
        task, equals, value = text.rpartition("=")
        return PerTask(task if equals else None, read(value))

    return per_task


@dataclass(frozen=True, slots=True)
class HandlerOptions:
    """How long handlers take and how many fail."""

    latency: tuple[PerTask[Latency], ...] = option(
        (),
        "-l, --latency MS",
        "model",
        "how long handlers take: 200, 1.5s, uniform:100:300, lognormal:200:0.5 (default: 100)",
        _per_task(parse_latency),
    )
    jitter: float = option(
        0.2, "-j, --jitter F", "model", "constant latencies vary by this fraction (default: 0.2)", share
    )
    outliers: float = option(
        0.0, "--outliers F", "model", "share of slow ones, 0.0 to 1.0 (default: 0)", share
    )
    error_rate: tuple[PerTask[float], ...] = option(
        (), "-e, --error-rate F", "model", "share that fails, 0.0 to 1.0 (default: 0)", _per_task(share)
    )

    @property
    def usual_latency(self) -> Latency:
        """That of all tasks which have none of their own."""
        return _for_all(self.latency, Constant(0.1))

    @property
    def usual_error_rate(self) -> float:
        """Likewise."""
        return _for_all(self.error_rate, 0.0)


@dataclass(frozen=True, slots=True)
class ModelOptions(HandlerOptions):
    """The whole model."""

    outlier_mult: float = option(
        5.0, "--outlier-mult X", "model", "how much slower these are (default: 5)", factor
    )
    recorded: str | None = option(
        None,
        "--recorded FILE",
        "model",
        "latencies and failures of a real run, saved by runcue_sim.Recording",
    )

    def model(self, seed: int, tasks: Sequence[str]) -> Model:
        """The model.

        Args:
            seed: Of its luck.
            tasks: The names of the tasks there are.

        Raises:
            BadUsage: An option is about a task that does not exist.
        """
        latencies: dict[str, Latency] = {}
        if self.recorded is not None:
            latencies.update(load(self.recorded).latencies())
            if not any(task in latencies for task in tasks):
                raise BadUsage(f"{self.recorded} has no latencies of any task here ({', '.join(tasks)})")
        latencies.update(_by_task(self.latency, tasks, "--latency"))
        return Model(
            Luck(seed),
            latency=self.usual_latency,
            latencies=latencies,
            error_rate=self.usual_error_rate,
            error_rates=_by_task(self.error_rate, tasks, "--error-rate"),
            jitter=self.jitter,
            outliers=self.outliers,
            outlier_mult=self.outlier_mult,
        )


def _by_task(values: Sequence[PerTask[T]], tasks: Sequence[str], flag: str) -> dict[str, T]:
    """The values that are for single tasks.

    Raises:
        BadUsage: There is no such task.
    """
    found = {}
    for one in values:
        if one.task is not None:
            if one.task not in tasks:
                raise BadUsage(f"{flag} {one.task}=...: there is no such task; {nearest(one.task, tasks)}")
            found[one.task] = one.value
    return found


def _for_all(values: Sequence[PerTask[T]], default: T) -> T:
    """The last value that is for all tasks."""
    general = [one.value for one in values if one.task is None]
    return general[-1] if general else default
