"""Marks: small files that tell that a handler has begun to change something and has not succeeded since.

Before a handler is entered, a mark is written for each file that it is to make; when its work unit has succeeded, the
mark is removed. So whatever ends a handler in between, kill -9 included, leaves the mark, and no process takes for
proof what was changed under it. Nothing is locked: whether the process that wrote a mark still lives does not matter.

A mark is `.runcue-marks/<name>.mark` in the folder of the file, or in the nearest one that exists; then the name is the
path from there, its slashes quoted. (It does not end like the file, which a glob may look for.) It says what was there
before (`mark_form`). What looks as it says was left alone, and is proof as it was. The mark of a folder says nothing of
the files in it, so all of them are in doubt, but for what was made in there since.

Lives here: whether something is in doubt by a mark, and the end of a doubt. What is remembered of marks is in
`folder_marks`; they are written by `run_marks`.

Must not know: work units, which handlers run, who asks.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from stat import S_ISDIR
from typing import Final, NamedTuple

from runcue._artifacts.folder_marks import is_unmarked, marks_of, named_by
from runcue._artifacts.looks import look_of
from runcue._artifacts.places import PASS, Place, final, locate, next_pass, place_of

__all__ = ["Doubt", "doubt_of", "vouch_for"]


class Doubt(NamedTuple):
    """Why something is no proof.

    Attributes:
        mark: The path of the mark.
        kind: "unproven": a handler has begun to change it and did not succeed. "unreadable mark": the mark cannot be
            read. "outdated": it is proof for others, but for its maker out of date.
        named: What the mark is for: itself, a folder that it is in, or something in it.
    """

    mark: str
    kind: str
    named: str

    def problem(self, name: str, key: str) -> str:
        """What is wrong, and what to do about it, as the end of a sentence that begins with the artifact's name.

        Args:
            name: Of the artifact, as it is written in a program.
            key: What it is known by.
        """
        it, place = "it", ""
        if self.named != key:
            it = name = f"File({self.named!r})"
            place = f" {it}"
        return (
            f"may be unfinished{place and f', with{place}'}, because {_CAUSES[self.kind]}: run what makes {it} again; "
            f"or, if you know that it is right, call {name}.touch(), which removes the mark {self.mark}"
        )


_CAUSES: Final = {
    "unproven": "a handler that was to make it has not succeeded",
    "unreadable mark": "its mark cannot be read",
    "outdated": "an input changed while it was made",
}


def doubt_of(
    key: str,
    place: Place,
    status: os.stat_result,
    *,
    is_link: bool = False,
    is_own: bool = False,
    but: Collection[str] = (),
    running: object = True,
) -> Doubt | None:
    """Whether something that is there is in doubt by a mark.

    Args:
        key: What it is known by.
        place: The real folder that it is in.
        status: Its status, links followed.
        is_link: Whether it is a link: then what it points to is looked at, too.
        is_own: Asked for a work unit that makes it.
        but: Marks of these do not count.
        running: Whether those of handlers that run in this process count. True, False, or the `home` of those that do
            not: a cue knows of them by itself.
    """
    if place.unmarked != PASS.epoch and not is_unmarked(place):
        from runcue._artifacts.mark_form import counts, counts_below, read_mark  # noqa: PLC0415 - there are seldom marks

        for marks, name, named in marks_of(place).upwards(key):
            if named in but:
                continue
            owner = marks.own.get(name)
            if owner is not None and owner.wanted and (running is False or owner.home is running):
                continue
            path = marks.path_of(name)
            try:
                mark = read_mark(path)
            except FileNotFoundError:
                marks.forget(name)
                continue
            if mark is None:
                return Doubt(path, "unreadable mark", named)
            if named != key:
                if counts_below(mark, named, key, status):
                    return Doubt(path, "unproven", named)
            elif is_own and mark.outdated:
                return Doubt(path, "outdated", named)
            elif counts(mark, status):
                return Doubt(path, "unproven", named)
    if is_link and (target := final(key)) != key:
        return doubt_of(target, locate(target).place, status, is_own=is_own, but=but, running=running)
    if not is_own and S_ISDIR(status.st_mode):
        return _doubt_within(key, but, running)
    return None


def _doubt_within(folder: str, but: Collection[str], running: object) -> Doubt | None:
    """Whether something in a folder is in doubt, so that who reads the folder would read it; not in folders in there.

    Who makes something in there is not held up by it: many may fill one folder, and each reads what the others made.
    """
    inside = folder if folder.endswith(os.sep) else folder + os.sep
    marks = marks_of(place_of(folder).real)
    marks.look()
    names = {*list(marks.own), *marks.names}
    if not names or any(key.startswith(inside) for key in but):
        return None
    from runcue._artifacts.mark_form import counts, read_mark  # noqa: PLC0415

    for name in names:
        owner = marks.own.get(name)
        if owner is not None and owner.wanted and (running is False or owner.home is running):
            continue
        path = marks.path_of(name)
        named = named_by(path)
        try:
            if named is None or named == folder:
                continue
            status = os.stat(named)
            mark = read_mark(path)
        except OSError:
            continue  # there is no such file that could be read, or the mark is gone
        if mark is None:
            return Doubt(path, "unreadable mark", named)
        if counts(mark, status):
            return Doubt(path, "unproven", named)
    return None


def vouch_for(key: str, place: Place, *, but: Collection[str] = (), is_known: bool = False) -> None:
    """Somebody who knows says that something is right: remove every mark that makes it doubtful.

    Marks of folders above it stay, and it is noted in them. Marks of handlers that run in this process stay as they
    are: it may be the handler that says so. If it was made by another work unit meanwhile, that is noted all the same.

    Args:
        key: What it is known by; if it is a link, what it leads to is meant, too.
        place: The real folder that it is in.
        but: Paths of marks that are to stay.
        is_known: The marks were looked at when it was about to be made, which is enough.
    """
    if not is_known:
        next_pass()
    _end_doubts(key, place, but, is_known=is_known)
    if (target := final(key)) != key:
        _end_doubts(target, locate(target).place, but, is_known=False)


def _end_doubts(key: str, place: Place, but: Collection[str], *, is_known: bool) -> None:
    folder = marks_of(place)
    if not is_known or not folder.was_seen:
        folder.look()
    for marks, name, named in list(folder.upwards(key)):
        owner = marks.own.get(name)
        path = marks.path_of(name)
        if path in but or (owner is not None and owner.in_flight and (named == key or not is_known)):
            continue
        try:
            if named == key:
                os.unlink(path)
                marks.forget(name)
            else:
                from runcue._artifacts.mark_form import add_line  # noqa: PLC0415

                look = look_of(os.stat(key))
                add_line(path, {"later": key[len(named) + 1 :], "look": look})
        except FileNotFoundError:
            marks.forget(name)
        except OSError:
            pass  # it stays: then what is right is made once more
