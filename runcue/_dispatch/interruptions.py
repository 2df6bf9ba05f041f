"""Ctrl-C in a main thread that makes calls into an event loop which runs in another one.

A call that breaks off in the middle, between two of its steps, would leave the way into the loop in a state that nobody
has foreseen. So while there is somebody who answers it (`runcue.blocking()`), Ctrl-C is held back during a call, and
raised at its end, which whoever answers it brings about.

Lives here: `INTERRUPTIONS`, those of the main thread.

Must not know: what Ctrl-C does to a cue.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Final

__all__ = ["INTERRUPTIONS", "Interruptions", "interruptions_here"]


class Interruptions:
    """What the main thread is at, and whether Ctrl-C came meanwhile.

    Attributes:
        thread: The main thread, while somebody answers Ctrl-C in it; 0: nobody does.
        depth: How many calls, one in the other, it is in.
        is_held: Whether Ctrl-C came, which is still to be raised.
        calls: What ends these calls before their time.
        leaving: In the ends of how many `with` blocks it is: these are not ended before their time.
    """

    def __init__(self) -> None:
        self.thread = 0
        self.depth = 0
        self.is_held = False
        self.calls: list[Callable[[], None]] = []
        self.leaving = 0
        # Those calls that Ctrl-C came in: the next one may be that of a `with` that is left by it.
        self._interrupted: deque[Callable[[], None]] = deque()

    def __enter__(self) -> None:
        self.depth += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """The call is over.

        Raises:
            KeyboardInterrupt: Ctrl-C came meanwhile.
        """
        self.depth -= 1
        if self.is_held and not self.depth:
            self.is_held = False
            raise KeyboardInterrupt from None

    def holds(self, frame: FrameType | None) -> bool:
        """Hold Ctrl-C back if this is no time for it. In the signal handler.

        Args:
            frame: What it has interrupted.
        """
        # In the very first step of a call nothing has been done yet, and its end is sure to look.
        if self.depth or (frame is not None and frame.f_code is _BEGINNING):
            self.is_held = True
            if not self.leaving:
                self._interrupted.extend(self.calls)
            return True
        return False

    @property
    def is_interrupted(self) -> bool:
        """Whether a call need not even begin."""
        return self.is_held and not self.leaving

    def end_calls(self) -> None:
        """Bring the main thread back from the calls that Ctrl-C came in. In any other thread."""
        while self._interrupted:
            self._interrupted.popleft()()


_BEGINNING: Final = Interruptions.__enter__.__code__

INTERRUPTIONS: Final = Interruptions()


def interruptions_here() -> Interruptions:
    """Those of this thread: in another one than the main thread there are none."""
    is_main = threading.current_thread() is threading.main_thread()
    return INTERRUPTIONS if is_main else Interruptions()
