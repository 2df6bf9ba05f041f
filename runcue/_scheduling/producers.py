"""Who makes what: by key, by the folder that it lies in, and who is in the middle of it.

Lives here: `Producers`. An artifact has one producer at a time, found by key in one step. What lies in which folder is
of interest only where somebody reads or makes a folder. So at first it is merely noted which folders anything lies in;
the tree of makers (`folders`) is grown when one of these is first seen to be an input or output.

A handler that has not returned when its work unit settles goes on making what it makes: it stays a producer until then.

Must not know: who waits for whom; what an artifact is, time, event loops.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Final

from runcue._model.declaration import Declaration, alone
from runcue._model.phases import RUNNING, SETTLED
from runcue._model.work import Work
from runcue._scheduling.folders import Folders, folders_above

__all__ = ["Producers", "key_itself"]

_MOST_PLACES: Final = 10_000
"""What lies in which folder is noted for so many folders before it is noted anew."""


def key_itself(key: Hashable) -> Hashable:
    """What stands for a key of the user's where it is among those of artifacts."""
    return "key", key


class Producers:
    """The producers of one cue.

    Attributes:
        producer_of: The work unit that makes an artifact, by its key: pending or running, or settled while its handler
            has not returned.
        displaced: Those that had it before that one and may make it still, by key: what was making it when its work
            unit settled, or what makes a link that leads to it.
        keyed: The pending or running work unit that goes by a key of the user's, by that.
        running: Whose handler makes an artifact, by its key. Before there are folders only those that have settled.
        running_in: How many artifacts in a folder, at any depth, these are.
        folders: The makers by folder; None as long as no folder is an input or output.
        places: By the place of an artifact, the folders that it lies in; what is no file lies in none.
        known_folders: Folders, and those above them, that something lies in which was asked about or is made.
        epoch: How often a producer has come.
    """

    __slots__ = (
        "displaced",
        "epoch",
        "folders",
        "keyed",
        "known_folders",
        "places",
        "producer_of",
        "running",
        "running_in",
    )

    def __init__(self) -> None:
        self.producer_of: dict[Hashable, Work] = {}
        self.displaced: dict[Hashable, list[Work]] = {}
        self.keyed: dict[Hashable, Work] = {}
        self.running: dict[Hashable, Work] = {}
        self.running_in: dict[str, int] = {}
        self.folders: Folders | None = None
        self.known_folders: set[Hashable] = set()
        self.epoch = 0
        self.places: dict[Any, tuple[str, ...]] = {None: ()}

    def enter(self, work: Work, declared: Declaration) -> None:
        """A work unit that declares something was submitted, or took over from another."""
        makes = declared.outputs if declared._makes is None else declared._makes
        producer_of, places = self.producer_of, self.places
        for artifact in makes:
            key = artifact._key
            other = producer_of.setdefault(key, work)
            if other is not work:
                self.begin_with_folders()
                # Who makes it by its own name comes first: who makes a link to it may need it.
                by_link = all(one is not artifact for one in declared.outputs)
                self.displaced.setdefault(key, []).append(work if by_link else other)
                if by_link:
                    continue
                producer_of[key] = work
            # Nothing lies in what lies nowhere.
            if artifact._place is not None:
                if artifact._place not in places:
                    self.learn(artifact)
                if self.folders is not None:
                    self._enter_folders(artifact, work, declared)
                elif key in self.known_folders:
                    self.begin_with_folders()
        if makes:
            self.epoch += 1
        if declared.key is not None:
            self.keyed[declared.key] = work

    def _enter_folders(self, artifact: Any, work: Work, declared: Declaration) -> None:
        assert self.folders is not None
        above = self.above(artifact)
        if above:
            reads = {one._key for one in declared.inputs}
            self.folders.add(artifact._key, work, above, reads)

    def maker_of(self, artifact: Any) -> Work | None:
        """Who makes an artifact, or the nearest folder around it that is being made; None if nobody does."""
        for key in (artifact._key, *self.above(artifact)):
            maker = self.producer_of.get(key)
            if maker is not None:
                return maker
        return None

    def above(self, artifact: Any) -> tuple[str, ...]:
        """All folders that an artifact lies in, the nearest first."""
        if type(artifact._key) is not str:
            return ()
        above = self.places.get(artifact._place)
        return self.learn(artifact) if above is None else above

    def learn(self, artifact: Any) -> tuple[str, ...]:
        """Note of a folder that an artifact lies in it, if that is not known. Returns all that it lies in."""
        if artifact._place in self.places:
            return self.places[artifact._place]
        if len(self.places) > _MOST_PLACES:
            self.begin_with_folders()  # it knows of all that is being made, however much is forgotten here
            self.places.clear()
            self.places[None] = ()
            self.known_folders.clear()
        above = self.places[artifact._place] = folders_above(artifact._key) or (artifact._key,)
        for folder in above:
            if folder in self.known_folders:
                break  # and so are those above
            self.known_folders.add(folder)
            if folder in self.producer_of:
                self.begin_with_folders()
        return above

    def begin_with_folders(self) -> None:
        """A folder is an input or output: from now on makers are known by folder, and who is running."""
        if self.folders is not None:
            return
        self.folders = Folders()
        for work in dict.fromkeys((*self.producer_of.values(), *self.running.values())):
            declared = work._declared
            assert declared is not None
            for artifact in declared.makes:
                if self.producer_of.get(artifact._key) is work:
                    self._enter_folders(artifact, work, declared)
            if work._phase == RUNNING or declared.unreturned:
                self.note_start(work, declared)

    def note_start(self, work: Work, declared: Declaration) -> None:
        """The handler of a work unit is about to be entered."""
        if self.folders is not None:
            for artifact in declared.makes:
                self.running[artifact._key] = work
            self._count_running(declared, 1)

    def note_stop(self, work: Work, declared: Declaration) -> None:
        """The handler that was entered for a work unit has returned; or it runs for another one now."""
        running = self.running
        stopped = False
        for artifact in declared.makes:
            if running.get(artifact._key) is work:
                del running[artifact._key]
                stopped = True
        if stopped and self.folders is not None:
            self._count_running(declared, -1)
        if declared.key is not None and running.get(key := key_itself(declared.key)) is work:
            del running[key]

    def _count_running(self, declared: Declaration, change: int) -> None:
        counts = self.running_in
        for artifact in declared.makes:
            for folder in self.above(artifact):
                counts[folder] = count = counts.get(folder, 0) + change
                if not count:
                    del counts[folder]

    def outlive(self, work: Work) -> None:
        """A running work unit is about to settle and its handler goes on, and with it the making of what it makes."""
        declared = work._declared
        if declared is None or declared.fault is not None:
            return
        declared = alone(work)
        declared.unreturned = True
        for artifact in declared.makes:
            self.running[artifact._key] = work
        if declared.key is not None:
            self.running[key_itself(declared.key)] = work
            self.leave_key(work, declared)  # nobody can join it any more

    def leave(self, work: Work, declared: Declaration) -> None:
        """A producer has settled, and its handler has returned."""
        if self.running:
            self.note_stop(work, declared)
        producer_of = self.producer_of
        for artifact in declared.makes:
            key = artifact._key
            if producer_of.get(key) is work:
                del producer_of[key]
                if self.folders is not None and (above := self.above(artifact)):
                    self.folders.remove(key, above)
                if key in self.displaced:
                    self._restore(artifact)
        self.leave_key(work, declared)

    def _restore(self, artifact: Any) -> None:
        """Make the one before the producer of an artifact again, if it still is going to make it."""
        key = artifact._key
        for work in reversed(self.displaced.pop(key)):
            declared = work._declared
            if declared is not None and (work._phase < SETTLED or declared.unreturned):
                if declared.joined is None and declared.left is None and key not in self.producer_of:
                    self.producer_of[key] = work
                    self._enter_folders(artifact, work, declared)
                else:
                    self.displaced.setdefault(key, []).insert(0, work)

    def leave_key(self, work: Work, declared: Declaration) -> None:
        """A work unit that goes by a key of the user's has settled."""
        if declared.key is not None and self.keyed.get(declared.key) is work:
            del self.keyed[declared.key]
