"""Who makes what, and who looks at what: the two directions in which work units are tied together by artifacts.

Lives here: by the key of an artifact, the unsettled work that will make it, the last one that failed to, and the
pending work units that wait for it. An artifact has one producer at a time. Work units are found by key in one step,
so that what becomes of an artifact costs as much as there are work units that look at it, however many are pending.

A work unit that waits for several others looks at one of them only, and at the next when that has settled: nothing is
counted, so nothing can be miscounted when producers come, change or are cancelled.

Must not know: what an artifact is, time, event loops.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from typing import Any, Final

from runcue._model.phases import COMPLETED
from runcue._model.work import Declaration, Work

__all__ = ["NEWCOMERS", "Dependencies"]

NEWCOMERS: Final = 10_000


class Dependencies:
    """The index of one cue.

    Attributes:
        producer_of: The pending or running work unit that makes an artifact, by its key.
        keyed: The pending or running work unit that goes by a key of the user's, by that.
        failed: The last work unit that was to make an artifact and did not, as long as it is known.
        remade: Work units that have made artifacts anew that were there before, and that nobody has looked into yet.
        subscribers: Who waits for an artifact: a work unit, or several as the keys of a dict.
        subscribed: How many work units wait for artifacts that they were seen to read.
        subscriptions: How often a work unit has begun to wait for artifacts.
        newcomers: The last work units that have, until somebody looks into them.
    """

    __slots__ = (
        "failed",
        "keyed",
        "newcomers",
        "producer_of",
        "remade",
        "subscribed",
        "subscribers",
        "subscriptions",
    )

    def __init__(self) -> None:
        self.producer_of: dict[Hashable, Work] = {}
        self.keyed: dict[Hashable, Work] = {}
        self.failed: dict[Hashable, Work] = {}
        self.remade: deque[Work] = deque(maxlen=1000)
        self.subscribers: dict[Hashable, Work | dict[Work, None]] = {}
        self.subscribed = 0
        self.subscriptions = 0
        self.newcomers: deque[Work] = deque(maxlen=NEWCOMERS)

    def enter(self, work: Work, declared: Declaration) -> None:
        """A work unit that declares something was submitted, or took over from another."""
        producer_of = self.producer_of
        for artifact in declared.outputs:
            producer_of[artifact._key] = work
        if declared.key is not None:
            self.keyed[declared.key] = work

    def leave(self, work: Work, declared: Declaration, failed: bool) -> None:
        """A producer has settled.

        Args:
            work: It is not in `producer_of` any more.
            declared: What it declares.
            failed: It failed or was cancelled.
        """
        if declared.key is not None and self.keyed.get(declared.key) is work:
            del self.keyed[declared.key]
        if failed:
            for artifact in declared.outputs:
                self.failed[artifact._key] = work
        elif self.failed:
            for artifact in declared.outputs:
                self.failed.pop(artifact._key, None)
        if (
            work._outcome == COMPLETED
            and declared.stale is not None
            and declared.stale[0] not in ("missing", "not valid")
        ):
            self.remade.append(work)

    def forget(self, work: Work) -> None:
        """A work unit that failed is no longer known to its cue."""
        for artifact in work.outputs:
            if self.failed.get(artifact._key) is work:
                del self.failed[artifact._key]

    def subscribe(self, work: Work, artifacts: tuple[Any, ...]) -> None:
        """Let a work unit wait for artifacts."""
        work._awaited = artifacts
        self.subscriptions += 1
        self.newcomers.append(work)
        subscribers = self.subscribers
        for artifact in artifacts:
            key = artifact._key
            there = subscribers.get(key)
            if there is None:
                subscribers[key] = work
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
        subscribers = self.subscribers
        for artifact in artifacts:
            key = artifact._key
            there = subscribers.get(key)
            if there is work:
                del subscribers[key]
            elif type(there) is dict:
                there.pop(work, None)
                if not there:
                    del subscribers[key]

    def all_subscribers(self) -> list[Work | dict[Work, None]]:
        """Those of all artifacts, as they are at this moment."""
        return list(self.subscribers.values())
