"""Reasons in words: the one place where texts are made of them, for `why()`, `debug_blocked()`, warnings and errors.

Lives here: what each kind of reason is called, what is to be done about it, how those who wait for each other are told,
and how the reasons of many are put in one line.

Must not know: how reasons are found.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from itertools import islice
from math import inf
from typing import Final

from runcue._explain.holders import Holding
from runcue._explain.reasons import Kind, Lack, Reason, reason_of
from runcue._limits.service import Service
from runcue._model.callables import by_whom, located
from runcue._model.errors import WorkTimeout
from runcue._model.phases import CHECKING, HELD, JOINED, OUTCOMES, RUNNING, SETTLED
from runcue._model.texts import (
    SHOWN,
    around,
    clause_of,
    how_many,
    listed,
    name_of,
    seconds_in_words,
    shortened,
    words_of,
)
from runcue._model.work import Work
from runcue._scheduling.knots import Knot

__all__ = [
    "around_works",
    "clock_in_words",
    "details_of",
    "duration_in_words",
    "grouped",
    "in_short",
    "knot_in_short",
    "knot_in_words",
    "lack_in_words",
    "likeness",
    "slots_in_words",
]


def details_of(reason: Reason, now: float, wall: float) -> str:
    """A reason in a line, as `why()` gives it.

    Args:
        reason: The reason.
        now: Monotonic.
        wall: The same instant in seconds since the epoch.
    """
    if reason.knot is not None:
        return knot_in_words(reason.knot, now, wall)
    if reason.cycle:
        alone = len(reason.cycle) == 1
        return (
            f"{name_of(reason.work)} needs what only it makes: {_lacks(reason)}"
            if alone
            else around_works(reason.cycle)
        )
    if reason.lacks:
        return _lacks(reason)
    if not reason.beside or reason.kind in _ENDINGS:
        return _phrase(reason, now, wall)
    return "; ".join(_phrase(one, now, wall) for one in (reason, *reason.beside))


def in_short(reason: Reason | None, now: float, wall: float) -> str:
    """A reason with the root of it in a line, for those who are told of many.

    Args:
        reason: The reason; None if nothing is known to be in the way.
        now: Monotonic.
        wall: The same instant in seconds since the epoch.
    """
    if reason is None:
        return "it was about to be asked"
    if reason.knot is not None and reason.root is None:
        return f"{_phrase(reason, now, wall)}; {knot_in_short(reason.knot)}"
    details = details_of(reason, now, wall)
    if reason.verdict in _SAY_MORE:
        details = f"{reason.verdict}: {details}"
    if reason.root is not None:
        root = reason.root
        between = len(reason.chain) - 2
        through = f" (through {how_many(between, 'other', 'others')})" if between > 0 else ""
        what = details_of(root, now, wall)
        details += f"; in the end{through} because of {name_of(root.work)} ({root.verdict}): {what}"
    return details


# Their details alone do not say what the matter is.
_SAY_MORE: Final = frozenset(("no producer", "upstream failed", "cycle", "waiting for an artifact"))


_LONGEST_LACKS: Final = 400
"""Characters; of more the first artifact is told in full, and how many others there are."""


def _lacks(reason: Reason) -> str:
    words = [lack_in_words(one) for one in reason.lacks[:SHOWN]]
    if len(words) > 1 and sum(map(len, words)) > _LONGEST_LACKS:
        return f"{words[0]}; and {how_many(len(reason.lacks) - 1, 'more artifact is', 'more artifacts are')} waited for"
    return "; ".join(words)


def _phrase(reason: Reason, now: float, wall: float) -> str:
    """What a kind of reason is called."""
    kind, work = reason.kind, reason.work
    if kind in _BY_LIMITS:
        return _full(reason, wall)
    if kind == "said no":
        return _said_no(reason)
    if kind == "raised":
        return f"is_ready raised {reason.said}{_in_callback(reason, ', in')}"
    if kind == "input":
        return f"input {words_of(reason.subject)} {reason.said}"
    if kind == "being made":
        return f"input {words_of(reason.subject)} is being made by {name_of(reason.others[0])}"
    if kind == "unreturned":
        what = "its key" if reason.subject is None else words_of(reason.subject)
        return f"output {what} cannot be made before the handler of {name_of(reason.others[0])} has returned"
    if kind == "joined":
        whom = f"{name_of(reason.others[0])}, which" if reason.others else "another work unit that"
        return f"it settles with {whom} makes the same"
    if kind == "left free":
        return f"a slot is left free for {name_of(reason.others[0])}, which needs several and has waited for long"
    if kind in ("gate", "reading"):
        return _asked(reason, now)
    if kind == "delayed":
        seconds = seconds_in_words(max(0.0, reason.until - now))
        return f"delayed until attempt {work.attempt}, in {seconds}"
    if kind == "running":
        return _running(reason)
    if kind in _ENDINGS:
        return _ended(reason, wall)
    return _PLAINLY[kind]


def _full(reason: Reason, wall: float) -> str:
    """What a service lacks, and who has it."""
    details = reason.said
    if reason.kind == "slots" and reason.subject.name == "threads":
        details += f" (Cue(max_threads={reason.subject.concurrent}))"
    late = any(one._phase == SETTLED for one in reason.others)
    if reason.others and (late or not reason.holding):
        details += f", held by {listed((_holder(one, wall) for one in reason.others), 3)}"
    return "; ".join([details, *slots_in_words(reason.holding)]) if reason.holding else details


def _said_no(reason: Reason) -> str:
    said = reason.said
    if said.startswith("it ") and reason.subject is not None:
        return f"is_ready {located(reason.subject)} {said.removeprefix('it ')}; that is no answer, and counts as no"
    if said:
        return f"is_ready said no: {said}{_in_callback(reason, ', by')}"
    who = "" if reason.subject is None else f": {located(reason.subject)} returned False"
    return f"is_ready said no for params {words_of(reason.work.params)}{who}"


def _in_callback(reason: Reason, before: str) -> str:
    return "" if reason.subject is None else f"{before} {located(reason.subject)}"


def _asked(reason: Reason, now: float) -> str:
    """What is awaited of a work unit that is being asked, since when, and until when."""
    if reason.kind == "reading" or reason.said == "content":
        return "files that do not look as they did are being read"
    name = f"is_{reason.said or 'ready or is_stale'}"
    gate = "" if reason.subject is None else f" {located(reason.subject)}"
    if reason.until == inf:
        text = f"its {name}{gate} is being awaited"
    else:
        then = "out of date" if reason.said == "stale" else "not ready"
        limit = seconds_in_words(round(reason.until - reason.since, 1))
        left = seconds_in_words(round(max(0.0, reason.until - now), 1))
        text = (
            f"its {name}{gate} has been awaited for {duration_in_words(now - reason.since)}; after {limit}, in {left}, "
            f"it counts as raising, and the work unit as {then}"
        )
    waits = f"; it waits for {listed(map(_with_state, reason.others))}" if reason.others else ""
    return text + waits


def _running(reason: Reason) -> str:
    awaited = listed(map(_with_state, reason.others))
    parts = [f"its handler waits for {awaited}" if awaited else "its handler runs"]
    usual = reason.numbers.get("usual")
    if usual is not None:
        parts.append(f"{shortened(reason.work.task, 80)} usually takes about {_about(usual)}")
    if reason.said:
        parts.append(f"it is at {reason.said}")
    return "; ".join([*parts, *slots_in_words(reason.holding)])


def _ended(reason: Reason, wall: float) -> str:
    kind, said = reason.kind, reason.said
    if reason.root is not None:
        return f"it settled with {name_of(reason.root.work)}, which it had joined"
    text = said if kind == "failed" else _ENDINGS[kind]
    if kind == "skipped" and reason.subject is not None:
        text = "it was left as it was"
    if kind == "cancelled":
        text += by_whom(reason.work._value)
    elif said and kind == "completed":
        text += f"; it ran because {said}"
    elif said and kind == "skipped":
        text += f": {said}"
    if reason.others:
        text = text.removesuffix(".")
        text += "; its handler has not returned yet and still holds its slot"
        run = reason.others[0]
        if run.started_at is not None:
            text += f", for {duration_in_words(wall - run.started_at)} by now"
        text += "".join(f"; it is at {one.said}" for one in reason.beside if one.said)
    return text


_BY_LIMITS: Final = frozenset(("slots", "rate", "limit", "no thread"))

_PLAINLY: Final[dict[Kind, str]] = {
    "not asked": "not asked yet",
    "not started": "the cue is not started: call start()",
    "clear": "nothing is in its way",
}
_ENDINGS: Final[dict[Kind, str]] = {
    "completed": "its handler returned",
    "skipped": "it was up to date",
    "cancelled": "it was cancelled",
    "failed": "it failed",
}


def lack_in_words(lack: Lack) -> str:
    """An artifact that is waited for, and who makes it."""
    if lack.maker is None:
        who = "nothing that is pending or running declares it as an output"
    elif lack.state in ("failed", "cancelled"):
        error = f": {clause_of(lack.maker.error)}" if lack.maker.error else ""
        ended = f"was cancelled{by_whom(lack.maker._value)}" if lack.state == "cancelled" else lack.state
        who = f"{name_of(lack.maker)}, which was to make it, {ended}{error}"
    else:
        who = f"{name_of(lack.maker)} {lack.how or 'makes it'} ({lack.state})"
    what = "its key" if lack.artifact is None else words_of(lack.artifact)
    return shortened(f"{what} {lack.problem}; {who}" if lack.problem else f"its output {what}: {who}")


def around_works(cycle: tuple[Work, ...]) -> str:
    """A cycle of work units in a line."""
    return around(map(name_of, cycle), len(cycle), name_of(cycle[0]))


def duration_in_words(seconds: float) -> str:
    """How long something has lasted: to a tenth of a second while it is short."""
    return seconds_in_words(round(max(0.0, seconds), 0 if seconds >= 10 else 1))


def clock_in_words(when: float, now: float) -> str:
    """An instant as people say it: the date, too, if it is not within a day."""
    form = "%H:%M:%S" if when - now < _DAY else "%d %B, %H:%M"
    try:
        return time.strftime(form, time.localtime(when))
    except (OverflowError, ValueError, OSError):
        return "a time beyond all calendars"


_DAY: Final = 86400.0


def _about(seconds: float) -> str:
    """How long something usually takes: to two digits."""
    return f"{seconds * 1000:.2g} ms" if seconds < _A_TENTH else seconds_in_words(float(f"{seconds:.2g}"))


_A_TENTH: Final = 0.1


def slots_in_words(holdings: Iterable[Holding]) -> list[str]:
    """That some have run for so long and hold the slots that others need, for each service."""
    return list(map(_held_for_long, holdings))


def _held_for_long(holding: Holding) -> str:
    span = duration_in_words(holding.seconds)
    who, whom = listed(map(name_of, holding.holders), 3), name_of(holding.needed_by)
    whom += f" and {holding.others} more need" if holding.others else " needs"
    if len(holding.holders) == 1:
        text = f"{who} has run for {span} and holds the slot that {whom}"
    else:
        text = f"{who} have run for up to {span} and hold the slots that {whom}"
    if holding.usual is not None:
        text += f"; {shortened(holding.oldest.task, 80)} usually takes about {_about(holding.usual)}"
    if holding.where:
        text += f"; {name_of(holding.oldest)} is at {holding.where}"
    return text


def _with_state(work: Work) -> str:
    return f"{name_of(work)} ({'pending' if work._phase < RUNNING else 'running'})"


def _holder(work: Work, wall: float) -> str:
    """Who holds a slot; if that is only because its handler has not returned, since when."""
    if work._phase != SETTLED:
        return name_of(work)
    ago = duration_in_words(wall - (work.completed_at or wall))
    been = f"{OUTCOMES[work._outcome]} {ago} ago"
    if isinstance(work.exception, WorkTimeout):
        been = f"timed out {ago} ago, by timeout={work._task.timeout or 0:g}"
    return f"{name_of(work)} ({been}; its handler has not returned)"


# What waits for a slot stands in a line with others.
_BY_THEMSELVES: Final = (HELD, JOINED, CHECKING)


def knot_in_words(knot: Knot, now: float, wall: float) -> str:
    """What is wrong, who waits for what, who holds what that needs, and the way out.

    Args:
        knot: Those who wait for each other.
        now: Monotonic.
        wall: The same instant in seconds since the epoch.
    """
    what = "Deadlock" if knot.is_proven else _tied_until(knot, now, wall)
    links = [*_waits_of(knot), *_needs_of(knot, now, wall)]
    return f"{what}: {listed(links, 6, '; ')}. {_way_out(knot)}"


def knot_in_short(knot: Knot) -> str:
    """Who waits for what, as what follows the reason of one that cannot run because of that."""
    return f"{listed(_waits_of(knot), 3, '; ')} ({'deadlock' if knot.is_proven else 'it ends by itself'})"


def _waits_of(knot: Knot) -> list[str]:
    waits = [
        f"{waiter.name} waits for {listed(map(name_of, works), 3)}"
        for waiter, works in islice(knot.waits.items(), 3)
    ]
    return waits + ([f"and {len(knot.waits) - 3} more wait likewise"] if len(knot.waits) > 3 else [])


def _needs_of(knot: Knot, now: float, wall: float) -> list[str]:
    """What the pending work units in a knot need, and who has it."""
    # Those who stand in one line need the same.
    lines: dict[object, list[Work]] = {}
    for work in knot.works:
        if work._phase < RUNNING:
            line = work if work._phase in _BY_THEMSELVES else work._task.run_queue
            lines.setdefault(line, []).append(work)
    alike: dict[str, list[Work]] = {}
    for works in lines.values():
        alike.setdefault(_need_of(works[0], knot, now, wall), []).extend(works)
    return [
        f"{listed(map(name_of, works), 3)} {'needs' if len(works) == 1 else 'need'} {what}"
        for what, works in alike.items()
    ]


def _need_of(work: Work, knot: Knot, now: float, wall: float) -> str:
    if work._phase == CHECKING:
        return "the answer of a gate"
    found = []
    for service in work._task.run_queue.services if work._phase not in _BY_THEMSELVES else ():
        if service in knot.services:
            holders = listed(
                waiter.name
                for waiter in knot.waits
                if waiter.work is not None
                and waiter.kind != "listener"
                and service in waiter.work._task.run_queue.services
            )
            found.append(f"a slot ({service.full_text}, held by {holders})")
    if found:
        return " and ".join(found)
    reason = reason_of(work, now)
    if reason is None:
        return "the end of one that waits"
    return f"something else first ({details_of(reason, now, wall)})"


def _way_out(knot: Knot) -> str:
    if knot.services:
        names = listed(service.name for service in knot.services)
        more = " and ".join(dict.fromkeys(map(_more, knot.services)))
        return (
            f"Give {names} more slots ({more}), or do not wait in a slot for what needs one: submit and return, or "
            f"wait in a task that does not use {names}"
        )
    if any(work._phase == HELD for work in knot.works):
        return "Who makes what another needs must not wait for it: submit and return"
    if any(work._phase == JOINED for work in knot.works):
        return "Who wants the same has joined it, and settles with it: do not wait for it, or give it another key"
    if any(work._phase == CHECKING for work in knot.works):
        return "A gate must not wait for who waits for its answer: say no, and it is asked again"
    return "One of them has to return without waiting for the others: submit and return"


def _more(service: Service) -> str:
    return "Cue(max_threads=)" if service.name == "threads" else "concurrent="


def _tied_until(knot: Knot, now: float, wall: float) -> str:
    """Who waits for itself, and until when."""
    names = [waiter.name for waiter in knot.waits]
    who = f"{names[0]} waits for itself" if len(names) == 1 else f"{listed(names, 3)} wait for each other"
    if knot.until == inf:
        return f"{who} until {knot.by} lets it go on"
    seconds = max(0.0, knot.until - now)
    return f"{who} until {clock_in_words(wall + seconds, wall)} (in {seconds_in_words(round(seconds, 1))})"


_PARTICULAR: Final = re.compile(r"'[^']*'|\b\w*-?\d[\w.-]*")


def likeness(words: str) -> str:
    """What a text has in common with others that differ from it in names, ids and numbers only."""
    return _PARTICULAR.sub("...", words)


def grouped(reasons: Iterable[tuple[Work, str]], limit: int = SHOWN) -> str:
    """Reasons in one line, those of one task that are alike together.

    Args:
        reasons: Work units and why they do not run.
        limit: At most so many groups in words.
    """
    groups: dict[tuple[str, str], list[tuple[Work, str]]] = {}
    for work, words in reasons:
        groups.setdefault((work.task, likeness(words)), []).append((work, words))
    lines = []
    for (task, _), alike in list(groups.items())[:limit]:
        first, words = alike[0]
        if len(alike) == 1:
            lines.append(f"{name_of(first)}: {words}")
            continue
        ids = listed((work.id for work, _ in alike), 3)
        such_as = "" if all(other == words for _, other in alike) else "such as "
        lines.append(f"{len(alike)} {task} ({ids}): {such_as}{words}")
    left = sum(map(len, list(groups.values())[limit:]))
    return "; ".join(lines) + (f"; and {left} more" if left else "")
