"""Who hears a watcher of folders in tests, and can be waited upon.

Must not know: what is watched.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

__all__ = ["PATIENCE", "Ear"]

PATIENCE = 30.0


class Ear:
    """Collects what a watcher tells, and can be waited upon."""

    def __init__(self, pause: float = 0.0) -> None:
        self.paths: list[str] = []
        self.folders: list[str] = []
        self.told_folders_at: list[float] = []
        self._pause = pause
        self._news = threading.Condition()

    def __call__(self, paths: Iterable[str], folders: Iterable[str]) -> float:
        with self._news:
            self.paths += paths
            self.folders += folders
            if folders:
                self.told_folders_at.append(time.monotonic())
            self._news.notify_all()
        return self._pause

    def waits_for(self, what: Callable[[], object]) -> bool:
        with self._news:
            return bool(self._news.wait_for(what, PATIENCE))

    def hears(self, *paths: Path | str) -> bool:
        """Waits until all paths were told, or folders in which they are."""
        wanted = {str(path) for path in paths}

        def missing() -> set[str]:
            folders = tuple(f"{folder}{os.sep}" for folder in set(self.folders))
            return {path for path in wanted - set(self.paths) if not path.startswith(folders)}

        assert self.waits_for(lambda: not missing()), f"never told: {sorted(missing())}"
        return True

    def hears_of_each(self, *paths: Path | str) -> bool:
        """Waits until all paths themselves were told."""
        wanted = {str(path) for path in paths}
        assert self.waits_for(lambda: wanted <= set(self.paths)), (
            f"not told: {sorted(wanted - set(self.paths))}"
        )
        return True

    def hears_that_all_counts(self, folder: Path, times: int = 1) -> bool:
        assert self.waits_for(lambda: self.folders.count(str(folder)) >= times), "never told that all counts"
        return True

    def forgets(self) -> None:
        with self._news:
            self.paths.clear()
            self.folders.clear()

    def has_heard_all_about(self, folder: Path) -> bool:
        """Waits for two files made one after the other: once the second is told, all of the first's batch was."""
        for name in ("marker-1", "marker-2"):
            (folder / name).touch()
            self.hears_of_each(folder / name)
        return True
