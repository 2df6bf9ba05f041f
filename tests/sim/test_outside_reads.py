"""Callbacks that look at the world by themselves are found, by name; and a rehearsal leaves the world as it is."""

import asyncio
import builtins
import io
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from glob import glob
from pathlib import Path
from typing import Any

import pytest

import runcue
from runcue.rehearsal import rehearse
from runcue.testing import run
from runcue_sim._pipelines.outside_reads import OutsideRead, OutsideReads
from runcue_sim._pipelines.program import load
from runcue_sim._text.error_origin import shown
from tests.support.calls import calls_in

LINES = {name: getattr(module, name) for module, name in ((os, "stat"), (os, "scandir"), (builtins, "open"))}


def ask_all(cue: runcue.Cue, works: int = 3, task: str = "ask") -> OutsideReads:
    """Rehearse a few work units of a cue, watched."""
    rehearse(cue, lambda work: 1.0)

    async def main() -> None:
        async with cue:
            for number in range(works):
                await cue.submit(task, params={"number": number})

    with OutsideReads(cue) as outside:
        run(main)
    return outside


def gated(gate: Callable[[runcue.Work], Any], question: str = "is_ready") -> runcue.Cue:
    cue = runcue.Cue()

    @cue.task("ask")
    async def ask(work: runcue.Work) -> None: ...

    getattr(cue, question)(gate)
    return cue


def in_a_database(path: Path) -> bool:
    connection = sqlite3.connect(path)
    connection.close()
    return True


def over_the_network(path: Path) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", 1)) != 0


@pytest.mark.parametrize(
    ("look", "what"),
    [
        (lambda path: path.exists(), "Path.exists"),
        (lambda path: path.is_file(), "Path.is_file"),
        (lambda path: path.parent.stat(), "Path.stat"),
        (lambda path: os.path.exists(path), "os.path.exists"),  # noqa: PTH110
        (lambda path: os.path.getmtime(path.parent), "os.path.getmtime"),  # noqa: PTH204
        (lambda path: os.path.islink(path) or True, "os.path.islink"),  # noqa: PTH114
        (lambda path: os.stat(path=path.parent), "os.stat"),  # noqa: PTH116
        (lambda path: os.access(path.parent, os.R_OK), "os.access"),
        (lambda path: list(path.parent.iterdir()) or True, "Path.iterdir"),
        (lambda path: list(path.parent.glob("*")) or True, "Path.glob"),
        (lambda path: os.listdir(path.parent) or True, "os.listdir"),  # noqa: PTH208
        (lambda path: list(os.walk(path.parent)), "os.walk"),
        (lambda path: (path.parent / "there").read_text(encoding="utf-8"), "Path.read_text"),
        (lambda path: open(path.parent / "there", encoding="utf-8").close() or True, "open"),  # noqa: PTH123
        (lambda path: shutil.which("sh") is not None, "shutil.which"),
        (lambda path: subprocess.run(["true"], check=True), "subprocess.run"),
        (in_a_database, "sqlite3.connect"),
        (over_the_network, "socket.connect_ex"),
    ],
)  # fmt: skip
def test_a_gate_that_looks_for_itself_is_found(
    tmp_path: Path, look: Callable[[Path], Any], what: str
) -> None:
    (tmp_path / "there").write_text("text", encoding="utf-8")

    def is_stale(work: runcue.Work) -> bool:
        look(tmp_path / f"{work.params['number']}.txt")
        return True

    # What measures coverage asks for the path of each module that it has not met yet.
    look(tmp_path / "before.txt")
    found = ask_all(gated(is_stale, "is_stale")).found
    line = is_stale.__code__.co_firstlineno
    assert [(one.callback, one.what, one.works) for one in found] == [
        (f"is_stale of {shown(__file__)}:{line}", what, 3)
    ]


def test_what_was_looked_at_first_is_the_example(tmp_path: Path) -> None:
    def is_ready(work: runcue.Work) -> bool:
        return not (tmp_path / f"{work.params['number']}.txt").exists()

    [read] = ask_all(gated(is_ready)).found
    assert read.example == str(tmp_path / "0.txt")
    assert read.line == (
        f"{read.callback} asks the disk itself (Path.exists({tmp_path}/0.txt), 3 work units), where nothing of a "
        "rehearsal is; runcue.exists() would see it"
    )
    assert OutsideRead("is_ready of a.py:1", "the network", "socket.connect", "x", 1).line == (
        "is_ready of a.py:1 asks the network itself (socket.connect(x), 1 work unit), where nothing of a rehearsal is"
    )


def test_an_async_gate_is_found_in_the_loop_and_in_a_thread(tmp_path: Path) -> None:
    async def is_ready(work: runcue.Work) -> bool:
        await asyncio.sleep(0)
        if work.params["number"] == 0:
            return not await asyncio.to_thread(os.path.exists, tmp_path / "none")
        return not (tmp_path / "none").exists()

    outside = ask_all(gated(is_ready))
    assert {(read.what, read.works) for read in outside.found} == {("Path.exists", 2), ("os.path.exists", 1)}
    assert outside.ready_at == {}  # none of them ever heard a no


def test_every_gate_is_asked_about_once_however_it_is_registered(tmp_path: Path) -> None:
    class Gate:
        def __call__(self, work: runcue.Work) -> Any:
            return self.later(work)

        async def later(self, work: runcue.Work) -> tuple[bool, str]:
            return not (tmp_path / "none").exists(), "because"

    cue = gated(Gate())

    @cue.task("other")
    async def other(work: runcue.Work) -> None: ...

    cue.is_ready(task="other")(lambda work: (False, "never"))
    outside = ask_all(cue)
    [read] = outside.found
    assert read.callback.startswith(f"is_ready of {shown(__file__)}:")
    assert (read.what, read.works) == ("Path.exists", 3)


def test_what_is_asked_through_runcue_is_no_look(tmp_path: Path) -> None:
    class Row(runcue.Artifact):
        def __init__(self, path: Path) -> None:
            self.path = path

        def valid(self) -> bool:
            return self.path.exists()

    cue = runcue.Cue()

    @cue.task(
        "ask",
        inputs=runcue.File(tmp_path, validate=lambda path: path.is_dir()),
        outputs=lambda work: [
            tmp_path / f"{work.params['number']}.txt",
            Row(tmp_path / f"row{work.params['number']}"),
        ],
    )
    async def ask(work: runcue.Work) -> None: ...

    @cue.is_ready
    def is_ready(work: runcue.Work) -> bool:
        return not runcue.exists(tmp_path / "none") and not Row(tmp_path / "none").valid()

    outside = ask_all(cue)
    assert outside.found == []
    assert outside.ready_at == {}  # none of them ever heard a no


def test_other_callbacks_that_look_are_found_as_well(tmp_path: Path) -> None:
    cue = runcue.Cue()

    @cue.task(
        "ask",
        inputs=lambda work: list(tmp_path.glob("*.png")),
        key=lambda work: len(glob("*", root_dir=tmp_path)),  # noqa: PTH207
    )
    async def ask(work: runcue.Work) -> None: ...

    @cue.priority
    def priority(ctx: runcue.PriorityContext) -> float:
        return (tmp_path / "page.png").stat().st_size

    (tmp_path / "page.png").touch()
    glob("*", root_dir=tmp_path)  # noqa: PTH207 - whoever measures coverage looks where this is defined, once
    found = ask_all(cue, works=1).found
    assert [(read.callback.partition(" of ")[0], read.what) for read in found] == [
        ("inputs", "Path.glob"),
        ("key", "glob.glob"),
        ("priority", "Path.stat"),
    ]


def test_what_a_submitter_looks_at_is_its_own_affair(tmp_path: Path) -> None:
    cue = gated(lambda work: True)
    rehearse(cue, lambda work: 1.0)

    async def main() -> None:
        async with cue:
            for _ in tmp_path.parent.iterdir():
                await cue.submit("ask")

    with OutsideReads(cue) as outside:
        run(main)
    assert outside.found == []


def test_a_gate_that_fails_is_no_look(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    # Its traceback is read from the source by logging.
    def is_stale(work: runcue.Work) -> bool:
        raise ValueError("no")

    assert ask_all(gated(is_stale, "is_stale")).found == []
    assert "ValueError" in caplog.text


def test_afterwards_everything_is_as_it_was() -> None:
    abilities = [set(one) for one in (os.supports_fd, os.supports_dir_fd, os.supports_follow_symlinks)]
    sockets, popen = dict(vars(socket.socket)), subprocess.Popen.__init__
    gate = bool
    cue = gated(gate)
    with OutsideReads(cue):
        assert os.stat is not LINES["stat"]
        assert os.stat in os.supports_follow_symlinks
        assert shutil.rmtree.avoids_symlink_attacks
        assert cue.tasks()[0].is_ready is not gate
    assert (os.stat, os.scandir, builtins.open) == tuple(LINES.values())
    assert io.open is builtins.open
    assert [os.supports_fd, os.supports_dir_fd, os.supports_follow_symlinks] == abilities
    assert dict(vars(socket.socket)) == sockets
    assert subprocess.Popen.__init__ is popen
    assert cue.tasks()[0].is_ready is gate


def test_the_first_yes_of_is_ready_is_noted() -> None:
    cue = runcue.Cue()
    cue.service("one", concurrent=1)
    bell = runcue.Flag("bell")

    @cue.task("ring", outputs=bell)
    async def ring(work: runcue.Work) -> None: ...

    @cue.task("ask", uses="one")
    async def ask(work: runcue.Work) -> None: ...

    cue.is_ready(task="ask")(lambda work: (runcue.Flag("bell").valid(), "the bell has not rung"))
    rehearse(cue, lambda work: 5.0)
    ids = []

    async def main() -> None:
        async with cue:
            ids.append(await cue.submit("ask"))
            ids.append(await cue.submit("ask"))
            await asyncio.sleep(2)
            await cue.submit("ring")

    with OutsideReads(cue) as outside:
        run(main)
    assert outside.ready_at == dict.fromkeys(ids, 7.0)


def test_asking_costs_next_to_nothing() -> None:
    cue = gated(lambda work: False)
    work = runcue.Work("1", "ask")

    def calls() -> int:
        ask: Any = cue.tasks()[0].is_ready
        ask(work)
        return calls_in(lambda: ask(work))

    alone = calls()
    with OutsideReads(cue):
        assert calls() - alone <= 8


def listing(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    found = {}
    for path in [folder, *sorted(folder.rglob("*"))]:
        status = path.stat()
        content = b"" if path.is_dir() else path.read_bytes()
        found[str(path)] = (status.st_ino, status.st_mtime_ns, content)
    return found


APP = """
import pathlib
import runcue
import helper

cue = runcue.Cue()
cue.service("api", concurrent=2)
log = pathlib.Path("log.txt")

def tell(*heard):
    with log.open("a") as file:
        print(*heard, file=file)

cue.on_start(tell)
cue.on_complete(tell)
cue.on_failure(tell)
cue.on_skip(tell)
cue.on_cancel(tell)
cue.on_stall_warning(tell)

@cue.task("fetch", uses="api", outputs=lambda work: f"{work.params['name']}.html", fresh=runcue.digest())
async def fetch(work):
    tell("fetching", work)
    with work.write(work.outputs[0]) as file:
        file.write("text")

page = lambda work: f"{work.params['name']}.html"

@cue.task("convert", inputs=page, outputs=lambda work: f"{work.params['name']}.txt")
def convert(work):
    tell("converting", work)
    pathlib.Path(work.outputs[0]).write_text("text")

@cue.task("mail")
def mail(work):
    raise RuntimeError("the customer would be told")

@cue.is_ready
def is_ready(work):
    import lazy
    return True

@cue.is_ready(task="mail")
def page_is_there(work):
    return pathlib.Path("a.txt").exists(), "no page"

async def submit():
    for name in "abc":
        await cue.submit("convert", params={"name": name})
        await cue.submit("fetch", params={"name": name})
    await cue.submit("mail")
"""


def test_a_rehearsal_leaves_the_folder_untouched_and_tells_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", sys.dont_write_bytecode)
    (tmp_path / "app.py").write_text(APP, encoding="utf-8")
    (tmp_path / "helper.py").touch()
    (tmp_path / "lazy.py").touch()
    (tmp_path / "b.html").write_text("old", encoding="utf-8")
    before = listing(tmp_path)
    app = load("app.py:cue,submit")
    rehearse(app.cue, lambda work: 1.0)

    async def main() -> tuple[runcue.Summary, float]:
        app.cue.start()
        assert app.submit is not None
        await app.submit()
        summary = await app.cue.drain()
        await app.cue.stop()
        return summary, asyncio.get_running_loop().time()

    with OutsideReads(app.cue) as outside:
        summary, seconds = run(main)
    assert summary.counts["completed"] == 6
    assert [one["work"].task for one in summary.blocked] == ["mail"]
    # Two at once: three pages are fetched in 2 s, then converted.
    assert seconds == 3
    line = APP[: APP.index("@cue.is_ready(task=")].count("\n") + 1
    assert [(read.callback, read.what) for read in outside.found] == [
        (f"is_ready of app.py:{line}", "Path.exists")
    ]
    assert listing(tmp_path) == before
    for name in ("app", "helper", "lazy"):
        sys.modules.pop(name)
