"""Calling user code in the midst of an asyncio task that is not its own.

Whoever asks there for the current task, in order to cancel it or to hang something on it, gets none: the task is that
of a stranger, who may be about to await something.

Must not know: what is called, work units.
"""

from __future__ import annotations

import asyncio
from asyncio import current_task as _current_task
from asyncio.tasks import _enter_task, _leave_task
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["outside_tasks"]

_Answer = TypeVar("_Answer")


def outside_tasks(
    loop: asyncio.AbstractEventLoop | None, call: Callable[..., _Answer], *args: Any
) -> _Answer:
    """Call a function as if no asyncio task was running.

    Args:
        loop: The running event loop, as far as it is known; to find it out takes as long as all the rest.
        call: The function. It awaits nothing.
        *args: Its arguments.
    """
    if loop is None and (loop := asyncio._get_running_loop()) is None:
        return call(*args)
    task = _current_task(loop)
    if task is None:
        return call(*args)
    _leave_task(loop, task)
    try:
        return call(*args)
    finally:
        _enter_task(loop, task)
