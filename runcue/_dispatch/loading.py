"""Values of work units that were skipped: `load=` of their task reads them back from what is there.

Lives here: `value_of`. A value is read when it is first asked for, once, however many ask at the same time, and kept
with the work unit. What the function raises is raised to those who ask; the work unit stays skipped, and who asks later
has it read anew.

Must not know: who asks, what was read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextvars import copy_context
from inspect import unwrap
from typing import Any, Final

from runcue._artifacts.reads import READS
from runcue._callbacks.forks import FORKS, leave
from runcue._dispatch.off_loop import NO_THREAD, off_loop
from runcue._model.awaitables import is_awaitable
from runcue._model.callables import located
from runcue._model.checks import is_async
from runcue._model.errors import HandlerExited
from runcue._model.kept_errors import kept, raised_again
from runcue._model.texts import error_words
from runcue._model.work import Loaded, Work

__all__ = ["load_all", "value_of"]

_AT_ONCE: Final = 16
"""So many values are read at once, where all of several are wanted."""


async def value_of(work: Work) -> Any:
    """The value of a work unit that was completed or skipped.

    Args:
        work: Settled.

    Raises:
        Exception: What `load=` of its task has raised.
        HandlerExited: It has raised something that is no `Exception`.
    """
    load = work._task.load
    if load is None or not work.skipped:
        return work.result
    loaded: Loaded | None = work._value
    loop = asyncio.get_running_loop()
    if loaded is None or (loaded.reading is not None and loaded.reading.get_loop() is not loop):
        loaded = work._value = Loaded()
        # Not through the loop's task factory: an eager one would call the function before this is known.
        loaded.reading = asyncio.Task(_read(work, load, loaded), loop=loop, name="runcue")
    if loaded.reading is not None:
        # Who gives up waiting does not take it from the others.
        error = await asyncio.shield(loaded.reading)
        if error is not None:
            raise raised_again(error)
    return loaded.value


async def load_all(works: Iterable[Work]) -> list[Exception]:
    """Have the values of work units read that were skipped.

    Args:
        works: Settled.

    Returns:
        What was raised, in their order.
    """
    found = [work for work in works if work._task.load is not None and work.skipped]
    if not found:
        return []
    skipped = iter(found)
    raised: dict[int, Exception] = {}

    async def read_some() -> None:
        for work in skipped:
            try:
                await value_of(work)
            except Exception as error:
                raised[work._seq] = error

    await asyncio.gather(*(read_some() for _ in found[:_AT_ONCE]))
    return [raised[place] for place in sorted(raised)]


async def _read(work: Work, load: Callable[[Work], Any], loaded: Loaded) -> BaseException | None:
    """Read a value. Returns what was raised instead."""
    READS.set(None)  # whoever asks may be a gate, whose reads are its own
    me = asyncio.current_task()
    error: BaseException | None = None
    try:
        value = load(work) if is_async(unwrap(load)) else await _in_thread(work, load)
        loaded.value = await value if is_awaitable(value) else value
        loaded.reading = None
    except BaseException as raised:
        if work._value is loaded:
            work._value = None
        if isinstance(raised, KeyboardInterrupt) or (me is not None and me.cancelling()):
            raise
        error = raised
        if not isinstance(raised, Exception):
            error = HandlerExited(
                f"load= of task {work.task!r}, {located(load)}, ended with {error_words(raised)}"
            )
            error.__cause__ = raised
        error = kept(error)
    return error


async def _in_thread(work: Work, load: Callable[[Work], Any]) -> Any:
    values: list[Any] = []
    context = copy_context()

    def read() -> None:
        forks = FORKS.number
        try:
            values.append(context.run(load, work))
        except BaseException as error:
            if FORKS.number != forks:
                leave(error)
            raise
        if FORKS.number != forks:
            leave(None)

    def blocked(began: float, ended: float) -> None:
        what = f"load= of task {work.task!r}, {located(load)},"
        work._task.dispatcher.callbacks.door.blocked(what, began, ended, NO_THREAD, work)

    await off_loop(read, blocked)
    return values[0]
