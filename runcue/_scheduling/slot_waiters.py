"""Work units that are not ready, are to be asked again, and lack a slot of their key for that: an async gate holds one.

They stand before the turnstile of that key, in no other line, until a slot of it is free. So however many there are,
nobody walks past them meanwhile, and they keep none with another key from being asked.

Lives here: `SlotWaiters`, those of one run queue.

Must not know: gates, who is asked when.
"""

from __future__ import annotations

from math import inf

from runcue._limits.keyed import KeyService
from runcue._model.work import Work
from runcue._scheduling.turnstiles import Lane, Turnstiles

__all__ = ["SlotWaiters"]


class SlotWaiters(Turnstiles):
    """Those of one run queue."""

    __slots__ = ()

    def lacking_to(self, work: Work) -> KeyService | None:
        """The first of its keys that has no slot free, None if all have."""
        return _without_slot(work._keyed or ())

    def add(self, work: Work) -> None:
        """Let one wait that stands in no line, and to which one of its keys lacks a slot."""
        keys: tuple[KeyService, ...] = work._keyed or ()
        key = _without_slot(keys)
        assert key is not None
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


def _without_slot(keys: tuple[KeyService, ...]) -> KeyService | None:
    return next((key for key in keys if key.active >= key.concurrent), None)
