"""What services need that have limits for each key, besides being asked when something starts.

Lives here: `Keys`: asks the gates of work units whose keys have no room, and lets keys be forgotten that nobody uses
any more.

Must not know: what a key allows, who is next.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, cast

from runcue._dispatch.gates import Gates
from runcue._dispatch.timers import Alarm, Timers
from runcue._model.phases import NEW
from runcue._scheduling.core import Core
from runcue._scheduling.recheck_pass import LATER

if TYPE_CHECKING:
    from runcue._scheduling.keyed_run_queue import KeyedRunQueue

__all__ = ["Keys"]


class Keys:
    """Looks after the keyed services of one core.

    Args:
        core: The state.
        gates: Asks work units.
        timers: Where it is waited for that keys can be forgotten.
    """

    def __init__(self, core: Core, gates: Gates, timers: Timers) -> None:
        self._core = core
        self._gates = gates
        # Passive: it is no reason for time to pass.
        self._alarm = Alarm(timers, self._forget, passive=True)

    def check_parked(self, until: float) -> bool:
        """Ask work units that were first in line, unasked, and whose keys have no room, or had none to be asked again.

        Args:
            until: Stop at this instant.

        Returns:
            Whether some are left for the next turn.
        """
        left = False
        for run_queue in self._core.run_queues.values():
            if run_queue.is_keyed:
                left |= self._check(cast("KeyedRunQueue", run_queue), until)
                left |= self._check_again(cast("KeyedRunQueue", run_queue), until)
        return left

    def _check_again(self, run_queue: KeyedRunQueue, until: float) -> bool:
        """Ask those again that are not ready, and for which a slot of their key has become free."""
        waiters, gates = run_queue.slot_waiters, self._gates
        while (work := waiters.next()) is not None and gates.awaited.have_room(work):
            waiters.unpark(work)
            gates.check_not_ready(work)
            if gates.is_late(until):
                return True
        return False

    def _check(self, run_queue: KeyedRunQueue, until: float) -> bool:
        unasked, gates = run_queue.unasked_parked, self._gates
        if self._core.ordered and not run_queue.is_ordered:
            # There are priorities from now on, and those who wait have not been asked for theirs.
            run_queue.is_ordered = True
            unasked.extend(work for work in run_queue.turnstiles.parked if work._phase == NEW)
        while unasked:
            work = unasked.popleft()
            if work not in run_queue.turnstiles.parked:
                continue
            if work._task.gate_is_async and not gates.awaited.have_room(work):
                continue  # asked when its turn comes
            run_queue.take_out(work)
            if gates.check(work, found=False) == LATER:
                if work._phase == NEW:
                    run_queue.take_back(work)
                else:
                    run_queue.ready.push(work)
            if gates.is_late(until):
                break
        return bool(unasked)

    def arm(self, now: float) -> None:
        """Have keys forgotten some time after they were used."""
        if self._alarm.when == inf and (soon := min(one.forget_at(now) for one in self._core.keyed)) < inf:
            self._alarm.set(soon)

    def _forget(self, now: float) -> None:
        self._alarm.set(min(one.forget(now) for one in self._core.keyed))

    def forget(self, now: float) -> None:
        """The cue has come to an end: forget what can be."""
        for one in self._core.keyed:
            one.forget(now)
