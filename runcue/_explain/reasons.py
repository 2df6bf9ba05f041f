"""Why a work unit is where it is, as data: of what kind the reason is, what it is about, numbers, since and until when.

Lives here: `Reason`, which `why()`, `debug_blocked()`, warnings and the simulator read alike (its kinds are in
`kinds`); and reading off the state what keeps one work unit from running by itself.

Must not know: how a reason is put in words (`wording`), what is behind what a work unit waits for (`why`), how to
change anything.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from math import inf
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from runcue._explain.holders import Holding
from runcue._explain.kinds import BY_LIMITS, STEPS, VERDICTS, Kind, ReasonName, Step, Verdict
from runcue._explain.missing import Missing
from runcue._explain.refusals import refusals_of
from runcue._explain.turn import Passing, Turn
from runcue._model.phases import CHECKING, HELD, JOINED, NEW, NOT_DUE, NOT_READY, READY
from runcue._model.texts import error_words, problem_of
from runcue._model.work import Work
from runcue._scheduling.ageing import pending_since
from runcue._scheduling.appointments import begins_at
from runcue._scheduling.holds import LANE, Hold, Relation, held_by, held_plainly_by
from runcue._scheduling.key_passing import left_to
from runcue._scheduling.knots import Knot
from runcue._scheduling.lines import line_of

__all__ = [
    "Reason",
    "kept_longer",
    "reason_of",
    "reasons_of",
    "since_of",
    "unready",
]

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
            (seconds that its task takes), "unread" (there are more than `others` whose ends are awaited).
        said: What a callback, a limit or an error says, as a phrase; of a handler where it is.
        others: The work units on which it hangs: those that hold the slots, or the one that makes the artifact.
        lacks: The artifacts that are waited for; of very many some.
        more: How many more are, each of which somebody makes.
        unasked: Of how many more it was not asked whether they are valid.
        beside: What else is in its way at the same time.
        chain: The work units that wait for each other, from this one to the root of it.
        root: Why the last of these does not run; None if that is this work unit.
        goes_on: Whether the last of these is not the root yet, since the chain was followed no further. That one says
            so as well.
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
    more: int = 0
    unasked: int = 0
    goes_on: bool = False

    @property
    def verdict(self) -> Verdict:
        """What `why()` calls it."""
        return VERDICTS[self.kind]

    @property
    def name(self) -> ReasonName:
        """What `debug_blocked()` calls it."""
        if self.kind in _NOT_DUE:
            return "not_due"
        return "service_full" if self.kind in BY_LIMITS else "not_ready"

    @property
    def step(self) -> Step:
        """What is to be done next."""
        return STEPS.get(self.kind, "wait")

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
    if isinstance(answer, Hold):
        return _held(work, answer, since)  # it was asked for this answer alone
    return Reason(work, "input", answer, since, said=problem_of(answer))


def _held(work: Work, hold: Hold, since: float) -> Reason:
    """For whom a work unit is held."""
    if hold.relation is LANE and hold.maker is work:
        return Reason(work, "not asked", None, since)  # it has just come to have the lane
    if hold.relation is LANE:
        lane = work._declared.lane  # type: ignore[union-attr]
        place = {"place": lane.place_of(work)}
        return Reason(work, "lane", lane, since, inf, place, others=(hold.maker,))
    late = hold.relation in (Relation.OVERLAP, Relation.UNRETURNED, Relation.SAME)
    return Reason(work, "unreturned" if late else "being made", hold.artifact, since, others=(hold.holder,))


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
        return _held(work, hold, since)
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


def kept_longer(work: Work, until: float, now: float) -> tuple[Reason, ...]:
    """What of limits, slots aside, keeps a work unit from starting at an instant that is ahead, as far as is known now.

    Args:
        work: It must not start before that instant.
        until: That instant, monotonic.
        now: Monotonic.
    """
    return tuple(
        Reason(work, _KINDS_OF_REFUSAL[by], service, until=end, said=said)
        for one in work._task.run_queue.services_for(work)
        for service, by, said, end in one.refusals(now, work)
        if by != "slots" and end > until and (end < inf or by == "paused")
    )


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
        if starving is not None and starving is not work:
            return Reason(work, "left free", starving, since, others=(starving,))
        may_put_off = run_queue.is_keyed or run_queue.near_budgets
        claim = left_to(run_queue.first_beside(work), now) if may_put_off else None
        if claim is None:
            return None
        return Reason(work, "left to", claim.head, since, claim.until, others=(claim.head,))
    return found[0]._replace(beside=tuple(found[1:])) if len(found) > 1 else found[0]
