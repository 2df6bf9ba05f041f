"""Atomic publication of files: each appears whole or not at all, and only when whoever wrote it has succeeded.

Lives here: `OutputTransaction`, all that one work unit has staged (`staged_file` says how one file is), put in place
together; and `atomic_write`, both in one call.

A kill at any instant leaves every target as it was or as it shall be. Between the renames of several targets some may
be new and some old: no filesystem renames two files at once. All bytes are on the disk before the first rename, so that
this gap is as short as it can be.

Must not know: work units, artifacts, who is told of a publication, event loops.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runcue._artifacts.dating import TIE_NS, Dating, MustWait, Sources
from runcue._artifacts.descriptors import with_descriptor
from runcue._artifacts.staged_file import StagedFile
from runcue._artifacts.targets import absolute_target, refusal
from runcue._artifacts.temp_files import OPEN_FLAGS
from runcue._artifacts.temp_folder import TempFolder
from runcue._model.errors import ConfigurationError, PublishError, UsageError
from runcue._model.texts import message_of, words_of

__all__ = ["OutputTransaction", "atomic_write"]


class OutputTransaction:
    """All that one work unit has staged. It ends with `publish()` or `discard()`; the next attempt takes a new one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._staged: dict[Path, StagedFile] = {}
        # Where other programs write, by the folder of the targets as it was named, in which no two have one name; and
        # by the real one, which may be another for each if they are links.
        self._folders: dict[tuple[str, Path], TempFolder] = {}
        self._closed = False

    @property
    def durable(self) -> bool:
        """Whether publishing has to wait for the disk."""
        return any(staged.durable for staged in self._staged.values())

    def open(
        self,
        target: str | os.PathLike[str],
        mode: str = "w",
        encoding: str | None = None,
        durable: bool = True,
    ) -> StagedFile:
        """Stage one more file; what was staged for the same target is discarded. For the arguments see `StagedFile`.

        Raises:
            ConfigurationError: An argument cannot work.
            UsageError: The publication has ended, or the same target is being written.
        """
        staged = StagedFile(target, mode, encoding, durable)
        self._stage(staged)
        return staged

    def let_make(self, target: str | os.PathLike[str]) -> Path:
        """Stage one more file, which another program makes.

        It gets its own name, by which programs know a format, in a temp folder beside the target.

        Returns:
            Where that program is to write it; nothing is there.

        Raises:
            ConfigurationError: It is no path of a file.
            PublishError: There can be no temp folder.
            UsageError: As for `open`.
        """
        staged = StagedFile(target, "wb")
        made = self._folder_for(staged).path / os.path.basename(staged.target)
        staged.let_make(made)
        self._stage(staged)
        return made

    def _folder_for(self, staged: StagedFile) -> TempFolder:
        beside = staged.path.parent
        key = os.path.dirname(staged.target), beside
        with self._lock:
            self._check_open(staged)
            try:
                if key not in self._folders:
                    staged.make_folders()
                    self._folders[key] = TempFolder(beside)
            except OSError as error:
                raise refusal(staged.target, error) from error
            return self._folders[key]

    def _stage(self, staged: StagedFile) -> None:
        """Take one more in; what was staged for the same target is discarded."""
        with self._lock:
            self._check_open(staged)
            earlier = self._staged.get(staged.path)
            if earlier is not None and earlier.is_open:
                raise UsageError(
                    f"{staged.target!r} is being written: the `with` statement of its first write() is still open."
                )
            self._staged.pop(staged.path, None)  # it comes last now
            self._staged[staged.path] = staged
        if earlier is not None:
            earlier.discard()

    def _check_open(self, staged: StagedFile) -> None:
        if self._closed:
            raise UsageError(f"{staged.target!r} cannot be written any more: its work has ended.")

    def reserve(self, target: str) -> str:
        """Stage one more file that somebody else writes, in another process.

        Args:
            target: What it will be.

        Returns:
            The path of its temp file, made and claimed.

        Raises:
            PublishError: There cannot be such a file.
        """
        with self.open(target, "wb") as file:
            return str(file.name)

    def keep(self, written: Mapping[str, bool]) -> None:
        """Publish of what was reserved no more than this.

        Args:
            written: What was written, by what it will be, with whether the disk is to be waited for.
        """
        with self._lock:
            unwritten = [path for path, staged in self._staged.items() if staged.target not in written]
            discarded = [self._staged.pop(path) for path in unwritten]
            for staged in self._staged.values():
                staged.durable = written[staged.target]
        for staged in discarded:
            staged.discard()

    def publish(
        self, sources: Sources | None = None, *, dated: bool = True, patient: bool = True
    ) -> list[str]:
        """Put everything in place: flush all files, date and rename them, then flush each folder once.

        Args:
            sources: What the files were made from.
            dated: Whether their dates prove anything. Of files that are no artifacts they do not.
            patient: Wait where the dates take that. See `Dating`.

        Returns:
            The absolute paths of what was published, in the order in which it was staged; none after `discard()`.

        Raises:
            ConfigurationError: The `with` of a file was not left or not entered. Nothing was published.
            PublishError: Nothing was published, unless the text says what was: a rename failed after others.
            MustWait: Nothing was published yet, and to call this again will do so.
        """
        with self._lock:
            self._closed = True
            outputs = [staged for staged in self._staged.values() if not staged.over]
        done: list[str] = []
        try:
            for staged in outputs:
                staged.take_over()
            # Before anything is dated: it changes the folders that they lie in.
            self._remove_folders()
            for staged in outputs:
                staged.flush_to_disk()
            if dated:
                self._date_and_rename(outputs, sources, done, patient)
            else:
                with self._lock:
                    self._rename(outputs, done)
        except MustWait:
            raise
        except BaseException as error:
            self.discard()
            if done and isinstance(error, PublishError):
                raise PublishError(f"{error} Published before that: {', '.join(map(repr, done))}.") from error
            raise
        for folder in dict.fromkeys(
            folder for staged in outputs if staged.durable and done for folder in staged.grown
        ):
            _sync_folder(folder)
        return done

    def _date_and_rename(
        self, outputs: list[StagedFile], sources: Sources | None, done: list[str], patient: bool
    ) -> None:
        if not outputs:
            return
        is_last_try = False
        with Dating(patient=patient) as dating:
            while True:
                with self._lock:
                    tie = _date(outputs, sources, is_last_try) if self._staged else None
                    if tie is None:
                        self._rename(outputs, done)
                        return
                is_last_try = not dating.wait(tie)

    def _rename(self, outputs: list[StagedFile], done: list[str]) -> None:
        """Rename all, unless they were discarded. From here on a discard comes too late, and waits for the lock."""
        if self._staged:
            for staged in outputs:
                staged.publish()
                done.append(staged.target)
            self._staged = {}

    def discard(self) -> None:
        """Remove all that is not published. Never raises, and any thread may call it at any time."""
        with self._lock:
            self._closed = True
            outputs, self._staged = self._staged, {}
        for staged in outputs.values():
            staged.discard()
        self._remove_folders()

    def _remove_folders(self) -> None:
        with self._lock:
            folders, self._folders = self._folders, {}
        for folder in folders.values():
            folder.remove()


def _date(outputs: list[StagedFile], sources: Sources | None, is_last_try: bool) -> int | None:
    """Date files that are about to be renamed, and look at what they were made from after that.

    Returns:
        The date of one that is not later than all that it has to be later than, though it might be; None if there is
        none, and they can be renamed.
    """
    dates = [staged.touch() for staged in outputs]
    newest = 0 if sources is None else sources.look([str(staged.path) for staged in outputs])
    for staged, date in zip(outputs, dates, strict=True):
        ahead = [one for one in (newest, staged.replaces()) if date <= one <= date + TIE_NS]
        if ahead:
            if not is_last_try:
                return date
            staged.date(max(ahead) + 1)
    if sources is not None:
        sources.settle_before(outputs)
    return None


def atomic_write(
    path: str | os.PathLike[str],
    data: Any,
    *,
    encoding: str = "utf-8",
    durable: bool = True,
    dated: bool = True,
) -> None:
    """Write a file that appears whole or not at all.

    Args:
        path: The file. Missing folders are made.
        data: Text, or bytes in any form that `memoryview` takes.
        encoding: Of text; bytes are written as they are.
        durable: Whether it must survive a power cut: the disk is waited for.
        dated: Whether its date proves anything, so that it must be later than that of the file it replaces.

    Raises:
        ConfigurationError: An argument cannot work.
        PublishError: The file cannot be written. What was there before still is.
    """
    is_text = isinstance(data, str)
    if not is_text:
        try:
            view = memoryview(data)
            data = (
                view if view.c_contiguous else view.tobytes()
            )  # every other byte, say, or a column of an array
        except TypeError as error:
            raise ConfigurationError(
                f"A file is written from str or bytes, not {type(data).__qualname__} (for {words_of(path)})."
            ) from error
    publication = OutputTransaction()
    try:
        with publication.open(path, "w" if is_text else "wb", encoding if is_text else None, durable) as file:
            file.write(data)
        publication.publish(dated=dated)
    except OSError as error:
        if isinstance(error, PublishError):
            raise
        raise refusal(absolute_target(path), error) from error
    except UnicodeEncodeError as error:
        raise ConfigurationError(
            f"What was given for {words_of(path)} cannot be written: {message_of(error)}. "
            "Give bytes, or another encoding."
        ) from error
    finally:
        publication.discard()


def _sync_folder(folder: Path) -> None:
    """Makes the names in a folder survive a power cut, where that can be asked for."""
    try:
        with_descriptor(folder, os.O_RDONLY | OPEN_FLAGS, os.fsync)
    except OSError as error:
        # Only the disk itself is worth an error. All others mean that this filesystem does no such thing, or Windows;
        # or that one may write in the folder but not list it.
        if error.errno == errno.EIO:
            raise PublishError(
                f"What was published in {str(folder)!r} may not survive a power cut: {error.strerror}. Check the disk."
            ) from error
