"""Those who wait for work units that need what they hold: what is proven, what ends by itself, what cannot be known."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import anyio
import pytest

import runcue
from tests.attacks.loops import LOOPS, run_on
from tests.support.virtual_time import now, virtual

on_each_loop = pytest.mark.parametrize("loop", LOOPS)

Wait = Callable[[runcue.WorkHandle], Coroutine[Any, Any, Any]]


async def plainly(handle: runcue.WorkHandle) -> None:
    await handle.result()


async def as_a_handle(handle: runcue.WorkHandle) -> None:
    await asyncio.gather(handle, asyncio.shield(handle))


async def in_a_task(handle: runcue.WorkHandle) -> None:
    await asyncio.create_task(handle.wait())


async def in_a_task_begun_before(handle: runcue.WorkHandle) -> None:
    task = asyncio.create_task(handle.wait())
    await asyncio.sleep(0.1)
    await task


async def gathered(handle: runcue.WorkHandle) -> None:
    await asyncio.gather(handle.result(), asyncio.gather(handle.wait()), asyncio.shield(handle.result()))


async def gathered_beside_a_failure(handle: runcue.WorkHandle) -> None:
    async def fails() -> None:
        raise ValueError

    await asyncio.gather(handle.result(), fails(), return_exceptions=True)


async def waited_for(handle: runcue.WorkHandle) -> None:
    await asyncio.wait({asyncio.ensure_future(handle.wait())})


async def as_completed(handle: runcue.WorkHandle) -> None:
    for one in asyncio.as_completed([handle.result(), handle.wait()]):
        await one


async def as_completed_by_way_of_a_list(handle: runcue.WorkHandle) -> None:
    [one] = list(asyncio.as_completed([handle.result()]))
    await one


async def shielded(handle: runcue.WorkHandle) -> None:
    await asyncio.shield(handle.result())


async def in_a_group(handle: runcue.WorkHandle) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(handle.result())


async def in_a_group_of_anyio(handle: runcue.WorkHandle) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(handle.wait)


async def in_groups_of_groups(handle: runcue.WorkHandle) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(in_a_group, handle)
        await in_a_group_of_anyio(handle)


async def results(handle: runcue.WorkHandle) -> AsyncIterator[Any]:
    yield await handle.result()


async def in_a_generator(handle: runcue.WorkHandle) -> None:
    async for _ in results(handle):
        pass


class Awaitable:
    def __init__(self, handle: runcue.WorkHandle) -> None:
        self.handle = handle

    def __await__(self) -> Any:
        return self.handle.result().__await__()


async def by_an_awaitable_of_ones_own(handle: runcue.WorkHandle) -> None:
    await Awaitable(handle)


PROVEN: list[Wait] = [
    plainly, as_a_handle, in_a_task, in_a_task_begun_before, gathered, gathered_beside_a_failure, waited_for,
    as_completed,
    as_completed_by_way_of_a_list, shielded, in_a_group, in_a_group_of_anyio, in_groups_of_groups, in_a_generator,
    by_an_awaitable_of_ones_own,
]  # fmt: skip
each_proven = pytest.mark.parametrize("wait", PROVEN, ids=lambda wait: wait.__name__)


def one_slot(wait: Wait, **options: Any) -> runcue.Cue:
    """A cue with "parent", which waits for a "child" that needs the only slot, which the parent holds."""
    cue = runcue.Cue(id_prefix="", **options)
    cue.on_failure(lambda work, error: None)
    cue.service("one", concurrent=1)

    @cue.task("child", uses="one")
    async def child(work: runcue.Work) -> None: ...

    @cue.task("parent", uses="one")
    async def parent(work: runcue.Work) -> None:
        await wait(await cue.submit("child"))

    return cue


class Ear(runcue.Observer):
    """Hears what a cue is told to wait for."""

    def __init__(self, cue: runcue.Cue) -> None:
        self.heard: list[runcue.CueWarning] = []
        self.deadlock = asyncio.Event()
        cue.observe(self)

    def warned(self, warning: runcue.CueWarning) -> None:
        if warning.kind in ("deadlock", "self_wait"):
            self.heard.append(warning)
        if warning.kind == "deadlock":
            self.deadlock.set()

    def kinds(self) -> list[str]:
        return [warning.kind for warning in self.heard]


async def for_seconds(seconds: float) -> None:
    """Let time pass as it does on a real clock: a little at a time."""
    until = now() + seconds
    while now() < until:
        await asyncio.sleep(min(0.1, until - now()))


@pytest.mark.rule(36)
@each_proven
@virtual
async def test_a_deadlock_is_told_within_a_second_though_nobody_asked(wait: Wait) -> None:
    cue = one_slot(wait)
    ear = Ear(cue)
    cue.start()
    parent = await cue.submit("parent")
    result = asyncio.create_task(parent.wait())
    await for_seconds(1.1)
    [warning] = ear.heard
    assert (warning.kind, warning.works) == ("deadlock", (parent.work,))
    for word in ("parent 1", "child 2", "one: the only slot is in use", "held by parent 1", "concurrent="):
        assert word in warning.text
    await for_seconds(10)
    assert len(ear.heard) == 1
    summary = await cue.stop()
    assert summary.deadlocked == [parent.work]
    await result
    assert len(ear.heard) == 1


@pytest.mark.rule(36)
@each_proven
@pytest.mark.parametrize("call", ["drain", "stop"])
@virtual
async def test_a_drain_ends_at_a_deadlock_and_lists_it(wait: Wait, call: str) -> None:
    cue = one_slot(wait)
    ear = Ear(cue)
    cue.start()
    parent = await cue.submit("parent")
    summary = await getattr(cue, call)()
    assert summary.deadlocked == [parent.work]
    assert [blocked["work"].task for blocked in summary.blocked] == ["child"]
    assert ear.kinds() == ["deadlock"]
    assert now() < 1
    await cue.stop()
    assert ear.kinds() == ["deadlock"]


@pytest.mark.rule(36)
@on_each_loop
def test_deadlocks_are_told_on_both_loops_within_a_second(loop: str) -> None:
    async def main() -> None:
        cues = [one_slot(wait) for wait in PROVEN]
        ears = [Ear(cue) for cue in cues]
        for cue in cues:
            cue.start()
            await cue.submit("parent")
        async with asyncio.timeout(30):
            for ear in ears:
                await ear.deadlock.wait()
        for cue in cues:
            assert len((await cue.stop()).deadlocked) == 1

    run_on(loop, main())


@pytest.mark.rule(36)
@virtual
async def test_why_and_debug_blocked_name_both_work_units_and_the_slot() -> None:
    cue = one_slot(plainly)
    cue.start()
    parent = await cue.submit("parent")
    await asyncio.sleep(0.1)
    behind = await cue.submit("child")
    await asyncio.sleep(0.1)
    child = await cue.get("2")
    assert child is not None
    for work in (parent, child):
        why = cue.why(work)
        assert why.verdict == "deadlock"
        assert "parent 1 waits for child 2" in why.details
        assert "child 2 needs a slot (one: the only slot is in use, held by parent 1)" in str(why)
    why = cue.why(behind)  # which nobody waits for
    assert why.verdict == "waiting for a slot"
    assert why.held_by == (parent.work,)
    assert "parent 1 waits for child 2" in why.details
    assert [blocked["work"] for blocked in cue.debug_blocked()] == [child, behind.work]
    for blocked in cue.debug_blocked():
        assert blocked["details"] == "one: the only slot is in use; parent 1 waits for child 2 (deadlock)"
    await cue.stop()


# What ends by itself.


async def by_wait_for(handle: runcue.WorkHandle) -> None:
    await asyncio.wait_for(handle.result(), 5)


async def by_a_timeout(handle: runcue.WorkHandle) -> None:
    async with asyncio.timeout(5):
        await handle.result()


async def by_a_timeout_of_the_task_that_waits(handle: runcue.WorkHandle) -> None:
    await asyncio.gather(handle.result(), by_a_timeout(handle))


async def by_a_scope(handle: runcue.WorkHandle) -> None:
    with anyio.move_on_after(5):
        await in_a_group_of_anyio(handle)


async def by_a_failing_scope(handle: runcue.WorkHandle) -> None:
    with anyio.fail_after(5):
        await handle.result()


async def by_the_scope_of_a_group(handle: runcue.WorkHandle) -> None:
    async with anyio.create_task_group() as group:
        group.cancel_scope.deadline = anyio.current_time() + 5
        await handle.result()


async def by_an_exit_stack(handle: runcue.WorkHandle) -> None:
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(anyio.move_on_after(5))
        await handle.result()


@contextlib.asynccontextmanager
async def patience() -> AsyncIterator[None]:
    async with asyncio.timeout(5):
        yield


async def by_a_context_manager_of_ones_own(handle: runcue.WorkHandle) -> None:
    async with patience():
        await handle.result()


class Patience:
    """A context manager that has others, deep down."""

    def __init__(self) -> None:
        self.stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> None:
        await self.stack.enter_async_context(patience())

    async def __aexit__(self, *error: object) -> bool | None:
        return await self.stack.__aexit__(*error)  # type: ignore[arg-type]


class PatienceInASlot:
    __slots__ = ("timeout",)

    async def __aenter__(self) -> None:
        self.timeout = asyncio.timeout(5)
        await self.timeout.__aenter__()

    async def __aexit__(self, *error: object) -> bool | None:
        return await self.timeout.__aexit__(*error)  # type: ignore[arg-type]


async def by_a_context_manager_that_has_others(handle: runcue.WorkHandle) -> None:
    async with Patience():
        await handle.result()


async def by_a_context_manager_with_slots(handle: runcue.WorkHandle) -> None:
    async with PatienceInASlot():
        await handle.result()


async def by_wait(handle: runcue.WorkHandle) -> None:
    await asyncio.wait([asyncio.ensure_future(handle.wait())], timeout=5)


async def by_as_completed(handle: runcue.WorkHandle) -> None:
    for one in asyncio.as_completed([handle.result()], timeout=5):
        await one


async def by_a_timer_that_it_keeps(handle: runcue.WorkHandle) -> None:
    waiting = asyncio.create_task(handle.result())
    timer = asyncio.get_running_loop().call_later(5, waiting.cancel)
    try:
        await waiting
    finally:
        timer.cancel()


class Patient:
    """Keeps its timers itself, in one way or the other."""

    def __init__(self) -> None:
        self.timers: dict[str, asyncio.TimerHandle] = {}
        self.timer: asyncio.TimerHandle | None = None

    async def waits(self, handle: runcue.WorkHandle) -> None:
        self.timer = asyncio.get_running_loop().call_later(5, handle.cancel)
        await handle.wait()

    def beside(self, handle: runcue.WorkHandle) -> None:
        self.timers[handle] = asyncio.get_running_loop().call_later(5, handle.cancel)


async def by_a_timer_of_its_object(handle: runcue.WorkHandle) -> None:
    await Patient().waits(handle)


async def by_a_timer_of_another_object(handle: runcue.WorkHandle) -> None:
    watch = Patient()
    watch.beside(handle)
    await handle.wait()


ENDING: list[Wait] = [
    by_wait_for, by_a_timeout, by_a_timeout_of_the_task_that_waits, by_a_scope, by_a_failing_scope,
    by_the_scope_of_a_group, by_an_exit_stack, by_a_context_manager_of_ones_own,
    by_a_context_manager_that_has_others, by_a_context_manager_with_slots, by_wait, by_as_completed,
    by_a_timer_that_it_keeps, by_a_timer_of_its_object, by_a_timer_of_another_object,
]  # fmt: skip


@pytest.mark.rule(36)
@pytest.mark.parametrize("wait", ENDING, ids=lambda wait: wait.__name__)
@virtual
async def test_a_wait_with_an_end_of_its_own_is_told_with_it_and_not_ended_before(wait: Wait) -> None:
    cue = one_slot(wait, stall_timeout=2)
    ear = Ear(cue)
    cue.start()
    parent = await cue.submit("parent")
    await for_seconds(1.1)
    [warning] = ear.heard
    assert (warning.kind, warning.works) == ("self_wait", (parent.work,))
    assert "parent 1 waits for itself until 00:00:05 (in 4" in warning.text
    assert "parent 1 waits for child 2" in warning.text
    assert "until" in cue.why(parent).details
    summary = await cue.drain()
    assert 5 <= now() < 5.2
    assert summary.deadlocked == []
    assert summary.counts["completed"] >= 1  # the child, at last
    assert ear.kinds() == ["self_wait"]
    await cue.stop()


class Client:
    """Keeps a connection alive, for as long as there is an event loop."""

    def __init__(self) -> None:
        self.pinging = asyncio.create_task(self.ping())

    async def ping(self) -> None:
        while True:
            await asyncio.sleep(0.5)


@pytest.mark.rule(36)
@virtual
async def test_where_a_task_that_never_ends_might_end_the_wait_it_is_told_that_it_may_be_for_ever(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def with_a_client(handle: runcue.WorkHandle) -> None:
        client = Client()
        try:
            await handle.result()
        finally:
            client.pinging.cancel()

    cue = one_slot(with_a_client, pending_warn_after=3)
    ear = Ear(cue)
    cue.start()
    parent = await cue.submit("parent")
    await for_seconds(4)
    [first] = ear.heard
    assert (first.kind, first.works) == ("self_wait", (parent.work,))
    assert "parent 1 waits for itself until the task Client.ping lets it go on, or for ever: " in first.text
    assert "parent 1 waits for child 2 (for ever, unless the task Client.ping lets it go on)" in caplog.text
    summary = await cue.drain(timeout=1)
    assert summary.deadlocked == []
    await cue.stop(drain=False, timeout=0)


async def within_a_moment(handle: runcue.WorkHandle) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(handle.result(), 0.1)


async def within_the_scope_of_a_moment(handle: runcue.WorkHandle) -> None:
    with anyio.move_on_after(0.1):
        await handle.result()


@pytest.mark.rule(36)
@pytest.mark.parametrize("wait", [plainly, gathered, in_a_group], ids=lambda wait: wait.__name__)
@pytest.mark.parametrize("call", ["drain", "stop"])
@virtual
async def test_a_pending_timeout_of_what_is_waited_for_ends_a_wait(wait: Wait, call: str) -> None:
    cue = one_slot(wait, pending_timeout=5)
    ear = Ear(cue)
    cue.start()
    parent = await cue.submit("parent")
    await for_seconds(1.1)
    [warning] = ear.heard
    assert (warning.kind, warning.works) == ("self_wait", (parent.work,))
    assert "parent 1 waits for itself until 00:00:05 (in 4" in warning.text
    summary = await getattr(cue, call)()
    assert 5 <= now() < 5.2
    assert summary.deadlocked == []
    assert summary.counts["failed"] == 2  # the child by its time-out, the parent by that error
    assert ear.kinds() == ["self_wait"]
    await cue.stop()


@pytest.mark.rule(36)
@virtual
async def test_a_pending_timeout_ends_the_waits_of_those_who_wait_for_who_waits_but_no_ring() -> None:
    cue = runcue.Cue(id_prefix="", pending_timeout=5)
    cue.service("one", concurrent=1)
    handles: list[runcue.WorkHandle] = []

    @cue.task("grandchild", uses="one")
    async def grandchild(work: runcue.Work) -> None: ...

    @cue.task("child", uses="one")
    async def child(work: runcue.Work) -> None:
        with contextlib.suppress(runcue.PendingTimeout):
            await (await cue.submit("grandchild"))

    @cue.task("parent")
    async def parent(work: runcue.Work) -> None:
        await (await cue.submit("child"))

    @cue.task("ring")
    async def ring(work: runcue.Work) -> None:
        await asyncio.sleep(0)
        await handles[1 - work.params["number"]]

    cue.start()
    await cue.submit("parent")
    summary = await cue.drain()
    assert now() >= 5
    assert (summary.deadlocked, summary.counts["completed"], summary.counts["failed"]) == ([], 2, 1)
    handles += [await cue.submit("ring", {"number": number}) for number in range(2)]
    summary = await cue.drain()
    assert now() < 6
    assert set(summary.deadlocked) == {handle.work for handle in handles}
    await cue.stop()


@pytest.mark.rule(36)
@virtual
async def test_the_time_out_of_its_task_ends_a_wait_for_itself() -> None:
    cue = runcue.Cue()
    cue.on_failure(lambda work, error: None)
    ear = Ear(cue)

    @cue.task("t", key="same", timeout=5)
    async def t(work: runcue.Work) -> None:
        await (await cue.submit("t")).wait()

    cue.start()
    handle = await cue.submit("t")
    await for_seconds(1.1)
    assert ear.kinds() == ["self_wait"]
    summary = await cue.drain()
    assert summary.deadlocked == []
    assert isinstance(handle.work.exception, runcue.WorkTimeout)
    assert 5 <= now() < 5.2
    await cue.stop()


@pytest.mark.rule(36)
@virtual
async def test_many_that_wait_for_themselves_one_after_the_other_are_told_once_a_minute() -> None:
    async def for_a_second(handle: runcue.WorkHandle) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(handle.result(), 1)

    cue = one_slot(for_a_second)
    cue.priority(lambda context: float(context.work.task == "parent"))
    ear = Ear(cue)
    cue.start()
    for _ in range(30):
        await cue.submit("parent")
    await for_seconds(29)
    assert ear.kinds() == ["self_wait"]
    await cue.stop()


@pytest.mark.rule(36)
@on_each_loop
@pytest.mark.parametrize(
    "wait", [within_a_moment, within_the_scope_of_a_moment], ids=lambda wait: wait.__name__
)
def test_a_time_out_that_a_busy_loop_has_not_come_to_yet_is_no_deadlock(wait: Wait, loop: str) -> None:
    async def main() -> None:
        cue = one_slot(wait)
        ear = Ear(cue)
        cue.start()
        await cue.submit("parent")
        draining = asyncio.create_task(cue.drain())
        await asyncio.sleep(0.01)
        time.sleep(0.3)  # noqa: ASYNC251 - the loop is kept, the time-out is due by now
        cue.nudge()
        assert (await draining).deadlocked == []
        assert "deadlock" not in ear.kinds()
        await cue.stop()

    run_on(loop, main())


@pytest.mark.rule(36)
@virtual
async def test_a_task_that_may_yet_end_a_wait_is_named() -> None:
    async def guarded(handle: runcue.WorkHandle) -> None:
        waiting = asyncio.create_task(handle.result())

        async def watchdog() -> None:
            await asyncio.sleep(5)
            waiting.cancel()

        watch = asyncio.create_task(watchdog())
        with contextlib.suppress(asyncio.CancelledError):
            await waiting
        await watch

    cue = one_slot(guarded)
    ear = Ear(cue)
    cue.start()
    parent = await cue.submit("parent")
    await for_seconds(1.1)
    [warning] = ear.heard
    assert warning.kind == "self_wait"
    assert "watchdog" in warning.text
    assert (await cue.drain()).ok
    assert parent.work.state is runcue.WorkState.COMPLETED
    await cue.stop()


@pytest.mark.rule(36)
@virtual
async def test_a_time_out_that_is_over_proves_nothing_any_more() -> None:
    async def twice(handle: runcue.WorkHandle) -> None:
        async with asyncio.timeout(100) as limit:
            await asyncio.sleep(1)
        with anyio.move_on_after(100) as scope:
            await asyncio.sleep(1)
        timer = asyncio.get_running_loop().call_later(100, print)
        timer.cancel()
        await handle.result()
        assert limit is not scope is not timer

    cue = one_slot(twice)
    ear = Ear(cue)
    cue.start()
    await cue.submit("parent")
    await for_seconds(3.1)
    assert ear.kinds() == ["deadlock"]
    await cue.stop()


# What cannot be known.


@pytest.mark.rule(36)
@virtual
async def test_a_handler_that_waits_for_an_event_is_never_called_deadlocked(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def for_an_event(handle: runcue.WorkHandle) -> None:
        await asyncio.Event().wait()

    cue = one_slot(for_an_event, stall_warn_after=31)
    ear = Ear(cue)
    cue.start()
    parent = await cue.submit("parent")
    await for_seconds(31.1)
    assert ear.heard == []
    said = "parent 1 has run for 31 s and holds the slot that child 2 needs"
    assert [said in record.getMessage() for record in caplog.records] == [True]
    assert said in cue.why("2").details
    assert said in cue.why(parent).details
    summary = await cue.stop(timeout=1)
    assert summary.deadlocked == []


@pytest.mark.rule(36)
@pytest.mark.parametrize("how", ["a queue", "a lock", "a future of its own", "another cue"])
@virtual
async def test_what_cannot_be_read_is_no_deadlock(how: str) -> None:
    other = runcue.Cue()
    other.task("t", key="same")(lambda work: other.submit("t"))
    lock = asyncio.Lock()
    await lock.acquire()

    async def wait(handle: runcue.WorkHandle) -> None:
        waiting = asyncio.create_task(handle.wait())
        if how == "a queue":
            await asyncio.Queue[int]().get()
        elif how == "a lock":
            await lock.acquire()
        elif how == "a future of its own":
            done = asyncio.get_running_loop().create_future()
            waiting.add_done_callback(lambda task: done.cancel())
            await done
        else:
            await (await other.submit("t")).result()

    cue = one_slot(wait)
    ear = Ear(cue)
    async with other:
        cue.start()
        await cue.submit("parent")
        if how != "another cue":
            await for_seconds(5)
            assert ear.heard == []
        await cue.stop(timeout=0)


@pytest.mark.rule(36)
@on_each_loop
@pytest.mark.parametrize("what", ["executor", "pool", "thread", "process"])
def test_who_holds_a_thread_or_a_process_that_goes_on_is_not_ended(
    what: str, loop: str, tmp_path: Path
) -> None:
    file, enough = tmp_path / "made", threading.Event()

    def makes() -> None:
        enough.wait(30)
        file.write_text("made")

    async def begin() -> Any:
        if what == "executor":
            return asyncio.get_running_loop().run_in_executor(None, makes)
        if what == "pool":
            return concurrent.futures.ThreadPoolExecutor(1).submit(makes)
        if what == "thread":
            thread = threading.Thread(target=makes)
            thread.start()
            return thread
        code = f"import sys; sys.stdin.read(); open({str(file)!r}, 'w').close()"
        pipe = asyncio.subprocess.PIPE
        return await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdin=pipe)

    async def main() -> None:
        cue = runcue.Cue()
        ear = Ear(cue)
        held: list[Any] = []

        @cue.task("child")
        async def child(work: runcue.Work) -> None: ...

        @cue.is_ready(task="child")
        def is_made(work: runcue.Work) -> bool:
            return file.exists()

        @cue.task("parent")
        async def parent(work: runcue.Work) -> bool:
            making = await begin()
            held.append(making)
            await (await cue.submit("child"))
            return bool(making)

        cue.start()
        handle = await cue.submit("parent")
        draining = asyncio.create_task(cue.drain())
        while not held:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
        assert not draining.done()
        if what == "process":
            held[0].stdin.close()
        enough.set()
        assert (await draining).deadlocked == []
        assert (handle.state, ear.heard) == (runcue.WorkState.COMPLETED, [])
        if what == "process":
            await held[0].wait()
        await cue.stop()

    run_on(loop, main())


@pytest.mark.rule(36)
def test_a_thread_that_is_over_proves_nothing_any_more() -> None:
    async def main() -> None:
        cue = runcue.Cue()

        @cue.task("child")
        async def child(work: runcue.Work) -> None: ...

        @cue.is_ready(task="child")
        def never(work: runcue.Work) -> bool:
            return False

        @cue.task("parent")
        async def parent(work: runcue.Work) -> bool:
            thread = threading.Thread(target=time.sleep, args=(0.2,))
            thread.start()
            await (await cue.submit("child"))
            return bool(thread)

        cue.start()
        handle = await cue.submit("parent")
        assert (await cue.drain()).deadlocked == [handle.work]
        await cue.stop(timeout=0)

    asyncio.run(main())


@pytest.mark.rule(36)
@virtual
async def test_a_drain_does_not_end_while_something_unknown_may_come() -> None:
    async def for_an_event(handle: runcue.WorkHandle) -> None:
        await asyncio.gather(asyncio.Event().wait(), handle.wait())

    cue = one_slot(for_an_event)
    cue.start()
    await cue.submit("parent")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(cue.drain(), 100)
    await cue.stop(timeout=0)


# What is merely slow.


@pytest.mark.rule(36)
@virtual
async def test_parents_whose_children_stand_in_line_behind_others_are_no_deadlock() -> None:
    cue = runcue.Cue()
    ear = Ear(cue)
    cue.service("api", concurrent=3)

    @cue.task("slow", uses="api")
    async def slow(work: runcue.Work) -> None:
        await asyncio.sleep(10)

    @cue.task("parent", uses="api")
    async def parent(work: runcue.Work) -> None:
        await asyncio.gather(*[(await cue.submit("slow")).result() for _ in range(3)])

    cue.start()
    for _ in range(2):
        await cue.submit("parent")
    await cue.submit("slow")
    await for_seconds(65)
    assert ear.heard == []
    assert (await cue.stop()).ok


@pytest.mark.rule(36)
@pytest.mark.parametrize("reason", ["a token", "its gate", "a retry", "its artifact"])
@virtual
async def test_a_child_that_may_come_for_another_reason_is_no_deadlock(reason: str) -> None:
    cue = runcue.Cue(recheck=False)
    ear = Ear(cue)
    cue.service("one", concurrent=1)
    cue.service("tokens", rate="1/min")
    flag = runcue.Flag("there")
    is_open = False
    options: dict[str, Any] = {
        "a token": {"uses": "tokens"},
        "its artifact": {"inputs": flag},
    }.get(reason, {})

    @cue.task("child", **options)
    async def child(work: runcue.Work) -> None: ...

    if reason == "its gate":
        cue.is_ready(task="child")(lambda work: is_open)

    @cue.task("parent", uses="one")
    async def parent(work: runcue.Work) -> None:
        await (await cue.submit("child")).result()

    cue.start()
    await cue.submit("child")
    handle = await cue.submit("parent")
    await for_seconds(5)
    assert ear.heard == []
    is_open = True
    flag.share(cue._dispatcher.flags)
    flag.set()
    cue.nudge()
    await handle.result()
    await cue.stop()


@pytest.mark.rule(36)
@virtual
async def test_a_child_that_is_found_up_to_date_needs_no_slot() -> None:
    cue = one_slot(plainly)
    ear = Ear(cue)
    cue.is_stale(task="child")(lambda work: False)
    async with cue:
        parent = await cue.submit("parent")
        await parent.result()
        await for_seconds(1.1)
    assert ear.heard == []


# Chains.


@pytest.mark.rule(36)
@virtual
async def test_chains_over_several_services_and_work_units_are_one_deadlock() -> None:
    cue = runcue.Cue(id_prefix="")
    ear = Ear(cue)
    for name in ("a", "b", "c"):
        cue.service(name, concurrent=1)
    following = {"a": "b", "b": "c", "c": "a"}

    def register(name: str) -> None:
        @cue.task(name, uses=name)
        async def waits(work: runcue.Work) -> None:
            await (await cue.submit(following[name])).result()

    for name in following:
        register(name)

    @cue.task("busy")
    async def busy(work: runcue.Work) -> None:
        await asyncio.sleep(100)

    @cue.task("above")
    async def above(work: runcue.Work) -> None:
        await (await cue.submit("a")).result()

    cue.start()
    handle = await cue.submit("busy")  # what has nothing to do with it changes nothing
    await cue.submit("above")
    await for_seconds(1.1)
    [warning] = ear.heard
    assert sorted(work.task for work in warning.works) == ["a", "above", "b", "c"]
    assert "a: the only slot is in use, held by a" in warning.text
    summary = await cue.drain()
    assert now() >= 100
    assert handle.work.state is runcue.WorkState.COMPLETED
    assert {work.task for work in summary.deadlocked} == {"a", "above", "b", "c"}
    await cue.stop()


@pytest.mark.rule(36)
@virtual
async def test_a_work_unit_that_needs_two_services_is_stuck_by_one_of_them() -> None:
    cue = runcue.Cue()
    ear = Ear(cue)
    cue.service("one", concurrent=1)
    cue.service("other", concurrent=1)

    @cue.task("child", uses=["other", "one"])
    async def child(work: runcue.Work) -> None: ...

    @cue.task("slow", uses="other")
    async def slow(work: runcue.Work) -> None:
        await asyncio.sleep(10)

    @cue.task("parent", uses="one")
    async def parent(work: runcue.Work) -> None:
        await (await cue.submit("child")).result()

    cue.start()
    await cue.submit("slow")
    await cue.submit("parent")
    await for_seconds(1.1)
    assert ear.kinds() == ["deadlock"]
    await cue.stop()


@pytest.mark.rule(5, 36)
@virtual
async def test_slots_that_are_left_free_for_who_waits_too_long_are_not_kept_from_who_it_waits_for() -> None:
    cue = runcue.Cue()
    ear = Ear(cue)
    cue.service("one", concurrent=2)
    cue.service("other", concurrent=1)

    @cue.task("both", uses=["one", "other"])
    async def both(work: runcue.Work) -> None: ...

    @cue.task("child", uses="one")
    async def child(work: runcue.Work) -> None: ...

    @cue.task("parent", uses="other")
    async def parent(work: runcue.Work) -> None:
        await asyncio.sleep(70)
        await (await cue.submit("child")).result()

    @cue.task("busy")
    async def busy(work: runcue.Work) -> None:
        await asyncio.sleep(200)

    cue.start()
    await cue.submit("busy")
    await cue.submit("parent")
    await asyncio.sleep(1)
    handle = await cue.submit("both")
    await for_seconds(71)
    assert handle.work.state is runcue.WorkState.COMPLETED
    assert ear.heard == []
    assert (await cue.stop()).ok


@pytest.mark.rule(36)
@virtual
async def test_who_waits_for_a_reader_of_what_it_makes_is_deadlocked() -> None:
    cue = runcue.Cue()
    ear = Ear(cue)
    made = runcue.Flag("made")

    @cue.task("reader", inputs=made)
    async def reader(work: runcue.Work) -> None: ...

    @cue.task("maker", outputs=made)
    async def maker(work: runcue.Work) -> None:
        await (await cue.submit("reader")).result()

    cue.start()
    handle = await cue.submit("maker")
    await for_seconds(1.1)
    [warning] = ear.heard
    assert warning.works == (handle.work,)
    assert "is being made by maker" in warning.text
    await cue.stop()


@pytest.mark.rule(36)
@virtual
async def test_handlers_that_wait_for_each_other_or_for_their_own_like_are_told_unasked() -> None:
    cue = runcue.Cue()
    ear = Ear(cue)
    handles: dict[str, runcue.WorkHandle] = {}

    @cue.task("mutual")
    async def mutual(work: runcue.Work) -> None:
        await asyncio.sleep(0.1)
        await handles[work.params["other"]].result()

    @cue.task("joined", key="same")
    async def joined(work: runcue.Work) -> None:
        await (await cue.submit("joined")).wait()

    cue.start()
    handles["a"] = await cue.submit("mutual", params={"other": "b"})
    handles["b"] = await cue.submit("mutual", params={"other": "a"})
    await cue.submit("joined")
    await for_seconds(1.2)
    assert sorted(sorted(work.task for work in warning.works) for warning in ear.heard) == [
        ["joined"],
        ["mutual", "mutual"],
    ]
    await cue.stop()


@pytest.mark.rule(36)
@virtual
async def test_threads_are_slots_too() -> None:
    cue = runcue.Cue(max_threads=1)
    ear = Ear(cue)

    @cue.task("child")
    def child(work: runcue.Work) -> None: ...

    @cue.task("parent")
    def parent(work: runcue.Work) -> Any:
        # Awaited in the event loop, in the slot of its thread.
        return waits()

    async def waits() -> None:
        await (await cue.submit("child")).result()

    cue.start()
    await cue.submit("parent")
    await for_seconds(1.1)
    [warning] = ear.heard
    assert "max_threads" in warning.text
    await cue.stop()


@pytest.mark.rule(36)
def test_a_thread_that_waits_is_never_called_deadlocked() -> None:
    released = threading.Event()

    async def main() -> None:
        cue = runcue.Cue()
        ear = Ear(cue)
        cue.service("one", concurrent=1)
        cue.task("child", uses="one")(lambda work: None)

        @cue.task("parent", uses="one")
        def parent(work: runcue.Work) -> None:
            work.submit("child")
            released.wait(30)

        @cue.task("waits")
        async def waits(work: runcue.Work) -> None:
            await (await cue.submit("parent")).result()

        cue.start()
        await cue.submit("waits")
        await asyncio.sleep(0.9)  # real time is the point: it would have been told by now
        assert ear.heard == []
        released.set()
        assert (await cue.stop()).ok

    asyncio.run(main())


@pytest.mark.rule(36)
@pytest.mark.parametrize("how", ["slots", "threads"])
def test_a_thread_that_is_blocked_in_a_call_of_runcue_is_deadlocked_like_a_handler(how: str) -> None:
    cue = runcue.Cue(max_threads=2)
    told, both = threading.Event(), threading.Barrier(2)
    heard: list[runcue.CueWarning] = []
    uses = None
    if how == "slots":
        cue.service("two", concurrent=2)
        uses = "two"

    class Hears(runcue.Observer):
        def warned(self, warning: runcue.CueWarning) -> None:
            if warning.kind == "deadlock":
                heard.append(warning)
                told.set()

    cue.observe(Hears())
    cue.task("child", uses=uses)(lambda work: None)

    @cue.task("parent", uses=uses)
    def parent(work: runcue.Work) -> None:
        both.wait(30)
        with contextlib.suppress(runcue.WorkCancelled):
            blocking.result(blocking.submit("child"))

    with runcue.blocking(cue) as blocking:
        handles = [blocking.submit("parent") for _ in range(2)]
        assert told.wait(30)
        assert set(heard[0].works) == {handle.work for handle in handles}
        assert set(blocking.drain().deadlocked) == {handle.work for handle in handles}
    assert all(handle.work.state is runcue.WorkState.COMPLETED for handle in handles)


@pytest.mark.rule(36)
def test_a_thread_that_calls_runcue_and_goes_on_is_no_deadlock() -> None:
    cue = runcue.Cue()
    cue.service("two", concurrent=2)
    cue.task("child", uses="two")(lambda work: work.params["n"])

    @cue.task("parent", uses="two")
    def parent(work: runcue.Work) -> int:
        handles = [blocking.submit("child", {"n": n}) for n in range(5)]
        return sum(blocking.result(handle) for handle in handles)

    with runcue.blocking(cue) as blocking:
        handle = blocking.submit("parent")
        assert blocking.drain().deadlocked == []
        assert blocking.result(handle) == 10


# Gates and listeners.


@pytest.mark.rule(36)
@virtual
async def test_a_gate_that_waits_for_what_needs_its_slot_is_told_with_its_limit() -> None:
    cue = runcue.Cue(id_prefix="")
    ear = Ear(cue)
    cue.service("one", concurrent=1)
    children: list[runcue.WorkHandle] = []

    @cue.task("child", uses="one")
    async def child(work: runcue.Work) -> None: ...

    @cue.task("t", uses="one")
    async def t(work: runcue.Work) -> None: ...

    @cue.is_ready(task="t")
    async def is_ready(work: runcue.Work) -> bool:
        if not children:
            children.append(await cue.submit("child"))
        await children[0].wait()
        return True

    cue.start()
    await cue.submit("t")
    await for_seconds(1.1)
    [warning] = ear.heard
    assert warning.kind == "self_wait"
    said = "the gate of t 1 waits for itself until 00:00:30"
    assert said in warning.text
    assert said in cue.why("1").details
    assert said in cue.why("2").details
    assert (await cue.stop()).ok
    assert now() >= 30


@pytest.mark.rule(36)
@pytest.mark.parametrize("whom", ["itself", "each other", "who waits for it"])
@virtual
async def test_a_gate_that_waits_for_who_waits_for_its_answer_is_told_with_its_limit(whom: str) -> None:
    cue = runcue.Cue(id_prefix="")
    ear = Ear(cue)
    handles: dict[str, runcue.WorkHandle] = {}
    waits_for = {
        "itself": {"1": "1"},
        "each other": {"1": "2", "2": "1"},
        "who waits for it": {"1": "parent"},
    }

    @cue.task("asked")
    async def asked(work: runcue.Work) -> None: ...

    @cue.task("parent")
    async def parent(work: runcue.Work) -> None:
        await handles["1"]

    @cue.is_ready(task="asked")
    async def answer(work: runcue.Work) -> bool:
        async with asyncio.TaskGroup() as group:
            group.create_task(handles[waits_for[whom][work.id]].wait())
        return True

    cue.start()
    handles["1"] = await cue.submit("asked")
    if whom == "each other":
        handles["2"] = await cue.submit("asked")
    handles["parent"] = await cue.submit("parent")
    await for_seconds(1.1)
    [warning] = ear.heard
    assert warning.kind == "self_wait"
    assert "until 00:00:30 (in 29" in warning.text
    assert "the answer of a gate" in warning.text
    assert "A gate must not wait for a work unit that waits for its answer" in warning.text
    assert "the gate of asked 1 waits for" in cue.why(handles["1"]).details
    for handle in handles.values():
        handle.cancel()
    assert (await cue.stop()).deadlocked == []
    assert now() < 2


@pytest.mark.rule(36)
@virtual
async def test_a_gate_that_waits_for_a_slow_handler_is_left_alone() -> None:
    cue = runcue.Cue()
    ear = Ear(cue)
    handles: list[runcue.WorkHandle] = []

    @cue.task("slow")
    async def slow(work: runcue.Work) -> bool:
        await asyncio.sleep(5)
        return True

    @cue.task("asked")
    async def asked(work: runcue.Work) -> None: ...

    @cue.is_ready(task="asked")
    async def answer(work: runcue.Work) -> bool:
        return bool(await handles[0])

    async with cue:
        handles += [await cue.submit("slow"), await cue.submit("asked")]
        summary = await cue.drain()
    assert (ear.heard, summary.counts["completed"]) == ([], 2)


@pytest.mark.rule(36)
@virtual
async def test_a_gate_that_waits_for_what_never_comes_ends_with_its_limit_and_a_drain_with_it() -> None:
    cue = runcue.Cue()
    ear = Ear(cue)
    cue.is_ready(task="never")(lambda work: False)

    @cue.task("never")
    async def never(work: runcue.Work) -> None: ...

    @cue.task("t")
    async def t(work: runcue.Work) -> None: ...

    never_made = await cue.submit("never")

    @cue.is_ready(task="t")
    async def is_ready(work: runcue.Work) -> bool:
        await never_made.wait()
        return True

    cue.start()
    await cue.submit("t")
    summary = await cue.drain()
    assert [blocked["work"].task for blocked in summary.blocked] == ["never", "t"]
    assert ear.heard == []
    await cue.stop(drain=False)


@pytest.mark.rule(36)
@pytest.mark.parametrize("call", ["drain", "stop"])
@virtual
async def test_a_listener_that_waits_for_what_never_comes_ends_a_drain(call: str) -> None:
    cue = runcue.Cue()
    ear = Ear(cue)
    cue.is_ready(task="never")(lambda work: False)

    @cue.task("never")
    async def never(work: runcue.Work) -> None: ...

    @cue.task("t")
    async def t(work: runcue.Work) -> None: ...

    @cue.on_complete(task="t")
    async def hears(work: runcue.Work, result: object, seconds: float) -> None:
        await (await cue.submit("never")).wait()

    cue.start()
    handle = await cue.submit("t")
    await for_seconds(2)
    assert ear.heard == []  # its gate may say yes yet
    summary = await getattr(cue, call)()
    assert summary.deadlocked == [handle.work]
    [warning] = ear.heard
    assert warning.kind == "deadlock"
    assert "hears" in warning.text
    await cue.stop()


@pytest.mark.rule(36)
@virtual
async def test_a_listener_that_waits_for_who_is_deadlocked_is_told_with_it() -> None:
    cue = one_slot(plainly)
    ear = Ear(cue)

    @cue.task("t")
    async def t(work: runcue.Work) -> None: ...

    @cue.on_complete(task="t")
    async def hears(work: runcue.Work, result: object, seconds: float) -> None:
        await (await cue.submit("parent")).wait()

    cue.start()
    await cue.submit("t")
    await for_seconds(1.1)
    [warning] = ear.heard
    assert sorted(work.task for work in warning.works) == ["parent", "t"]
    assert "hears" in warning.text
    await cue.stop()


@pytest.mark.rule(36, 21)
@virtual
async def test_a_stall_timeout_counts_a_deadlock_as_nothing_running() -> None:
    async def in_vain(handle: runcue.WorkHandle) -> None:
        with pytest.raises(runcue.StallTimeout):
            await handle.result()

    cue = one_slot(in_vain, stall_timeout=3)
    cue.start()
    parent = await cue.submit("parent")
    await parent.result()
    assert now() == 3
    await cue.stop()


@pytest.mark.rule(36)
@virtual
async def test_who_came_loose_in_time_is_not_told() -> None:
    cue = one_slot(plainly)
    ear = Ear(cue)
    cue.start()
    await cue.submit("parent")
    await asyncio.sleep(0.2)
    await cue.cancel("2")
    await for_seconds(2)
    assert ear.heard == []
    await cue.stop()


@pytest.mark.rule(36)
@virtual
async def test_who_has_taken_over_a_handler_is_deadlocked_in_its_place() -> None:
    cue = runcue.Cue()
    ear = Ear(cue)
    cue.service("one", concurrent=1)

    @cue.task("child", uses="one")
    async def child(work: runcue.Work) -> None: ...

    @cue.task("parent", uses="one", key="same")
    async def parent(work: runcue.Work) -> None:
        await (await cue.submit("child")).result()

    @cue.task("above")
    async def above(work: runcue.Work) -> None:
        await successor.result()

    cue.start()
    first, successor = await cue.submit("parent"), await cue.submit("parent")
    await cue.submit("above")
    await asyncio.sleep(0.1)
    await cue.cancel(first)
    await for_seconds(1.1)
    assert {work.task: work for warning in ear.heard for work in warning.works}["parent"] is successor.work
    summary = await cue.stop()
    assert {work.task for work in summary.deadlocked} == {"parent", "above"}
    assert successor.work in summary.deadlocked


@pytest.mark.rule(36)
@virtual
async def test_a_deadlock_is_found_among_hundreds_that_wait_in_health() -> None:
    cue = one_slot(plainly)
    ear = Ear(cue)

    @cue.task("slow")
    async def slow(work: runcue.Work) -> None:
        await asyncio.sleep(10)

    @cue.task("healthy")
    async def healthy(work: runcue.Work) -> None:
        await (await cue.submit("slow")).result()

    cue.start()
    for number in range(500):
        await cue.submit("healthy")
        if number == 250:
            handle = await cue.submit("parent")
    await for_seconds(1.1)
    [warning] = ear.heard
    assert warning.works == (handle.work,)
    await cue.stop()


@pytest.mark.rule(36)
@virtual
async def test_thousands_that_wait_cost_a_look_at_each_and_not_at_all_for_each() -> None:
    cue = runcue.Cue()
    cue.service("children", concurrent=10)
    reads = 0
    waiting = cue._dispatcher.waiting
    read = waiting.read

    def counted(*args: Any) -> Any:
        nonlocal reads
        reads += 1
        return read(*args)

    waiting.read = counted  # type: ignore[method-assign]

    @cue.task("child", uses="children")
    async def child(work: runcue.Work) -> None:
        await asyncio.sleep(0.01)

    @cue.task("parent")
    async def parent(work: runcue.Work) -> None:
        await (await cue.submit("child")).result()

    cue.start()
    number = 3000
    for _ in range(number):
        await cue.submit("parent")
    assert (await cue.stop()).counts["completed"] == 2 * number
    assert reads < 20 * number


class Program:
    """Its handlers are its methods, and it keeps the task in which its main runs."""

    def __init__(self) -> None:
        self.cue = runcue.Cue()
        self.cue.service("api", concurrent=1)
        self.cue.task("parent", uses="api")(self.parent)
        self.cue.task("child", uses="api")(self.child)
        self.runner: asyncio.Task[runcue.Summary] | None = None

    async def parent(self, work: runcue.Work) -> None:
        await (await self.cue.submit("child"))

    async def child(self, work: runcue.Work) -> None:
        pass

    async def drains(self) -> runcue.Summary:
        self.cue.start()
        await self.cue.submit("parent")
        summary = await self.cue.drain()
        await self.cue.stop()
        return summary

    async def stops(self) -> runcue.Summary:
        self.cue.start()
        await self.cue.submit("parent")
        return await self.cue.stop()


@pytest.mark.rule(36)
@pytest.mark.parametrize("main", [Program.drains, Program.stops], ids=lambda main: main.__name__)
@virtual
async def test_who_waits_for_the_cue_to_come_to_rest_lets_nobody_in_it_go_on(
    main: Callable[[Program], Coroutine[Any, Any, runcue.Summary]],
) -> None:
    program = Program()
    program.runner = asyncio.create_task(main(program))
    summary = await asyncio.wait_for(program.runner, 5)
    assert [work.task for work in summary.deadlocked] == ["parent"]
