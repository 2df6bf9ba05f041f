"""Once more what has failed or was cancelled: `cue.retry()` makes a new work unit, the old one stays what it was."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest

import runcue
import runcue.submissions
from runcue import File, Flag
from runcue.testing import Recorder
from tests.support.loops import each_loop, run_on
from tests.support.virtual_time import now, virtual

pytestmark = pytest.mark.rule(38)


class Flaky:
    """A handler that fails as long as it is to."""

    def __init__(self) -> None:
        self.fails = True
        self.given: list[dict[str, Any]] = []

    async def __call__(self, work: runcue.Work) -> str:
        self.given.append(work.params)
        await asyncio.sleep(1)
        if self.fails:
            raise ValueError("flaky")
        return "done"


@virtual
async def test_what_has_failed_is_done_once_more_by_a_new_work_unit_with_the_same_params() -> None:
    flaky = Flaky()
    async with runcue.Cue() as cue:
        recorder = Recorder(cue)
        cue.task("t")(flaky)
        old = await cue.submit("t", {"page": 1})
        await old.wait()
        flaky.fails = False
        new = await cue.retry(old)
        assert (new != old, new.work.retry_of, old.work.retry_of) == (True, old, None)
        assert new.work.params is not old.work.params
        assert await new.result() == "done"
        assert flaky.given == [{"page": 1}, {"page": 1}]
        assert (old.state, str(old.exception())) == (runcue.WorkState.FAILED, "flaky")
        assert recorder.of(old) == ["start", "failure"]
        assert recorder.of(new) == ["start", "complete"]
        assert (new.work.attempt, new.work.created_at - old.work.created_at) == (1, 1)
    assert cue._stopping.last is not None
    assert cue._stopping.last.counts == {"completed": 1, "skipped": 0, "failed": 1, "cancelled": 0}


@virtual
async def test_what_was_cancelled_is_done_once_more_pending_or_running_as_it_was() -> None:
    flaky = Flaky()
    flaky.fails = False
    async with runcue.Cue() as cue:
        cue.service("one", concurrent=1)
        cue.task("t", uses="one")(flaky)
        running, pending = await cue.submit("t", {"page": 1}), await cue.submit("t", {"page": 2})
        await asyncio.sleep(0.5)
        assert running.cancel()
        assert pending.cancel()
        again = [await cue.retry(old) for old in (running, pending)]
        assert [await one.result() for one in again] == ["done", "done"]
        assert [one.work.retry_of for one in again] == [running, pending]
        assert [one.state.value for one in (running, pending)] == ["cancelled", "cancelled"]


@virtual
async def test_the_old_one_is_meant_by_its_id_its_handle_or_its_work_and_may_be_forgotten() -> None:
    async with runcue.Cue(keep=1) as cue:
        flaky = Flaky()
        cue.task("t")(flaky)
        old, last = await cue.submit("t"), await cue.submit("t")
        await last.wait()
        assert await cue.get(old) is None
        for meant in (old, old.work):
            assert (await cue.retry(meant)).work.retry_of == old
        with pytest.raises(runcue.UnknownWork, match="forgotten"):
            await cue.retry(str(old))
        assert (await cue.retry(str(last))).work.retry_of == last
        for nothing, kind in ((5, runcue.ConfigurationError), ("nothing", runcue.UnknownWork)):
            with pytest.raises(kind):
                await cue.retry(nothing)  # type: ignore[arg-type]


@virtual
async def test_there_is_one_new_work_unit_for_each_call_and_one_can_be_done_once_more_in_its_turn() -> None:
    async with runcue.Cue() as cue:
        cue.task("t")(Flaky())
        first = await cue.submit("t")
        await first.wait()
        second = await cue.retry(first)
        await second.wait()
        third, fourth = await cue.retry(second), await cue.retry(first)
        assert (third.work.retry_of, fourth.work.retry_of) == (second, first)


@pytest.mark.parametrize("what", ["pending", "running", "skipped", "has succeeded"])
@virtual
async def test_what_has_not_ended_in_vain_is_not_done_once_more(what: str) -> None:
    async with runcue.Cue() as cue:
        cue.task("t")(lambda work: asyncio.sleep(1))
        cue.is_stale(lambda work: what != "skipped")
        cue.is_ready(lambda work: what != "pending")
        handle = await cue.submit("t")
        await asyncio.sleep(0.5 if what == "running" else 2)
        with pytest.raises(
            runcue.UsageError, match=f"for what has failed or was cancelled, and t {handle} .*{what}"
        ):
            await cue.retry(handle)
        assert len(await cue.list()) == 1
        handle.cancel()


@virtual
async def test_it_has_the_options_of_the_old_one() -> None:
    seen: list[Any] = []
    async with runcue.Cue() as cue:
        made, source = Flag("made"), Flag("source")

        @cue.task("t", timeout=5)
        async def t(work: runcue.Work) -> None:
            seen.append((work.inputs, work.outputs, now()))
            await asyncio.sleep(10)
            raise ValueError

        source.share(cue._dispatcher.flags)
        source.set()
        # Such as are gone through once.
        old = await cue.submit(
            "t",
            inputs=iter([source]),
            outputs=iter([made]),
            key="k",
            timeout=math.inf,
            priority=0.9,
            force=True,
        )
        assert isinstance((await old.wait()).exception, ValueError)
        new = await cue.retry(old)
        assert isinstance((await new.wait()).exception, ValueError)
        assert seen == [((source,), (made,), 0), ((source,), (made,), 10)]
        third = await cue.retry(new)
        joined = await cue.submit("t", inputs=source, outputs=made, key="k")
        await joined.wait()
        assert third.work.completed_at == joined.work.completed_at
        again = {"inputs": (source,), "outputs": (made,), "retry_of": old}
        assert vars(new.work._overrides) == vars(old.work._overrides) | again


@virtual
async def test_what_its_functions_declare_is_asked_anew() -> None:
    async with runcue.Cue() as cue:
        made = iter(["a", "b"])
        cue.task("t", outputs=lambda work: Flag(next(made)))(Flaky())
        old = await cue.submit("t")
        await old.wait()
        assert (await cue.retry(old)).work.outputs == (Flag("b"),)


@virtual
async def test_it_is_the_task_as_it_is_by_now_that_does_it() -> None:
    async with runcue.Cue() as cue:

        def define(result: str) -> None:
            @cue.task("t")
            async def t(work: runcue.Work) -> str:
                if result == "old":
                    raise ValueError
                return result

        define("old")
        handle = await cue.submit("t")
        await handle.wait()
        define("new")
        assert await (await cue.retry(handle)).result() == "new"


@pytest.mark.rule(28)
@each_loop
def test_it_waits_for_the_thread_of_the_old_one(loop: str, tmp_path: Any) -> None:
    async def main() -> None:
        async with runcue.Cue() as cue:
            order: list[str] = []
            release = asyncio.Event()
            home = asyncio.get_running_loop()

            @cue.task("t", outputs=File(tmp_path / "out"))
            def t(work: runcue.Work) -> None:
                order.append(f"in {work.retry_of is not None}")
                if work.retry_of is None:
                    asyncio.run_coroutine_threadsafe(release.wait(), home).result()
                    order.append("out False")
                    return
                with work.write(work.outputs[0]) as file:
                    file.write("x")
                order.append("out True")

            old = await cue.submit("t")
            while not order:
                await asyncio.sleep(0.001)
            old.cancel()
            new = await cue.retry(old)
            await asyncio.sleep(0.05)
            assert (order, new.state) == (["in False"], runcue.WorkState.PENDING)
            release.set()
            await new.result()
            assert order == ["in False", "out False", "in True", "out True"]

    run_on(loop, main)


@virtual
async def test_handlers_and_listeners_may_call_it_also_while_the_cue_stops() -> None:
    cue = runcue.Cue()
    flaky = Flaky()
    again: list[runcue.WorkHandle] = []
    cue.task("t")(flaky)

    @cue.on_failure(task="t")
    async def once_more(work: runcue.Work, error: BaseException) -> None:
        flaky.fails = False
        again.append(await cue.retry(work))

    cue.start()
    old = await cue.submit("t")
    summary = await cue.stop()
    assert summary.counts["completed"] == 1
    assert [one.work.retry_of for one in again] == [old]
    with pytest.raises(runcue.CueStopped):
        await cue.retry(old)
    cue.start()
    await (await cue.retry(old)).result()
    await cue.stop()


@virtual
async def test_it_can_be_called_before_the_start() -> None:
    cue = runcue.Cue()
    flaky = Flaky()
    flaky.fails = False
    cue.task("t")(flaky)
    old = await cue.submit("t")
    old.cancel()
    new = await cue.retry(old)
    assert new.state is runcue.WorkState.PENDING
    async with cue:
        assert await new.result() == "done"


def test_it_can_be_called_without_await() -> None:
    cue = runcue.Cue()
    fails = [True, False]

    @cue.task("t")
    def t(work: runcue.Work) -> str:
        if fails.pop(0):
            raise ValueError
        return "done"

    with runcue.blocking(cue) as b:
        old = b.submit("t")
        b.wait(old)
        assert b.result(b.retry(old)) == "done"


def test_what_it_does_once_more_is_nothing_that_a_submission_can_say() -> None:
    cue = runcue.Cue()
    cue.task("t")(lambda work: None)
    with pytest.raises(runcue.ConfigurationError, match="there is no field 'retry_of'"):
        cue.plan([runcue.submissions.Submission("t", {}, {"retry_of": "x"})])
    with pytest.raises(runcue.ConfigurationError, match="its options must be a mapping, not 5"):
        cue.plan([runcue.submissions.Submission("t", {}, 5)])  # type: ignore[arg-type]

    async def main() -> None:
        with pytest.raises(runcue.InvalidParams, match="no option retry_of="):
            await cue.submit("t", retry_of="x")  # type: ignore[arg-type]

    asyncio.run(main())
