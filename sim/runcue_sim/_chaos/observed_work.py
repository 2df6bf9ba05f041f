"""One work unit as an onlooker sees it.

Lives here: `ObservedWork`; `Start`, a start of it; `broken`, the violation that it shows.

Must not know: other work units, what is promised.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import inf
from typing import Final

from runcue_sim._chaos.invariants import Duty, Violation
from runcue_sim._chaos.wishes import NO_WISH, Wish

ROUNDING: Final = 1e-9
"""Seconds by which two ways to the same instant may differ."""

BY_WALL: Final = 1e-6
"""The same where one of them leads over the wall clock, whose seconds have fewer digits to spare."""


@dataclass(slots=True, eq=False)
class ObservedWork:
    """One work.

    Attributes:
        submitted: When it was.
        id: Its id.
        task: The name of its task.
        item: What it is about.
        duty: What is known of its task.
        needs: The artifacts without which it may not run.
        proves: Those that it makes.
        declared: Whether runcue knows of these.
        started: When its attempt was heard to start, None if it waits for one.
        ended: How it ended, empty if it has not.
        left: Whether its handler has come to its end.
        wish: What its submission says of when it runs.
        number: Its place in the order of submission.
        attempt: The number of the attempt that it is in or waits for.
        tried: How many attempts have started.
        may_start: The instant before which it must not.
        surely: The instant from which on it must, unless something is in its way.
        ahead: Whether that instant has not come, and comes from its submission.
        error: Why its attempt failed.
        is_resumed: Whether it goes on with the same attempt, since its handler has asked to be called again later.
        refused_by: The service that has refused it, if it goes on because of that; else "".
        refusals: How often it was refused in a row.
        gives_way: Whether it may let others go first when its instant has come.
        places: Its services, or what its keys have of them.
        is_left: Whether a stop has left it, since it could run some time; None if it may have.
        joinable: Whether another one made the same when it was submitted.
        leader: The one that it has joined, as far as can be told, or that is in the place of that by now.
        joined: The one that it has joined.
        left_alone: When it took the place of that, or when somebody has left who had wanted it earlier.
        is_sure: Whether its attempts are known: no handler of another one has run for it.
        began: When its first attempt began, None as long as none has ended.
        latest: The instant after which no further attempt of it begins.
        versions: If it was up to date when it was submitted: of what it needs and proves, as of then.
    """

    submitted: float
    id: str
    task: str
    item: str
    duty: Duty
    needs: tuple[str, ...]
    proves: tuple[str, ...]
    started: float | None = None
    ended: str = ""
    left: bool = False
    wish: Wish = NO_WISH
    number: int = 0
    attempt: int = 1
    tried: int = 0
    may_start: float = -inf
    surely: float = -inf
    ahead: bool = False
    error: BaseException | None = None
    is_resumed: bool = False
    refused_by: str = ""
    refusals: int = 0
    gives_way: bool = False
    is_left: bool | None = False
    joinable: bool = False
    leader: ObservedWork | None = None
    joined: ObservedWork | None = None
    left_alone: float = -inf
    is_sure: bool = True
    began: float | None = None
    latest: float = inf
    versions: list[int | None] | None = None
    declared: bool = field(init=False)
    places: tuple[str, ...] = field(init=False)
    # The instants of its submission, whatever others lend it.
    own: tuple[float, float] = field(init=False)

    def __post_init__(self) -> None:
        self.declared = self.duty.declared and bool(self.proves)
        self.places = self.duty.services
        if self.wish.delay:
            self.waits_until(self.submitted + self.wish.delay, BY_WALL if self.wish.by_wall else 0.0)
        self.own = self.may_start, self.surely

    @property
    def timeout(self) -> float | None:
        """Seconds that an attempt of it may take."""
        return self.duty.timeout if self.wish.timeout is None else self.wish.timeout

    @property
    def is_refused(self) -> bool:
        """Whether it goes on since a server has refused it."""
        return bool(self.refused_by)

    @property
    def is_tried_without_end(self) -> bool:
        """Whether it waits to be called again, as often as it likes. What is refused is so for some time."""
        policy = self.wish.policy
        if self.is_refused:
            return False  # that has an end
        again = self.is_resumed or (self.attempt > 1 and policy is not None and not policy.ends)
        return again and self.started is None

    def waits_until(self, at: float, slack: float = 0.0) -> None:
        """It must not start before an instant, which is known but for so many seconds."""
        self.may_start, self.surely = at - max(slack, ROUNDING), inf if self.gives_way else at + slack

    def __str__(self) -> str:
        return f"{self.task} {self.id} ({self.item})"


@dataclass(slots=True, eq=False)
class Start:
    """A start.

    Attributes:
        work: Whose.
        at: When its handler was entered; until that is known, when it was about to be.
        begun: When it was about to be.
        over: When it was first seen that its time is over, while it runs on.
    """

    work: ObservedWork
    at: float
    over: float = inf
    begun: float = field(init=False)

    def __post_init__(self) -> None:
        self.begun = self.at

    def is_over_time(self, now: float) -> bool:
        """Whether its time may be over, which nobody hears of before its handler has returned."""
        limit = self.work.timeout
        return not self.work.is_sure or (limit is not None and now >= self.at + limit - ROUNDING)


def broken(invariant: str, text: str, *works: ObservedWork, names: Iterable[str] = ()) -> Violation:
    """A violation.

    Args:
        invariant: One of `INVARIANTS`.
        text: What happened, in a sentence.
        *works: The work units concerned.
        names: The artifacts concerned, beside what these need and make.
    """
    concerned = dict.fromkeys(names)
    for one in works:
        concerned.update(dict.fromkeys((*one.needs, *one.proves)))
    return Violation(invariant, text, tuple(one.id for one in works), tuple(concerned))
