"""Handlers that run elsewhere: what they see, what becomes of what they give, and how they are cancelled."""

from __future__ import annotations

import asyncio
import os
import pickle
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import runcue
from runcue.abc import CueWarning
from runcue.executors import calls
from tests.support import apart as elsewhere
from tests.support.apart import COLOUR, Apart, ByHand, InPlace
from tests.support.virtual_time import now, virtual


async def turns() -> None:
    """Let happen what can. Virtual time stands still while a call is in a pool."""
    for _ in range(10):
        await asyncio.sleep(0)


async def value_of(cue: runcue.Cue, task: Any, **params: Any) -> Any:
    return await (await cue.submit(task, params))


@pytest.mark.rule(54)
@virtual
async def test_handlers_get_their_params_and_give_their_results_wherever_they_run() -> None:
    cue = runcue.Cue()
    cue.task("double", run_in=InPlace(1.0))(elsewhere.double)
    cue.task("both", run_in=InPlace())(elsewhere.with_both)
    cue.task("point", run_in=InPlace())(elsewhere.point)
    async with cue:
        assert await value_of(cue, "double", number=4) == 8
        assert now() == 1.0
        assert await value_of(cue, "both", x=3) == ("both", 3, 2)
        assert await value_of(cue, "point", at=elsewhere.Point(3)) == elsewhere.Point(4)
        assert [work.result async for work in cue.map(elsewhere.double, range(3))] == [0, 2, 4]


@pytest.mark.rule(9)
@virtual
async def test_context_variables_do_not_travel() -> None:
    cue = runcue.Cue()
    pool = ByHand()
    cue.task("colour", run_in=pool)(elsewhere.colour)
    async with cue:
        token = COLOUR.set("red")
        handle = await cue.submit("colour")
        COLOUR.reset(token)
        await turns()
        pool.finish()
        assert await handle == "none"


@pytest.mark.rule(54)
@virtual
async def test_what_a_handler_raises_elsewhere_is_raised_here_with_its_traceback_as_its_cause() -> None:
    cue = runcue.Cue()
    cue.task("raise", run_in=InPlace())(elsewhere.raise_what)
    async with cue:
        with pytest.raises(Apart) as raised:
            await value_of(cue, "raise", what="apart")
        assert raised.value.args == ("far", 3)
        assert "in raise_what" in str(raised.value.__cause__)
        with (
            elsewhere.plainly_pickled(),
            pytest.raises(runcue.RemoteError, match=r"^tests.support.apart.Odd: odd \(3\)$") as odd,
        ):
            await value_of(cue, "raise", what="odd")
        assert (odd.value.type, odd.value.text) == ("tests.support.apart.Odd", "odd (3)")
        assert "raise Odd(3" in odd.value.traceback
        assert odd.value.traceback.strip() in str(odd.value.__cause__)
        for what, words in (("exit", "SystemExit: 3"), ("interrupt", "KeyboardInterrupt")):
            with pytest.raises(runcue.HandlerExited, match=words):
                await value_of(cue, "raise", what=what)
        with pytest.raises(pickle.PicklingError, match=r"^result\['rows'\]"):
            await value_of(cue, "raise", what="unpicklable")
        with pytest.raises(pickle.UnpicklingError, match="cannot be unpickled: ValueError: not again"):
            await value_of(cue, "raise", what="unwilling")


def test_an_error_in_words_comes_out_of_another_process_itself() -> None:
    error = pickle.loads(pickle.dumps(runcue.RemoteError("a.B", "c", "d")))
    assert (error.type, error.text, error.traceback, str(error)) == ("a.B", "c", "d", "a.B: c")
    assert str(runcue.RemoteError("a.B", "")) == "a.B"


@pytest.mark.rule(25)
@virtual
async def test_attempts_are_counted_and_what_would_come_to_the_same_is_not_tried_again() -> None:
    cue = runcue.Cue()
    pool = InPlace()
    cue.task("attempt", run_in=pool, retry=runcue.Retry(attempts=5, wait_initial="1s", wait_jitter=0))(
        elsewhere.attempt
    )
    cue.task("raise", run_in=pool, retry=5)(elsewhere.raise_what)
    async with cue:
        assert await value_of(cue, "attempt") == 3
        handle = await cue.submit("raise", {"what": "unpicklable"})
        assert (await handle.wait()).attempt == 1
    assert len(pool.calls) == 4


@pytest.mark.rule(55)
@virtual
async def test_what_a_handler_has_spent_elsewhere_is_charged_whether_it_succeeds_or_fails() -> None:
    cue = runcue.Cue()
    api = cue.service("api", budget={"tokens": "1000/min"})
    cue.task("spend", run_in=InPlace(), uses=api, cost={"tokens": 1})(elsewhere.spend)
    cue.task("nothing", run_in=InPlace(), uses=api)(elsewhere.spend_nothing)
    async with cue:
        await value_of(cue, "spend", tokens=30)
        assert cue.services()[0].budgets["tokens"].used == 60
        with pytest.raises(
            runcue.ConfigurationError, match="names the budget 'tokns', and there is 'tokens'"
        ):
            await value_of(cue, "spend", tokns=30)
        with pytest.raises(runcue.ConfigurationError, match="tokens"):
            await value_of(cue, "spend", tokens=-30)
        with pytest.raises(runcue.ConfigurationError, match=r"such as spent\(tokens=712\)"):
            await value_of(cue, "nothing")


@pytest.mark.rule(55)
@virtual
async def test_where_there_is_no_budget_to_spend_of_that_is_told() -> None:
    cue = runcue.Cue()
    cue.task("spend", run_in=InPlace())(elsewhere.spend)
    async with cue:
        with pytest.raises(runcue.ConfigurationError, match="and no service of its task has any"):
            await value_of(cue, "spend", tokens=30)


@pytest.mark.rule(55, 30)
@virtual
async def test_what_is_written_elsewhere_appears_when_the_handler_has_succeeded(tmp_path: Path) -> None:
    cue = runcue.Cue()
    pool = ByHand()
    target = tmp_path / "deep" / "out.txt"
    cue.task("write", run_in=pool, outputs=target)(elsewhere.write)
    async with cue:
        handle = await cue.submit("write", {"text": "whole"})
        await turns()
        # It was made and claimed before the call.
        (temp,) = target.parent.glob(".runcue-*-out.txt")
        assert not target.exists()
        pool.finish()
        assert await handle == str(temp)
    assert target.read_text() == "whole"
    assert not list(target.parent.glob(".runcue-*-out.txt"))


@pytest.mark.rule(55, 30)
@virtual
async def test_the_last_of_several_versions_counts_and_of_a_failure_nothing_is_left(tmp_path: Path) -> None:
    cue = runcue.Cue()
    cue.task("twice", run_in=InPlace(), outputs=tmp_path / "twice.txt")(elsewhere.write_twice)
    cue.task("fail", run_in=InPlace(), outputs=tmp_path / "fail.txt")(elsewhere.write_and_fail)
    cue.task("itself", run_in=InPlace(), outputs=tmp_path / "itself.txt")(elsewhere.write_by_itself)
    async with cue:
        await value_of(cue, "twice")
        with pytest.raises(Apart):
            await value_of(cue, "fail")
        await value_of(cue, "itself")
    assert (tmp_path / "twice.txt").read_text() == "second"
    assert (tmp_path / "itself.txt").read_text() == "by itself"
    left = await asyncio.to_thread(os.listdir, tmp_path)
    assert sorted(name for name in left if name.endswith(".txt")) == ["itself.txt", "twice.txt"]


@pytest.mark.rule(55, 29)
@virtual
async def test_an_output_that_was_not_written_is_missing(tmp_path: Path) -> None:
    cue = runcue.Cue()
    cue.task("oddly", run_in=InPlace(), outputs=tmp_path / "out.txt")(elsewhere.write_oddly)
    async with cue:
        for how in ("nothing", "interrupted"):
            with pytest.raises(runcue.MissingOutput):
                await value_of(cue, "oddly", how=how)
        assert await value_of(cue, "oddly", how="bytes") == "bytes"
    assert (tmp_path / "out.txt").read_bytes() == b"bytes"


@pytest.mark.rule(55)
@pytest.mark.parametrize(
    ("how", "error", "words"),
    [
        ("mode", runcue.ConfigurationError, "mode 'a' cannot write"),
        (
            "elsewhere",
            runcue.ConfigurationError,
            r"'elsewhere.txt' is none: there is '.*out",
        ),
        ("number", runcue.ConfigurationError, "Only files can be written; 3 is none"),
        ("exclusive", runcue.PublishError, "it exists, and mode 'x'"),
        ("nested", runcue.UsageError, "is being written"),
    ],
)
async def test_what_cannot_be_written_is_told_where_it_is_tried(
    tmp_path: Path, how: str, error: type[Exception], words: str
) -> None:
    cue = runcue.Cue()
    (tmp_path / "out.txt").write_text("old")
    cue.task("oddly", run_in=InPlace(), outputs=tmp_path / "out.txt")(elsewhere.write_oddly)
    async with cue:
        with pytest.raises(error, match=words):
            await (await cue.submit("oddly", {"how": how}, force=True))
    assert (tmp_path / "out.txt").read_text() == "old"


@pytest.mark.rule(55)
async def test_a_place_that_cannot_be_written_is_told_to_who_writes_there(tmp_path: Path) -> None:
    cue = runcue.Cue()
    (tmp_path / "blocker").write_text("a file")
    cue.task("write", run_in=InPlace(), outputs=tmp_path / "blocker" / "out.txt")(elsewhere.write)
    async with cue:
        with pytest.raises(runcue.PublishError, match="is a file where a folder must be"):
            await value_of(cue, "write", text="nowhere")


@pytest.mark.rule(17, 54)
@virtual
async def test_a_call_that_is_cancelled_settles_at_once_and_keeps_its_slot_until_it_is_done() -> None:
    cue = runcue.Cue()
    pool = ByHand(workers=1)
    cue.task("double", run_in=pool)(elsewhere.double)
    async with cue:
        first, second = [await cue.submit("double", {"number": n}) for n in (1, 2)]
        await turns()
        pool.begin()
        first.cancel()
        assert (await first.wait()).state is runcue.WorkState.CANCELLED
        await turns()
        assert second.state is runcue.WorkState.PENDING
        assert cue.debug_blocked()[0]["reason"] == "service_full"
        pool.finish()
        await turns()
        assert second.state is runcue.WorkState.RUNNING
        pool.finish()
        assert await second == 4


@pytest.mark.rule(17, 54)
@virtual
async def test_a_call_that_has_not_begun_gives_its_slot_back_when_it_is_cancelled() -> None:
    cue = runcue.Cue()
    pool = ByHand(workers=1)
    cue.task("double", run_in=pool)(elsewhere.double)
    async with cue:
        first, second = [await cue.submit("double", {"number": n}) for n in (1, 2)]
        await turns()
        first.cancel()
        await turns()
        assert second.state is runcue.WorkState.RUNNING
        pool.given.pop(0)
        pool.finish()
        assert await second == 4


@pytest.mark.rule(21, 54)
@virtual
async def test_a_call_that_times_out_is_ended_where_that_can_be_done() -> None:
    cue = runcue.Cue()
    ends, goes_on = InPlace(100.0, kills=True, ends=True, workers=1), InPlace(3.0, workers=1)
    cue.task("ends", run_in=ends, timeout=2)(elsewhere.double)
    cue.task("goes_on", run_in=goes_on, timeout=2)(elsewhere.double)
    cue.task("again", run_in=ends, timeout=2, retry=runcue.Retry(attempts=2, wait_initial=1, wait_jitter=0))(
        elsewhere.double
    )
    async with cue:
        first = await cue.submit("ends", {"number": 1})
        with pytest.raises(runcue.WorkTimeout, match=r"of 2 s\. What ran it was killed\.$"):
            await first
        assert now() == 2.0
        with pytest.raises(runcue.WorkTimeout, match="cannot be interrupted, and its slot stays taken"):
            await (await cue.submit("goes_on", {"number": 1}))
        assert now() == 4.0
        await asyncio.sleep(1.0)
        began = now()
        again = await cue.submit("again", {"number": 1})
        assert len((await again.wait()).attempts) == 2
        assert now() == began + 5.0
    assert goes_on.cancelled
    assert len(ends.cancelled) == 3


class Warned(runcue.Observer):
    """Hears what is warned of."""

    def __init__(self) -> None:
        self.heard: list[CueWarning] = []

    def warned(self, warning: CueWarning) -> None:
        self.heard.append(warning)


@pytest.mark.rule(23, 54)
@virtual
async def test_a_hard_stop_ends_calls_that_can_be_ended_and_gives_the_others_up() -> None:
    cue = runcue.Cue()
    ends, goes_on = InPlace(100.0, ends=True), InPlace(100.0)
    cue.task("ends", run_in=ends)(elsewhere.double)
    cue.task("goes_on", run_in=goes_on)(elsewhere.double)
    warned = Warned()
    cue.observe(warned)
    cue.start()
    handles = [await cue.submit(task, {"number": 1}) for task in ("ends", "goes_on")]
    await asyncio.sleep(1.0)
    await cue.stop(drain=False, timeout=1.0)
    assert now() < 4.0
    assert [handle.state for handle in handles] == [runcue.WorkState.CANCELLED] * 2
    [text] = [one.text for one in warned.heard if one.kind == "abandoned"]
    assert "goes_on" in text
    assert "the call of its handler did not end in time" in text
    assert "ends" not in text


@pytest.mark.rule(8, 55)
@virtual
async def test_the_tokens_of_what_ran_on_another_machine_count_from_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # As of a loop on the real clock, where other processes have the same one.
    monkeypatch.setattr(calls, "monotonic", now)
    for place, expected in (("here", [0.0, 1.0, 2.0]), ("there", [0.0, 4.0, 8.0])):
        cue = runcue.Cue()
        cue.service("api", rate="1/sec")
        # Of a call that goes on it is not known yet when it was entered; then its service waits.
        cue.task("double", run_in=InPlace(3.0 if place == "there" else 0.5), uses="api")(elsewhere.double)
        starts: list[float] = []
        cue.on_start(lambda work, starts=starts: starts.append(now()))
        began = now()
        async with cue:
            if place == "there":
                monkeypatch.setattr(calls, "here", lambda: "another machine")
            for number in range(3):
                await cue.submit("double", {"number": number})
        assert [at - began for at in starts] == expected


@pytest.mark.rule(54)
@virtual
async def test_no_more_are_handed_on_than_there_are_workers_whatever_slots_services_have() -> None:
    cue = runcue.Cue()
    cue.service("api", concurrent=50)
    told, silent = InPlace(1.0, workers=2), InPlace(1.0)
    cue.task("told", run_in=told, uses="api")(elsewhere.double)
    cue.task("silent", run_in=silent, uses="api")(elsewhere.double)
    async with cue:
        for task in ("told", "silent"):
            for number in range(20):
                await cue.submit(task, {"number": number})
    assert (told.most, silent.most) == (2, 20)


@pytest.mark.rule(15, 54)
async def test_a_plain_function_may_run_in_the_event_loop_and_is_told_of_if_it_keeps_that(
    caplog: pytest.LogCaptureFixture,
) -> None:
    cue = runcue.Cue()
    seen = []

    @cue.task(run_in="loop")
    def here(work: runcue.Work, seconds: float) -> Any:
        seen.append(
            (threading.current_thread() is threading.main_thread(), asyncio.current_task() is not None)
        )
        time.sleep(seconds)
        return seconds

    @cue.task(run_in="loop")
    def gives_awaitable(work: runcue.Work) -> Any:
        return asyncio.sleep(0, "awaited")

    async with cue:
        assert await (await cue.call(here, 0.0)) == 0.0
        assert await (await cue.call(here, 0.08)) == 0.08
        assert await (await cue.submit(gives_awaitable)) == "awaited"
    assert seen == [(True, True)] * 2
    assert 'leave run_in="loop" out: then it runs in a thread' in caplog.text


@pytest.mark.rule(54)
async def test_all_plain_functions_of_a_cue_may_run_elsewhere() -> None:
    for place in (InPlace(), ByHand):
        cue = runcue.Cue(run_in=place)  # type: ignore[arg-type]
        cue.task("double")(elsewhere.double)
        cue.task("thread", run_in="thread")(lambda work: "in a thread")

        @cue.task
        async def coroutine(number: int) -> int:
            return number

        async with cue:
            handle = await cue.submit("double", {"number": 2})
            if place is ByHand:
                await asyncio.sleep(0.01)
                cue._executors._usual._pool.finish()  # type: ignore[union-attr]
            assert await handle == 4
            assert await (await cue.submit("thread")) == "in a thread"
            assert await (await cue.call(coroutine, 3)) == 3


@pytest.mark.rule(15, 54)
async def test_params_that_take_long_to_pickle_are_told_of(caplog: pytest.LogCaptureFixture) -> None:
    cue = runcue.Cue()
    cue.task("slow", run_in=InPlace())(elsewhere.raise_what)
    async with cue:
        await (await cue.submit("slow", {"what": "nothing"}))
        await (await cue.submit("slow", {"what": elsewhere.Slow(0.06)}))
        cue.task("slow at first", run_in=InPlace())(elsewhere.raise_what)
        await (await cue.submit("slow at first", {"what": elsewhere.Slow(0.06)}))
    for task in ("slow", "slow at first"):
        assert caplog.text.count(f"Pickling the params of task '{task}' blocked the event loop") == 1
    assert "declares" not in caplog.text
    assert "Unpickling what the handler of task 'slow' has returned blocked the event loop" in caplog.text
    assert "the path of a file in place of what is in it" in caplog.text


@pytest.mark.rule(54)
@pytest.mark.parametrize(
    ("run_in", "words"),
    [
        ("porcess", 'must be "loop", "thread", "process"'),
        (3, "not 3"),
        (InPlace, "it is a class, make one"),
        (dict, "not <class 'dict'>"),
        (lambda size: None, "must be a pool, or a function without parameters that makes one"),
    ],
    ids=["word", "number", "class", "other class", "arguments"],
)
def test_what_is_no_place_to_run_is_refused_in_the_line_of_the_mistake(run_in: Any, words: str) -> None:
    cue = runcue.Cue()
    with pytest.raises(runcue.ConfigurationError, match=r"^run_in of task 'task'") as raised:
        cue.task("task", run_in=run_in)(elsewhere.double)
    assert words.replace("\\", "") in str(raised.value)
    with pytest.raises(runcue.ConfigurationError, match=r"^run_in"):
        runcue.Cue(run_in=run_in)


def test_a_coroutine_makes_no_pool_and_runs_in_none() -> None:
    async def make() -> Any: ...

    cue = runcue.Cue()
    with pytest.raises(
        runcue.ConfigurationError, match="must be made by a plain function, not by the async def"
    ):
        cue.task("task", run_in=make)(elsewhere.double)  # type: ignore[arg-type]
    for place in (ByHand(), InPlace(), "thread"):
        with pytest.raises(runcue.ConfigurationError, match="is an async def and runs on the event loop"):
            cue.task("task", run_in=place)(make)  # type: ignore[arg-type]
