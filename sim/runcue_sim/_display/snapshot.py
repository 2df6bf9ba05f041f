"""What the live display shows at one instant.

Lives here: `Snapshot` and its parts, which are plain facts.

Must not know: where they come from, how anything is drawn.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Final

from runcue_sim._records.eta import Eta
from runcue_sim._records.event_log import Entry

_UNKNOWN: Final = Eta(None)
_USUAL: Final = "waiting for an artifact: "
_EXAMPLES: Final = 50
_DIGITS: Final = re.compile(r"\d+")


def is_available() -> bool:
    """Whether there is what the display is drawn with."""
    return find_spec("rich") is not None


@dataclass(frozen=True, slots=True)
class ServiceLine:
    """A service.

    Attributes:
        name: Its name.
        in_use: Slots taken.
        slots: How many it has, None for any number.
        rate: The rate as written, None for none.
        tokens: Starts that the rate allows now.
        count: Starts that it allows in a period.
        next_token: Seconds until the next one is allowed, 0.0 for now, None if not known.
        bucket: Whether a bucket decides instead.
        done: How many works completed.
        failed: How many failed.
        pace: Works that ended per second, lately.
    """

    name: str
    in_use: int = 0
    slots: int | None = None
    rate: str | None = None
    tokens: int | None = None
    count: int | None = None
    next_token: float | None = None
    bucket: bool = False
    done: int = 0
    failed: int = 0
    pace: float = 0.0


@dataclass(frozen=True, slots=True)
class Group:
    """Works that are blocked for one reason.

    Attributes:
        count: How many.
        task: The name of their task.
        details: The reason of most of them. "#" stands for numbers if they differ.
    """

    count: int
    task: str
    details: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A run at one instant.

    Attributes:
        settings: What is run, in a line.
        clock: "real time" or "virtual time".
        elapsed: Seconds since the first submission.
        queued: How many works are neither running nor settled.
        running: How many are running.
        completed: How many completed.
        failed: How many failed.
        on_purpose: How many of these were asked for.
        skipped: How many were up to date.
        cancelled: How many were cancelled.
        blocked: How many of the queued ones wait for something else than a slot or a rate.
        total: How many works there will be, as far as known.
        more: Whether there may be more than that.
        eta: How long the rest takes.
        pace: Works that ended per second, lately; mean_pace: since the beginning.
        mean_pace: See `pace`.
        services: In the order of their registration.
        groups: What is blocked, the largest group first.
        entries: The latest events, the oldest first.
        warnings: What was warned of, the latest last.
    """

    settings: str = ""
    clock: str = "real time"
    elapsed: float = 0.0
    queued: int = 0
    running: int = 0
    completed: int = 0
    failed: int = 0
    on_purpose: int = 0
    skipped: int = 0
    cancelled: int = 0
    blocked: int = 0
    total: int = 0
    more: bool = False
    eta: Eta = _UNKNOWN
    pace: float = 0.0
    mean_pace: float = 0.0
    services: tuple[ServiceLine, ...] = ()
    groups: tuple[Group, ...] = ()
    entries: tuple[Entry, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def settled(self) -> int:
        """How many works are over."""
        return self.completed + self.failed + self.skipped + self.cancelled

    @property
    def share(self) -> float:
        """How much of the total is over, 0.0 to 1.0."""
        return min(1.0, self.settled / self.total) if self.total else 0.0


def group_blocked(blocked: Iterable[Mapping[str, Any]]) -> tuple[Group, ...]:
    """Sum up what `debug_blocked()` says, without what only waits for a slot or a rate; the largest group first."""
    counts: Counter[tuple[str, bytes]] = Counter()
    examples: dict[tuple[str, bytes], list[str]] = {}
    for one in blocked:
        if one["reason"] == "service_full":
            continue
        text = one["details"].removeprefix(_USUAL)
        # What comes after the first clause tells more of each work, and no longer what they have in common.
        key = (
            one["work"].task,
            text.partition("; ")[0].encode("utf-8", "replace").translate(None, b"0123456789"),
        )
        counts[key] += 1
        if counts[key] <= _EXAMPLES:
            examples.setdefault(key, []).append(text)
    groups = []
    for key, count in counts.most_common():
        texts = examples[key]
        if len(set(texts)) > 1:
            texts = [_DIGITS.sub("#", text) for text in texts]
        groups.append(Group(count, key[0], Counter(texts).most_common(1)[0][0]))
    return tuple(groups)
