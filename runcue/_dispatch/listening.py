"""Async listeners and observers: each is served first come, first served, beside the dispatch and never in its way.

Lives here: `Lines`, what each of them has left to be awaited and the task that awaits it.

Must not know: what the events are.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextvars import Context
from typing import NamedTuple

from runcue._callbacks.callbacks import Callbacks
from runcue._callbacks.door import AWAIT
from runcue._callbacks.listeners import Line, Listener
from runcue._dispatch.closed_loops import dismiss, is_being_closed
from runcue._handlers.coroutines import watched
from runcue._model.awaitables import discard
from runcue._model.work import Work

__all__ = ["Lines", "Served"]


class Outcome(NamedTuple):
    """What a listener has left to be awaited.

    Attributes:
        awaitable: What it has returned.
        listener: Who has.
        work: What it was told of, if that was a work unit.
    """

    awaitable: Awaitable[object]
    listener: Listener
    work: Work | None


Queue = deque[Outcome]


class Served(NamedTuple):
    """Whose turn it is in a line.

    Attributes:
        name: Of the line, in messages.
        task: In which it is served.
        work: The work unit that it was told of, if it was told of one.
    """

    name: str
    task: asyncio.Task[None]
    work: Work | None


class Lines:
    """What async listeners and observers have left to do.

    Args:
        callbacks: What becomes of those that raise or block.
        context: The contextvars to serve them in.
        done: Called with a line that has come to its end.
    """

    def __init__(self, callbacks: Callbacks, context: Context, done: Callable[[Line], None]) -> None:
        self._failures = callbacks.failures
        self._door = callbacks.door
        self._context = context
        self._done = done
        self._lines: dict[Line, Queue] = {}
        self._tasks: dict[Line, asyncio.Task[None]] = {}

    def __bool__(self) -> bool:
        return bool(self._lines)

    def names(self) -> list[str]:
        """Those that are still being served."""
        return [line.name for line in self._lines]

    def served(self) -> list[Served]:
        """Whose turn it is in each line."""
        return [
            Served(line.name, task, _told_of(task))
            for line, task in self._tasks.items()
            if line in self._lines
        ]

    def start(self) -> None:
        """Serve what an observer has left that was attached where no loop was running."""
        for line, queue in self._lines.items():
            if line not in self._tasks:
                self._serve_in_task(line, queue)

    def cancel(self) -> list[str]:
        """Wait for no line any longer. Returns the names of those that were cancelled."""
        names = self.names()
        tasks = list(self._tasks.values())
        self.abandon()
        for task in tasks:
            task.cancel()
        return names

    def dismiss(self) -> None:
        """The loop was closed: let go of what was to be awaited in it."""
        for line, task in list(self._tasks.items()):
            dismiss(task)
            for outcome in list(self._lines.get(line, ())):
                discard(outcome.awaitable)

    def abandon(self) -> None:
        """Forget what is in line: nobody will serve it."""
        # A task that is cancelled before its first step cannot tidy up after itself.
        for queue in self._lines.values():
            _discard(queue)
        self._lines.clear()
        self._tasks.clear()

    def defer(self, listener: Listener, awaitable: Awaitable[object], work: Work | None) -> None:
        """Await something, after all else that its line holds.

        Args:
            listener: Who has returned it.
            awaitable: What it was.
            work: What it is about, for messages.
        """
        line = listener.line
        queue = self._lines.get(line)
        if queue is None:
            queue = self._lines[line] = deque()
        queue.append(Outcome(awaitable, listener, work))
        if line not in self._tasks and _is_loop_running():
            self._serve_in_task(line, queue)

    def _serve_in_task(self, line: Line, queue: Queue) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(line, queue), context=self._context)
        self._tasks[line] = task
        task.add_done_callback(lambda task: self._gone(task, line, queue))

    async def _serve(self, line: Line, queue: Queue) -> None:
        # The name `work` is read out of this frame, by `_told_of`.
        me = asyncio.current_task()
        assert me is not None
        while queue:
            awaitable, listener, work = queue.popleft()
            try:
                await self._served(awaitable, listener, work)
            except asyncio.CancelledError as error:
                if me.cancelling():
                    raise
                self._failures.raised(listener.name, error, work, observed=not listener.is_warned)
            except BaseException as error:
                if type(error) is GeneratorExit and is_being_closed(me):
                    raise
                self._failures.raised(listener.name, error, work, observed=not listener.is_warned)
        self._close(line, queue)  # in the step that found it empty: what comes next needs a new one

    def _served(
        self, awaitable: Awaitable[object], listener: Listener, work: Work | None
    ) -> Awaitable[object]:
        """What a listener has returned, to be awaited to its end."""
        door, observed = self._door, not listener.is_warned

        def blocked(began: float, ended: float) -> None:
            told = not listener.is_runcues
            door.blocked(listener.place, began, ended, AWAIT, work, observed=observed, told=told)

        def cancelled() -> None:
            door.cancelled(listener.place, work, observed=observed)

        return watched(awaitable, door.now, blocked, cancelled)

    def _close(self, line: Line, queue: Queue) -> None:
        if self._lines.get(line) is queue:
            del self._lines[line]
            self._tasks.pop(line, None)

    def _gone(self, task: asyncio.Task[None], line: Line, queue: Queue) -> None:
        # Not in a finally of the task: one that is cancelled before its first step never gets there.
        self._close(line, queue)
        _discard(queue)
        self._done(line)


def _told_of(task: asyncio.Task[None]) -> Work | None:
    """What a listener was told of that is being awaited: read only when somebody asks, listening costs nothing."""
    frame = getattr(task.get_coro(), "cr_frame", None)
    work: Work | None = None if frame is None else frame.f_locals.get("work")
    return work


def _is_loop_running() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _discard(queue: Queue) -> None:
    while queue:
        discard(queue.popleft().awaitable)
