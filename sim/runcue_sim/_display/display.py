"""The live display: frames of a run on a terminal, a few per second.

Lives here: `Display`. It draws from the event loop, without a thread, and sends only the lines that have changed; the
screen is cleared once, at the beginning. On a terminal that cannot do that, it writes a line now and then.

Must not know: what is in a frame, where snapshots come from.
"""

from __future__ import annotations

import asyncio
import atexit
import io
import signal
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from math import inf
from types import TracebackType
from typing import Final, Self

from rich.console import Console
from rich.text import Text

from runcue.testing import VirtualTimeLoop
from runcue_sim._display.layout import draw, in_a_line
from runcue_sim._display.snapshot import Snapshot
from runcue_sim._display.terminal import HeldBack, Terminal
from runcue_sim._display.text_cells import Pen

FRAMES_PER_SECOND: Final = 8
LINE_EVERY: Final = 5.0

_SHARE_OF_LOOP: Final = 0.1
_SIGNALS: Final = ("SIGTSTP", "SIGTERM", "SIGHUP")


class Display:
    """Shows a run: `async with Display(camera.take): ...`.

    On the real clock it draws by itself. On a virtual one, where waiting takes no time, it draws when it is told that
    something happened: have `tick` called with each event. When it is left, for whatever reason, the terminal is as it
    was before, and what was printed meanwhile appears.

    Args:
        source: Gives the snapshot to show.
        console: Where to draw; by default what rich makes of standard output.
        screen: Whether to use the whole screen; False writes a line now and then. By default what the terminal can do.
    """

    def __init__(
        self, source: Callable[[], Snapshot], console: Console | None = None, *, screen: bool | None = None
    ) -> None:
        self._source = source
        self._console = console or Console()
        # The file as it is now: while the display is up, what is printed goes elsewhere.
        self._terminal = Terminal(self._console.file)
        self._pen = Pen(self._console.encoding)
        if screen is None:
            screen = self._console.is_terminal and not (
                self._console.is_dumb_terminal or self._console.legacy_windows
            )
        self._screen = screen
        self._pause = 1 / FRAMES_PER_SECOND if screen else LINE_EVERY
        # What rich makes of a line is sent together with the others, so it writes to nowhere.
        self._styler = Console(
            file=io.StringIO(),
            force_terminal=True,
            color_system=self._console.color_system,  # type: ignore[arg-type]
            no_color=self._console.no_color,
            legacy_windows=False,
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.Handle | None = None
        self._next = inf
        self._drawn: list[Text] = []
        self._size = (0, 0)
        self._undo = ExitStack()

    async def __aenter__(self) -> Self:
        self._loop = loop = asyncio.get_running_loop()
        with ExitStack() as undo:
            if self._screen:
                for name in ("stdout", "stderr"):
                    stream = getattr(sys, name)
                    if stream is not None and stream.isatty():
                        undo.enter_context(HeldBack(name))
                # Should a second Ctrl-C keep __aexit__ from running.
                atexit.register(self._terminal.give_back)
                undo.callback(atexit.unregister, self._terminal.give_back)
                undo.callback(self._terminal.give_back)
                self._hear_signals(loop, undo)
            self._undo = undo.pop_all()
        self._next = 0.0
        if not isinstance(loop, VirtualTimeLoop):
            self._timer = loop.call_soon(self._beat)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._loop = None
        if self._timer is not None:
            self._timer.cancel()
        self._undo.close()

    def tick(self, _event: object = None) -> None:
        """Something has happened: draw, unless that was done just now. May be called for each event, anywhere."""
        if time.monotonic() >= self._next and self._loop is not None:
            self._next = inf
            # In a step of its own: whoever tells of an event is in the middle of what it tells of.
            self._loop.call_soon(self._frame)

    def _beat(self) -> None:
        self._frame()
        if self._loop is not None and self._next < inf:
            self._timer = self._loop.call_later(self._next - time.monotonic(), self._beat)

    def _frame(self) -> None:
        """Draw, and decide when to do so again."""
        if self._loop is None:
            return
        began = time.monotonic()
        try:
            if self._screen:
                self._draw()
            else:
                self._terminal.write(f"{in_a_line(self._source(), self._pen)}\n")
        except BlockingIOError:
            self._drawn = []  # the terminal is slow, and nobody knows how much of the frame it took
        except (OSError, ValueError):
            self._next = inf  # the terminal has gone away, which is no reason to end the run
            return
        except Exception:
            self._next = inf
            self._terminal.give_back()
            raise  # the loop tells of it
        took = time.monotonic() - began
        self._next = began + max(self._pause, took / _SHARE_OF_LOOP)

    def _draw(self) -> None:
        """Send the lines that have changed."""
        terminal = self._terminal
        if not terminal.is_taken:
            if not terminal.is_ours:
                return
            terminal.take()
            self._drawn = []
        size = terminal.size(self._console.size)
        lines = draw(self._source(), *size, self._pen)
        lines += [Text()] * (size[1] - len(lines))
        before = self._drawn if size == self._size else []
        changed = [row for row, line in enumerate(lines) if row >= len(before) or line != before[row]]
        if changed:
            # Each line is erased behind its end, not before its beginning: nothing is ever gone for a moment.
            styled = self._styled([lines[row] for row in changed])
            terminal.write(
                "".join(f"\x1b[{row + 1}H{line}\x1b[K" for row, line in zip(changed, styled, strict=True))
            )
        self._drawn, self._size = lines, size

    def _styled(self, lines: list[Text]) -> list[str]:
        """Lines as the terminal takes them: in as many colours as it has."""
        with self._styler.capture() as capture:
            for line in lines:
                self._styler.print(line, soft_wrap=True)
        return capture.get().split("\n")[:-1]

    def _hear_signals(self, loop: asyncio.AbstractEventLoop, undo: ExitStack) -> None:
        """Give the terminal back before the process is stopped or ended by a signal that nobody else cares for."""
        for name in _SIGNALS:
            number = getattr(signal, name, None)
            if number is None or signal.getsignal(number) is not signal.SIG_DFL:
                continue
            try:
                loop.add_signal_handler(number, self._pass_on, loop, number)
            except (NotImplementedError, RuntimeError, ValueError):
                return  # not on this system, or not in this thread
            undo.callback(loop.remove_signal_handler, number)

    def _pass_on(self, loop: asyncio.AbstractEventLoop, number: int) -> None:
        self._terminal.give_back()
        loop.remove_signal_handler(number)
        signal.raise_signal(number)
        # Here again only if it was Ctrl-Z, and the process goes on: the next frame takes the terminal again.
        loop.add_signal_handler(number, self._pass_on, loop, number)
