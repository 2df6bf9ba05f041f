"""Work units that are waited for together: `cue.group()`, what becomes of failures, and of what is left."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

import runcue
from runcue import WorkState
from tests.support.loops import each_loop, run_on
from tests.support.virtual_time import now, virtual


class Trouble(Exception):
    pass


def cue_of(**options: Any) -> runcue.Cue:
    """A cue with a task that sleeps as long as its params say; what is negative raises."""
    cue = runcue.Cue(id_prefix="", **options)

    @cue.task("nap")
    async def napping(work: runcue.Work) -> Any:
        await asyncio.sleep(abs(work.params["n"]))
        if work.params["n"] < 0:
            raise Trouble(f"no {work.params['n']}")
        return work.params["n"]

    return cue


async def naps(group: runcue.Group, *numbers: float) -> list[runcue.WorkHandle]:
    return [await group.submit("nap", {"n": number}) for number in numbers]


def states(handles: list[runcue.WorkHandle]) -> list[str]:
    return [handle.state.value for handle in handles]


each_fail = pytest.mark.parametrize("fail", ["all", "first", "never"])


@pytest.mark.rule(41)
@each_fail
@virtual
async def test_at_the_end_of_a_group_all_of_it_has_settled(fail: Any) -> None:
    async with cue_of() as cue:
        other = await cue.submit("nap", {"n": 60})
        async with cue.group(fail=fail) as group:
            handles = await naps(group, 3, 1, 2)
            assert repr(group) == "<Group open: 3 work units, 3 left>"
        assert now() == 3
        assert states(handles) == ["completed"] * 3
        assert group.summary.counts == {"completed": 3, "skipped": 0, "failed": 0, "cancelled": 0}
        assert (group.summary.failed, group.summary.left, group.summary.ok) == ([], [], True)
        assert group.summary.values == [3, 1, 2]
        assert group.summary.by_task["nap"]["completed"] == 3
        assert group.summary.durations["nap"] == (3, 6.0, 1.0, 2.0, 3.0)
        await asyncio.sleep(10)
        assert group.summary.duration == 3
        assert str(group.summary).startswith("3 completed in 3.00 s")
        other.cancel()
        async with cue.group(fail=fail) as group:
            pass
        assert now() == 13
        assert group.summary.ok


@pytest.mark.rule(41)
@virtual
async def test_failures_are_raised_together_when_all_have_settled() -> None:
    async with cue_of() as cue:
        with pytest.raises(ExceptionGroup, match="2 of 4 work units failed") as caught:
            async with cue.group() as group:
                handles = await naps(group, -2, 3, -1, 5)
        assert now() == 5
        assert [str(error) for error in caught.value.exceptions] == ["no -2", "no -1"]
        for error in caught.value.exceptions:
            assert isinstance(error, Trouble)
            assert traceback.extract_tb(error.__traceback__)[-1].name == "napping"
        assert states(handles) == ["failed", "completed", "failed", "completed"]
        assert group.summary.failed == [handles[0].work, handles[2].work]


@pytest.mark.rule(41)
@virtual
async def test_those_that_have_joined_fail_each() -> None:
    async with cue_of() as cue:
        with pytest.raises(ExceptionGroup) as caught:  # noqa: PT012 - the block is what is tried
            async with cue.group() as group:
                for _ in range(3):
                    await group.submit("nap", {"n": -1}, key="one")
        assert len(caught.value.exceptions) == 3
        assert group.summary.counts["failed"] == 3


@pytest.mark.rule(41)
@virtual
async def test_the_first_failure_cancels_the_rest_and_is_raised() -> None:
    async with cue_of() as cue:
        with pytest.raises(Trouble, match="no -1") as caught:
            async with cue.group(fail="first") as group:
                handles = await naps(group, -2, 3, -1, 0, 5)
        assert now() == 1
        assert traceback.extract_tb(caught.value.__traceback__)[-1].name == "napping"
        assert states(handles) == ["cancelled", "cancelled", "failed", "completed", "cancelled"]
        with pytest.raises(runcue.WorkCancelled, match="by the first failure of its group, that of nap 3"):
            await handles[0]


@pytest.mark.rule(41)
@pytest.mark.parametrize("call", ["submit", "call", "as_completed", "iterating", "awaiting"])
@virtual
async def test_the_first_failure_is_raised_by_the_next_call_of_the_group(call: str) -> None:
    async with cue_of() as cue:
        reached = False
        with pytest.raises(Trouble, match="no -1"):  # noqa: PT012 - the block is what is tried
            async with cue.group(fail="first") as group:
                handles = await naps(group, -1, 5)
                if call == "iterating":
                    async for _ in group.as_completed():
                        raise AssertionError
                if call == "awaiting":
                    await handles[1]
                await asyncio.sleep(2)
                group.cancel()
                reached = True
                if call == "submit":
                    await naps(group, 1)
                elif call == "call":
                    await group.call(print, 1)
                else:
                    group.as_completed()
                raise AssertionError
        assert reached == (call not in ("iterating", "awaiting"))
        assert now() == (2 if reached else 1)
        assert len(await cue.list()) == 2


@pytest.mark.rule(41)
@virtual
async def test_a_group_may_never_raise_and_tells_of_failures_in_its_summary(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with cue_of() as cue:
        async with cue.group(fail="never") as group:
            handles = await naps(group, -1, 5)
            await asyncio.sleep(3)
            [line] = caplog.messages  # nobody has come for it
            assert "nap 1" in line or "Work 1" in line
        assert states(handles) == ["failed", "completed"]
        assert group.summary.failed == [handles[0].work]
        assert not group.summary.ok


@pytest.mark.rule(41, 15)
@pytest.mark.parametrize("fail", ["all", "first"])
@virtual
async def test_what_a_group_raises_counts_as_heard(fail: Any, caplog: pytest.LogCaptureFixture) -> None:
    async with cue_of() as cue:
        with pytest.raises((ExceptionGroup, Trouble)):  # noqa: PT012 - the block is what is tried
            async with cue.group(fail=fail) as group:
                await naps(group, -1, 5)
                await asyncio.sleep(4)
                assert caplog.messages == []
        async with cue.group(fail="never") as group:
            await naps(group, -1, -2)
            async for _ in group.as_completed():
                await asyncio.sleep(4)
        await asyncio.sleep(70)
        assert caplog.messages == []
        with pytest.raises(KeyError):  # noqa: PT012 - the block is what is tried
            async with cue.group(fail=fail) as group:
                await naps(group, -1)
                await asyncio.sleep(4)
                raise KeyError
        assert caplog.messages == []
        await asyncio.sleep(2)
        [line] = caplog.messages
        assert "no -1" in line


@pytest.mark.rule(41)
@each_fail
@virtual
async def test_an_exception_in_the_body_cancels_what_is_left_and_is_raised_as_it_is(fail: Any) -> None:
    async with cue_of() as cue:
        error = KeyError("mine")
        with pytest.raises(KeyError) as caught:  # noqa: PT012 - the block is what is tried
            async with cue.group(fail=fail) as group:
                handles = await naps(group, 1, 9)
                await asyncio.sleep(2)
                raise error
        assert caught.value is error
        assert states(handles) == ["completed", "cancelled"]
        assert now() == 2
        assert group.summary.counts["cancelled"] == 1
        with pytest.raises(runcue.WorkCancelled, match="by the end of its group"):
            await handles[1]


@pytest.mark.rule(41)
@pytest.mark.parametrize("where", ["body", "end"])
@each_fail
@virtual
async def test_who_is_cancelled_in_a_group_takes_what_is_left_along(where: str, fail: Any) -> None:
    async with cue_of() as cue:
        handles = []

        async def works() -> None:
            async with cue.group(fail=fail) as group:
                handles.extend(await naps(group, 1, 9))
                if where == "body":
                    await asyncio.sleep(20)

        task = asyncio.create_task(works())
        await asyncio.sleep(2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert states(handles) == ["completed", "cancelled"]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3), cue.group(fail=fail) as group:
                handles = await naps(group, 1, 9)
        assert states(handles) == ["completed", "cancelled"]


@pytest.mark.rule(41)
@virtual
async def test_cancel_ends_what_is_left_and_what_is_submitted_after_it_runs() -> None:
    async with cue_of() as cue:
        async with cue.group() as group:
            handles = await naps(group, 1, 9)
            await asyncio.sleep(2)
            assert group.cancel() is None
            assert states(handles) == ["completed", "cancelled"]
            handles += await naps(group, 3)
        assert states(handles) == ["completed", "cancelled", "completed"]
        assert now() == 5
        with pytest.raises(runcue.WorkCancelled, match="by test_cancel_ends_what_is_left"):
            await handles[1]


@pytest.mark.rule(41)
@virtual
async def test_as_completed_gives_each_once_also_those_that_are_added_meanwhile() -> None:
    async with cue_of() as cue:
        async with cue.group() as group:
            await naps(group, 3, 1)
            got = []
            async for work in group.as_completed():
                got.append(work.params["n"])
                if work.params["n"] < 10:
                    await naps(group, 10 * work.params["n"])
            assert got == [1, 3, 10, 30]
            assert [work async for work in group.as_completed()] == []
            await naps(group, 2)
            async for work in group.as_completed():
                assert work.params["n"] == 2
                break
        assert [work.params["n"] for work in await cue.list()] == [3, 1, 10, 30, 2]


@pytest.mark.rule(41)
@each_loop
def test_several_tasks_may_submit_to_a_group_and_take_from_it(loop: str) -> None:
    async def main() -> None:
        async with cue_of() as cue:
            got: list[Any] = []
            async with cue.group() as group:

                async def takes() -> None:
                    got.extend([work.result async for work in group.as_completed()])

                async def submits(number: int) -> None:
                    for each in range(20):
                        await naps(group, 0.0001 * (number + each))
                        await asyncio.sleep(0)

                await naps(group, 0.01)
                takers = [asyncio.create_task(takes()) for _ in range(3)]
                await asyncio.gather(*(submits(number) for number in range(5)))
            await asyncio.gather(*takers)
            assert len(got) == 101
            assert group.summary.counts["completed"] == 101

    run_on(loop, main)


@pytest.mark.rule(41)
@virtual
async def test_handlers_of_a_group_may_add_to_it_while_its_end_is_waited_for() -> None:
    async with cue_of() as cue:
        async with cue.group() as group:

            @cue.task("tree")
            async def tree(work: runcue.Work) -> None:
                await asyncio.sleep(1)
                if work.params["deep"]:
                    for _ in range(2):
                        await group.submit("tree", {"deep": work.params["deep"] - 1})

            await group.submit("tree", {"deep": 3})
        assert now() == 4
        assert group.summary.counts["completed"] == 15


@pytest.mark.rule(41)
@virtual
async def test_a_stop_meanwhile_ends_a_group_with_what_was_cancelled_in_its_summary() -> None:
    cue = cue_of()
    cue.start()

    async def works() -> runcue.Summary:
        async with cue.group() as group:
            await naps(group, 1, 9)
        return group.summary

    task = asyncio.create_task(works())
    await asyncio.sleep(2)
    await cue.stop(timeout=1)
    summary = await task
    assert summary.counts["cancelled"] == 1
    assert now() == 3


def outside(group: runcue.Group) -> dict[str, Callable[[], Any]]:
    return {
        "submit()": lambda: group.submit("nap", {"n": 1}),
        "call()": lambda: group.call(print, 1),
        "as_completed()": group.as_completed,
        "cancel()": group.cancel,
    }


@pytest.mark.rule(41)
@pytest.mark.parametrize("call", ["submit()", "call()", "as_completed()", "cancel()"])
@virtual
async def test_a_group_is_used_inside_of_its_async_with(call: str) -> None:
    async def raised() -> BaseException:
        try:
            outcome = outside(group)[call]()
            if asyncio.iscoroutine(outcome):
                await outcome
        except Exception as error:
            return error
        raise AssertionError

    async with cue_of() as cue:
        group = cue.group()
        error = await raised()
        assert isinstance(error, runcue.UsageError)
        assert "before its `async with` has begun" in str(error)
        async with group:
            pass
        error = await raised()
        assert isinstance(error, runcue.UsageError)
        assert "after its `async with` has ended" in str(error)
        assert str(error).startswith(call)
        with pytest.raises(runcue.UsageError, match="entered before"):
            async with group:
                pass
        with pytest.raises(runcue.UsageError, match="async with"), cue.group():
            pass
        with pytest.raises(runcue.UsageError, match="async with"):
            await cue.group()
        with pytest.raises(runcue.ConfigurationError, match="not 'sometimes'"):
            cue.group(fail="sometimes")  # type: ignore[arg-type]
        with pytest.raises(runcue.ConfigurationError, match="fail="):
            cue.group("all")  # type: ignore[call-arg, misc]
        assert await cue.list() == []


@pytest.mark.rule(41)
@virtual
async def test_what_cannot_be_submitted_to_a_group_is_raised_in_that_line() -> None:
    async with cue_of() as cue:
        async with cue.group() as group:
            with pytest.raises(runcue.UnknownTask):
                await group.submit("nape", {"n": 1})
            with pytest.raises(runcue.InvalidParams):
                await group.submit("nap", 17)  # type: ignore[arg-type]
            with pytest.raises(runcue.InvalidParams, match="no option priorty="):
                await group.submit("nap", {"n": 1}, priorty=1)
            await group.submit("nap", {"n": 1}, priority=1, delay="5s")
        assert group.summary.counts["completed"] == 1
        assert now() == 6


@pytest.mark.rule(41, 19)
def test_a_group_belongs_to_the_loop_of_its_cue() -> None:
    async def main() -> None:
        async with cue_of() as cue:

            async def elsewhere() -> None:
                async with cue.group():
                    pass

            with pytest.raises(runcue.WrongLoop):
                await asyncio.to_thread(lambda: asyncio.run(elsewhere()))
            async with cue.group() as group:
                with pytest.raises(runcue.WrongLoop):
                    await asyncio.to_thread(group.cancel)

    asyncio.run(main())


@pytest.mark.rule(41)
@virtual
async def test_groups_may_be_in_each_other_and_in_handlers() -> None:
    async with cue_of() as cue:

        @cue.task("parent")
        async def parent(work: runcue.Work) -> Any:
            async with cue.group(fail="first") as inner:
                await naps(inner, 1, work.params["n"])
            return inner.summary.counts["completed"]

        with pytest.raises(ExceptionGroup) as caught:  # noqa: PT012 - the block is what is tried
            async with cue.group() as group:
                for number in (2, -2, 3):
                    await group.submit("parent", {"n": number})
        assert [str(error) for error in caught.value.exceptions] == ["no -2"]
        assert group.summary.counts == {"completed": 2, "skipped": 0, "failed": 1, "cancelled": 0}


async def drop_out(source: AsyncIterator[Any]) -> None:
    async for _ in source:
        break


@pytest.mark.rule(41)
@virtual
async def test_work_units_that_others_cancel_are_no_failures() -> None:
    async with cue_of() as cue:
        async with cue.group(fail="first") as group:
            handles = await naps(group, 5, 1)
            await drop_out(group.as_completed())
            assert handles[0].cancel()
        assert group.summary.counts["cancelled"] == 1
        assert handles[0].work.state is WorkState.CANCELLED


@pytest.mark.rule(41, 43)
@virtual
async def test_what_is_added_while_values_are_read_at_the_end_of_a_group_is_waited_for_as_well() -> None:
    async with cue_of() as cue:

        async def read(work: runcue.Work) -> str:
            await asyncio.sleep(2)
            return "read"

        cue.task("old", outputs=lambda work: runcue.Flag("old"), load=read)(lambda work: None)
        cue.is_stale(task="old")(lambda work: False)
        handles = []

        async def adds() -> None:
            await asyncio.sleep(1)
            handles.extend(await naps(group, 5))

        async with cue.group() as group:
            await group.submit("old")
            task = asyncio.create_task(adds())
        await task
        assert states(handles) == ["completed"]
        assert group.summary.values == ["read", 5]
        assert now() == 6


@virtual
@pytest.mark.parametrize("how", ["at its end", "as they settle"])
async def test_a_group_that_would_wait_for_a_cue_that_is_not_started_is_refused(how: str) -> None:
    cue = cue_of()

    async def wait() -> None:
        async with cue.group() as group:
            await naps(group, 1)
            if how == "as they settle":
                [work async for work in group.as_completed()]

    with pytest.raises(runcue.UsageError, match=r"not started: call start\(\) .* was cancelled"):
        await wait()
    assert [work.state.value for work in await cue.list()] == ["cancelled"]


@pytest.mark.rule(23, 41)
@virtual
@pytest.mark.parametrize("of", ["group", "map"])
async def test_what_a_stop_lets_finish_finishes_though_the_body_is_left_by_the_error_of_that(of: str) -> None:
    cue = cue_of()
    cue.start()

    async def body() -> None:
        if of == "group":
            async with cue.group() as group:
                await naps(group, 5)
                await asyncio.sleep(1)
                await naps(group, 1)
        else:
            async with cue.map("nap", [{"n": 5}, {"n": -1}], window=2) as works:
                async for _ in works:
                    await cue.submit("nap", {"n": 1})

    task = asyncio.create_task(body())
    await asyncio.sleep(0.5)
    summary = await cue.stop(drain=False)
    with pytest.raises(runcue.CueStopped):
        await task
    assert now() == 5
    assert summary.counts["completed"] == 1
    assert summary.counts["cancelled"] == 0


@virtual
async def test_each_failure_says_which_work_unit_it_is_of() -> None:
    async with cue_of() as cue:
        with pytest.raises(ExceptionGroup) as raised:
            async with cue.group() as group:
                first, second = await naps(group, -1, -2)
        notes = [error.__notes__ for error in raised.value.exceptions]
        assert notes == [
            [f"Of work {one} of task {one.work.task} {one.work.params}."] for one in (first, second)
        ]
        with pytest.raises(ExceptionGroup) as again:
            (await cue.drain()).raise_for_errors()
        assert [error.__notes__ for error in again.value.exceptions] == notes
        with pytest.raises(Trouble) as alone:
            async with cue.group(fail="first") as group:
                [third] = await naps(group, -3)
        assert alone.value.__notes__ == [f"Of work {third} of task {third.work.task} {third.work.params}."]
        assert not hasattr(third.work.exception, "__notes__")


async def full(cue: runcue.Cue, *, lasts: float) -> runcue.WorkHandle:
    """Has one work unit run for so long, which is given, and one wait for its slot."""
    cue.service("slot", concurrent=1)
    nap = cue.task("slow", uses="slot")(slow)
    running = await cue.call(nap, lasts)
    await asyncio.sleep(0.001)
    await cue.call(nap, 0)
    return running


async def slow(seconds: float) -> float:
    await asyncio.sleep(seconds)
    return seconds


@pytest.mark.rule(41, 42)
@each_loop
def test_who_waits_for_room_hears_of_the_first_failure_at_once(loop: str) -> None:
    async def main() -> None:
        async with cue_of(max_pending=2) as cue:
            running = await full(cue, lasts=30)
            with pytest.raises(Trouble, match=r"no -0\.01"):  # noqa: PT012
                async with cue.group(fail="first") as group:
                    await group.submit("nap", {"n": -0.01})
                    await asyncio.sleep(0.001)
                    await cue.submit("slow", {"seconds": 0})
                    await group.submit("slow", {"seconds": 0})
            assert running.cancel()
            assert len(group.summary.failed) == sum(group.summary.counts.values()) == 1
            assert cue.counts(by="task")["slow"]["cancelled"] == 1  # the one that ran

    run_on(loop, main)


@pytest.mark.rule(41, 42)
@each_loop
def test_a_cancelled_group_cancels_what_waits_for_room_as_well(loop: str) -> None:
    async def main() -> None:
        async with cue_of(max_pending=1) as cue:
            running = await full(cue, lasts=30)
            async with cue.group() as group:
                waiting = asyncio.create_task(group.submit("slow", {"seconds": 0}))
                await asyncio.sleep(0.001)
                assert not waiting.done()
                group.cancel()
                handle = await asyncio.wait_for(waiting, 5)
                assert handle.state is WorkState.CANCELLED
                assert running.cancel()
                later = await group.submit("slow", {"seconds": 0})
            assert later.state is WorkState.COMPLETED
            assert (group.summary.cancelled, group.summary.counts["completed"]) == ([handle.work], 1)

    run_on(loop, main)


@pytest.mark.rule(41, 42)
@pytest.mark.parametrize("by", ["end", "as_completed"])
@each_loop
def test_the_end_of_a_group_comes_after_what_waits_for_room(loop: str, by: str) -> None:
    async def main() -> None:
        async with cue_of(max_pending=1) as cue:
            await full(cue, lasts=0.05)
            async with cue.group() as group:
                waiting = asyncio.create_task(group.submit("slow", {"seconds": 0.01}))
                await asyncio.sleep(0.001)
                if by == "as_completed":
                    assert [work.result async for work in group.as_completed()] == [0.01]
            assert group.summary.values == [0.01]
            assert await (await waiting) == 0.01

    run_on(loop, main)


@pytest.mark.rule(41, 42)
@pytest.mark.parametrize("how", ["stopped", "raised"])
@each_loop
def test_who_waits_for_room_to_submit_to_a_group_that_ends_otherwise_is_told_so(loop: str, how: str) -> None:
    async def main() -> None:
        cue = cue_of(max_pending=1)
        cue.start()
        await full(cue, lasts=0.05)
        waiting: list[asyncio.Task[runcue.WorkHandle]] = []

        async def leaves() -> None:
            async with cue.group() as group:
                waiting.append(asyncio.create_task(group.submit("slow", {"seconds": 0})))
                await asyncio.sleep(0.001)
                if how == "raised":
                    raise Trouble

        task = asyncio.create_task(leaves())
        await asyncio.sleep(0.01)
        stop = asyncio.create_task(cue.stop())
        if how == "raised":
            with pytest.raises(Trouble):
                await task
        await asyncio.wait_for(asyncio.wait([*waiting, task]), 5)
        with pytest.raises(runcue.UsageError, match="has ended" if how == "raised" else "being stopped"):
            await waiting[0]
        summary = await stop
        assert summary.counts == {"completed": 2, "skipped": 0, "failed": 0, "cancelled": 0}

    run_on(loop, main)
