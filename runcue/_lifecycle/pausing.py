"""Pauses of services by hand: where they begin and end.

Lives here: `Pausing`.

Must not know: what a pause keeps from starting, how it is explained.
"""

from __future__ import annotations

from math import inf

from runcue._dispatch.dispatcher import Dispatcher
from runcue._dispatch.timers import Alarm
from runcue._limits.pause import Pause
from runcue._limits.service import Service
from runcue._scheduling.core import Core

__all__ = ["Pausing"]

_KIND = "paused"


class Pausing:
    """Pauses services of one cue, and lets them go on.

    Args:
        core: The state.
        dispatcher: Starts what may start.
    """

    def __init__(self, core: Core, dispatcher: Dispatcher) -> None:
        self._core = core
        self._dispatcher = dispatcher
        self._clock = dispatcher.turns.now
        # A pause that is over has no say; without it the limits of its service are asked as quickly as before.
        self._over = Alarm(dispatcher.timers, self._tidy, passive=True)
        self._paused: dict[Service, Pause] = {}

    def begin(self) -> None:
        """The cue is started: the clock may be another one than that by which pauses were begun."""
        turns = self._dispatcher.turns
        if turns.now is not self._clock:
            shift = turns.now() - self._clock()
            self._clock = turns.now
            for pause in self._paused.values():
                pause.since += shift
                pause.until += shift
            for service in self._core.services.values():
                if service.feedback is not None:
                    service.feedback.shift(shift)
        self._tidy(turns.now())

    def pause(self, service: Service, seconds: float | None) -> None:
        """Let nothing of a service start for so long; None: until `resume`. The last word counts."""
        now = self._dispatcher.turns.now()
        pause = Pause(now, inf if seconds is None else now + seconds)
        self._paused[service] = pause
        self._set(service, pause)
        self._tidy(now)

    def resume(self, service: Service) -> None:
        """Let a service go on: by hand it has the last word over its server and its breaker as well."""
        parts = service.parts()
        learned = {one for one in parts if one.feedback is not None}
        for one in learned:
            one.feedback.resume()  # type: ignore[union-attr]
            self._core.run_queues.look_at(one)
        if learned:
            self._call_back(service.name, learned)
            self._dispatcher.turns.wake()
        for one in parts:
            if self._paused.pop(one, None) is not None:
                self._set(one, None)
                self._core.progressed_at = self._dispatcher.turns.now()  # meanwhile it was no stall

    def _call_back(self, name: str, services: set[Service]) -> None:
        """Let those go on at once that were put back because the server of a service has refused them."""
        core, now = self._core, self._dispatcher.turns.now()
        for work in list(core.returning):
            attempts = work._attempts
            if attempts is None or not attempts.again.is_throttled:
                continue
            used = work._task.run_queue.services_for(work)
            if attempts.again.throttles.service == name and not services.isdisjoint(used):
                attempts.again = attempts.again._replace(at=now)
                core.returning.set(work, now)

    def _set(self, service: Service, pause: Pause | None) -> None:
        service.install(_KIND, pause)
        self._core.run_queues.look_at(service)
        self._dispatcher.turns.wake()

    def _tidy(self, now: float) -> None:
        for service, pause in list(self._paused.items()):
            if pause.room(now):
                del self._paused[service]
                self._set(service, None)
        self._over.set(min((pause.until for pause in self._paused.values()), default=inf))
