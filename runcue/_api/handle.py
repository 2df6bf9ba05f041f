"""What `submit()` returns: the id, and a way to wait for the work behind it.

Lives here: `WorkHandle`.

Must not know: how work units run.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from runcue._callbacks.failures import without_frames
from runcue._model.errors import WorkCancelled, WrongLoop
from runcue._model.phases import WorkState
from runcue._model.work import Work

if TYPE_CHECKING:
    # What runs work units comes with the first cue, not with `import runcue`.
    from runcue._dispatch.dispatcher import Dispatcher

__all__ = ["WorkHandle"]


class WorkHandle(str):
    """The id of a submitted work, as a str, that can also be waited on.

    It compares, hashes and pickles as the plain id. It holds its own work: waiting succeeds however long ago the work
    settled, even when the cue has forgotten it.

    Attributes:
        work: The work itself; set by whoever makes the handle.
    """

    __slots__ = ("work",)

    work: Work

    def __reduce__(self) -> tuple[Any, ...]:
        return str, (str(self),)

    async def result(self) -> Any:
        """Wait for the work and take what its handler returned.

        Returns:
            The handler's return value; None for a skipped work.

        Raises:
            Exception: What the handler raised, or the time-out that failed the work.
            WorkCancelled: The work was cancelled.
            HandlerExited: The handler raised something that is no `Exception`, such as `SystemExit`.
            CueFailed: The scheduler failed.
            WrongLoop: Awaited in another event loop than the cue's.
        """
        error = await self._settled()
        work = self.work
        if work.state is WorkState.CANCELLED:
            raise WorkCancelled(f"Work {work.id} of task {work.task!r} was cancelled.")
        if work.state is WorkState.FAILED and error is not None:
            # Raising adds the waiter's frames to the exception; the one that is kept must stay free of them.
            raise without_frames(error) if error is work.exception else error
        return work.result

    async def wait(self) -> Work:
        """Wait until the work has settled. A failure is in the work, it is not raised.

        Returns:
            The settled work.
        """
        await self._settled()
        return self.work

    async def _settled(self) -> BaseException | None:
        dispatcher: Dispatcher = self.work._task.dispatcher
        loop = dispatcher.turns.loop
        if (
            loop is not None
            and loop is not asyncio.get_running_loop()
            and self.work.state.value in _UNSETTLED
        ):
            raise WrongLoop(
                f"Work {self.work.id} belongs to a cue in another event loop; wait for it there "
                "(asyncio.run_coroutine_threadsafe), or submit with cue.submit_threadsafe()."
            )
        if loop is None and self.work.state.value in _UNSETTLED and dispatcher.turns.failure is None:
            text = "Work %s is waited for, but its cue is not started: call start(), or use `async with cue`."
            dispatcher.callbacks.failures.log.tell("not_started", (self.work,), text, self.work.id)
        return await dispatcher.waiting.settled(self.work)


_UNSETTLED = (WorkState.PENDING.value, WorkState.RUNNING.value)
