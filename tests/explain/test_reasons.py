"""Reasons: since when, until when, who, where, and what to do; told once per cause, by all who tell them alike."""

from __future__ import annotations

import asyncio
import logging
import re
import threading
from pathlib import Path
from typing import Any

import pytest

import runcue
from runcue import File
from runcue._explain.durations import usual_duration
from runcue._explain.kinds import Kind
from runcue._explain.reasons import Reason
from runcue._model.texts import seconds_in_words
from tests.support.calls import calls_in
from tests.support.virtual_time import virtual

HERE = r"\(\S*test_reasons\.py:\d+\)"


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(path: str, text: str) -> None:
    Path(path).write_text(text)


async def forever(work: runcue.Work) -> None:
    await asyncio.sleep(1e6)


def cue_with_a_slot(**options: Any) -> runcue.Cue:
    cue = runcue.Cue(id_prefix="", **options)
    cue.service("one", concurrent=1)
    cue.task("t", uses="one")(forever)
    return cue


async def end(cue: runcue.Cue) -> None:
    logging.disable()
    try:
        await cue.stop(drain=False, timeout=1)
    finally:
        logging.disable(logging.NOTSET)


# Since when.


@pytest.mark.parametrize(
    "how", ["by priority", "with a gate", "with neither", "put back", "submitted before the start"]
)
@virtual
async def test_a_wait_is_as_long_as_it_is(how: str) -> None:
    await asyncio.sleep(1860)  # the clock has gone for 31 minutes
    cue = cue_with_a_slot()
    if how == "by priority":
        cue.priority(lambda ctx: 0.5)
    if how == "with a gate":
        cue.is_ready(lambda work: True)
    if how == "submitted before the start":
        await cue.submit("t")
        second = await cue.submit("t")
        await asyncio.sleep(1860)
        cue.start()
    else:
        cue.start()
        await cue.submit("t")
        second = await cue.submit("t")
    await asyncio.sleep(0.2)
    why = cue.why(second)
    assert why.verdict == "waiting for a slot"
    assert why.seconds == pytest.approx(0.2, abs=0.02)
    assert ", for 0.2 s" in str(why)
    await end(cue)


@virtual
async def test_a_gate_is_awaited_since_it_was_asked_and_not_since_it_was_not_ready_before() -> None:
    cue = runcue.Cue(id_prefix="")
    cue.task("t")(forever)
    asked = 0

    @cue.is_ready
    async def answers(work: runcue.Work) -> bool:
        nonlocal asked
        asked += 1
        if asked > 1:
            await asyncio.sleep(1e6)
        return False

    cue.start()
    handle = await cue.submit("t")
    await asyncio.sleep(10)
    while cue.why(handle).verdict != "being asked":
        cue.nudge()
        await asyncio.sleep(0.01)
    await asyncio.sleep(2)
    why = cue.why(handle)
    assert why.seconds < 12.1
    assert re.search(
        rf"its is_ready \S*answers {HERE} has not answered for \d+(\.\d)? s; after 30 s, which is in ",
        why.details,
    )
    assert cue.debug_blocked()[0]["details"] == why.details
    await end(cue)


@virtual
async def test_of_a_stale_gate_that_hangs_it_is_said_which_one_it_is() -> None:
    cue = runcue.Cue(id_prefix="")
    cue.task("t")(forever)

    @cue.is_stale(task="t")
    async def answers(work: runcue.Work) -> bool:
        await asyncio.sleep(1e6)
        return True

    cue.start()
    handle = await cue.submit("t")
    await asyncio.sleep(3)
    details = cue.why(handle).details
    assert re.match(
        rf"its is_stale \S*answers {HERE} has not answered for 3 s; after 30 s, which is in 27 s, ", details
    )
    assert "as out of date" in details
    await end(cue)


# Who has it, for how long, and where it is.


@virtual
async def test_who_holds_a_slot_is_told_with_what_its_task_usually_takes() -> None:
    cue = runcue.Cue(id_prefix="")
    cue.service("db", concurrent=2)

    @cue.task("query", uses="db")
    async def query(work: runcue.Work) -> None:
        await asyncio.sleep(work.params["seconds"])

    cue.start()
    for seconds in (1, 2, 30):  # the median is two seconds, whatever one of them has taken
        await (await cue.submit("query", params={"seconds": seconds}))
    for _ in range(3):
        last = await cue.submit("query", params={"seconds": 1e6})
    await asyncio.sleep(60)
    why = cue.why(last)
    assert "query 4, query 5 have run for up to 60 s and hold the slots that query 6 needs" in why.details
    assert "query usually takes about 2 s" in why.details
    assert re.search(rf"query 4 is at \S*query {HERE}", why.details)
    assert "timeout=" in why.next_step
    # What takes thirty times as long may never end: its turn is not told to come at once.
    assert why.eta is None
    assert "when its turn comes is not known" in why.details
    await end(cue)


@virtual
async def test_what_a_task_usually_takes_is_known_of_runs_that_have_succeeded_alone() -> None:
    cue = runcue.Cue()

    @cue.task("t")
    async def t(work: runcue.Work) -> None:
        await asyncio.sleep(work.params["seconds"])
        if work.params["seconds"] > 5:
            raise ValueError

    cue.on_failure(lambda work, error: None)
    async with cue:
        assert usual_duration(cue._core.history, "t") is None
        for seconds in (9, 8, 7, 3, 4):
            await (await cue.submit("t", params={"seconds": seconds})).wait()
        assert usual_duration(cue._core.history, "t") in (3, 4)
        assert usual_duration(cue._core.history, "another") is None


@pytest.mark.parametrize("ended", ["timed out", "cancelled"])
def test_a_thread_that_outlives_its_work_unit_is_told_with_the_line_it_is_at(ended: str) -> None:
    async def main() -> None:
        cue = runcue.Cue(id_prefix="", max_threads=1)
        entered, go_on = threading.Event(), threading.Event()

        @cue.task("t", timeout=0.05 if ended == "timed out" else None)
        def t(work: runcue.Work) -> None:
            entered.set()
            go_on.wait()

        cue.on_failure(lambda work, error: None)
        cue.start()
        first, second = await cue.submit("t"), await cue.submit("t")
        await asyncio.to_thread(entered.wait)
        first.cancel() if ended == "cancelled" else await first.wait()
        await asyncio.sleep(0.01)
        details = cue.why(second).details
        assert details.startswith("threads: the only slot is in use (Cue(max_threads=1)), held by t 1 (")
        assert re.search(rf"held by t 1 \({ended} \S+ s ago.*; its handler has not returned\)", details)
        assert re.search(rf"t 1 is at \S*t {HERE}", details)
        late = cue.why(first).details
        assert "its handler has not returned yet and still holds its slot" in late
        assert re.search(rf"it is at \S*t {HERE}", late)
        go_on.set()
        await second
        await cue.stop()

    asyncio.run(main())


@virtual
async def test_all_services_that_lack_something_are_named_and_those_that_do_not_are_not() -> None:
    cue = cue_with_a_slot()
    cue.service("two", concurrent=1, rate="1/hour")
    cue.service("free", concurrent=2)
    cue.task("u", uses="two")(forever)
    cue.task("all", uses=["one", "free", "two"])(forever)
    cue.start()
    for task in ("t", "u"):
        await cue.submit(task)
    handle = await cue.submit("all")
    await asyncio.sleep(1)
    why, [blocked] = cue.why(handle), cue.debug_blocked()
    for text in (why.details, blocked["details"]):
        for lacking in (
            "one: the only slot is in use",
            "two: the only slot is in use",
            "two: 1/hour is used up",
        ):
            assert lacking in text
        assert "free" not in text
    await end(cue)


# By whom.


async def cancel_by(how: str, cue: runcue.Cue, handle: runcue.WorkHandle) -> str:
    """Cancel a work unit. Returns what is said of who has."""
    if how == "handle.cancel()":
        handle.cancel()
    elif how == "cue.cancel()":
        await cue.cancel(handle)
    elif how == "stop()":
        await end(cue)
        return r"by stop\(\)"
    elif how == "a task of its own":

        async def of_its_own() -> None:
            handle.cancel()

        await asyncio.create_task(of_its_own())
        return rf"by \S*of_its_own {HERE}"
    return rf"by cancel_by {HERE}"


@pytest.mark.parametrize("running", [True, False])
@pytest.mark.parametrize("how", ["handle.cancel()", "cue.cancel()", "stop()", "a task of its own"])
@virtual
async def test_who_has_cancelled_a_work_unit_is_told(how: str, running: bool) -> None:
    cue = cue_with_a_slot()
    cue.start()
    first, second = await cue.submit("t"), await cue.submit("t")
    await asyncio.sleep(0.1)
    handle = first if running else second
    by = await cancel_by(how, cue, handle)
    assert re.match(f"it was cancelled {by}", cue.why(handle).details)
    with pytest.raises(runcue.WorkCancelled, match=f"was cancelled {by}"):
        await handle
    await end(cue)


@virtual
async def test_who_cancels_in_a_gate_is_told_as_well() -> None:
    cue = runcue.Cue(id_prefix="")
    cue.task("t")(forever)
    handles: list[runcue.WorkHandle] = []

    @cue.is_ready
    def gate(work: runcue.Work) -> bool:
        handles[1].cancel()
        return False

    cue.start()
    handles += [await cue.submit("t"), await cue.submit("t")]
    await asyncio.sleep(0.1)
    assert re.search(rf"cancelled by \S*gate {HERE}", cue.why(handles[1]).details)
    await end(cue)


# Cycles.


@virtual
async def test_of_a_cycle_the_link_is_cut_whose_artifact_is_there_already(
    caplog: pytest.LogCaptureFixture,
) -> None:
    write("b", "there")
    cue = runcue.Cue(id_prefix="")
    for task, needs, makes in (("one", "c", "a"), ("two", "a", "b"), ("three", "b", "c")):
        cue.task(task, inputs=needs, outputs=makes)(forever)
    cue.start()
    handles = [await cue.submit(task) for task in ("one", "two", "three")]
    await asyncio.sleep(1)
    for handle in handles:
        step = cue.why(handle).next_step
        assert step == "To break it, begin with the input File('b') of three 3: it is there already"
    assert (
        len(
            [
                record
                for record in caplog.records
                if "File('b') of three 3: it is there already" in record.getMessage()
            ]
        )
        == 1
    )
    await end(cue)


@virtual
async def test_of_a_cycle_by_a_folder_it_is_said_that_files_can_be_named() -> None:
    cue = runcue.Cue(id_prefix="")
    cue.task("install", inputs="list", outputs="lib")(forever)
    cue.task("list", inputs="lib/x", outputs="list")(forever)
    cue.start()
    handles = [await cue.submit(task) for task in ("install", "list")]
    await asyncio.sleep(1)
    for handle in handles:
        assert cue.why(handle).next_step == (
            "To break it, begin with the input File('lib/x') of list 2: it waits for install 1 only because one of the "
            "two is a folder around the other; name the files themselves"
        )
    await end(cue)


@virtual
async def test_who_needs_what_only_itself_makes_is_told_which_artifact_that_is() -> None:
    cue = runcue.Cue(id_prefix="")
    cue.task("t", inputs="a", outputs="a")(forever)
    cue.start()
    handle = await cue.submit("t")
    await asyncio.sleep(1)
    assert cue.why(handle).next_step == "Take File('a') out of its inputs or out of its outputs"
    await end(cue)


# Afterwards, too.


@pytest.mark.parametrize("outcome", ["completed", "skipped", "failed"])
@virtual
async def test_who_has_joined_another_names_it_after_both_have_settled(outcome: str) -> None:
    if outcome == "skipped":
        write("x", "there")
    cue = runcue.Cue(id_prefix="")

    @cue.task("t", outputs="x")
    async def t(work: runcue.Work) -> None:
        if outcome == "failed":
            raise ValueError("no")
        write("x", "made")

    cue.on_failure(lambda work, error: None)
    cue.start()
    first, second = await cue.submit("t"), await cue.submit("t")
    await asyncio.sleep(1)
    why = cue.why(second)
    assert (why.verdict, why.details) == (outcome, "it settled with t 1, which it had joined")
    assert why.root is not None
    assert why.root.work is first.work
    said = {
        "completed": "it ran because its output File('x') was missing",
        "skipped": "up to date",
        "failed": "no",
    }
    assert said[outcome] in str(why)
    assert cue.why(first).root is None
    await cue.stop()


@virtual
async def test_who_has_joined_another_and_was_cancelled_has_not_settled_with_it() -> None:
    cue = runcue.Cue(id_prefix="")
    cue.task("t", outputs="x")(forever)
    cue.start()
    await cue.submit("t")
    second = await cue.submit("t")
    await asyncio.sleep(0.1)
    second.cancel()
    assert re.search(rf"^it was cancelled by \S+ {HERE}$", cue.why(second).details)
    await end(cue)


# Stuck, and how often something is told.


def test_a_watch_of_another_folder_does_not_silence_who_is_stuck(caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("watchfiles")
    Path("inbox").mkdir()

    async def main() -> None:
        cue = runcue.Cue(id_prefix="")
        cue.task("opaque")(forever)
        cue.is_ready(task="opaque")(lambda work: False)
        cue.task("covered", inputs=File("inbox/letter"))(forever)
        cue.task("not covered", inputs=File("elsewhere/letter"))(forever)
        cue.watch("inbox")
        cue.start()
        for task in ("opaque", "covered", "not covered"):
            await cue.submit(task)
        async with asyncio.timeout(20):
            while not (
                any(record.getMessage().startswith("Stuck: opaque 1") for record in caplog.records)
                and any(record.getMessage().startswith("No producer") for record in caplog.records)
            ):
                await asyncio.sleep(0.05)
        assert not [record for record in caplog.records if "covered 2" in record.getMessage()]
        await end(cue)

    asyncio.run(main())


@virtual
async def test_a_cause_is_told_once_and_not_once_for_each_work_unit(caplog: pytest.LogCaptureFixture) -> None:
    cue = runcue.Cue(id_prefix="", pending_warn_after=5)
    cue.task("opaque")(forever)
    cue.is_ready(task="opaque")(lambda work: False)
    cue.task("read", inputs="nobody/makes/this")(forever)
    cue.start()
    for number in range(200):
        await cue.submit("opaque", params={"number": number})
        await cue.submit("read", params={"number": number})
    await asyncio.sleep(10)
    told = [record.getMessage().split(":")[0] for record in caplog.records]
    assert sorted(set(told)) == ["400 work units are pending for more than 5 s", "No producer", "Stuck"]
    assert len(told) == 3
    await end(cue)


@virtual
async def test_why_of_one_of_many_does_no_more_than_of_one_of_few() -> None:
    counts = []
    for number in (100, 10_000):
        cue = cue_with_a_slot()
        cue.start()
        for _ in range(number):
            last = await cue.submit("t")
        await asyncio.sleep(0.1)
        counts.append(calls_in(lambda last=last, cue=cue: cue.why(last)))  # type: ignore[misc]
        await end(cue)
    assert counts[1] < 2 * counts[0] + 200


# As data.


def test_each_kind_of_reason_has_a_verdict_and_a_next_step() -> None:
    work = runcue.Work("1", "t")
    for kind in Kind.__args__:  # type: ignore[attr-defined]
        reason = Reason(work, kind)
        assert reason.verdict
        assert reason.name in ("not_ready", "service_full", "not_due")
        assert reason.step


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.5, "0.5 s"),
        (119, "119 s"),
        (120, "2 min"),
        (47 * 3600, "47 h"),
        (3 * 86400, "3 days"),
        (20_800 * 86400, "56.9 years"),
        (700 * 86400, "700 days"),
        (3e10, "951 years"),
    ],
)
def test_spans_of_time_are_told_as_people_say_them(seconds: float, words: str) -> None:
    assert seconds_in_words(seconds) == words
