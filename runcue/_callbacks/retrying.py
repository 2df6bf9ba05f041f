"""Whether work is tried again, and when: the policy of the work unit is asked, and the functions in it.

Lives here: `Retrying`, which decides what the end of an attempt means. What a handler says itself counts first. The
functions are user code: what they raise, or an answer that is none, fails the work unit with an error that tells of
both.

Must not know: how a decision is carried out.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from math import inf
from typing import Any, Final

from runcue._callbacks.door import BE_QUICK, BLOCKS_AFTER, Door
from runcue._callbacks.failures import Failures
from runcue._callbacks.forks import FORKS, leave
from runcue._model.attempts import Again, GiveUp, RetryLater
from runcue._model.awaitables import discard, is_awaitable
from runcue._model.callables import located
from runcue._model.errors import ConfigurationError, DuplicateWork, HandlerExited, RetryError, is_a
from runcue._model.no_answers import mistake_in, short
from runcue._model.phases import FAILED
from runcue._model.texts import clause_of, error_words, in_one_line
from runcue._model.work import Work
from runcue._scheduling.attempts import FailedAttempt, Settle
from runcue._scheduling.retry import On, Policy, Retry, policy_of

__all__ = ["Retrying", "leaves", "raised"]

_MOST: Final = 1000
"""So many of what is in a group of exceptions are looked at."""


class Retrying:
    """Decides whether there is another attempt.

    Args:
        failures: Has the clock, and hears of a KeyboardInterrupt.
        door: Hears of functions that keep the event loop.
    """

    def __init__(self, failures: Failures, door: Door) -> None:
        self._failures = failures
        self._door = door

    def decide(self, ended: FailedAttempt) -> Settle | Again:
        """What the end of an attempt means."""
        work, error = ended.work, ended.error
        said = _said_by(error)
        if isinstance(said, RetryLater):
            return Again(ended.now + said.delay, counts=False, reason="postponed")
        policy = policy_of(work)
        if policy is None or said is not None:
            return Settle(FAILED, error, counts=said is None)
        attempts = work._attempts
        began = ended.now - ended.duration if attempts is None or attempts.began is None else attempts.began
        try:
            wait = self._wait(policy, work, raised(error), ended.now - began)
        except RetryError as failure:
            failure.error = error
            # It leads to lines of runcue alone; what it holds leads to those that matter.
            return Settle(FAILED, failure.with_traceback(None))
        at = inf if wait is None else ended.now + wait
        if at == inf or (
            isinstance(policy, Retry) and policy.timeout is not None and at > began + policy.timeout
        ):
            return Settle(FAILED, error)
        return Again(at)

    def _wait(self, policy: Policy, work: Work, error: BaseException, elapsed: float) -> float | None:
        """Seconds until the next attempt; None if there is none.

        Raises:
            RetryError: A function raised, or gave no answer.
        """
        if not isinstance(policy, Retry):
            if is_a(error, KeyboardInterrupt):
                return None
            answer = self._ask("retry=", policy, work, error, work.attempt, error, elapsed)
            return None if answer is None else _seconds("retry=", policy, work, error, answer)
        if 0 <= policy.attempts <= work.attempt or not self._is_worth_it(policy.on, work, error):
            return None
        if policy.wait_from is not None:
            answer = self._ask("wait_from=", policy.wait_from, work, error, error)
            if answer is not None:
                return _seconds("wait_from=", policy.wait_from, work, error, answer)
        return policy.wait(work.attempt, random.random())  # noqa: S311 - nobody has to be kept from guessing it

    def _is_worth_it(self, on: On, work: Work, error: BaseException) -> bool:
        if is_a(error, KeyboardInterrupt):
            return False
        if isinstance(on, (type, tuple)):
            if is_a(error, ConfigurationError) and not is_a(error, DuplicateWork):
                # What is written wrong is wrong the next time, too: a placeholder, say, or how a cluster was started.
                names = on if isinstance(on, tuple) else (on,)
                return any(issubclass(one, ConfigurationError) and is_a(error, one) for one in names)
            return issubclass(type(error), on) or (
                is_a(error, BaseExceptionGroup) and all(issubclass(type(one), on) for one in leaves(error))
            )
        answer = self._ask("on=", on, work, error, error)
        if (mistake := mistake_in(answer)) is not None:
            raise _no_answer("on=", on, work, error, mistake)
        try:
            return bool(answer)
        except BaseException as raised:
            raise _raising("on=", on, work, error, raised) from raised

    def _ask(
        self, option: str, call: Callable[..., Any], work: Work, error: BaseException, *args: Any
    ) -> Any:
        began = self._failures.now()
        forks = FORKS.number
        try:
            answer = call(*args)
            if FORKS.number != forks:
                leave(None)
        except BaseException as raised:
            if FORKS.number != forks:
                leave(raised)
            self._failures.pass_on(raised)
            raise _raising(option, call, work, error, raised) from raised
        if (ended := self._failures.now()) - began > BLOCKS_AFTER:
            self._door.blocked(f"{option} of {work.task!r} {located(call)}", began, ended, BE_QUICK, work)
        if is_awaitable(answer):
            discard(answer)
            words = (
                "returned something to be awaited; it must be a plain function, as it is asked in one step"
            )
            raise _no_answer(option, call, work, error, words)
        return answer


def _said_by(error: BaseException) -> RetryLater | GiveUp | None:
    """What a handler itself says of another attempt; of what is in a group of exceptions, giving up counts first."""
    if is_a(error, RetryLater) or is_a(error, GiveUp):
        return error
    if not is_a(error, BaseExceptionGroup):
        return None
    later: RetryLater | None = None
    others = False
    for one in leaves(error):
        if is_a(one, GiveUp):
            return one
        if not is_a(one, RetryLater):
            others = True
        elif later is None or one.delay > later.delay:
            later = one
    return None if others else later


def leaves(group: BaseExceptionGroup[Any]) -> Iterator[BaseException]:
    """What is in a group of exceptions, and in groups in it."""
    line: list[BaseException] = [group]
    seen = 0
    while line and (seen := seen + 1) <= _MOST:
        one = line.pop()
        if is_a(one, BaseExceptionGroup):
            line += one.exceptions
        else:
            yield one


def raised(error: BaseException) -> BaseException:
    """What the handler itself has raised."""
    return error.__cause__ or error if is_a(error, HandlerExited) else error


def _seconds(option: str, call: Callable[..., Any], work: Work, error: BaseException, answer: Any) -> float:
    """An answer as a number of seconds.

    Raises:
        RetryError: It is none.
    """
    seconds: float | None = None
    if not isinstance(answer, (bool, str, bytes, bytearray)):
        try:
            seconds = float(answer)
        except Exception:
            seconds = None
    if seconds is None or not 0 <= seconds < inf:
        words = mistake_in(answer) or f"returned {short(answer)}"
        raise _no_answer(option, call, work, error, f"{words}, and not how many seconds to wait")
    return seconds


def _about(option: str, call: Callable[..., Any], work: Work, words: str, error: BaseException) -> RetryError:
    return RetryError(
        f"{option} of task {in_one_line(work.task, 80)!r}, {located(call)}, {words}. It was asked because attempt "
        f"{work.attempt} had failed with {clause_of(error_words(error))}."
    )


def _no_answer(
    option: str, call: Callable[..., Any], work: Work, error: BaseException, words: str
) -> RetryError:
    """The error where a function has given what is no answer."""
    failure = _about(option, call, work, words, error)
    failure.__cause__ = error
    return failure


def _raising(
    option: str, call: Callable[..., Any], work: Work, error: BaseException, raised: BaseException
) -> RetryError:
    """The error where a function has raised; what the attempt failed with is what that happened during."""
    last = raised
    for _ in range(_MOST):
        if last is error:
            break
        further = last.__cause__ or last.__context__
        if further is None:
            last.__context__ = error
            break
        last = further
    failure = _about(option, call, work, f"raised {clause_of(error_words(raised))}", error)
    failure.__cause__ = raised
    return failure
