"""Lanes: work units that run one at a time, in the order of their submission, whatever their tasks are.

The first of a lane goes where any work unit goes. All behind it wait for it, are asked nothing and stand in no line;
when it has ended, and its handler has returned, the next one is woken, and it alone. So what a lane costs does not
depend on how many wait in it, and an empty one is forgotten.

Lives here: `Lanes`, those of one cue, and `Lane`: who is in it, who comes next, and how urgent all of it is.

Must not know: what phases mean, what is told of lanes, who says in which lane a work unit is.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from heapq import heappop, heappush
from typing import Any

from runcue._model.declaration import Declaration, InLane, is_common
from runcue._model.identity import Identity
from runcue._model.phases import HELD, SETTLED
from runcue._model.texts import words_of
from runcue._model.work import Work
from runcue._scheduling.holds import LANE, Hold

__all__ = ["Lane", "Lanes", "is_behind_in_lane"]


def is_behind_in_lane(work: Work) -> bool:
    """Whether a work unit waits for whoever comes first in its lane."""
    hold = None if work._declared is None or work._phase != HELD else work._declared.hold
    return type(hold) is Hold and hold.relation is LANE


class Lane:
    """One lane.

    Attributes:
        key: What it is known by.
        head: The work unit that may go on, or has it until its handler has returned; None: it is empty.
        behind: Those that come after that one, by their tickets, in order; None as long as there never were any.
        hold: Whom they wait for: one object for all of them; None before the first.
        awaited: The same, as the artifacts are that others wait for.
        priorities: How urgent its work units are and those that have joined them, as (less than 0, number, work unit),
            the most urgent first. Whoever has left is passed over. None where there are no priorities.
        places: The place of each, as long as somebody asks for them and nobody leaves.
        declared: What all in it declare that declare nothing else; None before the first, and when it is empty.
        own_key: By what the head has its place in line without what the others lend it; None as long as that is the
            same.
    """

    __slots__ = ("awaited", "behind", "declared", "head", "hold", "key", "own_key", "places", "priorities")

    def __init__(self, key: Hashable) -> None:
        self.key = key
        self.head: Any = None
        self.behind: OrderedDict[int, Work] | None = None
        self.hold: Hold | None = None
        self.awaited: tuple[Hold, ...] | None = None
        self.priorities: list[tuple[float, int, Work]] | None = None
        self.own_key: float | None = None
        self.places: dict[Work, int] | None = None
        self.declared: InLane | None = None

    def common_hold(self) -> Hold:
        """Whom all behind the head wait for."""
        if self.hold is None:
            self.hold = Hold(self.head, None, self, LANE)
            self.awaited = (self.hold,)
        return self.hold

    def place_of(self, work: Work) -> int:
        """The place of a work unit in its lane: 1 for the head, 0 if it is not in there."""
        if self.places is None or work not in self.places:
            self.places = {one: place for place, one in enumerate(self.works(), 1)}
        return self.places.get(work, 0)

    def works(self) -> list[Work]:
        """All that are in it, in order."""
        return [] if self.head is None else [self.head, *(self.behind or {}).values()]

    def lend(self, priority: float, work: Work) -> None:
        """Note how urgent a work unit of it is, or one that has joined one of it."""
        if self.priorities is None:
            self.priorities = []
        heappush(self.priorities, (-priority, work._seq, work))

    def highest(self) -> float | None:
        """How urgent the most urgent of those that are in it is; None if nothing is known of that."""
        priorities = self.priorities
        while priorities:
            lent, _, work = priorities[0]
            if work._phase != SETTLED and self.holds(work):
                return -lent
            heappop(priorities)
        return None

    def holds(self, work: Work) -> bool:
        """Whether a work unit is in it, or has joined one that is."""
        declared = work._declared
        if declared is not None and declared.joined is not None:
            if work not in declared.joined:
                return False
            work = declared.leader
            declared = work._declared
        if work is self.head:
            return True
        return (
            self.behind is not None
            and declared is not None
            and self.behind.get(declared.ticket or work._seq) is work
        )

    def __repr__(self) -> str:
        key = self.key
        return words_of(key.value if type(key) is Identity else key)


class Lanes(dict[Hashable, Lane]):
    """The lanes of one cue in which there is somebody, by what they are known by."""

    def assign(self, work: Work, key: Hashable) -> None:
        """Note in which lane a new work unit is; a new one is not known before somebody is in it."""
        lane = self.get(key)
        if lane is None:
            lane = Lane(key)
        declared = lane.declared
        if declared is None:
            declared = lane.declared = InLane(lane)
        work._declared = declared

    def enter(self, work: Work, declared: Declaration) -> bool:
        """A new work unit takes the last place of its lane. Returns whether that is the first."""
        lane: Lane = declared.lane
        if lane.head is None:
            if (there := self.setdefault(lane.key, lane)) is lane:
                lane.head = work
                return True
            # While it was found out what this one declares, a function of the user's has let others into a lane of that
            # key, which nobody knew of before.
            lane = there
            if is_common(declared):
                work._declared = lane.declared = lane.declared or InLane(lane)
            else:
                declared.lane = lane
        if lane.behind is None:
            lane.behind = OrderedDict()
        lane.behind[work._seq] = work
        return False

    def leave(self, work: Work, declared: Declaration) -> Work | None:
        """A work unit has ended, and its handler has returned. Returns the head that there is now in its place."""
        lane: Lane = declared.lane
        lane.places = None
        if lane.head is not work:
            if lane.holds(work):
                del lane.behind[declared.ticket or work._seq]  # type: ignore[union-attr]
            return None
        lane.own_key = None
        if lane.behind:
            head = lane.head = lane.behind.popitem(last=False)[1]
            if lane.hold is not None:
                lane.hold.maker = head
            return head
        lane.head = lane.declared = None
        del self[lane.key]
        return None

    def replace(self, leader: Work, successor: Work) -> None:
        """One that others have joined is about to be withdrawn, and the first of them has its place in its lane."""
        left, own = leader._declared, successor._declared
        if left is None or own is None or left.lane is None:
            return
        lane: Lane = left.lane
        lane.places = None
        own.lane, own.ticket, left.lane = lane, left.ticket or leader._seq, None
        if lane.head is leader:
            lane.head = successor
            if lane.hold is not None:
                lane.hold.maker = successor
        elif lane.behind is not None:
            lane.behind[own.ticket] = successor
