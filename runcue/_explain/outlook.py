"""When those who stand in a line will be through, as far as that is known.

Lives here: what follows from a rate, exact but for how long handlers take, and from slots, which hangs on nothing else.

Must not know: who wants to know, words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import inf

from runcue._explain.durations import usual_duration
from runcue._limits.service import Service
from runcue._model.work import Work
from runcue._scheduling.history import History

__all__ = ["done_by_limits", "done_by_slots"]


def done_by_limits(
    history: History, service: Service, waiting: Sequence[Work], pause: float, now: float
) -> float | None:
    """In how many seconds all who wait for a service are done at the earliest, by its limits; None: not known.

    Args:
        history: The work units that are known.
        service: The service.
        waiting: Those who wait.
        pause: Seconds until the first of them can start; inf: not known.
        now: Monotonic.
    """
    if pause == inf:
        return None
    starts: list[float] = [limit.nth_room(now, len(waiting)) - now for limit in service.that_tell_turns()]
    at_least = service.at_least(waiting)
    if at_least is not None:
        starts.append(pause + at_least)
    if not starts:
        return None
    lasts = [usual_duration(history, task) or 0.0 for task in {work.task for work in waiting}]
    # Who is the last to start may be of the quickest task, and the first of the slowest.
    done = max(max(starts) + min(lasts, default=0.0), pause + max(lasts, default=0.0))
    return done if done < inf else None


def done_by_slots(history: History, service: Service, waiting: Sequence[Work]) -> float | None:
    """In about how many seconds all who wait for a slot are done; None if it is not known how long one of them takes.

    Args:
        history: The work units that are known.
        service: The service.
        waiting: Those who wait.
    """
    whole = 0.0
    for task, number in Counter(work.task for work in waiting).items():
        usual = usual_duration(history, task)
        if usual is None:
            return None
        whole += number * usual
    return whole / service.concurrent
