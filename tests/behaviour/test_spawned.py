"""What a listener spawns while its cue stops is inside of the cue, whatever has called the listener."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context
from typing import Any

import pytest

import runcue
from runcue.testing import FakeExecutor

SPAWNED: list[Any] = []


async def submit(cue: runcue.Cue, times: int = 1) -> None:
    for _ in range(times):
        await cue.submit("call")


async def submit_in_group(cue: runcue.Cue) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(submit(cue))


async def submit_when_the_first_has_settled(cue: runcue.Cue) -> None:
    await (await cue.submit("call")).result()
    await cue.submit("call")


HOW: dict[str, tuple[Callable[[runcue.Cue], object], int]] = {
    "create_task": (lambda cue: asyncio.create_task(submit(cue)), 1),
    "ensure_future": (lambda cue: asyncio.ensure_future(submit(cue)), 1),
    "twice": (lambda cue: asyncio.create_task(submit(cue, 2)), 2),
    "one after the other": (lambda cue: asyncio.create_task(submit_when_the_first_has_settled(cue)), 2),
    "call_soon": (
        lambda cue: asyncio.get_running_loop().call_soon(
            lambda: SPAWNED.append(asyncio.ensure_future(submit(cue)))
        ),
        1,
    ),
    "a task group": (lambda cue: asyncio.create_task(submit_in_group(cue)), 1),
}


def new_loop(name: str) -> Callable[[], asyncio.AbstractEventLoop] | None:
    if name == "asyncio":
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = pytest.importorskip("uvloop").new_event_loop
    return factory


def run(main: Callable[[], Any], loop: str) -> None:
    with asyncio.Runner(loop_factory=new_loop(loop)) as runner:
        runner.run(main())


def world(how: str) -> tuple[runcue.Cue, list[str], int]:
    """A cue in which each end of a "last" one spawns what submits a "call"; which have run; and how many will."""
    cue = runcue.Cue()
    spawn, number = HOW[how]
    ran: list[str] = []
    cue.task("call")(lambda work: ran.append(work.id))
    for listen in (cue.on_failure, cue.on_skip, cue.on_cancel):
        listen(task="last")(lambda *heard: SPAWNED.append(spawn(cue)))
    return cue, ran, number


@pytest.fixture(autouse=True)
def nothing_spawned() -> None:
    SPAWNED.clear()


@pytest.mark.rule(23)
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("end", ["in a thread", "at once", "after a suspension", "skipped", "cancelled"])
def test_what_a_listener_of_the_last_work_unit_spawns_during_stop_is_taken(
    end: str, how: str, loop: str
) -> None:
    cue, ran, number = world(how)
    up_to_date: list[bool] = []

    async def at_once(work: runcue.Work) -> None:
        raise ValueError(work.id)

    async def later(work: runcue.Work) -> None:
        await asyncio.sleep(0.01 if end == "after a suspension" else 60)
        raise ValueError(work.id)

    def in_a_thread(work: runcue.Work) -> None:
        raise ValueError(work.id)

    cue.task("last")({"in a thread": in_a_thread, "at once": at_once}.get(end, later))
    if end == "skipped":
        cue.is_ready(task="last")(lambda work: bool(up_to_date))
        cue.is_stale(task="last")(lambda work: False)

    async def main() -> None:
        cue.start()
        last = await cue.submit("last")
        if end == "skipped":
            await asyncio.sleep(0.005)  # not ready; when it is asked for the last time, up to date
            stop = asyncio.create_task(cue.stop())
            up_to_date.append(True)
            summary = await stop
        elif end == "cancelled":
            stop = asyncio.create_task(cue.stop())
            await asyncio.sleep(0.005)
            assert await cue.cancel(last)
            summary = await stop
        else:
            summary = await cue.stop()
        assert summary.counts["completed"] == number
        assert len(ran) == number

    run(main, loop)


@pytest.mark.rule(23)
def test_what_is_spawned_by_an_end_that_an_executor_tells_from_anywhere_is_taken() -> None:
    cue = runcue.Cue(run_in=FakeExecutor(real=False) if False else FakeExecutor())
    ran: list[str] = []

    class Elsewhere(FakeExecutor):
        """It tells of ends in a context of its own, as one that has threads or processes does."""

        def start(self, deliver: Any, entered: Any, clock: Any) -> None:
            super().start(lambda *told: Context().run(deliver, *told), entered, clock)

    cue = runcue.Cue(run_in=Elsewhere())
    cue.task("call")(lambda work: ran.append(work.id))

    @cue.task("last")
    def last(work: runcue.Work) -> None:
        raise ValueError(work.id)

    cue.on_failure(task="last")(lambda work, error: SPAWNED.append(asyncio.ensure_future(submit(cue))))

    async def main() -> None:
        cue.start()
        await cue.submit("last")
        await cue.stop()
        assert len(ran) == 1

    asyncio.run(main())


@pytest.mark.rule(23)
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_what_a_plain_handler_hands_to_the_loop_in_its_last_line_is_taken(loop: str) -> None:
    cue = runcue.Cue()
    ran: list[str] = []
    cue.task("call")(lambda work: ran.append(work.id))

    async def main() -> None:
        here = asyncio.get_running_loop()
        cue.task("last")(lambda work: here.call_soon_threadsafe(lambda: SPAWNED.append(spawn())))

        def spawn() -> object:
            return here.create_task(submit(cue))

        cue.start()
        await cue.submit("last")
        await cue.stop()
        assert len(ran) == 1

    run(main, loop)


@pytest.mark.rule(23)
def test_what_others_spawn_during_stop_is_refused_as_ever() -> None:
    cue, _, _ = world("create_task")

    async def main() -> None:
        async def takes_long(work: runcue.Work) -> None:
            await asyncio.sleep(0.02)

        cue.task("last")(takes_long)
        cue.start()
        await cue.submit("last")
        stop = asyncio.create_task(cue.stop())
        await asyncio.sleep(0)
        with pytest.raises(runcue.CueStopped):
            await asyncio.create_task(submit(cue))
        await stop

    asyncio.run(main())
