"""One call for each item of iterables, as many at a time as a window allows: `cue.map()`.

Lives here: `Map`, which is what it gives.

Must not know: how items are pulled and submitted (that is `feed`), how work units run.
"""

from __future__ import annotations

import asyncio
import warnings
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Generic, NoReturn, Self, TypeVar

from runcue._api.feed import Feed
from runcue._api.handle import handle_of
from runcue._api.intake import Intake
from runcue._api.sources import no_end
from runcue._dispatch.batch import Batch
from runcue._dispatch.dispatcher import Dispatcher
from runcue._model.awaitables import NotAwaited
from runcue._model.callables import at_line, caller
from runcue._model.checks import NOTHING, positive_int, yes_or_no
from runcue._model.current import call_inside
from runcue._model.errors import ConfigurationError, InvalidParams, UsageError, WrongLoop
from runcue._model.phases import CANCELLED, COMPLETED, SETTLED, SKIPPED
from runcue._model.task import Task
from runcue._model.texts import name_of, shortened, words_of
from runcue._model.work import Work
from runcue._registration.registry import Registry

if TYPE_CHECKING:
    from runcue._dispatch.loading import ReadAhead

__all__ = ["Map"]

T_co = TypeVar("T_co", covariant=True)

_running_loop_if_any = asyncio._get_running_loop

_BY: Final = "the end of its map"
"""Who cancels what is left when a map is closed."""

_PATIENCE: Final = 0.01
"""Seconds without a turn of the event loop after which it gets one: who takes what is there need not wait for any."""


class Map(NotAwaited, Generic[T_co]):
    """What `cue.map()` gives: an async iterator of work units that have settled, or of their values.

    Nothing is submitted before it is gone through. To leave it early, use it in an `async with`: at its end nothing is
    left of it. Without one, a `break` or an exception ends it when it is collected, which may be later.

    Example:
        async with cue.map(fetch, urls) as pages:
            async for work in pages:
                if work.error is None:
                    break
    """

    _is_unused = False

    def __init__(
        self,
        intake: Intake,
        dispatcher: Dispatcher,
        registry: Registry,
        function: Any,
        iterables: tuple[Any, ...],
        *,
        window: object,
        ordered: object,
        values: object,
    ) -> None:
        # The loop in which it was begun.
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_over = self._is_closed = False
        self._window = positive_int(window, "window of map()")
        in_order = yes_or_no(ordered, "ordered of map()")
        self._gives_values = yes_or_no(values, "values of map()")
        known, names = _what_is_called(registry, function, iterables)
        if self._gives_values and known.outputs is not None and known.load is None:
            raise ConfigurationError(
                f"map(values=True) of task {known.name!r}, which has outputs= and no load=: of a work unit that is "
                "skipped, being up to date, there is no value. Give the task load=, a function that reads it, or leave "
                "values=True out and look at each work unit."
            )
        self._task = known.name
        self._dispatcher = dispatcher
        self._turns = dispatcher.turns
        self._intake = intake
        self._batch = batch = Batch(dispatcher.callbacks.unheard, in_order=in_order)
        self._feed = Feed(intake, dispatcher, registry.tasks, known, names, iterables, batch, self._window)
        # Whoever leaves it so is told in which line it was made.
        self._made_at = caller()
        self._is_unused = True
        registry.enter(known)  # a function that was not registered is so after all that can be refused
        self._until = 0.0
        # Those that a stop has cancelled while others still run.
        self._put_off: list[Work] = []
        # Values of skipped ones that are read before their turn.
        self._ahead: ReadAhead | None = None
        self._is_busy = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T_co:
        """The next work unit that has settled, or its value.

        Raises:
            StopAsyncIteration: There are no more.
            Exception: With `values=True` what a handler has raised, or its time-out; what an iterable has raised, after
                all that it had given before.
            WorkCancelled: With `values=True`, one was cancelled.
            CueStopped: The cue was stopped before all items were submitted; after those that were.
            CueFailed: The scheduler failed.
            UsageError: The cue is not started; the map was closed; another asyncio task is waiting for the next one.
            WrongLoop: In another event loop than its cue's, or than that in which it was begun.
        """
        feed, batch = self._feed, self._batch
        if self._is_over or self._is_busy or self._loop is not _running_loop_if_any():
            self._check()
        self._is_busy = True
        if feed.is_async:
            feed.go_on()
        try:
            while True:
                # First, so that there are never more than the window allows: what was given last counts until now.
                rests = feed.spare <= 0 and feed.has_more and not feed.is_async and feed.fill()
                if rests or feed.now > self._until:
                    await asyncio.sleep(0)
                    if self._is_closed:
                        self._check()
                    self._until = self._turns.now() + _PATIENCE
                line = batch.line
                if line and (work := line[0])._phase == SETTLED:
                    value: Any = work
                    if self._gives_values:
                        if work._outcome == CANCELLED and self._can_wait(work):
                            self._put_off.append(batch.take())
                            continue
                        value = work._value if work._outcome == COMPLETED else await self._value_of(work)
                    elif work._outcome == SKIPPED and work._task.load is not None:
                        await self._have_read(work)
                    batch.take()
                    feed.in_hand = 1
                    feed.spare -= 1
                    return value  # type: ignore[no-any-return]
                if not rests:
                    if feed.spare > 0 and len(batch) < self._window:
                        feed.spare = 0  # before it is waited, as many are there as may be
                        continue
                    if not batch.open and not feed.has_more and batch.feeder is None:
                        break
                    await self._wait()
            if self._put_off:
                batch.line.append(self._put_off[0])
                await self._value_of(self._put_off[0])
            self._is_over = True
            feed.finish()
            raise StopAsyncIteration
        except SystemExit:  # of an iterable: nobody comes back for what is left
            self._is_over = True
            self._let_go()
            raise
        finally:
            self._is_busy = False

    @property
    def _has_settled(self) -> bool:
        """Whether the next one need not be waited for."""
        line = self._batch.line
        return bool(line) and line[0]._phase == SETTLED and not self._is_over

    def _can_wait(self, work: Work) -> bool:
        """Whether what still runs comes before the error of a cancelled one: a stop has done that, and finishes it."""
        return self._intake.is_closing and not self._batch.in_order and work not in self._put_off

    async def _wait(self) -> None:
        if not self._batch.open:
            self._feed.look_whether_open()
        try:
            await self._dispatcher.waiting.followed(self._batch)
        except asyncio.CancelledError:
            self._feed.leave_line()  # whoever gives up waiting keeps no room
            raise
        if self._is_closed:
            self._check()
        self._until = self._turns.now() + _PATIENCE

    async def _have_read(self, work: Work) -> None:
        """Have the value of a skipped one there before that is given."""
        await self._read_ahead().read(work, self._batch.line)
        if self._is_closed:
            self._check()

    def _read_ahead(self) -> ReadAhead:
        if self._ahead is None:
            from runcue._dispatch.loading import ReadAhead  # noqa: PLC0415 - few tasks can

            self._ahead = ReadAhead()
        return self._ahead

    async def _value_of(self, work: Work) -> Any:
        """The value of one that has not simply completed. What it raises ends the map."""
        try:
            if work.skipped and work._task.load is not None:
                return await self._read_ahead().value_of(work, self._batch.line)
            return await handle_of(work).result()
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self._is_over = True
            self._batch.take()
            self._let_go()
            await self._feed.close()
            if isinstance(error, StopAsyncIteration):
                raise no_end(error, name_of(work)) from error
            raise

    def _check(self) -> None:
        """Begin, or say why the next one is not to be had."""
        self._is_unused = False
        if self._is_closed:
            raise UsageError(
                f"{self!r} is closed: what is left of it was cancelled. Go through it before that."
            )
        if self._is_over:
            raise StopAsyncIteration
        if self._is_busy:
            raise UsageError(
                f"{self!r} is gone through in another asyncio task, which waits for the next one. Each work unit is "
                "given once: let one task take them all, or give each task a map of its own."
            )
        self._intake.check_loop("map()")
        loop = asyncio.get_running_loop()
        if self._loop is not None:
            raise WrongLoop(
                f"{self!r} was begun in another event loop: go through it there, or make another one here."
            )
        if self._intake.loop is None:
            raise UsageError(
                f"{self!r} would wait for ever, as its cue is not started: call start() before it, or use `async with "
                "cue`. Nothing was submitted."
            )
        self._loop = loop
        self._until = self._turns.now() + _PATIENCE
        self._feed.begin()

    def _let_go(self) -> None:
        _let_go(self._intake, self._dispatcher, self._batch)

    async def aclose(self) -> None:
        """Cancel what is left of it, and close the generators that it goes through. Again, it does nothing.

        Raises:
            WrongLoop: In another event loop than that in which it was begun.
            Exception: What one of the generators raises as it is closed.
        """
        if self._is_closed:
            return
        if self._loop is not None and self._loop is not _running_loop_if_any():
            raise WrongLoop(f"{self!r} was begun in another event loop: close it there.")
        self._is_unused = False
        self._is_closed = True
        if not self._is_over:
            self._is_over = True
            self._let_go()
            self._batch.wake()
        await self._feed.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close it."""
        await self.aclose()

    def __del__(self) -> None:
        if self._is_unused:
            # As Python itself warns of a coroutine that was never awaited. What collects it is mostly that very line.
            at = "" if self._made_at is None else f", made in {at_line(*self._made_at)},"
            text = (
                f"{self!r}{at} was never gone through, so that nothing was submitted: write `async for work in "
                "cue.map(...)`, with runcue.blocking() `for work in b.map(...)`."
            )
            warnings.warn(text, RuntimeWarning, stacklevel=2, source=self)
        # Whoever has left it by a bare `break` does not wait for it. It may be in any thread that it is collected in.
        if self._loop is not None and not self._is_over:
            try:
                self._loop.call_soon_threadsafe(
                    _abandon, self._intake, self._dispatcher, self._batch, self._feed
                )
            except RuntimeError:
                pass  # the loop was closed, and nothing goes on in it

    def __iter__(self) -> NoReturn:
        """Say what to write instead."""
        self._is_unused = False
        raise UsageError(
            "A map is gone through by `async for`, inside an async function; where nothing is async, as `with "
            "runcue.blocking(cue) as b:`, by b.map(...)."
        )

    def __await__(self) -> NoReturn:
        """Say what to write instead."""
        self._is_unused = False
        raise UsageError(
            "A map is not awaited: go through it by `async for`, such as `[work async for work in cue.map(...)]`."
        )

    def __enter__(self) -> NoReturn:
        """Say what to write instead."""
        self._is_unused = False
        raise UsageError("A map is used as `async with cue.map(...) as works:`, inside an async function.")

    def __exit__(self, *error: object) -> None:
        """There is no getting here: `with` asks for it before it enters."""

    def __repr__(self) -> str:
        return f"<Map of task {shortened(self._task, 80)!r}>"


Map.__module__ = "runcue"


def _let_go(intake: Intake, dispatcher: Dispatcher, batch: Batch) -> None:
    """Cancel what is left, unless a stop has done so already and finishes what runs."""
    by = None if intake.is_shut else _BY
    call_inside(dispatcher, dispatcher.settlement.let_go, batch, by)


def _abandon(intake: Intake, dispatcher: Dispatcher, batch: Batch, feed: Feed) -> None:
    """Nobody has a map any more."""
    _let_go(intake, dispatcher, batch)
    feed.let_go()


def _what_is_called(
    registry: Registry, called: Any, iterables: tuple[Any, ...]
) -> tuple[Task, tuple[str, ...] | None]:
    """The task, and which of its handler's parameters the iterables are for; None: one is of params.

    Raises:
        ConfigurationError: Such a function cannot be called so.
        UnknownTask: There is no task of that name.
    """
    if not isinstance(called, str) and not callable(called):
        what = "" if called is NOTHING else f", not {words_of(called)}"
        raise ConfigurationError(
            "map() takes a function, or the name of a task, and then an iterable for each of its parameters, such as "
            f"map(fetch, urls){what}."
        )
    task = registry.find(called) if isinstance(called, str) else registry.task_for_call(called)
    by_params = isinstance(called, str) or task.parameters is None
    if not iterables:
        of = "params" if by_params else "each of its parameters"
        raise InvalidParams(f"map() takes an iterable for {of} after {words_of(called)}, and was given none.")
    if not by_params:
        try:
            task.parameters.bind(iterables, {})
        except InvalidParams as error:
            raise InvalidParams(f"map() takes one iterable for each parameter: {error}") from None
        return task, task.parameters.names[: len(iterables)]
    if len(iterables) > 1:
        which = (
            f"task {called!r}, which is given by its name"
            if isinstance(called, str)
            else f"{words_of(called)}, which takes its work unit alone"
        )
        raise InvalidParams(
            f"map() takes a single iterable for {which}: one of params, a mapping for each work unit, not "
            f"{len(iterables)} iterables."
        )
    return task, None
