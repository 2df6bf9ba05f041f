"""The answer to `cue.why()` about all work units at once: what they wait for in the end, and what to do about it.

Lives here: frozen records, and how they print: a line each, the largest group first.

Must not know: how those are found who wait for the same (`roots`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from runcue._explain.reasons import Kind, Reason, Verdict
from runcue._explain.roots import Crowd
from runcue._explain.wording import details_of, duration_in_words
from runcue._model.phases import WorkState
from runcue._model.texts import how_many, listed, name_of, seconds_in_words, shortened, words_of
from runcue._model.work import Work

__all__ = ["WhyAll", "WhyGroup", "why_all_of"]

_LINES: Final = 15
"""As many lines are printed at most."""


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
            about where slots do. None if that is not known.
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
        step = f". {self.next_step}" if self.next_step else ""
        return shortened(f"{who} {self.details}{step}")

    def __repr__(self) -> str:
        return shortened(f"<WhyGroup {self.count:,} {self.verdict}>", 200)


@dataclass(frozen=True, slots=True, eq=False)
class WhyAll:
    """What all work units wait for that do not run, grouped by the root of it. `print()` it.

    Attributes:
        groups: The groups, the largest first.
        count: How many work units wait.
        running: How many run.
    """

    groups: tuple[WhyGroup, ...]
    count: int
    running: int

    def __str__(self) -> str:
        if not self.groups:
            return f"Nothing waits, {self.running:,} running" if self.running else "Nothing waits"
        shown = self.groups if len(self.groups) <= _LINES else self.groups[: _LINES - 1]
        lines = [str(group) for group in shown]
        if left := self.groups[len(shown) :]:
            works = how_many(sum(group.count for group in left), "other", "others")
            lines.append(f"{works} for {len(left)} other reasons")
        return "\n".join(lines)

    def __repr__(self) -> str:
        kinds: dict[str, int] = {}
        for group in self.groups:
            kinds[group.verdict] = kinds.get(group.verdict, 0) + group.count
        told = ", ".join(f"{count:,} {verdict}" for verdict, count in kinds.items())
        return f"<WhyAll {told or 'nothing waits'}>"


def why_all_of(crowds: Sequence[Crowd], running: int, now: float, wall: float) -> WhyAll:
    """The answer that crowds make.

    Args:
        crowds: Those who wait for the same, the largest first.
        running: How many work units run.
        now: Monotonic.
        wall: The same instant in seconds since the epoch.
    """
    groups = tuple(_group_of(crowd, now, wall) for crowd in crowds)
    return WhyAll(groups, sum(group.count for group in groups), running)


def _group_of(crowd: Crowd, now: float, wall: float) -> WhyGroup:
    reason = crowd.reason
    return WhyGroup(
        reason.verdict,
        crowd.count,
        dict(crowd.tasks),
        tuple(crowd.examples),
        crowd.root,
        shortened(_details(crowd, now, wall)),
        reason.since + wall - now,
        crowd.done,
        _next_step(reason),
    )


def _details(crowd: Crowd, now: float, wall: float) -> str:
    """What a group waits for, as what follows who they are."""
    reason, kind = crowd.reason, crowd.reason.kind
    waits, are, have = ("waits", "is", "has") if crowd.count == 1 else ("wait", "are", "have")
    if kind in _LIMITS:
        text = f"{waits} for {_limit(reason, wall)}{_others(crowd)}"
    elif kind == "left free":
        whom = name_of(reason.others[0])
        text = f"{waits} for slots that are left free for {whom}, which needs several{_others(crowd)}"
    elif kind in ("no producer", "input") and reason.lacks:
        who = "which nobody makes" if kind == "no producer" else "which nobody makes, as far as is declared"
        text = f"{waits} for {_named(crowd, words_of)}, {who}"
    elif kind == "upstream":
        text = f"{waits} for what {_named(crowd, _failed)}"
    elif kind in ("said no", "raised"):
        text = f"{are} not ready: {details_of(reason, now, wall)}"
    elif kind == "running":
        span = duration_in_words(now - reason.since)
        text = f"{waits} for what {name_of(reason.work)} makes, which has run for {span}{_others(crowd)}"
    elif kind == "unreturned":
        text = f"{waits} until the handler of {name_of(reason.others[0])} has returned, which makes the same"
    elif kind == "delayed":
        text = f"{waits} for the next attempt of {name_of(reason.work)}{_others(crowd)}"
    elif kind == "cycle":
        text = f"{waits} in a cycle, and can never run: {details_of(reason, now, wall)}{_others(crowd)}"
    elif kind in ("deadlock", "self"):
        text = f"{have} to do with this: {details_of(reason, now, wall)}"
    elif kind == "not started":
        text = f"{waits} for the cue to be started"
    elif kind in ("gate", "reading"):
        text = f"{are} being asked: {details_of(reason, now, wall)}{_others(crowd)}"
    else:
        text = f"{are} about to start{_others(crowd)}"
    behind = crowd.count - crowd.first
    if behind and crowd.first:
        text += f" ({behind:,} of them after others)"
    return text + _done(crowd)


def _done(crowd: Crowd) -> str:
    """When those who stand in the line will be through."""
    if crowd.done is None:
        return ""
    seconds = round(crowd.done, 0 if crowd.done >= 10 else 1)
    if crowd.reason.kind == "slots":
        return f", done in about {seconds_in_words(float(f'{seconds:.2g}'))}"
    return f", done in {seconds_in_words(seconds)} at the earliest"


_LIMITS: Final = ("rate", "limit", "slots", "no thread")


def _limit(reason: Reason, wall: float) -> str:
    """What is waited for where a service has no room."""
    service, said = reason.subject, reason.said.partition(": ")[2]
    if reason.kind == "rate":
        return f"the rate of {service.name} ({service.rate_text or said})"
    if reason.kind == "slots":
        holders = sorted(reason.others, key=lambda work: work.started_at or wall)
        held = f" by {listed(map(name_of, holders), 2)}" if holders else ""
        if holders and holders[0].started_at is not None:
            held += f", the first for {duration_in_words(wall - holders[0].started_at)}"
        what = "a thread" if service.name == "threads" else f"a slot of {service.name}"
        return f"{what} (all {service.concurrent} in use{held})"
    if reason.kind == "limit":
        return f"a limit of {service.name} ({said})"
    return f"a thread ({reason.said})"


def _others(crowd: Crowd) -> str:
    """That there are more like this."""
    return f", and {crowd.several - 1:,} more like this" if crowd.several > 1 else ""


def _named(crowd: Crowd, name: Callable[[Any], str]) -> str:
    """What it is about, where several were put together."""
    shown = crowd.subjects[:3]
    more = f" and {crowd.several - len(shown):,} more" if crowd.several > len(shown) else ""
    return ", ".join(map(name, shown)) + more


def _failed(work: Work) -> str:
    ended = f"failed: {work.error}" if work.state is WorkState.FAILED else "was cancelled"
    return f"{name_of(work)} was to make, which {ended}"


def _next_step(reason: Reason) -> str:
    """The one thing to do."""
    return _NEXT_STEPS.get(reason.kind, "")


_NEXT_STEPS: Final[Mapping[Kind, str]] = {
    "slots": "More slots (concurrent=, for threads Cue(max_threads=)) let more of them run at once",
    "rate": "It is a matter of time; a higher rate= lets them start sooner",
    "no producer": "Submit what makes it; if it comes from outside, say so by cue.watch(folder) or cue.nudge(path)",
    "input": "If it comes from outside, say so by cue.watch(folder) or cue.nudge(path); else submit what makes it",
    "upstream": "Mend that and submit it again",
    "said no": "See what that callback waits for, and call cue.nudge() when it has come",
    "raised": "Mend that callback",
    "cycle": "Take an input or output out of one of them; cue.plan() finds cycles beforehand",
    "not started": "Call start()",
}

# In tracebacks, in pickles and in documentation they are named as users import them.
for _public in (WhyAll, WhyGroup):
    _public.__module__ = "runcue"
