"""Failures of work units that nobody has heard of yet, and what is said of them.

Lives here: `Unheard`. A failure is heard of by a listener, or by who takes the outcome from a handle. If that is
nobody within a second, it is told in one line, and if it is nobody before the end of the cue, with its traceback: so
who waits in time has the failure in the exception alone, and a failure that is nobody's concern is not lost.

What is of one kind is told together: the first of it in full, of the others how many they are and which. A program of
which a hundred calls fail for one cause has that cause to mend, and would not find it among a hundred tracebacks. What
else fails of a kind that was told in a line is gathered: for two seconds at first, then for twice as long each time,
for a minute at last. So who watches the log hears of trouble that goes on about as soon as it has lasted, and of what
goes on for hours once a minute.

Must not know: event loops, timers, who listens.
"""

from __future__ import annotations

import logging
import os
import weakref
from collections import OrderedDict, deque
from collections.abc import Iterable
from math import inf
from typing import Any, Final, NamedTuple

from runcue._callbacks.warning_log import WarningLog, extra_of
from runcue._model.texts import SHOWN, clause_of, error_words, listed, printable, short_params, shortened
from runcue._model.work import Work

__all__ = ["TELL_AFTER", "Unheard"]

logger = logging.getLogger("runcue")

TELL_AFTER: Final = 1.0
"""Seconds that somebody has to come for a failure before it is told."""

_TELL_AGAIN_AFTER: Final = 2.0
_AT_MOST: Final = 60.0
"""Seconds for which failures of a kind that was told are gathered, and then told together: at first, and at last."""

_MOST: Final = 10_000
"""So many failures are kept for whoever may come; of more, the oldest are told at once."""

_IN_TIME: Final = (
    "Work %s of task %s%s failed%s: %s. Your program has not taken notice so far: await its handle, listen with "
    "@cue.on_failure, or go through `summary.failed` after a drain"
)
_AT_THE_END: Final = "Work %s of task %s%s failed%s, and your program has not asked why: %s"

# As it is in every exception, whatever its class defines under this name.
_TRACEBACK: Final[Any] = vars(BaseException)["__traceback__"]

_LONGEST_OTHERS: Final = 150
"""So many characters of the params of others are told at most, beside their ids."""

_LONGEST_ERROR: Final = 340
"""So many characters of what an error says: the path of an output that is missing is to stand among them."""

_Kind = tuple[str, type[BaseException], tuple[str, int]]
"""What failures have in common that are told together: their task, what was raised, and the line of the handler."""


class _Failure(NamedTuple):
    """One failure, of one work unit or of several that have joined.

    Attributes:
        error: As it is kept.
        id: Of the work unit.
        kind: With what it is told together.
        work: The work unit, which may be forgotten meanwhile. It leads to its cue, which nothing here may keep alive.
        at: When it failed; monotonic.
    """

    error: BaseException
    id: str
    kind: _Kind
    work: weakref.ref[Work]
    at: float


class Unheard:
    """The failures of one cue that nobody has heard of.

    Args:
        log: Where they are told.
    """

    def __init__(self, log: WarningLog) -> None:
        self._log = log
        # Under the identity of the kept error, which is one for all who have joined; the oldest first.
        # Ordered dicts: of a plain one the first key is found by passing over all that were deleted before it.
        self._untold: OrderedDict[int, _Failure] = OrderedDict()
        self._told: OrderedDict[int, _Failure] = OrderedDict()
        # Those that somebody is about to take.
        self._held: dict[int, _Failure] = {}
        # Keys of those that have not been told, of which somebody may have heard meanwhile: those whose second goes
        # on, oldest first, and those for which nobody came.
        self._recent: deque[tuple[int, float]] = deque()
        self._due: dict[_Kind, list[int]] = {}
        # Of kinds that were told: until when what fails is gathered, and for how long that is in all.
        self._again: dict[_Kind, tuple[float, float]] = {}
        self._at_the_end: weakref.finalize[Any, Unheard] | None = None

    def add(self, work: Work, error: BaseException, now: float) -> None:
        """A work unit has failed, and no listener has heard of it.

        Args:
            work: The work unit.
            error: As it is kept.
            now: Monotonic.
        """
        if self._at_the_end is None:
            # A cue that is never stopped ends when it is collected, or with the interpreter.
            failures = self._told, self._untold, self._held
            self._at_the_end = weakref.finalize(self, _tell_all, os.getpid(), *failures)
        if (key := id(error)) not in self._untold and key not in self._held:
            kind = work.task, type(error), _line_of(error)
            self._enter(_Failure(error, work.id, kind, weakref.ref(work), now))

    def _enter(self, failure: _Failure) -> None:
        self._untold[id(failure.error)] = failure
        self._recent.append((id(failure.error), failure.at))
        if len(self._untold) + len(self._told) > _MOST:
            kind = next(iter((self._told or self._untold).values())).kind
            self._tell_at_the_end(_take_out(self._told, kind), _take_out(self._untold, kind))

    def hold(self, error: BaseException) -> None:
        """Somebody is about to take a failure, however long that lasts: nothing is told of it until `let_go`."""
        if (failure := self._untold.pop(id(error), None)) is not None:
            self._held[id(error)] = failure

    def let_go(self, errors: Iterable[BaseException], now: float) -> bool:
        """Nobody is about to take these failures any more.

        Args:
            errors: As they are kept.
            now: Monotonic.

        Returns:
            Whether there is one of which nobody has heard, for whom somebody may come now.
        """
        failures = [failure for error in errors if (failure := self._held.pop(id(error), None)) is not None]
        for failure in failures:
            self._enter(failure._replace(at=now))
        return bool(failures)

    def heard(self, error: object) -> None:
        """Somebody has a failure in hand. Harmless if it was none, or was heard of before."""
        key = id(error)
        if self._untold.pop(key, None) is None and self._told.pop(key, None) is None:
            self._held.pop(key, None)

    def tell_due(self, now: float) -> float:
        """Tell of those for which nobody came in time. Returns when the next is due, inf if there is none."""
        recent, due = self._recent, self._due
        while recent and recent[0][1] + TELL_AFTER <= now:
            key, at = recent.popleft()
            failure = self._untold.get(key)
            # Another one may have the key of one that was heard of; its own turn will come.
            if failure is not None and failure.at == at:
                due.setdefault(failure.kind, []).append(key)
        for kind in [kind for kind in due if self._gathered_until(kind) <= now]:
            self._tell_in_time(due.pop(kind), now)
        waiting = min(map(self._gathered_until, due), default=inf)
        return min(waiting, recent[0][1] + TELL_AFTER) if recent else waiting

    def _gathered_until(self, kind: _Kind) -> float:
        return self._again.get(kind, (-inf, 0.0))[0]

    def _tell_in_time(self, keys: list[int], now: float) -> None:
        """Tell of failures of one kind in a line, if nobody has heard of them by now."""
        failures = [failure for key in keys if (failure := self._untold.pop(key, None)) is not None]
        if not failures:
            return
        self._told.update((id(failure.error), failure) for failure in failures)
        if len(self._again) > _MOST:
            self._again = {kind: until for kind, until in self._again.items() if kind in self._due}
        until, pause = self._again.get(failures[0].kind, (-inf, 0.0))
        # What was quiet for a minute begins anew.
        pause = min(2 * pause, _AT_MOST) if now - until < _AT_MOST else _TELL_AGAIN_AFTER
        self._again[failures[0].kind] = now + pause, pause
        self._log.tell("failure", _works_of(failures), _IN_TIME, *_words_of(failures), level=logging.ERROR)

    def tell_rest(self) -> bool:
        """The cue ends: tell of all that is left, with tracebacks. Returns whether there was anything to tell."""
        kinds = _by_kind(self._told, self._untold)
        for told, news in kinds:
            self._tell_at_the_end(told, news)
        self._recent.clear()
        self._due.clear()
        self._again.clear()
        return bool(kinds)

    def _tell_at_the_end(self, told: list[_Failure], news: list[_Failure]) -> None:
        """Tell of failures of one kind, with the traceback of the first.

        Args:
            told: Those that were told in a line.
            news: The others; observers hear of these alone.
        """
        self._log.tell(
            "failure",
            _works_of(news or told),
            _AT_THE_END,
            *_words_of(told + news),
            level=logging.ERROR,
            error=(told + news)[0].error,
            observed=bool(news),
        )


def _line_of(error: BaseException) -> tuple[str, int]:
    """Where the handler was that has raised an error; a time-out, say, leads nowhere."""
    entry = _TRACEBACK.__get__(error)
    return ("", 0) if entry is None else (entry.tb_frame.f_code.co_filename, entry.tb_lineno)


def _take_out(failures: dict[int, _Failure], kind: _Kind) -> list[_Failure]:
    # A list: in another thread somebody may just hear of one.
    keys = [key for key, failure in list(failures.items()) if failure.kind == kind]
    return list(map(failures.pop, keys))


def _by_kind(
    told: dict[int, _Failure], untold: dict[int, _Failure]
) -> list[tuple[list[_Failure], list[_Failure]]]:
    """All failures by what they have in common, those that were told and the others; nothing of them is left."""
    kinds: dict[_Kind, tuple[list[_Failure], list[_Failure]]] = {}
    for which, failures in enumerate((told, untold)):
        for failure in list(failures.values()):
            kinds.setdefault(failure.kind, ([], []))[which].append(failure)
        failures.clear()
    return list(kinds.values())


def _works_of(failures: Iterable[_Failure]) -> list[Work]:
    return [work for failure in failures if (work := failure.work()) is not None]


def _words_of(failures: list[_Failure]) -> tuple[str, str, str, str, str]:
    """The id, the task and the params of the first, which others there are, and what the first raised."""
    first, *others = failures
    also = ""
    if others:
        ids = [printable(shortened(one.id, 80)) for one in others]
        room = _LONGEST_OTHERS
        for place, one in enumerate(others[:SHOWN]):
            params = _params_of(one)
            if (room := room - len(params)) < 0:
                break
            ids[place] += params
        also = f" (and {len(others)} more like it: {listed(ids, SHOWN)})"
    return (
        first.id,
        first.kind[0],
        _params_of(first),
        also,
        clause_of(error_words(first.error), _LONGEST_ERROR),
    )


def _params_of(failure: _Failure) -> str:
    """The params of one that is not forgotten yet, with the space before them."""
    work = failure.work()
    return f" {short_params(work.params)}" if work is not None and work.params else ""


def _tell_all(
    process: int, told: dict[int, _Failure], untold: dict[int, _Failure], held: dict[int, _Failure]
) -> None:
    if os.getpid() != process:
        return  # a forked process ends; the cue is that of its parent
    untold.update(held)
    for former, news in _by_kind(told, untold):
        # In the log alone: what observes a cue is gone with it.
        alike = former + news
        extra = extra_of(_works_of(alike))
        logger.error(_AT_THE_END, *_words_of(alike), exc_info=alike[0].error, extra=extra)
