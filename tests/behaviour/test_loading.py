"""load=: the value of a work unit that was skipped is read back from what is there, when it is asked for."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import runcue
from runcue.testing import run
from tests.support.loops import each_loop, run_on
from tests.support.virtual_time import now, virtual
from tests.support.worlds import GuardedLoop

pytestmark = pytest.mark.rule(43)


class Shop:
    """A cue with a task whose outputs are there already, and how often its values were read."""

    def __init__(self, load: Any = None) -> None:
        self.cue = runcue.Cue()
        self.made: list[int] = []
        self.read: list[int] = []
        flags = [runcue.Flag(f"{number}") for number in range(5)]
        for flag in flags:
            flag.share(self.cue._dispatcher.flags)
            flag.set()

        def number_of(number: int) -> int:
            self.read.append(number)
            return 10 * number

        @self.cue.task(outputs=lambda number: flags[number], load=load or number_of)
        async def make(work: runcue.Work, number: int) -> int:
            self.made.append(number)
            work.outputs[0].set()
            return 10 * number

        self.make = make


@each_loop
def test_the_value_of_what_was_skipped_is_read_once_when_it_is_first_asked_for(loop: str) -> None:
    async def main() -> None:
        shop = Shop()
        async with shop.cue as cue:
            handle = await cue.call(shop.make, 3)
            work = await handle.wait()
            assert (work.skipped, work.result, shop.read, shop.made) == (True, None, [], [])
            assert await asyncio.gather(handle, handle.result(), handle) == [30, 30, 30]
            assert await handle == 30
            assert (shop.read, work.result, work.state) == ([3], 30, runcue.WorkState.COMPLETED)
            assert work.skipped
            forced = await cue.submit(shop.make, {"number": 2}, force=True)
            assert await forced == 20
            assert (shop.read, shop.made) == ([3], [2])
        assert await handle == 30

    run_on(loop, main)


def test_a_plain_function_reads_in_a_thread_and_an_async_one_in_the_loop() -> None:
    where: list[Any] = []
    asks = contextvars.ContextVar("asks", default="nobody")

    def plain(number: int, work: runcue.Work) -> Any:
        where.append((threading.current_thread() is threading.main_thread(), asks.get(), work.task))
        return number

    async def asynchronous(number: int) -> int:
        await asyncio.sleep(1)
        return number + 1

    def gives_a_coroutine(number: int) -> Any:
        return asynchronous(number + 1)

    class Object:
        async def __call__(self, number: int) -> int:
            return number + 3

    async def main() -> None:
        asks.set("me")
        values = []
        for load in (plain, asynchronous, gives_a_coroutine, Object()):
            shop = Shop(load)
            async with shop.cue as cue:
                values.append(await (await cue.call(shop.make, 1)))
        assert values == [1, 2, 3, 4]
        assert where == [(False, "me", "make")]

    run(main)


@virtual
async def test_what_it_raises_is_raised_to_all_who_ask_and_who_asks_later_has_it_read_anew() -> None:
    tries: list[int] = []

    def load(number: int) -> int:
        tries.append(number)
        if len(tries) == 1:
            raise OSError("no such page")
        return number

    shop = Shop(load)
    async with shop.cue as cue:
        handle = await cue.call(shop.make, 3)
        asked = await asyncio.gather(handle, handle.result(), return_exceptions=True)
        assert [str(error) for error in asked] == ["no such page"] * 2
        assert asked[0] is not asked[1]
        assert isinstance(asked[0], OSError)
        trace = asked[0].__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        assert trace is not None
        assert trace.tb_frame.f_code.co_name == "load"
        assert (handle.work.skipped, handle.exception(), handle.work.error) == (True, None, None)
        assert await handle == 3
        assert tries == [3, 3]


@pytest.mark.parametrize("kind", [SystemExit, asyncio.CancelledError, GeneratorExit, BaseException])
@pytest.mark.parametrize("plain", [True, False])
def test_what_is_no_exception_ends_nobody_who_asks(kind: type[BaseException], plain: bool) -> None:
    def load(number: int) -> int:
        raise kind

    async def in_the_loop(number: int) -> int:
        raise kind

    async def main() -> None:
        shop = Shop(load if plain else in_the_loop)
        async with shop.cue as cue:
            handle = await cue.call(shop.make, 3)
            with pytest.raises(
                runcue.HandlerExited, match=rf"load= of task 'make', .*, ended with {kind.__name__}"
            ):
                await handle

    run(main)


@pytest.mark.rule(13)
@each_loop
@pytest.mark.parametrize("when", ["at its end", "before it awaits"])
def test_one_that_cancels_its_own_task_cancels_nobody_who_asks(when: str, loop: str) -> None:
    async def load(number: int) -> int:
        me = asyncio.current_task()
        assert me is not None
        me.cancel()
        if when == "before it awaits":
            await asyncio.sleep(0)
        return number

    async def main() -> None:
        shop = Shop(load)
        async with shop.cue as cue:
            handle = await cue.call(shop.make, 3)
            asked = await asyncio.gather(handle, handle.result(), return_exceptions=True)
            if when == "at its end":
                assert asked == [3, 3]
            else:
                assert [type(one) for one in asked] == [runcue.HandlerExited] * 2

    run_on(loop, main)


@virtual
async def test_one_that_is_awaited_and_keeps_the_loop_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    async def load(number: int) -> int:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, GuardedLoop)
        loop.reach(now() + 0.08)
        return number

    shop = Shop(load)
    async with shop.cue as cue:
        assert await (await cue.call(shop.make, 3)) == 3
    [line] = [text for text in caplog.messages if "blocked the event loop" in text]
    assert line.startswith("load= of task 'make', ")
    assert "80 ms" in line


@virtual
async def test_who_gives_up_waiting_does_not_take_it_from_the_others() -> None:
    async def load(number: int) -> int:
        await asyncio.sleep(10)
        return number

    shop = Shop(load)
    async with shop.cue as cue:
        handle = await cue.call(shop.make, 3)
        await handle.wait()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(handle.result(), 5)
        began = asyncio.get_running_loop().time()
        assert await handle == 3
        assert asyncio.get_running_loop().time() - began == 5


def test_in_another_event_loop_it_is_read_there() -> None:
    shop = Shop()

    async def main() -> runcue.WorkHandle:
        async with shop.cue as cue:
            handle = await cue.call(shop.make, 3)
            await handle.wait()
            return handle

    handle = run(main)
    assert asyncio.run(handle.result()) == 30
    assert asyncio.run(handle.result()) == 30
    assert shop.read == [3]


@virtual
async def test_a_handler_may_wait_for_it() -> None:
    async def load(number: int) -> int:
        await asyncio.sleep(100)
        return number

    shop = Shop(load)
    cue = shop.cue

    @cue.task
    async def total() -> int:
        return sum([await (await cue.call(shop.make, number)) for number in range(3)])

    async with cue:
        handle = await cue.call(total)
        summary = await cue.drain()
        assert (await handle, summary.deadlocked) == (3, [])


@virtual
async def test_maps_and_groups_read_it_too() -> None:
    shop = Shop()
    async with shop.cue as cue:
        assert [value async for value in cue.map(shop.make, range(4), values=True, ordered=True)] == [
            0,
            10,
            20,
            30,
        ]
        async with cue.group() as group:
            for number in range(3):
                await group.call(shop.make, number)
        assert group.summary.values == [0, 10, 20]
    assert shop.made == []


@virtual
async def test_a_group_raises_what_could_not_be_read_as_it_raises_failures() -> None:
    def load(number: int) -> int:
        if number > 1:
            raise OSError(f"no page {number}")
        return number

    shop = Shop(load)

    async def all_of_them(**options: Any) -> runcue.Summary:
        async with shop.cue.group(**options) as group:
            for number in range(4):
                await group.call(shop.make, number)
        return group.summary

    async with shop.cue:
        with pytest.raises(ExceptionGroup, match="values of what was skipped could not be read") as told:
            await all_of_them()
        assert [str(error) for error in told.value.exceptions] == ["no page 2", "no page 3"]
        with pytest.raises(OSError, match="no page 2"):
            await all_of_them(fail="first")
        summary = await all_of_them(fail="never")
        assert (summary.values, summary.counts["skipped"]) == ([0, 1, None, None], 4)


def test_without_it_the_value_is_none_and_what_ran_has_its_own() -> None:
    async def main() -> None:
        cue = runcue.Cue()

        @cue.task
        def make(number: int) -> int:
            return number

        cue.is_stale(lambda work: work.params["number"] > 1)
        async with cue:
            assert [await (await cue.call(make, number)) for number in range(4)] == [None, None, 2, 3]

    run(main)


@pytest.mark.parametrize(
    ("load", "text"),
    [
        (5, "load of task 'make' must be callable, not 5"),
        (lambda: 1, r"load of task 'make', by .*, must take \(work\)"),
        (lambda nubmer: 1, "load of task 'make', by .* asks for 'nubmer', .* did you mean 'number'"),
    ],
)
def test_what_cannot_read_it_is_refused(load: Any, text: str) -> None:
    cue = runcue.Cue()

    def make(number: int) -> None: ...

    with pytest.raises(runcue.ConfigurationError, match=text):
        cue.task("make", load=load)(make)
    with pytest.raises(runcue.InvalidParams, match="no option load="):
        asyncio.run(cue.submit("make", load=print))


def test_a_function_that_yields_is_none() -> None:
    def load(number: int) -> Any:
        yield number

    with pytest.raises(runcue.ConfigurationError, match="must not be a generator"):
        runcue.Cue().task("make", load=load)


def test_files_of_an_earlier_run_are_read_back(tmp_path: Path) -> None:
    def program() -> tuple[int, list[bool]]:
        cue = runcue.Cue()

        @cue.task(
            outputs=lambda number: tmp_path / f"{number}.txt",
            load=lambda work: int(work.outputs[0].path.read_text()),
        )
        def square(work: runcue.Work, number: int) -> int:
            with work.write(work.outputs[0]) as file:
                file.write(str(number**2))
            return number**2

        async def main() -> tuple[int, list[bool]]:
            async with cue:
                handles = [await cue.call(square, number) for number in range(5)]
                return sum([await handle for handle in handles]), [handle.work.skipped for handle in handles]

        return asyncio.run(main())

    assert program() == (30, [False] * 5)
    assert program() == (30, [True] * 5)


@pytest.mark.parametrize("ordered", [True, False])
@virtual
async def test_a_map_reads_sixteen_values_at_once(ordered: bool) -> None:
    now: list[int] = []
    most: list[int] = []

    async def load(number: int) -> int:
        now.append(number)
        most.append(len(now))
        await asyncio.sleep(1)
        now.remove(number)
        return number

    cue = runcue.Cue()

    @cue.task(load=load)
    async def make(number: int) -> int:
        return 0

    cue.is_stale(lambda work: False)
    async with cue:
        began = asyncio.get_running_loop().time()
        values = [value async for value in cue.map(make, range(40), values=True, ordered=ordered)]
        assert sorted(values) == [*range(40)]
        assert values == sorted(values) or not ordered
        assert asyncio.get_running_loop().time() - began == 3
        assert max(most) == 16
        async with cue.map(make, range(40), values=True, window=5) as few:
            most.clear()
            assert await anext(few) in range(5)
            assert max(most) == 5


@virtual
async def test_what_a_map_has_read_before_its_turn_is_raised_in_its_turn_and_read_once() -> None:
    read: list[int] = []

    async def load(number: int) -> int:
        read.append(number)
        if number == 2:
            raise OSError("no page 2")
        return number

    shop = Shop(load)
    async with shop.cue as cue:
        values = cue.map(shop.make, range(4), values=True, ordered=True)
        assert [await anext(values), await anext(values)] == [0, 1]
        await asyncio.sleep(1)
        with pytest.raises(OSError, match="no page 2"):
            await anext(values)
        assert sorted(read) == [0, 1, 2, 3]


@pytest.mark.parametrize(("max_threads", "most"), [(64, 16), (3, 3)])
def test_so_many_plain_functions_read_at_once_however_many_ask(max_threads: int, most: int) -> None:
    reading: list[int] = []
    counts: list[int] = []

    def load(number: int) -> int:
        reading.append(number)
        counts.append(len(reading))
        time.sleep(0.005)
        reading.remove(number)
        return number

    async def main() -> None:
        cue = runcue.Cue(max_threads=max_threads)
        make = cue.task("make", load=load)(lambda number, why=None: None)
        cue.is_stale(lambda work: False)
        async with cue:
            handles = [await cue.submit(make, {"number": number}) for number in range(60)]
            await cue.drain()
            assert await asyncio.gather(*handles) == [*range(60)]
            assert 1 < max(counts) <= most

    run(main)


def test_a_value_that_another_one_is_read_by_needs_no_thread_of_the_few() -> None:
    async def main() -> None:
        cue = runcue.Cue(max_threads=1)
        inner = cue.task("inner", load=lambda number: number)(lambda number, why=None: None)
        handles: list[runcue.WorkHandle] = []
        cue.task("outer", load=lambda number: 1 + handles[number].result_sync(timeout=10))(inner)
        cue.is_stale(lambda work: False)
        async with cue:
            handles += [await cue.submit("inner", {"number": number}) for number in range(3)]
            asked = [await cue.submit("outer", {"number": number}) for number in range(3)]
            assert await asyncio.gather(*asked) == [1, 2, 3]

    run(main)


def test_a_value_that_waits_for_its_turn_is_read_at_once_when_those_before_it_wait_for_it() -> None:
    handles: list[runcue.WorkHandle[Any]] = []

    def read(number: int) -> int:
        return 4 if number == 4 else number + int(handles[4].result_sync(timeout=30))

    async def main() -> list[Any]:
        shop = Shop(read)
        shop.cue._core.threads.concurrent = 2
        async with shop.cue as cue:
            handles.extend([await cue.call(shop.make, number) for number in range(5)])
            await cue.drain()
            return await asyncio.gather(*handles)

    assert asyncio.run(main()) == [4, 5, 6, 7, 4]


@pytest.mark.parametrize("plain", [True, False])
def test_one_that_asks_for_the_value_that_it_is_to_read_is_told(plain: bool) -> None:
    handles: list[runcue.WorkHandle] = []

    def in_a_thread(work: runcue.Work) -> Any:
        return handles[0].result_sync(timeout=10)

    async def in_the_loop(work: runcue.Work) -> Any:
        return (await asyncio.gather(*handles))[0]

    async def main() -> None:
        shop = Shop(in_a_thread if plain else in_the_loop)
        async with shop.cue as cue:
            handles.append(await cue.call(shop.make, 3))
            with pytest.raises(
                runcue.UsageError, match=r"asks for the value of .*, which it is to read itself"
            ):
                await handles[0]

    run(main)


@each_loop
@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize("around", [2, 3])
def test_those_that_ask_for_the_values_of_each_other_are_told(around: int, plain: bool, loop: str) -> None:
    async def main() -> None:
        handles: list[runcue.WorkHandle[Any]] = []
        go_on = threading.Event() if plain else asyncio.Event()

        def read(number: int) -> int:
            go_on.wait()  # until each of them is being read
            return int(handles[(number + 1) % around].result_sync()) + 1

        async def awaited(number: int) -> int:
            await go_on.wait()  # type: ignore[misc]
            return int(await handles[(number + 1) % around]) + 1

        shop = Shop(read if plain else awaited)
        async with shop.cue as cue:
            handles += [await cue.call(shop.make, number) for number in range(around)]
            await cue.drain()
            values = [asyncio.create_task(handle.result()) for handle in handles]
            await asyncio.sleep(0.05)
            go_on.set()
            errors = await asyncio.gather(*values, return_exceptions=True)
        assert {type(error) for error in errors} == {runcue.UsageError}
        assert "each would wait for the other for ever" in str(errors[0])
        assert "test_loading.py:" in str(errors[0])

    run_on(loop, main)


@virtual
async def test_one_that_asks_for_a_value_for_which_others_wait_as_well_is_not_told_so() -> None:
    handles: list[runcue.WorkHandle[Any]] = []

    async def read(number: int) -> int:
        await asyncio.sleep(number)
        return 10 * number + sum([await handles[other] for other in range(number)])

    shop = Shop(read)
    async with shop.cue as cue:
        handles += [await cue.call(shop.make, number) for number in range(5)]
        assert await asyncio.gather(*handles, *handles[::-1]) == [0, 10, 30, 70, 150, 150, 70, 30, 10, 0]


def test_result_sync_says_that_the_value_is_being_read_and_gives_it_at_once_when_it_is_there() -> None:
    may_go_on = threading.Event()

    def load(number: int) -> int:
        may_go_on.wait(10)
        return number

    async def main() -> None:
        shop = Shop(load)
        async with shop.cue as cue:
            handle = await cue.call(shop.make, 3)
            await handle.wait()
            for patience in (0, 0.01):
                with pytest.raises(
                    TimeoutError, match=r"The value of make .*, was not read back within .*load \("
                ) as told:
                    await asyncio.to_thread(handle.result_sync, timeout=patience)
                assert "has not ended" not in str(told.value)
            may_go_on.set()
            assert await handle == 3
            assert await asyncio.to_thread(handle.result_sync, timeout=0) == 3

    run(main)


@each_loop
@pytest.mark.parametrize("kind", ["plain", "async"])
def test_when_its_loop_has_ended_a_value_is_read_with_or_without_another_loop(loop: str, kind: str) -> None:
    go_on = threading.Event()

    def plain(number: int) -> int:
        if number == 4:
            go_on.wait(30)
        if number == 3:
            raise TimeoutError("its own")
        return number

    async def asynchronous(number: int) -> int:
        if number == 4:
            await asyncio.sleep(30)
        return plain(number)

    shop = Shop(plain if kind == "plain" else asynchronous)
    with runcue.blocking(shop.cue) as b:
        handles = [b.call(shop.make, number) for number in (1, 2, 3, 4)]
        for handle in handles:
            b.wait(handle)

    async def notebook() -> None:
        assert handles[0].result_sync() == 1
        with pytest.raises(TimeoutError, match=r"was not read back within 0\.01 s"):
            handles[3].result_sync(timeout=0.01)
        with pytest.raises(TimeoutError, match=r"^its own$"):
            handles[2].result_sync(timeout=10)

    try:
        run_on(loop, notebook)
        assert handles[1].result_sync(timeout=10) == 2
        with pytest.raises(TimeoutError, match=r"was not read back within 0\.01 s"):
            handles[3].result_sync(timeout=0.01)
    finally:
        go_on.set()


@pytest.mark.rule(41)
@pytest.mark.parametrize("given", ["map", "ordered", "as_completed"])
@each_loop
def test_work_units_that_were_skipped_are_given_with_their_values(loop: str, given: str) -> None:
    """So the same loop goes on where a program was interrupted."""

    async def main() -> None:
        at_once = most = 0

        async def load(number: int) -> int:
            nonlocal at_once, most
            at_once += 1
            most = max(most, at_once)
            await asyncio.sleep(0.01)
            at_once -= 1
            return 10 * number

        shop = Shop(load)
        async with shop.cue as cue:
            if given == "as_completed":
                async with cue.group() as group:
                    for number in range(5):
                        await group.call(shop.make, number)
                    while group.summary.left:
                        await asyncio.sleep(0)
                    works = [(work.skipped, work.result) async for work in group.as_completed()]
            else:
                pages = cue.map(shop.make, range(5), ordered=given == "ordered")
                works = [(work.skipped, work.result) async for work in pages]
        assert sorted(works) == [(True, 10 * number) for number in range(5)]
        assert most > 1
        assert shop.made == []

    run_on(loop, main)


@pytest.mark.rule(41, 13)
@pytest.mark.parametrize("given", ["map", "as_completed"])
@each_loop
def test_a_value_that_cannot_be_read_is_told_and_the_work_unit_is_given_all_the_same(
    loop: str, given: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        read: list[int] = []

        def load(number: int) -> int:
            read.append(number)
            if number == 2:
                raise ValueError("torn")
            return number

        shop = Shop(load)
        async with shop.cue as cue:
            if given == "map":
                works = [work async for work in cue.map(shop.make, range(4), ordered=True)]
            else:
                async with cue.group(fail="never") as group:
                    for number in range(4):
                        await group.call(shop.make, number)
                    works = [work async for work in group.as_completed()]
            assert [work.result for work in works] == [0, 1, None, 3]
            assert set(read) == {0, 1, 2, 3}
            assert all(work.skipped for work in works)
            [told] = caplog.messages
            assert told.startswith("load= of task 'make', ")
            assert " raised ValueError (work " in told
            assert "with the result None; to await its handle raises this)" in told
            with pytest.raises(ValueError, match="torn"):
                await (await cue.call(shop.make, 2))

    run_on(loop, main)


@virtual
async def test_who_gives_up_a_step_while_a_value_is_read_has_lost_nothing() -> None:
    async def load(number: int) -> int:
        await asyncio.sleep(10)
        return number

    shop = Shop(load)
    async with shop.cue as cue:
        works = cue.map(shop.make, range(2))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(works), 1)
        assert sorted([work.result async for work in works]) == [0, 1]
        async with cue.group() as group:
            await group.call(shop.make, 3)
            await asyncio.sleep(0)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(group.as_completed()), 1)
            assert [work.result async for work in group.as_completed()] == [3]
