"""What a submission says of its one work unit.

Lives here: taking its params over, and checking what it says in place of its task.

Must not know: tasks, what becomes of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from runcue._model.checks import number_of, yes_or_no
from runcue._model.errors import ConfigurationError, InvalidParams
from runcue._model.overrides import Overrides
from runcue._model.priority import priority_of
from runcue._model.texts import error_words, words_of
from runcue._scheduling.retry import checked_retry

__all__ = ["checked", "take_over"]

_MANY: Final = 1_000_000_000


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


def checked(overrides: Overrides) -> Overrides:
    """What a submission says of how its work unit runs, checked; what it declares is checked where it is declared.

    Raises:
        ConfigurationError: A value cannot work.
    """
    said: dict[str, Any] = {}
    if overrides.priority is not None:
        said["priority"] = priority_of(overrides.priority, "priority")
    if overrides.timeout is not None and not _is_plain(overrides.timeout):
        said["timeout"] = _timeout_of(overrides.timeout)
    if overrides.retry is not None and not _is_plain(overrides.retry):
        said["retry"] = checked_retry(overrides.retry, "retry")
    if overrides.must_complete is not None:
        said["must_complete"] = yes_or_no(overrides.must_complete, "must_complete")
    return overrides._replace(**said) if said else overrides


def _is_plain(value: Any) -> bool:
    """Whether it is a number of seconds or attempts that needs no more than to be kept: most are."""
    return type(value) is int and 0 < value < _MANY


def _timeout_of(value: object) -> float:
    seconds = number_of(value)
    if seconds is None or not seconds > 0:
        raise ConfigurationError(
            f"timeout must be a positive number of seconds (math.inf: no limit), not {words_of(value)}."
        )
    return seconds
