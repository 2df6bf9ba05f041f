"""What this process has made inside of folders, which their dates do not tell.

The date of a folder says when an entry came or went, not that one was written anew. Where a work unit of this process
has made something in a folder, at any depth, that is remembered, and who has read the folder before is out of date.

Lives here: `FolderNews`, of which a process has one. Times are compared only with what earlier processes have made:
what was made in this one is known by the order of events.

Must not know: links, event loops; what other processes do.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Hashable
from time import time_ns
from typing import Any, Final, NamedTuple

from runcue._model.declaration import Declaration
from runcue._scheduling.folders import folders_above

__all__ = ["FOLDER_NEWS", "FolderNews"]

_MOST_FOLDERS: Final = 100_000
_MOST_READERS: Final = 10_000


class _News(NamedTuple):
    """Something was made in a folder.

    Attributes:
        number: By this the order is known.
        at: When, in nanoseconds since the epoch.
        makes: What the work unit makes, by keys: this stands for it in later runs.
        reads_it: Whether it reads that folder itself.
    """

    number: int
    at: int
    makes: tuple[Hashable, ...]
    reads_it: bool


class FolderNews:
    """The memory of a process.

    Attributes:
        count: How often something was made.
        latest: Of each folder the latest news, and the latest that does not come from the same work unit.
    """

    def __init__(self) -> None:
        self.count = 0
        self.latest: dict[Hashable, tuple[_News, _News | None]] = {}
        # Stands for what was forgotten.
        self._forgotten: _News | None = None
        # By the first output of who has read a folder: what was known when it began.
        self._read_at: OrderedDict[Hashable, int] = OrderedDict()
        self._lock = threading.Lock()

    def note(self, declared: Declaration) -> str | None:
        """A work unit has succeeded: note what it has made in which folders.

        Args:
            declared: What it declares; `seen` is the count as of its start.

        Returns:
            A folder that it reads and makes something in, as another work unit does that has made something in there.
        """
        makes = _keys(declared.makes)
        files = [key for key in makes if type(key) is str and key[:1] == os.sep]
        reads = _keys(declared.needs)
        shared = None
        with self._lock:
            self.count += 1
            news = _News(self.count, time_ns(), makes, reads_it=False)
            if len(self.latest) > _MOST_FOLDERS:
                self.latest.clear()
                self._forgotten = news._replace(makes=())
            for folder in {folder: None for key in files for folder in folders_above(key)}:
                known = self.latest.get(folder)
                one = news._replace(reads_it=True) if folder in reads else news
                before = None if known is None else known[1] if known[0].makes == makes else known[0]
                self.latest[folder] = one, before
                if one.reads_it and before is not None and before.reads_it:
                    shared = folder
            if makes and any(key in self.latest for key in reads):
                self._read_at[makes[0]] = declared.seen
                self._read_at.move_to_end(makes[0])
                if len(self._read_at) > _MOST_READERS:
                    self._read_at.popitem(last=False)
        return shared

    def later_than(self, declared: Declaration) -> Any | None:
        """A folder among the inputs in which another work unit has made something since the outputs were made."""
        makes = _keys(declared.makes)
        for artifact in declared.needs:
            news = self._news_of(artifact._key, makes)
            if news is None:
                continue
            read_at = self._read_at.get(makes[0])
            if read_at is not None:
                if news.number > read_at:
                    return artifact
            elif any(type(version) is int and version <= news.at for version in declared.was):
                return artifact
        return None

    def _news_of(self, key: Hashable, makes: tuple[Hashable, ...]) -> _News | None:
        """The latest news of a folder that does not come from a certain work unit."""
        known = self.latest.get(key)
        if known is not None:
            return known[1] if known[0].makes == makes else known[0]
        forgotten = self._forgotten
        return forgotten if forgotten is not None and os.path.isdir(str(key)) else None


def _keys(artifacts: tuple[Any, ...]) -> tuple[Hashable, ...]:
    return tuple(artifact._key for artifact in artifacts)


FOLDER_NEWS: Final = FolderNews()
