"""What was put in words already, of many who are told of in one answer.

Must not know: what it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

__all__ = ["Told", "once"]

Told: TypeAlias = dict[int, tuple[object, str]]
"""By the identity of what it is about; that is kept, so that its identity stays its own."""


def once(told: Told | None, thing: object, words: Callable[[], str]) -> str:
    """What is told of something, put in words once.

    Args:
        told: What was told already, if that is kept.
        thing: What it is told of.
        words: Puts it in words.
    """
    if told is None:
        return words()
    known = told.get(id(thing))
    if known is None:
        known = told[id(thing)] = thing, words()
    return known[1]
