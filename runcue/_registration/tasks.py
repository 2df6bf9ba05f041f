"""Tasks as they are described: the rules for what `Cue.task` takes, checked in the line of the mistake.

Lives here: `TaskDescription`, all that a user says of a task besides its handler; and the rules for handlers.

Must not know: which tasks and services there are, how anything runs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any, NamedTuple

from runcue._artifacts.artifact import Artifact
from runcue._artifacts.file import File
from runcue._model.callables import located
from runcue._model.checks import check_callback, is_async, is_generator
from runcue._model.command import Command
from runcue._model.errors import ConfigurationError
from runcue._model.priority import priority_of
from runcue._model.texts import describe, words_of
from runcue._scheduling.retry import Policy

if TYPE_CHECKING:
    from runcue._handlers.parameters import Parameters
    from runcue._model.amounts import Amount

__all__ = [
    "TaskDescription",
    "by_names",
    "check_function",
    "check_load",
    "check_priority",
    "code_of",
    "hint_of_braces",
    "name_from",
    "same_source",
    "with_handler",
]


class TaskDescription(NamedTuple):
    """What a user says of a task besides its handler, checked.

    Attributes:
        name: Its name.
        services: The names of those it uses.
        timeout: Seconds a run may take, None for no limit.
        inputs: What its work units need: None, a callable or a tuple of artifacts.
        outputs: What proves them, likewise.
        fresh: The policy that says when outputs are out of date.
        key: What makes two work units the same, or a callable that says so; None: their outputs.
        duplicate: What becomes of one that is the same as another, "join" or "error".
        lane: The lane that they are in, or a callable that says so; None: none.
        priority: How urgent they are: None, a number, or a callable that gives it.
        retry: How often they are tried again: None, a `Retry`, or a function.
        must_complete: Whether a stop runs them whatever it cuts off.
        cost: What they take of budgets: None, amounts by name, or a callable that gives them.
        load: Reads the value of one that was skipped; None: nothing does.
        code: The digests of its handler's code, by part; None where they do not count.
        parameters: What its handler takes beside the work or in place of it; None: the work alone.
    """

    name: str
    services: tuple[str, ...]
    timeout: float | None
    inputs: Any
    outputs: Any
    fresh: Any
    key: Any
    duplicate: str
    lane: Any
    priority: float | Callable[[Any], Any] | None
    retry: Policy | None
    must_complete: bool
    cost: dict[str, Amount] | Callable[..., Any] | None
    load: Callable[..., Any] | None
    code: dict[str, str] | None = None
    parameters: Parameters | None = None


def check_priority(value: object, what: str) -> float | Callable[[Any], Any] | None:
    """Check how urgent the work units of a task are: a number, or a function of the work that gives it.

    Raises:
        ConfigurationError: It is neither.
    """
    if value is None:
        return None
    if not callable(value):
        return priority_of(value, what, "a number from 0.0 to 1.0, or a function of the work that gives one")
    check_function(value, what)
    if is_async(value):
        raise ConfigurationError(
            f"{what} must be given by a plain function, not by the `async def` {located(value)}: order is decided in "
            "one step."
        )
    return value


def check_function(value: object, what: str, *, may_yield: bool = False) -> None:
    """Check a function that says something of each work unit, which it or its params are given to by their names.

    Args:
        value: The function.
        what: What it is called in messages.
        may_yield: Whether it may be a generator function: what it yields is gone through.

    Raises:
        ConfigurationError: It is not callable, takes nothing, or is a generator function.
    """
    check_callback(value, what, None, may_yield=may_yield)
    by_names(value, what, None)


def by_names(value: Any, what: str, parameters: Parameters | None) -> Any:
    """A function of the work in the place of one that names what it is given; what is none stays as it is.

    Args:
        value: What a user has given: a function, or anything else.
        what: What it is called in messages.
        parameters: What the handler takes.

    Raises:
        ConfigurationError: It names what the handler does not take.
    """
    if not callable(value) or isinstance(value, Artifact):
        return value
    from runcue._handlers.named_functions import named  # noqa: PLC0415 - who only imports runcue needs none

    return named(value, what, parameters)


def check_load(value: Any, what: str) -> Callable[..., Any] | None:
    """Check a function that reads the value of a work unit that was skipped, plain or async.

    Raises:
        ConfigurationError: It cannot.
    """
    if value is not None:
        check_function(value, what)
    return value  # type: ignore[no-any-return]


def with_handler(described: TaskDescription, handler: Callable[..., Any]) -> TaskDescription:
    """The description of a task whose handler is known.

    Raises:
        ConfigurationError: It can be no handler, or not one of such a task.
    """
    name = described.name or name_from(handler)
    parameters = _check_handler(name, handler)
    names = () if parameters is None else parameters.names
    for what in ("inputs", "outputs"):
        artifacts = getattr(described, what)
        for artifact in artifacts if type(artifacts) is tuple else ():
            if hint := hint_of_braces(artifact, names, what):
                raise ConfigurationError(f"{what} of task {name!r}: {hint[0].lower()}{hint[1:]}")
    functions = {
        what: by_names(getattr(described, what), f"{what} of task {name!r}", parameters)
        for what in ("inputs", "outputs", "key", "lane", "priority", "cost", "load")
    }
    if isinstance(handler, Command):
        handler.check_artifacts(described.inputs, described.outputs, f"task {name!r}")
    code = code_of(handler, name, described.fresh)
    return described._replace(name=name, parameters=parameters, code=code, **functions)


def hint_of_braces(artifact: Artifact, params: Collection[str], what: str) -> str:
    """What to write in place of a path that names a param in braces, as a format string does; "" if it names none.

    Args:
        artifact: As it was given.
        params: The names of the params that there are.
        what: What it was given as, "inputs" or "outputs".
    """
    if not isinstance(artifact, File) or "{" not in (path := artifact._given):
        return ""
    import re  # noqa: PLC0415 - there are nearly never braces

    named = [name for name in dict.fromkeys(re.findall(r"\{([^\W\d]\w*)[^{}]*\}", path)) if name in params]
    if not named:
        return ""
    return (
        f"Is '{{{named[0]}}}' in {words_of(path)} meant to be a param? A path is taken as it "
        f"is: write {what}=lambda {', '.join(named)}: f{words_of(path)}."
    )


def name_from(handler: object) -> str:
    """What a task is called that was given no name: as its handler is.

    Raises:
        ConfigurationError: That has no name of its own.
    """
    try:
        name = getattr(handler, "__name__", None) if callable(handler) else None
    except Exception:
        name = None
    if not isinstance(name, str) or not name.isidentifier():
        raise ConfigurationError(
            f'A task needs a name, and {describe(handler)} has none to lend it: write cue.task("name")(...).'
        )
    return name


def code_of(handler: Callable[..., Any], name: str, fresh: Any) -> dict[str, str] | None:
    """The digests of a handler's code, by part; None where its policy does not want them.

    Args:
        handler: The handler, checked.
        name: Of its task.
        fresh: The policy, checked.

    Raises:
        ConfigurationError: The code cannot be told.
    """
    if not getattr(fresh, "wants_code", False):
        return None
    from runcue._freshness.handler_code import digests_of_code  # noqa: PLC0415 - few want that, and it takes a parser

    return digests_of_code(handler, f"the handler of task {name!r}")


def _check_handler(name: str, handler: object) -> Parameters | None:
    """Check that a handler can be called with a work or with params, and gives one result.

    Returns:
        What it takes beside the work or in place of it; None: the work alone.

    Raises:
        ConfigurationError: It cannot.
    """
    if not callable(handler):
        raise ConfigurationError(f"The handler of task {name!r} must be callable, not {words_of(handler)}.")
    if is_generator(handler):
        raise ConfigurationError(
            f"The handler of task {name!r}, {describe(handler)}, must not be a generator: nothing of it would "
            "run. Write `return` in place of `yield`."
        )
    from runcue._handlers.parameters import parameters_of  # noqa: PLC0415 - who only imports runcue needs none

    return parameters_of(handler, f"The handler of task {name!r}")


def same_source(one: Callable[..., Any], other: Callable[..., Any]) -> bool:
    """Whether one function is the other, defined again (a notebook cell, a reloaded module)."""
    if one is other or (isinstance(one, Command) and one.is_again(other)):
        return True
    try:
        identity = [(getattr(f, "__module__", None), getattr(f, "__qualname__", None)) for f in (one, other)]
    except Exception:
        return False
    if identity[0] != identity[1] or None in identity[0] or "<lambda>" in str(identity[0][1]):
        return False
    if "<locals>" not in str(identity[0][1]):
        return True
    # Two functions of one name inside one function are two functions, unless they are the same lines.
    lines = [getattr(getattr(f, "__code__", None), "co_firstlineno", None) for f in (one, other)]
    return lines[0] == lines[1]
