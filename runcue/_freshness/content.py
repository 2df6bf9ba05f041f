"""The content of a file or a folder as one digest, and when a look at size and times may stand for it.

A look is `[size, mtime_ns, ctime_ns, inode]` of a file, `["folder", digest of all looks, the same without ctimes]` of a
folder, and null of what can only be known by its content. While a look stays the same nothing is read.

A file that is rewritten within one tick of the clock of its filesystem looks as before. So a look counts only if the
last change was a tick before the reading, a rule learned from git, which calls the others racily clean
(https://git-scm.com/docs/racy-git). What a work unit has just made would never count by that. It is therefore dated
anew, by a fraction of a tick (see `settle`): a clock that ticks can never give that date to a later change.

Lives here: looks and digests, and, per process, the digests known so far.

Must not know: stamps, policies, work units, event loops.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Collection, Iterator, Mapping
from hashlib import blake2b
from stat import S_IFMT, S_ISDIR, S_ISREG
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from runcue._artifacts.descriptors import patiently, with_descriptor
from runcue._artifacts.places import final
from runcue._artifacts.temp_files import PREFIX
from runcue._freshness.encoding import digest_of_text

__all__ = [
    "CHUNK",
    "OPEN_TO_READ",
    "Glance",
    "Look",
    "Reading",
    "differs_in_ctime",
    "glance_at",
    "known_digest",
    "looks_like",
    "read",
    "settle",
]


Look = list[Any]
"""What is seen of a file without reading it; a list because that is what JSON gives back."""
# The kernel's clock ticks every 10 ms at most (CONFIG_HZ=100).
_TICK_NS: Final = 20_000_000
# FAT counts in steps of two seconds; HFS+, ext3 and many a network share in whole ones.
_COARSE_TICK_NS: Final = 2_000_000_000
# A step that NTFS (100 ns) can store as well; the shortest tick in use is a thousand times longer.
_STEP_NS: Final = 1_000
_MOST_KNOWN: Final = 100_000
CHUNK: Final = 1 << 20
# Not to be caught in the open() of a pipe that has come in the place of a file.
OPEN_TO_READ: Final = (
    os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
)

# Digests by path, each with the look it belongs to; only of readings that are lasting. Without a lock: threads replace
# entries whole, and what two of them know of one look is the same.
_known: dict[str, tuple[Look, str]] = {}
_NOTHING: Final[Mapping[str, int]] = MappingProxyType({})


class Glance(NamedTuple):
    """What is seen of a file or a folder without reading it.

    Attributes:
        look: To compare with others.
        recent: Whether it was changed so lately that one more change could look the same.
        size: How many bytes there would be to read.
    """

    look: Look
    recent: bool
    size: int


class Reading(NamedTuple):
    """What a file or a folder was found to be.

    Attributes:
        look: What it looked like.
        digest: Of its content.
        lasting: Whether whatever looks like this has this content: a later change will show.
    """

    look: Look
    digest: str
    lasting: bool


class _Entry(NamedTuple):
    """Something in a folder: its name from there, with slashes; its path; its status, None for a dead link."""

    name: str
    path: str
    status: os.stat_result | None


def glance_at(path: str, without: Collection[str] = ()) -> Glance:
    """Look at a file or a folder without reading it.

    Args:
        path: Absolute.
        without: What to leave out of a folder, by the real paths.

    Raises:
        OSError: It is gone or cannot be looked at.
    """
    now = time.time_ns()
    status = os.stat(path)
    if not S_ISDIR(status.st_mode):
        return Glance(_look_of(status), _is_recent(status, now), status.st_size)
    entries = _entries(final(path), without)
    seen = [entry.status for entry in entries if entry.status is not None]
    recent = any(_is_recent(status, now) for status in seen)
    return Glance(_folder_look(entries), recent, sum(status.st_size for status in seen))


def looks_like(path: str, look: Look, status: Any = None) -> bool:
    """Whether a file looks as it did; False for a folder, at which it takes more to look.

    Args:
        path: The file.
        look: How it looked.
        status: What the disk has just said of it, if somebody has asked already.
    """
    try:
        return _look_of(status if type(status) is os.stat_result else os.stat(path)) == look
    except OSError:
        return False


def differs_in_ctime(look: Look, other: Look) -> bool:
    """Whether two looks of one file or folder differ in nothing but when its status was changed.

    As by chmod, by one more hard link, by moving it away and back.
    """
    if look[0] == "folder" or other[0] == "folder":
        return look != other and look[0] == other[0] and look[2] == other[2]
    return look[2] != other[2] and look[:2] == other[:2] and look[3] == other[3]


def settle(path: str) -> dict[str, int]:
    """Date what was just made anew, so that a look at it can be trusted at once.

    Without this every output would be read again by each later process, since all are stamped within a tick of their
    making. What has another name (a hard link, a symlink) is left alone: it may be somebody else's, such as the input.

    Args:
        path: A file or a folder.

    Returns:
        The dates (mtime_ns) that will show any later change, by file.
    """
    now = time.time_ns()
    dates = {}
    is_folder = os.path.isdir(path) and not os.path.islink(path)
    for one in [entry.path for entry in _entries(path)] if is_folder else [path]:
        try:
            status = os.lstat(one)
            if S_ISREG(status.st_mode) and status.st_nlink == 1 and _is_recent(status, now):
                dates[one] = status.st_mtime_ns + _STEP_NS
                os.utime(one, ns=(status.st_atime_ns, dates[one]))
        except OSError:
            dates.pop(one, None)  # another user's, or gone
    return dates


def _look_of(status: os.stat_result) -> Look:
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def _is_recent(status: os.stat_result, now: int) -> bool:
    # The second date can be set by nobody, but on Windows it is that of the creation. A date in the future comes from
    # another clock, so nothing is known of its ticks.
    changed = max(status.st_mtime_ns, status.st_ctime_ns)
    return now - changed < (_COARSE_TICK_NS if status.st_mtime_ns % 1_000_000_000 == 0 else _TICK_NS)


def _entries(folder: str, without: Collection[str] = ()) -> list[_Entry]:
    """All that is in a folder and below, but for what runcue keeps there. Links to folders are not followed."""
    return sorted(_walk(folder, "", without))


def _walk(folder: str, above: str, without: Collection[str]) -> Iterator[_Entry]:
    with patiently(os.scandir, folder) as entries:
        for entry in entries:
            if entry.name.startswith(PREFIX) or entry.path in without:
                continue
            name = above + entry.name
            try:
                status = os.stat(entry.path)
            except OSError:
                if not entry.is_symlink():
                    raise
                status = None
            inside = entry.path + os.sep
            # A folder on the way to what is left out may have been made for that.
            if not any(one.startswith(inside) for one in without):
                yield _Entry(name, entry.path, status)
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(entry.path, f"{name}/", without)


def _folder_look(entries: list[_Entry]) -> Look:
    # The dates of folders say nothing that their entries do not, and change when a temp file comes and goes.
    looks = [
        (name, None if status is None or S_ISDIR(status.st_mode) else _look_of(status))
        for name, _, status in entries
    ]
    without_ctimes = [(name, look and [*look[:2], *look[3:]]) for name, look in looks]
    return ["folder", digest_of_text(json.dumps(looks)), digest_of_text(json.dumps(without_ctimes))]


def known_digest(path: str, look: Look) -> str | None:
    """The digest of a file that looks like this, if this process has met it."""
    known = _known.get(path)
    return known[1] if known is not None and known[0] == look else None


def _remember(path: str, look: Look, digest: str) -> None:
    _known.pop(path, None)  # what is put in again counts as new
    if len(_known) >= _MOST_KNOWN:
        try:
            _known.pop(next(iter(_known)), None)
        except (RuntimeError, StopIteration):
            pass  # another thread was there at that moment; one more or less does not matter
    _known[path] = look, digest


def read(path: str, without: Collection[str] = (), settled: Mapping[str, int] = _NOTHING) -> Reading:
    """The content of a file or a folder, read only if it is not known.

    Args:
        path: Absolute.
        without: What to leave out of a folder, by the real paths.
        settled: Dates that show any later change, by file, however recent, if the filesystem took them.

    Raises:
        OSError: It is gone or cannot be read.
    """
    status = os.stat(path)
    if not S_ISDIR(status.st_mode):
        return _read_file(path, status, settled)
    entries = _entries(final(path), without)
    contents = []
    lasting = True
    for name, inner, seen in entries:
        if seen is None or (S_ISDIR(seen.st_mode) and os.path.islink(inner)):
            contents.append((name, "link", os.readlink(inner)))
        elif S_ISDIR(seen.st_mode):
            contents.append((name, "folder", ""))
        else:
            reading = _read_file(inner, seen, settled)
            # One that was replaced since it was listed is not the one that the look tells of.
            lasting = lasting and reading.lasting and reading.look == _look_of(seen)
            contents.append((name, "file", reading.digest))
    return Reading(_folder_look(entries), digest_of_text(json.dumps(contents)), lasting)


def _read_file(path: str, status: os.stat_result, settled: Mapping[str, int]) -> Reading:
    look = _look_of(status)
    if not S_ISREG(status.st_mode):
        # A pipe would be emptied by reading, a device may have no end: each is one of its kind, and that is all.
        return Reading(look, digest_of_text(f"special {S_IFMT(status.st_mode):o}"), lasting=False)
    digest = known_digest(path, look)
    if digest is not None:
        return Reading(look, digest, lasting=True)
    now = time.time_ns()  # before the look, or a change between the two would count as long ago
    status, digest, steady = with_descriptor(path, OPEN_TO_READ, _digest)
    telling = settled.get(path) == status.st_mtime_ns or not _is_recent(status, now)
    reading = Reading(_look_of(status), digest, steady and telling)
    if reading.lasting:
        _remember(path, reading.look, digest)
    return reading


def _digest(descriptor: int) -> tuple[os.stat_result, str, bool]:
    """What an open file looks like, the digest of its content, and whether it was left alone meanwhile."""
    status = os.fstat(descriptor)
    content = blake2b(digest_size=16)
    while chunk := os.read(descriptor, CHUNK):
        content.update(chunk)
    return status, content.hexdigest(), _look_of(status) == _look_of(os.fstat(descriptor))
