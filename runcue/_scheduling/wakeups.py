"""Which waiting work units are to be asked soon, because something happened that may change the answer.

Lives here: the queue of those that wait for an artifact which has changed, and what was learned of the others: after
whose settlements the waiting work units of a task became ready.

Must not know: when there is time to ask (that is `rechecking`), what the answer is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable
from operator import attrgetter
from typing import Any, Final

from runcue._model.declaration import Declaration
from runcue._model.phases import FAILED, HELD, NOT_READY, RUNNING, SKIPPED
from runcue._model.task import Task
from runcue._model.work import Work
from runcue._scheduling.dependencies import Dependencies
from runcue._scheduling.lanes import Lanes

__all__ = ["Reading", "Wakeups"]

_FORGET_AFTER: Final = 256
"""A learned wake-up that was fruitless this often in a row is forgotten; it will be learned again if it is true."""

_NUMBER: Final = attrgetter("_seq")


class Reading:
    """A gate that is being awaited, which may look at artifacts meanwhile.

    Attributes:
        reads: What it has looked at, by key.
        touched: Whether something has happened to one of these since.
    """

    __slots__ = ("reads", "touched")

    def __init__(self, reads: dict[Hashable, Any]) -> None:
        self.reads = reads
        self.touched = False


class Wakeups:
    """The causes to ask again of one cue.

    Args:
        dependencies: Who waits for which artifact.
        lanes: Who comes after whom.
    """

    def __init__(self, dependencies: Dependencies, lanes: Lanes) -> None:
        self._dependencies = dependencies
        self._lanes = lanes
        # Work units to be asked soon, because something happened to an artifact they wait for.
        self.queue: deque[Work] = deque()
        # Gates that are being awaited: their work units are in no line, so that nobody else could wake them.
        self.readings: set[Reading] = set()
        # Tasks with a settlement that others, by experience, are waiting for; once per settlement.
        self.settled_causes: deque[Task] = deque()
        # The task that settled last: what becomes ready now is put down to it.
        self.last_settled: Task | None = None
        # The task of which a waiting work unit was last found ready: where one is, there are more.
        self.last_hit: Task | None = None

    def touch(self, key: Hashable, *, settled: bool = False) -> bool:
        """Something happened to an artifact: those that wait for it are to be asked.

        Args:
            key: Its key.
            settled: Its producer has settled; before that, those that are held for it are not asked.

        Returns:
            Whether there are any.
        """
        dependencies = self._dependencies
        if not settled and not dependencies.subscribed:
            return False  # all who wait are held
        there = dependencies.subscribers.get(key)
        if there is None:
            return False
        if not isinstance(there, dict):
            phase = there._phase
            if phase == NOT_READY or (settled and phase == HELD):
                self.add(there)
                return True
            return False
        found = False
        # In the order of submission, which is not the one in which they have come to wait: where a turn ends before all
        # of them are asked, those that are may start.
        for work in sorted(there, key=_NUMBER):
            phase = work._phase
            if phase == NOT_READY or (settled and phase == HELD):
                found = True
                self.add(work)
        return found

    def settled(self, work: Work, declared: Declaration, outcome: int) -> None:
        """A work unit that declares something has settled."""
        if declared.joined is not None or declared.left is not None:
            return  # another one makes it, now or in a while
        if declared.lane is not None and not declared.unreturned:
            self.free_lane(work, declared)
        dependencies = self._dependencies
        # What was made for the first time needs no note, if nothing is known that it would put right.
        first = declared.stale is None or declared.stale[0] == "missing"
        if (
            outcome >= FAILED
            or dependencies.failed
            or dependencies.outdated
            or not (outcome == SKIPPED or first)
        ):
            dependencies.note_outcome(work, declared, outcome >= FAILED)
        if (
            dependencies.folders is None
            and not dependencies.running
            and not dependencies.later
            and not self.readings
        ):
            # As `end` does, for what nearly all there are have: no folders, no late handlers, no async gates.
            producer_of, subscribers = dependencies.producer_of, dependencies.subscribers
            for artifact in declared.outputs if declared._makes is None else declared._makes:
                artifact_key = artifact._key
                if producer_of.get(artifact_key) is work:
                    del producer_of[artifact_key]
                if artifact_key in subscribers:
                    self.touch(artifact_key, settled=True)
            if declared.key is not None:
                dependencies.leave_key(work, declared)
        elif not declared.unreturned:
            self.end(work, declared)

    def end(self, work: Work, declared: Declaration) -> None:
        """A producer makes nothing any more: who waits for what it makes is to be asked."""
        dependencies = self._dependencies
        awaited = dependencies.awaited_of(declared) if dependencies.subscribers else ()
        dependencies.leave(work, declared)
        for key in awaited:
            self.touch(key, settled=True)
        for reading in self.readings:
            reading.touched = reading.touched or dependencies.concerns(declared, reading.reads)

    def touch_readings(self, keys: Iterable[Hashable]) -> None:
        """Something happened to artifacts that gates may have looked at which are being awaited."""
        for reading in self.readings:
            if not reading.reads.keys().isdisjoint(keys):
                reading.touched = True

    def pause(self, work: Work, declared: Declaration) -> None:
        """A producer makes nothing until its next attempt: meanwhile others may that cannot do so at once with it."""
        dependencies = self._dependencies
        if dependencies.running:
            dependencies.note_stop(work, declared)
            for key in dependencies.awaited_of(declared):
                self.touch(key, settled=True)

    def returned(self, work: Work) -> None:
        """A handler has returned, or is waited for no longer, that had outlived this work unit."""
        declared = work._declared
        if declared is not None and declared.unreturned:
            declared.unreturned = False
            if declared.lane is not None:
                self.free_lane(work, declared)
            self.end(work, declared)

    def free_lane(self, work: Work, declared: Declaration) -> None:
        """A work unit leaves its lane: the next one, and it alone, is to be asked."""
        head = self._lanes.leave(work, declared)
        if head is not None and not head._wakeup_queued:
            head._wakeup_queued = True
            self.queue.append(head)

    def reconsider(self, *, held_by_running: bool) -> None:
        """Something may depend by now on work units that are held by it, and have to be held no longer.

        Args:
            held_by_running: A handler begins to wait for a work unit. Otherwise all may be concerned.
        """
        for work in self._dependencies.giving_way:
            declared = work._declared
            assert declared is not None
            if not held_by_running or declared.hold.holder._phase == RUNNING:
                self.add(work)

    def let_go(self) -> bool:
        """Nothing else can move: let readers of folders no longer wait for the makers of what is in there.

        Returns:
            Whether there are any.
        """
        for work in self._dependencies.giving_way:
            assert work._declared is not None
            work._declared.waits_for_folders = False
            self.add(work)
        return bool(self._dependencies.giving_way)

    def add(self, work: Work) -> None:
        """Have a work unit that waits asked soon."""
        if not work._wakeup_queued:
            work._wakeup_queued = True
            self.queue.append(work)

    @staticmethod
    def keep(work: Work) -> None:
        """Somebody keeps a work unit that was taken out, and will ask it: meanwhile it need not be added again."""
        work._wakeup_queued = True

    def next(self) -> Work | None:
        """Take out the next work unit that is to be asked."""
        queue = self.queue
        while queue:
            work = queue.popleft()
            work._wakeup_queued = False
            if work._awaited is not None:  # else it waits no longer, or for nothing in particular by now
                return work
        return None

    def learn(self, task: Task) -> None:
        """A waiting work unit of this task became ready: remember after whose settlement."""
        self.last_hit = task
        if self.last_settled is not None:
            self.last_settled.learned_dependents[task] = 0

    def missed(self, cause: Task, task: Task) -> None:
        """A recheck of the waiting work units of a task, because another one's work settled, found nothing."""
        fruitless = cause.learned_dependents.get(task, 0) + 1
        if fruitless > _FORGET_AFTER:
            cause.learned_dependents.pop(task, None)
        else:
            cause.learned_dependents[task] = fruitless
