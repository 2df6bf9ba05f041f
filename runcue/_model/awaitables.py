"""What counts as awaitable where user code has answered, and what becomes of an awaitable that nobody will await.

Lives here: the one question, asked of the type alone, so that no value, whatever it does, can be in the way of it.

Must not know: who answers, what is done about it.
"""

from __future__ import annotations

from collections.abc import Awaitable
from inspect import CO_ITERABLE_COROUTINE
from types import GeneratorType
from typing import Any, Final, TypeGuard

__all__ = ["NotAwaited", "discard", "is_awaitable"]

_VALUES: Final = frozenset((bool, bytes, dict, float, frozenset, int, list, set, str, tuple))
"""What handlers return most often: to ask a Protocol of the standard library takes a tenth of a whole call."""


class NotAwaited:
    """A value that says what to write instead where somebody awaits it. Who returns it has returned a value."""

    __slots__ = ()


def is_awaitable(value: object) -> TypeGuard[Awaitable[Any]]:
    """Whether something that user code has returned is to be awaited.

    A text never is: a `WorkHandle` can be awaited, and is a value all the same, as the id is that it stands for.
    """
    kind = type(value)
    if type(kind) is type and kind in _VALUES:
        return False
    # Not isinstance(): a proxy may raise when it is asked for its class.
    if issubclass(kind, Awaitable):
        return not issubclass(kind, (str, NotAwaited))
    return kind is GeneratorType and bool(value.gi_code.co_flags & CO_ITERABLE_COROUTINE)  # type: ignore[attr-defined]


def discard(awaitable: object) -> bool:
    """Close an awaitable that nobody will await. Returns whether it could be closed: without a trace, if not begun."""
    try:
        close = getattr(awaitable, "close", None)
        if close is None:
            return False
        close()
    except KeyboardInterrupt:
        raise
    except BaseException:
        return False  # it is the user's, and would not end
    return True
