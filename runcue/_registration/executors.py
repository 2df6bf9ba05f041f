"""Which executor runs the handlers of a task, and how many of them it may run at once.

Lives here: what `run_in=` takes, and `Executors`, those of one cue with the slots of each. `None` is the event loop.

Must not know: how handlers get there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from runcue._model.checks import has_methods, is_async, is_one_of
from runcue._model.errors import ConfigurationError
from runcue._model.texts import describe, words_of
from runcue.abc import Executor

if TYPE_CHECKING:
    from runcue._limits.service import Service
    from runcue.executors.threads import ThreadExecutor

__all__ = ["Executors", "RunIn", "check_run_in"]

RunIn = Literal["loop", "thread"] | Executor
"""What `run_in=` takes."""

_METHODS = ("start", "submit", "stop")


def check_run_in(value: object, what: str, *, loop: bool) -> None:
    """Check where a handler is to run.

    Args:
        value: None for what is usual.
        what: What it is called in messages.
        loop: Whether the event loop is among the places.

    Raises:
        ConfigurationError: There is no such place.
    """
    if value is None or is_one_of(value, ("thread", "loop") if loop else ("thread",)):
        return
    if not has_methods(value, _METHODS):
        places = '"loop", "thread"' if loop else '"thread"'
        raise ConfigurationError(
            f"{what} must be {places} or an executor with the methods {', '.join(_METHODS)} (runcue.abc.Executor), "
            f"not {words_of(value)}."
        )
    waiting = [name for name in _METHODS if not isinstance(value, str) and is_async(getattr(value, name))]
    if waiting:
        raise ConfigurationError(f"{what}: {waiting[0]}() of {words_of(value)} is async; it must be plain.")


class Executors:
    """The executors of one cue.

    Args:
        run_in: Where plain functions run: "thread" or None for threads of the cue's own, or an executor.
        threads: The slots that handlers share there which no service bounds. Each other executor has as many.
        max_processes: How many processes of its own may run handlers or commands at once.

    Attributes:
        processes: The slots of these.
    """

    def __init__(self, run_in: RunIn | None, threads: Service, max_processes: int) -> None:
        check_run_in(run_in, "run_in", loop=False)
        self._threads: ThreadExecutor | None = None
        self._slots: dict[int, Service] = {}
        self._most = threads
        self.processes = type(threads)("processes", concurrent=max_processes)
        self._usual = self._own_threads() if run_in is None or isinstance(run_in, str) else run_in
        self._slots[id(self._usual)] = threads

    def _own_threads(self) -> ThreadExecutor:
        from runcue.executors.threads import ThreadExecutor  # noqa: PLC0415 - comes with the first cue

        if self._threads is None:
            self._threads = ThreadExecutor()
        return self._threads

    def executor_for(self, name: str, handler: Callable[..., Any], run_in: RunIn | None) -> Executor | None:
        """The executor of a task.

        Args:
            name: Of the task, for messages.
            handler: Its handler.
            run_in: What was given for it.

        Returns:
            None if the handler runs in the event loop.

        Raises:
            ConfigurationError: It cannot run there.
        """
        if is_async(handler):
            if run_in not in (None, "loop"):
                raise ConfigurationError(
                    f"The handler of task {name!r}, {describe(handler)}, is an async def and runs on the event loop; "
                    f"run_in={words_of(run_in)} is for plain functions."
                )
            return None
        if run_in == "loop":
            raise ConfigurationError(
                f"The handler of task {name!r}, {describe(handler)}, is a plain function and would keep the event loop "
                'from everything else; make it an async def, or leave run_in="loop" out.'
            )
        if run_in is None:
            return self._usual
        return self._own_threads() if isinstance(run_in, str) else run_in

    def slots_of(self, executor: Executor) -> Service:
        """The slots of an executor, for handlers that no service bounds."""
        slots = self._slots.get(id(executor))
        if slots is None:
            from runcue._limits.service import Service  # noqa: PLC0415 - the same

            name = "threads" if executor is self._threads else type(executor).__name__
            # Whose identity this is lives as long as the cue: its run queues hold it.
            slots = self._slots[id(executor)] = Service(name, concurrent=self._most.concurrent)
        return slots
