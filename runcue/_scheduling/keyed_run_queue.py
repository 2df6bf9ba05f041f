"""Work units that use a service with limits for each key: whoever has a key without room holds up nobody else.

How this goes about it: all stand in the lines of the run queue, as they would without keys. Whoever comes to be first
there and has a key without room is parked, before the turnstile of that key. The next to start is the first of those in
line and of those before open turnstiles. So a work unit is moved when it is parked and when it starts, and a key that
has no room is not asked again before that may have changed.

The keys are asked before what all of them share, such as the slots of another service: that is asked once, for the
first that may start by its keys.

Lives here: `KeyedRunQueue`.

Must not know: gates, time, event loops, as for any run queue.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Iterable
from itertools import chain, islice
from math import inf
from typing import TYPE_CHECKING, Any

from runcue._limits.budget import Budget
from runcue._limits.keyed import KeyedService, KeyService
from runcue._limits.service import Service
from runcue._model.errors import LimitError
from runcue._model.phases import NEW, READY
from runcue._model.work import Work
from runcue._scheduling.instant import STAMPED, Instant
from runcue._scheduling.key_holds import KeyHolds
from runcue._scheduling.key_passing import KeyPassing, claims_of_keys, put_off_by_others, put_off_until
from runcue._scheduling.overtaking import MOST_PASSING, Claim
from runcue._scheduling.priority_queue import place_of
from runcue._scheduling.run_queue import RunQueue
from runcue._scheduling.slot_waiters import SlotWaiters
from runcue._scheduling.turnstiles import Lane, Turnstiles
from runcue._scheduling.waiting_line import WaitingLine
from runcue.abc import Limit

if TYPE_CHECKING:
    from runcue._limits.feedback import How

__all__ = ["KeyedRunQueue"]


class KeyedRunQueue(RunQueue):
    """Work units that need exactly these services, of which some have limits for each key.

    Attributes:
        keyed: Those services.
        holds: What work units hold of what their keys have.
        is_ordered: Whether those who wait were asked for their priorities, since there are some.
        turnstiles: Where the work units wait whose keys have no room.
        unasked_parked: Those of them that nobody has asked about yet. Entries that have left are skipped.
        slot_waiters: Those that are not ready and wait for a slot of their key to be asked again.
    """

    __slots__ = (
        "_head",
        "_next",
        "_now",
        "_shared",
        "holds",
        "is_ordered",
        "keyed",
        "slot_waiters",
        "turnstiles",
        "unasked_parked",
    )

    is_keyed = True

    def __init__(self, services: tuple[Service, ...], executor: Any = None) -> None:
        self.keyed = tuple(service for service in services if isinstance(service, KeyedService))
        self.turnstiles = Turnstiles()
        self.unasked_parked: deque[Work] = deque()
        self.slot_waiters = SlotWaiters()
        self.holds = KeyHolds()
        self.is_ordered = False
        # When it was last looked who is first, and who that was if all else has room for it.
        self._now = -inf
        self._head: Work | None = None
        # The limits that all keys share.
        self._shared: tuple[Limit, ...] = ()
        # When the first key that has no room may have some again, as that was said last.
        self._next = STAMPED
        super().__init__(services, executor)

    def look_at_limits(self) -> None:
        """See `RunQueue.look_at_limits`."""
        super().look_at_limits()
        self.sole_slots = None
        self._shared = self.limits
        self.limits = (*self.limits, STAMPED)
        if any(service.learns for service in self.keyed):
            self.hears = self.services
        self.turnstiles.open_all()

    def services_for(self, work: Work) -> tuple[Service, ...]:
        """See `RunQueue.services_for`."""
        own: dict[Service, Service] = {key.service: key for key in self.holds.keys_of(work)}
        found: list[Service] = []
        for service in self.services:
            if service in own:
                found.append(own[service])
            if service not in own or service.limits:  # such as a pause of all keys
                found.append(service)
        return tuple(found)

    # Who may start.

    def first(self, now: float, ordered: bool) -> Work | None:
        """The first work unit by order whose keys have room, left where it is; who comes before it is parked.

        Args:
            now: Monotonic.
            ordered: As for `peek`.
        """
        self._now, self._head = now, None
        self.holds.forget_released()
        turnstiles = self.turnstiles
        turnstiles.open_due(now)
        while True:
            work = super().peek(ordered)
            lane = turnstiles.first_open()
            if lane is not None and (work is None or place_of(lane.first) < place_of(work)):
                work = lane.first
            elif work is None:
                when = turnstiles.next_instant()
                if when < inf:
                    self._next = Instant(when)
                    self.refusal = self._next, None
                return None
            else:
                if work._keyed is None:
                    return work  # it will fail, as its keys are not known
                lane = turnstiles.lanes.get(work._keyed)
                if lane is not None and lane.is_shut:
                    super().pop(ordered)
                    self._park(work, lane)
                    continue
            phase = work._phase
            shut = self._shut_for(work, now)
            if work._phase != phase:
                continue  # who was asked has cancelled it
            if shut is None and (shut := self._put_off(work, now)) is None:
                return work
            key, until, limit = shut
            comes = work not in turnstiles.parked
            if lane is not None and not comes and isinstance(limit, Budget):
                passing = KeyPassing(lane, turnstiles.parked, limit, self._keys_have_room)
                if (found := passing.next(now, ordered=ordered)) is not None:
                    return found
                until = min(until, passing.passes_at)
            if comes:
                super().pop(ordered)
                if lane is None:
                    assert work._keyed is not None
                    lane = turnstiles.lanes[work._keyed] = Lane(work._keyed)
                self._park(work, lane)
            assert lane is not None
            turnstiles.wait(lane, key, until)
            turnstiles.note_short(lane, isinstance(limit, Budget))
            if comes and lane.is_short:
                key.reopen()  # its instant is to be promised, and who waits behind it may pass it

    def _put_off(self, work: Work, now: float) -> tuple[KeyService, float, Limit | None] | None:
        """As `_shut_for`, because of somebody who came before and waits for a budget of the same key, or of another."""
        until = None
        keys = work._keyed or ()
        if any(key.turnstiles and key.budgets for key in keys):
            until = put_off_until(work, now)
        if until is None and keys and self._shared:
            keyed = (one for one in (self, *self.contenders) if isinstance(one, KeyedRunQueue))
            until = put_off_by_others(work, [one.turnstiles for one in keyed if one.turnstiles.short], now)
        return None if until is None else (keys[0], until, None)

    def has_key_budgets(self) -> bool:
        """See `RunQueue.has_key_budgets`."""
        return any(service.budgets_by_key or service.named_budgets for service in self.keyed)

    def claims_on(self, services: tuple[Service, ...], now: float) -> Iterable[Claim]:
        """See `RunQueue.claims_on`; there are none where these have enough for everybody."""
        if not self.turnstiles.short:
            return ()
        return [claim for _, claim in claims_of_keys((self.turnstiles,), services, now)]

    def _keys_have_room(self, now: float, work: Work) -> bool:
        return self._shut_for(work, now) is None

    def _park(self, work: Work, lane: Lane) -> None:
        declared = work._declared
        may_move = declared is not None and declared.followers is not None
        # A place that it has left might be met, or be its own again, while it is parked.
        if self.ready.tombstones and (may_move or work in self.ready.left):
            self.ready.forget(work)
        self.turnstiles.park(work, lane)
        if lane.is_short and lane.number <= MOST_PASSING and lane.turnstile is not None:
            lane.turnstile.reopen()  # it may pass the first
        if work._task.gated and (work._phase == NEW or work._approved_in == -1):
            self.unasked_parked.append(work)

    def _shut_for(self, work: Work, now: float) -> tuple[KeyService, float, Limit | None] | None:
        """The key that has no room for a work unit; None if all have.

        Returns:
            That one; when its limits are to be asked again; and which of them has none, None for the slots.
        """
        for key in work._keyed or ():
            if key.active >= key.concurrent:
                return key, inf, None
            for limit in key.limits:
                if not limit.room(now, work):
                    return key, limit.next_room(now, work), limit
        return None

    def has_room(self, now: float, work: Work | None = None, ordered: bool = False) -> bool:
        """See `RunQueue.has_room`."""
        self._now = now  # who is first is looked for as of then, also where what all keys share has no room
        if not self.may_have_room(now):
            return False
        if work is not None:
            return self._shut_for(work, now) is None and self._others_have_room(now, work)
        head = self.first(now, ordered)
        while head is not None:
            if not self._others:
                self._head = head
                return True
            if not self._others_have_room(now, head):
                return False
            if (first := self.first(now, ordered)) is head:
                self._head = head
                return True
            head = first  # who was asked has cancelled it, or who had lent it its place
        return False

    def expects_room(self, now: float, work: Work | None = None) -> bool:
        """See `RunQueue.expects_room`."""
        until = self.refused_until
        is_refused = self._others and until is not None and now < until != self._next.when
        if is_refused or not self.may_have_room(now):
            return False
        if work is None:
            return self.first(now, ordered=False) is not None
        lane = self.turnstiles.lanes.get(work._keyed) if work._keyed else None
        return lane is None and self._shut_for(work, now) is None

    def can_come(self, now: float) -> bool:
        """See `RunQueue.can_come`."""
        if not all(service.has_slot() for service in self.services):
            return False
        work = self.first(now, ordered=False)
        if work is None:
            return self.turnstiles.next_instant() < inf
        refusals = (service.refusal_by_limits(now, work) for service in self.services)
        return all(refusal is None or refusal.until < inf for refusal in refusals)

    def lacks_slots_only(self, head: Work, now: float) -> bool:
        """See `RunQueue.lacks_slots_only`: slots that all keys share. For those of its key alone nobody waits."""
        return super().lacks_slots_only(head, now) and self._shut_for(head, now) is None

    # What is taken and given back.

    def acquire(self, now: float, work: Work) -> LimitError | None:
        """See `RunQueue.acquire`."""
        error = super().acquire(now, work)
        keys = work._keyed
        if error is not None or not keys:
            return error
        phase = work._phase
        error = self.holds.acquire(now, work, keys)
        if error is None and work._phase == phase:
            for key in keys:
                if key.feedback is not None:
                    self.hears = self.services
            return None
        if error is None:
            self.holds.undo(now, work)
            error = self._cancelled_by_limit(phase)
        super().release(now, work)
        return error

    def entered(self, now: float, work: Work, at: float) -> None:
        """See `RunQueue.entered`."""
        for limit in self._shared:
            limit.entered(now, work, at)
        self.holds.entered(now, work, at)

    def release(self, now: float, work: Work) -> None:
        """See `RunQueue.release`."""
        super().release(now, work)
        self.holds.release(now, work)

    def hear(self, now: float, run: Work, how: How) -> None:
        """See `RunQueue.hear`."""
        keys = self.holds.keys_of(run)
        for service in (*self.services, *keys):
            if service.feedback is not None:
                service.feedback.ended(service, now, run, how)
        for key in keys:
            if key.turnstiles:
                key.reopen()

    def hold_slots(self, work: Work) -> None:
        """See `RunQueue.hold_slots`."""
        super().hold_slots(work)
        self.holds.hold_slots(work)

    def give_back_slots(self, work: Work) -> None:
        """See `RunQueue.give_back_slots`."""
        super().give_back_slots(work)
        self.holds.give_back_slots(work)

    def free_slots(self, work: Work | None = None) -> int:
        """See `RunQueue.free_slots`; without a work unit, of those that all keys share."""
        free = super().free_slots()
        if work is not None:
            for key in self.holds.keys_of(work):
                free = min(free, key.concurrent - key.active)
        return free

    # The lines.

    def peek(self, ordered: bool) -> Work | None:
        """See `RunQueue.peek`: of those whose keys have room, as of the last look."""
        return self.first(self._now, ordered)

    def pop(self, ordered: bool) -> Work | None:
        """See `RunQueue.pop`."""
        work = self._head or self.first(self._now, ordered)
        self._head = None
        if work in self.turnstiles.parked:
            self.turnstiles.unpark(work)
        elif work is not None:
            super().pop(ordered)
        return work

    def first_beside(self, work: Work) -> Work:
        """See `RunQueue.first_beside`: of those with the same keys."""
        lane = self.turnstiles.lanes.get(work._keyed) if work._keyed else None
        return work if lane is None else lane.first

    def first_in_lines(self) -> list[Work]:
        """See `RunQueue.first_in_lines`: there is one for those with the same keys."""
        first = super().peek(ordered=False)
        parked = [lane.first for lane in self.turnstiles.lanes.values()]
        return parked if first is None else [first, *parked]

    def line_for(self, service: Service) -> tuple[Work | None, int]:
        """See `RunQueue.line_for`."""
        if isinstance(service, KeyService):
            return self.turnstiles.line_for(service)
        if service not in self.services:
            return None, 0
        return min(self.first_in_lines(), key=place_of, default=None), self.backlog()

    def before_at(self, key: KeyService, place: tuple[float, int], most: int) -> tuple[list[Work], bool]:
        """The work units that use a key of a service and stand before a place, and whether these are all.

        Args:
            key: That one.
            place: The key in the order, and the number, of a work unit.
            most: So many lanes are looked at, and so many work units; of all lanes together twice as many.
        """
        known = self.turnstiles.lanes
        lane = known.get((key,)) if len(self.keyed) == 1 else None
        lanes = [] if lane is None else [lane]
        if len(self.keyed) > 1:
            near = islice(known.values(), most)
            lanes = [one for one in near if key in one.keys and one.line[0][:2] < place]
        waiting = ((entry[2], one) for one in lanes for entry in islice(one.line, most))
        entries, parked = list(islice(waiting, 2 * most)), self.turnstiles.parked
        found = [work for work, one in entries if parked.get(work) is one and place_of(work) < place]
        line = islice(chain(self.new, self.ready.entries()), most)
        found += [
            work
            for work in line
            if key in (work._keyed or ()) and work._phase in (NEW, READY) and place_of(work) < place
        ]
        are_all = len(self.new) + len(self.ready) <= most and (len(self.keyed) == 1 or len(known) <= most)
        are_all = are_all and len(entries) == sum(len(one.line) for one in lanes)
        return list(dict.fromkeys(found)), are_all

    def backlog(self, ordered: bool = False) -> int:
        """See `RunQueue.backlog`."""
        return super().backlog(ordered) + len(self.turnstiles.parked)

    def some_in_line(self, before: int, number: int) -> list[Work]:
        """See `RunQueue.some_in_line`."""
        parked = list(self.turnstiles.parked)
        return [*super().some_in_line(before, number), *parked[: before + number : before // number + 1]]

    def in_line(self) -> list[Work]:
        """See `RunQueue.in_line`."""
        return [*super().in_line(), *self.turnstiles.parked]

    def is_paused(self) -> bool:
        """See `RunQueue.is_paused`."""
        paused = (key for service in self.keyed for key in service.paused)
        return super().is_paused() or any(self.turnstiles.line_for(key)[1] for key in paused)

    def move(self, work: Work) -> None:
        """See `RunQueue.move`."""
        if work in self.turnstiles.parked:
            self.turnstiles.move(work)
        else:
            super().move(work)

    def discard_later(self, work: Work) -> None:
        """See `RunQueue.discard_later`."""
        if work in self.turnstiles.parked:
            self.turnstiles.unpark(work)
        else:
            super().discard_later(work)

    def take(self, work: Work) -> None:
        """See `RunQueue.take`."""
        if work in self.turnstiles.parked:
            self.turnstiles.unpark(work)
        else:
            super().take(work)

    def take_out(self, work: Work) -> None:
        """See `RunQueue.take_out`."""
        if work in self.turnstiles.parked:
            self.turnstiles.unpark(work)
        else:
            super().take_out(work)

    def leave_waiting(self, work: Work, *, comes_back: bool = False) -> None:
        """See `RunQueue.leave_waiting`."""
        if work in self.slot_waiters.parked:
            self.slot_waiters.unpark(work)
        else:
            super().leave_waiting(work, comes_back=comes_back)

    def hand_over(self, works: Container[Work], other: WaitingLine) -> None:
        """See `RunQueue.hand_over`."""
        for work in [work for work in self.slot_waiters.parked if work in works]:
            self.slot_waiters.unpark(work)
            work._task.waiting.append(work)
        for work in [work for work in self.turnstiles.parked if work in works]:
            self.turnstiles.unpark(work)
            if work._phase == NEW:
                self.take_back(work)
            else:
                self.ready.push(work)
        super().hand_over(works, other)
