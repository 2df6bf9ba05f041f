"""Async listeners: each is served first come, first served, beside the dispatch and never in its way.

Lives here: `Lines`, one line of awaitables per listener and the task that awaits them.

Must not know: what the events are.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextvars import Context

from runcue._callbacks import Callbacks, GateAnswer, Listener

__all__ = ["Lines"]


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
        self._lines: dict[Listener, deque[Awaitable[object]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        callbacks.defer = self._defer

    def __bool__(self) -> bool:
        return bool(self._lines)

    def _defer(self, listener: Listener, awaitable: Awaitable[object]) -> None:
        line = self._lines.get(listener)
        if line is not None:
            line.append(awaitable)
            return
        self._lines[listener] = deque((awaitable,))
        task = asyncio.get_running_loop().create_task(self._serve(listener), context=self._context)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, listener: Listener) -> None:
        line = self._lines[listener]
        try:
            while line:
                try:
                    await line.popleft()
                except asyncio.CancelledError as error:
                    me = asyncio.current_task()
                    if me is not None and me.cancelling():
                        raise
                    self._callbacks.raised(listener.name, error, None)
                except BaseException as error:
                    self._callbacks.raised(listener.name, error, None)
        finally:
            self._lines.pop(listener, None)
            for left in line:
                GateAnswer("listener", left).discard()
            self._done()
