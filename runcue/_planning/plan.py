"""What a dry run found: the answer to `cue.plan()`, and how it prints.

Lives here: frozen records and their words. A reason is kept as what it is made of and put in words when it is read,
because of a hundred thousand work units a person reads a few dozen.

Must not know: how a plan is worked out.
"""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from runcue._explain.time_words import clock_in_words
from runcue._explain.why_stale import what_differs
from runcue._model.texts import error_words, how_many, name_of, seconds_in_words, shortened, words_of
from runcue._model.work import Work
from runcue._planning.lanes import LaneLink

__all__ = ["Cycle", "Plan", "PlannedWork", "ServiceTime"]

_WIDTH: Final = 80
_SHOWN: Final = 12
_TASKS_SHOWN: Final = 4
_LINKS_SHOWN: Final = 4
_LINES: Final = 3
_NAME_WIDTH: Final = 24

_REASONS: Final = {
    # Why it runs, but for what a check of its outputs says.
    "forced": "forced",
    "made anew": "input {one} is made anew by {producer}",
    "may be made anew": "input {one} may be made anew by {producer}",
    "other content": "input {one} is made anew by {producer}; if it turns out the same, this may be up to date",
    "may be other content": "input {one} may be made anew by {producer}, with other content or the same",
    "is_stale": "is_stale says so",
    "is_stale raised": "is_stale raised {error}, which counts as yes",
    "nothing": "nothing says it is up to date",
    # Why it is up to date.
    "newer": "{one} is newer than its inputs",
    "as made": "{one} and its inputs are as the last run left them",
    "by policy": "{one} is up to date by {other}",
    "valid": "{one} is valid",
    "valid, no version": "{one} is valid, and none of what is made anew has a version to compare",
    "valid, no policy": "{one} is valid, and with fresh=None nothing else counts",
    "not stale": "is_stale says no",
    # Why it never runs.
    "no producer": "input {one} {text}, and nothing planned makes it",
    "producer fails": "input {one} {text}, and {producer}, which is to make it, cannot run",
    "producer idle": "input {one} {text}, though {producer}, which makes it, is up to date",
    "producer failed": "input {one} {text}, and {producer}, which was to make it, failed",
    "input raised": "input {one} cannot be looked at: {error}",
    "fault": "{other}",
    "upstream": "input {one} is to be made by {producer}, which is blocked",
    "far upstream": "input {one} is to be made by {producer}; that is blocked in the end by {root}",
    "cycle": "input {one} is to be made by {producer}, which waits for it in a cycle",
    "behind cycle": "input {one} is to be made by {producer}; that is blocked in the end by the cycle with {root}",
    "upstream, lane": "it comes after {producer} in {one}; that is blocked in the end by {root}",
    "cycle, lane": "it comes after {producer} in {one}, which waits for it in a cycle",
    "behind cycle, lane": "it comes after {producer} in {one}; that is blocked in the end by the cycle with {root}",
    # And what it joins.
    "joins": "{producer} makes the same",
}

_FOLLOWS: Final = ("upstream", "far upstream", "behind cycle")


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class PlannedWork:
    """One work unit of a plan, and why it is where it is.

    Attributes:
        number: Which of the submissions it is, from 1; None if it is pending already.
        may: Whether it may turn out up to date, because what it is made from may be made anew with the same content,
            or not at all.
        unsure: Why it cannot be foretold whether it runs, None if it can: a callback does not say yes now, or would
            have to be asked at another time. Such a work unit is where it would be if the callback said yes.
        not_before: Before when it does not start, in seconds since the epoch: it is for later, waits for its next
            attempt, or for who makes its inputs and does. None if nothing of the kind keeps it.
    """

    _work: Work
    _because: tuple[str, Any, Any, Work | None] = field(default=("nothing", None, None, None))
    number: int | None = None
    may: bool = False
    unsure: str | None = None
    _known: Iterable[Work] = ()
    not_before: float | None = None
    _wall: float = 0.0

    @property
    def id(self) -> str:
        """The id of a pending work unit; of a submission "#" and its number."""
        return self._work.id

    @property
    def task(self) -> str:
        """The name of its task."""
        return self._work.task

    @property
    def params(self) -> dict[str, Any]:
        """Its params."""
        return self._work.params

    @property
    def inputs(self) -> tuple[Any, ...]:
        """The artifacts it needs, as declared."""
        return self._work.inputs

    @property
    def outputs(self) -> tuple[Any, ...]:
        """The artifacts that prove it, as declared."""
        return self._work.outputs

    @property
    def reason(self) -> str:
        """Why it is where it is, as part of a sentence."""
        kind, one, other, producer = self._because
        if isinstance(one, LaneLink):
            kind = f"{kind}, lane"
        form = _REASONS.get(kind)
        if form is None:
            return shortened(what_differs(self._work, kind, one, other, self._known))
        return shortened(
            form.format(
                one=words_of(one),
                other=words_of(other),
                text=f"{other}{_in_its_place(one)}" if kind == "no producer" else other,
                error=error_words(other) if isinstance(other, BaseException) else "",
                producer="" if producer is None else name_of(producer),
                root=name_of(other) if isinstance(other, Work) else "",
            )
        )

    def __str__(self) -> str:
        unsure = f" ({self.unsure})" if self.unsure else ""
        return shortened(f"{name_of(self._work)}: {self.reason}{self._later}{unsure}")

    @property
    def _later(self) -> str:
        """When it is for, as the end of a sentence."""
        if self.not_before is None:
            return ""
        span = seconds_in_words(round(max(0.0, self.not_before - self._wall), 1))
        return f"; not before {clock_in_words(self.not_before, self._wall)}, in {span}"

    def __repr__(self) -> str:
        return f"<PlannedWork {self}>"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Cycle:
    """Work units that wait for each other in a cycle, or one that waits for itself, so that none can ever run.

    Attributes:
        works: In the order in which one makes what the next one needs; the last makes what the first needs.
        artifacts: What each of them makes for the next, or the lane in which it comes before that one.
    """

    works: tuple[PlannedWork, ...]
    artifacts: tuple[Any, ...]

    def __str__(self) -> str:
        names = [name_of(work._work) for work in self.works]
        if len(names) == 1:
            return shortened(f"{names[0]} needs {words_of(self.artifacts[0])}, which only it makes")
        links = [
            f"{name} comes before {after} in {one}"
            if isinstance(one, LaneLink)
            else f"{name} makes {words_of(one)} for {after}"
            for name, one, after in zip(names, self.artifacts, [*names[1:], names[0]], strict=True)
        ]
        left = len(links) - _LINKS_SHOWN
        if left > 0:
            # The last one closes the cycle, so that is where somebody looks who wants to cut it.
            links[_LINKS_SHOWN - 1 : -1] = [f"... {left} more ..."]
        return shortened(", ".join(links))

    def __repr__(self) -> str:
        return f"<Cycle {self}>"


@dataclass(frozen=True, slots=True)
class ServiceTime:
    """What a service makes of a plan.

    Attributes:
        starts: How many work units that run use it.
        seconds: How long these starts take at the least by its rate, beginning with all of it unused; 0.0 without a
            rate. None: a limiter decides of which nothing is known.
        limit: The rates as they were written, with a burst, and the budgets; "" if there is none.
    """

    starts: int
    seconds: float | None
    limit: str = ""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Plan:
    """What would become of work units, as far as can be told without running any. `print()` it.

    Each work unit that is pending or was given is in one of `runs`, `up_to_date`, `blocked` and `joined`, or has made a
    problem.

    Attributes:
        runs: What would run, in the order in which it could start one at a time: what makes an artifact before what
            needs it, what is for later after what is not, otherwise in the order of submission. Priorities are not
            asked for, and may change that.
        up_to_date: What would be skipped.
        blocked: What could never run as things are; the work units of cycles too.
        cycles: Cycles of work units that wait for each other.
        joined: What would settle with another work unit that makes the same.
        unsure: Those in `runs` and `up_to_date` of which a callback decides in a way that cannot be foretold.
        problems: What `submit()` would refuse because another work unit makes the same, in words.
        seconds: How long the starts of all that is in `runs` take at the least by rates and budgets alone.
        binding: The service that takes that long, None if none takes any time.
        services: The numbers of each service that is used.
    """

    runs: tuple[PlannedWork, ...] = ()
    up_to_date: tuple[PlannedWork, ...] = ()
    blocked: tuple[PlannedWork, ...] = ()
    cycles: tuple[Cycle, ...] = ()
    joined: tuple[PlannedWork, ...] = ()
    unsure: tuple[PlannedWork, ...] = ()
    problems: tuple[str, ...] = ()
    seconds: float = 0.0
    binding: str | None = None
    services: Mapping[str, ServiceTime] = field(default_factory=lambda: MappingProxyType({}))
    _prioritised: bool = False
    _more_cycles: bool = False

    @property
    def ok(self) -> bool:
        """Whether everything would run or be skipped: nothing is blocked, and there are no problems."""
        return not (self.blocked or self.problems)

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def __repr__(self) -> str:
        return f"<{self._title()}>"

    def _title(self) -> str:
        counts = (
            (len(self.runs), "runs", "run"),
            (len(self.up_to_date), "is up to date", "are up to date"),
            (len(self.blocked), "is blocked", "are blocked"),
            (len(self.joined), "joins another", "join others"),
            (len(self.problems), "is refused", "are refused"),
            (len(self.cycles), "cycle", "cycles"),
        )
        parts = [how_many(number, one, many) for number, one, many in counts if number]
        return f"Plan: {', '.join(parts) or 'nothing to do'}"

    def _lines(self) -> Iterator[str]:
        yield self._title()
        yield from self._time()
        order = ", unless priorities change that" if self._prioritised else ""
        yield from _table(f"Run, in this order{order}:", self.runs, numbered=True)
        yield from _table("Cannot be foretold:", self.unsure, words=lambda work: work.unsure or "")
        yield from _table("Up to date:", self.up_to_date)
        # What is blocked by others comes after those others; what is in a cycle is told with it.
        causes = [work for work in self.blocked if work._because[0] not in (*_FOLLOWS, "cycle")]
        follows = [work for work in self.blocked if work._because[0] in _FOLLOWS]
        yield from _table("Blocked:", causes + follows)
        for title, texts in (("Cycles:", [*map(str, self.cycles)]), ("Refused:", [*self.problems])):
            if texts:
                yield from ("", title)
            for text in texts[:_SHOWN]:
                yield from _wrapped("  - ", text)
            more = len(texts) - _SHOWN
            if more > 0 or (title == "Cycles:" and self._more_cycles):
                yield f"    and {more if more > 0 and not self._more_cycles else 'many'} more"
        yield from _table("Join others:", self.joined)

    def _time(self) -> Iterator[str]:
        if self.binding is not None:
            service = self.services[self.binding]
            doubt = ", if all of them do" if any(work.may or work.unsure for work in self.runs) else ""
            limit = f" ({service.limit})" if service.limit else ""
            text = (
                f"{self.binding!r}{limit} starts {how_many(service.starts, 'work unit', 'work units')}{doubt}"
            )
            yield from _wrapped("", f"At least {seconds_in_words(self.seconds)} by the limits: {text}")
        unknown = [name for name, service in self.services.items() if service.seconds is None]
        if unknown:
            yield from _wrapped("", f"Nothing is known of the limiter of {', '.join(map(repr, unknown[:5]))}")


def _in_its_place(artifact: Any) -> str:
    """What is there in place of a missing input that nothing makes."""
    from runcue._artifacts.near_misses import missing_folder, near_miss  # noqa: PLC0415 - if it is wrong

    near = near_miss(artifact) or missing_folder(artifact)
    return near and f" ({near})"


def _wrapped(begin: str, text: str, rest: str | None = None) -> Iterator[str]:
    """A text after its beginning, broken so that it stays in its column and takes no more than a few lines."""
    indent = " " * len(begin) if rest is None else rest
    lines = textwrap.wrap(
        "".join(c if c.isprintable() else " " for c in text),
        _WIDTH - len(begin),
        max_lines=_LINES,
        placeholder=" ...",
    )
    for number, line in enumerate(lines or [""]):
        yield (begin if number == 0 else indent) + line


def _short(name: str) -> str:
    plain = "".join(c if c.isprintable() else "?" for c in name)
    if len(plain) <= _NAME_WIDTH:
        return plain
    # The id stands at the end.
    return f"{plain[: _NAME_WIDTH - 12]}..{plain[-10:]}"


def _table(
    title: str, works: Sequence[PlannedWork], *, numbered: bool = False, words: Any = None
) -> Iterator[str]:
    if not works:
        return
    yield from ("", title)
    shown = works[:_SHOWN]
    names = [_short(name_of(work._work)) for work in shown]
    width = max(map(len, names))
    for number, (work, name) in enumerate(zip(shown, names, strict=True), 1):
        begin = f"{number:4}  " if numbered else "  "
        reason = f"{work.reason}{work._later}" if words is None else words(work)
        yield from _wrapped(f"{begin}{name:{width}}  ", reason)
    if len(works) > _SHOWN:
        tasks = Counter(work.task for work in works[_SHOWN:]).most_common()
        parts = [f"{count} {_short(task)}" for task, count in tasks[:_TASKS_SHOWN]]
        rest = sum(count for _, count in tasks[_TASKS_SHOWN:])
        parts += (
            [f"{rest} of {how_many(len(tasks) - _TASKS_SHOWN, 'other task', 'other tasks')}"] if rest else []
        )
        begin = "      " if numbered else "  "
        yield from _wrapped(f"{begin}and {len(works) - _SHOWN} more: ", ", ".join(parts))


# In tracebacks, in pickles and in documentation they are named as users import them.
for _public in (Cycle, Plan, PlannedWork, ServiceTime):
    _public.__module__ = "runcue"
