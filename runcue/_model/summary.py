"""What became of the work units of a cue, in numbers: what `drain()` and `stop()` return.

Must not know: how it is counted.
"""

from __future__ import annotations

from typing import Any

from runcue._model.work import Work

__all__ = ["Summary"]


class Summary:
    """What became of the work units of a cue since it was started.

    Attributes:
        counts: How many work units ended how: keys "completed" (a handler returned), "skipped", "failed", "cancelled".
        failed: The failed work units, oldest first, as far as the cue still keeps them (`Cue(keep=)`).
        blocked: Work units that could not run, as `debug_blocked()` describes them. After `drain()` they are still
            pending; after `stop()` they have been cancelled.
        abandoned: Work units whose handlers were still running when a time-out of `stop()` struck and that could not be
            ended: threads, and coroutines that suppress their cancellation.
        deadlocked: Work units whose handlers wait for another work unit of the same cue that could never run.
        duration: Seconds since the start.
    """

    __slots__ = ("abandoned", "blocked", "counts", "deadlocked", "duration", "failed")

    def __init__(
        self,
        counts: dict[str, int],
        failed: list[Work],
        blocked: list[dict[str, Any]],
        duration: float,
        abandoned: list[Work] | None = None,
        deadlocked: list[Work] | None = None,
    ) -> None:
        self.counts = counts
        self.failed = failed
        self.blocked = blocked
        self.duration = duration
        self.abandoned = abandoned or []
        self.deadlocked = deadlocked or []

    @property
    def ok(self) -> bool:
        """Whether everything was completed or skipped."""
        return not (self.counts["failed"] or self.counts["cancelled"] or self.blocked)

    def __str__(self) -> str:
        parts = [f"{number} {what}" for what, number in self.counts.items() if number] or ["nothing ran"]
        if self.blocked:
            parts.append(f"{len(self.blocked)} blocked")
        return f"{', '.join(parts)} in {self.duration:.2f} s"

    def __repr__(self) -> str:
        return f"<Summary {self}>"
