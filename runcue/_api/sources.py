"""What `map` can go through.

Lives here: `Source`, one iterable as it is gone through, plain or async, checked when it is given; and what becomes of
an error that would be taken for its end.

Must not know: what becomes of the items.
"""

from __future__ import annotations

import operator
from collections.abc import Generator, Mapping
from typing import Any, Final, TypeVar

from runcue._model.awaitables import discard, is_awaitable
from runcue._model.checks import is_async, is_generator
from runcue._model.errors import ConfigurationError
from runcue._model.texts import error_words, words_of

__all__ = ["ITERABLE", "Source", "no_end"]

ITERABLE: Final = "An iterable that map() goes through"
"""Whose error it is, in words."""

T = TypeVar("T", bound=BaseException)

_TEXTS: Final = (str, bytes, bytearray, memoryview)


class Source:
    """One of the iterables, as it is gone through.

    Args:
        given: The iterable, plain or async.
        of: What it is to give, for messages.

    Raises:
        ConfigurationError: It is none, or one that is most likely meant otherwise.

    Attributes:
        items: Its iterator.
        is_async: Whether its items are awaited.
        length: How many they are; None if it does not tell.
    """

    __slots__ = ("is_async", "items", "length")

    def __init__(self, given: Any, of: str) -> None:
        kind = type(given)
        if issubclass(kind, _TEXTS):
            raise ConfigurationError(
                f"map() goes through an iterable of {of}, and {words_of(given)} is a single text: of one alone write a "
                "list, [...]."
            )
        if issubclass(kind, Mapping):
            raise ConfigurationError(
                f"map() goes through an iterable of {of}, and {words_of(given)} is a single mapping: write [...] "
                "around it, or which part of it is meant: list(it), or its .values() or .items()."
            )
        # Of what is both, such as a stream: nothing is to keep the event loop waiting.
        self.is_async = hasattr(kind, "__aiter__")
        try:
            self.items: Any = aiter(given) if self.is_async else iter(given)
        except TypeError as error:
            why = _hint_of(given)
            if hasattr(kind, "__iter__") or self.is_async:
                why = f": {error_words(error)}"
            raise ConfigurationError(
                f"map() goes through an iterable of {of}, and {words_of(given)} is not iterable{why}."
            ) from error
        self.length = _length_of(given)

    async def close(self) -> None:
        """Close it if it is a generator, or likewise: not a file, which is an iterator of its lines as well."""
        if self.is_async:
            if hasattr(type(self.items), "aclose"):
                await self.items.aclose()
        elif isinstance(self.items, Generator):
            self.items.close()


def no_end(error: T, by: str) -> T | RuntimeError:
    """An error as it is raised where a StopAsyncIteration would seem to be the end of a map.

    Args:
        error: The error.
        by: Whose it is, for the message.
    """
    if not isinstance(error, StopAsyncIteration):
        return error
    raised = RuntimeError(
        f"{by} raised StopAsyncIteration, by which an async iterator says that it has ended"
    )
    raised.__cause__ = error
    return raised


def _length_of(given: Any) -> int | None:
    try:
        length = operator.length_hint(given, -1)
    except Exception:  # it need not tell
        return None
    return None if length < 0 else length


def _hint_of(given: Any) -> str:
    """What was most likely forgotten where something cannot be gone through."""
    if is_generator(given) or is_async(given):
        return ", but a function: call it"
    if is_awaitable(given):
        discard(given)
        return ": await it first"
    return f"; range({given}), perhaps" if type(given) is int else ""
