"""One run from the command line: made ready, run on its clock, shown while it runs, reported when it is over.

Lives here: the command that is meant if no other is named, its options, and what is printed during a run.

Must not know: how work units are modelled or accounts kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

import runcue
from runcue.abc import CueWarning, WarningKind
from runcue.testing import NothingLeft
from runcue_sim._commands.report_files import check_writable, told_in_one_line, write_json
from runcue_sim._engine import clocks
from runcue_sim._engine.log import log_given_to
from runcue_sim._engine.run import Ending, go_through
from runcue_sim._pipelines.preparation import prepare
from runcue_sim._pipelines.prepared import PipelineOptions, Prepared
from runcue_sim._records.event_log import HEADER, Entry, Trace, clock_time
from runcue_sim._report.report import Report
from runcue_sim._text.figures import wrapped
from runcue_sim._text.options import option
from runcue_sim._text.usage import BadUsage
from runcue_sim._text.values import integer, positive, whole
from runcue_sim._workload.luck import seed_or_any

if TYPE_CHECKING:
    from runcue.timeline import Timeline

_PROGRESS_EVERY = 2.0
_LATEST = 8

_SAID_OTHERWISE: Final[frozenset[WarningKind]] = frozenset(
    ("draining", "stuck", "failure", "cancelled", "abandoned")
)
"""Kinds of warnings that tell what the report tells better."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What can be said of a run."""

    pipeline: PipelineOptions = field(default_factory=PipelineOptions)
    duration: float | None = option(
        None, "-d, --duration SECONDS", "run", "end after so long (default: when all is done)", positive
    )
    seed: int | None = option(
        None, "--seed N", "run", "equal seeds give equal runs (default: a new one, which is shown)", integer
    )
    max_failures: int | None = option(
        None,
        "--max-failures N",
        "faults",
        "exit 1 if more work units fail (default: those not asked for)",
        whole(0),
    )
    verbose: bool = option(False, "-v, --verbose", "shown", "print every event")
    fast: bool = option(
        False, "--fast", "shown", "virtual clock (default): a day takes seconds", either="clock"
    )
    realtime: bool = option(
        False, "--realtime", "shown", "real clock: a second takes a second", either="clock"
    )
    tui: bool = option(False, "--tui", "shown", "live display (default on a terminal)", either="display")
    no_tui: bool = option(False, "--no-tui", "shown", "plain lines", either="display")
    json: str | None = option(
        None, "--json FILE", "shown", "write the report as JSON; - for standard output, instead of the text"
    )
    timeline: str | None = option(None, "--timeline FILE", "shown", "draw the run as an SVG")


def run(options: RunOptions) -> int:
    """Run what the options ask for.

    Returns:
        The exit code.

    Raises:
        BadUsage: It cannot be run.
    """
    if options.tui and (options.verbose or options.json == "-"):
        raise BadUsage(f"--tui cannot be had together with {'--verbose' if options.verbose else '--json -'}")
    check_writable(options.json, options.timeline)
    seed = seed_or_any(options.seed)
    watched = _is_watched(options)
    trace = Trace()
    loud = options.verbose and options.json != "-"
    with (
        contextlib.redirect_stdout(sys.stderr) if options.json == "-" else contextlib.nullcontext(),
        log_given_to(logging.NullHandler()),
        prepare(options.pipeline, seed, trace) as prepared,
    ):
        warnings = _Warnings()
        prepared.run.cue.observe(warnings)
        # A run that is interrupted is never stopped, and would tell of them when the program ends.
        prepared.run.cue.on_failure(_leave_to_the_report)
        timeline = _timeline_of(prepared.run.cue) if options.timeline else None
        if loud:
            print(f"runcue-sim {prepared.title}, seed {seed}\n\n{HEADER}\n{'-' * 80}")
            trace.takers.append(_print_entry)
        began = time.perf_counter()
        show = _show(prepared, options, warnings, watched=watched)
        try:
            ending = clocks.run(show, realtime=options.realtime)
        except NothingLeft as error:
            raise BadUsage(f"{error} A gate may wait for what no rehearsal brings") from error
        took = time.perf_counter() - began
        notes = [*prepared.notes(), *warnings.lines()]
    if loud:
        print("-" * 80)
    report = Report(
        prepared.run.ledger,
        ending,
        title=prepared.title,
        clock="real" if options.realtime else "virtual",
        seed=seed,
        took=took,
        max_failures=options.max_failures,
        notes=notes,
    )
    _deliver(report, options, timeline, f"{prepared.name}, seed {seed}")
    return report.code


def _timeline_of(cue: runcue.Cue) -> Timeline:
    from runcue.timeline import Timeline  # noqa: PLC0415 - few draw one

    return Timeline(cue)


async def _show(prepared: Prepared, options: RunOptions, warnings: _Warnings, *, watched: bool) -> Ending:
    running = go_through(prepared.run, duration=options.duration, timeout=options.pipeline.timeout)
    if watched:
        latest: deque[Entry] = deque(maxlen=_LATEST)
        prepared.run.trace.takers.append(latest.append)

        def notes() -> list[str]:
            return [*warnings.lines(), *(_told(entry) for entry in latest)]

        with runcue.progress(
            prepared.run.cue, title=prepared.title, total=prepared.expected, notes=notes, file=sys.stdout
        ):
            return await running
    if not options.realtime or options.verbose or options.json == "-":
        return await running
    ticker = asyncio.create_task(_tell_progress(prepared))
    try:
        return await running
    finally:
        ticker.cancel()


async def _tell_progress(prepared: Prepared) -> None:
    """Now and then a line, for those who wait without a live display."""
    ledger = prepared.run.ledger
    while True:
        await asyncio.sleep(_PROGRESS_EVERY)
        settled = ledger.completed + ledger.failed + ledger.skipped + ledger.cancelled
        print(
            f"{asyncio.get_running_loop().time() - ledger.began:8.1f} s  {settled} of {ledger.submitted} settled, "
            f"{ledger.running} running, {ledger.failed} failed",
            flush=True,
        )


def _is_watched(options: RunOptions) -> bool:
    if options.no_tui or options.verbose or options.json == "-":
        return False
    has_rich = find_spec("rich") is not None
    if options.tui and not has_rich:
        raise BadUsage("--tui needs rich: pip install 'runcue[sim]'")
    return bool(options.tui) or (has_rich and sys.stdout.isatty())


def _told(entry: Entry) -> str:
    """A line of the live display, which may be narrow and without the signs of the log."""
    return f"{clock_time(entry.at)} {entry.event} {entry.task} {entry.details or entry.work_id}"


def _print_entry(entry: Entry) -> None:
    print(entry.line())


def _deliver(report: Report, options: RunOptions, timeline: Timeline | None, heading: str) -> None:
    if options.json == "-":
        sys.stdout.write(report.json())
    else:
        if not options.verbose:
            print(*wrapped(f"runcue-sim {report.facts['title']}", 2), "", sep="\n")
        sys.stdout.write(report.text(timed=not options.verbose))
    write_json(options.json, report.json())
    if timeline is not None and options.timeline is not None:
        with told_in_one_line():
            timeline.write_svg(options.timeline, title=heading)


def _leave_to_the_report(work: runcue.Work, error: BaseException) -> None:
    """Hear of a failed work unit, so that it is not logged: the report tells of it."""


class _Warnings(runcue.Observer):
    """What the cue warns of during a run: kept for the report instead of going through the display."""

    def __init__(self) -> None:
        self._counts: Counter[WarningKind] = Counter()
        self._first: dict[WarningKind, str] = {}

    def warned(self, warning: CueWarning) -> None:
        """Keep the first of each kind."""
        if warning.kind not in _SAID_OTHERWISE:
            self._counts[warning.kind] += 1
            self._first.setdefault(warning.kind, warning.text)

    def lines(self) -> list[str]:
        """One line for each kind."""
        return [
            text.splitlines()[0]
            + (f" (and {count - 1} like it)" if (count := self._counts[kind]) > 1 else "")
            for kind, text in self._first.items()
        ]
