"""What the user describes before anything runs, entered into the core's tables.

Lives here: `Registry`: tasks by name, the look-up of a task, and what every new one gets.

Must not know: how anything runs. The rules for the values are beside it: `tasks`, `gates`, `declarations`; services are
in `services`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from functools import cached_property
from typing import Any, Protocol

from runcue._callbacks.verdicts import Question
from runcue._callbacks.warning_log import WarningLog
from runcue._limits.service import Service
from runcue._model.callables import inmost, located, unwrapped
from runcue._model.checks import NOTHING, nearest, yes_or_no
from runcue._model.declaration import Declaration, alone
from runcue._model.errors import ConfigurationError, DuplicateTask, LimitError, UnknownService, UnknownTask
from runcue._model.origin import Origin, is_bound_otherwise, is_made_again
from runcue._model.overrides import DEFAULT, Overrides
from runcue._model.phases import SETTLED
from runcue._model.rate import duration_or_none
from runcue._model.task import Task
from runcue._model.texts import describe, words_of
from runcue._model.work import Work
from runcue._registration.charges import look_at_cost, note_spent
from runcue._registration.declarations import (
    check_artifacts,
    check_duplicate,
    check_fresh,
    check_key,
    declare,
)
from runcue._registration.gates import GateRegistry
from runcue._registration.keys import find_keys
from runcue._registration.lanes import check_lane, find_lane
from runcue._registration.tasks import (
    TaskDescription,
    check_load,
    check_priority,
    code_of,
    name_from,
    same_source,
    with_handler,
)
from runcue._scheduling.core import Core
from runcue._scheduling.redefinition import hand_over
from runcue._scheduling.retry import checked_retry
from runcue.abc import CallExecutor, Executor

__all__ = ["Registry", "Understudy"]


class Understudy(Protocol):
    """What plays in the place of the real things, in a cue that is rehearsed."""

    def replace_handler(self, task: Task) -> None:
        """Put something in the place of a task's handler."""

    def lay_over(self, declared: Declaration) -> None:
        """Put something in the place of the artifacts that a work unit declares."""


class Registry:
    """Checks what is described and enters it into a core.

    Args:
        core: Gets services and tasks.
        register: Registers a function under its own name, as a bare `@cue.task` does.
    """

    def __init__(self, core: Core, register: Callable[[Any], object] | None = None) -> None:
        self._core = core
        self._register = register
        self._gates = GateRegistry()
        self._names: dict[Callable[..., Any], str] = {}
        # What was told to be for a task that does not exist: decorator and name of the task.
        self._unheard: set[tuple[str, str]] = set()
        # Where the handler of each task comes from.
        self._origins: dict[str, Origin] = {}
        self._understudy: Understudy | None = None

    @cached_property
    def _price(self) -> Callable[[Work, Overrides], LimitError | None]:
        """Finds out what a new work unit costs: loaded with the first that says so."""
        from runcue._registration.costs import price  # noqa: PLC0415 - see above

        return price

    @property
    def tasks(self) -> Mapping[str, Task]:
        """All tasks by name."""
        return self._core.tasks

    def rehearse(self, understudy: Understudy) -> None:
        """Put an understudy in the place of all that is and will be described."""
        self._understudy = understudy
        for task in self._core.all_tasks:
            understudy.replace_handler(task)

    def describe_task(
        self,
        name: str | None,
        *,
        uses: object = None,
        timeout: object = None,
        inputs: object = None,
        outputs: object = None,
        fresh: object = DEFAULT,
        key: object = None,
        lane: object = None,
        duplicate: object = "join",
        priority: object = None,
        retry: object = None,
        must_complete: object = False,
        cost: object = None,
        load: object = None,
    ) -> TaskDescription:
        """Check what describes a task besides its handler; see `Cue.task` for the values.

        Args:
            name: Its name; None for that of its handler, which is not known yet.
            uses: As given.
            timeout: Likewise.
            inputs: Likewise.
            outputs: Likewise.
            fresh: Likewise.
            key: Likewise.
            lane: Likewise.
            duplicate: Likewise.
            priority: Likewise.
            retry: Likewise.
            must_complete: Likewise.
            cost: Likewise.
            load: Likewise.

        Raises:
            ConfigurationError: A value cannot work.
            UnknownService: It uses a service that is not registered.
        """
        what = "a task" if name is None else f"task {name!r}"
        services = self._services(what, uses)
        if cost is not None:
            from runcue._registration.costs import check_cost, check_names  # noqa: PLC0415 - needed by few

            cost = check_cost(cost, f"cost of {what}")
            check_names(cost, [self._core.services[one] for one in services], f"cost of {what}")
        return TaskDescription(
            name or "",
            services,
            duration_or_none(timeout, f"timeout of {what}"),
            check_artifacts(inputs, f"inputs of {what}"),
            check_artifacts(outputs, f"outputs of {what}"),
            check_fresh(fresh, f"fresh of {what}"),
            check_key(key, f"key of {what}"),
            check_duplicate(duplicate),
            check_lane(lane, f"lane of {what}"),
            check_priority(priority, f"priority of {what}"),
            checked_retry(retry, f"retry of {what}"),
            yes_or_no(must_complete, f"must_complete of {what}"),
            cost,
            check_load(load, f"load of {what}"),
        )

    def check_unique(self, name: str, handler: Callable[..., Any]) -> Origin:
        """Check that a name is free, or taken by what is the same handler, defined again.

        Returns:
            Where the handler comes from.

        Raises:
            DuplicateTask: Another handler has that name.
        """
        known, origin = self._origins.get(name), Origin(handler)
        if known is None or same_source(known.call, handler) or origin.is_anew(known):
            return origin
        ours, theirs = located(handler), located(known.call)
        hint = ""
        if inmost(handler) is inmost(known.call):
            hint = " They are one function, decorated or bound otherwise: give the one that is registered."
        elif describe(handler) == describe(known.call):
            hint = " A lambda that has changed is another one: use def."
        raise DuplicateTask(
            f"Task {name!r} is already registered with {theirs}; {ours} needs another name.{hint}"
        )

    def add_task(
        self,
        described: TaskDescription,
        handler: Callable[..., Any],
        executor: Executor | CallExecutor | None = None,
        slots: Service | None = None,
        origin: Origin | None = None,
    ) -> Task:
        """Register a task, or put a redefinition of the same handler in its place.

        Args:
            described: What is said of it.
            handler: The user's function, checked.
            executor: Runs its handlers; None: the event loop does.
            slots: What bounds them there if no service does, or in any case if it is known how many it runs at once;
                None in the event loop.
            origin: Where the handler comes from, as `check_unique` has found; None: to be checked.

        Raises:
            DuplicateTask: Another handler has that name.
        """
        name = described.name
        origin = self.check_unique(name, handler) if origin is None else origin
        task = Task(name, handler, described.services, described.timeout, executor)
        task.inputs, task.outputs = described.inputs, described.outputs
        task.fresh, task.key, task.duplicate = described.fresh, described.key, described.duplicate
        task.lane = described.lane
        task.code = described.code
        if described.parameters is not None:
            task.parameters, task.call = described.parameters, described.parameters.call_with(handler)
        task.spender = note_spent
        task.declares = not (task.inputs is task.outputs is task.key is None)
        task.priority, task.retry = described.priority, described.retry
        task.must_complete, task.load, task.cost = described.must_complete, described.load, described.cost
        self._core.ordered |= task.priority is not None
        if self._understudy is not None:
            self._understudy.replace_handler(task)
        task.run_queue = self._core.run_queues.find(
            described.services, self._core.services, executor, slots, always=hasattr(executor, "workers")
        )
        look_at_cost(task)
        former = self._core.tasks.get(name)
        self._core.tasks[name] = task
        self._core.all_tasks.append(task)
        self._origins[name] = origin
        if former is not None:
            moved = hand_over(self._core, former, task)
            if task.run_queue is not former.run_queue:
                for work in moved:
                    work._keyed = None
                    if task.run_queue.is_keyed and (fault := find_keys(work, task.run_queue.keyed)):
                        work._declared = work._declared or Declaration()
                        alone(work).fault = fault
                        task.declares_per_work = task.gated = True
            if task.parameters is not None:
                task.parameters.adapt(moved, former.parameters)
                task.call = task.parameters.checked(task.call)
        try:
            self._names[handler] = name
        except Exception:  # noqa: S110 - an unhashable callable can only be named by its name
            pass
        self._gates.resolve(task)
        return task

    def _services(self, what: str, uses: object) -> tuple[str, ...]:
        if uses is None:
            return ()
        if isinstance(uses, str):
            names: tuple[object, ...] = (uses,)
        else:
            several = _several(uses)
            if several is None:
                raise ConfigurationError(
                    f"uses of {what} must be the name of a service, or a list of several, not {words_of(uses)}."
                )
            names = several
        for one in names:
            if not isinstance(one, str) or one not in self._core.services:
                known = _suggestion(self._core.services, one, "service")
                raise UnknownService(f"Unknown service: {words_of(one)}, used by {what}. {known}")
            if getattr(one, "_core", self._core) is not self._core:
                raise ConfigurationError(
                    f"uses of {what} has the service {words_of(str(one))} of another cue; give the one of this cue, by "
                    "its name or by cue.get_service()."
                )
        return tuple(dict.fromkeys(str(one) for one in names))

    def add_gate(self, question: Question, gate: Callable[[Work], Any], task: str | None) -> None:
        """Register is_ready or is_stale, for one task or for all that have none of their own.

        Raises:
            ConfigurationError: It cannot be asked, or the name is none.
        """
        self._gates.add(question, gate, task)
        for one in self._core.all_tasks:
            if task is None or one.name == task:
                self._gates.resolve(one)

    def warn_of_unknown_tasks(self, log: WarningLog, listeners: Iterable[tuple[str, str]]) -> None:
        """Say once that a callback is for a task that does not exist: its name is most likely misspelt.

        Args:
            log: Where it is told.
            listeners: Those that are for one task, as (decorator, name of the task).
        """
        for bound in dict.fromkeys((*self._gates.bound(), *listeners)):
            decorator, task = bound
            if task not in self._core.tasks and bound not in self._unheard:
                self._unheard.add(bound)
                text = "%s is registered for a task %r that does not exist. %s"
                log.tell(
                    "unknown_task", (), text, decorator, task, _suggestion(self._core.tasks, task, "task")
                )

    def look_up(
        self, work: Work, cells: dict[Hashable, list[int]], overrides: Overrides
    ) -> Declaration | None:
        """Find out what a new work unit declares and costs, which keys it has, and in which lane it is.

        Returns:
            What it declares; None if that is no more than a lane.

        Raises:
            ConfigurationError: As for `declarations.declare` and `costs.price`.
        """
        task = work._task
        fault = find_keys(work, task.run_queue.keyed) if task.run_queue.is_keyed else None
        if task.cost is not None or overrides.cost is not None:
            fault = self._price(work, overrides) or fault
        if overrides.lane is not None or task.lane is not None:
            fault = find_lane(work, overrides, self._core.lanes) or fault
        lane = work._declared and work._declared.lane
        if not (task.declares or overrides.declares or fault is not None):
            return None
        declared = self.declare(work, cells, overrides)
        if lane is not None:
            declared.lane = lane
        if fault is not None:  # or each that declares something would have a dict of its own
            declared.fault = fault
        return declared

    def declare(self, work: Work, cells: dict[Hashable, list[int]], overrides: Overrides) -> Declaration:
        """Find out what a new work unit declares; see `declarations.declare`."""
        declared = declare(work, cells, overrides)
        if overrides.fresh is not DEFAULT and work._task.code is None:
            task = work._task
            task.code = code_of(self._origins[task.name].call, task.name, declared.fresh)
        if self._understudy is not None:
            self._understudy.lay_over(declared)
        return declared

    def find(self, task: object) -> Task:
        """The task of that name, or whose handler that is.

        Raises:
            UnknownTask: There is none.
        """
        if isinstance(task, str):
            found = self._core.tasks.get(task)
            if found is None:
                known = _suggestion(self._core.tasks, task, "task")
                raise UnknownTask(f"Unknown task: {words_of(task)}. {known}")
            return found
        if task is NOTHING:
            raise ConfigurationError(
                'submit() needs the name of a task or its handler first, such as submit("resize", params={"page": 1}).'
            )
        if (found := self._task_of(task)) is not None:
            return found
        hint = " cue.call() registers a function by itself; submit() does not." if callable(task) else ""
        raise UnknownTask(
            f"Unknown task: {words_of(task)} is neither the name of a registered task nor its handler.{hint}"
        )

    def task_for_call(self, function: object) -> Task:
        """The task of a function that is called with values, or of that name.

        Of a function that is not registered yet it is a draft, with what is called and what that takes alone: nothing
        is registered before the call was checked. See `enter`.

        Raises:
            UnknownTask: There is no task of that name.
            DuplicateTask: The same function, as it is bound to something else, is registered, and somebody waits for
                that.
            ConfigurationError: It can be no handler, or does not tell what it takes.
        """
        if not callable(function):
            if isinstance(function, str):
                return self.find(function)
            raise ConfigurationError(
                f'call() needs a function first, such as cue.call(fetch, "https://..."), not {words_of(function)}.'
            )
        task = self._task_of(function)
        if task is not None and task.handler is not function and is_bound_otherwise(task.handler, function):
            task = None
        if task is not None and task.parameters is not None:
            return task
        from runcue._handlers.parameters import check_annotated  # noqa: PLC0415 - few are of that kind

        check_annotated(function)
        return self._draft(function, name_from(function)) if task is None else task

    def enter(self, task: Task) -> Task:
        """A task that `task_for_call` has given, registered under the name of its function if it is a draft.

        Raises:
            DuplicateTask: Another function is.
        """
        if task.run_queue is not None:
            return task
        assert self._register is not None
        self._register(task.handler)
        return self._core.tasks[task.name]

    def _draft(self, function: Callable[..., Any], name: str) -> Task:
        known = self._core.tasks.get(name)
        # Made in another function, which is called again and again.
        if known is not None and is_made_again(known.handler, function):
            return known
        is_other = known is not None and is_bound_otherwise(known.handler, function)
        if is_other and any(work._task is known and work._phase < SETTLED for work in self._core.history):
            raise DuplicateTask(
                f"Task {name!r} has work units that have not settled, of {located(function)} as it is bound to "
                'another object or other values. Give each a task of its own, by cue.task("name")(...), or give what '
                "they differ in as params."
            )
        draft = Task(name, function, (), None, None)
        draft.parameters = with_handler(self.describe_task(name), function).parameters
        return draft

    def _task_of(self, call: object) -> Task | None:
        """The task whose handler that is, or a decorated form of it; None if there is none."""
        try:
            return self._core.tasks[self._names[call]]  # type: ignore[index]
        except Exception:  # noqa: S110 - it is unhashable, or nobody's
            pass
        for handler in unwrapped(call):
            try:
                return self._core.tasks[self._names[handler]]
            except Exception:  # noqa: S112 - the same
                continue
        return None


def _several(given: object) -> tuple[object, ...] | None:
    """What is in a list or the like, None if it is nothing of the kind."""
    if isinstance(given, (bytes, bytearray, Mapping)) or not isinstance(given, Iterable):
        return None
    try:
        return tuple(given)
    except Exception:  # out of an iterator of the user's
        return None


def _suggestion(names: Iterable[str], wanted: object, what: str) -> str:
    names = sorted(names)
    if not names:
        return f"No {what} is registered yet."
    near = nearest(wanted, names)
    return f"Did you mean {near!r}?" if near else f"Registered: {', '.join(map(repr, names[:20]))}."
