"""Terminals for tests: a pseudo-terminal with a program on it, and a real one (tmux) with a shell in it.

Lives here: `Pty`, of which every byte is seen; `Tmux`, of which the screen is.

Must not know: what is tested.
"""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import shlex
import shutil
import struct
import subprocess
import tempfile
import termios
import time
from collections.abc import Callable, Iterator
from fcntl import ioctl
from pathlib import Path

from tests.support.programs import OF_DEVELOPMENT, PATHS


class Pty:
    """A program on a terminal of its own, and all that it sends there."""

    def __init__(
        self, *arguments: str, columns: int = 80, rows: int = 24, out: str = "", **environment: str
    ) -> None:
        self.side, self.theirs = pty.openpty()
        self.resize(columns, rows)
        name = os.ttyname(self.theirs)
        self.reads: list[tuple[float, bytes]] = []
        # The first terminal that the leader of a session opens becomes that of the session, so that Ctrl-C reaches it.
        line = f"exec {shlex.join(arguments)} < {name} > {out or name} 2> {name}"
        inherited = {
            key: value
            for key, value in os.environ.items()
            if key not in ("NO_COLOR", "COLUMNS", "LINES", *OF_DEVELOPMENT)
        }
        self.program = subprocess.Popen(
            ["sh", "-c", line],
            env={
                **inherited,
                "TERM": "xterm-256color",
                "PYTHONPATH": PATHS,
                "PYTHONUTF8": "1",
                **environment,
            },
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )

    def resize(self, columns: int, rows: int) -> None:
        ioctl(self.theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read(self, seconds: float, until: Callable[[], bool] = lambda: False) -> None:
        """Take in what is sent, for so long or until something is so."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and not until():
            if select.select([self.side], [], [], min(left, 0.05))[0]:
                self.reads.append((time.monotonic(), os.read(self.side, 65536)))

    def wait(self, text: bytes, seconds: float = 15.0) -> None:
        """Take in what is sent until there is something in it."""
        self.read(seconds, lambda: text in self.bytes)
        assert text in self.bytes, self.bytes[-3000:]

    @property
    def bytes(self) -> bytes:
        return b"".join(text for _, text in self.reads)

    @property
    def has_echo(self) -> bool:
        return bool(termios.tcgetattr(self.theirs)[3] & termios.ECHO)

    def press(self, keys: bytes) -> None:
        os.write(self.side, keys)

    def end(self) -> int:
        self.read(30.0, lambda: self.program.poll() is not None)
        self.read(0.1)
        return self.program.wait(0)

    def close(self) -> None:
        self.program.kill()
        self.program.wait()
        os.close(self.side)
        os.close(self.theirs)


@contextlib.contextmanager
def on_a_pty(
    *arguments: str, columns: int = 80, rows: int = 24, out: str = "", **environment: str
) -> Iterator[Pty]:
    there = Pty(*arguments, columns=columns, rows=rows, out=out, **environment)
    try:
        yield there
    finally:
        there.close()


class Tmux:
    """A terminal with a shell in it, on a server of its own."""

    def __init__(self, folder: Path, *, columns: int = 80, rows: int = 24) -> None:
        # Not pytest's folder: the name of a socket must be short.
        self.folder = tempfile.mkdtemp(prefix="tmux-")
        self.environment = {
            "HOME": str(folder),
            "PATH": os.environ["PATH"],
            "LC_ALL": "C.UTF-8",
            "PYTHONPATH": PATHS,
            "TMUX_TMPDIR": self.folder,
        }
        shell = "bash --norc --noprofile"
        self.call("-u", "-f", "/dev/null", "new-session", "-d", "-x", str(columns), "-y", str(rows), shell)

    def call(self, *arguments: str) -> str:
        return subprocess.run(
            ["tmux", "-L", "runcue", *arguments],
            env=self.environment,
            check=True,
            capture_output=True,
            text=True,
            timeout=10,
        ).stdout

    def type(self, *keys: str) -> None:
        self.call("send-keys", *keys)

    def resize(self, columns: int, rows: int) -> None:
        self.call("resize-window", "-x", str(columns), "-y", str(rows))

    def screen(self, *, history: bool = False) -> list[str]:
        return self.call("capture-pane", "-p", *(["-S", "-"] if history else [])).rstrip("\n").split("\n")

    def wait(self, pattern: str, seconds: float = 15.0) -> list[str]:
        end = time.monotonic() + seconds
        while not re.search(pattern, "\n".join(screen := self.screen()), re.MULTILINE):
            assert time.monotonic() < end, "\n".join([f"{pattern!r} is not in", *screen])
            time.sleep(0.05)
        return screen

    def is_clean(self) -> bool:
        """Whether a shell has the terminal back: no alternate screen, a cursor, lines that wrap, and keys that echo."""
        modes = self.call("display", "-p", "#{alternate_on} #{cursor_flag} #{wrap_flag}")
        self.type("clear; stty -a | grep -o -w -e '-\\?echo'; echo 'e''nd'", "Enter")
        return modes == "0 1 1\n" and "echo" in [line.strip() for line in self.wait("^end$")]


def tmux_is_there() -> bool:
    return shutil.which("tmux") is not None and shutil.which("bash") is not None


@contextlib.contextmanager
def in_tmux(folder: Path, *, columns: int = 80, rows: int = 24) -> Iterator[Tmux]:
    there = Tmux(folder, columns=columns, rows=rows)
    try:
        yield there
    finally:
        there.call("kill-server")
        shutil.rmtree(there.folder)
