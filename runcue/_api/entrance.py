"""How submissions come in that may have to wait: for room, or in another thread for the event loop.

Lives here: who has to wait for room, and waiting for it, in the event loop and in other threads.

Must not know: what room is (that is `_lifecycle.room`), how a work unit is taken in (that is `intake`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import Context, copy_context
from typing import Any

from runcue._api.handle import WorkHandle, handle_of
from runcue._api.intake import Intake
from runcue._dispatch.interruptions import INTERRUPTIONS
from runcue._lifecycle.room import Room
from runcue._model.errors import UsageError
from runcue._model.overrides import Overrides
from runcue._model.task import Task
from runcue._registration.submission import params_for

__all__ = ["Entrance"]


class Entrance:
    """The entrance of one cue.

    Args:
        intake: Takes work units in.
    """

    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    async def make_room(
        self, task: Task, params: dict[str, Any], overrides: Overrides | None
    ) -> tuple[Task, dict[str, Any]]:
        """Wait for room for a work unit, if whoever submits it has to. In the event loop.

        It is to be submitted in the very next step.

        Args:
            task: Its task.
            params: Its params.
            overrides: What is declared for it, None if nothing.

        Returns:
            The task, as it is defined by now, and the params as that has them.

        Raises:
            CueFull: There is no room, and it is not to wait.
            UsageError: It would have to wait, and the cue is not started.
            CueStopped, CueFailed: That came while it waited.
        """
        if not self.has_to_wait(overrides, inside=self._intake.is_inside()):
            return task, params
        room = self._intake.room
        assert room is not None
        if self._intake.loop is None:
            raise UsageError(room.never())
        await room.enter(task.name)
        self._intake.check_open(copy_context(), task, None if overrides is None else overrides.must_complete)
        return self._as_of_now(task, params)

    def has_to_wait(self, overrides: Overrides | None, *, inside: bool) -> bool:
        """Whether there is no room for a work unit, and whoever submits it has to wait for it.

        What is submitted for later does not count yet. What is submitted from inside does, but waits for nothing: it
        would keep what it holds while it waits.

        Args:
            overrides: What is declared for it, None if nothing.
            inside: Whether it is submitted from inside.

        Raises:
            CueFull: There is no room, and it is not to wait.
        """
        room = self._intake.room
        if room is None or room.is_free():
            return False
        if overrides is not None and overrides.waits and self._intake.later(overrides) is not None:
            return False
        if overrides is not None and not overrides.wait:
            raise room.full()
        return not inside

    def _as_of_now(self, task: Task, params: dict[str, Any]) -> tuple[Task, dict[str, Any]]:
        """A task that may have been defined anew while somebody waited."""
        now = self._intake.task_now(task)
        return now, params if now is task else params_for(now, params)

    def admit_threadsafe(
        self,
        task: Task,
        params: dict[str, Any],
        context: Context,
        overrides: Overrides | None,
        *,
        inside: bool,
    ) -> WorkHandle:
        """Take a work unit in that another thread submits, which waits until it was added. See `Intake.admit`.

        Args:
            task: Its task.
            params: Its own from now on.
            context: Its own from now on.
            overrides: What is declared for it, None if nothing.
            inside: Whether a handler submits it, be it in a thread of its own.

        Raises:
            UsageError: The cue is not started, or this is the event loop's own thread.
            CueStopped: The cue has been stopped, or its loop has ended.
            CueFull: As for `make_room`.
        """
        self._intake.check_other_thread()

        def take() -> WorkHandle:
            self._intake.check_open(context, task, None if overrides is None else overrides.must_complete)
            return handle_of(self._intake.admit(*self._as_of_now(task, params), context, overrides))

        def take_or_wait() -> WorkHandle | _Admission:
            self._intake.check_open(context, task, None if overrides is None else overrides.must_complete)
            if self.has_to_wait(overrides, inside=inside or self._intake.is_inside(context)):
                assert self._intake.room is not None
                return _Admission(self._intake, self._intake.room, task.name, take)
            return handle_of(self._intake.admit(task, params, context, overrides))

        taken = self._intake.loop_calls.call(take_or_wait)
        if isinstance(taken, WorkHandle):
            return taken
        if threading.get_ident() != INTERRUPTIONS.thread:
            return taken.wait()
        with INTERRUPTIONS:
            return taken.wait()


class _Admission:
    """A thread that waits for room.

    Args:
        intake: Of its cue.
        room: For that.
        task: The name of the task of the work unit.
        take: Takes it in.
    """

    def __init__(self, intake: Intake, room: Room, task: str, take: Callable[[], WorkHandle]) -> None:
        self._intake = intake
        self._take = take
        self._outcome: Future[WorkHandle] = Future()
        self._ticket = room.stand_in_line(task, self._let_in, thread=self._outcome)

    def wait(self) -> WorkHandle:
        """Wait for the handle. In that thread."""
        try:
            self._intake.loop_calls.wait_for(self._outcome)
            return self._outcome.result()
        except BaseException:
            if not self._outcome.done():
                self._outcome.cancel()
                self._intake.loop_calls.post(self._ticket.give_back)
            raise

    def _let_in(self, error: BaseException | None) -> None:
        if error is None:
            # In a step of its own, as of whoever waits in the loop: both come in in the order in which they are let in.
            self._intake.soon(self._come_in)
        elif not self._outcome.done():
            self._outcome.set_exception(error)

    def _come_in(self) -> None:
        self._ticket.give_back()
        if not self._outcome.set_running_or_notify_cancel():
            return  # who has waited was interrupted
        try:
            self._outcome.set_result(self._take())
        except BaseException as error:
            self._outcome.set_exception(error)
