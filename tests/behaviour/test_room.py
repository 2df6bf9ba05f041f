"""`Cue(max_pending=)`: whoever submits more waits for room; nobody of the cue's own does."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import re
import threading
import time
from collections.abc import Callable
from concurrent import futures
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import runcue
from runcue import Flag
from tests.support.loops import each_loop, run_on
from tests.support.virtual_time import now, virtual

pytestmark = pytest.mark.rule(42)


def one_at_a_time(max_pending: int | None, **options: Any) -> runcue.Cue:
    """Returns a cue whose task "t" takes a second, one after the other."""
    cue = runcue.Cue(max_pending=max_pending, id_prefix="", **options)
    cue.service("one", concurrent=1)

    @cue.task("t", uses="one")
    async def t(work: runcue.Work) -> None:
        await asyncio.sleep(work.params.get("seconds", 1))

    return cue


@pytest.mark.parametrize("number", [0, -1, 1.5, True, "3", float("nan"), float("inf")])
def test_a_number_that_cannot_be_is_refused_where_it_is_given(number: Any) -> None:
    with pytest.raises(
        runcue.ConfigurationError, match="max_pending must be a whole number of at least 1, not "
    ):
        runcue.Cue(max_pending=number)


@virtual
async def test_submit_waits_until_one_of_them_starts_or_ends() -> None:
    cue = one_at_a_time(2)
    cue.start()
    came = []
    for number in range(6):
        await cue.submit("t")
        came.append((number, now()))
        assert cue.counts()["pending"] <= 2
    # Two are pending, the first starts and makes room at once, each further one when another one has ended.
    assert came == [(0, 0.0), (1, 0.0), (2, 0.0), (3, 1.0), (4, 2.0), (5, 3.0)]
    await cue.stop()


@virtual
async def test_the_end_of_a_pending_one_makes_room_as_well() -> None:
    cue = one_at_a_time(1)
    cue.start()
    await cue.submit("t")
    await asyncio.sleep(0.25)
    pending = await cue.submit("t")
    waits = asyncio.create_task(cue.submit("t"))
    await asyncio.sleep(0.25)
    assert not waits.done()
    await cue.cancel(pending)
    await waits
    assert now() == 0.5
    await cue.stop()


@virtual
async def test_who_waits_comes_in_first_come_first_served() -> None:
    cue = one_at_a_time(1)
    cue.start()
    order: list[int] = []

    async def submit(number: int) -> None:
        await cue.submit("t", {"seconds": 0.5})
        order.append(number)

    tasks = [asyncio.create_task(submit(number)) for number in range(20)]
    await asyncio.sleep(0)
    await asyncio.sleep(0.5)
    tasks.append(asyncio.create_task(submit(20)))
    await asyncio.wait(tasks)
    assert order == list(range(21))
    await cue.stop()


@virtual
async def test_who_is_cancelled_while_waiting_submits_nothing_and_holds_up_nobody() -> None:
    cue = one_at_a_time(1)
    cue.start()
    await cue.submit("t")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await cue.submit("t")
    tasks = [asyncio.create_task(cue.submit("t", {"n": number})) for number in range(4)]
    await asyncio.sleep(0.5)
    tasks[0].cancel()
    tasks[2].cancel()
    await asyncio.wait(tasks)
    assert [task.cancelled() for task in tasks] == [True, False, True, False]
    summary = await cue.stop()
    assert summary.counts["completed"] == 4
    assert [work.params.get("n") for work in await cue.list()] == [None, None, 1, 3]


@virtual
async def test_who_is_cancelled_just_when_there_is_room_leaves_it_to_the_next() -> None:
    cue = one_at_a_time(1)
    cue.start()
    await cue.submit("t")
    await asyncio.sleep(0.5)
    pending = await cue.submit("t")
    first, second = (asyncio.create_task(cue.submit("t", {"n": number})) for number in range(2))
    await asyncio.sleep(0.1)
    await cue.cancel(pending)
    room = cue._intake.room
    assert room is not None
    while not room._let_in:
        await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    await asyncio.wait_for(second, 0.1)
    assert second.result().work.params == {"n": 1}
    assert not room.waiting
    await cue.stop()


@virtual
async def test_what_cannot_be_submitted_once_there_is_room_leaves_it_to_the_next() -> None:
    cue = one_at_a_time(1)

    @cue.task("made", key=lambda work: "one", duplicate="error")
    async def made(work: runcue.Work) -> None:
        await asyncio.sleep(5)

    cue.start()
    await cue.submit("made")
    await asyncio.sleep(0.5)
    await cue.submit("t")
    await cue.submit("t")
    twice = asyncio.create_task(cue.submit("made"))
    behind = asyncio.create_task(cue.submit("t"))
    await asyncio.sleep(1)
    with pytest.raises(runcue.DuplicateWork):
        await twice
    await behind
    assert now() == 1.5
    await cue.stop()


@virtual
async def test_without_waiting_it_is_refused() -> None:
    cue = one_at_a_time(2)
    cue.start()
    handles = [await cue.submit("t", wait=False) for _ in range(2)]
    with pytest.raises(runcue.CueFull, match="2 work units are pending, max_pending=2") as refused:
        await cue.submit("t", wait=False)
    assert isinstance(refused.value, asyncio.QueueFull)
    assert isinstance(refused.value, runcue.RuncueError)
    await handles[0]
    await cue.submit("t", wait=False)
    assert (await cue.stop()).counts["completed"] == 3


@pytest.mark.parametrize("wait", ["no", 2, None])
def test_wait_is_yes_or_no(wait: Any) -> None:
    @virtual
    async def main() -> None:
        cue = one_at_a_time(None)
        with pytest.raises(runcue.ConfigurationError, match="wait must be True or False, not "):
            await cue.submit("t", wait=wait)

    main()


@virtual
async def test_without_a_bound_nothing_waits_and_wait_means_nothing() -> None:
    cue = one_at_a_time(None)
    for _ in range(100):
        await cue.submit("t", wait=False)
    assert cue.counts()["pending"] == 100


@virtual
async def test_a_cue_that_is_not_started_has_room_for_so_many_and_no_more() -> None:
    cue = one_at_a_time(2)
    await cue.submit("t")
    await cue.submit("t")
    with pytest.raises(runcue.UsageError, match="a cue that is not started makes none: call start\\(\\)"):
        await cue.submit("t")
    with pytest.raises(runcue.CueFull):
        await cue.submit("t", wait=False)
    cue.start()
    await cue.submit("t")
    assert (await cue.stop()).counts["completed"] == 3


@virtual
async def test_what_handlers_gates_and_listeners_submit_waits_for_nothing() -> None:
    cue = runcue.Cue(max_pending=1, id_prefix="")
    cue.service("one", concurrent=1)

    @cue.task("parent", uses="one")
    async def parent(work: runcue.Work) -> None:
        for _ in range(5):
            await cue.submit("child")
        await asyncio.create_task(cue.submit("child"))

    @cue.task("child", uses="one")
    async def child(work: runcue.Work) -> None: ...

    @cue.on_complete(task="parent")
    async def heard(work: runcue.Work, result: Any, duration: float) -> None:
        for _ in range(5):
            await cue.submit("child")

    cue.start()
    await cue.submit("parent")
    summary = await cue.stop()
    assert summary.by_task["child"]["completed"] == 11


@virtual
async def test_a_handler_that_is_not_to_wait_is_told_that_there_is_no_room() -> None:
    cue = runcue.Cue(max_pending=1)
    cue.service("one", concurrent=1)

    @cue.task("parent", uses="one")
    async def parent(work: runcue.Work) -> str:
        await cue.submit("child", wait=False)
        try:
            await cue.submit("child", wait=False)
        except runcue.CueFull:
            return "full"
        return "not full"

    cue.task("child", uses="one")(lambda work: None)
    cue.start()
    assert await (await cue.submit("parent")) == "full"
    await cue.stop()


@virtual
async def test_what_is_submitted_for_later_counts_from_its_instant_on() -> None:
    cue = one_at_a_time(1)
    cue.start()
    for _ in range(5):
        await cue.submit("t", delay=10)
    assert now() == 0.0
    await cue.submit("t", {"seconds": 20})
    await asyncio.sleep(1)
    await cue.submit("t")
    assert now() == 1.0, "those for tomorrow do not keep others from coming in"
    await asyncio.sleep(10)
    with pytest.raises(runcue.CueFull):
        await cue.submit("t", wait=False)
    await cue.submit("t", delay=1, wait=False)
    assert (await cue.stop()).counts["completed"] == 8


@pytest.mark.parametrize(
    "when", [{"delay": 0}, {"delay": timedelta(0)}, {"run_at": datetime(2001, 1, 1, tzinfo=UTC)}], ids=str
)
@virtual
async def test_what_is_submitted_for_an_instant_that_is_not_ahead_counts_and_waits(
    when: dict[str, Any],
) -> None:
    cue = one_at_a_time(2)
    async with cue:
        for _ in range(5):
            await cue.submit("t", **when)
            assert cue.counts()["pending"] <= 2
        with pytest.raises(runcue.CueFull):
            await cue.submit("t", wait=False, **when)


@virtual
async def test_who_waits_for_another_attempt_counts() -> None:
    cue = runcue.Cue(max_pending=1)

    @cue.task("t", retry=runcue.Retry(attempts=2, wait_initial=5, wait_max=5, wait_jitter=0))
    async def t(work: runcue.Work) -> None:
        if work.attempt == 1 and not work.params:
            raise ValueError

    cue.start()
    await cue.submit("t")
    await asyncio.sleep(1)
    await cue.submit("t", {"second": True})
    assert now() == 5.0
    await cue.stop()


@virtual
async def test_who_has_joined_one_that_runs_does_not_count() -> None:
    cue = runcue.Cue(max_pending=1)

    @cue.task("t", key="one")
    async def t(work: runcue.Work) -> None:
        await asyncio.sleep(1)

    cue.start()
    await cue.submit("t")
    await asyncio.sleep(0.5)
    for _ in range(10):
        await cue.submit("t", wait=False)
    assert cue.counts() | {"skipped": 0} == {**dict.fromkeys(cue.counts(), 0), "running": 11}
    await cue.stop()


@virtual
async def test_where_nothing_that_is_pending_can_move_the_first_that_waits_comes_in_and_that_is_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    cue = runcue.Cue(max_pending=3, id_prefix="")
    flags = [Flag(f"flag-{number}") for number in range(2)]

    @cue.task("read", inputs=lambda work: flags[work.params["n"]])
    async def read(work: runcue.Work) -> None: ...

    @cue.task("make", outputs=lambda work: flags[work.params["n"]])
    async def make(work: runcue.Work) -> None:
        await asyncio.sleep(1)
        flags[work.params["n"]].set()

    warnings: list[runcue.abc.CueWarning] = []

    class Observes(runcue.Observer):
        def warned(self, warning: runcue.abc.CueWarning) -> None:
            warnings.append(warning)

    cue.observe(Observes())
    with caplog.at_level(logging.WARNING, "runcue"):
        cue.start()
        for n in range(2):
            for _ in range(3):
                await cue.submit("read", {"n": n})
            await asyncio.wait_for(cue.submit("make", {"n": n}), 0.5)
            await asyncio.sleep(2)
        summary = await cue.stop()
    assert summary.counts["completed"] == 8
    [told] = [one for one in warnings if one.kind == "full"]
    assert told.text.startswith(
        "Nothing that is pending can move, and whoever submits more waits for room "
        "(3 work units are pending, 1 submission waits, max_pending=3)."
    )
    assert "So make is taken in all the same" in told.text
    assert [record.getMessage() for record in caplog.records if "waits for room" in record.getMessage()] == [
        told.text
    ]


@virtual
async def test_where_all_that_was_pending_is_through_in_one_turn_nothing_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    cue = runcue.Cue(max_pending=3)

    @cue.task("t")
    async def t(work: runcue.Work) -> None: ...

    with caplog.at_level(logging.WARNING, "runcue"):
        async with cue:
            for _ in range(50):
                await cue.submit("t")
    assert cue.counts()["completed"] == 50
    assert not caplog.records


@virtual
async def test_while_something_that_is_pending_can_move_nobody_comes_in() -> None:
    cue = runcue.Cue(max_pending=2)
    cue.service("slow", rate="1/min")
    cue.task("t", uses="slow")(lambda work: None)
    cue.start()
    await cue.submit("t")
    await asyncio.sleep(1)
    await cue.submit("t")
    await cue.submit("t")
    began = now()
    await cue.submit("t")
    assert 58 <= now() - began <= 60, "the next token is a minute away"
    await cue.stop(drain=False)


@virtual
async def test_one_that_runs_and_merely_waits_for_what_is_pending_does_not_move() -> None:
    cue = runcue.Cue(max_pending=1)
    flag = Flag("flag")

    @cue.task("read", inputs=flag)
    async def read(work: runcue.Work) -> None: ...

    @cue.task("make", outputs=flag)
    async def make(work: runcue.Work) -> None:
        flag.set()

    @cue.task("parent")
    async def parent(work: runcue.Work) -> None:
        await (await cue.submit("read"))

    cue.start()
    handle = await cue.submit("parent")
    await asyncio.sleep(1)
    await cue.submit("make")
    await handle
    assert now() < 1.5
    await cue.stop()


@virtual
async def test_stop_ends_a_wait_and_a_drain_waits_for_it() -> None:
    cue = one_at_a_time(1)
    cue.start()
    await cue.submit("t")
    await asyncio.sleep(0.5)
    await cue.submit("t")
    waits = [asyncio.create_task(cue.submit("t")) for _ in range(3)]
    await asyncio.sleep(0)
    assert repr(cue).endswith("1 pending, 1 running; 3 submissions wait for room>")
    assert "3 submissions wait for room" in str(cue.why())
    summary = await cue.drain()
    assert summary.counts["completed"] == 5
    assert all(task.done() for task in waits)
    assert "room" not in repr(cue)
    assert "room" not in str(cue.why())

    await cue.submit("t")
    await asyncio.sleep(0.5)
    await cue.submit("t")
    refused = [asyncio.create_task(cue.submit("t", must_complete=number == 0)) for number in range(3)]
    await asyncio.sleep(0)
    summary = await cue.stop()
    assert summary.counts["completed"] == 7
    for task in refused:
        with pytest.raises(runcue.CueStopped, match="being stopped while submit\\(\\) waits for room"):
            await task


@virtual
async def test_who_was_let_in_just_before_a_stop_is_refused_as_well() -> None:
    cue = one_at_a_time(1)
    cue.start()
    await cue.submit("t")
    await asyncio.sleep(0.5)
    pending = await cue.submit("t")
    waits = asyncio.create_task(cue.submit("t"))
    await asyncio.sleep(0)
    await cue.cancel(pending)
    room = cue._intake.room
    assert room is not None
    while not room._let_in:
        await asyncio.sleep(0)
    await cue.stop(drain=False, timeout=0)
    with pytest.raises(runcue.CueStopped):
        await waits


@virtual
async def test_the_failure_of_the_scheduler_ends_a_wait() -> None:
    cue = one_at_a_time(1)
    cue.start()
    await cue.submit("t")
    await asyncio.sleep(0.5)
    await cue.submit("t")
    waits = asyncio.create_task(cue.submit("t"))
    await asyncio.sleep(0)
    logging.getLogger("runcue").setLevel(logging.CRITICAL + 1)
    try:
        cue._dispatcher.turns.fail(RuntimeError("broken"))
    finally:
        logging.getLogger("runcue").setLevel(logging.NOTSET)
    with pytest.raises(runcue.CueFailed):
        await waits
    with pytest.raises(runcue.CueFailed):
        await cue.stop()


@virtual
async def test_params_are_taken_over_before_the_wait_and_mistakes_are_told_before_it() -> None:
    cue = one_at_a_time(1)
    cue.start()
    await cue.submit("t")
    await asyncio.sleep(0.5)
    await cue.submit("t")
    with pytest.raises(runcue.UnknownTask):
        await cue.submit("unknown")
    with pytest.raises(runcue.InvalidParams):
        await cue.submit("t", 3)  # type: ignore[arg-type]
    with pytest.raises(runcue.ConfigurationError):
        await cue.submit("t", priority=7)
    params = {"n": 1}
    waits = asyncio.create_task(cue.submit("t", params))
    await asyncio.sleep(0)
    params["n"] = 2
    assert (await waits).work.params == {"n": 1}
    await cue.stop()


@virtual
async def test_a_task_that_is_defined_anew_while_somebody_waits_is_the_new_one() -> None:
    cue = one_at_a_time(1)
    ran = []

    def define(what: str) -> None:
        @cue.task("again")
        async def again(work: runcue.Work) -> None:
            ran.append(what)

    define("old")
    cue.start()
    await cue.submit("t")
    await asyncio.sleep(0.5)
    await cue.submit("t")
    waits = asyncio.create_task(cue.submit("again"))
    await asyncio.sleep(0)
    define("new")
    await (await waits)
    assert ran == ["new"]
    await cue.stop()


@virtual
async def test_a_work_unit_that_is_tried_once_more_waits_for_room_as_well() -> None:
    cue = one_at_a_time(1)
    cue.start()
    gone = await cue.submit("t")
    await cue.cancel(gone)
    await cue.submit("t")
    await asyncio.sleep(0.5)
    await cue.submit("t")
    again = await cue.retry(gone)
    assert now() == 1.0
    assert again.work.retry_of == gone
    await cue.stop()


@settings(max_examples=40)
@given(
    most=st.integers(1, 4),
    slots=st.integers(1, 3),
    steps=st.lists(st.tuples(st.sampled_from("sssscdw"), st.integers(0, 3)), max_size=30),
)
def test_there_are_never_more_and_each_comes_in_as_soon_as_there_is_room(
    most: int, slots: int, steps: list[tuple[str, int]]
) -> None:
    @virtual
    async def main() -> None:
        cue = runcue.Cue(max_pending=most)
        cue.service("api", concurrent=slots)
        room = cue._intake.room
        assert room is not None

        @cue.task("t", uses="api")
        async def t(work: runcue.Work) -> None:
            await asyncio.sleep(work.params["n"])

        cue.start()
        tasks: list[asyncio.Task[runcue.WorkHandle]] = []
        wanted: list[int] = []
        for number, (step, n) in enumerate(steps):
            if step == "s":
                tasks.append(asyncio.create_task(cue.submit("t", {"n": n, "number": number})))
                wanted.append(number)
            elif step == "c" and tasks:
                tasks[n % len(tasks)].cancel()
            elif step == "d":
                await cue.submit("t", {"n": n}, delay=n or None, wait=True)
            elif step == "w":
                await asyncio.sleep(n / 2)
                for _ in range(20):
                    await asyncio.sleep(0)
                assert room.pending() <= most + sum(one == "d" for one, _ in steps)
                assert not room.waiting or room.pending() >= most, "nobody waits while there is room"
        if tasks:
            await asyncio.wait(tasks)
        assert not room.waiting
        came = [task.result().work.params["number"] for task in tasks if not task.cancelled()]
        numbers = [work.params["number"] for work in await cue.list() if "number" in work.params]
        assert numbers == sorted(came)
        await cue.stop()

    main()


@each_loop
def test_on_any_loop_who_waits_comes_in_in_order_and_who_gives_up_holds_up_nobody(loop: str) -> None:
    async def main() -> None:
        cue = runcue.Cue(max_pending=1)
        cue.service("one", concurrent=1)
        go = asyncio.Event()

        @cue.task("t", uses="one")
        async def t(work: runcue.Work) -> None:
            await go.wait()

        async with cue:
            for _ in range(2):
                await cue.submit("t")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(cue.submit("t", {"n": -1}), 0.02)
            waits = [asyncio.create_task(cue.submit("t", {"n": number})) for number in range(30)]
            await asyncio.sleep(0.01)
            for task in waits[::3]:
                task.cancel()
            await asyncio.sleep(0)
            assert not any(task.done() for task in waits[1::3])
            go.set()
            await asyncio.wait(waits)
        works = [work.params["n"] for work in await cue.list() if work.params]
        assert works == [number for number in range(30) if number % 3]

    run_on(loop, main)


@each_loop
def test_threads_wait_as_well_in_their_order(loop: str) -> None:
    cue = runcue.Cue(max_pending=1)
    cue.service("one", concurrent=1)
    go = asyncio.Event()

    @cue.task("t", uses="one")
    async def t(work: runcue.Work) -> None:
        await go.wait()

    async def main() -> None:
        async with cue:
            await cue.submit("t")
            await asyncio.sleep(0.01)
            await cue.submit("t")
            with pytest.raises(runcue.CueFull):
                await asyncio.to_thread(cue.submit_threadsafe, "t", wait=False)
            waits = []
            room = cue._intake.room
            assert room is not None
            for number in range(4):
                call: Any = (
                    cue.submit("t", {"n": number})
                    if number % 2
                    else asyncio.to_thread(cue.submit_threadsafe, "t", {"n": number})
                )
                waits.append(asyncio.create_task(call))
                while room.waiting <= number:
                    await asyncio.sleep(0.001)
            assert not any(task.done() for task in waits)
            go.set()
            await asyncio.wait(waits)
        works = sorted((work for work in await cue.list() if work.params), key=lambda work: work._seq)
        assert [work.params["n"] for work in works] == [0, 1, 2, 3]
        assert cue.counts()["completed"] == 6

    run_on(loop, main)


@each_loop
def test_a_stop_and_the_end_of_the_loop_end_the_wait_of_a_thread(loop: str) -> None:
    errors: list[BaseException] = []

    async def main(*, stops: bool) -> None:
        cue = one_at_a_time(1)
        cue.start()
        await cue.submit("t", {"seconds": 3600})
        await asyncio.sleep(0.01)
        await cue.submit("t")

        def submit() -> None:
            try:
                cue.submit_threadsafe("t")
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=submit)
        thread.start()
        threads.append(thread)
        room = cue._intake.room
        assert room is not None
        while not room.waiting:
            await asyncio.sleep(0.001)
        if stops:
            await cue.stop(drain=False, timeout=0)

    threads: list[threading.Thread] = []
    run_on(loop, lambda: main(stops=True))
    with pytest.warns(ResourceWarning, match="A Cue was not stopped"):
        run_on(loop, lambda: main(stops=False))
    for thread in threads:
        thread.join(5)
        assert not thread.is_alive()
    assert [type(error) for error in errors] == [runcue.CueStopped, runcue.CueStopped]


def test_plain_handlers_wait_for_nothing_nor_do_threads_of_theirs() -> None:
    cue = runcue.Cue(max_pending=1)
    cue.service("one", concurrent=1)

    @cue.task("parent", uses="one")
    def parent(work: runcue.Work) -> None:
        for _ in range(3):
            work.submit("child")
            cue.submit_threadsafe("child")
        thread = threading.Thread(target=work.submit, args=("child",))
        thread.start()
        thread.join()

    @cue.task("child", uses="one")
    def child(work: runcue.Work) -> None: ...

    with runcue.blocking(cue) as b:
        b.result(b.submit("parent"))
        assert b.drain().by_task["child"]["completed"] == 7


@pytest.mark.parametrize("is_async", [False, True], ids=["plain", "async"])
@pytest.mark.parametrize("ordered", [False, True], ids=["unordered", "ordered"])
def test_a_map_waits_for_room_and_goes_on_to_give_what_has_settled(*, is_async: bool, ordered: bool) -> None:
    @virtual
    async def main() -> None:
        cue = runcue.Cue(max_pending=2)
        cue.service("api", concurrent=2)
        most = 0

        @cue.task(uses="api")
        async def double(number: int) -> int:
            nonlocal most
            most = max(most, cue.counts()["pending"])
            await asyncio.sleep(1)
            return 2 * number

        async def numbers() -> Any:
            for number in range(10):
                yield number

        cue.start()
        given = numbers() if is_async else range(10)
        works = cue.map(double, given, window=100, ordered=ordered)
        got = [(work.result, now()) async for work in works]
        assert sorted(value for value, _ in got) == [2 * number for number in range(10)]
        assert [at for _, at in got] == [float(1 + number // 2) for number in range(10)]
        assert most <= 2
        await cue.stop()

    main()


@virtual
async def test_who_goes_through_a_map_and_is_at_something_else_keeps_no_room() -> None:
    cue = one_at_a_time(1)
    cue.start()
    async with cue.map("t", [{}] * 10, window=10) as works:
        async for _ in works:
            waits = asyncio.create_task(cue.submit("t"))
            await asyncio.sleep(5)
            assert waits.done()
            break
    assert cue._intake.room is not None
    assert not cue._intake.room.waiting
    await cue.stop()


@pytest.mark.parametrize("is_async", [False, True], ids=["plain", "async"])
def test_a_map_that_waits_for_room_ends_with_its_cue_and_needs_a_started_one(*, is_async: bool) -> None:
    @virtual
    async def main() -> None:
        async def params() -> Any:
            for number in range(10):
                yield {"seconds": 100 * number + 1}

        cue = one_at_a_time(1)
        with pytest.raises(runcue.UsageError, match="its cue is not started: call start"):
            await anext(cue.map("t", params() if is_async else [{}] * 10))
        assert await cue.list() == []
        cue.start()
        got: list[str] = []

        async def go_through() -> None:
            async for work in cue.map("t", params() if is_async else [{"seconds": 100}] * 10):
                got.append(work.state.value)  # noqa: PERF401 - it ends by an error

        task = asyncio.create_task(go_through())
        await asyncio.sleep(0.5)
        await cue.stop(drain=False, timeout=0)
        with pytest.raises(runcue.CueStopped):
            await task
        assert set(got) == {"cancelled"}

    main()


def test_the_files_of_a_watched_folder_wait_for_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watching = pytest.importorskip("runcue._artifacts.watching", reason="watchfiles is not installed")
    monkeypatch.setattr(watching.Watcher, "start", lambda watcher, is_over: None)
    real = time.time
    monkeypatch.setattr("runcue._api.drop_folders.time.time", lambda: real() + 3600)
    for number in range(10):
        (tmp_path / str(number)).write_text("text")

    @virtual
    async def main() -> None:
        cue = runcue.Cue(max_pending=2)
        cue.service("one", concurrent=1)
        most, seen = 0, []

        @cue.task(uses="one")
        async def convert(work: runcue.Work) -> None:
            nonlocal most
            most = max(most, cue.counts()["pending"])
            seen.append((Path(work.params["path"]).name, now()))
            await asyncio.sleep(1)

        cue.watch(tmp_path, submit=convert)
        cue.start()
        await asyncio.sleep(2.5)
        assert cue.counts() | {"skipped": 0} == {
            **dict.fromkeys(cue.counts(), 0),
            "pending": 2,
            "running": 1,
            "completed": 2,
        }
        await cue.drain()
        assert seen == [(str(number), float(number)) for number in range(10)]
        assert most <= 2
        (tmp_path / "11").write_text("text")
        await cue.stop()

    main()


@each_loop
@pytest.mark.parametrize("way", ["submit_threadsafe", "a coroutine"])
def test_a_thread_that_waits_for_room_while_something_runs_is_told_of_with_its_line(
    way: str, loop: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        cue = one_at_a_time(1, stall_warn_after=0.05)
        cue.start()
        running = asyncio.get_running_loop()
        is_done = threading.Lock()
        is_done.acquire()

        async def submits_both() -> None:
            [await cue.submit("t", {"seconds": 0}) for _ in range(2)]

        def submits() -> None:
            with contextlib.suppress(runcue.CueStopped, futures.CancelledError):
                if way == "a coroutine":
                    asyncio.run_coroutine_threadsafe(submits_both(), running).result()
                else:
                    [cue.submit_threadsafe("t", {"seconds": 0}) for _ in range(2)]
            is_done.release()

        @cue.task(uses="one")
        def spawns() -> None:
            threading.Thread(target=submits).start()
            is_done.acquire()  # nothing says who is going to release it

        await cue.call(spawns)
        while cue.counts()["pending"] < 1 or "waits for room" not in str(cue.why()):
            await asyncio.sleep(0.001)
        place = r"\(at .*submits.* \(.*test_room\.py:\d+\)\)"
        told = (
            rf"1 submission waits for room, 1 of other threads {place}: if a running handler waits for such a thread, "
            r"which runcue does not see, neither goes on, and it is to submit by work\.submit\(\)"
        )
        while not cue.why().places:  # it may be on its way there
            await asyncio.sleep(0.001)
        assert re.search(f"{told}$", str(cue.why()))
        assert re.fullmatch(r".*submits.* \(.*test_room\.py:\d+\)", cue.why().places[0])
        while not (stalled := [line for line in caplog.messages if line.startswith("No progress")]):
            await asyncio.sleep(0.001)
        # In the middle it is cut where paths are long.
        assert (
            "which runcue does not see, neither goes on, and it is to submit by work.submit()" in stalled[0]
        )
        assert "see, neither goes on, and it is to submit by work.submit(); t 2: " in stalled[0]
        await cue.stop(drain=False, timeout=0.1)

    run_on(loop, main)


def by_join(work: Callable[[], object]) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def by_join_of_one_that_joins(work: Callable[[], object]) -> None:
    by_join(lambda: by_join(work))


def by_a_result(work: Callable[[], object]) -> None:
    pool = ThreadPoolExecutor(1)
    pool.submit(work).result()
    pool.shutdown(wait=False)


def by_the_end_of_a_pool(work: Callable[[], object]) -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(work)


def by_one_of_several(work: Callable[[], object]) -> None:
    pool = ThreadPoolExecutor(1)
    for future in as_completed([pool.submit(work)]):
        future.result()
    pool.shutdown(wait=False)


def by_an_event(work: Callable[[], object]) -> None:
    is_done = threading.Event()
    threading.Thread(target=lambda: (work(), is_done.set())).start()
    is_done.wait()


def by_a_queue_of_an_object(work: Callable[[], object]) -> None:
    class Worker(threading.Thread):
        def __init__(self) -> None:
            super().__init__()
            self.done = queue.Queue()

        def run(self) -> None:
            work()
            self.done.put(None)

    worker = Worker()
    worker.start()
    worker.done.get()


ways = [
    by_join,
    by_join_of_one_that_joins,
    by_a_result,
    by_the_end_of_a_pool,
    by_one_of_several,
    by_an_event,
    by_a_queue_of_an_object,
]


@each_loop
@pytest.mark.parametrize("waits", ways)
def test_a_thread_that_a_handler_has_started_comes_in_when_that_waits_for_it(
    waits: Callable[[Callable[[], object]], None], loop: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        cue = one_at_a_time(1)

        @cue.task(uses="one")
        def parent() -> None:
            waits(lambda: [cue.submit_threadsafe("t", {"seconds": 0}) for _ in range(4)])

        async with cue:
            await (await cue.call(parent))
            assert cue.counts()["pending"] + cue.counts()["running"] + cue.counts()["completed"] == 5

    run_on(loop, main)
    assert not caplog.records, "that is no standstill"


@pytest.mark.parametrize("call", ["submit", "map", "group"])
def test_so_does_one_whose_call_goes_on_in_the_event_loop(call: str) -> None:
    cue = one_at_a_time(1)
    params = {"seconds": 0}
    with runcue.blocking(cue) as b:

        def calls() -> None:
            if call == "submit":
                for _ in range(4):
                    b.submit("t", params)
            elif call == "map":
                assert len(list(b.map("t", [params] * 4))) == 4
            else:
                with b.group() as group:
                    for _ in range(4):
                        group.submit("t", params)

        # It may keep the slot as long as nobody waits for what needs that.
        @cue.task(uses="one" if call == "submit" else [])
        def parent() -> None:
            by_join(calls)

        b.result(b.call(parent))


@each_loop
def test_so_does_a_coroutine_that_it_has_given_to_the_event_loop(loop: str) -> None:
    async def main() -> None:
        cue = one_at_a_time(1)
        here = asyncio.get_running_loop()

        async def submits() -> None:
            for _ in range(4):
                await cue.submit("t", {"seconds": 0})

        @cue.task(uses="one")
        def parent() -> None:
            by_join(lambda: asyncio.run_coroutine_threadsafe(submits(), here).result())

        async with cue:
            await (await cue.call(parent))

    run_on(loop, main)


@each_loop
@pytest.mark.parametrize("waits", ["executor", "spawned", "event"])
def test_so_does_what_an_async_handler_waits_for_in_a_thread(waits: str, loop: str) -> None:
    async def main() -> None:
        cue = one_at_a_time(1)

        def submits() -> None:
            for _ in range(4):
                cue.submit_threadsafe("t", {"seconds": 0})

        async def in_executor() -> None:
            await asyncio.get_running_loop().run_in_executor(None, submits)

        @cue.task(uses="one")
        async def parent() -> None:
            if waits == "event":
                is_done, here = asyncio.Event(), asyncio.get_running_loop()
                work = lambda: (submits(), here.call_soon_threadsafe(is_done.set))  # noqa: E731
                threading.Thread(target=work).start()
                await is_done.wait()
            else:
                await (asyncio.create_task(in_executor()) if waits == "spawned" else in_executor())

        async with cue:
            await (await cue.call(parent))

    run_on(loop, main)


def test_other_threads_go_on_to_wait_while_handlers_wait_for_threads_of_their_own() -> None:
    async def main() -> None:
        cue = one_at_a_time(1)
        go_on = threading.Event()

        @cue.task(uses="one")
        def parent() -> None:
            by_join(go_on.wait)  # type: ignore[arg-type]

        async with cue:
            await cue.call(parent)
            await cue.submit("t", {"seconds": 0})
            outside = [asyncio.create_task(cue.submit("t", {"seconds": 0}))]
            other = threading.Thread(target=cue.submit_threadsafe, args=("t", {"seconds": 0}))
            other.start()
            await asyncio.sleep(0.3)
            assert cue.counts()["pending"] == 1
            assert not outside[0].done()
            assert other.is_alive()
            go_on.set()
            await asyncio.gather(*outside)
            await asyncio.to_thread(other.join)

    asyncio.run(main())
