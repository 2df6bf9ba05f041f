"""Who may pass a work unit that waits for a budget of its key: those with the same keys, under the same rules.

Lives here: `KeyPassing`, one lane as `overtaking` sees a line.

Must not know: who else waits.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

from runcue._limits.budget import Budget
from runcue._limits.service import Service
from runcue._model.work import Work
from runcue._scheduling.overtaking import claim_of, first_to_pass
from runcue._scheduling.turnstiles import Lane
from runcue.abc import Limit

__all__ = ["KeyPassing"]


class KeyPassing:
    """One lane whose first has been refused by a budget.

    Args:
        lane: That one.
        parked: Who waits, with their lanes.
        refused_by: The budget.
        has_room: Whether the keys of a work unit have room for it.

    Attributes:
        passes_at: When somebody may pass who cannot now; inf if nobody is known.
    """

    def __init__(
        self,
        lane: Lane,
        parked: dict[Work, Lane],
        refused_by: Budget,
        has_room: Callable[[float, Work], bool],
    ) -> None:
        self._lane = lane
        self._parked = parked
        self._has_room = has_room
        self.services: tuple[Service, ...] = lane.keys
        self.limits: tuple[Limit, ...] = tuple(limit for key in lane.keys for limit in key.limits)
        self.budgets = tuple(limit for limit in self.limits if isinstance(limit, Budget))
        self.refusal: tuple[Limit, Any] | None = (refused_by, lane.first)
        self.passes_at = inf

    @property
    def promised(self) -> tuple[Work, float] | None:
        """See `Lane`."""
        return self._lane.promised

    @promised.setter
    def promised(self, promised: tuple[Work, float] | None) -> None:
        self._lane.promised = promised

    def peek(self, ordered: bool) -> Work:
        """The first."""
        return self._lane.first

    def first_ones(self, most: int) -> list[Work]:
        """So many of the first, in order."""
        return [work for work in self._lane.first_ones(most) if self._parked.get(work) is self._lane]

    def has_room(self, now: float, work: Work | None = None) -> bool:
        """Whether one may start by its keys."""
        return self._has_room(now, work or self._lane.first)

    def next(self, now: float, *, ordered: bool, keeps_slots: bool) -> Work | None:
        """Who may start now; None: nobody.

        Args:
            now: Monotonic.
            ordered: As for `RunQueue.peek`.
            keeps_slots: Whether the slots that the first will need are left free for it, too.
        """
        claim = claim_of(self, self._lane.first, now, keeps_slots=keeps_slots)
        if claim is None:
            return None
        claim.promise(self, now)
        return first_to_pass(self, (claim,), now, ordered=ordered)
