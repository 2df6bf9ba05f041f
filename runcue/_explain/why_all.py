"""The answer to `cue.why()` about all work units at once: what they wait for in the end, and what to do about it.

Lives here: frozen records, and how they print: a line each, the largest group first.

Must not know: how those are found who wait for the same (`roots`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from runcue._explain.attempt_words import after_what, not_before
from runcue._explain.kinds import Verdict, in_print
from runcue._explain.missing import Missing
from runcue._explain.next_steps import next_step, step_for_all
from runcue._explain.reasons import Reason
from runcue._explain.roots import Crowd
from runcue._explain.time_words import duration_in_words
from runcue._explain.wording import details_of
from runcue._model.phases import CHECKING, SETTLED, WorkState
from runcue._model.texts import (
    LONGEST,
    Entries,
    clause_of,
    how_many,
    in_one_line,
    listed,
    name_of,
    seconds_in_words,
    shortened,
    words_of,
)
from runcue._model.work import Work
from runcue._scheduling.lanes import is_behind_in_lane

__all__ = ["WhyAll", "WhyGroup", "why_all_of"]

_WHO: Final = 40
"""Characters, by and large, that who waits takes of a line."""

_LINES: Final = 15
"""As many lines are printed at most."""

_OWN_SLOTS: Final = {"threads": "a thread", "processes": "a process"}
"""What somebody waits for who waits for slots that are of no service of the user's."""


@dataclass(frozen=True, slots=True, eq=False)
class WhyGroup:
    """Work units that wait for the same in the end. `print()` it.

    Attributes:
        verdict: What the root of it is, in two or three words, as `Why.verdict`.
        count: How many they are.
        tasks: How many of them there are of each task.
        examples: The oldest of them; `cue.why()` says more about one.
        root: The work unit at the root, which may be one of them.
        details: What they wait for, as the end of a sentence.
        since: When that reason began, in seconds since the epoch.
        eta: Seconds until all of them are done that stand in the line themselves: at the earliest where a rate decides,
            about where slots do, or where others go on to pass them. None if that is not known.
        next_step: The one thing to do about it; "" if there is nothing but to wait.
    """

    verdict: Verdict
    count: int
    tasks: Mapping[str, int]
    examples: tuple[Work, ...]
    root: Work
    details: str
    since: float
    eta: float | None = None
    next_step: str = ""

    def __str__(self) -> str:
        if self.count == 1:
            who = name_of(self.examples[0])
        elif len(self.tasks) == 1:
            who = f"{self.count:,} {shortened(next(iter(self.tasks)), 80)}"
        else:
            who = f"{self.count:,} work units"
        if not self.next_step:
            return in_one_line(f"{who} {self.details}")
        return in_one_line(f"{who} {self.details.removesuffix('.')}. {self.next_step}")

    def __repr__(self) -> str:
        return f"<WhyGroup {self.count:,} {in_print(self.verdict)}>"


@dataclass(frozen=True, slots=True, eq=False)
class WhyAll:
    """What all work units wait for that do not run, grouped by the root of it. `print()` it.

    Attributes:
        groups: The groups, the largest first.
        count: How many work units wait.
        running: How many run.
        submissions: How many submissions wait for room (`Cue(max_pending=)`).
        threads: How many of these are other threads.
        places: At which lines those are, as far as it is known.
    """

    groups: tuple[WhyGroup, ...]
    count: int
    running: int
    submissions: int = 0
    threads: int = 0
    places: tuple[str, ...] = ()

    def __str__(self) -> str:
        if not self.groups:
            return f"Nothing waits, {self.running:,} running" if self.running else "Nothing waits or runs"
        shown = self.groups if len(self.groups) <= _LINES else self.groups[: _LINES - 1]
        lines = [str(group) for group in shown]
        if left := self.groups[len(shown) :]:
            works = how_many(sum(group.count for group in left), "other", "others")
            lines.append(f"{works} for {len(left)} other reasons")
        if self.submissions:
            threads = self.threads if self.running else 0
            lines.append(submissions_in_words(self.submissions, threads, self.places))
        return "\n".join(lines)

    def __repr__(self) -> str:
        kinds: dict[Verdict, int] = {}
        for group in self.groups:
            kinds[group.verdict] = kinds.get(group.verdict, 0) + group.count
        told = ", ".join(f"{count:,} {in_print(verdict)}" for verdict, count in kinds.items())
        return f"<WhyAll {told or 'nothing waits'}>"


def submissions_in_words(number: int, threads: int, places: Sequence[str]) -> str:
    """That submissions wait for room.

    Args:
        number: How many.
        threads: How many of these are other threads for which handlers may wait.
        places: At which lines those are.
    """
    words = f"{how_many(number, 'submission waits', 'submissions wait')} for room"
    if not threads:
        return words
    at = f" (at {listed(places)})" if places else ""
    return (
        f"{words}, {threads:,} of other threads{at}: if a running handler waits for such a thread, which runcue does "
        "not see, neither goes on, and it is to submit by work.submit()"
    )


def why_all_of(
    crowds: Sequence[Crowd],
    running: int,
    submissions: int,
    threads: int,
    places: Sequence[str],
    now: float,
    wall: float,
) -> WhyAll:
    """The answer that crowds make.

    Args:
        crowds: Those who wait for the same, the largest first.
        running: How many work units run.
        submissions: How many submissions wait for room.
        threads: How many of these are other threads.
        places: At which lines those are.
        now: Monotonic.
        wall: The same instant in seconds since the epoch.
    """
    groups = tuple(_group_of(crowd, now, wall) for crowd in crowds)
    return WhyAll(groups, sum(group.count for group in groups), running, submissions, threads, tuple(places))


def _group_of(crowd: Crowd, now: float, wall: float) -> WhyGroup:
    reason, step = crowd.reason, _one_step(crowd)
    return WhyGroup(
        reason.verdict,
        crowd.count,
        dict(crowd.tasks),
        tuple(crowd.examples),
        crowd.root,
        shortened(_details(crowd, now, wall, LONGEST - _WHO - len(step))),
        reason.since + wall - now,
        crowd.done,
        step,
    )


def _one_step(crowd: Crowd) -> str:
    """What to do about a group; where it is not known whether a handler takes too long, nothing is said of that."""
    reason = crowd.reason
    if reason.kind == "upstream" and crowd.several > 1:
        return "Mend what failed, and submit them again"
    if reason.kind in _LACKING and crowd.several > 1 and (lacks := _lacks_of(crowd)):
        # Of the others only their names are known.
        lack = lacks[0]
        others = [(one, "") for one in crowd.subjects if one is not lack.artifact]
        return step_for_all([(lack.artifact, lack.step), *others])
    if reason.kind == "slots" and any(
        one.usual is None and one.oldest._phase != SETTLED for one in reason.holding
    ):
        reason = reason._replace(holding=())
    # Of very many that wait for their instants none is to be hurried.
    return (
        ""
        if reason.name == "not_due"
        else next_step(reason, "it" if crowd.passed is None else name_of(crowd.passed))
    )


def _details(crowd: Crowd, now: float, wall: float, room: int) -> str:
    """What a group waits for, as what follows who they are; in about so many characters."""
    text, more = _heads(crowd, now, wall), ""
    reason = crowd.reason
    if reason.kind in _TOLD_WHOLE:
        more = details_of(reason, now, wall).removeprefix("Deadlock: ")
    lacks = _lacks_of(crowd) if reason.kind in _LACKING else []
    if crowd.several > 1 and crowd.kind not in _NAMED:
        text += f", and {crowd.several - 1:,} more like this"
    behind = crowd.count - crowd.first
    if behind and crowd.first:
        text += f", {behind:,} of them through {'another' if behind == 1 else 'others'} of them"
    text += _done(crowd)
    if lacks:
        alone = len(lacks) == 1 and crowd.several == 1
        told = [f"{'it' if alone else words_of(one.artifact)} {one.problem}" for one in lacks]
        more = Entries(told, [1] * len(told)).within(room - len(text))
    return f"{text}: {more}" if more else text


_LACKING: Final = ("no producer", "input")
_TOLD_WHOLE: Final = ("said no", "raised", "gate", "reading", "cycle", "deadlock", "self")
# Crowds that were put together name what they are about.
_NAMED: Final = ("lost", "upstream", "retry", "postponed", "throttled", "delayed")


def _lacks_of(crowd: Crowd) -> list[Missing]:
    """What is missing at the root of a crowd; of several that were put together, the first of it."""
    artifact = crowd.subjects[0]
    lacks = [one for one in crowd.reason.lacks if one.state == "nobody"]
    lacks.sort(key=lambda one: one.artifact is not artifact)
    return lacks if crowd.several == 1 else lacks[:1]


def _heads(crowd: Crowd, now: float, wall: float) -> str:
    reason, kind = crowd.reason, crowd.reason.kind
    waits, are = ("waits", "is") if crowd.count == 1 else ("wait", "are")
    if kind in _LIMITS:
        return f"{waits} for {_limit(reason, wall)}"
    if kind == "left free":
        return f"{waits} for slots that are left free for {name_of(reason.others[0])}, which needs several"
    if kind == "left to":
        return f"{waits} for {name_of(reason.others[0])}, which came before them and waits for a budget"
    if kind == "input" and not reason.lacks:
        return f"{are} about to be asked again: {words_of(reason.subject)} {reason.said}"
    if kind in _LACKING:
        known = "" if kind == "no producer" else ", as far as is declared"
        return f"{waits} for {_lacking(crowd)}, which nobody makes{known}"
    if kind == "upstream":
        return f"{waits} for what {_lost(crowd)}"
    if kind in ("said no", "raised"):
        return f"{are} not ready"
    if kind == "running":
        return f"{waits} {_behind_who_runs(crowd, now)}"
    if kind == "unreturned":
        maker = reason.others[0]
        given_up = ", which was given up" if maker._phase == SETTLED else ""
        return f"{waits} until the handler of {name_of(maker)} has returned{given_up}"
    if reason.name == "not_due":
        return f"{waits} for {_instants(crowd, now, wall)}"
    if kind == "cycle":
        return f"{waits} in a cycle, and can never run"
    if kind in ("deadlock", "self"):
        return f"{are} in a deadlock, or behind it" if kind == "deadlock" else f"{are} held up by this"
    if kind == "not started":
        return f"{waits} for the cue to be started"
    if kind in ("gate", "reading"):
        return f"{are} being asked"
    full = crowd.first > sum(run_queue.free_slots() for run_queue in crowd.lines)
    return f"{are} about to start{', as far as there is room' if crowd.lines and full else ''}"


def _behind_who_runs(crowd: Crowd, now: float) -> str:
    """Whom those wait for that wait for what runs."""
    reason, span = crowd.reason, duration_in_words(now - crowd.reason.since)
    if all(one is reason.work or is_behind_in_lane(one) for one in crowd.examples):
        if crowd.running == 1:
            return f"behind {name_of(reason.work)} in its lane, which has run for {span}"
        heads = f"{crowd.running:,} {shortened(reason.work.task, 80)}"
        return f"behind {heads} in their lanes, of which {name_of(reason.work)} has run longest, for {span}"
    if crowd.running == 1:
        return f"for what {name_of(reason.work)} makes, which has run for {span}"
    makers = f"{crowd.running:,} {shortened(reason.work.task, 80)}"
    return f"for what {makers} make, of which {name_of(reason.work)} has run longest, for {span}"


def _instants(crowd: Crowd, now: float, wall: float) -> str:
    """What those wait for that must not start yet, or for whose makers that is so."""
    reason, work = crowd.reason, crowd.reason.work
    tried = reason.kind == "retry"
    if crowd.first <= 1:
        until = not_before(work, reason.until, now, wall)
        if crowd.count == crowd.first:
            return f"{'its next attempt' if tried else 'its time'}: {until}"
        return f"the {'next attempt' if tried else 'time'} of {name_of(work)}: {until}"
    what = "their next attempts" if tried else "their time"
    first, last = (duration_in_words(max(0.0, one - now)) for one in crowd.instants)
    # Of several tasks each has failed in its own way.
    after = after_what(work) if tried and crowd.several == 1 else ""
    if first == last:
        return f"{what}, all in {first}{after}"
    return f"{what}, the first in {first}, the last in {last}{after}"


def _done(crowd: Crowd) -> str:
    """When those who stand in the line will be through."""
    done, alone = crowd.done, crowd.alone
    if done is None and alone is None:
        if crowd.passed is None:
            return ""
        return f", and others that come later go before {name_of(crowd.passed)}"
    if done is None:
        return f", done in about {_span(alone or 0.0)} if no more come that go first"
    if alone == done:
        return f", done in about {_span(done)} if no more come that go first"
    if alone is not None:
        return f", done in about {_span(done)}, since others go first ({_span(alone)} if no more come)"
    if crowd.reason.kind == "slots":
        return f", done in about {_span(done)}"
    return f", done in {seconds_in_words(round(done, 0 if done >= 10 else 1))} at the earliest"


def _span(seconds: float) -> str:
    """What is known by and large: to two digits."""
    rounded = round(seconds, 0 if seconds >= 10 else 1)
    return seconds_in_words(float(f"{rounded:.2g}"))


_LIMITS: Final = ("rate", "budget", "limit", "paused", "server", "throttle", "breaker", "slots", "no thread")


def _limit(reason: Reason, wall: float) -> str:
    """What is waited for where a service has no room."""
    service, said = reason.subject, reason.said.partition(": ")[2]
    if reason.kind == "rate":
        return f"the rate of {service.label} ({service.rate_text or said})"
    if reason.kind == "slots":
        holders = sorted(reason.others, key=lambda work: work.started_at or wall)
        held = f" by {listed(map(name_of, holders), 2)}" if holders else ""
        if holders and all(one._phase == CHECKING for one in holders):
            held += (
                ", whose async gate is being asked"
                if len(holders) == 1
                else ", whose async gates are being asked"
            )
        elif holders and holders[0].started_at is not None:
            first = " " if len(holders) == 1 else ", the first "
            held += f"{first}for {duration_in_words(wall - holders[0].started_at)}"
        what = _OWN_SLOTS.get(service.name) or f"a slot of {service.label}"
        used = "the only one is" if service.concurrent == 1 else f"all {service.concurrent} are"
        return f"{what} ({used} in use{held})"
    if reason.kind in ("paused", "server"):
        return f"{service.label}, {said}"
    if reason.kind == "budget":
        return f"the budget of {service.label} ({said.removeprefix('its budget of ').partition(' is used up')[0]})"
    if reason.kind == "limit":
        return f"a limit of {service.label} ({said})"
    if reason.kind in ("throttle", "breaker"):
        return f"{service.label} ({said})"
    return f"a thread ({reason.said})"


def _lacking(crowd: Crowd) -> str:
    """What is missing to a group: all of it where it is missing to one work unit."""
    if crowd.several > 1 or crowd.first > 1:
        return _named(crowd, words_of)
    return listed((words_of(one.artifact) for one in _lacks_of(crowd)), 3) or _named(crowd, words_of)


def _named(crowd: Crowd, name: Callable[[Any], str]) -> str:
    """What it is about, where several were put together."""
    shown = crowd.subjects[:3]
    more = f" and {crowd.several - len(shown):,} more" if crowd.several > len(shown) else ""
    return ", ".join(map(name, shown)) + more


def _lost(crowd: Crowd) -> str:
    """Who was to make what is waited for, and did not."""
    work: Work = crowd.subjects[0]
    if crowd.several > 1:
        return f"{_named(crowd, name_of)} were to make, which failed or were cancelled"
    ended = f"failed: {clause_of(work.error or '')}" if work.state is WorkState.FAILED else "was cancelled"
    return f"{name_of(work)} was to make, which {ended}"


# In tracebacks, in pickles and in documentation they are named as users import them.
for _public in (WhyAll, WhyGroup):
    _public.__module__ = "runcue"
