"""Work units that are not ready, are to be asked again, and lack a slot of their key for that: an async gate holds one.

They stand before the turnstile of that key, in no other line, until a slot of it is free. So however many there are,
nobody walks past them meanwhile, and they keep none with another key from being asked.

Lives here: `SlotWaiters`, those of one run queue; `lacks_key_only` and `step_aside`, for who has found that one cannot
be asked.

Must not know: gates, who is asked when.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any

from runcue._scheduling.turnstiles import Lane, Turnstiles

if TYPE_CHECKING:
    from collections.abc import Iterable

    from runcue._limits.keyed import KeyService
    from runcue._model.work import Work

__all__ = ["SlotWaiters", "lacks_key_only", "step_aside"]


class SlotWaiters(Turnstiles):
    """Those of one run queue."""

    __slots__ = ()

    def add(self, work: Work, key: KeyService) -> None:
        """Let one wait that stands in no line, until a slot of one of its keys is free."""
        keys: tuple[KeyService, ...] = work._keyed or ()
        lane = self.lanes.get(keys)
        if lane is None:
            lane = self.lanes[keys] = Lane(keys)
        self.park(work, lane)
        self.wait(lane, key, inf)

    def next(self) -> Work | None:
        """The first whose keys have a slot each, left where it is."""
        while (lane := self.first_open()) is not None:
            key = _without_slot(lane.keys)
            if key is None:
                return lane.first
            self.wait(lane, key, inf)
        return None


def _without_slot(keys: Iterable[KeyService]) -> KeyService | None:
    return next((key for key in keys if key.active >= key.concurrent), None)


def lacks_key_only(work: Work) -> bool:
    """Whether one that can be asked only where a slot is free lacks that of its key alone: others can be asked."""
    run_queue: Any = work._task.run_queue
    return run_queue.is_keyed and run_queue.free_slots() > 0 and _without_slot(work._keyed or ()) is not None


def step_aside(work: Work) -> None:
    """The first of those of its task that wait lacks a slot of its key alone: it lets the others pass."""
    work._task.waiting.popleft()
    key = _without_slot(work._keyed or ())
    assert key is not None
    work._task.run_queue.slot_waiters.add(work, key)
