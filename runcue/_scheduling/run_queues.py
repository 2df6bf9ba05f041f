"""The run queues of a cue: one for each executor and set of services.

Lives here: `RunQueues`, which makes them when they are first asked for.

Must not know: what stands in them, or who takes it out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runcue._limits.service import UNBOUNDED, Service
from runcue._scheduling.run_queue import RunQueue
from runcue._scheduling.selection import contend

__all__ = ["RunQueues"]


class RunQueues(dict[tuple[int, tuple[str, ...]], RunQueue]):
    """The run queues by the identity of their executor and the names of their services."""

    def look_at(self, service: Service) -> None:
        """Have those that use a service look what limits it has."""
        for run_queue in self.values():
            if service in run_queue.services:
                run_queue.look_at_limits()

    def are_paused(self) -> bool:
        """Whether some work units wait until somebody lets a service go on that is paused by hand."""
        return any(run_queue.is_paused() for run_queue in self.values())

    def find(
        self, names: tuple[str, ...], services: Mapping[str, Service], executor: Any, slots: Service | None
    ) -> RunQueue:
        """The run queue of work units that use some services, made when it is new.

        Args:
            names: Of the services.
            services: Those that are registered.
            executor: Runs their handlers; None: the event loop does.
            slots: What bounds them there if none of the services has slots.
        """
        key = id(executor), tuple(dict.fromkeys(names))
        known = self.get(key)
        if known is not None:
            return known
        members = tuple(services[name] for name in key[1])
        if slots is not None and all(service.concurrent == UNBOUNDED for service in members):
            members += (slots,)
        run_queue = RunQueue(members, executor)
        contend(run_queue, self.values())
        # It holds the executor, so no other one can have that identity.
        self[key] = run_queue
        return run_queue
