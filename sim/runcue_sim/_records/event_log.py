"""The event log: what happened in a run, in words that a person can follow.

Lives here: `Entry`, one line of it; the form in which it is printed; `Trace`, which hands entries to those who want
them.

Must not know: cues, clocks beyond the instant an entry carries.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from runcue_sim._text.figures import plain

SIGNS: Final = {
    "queued": "+",
    "started": "▶",
    "put back": "↩",
    "resumed": "▷",
    "completed": "✓",
    "failed": "✗",
    "skipped": "↷",
    "cancelled": "⊘",
    "invalidated": "⟳",
    "blocked": "■",
    "timeout": "⏱",
    "fault": "⚡",
    "died": "☠",
}
"""What can happen, and its sign."""

HEADER: Final = f"{'TIME':<14} {'EVENT':<12} {'TASK':<16} {'WORK_ID':<20} DETAILS"


class Entry(NamedTuple):
    """One event.

    Attributes:
        at: Wall-clock seconds since the epoch, on the clock of the run.
        event: One of `SIGNS`.
        task: The name of the task, empty for what is about no work.
        work_id: The id of the work.
        details: For people.
    """

    at: float
    event: str
    task: str = ""
    work_id: str = ""
    details: str = ""

    def line(self) -> str:
        """The entry as a line of the log."""
        task = f"[{self.task}]" if self.task else ""
        head = f"{clock_time(self.at)} {SIGNS[self.event]} {self.event:<12} {task:<16} {self.work_id:<20}"
        return f"{head} {plain(self.details)}".rstrip()


def clock_time(at: float) -> str:
    """An instant as 20:55:11.216, in UTC so that equal runs print equal text everywhere."""
    # Whole milliseconds first: rounding them afterwards can give 60.000.
    moment = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=round(at * 1000))
    return f"{moment:%H:%M:%S}.{moment.microsecond // 1000:03}"


class Trace:
    """Entries on their way to those who want them. Without takers none is made.

    Attributes:
        takers: Called with each entry.
    """

    __slots__ = ("takers",)

    def __init__(self, *takers: Callable[[Entry], object]) -> None:
        self.takers = list(takers)

    def __bool__(self) -> bool:
        return bool(self.takers)

    def add(self, at: float, event: str, task: str = "", work_id: str = "", details: str = "") -> None:
        """Tell of an event; see `Entry`."""
        entry = Entry(at, event, task, work_id, details)
        for taker in self.takers:
            taker(entry)
