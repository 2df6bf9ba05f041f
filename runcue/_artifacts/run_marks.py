"""The marks of one run of a handler: written before it is entered, removed when its work unit has succeeded.

Lives here: `RunMarks`, which writes a mark for each file that is to be made, and one for what it points to if it is a
link; keeps them where a handler removes them; and `outdate`, by which what is made although an input changed is known
to be out of date. What is in a mark is known to `mark_form`.

Must not know: work units, when a handler succeeds, how files are published.
"""

from __future__ import annotations

import errno
import logging
import os
import time
import weakref
from collections.abc import Iterable
from contextlib import suppress
from stat import S_IMODE, S_ISLNK
from typing import Any, Final

from runcue._artifacts.file import File
from runcue._artifacts.folder_marks import FolderMarks, first_link, marks_of, note_marked
from runcue._artifacts.looks import is_recent, look_of
from runcue._artifacts.mark_form import (
    SIZE,
    add_line,
    content_of,
    first_line,
    is_valid,
    read_mark,
    rewrite_mark,
    write_mark,
)
from runcue._artifacts.marks import vouch_for
from runcue._artifacts.places import Place, final, locate, next_epoch, next_pass
from runcue._model.errors import ConfigurationError, PublishError
from runcue._model.texts import LONGEST_PATH, title_of

__all__ = ["RunMarks", "outdate"]

logger = logging.getLogger("runcue")

_SHORTAGES: Final = {
    getattr(errno, name, None) for name in ("ENOSPC", "EDQUOT", "EMFILE", "ENFILE", "EIO", "ENOMEM")
}
"""What makes a work unit fail for want of a mark: its handler would fare no better. Else it runs without one."""

# The runs that are to make something, by its key; of those whose handlers have not returned.
_makers: dict[str, RunMarks] = {}
# Those that go on although nobody wants what they make any more: whatever it looks like, they may still change it.
_late: dict[RunMarks, None] = {}
# Folders in which no mark could be written: it is told once of each.
_told: set[str] = set()


class _Open:
    """A mark that was written.

    Attributes:
        key: What it is for.
        declared: The key of the declared output: the same, or that of a link that leads here.
        place: The folder that it would be in if that exists.
        marks: The folder that it is in.
        name: Its name there.
        text: All that it says.
        is_new: Whether it was written for this run.
        outdated: Whether it says that what was made is out of date.
        is_way: Whether it is for a path through a link.
    """

    __slots__ = ("declared", "is_new", "is_way", "key", "marks", "name", "outdated", "place", "text")

    def __init__(self, key: str, declared: str, place: Place, *, is_way: bool = False) -> None:
        self.key = key
        self.is_way = is_way
        self.declared = declared
        self.place = place
        self.marks: FolderMarks
        self.name = ""
        self.text = b""
        self.is_new = True
        self.outdated = False

    @property
    def path(self) -> str:
        return self.marks.path_of(self.name)


class RunMarks:
    """The marks of one run.

    Args:
        home: The cue, or what stands for it.
        maker: What its work unit is called in messages.

    Attributes:
        in_flight: Whether its handler has not returned.
        wanted: Whether its work unit has not ended otherwise meanwhile.
        maker: What its work unit is called in messages.
    """

    __slots__ = ("_home", "_open", "_outputs", "in_flight", "maker", "wanted")

    def __init__(self, home: object, maker: str = "") -> None:
        # A handler that never comes to its end, because its loop has ended, must not keep the cue.
        self._home = None if home is None else weakref.ref(home)
        self.maker = maker
        self.in_flight = True
        self.wanted = True
        self._open: list[_Open] = []
        self._outputs: list[File] = []

    @property
    def home(self) -> object:
        """The cue, or what stands for it; None as well when that is gone."""
        return None if self._home is None else self._home()

    def write(self, outputs: Iterable[Any]) -> None:
        """Write the marks.

        Args:
            outputs: What the handler is to make; those that are no files need none.

        Raises:
            PublishError: The disk is full.
        """
        done: set[str] = set()
        output: Any = None
        try:
            for output in outputs:
                if isinstance(output, File):
                    self._outputs.append(output)
                    self._write_for(output, done)
        except OSError as error:
            for mark in self._open:
                if mark.is_new:
                    with suppress(OSError):
                        os.unlink(mark.path)
                    mark.marks.forget(mark.name)
            self.end()
            raise PublishError(
                f"The handler was not called, because nothing can be written in the folder of its output "
                f"{str(output)!r}: {error.strerror}."
            ) from error

    def _write_for(self, output: File, done: set[str]) -> None:
        """Write the mark of an output; others for what it leads to if it is a link, and for the way if one is on it."""
        declared = output._key
        places = {declared: output._place}
        try:
            status: os.stat_result | None = os.lstat(output._path)
        except OSError:
            status = None
        if output._path != declared:  # a folder on the way may lead elsewhere by now
            _, key, place, *_ = locate(output._path)
            places[key] = place
        if status is not None and S_ISLNK(status.st_mode):
            target = final(declared)
            places[target] = locate(target).place
            try:
                status = os.stat(output._path)
            except OSError:
                status = None
        for key, place in places.items():
            if key in done:
                continue
            done.add(key)
            self._mark(_Open(key, declared, place), first_line(key, status), status)
        path = output._path
        if path is not declared and path not in done and (beside := first_link(path)) is not None:
            done.add(path)
            self._mark(
                _Open(path, declared, beside, is_way=True),
                first_line(path, status, leads=locate(path).key),
                status,
            )

    def _mark(self, mark: _Open, text: bytes, status: os.stat_result | None) -> None:
        mark.text = text
        made = _put(mark.key, mark.place, text, self)
        if made is None:
            return
        mark.marks, mark.name, mark.is_new = made
        self._open.append(mark)
        _makers[mark.key] = self
        if not mark.is_new:
            mark.text = _go_on_with(mark.path, text, status)

    def fail(self) -> None:
        """The work unit has not succeeded: see to it that the marks are there, whatever the handler has removed.

        Where it has turned a link on the way, what is made is somewhere else, and has its mark there as well.
        """
        self.wanted = False
        if self.in_flight:
            _late[self] = None
        for mark in self._open:
            if not os.path.lexists(mark.path):
                with suppress(OSError):
                    _keep(mark, self)
        next_pass()
        known = {mark.key for mark in self._open}
        for output in self._outputs:
            with suppress(OSError, ConfigurationError):
                path, key, place = locate(output._path)
                if key not in known:
                    known.add(key)
                    try:
                        status: os.stat_result | None = os.stat(path)
                    except OSError:
                        status = None
                    self._mark(_Open(key, output._key, place), first_line(key, status, late=True), status)

    def succeed(self, outputs: Iterable[Any]) -> None:
        """The work unit has succeeded: remove every mark by which what it makes is in doubt.

        Marks of folders that it is in stay, and it is noted in them. So do those that say that it is out of date, and
        those of an earlier handler for what it leads to no more, because a link was turned, and those of what somebody
        may still change who is not wanted any more.

        Args:
            outputs: What it makes.
        """
        stay = set()
        reached = self._reached() if any(not mark.is_new for mark in self._open) else ()
        for mark in self._open:
            path = mark.path
            if (
                mark.outdated
                or not (mark.is_new or mark.key in reached)
                or (_late and _late_maker_of(mark.key) is not None)
            ):
                stay.add(path)
                continue
            try:
                if len(mark.text) == SIZE:
                    mark.marks.set_free(mark.name)
                else:
                    os.unlink(path)
            except FileNotFoundError:
                pass
            except OSError as error:
                stay.add(path)
                logger.warning(
                    "%s, which says that something in that folder may be unfinished, cannot be removed (%s): remove "
                    "it, or that goes on counting as unfinished",
                    title_of(path, LONGEST_PATH),
                    error.strerror,
                )
                continue
            mark.marks.forget(mark.name)
        self.end()
        for output in outputs:
            if isinstance(output, File):
                vouch_for(output._key, output._place, but=stay, is_known=True)
                if output._path is not output._key:
                    # A link on the way may have been turned.
                    path, key, place = locate(output._path)
                    vouch_for(key, place, path=path, but=stay)

    def _reached(self) -> set[str]:
        """The keys of what the outputs lead to now, and on the way to it."""
        next_pass()
        reached: set[str] = set()
        for output in self._outputs:
            path, key, _ = locate(output._path)
            reached.update((path, key, final(key)))
        return reached

    def end(self) -> None:
        """Its handler has returned."""
        self.in_flight = False
        _late.pop(self, None)
        for mark in self._open:
            if mark.is_way and mark.is_new and not self.wanted:
                # Whatever it leads to has its own mark by now.
                with suppress(OSError):
                    os.unlink(mark.path)
                mark.marks.forget(mark.name)
            if _makers.get(mark.key) is self:
                del _makers[mark.key]
            if mark.marks.own.get(mark.name) is self:
                mark.marks.own[mark.name] = _late_maker_of(mark.key)

    def is_for(self, key: str) -> bool:
        """Whether there is one for this."""
        return any(mark.key == key for mark in self._open)

    def outdate(self, key: str, inode: int, mtime_ns: int) -> bool:
        """See the function."""
        declared = {mark.declared for mark in self._open if mark.key == key}
        marks = [mark for mark in self._open if mark.declared in declared]
        line = {"outdated": [inode, mtime_ns]}
        for mark in marks:
            try:
                if not os.path.lexists(mark.path):
                    _keep(mark, self)
                mark.text += add_line(mark.path, line)
                mark.outdated = True
            except OSError:
                return False
        return bool(marks)


def _late_maker_of(key: str) -> RunMarks | None:
    return next((run for run in list(_late) if run.is_for(key)), None)


def outdate(key: str, inode: int, mtime_ns: int) -> bool:
    """Note that what is about to be made is out of date for its maker, because an input changed meanwhile.

    For those that need it it is proof, if it has this inode and this date; a folder, if it has this inode.

    Args:
        key: An output of a handler that runs.
        inode: Of what will be there.
        mtime_ns: The same.

    Returns:
        Whether that could be noted: there is a mark of it.
    """
    run = _makers.get(key)
    return run is not None and run.outdate(key, inode, mtime_ns)


def _put(key: str, place: Place, text: bytes, owner: RunMarks) -> tuple[FolderMarks, str, bool] | None:
    """Write a mark in the nearest folder that exists.

    Returns:
        Where, its name, and whether it is new: if not, nothing was written. None if no mark can be written.

    Raises:
        OSError: The disk is full.
    """
    above: Place | None = place
    while above is not None:
        marks = marks_of(above)
        name = marks.name_for(key)
        path = marks.path_of(name)
        known = name in marks.own
        # Who asks meanwhile must find it: first it is known, then the epoch begins, then it is there.
        marks.own[name] = owner
        note_marked(marks)
        next_epoch()
        try:
            try:
                _write(marks, path, text)
            except FileNotFoundError:
                _make_folder(marks)
                _write(marks, path, text)
        except FileExistsError:
            return marks, name, False
        except OSError as error:
            if not known:
                marks.own.pop(name, None)
            if error.errno in _SHORTAGES:
                raise
            if os.path.isdir(marks.base):
                _tell(marks, error)
                return None
            above = above.above
        else:
            return marks, name, True
    return None


def _write(marks: FolderMarks, path: str, text: bytes) -> None:
    """Write a new mark, to the file of an earlier one if there is any."""
    if marks.free and len(text) == SIZE:
        if os.path.lexists(path):
            raise FileExistsError(path)
        while marks.free:
            try:
                # Until it is written anew it tells of something else: then what it is for is no proof either.
                os.rename(marks.free.pop(), path)
            except (FileNotFoundError, IndexError):
                continue  # somebody else was quicker
            rewrite_mark(path, text)
            return
    write_mark(path, text)


def _make_folder(marks: FolderMarks) -> None:
    """Make the folder of the marks, open to whoever the folder that it is in is open to."""
    mode = S_IMODE(os.stat(marks.base).st_mode)
    try:
        os.mkdir(marks.path)
    except FileExistsError:
        return
    with suppress(OSError):
        os.chmod(marks.path, mode)


def _tell(marks: FolderMarks, error: OSError) -> None:
    if marks.base in _told:
        return
    _told.add(marks.base)
    logger.warning(
        "runcue cannot note in the folder %s which outputs are being made (%s). So what a handler leaves half made "
        "there will count as made; write with work.write(), which leaves nothing half made",
        title_of(marks.base, LONGEST_PATH),
        error.strerror,
    )


def _go_on_with(path: str, text: bytes, status: os.stat_result | None) -> bytes:
    """Go on with a mark that is there already: what it recorded first stays.

    Args:
        path: The mark.
        text: What it would say if it were new.
        status: Of what it is for.

    Returns:
        What it says from now on.

    Raises:
        OSError: The disk is full.
    """
    try:
        mark, content = read_mark(path), content_of(path)
        if mark is not None:
            if not (mark.outdated or mark.later):
                return content
            was, recent = mark.was, mark.recent
            if status is not None and is_valid(mark, status):
                # What is there is proof, and is as long as it looks like this.
                was, recent = look_of(status), is_recent(status, time.time_ns())
            return content + add_line(path, {"again": was, "recent": recent})
        text = text.replace(b'"recent":false', b'"recent":true')
        os.unlink(path)
        write_mark(path, text)
    except OSError as error:
        if error.errno in _SHORTAGES:
            raise
        # It is gone, or somebody else's: what cannot be read is no proof in any case.
    return text


def _keep(mark: _Open, owner: RunMarks) -> None:
    """Write a mark again that was removed.

    Raises:
        OSError: The disk is full.
    """
    made = _put(mark.key, mark.place, mark.text, owner)
    if made is not None:
        mark.marks, mark.name, _ = made
