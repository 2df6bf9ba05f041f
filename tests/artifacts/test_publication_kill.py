"""Publication of files by processes that are killed with SIGKILL, at any instant: no clean-up code of theirs runs."""

import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from runcue._artifacts import temp_files
from runcue._artifacts.staged_file import StagedFile
from runcue._artifacts.temp_files import PREFIX, clear_dead

pytestmark = pytest.mark.skipif(
    not temp_files.CLAIMS,
    reason="no fcntl here: temp files cannot be claimed, and nothing is killed like this",
)

HOLDS = """
import sys
from runcue._artifacts.staged_file import StagedFile
with StagedFile(sys.argv[1], durable=False) as file:
    file.write("half")
    file.flush()
    print(file.name, flush=True)
    sys.stdin.readline()
"""

FORKS = """
import os, sys
from runcue._artifacts.publication import atomic_write
target, dead = sys.argv[1:]
atomic_write(target, "by the parent")
open(dead, "w").close()
if os.fork() == 0:
    atomic_write(target, "by the child")
    os._exit(0)
os.wait()
"""

# Children are forked from one process, since what takes time is to start an interpreter. Version n is n MiB and n bytes
# of one byte, so that no piece of one version can be taken for another. The pauses make writing take about as long as
# renaming does (ext4 then waits for the disk), or hardly a kill would hit it.
REPUBLISHES = """
import os, signal, sys, time
from runcue._artifacts.publication import OutputTransaction
target = sys.argv[1]
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        print("started", flush=True)
        for number in range(10**6):
            size = number % 3 + 1
            publication = OutputTransaction()
            with publication.open(target, "wb", durable=number % 4 == 0) as file:
                for _ in range(size):
                    file.write(bytes([size]) * 2**20)
                    time.sleep(0.002)
                file.write(bytes([size]) * size)
            publication.publish()
    sys.stdin.readline()
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    print("dead" if status == signal.SIGKILL else f"failed: {status}", flush=True)
"""


def child(program: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def tell(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A process that is in the midst of writing a file, and its temp file."""
    with child(HOLDS, tmp_path / "report.txt") as process:
        yield process, Path(line_of(process))
        process.kill()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_a_living_process_writes_is_left_alone_until_it_is_killed(
    tmp_path: Path, holder: tuple[subprocess.Popen[str], Path]
) -> None:
    process, temp = holder
    stamp = tmp_path / f"{PREFIX}stamp-report.txt"
    stamp.touch()
    assert temp.parent == tmp_path
    assert temp.read_text() == "half"
    assert clear_dead(tmp_path) == 0
    assert temp.exists()
    with StagedFile(str(tmp_path / "mine.txt")) as file:
        mine = Path(file.name)
        process.send_signal(signal.SIGKILL)
        assert process.wait(10) == -signal.SIGKILL
        assert temp.exists()
        assert clear_dead(tmp_path) == 1
        assert names(tmp_path) == sorted([mine.name, stamp.name])
    assert not (tmp_path / "report.txt").exists()


def test_a_living_process_publishes_after_others_have_cleared_its_folder(
    tmp_path: Path, holder: tuple[subprocess.Popen[str], Path]
) -> None:
    process, temp = holder
    assert clear_dead(tmp_path) == 0
    tell(process)
    assert process.wait(10) == 0
    assert temp.exists()  # staged, and never published
    assert clear_dead(tmp_path) == 1
    assert names(tmp_path) == []


def test_a_forked_child_clears_for_itself(tmp_path: Path) -> None:
    dead = tmp_path / f"{PREFIX}0123456789ab-report.txt"
    with child(FORKS, tmp_path / "report.txt", dead) as process:
        assert process.wait(20) == 0
    assert (tmp_path / "report.txt").read_text() == "by the child"
    assert names(tmp_path) == ["report.txt"]


def test_killed_at_any_instant_it_leaves_one_whole_version_and_at_most_one_temp_file(tmp_path: Path) -> None:
    target = tmp_path / "report.bin"
    chance = random.Random(20240607)
    left_behind = 0
    left: list[str] = []
    versions = set()
    with child(REPUBLISHES, target) as process:
        for _ in range(25):
            tell(process)
            assert line_of(process) == "started"
            time.sleep(chance.uniform(0.0, 0.05))  # real time is what this is about
            tell(process)
            assert line_of(process) == "dead"
            if target.exists():
                whole = target.read_bytes()
                size = whole[0]
                assert whole == bytes([size]) * (size * 2**20 + size)
                versions.add(size)
            left = [name for name in names(tmp_path) if name != target.name]
            assert len(left) <= 1  # what the one before left, this one has cleared
            left_behind += len(left)
    assert clear_dead(tmp_path) == len(left)
    assert names(tmp_path) == [target.name]
    assert versions
    assert left_behind  # or no kill has ever hit the writing, and this has shown nothing
