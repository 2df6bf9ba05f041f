"""`runcue.blocking(cue)`: the same calls without await, for programs that are not async.

Lives here: `Blocking`, with an event loop in a thread of its own. Calls go by `LoopCalls`: whoever calls while the
loop ends is told so. What Ctrl-C does to it is in `interruption`.

Must not know: anything but the public calls of a cue.
"""

from __future__ import annotations

import asyncio
import builtins
import threading
from collections.abc import Awaitable, Callable, Generator, Mapping
from functools import partial
from types import TracebackType
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Final,
    Literal,
    NoReturn,
    ParamSpec,
    Self,
    TypeVar,
    Unpack,
    overload,
)

from runcue._api.cue import AnyIterable, Cue
from runcue._api.handle import WorkHandle
from runcue._api.interruption import Interruption
from runcue._api.loop_thread import LoopThread
from runcue._dispatch.interruptions import interruptions_here
from runcue._dispatch.loop_calls import LoopCalls
from runcue._model.checks import NOTHING, says_what_it_takes
from runcue._model.errors import ConfigurationError, RuncueError, UsageError
from runcue._model.overrides import DEFAULT
from runcue._model.phases import WorkState
from runcue._model.summary import Summary
from runcue._model.texts import words_of
from runcue._model.work import Work

if TYPE_CHECKING:
    from datetime import timedelta

    from runcue._api.blocking_group import BlockingGroup
    from runcue._api.submit_options import SubmitOptions
    from runcue._explain.answers import Why
    from runcue._explain.why_all import WhyAll

__all__ = ["Blocking", "blocking"]

R = TypeVar("R")
Q = ParamSpec("Q")


class Blocking:
    """A cue whose calls block. Made by `runcue.blocking(cue)`; usable from any thread inside its `with`."""

    def __init__(self, cue: Cue) -> None:
        if not isinstance(cue, Cue):
            raise ConfigurationError(f"runcue.blocking() takes a Cue, not {words_of(cue)}.")
        self.cue = cue
        self._loop_thread: LoopThread | None = None
        self._interruption = Interruption(cue, _END)
        self._guard = interruptions_here()
        self._loop_calls: LoopCalls | None = None
        self._thread = 0

    def __enter__(self) -> Self:
        if self._loop_thread is not None:
            raise UsageError("This runcue.blocking() is in use already; each `with` needs one of its own.")
        guard = self._guard = interruptions_here()
        # No `with`: after its end Ctrl-C could be raised before this function has returned, and nobody would leave.
        guard.depth += 1
        guard.leaving += 1
        try:
            self._interruption = Interruption(self.cue, _END)
            self._interruption.begin()
            self._loop_thread = LoopThread(self._begin)
            self._loop_thread.start()
        except BaseException:
            self._leave()
            guard.leaving -= 1
            guard.depth -= 1
            if guard.is_held:
                guard.is_held = False
                raise KeyboardInterrupt from None
            raise
        guard.leaving -= 1
        guard.depth -= 1
        if guard.is_held:  # nothing is called between this look and the end: it cannot come there
            self.__exit__(KeyboardInterrupt, None, None)
        return self

    def _begin(self) -> None:
        self.cue.start()
        self._thread = threading.get_ident()
        loop = asyncio.get_running_loop()
        self._loop_calls = LoopCalls(_nothing)
        self._loop_calls.begin(loop)
        self._interruption.loop = loop

    async def __aenter__(self) -> NoReturn:
        """Say what to write instead."""
        raise UsageError(
            "runcue.blocking() is for code that is not async: write `with runcue.blocking(cue) as b:`, or in an async "
            "function `async with cue:`."
        )

    async def __aexit__(self, *error: object) -> None:
        """There is no getting here."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Drain and stop on a clean exit; cancel everything on an exception; finish what is running on Ctrl-C."""
        guard = self._guard
        with guard:
            guard.leaving += 1
            try:
                self._call(partial(self._end, kind, error, traceback))
            finally:
                guard.leaving -= 1
                is_interrupted = self._interruption.strikes > 0
                self._leave()
        if is_interrupted and isinstance(error, RuncueError):
            raise KeyboardInterrupt from error  # over which the program has stumbled while it ends

    async def _end(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """The end, in the loop."""
        is_interrupted = kind is not None and issubclass(kind, KeyboardInterrupt)
        if self._interruption.strikes and isinstance(error, RuncueError):
            is_interrupted = True
        if not is_interrupted:
            await self.cue.__aexit__(kind, error, traceback)
        elif self.cue._intake.is_open:
            if not self.cue._intake.is_shut:
                self._interruption.strike()
            await self.cue._until_stopped()

    def _leave(self) -> None:
        thread, self._loop_thread, self._loop_calls = self._loop_thread, None, None
        try:
            if thread is not None:
                thread.end(waits=not self._interruption.is_in_vain)
        finally:
            self._interruption.end()

    def _call(self, function: Callable[[], Any]) -> Any:
        return self.cue._dispatcher.calls.make(self._check(), function)

    def _check(self) -> LoopCalls:
        """Check that a call can be made here and now. Returns the way into the loop."""
        calls = self._loop_calls
        if calls is None:
            raise UsageError("runcue.blocking() is usable only inside its `with` block.")
        self.cue._dispatcher.turns.check_process("runcue.blocking()")
        if threading.get_ident() == self._thread:
            raise UsageError(
                "A call of runcue.blocking() in the event loop's own thread would wait for itself; there it is `await "
                "cue.submit(...)`, and likewise."
            )
        return calls

    # What the function returns is what the handle gives; of an `async def`, what that is awaited for.
    @overload
    def submit(
        self,
        task: Callable[..., Awaitable[R]],
        params: Mapping[str, Any] | None = None,
        **options: Unpack[SubmitOptions],
    ) -> WorkHandle[R]: ...
    @overload
    def submit(
        self,
        task: Callable[..., R],
        params: Mapping[str, Any] | None = None,
        **options: Unpack[SubmitOptions],
    ) -> WorkHandle[R]: ...
    @overload
    def submit(
        self, task: str, params: Mapping[str, Any] | None = None, **options: Unpack[SubmitOptions]
    ) -> WorkHandle: ...
    def submit(
        self, task: str | Callable[..., Any], params: Mapping[str, Any] | None = None, **options: Any
    ) -> WorkHandle:
        """See `Cue.submit`, whose other options it takes, too."""
        handle: WorkHandle = self._call(partial(self.cue.submit, task, params=params, **options))
        return handle

    # Without the work and with it first, which is not given; of an `async def` what it returns is awaited.
    @overload
    def call(
        self, function: Callable[Q, Awaitable[R]], /, *args: Q.args, **kwargs: Q.kwargs
    ) -> WorkHandle[R]: ...
    @overload
    def call(
        self, function: Callable[Concatenate[Work, Q], Awaitable[R]], /, *args: Q.args, **kwargs: Q.kwargs
    ) -> WorkHandle[R]: ...
    @overload
    def call(self, function: Callable[Q, R], /, *args: Q.args, **kwargs: Q.kwargs) -> WorkHandle[R]: ...
    @overload
    def call(
        self, function: Callable[Concatenate[Work, Q], R], /, *args: Q.args, **kwargs: Q.kwargs
    ) -> WorkHandle[R]: ...
    @overload
    def call(self, function: str, /, *args: Any, **kwargs: Any) -> WorkHandle: ...
    def call(self, function: Any = NOTHING, /, *args: Any, **kwargs: Any) -> WorkHandle:
        """See `Cue.call`; `result()` of this, or `handle.result_sync()`, is what the function returns."""
        handle: WorkHandle = self._call(partial(self.cue.call, function, *args, **kwargs))
        return handle

    @overload
    def map(
        self,
        function: str | Callable[..., Any],
        /,
        *iterables: AnyIterable,
        window: int = ...,
        ordered: bool = ...,
        values: Literal[False] = ...,
    ) -> Generator[Work, None, None]: ...
    @overload
    def map(
        self,
        function: Callable[..., Awaitable[R]],
        /,
        *iterables: AnyIterable,
        window: int = ...,
        ordered: bool = ...,
        values: Literal[True],
    ) -> Generator[R, None, None]: ...
    @overload
    def map(
        self,
        function: Callable[..., R],
        /,
        *iterables: AnyIterable,
        window: int = ...,
        ordered: bool = ...,
        values: Literal[True],
    ) -> Generator[R, None, None]: ...
    @overload
    def map(
        self,
        function: str | Callable[..., Any],
        /,
        *iterables: AnyIterable,
        window: int = ...,
        ordered: bool = ...,
        values: bool,
    ) -> Generator[Any, None, None]: ...
    @says_what_it_takes
    def map(
        self,
        function: Any = NOTHING,
        /,
        *iterables: AnyIterable,
        window: int = 200,
        ordered: bool = False,
        values: bool = False,
    ) -> Generator[Any, None, None]:
        """See `Cue.map`, of which this is the plain generator: `for work in b.map(fetch, urls): ...`.

        Plain iterables are gone through in the thread that goes through it, async ones in the event loop's. A `break`
        ends it at once, and what is left is cancelled.
        """
        self._check()
        from runcue._api.blocking_map import go_through  # noqa: PLC0415 - for those who use it

        make = partial(self.cue.map, function, window=window, ordered=ordered, values=values)
        # Checked now, not when it is gone through: the mistake is in this line.
        return go_through(self._call, make(*iterables), make, window)

    def group(self, *, fail: Literal["all", "first", "never"] = "all") -> BlockingGroup:
        """See `Cue.group`: `with b.group() as group:`, and in it `group.call(...)`, all without `await`."""
        self._check()
        from runcue._api.blocking_group import BlockingGroup  # noqa: PLC0415 - for those who use it

        return BlockingGroup(self.cue.group(fail=fail), self._call)

    def result(self, handle: WorkHandle[R]) -> R:
        """Wait for a work unit and take its result; see `WorkHandle.result`."""
        result: R = self._call(_checked(handle).result)
        return result

    def wait(self, handle: WorkHandle) -> Work:
        """Wait until a work unit has settled; see `WorkHandle.wait`."""
        work: Work = self._call(_checked(handle).wait)
        return work

    def get(self, work_id: str | Work) -> Work | None:
        """See `Cue.get`."""
        work: Work | None = self._call(partial(self.cue.get, work_id))
        return work

    def list(
        self,
        *,
        state: WorkState | None = None,
        task: str | Callable[..., Any] | None = None,
        limit: int | None = None,
        after: str | Work | None = None,
    ) -> builtins.list[Work]:
        """See `Cue.list`."""
        call = partial(self.cue.list, state=state, task=task, limit=limit, after=after)
        works: builtins.list[Work] = self._call(call)
        return works

    @overload
    def counts(self, *, by: None = None) -> dict[str, int]: ...
    @overload
    def counts(self, *, by: Literal["task"]) -> dict[str, dict[str, int]]: ...
    def counts(self, *, by: Literal["task"] | None = None) -> dict[str, Any]:
        """See `Cue.counts`."""
        counts: dict[str, Any] = self._call(partial(self.cue.counts, by=by))
        return counts

    @overload
    def why(self) -> WhyAll: ...
    @overload
    def why(self, work_id: str | Work) -> Why: ...
    def why(self, work_id: str | Work = DEFAULT) -> Why | WhyAll:
        """See `Cue.why`."""
        answer: Why | WhyAll = self._call(partial(self.cue.why, work_id))
        return answer

    def cancel(self, work_id: str | Work) -> bool:
        """See `Cue.cancel`."""
        return bool(self._call(partial(self.cue.cancel, work_id)))

    def retry(self, work_id: str | Work) -> WorkHandle:
        """See `Cue.retry`."""
        handle: WorkHandle = self._call(partial(self.cue.retry, work_id))
        return handle

    def drain(self, *, timeout: float | str | timedelta | None = None) -> Summary:
        """See `Cue.drain`."""
        summary: Summary = self._call(partial(self.cue.drain, timeout=timeout))
        return summary

    def stop(
        self,
        *,
        drain: bool = True,
        timeout: float | str | timedelta | None = None,
        delayed: Literal["wait", "cancel"] = "wait",
    ) -> Summary:
        """See `Cue.stop`."""
        call = partial(self.cue.stop, drain=drain, timeout=timeout, delayed=delayed)
        summary: Summary = self._call(call)
        return summary


Blocking.__module__ = "runcue"
_END: Final = Blocking.__exit__.__code__


def _checked(handle: WorkHandle) -> WorkHandle:
    if not isinstance(handle, WorkHandle):
        raise UsageError(
            f"It takes a handle, as submit() gives it, not {words_of(handle)}; of an id, use get(id)."
        )
    return handle


def _nothing() -> None: ...


@says_what_it_takes
def blocking(cue: Cue) -> Blocking:
    """Use a cue from synchronous code.

    Args:
        cue: A cue that is not started; it is started on entry, and drained and stopped on a clean exit.

    Example:
        >>> import runcue
        >>> cue = runcue.Cue()
        >>> @cue.task("double")
        ... def double(work):
        ...     return 2 * work.params["number"]
        >>> with runcue.blocking(cue) as b:
        ...     b.result(b.submit("double", params={"number": 21}))
        42
    """
    return Blocking(cue)
