"""When somebody has waited for too long: one work unit that is pending, or all of them while nothing moves.

Lives here: `pending_since`, and `AgeLine`, the pending work units by that, behind one number of seconds. The age of a
work unit counts from its submission; of one that was put back, and of those that have joined it, anew from the instant
of its next attempt. `Stall` is the same for the time since anything has moved.

Must not know: what is done about it, clocks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from math import inf

from runcue._model.phases import WorkState
from runcue._model.work import Work
from runcue._scheduling.deadlines import Deadlines

__all__ = ["AgeLine", "Stall", "pending_since"]


def pending_since(work: Work) -> float:
    """The monotonic instant from which the age of a pending work unit counts; it may be ahead."""
    attempts = work._attempts
    return work._submitted_at if attempts is None else max(attempts.again.at, work._submitted_at)


def _is_pending(work: Work) -> bool:
    return (
        work.state is WorkState.PENDING
    )  # not by its phase: who has joined a running one does not wait either


class AgeLine:
    """Pending work units, and the age at which each is due, once for each time that its age begins to count.

    They are submitted in the order of their age, so nearly all stand in a line, which costs nothing. Only those whose
    age counts anew go through a heap; the place that they may still have in the line is void from then on.

    Args:
        after: That age in seconds.
        pending: How many work units are pending.
    """

    __slots__ = ("_anew", "_line", "_pending", "after")

    def __init__(self, after: float, pending: Callable[[], int]) -> None:
        self.after = after
        self._pending = pending
        self._line: deque[Work] = deque()
        self._anew: Deadlines[Work] = Deadlines()

    def __len__(self) -> int:
        return len(self._line) + len(self._anew)

    def add(self, work: Work) -> None:
        """Take in a work unit that was just submitted, or whose age begins to count anew."""
        if work._attempts is None:
            self._line.append(work)
        else:
            self._anew.set(work, pending_since(work) + self.after)
        # What has long started or settled leaves when it surfaces, or here, should it outnumber what waits.
        if len(self) > 64 + 2 * self._pending():
            self._line = deque(work for work in self._line if work._attempts is None and _is_pending(work))
            self._anew.keep(_is_pending)

    def next(self) -> float:
        """When the first of them is due, inf if never."""
        line, anew = self._line, self._anew
        while line and (line[0]._attempts is not None or not _is_pending(line[0])):
            line.popleft()
        while (first := anew.first()) is not None and not _is_pending(first):
            anew.clear(first)
        return min(line[0]._submitted_at + self.after if line else inf, anew.next())

    def due(self, work: Work) -> float:
        """When a work unit is due if it is pending until then, inf if it is not pending."""
        return pending_since(work) + self.after if _is_pending(work) else inf

    def pop(self, now: float) -> Work | None:
        """Take out one that is due, the oldest; None if there is none."""
        due = self.next()
        if due > now:
            return None
        if due < self._anew.next():
            return self._line.popleft()
        return self._anew.pop_due(now)


class Stall:
    """The time in which nothing starts and nothing ends, and when it is due to be told of, or to be ended.

    Attributes:
        timeout: Seconds after which what is pending is due to fail, None for never.
        warn_after: Seconds after which to warn, None for never.
        warned_at: The beginning of the stall that was warned about: each is told of once.
    """

    __slots__ = ("timeout", "warn_after", "warned_at")

    def __init__(self, timeout: float | None, warn_after: float | None) -> None:
        self.timeout = timeout
        self.warn_after = warn_after
        self.warned_at = -inf

    def next_timeout(self, progressed_at: float, pending: int) -> float:
        """When so many pending work units have seen no progress for too long, inf if that cannot be."""
        return progressed_at + self.timeout if self.timeout is not None and pending else inf

    def next_warning(self, progressed_at: float, unsettled: int) -> float:
        """When to warn that nothing moves, inf if never."""
        if self.warn_after is None or self.warned_at == progressed_at or not unsettled:
            return inf
        return progressed_at + self.warn_after
