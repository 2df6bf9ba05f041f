"""Rule 44: the files of an inbox are submitted as they come, on the virtual clock, with real files.

What watchers tell, in their threads, is told by the tests themselves here; one at the end waits for real ones.
"""

# ruff: noqa: ASYNC221, ASYNC240 - the clock stands still while files are looked at

from __future__ import annotations

import asyncio
import functools
import logging
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import runcue
from runcue.rehearsal import rehearse
from runcue.testing import VirtualTimeLoop
from tests.support.loops import LOOPS, run_on

watching = pytest.importorskip(
    "runcue._artifacts.watching",
    reason="NOTHING OF INBOXES IS TESTED: watchfiles is not installed (extra `watch`)",
)

pytestmark = pytest.mark.rule(44)

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names are text")


@pytest.fixture
def untold(monkeypatch: pytest.MonkeyPatch) -> None:
    """No watcher tells anything."""
    monkeypatch.setattr(watching.Watcher, "start", lambda watcher, is_over: None)


@pytest.fixture
def inbox(tmp_path: Path, untold: None) -> Path:
    folder = tmp_path / "inbox"
    folder.mkdir()
    return folder


def old(*files: Path) -> None:
    """Files that were there for long."""
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"text of " + os.fsencode(file.name))


@pytest.fixture
def all_is_old(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second has passed since files were written."""
    now = time.time
    monkeypatch.setattr("runcue._api.drop_folders.time.time", lambda: now() + 3600)


def run(main: Callable[[], Awaitable[Any]]) -> Any:
    async def runs() -> Any:
        return await main()

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(runs())


def now() -> float:
    return asyncio.get_running_loop().time()


def tell(cue: runcue.Cue, *paths: Path, folders: tuple[Path, ...] = ()) -> None:
    """What a watcher would."""
    cue._drops.hear(map(str, paths), map(str, folders))


class Converter:
    """A cue whose task takes the files of an inbox and notes when."""

    def __init__(self, inbox: Path, **options: Any) -> None:
        self.inbox = inbox
        self.cue = runcue.Cue()
        self.seen: list[tuple[float, str]] = []
        self.does: Callable[[runcue.Work], Awaitable[None]] | None = None

        @self.cue.task("convert", **options)
        async def convert(work: runcue.Work) -> None:
            self.seen.append((now(), os.path.relpath(work.params["path"], self.inbox)))
            if self.does is not None:
                await self.does(work)

        self.cue.watch(inbox, submit=convert)

    @property
    def names(self) -> list[str]:
        return [name for _, name in self.seen]


# What is there, and what comes.


def test_each_file_that_is_there_is_submitted_at_the_start(inbox: Path, all_is_old: None) -> None:
    old(inbox / "b", inbox / "a", inbox / "deep" / "c", inbox / "empty")

    async def main() -> None:
        converter = Converter(inbox)
        async with converter.cue:
            pass
        assert converter.seen == [(0.0, "a"), (0.0, "b"), (0.0, "empty"), (0.0, "deep/c")]

    run(main)


def test_one_that_was_written_just_before_the_start_rests_first(inbox: Path) -> None:
    old(inbox / "a")

    async def main() -> None:
        converter = Converter(inbox)
        async with converter.cue:
            pass
        assert converter.seen == [(1.0, "a")]

    run(main)


def test_a_file_that_comes_is_submitted_when_it_has_rested_for_a_second(inbox: Path) -> None:
    async def main() -> None:
        converter = Converter(inbox)
        async with converter.cue:
            await asyncio.sleep(10)
            for size in range(1, 4):
                (inbox / "a").write_text("x" * size)
                tell(converter.cue, inbox / "a", inbox)
                await asyncio.sleep(0.75)
            await asyncio.sleep(0.5)
        assert converter.seen == [(12.5, "a")]

    run(main)


def test_nothing_need_be_told_while_it_grows(inbox: Path) -> None:
    async def main() -> None:
        converter = Converter(inbox)
        async with converter.cue:
            (inbox / "a").write_text("x")
            tell(converter.cue, inbox / "a")
            for size in range(2, 5):
                await asyncio.sleep(0.9)
                (inbox / "a").write_text("x" * size)
            await asyncio.sleep(10)
        assert converter.seen == [(4.0, "a")]

    run(main)


def test_what_is_renamed_is_submitted_by_its_last_name_alone(inbox: Path) -> None:
    async def main() -> None:
        converter = Converter(inbox)
        async with converter.cue:
            (inbox / "a.part").write_text("x")
            tell(converter.cue, inbox / "a.part")
            await asyncio.sleep(0.5)
            (inbox / "a.part").rename(inbox / "a")
            tell(converter.cue, inbox / "a.part", inbox / "a")
            await asyncio.sleep(5)
        assert converter.seen == [(1.5, "a")]

    run(main)


def test_one_that_is_deleted_before_it_has_rested_is_not_submitted(inbox: Path) -> None:
    async def main() -> None:
        converter = Converter(inbox)
        async with converter.cue:
            for told in (True, False):
                (inbox / "a").write_text("x")
                tell(converter.cue, inbox / "a")
                await asyncio.sleep(0.5)
                (inbox / "a").unlink()
                if told:
                    tell(converter.cue, inbox / "a")
        assert converter.seen == []

    run(main)


def test_a_change_is_submitted_again_and_so_is_a_file_that_comes_back(inbox: Path) -> None:
    async def main() -> None:
        converter = Converter(inbox)
        async with converter.cue:
            (inbox / "a").write_text("x")
            tell(converter.cue, inbox / "a")
            await asyncio.sleep(5)
            tell(converter.cue, inbox / "a")  # nothing has changed
            await asyncio.sleep(5)
            os.utime(inbox / "a")
            tell(converter.cue, inbox / "a")
            await asyncio.sleep(5)
            (inbox / "a").rename(inbox.parent / "a")
            tell(converter.cue, inbox / "a")
            await asyncio.sleep(5)
            (inbox.parent / "a").rename(inbox / "a")
            tell(converter.cue, inbox / "a")
        assert converter.seen == [(1.0, "a"), (11.0, "a"), (21.0, "a")]

    run(main)


def test_by_its_outputs_a_file_is_done_once(inbox: Path, all_is_old: None) -> None:
    old(inbox / "a", inbox / "b")

    def out(work: runcue.Work) -> str:
        return work.params["path"].replace("inbox", "out")

    async def write(work: runcue.Work) -> None:
        with work.write(work.outputs[0]) as file:
            file.write("done")

    async def main() -> None:
        for names in (["a", "b"], []):
            converter = Converter(inbox, outputs=out, fresh=runcue.digest())
            converter.does = write
            async with converter.cue:
                summary = await converter.cue.drain()
                os.utime(inbox / "a")
                tell(converter.cue, inbox / "a")
                await asyncio.sleep(3)
            assert converter.names == names
            assert summary.counts["completed"] == len(names)

    run(main)


def test_two_spellings_that_have_one_key_are_one_work_unit(inbox: Path, all_is_old: None) -> None:
    old(inbox / "a.txt", inbox / "b.txt")

    async def main() -> None:
        converter = Converter(inbox, key=lambda work: Path(work.params["path"]))
        converter.cue.watch(inbox, submit="convert", pattern="*.txt")
        converter.cue.watch(inbox, submit="convert")
        async with converter.cue:
            pass
        assert converter.names == ["a.txt", "b.txt"]
        assert len(await converter.cue.list()) == 2

    run(main)


def test_what_changes_while_its_work_unit_runs_is_submitted_again_afterwards(
    inbox: Path, all_is_old: None
) -> None:
    old(inbox / "a")

    async def main() -> None:
        converter = Converter(inbox)

        async def change_once(work: runcue.Work) -> None:
            await asyncio.sleep(5)
            if len(converter.seen) == 1:
                (inbox / "a").write_text("more text")
                tell(converter.cue, inbox / "a")
                await asyncio.sleep(5)
                assert len(await converter.cue.list()) == 1

        converter.does = change_once
        async with converter.cue:
            await converter.cue.drain()
        assert converter.seen == [(0.0, "a"), (11.0, "a")]

    run(main)


def test_what_changes_before_its_work_unit_begins_is_done_once(inbox: Path, all_is_old: None) -> None:
    old(inbox / "a", inbox / "b")

    async def main() -> None:
        cue = runcue.Cue()
        cue.service("slow", concurrent=1)
        seen = []

        @cue.task("convert", uses="slow")
        async def convert(work: runcue.Work) -> None:
            await asyncio.sleep(5)
            seen.append(Path(work.params["path"]).read_text())

        cue.watch(inbox, submit=convert)
        async with cue:
            await asyncio.sleep(1)
            (inbox / "b").write_text("other text")
            tell(cue, inbox / "b")
        assert seen == ["text of a", "other text"]

    run(main)


def test_a_failed_one_is_submitted_again_when_its_file_changes_and_not_before(
    inbox: Path, all_is_old: None
) -> None:
    old(inbox / "a")

    async def main() -> None:
        converter = Converter(inbox)

        async def fail(work: runcue.Work) -> None:
            if len(converter.seen) == 1:
                raise ValueError("bad input")

        converter.does = fail
        async with converter.cue:
            await converter.cue.drain()
            tell(converter.cue, inbox / "a", folders=(inbox,))
            await asyncio.sleep(5)
            assert converter.names == ["a"]
            os.utime(inbox / "a")
            tell(converter.cue, inbox / "a")
        assert converter.names == ["a", "a"]

    run(main)


# Which files.


def test_a_pattern_says_which_and_recursive_how_deep(inbox: Path, all_is_old: None) -> None:
    old(inbox / "a.pdf", inbox / "a.txt", inbox / "deep" / "b.pdf", inbox / ".runcue-0123456789ab-a.pdf")

    async def main(**options: Any) -> list[str]:
        cue = runcue.Cue()
        seen = []

        @cue.task("convert")
        async def convert(work: runcue.Work) -> None:
            seen.append(os.path.relpath(work.params["path"], inbox))

        cue.watch(inbox, submit="convert", **options)
        async with cue:
            (inbox / "deep" / "c.txt").touch()
            tell(cue, inbox / "deep" / "c.txt", inbox / "deep", folders=(inbox / "deep",))
            await asyncio.sleep(3)
        (inbox / "deep" / "c.txt").unlink()
        return seen

    assert run(lambda: main(pattern="*.pdf")) == ["a.pdf", "deep/b.pdf"]
    assert run(lambda: main(pattern="*.pdf", recursive=False)) == ["a.pdf"]
    assert run(lambda: main(recursive=False)) == ["a.pdf", "a.txt"]
    assert run(lambda: main()) == ["a.pdf", "a.txt", "deep/b.pdf", "deep/c.txt"]


def test_two_tasks_have_each_their_files_of_one_folder(inbox: Path, all_is_old: None) -> None:
    old(inbox / "a.md", inbox / "b.txt")

    async def main() -> None:
        cue = runcue.Cue()
        seen: dict[str, list[str]] = {"html": [], "count": []}

        @cue.task("html", outputs=lambda work: work.params["path"] + ".html")
        async def html(work: runcue.Work) -> None:
            seen["html"].append(Path(work.params["path"]).name)
            Path(work.params["path"] + ".html").write_text("html")

        @cue.task("count")
        async def count(work: runcue.Work) -> None:
            seen["count"].append(Path(work.params["path"]).name)

        cue.watch(inbox, submit=html, pattern="*.md*")
        cue.watch(inbox, submit=count, pattern="*.html")
        async with cue:
            await cue.drain()
            tell(cue, inbox / "a.md.html", inbox)
            await asyncio.sleep(3)
        assert seen == {"html": ["a.md"], "count": ["a.md.html"]}

    run(main)


def declared(cue: runcue.Cue, name: str, ending: str) -> None:
    @cue.task(name, inputs=lambda path: path, outputs=lambda path: str(Path(path).with_suffix(ending)))
    async def convert(work: runcue.Work, path: str) -> None:
        with work.write(work.outputs[0]) as file:
            file.write(Path(path).read_text() + ending)


def undeclared(cue: runcue.Cue, name: str, ending: str) -> None:
    @cue.task(name)
    async def convert(work: runcue.Work, path: str) -> None:
        with work.write(Path(path).with_suffix(ending)) as file:
            file.write(Path(path).read_text() + ending)


def in_a_folder(cue: runcue.Cue, name: str, ending: str) -> None:
    @cue.task(name, outputs=lambda path: str(Path(path).with_suffix(".made")))
    async def convert(work: runcue.Work, path: str) -> None:
        folder = Path(work.outputs[0]._path)
        folder.mkdir(exist_ok=True)
        (folder / f"a{ending}").write_text(Path(path).read_text() + ending)


@pytest.mark.parametrize("first", [declared, undeclared, in_a_folder], ids=lambda how: how.__name__)
@pytest.mark.parametrize("how", ["a drain", "a stop"])
def test_a_chain_of_tasks_is_done_by_one_drain_and_by_one_stop(
    first: Callable[[runcue.Cue, str, str], None], how: str, inbox: Path, all_is_old: None
) -> None:
    old(inbox / "a.txt")

    async def main() -> None:
        cue = runcue.Cue()
        first(cue, "one", ".md")
        first(cue, "two", ".html")
        declared(cue, "three", ".zip")
        cue.watch(inbox, submit="one", pattern="*.txt")
        cue.watch(inbox, submit="two", pattern="*.md")
        cue.watch(inbox, submit="three", pattern="*.html")
        cue.start()
        await (cue.drain() if how == "a drain" else cue.stop())
        [made] = inbox.rglob("*.zip")
        assert made.read_text() == "text of a.txt.md.html.zip"
        assert cue.counts()["completed"] == 3
        await cue.stop()

    run(main)


def test_tasks_that_make_each_others_files_do_not_keep_a_stop_from_its_end(
    inbox: Path, all_is_old: None
) -> None:
    old(inbox / "a.txt")

    async def main() -> None:
        cue = runcue.Cue()
        undeclared(cue, "there", ".md")
        undeclared(cue, "back", ".txt")
        cue.watch(inbox, submit="there", pattern="*.txt")
        cue.watch(inbox, submit="back", pattern="*.md")
        async with cue:
            pass
        assert cue.counts()["completed"] == 3

    run(main)


OUT: dict[str, Callable[[runcue.Work], Any]] = {
    "beside it": lambda work: work.params["path"] + ".html",
    "sorted before it": lambda work: str(Path(work.params["path"]).with_name("0.html")),
    "in a folder": lambda work: str(Path(work.params["path"]).with_name("0.pages")),
}


@pytest.mark.parametrize("where", OUT)
def test_what_the_task_makes_is_not_submitted_to_it_nor_what_it_made_in_an_earlier_process(
    where: str, inbox: Path, all_is_old: None
) -> None:
    old(inbox / "a.md")

    async def write(work: runcue.Work) -> None:
        made = Path(work.outputs[0]._path)
        if where == "in a folder":
            made.mkdir(exist_ok=True)
            made = made / "1.html"
        made.write_text("html")

    async def main() -> None:
        for names in (["a.md"], []):
            converter = Converter(inbox, outputs=OUT[where])
            converter.does = write
            async with converter.cue:
                await converter.cue.drain()
                tell(converter.cue, *inbox.rglob("*"), folders=(inbox,))
                await asyncio.sleep(3)
            assert converter.names == names
            assert len(await converter.cue.list()) == 1

    run(main)


def test_functions_that_say_what_the_work_unit_of_a_file_declares_are_asked_once(
    inbox: Path, all_is_old: None
) -> None:
    old(inbox / "a")
    asked: list[str] = []

    def says(name: str, answer: Callable[[str], Any]) -> Callable[[str], Any]:
        def function(path: str) -> Any:
            asked.append(name)
            return answer(path)

        return function

    def of_inputs(work: runcue.Work) -> str:
        asked.append("outputs")
        return str(work.inputs[0]._path) + ".out"

    def of_id(work: runcue.Work) -> str:
        asked.append("outputs")
        return f"{work.params['path']}.{work.id}"

    async def main(outputs: Any) -> list[str]:
        asked.clear()
        cue = runcue.Cue()
        inputs, key = says("inputs", lambda path: path), says("key", os.path.basename)

        @cue.task("convert", inputs=inputs, key=key, outputs=outputs)
        async def convert(work: runcue.Work) -> None:
            for output in work.outputs:
                Path(output._path).touch()

        cue.watch(inbox, submit=convert, pattern="a")
        async with cue:
            pass
        (done,) = await cue.list()
        assert not any(output._path.endswith("a.") for output in done.outputs), "its id was known"
        return sorted(asked)

    for outputs in (inbox / "out", None):
        assert run(lambda outputs=outputs: main(outputs)) == ["inputs", "key"]
    once = ["inputs", "key", "outputs"]
    assert run(lambda: main(says("outputs", lambda path: f"{path}.out"))) == once
    assert run(lambda: main(of_inputs)) == once
    # Before the submission there is no id: who looks at that is asked again.
    assert run(lambda: main(of_id)) == ["inputs", "inputs", "key", "outputs", "outputs"]


def test_what_others_have_its_task_make_is_not_submitted_to_it_either(inbox: Path) -> None:
    async def main() -> None:
        converter = Converter(inbox, outputs=lambda work: str(inbox / "out.html"))

        async def write(work: runcue.Work) -> None:
            (inbox / "out.html").write_text("html")

        converter.does = write
        async with converter.cue:
            await converter.cue.submit("convert", params={"path": str(inbox.parent / "elsewhere")})
            await converter.cue.drain()
            for odd in ("", "\0", 5, None):
                await converter.cue.submit("convert", params={"path": odd})
                await converter.cue.drain()
            tell(converter.cue, inbox / "out.html")
            await asyncio.sleep(3)
            assert len(converter.names) == 1
            (inbox / "out.html").unlink()
            tell(converter.cue, inbox / "out.html")
            await asyncio.sleep(3)
            (inbox / "out.html").write_text("by somebody else")
            tell(converter.cue, inbox / "out.html")
            await asyncio.sleep(3)
        works = await converter.cue.list()
        assert converter.names == ["../elsewhere"]
        assert [work.params.get("path") for work in works][1:] == [
            "",
            "\0",
            5,
            None,
            str(inbox / "out.html"),
        ]

    run(main)


def test_what_it_writes_through_its_work_is_known_without_being_declared(
    inbox: Path, all_is_old: None
) -> None:
    old(inbox / "a.txt")

    async def main() -> None:
        converter = Converter(inbox)

        async def write(work: runcue.Work) -> None:
            for name in ("a.txt", "a.txt.out"):
                with work.write(inbox / name) as file:
                    file.write("out")

        converter.does = write
        async with converter.cue:
            await converter.cue.drain()
            tell(converter.cue, *inbox.iterdir())
            await asyncio.sleep(3)
        assert converter.names == ["a.txt"]

    run(main)


@pytest.mark.parametrize("also", ["nothing else", "in its place", "elsewhere"])
def test_what_it_writes_there_without_declaring_it_is_told_in_the_first_process_with_the_remedy(
    also: str, inbox: Path, all_is_old: None, caplog: pytest.LogCaptureFixture
) -> None:
    old(inbox / "a.txt", inbox / "b.txt")
    writes = {"nothing else": "{}.out", "in its place": "{}", "elsewhere": "../{}"}[also]

    async def main() -> None:
        converter = Converter(inbox)

        async def write(work: runcue.Work) -> None:
            with work.write(inbox / writes.format(Path(work.params["path"]).name)) as file:
                file.write("out")

        converter.does = write
        async with converter.cue:
            pass
        assert converter.names == ["a.txt", "b.txt"]

    run(main)
    told = [record.getMessage() for record in caplog.records]
    if also == "nothing else":
        [text] = told
        assert re.search(r"[ab].txt.out' lies where task 'convert' is given files from", text)
        assert "in a later process it will be taken for a new file. Say by outputs=" in text
    else:
        assert not told


def test_a_task_that_seems_to_be_given_what_it_makes_is_told_once(
    inbox: Path, all_is_old: None, caplog: pytest.LogCaptureFixture
) -> None:
    old(inbox / "a")

    async def main(does: Callable[[Path], object]) -> None:
        converter = Converter(inbox)
        warned: list[runcue.abc.CueWarning] = []

        class Ear(runcue.Observer):
            def warned(self, warning: runcue.abc.CueWarning) -> None:
                warned.append(warning)

        async def make(work: runcue.Work) -> None:
            if len(converter.seen) < 6:
                does(Path(work.params["path"]))

        converter.does = make
        converter.cue.observe(Ear())
        async with converter.cue:
            for _ in range(20):
                await asyncio.sleep(1)
                tell(converter.cue, folders=(inbox,))
        assert len(converter.seen) == 6
        assert [(one.kind, "outputs=" in one.text) for one in warned] == [("inbox", True)]

    run(lambda: main(lambda path: path.with_name(path.name + ".out").touch()))
    (inbox / "b").touch()
    for file in inbox.glob("a*"):
        file.unlink()
    run(lambda: main(lambda path: path.write_text(path.read_text() + "more")))


def test_what_is_made_in_an_inbox_of_what_is_gone_then_is_told_once_with_the_remedy(
    inbox: Path, all_is_old: None, caplog: pytest.LogCaptureFixture
) -> None:
    old(inbox / "a", inbox / "b")

    async def main() -> None:
        converter = Converter(inbox, outputs=lambda work: work.params["path"] + ".out")

        async def consume(work: runcue.Work) -> None:
            path = Path(work.params["path"])
            path.rename(f"{path}.out")

        converter.does = consume
        async with converter.cue:
            await converter.cue.drain()
            tell(converter.cue, folders=(inbox,))
        assert converter.names == ["a", "b"]

    run(main)
    [told] = [record.getMessage() for record in caplog.records]
    assert (
        f"{str(inbox / 'a.out')!r} lies where task 'convert' is given files from, and {str(inbox / 'a')!r}"
        in told
    )
    assert "pattern=" in told


@on_linux
def test_names_that_are_no_text_or_have_line_breaks_are_submitted_as_they_are(
    inbox: Path, all_is_old: None
) -> None:
    names = [os.fsdecode(b"caf\xe9.txt"), "two\nlines.txt"]
    old(*(inbox / name for name in names))

    async def main() -> None:
        converter = Converter(inbox, outputs=lambda work: work.params["path"] + ".out", fresh=runcue.digest())

        async def write(work: runcue.Work) -> None:
            with work.write(work.outputs[0]) as file:
                file.write("out")

        converter.does = write
        async with converter.cue:
            pass
        assert sorted(converter.names) == sorted(names)
        assert all((inbox / f"{name}.out").exists() for name in names)

    run(main)


# The folder.


def test_what_is_moved_in_with_its_folder_is_submitted_and_what_goes_with_it_is_forgotten(
    inbox: Path,
) -> None:
    elsewhere = inbox.parent / "elsewhere"
    old(elsewhere / "deep" / "a")

    async def main() -> None:
        converter = Converter(inbox)
        async with converter.cue:
            for _ in range(2):
                elsewhere.rename(inbox / "new")
                tell(converter.cue, inbox / "new", inbox, folders=(inbox / "new",))
                await asyncio.sleep(5)
                (inbox / "new").rename(elsewhere)
                tell(converter.cue, inbox / "new", inbox, folders=(inbox / "new",))
                await asyncio.sleep(5)
        assert converter.names == ["new/deep/a"] * 2

    run(main)


def test_a_folder_that_vanishes_and_comes_back_is_gone_through_anew(inbox: Path, all_is_old: None) -> None:
    old(inbox / "a")

    async def main() -> None:
        converter = Converter(inbox)
        async with converter.cue:
            await converter.cue.drain()
            inbox.rename(inbox.parent / "away")
            tell(converter.cue, folders=(inbox,))
            await asyncio.sleep(5)
            (inbox.parent / "away").rename(inbox)
            tell(converter.cue, folders=(inbox,))
            await asyncio.sleep(5)
        assert converter.names == ["a", "a"]

    run(main)


def test_what_is_not_in_a_folder_that_came_in_its_place_is_forgotten(inbox: Path, all_is_old: None) -> None:
    old(inbox / "a", inbox / "b")

    async def main() -> None:
        converter = Converter(inbox)
        async with converter.cue:
            await converter.cue.drain()
            inbox.rename(inbox.parent / "away")
            old(inbox / "b")
            tell(converter.cue, folders=(inbox,))
            await asyncio.sleep(5)
            (inbox.parent / "away" / "a").rename(inbox / "a")
            tell(converter.cue, inbox / "a")
        assert converter.names == ["a", "b", "b", "a"]

    run(main)


def test_what_nobody_tells_is_seen_by_the_date_of_its_folder(inbox: Path) -> None:
    (inbox / "deep").mkdir()

    async def main() -> None:
        converter = Converter(inbox)
        async with converter.cue:
            await asyncio.sleep(10)
            (inbox / "deep" / "a").write_text("x")
            for _ in range(5):
                await asyncio.sleep(1)
        assert converter.names == ["deep/a"]
        assert converter.seen[0][0] <= 10 + 2 + 1

    run(main)


# Start, stop and drain.


def test_a_drain_waits_for_what_rests_and_not_for_what_goes_on_growing(inbox: Path) -> None:
    async def main() -> None:
        converter = Converter(inbox)
        async with converter.cue:
            assert (await converter.cue.drain()).counts["completed"] == 0
            assert now() == 0.0
            for name in ("a", "growing"):
                (inbox / name).write_text("x")
            drain = asyncio.ensure_future(converter.cue.drain())
            for size in range(2, 6):
                await asyncio.sleep(0.5)
                (inbox / "growing").write_text("x" * size)
                tell(converter.cue, inbox / "growing")
            assert drain.done()
            assert converter.seen == [(1.0, "a")]
            assert now() == 2.0
        assert (converter.names, now()) == (["a"], 2.0)

    run(main)


def test_what_is_there_when_a_drain_or_a_stop_begins_need_not_be_told(inbox: Path) -> None:
    async def main() -> None:
        converter = Converter(inbox)
        async with converter.cue:
            await asyncio.sleep(10)
            (inbox / "a").write_text("x")
            await converter.cue.drain()
            (inbox / "a").write_text("xx")
            (inbox / "b").write_text("x")
        assert converter.seen == [(11.0, "a"), (12.0, "a"), (12.0, "b")]

    run(main)


def test_a_stop_takes_what_has_come_before_and_nothing_that_comes_later(inbox: Path) -> None:
    async def main() -> None:
        converter = Converter(inbox)

        async def last(work: runcue.Work) -> None:
            await asyncio.sleep(5)

        converter.does = last
        converter.cue.start()
        (inbox / "a").write_text("x")
        tell(converter.cue, inbox / "a")
        await asyncio.sleep(0.5)
        stop = asyncio.ensure_future(converter.cue.stop())
        await asyncio.sleep(0.1)
        (inbox / "b").write_text("x")
        tell(converter.cue, inbox / "b")
        assert (await stop).counts["completed"] == 1
        assert converter.seen == [(1.0, "a")]
        assert now() == 6.0
        converter.cue.start()
        await converter.cue.stop()
        assert sorted(converter.names) == ["a", "a", "b"]

    run(main)


def test_no_more_are_pending_than_may_be_when_the_cue_stops_either(inbox: Path, all_is_old: None) -> None:
    old(*(inbox / str(number) for number in range(50)))

    async def main() -> None:
        cue = runcue.Cue(max_pending=4)
        most = 0
        done = 0

        cue.service("slow", concurrent=2)

        @cue.task(uses="slow")
        async def slowly(path: str) -> None:
            nonlocal most, done
            most = max(most, cue.counts()["pending"])
            await asyncio.sleep(1)
            done += 1

        cue.watch(inbox, submit=slowly)
        async with cue:
            pass
        assert done == 50
        assert 0 < most <= 4

    run(main)


def test_where_nothing_pending_can_move_a_stop_comes_to_its_end_all_the_same(
    inbox: Path, all_is_old: None, caplog: pytest.LogCaptureFixture
) -> None:
    old(*(inbox / str(number) for number in range(5)))

    async def main() -> None:
        cue = runcue.Cue(max_pending=2)
        cue.task("wait", inputs=str(inbox.parent / "nobody makes it"))(convert)
        cue.watch(inbox, submit="wait")
        async with cue:
            stop = asyncio.ensure_future(cue.stop())
            await asyncio.sleep(0)
            with pytest.raises(runcue.CueStopped):
                await cue.submit("wait", {"path": "from outside"})
            assert (await stop).counts["cancelled"] == 5

    run(main)
    assert sum("Nothing that is pending can move" in record.getMessage() for record in caplog.records) == 1


def test_a_stop_without_a_drain_leaves_what_has_come(inbox: Path) -> None:
    async def main() -> None:
        converter = Converter(inbox)
        converter.cue.start()
        (inbox / "a").write_text("x")
        tell(converter.cue, inbox / "a")
        await asyncio.sleep(0.5)
        await converter.cue.stop(drain=False)
        assert (converter.names, now()) == ([], 0.5)

    run(main)


def test_a_folder_may_come_to_a_cue_that_runs(inbox: Path, all_is_old: None) -> None:
    old(inbox / "a")

    async def main() -> None:
        cue = runcue.Cue()
        seen = []

        @cue.task("convert")
        async def convert(work: runcue.Work) -> None:
            seen.append(work.params["path"])

        async with cue:
            cue.watch(inbox, submit="convert")
        assert seen == [str(inbox / "a")]

    run(main)


def test_what_a_loop_has_left_that_ended_without_a_stop_is_not_submitted_twice(
    inbox: Path, all_is_old: None, recwarn: pytest.WarningsRecorder
) -> None:
    old(inbox / "a", inbox / "b")
    cue = runcue.Cue()
    cue.service("slow", concurrent=1)
    seen = []

    @cue.task("convert", uses="slow")
    async def convert(work: runcue.Work) -> None:
        seen.append(Path(work.params["path"]).name)
        await asyncio.sleep(5)

    cue.watch(inbox, submit=convert)

    async def cut_off() -> None:
        cue.start()
        await asyncio.sleep(1)

    async def main() -> None:
        async with cue:
            pass

    run(cut_off)
    run(main)
    assert seen == ["a", "b", "a"]


def test_a_rehearsal_and_a_plan_submit_nothing(inbox: Path, all_is_old: None) -> None:
    old(inbox / "a")

    async def main() -> None:
        converter = Converter(inbox)
        assert not converter.cue.plan().runs
        rehearse(converter.cue, lambda work: 1.0)
        async with converter.cue:
            converter.cue.watch(inbox, submit="convert", pattern="*")
        assert await converter.cue.list() == []

    run(main)


# What goes wrong.


def test_what_cannot_be_submitted_is_told_with_its_file_and_the_next_one_is(
    inbox: Path, all_is_old: None, caplog: pytest.LogCaptureFixture
) -> None:
    old(inbox / "a", inbox / "b", inbox / "c")

    async def main() -> None:
        converter = Converter(inbox, key="one", duplicate="error")
        async with converter.cue:
            await converter.cue.drain()
            tell(converter.cue, folders=(inbox,))
            await asyncio.sleep(5)
            (inbox / "d").write_text("d")
            tell(converter.cue, inbox / "d")
        assert converter.names == ["a", "d"]

    run(main)
    [told] = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    files = f"{str(inbox / 'b')!r}, {str(inbox / 'c')!r}"
    assert told.startswith(
        f"Of a watched folder {files} could not be submitted to task 'convert'; the first of them: Dup"
    )


@pytest.mark.skipif(os.name != "posix", reason="permissions are of POSIX")
def test_one_that_may_not_be_read_is_told_and_submitted_when_it_may(
    inbox: Path, all_is_old: None, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    old(inbox / "a")
    allowed = False
    monkeypatch.setattr("runcue._artifacts.arrivals.os.access", lambda path, mode: allowed)

    async def main() -> None:
        nonlocal allowed
        converter = Converter(inbox)
        async with converter.cue:
            await converter.cue.drain()
            tell(converter.cue, inbox / "a")
            await asyncio.sleep(5)
            assert converter.names == []
            allowed = True
            tell(converter.cue, inbox / "a")
        assert converter.names == ["a"]

    run(main)
    [told] = [record.getMessage() for record in caplog.records]
    assert told == (
        f"Of a watched folder {str(inbox / 'a')!r} could not be submitted to task 'convert': "
        "PermissionError: it may not be read"
    )


def test_an_interrupt_out_of_a_function_that_is_asked_for_a_file_ends_the_program_and_is_no_failure(
    inbox: Path, all_is_old: None
) -> None:
    old(inbox / "a")

    def interrupted(work: runcue.Work) -> str:
        raise KeyboardInterrupt

    async def main() -> None:
        converter = Converter(inbox, outputs=interrupted)
        async with converter.cue:
            await asyncio.sleep(3)

    with pytest.raises(KeyboardInterrupt):
        run(main)


def convert(work: runcue.Work) -> None: ...


def untold_what(path): ...  # type: ignore[no-untyped-def]


def of_what(path): ...  # type: ignore[no-untyped-def]


def of_file(file: str) -> None: ...


def of_page(path: str, page: int) -> None: ...


def of_path(path: Path) -> None: ...


def of_path_or_none(work: runcue.Work, path: Path | None = None) -> None: ...


def of_like(path: os.PathLike[str]) -> None: ...


def of_untold(path: for_checkers_alone.Path | None) -> None: ...  # type: ignore[name-defined]  # noqa: F821


def of_bytes(path: bytes) -> None: ...


class OfPath:
    def __init__(self, path: Path) -> None: ...


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown task": ({"submit": "convrt"}, "Did you mean 'convert'"),
    "a function without a name": ({"submit": lambda work: None}, "needs a name"),
    "a function that gets the work as its path": ({"submit": of_what}, "annotate path"),
    "a handler that gets the work as its path": ({"submit": "untold"}, "annotate path"),
    "a function that takes no path": ({"submit": of_file}, "'file' is missing .*no parameter 'path'"),
    "a function that takes more than a path": ({"submit": of_page}, "'page' is missing"),
    "a function that takes a Path": (
        {"submit": of_path},
        r"of_path .*takes it as .*Path: write path: str, and Path",
    ),
    "one beside the work": ({"submit": of_path_or_none}, "write path: str"),
    "what is like a path": ({"submit": of_like}, r"takes it as os.PathLike\[str\]: write path: str"),
    "a path that only type checkers know": ({"submit": of_untold}, "write path: str"),
    "a function that takes bytes": ({"submit": of_bytes}, "takes it as bytes: write path: str"),
    "a class that takes a Path": ({"submit": OfPath}, "write path: str"),
    "a pattern of runcue's own": ({"submit": "convert", "pattern": ".runcue-*"}, "runcue's own"),
    "no task at all": ({"submit": 5}, "submit of watch.. must be the name of a task or its handler, not 5"),
    "a pattern that is no text": ({"submit": "convert", "pattern": ["*.pdf"]}, "once for each"),
    "an empty pattern": ({"submit": "convert", "pattern": ""}, "is empty"),
    "a path for a pattern": ({"submit": "convert", "pattern": "a/*.pdf"}, "no name matches 'a/[*].pdf'"),
    "a pattern for nothing": ({"pattern": "*.pdf"}, "there is no submit="),
    "recursive": ({"submit": "convert", "recursive": "no"}, "recursive"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_told_in_its_line_and_nothing_is_watched(mistake: str, inbox: Path) -> None:
    options, words = MISTAKES[mistake]
    cue = runcue.Cue()
    cue.task("convert")(convert)
    cue.task("untold")(untold_what)
    with pytest.raises(runcue.RuncueError, match=words) as caught:
        cue.watch(inbox, **options)
    assert isinstance(caught.value, ValueError)
    assert not cue._drops.trays
    assert not cue._watched
    assert [task.name for task in cue.tasks()] == ["convert", "untold"]


def text_or_path(path: str | os.PathLike[str]) -> None: ...


def text_or_path_as_written(path: Union[str, Path]) -> None: ...  # type: ignore[name-defined]  # noqa: F821


def anything(path: Any) -> None: ...


def texts(path: Sequence[str]) -> None: ...  # type: ignore[name-defined]  # noqa: F821


def an_own_kind(path: InboxPath) -> None: ...  # type: ignore[name-defined]  # noqa: F821


@functools.wraps(of_path)
def made_a_path_of(**params: str) -> None:
    of_path(Path(params["path"]))


@pytest.mark.parametrize(
    "function",
    [text_or_path, text_or_path_as_written, anything, texts, an_own_kind, made_a_path_of],
    ids=lambda function: function.__code__.co_name,
)
def test_whatever_may_be_a_text_by_its_annotation_takes_a_path(
    function: Callable[..., None], inbox: Path
) -> None:
    cue = runcue.Cue()
    cue.watch(inbox, submit=function)
    assert len(cue.tasks()) == 1


def test_a_plain_function_gets_the_path_and_becomes_a_task_by_that(inbox: Path, all_is_old: None) -> None:
    old(inbox / "a")
    seen = []

    async def read(path: str, encoding: str = "utf-8") -> None:
        seen.append((path, encoding))

    async def main() -> None:
        cue = runcue.Cue()
        cue.watch(inbox, submit=read)
        async with cue:
            pass
        [work] = await cue.list()
        assert (work.task, work.params) == ("read", {"path": str(inbox / "a"), "encoding": "utf-8"})

    run(main)
    assert seen == [(str(inbox / "a"), "utf-8")]


def test_a_folder_that_is_not_there_is_refused_like_any_other(inbox: Path) -> None:
    cue = runcue.Cue()
    cue.task("convert")(convert)
    with pytest.raises(runcue.ConfigurationError, match="folder that exists"):
        cue.watch(inbox / "nowhere", submit=convert)
    assert not cue._drops.trays


# With real watchers, in real time.


@pytest.fixture
def no_thread_is_left() -> Iterator[None]:
    yield
    for thread in threading.enumerate():
        if thread.name == "runcue-watch":
            thread.join(30)
            assert not thread.is_alive()


@pytest.mark.usefixtures("no_thread_is_left")
@pytest.mark.parametrize(
    ("loop", "polling"),
    [*((loop, False) for loop in LOOPS), ("asyncio", True)],
    ids=lambda value: value if isinstance(value, str) else "it looks itself" if value else "the system tells",
)
def test_files_of_other_processes_are_submitted_as_they_come(
    loop: str, polling: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runcue._artifacts.arrivals.REST", 0.1)
    if polling:
        monkeypatch.setenv("WATCHFILES_FORCE_POLLING", "1")
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    program = (
        "import os, sys; os.chdir(sys.argv[1]); os.mkdir('new')\n"
        "for n in range(500): open(f'new/{n}', 'w').close()\n"
        "open('x.part', 'w').close(); os.rename('x.part', 'x')"
    )

    async def main() -> None:
        cue = runcue.Cue()
        seen = set()
        done = asyncio.Event()

        @cue.task("convert")
        async def convert(work: runcue.Work) -> None:
            seen.add(os.path.relpath(work.params["path"], inbox))
            if len(seen) == 501:
                done.set()

        cue.watch(inbox, submit=convert)
        async with cue:
            while not all(watcher._armed_at for watcher in cue._watched.watchers):
                await asyncio.sleep(0.01)
            subprocess.run([sys.executable, "-S", "-E", "-c", program, inbox], check=True, timeout=30)
            await asyncio.wait_for(done.wait(), 30)
        assert seen == {"x", *(f"new/{n}" for n in range(500))}

    run_on(loop, main)
