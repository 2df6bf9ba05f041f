"""Open files of runcue's own when there are no more to be had (`ulimit -n`): they are waited for, which is told once.

What runcue opens itself it needs for less than a millisecond: a mark, a stamp, the list of a folder. A thread waits
until somebody has closed something. An event loop must not, since who would close it may run in there: it has a
descriptor in reserve.

Lives here: `patiently` and `with_descriptor`, by which files and folders are opened; `in_time`, for what takes more
than the reserve and stays open; `ShortageHearer`, who is told.

Must not know: what is opened, or for whom.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, ParamSpec, Protocol, TypeVar
from weakref import WeakSet

try:
    from resource import RLIMIT_NOFILE, getrlimit
except ImportError:  # Windows
    LIMITED = False
else:
    LIMITED = True

__all__ = [
    "SHORTAGE_HEARERS",
    "ShortageHearer",
    "in_time",
    "is_shortage",
    "most_open_files",
    "patiently",
    "refill",
    "with_descriptor",
]

logger = logging.getLogger("runcue")

P = ParamSpec("P")
T = TypeVar("T")

_LONGEST: Final = 60.0
"""Seconds that a thread waits. It may be its own handler that keeps all of them open."""
_PAUSE: Final = 0.01

_SHORTAGES: Final = (errno.EMFILE, errno.ENFILE)


class ShortageHearer(Protocol):
    """Who wants to know of a shortage, besides the log."""

    def hear_of_shortage(self, text: str) -> None:
        """There is one. Called in whichever thread has met it."""


SHORTAGE_HEARERS: Final[WeakSet[ShortageHearer]] = WeakSet()
"""Those of this process."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=SHORTAGE_HEARERS.clear)


def is_shortage(error: OSError) -> bool:
    """Whether something could not be opened because too much is open."""
    return error.errno in _SHORTAGES


def most_open_files() -> int:
    """How many files this process may have open."""
    return getrlimit(RLIMIT_NOFILE)[0] if LIMITED else 512


def patiently(opens: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
    """Call something that opens a file, and if there are no descriptors left, wait until there is one.

    Args:
        opens: Best if it closes the file as well, so that the reserve of the event loop is there for the next one.
        *args: With what.
        **options: With what.

    Raises:
        OSError: As of the call; of a shortage, if it lasts for very long, or in an event loop if it lasts at all.
    """
    try:
        result = opens(*args, **options)
    except OSError as error:
        if not is_shortage(error):
            raise
        _reserve.tell(error)
        if asyncio._get_running_loop() is None:
            return _wait_and_call(opens, args, options)
        with _reserve:
            return opens(*args, **options)
    refill()
    return result


async def in_time(opens: Callable[[], T]) -> T:
    """Call something that opens several files and keeps them, in the event loop, which goes on while there are too few.

    Args:
        opens: If it raises, it leaves nothing open. It may start a process, for which the same holds.

    Raises:
        OSError: As of the call; of a shortage, if it lasts for very long.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + _LONGEST
    while True:
        try:
            return opens()
        except OSError as error:
            lacks_process = error.errno == errno.EAGAIN
            if not (lacks_process or is_shortage(error)) or loop.time() > until:
                raise
            if lacks_process:
                _processes.tell(
                    f"No more processes can be started ({error.strerror}): commands wait until others have ended, for "
                    "a minute at most. This is told once"
                )
            else:
                _reserve.tell(error)
        await asyncio.sleep(_PAUSE)


def refill() -> None:
    """Something was closed: have a reserve again, if it was used."""
    if _reserve.descriptor is None:
        _reserve.hold()


def with_descriptor(path: str | os.PathLike[str], flags: int, use: Callable[[int], T]) -> T:
    """Open a file, do something with its descriptor, and close it. It is waited for; see `patiently`.

    Raises:
        OSError: As of all that.
    """
    # As `patiently` does, without its call: this is done once for each stamp of a big tree.
    try:
        result = _open_and_use(path, flags, use)
    except OSError as error:
        if not is_shortage(error):
            raise
        return patiently(_open_and_use, path, flags, use)
    if _reserve.descriptor is None:
        _reserve.hold()
    return result


def _open_and_use(path: str | os.PathLike[str], flags: int, use: Callable[[int], T]) -> T:
    descriptor = os.open(path, flags, 0o666)
    try:
        return use(descriptor)
    finally:
        os.close(descriptor)


def _wait_and_call(opens: Callable[..., T], args: Any, options: Any) -> T:
    until = time.monotonic() + _LONGEST
    while True:
        time.sleep(_PAUSE)  # nobody tells of a descriptor that is closed
        try:
            return opens(*args, **options)
        except OSError as error:
            if not is_shortage(error) or time.monotonic() > until:
                raise


class _News:
    """What is told once."""

    def __init__(self) -> None:
        self._told = False

    def tell(self, text: str) -> None:
        if not self._told:
            self._told = True
            logger.warning("%s", text)
            with suppress(RuntimeError):  # a cue is started in another thread just now: the log has it
                for hearer in tuple(SHORTAGE_HEARERS):
                    hearer.hear_of_shortage(text)


class _Reserve:
    """A descriptor that is held for the event loop of this process: in a `with` it is free to be taken.

    It is open on this very file, by which it is known again: a program may have closed all descriptors and have opened
    others since.
    """

    def __init__(self) -> None:
        self.descriptor: int | None = None
        self._identity: tuple[int, int] | None = None
        self._news = _News()
        self.hold()

    def hold(self) -> None:
        with suppress(OSError):
            self.descriptor = os.open(__file__, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
            status = os.fstat(self.descriptor)
            self._identity = status.st_dev, status.st_ino

    def tell(self, error: OSError) -> None:
        self._news.tell(
            f"{error.strerror}: this process may have {most_open_files()} open at a time (ulimit -n). Where runcue "
            "itself opens one, it waits until others are closed; what your handlers open raises as ever. This is "
            "told once"
        )

    def __enter__(self) -> None:
        descriptor, self.descriptor = self.descriptor, None
        if descriptor is not None:
            with suppress(OSError):
                status = os.fstat(descriptor)
                if (status.st_dev, status.st_ino) == self._identity:
                    os.close(descriptor)

    def __exit__(self, *error: object) -> None:
        self.hold()


_reserve = _Reserve()
_processes = _News()
