"""`run_in=` a `concurrent.futures.Executor`, or a function that makes one: real pools, and some that obey a test."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import threading
import warnings
import weakref
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextvars import copy_context
from pathlib import Path
from typing import Any

import pytest

import runcue
from runcue.abc import CueWarning
from runcue.executors.futures import FuturesExecutor
from runcue.rehearsal import rehearse
from tests.support import apart as elsewhere
from tests.support.apart import COLOUR, Apart, ByHand
from tests.support.loops import each_loop, run_on


class Warned(runcue.Observer):
    """Hears what is warned of."""

    def __init__(self) -> None:
        self.heard: list[CueWarning] = []

    def warned(self, warning: CueWarning) -> None:
        self.heard.append(warning)


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessPoolExecutor]:
    """One pool for all, with its processes there: later than this a fork would be told of."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("fork")) as pool:
            list(pool.map(elsewhere.double, range(4)))
            yield pool


@pytest.mark.rule(54)
@each_loop
def test_handlers_run_in_a_pool_of_processes(loop: str, pool: ProcessPoolExecutor, tmp_path: Path) -> None:
    async def main() -> None:
        cue = runcue.Cue()
        cue.task("sleep", run_in=pool)(elsewhere.sleep)
        cue.task("write", run_in=pool, outputs=lambda text: tmp_path / f"{text}.txt")(elsewhere.write)
        cue.task("raise", run_in=pool)(elsewhere.raise_what)
        async with cue:
            handles = [await cue.submit("sleep", {"seconds": 0.01}) for _ in range(10)]
            assert os.getpid() not in {await handle for handle in handles}
            await (await cue.submit("write", {"text": "there"}))
            with pytest.raises(Apart) as raised:
                await (await cue.submit("raise", {"what": "apart"}))
            assert "in raise_what" in str(raised.value.__cause__)
        assert (tmp_path / "there.txt").read_text() == "there"
        assert cue._executors._pools[id(pool)][1].workers == 2
        assert not any(one.in_use for one in cue.services())
        # It belongs to who gave it.
        assert pool.submit(elsewhere.double, 2).result() == 4

    run_on(loop, main)


@pytest.mark.rule(54)
@each_loop
def test_a_pool_of_threads_runs_handlers_as_they_are(loop: str) -> None:
    async def main() -> None:
        with ThreadPoolExecutor(2, thread_name_prefix="mine") as threads:
            cue = runcue.Cue()
            cue.service("api", rate="1000/sec")
            token = COLOUR.set("red")

            @cue.task(run_in=threads, uses="api")
            def where(work: runcue.Work) -> Any:
                return threading.current_thread().name, COLOUR.get(), type(work)

            @cue.task(run_in=threads)
            def fails(work: runcue.Work) -> None:
                raise Apart("here")

            @cue.task(run_in=threads)
            def awaited(work: runcue.Work) -> Any:
                return asyncio.sleep(0, "awaited")

            async with cue:
                name, colour, value = await (await cue.submit("where"))
                with pytest.raises(Apart):
                    await (await cue.submit("fails"))
                assert await (await cue.submit("awaited")) == "awaited"
            COLOUR.reset(token)
            assert name.startswith("mine")
            assert (colour, value) == ("red", runcue.Work)

    run_on(loop, main)


@pytest.mark.rule(54)
async def test_files_that_a_thread_of_a_pool_writes_are_published(tmp_path: Path) -> None:
    cue = runcue.Cue()
    cue.service("api", rate="1000/sec")
    for name, uses in (("plain", None), ("rated", "api")):
        cue.task(name, run_in=ThreadPoolExecutor, uses=uses, outputs=tmp_path / f"{name}.txt")(
            elsewhere.write
        )
    async with cue:
        for name in ("plain", "rated"):
            await (await cue.submit(name, {"text": name}))
    assert [(tmp_path / f"{name}.txt").read_text() for name in ("plain", "rated")] == ["plain", "rated"]


@pytest.mark.rule(54)
async def test_a_pool_that_a_function_makes_is_made_when_it_is_needed_and_shut_down_by_the_stop() -> None:
    made: list[ByHand] = []

    def make() -> ByHand:
        made.append(ByHand(workers=3))
        return made[-1]

    cue = runcue.Cue()
    for name in ("double", "another"):
        cue.task(name, run_in=make)(elsewhere.double)
    assert not made
    for _ in range(2):
        cue.start()
        handles = [await cue.submit(name, {"number": 1}) for name in ("double", "another") for _ in range(2)]
        await asyncio.sleep(0.01)
        assert len(made[-1].given) == 3
        for _ in range(4):
            made[-1].finish()
            await asyncio.sleep(0.01)
        assert [await handle for handle in handles] == [2] * 4
        await cue.stop()
        assert made[-1]._shutdown
    assert len(made) == 2


@pytest.mark.rule(54)
async def test_a_function_that_makes_a_pool_of_threads_gives_it_handlers_as_they_are() -> None:
    cue = runcue.Cue()
    seen = []
    cue.task("here", run_in=lambda: ThreadPoolExecutor(1))(lambda work: seen.append(work))
    cue.task("bad", run_in=lambda: ThreadPoolExecutor(1), initializer=elsewhere.load)(elsewhere.whole)
    cue.task("local", run_in=ByHand)(elsewhere.double)
    cue.task("late", run_in=lambda: ByHand())(lambda work: None)
    async with cue:
        for _ in range(2):
            await (await cue.submit("here"))
        with pytest.raises(
            runcue.ConfigurationError, match=r"^initializer of task 'bad', load .* has threads"
        ):
            await cue.submit("bad")
        with pytest.raises(runcue.ConfigurationError, match="it is a lambda"):
            await cue.submit("late")
    assert [type(work) for work in seen] == [runcue.Work] * 2


@pytest.mark.rule(54)
async def test_what_makes_no_pool_is_told_with_the_first_submission() -> None:
    closed = ByHand()
    closed.shutdown()
    for given, words in ((3, "not 3"), (closed, "which was shut down")):
        cue = runcue.Cue()
        cue.task("double", run_in=lambda given=given: given)(elsewhere.double)
        with pytest.raises(
            runcue.ConfigurationError, match=r"must make a new concurrent\.futures\.Executor"
        ) as raised:
            await cue.submit("double", {"number": 1})
        assert words in str(raised.value)


@pytest.mark.rule(54)
async def test_a_pool_that_cannot_be_made_or_gives_no_future_is_named_with_its_task() -> None:
    def make_none() -> Any:
        raise OSError("no room")

    class Half(ByHand):
        def submit(self, call: Any, /, *args: Any, **kwargs: Any) -> Any:
            return 7

    cue = runcue.Cue()
    cue.task("double", run_in=make_none)(elsewhere.double)
    cue.task("half", run_in=Half())(elsewhere.double)
    with pytest.raises(runcue.ConfigurationError) as raised:
        await cue.submit("double", {"number": 1})
    assert str(raised.value).startswith("run_in of task 'double', ")
    assert str(raised.value).endswith("has made no pool: OSError: no room.")
    async with cue:
        handle = await cue.submit("half", {"number": 1})
        with pytest.raises(
            runcue.UsageError, match=r"run_in of task 'half', .*must give a concurrent"
        ) as refused:
            await handle
    assert str(refused.value).endswith("by its submit(), not 7.")


@pytest.mark.rule(54)
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
@each_loop
def test_a_pool_that_breaks_is_told_once_and_made_anew(loop: str) -> None:
    made: list[ProcessPoolExecutor] = []

    def make() -> ProcessPoolExecutor:
        made.append(ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")))
        return made[-1]

    async def main() -> None:
        cue = runcue.Cue()
        warned = Warned()
        cue.observe(warned)
        cue.task("die", run_in=make)(elsewhere.die)
        cue.task("double", run_in=make, retry=2)(elsewhere.double)
        async with cue:
            for _ in range(2):
                with pytest.raises(Exception, match="terminated abruptly"):
                    await (await cue.submit("die"))
                assert await (await cue.submit("double", {"number": 2})) == 4
        [broken] = [one.text for one in warned.heard if one.kind == "broken"]
        assert "is broken, and what it ran is lost" in broken

    run_on(loop, main)
    assert len(made) == 3


@pytest.mark.rule(54)
async def test_a_pool_that_was_given_and_breaks_stays_broken_and_that_is_a_clear_error() -> None:
    cue = runcue.Cue()
    pool = ByHand(workers=2)
    cue.task("double", run_in=pool, retry=3)(elsewhere.double)
    async with cue:
        lost = [await cue.submit("double", {"number": n}) for n in range(2)]
        await asyncio.sleep(0.01)
        pool.break_down()
        for handle in lost:
            work = await handle.wait()
            # The lost attempt, and the one that could not be handed on: there is no third.
            assert str(work.attempts[0].error)[:10] == "a process "
            assert "is broken and stays so: BrokenExecutor: a process has died. Give a function" in str(
                work.error
            )
            assert len(work.attempts) == 2
    assert cue._core.threads.active == 0


@pytest.mark.rule(54)
async def test_a_pool_that_is_shut_down_is_a_clear_error_where_it_is_given_and_later() -> None:
    cue = runcue.Cue()
    pools: list[Executor] = [ByHand(), ThreadPoolExecutor(1), ProcessPoolExecutor(1)]
    for name, pool in zip("abc", pools, strict=True):
        cue.task(name, run_in=pool)(elsewhere.double)
        pool.shutdown()
        with pytest.raises(runcue.ConfigurationError, match=r"^run_in of task 'late' was shut down: "):
            runcue.Cue().task("late", run_in=pool)(elsewhere.double)
    with pytest.raises(runcue.ConfigurationError, match=r"^run_in was shut down"):
        runcue.Cue(run_in=pools[0])
    async with cue:
        for name in "abc":
            with pytest.raises(runcue.UsageError, match=rf"run_in of task '{name}', .*, was shut down"):
                await (await cue.submit(name, {"number": 1}))
            assert (await (await cue.submit(name, {"number": 1})).wait()).attempt == 1


@pytest.mark.rule(54)
async def test_what_a_pool_raises_itself_when_it_is_given_something_is_the_failure_of_that() -> None:
    class Full(ByHand):
        def submit(self, call: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            raise RuntimeError("no room")

    class Odd(ByHand):
        def submit(self, call: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            future: Future[Any] = Future()
            future.set_exception(KeyboardInterrupt("in a worker"))
            return future

    cue = runcue.Cue()
    cue.task("full", run_in=Full())(elsewhere.double)
    cue.task("odd", run_in=Odd())(elsewhere.double)
    async with cue:
        with pytest.raises(RuntimeError, match="no room"):
            await (await cue.submit("full", {"number": 1}))
        with pytest.raises(runcue.HandlerExited, match="was interrupted"):
            await (await cue.submit("odd", {"number": 1}))


@pytest.mark.rule(17, 54)
async def test_futures_that_somebody_else_cancels_are_failed_attempts() -> None:
    cue = runcue.Cue()
    pool, threads = ByHand(), ThreadPoolExecutor(1)
    gate = threading.Event()
    threads.submit(gate.wait)
    cue.task("double", run_in=pool)(elsewhere.double)
    cue.task("here", run_in=threads)(lambda work: None)
    async with cue:
        handles = [await cue.submit("double", {"number": 1}), await cue.submit("here")]
        await asyncio.sleep(0.01)
        for one in (pool, threads):
            one.shutdown(wait=False, cancel_futures=True)
        for handle in handles:
            with pytest.raises(runcue.UsageError, match="was shut down before it has begun"):
                await handle
        gate.set()


@pytest.mark.rule(17, 54)
async def test_a_thread_of_a_pool_that_has_not_begun_is_cancelled_and_one_that_has_is_waited_for() -> None:
    cue = runcue.Cue()
    with ThreadPoolExecutor(1) as threads:
        gate = threading.Event()
        threads.submit(gate.wait)
        cue.task("here", run_in=threads)(lambda work: gate.wait(5))
        async with cue:
            first = await cue.submit("here")
            await asyncio.sleep(0.01)
            first.cancel()
            await asyncio.sleep(0.01)
            assert not cue._dispatcher.in_flight.works
            gate.set()
            await (await cue.submit("here"))


@pytest.mark.rule(23, 54)
@pytest.mark.parametrize("calls", [True, False])
@each_loop
def test_what_waits_in_a_pool_and_has_not_begun_is_pending_for_a_stop(
    loop: str, calls: bool, tmp_path: Path
) -> None:
    async def main() -> None:
        cue = runcue.Cue()
        pool: Any = ByHand(workers=9) if calls else ThreadPoolExecutor(9)
        api = cue.service("api", rate="9/min")
        go, entered = threading.Event(), threading.Event()

        def wait(work: runcue.Work) -> None:
            entered.set()
            go.wait(20)

        handler = elsewhere.double if calls else wait
        cue.task("runs", run_in=pool)(handler)
        cue.task("waits", run_in=pool, uses=api, retry=3)(handler)
        cue.task("makes", run_in=pool, outputs=tmp_path / "out")(handler)
        cue.start()
        params = {"number": 1}
        runs = await cue.submit("runs", params)
        await asyncio.sleep(0.01)
        if calls:
            pool.begin()
        else:
            assert await asyncio.to_thread(entered.wait, 20)
            for _ in range(9):
                pool.submit(go.wait)  # others use it as well
        names = ("waits", "makes", "makes")
        waiting = [await cue.submit(name, params, must_complete=False) for name in names]
        needed = await cue.submit("waits", params, must_complete=True)
        while cue.counts()["running"] < 4:
            await asyncio.sleep(0.001)
        stopping = asyncio.ensure_future(cue.stop(drain=False))
        await asyncio.sleep(0.01)
        assert [one.state.value for one in waiting] == ["cancelled"] * 3
        assert [one.state.value for one in (runs, needed)] == ["running"] * 2
        assert not stopping.done()
        assert len(cue._dispatcher.in_flight.works) == 2
        if calls:
            while pool.given:
                pool.finish()
        go.set()
        summary = await stopping
        assert str(summary).startswith("2 completed, 3 cancelled in ")
        assert not summary.abandoned
        with pytest.raises(runcue.WorkCancelled, match=r"was cancelled by stop\(\)"):
            await waiting[0]
        # Nothing is held any more.
        cue.start()
        again = await cue.submit("waits", params)
        await asyncio.sleep(0.01)
        if calls:
            pool.finish()
        await again
        await cue.stop()
        if not calls:
            pool.shutdown()

    run_on(loop, main)


@pytest.mark.rule(23, 54)
@each_loop
def test_what_a_stop_gives_up_holds_its_slot_until_it_is_done_after_the_next_start_too(loop: str) -> None:
    async def main() -> None:
        cue = runcue.Cue()
        pool, late = ByHand(workers=1), ByHand(workers=1)
        cue.task("double", run_in=pool)(elsewhere.double)
        cue.task("late", run_in=late)(elsewhere.double)
        cue.start()
        handles = [await cue.submit(name, {"number": 1}) for name in ("double", "late")]
        await asyncio.sleep(0.01)
        pool.begin()
        late.begin()
        await cue.stop(drain=False, timeout=0)
        assert [handle.state.value for handle in handles] == ["cancelled"] * 2
        # One comes back before the next start, one after it.
        pool.finish()
        cue.start()
        after = [await cue.submit(name, {"number": 2}) for name in ("double", "late")]
        await asyncio.sleep(0.01)
        assert [handle.state.value for handle in after] == ["running", "pending"]
        late.finish()
        await asyncio.sleep(0.02)
        assert after[1].state.value == "running"
        for one in (pool, late):
            one.finish()
        assert [await handle for handle in after] == [4, 4]
        await cue.stop()

    run_on(loop, main)


async def test_what_a_pool_tells_a_loop_that_was_closed_is_not_lost() -> None:
    told: list[str] = []

    class Heard:
        payload = b""

        def over(self) -> None:
            told.append("over")

    def life() -> FuturesExecutor:
        async def main() -> FuturesExecutor:
            executor = FuturesExecutor(pool, "run_in")
            loop = asyncio.get_running_loop()
            executor.start(lambda *told: None, lambda *told: None, runcue._dispatch.clock.clock_of(loop))  # type: ignore[attr-defined]
            executor.submit("work", Heard(), copy_context(), stamped=False)
            return executor

        return asyncio.run(main())

    pool = ByHand()
    await asyncio.to_thread(life)
    pool.begin()
    pool.given[0][0].set_result(b"")
    assert told == ["over"]


@pytest.mark.rule(54)
async def test_two_tasks_that_are_given_the_same_pool_share_its_workers() -> None:
    cue = runcue.Cue()
    pool = ByHand(workers=2)
    for name in ("a", "b"):
        cue.task(name, run_in=pool)(elsewhere.double)
    async with cue:
        handles = [await cue.submit(name, {"number": 1}) for name in ("a", "b") for _ in range(2)]
        await asyncio.sleep(0.01)
        assert len(pool.given) == 2
        [first, *_] = cue.debug_blocked()
        assert first["reason"] == "service_full"
        assert "ByHand" in str(cue.why(first["work"].id))
        for _ in range(4):
            pool.finish()
            await asyncio.sleep(0.01)
        assert [await handle for handle in handles] == [2] * 4


async def test_nothing_is_kept_of_what_has_been_carried_out() -> None:
    cue = runcue.Cue(keep=0)
    pool = ByHand()
    cue.task("double", run_in=pool)(elsewhere.double)
    async with cue:
        handle = await cue.submit("double", {"number": 1})
        work = weakref.ref(handle.work)
        await asyncio.sleep(0.01)
        pool.finish()
        await handle
        del handle
        await asyncio.sleep(0.01)
        gc.collect()
        assert work() is None


def test_pools_that_pickle_more_are_known_by_where_they_come_from() -> None:
    for module, pickler in (
        ("joblib.externals.loky.reusable_executor", "joblib.externals.cloudpickle"),
        ("loky.process_executor", "cloudpickle"),
        ("distributed.cfexecutor", "cloudpickle"),
        ("lokyish", None),
    ):
        kind = type("Pool", (ByHand,), {"__module__": module})
        assert FuturesExecutor(kind(), "run_in").pickler == pickler
    assert not FuturesExecutor(ByHand(), "run_in").knows_main
    forking = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork"))
    assert FuturesExecutor(forking, "run_in").knows_main
    odd = ByHand()
    odd._mp_context = "odd"  # type: ignore[attr-defined]
    assert not FuturesExecutor(odd, "run_in").knows_main
    flagged = ByHand()
    flagged._flags = type("Flags", (), {"shutdown": True})  # type: ignore[attr-defined]
    with pytest.raises(runcue.ConfigurationError):
        FuturesExecutor(flagged, "run_in")
    assert repr(FuturesExecutor(ByHand, "run_in")).startswith("ByHand")


async def test_a_rehearsal_makes_no_pool_and_sends_nothing() -> None:
    made: list[ByHand] = []

    def make() -> ByHand:
        made.append(ByHand())
        return made[-1]

    cue = runcue.Cue()
    cue.task("double", run_in=make)(elsewhere.double)
    cue.task("here", run_in="loop")(elsewhere.double)
    rehearse(cue, lambda work: 0.0, lambda work: "pretended")
    async with cue:
        for name in ("double", "here"):
            assert await (await cue.submit(name, {"number": threading.Lock()})) == "pretended"
    assert not made


@pytest.mark.rule(54)
async def test_a_pool_that_knows_no_more_than_to_be_shut_down_is_shut_down() -> None:
    class Plain(ByHand):
        def shutdown(self, wait: bool = True) -> None:  # type: ignore[override]
            super().shutdown(wait)

    cue = runcue.Cue()
    cue.task("double", run_in=Plain)(elsewhere.double)
    async with cue:
        handle = await cue.submit("double", {"number": 1})
        await asyncio.sleep(0.01)
        pool = cue._executors._pools[id(Plain)][1].open()
        pool.finish()  # type: ignore[attr-defined]
        assert await handle == 2
    assert pool._shutdown  # type: ignore[attr-defined]


@pytest.mark.rule(34)
async def test_a_handler_that_took_its_picture_for_a_param_is_told_so() -> None:
    cue = runcue.Cue()
    cue.task("plus", run_in=elsewhere.InPlace())(elsewhere.plus_one)
    async with cue:
        with pytest.raises(TypeError) as raised:
            await (await cue.submit("plus", {"number": 1}))
    assert "got its work unit as 'number': if that is a param, annotate it" in raised.value.__notes__[0]
