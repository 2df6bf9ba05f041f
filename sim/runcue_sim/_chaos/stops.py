"""Judging stops: what each level cuts off and what it lets run, and what the summary has to list as left.

Lives here: `Stops`, how a cue is being stopped, as far as whoever stops it knows. What must complete, and what that
needs, is found by an account of its own; where it cannot be told from outside, both are allowed.

Must not know: what becomes of a violation, who listens.
"""

from __future__ import annotations

from math import inf
from typing import Final

from runcue_sim._chaos.attempts import Objection
from runcue_sim._chaos.observations import Observations
from runcue_sim._chaos.observed_work import ROUNDING, ObservedWork

_OPEN: Final = 0
_DRAIN: Final = 1
_FINISH: Final = 2
"""Nothing more starts, but what must complete and what that needs."""
_CUT: Final = 3
"""Nor does anything else go on."""
_KILL: Final = 4
"""Nothing goes on."""

_GRACE: Final = 1.0
"""Seconds that handlers have for their clean-up when all is cut off."""


class Stops:
    """The stops of one life.

    Args:
        observed: What was seen.
    """

    def __init__(self, observed: Observations) -> None:
        self._observed = observed
        self._called = _OPEN
        # When stop(timeout=) cuts off; since when nothing goes on; when time was about to pass last.
        self._cut_at = inf
        self._killed_at = inf
        self._looked_at = -inf
        self._leaves_delayed = False
        # How many had been submitted when it began.
        self._came_before = 0
        # All that may have come to be needed by what must complete, since nothing else goes on.
        self._spared: dict[str, None] = {}

    def called(
        self, now: float, *, drain: bool = True, timeout: float | None = None, leaves_delayed: bool = False
    ) -> None:
        """Somebody stops the cue, or stops it in another way.

        Args:
            now: The instant.
            drain: As in `Cue.stop`.
            timeout: As there.
            leaves_delayed: Whether what was submitted for later is not waited for.
        """
        if not self.begun:
            self._came_before = len(self._observed.works)
        level = _DRAIN if drain else _FINISH
        if timeout is not None and timeout <= 0:
            level, self._killed_at = _KILL, min(now, self._killed_at)
        elif timeout is not None:
            self._cut_at = min(self._cut_at, now + timeout)
        self._called = max(self._called, level)
        self._leaves_delayed = self._leaves_delayed or leaves_delayed
        self.look_for_essential(now)

    @property
    def begun(self) -> bool:
        """Whether the cue is being stopped."""
        return self._called > _OPEN

    def cuts_off(self, now: float) -> bool:
        """Whether something is, or may be at this instant, cut off."""
        return self._latest_level(now) >= _FINISH

    def _level(self) -> int:
        """The level that has been reached for sure: callbacks that block the loop may have kept it from noticing."""
        return max(self._called, _CUT) if self._looked_at > self._cut_at + ROUNDING else self._called

    def _latest_level(self, now: float) -> int:
        """The level that may have been reached at this instant."""
        return max(self._called, _CUT) if now >= self._cut_at - ROUNDING else self._called

    def _essential(self, *, surely: bool) -> dict[str, None]:
        """What must complete, and all that it needs for that."""
        observed = self._observed
        line = [work for work in observed.unsettled() if work.wish.must_complete]
        found = dict.fromkeys(work.id for work in line)
        while line:
            for other in observed.needed_by(line.pop(), surely=surely):
                if not other.ended and other.id not in found:
                    found[other.id] = None
                    line.append(other)
        return found

    def look_for_essential(self, now: float) -> None:
        """Something has changed, and what must complete may need something else."""
        if self._latest_level(now) >= _FINISH:
            self._spared |= self._essential(surely=False)

    def _may_go_on(self, now: float, work: ObservedWork) -> bool:
        """Whether a work unit may be one that a stop does not cut off."""
        self.look_for_essential(now)
        return self._called < _KILL and work.id in self._spared

    def must_go_on(self, now: float, work: ObservedWork) -> bool:
        """Whether a work unit is for sure one that no stop so far may cut off."""
        level = self._latest_level(now)
        return level < _FINISH or (level < _KILL and work.id in self._essential(surely=True))

    def of_start(self, now: float, work: ObservedWork) -> Objection:
        """A handler is about to be entered: whether anything may start by now."""
        if not self.begun:
            return None
        if self._level() >= _FINISH and not self._may_go_on(now, work):
            return "stopped", f"{work} starts at {now:g}, and a stop had cut off all that need not complete"
        if self._observed.waits_without_end(work):
            return "left", f"{work} is tried again at {now:g} as often as need be, while the cue stops"
        return None

    def give_up(self, now: float) -> None:
        """Something is about to start: the slots of plain handlers that a stop has cut off are free."""
        if self._latest_level(now) < _CUT:
            return
        observed = self._observed
        for work_id in {one for inside in observed.inside.values() for one in inside}:
            work = observed.works[work_id]
            if work.duty.is_plain and not self._may_run_on(now, work):
                observed.leave(work_id)

    def _may_run_on(self, now: float, work: ObservedWork) -> bool:
        """Whether a handler may be one that a stop does not cut off: what has settled is no longer needed."""
        return any(
            self._may_go_on(now, one)
            for one in self._observed.unsettled()
            if one is work or work in (one.leader, one.joined)
        )

    def of_repetition(self, now: float, work: ObservedWork, reason: str) -> Objection:
        """An attempt is over, and another one is to follow; who has asked for later is put back, and left."""
        if reason in ("postponed", "throttled") or self._level() < _FINISH or self._may_go_on(now, work):
            return None
        return (
            "stopped",
            f"{work} is to be tried again at {now:g}, and a stop had cut off what need not complete",
        )

    def of_cancellation(self, now: float, work: ObservedWork) -> Objection:
        """A work unit is cancelled, by nobody but a stop, and is not left: whether that cuts it off."""
        level = self._latest_level(now)
        if level < _FINISH or level == _KILL:
            return None
        if work.started is not None and work.id in self._essential(surely=True):
            return "stopped", f"{work} is cut off at {now:g}, and must complete or is needed for that"
        if work.started is not None and level < _CUT:
            return "stopped", f"{work} is cut off at {now:g} by a stop that lets go on what runs"
        return None

    def look(self, now: float) -> Objection:
        """Time is about to pass: what is cut off must have ended."""
        self._looked_at = now
        self.look_for_essential(now)
        level = self._level()
        if not self.begun:
            return None
        for work in self._observed.unsettled():
            # What must complete is waited for, be it for later, after a stop that lets nothing else start.
            is_asked = work.id in self._observed.injected.awaited
            if not is_asked and self.is_left(now, work, cuts_off=False):
                return "left", f"{work} still waits at {now:g}, and is what a stop leaves"
            if level < _FINISH:
                continue
            if self._goes_along(now, work):
                continue
            runs = work.started is not None or self._is_carried(work)
            if not (runs and level < _CUT) and not self._may_go_on(now, work):
                state = "runs" if runs else "waits"
                return (
                    "stopped",
                    f"{work} still {state} at {now:g}, and a stop has cut off what need not complete",
                )
        return None

    def _is_carried(self, work: ObservedWork) -> bool:
        """Whether a handler is at work for one that it was not started for."""
        ran = (work.leader, work.joined)
        return any(one is not None and one.started is not None and not one.left for one in ran)

    def _goes_along(self, now: float, work: ObservedWork) -> bool:
        """Whether it has joined one that has run and is not cut off: that runs, or waits for its next try, for both."""
        leader = work.leader
        return leader is not None and leader.tried > 0 and not leader.ended and self._may_go_on(now, leader)

    def is_left(self, now: float, work: ObservedWork, *, cuts_off: bool = True) -> bool | None:
        """Whether a stop leaves a work unit that is cancelled: it could run some time, and there is no end of that.

        Args:
            now: The instant.
            work: Any.
            cuts_off: Whether what waits is cut off, if the stop is one that cuts off.

        Returns:
            None if it may or may not: its instant has just come, or it was not its own when all was looked at.
        """
        if not self.begun or work.ended:
            return False
        observed = self._observed
        if observed.waits_without_end(work):
            return True
        if (work.leader or work).is_refused and self._latest_level(now) >= _FINISH:
            return None  # it is, unless it goes on just now
        if observed.allowances is not None and observed.allowances.may_be_broken(now):
            return None
        came_late = work.number > self._came_before
        if not (came_late or self._leaves_delayed or (cuts_off and self._latest_level(now) >= _FINISH)):
            return False
        first = work.leader or work
        if work.started is not None or self._is_carried(work) or first.surely <= first.submitted:
            return False
        # Between the two, an instant on the clock on the wall may have come or not.
        if not first.ahead or first.surely <= self._looked_at:
            # While a callback blocks the loop time passes, and nothing is looked at.
            return None if observed.injected.blocks else False
        is_new = first.left_alone > -inf and first.left_alone >= self._looked_at
        return None if first.may_start <= now or is_new else True

    def of_end(self, now: float) -> Objection:
        """The cue has stopped: whether that took no longer than it may."""
        if now > self._killed_at + _GRACE + ROUNDING:
            late = now - self._killed_at
            return "stopped", f"the cue has stopped {late:g} s after a stop that waits for nothing"
        return None
