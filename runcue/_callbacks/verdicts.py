"""What a gate says of a work unit, and the answer that has to be awaited before it says anything.

Lives here: the verdicts, which of them leave a work unit pending, and what stands for a verdict while the answer
of a callback is still open.

Must not know: who asks, where a work unit is put by its verdict.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Any, Final, Literal, NamedTuple

from runcue._model.awaitables import discard

__all__ = [
    "NOT_READY",
    "RUN",
    "SKIP",
    "STAYS_PENDING",
    "AwaitableAnswer",
    "GateVerdict",
    "OpenQuestion",
    "Question",
]

Question = Literal["ready", "stale", "content"]


class OpenQuestion(NamedTuple):
    """A question about a work unit whose answer is awaited.

    Attributes:
        question: Which.
        since: When it was asked, monotonic.
        until: When that counts as raising; inf: never.
    """

    question: Question
    since: float
    until: float


"""The two questions of a gate, by the callbacks that are asked; and what is in files that look different."""


class GateVerdict(Enum):
    """What becomes of a work unit that was asked."""

    RUN = auto()
    """Ready and stale."""
    NOT_READY = auto()
    HELD = auto()
    """An input is being made by another work unit: not ready before that has settled."""
    SKIP = auto()
    """Ready and up to date."""
    INVALID = auto()
    """It can never run: nobody knows what it needs, because the callable that was to say so raised."""
    CANCELLED = auto()
    """Whoever was asked about it has cancelled it."""


# By names of their own: looking a member up in its enum costs 50 ns, a tenth of asking.
RUN: Final = GateVerdict.RUN
NOT_READY: Final = GateVerdict.NOT_READY
SKIP: Final = GateVerdict.SKIP

STAYS_PENDING: Final = (GateVerdict.NOT_READY, GateVerdict.HELD)


class AwaitableAnswer:
    """A callback's answer that has to be awaited, or one that takes some reading.

    Attributes:
        question: The one that is open.
        awaitable: What the callback returned; or what is to be called in a thread, if the question is "content".
    """

    __slots__ = ("awaitable", "question")

    def __init__(self, question: Question, awaitable: Any) -> None:
        self.question = question
        self.awaitable = awaitable

    def discard(self) -> bool:
        """Forget the answer unasked, if that is possible without a trace (a coroutine that was never started)."""
        return discard(self.awaitable)
