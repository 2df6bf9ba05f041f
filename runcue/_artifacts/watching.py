"""Watching: which files of a folder change, whoever changes them.

Lives here: `Watcher`, one daemon thread that looks after one folder, and `_Tree`, what it last saw there. The operating
system tells of changes if `watchfiles` is installed; if it is not, or cannot (inotify's limits, a name that is not
UTF-8), the folder is looked through at intervals. Either way more may be told than happened, never less: to ask about a
file once too often costs a stat, to miss one stalls a work.

Measured on two cores, Linux and ext4, from the rename by another process to the callback, median and longest of 60: by
watchfiles 15 and 20 ms, however many files there are; by looking through 100 files 10 and 20 ms, through 5,000 files
130 and 270 ms. An idle thread takes 0.1 % of a core beside watchfiles, and 1 to 6 % when it looks for itself.

Not noticed: what happens behind a symbolic link inside the folder, and, by watchfiles, what another machine does on a
network share. The first has a path of its own that can be watched, the second needs `force_polling`.

Must not know: cues, work units, artifacts, event loops.
"""


# Path.resolve() does not do; and a Path for every entry would cost more than looking at it

from __future__ import annotations

import atexit
import logging
import os
import stat
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import closing
from typing import Final

from runcue._model.errors import ConfigurationError, UsageError
from runcue._model.texts import words_of

__all__ = ["Watcher"]

logger = logging.getLogger("runcue")

# A step is how often watchfiles wakes to see whether there is news; it passes them on at the first step without more of
# them, and after _LONGEST_BATCH_MS at the latest.
_STEP_MS: Final = 10
_LONGEST_BATCH_MS: Final = 20
# Looking through a folder takes at most a twentieth of one core.
_SHORTEST_INTERVAL: Final = 0.02
_REST: Final = 20
_SLOW_LOOK: Final = 0.5
_CHECK_INTERVAL: Final = 0.5
_SECOND_LOOK: Final = 0.5
# Of two things watchfiles 1.3 says nothing: that the queue of the operating system ran over, and that folders that came
# later reached its limit of watches. What is missed then is found by looking, rarely, for a hundredth of one core.
_SWEEP_INTERVAL: Final = 5.0
_SWEEP_REST: Final = 100
# Longer than the ticks in which file systems count: ext4 stamps with the jiffy, which is 10 ms at most.
_TICK_NS: Final = 20_000_000

_OURS: Final = ".runcue-"
_THREAD_NAME: Final = "runcue-watch"

Stamp = tuple[int, ...]
"""Tells one state of an entry from another. That of a folder is its inode alone: what happens inside shows inside."""


class Watcher:
    """Calls back with the path of every file that is created, changed, replaced or deleted in a folder.

    Args:
        folder: What to watch. It must exist when the watcher is started. If it is deleted afterwards, it is waited for.
        changed: Called in the watcher's thread with absolute paths, spelled as below `folder`, links not resolved. For
            what was created or deleted also with the folder that contains it. What it raises is logged, the first time.
        recursive: Also watch the folders in it, at any depth.
        force_polling: Never ask the operating system: look through the folder at intervals, each 20 times as long as
            one look takes.
    """

    def __init__(
        self,
        folder: str,
        changed: Callable[[str], None],
        *,
        recursive: bool = True,
        force_polling: bool = False,
    ):
        self.folder = os.path.abspath(folder)
        self.polling = force_polling
        """Whether it looks for itself. It knows once it is started, and may have to take to it later."""
        self._forced = force_polling
        self._changed = changed
        self._recursive = recursive
        self._prefix = os.path.join(self.folder, "")
        self._real_prefix = os.path.join(os.path.realpath(self.folder), "")
        self._tree = _Tree(recursive)
        self._thread: threading.Thread | None = None
        self._armed = threading.Event()
        self._stopping = threading.Event()
        # Held around each callback, so that stop() can wait for the one under way; that one may call stop() itself.
        self._calling = threading.RLock()
        self._complained = False
        self._gone = False
        # Only while the operating system tells:
        self._lost = False
        self._identity: tuple[int, int] | None = None
        self._next_check = 0.0
        self._next_sweep = 0.0
        self._second_looks: deque[tuple[float, str]] = deque()

    def another(self) -> Watcher:
        """A new one for the same folder: each is used once."""
        return Watcher(self.folder, self._changed, recursive=self._recursive, force_polling=self._forced)

    def start(self) -> None:
        """Watch. Whatever changes once this has returned is told. Takes about 20 ms, and as long as one look.

        Raises:
            ConfigurationError: It is no folder.
            UsageError: It was started or stopped before. A watcher is used once.
        """
        if self._thread is not None or self._stopping.is_set():
            raise UsageError(f"The watcher of {self.folder!r} was used before: make a new one.")
        if not os.path.isdir(self.folder):
            what = "is a file" if os.path.lexists(self.folder) else "does not exist"
            raise ConfigurationError(f"Cannot watch {self.folder!r}: it {what}. Give a folder that exists.")
        self._thread = threading.Thread(target=self._run, name=_THREAD_NAME, daemon=True)
        self._thread.start()
        self._armed.wait()

    def stop(self) -> None:
        """Call back no more. The thread is not waited for, but a callback under way is, for a moment."""
        self._stopping.set()
        # Whoever gets the lock knows that no callback is under way, and the next one will see the flag. A callback that
        # hangs, perhaps because it waits for the caller of this, must not hang the caller.
        if self._calling.acquire(timeout=0.15):
            self._calling.release()

    def covers(self, path: str) -> bool:
        """Whether changes of an absolute path are told."""
        if path == self.folder:
            return True
        return path.startswith(self._prefix) if self._recursive else os.path.dirname(path) == self.folder

    def _run(self) -> None:
        _running[self] = threading.current_thread()
        try:
            if not self.polling:
                self._listen()
            if not self._stopping.is_set():
                self.polling = True
                self._look_at_intervals()
        finally:
            self._armed.set()
            del _running[self]

    def _tell(self, paths: Iterable[str]) -> None:
        for path in dict.fromkeys(paths):
            with self._calling:
                if self._stopping.is_set():
                    return
                try:
                    self._changed(path)
                except BaseException:
                    if not self._complained:
                        self._complained = True
                        logger.exception(
                            "The callback of the watcher of %s failed for %s. Watching goes on; this is told once.",
                            self.folder,
                            path,
                        )

    # Where the operating system tells.

    def _listen(self) -> None:
        """Pass on what watchfiles says, until stopped or until it can say no more."""
        try:
            # Here, because it is optional, and slow to import for those who do not watch.
            from watchfiles import watch  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415
        except ImportError:
            return
        logging.getLogger("watchfiles.main").addFilter(_is_not_of_our_threads)
        self._identity = _identity_of(self.folder)
        # Its time-out must stay off. When it runs out, watchfiles empties its list of changes after it saw that there
        # are none, and what was noticed in between is lost (RustNotify::watch, `clear`).
        changes = watch(
            self.folder,
            watch_filter=None,
            debounce=_LONGEST_BATCH_MS,
            step=_STEP_MS,
            rust_timeout=0,
            stop_event=_EachStep(self._step),
            recursive=self._recursive,
        )
        try:
            with closing(changes):
                for batch in changes:
                    self._hear((change.name, path) for change, path in batch)
        except (OSError, RuntimeError) as error:
            if not self._gone:
                logger.warning(
                    "The operating system cannot tell of changes in %s (%s): it is looked through at intervals.",
                    self.folder,
                    words_of(error),
                )

    def _step(self) -> bool:
        """Called by watchfiles when it is armed and then at every step; a yes ends the watch."""
        now = time.monotonic()
        if not self._armed.is_set():
            # In this order: it is armed, what is there is known, start() returns. What comes in between is heard of.
            self._tree.look(self.folder)
            self._armed.set()
            self._next_sweep = now + _SWEEP_INTERVAL
        elif now >= self._next_check and not self._lost:
            # Watches follow the folder, not its name. A folder above it that is moved, or a link on the way that is
            # turned elsewhere, makes no event.
            self._lost = _identity_of(self.folder) != self._identity
            self._next_check = now + _CHECK_INTERVAL
        if now >= self._next_sweep:
            self._tell(self._tree.look(self.folder, deep=True))
            self._next_sweep = now + max(_SWEEP_INTERVAL, (time.monotonic() - now) * _SWEEP_REST)
        while self._second_looks and self._second_looks[0][0] <= now:
            self._tell(self._tree.look(self._second_looks.popleft()[1]))
        if self._lost and not self._gone:
            self._gone = True
            logger.warning(
                "The folder %s was deleted or moved while it was watched. From now on it is looked for at intervals.",
                self.folder,
            )
        return self._lost or self._stopping.is_set()

    def _hear(self, batch: Iterable[tuple[str, str]]) -> None:
        paths: list[str] = []
        young: dict[str, None] = {}
        for change, path in batch:
            path = self._as_given(path)
            if f"{os.sep}{_OURS}" in path[len(self._prefix) - 1 :]:
                continue
            paths.append(path)
            if change == "modified":
                continue
            if path == self.folder:
                # Its inode may come back with the next folder of that name, so the check in _step can be deceived.
                self._lost |= change == "deleted"
                continue
            paths.append(os.path.dirname(path))
            inside = self._tree.learn(path)
            paths += inside
            young |= dict.fromkeys(one for one in (path, *inside) if one in self._tree.seen)
        # A new folder is watched only after it was noticed, so what comes into it early makes no event. That is why it
        # was looked into just now; but only a look well after the watch was set is sure to find everything.
        due = time.monotonic() + _SECOND_LOOK
        self._second_looks.extend((due, folder) for folder in young)
        self._tell(paths)

    def _as_given(self, path: str) -> str:
        """A path as it is spelled by who gave the folder; FSEvents resolves all links."""
        if not path.startswith(self._prefix) and os.path.join(path, "").startswith(self._real_prefix):
            return self.folder + path[len(self._real_prefix) - 1 :]
        return path

    # Where it looks for itself.

    def _look_at_intervals(self) -> None:
        # After a watch that broke off every file is told once: nobody knows what was missed.
        silent = not self._armed.is_set()
        slow = False
        self._tree.precise = True
        while True:
            began = time.monotonic()
            changes = self._tree.look(self.folder, deep=True)
            took = time.monotonic() - began
            self._armed.set()
            gone = self.folder not in self._tree.seen
            if gone and not self._gone:
                logger.warning("The watched folder %s has gone. It is looked for at intervals.", self.folder)
            self._gone = gone
            if not silent:
                self._tell(changes)
            silent = False
            if took > _SLOW_LOOK and not slow:
                slow = True
                logger.info(
                    "It takes %.1f s to look through %s, so changes there are noticed every %.0f s. "
                    "With pip install 'runcue[watch]' the operating system tells of them at once.",
                    took,
                    self.folder,
                    took * _REST,
                )
            if self._stopping.wait(max(_SHORTEST_INTERVAL, took * _REST)):
                return


class _Tree:
    """What was last seen in a folder: the names in it and in the folders below, each with a stamp.

    Beside watchfiles it knows files by their inodes only, which cost no stat. It is needed there because a folder that
    is moved makes one event for itself and none for what it contains.
    """

    def __init__(self, recursive: bool):
        self.seen: dict[str, dict[str, Stamp]] = {}
        self.precise = False
        self._recursive = recursive

    def look(self, folder: str, *, deep: bool = False) -> list[str]:
        """Look into a folder and the folders in it; those that are known already only if `deep`.

        Returns:
            The paths of what is new, has changed or has gone, and of the folders in which something is new or has gone.
        """
        changes = []
        pending = [folder]
        while pending:
            here = pending.pop()
            before = self.seen.get(here)
            now = self._entries(here)
            if now is None:
                if before is not None:
                    changes += [here, *self._forget(here)]
                continue
            self.seen[here] = now
            if before is None or now.keys() != before.keys():
                changes.append(here)
            before = before or {}
            for name, stamp in now.items():
                other = before.get(name) != stamp
                if not (other or (deep and len(stamp) == 1)):
                    continue
                path = os.path.join(here, name)
                if other:
                    changes.append(path)
                if len(stamp) > 1:
                    changes += self._forget(path)
                elif self._recursive:
                    pending.append(path)
            for name in before.keys() - now.keys():
                path = os.path.join(here, name)
                changes += [path, *self._forget(path)]
        return changes

    def learn(self, path: str) -> list[str]:
        """Take note that a path was created or deleted, or both.

        Returns:
            If it was or is a folder, the paths of what was and is in it.
        """
        inside = self._forget(path)
        folder, name = os.path.split(path)
        names = self.seen.get(folder, {})  # unknown: it has gone, or is new and about to be looked into
        try:
            status = os.lstat(path)
        except OSError:
            names.pop(name, None)
            return inside
        is_folder = stat.S_ISDIR(status.st_mode)
        names[name] = (status.st_ino,) if is_folder else (status.st_ino, 0)
        return inside + self.look(path) if is_folder and self._recursive else inside

    def _forget(self, folder: str) -> list[str]:
        """Drop a folder, if it is one that is known. Returns the paths of what was in it."""
        gone = []
        pending = [folder]
        while pending:
            here = pending.pop()
            inside = [os.path.join(here, name) for name in self.seen.pop(here, ())]
            gone += inside
            pending += inside
        return gone

    def _entries(self, folder: str) -> dict[str, Stamp] | None:
        """The entries of a folder with their stamps. None if it cannot be read, for whatever reason."""
        found: dict[str, Stamp] = {}
        settled = time.time_ns() - _TICK_NS
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.name.startswith(_OURS):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        found[entry.name] = (entry.inode(),)
                    elif not self.precise:
                        found[entry.name] = (entry.inode(), 0)
                    else:
                        try:
                            status = entry.stat(follow_symlinks=False)
                        except FileNotFoundError:
                            continue  # it has gone since it was listed
                        # Two changes in one tick of the file system leave the same mtime, and perhaps the same size. So
                        # the stamp of a file that changed just now will differ from the next one in any case.
                        found[entry.name] = (
                            status.st_ino,
                            status.st_mtime_ns,
                            status.st_size,
                            status.st_mtime_ns > settled,
                        )
        except OSError:
            return None
        return found


_running: dict[Watcher, threading.Thread] = {}


@atexit.register
def _end_all() -> None:
    """Have the threads leave watchfiles before the interpreter ends: its versions of 2023 (0.21) abort the process."""
    running = dict(_running)
    for watcher in running:
        watcher.stop()
    for thread in running.values():
        thread.join(timeout=1)


class _EachStep:
    """Stands where watchfiles expects an Event: it asks `is_set()` in our thread, once armed and then at each step."""

    def __init__(self, is_set: Callable[[], bool]):
        self.is_set = is_set


def _identity_of(folder: str) -> tuple[int, int] | None:
    try:
        status = os.stat(folder)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _is_not_of_our_threads(record: logging.LogRecord) -> bool:
    """Keeps watchfiles from logging every batch: a log file in the watched folder would then never come to rest."""
    return record.threadName != _THREAD_NAME
