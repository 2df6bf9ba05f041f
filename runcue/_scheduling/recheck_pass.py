"""One asking of everything that waits, in as many slices as it takes.

How this goes about it:

1. What waits stands in lines: one for each task, and one of those that wait for artifacts they were seen to read.
2. The lines take turns. One is asked for a portion, then the next; in each round for twice as much as in the one
   before. In a full pass each is asked to its end.
3. A line is through when it comes to one that this pass has asked: whoever is asked bears the number of the pass, and
   goes to the end of the line if it is not ready.
4. The pass is over when all lines are through, and an idle one as soon as it has found enough to be started.

Whoever lacks no more than a slot of its key steps aside until that has one (`slot_waiters`): no key keeps another one
from being asked, and the pass does not wait for it.

Nothing is counted, because lines move while a pass is under way: other rechecks turn them, async gates put work units
back long after they were asked.

Must not know: event loops, timers, what a gate is, when a pass is due.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from enum import Enum
from typing import Any, Final

from runcue._model.phases import NOT_READY
from runcue._model.task import Task
from runcue._model.work import Work
from runcue._scheduling.run_queue import RunQueue

__all__ = [
    "ASKED",
    "HIT",
    "LATER",
    "MISS",
    "PassState",
    "RecheckPass",
    "SubscriberLine",
    "lacks_key_only",
    "step_aside",
]

# What becomes of a work unit that is asked.
MISS: Final = 0
HIT: Final = 1
ASKED: Final = 2
LATER: Final = -1

_COMPANY: Final = 32
"""After the first hit of an idle pass, so many fruitless questions more: to find company for the one that will run."""

_TO_THE_END: Final = 1 << 30


class PassState(Enum):
    """How far a pass has come."""

    MORE = "there was no more time"
    BLOCKED = "whoever is left can be asked only where a slot is free"
    DONE = "it is over"


class _Portion(Enum):
    """How one turn of a line has ended."""

    ASKED = "so many as were to be asked, were"
    THROUGH = "the whole line was asked"
    NO_SLOT = "the next one can be asked only where a slot is free"
    NO_TIME = "there was no more time"
    ENOUGH = "an idle pass needs no more"


class SubscriberLine:
    """The work units that wait for artifacts, as a line that is walked through once.

    Whoever can be asked only where a slot is free steps aside, with those behind it that need the same slots, and lets
    the others pass: here work units of all tasks stand in one line.

    Attributes:
        is_rest: Whether some of them were asked in an earlier pass, which was replaced before the others could be.
    """

    def __init__(self, subscribers: list[Work | dict[Work, None]]) -> None:
        self.is_rest = False
        self._groups = iter(subscribers)
        self._group: list[Work] = []
        # Those who have stepped aside, by the slots that they lack; and which of these are still to be tried in this
        # turn of the line.
        self._aside: dict[Hashable, list[Work]] = {}
        self._to_try: list[Hashable] = []

    def begin_turn(self) -> None:
        """Slots may have become free since the last turn."""
        self._to_try = list(self._aside)

    def take_waiting(self, number: int) -> Work | None:
        """The next that was not asked in the pass of this number, None if there is none that can be asked now."""
        if self._to_try:
            work = self._from_aside(number)
            if work is not None:
                return work
        while True:
            while self._group:
                work = self._group.pop()
                if not _is_open(work, number):
                    continue
                run_queue: RunQueue = work._task.run_queue
                aside = self._aside.get(run_queue)
                if aside is None and run_queue.is_keyed:
                    aside = self._aside.get((run_queue, work._keyed))
                if aside is None:
                    return work
                aside.append(work)
            group = next(self._groups, None)
            if group is None:
                return None
            self._group = list(group) if isinstance(group, dict) else [group]

    def _from_aside(self, number: int) -> Work | None:
        while self._to_try:
            slots = self._to_try[-1]
            works = self._aside[slots]
            while works:
                work = works.pop()
                if _is_open(work, number):
                    return work
            del self._aside[slots]
            self._to_try.pop()
        return None

    def step_aside(self, work: Work) -> None:
        """It cannot be asked before a slot is free."""
        run_queue: RunQueue = work._task.run_queue
        slots = (run_queue, work._keyed) if lacks_key_only(work) else run_queue
        if self._to_try and (slots == self._to_try[-1] or slots is run_queue):
            self._to_try.pop()
        self._aside.setdefault(slots, []).append(work)

    @property
    def waits_for_slots(self) -> bool:
        """Whether some have stepped aside."""
        return bool(self._aside)


def lacks_key_only(work: Work) -> bool:
    """Whether one that can be asked only where a slot is free lacks that of its key alone: others can be asked."""
    run_queue: Any = work._task.run_queue
    return bool(
        run_queue.is_keyed
        and run_queue.free_slots() > 0
        and run_queue.slot_waiters.lacking_to(work) is not None
    )


def step_aside(work: Work) -> None:
    """The first of those of its task that wait lacks a slot of its key alone: it lets the others pass."""
    work._task.run_queue.slot_waiters.add(work._task.waiting.popleft())


def _is_open(work: Work, number: int) -> bool:
    """Whether a work unit still waits for an artifact and was not asked in the pass of this number."""
    return work._phase == NOT_READY and work._awaited is not None and work._recheck_pass != number


class RecheckPass:
    """One asking of everything that waits, resumable.

    Args:
        number: Its own, 1 or more.
        lines: What waits; those that wait for artifacts come last, if at all.
        check: Asks one, see `Rechecker`.
        began_at: How many work units had settled when it began; -1 if some answers of it are out of date.
        since: When it began.
        full: Whether all lines are asked to their ends. Otherwise it is an idle pass: nothing runs, and it wants
            something that can.

    Attributes:
        line: Those that wait for artifacts and are asked as well, None if there are none.
        subscribers: Whether these are all of them.
        hits: How many were found that wait no longer.
        complete: Whether all lines are through.
    """

    def __init__(
        self,
        number: int,
        lines: list[Task | SubscriberLine],
        check: Callable[[Work], int],
        began_at: int,
        since: float,
        *,
        full: bool,
    ) -> None:
        self.number = number
        last = lines[-1] if lines else None
        self.line = last if isinstance(last, SubscriberLine) else None
        self.subscribers = self.line is not None and not self.line.is_rest
        self.began_at = began_at
        self.since = since
        self.full = full
        self.hits = 0
        self.complete = False
        self._lines = lines
        self._check = check
        # Whose turn it is, and how much is asked in a turn of this round.
        self._turn = 0
        self._portion = 1
        self._company = _COMPANY
        # Of those asked, for the clock is not read for each.
        self._asked = 0

    def run(self, until: float, now: Callable[[], float]) -> PassState:
        """Ask on, until a certain instant."""
        lines = self._lines
        without_slot = 0
        while lines:
            if self._turn >= len(lines):
                self._turn = 0
                self._portion *= 2
            end = self._ask(lines[self._turn], until, now)
            if end is _Portion.NO_TIME:
                return PassState.MORE
            if end is _Portion.ENOUGH:
                return PassState.DONE
            if end is _Portion.THROUGH:
                del lines[self._turn]
                without_slot = 0
                continue
            self._turn += 1
            without_slot = without_slot + 1 if end is _Portion.NO_SLOT else 0
            if without_slot >= len(lines):
                return PassState.BLOCKED
        self.complete = True
        return PassState.DONE

    def _ask(self, line: Task | SubscriberLine, until: float, now: Callable[[], float]) -> _Portion:
        """Ask a portion of one line."""
        number, check = self.number, self._check
        portion = _TO_THE_END if self.full else self._portion
        end = _Portion.ASKED
        hit: Work | None = None
        subscribers = line if isinstance(line, SubscriberLine) else None
        if subscribers is not None:
            subscribers.begin_turn()
        while portion > 0:
            work = line.take_waiting(number)
            if work is None:
                without_slot = subscribers is not None and subscribers.waits_for_slots
                end = _Portion.NO_SLOT if without_slot else _Portion.THROUGH
                break
            work._recheck_pass = number
            answer = check(work)
            if answer == HIT:
                hit = work
                self.hits += 1  # where one is ready there are more: hits do not count against the portion
            elif answer == LATER:
                work._recheck_pass = 0
                if subscribers is not None:
                    subscribers.step_aside(work)
                elif lacks_key_only(work):
                    step_aside(work)
                else:
                    end = _Portion.NO_SLOT
                    break
            else:
                portion -= 1
                if self.hits and not self.full:
                    self._company -= 1
                    if self._company <= 0:
                        return _Portion.ENOUGH
            self._asked += 1
            if self._asked & 7 == 0 and now() > until:
                return _Portion.NO_TIME
        if hit is not None and not self.full:
            run_queue = hit._task.run_queue
            if run_queue.backlog() >= run_queue.free_slots():
                return _Portion.ENOUGH
        return end
