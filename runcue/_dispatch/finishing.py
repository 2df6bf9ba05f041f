"""The end of an async handler whose work deals in files: in the event loop if it is quick, else in a thread.

Lives here: when it is done where. What is done is `_carrying.finish`; sync handlers have it done in their own thread.

Must not know: work units' states, who waits for them, the dispatcher.
"""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from runcue._dispatch.clock import clock_of
from runcue._handlers.outputs import commit, is_quick
from runcue._model.work import Work

__all__ = ["commit_at_once", "commit_in_thread"]


def commit_at_once(work: Work, value: Any) -> tuple[Any, BaseException | None]:
    """Finish a work unit whose handler has never suspended, if that is quick.

    Returns:
        What is left to be awaited if it is not quick, as a coroutine and what it has yielded; and what went wrong.
    """
    if not is_quick(work):
        return (commit_in_thread(work, value), None), None
    try:
        commit(work)
    except BaseException as error:
        return None, error
    return None, None


async def commit_in_thread(work: Work, value: Any) -> Any:
    """Finish a work unit whose handler has succeeded, in a thread of its own if the disk has to be waited for.

    Returns:
        The handler's value.
    """
    if is_quick(work):
        commit(work)
        return value
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()
    clock = clock_of(loop)
    clock.hold()

    def tell(error: BaseException | None) -> None:
        clock.release()
        if done.done():
            return
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)

    def in_thread() -> None:
        failure: BaseException | None = None
        try:
            commit(work)
        except BaseException as error:
            failure = error
        try:
            loop.call_soon_threadsafe(tell, failure)
        except RuntimeError:
            pass  # the loop was closed meanwhile: nobody is left to be told

    threading.Thread(target=in_thread, name="runcue-publish", daemon=True).start()
    await done
    return value
