"""Who hears of changes: every started cue is told that an artifact was published or touched.

Must not know: what an artifact is, which cues there are.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Hashable
from typing import Final, Protocol

from runcue._artifacts.places import leads

__all__ = ["HEARERS", "Hearer", "changed", "file_changed", "hear_changes", "unhear_changes"]


class Hearer(Protocol):
    """Who hears of changes."""

    def hear(self, key: Hashable) -> None:
        """An artifact was published or touched, in whatever thread."""


HEARERS: Final[dict[weakref.ref[Hearer], None]] = {}
"""As the keys of a dict, which threads may come to, leave and copy without a lock. To hear keeps nobody alive."""


def hear_changes(hearer: Hearer) -> None:
    """Tell somebody of every artifact that is published or touched, in whatever thread, as long as it lives."""
    HEARERS[weakref.ref(hearer, _forget)] = None


def unhear_changes(hearer: Hearer) -> None:
    """The counterpart of `hear_changes`. Harmless if it was not called."""
    _forget(weakref.ref(hearer))


def _forget(hearer: weakref.ref[Hearer]) -> None:
    HEARERS.pop(hearer, None)


if hasattr(os, "register_at_fork"):
    # Those who hear belong to cues of the parent.
    os.register_at_fork(after_in_child=HEARERS.clear)


def changed(key: Hashable) -> None:
    """Say that an artifact has changed."""
    for hearer in tuple(HEARERS):
        one = hearer()
        if one is not None:
            one.hear(key)


def file_changed(key: str) -> None:
    """Say that a file has changed; if it is a link, what it leads to has changed as well."""
    changed(key)
    for one in leads(key):
        changed(one)
