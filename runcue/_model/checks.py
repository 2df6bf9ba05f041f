"""What a value that a user gives must be, and the text that says so where it is not.

Lives here: checks that several rooms share.

Must not know: what the values are for.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from runcue._model.errors import ConfigurationError
from runcue._model.texts import describe

__all__ = ["check_callback", "check_name", "is_async", "positive_int", "seconds_or_none"]


def check_name(value: object, what: str) -> str:
    """Check what a user calls a service or a task.

    Raises:
        ConfigurationError: It is no text, or empty.
    """
    if not isinstance(value, str) or not value:
        raise ConfigurationError(f"The name of a {what} must be a non-empty str, not {value!r}.")
    return value


def positive_int(value: object, what: str) -> int:
    """Check a whole number of at least 1 (True is not a number).

    Raises:
        ConfigurationError: It is something else.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigurationError(f"{what} must be a whole number of at least 1, not {value!r}.")
    return value


def seconds_or_none(value: object, what: str) -> float | None:
    """Check a positive number of seconds, or None.

    Raises:
        ConfigurationError: It is something else.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < float("inf"):
        raise ConfigurationError(f"{what} must be a positive number of seconds or None, not {value!r}.")
    return float(value)


def is_async(handler: Callable[..., Any]) -> bool:
    """Whether calling it gives a coroutine, as far as its definition tells."""
    call = getattr(type(handler), "__call__", None)  # noqa: B004 - an object whose __call__ is a coroutine function
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(call)


def check_callback(call: object, what: str, takes: tuple[str, ...]) -> None:
    """Check that a callback can be called with so many arguments.

    Args:
        call: The callback.
        what: What it is called in messages.
        takes: The names of what it will be given.

    Raises:
        ConfigurationError: It is not callable, or takes something else.
    """
    if not callable(call):
        raise ConfigurationError(f"{what} must be callable, not {call!r}.")
    try:
        signature = inspect.signature(call)
    except (TypeError, ValueError):
        return  # a builtin that does not tell
    try:
        signature.bind(*takes)
    except TypeError:
        raise ConfigurationError(
            f"{what} {describe(call)}{signature} must take ({', '.join(takes)})."
        ) from None
