"""The pipelines that `runcue-sim` brings along.

A new one is a module with a subclass of `Scenario`, and an entry in the list below.
"""

from __future__ import annotations

from typing import Final

from runcue_sim._pipelines.scenarios.base import Scenario, Settings, SimulatedError, Stage
from runcue_sim._pipelines.scenarios.dynamic import Dynamic
from runcue_sim._pipelines.scenarios.fanout import Fanout
from runcue_sim._pipelines.scenarios.pipeline import Pipeline
from runcue_sim._pipelines.scenarios.services import Services
from runcue_sim._pipelines.scenarios.single_queue import SingleQueue
from runcue_sim._text.usage import nearest

__all__ = ["SCENARIOS", "Scenario", "Settings", "SimulatedError", "Stage", "named"]

SCENARIOS: Final[dict[str, type[Scenario]]] = {
    scenario.name: scenario for scenario in (SingleQueue, Pipeline, Fanout, Dynamic, Services)
}
"""By the name that the command line takes."""


def named(text: str) -> str:
    """The name of a scenario.

    Raises:
        ValueError: There is none of that name.
    """
    if text not in SCENARIOS:
        raise ValueError(f"there is no scenario {text!r}; {nearest(text, SCENARIOS)}")
    return text
