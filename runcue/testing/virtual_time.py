"""Time that passes only when everything waits, and order that a seed decides where asyncio leaves it open.

Lives here: `VirtualTimeLoop`, its clock and its selectors; `run`, which runs a test on it. Must not know: what runs on
it; what it offers to runcue is `runcue.abc.Clock`.
"""

from __future__ import annotations

import asyncio
import functools
import heapq
import itertools
import random
import selectors
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextvars import Context
from typing import Any, TypeVar

from runcue._api.run import check_main
from runcue._model.checks import number_of, says_what_it_takes
from runcue._model.errors import ConfigurationError, RuncueError, UsageError
from runcue._model.texts import describe, words_of
from runcue.abc import Clock, TimerHandle

T = TypeVar("T")

EPOCH = 1_704_067_200.0
"""The wall-clock time at which virtual time begins: 2024-01-01 00:00:00 UTC."""


class NothingLeft(RuncueError):
    """On the virtual clock, nothing was left that could ever happen: a wake-up was lost, or nobody will send it."""


_LOOK_EVERY = 16

# With an order: how often what could come now comes in a later turn.
_SPLIT = 0.5


class _VirtualSelector(selectors.DefaultSelector):
    """Where a loop would wait, time passes instead."""

    loop: VirtualTimeLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0) or self.loop._is_due():
            self.loop._ripen()
            return ready
        if self.loop.held:
            # A thread is at work in real time; it ends the wait through the loop's self-pipe.
            return super().select(None)
        self.loop.advance()
        return ready


class _ShufflingSelector(_VirtualSelector):
    """Tells in a seeded order what may be read and written."""

    luck: random.Random

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        masks = {key.fd: mask for key, mask in super().select(timeout)}
        if not masks:
            return []
        # First in the order of their registration: that in which the system tells of them is not the program's.
        ready = [
            (key, event)
            for key in self.get_map().values()
            for event in (selectors.EVENT_READ, selectors.EVENT_WRITE)
            if masks.get(key.fd, 0) & event
        ]
        self.luck.shuffle(ready)
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
    runs, and while a sync handler is in its thread. The wall clock of a cue, by which `run_at=` goes, starts with it at
    2024-01-01 00:00:00 UTC. Real sockets need `hold()` around the wait for them.

    asyncio leaves some things open: which of the timers that are due at one instant comes first, and what happens
    between two of them; which of the sockets that are ready is served first; which of several threads is heard first by
    `call_soon_threadsafe`, and how soon. Usually they come here as they were registered, which is but one of the orders
    that a program meets in real life. With `order` they come in another one, which the seed decides. What is promised
    stays: what `call_soon` is given, and what one thread gives to `call_soon_threadsafe`, comes first in, first out,
    and timers of different instants come in the order of their instants.

    The same program comes in the same order for the same seed. Threads and the outer world are not of the program: when
    a thread is through, or when something arrives at a socket, is not decided here.

    Args:
        order: Seeds the order of what asyncio leaves open; None: as registered.

    Raises:
        ConfigurationError: The order is no number.

    Attributes:
        step: Gives the seconds by which time may pass at once, so that passive timers fire in time on the way to one
            that is far off; None for any.
    """

    # Of asyncio's own loop, since no public names lead to them.
    _ready: deque[asyncio.Handle]
    _selector: selectors.BaseSelector
    _stopping: bool
    _debug: bool
    _thread_id: int | None
    # Until it is made: one that is refused has nothing to close.
    _closed = True

    def __init__(self, *, order: int | None = None) -> None:
        if order is not None and number_of(order) is None:
            raise ConfigurationError(f"order must be a number or None, not {words_of(order)}.")
        self._now = 0.0
        self.step: Callable[[], float] | None = None
        self.held = 0
        self._turns = 0
        # By instant; at one instant by a number of its own, which is never the same for two.
        self._timers: list[tuple[float, int, asyncio.Handle]] = []
        self._passive: list[tuple[float, int, asyncio.Handle]] = []
        self._order = order
        self._home = threading.get_ident()
        # Chosen once: a question at each turn would slow every run down.
        self._ripen: Callable[[], None]
        if order is None:
            self._numbers: Iterator[int] = itertools.count()
            self._ripen = self._ripen_all
            selector = _VirtualSelector()
        else:
            self._numbers = _shuffled_numbers(random.Random(f"timers {order}"))
            self._ripen = self._ripen_some
            self.call_soon_threadsafe = self._call_from_thread  # type: ignore[assignment, method-assign]
            self._ripening = random.Random(f"turns {order}")
            # Each kind has luck of its own: how often threads ask for some depends on real time.
            self._hearing = random.Random(f"threads {order}")
            self._unheard: dict[threading.Thread, deque[asyncio.Handle]] = {}
            self._hears_later = False
            selector = _ShufflingSelector()
            selector.luck = random.Random(f"sockets {order}")
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
        heapq.heappush(self._timers, (when, next(self._numbers), handle))
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
            self._ripen()
        for _ in range(len(ready)):
            handle = ready.popleft()
            if not handle._cancelled:
                handle._run()

    def call_passive(self, when: float, callback: Callable[[], object], context: Context) -> asyncio.Handle:
        """Call back when time has come so far for some other reason."""
        handle = asyncio.Handle(callback, (), self, context)
        heapq.heappush(self._passive, (when, next(self._numbers), handle))
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
            due = heapq.heappop(passive)
            if due[2].cancelled():
                continue
            if self._order is None:
                self.call_soon(self._run_passive, due[2])
            else:
                # From here on it is a timer like others, before or after those of its instant.
                heapq.heappush(timers, due)
        self._ripen()

    def nothing_left(self) -> None:
        """Nothing is left that could ever happen. A subclass may know what to do about it.

        Raises:
            NothingLeft: Always, in here.
        """
        raise NothingLeft(self._what_waits())

    def _is_due(self) -> bool:
        """Whether there is a timer that has only to be ripened."""
        return bool(self._timers) and self._timers[0][0] <= self._now

    def _ripen_all(self) -> None:
        """Have the timers run that are due."""
        timers = self._timers
        while timers and timers[0][0] <= self._now:
            handle = heapq.heappop(timers)[2]
            if not handle._cancelled:
                self._ready.append(handle)

    def _ripen_some(self) -> None:
        """Have the first of the timers run that are due; the others come now or in one of the next turns."""
        while self._is_due():
            handle = heapq.heappop(self._timers)[2]
            if not handle._cancelled:
                self._ready.append(handle)
                if self._ripening.random() < _SPLIT:
                    return

    def _call_from_thread(
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """`call_soon_threadsafe`, with an order."""
        if threading.get_ident() == (self._thread_id or self._home):
            return super().call_soon_threadsafe(callback, *args, context=context)
        handle = asyncio.Handle(callback, args, self, context)
        # Not by its number, which the next one gets when a thread has ended.
        super().call_soon_threadsafe(self._hear_from, threading.current_thread(), handle)
        return handle

    def _hear_from(self, thread: threading.Thread, handle: asyncio.Handle) -> None:
        self._unheard.setdefault(thread, deque()).append(handle)
        if not self._hears_later:
            self._hear_some()

    def _hear_some(self) -> None:
        # A call may come later than in its own place, as if its thread had been slower, and never earlier: what the
        # loop was given before may be what the thread had waited for.
        unheard = self._unheard
        try:
            while unheard and self._hearing.random() >= _SPLIT:
                thread = self._hearing.choice(list(unheard))
                handle = unheard[thread].popleft()
                if not unheard[thread]:
                    del unheard[thread]
                if not handle._cancelled:
                    handle._run()
        finally:
            # Even if an interrupt has come out of one of them: none is left behind.
            self._hears_later = bool(unheard)
            if unheard:
                self.call_soon(self._hear_some)

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


def _shuffled_numbers(luck: random.Random) -> Iterator[int]:
    for count in itertools.count():
        yield (luck.getrandbits(32) << 64) + count


@says_what_it_takes
def run(
    main: Callable[[], Coroutine[Any, Any, T]] | Coroutine[Any, Any, T], *, order: int | None = None
) -> T:
    """Run an async function on a virtual clock.

    Args:
        main: An async function without arguments, or its coroutine.
        order: See `VirtualTimeLoop`.

    Returns:
        What it returns.

    Raises:
        NothingLeft: It waits for something that can never happen.
        RuncueError: A value cannot work.

    Example:
        >>> import asyncio
        >>> async def main():
        ...     await asyncio.sleep(3600)
        ...     return asyncio.get_running_loop().time()
        >>> run(main)
        3600.0
    """
    check_main(main, "runcue.testing.run()")
    with asyncio.Runner(loop_factory=functools.partial(VirtualTimeLoop, order=order)) as runner:
        coroutine = main() if callable(main) else main
        if not asyncio.iscoroutine(coroutine):
            raise UsageError(
                f"runcue.testing.run() takes an async function; {describe(main)} returned {words_of(coroutine)}."
            )
        return runner.run(coroutine)
