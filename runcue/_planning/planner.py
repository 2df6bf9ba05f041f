"""Working out a plan: what would become of work units, without running or changing anything.

Lives here: taking submissions in, finding who joins whom, putting work units in order by what they make and need, and
handing on from one to the next what becomes of what it makes. Who makes the same is decided by
`_registration.duplicates`.

Everything is done on stand-ins: work units that no core knows, with flags that look as in the cue and are not shared
with it.

Must not know: event loops, what a gate asks, how a plan prints.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from heapq import heappop, heappush
from types import MappingProxyType
from typing import Any, Final

from runcue._artifacts.file import File
from runcue._artifacts.flag import StandInFlags
from runcue._model.errors import ConfigurationError, DuplicateWork, RuncueError
from runcue._model.overrides import NO_OVERRIDES, Overrides
from runcue._model.phases import JOINED, RUNNING, SETTLED
from runcue._model.texts import words_of
from runcue._model.work import Work
from runcue._planning.forecast import Because, Forecaster, Verdict
from runcue._planning.instants import Instants
from runcue._planning.lanes import PlannedLanes
from runcue._planning.plan import Cycle, Plan, PlannedWork, ServiceTime
from runcue._planning.stand_ins import stand_in_of
from runcue._registration.duplicates import leader_for
from runcue._registration.registry import Registry
from runcue._registration.submission import overrides_of, params_for
from runcue._scheduling.core import Core
from runcue._scheduling.cycles import find_cycles
from runcue._scheduling.dependencies import Dependencies
from runcue._scheduling.holds import Holds, Relation
from runcue.submissions import Submission, read

__all__ = ["make_plan"]

# What becomes of a work unit, as far as it matters to those that need what it makes.
_OPEN: Final = 0
_CHANGES: Final = 1
"""It makes its outputs anew."""
_MAY_CHANGE: Final = 2
_SAME: Final = 3
"""They stay as they are: it is up to date, or fails before it starts."""
_NEVER: Final = 4
"""It stays pending, and so does what needs them."""

_NOBODY: Final[Mapping[int, Work]] = MappingProxyType({})


def make_plan(
    core: Core,
    registry: Registry,
    flags: Mapping[Hashable, list[int]],
    submissions: Iterable[Any] | None,
    now: float,
    wall: float,
    prioritised: bool,
) -> Plan:
    """Work out what would become of pending work units and submissions; see `Cue.plan`.

    Args:
        core: The state.
        registry: To look up tasks and what work units declare.
        flags: The cells of the flags of the cue.
        submissions: As the user gives them.
        now: Monotonic.
        wall: The same instant in seconds since the epoch.
        prioritised: Whether there are priorities.
    """
    instants = Instants(now, wall)
    planner = _Planner(core, registry, StandInFlags(flags), wall, instants, prioritised=prioritised)
    return planner.flags.context().run(planner.plan, _several(submissions))


def _several(submissions: Iterable[Any] | None) -> list[Any]:
    """Several submissions, or none.

    Raises:
        ConfigurationError: It is a single one, or nothing of the kind.
    """
    if submissions is None:
        return []
    single = isinstance(submissions, (str, Mapping, Submission)) or callable(submissions)
    if single or not isinstance(submissions, Iterable):
        raise ConfigurationError(
            f"plan() takes several submissions, not {words_of(submissions)}; write plan([...]) for one."
        )
    return list(submissions)


class _Planner:
    """One plan in the making."""

    def __init__(
        self,
        core: Core,
        registry: Registry,
        flags: StandInFlags,
        wall: float,
        instants: Instants,
        *,
        prioritised: bool,
    ) -> None:
        self.flags = flags
        self._core = core
        self._registry = registry
        self._wall = wall
        self._instants = instants
        self._prioritised = prioritised
        self._dependencies = Dependencies()
        # The same of those whose fate is not known yet, and who of them waits for the makers of what is in a folder.
        self._open = Dependencies()
        self._holds = Holds(self._open)
        self._held: dict[Work, list[int]] = {}
        # By folder, who makes something in it anew: the first that does so for sure, and the first that may.
        self._anew_in: dict[str, dict[int, Work]] = {}
        self._lanes = PlannedLanes()
        self._forecaster = Forecaster(self._dependencies, core.dependencies)
        # Those that lead, by the number that each has as its `_seq`; the other lists go by it, too.
        self._works: list[Work] = []
        self._numbers: list[int | None] = []
        self._fates: list[int] = []
        self._roots: dict[int, Work] = {}
        self._joined: list[PlannedWork] = []
        self._problems: list[str] = []
        self._runs: list[PlannedWork] = []
        self._up_to_date: list[PlannedWork] = []
        self._blocked: list[tuple[int, PlannedWork]] = []
        self._unsure: list[PlannedWork] = []
        # Of one work unit each, which needs what only it makes.
        self._cycles: list[Cycle] = []

    def plan(self, submissions: list[Any]) -> Plan:
        self._take_in_known()
        for number, submission in enumerate(submissions, 1):
            self._take_in(submission, number)
        if self._has_folders():
            self._open.begin_with_folders()
            for work in self._works:
                if work._declared is not None and work._declared.fault is None:
                    self._open.enter(work, work._declared)
        users, missing = self._links()
        self._check_in_order(users, missing)
        cycles, more = self._block_what_is_left(users)
        self._blocked.sort(key=lambda entry: entry[0])
        services = self._services()
        binding = max(services, key=lambda name: services[name].seconds or 0.0, default=None)
        seconds = 0.0 if binding is None else services[binding].seconds or 0.0
        return Plan(
            runs=tuple(self._instants.in_order(self._runs, self._makers_for)),
            up_to_date=tuple(self._up_to_date),
            blocked=tuple(planned for _, planned in self._blocked),
            cycles=(*self._cycles, *cycles),
            joined=tuple(self._joined),
            unsure=tuple(self._unsure),
            problems=tuple(self._problems),
            seconds=seconds,
            binding=binding if seconds else None,
            services=MappingProxyType(services),
            _prioritised=self._prioritised,
            _more_cycles=more,
        )

    def _take_in_known(self) -> None:
        """The work units that are pending or running, as stand-ins."""
        twins: dict[Work, Work] = {}
        for work in list(self._core.history.works.values()):
            phase = work._phase
            if phase == SETTLED:
                continue
            declared = work._declared
            if phase == JOINED and declared is not None and declared.leader is not None:
                if declared.leader._phase < RUNNING:
                    twin = stand_in_of(work)
                    leader = twins.get(declared.leader)  # the leader was submitted before
                    self._joined.append(PlannedWork(twin, ("joins", None, None, leader)))
                continue
            twins[work] = twin = stand_in_of(work)
            self._lanes.stand_alone(twin)
            self._instants.note_known(twin, work)
            self._add(twin, None)
            if phase == RUNNING:
                self._fates[twin._seq] = _CHANGES

    def _add(self, work: Work, number: int | None) -> None:
        work._seq = len(self._works)
        self._works.append(work)
        self._numbers.append(number)
        self._fates.append(_OPEN)
        self._lanes.add(work)
        if work._declared is not None and not self._instants.stands_aside(work, self._dependencies):
            self._dependencies.enter(work, work._declared)

    def _take_in(self, submission: Any, number: int) -> None:
        """A submission, as `submit()` would take it in."""
        where = ""
        try:
            task, params, options, where = read(submission)
            overrides = overrides_of(dict(options)) or NO_OVERRIDES
            work = self._work_for(task, params, overrides, number)
            later = work._overrides is not None and self._instants.note(work, work._overrides)
        except RuncueError as error:
            raise type(error)(f"{where or f'Submission {number} of plan()'}: {error}") from error
        try:
            leader = leader_for(work, overrides.duplicate, self._dependencies, later=later)
        except DuplicateWork as error:
            self._problems.append(f"submission {number}: {error}")
            return
        if leader is None:
            self._add(work, number)
            return
        own, theirs = work._declared, leader._declared
        if own is not None and theirs is not None and own.forced:
            theirs.forced = True
        self._instants.lend(leader, work)
        self._joined.append(PlannedWork(work, ("joins", None, None, leader), number))

    def _work_for(self, given: Any, params: Any, overrides: Overrides, number: int) -> Work:
        task = self._registry.find(given)
        work = Work(f"#{number}", task.name, params_for(task, params), self._wall)
        work._task = task
        if overrides is not NO_OVERRIDES:
            work._overrides = overrides
            self._prioritised |= overrides.priority is not None
        self._registry.look_up(work, self.flags, overrides)
        self._lanes.stand_alone(work)
        return work

    def _links(self) -> tuple[dict[int, list[int]], list[int]]:
        """Who needs what a work unit makes, and for how many inputs each must wait."""
        users: dict[int, list[int]] = {}
        missing = [0] * len(self._works)
        for work in self._works:
            declared = work._declared
            if declared is None or work._phase == RUNNING or declared.fault is not None:
                continue
            for artifact in declared.inputs:
                for producer in self._producers_of(artifact, work):
                    if producer._phase != RUNNING:
                        users.setdefault(producer._seq, []).append(work._seq)
                        missing[work._seq] += 1
        for work, ahead in self._lanes.links():
            if ahead._phase != RUNNING:
                users.setdefault(ahead._seq, []).append(work._seq)
                missing[work._seq] += 1
        return users, missing

    def _has_folders(self) -> bool:
        """Whether what somebody makes lies in what somebody needs or makes, or the other way round."""
        dependencies = self._dependencies
        for work in self._works:
            for artifact in work.inputs:
                if dependencies.above(artifact) and artifact._key in dependencies.known_folders:
                    dependencies.begin_with_folders()
        return dependencies.folders is not None

    def _check_in_order(self, users: Mapping[int, list[int]], missing: list[int]) -> None:
        """Tell the fate of each work unit once those that make its inputs have been; of several the first submitted."""
        line = [number for number, count in enumerate(missing) if not count]
        while line or self._let_go(line):
            number = heappop(line)
            work = self._works[number]
            if work._phase != RUNNING:
                if self._is_held(work):
                    continue
                self._check(work)
            self._leave(work, line)
            for user in users.get(number, ()):
                missing[user] -= 1
                if not missing[user]:
                    heappush(line, user)

    def _is_held(self, work: Work) -> bool:
        """Whether a work unit has to wait for the makers of what is in a folder that it reads; then it does."""
        if self._open.folders is None or work._declared is None:
            return False
        hold = self._holds.hold_of(work, work._declared)
        if hold is None or hold.relation is not Relation.INSIDE:
            return False
        self._held.setdefault(hold.holder, []).append(work._seq)
        return True

    def _leave(self, work: Work, line: list[int]) -> None:
        """The fate of a work unit is known: who waits for it because of a folder does so no longer."""
        declared = work._declared
        if declared is None or not self._open.epoch:
            return
        self._open.leave(work, declared)
        fate = self._fates[work._seq]
        if fate in (_CHANGES, _MAY_CHANGE):
            for artifact in declared.makes:
                for folder in self._dependencies.above(artifact):
                    self._anew_in.setdefault(folder, {}).setdefault(fate, work)
        for number in self._held.pop(work, ()):
            heappush(line, number)

    def _let_go(self, line: list[int]) -> bool:
        """Where nobody else is left: whoever is held by makers that never run goes on. Returns whether somebody is."""
        for numbers in self._held.values():
            for number in numbers:
                declared = self._works[number]._declared
                assert declared is not None
                declared.waits_for_folders = False
                heappush(line, number)
        self._held.clear()
        return bool(line)

    def _block_what_is_left(self, users: Mapping[int, list[int]]) -> tuple[tuple[Cycle, ...], bool]:
        """What is in a cycle or behind one."""
        fates = self._fates
        left = [number for number, fate in enumerate(fates) if fate == _OPEN]
        if not left:
            return (), False
        cycles = find_cycles(
            left, lambda number: dict.fromkeys(users.get(number, ())), 4 * len(left) + 10_000
        )
        inside = cycles.nodes
        planned: dict[int, PlannedWork] = {}
        among = set(left)
        for number in left:
            if number in inside:
                work = self._works[number]
                artifact, producer = self._first_input(work, inside)
                planned[number] = self._block(work, ("cycle", artifact, None, producer))
        line = [number for number in left if number in inside]
        for number in line:  # it grows
            root = self._works[number] if number in inside else self._roots[number]
            for user in users.get(number, ()):
                if user in among and user not in inside and user not in self._roots:
                    self._roots[user] = root
                    line.append(user)
        for number in left:
            if number not in inside:
                work = self._works[number]
                artifact, producer = self._first_input(work, among)
                self._block(work, ("behind cycle", artifact, self._roots[number], producer))
        return tuple(self._cycle(way, planned) for way in cycles.ways), cycles.more

    def _first_input(self, work: Work, dependencies: set[int]) -> tuple[Any, Work | None]:
        for artifact in work.inputs:
            for producer in self._producers_of(artifact, work):
                if producer._seq in dependencies:
                    return artifact, producer
        ahead = self._lanes.ahead_of(work)
        return (None if ahead is None else self._lanes.link_of(work)), ahead

    def _producers_of(self, artifact: Any, work: Work) -> Iterator[Work]:
        """The others that make what a work unit needs, or a folder around it; of a link, also what it leads to."""
        producer_of = self._dependencies.producer_of
        links = producer_of and isinstance(artifact, File) and artifact.is_link()
        for one in (artifact, *(artifact.pointed() if links else ())):
            around = () if self._dependencies.folders is None else self._dependencies.above(one)
            for key in (one._key, *around):
                producer = producer_of.get(key)
                if producer not in (None, work) and self._instants.holds_up(producer, work, one):
                    yield producer

    def _makers_for(self, work: Work) -> Iterator[Work]:
        """Who makes what a work unit needs and waits for."""
        for artifact in work.inputs:
            yield from self._producers_of(artifact, work)
        if (ahead := self._lanes.ahead_of(work)) is not None:
            yield ahead

    def _cycle(self, cycle: list[int], planned: Mapping[int, PlannedWork]) -> Cycle:
        first = cycle.index(min(cycle))
        cycle = cycle[first:] + cycle[:first]
        artifacts = [
            self._first_input(self._works[user], {producer})[0]
            for producer, user in zip(cycle, [*cycle[1:], cycle[0]], strict=True)
        ]
        return Cycle(tuple(planned[number] for number in cycle), tuple(artifacts))

    def _check(self, work: Work) -> None:
        declared = work._declared
        if (ahead := self._lanes.ahead_of(work)) is not None and self._fates[ahead._seq] == _NEVER:
            self._roots[work._seq] = root = self._roots.get(ahead._seq, ahead)
            self._block(work, ("upstream", self._lanes.link_of(work), root, ahead))
            return
        if declared is None:
            self._enter(work, self._forecaster.now(work))
            return
        if declared.fault is not None:
            # It fails when it is asked, and what needs its outputs is asked then.
            self._block(work, ("fault", None, declared.fault, None), _SAME)
            return
        fates = self._fates
        anew: dict[int, Work] = {}
        firm: dict[int, Work] = {}
        for index, artifact in enumerate(declared.inputs):
            for producer in self._producers_of(artifact, work):
                fate = fates[producer._seq]
                if fate == _NEVER:
                    self._roots[work._seq] = root = self._roots.get(producer._seq, producer)
                    self._block(
                        work, ("upstream" if root is producer else "far upstream", artifact, root, producer)
                    )
                    return
                if fate != _SAME:
                    anew[index] = producer
                if fate == _CHANGES:
                    firm[index] = producer
            for fate, producer in self._anew_in.get(artifact._key, _NOBODY).items():
                (firm if fate == _CHANGES else anew).setdefault(index, producer)
                anew.setdefault(index, producer)
        verdict = self._forecaster.later(work, declared, anew, firm) if anew else self._forecaster.now(work)
        declared.before = declared.was = ()  # a hundred thousand lists would be kept for nothing
        self._enter(work, verdict)

    def _enter(self, work: Work, verdict: Verdict) -> None:
        outcome, because, may, unsure = verdict
        if outcome == "block":
            planned = self._block(work, because)
            if because[0] == "cycle":
                self._cycles.append(Cycle((planned,), (because[1],)))
            return
        number = work._seq
        planned = PlannedWork(work, because, self._numbers[number], may, unsure, self._core.history)
        if outcome == "run":
            self._runs.append(planned)
            self._fates[number] = _MAY_CHANGE if may or unsure else _CHANGES
        else:
            self._up_to_date.append(planned)
            self._fates[number] = _SAME
        if unsure:
            self._unsure.append(planned)

    def _block(self, work: Work, because: Because, fate: int = _NEVER) -> PlannedWork:
        planned = PlannedWork(work, because, self._numbers[work._seq])
        self._blocked.append((work._seq, planned))
        self._fates[work._seq] = fate
        return planned

    def _services(self) -> dict[str, ServiceTime]:
        starts: dict[str, list[Work]] = {}
        for planned in self._runs:
            for name in planned._work._task.services:
                starts.setdefault(name, []).append(planned._work)
        found = {}
        for name, works in starts.items():
            service = self._core.services[name]
            found[name] = ServiceTime(len(works), service.at_least(works), service.limits_text)
        return found
