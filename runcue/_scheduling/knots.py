"""Who can never go on by itself: those who wait for work units that need what is held by those who wait.

Everybody can go on if one of those can from whom that may come: somebody who waits for work units, if one of these can
settle; a work unit that runs or is being asked, if its handler or gate can go on; one that is pending, if each of the
services that it needs has a slot or a holder that can go on. What is left over when all that has been followed can not:
a knot. Each link is followed at most once, so this is linear in the number of those who wait and of what they wait for;
where somebody can go on by one of thousands, some of these are mostly enough.

Whatever else a pending work unit waits for may come: another answer of its gate, a token, its next attempt, an artifact
from outside. So does whatever is not known.

Lives here: `Knot`, `Waiter`, `Wait`, and `find`.

Must not know: how it is found out what somebody waits for; event loops, tasks, clocks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from math import inf
from typing import Any, Final, Literal, NamedTuple, Protocol

from runcue._limits.service import Service
from runcue._model.phases import CHECKING, HELD, JOINED, NEW, READY, RUNNING
from runcue._model.texts import name_of
from runcue._model.work import Work
from runcue._scheduling.core import Core
from runcue._scheduling.holds import held_by

__all__ = ["Knot", "Situation", "Wait", "Waiter", "find"]

# So many of those by one of whom somebody can go on are followed at once; and of what somebody waits for, so many more
# that stand in no line, where the others would be like them.
_SOME: Final = 32
_MOST_APART: Final = 256
_IN_LINE: Final = (NEW, READY)


@dataclass(slots=True, eq=False)
class Waiter:
    """Somebody who may wait for work units, at one instant.

    Attributes:
        kind: Whether it is a handler, an async gate or an async listener.
        work: Whose handler or gate it is; of a listener, what it was told of, if that was a work unit.
        key: What makes it this one, at other instants as well.
        listener: What a listener is called.
    """

    kind: Literal["handler", "gate", "listener"]
    work: Work | None
    key: Any
    listener: str = ""

    @property
    def name(self) -> str:
        """What it is called in messages."""
        if self.work is None or self.kind == "listener":
            return f"the {self.listener}"
        return name_of(self.work) if self.kind == "handler" else f"the gate of {name_of(self.work)}"


class Wait(NamedTuple):
    """What somebody waits for.

    Attributes:
        works: Work units that have not settled.
        goes_on: Whether it may go on for another reason as well.
    """

    works: tuple[Work, ...]
    goes_on: bool


class Situation(Protocol):
    """What is known of those who wait, at one instant."""

    now: float

    def wait_of(self, waiter: Waiter) -> Wait:
        """What somebody waits for."""

    def holders(self, service: Service) -> Iterable[Waiter] | None:
        """Who holds the slots of a service, the last one first; None if that is not known of all of them."""

    def runner_of(self, work: Work) -> Waiter | None:
        """The handler of a work unit that runs, or the gate of one being asked; None if it is not known."""


class Knot(NamedTuple):
    """Those who can only go on when one of the others does.

    Attributes:
        waits: Who waits, and for which work units.
        works: The work units that can not settle because of that.
        services: Those whose slots are all held by the waiters.
        until: When one of them will go on by itself; inf: never, or nobody knows when.
        by: What may let one of them go on before it is through, for people; "" if nothing is known that could.
    """

    waits: Mapping[Waiter, tuple[Work, ...]]
    works: tuple[Work, ...]
    services: tuple[Service, ...]
    until: float = inf
    by: str = ""

    @property
    def is_proven(self) -> bool:
        """Whether none of them can ever go on by itself."""
        return self.until == inf and not self.by


class _OwnLimit(NamedTuple):
    """A limit of the user's that says no to the first in line until something that runs has ended."""

    service: Service


Node = Waiter | Work | Service | _OwnLimit


def find(core: Core, situation: Situation, starts: Iterable[Waiter | Work]) -> list[Knot]:
    """The knots among some and all that they depend on.

    Who can go on when one of very many does is followed to the first of these, and to more only while none of them
    was found that does.

    Args:
        core: The state.
        situation: Who waits for what.
        starts: Those to begin with.
    """
    links: dict[Node, list[Node]] = {}
    dependents: dict[Node, list[Node]] = {}
    # How many of its links have to move before a node does, and what it may be linked to as well.
    missing: dict[Node, int] = {}
    rest: dict[Node, Iterator[Node]] = {}
    moved: set[Node] = set()
    moving: deque[Node] = deque()
    line: list[Node] = list(starts)

    def link(node: Node, needed: Sequence[Node], *, all_of_them: bool) -> None:
        links.setdefault(node, []).extend(needed)
        still = [one for one in needed if one not in moved]
        for one in still:
            dependents.setdefault(one, []).append(node)
        line.extend(still)
        missing[node] = len(still) if all_of_them else 1
        if not still or (not all_of_them and len(still) < len(needed)):
            moved.add(node)
            moving.append(node)

    while line:
        while line:
            node = line.pop()
            if node in links:
                continue
            needed, number = _needed(core, situation, node)
            link(
                node,
                list(islice(needed, number)),
                all_of_them=isinstance(node, Work) and node._phase < RUNNING,
            )
            rest[node] = needed
        while moving:
            for node in dependents.pop(moving.popleft(), ()):
                missing[node] -= 1
                if missing[node] == 0:
                    moved.add(node)
                    moving.append(node)
        for node in [node for node in rest if node not in moved]:
            if more := list(islice(rest[node], len(links[node]))):
                link(node, more, all_of_them=False)
        rest = {node: needed for node, needed in rest.items() if node not in moved}
    return _apart(situation, {node: links[node] for node in links if node not in moved})


def _needed(core: Core, situation: Situation, node: Node) -> tuple[Iterator[Node], int]:
    """On whom it depends whether a node can go on: of a pending work unit all of these, else one; nobody: it can.

    Returns:
        Those, and how many of the first are to be followed in any case.
    """
    if isinstance(node, Waiter):
        wait = situation.wait_of(node)
        return (iter(()), 0) if wait.goes_on else _unlike_first(wait.works)
    if isinstance(node, Work):
        all_of_them = _needed_by_work(core, situation, node) or ()
        return iter(all_of_them), len(all_of_them)
    holders = iter(situation.holders(node.service if isinstance(node, _OwnLimit) else node) or ())
    first: list[Node] = []
    for holder in islice(holders, _SOME):
        if situation.wait_of(holder).goes_on:
            return iter(()), 0  # which is nearly always the first that is looked at
        first.append(holder)
    return chain(first, holders), _SOME


def _unlike_first(works: Sequence[Work]) -> tuple[Iterator[Node], int]:
    """Those that somebody waits for, and how many are to be followed in any case: of those in one line, one."""
    if len(works) <= _SOME:
        return iter(dict.fromkeys(works)), _SOME
    unlike: dict[Any, Work] = {}
    apart = 0
    for work in works:
        if work._phase in _IN_LINE and work._keyed is None:
            unlike.setdefault((work._task, work._phase), work)
        elif apart < _MOST_APART:
            apart += 1
            unlike[work] = work
    return chain(unlike.values(), works), max(_SOME, len(unlike))


def _needed_by_work(core: Core, situation: Situation, work: Work) -> Sequence[Node] | None:
    phase, declared = work._phase, work._declared
    if phase in (RUNNING, CHECKING):
        runner = situation.runner_of(work)
        return None if runner is None else (runner,)
    if phase == JOINED:
        return None if declared is None or declared.leader is None else (declared.leader,)
    if phase == HELD and (hold := held_by(work)) is not None:
        holder = core.holds.holder_of(hold)
        # One that gives way may do so yet, when nothing else can move.
        return None if holder is None or hold.gives_way else (holder,)
    task = work._task
    if phase == READY or (phase == NEW and (not task.gated or task.gate_is_async)):
        run_queue = task.run_queue
        if run_queue.unasked:
            return None  # somebody is about to be asked, and may be up to date
        full = [service for service in run_queue.services_for(work) if not service.has_slot()]
        if full:
            return full
        kept_for = run_queue.keeps_off_for()
        if kept_for is not None and kept_for is not work:
            return (kept_for,)
        return _shut_by_own_limit(run_queue, work, situation.now)
    return None


def _shut_by_own_limit(run_queue: Any, work: Work, now: float) -> Sequence[Node] | None:
    first = run_queue.first_beside(work)
    for service in run_queue.services_for(first):
        refusal = service.refusal_by_limits(now, first) if run_queue.limits else None
        if refusal is not None:
            return (
                (_OwnLimit(service),) if refusal.by in ("limit", "breaker") and refusal.until == inf else None
            )
    return None


def _apart(situation: Situation, links: Mapping[Node, Sequence[Node]]) -> list[Knot]:
    """Those that have nothing to do with each other apart."""
    beside: dict[Node, list[Node]] = {node: [] for node in links}
    for node, needed in links.items():
        for one in needed:
            if one in beside:
                beside[node].append(one)
                beside[one].append(node)
    knots = []
    seen: set[Node] = set()
    for start in links:
        if start in seen:
            continue
        seen.add(start)
        members = [start]
        for node in members:
            for one in beside[node]:
                if one not in seen:
                    seen.add(one)
                    members.append(one)
        waits = {one: situation.wait_of(one).works for one in members if isinstance(one, Waiter)}
        if waits:
            works = tuple(one for one in members if isinstance(one, Work))
            services = tuple(one for one in members if isinstance(one, Service))
            knots.append(Knot(waits, works, services))
    return knots
