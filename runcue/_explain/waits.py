"""What a work unit waits for, one step at a time: another one, or an artifact that nobody makes.

Lives here: `Waits`, the one walk. `why` follows it for one work unit, `roots` for all that wait, and who looks for
cycles follows the makers alone. What is the same for many, whether an artifact is there, is looked at once by each.

Must not know: why the last on the way does not run, words.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import repeat
from math import inf
from operator import is_
from typing import Any, Final, NamedTuple

from runcue._artifacts.artifact import Artifact, is_valid
from runcue._artifacts.declared import names_of, question_of
from runcue._explain.activity import Activity
from runcue._explain.holders import Holders
from runcue._explain.lacks import needs_all
from runcue._model.phases import HELD, JOINED, NEW, NOT_READY, RUNNING, SETTLED
from runcue._model.work import Work
from runcue._scheduling.core import Core
from runcue._scheduling.holds import PRODUCER, Hold
from runcue._scheduling.knots import Knot

__all__ = ["MOST_AWAITED", "Lost", "Waits", "Way"]

MOST_AWAITED: Final = 100
"""So many of the work units are looked at whose ends a handler awaits: each is found by following an asyncio task."""


_MOST_WANTED: Final = 500
"""So many artifacts of one work unit are looked through where not all are asked whether they are valid."""


class Lost(NamedTuple):
    """An artifact that keeps a work unit from running, and that nobody makes.

    Attributes:
        artifact: The artifact.
        maker: Who was to make it, and failed or was cancelled; None if nobody was.
    """

    artifact: Any
    maker: Work | None


class Way(NamedTuple):
    """What a work unit waits for.

    Attributes:
        works: The work units on the way, from that one on, each once.
        cycle: Those of them that form the cycle in which it ends.
        goes_on: Whether it was followed no further, although there is more of it.
    """

    works: list[Work]
    cycle: list[Work]
    goes_on: bool = False


class Waits:
    """Follows what waits for what in one cue, as of now.

    Args:
        core: The state.
        activity: What runs its work units.
        looks: So many artifacts are asked whether they are valid; of others it counts what was found when their work
            unit was asked.
        beside: Of the nearest so many work units on a way that are held so many inputs together are looked through for
            one that is missing, beside the one that is being made; from then on their way is that of who holds them.
        links: So many work units are followed, one after the other.

    Attributes:
        missing: Whether an artifact is not valid, by what is asked of it, as far as that was asked.
        holders: Who holds slots.
        lacking: What is told to be missing to a work unit that needs very many, in place of looking through these.
    """

    def __init__(
        self, core: Core, activity: Activity, looks: float = inf, beside: float = inf, links: float = inf
    ) -> None:
        self._activity = activity
        self.holders = Holders(activity.holders)
        self._dependencies = core.dependencies
        self._holds = core.holds
        self._looks = looks
        self._beside = self._nearest = beside
        self._links = links
        self.missing: dict[Hashable, bool] = {}
        self.lacking: dict[Work, list[Any]] = {}
        # Of running ones: to read it off their asyncio tasks takes long where they await thousands.
        self._awaited: dict[Work, tuple[list[Work], bool]] = {}
        self._knots: dict[Work, list[Knot]] = {}

    def way_from(self, start: Work) -> Way:
        """What a work unit waits for, one after the other to the end.

        Args:
            start: A work unit.
        """
        # Else somebody may have come meanwhile who is waited for instead.
        is_known = not self._dependencies.displaced and not self._dependencies.later
        way: list[Work] = []
        # That one comes again if the way goes round, after no more steps than it has taken to get there (Brent's way:
        # to look up each link costs more than to follow it).
        mark, turn = None, 1
        work: Work | None = start
        while work is not None:
            if work is mark:
                return _going_round(way, work)
            if len(way) >= self._links:
                # If it has gone round already, so does whatever follows.
                goes_round = any(map(is_, way, repeat(work)))
                return _going_round(way, work) if goes_round else Way(way, [], True)
            if len(way) >= turn:
                mark, turn = work, 2 * turn
            is_far = self._beside <= 0 or len(way) >= self._nearest
            if is_far and is_known and work._phase == HELD:
                number = len(way)
                work = _follow_plainly(work, way, int(min(turn, self._links)) - number, mark)
                if len(way) > number:
                    continue
            way.append(work)
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
        return Way(way, [])

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
        if len(inputs) > self._beside:
            inputs = inputs[: int(self._beside)]
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
        for artifact in self._wanted_by(work):
            if self._is_missing(artifact, work):
                maker = dependencies.maker_of(artifact)
                if maker is not None and maker is not work:
                    return maker
        return None

    def _lost_by(self, work: Work) -> Work | Lost | None:
        """The first artifact that is missing and that nobody makes; who makes what it leads to, if it is a link."""
        dependencies = self._dependencies
        for artifact in self._wanted_by(work):
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

    def _wanted_by(self, work: Work) -> Sequence[Any]:
        """The artifacts of which one keeps a work unit from being ready; of very many some, if not all are asked."""
        declared = work._declared
        artifacts: Sequence[Any] = work._awaited or ()
        if declared is not None and (work._phase == HELD or isinstance(work._not_ready_reason, Artifact)):
            artifacts = declared.inputs or artifacts
        if self._looks == inf or len(artifacts) <= _MOST_WANTED:
            return artifacts
        if work in self.lacking:
            return self.lacking[work]
        return [*artifacts[:_MOST_WANTED], work._not_ready_reason]

    def _is_missing(self, artifact: Any, work: Work) -> bool:
        key = question_of(artifact)
        missing = self.missing.get(key)
        if missing is None:
            if self._looks <= 0:
                return artifact is work._not_ready_reason
            self._looks -= 1
            missing = self.missing[key] = not _is_valid(artifact)
        return missing


def _follow_plainly(work: Work, way: list[Work], most: int, mark: Any) -> Work:
    """Follow work units that are held each by the next, which makes what they need: there may be tens of thousands.

    Args:
        work: A held one.
        way: Takes those that are left behind.
        most: No more than so many.
        mark: There it ends, too.

    Returns:
        Who comes next; or the last of whom it is not known like this who holds it, and which is not in the way then.
    """
    one: Any = work
    for _ in repeat(None, most):
        if one._phase != HELD:
            break
        way.append(one)
        one = one._declared.hold
        if type(one) is Hold:
            if one.relation is not PRODUCER:
                return way.pop()
            one = one.maker
        elif one is None:
            return way.pop()
        if one is mark:
            break
    following: Work = one
    # Who has settled holds nobody: another one does, or this is not noted yet.
    return way.pop() if following._phase == SETTLED else following


def _going_round(way: list[Work], work: Work) -> Way:
    """A way that goes on with one that is on it, up to where it goes round for the first time."""
    place: dict[Work, int] = {}
    for number, one in enumerate(way):
        if one in place:
            return Way(way[:number], way[place[one] : number])
        place[one] = number
    return Way(way, way[place[work] :])


def _is_valid(artifact: Any) -> bool:
    try:
        return is_valid(artifact)
    except KeyboardInterrupt:
        raise
    except BaseException:
        return False
