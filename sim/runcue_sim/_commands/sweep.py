"""What changes if a limit does: one run for each value, side by side, and a table of them.

Lives here: `run`, which rehearses each point in a process of its own, since a cue can be rehearsed once; `Sweep`, the
table; `run_sweep`, the command, and its options.

Must not know: how a run is rehearsed or its report made, beyond the names in its JSON.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

from runcue_sim._commands.report_files import check_writable, write_json
from runcue_sim._pipelines.limits import Limits, parse, written
from runcue_sim._pipelines.prepared import PipelineOptions
from runcue_sim._text.error_origin import one_line
from runcue_sim._text.figures import percent, seconds_in_words, table, wrapped
from runcue_sim._text.options import option
from runcue_sim._text.usage import BadUsage
from runcue_sim._workload.luck import seed_or_any

_BETTER: Final = 0.02
_REPORTS: Final = (0, 1, 3)
"""The exit codes of runs that have a report."""


def run(
    points: Sequence[Limits], command: Sequence[str], *, given: bytes = b"", jobs: int | None = None
) -> list[dict[str, Any]]:
    """Rehearse each point in a process of its own, several side by side.

    Args:
        points: The limits of each.
        command: To which the limits are added, as `--set`.
        given: For the standard input of each.
        jobs: How many at once; by default as many as there are processors.

    Returns:
        The report of each.

    Raises:
        BadUsage: A run had none. The others are ended.
    """
    # What follows a "--" is no option.
    place = command.index("--") if "--" in command else len(command)

    async def run_all() -> list[dict[str, Any]]:
        room = asyncio.Semaphore(jobs or os.cpu_count() or 1)

        async def run_one(limits: Limits) -> dict[str, Any]:
            sets = [argument for text in written(limits) for argument in ("--set", text)]
            async with room:
                return await _report_of([*command[:place], *sets, *command[place:]], limits, given)

        async with asyncio.TaskGroup() as group:
            runs = [group.create_task(run_one(limits)) for limits in points]
        return [one.result() for one in runs]

    try:
        return asyncio.run(run_all())
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0]  # noqa: B904 - which has its cause, if there is any


async def _report_of(command: Sequence[str], limits: Limits, given: bytes) -> dict[str, Any]:
    """Run one point. Its process does not outlive this."""
    pipe = asyncio.subprocess.PIPE
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    process = await asyncio.create_subprocess_exec(
        *command, stdin=pipe, stdout=pipe, stderr=pipe, env=environment
    )
    try:
        out, said = await process.communicate(given)
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
    if process.returncode in _REPORTS:
        report: dict[str, Any] = json.loads(out)
        return report
    text = said.decode(errors="replace")
    lines = text.strip().splitlines() or ["it said nothing"]
    if process.returncode == 2:
        raise BadUsage(lines[-1].removeprefix("runcue-sim: ").replace("--set ", "--sweep ", 1)) from _Said(
            text
        )
    words = " ".join(written(limits))
    raise BadUsage(f"the run with {words} ended with {process.returncode}: {one_line(lines[-1])}")


class _Said(Exception):
    """What a process has written to its standard error, for those who want to see all of it."""


class Sweep:
    """The runs of a sweep, beside each other.

    Args:
        points: The limits of each run.
        reports: What came of each.

    Attributes:
        enough: The number of the first run than which no other is better by 2 %: it loses as few work units and takes
            about as long as the quickest of those.
    """

    def __init__(self, points: Sequence[Limits], reports: Sequence[dict[str, Any]]) -> None:
        self.points = points
        self.reports = reports
        losses = [_lost(report) for report in reports]
        fewest = min(losses)
        quickest = min(
            report["makespan"] for report, lost in zip(reports, losses, strict=True) if lost == fewest
        )
        self.enough = next(
            number
            for number, report in enumerate(reports)
            if losses[number] == fewest and report["makespan"] * (1 - _BETTER) <= quickest
        )

    @property
    def code(self) -> int:
        """The exit code: of failures, then of what is blocked, then of none."""
        codes = {report["exit"] for report in self.reports}
        return next((code for code in (1, 3) if code in codes), 0)

    @property
    def title(self) -> str:
        """What holds in all runs."""
        first, *others = [report["title"].split(", ") for report in self.reports]
        return ", ".join(part for part in first if all(part in other for other in others))

    def text(self) -> str:
        """As lines for people."""
        axes = [(service, what) for service, values in self.points[0].items() for what in values]
        services = list(self.points[0])
        # What is the same for all says nothing about the limits.
        losses = [
            what
            for what in ("failed", "blocked", "unfinished")
            if any(one["works"][what] for one in self.reports)
        ]
        rates = [
            service for service in services if any(_used(one, service)["rate_used"] for one in self.reports)
        ]
        header = [
            *(f"{service}.\n{what}" for service, what in axes),
            "",
            "MAKESPAN",
        ]
        for service in services:
            of = "USED" if len(services) == 1 else f"OF {service}"
            header += [f"SLOTS {of}", *([f"RATE {of}"] if service in rates else [])]
        header += [*map(str.upper, losses), "BINDS"]
        rows = []
        for number, (limits, report) in enumerate(zip(self.points, self.reports, strict=True)):
            row = [
                "none" if limits[service][what] is None else str(limits[service][what])
                for service, what in axes
            ]
            row += ["*" if number == self.enough else "", seconds_in_words(report["makespan"])]
            for service in services:
                used = _used(report, service)
                row.append(percent(used["slots_used"]))
                if service in rates:
                    row.append(percent(used["rate_used"]))
            row += [str(report["works"][what]) for what in losses]
            binds = report["binds"][0] if report["binds"] else None
            # The limits themselves stand in the row.
            words = binds["words"].partition(" (")[0] if binds else ""
            rows.append([*row, f"{percent(binds['share'])} {words}" if binds else "-"])
        lines = table(header, rows)
        if any("…" in line for line in lines):  # too wide: what binds stands below each row
            lines = table(header[:-1], [row[:-1] for row in rows])
            above = len(lines) - 1 - len(rows)
            below = [wrapped(f"    binds: {row[-1]}", 4) for row in rows]
            pairs = zip(lines[above:-1], below, strict=True)
            lines = [*lines[:above], *(line for row, more in pairs for line in (row, *more)), ""]
        if self.enough < len(self.points) - 1:
            lines.append(f"* nothing after it is better by {_BETTER:.0%}")
        elif len(self.points) > 1:
            lines.append("* the best, and the last: there may be better ones beyond")
        return "\n".join(lines) + "\n"

    def json(self, seed: int) -> str:
        """As JSON, one object."""
        runs = [
            {"limits": limits, "report": report}
            for limits, report in zip(self.points, self.reports, strict=True)
        ]
        facts = {"version": 1, "seed": seed, "enough": self.enough, "runs": runs}
        return json.dumps(facts, indent=2) + "\n"


def _used(report: dict[str, Any], service: str) -> dict[str, Any]:
    """What a report says of a service."""
    return next(one for one in report["services"] if one["name"] == service)


def _lost(report: dict[str, Any]) -> int:
    works = report["works"]
    return int(works["failed"] + works["blocked"] + works["unfinished"])


@dataclass(frozen=True, slots=True)
class SweepOptions:
    """What can be said of a sweep; those without flags are options of other commands as well."""

    sweep: tuple[str, ...] = option(
        (), "--sweep SERVICE.LIMIT=V,V,...", "limits", "run once for each of these limits, and compare"
    )
    pipeline: PipelineOptions = field(default_factory=PipelineOptions)
    seed: int | None = None
    duration: float | None = None
    max_failures: int | None = None
    fast: bool = False
    no_tui: bool = False
    json: str | None = None


def run_sweep(options: SweepOptions, arguments: Sequence[str]) -> int:
    """Do what `--sweep` asks for.

    Args:
        options: What the arguments mean.
        arguments: As given.

    Returns:
        The exit code.

    Raises:
        BadUsage: It cannot be done.
    """
    points = parse(options.sweep)
    check_writable(options.json)
    # One seed for all: they differ in their limits and in nothing else.
    seed = seed_or_any(options.seed)
    rest = without(arguments, ("--sweep", "--json", "--seed"))
    signal.signal(signal.SIGTERM, _end)  # its runs must not outlive it
    command = [sys.executable, "-m", "runcue_sim", "--seed", str(seed), "--json", "-", *rest]
    given = sys.stdin.buffer.read() if options.pipeline.submit == "-" else b""
    sweep = Sweep(points, run(points, command, given=given))
    if options.json == "-":
        sys.stdout.write(sweep.json(seed))
        return sweep.code
    print(*wrapped(f"runcue-sim {sweep.title}, seed {seed}", 2), "", sep="\n")
    sys.stdout.write(sweep.text())
    write_json(options.json, sweep.json(seed))
    return sweep.code


def _end(number: int, frame: object) -> NoReturn:
    raise SystemExit(128 + number)


def without(arguments: Sequence[str], options: Sequence[str]) -> list[str]:
    """Arguments without some options and their values."""
    left = list(arguments)
    end = left.index("--") if "--" in left else len(left)
    kept = []
    place = 0
    while place < end:
        if left[place] in options:
            place += 2
            continue
        if left[place].partition("=")[0] not in options:
            kept.append(left[place])
        place += 1
    return kept + left[max(place, end) :]
