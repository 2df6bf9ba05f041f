"""What a server that refuses work may expect: to be left in peace as long as it has said, and one that goes first.

Lives here: `Refusals`, the pauses of one service as an onlooker knows them; and how long one that is refused again and
again may stay away.

Must not know: what becomes of a violation, what else keeps a work unit from its start.
"""

from __future__ import annotations

from math import inf
from typing import Final

from runcue_sim._chaos.observed_work import ROUNDING, ObservedWork, Start

_LONG_ENOUGH: Final = 2.0
_AT_LEAST: Final = 0.05
"""So many times as long as the refused ones took, and so many seconds at least, one has to run to have passed."""

_SPREAD: Final = 0.1
_MOST_SPREAD: Final = 5.0
"""Over so much of a pause, and so many seconds at the most, the rest are spread."""

FIRST_WAIT: Final = 1.0
_LONGEST: Final = 60.0
"""Seconds of a pause of which nobody has said how long it is: of the first one, and at the most."""


def stays_away(number: int, pause: float) -> float:
    """Seconds after a pause for which a work unit may not be tried again although others are, at the most.

    Args:
        number: How often in a row it was refused.
        pause: Seconds.
    """
    return pause * 2.0 ** (number - 2) if number > 2 else 0.0


class Refusals:
    """Those of one service.

    Attributes:
        until: Nothing starts before this instant.
        is_sure: Whether it is known which one goes first, and when it has passed: not where another one may have taken
            its place.
    """

    def __init__(self) -> None:
        self.until = -inf
        self.is_sure = True
        self._began = -inf
        self._closed = False
        self._first: Start | None = None
        # Those that have started before the pause has begun, and go on.
        self._before: set[str] = set()
        self._running: set[str] = set()
        self._took = self._wait = 0.0
        self._free_from = -inf

    def refused(self, now: float, work: ObservedWork, seconds: float | None, took: float | None) -> float:
        """The server has refused a work unit.

        Args:
            now: The instant.
            work: That one.
            seconds: For how long; None: it did not say.
            took: How long that has taken; None: that is not known.

        Returns:
            The instant from which on it may be tried again.
        """
        belongs = self.has_begun_before(work)
        self._look(now)
        if took is None:
            self.is_sure = False
        self._running.discard(work.id)
        if not belongs:
            self._before = set(self._running)
            self._began, self._took = now, 0.0
            if seconds is None:
                seconds = self._wait = min(max(FIRST_WAIT, 2 * self._wait), _LONGEST)
            self.until = max(self.until, now + seconds)
            self._closed, self._first = True, None
        elif seconds is not None and now + seconds > self.until:
            self.until = now + seconds
            if not self._closed:
                self._closed, self._first = True, None
        self._took = max(self._took, took or 0.0)
        return max(self.until, now)

    def has_begun_before(self, work: ObservedWork) -> bool:
        """Whether an attempt that goes on had begun before the last pause did, and belongs to it when it is refused."""
        return self._began > -inf and work.id in self._before

    def goes_first(self, now: float, work: ObservedWork) -> bool:
        """Whether a work unit is the one that was let through first, and has not passed."""
        self._look(now)
        return self._first is not None and self._first.work is work

    def objection(self, now: float, work: ObservedWork) -> str:
        """What is wrong with a start at an instant; "" if nothing is."""
        if now < self.until - ROUNDING:
            return f"{work} starts at {now:g}, {self.until - now:.3g} s before its server wants to be asked again"
        if not self._closed or not self.is_sure or self._first is None or now >= self._passes() - ROUNDING:
            return ""
        return f"{work} starts at {now:g} beside {self._first.work}, which goes first and has not passed"

    def _passes(self) -> float:
        """When the one that goes first has run for long enough, or has run out of time."""
        assert self._first is not None
        limit = self._first.work.timeout
        enough = max(_LONG_ENOUGH * self._took, _AT_LEAST)
        return self._first.at + (enough if limit is None else min(enough, limit))

    def started(self, now: float, start: Start) -> None:
        """A work unit has started."""
        self._running.add(start.work.id)
        self._before.discard(start.work.id)
        self._look(now + ROUNDING)
        if self._closed and self._first is None:
            self._first = start

    def _look(self, now: float) -> None:
        if self._first is None or now < (passes := self._passes()):
            return
        # At the instant at which its time is over it may as well be cancelled, and then it has not passed.
        limit = self._first.work.timeout
        if limit is None or passes < self._first.at + limit or now > passes + 2 * ROUNDING:
            self._pass(passes)

    def _pass(self, at: float) -> None:
        self._first = None
        if at < self.until:
            return
        self._closed = False
        self._free_from = at + min((self.until - self._began) * _SPREAD, _MOST_SPREAD)

    def ended(self, now: float, work: ObservedWork, *, cancelled: bool, has_heir: bool) -> None:
        """An attempt is over, in another way than by being refused here.

        Args:
            now: The instant.
            work: Whose.
            cancelled: Whether it was cancelled, which says nothing.
            has_heir: Whether its handler goes on for another one that has joined it.
        """
        if not cancelled and work.id in self._running and work.id not in self._before:
            self._wait = 0.0
        self._running.discard(work.id)
        self._before.discard(work.id)
        self._look(now)
        if has_heir:
            self.is_sure = False
        if self._first is not None and self._first.work is work:
            if cancelled:
                self._first = None
            else:
                self._pass(now)

    def resumed(self) -> None:
        """Somebody lets all go on."""
        self._closed, self._first = False, None
        self.until = self._free_from = -inf
        self._wait = 0.0

    def have_room(self, now: float) -> bool:
        """Whether it is certain that they let one more start."""
        if not self._closed:
            return now >= self._free_from and (self.is_sure or self._began == -inf)
        if now < self.until or not self.is_sure:
            return False
        if self._first is None:
            return True
        passes = self._passes()
        return now >= passes + min((self.until - self._began) * _SPREAD, _MOST_SPREAD) + ROUNDING
