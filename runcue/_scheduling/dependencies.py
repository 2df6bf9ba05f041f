"""Who makes what, and who looks at what: the two directions in which work units are tied together by artifacts.

Lives here: beside the producers, the last work unit that failed to make an artifact and the pending work units that
wait for it, by its key. So what becomes of an artifact costs as much as there are work units that look at it, however
many are pending.

Must not know: what an artifact is, time, event loops.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Hashable, Iterator
from typing import Any, Final

from runcue._model.declaration import Declaration
from runcue._model.phases import COMPLETED, RUNNING, SETTLED, SKIPPED
from runcue._model.work import Work
from runcue._scheduling.folders import Folders, folders_above
from runcue._scheduling.producers import Producers, key_itself

__all__ = ["NEWCOMERS", "Dependencies"]

NEWCOMERS: Final = 10_000

_OUTDATED: Final = 10_000
"""So many artifacts are known at most to be out of date because of a failure."""

_NAMED: Final = 6
"""So many of those that failed are known by name; whoever tells of them names fewer."""


class Dependencies(Producers):
    """The index of one cue.

    Attributes:
        failed: The last work unit that was to make an artifact and did not, as long as it is known.
        remade: Work units that have made artifacts anew that were there before, and that nobody has looked into yet.
        outdated: What was left as it is although an artifact that it is made from was to be made anew, and was not: by
            its key, the work unit that did not make that one.
        passed_over: How many work units were skipped so since the start.
        passed_over_for: The first of those that did not make it, as the keys of a dict.
        subscribers: Who waits for an artifact: a work unit, or several as the keys of a dict.
        awaited: These artifacts by the folders that they are in, in the way of their makers; None as long as no folder
            is an input or output.
        subscribed: How many work units wait for artifacts that they were seen to read.
        subscriptions: How often a work unit has begun to wait for artifacts.
        newcomers: The last work units that have, until somebody looks into them.
        giving_way: Those that are held by what gives way to who depends on them, as the keys of a dict.
        later: Those that were submitted for later and make nothing yet, as the keys of a dict: until their instant has
            come, and until whoever else makes the very same has settled.
        appointed: The same index of them.
        behind: Those of them whose instant has come, by what they wait for, as the keys of a dict.
    """

    __slots__ = (
        "appointed",
        "awaited",
        "behind",
        "failed",
        "giving_way",
        "later",
        "newcomers",
        "outdated",
        "passed_over",
        "passed_over_for",
        "remade",
        "subscribed",
        "subscribers",
        "subscriptions",
    )

    def __init__(self) -> None:
        super().__init__()
        self.failed: dict[Hashable, Work] = {}
        self.remade: deque[Work] = deque(maxlen=1000)
        self.outdated: dict[Hashable, Work] = {}
        self.passed_over = 0
        self.passed_over_for: dict[Work, None] = {}
        self.subscribers: dict[Hashable, Work | dict[Work, None]] = {}
        self.awaited: Folders | None = None
        self.subscribed = 0
        self.subscriptions = 0
        self.newcomers: deque[Work] = deque(maxlen=NEWCOMERS)
        self.giving_way: dict[Work, None] = {}
        self.later: dict[Work, None] = {}
        self.appointed = Producers()
        self.behind: dict[Hashable, dict[Work, None]] = {}

    def appoint(self, work: Work, declared: Declaration) -> None:
        """A work unit that declares something makes nothing before its instant."""
        if declared.makes or declared.key is not None:
            self.later[work] = None
            self.appointed.enter(work, declared)

    def come(self, work: Work, declared: Declaration) -> None:
        """The instant of one that is appointed has come: it is a producer like others once it has its turn."""
        if work not in self.later:
            return
        ahead = self.ahead_of(work, declared)
        if ahead is None:
            del self.later[work]
            self.appointed.leave(work, declared)
            self.enter(work, declared)
        else:
            self.behind.setdefault(ahead[0], {})[work] = None

    def among(self, work: Work) -> Producers:
        """The producers that a work unit is one of."""
        return self.appointed if work in self.later else self

    def replace(self, leader: Work, successor: Work) -> None:
        """One that others have joined is about to be withdrawn, and another one has taken its place among producers."""
        if leader not in self.later:
            return
        del self.later[leader]
        self.later[successor] = None
        for those in self.behind.values():
            if leader in those:
                del those[leader]
                those[successor] = None

    def ahead_of(self, work: Work, declared: Declaration) -> tuple[Hashable, Any, Work] | None:
        """Whom one that is appointed has to let go first: by which key, over which output, and who that is.

        That is whoever makes the very same. One that makes but a link to it, or what it leads to, is not.
        """
        if declared.key is not None and (other := self.keyed.get(declared.key)) is not None:
            return key_itself(declared.key), None, other
        for artifact in declared.outputs:
            other = self.producer_of.get(artifact._key)
            if other is not None and any(one._key == artifact._key for one in other.outputs):
                return artifact._key, artifact, other
        return None

    def leave(self, work: Work, declared: Declaration) -> None:
        """See `Producers`; those who were behind it have their turn."""
        if work in self.later:
            del self.later[work]
            self.appointed.leave(work, declared)
            return
        super().leave(work, declared)
        if self.behind:
            keys = [artifact._key for artifact in declared.makes]
            for key in keys if declared.key is None else [*keys, key_itself(declared.key)]:
                for one in self.behind.pop(key, ()):
                    if one._declared is not None:
                        self.come(one, one._declared)

    def made_by(self, key: Hashable, *, later: bool) -> Work | None:
        """Who makes an artifact, or is going to later.

        Args:
            key: Its key.
            later: Leave out who runs.
        """
        return self._first(self.producer_of.get(key), self.appointed.producer_of.get(key), later=later)

    def keyed_by(self, key: Hashable, *, later: bool) -> Work | None:
        """The same for who goes by a key of the user's."""
        return self._first(self.keyed.get(key), self.appointed.keyed.get(key), later=later)

    @staticmethod
    def _first(maker: Work | None, appointed: Work | None, *, later: bool) -> Work | None:
        return appointed if maker is None or maker._phase >= (RUNNING if later else SETTLED) else maker

    def maker_of(self, artifact: Any) -> Work | None:
        """See `Producers`; if nobody makes it now, who is going to later."""
        maker = super().maker_of(artifact)
        if maker is None and self.later:
            return self.appointed.maker_of(artifact)
        return maker

    def note_outcome(self, work: Work, declared: Declaration, failed: bool) -> None:
        """A producer has settled: note how."""
        if failed:
            for artifact in declared.outputs:
                self.failed[artifact._key] = work
        elif self.failed or self.outdated:
            for artifact in declared.outputs:
                self.failed.pop(artifact._key, None)
                self.outdated.pop(artifact._key, None)
        if work._outcome == SKIPPED:
            self._note_skip(declared)
        elif (
            work._outcome == COMPLETED
            and declared.stale is not None
            and declared.stale[0] not in ("missing", "not valid")
        ):
            self.remade.append(work)

    def _note_skip(self, declared: Declaration) -> None:
        """A work unit was skipped while it is known of some artifacts that they were not made anew."""
        for artifact in declared.inputs:
            failed = maker = self.failure_of(artifact)
            if failed is None:
                failed = self.outdated.get(artifact._key)
            if failed is not None:
                break
        else:
            return
        declared.evidence = "left as it was", (failed, artifact, maker is not None)
        # Those that have joined it are skipped with it.
        self.passed_over += 1 + len(declared.followers or ())
        if len(self.passed_over_for) < _NAMED:
            self.passed_over_for[failed] = None
        if len(self.outdated) < _OUTDATED:
            self.outdated |= dict.fromkeys((artifact._key for artifact in declared.outputs), failed)

    def begin(self) -> None:
        """The cue was started: what was skipped is counted anew."""
        self.passed_over = 0
        self.passed_over_for = {}

    def failure_of(self, artifact: Any) -> Work | None:
        """The last work unit that was to make an artifact, a folder around it or something in it, and did not."""
        if not self.failed:
            return None
        for key in (artifact._key, *self.above(artifact)):
            if key in self.failed:
                return self.failed[key]
        if artifact._key in self.known_folders:
            for key, work in self.failed.items():
                if type(key) is str and artifact._key in folders_above(key):
                    return work
        return None

    def forget(self, work: Work) -> None:
        """A work unit that failed is no longer known to its cue."""
        for artifact in work.outputs:
            if self.failed.get(artifact._key) is work:
                del self.failed[artifact._key]

    def awaited_of(self, declared: Declaration) -> list[Hashable]:
        """Of the keys that an end of a producer is of interest to, those that somebody waits for."""
        subscribers = self.subscribers
        keys = [artifact._key for artifact in declared.makes if artifact._key in subscribers]
        if declared.key is not None and (key := key_itself(declared.key)) in subscribers:
            keys.append(key)
        return [*keys, *self._awaited_beside(declared)] if self.folders is not None and subscribers else keys

    def concerns(self, declared: Declaration, keys: Collection[Hashable]) -> bool:
        """Whether an end of a producer is of interest to who has looked at the artifacts with these keys."""
        if any(artifact._key in keys for artifact in declared.makes) or (
            declared.key is not None and key_itself(declared.key) in keys
        ):
            return True
        if self.folders is None:
            return False
        made = {artifact._key for artifact in declared.makes}
        return any(folder in keys for artifact in declared.makes for folder in self.above(artifact)) or any(
            type(key) is str and not made.isdisjoint(folders_above(key)) for key in keys
        )

    def _awaited_beside(self, declared: Declaration) -> Iterator[Hashable]:
        """Folders around what was made, and what lies in folders that were made."""
        around = {folder for artifact in declared.makes for folder in self.above(artifact)}
        yield from around.intersection(self.subscribers)
        assert self.awaited is not None
        for artifact in declared.makes:
            folder = self.awaited.by_path.get(artifact._key)
            if folder is not None:
                yield from self.awaited.keys(folder)

    def begin_with_folders(self) -> None:
        """See `Producers`."""
        super().begin_with_folders()
        if self.awaited is None:
            self.awaited = Folders()
            for key, there in self.subscribers.items():
                self._await(key, next(iter(there)) if isinstance(there, dict) else there)

    def _await(self, key: Hashable, work: Work) -> None:
        if self.awaited is not None and type(key) is str:
            self.awaited.add(key, work, folders_above(key), ())

    def _await_no_longer(self, key: Hashable) -> None:
        del self.subscribers[key]
        if self.awaited is not None and type(key) is str:
            self.awaited.remove(key, folders_above(key))

    def subscribe(self, work: Work, artifacts: tuple[Any, ...]) -> None:
        """Let a work unit wait for artifacts, or for the one that it is held over."""
        work._awaited = artifacts
        self.subscriptions += 1
        self.newcomers.append(work)
        subscribers = self.subscribers
        for artifact in artifacts:
            key = artifact._key
            there = subscribers.get(key)
            if there is None:
                subscribers[key] = work
                if self.awaited is not None:
                    self._await(key, work)
            elif type(there) is dict:
                there[work] = None
            elif there is not work:
                subscribers[key] = {there: None, work: None}  # type: ignore[dict-item]

    def unsubscribe(self, work: Work) -> None:
        """Let it no longer wait for those it waited for."""
        artifacts = work._awaited
        if artifacts is None:
            return
        work._awaited = None
        if self.giving_way:
            self.giving_way.pop(work, None)
        subscribers = self.subscribers
        for artifact in artifacts:
            key = artifact._key
            there = subscribers.get(key)
            if there is work:
                self._await_no_longer(key)
            elif type(there) is dict:
                there.pop(work, None)
                if not there:
                    self._await_no_longer(key)

    def all_subscribers(self) -> list[Work | dict[Work, None]]:
        """Those of all artifacts, as they are at this moment."""
        return list(self.subscribers.values())
