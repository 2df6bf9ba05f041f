"""Who makes what, and who looks at what: the two directions in which works are tied together by artifacts.

Lives here: by the key of an artifact, the unsettled work that will make it, the last one that did, and the pending works
that wait for it. An artifact has one maker at a time. Works are found by key in one step, so that what becomes of an
artifact costs as much as there are works that look at it, however many are pending.

A work that waits for several others looks at one of them only, and at the next when that has settled: nothing is counted,
so nothing can be miscounted when makers come, change or are cancelled.

Must not know: what an artifact is, time, event loops.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable

from runcue._work import Work

__all__ = ["Makers"]


class Makers:
    """The index of one cue.

    Attributes:
        of: The pending or running work that makes an artifact, by its key.
        keyed: The pending or running work that goes by a key of the user's, by that.
        last: The work that made an artifact (or failed to) last, as long as it is known.
        users: The settled work that used an artifact last, as long as it is known.
        lookers: Who waits for an artifact: a work, or several as the keys of a dict.
        looking: How many works wait for artifacts that they were seen to read.
    """

    __slots__ = ("keyed", "last", "lookers", "looking", "of", "users")

    def __init__(self) -> None:
        self.of: dict[Hashable, Work] = {}
        self.keyed: dict[Hashable, Work] = {}
        self.last: dict[Hashable, Work] = {}
        self.users: dict[Hashable, Work] = {}
        self.lookers: dict[Hashable, Work | dict[Work, None]] = {}
        self.looking = 0

    # --- Makers -------------------------------------------------------------------------------------------------

    def enter(self, work: Work) -> None:
        """A work that declares something was submitted, or took over from another."""
        declared = work._declared
        if declared is None:
            return
        for artifact in declared.outputs:
            self.of[artifact._key] = work
        if declared.key is not None:
            self.keyed[declared.key] = work

    def leave(self, work: Work) -> None:
        """A maker has settled."""
        declared = work._declared
        if declared is None or declared.leader is not None:
            return
        of = self.of
        for artifact in declared.outputs:
            key = artifact._key
            if of.get(key) is work:
                del of[key]
                self.last[key] = work
        for artifact in declared.inputs:
            self.users[artifact._key] = work
        if declared.key is not None and self.keyed.get(declared.key) is work:
            del self.keyed[declared.key]

    def forget(self, work: Work) -> None:
        """A settled work is no longer known to its cue."""
        declared = work._declared
        if declared is None:
            return
        for artifact in declared.outputs:
            if self.last.get(artifact._key) is work:
                del self.last[artifact._key]
        for artifact in declared.inputs:
            if self.users.get(artifact._key) is work:
                del self.users[artifact._key]

    # --- Lookers ------------------------------------------------------------------------------------------------

    def look(self, work: Work, keys: tuple[Hashable, ...]) -> None:
        """Let a work wait for artifacts."""
        work._looking = keys
        lookers = self.lookers
        for key in keys:
            there = lookers.get(key)
            if there is None:
                lookers[key] = work
            elif type(there) is dict:
                there[work] = None
            elif there is not work:
                lookers[key] = {there: None, work: None}  # type: ignore[dict-item]

    def unlook(self, work: Work) -> None:
        """Let it no longer wait for those it waited for."""
        keys = work._looking
        if keys is None:
            return
        work._looking = None
        lookers = self.lookers
        for key in keys:
            there = lookers.get(key)
            if there is work:
                del lookers[key]
            elif type(there) is dict:
                there.pop(work, None)
                if not there:
                    del lookers[key]

    def who_looks(self, key: Hashable) -> Iterable[Work]:
        """The works that wait for an artifact."""
        there = self.lookers.get(key)
        if there is None:
            return ()
        return tuple(there) if isinstance(there, dict) else (there,)

    def all_lookers(self) -> list[Work | dict[Work, None]]:
        """Those of all artifacts, as they are at this moment."""
        return list(self.lookers.values())
