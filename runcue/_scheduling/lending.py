"""The priority that a work unit is lent: by those who have joined it, and in a lane by all behind it, while they stay.

Lives here: finding that priority, and giving the work unit the place that it has by it. One that does not stand in line
by its priority yet gets that place when it comes to stand there.

Must not know: who says how urgent a work unit is by itself.
"""

from __future__ import annotations

from runcue._model.declaration import Followers
from runcue._model.phases import READY
from runcue._model.work import Work
from runcue._scheduling.core import Core
from runcue._scheduling.lanes import Lane
from runcue._scheduling.priority_queue import order_key

__all__ = ["lend", "lend_all", "lend_in_lane", "take_along", "take_out_of_lane"]


def lend_all(core: Core, leader: Work) -> None:
    """A work unit that declares something has come to stand in line by its own priority: what it is lent counts."""
    declared = leader._declared
    assert declared is not None
    if declared.followers is None and declared.lane is None:
        return
    own = leader._order_key
    if declared.followers is not None:
        declared.followers.own_key = own
    if declared.lane is not None:
        declared.lane.own_key = own
    _move(leader, _best(core, leader, own))


def lend(core: Core, leader: Work, follower: Work) -> None:
    """A work unit has joined another one."""
    declared = leader._declared
    if declared is None:
        return
    if declared.lane is not None:
        lend_in_lane(core, follower, declared.lane)
    if leader._phase == READY:
        followers = declared.followers
        if followers is not None and followers.own_key is None:
            own = None if declared.lane is None else declared.lane.own_key
            followers.own_key = leader._order_key if own is None else own
        _move(leader, _lent(core, leader, _said(core, follower)))


def lend_in_lane(core: Core, work: Work, lane: Lane) -> None:
    """A work unit has come into a lane, or has joined one that is in it: all of it is as urgent as that one."""
    said = _said(core, work)
    lane.lend(said, work)
    head: Work | None = lane.head
    if head is not None and head._phase == READY:
        if lane.own_key is None:
            lane.own_key = head._order_key
        _move(head, _lent(core, head, said))


def take_along(core: Core, leader: Work, follower: Work) -> None:
    """A work unit that had joined another one has left it."""
    declared = leader._declared
    if declared is None:
        return
    if declared.lane is not None:
        take_out_of_lane(core, declared.lane)
    followers: Followers | None = declared.followers
    if followers is None or leader._phase != READY or followers.own_key in (None, leader._order_key):
        return
    if _lent(core, leader, _said(core, follower)) > leader._order_key:
        return  # it was another one that has lent it its place
    _move_back(leader, _best(core, leader, followers.own_key))


def take_out_of_lane(core: Core, lane: Lane) -> None:
    """A work unit has left a lane, and takes along what it has lent the others."""
    head: Work | None = lane.head
    if head is not None and head._phase == READY and lane.own_key not in (None, head._order_key):
        _move_back(head, _best(core, head, lane.own_key))


def _move(leader: Work, key: float) -> None:
    if key < leader._order_key:
        _move_back(leader, key)


def _move_back(leader: Work, key: float) -> None:
    if key != leader._order_key:
        leader._order_key = key
        leader._task.run_queue.move(leader)


def _best(core: Core, leader: Work, own: float) -> float:
    """The key that a work unit has by its own priority and all that it is lent.

    Args:
        core: The state.
        leader: It declares something.
        own: The key that it has by its own.
    """
    declared = leader._declared
    assert declared is not None
    key = min((_lent(core, leader, _said(core, one)) for one in declared.followers or ()), default=own)
    lane: Lane | None = declared.lane
    highest = lane.highest() if lane is not None and lane.head is leader else None
    return min(own, key, own if highest is None else _lent(core, leader, highest))


def _lent(core: Core, leader: Work, priority: float) -> float:
    """The key that a work unit would have by a priority that it is lent."""
    return order_key(core.counts_from(leader), priority, core.head_start)


def _said(core: Core, work: Work) -> float:
    """The priority that a work unit lends others, as far as that is said by a number: it is not asked."""
    said = None if work._overrides is None else work._overrides.priority
    if said is None:
        usual = work._task.priority
        said = core.usual_priority if usual is None else usual if isinstance(usual, float) else 0.0
    return said
