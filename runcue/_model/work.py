"""The noun: a work unit, one request to run a task with some params.

Lives here: what a work unit carries. All state is changed by the core (`_scheduling.core`), by its one setter; users
read. Artifacts are carried, not understood: here they are objects with a key.

Must not know: limits, order, time, event loops.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from math import inf
from typing import IO, TYPE_CHECKING, Any, Never, NoReturn

from runcue._model.attempts import Attempt, Attempts
from runcue._model.awaitables import NotAwaited
from runcue._model.checks import NOTHING, says_what_it_takes
from runcue._model.declaration import Declaration
from runcue._model.errors import ConfigurationError, UsageError, WorkCancelled
from runcue._model.overrides import Overrides
from runcue._model.phases import (
    CANCELLED,
    COMPLETED,
    FAILED,
    JOINED,
    NEW,
    RUNNING,
    SETTLED,
    SKIPPED,
    STATES,
    WorkState,
)
from runcue._model.task import Task
from runcue._model.texts import message_of, name_of, shortened

if TYPE_CHECKING:
    from decimal import Decimal
    from fractions import Fraction

    from runcue._model.amounts import Amount

__all__ = ["Loaded", "Work"]


class Work(NotAwaited):
    """One request: run this task with these params.

    Handlers and callbacks receive it; `get()` and `list()` return it. Read it, do not change it: the scheduler owns it.

    Attributes:
        id: Unique within the process, short, as text.
        task: The name of its task.
        params: What was submitted, taken over at that time, and the defaults of its handler. A new dict; its values are
            the caller's objects.
        attempt: The number of the attempt that runs, or will next: 1 for the first.
        created_at: Wall-clock time of the submission, seconds since the epoch.
        started_at: The same for the last call of its handler, if there are several; None before the first.
        completed_at: The same for the moment it settled, None before it.
        cancelled: Tells a running handler that nobody waits for it any more: its work was cancelled or timed out.
            A sync handler that runs for long should look at it now and then, since a thread cannot be interrupted, or
            call `checkpoint()`, which raises then.
    """

    __slots__ = (
        "__weakref__",
        "_approved_in",
        "_attempts",
        "_awaited",
        "_charge",
        "_context",
        "_declared",
        "_entered_at",
        "_keyed",
        "_not_ready_reason",
        "_order_key",
        "_outcome",
        "_overrides",
        "_phase",
        "_phase_since",
        "_recheck_pass",
        "_refusals",
        "_runner",
        "_seq",
        "_submitted_at",
        "_task",
        "_value",
        "_waiters",
        "_wakeup_queued",
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
    # who wait for it, and batches that it is in, with itself. Mostly that is one batch, which stands there alone.
    _runner: Any
    _waiters: Any
    _order_key: float
    _seq: int
    _submitted_at: float
    # Monotonic: since when it is in its phase (while it waits), and when its handler was entered.
    _phase_since: float
    _entered_at: float

    started_at: float | None
    completed_at: float | None
    _phase: int
    # What became of its attempts, and when the next may begin; None in the first, if that may begin at once.
    _attempts: Attempts | None
    # What its submission says in place of its task; None if nothing.
    _overrides: Overrides | None
    # The pass over waiting work units in which is_ready was asked last; 0, as NEW is, for none.
    _recheck_pass: int
    # How often it was not ready.
    _refusals: int
    # What was last said when it was not ready: a reason, the exception that was raised, or the artifact at fault.
    _not_ready_reason: Any
    _declared: Declaration | None
    # What it takes of each budget, by name, as its submission or a function says; None for what its task says.
    _charge: Mapping[str, Amount] | None
    # By its keys: which of its services it uses that have limits for each; None if none has, or when it has settled.
    _keyed: tuple[Any, ...] | None
    # The artifacts it waits for, None if nothing is known of them.
    _awaited: tuple[Any, ...] | None

    # Set when it settles: how, and the handler's result, the error as it is kept, or who has cancelled it: a phrase, or
    # the code and the line. Of one that was skipped what was `Loaded`, None before that.
    _outcome: int
    _value: Any

    @says_what_it_takes
    def __init__(
        self, id: str, task: str, params: dict[str, Any] | None = None, created_at: float = 0.0
    ) -> None:
        self._begin(id, task, {} if params is None else params, created_at)

    def _begin(self, id: str, task: str, params: dict[str, Any], created_at: float) -> None:
        """What makes it one: called by itself where very many are made."""
        self.id = id
        self.task = task
        self.params = params
        self.created_at = created_at
        self.attempt = 1
        self.cancelled = self._wakeup_queued = False
        # The core's generation in which the gate last said yes; -1: not asked.
        self._approved_in = -1
        # One assignment each for what begins alike: this is a tenth of a submission.
        self._phase = self._recheck_pass = self._refusals = NEW
        self.started_at = self.completed_at = None
        self._attempts = self._not_ready_reason = self._declared = self._awaited = self._overrides = None
        self._waiters = self._runner = self._charge = self._keyed = None

    @property
    def _timeout(self) -> float:
        """Seconds that its handler may take; inf for no limit."""
        said = self._overrides.timeout if self._overrides is not None else None
        if said is None:
            said = self._task.timeout
        return inf if said is None else said

    @property
    def state(self) -> WorkState:
        """What a user sees of its life. A skipped work unit is COMPLETED."""
        phase = self._phase
        if phase == SETTLED:
            return STATES[self._outcome]
        if phase == JOINED and self._declared is not None:
            # Read once: another thread may ask, just when it takes the place of its leader.
            leader = self._declared.leader
            if leader is not None:
                state: WorkState = leader.state
                return state
        return WorkState.RUNNING if phase == RUNNING else WorkState.PENDING

    @property
    def skipped(self) -> bool:
        """Whether is_stale said that there was nothing to do."""
        return self._phase == SETTLED and self._outcome == SKIPPED

    @property
    def result(self) -> Any:
        """What the handler returned, None before that; of a skipped one what `load=` has read, None before that."""
        if self._phase != SETTLED:
            return None
        if self._outcome == SKIPPED and self._value is not None:
            return self._value.value
        return self._value if self._outcome == COMPLETED else None

    @property
    def exception(self) -> BaseException | None:
        """Why it failed, None otherwise.

        Its traceback leads to the line in the handler; none of the values that were there is kept. To raise it, take
        the copy that `WorkHandle.exception()` gives: who raises this one adds his own frames to what is kept.
        """
        return self._value if self._phase == SETTLED and self._outcome == FAILED else None

    @property
    def metadata(self) -> dict[Any, Any]:
        """What `submit(metadata=)` has said of it, a copy made at that time; empty if nothing.

        It says nothing to runcue, and decides nothing: it is there for whoever reads logs, listens or observes. With
        `Cue.retry` it goes to the new work unit; those that have joined each other have each their own.
        """
        given = None if self._overrides is None else self._overrides.metadata
        return {} if given is None else given

    @property
    def retry_of(self) -> str | None:
        """The id of the work unit that this one does once more, None if it was not made by `Cue.retry`."""
        return None if self._overrides is None else self._overrides.retry_of

    @property
    def error(self) -> str | None:
        """The exception as text, None unless the work failed."""
        exception = self.exception
        return None if exception is None else message_of(exception)

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """The attempts that have ended, the first one first, each with number, started_at, duration and error.

        Of a work unit that has settled the last one is among them; of one that was skipped or cancelled before it
        ran, there is none. At most a hundred are kept, the last ones. Those that have joined another one share its.
        """
        attempts = self._attempts
        if attempts is not None:
            return tuple(attempts.ended)
        started, completed = self.started_at, self.completed_at
        if started is None and self._phase == SETTLED and self._outcome != CANCELLED:
            leader = None if self._declared is None else self._declared.leader
            if leader is not None:
                return tuple(leader.attempts)
        if started is None or completed is None:
            return ()
        return (Attempt(self.attempt, started, max(0.0, completed - started), self.exception),)

    @property
    def inputs(self) -> tuple[Any, ...]:
        """The artifacts it needs, as declared; empty if none were."""
        return self._declared.inputs if self._declared is not None else ()

    @property
    def outputs(self) -> tuple[Any, ...]:
        """The artifacts that prove it, as declared; empty if none were."""
        return self._declared.outputs if self._declared is not None else ()

    @says_what_it_takes
    def write(
        self, output: Any, mode: str = "w", *, encoding: str | None = None, durable: bool = True
    ) -> AbstractContextManager[IO[Any]]:
        """Write a file that appears only when the handler has succeeded, whole.

        What is written goes to a temporary file beside the target. When the handler has returned, all that it wrote is
        flushed to disk and renamed into place; if it raises or is cancelled, nothing changes. At any instant, kill -9
        included, there is the old file or the new one.

        Args:
            output: A `File`, usually one of `work.outputs`, or a path.
            mode: "w" for text, "wb" for bytes.
            encoding: Of text, by default UTF-8.
            durable: Wait until it is on the disk. False is quicker: safe against a kill, not against a power cut.

        Returns:
            A context manager that gives the open file.

        Raises:
            ConfigurationError: A mode that does not write, or an output that is no file.
            PublishError: There cannot be such a file: a folder of that name, a file where its folder must be.
            UsageError: The work does not run.

        Example:
            with work.write(work.outputs[0]) as file:
                file.write(text)
        """
        staged: AbstractContextManager[IO[Any]] = self._task.writer(self, output, mode, encoding, durable)
        return staged

    def spent(self, *misplaced: Never, **amounts: float | str | Decimal | Fraction) -> None:
        """Say what this attempt has spent of the budgets of its services, in place of what it was to cost.

        Several calls add up. It may be called in any thread, as long as the handler runs.

        Args:
            *misplaced: None: an amount is given by the name of its budget.
            **amounts: By the names of the budgets.

        Raises:
            ConfigurationError: There is no such budget, or an amount is negative or none.
            UsageError: The handler does not run.

        Example:
            answer = await client.ask(prompt)
            work.spent(tokens=answer.usage.total_tokens)
        """
        spender = getattr(getattr(self, "_task", None), "spender", None)
        if spender is None:
            raise UsageError(f"spent() is called by the handler of a cue; {name_of(self)} belongs to none.")
        if misplaced:
            raise ConfigurationError(
                "spent() takes amounts by the names of budgets, such as spent(tokens=712)."
            )
        spender(self, amounts)

    def submit(
        self,
        task: str | Callable[..., Any] = NOTHING,
        params: Mapping[str, Any] | None = None,
        *misplaced: Never,
        **options: Any,
    ) -> str:
        """Submit more work from inside a sync handler.

        Args:
            task: The name of a task, or its handler.
            params: As for `Cue.submit`.
            *misplaced: As for `Cue.submit`.
            **options: The others that `Cue.submit` takes.

        Returns:
            The handle of the new work unit, a str equal to its id.

        Raises:
            UsageError: Called in the event loop: there it is `await cue.submit(...)`.
        """
        return self._task.submitter(task, params, *misplaced, **options)

    @says_what_it_takes
    def checkpoint(self) -> None:
        """Raise if nobody waits for this handler any more; otherwise do nothing.

        A thread cannot be interrupted. A plain handler that calls this now and then ends soon after its work unit was
        cancelled, has timed out or was given up by a `stop()`; its slot is free again then.

        Raises:
            WorkCancelled: Nobody does. Let it through: it leads out of the handler.

        Example:
            for page in pages:
                work.checkpoint()
                convert(page)
        """
        if self.cancelled:
            raise WorkCancelled(
                f"Nobody waits for {name_of(self)} any more: it was cancelled, has timed out or was given up by a stop."
            )

    if not TYPE_CHECKING:  # which says so, too

        def __await__(self) -> NoReturn:
            """Say what to write instead."""
            raise UsageError(
                f"A work unit is not awaited, its handle is: for {name_of(self)} write `await handle`, which submit() "
                "gives; where it has settled, `work.result` is there."
            )

    def _stand_in(self) -> Work:
        """One that looks like it and has no cue: to think about what would become of it."""
        twin = Work(self.id, self.task, self.params, self.created_at)
        twin._task = self._task
        twin.attempt, twin._charge = self.attempt, self._charge
        if self._phase == RUNNING:
            twin._phase = RUNNING
        return twin

    def _refuse(self, error: BaseException, now: float) -> None:
        """Let it have failed without ever having been pending: it was not taken in.

        Args:
            error: Why, as it is kept.
            now: Monotonic.
        """
        self._phase, self._outcome, self._value = SETTLED, FAILED, error
        self._submitted_at = now
        self.completed_at = self.created_at

    def __repr__(self) -> str:
        state = "skipped" if self.skipped else self.state.value
        return f"<Work {shortened(self.id, 80)} {shortened(self.task, 80)} {state}>"


class Loaded:
    """The value of a work unit that was skipped, as it is read back.

    Attributes:
        reading: The asyncio task that reads it; None when it is there.
        value: What was read.
        awaits: The other values that are waited for while it is read.
        wanted: While it waits to be read, as few are at once: the future to be set if one of these waits for it.
    """

    __slots__ = ("awaits", "reading", "value", "wanted")

    def __init__(self) -> None:
        self.reading: Any = None
        self.value: Any = None
        self.awaits: list[Loaded] = []
        self.wanted: Any = None
