"""Where sync handlers run: daemon threads of runcue's own.

Lives here: `ThreadExecutor`. Never the loop's default executor: that one is shared with name look-ups and file reads
and stops at cpu + 4 threads (cpython#112169). Threads are made when more work units are in flight than there are
threads; how many may be in flight is decided by the core's slots, so nothing queues up here. Where no more threads can
be made, whoever gives work units has to wait (`hire`).

Work units go in through a line and come back through a deque; however many come back, one wake-up of the loop is
outstanding, and however many go in, one of a thread. An idle thread waits in a queue, costs nothing, and knows nothing
but the line: it keeps no cue alive.

The instant at which a handler is entered is taken where nothing can come between the two. To wake the loop up means to
give up the GIL (asyncio writes to a socket), and a thread that computes keeps it for 5 ms then; even to wake a thread
up may cost the processor. So whoever is about to enter a handler first wakes up a thread that does nothing but tell the
loop, and then takes the instant: that thread cannot go on before the GIL is free again.

Must not know: limits, order, states.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from contextvars import Context, copy_context
from time import sleep
from typing import TYPE_CHECKING, Any, Final

from runcue.abc import Clock, Deliver

if TYPE_CHECKING:
    from queue import SimpleQueue

__all__ = ["ThreadExecutor"]

_AT_ONCE: Final = 0.001
"""Seconds. A thread that has left a handler so shortly ago may not have waited for the next one, nor for the GIL."""

_GLANCE: Final = 0.001
"""Seconds until the loop looks again where a handler is said to be entered, and not yet when."""

_RETRY: Final = 0.2
"""Seconds until it is tried again to make a thread, where that could not be done. Nobody tells when it can."""


class _Entry:
    """A handler is entered.

    Attributes:
        work: The work unit.
        at: The instant; None until it has come.
        told: Whether the loop was told.
    """

    __slots__ = ("at", "told", "work")

    def __init__(self, work: Any) -> None:
        self.work = work
        self.at: float | None = None
        self.told = False


# A handler has returned or raised: what `Deliver` takes. Not a named tuple, here and below: to make the two of them
# would cost a tenth of what runcue does for a plain handler.
_Return = tuple[Any, bool, Any, float, float]


class _Line:
    """Handlers to be run, in order.

    A thread that finds nothing in it sleeps until it is given a token. While one is on its way no other is woken up;
    but whoever takes a handler and leaves more behind sees to it that somebody comes for those, as its own may take
    long. So what takes no time is run by one or two threads, however many there are. A SimpleQueue with handlers in it
    does the same up to Python 3.12; later ones hand each item to a sleeping thread, and to switch between threads for
    each costs twice as much as all the rest.

    Attributes:
        handlers: Those that nobody has taken.
        is_awaited: Whether a thread is on its way.
        tokens: What wakes up who sleeps.
        seats: One for each thread: in it the work unit whose handler the thread is in, and when it was entered, if that
            was not to be told; else None.
    """

    __slots__ = ("handlers", "is_awaited", "seats", "tokens")

    def __init__(self, tokens: SimpleQueue[None]) -> None:
        self.handlers: deque[_Item | None] = deque()
        self.is_awaited = False
        self.tokens = tokens
        self.seats: list[list[tuple[Any, float] | None]] = []

    def put(self, handler: _Item | None) -> None:
        """Have one run by the next thread that has nothing to do, or, by None, have a thread end."""
        self.handlers.append(handler)
        if not self.is_awaited:
            self.wake()

    def wake(self) -> None:
        """Wake up a thread."""
        try:
            self.is_awaited = True
            self.tokens.put(None)
        except BaseException:  # a KeyboardInterrupt between the two; one token too many does no harm
            self.is_awaited = False
            raise

    def sleep(self) -> None:
        """Called by a thread that has found nothing: wait until somebody wakes it up."""
        self.tokens.get()
        # Before it looks: what is put in after that wakes up another one.
        self.is_awaited = False


class _Channel:
    """What one generation of threads shares with its loop. A restarted cue gets a new one.

    A handler that was given up by a stop is heard of all the same when it returns, by whichever loop runs then.

    Attributes:
        line: Handlers to be run; None: one thread is to end.
        bell: Rung to have the loop told that there is news, by this itself; None: nothing more is to be told.
        monotonic: The clock.
        tells_all: Whether each entry is told.
        closed: Whether it was stopped: nothing is entered any more.
        left_over: How many handlers were given up and have not returned.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        monotonic: Callable[[], float],
        executor: ThreadExecutor,
        deliver: Deliver,
        entered: Callable[[Any, float], None],
    ):
        from queue import SimpleQueue  # noqa: PLC0415 - only what a started cue with plain handlers needs

        self.line = _Line(SimpleQueue())
        self.bell: SimpleQueue[_Channel | None] = SimpleQueue()
        self.monotonic = monotonic
        self._outbox: deque[_Entry | _Return] = deque()
        self._loop = loop
        self._context = copy_context()
        self._executor = executor
        self._deliver = deliver
        self._entered = entered
        self._signalled = False
        self._to_be_told = False
        self.tells_all = False
        self.closed = False
        self.left_over = 0

    def close(self, left_over: int) -> None:
        """Nobody waits for its handlers any longer, of which so many have not returned."""
        self.closed = True
        self.left_over = left_over

    def move(self, loop: asyncio.AbstractEventLoop) -> None:
        """Tell another loop from now on, what was not told before as well."""
        # In this order: a thread reads them in the other one.
        self._loop = loop
        self._signalled = False
        loop.call_soon(self._receive, loop, context=self._context)

    def enter(self, work: Any) -> _Entry:
        """Called by a thread that is about to enter a handler and to take the instant."""
        entry = _Entry(work)
        self._outbox.append(entry)
        if not self._to_be_told:
            self._to_be_told = True
            self.bell.put(self)
        return entry

    def leave(self, entry: _Entry | None, message: _Return) -> None:
        """Called by a thread that has left a handler."""
        if entry is not None and not entry.told:
            self._outbox.append(entry)
        self._outbox.append(message)
        if not self._signalled:
            self.signal()

    def signal(self) -> None:
        """Called by a thread: let the loop know that there is news."""
        # The loop lowers the flags before it empties the deque: what is appended after that signals again.
        if not self._signalled:
            self._signalled = True
            try:
                loop = self._loop
                loop.call_soon_threadsafe(self._receive, loop, context=self._context)
            except RuntimeError:
                pass  # the loop was closed while the handler ran: the next one will look

    def _receive(self, loop: asyncio.AbstractEventLoop) -> None:
        if loop is not self._loop:
            return  # told to one that has taken turns with another since
        self._signalled = self._to_be_told = False
        outbox, executor, deliver = self._outbox, self._executor, self._deliver
        while outbox:
            message = outbox.popleft()
            if isinstance(message, _Entry):
                self._tell(message)
                continue
            # In place, with no call of its own: this is done for each handler.
            if self.closed or executor.in_flight == 1:
                executor.returned(self)
            else:
                executor.in_flight -= 1
                executor.idle += 1
            deliver(*message)

    def _tell(self, entry: _Entry) -> None:
        """Tell of an entry, once."""
        if entry.told or self.closed:
            return
        if entry.at is None:
            # Its thread was interrupted in that very moment; what it does next is to take the instant.
            self._loop.call_later(_GLANCE, self._tell, entry)
            return
        entry.told = True
        self._entered(entry.work, entry.at)


# A handler to be run: by whom it is heard of, then what `Executor.submit` takes.
_Item = tuple[_Channel, Any, Callable[[Any], Any], Context, bool]


class ThreadExecutor:
    """Runs handlers in daemon threads.

    Attributes:
        in_flight: How many handlers are.
        idle: How many more threads there are than handlers in flight.
        shortage: Why no thread could be made when that was last tried, None if it could.
        retry_at: When that will be tried again.
        threads: How many there are.
    """

    def __init__(self) -> None:
        self._channel: _Channel | None = None
        # Those that were stopped while handlers ran in their threads.
        self._former: list[_Channel] = []
        self.in_flight = self.idle = self.threads = 0
        self.shortage: Exception | None = None
        self.retry_at = 0.0
        # Whether there is one that tells of entries.
        self._tells = False
        self._clock: Clock | None = None

    def start(self, deliver: Deliver, entered: Callable[[Any, float], None], clock: Clock) -> None:
        """See `Executor.start`."""
        self._clock = clock
        self.in_flight = self.threads = self.idle = 0
        self.shortage, self.retry_at = None, 0.0
        self._tells = False
        loop = asyncio.get_running_loop()
        for channel in self._former:
            channel.move(loop)
            clock.hold()
        self._channel = _Channel(loop, clock.monotonic, self, deliver, entered)

    def hire(self) -> bool:
        """See to it that there is a thread for one more handler.

        Returns:
            False: there is none, and none can be made for now. Ask again when one has returned, or at `retry_at`.
        """
        assert self._channel is not None
        if self.idle <= 0 and self._make(_serve, self._channel.line, f"runcue-{self.threads + 1}"):
            self.threads += 1
            self.idle += 1
        return self.idle > 0

    def _make(self, target: Callable[..., None], what_for: _Line | SimpleQueue[Any], name: str) -> bool:
        """Make a thread. Returns whether that could be done."""
        assert self._channel is not None
        if (now := self._channel.monotonic()) < self.retry_at:
            return False
        try:
            threading.Thread(target=target, args=(what_for,), name=name, daemon=True).start()
        except (RuntimeError, MemoryError) as error:
            self.shortage, self.retry_at = error, now + _RETRY
            return False
        self.shortage = None
        return True

    def submit(self, work: Any, handler: Callable[[Any], Any], context: Context, *, stamped: bool) -> None:
        """See `Executor.submit`. Who can wait calls `hire` before; this raises what stands against a first thread."""
        assert self._channel is not None
        assert self._clock is not None
        if self.idle <= 0 and not self.hire() and not self.threads:
            raise self.shortage or RuntimeError("there is no thread")
        if not self.in_flight:
            self._clock.hold()  # once for all that are, as it would be a call for each
        self.in_flight += 1
        self.idle -= 1
        if stamped and not self._tells:
            self._make_teller(self._channel)
        self._channel.line.put((self._channel, work, handler, context, stamped))

    def _make_teller(self, channel: _Channel) -> None:
        # Without it the loop is told when the handler has returned.
        self._tells = self._make(_tell, channel.bell, "runcue-entries")

    def entries(self) -> list[tuple[Any, float]]:
        """Tell of entries from now on, whoever is asked to run a handler without.

        Returns:
            The handlers that run and were not to be told of, each with the instant of its entry.
        """
        channel = self._channel
        if channel is None or not self.in_flight:
            return []
        if not self._tells:
            self._make_teller(channel)
        # In this order. Who has just found that it need not tell, and is not in its seat yet, tells when it returns.
        channel.tells_all = True
        return [seat[0] for seat in channel.line.seats if seat[0] is not None]

    def returned(self, channel: _Channel) -> None:
        """A handler has returned: one that was given up, or the last one in flight."""
        assert self._clock is not None
        if not channel.closed:
            self.in_flight -= 1
            self.idle += 1
            self._clock.release()
            return
        channel.left_over -= 1
        if channel.left_over == 0:
            self._former.remove(channel)
            if self._channel is not None:  # between a stop and the next start nothing is held
                self._clock.release()

    def stop(self) -> None:
        """See `Executor.stop`."""
        if self._channel is not None:
            if self.in_flight:
                self._former.append(self._channel)
            self._channel.close(self.in_flight)
            if self._clock is not None:
                for _ in self._former:  # nobody waits for them
                    self._clock.release()
            self._dismiss(self._channel)
            self._channel = None

    def _dismiss(self, channel: _Channel) -> None:
        for _ in range(self.threads):
            channel.line.put(None)
        channel.bell.put(None)

    def __del__(self) -> None:
        """Nobody will stop it any more."""
        if self._channel is not None:
            self._dismiss(self._channel)


def _tell(bell: SimpleQueue[_Channel | None]) -> None:
    while (channel := bell.get()) is not None:
        channel.signal()
        del channel


def _nothing(work: Any) -> None:
    """In the place of a handler that is not entered any more."""


def _serve(line: _Line) -> None:
    handlers = line.handlers
    seat: list[tuple[Any, float] | None] = [None]
    line.seats.append(seat)
    left = 0.0
    while True:
        try:
            item = handlers.popleft()
        except IndexError:
            line.sleep()
            continue
        if handlers and not line.is_awaited:
            line.wake()
        if item is None:
            line.seats.remove(seat)
            return
        channel, work, handler, context, stamped = item
        monotonic = channel.monotonic
        entry = None
        if channel.closed:
            handler = _nothing  # it was given up before it was entered
        if stamped or channel.tells_all:
            prepare = getattr(handler, "prepare", None)
            if prepare is not None:
                context.run(prepare, work)
                del prepare
            if monotonic() - left < _AT_ONCE:
                sleep(0)  # it may have to give up the GIL at any moment; after this, not for 5 ms
            entry = channel.enter(work)
            entry.at = entered = monotonic()
        else:
            entered = monotonic()
            seat[0] = work, entered
        try:
            outcome = context.run(handler, work)
            succeeded = True
        except BaseException as error:
            outcome = error
            succeeded = False
        left = monotonic()
        seat[0] = None
        channel.leave(entry, (work, succeeded, outcome, entered, left))
        # An idle thread must not keep the last work unit and its result alive, nor the cue.
        del item, channel, monotonic, work, handler, context, outcome, entry
