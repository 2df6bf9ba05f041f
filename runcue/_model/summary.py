"""What became of the work units of a cue, in numbers: what `drain()` and `stop()` return.

Must not know: how it is counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from runcue._model.phases import WorkState
from runcue._model.texts import name_of
from runcue._model.work import Work

__all__ = ["Summary"]

_UNSETTLED: Final = (WorkState.PENDING, WorkState.RUNNING)


class Summary:
    """What became of the work units of a cue since it was started.

    Attributes:
        counts: How many work units ended how: keys "completed" (a handler returned), "skipped", "failed", "cancelled".
        failed: The failed work units, oldest first, as far as the cue still keeps them (`Cue(keep=)`).
        blocked: Work units that could not run, as `debug_blocked()` describes them. After `drain()` they are still
            pending; after `stop()` they have been cancelled.
        left: Work units without an end. After `drain()` those that have not settled, be they blocked or, where its time
            was over, about to run; they go on. After `stop()` those that were to run later or are tried again without
            end, which it has cancelled, too.
        abandoned: Work units whose handlers were still running when a time-out of `stop()` struck and that could not be
            ended: threads, and coroutines that suppress their cancellation.
        deadlocked: Work units whose handlers wait for another work unit of the same cue that could never run.
        downstream: How many of the skipped are downstream of a failure: they were left as they are, because an artifact
            that they are made from was to be made anew, and was not. The other skipped ones are up to date.
        duration: Seconds since the start.
    """

    __slots__ = (
        "_because",
        "_given_up",
        "_tried",
        "abandoned",
        "blocked",
        "counts",
        "deadlocked",
        "downstream",
        "duration",
        "failed",
        "left",
    )

    def __init__(
        self,
        counts: dict[str, int],
        failed: list[Work],
        blocked: list[dict[str, Any]],
        duration: float,
        left: list[Work] | None = None,
        abandoned: list[Work] | None = None,
        deadlocked: list[Work] | None = None,
        downstream: int = 0,
        because: Sequence[Work] = (),
    ) -> None:
        self.counts = counts
        self.failed = failed
        self.blocked = blocked
        self.duration = duration
        self.left = left or []
        self.abandoned = abandoned or []
        self.deadlocked = deadlocked or []
        self.downstream = downstream
        self._because = because
        # After a stop those that could not run have been cancelled, and are counted there.
        given_up = [entry["work"] for entry in blocked if entry["work"].state is WorkState.CANCELLED]
        self._given_up = len(given_up)
        self._tried = sum(bool(work.attempts) or work.started_at is not None for work in given_up)

    @property
    def ok(self) -> bool:
        """Whether everything was completed or skipped."""
        return not (self.counts["failed"] or self.counts["cancelled"] or self.blocked or self.left)

    def __str__(self) -> str:
        counts = {what: number for what, number in self.counts.items() if number}
        parts = [f"{number:,} {what}{self._more(what, number)}" for what, number in counts.items()] or [
            "nothing ran"
        ]
        if waiting := len(self.blocked) - self._given_up:
            parts.append(f"{waiting:,} blocked")
        blocked = {entry["work"] for entry in self.blocked}
        goes_on = sum(work not in blocked and work.state in _UNSETTLED for work in self.left)
        if goes_on:
            parts.append(f"{goes_on:,} not settled yet")
        return f"{', '.join(parts)} in {self.duration:.2f} s"

    def _more(self, what: str, number: int) -> str:
        """What else is to be said of those that ended so."""
        if what == "skipped" and self.downstream:
            up_to_date = number - self.downstream
            also = f"{up_to_date:,} up to date, " if up_to_date > 0 else ""
            names = ", ".join(map(name_of, self._because[:3]))
            others = " and others" if len(self._because) > 3 else ""
            return f" ({also}{self.downstream:,} not run because of {names}{others})"
        if what == "cancelled":
            left = sum(work.state is WorkState.CANCELLED for work in self.left)
            new = self._given_up - self._tried
            they = "it" if new == 1 else "they"
            attempts = "its next attempt" if self._tried == 1 else "their next attempts"
            kinds = (
                (new, f" before {they} could start", f"before {they} could start"),
                (self._tried, f" before {attempts}", f"before {attempts}"),
                (left, " and left for later", "left for later"),
            )
            return "".join(
                all_of_them if count == number else f", {count:,} of them {some}"
                for count, all_of_them, some in kinds
                if count
            )
        return ""

    def __repr__(self) -> str:
        return f"<Summary {self}>"
