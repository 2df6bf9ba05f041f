"""What a work unit waits for, one step at a time: another one, or an artifact that nobody makes.

Lives here: `Waits`, the one walk. `why` follows it for one work unit, `roots` for all that wait, and who looks for
cycles follows the makers alone. What is the same for many, whether an artifact is there, is looked at once by each.

Must not know: why the last on the way does not run, words.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from math import inf
from typing import Any, Final, NamedTuple

from runcue._artifacts.artifact import Artifact, is_valid
from runcue._artifacts.declared import names_of, question_of
from runcue._explain.activity import Activity
from runcue._explain.lacks import needs_all
from runcue._model.phases import HELD, JOINED, NEW, NOT_READY, RUNNING, SETTLED
from runcue._model.work import Work
from runcue._scheduling.core import Core
from runcue._scheduling.holds import PRODUCER, Hold
from runcue._scheduling.knots import Knot

__all__ = ["MOST_AWAITED", "Lost", "Waits"]

MOST_AWAITED: Final = 100
"""So many of the work units are looked at whose ends a handler awaits: each is found by following an asyncio task."""


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
        beside: So many inputs of held work units are looked through for one that is missing, beside the one that is
            being made; from then on the way of those that are held is that of who holds them.

    Attributes:
        missing: Whether an artifact is not valid, by what is asked of it, as far as that was asked.
    """

    def __init__(self, core: Core, activity: Activity, looks: float = inf, beside: float = inf) -> None:
        self._activity = activity
        self._dependencies = core.dependencies
        self._holds = core.holds
        self._looks = looks
        self._beside = beside
        self.missing: dict[Hashable, bool] = {}
        # Of running ones: to read it off their asyncio tasks takes long where they await thousands.
        self._awaited: dict[Work, tuple[list[Work], bool]] = {}
        self._knots: dict[Work, list[Knot]] = {}

    def way_from(self, start: Work) -> tuple[list[Work], list[Work]]:
        """What a work unit waits for, one after the other to the end; see `cycles.follow`.

        By itself, because of held ones there may be thousands in a row, and each takes half as long without a call.

        Args:
            start: A work unit.

        Returns:
            The work units on the way, each once, and of these those of the cycle in which it ends.
        """
        # Else somebody may have come meanwhile who is waited for instead.
        is_known = not self._dependencies.displaced and not self._dependencies.later
        place: dict[Work, int] = {}
        work: Work | None = start
        while work is not None:
            if work in place:
                way = list(place)
                return way, way[place[work] :]
            place[work] = len(place)
            if work._phase == HELD and is_known and (declared := work._declared) is not None:
                holder = declared.hold
                if type(holder) is Hold:
                    holder = holder.maker if holder.relation is PRODUCER else work
                if (
                    holder is not None
                    and holder._phase < SETTLED
                    and holder._declared.left is None
                    and holder is not work
                    and (len(declared.inputs) == 1 or not self._lacks_beside(work, declared.inputs))
                ):
                    work = holder
                    continue
            work = self.next_work(work)
        return list(place), []

    def awaited_by(self, work: Work) -> tuple[list[Work], bool]:
        """The work units whose ends a running one awaits, about so many as are looked at, and whether these are all."""
        found = self._awaited.get(work)
        if found is None:
            found = self._awaited[work] = self._activity.awaited_by(work, MOST_AWAITED)
        return found

    def knots_of(self, work: Work) -> list[Knot]:
        """Those who wait for each other, as far as a running work unit depends on them."""
        found = self._knots.get(work)
        if found is None:
            found = self._knots[work] = self._activity.knots((work,))
        return found

    def next_work(self, work: Work) -> Work | None:
        """The work unit that another one waits for; None if the way ends there, or goes round from there."""
        if work._phase == HELD:
            # In a short way: of these there may be thousands in a row.
            holder = self._holds.holder_for(work)
            declared = work._declared
            if (
                holder is not None
                and holder is not work
                and declared is not None
                and (len(declared.inputs) == 1 or not self._lacks_beside(work, declared.inputs))
            ):
                return holder
        following = self.next_of(work)
        if not isinstance(following, Work):
            return None
        return None if work._phase == RUNNING and self.knots_of(work) else following

    def _lacks_beside(self, work: Work, inputs: tuple[Any, ...]) -> bool:
        """Whether one of the inputs of a held work unit is missing that is not being made."""
        if self._beside <= 0 or work._not_ready_reason is None:
            return False
        self._beside -= len(inputs)
        dependencies = self._dependencies
        return any(
            artifact._key not in dependencies.producer_of
            and self._is_missing(artifact, work)
            and dependencies.maker_of(artifact) is None
            for artifact in inputs
        )

    def next_of(self, work: Work) -> Work | Lost | None:
        """What a work unit waits for; None if it is itself where the way ends.."""
        phase = work._phase
        if phase == RUNNING:
            found, _ = self.awaited_by(work)
            awaited = [one for one in found if one._phase <= RUNNING]
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
            if self._is_missing(artifact, work):
                maker = dependencies.maker_of(artifact)
                if maker is not None and maker is not work:
                    return maker
        return None

    def _lost_by(self, work: Work) -> Work | Lost | None:
        """The first artifact that is missing and that nobody makes; who makes what it leads to, if it is a link."""
        dependencies = self._dependencies
        for artifact in _wanted_by(work):
            if artifact._key in dependencies.producer_of:
                continue
            if self._is_missing(artifact, work) and dependencies.maker_of(artifact) is None:
                names = names_of(artifact) if self._looks > 0 else (artifact,)
                for one in names[1:]:
                    maker = dependencies.maker_of(one)
                    if maker is not None and maker is not work:
                        return maker
                return Lost(artifact, next(filter(None, map(dependencies.failure_of, names)), None))
        return None

    def _is_missing(self, artifact: Any, work: Work) -> bool:
        key = question_of(artifact)
        missing = self.missing.get(key)
        if missing is None:
            if self._looks <= 0:
                return artifact is work._not_ready_reason
            self._looks -= 1
            missing = self.missing[key] = not _is_valid(artifact)
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
