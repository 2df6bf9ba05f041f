"""A folder into which others put files: which of them are meant, and what they are called there.

Lives here: `DropFolder`, one folder with its pattern, and finding what is in it. Links to folders are followed, as
whoever watches them follows them; a folder that can be reached in several ways is looked through once.

Must not know: tasks, when a file is complete, who is told.
"""

from __future__ import annotations

import fnmatch
import os
import re
import time
from collections.abc import Iterator

from runcue._artifacts.looks import is_recent
from runcue._artifacts.places import absolute
from runcue._artifacts.temp_files import PREFIX

__all__ = ["DropFolder"]


class DropFolder:
    """One folder.

    Args:
        given: Its path, as it was given: so begin the paths of its files.
        pattern: What their names must match, as a shell would have it; None: anything.
        recursive: Also what is in its folders.

    Attributes:
        given: Its path, without slashes at the end.
        path: The same, absolute.
        pattern: As given.
        recursive: As given.
        dates: When an entry of a folder last came or went, by the folders that were looked through; 0 if it may have
            changed since unseen.
        unreadable: The folders that could not be looked through, with what the system says.
    """

    def __init__(self, given: str, pattern: str | None, *, recursive: bool) -> None:
        self.given = given.rstrip(os.sep) or os.sep
        self.path = absolute(given).rstrip(os.sep) or os.sep
        self.pattern = pattern
        self.recursive = recursive
        self.dates: dict[str, int] = {}
        self.unreadable: dict[str, str] = {}
        self._prefix = os.path.join(self.path, "")
        self._matches = None if pattern is None else re.compile(fnmatch.translate(os.path.normcase(pattern)))

    def holds(self, path: str) -> bool:
        """Whether a file is one of those that are meant, by its absolute path. Nothing of runcue's own is."""
        if not path.startswith(self._prefix):
            return False
        inside = path[len(self._prefix) :]
        folders, _, name = inside.rpartition(os.sep)
        if folders and not self.recursive:
            return False
        if inside.startswith(PREFIX) or f"{os.sep}{PREFIX}" in inside:
            return False
        return self._matches is None or self._matches.match(os.path.normcase(name)) is not None

    def called(self, path: str) -> str:
        """What the file of an absolute path is called, seen from where this folder was given."""
        return os.path.join(self.given, path[len(self._prefix) :])

    def reaches(self, folder: str) -> str | None:
        """Where to look if anything may have changed in a folder: there, or in all of this one; None: nowhere."""
        if self._prefix.startswith(os.path.join(folder, "")):
            return self.path
        return folder if self.recursive and folder.startswith(self._prefix) else None

    def files(self, folder: str, *, whole: bool = True) -> Iterator[str]:
        """The absolute paths of the files in a folder of it that are meant, at any depth if that is wanted.

        What is looked through is lazy: names may come and go meanwhile.

        Args:
            folder: Its own path, or that of a folder in it.
            whole: Also of folders in there that were looked through before.
        """
        seen: set[tuple[int, int]] = set()
        links: list[str] = []
        folders = [folder]
        while folders or links:
            # Links last: what can be reached without one is called so.
            one = folders.pop() if folders else links.pop()
            if whole or one is folder or one not in self.dates:
                yield from self._files(one, seen, folders, links)

    def _files(
        self, folder: str, seen: set[tuple[int, int]], folders: list[str], links: list[str]
    ) -> Iterator[str]:
        now = time.time_ns()  # what changes in there from here on gives it another date, or a recent one
        try:
            status = os.stat(folder)
            if (status.st_dev, status.st_ino) in seen:
                return
            seen.add((status.st_dev, status.st_ino))
            self.dates[folder] = 0
            with os.scandir(folder) as listed:
                entries = sorted(listed, key=_name)  # so that whoever compares two runs finds one order
            for entry in entries:
                path = os.path.join(folder, entry.name)
                if entry.name.startswith(PREFIX):
                    continue
                if _is_folder(entry):
                    if self.recursive:
                        (links if entry.is_symlink() else folders).append(path)
                elif self.holds(path):
                    yield path
            if not is_recent(status, now):
                self.dates[folder] = status.st_mtime_ns
            self.unreadable.pop(folder, None)
        except (FileNotFoundError, NotADirectoryError):
            self.dates.pop(folder, None)  # it is gone, or was a file
        except OSError as error:
            self.unreadable.setdefault(folder, error.strerror or str(error))

    def changed(self) -> Iterator[str]:
        """The folders in which something has come or gone since they were looked through."""
        for folder, date in list({self.path: 0, **self.dates}.items()):
            try:
                if os.stat(folder).st_mtime_ns != date:
                    yield folder
            except OSError:
                yield folder


def _name(entry: os.DirEntry[str]) -> str:
    return entry.name


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False
