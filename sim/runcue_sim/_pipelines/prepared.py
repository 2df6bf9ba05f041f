"""What is asked for, and what of that is ready to run.

Lives here: `PipelineOptions`, what the command line says of it; `Prepared`, a run with what is to be said about it;
what a scenario and a user's own pipeline have in common.

Must not know: how either is made ready, how a run is shown.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from runcue_sim._engine.run import Run
from runcue_sim._pipelines.handler_model import ModelOptions
from runcue_sim._pipelines.scenarios import Settings, SimulatedError, named
from runcue_sim._text.options import option
from runcue_sim._text.values import positive

ID_PREFIX: Final = "sim-"


@dataclass(frozen=True, slots=True)
class PipelineOptions:
    """What is run."""

    app: str | None = option(None, "APP", "app", "your own pipeline: app.py:cue, or app.py:cue,submit")
    scenario: str = option(
        "single_queue", "--scenario NAME", "run", "one that comes along (default: single_queue)", named
    )
    settings: Settings = field(default_factory=Settings)
    submit: str | None = option(
        None,
        "--submit FILE",
        "run",
        'work units for APP, a JSON object a line: {"task": "ask", "params": {...}}',
    )
    model: ModelOptions = field(default_factory=ModelOptions)
    limits: tuple[str, ...] = option(
        (),
        "--set SERVICE.LIMIT=VALUE",
        "limits",
        "another limit for a service: api.concurrent=5, api.rate=60/min, api.burst=10; none takes one away",
    )
    timeout: float | None = option(
        None, "--timeout SECONDS", "limits", "fail what is blocked when nothing moved for so long", positive
    )


@dataclass
class Prepared:
    """A run, and what is to be said about it.

    Attributes:
        run: What is run.
        name: What it is called.
        title: The same with what the options say, in a line.
        expected: How many work units there will be if all goes well, None if nobody knows.
        notes: Gives lines for the report, once it is over.
    """

    run: Run
    name: str
    title: str
    expected: int | None = None
    notes: Callable[[], list[str]] = list


def is_on_purpose(error: BaseException) -> bool:
    """Whether a failure was asked for."""
    return isinstance(error, SimulatedError)
