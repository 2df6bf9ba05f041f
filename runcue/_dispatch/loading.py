"""Values of work units that were skipped: `load=` of their task reads them back from what is there.

Lives here: `value_of`. A value is read when it is first asked for, once, however many ask at the same time, and kept
with the work unit. What the function raises is raised to those who ask; the work unit stays skipped, and who asks later
has it read anew. Plain functions read in threads, of which a cue has few at once.

Must not know: who asks, what was read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextvars import ContextVar, copy_context
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from runcue._artifacts.reads import READS
from runcue._callbacks.door import AWAIT
from runcue._callbacks.forks import FORKS, leave
from runcue._dispatch.off_loop import NO_THREAD, off_loop
from runcue._handlers.coroutines import watched
from runcue._handlers.named_functions import NamedFunction
from runcue._model.awaitables import is_awaitable
from runcue._model.callables import located
from runcue._model.checks import is_async
from runcue._model.errors import HandlerExited, UsageError
from runcue._model.kept_errors import kept, raised_again
from runcue._model.texts import error_words, name_of
from runcue._model.work import Loaded, Work

if TYPE_CHECKING:
    from runcue._dispatch.dispatcher import Dispatcher

__all__ = ["ReadAhead", "load_all", "value_of"]

AT_ONCE: Final = 16
"""So many values are read at once, where all of several are wanted; and so many plain functions read at once."""

# What is being read where this is seen: who asks for another value meanwhile gets it in any case, as nothing else ends.
_AROUND: ContextVar[tuple[Loaded, ...]] = ContextVar("values that are being read", default=())


async def value_of(work: Work) -> Any:
    """The value of a work unit that was completed or skipped.

    Args:
        work: Settled.

    Raises:
        Exception: What `load=` of its task has raised.
        HandlerExited: It has raised something that is no `Exception`.
    """
    if work._task.load is None or not work.skipped:
        return work.result
    return await value_in(begin(work))


def begin(work: Work) -> Loaded:
    """Have the value of a work unit read, unless it is there or is being read.

    Args:
        work: Skipped; its task has `load=`.

    Raises:
        UsageError: By what reads it.
    """
    load = work._task.load
    assert load is not None
    loaded: Loaded | None = work._value
    loop = asyncio.get_running_loop()
    if loaded is None or (loaded.reading is not None and loaded.reading.get_loop() is not loop):
        loaded = work._value = Loaded()
        # Not through the loop's task factory: an eager one would call the function before this is known.
        loaded.reading = asyncio.Task(_read(work, load, loaded), loop=loop, name="runcue")
    elif loaded.reading is not None and loaded in _AROUND.get():
        raise UsageError(
            f"load= of task {work.task!r}, {located(load)}, asks for the value of {name_of(work)}, which it is to read "
            "itself: read it from work.outputs."
        )
    elif loaded.reading is not None and _lead_to(loaded, _AROUND.get()):
        raise UsageError(
            f"The value of {name_of(work)} is asked for by a load= function on whose value that one waits itself, by "
            f"load= of task {work.task!r}, {located(load)}: each would wait for the other for ever. Let one of them "
            "read what it needs from work.outputs, or from where the other one reads it."
        )
    return loaded


def _lead_to(loaded: Loaded, around: tuple[Loaded, ...]) -> bool:
    """Whether a value waits for another one, by way of others or not, that is being read around here."""
    line, seen = list(loaded.awaits) if around else [], {loaded}
    while line:
        one = line.pop()
        if one in around:
            return True
        if one not in seen:
            seen.add(one)
            line += one.awaits
    return False


async def value_in(loaded: Loaded) -> Any:
    """What is read, when it is there.

    Raises:
        Exception: What was raised instead; see `value_of`.
    """
    if loaded.reading is not None:
        around = _AROUND.get()
        if around:
            around[-1].awaits.append(loaded)
            if loaded.wanted is not None and not loaded.wanted.done():
                loaded.wanted.set_result(None)
        try:
            # Who gives up waiting does not take it from the others.
            error = await asyncio.shield(loaded.reading)
        finally:
            if around:
                around[-1].awaits.remove(loaded)
        if error is not None:
            raise raised_again(error)
    return loaded.value


class ReadAhead:
    """Values of skipped work units that are given one after the other: several are read before their turn."""

    __slots__ = ("_begun",)

    def __init__(self) -> None:
        self._begun: dict[Work, Loaded] = {}

    async def value_of(self, work: Work, line: Iterable[Work]) -> Any:
        """The value of the next one.

        Args:
            work: It was skipped, and its task has `load=`.
            line: Those that may come next, in their order.

        Raises:
            Exception: As for `value_of`.
        """
        for one in (work, *islice(line, AT_ONCE)):
            if one.skipped and one._task.load is not None and one not in self._begun:
                self._begun[one] = begin(one)
        try:
            return await value_in(self._begun[work])
        finally:
            self._begun.pop(work, None)

    async def read(self, work: Work, line: Iterable[Work]) -> None:
        """Have the value of the next one there, if it can be read. If not, that is told. See `value_of`."""
        try:
            await self.value_of(work, line)
        except Exception as error:
            assert work._task.load is not None
            work._task.dispatcher.callbacks.failures.raised(
                f"load= of task {work.task!r}, {located(work._task.load)},",
                error,
                work,
                then="which is given all the same, with the result None; to await its handle raises this",
            )


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

    await asyncio.gather(*(read_some() for _ in found[:AT_ONCE]))
    return [raised[place] for place in sorted(raised)]


async def _read(work: Work, load: Callable[[Work], Any], loaded: Loaded) -> BaseException | None:
    """Read a value. Returns what was raised instead."""
    READS.set(None)  # whoever asks may be a gate, whose reads are its own
    around = _AROUND.get()
    _AROUND.set((*around, loaded))
    me = asyncio.current_task()
    error: BaseException | None = None
    try:
        if is_async(load.__wrapped__ if isinstance(load, NamedFunction) else load):
            value = load(work)
        elif around:
            value = await _in_thread(work, load)
        else:
            room = _room(work._task.dispatcher)
            takes_room = await _taken(room, loaded)
            try:
                value = await _in_thread(work, load)
            finally:
                if takes_room:
                    room.release()
        loaded.value = await _awaited(value, work, load) if is_awaitable(value) else value
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


def _awaited(value: Any, work: Work, load: Callable[[Work], Any]) -> Awaitable[Any]:
    """What it has returned to be awaited, to its end."""
    what, door = f"load= of task {work.task!r}, {located(load)},", work._task.dispatcher.callbacks.door

    def blocked(began: float, ended: float) -> None:
        door.blocked(what, began, ended, AWAIT, work)

    def cancelled() -> None:
        door.cancelled(what, work)

    return watched(value, door.now, blocked, cancelled)


def _room(dispatcher: Dispatcher) -> asyncio.Semaphore:
    """What bounds how many threads read at once for a cue in this event loop."""
    loop = asyncio.get_running_loop()
    if dispatcher.readers is None or dispatcher.readers[0] is not loop:
        number = min(AT_ONCE, dispatcher.core.threads.concurrent or AT_ONCE)
        dispatcher.readers = loop, asyncio.Semaphore(number)
    return dispatcher.readers[1]


async def _taken(room: asyncio.Semaphore, loaded: Loaded) -> bool:
    """Wait for room. Returns whether it was taken; it is not if somebody who has room comes to wait for this."""
    taking = asyncio.ensure_future(room.acquire())
    loaded.wanted = asyncio.get_running_loop().create_future()
    try:
        await asyncio.wait((taking, loaded.wanted), return_when=asyncio.FIRST_COMPLETED)
    except BaseException:
        if not taking.cancel():
            room.release()
        raise
    finally:
        loaded.wanted = None
    return not taking.cancel()


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
