"""How urgent a work unit is, by the user's callback.

Lives here: asking it. A raising callback means the default priority.

Must not know: what an order is made of.
"""

from __future__ import annotations

from collections.abc import Callable
from math import isnan
from typing import Any

from runcue._callbacks.door import BE_QUICK, BLOCKS_AFTER, Door
from runcue._callbacks.failures import Failures
from runcue._model.awaitables import discard, is_awaitable
from runcue._model.callables import located
from runcue._model.checks import check_callback, is_async
from runcue._model.errors import ConfigurationError
from runcue._model.no_answers import mistake_in, short
from runcue._model.priority import DEFAULT_PRIORITY, PriorityContext
from runcue._model.work import Work

__all__ = ["Priority"]


class Priority:
    """Asks for priorities.

    Args:
        failures: Hears of a callback that raises.
        door: Hears of one that blocks.
    """

    def __init__(self, failures: Failures, door: Door) -> None:
        self._failures = failures
        self._door = door
        self._call: Callable[[PriorityContext], Any] | None = None

    def use(self, call: Callable[[PriorityContext], Any]) -> None:
        """Ask this callback from now on.

        Raises:
            ConfigurationError: It cannot be asked.
        """
        check_callback(call, "priority", ("ctx",))
        if is_async(call):
            raise _not_plain()
        self._call = call

    def ask(self, work: Work, waited: float, depth: int) -> float:
        """The priority of a work unit that became ready, 0.0 to 1.0.

        Args:
            work: The work.
            waited: Seconds since its submission.
            depth: How many work units are pending.
        """
        call = self._call
        if call is None:
            return DEFAULT_PRIORITY
        failures = self._failures
        began = failures.now()
        try:
            asked = call(PriorityContext(work, waited, depth))
            value = asked if type(asked) is float else _number(asked)
        except BaseException as error:
            failures.raised(f"priority callback {located(call)}", error, work)
            return DEFAULT_PRIORITY
        if (ended := failures.now()) - began > BLOCKS_AFTER:
            self._door.kept(f"priority callback {located(call)}", began, ended, BE_QUICK)
        if value is None or isnan(value):
            words = (
                f"{_mistake_in(asked)}. That is no number from 0.0 to 1.0, and counts as {DEFAULT_PRIORITY}"
            )
            self._door.no_answer(f"priority callback {located(call)}", words, work)
            return DEFAULT_PRIORITY
        return min(max(value, 0.0), 1.0)


def _number(asked: Any) -> float | None:
    """An answer as a number, None if it is none."""
    if is_awaitable(asked):
        discard(asked)
        return None
    try:
        return float(asked)
    except (TypeError, ValueError, OverflowError):
        return None


def _mistake_in(asked: Any) -> str:
    """What is wrong with an answer that is no number."""
    if asked is None:
        return "returned None (is a `return` missing?)"
    if is_awaitable(asked):
        return (
            "returned something to be awaited; it must be a plain function, as order is decided in one step"
        )
    return mistake_in(asked) or f"returned {short(asked)}"


def _not_plain() -> ConfigurationError:
    return ConfigurationError("A priority callback must be a plain function: order is decided in one step.")
