"""How urgent a work unit is: what its submission says, else its task, else the callback of the cue.

Lives here: asking. A function that raises, or gives no number from 0.0 to 1.0, means the default priority.

Must not know: what an order is made of.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from runcue._callbacks.door import BE_QUICK, BLOCKS_AFTER, Door
from runcue._callbacks.failures import Failures
from runcue._callbacks.forks import FORKS, leave
from runcue._model.awaitables import discard, is_awaitable
from runcue._model.callables import located
from runcue._model.checks import check_callback, is_async
from runcue._model.errors import ConfigurationError
from runcue._model.no_answers import mistake_in, short
from runcue._model.priority import DEFAULT_PRIORITY, PriorityContext
from runcue._model.work import Work

__all__ = ["Priority"]


class Priority:
    """Finds priorities.

    Args:
        failures: Hears of a function that raises.
        door: Hears of one that blocks, or gives no such number.
    """

    def __init__(self, failures: Failures, door: Door) -> None:
        self._failures = failures
        self._door = door
        self._call: Callable[[PriorityContext], Any] | None = None

    def use(self, call: Callable[[PriorityContext], Any]) -> None:
        """Ask this callback from now on, about work units of which nothing else says how urgent they are.

        Raises:
            ConfigurationError: It cannot be asked.
        """
        check_callback(call, "priority", ("ctx",))
        if is_async(call):
            raise ConfigurationError(
                "A priority callback must be a plain function: order is decided in one step."
            )
        self._call = call

    def of(self, work: Work, now: float, depth: Callable[[], int]) -> float:
        """The priority of a work unit that became ready, 0.0 to 1.0.

        Args:
            work: The work.
            now: Monotonic.
            depth: Tells how many work units are pending.
        """
        if work._overrides is not None and work._overrides.priority is not None:
            return work._overrides.priority
        given = work._task.priority
        if isinstance(given, float):
            return given
        if given is not None:
            return self._ask("priority=", given, work, work)
        if self._call is None:
            return DEFAULT_PRIORITY
        context = PriorityContext(work, now - work._submitted_at, depth())
        return self._ask("priority callback", self._call, context, work)

    def _ask(self, place: str, call: Callable[[Any], Any], argument: Any, work: Work) -> float:
        failures = self._failures
        began = failures.now()
        forks = FORKS.number
        try:
            asked = call(argument)
            if FORKS.number != forks:
                leave(None)
            value = asked if type(asked) is float else _number(asked)
        except BaseException as error:
            if FORKS.number != forks:
                leave(error)
            failures.raised(f"{place} {located(call)}", error, work)
            return DEFAULT_PRIORITY
        if (ended := failures.now()) - began > BLOCKS_AFTER:
            self._door.blocked(f"{place} {located(call)}", began, ended, BE_QUICK)
        if value is None or not 0.0 <= value <= 1.0:  # and nan is neither
            words = (
                f"{_mistake_in(asked)}. That is no number from 0.0 to 1.0, and counts as {DEFAULT_PRIORITY}"
            )
            self._door.no_answer(f"{place} {located(call)}", words, work)
            return DEFAULT_PRIORITY
        return value


def _number(asked: Any) -> float | None:
    """An answer as a number, None if it is none. Neither True nor text is one, as for what is given as a number."""
    if is_awaitable(asked):
        discard(asked)
        return None
    if isinstance(asked, (bool, str, bytes, bytearray)):
        return None
    try:
        return float(asked)
    except (TypeError, ValueError, OverflowError):
        return None


def _mistake_in(asked: Any) -> str:
    """What is wrong with an answer that is no such number."""
    if asked is None:
        return "returned None (is a `return` missing?)"
    if is_awaitable(asked):
        return (
            "returned something to be awaited; it must be a plain function, as order is decided in one step"
        )
    return mistake_in(asked) or f"returned {short(asked)}"
