"""How many work units of a cue there are, by state and by task, and for how long the handlers of each task took.

Lives here: putting together what the core and its tasks count. Work units are not gone through for it: who asks now and
then, as whoever shows progress does, is to cost nothing that grows with them. Only medians are read off those that are
still known.

Must not know: who wants to know, words.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial
from itertools import islice
from typing import Any, Final

from runcue._model.phases import CANCELLED, COMPLETED, FAILED, OUTCOMES, RUNNING, SETTLED, WorkState
from runcue._model.summary import Durations, Spent
from runcue._model.work import Work
from runcue._scheduling.core import Core

__all__ = ["counts", "counts_by_task", "numbers", "numbers_of", "totals"]

MEDIAN_OF: Final = 100
"""A median is that of so many of a task, the last ones."""

_LOOKED_THROUGH: Final = 10_000
"""Work units, the last ones of all tasks, among which those are."""

_COUNTED: Final = ("pending", "running", *OUTCOMES)


def totals(core: Core) -> dict[str, int]:
    """How many work units have ended since the start, by outcome."""
    ended = [task.ended for task in core.all_tasks]
    return {name: sum(each[outcome] for each in ended) for outcome, name in enumerate(OUTCOMES)}


def counts(core: Core) -> dict[str, int]:
    """How many work units there are in each state: pending and running ones, and those that ended since the start.

    By their states: who has joined one that runs, runs.
    """
    along = sum(_along(core).values())
    running = along + sum(task.running for task in core.all_tasks)
    return {"pending": core.unsettled - running, "running": running, **totals(core)}


def counts_by_task(core: Core) -> dict[str, dict[str, int]]:
    """The same for each task."""
    along = _along(core)
    found = {name: [0] * len(_COUNTED) for name in core.tasks}
    # Of one that was defined anew work units may have been counted under either.
    for task in core.all_tasks:
        running = task.running
        own = (task.unsettled - running, running, *task.ended)
        found[task.name] = [number + more for number, more in zip(found[task.name], own, strict=True)]
    for name, number in along.items():
        found[name][0] -= number
        found[name][1] += number
    return {name: dict(zip(_COUNTED, numbers, strict=True)) for name, numbers in found.items()}


def _along(core: Core) -> dict[str, int]:
    """How many have joined one that runs, by task."""
    found: dict[str, int] = {}
    for known in core.crowds.valuerefs():  # a list of its own: another thread may ask, which shows progress
        crowd = known()
        if crowd is not None and crowd.leader._phase == RUNNING:
            name = crowd.leader.task
            found[name] = found.get(name, 0) + len(crowd)
    return found


def numbers(core: Core, former: Collection[str]) -> dict[str, Any]:
    """What a `Summary` has of it: all that is counted, and which work units have failed or were cancelled.

    Args:
        core: The state.
        former: The ids of work units that had settled before the start.
    """
    ended = totals(core)
    # Most often there is none, and who drains after each work unit is not to go through all that are kept.
    vain = ended["failed"] or ended["cancelled"]
    settled = [work for work in core.history.line if work.id not in former] if vain else []
    return {
        "counts": ended,
        "by_task": counts_by_task(core),
        "durations": _durations_by_task(core, former),
        "failed": [work for work in settled if work._outcome == FAILED],
        "cancelled": [work for work in settled if work._outcome == CANCELLED],
        "spent": _spent(core),
    }


def _spent(core: Core) -> dict[str, Spent]:
    """What was spent of all that budgets count, of each that something was spent of."""
    expenses = core.run_queues.expenses
    if not expenses:
        return {}
    from runcue._model.amounts import as_decimal  # noqa: PLC0415 - a budget has loaded it

    return {
        name: Spent(as_decimal(one.total), as_decimal(one.wasted))
        for name, one in expenses.items()
        if one.total
    }


def numbers_of(works: Collection[Work]) -> dict[str, Any]:
    """The same of some work units that somebody has kept, all of them. These are gone through.

    Args:
        works: In the order of their submission.
    """
    ended = dict.fromkeys(OUTCOMES, 0)
    by_task: dict[str, dict[str, int]] = {}
    took: dict[str, list[float]] = {}
    for work in works:
        counted = by_task.get(work.task)
        if counted is None:
            counted = by_task[work.task] = dict.fromkeys(_COUNTED, 0)
        if work._phase != SETTLED:
            counted["running" if work.state is WorkState.RUNNING else "pending"] += 1
            continue
        outcome = OUTCOMES[work._outcome]
        ended[outcome] += 1
        counted[outcome] += 1
        if work._outcome == COMPLETED and work.started_at is not None and work.completed_at is not None:
            took.setdefault(work.task, []).append(max(0.0, work.completed_at - work.started_at))
    return {
        "counts": ended,
        "by_task": by_task,
        "durations": lambda: {
            task: Durations(len(some), sum(some), min(some), _median(some), max(some))
            for task, some in took.items()
        },
        "failed": [work for work in works if work._phase == SETTLED and work._outcome == FAILED],
        "cancelled": [work for work in works if work._phase == SETTLED and work._outcome == CANCELLED],
    }


def _durations_by_task(core: Core, former: Collection[str]) -> Callable[[], dict[str, Durations]]:
    """For how long the handlers of each task took that have succeeded since the start, as far as any has.

    Medians are looked for when somebody asks: few do, and a summary is made at each drain. So those that are known now
    are kept for it, not as many of them as `Cue(keep=)` may say.
    """
    found: dict[str, Durations] = {}
    for task in core.all_tasks:
        count, total = task.ended[COMPLETED] - task.shared, task.seconds
        least, most = task.shortest, task.longest
        if (other := found.get(task.name)) is not None:  # of one that was defined anew some ran under either
            count, total = count + other.count, total + other.total
            least, most = min(least, other.least), max(most, other.most)
        if count:
            found[task.name] = Durations(count, total, least, None, most)
    last = list(islice(reversed(core.history.line), _LOOKED_THROUGH)) if found else []
    return partial(_with_medians, found, last, former)


def _with_medians(
    found: dict[str, Durations], last: Sequence[Work], former: Collection[str]
) -> dict[str, Durations]:
    """Durations with the medians of what has settled last, the latest first."""
    some: dict[str, list[float]] = {}
    missing = {name: min(one.count, MEDIAN_OF) for name, one in found.items()}
    for work in last:
        if not missing or work.id in former:
            break
        if work.task not in missing or work._outcome != COMPLETED:
            continue
        if work.started_at is not None and work.completed_at is not None:
            took = some.setdefault(work.task, [])
            took.append(max(0.0, work.completed_at - work.started_at))
            if len(took) == missing[work.task]:
                del missing[work.task]
    # They are dated by the wall clock, which may have been set meanwhile.
    return {
        name: one._replace(median=min(max(_median(some[name]), one.least), one.most)) if name in some else one
        for name, one in found.items()
    }


def _median(some: list[float]) -> float:
    return sorted(some)[len(some) // 2]
