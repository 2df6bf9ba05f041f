"""The watcher of folders, against real files and the processes that make them, asking the system and looking itself."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import pytest

watching = pytest.importorskip(
    "runcue._artifacts.watching",
    reason="NOTHING OF WATCHING IS TESTED: watchfiles is not installed (extra `watch`)",
)

from runcue._artifacts.watching import Watcher  # noqa: E402
from runcue._model.errors import ConfigurationError, UsageError  # noqa: E402
from tests.support.ear import PATIENCE, Ear  # noqa: E402

both = pytest.mark.parametrize(
    "polling", [pytest.param(False, id="the system tells"), pytest.param(True, id="it looks itself")]
)
on_linux = pytest.mark.skipif(
    sys.platform != "linux", reason="inotify, and names that are no text, are of Linux"
)

BAD = os.fsdecode(b"caf\xe9")


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    """It looks more often than usual: how long that takes is not what is tested."""
    monkeypatch.setattr(watching, "_SHORTEST_INTERVAL", 0.1)
    monkeypatch.setattr(watching, "_CHECK_INTERVAL", 0.1)
    monkeypatch.setattr(watching, "_SHORTEST_REST", 0.03)
    # And no more rarely after a look that took long, on a machine that is busy: then everything counts once more.
    monkeypatch.setattr(watching, "_PAUSE", 0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "watched"
    folder.mkdir()
    return folder


@pytest.fixture
def ear() -> Ear:
    return Ear()


Watch = Callable[..., Watcher]


@pytest.fixture
def watch() -> Iterator[Watch]:
    """Starts watchers, waits until they watch, and stops them in the end: no thread and no descriptor is left."""
    watchers: list[Watcher] = []

    def starts(folder: Path | str, ear: Ear, *, polling: bool = False, **options: Any) -> Watcher:
        watcher = Watcher(str(folder), ear, **options)
        watcher._polling = polling
        watchers.append(watcher)
        watcher.start(lambda: False)
        ear.hears_that_all_counts(Path(watcher.folder))
        ear.forgets()
        return watcher

    yield starts
    for watcher in watchers:
        watcher.stop()
    for watcher in watchers:
        ends(watcher)


def ends(watcher: Watcher) -> bool:
    assert watcher._thread is not None
    watcher._thread.join(PATIENCE)
    assert not watcher._thread.is_alive()
    return True


def child(code: str, *arguments: Path | str) -> None:
    """Runs some code in another process."""
    subprocess.run(
        [sys.executable, "-S", "-E", "-c", "import os, sys\na = sys.argv\n" + code, *map(str, arguments)],
        check=True,
        timeout=PATIENCE,
    )


def dated_back(*files: Path) -> None:
    """Who looks at intervals sees whole seconds only."""
    for file in files:
        os.utime(file, (1, 1))


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


# What is told.


@both
def test_a_file_that_another_process_creates_is_told_with_its_folder(
    folder: Path, ear: Ear, watch: Watch, polling: bool
) -> None:
    watch(folder, ear, polling=polling)
    child("open(a[1], 'w').close()", folder / "page.txt")
    assert ear.hears_of_each(folder / "page.txt", folder)


def test_a_change_of_a_file_is_told_however_soon_it_follows_the_last_one(
    folder: Path, ear: Ear, watch: Watch
) -> None:
    file = folder / "page.txt"
    file.write_text("0")
    watch(folder, ear)
    for n in range(1, 10):  # one size, one inode, and often one mtime
        ear.forgets()
        file.write_text(str(n))
        assert ear.hears_of_each(file)


@both
def test_a_rename_onto_a_file_is_told_and_files_of_runcue_itself_are_not(
    folder: Path, ear: Ear, watch: Watch, polling: bool
) -> None:
    file = folder / "page.txt"
    file.write_text("old")
    dated_back(file)
    (folder / "sub").mkdir()
    watch(folder, ear, polling=polling)
    child("open(a[1], 'w').write('new'); os.replace(a[1], a[2])", folder / ".runcue-1", file)
    child("open(a[1], 'w').write('new')", folder / "sub" / ".runcue-2")
    assert ear.hears_of_each(file)
    assert ear.has_heard_all_about(folder)
    assert not any(".runcue-" in path for path in (*ear.paths, *ear.folders))


@both
@pytest.mark.parametrize("name", ["page.txt", "new%2Fpage.txt"])
def test_the_end_of_a_mark_is_told_as_a_change_of_what_it_was_for(
    folder: Path, ear: Ear, watch: Watch, polling: bool, name: str
) -> None:
    mark = folder / ".runcue-marks" / f"{name}.mark"
    mark.parent.mkdir()
    mark.write_text("")
    watch(folder, ear, polling=polling)
    child("os.rename(a[1], a[2])", mark, mark.parent / "free-0")
    assert ear.hears_of_each(folder / name.replace("%2F", "/"))
    assert not any(".runcue-" in path for path in (*ear.paths, *ear.folders))


@both
def test_what_runcue_publishes_in_another_process_is_told(
    folder: Path, ear: Ear, watch: Watch, polling: bool
) -> None:
    watch(folder, ear, polling=polling)
    subprocess.run(
        [
            sys.executable,
            "-c",
            "import runcue, sys; runcue.atomic_write(sys.argv[1], 'text')",
            folder / "new" / "page",
        ],
        check=True,
        timeout=PATIENCE,
    )
    assert ear.hears(folder / "new" / "page")


@both
def test_a_deletion_is_told_with_its_folder(folder: Path, ear: Ear, watch: Watch, polling: bool) -> None:
    (folder / "page.txt").touch()
    watch(folder, ear, polling=polling)
    child("os.unlink(a[1])", folder / "page.txt")
    assert ear.hears_of_each(folder / "page.txt", folder)


@both
def test_thousands_of_files_that_are_made_at_once_are_all_told(
    folder: Path, ear: Ear, watch: Watch, polling: bool
) -> None:
    watch(folder, ear, polling=polling)
    child("for n in range(2000): open(f'{a[1]}/{n}', 'w').close()", folder)
    assert ear.hears_of_each(*(folder / str(n) for n in range(2000)))


@both
def test_folders_in_it_are_watched_however_new_they_are(
    folder: Path, ear: Ear, watch: Watch, polling: bool
) -> None:
    watch(folder, ear, polling=polling)
    child(
        "for n in range(40):\n"
        "    os.makedirs(f'{a[1]}/{n}/deep')\n"
        "    for name in 'ab':\n"
        "        open(f'{a[1]}/{n}/deep/{name}', 'w').close()",
        folder,
    )
    assert ear.hears(*(folder / str(n) / "deep" / name for n in range(40) for name in "ab"))
    (folder / "7" / "deep" / "later").touch()
    assert ear.hears(folder / "7" / "deep" / "later")


def test_a_new_folder_is_told_twice_because_nobody_says_since_when_it_is_watched(
    folder: Path, ear: Ear, watch: Watch
) -> None:
    watch(folder, ear)
    (folder / "new").mkdir()
    assert ear.waits_for(lambda: ear.folders.count(str(folder / "new")) == 2)
    first, second = ear.told_folders_at[-2:]
    assert second - first > watching._SECOND_LOOK / 2


@both
def test_a_folder_that_is_moved_takes_its_files_along(
    folder: Path, ear: Ear, watch: Watch, tmp_path: Path, polling: bool
) -> None:
    inside = folder / "sub" / "deep" / "page.txt"
    inside.parent.mkdir(parents=True)
    inside.touch()
    dated_back(inside)
    watch(folder, ear, polling=polling)
    (folder / "sub").rename(tmp_path / "elsewhere")
    assert ear.hears(inside, inside.parent, folder / "sub", folder)
    ear.forgets()
    (tmp_path / "elsewhere").rename(folder / "sub")
    assert ear.hears(inside, inside.parent, folder / "sub", folder)
    assert ear.waits_for(lambda: polling or ear.folders.count(str(folder / "sub")) == 2)
    ear.forgets()
    inside.write_text("new")
    assert ear.hears_of_each(inside)


@both
def test_a_file_may_take_the_place_of_a_folder(folder: Path, ear: Ear, watch: Watch, polling: bool) -> None:
    inside = folder / "sub" / "page.txt"
    inside.parent.mkdir()
    inside.touch()
    dated_back(inside.parent)
    watch(folder, ear, polling=polling)
    inside.unlink()
    inside.parent.rmdir()
    inside.parent.touch()
    assert ear.hears(inside, inside.parent)


@both
def test_what_a_link_in_it_leads_to_is_told_as_the_link_spells_it(
    folder: Path, ear: Ear, watch: Watch, tmp_path: Path, polling: bool
) -> None:
    (tmp_path / "outside").mkdir()
    (folder / "link").symlink_to(tmp_path / "outside", target_is_directory=True)
    watch(folder, ear, polling=polling)
    (tmp_path / "outside" / "page.txt").touch()
    assert ear.hears(folder / "link" / "page.txt")
    ear.forgets()
    (tmp_path / "next").mkdir()
    (tmp_path / "next" / "other.txt").touch()
    (folder / "new").symlink_to(tmp_path / "next", target_is_directory=True)
    (folder / "new").replace(folder / "link")
    assert ear.hears(folder / "link" / "other.txt")


@both
def test_without_recursive_only_what_is_directly_in_the_folder_is_told(
    folder: Path, ear: Ear, watch: Watch, polling: bool
) -> None:
    (folder / "sub").mkdir()
    watch(folder, ear, polling=polling, recursive=False)
    (folder / "sub" / "page.txt").touch()
    (folder / "new").mkdir()
    (folder / "new" / "page.txt").touch()
    assert ear.hears_of_each(folder / "new")
    assert ear.has_heard_all_about(folder)
    assert not any(path.endswith("page.txt") for path in ear.paths)


@both
def test_paths_are_spelled_as_the_folder_was(
    folder: Path, ear: Ear, watch: Watch, tmp_path: Path, polling: bool
) -> None:
    (tmp_path / "link").symlink_to(folder, target_is_directory=True)
    spelled = f"{tmp_path}//./link/"
    assert watch(spelled, ear, polling=polling).folder == str(tmp_path / "link")
    child("os.mkdir(a[1] + '/sub'); open(a[1] + '/sub/page.txt', 'w').close()", folder)
    assert ear.hears(*(tmp_path / "link" / name for name in ("sub", "sub/page.txt")))
    assert not any(path.startswith(str(folder)) for path in (*ear.paths, *ear.folders))


@both
def test_what_changes_once_start_has_returned_is_never_missed(tmp_path: Path, polling: bool) -> None:
    """Files are made all the time; each made after start() returned must be told, in many starts."""
    for n in range(20):
        folder = tmp_path / str(n)
        (folder / "sub").mkdir(parents=True)
        ear, made, started = Ear(), list[Path](), threading.Event()

        def makes(folder: Path = folder, made: list[Path] = made, started: threading.Event = started) -> None:
            left = 20
            for n in count():
                (folder / str(n)).touch()
                made.append(folder / str(n))
                left -= started.is_set()
                if left == 0:
                    return

        producer = threading.Thread(target=makes)
        producer.start()
        watcher = Watcher(str(folder), ear)
        watcher._polling = polling
        watcher.start(lambda: False)
        first = len(made) + 1  # the one that is being made may be either
        started.set()
        producer.join()
        assert ear.hears(*made[first:])
        watcher.stop()
        assert ends(watcher)


def test_who_hears_may_ask_for_a_pause_between_folders(folder: Path, watch: Watch) -> None:
    ear = Ear(pause=0.3)
    watch(folder, ear)
    for n in range(50):
        (folder / f"{n}-{n}").mkdir()
        (folder / f"{n}-{n}").rmdir()
        (folder / str(n)).mkdir()
    assert ear.hears(*(folder / str(n) / "page.txt" for n in range(50)))
    times = ear.told_folders_at
    assert len(times) > 1
    assert all(later - earlier > 0.25 for earlier, later in pairwise(times))


# When it ends.


@both
def test_stop_returns_at_once_and_the_thread_ends(
    folder: Path, ear: Ear, watch: Watch, polling: bool
) -> None:
    watcher = watch(folder, ear, polling=polling)
    ended = threading.Event()

    def makes() -> None:
        for n in count():
            (folder / str(n % 500)).write_text(str(n))
            if ended.is_set():
                return

    producer = threading.Thread(target=makes)
    producer.start()
    assert ear.waits_for(lambda: ear.paths)
    watcher.stop()
    watcher.stop()
    assert ends(watcher)
    ear.forgets()
    ended.set()
    producer.join()
    assert ear.paths == []


@both
def test_it_ends_when_nobody_is_left_who_would_hear(folder: Path, ear: Ear, polling: bool) -> None:
    over = threading.Event()
    watcher = Watcher(str(folder), ear)
    watcher._polling = polling
    watcher.start(over.is_set)
    assert ear.hears_that_all_counts(folder)
    over.set()
    assert ends(watcher)


@both
def test_a_program_may_end_without_stopping_it(folder: Path, polling: bool) -> None:
    code = (
        "import sys, time; from runcue._artifacts.watching import Watcher\n"
        "for _ in range(4):\n"
        "    watcher = Watcher(sys.argv[1], lambda *changes: 0.0)\n"
        f"    watcher._polling = {polling}\n"
        "    watcher.start(lambda: False)\n"
        "while watcher._armed_at is None: time.sleep(0.01)\n"
        "big = [[n] for n in range(200_000)]"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, folder], timeout=PATIENCE, capture_output=True, check=False, text=True
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


# When the folder goes.


@both
def test_a_folder_that_is_deleted_is_waited_for(
    folder: Path,
    ear: Ear,
    watch: Watch,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    polling: bool,
) -> None:
    # Long after the event, which alone must do: the next folder may have the inode of this one.
    monkeypatch.setattr(watching, "_CHECK_INTERVAL", 0.3)
    inside = folder / "sub" / "page.txt"
    inside.parent.mkdir()
    inside.touch()
    watcher = watch(folder, ear, polling=polling)
    watcher._next_check = 1e9
    child("import shutil; shutil.rmtree(a[1])", folder)
    assert ear.hears(inside, inside.parent)
    while not warnings_in(caplog):
        time.sleep(0.01)
    ear.forgets()
    inside.parent.mkdir(parents=True)
    inside.touch()
    assert ear.hears(inside, inside.parent)
    assert ear.hears_that_all_counts(folder)
    ear.forgets()
    (folder / "later.txt").touch()
    assert ear.hears_of_each(folder / "later.txt")
    [warning] = warnings_in(caplog)
    assert str(folder) in warning
    assert watcher._polling == polling


@both
def test_a_folder_that_is_moved_away_and_made_again_is_watched(
    folder: Path, ear: Ear, watch: Watch, tmp_path: Path, polling: bool
) -> None:
    watch(folder, ear, polling=polling)
    for n in range(2):
        folder.rename(tmp_path / f"elsewhere-{n}")
        folder.mkdir()
        (folder / f"page-{n}.txt").touch()
        assert ear.hears_that_all_counts(folder)
        ear.forgets()
        (folder / f"later-{n}.txt").touch()
        assert ear.hears(folder / f"later-{n}.txt")


@both
def test_a_link_to_the_folder_may_be_turned_elsewhere(
    folder: Path, ear: Ear, watch: Watch, tmp_path: Path, polling: bool, caplog: pytest.LogCaptureFixture
) -> None:
    link = tmp_path / "current"
    link.symlink_to(folder, target_is_directory=True)
    (tmp_path / "next").mkdir()
    watch(link, ear, polling=polling)
    (tmp_path / "new").symlink_to(tmp_path / "next", target_is_directory=True)
    (tmp_path / "new").replace(link)
    assert ear.hears_that_all_counts(link)
    ear.forgets()
    (tmp_path / "next" / "page.txt").touch()
    assert ear.hears(link / "page.txt")
    assert warnings_in(caplog) == []


@both
def test_a_folder_above_may_be_moved(
    ear: Ear, watch: Watch, tmp_path: Path, polling: bool, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "above" / "watched"
    folder.mkdir(parents=True)
    watch(folder, ear, polling=polling)
    (tmp_path / "above").rename(tmp_path / "elsewhere")
    assert ear.hears_that_all_counts(folder)
    ear.forgets()
    folder.mkdir(parents=True)
    (folder / "page.txt").touch()
    assert ear.hears(folder / "page.txt")
    assert len(warnings_in(caplog)) == 1


# When watchfiles cannot.


@on_linux
@both
def test_a_name_that_is_no_text_makes_everything_count_and_is_told_once(
    folder: Path, ear: Ear, watch: Watch, caplog: pytest.LogCaptureFixture, polling: bool
) -> None:
    watcher = watch(folder, ear, polling=polling)
    for n in range(2):
        (folder / f"{n}{BAD}").touch()
        assert ear.hears_that_all_counts(folder)
        ear.forgets()
        # And goes on: the name that is there now disturbs no more.
        (folder / f"page-{n}.txt").touch()
        assert ear.hears_of_each(folder / f"page-{n}.txt")
    assert watcher._polling == polling
    [warning] = warnings_in(caplog)
    assert str(folder) in warning
    assert "UTF-8" in warning


@on_linux
@both
def test_a_folder_whose_name_is_no_text_keeps_it_watching_without_a_busy_loop(
    folder: Path,
    ear: Ear,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    polling: bool,
) -> None:
    """Asked of the system each watch breaks off at once, because it opens the folder itself."""
    monkeypatch.setattr(watching, "_LAST_REST", 0.3)
    (folder / BAD).mkdir()
    watcher = Watcher(str(folder), ear)
    watcher._polling = polling
    watcher.start(lambda: False)
    assert ear.waits_for(lambda: watcher._polling)
    assert ear.hears_that_all_counts(folder)
    assert ear.waits_for(lambda: watcher._armed_at)
    assert ear.folders.count(str(folder)) < 8
    ear.forgets()
    (folder / "page.txt").touch()
    assert ear.hears(folder / "page.txt")
    ear.forgets()
    (folder / BAD / "page.txt").touch()
    assert ear.hears(folder / BAD / "page.txt")
    watcher.stop()
    assert ends(watcher)
    assert len([text for text in warnings_in(caplog) if "at intervals" in text]) == (not polling)


def test_looking_that_fails_each_time_is_tried_ever_more_rarely(
    folder: Path, ear: Ear, watch: Watch, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A link in a circle ends each look at a folder."""
    monkeypatch.setattr(watching, "_LONGEST_REST", 0.12)
    watch(folder, ear, polling=True)
    (folder / "circle").symlink_to(".", target_is_directory=True)
    assert ear.hears_that_all_counts(folder, times=5)
    times = ear.told_folders_at[-4:]
    assert times[-1] - times[0] > 3 * 0.12 - 0.03
    ear.forgets()
    (folder / "page.txt").touch()
    assert ear.hears(folder / "page.txt")
    assert len(warnings_in(caplog)) == 1


def test_a_large_folder_is_looked_through_less_often(
    folder: Path, ear: Ear, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "_PAUSE", 100)  # as if the first look had taken five times as long
    watcher = Watcher(str(folder), ear)
    watcher._polling = True
    watcher.start(lambda: False)
    assert ear.hears_that_all_counts(folder, times=2)
    assert watcher._interval > watching._SHORTEST_INTERVAL
    ear.forgets()
    (folder / "page.txt").touch()
    assert ear.hears(folder / "page.txt")
    watcher.stop()
    assert ends(watcher)


def test_watchfiles_does_not_log_each_batch(
    folder: Path, ear: Ear, watch: Watch, caplog: pytest.LogCaptureFixture
) -> None:
    """With a log file in the watched folder each line would be a change that makes a line."""
    caplog.set_level(logging.DEBUG)
    watch(folder, ear)
    (folder / "page.txt").touch()
    assert ear.hears(folder / "page.txt")
    assert ear.has_heard_all_about(folder)
    assert [record.name for record in caplog.records if record.name.startswith("watchfiles")] == []


# What is asked of it.


@on_linux
def test_a_folder_whose_name_watchfiles_cannot_take_is_refused(tmp_path: Path, ear: Ear) -> None:
    (tmp_path / BAD).mkdir()
    with pytest.raises(ConfigurationError, match="UTF-8: watch the folder above it"):
        Watcher(str(tmp_path / BAD), ear)


def test_a_watcher_is_used_once(folder: Path, ear: Ear, watch: Watch) -> None:
    watcher = watch(folder, ear)
    with pytest.raises(UsageError):
        watcher.start(lambda: False)
    never_started = watcher.another()
    never_started.stop()
    with pytest.raises(UsageError):
        never_started.start(lambda: False)


def test_it_covers_the_folder_and_what_is_in_it(tmp_path: Path, ear: Ear) -> None:
    def covered(folder: Path | str, *, recursive: bool) -> list[str]:
        watcher = Watcher(str(folder), ear, recursive=recursive)
        paths = ("", "a", "a/b", "a/b/c", "ab", "ab/c")
        return [path for path in paths if watcher.covers(str(tmp_path / path))]

    assert covered(tmp_path / "a", recursive=True) == ["a", "a/b", "a/b/c"]
    assert covered(tmp_path / "a", recursive=False) == ["a", "a/b"]
    assert Watcher("/", ear).covers("/a/b")
    assert not Watcher("/", ear, recursive=False).covers("/a/b")
    assert Watcher("/", ear, recursive=False).covers("/a")
