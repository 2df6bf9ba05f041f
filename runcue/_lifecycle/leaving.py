"""What a stop leaves undone although it could run some time: for later, tried without end, or kept by a breaker.

Who submits something for later while its cue is stopping, as a handler does that submits tomorrow's run of itself, does
not keep it from stopping; nor does what fails again and again. Those are cancelled, and listed in the summary. What was
submitted for later before the stop is waited for, unless the stop says otherwise.

Lives here: `Leaving`.

Must not know: when a cue has come to rest, why it stops.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Final

from runcue._callbacks.warning_log import WarningLog
from runcue._dispatch.dispatcher import Dispatcher
from runcue._dispatch.outside_tasks import outside_tasks
from runcue._explain.explanations import Explanations
from runcue._explain.likeness import grouped
from runcue._lifecycle.cancellation import BY_STOP
from runcue._model.phases import RUNNING, SETTLED
from runcue._model.texts import how_many
from runcue._model.work import Work
from runcue._scheduling.appointments import wanted_at_once
from runcue._scheduling.core import Core
from runcue._scheduling.essential import essential_works
from runcue._scheduling.retry import is_endless

if TYPE_CHECKING:
    from runcue._explain.answers import Blocked

__all__ = ["Leaving"]

_ROUNDS: Final = 100
"""So often some are cancelled at once.

A number, since nothing else tells who would go on for ever: a listener that submits again what it hears the end of may
do so by way of other work units, whose handlers do end; and a handler that waits for one after the other, each for
later, may mean to wait for three of them or for all that will ever be. To let only the first of each be cancelled at
once was tried: the handler of three is then taken for a deadlock at its second. It need not be exact. Whoever comes
after is in `left` and is cancelled all the same, in the end, and only who waits for it has to wait until then.
"""


class Leaving:
    """Leaves what is undone, for one cue.

    Args:
        core: The state.
        dispatcher: What is stopped.
        explanations: Say why work units do not run.
        log: Where it is told.

    Attributes:
        works: Those that were left since the start.
        ends_runs: Whether what runs is cut off as well.
    """

    def __init__(
        self, core: Core, dispatcher: Dispatcher, explanations: Explanations, log: WarningLog
    ) -> None:
        self._core = core
        self._dispatcher = dispatcher
        self._explanations = explanations
        self._log = log
        self.works: dict[Work, None] = {}
        self.ends_runs = False
        # Those of which nobody has said that they are to be left, and for what they have waited.
        self._untold: list[tuple[Work, str]] = []
        # Submitted for later since the cue is stopping: those that were not looked at yet, and all of them; whether all
        # others that are for later are left as well, and what is tried without end; how often some have been left.
        self._submitted: list[Work] = []
        self._late: set[Work] = set()
        self._leaves_later = self._leaves_endless = False
        self._rounds = 0

    def begin(self) -> None:
        """The cue was started."""
        self.works, self._untold, self._submitted = {}, [], []
        self.ends_runs = False
        self._rounds, self._late = 0, set()
        self._leaves_later = self._leaves_endless = False
        self._core.came_back = self._dispatcher.settlement.succeeds = None

    def begin_to_stop(self) -> None:
        """From now on whatever comes to wait for an instant again may have to be left."""
        self._core.came_back = []
        self._dispatcher.settlement.succeeds = self._succeeds

    def submitted(self, work: Work) -> None:
        """A work unit was submitted for later while the cue is stopping."""
        self._submitted.append(work)
        self._late.add(work)
        self._dispatcher.turns.wake()

    def look(self) -> None:
        """Leave what has come to be left since the last look.

        It is cancelled at once; but whoever hears of a cancellation and submits it again could go on so for ever. After
        some rounds it is merely waited for no more, and cancelled with all that is left in the end.
        """
        core = self._core
        works, self._submitted = self._submitted, []
        left = [work for work in works if self._is_for_later(work)]
        if core.came_back:
            for work in core.came_back if self._leaves_endless else ():
                # With it those who have joined it, be it only since: else the first of them would take its place.
                if self._is_endless(work):
                    left += (work, *_followers_of(work))
            # Those that wait for their instants again, as somebody has left who had wanted them earlier.
            left += [
                work
                for work in core.came_back
                if (self._leaves_later or work in self._late) and self._is_for_later(work)
            ]
            core.came_back.clear()
        if self._leaves_endless:
            left += self._kept_by_breakers()
        if not left:
            return
        self._rounds += 1
        if self._rounds <= _ROUNDS:
            self._leave(left)
            return
        for work in left:
            if core.waits_for_appointment(work) or work in core.returning:
                core.returning.clear(work)
                core.appointments.set_aside(work)

    def leave_endless(self) -> None:
        """Leave what is tried again without end, now and from now on."""
        if not self._leaves_endless:
            self._leaves_endless = True
            self._leave([work for work in self._core.pending_works() if self._is_endless(work)])

    def _kept_by_breakers(self) -> list[Work]:
        """Those whose services are left in peace after failures: whether these come to an end nobody can know."""
        now = self._dispatcher.turns.now()
        kept = self._core.run_queues.kept_by_breakers(now)
        if not kept:
            return []
        essential = essential_works(self._core)
        return [one for work in kept for one in (work, *_followers_of(work)) if one not in essential]

    def leave_for_later(self) -> None:
        """Leave what was submitted for later, as whoever stops has asked for."""
        self._leaves_later = True
        if self._core.appointments.works:
            self._leave([work for work in self._core.pending_works() if self._is_for_later(work)], told=True)

    def unsettled(self) -> list[Work]:
        """What a drain leaves, which cancels nothing: all that has not settled."""
        core = self._core
        return [work for work in core.history if work._phase != SETTLED] if core.unsettled else []

    def takes(self, reason: Blocked) -> bool:
        """Take note of a pending work unit that is about to be given up, if it is one that could run some time."""
        if not (self._is_for_later(reason.work) or self._is_endless(reason.work)):
            return False
        self.works[reason.work] = None
        self._untold.append((reason.work, reason.details))
        return True

    def cancel(self, works: Iterable[Work]) -> None:
        """Cancel work units that are all cut off, so that nobody goes on in the place of another one."""
        settlement = self._dispatcher.settlement
        succeeds, settlement.succeeds = settlement.succeeds, None
        for work in works:
            settlement.cancel(work, BY_STOP)
        settlement.succeeds = succeeds

    def _succeeds(self, heir: Work) -> None:
        """Somebody has taken the place of one that was not cut off, and may be one that is."""
        runs = heir._phase >= RUNNING and not self.ends_runs
        if runs or self._dispatcher.turns.loop is None:
            return
        if not self._dispatcher.endings.is_over_for(heir):
            if self._core.came_back:
                self._core.came_back.append(heir)  # that one may be among them, and was not looked at yet
            return
        if self._is_for_later(heir) or self._is_endless(heir):
            self._leave([heir])
        else:
            self._dispatcher.settlement.cancel(heir, BY_STOP)

    def _is_for_later(self, work: Work) -> bool:
        one, appointments = _runs_for(work), self._core.appointments
        # Or it waits for its instant again as soon as its gate has answered, if whoever had wanted it earlier has left.
        if not self._core.waits_for_appointment(one) and (
            one not in appointments.recalls or wanted_at_once(one)
        ):
            return False
        now = self._dispatcher.turns.now()
        # It may have come just now.
        return appointments.when(one, now, now + self._dispatcher.turns.skew) > now

    def _is_endless(self, work: Work) -> bool:
        """Whether a work unit is to be tried again, as it was before, and nobody says that this has an end.

        Or it has one, and comes too late: a server has refused it, and nothing begins any more.
        """
        one = _runs_for(work)
        if one._attempts is None or one._attempts.again.is_delayed or one._phase >= RUNNING:
            return False
        again = one._attempts.again
        return is_endless(one) or (again.is_throttled and self._dispatcher.endings.is_over_for(one))

    def _leave(self, works: Collection[Work], *, told: bool = False) -> None:
        if not works:
            return
        now = (turns := self._dispatcher.turns).now()
        wall = now + turns.skew
        explainer = self._explanations.explainer
        reasons = outside_tasks(turns.loop, lambda: list(explainer.reasons(works, now, wall)))
        from runcue._explain.reasons import Reason  # noqa: PLC0415 - loaded when something is to be explained
        from runcue._explain.wording import in_short  # noqa: PLC0415 - loaded when something is to be explained

        for work, reason in reasons:
            if work._phase == SETTLED:
                continue  # by a listener that has heard of the one before
            if not told and work not in self.works:
                details = in_short(reason or Reason(work, "not asked"), now, wall)
                self._untold.append((work, details))
            self.works[work] = None
            self._dispatcher.settlement.cancel(work, BY_STOP)

    def tell(self) -> None:
        """Tell of those that were left, unless whoever stops has asked for that."""
        untold, self._untold = self._untold, []
        if untold:
            self._log.tell(
                "cancelled",
                (work for work, _ in untold),
                "stop() cancelled %s, to be submitted again: %s",
                how_many(len(untold), "work unit before it was due", "work units before they were due"),
                grouped(untold, see="Summary.left has all"),
            )


def _followers_of(work: Work) -> Iterable[Work]:
    followers = None if work._declared is None else work._declared.followers
    return followers or ()


def _runs_for(work: Work) -> Work:
    """The work unit that runs, or is going to, for a pending one: that which it has joined, or itself."""
    leader = None if work._declared is None else work._declared.leader
    return work if leader is None else leader
