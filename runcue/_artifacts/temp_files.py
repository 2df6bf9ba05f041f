"""Temp files beside their targets: made, claimed while their writer lives, and removed when it has died.

What another program writes, which is told a path and no descriptor, lies in a temp folder, under its own name. That is
claimed like a temp file, by this process: the program may be dead or not.

A temp file is claimed by a flock. The kernel drops the claim when the process dies, in whatever way, so a temp file
that can be claimed is dead: there is no pid to be mistaken for another one and no age to guess. It is flock and not
lockf because a lock of the latter belongs to the process: one thread would take it from another.

A claim takes a descriptor, and there are not many of those. Beyond a number of them a temp file is claimed only while
it is written, and its name says so: of these a file is dead when it can be claimed and nothing was heard of it for a
day.

Must not know: what is written, or for whom.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import sys
import threading
import time
from collections import deque
from pathlib import Path
from typing import Final

from runcue._artifacts.descriptors import most_open_files, patiently
from runcue._artifacts.file_names import LONGEST_NAME

try:
    from fcntl import LOCK_EX, LOCK_NB, flock
except ImportError:  # Windows
    CLAIMS = False
else:
    CLAIMS = True


__all__ = [
    "CLAIMS",
    "CLAIMS_HELD",
    "OPEN_FLAGS",
    "PREFIX",
    "ClaimsHeld",
    "claim_file",
    "clear_dead",
    "clear_dead_once",
    "close_quietly",
    "create_claimed",
    "create_claimed_folder",
    "remove_folder_quietly",
    "remove_quietly",
    "take_over_claimed",
]

PREFIX: Final = ".runcue-"
"""What every file begins with that runcue keeps beside files of its users."""

_FOLDER: Final = "-outputs"
"""How the name of a temp folder ends."""

_UNHELD: Final = "day-"
"""What follows PREFIX in the name of a temp file that is claimed only while it is written."""

_TEMP: Final = re.compile(re.escape(PREFIX) + f"({_UNHELD})?[0-9a-f]{{12}}-")
"""Temp files and nothing else that begins with PREFIX: not the stamps, PREFIX + "stamp-...", and no file of a user."""

_UNCLAIMED_AGE = 24 * 3600.0
"""Where nothing is claimed, a temp file of which nothing was heard for so long is taken for dead."""

_MOST_HELD = 64
"""So many claims are held at once, or a quarter of the files that may be open if that is less."""

_TRIES: Final = 3

_MOST_FOLDERS = 10_000
"""How many cleared folders are remembered. A program that writes into new ones all the time must not grow by that."""

OPEN_FLAGS: Final = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)

_AS_IS: Final = OPEN_FLAGS | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


def clear_dead(folder: str | os.PathLike[str]) -> int:
    """Remove the temp files of processes that died, never those of the living: other processes', or this one's.

    A folder is cleared by itself before this process writes its first file there.

    Args:
        folder: Where to look; not in folders in it. One that is missing or cannot be listed has nothing to clear.

    Returns:
        How many files were removed.
    """
    try:
        # Quicker than os.scandir() by a third, and few of a user's files begin with a dot.
        entries = patiently(os.listdir, folder)
        names = [name for name in entries if name[0] == "." and _TEMP.match(name)]
    except OSError:
        return 0
    return sum(_clear(Path(folder, name)) for name in names)


def clear_dead_once(folder: str | os.PathLike[str]) -> None:
    """The same, unless this process has done it for this folder before."""
    if _cleared.is_first(str(folder)):
        clear_dead(folder)


def _clear(temp: Path) -> bool:
    descriptor = None
    claimed = None
    try:
        is_folder = temp.name.endswith(_FOLDER) and stat.S_ISDIR(temp.lstat().st_mode)
        if CLAIMS:
            # NFS gives an exclusive claim only to who may write; but a temp file has the bits of its target.
            access = os.O_RDWR if not is_folder and os.access(temp, os.W_OK) else os.O_RDONLY
            descriptor = os.open(temp, access | _AS_IS)
            claimed = claim_file(descriptor)
        status = temp.lstat()
        if claimed is None or (claimed and temp.name.startswith(PREFIX + _UNHELD)):
            claimed = time.time() - status.st_mtime > _UNCLAIMED_AGE
        if not claimed or not (is_folder or stat.S_ISREG(status.st_mode)):
            return False
        if is_folder:
            return remove_folder_quietly(temp)
        # Under the claim: once let go, a producer that was slow to claim it would do so, and lose it all the same. One
        # that was quick to rename it is safe too, since this goes by the name and no name is used twice.
        temp.unlink()
    except OSError:
        return False  # gone meanwhile, or another user's
    else:
        return True
    finally:
        if descriptor is not None:
            close_quietly(descriptor)


class _Cleared:
    """The folders that this process has cleared. A forked child begins anew, with a lock that nobody holds."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        self._lock = threading.Lock()
        self._folders: set[str] = set()

    def is_first(self, folder: str) -> bool:
        with self._lock:
            if folder in self._folders:
                return False
            if len(self._folders) >= _MOST_FOLDERS:
                self._folders.clear()
            self._folders.add(folder)
            return True


class ClaimsHeld:
    """How many claims of this process are held, so that they leave descriptors for others."""

    def __init__(self) -> None:
        # Whoever takes one takes an entry out: that is one step, whatever other threads do.
        self._room = deque(range(_MOST_HELD))

    def take(self) -> bool:
        """Whether one more may be held; then it counts from now on."""
        if _MOST_HELD - len(self._room) >= most_open_files() // 4:
            return False
        try:
            self._room.pop()
        except IndexError:
            return False
        return True

    def give_back(self) -> None:
        """One that was taken is held no more."""
        self._room.append(0)


_cleared = _Cleared()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_cleared.forget)


def claim_file(descriptor: int) -> bool | None:
    """Claims a file for as long as it is open: True, False if someone else holds it, None where there are no claims."""
    if not CLAIMS:
        return None
    try:
        flock(descriptor, LOCK_EX | LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None  # a network filesystem without locks
    return True


CLAIMS_HELD: Final = ClaimsHeld()
"""Those of this process."""


def create_claimed(path: Path, bits: int, *, held: bool) -> tuple[Path, int]:
    """Makes a temp file beside a target and claims it.

    Args:
        path: The target.
        bits: Its permission bits.
        held: Whether the claim will be held until the file is put in place; otherwise the name tells that it is not.

    Returns:
        The file with the descriptor that holds the claim.
    """
    while True:
        temp = _temp_name(path, held=held)
        try:
            descriptor = os.open(temp, os.O_RDWR | os.O_CREAT | os.O_EXCL | OPEN_FLAGS, bits)
        except FileExistsError:
            continue
        claimed = claim_file(descriptor)
        if claimed is None or (claimed and os.path.lexists(temp)):
            return temp, descriptor
        # Someone who clears the folder came between the two steps, and removes it or has removed it.
        close_quietly(descriptor)


def create_claimed_folder(folder: Path, *, held: bool) -> tuple[Path, int]:
    """Makes a temp folder in a folder and claims it; for the arguments and the answer see `create_claimed`."""
    while True:
        temp = _temp_name(folder / _FOLDER[1:], held=held)
        try:
            temp.mkdir()
        except FileExistsError:
            continue
        descriptor = os.open(temp, os.O_RDONLY | OPEN_FLAGS)
        claimed = claim_file(descriptor)
        if claimed is None or (claimed and os.path.lexists(temp)):
            return temp, descriptor
        close_quietly(descriptor)  # as above


def take_over_claimed(made: Path, path: Path, *, held: bool) -> tuple[Path, int]:
    """Claims what another program has made in a temp folder, and puts it beside its target.

    Args:
        made: What it has made.
        path: The target.
        held: As for `create_claimed`.

    Returns:
        As `create_claimed`.

    Raises:
        OSError: It is not there, or no plain file.
    """
    status = os.lstat(made)
    if stat.S_ISLNK(status.st_mode) or (stat.S_ISREG(status.st_mode) and status.st_nlink > 1):
        # Whoever dates or writes one of its names does so to all of them.
        raise OSError(
            errno.EMLINK, "what was made there is a link; it must be a file of its own: copy, do not link"
        )
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(
            errno.EISDIR, "what was made there is a folder; declare it with a slash at its end"
        )
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "what was made there is no regular file but a pipe, a socket or a device")
    descriptor = os.open(made, os.O_RDONLY | _AS_IS)
    try:
        claim_file(descriptor)  # before it has a name by which it could be taken for dead
        temp = _temp_name(path, held=held)
        os.rename(made, temp)
    except BaseException:
        close_quietly(descriptor)
        raise
    return temp, descriptor


def _temp_name(path: Path, *, held: bool) -> Path:
    """A name for a temp file beside a target."""
    beginning = f"{PREFIX}{'' if held else _UNHELD}{os.urandom(6).hex()}-"
    # Of a long name the end is kept: libraries tell a format by the suffix. The cut may split a character.
    ending = os.fsencode(path.name)[len(beginning) - LONGEST_NAME :]
    return path.with_name(beginning + ending.decode(sys.getfilesystemencoding(), "ignore"))


def remove_folder_quietly(temp: Path) -> bool:
    """Remove a temp folder with all that is in it. Returns whether it is gone."""
    with contextlib.suppress(OSError):
        temp.rmdir()  # nearly always what was in it was taken over
        return True
    from shutil import rmtree  # noqa: PLC0415 - rarely needed

    # What writes there may have been killed just now, and be on its last write.
    for _ in range(_TRIES):
        rmtree(temp, ignore_errors=True)
        if not os.path.lexists(temp):
            return True
    return False


def remove_quietly(temp: Path) -> None:
    with contextlib.suppress(OSError):  # what cannot be removed is left to the next clear_dead
        temp.unlink()


def close_quietly(descriptor: int) -> None:
    with contextlib.suppress(OSError):  # the last word of a network filesystem; it is closed all the same
        os.close(descriptor)
