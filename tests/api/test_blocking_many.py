"""`map` and `call` of `runcue.blocking(cue)`: many at once in programs that are not async."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

import runcue
from tests.support.loops import each_loop, run_on

pytestmark = pytest.mark.timeout(60)


def cue_with_tasks(**options: Any) -> runcue.Cue:
    cue = runcue.Cue(id_prefix="", **options)
    cue.service("some", concurrent=4)
    cue.on_failure(lambda work, error: None)

    @cue.task("by_params", uses="some")
    def by_params(work: runcue.Work) -> int:
        return 2 * int(work.params["n"])

    return cue


async def double(number: int) -> int:
    await asyncio.sleep(0.001)
    return 2 * number


def add(one: int, other: int) -> int:
    return one + other


def fails_at_three(number: int) -> int:
    if number == 3:
        raise ValueError("three")
    return number


def test_a_call_gives_a_handle_and_a_map_gives_works_or_values() -> None:
    with runcue.blocking(cue_with_tasks()) as b:
        handle = b.call(double, 21)
        assert b.result(handle) == handle.result_sync() == 42
        assert b.call(add, 1, other=2).result_sync() == 3
        assert sorted(work.result for work in b.map(double, range(500))) == [2 * n for n in range(500)]
        assert list(b.map(double, range(50), ordered=True, values=True)) == [2 * n for n in range(50)]
        assert list(b.map(add, [1, 2, 3], (10, 20), ordered=True, values=True)) == [11, 22]
        params = ({"n": n} for n in range(5))
        assert list(b.map("by_params", params, ordered=True, values=True)) == [0, 2, 4, 6, 8]
        assert list(b.map(double, [])) == []


def test_a_value_that_fails_is_raised_and_ends_it() -> None:
    with runcue.blocking(cue_with_tasks()) as b:
        got: list[int] = []
        with pytest.raises(ValueError, match="three"):
            got.extend(b.map(fails_at_three, range(100), window=1, values=True))
        assert got == [0, 1, 2]
        states = [work.state.value for work in b.map(fails_at_three, range(5), ordered=True)]
        assert states == ["completed"] * 3 + ["failed", "completed"]


def test_iterables_are_pulled_lazily_in_the_thread_that_goes_through_them() -> None:
    connection = sqlite3.connect(":memory:")  # which belongs to this thread
    connection.execute("CREATE TABLE numbers (number)")
    connection.executemany("INSERT INTO numbers VALUES (?)", [(n,) for n in range(100)])
    pulled = 0

    def rows() -> Iterator[int]:
        nonlocal pulled
        assert threading.current_thread() is threading.main_thread()
        for (number,) in connection.execute("SELECT number FROM numbers ORDER BY number"):
            pulled += 1
            yield number

    with runcue.blocking(cue_with_tasks()) as b:
        given = 0
        for _ in b.map(double, rows(), window=7):
            given += 1
            assert pulled <= given - 1 + 7, "what was given last counts until the next one is asked for"
        assert given == 100
    connection.close()


def test_an_iterable_that_is_slow_keeps_neither_the_loop_nor_what_has_settled() -> None:
    def slowly() -> Iterator[int]:
        for number in range(5):
            yield number
            time.sleep(0.05)

    with runcue.blocking(cue_with_tasks()) as b:
        began = time.monotonic()
        at = [time.monotonic() - began for _ in b.map(double, slowly())]
        assert at[0] < 0.2 < at[-1]


def test_what_an_iterable_raises_is_raised_after_all_that_it_had_given() -> None:
    def breaks() -> Iterator[int]:
        yield from range(3)
        raise OSError("the disk is gone")

    with runcue.blocking(cue_with_tasks()) as b:
        got: list[int] = []
        with pytest.raises(OSError, match="the disk is gone") as raised:
            got.extend(b.map(double, breaks(), values=True, ordered=True))
        assert got == [0, 2, 4]
        assert any(entry.name == "breaks" for entry in raised.traceback)


def test_who_takes_time_over_each_keeps_the_window_full_meanwhile() -> None:
    cue = cue_with_tasks()
    with runcue.blocking(cue) as b:
        most = 0
        for given, _ in enumerate(b.map(double, range(40), window=4)):
            time.sleep(0.005)
            assert cue.counts()["completed"] <= given + 1 + 4
            most = max(most, cue.counts()["completed"] - given - 1)
        assert most >= 1, "others have settled while this one was looked at"


def test_async_iterables_are_gone_through_in_the_loop() -> None:
    async def numbers() -> Any:
        for number in range(20):
            await asyncio.sleep(0)
            yield number

    with runcue.blocking(cue_with_tasks()) as b:
        assert list(b.map(double, numbers(), values=True, ordered=True)) == [2 * n for n in range(20)]
        assert list(b.map(add, numbers(), [1, 2, 3], values=True, ordered=True)) == [1, 3, 5]


def test_who_leaves_it_cancels_what_is_left_at_once_and_closes_its_generators() -> None:
    closed = threading.Event()

    def numbers() -> Iterator[int]:
        try:
            yield from range(1000)
        finally:
            closed.set()

    cue = cue_with_tasks()

    @cue.task("slow")
    async def slow(work: runcue.Work) -> None:
        await asyncio.sleep(work.params["n"] and 3600)

    with runcue.blocking(cue) as b:
        for _ in b.map("slow", ({"n": n} for n in numbers()), window=10):
            break
        assert cue.counts()["cancelled"] == 9
        assert cue.counts()["running"] == 0
        assert closed.is_set()
        works = b.map("slow", [{"n": 0}, {"n": 1}])
        assert next(works).params == {"n": 0}
        works.close()
        assert cue.counts()["running"] == 0
        with pytest.warns(RuntimeWarning, match="never gone through"):
            b.map("slow", [{"n": 0}])  # nothing of it has begun
        assert not cue._dispatcher.calls.tasks
        assert b.drain().ok is False


@pytest.mark.parametrize(
    ("arguments", "options", "says"),
    [
        ((double, "text"), {}, "is a single text"),
        ((double, 3), {}, "is not iterable"),
        ((double, [1]), {"window": 0}, "window of map\\(\\) must be a whole number of at least 1"),
        ((double, [1], [2]), {}, "one iterable for each parameter"),
        (("unknown", [{}]), {}, "unknown"),
        ((), {}, "map\\(\\) takes a function"),
        ((double, [1]), {"ordred": True}, "did you mean ordered"),
    ],
)
def test_mistakes_are_told_in_their_line(arguments: Any, options: Any, says: str) -> None:
    with (
        runcue.blocking(cue_with_tasks()) as b,
        pytest.raises((runcue.ConfigurationError, runcue.UnknownTask), match=says),
    ):
        b.map(*arguments, **options)


def test_outside_of_its_with_a_map_is_an_error_and_one_that_was_begun_ends_there() -> None:
    b = runcue.blocking(cue_with_tasks())
    with pytest.raises(runcue.UsageError, match="only inside its `with` block"):
        b.map(double, [1])
    with b:
        works = b.map(double, range(10), window=2)
        next(works)
    with pytest.raises(runcue.UsageError, match="only inside its `with` block"):
        list(works)


def test_a_map_waits_for_room() -> None:
    cue = cue_with_tasks(max_pending=2)
    most = 0

    @cue.on_submit
    def look(work: runcue.Work) -> None:
        nonlocal most
        most = max(most, cue.counts()["pending"])

    with runcue.blocking(cue) as b:
        assert sum(b.map("by_params", ({"n": n} for n in range(100)), values=True)) == 9900
    assert most <= 2


def test_several_threads_have_maps_of_their_own_at_once() -> None:
    with runcue.blocking(cue_with_tasks()) as b:
        sums: list[int] = []
        threads = [
            threading.Thread(target=lambda: sums.append(sum(b.map(double, range(50), values=True))))
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert sums == [2450] * 4


@each_loop
def test_in_a_notebook_whose_own_loop_runs_it_works_as_well(loop: str) -> None:
    async def cell() -> None:
        with runcue.blocking(cue_with_tasks()) as b:
            assert list(b.map(double, range(5), values=True, ordered=True)) == [0, 2, 4, 6, 8]
            handle = b.call(double, 4)
            assert handle.result_sync() == 8
            assert b.call(add, 1, 2).result_sync(timeout=5) == 3

    run_on(loop, cell)


def test_a_plain_handler_goes_through_a_map_of_its_own_cue() -> None:
    cue = cue_with_tasks()
    b = runcue.blocking(cue)

    @cue.task("total")
    def total(work: runcue.Work) -> int:
        return sum(b.map(double, range(20), values=True))

    with b:
        assert b.result(b.submit("total")) == 380


def test_in_the_event_loops_own_thread_it_says_what_to_write_there() -> None:
    cue = cue_with_tasks()
    b = runcue.blocking(cue)

    @cue.task("asks")
    async def asks(work: runcue.Work) -> None:
        b.map(double, [1])

    with b, pytest.raises(runcue.UsageError, match="in the event loop's own thread would wait for itself"):
        b.result(b.submit("asks"))


def test_observers_hear_how_many_will_come() -> None:
    heard: list[tuple[str, int]] = []

    class Hears(runcue.Observer):
        def expected(self, task: str, number: int) -> None:
            heard.append((task, number))

    cue = cue_with_tasks()
    cue.observe(Hears())
    with runcue.blocking(cue) as b:
        list(b.map("by_params", [{"n": 1}] * 3))
        list(b.map(add, [1, 2, 3], iter([1, 2])))
    assert heard[0] == ("by_params", 3)


def test_a_group_has_settled_at_the_end_of_its_with() -> None:
    cue = cue_with_tasks()
    with runcue.blocking(cue) as b:
        with b.group() as group:
            handles = [group.call(double, number) for number in range(3)]
            given = []
            for work in group.as_completed():
                given.append(work.result)
                if len(given) == 3:
                    handles.append(group.submit("by_params", {"n": 5}, priority=1.0))
        assert sorted(given) == [0, 2, 4, 10]
        assert group.summary.values == [handle.result_sync() for handle in handles] == [0, 2, 4, 10]
        assert b.counts() == cue.counts()
        assert b.counts(by="task")["by_params"]["completed"] == 1
        with pytest.raises(ExceptionGroup) as raised, b.group() as group:
            group.call(fails_at_three, 3)
        assert [str(error) for error in raised.value.exceptions] == ["three"]
        with pytest.raises(ValueError, match="three"), b.group(fail="first") as group:
            group.call(fails_at_three, 3)
        with pytest.raises(KeyError), b.group() as group:  # noqa: PT012 - what is raised comes out of the `with`
            left = group.call(forever)
            raise KeyError
        assert left.work.state is runcue.WorkState.CANCELLED
        with b.group() as group:
            group.call(forever)
            group.cancel()
        assert group.summary.counts["cancelled"] == 1
        with pytest.raises(runcue.UsageError, match=r"with b\.group\(\) as group"), cue.group():  # type: ignore[attr-defined]
            pass
        with pytest.raises(runcue.ConfigurationError, match="fail of group"):
            b.group(fail="some")  # type: ignore[call-overload]
    with pytest.raises(runcue.UsageError, match="only inside its `with`"):
        b.group()


async def forever() -> None:
    await asyncio.sleep(1000)


def test_a_forgotten_await_says_what_there_is_instead_in_sync_code() -> None:
    cue = cue_with_tasks()
    with runcue.blocking(cue) as b:
        handle = b.call(double, 1)
        for coroutine, instead in [
            (
                handle.result(),
                "`handle.result_sync()`; inside `with runcue.blocking(cue) as b` `b.result(handle)`",
            ),
            (cue.submit("by_params", {"n": 1}), "inside `with runcue.blocking(cue) as b` `b.submit(...)`"),
            (cue.drain(), "`b.drain()`"),
        ]:
            assert instead in coroutine.__qualname__
            coroutine.close()
