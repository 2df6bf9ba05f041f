"""Artifacts that a core carries without understanding them."""

from __future__ import annotations

from collections.abc import Hashable


class Thing:
    """Has a key, which is all that a core wants of an artifact."""

    _place = None  # it lies in no folder

    def __init__(self, key: Hashable) -> None:
        self._key = key

    def __repr__(self) -> str:
        return f"Thing({self._key!r})"
