"""Which work unit starts next: the first by order of those whose limits allow a start.

Lives here: the choice out of a run queue and its contenders, the run queues that share a service with it, and what
keeps a work unit that needs several services from starving.

Must not know: gates, how a start is carried out, where the clock comes from.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from runcue._model.phases import NEW
from runcue._model.work import Work
from runcue._scheduling.run_queue import RunQueue

__all__ = ["STARVED_AFTER", "contend", "select"]

STARVED_AFTER: Final = 60.0
"""Seconds that work units further back may pass one that needs several services and never finds them free at once."""


def contend(run_queue: RunQueue, others: Iterable[RunQueue]) -> None:
    """Make a new run queue and those that share a service with it contenders of each other."""
    for other in others:
        if other is not run_queue and not set(run_queue.services).isdisjoint(other.services):
            run_queue.contenders.append(other)
            other.contenders.append(run_queue)


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
        if (
            sole_slots.active >= sole_slots.concurrent
            if sole_slots is not None
            else not run_queue.has_room(now, None, ordered)
        ):
            return None
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
    # About each first in line the limits are asked once: if they contradicted themselves in here, that would be no
    # ground to decide on. But who is asked may cancel some, and then others are first.
    rooms: dict[RunQueue, tuple[Work, bool]] = {}
    # Those that leave what they would take to a starved one; that need not hold the others up.
    waiving: set[RunQueue] = set()
    best = _first_among(run_queue, now, ordered, rooms, waiving)
    while best is not None:
        # A contender has contenders of its own, which may have older claims on what it would take.
        older = _first_among(best, now, ordered, rooms, waiving)
        if older is best and best.peek(ordered) is rooms[best][0]:
            break
        best = older or _first_among(run_queue, now, ordered, rooms, waiving)
    return None if best is None else best.pop(ordered)


def _first_among(
    run_queue: RunQueue,
    now: float,
    ordered: bool,
    rooms: dict[RunQueue, tuple[Work, bool]],
    waiving: set[RunQueue],
) -> RunQueue | None:
    """Which of a run queue and its contenders has the first work unit that may start."""
    startable: list[tuple[float, int, RunQueue]] = []
    starved: RunQueue | None = None
    oldest: Work | None = None
    for one in (run_queue, *run_queue.contenders):
        head = one.peek(ordered)
        if head is None or one.short_until > now:
            continue
        asked = rooms.get(one)
        if asked is None or asked[0] is not head:
            one.refusal = None
            asked = rooms[one] = head, one.has_room(now, head)
        if asked[1]:
            if one not in waiving:
                startable.append((head._order_key, head._seq, one))
        elif (
            one.refusal is None
            and one.lacks_slots_only(head, now)
            and (oldest is None or head._order_key < oldest._order_key)
        ):
            starved, oldest = one, head
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
            return best
        best.held_for = starved  # its slots are left free until it has all it needs
        waiving.add(best)
        startable.remove(first)
    return None
