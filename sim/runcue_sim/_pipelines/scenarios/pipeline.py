"""Extract, transform, load: each item through three services, the middle one of them limited."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar

from runcue_sim._pipelines.scenarios.base import Scenario

_AFTER = {"extract": "extracted", "transform": "transformed", "load": "loaded"}
_BEFORE = {"transform": "extracted", "load": "transformed"}


class Pipeline(Scenario):
    """`count` items, three work units each. The last stage is submitted first: order says nothing, artifacts do."""

    name: ClassVar[str] = "pipeline"
    description: ClassVar[str] = "Extract -> transform -> load chain"
    main: ClassVar[str] = "api"
    scales: ClassVar[Mapping[str, float]] = {"extract": 0.3, "load": 0.2}
    error_scales: ClassVar[Mapping[str, float]] = {"extract": 0.0, "load": 0.0}

    def describe(self) -> None:
        """See `Scenario`."""
        settings = self.stage.settings
        self.stage.service("local", concurrent=2 * settings.concurrent)
        self.stage.service("api", concurrent=settings.concurrent, rate=settings.rate)
        self.stage.service("storage", concurrent=3)
        self.declare("extract", "local")
        self.declare("transform", "api")
        self.declare("load", "storage")

    async def submit(self) -> None:
        """See `Scenario`."""
        async for number in self.stage.paced(range(self.stage.settings.count)):
            for task in ("load", "transform", "extract"):
                await self.add(task, f"item_{number:03}")

    def expected(self) -> int:
        """See `Scenario`."""
        return 3 * self.stage.settings.count

    def needs(self, task: str, item: str) -> tuple[str, ...]:
        """See `Scenario`."""
        return (f"{item}/{_BEFORE[task]}",) if task in _BEFORE else ()

    def proves(self, task: str, item: str) -> tuple[str, ...]:
        """See `Scenario`."""
        return (f"{item}/{_AFTER[task]}",)

    def everything(self) -> Iterable[str]:
        """See `Scenario`."""
        for number in range(self.stage.settings.count):
            yield from (f"item_{number:03}/{after}" for after in _AFTER.values())
