"""All that waits, put together by the root of it: what `cue.why()` counts when it is asked of nothing in particular.

Each work unit is followed to what keeps it in the end, and whatever lies on the way is remembered, so that all of them
together take as long as there are of them. Only for the root of a group the reason is found as for a single one. What
is the same for many is looked at once: the line of a limit, an artifact, a handler.

Lives here: `Roots`, which follows them, and `Crowd`, those that have one root.

Must not know: how that is put in words, how to change anything.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator
from math import inf
from typing import Any, Final

from runcue._artifacts.artifact import Artifact
from runcue._artifacts.declared import question_of
from runcue._explain.activity import Activity
from runcue._explain.attempt_words import last_error
from runcue._explain.durations import usual_duration
from runcue._explain.kinds import Kind
from runcue._explain.likeness import likeness
from runcue._explain.neighbours import Neighbours
from runcue._explain.outlook import done_by_limits, done_by_slots
from runcue._explain.reasons import Reason
from runcue._explain.turn import turn_of
from runcue._explain.waits import Lost
from runcue._explain.why import Explainer
from runcue._limits.service import Service
from runcue._model.phases import CHECKING, HELD, JOINED, NEW, NOT_DUE, READY, RUNNING, SETTLED
from runcue._model.texts import SHOWN
from runcue._model.work import Work
from runcue._scheduling.core import Core
from runcue._scheduling.knots import Knot
from runcue._scheduling.lines import line_of
from runcue._scheduling.priority_queue import place_of
from runcue._scheduling.run_queue import RunQueue

__all__ = ["Crowd", "Roots", "not_started"]

_LOOKS: Final = 10_000
"""So many artifacts are asked whether they are valid, and so many reasons of users are read; of others it counts what
was found when their work unit was asked."""

_MANY: Final = 1_000
"""When there are so many crowds, others of their kind are put together at once."""

_APART: Final = 5
"""Of those of one kind a crowd stands by itself that is at least this part of all of them; the others are put together.
"""

_DIGITS: Final = dict.fromkeys(map(ord, "0123456789"))

_BY_KNOT: Final[dict[str, Kind]] = {"deadlock": "deadlock", "self": "self"}


class Crowd:
    """Work units that have one root.

    Args:
        kind: The first of what makes it this one.
        root: The work unit whose reason is that of all of them; it may run.

    Attributes:
        reason: Why that one is where it is.
        count: How many they are.
        first: How many of them have the reason themselves: the others come after these.
        tasks: How many of them there are of each task.
        examples: The oldest.
        subjects: What it is about, of several that were put together; as many as are named.
        several: How many those are.
        lines: The run queues in which those stand that have the reason themselves.
        running: How many work units run that are the root.
        instants: The first and the last monotonic one for which those wait that have the reason themselves.
        done: In how many seconds all of these are done; None if that is not known.
        alone: The same if nobody who is yet to come passes them, where others do; None: nobody does.
        passed: The last of them, if others that come later pass it.
    """

    __slots__ = (
        "alone",
        "count",
        "done",
        "examples",
        "first",
        "instants",
        "kind",
        "lines",
        "passed",
        "reason",
        "root",
        "running",
        "several",
        "subjects",
        "tasks",
    )

    def __init__(self, kind: str, root: Work, subject: Any = None) -> None:
        self.kind = kind
        self.root = root
        self.reason: Reason
        self.count = self.first = self.running = 0
        self.tasks: Counter[str] = Counter()
        self.examples: list[Work] = []
        self.subjects: list[Any] = [subject]
        self.several = 1
        self.lines: list[RunQueue] = []
        self.done: float | None = None
        self.alone: float | None = None
        self.passed: Work | None = None
        self.instants = (inf, -inf)

    def add(self, work: Work, *, first: bool) -> None:
        """Count a work unit."""
        self.count += 1
        self.first += first
        self.tasks[work.task] += 1
        if len(self.examples) < SHOWN:
            self.examples.append(work)

    def join(self, other: Crowd) -> None:
        """Take in another one of its kind, a smaller one."""
        self.count += other.count
        self.first += other.first
        self.tasks.update(other.tasks)
        self.examples = sorted((*self.examples, *other.examples), key=lambda work: work._seq)[:SHOWN]
        self.subjects = [*self.subjects, *other.subjects][:SHOWN]
        self.several += other.several
        self.running += other.running
        self.lines += other.lines
        self.instants = (min(self.instants[0], other.instants[0]), max(self.instants[1], other.instants[1]))


class Roots:
    """Puts the pending work units of one cue together.

    Args:
        core: The state.
        explainer: Finds the reasons of single ones.
        activity: What runs them.
        now: Monotonic.
        wall: The same instant in seconds since the epoch.
    """

    def __init__(self, core: Core, explainer: Explainer, activity: Activity, now: float, wall: float) -> None:
        self._explainer = explainer
        self._waits = explainer.waits(_LOOKS)
        self._neighbours = Neighbours(core)
        self._activity = activity
        self._core = core
        self._now = now
        self._wall = wall
        self._crowds: dict[Hashable, Crowd] = {}
        self._of: dict[Work, Crowd] = {}
        # Those that have the reason themselves.
        self._first: set[Work] = set()
        # Kinds and subjects that have no crowd of their own, because there are too many.
        self._others: set[Hashable] = set()
        self._lines: dict[Hashable, Crowd] = {}
        self._alike: dict[str, str] = {}
        # Those who wait for each other, though some of them run.
        self._knots: dict[Work, Knot] = {}
        heads = (head for run_queue in core.run_queues.values() for head in run_queue.first_in_lines())
        for knot in activity.knots([*self._waits.holders.all, *heads]):
            waiters = (waiter.work for waiter in knot.waits if waiter.work is not None)
            self._knots |= dict.fromkeys((*knot.works, *waiters), knot)

    def crowds(self, works: Iterable[Work]) -> list[Crowd]:
        """All of them, the largest first.

        Args:
            works: Those that are pending, oldest first.
        """
        lines = self._lines
        for work in works:
            if (work._phase == NEW and work._not_ready_reason is None) or work._phase == READY:
                crowd = lines.get(line_of(work)) or self._line_of(work)
                crowd.add(work, first=True)
            else:
                crowd = self._of.get(work) or self._root_of(work)
                crowd.add(work, first=work in self._first)
        self._count_knots()
        found = sorted(self._put_together(), key=lambda crowd: -crowd.count)
        for crowd in found:
            crowd.reason = self._reason_of(crowd)
            self._look_when_done(crowd)
        return found

    def _look_when_done(self, crowd: Crowd) -> None:
        """When those will be through who stand in the line of a service."""
        reason, history = crowd.reason, self._core.history
        if not crowd.lines or crowd.several > 1 or not isinstance(reason.subject, Service):
            return
        lines = {run_queue: list(run_queue.in_line()) for run_queue in crowd.lines}
        waiting = [work for line in lines.values() for work in line]
        if reason.kind == "slots":
            done = done_by_slots(history, reason.subject, waiting)
        else:
            done = done_by_limits(history, reason.subject, waiting, reason.until - self._now, self._now)
        # What else they need, and that service besides its slots, may take longer.
        for service in {one for run_queue in lines for one in run_queue.services}:
            some = [
                work for run_queue, line in lines.items() if service in run_queue.services for work in line
            ]
            later = done_by_limits(history, service, some, 0.0, self._now)
            if done is not None and later is not None:
                done = max(done, later)
        crowd.done = done
        if not self._core.ordered or not waiting:
            return
        last = max(waiting, key=place_of)
        turn = turn_of(self._core, last, self._now, self._wall, self._waits.holders)
        if turn is not None and turn.passing is not None and turn.passing.until > self._now:
            # As long as others go on to pass the last of them, as far as they do.
            crowd.passed = last
            if turn.passing.until == inf:
                crowd.reason = reason._replace(passing=turn.passing)
            if done is None:
                return
            crowd.alone = done
            if turn.eta is None:
                crowd.done = None
            elif turn.eta != turn.alone:
                crowd.done = max(done, turn.eta + (usual_duration(history, last.task) or 0.0))

    def _count_knots(self) -> None:
        """Who runs and waits for who waits for it is counted as well: it is not pending, and cannot go on."""
        for work, knot in self._knots.items():
            if work._phase == RUNNING:
                self._crowd_of_knot(knot, work).add(work, first=True)

    def _put_together(self) -> Iterator[Crowd]:
        """Crowds of one kind, if there are many of them, as one."""
        kinds: dict[str, list[Crowd]] = {}
        for crowd in self._crowds.values():
            if crowd.count:
                kinds.setdefault(crowd.kind, []).append(crowd)
        for alike in kinds.values():
            enough = sum(crowd.count for crowd in alike) / _APART
            alike.sort(key=lambda crowd: (crowd.several > 1, -crowd.count))
            whole: Crowd | None = None
            for crowd in alike:
                if crowd.several == 1 and crowd.count >= enough:
                    yield crowd
                elif whole is None:
                    whole = crowd
                else:
                    whole.join(crowd)
            if whole is not None:
                yield whole

    def _reason_of(self, crowd: Crowd) -> Reason:
        # The root itself, whatever it waits for besides.
        reason = self._explainer.explain(crowd.root, self._now, self._wall, self._waits)._replace(
            root=None, chain=()
        )
        if crowd.kind == "unreturned":
            return reason._replace(kind="unreturned", lacks=(), others=(crowd.subjects[0],))
        if crowd.kind in _BY_KNOT and reason.knot is not None:
            return reason._replace(kind=_BY_KNOT[crowd.kind])
        if crowd.kind == "lost" and reason.kind == "being made":
            reason = reason._replace(kind="input")
        return self._neighbours.told(reason)

    def _crowd(self, key: tuple[Any, ...], root: Work, subject: Any = None) -> Crowd:
        crowd = self._crowds.get(key)
        if crowd is None:
            if len(self._crowds) >= _MANY and (crowd := self._crowds.get(key[:1])) is not None:
                if key not in self._others:
                    self._others.add(key)
                    crowd.several += 1
                return crowd
            if len(self._crowds) >= _MANY:
                self._others.add(key)
                key = key[:1]
            crowd = self._crowds[key] = Crowd(key[0], root, subject)
        return crowd

    def _line_of(self, work: Work) -> Crowd:
        """Those who stand in one line have one reason: that of the first."""
        run_queue: RunQueue = work._task.run_queue
        first = run_queue.first_beside(work)
        if first._not_ready_reason is not None:
            first = work  # that one was asked for the answer alone
        if (knot := self._knots.get(first)) is not None:
            crowd = self._crowd_of_knot(knot, first)
        else:
            reason = self._explainer.explain(first, self._now, self._wall, self._waits)
            crowd = self._crowd((reason.kind, reason.subject), first, reason.subject)
        if not run_queue.is_keyed:  # else its other work units may have other keys
            crowd.lines.append(run_queue)
        self._lines[line_of(work)] = crowd
        return crowd

    def _crowd_of_knot(self, knot: Knot, work: Work) -> Crowd:
        waiters = (
            waiter.work for waiter in knot.waits if waiter.kind == "handler" and waiter.work is not None
        )
        return self._crowd(("deadlock" if knot.is_proven else "self", id(knot)), next(waiters, work))

    def _root_of(self, work: Work) -> Crowd:
        """The crowd of a work unit, which is then that of all that it leads to as well."""
        way: dict[Work, None] = {}
        step: Work | Crowd = work
        while isinstance(step, Work):
            if step in way:
                cycle = list(way)[list(way).index(step) :]
                step = self._crowd(("cycle", min(one._seq for one in cycle)), step)
            elif step in self._of:
                step = self._of[step]
            else:
                way[step] = None
                following = self._step(step)
                if isinstance(following, Crowd):
                    self._first.add(step)
                step = following
        self._of |= dict.fromkeys(way, step)
        return step

    def _step(self, work: Work) -> Work | Crowd:
        """What a work unit waits for: another one, or the root of it."""
        if (knot := self._knots.get(work)) is not None:
            return self._crowd_of_knot(knot, work)
        following = self._waits.next_of(work)
        if following is None:
            return self._crowd_alone(work)
        if isinstance(following, Lost):
            artifact, maker = following
            if maker is not None:
                return self._crowd(("upstream", maker), work, maker)
            return self._crowd(("lost", question_of(artifact)), work, artifact)
        if following._phase == SETTLED:
            return self._crowd(("unreturned", following), work, following)
        return following

    def _crowd_alone(self, work: Work) -> Crowd:
        """The crowd of a work unit that waits for no other one, and for no artifact that is missing."""
        phase = work._phase
        if phase == RUNNING:
            crowd = self._crowd(("running", work.task), work)
            crowd.running += 1
            if (work.started_at or 0.0) < (crowd.root.started_at or 0.0):
                crowd.root = work
            return crowd
        if phase == READY or (phase == NEW and work._not_ready_reason is None):
            return self._lines.get(line_of(work)) or self._line_of(work)
        if phase == CHECKING:
            return self._crowd(("gate", work.task), work)
        if phase == NOT_DUE:
            return self._crowd_of_instant(work)
        return self._crowd(("not asked",), work) if phase in (HELD, JOINED) else self._crowd_of_said(work)

    def _crowd_of_instant(self, work: Work) -> Crowd:
        """Those of one task that must not start yet, for the same reason; the root is the one that may first."""
        reason = self._explainer.explain(work, self._now, self._wall)
        # What has failed in different ways waits for different reasons.
        crowd = self._crowd((reason.kind, work.task, type(last_error(work))), work)
        first, last = crowd.instants
        if reason.until < first:
            crowd.root = work
        crowd.instants = (min(first, reason.until), max(last, reason.until))
        return crowd

    def _crowd_of_said(self, work: Work) -> Crowd:
        """Those of one task of which is_ready said the same, but for names and numbers in it."""
        answer = work._not_ready_reason
        if isinstance(answer, BaseException):
            return self._crowd(("raised", work.task, type(answer)), work)
        if isinstance(answer, Artifact):  # it is there by now
            return self._crowd(("input", question_of(answer)), work, answer)
        if not isinstance(answer, str):
            return self._crowd(("said no", work.task, ""), work)
        # Mostly they differ in numbers, and to leave these out takes a tenth of the time of looking for all.
        short = answer.translate(_DIGITS)
        words = self._alike.get(short)
        if words is None:
            words = likeness(answer) if len(self._alike) < _LOOKS else ""
            self._alike[short] = words
        return self._crowd(("said no", work.task, words), work)


def not_started(works: Iterable[Work]) -> Crowd:
    """All that is pending in a cue that is not started."""
    crowd: Crowd | None = None
    for work in works:
        if crowd is None:
            crowd = Crowd("not started", work)
            crowd.reason = Reason(work, "not started", None, work._submitted_at)
        crowd.add(work, first=True)
    assert crowd is not None
    return crowd
