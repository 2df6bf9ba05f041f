"""How often work is tried again, and after what time: what users describe, and the formula. Pure.

Lives here: `Retry`; `checked_retry`, which checks what `retry=` is given; and what of that is said of a work unit. What
the functions in it say is asked by `_callbacks.retrying`, which decides.

Must not know: clocks, what randomness comes from, who asks, how a work unit is put back.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from math import inf
from typing import TYPE_CHECKING, Any, Final, Never, TypeAlias

from runcue._model.callables import located
from runcue._model.checks import check_callback, is_async, number_of, says_what_it_takes, whole_number
from runcue._model.errors import ConfigurationError
from runcue._model.no_answers import never_returns
from runcue._model.rate import parse_duration
from runcue._model.texts import LONGEST_REPR, shortened, words_of
from runcue._model.work import Work

if TYPE_CHECKING:
    from datetime import timedelta

__all__ = ["Backoff", "On", "Policy", "Retry", "checked_retry", "is_endless", "latest_start", "policy_of"]

On: TypeAlias = "type[BaseException] | tuple[type[BaseException], ...] | Callable[[Any], object]"
"""What `on=` takes; of types it may be a list as well."""

Backoff: TypeAlias = Callable[[int, Any, float], float | None]
"""A policy that is a function: (attempt, error, elapsed), and the answer is in seconds, None for no further attempt."""

Policy: TypeAlias = "Retry | Backoff"

_USUAL_MAX: Final = "60s"
"""No wait between two attempts is longer, if nothing else is said."""


class Retry:
    """How often the work units of a task, or one of them, are tried again, and after what time.

    The names and the formula are those of the library stamina: after attempt n, the next one begins in
    `min(wait_max, wait_initial * wait_exp_base ** (n - 1) + a random number from 0 to wait_jitter)` seconds. Meanwhile
    the work unit is pending and holds no slot, and before the next attempt its gate is asked again.

    Durations are seconds, a timedelta, or text such as "0.5s".

    Args:
        attempts: How many there are at most, the first one included. -1: no end of them.
        on: Which errors are worth another attempt: a type of exceptions, several of them, or a plain function of the
            error. Of a group of exceptions all members must be of the types. A time-out is a `WorkTimeout`. Without
            regard to this, `GiveUp` fails at once, and `KeyboardInterrupt` too; so does a `ConfigurationError` of
            runcue's own, unless it is named here.
        wait_initial: The wait after the first attempt, without the jitter. One of more than 60 s needs a `wait_max`.
        wait_max: No wait is longer, but for what `wait_from` says.
        wait_jitter: Up to so much is added, so that those which have failed together do not come back together.
        wait_exp_base: By this each wait is longer than the one before it.
        timeout: No attempt is begun that would begin later than so long after the start of the first one: one that
            waits for its turn until then comes no more, and the work unit fails with the last error. None: any.
        wait_from: A plain function of the error that says how many seconds to wait, such as what a server has said in
            a header; None for what the formula says.

    Raises:
        ConfigurationError: A value cannot work.

    Example:
        >>> import runcue
        >>> runcue.Retry(attempts=5, on=(ConnectionError, TimeoutError), wait_max="10s").wait(4, 0.0)
        4.0
    """

    # By hand: a dataclass takes longer to make than all the rest of this module.
    __slots__ = (
        "attempts",
        "on",
        "timeout",
        "wait_exp_base",
        "wait_from",
        "wait_initial",
        "wait_jitter",
        "wait_max",
    )

    attempts: int
    on: On
    wait_initial: float
    wait_max: float
    wait_jitter: float
    wait_exp_base: float
    timeout: float | None
    wait_from: Callable[[Any], float | None] | None

    @says_what_it_takes
    def __init__(
        self,
        attempts: int = 3,
        *,
        on: On | list[type[BaseException]] = Exception,
        wait_initial: float | str | timedelta = "0.5s",
        wait_max: float | str | timedelta = _USUAL_MAX,
        wait_jitter: float | str | timedelta = "1s",
        wait_exp_base: float = 2,
        timeout: float | str | timedelta | None = None,
        wait_from: Callable[[Any], float | None] | None = None,
    ) -> None:
        checked = {
            "attempts": _attempts(attempts, "attempts of Retry"),
            "on": _on(on),
            "wait_initial": parse_duration(wait_initial, "wait_initial of Retry", zero=True),
            "wait_max": parse_duration(wait_max, "wait_max of Retry", zero=True),
            "wait_jitter": parse_duration(wait_jitter, "wait_jitter of Retry", zero=True),
            "wait_exp_base": _base(wait_exp_base),
            "timeout": None if timeout is None else parse_duration(timeout, "timeout of Retry"),
            "wait_from": _function(wait_from, "wait_from of Retry", ("error",)),
        }
        if wait_max is _USUAL_MAX and checked["wait_initial"] > checked["wait_max"]:
            # Who gives the one may not know the other; who gives both has seen how they differ.
            raise ConfigurationError(
                f"wait_initial of Retry is {words_of(wait_initial)}, and no wait is longer than wait_max, which is "
                f"{_USUAL_MAX} if nothing else is said: give wait_max=, too."
            )
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    @property
    def ends(self) -> bool:
        """Whether it is certain that there is a last attempt, whatever happens."""
        return self.attempts >= 0 or self.timeout is not None

    def wait(self, attempt: int, luck: float) -> float:
        """Seconds between an attempt that has failed and the next one, by the formula.

        Args:
            attempt: The number of the one that has failed, from 1.
            luck: From 0.0 to 1.0: how much of the jitter is added.
        """
        try:
            grown = self.wait_initial and self.wait_initial * self.wait_exp_base ** (attempt - 1)
        except OverflowError:
            return self.wait_max
        return min(self.wait_max, grown + luck * self.wait_jitter)

    def _said(self) -> dict[str, Any]:
        """What is not as usual, by name."""
        usual = _times(3)
        said: dict[str, Any] = {}
        for name in self.__slots__:
            value, other = getattr(self, name), getattr(usual, name)
            # What is called may be an object that does anything when it is compared.
            if value is not other and not (isinstance(value, int | float) and value == other):
                said[name] = value
        return said

    def __setattr__(self, name: str, value: object) -> Never:
        """It is what it was made as: others may have it as well."""
        raise AttributeError(f"A Retry cannot be changed: make another one, Retry({name}=...).")

    def __delattr__(self, name: str) -> Never:
        """Likewise."""
        raise AttributeError("A Retry cannot be changed.")

    def __eq__(self, other: object) -> bool:
        """Whether the other one says the same."""
        return isinstance(other, Retry) and self._said() == other._said()

    def __hash__(self) -> int:
        return hash(tuple(self._said().items()))

    def __reduce__(self) -> tuple[Any, ...]:
        """As what it is made of: copies and pickles are made anew."""
        return partial(Retry, **self._said()), ()

    def __repr__(self) -> str:
        """What is not as usual: "Retry(attempts=5, wait_max=10.0)"."""
        said = (f"{name}={words_of(value)}" for name, value in self._said().items())
        return shortened(f"Retry({', '.join(said)})", LONGEST_REPR)


def policy_of(work: Work) -> Policy | None:
    """How often a work unit is tried again: what its submission says, else its task; None if there is one attempt."""
    overrides = work._overrides
    if overrides is not None and overrides.retry is not None:
        said: int | Policy = overrides.retry
        return _times(said) if isinstance(said, int) else said
    usual: Policy | None = work._task.retry
    return usual


def latest_start(work: Work) -> float:
    """The instant after which no other attempt of a work unit begins, monotonic; inf if it is not bounded."""
    attempts = work._attempts
    if attempts is None or attempts.began is None or not attempts.again.after_failure:
        return inf
    policy = policy_of(work)
    timeout = policy.timeout if isinstance(policy, Retry) else None
    return inf if timeout is None else attempts.began + timeout


def is_endless(work: Work) -> bool:
    """Whether a work unit that was put back may do so without end: its handler has postponed it, or no policy ends it.

    A function is taken to give None some time. What a server has refused ends as its service says.
    """
    again = None if work._attempts is None else work._attempts.again
    if again is not None and again.is_postponed:
        return True
    if again is not None and again.is_throttled:
        return not again.throttles.ends
    policy = policy_of(work)
    return isinstance(policy, Retry) and not policy.ends


def checked_retry(value: object, what: str) -> Policy | None:
    """Check what says how often work is tried again.

    Args:
        value: As `retry=` was given it.
        what: What it is called in messages.

    Returns:
        A `Retry`, or a function; None if there is one attempt.

    Raises:
        ConfigurationError: It cannot work.
    """
    if value is None:
        return None
    if isinstance(value, Retry):
        return value
    number = None if isinstance(value, float) else number_of(value)
    if number is not None and (number > 0 or number == -1):
        return _times(int(number))
    if isinstance(value, type) or not callable(value):
        hint = (
            " Did you mean runcue.Retry(on=...)?"
            if _is_error(value) or isinstance(value, BaseException)
            else ""
        )
        raise ConfigurationError(
            f"{what} must be how many attempts there are in all (a whole number from 1, or -1 for no end of them), a "
            f"runcue.Retry, or a function of (attempt, error, elapsed), not {words_of(value)}.{hint}"
        )
    checked: Backoff = _function(value, what, ("attempt", "error", "elapsed"))
    return checked


@lru_cache(maxsize=64)
def _times(attempts: int) -> Retry:
    return Retry(attempts)


def _attempts(value: object, what: str) -> int:
    if number_of(value) == -1:
        return -1
    try:
        return whole_number(value, what, 1)
    except ConfigurationError:
        raise ConfigurationError(
            f"{what} must be a whole number of at least 1, or -1 for no end of them, not {words_of(value)}."
        ) from None


def _is_error(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, BaseException)


def _on(value: Any) -> On:
    if _is_error(value):
        kind: type[BaseException] = value
        return kind
    if isinstance(value, (tuple, list, set, frozenset)) and value and all(map(_is_error, value)):
        return tuple(value)
    if isinstance(value, type) or not callable(value):
        hint = f" Write on={type(value).__name__}." if isinstance(value, BaseException) else ""
        raise ConfigurationError(
            "on of Retry must be a type of exceptions, several of them, or a function of the error, "
            f"not {words_of(value)}.{hint}"
        )
    checked: Callable[[Any], object] = _function(value, "on of Retry", ("error",))
    return checked


def _base(value: object) -> float:
    number = number_of(value)
    if number is None or not 0 < number < float("inf"):
        raise ConfigurationError(f"wait_exp_base of Retry must be a positive number, not {words_of(value)}.")
    return number


def _function(value: Any, what: str, takes: tuple[str, ...]) -> Any:
    """A function of the user's that is asked in one step; None is none.

    Raises:
        ConfigurationError: It cannot be.
    """
    if value is None:
        return None
    check_callback(value, what, takes)
    if is_async(value):
        raise ConfigurationError(
            f"{what} must be a plain function, not the `async def` {located(value)}: it is asked in one step."
        )
    if never_returns(value):
        raise ConfigurationError(f"{what}, {located(value)}, returns nothing: is a `return` missing?")
    return value
