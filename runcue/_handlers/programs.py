"""Other programs, run to their end: what they print, how they end, and that nothing of them is left when nobody waits.

How it goes about it: a program gets a session and a process group of its own, so that the terminal's Ctrl-C does not
reach it and all that it has started can be ended at once. What it prints is read from pipes of ours while it runs. When
it has ended, what is left in them is read, and they are closed: a program that it has left in the background may hold
them for ever.

Loops have subprocesses of their own, which anyio offers as well. They were tried: asyncio's wait for the end of the
pipes, and uvloop forks where Popen only borrows this process, which took 13 ms a program in place of 3, and longer the
more memory there is, in the event loop each time. Here Popen starts them, and the kernel tells of their ends.

Lives here: `run_program`, and ending what it has started.

Must not know: work units, what a program is for.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from subprocess import DEVNULL, Popen, TimeoutExpired
from threading import Thread
from typing import Final, NamedTuple

from runcue._artifacts.descriptors import in_time
from runcue._handlers.orphans import forget, watch

__all__ = ["Ended", "run_program"]

_PROCESSES: Final = Path("/proc")
"""Where Linux tells of all processes. Elsewhere those of a process group alone can be ended together."""

_DEAD: Final = (b"Z", b"X")
"""The states of those that have ended and of which nobody has taken notice yet."""

_SOON: Final = 0.5
"""Seconds in which what was killed is dead, most likely."""

_CHUNK: Final = 65_536

_MOST_LEFT: Final = 1_048_576
"""No pipe holds more: who goes on to write into one whose program has ended is not listened to for ever."""

_MOST_OF_ERRORS: Final = 65_536
"""So much of what is written to stderr is kept, of its end."""


class Ended(NamedTuple):
    """How a program has ended.

    Attributes:
        returncode: Its exit code, or less than zero: the number of the signal that has killed it.
        printed: What it has written to stdout.
        errors: The end of what it has written to stderr.
    """

    returncode: int
    printed: bytes
    errors: bytes


class _Pipe:
    """A pipe that is read in the event loop as it fills.

    Args:
        loop: The event loop.
        most: So many bytes are kept, of the end; None: all.

    Attributes:
        entrance: The descriptor that is to be written to.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, most: int | None) -> None:
        self._loop = loop
        self._most = most
        self._kept = bytearray()
        self._exit, self.entrance = os.pipe()
        os.set_blocking(self._exit, False)
        loop.add_reader(self._exit, self._read)

    def _read(self) -> int:
        try:
            chunk = os.read(self._exit, _CHUNK)
        except BlockingIOError:
            return 0
        self._kept += chunk
        if self._most is not None and len(self._kept) > self._most:
            del self._kept[: -self._most]
        if not chunk:
            self._loop.remove_reader(self._exit)
        return len(chunk)

    def close_entrance(self) -> None:
        if self.entrance >= 0:
            os.close(self.entrance)
            self.entrance = -1

    def finish(self) -> bytes:
        """All that was written to it so far and is kept."""
        left = _MOST_LEFT
        while left > 0 and (number := self._read()):
            left -= number
        return bytes(self._kept)

    def close(self) -> None:
        self.close_entrance()
        self._loop.remove_reader(self._exit)
        os.close(self._exit)


async def run_program(
    command: str | Sequence[str],
    began: Callable[[int, Callable[[], bytes]], object],
    *,
    cwd: str | None = None,
    env: Mapping[str, str] | None = None,
) -> Ended:
    """Run a program to its end. Who does not wait for that has ended it, with all that it has started.

    Args:
        command: Its words, or text for a shell.
        began: Called with the id of its process, and with what gives the end of what it has written to stderr so far.
        cwd: The folder that it runs in; None: that of this process.
        env: Its environment variables; None: those of this process.

    Raises:
        OSError: It cannot be started.
    """
    loop = asyncio.get_running_loop()

    def start() -> tuple[Popen[bytes], _Pipe, _Pipe]:
        with ExitStack() as made:
            printed = made.enter_context(closing(_Pipe(loop, None)))
            errors = made.enter_context(closing(_Pipe(loop, _MOST_OF_ERRORS)))
            process = Popen(
                command,
                shell=isinstance(command, str),
                stdin=DEVNULL,
                stdout=printed.entrance,
                stderr=errors.entrance,
                cwd=cwd,
                env=env,
                start_new_session=True,
            )
            made.pop_all()
        return process, printed, errors

    process, printed, errors = await in_time(start)
    with ExitStack() as stack:
        stack.callback(printed.close)
        stack.callback(errors.close)
        # On a virtual clock no time may pass meanwhile.
        if (clock := getattr(loop, "runcue_clock", None)) is not None:
            clock.hold()
            stack.callback(clock.release)
        watch(process.pid)
        stack.callback(forget, process.pid)
        try:
            printed.close_entrance()
            errors.close_entrance()
            began(process.pid, errors.finish)
            await _exit_of(process.pid, process)
        except GeneratorExit:  # nothing can be waited for any more
            _kill(process.pid)
            with suppress(TimeoutExpired):
                process.wait(_SOON)
            raise
        except BaseException:
            _kill(process.pid)
            await _exit_of(process.pid, process)
            process.wait()
            # What is killed is not dead at once, and what was started meanwhile was not killed.
            while others := _kill_others(process.pid):
                if not all([await _exit_of(other) for other in others]):
                    break
            raise
        return Ended(process.wait(), printed.finish(), errors.finish())


async def _exit_of(pid: int, child: Popen[bytes] | None = None) -> bool:
    """Wait until a process has ended.

    Args:
        pid: Its id.
        child: Itself, if it is a child of this process.

    Returns:
        Whether it has. False: it is no child of this process, and the system tells nobody else.
    """
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    except (OSError, AttributeError):  # the system knows no such thing, or lets nobody have it
        descriptor = -1
    if descriptor >= 0:
        loop.add_reader(descriptor, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)
    elif child is not None:

        def wait() -> None:
            child.wait()
            with suppress(RuntimeError):  # the loop was closed meanwhile
                loop.call_soon_threadsafe(ended.set)

        Thread(target=wait, name="runcue-commands", daemon=True).start()
        await ended.wait()
    return descriptor >= 0 or child is not None


def _kill(leader: int) -> None:
    with suppress(OSError):
        os.killpg(leader, signal.SIGKILL)
    _kill_others(leader)


def _kill_others(leader: int) -> list[int]:
    """Kill what lives of a session beside its leader, whatever process group it is in: `timeout` makes its own.

    Returns:
        Their ids.
    """
    others = []
    for process in _PROCESSES.glob("[0-9]*"):
        pid = int(process.name)
        try:
            # The name of the program comes first, in brackets, and may hold some.
            state, _, _, session = (process / "stat").read_bytes().rpartition(b")")[2].split()[:4]
            if int(session) == leader and pid != leader and state not in _DEAD:
                os.kill(pid, signal.SIGKILL)
                others.append(pid)
        except (OSError, ValueError):
            continue  # gone meanwhile
    return others
