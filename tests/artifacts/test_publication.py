"""Publication of files: whole or not at all, together, and nothing left behind. Real files, one process."""

import array
import builtins
import errno
import os
import socket
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from runcue._artifacts import descriptors, staged_file, temp_files
from runcue._artifacts.file_names import LONGEST_NAME
from runcue._artifacts.publication import OutputTransaction, atomic_write
from runcue._artifacts.staged_file import StagedFile
from runcue._artifacts.temp_files import PREFIX, clear_dead
from runcue._model.errors import ConfigurationError, PublishError, RuncueError, UsageError

needs_claims = pytest.mark.skipif(not temp_files.CLAIMS, reason="no fcntl here: temp files cannot be claimed")
needs_posix = pytest.mark.skipif(os.name != "posix", reason="no POSIX files here")

DEAD = f"{PREFIX}0123456789ab-report.txt"


@pytest.fixture(autouse=True)
def each_test_is_a_new_process() -> None:
    """The folders of other tests are forgotten."""
    temp_files._cleared.forget()


@pytest.fixture
def umask_022() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def temps(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.startswith(PREFIX))


def staged(target: Path | str, text: str = "new", **options: Any) -> StagedFile:
    output = StagedFile(str(target), **options)
    with output as file:
        file.write(text)
    return output


# One file


def test_a_staged_file_appears_when_it_is_published_and_not_before(tmp_path: Path) -> None:
    target = tmp_path / "report.txt"
    target.write_text("old")
    output = staged(target)
    assert target.read_text() == "old"
    output.publish()
    assert target.read_text() == "new"
    assert temps(tmp_path) == []


def test_a_temp_file_stands_beside_its_target_and_tells_its_name(tmp_path: Path) -> None:
    with StagedFile(str(tmp_path / "report.txt")) as file:
        assert Path(file.name).parent == tmp_path
        assert temp_files._TEMP.match(Path(file.name).name)
        assert file.name.endswith("-report.txt")


def test_another_program_may_write_to_the_temp_file(tmp_path: Path) -> None:
    output = StagedFile(str(tmp_path / "report.txt"))
    with output as file:
        Path(file.name).write_text("by another program")
    output.publish()
    assert (tmp_path / "report.txt").read_text() == "by another program"


def test_an_exception_discards_what_was_written_and_gets_through(tmp_path: Path) -> None:
    output = StagedFile(str(tmp_path / "report.txt"))
    with pytest.raises(ZeroDivisionError), output as file:
        file.write("half" + str(1 / 0))
    assert list(tmp_path.iterdir()) == []
    assert file.closed
    output.publish()
    assert list(tmp_path.iterdir()) == []


def test_the_writers_exception_is_told_though_closing_fails_as_well(
    tmp_path: Path, no_room: Callable[[Any], None]
) -> None:
    output = StagedFile(str(tmp_path / "report.txt"))
    no_room(output.__enter__())
    assert not output.__exit__(KeyError, KeyError("mine"), None)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_full_when_the_file_is_closed_leaves_the_old_one(
    tmp_path: Path, no_room: Callable[[Any], None]
) -> None:
    (tmp_path / "report.txt").write_text("old")
    with (
        pytest.raises(PublishError, match="No space left") as caught,
        StagedFile(str(tmp_path / "report.txt")) as file,
    ):
        no_room(file)
    assert caught.value.errno == errno.ENOSPC
    assert (tmp_path / "report.txt").read_text() == "old"
    assert temps(tmp_path) == []


@pytest.fixture
def no_room() -> Callable[[Any], None]:
    """Makes a file fail when it writes what it has buffered, as on a full disk."""
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")

    def fill(file: Any) -> None:
        file.write("more")
        full = os.open("/dev/full", os.O_WRONLY)
        os.dup2(full, file.fileno(), inheritable=False)
        os.close(full)

    return fill


def test_a_program_that_is_started_meanwhile_does_not_keep_the_claim(tmp_path: Path) -> None:
    output = StagedFile(str(tmp_path / "report.txt"))
    with output as file:
        assert output._claim is not None
        assert not os.get_inheritable(output._claim)
        assert not os.get_inheritable(file.fileno())


def test_discarding_is_for_any_time_and_any_number_of_times(tmp_path: Path) -> None:
    StagedFile(str(tmp_path / "never entered")).discard()
    output = StagedFile(str(tmp_path / "open"))
    with output as file:
        output.discard()
        output.discard()
        file.write("to nowhere")
    output.discard()
    assert list(tmp_path.iterdir()) == []
    assert file.closed
    output = staged(tmp_path / "kept")
    output.publish()
    output.discard()
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_a_file_is_written_once(tmp_path: Path) -> None:
    output = staged(tmp_path / "report.txt")
    with pytest.raises(UsageError, match="call write\\(\\) anew"), output:
        pass
    output.publish()
    assert (tmp_path / "report.txt").read_text() == "new"


@pytest.mark.parametrize("mode", ["w", "wt", "tw", "w+", "wt+", "x", "xt", "x+"])
def test_text_modes_write_utf_8(tmp_path: Path, mode: str) -> None:
    output = staged(tmp_path / "report.txt", "süß\n", mode=mode)
    output.publish()
    assert (tmp_path / "report.txt").read_bytes() == f"süß{os.linesep}".encode()


@pytest.mark.parametrize("mode", ["wb", "bw", "wb+", "w+b", "xb", "xb+"])
def test_binary_modes_write_bytes(tmp_path: Path, mode: str) -> None:
    output = StagedFile(str(tmp_path / "report.bin"), mode)
    with output as file:
        file.write(b"\x00\xff\n")
    output.publish()
    assert (tmp_path / "report.bin").read_bytes() == b"\x00\xff\n"


def test_a_plus_lets_the_writer_read_what_it_wrote(tmp_path: Path) -> None:
    with StagedFile(str(tmp_path / "report.txt"), "w+") as file:
        file.write("abc")
        file.seek(0)
        assert file.read() == "abc"


def test_another_encoding_is_used(tmp_path: Path) -> None:
    staged(tmp_path / "report.txt", "süß", encoding="latin-1").publish()
    assert (tmp_path / "report.txt").read_bytes() == b"s\xfc\xdf"


@pytest.mark.parametrize(
    "mode", ["r", "rb", "r+", "a", "ab", "a+", "", "ww", "wx", "wbt", "U", "wz", None, 7]
)
def test_a_mode_that_writes_no_whole_file_is_refused_by_name(tmp_path: Path, mode: Any) -> None:
    with pytest.raises(ConfigurationError, match="'w', 'wt', 'wb', 'w\\+' or 'wb\\+'") as caught:
        StagedFile(str(tmp_path / "report.txt"), mode)
    assert repr(mode) in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("encoding", ["no-such", "hex", 7, "a\0b"])
def test_an_encoding_that_is_none_is_refused_before_anything_is_made(tmp_path: Path, encoding: Any) -> None:
    with pytest.raises(ConfigurationError, match="text encoding"):
        StagedFile(str(tmp_path / "report.txt"), "w", encoding)
    assert list(tmp_path.iterdir()) == []


def test_bytes_have_no_encoding(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="takes no encoding: 'utf-8'"):
        StagedFile(str(tmp_path / "report.txt"), "wb", "utf-8")


@pytest.mark.parametrize("target", ["", b"", "a\0b", "folder/", b"folder/", "\ud800", 7, None])
def test_what_names_no_file_is_refused(target: Any) -> None:
    with pytest.raises(ConfigurationError):
        StagedFile(target)


def test_x_refuses_what_exists_when_it_is_opened(tmp_path: Path) -> None:
    target = tmp_path / "report.txt"
    output = StagedFile(str(target), "x")
    target.write_text("old")
    with pytest.raises(PublishError, match="it exists, and mode 'x'") as caught, output:
        pass
    assert isinstance(caught.value.__cause__, FileExistsError)
    assert target.read_text() == "old"
    assert temps(tmp_path) == []


# What it replaces


@pytest.mark.parametrize("bits", [0o644, 0o600, 0o755, 0o664, 0o444])
@pytest.mark.usefixtures("umask_022")
@needs_posix
def test_the_permissions_of_what_is_replaced_are_kept(tmp_path: Path, bits: int) -> None:
    target = tmp_path / "report.txt"
    target.write_text("old")
    target.chmod(bits)
    staged(target).publish()
    assert target.read_text() == "new"
    assert stat.S_IMODE(target.stat().st_mode) == bits


@pytest.mark.usefixtures("umask_022")
@needs_posix
def test_what_is_secret_is_secret_from_the_first_instant(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(os, "fchmod", lambda *_: None)
    target = tmp_path / "secret.txt"
    target.write_text("old")
    target.chmod(0o600)
    with StagedFile(str(target)) as file:
        assert stat.S_IMODE(os.fstat(file.fileno()).st_mode) == 0o600


@pytest.mark.usefixtures("umask_022")
@needs_posix
def test_a_new_file_has_the_permissions_of_any_new_file(tmp_path: Path) -> None:
    staged(tmp_path / "report.txt").publish()
    assert stat.S_IMODE((tmp_path / "report.txt").stat().st_mode) == 0o644


@needs_posix
def test_a_program_that_runs_as_its_owner_does_not_come_to_run_as_another(tmp_path: Path) -> None:
    target = tmp_path / "tool"
    target.write_text("old")
    target.chmod(0o4755)
    staged(target).publish()
    assert stat.S_IMODE(target.stat().st_mode) == 0o755


@needs_posix
def test_permissions_that_cannot_be_kept_are_not_insisted_on(tmp_path: Path, monkeypatch: Any) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError(errno.EPERM, "no such bits here")

    (tmp_path / "report.txt").write_text("old")
    monkeypatch.setattr(os, "fchmod", refuse)
    staged(tmp_path / "report.txt").publish()
    assert (tmp_path / "report.txt").read_text() == "new"


@needs_posix
def test_a_symlink_stays_one_and_what_it_leads_to_is_replaced(tmp_path: Path) -> None:
    real = tmp_path / "real" / "report.txt"
    real.parent.mkdir()
    real.write_text("old")
    link = tmp_path / "link.txt"
    link.symlink_to("real/report.txt")
    publication = OutputTransaction()
    with publication.open(str(link)) as file:
        assert Path(file.name).parent == real.parent
        file.write("new")
    assert publication.publish() == [str(link)]
    assert link.is_symlink()
    assert real.read_text() == "new"
    assert not real.is_symlink()


@needs_posix
def test_a_symlink_to_what_is_not_there_yet_makes_it(tmp_path: Path) -> None:
    link = tmp_path / "link.txt"
    link.symlink_to("deep/report.txt")
    staged(link).publish()
    assert (tmp_path / "deep" / "report.txt").read_text() == "new"


@needs_posix
def test_symlinks_in_a_circle_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(PublishError, match="symbolic links"):
        staged(tmp_path / "a")
    assert temps(tmp_path) == []


def test_a_relative_path_means_the_folder_it_was_staged_in(tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    publication = OutputTransaction()
    output = publication.open("sub/report.txt")
    monkeypatch.chdir(tmp_path / "there")
    with output as file:
        file.write("new")
    assert publication.publish() == [str(tmp_path / "here" / "sub" / "report.txt")]
    assert (tmp_path / "here" / "sub" / "report.txt").read_text() == "new"
    assert list((tmp_path / "there").iterdir()) == []


@pytest.mark.parametrize(
    "name", ["n" * 255, "ü" * 127 + "x", "🎈" * 63 + ".md", "Übergrößen träger 日本語.txt", " ", "-"]
)
def test_any_name_that_a_file_can_have_is_published(tmp_path: Path, name: str) -> None:
    output = StagedFile(str(tmp_path / name))
    with output as file:
        temp = Path(file.name).name
        assert temp in os.listdir(tmp_path)  # noqa: PTH208 - the name itself, not a path
        assert len(os.fsencode(temp)) <= LONGEST_NAME
        file.write("new")
    output.publish()
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_temp_file_keeps_the_suffix_by_which_libraries_tell_a_format(tmp_path: Path) -> None:
    with StagedFile(str(tmp_path / ("n" * 250 + ".png"))) as file:
        assert file.name.endswith("nnn.png")


@needs_posix
def test_a_name_that_is_no_text_is_published(tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff\xfe report")
    try:
        (tmp_path / name).touch()
    except OSError:
        pytest.skip("this filesystem takes only text for names")
    staged(tmp_path / name).publish()
    assert (tmp_path / name).read_text() == "new"


def test_missing_folders_are_made(tmp_path: Path) -> None:
    staged(tmp_path / "a" / "b" / "report.txt").publish()
    assert (tmp_path / "a" / "b" / "report.txt").read_text() == "new"


# What is in the way


@pytest.mark.parametrize("below", ["report.txt", "sub/report.txt", "sub/sub/report.txt"])
def test_a_file_where_a_folder_must_be_is_named(tmp_path: Path, below: str) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(PublishError, match="is a file where a folder must be; move it away") as caught:
        staged(tmp_path / "out" / below)
    assert repr(str(tmp_path / "out")) in str(caught.value)
    assert repr(str(tmp_path / "out" / below)) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.errno == errno.ENOTDIR
    assert isinstance(caught.value, RuncueError)
    assert isinstance(caught.value, OSError)


def test_a_target_that_is_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(PublishError, match="out': it is a folder; name a file in it"):
        staged(tmp_path / "out")
    assert temps(tmp_path) == []


@needs_posix
def test_a_device_or_a_pipe_or_a_socket_is_not_replaced(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path must be short
    os.mkfifo("pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        for target in ("pipe", "socket", os.devnull):
            with pytest.raises(PublishError, match="no regular file"):
                staged(target)
    assert stat.S_ISCHR(Path(os.devnull).stat().st_mode)


@needs_posix
@pytest.mark.parametrize("target", ["report.txt", "sub/report.txt"])
def test_a_folder_one_may_not_write_in_is_named(target: str) -> None:
    with tempfile.TemporaryDirectory() as name:  # not tmp_path, which only its owner may enter
        folder = Path(name).resolve()
        folder.chmod(0o555)
        if os.geteuid() == 0:  # root may write anywhere
            os.seteuid(65534)
        try:
            with pytest.raises(PublishError, match="let this process write in the folder") as caught:
                staged(folder / target)
        finally:
            os.seteuid(os.getuid())
        assert repr(str(folder)) in str(caught.value)
        assert isinstance(caught.value.__cause__, PermissionError)


def test_a_name_too_long_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(PublishError):
        staged(tmp_path / ("n" * 256))
    assert list(tmp_path.iterdir()) == []


# All that one work has staged


def write(publication: OutputTransaction, target: Path, text: str = "new", **options: Any) -> None:
    with publication.open(str(target), **options) as file:
        file.write(text)


def test_all_is_published_together_in_the_order_of_staging(tmp_path: Path) -> None:
    publication = OutputTransaction()
    targets = [tmp_path / "b" / "two", tmp_path / "a" / "one", tmp_path / "three"]
    for target in targets:
        write(publication, target)
        assert not target.exists()
    assert publication.publish() == [str(target) for target in targets]
    assert [target.read_text() for target in targets] == ["new"] * 3
    assert publication.publish() == []


def test_all_is_on_the_disk_before_the_first_rename_and_each_folder_is_synced_once_after_the_last(
    tmp_path: Path, monkeypatch: Any
) -> None:
    steps: list[str] = []
    fsync, replace = os.fsync, os.replace

    def seen_fsync(descriptor: int) -> None:
        steps.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def seen_replace(*paths: Any) -> None:
        steps.append("rename")
        replace(*paths)

    monkeypatch.setattr(os, "fsync", seen_fsync)
    monkeypatch.setattr(os, "replace", seen_replace)
    (tmp_path / "other").mkdir()
    publication = OutputTransaction()
    for target in ("one", "two", "other/three"):
        write(publication, tmp_path / target)
    write(publication, tmp_path / "fast", durable=False)
    publication.publish()
    assert steps == ["file"] * 3 + ["rename"] * 4 + ["folder"] * (2 if os.name == "posix" else 0)


@needs_posix
def test_folders_that_were_made_are_synced_too(tmp_path: Path, monkeypatch: Any) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_ino))
    atomic_write(tmp_path / "a" / "b" / "report.txt", "new")
    assert {(tmp_path / name).stat().st_ino for name in ("", "a", "a/b")} < set(synced)


def test_what_needs_not_be_durable_waits_for_no_disk(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: pytest.fail("waited"))
    atomic_write(tmp_path / "report.txt", "new", durable=False)
    assert (tmp_path / "report.txt").read_text() == "new"


@needs_posix
@pytest.mark.parametrize(
    ("number", "fatal"), [(errno.EINVAL, False), (errno.ENOTSUP, False), (errno.EIO, True)]
)
def test_a_filesystem_that_cannot_sync_folders_is_as_good_but_a_failing_disk_is_not(
    tmp_path: Path, monkeypatch: Any, number: int, fatal: bool
) -> None:
    def refuse_folders(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse_folders)
    if fatal:
        with pytest.raises(PublishError, match="may not survive a power cut"):
            atomic_write(tmp_path / "report.txt", "new")
    else:
        atomic_write(tmp_path / "report.txt", "new")
    assert (tmp_path / "report.txt").read_text() == "new"


@needs_posix
def test_staged_twice_the_second_counts(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("report.txt")
    publication = OutputTransaction()
    write(publication, tmp_path / "report.txt", "first")
    write(publication, tmp_path / "other.txt", "other")
    write(publication, tmp_path / "link", "second")
    assert len(temps(tmp_path)) == 2
    assert publication.publish() == [str(tmp_path / "other.txt"), str(tmp_path / "link")]
    assert (tmp_path / "report.txt").read_text() == "second"


def test_what_failed_and_was_caught_is_not_published_and_the_rest_is(tmp_path: Path) -> None:
    publication = OutputTransaction()
    write(publication, tmp_path / "good")
    with pytest.raises(ZeroDivisionError), publication.open(str(tmp_path / "bad")) as file:
        file.write(str(1 / 0))
    with pytest.raises(PublishError), publication.open(str(tmp_path)):
        pass
    assert publication.publish() == [str(tmp_path / "good")]
    assert [path.name for path in tmp_path.iterdir()] == ["good"]


def test_a_file_still_open_is_an_error_and_nothing_is_published(tmp_path: Path) -> None:
    publication = OutputTransaction()
    write(publication, tmp_path / "good")
    with publication.open(str(tmp_path / "open")) as file:
        with pytest.raises(ConfigurationError, match=r"open' cannot be published: .* still open"):
            publication.publish()
        file.write("to nowhere")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["report.txt", "what was meant as its content " * 99])
def test_a_with_that_was_forgotten_is_an_error_that_says_what_to_write(tmp_path: Path, name: str) -> None:
    publication = OutputTransaction()
    publication.open(str(tmp_path / name))
    with pytest.raises(
        ConfigurationError, match=r"write `with work.write\('.*'\) as file: file.write"
    ) as raised:
        publication.publish()
    assert len(str(raised.value)) <= 600


def remove_a_temp_file(folder: Path) -> None:
    (folder / temps(folder)[0]).unlink()


def make_a_folder_of_the_target(folder: Path) -> None:
    (folder / "two").mkdir()


@pytest.mark.parametrize(
    ("mischief", "text"), [(remove_a_temp_file, "was removed"), (make_a_folder_of_the_target, "is a folder")]
)
def test_what_fails_before_the_first_rename_publishes_nothing(
    tmp_path: Path, mischief: Callable[[Path], None], text: str
) -> None:
    publication = OutputTransaction()
    write(publication, tmp_path / "one")
    write(publication, tmp_path / "two")
    mischief(tmp_path)
    with pytest.raises(PublishError, match=text):
        publication.publish()
    assert temps(tmp_path) == []
    assert not (tmp_path / "one").exists()
    assert not (tmp_path / "two").is_file()


def test_a_disk_that_fails_to_sync_publishes_nothing(tmp_path: Path, monkeypatch: Any) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    (tmp_path / "report.txt").write_text("old")
    with pytest.raises(PublishError, match="Input/output error"):
        atomic_write(tmp_path / "report.txt", "new")
    assert (tmp_path / "report.txt").read_text() == "old"
    assert temps(tmp_path) == []


def test_a_rename_that_fails_after_others_says_what_is_published(tmp_path: Path, monkeypatch: Any) -> None:
    replace = os.replace

    def fail_second(temp: Any, target: Any) -> None:
        if Path(target).name == "two":
            raise OSError(errno.EIO, "Input/output error")
        replace(temp, target)

    monkeypatch.setattr(os, "replace", fail_second)
    publication = OutputTransaction()
    for name in ("one", "two", "three"):
        write(publication, tmp_path / name)
    with pytest.raises(
        PublishError, match=r"two': Input/output error\. Published before that: .*one'"
    ) as caught:
        publication.publish()
    assert "three" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def test_after_a_discard_nothing_is_written_or_published_any_more(tmp_path: Path) -> None:
    publication = OutputTransaction()
    write(publication, tmp_path / "one")
    before = publication.open(str(tmp_path / "two"))
    publication.discard()
    publication.discard()
    with pytest.raises(UsageError, match="its work has ended"):
        publication.open(str(tmp_path / "three"))
    with pytest.raises(UsageError, match="discarded"), before:
        pass
    assert publication.publish() == []
    assert list(tmp_path.iterdir()) == []


def test_after_a_publication_nothing_is_staged_any_more(tmp_path: Path) -> None:
    publication = OutputTransaction()
    publication.publish()
    with pytest.raises(UsageError, match="its work has ended"):
        publication.open(str(tmp_path / "late"))


def test_a_thread_that_still_writes_is_not_waited_for(tmp_path: Path) -> None:
    publication = OutputTransaction()
    writing, discarded = threading.Event(), threading.Event()
    outcome: list[object] = []

    def abandoned() -> None:
        try:
            with publication.open(str(tmp_path / "report.txt"), "wb") as file:
                writing.set()
                discarded.wait(10)
                for _ in range(100):
                    file.write(bytes(10_000))
            outcome.append(publication.publish())
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=abandoned)
    thread.start()
    assert writing.wait(10)
    publication.discard()
    if os.name == "posix":
        assert list(tmp_path.iterdir()) == []
    discarded.set()
    thread.join(10)
    assert outcome == [[]]
    assert list(tmp_path.iterdir()) == []


def test_a_discard_while_a_file_is_being_opened_leaves_nothing(tmp_path: Path, monkeypatch: Any) -> None:
    files = OutputTransaction()
    create = staged_file.create_claimed

    def discarded_meanwhile(*args: Any, **options: Any) -> Any:
        made = create(*args, **options)
        files.discard()
        return made

    monkeypatch.setattr(staged_file, "create_claimed", discarded_meanwhile)
    with (
        pytest.raises(UsageError, match="while it was opened"),
        files.open(str(tmp_path / "report.txt")),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_discard_while_the_disk_is_waited_for_wins(tmp_path: Path, monkeypatch: Any) -> None:
    publication = OutputTransaction()
    monkeypatch.setattr(os, "fsync", lambda _: publication.discard())
    write(publication, tmp_path / "one")
    write(publication, tmp_path / "two")
    assert publication.publish() == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="no /proc here: open files cannot be counted")
def test_no_file_is_left_open_whatever_happened(tmp_path: Path, monkeypatch: Any) -> None:
    def open_files() -> set[str]:
        return {str(one.resolve()) for one in Path("/proc/self/fd").iterdir()}

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    before = open_files()
    atomic_write(tmp_path / "one", "new")
    staged(tmp_path / "two").discard()
    with pytest.raises(ZeroDivisionError), StagedFile(str(tmp_path / "three")) as file:
        file.write(str(1 / 0))
    monkeypatch.setattr(builtins, "open", fail)
    monkeypatch.setattr(descriptors, "_LONGEST", 0.0)
    with pytest.raises(PublishError, match="Too many open files"):
        staged(tmp_path / "four")
    assert open_files() == before
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


# In one call


@pytest.mark.parametrize(
    "written",
    [b"\x00\xff", bytearray(b"\x00\xff"), memoryview(b"\x00-\xff-")[::2], array.array("B", [0, 255])],
)
def test_bytes_in_any_form_are_written_as_they_are(tmp_path: Path, written: Any) -> None:
    atomic_write(tmp_path / "report.bin", written)
    assert (tmp_path / "report.bin").read_bytes() == b"\x00\xff"


def test_text_is_written_in_its_encoding(tmp_path: Path) -> None:
    atomic_write(str(tmp_path / "utf-8"), "süß")
    atomic_write(tmp_path / "latin-1", "süß", encoding="latin-1")
    assert (tmp_path / "utf-8").read_bytes() == "süß".encode()
    assert (tmp_path / "latin-1").read_bytes() == b"s\xfc\xdf"


@pytest.mark.parametrize("written", [None, 7, ["a"], {"a": 1}, object()])
def test_what_is_neither_text_nor_bytes_is_refused_by_its_type(tmp_path: Path, written: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"not {type(written).__name__}"):
        atomic_write(tmp_path / "report.txt", written)
    assert list(tmp_path.iterdir()) == []


@needs_posix
def test_a_disk_that_is_full_in_the_midst_of_it_leaves_the_old_file(tmp_path: Path) -> None:
    import resource

    (tmp_path / "report.txt").write_text("old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(PublishError, match=r"report.txt': File too large\.") as caught:
            atomic_write(tmp_path / "report.txt", bytes(1_000_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.errno == errno.EFBIG
    assert (tmp_path / "report.txt").read_text() == "old"
    assert temps(tmp_path) == []


def test_text_that_cannot_be_encoded_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "report.txt").write_text("old")
    with pytest.raises(ConfigurationError, match=r"'ascii' codec.* Give bytes, or another encoding"):
        atomic_write(tmp_path / "report.txt", "süß", encoding="ascii")
    assert (tmp_path / "report.txt").read_text() == "old"
    assert temps(tmp_path) == []


# The dead and the living


@needs_claims
def test_the_dead_are_cleared_and_nothing_else(tmp_path: Path) -> None:
    kept = [
        f"{PREFIX}stamp-0123456789ab-report.txt",
        f"{PREFIX}stamp-report.txt",
        f"{PREFIX}limits.sqlite",
        f"{PREFIX}0123456789ag-notes",
        "report.txt",
        ".hidden",
    ]
    dead = [DEAD, f"{PREFIX}ba9876543210-stamp-report.txt", f"{PREFIX}000000000000-{PREFIX}stamp-x"]
    for name in kept + dead:
        (tmp_path / name).write_text("half")
    (tmp_path / dead[1]).chmod(0o444)
    (tmp_path / f"{PREFIX}00000000000f-a folder").mkdir()
    assert clear_dead(tmp_path) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [*kept, f"{PREFIX}00000000000f-a folder"]
    )
    assert clear_dead(str(tmp_path)) == 0


@needs_claims
def test_what_only_looks_like_a_temp_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / DEAD)
    (tmp_path / f"{PREFIX}00000000000f-link").symlink_to("report.txt")
    (tmp_path / "report.txt").write_text("mine")
    assert clear_dead(tmp_path) == 0
    assert (tmp_path / "report.txt").read_text() == "mine"


def test_a_folder_that_is_missing_has_no_dead(tmp_path: Path) -> None:
    assert clear_dead(tmp_path / "missing") == 0


@needs_claims
def test_what_this_process_writes_or_has_staged_is_alive(tmp_path: Path) -> None:
    kept = staged(tmp_path / "staged")
    with StagedFile(str(tmp_path / "open")) as file:
        assert clear_dead(tmp_path) == 0
        file.write("new")
    assert len(temps(tmp_path)) == 2
    kept.publish()
    assert (tmp_path / "staged").read_text() == "new"


@needs_claims
def test_what_another_thread_writes_is_alive(tmp_path: Path) -> None:
    cleared: list[int] = []
    with StagedFile(str(tmp_path / "open")):
        thread = threading.Thread(target=lambda: cleared.append(clear_dead(tmp_path)))
        thread.start()
        thread.join(10)
        assert len(temps(tmp_path)) == 1
    assert cleared == [0]


@needs_claims
def test_the_first_file_in_a_folder_clears_it_and_later_ones_do_not(tmp_path: Path) -> None:
    (tmp_path / DEAD).touch()
    atomic_write(tmp_path / "one", "new", durable=False)
    assert temps(tmp_path) == []
    (tmp_path / DEAD).touch()
    atomic_write(tmp_path / "two", "new", durable=False)
    assert temps(tmp_path) == [DEAD]
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / DEAD).touch()
    atomic_write(tmp_path / "sub" / "three", "new", durable=False)
    assert temps(tmp_path / "sub") == []


@needs_claims
def test_no_more_than_so_many_cleared_folders_are_remembered(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(temp_files, "_MOST_FOLDERS", 3)
    for name in "abcdefgh":
        atomic_write(tmp_path / name / "report.txt", "new", durable=False)
        assert len(temp_files._cleared._folders) <= 3


def test_a_temp_file_never_takes_the_name_of_another(tmp_path: Path, monkeypatch: Any) -> None:
    tokens = iter(["0" * 12, "0" * 12, "1" * 12])
    monkeypatch.setattr(temp_files.os, "urandom", lambda _: bytes.fromhex(next(tokens)))
    one, two = staged(tmp_path / "report.txt", "one"), staged(tmp_path / "report.txt", "two")
    one.publish()
    assert (tmp_path / "report.txt").read_text() == "one"
    two.publish()
    assert (tmp_path / "report.txt").read_text() == "two"


@needs_claims
def test_a_cleaner_that_comes_between_making_and_claiming_costs_only_a_name(
    tmp_path: Path, monkeypatch: Any
) -> None:
    claim = temp_files.claim_file
    seen: list[str] = []

    def cleaned_before(descriptor: int) -> bool | None:
        if len(seen) < 3:
            (name,) = temps(tmp_path)
            seen.append(name)
            (tmp_path / name).unlink()
        return claim(descriptor)

    monkeypatch.setattr(temp_files, "claim_file", cleaned_before)
    staged(tmp_path / "report.txt").publish()
    assert len(set(seen)) == 3
    assert (tmp_path / "report.txt").read_text() == "new"
    assert temps(tmp_path) == []


@needs_claims
def test_a_cleaner_that_holds_the_claim_just_now_costs_only_a_name(tmp_path: Path, monkeypatch: Any) -> None:
    claim = temp_files.claim_file
    seen: list[str] = []

    def held(descriptor: int) -> bool | None:
        if not seen:
            seen.extend(temps(tmp_path))
            other = os.open(tmp_path / seen[0], os.O_RDWR)
            assert claim(other)
            try:
                assert claim(descriptor) is False
                (tmp_path / seen[0]).unlink()
            finally:
                os.close(other)
            return False
        return claim(descriptor)

    monkeypatch.setattr(temp_files, "claim_file", held)
    staged(tmp_path / "report.txt").publish()
    assert (tmp_path / "report.txt").read_text() == "new"
    assert temps(tmp_path) == []


@needs_claims
def test_two_threads_that_publish_and_one_that_clears_do_not_disturb_each_other(tmp_path: Path) -> None:
    failures: list[BaseException] = []
    ended = threading.Event()

    def publish(letter: str) -> None:
        try:
            for _ in range(100):
                atomic_write(tmp_path / "shared.txt", letter * 5000, durable=False)
                text = (tmp_path / "shared.txt").read_text()
                assert text in {"a" * 5000, "b" * 5000}
        except BaseException as error:
            failures.append(error)

    def clear() -> None:
        while not ended.is_set():
            clear_dead(tmp_path)

    cleaner = threading.Thread(target=clear)
    writers = [threading.Thread(target=publish, args=letter) for letter in "ab"]
    for thread in (cleaner, *writers):
        thread.start()
    for thread in writers:
        thread.join(20)
    ended.set()
    cleaner.join(20)
    assert failures == []
    assert [path.name for path in tmp_path.iterdir()] == ["shared.txt"]


@pytest.fixture(params=["no fcntl", "no locks on this filesystem"])
def without_claims(request: pytest.FixtureRequest, monkeypatch: Any) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    if request.param == "no fcntl":
        monkeypatch.setattr(temp_files, "CLAIMS", False)
    elif temp_files.CLAIMS:
        monkeypatch.setattr(temp_files, "flock", refuse)
    else:
        pytest.skip("no fcntl here at all")


@pytest.mark.usefixtures("without_claims")
def test_without_claims_it_publishes_all_the_same(tmp_path: Path) -> None:
    publication = OutputTransaction()
    write(publication, tmp_path / "one")
    write(publication, tmp_path / "two")
    assert len(publication.publish()) == 2
    staged(tmp_path / "three").discard()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]


@pytest.mark.usefixtures("without_claims")
def test_without_claims_only_what_is_older_than_a_day_is_dead(tmp_path: Path) -> None:
    young, old = tmp_path / DEAD, tmp_path / f"{PREFIX}ba9876543210-report.txt"
    day = 24 * 3600
    for path, age in ((young, day - 60), (old, day + 60)):
        path.touch()
        os.utime(path, (time.time() - age,) * 2)
    assert clear_dead(tmp_path) == 1
    assert temps(tmp_path) == [DEAD]
