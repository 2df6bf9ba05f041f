"""`runcue.rehearsal`: a cue as it is, with nothing done and nobody told."""

import asyncio
import dataclasses
import os
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import aiolimiter
import pytest

import runcue
from runcue import File, Flag
from runcue.rehearsal import Overlay, Place, places_of, rehearse, set_limits
from runcue.testing import Recorder, run


def forbidden(*arguments: object) -> Any:
    raise AssertionError("a rehearsal calls nobody")


def go(
    describe: Callable[[runcue.Cue], object],
    submit: Callable[[runcue.Cue], Any],
    duration: float = 1.0,
    outcome: Callable[[runcue.Work], object] | None = None,
) -> tuple[Recorder, runcue.Summary, float]:
    """Describe a cue, rehearse it, submit to it. Returns what was heard, the summary, and how long it took."""
    cue = runcue.Cue(id_prefix="w")
    describe(cue)
    rehearse(cue, lambda work: duration, outcome)
    recorder = Recorder(cue)

    async def main() -> tuple[runcue.Summary, float]:
        cue.start()
        await submit(cue)
        summary = await cue.drain()
        now = asyncio.get_running_loop().time()
        await cue.stop()
        return summary, now

    return recorder, *run(main)


def test_no_handler_and_no_listener_is_called() -> None:
    def describe(cue: runcue.Cue) -> None:
        for listen in (cue.on_start, cue.on_complete, cue.on_failure, cue.on_skip, cue.on_cancel):
            listen(forbidden)
        cue.task("plain")(lambda work: forbidden())

        @cue.task("async")
        async def later(work: runcue.Work) -> None:
            forbidden()

    async def submit(cue: runcue.Cue) -> None:
        await cue.submit("plain")
        await cue.submit("async")

    recorder, summary, seconds = go(describe, submit)
    assert recorder.counts() == {"start": 2, "complete": 2}
    assert summary.counts["failed"] == 0
    assert seconds == 1.0


def test_a_task_that_is_registered_later_is_rehearsed_as_well() -> None:
    async def submit(cue: runcue.Cue) -> None:
        cue.task("late")(lambda work: forbidden())
        await cue.submit("late")

    recorder, _, _ = go(lambda cue: None, submit)
    assert recorder.counts() == {"start": 1, "complete": 1}


def test_the_outcome_is_the_models() -> None:
    def outcome(work: runcue.Work) -> int:
        if work.params["n"] == 1:
            raise RuntimeError("as the model says")
        return 10 * int(work.params["n"])

    async def submit(cue: runcue.Cue) -> None:
        for n in range(3):
            await cue.submit("t", params={"n": n})

    recorder, _, _ = go(lambda cue: cue.task("t")(forbidden), submit, outcome=outcome)
    ends = sorted((heard.work.params["n"], heard.event, str(heard.value)) for heard in recorder.events)
    assert [end for end in ends if end[1] != "start"] == [
        (0, "complete", "0"),
        (1, "failure", "as the model says"),
        (2, "complete", "20"),
    ]


def test_limits_hold_for_plain_and_for_async_handlers() -> None:
    def describe(cue: runcue.Cue) -> None:
        cue.service("rated", rate="2/sec")
        cue.service("slots", concurrent=3)
        cue.task("rated", uses="rated")(lambda work: forbidden())

        @cue.task("slots", uses="slots")
        async def slots(work: runcue.Work) -> None: ...

    async def submit(cue: runcue.Cue) -> None:
        for task in ("rated", "slots"):
            for _ in range(6):
                await cue.submit(task)

    recorder, _, seconds = go(describe, submit)
    starts = {
        task: sorted(
            heard.time for heard in recorder.events if heard.event == "start" and heard.work.task == task
        )
        for task in ("rated", "slots")
    }
    assert starts == {"rated": [0, 0, 1, 1, 2, 2], "slots": [0, 0, 0, 1, 1, 1]}
    assert seconds == 3.0


def test_plain_handlers_take_turns_where_threads_are_few() -> None:
    cue = runcue.Cue(max_threads=2)
    cue.task("t")(lambda work: forbidden())
    rehearse(cue, lambda work: 1.0)

    async def main() -> float:
        async with cue:
            for _ in range(6):
                await cue.submit("t")
        return asyncio.get_running_loop().time()

    assert run(main) == 3.0


def test_it_is_told_where_handlers_run_and_how_many_at_once() -> None:
    pytest.importorskip("distributed")
    cue = runcue.Cue(max_threads=5, max_processes=2)
    slots, rate = cue.service("slots", concurrent=9), cue.service("rate", rate="9/min")

    def plain(work: runcue.Work) -> None:
        raise AssertionError

    async def waiting(work: runcue.Work) -> None:
        raise AssertionError

    pool = ThreadPoolExecutor(3)
    cue.task("thread")(plain)
    cue.task("thread with a rate", uses=rate)(plain)
    cue.task("thread with slots", uses=slots)(plain)
    cue.task("pool", run_in=pool, uses=slots)(plain)
    cue.task("same pool", run_in=pool)(plain)
    cue.task("made", run_in=lambda: ThreadPoolExecutor(3))(plain)
    cue.task("dask", run_in=runcue.executors.dask("tcp://127.0.0.1:9"))(rehearse)
    cue.task("command")(runcue.shell("true"))
    cue.task("command with slots", uses=slots)(runcue.shell("true"))
    cue.task("loop", run_in="loop")(plain)
    cue.task("async")(waiting)
    rehearse(cue, lambda work: 1.0)
    places = places_of(cue)
    assert dict(places) == {
        "thread": Place("threads", 5, True),
        "thread with a rate": Place("threads", 5, True),
        "pool": Place("ThreadPoolExecutor", 3, True),
        "same pool": Place("ThreadPoolExecutor", 3, True),
        "made": Place("pool", 5, False),
        "dask": Place("dask", 5, False),
        "command": Place("processes", 2, True),
    }
    assert places["thread"] is places["thread with a rate"]
    assert places["pool"] is places["same pool"]
    set_limits(cue, {"slots": {"concurrent": None}})
    assert places_of(cue)["thread with slots"] == places["thread"]


def test_a_timeout_strikes_what_the_model_lets_run_too_long() -> None:
    def describe(cue: runcue.Cue) -> None:
        cue.task("t", timeout=2.0)(lambda work: forbidden())

    async def submit(cue: runcue.Cue) -> None:
        await cue.submit("t")

    recorder, summary, _ = go(describe, submit, duration=5.0)
    assert [heard.event for heard in recorder.events] == ["start", "failure"]
    assert isinstance(summary.failed[0].exception, runcue.WorkTimeout)


def chain(cue: runcue.Cue, folder: Path, fresh: Any = None) -> None:
    """a.txt -> b.txt -> c.txt"""
    policy = {} if fresh is None else {"fresh": fresh}
    for one, other in ("ab", "bc"):
        cue.task(other, inputs=folder / f"{one}.txt", outputs=folder / f"{other}.txt", **policy)(forbidden)


async def submit_chain(cue: runcue.Cue) -> None:
    await cue.submit("c")
    await cue.submit("b")


def events(recorder: Recorder) -> list[tuple[str, str]]:
    return [(heard.work.task, heard.event) for heard in recorder.events if heard.event != "start"]


def listing(folder: Path) -> list[tuple[str, int, bytes]]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return sorted((path.name, path.stat().st_mtime_ns, path.read_bytes()) for path in files)


@pytest.mark.parametrize("policy", ["newer", "digest"])
def test_what_is_made_in_a_rehearsal_is_there_for_those_who_need_it_and_not_on_the_disk(
    policy: str, tmp_path: Path
) -> None:
    (tmp_path / "a.txt").write_text("a")
    before = listing(tmp_path)
    fresh = runcue.newer() if policy == "newer" else runcue.digest()
    recorder, _, seconds = go(lambda cue: chain(cue, tmp_path, fresh), submit_chain)
    assert events(recorder) == [("b", "complete"), ("c", "complete")]
    assert seconds == 2.0
    assert listing(tmp_path) == before


@pytest.mark.parametrize(
    ("ages", "ends"),
    [
        ({"a": 3, "b": 2, "c": 1}, [("b", "skip"), ("c", "skip")]),
        ({"a": 1, "b": 2, "c": 3}, [("b", "complete"), ("c", "complete")]),
        ({"a": 3, "b": 1, "c": 2}, [("b", "skip"), ("c", "complete")]),
        ({"a": 3, "c": 1}, [("b", "complete"), ("c", "complete")]),  # made anew, so what hangs on it is old
        ({"a": 3, "b": 2}, [("b", "skip"), ("c", "complete")]),
        ({"b": 2, "c": 1}, []),
    ],
)
def test_the_real_disk_says_what_is_up_to_date(
    ages: dict[str, int], ends: list[tuple[str, str]], tmp_path: Path
) -> None:
    for name, age in ages.items():
        path = tmp_path / f"{name}.txt"
        path.write_text(name)
        os.utime(path, (1_700_000_000 - age, 1_700_000_000 - age))
    before = listing(tmp_path)
    recorder, summary, _ = go(lambda cue: chain(cue, tmp_path), submit_chain)
    heard = [end for end in events(recorder) if end[1] != "cancel"]
    assert heard == ends
    assert len(summary.blocked) == 2 - len(ends)
    assert listing(tmp_path) == before


def test_digest_in_a_rehearsal_goes_by_the_stamps_that_are_there(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")

    def make_real(cue: runcue.Cue) -> None:
        for one, other in ("ab", "bc"):

            @cue.task(
                other,
                inputs=tmp_path / f"{one}.txt",
                outputs=tmp_path / f"{other}.txt",
                fresh=runcue.digest(),
            )
            def copy(work: runcue.Work) -> None:
                with work.write(work.outputs[0]) as file:
                    file.write(work.inputs[0].path.read_text() + work.task)

    async def really() -> None:
        cue = runcue.Cue()
        make_real(cue)
        async with cue:
            await submit_chain(cue)

    asyncio.run(really())
    assert (tmp_path / "c.txt").read_text() == "abc"
    before = listing(tmp_path)
    recorder, _, _ = go(lambda cue: chain(cue, tmp_path, runcue.digest()), submit_chain)
    assert events(recorder) == [("b", "skip"), ("c", "skip")]
    (tmp_path / "a.txt").write_text("changed")
    recorder, _, _ = go(lambda cue: chain(cue, tmp_path, runcue.digest()), submit_chain)
    assert events(recorder) == [("b", "complete"), ("c", "complete")]
    after = [one for one in listing(tmp_path) if one[0] != "a.txt"]
    assert after == [one for one in before if one[0] != "a.txt"]


def test_gates_see_what_the_rehearsal_has_made(tmp_path: Path) -> None:
    class Row(runcue.Artifact):
        def __init__(self, name: str) -> None:
            self.name = name

        def valid(self) -> bool:
            return False

    def describe(cue: runcue.Cue) -> None:
        cue.task("file", outputs=tmp_path / "x")(forbidden)
        cue.task("flag", outputs=Flag("f"))(forbidden)
        cue.task("row", outputs=Row("r"))(forbidden)
        cue.task("all")(forbidden)

        @cue.is_ready(task="all")
        def is_ready(work: runcue.Work) -> bool:
            return runcue.exists(tmp_path / "x") and Flag("f").valid() and Row("r").valid()

    async def submit(cue: runcue.Cue) -> None:
        for task in ("all", "file", "flag", "row"):
            await cue.submit(task)

    recorder, _, seconds = go(describe, submit)
    assert recorder.counts() == {"start": 4, "complete": 4}
    assert events(recorder)[-1] == ("all", "complete")
    assert seconds == 2.0
    assert list(tmp_path.iterdir()) == []
    assert not Flag("f").valid()


def test_async_gates_see_it_too() -> None:
    def describe(cue: runcue.Cue) -> None:
        cue.task("flag", outputs=Flag("f"))(forbidden)
        cue.task("after")(forbidden)

        @cue.is_ready(task="after")
        async def is_ready(work: runcue.Work) -> bool:
            await asyncio.sleep(0)
            return Flag("f").valid()

    async def submit(cue: runcue.Cue) -> None:
        await cue.submit("after")
        await cue.submit("flag")

    recorder, _, _ = go(describe, submit)
    assert events(recorder) == [("flag", "complete"), ("after", "complete")]


def test_declared_artifacts_keep_their_attributes() -> None:
    seen = []

    def describe(cue: runcue.Cue) -> None:
        cue.task("t", inputs=[File("/etc/passwd")], outputs=File("/no/such/x"))(forbidden)

        @cue.is_ready
        def is_ready(work: runcue.Work) -> bool:
            [one], [other] = work.inputs, work.outputs
            seen.append(
                (one.path, os.fspath(other), str(other), repr(one), other.valid(), one == File("/etc/passwd"))
            )
            return bool(one.valid())

    async def submit(cue: runcue.Cue) -> None:
        await cue.submit("t")

    go(describe, submit)
    known = (Path("/etc/passwd"), "/no/such/x", "/no/such/x", "File('/etc/passwd')", False, True)
    assert seen[0] == known


def test_priorities_and_skips_stay() -> None:
    def describe(cue: runcue.Cue) -> None:
        cue.service("one", concurrent=1)
        cue.task("t", uses="one")(forbidden)
        cue.priority(lambda context: context.work.params["n"] / 10)
        cue.is_stale(lambda work: work.params["n"] != 2)

    async def submit(cue: runcue.Cue) -> None:
        for n in range(4):
            await cue.submit("t", params={"n": n})

    recorder, _, _ = go(describe, submit)
    assert [heard.work.params["n"] for heard in recorder.events if heard.event == "start"] == [3, 1, 0]
    assert recorder.counts()["skip"] == 1


def test_the_overlay_can_be_changed_in_the_middle() -> None:
    cue = runcue.Cue()
    flag = Flag("f")
    cue.task("t", inputs=flag)(forbidden)
    overlay = rehearse(cue, lambda work: 1.0)
    assert isinstance(overlay, Overlay)

    async def main() -> float:
        async with cue:
            handle = await cue.submit("t")
            await asyncio.sleep(5)
            assert handle.work.state is runcue.WorkState.PENDING
            overlay.make(flag)
            assert overlay.valid(flag)
            await handle.wait()
            overlay.unmake(flag)
            assert overlay.touched(flag)
            assert not overlay.valid(flag)
        return asyncio.get_running_loop().time()

    assert run(main) == 6.0


def test_a_cue_that_is_in_use_cannot_be_rehearsed() -> None:
    async def main() -> None:
        cue = runcue.Cue()
        cue.task("t")(forbidden)
        cue.is_ready(lambda work: False)
        await cue.submit("t")
        with pytest.raises(runcue.UsageError, match="before it is started"):
            rehearse(cue, lambda work: 1.0)
        with pytest.raises(runcue.UsageError, match="before it is started"):
            set_limits(cue, {})

    run(main)


def test_limits_can_be_others() -> None:
    cue = runcue.Cue()
    cue.service("a", rate="1/min", concurrent=1)
    cue.service("b")
    cue.service("c", rate="1/min", burst=3)
    cue.service("d", limiter=aiolimiter.AsyncLimiter(5, 1))
    cue.task("t", uses=["a", "b"])(forbidden)
    set_limits(cue, {"a": {"rate": "7/sec", "concurrent": 3}, "b": {"rate": "5/sec"}})
    set_limits(cue, {"c": {"rate": None, "burst": None}})
    a, b, c, d = cue.services()
    assert (a.name, a.rate, a.count, a.period, a.concurrent, a.in_use, a.tokens) == (
        "a",
        "7/sec",
        7,
        1.0,
        3,
        0,
        7,
    )
    assert (b.rate, b.concurrent, b.burst) == ("5/sec", None, None)
    assert (c.rate, c.burst) == (None, None)
    assert (d.burst, d.per_second) == (5.0, 5.0)
    rehearse(cue, lambda work: 1.0)
    recorder = Recorder(cue)

    async def main() -> None:
        async with cue:
            for _ in range(9):
                await cue.submit("t")

    run(main)
    assert recorder.times("start") == [0.0] * 3 + [1.0] * 3 + [2.0] * 3


def test_of_budgets_those_stay_that_are_not_named() -> None:
    cue = runcue.Cue()
    api = cue.service("api", budget={"tokens": "90_000/min", "usd": "2.50/day"}, margin=1)
    set_limits(cue, {"api": {"budget": {"tokens": "45_000/min", "requests": "5/sec"}}})
    budgets = api.status().budgets
    assert {name: (one.limit, one.period) for name, one in budgets.items()} == {
        "tokens": (45_000, 60),
        "usd": (Fraction("2.5"), 86_400),
        "requests": (5, 1),
    }
    set_limits(cue, {"api": {"budget": {"usd": None, "requests": None}}})
    assert list(api.status().budgets) == ["tokens"]
    set_limits(cue, {"api": {"budget": None}})
    assert not api.status().budgets
    with pytest.raises(runcue.ConfigurationError, match="budget of service 'api', 'tokens', must be text"):
        set_limits(cue, {"api": {"budget": {"tokens": 5}}})


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"x": {"concurrent": 1}}, "Unknown service: 'x'"),
        ({"a": {"concurrent": 0}}, "at least 1"),
        ({"a": {"rate": "0/min"}}, "0/min"),
        ({"a": {"speed": 1}}, "A service has no 'speed'. There is 'rate', "),
        ({"a": {"brust": 1}}, "A service has no 'brust'. Did you mean 'burst'?"),
        ({"api-": {"rate": "1/s"}}, "Unknown service: 'api-'. Did you mean 'api'?"),
        ({"a": {"burst": 5}}, "Service 'a': burst=5 needs a rate at which it is refilled."),
        (
            {"api": {"rate": None}},
            "Service 'api' keeps its burst=2, which needs a rate at which it is refilled; ",
        ),
        (
            {"lim": {"rate": "5/s"}},
            "Service 'lim' has a limiter, which stands instead of rate and burst; take it away",
        ),
        ({"lim": {"burst": 5}}, "Service 'lim' has a limiter"),
        ({"a": {"limiter": 5}}, "limiter must be an aiolimiter.AsyncLimiter, not 5"),
        ({"a": 5}, "The limits of service 'a' must be a mapping, not 5."),
        ([1], "The limits of set_limits() must be a mapping"),
    ],
)
def test_limits_that_cannot_be_are_refused(limits: Any, words: str) -> None:
    cue = runcue.Cue()
    cue.service("a")
    cue.service("api", rate="1/s", burst=2)
    cue.service("lim", limiter=aiolimiter.AsyncLimiter(5, 1))
    with pytest.raises(runcue.RuncueError, match=re.escape(words)):
        set_limits(cue, limits)


class Even(runcue.abc.Limit):
    """A limit of the user's own."""

    def room(self, now: float, work: Any = None, /) -> bool:
        return True

    def next_room(self, now: float, work: Any = None, /) -> float:
        return now

    def acquire(self, now: float, work: Any = None, /) -> None: ...

    def entered(self, now: float, work: Any, at: float, /) -> None: ...

    def release(self, now: float, work: Any, actual: Any = None, /) -> None: ...

    def at_least(self, works: Any, /) -> float | None:
        return None

    def describe(self, now: float, work: Any = None, /) -> str:
        return ""


@pytest.mark.parametrize(
    ("values", "changed"),
    [
        ({"rate": "120/min"}, {"per_second": 2.0}),
        ({"burst": 9}, {"burst": 9}),
        ({"concurrent": 7}, {"concurrent": 7}),
        ({"concurrent": None}, {"concurrent": None}),
        ({}, {}),
    ],
)
def test_what_is_not_named_stays(values: dict[str, Any], changed: dict[str, Any]) -> None:
    cue = runcue.Cue()
    cue.service("llm", rate="60/min", burst=1, concurrent=3, limits=Even())
    [before] = cue.services()
    set_limits(cue, {"llm": values})
    [after] = cue.services()
    assert after == dataclasses.replace(before, **changed)
    assert after.limits == ("Even",)


def test_a_limiter_stays_beside_other_slots_and_can_be_taken_away() -> None:
    cue = runcue.Cue()
    cue.service("llm", limiter=aiolimiter.AsyncLimiter(5, 1), concurrent=3)
    set_limits(cue, {"llm": {"concurrent": 2}})
    [status] = cue.services()
    assert (status.burst, status.per_second, status.concurrent) == (5.0, 5.0, 2)
    set_limits(cue, {"llm": {"limiter": None, "rate": "7/sec"}})
    [status] = cue.services()
    assert (status.burst, status.rate, status.concurrent) == (None, "7/sec", 2)


def test_changes_add_up_and_the_declaration_may_be_repeated() -> None:
    cue = runcue.Cue()
    cue.service("llm", rate="60/min", concurrent=3)
    set_limits(cue, {"llm": {"rate": "120/min"}})
    set_limits(cue, {"llm": {"burst": 4}})
    cue.service("llm", rate="60/min", concurrent=3)  # a cell that is run again changes nothing
    [status] = cue.services()
    assert (status.burst, status.per_second, status.concurrent) == (4, 2.0, 3)


def test_services_tell_what_their_limits_allow_now() -> None:
    async def main() -> None:
        cue = runcue.Cue()
        cue.service("api", rate="3/min", concurrent=2)

        @cue.task("t", uses="api")
        async def t(work: runcue.Work) -> None:
            await asyncio.sleep(10)

        assert [task.name for task in cue.tasks()] == ["t"]
        cue.start()
        for _ in range(4):
            await cue.submit("t")
        await asyncio.sleep(5)
        [api] = cue.services()
        assert (api.in_use, api.tokens, api.next_token) == (2, 1, 0.0)
        await asyncio.sleep(10)
        [api] = cue.services()
        assert (api.in_use, api.tokens, api.next_token) == (1, 0, 45.0)
        await cue.stop()

    run(main)


def test_a_rehearsal_counts_attempts_and_waits_between_them() -> None:
    cue = runcue.Cue()

    @cue.task("ask", retry=runcue.Retry(3, wait_initial=10, wait_jitter=0))
    async def ask(work: runcue.Work) -> None:
        raise RuntimeError("this would cost money")

    def outcome(work: runcue.Work) -> str:
        if work.attempt < 3:
            raise ConnectionError("on purpose")
        return "answered"

    rehearse(cue, lambda work: 2.0, outcome)

    async def main() -> float:
        async with cue:
            handle = await cue.submit("ask", delay=60)
            assert await handle.result() == "answered"
            assert [attempt.duration for attempt in handle.work.attempts] == [2.0, 2.0, 2.0]
            return asyncio.get_running_loop().time()

    assert run(main) == 60 + 2 + 10 + 2 + 20 + 2


def test_plain_functions_are_not_called_either_nor_is_what_would_read_their_values() -> None:
    async def fetch(url: str, page: int = 1) -> None:
        forbidden()

    def convert(url: str) -> None:
        forbidden()

    def describe(cue: runcue.Cue) -> None:
        cue.task(outputs=lambda page: Flag(f"{page}"), load=forbidden)(fetch)
        cue.task(convert)

    async def submit(cue: runcue.Cue) -> None:
        handles = [await cue.call(fetch, "a"), await cue.call(convert, "b")]
        assert [await handle for handle in handles] == [{"url": "a", "page": 1}, {"url": "b"}]
        again = await cue.call(fetch, "a")
        assert (await again, again.work.skipped) == (None, True)
        with pytest.raises(runcue.InvalidParams, match="'url' is missing"):
            await cue.call(fetch)

    _, summary, took = go(describe, submit, outcome=lambda work: work.params)
    assert (summary.counts["completed"], summary.counts["skipped"], took) == (2, 1, 1.0)
