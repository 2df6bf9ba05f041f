"""What tasks and submissions declare of artifacts: checked where the mistake is made, and found out for each work unit.

Lives here: the rules for `inputs=`, `outputs=`, `fresh=`, `key=` and `duplicate=`, and `declare`, which makes the
declaration of a work unit out of what its task and its submission say.

Must not know: who else makes the same, when artifacts are asked.
"""

from __future__ import annotations

import inspect
from collections.abc import Hashable, Iterator
from os import sep
from types import AsyncGeneratorType, GeneratorType
from typing import Any, Final

from runcue._artifacts.artifact import Artifact, check_identity
from runcue._artifacts.declared import as_artifacts
from runcue._artifacts.file import File
from runcue._artifacts.flag import Flag
from runcue._artifacts.places import PASS
from runcue._callbacks.door import Door
from runcue._callbacks.forks import FORKS, leave
from runcue._freshness.newer import newer
from runcue._model.awaitables import discard, is_awaitable
from runcue._model.callables import located
from runcue._model.checks import has_methods, is_async, is_kind, is_one_of, yes_or_no
from runcue._model.declaration import Declaration
from runcue._model.errors import ArtifactError, ConfigurationError, InvalidParams, RuncueError
from runcue._model.identity import Identity
from runcue._model.kept_errors import kept
from runcue._model.no_answers import mistake_in, never_returns, short
from runcue._model.overrides import DEFAULT, NO_OVERRIDES, Overrides
from runcue._model.task import Task
from runcue._model.texts import error_words, message_of, words_of
from runcue._model.work import Work
from runcue._registration.tasks import TaskDescription, by_names, check_function

__all__ = [
    "answered_at_once",
    "check_artifacts",
    "check_duplicate",
    "check_fresh",
    "check_key",
    "declare",
    "declared_by_values",
    "functions_of",
    "tell_no_key",
    "without_return",
]

_USUAL = newer()

_RAISED: Final = object()


def check_artifacts(value: object, what: str) -> Any:
    """Check artifacts as they are declared.

    Returns:
        None, a callable, or a tuple of artifacts.

    Raises:
        ConfigurationError: It is none of these.
    """
    if value is None:
        return None
    if callable(value) and not isinstance(value, Artifact):
        check_function(value, what, may_yield=True)
        _check_plain(value, what)
        return value
    try:
        return _checked(as_artifacts(value, what))
    except ArtifactError as error:
        raise ConfigurationError(str(error)) from None
    except ConfigurationError as error:  # of a path among them
        raise ConfigurationError(f"{error} It is given as {what}.") from None


def check_key(value: Any, what: str) -> Any:
    """Check what makes two work units the same.

    Raises:
        ConfigurationError: It is a function that cannot give it, or a value that is not hashable.
    """
    if value is None:
        return None
    if callable(value):
        check_function(value, what)
        _check_plain(value, what)
    elif is_awaitable(value):
        discard(value)
        raise ConfigurationError(f"{what} must be a value, not something to be awaited; await it before.")
    else:
        return _key_of(value, what)
    return value


def _check_plain(function: Any, what: str) -> None:
    if is_async(function) or is_kind(function, inspect.isasyncgenfunction):
        raise ConfigurationError(
            f"{what} must be given by a plain function, not by the `async def` {located(function)}: submit() needs it "
            "at once. Await what it takes before you submit, and hand it over in params."
        )


def check_fresh(value: object, what: str) -> Any:
    """Check a freshness policy.

    Raises:
        ConfigurationError: It is none.
    """
    if value is DEFAULT:
        return newer()
    if value is None:
        return None
    if has_methods(value, methods := ("stale", "started", "finished")):
        if any(is_async(getattr(value, name)) for name in methods):
            raise ConfigurationError(
                f"{what}: the methods of {words_of(value)} must be plain, not `async def`."
            )
        return value
    raise ConfigurationError(
        f"{what} must be runcue.newer(), runcue.digest(), None or an object with their methods, not {words_of(value)}."
    )


def check_duplicate(value: object) -> str:
    """Check what is to be done about a second work unit that would make the same.

    Raises:
        ConfigurationError: It is neither "join" nor "error".
    """
    if not is_one_of(value, ("join", "error")):
        raise ConfigurationError(f'duplicate must be "join" or "error", not {words_of(value)}.')
    return str(value)


def declare(work: Work, cells: dict[Hashable, list[int]], overrides: Overrides) -> Declaration:
    """Find out what a new work unit declares, by its task and its submission.

    A callable that raises is the work's fault, not the submitter's: the work will fail by it.

    Args:
        work: New.
        cells: Those of the cue's flags.
        overrides: What its submission declares.

    Raises:
        ConfigurationError: A value given to `submit()` cannot work.
    """
    task = work._task
    declared = work._declared = Declaration((), (), task.fresh)
    inputs, outputs, key = overrides.inputs, overrides.outputs, overrides.key
    if overrides is not NO_OVERRIDES:
        if overrides.duplicate is not None:
            check_duplicate(overrides.duplicate)
        if overrides.force is not False and yes_or_no(overrides.force, "force"):
            declared.forced = True
        if overrides.fresh is not DEFAULT:
            declared.fresh = check_fresh(overrides.fresh, "fresh")
    what = task.inputs if inputs is None else _given(task, "inputs", check_artifacts(inputs, "inputs"))
    if what is not None:
        declared.inputs = _artifacts(work, declared, "inputs", what, cells, inputs is None)
    what = task.outputs if outputs is None else _given(task, "outputs", check_artifacts(outputs, "outputs"))
    if what is not None:
        found = _artifacts(work, declared, "outputs", what, cells, outputs is None)
        declared.outputs = found
        for artifact in found:
            if type(artifact) is File or isinstance(artifact, File):
                declared.files = True
                if artifact._place.linkless != PASS.number and artifact.is_link():
                    declared.makes += artifact.pointed()
        if found and declared.fresh is not _USUAL:
            if hasattr(declared.fresh, "check"):
                declared.fresh.check(found)
            declared.whole = bool(getattr(declared.fresh, "wants_status", False))
    if key is not None or task.key is not None:
        if key is not None:
            key = _given(task, "key", check_key(key, "key"))
        declared.key = _key(work, declared, task.key if key is None else key)
    return declared


def _given(task: Task, name: str, value: Any) -> Any:
    """What a submission declares: of a function, one of the work."""
    return by_names(value, f"{name} of a submission of task {task.name!r}", task.parameters)


def declared_by_values(work: Work, given: Overrides) -> dict[str, Any]:
    """What a work unit has declared that another one is to declare that does the same once more.

    Args:
        work: The work unit.
        given: What its submission says; what that says by functions is asked anew, but for its lane.
    """
    declared = work._declared
    if declared is None:
        return {}
    said = {name: getattr(work, name) for name in ("inputs", "outputs") if _is_by_value(getattr(given, name))}
    return said if declared.lane is None else {**said, "lane": declared.lane.key}


def _is_by_value(artifacts: object) -> bool:
    """Whether artifacts are given, and not by a function that says which they are."""
    return artifacts is not None and (isinstance(artifacts, Artifact) or not callable(artifacts))


def tell_no_key(door: Door, work: Work, overrides: Overrides) -> None:
    """A function that is to give a key has not; if it has not raised either, that is told."""
    assert work._declared is not None
    if work._declared.fault is None:
        words = (
            "returned None; is a `return` missing? That is no key: what the work unit makes is what counts"
        )
        door.no_answer(functions_of(work, overrides)["key"], words, work)


def functions_of(work: Work, overrides: Overrides) -> dict[str, str]:
    """The functions that say what a work unit declares, with their places in the source, by what they say."""
    task = work._task
    given = {
        name: getattr(task, name) if getattr(overrides, name) is None else getattr(overrides, name)
        for name in ("inputs", "outputs", "key")
    }
    given |= {f"per of {service.name}": service.per for service in getattr(task.run_queue, "keyed", ())}
    return {
        name: f"{name.split()[0]}= {located(value)}"
        for name, value in given.items()
        if callable(value) and not isinstance(value, Artifact)
    }


def without_return(task: TaskDescription) -> Iterator[tuple[str, str]]:
    """The functions of a task that cannot say what it declares, as nothing is returned in them.

    Yields:
        What each was to say, and which function it is, with its place in the source.
    """
    from runcue._handlers.named_functions import NamedFunction  # noqa: PLC0415 - who only imports runcue needs none

    for name in ("inputs", "outputs"):
        value = getattr(task, name)
        if callable(value) and never_returns(
            value.__wrapped__ if isinstance(value, NamedFunction) else value
        ):
            yield name, f"{name}= {located(value)}"


def _artifacts(
    work: Work,
    declared: Declaration,
    name: str,
    what: Any,
    cells: dict[Hashable, list[int]],
    of_task: bool,
) -> tuple[Artifact, ...]:
    """The artifacts of a work unit, out of what was declared of them.

    Args:
        work: New.
        declared: Takes the fault if a callable raises.
        name: What they are declared as.
        what: Artifacts, or a callable that gives them.
        cells: Those of the cue's flags.
        of_task: Whether they are declared for all work units of the task.
    """
    if type(what) is not tuple:
        given = _RAISED
        forks = FORKS.number
        try:
            given = what(work)
            if FORKS.number != forks:
                leave(None)
            if type(given) is str:  # by far the most frequent
                return (File(given),)
            if (found := _plain_ones(given, cells)) is not None:
                return found
            what = _checked(as_artifacts(given, "they"))
        except (KeyboardInterrupt, InvalidParams):  # it lacks a param
            raise
        except BaseException as error:
            if FORKS.number != forks:
                leave(error)
            declared.fault = _fault_of(work, name, what, error, given)
            return ()
        of_task = False
    led_elsewhere = False
    for artifact in what:
        if isinstance(artifact, File):
            # Where it leads may be another place by now; not so if its folder was just seen.
            led_elsewhere |= _may_lead_elsewhere(artifact) or (of_task and artifact._given[0] != sep)
        elif isinstance(artifact, Flag) and artifact._home is not cells:
            artifact.share(cells)
    return tuple(_led(one, of_task) for one in what) if led_elsewhere else what


def _may_lead_elsewhere(file: File) -> bool:
    return file._path is not file._key or file._place.seen != PASS.number


def _led(artifact: Artifact, of_task: bool) -> Artifact:
    """An artifact as its path leads now; a path that a task declares is taken from the working folder of now."""
    if not isinstance(artifact, File):
        return artifact
    return artifact.again(artifact._given if of_task else None)


def _key(work: Work, declared: Declaration, key: Any) -> Hashable:
    if callable(key):
        given = _RAISED
        forks = FORKS.number
        try:
            given = key(work)
            if FORKS.number != forks:
                leave(None)
            answer = answered_at_once(given)
            if answer is None:
                return None
        except (KeyboardInterrupt, InvalidParams):  # it lacks a param
            raise
        except BaseException as error:
            if FORKS.number != forks:
                leave(error)
            declared.fault = _fault_of(work, "key", key, error, given)
            return None
        key = answer
    return _key_of(key, "key")


def _key_of(key: Any, what: str) -> Hashable:
    if type(key) is str or type(key) is Identity:
        return key
    try:
        return Identity(key)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise ConfigurationError(
            f"{what} must be hashable, not {words_of(key)}: {error_words(error)}"
        ) from None


def answered_at_once(key: Any) -> Any:
    """A key, unless it would have to be awaited, or nothing of it has run: each of these would be a key of its own.

    Raises:
        ArtifactError: It is none.
    """
    if is_awaitable(key):
        discard(key)
        raise ArtifactError("it gave something to be awaited; a key is needed at once, by a plain function")
    if isinstance(key, (GeneratorType, AsyncGeneratorType)):
        raise ArtifactError("it gave a generator, of which nothing has run; a key is given by `return`")
    if isinstance(key, Iterator):
        raise ArtifactError(
            f"it returned {short(key)}, which is equal to nothing else; put tuple(...) around it"
        )
    # A function may be a key: of what it is called with there may be many.
    if not callable(key) and (mistake := mistake_in(key)) is not None:
        raise ArtifactError(f"it {mistake}")
    return key


def _plain_ones(given: Any, cells: dict[Hashable, list[int]]) -> tuple[Artifact, ...] | None:
    """Artifacts of the usual kinds as they are given, None if it takes a closer look."""
    kind = type(given)
    if kind is File or kind is Flag:
        given = (given,)
    elif kind is not list and kind is not tuple:
        return None
    for one in given:
        kind = type(one)
        if kind is Flag:
            if one._home is not cells:
                one.share(cells)
        elif kind is not File or _may_lead_elsewhere(one):
            return None
    return tuple(given)


def _checked(artifacts: tuple[Artifact, ...]) -> tuple[Artifact, ...]:
    for artifact in artifacts:
        kind = type(artifact)
        if kind is File or kind is Flag:
            continue
        check_identity(artifact)
        if kind.valid is Artifact.valid:
            raise ArtifactError(f"{type(artifact).__qualname__} must define valid() to be an artifact.")
    return artifacts


def _fault_of(work: Work, name: str, function: Any, error: BaseException, given: Any) -> ArtifactError:
    """The error of a work unit of which it cannot be said what it declares.

    Args:
        work: The work unit.
        name: What was to be said.
        function: The function that was to say it.
        error: What has come of that.
        given: What the function has returned; `_RAISED` if it has raised the error.
    """
    whose = f"{name} of task {work.task!r}"
    params = f"(params {words_of(work.params)})"
    if given is not _RAISED and isinstance(error, RuncueError):
        # Nobody has raised anything there: what was returned is no good, and the traceback would be runcue's.
        return ArtifactError(f"{whose}, by {located(function)}: {message_of(error)} {params}")
    fault = ArtifactError(f"{whose} raised {error_words(error)} in {located(function)} {params}")
    fault.__cause__ = kept(error)  # it is kept with the work unit, and who has submitted that still runs
    return fault
