"""Stamps: what `digest()` remembers of a run, in a small file beside what the run made.

Lives here: the format of a stamp, reading and writing it.

A stamp is one line of JSON in `.runcue-stamp-<name of the output>.stamp`:

    {"runcue-stamp":2,"params":{name:digest} or null,"inputs":{key:[digest,look]},"outputs":{path:[digest,look]}}

and "code":{part:digest} where the code of the handler counts. Who does not look for that does not miss it, so it is no
form of its own.

Paths are told from the folder of the stamp, so that a project which is moved, or restored elsewhere, stays up to date.
A stamp of another form is not believed: digests of the first one do not tell all params apart.

Must not know: how a digest is made, policies, work units, event loops.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from typing import Any, Final

from runcue._artifacts.descriptors import with_descriptor
from runcue._artifacts.file_names import fitted
from runcue._artifacts.publication import atomic_write
from runcue._artifacts.temp_files import PREFIX
from runcue._freshness.content import CHUNK, OPEN_TO_READ
from runcue._model.texts import LONGEST_PATH, message_of, title_of

__all__ = [
    "NO_STAMP",
    "OTHER_FORM",
    "UNREADABLE",
    "read_stamp",
    "remove_stamp",
    "stamp_path",
    "unreadable",
    "write_stamp",
]

logger = logging.getLogger("runcue")

NO_STAMP: Final = "no stamp"
UNREADABLE: Final = "unreadable stamp"
OTHER_FORM: Final = "other stamp"
"""Of another version of runcue, which has understood something else by it."""

_FORMAT: Final = "runcue-stamp"
_VERSION: Final = 2
_FIRST_READ: Final = 8192
_raw_decode = json.JSONDecoder().raw_decode
# Stamps that were said to be unreadable: once each is enough.
_told: set[str] = set()


def stamp_path(path: str) -> str:
    """Where the stamp of an output is."""
    folder, slash, name = path.rpartition(os.sep)
    # Not with the ending of the output, which a glob may look for.
    return folder + slash + fitted(f"{PREFIX}stamp-{name}.stamp", "-")


def read_stamp(path: str) -> dict[str, Any] | str:
    """The stamp of an output.

    Args:
        path: Of the output.

    Returns:
        The stamp, of which no more is certain than that "inputs" and "outputs" are dicts; or what is wrong, NO_STAMP,
        OTHER_FORM or UNREADABLE.
    """
    place = stamp_path(path)
    try:
        content = with_descriptor(place, OPEN_TO_READ, _read_all)
        stamp, end = _raw_decode(text := content.decode())
        # A line that lacks its end was cut off, even if it should make sense.
        if text[end:] != "\n":
            return unreadable(path, "it is no whole line")
        if stamp[_FORMAT] != _VERSION:
            if type(stamp[_FORMAT]) is int:
                return OTHER_FORM
            return unreadable(path, "it does not tell its version")
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
        return unreadable(path, message_of(error))
    return stamp  # type: ignore[no-any-return]


def _read_all(descriptor: int) -> bytes:
    content = os.read(descriptor, _FIRST_READ)
    if len(content) == _FIRST_READ:
        while more := os.read(descriptor, CHUNK):
            content += more
    return content


def _to_folder(key: str, folder: str) -> str:
    """A key as it is written: a path as seen from the stamp's folder, if the two have more in common than a root."""
    if not os.path.isabs(key):
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
            "%s, which notes how %s was made, cannot be used (%s): so that counts as out of date, and is made anew",
            title_of(stamp_path(path), LONGEST_PATH),
            title_of(path, LONGEST_PATH),
            why,
        )
    return UNREADABLE


def write_stamp(
    path: str,
    params: Mapping[str, str] | None,
    code: Mapping[str, str] | None,
    inputs: Mapping[str, Any],
    outputs: Mapping[str, Any],
) -> None:
    """Write the stamp of an output, atomically.

    Args:
        path: Of the output.
        params: Their digests by name, None if they do not count.
        code: The digests of the parts of the handler's code, None if they do not count.
        inputs: A digest and a look, None for one that says nothing, by key.
        outputs: The same by path.

    Raises:
        PublishError: It cannot be written.
    """
    folder = path.rpartition(os.sep)[0]
    stamp: dict[str, Any] = {
        _FORMAT: _VERSION,
        "params": params,
        "inputs": {_to_folder(key, folder): entry for key, entry in inputs.items()},
        "outputs": {_to_folder(key, folder): entry for key, entry in outputs.items()},
    }
    if code is not None:
        stamp["code"] = code
    # Not worth waiting for the disk: a stamp that is lost in a power cut means that work is done again.
    atomic_write(
        stamp_path(path), json.dumps(stamp, separators=(",", ":")) + "\n", durable=False, dated=False
    )
    _told.discard(path)


def remove_stamp(path: str) -> None:
    """Remove the stamp of an output, if there is one."""
    try:
        os.unlink(stamp_path(path))
    except OSError:
        pass  # at worst it stays, and tells of an output that is no longer the one that is there
