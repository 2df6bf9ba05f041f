"""What keeps a work unit from starting although it is ready: all that its services have no room for, what binds first.

Must not know: what else a work unit may wait for, how a refusal is put in words.
"""

from __future__ import annotations

from math import inf
from typing import Final

from runcue._limits.service import Refusal
from runcue._model.texts import name_of
from runcue._model.work import Work
from runcue._scheduling.run_queue import RunQueue

__all__ = ["refusals_of"]


def refusals_of(work: Work, now: float) -> list[Refusal]:
    """Everything that keeps a work unit from starting at this instant although it is ready; empty if there is room.

    Limits are asked with the work unit that is first in line: what keeps that one keeps all behind it.
    """
    run_queue: RunQueue = work._task.run_queue
    first = run_queue.first_beside(work)
    found: list[Refusal] = []
    for service in run_queue.services_for(first):
        for refusal in service.refusals(now, first):
            if refusal.by in ("budget", "limit") and first is not work:
                ahead = f" ({name_of(first)} is first in line)"
                refusal = refusal._replace(details=refusal.details + ahead)
            found.append(refusal)
    if not found and run_queue.short_until:
        # It is so until the next attempt, even if that is late.
        details = "no thread is free, and no more can be started"
        found.append(Refusal(run_queue.services[0], "threads", details, max(now, run_queue.short_until)))
    last = max((one.until for one in found), default=inf)
    last_known = max((one.until for one in found if one.until < inf), default=inf)
    # Of several that are sure to end what lasts longest is what is waited for.
    return sorted(found, key=lambda one: (_rank_of(one, last, last_known), -one.until))


def _rank_of(refusal: Refusal, last: float, last_known: float) -> int:
    """What of several is told first: what comes and goes if it outlasts the rest, and if it does not, last.

    A rate would end in vain during such a pause; and to end a pause would be in vain while a rate lasts longer.
    """
    if refusal.by not in _COME_AND_GO:
        return 1
    if refusal.until == last and (last < inf or refusal.by == "paused"):
        return 0
    return 2 if refusal.until < last_known else 1


_COME_AND_GO: Final = ("paused", "server", "throttle", "breaker")
