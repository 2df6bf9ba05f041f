"""What the user gets to read: progress while it runs, and an account at the end.

Lives here: `Tally`, which counts through the cue's own events, and the lines of the report.

Must not know: how anything is made.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import runcue
from pipeline import Plan
from summary_server import LIMIT, WINDOW, WindowLimit

LINES_OF_TROUBLE = 12
STAGES = ("render_page", "extract_text", "summarize_page", "summarize")


class Tally:
    """Counts how works end, by task, and shows a line of progress where someone is looking.

    Args:
        cue: The cue to listen to.
        total: How many work units there will be.
    """

    def __init__(self, cue: runcue.Cue, total: int) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()
        self._total = total
        self._visible = sys.stderr.isatty()

        @cue.on_complete
        def on_complete(work: runcue.Work, result: object, duration: float) -> None:
            self._count(work, "run")

        @cue.on_skip
        def on_skip(work: runcue.Work) -> None:
            self._count(work, "skipped")

        @cue.on_failure
        def on_failure(work: runcue.Work, error: object) -> None:
            self._count(work, "failed")

        @cue.on_cancel
        def on_cancel(work: runcue.Work) -> None:
            self._count(work, "not run")

    def of(self, outcome: str) -> int:
        """Return how many work units ended like this, over all tasks."""
        return sum(count for (_, ended), count in self.counts.items() if ended == outcome)

    def succeeded(self, task: str) -> bool:
        """Return whether work units of a task ended with what they are to make, all that ended."""
        return not (self.counts[task, "failed"] or self.counts[task, "not run"]) and self._settled(task) > 0

    def clear_line(self) -> None:
        """Take the line of progress away."""
        if self._visible:
            print("\r\033[K", end="", file=sys.stderr, flush=True)

    def _count(self, work: runcue.Work, outcome: str) -> None:
        self.counts[work.task, outcome] += 1
        if self._visible:
            stages = "   ".join(f"{task} {self._settled(task)}" for task in STAGES)
            print(
                f"\r\033[K{self.counts.total()}/{self._total}   {stages}", end="", file=sys.stderr, flush=True
            )

    def _settled(self, task: str) -> int:
        return sum(count for (name, _), count in self.counts.items() if name == task)


def report(
    plan: Plan, tally: Tally, summary: runcue.Summary, limit: WindowLimit, out: Path, timeline: str
) -> list[str]:
    """Write the account of a run.

    Args:
        plan: What was to be made.
        tally: How the work units ended.
        summary: What the cue says of its drain.
        limit: The summary server's own count.
        out: Where the files are.
        timeline: What became of the picture, in words.

    Returns:
        Its lines.
    """
    because = f": {plan.text_source.because}" if plan.text_source.because else ""
    lines = [
        f"document        {plan.pdf.name}: {plan.outline.title}, {plan.outline.pages} pages",
        f"text from       {plan.text_source.description}{because}",
        "",
        f"{'':16}{'run':>8}{'skipped':>10}{'failed':>9}{'not run':>10}",
    ]
    for task in STAGES:
        run, skipped, failed, left = (
            tally.counts[task, how] for how in ("run", "skipped", "failed", "not run")
        )
        lines.append(f"{task:16}{run:>8}{skipped:>10}{failed:>9}{left:>10}")
    refused = f"{limit.refused} refused (429)" if limit.refused else "none refused (429)"
    busiest = f", at most {limit.busiest} of {LIMIT} within {WINDOW:g} s" if limit.busiest else ""
    lines += [
        "",
        f"summary server  {limit.accepted} requests answered{busiest}; {refused}",
        f"duration        {summary.duration:.1f} s",
        f"files           {plan.summary}{'' if tally.succeeded('summarize') else ' (not made, or out of date)'}",
        f"                {timeline}",
        f"                {out / 'text'}, {out / 'pages'}, {out / 'extracts'}",
    ]
    if tally.of("skipped") == tally.counts.total():
        lines += [
            "",
            f"Everything was up to date: all {tally.of('skipped')} work units skipped, nothing run.",
        ]
    lines += ["", *troubles(summary)] if summary.failed or summary.blocked else []
    return lines


def troubles(summary: runcue.Summary) -> list[str]:
    """Return a line for each work unit that failed or could not run, as far as anybody would read on."""
    lines = [
        *(f"failed: {name(work)}: {work.error}" for work in summary.failed),
        *(f"not run: {name(entry['work'])}: {entry['details']}" for entry in summary.blocked),
    ]
    more = len(lines) - LINES_OF_TROUBLE
    return lines if more <= 0 else [*lines[:LINES_OF_TROUBLE], f"... and {more} more"]


def name(work: runcue.Work) -> str:
    """Return a work unit's name as a person would say it."""
    page = work.params.get("page")
    return f"{work.task} of page {page}" if page else work.task
