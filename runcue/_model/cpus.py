"""How many processors there are for this process.

Must not know: what they are used for.
"""

from __future__ import annotations

import os

__all__ = ["usable_cpus"]


def usable_cpus() -> int:
    """How many processors this process may run on: a container or `taskset` may leave it fewer than there are."""
    count = getattr(os, "process_cpu_count", None)  # since Python 3.13; it can be told otherwise there
    if count is not None:
        return count() or 1
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0)) or 1
    return os.cpu_count() or 1
