"""Stamps: what `digest()` remembers of a run, in a small file beside what the run made.

Lives here: the format of a stamp; how the content of a file or a folder is put in one digest, and when a look at its
size and times may stand for that; how params are put in words; and, per process, the digests known so far.

A stamp is one line of JSON in `.runcue-stamp-<name of the output>.stamp`:

    {"runcue-stamp":1,"params":digest or null,"inputs":{key:[digest,look]},"outputs":{path:[digest,look]}}

Paths are told from the folder of the stamp, so that a project which is moved, or restored elsewhere, stays up to date.

A look is `[size, mtime_ns, ctime_ns, inode]` of a file, `["folder", digest of all looks]` of a folder, and null of what
can only be known by its content. While a look stays the same nothing is read.

A file that is rewritten within one tick of the filesystem's clock looks as before. So a look counts only if the last
change was a tick before the reading, a rule learned from git, which calls the others racily clean
(https://git-scm.com/docs/racy-git). What a work unit has just made would never count by that. It is therefore dated
anew, by a fraction of a tick (see `settle`): a clock that ticks can never give that date to a later change.

Must not know: work units, policies, event loops.
"""

# ruff: noqa: PTH108, PTH112, PTH114, PTH115, PTH116 - a look is the hot path, and a Path costs more than looking

from __future__ import annotations

import json
import logging
import os
import re
import time
from base64 import b16encode
from collections.abc import Collection, Iterator, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from hashlib import blake2b
from stat import S_IFMT, S_ISDIR, S_ISREG
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from runcue._artifacts.publication import atomic_write
from runcue._artifacts.temp_files import PREFIX
from runcue._model.errors import ArtifactError
from runcue._model.texts import words_of

__all__ = [
    "NO_STAMP",
    "UNREADABLE",
    "Glance",
    "Look",
    "Reading",
    "digest_of_params",
    "digest_of_value",
    "glance_at",
    "is_unchanged",
    "known_digest",
    "looks_like",
    "read",
    "read_stamp",
    "remove_stamp",
    "settle",
    "stamp_path",
    "unreadable",
    "write_stamp",
]

logger = logging.getLogger("runcue")

Look = list[Any]
"""What is seen of a file without reading it; a list because that is what JSON gives back."""

NO_STAMP: Final = "no stamp"
UNREADABLE: Final = "unreadable stamp"

_FORMAT: Final = "runcue-stamp"
_VERSION: Final = 1
# The kernel's clock ticks every 10 ms at most (CONFIG_HZ=100).
_TICK_NS: Final = 20_000_000
# FAT counts in steps of two seconds; HFS+, ext3 and many a network share in whole ones.
_COARSE_TICK_NS: Final = 2_000_000_000
# A step that NTFS (100 ns) can store as well; the shortest tick in use is a thousand times longer.
_STEP_NS: Final = 1_000
_LONGEST_NAME: Final = 143
"""Bytes in the name of a stamp: what eCryptfs takes, as for temp files. Others take 255."""
_MOST_KNOWN: Final = 100_000
_FIRST_READ: Final = 8192
_CHUNK: Final = 1 << 20
# Not to be caught in the open() of a pipe that has come in the place of a file.
_READ: Final = (
    os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
)


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
        without: What to leave out of a folder, absolute paths.

    Raises:
        OSError: It is gone or cannot be looked at.
    """
    now = time.time_ns()
    status = os.stat(path)
    if not S_ISDIR(status.st_mode):
        return Glance(_look_of(status), _is_recent(status, now), status.st_size)
    entries = _entries(path, without)
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
    with os.scandir(folder) as entries:
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
            yield _Entry(name, entry.path, status)
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(entry.path, f"{name}/", without)


def _folder_look(entries: list[_Entry]) -> Look:
    # The dates of folders say nothing that their entries do not, and change when a temp file comes and goes.
    looks = [
        (name, None if status is None or S_ISDIR(status.st_mode) else _look_of(status))
        for name, _, status in entries
    ]
    return ["folder", _digest(json.dumps(looks))]


# Digests by path, each with the look it belongs to; only of readings that are lasting. Without a lock: threads replace
# entries whole, and what two of them know of one look is the same.
_known: dict[str, tuple[Look, str]] = {}
_NOTHING: Final[Mapping[str, int]] = MappingProxyType({})


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
        without: What to leave out of a folder, absolute paths.
        settled: Dates that show any later change, by file, however recent, if the filesystem took them.

    Raises:
        OSError: It is gone or cannot be read.
    """
    status = os.stat(path)
    if not S_ISDIR(status.st_mode):
        return _read_file(path, status, settled)
    entries = _entries(path, without)
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
    return Reading(_folder_look(entries), _digest(json.dumps(contents)), lasting)


def _read_file(path: str, status: os.stat_result, settled: Mapping[str, int]) -> Reading:
    look = _look_of(status)
    if not S_ISREG(status.st_mode):
        # A pipe would be emptied by reading, a device may have no end: each is one of its kind, and that is all.
        return Reading(look, _digest(f"special {S_IFMT(status.st_mode):o}"), lasting=False)
    digest = known_digest(path, look)
    if digest is not None:
        return Reading(look, digest, lasting=True)
    now = time.time_ns()  # before the look, or a change between the two would count as long ago
    descriptor = os.open(path, _READ)
    try:
        status = os.fstat(descriptor)
        content = blake2b(digest_size=16)
        while chunk := os.read(descriptor, _CHUNK):
            content.update(chunk)
        look = _look_of(status)
        steady = look == _look_of(os.fstat(descriptor))
    finally:
        os.close(descriptor)
    telling = settled.get(path) == status.st_mtime_ns or not _is_recent(status, now)
    reading = Reading(look, content.hexdigest(), steady and telling)
    if reading.lasting:
        _remember(path, look, reading.digest)
    return reading


def is_unchanged(path: str, digest: str, look: Look | None, without: Collection[str] = ()) -> bool:
    """Whether a file or a folder has the recorded content; read only if it looks different.

    Raises:
        OSError: It is gone or cannot be read.
    """
    if look is not None and look == glance_at(path, without).look:
        return True
    return read(path, without).digest == digest


def _digest(text: str) -> str:
    # Names of files may hold surrogates: bytes that are no text.
    return blake2b(text.encode(errors="surrogatepass"), digest_size=16).hexdigest()


_PLAIN: Final = frozenset({str, int, float, bool, type(None)})
_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode
_ADDRESS: Final = re.compile(r"\b0x[0-9a-fA-F]{6,}")


def digest_of_params(params: Mapping[str, Any]) -> str:
    """One digest for all params, the same in every process.

    Raises:
        ArtifactError: One cannot be put in words that are.
    """
    for name, value in params.items():
        if type(value) not in _PLAIN or type(name) is not str:
            break
    else:
        return blake2b(_encode(params).encode(), digest_size=16).hexdigest()
    worded = {
        str(name): _worded_as(
            value,
            f"The param {name!r}",
            "Pass something plain (text, numbers, paths, lists and dicts of those), or use digest(params=False).",
        )
        for name, value in params.items()
    }
    return _digest(_encode(worded))


def digest_of_value(value: object, what: str) -> str:
    """The digest of a version or an identity.

    Args:
        value: Whatever a user's artifact gave.
        what: What it is, for messages.

    Raises:
        ArtifactError: It cannot be put in words that are the same in every process.
    """
    return _digest(_encode(_worded_as(value, what, "Return something plain, such as text or numbers.")))


def _worded_as(value: Any, what: str, remedy: str) -> Any:
    try:
        return _worded(value)
    except RecursionError:
        raise ArtifactError(f"{what} cannot be part of a digest: it contains itself. {remedy}") from None
    except Exception as error:
        raise ArtifactError(f"{what} cannot be part of a digest: {words_of(error)}. {remedy}") from error


def _worded(value: Any) -> Any:
    """A value as JSON can hold it."""
    if type(value) in _PLAIN:
        return value
    if isinstance(value, Enum):
        # The name alone would miss a new value; members made of nothing but object() have only their names.
        inner = None if type(value.value) is object else _worded(value.value)
        return [type(value).__qualname__, value.name, inner]
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, os.PathLike):  # a File as well
        return os.fsdecode(value)
    if isinstance(value, Mapping):
        return _worded_mapping(value)
    if isinstance(value, list | tuple):
        return [_worded(one) for one in value]
    if isinstance(value, set | frozenset):
        return sorted((_worded(one) for one in value), key=_encode)
    if is_dataclass(value) and not isinstance(value, type):
        # What does not count when two are compared (a cache, a lock) does not count here.
        parts = {field.name: _worded(getattr(value, field.name)) for field in fields(value) if field.compare}
        return {type(value).__qualname__: parts}
    return _worded_other(value)


def _worded_mapping(value: Mapping[Any, Any]) -> Any:
    if all(type(key) is str for key in value):
        return {key: _worded(one) for key, one in value.items()}
    return sorted(([_worded(key), _worded(one)] for key, one in value.items()), key=_encode)


def _worded_other(value: Any) -> Any:
    try:
        view = memoryview(value)
    except (TypeError, ValueError):
        return _repr_of(value)
    content = b16encode(view.tobytes()).decode().lower()
    if isinstance(value, bytes | bytearray | memoryview):
        return content
    # An array: its repr would leave out the middle.
    return [type(value).__qualname__, view.format, list(view.shape or ()), content]


def _repr_of(value: object) -> str:
    """A repr that says the same in every process.

    Raises:
        ValueError: It has none.
    """
    text = repr(value)
    if _ADDRESS.search(text):
        raise ValueError(f"{words_of(value)} has an address in its repr, which no other process has")
    if "..." in text:
        raise ValueError(f"the repr of a {type(value).__qualname__} leaves something out: {words_of(value)}")
    return text


_raw_decode = json.JSONDecoder().raw_decode
# Stamps that were said to be unreadable: once each is enough.
_told: set[str] = set()


def stamp_path(path: str) -> str:
    """Where the stamp of an output is."""
    folder, slash, name = path.rpartition(os.sep)
    name = f"{PREFIX}stamp-{name}.stamp"  # not with the ending of the output, which a glob may look for
    # The longest character takes four bytes: most names need not be encoded to know that they are short enough.
    if len(name) * 4 > _LONGEST_NAME and len(encoded := os.fsencode(name)) > _LONGEST_NAME:
        ending = f"-{blake2b(encoded, digest_size=8).hexdigest()}"
        name = os.fsdecode(encoded[: _LONGEST_NAME - len(ending)].decode(errors="ignore")) + ending
    return folder + slash + name


def read_stamp(path: str) -> dict[str, Any] | str:
    """The stamp of an output.

    Args:
        path: Of the output.

    Returns:
        The stamp, of which no more is certain than that "inputs" and "outputs" are dicts; or what is wrong, NO_STAMP or
        UNREADABLE.
    """
    place = stamp_path(path)
    try:
        descriptor = os.open(place, _READ)
        try:
            content = os.read(descriptor, _FIRST_READ)
            if len(content) == _FIRST_READ:
                while more := os.read(descriptor, _CHUNK):
                    content += more
        finally:
            os.close(descriptor)
        stamp, end = _raw_decode(text := content.decode())
        # A line that lacks its end was cut off, even if it should make sense.
        if text[end:] != "\n" or stamp[_FORMAT] != _VERSION:
            return unreadable(path, f"it is no whole stamp of version {_VERSION}")
        if type(stamp["inputs"]) is not dict or type(stamp["outputs"]) is not dict:
            return unreadable(path, "it lists no inputs or outputs")
        folder = path.rpartition(os.sep)[0]
        for listed in ("inputs", "outputs"):
            stamp[listed] = {
                _from_folder(key, folder) if key[:1] == "." else key: entry
                for key, entry in stamp[listed].items()
            }
    except (FileNotFoundError, NotADirectoryError):
        return NO_STAMP
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        return unreadable(path, words_of(error))
    return stamp  # type: ignore[no-any-return]


def _to_folder(key: str, folder: str) -> str:
    """A key as it is written: a path as seen from the stamp's folder, if the two have more in common than a root."""
    if not os.path.isabs(key):  # noqa: PTH117
        return key
    inside = folder + os.sep
    if key.startswith(inside):
        return "." + os.sep + key[len(inside) :]
    try:
        if len(os.path.commonpath([key, folder])) > len(os.path.splitdrive(folder)[0]) + 1:
            return os.path.relpath(key, folder)
    except ValueError:
        pass  # on another drive
    return key


def _from_folder(key: str, folder: str) -> str:
    """The path that a key stands for."""
    if key[1:2] == os.sep:
        return folder + key[1:]
    return os.path.normpath(folder + os.sep + key)


def unreadable(path: str, why: str) -> str:
    """Say, once, that the stamp of an output cannot be used.

    Returns:
        UNREADABLE.
    """
    if path not in _told:
        _told.add(path)
        logger.warning(
            "The stamp %s cannot be used, so %s counts as out of date: %s", stamp_path(path), path, why
        )
    return UNREADABLE


def write_stamp(path: str, params: str | None, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
    """Write the stamp of an output.

    Args:
        path: Of the output.
        params: Their digest, None if they do not count.
        inputs: A digest and a look, None for one that says nothing, by key.
        outputs: The same by path.

    Raises:
        PublishError: It cannot be written.
    """
    folder = path.rpartition(os.sep)[0]
    stamp = {
        _FORMAT: _VERSION,
        "params": params,
        "inputs": {_to_folder(key, folder): entry for key, entry in inputs.items()},
        "outputs": {_to_folder(key, folder): entry for key, entry in outputs.items()},
    }
    # Not worth waiting for the disk: a stamp that is lost in a power cut means that work is done again.
    atomic_write(stamp_path(path), json.dumps(stamp, separators=(",", ":")) + "\n", durable=False)
    _told.discard(path)


def remove_stamp(path: str) -> None:
    """Remove the stamp of an output, if there is one."""
    try:
        os.unlink(stamp_path(path))
    except OSError:
        pass  # at worst it stays, and tells of an output that is no longer the one that is there
