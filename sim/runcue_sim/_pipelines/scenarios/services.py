"""Orders that need two services at a time for each step, plain handlers, and what only the world outside can give."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import ClassVar, Final

import runcue
from runcue.testing import FakeExecutor
from runcue_sim._pipelines.scenarios.base import Scenario

_OUTSIDE: Final[Mapping[str, tuple[str, ...]]] = {
    "opened": ("nudge it", "nudge all"),
    "approved": ("nudge all",),
    "paid": ("nudge it", "nudge all", "touch it"),
}
"""What comes from outside, and the ways in which that may be told."""

_USES: Final = {
    "fetch": ["web", "account"],
    "render": ["cpu", "account"],
    "mail": ["web", "cpu"],
    "book": ["account", "web"],
}
_NEEDS: Final = {
    "fetch": ("opened",),
    "render": ("fetched",),
    "mail": ("rendered", "approved"),
    "book": ("paid", "fetched"),
}
_PROVES: Final = {"fetch": "fetched", "render": "rendered", "mail": "mailed", "book": "booked"}


class Services(Scenario):
    """`count` orders, four work units each, each of which takes two services in one step.

    An order is opened, approved and paid for outside, some time after it was submitted, and that is told in one of the
    ways that there are: by `cue.nudge()` of everything or of the one thing, or by `touch()`. A payment may be taken
    back for a while. The gates of `fetch` and `mail` look at that without runcue seeing it. The gate of `book` is an
    `async def` that looks first and takes its time then, so that its answer may be out of date when it comes.
    The handlers of `render` and `book` are plain functions.
    """

    name: ClassVar[str] = "services"
    description: ClassVar[str] = "Two services per task, plain handlers, nudges from outside"
    main: ClassVar[str] = "web"
    scales: ClassVar[Mapping[str, float]] = {"render": 0.5, "mail": 0.3, "book": 0.4}
    error_scales: ClassVar[Mapping[str, float]] = {"mail": 0.0, "book": 0.0}

    def describe(self) -> None:
        """See `Scenario`."""
        cue, world, settings = self.cue, self.world, self.stage.settings
        self.stage.service("web", concurrent=settings.concurrent, rate=settings.rate)
        self.stage.service("account", concurrent=settings.concurrent + 1)
        self.stage.service("cpu", concurrent=2)
        # In the place of threads, so that they take no real time and come in one order.
        threads = FakeExecutor(lambda work: self.stage.begin(work, work.params["item"]))

        def proof(what: str) -> Callable[[runcue.Work], runcue.Artifact]:
            return lambda work: world.proof(f"{work.params['item']}/{what}")

        @cue.task("fetch", uses=_USES["fetch"], outputs=proof("fetched"))
        async def fetch(work: runcue.Work) -> None:
            await self.stage.perform(work, work.params["item"])
            self.make("fetch", work.params["item"])

        @cue.task("mail", uses=_USES["mail"], inputs=proof("rendered"), outputs=proof("mailed"))
        async def mail(work: runcue.Work) -> None:
            await self.stage.perform(work, work.params["item"])
            self.make("mail", work.params["item"])

        @cue.task(
            "render", uses=_USES["render"], run_in=threads, inputs=proof("fetched"), outputs=proof("rendered")
        )
        def render(work: runcue.Work) -> None:
            self.stage.end(work, work.params["item"])
            self.make("render", work.params["item"])

        @cue.task("book", uses=_USES["book"], run_in=threads)
        def book(work: runcue.Work) -> None:
            self.stage.end(work, work.params["item"])
            self.make("book", work.params["item"])

        @cue.is_ready(task="fetch")
        def is_opened(work: runcue.Work) -> bool | tuple[bool, str]:
            return self._has(work, "opened")

        @cue.is_ready(task="mail")
        def is_approved(work: runcue.Work) -> bool | tuple[bool, str]:
            return self._has(work, "approved")

        @cue.is_ready(task="book")
        async def is_paid(work: runcue.Work) -> bool | tuple[bool, str]:
            with self.stage.asking(work):
                item = work.params["item"]
                answer = self.stage.has_all(work, self.needs("book", item), "there")
                await asyncio.sleep(self._pace() * self.stage.model.luck.one("asking", item))
                return answer

        @cue.is_stale(task="book")
        def is_not_booked(work: runcue.Work) -> bool:
            return not world.has(f"{work.params['item']}/booked")

    def _has(self, work: runcue.Work, what: str) -> bool | tuple[bool, str]:
        """Whether something is there, without runcue seeing that it was looked at."""
        if not self.world.has(f"{work.params['item']}/{what}"):
            return False, f"not {what}"
        self.stage.ready_at.setdefault(work.id, asyncio.get_running_loop().time())
        return True

    def _pace(self) -> float:
        return self.stage.model.latency.seconds(0.5, 0)

    async def submit(self) -> None:
        """See `Scenario`. It ends when all has come from outside."""
        async with asyncio.TaskGroup() as outside:
            async for number in self.stage.paced(range(self.stage.settings.count)):
                item = f"order_{number:03}"
                for task in ("book", "mail", "render", "fetch"):
                    await self.add(task, item)
                for what in _OUTSIDE:
                    if not self.world.has(f"{item}/{what}"):
                        outside.create_task(self._come(f"{item}/{what}"))

    async def _come(self, name: str) -> None:
        """Something comes from outside."""
        first, taken_back, second, third = self.stage.model.luck.four("outside", name)
        await asyncio.sleep(4 * self._pace() * first)
        self._change(name, self.world.make)
        if name.endswith("/paid") and taken_back < 0.3:
            await asyncio.sleep(2 * self._pace() * second)
            self._change(name, self.world.spoil)
            await asyncio.sleep(2 * self._pace() * third)
            self._change(name, self.world.make)

    def _change(self, name: str, change: Callable[[str], None]) -> None:
        change(name)
        self.tell(name)

    def tell(self, name: str) -> None:
        """See `Scenario`."""
        ways = _OUTSIDE.get(name.rpartition("/")[2], ("nudge it", "nudge all", "touch it"))
        way = ways[self.stage.model.luck.below(len(ways), "way", name, self.world.times.get(name, 0))]
        if way == "touch it":
            self.world.proof(name).touch()
            return
        self.cue.nudge(self.world.proof(name) if way == "nudge it" else None)
        self.world.tell(name)

    def expected(self) -> int:
        """See `Scenario`."""
        return len(_USES) * self.stage.settings.count

    def needs(self, task: str, item: str) -> tuple[str, ...]:
        """See `Scenario`."""
        return tuple(f"{item}/{what}" for what in _NEEDS[task])

    def proves(self, task: str, item: str) -> tuple[str, ...]:
        """See `Scenario`."""
        return (f"{item}/{_PROVES[task]}",)

    def everything(self) -> Iterable[str]:
        """See `Scenario`."""
        for number in range(self.stage.settings.count):
            yield from (f"order_{number:03}/{what}" for what in (*_OUTSIDE, *_PROVES.values()))
