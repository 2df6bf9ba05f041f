"""When waiting work units are asked again, and which ones: rule by rule, within a budget.

How this goes about it:

1. After a settlement of a task that made such work units ready before (`follow_settlements`): one fruitless question
   per settlement, hits are free. `wakeups` keeps the experience per pair of tasks; a handful that waits is asked whole.
2. After a settlement when nothing else runs (`step`, an idle pass): on until something is ready, or everything has been
   asked, the task first of which one last became ready. In a layered graph the next layer is found with one question
   per task.
3. As often as 5 % of the time allow (`step`, a full pass): everything, as the safety net for changes from outside.
4. What a pass has cost, and whether it found anything, says when the next one may begin.

A recheck of a task continues where the last one stopped: its waiting work units rotate.

Work units that wait for artifacts they were seen to read are woken when those change (that is `wakeups`). They take
part in idle passes, because a change may go unnoticed, but in the safety net only now and then.

Must not know: event loops, timers, what a gate is. It is called with a time limit and says whether it got through.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Final

from runcue._model.phases import NOT_READY
from runcue._model.task import Task
from runcue._model.work import Work
from runcue._scheduling.core import Core
from runcue._scheduling.recheck_pass import (
    HIT,
    LATER,
    PassState,
    RecheckPass,
    SubscriberLine,
    lacks_key_only,
    step_aside,
)

__all__ = ["RECHECK_AFTER", "SUBSCRIBERS_AFTER", "Rechecker"]

RECHECK_AFTER: Final = 0.05
"""A change from outside is noticed within this time, while few work units wait."""

SUBSCRIBERS_AFTER: Final = 2.0
"""The same for work units that wait for an artifact: nearly always they are told."""

# What a question costs at least, in seconds: an estimate for the time before the first pass has been measured.
_QUESTION: Final = 5e-7

# So few waiting work units are all asked, whatever the odds.
_HANDFUL = 8


class Rechecker:
    """Decides which waiting work units are asked, and asks them through `check`.

    Args:
        core: The state.
        check: Asks the gate of a waiting work unit that has been taken out of its line, and puts it where it belongs.
            Returns whether it is ready or skipped (HIT), stays (MISS), is being asked by an async gate (ASKED), or
            cannot be asked now because such a gate needs a free slot (LATER). MISS has put it back at the end of its
            line, LATER at the front.
        now: The clock.

    Attributes:
        full_wanted: Whether a full pass is wanted.
    """

    def __init__(self, core: Core, check: Callable[[Work], int], now: Callable[[], float]) -> None:
        self._core = core
        self._check = check
        self._now = now
        # The pass that is under way, and whether whoever is left in it can be asked only where a slot is free.
        self._pass: RecheckPass | None = None
        self._stuck = False
        # Whether one with those that wait for artifacts is wanted; one that may ask them, if it is time.
        self.full_wanted = False
        self._all_wanted = False
        self._recheck_wanted = False
        # The number of the current or last pass: a work unit that is asked in any way is marked with it.
        self.passes = 0
        # Async gates of waiting work units that have been asked and have not answered yet.
        self.asking = 0
        # How often something was said to have changed that may change any answer.
        self.nudges = 0
        # Seconds that the last full pass took, and the last one with those that wait for artifacts; when that ended.
        self.last_cost = 0.0
        self._subscribers_cost = 0.0
        self._subscribers_asked_at = -inf
        # The settlement count at which everything waiting had been asked and nothing was ready.
        self._fruitless_at = -1
        # Seconds that the last pass took if it found nothing, and when it ended.
        self._fruitless_cost = 0.0
        self._fruitless_ended = -inf

    def follow_settlements(self, until: float) -> bool:
        """Look at work units that are known to wait for what has settled.

        Args:
            until: Stop at this instant.

        Returns:
            Whether all was looked at.
        """
        settled = self._core.wakeups.settled_causes
        while settled:
            cause = settled.popleft()
            learned_dependents = cause.learned_dependents
            wakeup_missed = False
            # Those first that had success last; one that misses lets the others pass the next time.
            for task in (
                sorted(learned_dependents, key=learned_dependents.__getitem__)
                if len(learned_dependents) > 1
                else tuple(learned_dependents)
            ):
                waiting = len(task.waiting)
                if not waiting or (wakeup_missed and waiting > _HANDFUL):
                    continue
                if not self._ask(task, waiting, waiting if waiting <= _HANDFUL else 1, until):
                    self._core.wakeups.missed(cause, task)
                    wakeup_missed = True
                elif task.waiting and self._now() > until:
                    settled.appendleft(cause)  # it made more of them ready than there was time to ask
                    return False
            if self._now() > until:
                return False
        return True

    def _ask(self, task: Task, questions: int, misses: int, until: float) -> int:
        """Ask up to so many, stopping after so many misses. Returns the number of hits."""
        hits = 0
        check = self._check
        for _ in range(questions):
            work = task.take_waiting()
            if work is None:
                break
            work._recheck_pass = self.passes
            verdict = check(work)
            if verdict == HIT:
                hits += 1
                if hits & 15 == 0 and self._now() > until:
                    break
            elif verdict == LATER:
                work._recheck_pass = 0
                if not lacks_key_only(work):
                    break
                step_aside(work)
            else:
                misses -= 1
                if misses <= 0:
                    break
        return hits

    def step(self, until: float, *, idle: bool) -> bool:
        """Go on with a pass, or begin one if it is wanted.

        Args:
            until: Stop at this instant.
            idle: Nothing runs and nothing could start: an idle recheck is allowed.

        Returns:
            Whether more is left to be done at once.
        """
        current = self._pass = self._wanted(idle)
        if current is None:
            return False
        state = current.run(until, self._now)
        # Whoever is left needs a free slot; only what has them can change that, and then everything is looked at.
        was_stuck, self._stuck = self._stuck, state is PassState.BLOCKED and not self.asking
        if self._stuck and not was_stuck:
            self._learn(current)
        if state is PassState.MORE:
            return True
        if state is PassState.BLOCKED or self.asking:
            return False  # goes on when an async gate has answered
        self._pass = None
        self._learn(current)
        return idle and current.began_at != self._core.settlements

    def _wanted(self, idle: bool) -> RecheckPass | None:
        """The pass to go on with, or to begin; None if nobody wants one."""
        current, now = self._pass, self._now()
        idle_due = idle and self.idle_due(now) <= now
        if self.full_wanted and current is None and idle_due:
            # An idle pass is due as well: one for both, or whichever of the two comes first starves the other.
            self._all_wanted = True
        if self.full_wanted and (
            # One that waits for slots alone must not keep those waiting that it has asked.
            current is None
            or not current.full
            or self._stuck
            or (self._all_wanted and not current.subscribers)
        ):
            current = self._begin(full=True)
        elif current is None:
            if not idle_due or self.exhausted:
                return None
            current = self._begin(full=False)
        self.full_wanted = self._all_wanted = self._recheck_wanted = False
        return current

    def _begin(self, *, full: bool) -> RecheckPass:
        core, now = self._core, self._now()
        tasks = [task for task in core.all_tasks if task.waiting]
        first = core.wakeups.last_hit
        if first in tasks:
            tasks.remove(first)
            tasks.insert(0, first)
        self.passes += 1
        lines: list[Task | SubscriberLine] = [*tasks]
        rest = max(SUBSCRIBERS_AFTER, 20 * self._subscribers_cost)
        due = self._recheck_wanted and (not tasks or now >= self._subscribers_asked_at + rest)
        if core.dependencies.subscribed and (due or not full or self._all_wanted):
            lines.append(SubscriberLine(core.dependencies.all_subscribers()))
        elif self._stuck and self._pass is not None and self._pass.line is not None:
            # Those who only lack a slot to be asked: what they were to be asked for is no longer known to anybody.
            self._pass.line.is_rest = True
            lines.append(self._pass.line)
        return RecheckPass(self.passes, lines, self._check, core.settlements, now, full=full)

    def _learn(self, current: RecheckPass) -> None:
        """Let a pass that is over say when the next one may begin."""
        # From begin to end, not its own share: on a busy loop, and with async gates, it is due less often.
        cost = self._now() - current.since
        if current.subscribers:
            self._subscribers_cost = cost
            self._subscribers_asked_at = self._now()
        elif current.full:
            self.last_cost = cost
        if current.hits == 0 and current.complete:
            everything = current.subscribers or not self._core.dependencies.subscribed
            if everything and current.began_at == self._core.settlements:
                self._fruitless_at = self._core.settlements
            self._fruitless_cost = cost
            self._fruitless_ended = self._now()
        else:
            self._fruitless_cost = 0.0

    def idle_due(self, now: float) -> float:
        """When an idle recheck may begin: at once, unless the last one was dear and fruitless."""
        return max(now, self._fruitless_ended + 20 * self._fruitless_cost)

    def recheck_after(self) -> float:
        """Seconds until the next full pass, so that all passes together take no more than 5 % of the time."""
        core = self._core
        subscribed = core.dependencies.subscribed
        others = core.count[NOT_READY] - subscribed
        if not others:
            return max(SUBSCRIBERS_AFTER, 20 * max(self._subscribers_cost, subscribed * _QUESTION))
        return max(RECHECK_AFTER, 20 * max(self.last_cost, others * _QUESTION))

    @property
    def exhausted(self) -> bool:
        """Whether asking again cannot help: all was asked since the last settlement, and nothing is under way."""
        if self.asking:
            return False
        if not self._core.count[NOT_READY] or self._stuck:
            return True
        return self._pass is None and not self.full_wanted and self._fruitless_at == self._core.settlements

    def answered(self, hit: bool) -> None:
        """An async gate of a waiting work unit has answered."""
        self.asking -= 1
        if hit and self._pass is not None:
            self._pass.hits += 1

    def want_full(self) -> None:
        """Ask what waits for nothing in particular, and the others when it is time: the recheck.

        A full pass that is under way will do. An idle recheck whose async gates have not all answered must not be cut
        off: it would begin again and again.
        """
        if self._pass is not None and not self._pass.full and self.asking:
            return
        self.full_wanted = self._recheck_wanted = True

    def want_all(self) -> None:
        """Ask everything that waits: the last recheck of a stop."""
        self.full_wanted = self._all_wanted = True

    def nudged(self) -> None:
        """Ask everything that waits, all of it from now on: what was asked a moment ago may have a new answer."""
        self.nudges += 1
        self.full_wanted = self._all_wanted = True
        if self._pass is not None:
            self._pass.full = False  # it counts no longer: a new one begins

    def nudged_others(self) -> None:
        """The same for what waits for nothing in particular."""
        if self._core.count[NOT_READY] == self._core.dependencies.subscribed and not self.asking:
            return
        self.nudges += 1
        self.full_wanted = True
        if self._pass is not None:
            self._all_wanted |= self._pass.line is not None  # those that it was to ask are asked all the same
            self._pass.full = False

    def changed(self) -> None:
        """Something that is no settlement may have changed an answer (work was submitted, a gate registered)."""
        self._fruitless_at = -1
        if self._pass is not None:
            self._pass.began_at = -1  # what it has asked so far may have another answer now

    def nothing_waits(self) -> None:
        """What was begun or wanted is moot: work units that wait later are asked by then."""
        if not self.asking:
            self._pass = None
            self.full_wanted = self._all_wanted = self._recheck_wanted = self._stuck = False
