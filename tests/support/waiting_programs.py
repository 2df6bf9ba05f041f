"""Small programs of handlers that wait for work units in all the ways that there are: what deadlocks are sought in.

Lives here: the ways to wait, by whether such a wait lasts, ends by itself or cannot be read; `Program`, which runs
units of which each sleeps and waits, and notes when it has done something last; `units_by`, which draws some.

Must not know: what is claimed of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextvars import ContextVar
from typing import Any, NamedTuple

import anyio

import runcue

__all__ = [
    "ENDING",
    "LASTING",
    "PAUSES",
    "QUIET",
    "TASKS",
    "UNREADABLE",
    "Program",
    "Unit",
    "Wait",
    "is_readable",
    "units_by",
]

QUIET = 6.0
"""Seconds; longer than any sleep or time-out in here."""

PAUSES = (0.0, 0.3, 1.0)

PROGRAM: ContextVar[Program] = ContextVar("the program that a handler is of")

Handles = list[runcue.WorkHandle]


async def pause(seconds: float) -> None:
    await asyncio.sleep(seconds)
    PROGRAM.get().stirred = asyncio.get_running_loop().time()


async def each(handles: Handles) -> None:
    for handle in handles:
        await handle.result()


async def gather(handles: Handles) -> None:
    await asyncio.gather(*(handle.result() for handle in handles))


async def wait_for_all(handles: Handles) -> None:
    await asyncio.wait([asyncio.create_task(handle.wait()) for handle in handles])


async def wait_for_first(handles: Handles) -> None:
    tasks = [asyncio.create_task(handle.wait()) for handle in handles]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()


async def as_completed(handles: Handles) -> None:
    for one in asyncio.as_completed([handle.result() for handle in handles]):
        await one


async def as_completed_in_a_list(handles: Handles) -> None:
    ones = list(asyncio.as_completed([handle.result() for handle in handles]))
    try:
        for one in ones:
            await one
    finally:
        for one in ones:
            one.close()


async def shield(handles: Handles) -> None:
    await asyncio.gather(*(asyncio.shield(handle.result()) for handle in handles))


async def group(handles: Handles) -> None:
    async with asyncio.TaskGroup() as tasks:
        for handle in handles:
            tasks.create_task(handle.result())


async def group_of_anyio(handles: Handles) -> None:
    async with anyio.create_task_group() as tasks:
        for handle in handles:
            tasks.start_soon(handle.wait)


async def nested(handles: Handles) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(group, handles[:1])
        await asyncio.wait([asyncio.ensure_future(gather(handles[1:] or handles))])


async def first_of_all_sleeps(handles: Handles) -> None:
    tasks = [asyncio.create_task(handle.result()) for handle in handles]
    await pause(1.5)
    for task in tasks:
        await task


async def results(handles: Handles) -> AsyncIterator[Any]:
    for handle in handles:
        yield await handle.result()


async def generator(handles: Handles) -> None:
    async for _ in results(handles):
        pass


async def beside_a_sleep(handles: Handles) -> None:
    await asyncio.gather(pause(2), *(handle.result() for handle in handles))


async def no_longer_than(handles: Handles) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(gather(handles), 1.3)


async def wait_with_timeout(handles: Handles) -> None:
    await asyncio.wait([asyncio.create_task(handle.wait()) for handle in handles], timeout=1.1)


async def as_completed_with_timeout(handles: Handles) -> None:
    with contextlib.suppress(TimeoutError):
        for one in asyncio.as_completed([handle.result() for handle in handles], timeout=1.2):
            await one


async def timeout_in_a_stack(handles: Handles) -> None:
    with contextlib.suppress(TimeoutError):
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(asyncio.timeout(1.7))
            await each(handles)


async def scope(handles: Handles) -> None:
    with anyio.move_on_after(0.9):
        await group_of_anyio(handles)


async def failing_scope(handles: Handles) -> None:
    with contextlib.suppress(TimeoutError), anyio.fail_after(2.2):
        await each(handles)


async def watchdog(handles: Handles) -> None:
    waiting = asyncio.current_task()
    assert waiting is not None

    async def bark() -> None:
        await pause(2.5)
        waiting.cancel()

    task = asyncio.create_task(bark())
    try:
        await each(handles)
    except asyncio.CancelledError:
        if not task.done():
            raise
        waiting.uncancel()
    finally:
        task.cancel()


async def events(handles: Handles) -> None:
    done = asyncio.Event()
    tasks = [asyncio.create_task(handle.wait()) for handle in handles]
    tasks[0].add_done_callback(lambda task: done.set())
    await done.wait()


LASTING: list[Callable[[Handles], Awaitable[None]]] = [
    each, gather, wait_for_all, wait_for_first, as_completed, as_completed_in_a_list, shield, group, group_of_anyio,
    nested, first_of_all_sleeps, generator, beside_a_sleep,
]  # fmt: skip
ENDING: list[Callable[[Handles], Awaitable[None]]] = [
    no_longer_than, wait_with_timeout, as_completed_with_timeout, timeout_in_a_stack, scope, failing_scope, watchdog
]  # fmt: skip
UNREADABLE = [events]


class Unit(NamedTuple):
    """A work unit: which task, and what its handler does: sleep, wait for new ones, or for one of those before."""

    uses: int
    steps: tuple[Any, ...]


class Wait(NamedTuple):
    style: Callable[[Handles], Awaitable[None]]
    units: tuple[Unit, ...]
    earlier: tuple[int, ...]


TASKS: tuple[dict[str, Any], ...] = (
    {},
    {"uses": "one"},
    {"uses": "two"},
    {"uses": ("one", "two")},
    {"uses": "one", "key": lambda work: repr(work.params["steps"])},
    {"uses": "two", "timeout": 3.0},
)


class Told(runcue.Observer):
    def __init__(self) -> None:
        self.deadlocks: dict[runcue.Work, float] = {}
        self.self_waits: set[runcue.Work] = set()

    def warned(self, warning: runcue.CueWarning) -> None:
        if warning.kind == "deadlock":
            self.deadlocks |= dict.fromkeys(warning.works, asyncio.get_running_loop().time())
        elif warning.kind == "self_wait":
            self.self_waits.update(warning.works)


class Program:
    """Runs units, and notes when something was done last."""

    def __init__(self, slots: tuple[int, int]) -> None:
        self.cue = runcue.Cue(id_prefix="")
        for name, concurrent in zip(("one", "two"), slots, strict=True):
            self.cue.service(name, concurrent=concurrent)
        for number, options in enumerate(TASKS):
            self.cue.task(f"t{number}", **options)(self.handler)
        self.handles: Handles = []
        self.stirred = 0.0
        self.told = Told()
        self.cue.observe(self.told)

    async def submit(self, unit: Unit) -> runcue.WorkHandle:
        PROGRAM.set(self)  # its handlers inherit it
        handle = await self.cue.submit(f"t{unit.uses}", params={"steps": unit.steps})
        self.handles.append(handle)
        return handle

    async def handler(self, work: runcue.Work) -> None:
        try:
            for step in work.params["steps"]:
                if isinstance(step, Wait):
                    handles = [await self.submit(unit) for unit in step.units]
                    handles += [self.handles[index % len(self.handles)] for index in step.earlier]
                    await step.style(handles)
                else:
                    await pause(step)
                self.stirred = asyncio.get_running_loop().time()
        finally:
            self.stirred = asyncio.get_running_loop().time()

    def running(self) -> set[runcue.Work]:
        """Those whose handlers run; not those that have joined one."""
        works = {handle.work for handle in self.handles}
        return {work for work in works if work.state is runcue.WorkState.RUNNING and work.started_at}


def is_readable(unit: Unit) -> bool:
    return all(
        step.style not in UNREADABLE and all(map(is_readable, step.units))
        for step in unit.steps
        if isinstance(step, Wait)
    )


def units_by(luck: random.Random, depth: int, styles: list[Callable[[Handles], Awaitable[None]]]) -> Unit:
    """Draw a unit.

    Args:
        luck: Draws.
        depth: So often may one be waited for by another.
        styles: The ways to wait.
    """
    steps: list[Any] = []
    for _ in range(luck.choice((0, 1, 1, 2))):
        if depth and luck.random() < 0.7:
            units = tuple(units_by(luck, depth - 1, styles) for _ in range(luck.choice((1, 2))))
            steps.append(
                Wait(luck.choice(styles), units, tuple(luck.choices(range(10), k=luck.choice((0, 0, 1)))))
            )
        else:
            steps.append(luck.choice(PAUSES))
    return Unit(luck.randrange(len(TASKS)), tuple(steps))
