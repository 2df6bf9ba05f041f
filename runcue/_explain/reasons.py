"""Why a pending work unit does not run, in a line: for log lines and for `debug_blocked()` alike.

Lives here: reading the state and putting it in words.

Must not know: how to change anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final, Literal, NamedTuple

from runcue._artifacts.artifact import is_valid
from runcue._limits.service import Refusal
from runcue._model.phases import CHECKING, DELAYED, HELD, JOINED, NOT_READY
from runcue._model.texts import (
    SHOWN,
    error_words,
    listed,
    name_of,
    problem_of,
    seconds_in_words,
    shortened,
    words_of,
)
from runcue._model.work import Work
from runcue._scheduling.ageing import pending_since
from runcue._scheduling.holds import Hold, Relation

__all__ = [
    "Reason",
    "describe_answer",
    "describe_asking",
    "describe_delay",
    "first_refusal",
    "grouped",
    "not_ready",
    "problem_now",
    "reason_of",
]

ReasonName = Literal["not_ready", "service_full", "unknown_task"]
"""What `debug_blocked()` can say. "unknown_task" is for work units that were restored without their task."""


class Reason(NamedTuple):
    """Why one work unit does not run.

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
        return {"work": self.work, "reason": self.name, "details": shortened(self.details)}


def first_refusal(work: Work, now: float) -> Refusal | None:
    """The first limit that keeps a work from starting at this instant; None if there is room.

    Limits are asked with the work unit that is first in line: what keeps that one keeps all behind it.
    """
    run_queue = work._task.run_queue
    first: Work = run_queue.peek(ordered=False) or work
    for service in run_queue.services:
        refusal: Refusal | None = service.refusal(now, first)
        if refusal is not None:
            if refusal.by == "limit" and first is not work:
                ahead = f" ({name_of(first)} is first in line)"
                refusal = refusal._replace(details=refusal.details + ahead)
            return refusal
    if run_queue.short_until > now:
        details = "no thread is free, and no more can be started"
        return Refusal(run_queue.services[0], "threads", details, run_queue.short_until)
    return None


def problem_now(artifact: Any) -> str | None:
    """What is wrong with an artifact at this moment, None if it is valid. Whatever it does itself."""
    try:
        if is_valid(artifact):
            return None
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return f"cannot be looked at: {error_words(error)}"
    return problem_of(artifact)


def describe_answer(work: Work) -> str:
    """What was said when a work unit was found not ready."""
    answer = work._not_ready_reason
    if isinstance(answer, BaseException):
        return f"is_ready raised {error_words(answer)}"
    if isinstance(answer, str):
        return f"is_ready said no: {answer}"
    if answer is not None:
        return f"input {words_of(answer)} {problem_of(answer)}"
    return f"is_ready said no for params {words_of(work.params)}"


def _describe_hold(work: Work) -> str:
    """Whom a work unit waits for."""
    assert work._declared is not None
    hold: Hold = work._declared.hold
    what = "its key" if hold.artifact is None else words_of(hold.artifact)
    if hold.relation in (Relation.OVERLAP, Relation.UNRETURNED):
        return f"output {what} cannot be made before the handler of {name_of(hold.holder)} has returned"
    return f"input {what} is being made by {name_of(hold.holder)}"


def describe_delay(work: Work, now: float) -> str:
    """Until when a work unit waits for its next attempt."""
    return f"delayed until attempt {work.attempt}, in {seconds_in_words(max(0.0, pending_since(work) - now))}"


def not_ready(work: Work) -> Reason:
    """The reason of a work unit that was found not ready."""
    return Reason(work, "not_ready", describe_answer(work))


def describe_asking(work: Work) -> str:
    """What is awaited of a work unit that is being asked."""
    declared = work._declared
    if declared is not None and declared.comparison is not None and declared.comparison.unread:
        return "files that do not look as they did are being read"
    return "its is_ready or is_stale is being awaited"


def reason_of(work: Work, now: float) -> Reason | None:
    """Why a pending work unit does not run.

    Args:
        work: A pending work.
        now: Monotonic.

    Returns:
        The binding reason, or None when nothing is known to be in its way (it was not asked yet, or is about to start).
    """
    if work._phase == NOT_READY:
        return not_ready(work)
    if work._phase == HELD:
        return Reason(work, "not_ready", _describe_hold(work))
    if work._phase == JOINED:
        return Reason(work, "not_ready", "it settles with another work unit that makes the same")
    if work._phase == CHECKING:
        return Reason(work, "not_ready", describe_asking(work))
    if work._phase == DELAYED:
        return Reason(work, "not_ready", describe_delay(work, now))
    refusal = first_refusal(work, now)
    return Reason(work, "service_full", refusal.details) if refusal is not None else None


# What differs in names, ids and numbers only is alike.
_PARTICULAR: Final = re.compile(r"'[^']*'|\b\w*-?\d[\w.-]*")


def grouped(reasons: Iterable[tuple[Work, str]], limit: int = SHOWN) -> str:
    """Reasons in one line, those of one task that are alike together.

    Args:
        reasons: Work units and why they do not run.
        limit: At most so many groups in words.
    """
    groups: dict[tuple[str, str], list[tuple[Work, str]]] = {}
    for work, words in reasons:
        groups.setdefault((work.task, _PARTICULAR.sub("...", words)), []).append((work, words))
    lines = []
    for (task, _), alike in list(groups.items())[:limit]:
        first, words = alike[0]
        if len(alike) == 1:
            lines.append(f"{name_of(first)}: {words}")
            continue
        ids = listed((work.id for work, _ in alike), 3)
        such_as = "" if all(other == words for _, other in alike) else "such as "
        lines.append(f"{len(alike)} {task} ({ids}): {such_as}{words}")
    left = sum(map(len, list(groups.values())[limit:]))
    return "; ".join(lines) + (f"; and {left} more" if left else "")
