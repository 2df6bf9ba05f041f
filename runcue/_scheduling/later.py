"""Work units that are submitted for later: until their instant comes they stand in no line, and make nothing.

When it has come they are what others are that are submitted at that instant: their age and their place in the order
count from then. Who has joined such a work unit and wants it earlier lends it its instant, and takes that along when it
leaves.

Lives here: what becomes of them in the core. The instants themselves are in `appointments`.

Must not know: clocks, timers, what users call a thing.
"""

from __future__ import annotations

from runcue._model.attempts import Again, Attempts
from runcue._model.phases import CHECKING, HELD, JOINED, NEW, NOT_DUE, NOT_READY, READY
from runcue._model.work import Work
from runcue._scheduling.appointments import Appointment, wanted_at_once
from runcue._scheduling.coalescing import follow
from runcue._scheduling.core import Core

__all__ = ["add_later", "call_in", "expect_anew", "join", "keep", "recall"]


def add_later(core: Core, work: Work, appointment: Appointment, now: float, wall: float) -> None:
    """Take a new work unit in that may not begin before an instant; see `Core.add`.

    Args:
        core: The state.
        work: New, with its declaration if it has one.
        appointment: Ahead.
        now: Monotonic.
        wall: Seconds since the epoch.
    """
    work._task.unsettled += 1
    core.submitted = work._seq = core.submitted + 1
    work._submitted_at = work._order_key = work._phase_since = now
    core.history.works[work.id] = work
    core.count[NEW] += 1
    core.move(work, NOT_DUE)
    _wait_for(core, work, appointment, now, wall)
    declared = work._declared
    if declared is not None:
        core.proving += bool(declared.outputs)
        if declared.lane is not None:
            core.lanes.enter(work, declared)
        if declared.fault is None:  # else nobody knows what it would make
            core.dependencies.appoint(work, declared)


def _wait_for(core: Core, work: Work, appointment: Appointment, now: float, wall: float) -> None:
    core.appointments.set(work, appointment)
    work._attempts = Attempts(_until(appointment.expected(now, wall)))


def _until(instant: float) -> Again:
    return Again(instant, counts=False, reason="delayed")


def join(
    core: Core, work: Work, leader: Work, appointment: Appointment | None, now: float, wall: float
) -> None:
    """Take in a new work unit that wants what another is about to make, at once or later.

    Args:
        core: The state.
        work: New, with a declaration.
        leader: Pending or running, with a declaration.
        appointment: Ahead; None if there is none.
        now: Monotonic.
        wall: Seconds since the epoch.
    """
    if appointment is None:
        call_in(core, leader, now)
        follow(work, leader)
        core.add(work, now)
        return
    follow(work, leader)
    assert work._declared is not None
    assert work._declared.joined is not None
    work._declared.joined.ahead += 1
    _wait_for(core, work, appointment, now, wall)  # of its own, or its age would be that of the other one
    core.add(work, now)


def call_in(core: Core, work: Work, now: float) -> None:
    """Let a work unit that waits for its instant stand in line from now on, unasked; another one does so already."""
    if not core.waits_for_appointment(work):
        return
    core.move(work, NEW)
    if work in core.appointments.aside:
        core.appointments.clear(work)
    _count_from(core, work, now)
    declared = work._declared
    if declared is not None and declared.fault is None:
        core.dependencies.come(work, declared)
        core.generation += 1  # whoever was approved before may have to wait for it
    if declared is None or not core.hold_if_being_made(work, declared, now):
        work._task.run_queue.take_back(work)


def _count_from(core: Core, work: Work, now: float) -> None:
    """The instant of a work unit has come: it counts as submitted now."""
    if len(core.appointments.works) + 1 >= core.unsettled:
        core.progressed_at = now  # a cue that had nothing to do was not stalled
    work._submitted_at = core.instant_of(now)
    work._order_key, work._phase_since = core.counts_from(work), now
    if work._attempts is not None and work._attempts.again.is_delayed:
        work._attempts.again = _until(now)
    core.age(work)


def keep(core: Core, now: float, wall: float, most: int) -> int:
    """Let work units whose instant has come stand in line.

    Args:
        core: The state.
        now: Monotonic.
        wall: Seconds since the epoch.
        most: So many at the most.

    Returns:
        How many.
    """
    kept = 0
    while kept < most and (work := core.appointments.pop_due(now, wall)) is not None:
        kept += 1
        joined = work._declared.joined if work._declared is not None else None
        if joined is not None:
            joined.ahead -= 1
            _count_from(core, work, now)
            work = joined.leader
        call_in(core, work, now)
    return kept


def expect_anew(core: Core, now: float, wall: float) -> None:
    """The wall clock was set: note when the instants that are dates will come by now."""
    for work in core.appointments.works:
        again = None if work._attempts is None else work._attempts.again
        if again is not None and again.is_delayed and work._phase in (NOT_DUE, JOINED):
            work._attempts.again = _until(core.appointments.when(work, now, wall))  # type: ignore[union-attr]


def recall(core: Core, now: float, wall: float) -> None:
    """Let those wait for their instants again whom others have wanted earlier that have left since.

    Args:
        core: The state; nobody is in hand.
        now: Monotonic.
        wall: Seconds since the epoch.
    """
    recalls, core.appointments.recalls = core.appointments.recalls, {}
    for work in recalls:
        if work not in core.appointments.works or wanted_at_once(work) or not _is_in_first_line(work):
            continue
        if work._phase == CHECKING:  # in nobody's hands until its gate has answered
            core.appointments.recalls[work] = None
        else:
            _send_back(core, work, now, wall)


def _is_in_first_line(work: Work) -> bool:
    """Whether a work unit waits for its first attempt, and for something else than its instant."""
    again = None if work._attempts is None else work._attempts.again
    return work._phase in (NEW, READY, NOT_READY, CHECKING, HELD) and (again is None or again.is_delayed)


def _send_back(core: Core, work: Work, now: float, wall: float) -> None:
    declared = work._declared
    if core.came_back is not None:
        core.came_back.append(work)
    if work._phase in (NEW, READY):
        work._task.run_queue.take_out(work)
    elif work._awaited is not None:
        core.unsubscribe(work)
    elif work._phase == NOT_READY:
        work._task.run_queue.leave_waiting(work, comes_back=True)
    core.move(work, NOT_DUE)
    work._phase_since = now
    work._not_ready_reason = None
    expected = core.appointments.when(work, now, wall)
    if work._attempts is None:
        work._attempts = Attempts(_until(expected))
    else:
        work._attempts.again = _until(expected)
    if declared is not None and declared.fault is None and work not in core.dependencies.later:
        core.wakeups.end(work, declared)
        core.dependencies.appoint(work, declared)
