"""What is on its way while limits are changed: counted once more, where it cannot be half done.

A limit may come while handlers run that it has not let start, and threads may become scarce for those who had slots to
go by. Whoever changes limits does so anywhere, in a handler's first step as well; so what is on its way is taken for as
much as it may be, and counted in the next look, when nothing is.

Lives here: `Recount`.

Must not know: who changes limits, what they do.
"""

from __future__ import annotations

from collections.abc import Iterator

from runcue._dispatch.awaited_gates import AwaitedGates
from runcue._dispatch.hand_off import HandOff
from runcue._dispatch.in_flight import NOT_ENTERED, InFlight
from runcue._dispatch.turns import Turns
from runcue._limits.guarded import GuardedLimit
from runcue._limits.leaver import Leaver
from runcue._limits.service import Service
from runcue._limits.sliding_window import SlidingWindow
from runcue._limits.token_bucket import TokenBucket
from runcue._model.phases import RUNNING
from runcue._model.work import Work
from runcue._scheduling.core import Core
from runcue._scheduling.run_queue import RunQueue

__all__ = ["Recount"]


class Recount:
    """Counts what is on its way in one core.

    Args:
        core: The state.
        turns: Have the clock.
        in_flight: Handlers in flight.
        awaited: Gates that are being awaited: they hold slots as well.
        hand_off: Knows who is in a thread.
    """

    def __init__(
        self, core: Core, turns: Turns, in_flight: InFlight, awaited: AwaitedGates, hand_off: HandOff
    ) -> None:
        self._core = core
        self._turns = turns
        self._in_flight = in_flight
        self._awaited = awaited
        self._hand_off = hand_off

    def now(self) -> float:
        """Monotonic."""
        return self._turns.now()

    def begun(self, service: Service) -> set[Work]:
        """The work units that may have been let start by a service, and have not given back what they took."""
        begun = set(self._holders(service))
        # Somebody may be in the midst of a start, or of an end.
        begun.update(
            work
            for work in self._core.history
            if work._phase == RUNNING and service in work._task.run_queue.services_for(work)
        )
        return begun

    def starting(self, service: Service) -> int:
        """How many of these have not entered their handlers yet, at the most."""
        in_flight = self._in_flight.works
        return sum(work not in in_flight or work._entered_at == NOT_ENTERED for work in self.begun(service))

    def settle(self) -> None:
        """Count exactly what was changed since the last time. Nothing is half done."""
        run_queues = self._core.run_queues
        changed, run_queues.changed = run_queues.changed, {}
        # Where there was no limit nobody was told of entries; or who runs for long would be on its way for as long.
        self._hand_off.count_entered()
        for run_queue in list(run_queues.values()):
            run_queues.bound(run_queue, self._slots_held)
        for service in changed:
            holders = list(self._holders(service))
            on_their_way = sum(
                work._entered_at == NOT_ENTERED for work in holders if work in self._in_flight.works
            )
            for limit in service.limits:
                if isinstance(limit, (SlidingWindow, TokenBucket)):
                    limit.reserved, limit.free = on_their_way, 0
                elif isinstance(limit, GuardedLimit) and limit.strangers:
                    limit.strangers.intersection_update(holders)
                elif isinstance(limit, Leaver):
                    limit.works.intersection_update(holders)
                    if not limit.works:
                        service.install(limit.kind, None)
                        run_queues.look_at(service)

    def _holders(self, service: Service) -> Iterator[Work]:
        for work in (*self._in_flight.works, *self._in_flight.late):
            if service in work._task.run_queue.services_for(work):
                yield work

    def _slots_held(self, run_queue: RunQueue) -> int:
        """How many slots the work units of a run queue hold of each of its services."""
        holders = (*self._in_flight.works, *self._in_flight.late, *self._awaited.works())
        return sum(work._task.run_queue is run_queue for work in holders)
