"""Where handlers are at this moment: the line of the user's code that a thread is in, or a coroutine is suspended at.

It is read off stacks and suspended coroutines, so that only who asks pays for it.

Must not know: who wants to know, what is to be done about it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from types import FrameType
from typing import Any, Final

from runcue._handlers.outputs import run_handler
from runcue._model.callables import at_line, is_of_runcue, is_own
from runcue._model.command import Command
from runcue._model.work import Work

__all__ = ["place_of", "where_it_is"]

_DEEPEST: Final = 1000


def where_it_is(work: Work, in_flight: Mapping[Work, Any]) -> str:
    """Where the handler that was started for a work unit is: "fetch (app.py:12)", "process 4711"; "": not known.

    Args:
        work: The work unit.
        in_flight: The handlers in flight: of those that are coroutines these.
    """
    if isinstance(work._task.handler, Command):
        return work._task.handler.where(work)
    if hasattr(work._task.executor, "where"):
        return str(work._task.executor.where(work))
    if work._runner is None:
        return place_of(_frames_of_thread(work))
    return place_of(_frames_of(in_flight.get(work)))


def _frames_of_thread(work: Work) -> list[FrameType]:
    """The frames of the thread that is in a handler, the innermost first; none if no thread is."""
    for innermost in sys._current_frames().values():
        frames: list[FrameType] = []
        frame: FrameType | None = innermost
        while frame is not None and len(frames) < _DEEPEST:
            if frame.f_code is run_handler.__code__:
                if frame.f_locals.get("work") is work:
                    return frames
                break
            frames.append(frame)
            frame = frame.f_back
    return []


def _frames_of(steps: Any) -> list[FrameType]:
    """Those of a suspended coroutine and what it awaits, the innermost first."""
    return list(_way_in(steps))[::-1]


def _way_in(steps: Any) -> Iterator[FrameType]:
    for _ in range(_DEEPEST):
        for kind, then in (("cr_frame", "cr_await"), ("gi_frame", "gi_yieldfrom"), ("ag_frame", "ag_await")):
            if hasattr(steps, then):
                frame = getattr(steps, kind)
                if frame is not None:
                    yield frame
                steps = getattr(steps, then)
                break
        else:
            return


def place_of(frames: list[FrameType]) -> str:
    """The innermost line that is the user's own, and of no library; the innermost of all if there is none."""
    frames = [frame for frame in frames if not is_of_runcue(frame.f_code)]
    found = next((frame for frame in frames if is_own(frame.f_code)), frames[0] if frames else None)
    return "" if found is None else at_line(found.f_code, found.f_lineno)
