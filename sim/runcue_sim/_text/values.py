"""Numbers as people write them on a command line, read and refused.

Must not know: what they are of.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable


def whole(least: int) -> Callable[[str], int]:
    """Gives what reads a whole number.

    Args:
        least: The smallest that there can be.
    """

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if not least <= value <= sys.maxsize:
            raise ValueError(f"must be a whole number of at least {least}, not {text!r}")
        return value

    return read


def integer(text: str) -> int:
    """A whole number, whichever it is.

    Raises:
        ValueError: It is none.
    """
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"must be a whole number, not {text!r}") from None


def positive(text: str) -> float:
    """A number above 0.

    Raises:
        ValueError: It is none.
    """
    value = _number(text)
    if not 0 < value < math.inf:
        raise ValueError(f"must be a number above 0, not {text!r}")
    return value


def factor(text: str) -> float:
    """A number above 0, and not absurdly large.

    Raises:
        ValueError: It is none.
    """
    value = _number(text)
    if not 0 < value <= 1e6:
        raise ValueError(f"must be a number above 0 and at most 1000000, not {text!r}")
    return value


def share(text: str) -> float:
    """A number from 0.0 to 1.0.

    Raises:
        ValueError: It is none.
    """
    value = _number(text)
    if not 0 <= value <= 1:
        raise ValueError(f"must be a number from 0.0 to 1.0, not {text!r}")
    return value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
