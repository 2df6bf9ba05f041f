"""What users ask of the reasons: what is blocked, why a work unit is where it is, why it has run.

Lives here: `Questions`, loaded with the first one. A work unit that nobody has asked about yet is asked here, for the
answer alone.

Must not know: how reasons are found or worded.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import islice
from typing import Any, Final, TypeVar

from runcue._api.intake import Intake
from runcue._callbacks.callbacks import Callbacks
from runcue._callbacks.verdicts import STAYS_PENDING, AwaitableAnswer
from runcue._dispatch.dispatcher import Dispatcher
from runcue._explain.answers import Why, WhyStale, blocked, why_of
from runcue._explain.out_of_date import out_of_date
from runcue._explain.reasons import Reason, unready
from runcue._explain.roots import Roots, not_started
from runcue._explain.up_to_date import left_by
from runcue._explain.why import Explainer
from runcue._explain.why_all import WhyAll, why_all_of
from runcue._explain.why_stale import why_stale
from runcue._model.phases import COMPLETED, NEW, RUNNING, SETTLED, SKIPPED
from runcue._model.texts import name_of, words_of
from runcue._model.work import Work
from runcue._scheduling.core import Core
from runcue._scheduling.numbers import counts

__all__ = ["Questions"]

_Answer = TypeVar("_Answer", Why, WhyStale)

_ASKED: Final = 1000
"""So many gates are asked for the answer alone when all that waits is to be explained."""


class Questions:
    """Answers about the work units of one cue.

    Args:
        core: The state.
        callbacks: The gates, for work units that were not asked yet.
        dispatcher: Has the clock; whose work units are its.
        explainer: Finds reasons.
        intake: Says whether the cue is started.
    """

    def __init__(
        self, core: Core, callbacks: Callbacks, dispatcher: Dispatcher, explainer: Explainer, intake: Intake
    ) -> None:
        self._core = core
        self._gate = callbacks.gate
        self._declared_gate = callbacks.declared_gate
        self._dispatcher = dispatcher
        self._turns = dispatcher.turns
        self._explainer = explainer
        self._intake = intake

    def blocked(self, now: float) -> list[dict[str, Any]]:
        """See `Cue.debug_blocked`.

        Args:
            now: Monotonic: when it was asked, which is before all of this was loaded.
        """
        wall = now + self._turns.skew
        pending = list(self._core.pending_works())
        reasons = [
            self._reason_of_new(work, now, reason) if work._phase == NEW else reason
            for work, reason in self._explainer.reasons(pending, now, wall)
        ]
        if not self._intake.is_open:
            found = zip(pending, reasons, strict=True)
            reasons = [reason or Reason(work, "not started") for work, reason in found]
        return [one.as_dict() for one in blocked(reasons, now, wall)]

    def why(self, work: Work, now: float) -> Why:
        """See `Cue.why`.

        Args:
            work: The work unit.
            now: As for `blocked`.
        """
        wall = now + self._turns.skew
        if work._phase == NEW:
            self._reason_of_new(work, now, None)
        if work._phase < RUNNING and not self._intake.is_open:
            return why_of(Reason(work, "not started", None, now + work.created_at - wall), now, wall)
        return self._as_of_now(self._explainer.why(work, now, wall))

    def why_all(self, now: float) -> WhyAll:
        """See `Cue.why`, of all work units at once.

        Args:
            now: As for `blocked`.
        """
        wall = now + self._turns.skew
        pending = list(self._core.pending_works())
        running = counts(self._core)["running"]
        if pending and not self._intake.is_open:
            crowds = [not_started(pending)]
        else:
            for work in islice((work for work in pending if work._phase == NEW and work._task.gated), _ASKED):
                self._reason_of_new(work, now, None)
            crowds = Roots(self._core, self._explainer, self._dispatcher, now, wall).crowds(pending)
        room = self._intake.room
        if room is None or not room.waiting:
            return why_all_of(crowds, running, 0, 0, (), now, wall)
        threads, places = room.waiting_threads(), room.places_of_threads()
        return why_all_of(crowds, running, room.waiting, threads, places, now, wall)

    def why_stale(self, work: Work, others: Iterable[Work]) -> WhyStale:
        """See `Cue.why_stale`.

        Args:
            work: The work unit.
            others: Those of all cues, its own included, that may have made what it declares.
        """
        return self._as_of_now(why_stale(work, self._explainer.waits().maker_for(work), others))

    def _as_of_now(self, answer: _Answer) -> _Answer:
        """An answer about what is settled that says so if its outputs are out of date by now, or may be soon."""
        later = self._by_now(answer.work)
        return replace(answer, details=f"{answer.details.removesuffix('.')}. {later}") if later else answer

    def _by_now(self, work: Work) -> str:
        declared, dependencies = work._declared, self._core.dependencies
        if work._phase < SETTLED or declared is None:
            return ""
        if work._outcome not in (COMPLETED, SKIPPED) or work._task.is_stale is not None:
            return ""
        if declared.rehearsed is not None or left_by(work) is not None or not declared.outputs:
            return ""
        if any(map(dependencies.maker_of, declared.outputs)):
            return ""  # it is made anew
        for artifact in declared.inputs:
            if (maker := dependencies.maker_of(artifact)) is not None:
                does = "is pending" if maker._phase < RUNNING else "runs"
                return (
                    f"{name_of(maker)} {does}, which makes {words_of(artifact)}: submit this again after it"
                )
        found = self._declared_gate.why_stale(work, declared, declared.inputs, declared.outputs, reads=False)
        if found is None:
            return ""
        return f"By now it is out of date: {out_of_date(*found, planned=True)}; submit it again"

    def _reason_of_new(self, work: Work, now: float, reason: Reason | None) -> Reason | None:
        if work._task.gated and not work._task.gate_is_async:
            # Nobody has asked yet (it was submitted in this very step, or the cue is not started): ask for the answer.
            verdict = self._gate.ask(work, now)
            if isinstance(verdict, AwaitableAnswer):
                verdict.discard()
            elif verdict in STAYS_PENDING:
                return unready(work)
        return reason
