"""A terminal while a program has the whole of it, and as it was before and after.

Lives here: `Terminal`, the alternate screen and what goes with it; `HeldBack`, which keeps what is printed meanwhile.

Must not know: what is drawn, or when.
"""

from __future__ import annotations

import io
import os
import sys
from typing import Any, Final, Self, TextIO

if sys.platform != "win32":
    import termios

# Alternate screen, no cursor, no wrapping of a line that a terminal takes for longer than it is, a clear screen.
_ENTER: Final = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J"
_LEAVE: Final = "\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l"
_KEPT: Final = 1000


class Terminal:
    """Takes the screen and gives it back, any number of times.

    Args:
        file: Writes to it.

    Attributes:
        is_taken: Whether the screen is ours.
    """

    def __init__(self, file: Any) -> None:
        self._file = file
        self._modes: list[Any] | None = None
        self.is_taken = False

    @property
    def is_ours(self) -> bool:
        """Whether this process is in the foreground: in the background, the terminal belongs to a shell or others."""
        try:
            return os.tcgetpgrp(self._file.fileno()) == os.getpgrp()
        except (AttributeError, OSError, ValueError):
            return True  # no terminal that has a foreground

    def size(self, otherwise: tuple[int, int]) -> tuple[int, int]:
        """Columns and rows, asked anew: they change while a run goes on."""
        try:
            columns, rows = os.get_terminal_size(self._file.fileno())
        except (AttributeError, OSError, ValueError):
            return otherwise
        return (columns, rows) if columns and rows else otherwise

    def take(self) -> None:
        """Begin to use the whole screen."""
        if self.is_taken:
            return
        self.is_taken = True
        self._modes = _echo_off(self._file)
        self.write(_ENTER)

    def give_back(self) -> None:
        """Leave the terminal as it was. Never fails: a terminal that has gone away needs nothing."""
        if not self.is_taken:
            return
        self.is_taken = False
        modes, self._modes = self._modes, None
        try:
            self.write(_LEAVE)
        except (OSError, ValueError):
            pass
        if modes is not None and sys.platform != "win32":
            try:
                termios.tcsetattr(self._file.fileno(), termios.TCSANOW, modes)
            except (OSError, ValueError, termios.error):
                pass

    def write(self, text: str) -> None:
        """Send text at once, with a "?" for what the terminal has no sign for.

        Raises:
            OSError, ValueError: The terminal has gone away.
        """
        encoding = getattr(self._file, "encoding", None) or "utf-8"
        self._file.write(text.encode(encoding, "replace").decode(encoding))
        self._file.flush()


def _echo_off(file: Any) -> list[Any] | None:
    """Let keys that are pressed leave no trace on the screen.

    Returns:
        The modes to be set again, None if nothing was changed.
    """
    if sys.platform == "win32":
        return None
    try:
        modes = termios.tcgetattr(file.fileno())
        silent = list(modes)
        silent[3] &= ~termios.ECHO
        termios.tcsetattr(file.fileno(), termios.TCSANOW, silent)
    except (AttributeError, OSError, ValueError, termios.error):
        return None
    return modes


class HeldBack(io.TextIOBase):
    """Stands for standard output or error while the screen is in use: what is printed to it is printed later.

    Args:
        name: "stdout" or "stderr".
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name
        self._real: TextIO = getattr(sys, name)
        self._parts: list[str] = []
        self._left_out = 0

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """That of the real one."""
        return self._real.encoding

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, text: str) -> int:
        """Keep it, within reason."""
        if len(self._parts) < _KEPT:
            self._parts.append(text)
        else:
            self._left_out += 1
        return len(text)

    def __enter__(self) -> Self:
        setattr(sys, self._name, self)
        return self

    def __exit__(self, *error: object) -> None:
        setattr(sys, self._name, self._real)
        if self._left_out:
            self._parts.append(f"\n... and more: {self._left_out} pieces of what was printed are left out\n")
        try:
            self._real.write("".join(self._parts))
            self._real.flush()
        except (OSError, ValueError):
            pass
