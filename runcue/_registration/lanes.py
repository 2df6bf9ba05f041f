"""Lanes as they are described: the rules for `lane=` of tasks and submissions, and `find_lane`, which asks for it.

Must not know: what lanes do.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, Final

from runcue._callbacks.forks import FORKS, leave
from runcue._model.awaitables import discard, is_awaitable
from runcue._model.callables import located
from runcue._model.checks import is_async
from runcue._model.errors import ConfigurationError, InvalidParams, LimitError, RuncueError
from runcue._model.identity import Identity
from runcue._model.kept_errors import kept
from runcue._model.no_answers import never_returns
from runcue._model.overrides import Overrides
from runcue._model.texts import error_words, message_of, words_of
from runcue._model.work import Work
from runcue._registration.declarations import answered_at_once
from runcue._registration.keys import check_equal
from runcue._registration.tasks import by_names, check_function
from runcue._scheduling.lanes import Lanes

__all__ = ["check_lane", "find_lane"]

_RAISED: Final = object()


def check_lane(value: Any, what: str) -> Hashable | Callable[..., Any]:
    """Check what says in which lane a work unit is.

    Raises:
        ConfigurationError: It is a function that cannot give it, or a value that can be none.
    """
    if value is None or type(value) is str:
        return value
    if not callable(value):
        return _lane_of(value, what)
    check_function(value, what)
    if is_async(value):
        raise ConfigurationError(
            f"{what} must be given by a plain function, not by the `async def` {located(value)}: submit() needs it at "
            "once."
        )
    if never_returns(value):
        raise ConfigurationError(f"{what}, {located(value)}, returns nothing; is a `return` missing?")
    return value  # type: ignore[no-any-return]


def _lane_of(value: Any, what: str) -> Hashable:
    if is_awaitable(value):
        discard(value)
        raise ConfigurationError(f"{what} must be a value, not something to be awaited; await it before.")
    try:
        return _checked(value)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        words = message_of(error) if isinstance(error, RuncueError) else error_words(error)
        raise ConfigurationError(
            f"{what} must be something hashable by which it is known, such as text or a tuple, not {words_of(value)}: "
            f"{words}"
        ) from None


def _checked(value: Any) -> Hashable:
    """What a lane is known by.

    Raises:
        Exception: It can be none.
    """
    if type(value) is str or type(value) is Identity:
        return value
    if isinstance(value, Work):
        raise LimitError("each work unit is like no other one")
    lane = answered_at_once(value)
    found = Identity(lane)
    check_equal(lane)
    return found


def find_lane(work: Work, overrides: Overrides, lanes: Lanes) -> LimitError | None:
    """Note in which lane a new work unit is, by its submission or else by its task.

    If that cannot be said it is the work unit's fault, not the submitter's: it will fail by that.

    Returns:
        Why that cannot be said; None if it could.

    Raises:
        InvalidParams: It lacks a param.
        ConfigurationError: What its submission names is not what its handler takes.
    """
    task, lane = work._task, overrides.lane
    what = f"lane of task {task.name!r}"
    if lane is None:
        lane = task.lane
    elif callable(lane):
        what = f"lane of a submission of task {task.name!r}"
        lane = by_names(lane, what, task.parameters)
    if callable(lane):
        given, function = _RAISED, lane
        forks = FORKS.number
        try:
            given = function(work)
            if FORKS.number != forks:
                leave(None)
            lane = None if given is None else _checked(given)
        except (KeyboardInterrupt, InvalidParams):  # it lacks a param
            raise
        except BaseException as error:
            if FORKS.number != forks:
                leave(error)
            return _fault_of(work, what, function, error, given)
    if lane is not None:
        lanes.assign(work, lane)
    return None


def _fault_of(
    work: Work, what: str, function: Callable[..., Any], error: BaseException, given: Any
) -> LimitError:
    """The error of a work unit of which it cannot be said in which lane it is."""
    params = f"(params {words_of(work.params)})"
    where = located(function)
    if given is _RAISED:
        fault = LimitError(f"{what} raised {error_words(error)} in {where} {params}")
        fault.__cause__ = kept(error)  # it is kept with the work unit, and who has submitted that still runs
        return fault
    words = message_of(error) if isinstance(error, RuncueError) else error_words(error)
    return LimitError(f"{what}, by {where}, gave {words_of(given)}, which is no lane: {words} {params}")
