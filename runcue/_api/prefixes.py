"""The first parts of ids: random ones, and another one in each forked child.

Must not know: what bears the ids.
"""

from __future__ import annotations

import os
import weakref
from typing import Protocol

__all__ = ["random_prefix", "redraw_in_children"]


class HasPrefix(Protocol):
    """Whoever gives ids that begin with a random prefix."""

    def draw_prefix(self) -> None:
        """Begin another series of ids."""


_all: weakref.WeakSet[HasPrefix] = weakref.WeakSet()


def random_prefix() -> str:
    """A prefix that nobody else is likely to have."""
    return f"{os.urandom(3).hex()}-"


def redraw_in_children(one: HasPrefix) -> None:
    """Let one draw another prefix in each forked child: its parent goes on with the ids that it has begun."""
    _all.add(one)


def _redraw() -> None:
    for one in list(_all):
        one.draw_prefix()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_redraw)
