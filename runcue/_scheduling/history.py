"""All work units a cue still knows: every unsettled one, and the last `keep` settled ones.

Lives here: look-up by id and the bound on memory.

Must not know: why a work unit settled.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from runcue._model.work import Work

__all__ = ["History"]


class History:
    """Work units by id, in submission order, bounded.

    Attributes:
        works: All that are known.
        line: The settled ones among them, longest settled first. A deque beside the dict, because the first key of a
            dict that keeps losing its first keys takes ever longer to find.
        keep: How many of those there may be.
    """

    __slots__ = ("keep", "line", "works")

    def __init__(self, keep: int) -> None:
        self.works: dict[str, Work] = {}
        self.line: deque[Work] = deque()
        self.keep = keep

    def __iter__(self) -> Iterator[Work]:
        return iter(self.works.values())
