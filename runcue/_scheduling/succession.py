"""Who takes the place of a work unit that is withdrawn while others have joined it.

Lives here: `successor_of`, which moves it in the core. What succession means among those who have joined is in
`coalescing`.

Must not know: why somebody is withdrawn, what runs.
"""

from __future__ import annotations

from runcue._model.phases import NEW, NOT_DUE, RUNNING
from runcue._model.work import Work
from runcue._scheduling.coalescing import succeed, take_over_handler
from runcue._scheduling.core import Core

__all__ = ["successor_of"]


def successor_of(core: Core, leader: Work) -> Work | None:
    """Before a work unit that others have joined is withdrawn: let the first of them, if any, take its place.

    It takes over the handler that runs, or the instant that is waited for; else the place in line, unasked.

    Args:
        core: The state.
        leader: Pending or running.
    """
    successor = succeed(leader, core.dependencies.among(leader))
    if successor is None:
        return None
    core.dependencies.replace(leader, successor)
    core.lanes.replace(leader, successor)
    if core.appointments.works:
        core.appointments.hand_over(leader, successor, waits=core.waits_for_appointment(leader))
        # Who came after the one whose place that was is held up as before, whenever it is asked.
        before, declared = leader._declared, successor._declared
        assert before is not None
        assert declared is not None
        declared.place = leader._seq if before.place is None else before.place
    if leader._phase == RUNNING:
        core.move(successor, RUNNING)
        take_over_handler(leader, successor, core.dependencies)
    elif leader._phase == NOT_DUE:
        core.move(successor, NOT_DUE)
        successor._phase_since = leader._phase_since
        core.returning.set(successor, core.returning.when(leader))
    else:
        core.move(successor, NEW)
        own = successor._declared
        if own is not None and own.lane is not None and own.lane.head is not successor:
            core.hold_in_lane(successor, leader._phase_since, own.lane)
        else:
            successor._task.run_queue.new.appendleft(successor)
    return successor
