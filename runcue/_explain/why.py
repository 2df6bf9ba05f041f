"""Why a work unit does not run: finding the answer to `cue.why()`.

Lives here: reading the state of a cue, following what waits for what down to the root of it, and putting it in words.
Artifacts are asked again for this, so an answer is as of now.

Must not know: how to change anything.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import chain, islice
from typing import Any, Final, Protocol

from runcue._artifacts.artifact import Artifact
from runcue._artifacts.declared import names_of
from runcue._artifacts.watched_folders import WatchedFolders
from runcue._explain.answers import Missing, Verdict, Why, around_works
from runcue._explain.holders import describe_knot, short_of_knot, wanted_slots
from runcue._explain.reasons import (
    Reason,
    describe_answer,
    describe_asking,
    describe_delay,
    first_refusal,
    problem_now,
    reason_of,
)
from runcue._limits.service import Refusal
from runcue._model.phases import (
    CHECKING,
    DELAYED,
    HELD,
    JOINED,
    NEW,
    NOT_READY,
    OUTCOMES,
    RUNNING,
    SETTLED,
)
from runcue._model.texts import SHOWN, error_words, how_many, listed, name_of, words_of
from runcue._model.work import Work
from runcue._scheduling.ageing import pending_since
from runcue._scheduling.core import Core
from runcue._scheduling.cycles import follow
from runcue._scheduling.holds import Hold, Relation
from runcue._scheduling.knots import Knot

__all__ = ["Explainer", "needs_all"]

# So many work units are explained to the root when all are asked for, over so many links together.
_LOOKED_INTO: Final = 1000
_FOLLOWED: Final = 20_000

_ENDINGS: Final = {
    "completed": "its handler returned",
    "skipped": "it was up to date",
    "cancelled": "it was cancelled",
}


class Activity(Protocol):
    """What an explainer asks of what runs work units."""

    def holders(self) -> Iterable[Work]:
        """The work units that hold slots at this moment."""

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
        own = self._why_alone(work, now, wall)
        if work._phase not in (NOT_READY, HELD, JOINED):
            return own
        chain, around = follow(work, self.waits_for)
        cycle = tuple(around)
        self._followed += len(chain)
        if work in cycle:
            return replace(own, verdict="cycle", details=around_works(cycle), chain=tuple(chain), cycle=cycle)
        if len(chain) == 1:
            return own
        root = self._why_alone(chain[-1], now, wall)
        if cycle:
            root = replace(root, verdict="cycle", details=around_works(cycle), cycle=cycle)
        if work._phase == JOINED:
            same = {name: getattr(root, name) for name in ("verdict", "eta", "next_token_at", "held_by")}
            return replace(own, **same, chain=tuple(chain), root=root)
        return replace(own, chain=tuple(chain), root=root)

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

    def _why_alone(self, work: Work, now: float, wall: float) -> Why:
        """What can be said of a work unit by itself."""
        phase = work._phase
        skew = wall - now
        if phase == RUNNING:
            return self._why_running(work, now, wall)
        if phase == SETTLED:
            return self._why_past(work, wall)
        since = (
            work._submitted_at
            if phase in (NEW, JOINED)
            else getattr(work, "_phase_since", work._submitted_at)
        )
        base = Why(work, "not ready", "", since + skew, max(0.0, now - since), work._refusals)
        if phase == CHECKING:
            details = describe_asking(work)
            if awaited := list(self._activity.awaited_by(work)):
                details += f"; it waits for {listed(map(_awaited, awaited))}"
                for knot in self._activity.knots(awaited):
                    details = describe_knot(knot, now, wall)
            return replace(base, verdict="being asked", details=details)
        if phase == JOINED:
            assert work._declared is not None
            leader = work._declared.leader
            return replace(
                base, details=f"it settles with {name_of(leader)}, which makes the same" if leader else ""
            )
        if phase in (NOT_READY, HELD) or (phase == NEW and work._not_ready_reason is not None):
            return self._why_not_ready(work, base)
        if phase == DELAYED:
            eta = max(0.0, pending_since(work) - now)
            return replace(base, verdict="waiting for a retry", details=describe_delay(work, now), eta=eta)
        refusal = first_refusal(work, now)
        if refusal is None:
            return replace(base, verdict="about to start", details="nothing is in its way")
        if refusal.by == "slots":
            return self._why_full(work, base, refusal, now, wall)
        known = refusal.until != float("inf")
        return replace(
            base,
            verdict="waiting for rate" if refusal.by == "rate" else "waiting for a limit",
            details=refusal.details,
            eta=max(0.0, refusal.until - now) if known else None,
            next_token_at=refusal.until + skew if known else None,
        )

    def _why_full(self, work: Work, base: Why, refusal: Refusal, now: float, wall: float) -> Why:
        """Why a work unit waits for a slot."""
        held_by = tuple(
            one for one in self._activity.holders() if refusal.service in one._task.run_queue.services
        )
        for knot in self._activity.knots((work,)):
            member = any(work in works for works in knot.waits.values())
            verdict: Verdict = "deadlock" if member and knot.is_proven else "waiting for a slot"
            return replace(base, verdict=verdict, details=describe_knot(knot, now, wall), held_by=held_by)
        details = refusal.details
        if held_by:
            details += f", held by {listed(map(_holder, held_by))}"
        for words in wanted_slots(self._core, held_by, wall, only=refusal.service):
            details += f"; {words}"
        return replace(base, verdict="waiting for a slot", details=details, held_by=held_by)

    def _why_running(self, work: Work, now: float, wall: float) -> Why:
        began = work.started_at or wall
        why = Why(work, "running", "its handler runs", began, max(0.0, wall - began), work._refusals)
        for knot in self._activity.knots((work,)):
            verdict: Verdict = "deadlock" if knot.is_proven else "running"
            return replace(why, verdict=verdict, details=describe_knot(knot, now, wall))
        details = "its handler runs"
        if awaited := list(self._activity.awaited_by(work)):
            details = f"its handler waits for {listed(map(_awaited, awaited))}"
        for words in wanted_slots(self._core, (work,), wall):
            details += f"; {words}"
        return replace(why, details=details)

    def _why_past(self, work: Work, wall: float) -> Why:
        ended = work.completed_at or wall
        verdict: Any = OUTCOMES[work._outcome]
        error = work.exception
        details: str = _ENDINGS[verdict] if error is None else error_words(error)
        if work in self._activity.holders():
            details += "; its handler has not returned yet and still holds its slot"
        return Why(work, verdict, details, ended, max(0.0, wall - ended), work._refusals)

    def _why_not_ready(self, work: Work, base: Why) -> Why:
        missing = self._missing(work)
        if not missing:
            return replace(base, details=describe_answer(work))
        verdict: Verdict = "waiting for an artifact"
        if any(one.maker is work for one in missing):
            details = "it needs what only it makes: " + "; ".join(map(str, missing[:SHOWN]))
            return replace(base, verdict="cycle", details=details, missing=tuple(missing), cycle=(work,))
        lost = [one for one in missing if one.state in ("failed", "cancelled", "nobody")]
        if len(lost) < len(missing) and not needs_all(work):
            lost = []  # one of the others may be enough for its is_ready
        if lost and all(one.state == "nobody" for one in lost):
            if not self.somebody_may_make_it(work, (one.artifact for one in lost)):
                verdict = "no producer"
        elif lost:
            verdict = "upstream failed"
        return replace(
            base, verdict=verdict, details="; ".join(map(str, missing[:SHOWN])), missing=tuple(missing)
        )

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
            found.append(Missing(artifact, problem, producer, state))
        return sorted(found, key=lambda one: one.state in ("pending", "running"))

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
        self, work: Work, now: float, *, deep: bool = True, tied: Mapping[Work, str] | None = None
    ) -> Reason | None:
        """Why a pending work unit does not run, in the form of `debug_blocked()`; None if nothing is in its way.

        Args:
            work: The work.
            now: Monotonic.
            deep: Follow what it waits for to the root, and name what is missing.
            tied: What is said of those that wait for each other, if they were looked for already.
        """
        reason = reason_of(work, now)
        if not deep or reason is None:
            return reason
        words = self._tied(work) if tied is None else tied.get(work)
        if words is not None:
            return reason._replace(details=f"{reason.details}; {words}")
        if work._phase not in (NOT_READY, HELD, JOINED):
            return reason
        why = self.why(work, now, now)
        details = why.details if why.verdict == "not ready" else f"{why.verdict}: {why.details}"
        root = why.root
        if root is not None:
            between = len(why.chain) - 2
            through = f" (through {how_many(between, 'other', 'others')})" if between > 0 else ""
            details += (
                f"; in the end{through} because of {name_of(root.work)} ({root.verdict}): {root.details}"
            )
        return Reason(work, "not_ready", details)

    def _tied(self, work: Work) -> str | None:
        knots = self._activity.knots((work,))
        return next((short_of_knot(knot) for knot in knots if work in knot.works), None)

    def reasons(self, works: Iterable[Work], now: float) -> Iterator[tuple[Work, Reason | None]]:
        """The reasons of many: the first thousand are followed to the root, unless the way there is very long.

        Args:
            works: Pending work units.
            now: Monotonic.
        """
        self._followed = 0
        line = iter(works)
        first = list(islice(line, _LOOKED_INTO))
        tied = dict[Work, str]()
        for knot in self._activity.knots(first):
            tied |= dict.fromkeys(knot.works, short_of_knot(knot))
        for number, work in enumerate(chain(first, line)):
            deep = number < _LOOKED_INTO and self._followed < _FOLLOWED
            yield work, self.reason(work, now, deep=deep, tied=tied)


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


def _awaited(work: Work) -> str:
    return f"{name_of(work)} ({_state_of(work)})"


def _holder(work: Work) -> str:
    return name_of(work) + (" (cancelled, its handler has not returned)" if work._phase == SETTLED else "")
