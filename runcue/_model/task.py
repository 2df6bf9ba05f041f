"""The noun: a task, a registered handler under its name.

Lives here: what a task carries, and the line of its work units that wait for their inputs.

Must not know: what a work unit is, but that it has a phase: it stands below. Limits, order, time, event loops.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from math import inf
from typing import Any

from runcue._model.phases import NOT_READY, OUTCOMES
from runcue._model.texts import shortened

__all__ = ["Task"]


class Task:
    """A registered handler and what the scheduler keeps per task.

    Attributes:
        name: Unique within its cue.
        handler: The user's function, as given.
        parameters: What that takes beside the work or in place of it; None: the work alone.
        call: What is called with the work: the handler itself, or what fills in its parameters.
        services: Names of the services it uses, may be empty.
        timeout: Seconds a run may take, None for no limit.
        timed: Whether a run may have a limit: by its task, or by some submission.
        executor: Runs the handler; None: the event loop does.
        calls: What packs its calls, where that takes calls; None: it runs the handler as it is.
        inputs: What its work units need, as declared: artifacts, a callable that gives them, or None.
        outputs: What proves them, likewise.
        fresh: The policy that says when outputs are out of date.
        cost: What its work units take of budgets: amounts by name, a callable that gives them, or None.
        charge: The same where it is the same for all of them, else None.
        lane: The lane of its work units: a value, a callable that gives it, or None.
        says_per_work: Whether something has to be found out of each work unit as it is submitted: what it declares, or
            costs.
        priority: How urgent its work units are: a number, a callable that gives one for a work unit, or None.
        retry: How often they are tried again: a `runcue.Retry`, a function, or None for one attempt.
        must_complete: Whether a stop runs its work units whatever it cuts off.

    Of its work units there are kept: how many are unsettled, and of these are running; of those that have settled since
    the start, how many ended how, and for how long their handlers took that have succeeded.
    """

    __slots__ = (
        "_timeout",
        "call",
        "calls",
        "charge",
        "checks_calls",
        "code",
        "cost",
        "declares",
        "declares_per_work",
        "dispatcher",
        "duplicate",
        "ended",
        "executor",
        "fresh",
        "gate_is_async",
        "gated",
        "handler",
        "inputs",
        "is_ready",
        "is_stale",
        "key",
        "lane",
        "learned_dependents",
        "load",
        "longest",
        "must_complete",
        "name",
        "outputs",
        "parameters",
        "priority",
        "retry",
        "run_queue",
        "running",
        "says_per_work",
        "seconds",
        "services",
        "shared",
        "shortest",
        "spender",
        "submitter",
        "timed",
        "unsettled",
        "waiting",
        "waiting_tombstones",
        "writer",
    )

    def __init__(
        self,
        name: str,
        handler: Callable[..., Any],
        services: tuple[str, ...],
        timeout: float | None,
        executor: Any,
    ) -> None:
        self.name = name
        self.handler = handler
        self.call: Callable[[Any], Any] = handler
        # As `_handlers.parameters` has them.
        self.parameters: Any = None
        self.services = services
        self.timed = False
        self.timeout = timeout
        self.executor = executor
        # As `_handlers.remote_calls` has it, and whether it is to be seen whether they can be sent.
        self.calls: Any = None
        self.checks_calls = False
        self.is_ready: Callable[[Any], Any] | None = None
        self.is_stale: Callable[[Any], Any] | None = None
        self.gated = False
        # Learned by looking at what the gate returned, never assumed for good.
        self.gate_is_async = False
        self.waiting: deque[Any] = deque()
        self.waiting_tombstones = 0
        # Tasks whose waiting work units became ready after a settlement of this one, with the fruitless rechecks since.
        self.learned_dependents: dict[Task, int] = {}
        self.run_queue: Any = None
        # How many of its work units are pending or running, and how many run.
        self.unsettled = self.running = 0
        self.begin()
        # What its work units declare: artifacts, or a callable that gives them for a work unit; None if nothing.
        self.inputs: Any = None
        self.outputs: Any = None
        self.fresh: Any = None
        # The digests of its handler's code, by part; None where they do not count.
        self.code: dict[str, str] | None = None
        self.key: Any = None
        self.lane: Any = None
        # Reads the value of one that was skipped, None if nothing does.
        self.load: Callable[[Any], Any] | None = None
        self.duplicate = "join"
        self.priority: float | Callable[[Any], Any] | None = None
        # As `_scheduling.retry` has it; None: there is one attempt.
        self.retry: Any = None
        self.must_complete = False
        self.declares = False
        self.cost: Any = None
        self.charge: dict[str, Any] | None = None
        self.says_per_work = False
        # Whether some of its work units declare what the task does not.
        self.declares_per_work = False
        # Those of the shell that a work unit has to be able to reach.
        self.dispatcher: Any = None
        self.writer: Any = None
        self.spender: Any = None
        self.submitter: Callable[..., str] = _no_submitter

    def begin(self) -> None:
        """The cue is started: what ends is counted from here."""
        # By outcome, and how many of the completed had joined another one, so that no handler ran for them.
        self.ended, self.shared = [0] * len(OUTCOMES), 0
        # Of the handlers that have succeeded: seconds in all, the fewest and the most.
        self.seconds, self.shortest, self.longest = 0.0, inf, 0.0

    def add(self, former: Task) -> None:
        """Count what was counted of a task in whose place this one is."""
        self.unsettled += former.unsettled
        self.ended = [own + theirs for own, theirs in zip(self.ended, former.ended, strict=True)]
        self.shared += former.shared
        self.seconds += former.seconds
        self.shortest = min(self.shortest, former.shortest)
        self.longest = max(self.longest, former.longest)

    @property
    def timeout(self) -> float | None:
        """Seconds a run may take if its submission says nothing else, None for no limit."""
        return self._timeout

    @timeout.setter
    def timeout(self, seconds: float | None) -> None:
        self._timeout = seconds
        self.timed |= seconds is not None

    @property
    def is_async(self) -> bool:
        """Whether the handler runs in the event loop rather than in a thread."""
        return self.executor is None

    @property
    def service(self) -> str | None:
        """The first of its services, None when it uses none."""
        return self.services[0] if self.services else None

    def take_waiting(self, number: int = -1) -> Any:
        """Take out the work unit that has waited unasked for longest.

        Args:
            number: Of a pass over waiting work units.

        Returns:
            None if there is none, or if the next one was asked in that pass; then it stays.
        """
        waiting = self.waiting
        while waiting:
            work = waiting.popleft()
            if work._phase == NOT_READY:
                if work._recheck_pass != number:
                    return work
                waiting.appendleft(work)
                return None
            self.waiting_tombstones -= 1
        return None

    def discard_waiting_later(self, work: Any) -> None:
        """Note that a waiting work unit is about to be settled: it stays in the line, a tombstone, till it surfaces."""
        self.waiting_tombstones += 1
        if self.waiting_tombstones > 64 and self.waiting_tombstones * 2 > len(self.waiting):
            self.waiting = deque(one for one in self.waiting if one._phase == NOT_READY and one is not work)
            self.waiting_tombstones = 0

    def __repr__(self) -> str:
        return f"<Task {shortened(self.name, 80)}>"


def _no_submitter(task: Any, params: Mapping[str, Any] | None, **options: Any) -> str:
    raise RuntimeError("This task belongs to no cue.")
