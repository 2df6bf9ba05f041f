"""What submit() returns and what can be done with it; looking work units up; submitting from threads; `async with`."""

from __future__ import annotations

import asyncio
import copy
import json
import threading
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import pytest

import runcue
from runcue.testing import FakeExecutor, Recorder, run
from tests.support.virtual_time import now


async def nothing(work: runcue.Work) -> None: ...


def sleeping(cue: runcue.Cue, name: str = "t", **options: Any) -> None:
    @cue.task(name, **options)
    async def sleeps(work: runcue.Work) -> Any:
        await asyncio.sleep(10)
        return work.params.get("n")


def test_a_handle_is_the_id_and_can_be_used_as_a_str() -> None:
    async def main() -> None:
        async with runcue.Cue(id_prefix="run-") as cue:
            cue.task("t")(nothing)
            handle = await cue.submit("t")
            assert handle == "run-1"
            assert json.dumps({handle: handle}) == '{"run-1": "run-1"}'
            assert f"{handle}" == "run-1"
            assert copy.copy(handle) == copy.deepcopy(handle) == handle
            assert await cue.get(handle) is await cue.get("run-1") is handle.work

    run(main)


def test_result_gives_what_the_handler_returned_however_often_and_however_late_it_is_asked() -> None:
    async def main() -> None:
        async with runcue.Cue() as cue:
            sleeping(cue)
            handle = await cue.submit("t", params={"n": {"a": [1]}})
            results = await asyncio.gather(*(handle.result() for _ in range(5)))
            assert all(result == {"a": [1]} for result in results)
            assert now() == 10
            assert await handle.result() is results[0]
            assert handle.work.result is results[0]
        assert await handle.result() is results[0]  # after the stop as well

    run(main)


def test_wait_gives_the_settled_work_and_never_raises_for_a_failure() -> None:
    async def main() -> None:
        cue = runcue.Cue()
        cue.on_failure(lambda work, error: None)
        sleeping(cue)

        @cue.task("fails")
        async def fails(work: runcue.Work) -> None:
            raise ValueError("no")

        cue.start()
        done, failed, cancelled = [await cue.submit(name) for name in ("t", "fails", "t")]
        await asyncio.sleep(1)
        await cue.cancel(cancelled)
        works = [await handle.wait() for handle in (done, failed, cancelled)]
        assert [work.state.value for work in works] == ["completed", "failed", "cancelled"]
        assert [work.id for work in works] == [done, failed, cancelled]
        assert (works[1].error, works[0].error) == ("no", None)
        await cue.stop()

    run(main)


def test_a_waiter_that_is_cancelled_takes_neither_the_work_nor_other_waiters_along() -> None:
    async def main() -> None:
        async with runcue.Cue() as cue:
            sleeping(cue)
            handle = await cue.submit("t", params={"n": 5})
            other = asyncio.create_task(handle.result())
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1):
                    await handle.result()
            assert handle.work.state is runcue.WorkState.RUNNING
            assert await other == 5

    run(main)


def test_a_handler_may_wait_for_work_it_submits() -> None:
    async def main() -> None:
        async with runcue.Cue() as cue:
            cue.service("some", concurrent=20)

            @cue.task("fibonacci", uses="some")
            async def fibonacci(work: runcue.Work) -> int:
                n = work.params["n"]
                if n < 2:
                    return n
                handles = [await cue.submit("fibonacci", params={"n": n - back}) for back in (1, 2)]
                return sum([await handle.result() for handle in handles])

            assert await (await cue.submit("fibonacci", params={"n": 5})).result() == 5

    run(main)


def test_the_handle_of_a_skipped_work_gives_nothing() -> None:
    async def main() -> None:
        async with runcue.Cue() as cue:
            cue.task("t")(lambda work: "ran")
            cue.is_stale(lambda work: False)
            handle = await cue.submit("t")
            assert await handle.result() is None
            work = handle.work
            assert (work.state, work.skipped, work.started_at) == (runcue.WorkState.COMPLETED, True, None)
            assert work.completed_at is not None

    run(main)


def test_waiting_before_the_cue_is_started_works() -> None:
    async def main() -> None:
        cue = runcue.Cue()
        cue.task("t")(lambda work: 5)
        handle = await cue.submit("t")
        waiter = asyncio.create_task(handle.result())
        await asyncio.sleep(5)
        assert not waiter.done()
        cue.start()
        assert await waiter == 5
        await cue.stop()

    run(main)


def test_work_of_a_cue_that_is_never_started_can_be_cancelled() -> None:
    async def main() -> None:
        cue = runcue.Cue()
        cue.task("t")(nothing)
        handle = await cue.submit("t")
        assert await cue.cancel(handle)
        with pytest.raises(runcue.WorkCancelled):
            await handle.result()
        await cue.stop()  # nothing would be lost

    run(main)


def test_a_work_tells_its_whole_story() -> None:
    async def main() -> None:
        async with runcue.Cue() as cue:
            sleeping(cue)
            handle = await cue.submit("t", params={"n": 3})
            work = handle.work
            assert (work.id, work.task, work.params, work.attempt) == (handle, "t", {"n": 3}, 1)
            states = [work.state]
            await asyncio.sleep(1)
            states.append(work.state)
            await handle.wait()
            states.append(work.state)
            assert [state.name for state in states] == ["PENDING", "RUNNING", "COMPLETED"]
            assert work.started_at is not None
            assert work.completed_at is not None
            assert work.completed_at - work.started_at == 10
            assert (work.result, work.error, work.exception, work.cancelled) == (3, None, None, False)
            assert repr(work) == f"<Work {handle} t completed>"

    run(main)


def test_work_unit_is_the_same_as_work() -> None:
    assert runcue.WorkUnit is runcue.Work
    assert [state.name for state in runcue.WorkState] == [
        "PENDING",
        "RUNNING",
        "COMPLETED",
        "FAILED",
        "CANCELLED",
    ]


@pytest.mark.parametrize("mapping", [dict, MappingProxyType])
def test_params_are_taken_over_at_submission(mapping: type[Mapping[str, Any]]) -> None:
    async def main() -> None:
        async with runcue.Cue() as cue:
            cue.task("t")(lambda work: dict(work.params))
            mine = {"n": 1}
            handle = await cue.submit("t", params=mapping(mine))
            mine["n"] = 2
            mine["more"] = 3
            assert await handle.result() == {"n": 1}

    run(main)


def test_a_handler_stands_for_the_name_of_its_task() -> None:
    async def main() -> None:
        async with runcue.Cue() as cue:

            @cue.task("a name of its own")
            def double(work: runcue.Work) -> int:
                return 2 * work.params["n"]

            handle = await cue.submit(double, params={"n": 4})
            assert await handle.result() == 8
            assert handle.work.task == "a name of its own"
            assert double(handle.work) == 8  # the decorator returns the function as it was

    run(main)


def test_get_knows_work_units_by_their_id_and_nothing_else() -> None:
    async def main() -> None:
        async with runcue.Cue() as cue:
            cue.task("t")(nothing)
            handle = await cue.submit("t")
            assert await cue.get(handle) is handle.work
            assert await cue.get("no such work") is None

    run(main)


def test_list_gives_work_units_in_submission_order_by_state_and_task() -> None:
    async def main() -> None:
        cue = runcue.Cue()
        cue.on_failure(lambda work, error: None)
        cue.service("one", concurrent=1)

        @cue.task("fails")
        async def fails(work: runcue.Work) -> None:
            raise ValueError

        sleeping(cue, uses="one")
        cue.task("quick")(nothing)
        cue.start()
        handles = [await cue.submit(name) for name in ("t", "fails", "t", "quick", "t")]
        await asyncio.sleep(1)
        await cue.cancel(handles[4])
        assert [work.id for work in await cue.list()] == handles
        found = {state.name: [work.id for work in await cue.list(state=state)] for state in runcue.WorkState}
        assert found == {
            "PENDING": [handles[2]],
            "RUNNING": [handles[0]],
            "COMPLETED": [handles[3]],
            "FAILED": [handles[1]],
            "CANCELLED": [handles[4]],
        }
        assert [work.id for work in await cue.list(task="t")] == [handles[0], handles[2], handles[4]]
        assert [work.id for work in await cue.list(task="t", state=runcue.WorkState.PENDING)] == [handles[2]]
        assert [work.id for work in await cue.list(limit=2)] == handles[:2]
        assert await cue.list(limit=0) == []
        with pytest.raises(runcue.UnknownTask, match=r"Unknown task: 'tt'\. Did you mean 't'"):
            await cue.list(task="tt")
        await cue.stop()

    run(main)


def test_list_gives_all_unless_told() -> None:
    async def main() -> None:
        async with runcue.Cue() as cue:
            cue.task("t")(nothing)
            for _ in range(300):
                await cue.submit("t")
            assert len(await cue.list()) == 300
            assert len(await cue.list(limit=100)) == 100
            await cue.drain()
            assert len(await cue.list(state=runcue.WorkState.COMPLETED)) == 300

    run(main)


def test_list_goes_on_after_any_work_unit_be_it_forgotten_by_the_cue() -> None:
    async def main() -> None:
        async with runcue.Cue(keep=10) as cue:
            cue.task("t")(nothing)
            handles = [await cue.submit("t") for _ in range(25)]
            await cue.drain()
            known = [handle.work for handle in handles[15:]]
            assert await cue.list() == known
            for number in range(25):
                later = [handle.work for handle in handles[max(number + 1, 15) :]]
                for after in (handles[number], str(handles[number]), handles[number].work):
                    assert await cue.list(after=after) == later
                    assert await cue.list(after=after, limit=3) == later[:3]

    run(main)


def test_pages_of_a_list_give_each_work_unit_once_though_some_were_refused_and_some_are_forgotten_meanwhile() -> (
    None
):
    async def main() -> None:
        async with runcue.Cue(keep=30) as cue:
            cue.service("one", concurrent=1)
            sleeping(cue, uses="one")
            cue.task("made", outputs=runcue.Flag("made"), duplicate="error")(nothing)
            await cue.submit("made")
            submitted = [await cue.submit("t") for _ in range(40)]
            for number in range(40):
                with pytest.raises(runcue.RuncueError):
                    await cue.submit("made", priority=2 if number % 2 else None)
                submitted.append(await cue.submit("t"))
            seen: list[str] = []
            page = await cue.list(task="t", limit=7)
            while page:
                seen += [work.id for work in page]
                await asyncio.sleep(
                    50
                )  # most of those that were seen are settled, and some of them forgotten
                page = await cue.list(task="t", limit=7, after=seen[-1])
            assert seen == submitted

    run(main)


def test_what_a_cue_has_never_submitted_has_no_place_in_its_list() -> None:
    async def main() -> None:
        async with runcue.Cue(id_prefix="a-") as other, runcue.Cue(id_prefix="a-") as cue:
            for one in (other, cue):
                one.task("t")(nothing)
            mine, theirs = await cue.submit("t"), await other.submit("t")
            assert mine == theirs
            assert await cue.list(after=mine) == await cue.list(after="a-1") == []
            for after in ("", "a-", "1", "a-0", "a-01", "a-2", "a-1 ", "a-²", "a-" + 5000 * "1"):
                with pytest.raises(LookupError, match=r"after=.* of list"):
                    await cue.list(after=after)
            for stranger in (theirs, theirs.work):
                with pytest.raises(LookupError, match="no work unit of this cue"):
                    await cue.list(after=stranger)

    run(main)


def test_debug_blocked_says_of_each_work_what_is_in_its_way() -> None:
    async def main() -> None:
        cue = runcue.Cue(recheck=False)
        cue.service("ovens", concurrent=1)
        cue.service("api", rate="1/hour")
        sleeping(cue, "bakes", uses="ovens")
        cue.task("asks", uses="api")(nothing)
        cue.task("unready")(nothing)
        cue.task("raises")(nothing)
        cue.is_ready(task="unready")(lambda work: False)
        cue.is_ready(task="raises")(lambda work: {}["key"])
        cue.start()
        names = ["bakes", "bakes", "asks", "asks", "unready", "raises"]
        handles = [await cue.submit(name, params={"n": 7}) for name in names]
        await asyncio.sleep(1)
        blocked = cue.debug_blocked()
        assert [entry["work"] for entry in blocked] == [handles[n].work for n in (1, 3, 4, 5)]
        assert [entry["reason"] for entry in blocked] == ["service_full"] * 2 + ["not_ready"] * 2
        details = [entry["details"] for entry in blocked]
        assert details[0] == "ovens: the only slot is in use"
        assert details[1] == "api: 1/hour is used up, next start in 3599.0 s"
        assert "{'n': 7}" in details[2]
        assert "KeyError: 'key'" in details[3]
        await cue.stop(timeout=0)
        assert cue.debug_blocked() == []

    run(main)


def test_submit_threadsafe_submits_from_any_thread() -> None:
    async def main() -> None:
        async with runcue.Cue() as cue:
            cue.task("t")(lambda work: work.params["n"])
            handles: list[runcue.WorkHandle] = []

            def submits(n: int) -> None:
                handles.extend(cue.submit_threadsafe("t", params={"n": (n, k)}) for k in range(20))

            threads = [threading.Thread(target=submits, args=(n,)) for n in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                await asyncio.to_thread(thread.join)
            assert len(set(handles)) == 80
            results = [await handle.result() for handle in handles]
            assert sorted(results) == [(n, k) for n in range(4) for k in range(20)]

    asyncio.run(main())


def test_submit_threadsafe_raises_in_the_thread_that_made_the_mistake() -> None:
    async def main() -> None:
        async with runcue.Cue() as cue:
            cue.task("t")(nothing)
            with pytest.raises(runcue.UnknownTask):
                await asyncio.to_thread(cue.submit_threadsafe, "unknown")
            with pytest.raises(runcue.InvalidParams):
                await asyncio.to_thread(cue.submit_threadsafe, "t", params=[1])
            assert await cue.list() == []

    run(main)


def test_submit_threadsafe_during_the_end_of_a_stop_either_counts_or_raises() -> None:
    async def main() -> None:
        for _ in range(20):
            cue = runcue.Cue()
            cue.task("t")(nothing)
            cue.start()
            accepted: list[runcue.WorkHandle] = []
            refused = threading.Event()

            def submits(cue: runcue.Cue = cue, accepted: Any = accepted, refused: Any = refused) -> None:
                try:
                    while True:
                        accepted.append(cue.submit_threadsafe("t"))
                except runcue.CueStopped:
                    refused.set()

            thread = threading.Thread(target=submits)
            thread.start()
            await asyncio.sleep(0.002)
            summary = await cue.stop()
            await asyncio.to_thread(thread.join, 30)
            assert refused.is_set()
            assert summary.counts["completed"] == len(accepted)
            assert all(handle.work.state is runcue.WorkState.COMPLETED for handle in accepted)

    asyncio.run(main())


def test_a_sync_handler_submits_more_work_with_work_submit() -> None:
    async def main() -> None:
        async with runcue.Cue() as cue:
            submitted: list[str] = []

            @cue.task("child")
            def child(work: runcue.Work) -> int:
                return 2 * work.params["n"]

            @cue.task("parent")
            def parent(work: runcue.Work) -> list[str]:
                submitted.append(work.submit("child", params={"n": 1}))
                submitted.append(work.submit(child, params={"n": 2}))
                return submitted

            handles = await (await cue.submit("parent")).result()
            await cue.drain()
            assert [await handle.result() for handle in handles] == [2, 4]

    run(main)


def test_work_submit_works_in_threads_that_the_handler_itself_spawns() -> None:
    async def main() -> None:
        async with runcue.Cue() as cue:
            cue.task("child")(nothing)

            @cue.task("parent")
            def parent(work: runcue.Work) -> None:
                thread = threading.Thread(target=work.submit, args=("child",))
                thread.start()
                thread.join(30)

            await (await cue.submit("parent")).result()
            assert (await cue.drain()).counts["completed"] == 2

    run(main)


def test_work_submit_under_a_fake_executor_runs_in_the_loop_and_still_works_or_says_why_not() -> None:
    async def main() -> None:
        cue = runcue.Cue(run_in=FakeExecutor())
        cue.on_failure(lambda work, error: None)
        cue.task("child")(lambda work: None)
        cue.task("parent")(lambda work: work.submit("child"))
        async with cue:
            handle = await cue.submit("parent")
            work = await handle.wait()
        if work.state is runcue.WorkState.FAILED:
            assert isinstance(work.exception, runcue.UsageError)
            assert "await cue.submit" in str(work.error)
        else:
            assert len(await cue.list(task="child")) == 1

    run(main)


@pytest.mark.parametrize("call", ["submit_threadsafe", "work.submit"])
def test_the_blocking_submits_in_the_event_loop_are_an_error_that_names_the_right_one(call: str) -> None:
    async def main() -> None:
        async with runcue.Cue() as cue:
            cue.task("child")(nothing)

            @cue.task("parent")
            async def parent(work: runcue.Work) -> None:
                (cue.submit_threadsafe if call == "submit_threadsafe" else work.submit)("child")

            with pytest.raises(runcue.UsageError, match=r"await cue\.submit"):
                await (await cue.submit("parent")).result()

    run(main)


def test_async_with_starts_and_drains_on_a_clean_exit() -> None:
    async def main() -> None:
        cue = runcue.Cue()
        recorder = Recorder(cue)
        sleeping(cue)
        async with cue as entered:
            assert entered is cue
            for _ in range(3):
                await cue.submit("t")
        assert recorder.counts() == {"start": 3, "complete": 3}
        with pytest.raises(runcue.CueStopped):
            await cue.submit("t")

    run(main)


def test_async_with_cancels_everything_on_an_exception_and_passes_it_on() -> None:
    async def main() -> None:
        cue = runcue.Cue()
        recorder = Recorder(cue)
        cue.service("one", concurrent=1)
        sleeping(cue, uses="one")
        with pytest.raises(ZeroDivisionError):  # noqa: PT012 - what is raised comes out of the `with`
            async with cue:
                handles = [await cue.submit("t") for _ in range(3)]
                await asyncio.sleep(1)
                raise ZeroDivisionError
        assert now() == 1
        assert [recorder.of(handle) for handle in handles] == [["start", "cancel"], ["cancel"], ["cancel"]]

    run(main)


def test_async_with_that_is_cancelled_cancels_everything() -> None:
    async def main() -> None:
        cue = runcue.Cue()
        recorder = Recorder(cue)
        sleeping(cue)
        with pytest.raises(TimeoutError):  # noqa: PT012 - what is raised comes out of the `with`
            async with asyncio.timeout(5), cue:
                await cue.submit("t")
                await asyncio.sleep(100)
        assert recorder.counts() == {"start": 1, "cancel": 1}
        assert now() == 5

    run(main)


def test_a_stop_inside_of_async_with_is_enough() -> None:
    async def main() -> None:
        async with runcue.Cue() as cue:
            sleeping(cue)
            await cue.submit("t")
            summary = await cue.stop()
        assert summary.counts["completed"] == 1

    run(main)


def test_a_summary_says_what_became_of_the_work_units() -> None:
    async def main() -> None:
        cue = runcue.Cue()
        cue.on_failure(lambda work, error: None)

        @cue.task("t")
        async def t(work: runcue.Work) -> None:
            await asyncio.sleep(2.5)
            if work.params["n"] == 1:
                raise ValueError

        cue.is_ready(lambda work: work.params["n"] != 3)
        cue.is_stale(lambda work: work.params["n"] != 2)
        cue.start()
        handles = [await cue.submit("t", params={"n": n}) for n in range(4)]
        summary = await cue.drain()
        assert summary.counts == {"completed": 1, "skipped": 1, "failed": 1, "cancelled": 0}
        assert summary.failed == [handles[1].work]
        assert [entry["work"] for entry in summary.blocked] == [handles[3].work]
        assert summary.duration == 2.5
        assert (summary.abandoned, summary.deadlocked) == ([], [])
        assert not summary.ok
        line = "1 completed, 1 skipped, 1 failed, 1 blocked in 2.50 s"
        assert str(summary).splitlines()[0] == line
        assert repr(summary) == f"<Summary {line}>"
        await cue.stop()

    run(main)


def test_a_summary_is_ok_when_everything_was_completed_or_skipped() -> None:
    async def main() -> None:
        async with runcue.Cue() as cue:
            cue.task("t")(nothing)
            cue.is_stale(lambda work: bool(work.params))
            await cue.submit("t")
            await cue.submit("t", params={"n": 1})
            assert (await cue.drain()).ok

    run(main)


def test_a_summary_holds_all_failed_work_units_that_are_still_kept() -> None:
    async def main() -> None:
        async with runcue.Cue(keep=3) as cue:
            cue.on_failure(lambda work, error: None)

            @cue.task("t")
            async def t(work: runcue.Work) -> None:
                raise ValueError

            handles = [await cue.submit("t") for _ in range(5)]
            summary = await cue.drain()
            assert summary.counts["failed"] == 5
            assert [work.id for work in summary.failed] == handles[2:]

    run(main)


async def test_who_asks_a_handle_why_is_sent_to_its_cue() -> None:
    cue = runcue.Cue()
    cue.task("t")(nothing)
    async with cue:
        handle = await cue.submit("t")
        with pytest.raises(AttributeError, match=r"its cue says why: cue\.why\(handle\)"):
            handle.why()  # type: ignore[attr-defined]
        assert cue.why(handle).details
