"""The folders of one cue that are watched: all begin and end together.

Lives here: `WatchedFolders`. What watches is imported with the first folder, since it takes an extra.

Must not know: how a folder is watched, who hears of what changes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from runcue._artifacts.artifact import Artifact
from runcue._artifacts.file import File
from runcue._artifacts.places import leads, place_of
from runcue._model.errors import ConfigurationError

if TYPE_CHECKING:
    from runcue._artifacts.watching import Watcher

__all__ = ["WatchedFolders"]


class WatchedFolders:
    """Those of one cue. True if there are any.

    Args:
        *hearers: Take what changes; see `Watcher`.

    Attributes:
        watchers: One for each, in the order in which they came.
    """

    def __init__(self, *hearers: Callable[[Iterable[str], Iterable[str]], float]) -> None:
        self._hearers = hearers
        self._is_over: Callable[[], bool] | None = None
        self.watchers: list[Watcher] = []

    def __bool__(self) -> bool:
        return bool(self.watchers)

    def _hear(self, paths: Iterable[str], folders: Iterable[str]) -> float:
        return max(hear(paths, folders) for hear in self._hearers)

    def add(self, folder: str, *, recursive: bool, as_spelled: bool = False) -> None:
        """Watch one more, unless it is watched already.

        Args:
            folder: Which one.
            recursive: Also the folders in it.
            as_spelled: What changes is to be told as below this very spelling.

        Raises:
            ConfigurationError: It is no folder, its name is no UTF-8, or watchfiles is not installed.
        """
        try:
            from runcue._artifacts.watching import Watcher  # noqa: PLC0415
        except ImportError as error:
            raise ConfigurationError(
                f"watch() needs the package watchfiles, which cannot be imported ({error}): "
                "pip install runcue[watch]"
            ) from error
        watcher = Watcher(folder, self._hear, recursive=recursive)
        real = place_of(watcher.folder).path
        for one in self.watchers:
            covers = one.folder == watcher.folder if as_spelled else place_of(one.folder).path == real
            if covers and one.recursive >= recursive:
                return
        if not os.path.isdir(watcher.folder):
            raise ConfigurationError(f"watch() needs a folder that exists, not {watcher.folder!r}.")
        if self._is_over is not None:
            watcher.start(self._is_over)
        self.watchers.append(watcher)

    def start(self, is_over: Callable[[], bool]) -> None:
        """Begin to watch all of them, or, where that raises, none; see `Watcher.start`."""
        self._is_over = is_over
        try:
            # A watcher is used once.
            self.watchers = [watcher.another() for watcher in self.watchers]
            for watcher in self.watchers:
                watcher.start(is_over)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Watch no more, until they are started again."""
        self._is_over = None
        for watcher in self.watchers:
            watcher.stop()

    def clear(self) -> None:
        """Forget them all, before they were started."""
        self.watchers.clear()

    def covers(self, artifact: Artifact) -> bool:
        """Whether changes of an artifact are told, or of what it leads to if it is a link."""
        return self.folder_of(artifact) is not None

    def folder_of(self, artifact: Artifact) -> str | None:
        """The watched folder by which changes of an artifact are told; None if they are not."""
        if not self.watchers or not isinstance(artifact, File):
            return None
        keys = [artifact._key, *leads(artifact._key)]
        for watcher in self.watchers:
            if watcher.covers(artifact._path) or any(map(watcher.covers_key, keys)):
                return watcher.folder
        return None
