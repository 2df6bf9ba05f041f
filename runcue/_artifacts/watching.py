"""Watching: which files of a folder change, whoever changes them.

Lives here: `Watcher`, one daemon thread for one folder. `watchfiles` says in it what changed, asking the operating
system, or by looking through the folder at intervals where the system cannot tell: where it has no inotify, or where a
limit of inotify is reached. More may be told than happened, so that as little as possible is missed: to ask about a
file once too often costs a stat, to miss one makes a work wait for the recheck.

How that is done: whenever a watch begins, at first or anew, everything in the folder counts as changed, so nothing that
happened while none was set is missed; and a folder that is created, moved or deleted stands for everything below it.
A watch begins anew when it breaks off, and when the folder is another one than before.

Measured with watchfiles 1.3.0 (and 1.0.4) on Linux, ext4:

- A name that is no UTF-8 ends a watch with an error, asked of the system or looked for. A file of such a name then
  disturbs no more, until it is opened or changed again. A folder of such a name ends each watch that asks the system as
  soon as it begins, because setting the watch opens the folder; one that looks at intervals breaks off only when
  something changes in there.
- A folder that is moved is one event. Of what is created in a new folder before a watch is set on it there is none:
  149 of 1,600 files, made at once.
- The watched folder itself may be deleted: that is an event, and the last one. Where a folder above it is moved, or a
  link to it turned elsewhere, there is none.
- Two things make no event and no error: a queue of the system that ran over, and a limit of watches that is reached by
  folders that came later. Looking at intervals sees neither a second change within one second nor a file replaced by an
  older one. For these there is the recheck, which asks the work units that wait for files every two seconds.

From the rename by another process to the callback it takes 10 to 25 ms, however many files there are; an idle thread
takes 0.5 % of a core. Setting a watch holds the GIL: 0.24 s for 10,000 folders.

Must not know: cues, work units, artifacts, event loops.
"""

# Paths are told as strings and spelled as they were given, which Path.resolve() does not do; and a Path for every
# change would cost more than telling it.

from __future__ import annotations

import atexit
import ctypes
import errno
import logging
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import closing
from typing import Final

# Whoever imports this module has the extra `watch`, or learns here that it is missing.
from watchfiles import Change, watch

from runcue._artifacts.folder_marks import named_by
from runcue._artifacts.places import absolute, place_of
from runcue._model.errors import ConfigurationError, UsageError
from runcue._model.texts import LONGEST_PATH, message_of, title_of

__all__ = ["Watcher"]

logger = logging.getLogger("runcue")

# A step is how often watchfiles wakes to see whether there is news; it passes them on at the first step without more of
# them, and after _LONGEST_BATCH_MS at the latest.
_STEP_MS: Final = 10
_LONGEST_BATCH_MS: Final = 20
_CHECK_INTERVAL: Final = 0.5
_SECOND_LOOK: Final = 0.5
# Looking through a folder takes at most a twentieth of one core.
_SHORTEST_INTERVAL: Final = 0.3
_PAUSE: Final = 20
# Between two watches of which the first broke off.
_SHORTEST_REST: Final = 0.1
_LONGEST_REST: Final = 2.0
# After this one the system is asked no more: watches broke off, or could not be set, four times in a row.
_LAST_REST: Final = 1.0

_OURS: Final = ".runcue-"
_THREAD_NAME: Final = "runcue-watch"


class Watcher:
    """Calls back with what is created, changed, replaced or deleted in a folder. It is used once.

    Args:
        folder: What to watch. While it does not exist, it is waited for.
        changed: Takes two lots of absolute paths, spelled as below `folder`: what changed, which for what was created
            or deleted includes the folder that contains it; and folders in which anything may have changed, at any
            depth. It is called in the watcher's thread, and returns for how many seconds it wants no more folders.
        recursive: Also watch the folders in it, at any depth.

    Attributes:
        folder: The folder, absolute.
        recursive: As given.

    Raises:
        ConfigurationError: Its name is one that watchfiles cannot take.
    """

    def __init__(
        self, folder: str, changed: Callable[[Iterable[str], Iterable[str]], float], *, recursive: bool = True
    ) -> None:
        self.folder = absolute(folder).rstrip(os.sep) or os.sep
        try:
            self.folder.encode()
        except UnicodeEncodeError:
            raise ConfigurationError(
                f"watch() cannot watch {self.folder!r}, because its name is no UTF-8: watch the folder above it."
            ) from None
        self._changed = changed
        self.recursive = recursive
        self._prefix = os.path.join(self.folder, "")
        self._real_prefix = os.path.join(os.path.realpath(self.folder), "")
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._is_over: Callable[[], bool] = self._stopping.is_set
        # Whether watchfiles is to look at intervals, and these.
        self._polling = False
        self._interval = _SHORTEST_INTERVAL
        # Folders that are to be told, and when the next may be. Those that are new are told a second time.
        self._folders: set[str] = set()
        self._next_folders = 0.0
        self._new_folders: deque[tuple[float, str]] = deque()
        # Of the watch that is set: when it began, since when it tells, which folder it follows, and whether that is the
        # wrong one by now.
        self._began = 0.0
        self._armed_at: float | None = None
        self._identity: tuple[int, int] | None = None
        self._next_check = 0.0
        self._ended = False
        self._rest = _SHORTEST_REST
        self._missing = False
        self._complained = False

    def another(self) -> Watcher:
        """A new one for the same folder."""
        return Watcher(self.folder, self._changed, recursive=self.recursive)

    def start(self, is_over: Callable[[], bool]) -> None:
        """Begin to watch. Returns at once; what changes from now on is told, at the latest when the watch is set.

        Args:
            is_over: Asked again and again, in the watcher's thread: whether nobody is left who would hear.

        Raises:
            UsageError: It was started or stopped before, or no more threads can be started.
        """
        if self._thread is not None or self._stopping.is_set():
            raise UsageError(f"The watcher of {self.folder!r} was used before: make a new one.")
        self._is_over = lambda: self._stopping.is_set() or is_over()
        self._thread = _running[self] = threading.Thread(target=self._run, name=_THREAD_NAME, daemon=True)
        try:
            self._thread.start()
        except BaseException as error:
            del _running[self]  # there is nobody to be waited for
            if isinstance(error, RuntimeError):
                raise UsageError(f"The folder {self.folder!r} cannot be watched: {error}.") from error
            raise

    def stop(self) -> None:
        """Watch no more. The thread ends at its next step and is not waited for."""
        self._stopping.set()

    def covers(self, path: str) -> bool:
        """Whether changes of an absolute path are told, as far as its spelling shows."""
        return self._covers(path, self.folder)

    def covers_key(self, key: str) -> bool:
        """Whether changes of a file are told, as far as its real path shows."""
        return self._covers(key, place_of(self.folder).path)

    def _covers(self, path: str, folder: str) -> bool:
        if path == folder:
            return True
        return (
            path.startswith(os.path.join(folder, "")) if self.recursive else os.path.dirname(path) == folder
        )

    def _run(self) -> None:
        try:
            if not _has_inotify():
                # watchfiles would look at intervals by itself, and say nothing.
                self._poll("it has no inotify")
            while not self._is_over():
                self._stopping.wait(self._watch())
        finally:
            del _running[self]

    def _watch(self) -> float:
        """Watch until that comes to an end. Returns after how many seconds to go on."""
        if not os.path.isdir(self.folder):
            if not self._missing:
                self._missing = True
                logger.warning(
                    "The watched folder %s is not there. It is looked for at intervals.",
                    title_of(self.folder, LONGEST_PATH),
                )
                self._changed((), (self.folder,))
            return _CHECK_INTERVAL
        self._missing = self._ended = False
        self._identity = _identity_of(self.folder)
        self._armed_at = None
        self._began = time.monotonic()
        # Its time-out must stay off. When it runs out, watchfiles empties its list of changes after it saw that there
        # are none, and what was noticed in between is lost (RustNotify::watch, `clear`).
        changes = watch(
            self.folder,
            watch_filter=None,
            debounce=_LONGEST_BATCH_MS,
            step=_STEP_MS,
            rust_timeout=0,
            stop_event=_EachStep(self._step),
            recursive=self.recursive,
            # Not False, which would overrule WATCHFILES_FORCE_POLLING, the switch for network shares.
            force_polling=True if self._polling else None,
            poll_delay_ms=round(self._interval * 1000),
        )
        try:
            with closing(changes):
                for batch in changes:
                    self._hear(batch)
        except Exception as error:
            # Whatever it is: somebody waits to hear.
            return self._broke_off(error)
        return 0.0

    def _step(self) -> bool:
        """Called by watchfiles when the watch is set and then at every step; a yes ends it."""
        now = time.monotonic()
        if self._armed_at is None:
            self._armed_at = now
            self._next_check = now + _CHECK_INTERVAL
            self._folders.add(self.folder)
            pause = _PAUSE * (now - self._began)
            if self._polling and pause > 2 * self._interval:
                self._interval = pause
                self._ended = True
        elif now >= self._next_check:
            # A watch follows the folder, not its name.
            self._ended |= _identity_of(self.folder) != self._identity
            self._next_check = now + _CHECK_INTERVAL
        while self._new_folders and self._new_folders[0][0] <= now:
            self._folders.add(self._new_folders.popleft()[1])
        if self._folders and now >= self._next_folders:
            folders, self._folders = self._folders, set()
            self._next_folders = now + self._changed((), folders)
        return self._ended or self._is_over()

    def _hear(self, batch: Iterable[tuple[Change, str]]) -> None:
        paths: dict[str, None] = {}
        for change, path in batch:
            path = self._as_given(path)
            if f"{os.sep}{_OURS}" in path[len(self._prefix) - 1 :]:
                # Of what is ours one thing is news: what had a mark is proof now.
                if change is not Change.deleted or (named := named_by(path)) is None:
                    continue
                path, change = named, Change.modified
                if os.path.isdir(path):
                    self._folders.add(path)
            paths[path] = None
            if path == self.folder:
                # Its inode may come back with the next folder of that name, so the check in _step can be deceived.
                self._ended |= change is Change.deleted
            elif change is not Change.modified:
                paths[os.path.dirname(path)] = None
                if os.path.isdir(path):
                    # It is watched only after it was noticed, and when that will be nobody says.
                    self._new_folders.append((time.monotonic() + _SECOND_LOOK, path))
                    self._folders.add(path)
                elif change is Change.deleted:
                    self._folders.add(path)  # it may have been one
        self._changed(paths, ())

    def _as_given(self, path: str) -> str:
        """A path as it is spelled by who gave the folder; FSEvents resolves all links."""
        if not path.startswith(self._prefix) and os.path.join(path, "").startswith(self._real_prefix):
            return self.folder + path[len(self._real_prefix) - 1 :]
        return path

    def _broke_off(self, error: Exception) -> float:
        """What to do after an error of watchfiles. Returns the seconds until the next watch, which tells everything."""
        now = time.monotonic()
        armed_at, why = self._armed_at, message_of(error)
        if armed_at is None:
            self._changed((), (self.folder,))  # perhaps the next one fails as well
        if (self._polling or armed_at is not None) and not self._complained:
            self._complained = True
            logger.warning(
                "The watch of %s broke off (%s). Names that are no UTF-8 are one cause. Whenever that happens, "
                "everything in the folder counts as changed, and it is watched anew; this is told once.",
                title_of(self.folder, LONGEST_PATH),
                why,
            )
        calm = armed_at is not None and now - armed_at > 10 * self._rest
        self._rest = _SHORTEST_REST if calm else min(2 * self._rest, _LONGEST_REST)
        if not self._polling and (self._rest > _LAST_REST or _is_refusal(error)):
            self._poll(why)
            return 0.0
        return max(self._rest, _PAUSE * ((armed_at or now) - self._began))

    def _poll(self, why: str) -> None:
        self._polling = True
        logger.warning(
            "The operating system cannot tell of changes in %s (%s). It is looked through at intervals.",
            title_of(self.folder, LONGEST_PATH),
            why,
        )


_running: dict[Watcher, threading.Thread] = {}


@atexit.register
def _end_all() -> None:
    """Have the threads leave watchfiles before the interpreter ends: up to 1.2.0 it crashes the process otherwise."""
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


def _is_refusal(error: Exception) -> bool:
    """Whether a watch cannot be set, and why not because a folder went meanwhile. Those that break off raise others."""
    return isinstance(error, OSError) and not isinstance(error, FileNotFoundError)


def _has_inotify() -> bool:
    if sys.platform != "linux":
        return True
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.inotify_init1(os.O_CLOEXEC)
    if descriptor >= 0:
        os.close(descriptor)
    return descriptor >= 0 or ctypes.get_errno() != errno.ENOSYS


def _is_not_of_our_threads(record: logging.LogRecord) -> bool:
    """Keeps watchfiles from logging every batch: a log file in the watched folder would then never come to rest."""
    return record.threadName != _THREAD_NAME


logging.getLogger("watchfiles.main").addFilter(_is_not_of_our_threads)
