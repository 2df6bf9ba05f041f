"""`runcue.run(main)`: the synchronous entry, with a two-step Ctrl-C.

Lives here: the choice of the event loop, and what an interrupt does. Once: what is running finishes, nothing starts,
what is pending is cancelled. Twice: what is running is cancelled too. Then `KeyboardInterrupt` is raised, so that the
shell learns that the run is incomplete.

Must not know: how a cue stops.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

from runcue._api.cue import cues_in
from runcue._model.checks import unfit_form
from runcue._model.errors import RuncueError, UsageError
from runcue._model.texts import describe, how_many, words_of

__all__ = ["run"]

logger = logging.getLogger("runcue")

T = TypeVar("T")

MAIN_MAY_FINISH = 1.0
"""Seconds that main has, after its cues have stopped, to come to its own end (print a report, say)."""


def run(
    main: Callable[[], Coroutine[Any, Any, T]] | Coroutine[Any, Any, T], *, debug: bool | None = None
) -> T:
    """Run an async function as a program: like `asyncio.run`, on uvloop if it is installed, with a kinder Ctrl-C.

    Args:
        main: An async function without arguments, or its coroutine.
        debug: Passed to the event loop.

    Returns:
        What main returns.

    Raises:
        UsageError: An event loop is already running here (in a notebook: `await main()`), or main is neither.
        KeyboardInterrupt: The run was interrupted, after everything has come to its end.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        pass
    else:
        if inspect.iscoroutine(main):
            main.close()
        raise UsageError(
            "runcue.run() cannot be called while an event loop is running; await the coroutine instead."
        )
    if not inspect.iscoroutine(main) and not callable(main):
        raise UsageError(f"runcue.run() takes an async function or its coroutine, not {words_of(main)}.")
    _check_takes_nothing(main)
    with asyncio.Runner(debug=debug, loop_factory=_loop_factory()) as runner:
        interrupt = _Interrupt(runner.get_loop())
        with _listening(interrupt.signalled):
            result: T = runner.run(_supervise(main, interrupt))
        return result


def _check_takes_nothing(main: Any) -> None:
    """Check that main can be called without arguments.

    Raises:
        UsageError: It cannot.
    """
    if not inspect.iscoroutine(main) and (form := unfit_form(main, 0)) is not None:
        name = describe(main)
        raise UsageError(
            f"runcue.run() calls {name} without arguments, and it takes {form}: write runcue.run({name}(...))."
        )


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415 - optional: used when it is there
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


async def _supervise(main: Any, interrupt: _Interrupt) -> Any:
    coroutine = main if inspect.iscoroutine(main) else main()
    if not inspect.isawaitable(coroutine):
        raise UsageError(
            f"runcue.run() takes an async function; {describe(main)} returned {words_of(coroutine)}."
        )
    task = interrupt.main = asyncio.ensure_future(coroutine)
    result: Any = None
    try:
        result = await task
    except asyncio.CancelledError:
        if not interrupt.strikes:
            task.cancel()
            raise
    except RuncueError as error:
        # What was cancelled by the interrupt is what main stumbled over.
        if interrupt.strikes:
            raise KeyboardInterrupt from error
        raise
    finally:
        await interrupt.finish()
    if interrupt.strikes:
        raise KeyboardInterrupt
    return result


class _Interrupt:
    """What each Ctrl-C does.

    Attributes:
        main: The task of the program; set when it begins.
        strikes: How many the event loop has answered.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._signals = 0
        self._ending: asyncio.Task[None] | None = None
        self.main: asyncio.Future[Any] | None = None
        self.strikes = 0

    def signalled(self, number: int, frame: object) -> None:
        """The signal handler.

        Raises:
            KeyboardInterrupt: The loop has not answered the last two: something in it computes and never awaits.
        """
        self._signals += 1
        if self._signals - self.strikes > 2:
            raise KeyboardInterrupt
        self._loop.call_soon_threadsafe(self.strike)

    def strike(self) -> None:
        """Answer one Ctrl-C, in the event loop."""
        self.strikes += 1
        cues = cues_in(self._loop)
        if self.strikes == 1 and cues:
            running = how_many(
                sum(len(cue._dispatcher.in_flight.works) for cue in cues),
                "running work unit",
                "running work units",
            )
            logger.warning("Interrupted: finishing %s. Ctrl-C again cancels them.", running)
            for cue in cues:
                cue._interrupt(kill=False)
            self._ending = asyncio.ensure_future(self._end(cues))
        else:
            for cue in cues:
                cue._interrupt(kill=True)
            if self.main is not None:
                self.main.cancel()

    async def _end(self, cues: list[Any]) -> None:
        await asyncio.gather(*(cue._until_stopped() for cue in cues), return_exceptions=True)
        if self.main is not None:
            if not self.main.done():
                await asyncio.wait([self.main], timeout=MAIN_MAY_FINISH)
            self.main.cancel()

    async def finish(self) -> None:
        """Main has ended: its cues end as well before the loop does."""
        if self._ending is not None:
            await self._ending


@contextlib.contextmanager
def _listening(signalled: Callable[[int, object], None]) -> Iterator[None]:
    """Take Ctrl-C over, if nobody else has: a program's own handler and SIG_IGN (nohup) stay as they are."""
    mine = threading.current_thread() is threading.main_thread()
    if not mine or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    # A plain handler, not loop.add_signal_handler: it runs on Windows, too, and while the loop is busy.
    signal.signal(signal.SIGINT, signalled)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGINT) == signalled:
            signal.signal(signal.SIGINT, signal.default_int_handler)
