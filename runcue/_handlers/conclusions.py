"""What the answer of a handler that has run elsewhere says.

Lives here: `conclude`, which takes an answer apart: a value or an error, what was written and spent.

Must not know: what was sent there, what becomes of a work unit whose handler has ended.
"""

from __future__ import annotations

import pickle
from typing import Any, NamedTuple

from runcue._model.errors import (
    ConfigurationError,
    HandlerExited,
    RemoteError,
    RuncueError,
    is_a,
)
from runcue._model.texts import error_words, words_of
from runcue._model.work import Work
from runcue.executors.calls import Answer, here, load_answer, load_error

__all__ = ["Conclusion", "RemoteTraceback", "conclude"]


class RemoteTraceback(Exception):
    """Where it was that a handler has raised elsewhere: the cause of what it has raised.

    Args:
        text: The traceback.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text.rstrip()}\n"""'


class Conclusion(NamedTuple):
    """What an answer says of an attempt.

    Attributes:
        succeeded: Whether the handler has returned.
        outcome: Its value, or what it has raised.
        final: Whether another attempt would come to the same.
        entered: When it was entered, by the monotonic clock of this machine; None where it ran on another one.
        lasted: For how long it has run.
    """

    succeeded: bool
    outcome: Any
    final: bool
    entered: float | None
    lasted: float


def conclude(work: Work, answer: bytes, place: str = "") -> Conclusion:
    """What an answer says of an attempt. What it has written is to be published, what it has spent is noted.

    Args:
        work: What it was started for.
        answer: As it has come.
        place: Where it comes from, for people; "" if that is not known.
    """
    try:
        said = load_answer(answer)
    except Exception as error:
        # Most likely a class of the user's that does not take itself apart and together as it should.
        reason = pickle.UnpicklingError(
            f"What the handler of {words_of(work.task)} has sent back cannot be unpickled: {error_words(error)}."
        )
        reason.__cause__ = error
        return Conclusion(False, reason, True, None, 0.0)
    entered = said.entered if said.host == here() else None
    succeeded, outcome = True, said.value
    if said.failure is not None:
        succeeded, outcome = False, _error_of(said, work.task, place)
    try:
        for amounts in said.spent:
            work.spent(**amounts)
        declared = work._declared
        if succeeded and declared is not None and declared.transaction is not None:
            declared.transaction.keep(said.written)
    except RuncueError as error:
        if succeeded:
            succeeded, outcome = False, error
    return Conclusion(succeeded, outcome, said.final, entered, max(0.0, said.left - said.entered))


def _error_of(answer: Answer, task: str, place: str) -> BaseException:
    """What a handler has raised elsewhere: itself if it can be had, with its traceback there as its cause."""
    assert answer.failure is not None
    kind, text, trace = answer.failure
    error: BaseException | None = None
    if answer.error is not None:
        try:
            error = load_error(answer.error)
        except Exception:  # it can be only there
            error = None
    if not isinstance(error, BaseException):
        error = RemoteError(kind, text, trace)
    if is_a(error, KeyboardInterrupt):
        # Who has pressed Ctrl-C is heard of here by himself.
        exited = HandlerExited(f"The handler of {task!r} ended with {error_words(error)}")
        exited.__cause__ = error
        error = exited
    if error.__cause__ is None and trace:
        error.__cause__ = RemoteTraceback(trace)
    if place and answer.final and not is_a(error, pickle.PicklingError):
        # It was not entered. What is missing there may well be here, and at other workers.
        unloaded = ConfigurationError(
            f"The handler of task {words_of(task)} cannot be loaded by {place} "
            f"({error_words(error).removesuffix('.')}): what it and its params import must be there as well."
        )
        unloaded.__cause__ = error
        return unloaded
    return error
