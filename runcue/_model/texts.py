"""How values, artifacts and numbers are worded in messages.

Lives here: quoting what users' objects say of themselves, whatever they do when they are asked, and the small phrases
that several messages share.

Must not know: anything of runcue.
"""

from __future__ import annotations

from typing import Any

__all__ = ["describe", "how_many", "problem_of", "words_of"]

_LONGEST = 500


def words_of(thing: object) -> str:
    """What an exception or a value says of itself, whatever its own `__str__` or `__repr__` does.

    Args:
        thing: An exception, for its message; or a value, for its repr.

    Returns:
        One line at most of a few hundred characters; the name of its type where it says nothing or raises.
    """
    try:
        words = str(thing) if isinstance(thing, BaseException) else repr(thing)
    except BaseException:
        words = ""
    return words[:_LONGEST] + "..." if len(words) > _LONGEST else words or type(thing).__name__


def problem_of(artifact: Any) -> str:
    """What an artifact says is wrong with it, as the end of a sentence, whatever its `problem()` does."""
    try:
        return str(artifact.problem())
    except BaseException as error:
        return f"is not valid (and problem() raised {type(error).__name__})"


def how_many(number: int, one: str, many: str) -> str:
    """A number with its noun: "1 work", "2 work units"."""
    return f"{number} {one if number == 1 else many}"


def describe(call: object) -> str:
    """What a function is called in messages: its qualified name, or its repr where it has none."""
    return str(getattr(call, "__qualname__", None) or repr(call))
