"""`Timeline`: observes a cue and remembers what ran when.

Must not know: how a picture is drawn, or anything of the cue that its users do not see.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Final, Never

import runcue
from runcue import Cue, Observer, Work, WorkState
from runcue.timeline._bars import Bar, Outcome, in_words
from runcue.timeline._picture import draw

_OUTCOMES: Final[dict[WorkState, Outcome]] = {
    WorkState.COMPLETED: "completed",
    WorkState.FAILED: "failed",
    WorkState.CANCELLED: "cancelled",
}


class Timeline(Observer):
    """Records what a cue runs, and draws it.

    Make it before `cue.start()`: what happened earlier is not seen.

    Example:
        ```python
        timeline = Timeline(cue, label=lambda work: str(work.params.get("page", "")))
        ...
        await cue.stop()
        timeline.write_svg("timeline.svg", title="My run")
        ```

    Args:
        cue: The cue to observe.
        label: Gives the few characters written inside a work unit's bar.
        keep: How many settled work units are remembered; beyond it the oldest are forgotten, so that a cue which runs
            for weeks shows its latest stretch and memory stays bounded.

    Raises:
        runcue.ConfigurationError: A value cannot work.
    """

    def __init__(
        self,
        cue: Cue | None = None,
        *misplaced: Never,
        label: Callable[[Work], str] | None = None,
        keep: int = 50_000,
        **unknown: Never,
    ) -> None:
        if misplaced or unknown:
            given = f", and has no option {next(iter(unknown))}=" if unknown else ""
            raise runcue.ConfigurationError(
                f"Timeline() takes a Cue, and the options label= and keep= by keyword{given}."
            )
        if not isinstance(cue, runcue.Cue):
            raise runcue.ConfigurationError(f"Timeline() draws a runcue.Cue, not {in_words(cue)}.")
        if label is not None and not callable(label):
            raise runcue.ConfigurationError(
                f"label of Timeline() must be a function of the work, not {in_words(label)}."
            )
        if type(keep) is not int or keep < 0:
            raise runcue.ConfigurationError(
                f"keep of Timeline() must be a whole number of at least 0, not {in_words(keep)}."
            )
        self._cue = cue
        self._label = label
        self._running: dict[str, Work] = {}
        # Those that have run, and were put back.
        self._waiting: set[str] = set()
        self._settled: deque[Bar] = deque(maxlen=min(keep, sys.maxsize))
        cue.observe(self)

    @property
    def bars(self) -> list[Bar]:
        """What has run, and the settled work units, in the order of their ends; then what runs now, up to this instant.

        A work unit that was put back has a bar for each time that it ran.
        """
        now = time.time()
        return [*self._settled, *(self._bar(work, "running", now) for work in self._running.values())]

    def svg(self, *misplaced: Never, title: str = "Timeline", **unknown: Never) -> str:
        """Draw what was recorded so far.

        Args:
            *misplaced: None: the title is given by name.
            title: The picture's heading.
            **unknown: None: an option that is misspelt is told.

        Returns:
            An SVG document.
        """
        if misplaced or unknown:
            given = f", and has no option {next(iter(unknown))}=" if unknown else ""
            raise runcue.ConfigurationError(f"Timeline.svg() takes the option title= by keyword{given}.")
        return draw(self.bars, title=title)

    def write_svg(
        self,
        path: str | os.PathLike[str] | None = None,
        *misplaced: Never,
        title: str = "Timeline",
        **unknown: Never,
    ) -> None:
        """Draw into a file, which appears whole or not at all.

        Args:
            path: The file to write.
            *misplaced: None: the title is given by name.
            title: The picture's heading.
            **unknown: None: an option that is misspelt is told.

        Raises:
            OSError: The file cannot be written.
        """
        if path is None or misplaced or unknown:
            given = f", and has no option {next(iter(unknown))}=" if unknown else ""
            raise runcue.ConfigurationError(
                f"Timeline.write_svg() takes the path of a file, and the option title= by keyword{given}."
            )
        # A picture that is lost in a power cut can be drawn again.
        runcue.atomic_write(path, self.svg(title=title), durable=False)

    def started(self, work: Work) -> None:
        """See `runcue.Observer.started`."""
        self._running[work.id] = work
        self._waiting.discard(work.id)

    resumed = started

    def put_back(self, work: Work, reason: str, delay: float | None) -> None:
        """See `runcue.Observer.put_back`."""
        self._running.pop(work.id, None)
        self._waiting.add(work.id)
        clock = getattr(asyncio.get_running_loop(), "runcue_clock", time)
        # Only an attempt that has failed is one that is tried again.
        outcome: Outcome = "retried" if reason == "failed" else "postponed"
        self._settled.append(self._bar(work, outcome, clock.time()))

    def settled(self, work: Work, duration: float) -> None:
        """See `runcue.Observer.settled`."""
        self._running.pop(work.id, None)
        outcome: Outcome = "skipped" if work.skipped else _OUTCOMES[work.state]
        self._settled.append(self._bar(work, outcome, time.time()))
        self._waiting.discard(work.id)

    def _bar(self, work: Work, outcome: Outcome, now: float) -> Bar:
        end = now if work.completed_at is None else work.completed_at
        waited = outcome not in ("retried", "postponed") and work.id in self._waiting
        start = end if work.started_at is None or waited else work.started_at
        label = "" if self._label is None else str(self._label(work))
        task = self._cue.get_task(work.task)
        return Bar(work.id, work.task, task.services if task else (), start, end, outcome, label)
