"""Who lets others go first where a service is tried out: one alone is let through after a pause, and decides for all.

What has the first place in the line would be that one each time. If it is refused each time, or fails each time, nobody
else would ever start. So who was the probe and has not passed, or was refused more than once, lets another one go first
that was not, or less often; for a while, since that one may turn out to be unable to start. To put it at the end of the
line was rejected: for most that are refused once more it is the server that has no room, and they would lose their
place for hours.

Lives here: `goes_on_at`, asked as the instant of a work unit comes that was put back; `look_again`, after which those
go on who need not wait any more; and `others_come`.

Must not know: what a refusal looks like, clocks.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain, islice
from typing import TYPE_CHECKING, Final

from runcue._limits.service import Service
from runcue._model.attempts import Again
from runcue._model.work import Work
from runcue._scheduling.core import Core
from runcue._scheduling.retry import latest_start
from runcue._scheduling.run_queue import RunQueue

if TYPE_CHECKING:
    from runcue._limits.breaker import BreakerLimit
    from runcue._limits.throttle import Throttle

__all__ = ["goes_on_at", "look_again", "others_come", "refused_in_a_row"]

_LOOKED_AT: Final = 16
_RETURNING: Final = 1000
"""So many of each line are looked at to see whether another one could go first, and of those that were put back."""

_ROUNDING: Final = 1e-6

_WHILE: Final = 1.0
"""Seconds for which others may go first; and so often it is looked whether the one that has gone first has passed."""


def goes_on_at(core: Core, work: Work, now: float) -> float:
    """When a work unit goes on that was put back, and whose instant has come: now, or later if others go first.

    Args:
        core: The state.
        work: Not due.
        now: Monotonic.
    """
    attempts = work._attempts
    run_queue: RunQueue = work._task.run_queue
    if attempts is None or not run_queue.hears:
        return now
    at = now
    for service in run_queue.services_for(work):
        feedback = service.feedback
        if feedback is None:
            continue
        if feedback.throttle is not None:
            at = max(at, _after_pause(core, work, service, feedback.throttle, attempts.again, now))
        if feedback.breaker is not None:
            at = max(at, _after_cooldown(core, work, service, feedback.breaker, attempts.again, now))
    if at <= now or at > latest_start(work):
        return now
    attempts.again = attempts.again._replace(at=at)
    core.giving_way[work] = None
    return at


def look_again(core: Core, now: float) -> None:
    """Let those go on who let others go first where one of these has passed.

    Args:
        core: The state.
        now: Monotonic.
    """
    for work in list(core.giving_way):
        if work not in core.returning:
            del core.giving_way[work]
        elif not _is_tried_out(work):
            del core.giving_way[work]
            core.returning.set(work, now)


def _is_tried_out(work: Work) -> bool:
    """Whether a service that it uses, and that it lets others go first for, has not let one pass."""
    again = work._attempts.again  # type: ignore[union-attr]
    run_queue: RunQueue = work._task.run_queue
    for service in run_queue.services_for(work):
        feedback = service.feedback
        if feedback is None:
            continue
        throttle, breaker = feedback.throttle, feedback.breaker
        if breaker is not None and breaker.is_open and work in breaker.tried:
            return True
        is_refused = again.throttles.gives_way and again.throttles.service == service.name
        if is_refused and throttle is not None and throttle.closed:
            return True
    return False


def _after_pause(
    core: Core, work: Work, service: Service, throttle: Throttle, again: Again, now: float
) -> float:
    throttles = again.throttles
    if not throttles.gives_way or throttles.service != service.name:
        return now
    is_probed = throttle.is_probed(now)
    if not throttle.closed:
        return now
    if now < throttle.until:
        return throttle.until
    if is_probed:
        return now + _WHILE
    often = throttles.in_a_row

    def is_better(other: Work) -> bool:
        return refused_in_a_row(other, service) < often

    # Once for each pause, and longer where that was in vain.
    if again.at > throttle.until or not others_come(core, service, work, is_better, now):
        return now
    from runcue._limits.throttle import nth_wait  # noqa: PLC0415 - there is one by now

    return now + nth_wait(often)


def _after_cooldown(
    core: Core, work: Work, service: Service, breaker: BreakerLimit, again: Again, now: float
) -> float:
    if not breaker.is_open or work not in breaker.tried:
        return now
    if now < breaker.until:
        return breaker.until
    if breaker.is_probed():
        return now + _WHILE

    def is_better(other: Work) -> bool:
        return other not in breaker.tried

    if again.at > breaker.until or not others_come(core, service, work, is_better, now):
        return now
    return now + _WHILE


def others_come(
    core: Core, service: Service, work: Work, is_better: Callable[[Work], bool], at: float
) -> bool:
    """Whether there are others for a service, one of whom can go first.

    Args:
        core: The state.
        service: The service.
        work: The one that would otherwise.
        is_better: Whether one may go before it.
        at: When; monotonic.
    """
    returning = core.returning
    due = (one for one in islice(returning, _RETURNING) if returning.when(one) <= at + _ROUNDING)
    return any(
        one is not work and is_better(one) and service in one._task.run_queue.services_for(one)
        for one in chain(core.run_queues.first_that_use(service, _LOOKED_AT), due)
    )


def refused_in_a_row(work: Work, service: Service) -> int:
    """How often a service has refused a work unit in a row that waits."""
    attempts = work._attempts
    again = None if attempts is None else attempts.again
    if again is None or not again.is_throttled or again.throttles.service != service.name:
        return 0
    return again.throttles.in_a_row
