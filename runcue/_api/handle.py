"""What `submit()` returns: the id, and a way to wait for the work behind it, to ask how it has ended, and to cancel it.

Lives here: `WorkHandle`, and the error of one who asks too early, which is asyncio's as well.

Must not know: how work units run.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, Generic, Never, Self

from runcue._model.callables import by_whom
from runcue._model.checks import says_how_to_await, says_what_it_takes
from runcue._model.current import call_inside
from runcue._model.errors import UsageError, WorkCancelled, WrongLoop
from runcue._model.phases import CANCELLED, FAILED, SETTLED, WorkState
from runcue._model.texts import name_of, shortened
from runcue._model.work import Work

if TYPE_CHECKING:
    from datetime import timedelta

    # Of a handle that nothing is known of the result is anything. Type checkers know this module, Python need not.
    from typing_extensions import TypeVar

    # What runs work units comes with the first cue, not with `import runcue`.
    from runcue._dispatch.dispatcher import Dispatcher

    R_co = TypeVar("R_co", covariant=True, default=Any)
else:
    from typing import TypeVar

    R_co = TypeVar("R_co", covariant=True)

__all__ = ["NotSettled", "WorkHandle", "handle_of"]


class NotSettled(UsageError, asyncio.InvalidStateError):
    """A work unit was asked how it has ended, and it has not."""


class WorkHandle(str, Generic[R_co]):
    """The id of a submitted work, as a str, that can also be awaited: `WorkHandle[Page]` gives a `Page`.

    It compares, hashes and pickles as the plain id. It holds its own work: waiting succeeds however long ago the work
    settled, even when the cue has forgotten it.

    Otherwise it is like a future: `asyncio.gather(*handles)`, `wait_for`, `shield` and `as_completed` take it,
    `asyncio.wait` takes `asyncio.ensure_future(handle)`, and `create_task`, that of a task group too,
    `handle.result()`. Only, whoever is cancelled while awaiting it cancels nothing else. A handle that a handler or a
    callback returns is a value, and not awaited.

    Attributes:
        work: The work itself; set by whoever makes the handle.
    """

    __slots__ = ("work",)

    work: Work

    def __new__(cls, *args: object, **options: object) -> Self:
        raise UsageError("A WorkHandle comes from submit(); of an id, `await cue.get(id)` gives the Work.")

    def __reduce__(self) -> tuple[Any, ...]:
        return str, (str(self),)

    def __repr__(self) -> str:
        """The id, the task and the state."""
        work = self.work
        state = "skipped" if work.skipped else work.state.value
        return f"<WorkHandle {shortened(work.id, 80)} {shortened(work.task, 80)} {state}>"

    def __await__(self) -> Generator[Any, Any, R_co]:
        return self.result().__await__()

    @says_how_to_await("`await handle`, in other threads `handle.result_sync()`", "`b.result(handle)`")
    async def result(self, *misplaced: Never, **unknown: Never) -> R_co:
        """Wait for the work and take what its handler returned. To await the handle is the same.

        Args:
            *misplaced: None: what is meant as a time-out is told.
            **unknown: None: likewise.

        Returns:
            The handler's return value; for a skipped work what `load=` of its task reads, None without that.

        Raises:
            UsageError: It was given something.
            Exception: What the handler raised, or the time-out that failed the work, with the traceback that leads to
                the line in the handler. All but the first who waits get a copy of their own.
            WorkCancelled: The work was cancelled.
            HandlerExited: The handler raised something that is no `Exception`, such as `SystemExit`.
            CueFailed: The scheduler failed.
            WrongLoop: Awaited in another event loop than the cue's.
        """
        if misplaced or unknown:
            raise _takes_nothing("handle.result()", "handle")
        error = await self._settled()
        if error is None:
            error = self.exception()
        else:
            self._hear()
        try:
            if error is not None:
                raise error
            work = self.work
            if work._task.load is not None and work.skipped:
                from runcue._dispatch.loading import value_of  # noqa: PLC0415 - few tasks can

                loaded: R_co = await value_of(work)
                return loaded
            result: R_co = work.result
            return result
        finally:
            del error  # its traceback leads to this frame: together they would live on

    @says_how_to_await("`await handle.wait()`", "`b.wait(handle)`")
    async def wait(self, *misplaced: Never, **unknown: Never) -> Work:
        """Wait until the work has settled. A failure is in the work, it is not raised.

        Args:
            *misplaced: None: what is meant as a time-out is told.
            **unknown: None: likewise.

        Returns:
            The settled work.

        Raises:
            UsageError: It was given something.
        """
        if misplaced or unknown:
            raise _takes_nothing("handle.wait()", "handle.wait()")
        await self._settled()
        self._hear()
        return self.work

    @says_what_it_takes
    def result_sync(self, *, timeout: float | str | timedelta | None = None) -> R_co:
        """The same as `await handle` where nothing can be awaited: in a plain handler, or in another thread.

        The thread is blocked meanwhile, and a plain handler keeps its slot. If the work unit needs that slot itself,
        that is a deadlock, which is told within a second.

        Args:
            timeout: Wait no longer than so many seconds, a timedelta, or text such as "5s"; 0: not at all.

        Returns:
            As for `result()`.

        Raises:
            TimeoutError: It has not ended by then. It goes on all the same.
            UsageError: Called in the event loop's own thread, where it is `await handle`; or the cue is not started.
            CueStopped: The event loop of the cue has ended meanwhile.
            WrongLoop: That had ended before, or this is a forked process.
            Exception: As for `result()`.
        """
        from runcue._api.handle_sync import result_sync  # noqa: PLC0415 - for those who use it

        result: R_co = result_sync(self.work, timeout, self.result, self.exception)
        return result

    @property
    def state(self) -> WorkState:
        """What the state of the work is; a skipped one is COMPLETED.

        Raises:
            WrongLoop: In a process that was forked before it has settled.
        """
        self._check_process("state")
        return self.work.state

    @says_what_it_takes
    def done(self) -> bool:
        """Whether the work has settled, so that `result()` has not to wait. Also if the scheduler has failed.

        Raises:
            WrongLoop: In a process that was forked before it has settled.
        """
        self._check_process("done()")
        return self.work._phase == SETTLED or self._dispatcher.turns.failure is not None

    @says_what_it_takes
    def exception(self) -> BaseException | None:
        """What `result()` would raise because the work has failed: what its handler raised, or a time-out.

        Returns:
            A copy each time; None if the work was completed or skipped.

        Raises:
            NotSettled: It has not settled. The error is an `asyncio.InvalidStateError` as well.
            WorkCancelled: It was cancelled.
            CueFailed: The scheduler failed.
            WrongLoop: In a process that was forked before it has settled.
        """
        work = self.work
        self._check_process("exception()")
        if work._phase != SETTLED:
            if self._dispatcher.turns.failure is not None:
                raise self._dispatcher.turns.failed()
            raise NotSettled(
                f"{name_of(work)} has not ended yet, it is {work.state.value}; await its handle."
            )
        if work._outcome == CANCELLED:
            raise WorkCancelled(f"Work {work.id} of task {work.task!r} was cancelled{by_whom(work._value)}.")
        self._hear()
        if work.exception is None:
            return None
        from runcue._model.kept_errors import raised_again  # noqa: PLC0415 - it comes with the first cue

        return raised_again(work.exception)

    @says_what_it_takes
    def cancel(self) -> bool:
        """Cancel the work, if it is pending or running; it settles at once. Like `Cue.cancel`, but a plain call.

        An async handler is cancelled. A thread cannot be: it goes on, holding its slot, and can see `work.cancelled`.

        Returns:
            Whether it was cancelled by this call.

        Raises:
            WrongLoop: Called in another thread or event loop than the cue's.
        """
        work, dispatcher = self.work, self._dispatcher
        if work._phase == SETTLED:
            return False
        dispatcher.turns.check_process(f"cancel() of {name_of(work)}")
        loop = dispatcher.turns.loop
        if (
            loop is not None
            and not loop.is_closed()
            and (
                threading.get_ident() != dispatcher.turns.thread
                or asyncio._get_running_loop() not in (None, loop)
            )
        ):
            raise WrongLoop(
                f"cancel() of {name_of(work)} in another thread or event loop than its cue's: call it there, by "
                "loop.call_soon_threadsafe(handle.cancel), or use the cancel() of runcue.blocking()."
            )
        return bool(call_inside(dispatcher, dispatcher.settlement.cancel, work))

    if not TYPE_CHECKING:  # to a type checker it would seem to have whatever it is asked for

        def __getattr__(self, name: str) -> Any:
            hint = ""
            if name == "add_done_callback":
                hint = "; asyncio.wait() takes tasks and futures: asyncio.ensure_future(handle) is one"
            elif name == "why":
                hint = "; its cue says why: cue.why(handle)"
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}{hint}")

    @property
    def _dispatcher(self) -> Dispatcher:
        dispatcher: Dispatcher = self.work._task.dispatcher
        return dispatcher

    def _check_process(self, asked: str) -> None:
        """Refuse to tell, in a forked process, of what goes on in its parent: it would stay so for ever."""
        if self.work._phase != SETTLED:
            self._dispatcher.turns.check_process(f"{asked} of {name_of(self.work)}")

    def _hear(self) -> None:
        """The failure, if it is one, is in somebody's hands."""
        if self.work._outcome == FAILED:
            self._dispatcher.callbacks.unheard.heard(self.work._value)

    async def _settled(self) -> BaseException | None:
        """Wait until it has settled. See `Waiting.settled`."""
        work = self.work
        if work._phase == SETTLED:
            return None
        dispatcher: Dispatcher = work._task.dispatcher
        turns = dispatcher.turns
        loop = turns.loop
        if turns.has_ended or (loop is not None and loop is not asyncio._get_running_loop()):
            if loop is None or loop.is_closed():
                raise WrongLoop(
                    f"Work {work.id} belongs to a cue whose event loop has ended; start() that cue in this one, and "
                    "what is pending will run."
                )
            turns.check_process(f"Work {work.id} is waited for")
            raise WrongLoop(
                f"Work {work.id} belongs to a cue in another event loop; wait for it there "
                "(asyncio.run_coroutine_threadsafe(handle.result(), loop)), or submit with cue.submit_threadsafe()."
            )
        if loop is None and turns.failure is None:
            text = "Work %s is waited for, but its cue is not started: call start(), or use `async with cue`."
            dispatcher.callbacks.failures.log.tell("not_started", (work,), text, work.id)
        return await dispatcher.waiting.settled(work)


def _takes_nothing(call: str, waits: str) -> UsageError:
    return UsageError(
        f"{call} takes nothing; to wait no longer than 5 s, say, write `await asyncio.wait_for({waits}, 5)`."
    )


def handle_of(work: Work) -> WorkHandle:
    """The handle of a work unit."""
    # Not through its own __new__, which is for those who try to make one by themselves.
    handle: WorkHandle = str.__new__(WorkHandle, work.id)
    handle.work = work
    return handle
