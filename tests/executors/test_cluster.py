"""`DaskPool` beside a real scheduler and real workers: what it gives to them, and what becomes of what is lost."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor, Future, wait
from pathlib import Path
from typing import Any

import pytest

import runcue
from runcue.executors.cluster import DaskPool, _told, _Worker
from tests.support import elsewhere
from tests.support.clusters import Cluster
from tests.support.programs import wait_until

pytest.importorskip("distributed", reason="it takes the extra `dask`")

SECONDS = 30


@pytest.fixture
def counts() -> list[int]:
    return []


@pytest.fixture
def pool(cluster: Cluster, counts: list[int]) -> Iterator[DaskPool]:
    made = DaskPool(cluster.address, counts.append)
    yield made
    made.shutdown(cancel_futures=True)


def results(futures: list[Future[Any]]) -> list[Any]:
    return [future.result(SECONDS) for future in futures]


def lines(path: Path) -> list[list[str]]:
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


def test_it_calls_on_all_workers_and_gives_back_what_they_return(pool: DaskPool, counts: list[int]) -> None:
    assert results([pool.submit(elsewhere.double, number) for number in range(20)]) == list(range(0, 40, 2))
    wait_until(lambda: counts[-1] == 2)
    pids = results([pool.submit(elsewhere.process) for _ in range(2)])
    assert os.getpid() not in pids


def test_what_it_calls_may_raise(pool: DaskPool) -> None:
    with pytest.raises(elsewhere.Wrong) as raised:
        pool.submit(elsewhere.fail, "wrong").result(SECONDS)
    assert raised.value.args == ("no", 7)


def test_a_thread_of_a_worker_has_one_call_at_a_time(pool: DaskPool, tmp_path: Path) -> None:
    path = tmp_path / "log"
    wait([pool.submit(elsewhere.note, path, number, 0.02) for number in range(12)], SECONDS)
    by_worker: dict[str, list[str]] = {}
    for _, what, pid in lines(path):
        by_worker.setdefault(pid, []).append(what)
    assert len(by_worker) == 2
    for said in by_worker.values():
        assert said == ["begins", "ends"] * (len(said) // 2)


def test_what_has_not_begun_can_be_cancelled_and_what_runs_cannot(pool: DaskPool, tmp_path: Path) -> None:
    path = tmp_path / "log"
    futures = [pool.submit(elsewhere.note, path, number, 0.2) for number in range(5)]
    wait_until(lambda: len(lines(path)) == 2)
    assert [future.cancel() for future in futures] == [False, False, True, True, True]
    wait(futures[:2], SECONDS)
    assert len(lines(path)) == 4
    assert pool.submit(elsewhere.double, 1).result(SECONDS) == 2


def test_a_killed_worker_loses_its_call_alone_and_one_that_comes_is_used(
    pool: DaskPool, cluster: Cluster, counts: list[int], tmp_path: Path
) -> None:
    path = tmp_path / "log"
    assert pool.submit(elsewhere.double, 1).result(SECONDS) == 2
    victim = cluster.add_worker()
    wait_until(lambda: counts[-1] == 3)
    futures = [pool.submit(elsewhere.note, path, number, 0.5) for number in range(4)]
    wait_until(lambda: len(lines(path)) == 3)
    lost = next(int(number) for number, _, pid in lines(path) if pid == str(victim.pid))
    victim.kill()
    with pytest.raises(runcue.WorkerDied, match=r"^The Dask worker at tcp://127.0.0.1:\d+ was lost before"):
        futures[lost].result(SECONDS)
    assert [future.exception(SECONDS) for number, future in enumerate(futures) if number != lost] == [
        None
    ] * 3
    assert sorted(number for number, what, _ in lines(path) if what == "begins") == ["0", "1", "2", "3"]
    assert counts[-1] == 2


def test_a_worker_that_was_lost_while_it_began_to_listen_keeps_no_call_for_ever(
    pool: DaskPool, counts: list[int]
) -> None:
    assert pool.submit(elsewhere.double, 1).result(SECONDS) == 2
    session: Any = pool._session
    # As it was counted, and nothing was heard of its end.
    session._workers["tcp://127.0.0.1:9"] = _Worker("tcp://127.0.0.1:9", 5)
    futures = [pool.submit(elsewhere.double, number) for number in range(4)]
    errors = [error for one in futures if (error := one.exception(SECONDS)) is not None]
    assert errors
    assert all(
        isinstance(one, runcue.WorkerDied) and "tcp://127.0.0.1:9 was lost" in str(one) for one in errors
    )
    assert pool.submit(elsewhere.double, 2).result(SECONDS) == 4
    assert counts[-1] == 2


def test_who_is_shut_down_takes_nothing_and_what_runs_comes_to_its_end(pool: DaskPool) -> None:
    runs = pool.submit(elsewhere.sleep, 0.1)
    wait_until(runs.running)
    pool.shutdown(cancel_futures=True)
    with pytest.raises(RuntimeError, match="shutdown"):
        pool.submit(elsewhere.double, 1)
    assert runs.result(SECONDS) == 0.1


def test_a_scheduler_that_would_run_again_what_was_lost_is_refused(tmp_path: Path) -> None:
    with Cluster(tmp_path, workers=0, allowed_failures=3) as lenient:
        pool = DaskPool(lenient.address, lambda threads: None)
        with pytest.raises(runcue.ConfigurationError, match="has allowed-failures=3: "):
            pool.submit(elsewhere.double, 1).result(SECONDS)
        with pytest.raises(BrokenExecutor, match="allowed-failures=3"):
            pool.submit(elsewhere.double, 1)


def test_a_worker_without_runcue_is_told_of() -> None:
    told = _told(ModuleNotFoundError("No module named 'runcue'"), "tcp://10.0.0.2:8786")
    assert isinstance(told, runcue.ConfigurationError)
    assert str(told).endswith("(ModuleNotFoundError: No module named 'runcue'): install runcue there, too.")
