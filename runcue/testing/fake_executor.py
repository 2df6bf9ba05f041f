"""Sync handlers without threads: they take as long as a test says.

Lives here: `FakeExecutor`. Must not know: on which loop it runs; virtual or not, its time is that of the cue's clock.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context
from math import inf
from typing import Any

from runcue._model.checks import check_callback, number_of, says_what_it_takes
from runcue._model.errors import ConfigurationError
from runcue._model.texts import words_of
from runcue._model.work import Work
from runcue.abc import Clock, Deliver


class FakeExecutor:
    """Runs sync handlers in the event loop, each after a time that you choose: `Cue(run_in=FakeExecutor(2.0))`.

    Args:
        duration: Seconds of the loop's time between the start and the moment the handler is called and returns; or a
            function of the work.

    Raises:
        ConfigurationError: It is neither.
    """

    @says_what_it_takes
    def __init__(self, duration: float | Callable[[Work], float] = 0.0) -> None:
        if callable(duration):
            check_callback(duration, "The duration of FakeExecutor()", ("work",))
        elif not 0 <= (number_of(duration) or 0.0) < inf or number_of(duration) is None:
            raise ConfigurationError(
                "The duration of FakeExecutor() must be a number of seconds, or a function of the work, not "
                f"{words_of(duration)}."
            )
        self._duration = duration
        self._deliver: Deliver | None = None
        self._entered: Callable[[Any, float], None] | None = None
        self._clock: Clock | None = None
        self.in_flight = 0
        self.most_in_flight = 0

    def start(self, deliver: Deliver, entered: Callable[[Any, float], None], clock: Clock) -> None:
        """See `runcue.abc.Executor`."""
        self._deliver = deliver
        self._entered = entered
        self._clock = clock

    def submit(self, work: Work, handler: Callable[[Work], Any], context: Context, *, stamped: bool) -> None:
        """See `runcue.abc.Executor`."""
        assert self._clock is not None
        began = self._clock.monotonic()
        seconds = self._duration(work) if callable(self._duration) else self._duration
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        loop = asyncio.get_running_loop()
        if stamped and self._entered is not None:
            loop.call_soon(self._entered, work, began)
        loop.call_later(seconds, self._finish, work, handler, context, began)

    def _finish(self, work: Work, handler: Callable[[Work], Any], context: Context, began: float) -> None:
        assert self._deliver is not None
        assert self._clock is not None
        self.in_flight -= 1
        outcome: Any
        try:
            outcome = context.run(handler, work)
            succeeded = True
        except BaseException as error:
            outcome = error
            succeeded = False
        self._deliver(work, succeeded, outcome, began, self._clock.monotonic())

    def stop(self) -> None:
        """See `runcue.abc.Executor`."""
