"""Which executor runs the handlers of a task, and how many of them it may run at once.

Lives here: what `run_in=` takes, and `Executors`, those of one cue with the slots of each. `None` is the event loop.

Must not know: how handlers get there.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor as Pool
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from runcue._model.callables import located
from runcue._model.checks import check_callback, has_methods, is_async, is_one_of, unfit_form
from runcue._model.command import Command
from runcue._model.errors import ConfigurationError
from runcue._model.texts import describe, words_of
from runcue._registration.charges import look_at_cost
from runcue.abc import CallExecutor, Executor

if TYPE_CHECKING:
    from runcue._handlers.parameters import Parameters
    from runcue._handlers.remote_calls import Calls
    from runcue._limits.service import Service
    from runcue._model.task import Task
    from runcue.executors.futures import FuturesExecutor
    from runcue.executors.processes import ProcessExecutor
    from runcue.executors.threads import ThreadExecutor

__all__ = ["Elsewhere", "Executors", "RunIn", "check_initializer", "check_run_in"]

Elsewhere: TypeAlias = Literal["thread", "process"] | Executor | CallExecutor | Pool | Callable[[], Pool]
"""What `Cue(run_in=)` takes."""

RunIn: TypeAlias = Literal["loop"] | Elsewhere
"""What `task(run_in=)` takes."""

_METHODS = ("start", "submit", "stop")
_PLACES = ("thread", "process")


def check_run_in(value: object, what: str, *, loop: bool) -> None:
    """Check where a handler is to run.

    Args:
        value: None for what is usual.
        what: What it is called in messages.
        loop: Whether the event loop is among the places.

    Raises:
        ConfigurationError: There is no such place.
    """
    if value is None or is_one_of(value, ("loop", *_PLACES) if loop else _PLACES) or isinstance(value, Pool):
        return
    if has_methods(value, _METHODS):
        waiting = [name for name in _METHODS if is_async(getattr(value, name))]
        if waiting:
            raise ConfigurationError(
                f"{what}: {waiting[0]}() of {words_of(value)} is async; it must be plain."
            )
        return
    if isinstance(value, type) and not issubclass(value, Pool):
        hint = ": it is a class, make one" if all(hasattr(value, name) for name in _METHODS) else ""
    elif callable(value):
        _check_maker(value, what)
        return
    else:
        hint = ""
    places = '"loop", "thread", "process"' if loop else '"thread", "process"'
    raise ConfigurationError(
        f"{what} must be {places}, a concurrent.futures.Executor, a function that makes one, or an executor with the "
        f"methods {', '.join(_METHODS)} (runcue.abc.Executor), not {words_of(value)}{hint}."
    )


def _check_maker(make: Callable[..., Any], what: str) -> None:
    """Check a function that makes a pool.

    Raises:
        ConfigurationError: It cannot be called without arguments, or gives something else.
    """
    if is_async(make):
        raise ConfigurationError(
            f"{what} must be made by a plain function, not by the async def {describe(make)}."
        )
    if (form := unfit_form(make, 0)) is not None:
        raise ConfigurationError(
            f"{what} must be a pool, or a function without parameters that makes one, not {describe(make)}{form}."
        )


def check_initializer(value: Any, what: str) -> None:
    """Check what is called once in each process before the first handler of a task.

    Raises:
        ConfigurationError: It cannot be called so.
    """
    if value is None:
        return
    check_callback(value, what, ())
    if is_async(value):
        raise ConfigurationError(f"{what} must be a plain function, not the async def {describe(value)}.")


class Executors:
    """The executors of one cue.

    Args:
        run_in: Where plain functions run for whose task nothing else is said; None: in threads of the cue's own.
        threads: The slots that handlers share there which no service bounds. Each other executor has as many, unless
            it tells how many it runs at once.
        max_processes: How many processes of its own may run handlers or commands at once.
        wake: Has everything looked at, after an executor has more room than before.

    Attributes:
        processes: The slots of these.
    """

    def __init__(
        self, run_in: Elsewhere | None, threads: Service, max_processes: int, wake: Callable[[], object]
    ) -> None:
        check_run_in(run_in, "run_in", loop=False)
        self._threads: ThreadExecutor | None = None
        self._processes: ProcessExecutor | None = None
        self._slots: dict[int, Service] = {}
        # Those that a pool, or a function that makes one, is run by: by its identity, with itself.
        self._pools: dict[int, tuple[Any, FuturesExecutor]] = {}
        # Two that are equal are one, such as two of `dask()` with the same address.
        self._equals: dict[Any, Any] = {}
        self._wake = wake
        self._most = threads
        self.processes = type(threads)("processes", concurrent=max_processes)
        self._usual = self._at("run_in", run_in)
        if not hasattr(self._usual, "workers"):
            self._slots[id(self._usual)] = threads

    def _at(self, what: str, run_in: RunIn | None) -> Executor | CallExecutor | None:
        """The executor for what `run_in=` was given; None: the event loop."""
        if run_in is None or isinstance(run_in, str):
            if run_in == "process":
                return self._own_processes()
            return None if run_in == "loop" else self._own_threads()
        if isinstance(run_in, Pool) or not has_methods(run_in, _METHODS):
            return self._pool(what, run_in)
        try:
            return self._equals.setdefault(run_in, run_in)  # type: ignore[no-any-return]
        except TypeError:  # unhashable
            return run_in  # type: ignore[return-value]

    def _own_threads(self) -> ThreadExecutor:
        from runcue.executors.threads import ThreadExecutor  # noqa: PLC0415 - comes with the first cue

        if self._threads is None:
            self._threads = ThreadExecutor()
            self._slots[id(self._threads)] = self._most
        return self._threads

    def _own_processes(self) -> ProcessExecutor:
        if self._processes is None:
            from runcue.executors.processes import ProcessExecutor  # noqa: PLC0415 - needed by few

            self._processes = ProcessExecutor(self.processes.concurrent)
            self._slots[id(self._processes)] = self.processes
        return self._processes

    def _pool(self, what: str, given: Any) -> FuturesExecutor:
        known = self._pools.get(id(given))
        if known is None:
            from runcue.executors.futures import FuturesExecutor  # noqa: PLC0415 - needed by few

            known = self._pools[id(given)] = given, FuturesExecutor(given, what)
        return known[1]

    def executor_for(
        self, name: str, handler: Callable[..., Any], run_in: RunIn | None
    ) -> Executor | CallExecutor | None:
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
        if isinstance(handler, Command):
            if run_in is not None:
                raise ConfigurationError(
                    f"The handler of task {name!r}, {located(handler)}, is a command, which has a process of its own "
                    f"anyway: leave run_in={words_of(run_in)} out."
                )
            return None
        if is_async(handler):
            if run_in not in (None, "loop"):
                raise ConfigurationError(
                    f"The handler of task {name!r}, {describe(handler)}, is an async def and runs on the event loop; "
                    f"run_in={words_of(run_in)} is for plain functions."
                )
            return None
        return self._usual if run_in is None else self._at(f"run_in of task {name!r}", run_in)

    def calls_for(
        self,
        name: str,
        handler: Callable[..., Any],
        parameters: Parameters | None,
        executor: Any,
        initializer: Callable[[], Any] | None,
    ) -> Calls | None:
        """What packs the calls of a task for an executor; None if that runs the handler as it is.

        Raises:
            ConfigurationError: The handler cannot be sent there, or there is an initializer and no process.
        """
        if not getattr(executor, "takes_calls", False):
            if initializer is not None:
                raise ConfigurationError(
                    f"initializer of task {name!r} is called in each process that runs its handler, which runs in none."
                )
            return None
        from runcue._handlers.remote_calls import Calls  # noqa: PLC0415 - needed by few

        return Calls(name, handler, parameters, initializer, executor)

    def let_run(self, task: Task, calls: Calls | None) -> None:
        """See to it that a handler can be run where it is to run.

        Args:
            task: Its task, with its executor.
            calls: What packs its calls; None: there are none.
        """
        if task.executor is None and not is_async(task.handler):
            from runcue._handlers.coroutines import as_coroutine  # noqa: PLC0415 - few plain functions run there

            task.call = as_coroutine(task.call)
        if calls is not None:
            task.calls, task.checks_calls = calls, True
            look_at_cost(task)

    def slots_of(self, executor: Executor | CallExecutor) -> Service:
        """The slots of an executor, for handlers that no service bounds, or for all if it tells how many it runs."""
        slots = self._slots.get(id(executor))
        if slots is None:
            from runcue._limits.service import Service  # noqa: PLC0415 - the same

            most = self._most.concurrent

            def resize(workers: int | None) -> None:
                made.concurrent = workers or most
                self._wake()

            # Whose identity this is lives as long as the cue: its run queues hold it.
            workers = getattr(executor, "workers", None)
            made = slots = self._slots[id(executor)] = Service(_name_of(executor), concurrent=workers or most)
            if hasattr(executor, "heard"):
                executor.heard = resize
        return slots


def _name_of(executor: Any) -> str:
    return getattr(executor, "name", None) or type(executor).__name__
