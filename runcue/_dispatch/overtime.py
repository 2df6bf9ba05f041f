"""What is said of a handler whose time is over.

Lives here: `overtime`, the error of its attempt, and `cut_short`, who cancels it.

Must not know: what follows from that.
"""

from __future__ import annotations

from typing import Any, Final

from runcue._dispatch.in_flight import NOT_ENTERED
from runcue._model.attempts import Overrun
from runcue._model.callables import by_whom
from runcue._model.command import Command
from runcue._model.errors import WorkTimeout
from runcue._model.texts import words_of
from runcue._model.work import Work

__all__ = ["MAY_START", "cut_short", "overtime"]

MAY_START: Final = 60.0
"""Seconds that a process may take, beside the time-out of a handler, until that is entered; and to be gone once it was
killed."""


def overtime(run: Work, overrun: Overrun | None, patience: float) -> WorkTimeout:
    """Why an attempt has failed that has run for longer than it may.

    Args:
        run: The work unit that the handler was started for.
        overrun: What follows an attempt that had timed out before, and has not returned since; None: it had not.
        patience: Seconds in which that was to return.
    """
    limit, executor = run._timeout, run._task.executor
    kills = getattr(executor, "kills", False)
    if overrun is not None:
        what = "what runs it" if executor is not None else "it was cancelled, and"
        return WorkTimeout(
            f"{overrun.error} There is no further attempt: {what} has not returned within another {patience:g} s."
        )
    if kills and run._entered_at == NOT_ENTERED:
        return WorkTimeout(
            f"The handler of {run.task!r} was not entered within its timeout of {limit:g} s and {MAY_START:g} s "
            "more: what was to run it was still being started, or importing what the handler needs. It was killed."
        )
    if executor is None:
        place = ""
        if said := _last_words(run):
            place = f" The last that it has written to stderr: {said}{'' if said[-1] in '.!?' else '.'}"
    elif kills:
        place = " What ran it was killed."
    else:
        place = " What runs it cannot be interrupted, and its slot stays taken until it returns."
    return WorkTimeout(f"The handler of {run.task!r} ran for longer than its timeout of {limit:g} s.{place}")


def cut_short(run: Work, by: Any) -> Any:
    """Who cancels what runs, as of `Settlement.cancel`; of a command with the last that it has written to stderr."""
    said = _last_words(run)
    if not said or by is None:
        return by
    return f"{by_whom(by).removeprefix(' by ')}, when the last that it had written to stderr was {words_of(said)}"


def _last_words(run: Work) -> str:
    handler = run._task.handler
    return handler.last_words(run) if isinstance(handler, Command) else ""
