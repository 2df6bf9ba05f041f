"""The face of runcue: `Cue`, one object that is described, started, fed and drained.

Lives here: argument checks and delegation. Whatever is decided is decided below.

Must not know: order, limits, tasks of asyncio.
"""

from __future__ import annotations

import asyncio
import builtins
import contextvars
import os
import sys
import weakref
from collections.abc import AsyncIterable, Awaitable, Callable, Hashable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Literal,
    Never,
    NoReturn,
    ParamSpec,
    Self,
    TypeVar,
    Unpack,
    overload,
)

from runcue._api.handle import WorkHandle
from runcue._artifacts.artifact import Artifact, key_of
from runcue._artifacts.file import File
from runcue._artifacts.places import path_text
from runcue._handlers.outputs import write
from runcue._model.checks import (
    NOTHING,
    carried_out_by,
    check_name,
    check_text,
    is_one_of,
    nearest,
    positive_int,
    refuse_options,
    says_how_to_await,
    says_what_it_takes,
    whole_number,
    yes_or_no,
)
from runcue._model.command import Command
from runcue._model.current import call_inside
from runcue._model.errors import (
    ConfigurationError,
    CueStopped,
    InvalidParams,
    UsageError,
    WorkCancelled,
    is_made_of,
)
from runcue._model.events import Event
from runcue._model.origin import Execution
from runcue._model.overrides import DEFAULT, NO_OVERRIDES, OPTIONS
from runcue._model.phases import SETTLED, WorkState
from runcue._model.priority import STRICT, PriorityContext
from runcue._model.rate import duration_or_none, parse_duration
from runcue._model.summary import Summary
from runcue._model.task import Task
from runcue._model.texts import how_many, words_of
from runcue._model.work import Work
from runcue._registration.declarations import without_return
from runcue._registration.executors import Elsewhere, RunIn, check_initializer, check_run_in
from runcue._registration.submission import overrides_of, params_for, params_of_call, take_over
from runcue._registration.tasks import TaskDescription, with_handler
from runcue.abc import Freshness, Limit, Observer

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    # Imported where they are used: few programs plan, draw or watch, and they would be a tenth of `import runcue`.
    from runcue._api.group import Group
    from runcue._api.many import Map
    from runcue._api.service import OfKey, Service
    from runcue._api.submit_options import Artifacts, Cost, SubmitOptions
    from runcue._callbacks.verdicts import Question
    from runcue._explain.answers import Why, WhyStale
    from runcue._explain.why_all import WhyAll
    from runcue._limits.adaptive import Adaptive
    from runcue._limits.breaker import Breaker
    from runcue._limits.status import ServiceStatus
    from runcue._model.origin import Origin
    from runcue._planning.plan import Plan
    from runcue._scheduling.retry import Policy
    from runcue.submissions import Written

__all__ = ["Cue", "cues_in"]

F = TypeVar("F", bound=Callable[..., Any])
P = TypeVar("P", bound=Callable[[PriorityContext], float])
R = TypeVar("R")
Q = ParamSpec("Q")

AnyIterable = Iterable[Any] | AsyncIterable[Any]
"""What `map` goes through."""

# Names of this module's own: submit() is short enough to feel each look-up.
_running_loop = asyncio.get_running_loop
_running_loop_if_any = asyncio._get_running_loop
_copy_context = contextvars.copy_context
_new_handle = str.__new__

_started: weakref.WeakSet[Cue] = weakref.WeakSet()


class Cue:
    """Decides when work runs; your code decides what it does.

    A cue holds services (limits), tasks (handlers) and the work units submitted to it. Before it runs a work unit it
    asks `is_ready` (are the inputs valid?) and `is_stale` (is the output missing or old?).

    Args:
        pending_warn_after: Warn about a work unit that has been pending for so long: seconds, a timedelta, or text such
            as "30s" or "5 min", as for all time-outs. None: never.
        pending_timeout: Fail it after so long, with `PendingTimeout`. For pipelines in which no work unit should wait
            long.
        stall_warn_after: Warn when nothing started or settled for so long.
        stall_timeout: Fail all pending work units with `StallTimeout` when nothing did for so long, nothing is
            running and no instant is known at which that would change. For batches whose queue is long.
        head_start: What a priority of 1.0 is worth against 0.0: so long a wait makes up for it. Seconds, a timedelta,
            or text such as "60s". None: nothing does, the more urgent one comes first however long others wait.
        keep: How many settled work units `get()` and `list()` still know. Handles keep their own.
        max_threads: How many sync handlers may run at once where no service limits them.
        max_processes: How many processes of its own may run handlers or commands at once; None: as many as there are
            processors.
        recheck: Look now and then whether work units that were not ready have become so by something outside this cue.
        id_prefix: Fixes the first part of the ids, for logs that must be equal from run to run.
        max_pending: So many work units may be pending; who submits more waits until one of them starts or ends. What
            handlers and listeners submit does not wait, and what is submitted for later counts from its instant on.
            None: any number may be.
        run_in: Where plain functions run for whose task nothing else is said, as for `task()`: "thread", which is
            usual, for daemon threads of the cue's own; "process" for processes of its own; an executor.
        order: What comes first of equal priority: "submission", what was submitted first; "depth": what was begun
            first, so that a work unit counts as submitted when the oldest of those was that made what it is made from.

    Raises:
        ConfigurationError: A value cannot work.

    Example:
        >>> import runcue
        >>> cue = runcue.Cue()
        >>> api = cue.service("api", rate="60/min", concurrent=5)
        >>> @cue.task("double", uses=api)
        ... def double(work):
        ...     return 2 * work.params["number"]
        >>> async def main():
        ...     async with cue:
        ...         handle = await cue.submit("double", params={"number": 21})
        ...         return await handle.result()
        >>> runcue.run(main)
        42
    """

    @says_what_it_takes
    def __init__(
        self,
        *,
        pending_warn_after: float | str | timedelta | None = None,
        pending_timeout: float | str | timedelta | None = None,
        stall_warn_after: float | str | timedelta | None = None,
        stall_timeout: float | str | timedelta | None = None,
        head_start: float | str | timedelta | None = 60.0,
        keep: int = 10_000,
        max_threads: int = 64,
        max_processes: int | None = None,
        recheck: bool = True,
        id_prefix: str | None = None,
        max_pending: int | None = None,
        run_in: Elsewhere | None = None,
        order: Literal["submission", "depth"] = "submission",
    ) -> None:
        recheck = yes_or_no(recheck, "recheck")
        if id_prefix is not None:
            id_prefix = check_text(id_prefix, "id_prefix")
        if max_pending is not None:
            max_pending = positive_int(max_pending, "max_pending")
        # What only a cue needs comes with the first one, not with `import runcue`.
        from runcue._api.engine import Engine, core_for  # noqa: PLC0415
        from runcue._model.cpus import usable_cpus  # noqa: PLC0415

        self._core = core_for(order)(
            keep=whole_number(keep, "keep", 0),
            max_threads=positive_int(max_threads, "max_threads"),
            head_start=STRICT if head_start is None else parse_duration(head_start, "head_start"),
            pending_warn_after=duration_or_none(pending_warn_after, "pending_warn_after"),
            pending_timeout=duration_or_none(pending_timeout, "pending_timeout"),
            stall_warn_after=duration_or_none(stall_warn_after, "stall_warn_after"),
            stall_timeout=duration_or_none(stall_timeout, "stall_timeout"),
        )
        self._engine = engine = Engine(
            self._core,
            self._ended,
            self.task,
            run_in,
            max_processes=usable_cpus()
            if max_processes is None
            else positive_int(max_processes, "max_processes"),
            recheck=recheck,
            id_prefix=id_prefix,
            max_pending=max_pending,
        )
        self._warnings = engine.warnings
        self._callbacks = engine.callbacks
        self._services = engine.services
        self._registry = engine.registry
        self._executors = engine.executors
        self._dispatcher = engine.dispatcher
        self._listeners = engine.dispatcher.listeners
        self._watched = engine.watched
        self._drops = engine.drops
        self._stopping = engine.stopping
        self._lifecycle = engine.lifecycle
        self._intake = engine.intake
        self._entrance = engine.entrance
        self._inquiry = engine.inquiry

    @says_what_it_takes
    def service(
        self,
        name: str,
        *,
        rate: str | Sequence[str] | OfKey[str | Sequence[str]] | None = DEFAULT,
        concurrent: int | Adaptive | OfKey[int | Adaptive] | None = DEFAULT,
        burst: int | OfKey[int] | None = DEFAULT,
        budget: Mapping[str, str] | OfKey[Mapping[str, str]] | None = DEFAULT,
        oversize: Literal["error", "borrow"] | None = DEFAULT,
        margin: float | str | timedelta | None = DEFAULT,
        limiter: Any = DEFAULT,
        per: Callable[..., Hashable] | None = DEFAULT,
        max_pause: float | str | timedelta | None = DEFAULT,
        limits: Limit | Sequence[Limit] | OfKey[Limit | Sequence[Limit]] | None = DEFAULT,
        throttle: Callable[[Any], float | bool | None] | None = DEFAULT,
        max_throttled: float | str | timedelta | None = DEFAULT,
        breaker: Breaker | OfKey[Breaker] | None = DEFAULT,
    ) -> Service:
        """Register a service: limits under one name, shared by all tasks that use it.

        The same again, with the same limits, is no mistake and changes nothing. In a notebook cell that is run again,
        others change what they name, as `Service.change` does; a limit that was set is taken away by None.

        Args:
            name: What tasks call it in `uses=`.
            rate: "60/min", "10/sec", "1.5/sec", "1000/hour", "100/15min": no window of that length, wherever it
                starts, sees more starts than that. Several, such as ["10/sec", "500/min"], hold all.
            concurrent: How many handlers may run at the same time; a `runcue.Adaptive` finds that out.
            burst: Makes the rate a continuously refilled bucket of that size instead: at most burst + elapsed * rate
                starts in any stretch of time.
            budget: So much of something per window, by name, such as {"tokens": "90_000/min", "usd": "2.50/day"}; of
                that each start takes the `cost=` of its work unit, and in the end what `work.spent()` has said.
            oversize: What becomes of a work unit that costs more than a budget ever has: "error", submitting it is an
                error; "borrow", it starts when nothing is used, and what is over is charged as there is room again.
            margin: So much longer each window is counted, of rates and budgets, for servers that count at arrival:
                "0.5s". The way of two requests may differ by so much.
            limiter: An `aiolimiter.AsyncLimiter` instead of `rate=`, for instance one shared with other code.
            max_pause: Nothing that its server says (`Service.read_headers`, a refusal) pauses it for longer: seconds, a
                timedelta, or text; None: an hour.
            limits: Limits of your own, a `runcue.abc.Limit` each, beside the others: all must have room. They are asked
                with the work unit, so that a cost or a customer can decide.
            throttle: A function of an error that says whether the server has refused for now, such as
                `runcue.http_errors`: for how many seconds, True if that is not known, None if it has not.
            max_throttled: A work unit that has waited for so long because of that fails with its next refusal; "10min"
                if nothing is said, `math.inf`: never.
            breaker: A `runcue.Breaker`: after failures in a row, nothing starts for a while.
            per: Gives the key of a work unit when that is submitted: a function of the work, or of the params it names.
                Then each key has these limits for itself, and none holds up another. A limit may be a function of
                the key; None from that: no such limit for this key.

        Returns:
            The service, for `uses=`: a str equal to its name, which can be changed while work units run.

        Raises:
            ConfigurationError: A value cannot work, or the service has other limits.
        """
        given = {
            "rate": rate,
            "concurrent": concurrent,
            "burst": burst,
            "budget": budget,
            "oversize": oversize,
            "margin": margin,
            "limiter": limiter,
            "max_pause": max_pause,
            "limits": limits,
            "throttle": throttle,
            "max_throttled": max_throttled,
            "breaker": breaker,
            "per": per,
        }
        given = {option: value for option, value in given.items() if value is not DEFAULT}
        # Here, and not in the thread of the loop: it is looked up who calls.
        execution = Execution()
        self._intake.in_loop(lambda: self._services.add(name, given, execution))
        return self._service(name)

    @says_what_it_takes
    def get_service(self, name: str) -> Service:
        """The registered service of that name.

        Raises:
            UnknownService: There is none.
        """
        return self._service(self._services.find(name))

    def _service(self, name: str) -> Service:
        from runcue._api.service import service_of  # noqa: PLC0415 - who only imports runcue needs none

        return service_of(check_name(name, "service"), self._engine)

    @overload
    def task(self, name: F, /) -> F: ...
    @overload
    def task(
        self,
        name: str = ...,
        *,
        uses: str | builtins.list[str] | tuple[str, ...] | None = None,
        timeout: float | str | timedelta | None = None,
        inputs: Artifacts = None,
        outputs: Artifacts = None,
        fresh: Freshness | None = DEFAULT,
        key: Hashable | Callable[..., Hashable] = None,
        lane: Hashable | Callable[..., Hashable] = None,
        duplicate: Literal["join", "error"] = "join",
        priority: float | Callable[..., float] | None = None,
        retry: int | Policy | None = None,
        must_complete: bool = False,
        cost: Cost = None,
        load: Callable[..., Any] | None = None,
        run_in: RunIn | None = None,
        initializer: Callable[[], object] | None = None,
    ) -> Callable[[F], F]: ...
    @says_what_it_takes
    def task(
        self,
        name: Any = DEFAULT,
        *,
        uses: str | builtins.list[str] | tuple[str, ...] | None = None,
        timeout: float | str | timedelta | None = None,
        inputs: Artifacts = None,
        outputs: Artifacts = None,
        fresh: Freshness | None = DEFAULT,
        key: Hashable | Callable[..., Hashable] = None,
        lane: Hashable | Callable[..., Hashable] = None,
        duplicate: Literal["join", "error"] = "join",
        priority: float | Callable[..., float] | None = None,
        retry: int | Policy | None = None,
        must_complete: bool = False,
        cost: Cost = None,
        load: Callable[..., Any] | None = None,
        run_in: RunIn | None = None,
        initializer: Callable[[], object] | None = None,
    ) -> Any:
        """Register a handler under a name, as a decorator.

        A plain function runs in a thread, an `async def` on the event loop; `run_in=` says otherwise.

        A handler that takes one parameter, called `work`, annotated `runcue.Work` or not annotated, gets the work. Of
        several the first may be the work, by that name or annotation; all others are filled in from params by their
        names, and `**params` takes the rest. Functions that are given as options get what they name: `work`, or a
        param; a single other parameter is the work.

        Args:
            name: What `submit()` calls it. Without one, as in a bare `@cue.task`, it is the name of the function.
            uses: One service or several; of several, all limits are taken in one step or none.
            timeout: How long a run may take before its work fails with `WorkTimeout`: seconds, a timedelta, or text
                such as "30s". Async handlers are cancelled; a thread cannot be, its slot stays taken until it returns.
            inputs: The artifacts its work units need: one or several, or a function of the work, or of params, that
                gives them; text and paths mean files. A work unit is ready when all of them are valid and nobody is
                about to make them anew.
            outputs: The artifacts that prove its work units, likewise. A work unit is stale when one of them is
                missing, not valid or out of date; a handler that returns without them fails with `MissingOutput`.
                Where is_ready or is_stale exist for the task, they must say yes as well.
            fresh: When outputs are out of date: `newer()` (by time, the default), `digest()` (by content), or None
                (never, as long as they are valid).
            key: What makes two work units the same instead of their outputs; a value, or a function of the work or
                of params.
            lane: What its work units have in common that run one at a time, in the order of their submission, whatever
                their tasks are: a value such as "printer", or a function of the work or of params that gives it, asked
                when it is submitted; None from that: in no lane. Those behind the first wait for it and are asked
                nothing, however long it is retried or not ready.
            duplicate: What becomes of a work unit while another pending or running one makes the same: "join" lets it
                settle with that one, "error" refuses it. With other params it is always refused.
            priority: How urgent its work units are, 0.0 to 1.0, instead of what `@cue.priority` says; or a plain
                function of the work or of params that says it, which is asked once, when the work is ready.
            retry: How often a work unit is tried again that fails or times out: how many attempts there are in all (-1:
                no end of them), a `Retry`, which says more, or a plain function of (attempt, error, elapsed) that gives
                the seconds to the next attempt, None for none. Meanwhile the work unit holds no slot.
            must_complete: Whether `stop(drain=False)`, and so the first Ctrl-C, still runs its work units and what
                makes their inputs, and `stop(timeout=)` waits for them. `stop(timeout=0)` and a second Ctrl-C do not.
            cost: What a work unit takes of the budgets of its services, such as {"tokens": 700}, or a plain function of
                the work or of params that gives that, asked when it is submitted. `work.spent()` says what it was.
            load: A function of the work or of params, plain or async, that reads the value of a work unit back that
                was skipped, for whoever asks for its result. Without one that is None. It is called when the value is
                first asked for, a plain one in a thread; what it raises is raised there, and the work unit stays
                skipped.
            run_in: Where a plain function runs: "thread" for a thread of the cue's own, "loop" for the event loop, as
                an `async def` always does; "process" for a process of its own; a `concurrent.futures.Executor`, or a
                function that makes one; or an executor of your own (`runcue.abc.Executor`). None: where
                `Cue(run_in=)` says.
            initializer: Called once in each process that runs the handler, before its first call there: to load a
                model, say. If it raises, so has the handler.

        Returns:
            A decorator that returns the handler unchanged.

        Raises:
            UnknownService: `uses` names a service that is not registered.
            DuplicateTask: Another handler has that name. The same function defined again (a notebook cell) replaces
                itself: pending work units are carried out by the new one, with its services and time-out.
            ConfigurationError: A value or the handler's signature cannot work.
        """

        def register(handler: F) -> F:
            own = with_handler(described, handler)
            origin = self._registry.check_unique(own.name, handler)
            self._intake.in_loop(lambda: self._enter(own, handler, origin, run_in, initializer))
            return handler

        # Checked now, not when the decorator is applied: the mistake is in this line.
        described = self._registry.describe_task(
            None if callable(name) or name is DEFAULT else check_name(name, "task"),
            uses=uses,
            timeout=timeout,
            inputs=inputs,
            outputs=outputs,
            fresh=fresh,
            key=key,
            lane=lane,
            duplicate=duplicate,
            priority=priority,
            retry=retry,
            must_complete=must_complete,
            cost=cost,
            load=load,
        )
        which = f"task {described.name!r}" if described.name else "a task"
        check_run_in(run_in, f"run_in of {which}", loop=True)
        check_initializer(initializer, f"initializer of {which}")
        return register(name) if callable(name) else register  # a bare @cue.task

    def _enter(
        self,
        described: TaskDescription,
        handler: Callable[..., Any],
        origin: Origin,
        run_in: RunIn | None,
        initializer: Callable[[], object] | None,
    ) -> None:
        name, executors = described.name, self._executors
        executor = executors.executor_for(name, handler, run_in)
        calls = executors.calls_for(name, handler, described.parameters, executor, initializer)
        slots = executors.processes if isinstance(handler, Command) else None
        if executor is not None:
            slots = executors.slots_of(executor)
            self._dispatcher.hand_off.use(executor)
        task = self._registry.add_task(described, handler, executor, slots, origin)
        executors.let_run(task, calls)
        for name, what in without_return(described):
            words = f"returns nothing (is a `return` missing?): the work units of task {task.name!r} have no {name}"
            self._callbacks.door.no_answer(what, words, None)
        task.dispatcher = self._dispatcher
        task.submitter = self._submit_from_handler
        task.writer = write
        self._dispatcher.rechecker.changed()  # of what was defined anew work units may wait
        self._dispatcher.turns.wake()

    @says_what_it_takes
    def get_task(self, name: str) -> Task | None:
        """The registered task of that name, None if there is none."""
        return self._core.tasks.get(check_name(name, "task"))

    @says_what_it_takes
    def tasks(self) -> builtins.list[Task]:
        """The registered tasks, in the order of their registration."""
        return builtins.list(self._core.tasks.values())

    @property
    def max_threads(self) -> int:
        """How many sync handlers may run at once where no service limits them."""
        return self._core.threads.concurrent

    @property
    def max_processes(self) -> int:
        """How many processes of its own may run handlers or commands at once."""
        return self._executors.processes.concurrent

    @says_what_it_takes
    def services(self) -> builtins.list[ServiceStatus]:
        """The registered services with their limits and what these allow now, in the order of their registration."""
        return [self._engine.status_of(service) for service in self._core.services.values()]

    @overload
    def is_ready(self, gate: F) -> F: ...
    @overload
    def is_ready(self, *, task: str) -> Callable[[F], F]: ...
    @says_what_it_takes
    def is_ready(self, gate: Any = None, *, task: str | None = None) -> Any:
        """Register the question "are the inputs valid?", plain or async.

        It is asked soon after submission and again immediately before the start. False keeps the work pending;
        `(False, "reason")` does too, and the reason is shown by `debug_blocked()`. Raising counts as False.

        Args:
            gate: Takes the work. Absent when used as `@cue.is_ready(task="name")`.
            task: Ask this one for work units of that task, instead of the general one.
        """
        return self._gate("ready", gate, task)

    @overload
    def is_stale(self, gate: F) -> F: ...
    @overload
    def is_stale(self, *, task: str) -> Callable[[F], F]: ...
    @says_what_it_takes
    def is_stale(self, gate: Any = None, *, task: str | None = None) -> Any:
        """Register the question "is the output missing or old?", plain or async.

        It is asked after is_ready said yes. False skips the work. Raising counts as True.

        Args:
            gate: Takes the work. Absent when used as `@cue.is_stale(task="name")`.
            task: Ask this one for work units of that task, instead of the general one.
        """
        return self._gate("stale", gate, task)

    def _gate(self, question: Question, gate: Any, task: str | None) -> Any:
        _check_is_no_name(gate)

        def enter(call: Any) -> None:
            self._registry.add_gate(question, call, task)
            self._dispatcher.rechecker.changed()
            self._dispatcher.turns.wake()

        def register(call: Any) -> Any:
            self._intake.in_loop(lambda: enter(call))
            return call

        return register if gate is None else register(gate)

    @overload
    def priority(self, call: P) -> P: ...
    @overload
    def priority(self) -> Callable[[P], P]: ...
    @says_what_it_takes
    def priority(self, call: Any = None) -> Any:
        """Register how urgent a work unit is, 0.0 to 1.0; a plain function, asked once when it is ready.

        What 1.0 is worth against 0.0, `Cue(head_start=)` says. Work units of equal priority run in submission order.
        It is not asked where `submit(priority=)` or `task(priority=)` says how urgent they are.

        Args:
            call: Takes the `PriorityContext`. Absent when used as `@cue.priority()`.
        """
        if call is None:
            return self.priority
        self._callbacks.priority.use(call)
        self._core.ordered, self._core.usual_priority = True, 0.0
        return call

    @overload
    def on_submit(self, listener: F) -> F: ...
    @overload
    def on_submit(self, *, task: str) -> Callable[[F], F]: ...
    @says_what_it_takes
    def on_submit(self, listener: Any = None, *, task: str | None = None) -> Any:
        """Hear (work) when a work unit has been submitted, before anything of it is asked.

        It is called inside of `submit()`, in a copy of the submitter's context variables. The work unit is pending and
        known to `get()`; whoever submits it has no handle yet.

        Args:
            listener: Absent when used as `@cue.on_submit(task="name")`.
            task: Hear of work units of this task alone.
        """
        return self._listen(Event.SUBMIT, listener, task)

    @overload
    def on_start(self, listener: F) -> F: ...
    @overload
    def on_start(self, *, task: str) -> Callable[[F], F]: ...
    @says_what_it_takes
    def on_start(self, listener: Any = None, *, task: str | None = None) -> Any:
        """Hear (work) when a handler is about to be entered, once per attempt; not again after `RetryLater`.

        Args:
            listener: Absent when used as `@cue.on_start(task="name")`.
            task: Hear of work units of this task alone.
        """
        return self._listen(Event.START, listener, task)

    @overload
    def on_retry(self, listener: F) -> F: ...
    @overload
    def on_retry(self, *, task: str) -> Callable[[F], F]: ...
    @says_what_it_takes
    def on_retry(self, listener: Any = None, *, task: str | None = None) -> Any:
        """Hear (work, error, seconds until the next attempt) when an attempt has failed that is not the last.

        Args:
            listener: Absent when used as `@cue.on_retry(task="name")`.
            task: Hear of work units of this task alone.
        """
        return self._listen(Event.RETRY, listener, task)

    @overload
    def on_complete(self, listener: F) -> F: ...
    @overload
    def on_complete(self, *, task: str) -> Callable[[F], F]: ...
    @says_what_it_takes
    def on_complete(self, listener: Any = None, *, task: str | None = None) -> Any:
        """Hear (work, result, duration in seconds) when a handler has returned.

        Args:
            listener: Absent when used as `@cue.on_complete(task="name")`.
            task: Hear of work units of this task alone.
        """
        return self._listen(Event.COMPLETE, listener, task)

    @overload
    def on_failure(self, listener: F) -> F: ...
    @overload
    def on_failure(self, *, task: str) -> Callable[[F], F]: ...
    @says_what_it_takes
    def on_failure(self, listener: Any = None, *, task: str | None = None) -> Any:
        """Hear (work, error) when a work unit has failed: the handler raised in its last attempt, or a time-out struck.

        Args:
            listener: Absent when used as `@cue.on_failure(task="name")`.
            task: Hear of work units of this task alone.
        """
        return self._listen(Event.FAILURE, listener, task)

    @overload
    def on_skip(self, listener: F) -> F: ...
    @overload
    def on_skip(self, *, task: str) -> Callable[[F], F]: ...
    @says_what_it_takes
    def on_skip(self, listener: Any = None, *, task: str | None = None) -> Any:
        """Hear (work) when is_stale said that its output is up to date.

        Args:
            listener: Absent when used as `@cue.on_skip(task="name")`.
            task: Hear of work units of this task alone.
        """
        return self._listen(Event.SKIP, listener, task)

    @overload
    def on_cancel(self, listener: F) -> F: ...
    @overload
    def on_cancel(self, *, task: str) -> Callable[[F], F]: ...
    @says_what_it_takes
    def on_cancel(self, listener: Any = None, *, task: str | None = None) -> Any:
        """Hear (work) when it was cancelled.

        Args:
            listener: Absent when used as `@cue.on_cancel(task="name")`.
            task: Hear of work units of this task alone.
        """
        return self._listen(Event.CANCEL, listener, task)

    @overload
    def on_pending_warning(self, listener: F) -> F: ...
    @overload
    def on_pending_warning(self, *, task: str) -> Callable[[F], F]: ...
    @says_what_it_takes
    def on_pending_warning(self, listener: Any = None, *, task: str | None = None) -> Any:
        """Hear (work, seconds) when it has been pending for `pending_warn_after`. Replaces the default log line.

        Args:
            listener: Absent when used as `@cue.on_pending_warning(task="name")`.
            task: Hear of work units of this task alone.
        """
        return self._listen(Event.PENDING_WARNING, listener, task)

    @overload
    def on_stall_warning(self, listener: F) -> F: ...
    @overload
    def on_stall_warning(self) -> Callable[[F], F]: ...
    @says_what_it_takes
    def on_stall_warning(self, listener: Any = None) -> Any:
        """Hear (seconds_since_progress, pending_count) after `stall_warn_after`. Replaces the default log line.

        Args:
            listener: Absent when used as `@cue.on_stall_warning()`.
        """
        return self._listen(Event.STALL_WARNING, listener, None)

    def _listen(self, event: Event, listener: Any, task: str | None) -> Any:
        _check_is_no_name(listener)

        def register(call: Any) -> Any:
            self._listeners.listen(event, call, task)
            return call

        return register if listener is None else register(listener)

    @says_what_it_takes
    def observe(self, observer: Observer) -> Callable[[], None]:
        """Attach what watches this cue, at any time: before the start, while it runs, from inside a listener.

        If its class was defined anew (a notebook cell), it takes the place of those of the former one.

        Args:
            observer: Overrides what it wants to hear; see `Observer`. Its `attached()` is called at once.

        Returns:
            A function that ends it. After that nothing of the observer is called, and calling it again does nothing.

        Raises:
            ConfigurationError: It is no `Observer`, or has a method that cannot be called with what it would hear.
        """
        return self._listeners.observe(observer, self)

    @says_what_it_takes
    def start(self) -> None:
        """Begin to run work units in the running event loop. Returns at once; starting a started cue does nothing.

        Where it raises, nothing is started: it can be called again once that is mended.

        Raises:
            UsageError: No event loop is running, the cue is stopping, another started cue uses one of its executors, or
                the script is only imported, in a process for its handlers.
            WrongLoop: It is started in another loop that is still alive.
        """
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise UsageError(
                "start() needs a running event loop: call it inside an async function, e.g. one given to runcue.run()."
            ) from None
        self._intake.check_loop("start()")
        if "__mp_main__" in sys.modules:  # multiprocessing is about, or this is a process for handlers
            from runcue._lifecycle.main_program import check_not_imported  # noqa: PLC0415 - needed by few

            check_not_imported()
        if self._intake.is_open:
            if self._stopping.level is not None:
                raise UsageError("start() while the cue is stopping: await stop() first.")
            return
        if self._dispatcher.turns.failure is not None:
            raise self._dispatcher.turns.failed()
        self._registry.warn_of_unknown_tasks(self._warnings, self._listeners.bound())
        self._intake.prepare()
        try:
            self._dispatcher.start(loop, self._lifecycle)
            self._watched.start(loop.is_closed)
        except BaseException:
            self._dispatcher.detach()
            raise
        self._intake.begin(loop)
        self._lifecycle.begin()
        self._drops.start(self._intake, self._stopping)
        _started.add(self)

    @says_how_to_await("`await cue.stop()`", "`b.stop()`")
    async def stop(
        self,
        *misplaced: Never,
        drain: bool = True,
        timeout: float | str | timedelta | None = None,
        delayed: Literal["wait", "cancel"] = "wait",
        **unknown: Never,
    ) -> Summary:
        """Stop gracefully: let everything run that can, then cancel the rest.

        Rate waits, retries and delays are waited for; not so what is tried again without end, and what is submitted for
        later from now on, which is cancelled and listed in `summary.left`. When nothing can move any more, every work
        unit that is left is asked once more: what is up to date is skipped, what is not ready is cancelled, listed in
        the summary and logged as one warning.

        Args:
            *misplaced: None: the options are given by name.
            drain: False: start nothing more, cancel what is pending, wait for what is running. What must complete
                (`task(must_complete=True)`) runs all the same, with what it needs.
            timeout: After so long cancel what is running too. Threads cannot be ended; those that are still
                running are listed in `summary.abandoned`, and their work units are cancelled. What must complete is
                waited for, and the log says so; not with a time-out of 0.
            delayed: "cancel": do not wait for what was submitted for later (`delay=`, `run_at=`) and has not begun. A
                second call with it ends the waiting of the first.
            **unknown: None: an option that is misspelt is told.

        Returns:
            What became of the work units since `start()`.

        Raises:
            UsageError: Called from inside a handler or callback; or the cue was never started but holds work, which
                would be lost silently.
            CueFailed: The scheduler failed.
        """
        if misplaced or unknown:
            refuse_options(Cue.stop, unknown)
        drain = yes_or_no(drain, "drain of stop()")
        timeout = duration_or_none(timeout, "timeout of stop()", zero=True)
        if not is_one_of(delayed, ("wait", "cancel")):
            raise ConfigurationError(
                f'delayed of stop() must be "wait" or "cancel", not {words_of(delayed)}.'
            )
        return await self._stop(drain=drain, timeout=timeout, delayed=delayed)

    async def _stop(self, *, drain: bool = True, timeout: float | None = None, **options: Any) -> Summary:
        self._intake.check_loop("stop()")
        if self._intake.loop is None:
            if self._core.pending():
                raise UsageError(
                    f"stop() on a cue that was never started but holds "
                    f"{how_many(self._core.pending(), 'work unit', 'work units')}, which would be lost; "
                    "call start() first, or cancel what it holds."
                )
            return self._stopping.summary([], [])
        if self._intake.stopped:
            return self._stopping.last or self._stopping.summary([], [])
        self._registry.warn_of_unknown_tasks(self._warnings, self._listeners.bound())
        self._drops.look_through()
        return await self._stopping.stop(drain=drain, timeout=timeout, **options)

    @says_how_to_await("`await cue.drain()`", "`b.drain()`")
    async def drain(
        self, *misplaced: Never, timeout: float | str | timedelta | None = None, **unknown: Never
    ) -> Summary:
        """Wait until nothing that is pending can still run.

        The cue stays open. Work units that are not ready stay pending and are listed in `summary.blocked`.

        Args:
            *misplaced: None: the options are given by name.
            timeout: Wait no longer than that. Nothing is cancelled: what has not settled by then goes on,
                and is listed in `summary.left`.
            **unknown: None: an option that is misspelt is told.

        Raises:
            UsageError: Called from inside a handler or callback, or the cue is not started.
            CueFailed: The scheduler failed.
        """
        if misplaced or unknown:
            refuse_options(Cue.drain, unknown)
        self._intake.check_loop("drain()")
        timeout = duration_or_none(timeout, "timeout of drain()", zero=True)
        if not self._intake.is_open:
            raise UsageError("drain() needs a started cue: call start() first.")
        self._drops.look_through()
        return await self._stopping.drain(timeout)

    def __repr__(self) -> str:
        """What it is and what it holds: "<Cue started: 2 services, 3 tasks; 5 pending, 1 running, 4 completed>"."""
        core = self._core
        services, tasks = len(core.services), len(core.tasks)
        described = f"{how_many(services, 'service', 'services')}, {how_many(tasks, 'task', 'tasks')}"
        held = ", ".join(f"{number:,} {what}" for what, number in self.counts().items() if number)
        submissions = self._inquiry.waiting_for_room()
        waits = how_many(submissions, "submission waits", "submissions wait")
        also = f"; {waits} for room" if submissions else ""
        return f"<Cue {self._state()}: {described}; {held or 'no work yet'}{also}>"

    def _state(self) -> str:
        if self._dispatcher.turns.failure is not None:
            return "failed"
        if self._intake.loop is None:
            return "not started"
        if self._intake.stopped:
            return "stopped"
        return "started" if self._stopping.level is None else "stopping"

    def __enter__(self) -> NoReturn:
        """Say what to write instead."""
        raise UsageError(
            "A cue is used as `async with cue:`, inside an async function; where nothing is async, as "
            "`with runcue.blocking(cue) as b:`."
        )

    def __exit__(self, *error: object) -> None:
        """There is no getting here: `with` asks for it before it enters."""

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Drain and stop on a clean exit; cancel everything on an exception, but for one that comes of a stop."""
        is_stopping = self._intake.is_shut and not self._intake.stopped
        comes_of_stop = is_stopping and is_made_of(error, (CueStopped, WorkCancelled))
        if kind is None or comes_of_stop:
            try:
                if comes_of_stop:  # which lets what runs finish, and has cancelled what is waited for here
                    await self._until_stopped()
                else:
                    await self._stop(patient=True)
            except asyncio.CancelledError:
                # Whoever gives up waiting for the drain does not want it to go on behind their back.
                if not self._intake.stopped:
                    await self.stop(drain=False, timeout=0)
                raise
        elif not self._intake.stopped:
            await self.stop(drain=False, timeout=0)

    async def _submit(
        self, task: Any = NOTHING, params: Any = None, *misplaced: object, **options: Any
    ) -> WorkHandle:
        said = None
        if options or misplaced:
            if misplaced or not options.keys() <= OPTIONS.keys():
                _refuse_to_submit(params, misplaced, options)
            said = overrides_of(options)
        known = self._core.tasks.get(task) if type(task) is str else None
        if known is None:
            known = self._registry.find(task)
        intake = self._intake
        if intake.loop is None:
            intake.meet(_running_loop())
        elif _running_loop_if_any() is not intake.loop:
            intake.check_loop("submit()")
        if self._stopping.level is not None or self._dispatcher.turns.failure is not None:
            intake.check_open(_copy_context(), known, None if said is None else said.must_complete)
        taken = dict(params) if type(params) is dict else {} if params is None else take_over(params)
        if known.parameters is not None:
            taken = known.parameters.fill(taken)
        if said is None and known.says_per_work:
            said = NO_OVERRIDES
        if intake.room is not None:
            known, taken = await self._entrance.make_room(known, taken, said)
            if said is None and known.says_per_work:
                said = NO_OVERRIDES  # it was defined anew meanwhile
        work = intake.admit(known, taken, _copy_context(), said)
        # As handle_of() does it, which would cost a call.
        handle: WorkHandle = _new_handle(WorkHandle, work.id)
        handle.work = work
        return handle

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
    @says_how_to_await("`await cue.submit(...)`, in a plain handler `work.submit(...)`", "`b.submit(...)`")
    @carried_out_by(_submit)
    async def submit(
        self,
        task: str | Callable[..., Any] = NOTHING,
        params: Mapping[str, Any] | None = None,
        *misplaced: Never,
        inputs: Artifacts = None,
        outputs: Artifacts = None,
        fresh: Freshness | None = DEFAULT,
        key: Hashable = None,
        lane: Hashable = None,
        duplicate: Literal["join", "error"] | None = None,
        force: bool = False,
        priority: float | None = None,
        timeout: float | str | timedelta | None = None,
        retry: int | Policy | None = None,
        must_complete: bool | None = None,
        cost: Cost = None,
        delay: float | str | timedelta | None = None,
        run_at: float | datetime | None = None,
        metadata: Mapping[Any, Any] | None = None,
        wait: bool = True,
        **unknown: Never,
    ) -> WorkHandle:
        """Add a work unit to the pending set. Asks no gate, and waits for nothing but room (`Cue(max_pending=)`).

        Args:
            task: The name of a registered task, or its handler.
            params: A mapping, copied: a later change of it is not seen by the handler.
            *misplaced: None: params that are given one by one are told.
            inputs: As for `task()`, for this work unit alone.
            outputs: As for `task()`, for this work unit alone.
            fresh: As for `task()`, for this work unit alone.
            key: As for `task()`, for this work unit alone.
            lane: As for `task()`, for this work unit alone. One in another lane cannot be joined.
            duplicate: As for `task()`, for this work unit alone.
            force: Run it even if it is up to date.
            priority: How urgent it is, 0.0 to 1.0, whatever its task or `@cue.priority` says. One that joins another
                work unit lends it that, if it is more.
            timeout: As for `task()`, for this work unit alone; `math.inf`: no limit. Of one that joins another work
                unit that one's counts.
            retry: As for `task()`, for this work unit alone; 1: there is one attempt. Of one that joins another work
                unit that one's counts.
            must_complete: As for `task()`, for this work unit alone. One that joins another work unit lends it that.
            cost: As for `task()`, for this work unit alone. One that joins another work unit takes nothing.
            delay: Let it begin so much later at the earliest: seconds, a timedelta, or text such as "5s". Until then it
                is asked nothing and holds nothing; its age and its place among others count from then.
            run_at: The same for an instant of the wall clock: a datetime with a time zone, or a Unix timestamp. One
                that has passed is now.
            metadata: What you want to know of it, a dict, copied: `work.metadata`, for whoever listens or observes, in
                `why()`, and of log records the attribute `metadata`, by id. It decides nothing.
            wait: Whether to wait for room where `Cue(max_pending=)` work units are pending. False: `CueFull`.
            **unknown: None: an option that is misspelt is told.

        Returns:
            The work's id as a str that can also be waited on.

        Raises:
            UnknownTask: The task is not registered (also a ValueError).
            InvalidParams: params is no mapping or not what the handler takes, or there is no such option.
            ConfigurationError: Another value cannot work.
            DuplicateWork: Another pending or running work unit makes the same and cannot be joined.
            CueStopped: The cue has been stopped, or is stopping and this is not a handler or listener of it.
            CueFull: There is no room, and it is not to wait (also an `asyncio.QueueFull`).
            UsageError: It would have to wait for room, and the cue is not started.
            WrongLoop: Called in another event loop than the one the cue was started in.
            CueFailed: The scheduler failed.
        """
        raise AssertionError

    # Without the work and with it first, which is not given; of an `async def` what it returns is awaited.
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
    @says_how_to_await("`await cue.call(...)`, in a plain handler `work.submit(...)`", "`b.call(...)`")
    async def call(self, function: Any = NOTHING, /, *args: Any, **kwargs: Any) -> WorkHandle:
        """Submit a call: the params are the values that the function is called with, its work unit apart.

        They are bound as Python binds them, with the defaults put in. A function that is no handler of a task yet is
        registered as one, under its own name, as a bare `@cue.task` does. Options go with
        `submit(function, params=..., ...)`.

        Args:
            function: The handler of a task, or what is to be one; or the name of a task.
            *args: What it is called with.
            **kwargs: Likewise, by name.

        Returns:
            As for `submit()`; to await it gives what the function returns.

        Raises:
            InvalidParams: The function cannot be called so.
            ConfigurationError: It can be no handler, or takes one value alone and does not say whether that is its work
                unit: annotate it, or call it work.
            DuplicateTask: Another function is registered under that name.
            DuplicateWork, CueStopped, WrongLoop, CueFailed: As for `submit()`.
        """
        known = self._registry.task_for_call(function)
        params = params_of_call(known, args, kwargs)
        if known.run_queue is None:
            known = self._registry.enter(known)
        return await self._submit(known.name, params)

    @overload
    def map(
        self,
        function: str | Callable[..., Any],
        /,
        *iterables: AnyIterable,
        window: int = ...,
        ordered: bool = ...,
        values: Literal[False] = ...,
    ) -> Map[Work]: ...
    @overload
    def map(
        self,
        function: Callable[..., Awaitable[R]],
        /,
        *iterables: AnyIterable,
        window: int = ...,
        ordered: bool = ...,
        values: Literal[True],
    ) -> Map[R]: ...
    @overload
    def map(
        self,
        function: Callable[..., R],
        /,
        *iterables: AnyIterable,
        window: int = ...,
        ordered: bool = ...,
        values: Literal[True],
    ) -> Map[R]: ...
    @overload
    def map(
        self,
        function: str | Callable[..., Any],
        /,
        *iterables: AnyIterable,
        window: int = ...,
        ordered: bool = ...,
        values: bool,
    ) -> Map[Any]: ...
    @says_what_it_takes
    def map(
        self,
        function: Any = NOTHING,
        /,
        *iterables: AnyIterable,
        window: int = 200,
        ordered: bool = False,
        values: bool = False,
    ) -> Map[Any]:
        """Submit one work unit for each item of iterables, lazily, and give each when it has settled: `async for`.

        Like the built-in `map`: one iterable for each parameter of a function, the shortest ends it. They may be async.
        Items are pulled, in the event loop, as the work units that there are settle and are taken. What `submit()`
        would raise for an item is given as a work unit that has failed. A function that is no handler of a task yet is
        registered as one, as by `call()`.

        Args:
            function: The handler of a task, or what is to be one; or the name of a task.
            *iterables: One for each parameter that is to be filled. For the name of a task, and for a handler that
                takes its work unit alone, a single one of params, a mapping each.
            window: How many have been submitted and not given yet at the most, in order, too.
            ordered: Give them in the order of their items, instead of that in which they settle.
            values: Give what the handlers have returned, instead of work units. The first failure then is raised and
                ends it, and so does the cancellation of one.

        Returns:
            An async iterator, which is an async context manager as well: to leave it early write `async with
            cue.map(...) as works:`, which cancels what is left at its end.

        Raises:
            ConfigurationError: A value cannot work; one of the iterables is none, or a single text; with `values=True`,
                the task has `outputs=` and no `load=`.
            InvalidParams: The function cannot be called with so many values.
            UnknownTask: There is no task of that name.

        Example:
            >>> import runcue
            >>> async def half(number: int) -> float:
            ...     return number / 2
            >>> async def main():
            ...     async with runcue.Cue() as cue:
            ...         return [value async for value in cue.map(half, range(4), ordered=True, values=True)]
            >>> runcue.run(main)
            [0.0, 0.5, 1.0, 1.5]
        """
        from runcue._api.many import Map  # noqa: PLC0415 - for those who use it

        options = {"window": window, "ordered": ordered, "values": values}
        return Map(self._intake, self._dispatcher, self._registry, function, iterables, **options)

    @says_what_it_takes
    def group(self, *, fail: Literal["all", "first", "never"] = "all") -> Group:
        """Work units that are waited for together: `async with cue.group() as group:`.

        What is submitted by `group.submit()` and `group.call()` has settled at the end of the `async with`. If its body
        raises, what is left is cancelled.

        Args:
            fail: What failures do. "all": when all have settled, they are raised in an `ExceptionGroup`. "first": the
                first one cancels the rest and is raised, by the next call of the group or at its end. "never": nothing;
                `group.summary` tells of them.

        Raises:
            ConfigurationError: A value cannot work.

        Example:
            >>> import runcue
            >>> async def half(number: int) -> float:
            ...     return number / 2
            >>> async def main():
            ...     async with runcue.Cue() as cue:
            ...         async with cue.group() as group:
            ...             for number in range(4):
            ...                 await group.call(half, number)
            ...         return group.summary.counts["completed"]
            >>> runcue.run(main)
            4
        """
        from runcue._api.group import Group  # noqa: PLC0415 - for those who use it

        return Group(self._intake, self._dispatcher, self._submit, self.call, fail)

    def _submit_threadsafe(
        self, task: Any = NOTHING, params: Any = None, *misplaced: object, **options: Any
    ) -> WorkHandle:
        return self._submit_elsewhere(task, params, misplaced, options, inside=False)

    def _submit_elsewhere(
        self, task: Any, params: Any, misplaced: tuple[object, ...], options: dict[str, Any], *, inside: bool
    ) -> WorkHandle:
        if misplaced or not options.keys() <= OPTIONS.keys():
            _refuse_to_submit(params, misplaced, options)
        said = overrides_of(options)
        known = self._registry.find(task)
        taken = params_for(known, params)
        if said is None and known.says_per_work:
            said = NO_OVERRIDES
        return self._entrance.admit_threadsafe(known, taken, _copy_context(), said, inside=inside)

    # What the function returns is what the handle gives; of an `async def`, what that is awaited for.
    @overload
    def submit_threadsafe(
        self,
        task: Callable[..., Awaitable[R]],
        params: Mapping[str, Any] | None = None,
        **options: Unpack[SubmitOptions],
    ) -> WorkHandle[R]: ...
    @overload
    def submit_threadsafe(
        self,
        task: Callable[..., R],
        params: Mapping[str, Any] | None = None,
        **options: Unpack[SubmitOptions],
    ) -> WorkHandle[R]: ...
    @overload
    def submit_threadsafe(
        self, task: str, params: Mapping[str, Any] | None = None, **options: Unpack[SubmitOptions]
    ) -> WorkHandle: ...
    @carried_out_by(_submit_threadsafe)
    def submit_threadsafe(
        self,
        task: str | Callable[..., Any] = NOTHING,
        params: Mapping[str, Any] | None = None,
        *misplaced: Never,
        inputs: Artifacts = None,
        outputs: Artifacts = None,
        fresh: Freshness | None = DEFAULT,
        key: Hashable = None,
        lane: Hashable = None,
        duplicate: Literal["join", "error"] | None = None,
        force: bool = False,
        priority: float | None = None,
        timeout: float | str | timedelta | None = None,
        retry: int | Policy | None = None,
        must_complete: bool | None = None,
        cost: Cost = None,
        delay: float | str | timedelta | None = None,
        run_at: float | datetime | None = None,
        metadata: Mapping[Any, Any] | None = None,
        wait: bool = True,
        **unknown: Never,
    ) -> WorkHandle:
        """Submit from another thread than the event loop's. Returns when the work has been added.

        Args:
            task: As for `submit()`.
            params: As for `submit()`.
            *misplaced: As for `submit()`.
            inputs: As for `submit()`.
            outputs: As for `submit()`.
            fresh: As for `submit()`.
            key: As for `submit()`.
            lane: As for `submit()`.
            duplicate: As for `submit()`.
            force: As for `submit()`.
            priority: As for `submit()`.
            timeout: As for `submit()`.
            retry: As for `submit()`.
            must_complete: As for `submit()`.
            cost: As for `submit()`.
            delay: As for `submit()`.
            run_at: As for `submit()`.
            metadata: As for `submit()`.
            wait: As for `submit()`; it is this thread that waits. `work.submit()` does not wait.
            **unknown: None: an option that is misspelt is told.

        Raises:
            UsageError: Called in the event loop's own thread, or the cue is not started.
            UnknownTask, InvalidParams, DuplicateWork, CueStopped, CueFailed: As for `submit()`.
        """
        raise AssertionError

    def _submit_from_handler(
        self, task: Any, params: Mapping[str, Any] | None, *misplaced: Never, **options: Any
    ) -> str:
        self._intake.check_thread()
        return self._submit_elsewhere(task, params, misplaced, options, inside=True)

    @says_how_to_await("`await cue.get(...)`", "`b.get(...)`")
    async def get(self, work_id: str | Work = NOTHING, *misplaced: Never, **unknown: Never) -> Work | None:
        """The work of that id, None if the cue does not know it (any more)."""
        if misplaced or unknown:
            refuse_options(Cue.get, unknown)
        self._intake.check_loop("get()")
        return self._inquiry.known(work_id)

    @says_how_to_await("`await cue.list(...)`", "`b.list(...)`")
    async def list(
        self,
        *misplaced: Never,
        state: WorkState | None = None,
        task: str | Callable[..., Any] | None = None,
        limit: int | None = None,
        after: str | Work | None = None,
        **unknown: Never,
    ) -> builtins.list[Work]:
        """Work units in submission order: all that are unsettled, and of the settled ones as many as `Cue(keep=)` says.

        Args:
            *misplaced: None: the options are given by name.
            state: Only work units in this state.
            task: Only work units of the task of this name, or of this handler.
            limit: At most so many; None: all.
            after: Only what was submitted after this one, an id, handle or Work, to go through them page by page. The
                cue need not know it any more: its id has its place.
            **unknown: None: an option that is misspelt is told.

        Raises:
            ConfigurationError: A value cannot work.
            LookupError: `after` is no work unit of this cue, or there is no such task.
        """
        if misplaced or unknown:
            refuse_options(Cue.list, unknown)
        self._intake.check_loop("list()")
        if limit is not None:
            limit = whole_number(limit, "limit of list()", 0)
        if state is not None and not isinstance(state, WorkState):
            raise ConfigurationError(
                f"state of list() must be a runcue.WorkState, such as WorkState.FAILED, not {words_of(state)}."
            )
        if task is not None:
            task = self._registry.find(task if callable(task) else check_name(task, "task")).name
        return self._inquiry.known_works(state, task, limit, after)

    @overload
    def counts(self, *, by: None = None) -> dict[str, int]: ...
    @overload
    def counts(self, *, by: Literal["task"]) -> dict[str, dict[str, int]]: ...
    @says_what_it_takes
    def counts(self, *, by: Literal["task"] | None = None) -> dict[str, Any]:
        """How many work units are pending and running, and how many have completed, failed and so on since `start()`.

        It goes through none of them, so it may be asked as often as one likes; before the start and after a stop, too.

        Args:
            by: "task": such a dict for each task.

        Returns:
            Numbers under the keys "pending", "running", "completed" (a handler returned), "skipped", "failed" and
            "cancelled". Who has joined a work unit that runs counts as running.

        Raises:
            ConfigurationError: `by` is something else.

        Example:
            >>> import runcue
            >>> cue = runcue.Cue()
            >>> cue.counts()
            {'pending': 0, 'running': 0, 'completed': 0, 'skipped': 0, 'failed': 0, 'cancelled': 0}
        """
        return self._inquiry.counts(by)

    @says_how_to_await("`await cue.cancel(...)`", "`b.cancel(...)`")
    async def cancel(self, work_id: str | Work = NOTHING, *misplaced: Never, **unknown: Never) -> bool:
        """Cancel a pending or running work unit; it settles at once.

        An async handler is cancelled. A thread cannot be: it goes on, holding its slot, and can see `work.cancelled`.

        Returns:
            Whether it was still unsettled.
        """
        if misplaced or unknown:
            refuse_options(Cue.cancel, unknown)
        self._intake.check_loop("cancel()")
        work = self._inquiry.known(work_id)
        if work is None or work._phase == SETTLED:
            return False
        return bool(call_inside(self._dispatcher, self._dispatcher.settlement.cancel, work))

    @says_how_to_await("`await cue.retry(...)`", "`b.retry(...)`")
    async def retry(self, work_id: str | Work = NOTHING, *misplaced: Never, **unknown: Never) -> WorkHandle:
        """Submit once more what has failed or was cancelled: a new work unit with the same params and options.

        Its `retry_of` is the id of the old one, whose end stays what it was. It begins as soon as it can, whatever the
        old one was submitted to wait for.

        Args:
            work_id: The id, handle or Work of the old one.
            *misplaced: None: what else is given is told.
            **unknown: None: an option that is misspelt is told.

        Returns:
            As for `submit()`.

        Raises:
            UnknownWork: The cue does not know such a work unit (any more).
            UsageError: It is pending, running, skipped or completed.
            DuplicateWork, CueStopped, WrongLoop, CueFailed: As for `submit()`.
        """
        if misplaced or unknown:
            refuse_options(Cue.retry, unknown)
        self._intake.check_loop("retry()")
        work, intake = self._inquiry.ended_in_vain(work_id), self._intake
        if intake.room is not None:
            await self._entrance.make_room(self._registry.find(work.task), {}, None)
        return intake.admit_once_more(work, _copy_context())

    @says_what_it_takes
    def nudge(self, what: str | bytes | os.PathLike[str] | Artifact | None = None) -> None:
        """Say that something outside changed, so that work units that wait for their inputs are asked again now.

        May be called from any thread; in particular by whoever made the change.

        Args:
            what: The artifact, or the path of the file, that changed. Of the work units that are known to wait for
                certain artifacts only those are asked that wait for this one, for a folder that it is in, or, if it is
                a folder, for something in it; those of which nothing is known are asked too. Of a link what it leads to
                counts as changed as well. None: everything that waits is asked.
        """
        self._dispatcher.turns.check_process("nudge()")
        keys: tuple[Hashable, ...] | None = None
        if what is not None:
            artifact = what if isinstance(what, Artifact) else File(path_text(what, "nudge()"))
            pointed = artifact.pointed() if isinstance(artifact, File) else ()
            keys = tuple(map(key_of, (artifact, *pointed)))
        self._dispatcher.changes.nudge(keys)

    @says_what_it_takes
    def watch(
        self,
        folder: str | bytes | os.PathLike[str],
        *,
        recursive: bool = True,
        submit: str | Callable[..., Any] | None = None,
        pattern: str | None = None,
    ) -> None:
        """Notice changes that others make to files in a folder, and wake the work units that wait for these files.

        With `submit=` the folder is an inbox: each file in it is submitted to that task as the param `path`, at the
        start, and then each that is new or has changed, once it has looked the same for a second. Its path begins as
        the folder is given here. What the task declares as outputs or writes by `work.write()` is not submitted to it,
        nor is anything of runcue's own; a later process knows only what is declared. While a work unit is on its way
        with a file, other changes of that file wait for its end.

        It takes the package watchfiles: `pip install runcue[watch]`. The operating system tells of changes within some
        30 ms; where it cannot, that is logged once, and the folder is looked through about three times a second, less
        often if it is large. It begins with `start()`, ends with `stop()`, and keeps no drain waiting.

        Args:
            folder: It must exist.
            recursive: Also what is in its folders.
            submit: The name of a task, its handler, or a function that is registered by that, such as
                `def convert(path: str)`.
            pattern: Submit only files whose names match this, such as "*.pdf".

        Raises:
            ConfigurationError: It is no folder, its name is no UTF-8, watchfiles is not installed, or another value
                cannot work.
            UnknownTask: The task is not registered.
            InvalidParams: Its handler does not take `path`, or not that alone, or not as a text.
        """
        folder, recursive = path_text(folder, "watch()"), yes_or_no(recursive, "recursive")
        if submit is None and pattern is None:
            self._watched.add(folder, recursive=recursive)
            return
        from runcue._registration.feeding import check_fed, check_pattern, task_fed  # noqa: PLC0415 - few do

        pattern = check_pattern(pattern, submits=submit is not None)
        check_fed(self._registry, submit)
        self._watched.add(folder, recursive=recursive, as_spelled=True)
        task = task_fed(self._registry, submit)
        self._intake.in_loop(lambda: self._drops.add(folder, task, pattern, recursive=recursive))

    @says_what_it_takes
    def debug_blocked(self) -> builtins.list[dict[str, Any]]:
        """Why work units are pending, oldest first.

        Returns:
            One dict per blocked work: "work" (the Work), "reason" ("not_ready", "service_full", "not_due" or
            "unknown_task"), "details" (one line for a person, with the root of it) and "next_step" (what to do about
            that; "" if there is nothing to be done). Work units that are about to start are not in it.
            Of the first thousand all is looked at; what very many have in common, `print(cue.why())` says.
        """
        return self._inquiry.blocked()

    @says_what_it_takes
    def plan(self, submissions: Iterable[Written] | None = None) -> Plan:
        """What would become of work units if they were submitted: a dry run. `print()` the answer.

        Nothing is submitted, no handler and no listener is called, and the cue is as before. is_ready and is_stale are
        asked once about work units whose inputs no other one is about to make anew; what comes after those is told from
        what is declared. Nobody is asked for a priority. May be called without an event loop, and before `start()`.

        Args:
            submissions: Tasks (names or handlers), (task, params), or mappings with the key "task" and, as needed,
                params and what else `submit()` takes. They are planned together with all work units that are pending.

        Raises:
            UnknownTask, InvalidParams, ConfigurationError: As for `submit()`, with the number of the submission, from
                1. What would be a `DuplicateWork` is listed in `Plan.problems` instead.

        Example:
            >>> import runcue
            >>> cue = runcue.Cue()
            >>> @cue.task("bake", inputs="no/such/dough", outputs="bread")
            ... def bake(work): ...
            >>> print(cue.plan(["bake"]))
            Plan: 1 is blocked
            <BLANKLINE>
            Blocked:
              bake #1  input File('no/such/dough') is missing, and nothing planned makes it
        """
        from runcue._dispatch.outside_tasks import outside_tasks  # noqa: PLC0415
        from runcue._planning.planner import make_plan  # noqa: PLC0415

        return outside_tasks(
            None,
            make_plan,
            self._core,
            self._registry,
            self._dispatcher.flags,
            submissions,
            self._dispatcher.turns.now(),
            self._dispatcher.turns.wall(),
            self._core.ordered,
        )

    @says_what_it_takes
    def graph(self, of: Literal["tasks", "works"] = "tasks", *, limit: int = 200) -> str:
        """A Mermaid flowchart of tasks or work units and the artifacts between them, coloured by state.

        GitHub, GitLab and most editors draw it in a Markdown block that begins with "```mermaid", and so does
        https://mermaid.live. It shows the work units that the cue knows: those that are unsettled, and of the settled
        ones as many as `Cue(keep=)` says. Artifacts are asked whether they are valid.

        Args:
            of: "tasks": each task with the number of its work units in each state, and the artifacts between two
                tasks together. A task whose artifacts are given by functions stands alone until it has some. "works":
                each work unit with its params.
            limit: At most so many nodes; what is left out is counted in a note. Mermaid by itself draws no more than
                500 links and 50,000 characters, so neither does this.

        Raises:
            ConfigurationError: A value cannot work.

        Example:
            >>> import runcue
            >>> cue = runcue.Cue()
            >>> @cue.task("bake", inputs="no/such/dough")
            ... def bake(work): ...
            >>> print(cue.graph())
            flowchart LR
                t1["bake"]:::idle
                a2(["no/such/dough"]):::missing
                a2 --> t1
                classDef idle fill:#ffffff,stroke:#adb5bd,color:#212529
                classDef missing fill:#ffffff,stroke:#868e96,color:#495057,stroke-dasharray:5 4
            <BLANKLINE>
        """
        from runcue._dispatch.outside_tasks import outside_tasks  # noqa: PLC0415
        from runcue._explain.graph import draw  # noqa: PLC0415

        return outside_tasks(None, draw, self._core, self._dispatcher.flags, of, limit)

    @overload
    def why(self) -> WhyAll: ...
    @overload
    def why(self, work_id: str | Work) -> Why: ...
    @says_what_it_takes
    def why(self, work_id: str | Work = DEFAULT) -> Why | WhyAll:
        """Why a work unit is where it is: the binding reason, followed to the root of it. `print()` the answer.

        Args:
            work_id: The id, handle or Work. Without one, all that waits is put together by what it waits for in the
                end, each group with the one thing to do.

        Raises:
            LookupError: The cue does not know such a work unit (any more).
        """
        return self._inquiry.why_all() if work_id is DEFAULT else self._inquiry.why(work_id)

    @says_what_it_takes
    def why_stale(self, work: str | Work) -> WhyStale:
        """Which input or output made a work unit run, or why it did not have to. `print()` the answer.

        Args:
            work: The id, handle or Work.

        Raises:
            LookupError: The cue does not know such a work unit (any more).
        """
        return self._inquiry.why_stale(work)

    def _interrupt(self, *, kill: bool) -> None:
        """Begin to stop, without waiting: finish what is running, or cancel that too."""
        self._stopping.interrupt(kill=kill)

    async def _until_stopped(self) -> None:
        await self._stopping.stopped()

    def _ended(self) -> None:
        """A stop is complete."""
        _started.discard(self)
        self._watched.stop()
        self._drops.stop()
        self._intake.end()


def _check_is_no_name(callback: object) -> None:
    if isinstance(callback, str):
        raise ConfigurationError(
            f"A callback must be callable, not {words_of(callback)}; for the work units of one task alone write "
            f"task={words_of(callback)}."
        )


def _refuse_to_submit(
    params: object, misplaced: tuple[object, ...], options: Mapping[str, object]
) -> NoReturn:
    """Refuse what a submission does not take. Most likely these are params."""
    if misplaced:
        values = ", ".join(map(words_of, (params, *misplaced)))
        raise InvalidParams(
            f'submit() takes params as one mapping, such as {{"page": 1}}, and not as several values: {values}.'
        )
    options = {name: value for name, value in options.items() if name not in OPTIONS}
    if all(nearest(option, ("params", *OPTIONS)) for option in options):
        refuse_options(Cue.submit, options, InvalidParams)
    written = ", ".join(f"{name!r}: {words_of(value)}" for name, value in options.items())
    raise InvalidParams(
        f"submit() has no option {next(iter(options))}=; params are given as one mapping: params={{{written}}}."
    )


def cues_in(loop: asyncio.AbstractEventLoop) -> builtins.list[Cue]:
    """The cues that are started in a loop."""
    return [cue for cue in _started if cue._intake.loop is loop and not cue._intake.stopped]
