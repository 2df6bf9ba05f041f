"""Asyncio tasks of runcue's in a loop that was closed and nothing else: they will never go on.

Lives here: `dismiss`, after which neither asyncio nor the interpreter complains of one as if it was a mistake of the
program's: what is left is told in the program's own words. And `is_being_closed`, for what the garbage collector does
with the others, in whatever order it comes to them.

Must not know: what the tasks do.
"""

from __future__ import annotations

import asyncio
from inspect import CORO_CREATED, getcoroutinestate
from types import CoroutineType
from typing import Any

__all__ = ["dismiss", "is_being_closed"]


def dismiss(task: asyncio.Task[Any]) -> bool:
    """Let go of a task, if its loop was closed. No code of the user's is run for that.

    Returns:
        Whether it has never begun.
    """
    if task.done() or not task.get_loop().is_closed():
        return False
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    steps = task.get_coro()
    if not isinstance(steps, CoroutineType) or getcoroutinestate(steps) != CORO_CREATED:
        return False
    steps.close()
    return True


def is_being_closed(task: asyncio.Task[Any]) -> bool:
    """Whether what has come out of a task, where it is suspended, is not of its own: somebody closes its coroutine.

    Nothing may be begun in it any more, nor is anything that it gives anybody's: it may be long after the end of its
    loop, in any thread, and what it has to do with may be closed already.
    """
    return asyncio.current_task(task.get_loop()) is not task
