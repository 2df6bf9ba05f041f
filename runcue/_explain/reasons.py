"""Why a work unit is where it is, as data: of what kind the reason is, what it is about, numbers, since and until when.

Lives here: `Reason`, which `why()`, `debug_blocked()`, warnings and the simulator read alike; its kinds, what they mean
to users and what is to be done about each; and reading off the state what keeps one work unit from running by itself.

Must not know: how a reason is put in words (`wording`), what is behind what a work unit waits for (`why`), how to
change anything.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from math import inf
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple

from runcue._explain.holders import Holding
from runcue._explain.missing import Missing
from runcue._explain.turn import Passing, Turn
from runcue._limits.service import Refusal
from runcue._model.phases import CHECKING, HELD, JOINED, NEW, NOT_DUE, NOT_READY, READY
from runcue._model.texts import error_words, name_of, problem_of
from runcue._model.work import Work
from runcue._scheduling.ageing import pending_since
from runcue._scheduling.appointments import begins_at
from runcue._scheduling.holds import Relation, held_by, held_plainly_by
from runcue._scheduling.knots import Knot
from runcue._scheduling.lines import line_of
from runcue._scheduling.run_queue import RunQueue

__all__ = [
    "BY_LIMITS",
    "Kind",
    "Reason",
    "ReasonName",
    "Step",
    "Verdict",
    "in_print",
    "reason_of",
    "reasons_of",
    "refusals_of",
    "since_of",
    "unready",
]

Verdict = Literal[
    "completed",
    "skipped",
    "failed",
    "cancelled",
    "running",
    "being asked",
    "about to start",
    "not started",
    "waiting for rate",
    "waiting for a budget",
    "waiting for a limit",
    "paused",
    "waiting for its server",
    "waiting for a slot",
    "waiting for a retry",
    "waiting for its time",
    "waiting for an artifact",
    "no producer",
    "cycle",
    "deadlock",
    "upstream failed",
    "not ready",
]
"""What `why()` can say. "not ready" is the word of an opaque is_ready that looked at no artifact."""

_SPOKEN: Final[Mapping[str, str]] = {"upstream failed": "input not made"}


def in_print(verdict: Verdict) -> str:
    """A verdict as texts have it: who was to make an input may have been cancelled as well."""
    return _SPOKEN.get(verdict, verdict)


ReasonName = Literal["not_ready", "service_full", "not_due", "unknown_task"]
"""What `debug_blocked()` can say. "not_due" is for what must not start before an instant,
"unknown_task" for work units that were restored without their task."""

Kind = Literal[
    "slots",
    "rate",
    "budget",
    "limit",
    "paused",
    "server",
    "throttle",
    "breaker",
    "no thread",
    "left free",
    "said no",
    "raised",
    "input",
    "being made",
    "unreturned",
    "joined",
    "gate",
    "reading",
    "retry",
    "postponed",
    "throttled",
    "delayed",
    "no producer",
    "upstream",
    "cycle",
    "self",
    "deadlock",
    "not asked",
    "not started",
    "clear",
    "running",
    "completed",
    "skipped",
    "failed",
    "cancelled",
]
"""What can be the reason. In their order: no slot, start or room by a rate, a budget or a limit; a pause by hand; what
its server has left; a pause because that has refused some, or because of failures in a row; no thread; slots that are
left free for another one; what is_ready said, or that it raised; an input that is not valid; one that is about to be
made; an output whose last handler has not returned; another one makes the same; a gate is awaited, or files are read;
its instant is not due: of the attempt after one that has failed, of what its handler has postponed, of what a server
has refused, of what was submitted for later; nobody makes an input; who was to make it did not; those who wait for each
other: for inputs, until an instant, for ever; nobody has asked yet; the cue is not started; nothing is in the way; how
it goes, or has gone."""

Step = Literal[
    "wait",
    "see the holders",
    "see the callback",
    "see the artifact",
    "see the maker",
    "see the other",
    "submit the maker",
    "cut the cycle",
    "wait for nobody",
    "start",
    "nothing",
]
"""What is to be done. "see ..." leads to what has to be mended, or merely takes its time."""

_VERDICTS: Final[Mapping[Kind, Verdict]] = {
    "slots": "waiting for a slot",
    "rate": "waiting for rate",
    "budget": "waiting for a budget",
    "limit": "waiting for a limit",
    "paused": "paused",
    "server": "waiting for its server",
    "throttle": "waiting for its server",
    "breaker": "waiting for a limit",
    "no thread": "waiting for a slot",
    "left free": "waiting for a slot",
    "said no": "not ready",
    "raised": "not ready",
    "input": "waiting for an artifact",
    "being made": "waiting for an artifact",
    "unreturned": "waiting for an artifact",
    "joined": "not ready",
    "gate": "being asked",
    "reading": "being asked",
    "retry": "waiting for a retry",
    "postponed": "waiting for its time",
    "throttled": "waiting for its time",
    "delayed": "waiting for its time",
    "no producer": "no producer",
    "upstream": "upstream failed",
    "cycle": "cycle",
    "self": "waiting for a slot",
    "deadlock": "deadlock",
    "not asked": "about to start",
    "not started": "not started",
    "clear": "about to start",
    "running": "running",
    "completed": "completed",
    "skipped": "skipped",
    "failed": "failed",
    "cancelled": "cancelled",
}

_STEPS: Final[Mapping[Kind, Step]] = {
    "slots": "see the holders",
    "no thread": "see the holders",
    "said no": "see the callback",
    "raised": "see the callback",
    "gate": "see the callback",
    "input": "see the artifact",
    "being made": "see the maker",
    "unreturned": "see the maker",
    "upstream": "see the maker",
    "joined": "see the other",
    "no producer": "submit the maker",
    "cycle": "cut the cycle",
    "self": "wait for nobody",
    "deadlock": "wait for nobody",
    "not started": "start",
    "completed": "nothing",
    "skipped": "nothing",
    "failed": "nothing",
    "cancelled": "nothing",
}

BY_LIMITS: Final = frozenset(
    ("slots", "rate", "budget", "limit", "paused", "server", "throttle", "breaker", "no thread", "left free")
)
_NOT_DUE: Final = frozenset(("retry", "postponed", "throttled", "delayed"))
_KINDS_OF_WAIT: Final[Mapping[str, Kind]] = {
    "failed": "retry",
    "postponed": "postponed",
    "throttled": "throttled",
    "delayed": "delayed",
}
_NO_NUMBERS: Final[Mapping[str, float]] = MappingProxyType({})


class Reason(NamedTuple):
    """Why one work unit is where it is.

    Attributes:
        work: The work unit.
        kind: What it is.
        subject: What it is about: the service, the callback, the artifact, the work unit that is waited for, the link
            of a cycle to be cut; None if it is about the work unit alone.
        since: When it began, monotonic.
        until: When it will be over, monotonic; inf if that is not known.
        numbers: What is counted or measured, by name: "slots", "attempt", "usual"
            (seconds that its task takes).
        said: What a callback, a limit or an error says, as a phrase; of a handler where it is.
        others: The work units on which it hangs: those that hold the slots, or the one that makes the artifact.
        lacks: The artifacts that are waited for.
        beside: What else is in its way at the same time.
        chain: The work units that wait for each other, from this one to the root of it.
        root: Why the last of these does not run; None if that is this work unit.
        cycle: The work units that wait for each other in a cycle.
        knot: Those who wait for each other although some of them run.
        holding: Who has the slots that it, or others, need, for each service that is full.
        turn: Of one that stands in line: when it is its turn. None where only that is asked why nothing starts.
        passing: Of one that stands in line: those that come later and go first, which has no end.
    """

    work: Work
    kind: Kind
    subject: Any = None
    since: float = -inf
    until: float = inf
    numbers: Mapping[str, float] = _NO_NUMBERS
    said: str = ""
    others: tuple[Work, ...] = ()
    lacks: tuple[Missing, ...] = ()
    beside: tuple[Reason, ...] = ()
    chain: tuple[Work, ...] = ()
    root: Reason | None = None
    cycle: tuple[Work, ...] = ()
    knot: Knot | None = None
    holding: tuple[Holding, ...] = ()
    turn: Turn | None = None
    passing: Passing | None = None

    @property
    def verdict(self) -> Verdict:
        """What `why()` calls it."""
        return _VERDICTS[self.kind]

    @property
    def name(self) -> ReasonName:
        """What `debug_blocked()` calls it."""
        if self.kind in _NOT_DUE:
            return "not_due"
        return "service_full" if self.kind in BY_LIMITS else "not_ready"

    @property
    def step(self) -> Step:
        """What is to be done next."""
        return _STEPS.get(self.kind, "wait")

    def shared_by(self, work: Work, since: float) -> Reason:
        """The same of another work unit, of which only that differs since when it is so."""
        return Reason._make((work, *self[1:3], since, *self[4:]))

    def is_shared_with(self, other: Reason) -> bool:
        """Whether it is that of another one in the same line: only that differs since when it is so."""
        return self[4:] == other[4:] and self[1:3] == other[1:3]

    @property
    def deepest(self) -> Reason:
        """The root of it, itself if there is none."""
        return self if self.root is None else self.root


def refusals_of(work: Work, now: float) -> list[Refusal]:
    """Everything that keeps a work unit from starting at this instant although it is ready; empty if there is room.

    Limits are asked with the work unit that is first in line: what keeps that one keeps all behind it.
    """
    run_queue: RunQueue = work._task.run_queue
    first = run_queue.first_beside(work)
    found = []
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
    return found


_KINDS_OF_REFUSAL: Final[Mapping[str, Kind]] = {
    "slots": "slots",
    "rate": "rate",
    "budget": "budget",
    "limit": "limit",
    "paused": "paused",
    "server": "server",
    "throttle": "throttle",
    "breaker": "breaker",
    "threads": "no thread",
}


def since_of(work: Work, began: float = -inf) -> float:
    """Since when a pending work unit is where it is, monotonic.

    Args:
        work: The work unit.
        began: When the cue was started: before that nothing was in the way but that.
    """
    phase = work._phase
    if phase in (NEW, JOINED):
        return max(pending_since(work), began)
    return max(work._phase_since, began) if hasattr(work, "_phase_since") else work._submitted_at


def unready(work: Work, since: float = -inf) -> Reason:
    """What was said when a work unit was found not ready."""
    answer = work._not_ready_reason
    # Of these there may be very many.
    if answer is None or type(answer) is str:
        return Reason(work, "said no", work._task.is_ready, since, inf, _NO_NUMBERS, answer or "")
    if isinstance(answer, BaseException):
        return Reason(work, "raised", work._task.is_ready, since, said=error_words(answer))
    return Reason(work, "input", answer, since, said=problem_of(answer))


def reason_of(work: Work, now: float, began: float = -inf) -> Reason | None:
    """Why a pending work unit does not run, as far as that can be said of it alone.

    Args:
        work: A pending work.
        now: Monotonic.
        began: When the cue was started.

    Returns:
        The binding reason, or None when nothing is known to be in its way (it was not asked yet, or is about to start).
    """
    phase = work._phase
    if phase == NOT_READY:
        since = work._phase_since
        return unready(work, max(began, since))
    if phase == HELD and (maker := held_plainly_by(work)) is not None:
        since = max(began, work._phase_since)
        return Reason(work, "being made", work._awaited[0], since, inf, _NO_NUMBERS, "", (maker,))  # type: ignore[index]
    since = since_of(work, began)
    if phase == HELD:
        hold = held_by(work)
        assert hold is not None
        late = hold.relation in (Relation.OVERLAP, Relation.UNRETURNED, Relation.SAME)
        return Reason(
            work, "unreturned" if late else "being made", hold.artifact, since, others=(hold.holder,)
        )
    if phase == JOINED:
        leader = None if work._declared is None else work._declared.leader
        return Reason(work, "joined", leader, since, others=() if leader is None else (leader,))
    if phase == CHECKING:
        declared = work._declared
        if declared is not None and declared.comparison is not None and declared.comparison.unread:
            return Reason(work, "reading", None, since)
        return Reason(work, "gate", None, since)
    if phase == NOT_DUE:
        attempts = work._attempts
        assert attempts is not None
        return Reason(
            work,
            _KINDS_OF_WAIT[attempts.again.reason],
            None,
            since,
            begins_at(work),
            {"attempt": work.attempt},
        )
    return _held_up_by_limits(work, now, since)


def reasons_of(
    works: Iterable[Work], now: float, by_itself: Callable[[Work, float], Reason | None] = reason_of
) -> Iterator[tuple[Work, Reason | None]]:
    """The reasons of many: what keeps one in a line from starting keeps all of them.

    Args:
        works: Pending work units.
        now: Monotonic.
        by_itself: Gives the reason of one that stands in no line.
    """
    lines: dict[Hashable, Reason | None] = {}
    for work in works:
        if work._phase not in (NEW, READY):
            yield work, by_itself(work, now)
            continue
        line = line_of(work)
        if work._task.run_queue.first_beside(work) is work:
            yield work, by_itself(work, now)
        elif line not in lines:
            lines[line] = reason_of(work, now)
            yield work, lines[line]
        else:
            known = lines[line]
            yield work, known and known.shared_by(work, since_of(work))


def _held_up_by_limits(work: Work, now: float, since: float) -> Reason | None:
    run_queue = work._task.run_queue
    found: list[Reason] = []
    for service, by, details, until in refusals_of(work, now):
        numbers = {"slots": service.concurrent} if by == "slots" else _NO_NUMBERS
        found.append(
            Reason(work, _KINDS_OF_REFUSAL[by], service, since, until, numbers=numbers, said=details)
        )
    if not found:
        starving = run_queue.keeps_off_for()
        if starving is None or starving is work:
            return None
        return Reason(work, "left free", starving, since, others=(starving,))
    if len(found) == 1:
        return found[0]
    # What somebody has to let go on, or outlasts the rest, is what it waits for: a rate would end in vain meanwhile.
    found.sort(key=lambda one: not _is_pause_that_lasts(one, found))
    return found[0]._replace(beside=tuple(found[1:]))


def _is_pause_that_lasts(reason: Reason, all_of_them: Iterable[Reason]) -> bool:
    return reason.kind == "paused" and all(one.until <= reason.until for one in all_of_them)
