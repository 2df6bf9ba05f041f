"""Who hears of changes: every started cue is told that an artifact was published or touched.

Must not know: what an artifact is, which cues there are.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable

from runcue._artifacts.places import leads

__all__ = ["Hear", "changed", "file_changed", "hear_changes", "others_hear", "unhear_changes"]


Hear = Callable[[Hashable], None]
"""Takes the key of an artifact."""

# As the keys of a dict, which threads may come to, leave and copy without a lock.
_hearers: dict[Hear, None] = {}


def hear_changes(hear: Hear) -> None:
    """Have a function called with the key of every artifact that is published or touched, in whatever thread."""
    _hearers[hear] = None


def others_hear() -> bool:
    """Whether more than one cue is told of changes."""
    return len(_hearers) > 1


def unhear_changes(hear: Hear) -> None:
    """The counterpart of `hear_changes`. Harmless if it was not called."""
    _hearers.pop(hear, None)


if hasattr(os, "register_at_fork"):
    # What hears belongs to cues of the parent.
    os.register_at_fork(after_in_child=_hearers.clear)


def changed(key: Hashable) -> None:
    """Say that an artifact has changed."""
    for hear in tuple(_hearers):
        hear(key)


def file_changed(key: str) -> None:
    """Say that a file has changed; if it is a link, what it leads to has changed as well."""
    changed(key)
    for one in leads(key):
        changed(one)
