"""A file as an artifact.

Lives here: `File`, known by where its path leads (`places` finds that out), and `exists`.

Must not know: work units, tasks, order, how files are written.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Hashable
from copy import copy
from inspect import CO_ASYNC_GENERATOR, CO_GENERATOR
from stat import S_ISLNK
from time import monotonic
from types import FunctionType
from typing import TYPE_CHECKING, Any, Never

from runcue._artifacts.artifact import Artifact, truly
from runcue._artifacts.changes import file_changed
from runcue._artifacts.marks import Doubt, doubt_of, vouch_for
from runcue._artifacts.places import PASS, SEEN, Place, leads, locate, next_pass, path_text
from runcue._artifacts.reads import OVERLAY, READS
from runcue._model.callables import located
from runcue._model.checks import NOTHING, check_callback, is_async, refuse_options, says_what_it_takes
from runcue._model.errors import ConfigurationError
from runcue._model.rate import parse_duration
from runcue._model.texts import seconds_in_words, words_of

if TYPE_CHECKING:
    # Both cost more to import than all of this; whoever gives or asks for one has them.
    from datetime import timedelta
    from pathlib import Path

__all__ = ["File", "exists"]


class File(Artifact):
    """A file (or a folder) as an artifact: valid if it exists, is young enough and passes a check of yours.

    It can be given to `open()` and `Path()` like a path.

    Args:
        path: Where it is: text, bytes or a Path. A relative one is taken from the working folder at this moment; where
            a task declares it for all its work units, from that at each submission.
        max_age: How long it stays valid after it was written: seconds, a timedelta, or text such as "24h".
        validate: Takes its `Path` and says whether the content is right. Asked often; keep it quick.
        **unknown: None: an option that is misspelt is told.

    Raises:
        ConfigurationError: A value cannot work.

    Example:
        >>> import runcue
        >>> runcue.File("no/such/file.txt", max_age="24h").valid()
        False
    """

    # As few as can be: a cue may hold a great many files, and each reference is one more for the garbage collector.
    __slots__ = ("_checks", "_given", "_path", "_place")
    _asked_plainly = True
    _key: str
    # What is opened and looked at, absolute; the same object as the key, but for paths that lead through links.
    _path: str
    # The real folder that its key is in.
    _place: Place
    # Its max_age and validate; None if to be there is all that is asked of it.
    _checks: tuple[float | None, Callable[[Path], object] | None] | None

    def __init__(
        self,
        path: str | bytes | os.PathLike[str] | os.PathLike[bytes] = NOTHING,
        *misplaced: Never,
        max_age: float | str | timedelta | None = None,
        validate: Callable[[Path], object] | None = None,
        **unknown: Never,
    ) -> None:
        if misplaced or unknown:
            refuse_options(File.__init__, unknown)
        self._given = given = path if type(path) is str else path_text(path)
        folder, _, name = given.rpartition("/")
        place = SEEN.get(folder)
        # Nearly always this is a plain path into a folder that was just looked at: no link, no dots. All names that
        # begin with a dot, and the empty one, come before "/"; what no filesystem takes cannot be printed.
        if place is not None and name > "/" and name.isprintable() and monotonic() < PASS.until:
            self._path = self._key = given
            self._place = place
        else:
            self._path, self._key, self._place = locate(given)
        if max_age is None and validate is None:
            self._checks = None
            return
        age = None if max_age is None else parse_duration(max_age, f"max_age of File({given!r})")
        self._checks = age, validate
        if validate is not None:
            _check_validate(validate, self)

    @property
    def path(self) -> Path:
        """Where it is, absolute."""
        from pathlib import Path  # noqa: PLC0415

        return Path(self._path)

    @property
    def max_age(self) -> float | None:
        """Seconds for which it stays valid, None for ever."""
        return None if self._checks is None else self._checks[0]

    @property
    def validate(self) -> Callable[[Path], object] | None:
        """What says whether its content is right, None if nothing does."""
        return None if self._checks is None else self._checks[1]

    def valid(self) -> bool:
        """Whether it exists, is no older than `max_age` and passes `validate`."""
        reads = READS.get()
        if reads is not None:
            reads[self._key] = self
            if (overlay := OVERLAY.get()) is not None:
                return bool(overlay.valid(self))
        found = self._look(reads)
        return found is not None and self.passes(found[0]) and self._doubt(*found) is None

    def version(self) -> int | None:
        """When it was last written, in nanoseconds since the epoch; None if it is missing, or left unfinished."""
        reads = READS.get()
        if reads is not None:
            reads[self._key] = self
            if (overlay := OVERLAY.get()) is not None:
                return overlay.version(self)  # type: ignore[no-any-return]
        found = self._look(reads)
        return None if found is None or self._doubt(*found) is not None else found[0].st_mtime_ns

    def stamp(self) -> int | None:
        """Its version if it is valid, None if it is not, whatever marks say: for what has just been made."""
        found = self._look()
        return found[0].st_mtime_ns if found is not None and self.passes(found[0]) else None

    def passes(self, status: os.stat_result) -> bool:
        """Whether it is young enough and passes `validate`.

        Args:
            status: What was found, links followed.
        """
        if self._checks is None:
            return True
        max_age, validate = self._checks
        # By the wall clock of the machine, also on a virtual one: files are dated by that.
        if max_age is not None and time.time() - status.st_mtime_ns / 1e9 > max_age:
            return False
        if validate is None:
            return True
        answer = validate(self.path)
        return answer is True or (answer is not False and truly(answer, self, validate))

    def _look(self, reads: dict[Hashable, Any] | None = None) -> tuple[os.stat_result, bool] | None:
        """Its status, links followed, and whether it is a link; None if it is missing.

        Args:
            reads: Where to write down what it leads to.
        """
        try:
            status = os.lstat(self._path)
            if not S_ISLNK(status.st_mode):
                return status, False
            if reads is not None:
                reads.update((one._key, one) for one in self.pointed())
            return os.stat(self._path), True
        except OSError:
            return None

    def _doubt(self, status: os.stat_result, is_link: bool) -> Doubt | None:
        """By what mark it is in doubt. In a gate those of running handlers count, too: elsewhere it may be theirs."""
        if monotonic() > PASS.until:
            next_pass()
        running = READS.get() is not None
        return doubt_of(self._key, self._place, status, path=self._path, is_link=is_link, running=running)

    def identity(self) -> Hashable:
        """Where its path leads: the real path of its folder, and its last name."""
        return self._key

    def problem(self) -> str:
        """What is wrong with it, as the end of a sentence that begins with its name."""
        return self._problem()

    def problem_as_made(self) -> str:
        """The same whatever marks say: of what has just been made."""
        return self._problem(marked=False)

    def _problem(self, *, marked: bool = True) -> str:
        is_link = False
        try:
            status = os.lstat(self._path)
            if is_link := S_ISLNK(status.st_mode):
                status = os.stat(self._path)
        except (FileNotFoundError, NotADirectoryError):
            pointed = leads(self._key) if is_link else ()
            return f"leads to {pointed[-1]}, which is missing" if pointed else "is missing"
        except OSError as error:
            return f"cannot be looked at: {error.strerror}"
        if marked and (doubt := self._doubt(status, is_link)) is not None:
            return doubt.problem(repr(self), self._key)
        age = time.time() - status.st_mtime_ns / 1e9
        if self.max_age is not None and age > self.max_age:
            old, most = seconds_in_words(age), seconds_in_words(self.max_age)
            if old == most:
                return f"is older than its max_age of {most}, by {seconds_in_words(age - self.max_age)}"
            return f"is {old} old, which is more than its max_age of {most}"
        if type(self).valid is not File.valid:
            return f"is not valid: {located(type(self).valid)} said no"
        return "is there now" if self.validate is None else f"is not valid: {located(self.validate)} said no"

    @says_what_it_takes
    def touch(self) -> None:
        """Date it now, make it (empty) if it is missing, and tell the work units that looked at it.

        What a handler has left that did not succeed counts as proof from now on.
        """
        if self._path.endswith(os.sep):
            os.utime(self._path)  # there is no making a folder by touching it
        else:
            self.path.touch()
        path, key, place = locate(self._path)
        vouch_for(key, place, path=path)
        file_changed(self._key)

    def again(self, path: str | None = None) -> File:
        """The same file as its path leads now: itself, unless a link on the way was turned.

        Args:
            path: To be taken in place of its own: a relative one, if the working folder of now counts.
        """
        found = locate(self._path if path is None else path)
        if found == (self._path, self._key, self._place):
            return self
        twin = copy(self)
        twin._path, twin._key, twin._place = found
        return twin

    def is_link(self) -> bool:
        """Whether it is a link, as far as is known of its folder in this pass."""
        place = self._place
        return place.linkless != PASS.number and place.look().has_link(self._key.rpartition(os.sep)[2])

    def pointed(self) -> tuple[File, ...]:
        """What it leads to if it is a link: the file, and all links between; nothing if it is none."""
        return tuple(map(File, leads(self._key)))

    def __getstate__(self) -> Any:
        state: Any = object.__getstate__(self)
        attributes, slots = state
        # Where it is remembered is of no use in another process.
        return attributes, {name: value for name, value in slots.items() if name != "_place"}

    def __setstate__(self, state: Any) -> None:
        attributes, slots = state
        for name, value in {**(attributes or {}), **slots}.items():
            setattr(self, name, value)
        self._path, self._key, self._place = locate(self._path)

    def __fspath__(self) -> str:
        return self._path

    def __str__(self) -> str:
        return self._given

    def __repr__(self) -> str:
        return f"File({words_of(self._given)})"


def _check_validate(validate: Any, file: File) -> None:
    """Check what is to say whether the content of a file is right.

    Raises:
        ConfigurationError: It cannot.
    """
    if not callable(validate) or is_async(validate):
        raise ConfigurationError(
            f"validate of {file!r} must be a plain function that takes a Path, not {words_of(validate)}."
        )
    # A task may declare files by the thousand: nearly always this is seen at once.
    code = validate.__code__ if type(validate) is FunctionType else None
    if code is None or code.co_argcount != 1 or code.co_flags & (CO_GENERATOR | CO_ASYNC_GENERATOR):
        check_callback(validate, f"validate of {file!r}", ("path",))


def exists(
    path: str | bytes | os.PathLike[str] | os.PathLike[bytes] = NOTHING, *misplaced: Never, **unknown: Never
) -> bool:
    """Whether a file exists, asked so that a cue knows of it: `File(path).valid()`.

    Inside `is_ready` it makes the work wait for this very file: it is asked again when that is published, touched or
    nudged, instead of every now and then.
    """
    if misplaced or unknown:
        refuse_options(exists, unknown)
    return File(path).valid()
