"""What `map` is given, turned into work units one after the other.

Lives here: pulling the next items out of what is gone through, plain or async, and submitting them. What `submit()`
would refuse becomes a work unit that has failed.

Must not know: what can be gone through (that is `sources`), who takes the work units, and when.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Iterator, Mapping
from math import inf
from types import NoneType
from typing import Any, Final

from runcue._api.entrance import Entrance
from runcue._api.intake import Intake
from runcue._api.sources import ITERABLE, Source, no_end
from runcue._dispatch.batch import Batch
from runcue._dispatch.dispatcher import Dispatcher
from runcue._dispatch.outside_tasks import outside_tasks
from runcue._lifecycle.room import Place
from runcue._model.callables import located
from runcue._model.current import call_inside
from runcue._model.errors import (
    CueFailed,
    CueStopped,
    InvalidParams,
    RuncueError,
    UsageError,
)
from runcue._model.events import Event
from runcue._model.kept_errors import kept
from runcue._model.overrides import NO_OVERRIDES
from runcue._model.task import Task
from runcue._model.texts import words_of
from runcue._registration.submission import take_over

__all__ = ["Feed"]

SLICE: Final = 0.002
"""Seconds for which items are pulled before everything else in the event loop gets its turn."""


class Feed:
    """The items of iterables, each of which becomes a work unit.

    Args:
        intake: Takes them in.
        dispatcher: Of the same cue.
        tasks: By name, as they are by now: a function may be defined anew.
        known: Of which task they are, by its name.
        names: The parameters that the iterables are for, one each; None: there is one iterable, of params.
        given: The iterables.
        batch: Where the work units go.
        window: How many of these are not taken yet at the most.

    Attributes:
        is_async: Whether items have to be waited for: an asyncio task pulls them.
        has_more: Whether there may be more of them.
        spare: How many may be taken before others have to be pulled.
        in_hand: How many were taken by who has not asked for the next one yet.
        now: When the last one was submitted; monotonic.
    """

    # Also because there are so many: where an object has more than 30 attributes, each is looked up in a dict.
    __slots__ = (
        "_batch",
        "_begun",
        "_dispatcher",
        "_entrance",
        "_error",
        "_expected",
        "_filled",
        "_has_refused",
        "_intake",
        "_is_closed",
        "_is_exhausted",
        "_is_left",
        "_is_single",
        "_lot",
        "_name",
        "_names",
        "_place",
        "_plain",
        "_puller",
        "_pulls",
        "_room",
        "_sources",
        "_submitted",
        "_tasks",
        "_turns",
        "_window",
        "has_more",
        "in_hand",
        "is_async",
        "now",
        "spare",
    )

    def __init__(
        self,
        intake: Intake,
        dispatcher: Dispatcher,
        tasks: Mapping[str, Task],
        known: Task,
        names: tuple[str, ...] | None,
        given: tuple[Any, ...],
        batch: Batch,
        window: int,
    ) -> None:
        self._intake = intake
        self._dispatcher = dispatcher
        self._turns = dispatcher.turns
        self._tasks = tasks
        self._name = known.name
        self._names = names
        self._batch = batch
        self._window = window
        of = ("params",) if names is None else tuple(f"values of {name!r}" for name in names)
        self._sources = sources = tuple(map(Source, given, of))
        self.is_async = any(one.is_async for one in sources)
        self._is_single = len(sources) == 1
        plain: Any = () if self.is_async else (one.items for one in sources)
        self._plain: Iterator[Any] = sources[0].items if self._is_single else zip(*plain, strict=False)
        # How many there will be, None if nobody knows; and how many were submitted.
        self._expected = min((one.length for one in sources if one.length is not None), default=None)
        self._submitted = 0
        self._begun = self._has_refused = self._pulls = False
        self._is_exhausted = self._is_closed = self._is_left = False
        self.now = 0.0
        self.in_hand = 0
        self.spare = 0
        # To begin anew for each would cost as much as to submit it.
        self._lot = 1 + window // 16
        # Where there is a value for each parameter, nothing is to be filled in.
        self._filled: Any = None
        self._room: asyncio.Future[None] | None = None
        self._puller: asyncio.Task[None] | None = None
        # Where as many are pending as may be.
        self._entrance = Entrance(intake)
        self._place = None if intake.room is None else Place(intake.room, self._let_in)
        self.has_more = True
        # Why there are no more, if it is not that they have come to an end.
        self._error: BaseException | None = None

    def begin(self) -> None:
        """The first item is wanted."""
        self._begun = True
        parameters = self._tasks[self._name].parameters
        if parameters is not None and self._names == parameters.names:
            self._filled = parameters
        if self._expected:
            self._tell_expected(self._expected)
        if self.is_async:
            # Not through the loop's task factory: an eager one would be through with it before it is known.
            loop = asyncio.get_running_loop()
            self._puller = self._batch.feeder = asyncio.Task(self._pull(), loop=loop, name="runcue map")

    def fill(self) -> bool:
        """Pull items and submit them, until as many are there as may be. For those that have not to be waited for.

        Returns:
            Whether something else has to get its turn before that.
        """
        items, until = self._plain, inf
        for _ in range(self._window - len(self._batch)):
            if self.now > until:
                return True
            # If not, it stands in line for that, and what settles is given on.
            if self._place is not None and not self._place.has_room(self._name, self._has_to_wait):
                break
            try:
                item = next(items)
            except StopIteration:
                self._exhaust()
                break
            except Exception as error:
                self._end(error)
                break
            if not self._submit(item):
                break
            if until == inf:
                until = self.now + SLICE
        else:
            self.spare = self._lot
        return False

    def _has_to_wait(self) -> bool:
        return self._entrance.has_to_wait(None, inside=self._intake.is_inside())

    def _let_in(self, error: BaseException | None) -> None:
        if error is not None:
            self._end(error)
        elif not self._batch.takers:
            # Whoever goes through it is at something else, and is not to keep the place meanwhile.
            self.leave_line()
        self._batch.wake()

    def leave_line(self) -> None:
        """Wait for room no longer."""
        if self._place is not None:
            self._place.leave()

    def go_on(self) -> None:
        """The next work unit is asked for, so that the last one is in nobody's hands. For items that are waited for."""
        self.in_hand = 0
        room = self._room
        if room is not None and not room.done() and len(self._batch) < self._window:
            room.set_result(None)
            self._batch.feeder = self._puller

    def look_whether_open(self) -> None:
        """Wait for items no longer if none is taken any more, as the cue is being stopped."""
        if self.has_more and self._intake.is_closing:
            try:
                self._intake.check_open(contextvars.copy_context(), self._tasks[self._name], None)
            except (CueStopped, CueFailed) as error:
                self._end(error)
                if self._puller is not None:
                    self._puller.cancel()

    async def close(self) -> None:
        """Pull no more, and close the generators that items come from. What these raise then is raised."""
        self._is_closed = True
        self._end()
        self._error = None  # of an item that nobody asks for any more
        if self._puller is None or not self._pulls:
            await self._close_sources()
        elif self._puller is not asyncio.current_task():
            self._puller.cancel()
            await asyncio.wait([self._puller])
        self.finish()

    def finish(self) -> None:
        """All that was pulled was taken: raise what has ended it, if that was an error."""
        error, self._error = self._error, None
        try:
            if error is not None:
                raise no_end(error, ITERABLE)
        finally:
            del error  # its traceback leads to this frame: together they would live on

    def let_go(self) -> None:
        """Close it, where nobody is there to wait for that."""
        self._is_closed = self._is_left = True
        self._end()
        if self._puller is not None and self._pulls:
            self._puller.cancel()

    async def _pull(self) -> None:
        """Pull items as `fill` does, where they have to be waited for. In an asyncio task of its own."""
        batch = self._batch
        until = self._turns.now() + SLICE
        self._pulls = True
        try:
            while True:
                if len(batch) + self.in_hand >= self._window:
                    batch.feeder = None
                    self._room = asyncio.get_running_loop().create_future()
                    await self._room
                    until = self._turns.now() + SLICE
                try:
                    item = await self._next()
                except StopAsyncIteration:
                    self._exhaust()
                    break
                if not self.has_more:  # it has swallowed that it was cancelled
                    break
                room = self._intake.room
                if room is not None and self._has_to_wait():
                    await room.enter(self._name)
                if not self._submit(item):
                    break
                if len(batch.open) <= 1:
                    batch.wake()  # until now there was nothing to wait for but this task
                if self.now > until:
                    await asyncio.sleep(0)
                    until = self._turns.now() + SLICE
        except BaseException as error:
            if not self.has_more and isinstance(error, Exception):
                self._error = error  # of a generator that is closed
            self._end(error)
            if not isinstance(error, Exception | asyncio.CancelledError):
                raise
        finally:
            self._pulls = False
            try:
                if self._is_closed:
                    await self._close_sources()  # in the task in which they were gone through
            finally:
                batch.feeder = None
                batch.wake()
        if self._is_left:
            self.finish()  # whoever hears of errors that nobody retrieves is to hear of it

    async def _next(self) -> Any:
        if self._is_single:
            return await anext(self._sources[0].items)
        item = []
        for source in self._sources:
            if source.is_async:
                item.append(await anext(source.items))
            else:
                try:
                    item.append(next(source.items))
                except StopIteration:
                    raise StopAsyncIteration from None
                except StopAsyncIteration as error:
                    raise no_end(error, ITERABLE) from error
        return item

    async def _close_sources(self) -> None:
        if self._is_exhausted:
            return  # one that is longer than the others may be gone through further, as after the built-in map
        for source in self._sources:
            try:
                await source.close()
            except Exception as error:
                self._error = self._error or error

    def _submit(self, item: Any) -> bool:
        """Submit one item. Returns whether the next one may be pulled."""
        task = self._tasks[self._name]
        intake = self._intake
        context = contextvars.copy_context()
        params: Any = None
        try:
            if intake.is_closing:
                intake.check_open(context, task, None)
            if self._names is None:
                if (
                    type(item) is not dict
                    and not (self._submitted or self._has_refused)
                    and not isinstance(item, Mapping | NoneType)
                ):
                    self._end(self._no_params(item, task))
                    return False
                params = dict(item) if type(item) is dict else take_over(item)
            elif self._is_single:
                params = {self._names[0]: item}
            else:
                params = dict(zip(self._names, item, strict=True))
            if task.parameters is not self._filled and task.parameters is not None:
                params = task.parameters.fill(params)
            work = intake.admit(task, params, context, NO_OVERRIDES if task.says_per_work else None)
        except (UsageError, CueFailed) as error:
            self._end(error)
            return False
        except RuncueError as error:
            self._has_refused = True
            work = intake.refuse(task, params or {}, kept(error))
            self._dispatcher.settlement.refused(work, work._submitted_at)
        else:
            self._submitted += 1
        self.now = work._submitted_at
        self._batch.add(work)
        return True

    def _no_params(self, item: Any, task: Task) -> InvalidParams:
        """The error of a map whose first item is none of params: the others will be no better."""
        takes = () if task.parameters is None else task.parameters.names
        name = words_of(takes[0] if takes else "page")
        instead = (
            f"give it {located(task.handler)} itself, map(function, ...), with an iterable for each of its parameters, "
            f"or {{{name}: value}} for each value"
            if takes
            else f"write {{{name}: value}} for each value, or name what the function takes, as parameters of it"
        )
        return InvalidParams(
            f"map() of task {self._name!r} goes through an iterable of params, a mapping for each work unit, and its "
            f"first item is {words_of(item)}: {instead}. Nothing was submitted."
        )

    def _exhaust(self) -> None:
        self._is_exhausted = True
        self._end()

    def _end(self, error: BaseException | None = None) -> None:
        """There are no more items."""
        if not self.has_more:
            return
        self.has_more = False
        self._error = error
        self.leave_line()
        if self._expected is not None and self._begun and self._expected != self._submitted:
            self._tell_expected(self._submitted - self._expected)

    def _tell_expected(self, number: int) -> None:
        """Tell observers that so many more are to be expected, or fewer than they were told."""
        listeners = self._dispatcher.listeners
        if listeners.of[Event.EXPECTED]:
            heard = self._turns.now(), self._name, number
            call_inside(self._dispatcher, outside_tasks, self._turns.loop, listeners.expected, *heard)
