"""The instants before which work units may not begin, because their submissions say so: `delay=` and `run_at=`.

A delay counts by the monotonic clock, as intervals do; a date by the wall clock, which may be set and goes on while the
computer sleeps. Whoever has joined another work unit has an instant of its own, at which that one may begin; so the
first of all instants counts, as long as who has it stays.

Lives here: `Appointment`; `Appointments`, one heap for each of the two clocks; and `begins_at`, which is told of them.

Must not know: clocks (what they show is an argument), phases, how a work unit gets in line.
"""

from __future__ import annotations

from typing import NamedTuple

from runcue._model.attempts import Attempts
from runcue._model.overrides import Overrides
from runcue._model.work import Work
from runcue._scheduling.deadlines import Deadlines

__all__ = ["Appointment", "Appointments", "appointment_of", "begins_at", "wanted_at_once"]


class Appointment(NamedTuple):
    """An instant before which a work unit may not begin.

    Attributes:
        at: That instant.
        by_wall: Whether it is one of the wall clock, in seconds since the epoch, and not of the monotonic clock.
    """

    at: float
    by_wall: bool

    def expected(self, now: float, wall: float) -> float:
        """When it will come by the monotonic clock, if nobody sets the other one."""
        return now + (self.at - wall) if self.by_wall else self.at


def appointment_of(overrides: Overrides, now: float, wall: float) -> Appointment | None:
    """What a submission says of when its work unit may begin; None if that is at once.

    Args:
        overrides: Checked.
        now: Monotonic.
        wall: Seconds since the epoch.
    """
    if overrides.delay:
        return Appointment(now + overrides.delay, by_wall=False)
    if overrides.run_at is not None and overrides.run_at > wall:
        return Appointment(overrides.run_at, by_wall=True)
    return None


class Appointments:
    """The instants of one cue that are ahead.

    Attributes:
        works: Whose they are: of work units that wait for them, of those that have joined others, and of those that go
            on already because somebody who has joined them wants them earlier.
        recalls: Of those, whoever may have to wait after all: somebody who has wanted them earlier has left.
        aside: Of those, whoever is not waited for any more: nothing lets them go on but somebody who joins them.
    """

    __slots__ = ("_dated", "_timed", "aside", "recalls", "works")

    def __init__(self) -> None:
        self.works: set[Work] = set()
        self.recalls: dict[Work, None] = {}
        self.aside: set[Work] = set()
        self._timed: Deadlines[Work] = Deadlines()
        self._dated: Deadlines[Work] = Deadlines()

    @property
    def has_dates(self) -> bool:
        """Whether there are any by the wall clock."""
        return len(self._dated) > 0

    def set(self, work: Work, appointment: Appointment) -> None:
        """Let a work unit have one."""
        (self._dated if appointment.by_wall else self._timed).set(work, appointment.at)
        self.works.add(work)

    def clear(self, work: Work) -> None:
        """Let a work unit have none. Harmless if it has none."""
        if work in self.works:
            self.works.discard(work)
            self.recalls.pop(work, None)
            self.aside.discard(work)
            self._timed.clear(work)
            self._dated.clear(work)

    def set_aside(self, work: Work) -> None:
        """Do not wait for a work unit any more that waits for an instant."""
        self.clear(work)
        self.works.add(work)
        self.aside.add(work)

    def when(self, work: Work, now: float, wall: float) -> float:
        """When the first one of a work unit will come by the monotonic clock, inf if it has none."""
        return min(self._timed.when(work), now + (self._dated.when(work) - wall))

    def next(self, now: float, wall: float) -> float:
        """When the first of all will come by the monotonic clock, inf if there is none."""
        return min(self._timed.next(), now + (self._dated.next() - wall))

    def pop_due(self, now: float, wall: float) -> Work | None:
        """Take out one that has come. Returns whose it is, None if there is none."""
        work = self._timed.pop_due(now)
        if work is None:
            work = self._dated.pop_due(wall)
        if work is not None:
            self.clear(work)
        return work

    def withdraw(self, work: Work) -> None:
        """A work unit is about to be settled out of its place."""
        joined = work._declared.joined if work._declared is not None else None
        if joined is not None:
            joined.ahead -= work in self.works
            self._recall(joined.leader)
        self.clear(work)

    def _recall(self, work: Work) -> None:
        if work in self.works:  # nobody looks after the others
            self.recalls[work] = None

    def hand_over(self, leader: Work, successor: Work, *, waits: bool) -> None:
        """A work unit that others have joined is about to be withdrawn, and the first of them takes its place.

        Args:
            leader: It takes its appointments along, unless it waits for the first of them.
            successor: It has left the others.
            waits: Whether it does. Else the successor may have to wait.
        """
        followers = successor._declared.followers if successor._declared is not None else None
        if followers is not None:
            followers.ahead -= successor in self.works
        if not waits:
            self._recall(successor)
            return
        if leader in self.aside:
            self.set_aside(successor)
            return
        for line in (self._timed, self._dated):
            line.set(successor, min(line.when(successor), line.when(leader)))
        self.works.add(successor)


def wanted_at_once(work: Work) -> bool:
    """Whether somebody who has joined a work unit has no instant ahead."""
    followers = work._declared.followers if work._declared is not None else None
    return followers is not None and len(followers) > followers.ahead


def begins_at(work: Work) -> float:
    """When a work unit that waits for an instant may go on at the earliest, as far as is known; monotonic.

    Before its first attempt that is the first of its own instant and of those that are lent it.
    """
    attempts = work._attempts
    assert attempts is not None
    first = attempts.again
    followers = work._declared.followers if work._declared is not None else None
    if first.is_delayed and followers is not None:
        for one in followers:
            lent: Attempts | None = one._attempts
            if lent is not None and lent.again.is_delayed:
                first = min(first, lent.again)
    return first.at
