"""What servers say of their limits in the headers of their answers, learned from: `Service.read_headers`.

Lives here: `ServerNews`. An answer tells what was left when its server made it. What has started since the work unit
that got it may have been counted by then or not; it counts as if it had not.

Must not know: how headers are written, how what is learned keeps anything from starting.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import inf
from typing import Any, Final

from runcue._callbacks.warning_log import WarningLog
from runcue._dispatch.dispatcher import Dispatcher
from runcue._limits.keyed import KeyService
from runcue._limits.server_limits import Grant, ServerLimits
from runcue._limits.service import Service
from runcue._model.errors import ConfigurationError
from runcue._model.http_headers import Heard, Left, read_headers
from runcue._model.texts import listed, seconds_in_words, shortened
from runcue._model.work import Work
from runcue._scheduling.core import Core
from runcue._scheduling.lines import services_for

__all__ = ["ServerNews"]

_WAIT: Final = "retry-after"


class ServerNews:
    """Learns from the headers of answers to the work units of one cue.

    Args:
        core: The state.
        dispatcher: Has to look what may start by that.
        log: Where it is told what cannot be read, and what was cut.
    """

    def __init__(self, core: Core, dispatcher: Dispatcher, log: WarningLog) -> None:
        self._core = core
        self._dispatcher = dispatcher
        self._log = log

    def read(self, service: Service, headers: Any, work: Work | None) -> None:
        """Learn from the headers of an answer.

        Args:
            service: Whose server has answered.
            headers: As they came.
            work: Whose handler has got it; None if that is not known: then nothing has started since.

        Raises:
            ConfigurationError: They are no headers.
        """
        turns = self._dispatcher.turns
        now = turns.now()
        heard = read_headers(headers, now + turns.skew)
        if not (heard.left or heard.wait or heard.garbage):
            return
        if service.is_keyed:
            service = _of_key(service, work)
        limits = self._limits_of(service)
        since, later = (now, inf), list[Work]()
        if work is not None and work.started_at is not None:
            since = work.started_at - turns.skew, work._seq
            later = list(self._started_after(work, service)) if heard.left else []
        cut = []
        latest = now + service.max_pause
        for grant in _grants(service, heard, now, since, later):
            if grant.until > latest and grant.has_from(1.0) > latest:
                cut.append(f"{grant.said} for {seconds_in_words(grant.until - now)}")
            grant.until = min(grant.until, latest)
            limits.learn(grant, now)
        if isinstance(service, KeyService):
            service.reopen()
        self._tell(service, limits, heard.garbage, cut)
        turns.wake()

    def forget(self, service: Service) -> None:
        """Let what a server has said have no say any more."""
        for one in service.parts():
            if isinstance(limits := one.installed("server"), ServerLimits):
                limits.forget()
                self._core.run_queues.look_at(one)
                self._dispatcher.turns.wake()

    def _limits_of(self, service: Service) -> ServerLimits:
        limits = service.installed("server")
        if not isinstance(limits, ServerLimits):
            # It stays: the next answer is soon to come.
            limits = ServerLimits()
            if isinstance(service, KeyService):
                limits.told = service.service.told  # not once for each key
            service.install("server", limits)
            self._core.run_queues.look_at(service)
        return limits

    def _started_after(self, work: Work, service: Service) -> Iterator[Work]:
        """The work units that use a service and have started after another one, once for each such attempt."""
        since = work.started_at, work._seq
        for one in (*self._dispatcher.in_flight.works, *self._core.returning, *self._ended_after(work)):
            started, attempts = one.started_at, one._attempts
            # All of this is asked for each answer, and most that run have started before.
            if attempts is None and (started is None or (started, one._seq) <= since):
                continue
            if one is work or service not in services_for(one):
                continue
            starts = set() if attempts is None else {attempt.started_at for attempt in attempts.ended}
            if started is not None:
                starts.add(started)
            yield from (one for start in starts if (start, one._seq) > since)

    def _ended_after(self, work: Work) -> Iterator[Work]:
        """The work units that have settled since another one has started."""
        for one in reversed(self._core.history.line):
            if (one.completed_at or 0.0) < (work.started_at or 0.0):
                return
            yield one

    def _tell(self, service: Service, limits: ServerLimits, garbage: list[str], cut: list[str]) -> None:
        if garbage and "garbage" not in limits.told:
            limits.told.add("garbage")
            self._log.tell(
                "headers",
                (),
                "The server of service %r says in its headers what cannot be true or be read, and is left aside: %s. "
                "This is told once",
                service.name,
                listed((shortened(one, 80) for one in garbage), 3),
            )
        if cut and "cut" not in limits.told:
            limits.told.add("cut")
            self._log.tell(
                "headers",
                (),
                "The server of service %r asks to wait by %s; it is asked again after max_pause=, which is %s. This is "
                "told once",
                service.name,
                listed(cut, 3),
                seconds_in_words(service.max_pause),
            )


def _of_key(service: Service, work: Work | None) -> Service:
    """What the key of a work unit has of a service.

    Raises:
        ConfigurationError: It uses none, or there is none.
    """
    found = service if work is None else service.of(work)
    if found is service:
        raise ConfigurationError(
            f"read_headers() of service {service.name!r}, which has limits for each key: say key=, or call it in the "
            "handler of a work unit that uses it."
        )
    return found


def _grants(
    service: Service, heard: Heard, now: float, since: tuple[float, float], later: Sequence[Work]
) -> Iterator[Grant]:
    """What the headers of an answer leave."""
    for one in heard.left:
        if (grant := _grant(service, one, now, since)) is not None:
            grant.left -= sum(grant.amount_of(other) for other in later)
            yield grant
    if heard.wait:
        yield Grant(_WAIT, _WAIT, -inf, now, now + heard.wait, since=since, each=inf)


def _grant(service: Service, one: Left, now: float, since: tuple[float, float]) -> Grant | None:
    """What one header leaves, as it was when the answer was made; None if that is all there is."""
    until = now + one.seconds
    word = one.of.replace("-", "_")
    budget = next((known for known in service.budgets.values() if known.name.replace("-", "_") == word), None)
    if budget is None and not word.endswith(("requests", "tokens")):
        return Grant(one.of, one.said, one.left, now, until, since=since)
    limit = one.limit
    if limit is None and budget is not None:
        limit = float(budget.limit)
    if limit is None and word == "requests":
        limit = service.starts_in(one.seconds)
    grows = 0.0 if limit is None else max(limit - one.left, 0.0) / one.seconds
    if budget is not None:
        return Grant(one.of, one.said, one.left, now, until, grows=grows, since=since, budget=budget.name)
    each = 0.0 if word.endswith("tokens") else 1.0
    return Grant(one.of, one.said, one.left, now, until, grows=grows, since=since, each=each)
