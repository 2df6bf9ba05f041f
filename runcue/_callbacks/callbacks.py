"""The only place that calls user callbacks, and the one policy for what happens when they fail.

Lives here: asking a gate (what is declared first, then the callbacks) and a priority, serving listeners, the words
about callbacks that raise or block. Whatever is awaitable is found by looking at the result, not at the function, and
handed to the dispatcher to be awaited.

A callback that raises is logged with its traceback and never disturbs the scheduler: a raising is_ready means not
ready, a raising is_stale means stale, a raising priority means the default.

Must not know: event loops, tasks, limits. The wall clock and `time.monotonic` are used for the policy alone.
"""

from __future__ import annotations

import copy
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Mapping
from inspect import isawaitable
from math import isnan
from os import stat
from typing import Any, Final

from runcue._artifacts.artifact import Artifact, File, Flag, plainly
from runcue._model.checks import check_callback
from runcue._model.errors import ConfigurationError
from runcue._model.events import HEARS, Event
from runcue._model.texts import problem_of, words_of
from runcue._model.work import DEFAULT_PRIORITY, Declaration, PriorityContext, Task, Work

__all__ = [
    "BLOCKS_AFTER",
    "FAULT",
    "HOLD",
    "NO",
    "RUN",
    "SKIP",
    "Callbacks",
    "GateAnswer",
    "Listener",
    "discard",
    "name_of",
    "without_frames",
]

logger = logging.getLogger("runcue")

RUN: Final = 1
"""Ready and stale: run it."""
NO: Final = 0
"""Not ready."""
SKIP: Final = 2
"""Ready and up to date."""
FAULT: Final = 4
"""It can never run: nobody knows what it needs, because the callable that was to say so raised."""
HOLD: Final = 3
"""An input is being made by another work unit: not ready before that has settled."""

_RAISED: Final = object()

BLOCKS_AFTER = 0.05
REPEAT_AFTER = 60.0

# Questions whose time is taken together, while all of them take no longer than this.
_TOGETHER = 16
_QUICK = 0.0005


class GateAnswer:
    """A gate's answer that has to be awaited.

    Attributes:
        question: "ready" or "stale".
        awaitable: What the callback returned.
    """

    __slots__ = ("awaitable", "question")

    def __init__(self, question: str, awaitable: Awaitable[Any]) -> None:
        self.question = question
        self.awaitable = awaitable

    def discard(self) -> bool:
        """Forget the answer unasked, if that is possible without a trace (a coroutine that was never started)."""
        return discard(self.awaitable)


def discard(awaitable: Awaitable[Any]) -> bool:
    """Close an awaitable that nobody will await. Returns whether it could be closed."""
    close = getattr(awaitable, "close", None)
    if close is None:
        return False
    close()
    return True


class Listener:
    """One registered listener."""

    __slots__ = ("call", "event", "name")

    def __init__(self, event: Event, call: Callable[..., Any]) -> None:
        self.event = event
        self.call = call
        self.name = f"on_{event.name.lower()} listener {name_of(call)}"


_NOT_VALID: Final = object()


def _version_if_valid(artifact: Any, whole: bool) -> Any:
    """The version of an artifact that is valid, `_NOT_VALID` of one that is not.

    Args:
        artifact: The artifact.
        whole: Give all that the disk says of a file instead.
    """
    kind = type(artifact)
    if kind is File and artifact.bare:
        # What `stamp()` would do, without another call: this is asked once for each file of a big tree.
        try:
            status = stat(artifact._key)
        except OSError:
            return _NOT_VALID
        return status if whole else status.st_mtime_ns
    if kind is File or kind is Flag:
        version = artifact.stamp()
        return _NOT_VALID if version is None else version
    return plainly(artifact.version(), artifact) if plainly(artifact.valid(), artifact) else _NOT_VALID


def name_of(call: object) -> str:
    """What a callback is called in messages."""
    return str(getattr(call, "__qualname__", None) or repr(call))


class Callbacks:
    """All user callbacks of a cue, behind one failure policy.

    Attributes:
        listeners: By `Event`, in order of registration.
        defer: Given by the dispatcher: takes a listener, the awaitable it returned, and the work it is about.
        interrupted: A KeyboardInterrupt out of a callback, to be raised by whoever called in.
        now: The clock by which callbacks are found to block the loop.
        at: When the last callback was done.
        producer_of: The unsettled work that makes an artifact, by its key.
        held_for: The input for which the last answer was HOLD.
        reads: The artifacts that were asked while the last question was, by key; empty between questions.
        skipped: The last work units that is_stale had skipped, with what they looked at, until somebody looks into
            them.
    """

    def __init__(self) -> None:
        self.listeners: tuple[list[Listener], ...] = tuple([] for _ in Event)
        self.priority: Callable[[PriorityContext], Any] | None = None
        self.defer: Callable[[Listener, Awaitable[Any], Work | None], None] = _nowhere
        self.interrupted: KeyboardInterrupt | None = None
        self.now: Callable[[], float] = time.monotonic
        self.at = 0.0
        self.producer_of: Mapping[Hashable, Work] = {}
        self.held_for: Any = None
        self.reads: dict[Hashable, Artifact] = {}
        self.skipped: deque[tuple[Work, tuple[Artifact, ...]]] = deque(maxlen=1000)
        self._reported: dict[tuple[object, object], float] = {}

    # --- Listeners ----------------------------------------------------------------------------------------------

    def listen(self, event: Event, call: Callable[..., Any]) -> None:
        """Add a listener.

        Raises:
            ConfigurationError: It is not callable.
        """
        check_callback(call, f"An on_{event.name.lower()} listener", HEARS[event])
        self.listeners[event].append(Listener(event, call))

    def emit(self, listeners: list[Listener], began: float, work: Work | None, *args: Any) -> float:
        """Serve the listeners of an event: plain ones now, in order; what they leave to be awaited is deferred.

        Args:
            listeners: Those of one event.
            began: The instant now.
            work: What it is about, for messages.
            *args: What the listeners hear.

        Returns:
            The instant at which the last one was done.
        """
        now = self.now
        for listener in listeners:
            try:
                outcome = listener.call(*args)
                if outcome is not None and isawaitable(outcome):
                    self.defer(listener, outcome, work)
            except BaseException as error:
                self.raised(listener.name, error, work)
            ended = now()
            if ended - began > BLOCKS_AFTER:
                self.blocked(listener.name, ended - began)
            began = ended
        return began

    # --- The gate -----------------------------------------------------------------------------------------------

    def ask(self, work: Work, began: float) -> int | GateAnswer:
        """Ask the two questions, ready before stale. `at` is the instant of the answer.

        Args:
            work: The work to be asked about.
            began: The instant now.

        Returns:
            RUN, NO, HOLD, FAULT or SKIP; or a `GateAnswer` when the callback's answer must be awaited first, to be
            continued with `resume`.
        """
        task = work._task
        if self.reads:
            self.reads.clear()
        is_ready = task.is_ready
        if work._declared is not None:
            verdict = self._ask_inputs(work, work._declared)
            if verdict != RUN or is_ready is not None or not work._declared.outputs:
                began = self._after_artifacts(work, began)
            if verdict != RUN:
                return verdict
        if is_ready is None:
            self.at = began
            return self._ask_stale(work)
        try:
            answer = is_ready(work)
        except BaseException as error:
            self._ready_raised(work, error)
            answer = _RAISED
        self.at = ended = self.now()
        if ended - began > BLOCKS_AFTER:
            self.blocked(f"is_ready callback {name_of(is_ready)}", ended - began)
        if answer is True:
            return RUN if task.is_stale is None else self._ask_stale(work)
        if answer is _RAISED:
            return NO
        if answer is False:
            work._not_ready_reason = None
            return NO
        return self.interpret(work, answer)

    def ask_batch(self, works: deque[Work], phase: int, until: float) -> tuple[list[Work], Work | None, Any]:
        """Ask is_ready down a line of work units, as long as it plainly says False: `ask` for a great many at once.

        Args:
            works: They are taken out from the left as they are asked.
            phase: Stop at a work unit that is not in this phase.
            until: Stop at this instant.

        Returns:
            Those that are not ready; the first that gave another answer, if any; and that answer, for `weigh`.
        """
        not_ready: list[Work] = []
        now = self.now
        began = ended = now()
        task: Task | None = None
        is_ready: Callable[[Work], Any] | None = None
        # While the answers come quickly the clock is read for a few of them together: for a great many work units it
        # would cost a sixth of the time.
        together = 1
        unread = 0
        reads = self.reads
        if reads:
            reads.clear()
        while works:
            work = works[0]
            if work._task is not task:
                task = work._task
                is_ready = task.is_ready
                together = 1
            if is_ready is None or work._phase != phase or work._declared is not None or task.gate_is_async:
                break
            works.popleft()
            work._not_ready_reason = None
            try:
                answer = is_ready(work)
            except BaseException as error:
                answer = self._ready_raised(work, error)
            unread += 1
            if answer is False and not reads:
                not_ready.append(work)
                if unread < together:
                    continue
            ended = now()
            took = ended - began
            if took > BLOCKS_AFTER:
                self.blocked(f"is_ready callback {name_of(is_ready)}", took)
            together = min(together * 2, _TOGETHER) if took < _QUICK else 1
            began = ended
            unread = 0
            if answer is not False or reads:
                self.at = ended
                return not_ready, work, answer
            if ended > until:
                break
        self.at = ended
        return not_ready, None, None

    def interpret(self, work: Work, answer: Any) -> int | GateAnswer:
        """Go on after is_ready has answered."""
        try:
            if isawaitable(answer):
                return GateAnswer("ready", answer)
            ready = self._ready(work, answer)
        except BaseException as error:
            ready = self._ready_raised(work, error)
        return self._ask_stale(work) if ready else NO

    def resume(self, work: Work, question: str, answer: Any, error: BaseException | None) -> int | GateAnswer:
        """Go on after an awaited answer, or after it raised.

        Args:
            work: The work asked about.
            question: The one that was open.
            answer: What the awaitable gave.
            error: What it raised instead.
        """
        self.at = self.now()
        self.reads.clear()
        if question == "ready":
            if error is None:
                # While it was awaited the declared inputs may have changed.
                if work._declared is not None and (verdict := self._ask_inputs(work, work._declared)) != RUN:
                    return verdict
                return self.interpret(work, answer)
            self._ready_raised(work, error)
            return NO
        verdict = RUN
        if error is None:
            try:
                verdict = RUN if answer or (work._declared is not None and work._declared.forced) else SKIP
            except BaseException as raised:
                error = raised
        if error is not None:
            self._stale_raised(work, error)
        if verdict == RUN and work._declared is not None:
            return self._ask_inputs(work, work._declared)  # for the same reason
        return verdict

    def _ask_stale(self, work: Work) -> int | GateAnswer:
        is_stale = work._task.is_stale
        work._not_ready_reason = None
        declared = work._declared
        if declared is not None:
            if declared.forced:
                declared.stale = ("forced", None, None)
                return RUN
            if declared.outputs:
                is_up_to_date = not self._is_stale(work, declared)
                self._after_artifacts(work, self.at)
                if is_up_to_date:
                    return SKIP
        if is_stale is None:
            return RUN
        began = self.at
        try:
            answer = is_stale(work)
            if answer is True:
                verdict = RUN
            elif answer is not False and isawaitable(answer):
                return GateAnswer("stale", answer)
            else:
                verdict = RUN if answer else SKIP
        except BaseException as error:
            verdict = self._stale_raised(work, error)
        self.at = ended = self.now()
        if ended - began > BLOCKS_AFTER:
            self.blocked(f"is_stale callback {name_of(is_stale)}", ended - began)
        if self.reads and verdict == SKIP:
            self.skipped.append((work, tuple(self.reads.values())))
        return verdict

    def is_out_of_date(self, work: Work) -> bool:
        """Whether a settled work unit would run again for what it declares. Asked of a stand-in."""
        known = work._declared
        if known is None or not known.outputs:
            return False
        return self.verdict_on(work, known, known.inputs, known.outputs) is not None

    def verdict_on(
        self, work: Work, known: Declaration, inputs: tuple[Any, ...], outputs: tuple[Any, ...]
    ) -> tuple[str, Any, Any] | None:
        """What would make a work unit stale if it declared these artifacts. Asked of a stand-in; the work is untouched.

        Args:
            work: For its task and params.
            known: For the policy.
            inputs: What it would need.
            outputs: What would prove it.
        """
        twin = Work(work.id, work.task, work.params)
        twin._task = work._task
        declared = twin._declared = Declaration(inputs, outputs, known.fresh)
        declared.files, declared.whole = known.files, known.whole
        if self._ask_inputs(twin, declared) == RUN and self._is_stale(twin, declared):
            return declared.stale
        return None

    # --- What is declared ---------------------------------------------------------------------------------------

    def _ask_inputs(self, work: Work, declared: Declaration) -> int:
        """Whether all declared inputs are valid: RUN, NO or HOLD; FAULT if they are not known."""
        if declared.fault is not None:
            return FAULT
        inputs = declared.inputs
        if not inputs:
            return RUN
        producer_of = self.producer_of
        if producer_of:
            for artifact in inputs:
                producer = producer_of.get(artifact._key)
                if producer is not None and producer is not work:
                    self.held_for = artifact
                    return HOLD
        before = []
        whole = declared.whole
        for artifact in inputs:
            try:
                version = _version_if_valid(artifact, whole)
            except BaseException as error:
                self.raised(f"input {words_of(artifact)}", error, work)
                work._not_ready_reason = without_frames(error)
                self.reads[artifact._key] = artifact
                return NO
            if version is _NOT_VALID:
                work._not_ready_reason = artifact
                self.reads[artifact._key] = artifact
                return NO
            before.append(version)
        declared.before = before
        if self.reads:
            self.reads.clear()  # what artifacts of users read by themselves is no read of is_ready
        return RUN

    def _after_artifacts(self, work: Work, began: float) -> float:
        """Note how long looking at declared artifacts took. Returns the instant now."""
        self.at = ended = self.now()
        if ended - began > BLOCKS_AFTER:
            self.blocked(f"looking at the inputs and outputs of task {work.task}", ended - began)
        return ended

    def _is_stale(self, work: Work, declared: Declaration) -> bool:
        """Whether a declared output is missing, not valid or out of date."""
        was: list[Any] = []
        declared.was = was
        whole = declared.whole
        artifact: Any = None
        try:
            for artifact in declared.outputs:
                version = _version_if_valid(artifact, whole)
                if version is _NOT_VALID:
                    kind = type(artifact)
                    bare = kind is Flag or (kind is File and artifact.bare)
                    declared.stale = (
                        ("missing", artifact, None) if bare else ("not valid", artifact, problem_of(artifact))
                    )
                    return True
                was.append(version)
            artifact = declared.fresh
            declared.stale = None if artifact is None else artifact.stale(work)
        except BaseException as error:
            self.raised(f"output {words_of(artifact)}", error, work)
            declared.stale = ("raised", artifact if isinstance(artifact, Artifact) else None, error)
            return True
        if declared.stale is None:
            declared.before = declared.was = ()  # for those that run
            return False
        return True

    @staticmethod
    def _ready(work: Work, answer: Any) -> bool:
        if isinstance(answer, tuple) and len(answer) == 2:
            ready, reason = answer
            if ready:
                return True
            work._not_ready_reason = str(reason)
            return False
        if answer:
            return True
        work._not_ready_reason = None
        return False

    def _ready_raised(self, work: Work, error: BaseException) -> bool:
        self.raised(f"is_ready callback {name_of(work._task.is_ready)}", error, work)
        work._not_ready_reason = without_frames(error)
        return False

    def _stale_raised(self, work: Work, error: BaseException) -> int:
        self.raised(f"is_stale callback {name_of(work._task.is_stale)}", error, work)
        return RUN

    # --- The priority -------------------------------------------------------------------------------------------

    def ask_priority(self, work: Work, waited: float, depth: int) -> float:
        """The priority of a work unit that became ready, 0.0 to 1.0.

        Args:
            work: The work.
            waited: Seconds since its submission.
            depth: How many work units are pending.
        """
        call = self.priority
        if call is None:
            return DEFAULT_PRIORITY
        began = self.now()
        try:
            asked = call(PriorityContext(work, waited, depth))
            if isawaitable(asked):
                discard(asked)
                raise ConfigurationError(
                    "A priority callback must be a plain function: order is decided in one step."
                )
            value = float(asked)
            if isnan(value):
                raise ConfigurationError("A priority must be a number from 0.0 to 1.0, not nan.")
        except BaseException as error:
            self.raised(f"priority callback {name_of(call)}", error, work)
            return DEFAULT_PRIORITY
        if (took := self.now() - began) > BLOCKS_AFTER:
            self.blocked(f"priority callback {name_of(call)}", took)
        return min(max(value, 0.0), 1.0)

    # --- The failure policy -------------------------------------------------------------------------------------

    def raised(self, name: str, error: BaseException, work: Work | None) -> None:
        """Log a callback that raised, once per minute for the same callback and type of exception."""
        if isinstance(error, KeyboardInterrupt):
            self.interrupted = error
        if self._is_news(name, type(error)):
            about = f" (work {work.id} of task {work.task})" if work is not None else ""
            logger.error("%s raised %s%s", name, type(error).__name__, about, exc_info=error)

    def blocked(self, name: str, seconds: float) -> None:
        """Report a callback that kept the event loop from everything else for too long."""
        # Once for good: it is a property of the callback, not an incident.
        key = (name, "blocked")
        if key not in self._reported:
            self._reported[key] = float("inf")
            logger.warning(
                "%s blocked the event loop for %.0f ms; make it async, or quicker", name, seconds * 1000
            )

    def unobserved(self, work: Work, error: BaseException) -> None:
        """Log a failed work unit that no listener and no waiting `result()` hears of."""
        logger.error("Work %s of task %s failed: %s", work.id, work.task, words_of(error), exc_info=error)

    def _is_news(self, name: str, what: object) -> bool:
        now = self.now()
        if now < self._reported.get((name, what), 0.0):
            return False
        if len(self._reported) > 1000:  # names of lambdas and partials are not bounded by the program's text
            self._reported.clear()
        self._reported[name, what] = now + REPEAT_AFTER
        return True


def without_frames(error: BaseException, depth: int = 8) -> BaseException:
    """A copy of an exception that holds no frames, and so nothing of what was alive in them.

    An exception that cannot be copied is stripped itself.

    Args:
        error: The exception, left as it is if it can be copied.
        depth: How far causes and contexts are followed.
    """
    twin = _twin_of(error, depth)
    if twin is None:
        error.__traceback__ = None
        error.__context__ = error.__cause__ = None
        return error
    twin.__traceback__ = None
    if depth > 0:
        if error.__cause__ is not None:
            twin.__cause__ = without_frames(error.__cause__, depth - 1)
        elif error.__context__ is not None and not error.__suppress_context__:
            twin.__context__ = without_frames(error.__context__, depth - 1)
        twin.__suppress_context__ = error.__suppress_context__
    return twin


def _twin_of(error: BaseException, depth: int) -> BaseException | None:
    """A faithful copy without its traceback, None if that cannot be made."""
    try:
        if isinstance(error, BaseExceptionGroup):
            if depth < 0:
                return None
            group = error.derive([without_frames(one, depth - 1) for one in error.exceptions])
            return group if type(group) is type(error) and group.message == error.message else None
    except Exception:
        return None
    return _made_by(copy.copy, error) or _made_by(_without_constructor, error)


def _made_by(make: Callable[[Any], Any], error: BaseException) -> BaseException | None:
    try:
        twin: BaseException = make(error)
        faithful = type(twin) is type(error) and twin.args == error.args and str(twin) == str(error)
    except Exception:
        return None
    return twin if faithful else None


def _without_constructor(error: BaseException) -> BaseException:
    # A constructor with arguments of its own is the usual reason why an exception cannot be copied.
    twin: BaseException = type(error).__new__(type(error), *error.args)
    twin.__dict__.update(error.__dict__)
    return twin


def _nowhere(listener: Listener, awaitable: Awaitable[Any], work: Work | None) -> None:
    raise RuntimeError("The cue is not started.")
