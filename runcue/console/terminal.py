"""A block of lines at the foot of a terminal, with what the program prints above it.

Lives here: `Terminal`. rich draws the block (`Live`); here is what a program needs around that:

- What is printed or logged meanwhile goes above the block at once, whoever writes it and since when they hold the
  stream: its own `write` is replaced, and only if it is a terminal. rich would replace `sys.stdout` and `sys.stderr`:
  handlers of a log keep the old ones, and output that goes to a file would land on the terminal.
- Keys that are pressed leave no trace. The terminal is as before when the process is stopped with Ctrl-Z or ended by a
  signal that nobody else cares for, and what is in the background leaves it to others.
- It may be narrowed, and it may go away, which is no reason to end a program.

Must not know: what is in the block, or when it changes.
"""

from __future__ import annotations

import atexit
import contextlib
import io
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final, TextIO

from rich.cells import cell_len
from rich.console import Console
from rich.live import Live
from rich.segment import ControlType, Segment, Segments

from runcue.console.frame import frame
from runcue.console.snapshot import Snapshot
from runcue.console.views import Lines, Notebook, View, is_notebook

if sys.platform != "win32":
    import termios

_LEAVE: Final = "\x1b[0m\x1b[?25h"
_SIGNALS: Final = ("SIGTSTP", "SIGCONT", "SIGTERM", "SIGHUP")
_COMMANDS: Final = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
# A command of any kind: rich does not ask how wide it is, nor shortens it.
_AS_IT_IS: Final = [(ControlType.CARRIAGE_RETURN,)]
# What is printed goes to the terminal at once; of a program that prints a great deal, together with what comes so soon.
_TOGETHER: Final = 0.01


def is_terminal(file: Any) -> bool:
    """Whether something can be drawn on it."""
    try:
        console = Console(file=file)
        return bool(file.isatty()) and not (console.is_dumb_terminal or console.legacy_windows)
    except (AttributeError, ValueError):
        return False


class _Out(io.TextIOBase):
    """Writes to a terminal past what stands in the place of its `write`. It never fails.

    Attributes:
        is_gone: Whether the terminal has gone away.
    """

    def __init__(self, file: TextIO) -> None:
        super().__init__()
        self._file = file
        self._write = file.write
        self.is_gone = False

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """That of the terminal."""
        return self._file.encoding or "utf-8"

    def write(self, text: str) -> int:
        """Send text at once, with a "?" for what the terminal has no sign for."""
        try:
            self._write(text.encode(self.encoding, "replace").decode(self.encoding))
            self._file.flush()
        except BlockingIOError:
            pass  # it is slow: the next frame is drawn as a whole anyway
        except (OSError, ValueError):
            self.is_gone = True
        return len(text)


class Terminal(View):
    """A terminal whose last lines are a block of ours.

    Args:
        file: Writes to it.
    """

    pause = 1 / 8

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._out = _Out(file)
        # In a signal handler it may be asked for by who has it already.
        self._lock = threading.RLock()
        self._pid = os.getpid()
        # What is shown, by whom, from above.
        self._parts: dict[threading.Event, list[str]] = {}
        # The streams that are listened in on, and what of a line was written to each of them so far.
        self._begun: dict[Any, str] = {}
        self._signals: list[int] = []
        self._modes: list[Any] | None = None
        # Only for the colours and signs that the terminal has.
        self._styler = _console(io.TextIOWrapper(io.BytesIO(), self._out.encoding))
        self._live: Live | None = None
        self._lines: list[str] = []
        # The width that they were made for, and that the parts are made for.
        self._columns = self._width = 0
        self._held = ""
        self._sent_at = 0.0

    @property
    def is_in_use(self) -> bool:
        """Whether there is a block."""
        return bool(self._parts)

    def open(self, owner: threading.Event) -> None:
        """See `View.open`."""
        with self._lock:
            if not self._parts:
                self._listen_in()
                self._hear_signals()
                atexit.register(self._give_back)  # should nobody come to call `close`
            self._parts[owner] = []

    def show(self, owner: threading.Event, snapshot: Snapshot) -> None:
        """Draw it, and above the block what was printed since."""
        columns, rows = self._size()
        # One row is left for what is printed.
        height = max(1, (rows - 1) // max(1, len(self._parts)))
        self._styler.size = (columns, rows)
        with self._styler.capture() as drawn:
            self._styler.print(frame(snapshot, columns, height, self._out.encoding))
        with self._lock:
            self._parts[owner] = drawn.get().splitlines()[:height]
            self._width = columns
            if not self._out.is_gone and (self._live or self._is_ours()):
                self._take()
                self.flush()

    def close(self, owner: threading.Event, snapshot: Snapshot | None) -> None:
        """See `View.close`."""
        with self._lock:
            super().close(owner, snapshot)
            last = self._parts.pop(owner)
            if self._parts:
                # Above what others go on showing.
                self._held += "".join(f"{line}\n" for line in last)
                self.flush()
            else:
                self._give_back()
                self._listen_no_more()
                self._hear_signals_no_more()
                atexit.unregister(self._give_back)

    def flush(self) -> None:
        """Send what was printed, and the block as it is now."""
        if self._live is None:
            return
        begun = [_COMMANDS.sub("", line).rpartition("\r")[2] for line in self._begun.values() if line]
        lines = [*begun, *(line for part in self._parts.values() for line in part)]
        if lines == self._lines and not self._held:
            return
        columns, rows = self._size()
        if columns < self._columns:
            # The terminal has broken anew what has become too long for it: there are more rows than were written.
            more = sum((max(1, cell_len(_COMMANDS.sub("", line))) - 1) // columns for line in self._lines)
            self._out.write("\r" + "\x1b[2K\x1b[1A" * more)
        self._lines, self._columns = lines, self._width
        held, self._held = self._held, ""
        console = self._live.console
        console.size = (columns, rows)
        # As they are sent: to draw them again below a line that was printed takes no time.
        block = [piece for line in lines for piece in (Segment(line, None, _AS_IT_IS), Segment.line())]
        with console:  # all of it at once
            if held:
                console.print(Segments([Segment(held, None, _AS_IT_IS)]))
            self._live.update(Segments(block), refresh=True)
        self._sent_at = time.monotonic()

    def _print(self, stream: Any, write: Callable[[str], int], text: str) -> int:
        """Stands in the place of the `write` of a stream."""
        if os.getpid() != self._pid:
            return write(text)  # in a fork, where there is nobody to draw, nor to give the lock back
        with self._lock:
            # What has no end yet is kept even if there is no block: there may be one before it ends.
            whole, end, self._begun[stream] = (self._begun[stream] + text).rpartition("\n")
            if self._live is None or self._out.is_gone:
                if end:
                    write(whole + end)
                return len(text)
            self._held += whole + end
            if end and time.monotonic() - self._sent_at > _TOGETHER:
                self.flush()
            else:
                next(iter(self._parts)).set()
        return len(text)

    def _take(self) -> None:
        """Begin to draw, below whatever there is."""
        if self._live is None:
            modes = _without_echo(self._file)
            self._modes = self._modes or modes
            console = _console(self._out)
            self._live = Live(
                console=console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
            )
            self._live.start()
            self._lines, self._columns = [], 0

    def _give_back(self) -> None:
        """Leave the terminal to others, as it was.

        May be called in the middle of anything. So it writes past all buffers, and leaves rich's objects to themselves.
        """
        if os.getpid() != self._pid:
            return
        if self._live is not None:
            self._live = None
            held, self._held = self._held, ""
            text = _LEAVE + ("\n" if self._lines else "") + held
            try:
                os.write(self._file.fileno(), text.encode(self._out.encoding, "replace"))
            except (OSError, ValueError):
                self._out.write(text)
        modes, self._modes = self._modes, None
        if modes is not None and sys.platform != "win32" and self._is_ours():
            try:
                termios.tcsetattr(self._file.fileno(), termios.TCSANOW, modes)
            except (OSError, ValueError, termios.error):
                pass

    def _is_ours(self) -> bool:
        """Whether this process is in the foreground: in the background, the terminal belongs to a shell or others."""
        if sys.platform != "win32":
            try:
                return os.tcgetpgrp(self._file.fileno()) == os.getpgrp()
            except (AttributeError, OSError, ValueError):
                pass  # no terminal that has a foreground
        return True

    def _size(self) -> tuple[int, int]:
        """Columns and rows, asked anew: they change while a program runs."""
        try:
            columns, rows = os.get_terminal_size(self._file.fileno())
        except (AttributeError, OSError, ValueError):
            columns = rows = 0
        return columns or 80, rows or 24

    def _listen_in(self) -> None:
        streams: tuple[Any, ...] = (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__, self._file)
        for stream in streams:
            if stream not in self._begun and is_terminal(stream):
                self._begun[stream] = ""
                vars(stream)["write"] = partial(self._print, stream, stream.write)

    def _listen_no_more(self) -> None:
        for stream, begun in self._begun.items():
            del vars(stream)["write"]
            if begun:
                with contextlib.suppress(OSError, ValueError):
                    stream.write(begun)
        self._begun.clear()

    def _hear_signals(self) -> None:
        """Give the terminal back before the process is stopped or ended by a signal that nobody else cares for."""
        for name in _SIGNALS if threading.current_thread() is threading.main_thread() else ():
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, self._pass_on)
                self._signals.append(number)

    def _hear_signals_no_more(self) -> None:
        for number in self._signals if threading.current_thread() is threading.main_thread() else ():
            if signal.getsignal(number) == self._pass_on:
                signal.signal(number, signal.SIG_DFL)
        self._signals.clear()

    def _pass_on(self, number: int, frame: object) -> None:
        # Not while a frame is on its way; but whoever cannot send it must not keep the process from being ended.
        waited = self._lock.acquire(timeout=0.2)
        if number == getattr(signal, "SIGCONT", None):
            self._live = (
                None  # whatever had stopped it: others have written since, and the next frame begins below
            )
        else:
            self._give_back()
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
            # Here again only if it was Ctrl-Z, and the process goes on.
            signal.signal(number, self._pass_on)
        if waited:
            self._lock.release()


_terminals: list[Terminal] = []


def choose(file: TextIO | None) -> View:
    """Where to show something.

    Args:
        file: Where the user wants it; None if they do not care.
    """
    if file is None and is_notebook():
        return Notebook()
    file = file or sys.stderr
    if not is_terminal(file):
        return Lines(file)
    # There is but one: two that draw would draw over each other.
    if not (_terminals and _terminals[0].is_in_use):
        _terminals[:] = [Terminal(file)]
    return _terminals[0]


def _console(file: Any) -> Console:
    return Console(file=file, force_terminal=True, force_interactive=True, force_jupyter=False)


def _without_echo(file: Any) -> list[Any] | None:
    """Let keys that are pressed leave no trace on the screen.

    Returns:
        The modes to be set again, None if nothing was changed.
    """
    if sys.platform != "win32":
        try:
            modes = termios.tcgetattr(file.fileno())
            silent = list(modes)
            silent[3] &= ~termios.ECHO
            termios.tcsetattr(file.fileno(), termios.TCSANOW, silent)
        except (AttributeError, OSError, ValueError, termios.error):
            pass
        else:
            return modes
    return None
