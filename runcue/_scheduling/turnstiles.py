"""Where work units wait whose keys have no room: in lanes of those with the same keys, before turnstiles.

A turnstile belongs to one key of a service. It is shut until an instant that the limits of its key name, or until
something of the key has ended; once open, the first of the lanes before it may be next, until one finds no room. So
however many keys there are, whoever looks for the next work unit meets those alone where something has changed, and
each step is that of a heap.

Lives here: `Turnstiles`, those of one run queue.

Must not know: what limits say, who else waits, time.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush, nsmallest
from itertools import count
from math import inf

from runcue._limits.keyed import KeyService
from runcue._model.work import Work
from runcue._scheduling.priority_queue import place_of

__all__ = ["Lane", "Turnstiles"]

# Makes entries of a heap differ that have the same place.
_number = count()


class Lane:
    """Work units with the same keys that wait, in their order.

    Attributes:
        keys: What they use by their keys.
        line: Heap of (key of the order, number, work unit). The first waits; others may have left, or have another
            place.
        number: How many wait.
        turnstile: Where they do; None before it has one.
        entry: The place by which it stands there.
        is_short: Whether its first waits for a budget, so that others may pass it.
        putting_off: Other keys with somebody who would put that one off by what all keys share, and waits for that.
        promised: See `RunQueue.promised`.
    """

    __slots__ = ("entry", "is_short", "keys", "line", "number", "promised", "putting_off", "turnstile")

    def __init__(self, keys: tuple[KeyService, ...]) -> None:
        self.keys = keys
        self.line: list[tuple[float, int, Work]] = []
        self.number = 0
        self.turnstile: Turnstile | None = None
        self.entry: tuple[float, int] | None = None
        self.promised: tuple[Work, float, float | None] | None = None
        self.is_short = False
        self.putting_off: set[KeyService] = set()

    def first_ones(self, most: int) -> list[Work]:
        """So many of the first, in order; some may have left, or have another place."""
        return [entry[2] for entry in nsmallest(most, self.line)]

    @property
    def first(self) -> Work:
        """The first work unit."""
        return self.line[0][2]

    @property
    def is_shut(self) -> bool:
        """Whether it waits before a turnstile that is shut."""
        return self.turnstile is not None and not self.turnstile.is_open


class Turnstile:
    """Where lanes wait for one key.

    Attributes:
        key: What they wait for; None when none does any more.
        home: Those of its run queue.
        until: When the limits of the key are to be asked again.
        noted: By which instant it is among those that open at one; -inf if it is not.
        is_open: Whether it may let one start.
        lanes: Heap of (key of the order, number, any number, lane); those are passed over that are elsewhere by now.
        number: How many wait here.
        entry: The place by which it is among those that may be open; None if it is not.
    """

    __slots__ = ("entry", "home", "is_open", "key", "lanes", "noted", "number", "until")

    def __init__(self, home: Turnstiles, key: KeyService) -> None:
        self.home = home
        self.key: KeyService | None = key
        self.until = inf
        self.noted = -inf
        self.is_open = False
        self.number = 0
        self.lanes: list[tuple[float, int, int, Lane]] = []
        self.entry: tuple[float, int] | None = None

    def reopen(self) -> None:
        """Its key may have room again: let the first before it be looked at."""
        self.until = -inf
        self.is_open = True
        self.home.offer(self)


class Turnstiles:
    """The work units of one run queue whose keys have no room.

    Attributes:
        parked: These, with their lanes.
        lanes: The lanes by what they use by their keys.
        short: Those whose first waits for a budget, in the order in which that was found.
    """

    __slots__ = ("_instants", "_open", "lanes", "parked", "short")

    def __init__(self) -> None:
        self.parked: dict[Work, Lane] = {}
        self.lanes: dict[tuple[KeyService, ...], Lane] = {}
        self.short: dict[Lane, None] = {}
        # Those that may let one start, by the place of that one; and those that may at an instant.
        self._open: list[tuple[float, int, int, Turnstile]] = []
        self._instants: list[tuple[float, int, Turnstile]] = []

    def park(self, work: Work, lane: Lane) -> None:
        """Let a work unit wait, in a lane that has a turnstile or will get one at once."""
        self.parked[work] = lane
        lane.number += 1
        self._place(work, lane)

    def move(self, work: Work) -> None:
        """Give one that waits, and whose key in the order has changed, its new place."""
        self._place(work, self.parked[work])

    def _place(self, work: Work, lane: Lane) -> None:
        heappush(lane.line, (work._order_key, work._seq, work))
        if lane.turnstile is not None:
            before = lane.entry
            self._enter(lane, lane.turnstile)
            if lane.entry != before:
                lane.turnstile.reopen()  # it may fit where the one that was first does not

    def unpark(self, work: Work) -> None:
        """Take a work unit out."""
        lane = self.parked.pop(work)
        lane.number -= 1
        turnstile = lane.turnstile
        assert turnstile is not None
        key = turnstile.key
        assert key is not None
        was_first = lane.first is work
        if was_first:
            lane.promised = None  # it may come back, for another attempt
        if not lane.number:
            del self.lanes[lane.keys]
            self.short.pop(lane, None)
            self._leave(lane, turnstile)
        elif was_first:
            self._enter(lane, turnstile)
            turnstile.reopen()
        if was_first and lane.is_short:
            # Others may have waited so as not to put it off.
            key.reopen()
            for other in lane.putting_off:
                other.reopen()
            lane.putting_off.clear()
        if lane.number and not was_first and len(lane.line) > 64 and len(lane.line) > 2 * lane.number:
            lane.line = [entry for entry in lane.line if self._waits(entry, lane)]
            heapify(lane.line)

    def first_lane(self, turnstile: Turnstile) -> Lane | None:
        """The lane of the first that waits before a turnstile."""
        lanes = turnstile.lanes
        while lanes:
            lane = lanes[0][3]
            if lane.turnstile is turnstile and lane.entry == lanes[0][:2]:
                return lane
            heappop(lanes)
        return None

    def wait(self, lane: Lane, key: KeyService, until: float) -> None:
        """The first of a lane has found no room at a key: it waits there, as do those that wait for it already.

        Args:
            lane: It has a work unit in it.
            key: One of its own.
            until: When the limits of the key are to be asked again; inf: not before something of it has ended.
        """
        turnstile = lane.turnstile
        if turnstile is None or turnstile.key is not key:
            if turnstile is not None:
                self._leave(lane, turnstile)
            if key.turnstiles is None:
                key.turnstiles = []
            turnstile = next((one for one in key.turnstiles if one.home is self), None)
            if turnstile is None:
                turnstile = Turnstile(self, key)
                key.turnstiles.append(turnstile)
            lane.turnstile = turnstile
            turnstile.number += 1
            self._enter(lane, turnstile)
        turnstile.is_open = False
        turnstile.until = until
        if until < inf and turnstile.noted != until:
            turnstile.noted = until
            instants = self._instants
            heappush(instants, (until, next(_number), turnstile))
            if len(instants) > 64 and len(instants) > 4 * len(self.lanes):
                # Of turnstiles that have opened before their instant; of the others one each.
                kept = {entry[2]: entry for entry in instants if entry[2].until == entry[0]}
                for entry in instants:
                    entry[2].noted = entry[2].until if entry[2] in kept else -inf
                instants[:] = kept.values()
                heapify(instants)

    def note_short(self, lane: Lane, is_short: bool) -> None:
        """The first of a lane waits for a budget, or for something else."""
        lane.is_short = is_short
        if is_short:
            self.short[lane] = None
        else:
            self.short.pop(lane, None)

    def _leave(self, lane: Lane, turnstile: Turnstile) -> None:
        lane.turnstile = lane.entry = None
        turnstile.number -= 1
        if not turnstile.number:
            assert turnstile.key is not None
            assert turnstile.key.turnstiles is not None
            turnstile.key.turnstiles.remove(turnstile)
            # What is left of it in heaps keeps nothing alive.
            turnstile.key = None
            turnstile.lanes.clear()
            turnstile.until, turnstile.is_open = -inf, False

    def _waits(self, entry: tuple[float, int, Work], lane: Lane) -> bool:
        return self.parked.get(entry[2]) is lane and entry[0] == entry[2]._order_key

    def _enter(self, lane: Lane, turnstile: Turnstile) -> None:
        """Let a lane stand before a turnstile, at the place of its first."""
        line = lane.line
        while not self._waits(line[0], lane):
            heappop(line)
        place = line[0][:2]
        if lane.entry != place:
            lane.entry = place
            heappush(turnstile.lanes, (*place, next(_number), lane))

    def offer(self, turnstile: Turnstile) -> None:
        """Let an open turnstile be among those whose first may be next, at the place of that one."""
        if self.first_lane(turnstile) is not None:
            place = turnstile.lanes[0][:2]
            if turnstile.entry != place:
                turnstile.entry = place
                heappush(self._open, (*place, next(_number), turnstile))

    def first_open(self) -> Lane | None:
        """The lane of the first work unit before an open turnstile."""
        waiting = self._open
        while waiting:
            turnstile = waiting[0][3]
            place = waiting[0][:2]
            if turnstile.entry == place:
                lane = turnstile.lanes[0][3] if turnstile.lanes else None
                if (
                    turnstile.is_open
                    and lane is not None
                    and lane.turnstile is turnstile
                    and lane.entry == place
                ):
                    return lane
                turnstile.entry = None
            heappop(waiting)
            if turnstile.is_open:
                self.offer(turnstile)
        return None

    def open_due(self, now: float) -> None:
        """Open those whose instant has come."""
        instants = self._instants
        while instants and instants[0][0] <= now:
            until, _, turnstile = heappop(instants)
            if turnstile.noted == until:
                turnstile.noted = -inf
            if turnstile.until == until:
                turnstile.reopen()

    def open_all(self) -> None:
        """Open all of them."""
        for turnstile in {lane.turnstile for lane in self.lanes.values()}:
            assert turnstile is not None
            turnstile.reopen()

    def next_instant(self) -> float:
        """When the first is to be opened, if none is before; inf if that is not known."""
        instants = self._instants
        while instants and instants[0][2].until != instants[0][0]:
            until, _, turnstile = heappop(instants)
            if turnstile.noted == until:
                turnstile.noted = -inf
        return instants[0][0] if instants else inf

    def line_for(self, key: KeyService) -> tuple[Work | None, int]:
        """The first of those that wait for a key, None if none do, and how many these are."""
        mine = [turnstile for turnstile in key.turnstiles or () if turnstile.home is self]
        heads = (lane.first for lane in map(self.first_lane, mine) if lane is not None)
        first = min(heads, key=place_of, default=None)
        return first, sum(map(_waiting_at, mine))


def _waiting_at(turnstile: Turnstile) -> int:
    """How many work units wait in the lanes before a turnstile."""
    lanes = turnstile.lanes
    if len(lanes) == turnstile.number:
        return sum([entry[3].number for entry in lanes])
    # Some have left, or are there twice.
    return sum(lane.number for lane in {entry[3] for entry in lanes} if lane.turnstile is turnstile)
