"""Handles as futures: awaited, asked, cancelled, given to asyncio; and as values, where a handler returns them."""

from __future__ import annotations

import asyncio
import copy
import inspect
import pickle
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import runcue
from runcue import WorkHandle, WorkState
from runcue.testing import run
from tests.support.virtual_time import now

LOOPS = [pytest.param(asyncio.new_event_loop, id="asyncio")]
try:
    import uvloop
except ImportError:
    pass
else:
    LOOPS.append(pytest.param(uvloop.new_event_loop, id="uvloop"))

both_loops = pytest.mark.parametrize("loop", LOOPS)


def in_loop(loop: Callable[[], asyncio.AbstractEventLoop], main: Callable[[], Any]) -> Any:
    with asyncio.Runner(loop_factory=loop) as runner:
        return runner.run(main())


def cue_of(seconds: float = 0.01) -> runcue.Cue:
    cue = runcue.Cue(id_prefix="")

    @cue.task("double")
    async def double(work: runcue.Work) -> int:
        await asyncio.sleep(seconds)
        return 2 * int(work.params["n"])

    @cue.task("fails")
    async def fails(work: runcue.Work) -> None:
        await asyncio.sleep(seconds)
        raise ValueError("as planned")

    return cue


async def doubles(cue: runcue.Cue, number: int) -> list[WorkHandle]:
    return [await cue.submit("double", params={"n": n}) for n in range(number)]


async def gathered(handles: list[WorkHandle]) -> list[Any]:
    return await asyncio.gather(*handles)


async def gathered_twice(handles: list[WorkHandle]) -> list[Any]:
    twice = await asyncio.gather(*handles, *handles)
    assert twice[: len(handles)] == twice[len(handles) :]
    return twice[: len(handles)]


async def waited_for(handles: list[WorkHandle]) -> list[Any]:
    return [await asyncio.wait_for(handle, 10) for handle in handles]


async def shielded(handles: list[WorkHandle]) -> list[Any]:
    return [await asyncio.shield(handle) for handle in handles]


async def as_completed(handles: list[WorkHandle]) -> list[Any]:
    return sorted([await one for one in asyncio.as_completed(handles)])


async def waited(handles: list[WorkHandle]) -> list[Any]:
    tasks = [asyncio.ensure_future(handle) for handle in handles]
    await asyncio.wait(tasks)
    return [task.result() for task in tasks]


async def under_a_timeout(handles: list[WorkHandle]) -> list[Any]:
    async with asyncio.timeout(10):
        return [await handle for handle in handles]


async def in_a_group(handles: list[WorkHandle]) -> list[Any]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(handle.result()) for handle in handles]
    return [task.result() for task in tasks]


WAYS = [
    gathered,
    gathered_twice,
    waited_for,
    shielded,
    as_completed,
    waited,
    under_a_timeout,
    in_a_group,
]


@pytest.mark.rule(35)
@both_loops
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_asyncio_takes_handles_as_it_takes_futures(
    way: Callable[[list[WorkHandle]], Awaitable[list[Any]]], loop: Any
) -> None:
    async def main() -> None:
        async with cue_of() as cue:
            assert await way(await doubles(cue, 3)) == [0, 2, 4]

    in_loop(loop, main)


@pytest.mark.rule(35)
@both_loops
def test_what_runs_in_a_loop_until_it_is_complete_may_be_a_handle(loop: Any) -> None:
    with asyncio.Runner(loop_factory=loop) as runner:
        cue = cue_of()

        async def begin() -> WorkHandle:
            cue.start()
            return await cue.submit("double", params={"n": 4})

        handle, unwanted = runner.run(begin()), runner.run(begin())
        assert unwanted.cancel()  # while the loop stands still
        assert runner.get_loop().run_until_complete(handle) == 8
        runner.run(cue.stop())


@pytest.mark.rule(35)
def test_to_await_a_handle_is_to_await_its_result_before_during_and_after_the_run() -> None:
    async def main() -> None:
        async with cue_of(10) as cue:
            [handle] = await doubles(cue, 1)
            early = asyncio.gather(handle, handle, handle.result())
            await asyncio.sleep(5)
            assert await handle == 0
            assert now() == 10
            assert await early == [0, 0, 0]
        assert await handle == 0

    run(main)


@pytest.mark.rule(35)
@pytest.mark.parametrize("gives_up", ["wait_for", "timeout", "cancel", "gather", "first of two"])
def test_who_gives_up_a_handle_cancels_nothing_but_themselves(gives_up: str) -> None:
    async def main() -> None:
        async with cue_of(10) as cue:
            handle, other = await doubles(cue, 2)
            waits = asyncio.ensure_future(other)
            if gives_up == "wait_for":
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(handle, 1)
            elif gives_up == "timeout":
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(1):
                        await handle
            elif gives_up == "first of two":
                _, pending = await asyncio.wait(
                    [asyncio.ensure_future(handle), asyncio.create_task(asyncio.sleep(1))],
                    return_when=asyncio.FIRST_COMPLETED,
                )
                for task in pending:
                    task.cancel()
            else:
                task = asyncio.gather(handle) if gives_up == "gather" else asyncio.ensure_future(handle)
                await asyncio.sleep(1)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            assert (now(), handle.state) == (1.0, WorkState.RUNNING)
            assert await handle == 0
            assert await waits == 2

    run(main)


@pytest.mark.rule(35)
def test_a_handle_can_be_asked_at_any_time() -> None:
    async def main() -> None:
        cue = cue_of(10)
        cue.is_stale(lambda work: not work.params.get("fresh"))
        async with cue:
            good, cancelled = await doubles(cue, 2)
            bad = await cue.submit("fails")
            fresh = await cue.submit("double", params={"fresh": True})
            handles = (good, bad, cancelled, fresh)
            assert [handle.state for handle in handles] == [WorkState.PENDING] * 4
            assert not any(handle.done() for handle in handles)
            for handle in handles:
                with pytest.raises(
                    asyncio.InvalidStateError, match=f"{handle.work.task} {handle.work.id}.*await"
                ):
                    handle.exception()
                with pytest.raises(runcue.RuncueError):
                    handle.exception()
            await asyncio.sleep(1)
            assert repr(good) == "<WorkHandle 1 double running>"
            assert cancelled.cancel()
            assert not cancelled.cancel()
            assert not fresh.cancel()
            await asyncio.wait([asyncio.ensure_future(handle.wait()) for handle in handles])
            assert all(handle.done() for handle in handles)
            assert [handle.state.value for handle in handles] == [
                "completed",
                "failed",
                "cancelled",
                "completed",
            ]
            assert good.exception() is None
            assert fresh.exception() is None
            assert repr(bad.exception()) == "ValueError('as planned')"
            with pytest.raises(runcue.WorkCancelled):
                cancelled.exception()
            with pytest.raises(runcue.WorkCancelled):
                await cancelled
            assert [repr(handle) for handle in handles] == [
                "<WorkHandle 1 double completed>",
                "<WorkHandle 3 fails failed>",
                "<WorkHandle 2 double cancelled>",
                "<WorkHandle 4 double skipped>",
            ]

    run(main)


@pytest.mark.rule(17, 35)
def test_cancel_of_a_handle_ends_an_async_handler_and_leaves_a_thread_its_slot() -> None:
    goes_on, ended = threading.Event(), threading.Event()

    async def main() -> None:
        cue = runcue.Cue()
        cue.service("one", concurrent=1)
        seen: list[str] = []

        @cue.task("plain", uses="one")
        def plain(work: runcue.Work) -> None:
            goes_on.wait(10)
            seen.append(f"thread cancelled: {work.cancelled}")
            ended.set()

        @cue.task("after", uses="one")
        async def after(work: runcue.Work) -> None:
            seen.append("after")
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                seen.append("cancelled")
                raise

        async with cue:
            first, second = await cue.submit("plain"), await cue.submit("after")
            while first.state is not WorkState.RUNNING:
                await asyncio.sleep(0.001)
            assert first.cancel()
            assert first.done()
            await asyncio.sleep(0.02)
            assert second.state is WorkState.PENDING
            goes_on.set()
            while second.state is not WorkState.RUNNING:
                await asyncio.sleep(0.001)
            assert second.cancel()
            await asyncio.sleep(0)
            assert not second.cancel()
        assert seen == ["thread cancelled: True", "after", "cancelled"]

    asyncio.run(main())
    assert ended.is_set()


@pytest.mark.rule(35)
def test_a_handler_may_cancel_its_own_handle_and_that_of_a_work_unit_that_waits() -> None:
    async def main() -> None:
        cue = runcue.Cue()
        cue.service("one", concurrent=1)
        handles: list[WorkHandle] = []

        @cue.task("t", uses="one")
        async def t(work: runcue.Work) -> None:
            assert handles[1].cancel()
            assert handles[0].cancel()
            await asyncio.sleep(1)
            pytest.fail("it went on")

        async with cue:
            handles += [await cue.submit("t"), await cue.submit("t")]
            assert await asyncio.gather(*handles, return_exceptions=True) == [ANY_CANCELLED, ANY_CANCELLED]

    run(main)


class _AnyCancelled:
    def __eq__(self, other: object) -> bool:
        return isinstance(other, runcue.WorkCancelled)

    __hash__ = None  # type: ignore[assignment]


ANY_CANCELLED = _AnyCancelled()


@pytest.mark.rule(35)
def test_a_handle_can_be_cancelled_before_its_cue_is_started() -> None:
    async def submit(cue: runcue.Cue) -> WorkHandle:
        return (await doubles(cue, 1))[0]

    cue = cue_of()
    handle = asyncio.run(submit(cue))
    assert handle.cancel()
    assert handle.state is WorkState.CANCELLED


@pytest.mark.rule(19, 35)
@both_loops
def test_cancel_and_await_in_the_wrong_place_name_the_right_one(loop: Any) -> None:
    async def main() -> None:
        cue = cue_of(60)
        cue.start()
        [handle] = await doubles(cue, 1)
        with pytest.raises(runcue.WrongLoop, match="call_soon_threadsafe"):
            await asyncio.to_thread(handle.cancel)

        async def elsewhere() -> None:
            with pytest.raises(runcue.WrongLoop, match="call_soon_threadsafe"):
                handle.cancel()
            with pytest.raises(runcue.WrongLoop, match="run_coroutine_threadsafe"):
                await handle

        await asyncio.to_thread(asyncio.run, elsewhere())
        assert await asyncio.to_thread(
            lambda: (handle.done(), handle.state.value in {"pending", "running"})
        ) == (
            False,
            True,
        )
        asyncio.get_running_loop().call_soon_threadsafe(handle.cancel)
        with pytest.raises(runcue.WorkCancelled):
            await handle
        assert not await asyncio.to_thread(handle.cancel)  # it has ended: nothing is to be done
        await cue.stop()

    in_loop(loop, main)


@pytest.mark.rule(19, 35)
def test_a_handle_whose_event_loop_has_ended_says_so() -> None:
    async def begin(cue: runcue.Cue) -> WorkHandle:
        cue.start()
        cue.is_ready(lambda work: False)
        return (await doubles(cue, 1))[0]

    async def late(cue: runcue.Cue, handle: WorkHandle) -> None:
        with pytest.raises(runcue.WrongLoop, match="has ended; start"):
            await handle
        cue.start()
        assert handle.cancel()
        await cue.stop()

    cue = cue_of()
    handle = asyncio.run(begin(cue))
    asyncio.run(late(cue, handle))


@pytest.mark.rule(19, 35)
def test_a_handle_of_a_cue_whose_scheduler_has_failed_says_so_whatever_it_is_asked(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        cue = cue_of()
        cue.start()
        [handle] = await doubles(cue, 1)
        cue._dispatcher.turns.fail(RuntimeError("planned"))
        assert handle.done()
        with pytest.raises(runcue.CueFailed):
            handle.exception()
        with pytest.raises(runcue.CueFailed):
            await handle
        with pytest.raises(runcue.CueFailed):
            await cue.stop()

    asyncio.run(main())


@pytest.mark.rule(18, 35)
def test_a_handle_stays_the_id() -> None:
    async def main() -> None:
        async with cue_of() as cue:
            [handle] = await doubles(cue, 1)
            assert inspect.isawaitable(handle)
            assert (handle, str(handle), f"{handle}", f"{handle:>3}", f"{handle}") == (
                "1",
                "1",
                "1",
                "  1",
                "1",
            )
            assert {handle: 5}["1"] == 5
            for one in (copy.copy(handle), copy.deepcopy(handle), pickle.loads(pickle.dumps(handle))):
                assert (type(one), one) == (str, handle)
            assert await cue.get(handle) is handle.work
            assert not hasattr(handle, "nothing of the kind")

    run(main)


@pytest.mark.rule(35)
def test_what_cannot_be_done_with_a_handle_says_what_can() -> None:
    async def main() -> None:
        async with cue_of() as cue:
            [handle] = await doubles(cue, 1)
            with pytest.raises(AttributeError, match=r"asyncio\.ensure_future\(handle\)"):
                await asyncio.wait([handle])
            with pytest.raises(runcue.UsageError, match=r"cue\.get\(id\)"):
                WorkHandle("1")

    run(main)


@pytest.mark.rule(12, 35)
@pytest.mark.parametrize("kind", ["plain", "async", "plain with outputs"])
def test_a_handle_that_a_handler_returns_is_a_value(kind: str, tmp_path: Any) -> None:
    async def main() -> None:
        cue = cue_of(10)

        def plain(work: runcue.Work) -> str:
            (tmp_path / "o").touch()
            return work.submit("double", params={"n": 7})

        async def later(work: runcue.Work) -> WorkHandle:
            return await cue.submit("double", params={"n": 7})

        outputs = str(tmp_path / "o") if kind == "plain with outputs" else None
        cue.task("parent", outputs=outputs)(later if kind == "async" else plain)
        async with cue:
            child = await (await cue.submit("parent"))
            assert isinstance(child, WorkHandle)
            assert now() == 0
            assert await child == 14

    run(main)


@pytest.mark.rule(12, 35)
@pytest.mark.parametrize("callback", ["is_ready", "is_stale", "on_complete", "observer"])
@pytest.mark.parametrize("kind", ["plain", "async"])
def test_a_handle_that_a_callback_returns_is_a_value(callback: str, kind: str) -> None:
    async def main() -> None:
        cue = cue_of(10)
        never = await cue.submit("double", params={"n": 7, "never": True})
        cue.is_ready(task="double")(lambda work: "never" not in work.params)
        cue.task("t")(lambda work: "ran")
        asked: list[object] = []

        def plain(*heard: Any) -> WorkHandle:
            asked.append(heard)
            return never

        async def later(*heard: Any) -> WorkHandle:
            return plain(*heard)

        call = plain if kind == "plain" else later
        if callback == "observer":
            cue.observe(type("Hears", (runcue.Observer,), {"settled": staticmethod(call)})())
        elif callback == "on_complete":
            cue.on_complete(call)
        else:
            getattr(cue, callback)(task="t")(call)
        cue.start()
        assert await asyncio.wait_for(await cue.submit("t"), 5) == "ran"
        summary = await cue.drain()
        assert [entry["work"].id for entry in summary.blocked] == [never]
        assert asked
        assert never.cancel()
        await cue.stop()

    run(main)
