"""What a callback has answered to a question of yes or no, and what is no answer.

Lives here: what each of the two questions takes as a yes, as a no, and as neither. What is no answer to any question
is known to `_model.no_answers`; whatever else is given counts by its truth, as Python has it.

Must not know: who has asked, what follows from the answer.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from runcue._artifacts.artifact import Artifact
from runcue._callbacks.verdicts import Question
from runcue._model.awaitables import discard, is_awaitable
from runcue._model.no_answers import has_truth, is_reason, mistake_in, short
from runcue._model.texts import shortened
from runcue._model.work import Work

__all__ = ["says_ready", "says_stale"]

Told: TypeAlias = Callable[[Question, str, Work], None]
"""Takes what is wrong with an answer, and of which question."""


def says_ready(work: Work, answer: Any, told: Told) -> bool:
    """Whether an answer of is_ready that need not be awaited is a yes. Notes the reason of a no.

    Args:
        work: About which it was asked.
        answer: The answer.
        told: Takes what is wrong with it.
    """
    mistake = _mistake_in(answer, reasons=True)
    if mistake is not None:
        work._not_ready_reason = f"it {mistake}"
        told("ready", f"{mistake}. That is no answer, and counts as not ready", work)
        return False
    if isinstance(answer, tuple):
        ready, reason = answer
        if ready:
            return True
        work._not_ready_reason = shortened(str(reason))
        return False
    work._not_ready_reason = None
    ready = bool(answer)
    if (doubt := _doubt_about(answer, ready, 'a no with its reason is (False, "reason")')) is not None:
        told("ready", doubt, work)
    return ready


def says_stale(work: Work, answer: Any, told: Told) -> bool:
    """Whether an answer of is_stale that need not be awaited is a yes.

    Args:
        work: About which it was asked.
        answer: The answer.
        told: Takes what is wrong with it.
    """
    mistake = _mistake_in(answer, reasons=False)
    if mistake is not None:
        told("stale", f"{mistake}. That is no answer, and the work unit runs", work)
        return True
    stale = bool(answer)
    if (doubt := _doubt_about(answer, stale, "return True or False")) is not None:
        told("stale", doubt, work)
    return stale


def _mistake_in(answer: Any, *, reasons: bool) -> str | None:
    """Why something is no answer to a question of yes or no, with what to write; None if it is one.

    Args:
        answer: What a callback has returned, True and False apart.
        reasons: Whether the answer may come with its reason.
    """
    if answer is None:
        return "returned None (is a `return` missing?)"
    if isinstance(answer, tuple):
        awaited = [one for one in answer if is_awaitable(one)]
        for one in awaited:
            discard(one)
        if awaited:
            return "returned something to be awaited in a tuple; await it there"
        if not reasons:
            return f"returned the tuple {short(answer)}; it says True or False alone"
        if len(answer) != 2:
            return f'returned the tuple {short(answer)}; a reason is given as (False, "reason")'
        answer = answer[0]
        if answer is None:
            return None  # that it says why is a no
    if is_reason(answer):
        meant = 'a reason is given as (False, "reason")' if reasons else "it says True or False alone"
        return f"returned the list {short(answer)}; {meant}"
    kind = type(answer)
    if isinstance(answer, Artifact):
        return (
            None if has_truth(kind) else f"returned the artifact {short(answer)} itself; ask for its valid()"
        )
    return mistake_in(answer)


def _doubt_about(answer: Any, truth: bool, meant: str) -> str | None:
    """What is told of an answer that counts by its truth, and may have been meant otherwise; None if nothing is.

    Args:
        answer: The answer.
        truth: Whether it counts as yes.
        meant: What to write where a text was meant.
    """
    kind = type(answer)
    counts = f"which counts as {'yes' if truth else 'no'}"
    if issubclass(kind, str):
        if issubclass(kind, Awaitable):
            return f"returned the handle {short(answer)}, {counts} and is not waited for; ask for its done() or state"
        return f"returned the text {short(answer)}, {counts}; {meant}"
    if issubclass(kind, os.PathLike) and not has_truth(kind):
        return f"returned the path {short(answer)}, {counts} wherever it leads; ask whether it exists()"
    return None
