"""The work units that need the same services and run in the same kind of place: who of them is next, and may it start.

Lives here: `RunQueue`: they stand in a `WaitingLine`, and here are all questions to the limits of their services, which
are asked and taken together.

Must not know: gates, time, event loops. It is told when a work unit changes its place.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import inf
from typing import TYPE_CHECKING, Any, Final

from runcue._limits.rate_limit import RateLimit
from runcue._limits.service import Service, is_budget
from runcue._model.errors import LimitError
from runcue._model.phases import NEW, READY
from runcue._model.work import Work
from runcue._scheduling.waiting_line import WaitingLine
from runcue.abc import Limit

if TYPE_CHECKING:
    from runcue._limits.budget import Budget
    from runcue._limits.feedback import How

__all__ = ["UNASKED", "RunQueue"]

UNASKED: Final = -1.0
"""In place of an instant: the next worker comes without a yes of the limits."""


class RunQueue(WaitingLine):
    """Work units that need exactly these services, and run in the same kind of place.

    Attributes:
        is_keyed: Whether some of its services have limits for each key; then it is a `KeyedRunQueue`.
        services: Taken all or none.
        executor: Runs their handlers; None: the event loop does.
        contenders: Other run queues that share a service with this one; order is kept among all of them.
        starting: Workers on their way that have not taken a work unit yet.
        asking: Async gates that are being awaited.
        limits: Those of all its services, slots aside. If there are any, starts have to be stamped.
        hears: Those of its services that are told how attempts end.
        budgets: The budgets among these: while its first work unit waits for one, others may pass it.
        is_guarded: Whether there are limits among these that may raise, or do something beside: all but rates and
            budgets.
        near_budgets: Whether it has any, or a contender has.
        keyed_near: Those of the contenders in which some may wait for budgets of their keys, if it has no keys itself.
        promised: Its first work unit, when that waits for a budget, the instant at which it was to start, and when it
            was started before that, if ever.
        passes_at: When somebody may pass that one who cannot now; inf if nobody is known.
        refusal: The last limit that said no in `has_room`, and the work unit it was asked with; None for a rate, which
            takes none. Whoever looks at it clears it before.
        sole_service: The service, if there is one alone.
        sole_slots: The same, if it has slots and no other limits.
        refused_until: When the limit that kept it from starting is to be asked again, by that very answer; None if no
            limit did, when last tried.
        unsure_until: A limit has said yes, and then no to the worker that came: until this instant no other one comes,
            and then one comes UNASKED. 0: none has done so.
        short_until: No start before this instant: there is nothing left to run a handler in. 0.0 when that has
            come and it was tried again.
        held_for: The run queue whose work has waited for too long; this one leaves it the slots that they share.
        patient_until: Before this instant its own work has not waited for too long, however long it has.
    """

    __slots__ = (
        "_had_budgets",
        "_others",
        "_rates",
        "asking",
        "budgets",
        "contenders",
        "executor",
        "hears",
        "held_for",
        "is_guarded",
        "keyed_near",
        "limits",
        "near_budgets",
        "passes_at",
        "patient_until",
        "promised",
        "refusal",
        "refused_until",
        "services",
        "short_until",
        "sole_service",
        "sole_slots",
        "starting",
        "unsure_until",
    )

    is_keyed = False

    def __init__(self, services: tuple[Service, ...], executor: Any = None) -> None:
        super().__init__()
        self.services = services
        self.executor = executor
        self.contenders: list[RunQueue] = []
        self.starting: set[Any] = set()
        self.asking = 0
        self.short_until = 0.0
        self.held_for: RunQueue | None = None
        self.patient_until = -inf
        self.limits: tuple[Limit, ...] = ()
        self._rates: tuple[RateLimit, ...] = ()
        self._others: tuple[Limit, ...] = ()
        self.budgets: tuple[Budget, ...] = ()
        self.near_budgets = self._had_budgets = False
        self.keyed_near: tuple[RunQueue, ...] = ()
        self.promised: tuple[Work, float, float | None] | None = None
        self.passes_at = inf
        self.refusal: tuple[Limit, Any] | None = None
        self.refused_until: float | None = None
        self.unsure_until = 0.0
        self.sole_slots: Service | None = None
        self.sole_service = services[0] if len(services) == 1 else None
        self.look_at_limits()

    def look_at_limits(self) -> None:
        """Note what limits the services have."""
        services = self.services
        # A limit that several of its services share counts a start once.
        each = {id(getattr(limit, "own", limit)): limit for service in services for limit in service.limits}
        self._rates = tuple(limit for limit in each.values() if isinstance(limit, RateLimit))
        self._others = tuple(limit for limit in each.values() if not isinstance(limit, RateLimit))
        self.limits = (*self._rates, *self._others)
        self.hears = tuple(service for service in services if service.feedback is not None)
        self.budgets = tuple(limit for limit in self._others if is_budget(limit))
        self.is_guarded = self.is_keyed or len(self.budgets) < len(self._others)
        self.look_at_budgets()
        # The common case, one service with slots and nothing else, is decided by one comparison.
        self.sole_slots = services[0] if len(services) == 1 and not self.limits else None

    def look_at_budgets(self) -> None:
        """Note, here and with the contenders, who may have to wait because somebody waits for a budget."""
        self._look_around()
        had, has_keyed = self._had_budgets, self.has_key_budgets()
        self._had_budgets = has_keyed or bool(self.budgets)
        # There may be hundreds that share a total, each with as many contenders: these look around themselves only if
        # something is new to them by this one.
        for one in self.contenders:
            is_keyed = has_keyed and not one.is_keyed
            is_near = is_keyed or bool(self.budgets)
            if is_keyed != (self in one.keyed_near) or (had and not is_near and one.near_budgets):
                one._look_around()
            elif is_near:
                one.near_budgets = True

    def _look_around(self) -> None:
        contenders = self.contenders
        keyed = () if self.is_keyed else tuple(one for one in contenders if one.has_key_budgets())
        self.keyed_near = keyed
        self.near_budgets = bool(keyed or self.budgets) or any(one.budgets for one in contenders)

    def has_key_budgets(self) -> bool:
        """Whether some of its work units may wait for budgets of their keys."""
        return False

    def claims_on(self, services: tuple[Service, ...], now: float) -> Iterable[Any]:
        """What those need of services without keys who wait for budgets of their keys, as `Claim`s."""
        return ()

    def has_room(self, now: float, work: Work | None = None, ordered: bool = False) -> bool:
        """Whether its services allow one more start at this instant.

        Args:
            now: Monotonic.
            work: The work unit that would start; by default the first in line.
            ordered: As for `peek`.
        """
        if self.sole_slots is not None:
            return self.sole_slots.active < self.sole_slots.concurrent
        if not self.may_have_room(now):
            return False
        if not self._others:
            return True
        if work is not None:
            return self._others_have_room(now, work)
        new = self.new
        # Who is first is mostly seen without a call.
        head = (
            new[0]
            if new and not ordered and new[0]._phase == NEW and not (self.ready._line or self.ready._heap)
            else self.peek(ordered)
        )
        if not self.is_guarded:
            if head is not None:
                for limit in self._others:
                    if not limit.room(now, head):
                        self.refusal = limit, head
                        return False
            return True
        while self._others_have_room(now, head):
            if (first := self.peek(ordered)) is head:
                return True
            head = first  # who was asked has cancelled it, or who had lent it its place
        return False

    def expects_room(self, now: float, work: Work | None = None) -> bool:
        """The same, as far as it is known: limits of the user's own are asked by who starts work units alone.

        Args:
            now: Monotonic.
            work: Whom it is for, if anybody in particular.
        """
        if self.sole_slots is not None:
            return self.sole_slots.active < self.sole_slots.concurrent
        refused = self._others and self.refused_until is not None and now < self.refused_until
        return not refused and self.may_have_room(now)

    def may_have_room(self, now: float) -> bool:
        """The same, whatever limits of the user's own would say."""
        # Plain loops: this is asked several times for each work unit, and a generator would cost more than the answer.
        for service in self.services:
            if service.active >= service.concurrent:
                return False
        for rate in self._rates:
            if rate.free <= 0 and not rate.room(now):
                self.refusal = rate, None
                return False
        return True

    def _others_have_room(self, now: float, work: Work | None) -> bool:
        if work is not None:
            for limit in self._others:
                if not limit.room(now, work):
                    self.refusal = limit, work
                    return False
        return True

    def lacks_slots_only(self, head: Work, now: float) -> bool:
        """Whether its first work unit is ready, needs several services, and not all of them have a free slot."""
        several = len(self.services) > 1
        asked = head._phase == READY or not head._task.gated
        return several and asked and all(limit.room(now, head) for limit in self.limits)

    def can_come(self, now: float) -> bool:
        """Whether its first work unit can start at this instant or at one that is known, before anything has ended."""
        if not all(service.has_slot() for service in self.services):
            return False
        # By the answer that was acted upon: another one would be good for nothing.
        if self.unsure_until:
            return True
        if self.refused_until is not None:
            return self.refused_until < inf
        work = self.peek(ordered=False)
        if work is None:
            return False
        refusals = (service.refusal_by_limits(now, work) for service in self.services)
        return all(refusal is None or refusal.until < inf for refusal in refusals)

    def acquire(self, now: float, work: Work) -> LimitError | None:
        """Take a slot of each service and what else its limits count, all in this step or nothing.

        Returns:
            Why nothing was taken: a limit of the user's own has raised.
        """
        for service in self.services:
            service.active += 1
        if not self.is_guarded:
            for limit in self.limits:
                limit.acquire(now, work)
            return None
        # What may raise comes first: then it is known that all can be taken.
        if self._others and (error := self._acquire_others(now, work)) is not None:
            for service in self.services:
                service.active -= 1
            return error
        for rate in self._rates:
            rate.acquire(now, work)
        return None

    def _acquire_others(self, now: float, work: Work) -> LimitError | None:
        phase = work._phase
        for limit in self._others:
            try:
                limit.acquire(now, work)
            except LimitError as error:
                for taken in self._others[: self._others.index(limit)]:
                    taken.release(now, work, None)
                return error
        if work._phase == phase:
            return None
        # One of them has cancelled it; in hand, so that it is no tombstone in the line that it was taken out of.
        for limit in self._others:
            limit.release(now, work, None)
        return self._cancelled_by_limit(phase)

    def _cancelled_by_limit(self, phase: int) -> LimitError:
        """A limit has cancelled a work unit in hand, which was counted as one that stands in line."""
        if phase == NEW:
            self.new_tombstones -= 1
        elif phase == READY:
            self.ready.tombstones -= 1
        return LimitError("A limit has cancelled the work unit that it was to let start.")

    def entered(self, now: float, work: Work, at: float) -> None:
        """Say that the handler of a work unit was entered, at that instant."""
        for limit in self.limits:
            limit.entered(now, work, at)

    def release(self, now: float, work: Work) -> None:
        """Give back what a work unit holds: its attempt has ended."""
        for service in self.services:
            service.active -= 1
        for limit in self._others:  # a rate takes nothing back but time
            limit.release(now, work, None)

    def spend_in_vain(self, work: Work) -> None:
        """What the attempt of a work unit spends, or has spent until this step, does not lead to anything."""
        declared = work._declared
        if declared is not None:
            if declared.left is not None:
                return  # its handler goes on, for another one
            if declared.followers is not None:
                work = declared.followers.run or work
        for service in self.services_for(work):
            for budget in service.budgets.values():
                budget.is_vain(work)

    def services_for(self, work: Work) -> tuple[Service, ...]:
        """The services that a work unit uses, in the order in which its task names them: those of its keys."""
        return self.services

    def hear(self, now: float, run: Work, how: How) -> None:
        """Say how an attempt has ended, after it was released or before; see `Feedback.ended`."""
        for service in self.hears:
            service.feedback.ended(service, now, run, how)  # type: ignore[union-attr]

    def hold_slots(self, work: Work) -> None:
        """Take a slot of each service and nothing else: an async gate of a work unit is being asked."""
        for service in self.services:
            service.active += 1

    def give_back_slots(self, work: Work) -> None:
        """Give such slots back."""
        for service in self.services:
            service.active -= 1

    def free_slots(self, work: Work | None = None) -> int:
        """How many more could run at the same time, by its slots; for a work unit, or whoever it is."""
        sole = self.sole_service
        if sole is not None:
            return sole.concurrent - sole.active
        free = 1 << 30
        for service in self.services:
            free = min(free, service.concurrent - service.active)
        return free

    def leave_waiting(self, work: Work, *, comes_back: bool = False) -> None:
        """One that is not ready, and waits for nothing in particular, is about to leave who is to be asked again.

        Args:
            work: That one.
            comes_back: Whether it may stand there once more: then it leaves no tombstone.
        """
        if comes_back:
            work._task.waiting.remove(work)
        else:
            work._task.discard_waiting_later(work)

    def line_for(self, service: Service) -> tuple[Work | None, int]:
        """The first of those that wait and use a service, None if there are none, and how many they are."""
        if service not in self.services or (first := self.peek(ordered=False)) is None:
            return None, 0
        return first, self.backlog()

    def is_paused(self) -> bool:
        """Whether it has work units that could be taken, and a service that somebody has to let go on first."""
        return self.backlog() > 0 and any(service.is_paused() for service in self.services)

    def keeps_off_for(self) -> Work | None:
        """The work unit for which this run queue leaves free what they share, None if there is none."""
        starving = self.held_for
        return None if starving is None or starving.free_slots() > 0 else starving.peek(ordered=False)

    def let_pass(self, until: float) -> None:
        """Let others pass again until an instant, although work of this run queue has waited for too long."""
        self.patient_until = until
        for other in self.contenders:
            if other.held_for is self:
                other.held_for = None

    def wants_worker(self, ordered: bool) -> bool:
        """Whether there are more work units, and more free slots for them, than workers are on their way."""
        starving = self.held_for
        if starving is not None:
            if starving.free_slots() <= 0 and starving.backlog(ordered):
                return False
            self.held_for = None
        starting = len(self.starting)
        sole = self.sole_service
        if sole is not None:
            if sole.active + starting >= sole.concurrent:
                return False
        elif self.free_slots() <= starting:
            return False
        if not ordered and len(self.new) - self.new_tombstones > starting:
            return True
        return self.backlog(ordered) > starting
