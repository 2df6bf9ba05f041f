"""What users ask of the work units of a cue: which there are, in their order, how many, and why one is where it is.

Lives here: `Inquiry`. What concerns reasons is answered by `questions`, which is loaded for that.

Must not know: how reasons are found or worded.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakSet

from runcue._api.handle import WorkHandle
from runcue._api.intake import Intake
from runcue._callbacks.callbacks import Callbacks
from runcue._dispatch.dispatcher import Dispatcher
from runcue._dispatch.outside_tasks import outside_tasks
from runcue._explain.explanations import Explanations, load
from runcue._model.checks import is_one_of
from runcue._model.errors import ConfigurationError, UnknownWork, UsageError
from runcue._model.phases import SETTLED, WorkState
from runcue._model.task import Task
from runcue._model.texts import name_of, words_of
from runcue._model.work import Work
from runcue._scheduling.core import Core
from runcue._scheduling.numbers import counts, counts_by_task

if TYPE_CHECKING:
    from runcue._api.questions import Questions
    from runcue._explain.answers import Why, WhyStale
    from runcue._explain.why_all import WhyAll

__all__ = ["Inquiry"]

# Of each cue that is still around: what an output was made with, the work units of another one may know.
_INQUIRIES: Final = WeakSet["Inquiry"]()


class Inquiry:
    """Answers about the work units of one cue.

    Args:
        core: The state.
        callbacks: The gates, for work units that were not asked yet.
        dispatcher: Has the clock; whose work units are its.
        explanations: Find reasons.
        intake: Says whether the cue is started.
    """

    def __init__(
        self,
        core: Core,
        callbacks: Callbacks,
        dispatcher: Dispatcher,
        explanations: Explanations,
        intake: Intake,
    ) -> None:
        _INQUIRIES.add(self)
        self._core = core
        self._callbacks = callbacks
        self._dispatcher = dispatcher
        self._explanations = explanations
        self._intake = intake
        # None as long as nobody has asked for reasons.
        self._asked: Questions | None = None

    @property
    def _questions(self) -> Questions:
        questions = self._asked
        if questions is None:
            load("runcue._api.questions")
            from runcue._api.questions import Questions  # noqa: PLC0415 - most programs ask nothing

            questions = self._asked = Questions(
                self._core, self._callbacks, self._dispatcher, self._explanations.explainer, self._intake
            )
        return questions

    def blocked(self) -> list[dict[str, Any]]:
        """See `Cue.debug_blocked`."""
        now = self._dispatcher.turns.now()  # before all of that is loaded
        return outside_tasks(None, self._questions.blocked, now)

    def why(self, work_id: str | Work) -> Why:
        """See `Cue.why`."""
        now = self._dispatcher.turns.now()
        return outside_tasks(None, self._questions.why, self._find(work_id), now)

    def why_all(self) -> WhyAll:
        """See `Cue.why`, of all work units at once."""
        now = self._dispatcher.turns.now()
        return outside_tasks(None, self._questions.why_all, now)

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
        return outside_tasks(None, self._questions.why_stale, work, others)

    def known(self, work: object, what: str = "A work unit") -> Work | None:
        """The work unit that is meant, None if the cue does not know it (any more).

        Args:
            work: The id, handle or Work. Another cue's may have the same id.
            what: What it was given as, for the message.

        Raises:
            ConfigurationError: It is none of these.
        """
        if not isinstance(work, (str, Work)):
            raise ConfigurationError(
                f"{what} is meant by its id, the text that submit() has returned, or by its Work, not by "
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
        found = self.known(one, "after= of list(): a work unit") or self._forgotten(one)
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
