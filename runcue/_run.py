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
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from runcue._cue import cues_in
from runcue._errors import RuncueError, UsageError

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
        raise UsageError(f"runcue.run() takes an async function or its coroutine, not {main!r}.")
    with asyncio.Runner(debug=debug, loop_factory=_loop_factory()) as runner:
        result: T = runner.run(_supervise(main))
        return result


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415 - optional: used when it is there
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


async def _supervise(main: Any) -> Any:
    coroutine = main if inspect.iscoroutine(main) else main()
    if not inspect.isawaitable(coroutine):
        raise UsageError(f"runcue.run() takes an async function; {main!r} returned {coroutine!r}.")
    task = asyncio.ensure_future(coroutine)
    interrupt = _Interrupt(task)
    result: Any = None
    with _listening(interrupt.strike):
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
    """What each Ctrl-C does."""

    def __init__(self, main: asyncio.Future[Any]) -> None:
        self._main = main
        self._ending: asyncio.Task[None] | None = None
        self.strikes = 0

    def strike(self) -> None:
        """Ctrl-C was pressed. Runs in the event loop."""
        self.strikes += 1
        cues = cues_in(asyncio.get_running_loop())
        if self.strikes == 1 and cues:
            running = sum(len(cue._dispatcher.running) for cue in cues)
            logger.warning("Interrupted: finishing %d running works. Ctrl-C again cancels them.", running)
            for cue in cues:
                cue._interrupt(kill=False)
            self._ending = asyncio.ensure_future(self._end(cues))
        else:
            for cue in cues:
                cue._interrupt(kill=True)
            self._main.cancel()

    async def _end(self, cues: list[Any]) -> None:
        await asyncio.gather(*(cue._until_stopped() for cue in cues), return_exceptions=True)
        if not self._main.done():
            await asyncio.wait([self._main], timeout=MAIN_MAY_FINISH)
        self._main.cancel()

    async def finish(self) -> None:
        """Main has ended: its cues end as well before the loop does."""
        if self._ending is not None:
            await self._ending


def _listening(strike: Callable[[], None]) -> contextlib.AbstractContextManager[None]:
    if threading.current_thread() is not threading.main_thread():
        return contextlib.nullcontext()
    loop = asyncio.get_running_loop()
    try:
        loop.add_signal_handler(signal.SIGINT, strike)
    except (NotImplementedError, RuntimeError):  # Windows: saq#261
        return _plain_signal(loop, strike)
    return _remove_at_exit(loop)


@contextlib.contextmanager
def _remove_at_exit(loop: asyncio.AbstractEventLoop) -> Any:
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)


@contextlib.contextmanager
def _plain_signal(loop: asyncio.AbstractEventLoop, strike: Callable[[], None]) -> Any:
    former = signal.signal(signal.SIGINT, lambda number, frame: loop.call_soon_threadsafe(strike))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, former)
