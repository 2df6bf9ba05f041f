"""Work units that wait in line: in submission order while they are new, by priority once their gate said yes.

Lives here: `WaitingLine`: who is first, who comes before whom, who comes and goes. Nothing is asked here.

Must not know: limits, gates, time, event loops.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Container
from itertools import islice

from runcue._model.phases import NEW, READY
from runcue._model.work import Work
from runcue._scheduling.priority_queue import PriorityQueue, count_in_line, place_of, some_of

__all__ = ["WaitingLine"]


class WaitingLine:
    """Work units that wait in line.

    Attributes:
        new: Work units that nobody has asked about yet, in submission order. Entries that are no longer NEW are
            skipped.
        new_tombstones: How many those are.
        ready: Work units whose gate said yes.
        unasked: Work units that were put into `ready` without having been asked again, as long as there is room.
            Entries that are no longer READY are skipped.
    """

    __slots__ = ("new", "new_tombstones", "ready", "unasked")

    def __init__(self) -> None:
        self.new: deque[Work] = deque()
        self.new_tombstones = 0
        self.ready = PriorityQueue()
        self.unasked: deque[Work] = deque()

    def first_beside(self, work: Work) -> Work:
        """The first of those with which a work unit stands in line, itself if it is: what keeps that one keeps all."""
        return self.peek(ordered=False) or work

    def first_in_lines(self) -> list[Work]:
        """The first work unit of each line in which some wait: there is one line for all."""
        first = self.peek(ordered=False)
        return [] if first is None else [first]

    def first(self, now: float, ordered: bool) -> Work | None:
        """The first work unit that may be taken: what `peek` gives, where there are no keys to be asked."""
        return self.peek(ordered)

    def peek(self, ordered: bool) -> Work | None:
        """The first work unit that may be taken, left where it is.

        Args:
            ordered: Take only work units that were asked already, because their priority is not known before.
        """
        ready = self.ready.peek()
        if ordered:
            return ready
        new = self.new
        while new and new[0]._phase != NEW:
            new.popleft()
            self.new_tombstones -= 1
        if not new:
            return ready
        first = new[0]
        if ready is None or (first._order_key, first._seq) < (ready._order_key, ready._seq):
            return first
        return ready

    def pop(self, ordered: bool) -> Work | None:
        """Take out what `peek()` would return."""
        new, ready = self.new, self.ready.peek()
        if not ordered and new:
            while new and new[0]._phase != NEW:
                new.popleft()
                self.new_tombstones -= 1
            if new and (ready is None or (new[0]._order_key, new[0]._seq) < (ready._order_key, ready._seq)):
                return new.popleft()
        if ready is not None:
            self.ready.drop(ready)
        return ready

    def backlog(self, ordered: bool = False) -> int:
        """How many work units could be taken if there was room; with `ordered`, of those that were asked."""
        ready = len(self.ready)
        return ready if ordered else len(self.new) - self.new_tombstones + ready

    def count_before(self, place: tuple[float, int], most: int) -> tuple[int, bool]:
        """How many of its work units stand before a place, the key and the number of one; see `PriorityQueue`."""
        new, is_exact = count_in_line(self.new, place, NEW, self.new_tombstones, most)
        ready, are_exact = self.ready.count_before(place, most)
        return new + ready, is_exact and are_exact

    def some_in_line(self, before: int, number: int) -> list[Work]:
        """About so many of the first ones, as many apart; some may have left their place, or be further back.

        Args:
            before: How many are the first.
            number: How many are wanted of each kind.
        """
        most, step = before + number, before // number + 1
        return [*self.ready.some(most, step), *some_of(self.new, most, step)]

    def in_line(self) -> list[Work]:
        """The work units that could be taken if there was room, in no particular order."""
        return [*(work for work in self.new if work._phase == NEW), *self.ready.works()]

    def take_back(self, work: Work) -> None:
        """Put a NEW work unit back to the place among the new ones that it has by its key and number.

        Nearly always that is the first: it was started before any of them. Of one that was submitted for this instant
        it is the last. Others that come back are the exception; a place in the middle of 100,000 takes 25 µs, in which
        a deque moves half of them aside.
        """
        new, place = self.new, place_of(work)
        if not new or place < place_of(new[0]):
            new.appendleft(work)
        elif place > place_of(new[-1]):
            new.append(work)
        else:
            new.insert(bisect_left(new, place, key=place_of), work)

    def first_ones(self, most: int) -> list[Work]:
        """About so many work units that may be taken, in order."""
        new = [work for work in islice(self.new, most + self.new_tombstones) if work._phase == NEW]
        ready = self.ready.first_ones(most)
        return sorted((*new, *ready), key=place_of)[:most] if new and ready else (new or ready)[:most]

    def take(self, work: Work) -> None:
        """Take one of the first out, as `pop()` takes the first."""
        if work._phase == READY:
            self.ready.take(work)
            return
        for place, one in enumerate(self.new):
            if one is work:
                del self.new[place]
                break

    def take_out(self, work: Work) -> None:
        """Take a work unit out that is NEW or READY and may come back to another place: it leaves no tombstone."""
        if work._phase == READY:
            self.ready.take_out(work)
        else:
            self.new = deque(one for one in self.new if one is not work)

    def hand_over(self, works: Container[Work], other: WaitingLine) -> None:
        """Let another line have some of the work units, each with the place in its order that it had here."""
        new = [work for work in self.new if work in works and work._phase == NEW]
        kept = [work for work in self.new if work not in works]
        self.new.clear()
        self.new.extend(kept)
        self.new_tombstones = sum(work._phase != NEW for work in kept)
        other.new = deque(sorted((*other.new, *new), key=place_of))
        ready, self.ready = dict.fromkeys(self.ready.works()), PriorityQueue()
        for work in sorted(ready, key=place_of):
            (other if work in works else self).ready.push(work)
        unasked = tuple(self.unasked)
        self.unasked.clear()
        for work in unasked:
            (other if work in works else self).unasked.append(work)

    def note_unasked(self, work: Work) -> None:
        """Remember that a work unit was put into `ready` without having been asked again."""
        unasked = self.unasked
        while unasked and unasked[0]._phase != READY:
            unasked.popleft()
        unasked.append(work)

    def move(self, work: Work) -> None:
        """Give a READY work unit whose key has changed its new place."""
        self.ready.move(work)

    def discard_later(self, work: Work) -> None:
        """Note that a work unit that is NEW or READY is about to leave its place in another way than by `pop`."""
        if work._phase == READY:
            self.ready.discard_later()
            return
        self.new_tombstones += 1
        if self.new_tombstones > 64 and self.new_tombstones * 2 > len(self.new):
            self.new = deque(work for work in self.new if work._phase == NEW)
            self.new_tombstones = 1  # the one that is about to leave is still NEW
