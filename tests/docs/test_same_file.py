"""The table "What counts as the same file" of docs/artifacts.md is true, row by row."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

import runcue
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
}


@pytest.mark.parametrize("row", ROWS)
def test_the_row_is_true(row: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert [named.partition(" | ")[0] for named in table("named")] == [*ROWS]
    assert ROWS[row]()
