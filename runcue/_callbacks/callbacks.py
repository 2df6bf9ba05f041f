"""The only place that asks user callbacks.

Lives here: asking a gate (what is declared first, then the callbacks) and a priority. Whatever is awaitable is found by
looking at the result, not at the function, and handed to the dispatcher to be awaited.

A callback that raises is logged with its traceback and never disturbs the scheduler: a raising is_ready means not
ready, a raising is_stale means stale, a raising priority means the default.

Must not know: event loops, tasks, limits. The wall clock and `time.monotonic` are used for the policy alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Mapping
from inspect import isawaitable
from math import isnan
from os import stat
from typing import Any, Final

from runcue._artifacts.artifact import Artifact, plainly
from runcue._artifacts.file import File
from runcue._artifacts.flag import Flag
from runcue._callbacks.failures import BLOCKS_AFTER, Failures, without_frames
from runcue._callbacks.verdicts import NOT_READY, RUN, SKIP, AwaitableAnswer, GateVerdict, Question, discard
from runcue._callbacks.warning_log import WarningLog
from runcue._model.errors import ConfigurationError
from runcue._model.texts import describe, problem_of, words_of
from runcue._model.work import DEFAULT_PRIORITY, Declaration, PriorityContext, Task, Work

__all__ = ["Callbacks"]

_RAISED: Final = object()

# Questions whose time is taken together, while all of them take no longer than this.
_TOGETHER = 16
_QUICK = 0.0005


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


class Callbacks(Failures):
    """All user callbacks of a cue, behind one failure policy.

    Attributes:
        at: When the last callback was done.
        producer_of: The unsettled work that makes an artifact, by its key.
        held_for: The input for which the last verdict was HELD.
        reads: The artifacts that were asked while the last question was, by key; empty between questions.
        skipped: The last work units that is_stale had skipped, with what they looked at, until somebody looks into
            them.
    """

    def __init__(self, log: WarningLog) -> None:
        super().__init__(log)
        self.priority: Callable[[PriorityContext], Any] | None = None
        self.at = 0.0
        self.producer_of: Mapping[Hashable, Work] = {}
        self.held_for: Any = None
        self.reads: dict[Hashable, Artifact] = {}
        self.skipped: deque[tuple[Work, tuple[Artifact, ...]]] = deque(maxlen=1000)

    # --- The gate -----------------------------------------------------------------------------------------------

    def ask(self, work: Work, began: float) -> GateVerdict | AwaitableAnswer:
        """Ask the two questions, ready before stale. `at` is the instant of the answer.

        Args:
            work: The work to be asked about.
            began: The instant now.

        Returns:
            A verdict; or an `AwaitableAnswer` when the callback's answer must be awaited first, to be
            continued with `resume`.
        """
        task = work._task
        if self.reads:
            self.reads.clear()
        is_ready = task.is_ready
        if work._declared is not None:
            verdict = self._ask_inputs(work, work._declared)
            if verdict is not RUN or is_ready is not None or not work._declared.outputs:
                began = self._after_artifacts(work, began)
            if verdict is not RUN:
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
            self.blocked(f"is_ready callback {describe(is_ready)}", ended - began)
        if answer is True:
            return RUN if task.is_stale is None else self._ask_stale(work)
        if answer is _RAISED:
            return NOT_READY
        if answer is False:
            work._not_ready_reason = None
            return NOT_READY
        return self.interpret(work, answer)

    def ask_batch(self, works: deque[Work], phase: int, until: float) -> tuple[list[Work], Work | None, Any]:
        """Ask is_ready down a line of work units, as long as it plainly says False: `ask` for a great many at once.

        Args:
            works: They are taken out from the left as they are asked.
            phase: Stop at a work unit that is not in this phase.
            until: Stop at this instant.

        Returns:
            Those that are not ready; the first that gave another answer, if any; and that answer, for `interpret`.
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
                self.blocked(f"is_ready callback {describe(is_ready)}", took)
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

    def interpret(self, work: Work, answer: Any) -> GateVerdict | AwaitableAnswer:
        """Go on after is_ready has answered."""
        try:
            if isawaitable(answer):
                return AwaitableAnswer("ready", answer)
            ready = self._ready(work, answer)
        except BaseException as error:
            ready = self._ready_raised(work, error)
        return self._ask_stale(work) if ready else NOT_READY

    def resume(
        self, work: Work, question: Question, answer: Any, error: BaseException | None
    ) -> GateVerdict | AwaitableAnswer:
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
                if (
                    work._declared is not None
                    and (verdict := self._ask_inputs(work, work._declared)) is not RUN
                ):
                    return verdict
                return self.interpret(work, answer)
            self._ready_raised(work, error)
            return NOT_READY
        verdict = RUN
        if error is None:
            try:
                verdict = RUN if answer or (work._declared is not None and work._declared.forced) else SKIP
            except BaseException as raised:
                error = raised
        if error is not None:
            self._stale_raised(work, error)
        if verdict is RUN and work._declared is not None:
            return self._ask_inputs(work, work._declared)  # for the same reason
        return verdict

    def _ask_stale(self, work: Work) -> GateVerdict | AwaitableAnswer:
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
                return AwaitableAnswer("stale", answer)
            else:
                verdict = RUN if answer else SKIP
        except BaseException as error:
            verdict = self._stale_raised(work, error)
        self.at = ended = self.now()
        if ended - began > BLOCKS_AFTER:
            self.blocked(f"is_stale callback {describe(is_stale)}", ended - began)
        if self.reads and verdict is SKIP:
            self.skipped.append((work, tuple(self.reads.values())))
        return verdict

    def is_out_of_date(self, work: Work) -> bool:
        """Whether a settled work unit would run again for what it declares. Asked of a stand-in."""
        known = work._declared
        if known is None or not known.outputs:
            return False
        return self.verdict_on(work, known, known.inputs, known.outputs) is not None

    def note_start(self, work: Work) -> None:
        """Let the freshness policy know that a handler is about to be entered."""
        declared = work._declared
        if declared is not None and declared.fresh is not None:
            try:
                declared.fresh.started(work)
            except BaseException as error:
                self.raised(f"{words_of(declared.fresh)}", error, work)

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
        if self._ask_inputs(twin, declared) is RUN and self._is_stale(twin, declared):
            return declared.stale
        return None

    # --- What is declared ---------------------------------------------------------------------------------------

    def _ask_inputs(self, work: Work, declared: Declaration) -> GateVerdict:
        """Whether all declared inputs are valid: RUN, NOT_READY or HELD; INVALID if they are not known."""
        if declared.fault is not None:
            return GateVerdict.INVALID
        inputs = declared.inputs
        if not inputs:
            return RUN
        producer_of = self.producer_of
        if producer_of:
            for artifact in inputs:
                producer = producer_of.get(artifact._key)
                if producer is not None and producer is not work:
                    self.held_for = artifact
                    return GateVerdict.HELD
        before = []
        whole = declared.whole
        for artifact in inputs:
            try:
                version = _version_if_valid(artifact, whole)
            except BaseException as error:
                self.raised(f"input {words_of(artifact)}", error, work)
                work._not_ready_reason = without_frames(error)
                self.reads[artifact._key] = artifact
                return NOT_READY
            if version is _NOT_VALID:
                work._not_ready_reason = artifact
                self.reads[artifact._key] = artifact
                return NOT_READY
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
        self.raised(f"is_ready callback {describe(work._task.is_ready)}", error, work)
        work._not_ready_reason = without_frames(error)
        return False

    def _stale_raised(self, work: Work, error: BaseException) -> GateVerdict:
        self.raised(f"is_stale callback {describe(work._task.is_stale)}", error, work)
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
            self.raised(f"priority callback {describe(call)}", error, work)
            return DEFAULT_PRIORITY
        if (took := self.now() - began) > BLOCKS_AFTER:
            self.blocked(f"priority callback {describe(call)}", took)
        return min(max(value, 0.0), 1.0)
