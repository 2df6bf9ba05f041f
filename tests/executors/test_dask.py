"""`run_in=runcue.executors.dask(...)`: what a cue does with a real scheduler and real workers."""

from __future__ import annotations

import asyncio
import importlib
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import runcue
from tests.support import elsewhere
from tests.support.clusters import Cluster
from tests.support.loops import each_loop, run_on
from tests.support.programs import wait_until

pytest.importorskip("distributed", reason="it takes the extra `dask`")

pytestmark = pytest.mark.rule(59)


async def until(there: Callable[[], Any]) -> Any:
    """Wait for what happens elsewhere."""
    return await asyncio.to_thread(wait_until, there)


def lines(path: Path) -> list[list[str]]:
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


def cue_on(cluster: Cluster, *handlers: Callable[..., Any], **options: Any) -> runcue.Cue:
    """A cue with these handlers, each of which runs on the cluster."""
    cue = runcue.Cue()
    for handler in handlers:
        # An executor for each of them, as it is written in programs.
        cue.task(run_in=runcue.executors.dask(cluster.address), **options)(handler)
    return cue


@each_loop
def test_workers_do_the_work_whatever_loop_the_cue_runs_on(loop: str, cluster: Cluster) -> None:
    async def main() -> list[Any]:
        async with cue_on(cluster, elsewhere.double) as cue:
            return [value async for value in cue.map(elsewhere.double, range(20), ordered=True, values=True)]

    assert run_on(loop, main) == list(range(0, 40, 2))


def test_on_a_virtual_clock_it_takes_no_time(cluster: Cluster) -> None:
    async def main() -> float:
        began = asyncio.get_running_loop().time()
        async with cue_on(cluster, elsewhere.sleep, timeout=0.01) as cue:
            assert await (await cue.call(elsewhere.sleep, 0.1)) == 0.1
        return asyncio.get_running_loop().time() - began

    from runcue.testing import run

    assert run(main) == 0


def test_all_tasks_together_have_as_many_slots_as_there_are_threads(cluster: Cluster, tmp_path: Path) -> None:
    path = tmp_path / "log"

    def one(path: str, number: int) -> None:
        elsewhere.note(Path(path), number, 0.03)

    def other(path: str, number: int) -> None:
        elsewhere.note(Path(path), number, 0.03)

    async def main() -> None:
        cue = cue_on(cluster, one, other)
        async with cue:
            handles = [
                await cue.call(task, str(path), number) for number in range(6) for task in (one, other)
            ]
            most = 0
            while not all(handle.done() for handle in handles):
                most = max(most, cue.counts()["running"])
                blocked = cue.debug_blocked()
                assert all("dask: all 2 slots" in said["details"] for said in blocked if most == 2), blocked
                await asyncio.sleep(0.005)
        assert most == 2

    asyncio.run(main())
    began = 0
    for _, what, _ in lines(path):
        began += 1 if what == "begins" else -1
        assert began <= 2


def test_a_service_that_lets_more_run_gives_a_thread_no_second_call(cluster: Cluster, tmp_path: Path) -> None:
    path = tmp_path / "log"

    async def main() -> None:
        cue = runcue.Cue()
        cue.service("wide", concurrent=10)

        @cue.task(uses="wide", run_in=runcue.executors.dask(cluster.address))
        def write(number: int, path: str) -> None:
            elsewhere.note(Path(path), number, 0.03)

        async with cue:
            for number in range(8):
                await cue.call(write, number, str(path))
            await asyncio.sleep(0.01)
            assert cue.counts()["running"] <= 2

    asyncio.run(main())
    by_worker: dict[str, list[str]] = {}
    for _, what, pid in lines(path):
        by_worker.setdefault(pid, []).append(what)
    assert all(said == ["begins", "ends"] * (len(said) // 2) for said in by_worker.values())


@pytest.mark.rule(17)
def test_what_is_cancelled_there_settles_at_once_and_keeps_its_slot(cluster: Cluster, tmp_path: Path) -> None:
    path = tmp_path / "log"

    async def main() -> None:
        cue = cue_on(cluster, elsewhere.note, elsewhere.double)
        async with cue:
            await (await cue.call(elsewhere.double, 1))
            handles = [await cue.call(elsewhere.note, path, number, 0.3) for number in range(2)]
            await until(lambda: len(lines(path)) == 2)
            assert all(handle.cancel() for handle in handles)
            assert {handle.state for handle in handles} == {runcue.WorkState.CANCELLED}
            after = await cue.call(elsewhere.double, 2)
            await asyncio.sleep(0.05)
            assert after.state is runcue.WorkState.PENDING
            assert await after == 4
            assert len(lines(path)) >= 3

    asyncio.run(main())


def test_a_time_out_of_the_cue_ends_the_wait_and_not_the_call(cluster: Cluster, tmp_path: Path) -> None:
    path = tmp_path / "log"

    async def main() -> None:
        cue = cue_on(cluster, elsewhere.note, timeout=0.1)
        async with cue:
            handle = await cue.call(elsewhere.note, path, 1, 0.4)
            with pytest.raises(runcue.WorkTimeout, match="its slot stays taken"):
                await handle

    asyncio.run(main())
    wait_until(lambda: len(lines(path)) == 2)


def test_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runcue.executors.cluster._CONNECT_FOR", 0.5)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{nobody.getsockname()[1]}"

        async def main() -> None:
            cue = runcue.Cue()
            cue.task(
                run_in=runcue.executors.dask(address), retry=runcue.Retry(attempts=2, wait_initial=0.01)
            )(elsewhere.double)
            async with cue:
                handle = await cue.call(elsewhere.double, 1)
                with pytest.raises(ConnectionError, match=f"No Dask scheduler answers at {address} "):
                    await handle
                assert len(handle.work.attempts) == 2

        began = time.monotonic()
        asyncio.run(main())
        assert time.monotonic() - began < 10


def test_workers_may_come_later_and_a_scheduler_that_is_lost_and_there_again_is_connected_to_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        with Cluster(tmp_path, workers=0) as cluster:
            # What waits for a worker has not begun: who stops does not wait for that.
            idle = cue_on(cluster, elsewhere.double)
            idle.start()
            waiting = [await idle.call(elsewhere.double, number) for number in range(2)]
            await until(lambda: "Start a worker" in str(idle.why(waiting[1])))
            why = idle.why(waiting[0])
            assert "it was handed on, and nobody has begun with it" in str(why)
            assert why.next_step.startswith("Start a worker for the Dask scheduler at ")
            async with asyncio.timeout(20):
                summary = await idle.stop(drain=False)
            assert {one.id for one in summary.cancelled} == {handle.work.id for handle in waiting}
            assert not summary.abandoned
            retry = runcue.Retry(attempts=5, wait_initial=0.05, wait_jitter=0)
            cue = cue_on(cluster, elsewhere.sleep, retry=retry)
            async with cue:
                handle = await cue.call(elsewhere.sleep, 0.4)
                second = await cue.call(elsewhere.sleep, 0.0)
                await until(lambda: cue.counts()["running"])
                missing = f"Start a worker for the Dask scheduler at {cluster.address}: there is none"
                assert f"Wait until the Dask scheduler at {cluster.address} answers" in str(cue.why(second))
                await until(lambda: missing in str(cue.why(second)))
                cluster.add_worker()
                await until(lambda: missing not in str(cue.why(second)))
                await asyncio.sleep(0.3)
                cluster.restart()
                cluster.add_worker()
                assert await handle == 0.4
                assert await (await cue.call(elsewhere.sleep, 0.0)) == 0.0
            assert len(handle.work.attempts) > 1

    asyncio.run(main())
    assert sum("is broken, and what it ran is lost" in one.message for one in caplog.records) == 1


def test_what_is_no_address_is_refused_in_the_line_of_the_mistake() -> None:
    for wrong in ("10.0.0.1", "http://10.0.0.1:8786", "tcp://", "", 8786, None, b"tcp://a:1"):
        with pytest.raises(runcue.ConfigurationError, match="takes the address of a Dask scheduler"):
            runcue.executors.dask(wrong)  # type: ignore[arg-type]
    for right in ("tcp://10.0.0.1:8786", "10.0.0.1:8786", "tls://[::1]:8786", "scheduler:8786"):
        assert repr(runcue.executors.dask(right)) == f"runcue.executors.dask({right!r})"


def test_without_dask_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runcue.executors.dask_workers.find_spec", lambda name: None)
    with pytest.raises(runcue.ConfigurationError, match=r"pip install runcue\[dask\]"):
        runcue.executors.dask("tcp://10.0.0.1:8786")


_lock = threading.Lock()


class Locked:
    """Called as a function is."""

    def __init__(self) -> None:
        self.lock = threading.Lock()

    def __call__(self, number: int) -> int:
        return number


def test_what_a_function_uses_that_cannot_be_sent_is_named(cluster: Cluster) -> None:
    inner = {"of": [threading.Lock()]}

    def by_closure(number: int) -> int:
        return number + len(inner)

    def by_global(number: int) -> int:
        return number + _lock.locked()

    by_global.__module__ = by_closure.__module__ = "__main__"

    async def main() -> None:
        cue = runcue.Cue()
        for name, handler, said in (
            ("closure", by_closure, r"it uses inner\['of'\]\[0\], which is a _thread.lock"),
            ("global", by_global, r"it uses _lock, which is a _thread.lock"),
            ("object", Locked(), r"cannot pickle '_thread.lock' object"),
        ):
            cue.task(name, run_in=runcue.executors.dask(cluster.address))(handler)
            async with cue:
                with pytest.raises(
                    runcue.ConfigurationError, match=rf"cannot be sent to where it is to run: .*{said}"
                ):
                    await cue.submit(name, {"number": 1})

    asyncio.run(main())


def test_it_is_told_which_worker_has_what_runs(cluster: Cluster, tmp_path: Path) -> None:
    def wait_for(path: str) -> None:
        while not Path(path).exists():
            time.sleep(0.005)

    async def main() -> None:
        async with cue_on(cluster, wait_for) as cue:
            handle = await cue.call(wait_for, str(tmp_path / "go"))
            try:
                await until(lambda: "it is at Dask worker tcp://127.0.0.1:" in str(cue.why(handle)))
            finally:
                (tmp_path / "go").touch()

    asyncio.run(main())


def test_a_module_that_a_worker_does_not_have_is_named_with_the_worker(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "only_here.py").write_text("def double(number: int) -> int:\n    return 2 * number\n")
    monkeypatch.syspath_prepend(tmp_path)
    double = importlib.import_module("only_here").double

    async def main() -> None:
        async with cue_on(cluster, double, retry=3) as cue:
            handle = await cue.call(double, number=1)
            with pytest.raises(
                runcue.ConfigurationError,
                match=r"^The handler of task 'double' cannot be loaded by Dask worker tcp://127.0.0.1:\d+ "
                r"\(ModuleNotFoundError: No module named 'only_here'\): what it and its params import must be there",
            ) as raised:
                await handle
            assert isinstance(raised.value.__cause__, ModuleNotFoundError)
            assert len(handle.work.attempts) == 1

    asyncio.run(main())


def test_functions_of_the_program_and_large_params_are_sent_as_they_are(cluster: Cluster) -> None:
    def length(what: bytes) -> int:
        return len(what)

    async def main() -> None:
        async with cue_on(cluster, length) as cue:
            assert await (await cue.call(length, bytes(11 << 20))) == 11 << 20

    asyncio.run(main())
