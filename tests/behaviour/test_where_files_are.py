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


def remove(path: Any) -> None:
    """Remove a file."""
    Path(path).unlink()


def move(path: Any, to: Any) -> None:
    """Give a file or a folder another name."""
    Path(path).rename(to)


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

    @pytest.mark.rule(30)
    @pytest.mark.parametrize("in_loop", [False, True])
    @pytest.mark.parametrize(
        ("declared", "written"),
        [("v", "v"), ("v", Path("v")), (b"v", "./v"), (Path("d/v"), "d//v"), (runcue.File("v"), b"v")],
    )
    @virtual
    async def test_what_is_written_by_the_text_of_an_output_is_that_output(
        self, folder: Path, declared: Any, written: Any, in_loop: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cue = runcue.Cue()

        def write(work: runcue.Work) -> None:
            with work.write(written) as file:
                file.write("x")

        async def write_in_the_loop(work: runcue.Work) -> None:
            write(work)

        cue.task("t", outputs=declared)(write_in_the_loop if in_loop else write)
        put("one/x")
        async with cue:
            monkeypatch.chdir(folder / "one")
            handle = await cue.submit("t")
            monkeypatch.chdir(folder)
            await handle.result()
        assert get(folder / "one" / Path(os.fsdecode(written))) == "x"
        assert get(folder / "v") is None

    @pytest.mark.rule(29)
    @virtual
    async def test_what_is_written_elsewhere_is_missing_and_both_places_are_named(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cue = runcue.Cue()

        @cue.task("t", outputs="v")
        async def t(work: runcue.Work) -> None:
            put("v")  # as a program would that is started here

        put("one/x")
        async with cue:
            monkeypatch.chdir(folder / "one")
            handle = await cue.submit("t")
            monkeypatch.chdir(folder)
            with pytest.raises(runcue.MissingOutput) as raised:
                await handle.result()
        assert f"{folder}/one/v" in str(raised.value)
        assert f"'{folder}/v'" in str(raised.value)

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


class TestTurnedLinks:
    """A link on the way may be turned while work units are pending: they are about where it leads then."""

    @pytest.mark.rule(27)
    @pytest.mark.parametrize("as_folder", [False, True], ids=["link", "folder that becomes a link"])
    @virtual
    async def test_a_reader_waits_for_who_makes_what_it_leads_to_by_now(self, as_folder: bool) -> None:
        spelled = "real/x" if as_folder else "link/x"
        put("real/x", "old", date=1)
        put("other/x", "old", date=1)
        put("out", "old", date=2)
        put("source", "new")
        cue = runcue.Cue(id_prefix="", recheck=False)
        ran = writer(cue, "read", inputs=[spelled, "go"], outputs="out")
        writer(cue, "make", inputs="source", outputs="other/x")
        async with cue:
            await cue.submit("read")
            await asyncio.sleep(1)
            if as_folder:
                move("real", "was")
            turn("real" if as_folder else "link", "other")
            put("go", "", date=1)
            await cue.submit("make")
            cue.nudge("go")
            await asyncio.sleep(0.5)
            assert "make 2 makes it" in str(cue.why("1"))
        assert ran == ["new"]

    @pytest.mark.rule(4)
    @virtual
    async def test_who_waits_behind_it_is_woken_by_news_of_where_it_leads_now(self) -> None:
        put("other/x", "there")
        cue = runcue.Cue(recheck=False)
        ran = writer(cue, "read", inputs="link/x")
        async with cue:
            first = await cue.submit("read")
            await asyncio.sleep(1)
            turn("link", "other")
            cue.nudge("link")
            await first.result()
            second = await cue.submit("read", inputs="link/y")
            await asyncio.sleep(1)
            turn("link", "real")
            put("real/y", "here")
            cue.nudge("link/y")
            await second.result()
        assert ran == ["there", "here"]

    @pytest.mark.rule(27)
    @virtual
    async def test_a_handler_may_turn_it_and_readers_behind_it_follow(self) -> None:
        put("source", "new")
        put("build-1/app", "old", date=1)
        put("build-2/app", "old", date=1)
        put("page", "old", date=2)
        turn("current", "build-1")
        cue = runcue.Cue()
        done: list[str] = []

        @cue.task("deploy", outputs="current", fresh=None)
        async def deploy(work: runcue.Work) -> None:
            await asyncio.sleep(1)
            turn("current", "build-2")
            done.append("deploy")

        @cue.task("pack", inputs="source", outputs="build-2/app")
        async def pack(work: runcue.Work) -> None:
            await asyncio.sleep(5)
            put("build-2/app", "new")
            done.append("pack")

        ran = writer(cue, "show", inputs="current/app", outputs="page")
        async with cue:
            for name in ("show", "pack", "deploy"):
                await cue.submit(name, force=name == "deploy")
            await cue.drain()
        assert done == ["deploy", "pack"]
        assert ran == ["new"]

    @pytest.mark.rule(28)
    @virtual
    async def test_what_a_pending_work_unit_makes_follows_as_well(self) -> None:
        put("other/o", "old", date=1)
        put("out", "old", date=2)
        put("source", "new")
        cue = runcue.Cue(recheck=False)
        writer(cue, "make", inputs=["source", "go"], outputs="link/o")
        ran = writer(cue, "read", inputs="other/o", outputs="out", fresh=None)
        async with cue:
            await cue.submit("make")
            await asyncio.sleep(1)
            turn("link", "other")
            cue.nudge("link")
            await asyncio.sleep(1)
            reader = await cue.submit("read", force=True)
            await asyncio.sleep(1)
            assert reader.work.state is runcue.WorkState.PENDING
            put("go", "")
            cue.nudge("go")
        assert ran == ["new"]

    @pytest.mark.rule(27)
    @virtual
    async def test_who_was_held_by_who_makes_what_it_led_to_is_held_no_more(self) -> None:
        put("other/x", "there")
        cue = runcue.Cue(recheck=False)

        @cue.task("make", outputs="real/x")
        async def make(work: runcue.Work) -> None:
            await asyncio.sleep(100)
            put("real/x", "here")

        ran = writer(cue, "read", inputs="link/x")
        async with cue:
            made = await cue.submit("make")
            reader = await cue.submit("read")
            await asyncio.sleep(1)
            assert "makes it (running)" in str(cue.why(reader))
            turn("link", "other")
            cue.nudge("link")
            await reader
            assert not made.done()
        assert ran == ["there"]

    @pytest.mark.rule(27)
    @virtual
    async def test_who_waits_for_a_slot_waits_for_who_makes_what_it_leads_to_by_now(self) -> None:
        put("real/x", "here")
        cue = runcue.Cue(recheck=False)
        cue.service("one", concurrent=1)
        cue.task("slow", uses="one")(lambda work: asyncio.sleep(5))

        @cue.task("make", outputs="other/x")
        async def make(work: runcue.Work) -> None:
            await asyncio.sleep(10)
            put("other/x", "there")

        ran = writer(cue, "read", inputs="link/x", uses="one")
        async with cue:
            for name in ("slow", "read", "make"):
                await cue.submit(name)
            await asyncio.sleep(1)
            turn("link", "other")
            cue.nudge("link")
        assert ran == ["there"]

    @pytest.mark.rule(28)
    @virtual
    async def test_who_has_joined_follows_with_who_makes_it(self) -> None:
        put("source", "new")
        put("other/o", "old", date=1)
        cue = runcue.Cue(recheck=False)
        ran = writer(cue, "make", inputs=["source", "go"], outputs="link/o")
        async with cue:
            handles = [await cue.submit("make") for _ in range(2)]
            await asyncio.sleep(1)
            turn("link", "other")
            cue.nudge("link")
            await asyncio.sleep(1)
            handles.append(await cue.submit("make", outputs="other/o"))
            put("go", "")
            cue.nudge("go")
        assert ran == ["new"]
        assert {handle.work.state for handle in handles} == {runcue.WorkState.COMPLETED}
        assert get("real/o") is None


class TestLinks:
    """The last name may be a link: it stands for what it leads to, at each look."""

    @pytest.mark.rule(27)
    @pytest.mark.parametrize("readers_first", [True, False])
    @pytest.mark.parametrize(
        ("read", "made"),
        [("target", "alias"), ("alias", "target"), ("alias", "middle"), ("middle", "alias")],
    )
    @virtual
    async def test_who_reads_the_one_waits_for_who_makes_the_other(
        self, read: str, made: str, readers_first: bool
    ) -> None:
        put("target", "old", date=1)
        put("out", "old", date=2)
        put("source", "new")
        turn("middle", "target")
        turn("alias", "middle")
        cue = runcue.Cue(id_prefix="")
        ran = writer(cue, "read", inputs=read, outputs="out")
        writer(cue, "make", inputs="source", outputs=made)
        async with cue:
            for name in ("read", "make") if readers_first else ("make", "read"):
                await cue.submit(name)
            await asyncio.sleep(0.5)
            assert f"make {1 + readers_first} makes it" in str(cue.why(str(2 - readers_first)))
        assert ran == ["new"]
        assert get("target") == "new", "through the links"

    @pytest.mark.rule(27)
    @virtual
    async def test_a_link_that_leads_nowhere_yet_is_waited_for_by_either_name(self) -> None:
        turn("alias", "target")
        cue = runcue.Cue(recheck=False)
        ran = writer(cue, "read", inputs="alias")
        writer(cue, "make", "made", outputs="target")
        async with cue:
            first = await cue.submit("read")
            await asyncio.sleep(1)
            assert first.work.state is runcue.WorkState.PENDING
            assert "target, which is missing" in str(cue.why(first))
            await cue.submit("make")
            await first.result()
            remove("target")
            second = await cue.submit("read")
            await asyncio.sleep(1)
            put("target", "by hand")
            cue.nudge("target")
            await second.result()
        assert ran == ["made", "by hand"]

    @pytest.mark.rule(28)
    @virtual
    async def test_a_link_and_what_it_leads_to_are_made_once(self) -> None:
        put("target", "old")
        turn("alias", "target")
        cue = runcue.Cue()
        ran = writer(cue, "make", "made", fresh=None)
        async with cue:
            await cue.submit("make", outputs="target", force=True)
            await cue.submit("make", outputs="alias", force=True)
            with pytest.raises(runcue.DuplicateWork):
                await cue.submit("make", params={"other": 1}, outputs="alias")
        assert ran == ["made"]

    @pytest.mark.rule(27)
    @pytest.mark.parametrize("deploy_first", [True, False])
    @virtual
    async def test_a_link_that_is_turned_by_each_release_can_be_turned_again(
        self, deploy_first: bool
    ) -> None:
        cue = runcue.Cue()
        done: list[str] = []

        @cue.task("build", inputs="source", outputs=lambda work: f"build-{work.params['n']}")
        async def build(work: runcue.Work) -> None:
            await asyncio.sleep(1)
            put(work.outputs[0], str(get("source")))
            done.append("build")

        @cue.task("deploy", inputs=lambda work: f"build-{work.params['n']}", outputs="current", fresh=None)
        async def deploy(work: runcue.Work) -> None:
            await asyncio.sleep(1)
            turn("current", f"build-{work.params['n']}")
            done.append("deploy")

        show = writer(cue, "show", inputs="current", outputs="page", fresh=runcue.digest())
        async with cue:
            for number, n in enumerate((1, 1, 2, 1)):
                # Each time the link leads to what is built anew, or to what was built before.
                put("source", f"{n} {number}")
                for name in ("show", "deploy", "build") if deploy_first else ("build", "show", "deploy"):
                    await cue.submit(name, params={} if name == "show" else {"n": n}, force=name == "deploy")
                await cue.drain()
                assert done == ["build", "deploy"]
                assert show[-1] == get("source")
                done.clear()
        assert len(show) == 4

    @pytest.mark.rule(28)
    @pytest.mark.parametrize("source", ["current/source", "release"])
    @virtual
    async def test_the_same_joins_what_runs_although_a_link_to_its_input_was_turned_meanwhile(
        self, source: str
    ) -> None:
        for number in (1, 2):
            put(f"build-{number}/source", f"{number}")
        turn("current", "build-1")
        turn("release", "build-1/source")
        cue = runcue.Cue()
        made: list[str | None] = []

        @cue.task("make", inputs=source, outputs="out", fresh=runcue.digest())
        async def make(work: runcue.Work) -> None:
            made.append(get(source))
            await asyncio.sleep(1)
            put("out", str(made[-1]))

        async with cue:
            first = await cue.submit("make")
            await asyncio.sleep(0.5)
            turn("current", "build-2")
            turn("release", "build-2/source")
            second = await cue.submit("make")
            with pytest.raises(runcue.DuplicateWork, match="with other inputs"):
                await cue.submit("make", inputs="build-2")
            await cue.drain()
            assert first.work.state is second.work.state is runcue.WorkState.COMPLETED
            assert made == ["1"]
            await (await cue.submit("make")).result()
        assert made == ["1", "2"]

    @virtual
    async def test_what_leads_to_its_own_input_counts_as_both(self) -> None:
        put("state", "1")
        turn("alias", "state")
        for fresh in (runcue.newer(), runcue.digest()):
            cue = runcue.Cue()
            ran = writer(cue, "step", "+", inputs="state", outputs="alias", fresh=fresh)
            async with cue:
                for _ in range(3):
                    await cue.submit("step")
                    await cue.drain()
            assert len(ran) <= 1, fresh
        cue = runcue.Cue()

        @cue.task("fails", inputs="state", outputs="alias")
        async def fails(work: runcue.Work) -> None:
            with work.write("alias") as file:
                file.write("half")
            raise OSError

        cue.on_failure(lambda work, error: None)
        before = get("state")
        async with cue:
            await cue.submit("fails", force=True)
            await cue.drain()
        assert get("state") == get("alias") == before

    @pytest.mark.rule(4)
    @virtual
    async def test_a_gate_that_asks_a_link_hears_of_what_it_leads_to(self) -> None:
        turn("alias", "middle")
        turn("middle", "target")
        cue = runcue.Cue(recheck=False)
        writer(cue, "gated")
        cue.is_ready(lambda work: runcue.exists("alias"))
        async with cue:
            handle = await cue.submit("gated")
            await asyncio.sleep(1)
            runcue.atomic_write("target", "x")
            await handle.result()
            remove("target")
            handle = await cue.submit("gated")
            await asyncio.sleep(1)
            put("other")
            turn("middle", "other")
            cue.nudge("middle")
            await handle.result()

    @virtual
    async def test_plans_pictures_and_rehearsals_know_it(self) -> None:
        put("source")
        put("target", "old", date=1)
        turn("alias", "target")
        cue = runcue.Cue()
        writer(cue, "make", inputs="source", outputs="target")
        writer(cue, "read", inputs="alias", outputs="out")
        put("out", date=2)
        plan = cue.plan(["read", "make"])
        assert [work.task for work in plan.runs] == ["make", "read"]
        assert not plan.blocked
        turn("out", "source")
        plan = cue.plan([("read", {}), ("make", {})])
        assert plan.cycles, "each needs what the other makes, by their links"
