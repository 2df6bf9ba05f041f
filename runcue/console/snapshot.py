"""A cue at one instant, as plain facts.

Lives here: `Snapshot` and `TaskCounts`.

Must not know: where they come from, what they look like.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import runcue
from runcue.console.attempts import Trouble
from runcue.console.eta import Eta
from runcue.console.waits import Waiting

_UNKNOWN: Final = Eta(None)


class TaskCounts(NamedTuple):
    """A task, or all of them.

    Attributes:
        name: Its name.
        pending: Work units that have not started.
        running: Those that run.
        done: Those that completed.
        failed: Those that failed.
        skipped: Those that were up to date.
        cancelled: Those that were cancelled.
        pace: How many ended per second, lately.
        retries: How many attempts have failed that another one follows.
    """

    name: str
    pending: int = 0
    running: int = 0
    done: int = 0
    failed: int = 0
    skipped: int = 0
    cancelled: int = 0
    pace: float = 0.0
    retries: int = 0

    @property
    def settled(self) -> int:
        """How many work units are over."""
        return self.done + self.failed + self.skipped + self.cancelled


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A cue at one instant.

    Attributes:
        title: What is run, in a line.
        elapsed: Seconds for which it has been watched, on the clock of the event loop.
        virtual: Whether that is a virtual one.
        tasks: In the order in which they were heard of.
        services: In the order of their registration.
        waits: What waits for what, the most first.
        troubles: Of which tasks attempts fail, the worst first.
        notes: What else is to be said, a line each.
        total: How many work units there will be, as far as known.
        eta: How long the rest takes.
        mean_pace: How many work units ended per second, since the beginning.
        silent: Seconds for which the event loop has not answered.
    """

    title: str = ""
    elapsed: float = 0.0
    virtual: bool = False
    tasks: tuple[TaskCounts, ...] = ()
    services: tuple[runcue.ServiceStatus, ...] = ()
    waits: tuple[Waiting, ...] = ()
    troubles: tuple[Trouble, ...] = ()
    notes: tuple[str, ...] = ()
    total: int = 0
    eta: Eta = _UNKNOWN
    mean_pace: float = 0.0
    silent: float = 0.0

    @property
    def whole(self) -> TaskCounts:
        """All tasks together."""
        return TaskCounts(f"all {len(self.tasks)}", *map(sum, [*zip(*self.tasks, strict=True)][1:]))

    @property
    def share(self) -> float:
        """How much of the total is over, 0.0 to 1.0."""
        return min(1.0, self.whole.settled / self.total) if self.total else 0.0

    @property
    def is_over(self) -> bool:
        """Whether there is nothing left."""
        return 0 < self.total <= self.whole.settled
