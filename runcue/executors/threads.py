"""Where sync handlers run: daemon threads of runcue's own.

Lives here: `ThreadExecutor`. Never the loop's default executor: that one is shared with name look-ups and file reads
and stops at cpu + 4 threads (cpython#112169). Threads are made when more work units are in flight than there are
threads; how many may be in flight is decided by the core's slots, so nothing queues up here.

Work units go in through a SimpleQueue and come back through a deque; however many come back, one wake-up of the loop is
outstanding. An idle thread waits in the queue and costs nothing.

Must not know: limits, order, states.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from contextvars import Context
from typing import Any

from runcue.abc import Clock, Deliver

__all__ = ["ThreadExecutor"]

Item = tuple[Any, Callable[[Any], Any], Context, bool]


class _Channel:
    """What one generation of threads shares with its loop. A restarted cue gets a new one; late reports die here."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, deliver: Deliver, entered: Callable[[Any, float], None]
    ):
        from queue import SimpleQueue  # noqa: PLC0415 - only what a started cue with plain handlers needs

        self.inbox: SimpleQueue[Item | None] = SimpleQueue()
        self._outbox: deque[tuple[Any, ...]] = deque()
        self._loop = loop
        self._deliver = deliver
        self._entered = entered
        self._signalled = False
        self.closed = False

    def report(self, *message: Any) -> None:
        """Called by a thread."""
        self._outbox.append(message)
        # The loop lowers the flag before it empties the deque: what is appended after that signals again.
        if not self._signalled:
            self._signalled = True
            try:
                self._loop.call_soon_threadsafe(self._receive)
            except RuntimeError:
                pass  # the loop was closed while the handler ran: nobody is left to be told

    def _receive(self) -> None:
        self._signalled = False
        outbox = self._outbox
        while outbox:
            message = outbox.popleft()
            if self.closed:
                continue
            if len(message) == 2:
                self._entered(*message)
            else:
                self._deliver(*message)


class ThreadExecutor:
    """Runs handlers in daemon threads."""

    def __init__(self) -> None:
        self._channel: _Channel | None = None
        self._in_flight = 0
        self._threads = 0
        self._clock: Clock | None = None
        self._deliver: Deliver | None = None

    def start(self, deliver: Deliver, entered: Callable[[Any, float], None], clock: Clock) -> None:
        """See `Executor.start`."""
        self._clock = clock
        self._deliver = deliver
        self._in_flight = self._threads = 0
        self._channel = _Channel(asyncio.get_running_loop(), self._returned, entered)

    def submit(self, work: Any, handler: Callable[[Any], Any], context: Context, *, stamped: bool) -> None:
        """See `Executor.submit`."""
        assert self._channel is not None
        assert self._clock is not None
        self._clock.hold()
        self._in_flight += 1
        if self._in_flight > self._threads:
            self._threads += 1
            threading.Thread(
                target=_serve, args=(self._channel, self._clock), name=f"runcue-{self._threads}", daemon=True
            ).start()
        self._channel.inbox.put((work, handler, context, stamped))

    def _returned(self, work: Any, succeeded: bool, outcome: Any, entered: float, left: float) -> None:
        assert self._deliver is not None
        assert self._clock is not None
        self._in_flight -= 1
        self._clock.release()
        self._deliver(work, succeeded, outcome, entered, left)

    def stop(self) -> None:
        """See `Executor.stop`."""
        if self._channel is not None:
            self._channel.closed = True
            if self._clock is not None:
                for _ in range(self._in_flight):  # what is abandoned reports to nobody
                    self._clock.release()
            for _ in range(self._threads):
                self._channel.inbox.put(None)
            self._channel = None


def _serve(channel: _Channel, clock: Clock) -> None:
    monotonic = clock.monotonic
    take = channel.inbox.get
    report = channel.report
    while True:
        item = take()
        if item is None:
            return
        work, handler, context, stamped = item
        entered = monotonic()
        if stamped:
            report(work, entered)
        try:
            outcome = context.run(handler, work)
            succeeded = True
        except BaseException as error:
            outcome = error
            succeeded = False
        report(work, succeeded, outcome, entered, monotonic())
        # An idle thread must not keep the last work unit and its result alive.
        del item, work, handler, context, outcome
