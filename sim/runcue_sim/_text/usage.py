"""What a user got wrong, as one line.

Lives here: the error, and the near misses it names.

Must not know: how it is printed.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class BadUsage(Exception):
    """The run cannot be as it was asked for. The text is one line for the person who asked."""


def nearest(wanted: str, known: Iterable[str]) -> str:
    """A hint at what was meant: the nearest known name, or all of them."""
    names = list(known)
    near = get_close_matches(wanted, names, n=1, cutoff=0.5)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"there is {', '.join(names)}" if names else "there is none"
