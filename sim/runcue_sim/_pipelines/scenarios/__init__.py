"""The pipelines that `runcue-sim` brings along.

A new one is a module with a subclass of `Scenario`, and an entry in the list below.
"""

from __future__ import annotations

from typing import Final

from runcue_sim._pipelines.scenarios.base import Scenario, Settings, SimulatedError, Stage
from runcue_sim._pipelines.scenarios.dynamic import Dynamic
from runcue_sim._pipelines.scenarios.fanout import Fanout
from runcue_sim._pipelines.scenarios.pipeline import Pipeline
from runcue_sim._pipelines.scenarios.single_queue import SingleQueue

__all__ = ["SCENARIOS", "Scenario", "Settings", "SimulatedError", "Stage"]

SCENARIOS: Final[dict[str, type[Scenario]]] = {
    scenario.name: scenario for scenario in (SingleQueue, Pipeline, Fanout, Dynamic)
}
"""By the name that the command line takes."""
