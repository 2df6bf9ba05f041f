"""Who settles with whom: joining, parting, and the successor of one that is withdrawn."""

from __future__ import annotations

import pytest

from runcue._model.declaration import Declaration
from runcue._model.phases import CANCELLED, COMPLETED, JOINED, NEW, RUNNING, SETTLED
from runcue._model.work import Work
from runcue._scheduling.coalescing import follow
from runcue._scheduling.succession import successor_of
from tests.support.cores import CoreWorld
from tests.support.things import Thing

pytestmark = pytest.mark.rule(28)


class Joined(CoreWorld):
    """A leader and three who have joined it."""

    def __init__(self) -> None:
        super().__init__()
        self.out = Thing("out")
        self.leader = self.declared()
        self.core.add(self.leader, 0.0)
        self.followers = [self.declared() for _ in range(3)]
        for follower in self.followers:
            follow(follower, self.leader)
            self.core.add(follower, 0.0)

    def declared(self) -> Work:
        work = self.new_work(self.task())
        work._declared = Declaration((), (self.out,))
        work._declared.key = "key"
        return work

    def leader_of(self, work: Work) -> Work | None:
        assert work._declared is not None
        return work._declared.leader

    def followers_of(self, work: Work) -> list[Work]:
        assert work._declared is not None
        return list(work._declared.followers or ())


def test_who_has_joined_stands_in_no_line_and_is_known_to_its_leader() -> None:
    world = Joined()
    assert [work._phase for work in world.followers] == [JOINED] * 3
    assert world.followers_of(world.leader) == world.followers
    assert world.select(world.leader._task.run_queue) is world.leader
    assert world.select(world.leader._task.run_queue) is None


def test_who_is_forced_has_its_leader_run() -> None:
    world = Joined()
    forced = world.declared()
    assert forced._declared is not None
    assert world.leader._declared is not None
    forced._declared.forced = True
    assert not world.leader._declared.forced
    follow(forced, world.leader)
    world.core.add(forced, 0.0)
    assert world.leader._declared.forced


def test_a_follower_that_is_withdrawn_parts_and_nothing_else_changes() -> None:
    world = Joined()
    world.cancel(world.followers[1])
    assert world.followers_of(world.leader) == [world.followers[0], world.followers[2]]
    assert world.leader._phase == NEW


def test_without_followers_there_is_no_successor() -> None:
    world = CoreWorld()
    assert successor_of(world.core, world.add(world.task())) is None
    joined = Joined()
    for follower in joined.followers:
        joined.cancel(follower)
    assert successor_of(joined.core, joined.leader) is None


def test_the_first_follower_of_a_pending_leader_takes_its_place_in_line_and_leads_the_others() -> None:
    world = Joined()
    later = world.add(world.task())
    first, *others = world.followers

    assert successor_of(world.core, world.leader) is first
    world.cancel(world.leader)

    assert world.leader_of(first) is None
    assert world.followers_of(first) == others
    assert [world.leader_of(other) for other in others] == [first, first]
    assert world.core.dependencies.producer_of == {"out": first}
    assert world.core.dependencies.keyed == {"key": first}
    assert world.select(first._task.run_queue) is first
    assert world.select(later._task.run_queue) is later


def test_the_successor_of_a_running_leader_owns_the_handler_that_runs() -> None:
    world = Joined()
    world.start(world.leader, 7.0)
    world.leader._entered_at, world.leader._runner = 8.0, object()
    first = world.followers[0]

    assert successor_of(world.core, world.leader) is first
    world.core.settle(world.leader, CANCELLED, None, 9.0, 9.0)

    assert (first._phase, world.leader._phase) == (RUNNING, SETTLED)
    assert (first.started_at, first._entered_at) == (7.0, 8.0)
    assert first._runner is world.leader._runner
    assert world.leader._declared is not None
    assert world.leader._declared.successor is first
    assert world.core.dependencies.producer_of == {"out": first}, "what is still being made has a producer"
    world.core.settle(first, COMPLETED, None, 10.0, 10.0)
    assert world.core.dependencies.producer_of == {}
