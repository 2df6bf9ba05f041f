"""What will become of one work unit: the answers of its gate, asked now or worked out from what it declares.

Lives here: the two ways to tell. Where nothing that a work unit looks at is about to change, its gate is asked, by
the rules and with the code of `_callbacks`. Where inputs are about to be made anew, the callbacks would look at the
wrong time and are left alone: what is declared decides, and what only they know is said to be unsure.

Must not know: other work units than the one in question and the producers of its inputs, order, how a plan prints.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, NamedTuple

from runcue._artifacts.artifact import Artifact
from runcue._callbacks.declared_gate import DeclaredGate
from runcue._callbacks.failures import Failures
from runcue._callbacks.gate_answers import says_ready, says_stale
from runcue._callbacks.verdicts import GateVerdict, Question
from runcue._callbacks.warning_log import WarningLog
from runcue._freshness.digest import Digest
from runcue._freshness.newer import Newer
from runcue._model.awaitables import discard, is_awaitable
from runcue._model.checks import is_async
from runcue._model.declaration import Declaration
from runcue._model.texts import error_words, problem_of, words_of
from runcue._model.work import Work
from runcue._scheduling.dependencies import Dependencies
from runcue._scheduling.holds import Holds

__all__ = ["Because", "Forecaster", "Verdict"]

Because = tuple[str, Any, Any, Work | None]
"""A reason: its kind, what it is about, what that is compared to or what is wrong with it, and who makes it."""

_NOTHING: Final[Because] = ("nothing", None, None, None)
_AWAITED: Final = object()
_FORCED: Final[Because] = ("forced", None, None, None)


class Verdict(NamedTuple):
    """What will become of a work.

    Attributes:
        outcome: Whether it runs, is skipped, or never becomes ready.
        because: Why.
        may: Whether it may turn out up to date.
        unsure: What cannot be foretold; None if nothing.
    """

    outcome: Literal["run", "skip", "block"]
    because: Because
    may: bool = False
    unsure: str | None = None


class _Quiet(Failures):
    """Asks without logging: what a question raises is part of the answer here."""

    def raised(
        self, name: str, error: BaseException, work: Work | None, *, observed: bool = True, then: str = ""
    ) -> None:
        if isinstance(error, KeyboardInterrupt):
            raise error


class Forecaster:
    """Asks about work units that no core knows, so that nothing is changed by it.

    Args:
        planned: Who is planned to make what, or runs.
        known: Who was to make what and did not.
    """

    def __init__(self, planned: Dependencies, known: Dependencies) -> None:
        self._gate = DeclaredGate(_Quiet(WarningLog()), Holds(Dependencies()))
        self._planned = planned
        self._known = known

    def now(self, work: Work) -> Verdict:
        """Of a work unit of which nothing is about to change: its gate is asked."""
        declared = work._declared
        if (
            declared is not None
            and declared.inputs
            and self._gate.ask_inputs(work, declared) is GateVerdict.NOT_READY
        ):
            return Verdict("block", self._why_not_valid(work))
        unsure = None if work._task.is_ready is None else self._ask_ready(work)
        because: Because | None = None
        if declared is not None:
            if declared.forced:
                return Verdict("run", _FORCED, unsure=unsure)
            if declared.outputs:
                if not self._gate.is_stale(work, declared):
                    return Verdict("skip", _why_valid(declared), unsure=unsure)
                assert declared.stale is not None
                because = (*declared.stale, None)
        is_stale = work._task.is_stale
        if is_stale is None or unsure is not None:
            # Before it is ready nobody asks is_stale, which may rely on that.
            return Verdict("run", because or _NOTHING, unsure=unsure)
        stale, said, unsure = self._ask_stale(work, is_stale)
        return Verdict("run", because or said, unsure=unsure) if stale else Verdict("skip", said)

    def later(
        self, work: Work, declared: Declaration, anew: Mapping[int, Work], firm: Mapping[int, Work]
    ) -> Verdict:
        """Of a work unit that will be asked when some of its inputs have been made anew.

        Args:
            work: The work.
            declared: What it declares.
            anew: Who makes these inputs, by their place.
            firm: Those of them that will do so for sure.
        """
        if len(anew) < len(declared.inputs):
            part = Declaration(tuple(one for index, one in enumerate(declared.inputs) if index not in anew))
            if self._gate.ask_inputs(work, part) is GateVerdict.NOT_READY:
                return Verdict("block", self._why_not_valid(work))
            versions = iter(part.before)
            # Of no version nothing is said, by the rules of `Newer` and `Digest`.
            declared.before = [None if i in anew else next(versions) for i in range(len(declared.inputs))]
        task = work._task
        asked = [] if task.is_ready is None else ["is_ready"]
        if task.is_stale is not None and not declared.forced:
            asked.append("is_stale")
        unsure = f"{' and '.join(asked)} can be asked only once its inputs are made" if asked else None
        if declared.forced:
            return Verdict("run", _FORCED, unsure=unsure)
        if not declared.outputs:
            return Verdict("run", _NOTHING, unsure=unsure)
        return self._stale_later(work, declared, anew, firm)._replace(unsure=unsure)

    def _stale_later(
        self, work: Work, declared: Declaration, anew: Mapping[int, Work], firm: Mapping[int, Work]
    ) -> Verdict:
        """Whether outputs will be out of date once some inputs are made anew."""
        fresh = declared.fresh
        if not isinstance(fresh, (Newer, Digest)):
            declared.fresh = None  # a policy of the user's is not asked with half of what it needs
        stale = self._gate.is_stale(work, declared)
        declared.fresh = fresh
        if stale:
            assert declared.stale is not None
            verdict, _, other = declared.stale
            changed = other._key if verdict == "changed" and isinstance(other, Artifact) else None
            if changed is None or all(declared.inputs[index]._key != changed for index in anew):
                return Verdict("run", (*declared.stale, None))
        if fresh is None:
            return Verdict("skip", _why_valid(declared))
        if not isinstance(fresh, Newer):
            index, producer = next(iter((firm or anew).items()))
            kind = "other content" if firm else "may be other content"
            return Verdict("run", (kind, declared.inputs[index], None, producer), may=True)
        if any(map(_has_version, declared.outputs)):
            for dependencies, kind in ((firm, "made anew"), (anew, "may be made anew")):
                for index, producer in dependencies.items():
                    if _has_version(declared.inputs[index]):
                        because = kind, declared.inputs[index], None, producer
                        return Verdict("run", because, may=dependencies is not firm)
        return Verdict("skip", ("valid, no version", _listed(declared.outputs), None, None))

    def _ask_ready(self, work: Work) -> str | None:
        """Ask is_ready. Returns why it cannot be foretold when it says yes, None if it does now."""
        is_ready = work._task.is_ready
        assert is_ready is not None
        try:
            answer = _answer(is_ready, work)
            if answer is _AWAITED:
                return "is_ready has to be awaited"
            if says_ready(work, answer, _untold):
                return None
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            return f"is_ready raised {error_words(error)}"
        said = f": {work._not_ready_reason}" if isinstance(work._not_ready_reason, str) else ""
        return f"is_ready says not ready now{said}"

    @staticmethod
    def _ask_stale(work: Work, is_stale: Callable[[Work], Any]) -> tuple[bool, Because, str | None]:
        """Ask is_stale. Returns the answer, the reason, and what cannot be foretold."""
        try:
            answer = _answer(is_stale, work)
            if answer is _AWAITED:
                return True, _NOTHING, "is_stale has to be awaited"
            stale = says_stale(work, answer, _untold)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            return True, ("is_stale raised", None, error, None), None
        return stale, ("is_stale" if stale else "not stale", None, None, None), None

    def _why_not_valid(self, work: Work) -> Because:
        """Why an input keeps a work from ever being ready."""
        answer = work._not_ready_reason
        reads = self._gate.reads
        artifact = next(iter(reads.values()), None)
        reads.clear()
        if isinstance(answer, BaseException):
            return "input raised", artifact, answer, None
        text = problem_of(answer)
        producer = self._planned.maker_of(answer)
        if producer is work:
            return "cycle", answer, None, work
        if producer is not None:
            # It leaves things as they are: it is up to date, or fails before it starts.
            fails = producer._declared is not None and producer._declared.fault is not None
            return "producer fails" if fails else "producer idle", answer, text, producer
        failed = self._known.failure_of(answer)
        return "no producer" if failed is None else "producer failed", answer, text, failed


def _untold(question: Question, words: str, work: Work) -> None:
    """A dry run tells nothing beside the plan, which says what an answer counts as."""


def _answer(callback: Callable[[Work], Any], work: Work) -> Any:
    """What a callback says of a work unit, `_AWAITED` if that would have to be awaited."""
    if is_async(callback):
        return _AWAITED
    answer = callback(work)
    if answer is True or answer is False or not is_awaitable(answer):
        return answer
    discard(answer)
    return _AWAITED


def _has_version(artifact: Any) -> bool:
    """Whether it may ever be newer than something."""
    return type(artifact).version is not Artifact.version


class _Several:
    """Artifacts as one name."""

    __slots__ = ("_artifacts",)

    def __init__(self, artifacts: tuple[Any, ...]) -> None:
        self._artifacts = artifacts

    def __repr__(self) -> str:
        return f"each of {words_of(self._artifacts[0])} and {len(self._artifacts) - 1} more"


def _listed(artifacts: tuple[Any, ...]) -> Any:
    """What stands for outputs in a reason: usually there is one."""
    return artifacts[0] if len(artifacts) == 1 else _Several(artifacts)


def _why_valid(declared: Declaration) -> Because:
    """Why outputs are up to date that were found so."""
    outputs = _listed(declared.outputs)
    fresh = declared.fresh
    if isinstance(fresh, Digest):
        return "as made", outputs, None, None
    if not declared.inputs:
        return "valid", outputs, None, None
    if fresh is None:
        return "valid, no policy", outputs, None, None
    return ("newer", outputs, None, None) if isinstance(fresh, Newer) else ("by policy", outputs, fresh, None)
