"""Who may pass a work unit that is first in line and waits for a budget: only who does not put off its instant.

A large one needs much of a budget at once, and would wait for ever if smaller ones took it away piece by piece; and if
nobody could pass it, what is left of the budget until then would be lost. So who is behind it starts where what that
takes is there again at its instant, or is not needed then. Its instant is reckoned by what is known; who has spent more
than was reserved puts it off after all. So it is promised once: from then on nobody passes.

Lives here: `Claim`, what such a work unit needs when; `claim_of`, and `first_to_pass`.

Must not know: how it is decided who of several is first, how anything is started.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from operator import le
from typing import TYPE_CHECKING, Any, Final, Protocol

from runcue._limits.guarded import GuardedLimit
from runcue._limits.rate_limit import RateLimit
from runcue._limits.service import Service, is_budget
from runcue._model.phases import READY
from runcue._model.work import Work
from runcue._scheduling.lines import services_for
from runcue._scheduling.priority_queue import place_of
from runcue.abc import Limit

if TYPE_CHECKING:
    from runcue._limits.budget import Budget
    from runcue._model.amounts import Amount

__all__ = ["MOST_PASSING", "Claim", "budget_claim_of", "claim_of", "first_to_pass"]

MOST_PASSING: Final = 64
"""So many of those behind it are looked at."""


class Line(Protocol):
    """Where some wait, as far as it is known here: a run queue, or those in one that have the same keys."""

    services: tuple[Service, ...]
    limits: tuple[Limit, ...]
    budgets: tuple[Budget, ...]
    promised: tuple[Work, float, float | None] | None
    refusal: tuple[Limit, Any] | None
    passes_at: float

    def peek(self, ordered: bool) -> Work | None:
        """The first in line."""

    def first_ones(self, most: int) -> list[Work]:
        """About so many of the first, in order."""

    def has_room(self, now: float, work: Work | None = None) -> bool:
        """Whether one of them may start."""


class Claim:
    """What the first in a line needs, that waits for a budget.

    Args:
        run_queue: The line.
        head: That work unit.
        now: Monotonic.
        until: Its instant; inf if that is not known.
        keeps_slots: Whether the slots that it will need are left free for it, too.
        kept: Those services alone whose slots are, and which nobody takes of whom it is not known whether that puts it
            off; by default all that it uses.

    Attributes:
        head: See above.
        place: Its place in the order.
        until: See above.
        refusal: The budget that has refused it; see `RunQueue.refusal`.
    """

    __slots__ = ("_is_shut", "_keeps_slots", "_kept", "_needs", "head", "place", "refusal", "until")

    def __init__(
        self,
        run_queue: Line,
        head: Work,
        now: float,
        until: float,
        *,
        keeps_slots: bool,
        kept: tuple[Service, ...] | None = None,
    ) -> None:
        self.head = head
        self.place = place_of(head)
        self.until = until
        self.refusal = run_queue.refusal
        services = run_queue.services
        # Of limits of the user's own nobody knows what they would take from it.
        self._is_shut = until == inf or any(map(_is_own, run_queue.limits))
        self._keeps_slots = keeps_slots
        self._kept = services_for(head) if kept is None else kept
        # Of each service: whether a start now takes one that it needs, and how much of each budget it can spare.
        self._needs: dict[Service, tuple[bool, list[tuple[Budget, Amount | float]]]] = {}
        for service in () if self._is_shut else services:
            takes = any(isinstance(rate, RateLimit) and rate.keeps_from(now, until) for rate in service.rates)
            spare = [(one, one.spare(now, head, until)) for one in service.budgets.values()]
            self._needs[service] = takes, spare

    def promise(self, run_queue: Line, now: float) -> None:
        """It is the first of all: its instant is what it was when that was so for the first time.

        Args:
            run_queue: Its line.
            now: Monotonic. If that instant has come, nobody passes it any more.
        """
        promised = run_queue.promised
        # It may have started since, and come back for another attempt: that waits anew.
        if promised is None or promised[0] is not self.head or promised[2] != self.head.started_at:
            run_queue.promised = promised = self.head, self.until, self.head.started_at
        self._is_shut |= now >= promised[1]

    def is_put_off_by(self, work: Work, services: Sequence[Service]) -> bool:
        """Whether a start of another one now would put it off.

        Args:
            work: The other one.
            services: Those that this one takes.
        """
        for service in services:
            is_kept = service in self._kept
            if self._is_shut and is_kept:
                return True
            needs = self._needs.get(service)
            if needs is None:
                continue
            if needs[0] or (self._keeps_slots and is_kept and service.active + 1 >= service.concurrent):
                return True
            for budget, spare in needs[1]:
                amount = budget.amount_for(work)
                if amount and amount > spare:
                    return True
        return False


def claim_of(
    run_queue: Line, head: Work, now: float, *, keeps_slots: bool, kept: tuple[Service, ...] | None = None
) -> Claim | None:
    """What the first in a line needs that was just refused; see `Claim`.

    Returns:
        None if it is no budget that it waits for.
    """
    refusal = run_queue.refusal
    if refusal is None or not is_budget(refusal[0]):
        return None
    until = max(_next_room(run_queue, head, now), now)
    return Claim(run_queue, head, now, until, keeps_slots=keeps_slots, kept=kept)


def budget_claim_of(run_queue: Line, now: float) -> Claim | None:
    """What the first in a line needs, if it waits for a budget, for whoever only looks.

    Args:
        run_queue: The line.
        now: Monotonic.
    """
    head = run_queue.peek(False)
    if head is None or all(budget.room(now, head) for budget in run_queue.budgets):
        return None
    return Claim(run_queue, head, now, max(_next_room(run_queue, head, now), now), keeps_slots=False)


def first_to_pass(run_queue: Line, claims: Sequence[Claim], now: float, *, ordered: bool) -> Work | None:
    """The first of those behind the first in a line that may start now.

    Args:
        run_queue: The line. It is noted there when somebody can who cannot now.
        claims: That of its first, and of others.
        now: Monotonic.
        ordered: As for `RunQueue.peek`.
    """
    refusal, run_queue.passes_at = run_queue.refusal, inf
    head, services, budgets = run_queue.peek(ordered), run_queue.services, run_queue.budgets
    # What those take who may not: who takes no less of anything may not, either.
    refused: list[tuple[Amount, ...]] = []
    for work in run_queue.first_ones(MOST_PASSING + 1):
        if work is head or (ordered and work._phase != READY):
            continue
        amounts = tuple([budget.amount_for(work) for budget in budgets])
        if refused and any(all(map(le, one, amounts)) for one in refused):
            continue
        place = place_of(work)
        for claim in claims:
            if claim.place < place and claim.is_put_off_by(work, services):
                break
        else:
            if run_queue.has_room(now, work):
                run_queue.refusal = refusal
                return work
            when = _next_room(run_queue, work, now)
            if now < when < run_queue.passes_at:
                run_queue.passes_at = when
        refused.append(amounts)
    run_queue.refusal = refusal
    return None


def _next_room(run_queue: Line, work: Work, now: float) -> float:
    """When the rates and budgets of a line have room for a work unit, if nothing else starts."""
    when = now
    for limit in run_queue.limits:
        if (isinstance(limit, RateLimit) or is_budget(limit)) and not limit.room(now, work):
            when = max(when, limit.next_room(now, work))
    return when


def _is_own(limit: object) -> bool:
    return isinstance(limit, GuardedLimit)
