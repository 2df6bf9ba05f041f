"""What others tell of changes to artifacts, from whatever thread.

Lives here: `ChangeInbox`. What the loop's own thread tells is taken at once; what other threads tell is taken in the
loop, all of it together.

Must not know: who changes what, or how often those are asked that wait for it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Hashable
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
            if self._core.wakeups.touch(key) or self._gates.being_asked:
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

    def hear_outside(self, key: Hashable) -> None:
        """A file was changed by somebody else. Called in a watcher's thread."""
        self._outside = True
        self.hear(key)

    def _take(self) -> None:
        self._told = False  # before the deque is emptied: what is appended after that tells again
        if self._outside and not self._recheck:
            # Work units of which nothing is known have no other net; with it they are asked within 50 ms anyway.
            self._gates.rechecker.nudged_others()
            self._turns.wake()
        self._outside = False
        while self._changes:
            self._touch(self._changes.popleft())

    def _touch(self, key: Hashable) -> None:
        self._core.wakeups.touch(key)
        self._gates.touched(key)
        if self._core.wakeups.queue:
            self._turns.wake()
