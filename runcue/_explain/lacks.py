"""What is missing to a work unit that is not ready: each artifact, and who makes it.

Lives here: `Lacks`, which finds them, and whether they may come although no work unit says that it makes them.

Must not know: what that makes of the reason why the work unit does not run (`why`), what is there in their place.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from itertools import repeat
from operator import is_
from typing import Any, Final, NamedTuple

from runcue._artifacts.artifact import Artifact
from runcue._artifacts.declared import names_of, question_of
from runcue._artifacts.watched_folders import WatchedFolders
from runcue._explain.activity import Activity
from runcue._explain.missing import Missing
from runcue._explain.next_steps import step_for
from runcue._explain.problems import problem_now
from runcue._model.phases import HELD, OUTCOMES, RUNNING
from runcue._model.texts import SHOWN, words_of
from runcue._model.work import Work
from runcue._scheduling.core import Core
from runcue._scheduling.holds import LANE, Hold, Relation, held_by

__all__ = ["Lacking", "Lacks", "needs_all"]

_LOOKED_AT: Final = 100
"""So many of the artifacts of one work unit are asked whether they are valid: about two milliseconds, for files."""

_MADE: Final = 2_000
"""Of so many of them it is looked whether somebody makes them."""


class Lacking(NamedTuple):
    """What is missing to a work unit.

    Attributes:
        found: The artifacts, those that nobody makes first; of very many some.
        more: How many more it waits for, each of which somebody makes.
        unasked: Of how many more it was not asked whether they are valid.
    """

    found: tuple[Missing, ...]
    more: int = 0
    unasked: int = 0


class Lacks:
    """Finds them for one cue.

    Args:
        core: The state.
        activity: What runs its work units.
        watched: The folders of which changes are told.
    """

    def __init__(self, core: Core, activity: Activity, watched: WatchedFolders) -> None:
        self._core = core
        self._activity = activity
        self._watched = watched

    def of(self, work: Work, missing: dict[Hashable, bool] | None = None) -> Lacking:
        """The artifacts that keep a work from being ready, those that nobody makes first.

        Args:
            work: A pending work unit.
            missing: Is told of each of its artifacts whether it is not valid, by what is asked of it.
        """
        declared = work._declared
        hold = held_by(work) if work._phase == HELD else None
        if hold is not None and self._core.holds.holder_of(hold) in (None, work):
            hold = None
        if hold is not None and hold.relation is LANE:
            return Lacking(())  # before its turn it is not asked, and what is lacking then is not known
        # One that is held waits for its hold.
        artifacts: Sequence[Any] = work._awaited or () if work._phase != HELD else ()
        if declared is not None and (hold is not None or isinstance(work._not_ready_reason, Artifact)):
            artifacts = declared.inputs or artifacts
        found = []
        if hold is not None and hold.relation in (Relation.OVERLAP, Relation.UNRETURNED, Relation.SAME):
            found.append(self._held(hold, hold.artifact, ""))
            artifacts = ()
        dependencies = self._core.dependencies
        artifacts, more, unasked = self._some_of(work, artifacts)
        links = (
            hold is not None
            and declared is not None
            and not any(map(is_, declared.inputs, repeat(hold.artifact)))
        )
        for artifact in artifacts:
            problem = problem_now(artifact)
            if missing is not None:
                missing[question_of(artifact)] = problem is not None
            if problem is None and work._phase != HELD:
                continue
            producer = dependencies.maker_of(artifact)
            # A link costs a look at the disk, and it is asked only where it may matter: there may be thousands.
            names = (artifact,) if producer is not None and not links else names_of(artifact)
            if hold is not None and any(one._key == hold.artifact._key for one in names):
                found.append(self._held(hold, artifact, problem or "is there, and is to be made anew"))
                continue
            if producer is None:
                producer = next(filter(None, map(dependencies.maker_of, names[1:])), None)
            if problem is None:
                if producer is None or producer is work:
                    continue
                problem = "is there, and is to be made anew"
            if producer is not None:
                state = _state_of(producer)
            else:
                producer = next(filter(None, map(dependencies.failure_of, names)), None)
                state = "nobody" if producer is None else OUTCOMES[producer._outcome]
            step = ""
            if producer is None:
                folder, rechecks = self._watched.folder_of(artifact), self._activity.rechecks
                step = step_for(artifact, problem, folder, rechecks=rechecks)
            found.append(Missing(artifact, problem, producer, state, step=step))
        found.sort(key=lambda one: one.state in ("pending", "running"))
        return Lacking(tuple(found), more, unasked)

    def _some_of(self, work: Work, artifacts: Sequence[Any]) -> tuple[Sequence[Any], int, int]:
        """Those of very many artifacts that tell most, in their order; see `Lacking` for the numbers of the others.

        These are the first that nobody makes, what was found missing when it was asked, the first that others make, and
        what decides of what kind the reason is: the one that holds it, and what only it would make itself.
        """
        if len(artifacts) <= _LOOKED_AT:
            return artifacts, 0, 0
        makers = self._core.dependencies.producer_of
        hold = held_by(work) if work._phase == HELD else None
        told = [work._not_ready_reason, None if hold is None else hold.artifact]
        near = artifacts[:_MADE]
        unmade = [one for one in near if one._key not in makers]
        made = [one for one in near if one._key in makers]
        own = [one for one in made if makers[one._key] is work]
        kept = {id(one) for one in (*unmade[: _LOOKED_AT - SHOWN], *made[:SHOWN], *own, *told)}
        some = [one for one in near if id(one) in kept]
        others = len(made) - sum(one._key in makers for one in some)
        if len(artifacts) > len(near):
            there = {id(one) for one in some}
            far = {id(one): one for one in told if isinstance(one, Artifact) and id(one) not in there}
            some += far.values()
        without = len(artifacts) - len(some) - others
        # Of one that is held those count as well that are there, and are to be made anew.
        return (some, others, without) if work._phase == HELD else (some, 0, others + without)

    def _held(self, hold: Hold, artifact: Any, problem: str) -> Missing:
        """What holds a work unit, in words."""
        holder = self._core.holds.holder_of(hold) or hold.holder
        return Missing(artifact, problem, holder, _state_of(holder), _how(hold))

    def somebody_may_make(self, work: Work, artifacts: Iterable[Any]) -> bool:
        """Whether artifacts that no work unit declares may come all the same.

        They may come from outside if that is watched, or from work units that do not say what they make.
        """
        core = self._core
        silent = core.unsettled - core.proving - (0 if work.outputs else 1)
        return (silent > 0 and not self._activity.is_idle()) or any(map(self._watched.covers, artifacts))


def needs_all(work: Work) -> bool:
    """Whether a work unit that is not ready needs all it waits for: what it declares, but not what its gate read."""
    # Not by what they say of themselves, which is the user's code.
    declared = work._declared
    return declared is not None and any(map(is_, declared.needs, repeat(work._not_ready_reason)))


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
        return f"is making {made}, and a folder and what is in it are never made at the same time"
    if hold.relation is Relation.SAME:
        same = "has the same key" if hold.artifact is None else "makes the very same"
        return f"{same}, and one runs at a time"
    if hold.relation is Relation.UNRETURNED:
        settled = OUTCOMES[hold.holder._outcome]
        been = "been " if settled == "cancelled" else ""
        return f"has {been}{settled}, but its handler has not returned and may still be making it"
    return ""
