"""A limit that runcue has not written, behind the one policy for what it raises and for answers that are none.

Lives here: `GuardedLimit`. What `room`, `next_room` and `acquire` raise makes the work unit fail that they were asked
with; what the others raise is told, and they count as having said nothing.

Must not know: services, order, who is told.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf, isnan, nextafter
from types import AsyncGeneratorType, GeneratorType
from typing import Any, Final, TypeAlias

from runcue._model.awaitables import discard, is_awaitable
from runcue._model.errors import LimitError, is_a
from runcue._model.no_answers import is_reason, mistake_in, short
from runcue._model.texts import message_of, shortened
from runcue._model.work import Work
from runcue.abc import Limit

__all__ = ["LOOK_AGAIN", "Ask", "Failed", "GuardedLimit", "Raised"]

LOOK_AGAIN: Final = 0.001
"""Seconds until the next look where a limit contradicts itself: nobody must be forgotten because of that, nor spin."""

Ask: TypeAlias = Callable[..., Any]
Failed: TypeAlias = Callable[[Work, LimitError], object]
Raised: TypeAlias = Callable[[str, BaseException, Work | None], object]


class GuardedLimit:
    """A `Limit` around another one.

    Args:
        own: The limit.
        name: What it is called in messages: "limit DailyBudget of service 'llm'".
        failed: Takes a work unit that fails because of it, and the error.
        raised: Tells of an exception that disturbs nothing: who raised it, what it was, the work unit.
        ask: Calls a method of it: what kind of thing is called, the method, its arguments; None: nothing else is done.

    Attributes:
        own: The limit. Those who merely look, to tell people, ask it directly: a look must not make anything fail.
        name: See above.
        strangers: Work units that run and were not let start by it, as it has come later: it does not hear of them.
    """

    __slots__ = ("_ask", "_failed", "_raised", "name", "own", "strangers")

    def __init__(self, own: Limit, name: str, failed: Failed, raised: Raised, ask: Ask | None = None) -> None:
        self.own = own
        self.name = name
        self.strangers: set[Work] = set()
        self._ask = ask or _plainly
        self._failed = failed
        self._raised = raised

    def room(self, now: float, work: Work, /) -> bool:
        """See `Limit.room`."""
        try:
            return _yes_or_no(self._asked(self.own.room, now, work))
        except BaseException as error:
            self._failed(work, self._error("room", error))
            return False

    def next_room(self, now: float, work: Work, /) -> float:
        """See `Limit.next_room`."""
        try:
            return _instant(self._asked(self.own.next_room, now, work), now)
        except BaseException as error:
            self._failed(work, self._error("next_room", error))
            return inf

    def acquire(self, now: float, work: Work, /) -> None:
        """See `Limit.acquire`.

        Raises:
            LimitError: It has raised.
        """
        if self.strangers:
            self.strangers.discard(work)  # it is tried again
        try:
            self._asked(self.own.acquire, now, work)
        except BaseException as error:
            raise self._error("acquire", error) from error

    def entered(self, now: float, work: Work, at: float, /) -> None:
        """See `Limit.entered`."""
        if self.strangers and work in self.strangers:
            return
        try:
            self._asked(self.own.entered, now, work, at)
        except BaseException as error:
            self._tell("entered", error, work)

    def release(self, now: float, work: Work, actual: Any, /) -> None:
        """See `Limit.release`."""
        if self.strangers and work in self.strangers:
            self.strangers.discard(work)
            return
        try:
            self._asked(self.own.release, now, work, actual)
        except BaseException as error:
            self._tell("release", error, work)

    def at_least(self, works: Sequence[Work], /) -> float | None:
        """See `Limit.at_least`."""
        try:
            seconds = self._asked(self.own.at_least, works)
            return None if seconds is None or isnan(seconds) else float(seconds)
        except BaseException as error:
            self._tell("at_least", error, None)
            return None

    def describe(self, now: float, work: Work, /) -> str:
        """See `Limit.describe`."""
        try:
            return shortened(str(self._asked(self.own.describe, now, work)))
        except BaseException as error:
            self._tell("describe", error, work)
            return f"{self.name} has no room"

    def refusal(self, now: float, work: Work) -> tuple[str, float] | None:
        """What it says to a mere look: why there is no room, and until when; None if there is room."""
        asked = "room"
        try:
            if _yes_or_no(self._asked(self.own.room, now, work)):
                return None
            asked = "next_room"
            return self.describe(now, work), _instant(self._asked(self.own.next_room, now, work), now)
        except BaseException as error:
            return message_of(self._error(asked, error)), now

    def _asked(self, method: Callable[..., Any], *args: Any) -> Any:
        """What a method answers, unless nothing of that has run."""
        answer = self._ask("limit", method, *args)
        if answer is not None and (
            is_awaitable(answer) or isinstance(answer, (GeneratorType, AsyncGeneratorType))
        ):
            discard(answer)
            raise TypeError(
                "it gave something to be awaited or gone through; the methods of a limit must be plain"
            )
        return answer

    def _error(self, method: str, error: BaseException) -> LimitError:
        if is_a(error, KeyboardInterrupt):
            self._tell(method, error, None)
        made = LimitError(f"{method}() of {self.name} raised {type(error).__name__}: {message_of(error)}")
        made.__cause__ = error
        return made

    def _tell(self, method: str, error: BaseException, work: Work | None) -> None:
        self._raised(f"{method}() of {self.name}", error, work)


def _plainly(what: str, method: Callable[..., Any], *args: Any) -> Any:
    return method(*args)


def _yes_or_no(answer: Any) -> bool:
    if answer is True or answer is False:
        return answer
    if answer is None or answer is NotImplemented:
        raise TypeError(f"it gave {answer!r}, which is no answer; is a `return` missing?")
    if is_reason(answer):
        raise TypeError(f"it returned {short(answer)}; it says True or False alone, and describe() says why")
    if (mistake := mistake_in(answer)) is not None:
        raise TypeError(f"it {mistake}")
    return bool(answer)


def _instant(when: Any, now: float) -> float:
    if when is None:
        raise TypeError("it gave None, which is no instant; is a `return` missing?")
    if isnan(when):
        raise ValueError("it gave nan")
    when = float(when)  # what else compares with floats need not add up with them
    # A timer for now would fire for ever.
    return when if when > now else max(now + LOOK_AGAIN, nextafter(now, inf))
