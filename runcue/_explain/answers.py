"""The answers to `cue.why()` and `cue.why_stale()`, and how they print.

Lives here: frozen records, and how they are laid out in lines. Nothing in them changes any more: they are as of the
moment of the question.

Must not know: how an answer is found.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, Final, NamedTuple

from runcue._artifacts.artifact import Artifact
from runcue._explain.kinds import BY_LIMITS, ReasonName, Verdict, in_print
from runcue._explain.missing import Missing, what_is_missing
from runcue._explain.next_steps import next_step, step_for_no
from runcue._explain.phrases import place_of, said_no
from runcue._explain.reasons import Reason
from runcue._explain.told import Told, once
from runcue._explain.turn import Turn
from runcue._explain.turn_words import turn_in_words
from runcue._explain.wording import around_works, details_of, in_short
from runcue._model.phases import SETTLED
from runcue._model.texts import (
    LONGEST_REPR,
    SHOWN,
    how_many,
    in_one_line,
    name_of,
    seconds_in_words,
    shortened,
    words_of,
)
from runcue._model.work import Work

__all__ = ["Blocked", "Why", "WhyStale", "blocked", "why_of"]


@dataclass(frozen=True, slots=True, eq=False)
class Why:
    """Why a work unit is where it is. `print()` it.

    Attributes:
        work: The work.
        verdict: The binding reason, in two or three words.
        details: The same in a line.
        since: When that reason began, in seconds since the epoch.
        seconds: How long it has lasted.
        asked: How often it was found not ready.
        missing: The artifacts it waits for, and who would make them; of more than 100 some.
        held_by: For a slot: the work units that have it.
        eta: Seconds until its own turn comes, if it stands in line; for a retry, or what is for later, until it is due.
            None if that is not known.
        next_token_at: For a rate: when it allows the next start, that of whoever is first in line; in seconds since the
            epoch.
        chain: The work units that wait for each other, from this one to the root of it.
        root: Why the last of the chain does not run; None if that is this work.
        cycle: The work units that wait for each other in a cycle.
        next_step: What to do about it, as a sentence; "" if there is nothing to be done.
        turn: If it stands in line: its place, when its turn comes, and what passes it.
        more_missing: How many more artifacts than those of `missing` it waits for, each of which somebody makes.
        unasked: Of how many more artifacts it was not asked whether they are there.
        goes_on: Whether the chain is longer than 15,000 work units: so far it is followed, and `root` is about the
            last of these.
    """

    work: Work
    verdict: Verdict
    details: str
    since: float
    seconds: float
    asked: int = 0
    missing: tuple[Missing, ...] = ()
    held_by: tuple[Work, ...] = ()
    eta: float | None = None
    next_token_at: float | None = None
    chain: tuple[Work, ...] = ()
    root: Why | None = None
    cycle: tuple[Work, ...] = ()
    next_step: str = ""
    turn: Turn | None = None
    more_missing: int = 0
    unasked: int = 0
    goes_on: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "details", shortened(self.details, _LONGEST))

    def __str__(self) -> str:
        asked = f", found not ready {how_many(self.asked, 'time', 'times')}" if self.asked else ""
        span = seconds_in_words(round(self.seconds, 1))
        since = f" {span} ago" if self.work._phase == SETTLED else f", for {span}{asked}"
        lines = [f"{name_of(self.work)}: {in_print(self.verdict)}{since}"]
        if not self.missing:
            lines.append(f"  {self.details}")
        lines += [f"  {one}" for one in _missing_in_words(self.missing[:SHOWN])]
        more = max(0, len(self.missing) - SHOWN) + self.more_missing
        if more:
            lines.append(f"  and {'at least ' if self.unasked else ''}{more:,} more")
        elif self.unasked:
            lines.append(f"  of {self.unasked:,} more inputs it was not asked whether they are there")
        if self.work.metadata:
            lines.append(f"  metadata {in_one_line(words_of(self.work.metadata), _LONGEST_METADATA)}")
        if self.cycle:
            lines.append(f"  a cycle: {around_works(self.cycle)}")
        between = len(self.chain) - 2
        if self.root is not None:
            if self.goes_on:
                through = how_many(between + 1, "other work unit", "other work units")
                lines.append(
                    f"  through at least {through}, of which the last that was looked at waits, too:"
                )
            elif between > 0:
                works = how_many(between, "other work unit", "other work units")
                lines.append(f"  through {works}, in the end because of {name_of(self.root.work)}:")
            lines += [f"  {line}" for line in str(self.root).splitlines()]
        elif self.next_step:
            lines.append(f"  {self.next_step}.")
        return "\n".join(shortened(line, _LONGEST) for line in lines)

    def __repr__(self) -> str:
        return in_one_line(
            f"<Why {name_of(self.work)}: {in_print(self.verdict)}: {self.details}>", LONGEST_REPR
        )


@dataclass(frozen=True, slots=True, eq=False)
class WhyStale:
    """Why a work unit ran, or did not have to. `print()` it.

    Attributes:
        work: The work.
        stale: Whether it was found out of date; None if that is not known yet.
        verdict: In a word or two: "missing", "not valid", "older", "changed", "forced", "is_stale", "up to date", ...
            "left as it was" if it was not run because of a failure upstream.
        artifact: The output or input at fault, if one is.
        other: What it was compared to, if it was.
        details: In a line.
        before: What was compared, as text, as it was when the outputs were made: a date, a size, the values of params.
            None if nothing was, or it is not known.
        now: The same as it was when it was checked.
        not_compared: Of one that is up to date what could have changed without being noticed, such as "params".
    """

    work: Work
    stale: bool | None
    verdict: str
    artifact: Artifact | None
    other: Artifact | None
    details: str
    before: str | None = None
    now: str | None = None
    not_compared: tuple[str, ...] = ()
    _begin: str | None = None

    def __str__(self) -> str:
        words = {True: "out of date: ", False: f"{self.verdict}: ", None: "not known yet: "}
        begin = words[self.stale] if self._begin is None else self._begin
        return shortened(f"{name_of(self.work)}: {begin}{self.details}")

    def __repr__(self) -> str:
        return in_one_line(f"<WhyStale {self}>", LONGEST_REPR)


class Blocked(NamedTuple):
    """Why one work unit does not run, in the words of a moment.

    Attributes:
        work: The work unit.
        name: The kind of reason.
        details: One line for a person.
        step: What to do about it, as a sentence; "" if there is nothing to be done.
    """

    work: Work
    name: ReasonName
    details: str
    step: str

    def as_dict(self) -> dict[str, Any]:
        """The form that `debug_blocked()` returns."""
        return {"work": self.work, "reason": self.name, "details": self.details, "next_step": self.step}


def blocked(reasons: Iterable[Reason | None], now: float, wall: float) -> list[Blocked]:
    """The reasons of pending work units as `debug_blocked()` and `Summary.blocked` give them.

    Args:
        reasons: The reasons; None where there is none.
        now: Monotonic.
        wall: The same instant in seconds since the epoch.
    """
    told: Told = {}
    steps: Told = {}
    found: list[Blocked] = []
    # One that keeps a whole line from starting, and what is told of it.
    first: Reason | None = None
    words: tuple[ReasonName, str, str] | None = None
    # The last gate that has said no, and where it is.
    gate: Any = None
    where = ""
    for reason in reasons:
        if reason is None:
            continue
        work, kind = reason.work, reason.kind
        if kind == "said no" and reason.root is None and work._attempts is None:
            # In a short way: of these there may be very many, each with words of its own.
            if reason.subject is not gate:
                gate = reason.subject
                where = place_of(gate, told)
            found.append(Blocked(work, "not_ready", said_no(reason, where), step_for_no(reason.said)))
            continue
        in_line = kind in BY_LIMITS and work._attempts is None
        if in_line and words is not None and first is not None and reason.is_shared_with(first):
            found.append(Blocked(work, *words))
            continue
        details = shortened(in_short(reason, now, wall, told), _LONGEST)
        one = Blocked(work, reason.name, details, _step_of(reason, steps))
        found.append(one)
        if in_line:
            first, words = reason, one[1:]
    return found


def _step_of(reason: Reason, steps: Told) -> str:
    """What to do about a reason, or the root of it: the same for all who share that."""
    if reason.root is not None:
        return once(steps, reason.root, lambda: next_step(reason.deepest))
    if reason.kind == "being made" and not reason.lacks:
        return ""  # there may be very many
    return once(steps, reason.lacks, lambda: next_step(reason)) if reason.lacks else next_step(reason)


def why_of(reason: Reason, now: float, wall: float) -> Why:
    """The answer that a reason makes.

    Args:
        reason: The reason.
        now: Monotonic.
        wall: The same instant in seconds since the epoch.
    """
    root = reason.deepest if reason.kind == "joined" else reason
    is_timed = root.verdict in _TIMED and root.until < inf
    eta = max(0.0, root.until - now) if is_timed else None
    details = details_of(reason, now, wall)
    return Why(
        reason.work,
        root.verdict,
        details
        if reason.turn is None
        else f"{details}; {turn_in_words(reason.work, reason.turn, now, wall)}",
        reason.since + wall - now,
        max(0.0, now - reason.since),
        reason.work._refusals,
        reason.lacks,
        root.others if root.verdict in _HELD else (),
        eta if root.turn is None else root.turn.eta,
        root.until + wall - now if is_timed and root.verdict not in _INSTANTS else None,
        reason.chain,
        None if reason.root is None else why_of(reason.root, now, wall),
        reason.cycle,
        next_step(reason.deepest),
        root.turn,
        reason.more,
        reason.unasked,
        reason.goes_on,
    )


def _missing_in_words(missing: Sequence[Missing]) -> Iterator[str]:
    """What is missing, a line each; that nobody makes them is said once, of the last of these."""
    unmade = [one for one in missing if one.maker is None]
    for one in missing:
        yield str(one) if one.maker is not None or len(unmade) == 1 else what_is_missing(one)
        if len(unmade) > 1 and one is unmade[-1]:
            yield "nothing that is pending or running declares these as outputs"


# Characters of a line of an answer: one of the log has fewer, but here somebody has asked, and each part answers
# something. Two places in the source, which may lie deep, are half of it.
_LONGEST_METADATA: Final = 100
_LONGEST: Final = 700

# With an instant at which it will be over, of its own or that of a service; and with work units that have the slots.
_INSTANTS: Final = frozenset(("waiting for a retry", "waiting for its time"))
_TIMED: Final = frozenset(("waiting for rate", "waiting for a budget", "waiting for a limit", *_INSTANTS))
_HELD: Final = frozenset(("waiting for a slot", "deadlock"))

# In tracebacks, in pickles and in documentation they are named as users import them.
for _public in (Why, WhyStale):
    _public.__module__ = "runcue"
