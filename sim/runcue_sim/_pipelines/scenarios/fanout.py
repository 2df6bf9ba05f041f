"""Split, work on the parts in parallel, aggregate: work units that only the handler of another one can submit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar

import runcue
from runcue_sim._pipelines.scenarios.base import Scenario

PARTS = 5


class Fanout(Scenario):
    """`count` batches: a split submits the work units for its parts, and an aggregate that waits for all of them.

    The aggregate is asked about by an `is_ready` of the ordinary kind, which counts parts. What it looks at, runcue
    notices, so the last part wakes it.
    """

    name: ClassVar[str] = "fanout"
    description: ClassVar[str] = "Split -> parallel process -> aggregate"
    main: ClassVar[str] = "processor"
    scales: ClassVar[Mapping[str, float]] = {"split": 0.5, "aggregate": 0.5}
    error_scales: ClassVar[Mapping[str, float]] = {"split": 0.0, "aggregate": 0.0}

    def describe(self) -> None:
        """See `Scenario`."""
        cue, world, settings = self.cue, self.world, self.stage.settings
        self.stage.service("splitter", concurrent=1)
        self.stage.service("processor", concurrent=settings.concurrent, rate=settings.rate)
        self.stage.service("aggregator", concurrent=2)
        self.declare("process", "processor")

        @cue.task("split", uses="splitter", outputs=lambda work: world.proof(f"{work.params['item']}/parts"))
        async def split(work: runcue.Work) -> None:
            item = work.params["item"]
            await self.stage.perform(work, item)
            self.make("split", item)
            await self._add_parts(item)

        @cue.task("aggregate", uses="aggregator")
        async def aggregate(work: runcue.Work) -> None:
            await self.stage.perform(work, work.params["item"])
            self.make("aggregate", work.params["item"])

        @cue.is_ready(task="aggregate")
        def has_all_parts(work: runcue.Work) -> bool | tuple[bool, str]:
            return self.stage.has_all(work, self.needs("aggregate", work.params["item"]), "parts processed")

        @cue.is_stale(task="aggregate")
        def is_not_aggregated(work: runcue.Work) -> bool:
            return not world.proof(f"{work.params['item']}/total").valid()

    async def submit(self) -> None:
        """See `Scenario`.

        Of a batch that was split in an earlier life nobody else would submit the parts.
        """
        async for number in self.stage.paced(range(self.stage.settings.count)):
            item = f"batch_{number:03}"
            await self.add("split", item)
            if self.world.has(f"{item}/parts"):
                await self._add_parts(item)

    async def _add_parts(self, item: str) -> None:
        for part in range(PARTS):
            await self.add("process", f"{item}.{part}")
        await self.add("aggregate", item)

    def expected(self) -> int:
        """See `Scenario`."""
        return (PARTS + 2) * self.stage.settings.count

    def needs(self, task: str, item: str) -> tuple[str, ...]:
        """See `Scenario`."""
        if task == "process":
            return (f"{item.partition('.')[0]}/parts",)
        if task == "aggregate":
            return tuple(f"{item}.{part}/processed" for part in range(PARTS))
        return ()

    def proves(self, task: str, item: str) -> tuple[str, ...]:
        """See `Scenario`."""
        return (f"{item}/{ {'split': 'parts', 'process': 'processed', 'aggregate': 'total'}[task] }",)

    def everything(self) -> Iterable[str]:
        """See `Scenario`."""
        for number in range(self.stage.settings.count):
            item = f"batch_{number:03}"
            yield f"{item}/parts"
            yield from self.needs("aggregate", item)
            yield f"{item}/total"
