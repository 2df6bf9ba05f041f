"""When it is the turn of one work unit that stands in line: its place, the instant, and what passes it.

Lives here: `Turn`, and `turn_of`, which finds it without going through the line: the place by bisection, the instant
from the limits, or from how long handlers have taken, and what passes it from the last that have started. Where that
does not tell all, the answer says so: it is too early rather than too late.

Must not know: how a turn is put in words, why the first in line does not start.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice, pairwise
from math import inf
from typing import Final, NamedTuple

from runcue._explain.durations import usual_durations
from runcue._explain.holders import Holders
from runcue._explain.unforeseen import may_come_before, may_come_in, may_pass, others_take
from runcue._limits.keyed import KeyService
from runcue._limits.rate_limit import RateLimit
from runcue._limits.service import UNBOUNDED, Service
from runcue._model.phases import NEW, READY, SETTLED
from runcue._model.priority import DEFAULT_PRIORITY, STRICT
from runcue._model.work import Work
from runcue._scheduling.core import Core
from runcue._scheduling.keyed_run_queue import KeyedRunQueue
from runcue._scheduling.lines import services_for
from runcue._scheduling.priority_queue import place_of
from runcue._scheduling.run_queue import RunQueue

__all__ = ["Passing", "Turn", "passing_of", "turn_of"]

_OVERDUE: Final = 3.0
_OVERDUE_AT_LEAST: Final = 0.1
"""So many times as long as usual, and so many seconds more, a handler may take until nothing is known of its end."""

# So many work units are looked at where there is no shorter way: those that have left the line before their turn, those
# that came into it late, and the last that have started; of all lines that share a service together so many.
_LOOKED_AT: Final = 1000
_LOOKED_AT_TOGETHER: Final = 4000
# Of so many of those that hold slots it is reckoned when their handlers will have ended.
_ENDS: Final = 1000
# By so many of those ahead it is told of which tasks they are, and by so many how fast the line moves.
_SAMPLE: Final = 200
_SOME_MORE: Final = 100
# Who takes that much of what there is takes all of it, as far as can be measured.
_NEARLY_ALL: Final = 0.8
# That others go on to come is believed once so many starts have taken place meanwhile.
_LONG_ENOUGH: Final = 3


class Passing(NamedTuple):
    """Who has passed a work unit: those that came later, and are more urgent.

    Attributes:
        number: How many have started since it was ready.
        tasks: The tasks they are of, with how many of each.
        seconds: In how many seconds they have.
        every: Seconds from one to the next, on average.
        until: The monotonic instant from which on nobody comes who could pass it; inf if there is none.
        head_start: What a priority of 1.0 is worth, in seconds; None: there is no end to it.
        at_least: Whether there may be more.
    """

    number: int
    tasks: dict[str, int]
    seconds: float
    every: float
    until: float
    head_start: float | None
    at_least: bool = False


class Turn(NamedTuple):
    """When it is the turn of a work unit that stands in line.

    Attributes:
        place: Its place, 1 for the next.
        eta: Seconds until it can start; None if that is not known.
        at_least: Whether it may be further back, since not all of the line was looked at.
        earliest: Whether its turn may come later than that: what is ahead, or a limit, is not known so well.
        about: Whether the time comes from how long handlers have taken before, or from who has passed it.
        passing: Who passes it, None if nobody has.
        alone: The same as `eta` if nobody who is yet to come passes it.
    """

    place: int
    eta: float | None
    at_least: bool = False
    earliest: bool = False
    about: bool = False
    passing: Passing | None = None
    alone: float | None = None


def turn_of(
    core: Core, work: Work, now: float, wall: float, holders: Holders, not_before: float = -inf
) -> Turn | None:
    """When it is the turn of a work unit.

    Args:
        core: The state.
        work: The work unit.
        now: Monotonic.
        wall: The same instant in seconds since the epoch.
        holders: The work units that hold slots.
        not_before: When a limit of the user's own is to be asked again; inf if that is not known.

    Returns:
        None if it does not stand in line.
    """
    if work._phase not in (NEW, READY):
        return None
    queue: RunQueue = work._task.run_queue
    if not queue.services:
        return None
    counted = list(_counted(queue, work, now))
    first = list(_some_before(work, counted))
    at_least = not all(exact for _, _, exact in counted)
    earliest = False
    ways = []
    for service in queue.services_for(work):
        if isinstance(service, KeyService):
            some, exact = _before_at(service, work)
            before = len(some)
            at_least |= not exact
        else:
            lines = {one for one, _, _ in counted if service in one.services}
            before = sum(number for one, number, _ in counted if one in lines)
            some = [one for one in first if one._task.run_queue in lines]
        ways.append(_Way(core, service, some, before, now, wall, holders))
        earliest |= not ways[-1].is_told
    earliest |= at_least
    ahead = max(way.before for way in ways)
    eta, about = _slowest(ways)
    if eta is not None and ahead and not about:
        earliest |= sum(way.number_in_the_way() for way in ways) > 1
    if not_before > now:
        # It says when it is to be asked again, with the first in line, and nothing of who comes after that one.
        earliest |= ahead > 0 or not_before == inf
        eta = None if eta is None or not_before == inf else max(eta, not_before - now)
    if eta is not None:
        slowest = [one for one, way in zip(queue.services, ways, strict=True) if way.is_slowest(eta)]
        lines_ahead = [one for one, number, _ in counted if number]
        earliest |= others_take(queue, slowest) or may_come_in(work, lines_ahead)
        earliest |= may_come_before(core, work, now + eta)
        if may_pass(queue, lines_ahead):
            about = True
            earliest &= at_least or not all(way.is_told for way in ways)
    alone, passing = eta, None
    if core.ordered and work._phase == READY:
        passed = _passed_by(core, work, now, wall, holders)
        passing = _passing(core, work, now, wall, passed, holders)
        if passing is not None and eta is not None and passing.until > now:
            later, _ = _slowest(ways, _SOME_MORE)
            leaving = 0.0 if later is None or later <= eta else _SOME_MORE / (later - eta)
            coming = [*passed, *(one for one in first if one._seq > work._seq)]
            share = _share(sorted(one._submitted_at for one in coming), leaving, now)
            if share:
                eta, about = _with_passing(eta, share, passing.until - now), True
    return Turn(ahead + 1, eta, at_least, earliest, about, passing, alone)


def passing_of(core: Core, work: Work, now: float, wall: float, holders: Holders) -> Passing | None:
    """What passes a work unit; None if nobody has, or it does not stand in line.

    Args:
        core: The state.
        work: The work unit.
        now: Monotonic.
        wall: The same instant in seconds since the epoch.
        holders: The work units that hold slots.
    """
    if not core.ordered or work._phase != READY:
        return None
    return _passing(core, work, now, wall, _passed_by(core, work, now, wall, holders), holders)


def _slowest(ways: Iterable[_Way], more: int = 0) -> tuple[float | None, bool]:
    """In how many seconds all services let a work unit start, and whether that comes from how long handlers take.

    Args:
        ways: Of each service one.
        more: If so many more stood before it.
    """
    eta, about = 0.0, False
    for way in ways:
        by_slots = way.by_slots(more)
        if by_slots is None:
            return None, False
        by_limits = way.by_limits(more)
        if by_limits == inf:
            return None, False
        if max(by_slots, by_limits) > eta:
            eta, about = max(by_slots, by_limits), by_slots > by_limits
    return eta, about


def _counted(queue: RunQueue, work: Work, now: float) -> Iterator[tuple[RunQueue, int, bool]]:
    """How many stand before a work unit in its run queue and in those that share a service with it."""
    place = place_of(work)
    most = min(_LOOKED_AT, _LOOKED_AT_TOGETHER // (len(queue.contenders) + 1))
    for one in (queue, *queue.contenders):
        if one is not queue and _is_held_up(one, queue.services, now):
            continue
        number, exact = one.count_before(place, most)
        if number:
            yield one, number, exact


def _before_at(key: KeyService, work: Work) -> tuple[list[Work], bool]:
    """Those who stand before a work unit and use the same key of a service, and whether these are all."""
    found: list[Work] = []
    exact = True
    queue: RunQueue = work._task.run_queue
    for one in (queue, *queue.contenders):
        if isinstance(one, KeyedRunQueue):
            some, are_all = one.before_at(key, place_of(work), _LOOKED_AT)
            found += some
            exact &= are_all
    return found, exact


def _some_before(work: Work, counted: Sequence[tuple[RunQueue, int, bool]]) -> Iterator[Work]:
    """Those who stand before a work unit, or, if they are many, one of so many."""
    place = place_of(work)
    every = sum(number for _, number, _ in counted)
    # There may be as many run queues: then some of these, and of each some.
    for one, number, _ in counted[:: len(counted) // _SAMPLE + 1]:
        for other in one.some_in_line(number, max(1, _SAMPLE * number // every)):
            if other._phase in (NEW, READY) and (other._order_key, other._seq) < place:
                yield other


def _is_held_up(one: RunQueue, services: Sequence[Service], now: float) -> bool:
    """Whether something else keeps a run queue from starting than what it shares with these services."""
    return one.short_until > now or any(
        not service.has_slot() or not all(_has_room(limit, now) for limit in service.limits)
        for service in one.services
        if service not in services
    )


def _has_room(limit: object, now: float) -> bool:
    return not isinstance(limit, RateLimit) or limit.room(now)


class _Way:
    """What stands between a work unit and a start, as far as one service is concerned.

    Args:
        core: The state.
        service: The service.
        some: Some of the work units that want it and stand before this one.
        before: How many these are.
        now: Monotonic.
        wall: The same instant in seconds since the epoch.
        holders: The work units that hold slots, of whatever service.

    Attributes:
        before: See above.
        is_told: Whether all of its limits tell when they let the last of these start.
    """

    def __init__(
        self,
        core: Core,
        service: Service,
        some: list[Work],
        before: int,
        now: float,
        wall: float,
        holders: Holders,
    ) -> None:
        self.before = before
        self._now = now
        self._limits = service.that_tell_turns()
        self.is_told = not before or len(self._limits) == len(service.limits)
        # So many slots are free, the others will be in so many seconds, if their handlers take as long as usual (None:
        # that is not known), and those who get them before this one hold them for so long.
        self._free = max(service.concurrent - service.active, 0)
        self._ends: list[float] | None = []
        # So many are; of thousands one of so many was looked at.
        self._held, self._apart = 0, 1
        self._lasts: float | None = None
        self._longest: float | None = None
        if service.concurrent != UNBOUNDED:
            self._look_at_slots(core, service, some, wall, holders)

    def _look_at_slots(
        self, core: Core, service: Service, some: list[Work], wall: float, holders: Holders
    ) -> None:
        mine = holders.of(service)
        tasks = {work.task for work in mine}
        usual = usual_durations(core.history, tasks.union({work.task for work in some}))
        if not tasks <= usual.keys():
            self._ends = None
        number, self._apart = len(mine), len(mine) // _ENDS + 1
        mine = mine[:: self._apart]
        # Where nobody stands before it, those who come first are taken for such as run.
        known = [usual.get(work.task) for work in (some if self.before else mine)]
        if known and None not in known:
            self._lasts, self._longest = (
                sum(filter(None, known)) / len(known),
                max(filter(None, known), default=0.0),
            )
        # else nothing is known of one of them, and how long other tasks take tells nothing of that
        if self._ends is None:
            return
        ends = []
        for work in mine:
            lasts = usual[work.task]
            if work._phase == SETTLED:
                # A handler whose work unit has settled may return at any time, or never.
                self._ends = None
                return
            ran = max(0.0, wall - (work.started_at or wall))
            if ran <= _OVERDUE * lasts + _OVERDUE_AT_LEAST:
                ends.append(max(0.0, lasts - ran))
            # else it may never end, and its slot is counted on by nobody
        # Where there are fewer slots than have been given, by change(concurrent=), the first that are given back count
        # for nobody.
        over = max(service.active - service.concurrent, 0)
        self._ends = sorted(ends)[over // self._apart :]
        self._held = max(number * len(ends) // len(mine) - over, 0) if ends else 0

    def by_limits(self, more: int) -> float:
        """In how many seconds the limits let it start, slots aside, if so many more stood before it."""
        number = self.before + more + 1
        when = max((limit.nth_room(self._now, number) for limit in self._limits), default=self._now)
        return max(0.0, when - self._now)

    def number_in_the_way(self) -> int:
        """How many of its limits, its slots among them, do not let all of these start at once.

        If there are several, each may put off what was reckoned of the others. Slots do not where all that start by the
        limits find free ones.
        """
        late = [one for one in self._limits if one.nth_room(self._now, self.before + 1) > self._now]
        return len(late) + (self.by_slots(0) != 0 and not (late and self._slots_suffice()))

    def _slots_suffice(self) -> bool:
        slots = self._free + self._held
        for place in range(min(self.before + 1, _SAMPLE)):
            # By the slots that there are now, or by that of one so many before it.
            more = place - self.before
            taken = 0.0 if place < slots else self.by_limits(more - slots)
            free = self.by_slots(more) if place < slots else self._longest
            if free is None or taken + free > self.by_limits(more):
                return False
        return True

    def is_slowest(self, eta: float) -> bool:
        """Whether it is what a work unit waits for that starts in so many seconds."""
        return eta in (self.by_slots(0), self.by_limits(0))

    def by_slots(self, more: int) -> float | None:
        """In how many seconds it gets a slot, if so many more stood before it; None if that is not known."""
        before = self.before + more
        if before < self._free:
            return 0.0
        if self._ends is None or not self._free + self._held:
            return None
        # Each slot comes back to the line in the order in which it was free.
        rounds, place = divmod(before, self._free + self._held)
        nth = min((place - self._free) // self._apart, len(self._ends) - 1)
        free_in = 0.0 if place < self._free else self._ends[nth]
        if not rounds:
            return free_in
        return None if self._lasts is None else free_in + rounds * self._lasts


def _passed_by(core: Core, work: Work, now: float, wall: float, holders: Holders) -> list[Work]:
    """Who has passed a work unit since it was ready, among the last that have started."""
    since = work._phase_since + wall - now
    services = set(services_for(work))
    passed = []
    for one in islice(chain(holders.all, reversed(core.history.line)), _LOOKED_AT):
        if one._phase == SETTLED and (one.completed_at or wall) < since:
            break
        if (
            one._seq > work._seq
            and one._order_key < work._order_key
            and since <= (one.started_at or 0.0)
            and not services.isdisjoint(services_for(one))
        ):
            passed.append(one)
    return passed


def _passing(
    core: Core, work: Work, now: float, wall: float, passed: list[Work], holders: Holders
) -> Passing | None:
    """What is told of those who have passed a work unit, and whether they are all; None if nobody has."""
    if not passed:
        return None
    starts = [one.started_at or wall for one in passed]
    first, last, number = min(starts), max(starts), len(starts)
    every = (last - first) / (number - 1) if number > 1 else wall - first
    if wall - last > 2 * every:  # they have become fewer
        every = (wall - first) / number
    worth = core.head_start * (1 - DEFAULT_PRIORITY)
    strict = core.head_start == STRICT
    return Passing(
        number,
        dict(Counter(one.task for one in passed).most_common()),
        wall - first,
        every,
        inf if strict else work._order_key + worth,
        None if strict else core.head_start,
        len(core.history.line) + len(holders.all) > _LOOKED_AT,
    )


def _share(came: list[float], leaving: float, now: float) -> float:
    """How much of what there is those take who go on to come and pass a work unit: 1.0, all of it; 0.0, nobody comes.

    Args:
        came: The instants at which those came who have passed it, or will.
        leaving: How many start per second out of the line; 0.0 if that is not known.
        now: Monotonic.
    """
    # A burst of them is no stream: they have to come for a while, and without a pause longer than those before.
    if len(came) < _LONG_ENOUGH or (now - came[0]) * leaving < _LONG_ENOUGH:
        return 0.0
    if now - came[-1] > 2 * max(after - before for before, after in pairwise(came)):
        return 0.0
    share = len(came) / (now - came[0]) / leaving
    return 1.0 if share >= _NEARLY_ALL else share


def _with_passing(eta: float, share: float, left: float) -> float | None:
    """In how many seconds it is its turn if others go on to pass it as they have; None if that has no end.

    Args:
        eta: The same if nobody did.
        share: How much of what there is they take.
        left: In how many seconds nobody can pass it any more.
    """
    if share < 1 and (alone := eta / (1 - share)) <= left:
        return alone
    # Until nobody can pass it any more, they take so much of what there is.
    return None if left == inf else left + max(0.0, eta - (1 - share) * left)


# Named as users import them, though they are loaded late.
for _public in (Passing, Turn):
    _public.__module__ = "runcue"
