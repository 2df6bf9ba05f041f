"""An event loop in a thread of its own, for programs that have none.

Lives here: `LoopThread`. Whoever starts it may be broken off by Ctrl-C at any instant, and the thread still comes to
its end: of a portal of anyio's that is being started, nobody is left then who would end it.

Must not know: what goes on in the loop.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final

__all__ = ["LoopThread"]

_LOOK_EVERY: Final = 1.0
"""Seconds after which whoever waits for the thread looks again: there are systems on which no signal ends a wait."""


class LoopThread:
    """One of them, from `start` to `end`.

    Args:
        begin: Called in the loop when it runs.

    Attributes:
        loop: The loop, once it runs.
    """

    def __init__(self, begin: Callable[[], None]) -> None:
        self._begin = begin
        self._began: Future[None] = Future()
        self._is_over = False
        self._over: asyncio.Event | None = None
        self.loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="runcue-loop", daemon=True)

    def start(self) -> None:
        """Start it, and wait until it has begun.

        Raises:
            Exception: What `begin` has raised.
        """
        self._thread.start()
        self._began.result()

    def end(self, *, waits: bool = True) -> None:
        """End it, with all that still goes on in the loop.

        Args:
            waits: Whether to wait until that has ended.
        """
        # First this and then the look: the loop does so the other way round, and one of both sees the other.
        self._is_over = True
        loop, over = self.loop, self._over
        if loop is not None and over is not None:
            try:
                loop.call_soon_threadsafe(over.set)
            except RuntimeError:
                pass  # it was closed by what went on in it
        while waits and self._thread.is_alive():
            self._thread.join(_LOOK_EVERY)

    def _run(self) -> None:
        try:
            with asyncio.Runner() as runner:
                runner.run(self._live())
        except BaseException as error:
            if not self._began.done():
                self._began.set_exception(error)

    async def _live(self) -> None:
        over = self._over = asyncio.Event()
        self.loop = asyncio.get_running_loop()
        if self._is_over:
            return
        self._begin()
        self._began.set_result(None)
        await over.wait()
