"""To end many work units takes as long as there are many, whatever they have in common and in whichever order.

Counted are the lines of runcue that are run, so that no clock and no other program is of any account.
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import FrameType
from typing import Any, Self

import pytest

import runcue
from runcue import Flag
from runcue.testing import run

ORDERS: dict[str, Callable[[list[Any]], list[Any]]] = {
    "first to last": list,
    "last to first": lambda handles: handles[::-1],
    "in any order": lambda handles: random.Random(3).sample(handles, len(handles)),
}

FEW, MANY = 40, 320


class Lines:
    """Counts the lines of runcue that are run inside of a `with`."""

    OURS = str(Path(runcue.__file__).parent)

    def __init__(self) -> None:
        self.count = 0

    def __enter__(self) -> Self:
        self._before = sys.gettrace()
        sys.settrace(self._called)
        return self

    def __exit__(self, *exc: object) -> None:
        sys.settrace(self._before)

    def _called(self, frame: FrameType, event: str, argument: object) -> Any:
        return self._line if frame.f_code.co_filename.startswith(self.OURS) else None

    def _line(self, frame: FrameType, event: str, argument: object) -> Any:
        self.count += 1
        return self._line


def assert_linear(lines_for: Callable[[int], Coroutine[Any, Any, int]]) -> None:
    """Check that ending eight times as many takes some eight times as many lines, not sixty-four."""
    counts: list[int] = []

    async def main() -> None:
        counts.append(await lines_for(FEW))
        counts.append(await lines_for(MANY))

    run(main())
    few, many = counts
    assert many / few < 1.5 * MANY / FEW, counts


def same(kind: str) -> dict[str, Any]:
    return {"key": "same"} if kind == "key" else {"outputs": Flag("same")}


@pytest.mark.rule(17, 28)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("state", ["pending", "running"])
@pytest.mark.parametrize("kind", ["output", "key"])
def test_cancelling_those_who_have_joined(kind: str, state: str, order: str) -> None:
    async def lines(number: int) -> int:
        cue = runcue.Cue(recheck=False)
        cue.task("t", **same(kind))(lambda work: asyncio.sleep(1e6))
        cue.task("reads", inputs=Flag("same"))(lambda work: None)
        cue.is_ready(lambda work: state == "running")
        cue.start()
        handles = [await cue.submit("t") for _ in range(number)]
        readers = [await cue.submit("reads") for _ in range(number)]
        await asyncio.sleep(0.1)
        assert handles[-1].work.state.value == state
        with Lines() as counted:
            for handle in ORDERS[order](handles):
                await cue.cancel(handle)
            for handle in readers:
                await cue.cancel(handle)
        assert {handle.work.state.value for handle in handles} == {"cancelled"}
        await cue.stop(drain=False)
        return counted.count

    assert_linear(lines)


@pytest.mark.rule(23, 28)
@pytest.mark.parametrize("kind", ["output", "key"])
def test_a_stop_that_cancels_those_who_have_joined(kind: str) -> None:
    async def lines(number: int) -> int:
        cue = runcue.Cue(recheck=False)
        cue.task("t", **same(kind))(lambda work: None)
        cue.is_ready(lambda work: False)
        cue.start()
        for _ in range(number):
            await cue.submit("t")
        with Lines() as counted:
            summary = await cue.stop(drain=False)
        assert summary.counts["cancelled"] == number
        return counted.count

    assert_linear(lines)


@pytest.mark.rule(20, 28)
def test_time_outs_of_those_who_have_joined() -> None:
    async def lines(number: int) -> int:
        cue = runcue.Cue(recheck=False, pending_timeout=5)
        cue.on_failure(lambda work, error: None)
        cue.task("t", outputs=Flag("same"))(lambda work: None)
        cue.is_ready(lambda work: False)
        cue.start()
        handles = [await cue.submit("t") for _ in range(number)]
        await asyncio.sleep(4.9)
        with Lines() as counted:
            await asyncio.sleep(0.2)
        assert {type(handle.work.exception) for handle in handles} == {runcue.PendingTimeout}
        await cue.stop(drain=False)
        return counted.count

    assert_linear(lines)


@pytest.mark.rule(17, 23)
@pytest.mark.parametrize("how", ["cancel", "stop", "time-out"])
def test_ending_many_handlers_that_make_something(how: str) -> None:
    async def lines(number: int) -> int:
        cue = runcue.Cue(recheck=False)
        cue.on_failure(lambda work, error: None)
        seconds = 5 if how == "time-out" else None

        @cue.task("t", outputs=lambda work: Flag(str(work.params["i"])), timeout=seconds)
        async def t(work: runcue.Work) -> None:
            await asyncio.sleep(1e6)

        cue.start()
        handles = [await cue.submit("t", params={"i": i}) for i in range(number)]
        await asyncio.sleep(4.9)
        assert {handle.work.state.value for handle in handles} == {"running"}
        with Lines() as counted:
            if how == "cancel":
                for handle in handles:
                    await cue.cancel(handle)
            elif how == "stop":
                await cue.stop(drain=False, timeout=0)
            else:
                await asyncio.sleep(0.2)
        assert {handle.work.state.value for handle in handles} <= {"cancelled", "failed"}
        await cue.stop(drain=False)
        return counted.count

    assert_linear(lines)


@pytest.mark.rule(17, 27)
@pytest.mark.parametrize("how", ["cancel", "drain"])
def test_ending_makers_of_folders_in_which_others_await_something(how: str, tmp_path: Path) -> None:
    async def lines(number: int) -> int:
        cue = runcue.Cue(recheck=False)
        cue.task("reads", inputs=lambda work: f"{work.params['folder']}/x")(lambda work: None)

        def make(folder: str) -> None:
            Path(folder).mkdir(parents=True)
            Path(folder, "x").touch()

        @cue.task("makes", outputs=lambda work: work.params["folder"])
        async def makes(work: runcue.Work) -> None:
            make(work.params["folder"])

        cue.is_ready(lambda work: how == "drain")
        folders = [str(tmp_path / how / str(number) / str(i)) for i in range(number)]
        handles = [
            await cue.submit(task, params={"folder": one}) for task in ("makes", "reads") for one in folders
        ]
        with Lines() as counted:
            cue.start()
            if how == "cancel":
                await asyncio.sleep(0.1)
                for handle in handles:
                    await cue.cancel(handle)
            else:
                summary = await cue.drain()
                assert summary.counts["completed"] == 2 * number
        await cue.stop()
        return counted.count

    assert_linear(lines)


@pytest.mark.rule(16, 28)
def test_a_leader_that_fails_with_many_who_have_joined_it() -> None:
    async def lines(number: int) -> int:
        cue = runcue.Cue(recheck=False)
        failed: list[str] = []
        cue.on_failure(lambda work, error: failed.append(work.id))

        @cue.task("t", outputs=Flag("same"))
        async def t(work: runcue.Work) -> None:
            await asyncio.sleep(1)
            raise ValueError("on purpose")

        cue.start()
        for _ in range(number):
            await cue.submit("t")
        with Lines() as counted:
            await cue.drain()
        assert len(failed) == number
        await cue.stop()
        return counted.count

    assert_linear(lines)


@pytest.mark.rule(16, 28)
def test_who_hears_of_the_end_of_a_leader_may_cancel_those_who_have_joined_it() -> None:
    async def main() -> None:
        cue = runcue.Cue()
        cue.task("t", key="same")(lambda work: "done")
        cancel = cue._dispatcher.settlement.cancel
        handles: list[runcue.WorkHandle] = []

        @cue.on_complete
        def cancel_the_others(work: runcue.Work, result: object, duration: float) -> None:
            for handle in handles[2:]:
                cancel(handle.work)

        async with cue:
            handles.extend([await cue.submit("t") for _ in range(5)])
            await cue.drain()
            states = [handle.work.state.value for handle in handles]
            assert states == ["completed", "completed", "cancelled", "cancelled", "cancelled"]

    run(main())
