"""Waiting for a work unit where nothing can be awaited: `handle.result_sync()`.

Must not know: how work units run.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextvars import copy_context
from typing import Any

from runcue._dispatch.dispatcher import Dispatcher
from runcue._model.callables import located
from runcue._model.errors import UsageError, WrongLoop
from runcue._model.phases import SETTLED
from runcue._model.rate import duration_or_none
from runcue._model.texts import name_of
from runcue._model.work import Loaded, Work

__all__ = ["result_sync"]


def result_sync(
    work: Work,
    timeout: object,
    result: Callable[[], Coroutine[Any, Any, Any]],
    exception: Callable[[], BaseException | None],
) -> Any:
    """See `WorkHandle.result_sync`.

    Args:
        work: The work unit.
        timeout: As there.
        result: Of its handle.
        exception: Likewise.
    """
    patience = duration_or_none(timeout, "timeout of result_sync()", zero=True)

    def late() -> TimeoutError:
        if work._phase == SETTLED:
            return TimeoutError(
                f"The value of {name_of(work)}, which was skipped, was not read back within {patience:g} s "
                f"(result_sync(timeout=)) by load= of its task, {located(work._task.load)}: give it more time, or ask "
                "again."
            )
        return TimeoutError(
            f"{name_of(work)} has not ended within {patience:g} s (result_sync(timeout=)): it is {work.state.value}; "
            "print(cue.why(handle)) says why."
        )

    dispatcher: Dispatcher = work._task.dispatcher
    turns = dispatcher.turns
    loop = turns.loop
    is_alive = loop is not None and not loop.is_closed()
    if is_alive and asyncio._get_running_loop() is loop:
        raise UsageError(
            f"result_sync() of {name_of(work)} in the event loop's own thread would keep the loop from running it; "
            "there it is `await handle`."
        )
    is_skipped = work._phase == SETTLED and work.skipped
    has_to_be_read = is_skipped and work._task.load is not None and not _is_there(work._value)
    if work._phase == SETTLED and not (has_to_be_read and is_alive):
        if has_to_be_read:  # read here, as the loop has ended
            return _in_loop_of_its_own(result, patience, late)
        if (error := exception()) is not None:
            try:
                raise error
            finally:
                del error  # its traceback leads to this frame: together they would live on
        return work.result
    turns.check_process(f"result_sync() of {name_of(work)}")
    if turns.failure is not None:
        raise turns.failed()
    if not is_alive:
        raise _never(work, has_ended=loop is not None or turns.has_ended)
    if threading.get_ident() == turns.thread:
        raise UsageError(
            f"result_sync() of {name_of(work)} in the thread of its event loop, which does not run meanwhile: let it "
            "run, by `loop.run_until_complete(handle.result())`."
        )

    return dispatcher.calls.make(dispatcher.loop_calls, result, patience, late)


def _is_there(loaded: Loaded | None) -> bool:
    """Whether the value of a skipped work unit was read."""
    return loaded is not None and loaded.reading is None


def _in_loop_of_its_own(
    result: Callable[[], Coroutine[Any, Any, Any]], patience: float | None, late: Callable[[], TimeoutError]
) -> Any:
    async def read() -> Any:
        limit = asyncio.timeout(patience)
        try:
            async with limit:
                return await result()
        except TimeoutError:
            if limit.expired():
                raise late() from None
            raise

    if asyncio._get_running_loop() is None:
        return asyncio.run(read())
    # Another loop runs in this thread, as in a notebook.
    outcome: Future[Any] = Future()
    context = copy_context()

    def in_thread() -> None:
        try:
            outcome.set_result(context.run(lambda: asyncio.run(read())))
        except BaseException as error:
            outcome.set_exception(error)

    threading.Thread(target=in_thread, name="runcue", daemon=True).start()
    return outcome.result()


def _never(work: Work, *, has_ended: bool) -> UsageError:
    if has_ended:
        return WrongLoop(
            f"Work {work.id} belongs to a cue whose event loop has ended; start() that cue in another one, and what is "
            "pending will run."
        )
    return UsageError(
        f"result_sync() of {name_of(work)}, whose cue is not started, would wait for ever: call start() before it, or "
        "use `async with cue` or runcue.blocking(cue)."
    )
