"""What is there in place of a missing file: other case, a slip of the pen, the same path from another folder."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

from runcue import File, Flag
from runcue._artifacts import near_misses
from runcue._artifacts.near_misses import meant_among, near_miss, where_missing

THERE = [
    "Page-1.png",
    "page-2.png",
    "report.txt",
    "café.txt",
    "data/in.csv",
    "images/Front.png",
    "a.c",
    "deep/er/x",
    ".runcue-stamp-repart.txt.stamp",
]


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in THERE:
        path = tmp_path / "work" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.chdir(tmp_path / "work")


def at(name: str) -> str:
    return f"'{Path.cwd() / name}'"


def told(given: str, there: str) -> str:
    """What is there, by its name alone where it is beside what is missing."""
    beside = File(given).path.parent == Path(there).absolute().parent and not given.endswith("/")
    return f"'{Path(there).name}' is there, beside it" if beside else f"{at(there)} is there"


@pytest.mark.parametrize(
    ("given", "there", "difference"),
    [
        ("page-1.png", "Page-1.png", ", with other capitals"),
        ("IMAGES/front.PNG", "images/Front.png", ", with other capitals"),
        ("reprot.txt", "report.txt", ""),
        ("report.tx", "report.txt", ""),
        ("reports.txt ", "report.txt", ""),
        ("page-01.png", "Page-1.png", ""),
        ("image/Front.png", "images/Front.png", ""),
        ("image/front.png", "images/Front.png", ""),
        (
            unicodedata.normalize("NFD", "café.txt"),
            "café.txt",
            ", written with other characters that look alike",
        ),
        ("data/in.csv/", "data/in.csv", ", and is no folder"),
        ("a.c/x", "a.c", ", and is no folder"),
        ("in.csv", "data/in.csv", ""),
        ("/data/in.csv", "data/in.csv", ""),
        ("data\\in.csv", "data/in.csv", ": between folders write a slash"),
    ],
)
def test_what_is_meant_by_a_missing_file_is_named(given: str, there: str, difference: str) -> None:
    apart = "\\" in given
    assert near_miss(File(given)) == f"{at(there) + ' is there' if apart else told(given, there)}{difference}"


@pytest.mark.parametrize(
    "given",
    [
        "page-3.png",
        "Page-11.png",
        "summary.txt",
        "b",
        "x",
        "repart.txt",
        "data/out.csv",
        "nothing/of/the/kind",
        "a.o",
    ],
)
def test_what_differs_in_a_number_or_in_much_is_no_near_miss(given: str) -> None:
    Path("report.txt").unlink()
    assert near_miss(File(given)) == ""


def test_where_only_a_folder_on_the_way_is_like_one_that_is_there_that_one_is_named() -> None:
    assert near_miss(File("imagse/back.png")) == (
        f"the folder {at('imagse')} is missing, but 'images' is there, beside it"
    )


@pytest.mark.parametrize("make", [File, Flag, str, lambda name: None])
@pytest.mark.parametrize("name", ["report.txt", "data"])
def test_of_what_is_there_or_is_no_file_nothing_is_said(make: Callable[[str], object], name: str) -> None:
    artifact = make(name)
    assert near_miss(artifact) == where_missing(artifact) == ""


def test_a_link_is_told_by_what_it_leads_to() -> None:
    Path("link").symlink_to("data/In.csv")
    assert near_miss(File("link")) == "'in.csv' is there, beside it, with other capitals"


def test_a_relative_path_is_told_with_the_folder_that_it_was_taken_from() -> None:
    base, file = Path.cwd(), File("./deep//y")
    assert where_missing(file) == f"at {at('deep/y')}, from the working folder"
    assert where_missing(File(base / "deep" / "y")) == ""
    os.chdir("deep")
    assert where_missing(file) == (
        f"at '{base}/deep/y', from the working folder '{base}', which is '{base}/deep' by now"
    )
    assert near_miss(file) == ""
    Path("deep").mkdir()
    Path("deep/y").touch()
    assert near_miss(file) == f"'{base}/deep/deep/y' is there"


def test_a_path_is_looked_for_from_the_folder_of_the_program_and_the_one_above(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "program").mkdir()
    (tmp_path / "program" / "z").touch()
    monkeypatch.setattr("__main__.__file__", str(tmp_path / "program" / "main.py"), raising=False)
    assert near_miss(File("z")) == f"'{tmp_path}/program/z' is there"
    (tmp_path / "above").touch()
    assert near_miss(File("above")) == f"'{tmp_path}/above' is there"


def test_what_a_shell_would_have_expanded_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert "os.path.expanduser()" in near_miss(File("~/work"))
    assert near_miss(File("~/nothing-there")) == ""
    assert "glob.glob() finds 2 files" in near_miss(File("[Pp]age*"))
    assert near_miss(File("*.jpeg")) == ""


def test_of_the_names_of_a_very_large_folder_none_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    assert near_miss(File("reprot.txt"), most=len(list(Path().iterdir())))
    assert near_miss(File("reprot.txt"), most=3) == ""
    assert near_misses._MOST_NAMES == 5_000


def test_a_folder_is_listed_once_until_it_changes() -> None:
    near_misses._names_in.cache_clear()
    for name in ("reprot.txt", "rreport.txt", "page-9.png"):
        near_miss(File(name))
    assert near_misses._names_in.cache_info().misses == 1
    Path("report.txt").rename("reqort.txt")
    os.utime(".", ns=(0, 0))
    assert near_miss(File("reprot.txt")) == "'reqort.txt' is there, beside it"


def test_a_folder_that_cannot_be_listed_is_no_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(folder: object) -> object:
        raise PermissionError(13, "Permission denied")

    near_misses._names_in.cache_clear()
    near_misses._folders_in.cache_clear()
    monkeypatch.setattr("os.scandir", refuse)
    assert near_miss(File("reprot.txt")) == near_miss(File("in.csv")) == ""


def test_a_working_folder_that_is_gone_is_no_trouble(tmp_path: Path) -> None:
    file = File("reprot.txt")
    (tmp_path / "gone").mkdir()
    os.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert near_miss(file) == "'report.txt' is there, beside it"
    assert "by now" not in where_missing(file)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("out/big.csv", "/r/out/Big.csv"),
        ("out/row.txt", "/r/out/rows.txt"),
        ("BIG.csv", "/r/out/Big.csv"),
        ("x", None),
    ],
)
def test_what_others_are_about_to_make_may_be_meant(given: str, meant: str | None) -> None:
    assert (
        meant_among(File(f"/r/{given}"), ["/r/out/Big.csv", "/r/out/rows.txt", "/r/out/row-1.txt"]) == meant
    )
    assert meant_among(Flag(given), ["/r/x"]) is None
