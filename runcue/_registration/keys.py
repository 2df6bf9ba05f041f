"""The keys of services: `per=`, the limits that are functions of a key, and which keys a new work unit has.

Lives here: the rules for both, and `find_keys`, which asks when a work unit is submitted.

Must not know: what a key allows, how anything runs.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any, Final, cast

from runcue._callbacks.forks import FORKS, leave
from runcue._limits.service import Service
from runcue._model.callables import located
from runcue._model.checks import check_callback, is_async
from runcue._model.errors import ConfigurationError, InvalidParams, LimitError, RuncueError
from runcue._model.kept_errors import kept
from runcue._model.no_answers import never_returns
from runcue._model.texts import error_words, message_of, words_of
from runcue._model.work import Work
from runcue._registration.declarations import answered_at_once
from runcue._registration.tasks import by_names, check_function

if TYPE_CHECKING:
    from runcue._limits.keyed import KeyedService, KeyService

__all__ = [
    "ByKey",
    "check_equal",
    "find_keys",
    "function_of_work",
    "is_same_function",
    "read_by_key",
    "read_per",
    "service_of_key",
]

_RAISED: Final = object()


class ByKey:
    """A limit that is a function of the key.

    Attributes:
        function: As it was given.
    """

    __slots__ = ("_read", "_what", "function")

    def __init__(self, function: Callable[[Any], Any], what: str, read: Callable[[Any, str], Any]) -> None:
        self.function = function
        self._what = what
        self._read = read

    def of(self, key: Hashable) -> Any:
        """What it gives for a key, checked; None: there is no such limit.

        Raises:
            ConfigurationError: That cannot work, or it has raised.
        """
        what = f"{self._what}, by {located(self.function)}, for key {words_of(key)}"
        try:
            given = self.function(key)
        except Exception as error:
            raise ConfigurationError(f"{what}: it raised {error_words(error)}.") from error
        if given is None:
            return None
        try:
            return self._read(given, what)
        except ConfigurationError as error:
            text = message_of(error)
            raise ConfigurationError(text if what in text else f"{what}: {text}") from None


def read_per(value: Any, what: str) -> Callable[[Work], Any]:
    """Check a function that gives the key of a work unit: of the work, or of the params that it names.

    Raises:
        ConfigurationError: It cannot.
    """
    if not callable(value):
        raise ConfigurationError(
            f"{what} must be a function that gives the key of a work unit, such as lambda work: work.params['user'], "
            f"not {words_of(value)}."
        )
    check_function(value, what)
    _check_answers(value, what, "a key is needed at once")
    return value  # type: ignore[no-any-return]


def read_by_key(value: Any, what: str, read: Callable[[Any, str], Any]) -> ByKey:
    """Check a limit that is a function of the key.

    Raises:
        ConfigurationError: It cannot be.
    """
    check_callback(value, what, ("key",))
    _check_answers(value, what, "a limit is needed at once")
    return ByKey(value, what, read)


def _check_answers(value: Any, what: str, why: str) -> None:
    if is_async(value):
        raise ConfigurationError(
            f"{what} must be a plain function, not the `async def` {located(value)}: {why}."
        )
    if never_returns(value):
        raise ConfigurationError(f"{what}, {located(value)}, returns nothing; is a `return` missing?")


def is_same_function(one: Any, other: Any) -> bool:
    """Whether two functions are the same, or the same lines with the same values around them."""
    if one is other:
        return True
    try:
        return bool(
            one.__code__ == other.__code__
            and one.__defaults__ == other.__defaults__
            and one.__kwdefaults__ == other.__kwdefaults__
            and [cell.cell_contents for cell in one.__closure__ or ()]
            == [cell.cell_contents for cell in other.__closure__ or ()]
        )
    except Exception:  # they are no functions, or what is around them cannot be compared
        return False


def service_of_key(service: Service, key: Any) -> KeyService:
    """What a key of a service has.

    Raises:
        ConfigurationError: The service has no keys, it cannot be one, or what a limit is for it cannot be said.
    """
    if not service.is_keyed:
        raise ConfigurationError(
            f"Service {service.name!r} has no keys, so that key={words_of(key)} means nothing: that takes per=."
        )
    try:
        return cast("KeyedService", service).of_key(key)
    except ConfigurationError:
        raise
    except Exception as error:
        raise ConfigurationError(
            f"key of service {service.name!r} cannot be {words_of(key)}: {error_words(error)}."
        ) from error


def function_of_work(per: Callable[..., Any], what: str) -> Callable[[Work], Any]:
    """A function of the work that gives the key."""
    return by_names(per, what, None)  # type: ignore[no-any-return]


def find_keys(work: Work, services: tuple[KeyedService, ...]) -> LimitError | None:
    """Note which keys a new work unit has in the services that it uses.

    If that cannot be said it is the work unit's fault, not the submitter's: it will fail by that.

    Args:
        work: New.
        services: Those with limits for each key.

    Returns:
        Why that cannot be said; None if it could.

    Raises:
        InvalidParams: It lacks a param.
    """
    keys = []
    for service in services:
        found = _key_service(work, service)
        if isinstance(found, LimitError):
            return found
        keys.append(found)
    work._keyed = tuple(keys)
    return None


def _key_service(work: Work, service: KeyedService) -> KeyService | LimitError:
    given = _RAISED
    forks = FORKS.number
    try:
        given = service.per(work)
        if FORKS.number != forks:
            leave(None)
        if type(given) is not str:
            answered_at_once(given)
            if given is work:
                raise LimitError(
                    "it gave the work unit itself, which is like no other one; name a param that it has, or take "
                    "work.params[...]"
                )
            check_equal(given)
        return service.of_key(given)
    except (KeyboardInterrupt, InvalidParams):  # it lacks a param
        raise
    except BaseException as error:
        if FORKS.number != forks:
            leave(error)
        return _fault_of(work, service, error, given)


def check_equal(key: Any) -> None:
    """Check that a key can be found again.

    Raises:
        LimitError: It is equal to nothing, as nan, or cannot be compared.
    """
    try:
        is_itself = bool(key == key)  # noqa: PLR0124
    except Exception as error:
        raise LimitError(
            f"it gave {words_of(key)}, which cannot be compared: {error_words(error)}"
        ) from error
    if not is_itself:
        raise LimitError(f"it gave {words_of(key)}, which is not equal to itself: each would be another key")


def _fault_of(work: Work, service: KeyedService, error: BaseException, given: Any) -> LimitError:
    """The error of a work unit of which it cannot be said by which key it uses a service, or what that allows."""
    params = f"(params {words_of(work.params)})"
    where = located(service.per)
    whose = f"per of service {service.name!r}"
    if given is _RAISED:
        fault = LimitError(f"{whose} raised {error_words(error)} in {where} {params}")
        fault.__cause__ = kept(error)
        return fault
    if isinstance(error, ConfigurationError):
        fault = LimitError(f"{message_of(error)} {params}")
        fault.__cause__ = None if error.__cause__ is None else kept(error.__cause__)
        return fault
    if isinstance(error, RuncueError):
        return LimitError(f"{whose}, by {where}: {message_of(error)} {params}")
    return LimitError(
        f"{whose}, by {where}, gave {words_of(given)}, which is no key: {error_words(error)} {params}"
    )
