"""A priority order that costs nothing while work units arrive in order.

Lives here: the order of work units whose gate said yes, and the number that it goes by.

Must not know: gates, time, services. It is told when a work unit changes its place.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from itertools import islice
from typing import Final
from weakref import WeakSet

from runcue._model.phases import READY
from runcue._model.priority import DEFAULT_PRIORITY
from runcue._model.work import Work

__all__ = ["PriorityQueue", "count_in_line", "order_key", "place_of", "some_of"]

_NEAR: Final = 1000
"""So far from the first place of a line a work unit is taken out without the line being made anew."""


def order_key(submitted_at: float, priority: float, head_start: float) -> float:
    """The number that a work unit goes by, lowest first.

    Linear ageing is a constant key: whoever has waited for as long as a difference of priority is worth has made up for
    it. Without any priority it is the instant of the submission, so that those who came before there were priorities
    have their place among the others.

    Args:
        submitted_at: Monotonic.
        priority: 0.0 to 1.0.
        head_start: Seconds that 1.0 is worth against 0.0.
    """
    return submitted_at - head_start * (priority - DEFAULT_PRIORITY)


def place_of(work: Work) -> tuple[float, int]:
    """Where a work unit stands: by its key, among equals by its number."""
    return work._order_key, work._seq


def count_in_line(
    line: deque[Work], place: tuple[float, int], phase: int, tombstones: int, most: int
) -> tuple[int, bool]:
    """How many work units of a line that is in order are before a place.

    Args:
        line: The line.
        place: The key and the number of a work unit.
        phase: Those in another phase are tombstones.
        tombstones: So many of these there are at the most.
        most: So many are looked at.

    Returns:
        The number, and whether it is exact; if not, it is too small.
    """
    number = bisect_left(line, place, key=place_of)
    if not tombstones:
        return number, True
    if number > most:
        return max(0, number - tombstones), False
    return sum(work._phase == phase for work in islice(line, number)), True


def some_of(line: deque[Work], most: int, step: int) -> list[Work]:
    """One in `step` of the first `most` of a line: each is found from the nearer end, in blocks of 64."""
    return [line[at] for at in range(0, min(most, len(line)), step)]


class PriorityQueue:
    """Work units by (key, submission number), lowest first.

    Work units nearly always arrive in order, so most of them go through a deque at no cost; only those that come late
    (they had to wait for their inputs, or are more urgent) pay for a heap. Work units leave it lazily: one that is no
    longer READY is passed over when it is met, and counted as a tombstone so that these never outnumber the others.

    Attributes:
        tombstones: How many places have been left.
        left: Of work units with keys: those that have left a place and may come back to another one.
    """

    __slots__ = ("_heap", "_line", "_moved", "left", "tombstones")

    def __init__(self) -> None:
        self.left = WeakSet[Work]()
        self._line: deque[Work] = deque()
        self._heap: list[tuple[float, int, Work]] = []
        # Whether the line may be out of order, because the key of one that stands in it has changed.
        self._moved = False
        self.tombstones = 0

    def __len__(self) -> int:
        return len(self._line) + len(self._heap) - self.tombstones

    def __bool__(self) -> bool:
        return bool(self._line or self._heap)

    def push(self, work: Work) -> None:
        """Add a work unit at its place."""
        line = self._line
        if work._declared is not None and work._declared.followers is not None:
            # Its place may change, in which a line would be out of order.
            heappush(self._heap, (work._order_key, work._seq, work))
            return
        if line:
            last = line[-1]
            if (
                self._moved
                or work._order_key < last._order_key
                or (work._order_key == last._order_key and work._seq < last._seq)
            ):
                heappush(self._heap, (work._order_key, work._seq, work))
                return
        else:
            self._moved = False
        line.append(work)

    def move(self, work: Work) -> None:
        """Give a work unit that is in here, and whose key has changed, its new place; the old one is a tombstone.

        What it has in the line is the place that it has by itself, and that is never before this one.
        """
        self._moved = True
        heappush(self._heap, (work._order_key, work._seq, work))
        self.tombstones += 1
        self._tidy()

    def peek(self) -> Work | None:
        """The first work unit that is still READY, None if there is none."""
        line = self._line
        heap = self._heap
        while line and line[0]._phase != READY:
            line.popleft()
            self.tombstones -= 1
        while heap and (heap[0][2]._phase != READY or heap[0][0] != heap[0][2]._order_key):
            heappop(heap)
            self.tombstones -= 1
        if not heap:
            return line[0] if line else None
        if not line:
            return heap[0][2]
        first = line[0]
        key, seq, work = heap[0]
        return work if (key, seq) < (first._order_key, first._seq) else first

    def drop(self, work: Work) -> None:
        """Remove the work that `peek()` has just returned."""
        if self._line and self._line[0] is work:
            self._line.popleft()
        else:
            heappop(self._heap)

    def first_ones(self, most: int) -> list[Work]:
        """So many of the first ones at most, in order."""
        found = [work for work in islice(self._line, most + self.tombstones) if work._phase == READY]
        # Whoever is in the heap is behind the one above.
        heap = self._heap
        ahead = [(heap[0][:2], 0)] if heap else []
        for _ in range(most + self.tombstones):
            if not ahead:
                break
            _, at = heappop(ahead)
            key, _, work = heap[at]
            if work._phase == READY and key == work._order_key:
                found.append(work)
            for below in range(2 * at + 1, min(2 * at + 3, len(heap))):
                heappush(ahead, (heap[below][:2], below))
        return sorted(dict.fromkeys(found), key=place_of)[:most]

    def take(self, work: Work) -> None:
        """Remove a work unit that stands among the first."""
        for place, one in enumerate(islice(self._line, _NEAR + self.tombstones)):
            if one is work:
                del self._line[place]
                return
        self.take_out(work)

    def take_out(self, work: Work) -> None:
        """Remove a work unit, wherever it is; more than once if it has left and come back."""
        before = len(self._line) + len(self._heap)
        self._line = deque(one for one in self._line if one is not work)
        self._heap = [entry for entry in self._heap if entry[2] is not work]
        heapify(self._heap)
        # All but one of its places were counted as tombstones.
        self.tombstones -= before - len(self._line) - len(self._heap) - 1

    def forget(self, work: Work) -> None:
        """Remove the places that a work unit has left: one of them would be its own again if its key came to be."""
        before = len(self._line) + len(self._heap)
        self._line = deque(one for one in self._line if one is not work)
        self._heap = [entry for entry in self._heap if entry[2] is not work]
        heapify(self._heap)
        self.tombstones -= before - len(self._line) - len(self._heap)
        self.left.discard(work)

    def works(self) -> list[Work]:
        """All that are in here, in no particular order."""
        return list(dict.fromkeys(work for work in self.entries() if work._phase == READY))

    def entries(self) -> Iterator[Work]:
        """The same one by one, tombstones as well."""
        yield from self._line
        for _, _, work in self._heap:
            yield work

    def some(self, most: int, step: int) -> Iterator[Work]:
        """One in `step` of the first `most` of the line and of the heap, tombstones as well."""
        yield from some_of(self._line, most, step)
        for _, _, work in self._heap[:most:step]:
            yield work

    def count_before(self, place: tuple[float, int], most: int) -> tuple[int, bool]:
        """How many are in here before a place, found without going through all of them.

        Args:
            place: The key and the number of a work unit.
            most: So many are looked at, beside the line.

        Returns:
            The number, and whether it is exact; if not, it is too small.
        """
        number, is_exact = count_in_line(self._line, place, READY, self.tombstones, most)
        heap = self._heap
        # Whoever is behind that place has nobody before it below itself.
        ways = [0]
        for at in ways:  # it grows
            if at >= len(heap) or heap[at][:2] >= place:
                continue
            if len(ways) > 2 * most:
                return number, False
            key, _, work = heap[at]
            number += work._phase == READY and key == work._order_key
            ways += (2 * at + 1, 2 * at + 2)
        return number, is_exact

    def discard_later(self) -> None:
        """Note that one work in here has left its place in another way (it was cancelled, or timed out)."""
        self.tombstones += 1
        if self._tidy():
            self.tombstones = 1  # the one that is about to leave is still READY

    def _tidy(self) -> bool:
        """Remove tombstones, if they are more than the others. Returns whether they are gone."""
        if self.tombstones > 64 and self.tombstones * 2 > len(self._line) + len(self._heap):
            # A work unit that left and came back has two places. Kept twice, one of them would be a tombstone in
            # the end without having been counted, and a backlog remain where there is none.
            heap = {
                work: entry
                for entry in self._heap
                if (work := entry[2])._phase == READY and entry[0] == work._order_key
            }
            self._line = deque(
                dict.fromkeys(work for work in self._line if work._phase == READY and work not in heap)
            )
            self._heap = list(heap.values())
            heapify(self._heap)
            self.tombstones = 0
            return True
        return False
