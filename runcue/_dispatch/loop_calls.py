"""Calls that other threads have made in the event loop of a cue, and wait for.

Lives here: `LoopCalls`. A loop may end with calls on their way, at any instant and without a word. Once it is closed it
drops what it was given, so that is what a thread learns of it by: asking again and again whether the loop is still
there would be the other way.

Must not know: what is called.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from math import inf
from threading import get_ident
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from runcue._dispatch.interruptions import INTERRUPTIONS
from runcue._model.errors import CueStopped

if TYPE_CHECKING:
    from concurrent.futures import Future

__all__ = ["Call", "LoopCalls", "too_late"]

T = TypeVar("T")

_LOOK_EVERY: Final = 1.0
"""Seconds after which a thread that waits for long looks whether the loop is still there."""


class LoopCalls:
    """The calls on their way into the loop of one cue.

    Args:
        taken: Called in the loop when calls were made.
    """

    def __init__(self, taken: Callable[[], None]) -> None:
        self._taken = taken
        self._line: _Line | None = None

    def __len__(self) -> int:
        return 0 if self._line is None else len(self._line.calls)

    @property
    def began(self) -> bool:
        """Whether there ever was a loop to take calls into."""
        return self._line is not None

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """Take calls into this loop from now on."""
        self.refuse()
        self._line = _Line(loop, self._taken)

    def end(self) -> None:
        """Take no more calls. Those on their way are made here and now, and so learn why."""
        line = self._line
        if line is not None:
            line.is_over = True
            line.make()

    def refuse(self) -> None:
        """The loop has ended: tell those who wait."""
        if self._line is not None:
            self._line.is_over = True
            self._line.refuse()

    def call(self, function: Callable[[], T]) -> T:
        """Call a function in the loop. In another thread, which waits for what it returns or raises.

        Raises:
            CueStopped: The loop has ended, or the cue was stopped meanwhile.
        """
        call = Call(function)
        if get_ident() != INTERRUPTIONS.thread:
            self.add(call)
            return call.outcome.result()
        with INTERRUPTIONS:
            self.add(call)
            return call.outcome.result()

    def add(self, call: Call[Any]) -> None:
        """Have a call made, which tells by its outcome what comes of it. In another thread.

        Raises:
            CueStopped: There is no loop.
        """
        if self._line is None:
            raise too_late()
        self._line.add(call)

    def post(self, function: Callable[[], object]) -> None:
        """Call a function in the loop, if there is time for it, and wait for nothing. In another thread."""
        if self._line is not None:
            self._line.add(Call(function))

    def wait_for(self, outcome: Future[Any], patience: float | None = None) -> bool:
        """Wait until something that goes on in the loop has come to its end. In another thread.

        Args:
            outcome: Of that.
            patience: So many seconds at the most; None for no limit.

        Returns:
            Whether it has.

        Raises:
            CueStopped: The loop was closed meanwhile.
        """
        from concurrent.futures import wait  # noqa: PLC0415 - asyncio has it by now; its import costs time

        line, began = self._line, monotonic()
        left = inf if patience is None else patience
        # A loop that is merely closed tells nobody. What is on its way into it is dropped, and tells by that; here
        # nothing is on its way.
        while not wait((outcome,), min(left, _LOOK_EVERY)).done:
            if line is None or line.is_closed():
                raise too_late()
            if patience is not None and (left := began + patience - monotonic()) <= 0:
                return False
        return True


class Call(Generic[T]):
    """One call, and what comes of it."""

    __slots__ = ("function", "outcome")

    def __init__(self, function: Callable[[], T]) -> None:
        from concurrent.futures import Future  # noqa: PLC0415 - asyncio has it by now; its import costs time

        self.function = function
        self.outcome: Future[T] = Future()

    def make(self) -> None:
        try:
            outcome = self.function()
        except BaseException as error:
            self.outcome.set_exception(error)
        else:
            self.outcome.set_result(outcome)


class _Line:
    """The calls on their way into one loop.

    No lock is needed: each thread first adds its call and then looks whether the loop, or the cue in it, has ended;
    who ends it says so first and then looks what is there. So one of them at least sees the other, and each call is
    taken out once.

    Attributes:
        calls: They themselves.
        is_over: Whether nobody makes them any more.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, taken: Callable[[], None]) -> None:
        self.calls: deque[Call[object]] = deque()
        self.is_over = False
        self._loop = loop
        self._taken = taken
        # However many calls there are, one callback of the loop makes them.
        self._told = False

    def add(self, call: Call[T]) -> None:
        """Add a call. In another thread."""
        self.calls.append(call)  # type: ignore[arg-type]
        if not self._told:
            self._told = True
            try:
                self._loop.call_soon_threadsafe(_Knock(self))
            except RuntimeError:
                self.is_over = True
        if self.is_over or self._loop.is_closed():
            self.refuse()

    def is_closed(self) -> bool:
        """Whether the loop was closed."""
        return self._loop.is_closed()

    def receive(self) -> None:
        """Make the calls that are there. In the loop."""
        self._told = False  # before that: what is added later tells again
        self.make()
        self._taken()

    def make(self) -> None:
        # Those that come meanwhile have their turn later, or a few threads could keep the loop here.
        for _ in range(len(self.calls)):
            if (call := self._next()) is not None:
                call.make()

    def refuse(self) -> None:
        """Tell those who wait that nobody makes their calls."""
        while (call := self._next()) is not None:
            call.outcome.set_exception(too_late())

    def _next(self) -> Call[object] | None:
        try:
            return self.calls.popleft()
        except IndexError:  # perhaps another thread was quicker
            return None


class _Knock:
    """The callback of a loop that makes the calls; dropped without having been called, it refuses them."""

    __slots__ = ("_line",)

    def __init__(self, line: _Line) -> None:
        self._line: _Line | None = line

    def __call__(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            line.receive()

    def __del__(self) -> None:
        if self._line is not None:
            self._line.is_over = True
            self._line.refuse()


def too_late() -> CueStopped:
    """The error of a thread that calls into a loop that has ended."""
    return CueStopped(
        "The event loop of this cue has ended, or the cue was stopped: it takes no more work until start() is called "
        "again."
    )
