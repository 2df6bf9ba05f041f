"""What must complete: stops that cut others off still run it, with what it needs, unless nothing can move any more."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import Any

import pytest

import runcue
import runcue.submissions
from runcue import Flag
from runcue.abc import CueWarning, Observer
from runcue.testing import Recorder
from tests.support.loops import each_loop, run_on
from tests.support.virtual_time import now, virtual

pytestmark = pytest.mark.rule(39)


def described(**options: Any) -> tuple[runcue.Cue, list[tuple[str, float]]]:
    """A cue with one slot, and a task "t" that takes 10 s; when which of its work units has ended by itself."""
    cue = runcue.Cue()
    cue.service("one", concurrent=1)
    ended: list[tuple[str, float]] = []

    @cue.task("t", uses="one", **options)
    async def t(work: runcue.Work) -> None:
        await asyncio.sleep(10)
        for output in work.outputs:
            output.set()
        ended.append((work.params["name"], now()))

    return cue, ended


class Told(Observer):
    """What is told of what must complete."""

    def __init__(self) -> None:
        self.told: list[tuple[str, tuple[runcue.Work, ...]]] = []

    def warned(self, warning: CueWarning) -> None:
        if warning.kind == "must_complete":
            self.told.append((warning.text, warning.works))


def states(*handles: runcue.WorkHandle) -> list[str]:
    return [handle.state.value for handle in handles]


@pytest.mark.parametrize(("of_task", "said"), [(True, None), (False, True), (True, True)])
@virtual
async def test_a_stop_without_a_drain_still_runs_what_must_complete(of_task: bool, said: bool | None) -> None:
    cue, ended = described(must_complete=of_task)
    told = Told()
    cue.observe(told)
    cue.start()
    running = await cue.submit("t", {"name": "running"}, must_complete=False)
    others = [await cue.submit("t", {"name": "other"}, must_complete=False) for _ in range(3)]
    must = [await cue.submit("t", {"name": f"must {number}"}, must_complete=said) for number in range(2)]
    await asyncio.sleep(1)
    summary = await cue.stop(drain=False)
    assert ended == [("running", 10), ("must 0", 20), ("must 1", 30)]
    assert states(running, *must, *others) == ["completed"] * 3 + ["cancelled"] * 3
    assert (summary.counts["completed"], summary.counts["cancelled"]) == (3, 3)
    names = f"t {must[0]}, t {must[1]}"
    text = f"stop(drain=False) still runs 2 work units, which must complete or are needed for that: {names}"
    assert told.told == [(text, tuple(one.work for one in must))]


@pytest.mark.parametrize("options", [{"delayed": "cancel"}, {"timeout": 0}])
@virtual
async def test_what_is_left_by_the_same_stop_is_not_told_to_run_still(options: dict[str, Any]) -> None:
    cue, _ = described(must_complete=True)
    told = Told()
    cue.observe(told)
    cue.start()
    handle = await cue.submit("t", {"name": "later"}, delay=100)
    await cue.stop(drain=False, **options)
    assert states(handle) == ["cancelled"]
    assert told.told == []


@virtual
async def test_a_submission_may_do_without_what_its_task_says() -> None:
    cue, _ = described(must_complete=True)
    cue.start()
    first, second = [await cue.submit("t", {"name": ""}, must_complete=False) for _ in range(2)]
    await asyncio.sleep(1)
    await cue.stop(drain=False)
    assert states(first, second) == ["completed", "cancelled"]


@virtual
async def test_who_makes_what_it_needs_is_run_as_well_and_who_makes_that() -> None:
    cue, ended = described()
    cue.start()
    await cue.submit("t", {"name": "running"})
    await cue.submit("t", {"name": "other"}, outputs=Flag("d"))
    for name, inputs, output in (("a", None, "a"), ("b", [Flag("a")], "b"), ("e", [Flag("b")], "e")):
        await cue.submit("t", {"name": name}, inputs=inputs, outputs=Flag(output))
    await cue.submit("t", {"name": "c"}, inputs=[Flag("a"), Flag("b")], must_complete=True)
    await asyncio.sleep(1)
    summary = await cue.stop(drain=False)
    assert [name for name, _ in ended] == ["running", "a", "b", "c"]
    assert summary.counts["cancelled"] == 2


@pytest.mark.parametrize("ending", ["fails", "times out"])
@pytest.mark.parametrize("need", ["made", "awaited"])
@virtual
async def test_what_it_has_come_to_need_since_the_stop_is_tried_again(need: str, ending: str) -> None:
    cue = runcue.Cue()

    retry = runcue.Retry(2, wait_initial=1, wait_jitter=0)

    @cue.task("needed", outputs=Flag("made"), timeout=8, retry=retry)
    async def needed(work: runcue.Work) -> str:
        begun.append(now())
        await asyncio.sleep(5)
        if len(begun) == 1 and ending == "times out":
            await asyncio.sleep(100)
        if len(begun) == 1:
            raise ValueError("once")
        Flag("made").set()
        return "made"

    @cue.task("must", must_complete=True)
    async def must(work: runcue.Work) -> str:
        await asyncio.sleep(2)
        if need == "awaited":
            return str(await first)
        await cue.submit("reader", inputs=Flag("made"), must_complete=True)
        return "made"

    cue.task("reader")(lambda work: None)
    begun: list[float] = []
    cue.start()
    first = await cue.submit("needed")
    bill = await cue.submit("must")
    await asyncio.sleep(1)
    summary = await cue.stop(drain=False)
    assert begun == [0, 9 if ending == "times out" else 6]
    assert states(first, bill) == ["completed"] * 2
    assert (summary.counts["failed"], summary.counts["cancelled"]) == (0, 0)


@virtual
async def test_what_nothing_needs_is_not_tried_again_while_what_must_complete_goes_on() -> None:
    cue, _ = described()

    @cue.task("not needed", retry=runcue.Retry(2, wait_initial=1, wait_jitter=0))
    async def not_needed(work: runcue.Work) -> None:
        await asyncio.sleep(5)
        raise ValueError("again and again")

    cue.on_failure(lambda work, error: None)
    cue.start()
    other = await cue.submit("not needed")
    must = await cue.submit("t", {"name": ""}, must_complete=True)
    await asyncio.sleep(1)
    await cue.stop(drain=False)
    assert states(other, must) == ["failed", "completed"]
    assert len(other.work.attempts) == 1


@virtual
async def test_who_makes_something_in_a_folder_that_it_needs_is_run_as_well(tmp_path: Any) -> None:
    cue = runcue.Cue()
    cue.service("one", concurrent=1)

    @cue.task("t", uses="one")
    async def t(work: runcue.Work) -> None:
        await asyncio.sleep(10)
        for output in work.outputs:
            with work.write(output) as file:
                file.write("x")

    cue.start()
    (tmp_path / "in").mkdir()
    await cue.submit("t")
    page, other = [await cue.submit("t", outputs=tmp_path / name) for name in ("in/page", "other")]
    must = await cue.submit("t", inputs=tmp_path / "in", outputs=tmp_path / "book", must_complete=True)
    await asyncio.sleep(1)
    await cue.stop(drain=False)
    assert states(page, other, must) == ["completed", "cancelled", "completed"]


@pytest.mark.rule(40)
@pytest.mark.parametrize("through", ["itself", "a folder in it", "what is in it"])
@pytest.mark.parametrize("stop", [{"drain": False}, {"timeout": 2}])
@virtual
async def test_who_makes_what_it_needs_later_is_waited_for_as_well(
    stop: dict[str, Any], through: str, tmp_path: Any
) -> None:
    cue = runcue.Cue()

    @cue.task("t")
    async def t(work: runcue.Work) -> None:
        for output in work.outputs:
            if through == "a folder in it":
                output.path.mkdir(exist_ok=True)
                (output.path / "in").write_text("x")
            else:
                with work.write(output) as file:
                    file.write("x")

    made, needed = {
        "itself": ("a", "a"),
        "a folder in it": ("a", "a/in"),
        "what is in it": ("a/in", "a"),
    }[through]
    cue.start()
    maker = await cue.submit("t", outputs=tmp_path / made, delay=20)
    other = await cue.submit("t", outputs=tmp_path / "other", delay=20)
    must = await cue.submit("t", inputs=tmp_path / needed, must_complete=True)
    await asyncio.sleep(1)
    summary = await cue.stop(**stop)
    assert states(maker, other, must) == ["completed", "cancelled", "completed"]
    assert (now(), summary.left) == (20, [other.work])


@virtual
async def test_whom_its_handler_awaits_is_run_as_well() -> None:
    cue, ended = described()

    @cue.task("parent", must_complete=True)
    async def parent(work: runcue.Work) -> None:
        await (await cue.submit("t", {"name": "child"}))

    cue.start()
    await cue.submit("t", {"name": "running"})
    handle = await cue.submit("parent")
    await asyncio.sleep(1)
    other = await cue.submit("t", {"name": "other"})
    await cue.stop(drain=False)
    assert states(handle, other) == ["completed", "cancelled"]
    assert [name for name, _ in ended] == ["running", "child"]


@pytest.mark.rule(28)
@pytest.mark.parametrize("gone", [None, "leader", "follower"])
@virtual
async def test_who_has_joined_lends_it_to_the_one_that_runs_for_both(gone: str | None) -> None:
    cue, _ = described()
    cue.start()
    await cue.submit("t", {"name": "running"})
    leader = await cue.submit("t", {"name": "both"}, key="k")
    follower = await cue.submit("t", {"name": "both"}, key="k", must_complete=True)
    await asyncio.sleep(1)
    if gone is not None:
        (leader if gone == "leader" else follower).cancel()
    await cue.stop(drain=False)
    ends = {None: ["completed"] * 2, "leader": ["cancelled", "completed"], "follower": ["cancelled"] * 2}
    assert states(leader, follower) == ends[gone]


@pytest.mark.parametrize("gone", [False, True])
@pytest.mark.parametrize(
    ("error", "stop"),
    [
        (None, {"timeout": 2}),
        (ValueError(), {"drain": False}),
        (ValueError(), {"timeout": 2}),
        (runcue.Throttled(5), {"drain": False}),
    ],
)
@virtual
async def test_who_has_joined_it_since_it_runs_settles_with_it_and_does_not_go_on_in_its_place(
    error: Exception | None, stop: dict[str, Any], gone: bool
) -> None:
    cue = runcue.Cue()
    cue.service("api")
    calls: list[float] = []

    @cue.task(uses="api", retry=runcue.Retry(3, wait_initial=5, wait_jitter=0))
    async def both(work: runcue.Work) -> None:
        calls.append(now())
        await asyncio.sleep(10)
        if error is not None and len(calls) == 1:
            raise error

    @cue.task(must_complete=True)
    async def other(work: runcue.Work) -> None:
        await asyncio.sleep(50)

    cue.start()
    await cue.submit("other")
    leader = await cue.submit("both", key="k", must_complete=True)
    follower, last = [await cue.submit("both", key="k") for _ in range(2)]
    await asyncio.sleep(5)
    stopping = asyncio.ensure_future(cue.stop(**stop))
    # Before that it goes along, also while its leader waits to be tried again.
    await asyncio.sleep(8 if error else 4)
    assert states(leader, follower, last) == ["pending" if error else "running"] * 3
    if gone:
        leader.cancel()
        assert states(leader, follower, last) == ["cancelled"] * 3
    summary = await stopping
    assert now() == 50
    assert states(leader, follower, last) == ["cancelled" if gone else "completed"] * 3
    assert len(calls) == (1 if gone or error is None else 2)
    assert summary.left == (
        [follower.work, last.work] if gone and isinstance(error, runcue.Throttled) else []
    )


@virtual
async def test_the_end_of_its_time_cuts_off_all_others_and_that_is_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    cue, ended = described()
    told = Told()
    cue.observe(told)
    cleaned_up: list[float] = []

    @cue.task("other")
    async def other(work: runcue.Work) -> None:
        try:
            await asyncio.sleep(100)
        finally:
            await asyncio.sleep(0.5)
            cleaned_up.append(now())

    cue.start()
    others = [await cue.submit("other"), await cue.submit("t", {"name": "other"})]
    must = [await cue.submit("t", {"name": f"must {number}"}, must_complete=True) for number in range(2)]
    await asyncio.sleep(1)
    summary = await cue.stop(timeout=4)
    assert states(*others, *must) == ["cancelled"] * 2 + ["completed"] * 2
    assert ended == [("must 0", 15), ("must 1", 25)]
    assert cleaned_up == [5.5]
    assert (now(), summary.abandoned) == (25, [])
    text = "The time of stop(timeout=) is over; it goes on for 2 work units, which must complete or are needed for that"
    assert told.told == [(f"{text}: t {must[0]}, t {must[1]}", tuple(one.work for one in must))]
    assert [record.levelname for record in caplog.records if "must complete" in record.message] == ["WARNING"]


@virtual
async def test_the_clean_up_of_those_that_were_cut_off_is_not_cut_short_when_the_last_must_have_completed() -> (
    None
):
    cue, ended = described()
    cleaned_up: list[float] = []

    @cue.task("other")
    async def other(work: runcue.Work) -> None:
        try:
            await asyncio.sleep(100)
        finally:
            await asyncio.sleep(0.8)
            cleaned_up.append(now())

    cue.start()
    await cue.submit("other")
    await cue.submit("t", {"name": "must"}, must_complete=True)
    await asyncio.sleep(1)
    summary = await cue.stop(timeout=8.5)
    assert (ended, cleaned_up, summary.abandoned) == ([("must", 10)], [pytest.approx(10.3)], [])


@pytest.mark.parametrize("how", ["timeout=0", "second signal", "exception"])
@virtual
async def test_what_ends_all_ends_what_must_complete(how: str) -> None:
    cue, ended = described(must_complete=True)
    cue.start()
    handles = [await cue.submit("t", {"name": ""}) for _ in range(2)]
    await asyncio.sleep(1)
    if how == "timeout=0":
        await cue.stop(timeout=0)
    elif how == "second signal":
        cue._interrupt(kill=False)
        await asyncio.sleep(1)
        assert states(*handles) == ["running", "pending"]
        cue._interrupt(kill=True)
        await cue._until_stopped()
    else:
        await cue.__aexit__(ValueError, ValueError(), None)
    assert states(*handles) == ["cancelled"] * 2
    assert (ended, now()) == ([], 1 if how != "second signal" else 2)


@pytest.mark.parametrize("how", [{"drain": False}, {"timeout": 5}, {"drain": False, "timeout": 5}])
@virtual
async def test_what_cannot_run_is_given_up_all_the_same_and_told(
    how: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    cue, _ = described(must_complete=True)
    cue.start()
    first = await cue.submit("t", {"name": "first"})
    stuck = await cue.submit("t", {"name": ""}, inputs=Flag("nobody's"))
    await asyncio.sleep(1)
    summary = await cue.stop(**how)
    assert states(first, stuck) == ["completed", "cancelled"]
    assert [entry["work"] for entry in summary.blocked] == [stuck.work]
    assert sum("could not run" in record.message for record in caplog.records) == 1
    assert now() == 10


@pytest.mark.parametrize("how", ["fails", "times out"])
@pytest.mark.parametrize("stop", [{"drain": False}, {"timeout": 2}])
@virtual
async def test_what_must_complete_is_tried_again_while_a_stop_cuts_others_off_and_nothing_else_is(
    how: str, stop: dict[str, Any]
) -> None:
    cue = runcue.Cue()
    begun: list[tuple[int, float]] = []

    @cue.task("t", retry=runcue.Retry(3, wait_initial=5, wait_jitter=0), timeout=3)
    async def t(work: runcue.Work) -> str:
        begun.append((work.params["number"], now()))
        await asyncio.sleep(2)
        if len(begun) > 2:
            return "done"
        if how == "times out":
            await asyncio.sleep(10)
        raise ValueError

    cue.start()
    other = await cue.submit("t", {"number": 1})
    must = await cue.submit("t", {"number": 2}, must_complete=True)
    await asyncio.sleep(1)
    await cue.stop(**stop)
    assert must.work.result == "done"
    assert begun == [(1, 0), (2, 0), (2, 8 if how == "times out" else 7)]
    assert other.state.value == ("failed" if stop == {"drain": False} else "cancelled")


@pytest.mark.parametrize("stop", [{}, {"drain": False}, {"timeout": 2}, None])
@virtual
async def test_what_has_no_end_is_left_though_it_must_complete(stop: dict[str, Any] | None) -> None:
    cue = runcue.Cue()

    @cue.task("fails", retry=runcue.Retry(-1, wait_initial=5), must_complete=True)
    async def fails(work: runcue.Work) -> None:
        raise ValueError

    @cue.task("later", must_complete=True)
    async def later(work: runcue.Work) -> None:
        await asyncio.sleep(1.5)
        raise runcue.RetryLater(5)

    cue.start()
    handles = [await cue.submit("fails"), await cue.submit("later")]
    await asyncio.sleep(1)
    if stop is None:
        cue._interrupt(kill=False)
        await cue._until_stopped()
        summary = cue._stopping.last
        assert summary is not None
    else:
        summary = await cue.stop(**stop)
    assert (states(*handles), summary.left) == (["cancelled"] * 2, [one.work for one in handles])
    assert now() == 1.5


@virtual
async def test_handlers_that_wait_for_each_other_are_ended_all_the_same() -> None:
    cue = runcue.Cue()
    cue.service("one", concurrent=1)
    cue.task("child", uses="one")(lambda work: None)

    @cue.task("parent", uses="one", must_complete=True)
    async def parent(work: runcue.Work) -> None:
        await (await cue.submit("child"))

    cue.start()
    handle = await cue.submit("parent")
    await asyncio.sleep(0.1)
    summary = await cue.stop(drain=False)
    assert summary.deadlocked == [handle.work]


@virtual
async def test_work_from_inside_that_must_complete_is_taken_while_a_stop_cuts_all_else_off() -> None:
    cue, ended = described()
    refused: list[str] = []

    @cue.task("parent")
    async def parent(work: runcue.Work) -> None:
        await asyncio.sleep(5)
        for options in ({}, {"must_complete": False}):
            with pytest.raises(runcue.CueStopped):
                await cue.submit("t", {"name": "other"}, **options)
            refused.append("refused")
        await cue.submit("t", {"name": "must"}, must_complete=True)

    cue.start()
    await cue.submit("parent")
    await asyncio.sleep(1)
    stop = asyncio.create_task(cue.stop(drain=False))
    await asyncio.sleep(1)
    with pytest.raises(runcue.CueStopped):  # from outside
        await cue.submit("t", {"name": "outside"}, must_complete=True)
    summary = await stop
    assert (refused, ended) == (["refused"] * 2, [("must", 15)])
    assert summary.counts == {"completed": 2, "skipped": 0, "failed": 0, "cancelled": 0}


@pytest.mark.parametrize("stop", [{"drain": False}, {"timeout": 5}])
@virtual
async def test_who_hears_of_a_cancellation_may_submit_what_must_complete(stop: dict[str, Any]) -> None:
    cue, ended = described()
    spawned: list[asyncio.Task[Any]] = []

    @cue.on_cancel(task="t")
    def heard(work: runcue.Work) -> None:
        what = cue.submit("t", {"name": f"after {work.params['name']}"}, must_complete=True)
        spawned.append(asyncio.create_task(what))

    cue.start()
    await cue.submit("t", {"name": "must"}, must_complete=True)
    await cue.submit("t", {"name": "other"})
    await asyncio.sleep(1)
    await cue.stop(**stop)
    assert ended == [("must", 10), ("after other", 20)]


@virtual
async def test_who_submits_what_must_complete_whenever_such_is_cancelled_does_not_go_on_for_ever() -> None:
    cue, _ = described(must_complete=True)
    refused: list[str] = []

    @cue.on_cancel
    async def again(work: runcue.Work) -> None:
        try:
            await cue.retry(work)
        except runcue.CueStopped:
            refused.append(work.id)

    cue.start()
    stuck = await cue.submit("t", {"name": ""}, inputs=Flag("nobody's"))
    await cue.stop(drain=False)
    assert refused == [stuck]


@each_loop
def test_a_thread_that_was_cut_off_is_waited_for_where_its_slot_is_needed(loop: str) -> None:
    async def main() -> None:
        cue = runcue.Cue()
        cue.service("one", concurrent=1)
        entered, release = threading.Event(), threading.Event()

        @cue.task("slow", uses="one")
        def slow(work: runcue.Work) -> None:
            entered.set()
            release.wait(30)

        cue.task("must", uses="one", must_complete=True)(lambda work: "done")
        recorder = Recorder(cue)
        cue.start()
        thread, must = await cue.submit("slow"), await cue.submit("must")
        await asyncio.to_thread(entered.wait)
        stop = asyncio.create_task(cue.stop(timeout=0.02))
        await thread.wait()
        assert not stop.done()
        release.set()
        summary = await stop
        assert await must == "done"
        assert recorder.of(thread) == ["start", "cancel"]
        assert summary.abandoned == [thread.work]

    run_on(loop, main)


@each_loop
def test_a_thread_that_was_cut_off_and_is_in_nobodys_way_is_not_waited_for(loop: str) -> None:
    async def main() -> None:
        cue = runcue.Cue()
        entered, release = threading.Event(), threading.Event()

        @cue.task("hung")
        def hung(work: runcue.Work) -> None:
            entered.set()
            release.wait(30)

        @cue.task("must", must_complete=True)
        async def must(work: runcue.Work) -> str:
            await asyncio.sleep(0.1)
            return "done"

        cue.start()
        thread = await cue.submit("hung")
        await asyncio.to_thread(entered.wait)
        handle = await cue.submit("must")
        summary = await cue.stop(timeout=0.02)
        assert (await handle, summary.abandoned) == ("done", [thread.work])
        release.set()

    run_on(loop, main)


def test_it_can_be_written_down() -> None:
    line = b'{"task": "t", "must_complete": true}'
    assert next(runcue.submissions.read_lines([line], "work.jsonl")).options == {"must_complete": True}
    with pytest.raises(runcue.ConfigurationError, match="'must_complete' must be true or false, not 1"):
        next(runcue.submissions.read_lines([b'{"task": "t", "must_complete": 1}'], "work.jsonl"))


@virtual
async def test_without_such_work_nothing_is_told_and_a_cue_that_is_started_again_knows_of_no_former_stop(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    cue, _ = described()
    cue.start()
    await cue.submit("t", {"name": "running"})
    await asyncio.sleep(1)
    await cue.stop(drain=False, timeout=5)
    assert not [record for record in caplog.records if "must complete" in record.message]
    cue.start()
    await cue.submit("t", {"name": "running"}, must_complete=True)
    await asyncio.sleep(1)
    await cue.stop(timeout=1)
    cue.start()
    first, second = [await cue.submit("t", {"name": "again"}) for _ in range(2)]
    await cue.stop()
    assert states(first, second) == ["completed"] * 2
