"""What a callback has answered to a question of yes or no, and what is no answer.

Lives here: telling a forgotten `return`, a function that was not called and their like from an answer. Whatever else is
given counts by its truth, as Python has it.

Must not know: who has asked, what follows from the answer.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import (
    AsyncGeneratorType,
    BuiltinFunctionType,
    FunctionType,
    GeneratorType,
    MethodType,
    NotImplementedType,
)
from typing import Any, Final, TypeAlias

from runcue._artifacts.artifact import Artifact
from runcue._callbacks.verdicts import Question
from runcue._model.awaitables import discard, is_awaitable
from runcue._model.texts import shortened, words_of
from runcue._model.work import Work

__all__ = ["NEVER_RUN", "says_ready", "says_stale"]

NEVER_RUN: Final = (GeneratorType, AsyncGeneratorType)
"""What a function with a `yield` in it returns, of which nothing has run."""

_SHOWN: Final = 100

_NOT_CALLED: Final = (FunctionType, MethodType, BuiltinFunctionType, partial, type)


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
    if isinstance(answer, str):
        text = f"returned the text {_short(answer)}, which counts as {'yes' if ready else 'no'}"
        told("ready", f'{text}; a no with its reason is (False, "reason")', work)
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
    if isinstance(answer, str):
        text = f"returned the text {_short(answer)}, which counts as {'yes' if stale else 'no'}"
        told("stale", f"{text}; return True or False", work)
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
            return f"returned the tuple {_short(answer)}; it says True or False alone"
        if len(answer) != 2:
            return f'returned the tuple {_short(answer)}; a reason is given as (False, "reason")'
        answer = answer[0]
        if answer is None:
            return None  # that it says why is a no
    kind = type(answer)
    if kind in (bool, int):
        return None
    if isinstance(answer, _NOT_CALLED) and not issubclass(kind, Artifact):
        return f"returned {_short(answer)} itself; call it"
    if kind in NEVER_RUN:
        return "returned a generator, of which nothing has run; write `return` in place of `yield`"
    if kind in (NotImplementedType, type(...)):
        return f"returned {_short(answer)}"
    if isinstance(answer, BaseException):
        return f"returned an exception ({_short(answer)}); raise it"
    if isinstance(answer, Artifact) and not hasattr(kind, "__bool__") and not hasattr(kind, "__len__"):
        return f"returned the artifact {_short(answer)} itself; ask for its valid()"
    return None


def _short(answer: object) -> str:
    words = words_of(answer)
    return words if len(words) <= _SHOWN else f"{words[:_SHOWN]}..."
