"""The form of a mark, which tells that a handler has begun to change something and has not succeeded since.

A mark is lines of JSON. The first says what was there before:

    {"runcue-mark":1,"path":"/home/me/o","was":[size, mtime_ns, ctime_ns, inode],"recent":false}

"was" is null of what was missing and "folder" of a folder. "recent" is true if that was changed so lately that one more
change might look the same. Lines that follow were added later:

    {"outdated":[inode, mtime_ns]}   an input changed meanwhile: what was made and looks like this is proof for those
                                     that need it, but out of date for the work unit that makes it
    {"again":was,"recent":recent}    a later handler has begun: this was there, and no line before counts any more
                                     but that it is out of date
    {"later":path,"look":look}       in the mark of a folder: what another work unit has made in there since

Of a path through a link the first line says "leads":path as well, to the file that has a mark of its own: this one says
that what the path leads to is no proof if that is another file by now.

Lives here: writing and reading one, and whether what it is for is proof all the same.

Must not know: where marks are, who writes them.
"""

from __future__ import annotations

import errno
import json
import os
import time
from contextlib import suppress
from stat import S_ISDIR
from typing import Any, Final, NamedTuple

from runcue._artifacts.descriptors import with_descriptor
from runcue._artifacts.looks import IS_FOLDER, Look, is_recent, look_of
from runcue._artifacts.places import resolve

__all__ = [
    "SIZE",
    "Mark",
    "add_line",
    "content_of",
    "counts",
    "counts_below",
    "first_line",
    "is_valid",
    "read_mark",
    "rewrite_mark",
    "write_mark",
]

_FORMAT: Final = "runcue-mark"
_VERSION: Final = 1
_CHUNK: Final = 1 << 16
SIZE: Final = 512
"""Bytes of a record, so that the file of one can be used for another."""
_FLAGS: Final = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FLAGS

_loads = json.JSONDecoder().decode
_quoted = json.encoder.encode_basestring_ascii
_encoded = json.JSONEncoder(separators=(",", ":")).encode


class Mark(NamedTuple):
    """What a mark says.

    Attributes:
        path: What it is for.
        leads: Of a path through a link, where that led; else None.
        was: What was there before.
        recent: Whether that was changed so lately that one more change might look the same.
        outdated: Whether what was made is out of date for the work unit that makes it.
        valid: Inode and mtime of what was made and is out of date, but proof for those that need it.
        later: In a folder: what others have made in it since, by its path from there.
    """

    path: str
    leads: str | None
    was: Look
    recent: bool
    outdated: bool
    valid: list[int] | None
    later: dict[str, Look]


def first_line(
    path: str, status: os.stat_result | None, *, leads: str | None = None, late: bool = False
) -> bytes:
    """The record of what is there before a handler is entered, of `SIZE` bytes unless its path is very long.

    Args:
        path: What it is for.
        status: Of that; None if it is missing.
        leads: Where the path leads, if it is one through a link.
        late: The handler was entered: whatever is there may be of its making.
    """
    look = look_of(status)
    was = f"{look}" if type(look) is list else _encoded(look)  # a list of numbers is JSON as it stands
    recent = "true" if late or is_recent(status, time.time_ns()) else "false"
    end = f',"leads":{_quoted(leads)}}}' if leads is not None else "}"
    record = f'{{"{_FORMAT}":{_VERSION},"path":{_quoted(path)},"was":{was},"recent":{recent}{end}'
    return record.encode().ljust(SIZE - 1) + b"\n"


def write_mark(path: str, text: bytes) -> None:
    """Write a new mark.

    Raises:
        FileExistsError: There is one.
        OSError: It cannot be written.
    """

    def write(descriptor: int) -> None:
        try:
            _write_all(descriptor, text)
        except OSError:
            with suppress(OSError):
                os.unlink(path)
            raise

    with_descriptor(path, _NEW, write)


def _write_all(descriptor: int, text: bytes) -> None:
    if os.write(descriptor, text) < len(text):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def rewrite_mark(path: str, text: bytes) -> None:
    """Put a record in the place of all that was in a file.

    Raises:
        OSError: It is gone, or cannot be written.
    """

    def write(descriptor: int) -> None:
        if os.fstat(descriptor).st_size != len(text):
            os.ftruncate(descriptor, len(text))  # lines were added to it
        os.write(descriptor, text)

    with_descriptor(path, os.O_WRONLY | _FLAGS, write)


def add_line(path: str, line: dict[str, Any]) -> bytes:
    """Add a line to a mark. Returns it.

    Raises:
        OSError: The mark is gone, or cannot be written.
    """
    text = f"{_encoded(line)}\n".encode()
    with_descriptor(path, os.O_WRONLY | os.O_APPEND | _FLAGS, lambda descriptor: _write_all(descriptor, text))
    return text


def read_mark(path: str) -> Mark | None:
    """What a mark says, None if it cannot be read.

    Raises:
        FileNotFoundError: It is gone.
    """
    try:
        return _parsed(content_of(path).decode())
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(path) from None
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None


def content_of(path: str) -> bytes:
    """All that is in a mark.

    Raises:
        OSError: It is gone, or cannot be read.
    """
    return with_descriptor(path, os.O_RDONLY | _FLAGS, _read_all)


def _read_all(descriptor: int) -> bytes:
    content = b""
    while more := os.read(descriptor, _CHUNK):
        content += more
    return content


def _parsed(content: str) -> Mark | None:
    first, *rest = content.split("\n")
    if rest.pop():
        return None  # the last line lacks its end: it was cut off
    record = _loads(first)
    if record[_FORMAT] != _VERSION:
        return None
    path, leads = str(record["path"]), record.get("leads")
    was, recent, outdated, valid = record["was"], record["recent"], False, None
    later: dict[str, Look] = {}
    for line in map(_loads, rest):
        if "later" in line:
            later[line["later"]] = line["look"]
        elif "again" in line:
            was, recent, valid, later = line["again"], line["recent"], None, {}
        else:
            valid, outdated = [*map(int, line["outdated"])], True
    return Mark(path, leads, was, bool(recent), outdated, valid, later)


def counts(mark: Mark, status: os.stat_result) -> bool:
    """Whether what a mark is for is no proof."""
    if mark.leads is not None:
        return resolve(mark.path) != mark.leads
    return not is_valid(mark, status) and (
        mark.recent or mark.was == IS_FOLDER or mark.was != look_of(status)
    )


def counts_below(mark: Mark, folder: str, key: str, status: os.stat_result) -> bool:
    """Whether something in a folder is no proof by the mark of that folder."""
    inside = key[len(folder) + 1 :]
    end = inside.find(os.sep)
    while end > 0:
        if mark.later.get(inside[:end]) == IS_FOLDER:
            return False
        end = inside.find(os.sep, end + 1)
    if inside in mark.later and mark.later[inside] == look_of(status):
        return False
    if mark.leads is not None:
        return resolve(mark.path) != mark.leads
    try:
        return not is_valid(mark, os.stat(folder))
    except OSError:
        return True


def is_valid(mark: Mark, status: os.stat_result) -> bool:
    """Whether this is what was made and is out of date, but proof for those that need it."""
    if mark.valid is None or status.st_ino != mark.valid[0]:
        return False
    # The date of a folder changes with what comes and goes in it.
    return S_ISDIR(status.st_mode) or status.st_mtime_ns == mark.valid[1]
