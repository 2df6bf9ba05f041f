"""The nouns: a work (one request), its states and phases, and a task (a registered handler).

Lives here: what a work and a task carry. All state is changed by `_core`, by its one setter; users read.

Must not know: limits, order, time, event loops.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, Final

from runcue._errors import words_of

__all__ = ["DEFAULT_PRIORITY", "PriorityContext", "Summary", "Task", "Work", "WorkState"]

DEFAULT_PRIORITY: Final = 0.5


class WorkState(Enum):
    """What a user sees of a work's life."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


# Where a work is, finer than its state; plain ints because the core compares them on its hottest path.
FRESH: Final = 0
"""Pending, not asked yet."""
READY: Final = 1
"""Pending, both questions were answered yes; waits for a slot or a token."""
WAITING: Final = 2
"""Pending, is_ready said no."""
ASKING: Final = 3
"""Pending, an async gate is being awaited; holds a slot."""
RUNNING: Final = 4
"""The handler runs."""
SETTLED: Final = 5
"""Completed, failed, skipped or cancelled."""


# How a work can end; indexes into what is kept per outcome.
COMPLETED: Final = 0
SKIPPED: Final = 1
FAILED: Final = 2
CANCELLED: Final = 3
OUTCOMES: Final = ("completed", "skipped", "failed", "cancelled")

_STATES = (WorkState.COMPLETED, WorkState.COMPLETED, WorkState.FAILED, WorkState.CANCELLED)


class Work:
    """One request: run this task with these params.

    Handlers and callbacks receive it; `get()` and `list()` return it. Read it, do not change it: the scheduler owns it.

    Attributes:
        id: Unique within the process, short, as text.
        task: The name of its task.
        params: What was submitted, taken over at that time. A new dict; its values are the caller's objects.
        attempt: 1 for the first attempt.
        created_at: Wall-clock time of the submission, seconds since the epoch.
        started_at: The same for the start, None before it.
        completed_at: The same for the moment it settled, None before it.
        cancelled: Tells a running handler that nobody waits for it any more: its work was cancelled or timed out.
            A sync handler that runs for long should look at it now and then, since a thread cannot be interrupted.
    """

    __slots__ = (
        "__weakref__",
        "_answer",
        "_asked",
        "_context",
        "_entered",
        "_key",
        "_looked",
        "_outcome",
        "_phase",
        "_runner",
        "_seq",
        "_since",
        "_task",
        "_value",
        "_waiters",
        "attempt",
        "cancelled",
        "completed_at",
        "created_at",
        "id",
        "params",
        "started_at",
        "task",
    )

    _task: Task
    # As of the submission; never run in, but copied for the run. Gone when the work has settled.
    _context: Any
    # Things of the event loop that are merely carried here: the asyncio task that runs the work, the futures of those
    # who wait for it.
    _runner: Any
    _waiters: list[Any] | None
    _key: float
    _seq: int
    _since: float
    _entered: float

    # Set when it settles: how, and the handler's result or the error.
    _outcome: int
    _value: Any

    def __init__(
        self, id: str, task: str, params: dict[str, Any] | None = None, created_at: float = 0.0
    ) -> None:
        self.id = id
        self.task = task
        self.params = {} if params is None else params
        self.created_at = created_at
        self.attempt = 1
        self.cancelled = False
        self.started_at: float | None = None
        self.completed_at: float | None = None
        self._phase = FRESH
        # The core's moment when the gate last said yes; -1: not asked.
        self._asked = -1
        # The pass over waiting works in which is_ready was asked last.
        self._looked = 0
        # What is_ready last said when it said no: a reason, or the exception it raised.
        self._answer: str | BaseException | None = None
        self._waiters = self._runner = None

    @property
    def state(self) -> WorkState:
        """What a user sees of its life. A skipped work is COMPLETED."""
        phase = self._phase
        if phase == SETTLED:
            return _STATES[self._outcome]
        return WorkState.RUNNING if phase == RUNNING else WorkState.PENDING

    @property
    def skipped(self) -> bool:
        """Whether is_stale said that there was nothing to do."""
        return self._phase == SETTLED and self._outcome == SKIPPED

    @property
    def result(self) -> Any:
        """What the handler returned, None before that."""
        return self._value if self._phase == SETTLED and self._outcome == COMPLETED else None

    @property
    def exception(self) -> BaseException | None:
        """Why it failed, None otherwise. It holds no frames once the listeners have heard it."""
        return self._value if self._phase == SETTLED and self._outcome == FAILED else None

    @property
    def error(self) -> str | None:
        """The exception as text, None unless the work failed."""
        exception = self.exception
        return None if exception is None else words_of(exception)

    def submit(self, task: str | Callable[..., Any], *, params: Mapping[str, Any] | None = None) -> str:
        """Submit more work from inside a sync handler.

        Args:
            task: The name of a task, or its handler.
            params: As for `Cue.submit`.

        Returns:
            The handle of the new work, a str equal to its id.

        Raises:
            UsageError: Called in the event loop: there it is `await cue.submit(...)`.
        """
        return self._task.submitter(task, params)

    def __repr__(self) -> str:
        state = "skipped" if self.skipped else self.state.value
        return f"<Work {self.id} {self.task} {state}>"


class Task:
    """A registered handler and what the scheduler keeps per task.

    Attributes:
        name: Unique within its cue.
        handler: The user's function, as given.
        services: Names of the services it uses, may be empty.
        timeout: Seconds a run may take, None for no limit.
        is_async: Whether the handler runs in the event loop rather than in a thread.
    """

    __slots__ = (
        "dead_waiting",
        "dispatcher",
        "gate_is_async",
        "gated",
        "handler",
        "is_async",
        "is_ready",
        "is_stale",
        "name",
        "route",
        "services",
        "submitter",
        "timeout",
        "waiting",
        "wakes",
    )

    def __init__(
        self,
        name: str,
        handler: Callable[[Work], Any],
        services: tuple[str, ...],
        timeout: float | None,
        is_async: bool,
    ) -> None:
        self.name = name
        self.handler = handler
        self.services = services
        self.timeout = timeout
        self.is_async = is_async
        self.is_ready: Callable[[Work], Any] | None = None
        self.is_stale: Callable[[Work], Any] | None = None
        self.gated = False
        # Learned by looking at what the gate returned, never assumed for good.
        self.gate_is_async = False
        self.waiting: deque[Work] = deque()
        self.dead_waiting = 0
        # Tasks whose waiting works became ready after a settlement of this one, with the fruitless looks since.
        self.wakes: dict[Task, int] = {}
        self.route: Any = None
        # Those of the shell that a work has to be able to reach.
        self.dispatcher: Any = None
        self.submitter: Callable[[Any, Mapping[str, Any] | None], str] = _no_submitter

    @property
    def service(self) -> str | None:
        """The first of its services, None when it uses none."""
        return self.services[0] if self.services else None

    def __repr__(self) -> str:
        return f"<Task {self.name}>"


def _no_submitter(task: Any, params: Mapping[str, Any] | None) -> str:
    raise RuntimeError("This task belongs to no cue.")


class PriorityContext:
    """What a priority callback is asked with.

    Attributes:
        work: The work in question.
        wait_time: Seconds since it was submitted.
        queue_depth: How many works are pending, this one included.
    """

    __slots__ = ("queue_depth", "wait_time", "work")

    def __init__(self, work: Work, wait_time: float, queue_depth: int) -> None:
        self.work = work
        self.wait_time = wait_time
        self.queue_depth = queue_depth

    def __repr__(self) -> str:
        return (
            f"PriorityContext({self.work!r}, wait_time={self.wait_time:.3f}, queue_depth={self.queue_depth})"
        )


class Summary:
    """What became of the works of a cue since it was started.

    Attributes:
        counts: How many works ended how: keys "completed" (a handler returned), "skipped", "failed", "cancelled".
        failed: The failed works, oldest first, as far as the cue still keeps them (`Cue(keep=)`).
        blocked: Works that could not run, as `debug_blocked()` describes them. After `drain()` they are still pending;
            after `stop()` they have been cancelled.
        abandoned: Works whose handlers were still running when a time-out of `stop()` struck and that could not be
            ended: threads, and coroutines that suppress their cancellation.
        deadlocked: Works whose handlers wait for another work of the same cue that could never run.
        duration: Seconds since the start.
    """

    __slots__ = ("abandoned", "blocked", "counts", "deadlocked", "duration", "failed")

    def __init__(
        self,
        counts: dict[str, int],
        failed: list[Work],
        blocked: list[dict[str, Any]],
        duration: float,
        abandoned: list[Work] | None = None,
        deadlocked: list[Work] | None = None,
    ) -> None:
        self.counts = counts
        self.failed = failed
        self.blocked = blocked
        self.duration = duration
        self.abandoned = abandoned or []
        self.deadlocked = deadlocked or []

    @property
    def ok(self) -> bool:
        """Whether everything was completed or skipped."""
        return not (self.counts["failed"] or self.counts["cancelled"] or self.blocked)

    def __str__(self) -> str:
        parts = [f"{number} {what}" for what, number in self.counts.items() if number] or ["nothing ran"]
        if self.blocked:
            parts.append(f"{len(self.blocked)} blocked")
        return f"{', '.join(parts)} in {self.duration:.2f} s"

    def __repr__(self) -> str:
        return f"<Summary {self}>"
