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

from runcue._artifacts.folder_marks import (
    Owner,
    first_link,
    is_shortened,
    is_unmarked,
    marks_of,
    marks_within,
    named_by,
)
from runcue._artifacts.looks import look_of
from runcue._artifacts.places import PASS, Place, final, locate, next_pass, place_of, resolve
from runcue._model.errors import ConfigurationError

__all__ = ["Doubt", "doubt_of", "vouch_for"]


class Doubt(NamedTuple):
    """Why something is no proof.

    Attributes:
        mark: The path of the mark.
        kind: "unproven": a handler has begun to change it and did not succeed. "unreadable mark": the mark cannot be
            read. "outdated": it is proof for others, but for its maker out of date.
        named: What the mark is for: itself, a folder that it is in, or something in it.
        maker: Whose handler was to make it and has not returned; "" if that is not known of any.
    """

    mark: str
    kind: str
    named: str
    maker: str = ""

    def problem(self, name: str, key: str) -> str:
        """What is wrong, and what to do about it, as the end of a sentence that begins with the artifact's name.

        Args:
            name: Of the artifact, as it is written in a program.
            key: What it is known by.
        """
        it, place = "it", ""
        if self.named != key:
            name = f"File({self.named!r})"
            it, place = "that", f" {name}"
        if self.maker:
            return (
                f"may be unfinished{place and f', with{place}'}, because the handler of {self.maker}, which was to "
                f"make {it}, has not returned: that has to return first; then run what makes {it} again or, if you "
                f"know that it is right, call {name}.touch(), which then removes the mark {self.mark}"
            )
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
    path: str | None = None,
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
        path: How it was asked for, if that is known: a link on that way may have been turned by who has not succeeded.
        is_link: Whether it is a link: then what it points to is looked at, too.
        is_own: Asked for a work unit that makes it.
        but: Marks of these do not count.
        running: Whether those of handlers that run in this process count. True, False, or the `home` of those that do
            not: a cue knows of them by itself.
    """
    found: Doubt | None = None
    if place.unmarked != PASS.epoch and not is_unmarked(place):
        found = _doubt_upwards(key, place, status, is_own, but, running)
    if found is None and path is not None and path is not key and (beside := first_link(path)) is not None:
        found = _doubt_upwards(path, beside, status, is_own, but, running)
    if found is not None:
        return found
    if is_link and (target := final(key)) != key:
        return doubt_of(target, locate(target).place, status, is_own=is_own, but=but, running=running)
    if not is_own and S_ISDIR(status.st_mode):
        return _doubt_within(key, but, running)
    return None


def _doubt_upwards(
    key: str, place: Place, status: os.stat_result, is_own: bool, but: Collection[str], running: object
) -> Doubt | None:
    """Whether something is in doubt by a mark of its own or of a folder that it is in, by this path to it."""
    from runcue._artifacts.mark_form import counts, counts_below, read_mark  # noqa: PLC0415 - there are seldom marks

    if not is_unmarked(place):
        for marks, name, named in marks_of(place).upwards(key):
            if named in but or (but and resolve(named) in but):
                continue
            owner = marks.own.get(name)
            if owner is not None and owner.wanted and (running is False or owner.home is running):
                continue
            file = marks.path_of(name)
            try:
                mark = read_mark(file)
            except FileNotFoundError:
                marks.forget(name)
                continue
            if mark is None:
                return Doubt(file, "unreadable mark", named, _maker(owner))
            if named != key:
                if counts_below(mark, named, key, status):
                    return Doubt(file, "unproven", named, _maker(owner))
            elif is_own and mark.outdated:
                return Doubt(file, "outdated", named)
            elif counts(mark, status):
                return Doubt(file, "unproven", named, _maker(owner))
    return None


def _maker(owner: Owner | None) -> str:
    return owner.maker if owner is not None and owner.in_flight else ""


def _doubt_within(folder: str, but: Collection[str], running: object) -> Doubt | None:
    """Whether something in a folder is in doubt, so that who reads the folder would read it.

    Who makes something in there is not held up by it: many may fill one folder, and each reads what the others made.
    """
    inside = folder if folder.endswith(os.sep) else folder + os.sep
    if any(key.startswith(inside) for key in but):
        return None
    for marks, name in marks_within(place_of(folder).real):
        from runcue._artifacts.mark_form import counts, read_mark  # noqa: PLC0415

        owner = marks.own.get(name)
        if owner is not None and owner.wanted and (running is False or owner.home is running):
            continue
        path = marks.path_of(name)
        named = named_by(path)
        try:
            mark = read_mark(path)
            if is_shortened(name):
                named = folder if mark is None else mark.path
                if mark is not None and not named.startswith(inside):
                    continue
            if named is None:
                continue
            status = os.stat(named)
            doubtful = mark is None or counts(mark, status)
        except (OSError, ConfigurationError, ValueError):
            continue  # there is no such file that could be read, or the mark is gone
        if doubtful:
            return Doubt(path, "unproven" if mark else "unreadable mark", named, _maker(owner))
    return None


def vouch_for(
    key: str,
    place: Place,
    *,
    path: str | None = None,
    but: Collection[str] = (),
    is_known: bool = False,
) -> None:
    """Somebody who knows says that something is right: remove every mark that makes it doubtful.

    Marks of folders above it stay, and it is noted in them. Marks of handlers that run in this process stay as they
    are: it may be the handler that says so. If it was made by another work unit meanwhile, that is noted all the same.

    Args:
        key: What it is known by; if it is a link, what it leads to is meant, too.
        place: The real folder that it is in.
        path: How it was asked for, if that may lead through links.
        but: Paths of marks that are to stay.
        is_known: The marks were looked at when it was about to be made, which is enough.
    """
    if not is_known:
        next_pass()
    _end_doubts(key, place, but, is_known=is_known)
    if path is not None and path is not key and (beside := first_link(path)) is not None:
        _end_doubts(path, beside, but, is_known=False)
    if (target := final(key)) != key:
        _end_doubts(target, locate(target).place, but, is_known=False)


def _end_doubts(key: str, place: Place, but: Collection[str], *, is_known: bool) -> None:
    folder = marks_of(place)
    if not is_known or not folder.was_seen:
        folder.look()
    for marks, name, named in list(folder.upwards(key)):
        owner = marks.own.get(name)
        path = marks.path_of(name)
        if path in but:
            continue
        if owner is not None and owner.in_flight and (named == key or not is_known or not owner.wanted):
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
