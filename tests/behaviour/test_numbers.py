"""How many work units there are, by state and by task, and what a `Summary` says of them."""

from __future__ import annotations

import asyncio
import io
import logging
import sys
import time
import unicodedata
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import runcue
from runcue._model.summary import Durations
from tests.support.virtual_time import virtual

WORDS = "and of many, many words " * 8

NOTHING = {"pending": 0, "running": 0, "completed": 0, "skipped": 0, "failed": 0, "cancelled": 0}


def in_the_repr(cue: runcue.Cue) -> dict[str, int]:
    """Returns the numbers that the repr tells."""
    held = repr(cue).rpartition("; ")[2].removesuffix(">")
    pairs = [] if held == "no work yet" else [part.split() for part in held.split(", ")]
    return NOTHING | {name: int(number) for number, name in pairs}


class Agreement:
    """Looks, whenever it is told to, whether all that counts says the same."""

    def __init__(self, cue: runcue.Cue) -> None:
        self.cue = cue
        self.looks = 0

    def look(self, *ignored: Any) -> None:
        self.looks += 1
        cue = self.cue
        counts, by_task = cue.counts(), cue.counts(by="task")
        assert in_the_repr(cue) == counts
        assert list(by_task) == [task.name for task in cue.tasks()]
        assert {name: sum(one[name] for one in by_task.values()) for name in NOTHING} == counts
        summary = cue._stopping.summary([], [])
        assert summary.counts == {name: counts[name] for name in summary.counts}
        assert summary.by_task == by_task
        ended = len(summary.failed), len(summary.cancelled)
        assert ended == (counts["failed"], counts["cancelled"])
        runs = {name: one.count for name, one in summary.durations.items()}
        assert all(count <= by_task[name]["completed"] for name, count in runs.items())


@settings(max_examples=30)
@given(plan=st.lists(st.tuples(st.integers(0, 6), st.integers(0, 3)), min_size=1, max_size=25))
def test_all_that_counts_agrees_at_every_instant(plan: list[tuple[int, int]]) -> None:
    @virtual
    async def main() -> None:
        cue = runcue.Cue(id_prefix="", keep=1000)
        cue.service("api", concurrent=2)
        agreement = Agreement(cue)

        @cue.task("wait", uses="api", key=lambda work: work.params["key"], timeout=3)
        async def wait(work: runcue.Work) -> None:
            agreement.look()
            await asyncio.sleep(work.params["n"])
            agreement.look()
            if work.params["n"] == 2:
                raise ValueError

        @cue.task("quick", retry=2)
        async def quick(work: runcue.Work) -> None:
            agreement.look()
            if work.params["n"] == 1:
                raise KeyError

        @cue.task("thread", uses="api")
        def thread(work: runcue.Work) -> None: ...

        cue.is_stale(lambda work: work.params["n"] != 0)
        for hear in (cue.on_submit, cue.on_start, cue.on_retry, cue.on_complete, cue.on_failure):
            hear(agreement.look)
        cue.on_skip(agreement.look)
        cue.on_cancel(agreement.look)
        agreement.look()
        handles: list[runcue.WorkHandle] = []
        for number, (what, n) in enumerate(plan):
            if number == len(plan) // 2:
                cue.start()
                # What ended before the start is not counted any more, neither here nor there.
                agreement.look()
            if what < 2:
                handles.append(
                    await cue.submit("wait", params={"n": 4, "key": n} if what else {"n": n, "key": (n,)})
                )
            elif what == 2:
                handles.append(await cue.submit("quick", params={"n": n}))
            elif what == 3:
                handles.append(await cue.submit("thread", params={"n": n}, delay=n or None))
            elif what == 4 and handles:
                await cue.cancel(handles[n % len(handles)])
            elif what == 5 and cue._intake.is_open:
                await asyncio.sleep(n / 2)
            agreement.look()
        cue.start()
        summary = await cue.stop()
        agreement.look()
        assert sum(summary.counts.values()) == sum(cue.counts().values())
        assert agreement.looks > len(plan)

    main()


@virtual
async def test_counts_work_before_the_start_and_after_the_stop() -> None:
    cue = runcue.Cue()
    assert cue.counts() == NOTHING
    assert cue.counts(by="task") == {}
    cue.task("a")(lambda work: None)
    cue.task("b")(lambda work: None)
    await cue.submit("a")
    assert cue.counts() == NOTHING | {"pending": 1}
    assert cue.counts(by="task") == {"a": NOTHING | {"pending": 1}, "b": NOTHING}
    async with cue:
        pass
    assert cue.counts(by="task") == {"a": NOTHING | {"completed": 1}, "b": NOTHING}


def test_another_thread_may_ask_while_work_runs() -> None:
    cue = runcue.Cue()

    @cue.task("t", key=lambda work: work.params["n"])
    async def t(work: runcue.Work) -> None:
        await asyncio.sleep(0)

    seen: list[int] = []

    def show() -> None:
        for _ in range(100):
            time.sleep(0.001)
            seen.append(sum(cue.counts().values()))
            assert list(cue.counts(by="task")) == ["t"]

    async def main() -> None:
        async with cue:
            shown = asyncio.create_task(asyncio.to_thread(show))
            n = 0
            while not shown.done():
                n += 1
                await cue.submit("t", {"n": n // 3})
                await asyncio.sleep(0.0001)
            await shown

    asyncio.run(main())
    assert len(seen) == 100


@virtual
async def test_who_has_joined_one_that_runs_counts_as_running() -> None:
    cue = runcue.Cue()

    @cue.task("t", key="one")
    async def t(work: runcue.Work) -> None:
        await asyncio.sleep(1)

    cue.start()
    handles = [await cue.submit("t") for _ in range(3)]
    await asyncio.sleep(0.5)
    assert cue.counts() == NOTHING | {"running": 3}
    assert cue.counts(by="task") == {"t": NOTHING | {"running": 3}}
    handles[0].cancel()
    assert cue.counts() == NOTHING | {"running": 2, "cancelled": 1}
    summary = await cue.stop()
    assert summary.by_task == {"t": NOTHING | {"completed": 2, "cancelled": 1}}
    assert summary.durations["t"].count == 1, "one handler ran for both"


@virtual
async def test_a_task_that_is_defined_anew_keeps_its_numbers() -> None:
    cue = runcue.Cue()

    def define(seconds: float) -> None:
        @cue.task("t")
        async def t(work: runcue.Work) -> None:
            await asyncio.sleep(seconds)

    define(1)
    cue.start()
    await (await cue.submit("t"))
    define(2)
    await (await cue.submit("t"))
    running = await cue.submit("t")
    await asyncio.sleep(1)
    define(4)
    await cue.submit("t")
    await asyncio.sleep(0.1)
    assert cue.counts(by="task") == {"t": NOTHING | {"running": 2, "completed": 2}}
    await running
    summary = await cue.stop()
    assert summary.by_task == {"t": NOTHING | {"completed": 4}}
    assert summary.durations == {"t": Durations(4, 9.0, 1.0, 2.0, 4.0)}


@pytest.mark.parametrize("by", ["tasks", 1, True, ["task"]])
def test_by_something_else_is_refused(by: Any) -> None:
    with pytest.raises(runcue.ConfigurationError, match='by of counts\\(\\) must be "task" or None, not '):
        runcue.Cue().counts(by=by)


@virtual
async def test_durations_are_of_all_and_the_median_of_those_that_are_known() -> None:
    cue = runcue.Cue(keep=3)
    cue.service("one", concurrent=1)

    @cue.task("t", uses="one")
    async def t(work: runcue.Work) -> None:
        await asyncio.sleep(work.params["seconds"])
        if work.params["seconds"] == 100:
            raise ValueError

    cue.on_failure(lambda work, error: None)
    cue.start()
    for seconds in (9, 1, 100, 4, 2, 3):
        await cue.submit("t", params={"seconds": seconds})
    summary = await cue.stop()
    assert summary.durations["t"] == Durations(count=5, total=19.0, least=1.0, median=3.0, most=9.0)
    assert summary.durations["t"].median == 3.0


@virtual
async def test_of_what_the_cue_does_not_keep_there_is_no_median() -> None:
    cue = runcue.Cue(keep=0)

    @cue.task("t")
    async def t(work: runcue.Work) -> None:
        await asyncio.sleep(1)

    cue.start()
    await cue.submit("t")
    assert (await cue.stop()).durations == {"t": Durations(1, 1.0, 1.0, None, 1.0)}


@virtual
async def test_a_summary_lists_who_was_cancelled_and_whose_time_was_over() -> None:
    cue = runcue.Cue(pending_timeout=5)
    cue.service("one", concurrent=1)
    cue.on_failure(lambda work, error: None)

    @cue.task("t", uses="one")
    async def t(work: runcue.Work) -> None:
        await asyncio.sleep(8)

    cue.start()
    runs = await cue.submit("t")
    waits = await cue.submit("t")
    late = await cue.submit("t", timeout=1)
    gone = await cue.submit("t")
    await cue.cancel(gone)
    await runs
    late = await cue.submit("t", timeout=1)
    summary = await cue.stop()
    assert [work.id for work in summary.cancelled] == [gone]
    assert {type(work.exception) for work in summary.timed_out} == {runcue.PendingTimeout, runcue.WorkTimeout}
    assert waits in {work.id for work in summary.timed_out}
    assert late in {work.id for work in summary.timed_out}
    assert summary.timed_out == summary.failed


@virtual
async def test_raise_for_errors_raises_what_the_handlers_raised_in_a_group(
    caplog: pytest.LogCaptureFixture,
) -> None:
    cue = runcue.Cue(id_prefix="")

    @cue.task("fetch")
    async def fetch(work: runcue.Work) -> None:
        if work.params["n"] == 1:
            raise ValueError("no such page")
        if work.params["n"] == 2:
            raise SystemExit(3)

    @cue.task("parse", timeout=0.5)
    async def parse(work: runcue.Work) -> None:
        await asyncio.sleep(2)

    with caplog.at_level(logging.ERROR, "runcue"):
        cue.start()
        for n in range(3):
            await cue.submit("fetch", params={"n": n})
        await cue.submit("parse")
        summary = await cue.drain()
        with pytest.raises(ExceptionGroup) as raised:
            summary.raise_for_errors()
        await cue.stop()
    assert str(raised.value) == "3 of 4 work units failed: 2 fetch, 1 parse (3 sub-exceptions)"
    kinds = [type(error) for error in raised.value.exceptions]
    assert kinds == [ValueError, runcue.HandlerExited, runcue.WorkTimeout]
    error = raised.value.exceptions[0]
    assert error is not summary.failed[0].exception, "a copy, as handles give it"
    assert error.__traceback__ is not None
    assert not caplog.records, "who has them in hand is not told of them at the end"


@virtual
async def test_raise_for_errors_does_nothing_where_nothing_failed() -> None:
    cue = runcue.Cue()

    @cue.task("t")
    async def t(work: runcue.Work) -> None:
        await asyncio.sleep(1)

    cue.start()
    await cue.submit("t")
    await cue.cancel(await cue.submit("t"))
    summary = await cue.stop()
    assert not summary.ok
    summary.raise_for_errors()


@virtual
async def test_raise_for_errors_tells_of_those_that_are_not_kept() -> None:
    cue = runcue.Cue(keep=2)
    cue.on_failure(lambda work, error: None)

    @cue.task("t")
    async def t(work: runcue.Work) -> None:
        raise ValueError

    cue.start()
    for _ in range(5):
        await cue.submit("t")
    with pytest.raises(ExceptionGroup, match="5 of 5 work units failed") as raised:
        (await cue.stop()).raise_for_errors()
    assert [type(error) for error in raised.value.exceptions] == [ValueError, ValueError, runcue.RuncueError]
    assert "3 more have failed that are not kept" in str(raised.value.exceptions[2])


@virtual
async def test_a_summary_prints_as_a_table_where_a_line_does_not_say_it_all() -> None:
    cue = runcue.Cue(id_prefix="")
    cue.on_failure(lambda work, error: None)

    @cue.task("fetch")
    async def fetch(work: runcue.Work) -> None:
        await asyncio.sleep(work.params["n"])
        if work.params["n"] > 2:
            raise ValueError("a page\nof two lines, and of many, many words " + WORDS)

    @cue.task("a-name-that-is-longer-than-anybody-would-like-to-read-in-a-table-of-eighty-columns")
    async def parse(work: runcue.Work) -> None: ...

    cue.task("unused")(lambda work: None)
    cue.start()
    for n in range(5):
        await cue.submit("fetch", params={"n": n})
    assert str(await cue.drain()).splitlines() == [
        "3 completed, 2 failed in 4.00 s",
        "",
        "task   completed  failed  median  most  total",
        "fetch          3       2     1 s   2 s    3 s",
        "",
        "2 of fetch failed: ValueError: a page of two lines, and of many, many words " + WORDS.strip(),
        "  4 {'n': 3}",
        "  5 {'n': 4}",
    ]
    for _ in range(1234):
        await cue.submit(parse)
    await cue.submit(parse, delay=9)
    lines = str(await cue.drain(timeout=1)).splitlines()
    assert lines[2:4] == [
        "task                                completed  failed  left  median  most  total",
        "fetch                                       3       2     -     1 s   2 s    3 s",
    ]
    assert lines[4].startswith("a-name-that-is-longe ... y-columns ")
    assert lines[4].endswith("   1,234       -     1     0 s   0 s    0 s")
    assert max(map(len, lines[:5])) <= 80
    await cue.stop(drain=False)


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


@virtual
async def test_of_each_kind_of_failure_a_table_names_some_with_their_params_and_attempts() -> None:
    cue = runcue.Cue(id_prefix="")
    cue.on_failure(lambda work, error: None)

    @cue.task(retry=runcue.Retry(attempts=3, on=LookupError, wait_jitter=0))
    async def fetch(page: int) -> None:
        raise LookupError(f"404 for {page}")

    @cue.task
    async def parse(path: str = "here", text: str = "words " * 99) -> None:
        raise ValueError("no text\n")

    @cue.task("plain")
    async def plain(work: runcue.Work) -> None:
        raise KeyError("k")

    cue.start()
    for page in range(1, 5):
        await cue.submit(fetch, {"page": page})
    await cue.submit(parse)
    await cue.submit(plain)
    summary = await cue.stop()
    assert str(summary).split("\n\n")[2].splitlines() == [
        "1 of parse failed: ValueError: no text",
        (
            "  5 {'path': 'here', 'text': 'words words words words words words words words ... "
            "words words words words words '}"
        ),
        "1 of plain failed: KeyError: 'k'",
        "  6",
        "4 of fetch failed: LookupError",
        *(f"  {page} {{'page': {page}}}, 3 attempts: 404 for {page}" for page in (1, 2, 3)),
        "  and 1 more",
    ]


@pytest.mark.parametrize("columns", [60, 80, 100])
def test_a_table_is_as_wide_as_the_terminal(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setenv("COLUMNS", str(columns))

    @virtual
    async def main() -> None:
        cue = runcue.Cue(id_prefix="")
        cue.on_failure(lambda work, error: None)

        @cue.task("a-name-that-is-longer-than-anybody-would-like-to-read-in-a-table-in-a-terminal-with-" * 2)
        async def fails(path: str, *, why: str) -> None:
            raise OSError(why)

        cue.start()
        for why in "ab":
            await cue.submit(fails, {"path": "/home/of/somebody/" * 9, "why": why * 200})
        lines.extend(str(await cue.stop()).splitlines())

    lines: list[str] = []
    main()
    assert max(map(len, lines)) == columns
    assert all(" ... " in line and line.endswith(why * 9) for line, why in zip(lines[-2:], "ab", strict=True))


@virtual
async def test_a_table_is_straight_whatever_tasks_are_called() -> None:
    cue = runcue.Cue(id_prefix="")
    cue.on_failure(lambda work, error: None)
    for name in (
        "fetch",
        "日本語のタスク",
        "日本語のタスク名前が長い場合は真ん中が省かれる",
        "tab\tname",
        "\udcff",
    ):

        @cue.task(name)
        async def fails(work: runcue.Work) -> None:
            raise KeyError("\x1b[31m日本語 " * 30)

        await cue.submit(name)
    cue.start()
    lines = str(await cue.stop()).splitlines()
    ends = {_columns(line) for line in lines[2:8]}
    assert len(ends) == 1, "each row ends where the others do"
    assert max(map(_columns, lines[2:8])) <= 80
    assert all(line.isprintable() for line in lines)


def _columns(line: str) -> int:
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in line)


@virtual
async def test_of_one_task_without_failures_a_summary_is_a_line() -> None:
    cue = runcue.Cue()
    cue.task("t")(lambda work: None)
    cue.task("other")(lambda work: None)
    cue.start()
    await cue.submit("t")
    summary = await cue.stop()
    assert str(summary) == "1 completed in 0.00 s"
    assert repr(summary) == f"<Summary {summary}>"
