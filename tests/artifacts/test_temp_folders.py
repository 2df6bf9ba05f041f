"""Outputs that another program writes: in a claimed folder beside the target, published with all others."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

import runcue
from runcue._artifacts import temp_files, temp_folder
from runcue._artifacts.publication import OutputTransaction
from runcue._artifacts.temp_files import PREFIX, clear_dead


@pytest.fixture(autouse=True)
def each_test_is_a_new_process() -> None:
    temp_files._cleared.forget()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_two_files_of_a_folder_share_a_temp_folder_and_appear_together_under_their_own_names(
    tmp_path: Path,
) -> None:
    transaction = OutputTransaction()
    one, two = (
        transaction.let_make(tmp_path / "new" / "one.png"),
        transaction.let_make(tmp_path / "new" / "two.png"),
    )
    assert one.parent == two.parent != tmp_path / "new"
    assert (one.name, two.name) == ("one.png", "two.png")
    assert not one.exists()
    one.write_text("1")
    two.write_text("2")
    (one.parent / "aside.log").write_text("nobody's")
    assert transaction.durable
    published = transaction.publish()
    assert published == [str(tmp_path / "new" / name) for name in ("one.png", "two.png")]
    assert names(tmp_path / "new") == ["one.png", "two.png"]
    assert (tmp_path / "new" / "two.png").read_text() == "2"


def test_the_folder_that_an_output_lies_in_does_not_change_after_that_was_dated(tmp_path: Path) -> None:
    transaction = OutputTransaction()
    made = transaction.let_make(tmp_path / "out")
    made.write_text("new")
    seen: list[list[str]] = []

    class Sources:
        def look(self, replaced: object) -> int:
            seen.append(names(tmp_path))
            return 0

        def settle_before(self, files: object) -> None: ...

    transaction.publish(Sources())
    [[temp]] = seen
    assert temp.startswith(PREFIX)
    assert temp.endswith("-out")


def test_links_of_one_name_that_lead_into_one_folder_are_two_files(tmp_path: Path) -> None:
    for name in ("a", "b", "real"):
        (tmp_path / name).mkdir()
    for name in ("a", "b"):
        (tmp_path / name / "out").symlink_to(tmp_path / "real" / name)
    transaction = OutputTransaction()
    made = [transaction.let_make(tmp_path / name / "out") for name in ("a", "b")]
    assert made[0] != made[1]
    for number, path in enumerate(made):
        path.write_text(str(number))
    transaction.publish()
    assert [(tmp_path / "real" / name).read_text() for name in ("a", "b")] == ["0", "1"]
    assert (tmp_path / "a" / "out").is_symlink()


def test_bits_are_those_of_what_is_replaced_or_of_what_was_made(tmp_path: Path) -> None:
    (tmp_path / "old").touch()
    (tmp_path / "old").chmod(0o640)
    transaction = OutputTransaction()
    for name in ("old", "new"):
        made = transaction.let_make(tmp_path / name)
        made.touch()
        made.chmod(0o755)
    transaction.publish()
    assert stat.S_IMODE((tmp_path / "old").stat().st_mode) == 0o640
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o755


@pytest.mark.parametrize("fill", [lambda path: None, lambda path: path.write_text("half"), Path.mkdir])
def test_what_is_discarded_leaves_nothing(tmp_path: Path, fill: object) -> None:
    transaction = OutputTransaction()
    fill(transaction.let_make(tmp_path / "out"))  # type: ignore[operator]
    transaction.discard()
    assert names(tmp_path) == []
    with pytest.raises(runcue.UsageError, match="its work has ended"):
        transaction.let_make(tmp_path / "out")


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda path: path.mkdir(), "a folder; declare it with a slash"),
        (lambda path: path.symlink_to("elsewhere"), "is a link"),
        (lambda path: os.link(path.parent.parent / "there", path), "is a link"),
        (os.mkfifo, "no regular file"),
        (lambda path: None, "No such file"),
    ],
)
def test_what_is_no_plain_file_is_not_published_and_none_of_the_others_is(
    tmp_path: Path, make: object, why: str
) -> None:
    (tmp_path / "there").touch()
    transaction = OutputTransaction()
    transaction.let_make(tmp_path / "good").touch()
    make(transaction.let_make(tmp_path / "odd"))  # type: ignore[operator]
    with pytest.raises(runcue.PublishError, match=why):
        transaction.publish()
    assert names(tmp_path) == ["there"]


def test_where_no_folder_can_be_there_is_no_place_to_write(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(runcue.PublishError, match="is a file where a folder must be"):
        OutputTransaction().let_make(tmp_path / "file" / "out")


def test_folders_of_the_dead_are_removed_and_those_of_the_living_are_not(tmp_path: Path) -> None:
    dead = tmp_path / f"{PREFIX}0123456789ab-outputs"
    dead.mkdir()
    (dead / "half").touch()
    living = OutputTransaction()
    made = living.let_make(tmp_path / "out")  # the first in a folder clears it
    assert names(tmp_path) == [made.parent.name]
    made.touch()
    assert clear_dead(tmp_path) == 0
    assert living.publish() == [str(tmp_path / "out")]


def test_beyond_some_claims_folders_hold_none_and_are_dead_after_a_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(temp_files.CLAIMS_HELD, "take", lambda: False)
    transaction = OutputTransaction()
    made = transaction.let_make(tmp_path / "out")
    made.touch()
    assert clear_dead(tmp_path) == 0
    other = OutputTransaction().let_make(tmp_path / "other").parent
    os.utime(other, (0, 0))
    assert clear_dead(tmp_path) == 1
    assert transaction.publish() == [str(tmp_path / "out")]
    assert names(tmp_path) == ["out"]


def test_a_claim_is_given_back_with_its_folder_and_with_what_cannot_be_taken_over(tmp_path: Path) -> None:
    held = len(temp_files.CLAIMS_HELD._room)
    transaction = OutputTransaction()
    transaction.let_make(tmp_path / "out")
    with pytest.raises(runcue.PublishError):
        transaction.publish()
    (tmp_path / "file").touch()
    with pytest.raises(runcue.PublishError):
        OutputTransaction().let_make(tmp_path / "file" / "out")
    assert len(temp_files.CLAIMS_HELD._room) == held


def test_a_folder_that_cannot_be_made_holds_no_claim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(folder: Path, *, held: bool) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(folder / "temp"))

    monkeypatch.setattr(temp_folder, "create_claimed_folder", refuse)
    for taken in (True, False):
        held = len(temp_files.CLAIMS_HELD._room)
        with pytest.raises(runcue.PublishError, match="let this process write in the folder"):
            OutputTransaction().let_make(tmp_path / "out")
        assert len(temp_files.CLAIMS_HELD._room) == held
        monkeypatch.setattr(temp_files.CLAIMS_HELD, "take", lambda taken=taken: not taken)


def test_a_folder_that_was_cleared_before_it_was_claimed_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([False, True])
    monkeypatch.setattr(temp_files, "claim_file", lambda descriptor: next(answers, True))
    made = OutputTransaction().let_make(tmp_path / "out")
    assert len(names(tmp_path)) == 2
    assert made.parent.is_dir()
