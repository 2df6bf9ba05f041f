"""The last step of a handler that runs in the event loop and had suspended.

Lives here: `LastStep`, which takes what the handler has returned or raised: that is awaited, and what it has left is
committed, if there is anything of the kind; then the work unit has come to its end.

Must not know: how handlers are started or driven, what their ends mean.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextvars import Context
from typing import Any

from runcue._callbacks.callbacks import Callbacks
from runcue._callbacks.door import BLOCKS_AFTER
from runcue._dispatch.closed_loops import is_being_closed
from runcue._dispatch.commits import commit_before
from runcue._dispatch.endings import Endings
from runcue._dispatch.in_flight import InFlight
from runcue._dispatch.settlement import Settlement
from runcue._dispatch.turns import Turns
from runcue._handlers.coroutines import follow
from runcue._model.awaitables import is_awaitable
from runcue._model.phases import COMPLETED, SETTLED
from runcue._model.work import Work
from runcue._scheduling.core import Core

__all__ = ["LastStep"]


class LastStep:
    """The last steps of the handlers of one core.

    Args:
        core: The state.
        callbacks: Their door hears of steps that keep the event loop.
        turns: The turns of the loop.
        in_flight: Handlers in flight.
        settlement: Settles work units.
        endings: What the ends of handlers mean.
    """

    def __init__(
        self,
        core: Core,
        callbacks: Callbacks,
        turns: Turns,
        in_flight: InFlight,
        settlement: Settlement,
        endings: Endings,
    ) -> None:
        self._core = core
        self._door = callbacks.door
        self._turns = turns
        self._in_flight = in_flight
        self._settlement = settlement
        self._endings = endings

    def ended(
        self, work: Work, context: Context, value: Any, error: BaseException | None, began: float
    ) -> Awaitable[None] | None:
        """A handler has returned or raised. Called in the asyncio task that it runs in.

        Args:
            work: The work unit that it was started for.
            context: Its contextvars.
            value: What it has returned.
            error: What it has raised instead.
            began: When this step began.

        Returns:
            What is to be awaited before it has come to its end; None: it has.
        """
        if error is not None or work._declared is not None or (value is not None and is_awaitable(value)):
            self._door.left_by_handler(work, began)
            if error is None:
                return self._follow(work, context, value)
            self._end(work, None, error)
        elif work._attempts is not None:
            self._door.left_by_handler(work, began)
            self._end(work, value, None)
        else:
            # What `Endings` does for those in which nothing is rare, with a call less for each.
            self._core.generation += 1
            work._runner = None
            now = self._turns.now()
            if now - began > BLOCKS_AFTER:
                self._door.blocked_by_handler(work, began, now)
            if self._in_flight.release(work, now) and work._phase != SETTLED:
                work._task.run_queue.hear(now, work, "passed")
            if work._phase != SETTLED:
                self._settlement.settle(work, COMPLETED, now, value, now - work._entered_at, None)
        return None

    async def _follow(self, work: Work, context: Context, value: Any) -> None:
        """Await what a handler has returned to be awaited, and commit what it has left."""
        me = asyncio.current_task(self._turns.loop)
        assert me is not None
        error: BaseException | None = None
        try:
            if is_awaitable(value):
                value = await follow(value, context, work, self._door)
            if work._declared is not None:
                value = await commit_before(work, value, self._door)
        except BaseException as raised:
            if type(raised) is GeneratorExit and is_being_closed(me):
                raise
            value, error = None, raised
        self._end(work, value, error)
        # Its traceback leads to this frame, and to all that the handler had: together they would live on.
        error = None

    def _end(self, work: Work, value: Any, error: BaseException | None) -> None:
        me = asyncio.current_task(self._turns.loop)
        cancelled = me is not None and me.cancelling() > 0
        self._endings.of_awaitable(work, value, error, cancelled=cancelled)
        if type(error) is KeyboardInterrupt:
            self._turns.interrupt(error)
