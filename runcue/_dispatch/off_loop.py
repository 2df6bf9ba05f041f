"""What would keep the event loop waiting, done in a thread of its own and awaited in the loop.

Where no thread can be had, one is waited for. Not for ever: a program may have none at all, and then it is done in the
loop, which is told if it takes long.

Must not know: what is done, or for whom.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Final

from runcue._callbacks.door import BLOCKS_AFTER
from runcue._dispatch.clock import clock_of

__all__ = ["NO_THREAD", "Blocked", "off_loop"]

NO_THREAD: Final = "no thread could be had for it: allow more of them (ulimit -u), or start fewer"
"""What to do about what is done in the loop."""

Blocked = Callable[[float, float], None]
"""Takes from when and until when it has kept the event loop, if that was long."""

_TRIES: Final = 5
_PAUSE: Final = 0.2
"""Seconds between two tries to start a thread: nobody tells when it can be done. A plain handler is over by then."""


async def off_loop(call: Callable[[], object], blocked: Blocked, *, to_the_end: bool = False) -> None:
    """Call something in a thread. It goes on there if whoever awaits it is cancelled.

    Args:
        call: What is called.
        blocked: Told where there was no thread, and it has kept the event loop.
        to_the_end: Whether who is cancelled is so only when it has ended. Who is cancelled twice waits no longer.

    Raises:
        BaseException: What it raised.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[BaseException | None] = loop.create_future()
    clock = clock_of(loop)

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

    for _ in range(_TRIES):
        clock.hold()
        try:
            threading.Thread(target=in_thread, name="runcue-files", daemon=True).start()
            break
        except (RuntimeError, MemoryError):
            clock.release()
        await asyncio.sleep(_PAUSE)
    else:
        began = clock.monotonic()
        try:
            call()
        finally:
            if (ended := clock.monotonic()) - began > BLOCKS_AFTER:
                blocked(began, ended)
        return
    try:
        error = await (asyncio.shield(done) if to_the_end else done)
    except asyncio.CancelledError:
        if to_the_end:
            await done
        raise
    if error is not None:
        raise error
