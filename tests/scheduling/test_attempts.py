"""The end of an attempt on the core alone: "again at this instant" puts a work back, and it comes back."""

from __future__ import annotations

from math import inf

import pytest

from runcue._limits.service import Service
from runcue._limits.sliding_window import SlidingWindow
from runcue._model.attempts import Again
from runcue._model.declaration import Declaration
from runcue._model.errors import InvalidTransition
from runcue._model.phases import (
    CANCELLED,
    FAILED,
    HELD,
    JOINED,
    NEW,
    NOT_DUE,
    PHASES,
    RUNNING,
    SETTLED,
    SKIPPED,
    WorkState,
)
from runcue._model.rate import parse_rate
from runcue._model.work import Work
from runcue._scheduling.attempts import FailedAttempt, Settle
from runcue._scheduling.coalescing import follow
from runcue._scheduling.core import Core
from runcue._scheduling.numbers import totals
from runcue._scheduling.returning import put_back, take_back
from runcue._scheduling.succession import successor_of
from tests.support.cores import CoreWorld, by_phase, in_phase
from tests.support.things import Thing


def test_unless_somebody_else_decides_a_failed_attempt_was_the_last() -> None:
    _, work = in_phase(RUNNING)
    error = ValueError("on purpose")
    assert Core(keep=0, max_threads=1).decide(FailedAttempt(work, error, 1.0, 0.5)) == Settle(FAILED, error)


def test_who_decides_is_given_to_the_core_and_told_what_has_ended() -> None:
    told = []

    def decide(ended: FailedAttempt) -> Settle | Again:
        told.append((ended.work.attempt, str(ended.error), ended.now, ended.duration))
        return Again(ended.now + 5.0) if ended.work.attempt < 3 else Settle(FAILED, ended.error)

    world = CoreWorld(decide=decide)
    work = world.add(world.task())
    now = 0.0
    while work._phase != SETTLED:
        world.start(work, now)
        world.end(work)
        decision = world.core.decide(FailedAttempt(work, ValueError(f"at {now:g}"), now + 1.0, 1.0))
        if isinstance(decision, Again):
            put_back(world.core, work, decision, now + 1.0)
            now = world.core.returning.next()
            take_back(world.core, now)
        else:
            world.core.settle(work, decision.outcome, decision.value, now, now)
    assert told == [(1, "at 0", 1.0, 1.0), (2, "at 6", 7.0, 1.0), (3, "at 12", 13.0, 1.0)]
    assert (work.state, str(work.exception)) == (WorkState.FAILED, "at 12")
    assert totals(world.core)["failed"] == world.core.settlements == 1, "three attempts, one outcome"


def test_a_work_that_is_put_back_is_pending_holds_nothing_and_is_counted_once() -> None:
    window = SlidingWindow(parse_rate("5/min"))
    world = CoreWorld(Service("api", (window,), concurrent=1))
    task = world.task("task", "api")
    work = world.add(task)
    world.start(work)
    task.run_queue.entered(0.0, work, 0.0)

    world.put_back(work, at=30.0)

    slots = world.core.services["api"].active
    assert (slots, window.reserved, len(window.recent_starts)) == (0, 0, 1)
    assert work.state is WorkState.PENDING
    assert {PHASES[phase]: count for phase, count in enumerate(by_phase(world.core)) if count} == {
        "not_due": 1
    }
    assert (world.core.pending(), world.core.unsettled, world.core.settlements) == (1, 1, 0)
    assert list(world.core.pending_works()) == [work]
    assert task.run_queue.backlog() == 0
    assert world.select(task.run_queue, 10.0) is None, "there is room, and nobody may start"
    other = world.add(task)
    assert world.select(task.run_queue, 10.0) is other, "its slot is free for others meanwhile"


@pytest.mark.parametrize("counts", [True, False])
def test_an_attempt_counts_unless_the_decision_says_that_it_was_none(counts: bool) -> None:
    world = CoreWorld()
    work = world.add(world.task())
    for _ in range(3):
        world.start(work)
        world.put_back(work, at=1.0, counts=counts)
        take_back(world.core, 1.0)
    assert work.attempt == (4 if counts else 1)


def test_it_comes_back_new_when_its_instant_has_come_and_not_before() -> None:
    world = CoreWorld()
    work = world.add(world.task())
    world.start(work)
    assert world.core.returning.next() == inf
    world.put_back(work, at=30.0)
    assert world.core.returning.next() == 30.0
    take_back(world.core, 29.999)
    assert work._phase == NOT_DUE
    take_back(world.core, 30.0)
    assert work._phase == NEW, "nobody has asked about its next attempt"
    assert world.core.returning.next() == inf
    assert world.select(work._task.run_queue, 30.0) is work


def test_instants_come_in_their_order_whoever_was_put_back_first() -> None:
    world = CoreWorld()
    works = [world.add(world.task()) for _ in range(5)]
    for work, at in zip(works, (50.0, 10.0, 30.0, 20.0, 40.0), strict=True):
        world.start(work)
        world.put_back(work, at)
    back = []
    while (instant := world.core.returning.next()) != inf:
        take_back(world.core, instant)
        back.append((instant, world.select(works[0]._task.run_queue)))
    assert back == [(10.0, works[1]), (20.0, works[3]), (30.0, works[2]), (40.0, works[4]), (50.0, works[0])]


@pytest.mark.parametrize("at", [inf, float("nan")])
def test_an_instant_that_never_comes_is_refused_and_changes_nothing(at: float) -> None:
    world, work = in_phase(RUNNING)
    with pytest.raises(AssertionError, match="never come back"):
        put_back(world.core, work, Again(at), 0.0)
    assert work._phase == RUNNING


@pytest.mark.rule(6)
def test_it_has_the_place_in_the_order_that_it_had() -> None:
    world = CoreWorld(Service("api", concurrent=1))
    task = world.task("task", "api")
    works = [world.add(task, now=float(number)) for number in range(6)]
    for number in (3, 1, 4):
        world.start(works[number], 10.0)
        world.put_back(works[number], at=20.0, now=10.0)
    late = world.add(task, now=15.0)
    take_back(world.core, 20.0)
    taken = [world.select(task.run_queue, 20.0) for _ in range(8)]
    assert taken == [*works, late, None], "by submission, as if it had never been started"


@pytest.mark.rule(6)
def test_a_priority_that_was_asked_for_keeps_its_worth() -> None:
    world = CoreWorld()
    task = world.task()
    urgent, first = world.add(task), world.add(task)
    world.take(urgent)
    world.core.enqueue(urgent, -30.0, 0.0)
    assert world.select(task.run_queue) is urgent
    world.core.start(urgent, 0.0, 0.0)
    world.put_back(urgent, at=5.0)
    take_back(world.core, 5.0)
    assert [world.select(task.run_queue) for _ in range(2)] == [urgent, first]


def test_whatever_the_gate_said_was_about_the_attempt_that_has_ended() -> None:
    world = CoreWorld()
    work = world.add(world.task())
    work._approved_in = world.core.generation
    world.start(work)
    work._not_ready_reason = "what it said before its first attempt"
    world.put_back(work, at=0.0)
    take_back(world.core, 0.0)
    assert work._approved_in != world.core.generation
    assert work._not_ready_reason is None


@pytest.mark.parametrize("outcome", [CANCELLED, FAILED, SKIPPED])
def test_it_can_be_withdrawn_before_its_instant_and_never_comes_back_then(outcome: int) -> None:
    world = CoreWorld()
    work = world.add(world.task())
    world.start(work)
    world.put_back(work, at=30.0)
    world.core.withdraw(work)
    world.core.settle(work, outcome, None, 1.0, 1.0)
    assert world.core.returning.next() == inf
    take_back(world.core, 100.0)
    assert work._phase == SETTLED
    assert world.core.unsettled == world.core.pending() == 0


def test_only_what_runs_can_be_put_back() -> None:
    for phase in range(len(PHASES)):
        if phase in (RUNNING, JOINED):  # who has joined gets there too, as a successor
            continue
        world, work = in_phase(phase)
        with pytest.raises(InvalidTransition):
            put_back(world.core, work, Again(1.0), 0.0)
        assert (work.attempt, work._attempts) == (1, None)


def test_the_end_of_an_attempt_is_progress() -> None:
    world = CoreWorld(stall_timeout=10.0)
    work = world.add(world.task())
    world.start(work, 1.0)
    world.put_back(work, at=100.0, now=50.0)
    assert world.core.stall.next_timeout(world.core.progressed_at, world.core.pending()) == 60.0


def declared(world: CoreWorld, *, needs: tuple[Thing, ...] = (), makes: tuple[Thing, ...] = ()) -> Work:
    work = world.new_work(world.task("declared"))
    work._declared = Declaration(needs, makes)
    return work


def test_it_is_still_the_producer_of_what_it_makes_and_its_readers_wait_for_it() -> None:
    world, out = CoreWorld(), Thing("out")
    producer, reader = declared(world, makes=(out,)), declared(world, needs=(out,))
    world.core.add(producer, 0.0)
    world.start(producer)
    world.put_back(producer, at=30.0)
    world.core.add(reader, 1.0)
    assert reader._phase == HELD
    take_back(world.core, 30.0)
    assert reader._phase == HELD
    assert world.core.wakeups.next() is None, "nothing has happened to what it makes"
    world.settle(producer)
    assert world.core.wakeups.next() is reader


def test_it_is_held_at_its_instant_if_one_of_its_inputs_is_being_made_by_then() -> None:
    world, needed = CoreWorld(), Thing("needed")
    work, producer = declared(world, needs=(needed,)), declared(world, makes=(needed,))
    world.core.add(work, 0.0)
    world.start(work)
    world.put_back(work, at=30.0)
    world.core.add(producer, 1.0)
    take_back(world.core, 30.0)
    assert work._phase == HELD
    world.settle(producer)
    assert world.core.wakeups.next() is work


def test_what_an_attempt_had_committed_is_open_again() -> None:
    world = CoreWorld()
    work = declared(world, makes=(Thing("out"),))
    world.core.add(work, 0.0)
    world.start(work)
    assert work._declared is not None
    work._declared.committed = True  # published, but then it failed for want of another output
    world.put_back(work, at=1.0)
    assert not work._declared.committed


def joined(world: CoreWorld, leader: Work, now: float = 0.0) -> Work:
    follower = declared(world, makes=(Thing("out"),))
    follow(follower, leader)
    world.core.add(follower, now)
    return follower


@pytest.mark.rule(28)
def test_those_who_have_joined_it_are_pending_with_it_and_settle_with_it() -> None:
    world = CoreWorld()
    leader = declared(world, makes=(Thing("out"),))
    world.core.add(leader, 0.0)
    follower = joined(world, leader)
    world.start(leader)
    assert follower.state is WorkState.RUNNING
    world.put_back(leader, at=30.0)
    assert follower.state is WorkState.PENDING
    assert list(world.core.pending_works()) == [leader, follower]


@pytest.mark.rule(28)
def test_a_successor_takes_over_the_attempts_and_the_instant() -> None:
    world, out = CoreWorld(), Thing("out")
    leader = declared(world, makes=(out,))
    world.core.add(leader, 0.0)
    follower = joined(world, leader)
    other = joined(world, leader)
    world.start(leader)
    world.put_back(leader, at=30.0)

    assert successor_of(world.core, leader) is follower
    world.cancel(leader)

    assert (follower._phase, follower.attempt) == (NOT_DUE, 2)
    assert world.core.returning.next() == 30.0
    assert other._declared is not None
    assert other._declared.leader is follower
    take_back(world.core, 30.0)
    assert world.select(follower._task.run_queue, 30.0) is follower
    assert world.core.returning.next() == inf


@pytest.mark.rule(20)
def test_a_pending_time_out_counts_anew_from_the_instant_of_the_next_attempt() -> None:
    world = CoreWorld(pending_timeout=10.0)
    timeouts = world.core.timeouts
    assert timeouts is not None
    work, other = world.add(world.task(), now=0.0), world.add(world.task(), now=5.0)
    world.start(work, 8.0)
    world.put_back(work, at=100.0, now=9.0)
    assert timeouts.next() == 15.0, "of the other"
    assert timeouts.pop(15.0) is other
    world.cancel(other)
    assert timeouts.pop(109.0) is None, "it was not pending for its own fault"
    take_back(world.core, 100.0)
    assert timeouts.pop(109.9) is None
    assert timeouts.next() == 110.0
    assert timeouts.pop(110.0) is work


@pytest.mark.rule(20)
def test_it_is_warned_about_once_more_after_each_attempt_and_not_twice_for_one() -> None:
    world = CoreWorld(pending_warn_after=5.0)
    warnings = world.core.warnings
    assert warnings is not None
    work, told, now = world.add(world.task(), now=0.0), [], 0.0
    for _ in range(3):
        for _ in range(20):
            now += 1.0
            take_back(world.core, now)
            while (due := warnings.pop(now)) is not None:
                assert due is work
                told.append(now)
        world.start(work, now)
        world.put_back(work, at=now + 3.0, now=now)
    assert told == [5.0, 28.0, 48.0]


@pytest.mark.rule(20)
def test_one_that_started_and_was_put_back_at_the_instant_of_its_submission_is_warned_about_once() -> None:
    world = CoreWorld(pending_warn_after=5.0)
    warnings = world.core.warnings
    assert warnings is not None
    work = world.add(world.task())
    world.start(work)
    world.put_back(work, at=0.0)
    take_back(world.core, 0.0)
    assert [warnings.pop(10.0), warnings.pop(10.0)] == [work, None]


@pytest.mark.rule(20, 28)
def test_who_joins_one_that_waits_for_its_next_attempt_is_as_old_as_that() -> None:
    world = CoreWorld(pending_timeout=10.0)
    timeouts = world.core.timeouts
    assert timeouts is not None
    leader = declared(world, makes=(Thing("out"),))
    world.core.add(leader, 0.0)
    early = joined(world, leader, 1.0)
    world.start(leader, 2.0)
    assert timeouts.next() == inf, "it has joined one that runs"
    world.put_back(leader, at=100.0, now=3.0)
    meanwhile, late = joined(world, leader, 50.0), joined(world, leader, 105.0)
    take_back(world.core, 100.0)
    assert timeouts.pop(109.0) is None
    due = []
    while (work := timeouts.pop(114.0)) is not None:
        due.append(work)
    assert due == [leader, early, meanwhile]
    assert timeouts.pop(115.0) is late


def test_ages_are_not_kept_of_work_units_that_were_put_back_and_have_settled() -> None:
    world = CoreWorld(pending_timeout=10.0, keep=0)
    timeouts = world.core.timeouts
    assert timeouts is not None
    task = world.task()
    for _ in range(2000):
        work = world.add(task)
        world.start(work)
        world.put_back(work, at=1.0)
        world.cancel(work)
    assert len(timeouts) <= 64 + 2
    assert len(world.core.returning) == 0
    assert len(world.core.returning._heap) <= 64
