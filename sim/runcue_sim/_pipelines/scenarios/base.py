"""What a scenario is, and what it can use.

Lives here: `Settings`, what the command line says; `Stage`, the cue, world and model a scenario has; `Scenario`.

Must not know: any scenario, how a run is watched or reported.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import runcue
from runcue_sim._engine.clocks import paced, wall_clock
from runcue_sim._engine.world import World
from runcue_sim._pipelines.limits import read_rate
from runcue_sim._records.event_log import Trace
from runcue_sim._text.options import option
from runcue_sim._text.values import positive, whole
from runcue_sim._workload.latency import Draw, Model

T = TypeVar("T")


class SimulatedError(Exception):
    """A failure that `--error-rate` asked for."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the command line says of a scenario.

    Attributes:
        count: How many of whatever the scenario counts.
        concurrent: Slots of its main service.
        rate: The main service's rate, None for none.
        submit_rate: Submissions per second, None for all at once.
    """

    count: int = option(
        100, "-n, --count N", "run", "how many work units it begins with (default: 100)", whole(1)
    )
    concurrent: int = option(
        5, "-c, --concurrent N", "limits", "slots of a scenario's main service (default: 5)", whole(1)
    )
    rate: str | None = option(
        None, "-r, --rate-limit RATE", "limits", 'its rate: "60/min", or "20/1" for 20 in 1 second', read_rate
    )
    submit_rate: float | None = option(
        None, "-s, --submit-rate N", "run", "work units submitted per second (default: all at once)", positive
    )


class Stage:
    """Where a scenario is run: one life of one process.

    Attributes:
        cue: The real thing.
        world: What exists; it may be older than this life.
        model: Says how long handlers take and whether they fail.
        settings: What the command line says.
        trace: Takes what is to be told.
        numbers: How many work units of each task were performed, for recorded latencies.
        ready_at: When is_ready first said yes, by work: seconds of the loop's clock.
        on_asking: Called with a work and 1 when an async gate of it begins to be asked, with -1 when it has answered.
    """

    def __init__(self, cue: runcue.Cue, world: World, model: Model, settings: Settings, trace: Trace) -> None:
        self.cue = cue
        self.world = world
        self.model = model
        self.settings = settings
        self.trace = trace
        self.numbers: dict[str, int] = {}
        self.ready_at: dict[str, float] = {}
        self.on_asking: Callable[[runcue.Work, int], object] = lambda work, step: None
        # Of plain handlers that are at work.
        self._draws: dict[str, Draw] = {}

    def service(self, name: str, **options: Any) -> None:
        """Register a service, with options of `Cue.service`."""
        self.cue.service(name, **options)

    async def submit(self, task: str, item: str, **options: Any) -> runcue.Work:
        """Submit one work, with options of `Cue.submit`. Returns it."""
        handle = await self.cue.submit(task, params={"item": item}, **options)
        return handle.work

    async def perform(self, work: runcue.Work, item: str, round_: int = 0) -> None:
        """Stand in for what a handler would do.

        Args:
            work: The work.
            item: What it is about.
            round_: Which time it is done.

        Raises:
            SimulatedError: The model says that it fails.
        """
        draw = self._draw(work, item, round_)
        await asyncio.sleep(draw.seconds)
        self._fail_if(draw, item)

    def begin(self, work: runcue.Work, item: str) -> float:
        """A plain handler begins. Returns the seconds that it takes."""
        draw = self._draws[work.id] = self._draw(work, item, 0)
        return draw.seconds

    def end(self, work: runcue.Work, item: str) -> None:
        """A plain handler has taken its time.

        Raises:
            SimulatedError: The model says that it fails.
        """
        self._fail_if(self._draws.pop(work.id), item)

    def _draw(self, work: runcue.Work, item: str, round_: int) -> Draw:
        nth = self.numbers.get(work.task, 0)
        self.numbers[work.task] = nth + 1
        return self.model.draw(work.task, item, nth, round_, work.attempt)

    @staticmethod
    def _fail_if(draw: Draw, item: str) -> None:
        if draw.fails:
            raise SimulatedError(f"simulated error for {item}")

    @contextmanager
    def asking(self, work: runcue.Work) -> Iterator[None]:
        """An async gate of a scenario's own is asked about a work: what it looks at first may change meanwhile."""
        self.on_asking(work, 1)
        try:
            yield
        finally:
            self.on_asking(work, -1)

    def paced(self, items: Iterable[T]) -> AsyncIterator[T]:
        """The items as they are to be submitted: `submit_rate` a second, or all at once."""
        return paced(items, self.settings.submit_rate)

    def has_all(self, work: runcue.Work, needed: tuple[str, ...], what: str) -> bool | tuple[bool, str]:
        """The answer of an is_ready that counts what is there.

        Args:
            work: Asked about.
            needed: The names of the proofs it needs.
            what: What these are, and in which state: "parts valid".
        """
        there = sum(self.world.proof(name).valid() for name in needed)
        if there < len(needed):
            return False, f"{there} of {len(needed)} {what}"
        self.ready_at.setdefault(work.id, asyncio.get_running_loop().time())
        return True

    def spoil(self, work: runcue.Work, name: str) -> None:
        """Let a proof vanish because a work found it wrong."""
        self.world.spoil(name)
        self.world.proof(name).touch()
        if self.trace:
            self.trace.add(wall_clock(), "invalidated", work.task, work.id, name)


class Scenario(ABC):
    """A pipeline to try. A subclass describes a cue and submits what there is to do.

    Attributes:
        name: What the command line calls it.
        description: One line.
        main: The service that `--concurrent` and `--rate-limit` are about.
        scales: How long its stages take, as factors on the model's latency.
        error_scales: Which of its stages fail, as factors on the model's error rate.
    """

    name: ClassVar[str]
    description: ClassVar[str]
    main: ClassVar[str]
    scales: ClassVar[Mapping[str, float]] = {}
    error_scales: ClassVar[Mapping[str, float]] = {}

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.cue = stage.cue
        self.world = stage.world

    @abstractmethod
    def describe(self) -> None:
        """Register services, tasks and callbacks with the cue."""

    @abstractmethod
    async def submit(self) -> None:
        """Submit everything. Called again after the simulated process has died."""

    @abstractmethod
    def expected(self) -> int:
        """How many work units there will be if nothing fails and nothing is done twice."""

    @abstractmethod
    def needs(self, task: str, item: str) -> tuple[str, ...]:
        """The proofs without which a work may not run."""

    @abstractmethod
    def proves(self, task: str, item: str) -> tuple[str, ...]:
        """The proofs that a work makes, and with which it need not run."""

    @abstractmethod
    def everything(self) -> Iterable[str]:
        """The proofs that exist in the end if nothing fails."""

    def declare(self, task: str, service: str) -> None:
        """Register a task that takes what it needs and leaves what it proves, all of it declared."""
        world = self.world

        def proofs(names: tuple[str, ...]) -> runcue.Artifact | list[runcue.Artifact]:
            return world.proof(names[0]) if len(names) == 1 else [world.proof(name) for name in names]

        needs = (lambda work: proofs(self.needs(task, work.params["item"]))) if self.has_needs(task) else None

        @self.cue.task(
            task,
            uses=service,
            inputs=needs,
            outputs=lambda work: proofs(self.proves(task, work.params["item"])),
        )
        async def perform(work: runcue.Work) -> None:
            await self.stage.perform(work, work.params["item"])
            for proof in work.outputs:
                world.make(proof.name)

    def has_needs(self, task: str) -> bool:
        """Whether work units of a task need anything, whatever they are about."""
        return bool(self.needs(task, "any"))

    def make(self, task: str, item: str) -> None:
        """Leave what a work proves."""
        for name in self.proves(task, item):
            self.world.make(name)

    async def add(self, task: str, item: str) -> None:
        """Submit one work."""
        await self.stage.submit(task, item)

    def tell(self, name: str) -> None:
        """Say that somebody has changed a proof."""
        self.world.proof(name).touch()
