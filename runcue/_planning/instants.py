"""Before when the work units of a plan do not start: they are for later, wait for their next attempt, or for who does.

Lives here: `Instants`, by their stand-ins.

Must not know: what becomes of a work unit, how a plan prints.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from runcue._explain.problems import problem_now
from runcue._model.overrides import Overrides
from runcue._model.phases import NOT_DUE, RUNNING
from runcue._model.work import Work
from runcue._planning.plan import PlannedWork
from runcue._scheduling.appointments import appointment_of, begins_at
from runcue._scheduling.dependencies import Dependencies

__all__ = ["Instants"]


class Instants:
    """The instants of one plan, in seconds since the epoch.

    Args:
        now: Monotonic.
        wall: The same instant in seconds since the epoch.
    """

    def __init__(self, now: float, wall: float) -> None:
        self._now = now
        self._wall = wall
        self._of: dict[Work, float] = {}
        # Those that are for later, and make nothing before: they hold up only who comes after them.
        self._later: set[Work] = set()

    def note_known(self, twin: Work, work: Work) -> None:
        """A work unit is pending that the cue knows.

        Args:
            twin: Its stand-in.
            work: The work unit.
        """
        attempts = work._attempts
        if work._phase == NOT_DUE and attempts is not None:
            self._of[twin] = begins_at(work) + self._wall - self._now
            if attempts.again.is_delayed:
                self._later.add(twin)

    def note(self, work: Work, overrides: Overrides) -> bool:
        """A submission says when it is for. Returns whether that is later."""
        appointment = appointment_of(overrides, self._now, self._wall)
        if appointment is None:
            return False
        self._of[work] = appointment.at if appointment.by_wall else appointment.at + self._wall - self._now
        self._later.add(work)
        return True

    def lend(self, leader: Work, work: Work) -> None:
        """A work unit joins another one: what that one is for later for counts no more if this one is for earlier."""
        if leader in self._later:
            earlier = self._of.pop(work, None)
            if earlier is None:
                self._of.pop(leader)
                self._later.discard(leader)
            else:
                self._of[leader] = min(self._of[leader], earlier)

    def stands_aside(self, work: Work, planned: Dependencies) -> bool:
        """Whether a work unit is for later and somebody runs who makes the same: it has nothing to do with that."""
        declared = work._declared
        if work not in self._later or declared is None:
            return False
        makers = [planned.producer_of.get(one._key) for one in declared.makes]
        if declared.key is not None:
            makers.append(planned.keyed_by(declared.key, later=False))
        return any(maker is not None and maker._phase == RUNNING for maker in makers)

    def holds_up(self, producer: Work, work: Work, artifact: Any) -> bool:
        """Whether a work unit waits for who makes an input of it: not if that is there, and made anew only later."""
        return producer not in self._later or producer._seq < work._seq or problem_now(artifact) is not None

    def in_order(
        self, runs: list[PlannedWork], makers_of: Callable[[Work], Iterable[Work]]
    ) -> list[PlannedWork]:
        """What would run, in the order in which it may start, and with the instant before which it does not.

        Args:
            runs: What makes something before what needs it.
            makers_of: Who makes what a work unit needs and waits for.
        """
        if not self._of:
            return runs
        known: dict[Work, float] = {}
        found = []
        for planned in runs:
            work = planned._work
            instants = [self._of.get(work, 0.0), *(known.get(maker, 0.0) for maker in makers_of(work))]
            if latest := max(instants):
                known[work] = latest
                planned = replace(planned, not_before=latest, _wall=self._wall)
            found.append(planned)
        return sorted(found, key=lambda planned: planned.not_before or 0.0)
