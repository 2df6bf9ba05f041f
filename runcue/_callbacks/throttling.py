"""Whether an attempt has failed, or a server has refused it for now; and then which service pauses, and for how long.

Lives here: `Throttling`, which decides that before anybody is asked whether there is another attempt. What a handler
says itself counts first (`runcue.Throttled`); else the first of its services counts whose `throttle=` claims the error.
These functions are user code: what they raise, or an answer that is none, is told and claims nothing.

Must not know: how a decision is carried out, what errors look like.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from math import inf, isnan
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from runcue._callbacks.door import Door
from runcue._callbacks.failures import Failures
from runcue._callbacks.retrying import Retrying, leaves, raised
from runcue._limits.service import Service
from runcue._model.attempts import NEVER_THROTTLED, Again, GiveUp, RetryLater, Throttled, Throttles
from runcue._model.awaitables import discard, is_awaitable
from runcue._model.callables import located
from runcue._model.errors import UsageError, is_a
from runcue._model.kept_errors import add_note, of_its_own
from runcue._model.no_answers import mistake_in, short
from runcue._model.phases import FAILED
from runcue._model.texts import listed, seconds_in_words
from runcue._model.work import Work
from runcue._scheduling.attempts import FailedAttempt, Settle
from runcue._scheduling.core import Core
from runcue._scheduling.giving_way import others_come, refused_in_a_row
from runcue._scheduling.run_queue import RunQueue

if TYPE_CHECKING:
    from runcue._limits.throttle import Throttle

__all__ = ["Throttling"]

_NO_TIME: Final = 0.0

_UP_TO_THE_LONGEST: Final = 10
"""So often it is doubled at the most."""

_SHOWN: Final = 3
"""Who is refused so often in a row, while others are served, is refused for a reason of its own: by chance few are."""


class _Claim(NamedTuple):
    """A refusal.

    Attributes:
        service: By whose server; None: by that of none that the task uses.
        seconds: For how long; None: nobody has said.
    """

    service: Service | None
    seconds: float | None


class Throttling:
    """Decides what the end of an attempt means.

    Args:
        core: Has the run queues, which look at the limits of a service anew that pauses for the first time.
        retrying: Decides about what is no refusal.
        failures: Hears of functions that raise.
        door: Calls them.
        luck: Gives numbers from 0.0 to 1.0.
    """

    def __init__(
        self,
        core: Core,
        retrying: Retrying,
        failures: Failures,
        door: Door,
        luck: Callable[[], float] = random.random,
    ) -> None:
        self._core = core
        self._retrying = retrying
        self._failures = failures
        self._door = door
        self._luck = luck
        # Services of which it was told that somebody has asked them for too long a pause.
        self._told: set[str] = set()

    def decide(self, ended: FailedAttempt) -> Settle | Again:
        """What the end of an attempt means."""
        so_far = _so_far(ended)
        try:
            claim = self._claim_of(ended)
        except UsageError as error:
            error.__cause__ = ended.error
            ended, claim = ended._replace(error=error), None
        if claim is None:
            decision = self._retrying.decide(ended)
            if isinstance(decision, Again) and so_far.waited:
                return decision._replace(throttles=so_far._replace(in_a_row=0, gives_way=False))
            return decision
        at: float | None = None
        service, seconds = claim
        in_a_row = so_far.in_a_row + 1
        was_probe = False
        if service is not None:
            _refund(ended)
            was_probe = _is_probe(service, ended)
            at = self._pause(service, ended, seconds, _nth_wait(in_a_row))
        is_for_all = at is not None
        if at is None:
            at = ended.now + (_nth_wait(in_a_row) if seconds is None else seconds)
        if service is None:
            reached = Throttles(in_a_row, so_far.waited, ended.now)
            return Again(at, counts=False, reason="postponed", throttles=reached)
        if so_far.waited >= service.max_throttled:
            return Settle(FAILED, _said_at_the_end(ended.error, service, so_far.waited), counts=False)
        if is_for_all:
            at += self._stays_away(service, ended, so_far, at)
        reached = Throttles(
            in_a_row,
            so_far.waited,
            ended.now,
            service.name,
            ends=service.max_throttled < inf,
            gives_way=is_for_all and (was_probe or in_a_row > 1),
            paused=0.0 if (throttle := _throttle_of(service)) is None else throttle.paused(ended.now),
        )
        return Again(at, counts=False, reason="throttled", throttles=reached)

    def _pause(
        self, service: Service, ended: FailedAttempt, seconds: float | None, alone: float
    ) -> float | None:
        """Let a service pause; see `Feedback.throttled`."""
        # Most programs are never throttled.
        from runcue._limits.feedback import Feedback  # noqa: PLC0415

        if service.feedback is None:
            service.feedback = Feedback()
        feedback = service.feedback
        before = feedback.throttle
        run = ended.run or ended.work
        at = feedback.throttled(service, ended.now, run, seconds, ended.duration, self._luck, alone)
        if feedback.throttle is not before:
            service.install("throttle", feedback.throttle)
            self._core.run_queues.look_at(service)
        return at

    def _stays_away(self, service: Service, ended: FailedAttempt, so_far: Throttles, at: float) -> float:
        """For how many seconds after a pause a work unit is not tried again although its server may be.

        If others were served since it was refused before, it is this one that is refused. Each time that it comes back
        its service pauses for all, so it does ever less often.
        """
        often, throttle = so_far.in_a_row + 1, _throttle_of(service)
        is_same = often >= _SHOWN and so_far.service == service.name
        if not is_same or throttle is None or throttle.served_at <= so_far.since:
            return 0.0

        def is_better(other: Work) -> bool:
            return refused_in_a_row(other, service) < often

        if not others_come(self._core, service, ended.work, is_better, at):
            return 0.0
        longer = (at - ended.now) * 2.0 ** (min(often, _UP_TO_THE_LONGEST) - _SHOWN + 1)
        return min(longer, service.max_pause, service.max_throttled - so_far.waited)

    def _claim_of(self, ended: FailedAttempt) -> _Claim | None:
        """Whose server has refused an attempt, if one has. Of a group of exceptions, all members have to say so.

        Raises:
            UsageError: The handler has named a service that its task does not use.
        """
        error = raised(ended.error)
        run_queue: RunQueue = ended.work._task.run_queue
        names = ended.work._task.services
        services = [one for one in run_queue.services_for(ended.run or ended.work) if one.name in names]
        if not is_a(error, BaseExceptionGroup):
            return self._claim_by(error, services, ended.work)
        found: _Claim | None = None
        for one in leaves(error):
            if is_a(one, RetryLater):
                continue
            claim = self._claim_by(one, services, ended.work)
            if claim is None:
                return None
            if found is None or (claim.seconds or _NO_TIME) > (found.seconds or _NO_TIME):
                found = claim
        return found

    def _claim_by(self, error: BaseException, services: list[Service], work: Work) -> _Claim | None:
        """Whose server has refused an attempt, according to one error."""
        if is_a(error, Throttled):
            said = error.retry_after if error.until is None else max(0.0, error.until - time.time())
            # At once is no pause: to ask again and again is what it is against.
            seconds = said or None
            if error.service is None and not services:
                return _Claim(None, seconds)
            for service in services:
                if error.service is None or service.name == error.service:
                    return _Claim(service, self._within(service, seconds, work))
            there = listed(repr(one.name) for one in services) or "none"
            raise UsageError(
                f"The handler of {work.task!r} has raised Throttled(service={str(error.service)!r}), and its task does "
                f"not use that service; it uses {there}."
            )
        if is_a(error, RetryLater) or is_a(error, GiveUp):
            return None
        for service in services:
            if service.claims is not None:
                answer = self._ask(service.claims, error, service, work)
                if answer is not None:
                    return _Claim(service, None if answer is True else self._within(service, answer, work))
        return None

    def _ask(
        self, claims: Callable[[Any], Any], error: BaseException, service: Service, work: Work
    ) -> float | bool | None:
        """What a function says of an error: seconds, True or None."""
        name = f"throttle= of service {service.name!r}"
        try:
            answer = self._door.ask(name, claims, error)
            if is_awaitable(answer):
                discard(answer)
                words = "returned something to be awaited; it must be a plain function, as it is asked in one step"
            elif answer is None or answer is False:
                return None
            elif answer is True:
                return True
            elif (words := mistake_in(answer) or "") == "":
                seconds = _seconds(answer)
                if seconds is not None:
                    return seconds or True
                words = f"returned {short(answer)}"
        except BaseException as raised_by_it:
            self._failures.raised(f"{name} {located(claims)}", raised_by_it, work)
            return None
        self._door.no_answer(
            f"{name}, {located(claims)},", f"{words}; it says how many seconds to pause, True or None", work
        )
        return None

    def _within(self, service: Service, seconds: float | None, work: Work) -> float | None:
        """For how long a service pauses that was asked to: no server stops it for ever."""
        most = service.max_pause
        if seconds is None or seconds <= most:
            return seconds
        if service.name not in self._told:
            self._told.add(service.name)
            self._failures.log.tell(
                "headers",
                (work,),
                "Service %r was asked to pause for %s, which max_pause= cuts to %s; this is told once",
                service.name,
                seconds_in_words(seconds),
                seconds_in_words(most),
            )
        return most


def _said_at_the_end(error: BaseException, service: Service, waited: float) -> BaseException:
    """The error of the last refusal, which says that it was the last, and why.

    It is a copy: a handler may raise one object for many work units.
    """
    error = of_its_own(error)
    said = (
        f"refused it for {seconds_in_words(waited)} in all; max_throttled of service {service.name!r} is "
        f"{seconds_in_words(service.max_throttled)}"
    )
    cause = raised(error)
    if is_a(cause, Throttled):
        cause.at_the_end = f"the service has {said}"
    else:
        add_note(error, f"Its server has {said}.")
    return error


def _throttle_of(service: Service) -> Throttle | None:
    """The pauses of a service, None if there never was one."""
    return None if service.feedback is None else service.feedback.throttle


def _is_probe(service: Service, ended: FailedAttempt) -> bool:
    """Whether an attempt was let through first after a pause."""
    throttle = _throttle_of(service)
    return throttle is not None and throttle.is_probe(ended.now, ended.run or ended.work)


def _refund(ended: FailedAttempt) -> None:
    """An attempt that was refused has taken nothing of any budget."""
    run = ended.run or ended.work
    for service in run._task.run_queue.services_for(run):
        for budget in service.all_budgets().values():
            budget.refund(ended.now, run)


def _so_far(ended: FailedAttempt) -> Throttles:
    """How often a work unit was refused before, and how long it has waited because of that.

    What held it after the pause was over has nothing to do with that: a slot elsewhere, a budget, a pause by hand.
    """
    attempts = ended.work._attempts
    again = None if attempts is None else attempts.again
    if again is None:
        return NEVER_THROTTLED
    if not again.is_throttled:
        return again.throttles
    before, began = again.throttles, ended.now - ended.duration
    waited = min(began, again.at) - before.since
    run = ended.run or ended.work
    for service in run._task.run_queue.services_for(run):
        # Others may have been refused meanwhile.
        if (
            service.name == before.service
            and (feedback := service.feedback) is not None
            and feedback.throttle is not None
        ):
            throttle = feedback.throttle
            pauses = throttle.paused(began) - before.paused
            waited = max(min(began, throttle.over(again.at)) - before.since, pauses)
    return before._replace(waited=before.waited + max(0.0, waited))


def _nth_wait(in_a_row: int) -> float:
    """Seconds until a work unit comes back alone that was refused so often in a row, where nobody says for how long."""
    from runcue._limits.throttle import nth_wait  # noqa: PLC0415 - likewise

    return nth_wait(in_a_row)


def _seconds(answer: Any) -> float | None:
    """An answer as a number of seconds; None if it is none."""
    try:
        seconds = float(answer.total_seconds() if hasattr(answer, "total_seconds") else answer)
    except Exception:
        return None
    return None if isnan(seconds) or seconds < 0 else seconds
