"""What the options ask for, made ready to run: a scenario, or a user's own pipeline.

Lives here: `prepare`, which gives a `Run` with a described cue, a model behind it and its ledger.

Must not know: clocks, how a run is shown.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import replace

import runcue
from runcue_sim._engine.run import Run
from runcue_sim._engine.world import World
from runcue_sim._pipelines import limits
from runcue_sim._pipelines.prepared import ID_PREFIX, PipelineOptions, Prepared, is_on_purpose
from runcue_sim._pipelines.rehearsal import prepare_program
from runcue_sim._pipelines.scenarios import SCENARIOS, Stage
from runcue_sim._records.accounts import ServiceAccount
from runcue_sim._records.event_log import Trace
from runcue_sim._records.ledger import Ledger
from runcue_sim._workload.latency import Constant, Model
from runcue_sim._workload.luck import Luck


@contextlib.contextmanager
def prepare(options: PipelineOptions, seed: int, trace: Trace) -> Iterator[Prepared]:
    """Make ready what the options ask for. Inside the context it can be run, once.

    Raises:
        BadUsage: It cannot be run.
    """
    if options.app is None:
        yield _scenario(options, seed, trace)
        return
    with prepare_program(options, options.app, seed, trace) as prepared:
        yield prepared


def _scenario(options: PipelineOptions, seed: int, trace: Trace) -> Prepared:
    kind, settings = SCENARIOS[options.scenario], options.settings
    # Nothing changes from outside, so nothing has to be looked at again for that.
    cue = runcue.Cue(id_prefix=ID_PREFIX, stall_timeout=options.timeout, recheck=False)
    stage = Stage(cue, World(), Model(Luck(seed)), settings, trace)
    scenario = kind(stage)
    scenario.describe()
    stage.model = replace(
        options.model.model(seed, [task.name for task in cue.tasks()]),
        scales=kind.scales,
        error_scales=kind.error_scales,
    )
    limits.apply(cue, options.limits)
    ledger = Ledger(cue, trace, on_purpose=is_on_purpose, ready_at=stage.ready_at)
    stage.on_asking = ledger.asking
    run = Run(cue, scenario.submit, ledger, trace, scenario.needs, scenario.proves)
    main = ledger.services[kind.main]
    title = _title(f"{kind.name}: count {settings.count}", main, options.limits, stage.model)
    return Prepared(run, kind.name, title, scenario.expected())


def _title(first: str, main: ServiceAccount, sets: Iterable[str], model: Model) -> str:
    """What holds in a run, in a line: limits as they are after `--set`."""
    parts = [first, "any number at once" if main.concurrent is None else f"{main.concurrent} at once"]
    if main.rate:
        parts.append(main.rate)
    # The last of several values counts.
    others = {text.rpartition("=")[0].strip(): text for text in sets}
    parts += [text for what, text in others.items() if what.rpartition(".")[0] != main.name]
    if isinstance(model.latency, Constant):
        parts.append(f"{model.latency.value * 1000:g} ms ±{model.jitter:.0%}")
    if model.error_rate:
        parts.append(f"{model.error_rate:.0%} errors")
    if model.outliers:
        parts.append(f"{model.outliers:.0%} outliers")
    return ", ".join(parts)
