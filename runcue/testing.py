"""Tools for tests of programs that use runcue: a virtual clock, a fake executor and a recorder of events.

Lives here: what runcue's own tests use, shipped because its users need the same.

`run(main)` runs an async function on a `VirtualTimeLoop`: an hour of rate limits takes milliseconds, and a test that
would hang fails at once, because with nothing left to wait for the loop raises `NothingLeft`.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import selectors
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from contextvars import Context
from typing import Any, NamedTuple, TypeVar

from runcue._api.cue import Cue
from runcue._model.errors import RuncueError
from runcue._model.work import Work
from runcue.abc import Clock, Deliver, TimerHandle

__all__ = ["EPOCH", "FakeExecutor", "Heard", "NothingLeft", "Recorder", "VirtualTimeLoop", "run"]

T = TypeVar("T")

EPOCH = 1_704_067_200.0
"""The wall-clock time at which virtual time begins: 2024-01-01 00:00:00 UTC."""


class NothingLeft(RuncueError):
    """On the virtual clock, nothing was left that could ever happen: a wake-up was lost, or nobody will send it."""


_LOOK_EVERY = 16


class _VirtualSelector(selectors.DefaultSelector):
    """Where a loop would wait, time passes instead."""

    loop: VirtualTimeLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            self.loop.ripen()
            return ready
        if self.loop.held:
            # A thread is at work in real time; it ends the wait through the loop's self-pipe.
            return super().select(None)
        self.loop.advance()
        return ready


class _VirtualClock:
    """The clock of a `VirtualTimeLoop`."""

    def __init__(self, loop: VirtualTimeLoop) -> None:
        self._loop = loop
        # Without a step in between: it is asked a dozen times for each work.
        self.monotonic = loop.time
        self.hold = loop.hold
        self.release = loop.release

    def time(self) -> float:
        return EPOCH + self._loop.time()

    def call_at(
        self, when: float, callback: Callable[[], object], *, passive: bool, context: Context
    ) -> TimerHandle:
        if passive:
            return self._loop.call_passive(when, callback, context)
        return self._loop.call_at(when, callback, context=context)


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop in which time passes only when everything waits, and then jumps to the next timer.

    `asyncio.sleep`, time-outs and runcue's limits all live in its time. Time starts at 0.0 and stands still while code
    runs, and while a sync handler is in its thread. Real sockets need `hold()` around the wait for them.

    Attributes:
        step: Gives the seconds by which time may pass at once, so that passive timers fire in time on the way to one
            that is far off; None for any.
    """

    # Of asyncio's own loop, since no public names lead to them.
    _ready: deque[asyncio.Handle]
    _selector: selectors.BaseSelector
    _stopping: bool
    _debug: bool

    def __init__(self) -> None:
        self._now = 0.0
        self.step: Callable[[], float] | None = None
        self.held = 0
        self._turns = 0
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._passive: list[tuple[float, int, asyncio.Handle]] = []
        self._count = itertools.count()
        selector = _VirtualSelector()
        selector.loop = self
        super().__init__(selector)
        self.runcue_clock: Clock = _VirtualClock(self)

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._now

    def reach(self, when: float) -> None:
        """Let time pass to an instant, if it is not there yet."""
        self._now = max(self._now, when)

    def hold(self) -> None:
        """Something outside the loop is at work: no time may pass until `release()`."""
        self.held += 1

    def release(self) -> None:
        """The counterpart of `hold()`."""
        self.held -= 1

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """See `asyncio.loop.call_at`."""
        if self.is_closed():
            raise RuntimeError("Event loop is closed")
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, next(self._count), handle))
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Asyncio counts them for a heap of its own, which is empty here."""

    def _run_once(self) -> None:
        # One turn, as asyncio takes it, but without a look at sockets each time: there usually are none, and looking
        # would be a third of the time of a long run. Now and then it is done all the same, for signals.
        ready = self._ready
        self._turns += 1
        if (
            self._turns % _LOOK_EVERY == 0
            or self._debug
            or (not ready and (self.held or self._stopping or len(self._selector.get_map()) > 1))
        ):
            super()._run_once()  # type: ignore[misc]
            return
        if not ready:
            self.advance()
        elif self._timers and self._timers[0][0] <= self._now:
            self.ripen()
        for _ in range(len(ready)):
            handle = ready.popleft()
            if not handle._cancelled:
                handle._run()

    def call_passive(self, when: float, callback: Callable[[], object], context: Context) -> asyncio.Handle:
        """Call back when time has come so far for some other reason."""
        handle = asyncio.Handle(callback, (), self, context)
        heapq.heappush(self._passive, (when, next(self._count), handle))
        return handle

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        """See `asyncio.loop.run_in_executor`; time stands still until it is done."""
        self.hold()
        try:
            future = super().run_in_executor(executor, func, *args)
        except BaseException:
            self.release()
            raise
        future.add_done_callback(lambda done: self.release())
        return future

    async def shutdown_default_executor(self, *args: Any) -> None:
        """See `asyncio.loop.shutdown_default_executor`."""
        self.hold()
        try:
            await super().shutdown_default_executor(*args)
        finally:
            self.release()

    def advance(self) -> None:
        """Go to the next timer that is no passive one. Called by the loop itself when nothing is ready to run.

        Raises:
            NothingLeft: There is none.
        """
        timers = self._timers
        while timers and timers[0][2].cancelled():
            heapq.heappop(timers)
        if not timers:
            self.nothing_left()
            return
        when = timers[0][0]
        if self.step is not None:
            when = min(when, self._now + self.step())
        self.reach(when)
        passive = self._passive
        while passive and (passive[0][0] <= self._now or passive[0][2].cancelled()):
            handle = heapq.heappop(passive)[2]
            if not handle.cancelled():
                self.call_soon(self._run_passive, handle)
        self.ripen()

    def nothing_left(self) -> None:
        """Nothing is left that could ever happen. A subclass may know what to do about it.

        Raises:
            NothingLeft: Always, in here.
        """
        raise NothingLeft(self._what_waits())

    def ripen(self) -> None:
        """Have the timers run that are due."""
        timers = self._timers
        while timers and timers[0][0] <= self._now:
            handle = heapq.heappop(timers)[2]
            if not handle._cancelled:
                self._ready.append(handle)

    @staticmethod
    def _run_passive(handle: asyncio.Handle) -> None:
        if not handle.cancelled():
            handle._run()

    def _what_waits(self) -> str:
        waiting = [task.get_coro().__qualname__ for task in asyncio.all_tasks(self)]  # type: ignore[union-attr]
        shown = ", ".join(sorted(waiting)[:10])
        return (
            f"Nothing is left to wait for at virtual time {self._now:g}; still waiting: {shown or 'nothing'}."
        )


def run(main: Callable[[], Coroutine[Any, Any, T]] | Coroutine[Any, Any, T]) -> T:
    """Run an async function on a virtual clock.

    Args:
        main: An async function without arguments, or its coroutine.

    Returns:
        What it returns.

    Raises:
        NothingLeft: It waits for something that can never happen.

    Example:
        >>> import asyncio
        >>> async def main():
        ...     await asyncio.sleep(3600)
        ...     return asyncio.get_running_loop().time()
        >>> run(main)
        3600.0
    """
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main() if callable(main) else main)


class FakeExecutor:
    """Runs sync handlers in the event loop, each after a time that you choose: `Cue(executor=FakeExecutor(2.0))`.

    Args:
        duration: Seconds of the loop's time between the start and the moment the handler is called and returns; or a
            function of the work.
    """

    def __init__(self, duration: float | Callable[[Work], float] = 0.0) -> None:
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


class Heard(NamedTuple):
    """One event that a `Recorder` heard.

    Attributes:
        event: "start", "complete", "failure", "skip" or "cancel".
        work: The work.
        time: The loop's time.
        value: The result, the error, or None.
    """

    event: str
    work: Work
    time: float
    value: Any


class Recorder:
    """Writes down all events of a cue, in order.

    Args:
        cue: The cue to listen to.

    Attributes:
        events: What was heard.
    """

    def __init__(self, cue: Cue) -> None:
        self.events: list[Heard] = []
        cue.on_start(lambda work: self._note("start", work))
        cue.on_complete(lambda work, result, duration: self._note("complete", work, result))
        cue.on_failure(lambda work, error: self._note("failure", work, error))
        cue.on_skip(lambda work: self._note("skip", work))
        cue.on_cancel(lambda work: self._note("cancel", work))

    def _note(self, event: str, work: Work, value: Any = None) -> None:
        self.events.append(Heard(event, work, asyncio.get_running_loop().time(), value))

    def of(self, work_id: str) -> list[str]:
        """The names of the events of one work, in order."""
        return [heard.event for heard in self.events if heard.work.id == work_id]

    def times(self, event: str) -> list[float]:
        """When an event was heard, for all works."""
        return [heard.time for heard in self.events if heard.event == event]

    def counts(self) -> Mapping[str, int]:
        """How often each event was heard."""
        found: dict[str, int] = {}
        for heard in self.events:
            found[heard.event] = found.get(heard.event, 0) + 1
        return found
