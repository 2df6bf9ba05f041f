"""What the options ask for, made ready to run: a scenario, or a user's own pipeline.

Lives here: `prepare`, which gives a `Play` with a described cue, a model behind it and its books; what a scenario and a
user's own pipeline have in common.

Must not know: clocks, how a run is shown.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import runcue
from runcue.rehearsal import set_limits
from runcue_sim._commands.options import by_task, for_all
from runcue_sim._engine.run import Play
from runcue_sim._engine.world import World
from runcue_sim._pipelines.scenarios import SCENARIOS, Settings, SimulatedError, Stage
from runcue_sim._records.event_log import Trace
from runcue_sim._records.ledger import Books
from runcue_sim._text.usage import BadUsage
from runcue_sim._workload.latency import Constant, Model
from runcue_sim._workload.luck import Chance

ID_PREFIX = "sim-"


def make_model(options: argparse.Namespace, seed: int, tasks: list[str]) -> Model:
    """The model that the options describe.

    Args:
        options: From the command line.
        seed: Of its luck.
        tasks: The names of the tasks there are.

    Raises:
        BadUsage: An option is about a task that does not exist.
    """
    model = Model(
        Chance(seed),
        latency=for_all(options.latency, Constant(0.1)),
        error_rate=for_all(options.error_rate, 0.0),
        jitter=0.2 if options.jitter is None else options.jitter,
        outliers=options.outliers,
        outlier_mult=options.outlier_mult,
    )
    latencies: dict[str, Any] = {}
    if options.recorded is not None:
        from runcue_sim.recording import load  # noqa: PLC0415 - only who has recorded a run

        latencies.update(load(options.recorded).latencies())
        if not any(task in latencies for task in tasks):
            raise BadUsage(f"{options.recorded} has no latencies of any task here ({', '.join(tasks)})")
    latencies.update(by_task(options.latency, tasks, "--latency"))
    model.latencies = latencies
    model.error_rates = by_task(options.error_rate, tasks, "--error-rate")
    return model


@dataclass
class Prepared:
    """A play, and what is to be said about it.

    Attributes:
        play: What is run.
        name: What it is called.
        title: The same with what the options say, in a line.
        expected: How many works there will be if all goes well, None if nobody knows.
        notes: Gives lines for the report, once it is over.
    """

    play: Play
    name: str
    title: str
    expected: int | None = None
    notes: Callable[[], list[str]] = list


@contextlib.contextmanager
def prepare(options: argparse.Namespace, seed: int, trace: Trace) -> Iterator[Prepared]:
    """Make ready what the options ask for. Inside the context it can be run, once.

    Raises:
        BadUsage: It cannot be run.
    """
    if options.app is None:
        yield _scenario_play(options, seed, trace)
        return
    from runcue_sim._pipelines.rehearsed import app_play  # noqa: PLC0415 - what is needed for a user's program

    with app_play(options, seed, trace) as prepared:
        yield prepared


def _scenario_play(options: argparse.Namespace, seed: int, trace: Trace) -> Prepared:
    kind = SCENARIOS[options.scenario or "single_queue"]
    settings = Settings(
        count=100 if options.count is None else options.count,
        concurrent=5 if options.concurrent is None else options.concurrent,
        rate=options.rate_limit,
        submit_rate=options.submit_rate,
    )
    # Nothing changes from outside, so nothing has to be looked at again for that.
    cue = runcue.Cue(id_prefix=ID_PREFIX, stall_timeout=options.timeout, recheck=False)
    stage = Stage(cue, World(), Model(Chance(seed)), settings, trace)
    scenario = kind(stage)
    scenario.describe()
    stage.model = make_model(options, seed, [task.name for task in cue.tasks()])
    stage.model.scales = kind.scales
    stage.model.error_scales = kind.error_scales
    apply_limits(cue, options.set)
    books = Books(cue, trace, on_purpose=is_on_purpose, ready_at=stage.ready_at)
    play = Play(cue, scenario.submit, books, trace, scenario.needs, scenario.proves)
    return Prepared(play, kind.name, _title(kind.name, options, settings, stage.model), scenario.expected())


def is_on_purpose(error: BaseException) -> bool:
    """Whether a failure was asked for."""
    return isinstance(error, SimulatedError)


def apply_limits(cue: runcue.Cue, limits: list[str]) -> None:
    """Give services the limits of `--set`.

    Raises:
        BadUsage: There is no such service, or it cannot have that limit.
    """
    if not limits:
        return
    from runcue_sim._commands.sweep import parse_one  # noqa: PLC0415

    for text in limits:
        try:
            set_limits(cue, parse_one(text))
        except runcue.RuncueError as error:
            raise BadUsage(f"--set {text}: {error}") from error


def _title(name: str, options: argparse.Namespace, settings: Settings, model: Model) -> str:
    parts = [f"{name}: count {settings.count}", f"{settings.concurrent} at once"]
    if settings.rate:
        parts.append(settings.rate)
    if isinstance(model.latency, Constant):
        parts.append(f"{model.latency.value * 1000:g} ms ±{model.jitter:.0%}")
    if model.error_rate:
        parts.append(f"{model.error_rate:.0%} errors")
    if model.outliers:
        parts.append(f"{model.outliers:.0%} outliers")
    return ", ".join(parts)
