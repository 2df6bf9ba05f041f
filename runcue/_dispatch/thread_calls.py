"""Calls that other threads make in the event loop of a cue, and are blocked by until these have come to their end.

They go by `LoopCalls`, which tell those who wait when the loop ends. A plain handler that is blocked by such a call
counts as waiting for what the call waits for, so that a deadlock is seen.

Lives here: `ThreadCalls`.

Must not know: what is called.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context, copy_context
from functools import partial
from inspect import isawaitable
from threading import get_ident
from typing import Any

from runcue._dispatch.interruptions import INTERRUPTIONS
from runcue._dispatch.loop_calls import Call, LoopCalls, too_late
from runcue._dispatch.waiting import Waiting
from runcue._handlers.thread_runs import run_here
from runcue._model.work import Work

__all__ = ["ThreadCalls"]


class ThreadCalls:
    """The calls of one cue.

    Args:
        waiting: Has to know for which asyncio task a handler waits.
    """

    def __init__(self, waiting: Waiting) -> None:
        self._waiting = waiting
        # Held, since the loop holds its tasks weakly.
        self.tasks: set[asyncio.Task[Any]] = set()

    def make(
        self,
        way: LoopCalls,
        function: Callable[[], Any],
        patience: float | None = None,
        late: Callable[[], BaseException] = TimeoutError,
    ) -> Any:
        """Call a function in the loop, and wait for what comes of it. In another thread.

        Whoever gives up waiting, because it lasts too long or by Ctrl-C, cancels the call.

        Args:
            way: The way into the loop.
            function: Plain or async.
            patience: So many seconds are waited at the most; None for no limit.
            late: Gives the error that is raised then.

        Raises:
            CueStopped: The loop has ended, or ends meanwhile.
            Exception: What the function raises.
        """
        call = _ThreadCall(self, self._waiting, function, patience)
        if get_ident() != INTERRUPTIONS.thread:
            return self._outcome_of(way, call, patience, late)
        calls = INTERRUPTIONS.calls
        with INTERRUPTIONS:
            calls.append(partial(way.post, call.cancel))
            try:
                if not INTERRUPTIONS.is_interrupted:
                    return self._outcome_of(way, call, patience, late)
            finally:
                calls.pop()
        return None  # never: Ctrl-C is raised before

    def _outcome_of(
        self, way: LoopCalls, call: _ThreadCall, patience: float | None, late: Callable[[], BaseException]
    ) -> Any:
        way.add(call)
        try:
            if not way.wait_for(call.outcome, patience):
                raise late()
        except BaseException:
            if not call.outcome.done():
                way.post(call.cancel)
            raise
        return call.outcome.result()

    def abandon(self) -> None:
        """The loop ends: nobody waits any more for what goes on in it."""
        for task in list(self.tasks):
            # Should the loop be closed before it has its turn, that is no mistake of the program's.
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            if not task.get_loop().is_closed():
                task.cancel()


class _Until:
    """Until when somebody waits, by the time of the loop: it is read off the frame that holds it."""

    __slots__ = ("deadline",)

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline


class _ThreadCall(Call[Any]):
    """One call: in the loop it is an asyncio task.

    Args:
        calls: Where it is held.
        waiting: As for `ThreadCalls`.
        function: What is called.
        patience: For how long the thread waits.

    Attributes:
        task: That; None before it has begun.
    """

    __slots__ = ("_caller", "_calls", "_context", "_patience", "_waiting", "task")

    def __init__(
        self, calls: ThreadCalls, waiting: Waiting, function: Callable[[], Any], patience: float | None
    ) -> None:
        super().__init__(function)
        self._calls = calls
        self._waiting = waiting
        self._patience = patience
        self._context: Context = copy_context()
        self._caller: Work | None = run_here()
        self.task: asyncio.Task[Any] | None = None

    def make(self) -> None:
        """Begin. In the loop."""
        if self.outcome.done():
            return  # whoever has called has given up
        loop = asyncio.get_running_loop()
        until = None if self._patience is None else _Until(loop.time() + self._patience)
        self.task = task = loop.create_task(_result_of(self.function, until), context=self._context)
        self._calls.tasks.add(task)
        if self._caller is not None:
            self._waiting.threads[self._caller] = task
        task.add_done_callback(self._done)

    def cancel(self) -> None:
        """Nobody waits for it any more. In the loop."""
        if self.task is None:
            self.outcome.cancel()
        else:
            self.task.cancel()

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._calls.tasks.discard(task)
        if self._caller is not None:
            self._waiting.threads.pop(self._caller, None)
        if task.cancelled():  # with the loop, or by who has called
            self.outcome.set_exception(too_late())
        elif (error := task.exception()) is not None:
            self.outcome.set_exception(error)
        else:
            self.outcome.set_result(task.result())


async def _result_of(function: Callable[[], Any], until: _Until | None) -> Any:
    # `until` is not used: whoever asks for how long this waits finds it here.
    outcome = function()
    return await outcome if isawaitable(outcome) else outcome
