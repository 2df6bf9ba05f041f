"""What a trial is put into, so that it can be watched and cannot escape: a world, a clock, silence and a guard.

Lives here: `HeardWorld`, whose changes are heard; `WatchedLoop`, which says when time is about to pass; `CriticalLog`,
which hears of a scheduler that failed; `WatchDog`, which breaks into what goes on for ever.

Must not know: scenarios, faults, what is judged.
"""

from __future__ import annotations

import asyncio
import copy
import logging
import signal
import threading
from collections.abc import Callable
from contextvars import Context
from types import FrameType
from typing import Any, Self

from runcue.testing import NothingLeft, VirtualTimeLoop
from runcue_sim._engine.world import World


class HeardWorld(World):
    """A world whose changes are heard.

    Attributes:
        on_change: Called with the name of what was made or has vanished.
        on_touch: Called with the name of what somebody tells about.
    """

    __slots__ = ("on_change", "on_touch")

    def __init__(self) -> None:
        super().__init__()
        self.on_change: Callable[[str], object] = _unheard
        self.on_touch: Callable[[str], object] = _unheard

    def make(self, name: str) -> None:
        """See `World.make`."""
        super().make(name)
        self.on_change(name)

    def spoil(self, name: str) -> None:
        """See `World.spoil`."""
        super().spoil(name)
        self.on_change(name)

    def tell(self, name: str) -> None:
        """See `World.tell`."""
        self.on_touch(name)

    def survivor(self) -> HeardWorld:
        """What outlives the process at this instant."""
        twin = copy.copy(self)
        twin.made, twin.times, twin.notes = dict(self.made), dict(self.times), dict(self.notes)
        twin._proofs = {}  # noqa: SLF001 - those that there are tell this world
        twin.on_change = twin.on_touch = _unheard
        return twin


def _unheard(name: str) -> None:
    pass


class WatchedLoop(VirtualTimeLoop):
    """A virtual clock that says when it is about to let time pass, and notices when it never does."""

    def __init__(self, look: Callable[[], object], *, order: int | None) -> None:
        self._look = look
        self._advances = False
        self._steps = 0
        self.most_steps = 0
        self.spins = False
        super().__init__(order=order)

    def advance(self) -> None:
        self._steps = 0
        self._advances = True
        try:
            super().advance()
        except NothingLeft:
            self._look()
            raise
        finally:
            self._advances = False

    def reach(self, when: float) -> None:
        # A callback that blocks gets here as well, in the middle of things.
        if self._advances and when > self.time():
            self._look()
        super().reach(when)

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        self._steps += 1
        if self._steps > self.most_steps:
            self.spins = True
            self.stop()
        return super().call_soon(callback, *args, context=context)


class CriticalLog(logging.Handler):
    """Takes what runcue logs of a scheduler that failed.

    Attributes:
        hear: Called with it.
    """

    def __init__(self) -> None:
        super().__init__(logging.CRITICAL)
        self.hear: Callable[[str], object] = _unheard

    def emit(self, record: logging.LogRecord) -> None:
        """Pass it on."""
        error = record.exc_info[1] if record.exc_info else None
        if not isinstance(error, EndlessError):
            self.hear(record.getMessage() + (f": {type(error).__name__}: {error}" if error else ""))


class EndlessError(BaseException):
    """Breaks into code that goes on for ever."""


class WatchDog:
    """Barks when a trial has computed for too long, even inside of a callback that never returns.

    By a signal, which only the main thread of a program can hear, on a system that has it; elsewhere it sleeps. It
    counts the time that this process has computed, so a busy machine does not wake it.

    Attributes:
        loop: The one that is to be stopped.
        has_barked: Whether it did.
    """

    def __init__(self, patience: float) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        self.has_barked = False
        is_main = threading.current_thread() is threading.main_thread()
        # 0: it never barks.
        self._after = patience if is_main and hasattr(signal, "setitimer") else 0.0

    def _bark(self, number: int, frame: FrameType | None) -> None:
        self.has_barked = True
        if self.loop is not None and self.loop.is_running():
            self.loop.stop()
        raise EndlessError

    def __enter__(self) -> Self:
        if self._after:
            self._was = signal.signal(signal.SIGVTALRM, self._bark)
            # What has gone on for ever once may do so again while it is cleared away.
            signal.setitimer(signal.ITIMER_VIRTUAL, self._after, min(self._after, 0.2))
        return self

    def __exit__(self, *error: object) -> None:
        if self._after:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            signal.signal(signal.SIGVTALRM, self._was)
