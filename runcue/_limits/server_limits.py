"""What the server behind a service has said of its limits: what it has left, and when there will be more.

Lives here: `ServerLimits`, a `Limit` beside those that were declared, so that it can only let less through. Of
requests, and of what a budget counts, what is left grows evenly until the limit is there again in full, as of a bucket
that is refilled; of anything else there is no more than is left until the reset.

Must not know: headers, who has read them, where the clock comes from.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, nextafter
from typing import TYPE_CHECKING

from runcue._limits.budget import charge_of
from runcue._model.texts import seconds_in_words
from runcue._model.work import Work
from runcue.abc import Limit

if TYPE_CHECKING:
    from runcue._limits.status import ServerStatus

__all__ = ["Grant", "ServerLimits"]


class Grant:
    """What is left of one limit of the server.

    Args:
        of: What it counts, as the server calls it; "" for starts.
        said: The header that has said so.
        left: What is left, less what started since; it may be less than nothing.
        at: As of this instant.
        until: From this instant on it has no say.
        grows: So much more of it there is each second.
        since: When the work unit had started whose answer has said so, and its number.
        budget: The budget that counts the same; None: a start takes `each` of it.
        each: See there; where that is 0.0, some of it has to be left, and nobody knows what is taken.
    """

    __slots__ = ("_grows", "at", "budget", "each", "left", "of", "said", "since", "until")

    def __init__(
        self,
        of: str,
        said: str,
        left: float,
        at: float,
        until: float,
        *,
        grows: float = 0.0,
        since: tuple[float, float] = (-inf, 0),
        budget: str | None = None,
        each: float = 1.0,
    ) -> None:
        self.of = of
        self.said = said
        self.left = left
        self.at = at
        self.until = until
        self.since = since
        self.budget = budget
        self.each = each
        self._grows = grows

    def amount_of(self, work: Work) -> float:
        """What a work unit takes of it."""
        return self.each if self.budget is None else float(charge_of(work).get(self.budget, 0))

    def room_from(self, work: Work) -> float:
        """When a work unit may start as far as this is concerned."""
        needs = self.amount_of(work)
        if not needs:
            if self.budget is not None:
                return -inf
            needs = 1.0
        return self.has_from(needs)

    def left_at(self, now: float) -> float:
        """How much there is of it."""
        return max(self.left + (now - self.at) * self._grows, 0.0)

    def has_from(self, amount: float) -> float:
        """When there is so much of it, or it has no say any more."""
        if amount <= self.left:
            return -inf
        return min(self.at + (amount - self.left) / self._grows, self.until) if self._grows else self.until


class ServerLimits(Limit):
    """The grants of one service.

    Attributes:
        grants: By what the server calls them.
        told: What was told of already.
    """

    __slots__ = ("grants", "told")

    kind = "server"

    def __init__(self) -> None:
        self.grants: dict[str, Grant] = {}
        self.told: set[str] = set()

    def learn(self, grant: Grant, now: float) -> None:
        """Note what an answer has said. What one has said to who had started later is newer, and stays.

        Of those that ask to wait, the latest instant counts.
        """
        known = self.grants.get(grant.of)
        if known is None or known.until <= now:
            is_news = True
        elif grant.each == inf:
            is_news = known.until < grant.until
        else:
            is_news = known.since <= grant.since
        if is_news:
            self.grants[grant.of] = grant

    def forget(self) -> None:
        """Let all of it have no say any more."""
        self.grants.clear()

    def status(self, now: float) -> dict[str, ServerStatus]:
        """What still has a say, to tell people."""
        from runcue._limits.status import ServerStatus  # noqa: PLC0415 - loaded when somebody looks

        return {
            grant.of or "starts": ServerStatus(grant.left_at(now), grant.until - now, grant.said)
            for grant in self.grants.values()
            if grant.until > now
        }

    def unused_from(self) -> float:
        """From when on nothing of it has a say."""
        return max((grant.until for grant in self.grants.values()), default=-inf)

    def room(self, now: float, work: Work, /) -> bool:
        """See `Limit.room`."""
        return self._room_from(now, work) <= now

    def next_room(self, now: float, work: Work, /) -> float:
        """See `Limit.next_room`."""
        return max(self._room_from(now, work), nextafter(now, inf))

    def _room_from(self, now: float, work: Work) -> float:
        when = -inf
        for of, grant in list(self.grants.items()):
            if grant.until <= now:
                del self.grants[of]
            else:
                when = max(when, grant.room_from(work))
        return when

    def acquire(self, now: float, work: Work, /) -> None:
        """See `Limit.acquire`."""
        for grant in self.grants.values():
            grant.left -= grant.amount_of(work)

    def at_least(self, works: Sequence[Work], /) -> float:
        """See `Limit.at_least`: it is about what is there otherwise."""
        return 0.0

    def describe(self, now: float, work: Work, /) -> str:
        """See `Limit.describe`."""
        grant = max(self.grants.values(), key=lambda one: one.room_from(work))
        seconds = seconds_in_words(max(grant.room_from(work) - now, 0.0))
        if grant.each == inf:
            return f"its server asks to wait for another {seconds} ({grant.said})"
        return f"its server has no {grant.of or 'starts'} left for another {seconds} ({grant.said})"
