"""Instants at which something is due, each under a key: one heap, so that one timer serves them all.

Lives here: `Deadlines`. Setting a key again moves it; what was moved or cleared stays in the heap until it surfaces or
is outnumbered.

Must not know: what is due, or the clock.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from heapq import heapify, heappop, heappush
from math import inf
from typing import Final, Generic, TypeVar

__all__ = ["Deadlines"]

Key = TypeVar("Key", bound=Hashable)

_FEW: Final = 64
"""So few entries are left as they are."""


class Deadlines(Generic[Key]):
    """A heap of (instant, number, key) with at most one living entry per key.

    Attributes:
        moved: Whether the earliest instant may be another one than whoever has set this to False knows.
    """

    __slots__ = ("_heap", "_living", "_number", "moved")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Key]] = []
        self._living: dict[Key, tuple[float, int, Key]] = {}
        self._number = 0
        self.moved = False

    def __len__(self) -> int:
        return len(self._living)

    def __contains__(self, key: Key) -> bool:
        return key in self._living

    def __iter__(self) -> Iterator[Key]:
        """The keys, in no order."""
        return iter(self._living)

    def set(self, key: Key, when: float) -> None:
        """Let a key fall due at an instant, instead of any earlier setting. At inf it is cleared."""
        if when == inf:
            self.clear(key)
            return
        known = self._living.get(key)
        if known is not None and known[0] == when:
            return
        self._number += 1
        entry = (when, self._number, key)
        self._living[key] = entry
        self.moved = True
        heappush(self._heap, entry)
        if known is not None and len(self._heap) > _FEW:
            self._tidy()

    def clear(self, key: Key) -> None:
        """Forget a key. Harmless if it is not set."""
        if self._living.pop(key, None) is not None:
            self.moved = True
            if len(self._heap) > _FEW:
                self._tidy()

    def when(self, key: Key) -> float:
        """When a key falls due, inf if it is not set."""
        entry = self._living.get(key)
        return inf if entry is None else entry[0]

    def next(self) -> float:
        """The earliest instant, inf if there is none."""
        heap = self._heap
        while heap and self._living.get(heap[0][2]) is not heap[0]:
            heappop(heap)
        return heap[0][0] if heap else inf

    def first(self) -> Key | None:
        """The key of that instant, left where it is; None if there is none."""
        return self._heap[0][2] if self.next() != inf else None

    def pop_due(self, now: float) -> Key | None:
        """Take out one key whose instant has come, None if there is none."""
        if self.next() > now:
            return None
        key = heappop(self._heap)[2]
        self.moved = True
        del self._living[key]
        return key

    def keep(self, wanted: Callable[[Key], bool]) -> None:
        """Forget all other keys."""
        self._living = {key: entry for key, entry in self._living.items() if wanted(key)}
        self.moved = True
        self._heap = list(self._living.values())
        heapify(self._heap)

    def _tidy(self) -> None:
        if len(self._heap) > 2 * len(self._living):
            self._heap = list(self._living.values())
            heapify(self._heap)
