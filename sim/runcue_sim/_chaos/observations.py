"""What was seen of one life so far, as nobody but an onlooker knows it.

Lives here: `Observations`: all work units, who is at work, what is there, and the questions that can be answered from
that. Nothing in here comes from the inside of a cue.

Must not know: what is promised.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from heapq import heappop, heappush
from math import inf

from runcue_sim._chaos.allowances import Allowances, service_of
from runcue_sim._chaos.faults import Injected
from runcue_sim._chaos.invariants import STARVED_AFTER, Duty, Limits
from runcue_sim._chaos.lanes import is_behind
from runcue_sim._chaos.observed_work import ObservedWork, Start
from runcue_sim._chaos.occupancy import Occupancy


class Observations(Occupancy):
    """Everything that was seen. What is taken of services is kept in what this is based on.

    Args:
        services: Their limits.
        tasks: What is known of the tasks.
        needs: The artifacts that a work needs, by its task and what it is about.
        proves: Those that it makes.
        made: The versions of the artifacts that are there, later ones higher. It is read again and again.
        injected: Which faults were brought about.
        allowances: What else services allow, None if that is nothing.

    Attributes:
        works: All work units, by id.
        pending: Those that have neither started nor ended, and whose instant has come.
        there: Those of the pending ones for which all is there that they need, by their places.
        running: Those that have started and not ended.
        bounded: Those that wait for a further attempt which must not begin after an instant.
        untold: Artifacts that have changed without anybody telling, with the instant.
        counts: How many work units ended how.
    """

    def __init__(
        self,
        services: Mapping[str, Limits],
        tasks: Mapping[str, Duty],
        needs: Callable[[str, str], tuple[str, ...]],
        proves: Callable[[str, str], tuple[str, ...]],
        made: Mapping[str, int],
        injected: Injected,
        allowances: Allowances | None = None,
    ) -> None:
        super().__init__(services, injected, allowances)
        self._tasks = tasks
        self._needs = needs
        self._proves = proves
        self._made = made
        self.works: dict[str, ObservedWork] = {}
        self.pending: dict[str, ObservedWork] = {}
        self.there: dict[tuple[str, ...], dict[str, ObservedWork]] = {
            duty.services: {} for duty in tasks.values()
        }
        self.running: dict[str, Start] = {}
        self.bounded: dict[str, ObservedWork] = {}
        self.untold: dict[str, float] = {}
        self.counts: Counter[str] = Counter()
        # Those whose instant has not come, by that, and with a number, so that they need not be compared.
        self._later: list[tuple[float, int, ObservedWork]] = []
        # Pending work units by what they need.
        self._needed: dict[str, dict[str, ObservedWork]] = {}
        self._number = 0
        self._now = -inf
        # Of work units that declare what they prove: the unsettled ones by artifact, first submitted first; and what is
        # being made at this moment.
        self._makers: dict[str, dict[str, None]] = {}
        self._making: Counter[tuple[str, ...]] = Counter()
        # Those that have settled while their handlers went on.
        self._late: dict[str, ObservedWork] = {}

    def _find_places(self, work: ObservedWork) -> None:
        """See what counts for a work unit of services that have limits for each key."""
        assert self.allowances is not None
        work.places = self.allowances.places(work.duty.services, work.item)
        for service, place in zip(work.duty.services, work.places, strict=True):
            self.add_place(service, place)
        self.there.setdefault(work.places, {})

    def call_back(self, now: float, service: str, place: str) -> None:
        """Somebody lets go on what waits because a service has refused it."""
        for name, refusals in self.refusals.items():
            if name == place or (place == service and service_of(name) == service):
                refusals.resumed()
        for _, _, work in list(self._later):
            waits = work.is_refused and not work.ended and work.started is None and work.surely > now
            if not waits or service not in work.duty.services or place not in (service, *work.places):
                continue
            if work.refused_by == service:
                work.gives_way = False
                work.waits_until(now)
                self._is_pending_no_more(work)
                self._take_in(now, work)

    def submit(self, now: float, id: str, task: str, item: str) -> ObservedWork:
        """A work was submitted."""
        duty, needs, proves = self._tasks[task], self._needs(task, item), self._proves(task, item)
        work = ObservedWork(now, id, task, item, duty, needs, proves, wish=self.injected.wish)
        if self.allowances is not None:
            self._find_places(work)
        self.works[id] = work
        work.number = len(self.works)
        work.ahead = work.surely > now
        if work.declared:
            for name in work.proves:
                makers = self._makers.setdefault(name, {})
                work.joinable = work.joinable or bool(makers)
                first = self.works[next(iter(makers))] if makers else None
                # What is for later joins nobody who runs.
                if first is not None and not (work.ahead and first.started is not None):
                    self._join(work, first.leader or first)
                makers[id] = None
        self._take_in(now, work)
        if work.leader is not None:
            self._lend(now, work.leader)
        if not work.ahead and self.is_there(work) and self.is_up_to_date(work):
            work.versions = self.versions(work)
        return work

    @staticmethod
    def _join(work: ObservedWork, leader: ObservedWork) -> None:
        work.leader = work.joined = leader
        work.attempt, work.is_resumed, work.refused_by = leader.attempt, leader.is_resumed, leader.refused_by
        work.is_sure = False

    def _followers_of(self, leader: ObservedWork) -> list[ObservedWork]:
        same = map(self.works.__getitem__, self._makers[leader.proves[0]])
        return [one for one in same if one.leader is leader]

    def _lend(self, now: float, leader: ObservedWork) -> None:
        """Of one that has not started yet the earliest instant counts of those who have joined it, while they stay."""
        if leader.tried or leader.ended:
            return
        owns = [leader.own, *(one.own for one in self._followers_of(leader))]
        leader.may_start, leader.surely = (min(instants) for instants in zip(*owns, strict=True))
        if not leader.ahead and leader.surely > now:
            leader.left_alone = now
        leader.ahead = leader.surely > now
        self._is_pending_no_more(leader)
        self._take_in(now, leader)

    def _succeed(self, now: float, leader: ObservedWork) -> None:
        """One that others have joined is cancelled: the first of them takes its place, and its instant if it waits."""
        followers = self._followers_of(leader)
        if not followers:
            return
        first, *others = followers
        waits = leader.started is None and leader.id not in self.pending
        first.leader = None
        for one in others:
            one.leader = first
        first.is_sure = leader.is_sure and leader.started is None
        first.attempt, first.is_resumed, first.tried = leader.attempt, leader.is_resumed, leader.tried
        first.refused_by, first.began, first.left_alone = leader.refused_by, leader.began, now
        self._bound(first, leader.latest)
        # What has been tried is no longer for later, whatever instant it came with.
        first.ahead = first.ahead and not first.tried
        if waits and first.tried:
            first.may_start, first.surely = leader.may_start, leader.surely
            self._is_pending_no_more(first)
            self._take_in(now, first)
            return
        if waits:
            first.own = min(first.own[0], leader.may_start), max(first.own[1], leader.surely)
        self._lend(now, first)

    def _wait(self, work: ObservedWork) -> None:
        self._number += 1
        heappush(self._later, (work.surely, self._number, work))

    def _take_in(self, now: float, work: ObservedWork) -> None:
        """It waits for its turn, or for its instant."""
        if work.surely > now:
            self._wait(work)
            return
        work.ahead = False
        self.pending[work.id] = work
        for name in work.needs:
            self._needed.setdefault(name, {})[work.id] = work
        if self.is_there(work):
            self.there[work.places][work.id] = work

    def come_due(self, now: float) -> None:
        """Instants have come."""
        self._now = now
        while self._later and self._later[0][0] <= now:
            _, _, work = heappop(self._later)
            if not work.ended and work.started is None and work.id not in self.pending and work.surely <= now:
                self._take_in(now, work)

    def waiting_for_instants(self, now: float) -> list[ObservedWork]:
        """The work units whose instant has not come."""
        return [work for _, _, work in self._later if not work.ended and work.may_start > now]

    def _bound(self, work: ObservedWork, latest: float) -> None:
        """No further attempt of it is to begin after an instant."""
        work.latest = latest
        if latest < inf and work.is_sure:
            self.bounded[work.id] = work

    def put_back(
        self,
        now: float,
        work: ObservedWork,
        at: float,
        slack: float = 0.0,
        *,
        counts: bool = True,
        refused_by: str = "",
    ) -> None:
        """An attempt is over, and another one may start at an instant; or this one go on, where it does not count."""
        start, policy = self.running.pop(work.id, None), work.wish.policy
        if work.began is None and start is not None:
            work.began = start.at
        work.attempt += counts
        work.is_resumed, work.refused_by = not counts, refused_by
        work.refusals = work.refusals + 1 if refused_by else 0
        for service, name in zip(work.duty.services, work.places, strict=True):
            if service != refused_by:
                self.refusals[name].ended(now, work, cancelled=False, has_heir=start is None)
        timeout = None if policy is None else policy.timeout
        if counts and timeout is not None and work.began is not None:
            self._bound(work, work.began + timeout)
        for one in self._followers_of(work) if work.declared else ():
            one.attempt, one.is_resumed, one.refused_by = work.attempt, work.is_resumed, work.refused_by
        self._is_pending_no_more(work)  # as it is if it ran in the place of another one
        work.started = None
        work.waits_until(at, slack)
        self._take_in(now, work)

    def start(self, now: float, work: ObservedWork) -> None:
        """A handler is about to be entered."""
        work.started = now
        work.tried += 1
        work.left = work.ahead = False
        work.error = None
        self._is_unbound(work)
        self._is_pending_no_more(work)
        start = self.running[work.id] = Start(work, now)
        if self.allowances is not None:
            self.allowances.started(now, start)
        for name in work.places:
            self.inside[name][work.id] = None
            self.starts[name].append(start)
            self.refusals[name].started(now, start)
        if work.declared:
            self._making[work.proves] += 1

    def enter(self, now: float, id: str) -> None:
        """It was entered: its token and its timeout count from here. Listeners may have taken their time before."""
        start = self.running.get(id)
        if start is not None:
            start.at = now

    def leave(self, id: str) -> None:
        """A handler has come to its end."""
        work = self.works.get(id)
        if work is None or work.started is None or work.left:
            return
        for name in work.places:
            self.inside[name].pop(id, None)
        if work.declared:
            self._making[work.proves] -= 1
            if id in self._late:
                del self._late[id]
                self._is_told(work)
        work.left = True

    def settle(self, now: float, work: ObservedWork, how: str) -> None:
        """A work has settled."""
        has_heir = work.declared and how == "cancelled" and bool(self._followers_of(work))
        has_heir = has_heir or (work.joined is not None)  # the handler that ends may be that of another one
        for name in work.places if work.started is not None or has_heir else ():
            self.refusals[name].ended(now, work, cancelled=how == "cancelled", has_heir=has_heir)
        if how == "cancelled" and work.declared:
            self._succeed(now, work)
        work.ended = how
        self.counts[how] += 1
        self._is_unbound(work)
        self._is_pending_no_more(work)
        self.running.pop(work.id, None)
        self.injected.settlements += 1
        if work.declared:
            for name in work.proves:
                self._makers[name].pop(work.id, None)
            if work.started is not None and not work.left:
                self._late[work.id] = work  # and goes on making what it makes
            else:
                self._is_told(work)
            if how == "cancelled" and work.leader is not None:
                self._lend(now, work.leader)

    def _is_told(self, work: ObservedWork) -> None:
        """What a maker leaves behind is looked at by itself, as soon as nobody makes it any more."""
        for name in work.proves:
            if not self._makers[name]:
                self.untold.pop(name, None)

    def change(self, now: float, name: str) -> None:
        """An artifact was made or has vanished."""
        self.injected.changes += 1
        self.untold[name] = now
        for work in self._needed.get(name, {}).values():
            there = self.there[work.places]
            if self.is_there(work):
                there[work.id] = work
            else:
                there.pop(work.id, None)

    def _is_unbound(self, work: ObservedWork) -> None:
        work.latest = inf
        self.bounded.pop(work.id, None)

    def _is_pending_no_more(self, work: ObservedWork) -> None:
        if self.pending.pop(work.id, None) is not None:
            self.there[work.places].pop(work.id, None)
            for name in work.needs:
                self._needed[name].pop(work.id, None)

    def missing(self, work: ObservedWork) -> list[str]:
        """What a work needs and is not there."""
        return [name for name in work.needs if name not in self._made]

    def is_there(self, work: ObservedWork) -> bool:
        """Whether all is there that a work needs."""
        return all(name in self._made for name in work.needs)

    def is_up_to_date(self, work: ObservedWork) -> bool:
        """Whether its proofs are there and, if declared, newer than what it needs."""
        made = self._made
        if not work.proves or not all(name in made for name in work.proves):
            return False
        if not work.declared:
            return True
        newest = max((made.get(name, 0) for name in work.needs), default=0)
        return newest < min(made[name] for name in work.proves)

    def versions(self, work: ObservedWork) -> list[int | None]:
        """Those of all that it needs and proves."""
        return [self._made.get(name) for name in (*work.needs, *work.proves)]

    def maker_of_needs(self, work: ObservedWork, *, surely: bool = False) -> ObservedWork | None:
        """Another work that is about to make anew what a work needs.

        Args:
            work: Which needs it.
            surely: Leave out who has taken the place of one that came before it, and came after it itself.
        """
        if work.declared:
            for name in work.needs:
                for maker in self._makers.get(name, ()):
                    # What is for later holds up only those that come after it.
                    one = self.works[maker]
                    if maker != work.id and not (
                        self._comes_after(one, work) and (surely or not self._has_taken_a_place(one))
                    ):
                        return one
                for late in self._late.values():
                    if name in late.proves:
                        return late
        return None

    def _comes_after(self, maker: ObservedWork, work: ObservedWork) -> bool:
        """Whether a maker is for later, for sure, and was submitted after a work unit."""
        return maker.ahead and maker.may_start > self._now and maker.number > work.number

    @staticmethod
    def _has_taken_a_place(work: ObservedWork) -> bool:
        """Whether it is in the place of one that it had joined."""
        return work.joined is not None and work.leader is None

    def is_joined(self, work: ObservedWork) -> bool:
        """Whether somebody else makes the same, or is to: who came first."""
        if not work.declared:
            return False
        return self._making[work.proves] > 0 or next(iter(self._makers[work.proves[0]])) != work.id

    def waits_without_end(self, work: ObservedWork) -> bool:
        """Whether it is tried again, as often as need be, by nobody's account with an end; or one it has joined."""
        one = work.leader or work
        is_at_work = one.declared and self._making[one.proves] > 0  # be it by the handler of another one
        return one.is_tried_without_end and not is_at_work

    def may_time_out(self, work: ObservedWork) -> bool:
        """Whether an attempt of it has a limit; of one that has joined another one it may be that of any of them."""
        if work.timeout is not None or work.is_sure:
            return work.timeout is not None
        return any(one.timeout is not None for one in self.works.values() if one.proves == work.proves)

    def needed_by(self, work: ObservedWork, *, surely: bool) -> Iterator[ObservedWork]:
        """The work units that one needs to complete.

        Args:
            work: Not ended.
            surely: Only those that it needs in any case.
        """
        if surely and work.started is not None:
            return
        if work.leader is not None:
            yield work.leader
            if surely:
                return
        for name in work.needs if work.declared else ():
            makers = [self.works[one] for one in self._makers.get(name, ()) if one != work.id]
            if surely:
                # What is for later holds up only those that come after it.
                makers = [one for one in makers[:1] if not (one.ahead and one.number > work.number)]
            yield from makers

    def unsettled(self) -> list[ObservedWork]:
        """All that have not ended, first submitted first."""
        return [work for work in self.works.values() if not work.ended]

    def waits_for_others(self, work: ObservedWork) -> bool:
        """Whether a pending work may not run before another one has settled."""
        kept = self.is_joined(work) or self.maker_of_needs(work) is not None
        return kept or is_behind(self.works.values(), work)

    def may_be_kept(self, work: ObservedWork, now: float) -> bool:
        """Whether something else may keep a work unit that could start."""
        allowances = self.allowances
        return allowances is not None and (
            allowances.keeps(now, work, self.inside)
            or any(
                len(one.places) > 1 and now - one.submitted > STARVED_AFTER for one in self.pending.values()
            )
        )

    def gives_way(self, work: ObservedWork, now: float) -> bool:
        """Whether slots that a work would take are left free for one that never finds all of its own free at once."""
        # That one was ready when it was asked last, which was when its turn came; by now it may lack something.
        return any(
            len(one.duty.services) > 1
            and one.task != work.task
            and now - one.submitted > STARVED_AFTER
            and not set(one.places).isdisjoint(work.places)
            and not all(map(self.has_slot, one.places))
            for one in self.pending.values()
        )
