"""Marks by themselves: what is in doubt by one, and until when. No loop, no handlers."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

import runcue
from runcue import File
from runcue._artifacts import run_marks
from runcue._artifacts.folder_marks import marks_of, named_by
from runcue._artifacts.marks import doubt_of
from runcue._artifacts.places import PASS, next_pass, place_of
from runcue._artifacts.run_marks import RunMarks, outdate
from runcue._model.errors import PublishError


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run_marks, "_told", set())


def make(path: str, text: str = "old", *, age: float = 100.0) -> File:
    """Makes a file that was changed some time ago, as far as a mark can tell."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text, encoding="utf-8")
    then = time.time() - age
    os.utime(path, (then, then))
    time.sleep(0.03)  # the ctime cannot be set: a mark must find it a tick old
    return File(path)


def begin(*paths: str | File) -> RunMarks:
    marks = RunMarks(None)
    marks.write([File(path) for path in paths])
    return marks


def end_in_vain(marks: RunMarks) -> None:
    marks.fail()
    marks.end()


def kind_of(path: str | File, *, own: bool = False) -> str | None:
    """Returns why a file is no proof, as a gate sees it in a new turn; None if it is."""
    next_pass()
    file = File(path)
    doubt = doubt_of(
        file._key,
        file._place,
        Path(file._path).stat(),
        path=file._path,
        is_link=Path(file._path).is_symlink(),
        is_own=own,
    )
    return None if doubt is None else doubt.kind


def marks_below(folder: str = ".") -> list[str]:
    return sorted(str(path) for path in Path(folder).rglob("*.mark"))


def test_what_was_missing_and_is_there_is_no_proof_until_it_is_made() -> None:
    end_in_vain(begin("o"))
    Path("o").write_text("half", encoding="utf-8")
    assert kind_of("o") == "unproven"
    assert not File("o").valid()
    assert File("o").version() is None
    assert "handler that was to make it has not succeeded" in File("o").problem()
    assert str(Path(".runcue-marks", "o.mark").absolute()) in File("o").problem()
    begin("o").succeed([File("o")])
    assert kind_of("o") is None
    assert File("o").valid()
    assert marks_below() == []


def test_what_was_left_alone_is_proof_as_before() -> None:
    make("o")
    end_in_vain(begin("o"))
    assert kind_of("o") is None
    Path("o").write_text("half", encoding="utf-8")
    assert kind_of("o") == "unproven"


@pytest.mark.parametrize("change", ["content", "replaced", "dated back", "chmod", "linked"])
def test_any_change_under_a_mark_counts(change: str) -> None:
    make("o")
    begin("o")
    then = Path("o").stat()
    if change == "content":
        Path("o").write_text("new", encoding="utf-8")
        os.utime("o", ns=(then.st_atime_ns, then.st_mtime_ns))
    elif change == "replaced":
        Path("x").write_text("old", encoding="utf-8")
        os.utime("x", ns=(then.st_atime_ns, then.st_mtime_ns))
        Path("x").replace("o")
    elif change == "dated back":
        os.utime("o", (1e9, 1e9))
    elif change == "chmod":
        Path("o").chmod(0o600)
    else:
        Path("other").hardlink_to("o")
    assert kind_of("o") == "unproven"


def test_what_changed_within_a_tick_of_the_mark_counts_as_changed() -> None:
    Path("o").write_text("new", encoding="utf-8")
    end_in_vain(begin("o"))
    assert kind_of("o") == "unproven"


def test_the_first_record_stays_when_a_second_handler_fails_as_well() -> None:
    make("o")
    end_in_vain(begin("o"))
    Path("o").write_text("half", encoding="utf-8")
    time.sleep(0.03)
    end_in_vain(begin("o"))  # this one leaves the half alone
    assert kind_of("o") == "unproven"


def test_a_later_change_proves_nothing_but_a_touch_and_a_whole_file_do() -> None:
    for prove in (File("o").touch, lambda: runcue.atomic_write("o", "whole")):
        end_in_vain(begin("o"))
        Path("o").write_text("half", encoding="utf-8")
        time.sleep(0.03)
        Path("o").write_text("half and more", encoding="utf-8")
        assert kind_of("o") == "unproven"
        prove()
        assert kind_of("o") is None
        assert marks_below() == []


def test_a_touch_proves_nothing_while_the_handler_runs() -> None:
    run = begin("o")
    File("o").touch()
    runcue.atomic_write("o", "whole")
    assert kind_of("o") == "unproven"
    assert File("o").valid(), "outside of gates a handler sees what is there"
    run.fail()  # a time-out: the thread goes on
    assert not File("o").valid()
    File("o").touch()
    assert kind_of("o") == "unproven"
    run.end()
    File("o").touch()
    assert kind_of("o") is None


@pytest.mark.parametrize("gone", ["mark", "marks", "folder"])
def test_a_mark_that_a_handler_removed_is_written_again_when_it_fails(gone: str) -> None:
    make("d/o")
    run = begin("d/o")
    if gone == "mark":
        Path("d/.runcue-marks/o.mark").unlink()
    else:
        shutil.rmtree("d/.runcue-marks" if gone == "marks" else "d")
    end_in_vain(run)
    Path("d").mkdir(exist_ok=True)
    Path("d/o").write_text("half", encoding="utf-8")
    assert kind_of("d/o") == "unproven"
    begin("d/o").succeed([File("d/o")])
    assert kind_of("d/o") is None
    assert marks_below() == []


@pytest.mark.parametrize("path", ["new/o", "new/er/o", "new/%2F/o", "new/o%"])
def test_where_folders_are_missing_none_is_made_and_the_mark_is_further_up(path: str) -> None:
    end_in_vain(begin(path))
    assert not Path("new").exists()
    assert len(marks_below()) == 1
    Path(path).parent.mkdir(parents=True)
    Path(path).write_text("half", encoding="utf-8")
    assert kind_of(path) == "unproven"
    Path(path).with_name("beside").touch()
    assert kind_of(str(Path(path).with_name("beside"))) is None
    begin(path).succeed([File(path)])
    assert kind_of(path) is None
    assert marks_below() == []


def test_what_is_left_for_a_missing_folder_puts_nothing_else_in_doubt_and_makes_no_other_look_slow() -> None:
    make("there/o")
    end_in_vain(begin("new/deep/o", "ther/o", "there%2Fo"))
    epoch = PASS.epoch
    assert kind_of("there/o") is None
    place = place_of(str(Path("there").absolute()))
    assert place.unmarked >= epoch  # a pass may have ended meanwhile
    end_in_vain(begin("there/below/o"))
    make("there/below/o")
    assert kind_of("there/below/o") == "unproven"
    assert kind_of("there/o") is None


@pytest.mark.parametrize("folder", ["new", "n\udcff", "n" * 100, "ä" * 50 + "\udcff"])
@pytest.mark.parametrize("name", ["o" * 200, "\udcff" * 60 + "o" * 100, "ä" * 110])
def test_a_mark_further_up_whose_name_was_shortened_counts_below(folder: str, name: str) -> None:
    end_in_vain(begin(f"{folder}/{name}"))
    Path(folder).mkdir()
    Path(folder, name).write_text("half", encoding="utf-8")
    assert kind_of(f"{folder}/{name}") == "unproven"
    next_pass()
    there = File(folder)
    assert doubt_of(there._key, there._place, Path(folder).stat(), path=there._path) is not None


def test_a_folder_is_in_doubt_with_all_that_is_in_it_but_for_what_was_made_since() -> None:
    make("d/deep/f")
    make("d/g")
    end_in_vain(begin("d"))
    assert [kind_of(one) for one in ("d", "d/g", "d/deep", "d/deep/f")] == ["unproven"] * 4
    begin("d/g").succeed([File("d/g")])
    File("d/deep").touch()
    assert [kind_of(one) for one in ("d", "d/g", "d/deep", "d/deep/f")] == ["unproven", None, None, None]
    Path("d/g").write_text("changed", encoding="utf-8")
    assert kind_of("d/g") == "unproven"
    end_in_vain(begin("d"))  # another one may have changed what was made in between
    assert kind_of("d/deep/f") == "unproven"
    begin("d").succeed([File("d")])
    assert [kind_of(one) for one in ("d", "d/g", "d/deep", "d/deep/f")] == [None] * 4
    assert marks_below() == []


def test_a_mark_of_a_link_is_one_of_what_it_leads_to_as_well() -> None:
    make("builds/41")
    Path("current").symlink_to("builds/41")
    end_in_vain(begin("current"))
    assert kind_of("current") is None
    Path("builds/41").write_text("half", encoding="utf-8")
    assert [kind_of("current"), kind_of("builds/41")] == ["unproven", "unproven"]
    begin("current").succeed([File("current")])
    assert [kind_of("current"), kind_of("builds/41")] == [None, None]
    assert marks_below() == []


def test_a_link_that_was_turned_elsewhere_is_in_doubt_and_what_it_led_to_is_not() -> None:
    make("builds/41")
    make("builds/42")
    Path("current").symlink_to("builds/41")
    begin("current")
    Path("current").unlink()
    Path("current").symlink_to("builds/42")
    assert [kind_of("current"), kind_of("builds/41")] == ["unproven", None]


def test_who_reads_a_link_sees_the_doubt_of_what_it_leads_to() -> None:
    make("o")
    Path("link").symlink_to("o")
    Path("chain").symlink_to("link")
    begin("o")
    Path("o").write_text("half", encoding="utf-8")
    assert [kind_of("link"), kind_of("chain")] == ["unproven", "unproven"]


def test_a_handler_finds_what_it_makes_in_a_folder_behind_a_link() -> None:
    make("real/o")
    Path("link").symlink_to("real")
    begin("link/o")
    Path("real/o").write_text("half", encoding="utf-8")
    assert [kind_of("link/o"), kind_of("real/o")] == ["unproven", "unproven"]


def test_what_is_out_of_date_is_proof_for_others_and_only_as_it_was_made() -> None:
    make("o")
    run = begin("o")
    Path("x").write_text("new", encoding="utf-8")
    status = Path("x").stat()
    assert outdate(File("o")._key, status.st_ino, status.st_mtime_ns)
    # Killed before the rename: the old one is as good as it was, but for its maker out of date.
    assert [kind_of("o"), kind_of("o", own=True)] == [None, "outdated"]
    Path("x").replace("o")
    run.succeed([File("o")])
    assert [kind_of("o"), kind_of("o", own=True)] == [None, "outdated"]
    assert File("o").valid()
    Path("o").write_text("changed by hand", encoding="utf-8")
    assert kind_of("o") == "unproven"


def test_a_handler_that_makes_what_is_out_of_date_anew_and_fails_leaves_it_so() -> None:
    make("o")
    run = begin("o")
    status = Path("o").stat()
    outdate(File("o")._key, status.st_ino, status.st_mtime_ns)
    run.succeed([File("o")])
    time.sleep(0.03)
    end_in_vain(begin("o"))
    assert [kind_of("o"), kind_of("o", own=True)] == [None, "outdated"]
    with Path("o").open("r+", encoding="utf-8") as file:
        file.write("hal")
    os.utime("o", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert kind_of("o") == "unproven", "the exemption holds for one run"
    begin("o").succeed([File("o")])
    assert kind_of("o", own=True) is None


def test_what_no_handler_makes_or_a_mark_was_not_written_for_cannot_be_outdated() -> None:
    status = Path(make("o")).stat()
    assert not outdate(File("o")._key, status.st_ino, status.st_mtime_ns)
    begin("o").end()
    assert not outdate(File("o")._key, status.st_ino, status.st_mtime_ns)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"{}\n", b'{"runcue-mark":2}\n', b"\xff\n", b"[]\n", b'{"runcue-mark":1,"path"']
)
def test_a_mark_that_cannot_be_read_means_no_proof_until_it_is_made(content: bytes) -> None:
    make("o")
    Path(".runcue-marks").mkdir()
    Path(".runcue-marks/o.mark").write_bytes(content)
    assert kind_of("o") == "unreadable mark"
    end_in_vain(begin("o"))
    assert kind_of("o") == "unproven", "it cannot be known what was there before"
    begin("o").succeed([File("o")])
    assert kind_of("o") is None


def test_what_was_added_to_a_mark_and_cut_off_makes_it_unreadable() -> None:
    make("o")
    end_in_vain(begin("o"))
    with Path(".runcue-marks/o.mark").open("ab") as file:
        file.write(b'{"outdated":[1')
    assert kind_of("o") == "unreadable mark"


NAMES = [
    *("o", "o.txt", "a b", ".hidden", "%2F", "%", "ä" * 100, "x" * 200, "x" * 255),
    os.fsdecode(b"\xff\xfe"),
]


@pytest.mark.parametrize("name", NAMES, ids=lambda name: ascii(name)[1:20])
def test_files_of_any_name_have_marks(name: str) -> None:
    end_in_vain(begin(name))
    Path(name).write_text("half", encoding="utf-8")
    assert kind_of(name) == "unproven"
    (mark,) = os.listdir(".runcue-marks")  # noqa: PTH208 - a name is what is compared
    assert len(os.fsencode(mark)) <= 143
    assert json.loads(Path(".runcue-marks", mark).read_bytes())["path"] == File(name)._key
    is_short = len(os.fsencode(name)) < 130
    assert named_by(str(Path(".runcue-marks", mark).absolute())) == (
        File(name)._key if is_short else str(Path.cwd())
    )
    File(name).touch()
    assert kind_of(name) is None


def test_a_mark_does_not_end_like_the_file() -> None:
    begin("o.csv")
    assert list(Path().rglob("*.csv")) == []


def test_marks_of_others_are_seen_in_the_next_pass() -> None:
    make("o")
    assert kind_of("o") is None
    Path(".runcue-marks").mkdir()
    for _ in range(3):
        record = {"runcue-mark": 1, "path": "o", "was": None, "recent": False}
        Path(".runcue-marks/o.mark").write_text(f"{json.dumps(record)}\n", encoding="utf-8")
        assert kind_of("o") == "unproven"
        Path(".runcue-marks/o.mark").unlink()
        assert kind_of("o") is None


def test_the_folder_of_marks_is_open_to_whom_its_folder_is_open() -> None:
    for mode in (0o700, 0o775, 0o1777):
        Path(f"{mode:o}").mkdir()
        Path(f"{mode:o}").chmod(mode)
        begin(f"{mode:o}/o")
        assert Path(f"{mode:o}/.runcue-marks").stat().st_mode & 0o7777 == mode


def test_where_no_mark_can_be_written_it_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    Path(".runcue-marks").write_text("somebody's", encoding="utf-8")
    begin("o").succeed([])
    begin("other")
    assert [record.message.partition(" (")[0] for record in caplog.records] == [
        f"runcue cannot note in the folder {Path.cwd()}{os.sep} which outputs are being made"
    ]
    assert not outdate(File("o")._key, 1, 1)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EMFILE])
def test_a_shortage_is_an_error_and_leaves_no_mark(code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    write = run_marks.write_mark

    def short(path: str, text: bytes) -> None:
        if path.endswith("two.mark"):
            raise OSError(code, os.strerror(code))
        write(path, text)

    monkeypatch.setattr(run_marks, "write_mark", short)
    with pytest.raises(PublishError, match="'two'"):
        begin("one", "two")
    assert marks_below() == []
    Path("one").touch()
    assert kind_of("one") is None


@pytest.mark.parametrize("below", ["sub", "sub/x"])
def test_what_was_noted_in_a_mark_is_not_noted_in_the_one_that_takes_its_file(below: str) -> None:
    make("a/sub/x")
    run = begin("a")
    File(f"a/{below}").touch()  # whoever says so while the folder is made
    run.succeed([File("a")])
    assert len(list(Path(".runcue-marks").glob("free-*"))) == 1
    make("b/sub/x")
    end_in_vain(begin("b"))
    assert list(Path(".runcue-marks").glob("free-*")) == []
    assert [kind_of("b"), kind_of("b/sub"), kind_of("b/sub/x")] == ["unproven"] * 3


def turn(link: str, target: str) -> None:
    Path(f"{link}.new").symlink_to(target)
    Path(f"{link}.new").replace(link)


@pytest.mark.parametrize("to", ["b2", "b2/deep", "folder"])
def test_a_handler_that_turns_a_folder_on_the_way_and_fails_leaves_no_proof(to: str) -> None:
    make("b1/o")
    if to == "folder":
        Path("cur").mkdir()
    else:
        Path("cur").symlink_to("b1")
    run = begin("cur/o")
    make("b2/deep/o", "half")
    make("b2/o", "half")
    if to == "folder":
        shutil.rmtree("cur")
        Path("cur").symlink_to("b2")
    else:
        turn("cur", to)
    end_in_vain(run)
    real = "b2" if to == "folder" else to
    assert [kind_of("cur/o"), kind_of(f"{real}/o"), kind_of("b1/o")] == ["unproven", "unproven", None]
    begin("cur/o").succeed([File("cur/o")])
    assert [kind_of("cur/o"), kind_of(f"{real}/o")] == [None, None]


def test_who_was_killed_after_he_turned_a_folder_on_the_way_leaves_no_proof_by_that_path() -> None:
    make("b1/o")
    Path("cur").symlink_to("b1")
    begin("cur/o")
    make("b2/o", "half")
    assert [kind_of("cur/o"), kind_of("b1/o")] == [None, None], "it has changed nothing so far"
    turn("cur", "b2")
    assert [kind_of("cur/o"), kind_of("b1/o")] == ["unproven", None]
    begin("cur/o").succeed([File("cur/o")])
    assert kind_of("cur/o") is None
    turn("cur", "b1")
    assert kind_of("cur/o") is None
    begin("cur/o")
    turn("cur", "b2")
    assert kind_of("cur/o") == "unproven"
    next_pass()
    run_marks._makers.clear()
    for own in (marks_of(place_of(folder).real).own for folder in (".", "b1")):
        own.clear()  # as in another process
    next_pass()
    assert kind_of("cur/o") == "unproven"
    File("cur/o").touch()
    assert kind_of("cur/o") is None


def test_two_builds_in_turn_behind_a_link_are_proof_when_they_have_succeeded() -> None:
    make("b1/o")
    Path("cur").symlink_to("b1")
    run = begin("cur/o")
    make("b2/o", "half")
    turn("cur", "b2")
    end_in_vain(run)
    declared = File("cur/o")
    run = begin(declared)
    make("b1/o", "new")
    turn("cur", "b1")
    run.succeed([declared])
    assert [kind_of("cur/o"), kind_of("b1/o")] == [None, None]
    assert kind_of("b2/o") == "unproven", "nobody has made it since"


@pytest.mark.parametrize(
    "name", ["x", "n" * 150, "\u4e2d" * 46, "deep/er/x", f"deep/{'n' * 150}", "a%b", "sp-%2F"]
)
@pytest.mark.parametrize("is_there", [True, False])
def test_who_reads_a_folder_sees_the_doubt_of_what_is_in_it_however_deep(name: str, is_there: bool) -> None:
    if is_there:
        make(f"book/{name}")
    make("bookmark/y")
    end_in_vain(begin(f"book/{name}", "bookmark/y"))
    Path(f"book/{name}").parent.mkdir(parents=True, exist_ok=True)
    Path(f"book/{name}").write_text("half", encoding="utf-8")
    assert kind_of("book") == "unproven"
    file = File("book")
    doubt = doubt_of(file._key, file._place, Path("book").stat())
    assert doubt is not None
    assert doubt.named == File(f"book/{name}")._key
    assert kind_of("bookmark") is None
    begin(f"book/{name}").succeed([File(f"book/{name}")])
    assert kind_of("book") is None


def test_what_an_earlier_process_has_left_in_a_folder_of_a_folder_is_found() -> None:
    make("book/ch/x")
    program = (
        "import os; from runcue import File; from runcue._artifacts.run_marks import RunMarks\n"
        "RunMarks(None).write([File('book/ch/x')]); open('book/ch/x', 'w').write('half'); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", program], check=False)
    assert kind_of("book") == "unproven"
    assert kind_of("book/ch") == "unproven"
    File("book/ch/x").touch()
    assert kind_of("book") is None


def test_while_a_handler_has_not_returned_a_touch_is_offered_for_later() -> None:
    run = RunMarks(None, "make 7")
    run.write([File("d/o")])
    make("d/o", "half")
    run.fail()  # a time-out: the thread goes on
    for name in ("d/o", "d"):
        text = File(name).problem()
        assert "the handler of make 7" in text
        assert "that has to return first" in text
    run.end()
    assert "has to return" not in File("d/o").problem()
    assert "touch(), which removes" in File("d/o").problem()


def test_who_makes_something_in_a_folder_behind_a_link_is_not_held_up_by_what_is_in_it() -> None:
    make("real/book/x")
    Path("link").symlink_to("real")
    end_in_vain(begin("link/book/x"))
    Path("real/book/x").write_text("half", encoding="utf-8")
    next_pass()
    book, made = File("link/book"), File("link/book/n.pdf")
    assert kind_of("link/book") == "unproven"
    status = Path("link/book").stat()
    assert doubt_of(book._key, book._place, status, path=book._path, but=[made._key]) is None


def test_what_a_work_unit_makes_behind_a_link_does_not_hold_up_what_it_needs() -> None:
    make("b1/d/f")
    Path("cur").symlink_to("b1")
    begin("cur/d")
    make("b2/d/f")
    turn("cur", "b2")
    next_pass()
    file, made = File("cur/d/f"), File("cur/d")
    assert kind_of("cur/d/f") == "unproven"
    status = Path("cur/d/f").stat()
    assert doubt_of(file._key, file._place, status, path=file._path, but=[made._key]) is None
