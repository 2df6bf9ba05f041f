"""When what is published is dated: in the last moment, by the clock of its filesystem, later than what it is made from.

By its date alone a file is believed to be up to date, so no date may say more than is true. Three things see to that.
(1) A file is dated just before it is put in place, not when it was written: it would seem older than what was made from
its predecessor in between. (2) Only then are its inputs looked at for the last time. What changes after that look gets
a date that is equal or later, and equal counts as out of date. Therefore the date is the filesystem's own (`utime`
without a time): `time.time_ns()` is ahead of it by a tick. (3) All of it happens under one lock per process, so that
nobody's last look falls between the dating and the renaming of another file.

A date that is no later than that of an input, by a tick, is taken again a tick later. Nothing is dated ahead of the
clock for it: a change within the same tick could not be told from none.

Lives here: the lock, and how often and how long to wait (`Dating`); the shapes of what is dated and what that is made
from.

Must not know: files, artifacts, event loops.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Final, Protocol, Self

__all__ = ["TIE_NS", "Dated", "Dating", "MustWait", "Sources"]

TIE_NS: Final = 100_000_000
"""By how much an input may be ahead of an output that was made from it, and this be the fault of clocks.

The kernel dates files by a clock that ticks every 1 to 10 ms, and a time of another kind, such as that of a `Flag`, may
be ahead of it by a tick. What differs by more comes from a clock that is wrong, which is not for us to hide.
"""

_LONGEST: Final = TIE_NS / 1e9
_PAUSE: Final = 0.002
_SECOND_NS: Final = 1_000_000_000


class MustWait(Exception):
    """It takes longer than an event loop may be kept."""


class Dated(Protocol):
    """A file that is about to be put in place."""

    @property
    def path(self) -> os.PathLike[str]:
        """Where it will be, links followed."""

    def look(self) -> os.stat_result:
        """What it is by now, whole."""

    def date(self, mtime_ns: int) -> None:
        """Give it another date."""


class Sources(Protocol):
    """What files are made from that are put in place together."""

    def look(self, replaced: Sequence[str]) -> int:
        """Look at all of it once more, after the files were dated.

        Args:
            replaced: The paths where they are about to be put.

        Returns:
            The latest date among it, 0 if that does not matter.
        """

    def settle_before(self, files: Sequence[Dated]) -> None:
        """See that these files prove no more than is true. They are dated, and will be renamed at once."""


class _Turn:
    """Whose turn it is to date and rename. A forked child has a lock of its own: nobody there will let go of this."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        self.lock = threading.Lock()


_turn: Final = _Turn()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_turn.forget)


class Dating:
    """A turn to date files and put them in place: a context manager that holds the lock.

    Args:
        patient: Wait where it takes that. Otherwise `MustWait` is raised, and nothing has been done that may not be
            done again.

    Raises:
        MustWait: On entering, and from `wait()`.
    """

    def __init__(self, *, patient: bool = True) -> None:
        self._patient = patient
        self._lock = _turn.lock
        self._is_held = False
        self._tries = 0
        self._until = 0.0

    def __enter__(self) -> Self:
        if not self._lock.acquire(blocking=self._patient):
            raise MustWait
        self._is_held = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._is_held:  # or a Ctrl-C came while it was waited for
            self._lock.release()

    def wait(self, date: int) -> bool:
        """Let the clock of a filesystem go on after a tie. Others have their turn meanwhile.

        Args:
            date: What that clock said.

        Returns:
            Whether it is worth while to date and look again. False: it has been waited long enough, or the clock counts
            in seconds.
        """
        self._tries += 1
        if self._tries == 1:
            # Since Linux 6.13 a file that was looked at is dated by a finer clock the next time.
            return True
        if date % _SECOND_NS == 0:
            return False
        if not self._patient:
            raise MustWait
        now = time.monotonic()
        if self._tries == 2:
            self._until = now + _LONGEST
        elif now > self._until:
            return False
        self._is_held = False
        self._lock.release()
        time.sleep(_PAUSE)  # nothing tells of a tick of that clock
        self._lock.acquire()
        self._is_held = True
        return True
