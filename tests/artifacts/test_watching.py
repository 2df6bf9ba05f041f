"""The watcher of folders, against real files and the processes that make them, in both of its ways of noticing."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from runcue._artifacts import watching
from runcue._artifacts.watching import Watcher
from runcue._model.errors import ConfigurationError, UsageError

needs_watchfiles = pytest.mark.skipif(
    find_spec("watchfiles") is None,
    reason="HALF OF THE WATCHER IS NOT TESTED: watchfiles is not installed (extra `watch`)",
)
both = pytest.mark.parametrize(
    "polling", [pytest.param(False, marks=needs_watchfiles, id="told"), pytest.param(True, id="polled")]
)

PATIENCE = 20.0


class Ear:
    """Collects what a watcher tells, and can be waited upon."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self._news = threading.Condition()

    def __call__(self, path: str) -> None:
        with self._news:
            self.paths.append(path)
            self._news.notify_all()

    def hears(self, *paths: Path | str) -> bool:
        """Waits until all paths were told."""
        wanted = {str(path) for path in paths}
        with self._news:
            heard = self._news.wait_for(lambda: wanted <= set(self.paths), PATIENCE)
        assert heard, f"never told: {sorted(wanted - set(self.paths))}"
        return True

    def forgets(self) -> None:
        with self._news:
            self.paths.clear()

    def has_heard_all_about(self, folder: Path) -> bool:
        """Waits for two files made one after the other: once the second is told, all of the first's batch was."""
        for name in ("marker-1", "marker-2"):
            (folder / name).touch()
            self.hears(folder / name)
        return True


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
    """Starts watchers and stops them in the end."""
    watchers = []

    def starts(folder: Path | str, changed: Callable[[str], None], **options: Any) -> Watcher:
        watchers.append(Watcher(str(folder), changed, **options))
        watchers[-1].start()
        return watchers[-1]

    yield starts
    for watcher in watchers:
        watcher.stop()


def child(code: str, *arguments: Path) -> None:
    """Runs some code in another process."""
    subprocess.run(
        [sys.executable, "-S", "-E", "-c", "import os, sys\na = sys.argv\n" + code, *map(str, arguments)],
        check=True,
        timeout=PATIENCE,
    )


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@both
def test_a_file_that_another_process_creates_is_told_with_its_folder(
    folder: Path, ear: Ear, watch: Watch, polling: bool
) -> None:
    assert watch(folder, ear, force_polling=polling).polling == polling
    child("open(a[1], 'w').close()", folder / "page.txt")
    assert ear.hears(folder / "page.txt", folder)


@both
def test_a_change_of_a_file_is_told_however_soon_it_follows_the_last_one(
    folder: Path, ear: Ear, watch: Watch, polling: bool
) -> None:
    file = folder / "page.txt"
    file.write_text("0")
    watch(folder, ear, force_polling=polling)
    for n in range(1, 10):  # one size, one inode, and often one mtime
        ear.forgets()
        file.write_text(str(n))
        assert ear.hears(file)


def test_two_changes_in_one_tick_of_the_file_system_are_two(folder: Path, ear: Ear, watch: Watch) -> None:
    tick = time.time() + 0.3  # a long one: the stamps are of now until it is over
    watch(folder, ear, force_polling=True)
    for n in range(2):
        ear.forgets()
        (folder / "page.txt").write_text(str(n))
        os.utime(folder / "page.txt", (tick, tick))
        assert ear.hears(folder / "page.txt")


@both
def test_a_rename_onto_a_file_is_told_and_files_of_runcue_itself_are_not(
    folder: Path, ear: Ear, watch: Watch, polling: bool
) -> None:
    file = folder / "page.txt"
    file.write_text("old")
    (folder / "sub").mkdir()
    watch(folder, ear, force_polling=polling)
    child("open(a[1], 'w').write('new'); os.replace(a[1], a[2])", folder / ".runcue-1", file)
    child("open(a[1], 'w').write('new')", folder / "sub" / ".runcue-2")
    assert ear.hears(file)
    assert ear.has_heard_all_about(folder)
    assert not any(".runcue-" in path for path in ear.paths)
    assert str(folder / "sub") not in ear.paths


@both
def test_a_deletion_is_told_with_its_folder(folder: Path, ear: Ear, watch: Watch, polling: bool) -> None:
    (folder / "page.txt").touch()
    watch(folder, ear, force_polling=polling)
    child("os.unlink(a[1])", folder / "page.txt")
    assert ear.hears(folder / "page.txt", folder)


@both
def test_folders_in_it_are_watched_however_new_they_are(
    folder: Path, ear: Ear, watch: Watch, polling: bool
) -> None:
    watch(folder, ear, force_polling=polling)
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


@both
def test_a_folder_that_is_moved_takes_its_files_along(
    folder: Path, ear: Ear, watch: Watch, tmp_path: Path, polling: bool
) -> None:
    inside = folder / "sub" / "deep" / "page.txt"
    inside.parent.mkdir(parents=True)
    inside.touch()
    watch(folder, ear, force_polling=polling)
    (folder / "sub").rename(tmp_path / "elsewhere")
    assert ear.hears(inside, inside.parent, folder / "sub", folder)
    ear.forgets()
    (tmp_path / "elsewhere").rename(folder / "sub")
    assert ear.hears(inside, inside.parent, folder / "sub", folder)
    ear.forgets()
    inside.write_text("new")
    assert ear.hears(inside)


@both
def test_a_file_may_take_the_place_of_a_folder(folder: Path, ear: Ear, watch: Watch, polling: bool) -> None:
    inside = folder / "sub" / "page.txt"
    inside.parent.mkdir()
    inside.touch()
    watch(folder, ear, force_polling=polling)
    inside.unlink()
    inside.parent.rmdir()
    inside.parent.touch()
    assert ear.hears(inside, inside.parent)


@both
def test_without_recursive_only_what_is_directly_in_the_folder_is_told(
    folder: Path, ear: Ear, watch: Watch, polling: bool
) -> None:
    (folder / "sub").mkdir()
    watch(folder, ear, force_polling=polling, recursive=False)
    (folder / "sub" / "page.txt").touch()
    (folder / "new").mkdir()
    (folder / "new" / "page.txt").touch()
    assert ear.hears(folder / "new")
    assert ear.has_heard_all_about(folder)
    assert not any(path.endswith("page.txt") for path in ear.paths)


@both
def test_paths_are_spelled_as_the_folder_was(
    folder: Path, ear: Ear, watch: Watch, tmp_path: Path, polling: bool
) -> None:
    (tmp_path / "link").symlink_to(folder, target_is_directory=True)
    spelled = f"{tmp_path}/watched/../link/"
    assert watch(spelled, ear, force_polling=polling).folder == str(tmp_path / "link")
    child("os.mkdir(a[1] + '/sub'); open(a[1] + '/sub/page.txt', 'w').close()", folder)
    assert ear.hears(*(tmp_path / "link" / name for name in ("", "sub", "sub/page.txt")))
    assert not any(path.startswith(str(folder)) for path in ear.paths)


@both
def test_what_changes_once_start_has_returned_is_never_missed(
    tmp_path: Path, watch: Watch, polling: bool
) -> None:
    """Files are made all the time; each made after start() returned must be told, in many starts."""
    started = threading.Event()
    made: list[Path] = []

    def makes(folder: Path) -> None:
        left = 20
        for n in count():
            file = folder / str(n)
            file.touch()
            made.append(file)
            left -= started.is_set()
            if left == 0:
                return

    for n in range(20):
        folder = tmp_path / str(n)
        (folder / "sub").mkdir(parents=True)
        ear = Ear()
        made.clear()
        started.clear()
        producer = threading.Thread(target=makes, args=(folder / "sub",))
        producer.start()
        watcher = watch(folder, ear, force_polling=polling)
        first = len(made) + 1  # the one that is being made may be either
        mine = folder / "mine"
        mine.touch()
        started.set()
        producer.join()
        assert ear.hears(mine, *made[first:])
        watcher.stop()


@both
def test_stop_returns_at_once_and_nothing_is_told_after_it(folder: Path, watch: Watch, polling: bool) -> None:
    stopped = threading.Event()
    late: list[str] = []
    busy = threading.Event()

    def hears(path: str) -> None:
        if stopped.is_set():
            late.append(path)
        busy.set()

    watcher = watch(folder, hears, force_polling=polling)
    ended = threading.Event()

    def makes() -> None:
        n = 0
        while not ended.is_set():
            n += 1
            (folder / str(n % 500)).write_text(str(n))

    producer = threading.Thread(target=makes)
    producer.start()
    assert busy.wait(PATIENCE)
    began = time.monotonic()
    watcher.stop()
    stopped.set()
    assert time.monotonic() - began < 0.2 + 0.3  # what the machine may add
    watcher.stop()
    thread = watcher._thread
    assert thread is not None
    thread.join(PATIENCE)
    ended.set()
    producer.join()
    assert not thread.is_alive()
    assert late == []


@both
def test_a_callback_may_stop_the_watcher(folder: Path, watch: Watch, polling: bool) -> None:
    calls: list[str] = []

    def stops(path: str) -> None:
        calls.append(path)
        watcher.stop()

    watcher = watch(folder, stops, force_polling=polling)
    for n in range(10):
        (folder / str(n)).touch()
    assert watcher._thread is not None
    watcher._thread.join(PATIENCE)
    assert len(calls) == 1


def test_a_callback_that_hangs_does_not_hang_stop(folder: Path, watch: Watch) -> None:
    entered, released = threading.Event(), threading.Event()

    def hangs(path: str) -> None:
        entered.set()
        released.wait(PATIENCE)

    watcher = watch(folder, hangs, force_polling=True)
    (folder / "page.txt").touch()
    assert entered.wait(PATIENCE)
    began = time.monotonic()
    watcher.stop()
    assert time.monotonic() - began < PATIENCE / 4
    released.set()


@both
def test_a_callback_that_raises_is_logged_once_and_heard_out(
    folder: Path, ear: Ear, watch: Watch, caplog: pytest.LogCaptureFixture, polling: bool
) -> None:
    def raises(path: str) -> None:
        ear(path)
        raise SystemExit("no")

    watch(folder, raises, force_polling=polling)
    for n in range(3):
        (folder / str(n)).touch()
        assert ear.hears(folder / str(n))
    assert ear.has_heard_all_about(folder)
    [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.exc_info is not None
    assert str(folder) in record.getMessage()


@both
def test_a_folder_that_is_deleted_is_waited_for(
    folder: Path,
    ear: Ear,
    watch: Watch,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    polling: bool,
) -> None:
    monkeypatch.setattr(watching, "_CHECK_INTERVAL", 1e6)  # the event alone must do
    missing, long_missing = count(), threading.Event()
    look = watching._Tree.look

    def looks(tree: watching._Tree, place: str, *, deep: bool = False) -> list[str]:
        if not folder.exists() and next(missing) == 3:
            long_missing.set()
        return look(tree, place, deep=deep)

    monkeypatch.setattr(watching._Tree, "look", looks)
    inside = folder / "sub" / "page.txt"
    inside.parent.mkdir()
    inside.touch()
    watcher = watch(folder, ear, force_polling=polling)
    child("import shutil; shutil.rmtree(a[1])", folder)
    assert ear.hears(inside, inside.parent, folder)
    assert long_missing.wait(PATIENCE)
    ear.forgets()
    inside.parent.mkdir(parents=True)
    inside.touch()
    assert ear.hears(inside, inside.parent, folder)
    assert watcher.polling
    [warning] = warnings_in(caplog)
    assert str(folder) in warning


@both
def test_a_link_to_the_folder_may_be_turned_elsewhere(
    folder: Path, ear: Ear, watch: Watch, tmp_path: Path, polling: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "_CHECK_INTERVAL", 0.02)
    link = tmp_path / "current"
    link.symlink_to(folder, target_is_directory=True)
    (tmp_path / "next").mkdir()
    (tmp_path / "next" / "page.txt").touch()
    watch(link, ear, force_polling=polling)
    (tmp_path / "new").symlink_to(tmp_path / "next", target_is_directory=True)
    (tmp_path / "new").replace(link)
    assert ear.hears(link / "page.txt")


@needs_watchfiles
def test_a_folder_above_may_be_moved(
    ear: Ear, watch: Watch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(watching, "_CHECK_INTERVAL", 0.02)
    folder = tmp_path / "above" / "watched"
    folder.mkdir(parents=True)
    (folder / "page.txt").touch()
    watch(folder, ear)
    (tmp_path / "above").rename(tmp_path / "elsewhere")
    assert ear.hears(folder / "page.txt", folder)
    assert len(warnings_in(caplog)) == 1


@needs_watchfiles
@pytest.mark.parametrize(
    "error", [OSError("OS file watch limit reached."), RuntimeError("Too many open files")]
)
def test_when_the_system_cannot_tell_it_is_polled_with_a_warning(
    folder: Path,
    ear: Ear,
    watch: Watch,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
) -> None:
    def fails(*_: object, **__: object) -> Iterator[Any]:
        raise error
        yield  # type: ignore[unreachable]

    monkeypatch.setattr("watchfiles.watch", fails)
    (folder / "old.txt").touch()
    os.utime(folder / "old.txt", (1, 1))  # what changed just now may be told once more
    assert watch(folder, ear).polling
    (folder / "page.txt").touch()
    assert ear.hears(folder / "page.txt")
    assert str(folder / "old.txt") not in ear.paths
    [warning] = warnings_in(caplog)
    assert str(folder) in warning
    assert str(error) in warning


@needs_watchfiles
def test_when_the_system_stops_telling_every_file_is_told_once(
    folder: Path,
    ear: Ear,
    watch: Watch,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    broken = threading.Event()

    def breaks(*_: object, stop_event: Any, **__: object) -> Iterator[Any]:
        assert not stop_event.is_set()
        broken.wait(PATIENCE)
        raise RuntimeError("error in underlying watcher")
        yield  # type: ignore[unreachable]

    monkeypatch.setattr("watchfiles.watch", breaks)
    (folder / "old.txt").touch()
    watcher = watch(folder, ear)
    assert not watcher.polling
    (folder / "missed.txt").touch()
    broken.set()
    assert ear.hears(folder / "old.txt", folder / "missed.txt", folder)
    assert len(warnings_in(caplog)) == 1
    assert watcher.polling


@needs_watchfiles
def test_what_came_into_a_new_folder_before_it_was_watched_is_found_later(
    folder: Path, ear: Ear, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in for watchfiles that is late: it never tells of the second file."""
    from watchfiles import Change

    monkeypatch.setattr(watching, "_SECOND_LOOK", 0.05)

    def late(*_: object, stop_event: Any, **__: object) -> Iterator[Any]:
        assert not stop_event.is_set()
        (folder / "new").mkdir()
        (folder / "new" / "first").touch()
        yield {(Change.added, str(folder / "new"))}
        (folder / "new" / "second").touch()
        while not stop_event.is_set():
            time.sleep(0.005)

    monkeypatch.setattr("watchfiles.watch", late)
    watch(folder, ear)
    assert ear.hears(folder / "new" / "first", folder / "new" / "second")


@needs_watchfiles
def test_what_the_system_does_not_tell_is_found_by_sweeps(
    folder: Path, ear: Ear, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in for watchfiles that tells nothing, as the real one does when the limit of watches is reached late."""
    monkeypatch.setattr(watching, "_SWEEP_INTERVAL", 0.02)

    def mute(*_: object, stop_event: Any, **__: object) -> Iterator[Any]:
        while not stop_event.is_set():
            time.sleep(0.005)
        yield from ()

    monkeypatch.setattr("watchfiles.watch", mute)
    (folder / "sub" / "deep").mkdir(parents=True)
    watcher = watch(folder, ear)
    (folder / "sub" / "deep" / "page.txt").touch()
    assert ear.hears(folder / "sub" / "deep" / "page.txt", folder / "sub" / "deep")
    assert not watcher.polling


@needs_watchfiles
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names are text")
def test_a_name_that_is_no_text_is_told_all_the_same(
    folder: Path, ear: Ear, watch: Watch, caplog: pytest.LogCaptureFixture
) -> None:
    watch(folder, ear)
    name = os.fsdecode(b"caf\xe9")
    (folder / name).touch()
    assert ear.hears(folder / name)
    (folder / "page.txt").touch()
    assert ear.hears(folder / "page.txt")
    assert len(warnings_in(caplog)) == 1


@needs_watchfiles
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


def test_without_watchfiles_it_looks_for_itself(
    folder: Path, ear: Ear, watch: Watch, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    assert watch(folder, ear).polling
    (folder / "page.txt").touch()
    assert ear.hears(folder / "page.txt")
    assert warnings_in(caplog) == []


def test_a_slow_look_is_told_once_with_the_remedy(
    folder: Path, ear: Ear, watch: Watch, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "runcue")
    monkeypatch.setattr(watching, "_SLOW_LOOK", 0.0)
    watch(folder, ear, force_polling=True)
    assert ear.has_heard_all_about(folder)
    [record] = caplog.records
    assert "runcue[watch]" in record.getMessage()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_cannot_be_read_does_not_disturb_the_rest(folder: Path, ear: Ear, watch: Watch) -> None:
    (folder / "closed").mkdir(mode=0o000)
    watch(folder, ear)
    (folder / "page.txt").touch()
    assert ear.hears(folder / "page.txt")


def test_only_a_folder_that_exists_can_be_watched(tmp_path: Path, ear: Ear) -> None:
    file = tmp_path / "file"
    file.touch()
    for path, why in ((file, "is a file"), (tmp_path / "nowhere", "does not exist")):
        with pytest.raises(ConfigurationError, match=why) as caught:
            Watcher(str(path), ear).start()
        assert str(path) in str(caught.value)


def test_a_watcher_is_used_once(folder: Path, ear: Ear, watch: Watch) -> None:
    watcher = watch(folder, ear, force_polling=True)
    with pytest.raises(UsageError):
        watcher.start()
    never_started = Watcher(str(folder), ear)
    never_started.stop()
    with pytest.raises(UsageError):
        never_started.start()


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


@both
def test_a_program_may_end_without_stopping_it(folder: Path, polling: bool) -> None:
    code = (
        "import sys; from runcue._artifacts.watching import Watcher\n"
        f"for _ in range(4): Watcher(sys.argv[1], print, force_polling={polling}).start()\n"
        "big = [[n] for n in range(200_000)]"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, folder], timeout=PATIENCE, capture_output=True, check=False, text=True
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
