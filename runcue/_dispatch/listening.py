"""Async listeners: each is served first come, first served, beside the dispatch and never in its way.

Lives here: `Lines`, one line of awaitables per listener and the task that awaits them.

Must not know: what the events are.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextvars import Context

from runcue._callbacks.callbacks import Callbacks, Listener
from runcue._callbacks.failures import BLOCKS_AFTER
from runcue._callbacks.verdicts import discard
from runcue._handlers.coroutines import timed
from runcue._model.work import Work

__all__ = ["Lines"]


Line = deque[tuple[Awaitable[object], Work | None]]


class Lines:
    """What async listeners have left to do.

    Args:
        callbacks: For its failure policy; what its listeners leave to be awaited comes here.
        context: The contextvars to serve them in.
        done: Called when a line has come to its end.
    """

    def __init__(self, callbacks: Callbacks, context: Context, done: Callable[[], None]) -> None:
        self._callbacks = callbacks
        self._context = context
        self._done = done
        self._lines: dict[Listener, Line] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        callbacks.defer = self._defer

    def __bool__(self) -> bool:
        return bool(self._lines)

    def names(self) -> list[str]:
        """The listeners that are still being served."""
        return [listener.name for listener in self._lines]

    def cancel(self) -> list[str]:
        """Wait for no line any longer. Returns the names of the listeners that were cancelled."""
        names = self.names()
        tasks = list(self._tasks)
        self.abandon()
        for task in tasks:
            task.cancel()
        return names

    def abandon(self) -> None:
        """Forget what is in line: nobody will serve it."""
        # A task that is cancelled before its first step cannot tidy up after itself.
        for line in self._lines.values():
            _discard(line)
        self._lines.clear()
        self._tasks.clear()

    def _defer(self, listener: Listener, awaitable: Awaitable[object], work: Work | None = None) -> None:
        line = self._lines.get(listener)
        if line is not None:
            line.append((awaitable, work))
            return
        line = self._lines[listener] = deque(((awaitable, work),))
        task = asyncio.get_running_loop().create_task(self._serve(listener, line), context=self._context)
        self._tasks.add(task)
        task.add_done_callback(lambda task: self._gone(task, listener, line))

    async def _serve(self, listener: Listener, line: Line) -> None:
        callbacks = self._callbacks

        def told(seconds: float) -> None:
            if seconds > BLOCKS_AFTER:
                callbacks.blocked(listener.name, seconds)

        while line:
            awaitable, work = line.popleft()
            try:
                await timed(awaitable, callbacks.now, told)
            except asyncio.CancelledError as error:
                me = asyncio.current_task()
                if me is not None and me.cancelling():
                    raise
                callbacks.raised(listener.name, error, work)
            except BaseException as error:
                callbacks.raised(listener.name, error, work)
        self._close(listener, line)  # in the step that found it empty: what comes next needs a new one

    def _close(self, listener: Listener, line: Line) -> None:
        if self._lines.get(listener) is line:
            del self._lines[listener]

    def _gone(self, task: asyncio.Task[None], listener: Listener, line: Line) -> None:
        # Not in a finally of the task: one that is cancelled before its first step never gets there.
        self._tasks.discard(task)
        self._close(listener, line)
        _discard(line)
        self._done()


def _discard(line: Line) -> None:
    while line:
        discard(line.popleft()[0])
