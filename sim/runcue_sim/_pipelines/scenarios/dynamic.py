"""Documents put together from what services fetch and make; a checker finds some of it wrong, and it is made again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import ClassVar

import runcue
from runcue_sim._pipelines.scenarios.base import Scenario, Stage

ROUNDS = 3


class Dynamic(Scenario):
    """`count` documents. Each needs two to four things fetched and one to three made locally, some out of the former.

    Which ones, is looked up when is_ready asks. A checker then reads the document. If it finds a part wrong, it spoils
    that and submits again what hangs on it: the first document is always wrong once, others by luck.
    """

    name: ClassVar[str] = "dynamic"
    description: ClassVar[str] = "Complex dependencies with rebuild cycles"
    main: ClassVar[str] = "api"
    scales: ClassVar[Mapping[str, float]] = {"local_process": 0.2, "publish": 0.5, "check": 0.3}
    error_scales: ClassVar[Mapping[str, float]] = {"local_process": 0.3, "publish": 0.0, "check": 0.0}

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        # The gates ask for it again and again.
        self.needs = cache(self.needs)  # type: ignore[method-assign]

    def describe(self) -> None:
        """See `Scenario`."""
        cue, world, settings = self.cue, self.world, self.stage.settings
        self.stage.service("api", concurrent=settings.concurrent, rate=settings.rate)
        self.stage.service("local", concurrent=2 * settings.concurrent)
        self.stage.service("publisher", concurrent=2)
        self.stage.service("checker", concurrent=1)
        for task, service in (("api_fetch", "api"), ("local_process", "local"), ("publish", "publisher")):
            self._make_task(task, service)

        @cue.task("check", uses="checker")
        async def check(work: runcue.Work) -> None:
            doc = work.params["item"]
            round_ = world.notes.get(doc, 0)
            await self.stage.perform(work, doc, round_)
            wrong = self._finds_wrong(doc, round_)
            if wrong is None:
                self.make("check", doc)
                return
            # In one step, or a process that dies in between would count a round that never was.
            world.notes[doc] = round_ + 1
            self.stage.spoil(work, f"{wrong}/fetched")
            for name in self._made_from(wrong, doc):
                self.stage.spoil(work, name)
            await self._add_document(doc)

        @cue.is_ready
        def has_its_parts(work: runcue.Work) -> bool | tuple[bool, str]:
            return self.stage.has_all(work, self.needs(work.task, work.params["item"]), "parts valid")

        @cue.is_stale
        def is_not_made(work: runcue.Work) -> bool:
            return not all(world.proof(name).valid() for name in self.proves(work.task, work.params["item"]))

    def _make_task(self, task: str, service: str) -> None:
        world = self.world

        @self.cue.task(task, uses=service)
        async def perform(work: runcue.Work) -> None:
            item = work.params["item"]
            [name] = self.proves(task, item)
            await self.stage.perform(work, item, world.times.get(name, 0))
            self.make(task, item)
            # It is not declared, so whoever looked at it has to be told.
            world.proof(name).touch()

    async def submit(self) -> None:
        """See `Scenario`."""
        async for number in self.stage.paced(range(self.stage.settings.count)):
            await self._add_document(f"doc_{number:03}")

    async def _add_document(self, doc: str) -> None:
        await self.add("check", doc)
        await self.add("publish", doc)
        for local in self._locals(doc):
            await self.add("local_process", local)
        for fetch in self._fetches(doc):
            await self.add("api_fetch", fetch)

    def _fetches(self, doc: str) -> list[str]:
        return [f"{doc}.api_{n}" for n in range(2 + self.stage.model.luck.below(3, "fetches", doc))]

    def _locals(self, doc: str) -> list[str]:
        return [f"{doc}.local_{n}" for n in range(1 + self.stage.model.luck.below(3, "locals", doc))]

    def _source(self, local: str) -> str | None:
        """What a local part is made out of, None for nothing."""
        luck = self.stage.model.luck
        if luck.one("has source", local) < 0.4:
            return None
        fetches = self._fetches(local.partition(".")[0])
        return fetches[luck.below(len(fetches), "source", local)]

    def _finds_wrong(self, doc: str, round_: int) -> str | None:
        """Which fetched part the checker finds wrong, None if all is well."""
        luck = self.stage.model.luck
        fetches = self._fetches(doc)
        sure = doc.endswith("_000") and round_ == 0
        if round_ >= ROUNDS or not (sure or luck.one("wrong", doc, round_) < 0.25):
            return None
        return fetches[luck.below(len(fetches), "which", doc, round_)]

    def _made_from(self, fetch: str, doc: str) -> Iterable[str]:
        """The proofs that are void without a fetched part, the last one first."""
        yield f"{doc}/published"
        for local in self._locals(doc):
            if self._source(local) == fetch:
                yield f"{local}/processed"

    def expected(self) -> int:
        """See `Scenario`."""
        docs = [f"doc_{number:03}" for number in range(self.stage.settings.count)]
        return sum(2 + len(self._fetches(doc)) + len(self._locals(doc)) for doc in docs)

    def needs(self, task: str, item: str) -> tuple[str, ...]:
        """See `Scenario`."""
        if task == "local_process":
            source = self._source(item)
            return () if source is None else (f"{source}/fetched",)
        if task == "publish":
            fetched = [f"{fetch}/fetched" for fetch in self._fetches(item)]
            return (*fetched, *(f"{local}/processed" for local in self._locals(item)))
        return (f"{item}/published",) if task == "check" else ()

    def proves(self, task: str, item: str) -> tuple[str, ...]:
        """See `Scenario`."""
        words = {
            "api_fetch": "fetched",
            "local_process": "processed",
            "publish": "published",
            "check": "checked",
        }
        return (f"{item}/{words[task]}",)

    def everything(self) -> Iterable[str]:
        """See `Scenario`."""
        for number in range(self.stage.settings.count):
            doc = f"doc_{number:03}"
            yield from self.needs("publish", doc)
            yield f"{doc}/published"
            yield f"{doc}/checked"
