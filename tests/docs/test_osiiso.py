"""docs/coming-from.md on osiiso: each line of its tables is tried, and all of osiiso's public names stand in them.

What osiiso has is written down here, as of version 1.1.0; where it is installed (it takes Python 3.13) that is compared
with what it has.
"""

from __future__ import annotations

import asyncio
import importlib.util
import inspect
import re
import threading
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import runcue
from runcue.testing import run
from tests.docs.test_readme import ROOT
from tests.support import elsewhere

PAGE = ROOT / "docs" / "coming-from.md"

QUEUE = "workers size timeout mode fail_policy on_timeout rate burst on_start on_complete on_retry"
SYNC = f"{QUEUE} initializer initargs"
DOES = (
    "active_count cancel clear_results closed group join map pending_count reset results run shutdown start stats "
    "submit task"
)
HANDLE = (
    "add_done_callback attempts cancel cancelled created_at detached done exception group_id metadata must_complete "
    "name priority result scheduled_for status task_id value wait"
)
OPTIONS = (
    "priority must_complete timeout retries retry_delay backoff delay run_at name group_id detached metadata"
)
RESULT = (
    "attempts created_at detached duration exception finished_at group_id message metadata must_complete name priority "
    "scheduled_for started_at status task_id value"
)
SUMMARY = (
    "by_group by_name by_task_id cancellations cancelled display duration errors failed from_results ok "
    "raise_for_errors results succeeded successes timed_out total_submitted values"
)
GROUP = "as_completed cancel group_id handles values wait"
CHECKPOINT = "clear close count is_done lookup namespaces path record store_values"

# Of each section of the page: which classes and functions it is about, what these are made with, what they have.
PUBLIC: dict[str, dict[str, tuple[str, str]]] = {
    "Queues": {
        "AsyncQueue": (QUEUE, DOES),
        "SharedQueue": (QUEUE, DOES),
        "ThreadQueue": (SYNC, DOES),
        "ProcessQueue": (f"{SYNC} context", DOES),
    },
    "Options": {"TaskOptions": (OPTIONS, f"{OPTIONS} replace")},
    "Handles": {"TaskHandle": ("", HANDLE), "SyncTaskHandle": ("", HANDLE)},
    "Groups": {
        "TaskGroup": ("", GROUP),
        "SyncTaskGroup": ("", GROUP),
        "as_completed": ("handles", ""),
        "iter_completed": ("handles timeout", ""),
    },
    "Results": {"TaskResult": ("", RESULT)},
    "Summaries": {"RunSummary": ("", SUMMARY)},
    "Checkpoints": {"Checkpoint": ("path store_values encoder decoder", CHECKPOINT)},
    "Errors and helpers": {
        "OsiisoError": ("", ""),
        "ClosedError": ("", ""),
        "QueueFullError": ("", ""),
        "ExecutionError": ("results", ""),
        "run": ("use_uvloop debug", ""),
        "amap": ("", ""),
        "tmap": ("", ""),
        "pmap": ("", ""),
    },
}
# What methods and functions take beside what they are about, and under which heading it stands.
TAKEN = {
    "AsyncQueue.submit": ("Queues", "opts"),
    "AsyncQueue.map": ("Queues", "opts checkpoint key namespace"),
    "AsyncQueue.group": ("Queues", "group_id opts checkpoint key namespace"),
    "AsyncQueue.task": ("Queues", "opts"),
    "AsyncQueue.run": ("Queues", "timeout strict fail_policy"),
    "AsyncQueue.shutdown": ("Queues", "force"),
    "SyncTaskHandle.wait": ("Handles", "timeout"),
    "SyncTaskGroup.wait": ("Groups", "timeout"),
    "SyncTaskGroup.values": ("Groups", "timeout"),
    "SyncTaskGroup.as_completed": ("Groups", "timeout"),
    "RunSummary.raise_for_errors": ("Summaries", "include_cancelled"),
    "amap": ("Queues", "workers rate timeout checkpoint key namespace"),
    "tmap": ("Queues", "workers rate timeout checkpoint key namespace"),
    "pmap": ("Queues", "workers rate timeout context initializer initargs checkpoint key namespace"),
}
# Said under another heading.
ELSEWHERE = {"opts": "Options", "group_id": "Options"}


def sections() -> dict[str, list[str]]:
    """The lines of each section about osiiso, by its heading."""
    text = PAGE.read_text(encoding="utf-8").partition("\n## osiiso\n")[2].partition("\n## ")[0]
    found: dict[str, list[str]] = {}
    for part in text.split("\n### ")[1:]:
        heading, _, body = part.partition("\n")
        found[heading] = body.splitlines()
    return found


def rows_of(lines: list[str]) -> list[str]:
    """The first cells of the tables among these lines."""
    rows = [line for line in lines if line.startswith("| ") and not line.startswith("| osiiso |")]
    return [re.split(r"(?<!\\) \| ", line.removeprefix("| "))[0] for line in rows]


SECTIONS = sections()
ROWS = [(heading, row) for heading, lines in SECTIONS.items() for row in rows_of(lines)]
TRIED: dict[tuple[str, str], Callable[..., Any]] = {}

Try = Callable[..., Any]


def row(heading: str, cell: str) -> Callable[[Try], Try]:
    """What tries the line of that section that begins with this."""

    def enter(tries: Try) -> Try:
        assert (heading, cell) not in TRIED, (heading, cell)
        TRIED[heading, cell] = tries
        return tries

    return enter


@pytest.mark.parametrize(("heading", "cell"), ROWS)
def test_what_stands_beside_it_does_what_osiiso_does(
    heading: str,
    cell: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert (heading, cell) in TRIED, "a line of the page that nobody tries"
    tries = TRIED[heading, cell]
    monkeypatch.chdir(tmp_path)
    if inspect.iscoroutinefunction(tries):
        run(tries)
    elif inspect.signature(tries).parameters:
        tries(capsys)
    else:
        tries()


def test_nothing_is_tried_that_the_page_does_not_say() -> None:
    assert TRIED.keys() <= set(ROWS)
    assert len(ROWS) == len(set(ROWS))


@pytest.mark.parametrize("heading", PUBLIC)
def test_all_public_names_of_osiiso_stand_in_the_section_about_them(heading: str) -> None:
    cells = "\n".join(rows_of(SECTIONS[heading]))
    before = " ".join(line for line in SECTIONS[heading] if not line.startswith("|"))
    for name, (made_with, has) in PUBLIC[heading].items():
        assert re.search(rf"\b{name}\b", f"{cells} {before}"), name
        missing = [one for one in f"{made_with} {has}".split() if not re.search(rf"\b{one}\b", cells)]
        assert missing == [], name


def test_what_methods_take_stands_there_too() -> None:
    for method, (heading, names) in TAKEN.items():
        for name in names.split():
            cells = "\n".join(rows_of(SECTIONS[ELSEWHERE.get(name, heading)]))
            assert re.search(rf"\b{name}\b", cells), (method, name)


@pytest.mark.skipif(importlib.util.find_spec("osiiso") is None, reason="osiiso is not installed")
def test_what_is_written_down_here_is_what_osiiso_has() -> None:
    osiiso = importlib.import_module("osiiso")
    known = {name: both for names in PUBLIC.values() for name, both in names.items()}
    assert set(osiiso.__all__) == set(known)
    for name, (made_with, has) in known.items():
        thing = getattr(osiiso, name)
        if inspect.isclass(thing) and not issubclass(thing, Exception):
            public = {one for one in dir(thing) if not one.startswith("_")}
            assert public == set(has.split()), name
            if made_with:
                assert set(inspect.signature(thing).parameters) == set(made_with.split()), name
    for name, (_, takes) in TAKEN.items():
        thing = osiiso
        for part in name.split("."):
            thing = getattr(thing, part)
        takes_all = inspect.signature(thing).parameters.values()
        keywords = {one.name for one in takes_all if one.kind is one.KEYWORD_ONLY or one.name == "timeout"}
        keywords |= {one.name for one in takes_all if one.name == "opts"}
        assert keywords == set(takes.split()), name


# --- Queues -----------------------------------------------------------------------------------------------------------


async def upper(text: str) -> str:
    await asyncio.sleep(1)
    return text.upper()


def new_cue(function: Callable[..., Any] = upper, **options: Any) -> runcue.Cue:
    """A cue with one task."""
    cue = runcue.Cue(**options)
    cue.task(function)
    return cue


async def seconds_of(cue: runcue.Cue, calls: list[Awaitable[Any]]) -> float:
    """How long it takes until all of these have settled."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    cue.start()
    for handle in [await call for call in calls]:
        await handle.wait()
    took = loop.time() - began
    await cue.stop()
    return took


@row("Queues", "`AsyncQueue(workers=4)`")
async def four_at_a_time() -> None:
    cue = runcue.Cue()
    cue.service("site", concurrent=4)
    cue.task(uses="site")(upper)
    assert await seconds_of(cue, [cue.call(upper, "a") for _ in range(12)]) == 3


@row("Queues", "`ThreadQueue(workers=4)`")
def four_threads() -> None:
    cue = runcue.Cue()
    cue.service("site", concurrent=4)
    met = threading.Barrier(4, timeout=30)

    @cue.task(uses="site")
    def meet(number: int) -> str:
        met.wait()
        return threading.current_thread().name

    async def main() -> None:
        async with cue:
            names = [name async for name in cue.map(meet, range(8), values=True)]
        assert len(set(names)) == 4
        assert threading.current_thread().name not in names

    asyncio.run(main())


@row("Queues", "`SharedQueue`")
def from_other_threads() -> None:
    cue = runcue.Cue()

    @cue.task
    def parent(work: runcue.Work) -> str:
        return work.submit("child")

    @cue.task
    def child(work: runcue.Work) -> str:
        return "by a handler"

    async def main() -> None:
        async with cue:
            handle = await asyncio.to_thread(cue.submit_threadsafe, "child")
            assert await handle == "by a handler"
            assert (await cue.get(await (await cue.submit("parent")))).task == "child"

    asyncio.run(main())


@row("Queues", "`ProcessQueue`, `context=`")
@row("Queues", "`initializer=`, `initargs=` of a `ProcessQueue`")
@row("Errors and helpers", "`pmap(resize, paths)`")
def in_processes() -> None:
    cue = runcue.Cue(max_processes=2)
    cue.task(run_in="process")(elsewhere.double)
    cue.task(run_in="process", initializer=partial(elsewhere.get_ready, "a model"))(elsewhere.what_is_ready)
    with runcue.blocking(cue) as b:
        assert list(b.map(elsewhere.double, range(3), ordered=True, values=True)) == [0, 2, 4]
        for _ in range(2):
            assert b.result(b.call(elsewhere.what_is_ready)) == ["a model"]
    assert elsewhere.what_is_ready() == []


@row("Queues", "`workers=None`")
async def no_limit() -> None:
    assert runcue.Cue().max_processes >= 1
    cue = new_cue()
    assert await seconds_of(cue, [cue.call(upper, "a") for _ in range(500)]) == 1
    assert cue.max_threads == 64


@row("Queues", "`size=100`")
async def no_more_than_so_many() -> None:
    cue = runcue.Cue(max_pending=2)
    cue.service("one", concurrent=1)
    cue.task(uses="one")(upper)
    async with cue:
        began = asyncio.get_running_loop().time()
        await cue.call(upper, "runs")
        await asyncio.sleep(0.5)
        for text in ("a", "b"):
            await cue.call(upper, text)
        with pytest.raises(runcue.CueFull):
            await cue.submit(upper, {"text": "c"}, wait=False)
        await cue.submit(upper, {"text": "c"})
        assert asyncio.get_running_loop().time() - began == 1


@row("Queues", "`timeout=60`")
@row("Queues", "`run(timeout=5)`")
async def not_longer_than_that() -> None:
    cue = runcue.Cue()

    @cue.task
    async def long(work: runcue.Work) -> None:
        await asyncio.sleep(3600)

    cue.start()
    handle = await cue.submit(long)
    summary = await cue.drain(timeout=5)
    assert summary.left == [handle.work]
    assert handle.state is runcue.WorkState.RUNNING
    assert (await cue.stop(timeout=60)).counts["cancelled"] == 1


@row("Queues", '`mode="finite"`')
@row("Queues", "`async with queue:`")
async def it_ends_when_all_has_settled() -> None:
    cue = new_cue()
    async with cue:
        handle = await cue.call(upper, "a")
        async with cue.group() as group:
            await group.call(upper, "b")
    assert handle.work.result == "A"
    assert group.summary.values == ["B"]


@row("Queues", '`mode="infinite"`')
@row("Queues", "`start()`")
@row("Queues", "`shutdown()`")
async def from_start_to_stop() -> None:
    cue = new_cue()
    cue.start()
    await asyncio.sleep(1000)
    handle = await cue.call(upper, "a")
    assert (await cue.stop()).counts["completed"] == 1
    assert await handle == "A"


async def fails(number: int) -> int:
    await asyncio.sleep(number)
    if number == 2:
        raise ValueError("two")
    return number


@row("Queues", '`fail_policy="continue"`')
async def what_has_failed_stops_nobody() -> None:
    async with new_cue(fails) as cue:
        for number in range(4):
            await cue.call(fails, number)
        assert (await cue.drain()).counts == {"completed": 3, "skipped": 0, "failed": 1, "cancelled": 0}


@row("Queues", '`fail_policy="fail_first"`')
@row("Queues", '`run(fail_policy="fail_first")`')
async def the_first_failure_ends_it() -> None:
    async with new_cue(fails) as cue:
        group = cue.group(fail="first")
        with pytest.raises(ValueError, match="two"):  # noqa: PT012 - it is the end of the group that raises
            async with group:
                for number in range(4):
                    await group.call(fails, number)
        assert group.summary.counts == {"completed": 2, "skipped": 0, "failed": 1, "cancelled": 1}


@row("Queues", '`on_timeout="complete"`')
async def what_must_complete_is_waited_for() -> None:
    cue = new_cue()
    cue.service("one", concurrent=1)

    @cue.task(uses="one")
    async def slow(name: str) -> str:
        await asyncio.sleep(100)
        return name

    cue.start()
    lost = await cue.submit(slow, {"name": "lost"})
    kept = await cue.submit(slow, {"name": "kept"}, must_complete=True)
    await cue.stop(timeout=1)
    assert lost.state is runcue.WorkState.CANCELLED
    assert await kept == "kept"


@row("Queues", '`on_timeout="cancel"`')
@row("Queues", "`shutdown(force=True)`")
async def all_is_cancelled() -> None:
    cue = new_cue()
    cue.start()
    handles = [await cue.submit(upper, {"text": "a"}, must_complete=bool(number)) for number in range(2)]
    await asyncio.sleep(0.5)
    summary = await cue.stop(drain=False, timeout=0)
    assert summary.counts["cancelled"] == 2
    assert {handle.state for handle in handles} == {runcue.WorkState.CANCELLED}


async def starts_with(**limits: Any) -> list[float]:
    """At which tenths of a second handlers are entered."""
    cue = runcue.Cue()
    cue.service("api", **limits)
    loop = asyncio.get_running_loop()

    @cue.task(uses="api")
    async def ask(number: int) -> float:
        return loop.time()

    async with cue:
        began = loop.time()
        return [round(10 * (at - began), 2) async for at in cue.map(ask, range(6), values=True)]


@row("Queues", "`rate=10`")
async def one_each_tenth_of_a_second() -> None:
    assert await starts_with(rate="10/sec", burst=1) == [0, 1, 2, 3, 4, 5]


@row("Queues", "`rate=10, burst=3`")
async def three_at_once() -> None:
    assert await starts_with(rate="10/sec", burst=3) == [0, 0, 0, 1, 2, 3]
    assert await starts_with(rate="10/sec") == [0] * 6


@row("Queues", "`on_start=`")
@row("Queues", "`on_complete=`")
@row("Queues", "`on_retry=`")
async def what_is_heard() -> None:
    cue = runcue.Cue()
    heard: list[Any] = []

    class Hears(runcue.Observer):
        def settled(self, work: runcue.Work, duration: float) -> None:
            heard.append(("settled", work.task))

    cue.observe(Hears())

    @cue.task(retry=runcue.Retry(attempts=2, wait_initial=7, wait_jitter=0))
    async def flaky(work: runcue.Work) -> None:
        if work.attempt == 1:
            raise ConnectionError

    @cue.task
    async def bad(work: runcue.Work) -> None:
        raise ValueError

    cue.on_start(lambda work: heard.append(("start", work.attempt)))
    cue.on_retry(lambda work, error, delay: heard.append(("retry", type(error), delay)))
    cue.on_complete(lambda work, result, duration: heard.append("complete"))
    cue.on_failure(lambda work, error: heard.append(("failure", type(error))))
    cue.on_cancel(lambda work: heard.append("cancel"))
    async with cue:
        await (await cue.submit(flaky)).wait()
        await (await cue.submit(bad)).wait()
        await cue.cancel(await cue.submit(flaky, delay=5))
    flaky_and_bad = [("settled", "flaky"), "complete", ("settled", "bad"), ("failure", ValueError)]
    assert [one for one in heard if one not in flaky_and_bad] == [
        ("start", 1),
        ("retry", ConnectionError, 7),
        ("start", 2),
        ("start", 1),
        "cancel",
    ]
    assert [heard.count(one) for one in flaky_and_bad] == [2, 1, 1, 1]


@row("Queues", "`initializer=`, `initargs=` of a `ThreadQueue`")
def a_local_of_each_thread() -> None:
    cue = runcue.Cue()
    own = threading.local()
    made: list[str] = []
    met = threading.Barrier(2, timeout=30)
    cue.service("two", concurrent=2)

    @cue.task(uses="two")
    def use(number: int) -> str:
        if not hasattr(own, "connection"):
            own.connection = f"a connection of {threading.current_thread().name}"
            made.append(own.connection)
        met.wait()
        return str(own.connection)

    async def main() -> None:
        async with cue:
            used = [one async for one in cue.map(use, range(6), values=True)]
        assert set(used) == set(made)
        assert len(made) == 2

    asyncio.run(main())


@row("Queues", "`submit(fetch, url)`")
@row("Queues", "`fetch(url)` of a decorated function")
async def one_call() -> None:
    async with new_cue() as cue:
        assert await (await cue.call(upper, "a")) == "A"
    assert await upper("a") == "A"


@row("Queues", "`submit(fetch, url, retries=2, ...)`")
@row("Options", "`retries=2`")
async def three_attempts() -> None:
    tries: list[int] = []

    async def flaky(url: str) -> str:
        tries.append(1)
        raise ConnectionError(url)

    async with new_cue(flaky) as cue:
        handle = await cue.submit(flaky, {"url": "a"}, retry=3)
        await handle.wait()
    assert len(tries) == 3


@row("Queues", "`submit(fetch(url))`, an awaitable")
async def the_function_and_its_values() -> None:
    async with new_cue() as cue:
        awaitable = upper("a")
        with pytest.raises(runcue.RuncueError):
            await cue.submit(awaitable)  # type: ignore[arg-type]
        awaitable.close()


@row("Queues", "`map(fetch, urls)`")
@row("Queues", "`fetch.map(urls)`, `fetch.group(urls)`")
async def one_call_each() -> None:
    async with new_cue() as cue:
        assert sorted([work.result async for work in cue.map(upper, ["a", "b", "c"])]) == ["A", "B", "C"]


@row("Queues", "`map(add, [(1, 2), (3, 4)])`")
async def two_values_each() -> None:
    async def add(one: int, other: int) -> int:
        return one + other

    pairs = [(1, 2), (3, 4)]
    async with new_cue(add) as cue:
        assert [one async for one in cue.map(add, [1, 3], [2, 4], ordered=True, values=True)] == [3, 7]
        assert [one async for one in cue.map(add, *zip(*pairs, strict=True), ordered=True, values=True)] == [
            3,
            7,
        ]


@row("Queues", '`map(ask, [{"method": "GET"}])`')
async def params_each() -> None:
    async def ask(method: str, url: str = "/") -> str:
        return f"{method} {url}"

    async with new_cue(ask) as cue:
        params = [{"method": "GET"}, {"method": "PUT", "url": "/a"}]
        assert [one async for one in cue.map("ask", params, ordered=True, values=True)] == ["GET /", "PUT /a"]


PAGES = Path("pages")


def page_of(url: str) -> str:
    return f"{PAGES}/{url}.html"


def cue_with_pages(asked: list[str], *, loads: bool = True) -> tuple[runcue.Cue, Callable[..., Any]]:
    """A cue whose task remembers by files what was done, and what it was asked for."""
    PAGES.mkdir(exist_ok=True)
    cue = runcue.Cue()

    def read(work: runcue.Work) -> str:
        return str(work.outputs[0].path.read_text())

    @cue.task(outputs=lambda url: page_of(url), load=read if loads else None)
    async def fetch(work: runcue.Work, url: str) -> str:
        asked.append(url)
        with work.write(work.outputs[0]) as file:
            file.write(url.upper())
        return url.upper()

    return cue, fetch


def pages_there() -> list[str]:
    return [path.stem for path in PAGES.glob("*.html")]


async def pages_of(asked: list[str], urls: str, *, loads: bool = True) -> list[Any]:
    cue, fetch = cue_with_pages(asked, loads=loads)
    async with cue:
        handles = [await cue.call(fetch, url) for url in urls.split()]
        return [await handle for handle in handles]


@row("Queues", "`map(..., checkpoint=, key=, namespace=)`")
@row("Checkpoints", '`Checkpoint("run.sqlite")`, `.path`')
@row("Checkpoints", "`store_values=True`")
@row("Checkpoints", "`encoder=`, `decoder=`")
@row("Checkpoints", "`key=`, `namespace=`")
async def what_was_done_is_not_done_again() -> None:
    asked: list[str] = []
    assert await pages_of(asked, "a b") == ["A", "B"]
    assert await pages_of(asked, "a b c") == ["A", "B", "C"]
    assert asked == ["a", "b", "c"]


@row("Checkpoints", "`store_values=False`")
async def without_load_there_is_no_value() -> None:
    asked: list[str] = []
    assert await pages_of(asked, "a", loads=False) == ["A"]
    assert await pages_of(asked, "a b", loads=False) == [None, "B"]


@row("Checkpoints", "`checkpoint.is_done(...)`, `checkpoint.lookup(...)`")
async def what_would_be_skipped() -> None:
    await pages_of([], "a")
    cue, _ = cue_with_pages([])
    assert runcue.exists(page_of("a"))
    assert not runcue.exists(page_of("b"))
    said = str(cue.plan([("fetch", {"url": "a"}), ("fetch", {"url": "b"})]))
    assert said.startswith("Plan: 1 runs, 1 is up to date")


@row("Checkpoints", "`checkpoint.record(...)`")
async def what_was_done_elsewhere() -> None:
    await asyncio.to_thread(PAGES.mkdir)
    runcue.atomic_write(page_of("a"), "by hand")
    asked: list[str] = []
    assert await pages_of(asked, "a") == ["by hand"]
    assert asked == []


@row("Checkpoints", "`checkpoint.count()`, `checkpoint.namespaces()`")
async def what_is_there() -> None:
    await pages_of([], "a b")
    assert sorted(pages_there()) == ["a", "b"]


@row("Checkpoints", "`checkpoint.clear()`")
async def once_more() -> None:
    asked: list[str] = []
    await pages_of(asked, "a")
    (PAGES / "a.html").unlink()
    await pages_of(asked, "a")
    cue, fetch = cue_with_pages(asked)
    async with cue:
        await cue.submit(fetch, {"url": "a"}, force=True)
    assert asked == ["a", "a", "a"]


@row("Checkpoints", "`checkpoint.close()`, `with checkpoint:`")
async def nothing_is_open() -> None:
    await pages_of([], "a")
    assert [path.name for path in PAGES.parent.iterdir()] == ["pages"]


@row("Queues", "`group([(fetch, url), (parse, page)])`")
@row("Queues", "`group(fetch, urls)`")
@row("Groups", "`await group.wait()`")
@row("Groups", "`await group.values()`")
@row("Summaries", "`summary.values`")
async def several_together() -> None:
    async def number_of(text: str) -> int:
        return len(text)

    async with runcue.Cue() as cue:
        async with cue.group() as group:
            await group.call(upper, "later")
            await group.call(number_of, "sooner")
        assert group.summary.ok
        assert group.summary.values == ["LATER", 6]


@row("Queues", "`task(retries=2)`, the decorator")
async def decorated() -> None:
    cue = runcue.Cue()

    @cue.task(retry=3)
    async def fetch(url: str) -> str:
        return url

    assert cue.get_task("fetch").retry.attempts == 3
    assert await fetch("a") == "a"


@row("Queues", "`run()`")
@row("Queues", "`join()`")
@row("Summaries", "`summary.duration`")
async def until_all_has_settled() -> None:
    async with new_cue() as cue:
        await cue.call(upper, "a")
        summary = await cue.drain()
        assert summary.counts["completed"] == 1
        assert summary.duration == 1
        assert summary.durations["upper"].most == 1


@row("Queues", "`run(strict=True)`")
@row("Errors and helpers", "`ExecutionError`, `.results`")
@row("Summaries", "`summary.raise_for_errors()`")
@row("Summaries", "`summary.errors`")
async def failures_are_raised() -> None:
    async with new_cue(fails) as cue:
        for number in range(4):
            await cue.call(fails, number)
        summary = await cue.drain()
        with pytest.raises(ExceptionGroup) as raised:
            summary.raise_for_errors()
    [error] = raised.value.exceptions
    assert isinstance(error, ValueError)
    assert [work.params for work in summary.failed] == [{"number": 2}]


@row("Queues", "`cancel()`, in any thread")
def cancelled_by_another_thread() -> None:
    async def main() -> None:
        cue = new_cue()
        cue.start()
        handle = await cue.call(upper, "a")
        loop = asyncio.get_running_loop()

        def cancel() -> None:
            asyncio.run_coroutine_threadsafe(cue.stop(drain=False, timeout=0), loop).result(30)

        await asyncio.to_thread(cancel)
        assert handle.state is runcue.WorkState.CANCELLED

    asyncio.run(main())


def double(number: int) -> int:
    return 2 * number


@row("Queues", "`with queue:`")
@row("Groups", "`iter_completed(handles, timeout=5)`")
@row("Errors and helpers", "`tmap(resize, paths)`")
def no_event_loop_of_ones_own() -> None:
    cue = new_cue(double)
    with runcue.blocking(cue) as b:
        assert list(b.map(double, range(3), ordered=True, values=True)) == [0, 2, 4]
        assert sorted(work.result for work in b.map(double, range(3))) == [0, 2, 4]


@row("Queues", "`reset()`")
async def once_more_from_the_start() -> None:
    cue = new_cue()
    for _ in range(2):
        async with cue:
            await cue.call(upper, "a")
            assert (await cue.drain()).counts["completed"] == 1


@row("Queues", "`clear_results()`")
async def nothing_is_kept() -> None:
    cue = new_cue(keep=0)
    async with cue:
        await cue.call(upper, "a")
        await cue.drain()
        assert await cue.list() == []


@row("Queues", "`active_count`, `pending_count`")
@row("Queues", "`stats`")
async def how_many() -> None:
    cue = runcue.Cue()
    cue.service("site", concurrent=2)
    cue.task(uses="site")(upper)
    async with cue:
        for text in "abcde":
            await cue.call(upper, text)
        await asyncio.sleep(1.5)
        counts = cue.counts()
        assert (counts["completed"], counts["running"], counts["pending"]) == (2, 2, 1)
        assert cue.counts(by="task") == {"upper": counts}


@row("Queues", "`closed`")
@row("Errors and helpers", "`ClosedError`")
async def nothing_more_is_taken() -> None:
    cue = new_cue()
    async with cue:
        pass
    with pytest.raises(runcue.CueStopped):
        await cue.call(upper, "a")
    assert "stopped" in repr(cue)


@row("Queues", "`results`")
@row("Summaries", "`summary.results`, `summary.successes()`")
@row("Summaries", "`summary.by_task_id()`")
@row("Summaries", "`summary.by_name()`")
async def what_has_settled() -> None:
    async with new_cue(fails) as cue:
        handles = [await cue.call(fails, number) for number in range(4)]
        summary = await cue.drain()
        assert [work.id for work in await cue.list()] == handles
        assert len(await cue.list(state=runcue.WorkState.COMPLETED)) == 3
        assert await cue.list(task="fails") == await cue.list()
        assert await cue.get(handles[1]) is handles[1].work
        assert summary.by_task["fails"]["failed"] == 1


# --- Options ----------------------------------------------------------------------------------------------------------


@row("Options", "`TaskOptions(retries=2)`, `opts=`")
@row("Options", "`options.replace(priority=0)`")
async def a_dict_of_options() -> None:
    options = {"retry": 3, "timeout": 0.5}
    async with new_cue() as cue:
        handle = await cue.submit(upper, {"text": "a"}, **{**options, "priority": 1.0})
        await handle.wait()
    assert len(handle.work.attempts) == 3


@row("Options", "`priority=0`, lower ones first")
async def the_urgent_one_first() -> None:
    async def second(head_start: str | None, wait: float) -> str:
        cue = runcue.Cue(head_start=head_start)
        cue.service("one", concurrent=1)
        order: list[str] = []

        @cue.task(uses="one")
        async def take(name: str, seconds: float = 1) -> None:
            order.append(name)
            await asyncio.sleep(seconds)

        async with cue:
            await cue.submit(take, {"name": "first", "seconds": wait + 1})
            await cue.submit(take, {"name": "old"}, priority=0.0)
            await asyncio.sleep(wait)
            await cue.submit(take, {"name": "urgent"}, priority=1.0)
        return order[1]

    assert await second("1min", 59) == "urgent"
    assert await second("1min", 61) == "old"
    assert await second(None, 3600) == "urgent"


@row("Options", "`must_complete=True`")
async def it_still_runs() -> None:
    cue = runcue.Cue()
    cue.service("one", concurrent=1)
    cue.task(uses="one")(upper)
    cue.start()
    first = await cue.call(upper, "a")
    lost = await cue.call(upper, "b")
    kept = await cue.submit(upper, {"text": "c"}, must_complete=True)
    await asyncio.sleep(0.5)
    await cue.stop(drain=False)
    assert [one.state.name for one in (first, lost, kept)] == ["COMPLETED", "CANCELLED", "COMPLETED"]


@row("Options", "`timeout=5`")
async def not_longer() -> None:
    async with new_cue() as cue:
        handle = await cue.submit(upper, {"text": "a"}, timeout=0.5)
        with pytest.raises(runcue.WorkTimeout):
            await handle


@row("Options", "`retry_delay=0.5`, `backoff=2`")
async def longer_and_longer() -> None:
    cue = runcue.Cue()
    waits: list[float] = []

    @cue.task(retry=runcue.Retry(attempts=4, wait_initial=0.5, wait_exp_base=2, wait_jitter=0))
    async def bad(work: runcue.Work) -> None:
        raise ConnectionError

    cue.on_retry(lambda work, error, delay: waits.append(delay))
    async with cue:
        await (await cue.submit(bad)).wait()
    assert waits == [0.5, 1, 2]


@row("Options", "`delay=60`")
@row("Options", "`run_at=time.time() + 60`")
@row("Handles", "`handle.scheduled_for`")
async def later() -> None:
    loop = asyncio.get_running_loop()
    async with new_cue() as cue:
        now = (await cue.call(upper, "a")).work.created_at
        began = loop.time()
        in_a_minute: list[dict[str, Any]] = [
            {"delay": 60},
            {"delay": "1min"},
            {"run_at": now + 60},
            {"run_at": datetime.fromtimestamp(now, UTC) + timedelta(minutes=1)},
        ]
        handles = [await cue.submit(upper, {"text": "a"}, **when) for when in in_a_minute]
        assert all("it is for later" in str(cue.why(handle)) for handle in handles)
        for handle in handles:
            await handle
            assert loop.time() - began == pytest.approx(61)


@row("Options", '`name="nightly"`')
@row("Options", '`group_id="etl"`')
@row("Options", "`metadata=...`")
@row("Handles", "`handle.metadata`, `handle.group_id`")
@row("Handles", "`handle.name`")
@row("Handles", "`handle.priority`, `handle.must_complete`, `handle.detached`")
@row("Results", "`result.metadata`, `result.group_id`")
@row("Results", "`result.priority`, `result.must_complete`, `result.detached`, `result.scheduled_for`")
@row("Groups", "`group.group_id`")
@row("Summaries", "`summary.by_group()`")
async def names_and_groups() -> None:
    cue = runcue.Cue()
    cue.task("nightly")(upper)
    async with cue:
        for text, group in (("a", "etl"), ("b", "mail"), ("c", "etl")):
            handle = await cue.submit(upper, {"text": text}, metadata={"group": group, "priority": 3})
        assert handle.work.metadata["priority"] == 3
        assert handle.work.task == "nightly"
        await cue.drain()
        by_group: dict[str, list[str]] = {}
        for work in await cue.list():
            by_group.setdefault(work.metadata["group"], []).append(work.result)
    assert by_group == {"etl": ["A", "C"], "mail": ["B"]}


@row("Options", "`detached=True`")
async def what_does_not_belong_to_it() -> None:
    async with new_cue() as cue:
        async with cue.group() as group:
            await group.call(upper, "a")
            apart = await cue.call(upper, "b")
        assert group.summary.counts["completed"] == 1
        assert await apart == "B"


# --- Handles ----------------------------------------------------------------------------------------------------------


@row("Handles", "`await handle`, `await handle.wait()`")
@row("Handles", "`handle.value()`")
@row("Handles", "`handle.result()`")
@row("Handles", "`handle.exception()`")
@row("Handles", "`handle.done()`")
@row("Handles", "`handle.attempts`")
@row("Results", "`result.value`")
@row("Results", "`result.exception`")
@row("Results", "`result.message`")
async def what_a_handle_says() -> None:
    async with new_cue(fails) as cue:
        good, bad = await cue.call(fails, 1), await cue.call(fails, 2)
        assert not bad.done()
        assert await good == 1
        assert (await bad.wait()) is bad.work
        assert bad.done()
        assert isinstance(bad.exception(), ValueError)
        with pytest.raises(ValueError, match="two"):
            await bad
    assert good.work.result == 1
    assert bad.work.exception is not None
    assert bad.work.error == "two"
    assert bad.work.attempt == 1


@row("Handles", "`handle.wait(timeout=5)`, in a thread")
def not_longer_in_a_thread() -> None:
    async def main() -> None:
        cue = runcue.Cue()
        go_on = asyncio.Event()

        @cue.task
        async def slow(work: runcue.Work) -> str:
            await go_on.wait()
            return "at last"

        async with cue:
            handle = await cue.submit(slow)
            with pytest.raises(TimeoutError):
                await asyncio.to_thread(handle.result_sync, timeout=0.01)
            go_on.set()
            assert await asyncio.to_thread(handle.result_sync, timeout=30) == "at last"

    asyncio.run(main())


@row("Handles", "`handle.cancelled()`")
@row("Handles", "`handle.cancel()`")
@row("Handles", "`handle.status`")
@row("Results", "`result.status`")
@row("Summaries", "`summary.cancelled`")
@row("Summaries", "`summary.cancellations()`")
@row("Summaries", "`summary.raise_for_errors(include_cancelled=True)`")
async def what_is_cancelled() -> None:
    cue = runcue.Cue()

    @cue.task(retry=runcue.Retry(attempts=2, wait_initial=50, wait_jitter=0))
    async def bad(work: runcue.Work) -> None:
        raise ConnectionError

    async with cue:
        handle = await cue.submit(bad)
        await asyncio.sleep(1)
        assert handle.state is runcue.WorkState.PENDING
        assert "in 49 s" in str(cue.why(handle))
        assert handle.cancel()
        assert not handle.cancel()
        assert handle.state is runcue.WorkState.CANCELLED
        assert handle.work.state is runcue.WorkState.CANCELLED
        assert not handle.work.skipped
        summary = await cue.drain()
    assert summary.counts["cancelled"] == 1
    assert summary.cancelled == [handle.work]
    summary.raise_for_errors()


@row("Handles", "`handle.add_done_callback(f)`")
async def called_at_the_end() -> None:
    heard: list[Any] = []
    async with new_cue() as cue:
        cue.on_complete(task="upper")(lambda work, result, duration: heard.append(result))
        handle = await cue.call(upper, "a")
        future = asyncio.ensure_future(handle)
        future.add_done_callback(lambda done: heard.append(done.result()))
        await future
        await asyncio.sleep(0)
    assert heard == ["A", "A"]


@row("Handles", "`handle.task_id`")
@row("Handles", "`handle.created_at`")
@row("Results", "`result.task_id`, `result.name`")
@row("Results", "`result.created_at`, `result.started_at`, `result.finished_at`")
@row("Results", "`result.duration`")
@row("Results", "`result.attempts`")
async def when_it_was() -> None:
    durations: list[float] = []
    async with new_cue() as cue:
        cue.on_complete(lambda work, result, duration: durations.append(duration))
        handle = await cue.call(upper, "a")
        work = await handle.wait()
    assert isinstance(handle, str)
    assert handle == work.id
    assert work.task == "upper"
    assert work.started_at is not None
    assert work.completed_at is not None
    assert work.completed_at - work.created_at == work.completed_at - work.started_at == pytest.approx(1)
    assert len(work.attempts) == 1
    assert durations == [1] == [work.attempts[-1].duration]


# --- Groups -----------------------------------------------------------------------------------------------------------


@row("Groups", "`group.as_completed()`")
async def as_they_settle() -> None:
    async def sleep(seconds: float) -> float:
        await asyncio.sleep(seconds)
        return seconds

    async with new_cue(sleep) as cue, cue.group() as group:
        for seconds in (3, 1, 2):
            await group.call(sleep, seconds)
        assert [work.result async for work in group.as_completed()] == [1, 2, 3]


@row("Groups", "`as_completed(handles)`")
async def handles_as_they_settle() -> None:
    async def sleep(seconds: float) -> float:
        await asyncio.sleep(seconds)
        return seconds

    async with new_cue(sleep) as cue:
        handles = [await cue.call(sleep, seconds) for seconds in (3, 1, 2)]
        assert [await one for one in asyncio.as_completed(handles)] == [1, 2, 3]


@row("Groups", "`group.cancel()`")
async def a_group_is_cancelled() -> None:
    async with new_cue() as cue, cue.group() as group:
        handle = await group.call(upper, "a")
        group.cancel()
        assert handle.state is runcue.WorkState.CANCELLED


@row("Groups", "`group.handles`, `iter(group)`, `len(group)`")
async def the_handles_of_a_group() -> None:
    async with new_cue() as cue:
        async with cue.group() as group:
            handles = [await group.call(upper, text) for text in "ab"]
        assert [handle.work.result for handle in handles] == group.summary.values


# --- Summaries --------------------------------------------------------------------------------------------------------


@row("Summaries", "`summary.total_submitted`")
@row("Summaries", "`summary.succeeded`")
@row("Summaries", "`summary.failed`")
@row("Summaries", "`summary.timed_out`")
@row("Summaries", "`summary.ok`")
@row("Summaries", "`summary.display()`")
async def in_numbers() -> None:
    async with new_cue(fails) as cue:
        for number in range(4):
            await cue.submit(fails, {"number": number}, timeout=2.5)
        await cue.submit(fails, {"number": 100})
        summary = await cue.drain(timeout=50)
        assert sum(summary.counts.values()) + len(summary.left) == 5
        assert summary.counts["completed"] == 2
        assert summary.counts["skipped"] == 0
        assert summary.counts["failed"] == 2
        assert bool(summary.left)
        assert [work.params["number"] for work in summary.timed_out] == [3]
        assert not summary.ok
        assert "2 completed, 2 failed" in str(summary)
        assert "ValueError" in str(summary)


@row("Summaries", "`RunSummary.from_results(...)`")
async def it_is_made_for_you() -> None:
    cue = new_cue()
    cue.start()
    async with cue.group() as group:
        pass
    assert {type(one) for one in (group.summary, await cue.drain(), await cue.stop())} == {runcue.Summary}


# --- Errors and helpers -----------------------------------------------------------------------------------------------


@row("Errors and helpers", "`OsiisoError`")
def all_errors_are_of_one_kind() -> None:
    for error in (runcue.CueStopped, runcue.CueFull, runcue.WorkTimeout, runcue.InvalidParams):
        assert issubclass(error, runcue.RuncueError)


@row("Errors and helpers", "`QueueFullError`")
async def there_is_no_room() -> None:
    cue = runcue.Cue(max_pending=1)
    cue.service("one", concurrent=1)
    cue.task(uses="one")(upper)
    async with cue:
        await cue.call(upper, "a")
        with pytest.raises(runcue.CueFull):
            await cue.submit(upper, {"text": "b"}, wait=False)


@row("Errors and helpers", "`run(main())`, `use_uvloop=None`")
def a_program() -> None:
    async def main() -> str:
        return f"{type(asyncio.get_running_loop()).__module__}, {asyncio.get_running_loop().get_debug()}"

    loop = "uvloop" if importlib.util.find_spec("uvloop") else "asyncio"
    assert runcue.run(main).startswith(loop)
    assert runcue.run(main()).startswith(loop)


@row("Errors and helpers", "`use_uvloop=False`")
def the_usual_loop() -> None:
    async def main() -> tuple[str, str]:
        async with new_cue(double) as cue:
            value = await (await cue.call(double, 21))
            return type(asyncio.get_running_loop()).__module__, str(value)

    assert asyncio.run(main()) == ("asyncio.unix_events", "42")


@row("Errors and helpers", "`debug=True`")
def with_debugging() -> None:
    async def main() -> bool:
        return asyncio.get_running_loop().get_debug()

    assert runcue.run(main, debug=True)


@row("Errors and helpers", "`await amap(fetch, urls)`")
async def values_in_order() -> None:
    async with new_cue() as cue:
        pages = [page async for page in cue.map(upper, ["a", "b"], ordered=True, values=True)]
    assert pages == ["A", "B"]
