"""What would keep the event loop waiting, done in a thread of its own and awaited in the loop.

Must not know: what is done, work units.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

from runcue._dispatch.clock import clock_of

__all__ = ["off_loop"]


async def off_loop(call: Callable[[], object]) -> None:
    """Call something in a thread. It goes on there if whoever awaits it is cancelled.

    Raises:
        BaseException: What it raised.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[BaseException | None] = loop.create_future()
    clock = clock_of(loop)
    clock.hold()

    def tell(error: BaseException | None) -> None:
        clock.release()
        if not done.done():
            done.set_result(error)  # as a value: a future refuses StopIteration as its exception

    def in_thread() -> None:
        failure: BaseException | None = None
        try:
            call()
        except BaseException as error:
            failure = error
        try:
            loop.call_soon_threadsafe(tell, failure)
        except RuntimeError:
            pass  # the loop was closed meanwhile: nobody is left to be told

    try:
        threading.Thread(target=in_thread, name="runcue-files", daemon=True).start()
    except RuntimeError:  # no more threads to be had
        in_thread()
    error = await done
    if error is not None:
        raise error
