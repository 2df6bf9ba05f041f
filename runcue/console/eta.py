"""How long the rest of a run will take, and how that is known.

Lives here: `estimate`, which reckons from limits and from what finished work units took; `Steady`, which keeps its
answer from jumping.

What has been done divided by the time it took is no estimate: work units that were up to date took none, the first
minute of a rate is a burst, and the last stage of a pipeline has yet to begin. So each service is asked when the last
of its work units can start and end, and the latest of them is the answer. Attempts that fail count as often as they did
lately, with what they took and the waits after them. What nobody can know (tasks of which none has finished, work units
that handlers will submit, whether a server goes on refusing) makes it an "at least"; and where whatever is tried fails,
is refused or hangs there is no answer.

Must not know: cues, clocks, how it is shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, exp, inf, log
from typing import Final, NamedTuple

_SMOOTHED_OVER: Final = 2.0
_SMOOTHED_SHARE: Final = 0.05

_NO_ACCIDENT: Final = 8
"""So many attempts that fail one after the other mean that nobody knows whether the next one will."""
_FAR: Final = 3.0
_LONG: Final = 2.0
"""So many times as long as any before, and so many seconds, has one run that most likely hangs."""
_MOST_TIMES: Final = 8.0


class Eta(NamedTuple):
    """An estimate.

    Attributes:
        seconds: Until the end, None if nothing is known.
        source: What it was reckoned from, or why there is none.
        at_least: Whether there may be more than could be reckoned with.
    """

    seconds: float | None
    source: str = ""
    at_least: bool = False


@dataclass(frozen=True, slots=True)
class Left:
    """What is left of a task.

    Attributes:
        task: Its name.
        services: The names of those it uses.
        queued: How many work units have not started.
        running: For how many seconds each of those that have has been running.
        took: Seconds that finished ones took, in ascending order; the latest are enough.
        finished: How many have finished.
        waiting: How many of the queued ones wait for what other work units make.
        ahead: Seconds until the last of the queued ones may start at all: its next attempt is not due, or it is for
            later.
        each: How many attempts a work unit takes until it ends, lately.
        vain: Seconds that attempts took which have failed and that another one followed, in ascending order; the latest
            are enough.
        delay: Seconds between such an attempt and the next one, on average.
        unended: How many such attempts there were since a work unit has ended.
    """

    task: str
    services: tuple[str, ...] = ()
    queued: int = 0
    running: Sequence[float] = ()
    took: Sequence[float] = ()
    finished: int = 0
    waiting: int = 0
    ahead: float = 0.0
    each: float = 1.0
    vain: Sequence[float] = ()
    delay: float = 0.0
    unended: int = 0

    @property
    def starts(self) -> float:
        """How many attempts are to begin yet."""
        return self.queued * self.each + len(self.running) * (self.each - 1)


@dataclass(frozen=True, slots=True)
class Limit:
    """What a service allows.

    Attributes:
        service: Its name.
        slots: How many may run at once, None for any number.
        count: Starts in any `period`, None without a rate.
        period: Seconds.
        tokens: Starts that the rate allows now.
        next_token: Seconds until it allows one more, if it allows none now.
        starts: When work units started, in ascending order, as far as known; the last `count` are enough.
        now: On the same clock.
        bucket: Whether starts are limited in a way that only shows in their pace.
        others: Its other rates, each as if it were the only one.
        budgets: Its budgets.
        held: Seconds until anything may start at all; inf: until somebody lets it go on.
        tries: Whether one is let through then, and nobody knows whether it passes.
        refused: How often in a row its server has refused one and the same, lately.
        pace: How many ended per second so far, if its server has refused some; else 0.0.
    """

    service: str
    slots: int | None = None
    count: int | None = None
    period: float = 0.0
    tokens: int = 0
    next_token: float | None = None
    starts: Sequence[float] = ()
    now: float = 0.0
    bucket: bool = False
    others: Sequence[Limit] = ()
    budgets: Sequence[Budget] = ()
    held: float = 0.0
    tries: bool = False
    refused: int = 0
    pace: float = 0.0


@dataclass(frozen=True, slots=True)
class Budget:
    """What a service may charge.

    Attributes:
        name: What it counts.
        limit: So much in any `period`.
        period: Seconds.
        used: What counts now, what is owed with it.
        queued: What all takes that has not started.
    """

    name: str
    limit: float
    period: float
    used: float
    queued: float


def estimate(
    tasks: Iterable[Left],
    limits: Mapping[str, Limit],
    *,
    coming: float | None = None,
    more: bool = False,
    stuck: bool = False,
) -> Eta:
    """How long the rest takes.

    Args:
        tasks: What is left of each.
        limits: By the name of the service.
        coming: Seconds until the last work is submitted, None if that is not known or all are.
        more: Whether work units may be submitted that nobody has counted.
        stuck: Whether all that is left waits for something that nothing here makes.
    """
    left = [task for task in tasks if _works(task)]
    if not left:
        return Eta(coming, "from the pace of submission", at_least=more) if coming else Eta(0.0)
    for name, limit in limits.items():
        if limit.held == inf and any(task.queued for task in _users(left, name)):
            return Eta(None, f"{name} is paused")
    if stuck:
        return Eta(None, "what is left is blocked")
    if (standstill := _standstill(left, limits)) is not None:
        return Eta(None, standstill)
    more |= any(
        limit.tries and any(task.queued for task in _users(left, name)) for name, limit in limits.items()
    )
    more |= any(map(_overdue, left))
    unknown = [task for task in left if not task.took]
    known = [one for name in limits if (one := _by_rate(limits[name], _users(left, name)))]
    if coming:
        known.append(_Reckoned(coming, "from the pace of submission", frozenset()))
    known += filter(None, map(_by_instant, left))
    known += [one for name in limits if (one := _by_refusals(limits[name], _users(left, name)))]
    if known or 2 * sum(map(_works, unknown)) < sum(map(_works, left)):
        # Otherwise it would be the time of the smaller part.
        calls = [_by_slots(one, _users(left, name), name) for name, one in limits.items()]
        calls += [_by_slots(None, [task], "") for task in left if not task.services]
        known += [one for one in calls if one]
    if not known:
        return Eta(None, f"no {(unknown or left)[0].task} has finished yet")
    latest = max(known, key=lambda one: one.seconds)
    # Whatever waits for others still has its own turn to take when those are done.
    later = (task for task in left if task.waiting and task.took and task.task not in latest.tasks)
    turns = sum(_quantile(task.took, 0.5) for task in later)
    return Eta(latest.seconds + turns, latest.source, more or bool(unknown))


class _Reckoned(NamedTuple):
    seconds: float
    source: str
    tasks: frozenset[str]


def _works(task: Left) -> int:
    return task.queued + len(task.running)


def _users(left: list[Left], service: str) -> list[Left]:
    return [task for task in left if service in task.services]


def _by_rate(limit: Limit, users: list[Left]) -> _Reckoned | None:
    """When the last start is allowed, and that work has taken its time."""
    queued = ceil(sum(task.starts for task in users))
    start = _by_pace(limit.starts, queued) if limit.bucket else last_start(limit, queued)
    start = max((start, *(last_start(other, queued) for other in limit.others)))
    if limit.count and 0 < limit.held < inf:  # until then all of its starts have come back
        start = max(start, limit.held + last_start(replace(limit, tokens=limit.count), queued))
    source = f"the rate of {limit.service}"
    for budget in limit.budgets:
        if (charged := last_charge(limit, budget)) > start:
            start, source = charged, f"the budget of {limit.service}, {budget.name}"
    if not start:
        return None
    typical = max((_quantile(task.took, 0.5) + _vain(task) for task in users if task.took), default=0.0)
    names = frozenset(task.task for task in users)
    return _Reckoned(start + typical, f"from {source}", names)


def last_start(limit: Limit, works: int) -> float:
    """Seconds until the last of so many work units may start, by the rate alone.

    Args:
        limit: A token comes back a period after the start that took it.
        works: More than none.
    """
    if not limit.count or works <= limit.tokens:
        return 0.0
    # Tokens come back in the order in which they were taken, first those that are out, then those that are taken now;
    # a period later they do so again.
    out = limit.count - limit.tokens
    rounds, place = divmod(works - limit.tokens - 1, limit.count)
    if place >= out:
        return (rounds + 1) * limit.period
    first = limit.next_token or 0.0
    if out - place > len(limit.starts):
        # Nobody saw when this one was taken: as if they had been taken evenly.
        back = first + (limit.period - first) * place / out
    else:
        back = limit.starts[place - out] + limit.period - limit.now
    return min(max(back, first), limit.period) + rounds * limit.period


def last_charge(limit: Limit, budget: Budget) -> float:
    """Seconds until all that is queued may have been charged, by the budget alone.

    Args:
        limit: Of the service.
        budget: What was charged comes back a period later, as if each start had taken the same.
    """
    missing = budget.queued + budget.used - budget.limit
    if missing <= 0:
        return 0.0
    rounds, rest = divmod(missing, budget.limit)
    if not rest:
        rounds, rest = rounds - 1, budget.limit
    if rest > budget.used:  # that is taken now
        return (rounds + 1) * budget.period
    recent = [at for at in limit.starts if at > limit.now - budget.period]
    back = budget.period * rest / budget.used  # nobody saw when it was taken: evenly
    if recent:
        place = min(ceil(rest / budget.used * len(recent)), len(recent)) - 1
        back = recent[place] + budget.period - limit.now
    return rounds * budget.period + max(back, 0.0)


def _by_instant(task: Left) -> _Reckoned | None:
    """When the last of those that must not start yet has started, and taken its time."""
    if not task.ahead or (task.vain and not task.took):
        return None
    typical = _quantile(task.took, 0.5) if task.took else 0.0
    return _Reckoned(task.ahead + typical, f"from when {task.task} is to start", frozenset((task.task,)))


def _by_pace(starts: Sequence[float], works: int) -> float:
    seconds = starts[-1] - starts[0] if len(starts) > 1 else 0.0
    return works * seconds / (len(starts) - 1) if seconds > 0 else 0.0


def _by_refusals(limit: Limit, users: list[Left]) -> _Reckoned | None:
    """When the last one ends at the pace so far, where a server refuses some: how many it takes nobody knows."""
    if not limit.pace:
        return None
    source = f"from the pace so far, as {limit.service} refuses some"
    return _Reckoned(sum(map(_works, users)) / limit.pace, source, frozenset(task.task for task in users))


def _standstill(left: list[Left], limits: Mapping[str, Limit]) -> str | None:
    """Why nobody knows how long it takes, if whatever is tried fails, is refused or hangs."""
    for task in left:
        if task.unended >= _NO_ACCIDENT:
            return f"{task.task} fails each time"
    for name, limit in limits.items():
        if limit.tries and limit.refused > 1 and any(task.queued for task in _users(left, name)):
            return f"{name} refuses whatever is tried"
    for task in left:
        if task.running and _overdue(task) == len(task.running):
            return f"what runs of {task.task} takes far longer than any before"
    return None


def _overdue(task: Left) -> int:
    """How many run for far longer than any has that is over."""
    longest = max((*task.took[-1:], *task.vain[-1:]), default=inf)
    return sum(seconds > max(_FAR * longest, _LONG) for seconds in task.running)


def _vain(task: Left, number: int = 1) -> float:
    """Seconds by which attempts that fail put off the end of the last ones of a task.

    Args:
        task: That one.
        number: How many these are: the more, the more likely it is that one of them fails several times.
    """
    if task.each <= 1 or not task.vain:
        return 0.0
    fails = 1 - 1 / task.each
    times = max(task.each - 1, log(max(number, 1)) / -log(fails))
    return min(times, _MOST_TIMES) * (_mean(task.vain) + task.delay)


def _by_slots(limit: Limit | None, users: list[Left], service: str) -> _Reckoned | None:
    """When the last one ends, if each slot takes the next work as soon as it is free."""
    slots, held = (None, 0.0) if limit is None else (limit.slots, limit.held)
    known = [task for task in users if task.took]
    if not known:
        return None
    rest = [_rest(task.took, task.vain, seconds) for task in known for seconds in task.running]
    queued = sum(task.queued for task in known)
    longest = max(rest, default=0.0) + max(_vain(task, len(task.running)) for task in known)
    room = queued + len(rest) if slots is None else slots
    last = min(queued, room)
    if last:
        ends = max(
            # The longest of so many is, as a rule, this quantile.
            _quantile(task.took, min(task.queued, last) / (min(task.queued, last) + 1))
            + _vain(task, min(task.queued, last))
            for task in known
        )
        before = 0.0
        if queued + len(rest) > room:
            work = sum(task.queued * _mean(task.took) for task in known)
            work += sum((task.starts - task.queued) * _mean(task.vain) for task in known if task.vain)
            queue = work * (1 - last / queued)
            # What runs goes on while it is held.
            before = max(0.0, (sum(rest) + queue) / room, held + queue / room)
        longest = max(longest, before + ends, held + ends)
    finished = sum(task.finished for task in known)
    source = f"from {finished:,} finished call{'' if finished == 1 else 's'}" + (
        f" of {service}" if service else ""
    )
    return _Reckoned(longest, source, frozenset(task.task for task in users))


def _rest(took: Sequence[float], vain: Sequence[float], seconds: float) -> float:
    """How much longer one takes that has been running so long: as those did that took longer than that."""
    longer = [one for one in took if one > seconds] or [one for one in vain if one > seconds]
    return _quantile(longer, 0.5) - seconds if longer else 0.0


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _quantile(ordered: Sequence[float], share: float) -> float:
    """The value below which that share of the values lies."""
    place = share * (len(ordered) - 1)
    below = int(place)
    if below + 1 >= len(ordered):
        return ordered[-1]
    return ordered[below] + (place - below) * (ordered[below + 1] - ordered[below])


class Steady:
    """Keeps an estimate from jumping: the predicted end moves to a new one within a few seconds, not at once."""

    def __init__(self) -> None:
        self._end: float | None = None
        self._at = 0.0

    def follow(self, eta: Eta, now: float) -> Eta:
        """The estimate to be shown.

        Args:
            eta: The latest.
            now: Seconds on the clock of the run.
        """
        if not eta.seconds:
            self._end = None
            return eta
        end = now + eta.seconds
        if self._end is not None:
            # Over less at the beginning: what is first known is soon wrong.
            over = min(_SMOOTHED_OVER, _SMOOTHED_SHARE * now)
            step = 1.0 - exp(-max(0.0, now - self._at) / over) if over > 0 else 1.0
            end = self._end + (end - self._end) * step
        self._end, self._at = end, now
        return eta._replace(seconds=max(0.0, end - now))
