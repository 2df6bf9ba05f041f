"""Why a pending work does not run: one function, for the dispatcher's log lines and for `debug_blocked()` alike.

Lives here: reading the state and putting it in words.

Must not know: how to change anything.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from runcue._errors import words_of
from runcue._work import ASKING, WAITING, Work

__all__ = ["Reason", "blocked_by_limits", "not_ready", "reason_of"]

ReasonName = Literal["not_ready", "service_full", "unknown_task"]
"""What `debug_blocked()` can say. "unknown_task" is for works that were restored without their task."""


class Reason(NamedTuple):
    """Why one work does not run.

    Attributes:
        work: The work.
        name: The kind of reason.
        details: One line for a person.
    """

    work: Work
    name: ReasonName
    details: str

    def as_dict(self) -> dict[str, Any]:
        """The form that `debug_blocked()` returns."""
        return {"work": self.work, "reason": self.name, "details": self.details}


def blocked_by_limits(work: Work, now: float) -> str | None:
    """The first limit that keeps a work from starting at this instant, in words; None if there is room."""
    for service in work._task.route.services:
        if not service.has_slot():
            return str(service.describe_slots())
        if not service.has_token(now):
            return str(service.describe_rate(now))
    return None


def not_ready(work: Work) -> Reason:
    """The reason of a work whose is_ready has said no, or raised."""
    answer = work._answer
    if isinstance(answer, BaseException):
        details = f"is_ready raised {type(answer).__name__}: {words_of(answer)}"
    elif isinstance(answer, str):
        details = f"is_ready said no: {answer}"
    elif answer is not None:
        details = f"input {answer!r} {answer.problem()}"
    else:
        details = f"is_ready said no for params {words_of(work.params)}"
    return Reason(work, "not_ready", details)


def reason_of(work: Work, now: float) -> Reason | None:
    """Why a pending work does not run.

    Args:
        work: A pending work.
        now: Monotonic.

    Returns:
        The binding reason, or None when nothing is known to be in its way (it was not asked yet, or is about to start).
    """
    if work._phase == WAITING:
        return not_ready(work)
    if work._phase == ASKING:
        return Reason(work, "not_ready", "is_ready or is_stale is being awaited")
    limit = blocked_by_limits(work, now)
    return Reason(work, "service_full", limit) if limit is not None else None
