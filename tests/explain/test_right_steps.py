"""Next steps that once led nowhere: to wait for ever, to do what changes nothing, to do what was done already."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

import runcue
from runcue import Flag
from tests.support.virtual_time import virtual


async def nothing(work: runcue.Work) -> None:
    pass


async def forever(work: runcue.Work) -> None:
    await asyncio.sleep(1e6)


def steps_of(cue: runcue.Cue) -> dict[str, str]:
    """What debug_blocked() says is to be done, by id; and that why() says the same."""
    found = {entry["work"].id: entry["next_step"] for entry in cue.debug_blocked()}
    for name, step in found.items():
        assert step == cue.why(name).next_step
    return found


@virtual
async def test_who_waits_in_a_deadlock_is_told_the_way_out_by_debug_blocked_as_well() -> None:
    cue = runcue.Cue(id_prefix="")
    cue.service("oven", concurrent=1)

    @cue.task("dinner", uses="oven")
    async def dinner(work: runcue.Work) -> None:
        await (await cue.submit("roast"))

    cue.task("roast", uses="oven")(nothing)
    cue.start()
    await cue.submit("dinner")
    await cue.submit("dinner")
    await asyncio.sleep(1)
    steps = steps_of(cue)
    assert sorted(steps) == ["2", "3"]
    for step in steps.values():
        assert step.startswith(
            "Give oven more slots (concurrent=), or do not wait in a slot for what needs one"
        )
    assert f". {steps['3']}" in str(cue.why())
    await cue.stop(drain=False, timeout=0)


def test_who_waits_behind_a_thread_that_has_timed_out_is_told_the_same_by_all() -> None:
    answered, asked = threading.Event(), threading.Event()

    async def main() -> None:
        cue = runcue.Cue(id_prefix="")
        cue.service("db", concurrent=1)

        @cue.task("query", uses="db", timeout=0.05)
        def query(work: runcue.Work) -> None:
            asked.set()
            answered.wait()

        cue.start()
        first = await cue.submit("query")
        second = await cue.submit("query")
        await first.wait()
        [step] = steps_of(cue).values()
        assert step == (
            "Set a time-out on the call inside query 1 that does not return (request, lock): a thread cannot be ended"
        )
        assert "timed out" in cue.debug_blocked()[0]["details"]
        second.cancel()
        answered.set()
        await cue.stop()

    asyncio.run(main())


@virtual
@pytest.mark.parametrize("services", [("db",), ("db", "gpu")], ids=len)
async def test_more_slots_are_told_by_the_option_that_gives_them(services: tuple[str, ...]) -> None:
    cue = runcue.Cue(id_prefix="")
    for name in services:
        cue.service(name, concurrent=1)
    cue.task("t", uses=services, timeout=50)(forever)
    cue.start()
    for _ in range(2):
        await cue.submit("t")
    await asyncio.sleep(1)
    assert steps_of(cue) == {
        "2": "Wait; more slots let more of them run at once (concurrent=). If it hangs, wait for the timeout=50 of "
        "t 1, which ends it, or make that shorter"
    }
    await cue.stop(drain=False, timeout=0)


def test_more_threads_are_told_by_the_option_that_gives_them() -> None:
    answered = threading.Event()

    async def main() -> None:
        cue = runcue.Cue(id_prefix="", max_threads=1)

        @cue.task("t")
        def t(work: runcue.Work) -> None:
            answered.wait()

        cue.start()
        await cue.submit("t")
        await cue.submit("t")
        while not cue.debug_blocked():
            await asyncio.sleep(0.01)
        [step] = steps_of(cue).values()
        assert step.startswith(
            "Wait; more slots let more of them run at once (Cue(max_threads=)). If it hangs, set a"
        )
        answered.set()
        await cue.stop()

    asyncio.run(main())


async def warned_of(caplog: pytest.LogCaptureFixture, beginning: str) -> str:
    await asyncio.sleep(1)
    [text] = [text for text in caplog.messages if text.startswith(beginning)]
    assert len(text) <= 500
    return text


@virtual
async def test_a_gate_that_returned_nothing_is_told_as_why_tells_it(caplog: pytest.LogCaptureFixture) -> None:
    cue = runcue.Cue(id_prefix="")
    cue.task("t")(nothing)
    cue.is_ready(task="t")(lambda work: None)
    cue.start()
    handle = await cue.submit("t")
    text = await warned_of(caplog, "Stuck")
    assert text.endswith(' not ready). Let it return True, or False, or (False, "reason")')
    assert text.endswith(cue.why(handle).next_step)
    await cue.stop(drain=False)


@virtual
async def test_where_is_ready_is_not_asked_again_by_itself_it_is_said_how_it_is(
    caplog: pytest.LogCaptureFixture,
) -> None:
    cue = runcue.Cue(id_prefix="", recheck=False)
    cue.task("t")(nothing)
    cue.is_ready(task="t")(lambda work: False)
    cue.task("reads", inputs=Flag("never"))(nothing)
    cue.start()
    await cue.submit("t")
    await cue.submit("reads")
    assert "comes from outside, say so by cue.nudge() when it is there" in await warned_of(caplog, "Stuck")
    assert "if it comes from outside, say so by cue.nudge() when it is there" in cue.why("2").next_step
    await cue.stop(drain=False)


@virtual
async def test_several_that_are_stuck_for_different_reasons_lead_to_what_tells_each(
    caplog: pytest.LogCaptureFixture,
) -> None:
    cue = runcue.Cue(id_prefix="")
    answers: dict[str, Any] = {"none": None, "no": False, "reason": (False, "the office is closed" * 5)}
    for name, answer in answers.items():
        cue.task(name)(nothing)
        cue.is_ready(task=name)(lambda work, answer=answer: answer)
    cue.start()
    for name in answers:
        await cue.submit(name)
    text = await warned_of(caplog, "Stuck")
    assert text.endswith("(3 work units are not ready). cue.why() says what to do about each")
    assert " ... " not in text
    await cue.stop(drain=False)


def test_what_another_party_makes_is_found_as_the_text_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    async def main() -> None:
        cue = runcue.Cue(id_prefix="")
        cue.task("t", inputs="loaf")(lambda work: None)
        cue.start()
        handle = await cue.submit("t")
        await asyncio.sleep(0.1)
        assert "If it comes from outside, wait: it is looked for again" in cue.why(handle).next_step
        Path("loaf").touch()  # noqa: ASYNC240
        await asyncio.wait_for(handle.wait(), 30)
        await cue.stop()

    asyncio.run(main())


@virtual
async def test_each_of_several_files_keeps_its_clue_and_whole_entries_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("note.txt", "summary.txt"):
        (tmp_path / name).touch()
    cue = runcue.Cue(id_prefix="")
    for task, needs in {
        "read": ["Note.txt", "nte.txt"],
        "draw": ["nte.txt", "later"],
        "publish": ["sumary.txt"],
    }.items():
        cue.task(task, inputs=needs)(nothing)
    cue.start()
    for task in ("read", "draw", "publish"):
        await cue.submit(task)
    text = await warned_of(caplog, "No producer")
    assert "; from the " not in text
    assert " ... " not in text
    assert "File('nte.txt') is missing ('note.txt' is there, beside it)" in text
    assert "more (cue.why() has all). Nothing that is pending or running declares them as an output. " in text
    lines = str(cue.why()).splitlines()
    for name, files in {"read": ("Note.txt", "nte.txt"), "draw": ("nte.txt", "later")}.items():
        [line] = [line for line in lines if line.startswith(name)]
        assert f"waits for {', '.join(f'File({one!r})' for one in files)}, which nobody makes" in line
    assert any(
        line.endswith(
            "Correct the path of File('nte.txt'); submit what makes File('later'). If it comes from outside, wait: "
            "it is looked for again"
        )
        for line in lines
    )
    await cue.stop(drain=False)


@virtual
async def test_of_many_that_wait_whole_ones_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    cue = runcue.Cue(id_prefix="")
    for number in range(5):
        task = f"task-{'abcde'[number] * 5}"
        cue.task(task)(nothing)
        answer = (False, f"{'xyzuv'[number] * 20} is closed") if number != 1 else None
        cue.is_ready(task=task)(lambda work, answer=answer: answer)
    cue.start()
    for one in cue.tasks():
        await cue.submit(one.name)
    text = await warned_of(caplog, "Stuck")
    assert text.count(" is closed, by ") == text.count("is_ready said no") > 0
    assert "more (cue.why() has all). No work unit of this cue can change that" in text
    await cue.stop(drain=False)


@virtual
@pytest.mark.parametrize("limit", [{"concurrent": 1}, {"rate": "5/sec"}], ids=["slots", "rate"])
async def test_who_is_passed_without_end_is_told_to_be_more_urgent(limit: dict[str, Any]) -> None:
    cue = runcue.Cue(id_prefix="", head_start=None)
    cue.service("gpu", **limit)

    async def handler(work: runcue.Work) -> None:
        await asyncio.sleep(0.2)

    cue.task("high", uses="gpu", priority=0.9)(handler)
    cue.task("low", uses="gpu", priority=0.1)(handler)
    cue.start()
    for _ in range(6):
        await cue.submit("high")
    low = await cue.submit("low")
    for _ in range(20):
        await cue.submit("high")
        await asyncio.sleep(0.1)
    steps = steps_of(cue)
    assert steps[low.work.id].startswith(
        'Give it a higher priority=, or let waiting count: Cue(head_start="1 min"); '
    )
    waiting = [step for name, step in steps.items() if name != low.work.id]
    assert waiting
    assert all(step.startswith("Wait") for step in waiting)
    assert f". Give low {low.work.id} a higher priority=" in str(cue.why())
    await cue.stop(drain=False, timeout=0)


@virtual
@pytest.mark.parametrize(("rate", "number", "told"), [("1/min", 20, 1), ("60/min", 200, 0)])
async def test_a_drain_of_minutes_in_which_hardly_anything_starts_is_warned_of_once(
    rate: str, number: int, told: int, caplog: pytest.LogCaptureFixture
) -> None:
    cue = runcue.Cue(id_prefix="")
    cue.service("api", rate=rate)
    cue.task("ask", uses="api")(nothing)
    async with cue:
        for _ in range(number):
            await cue.submit("ask")
        await cue.drain()
    warned = [text for text in caplog.messages if text.startswith("Draining: ")]
    assert len(warned) == told
    assert all("work units wait for api: " in text and "all of them are done in 1" in text for text in warned)


@virtual
async def test_who_waits_for_slots_that_async_gates_hold_is_told_so_and_to_give_these_a_time_out() -> None:
    cue = runcue.Cue()
    cue.service("api", concurrent=1)

    @cue.is_ready(task="hang")
    async def hangs(work: runcue.Work) -> bool:
        await asyncio.Event().wait()
        return True

    cue.task("hang", uses="api")(lambda work: None)
    cue.task("ask", uses="api")(lambda work: None)
    async with cue:
        hang = await cue.submit("hang")
        await asyncio.sleep(0.1)
        ask = await cue.submit("ask")
        await asyncio.sleep(1)
        why, everything = str(cue.why(ask)), str(cue.why())
        step = f"Give what the async gate of hang {hang} awaits a time-out of its own, by asyncio.timeout()"
        assert f"api: the only slot is in use, held by hang {hang} (its async gate is being asked);" in why
        assert step in why
        assert (
            f"(the only one is in use by hang {hang}, whose async gate is being asked). {step}" in everything
        )
        await cue.stop(drain=False)
