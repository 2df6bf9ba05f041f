"""Whether files in a folder come one out of the other: each named after one that was there before.

A handler that writes beside what it reads, and does not say so, is given its own files again, without an end. By their
names that can be seen soon: `a.txt`, `a.txt.out`, `a.txt.out.out`.

Must not know: who makes files.
"""

from __future__ import annotations

import os
import re
from collections import OrderedDict
from typing import Final

__all__ = ["Descent"]

_REMEMBERED: Final = 1_000
_SEPARATORS: Final = re.compile(r"[._-]")


class Descent:
    """The files of which one may come out of another, the last ones."""

    def __init__(self) -> None:
        # How many files each is named after, one after the other, by its path, and by that without its ending.
        self._depths: OrderedDict[str, int] = OrderedDict()

    def note(self, path: str) -> int:
        """How many files that came before are named one after the other, up to this one."""
        if (known := self._depths.get(path)) is not None:
            return known
        folder, _, name = path.rpartition(os.sep)
        depth = 0
        for cut in _SEPARATORS.finditer(name):
            depth = max(depth, 1 + self._depths.get(f"{folder}{os.sep}{name[: cut.start()]}", -1))
        for one in (path, os.path.splitext(path)[0]):
            self._depths.setdefault(one, depth)
        while len(self._depths) > _REMEMBERED:
            self._depths.popitem(last=False)
        return depth
