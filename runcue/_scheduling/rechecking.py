"""When waiting work units are asked again, and which ones: rule by rule, within a budget.

Lives here: three kinds of looks at work units whose is_ready said no.

- A settlement of a task that made such work units ready before: one fruitless question per settlement, hits are free.
  The experience is kept per pair of tasks by the core; a handful of waiting work units is asked whole.
- A settlement when nothing else runs: on until something is ready, or everything has been asked. Tasks take turns in
  doubling portions, the one that last became ready first: in a layered graph the next layer is found with one question
  per task.
- A full pass, as the safety net for changes from outside, as often as 5 % of the time allows.

A look at a task continues where the last one stopped: its waiting work units rotate.

Work units that wait for artifacts they were seen to read are called when those change (that is `_core.touch`). They
take part in idle looks, because a change may go unnoticed, but in the safety net only now and then.

Must not know: event loops, timers, what a gate is. It is called with a time limit and says whether it got through.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from runcue._model.phases import NOT_READY
from runcue._model.work import Task, Work
from runcue._scheduling.core import Core
from runcue._scheduling.run_queue import RunQueue

__all__ = ["ASKED", "HIT", "LATER", "MISS", "RECHECK_AFTER", "SUBSCRIBERS_AFTER", "Rechecker"]

RECHECK_AFTER: Final = 0.05
"""A change from outside is noticed within this time, while few work units wait."""

SUBSCRIBERS_AFTER: Final = 2.0
"""The same for work units that wait for an artifact: nearly always they are told."""

HIT: Final = 1
MISS: Final = 0
LATER: Final = -1
ASKED: Final = 2

# What a question costs at least, in seconds: an estimate for the time before the first pass has been measured.
_QUESTION: Final = 5e-7

# So few waiting work units are all asked, whatever the odds.
_HANDFUL = 8
# After the first hit of an idle look, this many fruitless questions more, to find company for the one that will run.
_COMPANY = 32


class Rechecker:
    """Decides which waiting work units are asked, and asks them through `judge`.

    Args:
        core: The state.
        judge: Asks the gate of a waiting work unit that has been taken out of its line, and puts it where it belongs.
            Returns whether it is ready or skipped (HIT), stays (MISS), is being asked by an async gate (ASKED), or
            cannot be asked now because such a gate needs a free slot (LATER). MISS has put it back at the end of its
            line, LATER at the front.
        now: The clock.
    """

    def __init__(self, core: Core, check: Callable[[Work], int], now: Callable[[], float]) -> None:
        self._core = core
        self._check = check
        self._now = now
        self._pass: RecheckPass | None = None
        self._stuck = False
        self._full_wanted = False
        self._all_wanted = False
        self._recheck_wanted = False
        self._subscribers_asked_at = float("-inf")
        self._subscribers_cost = 0.0
        # The settlement count at which everything waiting had been asked and nothing was ready.
        self._fruitless_at = -1
        self._fruitless_cost = 0.0
        self._fruitless_ended = float("-inf")
        self.last_cost = 0.0
        self.nudges = 0
        self.passes = 0
        """The number of the current or last pass: a work unit that is asked in any way is marked with it."""
        self.asking = 0
        """Async gates of waiting work units that have been asked and have not answered yet."""

    # --- What others want ---------------------------------------------------------------------------------------

    def want_full(self) -> None:
        """Ask what waits for nothing in particular, and the others when it is time: the recheck.

        A full pass that is under way will do. An idle look whose async gates have not all answered must not be cut off:
        it would begin again and again.
        """
        if self._pass is not None and not self._pass.full and self.asking:
            return
        self._full_wanted = self._recheck_wanted = True

    def want_all(self) -> None:
        """Ask everything that waits: the last look of a stop."""
        self._full_wanted = self._all_wanted = True

    def nudged(self) -> None:
        """Ask everything that waits, all of it from now on: what was asked a moment ago may have a new answer."""
        self.nudges += 1
        self._full_wanted = self._all_wanted = True
        if self._pass is not None:
            self._pass.full = False  # it counts no longer: a new one begins

    def nudged_others(self) -> None:
        """The same for what waits for nothing in particular."""
        if self._core.count[NOT_READY] == self._core.dependencies.subscribed and not self.asking:
            return
        self.nudges += 1
        self._full_wanted = True
        if self._pass is not None and not self._pass.subscribers:
            self._pass.full = False

    def nothing_waits(self) -> None:
        """What was begun or wanted is moot: work units that wait later are asked by then."""
        if not self.asking:
            self._pass = None
            self._full_wanted = self._all_wanted = self._recheck_wanted = self._stuck = False

    def changed(self) -> None:
        """Something that is no settlement may have changed an answer (work was submitted, a gate registered)."""
        self._fruitless_at = -1
        if self._pass is not None:
            self._pass.began_at = -1  # what it has asked so far may have another answer now

    @property
    def exhausted(self) -> bool:
        """Whether asking again cannot help: all was asked since the last settlement, and nothing is under way."""
        if self.asking:
            return False
        if not self._core.count[NOT_READY] or self._stuck:
            return True
        return self._pass is None and not self._full_wanted and self._fruitless_at == self._core.settlements

    def idle_due(self, now: float) -> float:
        """When an idle look may begin: at once, unless the last one was dear and fruitless."""
        return max(now, self._fruitless_ended + 20 * self._fruitless_cost)

    def recheck_after(self) -> float:
        """Seconds until the next full pass, so that all passes together take no more than 5 % of the time."""
        core = self._core
        subscribed = core.dependencies.subscribed
        others = core.count[NOT_READY] - subscribed
        if not others:
            return max(SUBSCRIBERS_AFTER, 20 * max(self._subscribers_cost, subscribed * _QUESTION))
        return max(RECHECK_AFTER, 20 * max(self.last_cost, others * _QUESTION))

    # --- After a settlement -------------------------------------------------------------------------------------

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
            work = self._next(task)
            if work is None:
                break
            work._recheck_pass = self.passes
            verdict = check(work)
            if verdict == HIT:
                hits += 1
                if hits & 15 == 0 and self._now() > until:
                    break
            else:
                misses -= 1
                if verdict == LATER:
                    work._recheck_pass = 0
                    break
                if misses <= 0:
                    break
        return hits

    @staticmethod
    def _next(task: Task) -> Work | None:
        waiting = task.waiting
        while waiting:
            work = waiting.popleft()
            if work._phase == NOT_READY:
                return work
            task.waiting_tombstones -= 1
        return None

    # --- Passes -------------------------------------------------------------------------------------------------

    def step(self, until: float, *, idle: bool) -> bool:
        """Go on with a pass, or begin one if it is wanted.

        Args:
            until: Stop at this instant.
            idle: Nothing runs and nothing could start: an idle look is allowed.

        Returns:
            Whether more is left to be done at once.
        """
        if self._full_wanted and self._pass is None and idle and self.idle_due(self._now()) <= self._now():
            # An idle look is due as well: one pass for both, or whichever of the two comes first starves the other.
            self._all_wanted = True
        if self._full_wanted and (
            self._pass is None or not self._pass.full or (self._all_wanted and not self._pass.subscribers)
        ):
            self._pass = self._begin(full=True)
        elif self._pass is None:
            if not idle or self.exhausted or self.idle_due(self._now()) > self._now():
                return False
            self._pass = self._begin(full=False)
        self._full_wanted = self._all_wanted = self._recheck_wanted = False
        current = self._pass
        state = current.run(self._check, until, self._now)
        # What is left to be asked needs a free slot; only what has them can change that, and that wakes the pump.
        self._stuck = state == RecheckPass.BLOCKED and not self.asking
        if state == RecheckPass.MORE:
            return True
        if state == RecheckPass.BLOCKED or self.asking:
            return False  # goes on when an async gate has answered
        self._pass = None
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
        return idle and current.began_at != self._core.settlements

    def answered(self, hit: bool) -> None:
        """An async gate of a waiting work unit has answered."""
        self.asking -= 1
        if hit and self._pass is not None:
            self._pass.hits += 1

    def _begin(self, *, full: bool) -> RecheckPass:
        core, now = self._core, self._now()
        tasks = [task for task in core.all_tasks if task.waiting]
        first = core.wakeups.last_hit
        if first in tasks:
            tasks.remove(first)
            tasks.insert(0, first)
        self.passes += 1
        lines: list[Task | _SubscriberLine] = [*tasks]
        rest = max(SUBSCRIBERS_AFTER, 20 * self._subscribers_cost)
        due = self._recheck_wanted and (not tasks or now >= self._subscribers_asked_at + rest)
        if core.dependencies.subscribed and (due or not full or self._all_wanted):
            lines.append(_SubscriberLine(core.dependencies.all_subscribers(), self.passes))
        return RecheckPass(self.passes, lines, core.settlements, now, full=full)


class _SubscriberLine:
    """The work units that wait for artifacts, as a line that is walked through once."""

    def __init__(self, subscribers: list[Work | dict[Work, None]], number: int) -> None:
        self._groups = iter(subscribers)
        self._group: list[Work] = []
        self._number = number

    def next(self) -> Work | None:
        """The next that was not asked in this pass, None at the end."""
        while True:
            while self._group:
                work = self._group.pop()
                if (
                    work._phase == NOT_READY
                    and work._awaited is not None
                    and work._recheck_pass != self._number
                ):
                    return work
            group = next(self._groups, None)
            if group is None:
                return None
            self._group = list(group) if isinstance(group, dict) else [group]

    def put_back(self, work: Work) -> None:
        """Let it be the next again."""
        self._group.append(work)


class RecheckPass:
    """One asking of everything that waits, resumable.

    Lines move while a pass is under way: other looks turn them, async gates put work units back long after they were
    asked. So a pass does not count. Each work unit is marked with the pass in which it was asked, by whatever look;
    what is asked goes to the end of its line, and a task is through when the work at the front bears the mark.
    """

    MORE: Final = 1
    BLOCKED: Final = 2
    DONE: Final = 0

    def __init__(
        self, number: int, lines: list[Task | _SubscriberLine], began_at: int, since: float, *, full: bool
    ) -> None:
        self._number = number
        self._left = lines
        self.subscribers = bool(lines) and isinstance(lines[-1], _SubscriberLine)
        self._portion = 1
        self._turn = 0
        self._company = _COMPANY
        self.full = full
        self.began_at = began_at
        self.hits = 0
        self.since = since
        self.complete = False

    def run(self, check: Callable[[Work], int], until: float, now: Callable[[], float]) -> int:
        """Ask on. Returns MORE, BLOCKED or DONE."""
        left = self._left
        asked = 0
        blocked = 0
        while left:
            if self._turn >= len(left):
                self._turn = 0
                self._portion *= 2
            line = left[self._turn]
            portion = 1 << 30 if self.full else self._portion
            found = 0
            run_queue: RunQueue | None = None
            verdict = MISS
            through = False
            while portion > 0:
                work = line.next() if isinstance(line, _SubscriberLine) else Rechecker._next(line)
                if work is None:
                    through = True
                    break
                if work._recheck_pass == self._number and isinstance(line, Task):
                    line.waiting.appendleft(work)
                    through = True
                    break
                work._recheck_pass = self._number
                verdict = check(work)
                if verdict == HIT:
                    found += 1
                    run_queue = work._task.run_queue
                    self.hits += 1  # where one is ready there are more: hits do not count against the portion
                elif verdict == LATER:
                    work._recheck_pass = 0
                    if isinstance(line, _SubscriberLine):
                        line.put_back(work)
                    break
                else:
                    portion -= 1
                    if self.hits and not self.full:
                        self._company -= 1
                        if self._company <= 0:
                            return self.DONE
                asked += 1
                if asked & 7 == 0 and now() > until:
                    return self.MORE
            if (
                found
                and run_queue is not None
                and not self.full
                and run_queue.backlog() >= run_queue.free_slots()
            ):
                return self.DONE
            if through:
                del left[self._turn]
                blocked = 0
            else:
                self._turn += 1
                blocked = blocked + 1 if verdict == LATER else 0
                if blocked >= len(left):
                    return self.BLOCKED
        self.complete = True
        return self.DONE
