"""When a file has come: looked at twice, and the same."""

from __future__ import annotations

import os
from math import inf
from pathlib import Path

import pytest

from runcue._artifacts.arrivals import REST, Arrivals
from runcue._artifacts.descent import Descent


def file_in(folder: Path, text: str = "text") -> str:
    path = folder / "file"
    path.write_text(text)
    return str(path)


def test_a_file_is_passed_on_once_it_has_looked_the_same_for_a_second(tmp_path: Path) -> None:
    arrivals, path = Arrivals(), file_in(tmp_path)
    assert not arrivals.note(path, 10.0)
    assert (arrivals.next(), arrivals.expects()) == (10.0 + REST, True)
    assert list(arrivals.rested(10.9)) == []
    assert list(arrivals.rested(11.0)) == [path]
    assert (arrivals.next(), arrivals.expects()) == (inf, False)
    assert list(arrivals.rested(99.0)) == []


def test_one_that_grows_rests_anew_whether_or_not_that_is_told(tmp_path: Path) -> None:
    arrivals, path = Arrivals(), file_in(tmp_path)
    arrivals.note(path, 0.0)
    file_in(tmp_path, "longer text")
    arrivals.note(path, 0.5)
    assert arrivals.next() == 1.5
    file_in(tmp_path, "still longer text")
    assert list(arrivals.rested(1.5)) == []
    assert arrivals.next() == 2.5
    assert not arrivals.expects()  # nobody knows when that will end
    assert list(arrivals.rested(2.5)) == [path]


def test_a_date_counts_like_a_size_and_so_does_another_file_in_its_place(tmp_path: Path) -> None:
    arrivals, path = Arrivals(), file_in(tmp_path)
    date = Path(path).stat().st_mtime_ns
    arrivals.note(path, 0.0)
    os.utime(path, ns=(date + 1, date + 1))
    assert list(arrivals.rested(1.0)) == []
    assert list(arrivals.rested(2.0)) == [path]
    other = tmp_path / "other"
    other.write_text("text")
    os.utime(other, ns=(date + 1, date + 1))
    other.rename(path)
    arrivals.note(path, 3.0)
    assert arrivals.rests(path)


def test_what_was_passed_on_and_looks_the_same_is_not_passed_on_again(tmp_path: Path) -> None:
    arrivals, path = Arrivals(), file_in(tmp_path)
    arrivals.note(path, 0.0)
    assert list(arrivals.rested(1.0)) == [path]
    Path(path).chmod(0o600)
    arrivals.note(path, 2.0)
    assert arrivals.next() == inf
    os.utime(path, (1, 1))
    arrivals.note(path, 3.0)
    assert arrivals.next() == 4.0


def test_one_that_has_gone_and_come_back_is_new(tmp_path: Path) -> None:
    arrivals, path = Arrivals(), file_in(tmp_path)
    arrivals.note(path, 0.0)
    Path(path).rename(tmp_path / "away")
    assert list(arrivals.rested(1.0)) == []
    (tmp_path / "away").rename(path)
    for began in (2.0, 4.0):
        arrivals.note(path, began)
        assert list(arrivals.rested(began + 1)) == [path]
        Path(path).rename(tmp_path / "away")
        arrivals.note(path, began + 1)
        (tmp_path / "away").rename(path)


def test_what_is_old_has_rested_already_whichever_date_tells(tmp_path: Path) -> None:
    arrivals, path = Arrivals(), file_in(tmp_path)
    os.utime(path, (1, 1))  # as who copies a file with its date does at the end
    changed = Path(path).stat().st_ctime
    assert not arrivals.note(path, 0.0, old_if_before=changed)
    assert Arrivals().note(path, 0.0, old_if_before=changed + 1)


def test_only_files_arrive_and_a_link_is_what_it_leads_to(tmp_path: Path) -> None:
    arrivals = Arrivals()
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "link").symlink_to(file_in(tmp_path))
    for name in ("fifo", "folder", "dangling", "link", "missing"):
        arrivals.note(str(tmp_path / name), 0.0)
    assert list(arrivals.rested(1.0)) == [str(tmp_path / "link")]


def test_a_thousand_at_once_are_looked_at_twice_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrivals = Arrivals()
    file_in(tmp_path)
    paths = [str(tmp_path) + "/" * n + "/file" for n in range(1_000)]
    looked, look = 0, os.stat

    def counted(path: str) -> os.stat_result:
        nonlocal looked
        looked += 1
        return look(path)

    monkeypatch.setattr(os, "stat", counted)
    for one in paths:
        arrivals.note(one, 0.0)
    assert list(arrivals.rested(1.0)) == paths
    assert looked == 2 * len(paths)


@pytest.mark.parametrize(
    ("names", "depth"),
    [
        (["a.txt", "a.txt.out", "a.txt.out.out", "a.txt.out.out.out"], 3),
        (["a.txt", "a_x.txt", "a_x_x.txt", "a_x_x_x.txt"], 3),
        (["a.tar", "a.tar.gz"], 1),
        (["page-1.txt", "page-2.txt", "page-3.txt", "page-10.txt"], 0),
        (["a.txt", "b.txt", "a.txt"], 0),
    ],
)
def test_files_of_which_each_is_named_after_the_one_before_are_seen(names: list[str], depth: int) -> None:
    descent = Descent()
    assert [descent.note(f"/in/{name}") for name in names][-1] == depth
