"""What a watched folder feeds: the task its files are submitted to, and which of them.

Must not know: folders, how files come.
"""

from __future__ import annotations

import inspect
import os
from typing import Any

from runcue._artifacts.temp_files import PREFIX
from runcue._handlers.parameters import check_annotated
from runcue._handlers.signatures import Names
from runcue._model.callables import located
from runcue._model.errors import ConfigurationError, InvalidParams, UnknownTask
from runcue._model.signature import signature_of
from runcue._model.task import Task
from runcue._model.texts import message_of, shortened, words_of
from runcue._registration.registry import Registry
from runcue._registration.tasks import name_from, with_handler

__all__ = ["check_fed", "check_pattern", "task_fed"]


def check_fed(registry: Registry, submit: Any) -> None:
    """Check what files are submitted to: a task, by name or by handler, or a function that can become one.

    Raises:
        UnknownTask: There is none of that name.
        DuplicateTask: Another handler has the name that the function would have as a task.
        InvalidParams: It does not take `path`, or not that alone.
        ConfigurationError: It is neither a name nor a handler, or does not say what it takes.
    """
    if not isinstance(submit, str) and not callable(submit):
        raise ConfigurationError(
            f"submit of watch() must be the name of a task or its handler, not {words_of(submit)}."
        )
    try:
        task = registry.find(submit)
    except UnknownTask:
        if isinstance(submit, str):
            raise
        name = name_from(submit)
        parameters, handler = with_handler(registry.describe_task(name), submit).parameters, submit
        registry.check_unique(name, submit)
        if parameters is None:
            check_annotated(submit)
    else:
        parameters, handler = task.parameters, task.handler
    if parameters is not None:
        try:
            parameters.fill({"path": "a/file"})
        except InvalidParams as error:
            raise InvalidParams(f"watch() submits path= and nothing else: {message_of(error)}") from None
        _check_text(handler)
    elif (signature := signature_of(handler)) is not None and "path" in signature.parameters:
        check_annotated(handler)  # it would get the work unit


def _check_text(handler: Any) -> None:
    """Check that a handler can do with a path that is a text.

    Raises:
        InvalidParams: By its annotation it takes something else, and there is no decorator that may make that of it.
    """
    signature = None if hasattr(handler, "__wrapped__") else signature_of(handler)
    path = None if signature is None else signature.parameters.get("path")
    if path is None or path.annotation is path.empty or path.kind is path.VAR_KEYWORD:
        return
    if not Names(handler).take_text(path.annotation):
        said = path.annotation
        kind = said if isinstance(said, str) else inspect.formatannotation(said)
        raise InvalidParams(
            f"watch() submits path= as a text, and {located(handler)} takes it as {shortened(kind, 80)}: write "
            "path: str, and Path(path) inside of it, say."
        )


def task_fed(registry: Registry, submit: Any) -> Task:
    """The task that files are submitted to, once that was checked; a function of nobody's is registered."""
    try:
        return registry.find(submit)
    except UnknownTask:
        return registry.enter(registry.task_for_call(submit))


def check_pattern(pattern: Any, *, submits: bool) -> str | None:
    """Check what the names of files must match.

    Args:
        pattern: As given.
        submits: Whether files are submitted at all.

    Raises:
        ConfigurationError: No name can match it, or nothing is submitted.
    """
    if pattern is None:
        return None
    if not isinstance(pattern, str):
        raise ConfigurationError(
            f'pattern of watch() must be a text, such as "*.pdf", not {words_of(pattern)}; for several, call watch() '
            "once for each."
        )
    text = str.__str__(pattern)  # what a subclass does is its own business
    if not submits:
        raise ConfigurationError(
            f"pattern={words_of(text)} of watch() says which files are submitted, and there is no submit= that says to "
            "which task."
        )
    if not text:
        raise ConfigurationError(
            'pattern of watch() is empty: leave it out for all files, or write "*.pdf", say.'
        )
    if os.sep in text or (os.altsep is not None and os.altsep in text) or "\0" in text:
        raise ConfigurationError(
            f"pattern of watch() is compared with the names of files, and no name matches {words_of(text)}: watch "
            'that folder, with "*.pdf", say. What is in its folders counts unless recursive=False.'
        )
    if text.startswith(PREFIX):
        raise ConfigurationError(
            f"pattern={words_of(text)} of watch() is for runcue's own: no file is submitted whose name begins with "
            f"{PREFIX}."
        )
    return text
