"""Showing a cue while it runs: `runcue.progress()`.

Lives here: when to look and when to draw. A thread of its own asks the event loop for a snapshot a few times a second
and draws the latest it was given. So drawing keeps nobody waiting, a loop that does not answer is shown as just that,
and neither a drain nor a virtual clock is kept going: all that the loop is given is a call to make when it comes to it.

Must not know: what is counted, how it looks, how it is drawn. rich is imported when something is to be shown.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterable
from contextvars import copy_context
from dataclasses import replace
from importlib.util import find_spec
from types import TracebackType
from typing import TYPE_CHECKING, Final, Never, NoReturn, Self, TextIO

import runcue
from runcue.console.snapshot import Snapshot
from runcue.console.tally import Tally

if TYPE_CHECKING:
    from runcue.console.views import View

logger = logging.getLogger("runcue")

_SILENT_AFTER: Final = 2.0
_PATIENCE: Final = 1.0
# A frame may take that part of the time: the interpreter does one thing at a time, and the other one is the program.
_SHARE: Final = 40.0


class progress:  # noqa: N801 - used like a function, as the classes of contextlib are
    """Show a cue while it runs: `with runcue.progress(cue): ...`.

    On a terminal it is a block of lines below everything that the program prints or logs meanwhile, in a notebook a
    block that updates in place, anywhere else a line every few seconds and one at the end. It shows what each service
    allows, how far the work units of each task are, what waits for what, what fails and is tried again, and how long
    the rest takes, as far as that can be known: "?" if not, as where whatever is tried fails, is refused or hangs.

    It may begin before the cue is started and end after it was stopped, in plain code or inside an async function. Of
    several cues that are shown at a time the blocks stand one above the other.

    Args:
        cue: The cue.
        title: Stands above it.
        total: How many work units there will be, if that is known beforehand.
        notes: Gives further lines to be shown below, the latest last. It is called in the event loop, often.
        file: Where to; by default standard error, or the notebook.

    Raises:
        ConfigurationError: A value cannot work, or rich is not installed.

    Example:
        >>> import runcue
        >>> cue = runcue.Cue()
        >>> @cue.task("nap")
        ... async def nap(work): ...
        >>> async def main():
        ...     with runcue.progress(cue, title="Naps"):
        ...         async with cue:
        ...             await cue.submit("nap")
        >>> runcue.run(main)
    """

    def __init__(
        self,
        cue: runcue.Cue | None = None,
        *misplaced: Never,
        title: str = "",
        total: int | None = None,
        notes: Callable[[], Iterable[str]] | None = None,
        file: TextIO | None = None,
        **unknown: Never,
    ) -> None:
        if misplaced or unknown:
            given = f", and has no option {next(iter(unknown))}=" if unknown else ""
            raise runcue.ConfigurationError(
                f"progress() takes a Cue, and the options title=, total=, notes= and file= by keyword{given}."
            )
        if not isinstance(cue, runcue.Cue):
            raise runcue.ConfigurationError(f"progress() shows a runcue.Cue, not {_shown(cue)}.")
        if not isinstance(title, str):
            raise runcue.ConfigurationError(f"title must be a str, not {_shown(title)}.")
        if total is not None and (type(total) is not int or total < 0):
            raise runcue.ConfigurationError(
                f"total must be a whole number of at least 0, or None, not {_shown(total)}."
            )
        if notes is not None and not callable(notes):
            raise runcue.ConfigurationError(
                f"notes must be a function that gives lines, not {_shown(notes)}."
            )
        if file is not None and not _can_be_written(file):
            raise runcue.ConfigurationError(
                f"file must be a text stream that is open, such as sys.stderr, not {_shown(file)}."
            )
        if find_spec("rich") is None:
            raise runcue.ConfigurationError(
                "progress() needs rich, which is not installed: pip install runcue[console]"
            )
        self._cue = cue
        self._options = (str.__str__(title), total, notes)
        self._file = file
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        from runcue.console.terminal import choose  # noqa: PLC0415 - with it comes rich

        if self._thread is not None:
            raise runcue.UsageError(
                "This runcue.progress() is being shown; each `with` needs one of its own."
            )
        self._tally = Tally(*self._options)
        self._stop_observing = self._cue.observe(self._tally)
        title, total, _ = self._options
        self._snapshot = Snapshot(title, total=total or 0)
        self._is_over = self._has_failed = False
        # Which loop was asked to look at the cue, and when; and whether it has done so.
        self._asked: asyncio.AbstractEventLoop | None = None
        self._asked_at = 0.0
        self._looked = threading.Event()
        if self._tally.loop is not None:
            self._look()
        # Set when something was printed, or when it is over.
        self._wake = threading.Event()
        self._view: View = choose(self._file)
        self._view.open(self._wake)
        # In the context of the cell that this is in, for a notebook.
        self._thread = threading.Thread(
            target=copy_context().run, args=(self._run,), name="runcue-progress", daemon=True
        )
        self._thread.start()
        return self

    async def __aenter__(self) -> NoReturn:
        """Say what to write instead."""
        raise runcue.UsageError(
            "progress() needs no waiting: write `with runcue.progress(cue):`, without async."
        )

    async def __aexit__(self, *error: object) -> None:
        """There is no getting here."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._thread is not None
        self._is_over = True
        self._wake.set()
        self._looked.set()
        self._thread.join()
        try:
            self._look_last()
            self._view.close(self._wake, None if self._has_failed else self._snapshot)
        except Exception as failure:
            self._fail(failure)
        finally:
            self._stop_observing()
            self._thread = None

    def _run(self) -> None:
        """Draw, until it is over."""
        due = time.monotonic() + self._view.delay
        try:
            while not (self._is_over or self._has_failed):
                if self._wake.wait(max(0.0, due - time.monotonic())):
                    self._wake.clear()
                    self._view.flush()
                    continue
                silent = self._ask()
                began = time.thread_time()
                self._view.show(self._wake, replace(self._snapshot, silent=silent))
                due = time.monotonic() + max(self._view.pause, _SHARE * (time.thread_time() - began))
        except Exception as error:
            self._fail(error)

    def _ask(self) -> float:
        """Have the event loop look at the cue.

        Returns:
            For how many seconds it has not done so; 0.0 if it has, or is not running.
        """
        loop = self._tally.loop
        if loop is None or not loop.is_running():
            # There may be another one soon.
            self._tally.is_lost = loop is None or loop.is_closed()
            return 0.0
        if self._looked.is_set() or self._asked is not loop:
            self._looked.clear()
            if self._is_over:
                return 0.0  # the loop may wait for this thread to end
            self._asked, self._asked_at = loop, time.monotonic()
            try:
                loop.call_soon_threadsafe(self._look)
            except RuntimeError:  # it was closed just now
                self._looked.set()
        if self._looked.wait(_PATIENCE) or not loop.is_running():
            return 0.0
        silent = time.monotonic() - self._asked_at
        return silent if silent >= _SILENT_AFTER else 0.0

    def _look(self) -> None:
        """Called in the event loop."""
        try:
            self._snapshot = self._tally.take()
        except Exception as error:
            self._fail(error)
        self._looked.set()

    def _look_last(self) -> None:
        """See how it ended."""
        loop = self._tally.loop
        try:
            here = asyncio.get_running_loop()
        except RuntimeError:
            here = None
        if loop is None:
            return  # nothing has happened
        if loop is here or not loop.is_running():
            self._look()
        else:
            # The cue runs in another thread, which must be the one to look.
            self._is_over = False
            self._ask()

    def _fail(self, error: Exception) -> None:
        logger.error("runcue.progress() has failed and shows nothing more; the cue goes on.", exc_info=error)
        self._has_failed = True


def _shown(value: object) -> str:
    """A value in a text, whatever it is."""
    try:
        words = repr(value) if type(value) in (str, bytes, bool, int, float, type(None)) else ""
    except ValueError:  # an int of more digits than Python writes
        words = ""
    return words[:100] or f"a {type(value).__qualname__}"


def _can_be_written(file: object) -> bool:
    try:
        return callable(getattr(file, "write", None)) and not isinstance(file, type)
    except Exception:
        return False
