"""One work unit for each item: `cue.map()`, what it gives and when, how it ends, and what it refuses."""

from __future__ import annotations

import asyncio
import gc
import sys
import traceback
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import runcue
from runcue import Flag, WorkState
from runcue.testing import FakeExecutor
from tests.support.loops import each_loop, run_on
from tests.support.virtual_time import now, virtual

both_orders = pytest.mark.parametrize("ordered", [False, True])


def cue_of(**options: Any) -> runcue.Cue:
    return runcue.Cue(id_prefix="", **options)


async def napping(work: runcue.Work) -> Any:
    """Sleeps as long as its params say; one that is odd and negative raises."""
    await asyncio.sleep(abs(work.params["n"]))
    if work.params["n"] < 0:
        raise ValueError(f"no {work.params['n']}")
    return work.params["n"]


def params(*numbers: float) -> list[dict[str, float]]:
    return [{"n": number} for number in numbers]


def numbers_of(works: list[runcue.Work]) -> list[Any]:
    return [work.params.get("n") for work in works]


async def take_all(source: AsyncIterator[Any], given: list[Any]) -> None:
    """What comes before an error counts, too."""
    async for one in source:
        given.append(one)  # noqa: PERF401


class Source:
    """Items that note how many were pulled, and whether their generator was closed."""

    def __init__(self, *numbers: float, fails: BaseException | None = None) -> None:
        self.numbers = numbers
        self.pulled = 0
        self.closed = False
        self.fails = fails

    def plain(self) -> Iterator[dict[str, float]]:
        try:
            for number in self.numbers:
                self.pulled += 1
                yield {"n": number}
            if self.fails is not None:
                raise self.fails
        finally:
            self.closed = True

    async def awaited(self, pause: float = 0.0) -> AsyncIterator[dict[str, float]]:
        try:
            for number in self.numbers:
                await asyncio.sleep(pause)
                self.pulled += 1
                yield {"n": number}
            if self.fails is not None:
                raise self.fails
        finally:
            await asyncio.sleep(0)
            self.closed = True

    def given(self, kind: str) -> Any:
        return self.plain() if kind == "plain" else self.awaited()


both_kinds = pytest.mark.parametrize("kind", ["plain", "async"])


@pytest.mark.rule(41)
@virtual
async def test_work_units_are_given_as_they_settle_or_in_the_order_of_their_items() -> None:
    async with cue_of() as cue:
        cue.task("nap")(napping)
        assert numbers_of([work async for work in cue.map("nap", params(3, 1, 2))]) == [1, 2, 3]
        assert now() == 3
        assert numbers_of([work async for work in cue.map("nap", params(3, 1, 2), ordered=True)]) == [3, 1, 2]
        assert now() == 6
        assert [value async for value in cue.map(napping, params(3, 1, 2), values=True)] == [1, 2, 3]
        assert [work async for work in cue.map("nap", [])] == []


@pytest.mark.rule(41)
@both_kinds
@both_orders
@pytest.mark.parametrize("window", [1, 3])
@virtual
async def test_the_window_bounds_what_was_pulled_and_not_yet_given(
    window: int, ordered: bool, kind: str
) -> None:
    source = Source(*[5, 1, 1, 1, 1, 1, 1])
    async with cue_of() as cue:
        cue.task("nap")(napping)
        given = 0
        async for _ in cue.map("nap", source.given(kind), window=window, ordered=ordered):
            assert source.pulled - given <= window
            await asyncio.sleep(0.5)
            # The one in hand was given, though who goes through it has not asked for the next one.
            assert source.pulled - given <= window
            given += 1
        assert given == source.pulled == 7


@pytest.mark.rule(41)
@virtual
async def test_nothing_is_pulled_or_submitted_before_it_is_gone_through() -> None:
    source = Source(1, 1)
    async with cue_of() as cue:
        cue.task("nap")(napping)
        works = cue.map("nap", source.plain())
        await asyncio.sleep(1)
        assert source.pulled == 0
        assert await cue.list() == []
        with pytest.warns(RuntimeWarning, match="never gone through"):
            del works
        async with cue.map("nap", (one := source.plain())):
            pass
        assert await cue.list() == []
        assert next(one, None) is None  # it was closed


@pytest.mark.rule(41)
@both_kinds
@both_orders
@virtual
async def test_what_an_iterable_raises_is_raised_when_all_before_it_was_given(
    ordered: bool, kind: str
) -> None:
    error = OSError("the list has a hole")
    source = Source(2, 1, fails=error)
    async with cue_of() as cue:
        cue.task("nap")(napping)
        given: list[runcue.Work] = []
        works = cue.map("nap", source.given(kind), ordered=ordered)
        with pytest.raises(OSError, match="hole") as caught:
            await take_all(works, given)
        assert caught.value is error
        assert numbers_of(given) == ([2, 1] if ordered else [1, 2])
        assert all(work.state is WorkState.COMPLETED for work in given)
        assert [work async for work in works] == []


@pytest.mark.rule(41)
@both_orders
@virtual
async def test_what_cannot_be_submitted_is_given_as_a_work_unit_that_has_failed(ordered: bool) -> None:
    async with cue_of() as cue:
        cue.task("nap", outputs=lambda work: Flag(f"nap {work.params['n']}"), duplicate="error")(napping)
        items: list[Any] = [{"n": 2}, 17, {"n": 2}, {"n": 1}]
        works = [work async for work in cue.map("nap", items, ordered=ordered)]
        failed = [work for work in works if isinstance(work.exception, runcue.ConfigurationError)]
        assert len(works) == 4
        assert [type(work.exception).__name__ for work in failed] == ["InvalidParams", "DuplicateWork"]
        assert "17" in str(failed[0].error)
        assert [work.params for work in failed] == [{}, {"n": 2}]
        assert all(work.state is WorkState.FAILED and work.attempts == () for work in failed)
        assert len({work.id for work in works}) == 4
        assert [await cue.get(work.id) for work in failed] == [None, None]
        summary = await cue.drain()
        assert summary.counts["failed"] == 2  # the others, which leave no output
        assert summary.refused == 2
        assert "2 failed, 2 items of maps could not be submitted in" in repr(summary)


def takes_two(n: int, m: int) -> int:
    return n + m


@pytest.mark.rule(41)
@both_kinds
@pytest.mark.parametrize("values", [False, True])
@pytest.mark.parametrize(
    ("handler", "text"),
    [
        (napping, r"map\(\) of task 'f' .* first item is 0: write {'page': value} for each value, or name"),
        (
            takes_two,
            r"first item is 0: give it takes_two \(.*\) itself, map\(function, .*{'n': value} for each",
        ),
    ],
)
@virtual
async def test_values_where_params_are_meant_are_refused_at_the_first_of_them(
    handler: Any, text: str, values: bool, kind: str
) -> None:
    async with cue_of() as cue:
        cue.task("f")(handler)
        source = Source(0, 1, 2)
        items = (one["n"] for one in source.plain())

        async def one_by_one() -> AsyncIterator[Any]:
            for one in items:
                yield one

        with pytest.raises(runcue.InvalidParams, match=text) as raised:
            [work async for work in cue.map("f", items if kind == "plain" else one_by_one(), values=values)]
        assert len(str(raised.value)) <= 500
        assert source.pulled == 1
        summary = await cue.drain()
        assert summary.ok
        assert str(summary).startswith("nothing ran in")


@pytest.mark.rule(41)
@both_orders
@virtual
async def test_a_failure_is_raised_in_place_of_its_value_and_ends_the_map(ordered: bool) -> None:
    source = Source(2, -1, 5, 5)
    async with cue_of() as cue:
        cue.task("nap")(napping)
        values = cue.map("nap", source.plain(), ordered=ordered, values=True, window=3)
        got: list[Any] = []
        with pytest.raises(ValueError, match="no -1") as caught:
            await take_all(values, got)
        assert got == ([2] if ordered else [])
        assert now() == (2 if ordered else 1)
        frames = [entry.name for entry in traceback.extract_tb(caught.value.__traceback__)]
        assert frames[-1] == "napping"
        assert {work.state.value for work in await cue.list() if work.params["n"] == 5} == {"cancelled"}
        assert source.closed
        assert [value async for value in values] == []


@pytest.mark.rule(41)
@both_orders
@virtual
async def test_a_cancelled_work_unit_is_given_and_raised_in_place_of_its_value(ordered: bool) -> None:
    async with cue_of() as cue:
        cue.task("nap")(napping)

        async def cancels() -> None:
            await asyncio.sleep(1)
            for work in await cue.list(state=WorkState.RUNNING):
                await cue.cancel(work)

        task = asyncio.create_task(cancels())
        works = [work async for work in cue.map("nap", params(2, 3), ordered=ordered)]
        assert [work.state for work in works] == [WorkState.CANCELLED] * 2
        await task
        task = asyncio.create_task(cancels())
        with pytest.raises(runcue.WorkCancelled, match="cancels"):
            [value async for value in cue.map("nap", params(2, 3), ordered=ordered, values=True)]
        await task


@pytest.mark.rule(41)
@both_kinds
@both_orders
@virtual
async def test_closing_cancels_what_is_left_and_closes_the_generators(ordered: bool, kind: str) -> None:
    source = Source(1, 5, 5, 5)
    async with cue_of() as cue:
        cue.service("one", concurrent=2)
        cue.task("nap", uses="one")(napping)
        async with cue.map("nap", source.given(kind), ordered=ordered, window=3) as works:
            async for work in works:
                assert work.params["n"] == 1
                break
        assert now() == 1
        assert source.closed
        left = [work for work in await cue.list() if work.params["n"] == 5]
        assert len(left) >= 2
        assert all(work.state is WorkState.CANCELLED for work in left)
        await works.aclose()
        with pytest.raises(runcue.UsageError, match="is closed"):
            await anext(works)
        handle = await cue.submit("nap", {"n": 0})
        await handle
        with pytest.raises(runcue.WorkCancelled, match="by the end of its map"):
            await _handle_of(left[0])


def _handle_of(work: runcue.Work) -> runcue.WorkHandle:
    handle = str.__new__(runcue.WorkHandle, work.id)
    handle.work = work
    return handle


@pytest.mark.rule(41)
@both_kinds
@each_loop
def test_one_that_nobody_has_any_more_is_closed_late(loop: str, kind: str) -> None:
    async def main() -> None:
        source = Source(0, 5, 5)
        async with cue_of() as cue:
            cue.task("nap")(napping)
            async for _ in cue.map("nap", source.given(kind), window=3):
                break
            gc.collect()
            for _ in range(5):
                await asyncio.sleep(0)
            assert [work.state.value for work in await cue.list()][1:] == ["cancelled"] * (source.pulled - 1)
            assert source.closed

    run_on(loop, main)


@pytest.mark.rule(41)
@both_kinds
@virtual
async def test_a_time_out_of_one_step_loses_nothing(kind: str) -> None:
    source = Source(3, 1, 2)
    async with cue_of() as cue:
        cue.task("nap")(napping)
        works = cue.map("nap", source.given(kind))
        got = []
        while True:
            try:
                async with asyncio.timeout(0.3):
                    got.append(await anext(works))
            except TimeoutError:
                continue
            except StopAsyncIteration:
                break
        assert numbers_of(got) == [1, 2, 3]
        assert now() == 3


@pytest.mark.rule(41)
@virtual
async def test_it_may_be_gone_through_further_after_a_break_while_somebody_has_it() -> None:
    async with cue_of() as cue:
        cue.task("nap")(napping)
        works = cue.map("nap", params(1, 2, 3))
        async for work in works:
            assert work.params["n"] == 1
            break
        assert aiter(works) is works
        assert numbers_of([work async for work in works]) == [2, 3]
        assert [work async for work in works] == []


@pytest.mark.rule(41)
@both_kinds
@virtual
async def test_a_stop_from_outside_lets_what_was_submitted_settle_and_is_raised_then(kind: str) -> None:
    source = Source(*[1] * 10)
    cue = cue_of()
    cue.task("nap")(napping)
    cue.start()
    got: list[runcue.Work] = []
    task = asyncio.create_task(take_all(cue.map("nap", source.given(kind), window=2), got))
    await asyncio.sleep(1.5)
    summary = await cue.stop()
    with pytest.raises(runcue.CueStopped):
        await task
    assert [work.state for work in got] == [WorkState.COMPLETED] * 4
    assert summary.counts["completed"] == 4
    with pytest.raises(runcue.CueStopped):
        await anext(cue.map("nap", params(1)))


@pytest.mark.rule(41, 19)
@pytest.mark.parametrize("waits", ["map", "group", "as_completed"])
@each_loop
def test_a_failing_scheduler_raises_where_many_are_waited_for(
    loop: str, waits: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        cue = cue_of()
        cue.task("nap")(napping)
        cue.start()

        async def goes_through() -> None:
            if waits == "map":
                [work async for work in cue.map("nap", params(5, 5))]
            async with cue.group() as group:
                await group.submit("nap", {"n": 5})
                if waits == "as_completed":
                    [work async for work in group.as_completed()]

        task = asyncio.create_task(goes_through())
        await asyncio.sleep(0.01)
        cue._dispatcher.turns.fail(RuntimeError("on purpose"))
        with pytest.raises(runcue.CueFailed):
            await asyncio.wait_for(task, 5)
        with pytest.raises(runcue.CueFailed):
            await anext(cue.map("nap", params(1)))
        with pytest.raises(runcue.CueFailed):
            await cue.stop(drain=False, timeout=0)

    run_on(loop, main)
    assert "has failed" in caplog.messages[0]


@pytest.mark.rule(41)
@virtual
async def test_one_map_may_go_through_another_one() -> None:
    async with cue_of() as cue:
        cue.task("nap")(napping)

        @cue.task("double")
        async def double(work: runcue.Work) -> int:
            return 2 * int(work.params["work"].result)

        first = cue.map("nap", params(3, 1, 2))
        pairs = ({"work": work} async for work in first)
        assert [value async for value in cue.map("double", pairs, values=True)] == [2, 4, 6]
        assert now() == 3


@pytest.mark.rule(41)
@virtual
async def test_joined_skipped_and_tried_again_work_units_are_given_once_each() -> None:
    async with cue_of() as cue:
        tries = []

        @cue.task("t", key=lambda work: work.params["k"], retry=3)
        async def handler(work: runcue.Work) -> str:
            tries.append(work.params["k"])
            await asyncio.sleep(1)
            if work.params["k"] == "again" and tries.count("again") < 3:
                raise ValueError
            return str(work.params["k"])

        cue.is_stale(lambda work: work.params["k"] != "old")
        keys = ["same", "old", "same", "again"]
        works = [work async for work in cue.map("t", [{"k": key} for key in keys])]
        assert sorted(work.params["k"] for work in works) == sorted(keys)
        assert [work.skipped for work in works if work.params["k"] == "old"] == [True]
        assert works[-1].attempt == 3
        assert tries.count("same") == 1
        values = [
            value async for value in cue.map("t", [{"k": key} for key in keys[:3]], values=True, ordered=True)
        ]
        assert values == ["same", None, "same"]


@pytest.mark.rule(41, 15)
@both_orders
@virtual
async def test_what_a_map_gives_counts_as_heard_and_what_it_never_gave_is_told(
    ordered: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async with cue_of() as cue:
        cue.task("nap")(napping)
        async for work in cue.map("nap", params(-1, -2), ordered=ordered):
            assert work.error is not None
            await asyncio.sleep(10)  # the other one has failed, and waits to be given
        assert caplog.messages == []
        async with cue.map("nap", params(-1, -2, 5, -3, 17), ordered=ordered) as works:
            async for _ in works:
                await asyncio.sleep(4)
                break
        assert caplog.messages == []
        await asyncio.sleep(5)
        [line] = caplog.messages
        assert "and 1 more like it" in line
        caplog.clear()
        async with cue.map("nap", [{"n": 0}, 1, 2], ordered=ordered) as works:
            async for _ in works:
                await asyncio.sleep(1)
                break
        await asyncio.sleep(70)
        [line] = caplog.messages
        assert "params must be a mapping" in line


@pytest.mark.rule(41, 36)
@pytest.mark.parametrize("kind", ["plain", "async", "group", "as_completed"])
@both_orders
@virtual
async def test_handlers_that_go_through_work_units_which_need_their_slot_are_a_deadlock(
    ordered: bool, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    cue = cue_of()
    cue.service("one", concurrent=1)
    cue.task("child", uses="one")(napping)

    @cue.task("parent", uses="one")
    async def parent(work: runcue.Work) -> None:
        if kind in ("group", "as_completed"):
            async with cue.group() as group:
                await group.submit("child", {"n": 1})
                await group.submit("child", {"n": 2})
                if kind == "as_completed":
                    [child async for child in group.as_completed()]
        else:
            source = Source(1, 2)
            [child async for child in cue.map("child", source.given(kind), ordered=ordered, window=3)]

    cue.start()
    handle = await cue.submit("parent")
    await asyncio.sleep(2)
    [line] = caplog.messages
    assert line.startswith("Deadlock")
    assert "parent 1" in line
    assert "child 2" in line
    summary = await cue.drain()
    assert summary.deadlocked == [handle.work]
    caplog.clear()
    await cue.stop(drain=False, timeout=0)


@pytest.mark.rule(41, 36)
@pytest.mark.parametrize("kind", ["plain", "async", "group", "listener"])
@virtual
async def test_handlers_and_listeners_may_go_through_children_and_drains_wait_for_them(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    cue = cue_of()
    cue.service("few", concurrent=2)
    cue.task("child", uses="few")(napping)
    got: list[runcue.Work] = []

    async def children() -> None:
        if kind == "group":
            async with cue.group() as group:
                for number in range(6):
                    await group.submit("child", {"n": number})
                await take_all(group.as_completed(), got)
        else:
            source = Source(*range(6))
            items: Any = source.awaited(1) if kind == "async" else source.plain()
            await take_all(cue.map("child", items, window=2), got)

    @cue.task("parent")
    async def parent(work: runcue.Work) -> None:
        if kind != "listener":
            await children()

    @cue.on_complete(task="parent")
    async def listens(*heard: object) -> None:
        if kind == "listener":
            await children()

    async with cue:
        await cue.submit("parent")
    assert numbers_of(got) == list(range(6))
    assert caplog.messages == []


@pytest.mark.rule(41)
@pytest.mark.parametrize("kind", ["plain", "async"])
@virtual
async def test_other_work_of_the_loop_has_its_turns_while_many_are_submitted(kind: str) -> None:
    async with cue_of() as cue:
        cue.task("nothing")(lambda work: None)
        turns = 0

        async def counts() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.create_task(counts())
        source = Source(*range(50))
        slow = source.plain()

        def passing() -> Iterator[Any]:
            for one in slow:
                asyncio.get_running_loop().reach(now() + 0.002)  # type: ignore[attr-defined]
                yield one

        async def passing_async() -> AsyncIterator[Any]:
            for one in passing():
                yield one

        cue.is_stale(lambda work: False)
        async for _ in cue.map("nothing", passing() if kind == "plain" else passing_async(), window=1000):
            assert source.pulled <= 3 * turns + 3
        task.cancel()
        assert turns > 15


class Expecting(runcue.Observer):
    def __init__(self) -> None:
        self.heard: list[tuple[str, int]] = []

    def expected(self, task: str, number: int) -> None:
        self.heard.append((task, number))


@pytest.mark.rule(41)
@virtual
async def test_observers_hear_how_many_are_to_be_expected() -> None:
    async with cue_of() as cue:
        observer = Expecting()
        cue.observe(observer)
        cue.task("nap")(napping)
        unused = cue.map("nap", params(1, 2))
        assert observer.heard == []
        await unused.aclose()
        assert len([work async for work in cue.map("nap", params(1, 2))]) == 2
        assert observer.heard == [("nap", 2)]
        [work async for work in cue.map("nap", iter(params(1, 2)))]
        assert observer.heard.pop() == ("nap", 2)
        [work async for work in cue.map("nap", (one for one in params(1, 2)))]
        assert observer.heard == [("nap", 2)]
        async with cue.map("nap", params(*[1] * 10), window=3) as works:
            async for _ in works:
                break
        assert observer.heard[1:] == [("nap", 10), ("nap", -7)]
        [work async for work in cue.map("nap", [{"n": 1}, 1])]
        assert observer.heard[3:] == [("nap", 2), ("nap", -1)]


def _refused() -> Iterator[Any]:
    async def pages() -> AsyncIterator[int]:
        yield 1

    async def listing() -> list[int]:
        return [1]

    yield (
        "window",
        lambda cue: cue.map("nap", [], window=0),
        r"window of map\(\) must be a whole number of at least 1",
    )
    yield "window", lambda cue: cue.map("nap", [], window=True), "True"
    yield "window", lambda cue: cue.map("nap", [], window=1.5), "1.5"
    yield "window", lambda cue: cue.map("nap", [], window=-1), "-1"
    yield "window", lambda cue: cue.map("nap", [], window=None), "None"
    yield "ordered", lambda cue: cue.map("nap", [], ordered="yes"), "ordered of map"
    yield "values", lambda cue: cue.map("nap", [], values=None), "values of map"
    yield "option", lambda cue: cue.map("nap", [], windw=3), "window"
    yield "text", lambda cue: cue.map("nap", "abc"), r"'abc' is a single text"
    yield "bytes", lambda cue: cue.map("nap", b"abc"), "single text"
    yield "handle", lambda cue: cue.map("nap", {"n": 1}), "single mapping"
    yield "number", lambda cue: cue.map("nap", 3), r"range\(3\)"
    yield "none", lambda cue: cue.map("nap", None), "None is not iterable"
    yield "nothing", lambda cue: cue.map("nap"), "was given none"
    yield (
        "several",
        lambda cue: cue.map("nap", [], []),
        "single iterable for task 'nap', which is given by its name: one of ",
    )
    yield (
        "several",
        lambda cue: cue.map(napping, [], []),
        "single iterable for .*napping.*, which takes its work unit",
    )
    yield "odd", lambda cue: cue.map("nap", type("Odd", (), {"__iter__": lambda self: 3})()), "non-iterator"
    yield "function", lambda cue: cue.map("nap", pages), "call it"
    yield "coroutine", lambda cue: cue.map("nap", listing()), "await it"
    yield "no function", lambda cue: cue.map(), "takes a function"
    yield "reversed", lambda cue: cue.map([{"n": 1}], "nap"), "takes a function"
    yield "unknown", lambda cue: cue.map("napp", []), "nap"
    yield "for", lambda cue: list(cue.map("nap", [])), "async for"
    yield "with", lambda cue: cue.map("nap", []).__enter__(), "async with"


@pytest.mark.rule(41)
@pytest.mark.parametrize(("what", "call", "match"), list(_refused()))
@virtual
async def test_what_a_map_cannot_do_is_refused_in_that_line(
    what: str, call: Callable[[Any], object], match: str
) -> None:
    async with cue_of() as cue:
        cue.task("nap")(napping)
        with pytest.raises(runcue.RuncueError, match=match) as caught:
            call(cue)
        assert len(str(caught.value)) <= 500
        assert await cue.list() == []


@pytest.mark.rule(41)
@virtual
async def test_a_function_is_registered_after_all_that_can_be_refused() -> None:
    async def fetch(url: str) -> str:
        return url

    async with cue_of() as cue:
        for call in (
            lambda: cue.map(fetch, 3),
            lambda: cue.map(fetch, "abc"),
            lambda: cue.map(fetch),
            lambda: cue.map(fetch, [1], [2]),
            lambda: cue.map(fetch, [1], window=0),
        ):
            with pytest.raises(runcue.RuncueError):
                call()
        for args, kwargs in (((), {}), ((1, 2), {}), ((1,), {"page": 2})):
            with pytest.raises(runcue.InvalidParams):
                await cue.call(fetch, *args, **kwargs)  # type: ignore[call-overload]
        assert cue.tasks() == []
        await cue.map(fetch, ["a"]).aclose()
        assert [task.name for task in cue.tasks()] == ["fetch"]


@pytest.mark.rule(41)
def test_a_map_that_is_never_gone_through_is_told_with_the_line_that_made_it() -> None:
    cue = cue_of()
    cue.task("nap")(napping)
    line = sys._getframe().f_lineno + 3
    text = rf"'nap'>, made in .*\(.*test_many.py:{line}\), .* `async for"
    with pytest.warns(RuntimeWarning, match=text) as told:
        cue.map("nap", params(1))
    assert [(one.filename, one.lineno) for one in told] == [(__file__, line)]
    with warnings.catch_warnings(), runcue.blocking(cue) as b:
        warnings.simplefilter("error")
        list(b.map("nap", params(0)))
        for args in (("nap", 3), ("napp", []), ("nap",)):
            with pytest.raises(runcue.RuncueError):
                cue.map(*args)
        with pytest.warns(RuntimeWarning, match="for work in b.map"):
            b.map("nap", params(1))


@pytest.mark.rule(41)
@virtual
async def test_a_map_is_not_awaited() -> None:
    async with cue_of() as cue:
        cue.task("nap")(napping)
        with pytest.raises(runcue.UsageError, match="async for"):
            await cue.map("nap", [])  # type: ignore[misc]


@pytest.mark.rule(12, 41)
@virtual
async def test_a_map_or_a_group_that_a_handler_returns_is_a_value() -> None:
    async with cue_of() as cue:
        cue.task("nap")(napping)

        @cue.task("one")
        async def one(work: runcue.Work) -> Any:
            return cue.map("nap", params(0, 0)) if work.params["of"] == "map" else cue.group()

        async with await (await cue.submit("one", {"of": "map"})) as works:
            assert len([work async for work in works]) == 2
        async with await (await cue.submit("one", {"of": "group"})) as group:
            await group.submit("nap", {"n": 0})
        assert group.summary.counts["completed"] == 1


@pytest.mark.rule(41)
@virtual
async def test_a_second_task_that_goes_through_the_same_map_is_told_so() -> None:
    async with cue_of() as cue:
        cue.task("nap")(napping)
        works = cue.map("nap", params(1, 2))

        async def goes_through() -> list[Any]:
            return [work.params["n"] async for work in works]

        first = asyncio.create_task(goes_through())
        await asyncio.sleep(0.5)
        with pytest.raises(runcue.UsageError, match="another asyncio task"):
            await goes_through()
        assert await first == [1, 2]


@pytest.mark.rule(41)
@virtual
async def test_who_waits_for_the_next_one_of_a_map_that_is_closed_is_told_so() -> None:
    async with cue_of() as cue:
        cue.task("nap")(napping)
        works = cue.map("nap", params(5))
        waits = asyncio.create_task(anext(works))
        await asyncio.sleep(1)
        await works.aclose()
        with pytest.raises(runcue.UsageError, match="is closed"):
            await waits
        assert now() == 1


@pytest.mark.rule(41, 19)
def test_a_map_belongs_to_the_loop_in_which_it_was_begun() -> None:
    cue = cue_of()
    cue.task("nap")(napping)
    works = cue.map("nap", params(0, 0))

    async def begins() -> None:
        async with cue:
            await anext(works)

    asyncio.run(begins())

    async def elsewhere() -> None:
        with pytest.raises(runcue.WrongLoop, match="another event loop"):
            await anext(works)
        with pytest.raises(runcue.WrongLoop, match="close it there"):
            await works.aclose()
        async with cue:
            with pytest.raises(runcue.WrongLoop, match="another event loop"):
                await anext(works)
            assert len([work async for work in cue.map("nap", params(0))]) == 1

    asyncio.run(elsewhere())

    async def meanwhile() -> None:
        async with cue:
            error = await asyncio.to_thread(lambda: asyncio.run(_raised_by(anext(cue.map("nap", params(1))))))
            assert isinstance(error, runcue.WrongLoop)

    asyncio.run(meanwhile())


async def _raised_by(awaitable: Any) -> BaseException | None:
    try:
        await awaitable
    except Exception as error:
        return error
    return None


@pytest.mark.rule(41)
@virtual
@pytest.mark.parametrize("kind", ["plain", "async"])
async def test_a_map_of_a_cue_that_is_not_started_is_refused_before_anything_is_pulled(kind: str) -> None:
    cue = cue_of()
    cue.task("nap")(napping)
    given = iter(params(1, 1))

    async def one_by_one() -> AsyncIterator[Any]:
        for one in given:
            yield one

    works = cue.map("nap", given if kind == "plain" else one_by_one())
    with pytest.raises(runcue.UsageError, match=r"not started: call start\(\) .* Nothing was submitted"):
        await anext(works)
    assert await cue.list() == []
    async with cue:
        assert len([work async for work in works]) == 2


@pytest.mark.rule(41)
@virtual
async def test_plain_handlers_in_threads_are_gone_through_as_well() -> None:
    async with cue_of(run_in=FakeExecutor(lambda work: work.params["n"])) as cue:
        cue.task("t")(lambda work: work.params["n"])
        assert [value async for value in cue.map("t", params(3, 1, 2), values=True)] == [1, 2, 3]


@pytest.mark.rule(41)
@each_loop
def test_many_threads_and_a_slow_taker_lose_nothing(loop: str) -> None:
    async def main() -> None:
        async with cue_of() as cue:
            cue.service("few", concurrent=4)
            cue.task("t", uses="few")(lambda work: work.params["n"])
            got = []
            async for value in cue.map("t", ({"n": n} for n in range(300)), window=16, values=True):
                got.append(value)
                if value % 50 == 0:
                    await asyncio.sleep(0.001)
            assert sorted(got) == list(range(300))

    run_on(loop, main)


async def fetch(url: str, page: int = 1, *, tags: list[str] = []) -> str:  # noqa: B006 - a new one for each
    tags.append(url)
    return f"{url}/{page} {len(tags)}"


@pytest.mark.rule(41, 43)
@virtual
async def test_each_parameter_of_a_function_has_an_iterable_and_the_shortest_ends_it() -> None:
    async def pages() -> AsyncIterator[int]:
        for number in range(7, 10):
            await asyncio.sleep(1)
            yield number

    async with cue_of() as cue:
        got = [value async for value in cue.map(fetch, ["a", "b"], ordered=True, values=True)]
        assert got == ["a/1 1", "b/1 1"]
        assert [work.params async for work in cue.map(fetch, ["ab"], [4, 5, 6])] == [
            {"url": "ab", "page": 4, "tags": ["ab"]}
        ]
        for urls in (["a", "b"], iter(["a", "b", "c", "d"]), (one for one in "abc")):
            values = cue.map(fetch, urls, pages(), ordered=True, values=True)
            assert [value async for value in values] == ["a/7 1", "b/8 1", "c/9 1"][
                : 2 if type(urls) is list else 3
            ]
        by_name = cue.map("fetch", [{"url": "a", "page": 3}, {"page": 3}])
        assert sorted([str(work.result) async for work in by_name]) == ["None", "a/3 1"]


@pytest.mark.rule(41, 43)
@virtual
async def test_iterables_that_a_function_has_no_parameters_for_are_refused() -> None:
    async def none() -> None: ...

    async def unknown(what): ...  # type: ignore[no-untyped-def]

    async with cue_of() as cue:
        for function, iterables, match in (
            (fetch, [[], [], []], "takes 2 values by place, not 3"),
            (none, [[]], "takes 0 values"),
            (none, [], "an iterable for each of its parameters"),
            (unknown, [[]], "annotate what"),
            (fetch, [], "was given none"),
            (fetch, [[], 2], r"values of 'page', and 2 is not iterable; range\(2\), perhaps"),
            (fetch, ["ab"], "of values of 'url'"),
        ):
            with pytest.raises(runcue.ConfigurationError, match=match):
                cue.map(function, *iterables)
        with pytest.raises(runcue.ConfigurationError, match="has no option url="):
            cue.map(fetch, url=["a"])  # type: ignore[call-overload]
        assert await cue.list() == []


@pytest.mark.rule(41)
@virtual
async def test_a_function_that_is_defined_anew_meanwhile_is_called_from_then_on() -> None:
    source: dict[str, Any] = {"__name__": "notebook"}
    async with cue_of() as cue:
        for value in (1, 2):
            exec(f"async def again(number: int) -> int:\n    return {value}", source)  # noqa: S102
            cue.task(source["again"])
            if value == 1:
                works = cue.map(source["again"], range(4), window=1, values=True)
                assert [await anext(works), await anext(works)] == [1, 1]
        assert [value async for value in works] == [2, 2]


@pytest.mark.rule(41, 43)
@pytest.mark.parametrize("ordered", [False, True])
@each_loop
def test_values_of_what_is_skipped_are_read_before_they_are_given(
    loop: str, ordered: bool, tmp_path: Path
) -> None:
    def read(work: runcue.Work) -> str:
        if work.params["name"] == "bad":
            raise LookupError("cannot be read")
        return (tmp_path / work.params["name"]).read_text()

    async def main() -> None:
        async with cue_of() as cue:

            @cue.task(outputs=lambda name: tmp_path / name, load=read)
            def write(name: str) -> str:
                (tmp_path / name).write_text(name.upper())
                return "written"

            assert [value async for value in cue.map(write, ["a", "bad"], values=True)] == ["written"] * 2
            values = cue.map(write, ["a", "new", "bad", "b"], window=3, ordered=ordered, values=True)
            got: list[str] = []
            with pytest.raises(LookupError, match="cannot be read"):
                await take_all(values, got)
            assert set(got) <= {"A", "written"}
            assert got[:2] == ["A", "written"] or not ordered
            works = [work async for work in cue.map(write, ["a", "bad"])]
            assert all(work.skipped for work in works)

    run_on(loop, main)


@pytest.mark.rule(41)
@virtual
async def test_values_that_could_be_none_because_of_outputs_are_refused() -> None:
    async with cue_of() as cue:
        cue.task("nap", outputs=lambda work: Flag("x"))(napping)
        with pytest.raises(runcue.ConfigurationError, match="has outputs= and no load="):
            cue.map("nap", [], values=True)
        await cue.map("nap", []).aclose()


@pytest.mark.rule(41)
@virtual
async def test_a_step_that_is_given_up_while_a_value_is_read_loses_nothing() -> None:
    async with cue_of() as cue:

        async def read(work: runcue.Work) -> str:
            await asyncio.sleep(2)
            return "read"

        cue.task("t", outputs=lambda work: Flag(f"{work.params['n']}"), load=read)(lambda work: None)
        cue.is_stale(lambda work: False)
        values = cue.map("t", params(1, 2), values=True)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(values), 1)
        assert [value async for value in values] == ["read", "read"]


@pytest.mark.rule(41, 23)
@both_orders
@virtual
async def test_what_a_stop_finishes_is_given_before_the_error_of_what_it_has_cancelled(ordered: bool) -> None:
    cue = cue_of()
    cue.service("two", concurrent=2)
    cue.task("nap", uses="two")(napping)
    cue.start()
    got: list[Any] = []
    values = cue.map("nap", params(*[2] * 100), window=9, ordered=ordered, values=True)
    task = asyncio.create_task(take_all(values, got))
    await asyncio.sleep(1)
    summary = await cue.stop(drain=False)
    with pytest.raises(runcue.WorkCancelled, match=r"by stop\(\)"):
        await task
    assert got == [2, 2]
    assert summary.counts["completed"] == 2
    assert [value async for value in values] == []


@pytest.mark.rule(41)
@both_kinds
@pytest.mark.skipif(sys.version_info < (3, 12), reason="there are no eager tasks")
def test_eager_tasks_make_no_difference(kind: str) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined]
        source = Source(0, 0, 0)

        async def at_once() -> AsyncIterator[Any]:
            for one in source.plain():
                yield one

        async with cue_of() as cue:
            cue.task("nap")(napping)
            items: Any = source.plain() if kind == "plain" else at_once()
            assert len([work async for work in cue.map("nap", items)]) == 3
            async with cue.group() as group:
                await group.submit("nap", {"n": 0})

    asyncio.run(main())


@pytest.mark.rule(41)
@both_kinds
@virtual
async def test_while_the_next_one_is_waited_for_as_many_run_as_the_window_allows(kind: str) -> None:
    async with cue_of() as cue:
        cue.task("nap")(napping)
        running: list[int] = []

        async def counts() -> None:
            await asyncio.sleep(0.5)
            while True:
                running.append(cue.counts()["running"])
                await asyncio.sleep(1)

        task = asyncio.create_task(counts())
        source = Source(*[1 + number % 3 for number in range(200)])
        async for _ in cue.map("nap", source.given(kind), window=50):
            pass
        task.cancel()
        assert running[:4] == [50] * 4


@pytest.mark.rule(41, 42)
@virtual
async def test_who_gives_up_a_step_of_a_map_keeps_no_room_for_it() -> None:
    async with cue_of(max_pending=1) as cue:
        cue.service("one", concurrent=1)
        cue.task("nap", uses="one")(napping)
        works = cue.map("nap", params(1, 1, 1, 1, 1))
        for pause in (0.2, 0.3, 0.5, 0.0):
            step = asyncio.create_task(anext(works))
            await asyncio.sleep(pause)
            step.cancel()
            await asyncio.wait([step])
        async with asyncio.timeout(3):
            await cue.submit("nap", {"n": 0})
        assert len([work async for work in works]) >= 4


@pytest.mark.rule(41)
@pytest.mark.parametrize("end", ["raises", "returns", "is cancelled", "times out"])
@virtual
async def test_a_handler_that_ends_in_any_way_leaves_nothing_of_its_maps(end: str) -> None:
    gc.disable()  # it is not the collector that has to come
    try:
        async with cue_of() as cue:
            cue.on_failure(lambda work, error: None)
            cue.task("nap")(napping)

            @cue.task("parent", timeout=3 if end == "times out" else None)
            async def parent(work: runcue.Work) -> None:
                async for _ in cue.map("nap", params(1, 20, 30)):
                    if end == "raises":
                        raise ValueError
                    if end == "returns":
                        return

            handle = await cue.submit("parent")
            await asyncio.sleep(5)
            handle.cancel()
            await asyncio.sleep(0.1)
            assert [work.state.value for work in await cue.list(task="nap")] == [
                "completed",
                "cancelled",
                "cancelled",
            ]
    finally:
        gc.enable()


@pytest.mark.rule(41, 43)
@both_kinds
@virtual
async def test_what_is_longer_than_another_iterable_can_be_gone_through_further(kind: str) -> None:
    async def numbers() -> AsyncIterator[int]:
        for number in range(8):
            yield number

    async with cue_of() as cue:
        longer: Any = numbers() if kind == "async" else (number for number in range(8))
        got = []
        for _ in range(3):
            async with cue.map(fetch, ["a", "b"], longer, ordered=True) as works:
                got.append([work.params["page"] async for work in works])
        assert got == [[0, 1], [2, 3], [4, 5]]


@pytest.mark.rule(41)
@virtual
async def test_a_map_that_is_closed_while_it_submits_gives_nothing_more() -> None:
    async with cue_of() as cue:
        cue.task("nap")(napping)

        def slow() -> Iterator[Any]:
            while True:
                asyncio.get_running_loop().reach(now() + 0.005)  # type: ignore[attr-defined]
                yield {"n": 5}

        works = cue.map("nap", slow(), window=1000)
        step = asyncio.create_task(anext(works))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await works.aclose()
        with pytest.raises(runcue.UsageError, match="is closed"):
            await step
        assert cue.counts()["running"] == cue.counts()["pending"] == 0


@virtual
async def test_what_could_not_be_submitted_has_a_place_in_lists_all_the_same() -> None:
    async with cue_of() as cue:
        cue.task("nap")(napping)
        before = await cue.submit("nap", {"n": 1})
        [refused] = [work async for work in cue.map("nap", [{"n": 2}, 3]) if work.error is not None]
        after = await cue.submit("nap", {"n": 4})
        assert before not in await cue.list(after=refused)
        assert [work.id for work in await cue.list(after=refused)] == [after]
