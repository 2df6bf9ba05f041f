"""What the outputs of one run are made from: the inputs as they were when it began, and whether they still are that.

An input that changes during the run leaves the outputs out of date, whatever their dates say: nobody knows which of its
contents they were made from. (Learned from cargo#5919, where such outputs counted as fresh for ever, and from doit#119
and snakemake#1694, where it was noted after the run.) Otherwise each output must come to be later than all inputs.

An artifact that is both input and output of one work unit is changed by that very work, so it counts as an output; and
so does the folder in which an output is, whose date tells that something was put there.

What work units stage is dated before it is put in place (`look`, `settle_before`). What a handler wrote in place has a
date already, and keeps it unless it is that of an input; this is found out afterwards (`settle_after`), together with
what must be later than other outputs of the same run, or than the folder that it was put in.

Lives here: `Provenance`, of policies that go by dates.

Must not know: work units, policies, event loops.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from itertools import islice
from stat import S_ISDIR, S_ISLNK
from typing import Any, Final, NamedTuple

from runcue._artifacts.artifact import Artifact
from runcue._artifacts.dating import TIE_NS, Dated, Dating
from runcue._artifacts.descriptors import patiently
from runcue._artifacts.file import File
from runcue._artifacts.flag import Flag
from runcue._artifacts.places import final
from runcue._artifacts.run_marks import outdate
from runcue._artifacts.temp_files import PREFIX
from runcue._freshness.versions import as_time, is_dated
from runcue._model.texts import LONGEST_PATH, title_of

__all__ = ["Provenance"]

logger = logging.getLogger("runcue")

_UNDATED: Final = (
    "The date of %s cannot be set (%s), so it may be taken for older than its inputs and be made again"
)

_MOST_NAMES: Final = 10_000
"""So many names in a folder are compared with those before the run. What is made in a larger one stays out of date."""

_Look = tuple[int, int, int, int]
"""What tells one content of a file from another: mtime_ns, size, inode, device."""

_Names = dict[str, int]


class _File(NamedTuple):
    """An artifact that is a file, as it was.

    Attributes:
        artifact: The file.
        key: What it leads to, if it is a link.
        look: None if there was none.
        is_folder: Whether it was a folder.
    """

    artifact: File
    key: str
    look: _Look | None
    is_folder: bool


class _Written:
    """An output that this run has written, and is in place.

    Attributes:
        file: The output.
        is_own: Whether it is an input as well.
        mtime: Its date.
    """

    __slots__ = ("atime", "file", "identity", "is_own", "mtime")

    def __init__(self, file: _File, status: os.stat_result, *, is_own: bool) -> None:
        self.file = file
        self.is_own = is_own
        self.atime = status.st_atime_ns
        self.mtime = status.st_mtime_ns
        self.identity = status.st_ino, status.st_dev

    def touch(self) -> None:
        """Date it now, by the clock of its filesystem."""
        path = self.file.artifact._path
        try:
            os.utime(path)
            self.mtime = os.stat(path).st_mtime_ns
        except OSError as error:
            logger.warning(_UNDATED, title_of(self.file.artifact, LONGEST_PATH), error.strerror)

    def date(self, mtime: int) -> None:
        """Give it another date, as far as its filesystem can."""
        path = self.file.artifact._path
        try:
            os.utime(path, ns=(self.atime, mtime))
            taken = os.stat(path).st_mtime_ns == mtime
        except OSError as error:
            logger.warning(_UNDATED, title_of(self.file.artifact, LONGEST_PATH), error.strerror)
            return
        if not taken and mtime > self.mtime:
            logger.info(
                "%s has a date that is not exact: its filesystem counts in steps",
                title_of(self.file.artifact, LONGEST_PATH),
            )


class Provenance:
    """What the outputs of a run are made from. To be made just before the run.

    Args:
        inputs: Of the work unit.
        versions: Of the inputs, as far as they are known.
        outputs: Of the work unit.

    Attributes:
        changed: An input that was found to have changed during the run; None if none was, or nobody has looked.
    """

    __slots__ = (
        "_files",
        "_fixed",
        "_flags",
        "_folders",
        "_newest",
        "_outputs",
        "_own",
        "_staged",
        "changed",
    )

    def __init__(
        self, inputs: Sequence[Artifact], versions: Sequence[Any], outputs: Sequence[Artifact]
    ) -> None:
        self.changed: Artifact | None = None
        self._outputs = [_seen(output) for output in outputs if is_dated(output)]
        self._files: list[_File] = []
        self._flags: list[tuple[Flag, int | None]] = []
        self._own: list[_File] = []
        self._folders: list[tuple[_File, _Names | None]] = []
        # What was put in place by `StagedFile`s, as far as that is known.
        self._staged: Sequence[str] = ()
        newest = fixed = 0
        made = {output.key for output in self._outputs}
        for index, artifact in enumerate(inputs):
            if is_dated(artifact):
                file = _seen(artifact)
                if file.key in made:
                    self._own.append(file)
                elif file.is_folder and any(key.startswith(file.key + os.sep) for key in made):
                    self._folders.append((file, _names_in(file, self._outputs)))
                else:
                    self._files.append(file)
                    if file.look is not None and file.look[0] > newest:
                        newest = file.look[0]
                continue
            if type(artifact) is Flag:
                version: Any = artifact.stamp()
                self._flags.append((artifact, version))
            else:
                version = as_time(versions[index]) if index < len(versions) else None
                if type(version) is int and version > fixed:
                    fixed = version
            if type(version) is int and version > newest:
                newest = version
        # The latest date among the inputs, and among those of them that are not looked at again.
        self._newest, self._fixed = newest, fixed

    @property
    def is_crowded(self) -> bool:
        """Whether what has changed is a folder in which outputs are: others may do the same there."""
        return any(file.artifact is self.changed for file, _ in self._folders)

    def look(self, replaced: Sequence[str]) -> int:
        """See `runcue._artifacts.dating.Sources`."""
        self._staged = replaced
        if self.changed is None:
            self.changed = self._find_changed()
        if self.changed is None and self._own:
            # What is about to be replaced is what it was, unless somebody else was there.
            found = (own.artifact for own in self._own if own.key in replaced and _look_at(own) != own.look)
            self.changed = next(found, None)
        return self._newest if self.changed is None else 0

    def settle_before(self, files: Sequence[Dated]) -> None:
        """See `runcue._artifacts.dating.Sources`."""
        if self.changed is None:
            return
        outputs = {final(one.artifact._key): one for one in self._outputs}
        for file in files:
            output = outputs.get(str(file.path))
            if output is None:
                continue  # no proof of anything
            status = file.look()
            if not outdate(output.artifact._key, status.st_ino, status.st_mtime_ns):
                file.date(min(status.st_mtime_ns, self._out_of_date()))

    def settle_after(self, *, patient: bool = True) -> None:
        """Give outputs that are in place dates that tell the truth about them.

        Those that were written in place and are as old as an input, or older by no more than a tick, are dated anew;
        so are those that must be later than other outputs of this run. If an input has changed, they are marked as out
        of date, or dated back where that is not possible.

        Args:
            patient: Wait where it takes that. See `Dating`.

        Raises:
            MustWait: To call this again will do the rest.
        """
        needs_more = self._own or self._folders
        if not needs_more and all(one.key in self._staged for one in self._outputs):
            return
        written = self._written()
        tied: list[_Written] = []
        is_last_try = False
        with Dating(patient=patient) as dating:
            while True:
                for one in tied:
                    one.touch()
                if self.changed is None:
                    self.changed = self._find_changed()
                folders = self._look_into_folders() if self.changed is None else 0
                if self.changed is not None:
                    self._leave_out_of_date(written)
                    return
                tied = self._ties(written, folders)
                if not tied:
                    return
                if is_last_try:
                    for one in tied:
                        one.date(self._bar(one, folders) + 1)
                    return
                is_last_try = not dating.wait(tied[0].mtime)

    def _written(self) -> list[_Written]:
        """The outputs that this run has written, and are there."""
        own = {one.key for one in self._own}
        found = []
        for file in self._outputs:
            try:
                status = os.stat(file.artifact._path)
            except OSError:
                continue  # the work unit fails for it
            if _look_of(status) != file.look:
                found.append(_Written(file, status, is_own=file.key in own))
        return found

    def _find_changed(self) -> Artifact | None:
        for file in self._files:
            try:
                status = os.stat(file.artifact._path)
            except OSError:
                continue  # used up or put away; if it comes back it has a date that can be compared
            if _look_of(status) != file.look:
                return file.artifact
        for flag, version in self._flags:
            if flag.stamp() not in (version, None):
                return flag
        return None

    def _look_into_folders(self) -> int:
        """Look at the folders in which outputs are. Returns the latest of their dates."""
        latest = 0
        for file, names in self._folders:
            look = _look_at(file)
            if names is None or look is None:
                continue
            latest = max(latest, look[0])
            if _names_in(file, self._outputs) != names:
                self.changed = file.artifact
        return latest

    def _bar(self, one: _Written, folders: int) -> int:
        """What the date of an output must be later than."""
        bar = max(self._newest, folders)
        if not one.is_own:
            for file in self._own:
                look = _look_at(file)
                if look is not None and look[0] > bar:
                    bar = look[0]
        return bar

    def _ties(self, written: list[_Written], folders: int) -> list[_Written]:
        """Those that are no later than what they must be later than, if that may be the fault of clocks."""
        tied = [one for one in written if self._newest - TIE_NS <= one.mtime <= self._bar(one, folders)]
        if tied:
            # What is one file with an input can have no date of its own.
            inputs = {file.look[2:] for file in self._files if file.look is not None}
            tied = [one for one in tied if one.identity not in inputs]
        return tied

    def _leave_out_of_date(self, written: list[_Written]) -> None:
        marked = {
            file.key
            for file in self._outputs
            if (look := _look_at(file)) is not None and outdate(file.artifact._key, look[2], look[0])
        }
        for one in written:
            if one.file.key not in marked and one.mtime > (date := self._out_of_date()):
                one.date(date)

    def _out_of_date(self) -> int:
        """A date that is not later than that of some input, as it was or as it is, whichever is earlier."""
        then, now = self._newest, self._fixed
        for file in (*self._files, *(file for file, _ in self._folders)):
            if file.look is not None and file.look[0] > then:
                then = file.look[0]
            look = _look_at(file)
            if look is not None and look[0] > now:
                now = look[0]
        for flag, _ in self._flags:
            now = max(now, flag.stamp() or 0)
        return min(then, now or then)


def _seen(artifact: File) -> _File:
    path, key = artifact._path, artifact._key
    try:
        status = os.lstat(path)
        if S_ISLNK(status.st_mode):
            key = final(key)
            status = os.stat(path)
    except OSError:
        return _File(artifact, key, None, is_folder=False)
    return _File(artifact, key, _look_of(status), S_ISDIR(status.st_mode))


def _look_of(status: os.stat_result) -> _Look:
    return status.st_mtime_ns, status.st_size, status.st_ino, status.st_dev


def _look_at(file: _File) -> _Look | None:
    try:
        return _look_of(os.stat(file.artifact._path))
    except OSError:
        return None


def _names_in(folder: _File, outputs: Sequence[_File]) -> _Names | None:
    """What is in a folder, but for what leads to these outputs and what runcue keeps there; None if it is too much."""
    inside = folder.key + os.sep
    own = {one.key[len(inside) :].partition(os.sep)[0] for one in outputs if one.key.startswith(inside)}
    names: _Names = {}
    try:
        with patiently(os.scandir, folder.key) as entries:
            # In as few steps as can be: whoever fills a large folder has this done twice for each file.
            while some := {entry.name: entry.inode() for entry in islice(entries, 1_000)}:
                for name in [name for name in some if name.startswith(PREFIX)]:
                    del some[name]
                names |= some
                if len(names) > _MOST_NAMES + len(own):
                    return None
    except OSError:
        return None
    for name in own:
        names.pop(name, None)
    return names if len(names) <= _MOST_NAMES else None
