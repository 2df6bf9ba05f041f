"""Which files of a folder are meant, and what they are called."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from runcue._artifacts.drop_folder import DropFolder


def made(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def found(folder: Path, pattern: str | None = None, *, recursive: bool = True) -> list[str]:
    drop = DropFolder(str(folder), pattern, recursive=recursive)
    return [os.path.relpath(path, folder) for path in drop.files(drop.path)]


def test_all_files_are_found_at_any_depth_in_the_order_of_their_names(tmp_path: Path) -> None:
    made(tmp_path, "b", "a", "deep/er/c", ".hidden", "new\nline")
    assert found(tmp_path) == [".hidden", "a", "b", "new\nline", "deep/er/c"]
    assert found(tmp_path, recursive=False) == [".hidden", "a", "b", "new\nline"]


def test_a_pattern_is_compared_with_names_whatever_the_folder_is_called(tmp_path: Path) -> None:
    made(tmp_path, "a.pdf", "a.PDF", "a.pdf.part", "x.pdf/b.txt", "deep/b.pdf", "[1].pdf")
    assert found(tmp_path, "*.pdf") == ["[1].pdf", "a.pdf", "deep/b.pdf"]
    assert found(tmp_path, "a.*") == ["a.PDF", "a.pdf", "a.pdf.part"]
    assert found(tmp_path, "[[]1].pdf") == ["[1].pdf"]


def test_nothing_of_runcues_own_is_meant_wherever_it_is(tmp_path: Path) -> None:
    made(tmp_path, ".runcue-1-a", ".runcue-marks/a", "deep/.runcue-1-a", "deep/.runcue-x/y/z", "a.runcue-")
    drop = DropFolder(str(tmp_path), None, recursive=True)
    assert found(tmp_path) == ["a.runcue-"]
    assert not any(drop.holds(str(tmp_path / name)) for name in (".runcue-1-a", "deep/.runcue-x/y/z"))


@pytest.mark.parametrize("given", ["in", "./in//", "../here/in", "link"])
def test_a_file_is_called_as_the_folder_was_given(
    given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(tmp_path, "here/in/a", "here/in/deep/b")
    (tmp_path / "here/link").symlink_to("in")
    monkeypatch.chdir(tmp_path / "here")
    drop = DropFolder(given, None, recursive=True)
    called = [drop.called(path) for path in drop.files(drop.path)]
    assert called == [f"{given.rstrip('/')}/{name}" for name in ("a", "deep/b")]
    assert all(map(os.path.exists, called))


def test_links_to_folders_are_followed_and_each_folder_is_looked_through_once(tmp_path: Path) -> None:
    made(tmp_path, "in/real/a", "elsewhere/b")
    (tmp_path / "in/loop").symlink_to(".")
    (tmp_path / "in/again").symlink_to("real")
    (tmp_path / "in/out").symlink_to(tmp_path / "elsewhere")
    assert found(tmp_path / "in") == ["real/a", "out/b"]


def test_what_has_changed_in_a_folder_shows_by_its_date(tmp_path: Path) -> None:
    made(tmp_path, "in/a", "in/deep/b")
    for folder in ("in/deep", "in"):
        os.utime(tmp_path / folder, ns=(1, 1_000_000_001))
    drop = DropFolder(str(tmp_path / "in"), None, recursive=True)
    list(drop.files(drop.path))
    # That of these folders was changed just now, and could be again unseen.
    assert drop.dates.keys() == {drop.path, f"{drop.path}/deep"}
    drop.dates = {folder: Path(folder).stat().st_mtime_ns for folder in drop.dates}
    assert list(drop.changed()) == []
    made(tmp_path, "in/deep/c")
    assert list(drop.changed()) == [f"{drop.path}/deep"]
    (tmp_path / "in").rename(tmp_path / "away")
    assert set(drop.changed()) == drop.dates.keys()
    assert list(drop.files(drop.path)) == []
    assert drop.path not in drop.dates


@pytest.mark.parametrize("recent", [True, False])
def test_a_folder_that_changed_just_now_is_looked_through_once_more(
    recent: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(tmp_path, "a")
    monkeypatch.setattr("runcue._artifacts.drop_folder.is_recent", lambda status, now: recent)
    drop = DropFolder(str(tmp_path), None, recursive=True)
    list(drop.files(drop.path))
    assert list(drop.changed()) == [drop.path] * recent


@pytest.mark.parametrize(
    ("folder", "recursive", "where"),
    [
        ("/x/in", True, "/x/in"),
        ("/x", True, "/x/in"),
        ("/", True, "/x/in"),
        ("/x/in/deep", True, "/x/in/deep"),
        ("/x/in/deep", False, None),
        ("/x/in-other", True, None),
        ("/x/other", True, None),
    ],
)
def test_what_is_told_of_a_folder_reaches_what_is_in_it(
    folder: str, recursive: bool, where: str | None
) -> None:
    assert DropFolder("/x/in", None, recursive=recursive).reaches(folder) == where


def test_one_folder_alone_is_looked_through_with_those_in_it_that_are_new(tmp_path: Path) -> None:
    made(tmp_path, "a", "known/b")
    drop = DropFolder(str(tmp_path), None, recursive=True)
    list(drop.files(drop.path))
    made(tmp_path, "c", "known/d", "new/er/e")
    found = [os.path.relpath(path, tmp_path) for path in drop.files(drop.path, whole=False)]
    assert found == ["a", "c", "new/er/e"]
    assert len(list(drop.files(drop.path))) == 5
