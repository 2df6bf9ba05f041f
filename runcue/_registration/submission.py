"""What a submission says of its one work unit.

Lives here: taking its params over, or finding them out of a call, and checking what it says in place of its task.

Must not know: which tasks there are, what becomes of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import inf
from typing import Any, Final

from runcue._model.callables import located
from runcue._model.checks import number_of, yes_or_no
from runcue._model.errors import ConfigurationError, InvalidParams
from runcue._model.overrides import OPTIONS, Overrides
from runcue._model.priority import priority_of
from runcue._model.rate import parse_duration
from runcue._model.task import Task
from runcue._model.texts import error_words, words_of
from runcue._scheduling.retry import checked_retry

__all__ = ["overrides_of", "params_for", "params_of_call", "take_over"]

_new = Overrides.__new__

_MANY: Final = 1_000_000_000
_COUNTS: Final = frozenset(("timeout", "retry"))
"""What may be a whole number of seconds or attempts, which needs no more than to be kept: most are."""

_WAITS: Final = frozenset(("delay", "run_at"))
"""What says when a work unit may begin."""

_last: Final = [Overrides({"": None})]
"""The last options that were all in `_COUNTS`: who submits many mostly says the same of all of them, by the same
objects. Half of what options cost was another object with another dict for each."""

_LAST: Final = 253_402_300_800.0
"""The end of the year 9999. What is later is meant otherwise, and no date could say it."""


def take_over(params: object) -> dict[str, Any]:
    """Copy the params of a submission, so that later changes of the caller's mapping are not seen.

    Raises:
        InvalidParams: It is no mapping.
    """
    if params is None:
        return {}
    if not isinstance(params, Mapping):
        raise InvalidParams(
            f'params must be a mapping, such as {{"page": 1}}, not {type(params).__name__}: {words_of(params)}.'
        )
    try:
        return dict(params)
    except Exception as error:
        raise InvalidParams(f"params must be a mapping that can be copied: {error_words(error)}.") from error


def params_for(task: Task, params: object) -> dict[str, Any]:
    """The params of a work unit: those of its submission, and the defaults of its handler.

    Raises:
        InvalidParams: They are no mapping, or not such as its handler takes.
    """
    taken = take_over(params)
    if task.parameters is not None:
        taken = task.parameters.fill(taken)
    return taken


def params_of_call(task: Task, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The params of a work unit that is a call of its handler with these values, its work unit apart.

    Raises:
        InvalidParams: It cannot be called so.
    """
    if task.parameters is not None:
        try:
            params: dict[str, Any] = task.parameters.bind(args, kwargs)
        except InvalidParams as error:
            meant = [name for name in kwargs if name in OPTIONS and name not in task.parameters.names]
            if not meant:
                raise
            raise InvalidParams(
                f"{error} If {meant[0]} is meant as an option: these go with "
                f"submit({words_of(task.name)}, params={{...}}, {meant[0]}=...)."
            ) from None
        return params
    if args or kwargs:
        raise InvalidParams(
            f"{located(task.handler)} takes its work unit alone, and no values: name them as parameters of it, or "
            f"write submit({task.name!r}, params={{...}}), which it finds in work.params."
        )
    return {}


def overrides_of(said: dict[str, Any]) -> Overrides | None:
    """What a submission says by its options, checked; what it declares is checked where it is declared.

    Args:
        said: The options by name, each of them one of `OPTIONS`. They belong to what is returned.

    Returns:
        None if all of that is usual.

    Raises:
        ConfigurationError: A value cannot work.
    """
    if len(said) == 1 and type(said.get("lane")) is str:  # in a short way: of these there may be very many
        overrides = _new(Overrides)
        overrides.__dict__ = said
        return overrides
    known = _last[0]
    if len(known.__dict__) == len(said):
        there = known.__dict__
        for name, value in said.items():
            if there.get(name, there) is not value:
                break
        else:
            return known
    is_usual, declares, waits, are_counts = True, False, False, True
    for name, value in said.items():
        if type(value) is int and name in _COUNTS and 0 < value < _MANY:
            # In a short way: most are such.
            is_usual = False
        elif value is not OPTIONS[name]:
            is_usual = are_counts = False
            if name in _CHECKS:
                said[name] = _CHECKS[name](value)
                waits = waits or name in _WAITS
            else:
                declares = True
    if is_usual:
        return None
    if declares:
        said["declares"] = True
    if waits:
        if not (said.get("run_at") is None or said.get("delay") is None):
            raise ConfigurationError(
                "delay and run_at both say when the work unit may begin; give one of them."
            )
        said["waits"] = True
    # Not through its __init__, which would cost a twentieth of a whole submission.
    overrides = _new(Overrides)
    overrides.__dict__ = said
    if are_counts:
        _last[0] = overrides
    return overrides


def _instant_of(value: Any) -> float:
    """An instant of the wall clock, in seconds since the epoch."""
    forms = "a datetime with a time zone, or a Unix timestamp in seconds"
    instant: float | None
    # A datetime has these; to import datetime for this would cost every program time.
    if hasattr(type(value), "timestamp") and hasattr(type(value), "utcoffset"):
        try:
            is_naive = value.utcoffset() is None
            instant = None if is_naive else number_of(value.timestamp())
        except Exception:
            is_naive, instant = False, None
        if is_naive:
            raise ConfigurationError(
                f"run_at must be {forms}, and {words_of(value)} has no time zone: elsewhere it is another instant. "
                "Write datetime.now(UTC) + ..., or value.astimezone() if it is local time."
            )
    else:
        instant = number_of(value)
    if instant is None or not -inf < instant < inf:
        raise ConfigurationError(f"run_at must be {forms}, not {words_of(value)}.")
    if instant > _LAST:
        hint = "; is it in milliseconds?" if instant / 1000 <= _LAST else ""
        raise ConfigurationError(
            f"run_at must be an instant before the year 10000 in seconds, not {words_of(value)}{hint}"
            f"{'' if hint else '.'}"
        )
    return instant


def _metadata_of(value: Any) -> dict[Any, Any]:
    if isinstance(value, Mapping):
        try:
            return dict(value)
        except Exception as error:
            raise ConfigurationError(
                f"metadata must be a dict that can be copied: {error_words(error)}."
            ) from error
    raise ConfigurationError(
        f'metadata must be a dict, such as {{"user": "anna"}}, not {type(value).__name__}: {words_of(value)}.'
    )


def _lane_of(value: Any) -> Any:
    from runcue._registration.lanes import check_lane  # noqa: PLC0415 - who only imports runcue needs none

    return check_lane(value, "lane")


def _cost_of(value: Any) -> Any:
    from runcue._registration.costs import check_cost  # noqa: PLC0415 - who only imports runcue needs no limits

    return check_cost(value, "cost")


_CHECKS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "lane": _lane_of,
    "priority": lambda value: priority_of(value, "priority"),
    "timeout": lambda value: parse_duration(value, "timeout", endless=True),
    "retry": lambda value: checked_retry(value, "retry"),
    "must_complete": lambda value: yes_or_no(value, "must_complete"),
    "cost": _cost_of,
    "delay": lambda value: parse_duration(value, "delay", zero=True),
    "run_at": _instant_of,
    "metadata": _metadata_of,
    "wait": lambda value: yes_or_no(value, "wait"),
}
