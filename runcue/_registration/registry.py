"""Registration: what the user describes before anything runs, checked where the mistake is made.

Lives here: services, tasks and gates as they are declared, and the rules for each value. The result is written into the
core's tables.

Must not know: how anything runs.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Hashable, Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from runcue._artifacts.artifact import Artifact, key_of
from runcue._artifacts.declared import as_artifacts
from runcue._artifacts.file import File
from runcue._artifacts.flag import Flag
from runcue._callbacks.warning_log import WarningLog
from runcue._freshness.newer import newer
from runcue._limits.service import UNBOUNDED, Service
from runcue._model.checks import check_callback, is_async, positive_int, seconds_or_none
from runcue._model.errors import (
    ArtifactError,
    ConfigurationError,
    DuplicateTask,
    DuplicateWork,
    InvalidParams,
    UnknownService,
    UnknownTask,
)
from runcue._model.phases import RUNNING
from runcue._model.rate import parse_rate
from runcue._model.texts import describe, words_of
from runcue._model.work import Declaration, Task, Work
from runcue._scheduling.core import Core
from runcue._scheduling.dependencies import Dependencies
from runcue.abc import Executor

__all__ = ["DEFAULT", "Registry", "take_over"]

Gate = Callable[[Work], Any]


def _name(value: object, what: str) -> str:
    if not isinstance(value, str) or not value:
        raise ConfigurationError(f"The name of a {what} must be a non-empty str, not {value!r}.")
    return value


def _known(names: Iterable[str], wanted: object, what: str) -> str:
    names = sorted(names)
    if not names:
        return f"No {what} is registered yet."
    near = get_close_matches(wanted, names, n=1) if isinstance(wanted, str) else []
    return f"Did you mean {near[0]!r}?" if near else f"Registered: {', '.join(map(repr, names[:20]))}."


def _same_source(one: Callable[..., Any], other: Callable[..., Any]) -> bool:
    """Whether one function is the other, defined again (a notebook cell, a reloaded module)."""
    if one is other:
        return True
    identity = [(getattr(f, "__module__", None), getattr(f, "__qualname__", None)) for f in (one, other)]
    if identity[0] != identity[1] or None in identity[0] or "<lambda>" in str(identity[0][1]):
        return False
    if "<locals>" not in str(identity[0][1]):
        return True
    # Two functions of one name inside one function are two functions, unless they are the same lines.
    lines = [getattr(getattr(f, "__code__", None), "co_firstlineno", None) for f in (one, other)]
    return lines[0] == lines[1]


class Registry:
    """Checks declarations and enters them into a core."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._names: dict[Callable[..., Any], str] = {}
        self._ready: dict[str | None, Gate] = {}
        self._stale: dict[str | None, Gate] = {}
        # In a cue that is rehearsed: replace the handler of a task, and the artifacts that a work unit declares.
        self.cast: Callable[[Task], None] | None = None
        self.lay_over: Callable[[Declaration], None] | None = None

    def add_service(
        self,
        name: str,
        rate: str | None,
        concurrent: int | None,
        burst: int | None,
        limiter: Any,
        make_limiter: Callable[..., Any],
    ) -> None:
        """Register a service; see `Cue.service` for the values.

        Args:
            name: Its name.
            rate: Text, or None.
            concurrent: Slots, or None.
            burst: Size of a continuously refilled bucket, or None.
            limiter: An aiolimiter object, or None.
            make_limiter: Wraps either into a `Limiter`: it needs an event loop's clock, which is not known here.
        """
        _name(name, "service")
        if name in self._core.services:
            raise ConfigurationError(f"Service {name!r} is already registered.")
        parsed = None if rate is None else parse_rate(rate)
        slots = (
            UNBOUNDED if concurrent is None else positive_int(concurrent, f"concurrent of service {name!r}")
        )
        wrapped = None
        if burst is not None:
            positive_int(burst, f"burst of service {name!r}")
            if parsed is None:
                raise ConfigurationError(
                    f"Service {name!r}: burst={burst!r} needs a rate at which it is refilled."
                )
            wrapped = make_limiter(burst=burst, per_second=parsed.per_second)
            parsed = None
        if limiter is not None:
            if wrapped is not None or parsed is not None:
                raise ConfigurationError(
                    f"Service {name!r}: limiter= stands instead of rate= and burst=, not beside."
                )
            wrapped = make_limiter(limiter=limiter)
        self._core.services[name] = Service(name, parsed, slots, wrapped)

    def add_task(
        self,
        name: str,
        handler: Callable[..., Any],
        uses: object,
        timeout: object,
        executor: Executor | None,
        slots: Service | None,
    ) -> Task:
        """Register a task, or put a redefinition of the same handler in its place.

        Args:
            name: Its name.
            handler: The user's function.
            uses: As given.
            timeout: As given.
            executor: Runs its handlers; None: the event loop does.
            slots: What bounds them there if no service does; None in the event loop.

        Raises:
            ConfigurationError: A value or the handler's signature cannot work.
            UnknownService: It uses a service that is not registered.
            DuplicateTask: Another handler has that name.
        """
        services, limit = self.check_task(name, uses, timeout)
        self.check_handler(name, handler)
        known = self._core.tasks.get(name)
        if known is not None and not _same_source(known.handler, handler):
            raise DuplicateTask(
                f"Task {name!r} is already registered with {describe(known.handler)}; "
                f"{describe(handler)} needs another name."
            )
        task = Task(name, handler, services, limit, executor)
        if self.cast is not None:
            self.cast(task)
        task.run_queue = self._core.run_queue_for(services, executor, slots)
        # Work units of a former definition are carried out by it; the name leads to the new one from here on.
        self._core.tasks[name] = task
        self._core.all_tasks.append(task)
        try:
            self._names[handler] = name
        except TypeError:
            pass  # an unhashable callable can only be named by its name
        self._resolve(task)
        return task

    def check_task(self, name: str, uses: object, timeout: object) -> tuple[tuple[str, ...], float | None]:
        """Check what describes a task besides its handler.

        Returns:
            The names of its services, and its timeout in seconds.
        """
        _name(name, "task")
        return self._services(name, uses), seconds_or_none(timeout, f"timeout of task {name!r}")

    def _services(self, name: str, uses: object) -> tuple[str, ...]:
        if uses is None:
            return ()
        if isinstance(uses, str):
            names: tuple[object, ...] = (uses,)
        elif isinstance(uses, Iterable) and not isinstance(uses, Mapping):
            names = tuple(uses)
        else:
            raise ConfigurationError(
                f"uses of task {name!r} must be a service name or several, not {uses!r}."
            )
        for one in names:
            if not isinstance(one, str) or one not in self._core.services:
                known = _known(self._core.services, one, "service")
                raise UnknownService(f"Unknown service: {one!r}, used by task {name!r}. {known}")
        return tuple(dict.fromkeys(str(one) for one in names))

    @staticmethod
    def check_handler(name: str, handler: object) -> None:
        """Check that a handler can be called with a work and gives one result.

        Raises:
            ConfigurationError: It cannot.
        """
        if not callable(handler):
            raise ConfigurationError(f"The handler of task {name!r} must be callable, not {handler!r}.")
        if inspect.isasyncgenfunction(handler) or inspect.isgeneratorfunction(handler):
            raise ConfigurationError(
                f"The handler of task {name!r}, {describe(handler)}, must not be a generator."
            )
        try:
            signature = inspect.signature(handler)
        except (TypeError, ValueError):
            return  # a builtin that does not tell; calling it will
        try:
            signature.bind(None)
        except TypeError:
            raise ConfigurationError(
                f"The handler of task {name!r}, {describe(handler)}{signature}, "
                "must take exactly one argument: the work."
            ) from None

    def set_gate(self, kind: str, gate: Gate, task: str | None) -> None:
        """Register is_ready ("ready") or is_stale ("stale"), for one task or for all that have none of their own."""
        check_callback(gate, f"is_{kind}", ("work",))
        if task is not None:
            _name(task, "task")
        (self._ready if kind == "ready" else self._stale)[task] = gate
        for one in self._core.all_tasks:
            self._resolve(one)

    def _resolve(self, task: Task) -> None:
        task.is_ready = self._ready.get(task.name, self._ready.get(None))
        task.is_stale = self._stale.get(task.name, self._stale.get(None))
        task.gated = (
            task.is_ready is not None or task.is_stale is not None or task.declares or task.declares_per_work
        )
        task.gate_is_async = any(
            gate is not None and is_async(gate) for gate in (task.is_ready, task.is_stale)
        )

    def warn_of_unknown_tasks(self, log: WarningLog, listeners: Iterable[tuple[str, str]]) -> None:
        """Say that a callback is for a task that does not exist: its name is most likely misspelt.

        Args:
            log: Where it is told.
            listeners: Those that are for one task, as (decorator, name of the task).
        """
        gates = (("is_ready", self._ready), ("is_stale", self._stale))
        bound = [(question, task) for question, there in gates for task in there if task is not None]
        for name, task in dict.fromkeys((*bound, *listeners)):
            if task not in self._core.tasks:
                known = _known(self._core.tasks, task, "task")
                log.tell(
                    "unknown_task",
                    (),
                    "%s is registered for a task %r that does not exist. %s",
                    name,
                    task,
                    known,
                )

    # --- Artifacts ----------------------------------------------------------------------------------------------

    def set_artifacts(
        self, task: Task, inputs: object, outputs: object, fresh: object, key: object, duplicate: str
    ) -> None:
        """Enter what the work units of a task declare; see `Cue.task` for the values.

        Raises:
            ConfigurationError: A value cannot work.
        """
        task.inputs = self.check_artifacts(inputs, f"inputs of task {task.name!r}")
        task.outputs = self.check_artifacts(outputs, f"outputs of task {task.name!r}")
        task.fresh = self.check_fresh(fresh, f"fresh of task {task.name!r}")
        task.key = key
        task.duplicate = self.check_duplicate(duplicate)
        task.declares = inputs is not None or outputs is not None or key is not None
        self._resolve(task)

    @staticmethod
    def check_artifacts(value: object, what: str) -> Any:
        """Check artifacts as they are declared.

        Returns:
            None, a callable, or a tuple of artifacts.

        Raises:
            ConfigurationError: It is none of these.
        """
        if value is None:
            return None
        if callable(value) and not isinstance(value, Artifact):
            check_callback(value, what, ("work",))
            if inspect.iscoroutinefunction(value):
                raise ConfigurationError(f"{what} must be given by a plain function, not {value!r}.")
            return value
        try:
            return _checked(as_artifacts(value, what))
        except ArtifactError as error:
            raise ConfigurationError(str(error)) from None

    @staticmethod
    def check_fresh(value: object, what: str) -> Any:
        """Check a freshness policy.

        Raises:
            ConfigurationError: It is none.
        """
        if value is DEFAULT:
            return newer()
        methods = (getattr(value, name, None) for name in ("stale", "started", "finished"))
        if value is None or (all(map(callable, methods)) and not isinstance(value, type)):
            return value
        raise ConfigurationError(
            f"{what} must be runcue.newer(), runcue.digest(), None or an object with their methods, not {value!r}."
        )

    @staticmethod
    def check_duplicate(value: object) -> str:
        """Check what is to be done about a second work unit that would make the same.

        Raises:
            ConfigurationError: It is neither "join" nor "error".
        """
        if value not in ("join", "error"):
            raise ConfigurationError(f'duplicate must be "join" or "error", not {value!r}.')
        return str(value)

    def declare(
        self,
        work: Work,
        cells: dict[Hashable, list[int]],
        *,
        inputs: object = None,
        outputs: object = None,
        fresh: object = None,
        key: object = None,
        force: bool = False,
    ) -> None:
        """Find out what a new work unit declares, by its task and its submission.

        A callable that raises is the work's fault, not the submitter's: the work will fail by it.

        Args:
            work: New.
            cells: Those of the cue's flags.
            inputs: As given to `submit()`; None for the task's.
            outputs: Likewise.
            fresh: Likewise; `DEFAULT` for the task's.
            key: Likewise.
            force: Run even if up to date.

        Raises:
            ConfigurationError: A value given to `submit()` cannot work.
        """
        task = work._task
        declared = work._declared = Declaration((), (), task.fresh if task.declares else _USUAL)
        if force:
            declared.forced = True
        if fresh is not DEFAULT:
            declared.fresh = self.check_fresh(fresh, "fresh")
        what = task.inputs if inputs is None else self.check_artifacts(inputs, "inputs")
        if what is not None:
            declared.inputs = self._artifacts(work, "inputs", what, cells)
        what = task.outputs if outputs is None else self.check_artifacts(outputs, "outputs")
        if what is not None:
            declared.outputs = found = self._artifacts(work, "outputs", what, cells)
            for artifact in found:
                if type(artifact) is File or isinstance(artifact, File):
                    declared.files = True
                    break
            if found and declared.fresh is not _USUAL:
                if hasattr(declared.fresh, "check"):
                    declared.fresh.check(found)
                declared.whole = bool(getattr(declared.fresh, "wants_status", False))
        if key is not None or task.key is not None:
            declared.key = self._key(work, task.key if key is None else key)
        if self.lay_over is not None:
            self.lay_over(declared)

    @staticmethod
    def _artifacts(
        work: Work, name: str, what: Any, cells: dict[Hashable, list[int]]
    ) -> tuple[Artifact, ...]:
        """The artifacts of a work unit, out of what was declared of them."""
        if type(what) is not tuple:
            try:
                given = what(work)
                if type(given) is str:  # by far the most frequent
                    return (File(given),)
                if (found := _plain_ones(given, cells)) is not None:
                    return found
                what = _checked(as_artifacts(given, f"{name} of task {work.task!r}"))
            except Exception as error:
                assert work._declared is not None
                work._declared.fault = _fault_of(work, name, error)
                return ()
        for artifact in what:
            if isinstance(artifact, Flag) and artifact._home is not cells:
                artifact.share(cells)
        return what  # type: ignore[no-any-return]

    @staticmethod
    def _key(work: Work, key: Any) -> Hashable:
        if callable(key):
            try:
                key = key(work)
            except Exception as error:
                assert work._declared is not None
                work._declared.fault = _fault_of(work, "key", error)
                return None
        try:
            hash(key)
        except TypeError:
            raise ConfigurationError(f"key must be hashable, not {key!r}.") from None
        return key  # type: ignore[no-any-return]

    def leader_for(
        self, work: Work, duplicate: str | None, dependencies: Dependencies | None = None
    ) -> Work | None:
        """The pending or running work unit that a new one can join, because it makes the same.

        Args:
            work: New, with what it declares.
            duplicate: What is to become of it then; None for what its task says.
            dependencies: Among whom; by default those of the core.

        Raises:
            DuplicateWork: There is one, but it cannot be joined: it has another task or other params, makes not quite
                the same, or duplicates are to be errors.
        """
        declared = work._declared
        if declared is None or declared.fault is not None:
            return None
        dependencies = self._core.dependencies if dependencies is None else dependencies
        leader = None
        same = ""
        if declared.key is not None:
            leader = dependencies.keyed.get(declared.key)
            same = f"key {declared.key!r}"
        producer_of = dependencies.producer_of
        for artifact in declared.outputs:
            other = producer_of.get(artifact._key)
            if other is not None and other is not leader:
                same = f"output {artifact!r}"
                if leader is not None or declared.key is not None:
                    raise DuplicateWork(_collision(work, other, same, "by another key"))
                leader = other
        if leader is None:
            return None
        theirs = leader._declared
        difference = ""
        if leader.task != work.task:
            difference = "by another task"
        elif not _equal(leader.params, work.params):
            difference = "with other params"
        elif theirs is None or {*map(key_of, theirs.outputs)} != {*map(key_of, declared.outputs)}:
            difference = "with other outputs"
        elif {*map(key_of, theirs.inputs)} != {*map(key_of, declared.inputs)}:
            difference = "with other inputs"
        if difference or (duplicate or work._task.duplicate) == "error":
            raise DuplicateWork(_collision(work, leader, same, difference))
        return leader

    def find(self, task: object) -> Task:
        """The task of that name, or whose handler that is.

        Raises:
            UnknownTask: There is none.
        """
        if isinstance(task, str):
            found = self._core.tasks.get(task)
            if found is None:
                raise UnknownTask(f"Unknown task: {task!r}. {_known(self._core.tasks, task, 'task')}")
            return found
        try:
            return self._core.tasks[self._names[task]]  # type: ignore[index]
        except (KeyError, TypeError):
            raise UnknownTask(f"Unknown task: {task!r} is not the handler of a registered task.") from None


DEFAULT: Any = object()
"""Stands for "as usual" where None has a meaning of its own."""


_USUAL = newer()


def _plain_ones(given: Any, cells: dict[Hashable, list[int]]) -> tuple[Artifact, ...] | None:
    """Artifacts of the usual kinds as they are given, None if it takes a closer look."""
    kind = type(given)
    if kind is File or kind is Flag:
        given = (given,)
    elif kind is not list and kind is not tuple:
        return None
    for one in given:
        kind = type(one)
        if kind is Flag:
            if one._home is not cells:
                one.share(cells)
        elif kind is not File:
            return None
    return tuple(given)


def _checked(artifacts: tuple[Artifact, ...]) -> tuple[Artifact, ...]:
    for artifact in artifacts:
        kind = type(artifact)
        if kind is File or kind is Flag:
            continue
        try:
            hash(key_of(artifact))
        except Exception as error:
            raise ArtifactError(
                f"The identity of {words_of(artifact)} cannot be used: {type(error).__name__}: {words_of(error)}"
            ) from error
        if kind.valid is Artifact.valid:
            raise ArtifactError(f"{type(artifact).__qualname__} must define valid() to be an artifact.")
    return artifacts


def _fault_of(work: Work, name: str, error: Exception) -> ArtifactError:
    fault = ArtifactError(
        f"{name} of task {work.task!r} raised {type(error).__name__}: {words_of(error)} "
        f"(params {words_of(work.params)})"
    )
    fault.__cause__ = error
    return fault


def _equal(one: Any, other: Any) -> bool:
    try:
        return one is other or bool(one == other)
    except Exception:  # params may hold anything, arrays that do not compare to a bool among them
        return False


def _collision(work: Work, other: Work, same: str, difference: str) -> str:
    state = "running" if other._phase >= RUNNING else "pending"
    hint = (
        "One artifact has one producer at a time: wait for it, or give this work unit another output."
        if difference
        else 'Submit it with duplicate="join" to share its outcome.'
    )
    return (
        f"{work.task!r} with params {words_of(work.params)}: its {same} is already being made "
        f"{difference + ' ' if difference else ''}by {other.task} {other.id} "
        f"({state}, params {words_of(other.params)}). {hint}"
    )


def take_over(params: object) -> dict[str, Any]:
    """Copy the params of a submission, so that later changes of the caller's mapping are not seen.

    Raises:
        InvalidParams: It is no mapping.
    """
    if params is None:
        return {}
    if not isinstance(params, Mapping):
        raise InvalidParams(f"params must be a mapping, not {type(params).__name__}: {params!r}.")
    return dict(params)
