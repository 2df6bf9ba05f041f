"""Files that come, as long as nobody knows whether they are complete: one is when it has rested for a while.

Nothing tells that a file has been written to its end: whoever copies it closes it, but so does who opens it again to
go on. So a file is looked at twice, a second apart, and has rested if it is the same file, as long and as old.

Lives here: `Arrivals`, the files for one task, with what they looked like when they were last passed on. Time is an
argument.

Must not know: where files are looked for, what becomes of them.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterator
from math import inf
from stat import S_ISREG
from typing import Final, NamedTuple

__all__ = ["REST", "Arrivals"]

REST: Final = 1.0
"""Seconds for which a file must look the same."""


class _Look(NamedTuple):
    """What is seen of a file. Not its inode's date: who is done with a file may well give it other bits."""

    device: int
    inode: int
    size: int
    mtime_ns: int


class _Resting(NamedTuple):
    look: _Look
    until: float
    # Whether it has changed since it was first seen: nobody knows how long that will go on.
    grows: bool


class Arrivals:
    """Those of one task, by their absolute paths."""

    def __init__(self) -> None:
        # In the order of their instants: each rests for as long as any other, from when it was last seen to be new.
        self._resting: OrderedDict[str, _Resting] = OrderedDict()
        self._passed: dict[str, _Look] = {}
        # Those of them that may not be read: if they may, that is a change.
        self._unreadable: set[str] = set()

    def note(self, path: str, now: float, *, old_if_before: float = -inf) -> bool:
        """A file may have come, changed or gone.

        Args:
            path: Its path.
            now: The instant.
            old_if_before: A file has rested already that was changed last before this instant of the wall clock.

        Returns:
            Whether it has rested, and is passed on by that.
        """
        look, changed = _look_at(path)
        if look is None:
            self.forget(path)
        elif self._passed.get(path) == look and not (path in self._unreadable and os.access(path, os.R_OK)):
            self._resting.pop(path, None)
        else:
            rests = self._resting.get(path)
            if changed < old_if_before:
                self._pass_on(path, look)
                return True
            if rests is None or rests.look != look:
                self._let_rest(path, look, now, grows=rests is not None)
        return False

    def _let_rest(self, path: str, look: _Look, now: float, *, grows: bool) -> None:
        self._resting.pop(path, None)  # it has the last place from now on
        self._resting[path] = _Resting(look, now + REST, grows)

    def _pass_on(self, path: str, look: _Look) -> None:
        self._resting.pop(path, None)
        self._passed[path] = look
        if os.access(path, os.R_OK):
            self._unreadable.discard(path)
        else:
            self._unreadable.add(path)

    def rested(self, now: float) -> Iterator[str]:
        """Pass on those that have rested. Each is looked at again; what has changed rests once more."""
        while self._resting:
            path, rests = next(iter(self._resting.items()))
            if rests.until > now:
                return
            look, _ = _look_at(path)
            if look is None:
                self.forget(path)
            elif look != rests.look:
                self._let_rest(path, look, now, grows=True)
            else:
                self._pass_on(path, look)
                yield path

    def next(self) -> float:
        """When the first of them will have rested; inf if none rests."""
        for rests in self._resting.values():
            return rests.until
        return inf

    def expects(self) -> bool:
        """Whether a file rests that will be passed on soon, as far as anybody knows: it has not changed meanwhile."""
        return any(not rests.grows for rests in self._resting.values())

    def rests(self, path: str) -> bool:
        """Whether it has come and not been passed on since."""
        return path in self._resting

    def is_readable(self, path: str) -> bool:
        """Whether one that was passed on could be read then."""
        return path not in self._unreadable

    def renew(self, path: str) -> None:
        """What is there now is what was passed on: nobody has begun with it, or it was changed by who was to."""
        look, _ = _look_at(path)
        if look is None:
            self.forget(path)
        elif path in self._passed:
            self._pass_on(path, look)

    def leave(self) -> None:
        """Let those that rest go: they are not passed on."""
        self._resting.clear()

    def forget(self, path: str) -> None:
        """It is gone. Another file of its name is a new one, and so is the same when it comes back."""
        self._resting.pop(path, None)
        self._passed.pop(path, None)
        self._unreadable.discard(path)

    def forget_all(self) -> None:
        """Begin anew."""
        self._resting.clear()
        self._passed.clear()
        self._unreadable.clear()

    def paths(self) -> list[str]:
        """All that are known."""
        return [*self._passed, *(path for path in self._resting if path not in self._passed)]


def _look_at(path: str) -> tuple[_Look | None, float]:
    """What is seen of a file, None if there is none, and when it was changed last by the wall clock."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None, inf
    if not S_ISREG(status.st_mode):
        return None, inf
    look = _Look(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
    return look, max(status.st_mtime, status.st_ctime)
