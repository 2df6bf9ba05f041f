"""The gate of a work unit: is it ready, and is it stale?

Lives here: asking the two questions, ready before stale, and of each what is declared before the callback; the same for
a great many work units at once; and going on after an answer that had to be awaited. Whatever is awaitable is found by
looking at the answer, not at the function.

A raising is_ready means not ready, a raising is_stale means stale.

Must not know: event loops, where a work unit is put by its verdict.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from typing import Any, Final, NamedTuple

from runcue._artifacts.artifact import Artifact
from runcue._callbacks.declared_gate import DeclaredGate, looking_at
from runcue._callbacks.door import BE_QUICK, BLOCKS_AFTER, MAKE_ASYNC, Door
from runcue._callbacks.failures import Failures
from runcue._callbacks.forks import FORKS, leave
from runcue._callbacks.gate_answers import says_ready, says_stale
from runcue._callbacks.verdicts import NOT_READY, RUN, SKIP, AwaitableAnswer, GateVerdict, Question
from runcue._model.awaitables import is_awaitable
from runcue._model.callables import located
from runcue._model.declaration import InLane
from runcue._model.kept_errors import kept
from runcue._model.task import Task
from runcue._model.work import Work

__all__ = ["Batch", "Gate"]

_RAISED: Final = object()

# Questions whose time is taken together, while all of them take no longer than this.
_TOGETHER: Final = 16
_QUICK: Final = 0.0005


class Batch(NamedTuple):
    """What came of asking down a line of work units.

    Attributes:
        not_ready: Those that are not ready, of which nothing else is known.
        work: The one after them, if it gave another answer.
        answer: That answer, for `Gate.interpret`.
    """

    not_ready: list[Work]
    work: Work | None = None
    answer: Any = None


class Gate:
    """Asks work units the two questions.

    Args:
        failures: Hears of callbacks that raise; has the clock.
        door: Hears of those that block, and of what is no answer.
        declared_gate: Asks what is declared.

    Attributes:
        at: When the last callback was done.
        asking: Whether a question is being asked. What it is about is in nobody's line meanwhile, so that whoever is
            cancelled by who is asked is so afterwards.
        cancelled: Those, with who has cancelled them, or the error by which they are to fail, until that is done.
        reads: The artifacts that were asked while the last question was, by key; empty between questions.
        skipped: The last work units that is_stale had skipped, with what they looked at, until somebody looks into
            them.
    """

    def __init__(self, failures: Failures, door: Door, declared_gate: DeclaredGate) -> None:
        self.at = 0.0
        self.asking = False
        self.cancelled: dict[Work, Any] = {}
        self.reads: dict[Hashable, Artifact] = declared_gate.reads
        self.skipped: deque[tuple[Work, tuple[Artifact, ...]]] = deque(maxlen=1000)
        self._failures = failures
        self._door = door
        self._declared_gate = declared_gate

    def ask(self, work: Work, began: float) -> GateVerdict | AwaitableAnswer:
        """Ask the two questions, ready before stale. `at` is the instant of the answer.

        Args:
            work: The work to be asked about.
            began: The instant now.

        Returns:
            A verdict; or an `AwaitableAnswer` when the callback's answer must be awaited first, to be
            continued with `resume`.
        """
        self.asking = True
        try:
            if self.reads:
                self.reads.clear()
            is_ready, declared = work._task.is_ready, work._declared
            verdict: GateVerdict | AwaitableAnswer = RUN
            if declared is not None and type(declared) is not InLane:
                verdict = self._declared_gate.ask_inputs(work, declared)
                if verdict is not RUN or is_ready is not None or not declared.outputs:
                    began = self._after_artifacts(work, began)
            if is_ready is None:
                if verdict is RUN:
                    self.at = began
                    verdict = self._ask_stale(work)
            elif declared is None or verdict is RUN:
                verdict = self._ask_ready(work, is_ready, began)
        finally:
            self.asking = False
        return self._unless_cancelled(work, verdict) if self.cancelled else verdict

    def _unless_cancelled(
        self, work: Work, verdict: GateVerdict | AwaitableAnswer
    ) -> GateVerdict | AwaitableAnswer:
        if work not in self.cancelled:
            return verdict
        if isinstance(verdict, AwaitableAnswer):
            verdict.discard()
        return GateVerdict.CANCELLED

    def _ask_ready(
        self, work: Work, is_ready: Callable[[Work], Any], began: float
    ) -> GateVerdict | AwaitableAnswer:
        forks = FORKS.number
        try:
            answer = is_ready(work)
        except BaseException as error:
            if FORKS.number != forks:
                leave(error)
            self._ready_raised(work, error)
            answer = _RAISED
        if FORKS.number != forks:
            leave(None)
        self.at = ended = self._failures.now()
        if ended - began > BLOCKS_AFTER:
            self._door.blocked(f"is_ready callback {located(is_ready)}", began, ended, MAKE_ASYNC)
        if answer is True:
            plain = work._declared is None and work._task.is_stale is None
            return RUN if plain else self._ask_stale(work)
        if answer is False:
            work._not_ready_reason = None
            return NOT_READY
        return self._interpret(work, answer)

    def ask_batch(self, works: deque[Work], phase: int, until: float) -> Batch:
        """`ask` for a great many at once: ask is_ready down a line of work units, as long as it plainly says no.

        Args:
            works: They are taken out from the left as they are asked.
            phase: Stop at a work unit that is not in this phase.
            until: Stop at this instant.
        """
        self.asking = True
        try:
            return self._ask_batch(works, phase, until)
        finally:
            self.asking = False

    def _ask_batch(self, works: deque[Work], phase: int, until: float) -> Batch:
        not_ready: list[Work] = []
        began = self.at = self._failures.now()
        task: Task | None = None
        is_ready: Callable[[Work], Any] | None = None
        # While the answers come quickly the clock is read for a few of them together: for a great many work units it
        # would cost a sixth of the time.
        together = 1
        unread = 0
        reads = self.reads
        if reads:
            reads.clear()
        forks = FORKS.number
        found = Batch(not_ready)
        while works:
            work = works[0]
            if work._task is not task:
                if unread:
                    self._note_time(is_ready, began)
                    began, unread = self.at, 0
                task = work._task
                is_ready = task.is_ready
                together = 1
            if is_ready is None or work._phase != phase or work._declared is not None or task.gate_is_async:
                break
            works.popleft()
            unread += 1
            work._not_ready_reason = None
            try:
                answer = is_ready(work)
            except BaseException as error:
                if FORKS.number != forks:
                    leave(error)
                self._ready_raised(work, error)
                answer = _RAISED
            if FORKS.number != forks:
                leave(None)
            if reads or not (answer is False or answer is _RAISED):
                found = Batch(not_ready, work, answer)
                break
            not_ready.append(work)
            if unread < together:
                continue
            took = self._note_time(is_ready, began)
            began, unread = self.at, 0
            together = min(together * 2, _TOGETHER) if took < _QUICK else 1
            if began > until:
                break
        if unread:
            self._note_time(is_ready, began)
        return found

    def _note_time(self, is_ready: object, began: float) -> float:
        """Note how long some questions took. Returns the seconds."""
        self.at = self._failures.now()
        took = self.at - began
        if took > BLOCKS_AFTER:
            self._door.blocked(f"is_ready callback {located(is_ready)}", began, self.at, MAKE_ASYNC)
        return took

    def interpret(self, work: Work, answer: Any) -> GateVerdict | AwaitableAnswer:
        """Go on after is_ready has answered, or raised."""
        self.asking = True
        try:
            verdict = self._interpret(work, answer)
        finally:
            self.asking = False
        return self._unless_cancelled(work, verdict) if self.cancelled else verdict

    def _interpret(self, work: Work, answer: Any) -> GateVerdict | AwaitableAnswer:
        if answer is _RAISED:
            return NOT_READY
        try:
            if is_awaitable(answer):
                return AwaitableAnswer("ready", answer)
            ready = says_ready(work, answer, self._no_answer)
        except BaseException as error:
            self._ready_raised(work, error)
            return NOT_READY
        return self._ask_stale(work) if ready else NOT_READY

    def resume(
        self, work: Work, question: Question, answer: Any, error: BaseException | None
    ) -> GateVerdict | AwaitableAnswer:
        """Go on after an awaited answer, or after it raised.

        Args:
            work: The work asked about.
            question: The one that was open.
            answer: What the awaitable gave; nothing if something was read.
            error: What it raised instead.
        """
        verdict = self._resume(work, question, answer, error)
        # While its answer was awaited the gate of another one may have cancelled it, which is carried out a turn later.
        return self._unless_cancelled(work, verdict) if self.cancelled else verdict

    def _resume(
        self, work: Work, question: Question, answer: Any, error: BaseException | None
    ) -> GateVerdict | AwaitableAnswer:
        self.at = self._failures.now()
        self.reads.clear()
        if question == "ready":
            if error is not None:
                self._ready_raised(work, error)
                return NOT_READY
            verdict = self._ask_inputs_again(work)
            return self._interpret(work, answer) if verdict is RUN else verdict
        if question == "content":
            verdict = self._ask_inputs_again(work)
            if error is not None:
                self._failures.raised(f"reading the files of task {work.task}", error, work)
            elif verdict is RUN:
                return self._ask_stale(work)
            if work._declared is not None:
                work._declared.comparison = None  # once it is ready, there may be other content
            return verdict
        if error is None:
            try:
                forced = work._declared is not None and work._declared.forced
                if not (forced or says_stale(work, answer, self._no_answer)):
                    return SKIP
            except BaseException as raised:
                error = raised
        if error is not None:
            self._stale_raised(work, error)
        return self._ask_inputs_again(work)

    def _ask_inputs_again(self, work: Work) -> GateVerdict:
        # While an answer was awaited, the declared inputs may have changed.
        declared = work._declared
        return RUN if declared is None else self._declared_gate.ask_inputs(work, declared)

    def _ask_stale(  # noqa: C901 - one more call for each work unit would cost half a percent
        self, work: Work
    ) -> GateVerdict | AwaitableAnswer:
        is_stale = work._task.is_stale
        work._not_ready_reason = None
        declared = work._declared
        if declared is not None:
            if declared.forced:
                declared.stale = ("forced", None, None)
                return RUN
            if declared.outputs:
                began = self.at
                stale = self._declared_gate.is_stale(work, declared, defers=True)
                # As `_after_artifacts` does, without its call.
                self.at = ended = self._failures.now()
                if ended - began > BLOCKS_AFTER:
                    self._door.blocked(looking_at(work), began, ended, BE_QUICK, work)
                if stale is False:
                    return SKIP
                if stale is not True:
                    return AwaitableAnswer("content", stale)
        if is_stale is None:
            return RUN
        began = self.at
        forks = FORKS.number
        try:
            answer = is_stale(work)
            if FORKS.number != forks:
                leave(None)
            if answer is True:
                verdict = RUN
            elif answer is False:
                verdict = SKIP
            elif is_awaitable(answer):
                return AwaitableAnswer("stale", answer)
            else:
                verdict = RUN if says_stale(work, answer, self._no_answer) else SKIP
        except BaseException as error:
            if FORKS.number != forks:
                leave(error)
            verdict = self._stale_raised(work, error)
        self.at = ended = self._failures.now()
        if ended - began > BLOCKS_AFTER:
            self._door.blocked(f"is_stale callback {located(is_stale)}", began, ended, MAKE_ASYNC)
        if self.reads and verdict is SKIP:
            self.skipped.append((work, tuple(self.reads.values())))
        return verdict

    def _after_artifacts(self, work: Work, began: float) -> float:
        """Note how long looking at declared artifacts took. Returns the instant now."""
        self.at = ended = self._failures.now()
        if ended - began > BLOCKS_AFTER:
            self._door.blocked(looking_at(work), began, ended, BE_QUICK, work)
        return ended

    @staticmethod
    def places(task: Task) -> list[str]:
        """The callbacks that work units of a task are asked by, with their places in the source."""
        gates = (("is_ready", task.is_ready), ("is_stale", task.is_stale))
        return [f"{name} callback {located(gate)}" for name, gate in gates if gate is not None]

    def _ready_raised(self, work: Work, error: BaseException) -> None:
        self._failures.raised(f"is_ready callback {located(work._task.is_ready)}", error, work)
        work._not_ready_reason = kept(error)

    def _stale_raised(self, work: Work, error: BaseException) -> GateVerdict:
        self._failures.raised(f"is_stale callback {located(work._task.is_stale)}", error, work)
        return RUN

    def _no_answer(self, question: Question, words: str, work: Work) -> None:
        call = work._task.is_ready if question == "ready" else work._task.is_stale
        self._door.no_answer(f"is_{question} callback {located(call)}", words, work)
