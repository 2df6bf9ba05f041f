"""What a work unit waits for, one step at a time: another one, or an artifact that nobody makes.

Lives here: `Waits`, the one walk. `why` follows it for one work unit, `roots` for all that wait, and who looks for
cycles follows the makers alone. What is the same for many, whether an artifact is there, is looked at once by each.

Must not know: why the last on the way does not run, words.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from math import inf
from typing import Any, NamedTuple

from runcue._artifacts.artifact import Artifact, is_valid
from runcue._artifacts.declared import names_of, question_of
from runcue._explain.activity import Activity
from runcue._explain.lacks import needs_all
from runcue._model.phases import HELD, JOINED, NEW, NOT_READY, RUNNING
from runcue._model.work import Work
from runcue._scheduling.core import Core

__all__ = ["Lost", "Waits"]


class Lost(NamedTuple):
    """An artifact that keeps a work unit from running, and that nobody makes.

    Attributes:
        artifact: The artifact.
        maker: Who was to make it, and failed or was cancelled; None if nobody was.
    """

    artifact: Any
    maker: Work | None


class Waits:
    """Follows what waits for what in one cue, as of now.

    Args:
        core: The state.
        activity: What runs its work units.
        looks: So many artifacts are asked whether they are valid; of others it counts what was found when their work
            unit was asked.
    """

    def __init__(self, core: Core, activity: Activity, looks: float = inf) -> None:
        self._activity = activity
        self._dependencies = core.dependencies
        self._holds = core.holds
        self._looks = looks
        self._missing: dict[Hashable, bool] = {}

    def next_work(self, work: Work) -> Work | None:
        """The work unit that another one waits for; None if the way ends there, or goes round from there."""
        declared = work._declared
        if work._phase == HELD and declared is not None:
            # In a short way: of these there may be thousands in a row.
            holder = self._holds.holder_for(work)
            if (
                holder is not None
                and holder is not work
                and (len(declared.inputs) == 1 or not self._may_lack(declared.inputs))
            ):
                return holder
        following = self.next_of(work)
        if not isinstance(following, Work):
            return None
        return None if work._phase == RUNNING and self._activity.knots((work,)) else following

    def _may_lack(self, artifacts: tuple[Any, ...]) -> bool:
        """Whether one of some artifacts that is not being made may be missing: it has to be asked."""
        producer_of, missing = self._dependencies.producer_of, self._missing
        unknown = len(missing) < self._looks
        for artifact in artifacts:
            if artifact._key not in producer_of and missing.get(question_of(artifact), unknown):
                return True
        return False

    def next_of(self, work: Work) -> Work | Lost | None:
        """What a work unit waits for; None if it is itself where the way ends.."""
        phase = work._phase
        if phase == RUNNING:
            awaited = [one for one in self._activity.awaited_by(work) if one._phase <= RUNNING]
            return next((one for one in awaited if one._phase < RUNNING), awaited[0] if awaited else None)
        if phase not in (NOT_READY, HELD, JOINED) and (phase != NEW or work._not_ready_reason is None):
            return None
        maker = self.maker_for(work)
        # What is known to be missing comes first if all is needed: no maker of something else will help.
        if phase != JOINED and (maker is None or (work._not_ready_reason is not None and needs_all(work))):
            return self._lost_by(work) or maker
        return maker

    def maker_for(self, work: Work) -> Work | None:
        """The work unit whose end another one has to wait for, whatever else it lacks; None if there is none."""
        phase = work._phase
        if phase == HELD:
            holder = self._holds.holder_for(work)
            return None if holder is work else holder
        if phase == JOINED:
            return work._declared.leader if work._declared is not None else None
        if phase not in (NOT_READY, NEW):
            return None
        dependencies = self._dependencies
        for artifact in _wanted_by(work):
            maker = dependencies.producer_of.get(artifact._key) or dependencies.maker_of(artifact)
            if maker is not None and maker is not work and self._is_missing(artifact, work):
                return maker
        return None

    def _lost_by(self, work: Work) -> Work | Lost | None:
        """The first artifact that is missing and that nobody makes; who makes what it leads to, if it is a link."""
        dependencies = self._dependencies
        for artifact in _wanted_by(work):
            if dependencies.producer_of.get(artifact._key) or dependencies.maker_of(artifact):
                continue
            if self._is_missing(artifact, work):
                names = names_of(artifact) if len(self._missing) < self._looks else (artifact,)
                for one in names[1:]:
                    maker = dependencies.maker_of(one)
                    if maker is not None and maker is not work:
                        return maker
                return Lost(artifact, next(filter(None, map(dependencies.failure_of, names)), None))
        return None

    def _is_missing(self, artifact: Any, work: Work) -> bool:
        key = question_of(artifact)
        missing = self._missing.get(key)
        if missing is None:
            if len(self._missing) >= self._looks:
                return artifact is work._not_ready_reason
            missing = self._missing[key] = not _is_valid(artifact)
        return missing


def _wanted_by(work: Work) -> Iterable[Any]:
    """The artifacts of which one keeps a work unit from being ready."""
    declared = work._declared
    artifacts = work._awaited or ()
    if declared is not None and (work._phase == HELD or isinstance(work._not_ready_reason, Artifact)):
        return declared.inputs or artifacts
    return artifacts


def _is_valid(artifact: Any) -> bool:
    try:
        return is_valid(artifact)
    except KeyboardInterrupt:
        raise
    except BaseException:
        return False
