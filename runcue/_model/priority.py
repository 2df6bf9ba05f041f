"""What a priority callback is asked with, and what counts without one.

Must not know: how an order comes of it.
"""

from __future__ import annotations

from typing import Final

from runcue._model.work import Work

__all__ = ["DEFAULT_PRIORITY", "PriorityContext"]

DEFAULT_PRIORITY: Final = 0.5


class PriorityContext:
    """What a priority callback is asked with.

    Attributes:
        work: The work in question.
        wait_time: Seconds since it was submitted.
        queue_depth: How many work units are pending, this one included.
    """

    __slots__ = ("queue_depth", "wait_time", "work")

    def __init__(self, work: Work, wait_time: float, queue_depth: int) -> None:
        self.work = work
        self.wait_time = wait_time
        self.queue_depth = queue_depth

    def __repr__(self) -> str:
        return (
            f"PriorityContext({self.work!r}, wait_time={self.wait_time:.3f}, queue_depth={self.queue_depth})"
        )
