"""What it means that a limit has said no: when to come back, and for whom nobody will.

And what fails because of that: those that a limit could not be asked about, and those whose policy lets no other
attempt begin as late as this.

Lives here: `Refusals`. A limit is asked by whoever is about to start something, and that answer decides: asked again,
one that reads a clock may say yes by now, and then there would be neither a start nor a timer. One that contradicts
itself all the same makes nobody spin: who was called in vain comes back a little later, and then its first answer
counts.

Must not know: how limits are kept, how anything is started.
"""

from __future__ import annotations

from collections import deque
from math import inf, nextafter

from runcue._dispatch.endings import Endings
from runcue._dispatch.gates import Gates
from runcue._dispatch.settlement import Settlement
from runcue._dispatch.timers import Timers
from runcue._dispatch.turns import Turns
from runcue._limits.guarded import LOOK_AGAIN, GuardedLimit
from runcue._model.errors import LimitError
from runcue._model.phases import FAILED, RUNNING
from runcue._model.work import Work
from runcue._scheduling.retry import latest_start
from runcue._scheduling.run_queue import UNASKED, RunQueue
from runcue._scheduling.selection import can_start

__all__ = ["Refusals"]


class Refusals:
    """The refusals of the limits of one core.

    Args:
        turns: The turns of the loop.
        timers: Where run queues without room wait.
        gates: Ask work units that nobody will start so soon.
        settlement: Settles those that a limit could not be asked about.
        endings: Settles those of which no other attempt may begin.

    Attributes:
        errors: Work units that are to fail, because a limit could not be asked about them, and the errors; None: it is
            too late for another attempt.
    """

    def __init__(
        self, turns: Turns, timers: Timers, gates: Gates, settlement: Settlement, endings: Endings
    ) -> None:
        self._turns = turns
        self._timers = timers
        self._gates = gates
        self._settlement = settlement
        self._endings = endings
        self.errors: deque[tuple[Work, LimitError | None]] = deque()

    def note(self, run_queue: RunQueue, now: float, until: float) -> bool:
        """If a limit is what keeps this run queue from starting, come back when it may no longer.

        Args:
            run_queue: Somebody has tried to start what is in it.
            now: Monotonic.
            until: Stop at this instant.

        Returns:
            Whether more is left for the next turn.
        """
        refusal, run_queue.refusal = run_queue.refusal, None
        if refusal is None or self.errors:
            return False
        limit, work = refusal
        run_queue.refused_until = limit.next_room(now, work)
        passes_at, run_queue.passes_at = run_queue.passes_at, inf
        self._timers.active.set(run_queue, min(run_queue.refused_until, passes_at))
        if getattr(limit, "keeps_nothing", False):
            self._timers.exact.add(run_queue.refused_until)
        # Of a limit of the user's own this is not known any earlier: nobody asks it but who starts work units.
        return work is not None and self._gates.check_unstarted(run_queue, until)

    def let_come(self, run_queue: RunQueue, now: float, ordered: bool) -> bool:
        """Whether the limits of a run queue let a worker come. It asks once more itself, before it starts anything."""
        if not run_queue.unsure_until:
            if run_queue.near_budgets:
                return can_start(run_queue, now, ordered)
            return run_queue.has_room(now, None, ordered)
        if now < run_queue.unsure_until:
            self._timers.active.set(run_queue, run_queue.unsure_until)
            return False
        if not run_queue.may_have_room(now):
            return False
        run_queue.unsure_until = UNASKED
        return True

    def came_in_vain(self, run_queue: RunQueue, now: float) -> None:
        """A worker has come, and the first answer that it got was a limit's no."""
        refusal = run_queue.refusal
        if refusal is None or not isinstance(refusal[0], GuardedLimit):
            # Those of runcue do not contradict themselves: something has happened since, and it is looked at anew.
            return
        if run_queue.unsure_until == UNASKED:
            when = refusal[0].next_room(now, refusal[1])
            run_queue.unsure_until = when if when < inf else 0.0
        else:
            run_queue.unsure_until = now + LOOK_AGAIN

    def note_error(self, work: Work, error: LimitError) -> None:
        """A limit could not be asked about a work unit: have it fail soon. Not here: somebody is looking at it."""
        self.errors.append((work, error))
        self._turns.wake()

    def note_late(self, work: Work) -> None:
        """The last instant has come in which another attempt of a pending work unit may begin."""
        self.errors.append((work, None))
        self._turns.wake()

    def settle_errors(self) -> bool:
        """Fail the work units of which that was noted. Returns whether there were any."""
        errors = self.errors
        for _ in range(number := len(errors)):
            work, error = errors.popleft()
            if work._phase >= RUNNING:
                continue
            if error is not None:
                self._settlement.withdraw(work, FAILED, error)
            elif not self._may_begin(work):
                self._endings.give_up_late(work)
        return number > 0

    def _may_begin(self, work: Work) -> bool:
        """Whether another attempt of a pending work unit may begin all the same, as it would in this very instant."""
        now, latest = self._turns.now(), latest_start(work)
        if now < latest:
            self._timers.active.set(work, latest)
        elif now == latest and work._task.run_queue.starting:
            self.errors.append((work, None))  # those who are about to come may begin it
        elif now == latest and (asked := self._gates.awaited.question_of(work)) and asked.since == now:
            self._timers.active.set(work, nextafter(now, inf))
        else:
            return False
        return True
