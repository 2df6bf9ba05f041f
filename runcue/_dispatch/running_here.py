"""The work unit whose handler this is: for calls that are about the work unit that runs, and are not told which.

It is read off the stack, so that only who asks pays for it.

Lives here: `running_here`.

Must not know: what is done with the answer.
"""

from __future__ import annotations

import sys
from types import FrameType

from runcue._dispatch.workers import Workers
from runcue._handlers.coroutines import follow, resume
from runcue._handlers.outputs import run_handler
from runcue._model.work import Work

__all__ = ["running_here"]

# The first step of an async handler, the others, those of what a handler gives to be awaited; a handler in a thread.
# The name `work` is read out of their frames.
_CODES = frozenset((Workers._begin.__code__, resume.__code__, follow.__code__, run_handler.__code__))


def running_here() -> Work | None:
    """The work unit whose handler is called here.

    Returns:
        None if there is none, or that is not known: in an asyncio task or a thread that a handler has started itself.
    """
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_code in _CODES:
            work: Work = frame.f_locals["work"]
            return work
        frame = frame.f_back
    return None
