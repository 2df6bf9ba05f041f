"""Whether a handler only waits for other work units of its own cue: the question behind the deadlock verdict.

Lives here: `awaits_only_work`, which follows a suspended handler to what it awaits: a result or wait of a handle,
directly, in a task of its own, through `asyncio.gather` or an `asyncio.TaskGroup`. asyncio has no public way to ask
what a task awaits, so this reads two of its private attributes, and where they are missing, or for anything else
(`asyncio.wait`, an event of your own), the handler counts as moving: a missed verdict is a wait, a wrong one would kill
healthy work.

Must not know: work units, the dispatcher.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

__all__ = ["awaits_only_work"]

Awaiting = Mapping[Any, "asyncio.Future[Any]"]


def awaits_only_work(task: Any, steps: Any, awaiting: Awaiting) -> bool:
    """Whether an asyncio task waits for work units that have not settled, and for nothing else.

    Args:
        task: A suspended task.
        steps: The coroutine that it runs.
        awaiting: What tasks wait for work units, and the futures they wait on.
    """
    future = awaiting.get(task)
    if future is not None:
        return not future.done()
    awaited = getattr(task, "_fut_waiter", None)
    if isinstance(awaited, asyncio.Task):
        return awaits_only_work(awaited, awaited.get_coro(), awaiting)
    children = getattr(awaited, "_children", None)  # asyncio.gather
    if children is None:
        children = _group_members(steps)
    open_ones = [child for child in children if not child.done()]
    return bool(open_ones) and all(_child_waits(child, awaiting) for child in open_ones)


def _child_waits(child: Any, awaiting: Awaiting) -> bool:
    return isinstance(child, asyncio.Task) and awaits_only_work(child, child.get_coro(), awaiting)


def _group_members(steps: Any) -> list[Any]:
    """The tasks of the TaskGroup whose end a coroutine awaits, none if it awaits something else."""
    while steps is not None:
        frame = getattr(steps, "cr_frame", None)
        owner = frame.f_locals.get("self") if frame is not None else None
        if isinstance(owner, asyncio.TaskGroup):
            return list(getattr(owner, "_tasks", ()))
        steps = getattr(steps, "cr_await", None)
    return []
