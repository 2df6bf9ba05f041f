"""The table "What counts as the same file, what as fresh, what as failed" of docs/artifacts.md is true, row by row."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import runcue
from tests.behaviour.test_contents import wait_a_tick
from tests.docs.test_artifacts import table


def make(*paths: str) -> None:
    for path in paths:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).touch()


def link(path: str, target: str) -> None:
    Path(path).symlink_to(target)


def same(*paths: str | bytes | Path) -> bool:
    return len({runcue.File(path) for path in paths}) == 1


def through_a_folder() -> bool:
    make("real/x")
    link("link", "real")
    return same("link/x", "real/x") and runcue.File("link/x").valid()


def behind_dots() -> bool:
    make("else/where/y", "else/x")
    link("lib", "else/where")
    return same("lib/../x", "else/x") and not same("lib/../x", "x") and Path("lib/../x").exists()


def spelled_otherwise() -> bool:
    return same("./a//x", b"a/x", Path("a/x"), "a/x")


def with_a_slash() -> bool:
    make("x/y", "f")
    return same("x/", "x") and runcue.File("x/").valid() and not runcue.File("f/").valid()


def turned() -> bool:
    make("real/x", "other/x")
    link("link", "real")
    file = runcue.File("link/x")
    Path("link").unlink()
    link("link", "other")
    return file.again() == runcue.File("other/x") != file


def submitted(**options: object) -> runcue.Work:
    """A work unit that declares this, and has not started."""

    async def main() -> runcue.Work:
        cue = runcue.Cue()
        cue.task("t")(lambda work: None)
        handle = await cue.submit("t", **options)  # type: ignore[arg-type]
        return handle.work

    return runcue.run(main)


def an_input() -> bool:
    make("target")
    link("alias", "target")
    return runcue.File("alias").pointed() == (runcue.File("target"),)


def an_output() -> bool:
    make("target")
    link("alias", "target")
    declared = submitted(outputs="alias")._declared
    runcue.atomic_write("alias", "new")
    assert declared is not None
    return (
        declared.makes == (runcue.File("alias"), runcue.File("target"))
        and Path("alias").is_symlink()
        and Path("target").read_text() == "new"
    )


def both() -> bool:
    make("target")
    link("alias", "target")

    async def main() -> bool:
        cue = runcue.Cue()
        for name in ("t", "u"):
            cue.task(name)(lambda work: None)
        await cue.submit("t", outputs="alias")
        joined = await cue.submit("t", outputs="target")
        await cue.submit("u", outputs="target")
        with pytest.raises(runcue.DuplicateWork):
            await cue.submit("t", params={"n": 1}, outputs="target")
        return joined.work._declared is not None and joined.work._declared.leader is not None

    return runcue.run(main)


def own_input() -> bool:
    make("target")
    link("alias", "target")
    declared = submitted(inputs="target", outputs="alias")._declared
    return declared is not None and runcue.File("target") in declared.makes


def nowhere() -> bool:
    link("a", "b")
    link("b", "a")
    link("c", "missing")
    return not runcue.File("a").valid() and not runcue.File("c").valid()


def hard_links() -> bool:
    make("x")
    os.link("x", "y")
    return not same("x", "y")


def put(path: str, text: str = "x", *, age: float = 100.0) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text)
    os.utime(path, (time.time() - age, time.time() - age))


def runs(handler: Callable[[runcue.Work], object] = lambda work: None, **options: object) -> bool:
    """Whether a work unit runs that declares this, and is submitted now."""

    async def main() -> bool:
        cue = runcue.Cue()
        cue.task("t")(handler)
        async with cue:
            handle = await cue.submit("t", **options)  # type: ignore[arg-type]
            await cue.drain()
        return handle.work.started_at is not None

    return runcue.run(main)


def by_times() -> bool:
    put("i")
    put("o", age=50)
    later = runs(inputs="i", outputs="o")
    put("i", age=50)
    os.utime("o", ns=(0, Path("i").stat().st_mtime_ns))
    return not later and runs(inputs="i", outputs="o")


def by_contents() -> bool:
    fresh = runcue.digest()

    def again() -> bool:
        return runs(lambda work: put("o"), inputs="i", outputs="o", fresh=fresh)

    put("i")
    first = again(), again()
    put("i", age=1)
    touched = again()
    put("i", "other")
    return (*first, touched, again()) == (True, False, False, True)


def by_nothing() -> bool:
    put("i", age=1)
    put("o")
    return not runs(inputs="i", outputs="o", fresh=None) and runs(inputs="i", outputs="p", fresh=None)


def failing(work: runcue.Work) -> None:
    raise RuntimeError("on purpose")


def failing_half_way(work: runcue.Work) -> None:
    put("o", "half")
    failing(work)


def left_alone() -> bool:
    put("i")
    put("o", age=50)
    wait_a_tick("o")
    assert runs(failing, inputs="i", outputs="o", force=True)
    return runcue.File("o").valid() and not runs(inputs="i", outputs="o")


def left_changed() -> bool:
    put("i")
    put("o", age=50)
    assert runs(failing_half_way, inputs="i", outputs="o", force=True)
    return not runcue.File("o").valid() and not runs(inputs="o") and runs(outputs="o")


def another_is_missing() -> bool:
    assert runs(lambda work: put("o"), outputs=["o", "p"])
    return not runcue.File("o").valid()


def folder_of_the_failed() -> bool:
    make("d/x")

    def handler(work: runcue.Work) -> None:
        put("d/y")
        failing(work)

    assert runs(handler, outputs="d", force=True)
    bad = not runcue.File("d").valid() and not runcue.File("d/x").valid()
    assert runs(lambda work: put("d/z"), outputs="d/z")
    return bad and runcue.File("d/z").valid() and not runcue.File("d/x").valid()


def folder_around() -> bool:
    make("d/e/f/x")

    def handler(work: runcue.Work) -> None:
        put("d/e/f/x", "half")
        failing(work)

    assert runs(handler, outputs="d/e/f/x", force=True)
    read = [runs(inputs=folder, outputs="o") for folder in ("d", "d/e", "d/e/f")]
    return not any(read) and runs(lambda work: put("d/z"), inputs="d", outputs="d/z")


def turned_by_the_failed() -> bool:
    make("one/o", "two/x")
    link("way", "one")

    def handler(work: runcue.Work) -> None:
        Path("way").unlink()
        link("way", "two")
        put("way/o", "half")
        failing(work)

    assert runs(handler, outputs="way/o", force=True)
    return not runcue.File("way/o").valid() and not runcue.File("two/o").valid()


def changed_later() -> bool:
    assert runs(failing_half_way, outputs="o")
    put("o", "all of it", age=0)
    return not runcue.File("o").valid()


def made_or_vouched_for() -> bool:
    proof = []
    for vouch in (
        lambda: runs(lambda work: put("o"), outputs="o"),
        lambda: runcue.File("o").touch(),
        lambda: runcue.atomic_write("o", "x"),
    ):
        assert runs(failing_half_way, outputs="o", force=True)
        proof.append(runcue.File("o").valid())
        vouch()
        proof.append(runcue.File("o").valid())
    return proof == [False, True] * 3


ROWS: dict[str, Callable[[], bool]] = {
    "`link/x`, where `link` leads to the folder `real`": through_a_folder,
    "`lib/../x`, where `lib` leads elsewhere": behind_dots,
    '`./a//x`, `b"a/x"`, `Path("a/x")`': spelled_otherwise,
    "`x/`": with_a_slash,
    "a link on the way that is turned while a work unit is pending": turned,
    "an input that is a link": an_input,
    "an output that is a link": an_output,
    "outputs `alias` and `target`, where `alias` leads to `target`": both,
    "an output that leads to an input of the same work unit": own_input,
    "a link that leads nowhere, or in a circle": nowhere,
    "two names of one file (hard links), bind mounts, names that differ in case": hard_links,
    "an output, by `newer()`, the default": by_times,
    "an output, by `digest()`": by_contents,
    "an output, by `fresh=None`": by_nothing,
    "the handler raised, timed out, was cancelled, or its process was killed; the output is as it was before": left_alone,  # noqa: E501
    "the same, and the output is another or a new one, however it was written": left_changed,
    "the handler returned, and another output is missing (`MissingOutput`)": another_is_missing,
    "the output is a folder, and the handler failed": folder_of_the_failed,
    "something in a folder is no proof, however deep": folder_around,
    "a folder on the way is a link, and the handler turned it before it failed": turned_by_the_failed,
    "a thread goes on after its time-out, or a program that the handler has started, and the file changes later": changed_later,  # noqa: E501
    "a work unit makes it; you say `File(path).touch()` or write it by `runcue.atomic_write()`": made_or_vouched_for,
}


@pytest.mark.parametrize("row", ROWS)
def test_the_row_is_true(row: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert [named.partition(" | ")[2] for named in table("counts as")] == [*ROWS]
    assert ROWS[row]()
