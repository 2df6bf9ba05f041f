"""What is remembered of the marks in a folder, which are looked at once per pass.

Of folders further up, which are of interest for everything below them, the marks are believed a little longer. Those
that this process writes and removes are known at once. Where marks are and how they are called is described in `marks`.

Lives here: `FolderMarks`, `marks_of` and `is_unmarked`; `marks_within`, those of what is in a folder, wherever they
are; the names of marks, and what a mark is for by its name.

Must not know: what a mark says, work units, who asks.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Collection, Iterator
from time import monotonic
from typing import Final, Protocol

from runcue._artifacts.descriptors import is_shortage, patiently
from runcue._artifacts.file_names import fitted
from runcue._artifacts.looks import is_recent
from runcue._artifacts.places import PASS, Place, place_of

__all__ = [
    "FolderMarks",
    "Owner",
    "first_link",
    "is_shortened",
    "is_unmarked",
    "marks_of",
    "marks_within",
    "named_by",
    "note_marked",
]

FOLDER: Final = ".runcue-marks"
_ENDING: Final = ".mark"
_SLASH: Final = "%2F"
_CUT: Final = "%-"
"""In the name of a mark that was shortened, and never in a whole one: there a "%" is followed by a number."""
_FREE: Final = "free-"
_MOST_FREE: Final = 64
_LASTING: Final = 0.02
"""Seconds for which the marks in folders further up are believed. Those that this process writes are known at once."""
_NONE: Final[frozenset[str]] = frozenset()
_MOST_ENTRIES: Final = 10_000
"""So many entries are looked through for what earlier processes have left in the folders of a folder: 10 to 20 ms."""


class Owner(Protocol):
    """Whoever has written a mark in this process.

    Attributes:
        in_flight: Whether its handler has not returned.
        wanted: Whether its work unit has not ended otherwise meanwhile.
        home: The cue, or what stands for it.
        maker: What is called so in messages, "" if nothing is.
    """

    in_flight: bool
    wanted: bool
    maker: str

    @property
    def home(self) -> object: ...


class FolderMarks:
    """What is remembered of the marks in one folder.

    Attributes:
        base: The folder, with a slash at its end.
        path: Where its marks are.
        above: Those of the folder above it, None for the root.
        names: Of the marks, as of the last look.
        own: Of those that this process has written, with who has; None: somebody whose handler has returned. They are
            in here before they are on the disk.
        free: The paths of files that were marks, and can be again. Somebody else may have taken them.
    """

    __slots__ = ("_as_of", "_looked_at", "_looked_in", "above", "base", "free", "names", "own", "path")

    def __init__(self, folder: str, above: FolderMarks | None) -> None:
        self.base = folder if folder.endswith(os.sep) else folder + os.sep
        self.path = self.base + FOLDER
        self.above = above
        self.names: Collection[str] = _NONE
        self.own: dict[str, Owner | None] = {}
        self.free: list[str] = []
        self._looked_in = 0
        self._looked_at = -1.0
        # What the folder of the marks looked like when their names were listed, if a later change will show.
        self._as_of: tuple[int, int] | None = None

    @property
    def was_seen(self) -> bool:
        """Whether it was ever looked at."""
        return self._looked_in > 0

    def look(self) -> None:
        """Look which marks there are, here and further up, unless that was done in this pass."""
        if self._looked_in == PASS.number:
            return
        now = monotonic()
        self._list(now)
        above = self.above
        while above is not None:
            if now - above._looked_at > _LASTING:
                above._list(now)
            above = above.above

    def _list(self, now: float) -> None:
        self._looked_in, self._looked_at = PASS.number, now
        try:
            status = os.stat(self.path)
            as_of = status.st_mtime_ns, status.st_ino
            if as_of == self._as_of:
                return
            lasting = not is_recent(status, time.time_ns())
            there = patiently(os.listdir, self.path)
            self.names = frozenset(name for name in there if name.endswith(_ENDING))
            if not self.free and len(there) > len(self.names):
                self.free = [self.path_of(name) for name in there if name.startswith(_FREE)]
            self._as_of = as_of if lasting else None
        except OSError as error:
            is_hidden = isinstance(error, PermissionError) or is_shortage(error)
            self.names, self._as_of = _ANY if is_hidden else _NONE, None

    def path_of(self, name: str) -> str:
        """The path of a mark."""
        return f"{self.path}{os.sep}{name}"

    def name_for(self, key: str) -> str:
        """The name that the mark of something has in here."""
        return _quoted(key[len(self.base) :])

    def may_be_in(self, base: str, name: str) -> bool:
        """Whether the mark of this name is for something in a folder below, as far as can be told by it.

        Args:
            base: The folder, with a slash at its end.
            name: Of a mark in here.
        """
        start = _quoted_text(base[len(self.base) :])
        if not is_shortened(name):
            return name.startswith(start)
        # What is no text is left out of what is left of a name.
        start, stem = os.fsencode(start).decode(errors="ignore"), name.partition(_CUT)[0]
        return stem.startswith(start) or start.startswith(stem)

    def set_free(self, name: str) -> None:
        """Make an end of a mark, but keep its file for the next one.

        To make and remove files is what costs the most: ext4 does not use an inode again for 5 s after it was deleted,
        and looks through all of those for a free one. (ext4/ialloc.c, recently_deleted; measured: 0.3 ms per mark when
        2,000 were made and removed within 5 s, 20 µs when files are renamed instead.)
        """
        path = self.path_of(name)
        if len(self.free) < _MOST_FREE:
            free = f"{self.path}{os.sep}{_FREE}{len(self.free)}"
            os.rename(path, free)
            self.free.append(free)
        else:
            os.unlink(path)

    def tidy(self) -> None:
        """Remove the files that can be marks again."""
        while self.free:
            try:
                os.unlink(self.free.pop())
            except OSError:
                pass

    def forget(self, name: str) -> None:
        """A mark is gone."""
        self.own.pop(name, None)
        if name in self.names and self.names is not _ANY:
            self.names = frozenset(self.names) - {name}
        if not self.own and not self.names:
            _forget_marked(self)

    def upwards(self, key: str) -> Iterator[tuple[FolderMarks, str, str]]:
        """The marks that something may be in doubt by, as far as is known.

        Args:
            key: Something in this folder.

        Yields:
            The folder that the mark is in, its name, and what it is for: the key itself, or a folder above it.
        """
        marks: FolderMarks | None = self
        while marks is not None:
            # Of a folder further up that cannot be listed nothing is believed: it may be anybody's, as in /tmp.
            names = _NONE if marks.names is _ANY and marks is not self else marks.names
            if names or marks.own:
                for named in _folders(key, marks.base):
                    name = marks.name_for(named)
                    if name in marks.own or name in names:
                        yield marks, name, named
            marks = marks.above

    def __repr__(self) -> str:
        return f"<FolderMarks {self.path}>"


class _Any(frozenset[str]):
    """The names of marks in a folder that cannot be listed: each that is asked for."""

    def __contains__(self, name: object) -> bool:
        return True

    def __bool__(self) -> bool:
        return True


_ANY: Final = _Any()


def _folders(path: str, base: str) -> Iterator[str]:
    """A path and the folders above it, as far as they are in a folder."""
    end = len(path)
    while end >= len(base):
        yield path[:end]
        end = path.rfind(os.sep, 0, end)


def _quoted_text(text: str) -> str:
    if "%" in text or os.sep in text:
        text = text.replace("%", "%25").replace(os.sep, _SLASH)
    return text


def _quoted(relative: str) -> str:
    return fitted(_quoted_text(relative) + _ENDING, _CUT, _ENDING)


def named_by(mark: str) -> str | None:
    """What a mark is for, by its path alone: the folder it is in if its name was shortened; None if it is no mark."""
    folder, _, name = mark.rpartition(os.sep)
    above, _, last = folder.rpartition(os.sep)
    if last != FOLDER or not name.endswith(_ENDING):
        return None
    if is_shortened(name):
        return above or os.sep
    return f"{above}{os.sep}{name.removesuffix(_ENDING).replace(_SLASH, os.sep).replace('%25', '%')}"


def is_shortened(name: str) -> bool:
    """Whether the name of a mark does not say all of what it is for."""
    return _CUT in name


def first_link(path: str) -> Place | None:
    """The real folder that the first link on the way of a path is in, None if there is no link among its folders."""
    found: Place | None = None
    one: Place | None = place_of(path.rpartition(os.sep)[0] or os.sep)
    while one is not None:
        if one.real is not one:
            found = one.above
        one = one.above
    return found


# The folders in which there are marks, as far as is known of those that this process writes or has found, by the path
# with a slash at its end.
_marked: dict[str, FolderMarks] = {}
# The folders that were looked through for others that have marks.
_looked_through: set[str] = set()


def note_marked(marks: FolderMarks) -> None:
    """Note that a folder has marks, so that who reads a folder further up finds them."""
    _marked[marks.base] = marks


def _forget_marked(marks: FolderMarks) -> None:
    _marked.pop(marks.base, None)
    if marks.own:  # another thread has written one just now
        note_marked(marks)


def marks_within(place: Place) -> Iterator[tuple[FolderMarks, str]]:
    """The marks of what is in a folder, with the names of them; those of which that is not certain included.

    They are in the folder itself; further up, if it was missing when they were written; and in the folders that are in
    there. Of these are known those that this process has written, and what was there when it was asked first.

    Args:
        place: A real one.
    """
    folder = marks_of(place)
    folder.look()
    for name in {*folder.own, *folder.names}:
        yield folder, name
    above = folder.above
    while above is not None:
        names = _NONE if above.names is _ANY else above.names
        if names or above.own:
            for name in {*above.own, *names}:
                if above.may_be_in(folder.base, name):
                    yield above, name
        above = above.above
    if folder.base not in _looked_through:
        _looked_through.add(folder.base)
        _look_through(place.path)
    for base, marks in list(_marked.items()):
        if len(base) > len(folder.base) and base.startswith(folder.base):
            marks.look()
            names = {*marks.own, *marks.names}
            for name in names:
                yield marks, name
            if not names:
                _forget_marked(marks)


def _look_through(folder: str) -> None:
    """Look for marks in the folders of a folder."""
    left, folders = _MOST_ENTRIES, [folder]
    while folders:
        try:
            with patiently(os.scandir, folders.pop()) as entries:
                for entry in entries:
                    left -= 1
                    if left < 0:
                        return
                    if not entry.is_dir(follow_symlinks=False):
                        continue
                    if entry.name != FOLDER:
                        folders.append(entry.path)
                        continue
                    marks = marks_of(place_of(entry.path.rpartition(os.sep)[0] or os.sep).real)
                    marks.look()
                    if marks.names:
                        note_marked(marks)
        except OSError:
            continue  # it is gone, or may not be read: then nobody reads what is in there


_lock = threading.Lock()


def _after_fork() -> None:
    global _lock  # noqa: PLW0603 - another thread may have held it
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def marks_of(place: Place) -> FolderMarks:
    """What is remembered of the marks in a folder.

    Args:
        place: A real one.
    """
    if place.marks is None:
        line: list[Place] = []
        one: Place | None = place
        with _lock:
            while one is not None and one.marks is None:
                line.append(one)
                one = one.above
            for one in reversed(line):
                one.marks = FolderMarks(one.path, None if one.above is None else one.above.marks)
    found: FolderMarks = place.marks
    return found


def is_unmarked(place: Place) -> bool:
    """Whether nothing in a folder can be in doubt. If so, that is noted as `place.unmarked` for the present epoch.

    Args:
        place: A real one.
    """
    # Read before anything is looked at: who writes a mark notes it first, and then begins an epoch.
    epoch = PASS.epoch
    # Whether it still is where it was is of interest to others, and this is asked once for all of its files.
    place.look()
    marks = marks_of(place)
    marks.look()
    if marks.names or marks.own:
        return False
    folder = marks.base[:-1]
    above = marks.above
    while above is not None:
        names = [*list(above.own), *(_NONE if above.names is _ANY else above.names)]
        # Only by those of what is in here: what was left in the root of a project, for a folder that it lacked, must
        # not make each look in all the others slow.
        if names and (
            any(above.name_for(one) in names for one in _folders(folder, above.base))
            or any(above.may_be_in(marks.base, name) for name in names)
        ):
            return False
        above = above.above
    place.unmarked = epoch
    return True
