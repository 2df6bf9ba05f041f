"""What a work unit declares of artifacts and of its lane, and what becomes of that on its way.

Lives here: `Declaration`; `InLane`, which all of a lane have; and `Followers`, those who want the same. Artifacts are
carried, not understood: here they are objects with a key.

Must not know: what an artifact or a work unit is, limits, order, time, event loops.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

__all__ = ["Declaration", "Followers", "InLane", "alone", "is_common"]


class Followers(OrderedDict[Any, None]):
    """Work units that settle with another one, their leader, in submission order, as the keys of a dict.

    There may be a great many of them, and each may be withdrawn, the leader as well. So all who have to know the leader
    know it by this object, which gets another one in one step; and it is a dict that loses its first key in one step,
    which a plain one does not.

    Attributes:
        leader: The one that runs, or will.
        run: The work unit for which the handler was started that runs for the leader, if that is another one.
        ahead: How many of them were submitted for an instant that has not come yet.
        own_key: By what the leader has its place in line without what they lend it; None as long as that is the same.
    """

    __slots__ = ("ahead", "leader", "own_key", "run")

    def __init__(self, leader: Any) -> None:
        super().__init__()
        self.leader = leader
        self.run: Any = None
        self.ahead = 0
        self.own_key: float | None = None


class Declaration:
    """What a work unit declares of artifacts, and who else wants the same.

    Attributes:
        inputs: Artifacts that must be valid before it runs.
        needs: All that it needs: its inputs and, of those that were seen to be links, what they lead to. The same tuple
            as `inputs` if there are none.
        outputs: Artifacts that prove it.
        makes: Its outputs and, of those that are links, what they lead to; the same tuple if none is one.
        fresh: The policy that says when outputs are out of date, None if only their validity counts.
        files: Whether there are files among the outputs.
        whole: Whether the policy wants all that the disk says of a file (`os.stat_result`) as its version.
        key: What it is known by to those that would do the same again; None for its outputs.
        forced: Run even if up to date.
        lane: The lane that it is in, as `_scheduling.lanes` has it; None: in none. Of one that has joined another one
            it is that one's, in which it has no place.
        ticket: Its place in that lane: the number of whoever was submitted for that; 0 for its own.
        fault: What a callable raised that was to say which artifacts they are.
        joined: Those whose leader this one has joined, itself among them; None if it runs itself.
        followers: Those that have joined this one; None if nobody ever has, or all have settled.
        left: Those that this one has led, and whose leader is another one since.
        before: The versions of the inputs as of the last asking, in their order.
        was: The versions of the outputs as of that asking; shorter where one was not valid.
        stale: What made it run, as (verdict, artifact, other artifact); None if that was not asked.
        evidence: More of what made it run, as the policy found it: the verdict, and what that rests on. Of one that was
            skipped downstream of a failure: who failed, and the input that was not made anew for that, itself or not.
        token: What the policy noted when the handler was about to start.
        provenance: What the outputs are made from, as of the same moment; None if their dates need not tell.
        published: The paths of what the transaction has put in place; when that is done, of what was not declared.
        input_changed: An input that changed while the handler ran, and whether it is a folder in which others make
            something, too; False if none did.
        comparison: What was read for the next asking, or is to be noted if it is skipped; None if nothing.
        committed: Whether what was written has been published, and the policy told.
        transaction, marks: What its handler has written and not published yet, and the marks of what it makes.
        seen: How much this process had made in folders when the handler was about to start.
        hold: Whom it waits for now: who makes the artifact that it awaits, with few inputs and nothing else to be said;
            else a `Hold`. None: nobody. See `_scheduling.holds.held_by`.
        place: Of one that was submitted for later and has taken the place of another one: where that stood in the order
            of submission. None: it stands where it was submitted.
        waits_for_folders: Whether it waits for the makers of what is in the folders that it reads.
        unreturned: Whether it has settled while its handler went on, and that has not returned yet.
        rehearsed: In a cue that is rehearsed, what was really declared of freshness.
    """

    # What many declarations have is in slots; the rest is rare, has its default in the class and costs nothing. One
    # slot more, and each takes a line of the processor's cache more: then the garbage collector takes 0.7 µs more for
    # a work unit, of the 14 of one that is up to date.
    __slots__ = (
        "__dict__",
        "before",
        "files",
        "fresh",
        "hold",
        "inputs",
        "outputs",
        "stale",
        "was",
    )

    forced = False
    whole = False
    committed = False
    key: Any = None
    lane: Any = None
    ticket = 0
    joined: Followers | None = None
    followers: Followers | None = None
    left: Followers | None = None
    evidence: Any = None
    token: Any = None
    provenance: Any = None
    published: tuple[str, ...] = ()
    input_changed: Any = False
    comparison: Any = None
    transaction: Any = None
    marks: Any = None
    rehearsed: Any = None
    seen = 0
    place: int | None = None
    waits_for_folders = True
    unreturned = False
    fault: BaseException | None = None
    # None where they are the inputs and outputs.
    _needs: tuple[Any, ...] | None = None
    _makes: tuple[Any, ...] | None = None

    def __init__(
        self, inputs: tuple[Any, ...] = (), outputs: tuple[Any, ...] = (), fresh: Any = None
    ) -> None:
        self.inputs = inputs
        self.outputs = outputs
        self.fresh = fresh
        self.files = False
        self.before: Sequence[Any] = ()
        self.was: Sequence[Any] = ()
        self.stale: tuple[str, Any, Any] | None = None
        self.hold: Any = None

    @property
    def leader(self) -> Any:
        """The work this one has joined, None if it runs itself."""
        return None if self.joined is None else self.joined.leader

    @property
    def successor(self) -> Any:
        """Who has taken this one's place, and with it the handler that may have run for it; None if nobody has."""
        return None if self.left is None else self.left.leader

    @property
    def needs(self) -> tuple[Any, ...]:
        return self.inputs if self._needs is None else self._needs

    @needs.setter
    def needs(self, artifacts: tuple[Any, ...]) -> None:
        self._needs = None if artifacts is self.inputs else artifacts

    @property
    def makes(self) -> tuple[Any, ...]:
        return self.outputs if self._makes is None else self._makes

    @makes.setter
    def makes(self, artifacts: tuple[Any, ...]) -> None:
        self._makes = None if artifacts is self.outputs else artifacts


class InLane(Declaration):
    """What a work unit declares that is in a lane, and has nothing to do with artifacts.

    All of one lane have the same object: of these work units there may be a great many, and each object more takes the
    garbage collector half a microsecond. So nothing may be noted in it of one of them: who has to gets it `alone`. Its
    `hold` is whom all wait for that are behind another one, and says nothing of the one that is not.

    Attributes:
        apart: Those of the lane, by work unit, that have one of their own by now, the last ones; None: this is one.
    """

    __slots__ = ("apart", "lane")

    inputs = ()
    outputs = ()
    fresh = None
    files = False
    before = ()
    was = ()
    stale = None

    def __init__(self, lane: Any) -> None:
        self.lane = lane
        self.hold = None
        self.apart: dict[Any, InLane] | None = {}


def is_common(declared: Declaration) -> bool:
    """Whether that is declared by all of a lane, so that nothing is noted in it of one of them."""
    return type(declared) is InLane and declared.apart is not None


def alone(work: Any) -> Declaration:
    """What a work unit declares, as an object in which something may be noted of it alone. In any thread.

    Args:
        work: It declares something.
    """
    declared: Declaration = work._declared
    if type(declared) is not InLane or (apart := declared.apart) is None:
        return declared
    for other in list(apart):
        if other is not work:
            apart.pop(other, None)  # one of a lane runs at a time: it has it by now
    own = InLane(declared.lane)
    own.hold, own.apart = declared.hold, None
    # In one step: a handler may write in its thread just when its work unit times out.
    work._declared = own = apart.setdefault(work, own)
    return own
