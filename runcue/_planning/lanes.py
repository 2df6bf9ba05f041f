"""The lanes of a plan: who comes after whom, and is not started before that one has ended.

Lives here: `PlannedLanes`, by stand-ins, each of which is alone in a lane of its own that bears the same key: so
nothing that is asked of it takes it for one that waits.

Must not know: what becomes of a work unit, how a plan prints.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator

from runcue._model.work import Work
from runcue._scheduling.lanes import Lane

__all__ = ["LaneLink", "PlannedLanes"]


class LaneLink:
    """Stands where an artifact does, for over what a work unit waits."""

    __slots__ = ("lane",)

    def __init__(self, lane: Lane) -> None:
        self.lane = lane

    def __repr__(self) -> str:
        return f"lane {self.lane!r}"


class PlannedLanes:
    """The lanes of one plan."""

    def __init__(self) -> None:
        self._last: dict[Hashable, Work] = {}
        self._ahead: dict[Work, Work] = {}

    def stand_alone(self, work: Work) -> None:
        """Let a stand-in, of which it is known in which lane it is, be alone in it."""
        declared = work._declared
        if declared is not None and declared.lane is not None:
            own = Lane(declared.lane.key)
            own.head = work
            declared.lane = own

    def add(self, work: Work) -> None:
        """A stand-in takes the last place of its lane; one that joins another one has none."""
        declared = work._declared
        if declared is not None and declared.lane is not None:
            if (ahead := self._last.get(declared.lane.key)) is not None:
                self._ahead[work] = ahead
            self._last[declared.lane.key] = work

    def ahead_of(self, work: Work) -> Work | None:
        """Who comes just before a stand-in in its lane, None if nobody does."""
        return self._ahead.get(work)

    def links(self) -> Iterator[tuple[Work, Work]]:
        """Each that comes after another one, and that one."""
        yield from self._ahead.items()

    @staticmethod
    def link_of(work: Work) -> LaneLink:
        """Over what a stand-in waits for the one before it."""
        assert work._declared is not None
        return LaneLink(work._declared.lane)
