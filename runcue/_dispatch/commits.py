"""The end of a handler whose work unit deals in files: committed in the event loop if it is quick, else in a thread.

Lives here: where it is done. What is done is `_handlers.outputs.commit`. Plain handlers have it done in their own
thread.

Must not know: the states of work units, who waits for them, the dispatcher.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from runcue._callbacks.door import Door
from runcue._dispatch.off_loop import NO_THREAD, off_loop
from runcue._handlers.outputs import Commit, commit, commit_due
from runcue._model.work import Work

__all__ = ["commit_at_once", "commit_before"]


def commit_at_once(work: Work, value: Any, due: Commit, door: Door) -> tuple[Any, BaseException | None]:
    """Commit what a handler that has never suspended has left, if that is quick.

    Args:
        work: The work unit that it was started for.
        value: What it returned.
        due: What is left to be done; see `commit_due`.
        door: Told where it keeps the event loop, for want of a thread.

    Returns:
        What is to be awaited if it is not quick, a coroutine that gives the value and has not begun; and what went
        wrong.
    """
    if due is Commit.SLOW:
        return _commit_in_thread(work, value, door), None
    try:
        if not commit(work, patient=False):
            return _commit_in_thread(work, value, door), None
    except BaseException as error:
        return None, error
    return None, None


async def commit_before(work: Work, value: Any, door: Door) -> Any:
    """Commit what a handler has left, before its value is anybody's. Returns the value."""
    due = commit_due(work)
    if due is Commit.SLOW or (due is not None and not commit(work, patient=False)):
        return await _commit_in_thread(work, value, door)
    return value


async def _commit_in_thread(work: Work, value: Any, door: Door) -> Any:
    def blocked(began: float, ended: float) -> None:
        door.blocked(f"Publishing what task {work.task!r} has made", began, ended, NO_THREAD, work)

    # To the end: who is cancelled meanwhile may be tried again, and what an attempt has written has but one place.
    await off_loop(partial(commit, work), blocked, to_the_end=True)
    return value
