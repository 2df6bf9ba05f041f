"""Independent calls of one service."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

import runcue
from runcue_sim._pipelines.scenarios.base import Scenario


class SingleQueue(Scenario):
    """`count` calls, each proved by its answer, which an `is_stale` of the ordinary kind looks for."""

    name: ClassVar[str] = "single_queue"
    description: ClassVar[str] = "Independent tasks, one service"
    main: ClassVar[str] = "api"

    def describe(self) -> None:
        """See `Scenario`."""
        settings = self.stage.settings
        cue, world = self.cue, self.world
        self.stage.service("api", concurrent=settings.concurrent, rate=settings.rate)

        @cue.task("api_call", uses="api")
        async def api_call(work: runcue.Work) -> None:
            await self.stage.perform(work, work.params["item"])
            self.make("api_call", work.params["item"])

        @cue.is_stale
        def is_not_answered(work: runcue.Work) -> bool:
            return not world.has(f"{work.params['item']}/answer")

    async def submit(self) -> None:
        """See `Scenario`."""
        async for number in self.stage.paced(range(self.stage.settings.count)):
            await self.add("api_call", f"call_{number:03}")

    def expected(self) -> int:
        """See `Scenario`."""
        return self.stage.settings.count

    def needs(self, task: str, item: str) -> tuple[str, ...]:
        """See `Scenario`."""
        return ()

    def proves(self, task: str, item: str) -> tuple[str, ...]:
        """See `Scenario`."""
        return (f"{item}/answer",)

    def everything(self) -> Iterable[str]:
        """See `Scenario`."""
        return (f"call_{number:03}/answer" for number in range(self.stage.settings.count))
