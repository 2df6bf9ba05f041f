"""One run for all who want the same: who follows whom, and who takes over from one that is cancelled.

Lives here: what joining, parting and succession do to what work units declare of each other. A follower is never asked
and never started; it settles with its leader. Of a leader that is withdrawn the first follower is the successor: it
takes over the other followers, the artifacts it is known to make, the attempts it has behind it and, if there is one,
the handler that runs.

Must not know: phases and queues (the core moves), when somebody joins.
"""

from __future__ import annotations

from runcue._model.attempts import Again, Attempts
from runcue._model.declaration import Followers
from runcue._model.work import Work
from runcue._scheduling.dependencies import Dependencies
from runcue._scheduling.producers import Producers

__all__ = ["all_that_come_again", "follow", "part", "succeed", "take_over_handler"]


def follow(work: Work, leader: Work) -> None:
    """Let a new work unit want what another is about to make; both have a declaration."""
    own, theirs = work._declared, leader._declared
    assert own is not None
    assert theirs is not None
    if theirs.followers is None:
        theirs.followers = Followers(leader)
    own.joined = theirs.followers
    theirs.followers[work] = None
    theirs.forced |= own.forced
    work._attempts, work.attempt = leader._attempts, leader.attempt


def part(work: Work) -> None:
    """Let a follower want it no longer."""
    joined = work._declared.joined if work._declared is not None else None
    if joined is not None:
        joined.pop(work, None)
    if work._attempts is not None:
        work._attempts = work._attempts.parted()


def succeed(leader: Work, producers: Producers) -> Work | None:
    """Make the first follower of a work unit that is about to be withdrawn the leader of the others.

    Args:
        leader: Pending or running.
        producers: Among whom it is known as the producer of what it makes.

    Returns:
        The successor, None if nobody has joined.
    """
    left = leader._declared
    if left is None or not left.followers:
        return None
    followers = left.followers
    successor: Work = followers.popitem(last=False)[0]
    own = successor._declared
    assert own is not None
    left.left, left.followers = followers, None
    own.joined, own.followers = None, followers
    followers.leader, followers.own_key = successor, None
    own.forced = left.forced
    own.key = left.key  # it may have joined by what it makes, without a key
    for artifact in left.makes:
        if producers.producer_of.get(artifact._key) is leader:
            del producers.producer_of[artifact._key]
    producers.enter(successor, own)
    successor.attempt = leader.attempt
    if leader._attempts is not None:
        earlier, theirs = successor._attempts, leader._attempts
        successor._attempts, leader._attempts = theirs, theirs.parted()
        if earlier is not None and earlier.again.is_delayed and theirs.again.is_delayed:
            # It keeps the instant that it has lent, and has that of the other one besides.
            theirs.again = min(theirs.again, earlier.again)
    return successor


def take_over_handler(leader: Work, successor: Work, dependencies: Dependencies) -> None:
    """Let a handler that runs belong to the successor of the work unit it was started for."""
    own, left = successor._declared, leader._declared
    assert own is not None
    assert left is not None
    own.before, own.was, own.stale, own.evidence = left.before, left.was, left.stale, left.evidence
    assert own.followers is not None
    own.followers.run = own.followers.run or leader
    dependencies.note_stop(leader, left)
    dependencies.note_start(successor, own)
    successor.started_at = leader.started_at
    successor._entered_at = leader._entered_at
    successor._runner = leader._runner


def all_that_come_again(work: Work, again: Again) -> list[Work]:
    """A work unit that is put back and all who have joined it: no handler runs for them now.

    They share what became of its attempts.
    """
    if work._attempts is None:
        work._attempts = Attempts(again)
    else:
        work._attempts.again = again
    followers = work._declared.followers if work._declared is not None else None
    if followers is None:
        return [work]
    followers.run = None
    for follower in followers:
        follower._attempts = work._attempts
    return [work, *followers]
