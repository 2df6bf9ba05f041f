"""Which work unit starts next: the first by order of those whose limits allow a start.

Lives here: the choice out of a run queue and its contenders, the run queues that share a service with it, and what
keeps a work unit that needs several services from starving. Who may pass one that waits for a budget: `overtaking`.

Must not know: gates, how a start is carried out, where the clock comes from.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from runcue._model.phases import NEW
from runcue._model.work import Work
from runcue._scheduling.overtaking import Claim, claim_of, first_to_pass
from runcue._scheduling.priority_queue import place_of
from runcue._scheduling.run_queue import RunQueue

__all__ = ["STARVED_AFTER", "can_start", "contend", "select"]

STARVED_AFTER: Final = 60.0
"""Seconds that work units further back may pass one that needs several services and never finds them free at once."""


def contend(run_queue: RunQueue, others: Iterable[RunQueue]) -> None:
    """Make a new run queue and those that share a service with it contenders of each other."""
    for other in others:
        if other is not run_queue and not set(run_queue.services).isdisjoint(other.services):
            run_queue.contenders.append(other)
            other.contenders.append(run_queue)
    run_queue.look_at_budgets()


def select(run_queue: RunQueue, now: float, ordered: bool) -> Work | None:
    """The next work unit to ask and start, out of this run queue and its contenders; it has left its queue.

    Args:
        run_queue: The one that has room, or may have.
        now: Monotonic.
        ordered: Whether there is an order by priority, which only those have that were asked.

    Returns:
        A work unit that is NEW or READY and whose limits allow a start at this instant; None if there is none.
    """
    if not run_queue.contenders:
        sole_slots = run_queue.sole_slots
        if sole_slots is not None:
            if sole_slots.active >= sole_slots.concurrent:
                return None
        elif not run_queue.has_room(now, None, ordered):
            if not run_queue.near_budgets or (found := _first_behind(run_queue, now, ordered)) is None:
                return None
            run_queue.take(found)
            return found
        elif run_queue.is_keyed:
            return run_queue.pop(ordered)
        ready = run_queue.ready
        if ready._line or ready._heap or ordered:
            return run_queue.pop(ordered)
        new = run_queue.new
        while new:
            work = new.popleft()
            if work._phase == NEW:
                return work
            run_queue.new_tombstones -= 1
        return None
    best = _choose(run_queue, now, ordered)
    if best is None:
        return None
    if best[0].peek(ordered) is best[1]:
        return best[0].pop(ordered)
    best[0].take(best[1])
    return best[1]


def can_start(run_queue: RunQueue, now: float, ordered: bool) -> bool:
    """Whether `select` would give one, where somebody waits for a budget or may have to: see there for the values."""
    if run_queue.contenders:
        return _choose(run_queue, now, ordered) is not None
    return run_queue.has_room(now, None, ordered) or _first_behind(run_queue, now, ordered) is not None


def _first_behind(run_queue: RunQueue, now: float, ordered: bool) -> Work | None:
    """Who may pass the first in a line without contenders, which has just been refused."""
    head = run_queue.peek(ordered)
    claim = None if head is None else _claim_of(run_queue, head, now)
    if claim is None:
        return None
    claim.promise(run_queue, now)
    return first_to_pass(run_queue, (claim,), now, ordered=ordered)


def _claim_of(run_queue: RunQueue, head: Work, now: float) -> Claim | None:
    """What the first in a line needs that has just been refused, if it waits for a budget."""
    waits_long = now - head._submitted_at > STARVED_AFTER and now >= run_queue.patient_until
    return claim_of(run_queue, head, now, keeps_slots=waits_long)


def _choose(run_queue: RunQueue, now: float, ordered: bool) -> tuple[RunQueue, Work] | None:
    """The next work unit to start out of a run queue and its contenders, and where it stands."""
    # About each first in line the limits are asked once: if they contradicted themselves in here, that would be no
    # ground to decide on. But who is asked may cancel some, and then others are first.
    rooms: dict[RunQueue, tuple[Work, bool]] = {}
    # Those that leave what they would take to somebody else; that need not hold the others up.
    waiving: set[RunQueue] = set()
    best = _first_among(run_queue, now, ordered, rooms, waiving)
    while best is not None:
        # A contender has contenders of its own, which may have older claims on what it would take.
        older = _first_among(best[0], now, ordered, rooms, waiving)
        if older == best and best[0].peek(ordered) is rooms[best[0]][0]:
            break
        if older is None or (older[0] is not best[0] and place_of(older[1]) > place_of(best[1])):
            # It would put off one that is seen from there alone: from elsewhere it would be found again and again.
            waiving.add(best[0])
        best = older or _first_among(run_queue, now, ordered, rooms, waiving)
    return best


def _first_among(
    run_queue: RunQueue,
    now: float,
    ordered: bool,
    rooms: dict[RunQueue, tuple[Work, bool]],
    waiving: set[RunQueue],
) -> tuple[RunQueue, Work] | None:
    """Which of a run queue and its contenders has the first work unit that may start, and which one that is."""
    startable: list[tuple[float, int, RunQueue, Work]] = []
    claims: dict[RunQueue, Claim] = {}
    starved: RunQueue | None = None
    oldest: Work | None = None
    for one in (run_queue, *run_queue.contenders):
        head = one.first(now, ordered) if one.is_keyed else one.peek(ordered)
        if head is None or one.short_until > now:
            continue
        asked = rooms.get(one)
        if asked is None or asked[0] is not head:
            one.refusal = None
            asked = rooms[one] = head, one.has_room(now, head)
        if asked[1]:
            if one not in waiving:
                startable.append((head._order_key, head._seq, one, head))
        elif one.near_budgets and (claim := _claim_of(one, head, now)) is not None:
            claims[one] = claim
        elif (
            one.refusal is None
            and one.lacks_slots_only(head, now)
            and (oldest is None or head._order_key < oldest._order_key)
        ):
            starved, oldest = one, head
    if claims or any(one[2].keyed_near for one in startable):
        startable = _that_may_pass(startable, claims, now, ordered, waiving)
    waits_long = oldest is not None and now - oldest._submitted_at > STARVED_AFTER
    while startable:
        first = min(startable)
        best = first[2]
        if (
            starved is None
            or oldest is None
            or not waits_long
            or now < starved.patient_until
            or (oldest._order_key, oldest._seq) > first[:2]
            or set(starved.services).isdisjoint(best.services)
        ):
            return best, first[3]
        best.held_for = starved  # its slots are left free until it has all it needs
        waiving.add(best)
        startable.remove(first)
    return None


def _that_may_pass(
    startable: list[tuple[float, int, RunQueue, Work]],
    claims: dict[RunQueue, Claim],
    now: float,
    ordered: bool,
    waiving: set[RunQueue],
) -> list[tuple[float, int, RunQueue, Work]]:
    """Those who may start without putting off who waits for a budget, and the first behind each of these."""
    waiting = tuple(claims.values())
    if claims:
        first = min(claims, key=lambda one: claims[one].place)
        if all(claims[first].place < one[:2] for one in startable):
            claims[first].promise(first, now)
    found = []
    for one in startable:
        _, _, run_queue, head = one
        for claim in _with_those_of_keys(waiting, run_queue, now):
            if claim.place < one[:2] and claim.is_put_off_by(head, run_queue.services):
                run_queue.refusal = claim.refusal  # it waits for what that one waits for
                break
        else:
            found.append(one)
    for run_queue in claims:
        if run_queue not in waiving:
            those = _with_those_of_keys(waiting, run_queue, now)
            work = first_to_pass(run_queue, those, now, ordered=ordered)
            if work is not None:
                found.append((work._order_key, work._seq, run_queue, work))
    return found


def _with_those_of_keys(waiting: tuple[Claim, ...], run_queue: RunQueue, now: float) -> tuple[Claim, ...]:
    """What others need whom one of a run queue may put off: those who wait for budgets of their keys as well."""
    for keyed in run_queue.keyed_near:
        waiting += tuple(keyed.claims_on(run_queue.services, now))
    return waiting
