"""What each kind of reason is called, as a phrase that says what there is of numbers, places and instants.

Must not know: what is behind a reason (`wording` puts that together), how reasons are found.
"""

from __future__ import annotations

from math import inf
from operator import attrgetter
from typing import Any, Final

from runcue._explain.attempt_words import ended_with, not_before, with_attempt
from runcue._explain.kinds import Kind
from runcue._explain.reasons import Reason
from runcue._explain.slot_words import holder_in_words, missing_for, slots_in_words
from runcue._explain.time_words import about_in_words, clock_in_words, duration_in_words
from runcue._explain.told import Told, once
from runcue._model.callables import by_whom, located
from runcue._model.phases import OUTCOMES, RUNNING, SETTLED
from runcue._model.texts import listed_of, name_of, seconds_in_words, shortened, words_of
from runcue._model.work import Work

__all__ = ["ENDINGS", "being_made", "phrase_of", "phrases_of", "place_of", "said_no"]


def phrases_of(reason: Reason, now: float, wall: float, told: Told | None = None) -> str:
    """What a reason is called, and what else is in the way of its work unit at the same time.

    Args:
        reason: The reason.
        now: Monotonic.
        wall: The same instant in seconds since the epoch.
        told: What was told of others.
    """
    text = phrase_of(reason, now, wall, told)
    if reason.kind in ENDINGS:
        return text
    for one in reason.beside:
        text += f"; {phrase_of(one, now, wall)}"
    if reason.kind == "retry" or reason.work._attempts is None:
        return text
    attempt = with_attempt(reason.work)
    return f"{text}; {attempt}" if attempt else text


def phrase_of(reason: Reason, now: float, wall: float, told: Told | None = None) -> str:
    """What a kind of reason is called."""
    kind, work = reason.kind, reason.work
    if kind in _BY_LIMITS:
        return _full(reason, wall)
    if kind == "said no":
        return said_no(reason, place_of(reason.subject, told))
    if kind == "raised":
        where = place_of(reason.subject, told)
        return f"is_ready raised {reason.said}{where and f', in {where}'}"
    if kind == "input":
        return f"input {words_of(reason.subject)} {reason.said}"
    if kind == "being made":
        return being_made(reason)
    if kind == "unreturned":
        until = f"before the handler of {name_of(reason.others[0])} has returned"
        if reason.subject is None:
            return f"one of its key cannot run {until}"
        return f"output {words_of(reason.subject)} cannot be made {until}"
    if kind == "lane":
        return _behind_in_lane(reason, wall)
    if kind == "joined":
        whom = f"{name_of(reason.others[0])}, which" if reason.others else "another work unit that"
        return f"it settles with {whom} makes the same"
    if kind in ("left free", "left to"):
        return _left(reason, now, wall)
    if kind in ("gate", "reading"):
        return _asked(reason, now)
    if reason.name == "not_due":
        return not_before(work, reason.until, now, wall)
    if kind == "running":
        return _running(reason)
    if kind in ENDINGS:
        return _ended(reason, wall)
    return _PLAINLY[kind]


_PHASE_OF: Final = attrgetter("_phase")


def _full(reason: Reason, wall: float) -> str:
    """What a service lacks, and who has it."""
    details = reason.said
    if reason.kind == "slots" and reason.subject.name in ("threads", "processes"):
        details += f" (Cue(max_{reason.subject.name}={reason.subject.concurrent}))"
    late = SETTLED in map(_PHASE_OF, reason.others)  # there may be thousands
    if reason.others and (late or not reason.holding):
        details += f", held by {listed_of(reason.others, lambda one: holder_in_words(one, wall), 3)}"
    return "; ".join([details, *slots_in_words(reason.holding)]) if reason.holding else details


def being_made(reason: Reason) -> str:
    """Who makes what it waits for."""
    return f"input {words_of(reason.subject)} is being made by {name_of(reason.others[0])}"


def _left(reason: Reason, now: float, wall: float) -> str:
    """For whom it leaves what it has room for, and until when."""
    whom = name_of(reason.others[0])
    if reason.kind == "left free":
        return f"a slot is left free for {whom}, which needs several and has waited for long"
    text = f"there is room for it, but it would put off {whom}, which came before it and waits for a budget"
    if reason.until == inf:
        return text
    seconds = max(0.0, reason.until - now)
    return f"{text} until {clock_in_words(wall + seconds, wall)} (in {seconds_in_words(round(seconds, 1))})"


def _behind_in_lane(reason: Reason, wall: float) -> str:
    """Where it stands in its lane, and who has that."""
    place, head = int(reason.numbers["place"]), reason.others[0]
    number = _ORDINALS[place] if place < len(_ORDINALS) else f"number {place:,}"
    span = "" if head.started_at is None else duration_in_words(max(0.0, wall - head.started_at))
    if head._phase == SETTLED:
        state = (
            f"{OUTCOMES[head._outcome]}, but its handler has not returned{span and f', for {span} by now'}"
        )
    elif head._phase == RUNNING:
        state = f"has run for {span}"
    else:
        state = "pending"
    return f"{number} in lane {reason.subject!r}, behind {name_of(head)} ({state})"


def place_of(gate: Any, told: Told | None) -> str:
    """Where a gate is defined, as it is told; "" if there is none."""
    return "" if gate is None else once(told, gate, lambda: located(gate))


def said_no(reason: Reason, where: str) -> str:
    """What is_ready has said: very many may be told of this.

    Args:
        reason: The reason.
        where: The place of the gate.
    """
    said = reason.said
    if said:
        if said.startswith("it ") and where:
            return f"is_ready {where} {said.removeprefix('it ')}; that is no answer, and counts as no"
        return f"is_ready said no: {said}, by {where}" if where else f"is_ready said no: {said}"
    who = where and f": {where} returned False"
    return f"is_ready said no for params {words_of(reason.work.params)}{who}"


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
            f"its {name}{gate} has not answered for {duration_in_words(now - reason.since)}; after {limit}, which is "
            f"in {left}, that counts as an error, and the work unit as {then}"
        )
    waits = f"; it waits for {_awaited(reason)}" if reason.others else ""
    return text + waits


def _running(reason: Reason) -> str:
    awaited = _awaited(reason)
    begun = "its handler runs"
    if not reason.said and missing_for(reason.work):
        begun = "it was handed on, and nobody has begun with it"
    parts = [f"its handler waits for {awaited}" if awaited else begun]
    usual = reason.numbers.get("usual")
    if usual is not None:
        parts.append(f"{shortened(reason.work.task, 80)} usually takes about {about_in_words(usual)}")
    if reason.said:
        parts.append(f"it is at {reason.said}")
    return "; ".join([*parts, *slots_in_words(reason.holding)])


def _ended(reason: Reason, wall: float) -> str:
    kind, said = reason.kind, reason.said
    if reason.root is not None:
        return f"it settled with {name_of(reason.root.work)}, which it had joined"
    text = said if kind == "failed" else ENDINGS[kind]
    if kind == "skipped" and reason.subject is not None:
        text = "it was left as it was"
    if kind == "cancelled":
        text += by_whom(reason.work._value)
    elif said and kind == "completed":
        text += f"; it ran because {said}"
    elif said and kind == "skipped":
        text += f": {said}"
    if attempt := ended_with(reason.work):
        text = f"{text.removesuffix('.')}; {attempt}"
    if reason.others:
        text = text.removesuffix(".")
        text += "; its handler has not returned yet and still holds its slot"
        run = reason.others[0]
        if run.started_at is not None:
            text += f", for {duration_in_words(wall - run.started_at)} by now"
        text += "".join(f"; it is at {one.said}" for one in reason.beside if one.said)
    return text


_BY_LIMITS: Final = frozenset(
    ("slots", "rate", "budget", "limit", "paused", "server", "throttle", "breaker", "no thread")
)

_ORDINALS: Final = (
    "no longer",
    "first",
    "second",
    "third",
    "fourth",
    "fifth",
    "sixth",
    "seventh",
    "eighth",
    "ninth",
    "tenth",
)
_PLAINLY: Final[dict[Kind, str]] = {
    "not asked": "not asked yet",
    "not started": "the cue is not started: call start()",
    "clear": "nothing is in its way",
}
ENDINGS: Final[dict[Kind, str]] = {
    "completed": "its handler returned",
    "skipped": "it was up to date",
    "cancelled": "it was cancelled",
    "failed": "it failed",
}


def _awaited(reason: Reason) -> str:
    return listed_of(reason.others, _with_state, are_all="unread" not in reason.numbers)


def _with_state(work: Work) -> str:
    return f"{name_of(work)} ({'pending' if work._phase < RUNNING else 'running'})"
