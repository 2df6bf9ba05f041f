"""Handlers in a `concurrent.futures.Executor` of the user's: a pool of threads, of processes, or what looks like one.

Lives here: `FuturesExecutor`. A pool of threads of this process is given handlers as they are, all others are given
calls.

A pool that was given belongs to who gave it; one that a function has made is shut down by the stop of the cue, and made
anew when it is broken.

Must not know: limits, order, states, what is in a call.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future
from contextvars import Context, copy_context
from functools import partial
from typing import Any, Final, NamedTuple

from runcue._model.callables import located
from runcue._model.errors import ConfigurationError, UsageError
from runcue._model.texts import error_words, words_of
from runcue.abc import Call, Clock, Deliver
from runcue.executors.calls import run

__all__ = ["FuturesExecutor"]

_PICKLERS: Final = {
    "joblib.externals.loky": "joblib.externals.cloudpickle",
    "loky": "cloudpickle",
    "distributed": "cloudpickle",
}
"""Packages whose pools pickle what they are given by more than its name, and with what."""


class _Message(NamedTuple):
    """A future is done, or a handler was entered.

    Attributes:
        work: The work unit.
        call: What is told if nobody is there any more to be delivered to; None: a `ThreadRun` does that by itself.
        succeeded: Whether there is a result; None: it is entered.
        outcome: That, or what was raised.
        entered: When the handler was entered, or given away.
        left: When it was left; None: when this is heard.
    """

    work: Any
    call: Call | None
    succeeded: bool | None
    outcome: Any
    entered: float
    left: float | None = None


class _Channel:
    """What one start of a pool shares with its loop.

    Attributes:
        closed: Whether it was stopped.
        clock: The clock.
        tells_all: Whether each entry into a handler is told.
        inside: When handlers were entered that run, of those that were not to be told of.
    """

    def __init__(
        self,
        deliver: Deliver,
        entered: Callable[[Any, float], None],
        clock: Clock,
        futures: dict[Any, Future[Any]],
    ) -> None:
        self.closed = self.tells_all = False
        self.inside: dict[Any, float] = {}
        self.clock = clock
        self._loop = asyncio.get_running_loop()
        self._context = copy_context()
        self._deliver, self._entered = deliver, entered
        self._futures = futures
        self._outbox: deque[_Message] = deque()
        self._signalled = False

    def tell(self, message: _Message) -> None:
        """Called in any thread."""
        self._outbox.append(message)
        # The loop lowers the flag before it empties the deque: what is appended after that signals again.
        if not self._signalled:
            self._signalled = True
            try:
                self._loop.call_soon_threadsafe(self._receive, context=self._context)
            except RuntimeError:
                self._tell_over()  # that loop was closed

    def close(self) -> None:
        """Nothing is delivered any more."""
        self.closed = True
        for _ in self._futures:
            self.clock.release()
        self._tell_over()

    def _tell_over(self) -> None:
        while self._outbox:
            message = self._outbox.popleft()
            if message.succeeded is not None and message.call is not None:
                message.call.over()

    def _receive(self) -> None:
        self._signalled = False
        if self.closed:
            self._tell_over()
            return
        while self._outbox:
            work, _, succeeded, outcome, entered, left = self._outbox.popleft()
            if succeeded is None:
                self._entered(work, entered)
                continue
            del self._futures[work]
            self.clock.release()
            self._deliver(work, succeeded, outcome, entered, self.clock.monotonic() if left is None else left)


class FuturesExecutor:
    """Runs handlers in a pool.

    Args:
        given: The pool, or a function that makes one; a class of pools is such a function.
        what: What it is called in messages: "run_in of task 'resize'".

    Attributes:
        workers: How many it runs at once; None if that is not known, or not yet.
        takes_calls: See `CallExecutor`: whether it is no pool of threads of this process.
        kills: See `CallExecutor`.
        heard: Called with `workers` when the pool was made.

    Raises:
        ConfigurationError: The pool was shut down.
    """

    kills = False

    def __init__(self, given: Executor | Callable[[], Any], what: str) -> None:
        self._what = what
        self._channel: _Channel | None = None
        self._futures: dict[Any, Future[Any]] = {}
        self.heard: Callable[[int | None], object] | None = None
        self._make: Callable[[], Any] | None = None
        self._pool: Executor | None = None
        if isinstance(given, Executor):
            if _is_shut_down(given):
                raise ConfigurationError(f"{what} was shut down: {words_of(given)}. Give one that is not.")
            self._pool = given
        else:
            self._make = given
        self.workers = None if self._pool is None else _workers_of(self._pool)
        self._look_at(self._make if isinstance(self._make, type) else type(self._pool))

    def _look_at(self, kind: Any) -> None:
        """Note what kind of pool it is, as far as that is known."""
        self._kind = kind
        modules = [one.__module__ for one in kind.__mro__]
        # A pool of interpreters is one of threads, too.
        self.takes_calls = (
            "concurrent.futures.thread" not in modules or "concurrent.futures.interpreter" in modules
        )

    @property
    def is_known(self) -> bool:
        """Whether it is known what kind of pool it is: it is there, or made of a class."""
        return self._pool is not None or isinstance(self._make, type)

    @property
    def pickler(self) -> str | None:
        """See `CallExecutor`."""
        module = f"{self._kind.__module__}."
        return next((by for package, by in _PICKLERS.items() if module.startswith(f"{package}.")), None)

    @property
    def knows_main(self) -> bool:
        """See `CallExecutor`. Processes that are forked have all that there is."""
        context = getattr(self._pool, "_mp_context", None)
        try:
            return context is not None and context.get_start_method() == "fork"
        except Exception:  # it is something else of that name
            return False

    @property
    def name(self) -> str:
        """What it is called where its slots are counted."""
        return str(self._kind.__name__ if self.is_known else "pool")

    def open(self) -> Executor:
        """The pool, made if that is for a function to do.

        Raises:
            ConfigurationError: What the function gives is no pool.
        """
        if self._pool is None:
            assert self._make is not None
            try:
                pool = self._make()
            except Exception as error:
                raise ConfigurationError(
                    f"{self._what}, {located(self._make)}, has made no pool: {_clause(error)}."
                ) from error
            if not isinstance(pool, Executor) or _is_shut_down(pool):
                state = ", which was shut down" if isinstance(pool, Executor) else ""
                raise ConfigurationError(
                    f"{self._what}, {located(self._make)}, must make a new concurrent.futures.Executor, not "
                    f"{words_of(pool)}{state}."
                )
            self._pool, self.workers = pool, _workers_of(pool)
            self._look_at(type(pool))
            if self.heard is not None:
                self.heard(self.workers)
        return self._pool

    def start(self, deliver: Deliver, entered: Callable[[Any, float], None], clock: Clock) -> None:
        """See `Executor.start`."""
        self._futures = {}
        self._channel = _Channel(deliver, entered, clock, self._futures)

    def submit(self, work: Any, what: Any, context: Context, *, stamped: bool) -> None:
        """See `Executor.submit` and `CallExecutor.submit`.

        Args:
            work: The work unit.
            what: A call, or a handler where the pool is one of threads.
            context: The contextvars of a handler.
            stamped: Whether its entry is to be told.
        """
        channel = self._channel
        assert channel is not None
        pool = self.open()
        given = channel.clock.monotonic()
        done: Callable[[Future[Any]], object]
        if self.takes_calls:
            future = self._give(pool, run, what.payload)
            done = partial(_answered, channel, work, what, given)
        else:
            future = self._give(pool, _enter, channel, work, what, context, stamped)
            done = partial(_returned, channel, work, given)
        if not hasattr(future, "add_done_callback"):
            raise UsageError(
                f"{self._what}, {words_of(pool)}, must give a concurrent.futures.Future by its submit(), not "
                f"{words_of(future)}."
            )
        self._futures[work] = future
        channel.clock.hold()
        future.add_done_callback(done)

    def entries(self) -> list[tuple[Any, float]]:
        """See `ThreadExecutor.entries`; of calls nothing is known."""
        channel = self._channel
        if channel is None:
            return []
        channel.tells_all = True
        return list(channel.inside.copy().items())

    def cancel(self, work: Any) -> bool:
        """See `CallExecutor.cancel`."""
        future = self._futures.get(work)
        return future is not None and future.cancel()

    def stop(self) -> None:
        """See `Executor.stop`."""
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()
        if self._make is not None and self._pool is not None:
            pool, self._pool = self._pool, None
            _dismiss(pool)

    def _give(self, pool: Executor, *what: Any) -> Future[Any]:
        """Have something called.

        Raises:
            UsageError: The pool takes nothing any more.
        """
        try:
            try:
                return pool.submit(*what)
            except BrokenExecutor:
                if self._make is None:
                    raise
                self._pool = None
                _dismiss(pool)
                return self.open().submit(*what)
        except BrokenExecutor as error:
            raise UsageError(
                f"{self._what}, {words_of(pool)}, is broken and stays so: {_clause(error)}. Give a function that makes "
                "it in its place: then it is made anew."
            ) from error
        except RuntimeError as error:
            if not _is_shut_down(pool) and "shutdown" not in str(error):
                raise
            raise UsageError(
                f"{self._what}, {words_of(pool)}, was shut down ({_clause(error)}). Do that after the cue was stopped, "
                "or give a function that makes it."
            ) from error

    def __repr__(self) -> str:
        return repr(self._pool) if self._pool is not None else located(self._make)


def _enter(
    channel: _Channel, work: Any, handler: Callable[[Any], Any], context: Context, stamped: bool
) -> _Message | None:
    """Run a handler in a thread of a pool."""
    if channel.closed:
        return None  # it was given up before it was entered
    monotonic = channel.clock.monotonic
    if channel.tells_all:
        stamped = True
    if stamped:
        prepare = getattr(handler, "prepare", None)
        if prepare is not None:
            context.run(prepare, work)
    entered = monotonic()
    if stamped:
        channel.tell(_Message(work, None, None, None, entered))
    else:
        channel.inside[work] = entered
    try:
        outcome, succeeded = context.run(handler, work), True
    except BaseException as error:
        outcome, succeeded = error, False
    channel.inside.pop(work, None)
    return _Message(work, None, succeeded, outcome, entered, monotonic())


def _returned(channel: _Channel, work: Any, given: float, future: Future[Any]) -> None:
    """Such a handler has come to its end, or will never begin."""
    succeeded, outcome = _outcome_of(future)
    if not succeeded:
        channel.tell(_Message(work, None, False, outcome, given))
    elif outcome is not None:
        channel.tell(outcome)


def _answered(channel: _Channel, work: Any, call: Call, given: float, future: Future[Any]) -> None:
    """A call has come to its end, or will never begin."""
    call.place = getattr(future, "place", "")
    if channel.closed:
        call.over()
    else:
        channel.tell(_Message(work, call, *_outcome_of(future), given))


def _dismiss(pool: Executor) -> None:
    """Shut down a pool that a function has made; what it has begun comes to its end."""
    try:
        pool.shutdown(wait=False, cancel_futures=True)
    except TypeError:  # loky's has no such option
        pool.shutdown(wait=False)


def _is_shut_down(pool: Executor) -> bool:
    """Whether a pool takes nothing any more, as far as it tells."""
    for name in ("_shutdown", "_shutdown_thread"):
        if getattr(pool, name, False) is True:
            return True
    return getattr(getattr(pool, "_flags", None), "shutdown", False) is True


def _workers_of(pool: Executor) -> int | None:
    """How many workers a pool has, None if it does not tell."""
    workers = getattr(pool, "_max_workers", None)
    return workers if type(workers) is int and workers > 0 else None


def _outcome_of(future: Future[Any]) -> tuple[bool, Any]:
    """Whether a future that is done has a result, and that, or what was raised."""
    if future.cancelled():
        return False, UsageError("What was to run it was shut down before it has begun.")
    error = future.exception()
    return (True, future.result()) if error is None else (False, error)


def _clause(error: BaseException) -> str:
    return error_words(error).removesuffix(".")
