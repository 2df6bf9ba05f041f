"""Which link of a cycle to cut first.

Lives here: over what each work unit of a cycle waits for the next, and `cut_of`, which picks the one that most likely
should not be there: what is there already need not be waited for; of a folder and what is in it the files may be named
in its place; who waits in a lane may be in another one; else it is who was submitted first and waits for who came
later, against the order in which they were thought of.

Must not know: how cycles are found, words.
"""

from __future__ import annotations

from itertools import islice
from operator import attrgetter
from typing import Any, Final, Literal, NamedTuple

from runcue._explain.problems import problem_now
from runcue._model.phases import HELD
from runcue._model.work import Work
from runcue._scheduling.core import Core
from runcue._scheduling.holds import Hold, Relation, held_by

__all__ = ["Cut", "cut_of", "waited_for"]

_LOOKED_AT: Final = 100


class Cut(NamedTuple):
    """A link of a cycle.

    Attributes:
        work: Who waits.
        artifact: For what; None if it is not known.
        maker: Who makes that.
        because: Why it is this one.
    """

    work: Work
    artifact: Any
    maker: Work
    because: Literal["it is there", "of a folder", "of a lane", "of the order"]


def waited_for(core: Core, work: Work, following: Work) -> Any:
    """The artifact for which a work unit waits for another; None if it is not known."""
    hold = held_by(work)
    if hold is not None:
        return hold.artifact
    return next((one for one in work._awaited or () if core.dependencies.maker_of(one) is following), None)


def cut_of(core: Core, cycle: tuple[Work, ...]) -> Cut:
    """The link of a cycle that is to be cut first.

    Args:
        core: The state.
        cycle: Work units, each of which waits for the next, and the last for the first.
    """
    followers = (*cycle[1:], cycle[0])
    for work, maker in islice(zip(cycle, followers, strict=True), _LOOKED_AT):
        artifact = waited_for(core, work, maker)
        if artifact is not None and problem_now(artifact) is None:
            return Cut(work, artifact, maker, "it is there")
    for work, maker in zip(cycle, followers, strict=True):
        # Only who is held over something else than who makes the input has a `Hold` for certain.
        hold = None if work._declared is None or work._phase != HELD else work._declared.hold
        if type(hold) is Hold and hold.relation in (Relation.AROUND, Relation.INSIDE):
            return Cut(work, hold.artifact, maker, "of a folder")
        if type(hold) is Hold and hold.relation is Relation.LANE:
            return Cut(work, None, maker, "of a lane")
    index = cycle.index(min(cycle, key=attrgetter("_seq")))
    return Cut(
        cycle[index], waited_for(core, cycle[index], followers[index]), followers[index], "of the order"
    )
