"""Numbers as people write them on a command line, read and refused.

Must not know: what they are of.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from math import inf
from typing import TypeVar

T = TypeVar("T", int, float)


def _reader(kind: Callable[[str], T], fits: Callable[[T], bool], words: str) -> Callable[[str], T]:
    """What reads a number, or raises ValueError with what it must be.

    Args:
        kind: `int` or `float`.
        fits: Whether a number will do.
        words: What it must be.
    """

    def read(text: str) -> T:
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not fits(value):
            raise ValueError(f"must be {words}, not {text!r}")
        return value

    return read


def whole(least: int) -> Callable[[str], int]:
    """What reads a whole number that is not smaller than that."""
    return _reader(int, lambda value: least <= value <= sys.maxsize, f"a whole number of at least {least}")


integer = _reader(int, lambda value: True, "a whole number")
positive = _reader(float, lambda value: 0 < value < inf, "a number above 0")
factor = _reader(float, lambda value: 0 < value <= 1e6, "a number above 0 and at most 1000000")
share = _reader(float, lambda value: 0 <= value <= 1, "a number from 0.0 to 1.0")
