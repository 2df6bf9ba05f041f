"""A core with services, tasks and work units, and the shell's part in what becomes of them: no loop, no clock."""

from __future__ import annotations

from typing import Any

from runcue._limits.service import Service
from runcue._model.attempts import Again
from runcue._model.phases import (
    CANCELLED,
    CHECKING,
    COMPLETED,
    FAILED,
    HELD,
    JOINED,
    NEW,
    NOT_DUE,
    NOT_READY,
    READY,
    RUNNING,
    SETTLED,
)
from runcue._model.task import Task
from runcue._model.work import Work
from runcue._registration.registry import Registry
from runcue._scheduling.core import Core
from runcue._scheduling.returning import put_back
from runcue._scheduling.run_queue import RunQueue
from runcue._scheduling.selection import select

WAY_TO: dict[int, list[int]] = {
    NEW: [],
    READY: [READY],
    NOT_READY: [NOT_READY],
    CHECKING: [CHECKING],
    HELD: [HELD],
    JOINED: [JOINED],
    NOT_DUE: [RUNNING, NOT_DUE],
    RUNNING: [RUNNING],
    SETTLED: [RUNNING, SETTLED],
}
"""How a new work gets into a phase."""


def by_phase(core: Core) -> list[int]:
    """Returns how many work units are in each phase."""
    return [*core.count, sum(task.running for task in core.all_tasks), core.settlements]


class CoreWorld:
    """A core, and what a shell does with it.

    Args:
        services: Registered from the beginning.
        **options: Of the core, beside those it always needs.
    """

    def __init__(self, *services: Service, **options: Any) -> None:
        self.core = Core(**{"keep": 100, "max_threads": 4, **options})
        self.core.services.update((service.name, service) for service in services)
        self.registry = Registry(self.core)
        self.number = 0

    def task(self, name: str = "task", *uses: str) -> Task:
        async def handler(work: Work) -> None: ...

        return self.registry.add_task(self.registry.describe_task(name, uses=uses), handler)

    def new_work(self, task: Task) -> Work:
        self.number += 1
        work = Work(str(self.number), task.name)
        work._task = task
        return work

    def add(self, task: Task, now: float = 0.0) -> Work:
        work = self.new_work(task)
        self.core.add(work, now)
        return work

    def add_ready(self, task: Task, now: float = 0.0) -> Work:
        work = self.add(task, now)
        assert task.run_queue.new.pop() is work
        self.core.enqueue(work, work._order_key, 0.0)
        return work

    def select(self, run_queue: RunQueue, now: float = 0.0) -> Work | None:
        return select(run_queue, now, self.core.ordered)

    def take(self, work: Work) -> None:
        """Take a work in hand that is NEW."""
        if work._phase == NEW and work in work._task.run_queue.new:
            work._task.run_queue.new.remove(work)

    def wait(self, work: Work) -> None:
        self.take(work)
        self.core.wait(work, 0.0)

    def start(self, work: Work, now: float = 0.0) -> None:
        self.take(work)
        self.core.start(work, now, now)

    def end(self, work: Work) -> None:
        """A handler has come to its end: what it held is given back."""
        work._task.run_queue.release(0.0, work)

    def put_back(self, work: Work, at: float, now: float = 0.0, *, counts: bool = True) -> None:
        """An attempt of a running work has ended in "again"."""
        self.end(work)
        put_back(self.core, work, Again(at, counts=counts), now)

    def settle(self, work: Work, outcome: int = COMPLETED, now: float = 0.0, value: object = None) -> None:
        if outcome in {COMPLETED, FAILED} and work._phase != RUNNING:
            self.core.move(work, RUNNING)
        self.core.settle(work, outcome, value, now, now)

    def cancel(self, work: Work) -> None:
        self.core.withdraw(work)
        self.core.settle(work, CANCELLED, None, 0.0, 0.0)


def in_phase(phase: int) -> tuple[CoreWorld, Work]:
    """Returns a work in that phase, alone in its core."""
    world = CoreWorld()
    work = world.add(world.task())
    if phase == SETTLED:
        world.settle(work, COMPLETED)
    else:
        for step in WAY_TO[phase]:
            world.core.move(work, step)
    return world, work
