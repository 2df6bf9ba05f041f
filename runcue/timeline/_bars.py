"""What a timeline is made of: bars, and the rows they are laid out in.

Lives here: `Bar`, and arithmetic over bars: rows without overlap, time covered, how many at once.

Must not know: pixels, colours, where bars come from.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Any, Literal, get_args

import runcue

Outcome = Literal["completed", "failed", "cancelled", "skipped", "running", "retried", "postponed"]

NO_SERVICE = "no service"
# Seconds; what is further away is no instant.
_FAR = 1e15


@dataclass(frozen=True, slots=True)
class Bar:
    """One work unit on the timeline.

    A work unit that never ran (it was skipped, or cancelled while pending) has `start` equal to `end`, the instant at
    which it was settled, and is drawn as a mark beside the bars. One that was put back has a bar for each time
    that it ran: between them it waited.

    Args:
        work_id: Shown in the tooltip.
        task: The task's name; it decides the colour.
        services: The services the work held. It is drawn once for each; none is a row of its own.
        start: When the handler was entered, in seconds on any clock.
        end: When the work was settled, or put back, on the same clock. An end before the start counts as equal to it.
        outcome: How it ended, or "running"; "retried" if that was an attempt that has failed and another one follows,
            "postponed" if its handler has raised `RetryLater`.
        label: A few characters for inside the bar, left out where they do not fit.

    Raises:
        runcue.ConfigurationError: A value cannot be drawn.
    """

    work_id: str
    task: str
    services: tuple[str, ...]
    start: float
    end: float
    outcome: Outcome
    label: str = ""

    def __post_init__(self) -> None:
        for name in ("work_id", "task", "label"):
            object.__setattr__(self, name, check_text(getattr(self, name), f"The {name} of a Bar"))
        services: Any = self.services
        if not isinstance(services, tuple | list):
            raise runcue.ConfigurationError(
                f"The services of a Bar must be a tuple of names, not {in_words(services)}."
            )
        for service in services:
            check_text(service, "A service of a Bar")
        for name in ("start", "end"):
            seconds: Any = getattr(self, name)
            if not isinstance(seconds, int | float) or not -_FAR <= seconds <= _FAR:
                raise runcue.ConfigurationError(
                    f"The {name} of a Bar must be a number of seconds, not {in_words(seconds)}."
                )
        outcome: Any = self.outcome
        if type(outcome) is not str or outcome not in get_args(Outcome):
            raise runcue.ConfigurationError(
                f"The outcome of a Bar must be one of {', '.join(get_args(Outcome))}, not {in_words(outcome)}."
            )

    @property
    def duration(self) -> float:
        """Seconds from start to end, never negative: a wall clock may be set back during a run."""
        return max(0.0, self.end - self.start)

    @property
    def ran(self) -> bool:
        """Whether a handler was entered, as far as two stamps can tell."""
        return self.outcome in ("completed", "running", "retried", "postponed") or self.duration > 0


def check_text(value: object, what: str) -> str:
    """Check a text.

    Raises:
        runcue.ConfigurationError: It is none.
    """
    if not isinstance(value, str):
        raise runcue.ConfigurationError(f"{what} must be a str, not {in_words(value)}.")
    return str.__str__(value)  # what a subclass does is its own business


def in_words(value: object) -> str:
    """A value in a message, whatever it is."""
    try:
        words = repr(value) if type(value) in (str, bytes, bool, int, float, type(None)) else ""
    except ValueError:  # an int of more digits than Python writes
        words = ""
    return words[:100] or f"a {type(value).__qualname__}"


@dataclass(frozen=True, slots=True)
class Group:
    """The rows of one service.

    Attributes:
        name: The service.
        lanes: Its rows, each with bars that do not overlap.
        marks: The work units that never ran.
        busy: Seconds during which at least one work unit held the service.
    """

    name: str
    lanes: list[list[Bar]]
    marks: list[Bar]
    busy: float


def grouped(ordered: Sequence[Bar]) -> list[Group]:
    """Services in the order of their first work unit, which puts a pipeline's stages from top to bottom."""
    members: dict[str, list[Bar]] = {}
    for bar in ordered:
        for service in bar.services or (NO_SERVICE,):
            members.setdefault(service, []).append(bar)
    groups = []
    for name, own in members.items():
        ran = [bar for bar in own if bar.ran]
        groups.append(Group(name, packed(ran), [bar for bar in own if not bar.ran], covered(ran)))
    return groups


def packed(ordered: Iterable[Bar]) -> list[list[Bar]]:
    """Put each bar into the first row that is free when it starts: no more rows than work units ran at once."""
    lanes: list[list[Bar]] = []
    busy: list[tuple[float, int]] = []
    free: list[int] = []
    for bar in ordered:
        while busy and busy[0][0] <= bar.start:
            heappush(free, heappop(busy)[1])
        if not free:
            heappush(free, len(lanes))
            lanes.append([])
        lane = heappop(free)
        lanes[lane].append(bar)
        heappush(busy, (bar.start + bar.duration, lane))
    return lanes


def covered(ordered: Iterable[Bar]) -> float:
    """Seconds during which at least one of the bars was running."""
    total = 0.0
    until = float("-inf")
    for bar in ordered:
        end = bar.start + bar.duration
        total += max(0.0, end - max(bar.start, until))
        until = max(until, end)
    return total


def load(ordered: Iterable[Bar]) -> list[tuple[float, int]]:
    """How many bars run from each instant on, at the instants where that changes."""
    changes: Counter[float] = Counter()
    for bar in ordered:
        changes[bar.start] += 1
        changes[bar.start + bar.duration] -= 1
    steps = []
    level = 0
    for instant in sorted(changes):
        if changes[instant]:
            level += changes[instant]
            steps.append((instant, level))
    return steps
