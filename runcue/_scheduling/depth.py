"""What was begun is finished first: a work unit counts as submitted when the oldest maker in its chain was.

How this goes about it: when somebody has made something, or found it up to date, it is noted from when that one
counted. Who needs it counts from the earliest of these instants, if that is before its own submission; and as that one
hands it on, the whole chain counts from where it began. When a work unit has its place in a line, all who make its
inputs have settled, so nothing else need be known.

Lives here: `DepthFirst`, the core of a cue with `order="depth"`.

Must not know: what an artifact is, priorities.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from math import inf, nextafter
from typing import Any, Final

from runcue._model.declaration import Declaration
from runcue._model.phases import NEW, READY, SKIPPED
from runcue._model.work import Work
from runcue._scheduling.core import Core

__all__ = ["DepthFirst"]

_REMEMBERED: Final = 100_000
"""Of so many artifacts it is remembered from when who made them counted; of those that were made last."""


class DepthFirst(Core):
    """See `Core`."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        # From when those counted that made an artifact, and the oldest that made something in a folder.
        self._made: OrderedDict[Hashable, float] = OrderedDict()
        self._made_in: OrderedDict[Hashable, float] = OrderedDict()
        self._last = -inf

    def add(self, work: Work, now: float) -> None:
        """See `Core.add`."""
        now = self.instant_of(now)
        super().add(work, now)
        new = work._task.run_queue.new
        if work._phase == NEW and new and new[-1] is work and (began := self.counts_from(work)) < now:
            new.pop()
            work._order_key = began
            work._task.run_queue.take_back(work)

    def instant_of(self, now: float) -> float:
        """See `Core.instant_of`."""
        # Each has one of its own: of those that were submitted in one instant the first chain comes first, too.
        self._last = now = max(now, nextafter(self._last, inf))
        return now

    def counts_from(self, work: Work) -> float:
        """See `Core.counts_from`."""
        began = work._submitted_at
        declared = work._declared
        if declared is None:
            return began
        above = self.dependencies.above
        for artifact in declared.needs:
            key = artifact._key
            began = min(began, self._made.get(key, inf), self._made_in.get(key, inf))
            for folder in above(artifact):
                began = min(began, self._made.get(folder, inf))
        return began

    def enqueue(self, work: Work, key: float, now: float, *, found: bool = True) -> None:
        """See `Core.enqueue`."""
        if work._phase != READY and not self.ordered:  # a priority counts from there already
            key = min(key, self.counts_from(work))
        super().enqueue(work, key, now, found=found)

    def settle(
        self, work: Work, outcome: int, value: Any, now: float, wall: float, duration: float = 0.0
    ) -> None:
        """See `Core.settle`."""
        declared = work._declared
        if declared is not None and declared.joined is None and outcome <= SKIPPED:
            self._note(declared, self.counts_from(work))
        super().settle(work, outcome, value, now, wall, duration)

    def _note(self, declared: Declaration, began: float) -> None:
        """Something was made, or found up to date, by one that counts from an instant."""
        for artifact in declared.makes:
            _note_last(self._made, artifact._key, began)
            for folder in self.dependencies.above(artifact):
                _note_last(self._made_in, folder, min(began, self._made_in.get(folder, inf)))
        for known in (self._made, self._made_in):
            while len(known) > _REMEMBERED:
                known.popitem(last=False)


def _note_last(known: OrderedDict[Hashable, float], key: Hashable, began: float) -> None:
    """Note something, so that it is forgotten after all that was noted before."""
    known[key] = began
    known.move_to_end(key)
