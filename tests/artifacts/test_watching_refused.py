"""The watcher of folders where the system refuses something: its real limits, in processes of which they are.

A user namespace has limits of its own, so that no other process notices.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import pytest

from tests.support.ear import PATIENCE

pytest.importorskip(
    "watchfiles", reason="WATCHING IS NOT TESTED: watchfiles is not installed (extra `watch`)"
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="inotify is of Linux")


def unprivileged(tmp_path: Path, code: str) -> list[str]:
    """Runs code in a process that the system refuses something, and returns the lines that it prints.

    It finds `folder`, an empty one that is watched by `watcher` after `start()`, and `ear`, which hears it. `SKIP` and
    a reason as its output skip the test.
    """
    (tmp_path / "restricted").mkdir(mode=0o777)
    program = f"""
import ctypes, logging, os, sys, threading, time, types
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from pathlib import Path
from runcue._artifacts.watching import Watcher
from tests.support.ear import Ear
logs = []
logging.basicConfig(format="LOG %(message)s", stream=types.SimpleNamespace(write=logs.append, flush=lambda: None))
libc = ctypes.CDLL(None, use_errno=True)
ear = Ear()
folder = Path({str(tmp_path / "restricted")!r})
watcher = Watcher(str(folder), ear)

def start():
    watcher.start(lambda: False)

def inotify_descriptors():
    links = [Path("/proc/self/fd") / name for name in os.listdir("/proc/self/fd")]
    return sum("inotify" in os.readlink(link) for link in links if link.is_symlink())

def end():
    watcher.stop()
    watcher._thread.join({PATIENCE})
    deadline = time.monotonic() + {PATIENCE}
    while inotify_descriptors() and time.monotonic() < deadline:
        time.sleep(0.01)
    print("LEFT", inotify_descriptors(), threading.active_count())
    print(*logs, sep="", end="")

def skip(call):
    print("SKIP", call, os.strerror(ctypes.get_errno()))
    sys.exit()
{textwrap.dedent(code)}
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], timeout=2 * PATIENCE, capture_output=True, check=False, text=True
    )
    assert ended.returncode == 0, ended.stderr
    lines = ended.stdout.splitlines()
    for line in lines:
        if line.startswith("SKIP"):
            pytest.skip(f"A LIMIT OF INOTIFY IS NOT TESTED HERE: {line}")
    return lines


LIMITED = """
uid, gid = os.getuid(), os.getgid()
if libc.unshare(0x10000000):  # a user namespace has limits of its own: no other process notices
    skip("unshare")
try:
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
        Path("/proc/self", name).write_text(text)
    Path("/proc/sys/user/max_inotify_watches").write_text("3")
    Path("/proc/sys/user/max_inotify_instances").write_text("1")
except OSError as error:
    ctypes.set_errno(error.errno)
    skip("limits of a user namespace")
"""


def test_when_there_are_more_folders_than_the_system_will_watch_it_looks_itself(tmp_path: Path) -> None:
    lines = unprivileged(
        tmp_path,
        LIMITED
        + """
        for n in range(5):
            (folder / str(n)).mkdir()
        start()
        ear.waits_for(lambda: watcher._polling and watcher._armed_at)
        assert len(ear.folders) == 2, ear.folders  # when it was refused, which is not tried again, and when it looked
        ear.forgets()
        (folder / "4" / "page.txt").touch()
        print("HEARD", ear.hears(folder / "4" / "page.txt"))
        end()
        """.replace("\n        ", "\n"),
    )
    heard, left, log = lines
    assert (heard, left) == ("HEARD True", "LEFT 0 1")
    assert "watch limit reached" in log


def test_when_the_system_gives_no_more_instances_it_looks_itself(tmp_path: Path) -> None:
    lines = unprivileged(
        tmp_path,
        LIMITED
        + """
        taken = libc.inotify_init()
        start()
        ear.waits_for(lambda: watcher._polling and watcher._armed_at)
        ear.forgets()
        (folder / "page.txt").touch()
        print("HEARD", ear.hears(folder / "page.txt"))
        os.close(taken)
        end()
        """.replace("\n        ", "\n"),
    )
    heard, left, log = lines
    assert (heard, left) == ("HEARD True", "LEFT 0 1")
    assert "Too many open files" in log


def test_the_descriptors_of_many_watches_are_given_back(tmp_path: Path) -> None:
    lines = unprivileged(
        tmp_path,
        LIMITED
        + """
        for n in range(5):
            one = Watcher(str(folder), ear)
            one.start(lambda: False)
            ear.waits_for(lambda: ear.folders)
            ear.forgets()
            one.stop()
            one._thread.join()
            while inotify_descriptors():
                time.sleep(0.01)
            print("POLLED", one._polling)
        """.replace("\n        ", "\n"),
    )
    assert lines == ["POLLED False"] * 5


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="system calls have other numbers elsewhere")
def test_where_there_is_no_inotify_it_looks_itself_and_says_so(tmp_path: Path) -> None:
    lines = unprivileged(
        tmp_path,
        """
        import struct
        # A filter of system calls, in BPF: load the number; inotify_init and inotify_init1 give ENOSYS; allow all else.
        steps = [(0x20, 0, 0, 0), (0x15, 1, 0, 253), (0x15, 0, 1, 294)]
        steps += [(0x06, 0, 0, 0x00050000 | 38), (0x06, 0, 0, 0x7fff0000)]
        code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
        program = ctypes.create_string_buffer(struct.pack("HP", len(steps), ctypes.addressof(code)))
        if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, program, 0, 0):
            skip("seccomp")
        start()
        ear.waits_for(lambda: watcher._armed_at)
        ear.forgets()
        (folder / "page.txt").touch()
        print("HEARD", ear.hears(folder / "page.txt"))
        end()
        """,
    )
    heard, left, log = lines
    assert (heard, left) == ("HEARD True", "LEFT 0 1")
    assert "no inotify" in log


def test_a_folder_that_cannot_be_read_does_not_disturb_the_rest(request: pytest.FixtureRequest) -> None:
    # Not in tmp_path, which is for its owner alone.
    place = tempfile.TemporaryDirectory()
    request.addfinalizer(place.cleanup)
    Path(place.name).chmod(0o755)
    lines = unprivileged(
        Path(place.name),
        """
        (folder / "closed").mkdir(mode=0)
        folder.chmod(0o777)
        import platform  # watchfiles wants it, and may not be allowed to read it any more
        if os.getuid() == 0:
            os.setuid(65534)
        start()
        ear.waits_for(lambda: ear.folders)
        ear.forgets()
        (folder / "page.txt").touch()
        print("HEARD", ear.hears(folder / "page.txt"))
        end()
        """,
    )
    assert lines[:2] == ["HEARD True", "LEFT 0 1"]
    assert len(lines) <= 4  # it turns to looking, and that breaks off
