"""Rules 27 and 28 for folders and what is in them: who waits for whom, and who never runs beside whom."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import runcue
from tests.support.virtual_time import virtual

Order = list[str]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


class Kitchen:
    """A cue whose work units write a file for each output, take a second each, and tell in which order they ran."""

    def __init__(self, **options: Any) -> None:
        self.cue = runcue.Cue(id_prefix="", **options)
        self.order: Order = []
        self.at_once = 0
        self._running: list[str] = []
        self.beside: set[tuple[str, str]] = set()

    def task(self, name: str, inputs: Any = None, outputs: Any = None, **options: Any) -> str:
        @self.cue.task(name, inputs=inputs, outputs=outputs, fresh=options.pop("fresh", None), **options)
        async def handler(work: runcue.Work) -> None:
            self.beside.update((name, other) for other in self._running)
            self._running.append(name)
            await asyncio.sleep(1)
            for output in work.outputs:
                write(Path(output), name)
            self._running.remove(name)
            self.order.append(name)

        return name


def write(path: Path, text: str = "x") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_dir():
        path.write_text(text)


def keep_the_date(path: Path) -> None:
    """Write a file anew, and date it as it was."""
    before = path.stat()
    path.write_text("new")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def date_of(path: str) -> int:
    return Path(path).stat().st_mtime_ns


def make(*paths: str) -> None:
    for path in map(Path, paths):
        if path.suffix:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("old")
        else:
            path.mkdir(parents=True, exist_ok=True)


@pytest.mark.rule(27)
@virtual
async def test_a_reader_of_a_file_waits_for_the_maker_of_its_folder() -> None:
    make("dir/sub/f.txt", "out.txt")
    kitchen = Kitchen()
    kitchen.task("read", "dir/sub/f.txt", "out.txt")
    kitchen.task("make", None, "dir", key="k")
    async with kitchen.cue as cue:
        reader = await cue.submit("read")
        await cue.submit("make", force=True)
        await asyncio.sleep(0.5)
        why = cue.why(reader)
        assert "File('dir/sub/f.txt') is there, and is to be made anew; make 2 makes the folder" in str(why)
        assert why.chain[-1].task == "make"
    assert kitchen.order == ["make"], (
        "its output was there, and with fresh=None that is enough once it is asked"
    )
    assert reader.work.skipped


@pytest.mark.rule(27)
@pytest.mark.parametrize("folder_first", [True, False])
@virtual
async def test_a_reader_of_a_folder_waits_for_the_makers_of_what_is_in_it_at_any_depth(
    folder_first: bool,
) -> None:
    make("dir")
    kitchen = Kitchen()
    kitchen.task("list", "dir", "listing.txt")
    kitchen.task("near", None, "dir/b.txt")
    kitchen.task("far", None, "dir/x/y/c.txt")
    async with kitchen.cue as cue:
        names = ["list", "near", "far"] if folder_first else ["far", "list", "near"]
        handles = {name: await cue.submit(name) for name in names}
        await asyncio.sleep(0.5)
        assert " in it (running)" in str(cue.why(handles["list"]))
    assert kitchen.order[-1] == "list"
    assert len(kitchen.order) == 3


@pytest.mark.rule(27)
@virtual
async def test_a_reader_of_a_folder_that_is_not_there_yet_is_not_said_to_have_no_producer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    kitchen = Kitchen()
    kitchen.task("list", "dir", "listing.txt")
    kitchen.task("part", None, "dir/b.txt")
    async with kitchen.cue as cue:
        await cue.submit("list")
        await cue.submit("part")
        await asyncio.sleep(0.9)
    assert kitchen.order == ["part", "list"]
    assert "No producer" not in caplog.text


@pytest.mark.rule(27)
@virtual
async def test_the_makers_of_what_is_in_a_folder_that_they_read_run_at_once() -> None:
    make("book")
    kitchen = Kitchen()
    kitchen.task("page", "book", lambda work: f"book/{work.params['n']}.txt")
    async with kitchen.cue as cue:
        for n in range(100):
            await cue.submit("page", params={"n": n})
        began = asyncio.get_running_loop().time()
        await cue.drain()
        assert asyncio.get_running_loop().time() - began < 1.5
    assert len(kitchen.order) == 100


@pytest.mark.rule(27)
@virtual
async def test_makers_that_read_the_folder_hold_up_only_readers_that_come_after_them() -> None:
    make("book")
    kitchen = Kitchen()
    kitchen.task("before", "book", "before.txt")
    kitchen.task("page", "book", "book/page.txt")
    kitchen.task("after", "book", "after.txt")
    async with kitchen.cue as cue:
        for name in ("before", "page", "after"):
            await cue.submit(name)
    assert ("page", "before") in kitchen.beside
    assert kitchen.order[-1] == "after"
    assert ("after", "page") not in kitchen.beside


@pytest.mark.rule(27)
@virtual
async def test_makers_that_depend_on_a_reader_of_the_folder_hold_up_nobody_they_depend_on() -> None:
    make("dir", "free.txt")
    kitchen = Kitchen()
    # `fill` needs what `scan` makes out of the folder that it fills.
    kitchen.task("fill", "scan.txt", "dir/filled.txt")
    kitchen.task("scan", "dir", "scan.txt")
    kitchen.task("last", "dir", "last.txt")
    async with kitchen.cue as cue:
        for name in ("fill", "scan", "last"):
            await cue.submit(name)
        summary = await cue.drain()
    assert not summary.blocked
    assert kitchen.order == ["scan", "fill", "last"]


@pytest.mark.rule(27)
@virtual
async def test_two_that_each_fill_the_folder_that_the_other_reads_both_run() -> None:
    make("one", "two")
    kitchen = Kitchen()
    kitchen.task("there", "one", "two/a.txt")
    kitchen.task("back", "two", "one/b.txt")
    async with kitchen.cue as cue:
        await cue.submit("there")
        await cue.submit("back")
        summary = await cue.drain()
    assert not summary.blocked
    assert kitchen.order == ["there", "back"]


@pytest.mark.rule(27)
@virtual
async def test_inputs_that_need_each_other_through_a_folder_are_a_cycle(
    caplog: pytest.LogCaptureFixture,
) -> None:
    make("dir/f.txt")
    kitchen = Kitchen()
    kitchen.task("take", "dir/f.txt", "x.txt")
    kitchen.task("make", "x.txt", "dir")
    async with kitchen.cue as cue:
        one = await cue.submit("take")
        await cue.submit("make")
        await cue.drain()
        assert cue.why(one).verdict == "cycle"
    assert "Cycle: " in caplog.text


@pytest.mark.rule(28)
@pytest.mark.parametrize("inner", ["dir/f.txt", "dir/a/b/f.txt"])
@pytest.mark.parametrize("outer_first", [True, False])
@virtual
async def test_makers_of_a_folder_and_of_what_is_in_it_never_run_at_once(
    inner: str, outer_first: bool
) -> None:
    make("dir")
    kitchen = Kitchen()
    kitchen.task("outer", None, "dir")
    kitchen.task("inner", None, inner)
    async with kitchen.cue as cue:
        names = ["outer", "inner"] if outer_first else ["inner", "outer"]
        handles = [await cue.submit(name, force=True) for name in names]
        await asyncio.sleep(0.5)
        text = str(cue.why(handles[1]))
        assert f"{names[0]} 1 is making" in text
        assert "a folder and what is in it are never made at the same time (running)" in text
    assert kitchen.order == names, "whichever is ready first goes first"
    assert not kitchen.beside


@pytest.mark.rule(28)
@virtual
async def test_whichever_of_two_overlapping_makers_is_ready_first_goes_first() -> None:
    make("dir")
    kitchen = Kitchen()
    kitchen.task("input", None, "input.txt")
    kitchen.task("outer", "input.txt", "dir")
    kitchen.task("inner", None, "dir/f.txt")
    async with kitchen.cue as cue:
        for name in ("outer", "input", "inner"):
            await cue.submit(name, force=True)
    assert kitchen.order.index("inner") < kitchen.order.index("outer")
    assert not {("outer", "inner"), ("inner", "outer")} & kitchen.beside


@pytest.mark.rule(28)
@virtual
async def test_a_handler_may_await_makers_of_what_is_in_the_folder_that_it_makes() -> None:
    make("dir")
    cue = runcue.Cue(id_prefix="")
    ended: Order = []

    @cue.task("chapter", outputs=lambda work: f"dir/{work.params['n']}.txt")
    async def chapter(work: runcue.Work) -> None:
        await asyncio.sleep(1)
        write(Path(work.outputs[0]))
        ended.append("chapter")

    @cue.task("contents", inputs=["dir/1.txt", "dir/2.txt"], outputs="dir/contents.txt")
    async def contents(work: runcue.Work) -> None:
        write(Path(work.outputs[0]))
        ended.append("contents")

    @cue.task("book", outputs="dir")
    async def book(work: runcue.Work) -> None:
        parts = [await cue.submit("contents")]
        parts += [await cue.submit("chapter", params={"n": n}) for n in (1, 2)]
        await asyncio.gather(*(part.result() for part in parts))
        ended.append("book")

    async with cue:
        await cue.submit("book", force=True)
        summary = await cue.drain()
    assert not summary.deadlocked
    assert ended == ["chapter", "chapter", "contents", "book"]


def _both_loops() -> list[Callable[[], asyncio.AbstractEventLoop]]:
    loops: list[Callable[[], asyncio.AbstractEventLoop]] = [asyncio.new_event_loop]
    try:
        import uvloop

        loops.append(uvloop.new_event_loop)
    except ImportError:
        pass
    return loops


@pytest.mark.rule(28)
@pytest.mark.parametrize("loop_factory", _both_loops())
@pytest.mark.parametrize("declared", [{"outputs": "o.txt"}, {"key": "k"}])
@pytest.mark.parametrize("end", ["timeout", "cancel"])
def test_a_thread_that_outlives_its_work_unit_remains_the_producer(
    loop_factory: Callable[[], asyncio.AbstractEventLoop], declared: dict[str, Any], end: str
) -> None:
    beside: list[int] = []
    running = 0
    go_on = threading.Event()
    entered = threading.Event()

    async def main() -> None:
        cue = runcue.Cue(id_prefix="")

        @cue.task("slow", timeout=0.05 if end == "timeout" else None, **declared)
        def slow(work: runcue.Work) -> None:
            nonlocal running
            running += 1
            beside.append(running)
            entered.set()
            if len(beside) == 1:
                go_on.wait(10)
            for output in work.outputs:
                Path(output).write_text("done")
            running -= 1

        @cue.task("read", inputs="o.txt", outputs="r.txt")
        async def read(work: runcue.Work) -> None:
            write(Path("r.txt"))

        async with cue:
            first = await cue.submit("slow", force=True)
            await asyncio.to_thread(entered.wait, 10)
            if end == "cancel":
                await cue.cancel(first)
            await first.wait()
            second = await cue.submit("slow", force=True, params={"other": True})
            write(Path("o.txt"))
            reader = await cue.submit("read")
            await asyncio.sleep(0.1)
            assert second.work.state is runcue.WorkState.PENDING
            assert reader.work.state is runcue.WorkState.PENDING or "outputs" not in declared
            text = str(cue.why(second))
            assert "slow 1 has " in text
            assert "its handler has not returned and may still be making it" in text
            go_on.set()
            await second.result()
            await reader.result()
        assert beside == [1, 1]

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(main())


@pytest.mark.rule(28)
@virtual
async def test_a_coroutine_in_its_clean_up_remains_the_producer() -> None:
    make("o.txt")
    cue = runcue.Cue(id_prefix="")
    seen: Order = []

    @cue.task("slow", outputs="o.txt", timeout=1)
    async def slow(work: runcue.Work) -> None:
        seen.append("in")
        try:
            await asyncio.sleep(5 if len(seen) == 1 else 0)
        finally:
            await asyncio.sleep(3)
            seen.append("out")

    async with cue:
        first = await cue.submit("slow", force=True)
        await first.wait()
        second = await cue.submit("slow", force=True)
        reader = await cue.submit("slow", force=True)
        await asyncio.sleep(1)
        assert seen == ["in"]
        assert second.work.state is reader.work.state is runcue.WorkState.PENDING
    assert seen[:3] == ["in", "out", "in"]


@pytest.mark.rule(28)
def test_stop_waits_no_longer_for_what_is_held_by_a_thread_that_never_returns() -> None:
    never = threading.Event()

    async def main() -> runcue.Summary:
        cue = runcue.Cue(id_prefix="")

        @cue.task("stuck", outputs="o.txt", timeout=0.05)
        def stuck(work: runcue.Work) -> None:
            never.wait(20)

        cue.start()
        first = await cue.submit("stuck")
        await first.wait()
        await cue.submit("stuck")
        began = asyncio.get_running_loop().time()
        summary = await cue.stop(timeout=0.2)
        assert asyncio.get_running_loop().time() - began < 5
        return summary

    try:
        summary = asyncio.run(main())
    finally:
        never.set()
    assert [work.id for work in summary.abandoned] == ["1"]
    assert summary.counts["cancelled"] == 1
    assert not Path("o.txt").exists()


@pytest.mark.rule(27)
@pytest.mark.parametrize("how", ["anew", "as it was"])
def test_what_is_made_in_a_folder_makes_its_readers_stale_also_where_its_date_stays(how: str) -> None:
    make("dir/sub/f.txt", "i.txt")
    os.utime("i.txt", (1e9, 1e9))
    cue = runcue.Cue(id_prefix="")

    @cue.task("list", inputs="dir", outputs="listing.txt")
    async def listing(work: runcue.Work) -> None:
        write(Path("listing.txt"))

    @cue.task("fill", inputs="i.txt", outputs="dir/sub/f.txt")
    async def fill(work: runcue.Work) -> None:
        if how == "anew":
            write(Path("dir/sub/f.txt"), "new")
        else:
            keep_the_date(Path("dir/sub/f.txt"))

    async def bring_up_to_date(*, force: bool = False) -> list[str]:
        async with cue:
            handles = [await cue.submit("list"), await cue.submit("fill", force=force)]
            await cue.drain()
            return [handle.work.task for handle in handles if not handle.work.skipped]

    async def main() -> None:
        assert await bring_up_to_date(force=True) == ["list", "fill"]
        assert await bring_up_to_date() == []
        dates = date_of("dir")
        assert await bring_up_to_date(force=True) == ["list", "fill"]
        assert date_of("dir") == dates, "nothing came or went"
        assert await bring_up_to_date() == []

    asyncio.run(main())


@pytest.mark.rule(27)
def test_why_stale_names_the_folder_in_which_something_was_made() -> None:
    make("dir/f.txt", "i.txt")
    cue = runcue.Cue(id_prefix="")

    @cue.task("list", inputs="dir", outputs="listing.txt")
    async def listing(work: runcue.Work) -> None:
        write(Path("listing.txt"))

    @cue.task("fill", inputs="i.txt", outputs="dir/f.txt")
    async def fill(work: runcue.Work) -> None:
        write(Path("dir/f.txt"), "new")

    async def main() -> None:
        async with cue:
            await (await cue.submit("fill")).result()
            await (await cue.submit("list")).result()
            await (await cue.submit("fill", force=True)).result()
            again = await cue.submit("list")
            await again.result()
            assert "something was made in its input File('dir') after File('listing.txt')" in str(
                cue.why_stale(again)
            )
            assert (await (await cue.submit("list")).wait()).skipped

    asyncio.run(main())


@pytest.mark.rule(27)
@pytest.mark.parametrize("fresh", [runcue.newer(), runcue.digest()])
def test_what_a_work_unit_makes_in_a_folder_that_it_reads_is_no_news_to_it(fresh: Any) -> None:
    make("dir/a.txt")
    cue = runcue.Cue(id_prefix="")

    @cue.task("index", inputs="dir", outputs=["dir/index.txt", "dir/sub/more.txt"], fresh=fresh)
    async def index(work: runcue.Work) -> None:
        for output in work.outputs:
            write(Path(output))

    async def main() -> None:
        async with cue:
            for expected in (False, True, True):
                work = await (await cue.submit("index")).wait()
                assert work.skipped is expected, cue.why_stale(work.id)

    asyncio.run(main())


@pytest.mark.rule(27)
def test_those_that_read_a_folder_and_each_write_into_it_are_told_once_per_task_to_name_the_files(
    caplog: pytest.LogCaptureFixture,
) -> None:
    make("book/a.txt")
    cue = runcue.Cue(id_prefix="")

    @cue.task("page", inputs="book", outputs=lambda work: f"book/{work.params['n']}.txt")
    async def page(work: runcue.Work) -> None:
        write(Path(work.outputs[0]))

    async def main() -> None:
        async with cue:
            for n in range(5):
                await cue.submit("page", params={"n": n})
            await cue.drain()

    asyncio.run(main())
    told = [record.getMessage() for record in caplog.records if "name the files" in record.getMessage()]
    assert len(told) == 1
    assert os.path.realpath("book") in told[0]


@pytest.mark.rule(27)
@virtual
async def test_where_nothing_else_can_move_a_reader_no_longer_waits_for_makers_that_never_run() -> None:
    make("dir/a.txt")
    kitchen = Kitchen()
    kitchen.task("list", "dir", "listing.txt")
    kitchen.task("never", "missing.txt", "dir/b.txt")
    async with kitchen.cue as cue:
        listing = await cue.submit("list")
        never = await cue.submit("never")
        await asyncio.sleep(3)
        assert listing.work.state is runcue.WorkState.PENDING
        assert cue.why(listing).chain[-1].task == "never"
        summary = await cue.drain()
        assert [one["work"].id for one in summary.blocked] == [never]
    assert kitchen.order == ["list"]


@pytest.mark.rule(27)
@virtual
async def test_a_circle_that_closes_later_through_a_folder_is_opened_at_once() -> None:
    make("dir/a.txt", "z.txt")
    kitchen = Kitchen()
    kitchen.task("fill", "x.txt", "dir/b.txt")
    kitchen.task("scan", "dir", "y.txt")
    kitchen.task("between", "y.txt", "x.txt")
    async with kitchen.cue as cue:
        await cue.submit("fill")
        await cue.submit("scan")
        await asyncio.sleep(3)
        assert kitchen.order == []
        await cue.submit("between")  # so that fill depends on scan, which waits for it
        await asyncio.sleep(3.5)
        assert kitchen.order == ["scan", "between", "fill"]


@pytest.mark.rule(27)
@virtual
async def test_a_circle_through_a_folder_is_opened_however_long_it_is() -> None:
    make("dir/a.txt")
    kitchen = Kitchen()
    kitchen.task("fill", "699.txt", "dir/b.txt")
    kitchen.task("link", lambda work: f"{work.params['n'] - 1}.txt", lambda work: f"{work.params['n']}.txt")
    kitchen.task("scan", "dir", "0.txt")
    async with kitchen.cue as cue:
        await cue.submit("fill")
        for n in range(1, 700):
            await cue.submit("link", params={"n": n})
        await cue.submit("scan")
        await asyncio.sleep(702)
        assert kitchen.order == ["scan", *["link"] * 699, "fill"]


@pytest.mark.rule(27)
@pytest.mark.parametrize("fresh", [runcue.newer(), runcue.digest()])
def test_what_was_made_with_its_folder_is_up_to_date_the_next_time(fresh: Any) -> None:
    make("i.txt")
    cue = runcue.Cue(id_prefix="")

    @cue.task("read", inputs="dir/f.txt", outputs="out.txt", fresh=fresh)
    async def read(work: runcue.Work) -> None:
        write(Path("out.txt"))

    @cue.task("make", inputs="i.txt", outputs="dir", fresh=fresh)
    async def maker(work: runcue.Work) -> None:
        write(Path("dir/f.txt"), "new")

    async def bring_up_to_date(*, force: bool = False) -> list[str]:
        async with cue:
            handles = [await cue.submit("read"), await cue.submit("make", force=force)]
            await cue.drain()
            return [handle.work.task for handle in handles if not handle.work.skipped]

    async def main() -> None:
        assert await bring_up_to_date() == ["read", "make"]
        assert await bring_up_to_date() == []

    asyncio.run(main())


@pytest.mark.rule(28)
@virtual
async def test_a_handler_that_ends_in_its_clean_up_lets_go_of_readers_too() -> None:
    make("dir/f.txt")
    time.sleep(0.03)  # noqa: ASYNC251 - what is new within a tick counts as changed by whoever fails to make it
    cue = runcue.Cue(id_prefix="")
    order: Order = []

    @cue.task("fill", outputs="dir/f.txt")
    async def fill(work: runcue.Work) -> None:
        try:
            await asyncio.sleep(100)
        finally:
            await asyncio.sleep(2)
            order.append("fill")

    @cue.task("folder", inputs="dir", fresh=None)
    async def folder(work: runcue.Work) -> None:
        order.append("folder")

    @cue.task("around", outputs="dir", fresh=None)
    async def around(work: runcue.Work) -> None:
        order.append("around")

    async with cue:
        filling = await cue.submit("fill", force=True)
        await asyncio.sleep(1)
        await cue.cancel(filling)
        for name in ("folder", "around"):
            await cue.submit(name, force=True)
        await asyncio.sleep(1)
        assert order == []
    assert order[0] == "fill"
    assert {*order[1:]} == {"folder", "around"}


@pytest.mark.rule(28)
@pytest.mark.parametrize("gate", [None, "plain", "async"])
@pytest.mark.parametrize("kind", ["async", "thread"])
def test_overlapping_makers_keep_off_each_other_however_they_are_asked_and_run(
    gate: str | None, kind: str
) -> None:
    make("dir")
    cue = runcue.Cue(id_prefix="")
    running: list[str] = []
    beside: list[list[str]] = []

    def enter(name: str) -> None:
        running.append(name)
        beside.append([*running])

    def outputs(work: runcue.Work) -> str:
        return "dir" if work.params["n"] == 0 else f"dir/sub/{work.params['n']}.txt"

    def wrote(work: runcue.Work) -> None:
        if work.params["n"]:
            write(Path(work.outputs[0]))
        running.remove(work.params["n"])

    if kind == "async":

        @cue.task("t", outputs=outputs)
        async def t(work: runcue.Work) -> None:
            enter(work.params["n"])
            await asyncio.sleep(0.005)
            wrote(work)
    else:

        @cue.task("t", outputs=outputs)
        def t(work: runcue.Work) -> None:
            enter(work.params["n"])
            time.sleep(0.005)
            wrote(work)

    if gate == "plain":
        cue.is_ready(lambda work: True)
        cue.priority(lambda ctx: 1.0 if ctx.work.params["n"] == 3 else 0.5)
    elif gate == "async":

        @cue.is_ready
        async def ready(work: runcue.Work) -> bool:
            await asyncio.sleep(0.001)
            return True

    async def main() -> None:
        async with cue:
            for n in (1, 2, 0, 3, 4):
                await cue.submit("t", params={"n": n}, force=True)
            summary = await cue.drain()
        assert summary.counts["completed"] == 5

    asyncio.run(main())
    assert [0] in beside
    assert all(0 not in together for together in beside if together != [0])


def test_a_picture_shows_what_lies_in_which_folder() -> None:
    make("dir")
    cue = runcue.Cue(id_prefix="")

    @cue.task("list", inputs="dir", outputs="listing.txt")
    async def listing(work: runcue.Work) -> None: ...

    @cue.task("fill", outputs="dir/sub/f.txt")
    async def fill(work: runcue.Work) -> None: ...

    picture = cue.graph()
    folder = next(line.split("([")[0].strip() for line in picture.splitlines() if '(["dir"])' in line)
    inner = next(line.split("([")[0].strip() for line in picture.splitlines() if 'dir/sub/f.txt"])' in line)
    assert f'{folder} -. "contains" .- {inner}' in picture
