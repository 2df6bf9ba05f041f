"""Whom a work unit has to wait for, and over what: the one door to that question.

A work unit that waits for several others looks at one of them only, and at the next when that has settled: nothing is
counted, so nothing can be miscounted when producers come, change or are cancelled. It begins with its last input, whose
producer is mostly the last to settle, and goes round from where it was: each is looked at about once.

How folders are related to what is in them:

1. Who reads something in a folder waits for the maker of the folder.
2. Who reads a folder waits for the makers of what is in it. Those that depend on a reader of the folder, or are one,
   are bound to it, and hold up only those readers that come after them and make nothing in there.
3. Makers of which one makes what is in what the other makes do not run at once.

Declared inputs that need each other are a mistake, as without folders. What follows from 2 and 3 alone is no mistake of
anybody's: nobody is held up by a work unit that depends on the held one itself.

Lives here: `Hold`, `Relation`, `held_by`, and `Holds`, which finds the one and follows what depends on what.

Must not know: phases' indexes, who is woken when; what an artifact is, time, event loops.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from enum import Enum
from itertools import chain, islice
from math import inf
from typing import Any, Final

from runcue._model.declaration import Declaration
from runcue._model.phases import HELD, NOT_DUE, RUNNING, SETTLED
from runcue._model.work import Work
from runcue._scheduling.dependencies import Dependencies
from runcue._scheduling.folders import Folder, Folders, folders_above
from runcue._scheduling.producers import key_itself

__all__ = ["FEW", "LANE", "Hold", "Holds", "Relation", "held_by", "held_plainly_by"]

_EFFORT: Final = 500
"""So many work units are looked through for one that another depends on. What is missed is found when all stands still.
"""

FEW: Final = 4
"""Of so many inputs whichever is being made is waited for; of more the one that is likely to be made last."""

_TRIED: Final = 16
"""So many makers that are bound to a folder are tried for one that holds up a reader."""


class Relation(Enum):
    """Over what a work unit has to wait for another."""

    PRODUCER = "it makes the input"
    AROUND = "it makes a folder that the input is in"
    INSIDE = "it makes something in the folder that is the input"
    OVERLAP = "it runs and makes something in what is made here, or a folder around it"
    UNRETURNED = "it has settled, and its handler still makes what is made here"
    LANE = "it comes first in the lane of both"
    SAME = "it makes the very same, and was there when the instant of this one came"


# Nearly all holds are of this kind, and to look up a member of an enum takes 40 ns each time (Python 3.11).
PRODUCER: Final = Relation.PRODUCER
LANE: Final = Relation.LANE
_BY_RUNNING: Final = (Relation.OVERLAP, Relation.UNRETURNED)


class Hold:
    """Whom a work unit has to wait for.

    Of a lane there is one for all that wait in it: its maker is whoever comes first by now.

    Not a tuple: one is made for nearly each work unit with many inputs that waits, which takes half as long like this.

    Args:
        maker: That one, or one that was cancelled since and whose place another one has taken.
        artifact: The input or output of the work unit that waits; None if it is kept off by its key.
        made: What the holder makes, by key.
        relation: How these two are related.
        place: Which of what it needs that is; 0 for an output.
    """

    __slots__ = ("_key", "artifact", "maker", "place", "relation")

    def __init__(
        self, maker: Work, artifact: Any, made: Hashable, relation: Relation, place: int = 0
    ) -> None:
        self.maker = maker
        self.artifact = artifact
        # Whoever is held waits for this, as for an artifact.
        self._key = made
        self.relation = relation
        self.place = place

    @property
    def made(self) -> Hashable:
        """What the holder makes, by key."""
        return self._key

    @property
    def holder(self) -> Work:
        """Who that is by now."""
        declared = self.maker._declared
        if declared is None or declared.left is None:
            return self.maker
        successor: Work = declared.left.leader
        return successor

    @property
    def gives_way(self) -> bool:
        """Whether it ends when the holder turns out to depend on the held one."""
        if self.relation is PRODUCER:
            return False
        if self.relation is Relation.INSIDE:
            return True
        return self.relation in (Relation.AROUND, Relation.OVERLAP) and self.holder._phase == RUNNING


def held_by(work: Work) -> Hold | None:
    """Whom a work unit waits for now, and over what; None if it is not held."""
    hold = None if work._declared is None or work._phase != HELD else work._declared.hold
    if hold is None or type(hold) is Hold or work._awaited is None:
        return hold
    artifact = work._awaited[0]
    return Hold(hold, artifact, artifact._key, PRODUCER)


def held_plainly_by(work: Work) -> Work | None:
    """Who makes by now what a held work unit awaits, if that is all that is to be said of it."""
    maker: Any = None if work._declared is None or work._awaited is None else work._declared.hold
    if maker is None or type(maker) is Hold or maker._declared is None:
        return None
    holder: Work = maker if maker._declared.left is None else maker._declared.left.leader
    return holder


def _nobody(work: Work) -> Iterable[Work]:
    return ()


def _first_in_lane(work: Work) -> Iterable[Work]:
    """Who has the lane of a work unit, if that is another one. A stop need not spare that one for it."""
    lane = None if work._declared is None or work._phase >= RUNNING else work._declared.lane
    return () if lane is None or lane.head in (None, work) else (lane.head,)


class Holds:
    """The door, for one cue.

    Args:
        producers: Who makes what.

    Attributes:
        producers: The same.
        awaited_by: Gives the work units whose end the handler of a running one awaits.
    """

    __slots__ = ("_cleared", "_cleared_in", "_thorough_in", "awaited_by", "producers")

    def __init__(self, producers: Dependencies) -> None:
        self.awaited_by: Callable[[Work], Iterable[Work]] = _nobody
        self.producers = producers
        # Makers that depend on no reader of a folder, as of an epoch of the producers.
        self._cleared: set[tuple[Work, str]] = set()
        self._cleared_in = 0
        # The epoch in which no effort is spared.
        self._thorough_in = -1

    def be_thorough(self) -> None:
        """Nothing else can move, so there is time to find out who depends on whom; until the next producer comes."""
        self._thorough_in = self.producers.epoch
        self._cleared.clear()

    def hold_of(self, work: Work, declared: Declaration) -> Hold | None:
        """Whom a pending work unit has to wait for before it may be asked, None if for nobody."""
        lane = declared.lane
        if lane is not None and lane.head is not work:
            first: Hold = lane.common_hold()
            return first
        producers = self.producers
        inputs = declared.inputs if declared._needs is None else declared._needs
        last: Work | None = None
        over, at = None, -1
        before = declared.hold
        if before is not None:
            place = before.place if type(before) is Hold else 0
            if (hold := self._go_round(work, inputs, place)) is not None:
                return hold
        else:
            producer_of = producers.producer_of
            # The producer that was submitted last: once that is there, most of the others are, too. Whoever needs many
            # would otherwise be asked again after each, should they come in the reverse order.
            for place, artifact in enumerate(inputs):
                key = artifact._key
                if key in producer_of and (producer := producer_of[key]) is not work:
                    if last is None or producer._seq > last._seq:
                        last, over, at = producer, artifact, place
                elif artifact._place is not None:
                    if artifact._place not in producers.places:
                        producers.learn(artifact)
                    if key in producers.known_folders:
                        producers.begin_with_folders()
            if last is not None:
                return Hold(last, over, inputs[at]._key, PRODUCER, at)
        hold = None
        if producers.running or producers.folders is not None:
            hold = self._hold_beside(work, declared)
        return self._hold_by_appointment(work, declared) if hold is None and producers.later else hold

    def _hold_by_appointment(self, work: Work, declared: Declaration) -> Hold | None:
        """Whom a work unit has to wait for that makes nothing yet, or because it does not itself; None if for nobody.

        What is submitted for later holds up only those that come after it.
        """
        producers, appointed = self.producers, self.producers.appointed
        if work in producers.later and (ahead := producers.ahead_of(work, declared)) is not None:
            key, artifact, maker = ahead
            return Hold(maker, artifact, key, Relation.SAME)
        for index, artifact in enumerate(declared.needs):
            for made in (artifact._key, *appointed.above(artifact)):
                one = appointed.producer_of.get(made)
                if one is not None and self._is_before(one, work):
                    relation = PRODUCER if made == artifact._key else Relation.AROUND
                    return Hold(one, artifact, made, relation, index)
            for maker in self._appointed_in(artifact):
                if self._is_before(maker, work) and not self._leads(maker, to=work):
                    made = next(one._key for one in maker.outputs if artifact._key in appointed.above(one))
                    return Hold(maker, artifact, made, Relation.INSIDE, index)
        return None

    def _appointed_in(self, artifact: Any) -> Iterable[Work]:
        """Those who make something in a folder later."""
        appointed = self.producers.appointed
        if artifact._key not in appointed.known_folders:
            return ()
        appointed.begin_with_folders()
        assert appointed.folders is not None
        folder = appointed.folders.by_path.get(artifact._key)
        return () if folder is None else appointed.folders.makers(folder)

    def appointed_for(self, work: Work) -> Iterator[Work]:
        """Those whom a pending work unit waits for that make what it needs later."""
        appointed = self.producers.appointed
        for artifact in work._declared.needs if work._declared is not None and self.producers.later else ():
            around = (appointed.producer_of.get(made) for made in (artifact._key, *appointed.above(artifact)))
            for one in (*filter(None, around), *self._appointed_in(artifact)):
                if self._is_before(one, work):
                    yield one

    @staticmethod
    def _is_before(maker: Work, work: Work) -> bool:
        """Whether a maker that was submitted for later holds up a work unit: before its instant only those after it."""
        if maker is work or maker._phase != NOT_DUE:
            return maker is not work
        declared = maker._declared
        place = maker._seq if declared is None or declared.place is None else declared.place
        return bool(place < work._seq)

    def holder_for(self, work: Work) -> Work | None:
        """Who holds a held work unit by now; None if nobody does, which is not noted yet."""
        declared = work._declared
        hold = None if declared is None else declared.hold
        # Without another call: of these there may be thousands in a row.
        if type(hold) is Hold:
            if hold.relation is not PRODUCER:
                return self.holder_of(hold)
            key = hold._key
        elif hold is None or work._awaited is None:
            return None if hold is None else self.holder_of(hold)
        else:
            key = work._awaited[0]._key
        producers = self.producers
        maker = producers.producer_of.get(key)
        return producers.appointed.producer_of.get(key) if maker is None and producers.later else maker

    def holder_of(self, hold: Hold) -> Work | None:
        """Who holds by now: another one may have taken its place, or nobody, which is not noted yet."""
        producers = self.producers
        if hold.relation is not PRODUCER and hold.relation in _BY_RUNNING:
            return producers.running.get(hold.made)
        if hold.relation is LANE:
            return hold.maker
        if hold.relation is Relation.SAME:
            return None if hold.holder._phase == SETTLED else hold.holder
        maker = producers.producer_of.get(hold.made)
        return producers.appointed.producer_of.get(hold.made) if maker is None and producers.later else maker

    def _go_round(self, work: Work, inputs: tuple[Any, ...], index: int) -> Hold | None:
        """The producer of an input, sought from one of them on in falling order and all around."""
        producer_of = self.producers.producer_of
        for _ in inputs:
            artifact = inputs[index]
            producer = producer_of.get(artifact._key)
            if producer is not None and producer is not work:
                return Hold(producer, artifact, artifact._key, PRODUCER, index % len(inputs))
            index -= 1  # before the first comes the last
        return None

    def _hold_beside(self, work: Work, declared: Declaration) -> Hold | None:
        """The same where nobody makes the inputs themselves."""
        inputs, producers = declared.needs, self.producers
        index = declared.hold.place if type(declared.hold) is Hold else -1
        for _ in inputs if producers.folders is not None else ():
            artifact = inputs[index]
            for folder in producers.above(artifact):
                maker = producers.producer_of.get(folder)
                if maker is not None and maker is not work and self._keeps_off(maker, work):
                    return Hold(maker, artifact, folder, Relation.AROUND, index % len(inputs))
            index -= 1
        if producers.running and (hold := self._overlap(work, declared)) is not None:
            return hold
        if producers.folders is not None and declared.waits_for_folders:
            for index, artifact in enumerate(inputs):
                folder_read = producers.folders.by_path.get(artifact._key)
                if folder_read is not None:
                    found = self._maker_inside(work, declared, producers.folders, folder_read)
                    if found is not None:
                        return Hold(found[1], artifact, found[0], Relation.INSIDE, index)
        return None

    def _overlap(self, work: Work, declared: Declaration) -> Hold | None:
        """A handler that makes the very same although its work unit has settled, or what is in it or around it."""
        producers = self.producers
        running = producers.running
        for artifact in declared.makes:
            key = artifact._key
            one = running.get(key)
            if one is not None and one is not work:
                if one._phase == SETTLED:
                    return Hold(one, artifact, key, Relation.UNRETURNED)
                if self._keeps_off(one, work):
                    return Hold(one, artifact, key, Relation.OVERLAP)
            for folder in producers.above(artifact):
                one = running.get(folder)
                if one is not None and one is not work and self._keeps_off(one, work):
                    return Hold(one, artifact, folder, Relation.OVERLAP)
            if key in producers.running_in:
                for made, one in running.items():
                    inside = type(made) is str and key in folders_above(made)
                    if inside and one is not work and self._keeps_off(one, work):
                        return Hold(one, artifact, made, Relation.OVERLAP)
        if declared.key is not None:
            one = running.get(key := key_itself(declared.key))
            if one is not None and one is not work:
                return Hold(one, None, key, Relation.UNRETURNED)
        return None

    def _keeps_off(self, one: Work, work: Work) -> bool:
        """Whether a work unit keeps another one off a folder: not if its handler awaits what depends on that one."""
        return one._phase != RUNNING or not self._leads(one, to=work)

    def _maker_inside(
        self, work: Work, declared: Declaration, folders: Folders, folder: Folder
    ) -> tuple[str, Work] | None:
        """A maker of something in a folder that a reader of it has to wait for, and what it makes."""
        path = folder.path
        while (found := folders.last_free(folder)) is not None:
            way = self._way_to_reader(found[1], path)
            if not way:
                return found
            self._bind(way, folders, path)
        bound = folder.bound
        if not bound or next(iter(bound.values()))._seq > work._seq:
            return None
        if any(path in self.producers.above(made) for made in declared.makes):
            return None
        # The last one, which saves looking at the others, is found at once if the reader has come after all of them.
        last = next(reversed(bound.values()))
        for key, maker in islice(reversed(bound.items()) if last._seq < work._seq else bound.items(), _TRIED):
            if maker._seq < work._seq and not self._leads(maker, to=work):
                return key, maker
        return None

    def _bind(self, works: list[Work], folders: Folders, path: str) -> None:
        for work in works:
            for artifact in work._declared.makes if work._declared is not None else ():
                above = self.producers.above(artifact)
                if path in above and folders.maker_of(artifact._key, above) is work:
                    folders.bind(artifact._key, above, path)

    def _way_to_reader(self, maker: Work, path: str) -> list[Work]:
        """How a maker depends on a reader of a folder, or of one above it: those on the way; none if it does not."""
        if self._cleared_in != self.producers.epoch:
            self._cleared_in = self.producers.epoch
            self._cleared.clear()
        if maker._phase < RUNNING and (maker, path) in self._cleared:
            return []
        around = {path, *folders_above(path)}
        way = self._search(maker, lambda one: any(artifact._key in around for artifact in one.inputs))
        if not way:
            self._cleared.add((maker, path))
        return way

    def _leads(self, one: Work, *, to: Work) -> bool:
        """Whether a work unit depends on another, as far as that is found with some effort."""
        return bool(self._search(one, lambda other: other is to))

    def _search(self, start: Work, wanted: Callable[[Work], bool]) -> list[Work]:
        """The way from a work unit to one that it depends on, none if there is none within reach."""
        before: dict[Work, Work | None] = {start: None}
        expanded: set[Hashable] = set()
        line = deque([start])
        effort = inf if self._thorough_in == self.producers.epoch else _EFFORT
        while line and len(before) < effort:
            one = line.popleft()
            for other in chain(_first_in_lane(one), self.needed_by(one, expanded)):
                if other in before:
                    continue
                before[other] = one
                if wanted(other):
                    way = [other]
                    while (back := before[way[-1]]) is not None:
                        way.append(back)
                    return way
                if len(before) >= effort:
                    break
                line.append(other)
        return []

    def needed_by(self, work: Work, expanded: set[Hashable]) -> Iterator[Work]:
        """The work units that one depends on by itself.

        Args:
            work: That one.
            expanded: Folders of which the makers were given before, and are not given again.
        """
        if work._phase >= RUNNING:
            yield from self.awaited_by(work)
            return
        declared = work._declared
        if declared is None:
            return
        if declared.leader is not None:
            yield declared.leader
            return
        producers = self.producers
        for artifact in declared.needs:
            key = artifact._key
            for made in (key, *producers.above(artifact)):
                producer = producers.producer_of.get(made)
                if producer is not None and producer is not work:
                    yield producer
            if producers.folders is not None and key in producers.folders.by_path and key not in expanded:
                expanded.add(key)
                yield from producers.folders.makers(producers.folders.by_path[key])
