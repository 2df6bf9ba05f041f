"""One run from the command line: made ready, run on its clock, shown while it runs, reported when it is over.

Lives here: `run_session`, and what is printed during a run.

Must not know: how works are modelled or accounts kept.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import SystemRandom
from typing import TYPE_CHECKING, Self

import runcue
from runcue.testing import NothingLeft
from runcue_sim._engine.clocks import run
from runcue_sim._engine.run import Ending, go_through
from runcue_sim._pipelines.prepared import Prepared, prepare
from runcue_sim._records.event_log import HEADER, Entry, Trace
from runcue_sim._report.report import Report
from runcue_sim._text.usage import BadUsage

if TYPE_CHECKING:
    from runcue.timeline import Timeline

_PROGRESS_EVERY = 2.0

_SAID_OTHERWISE = ("Draining", "Stuck", "stop()")
"""How messages begin that tell what the report tells better."""


def run_session(options: argparse.Namespace) -> int:
    """Run what the options ask for.

    Returns:
        The exit code.

    Raises:
        BadUsage: It cannot be run.
    """
    for path in (options.json, options.timeline):
        if path not in (None, "-"):
            check_writable(path)
    seed = SystemRandom().randrange(10**6) if options.seed is None else options.seed
    watched = _is_watched(options)
    realtime = options.realtime or (watched and not options.fast)
    trace = Trace()
    loud = options.verbose and options.json != "-"
    with (
        _without_the_users(options, watched=watched),
        _Warnings() as warnings,
        prepare(options, seed, trace) as play,
    ):
        timeline = _timeline_of(play.play.cue) if options.timeline else None
        if loud:
            print(f"runcue-sim {play.title}, seed {seed}\n\n{HEADER}\n{'-' * 80}")
            trace.takers.append(_print_entry)
        began = time.perf_counter()
        show = _show(play, options, warnings, watched=watched, realtime=realtime)
        try:
            ending = run(show, realtime=realtime)
        except NothingLeft as error:
            raise BadUsage(f"{error} A gate may wait for what no rehearsal brings") from error
        took = time.perf_counter() - began
        notes = [*play.notes(), *warnings.lines()]
    if loud:
        print("-" * 80)
    report = Report(
        play.play.books,
        ending,
        title=play.title,
        clock="real" if realtime else "virtual",
        seed=seed,
        took=took,
        max_failures=options.max_failures,
        notes=notes,
    )
    _deliver(report, options, timeline, f"{play.name}, seed {seed}")
    return report.code


@contextlib.contextmanager
def _without_the_users(options: argparse.Namespace, *, watched: bool) -> Iterator[None]:
    """Keep what a user's program prints out of the JSON and the live display."""
    with contextlib.ExitStack() as undo:
        if options.json == "-":
            undo.enter_context(contextlib.redirect_stdout(sys.stderr))
        elif watched and options.app is not None:
            # From before it is imported on: what it then takes for its standard error, for its log say, it keeps.
            from runcue_sim._display.terminal import HeldBack  # noqa: PLC0415

            for name in ("stdout", "stderr"):
                undo.enter_context(HeldBack(name))
        yield


def _timeline_of(cue: runcue.Cue) -> Timeline:
    from runcue.timeline import Timeline  # noqa: PLC0415 - few draw one

    return Timeline(cue)


async def _show(
    prepared: Prepared, options: argparse.Namespace, warnings: _Warnings, *, watched: bool, realtime: bool
) -> Ending:
    play = prepared.play
    running = go_through(play, duration=options.duration, timeout=options.timeout)
    if watched:
        from runcue_sim._display.watching import watch  # noqa: PLC0415 - rich is there only for those who watch

        return await watch(prepared, running, realtime=realtime, warnings=warnings.lines, file=sys.__stdout__)
    if not realtime or options.verbose or options.json == "-":
        return await running
    ticker = asyncio.create_task(_tell_progress(prepared))
    try:
        return await running
    finally:
        ticker.cancel()


async def _tell_progress(prepared: Prepared) -> None:
    """Now and then a line, for those who wait without a live display."""
    books = prepared.play.books
    while True:
        await asyncio.sleep(_PROGRESS_EVERY)
        settled = books.completed + books.failed + books.skipped + books.cancelled
        print(
            f"{asyncio.get_running_loop().time() - books.began:8.1f} s  {settled} of {books.submitted} settled, "
            f"{books.running} running, {books.failed} failed",
            flush=True,
        )


def _is_watched(options: argparse.Namespace) -> bool:
    if options.no_tui or options.verbose or options.json == "-":
        return False
    from runcue_sim._display.snapshot import is_available  # noqa: PLC0415 - what shows a run is only for those who watch

    has_rich = is_available()
    if options.tui and not has_rich:
        raise BadUsage("--tui needs rich: pip install 'runcue[sim]'")
    return bool(options.tui) or (has_rich and not options.fast and sys.stdout.isatty())


def _print_entry(entry: Entry) -> None:
    print(entry.line())


def check_writable(path: str) -> None:
    """Find out before a run whether its report can be written.

    Raises:
        BadUsage: It cannot.
    """
    folder = Path(path).parent
    try:
        if Path(path).is_dir():
            raise IsADirectoryError(None, "it is a folder")
        with tempfile.TemporaryFile(dir=folder):
            pass
        if Path(path).exists() and not os.access(path, os.W_OK):
            raise PermissionError(None, "permission denied")
    except OSError as error:
        raise BadUsage(f"{path} cannot be written: {error.strerror}") from error


def _deliver(report: Report, options: argparse.Namespace, timeline: Timeline | None, heading: str) -> None:
    if options.json == "-":
        sys.stdout.write(report.json())
    else:
        if not options.verbose:
            print(f"runcue-sim {report.facts['title']}\n")
        sys.stdout.write(report.text(timed=not options.verbose))
    with _told_in_one_line():
        if options.json not in (None, "-"):
            runcue.atomic_write(options.json, report.json(), durable=False)
        if timeline is not None:
            timeline.write_svg(options.timeline, title=heading)


@contextlib.contextmanager
def _told_in_one_line() -> Iterator[None]:
    try:
        yield
    except (OSError, runcue.RuncueError) as error:
        raise BadUsage(f"a report cannot be written: {error}") from error


class _Warnings(logging.Handler):
    """What runcue warns of during a run: kept for the report instead of going through the display."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._counts: Counter[object] = Counter()
        self._first: dict[object, str] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the first of each kind."""
        if str(record.msg).startswith(_SAID_OTHERWISE):
            return
        self._counts[record.msg] += 1
        self._first.setdefault(record.msg, record.getMessage())

    def lines(self) -> list[str]:
        """One line for each kind."""
        return [
            text.splitlines()[0]
            + (f" (and {count - 1} like it)" if (count := self._counts[kind]) > 1 else "")
            for kind, text in self._first.items()
        ]

    def __enter__(self) -> Self:
        logger = logging.getLogger("runcue")
        self._propagated = logger.propagate
        logger.propagate = False
        logger.addHandler(self)
        return self

    def __exit__(self, *error: object) -> None:
        logger = logging.getLogger("runcue")
        logger.removeHandler(self)
        logger.propagate = self._propagated
