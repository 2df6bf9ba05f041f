"""The priority that those who have joined a work unit lend it, for as long as they stay.

Lives here: finding that priority, and giving the work unit the place that it has by it. One that does not stand in line
by its priority yet gets that place when it comes to stand there.

Must not know: who says how urgent a work unit is by itself.
"""

from __future__ import annotations

from runcue._model.declaration import Followers
from runcue._model.phases import READY
from runcue._model.work import Work
from runcue._scheduling.core import Core
from runcue._scheduling.priority_queue import order_key

__all__ = ["lend", "lend_all", "take_along"]


def lend_all(core: Core, leader: Work, followers: Followers) -> None:
    """A work unit has come to stand in line by its own priority: those who have joined it lend it theirs."""
    followers.own_key = leader._order_key
    _move(leader, min((_lent(core, leader, one) for one in followers), default=leader._order_key))


def lend(core: Core, leader: Work, follower: Work) -> None:
    """A work unit has joined another one."""
    if leader._phase == READY and leader._declared is not None:
        followers = leader._declared.followers
        if followers is not None and followers.own_key is None:
            followers.own_key = leader._order_key
        _move(leader, _lent(core, leader, follower))


def take_along(core: Core, leader: Work, follower: Work) -> None:
    """A work unit that had joined another one has left it."""
    followers: Followers | None = leader._declared.followers if leader._declared is not None else None
    if followers is None or leader._phase != READY or followers.own_key in (None, leader._order_key):
        return
    if _lent(core, leader, follower) > leader._order_key:
        return  # it was another one that has lent it its place
    key = followers.own_key
    for other in followers:
        key = min(key, _lent(core, leader, other))
        if key == leader._order_key:
            return
    leader._order_key = key
    leader._task.run_queue.move(leader)


def _move(leader: Work, key: float) -> None:
    if key < leader._order_key:
        leader._order_key = key
        leader._task.run_queue.move(leader)


def _lent(core: Core, leader: Work, follower: Work) -> float:
    """The key that a work unit would have by the priority of one that has joined it.

    As far as that is said by a number: who has joined is not asked.
    """
    said = None if follower._overrides is None else follower._overrides.priority
    if said is None:
        usual = follower._task.priority
        said = core.usual_priority if usual is None else usual if isinstance(usual, float) else 0.0
    return order_key(leader._submitted_at, said, core.head_start)
