"""What is seen of a file in one look, and whether a later change would show in another one.

Must not know: who looks, and why.
"""

from __future__ import annotations

import os
from stat import S_ISDIR
from typing import Final

__all__ = ["IS_FOLDER", "Look", "is_recent", "look_of"]

Look = list[int] | str | None
"""[size, mtime_ns, ctime_ns, inode] of a file; IS_FOLDER; None if it is missing."""
IS_FOLDER: Final = "folder"

# The kernel's clock ticks every 10 ms at most (CONFIG_HZ=100).
_TICK_NS: Final = 20_000_000
# FAT counts in steps of two seconds; HFS+, ext3 and many a network share in whole ones.
_COARSE_TICK_NS: Final = 2_000_000_000


def look_of(status: os.stat_result | None) -> Look:
    """What is seen of a file, by its status with links followed; None if it is missing."""
    if status is None:
        return None
    if S_ISDIR(status.st_mode):
        return IS_FOLDER
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def is_recent(status: os.stat_result | None, now: int) -> bool:
    """Whether something was changed so lately that one more change might look the same.

    Args:
        status: Of a file or a folder; None if it is missing, which shows any change.
        now: Nanoseconds since the epoch.
    """
    if status is None:
        return False
    changed = max(status.st_mtime_ns, status.st_ctime_ns)
    return now - changed < (_COARSE_TICK_NS if status.st_mtime_ns % 1_000_000_000 == 0 else _TICK_NS)
