"""What others tell of changes to artifacts, from whatever thread.

Lives here: `ChangeInbox`. What the loop's own thread tells is taken at once; what other threads tell is taken in the
loop, all of it together.

Must not know: who changes what, or how often those are asked that wait for it.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Collection, Hashable, Iterable, Sequence
from contextvars import Context
from os import sep

from runcue._artifacts.changes import hear_changes, unhear_changes
from runcue._artifacts.places import is_file, next_pass, place_of, resolve
from runcue._dispatch.gates import Gates
from runcue._dispatch.turns import Turns
from runcue._model.phases import NOT_READY
from runcue._scheduling.core import Core

__all__ = ["ChangeInbox"]


class ChangeInbox:
    """Changes that one cue hears of.

    Args:
        core: Who waits for which artifact.
        gates: Gates that are being awaited may have looked at what has changed.
        turns: The turns of the loop.
        context: The contextvars to take changes in.
        recheck: Whether what waits for nothing in particular is asked now and then anyway.
    """

    def __init__(self, core: Core, gates: Gates, turns: Turns, context: Context, *, recheck: bool) -> None:
        self._core = core
        self._gates = gates
        self._turns = turns
        self._context = context
        self._recheck = recheck
        # Keys of artifacts that changed in other threads; of those of which somebody there has said so, which means
        # more; and whether all may have changed.
        self._changes: deque[Hashable] = deque()
        self._nudges: deque[Hashable] = deque()
        self._nudged = False
        # However much is told, one callback of a loop takes it: the loop that will.
        self._told: asyncio.AbstractEventLoop | None = None
        self._outside = False
        # Of these nothing is known but that something changed in them. To look what is awaited in there takes time.
        self._folders: deque[str] = deque()
        self._folders_rest = 0.0

    def start(self) -> None:
        """Hear from now on."""
        hear_changes(self)
        if self._core.count[NOT_READY]:
            # It has waited since an earlier start, and nobody has heard what has changed meanwhile.
            self._gates.rechecker.nudged()

    def stop(self) -> None:
        """Hear no more."""
        unhear_changes(self)
        self._changes.clear()
        self._nudges.clear()
        self._nudged = False

    def nudge(self, keys: Sequence[Hashable] | None) -> None:
        """Something outside changed: an artifact, by its keys, or (None) anything. Called in whatever thread.

        Of a folder anything in it may have changed.
        """
        loop = self._turns.loop
        if loop is None or threading.get_ident() == self._turns.thread:
            self._take_nudge(keys)
        elif not loop.is_closed():  # else all that waits is asked at the next start
            if keys is None:
                self._nudged = True
            else:
                self._nudges.extend(keys)
            self._tell(loop)

    def _take_nudge(self, keys: Sequence[Hashable] | None) -> None:
        if keys is None:
            self._gates.rechecker.nudged()
        else:
            for key in keys:
                self._touch(key)
            self._touch_lying_in([key for key in keys if is_file(key) and place_of(key).identity])
            self._gates.rechecker.nudged_others()
        self._turns.wake()

    def hear(self, key: Hashable) -> None:
        """An artifact was published or touched, in whatever thread."""
        if threading.get_ident() == self._turns.thread:
            self._touch(key)
            return
        loop = self._turns.loop
        if loop is not None and not loop.is_closed():  # else all that waits is asked at the next start
            # Not looked up here: the loop may be in the middle of asking about this very artifact.
            self._changes.append(key)
            self._tell(loop)

    def _tell(self, loop: asyncio.AbstractEventLoop) -> None:
        """Have the loop take what another thread has left here."""
        if self._told is not loop:
            self._told = loop
            try:
                loop.call_soon_threadsafe(self._take, context=self._context)
            except RuntimeError:
                pass  # it has ended at this very moment, and all waiting with it

    def hear_outside(self, paths: Iterable[str], folders: Iterable[str]) -> float:
        """Files were changed by somebody else. Called in a watcher's thread.

        Args:
            paths: Those that changed.
            folders: Anything in these may have changed, at any depth.

        Returns:
            Seconds for which no more folders should come, so that they take no more than 5 % of the time.
        """
        self._outside = True
        # A link may have come or been turned: who waits for what lies behind it knows it by where that was.
        next_pass()
        for folder in folders:
            self._folders.extend({folder, place_of(folder).path})
        for path in (*paths, *folders):
            for key in {path, resolve(path)}:
                self.hear(key)
        return self._folders_rest

    def _take(self) -> None:
        self._told = None  # before anything is taken: what comes after that tells again
        if self._outside and not self._recheck:
            # Work units of which nothing is known have no other net; with it they are asked within 50 ms anyway.
            self._gates.rechecker.nudged_others()
            self._turns.wake()
        self._outside = False
        if self._nudged:
            self._nudged = False
            self._take_nudge(None)
        if self._nudges:
            self._take_nudge(_taken(self._nudges))
        for key in _taken(self._changes):
            self._touch(key)
        if self._folders:
            began = self._turns.now()
            folders = set()
            while self._folders:
                folders.add(self._folders.popleft())
            self._touch_lying_in(folders)
            self._folders_rest = 20 * (self._turns.now() - began)

    def _touch_lying_in(self, folders: Collection[str]) -> None:
        if folders:
            for key in _lying_in(
                folders, (*self._core.dependencies.subscribers, *self._gates.awaited.read())
            ):
                self._touch(key)

    def _touch(self, key: Hashable) -> None:
        """An artifact has changed, and with a file the folders that it is in."""
        wakeups = self._core.wakeups
        if type(key) is not str or key[:1] != sep:
            # Nothing lies in what is no file.
            if wakeups.touch(key):
                self._turns.wake()
            if wakeups.readings:
                wakeups.touch_readings((key,))
            return
        if not wakeups.readings and not self._core.dependencies.subscribers:
            return
        keys = [key]
        folder = key
        while folder := folder.rpartition(sep)[0]:
            keys.append(folder)
        for one in keys:
            wakeups.touch(one)
        wakeups.touch_readings(keys)
        if wakeups.queue:
            self._turns.wake()


def _taken(keys: deque[Hashable]) -> list[Hashable]:
    """Take out what is there at this instant, each once. Other threads may go on adding, and are not waited for."""
    return list(dict.fromkeys(keys.popleft() for _ in range(len(keys))))


def _lying_in(folders: Iterable[str], keys: Iterable[Hashable]) -> list[str]:
    """Those of the keys that are paths of something in one of the folders, at any depth."""
    known = {folder.rstrip(sep): True for folder in folders}
    found = []
    for key in keys:
        if is_file(key):
            above = []
            folder = key.rpartition(sep)[0]
            while folder and folder not in known:
                above.append(folder)
                folder = folder.rpartition(sep)[0]
            lies = known.get(folder, False)
            known.update(dict.fromkeys(above, lies))
            if lies:
                found.append(key)
    return found
