"""Why a work unit does not run: finding the reason that `cue.why()` and all others give.

Lives here: reading the state of a cue, and following what waits for what down to the root of it. Artifacts are asked
again for this, so an answer is as of now.

Must not know: how a reason is put in words, how to change anything.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from itertools import islice
from math import inf
from types import MappingProxyType
from typing import Any, Final

from runcue._artifacts.declared import question_of
from runcue._artifacts.watched_folders import WatchedFolders
from runcue._explain.activity import Activity
from runcue._explain.answers import Why, why_of
from runcue._explain.cuts import Cut, cut_of
from runcue._explain.durations import usual_duration
from runcue._explain.holders import Holders, wanted_slots
from runcue._explain.kinds import Kind
from runcue._explain.lacks import Lacks, needs_all
from runcue._explain.neighbours import Neighbours
from runcue._explain.reasons import Reason, kept_longer, reason_of, reasons_of, since_of, unready
from runcue._explain.settled import explain_settled
from runcue._explain.turn import Passing, Turn, passing_of, turn_of
from runcue._explain.waits import MOST_AWAITED, Lost, Waits
from runcue._handlers.outputs import run_of
from runcue._limits.service import Service
from runcue._model.phases import CHECKING, HELD, JOINED, NEW, NOT_DUE, NOT_READY, READY, RUNNING, SETTLED
from runcue._model.priority import STRICT
from runcue._model.work import Work
from runcue._scheduling.core import Core
from runcue._scheduling.knots import Knot
from runcue._scheduling.lines import line_of
from runcue._scheduling.priority_queue import place_of

__all__ = ["Explainer"]

# So many work units are explained to the root when all are asked for, over so many links together.
_LOOKED_INTO: Final = 1000
_FOLLOWED: Final = 20_000
_SHARING: Final = 4_000
# For so many missing files it is then looked what may be meant, and so many artifacts are asked whether they are valid.
_PLACED: Final = 100
_LOOKS: Final = 10_000
# For one work unit, of which the way to the root may be of tens of thousands, so many artifacts are asked on that way,
# so many are looked through that are needed beside what is being made, and so many links are followed: a millisecond
# each, or two.
_LOOKS_FOR_ONE: Final = 300
_BESIDE: Final = 1_000
_LINKS: Final = 15_000
# There are more that are awaited than those which were looked at.
_NO_NUMBERS: Final[Mapping[str, float]] = MappingProxyType({})
_AND_MORE: Final[Mapping[str, float]] = MappingProxyType({"unread": inf})

# Of so many it is looked what passes them.
_PASSED: Final = 100

# What says when it is to be asked again, and nothing of who comes after the first.
_UNTIL: Final = frozenset(("budget", "limit", "paused", "server", "throttle", "breaker"))
# Those who wait for their turn, and nothing else.
_IN_LINE: Final = frozenset(
    ("slots", "rate", "budget", "limit", "paused", "server", "throttle", "breaker", "clear")
)


class Explainer:
    """Answers for one cue.

    Args:
        core: The state.
        activity: What runs its work units.
        watched: The folders of which changes are told.

    Attributes:
        lacks: Finds what is missing.
    """

    def __init__(self, core: Core, activity: Activity, watched: WatchedFolders) -> None:
        self.lacks = Lacks(core, activity, watched)
        self._core = core
        self._activity = activity
        self._followed = 0

    def why(self, work: Work, now: float, wall: float) -> Why:
        """Explain one work.

        Args:
            work: The work.
            now: Monotonic.
            wall: The same instant in seconds since the epoch.
        """
        waits = self.waits(_LOOKS_FOR_ONE, _BESIDE, _LINKS)
        reason = Neighbours(self._core).told(self.explain(work, now, wall, waits))
        root = reason.deepest
        turn = self._turn_of(root, now, wall, waits.holders)
        if turn is not None:
            root = root._replace(turn=turn, passing=_endless(turn.passing))
            reason = root if reason.root is None else reason._replace(root=root)
        return why_of(reason, now, wall)

    def _turn_of(self, reason: Reason, now: float, wall: float, holders: Holders) -> Turn | None:
        """When it is the turn of a work unit that stands in line."""
        if reason.kind not in _IN_LINE:
            return None
        untils = [
            self._by_budget(one, now) if one.kind == "budget" else one.until
            for one in (reason, *reason.beside)
            if one.kind in _UNTIL
        ]
        not_before = max(untils, default=-inf)
        turn = turn_of(self._core, reason.work, now, wall, holders, not_before)
        is_first = turn is not None and turn.place == 1
        # Then all that is known was said.
        if is_first and (reason.kind == "clear" or not_before == inf):
            return None
        return turn

    def _by_budget(self, reason: Reason, now: float) -> float:
        """When a budget lets a work unit start at the earliest: who needs less of it may pass the first in line."""
        own = (one.until for one in reason.subject.refusals(now, reason.work) if one.by == "budget")
        return min(reason.until, max(own, default=-inf))

    def waits(self, looks: float = inf, beside: float = inf, links: float = inf) -> Waits:
        """What waits for what, for one question.

        Args:
            looks: So many artifacts are asked whether they are valid.
            beside: So many inputs of held work units are looked through.
            links: So many work units are followed, one after the other.
        """
        return Waits(self._core, self._activity, looks, beside, links)

    def explain(self, work: Work, now: float, wall: float, waits: Waits | None = None) -> Reason:
        """The reason why a work unit is where it is, followed to the root of it.

        Args:
            work: The work.
            now: Monotonic.
            wall: The same instant in seconds since the epoch.
            waits: What waits for what, if several are explained at once.
        """
        waits = waits or self.waits(_LOOKS_FOR_ONE, _BESIDE, _LINKS)
        own = self._explain_alone(work, now, wall, waits)
        if own.cycle or work._phase == SETTLED:
            return own
        way, around, goes_on = waits.way_from(work)
        cycle = tuple(around)
        self._followed += len(way)
        if work in cycle:
            cut = cut_of(self._core, cycle)
            return own._replace(kind="cycle", subject=cut, chain=tuple(way), cycle=cycle)
        if len(way) == 1:
            return own
        root = self._explain_alone(way[-1], now, wall, waits)
        if cycle:
            root = root._replace(kind="cycle", subject=cut_of(self._core, cycle), cycle=cycle)
        if goes_on:
            root = root._replace(goes_on=True)
        return own._replace(chain=tuple(way), root=root, goes_on=goes_on)

    def _explain_alone(self, work: Work, now: float, wall: float, waits: Waits) -> Reason:
        """What can be said of a work unit by itself."""
        phase = work._phase
        if phase == RUNNING:
            return self._explain_running(work, now, wall, waits)
        if phase == SETTLED:
            return explain_settled(self._activity, work, now, wall)
        if phase == NEW and work._not_ready_reason is not None:
            return self._explain_unready(work, unready(work, since_of(work, self._activity.began)), waits)
        reason = reason_of(work, now, self._activity.began)
        if reason is None:
            return Reason(work, "clear", None, since_of(work, self._activity.began))
        if phase == CHECKING:
            return self._explain_checking(reason)
        if phase in (NOT_READY, HELD):
            return self._explain_unready(work, reason, waits)
        if phase == NOT_DUE:
            return reason._replace(beside=kept_longer(work, reason.until, now))
        return self._explain_full(reason, wall, waits.holders) if reason.kind == "slots" else reason

    def _explain_checking(self, reason: Reason) -> Reason:
        work = reason.work
        if (asked := self._activity.question_of(work)) is not None:
            gate = {"ready": work._task.is_ready, "stale": work._task.is_stale}.get(asked.question)
            reason = reason._replace(subject=gate, since=asked.since, until=asked.until, said=asked.question)
        awaited, are_all = self._activity.awaited_by(work, MOST_AWAITED)
        numbers = _NO_NUMBERS if are_all else _AND_MORE
        for knot in self._activity.knots(awaited) if awaited else ():
            return reason._replace(others=tuple(awaited), numbers=numbers, knot=knot)
        return reason._replace(others=tuple(awaited), numbers=numbers)

    def _explain_full(self, reason: Reason, wall: float, holders: Holders) -> Reason:
        """Why a work unit waits for a slot."""
        work, service = reason.work, reason.subject
        for knot in self._activity.knots((work,)):
            member = any(work in works for works in knot.waits.values())
            kind: Kind = "deadlock" if member and knot.is_proven else "self"
            return reason._replace(kind=kind, others=holders.of(service), knot=knot)
        beside = [
            self._with_holders(one, wall, holders) if one.kind == "slots" else one for one in reason.beside
        ]
        return self._with_holders(reason, wall, holders)._replace(beside=tuple(beside))

    def _with_holders(self, reason: Reason, wall: float, holders: Holders) -> Reason:
        """Who holds the slots that are lacking."""
        mine, where = holders.of(reason.subject), self._activity.where_it_is
        holding = wanted_slots(self._core, mine, wall, where, of=reason.subject)
        return reason._replace(others=mine, holding=holding)

    def _explain_running(self, work: Work, now: float, wall: float, waits: Waits) -> Reason:
        since = now - max(0.0, wall - (work.started_at or wall))
        for knot in waits.knots_of(work):
            kind: Kind = "deadlock" if knot.is_proven else "running"
            return Reason(work, kind, None, since, knot=knot)
        awaited, are_all = waits.awaited_by(work)
        run = run_of(work)
        holding = tuple(one._replace(usual=None) for one in wanted_slots(self._core, (run,), wall))
        usual = usual_duration(self._core.history, work.task)
        numbers = {**(_NO_NUMBERS if are_all else _AND_MORE), **({} if usual is None else {"usual": usual})}
        where = self._activity.where_it_is(run)
        return Reason(work, "running", None, since, inf, numbers, where, tuple(awaited), holding=holding)

    def _explain_unready(self, work: Work, reason: Reason, waits: Waits) -> Reason:
        lacks, more, unasked = self.lacks.of(work, waits.missing)
        if not lacks:
            return reason
        reason = reason._replace(more=more, unasked=unasked)
        if more or unasked:
            waits.lacking[work] = [one.artifact for one in lacks]
        if any(one.maker is work for one in lacks):
            own = next(one.artifact for one in lacks if one.maker is work)
            cut = Cut(work, own, work, "of the order")
            return reason._replace(kind="cycle", subject=cut, lacks=lacks, cycle=(work,))
        kind: Kind = "being made" if reason.kind == "being made" else "input"
        lost = [one for one in lacks if one.state in ("failed", "cancelled", "nobody")]
        if len(lost) < len(lacks) and not needs_all(work):
            lost = []  # one of the others may be enough for its is_ready
        if lost and all(one.state == "nobody" for one in lost):
            if not self.lacks.somebody_may_make(work, (one.artifact for one in lost)):
                kind = "no producer"
        elif lost:
            kind = "upstream"
        return reason._replace(kind=kind, lacks=lacks)

    def _reason(
        self,
        work: Work,
        now: float,
        wall: float,
        waits: Waits,
        tied: Mapping[Work, Knot],
        known: dict[Service, Reason],
    ) -> Reason | None:
        """Why a pending work unit does not run; None if nothing is in its way.

        Args:
            work: The work.
            now: Monotonic.
            wall: The same instant in seconds since the epoch.
            waits: What waits for what, to be followed to the root.
            tied: Those who wait for each other.
            known: Who holds the slots of services, as far as that was looked at.
        """
        reason = reason_of(work, now, self._activity.began)
        if reason is None:
            return None
        if (knot := tied.get(work)) is not None:
            return reason._replace(knot=knot)
        if work._phase in (NOT_READY, HELD, JOINED):
            return self.explain(work, now, wall, waits)
        if reason.kind == "slots":
            return self._with_all_holders(reason, wall, waits.holders, known)
        return self._explain_checking(reason) if work._phase == CHECKING else reason

    def _with_all_holders(
        self, reason: Reason, wall: float, holders: Holders, known: dict[Service, Reason]
    ) -> Reason:
        """Who holds the slots of all full services, looked at once for each of them."""
        alike = known.get(reason.subject)
        if alike is None:
            alike = known[reason.subject] = self._with_holders(reason, wall, holders)
        beside = tuple(
            self._with_all_holders(one, wall, holders, known) if one.kind == "slots" else one
            for one in reason.beside
        )
        return reason._replace(others=alike.others, holding=alike.holding, beside=beside)

    def reasons(self, works: Iterable[Work], now: float, wall: float) -> Iterator[tuple[Work, Reason | None]]:
        """The reasons of many, each with the root of it.

        The first thousand are looked at one by one, unless the way to their roots is very long. Of the next four
        thousand that stand in no line is told what they wait for in the end, which is looked at once for all who do,
        as far as these are not more than a thousand roots. Of others it is told what was found when they were asked.

        Args:
            works: Pending work units.
            now: Monotonic.
            wall: The same instant in seconds since the epoch.
        """
        self._followed = 0
        waits = self.waits()
        line = iter(works)
        first = list(islice(line, _LOOKED_INTO))
        tied, known = dict[Work, Knot](), dict[Service, Reason]()
        for knot in self._activity.knots(first):
            tied |= dict.fromkeys(knot.works, knot)
        strict = None
        if self._core.ordered and self._core.head_start == STRICT:
            strict = _Passed(self._core, now, wall, waits.holders)
        neighbours = Neighbours(self._core, _PLACED)
        shared = _Shared(self, self.waits(_LOOKS), neighbours, now, wall)
        for work in first:
            if self._followed < _FOLLOWED:
                reason = self._reason(work, now, wall, waits, tied, known)
                if strict is not None and reason is not None and reason.kind in _IN_LINE:
                    reason = reason._replace(passing=strict.of(work))
                yield work, reason and neighbours.told(reason)
            else:
                yield work, shared.reason(work, now)
        yield from reasons_of(line, now, shared.reason)


def _endless(passing: Passing | None) -> Passing | None:
    return None if passing is None or passing.until < inf else passing


class _Passed:
    """Who is passed without end by those that come later, where only priorities count."""

    def __init__(self, core: Core, now: float, wall: float, holders: Holders) -> None:
        self._core = core
        self._now = now
        self._wall = wall
        self._holders = holders
        self._left = _PASSED
        # Of each line the first that is known to be passed.
        self._first: dict[Hashable, tuple[Any, Passing]] = {}

    def of(self, work: Work) -> Passing | None:
        """What passes one; of very many: what passes one that stands before it."""
        line = line_of(work)
        first = self._first.get(line)
        if self._left > 0:
            self._left -= 1
            passing = _endless(passing_of(self._core, work, self._now, self._wall, self._holders))
            if passing is not None and (first is None or place_of(work) < first[0]):
                self._first[line] = place_of(work), passing
            return passing
        return first[1] if first is not None and work._phase == READY and place_of(work) >= first[0] else None


class _Shared:
    """What very many work units wait for in the end, looked at once for all who do."""

    def __init__(
        self, explainer: Explainer, waits: Waits, neighbours: Neighbours, now: float, wall: float
    ) -> None:
        self._explainer = explainer
        self._waits = waits
        self._neighbours = neighbours
        self._now = now
        self._wall = wall
        # The root of each that was met on the way, and what is missing to those who lack the same.
        self._roots: dict[Work, Reason | None] = {}
        self._lost: dict[Hashable, Reason] = {}
        self._left = _LOOKED_INTO
        self._told = 0

    def reason(self, work: Work, now: float) -> Reason | None:
        """Why a work unit that stands in no line does not run, with the root of it, if that is known.

        Args:
            work: A pending work.
            now: Monotonic.
        """
        if self._told >= _SHARING:
            return reason_of(work, now)
        self._told += 1
        step = self._waits.next_work(work) or self._waits.next_of(work)
        if isinstance(step, Lost):
            lost = self._reason_of_lost(work, step)
            return reason_of(work, now) if lost is None else lost.shared_by(work, since_of(work))
        reason = reason_of(work, now)
        if step is None or reason is None:
            return reason
        root = self._roots[step] if step in self._roots else self._root_of(step)
        self._roots[work] = root
        return reason if root is None else reason._replace(root=root)

    def _root_of(self, work: Work) -> Reason | None:
        way: dict[Work, None] = {}
        one: Work | None = work
        while one is not None and one not in self._roots and one not in way:
            way[one] = None
            one = self._waits.next_work(one)
        end = one or next(reversed(way))
        if end not in self._roots:
            step = self._waits.next_of(end)
            lost = self._reason_of_lost(end, step) if isinstance(step, Lost) else None
            self._roots[end] = self._look_at(end) if lost is None else lost
        root = self._roots[end]
        self._roots |= dict.fromkeys(way, root)
        return root

    def _reason_of_lost(self, work: Work, lost: Lost) -> Reason | None:
        """The reason of all who lack the same artifact."""
        key = question_of(lost.artifact)
        known = self._lost.get(key)
        if known is None and (known := self._look_at(work)) is not None:
            lacks = tuple(one for one in known.lacks if one.artifact is lost.artifact)
            known = self._lost[key] = known._replace(lacks=lacks or known.lacks)
        return known

    def _look_at(self, work: Work) -> Reason | None:
        if self._left <= 0:
            return None
        self._left -= 1
        reason = self._explainer.explain(work, self._now, self._wall, self._waits)
        return self._neighbours.told(reason._replace(root=None, chain=()))
