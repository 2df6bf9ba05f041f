"""Rule 28: one producer per artifact. Works that want the same are joined while it is pending or running."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

import runcue
from runcue import Flag
from runcue.testing import Recorder, run

pytestmark = pytest.mark.rule(28)

Steps = Callable[[], Coroutine[Any, Any, None]]


def test_work_units_with_the_same_outputs_run_once_and_settle_together() -> None:
    async def main() -> None:
        cue = runcue.Cue()
        recorder = Recorder(cue)

        @cue.task("t", outputs=lambda work: Flag(f"out {work.params['n']}"))
        async def t(work: runcue.Work) -> object:
            await asyncio.sleep(1)
            work.outputs[0].set()
            return object()

        async with cue:
            first = await cue.submit("t", params={"n": 1})
            second = await cue.submit("t", params={"n": 1})
            other = await cue.submit("t", params={"n": 2})
            await asyncio.sleep(0.5)
            assert second.work.state is runcue.WorkState.RUNNING, "it shows what it has joined"
            late = await cue.submit("t", params={"n": 1})
            assert await first.result() is await second.result() is await late.result()
            await other.result()
            assert len({first, second, late}) == 3, "each has an id of its own"
            assert recorder.of(first) == ["start", "complete"]
            assert recorder.of(second) == recorder.of(late) == ["complete"]
            again = await cue.submit("t", params={"n": 1})
            assert (await again.wait()).skipped, "what has settled is no longer joined"

    run(main)


def test_a_failure_and_a_skip_are_shared() -> None:
    async def main() -> None:
        cue = runcue.Cue()
        heard: list[str] = []
        cue.on_failure(lambda work, error: heard.append(work.id))

        @cue.task("fails", key="same")
        async def fails(work: runcue.Work) -> None:
            raise ValueError("on purpose")

        @cue.task("skips", outputs=(done := Flag("done")))
        async def skips(work: runcue.Work) -> None: ...

        done.set()
        async with cue:
            failing = [await cue.submit("fails") for _ in range(3)]
            skipped = [await cue.submit("skips") for _ in range(3)]
            for handle in failing:
                with pytest.raises(ValueError, match="on purpose"):
                    await handle.result()
            assert heard == failing
            assert [(await handle.wait()).skipped for handle in skipped] == [True] * 3

    run(main)


@pytest.mark.parametrize(
    ("declared", "first", "second", "words"),
    [
        ({"outputs": Flag("x")}, {"params": {"n": 1}}, {"params": {"n": 2}}, "with other params"),
        ({"outputs": Flag("x")}, {}, {"task": "other"}, "by another task"),
        ({"outputs": Flag("x")}, {}, {"outputs": [Flag("x"), Flag("y")]}, "with other outputs"),
        ({"outputs": Flag("x")}, {}, {"inputs": Flag("i")}, "with other inputs"),
        ({"outputs": Flag("x")}, {}, {"duplicate": "error"}, 'duplicate="join"'),
        ({"outputs": Flag("x"), "duplicate": "error"}, {}, {}, 'duplicate="join"'),
        ({"key": "k"}, {"params": {"n": 1}}, {"params": {"n": 2}}, "key 'k'"),
        ({"outputs": Flag("x")}, {"key": 1}, {"key": 2}, "by another key"),
    ],
)
def test_what_cannot_be_joined_is_refused_by_submit_which_names_the_other(
    declared: dict[str, Any], first: dict[str, Any], second: dict[str, Any], words: str
) -> None:
    async def main() -> None:
        cue = runcue.Cue()

        async def handler(work: runcue.Work) -> None:
            await asyncio.sleep(1)
            for flag in work.outputs:
                flag.set()

        cue.task("t", **declared)(handler)

        @cue.task("other", **declared)
        async def other(work: runcue.Work) -> None: ...

        async with cue:
            before = await cue.submit("t", **first)
            options = {"task": "t", **second}
            with pytest.raises(runcue.DuplicateWork) as refused:
                await cue.submit(options.pop("task"), **options)
            assert words in str(refused.value)
            assert before in str(refused.value)
            await before.result()
            assert len(await cue.list()) == 1, "what was refused was never there"

    run(main)


def test_a_key_joins_work_units_without_artifacts_and_may_be_a_function() -> None:
    async def main() -> None:
        cue = runcue.Cue()
        ran: list[int] = []

        @cue.task("t", key=lambda work: work.params["n"] % 2)
        async def t(work: runcue.Work) -> None:
            ran.append(work.params["n"])

        async with cue:
            for n in (1, 2, 1, 2):
                await cue.submit("t", params={"n": n})
            with pytest.raises(runcue.ConfigurationError, match="hashable"):
                await cue.submit("t", params={"n": 5}, key=[1])
        assert ran == [1, 2]

    run(main)


def test_a_forced_work_that_joins_has_it_run() -> None:
    async def main() -> None:
        cue = runcue.Cue()
        ran: list[str] = []
        done = Flag("done")

        @cue.task("t", outputs=done)
        async def t(work: runcue.Work) -> None:
            ran.append(work.id)

        done.set()
        async with cue:
            first = await cue.submit("t")
            second = await cue.submit("t", force=True)
        assert ran == [first]
        assert second.work.state is runcue.WorkState.COMPLETED
        assert not second.work.skipped

    run(main)


def test_cancelling_one_that_joined_drops_only_its_interest() -> None:
    async def main() -> None:
        cue = runcue.Cue()

        @cue.task("t", key="same")
        async def t(work: runcue.Work) -> str:
            await asyncio.sleep(1)
            assert not work.cancelled
            return "done"

        async with cue:
            first, second, third = [await cue.submit("t") for _ in range(3)]
            await asyncio.sleep(0.5)
            assert await cue.cancel(second)
            assert second.work.state is runcue.WorkState.CANCELLED
            assert await first.result() == await third.result() == "done"

    run(main)


@pytest.mark.parametrize("state", ["pending", "held", "asking", "running"])
def test_when_the_leader_is_cancelled_another_takes_its_place(state: str) -> None:
    async def main() -> None:
        cue = runcue.Cue()
        cue.service("slot", concurrent=1)
        recorder = Recorder(cue)
        needed = Flag("needed")
        out = Flag("out")

        @cue.task("busy", uses="slot")
        async def busy(work: runcue.Work) -> None:
            await asyncio.sleep(2)

        @cue.task("makes", outputs=needed)
        async def makes(work: runcue.Work) -> None:
            await asyncio.sleep(2)
            needed.set()

        @cue.task("t", uses="slot", inputs=needed, outputs=out)
        async def t(work: runcue.Work) -> str:
            await asyncio.sleep(1)
            assert not work.cancelled
            out.set()
            return work.id

        if state == "asking":

            @cue.is_ready(task="t")
            async def slow(work: runcue.Work) -> bool:
                await asyncio.sleep(1)
                return True

        async with cue:
            if state == "held":
                await cue.submit("makes")
            else:
                needed.set()
            if state == "pending":
                await cue.submit("busy")
            first, second, third = [await cue.submit("t") for _ in range(3)]
            await asyncio.sleep(0.5)
            assert await cue.cancel(first)
            with pytest.raises(runcue.WorkCancelled):
                await first.result()
            expected = first if state == "running" else second  # the run that was begun goes on as it was
            assert await second.result() == await third.result() == expected
        starts = [
            heard.work.id for heard in recorder.events if heard.event == "start" and heard.work.task == "t"
        ]
        assert starts == [expected]
        for handle in (first, second, third):
            final = [event for event in recorder.of(handle) if event != "start"]
            assert final == (["cancel"] if handle is first else ["complete"])

    run(main)


def test_a_thread_goes_on_for_the_successor_and_learns_when_the_last_one_is_gone(tmp_path: Path) -> None:
    inside, goes_on, seen = threading.Event(), threading.Event(), []

    async def main() -> None:
        cue = runcue.Cue()

        @cue.task("t", outputs=tmp_path / "out")
        def t(work: runcue.Work) -> None:
            with work.write(work.outputs[0]) as file:
                file.write("text")
            inside.set()
            assert goes_on.wait(30)
            seen.append(work.cancelled)

        cue.start()
        first = await cue.submit("t")
        second = await cue.submit("t")
        assert await asyncio.to_thread(inside.wait, 30)
        await cue.cancel(first)
        last = await cue.submit("t")
        assert last.work.state is runcue.WorkState.RUNNING, "it has joined the successor"
        await cue.cancel(second)
        await cue.cancel(last)
        goes_on.set()
        await cue.stop()
        assert seen == [True]

    asyncio.run(main())
    assert [path.name for path in tmp_path.iterdir()] == [".runcue-marks"]


def test_the_time_out_of_a_run_goes_with_the_successor() -> None:
    async def main() -> None:
        cue = runcue.Cue()
        cue.on_failure(lambda work, error: None)

        @cue.task("t", key="same", timeout=5)
        async def t(work: runcue.Work) -> None:
            await asyncio.sleep(100)

        async with cue:
            first, second, third = [await cue.submit("t") for _ in range(3)]
            await asyncio.sleep(1)
            await cue.cancel(first)
            for handle in (second, third):
                with pytest.raises(runcue.WorkTimeout):
                    await handle.result()
            assert asyncio.get_running_loop().time() == 5

    run(main)


def test_a_pending_time_out_fails_the_one_that_waited_and_not_those_that_came_later() -> None:
    async def main() -> None:
        cue = runcue.Cue(pending_timeout=10)
        cue.on_failure(lambda work, error: None)
        cue.service("slot", concurrent=1)

        @cue.task("busy", uses="slot")
        async def busy(work: runcue.Work) -> None:
            await asyncio.sleep(12)

        @cue.task("t", uses="slot", key="same")
        async def t(work: runcue.Work) -> str:
            return "done"

        async with cue:
            await cue.submit("busy")
            first = await cue.submit("t")
            await asyncio.sleep(5)
            second = await cue.submit("t")
            with pytest.raises(runcue.PendingTimeout):
                await first.result()
            assert await second.result() == "done"

    run(main)


@pytest.mark.parametrize("how", [{"drain": False}, {"timeout": 0}, {}])
def test_stop_leaves_none_of_them_behind(how: dict[str, Any]) -> None:
    async def main() -> None:
        cue = runcue.Cue()
        recorder = Recorder(cue)

        @cue.task("t", key=lambda work: work.params["n"])
        async def t(work: runcue.Work) -> None:
            await asyncio.sleep(5)

        @cue.is_ready(task="t")
        def ready(work: runcue.Work) -> bool:
            return work.params["n"] == 1

        cue.start()
        handles = [await cue.submit("t", params={"n": n}) for n in (1, 1, 1, 2, 2)]
        await asyncio.sleep(1)
        summary = await cue.stop(**how)
        running = "cancel" if how == {"timeout": 0} else "complete"
        assert [recorder.of(handle)[-1] for handle in handles] == [running] * 3 + ["cancel"] * 2
        assert sum(summary.counts.values()) == 5
        assert recorder.counts()["start"] == 1

    run(main)


def test_a_handler_that_waits_for_its_own_like_is_a_deadlock_that_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        cue = runcue.Cue()

        @cue.task("t", key="same")
        async def t(work: runcue.Work) -> None:
            await (await cue.submit("t")).wait()

        cue.start()
        await cue.submit("t")
        summary = await cue.stop()
        assert [work.task for work in summary.deadlocked] == ["t"]
        assert "Deadlock" in caplog.text

    run(main)


def test_why_tells_of_the_work_that_was_joined() -> None:
    async def main() -> None:
        cue = runcue.Cue()
        cue.service("api", rate="1/min")

        @cue.task("t", uses="api", key=lambda work: work.params["n"])
        async def t(work: runcue.Work) -> None: ...

        cue.start()
        await (await cue.submit("t", params={"n": 0})).result()
        first, second = [await cue.submit("t", params={"n": 1}) for _ in range(2)]
        await asyncio.sleep(10)
        why = cue.why(second)
        assert why.verdict == "waiting for rate"
        assert why.eta == pytest.approx(50)
        assert why.chain == (second.work, first.work)
        assert first in str(why)
        await cue.stop()

    run(main)


@pytest.mark.parametrize("state", ["pending", "running"])
def test_the_key_of_a_leader_stands_for_the_one_that_takes_its_place_though_that_has_none(state: str) -> None:
    async def main() -> None:
        async with runcue.Cue() as cue:

            @cue.task("t")
            async def t(work: runcue.Work) -> str:
                await asyncio.sleep(1)
                work.outputs[0].set()
                return "done"

            out = Flag("out")
            first, second = await cue.submit("t", key="k", outputs=out), await cue.submit("t", outputs=out)
            if state == "running":
                await asyncio.sleep(0.5)
            first.cancel()
            third = await cue.submit("t", key="k", outputs=out)
            assert await second.result() == await third.result() == "done"
            other = Flag("other")
            assert await (await cue.submit("t", key="k", outputs=other)).result() == "done"

    run(main)
