"""One file is one artifact, however it is spelled: who waits, joins and is woken agrees with the operating system."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

import runcue
from tests.support.virtual_time import virtual

COMPLETED, SKIPPED = "completed", "skipped"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, in which `link` leads to the folder `real`."""
    monkeypatch.chdir(tmp_path)
    Path("real").mkdir()
    Path("link").symlink_to("real")
    return tmp_path.resolve()


def put(path: Any, text: str = "x", *, date: float | None = None) -> None:
    """Write a file, with the folder that it is in."""
    Path(os.fsdecode(path)).parent.mkdir(parents=True, exist_ok=True)
    Path(os.fsdecode(path)).write_text(text)
    if date is not None:
        os.utime(path, (date, date))


def get(path: Any) -> str | None:
    """What is in a file, None if there is none."""
    return Path(path).read_text() if Path(path).is_file() else None


def turn(link: str, target: str) -> None:
    """Let a link lead somewhere, also if there was one."""
    Path(f"{link}.new").symlink_to(target)
    Path(f"{link}.new").replace(link)


def writer(cue: runcue.Cue, name: str, text: str = "", **options: Any) -> list[str]:
    """Registers a task that writes its outputs by plain `open()`; notes what it was made from."""
    ran: list[str] = []

    @cue.task(name, **options)
    async def write(work: runcue.Work) -> None:
        await asyncio.sleep(1)
        made = text + "".join(str(get(one)) for one in work.inputs)
        ran.append(made)
        for one in work.outputs:
            put(one, made)

    return ran


class TestFoldersBehindLinks:
    """Spellings through links in folders, and `..` behind them."""

    @pytest.mark.rule(27)
    @pytest.mark.parametrize(
        ("read", "made"),
        [
            ("real/mid", "link/mid"),
            ("link/mid", "real/mid"),
            ("link/../real/mid", "./real//mid"),
            (b"real/mid", Path("link") / "mid"),
            ("real/new/mid", "link/new/mid"),
        ],
        ids=["real-link", "link-real", "dots", "bytes", "missing"],
    )
    @virtual
    async def test_a_reader_waits_for_the_maker_by_whatever_spelling(self, read: Any, made: Any) -> None:
        put(read, "old", date=1)
        put("out", "old", date=2)
        put("source", "new")
        cue = runcue.Cue(id_prefix="")
        read_it = writer(cue, "read", inputs=read, outputs="out")
        writer(cue, "make", inputs="source", outputs=made)
        async with cue:
            await cue.submit("read")
            await cue.submit("make")
            await asyncio.sleep(0.5)
            assert "make 2 makes it" in str(cue.why("1"))
        assert read_it == ["new"]

    @pytest.mark.rule(29)
    @virtual
    async def test_dots_behind_a_link_are_what_open_makes_of_them(self) -> None:
        put("elsewhere/lib/x")
        turn("lib", "elsewhere/lib")
        cue = runcue.Cue()
        writer(cue, "plain", "made", outputs="lib/../o")

        @cue.task("staged", outputs="lib/../p")
        async def staged(work: runcue.Work) -> None:
            with work.write("lib/../p") as file:
                file.write("made")

        async with cue:
            await cue.submit("plain")
            await cue.submit("staged")
            assert (await cue.drain()).ok
        assert (get("elsewhere/o"), get("elsewhere/p"), get("o"), get("p")) == ("made", "made", None, None)

    @pytest.mark.rule(28)
    @virtual
    async def test_who_wants_the_same_file_by_another_spelling_joins(self) -> None:
        cue = runcue.Cue()
        ran = writer(cue, "make", "x")
        async with cue:
            await cue.submit("make", outputs="real/o")
            await cue.submit("make", outputs="link/o")
            await cue.submit("make", outputs="link/../real/o")
            with pytest.raises(runcue.DuplicateWork):
                await cue.submit("make", params={"other": 1}, outputs=b"link/o")
        assert ran == ["x"]


class TestRelativePaths:
    """Relative paths are those of the working folder at the submission."""

    @pytest.mark.parametrize(
        "declared",
        [
            "r",
            Path("r"),
            b"r",
            runcue.File("r"),
            ["r"],
            (runcue.File("r", validate=lambda path: path.exists()), runcue.Flag("beside")),
        ],
        ids=["text", "path", "bytes", "file", "list", "several"],
    )
    @virtual
    async def test_what_a_task_declares_is_in_the_folder_of_the_submission(
        self, folder: Path, declared: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cue = runcue.Cue()

        @cue.task("t", outputs=declared)
        async def t(work: runcue.Work) -> str:
            for one in work.outputs:
                one.touch()
            return os.fspath(work.outputs[0])

        async with cue:
            for name in ("one", "two"):
                put(f"{name}/x")
                monkeypatch.chdir(folder / name)
                handle = await cue.submit("t")
                monkeypatch.chdir(folder)
                assert await handle.result() == f"{folder}/{name}/r"
                assert get(f"{name}/r") == ""

    @virtual
    async def test_so_are_inputs_and_what_is_checked_of_them_stays(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("one", "two"):
            put(f"{name}/i", name)
        asked: list[str] = []
        inputs = runcue.File("i", max_age="24h", validate=lambda path: asked.append(str(path)) or True)
        cue = runcue.Cue()
        made = writer(cue, "t", inputs=inputs, outputs="o")
        async with cue:
            for name in ("one", "two"):
                monkeypatch.chdir(folder / name)
                await cue.submit("t")
            await cue.drain()
        assert made == ["one", "two"]
        assert asked == [f"{folder}/one/i", f"{folder}/two/i"]

    @virtual
    async def test_a_file_that_was_made_beforehand_is_where_it_was_then(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file = runcue.File("r")
        cue = runcue.Cue()
        writer(cue, "t", "x")
        async with cue:
            monkeypatch.chdir("real")
            await cue.submit("t", outputs=file)
        assert get(folder / "r") == "x"

    @virtual
    async def test_a_link_that_was_turned_since_the_declaration_leads_where_it_leads_now(
        self, folder: Path
    ) -> None:
        cue = runcue.Cue()
        writer(cue, "t", "made", outputs=f"{folder}/link/o")
        put("other/x")
        turn("link", "other")
        async with cue:
            handle = await cue.submit("t")
            assert handle.work.outputs == (runcue.File("other/o"),)
        assert get("other/o") == "made"


class TestNews:
    """What is told of a file reaches all who wait for it, under whatever name."""

    @pytest.mark.rule(4)
    @pytest.mark.parametrize(
        ("awaited", "nudged"),
        [
            ("real/x", "link/x"),
            ("link/x", "real/x"),
            ("link/x", b"link/../real/x"),
            ("real/x", "real"),
            ("real/x", "link"),
            ("real/deep/x", "."),
            ("real/deep", "real/deep/x"),
            ("real/x/", "real/x"),
        ],
        ids=["link", "real", "dots", "folder", "link to the folder", "further up", "inside", "slash"],
    )
    @virtual
    async def test_a_nudge_by_whatever_name_wakes_who_waits(self, awaited: Any, nudged: Any) -> None:
        cue = runcue.Cue(recheck=False)
        writer(cue, "read", inputs=awaited)
        async with cue:
            handle = await cue.submit("read")
            await asyncio.sleep(1)
            assert handle.work.state is runcue.WorkState.PENDING
            put(f"{awaited}x" if awaited.endswith("/") else "real/x")
            put("real/deep/x")
            cue.nudge(nudged)
            await handle.result()

    @pytest.mark.rule(4)
    @pytest.mark.parametrize("how", ["touch", "write", "nudge"])
    @virtual
    async def test_so_do_a_touch_and_a_publication(self, how: str) -> None:
        cue = runcue.Cue(recheck=False)
        writer(cue, "read", inputs="real/x")
        writer(cue, "gated", inputs=())
        seen: list[bool] = []

        @cue.is_ready(task="gated")
        def is_ready(work: runcue.Work) -> bool:
            seen.append(runcue.exists("link/x"))
            return seen[-1]

        async with cue:
            handles = [await cue.submit("read"), await cue.submit("gated")]
            await asyncio.sleep(1)
            if how == "touch":
                runcue.File("real/../link/x").touch()
            elif how == "write":
                runcue.atomic_write("link/x", "x")
            else:
                put("real/x")
                cue.nudge(Path("link/x"))
            for handle in handles:
                await handle.result()
        assert seen[-1]

    def test_what_is_watched_is_known_by_whatever_name(self) -> None:
        pytest.importorskip("watchfiles")
        cue = runcue.Cue()
        cue.watch("link")
        cue.watch(b"link/../real/")
        assert len(cue._watched.watchers) == 1
        assert cue._watched.covers(runcue.File("real/deep/x"))
        assert cue._watched.covers(runcue.File("link/x"))
        assert not cue._watched.covers(runcue.File("x"))
        turn("later", "real/x")
        assert cue._watched.covers(runcue.File("later")), "by what it leads to"
