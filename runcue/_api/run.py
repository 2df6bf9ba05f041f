"""`runcue.run(main)`: the synchronous entry, with an end in two steps on Ctrl-C and on SIGTERM.

Lives here: the choice of the event loop, and what a signal does. Once: what is running finishes, nothing starts, what
is pending is cancelled. Twice: what is running is cancelled too. Then `KeyboardInterrupt` is raised, or
`SystemExit(143)` if SIGTERM came first, so that the shell, or whoever sent it, learns that the run is incomplete.

Must not know: how a cue stops.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import os
import signal
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator
from typing import Any, Final, TypeVar

from runcue._api.cue import cues_in
from runcue._model.checks import says_what_it_takes, unfit_form, yes_or_no
from runcue._model.errors import CueStopped, RuncueError, UsageError, WorkCancelled, is_made_of
from runcue._model.texts import describe, how_many, words_of

__all__ = ["finish", "listening", "run"]

logger = logging.getLogger("runcue")

T = TypeVar("T")

MAIN_MAY_FINISH = 1.0
"""Seconds that main has, after its cues have stopped, to come to its own end (print a report, say)."""

_DEFAULTS: Final[dict[int, Any]] = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGTERM: signal.SIG_DFL,
}
"""The signals that are taken over, each with the handler that it has where nobody cares for it."""

_TERMINATED: Final = 128 + signal.SIGTERM
"""What shells and containers call the exit code of who was ended by SIGTERM."""


@says_what_it_takes
def run(
    main: Callable[[], Coroutine[Any, Any, T]] | Coroutine[Any, Any, T], *, debug: bool | None = None
) -> T:
    """Run an async function as a program: like `asyncio.run`, on uvloop if it is installed, with a kinder end.

    On Ctrl-C, or when SIGTERM comes, what is running is finished and the rest is cancelled; a second one cancels what
    is running as well. A handler for them that is the program's own stays as it is, and processes that are forked
    meanwhile have the usual ones.

    Args:
        main: An async function without arguments, or its coroutine.
        debug: Passed to the event loop.

    Returns:
        What main returns.

    Raises:
        UsageError: An event loop is already running here (in a notebook: `await main()`), or main is neither.
        KeyboardInterrupt: The run was interrupted, after everything has come to its end.
        SystemExit: The same by SIGTERM, with the exit code 143.
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
    check_main(main, "runcue.run()")
    if debug is not None:
        debug = yes_or_no(debug, "debug of runcue.run()")
    with asyncio.Runner(debug=debug, loop_factory=_loop_factory()) as runner:
        interrupt = _Interrupt(runner.get_loop())
        with listening(interrupt.signalled):
            try:
                result: T = runner.run(_supervise(main, interrupt))
            except KeyboardInterrupt as error:
                # Out of a loop that did not answer, whichever signal it was.
                if interrupt.first == signal.SIGTERM:
                    raise interrupt.end() from error
                raise
        if interrupt.first is not None:
            raise interrupt.end()
        return result


def check_main(main: Any, who: str) -> None:
    """Check that main is a coroutine, or can be called without arguments.

    Args:
        main: What was given.
        who: What is to run it, with its parentheses.

    Raises:
        UsageError: It is neither.
    """
    if inspect.iscoroutine(main):
        return
    if not callable(main):
        raise UsageError(f"{who} takes an async function or its coroutine, not {words_of(main)}.")
    if (form := unfit_form(main, 0)) is not None:
        name = describe(main)
        raise UsageError(
            f"{who} calls {name} without arguments, and it takes {form}: write {who[:-1]}{name}(...))."
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
    if interrupt.strikes:
        task.cancel()  # answered before there was a main
    result: Any = None
    try:
        result = await task
    except asyncio.CancelledError:
        if not interrupt.strikes:
            task.cancel()
            raise
    except BaseException as error:
        if not interrupt.strikes or not is_made_of(error, (RuncueError, asyncio.CancelledError)):
            raise
        # What is taken no more, and what was cancelled, is no news. The end of the run is raised outside of the loop.
        if not is_made_of(error, (CueStopped, WorkCancelled, asyncio.CancelledError)):
            raise interrupt.end() from error
    finally:
        await interrupt.finish()
    return result


class _Interrupt:
    """What each signal does.

    Attributes:
        main: The task of the program; set when it begins.
        first: The signal that came first; None: none came.
        strikes: How many the event loop has answered.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._signals = 0
        self._ending: asyncio.Task[None] | None = None
        self.main: asyncio.Future[Any] | None = None
        self.first: int | None = None
        self.strikes = 0

    def end(self) -> BaseException:
        """What the run ends with."""
        return SystemExit(_TERMINATED) if self.first == signal.SIGTERM else KeyboardInterrupt()

    def signalled(self, number: int, frame: object) -> None:
        """The signal handler.

        Raises:
            KeyboardInterrupt: The loop has not answered the last two: something in it computes and never awaits.
        """
        if self.first is None:
            self.first = number
        self._signals += 1
        if self._signals - self.strikes > 2:
            raise KeyboardInterrupt
        self._loop.call_soon_threadsafe(self.strike)

    def strike(self) -> None:
        """Answer one signal, in the event loop."""
        self.strikes += 1
        cues = cues_in(self._loop)
        if self.strikes == 1 and cues:
            running = finish(cues)
            if self.first == signal.SIGTERM:
                logger.warning("Terminated: finishing %s. A second SIGTERM cancels them.", running)
            else:
                logger.warning("Interrupted: finishing %s. Ctrl-C again cancels them.", running)
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


def finish(cues: list[Any]) -> str:
    """Let cues finish what is running, and start nothing more, without waiting. Returns what that is."""
    for cue in cues:
        cue._interrupt(kill=False)
    # What has not begun where it was handed to is not among them any more.
    running = how_many(
        sum(len(cue._dispatcher.in_flight.works) for cue in cues), "running work unit", "running work units"
    )
    if left := sum(cue._core.pending() for cue in cues):  # nothing else is pending any more
        running += f" and {left:,} that must complete or {'is' if left == 1 else 'are'} needed for that"
    return running


# The handlers that are set, by signal: empty but while `run()` is in its loop.
_taken: dict[int, Callable[[int, Any], None]] = {}


@contextlib.contextmanager
def listening(
    signalled: Callable[[int, Any], None], numbers: Iterable[int] = tuple(_DEFAULTS)
) -> Iterator[None]:
    """Take Ctrl-C and SIGTERM over, where nobody else has: a program's own handler and SIG_IGN (nohup) stay.

    Args:
        signalled: The signal handler.
        numbers: Of these alone.
    """
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.getsignal(number) for number in numbers}
        before = {number: was for number, was in before.items() if _is_nobodys(number, was)}
    for number in before:
        # A plain handler, not loop.add_signal_handler: it runs on Windows, too, and while the loop is busy.
        _taken[number] = signalled
        signal.signal(number, signalled)
    try:
        yield
    finally:
        for number, was in before.items():
            _taken.pop(number, None)
            if signal.getsignal(number) == signalled:
                signal.signal(number, was)


def _is_nobodys(number: int, handler: Any) -> bool:
    """Whether nobody cares for a signal. Who shows a run on a terminal does no more than to give that back."""
    return handler is _DEFAULTS[number] or getattr(handler, "__module__", "") == "runcue.console.terminal"


def _give_back() -> None:
    """In a forked child: the loop that would answer is its parent's."""
    for number, handler in _taken.items():
        if signal.getsignal(number) == handler:
            signal.signal(number, _DEFAULTS[number])
    _taken.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_give_back)
