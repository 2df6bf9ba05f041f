"""What the end of an attempt means: a failed one goes in, "settle so" or "again at this instant" comes out.

Lives here: that outcome, the two decisions and who decides unless somebody else was named. An attempt that succeeds is
never asked about: it settles at once, and pays for none of this.

Must not know: how a decision is carried out (the core puts back, the dispatcher settles), clocks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from runcue._model.attempts import Again
from runcue._model.phases import FAILED
from runcue._model.work import Work

__all__ = ["Decide", "FailedAttempt", "Settle", "settle_failed"]


class FailedAttempt(NamedTuple):
    """An attempt that has ended without a result.

    Attributes:
        work: Whose attempt it was; `work.attempt` is its number, `work.started_at` its start.
        error: What the handler raised, or what was wrong with its end.
        now: Monotonic, when it ended.
        duration: Seconds since the handler was entered.
        run: The work unit for which the handler was started that has failed, if that is another one.
    """

    work: Work
    error: BaseException
    now: float
    duration: float
    run: Work | None = None


class Settle(NamedTuple):
    """Decision: that was the last attempt.

    Attributes:
        outcome: FAILED or CANCELLED.
        value: The error; the attempt's own, or one that says more.
        counts: Whether that says something of the services that it used: not where its handler has given up, or a
            server has refused it for too long.
    """

    outcome: int
    value: BaseException
    counts: bool = True


Decide: TypeAlias = Callable[[FailedAttempt], Settle | Again]
"""Decides what the end of an attempt means. It must not raise, and changes at most what services know of servers."""


def settle_failed(ended: FailedAttempt) -> Settle | Again:
    """The decision of those that have only one attempt."""
    return Settle(FAILED, ended.error)
