"""Work units that somebody follows together, to take each of them when it has settled.

Lives here: `Batch`. What is submitted by a `map` or in a group costs neither an asyncio task nor a future each: one
object stands among those who wait for each of these work units, and whoever follows it waits for that.

Must not know: how work units are submitted, or what becomes of those that are taken.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Any

from runcue._callbacks.unheard import Unheard
from runcue._model.phases import FAILED, SETTLED
from runcue._model.work import Work

__all__ = ["Batch", "waiters_of"]


def waiters_of(work: Work) -> dict[Any, Work | None]:
    """Who waits for a work unit, as `Work._waiters` says; whoever is put in there waits as well."""
    waiters = work._waiters
    if type(waiters) is not dict:
        work._waiters = waiters = {} if waiters is None else {waiters: work}
    return waiters


class Batch:
    """Work units that are followed together.

    Args:
        unheard: The failures that nobody has heard of.
        in_order: Whether they are taken in the order in which they came, and not in that in which they have settled.
        failed: Called with each that has failed.

    Attributes:
        open: Those that have not settled, in the order in which they came.
        line: Those that are to be taken, the next one first: all that were not taken yet, if that goes in order; else
            those that have settled.
        is_heard: Whether somebody is about to take what has settled, so that a failure has not to be told meanwhile.
        feeder: An asyncio task that may bring others; None if there is none, or if that waits itself until some are
            taken.
        takers: The futures of those who wait for the next one.
        stayers: The futures of those who wait until all have settled.
    """

    __slots__ = ("_failed", "_unheard", "feeder", "in_order", "is_heard", "line", "open", "stayers", "takers")

    def __init__(
        self, unheard: Unheard, *, in_order: bool = False, failed: Callable[[Work], None] | None = None
    ) -> None:
        self._unheard = unheard
        self._failed = failed
        self.in_order = in_order
        self.open: dict[Work, None] = {}
        self.line: deque[Work] = deque()
        self.is_heard = True
        self.feeder: asyncio.Task[Any] | None = None
        self.takers: list[asyncio.Future[None]] = []
        self.stayers: list[asyncio.Future[None]] = []

    def __len__(self) -> int:
        """How many were not taken yet."""
        return len(self.line) if self.in_order else len(self.line) + len(self.open)

    def add(self, work: Work) -> None:
        """Follow one more work unit."""
        if self.in_order:
            self.line.append(work)
        if work._phase == SETTLED:  # by who has heard of its submission, or because it was refused
            self.settled(work)
            return
        self.open[work] = None
        if work._waiters is None:
            work._waiters = self
        else:
            waiters_of(work)[self] = work

    def settled(self, work: Work) -> None:
        """One of them has settled. Called by `Settlement`."""
        self.open.pop(work, None)
        if not self.in_order:
            self.line.append(work)
        if work._outcome == FAILED:
            if self.is_heard:
                self._unheard.hold(work._value)
            if self._failed is not None:
                self._failed(work)
        if self.takers and (not self.in_order or self.line[0]._phase == SETTLED):
            self._wake(self.takers)
        if self.stayers and not self.open:
            self._wake(self.stayers)

    def take(self) -> Work:
        """Take the first in line, which has settled. That it has failed is heard of."""
        work = self.line.popleft()
        if work._outcome == FAILED:
            self._unheard.heard(work._value)
        return work

    def hold(self) -> None:
        """Somebody is about to take what has settled, and what will."""
        self.is_heard = True
        for work in self.line:
            if work._outcome == FAILED:
                self._unheard.hold(work._value)

    def awaited(self, *, all_of_them: bool) -> list[Work]:
        """The work units of which one has to settle before whoever waits can go on."""
        return list(islice(self.line, 1)) if self.in_order and not all_of_them else list(self.open)

    def wake(self) -> None:
        """Let all look who wait."""
        self._wake(self.takers)
        self._wake(self.stayers)

    def let_go(self, now: float) -> bool:
        """Nobody takes anything any more. Returns whether there are failures of which nobody has heard.

        Args:
            now: Monotonic.
        """
        self.is_heard = False
        settled = (work for work in self.line if work._phase == SETTLED)
        return self._unheard.let_go((work._value for work in settled if work._outcome == FAILED), now)

    def _wake(self, waiters: list[asyncio.Future[None]]) -> None:
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
        waiters.clear()
