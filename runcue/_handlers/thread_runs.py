"""Runs of sync handlers, which cannot be ended: whoever gives one up has to know whether it goes on.

Lives here: `ThreadRun`, which is given to an executor for a handler that makes something. It does not enter a handler
that was given up before; and it tells when one returns that was given up.

Must not know: executors, event loops, who gives up and why.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

from runcue._handlers.outputs import mark, rollback, run_handler
from runcue._model.work import Work

__all__ = ["ThreadRun", "run_here"]


class ThreadRun:
    """One run of a sync handler, to be called by an executor in place of the handler.

    Two threads meet here without a lock. Each first notes what it does, and only then looks what the other one has
    done: so at least one of them sees both, and it does no harm if both do.
    """

    __slots__ = ("_entered", "_fault", "_prepared", "_returned", "_then")

    def __init__(self) -> None:
        self._entered = False
        self._prepared = False
        self._fault: BaseException | None = None
        self._returned = False
        self._then: Callable[[], None] | None = None

    @property
    def goes_on(self) -> bool:
        """Whether the handler was entered and has not returned."""
        return self._entered and not self._returned

    def prepare(self, work: Work) -> None:
        """Do what comes before the handler and takes time, so that its entry can be timed without that."""
        self._entered = self._prepared = True
        # If it was given up, somebody else may be making the same by now.
        if self._then is None and work._declared is not None and work._declared.files:
            try:
                mark(work)
            except BaseException as error:
                rollback(work)
                self._fault = error

    def __call__(self, work: Work) -> Any:
        """Run the handler and publish what it wrote."""
        if not self._prepared:
            self.prepare(work)
        try:
            if self._fault is not None:
                raise self._fault
            return run_handler(work) if self._then is None else None
        finally:
            self._returned = True
            if self._then is not None:
                rollback(work, returned=True)
                self._then()

    def give_up(self, then: Callable[[], None]) -> bool:
        """Wait for it no longer.

        Args:
            then: Called when it returns, in its thread.

        Returns:
            Whether it goes on.
        """
        self._then = then
        return self.goes_on


def run_here() -> Work | None:
    """The work unit whose sync handler this thread is in, None if it is in none.

    It is read off the stack, so that only who asks pays for it.
    """
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_code is run_handler.__code__:
            work: Work = frame.f_locals["work"]
            return work
        frame = frame.f_back
    return None
