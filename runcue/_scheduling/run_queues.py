"""The run queues of a cue: one for each executor and set of services.

Lives here: `RunQueues`, which makes them when they are first asked for.

Must not know: what stands in them, or who takes it out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from runcue._limits.service import UNBOUNDED, Service
from runcue._model.phases import NEW, READY
from runcue._model.work import Work
from runcue._scheduling.run_queue import RunQueue
from runcue._scheduling.selection import contend

if TYPE_CHECKING:
    from runcue._limits.expenses import Expense

__all__ = ["RunQueues"]


class RunQueues(dict[tuple[int, tuple[str, ...]], RunQueue]):
    """The run queues by the identity of their executor and the names of their services.

    Attributes:
        changed: Services whose limits were changed since it was last counted what is on its way.
    """

    def __init__(self) -> None:
        super().__init__()
        self.changed: dict[Service, None] = {}
        # What was spent of all that budgets count, by its name.
        self.expenses: dict[str, Expense] = {}
        # Those whose breakers have opened, until somebody looks.
        self.broken = WeakSet[Service]()
        # What bounds those of an executor if none of their services has slots.
        self._slots: dict[RunQueue, Service] = {}

    def note_change(self, service: Service) -> None:
        """The limits of a service were changed: it is to be counted what is on its way, and seen who may start."""
        self.changed[service] = None
        self.look_at(service)
        for run_queue in self.values():
            if service in run_queue.services:
                run_queue.unsure_until = 0.0

    def look_at(self, service: Service) -> None:
        """Have those that use a service look what limits it has."""
        service.reopen()  # whoever waits for a key reads its limits each time
        for run_queue in self.values():
            if service in run_queue.services:
                run_queue.look_at_limits()
            elif service.whole in run_queue.services:
                run_queue.hears = run_queue.services

    def first_that_use(self, service: Service, most: int) -> Iterator[Work]:
        """About so many of those who stand in each line for a service, the first ones, whatever key of it they use."""
        for run_queue in self.values():
            if service in run_queue.services or service.whole in run_queue.services:
                first, _ = run_queue.line_for(service)
                if first is not None:
                    yield first
                some = run_queue.some_in_line(0, most)
                yield from (work for work in some if work._phase in (NEW, READY))

    def kept_by_breakers(self, now: float) -> list[Work]:
        """The work units that stand in line and cannot start for a while, after failures in a row of their services."""
        broken = {one for one in self.broken if one.feedback is not None and one.feedback.is_broken(now)}
        if not broken:
            self.broken.clear()
            return []
        return [
            work
            for run_queue in self.values()
            for work in run_queue.in_line()
            if not broken.isdisjoint(run_queue.services_for(work))
        ]

    def bound(self, run_queue: RunQueue, held: Callable[[RunQueue], int]) -> None:
        """See to it that something bounds a run queue, if slots have come or gone.

        Args:
            run_queue: The run queue.
            held: Counts the slots that its work units hold of each of its services.
        """
        slots = self._slots.get(run_queue)
        if slots is None:
            return
        own = tuple(service for service in run_queue.services if service is not slots)
        is_bounded = any(service.concurrent != UNBOUNDED for service in own)
        if is_bounded != (slots in run_queue.services):
            return
        run_queue.services = own if is_bounded else (*own, slots)
        slots.active += -held(run_queue) if is_bounded else held(run_queue)
        former = run_queue.contenders
        for other in former:
            other.contenders.remove(run_queue)
        run_queue.contenders = []
        contend(run_queue, self.values())
        for one in (run_queue, *former):
            one.look_at_limits()

    def place_of(self, run_queue: RunQueue, services: Mapping[str, Service]) -> Service | None:
        """The slots that bound a run queue because of where its handlers run; None if nothing does.

        Args:
            run_queue: The run queue.
            services: Those that are registered.
        """
        slots = self._slots.get(run_queue)
        if slots is None:
            return next((one for one in run_queue.services if services.get(one.name) is not one), None)
        own = (service for service in run_queue.services if service is not slots)
        return None if any(service.concurrent != UNBOUNDED for service in own) else slots

    def are_paused(self) -> bool:
        """Whether some work units wait until somebody lets a service go on that is paused by hand."""
        return any(run_queue.is_paused() for run_queue in self.values())

    def find(
        self,
        names: tuple[str, ...],
        services: Mapping[str, Service],
        executor: Any,
        slots: Service | None,
        *,
        always: bool = False,
    ) -> RunQueue:
        """The run queue of work units that use some services, made when it is new.

        Args:
            names: Of the services.
            services: Those that are registered.
            executor: Runs their handlers; None: the event loop does.
            slots: What bounds them there if none of the services has slots.
            always: Whether it bounds them in any case.
        """
        # What the event loop runs has no slots of its own, unless it is waiting for programs.
        key = id(slots if executor is None else executor), tuple(dict.fromkeys(names))
        known = self.get(key)
        if known is not None:
            return known
        members = tuple(services[name] for name in key[1])
        if slots is not None and (always or all(service.concurrent == UNBOUNDED for service in members)):
            members += (slots,)
        kind = RunQueue
        if any(service.is_keyed for service in members):
            from runcue._scheduling.keyed_run_queue import KeyedRunQueue  # noqa: PLC0415 - few have keys

            kind = KeyedRunQueue
        run_queue = kind(members, executor)
        if slots is not None and not always:
            self._slots[run_queue] = slots
        contend(run_queue, self.values())
        # It holds the executor, or the slots, so no other one can have that identity.
        self[key] = run_queue
        return run_queue
