"""What others tell of changes to artifacts, from whatever thread.

Lives here: `ChangeInbox`. What the loop's own thread tells is taken at once; what other threads tell is taken in the
loop, all of it together.

Must not know: who changes what, or how often those are asked that wait for it.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Hashable, Iterable
from contextvars import Context

from runcue._artifacts.changes import hear_changes, unhear_changes
from runcue._dispatch.gates import Gates
from runcue._dispatch.turns import Turns
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
        # Keys of artifacts that changed in other threads.
        self._changes: deque[Hashable] = deque()
        self._told = False
        self._outside = False
        # Of these nothing is known but that something changed in them. To look what is awaited in there takes time.
        self._folders: deque[str] = deque()
        self._folders_rest = 0.0

    def start(self) -> None:
        """Hear from now on."""
        self._told = False
        unhear_changes(self.hear)
        hear_changes(self.hear)

    def stop(self) -> None:
        """Hear no more."""
        unhear_changes(self.hear)

    def nudge(self, key: Hashable) -> None:
        """Something outside changed: an artifact, or (None) anything."""
        if key is None:
            self._gates.rechecker.nudged()
        else:
            self._touch(key)
            self._gates.rechecker.nudged_others()
        self._turns.wake()

    def hear(self, key: Hashable) -> None:
        """An artifact was published or touched, in whatever thread."""
        if threading.get_ident() == self._turns.thread:
            if self._core.wakeups.touch(key) or self._gates.awaited:
                self._touch(key)
            return
        # Not looked up here: the loop may be in the middle of asking about this very artifact.
        self._changes.append(key)
        loop = self._turns.loop
        if not self._told and loop is not None:
            self._told = True
            try:
                loop.call_soon_threadsafe(self._take, context=self._context)
            except RuntimeError:
                pass  # the loop has ended, and all waiting with it

    def hear_outside(self, paths: Iterable[str], folders: Iterable[str]) -> float:
        """Files were changed by somebody else. Called in a watcher's thread.

        Args:
            paths: Those that changed.
            folders: Anything in these may have changed, at any depth.

        Returns:
            Seconds for which no more folders should come, so that they take no more than 5 % of the time.
        """
        self._outside = True
        self._folders.extend(folders)
        for path in (*paths, *folders):
            self.hear(path)
        return self._folders_rest

    def _take(self) -> None:
        self._told = False  # before the deque is emptied: what is appended after that tells again
        if self._outside and not self._recheck:
            # Work units of which nothing is known have no other net; with it they are asked within 50 ms anyway.
            self._gates.rechecker.nudged_others()
            self._turns.wake()
        self._outside = False
        while self._changes:
            self._touch(self._changes.popleft())
        if self._folders:
            began = self._turns.now()
            folders = set()
            while self._folders:
                folders.add(self._folders.popleft())
            for key in _lying_in(
                folders, (*self._core.dependencies.subscribers, *self._gates.awaited.read())
            ):
                self._touch(key)
            self._folders_rest = 20 * (self._turns.now() - began)

    def _touch(self, key: Hashable) -> None:
        self._core.wakeups.touch(key)
        self._gates.awaited.touched(key)
        if self._core.wakeups.queue:
            self._turns.wake()


def _lying_in(folders: Iterable[str], keys: Iterable[Hashable]) -> list[str]:
    """Those of the keys that are paths of something in one of the folders, at any depth."""
    known = {folder.rstrip(os.sep): True for folder in folders}
    found = []
    for key in keys:
        if type(key) is str:
            above = []
            folder = key.rpartition(os.sep)[0]
            while folder and folder not in known:
                above.append(folder)
                folder = folder.rpartition(os.sep)[0]
            lies = known.get(folder, False)
            known.update(dict.fromkeys(above, lies))
            if lies:
                found.append(key)
    return found
