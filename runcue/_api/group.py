"""Work units that are waited for together: `cue.group()`.

Lives here: `Group`.

Must not know: how work units are submitted, or how they run.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from types import TracebackType
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Final,
    NoReturn,
    ParamSpec,
    Self,
    TypeVar,
    Unpack,
    overload,
)

from runcue._api.handle import WorkHandle
from runcue._api.intake import Intake
from runcue._dispatch.batch import Batch
from runcue._dispatch.dispatcher import Dispatcher
from runcue._dispatch.loading import ReadAhead, load_all
from runcue._model.awaitables import NotAwaited
from runcue._model.callables import caller
from runcue._model.checks import NOTHING, is_one_of, says_how_to_await, says_what_it_takes
from runcue._model.current import call_inside
from runcue._model.errors import (
    ConfigurationError,
    CueStopped,
    UsageError,
    WorkCancelled,
    WrongLoop,
    is_made_of,
)
from runcue._model.kept_errors import raised_again, say_whose
from runcue._model.phases import SETTLED, SKIPPED
from runcue._model.summary import Summary
from runcue._model.texts import how_many, name_of, words_of
from runcue._model.work import Work
from runcue._scheduling.numbers import numbers_of

if TYPE_CHECKING:
    from runcue._api.submit_options import SubmitOptions

__all__ = ["Group"]

R = TypeVar("R")
Q = ParamSpec("Q")

_FAIL: Final = ("all", "first", "never")

_BY: Final = "the end of its group"
"""Who cancels what is left of a group that is left by an exception."""


class Group(NotAwaited):
    """What `cue.group()` gives: work units that are submitted in an `async with`. At its end all of them have settled.

    Where the body of the `async with` raises, or its asyncio task is cancelled, what is left is cancelled, and that
    error is raised as it is.

    Example:
        async with cue.group() as group:
            for url in urls:
                await group.call(fetch, url)
        print(group.summary)
    """

    def __init__(
        self,
        intake: Intake,
        dispatcher: Dispatcher,
        submit: Callable[..., Awaitable[WorkHandle]],
        call: Callable[..., Awaitable[WorkHandle]],
        fail: object,
    ) -> None:
        if not is_one_of(fail, _FAIL):
            raise ConfigurationError(
                'fail of group() must be "all" (failures are raised together when all have settled), "first" (the '
                f'first one cancels the rest and is raised) or "never", not {words_of(fail)}.'
            )
        self._intake = intake
        self._submit = submit
        self._call = call
        self._fail = fail
        self._dispatcher = dispatcher
        self._turns = dispatcher.turns
        self._batch = Batch(
            dispatcher.callbacks.unheard, failed=self._fail_first if fail == "first" else None
        )
        # Where nobody raises failures, somebody has to come for them in time, as for any.
        self._batch.is_heard = fail != "never"
        self._works: list[Work] = []
        self._first: Work | None = None
        # The asyncio tasks that submit to it, where they may have to wait for room.
        self._coming: set[asyncio.Task[Any] | None] = set()
        # Values of skipped ones that are read before these are given.
        self._ahead = ReadAhead()
        # How often it was cancelled.
        self._cancels = 0
        self._state = "new"
        self._began = self._ended = 0.0

    async def __aenter__(self) -> Self:
        if self._state != "new":
            raise UsageError(
                "This group has been entered before; each `async with` needs one of its own: cue.group()."
            )
        self._intake.check_loop("group()")
        self._loop = asyncio.get_running_loop()
        if self._intake.loop is None:
            self._intake.meet(self._loop)
        self._state = "open"
        self._began = self._ended = self._turns.now()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Wait until all have settled, and raise failures as `fail=` says; after an exception cancel what is left."""
        try:
            if kind is None:
                errors = await self._come_to_its_end()
                self._raise_failures()
                if errors and self._fail != "never":
                    raise (
                        errors[0]
                        if self._fail == "first"
                        else ExceptionGroup("values of what was skipped could not be read", errors)
                    )
            elif self._first is not None and issubclass(kind, WorkCancelled):
                # What the body has waited for was cancelled by this group itself.
                self._raise_first()
            elif self._intake.is_shut and (
                issubclass(kind, KeyboardInterrupt) or is_made_of(error, (CueStopped, WorkCancelled))
            ):
                # A stop has cancelled what was pending, and lets what runs finish.
                while self._batch.open:
                    await self._wait(all_of_them=True)
        finally:
            self._state = "closed"
            self._ended = self._turns.now()
            call_inside(self._dispatcher, self._dispatcher.settlement.let_go, self._batch, _BY)
            self._wait_no_longer(lambda: self._not_open("submit()"))

    async def _come_to_its_end(self) -> list[Exception]:
        """Wait until all have settled, and have values read that were skipped. Returns what that has raised."""
        while True:
            while self._batch.open or self._coming:
                await self._wait(all_of_them=True)
            errors = await load_all(self._works)
            if not self._batch.open and not self._coming:  # else somebody has added some meanwhile
                return errors

    # What the function returns is what the handle gives; of an `async def`, what that is awaited for.
    @overload
    async def submit(
        self,
        task: Callable[..., Awaitable[R]],
        params: Mapping[str, Any] | None = None,
        **options: Unpack[SubmitOptions],
    ) -> WorkHandle[R]: ...
    @overload
    async def submit(
        self,
        task: Callable[..., R],
        params: Mapping[str, Any] | None = None,
        **options: Unpack[SubmitOptions],
    ) -> WorkHandle[R]: ...
    @overload
    async def submit(
        self, task: str, params: Mapping[str, Any] | None = None, **options: Unpack[SubmitOptions]
    ) -> WorkHandle: ...
    @says_how_to_await("`await group.submit(...)`")
    async def submit(
        self,
        task: str | Callable[..., Any] = NOTHING,
        params: Mapping[str, Any] | None = None,
        *misplaced: Any,
        **options: Any,
    ) -> WorkHandle:
        """Submit a work unit that belongs to this group. See `Cue.submit`.

        Args:
            task: As for `Cue.submit`.
            params: As for `Cue.submit`.
            *misplaced: None: params that are given one by one are told.
            **options: The others that `Cue.submit` takes.

        Raises:
            UsageError: The group is not entered yet, or has ended.
            Exception: With `fail="first"`, the first failure.
        """
        self._check("submit()")
        return await self._come_in(self._submit(task, params, *misplaced, **options))

    @overload
    async def call(
        self, function: Callable[Q, Awaitable[R]], /, *args: Q.args, **kwargs: Q.kwargs
    ) -> WorkHandle[R]: ...
    @overload
    async def call(
        self, function: Callable[Concatenate[Work, Q], Awaitable[R]], /, *args: Q.args, **kwargs: Q.kwargs
    ) -> WorkHandle[R]: ...
    @overload
    async def call(self, function: Callable[Q, R], /, *args: Q.args, **kwargs: Q.kwargs) -> WorkHandle[R]: ...
    @overload
    async def call(
        self, function: Callable[Concatenate[Work, Q], R], /, *args: Q.args, **kwargs: Q.kwargs
    ) -> WorkHandle[R]: ...
    @overload
    async def call(self, function: str, /, *args: Any, **kwargs: Any) -> WorkHandle: ...
    @says_how_to_await("`await group.call(...)`")
    async def call(self, function: Any = NOTHING, /, *args: Any, **kwargs: Any) -> WorkHandle:
        """Submit a call that belongs to this group. See `Cue.call`; it raises as `submit` does, too."""
        self._check("call()")
        return await self._come_in(self._call(function, *args, **kwargs))

    def as_completed(self) -> AsyncIterator[Work]:
        """The work units of the group as they settle, each once: those that have, and those that are added meanwhile.

        It ends when there is none left that was not given. What is added after that, or was not taken from it, the next
        call gives.

        Example:
            async for work in group.as_completed():
                for link in work.result or ():
                    await group.call(fetch, link)

        Raises:
            UsageError: The group is not entered yet, or has ended.
            Exception: With `fail="first"`, the first failure, in place of what would come next.
        """
        self._check("as_completed()")
        return self._settled()

    async def _settled(self) -> AsyncIterator[Work]:
        batch = self._batch
        batch.hold()
        while batch.line or batch.open or self._coming:
            if self._first is not None:
                self._raise_first()
            if batch.line:
                work = batch.take()
                if work._outcome == SKIPPED and work._task.load is not None:
                    try:
                        await self._ahead.read(work, batch.line)
                    except BaseException:
                        batch.line.appendleft(work)  # it was not given
                        raise
                yield work
            else:
                await self._wait()

    @says_what_it_takes
    def cancel(self) -> None:
        """Cancel what has not settled of it, at once. What is submitted after that runs as usual.

        Raises:
            UsageError: The group is not entered yet, or has ended.
            WrongLoop: In another thread or event loop than its own.
        """
        self._check("cancel()", is_raised=False)
        self._cancels += 1
        self._cancel(caller())
        self._wait_no_longer(None)

    @property
    def summary(self) -> Summary:
        """What became of its work units until now; of those that are left, `summary.left` tells."""
        works = self._works
        return Summary(
            **numbers_of(works),
            blocked=[],
            values=[work.result for work in works],
            duration=(self._turns.now() if self._state == "open" else self._ended) - self._began,
            left=[work for work in works if work._phase != SETTLED],
        )

    def _check(self, call: str, *, is_raised: bool = True) -> None:
        """Check that a call can be made here and now, and raise the first failure if that is to be raised."""
        if self._state != "open":
            raise self._not_open(call)
        if self._loop is not asyncio._get_running_loop():
            raise WrongLoop(
                f"{call} of a group in another thread or event loop than that of its `async with`."
            )
        if is_raised and self._first is not None:
            self._raise_first()

    def _not_open(self, call: str) -> UsageError:
        when = (
            "before its `async with` has begun"
            if self._state == "new"
            else "after its `async with` has ended"
        )
        return UsageError(
            f"{call} of a group {when}: write `async with cue.group() as group:`, and call group.{call} inside."
        )

    async def _come_in(self, submission: Awaitable[WorkHandle]) -> WorkHandle:
        """Submit a work unit, and let it belong to the group."""
        if self._intake.room is None:
            return self._add(await submission)
        me, cancels = asyncio.current_task(), self._cancels
        self._coming.add(me)
        try:
            handle = self._add(await submission)
        finally:
            self._coming.discard(me)
            if not self._coming:
                self._batch.wake()
        if self._cancels != cancels:  # while it waited for room
            handle.cancel()
        return handle

    def _add(self, handle: WorkHandle) -> WorkHandle:
        try:
            self._check("submit()")
        except BaseException:
            handle.cancel()
            raise
        self._works.append(handle.work)
        self._batch.add(handle.work)
        return handle

    def _wait_no_longer(self, error: Callable[[], BaseException] | None) -> None:
        """End the waiting for room of those who submit to it. See `Room.wait_no_longer`."""
        if self._coming:
            assert self._intake.room is not None
            self._intake.room.wait_no_longer(self._coming, error)

    async def _wait(self, *, all_of_them: bool = False) -> None:
        if self._turns.loop is None:
            raise UsageError(
                "A group would wait for ever, as its cue is not started: call start() before it, or use `async with "
                "cue`. What is left of it was cancelled."
            )
        await self._dispatcher.waiting.followed(self._batch, all_of_them=all_of_them)

    def _cancel(self, by: Any) -> None:
        call_inside(self._dispatcher, self._dispatcher.settlement.cancel_all, self._batch, by)

    def _fail_first(self, work: Work) -> None:
        """One has failed, where the first failure ends all."""
        if self._first is None:
            self._first = work
            self._cancel(f"the first failure of its group, that of {name_of(work)}")
            self._wait_no_longer(self._first_error)

    def _raise_first(self) -> NoReturn:
        raise self._first_error()

    def _first_error(self) -> BaseException:
        assert self._first is not None
        # Whoever gets it has heard of it.
        self._dispatcher.callbacks.unheard.heard(self._first._value)
        error = raised_again(self._first._value)
        say_whose(error, self._first)
        return error

    def _raise_failures(self) -> None:
        """All have settled."""
        if self._first is not None:
            self._raise_first()
        if self._fail == "all":
            self.summary.raise_for_errors()

    def __enter__(self) -> NoReturn:
        """Say what to write instead."""
        raise UsageError(
            "A group is used as `async with cue.group() as group:`, inside an async function; where nothing is async, "
            "as `with b.group() as group:`, inside `with runcue.blocking(cue) as b:`."
        )

    def __exit__(self, *error: object) -> None:
        """There is no getting here: `with` asks for it before it enters."""

    def __await__(self) -> NoReturn:
        """Say what to write instead."""
        raise UsageError("A group is not awaited: write `async with cue.group() as group:`.")

    def __repr__(self) -> str:
        """How many work units it has, and how many of them have not settled: "<Group open: 5 work units, 2 left>"."""
        number = how_many(len(self._works), "work unit", "work units")
        return f"<Group {self._state}: {number}, {len(self._batch.open)} left>"


Group.__module__ = "runcue"
