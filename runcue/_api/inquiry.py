"""What users ask of the work units of a cue: what is blocked, and why one is where it is.

Lives here: `Inquiry`. A work unit that nobody has asked about yet is asked here, for the answer alone.

Must not know: how reasons are found or worded.
"""

from __future__ import annotations

from typing import Any, Final

from runcue._api.handle import WorkHandle
from runcue._api.intake import Intake
from runcue._callbacks.callbacks import Callbacks
from runcue._callbacks.verdicts import STAYS_PENDING, AwaitableAnswer
from runcue._dispatch.turns import Turns
from runcue._explain.answers import Why, WhyStale
from runcue._explain.reasons import Reason, not_ready
from runcue._explain.why import Explainer
from runcue._explain.why_stale import why_stale
from runcue._model.errors import UnknownWork
from runcue._model.phases import NEW, RUNNING
from runcue._model.work import Work
from runcue._scheduling.core import Core

__all__ = ["Inquiry"]

_NOT_STARTED: Final = "the cue is not started: call start()"


class Inquiry:
    """Answers about the work units of one cue.

    Args:
        core: The state.
        callbacks: The gates, for work units that were not asked yet.
        turns: The clock.
        explainer: Finds reasons.
        intake: Says whether the cue is started.
    """

    def __init__(
        self, core: Core, callbacks: Callbacks, turns: Turns, explainer: Explainer, intake: Intake
    ) -> None:
        self._core = core
        self._gate = callbacks.gate
        self._turns = turns
        self._explainer = explainer
        self._intake = intake

    def blocked(self) -> list[dict[str, Any]]:
        """See `Cue.debug_blocked`."""
        now = self._turns.now()
        reasons = [
            (work, self._reason_of_new(work, now, reason) if work._phase == NEW else reason)
            for work, reason in self._explainer.reasons(list(self._core.pending_works()), now)
        ]
        if not self._intake.is_open:
            return [(reason or Reason(work, "not_ready", _NOT_STARTED)).as_dict() for work, reason in reasons]
        return [reason.as_dict() for _, reason in reasons if reason is not None]

    def why(self, work_id: str | Work) -> Why:
        """See `Cue.why`."""
        work = self._find(work_id)
        now = self._turns.now()
        wall = now + self._turns.skew
        if work._phase == NEW:
            self._reason_of_new(work, now, None)
        if work._phase < RUNNING and not self._intake.is_open:
            waited = max(0.0, wall - work.created_at)
            return Why(work, "not started", _NOT_STARTED, work.created_at, waited)
        return self._explainer.why(work, now, wall)

    def why_stale(self, work_id: str | Work) -> WhyStale:
        """See `Cue.why_stale`."""
        work = self._find(work_id)
        return why_stale(work, self._explainer.waits_for(work))

    def _reason_of_new(self, work: Work, now: float, reason: Reason | None) -> Reason | None:
        if work._task.gated and not work._task.gate_is_async:
            # Nobody has asked yet (it was submitted in this very step, or the cue is not started): ask for the answer.
            verdict = self._gate.ask(work, now)
            if isinstance(verdict, AwaitableAnswer):
                verdict.discard()
            elif verdict in STAYS_PENDING:
                return not_ready(work)
        return reason

    def _find(self, work: str | Work) -> Work:
        if isinstance(work, Work):
            return work
        if isinstance(work, WorkHandle):
            return work.work
        found = self._core.history.works.get(str(work))
        if found is None:
            raise UnknownWork(
                f"This cue knows no work {work!r}, or no longer (keep={self._core.history.keep})."
            )
        return found
