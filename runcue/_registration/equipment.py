"""Options of a service that follow how attempts end: slots that find themselves, a breaker, who knows refusals.

Lives here: `equip`, for a service that is new and for one that is changed: what it has learned it keeps.

Must not know: how the options are written, when a service is changed.
"""

from __future__ import annotations

from collections.abc import Callable

from runcue._limits.service import MAX_PAUSE, MAX_THROTTLED, UNBOUNDED, Service
from runcue._model.work import Work
from runcue._registration.limits import Limits

__all__ = ["equip"]


def equip(service: Service, limits: Limits, opened: Callable[[Service, str, Work], object]) -> None:
    """Give a service what was said of it: its slots, its breaker, who knows refusals.

    Args:
        service: That one.
        limits: All that was said.
        opened: Told when its breaker has opened, in words, by the attempt of which work unit.
    """
    service.claims = limits.get("throttle")
    service.max_pause = limits.get("max_pause") or MAX_PAUSE
    max_throttled = limits.get("max_throttled")
    service.max_throttled = MAX_THROTTLED if max_throttled is None else max_throttled
    slots, breaker = limits.get("concurrent"), limits.get("breaker")
    if service.feedback is None and breaker is None and (slots is None or isinstance(slots, int)):
        service.concurrent = slots or UNBOUNDED
        return
    # Few services have any of this.
    from runcue._limits.adaptive import Adaptive, AdaptiveSlots  # noqa: PLC0415
    from runcue._limits.breaker import BreakerLimit  # noqa: PLC0415
    from runcue._limits.feedback import Feedback  # noqa: PLC0415

    feedback = service.feedback = service.feedback or Feedback()
    if not isinstance(slots, Adaptive):
        feedback.slots = None
        service.concurrent = slots or UNBOUNDED
    else:
        if feedback.slots is None:
            before = service.concurrent
            feedback.slots = AdaptiveSlots(slots, None if before == UNBOUNDED else before)
        elif feedback.slots.bounds != slots:
            feedback.slots.change(slots)
        service.concurrent = feedback.slots.number

    feedback.opened = opened
    if breaker is None:
        feedback.breaker = None
    elif feedback.breaker is None:
        feedback.breaker = BreakerLimit(breaker)
    else:
        feedback.breaker.breaker = breaker
    service.install("breaker", feedback.breaker)
    service.install("slots", feedback.slots)
