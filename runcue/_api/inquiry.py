"""What users ask of the work units of a cue: what is blocked, and why one is where it is.

Lives here: `Inquiry`. A work unit that nobody has asked about yet is asked here, for the answer alone. And which work
units there are, in their order.

Must not know: how reasons are found or worded.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, Final, TypeVar
from weakref import WeakSet

from runcue._api.handle import WorkHandle
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
from runcue._model.checks import is_one_of
from runcue._model.errors import ConfigurationError, UnknownWork, UsageError
from runcue._model.phases import COMPLETED, NEW, RUNNING, SETTLED, SKIPPED, WorkState
from runcue._model.task import Task
from runcue._model.texts import name_of, words_of
from runcue._model.work import Work
from runcue._scheduling.core import Core
from runcue._scheduling.numbers import counts, counts_by_task

__all__ = ["Inquiry"]

_Answer = TypeVar("_Answer", Why, WhyStale)

# Of each cue that is still around: what an output was made with, the work units of another one may know.
_INQUIRIES: Final = WeakSet["Inquiry"]()

_ASKED: Final = 1000
"""So many gates are asked for the answer alone when all that waits is to be explained."""


class Inquiry:
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
        _INQUIRIES.add(self)
        self._core = core
        self._gate = callbacks.gate
        self._declared_gate = callbacks.declared_gate
        self._dispatcher = dispatcher
        self._turns = dispatcher.turns
        self._explainer = explainer
        self._intake = intake

    def blocked(self) -> list[dict[str, Any]]:
        """See `Cue.debug_blocked`."""
        now = self._turns.now()
        wall = now + self._turns.skew
        reasons = [
            (work, self._reason_of_new(work, now, reason) if work._phase == NEW else reason)
            for work, reason in self._explainer.reasons(list(self._core.pending_works()), now, wall)
        ]
        if not self._intake.is_open:
            reasons = [(work, reason or Reason(work, "not started")) for work, reason in reasons]
        told = blocked((reason for _, reason in reasons if reason is not None), now, wall)
        return [one.as_dict() for one in told]

    def why(self, work_id: str | Work) -> Why:
        """See `Cue.why`."""
        work = self._find(work_id)
        now = self._turns.now()
        wall = now + self._turns.skew
        if work._phase == NEW:
            self._reason_of_new(work, now, None)
        if work._phase < RUNNING and not self._intake.is_open:
            return why_of(Reason(work, "not started", None, now + work.created_at - wall), now, wall)
        return self._as_of_now(self._explainer.why(work, now, wall))

    def why_all(self) -> WhyAll:
        """See `Cue.why`, of all work units at once."""
        now = self._turns.now()
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
        threads = 0 if room is None else room.waiting_threads()
        return why_all_of(crowds, running, self.waiting_for_room(), threads, now, wall)

    def waiting_for_room(self) -> int:
        """How many submissions wait for room."""
        room = self._intake.room
        return 0 if room is None else room.waiting

    def counts(self, by: object) -> dict[str, Any]:
        """See `Cue.counts`."""
        if by is None:
            return counts(self._core)
        if is_one_of(by, ("task",)):
            return counts_by_task(self._core)
        raise ConfigurationError(f'by of counts() must be "task" or None, not {words_of(by)}.')

    def why_stale(self, work_id: str | Work) -> WhyStale:
        """See `Cue.why_stale`."""
        work = self._find(work_id)
        others = (other for inquiry in list(_INQUIRIES) for other in list(inquiry._core.history))
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

    def known(self, work: object) -> Work | None:
        """The work unit that is meant, None if the cue does not know it (any more).

        Args:
            work: The id, handle or Work. Another cue's may have the same id.

        Raises:
            ConfigurationError: It is none of these.
        """
        if not isinstance(work, (str, Work)):
            raise ConfigurationError(
                "A work unit is meant by its id, the text that submit() has returned, or by its Work, not by "
                f"{words_of(work)}."
            )
        meant = work.work if isinstance(work, WorkHandle) else work
        found = self._core.history.works.get(meant.id if isinstance(meant, Work) else str.__str__(meant))
        return found if found is meant or isinstance(meant, str) else None

    def ended_in_vain(self, work_id: str | Work) -> Work:
        """A work unit that is to be done once more.

        Raises:
            UnknownWork: There is no such one.
            UsageError: It has neither failed nor been cancelled.
        """
        work = self._find(work_id)
        if work.state in (WorkState.FAILED, WorkState.CANCELLED):
            return work
        if work._phase < SETTLED:
            now = f"is {work.state.value}"
        else:
            now = "was skipped" if work.skipped else "has succeeded"
            now += ": submit it once more, with force=True if it is up to date"
        raise UsageError(f"retry() is for what has failed or was cancelled, and {name_of(work)} {now}.")

    def known_works(
        self, state: WorkState | None, task: str | None, limit: int | None, after: object
    ) -> list[Work]:
        """See `Cue.list`; the name of the task and the other values are checked."""
        works: Sequence[Work] = tuple(self._core.history)
        if after is not None:
            works = works[self._place_after(after, works) :]
        found = (
            work
            for work in works
            if (state is None or work.state is state) and (task is None or work.task == task)
        )
        return list(islice(found, len(works) if limit is None else min(limit, len(works))))

    def _place_after(self, one: Any, works: Sequence[Work]) -> int:
        """Where in the order of submission those begin that were submitted after one, which may be long forgotten."""
        found = self.known(one) or self._forgotten(one)
        number_in = self._intake.number_in
        if found is None:
            number = None if isinstance(one, (WorkHandle, Work)) else number_in(str.__str__(one))
        elif hasattr(found, "_seq"):
            return bisect_right(works, found._seq, key=lambda work: work._seq)
        else:  # of a map or a group, and could not be submitted: it has an id, but no place among the others
            number = number_in(found.id)
        if number is None:
            raise UnknownWork(f"after={words_of(one)} of list() is no work unit of this cue.")
        return bisect_right(works, number, key=lambda work: number_in(work.id) or 0)

    def _find(self, work: str | Work) -> Work:
        found = self.known(work) or self._forgotten(work)
        if found is None:
            raise UnknownWork(
                f"This cue knows no work {words_of(work)}: that is none of its ids, or it ended long ago and was "
                f"forgotten (the last {self._core.history.keep:,} that have ended are kept; see Cue(keep=))."
            )
        return found

    def _forgotten(self, work: str | Work) -> Work | None:
        """One that was forgotten by the cue, but not by who asks; None if it is none of this cue's."""
        meant = work.work if isinstance(work, WorkHandle) else work
        if isinstance(meant, Work):
            task: Task | None = getattr(meant, "_task", None)
            if task is not None and task.dispatcher is self._dispatcher:
                return meant
        return None
