"""Why a work unit does not run: finding the reason that `cue.why()` and all others give.

Lives here: reading the state of a cue, and following what waits for what down to the root of it. Artifacts are asked
again for this, so an answer is as of now.

Must not know: how a reason is put in words, how to change anything.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from math import inf
from typing import Any, Final, Protocol

from runcue._artifacts.artifact import Artifact
from runcue._artifacts.declared import names_of
from runcue._artifacts.watched_folders import WatchedFolders
from runcue._explain.answers import Missing, Why, why_of
from runcue._explain.cuts import Cut, cut_of
from runcue._explain.durations import usual_duration
from runcue._explain.holders import wanted_slots
from runcue._explain.next_steps import CORRECT, step_for
from runcue._explain.reasons import Kind, Reason, problem_now, reason_of, reasons_of, since_of, unready
from runcue._explain.turn import Turn, turn_of
from runcue._explain.up_to_date import left_by
from runcue._explain.why_stale import why_stale
from runcue._handlers.outputs import run_of
from runcue._model.phases import (
    CHECKING,
    COMPLETED,
    HELD,
    JOINED,
    NEW,
    NOT_READY,
    OUTCOMES,
    RUNNING,
    SETTLED,
)
from runcue._model.texts import SHOWN, error_words, name_of, shortened, words_of
from runcue._model.work import Work
from runcue._scheduling.core import Core
from runcue._scheduling.cycles import follow
from runcue._scheduling.holds import Hold, Relation
from runcue._scheduling.knots import Knot

__all__ = ["Explainer", "needs_all"]

# So many work units are explained to the root when all are asked for, over so many links together.
_LOOKED_INTO: Final = 1000
_FOLLOWED: Final = 20_000
# So many paths of what others make are compared with one that nobody makes.
_MOST_COMPARED: Final = 10_000

# What `why_stale()` says of who declares nothing that could be out of date.
_UNTOLD: Final = frozenset(("nothing says otherwise", "is_stale"))

# Those who wait for their turn, and nothing else.
_IN_LINE: Final = frozenset(("slots", "rate", "limit", "clear"))


class Activity(Protocol):
    """What an explainer asks of what runs work units.

    Attributes:
        began: When that was started last, monotonic.
    """

    began: float

    def holders(self) -> Iterable[Work]:
        """The work units that hold slots at this moment."""

    def where_it_is(self, work: Work) -> str:
        """Where the handler of one that runs is at this moment; "" if that is not known."""

    def question_of(self, work: Work) -> tuple[str, float, float] | None:
        """Which question about a work unit is awaited ("ready", "stale", "content"), since when, until when at most."""

    def is_idle(self) -> bool:
        """Whether nothing runs, is asked or is timed: then nothing that is pending will make anything."""

    def knots(self, works: Iterable[Work]) -> list[Knot]:
        """Those who wait for each other, as far as these work units depend on them."""

    def awaited_by(self, work: Work) -> Iterable[Work]:
        """The work units whose ends the handler of a running one awaits."""


class Explainer:
    """Answers for one cue.

    Args:
        core: The state.
        activity: What runs its work units.
        watched: The folders of which changes are told.
    """

    def __init__(self, core: Core, activity: Activity, watched: WatchedFolders) -> None:
        self._core = core
        self._activity = activity
        self._watched = watched
        self._followed = 0

    def why(self, work: Work, now: float, wall: float) -> Why:
        """Explain one work.

        Args:
            work: The work.
            now: Monotonic.
            wall: The same instant in seconds since the epoch.
        """
        reason = self._with_places(self.explain(work, now, wall))
        root = reason.deepest
        turn = self._turn_of(root, now, wall)
        if turn is not None:
            root = root._replace(turn=turn)
            reason = root if reason.root is None else reason._replace(root=root)
        return why_of(reason, now, wall)

    def _turn_of(self, reason: Reason, now: float, wall: float) -> Turn | None:
        """When it is the turn of a work unit that stands in line."""
        if reason.kind not in _IN_LINE:
            return None
        # What says when it is to be asked again, and no more.
        not_before = max((one.until for one in (reason, *reason.beside) if one.kind == "limit"), default=-inf)
        turn = turn_of(self._core, reason.work, now, wall, self._activity.holders(), not_before)
        is_first = turn is not None and turn.place == 1
        # Then all that is known was said.
        if is_first and (reason.kind == "clear" or not_before == inf):
            return None
        return turn

    def explain(self, work: Work, now: float, wall: float) -> Reason:
        """The reason why a work unit is where it is, followed to the root of it.

        Args:
            work: The work.
            now: Monotonic.
            wall: The same instant in seconds since the epoch.
        """
        own = self._explain_alone(work, now, wall)
        if work._phase not in (NOT_READY, HELD, JOINED):
            return own
        way, around = follow(work, self.waits_for)
        cycle = tuple(around)
        self._followed += len(way)
        if work in cycle:
            cut = cut_of(self._core, cycle)
            return own._replace(kind="cycle", subject=cut, chain=tuple(way), cycle=cycle)
        if len(way) == 1:
            return own
        root = self._explain_alone(way[-1], now, wall)
        if cycle:
            root = root._replace(kind="cycle", subject=cut_of(self._core, cycle), cycle=cycle)
        return own._replace(chain=tuple(way), root=root)

    def waits_for(self, work: Work) -> Work | None:
        """The work that another has to wait for, None if that is not what it waits for."""
        phase = work._phase
        if phase == HELD:
            assert work._declared is not None
            holder = self._core.holds.holder_of(work._declared.hold)
            return None if holder is work else holder
        if phase == JOINED:
            return work._declared.leader if work._declared is not None else None
        if phase == NOT_READY:
            for artifact in work._awaited or ():
                producer = self._core.dependencies.maker_of(artifact)
                if producer is not None and producer is not work and problem_now(artifact) is not None:
                    return producer
        return None

    def _explain_alone(self, work: Work, now: float, wall: float) -> Reason:
        """What can be said of a work unit by itself."""
        phase = work._phase
        if phase == RUNNING:
            return self._explain_running(work, now, wall)
        if phase == SETTLED:
            return self._explain_past(work, now, wall)
        if phase == NEW and work._not_ready_reason is not None:
            return self._explain_unready(work, unready(work, since_of(work, self._activity.began)))
        reason = reason_of(work, now, self._activity.began)
        if reason is None:
            return Reason(work, "clear", None, since_of(work, self._activity.began))
        if phase == CHECKING:
            return self._explain_checking(reason)
        if phase in (NOT_READY, HELD):
            return self._explain_unready(work, reason)
        return self._explain_full(reason, wall) if reason.kind == "slots" else reason

    def _explain_checking(self, reason: Reason) -> Reason:
        work = reason.work
        if (asked := self._activity.question_of(work)) is not None:
            question, since, until = asked
            gate = {"ready": work._task.is_ready, "stale": work._task.is_stale}.get(question)
            reason = reason._replace(subject=gate, since=since, until=until, said=question)
        awaited = tuple(self._activity.awaited_by(work))
        for knot in self._activity.knots(awaited) if awaited else ():
            return reason._replace(others=awaited, knot=knot)
        return reason._replace(others=awaited)

    def _explain_full(self, reason: Reason, wall: float) -> Reason:
        """Why a work unit waits for a slot."""
        work, service = reason.work, reason.subject
        for knot in self._activity.knots((work,)):
            member = any(work in works for works in knot.waits.values())
            kind: Kind = "deadlock" if member and knot.is_proven else "self"
            return reason._replace(kind=kind, others=self._holders_of(service), knot=knot)
        beside = tuple(self._with_holders(one, wall) if one.kind == "slots" else one for one in reason.beside)
        return self._with_holders(reason, wall)._replace(beside=beside)

    def _holders_of(self, service: Any) -> tuple[Work, ...]:
        return tuple(one for one in self._activity.holders() if service in one._task.run_queue.services)

    def _with_holders(self, reason: Reason, wall: float) -> Reason:
        """Who holds the slots that are lacking."""
        holders = self._holders_of(reason.subject)
        where = self._activity.where_it_is
        holding = wanted_slots(self._core, holders, wall, where, only=reason.subject)
        return reason._replace(others=holders, holding=holding)

    def _explain_running(self, work: Work, now: float, wall: float) -> Reason:
        since = now - max(0.0, wall - (work.started_at or wall))
        for knot in self._activity.knots((work,)):
            kind: Kind = "deadlock" if knot.is_proven else "running"
            return Reason(work, kind, None, since, knot=knot)
        awaited = tuple(self._activity.awaited_by(work))
        run = run_of(work)
        holding = tuple(one._replace(usual=None) for one in wanted_slots(self._core, (run,), wall))
        usual = usual_duration(self._core.history, work.task)
        numbers = {} if usual is None else {"usual": usual}
        where = self._activity.where_it_is(run)
        return Reason(work, "running", None, since, inf, numbers, where, awaited, holding=holding)

    def _explain_past(self, work: Work, now: float, wall: float) -> Reason:
        since = now - max(0.0, wall - (work.completed_at or wall))
        error = work.exception
        kind: Kind = OUTCOMES[work._outcome]
        run = run_of(work)
        late = (run,) if run in self._activity.holders() else ()
        if late:
            beside = (self._explain_late(run, now, wall),)
            return Reason(work, kind, None, since, said=_said(error), others=late, beside=beside)
        leader = joined_with(work)
        if leader is not None:
            root = self._explain_past(leader, now, wall)
            return Reason(work, kind, leader, since, said=_said(error), chain=(work, leader), root=root)
        if work.skipped or (work._declared is not None and work._outcome == COMPLETED):
            stale = why_stale(work, None)
            said = "" if stale.verdict in _UNTOLD else stale.details
            return Reason(work, kind, left_by(work), since, said=said)
        return Reason(work, kind, None, since, said=_said(error))

    def _explain_late(self, run: Work, now: float, wall: float) -> Reason:
        """A handler that has outlived its work unit."""
        since = now - max(0.0, wall - (run.started_at or wall))
        return Reason(run, "running", None, since, said=self._activity.where_it_is(run))

    def _explain_unready(self, work: Work, reason: Reason) -> Reason:
        lacks = tuple(self._missing(work))
        if not lacks:
            return reason
        if any(one.maker is work for one in lacks):
            own = next(one.artifact for one in lacks if one.maker is work)
            cut = Cut(work, own, work, "of the order")
            return reason._replace(kind="cycle", subject=cut, lacks=lacks, cycle=(work,))
        kind: Kind = "being made" if reason.kind == "being made" else "input"
        lost = [one for one in lacks if one.state in ("failed", "cancelled", "nobody")]
        if len(lost) < len(lacks) and not needs_all(work):
            lost = []  # one of the others may be enough for its is_ready
        if lost and all(one.state == "nobody" for one in lost):
            if not self.somebody_may_make_it(work, (one.artifact for one in lost)):
                kind = "no producer"
        elif lost:
            kind = "upstream"
        return reason._replace(kind=kind, lacks=lacks)

    def _missing(self, work: Work) -> list[Missing]:
        """The artifacts that keep a work from being ready, those that nobody makes first."""
        declared = work._declared
        hold: Hold | None = declared.hold if declared is not None and work._phase == HELD else None
        if hold is not None and self._core.holds.holder_of(hold) in (None, work):
            hold = None
        artifacts: Collection[Any] = work._awaited or ()
        if declared is not None and (hold is not None or isinstance(work._not_ready_reason, Artifact)):
            artifacts = declared.inputs or artifacts
        found = []
        if hold is not None and hold.relation in (Relation.OVERLAP, Relation.UNRETURNED):
            found.append(self._held(hold, hold.artifact, ""))
            artifacts = ()
        dependencies = self._core.dependencies
        for artifact in artifacts:
            problem = problem_now(artifact)
            names = names_of(artifact)
            if hold is not None and any(one._key == hold.artifact._key for one in names):
                found.append(self._held(hold, artifact, problem or "is there, and is to be made anew"))
                continue
            producer = next(filter(None, map(dependencies.maker_of, names)), None)
            if problem is None:
                if producer is None or producer is work or work._phase != HELD:
                    continue
                problem = "is there, and is to be made anew"
            if producer is not None:
                state = _state_of(producer)
            else:
                producer = next(filter(None, map(dependencies.failure_of, names)), None)
                state = "nobody" if producer is None else OUTCOMES[producer._outcome]
            step = step_for(problem, self._watched.folder_of(artifact)) if producer is None else ""
            found.append(Missing(artifact, problem, producer, state, step=step))
        return sorted(found, key=lambda one: one.state in ("pending", "running"))

    def _with_places(self, reason: Reason) -> Reason:
        """A reason that says of missing files which nobody makes where they were looked for, and what may be meant."""
        root = None if reason.root is None else self._with_places(reason.root)
        lacks = list(reason.lacks)
        for number, lack in enumerate(lacks[:SHOWN]):
            if lack.state == "nobody" and any(place := self.place_of(lack.artifact, reason.work)):
                problem = f"{lack.problem} ({'; '.join(filter(None, place))})"
                lacks[number] = replace(lack, problem=problem, step=CORRECT if place[1] else lack.step)
        return reason._replace(lacks=tuple(lacks), root=root)

    def place_of(self, artifact: Any, work: Work) -> tuple[str, str]:
        """Where a missing file was looked for and what may be meant by it, as phrases; "" if there is nothing to say.

        It lists folders, so it is for who asks about one work unit.

        Args:
            artifact: What is missing.
            work: Who needs it.
        """
        from runcue._artifacts.near_misses import near_miss, where_missing  # noqa: PLC0415 - it takes a while to load

        return where_missing(artifact), near_miss(artifact) or self._meant(artifact, work)

    def _meant(self, artifact: Any, work: Work) -> str:
        """What others are about to make that may be meant by a file which nobody makes, as a phrase; "" if nothing."""
        from runcue._artifacts.near_misses import meant_among  # noqa: PLC0415 - as above

        makers = self._core.dependencies.producer_of
        some = islice(makers.items(), _MOST_COMPARED)
        path = meant_among(artifact, (key for key, one in some if isinstance(key, str) and one is not work))
        return "" if path is None else f"'{shortened(path, 120)}' is made by {name_of(makers[path])}"

    def _held(self, hold: Hold, artifact: Any, problem: str) -> Missing:
        """What holds a work unit, in words."""
        holder = self._core.holds.holder_of(hold) or hold.holder
        return Missing(artifact, problem, holder, _state_of(holder), _how(hold))

    def somebody_may_make_it(self, work: Work, artifacts: Iterable[Any]) -> bool:
        """Whether artifacts that no work unit declares may come all the same.

        They may come from outside if that is watched, or from work units that do not say what they make.
        """
        core = self._core
        silent = core.unsettled - core.proving - (0 if work.outputs else 1)
        return (silent > 0 and not self._activity.is_idle()) or any(map(self._watched.covers, artifacts))

    def reason(
        self,
        work: Work,
        now: float,
        wall: float,
        *,
        deep: bool = True,
        tied: Mapping[Work, Knot] | None = None,
    ) -> Reason | None:
        """Why a pending work unit does not run, for those who are told of many; None if nothing is in its way.

        Args:
            work: The work.
            now: Monotonic.
            wall: The same instant in seconds since the epoch.
            deep: Follow what it waits for to the root, and name what is missing.
            tied: Those who wait for each other, if they were looked for already.
        """
        reason = reason_of(work, now, self._activity.began)
        if not deep or reason is None:
            return reason
        knot = self._tied(work) if tied is None else tied.get(work)
        if knot is not None:
            return reason._replace(knot=knot)
        if work._phase in (NOT_READY, HELD, JOINED):
            return self.explain(work, now, wall)
        return self._explain_checking(reason) if work._phase == CHECKING else reason

    def _tied(self, work: Work) -> Knot | None:
        return next((knot for knot in self._activity.knots((work,)) if work in knot.works), None)

    def reasons(self, works: Iterable[Work], now: float, wall: float) -> Iterator[tuple[Work, Reason | None]]:
        """The reasons of many: the first thousand are followed to the root, unless the way there is very long.

        Args:
            works: Pending work units.
            now: Monotonic.
            wall: The same instant in seconds since the epoch.
        """
        self._followed = 0
        line = iter(works)
        first = list(islice(line, _LOOKED_INTO))
        tied = dict[Work, Knot]()
        for knot in self._activity.knots(first):
            tied |= dict.fromkeys(knot.works, knot)
        for work in first:
            yield work, self.reason(work, now, wall, deep=self._followed < _FOLLOWED, tied=tied)
        yield from reasons_of(line, now)


def _said(error: BaseException | None) -> str:
    return "" if error is None else error_words(error)


def joined_with(work: Work) -> Work | None:
    """The work unit with which a settled one that had joined it has settled; None if it has by itself."""
    leader: Work | None = None if work._declared is None else work._declared.leader
    if leader is None or leader._phase != SETTLED or leader._outcome != work._outcome:
        return None
    return leader


def needs_all(work: Work) -> bool:
    """Whether a work unit that is not ready needs all it waits for: what it declares, but not what its gate read."""
    # Not by what they say of themselves, which is the user's code.
    declared = work._declared
    return declared is not None and any(one is work._not_ready_reason for one in declared.needs)


def _state_of(producer: Work) -> str:
    return "pending" if producer._phase < RUNNING else "running"


def _how(hold: Hold) -> str:
    """How an artifact is tied to what the holder makes, as what follows its name."""
    made = words_of(hold.made)
    if hold.relation is Relation.AROUND:
        return f"makes the folder {made} that it is in"
    if hold.relation is Relation.INSIDE:
        return f"makes {made} in it"
    if hold.relation is Relation.OVERLAP:
        return f"is making {made}, and of a folder and what is in it one is made at a time"
    if hold.relation is Relation.UNRETURNED:
        settled = OUTCOMES[hold.holder._outcome]
        been = "been " if settled == "cancelled" else ""
        return f"has {been}{settled}, but its handler has not returned and may still be making it"
    return ""
