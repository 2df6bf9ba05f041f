"""What is there in place of a file that is missing: its name in other case or mistyped, the same path from elsewhere.

How it goes about it: from the first folder on the way that is missing, or the file itself, the names beside it are
compared. Names that differ in a number are no near misses: page-7 is not meant by page-6. Then the path as it was given
is tried from other folders than the one that it was taken from.

This lists folders, so it is for answers to people. No gate may ask for it.

Must not know: who needs the file, how it is told.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from functools import lru_cache
from glob import glob, has_magic
from itertools import islice
from typing import Any, Final
from unicodedata import normalize

from runcue._artifacts.file import File
from runcue._artifacts.places import leads
from runcue._artifacts.temp_files import PREFIX
from runcue._model.texts import how_many, printable, shortened

__all__ = ["meant_among", "missing_folder", "near_miss", "where_missing"]

_MOST_NAMES: Final = 5_000
"""So many names in a folder are compared, which takes 5 ms at most; in a larger one no near miss is looked for."""

_MOST_FOLDERS: Final = 100
_LIKENESS: Final = 0.8
_LONGEST_PATH: Final = 120
_NUMBER: Final = re.compile(r"\d+")


def where_missing(artifact: Any) -> str:
    """Where a missing file was looked for, as a phrase; "" if its path says so, or it is no file or is there."""
    path, base = _missing_path(artifact), _base_of(artifact)
    if path is None or base is None:
        return ""
    now = _working_folder()
    since = "" if now in (base, None) else f" {_quoted(base)}, which is {_quoted(now)} by now"
    return f"at {_quoted(path)}, from the working folder{since}"


def near_miss(artifact: Any, most: int = _MOST_NAMES) -> str:
    """What is there in place of a missing file, as a phrase; "" if nothing is, or it is no file or is there.

    Args:
        artifact: The file.
        most: In a folder with more names than these nothing is looked for.
    """
    path = _missing_path(artifact)
    if path is None:
        return ""
    try:
        return _mistyped(path, most) or _from_elsewhere(artifact) or _unexpanded(artifact, path)
    except OSError:
        return ""


def _missing_path(artifact: Any) -> str | None:
    """The path at which nothing is: that of the file, or what it leads to if it is a link; None if something is."""
    if not isinstance(artifact, File):
        return None
    path = artifact._path
    if os.path.lexists(path):
        path = (leads(artifact._key) or [path])[-1]
    return None if os.path.lexists(path) else path


def _quoted(path: object) -> str:
    # In quotes, by which texts that differ in a path alone are known to be alike.
    return f"'{printable(shortened(str(path), _LONGEST_PATH))}'"


def _base_of(file: Any) -> str | None:
    """The working folder that a path was taken from, None if it was absolute, or is none."""
    if not isinstance(file, File):
        return None
    given = file._given
    if os.path.isabs(given):
        return None
    inside = os.sep + os.sep.join(name for name in given.split(os.sep) if name not in ("", "."))
    path = file._path.rstrip(os.sep)
    return path[: -len(inside)] or os.sep if path.endswith(inside) else None


def _working_folder() -> str | None:
    try:
        return os.getcwd()
    except OSError:
        return None


def missing_folder(artifact: Any) -> str:
    """Of the folders that a missing file would lie in the first that is not there, as a phrase; "" if all are."""
    path = _missing_path(artifact)
    missing = ""
    while path is not None and not os.path.lexists(path := os.path.dirname(path)):
        missing = path
    return f"the folder {_quoted(missing)} is missing" if missing else ""


def meant_among(artifact: Any, paths: Iterable[str]) -> str | None:
    """Which of some other paths is meant by that of a missing file, as far as it looks like one.

    Args:
        artifact: The file.
        paths: Such as those of what will be made.
    """
    if not isinstance(artifact, File):
        return None
    wanted = _plain(artifact._key)
    folder, _, name = wanted.rpartition(os.sep)
    least, most = (length + len(folder) + 1 for length in _lengths_like(name))
    numbers, length = _numbers_of(name), len(name)
    number = max(numbers, key=len, default="")
    beside: dict[str, str] = {}
    namesake = None
    for path in paths:
        # There may be thousands of them, so quickly those that may be alike at all.
        may_be = least <= len(path) <= most and number in path
        if not may_be and path.isascii() and path[-length:].lower() != name:
            continue
        plain = _plain(path)
        if plain == wanted:
            return path
        other, _, its_name = plain.rpartition(os.sep)
        if other == folder and number in its_name and _numbers_of(its_name) == numbers:
            beside[its_name] = path
        elif its_name == name:
            namesake = path
    return _likest(name, beside) or namesake


def _mistyped(path: str, most: int) -> str:
    """The file, or the first folder on its way that is missing, under a name that is nearly the same."""
    folder, names = path.rstrip(os.sep), list[str]()
    while folder != os.path.dirname(folder) and not os.path.isdir(folder):
        folder, name = os.path.split(folder)
        names.insert(0, name)
    found = folder
    for number, name in enumerate(names):
        near = name if os.path.lexists(os.path.join(found, name)) else _nearest(found, name, most)
        if near is None:
            names = names[:number]
            break
        found = os.path.join(found, near)
    missing = os.path.join(folder, *names)
    if found == missing and (os.path.lexists(found) and not os.path.isdir(found)):
        return f"{_quoted(found)} is there, and is no folder"
    if found in (folder, missing):
        return ""
    what = "" if missing == path.rstrip(os.sep) else f"the folder {_quoted(missing)} is missing, but "
    beside = os.path.dirname(missing) == os.path.dirname(found)
    place = (
        f"{_quoted(os.path.basename(found))} is there, beside it" if beside else f"{_quoted(found)} is there"
    )
    return f"{what}{place}{_difference(missing, found)}"


def _difference(wanted: str, found: str) -> str:
    """What two names differ in that is easily overlooked."""
    if normalize("NFKC", wanted) == normalize("NFKC", found):
        return ", written with other characters that look alike"
    return ", with other capitals" if _plain(wanted) == _plain(found) else ""


def _nearest(folder: str, name: str, most: int) -> str | None:
    """Which name in a folder is meant by one that is not there."""
    try:
        return _nearest_as_of(folder, os.stat(folder).st_mtime_ns, name, most)
    except OSError:
        return None


@lru_cache(maxsize=64)
def _nearest_as_of(folder: str, changed: int, name: str, most: int) -> str | None:
    """The same, kept: of a folder that is missing on the way the same is asked for each file below it."""
    names = _names_in(folder, changed, most)
    plain = _plain(name)
    least, most = _lengths_like(plain)
    numbers = _numbers_of(plain)
    number = max(numbers, key=len, default="")
    # Quickly those that may be alike at all: there may be thousands.
    some = [one for one in names if least <= len(one) <= most and number in one]
    alike = {_plain(one): one for one in some if _numbers_of(_plain(one)) == numbers}
    return alike.get(plain) or _likest(plain, alike)


def _lengths_like(name: str) -> tuple[int, int]:
    """How long a name is at least and at most that may be meant by another."""
    return len(name) * 2 // 3 - 1, len(name) * 3 // 2 + 1


def _likest(plain: str, names: Mapping[str, str]) -> str | None:
    """What belongs to the one of several names that is most like another, if it is alike at all."""
    # Two slips of the pen leave one third of a name as it was. To look for that is quick; to measure likeness is not.
    stem, suffix = os.path.splitext(plain)
    third = len(stem) // 3
    begin, middle, end = stem[:third], stem[third:-third], stem[-third:] + suffix[:1]
    if third:
        near = [one for one in names if one.startswith(begin) or middle in one or end in one]
    else:
        near = [one for one in names if abs(len(one) - len(plain)) < 2]
    found = get_close_matches(plain, near, 1, _LIKENESS)
    return names[found[0]] if found else None


def _plain(name: str) -> str:
    """A name without what is easily overlooked."""
    return name.lower() if name.isascii() else normalize("NFKC", name).casefold()


def _numbers_of(name: str) -> list[str]:
    return [number.lstrip("0") for number in _NUMBER.findall(name)]


@lru_cache(maxsize=16)
def _names_in(folder: str, changed: int, most: int) -> list[str]:
    """The names in a folder; none if there are too many.

    Args:
        folder: Which.
        changed: When it was: until it is again, it need not be listed again.
        most: So many are not too many.
    """
    with os.scandir(folder) as entries:
        names = [entry.name for entry in islice(entries, most + 1)]
    return [name for name in names if not name.startswith(PREFIX)] if len(names) <= most else []


def _from_elsewhere(file: File) -> str:
    """The same path from another folder than the one that it was taken from."""
    given = os.sep + file._given.lstrip(os.sep)
    for folder in _other_folders(file):
        path = folder.rstrip(os.sep) + given
        if path != file._path and os.path.lexists(path):
            return f"{_quoted(os.path.normpath(path))} is there"
    return ""


def _other_folders(file: File) -> Iterator[str]:
    """Where else a path may have been meant to begin."""
    now, base = _working_folder(), _base_of(file)
    if now is not None:
        yield now
    program = getattr(sys.modules.get("__main__"), "__file__", None)
    if isinstance(program, str):
        yield os.path.dirname(os.path.abspath(program))
    if base is not None:
        yield os.path.dirname(base)
        yield from _folders_in(base, os.stat(base).st_mtime_ns)


@lru_cache(maxsize=16)
def _folders_in(folder: str, changed: int) -> list[str]:
    """The folders in a folder, the first hundred of them; see `_names_in`."""
    with os.scandir(folder) as entries:
        return sorted(entry.path for entry in islice(entries, _MOST_NAMES) if entry.is_dir())[:_MOST_FOLDERS]


def _unexpanded(file: File, path: str) -> str:
    """What a path would be if a shell had read it, or another system."""
    given = file._given
    if given[0] == "~" and os.path.lexists(home := os.path.expanduser(given)):
        return f"{_quoted(home)} is there: `~` is a character here, os.path.expanduser() makes a folder of it"
    if has_magic(given) and (number := len(glob(path))):
        return f"the characters `*?[` are part of a name here: glob.glob() finds {how_many(number, 'file', 'files')}"
    if "\\" in given and os.sep == "/" and os.path.lexists(other := path.replace("\\", "/")):
        return f"{_quoted(other)} is there: between folders write a slash"
    return ""
