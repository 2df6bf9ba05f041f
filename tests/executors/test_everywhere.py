"""One suite for all places where handlers run: threads, processes, pools of two kinds, a Dask cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

import runcue
from runcue.testing import run
from tests.support import elsewhere
from tests.support.clusters import Cluster
from tests.support.loops import each_loop, run_on
from tests.support.programs import wait_until

PLACES = ["thread", "process", "pool", "loky", "dask"]

Task = Callable[..., Any]


class Place:
    """A place where handlers run.

    Args:
        name: Of the place.
        run_in: What `run_in=` takes.
    """

    def __init__(self, name: str, run_in: Any) -> None:
        self.name = name
        self.run_in = run_in

    @property
    def is_elsewhere(self) -> bool:
        """Whether handlers run in other processes."""
        return self.name != "thread"

    def cue(self, *handlers: Task, **options: Any) -> runcue.Cue:
        """A cue with these handlers, which run there, at most two at a time."""
        cue = runcue.Cue(max_threads=2, max_processes=2)
        for handler in handlers:
            cue.task(run_in=self.run_in, **options)(handler)
        return cue


@pytest.fixture(scope="module", params=PLACES)
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    name = request.param
    if name == "pool":
        # Not forked: pytest may have threads by now.
        with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
            yield Place(name, pool)
    elif name == "loky":
        loky = pytest.importorskip(
            "loky", reason="it runs what is written for all places, where it is installed"
        )
        made = loky.ProcessPoolExecutor(2)
        yield Place(name, made)
        made.shutdown(kill_workers=True)
    elif name == "dask":
        pytest.importorskip("distributed", reason="it takes the extra `dask`")
        cluster: Cluster = request.getfixturevalue("cluster")
        yield Place(name, runcue.executors.dask(cluster.address))
    else:
        yield Place(name, name)


def lines(path: Path) -> list[list[str]]:
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


async def until(there: Callable[[], Any]) -> Any:
    """Wait for what happens elsewhere."""
    return await asyncio.to_thread(wait_until, there)


@each_loop
@pytest.mark.rule(9)
def test_many_calls_give_their_values(place: Place, loop: str) -> None:
    async def main() -> list[Any]:
        async with place.cue(elsewhere.double) as cue:
            return [value async for value in cue.map(elsewhere.double, range(50), ordered=True, values=True)]

    assert run_on(loop, main) == list(range(0, 100, 2))


def test_a_handler_sees_its_work_unit(place: Place) -> None:
    async def main() -> None:
        async with place.cue(elsewhere.describe) as cue:
            handle = await cue.submit(elsewhere.describe, {"number": 7}, metadata={"for": "Ada"})
            assert await handle == (handle, "describe", {"number": 7}, 1, {"for": "Ada"})

    asyncio.run(main())


def test_values_of_ones_own_are_sent_and_come_back(place: Place) -> None:
    async def main() -> None:
        async with place.cue(elsewhere.swap) as cue:
            assert await (await cue.call(elsewhere.swap, elsewhere.Point(1, 2), times=3)) == elsewhere.Point(
                2, 1
            )

    asyncio.run(main())


def test_what_a_handler_raises_is_raised(place: Place) -> None:
    async def main() -> None:
        async with place.cue(elsewhere.fail) as cue:
            wrong = await cue.call(elsewhere.fail, "wrong")
            with pytest.raises(elsewhere.Wrong) as raised:
                await wrong
            assert raised.value.args == ("no", 7)
            with pytest.raises(runcue.HandlerExited):
                await (await cue.call(elsewhere.fail, "exit"))
            stubborn = await cue.call(elsewhere.fail, "stubborn")
            kind = runcue.RemoteError if place.is_elsewhere else elsewhere.Stubborn
            with pytest.raises(kind, match="it broke at home") as told:
                await stubborn
            if isinstance(told.value, runcue.RemoteError):
                assert told.value.type == "tests.support.elsewhere.Stubborn"
                assert "in fail" in told.value.traceback

    asyncio.run(main())


def test_outputs_appear_when_it_has_succeeded_and_nothing_is_left_of_others(
    place: Place, tmp_path: Path
) -> None:
    (tmp_path / "in").write_text("text")

    async def main() -> None:
        declared: dict[str, Any] = {
            "inputs": tmp_path / "in",
            "outputs": lambda work: [tmp_path / f"{work.params['to']}-{number}" for number in range(2)],
        }
        async with place.cue(elsewhere.copy, **declared) as cue:
            assert await (await cue.submit(elsewhere.copy, {"to": "good"})) == "text"
            bad = await cue.submit(elsewhere.copy, {"to": "bad", "fails": True})
            with pytest.raises(elsewhere.Wrong):
                await bad

    asyncio.run(main())
    names = {path.name for path in tmp_path.iterdir()} - {".runcue-marks"}
    assert names == {"good-0", "good-1", "in"}
    assert (tmp_path / "good-1").read_text() == "text"


def test_what_it_has_spent_is_charged(place: Place) -> None:
    async def main() -> None:
        cue = runcue.Cue()
        cue.service("api", budget={"tokens": "1000/min"})
        cue.task(uses="api", cost={"tokens": 100}, run_in=place.run_in)(elsewhere.spend)
        async with cue:
            await (await cue.submit(elsewhere.spend))
            assert cue.services()[0].budgets["tokens"].used == 30

    asyncio.run(main())


def test_what_cannot_be_sent_is_told_by_its_path(place: Place) -> None:
    if not place.is_elsewhere:
        return

    async def main() -> None:
        async with place.cue(elsewhere.give_what_cannot_be_sent, elsewhere.describe) as cue:
            with pytest.raises(runcue.InvalidParams, match=r"^params\['rows'\]\[1\] cannot be sent"):
                await cue.submit(elsewhere.describe, {"rows": [1, (one for one in "ab")]})
            handle = await cue.submit(elsewhere.give_what_cannot_be_sent)
            with pytest.raises(Exception, match=r"^result\[1\]\['inner'\] cannot be sent back"):
                await handle

    asyncio.run(main())


@pytest.mark.rule(17)
def test_what_is_cancelled_settles_at_once_and_others_have_their_turn(place: Place, tmp_path: Path) -> None:
    path = tmp_path / "log"

    async def main() -> None:
        async with place.cue(elsewhere.note, elsewhere.double) as cue:
            handles = [await cue.call(elsewhere.note, path, number, 0.3) for number in range(2)]
            await until(lambda: len(lines(path)) == 2)
            assert all(handle.cancel() for handle in handles)
            assert {handle.state for handle in handles} == {runcue.WorkState.CANCELLED}
            assert await (await cue.call(elsewhere.double, 2)) == 4

    asyncio.run(main())


def test_a_time_out_ends_the_wait_and_the_next_attempt_has_its_turn(place: Place, tmp_path: Path) -> None:
    async def main() -> None:
        async with place.cue(elsewhere.sleep, timeout=0.15) as cue:
            handle = await cue.call(elsewhere.sleep, 0.4)
            with pytest.raises(runcue.WorkTimeout):
                await handle
            assert await (await cue.submit(elsewhere.sleep, {"seconds": 0.0}, timeout=30)) == 0.0

    asyncio.run(main())


def test_on_a_virtual_clock_no_time_passes_meanwhile(place: Place) -> None:
    async def main() -> float:
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with place.cue(elsewhere.sleep, timeout=0.01) as cue:
            assert await (await cue.call(elsewhere.sleep, 0.05)) == 0.05
        return loop.time() - began

    assert run(main) == 0


def test_a_stop_that_does_not_wait_leaves_nothing_that_is_waited_for(place: Place, tmp_path: Path) -> None:
    path = tmp_path / "log"

    async def main() -> None:
        cue = place.cue(elsewhere.note, elsewhere.double)
        cue.start()
        handles = [await cue.call(elsewhere.note, path, number, 0.3) for number in range(4)]
        await until(lambda: len(lines(path)) >= 2)
        await cue.stop(drain=False, timeout=0)
        # On a busy machine the first may have come to their ends before.
        assert all(handle.done() for handle in handles)
        assert handles[-1].state is runcue.WorkState.CANCELLED
        cue.start()
        assert await (await cue.call(elsewhere.double, 2)) == 4
        await cue.stop()

    asyncio.run(main())


def test_without_an_event_loop_of_ones_own(place: Place) -> None:
    with runcue.blocking(place.cue(elsewhere.double)) as b:
        assert list(b.map(elsewhere.double, range(5), ordered=True, values=True)) == [0, 2, 4, 6, 8]


def test_a_process_that_ends_is_one_failed_attempt(
    place: Place, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if place.name not in ("process", "dask"):
        return  # a pool that was given is broken from then on

    async def main() -> None:
        async with place.cue(
            elsewhere.die, elsewhere.double, retry=runcue.Retry(attempts=2, wait_initial=0.01)
        ) as cue:
            if place.name == "dask":
                await (await cue.call(elsewhere.double, 1))
                request.getfixturevalue("cluster").add_worker()
                await until(lambda: place.run_in.workers == 3)
            handle = await cue.call(elsewhere.die, str(tmp_path / "marker"))
            assert await handle == "the second time"
            first, second = handle.work.attempts
            assert isinstance(first.error, runcue.WorkerDied)
            assert second.error is None

    asyncio.run(main())
