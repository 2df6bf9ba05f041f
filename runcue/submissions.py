"""Submissions as they are written down: in Python, as `cue.plan()` takes them, or in a file, one JSON object a line.

Lives here: both forms, and reading them. What a file says is planned and submitted like what is written in Python.

Must not know: which tasks there are, what becomes of a submission.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from difflib import get_close_matches
from functools import partial
from typing import Any, Final, NamedTuple

from runcue._model.checks import check_text, says_what_it_takes
from runcue._model.errors import ConfigurationError
from runcue._model.rate import parse_duration
from runcue._model.texts import words_of

__all__ = ["Submission", "Written", "read", "read_lines"]

_BOM: Final = b"\xef\xbb\xbf"
_SHOWN: Final = 60

_FIELDS: Final = (
    "task",
    "params",
    "inputs",
    "outputs",
    "fresh",
    "key",
    "lane",
    "duplicate",
    "force",
    "priority",
    "timeout",
    "retry",
    "must_complete",
    "cost",
    "delay",
    "run_at",
    "metadata",
)


class Submission(NamedTuple):
    """What one call of `cue.submit()` is given.

    Attributes:
        task: The name of a task, or its handler.
        params: Its params.
        options: What else `cue.submit()` takes, by name.
        where: Where it is written, for messages, as in "work.jsonl:3"; "" if nobody knows.

    Example:
        >>> Submission("ask", {"page": 1})
        Submission(task='ask', params={'page': 1}, options={}, where='')
    """

    task: Any
    params: Mapping[str, Any] = {}
    options: Mapping[str, Any] = {}
    where: str = ""


Written = Submission | str | Callable[..., Any] | tuple[Any, ...] | list[Any] | Mapping[str, Any]
"""The forms in Python: a task, (task, params), or a mapping with the key "task" and others as they are needed."""


@says_what_it_takes
def read(written: Written) -> Submission:
    """Read a submission that is written in Python.

    Args:
        written: A task (its name or its handler), (task, params), or a mapping with the key "task" and, as needed,
            params and what else `cue.submit()` takes.

    Raises:
        ConfigurationError: It is none of these. Whether there is such a task, and whether its values will do, is for
            the cue to say.

    Example:
        >>> read({"task": "ask", "params": {"page": 1}, "force": True})
        Submission(task='ask', params={'page': 1}, options={'force': True}, where='')
    """
    if isinstance(written, Submission):
        if not isinstance(written.options, Mapping):
            raise ConfigurationError(f"its options must be a mapping, not {words_of(written.options)}")
        for option in written.options:
            if option not in _FIELDS[2:]:
                raise _no_field(option, _FIELDS[2:])
        return written
    if isinstance(written, Mapping):
        _check_names(written, _FIELDS)
        return _from_fields(written)
    if not isinstance(written, (tuple, list)):
        return Submission(written)
    if not 1 <= len(written) <= 2:
        raise ConfigurationError(
            f"{words_of(written)} is none: write a task, (task, params) or a mapping with the key task."
        )
    return Submission(*written)


@says_what_it_takes
def read_lines(lines: Iterable[bytes], name: str) -> Iterator[Submission]:
    """Read submissions that are written in a file, one JSON object a line. Empty lines are passed over.

    Each has the field "task", the name of a task, and as needed "params" (an object), "inputs" and "outputs" (a path or
    a list of paths), "key" and "lane" (text or a number), "duplicate" ("join" or "error"), "force" (true or false),
    "priority" (a number from 0 to 1), "timeout" (seconds, or text such as "30s"), "retry" (how many attempts there are
    in all, -1 for no end of them), "must_complete" (true or false), "cost" (an object), "delay" (seconds, or text such
    as "5 min"), "run_at" (a Unix timestamp) and "metadata" (an object). What is null is as good as not there.

    Args:
        lines: As a file that was opened with "rb" gives them.
        name: What the file is called in messages.

    Raises:
        ConfigurationError: A line is none, said with its number when it is read. Whether there is such a task is for
            the cue to say.

    Example:
        >>> list(read_lines([b'{"task": "ask", "params": {"page": 1}, "outputs": "1.txt"}'], "work.jsonl"))
        [Submission(task='ask', params={'page': 1}, options={'outputs': '1.txt'}, where='work.jsonl:1')]
    """
    name = check_text(name, "The name of what read_lines() reads")
    try:
        each = iter(lines)
    except Exception:  # it cannot be gone through
        raise _no_lines(lines) from None
    return _read_each(each, name)


def _no_lines(given: object) -> ConfigurationError:
    return ConfigurationError(
        f'read_lines() takes lines of bytes, as a file that was opened with "rb" gives them, not {words_of(given)}.'
    )


def _read_each(lines: Iterator[bytes], name: str) -> Iterator[Submission]:
    # A file gives lines that end at line feeds alone: text may hold others that str.splitlines() takes for an end.
    for number, line in enumerate(lines, 1):
        if type(line) is not bytes:
            raise _no_lines(line)
        if number == 1:
            line = line.removeprefix(_BOM)
        if line := line.strip():
            where = f"{name}:{number}"
            try:
                yield _from_json(line)._replace(where=where)
            except ConfigurationError as error:
                raise ConfigurationError(f"{where}: {error}") from error.__cause__


def _check_names(given: Mapping[Any, Any], fields: Iterable[str]) -> None:
    for field in given:
        if field not in fields:
            raise _no_field(field, fields)
    if given.get("task") is None:
        others = ", ".join(field for field in fields if field != "task")
        raise ConfigurationError(f'it has no "task"; beside that there may be {others}')


def _no_field(field: object, fields: Iterable[str]) -> ConfigurationError:
    near = get_close_matches(field, fields, n=1, cutoff=0.5) if isinstance(field, str) else []
    hint = f"did you mean {near[0]!r}?" if near else f"there is {', '.join(fields)}"
    return ConfigurationError(f"there is no field {words_of(field)}; {hint}")


def _from_fields(given: Mapping[str, Any]) -> Submission:
    options = {field: value for field, value in given.items() if field not in ("task", "params")}
    params = given.get("params")
    return Submission(given["task"], {} if params is None else params, options)


def _from_json(line: bytes) -> Submission:
    try:
        value = json.loads(line.decode(), object_pairs_hook=_without_repeats, parse_constant=_no_number)
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"byte {error.start + 1} of the line is not UTF-8") from error
    except json.JSONDecodeError as error:
        raise ConfigurationError(
            f"no JSON: {error.msg} at character {error.pos + 1} of {_shortened(line.decode())}"
        ) from error
    except RecursionError as error:
        raise ConfigurationError("too deeply nested") from error
    except ConfigurationError:
        raise
    except ValueError as error:  # a number of more digits than Python reads
        raise ConfigurationError(str(error)) from error
    if not isinstance(value, dict):
        form = '{"task": "...", "params": {}}'
        raise ConfigurationError(
            f"each line must be an object such as {form}, not {_shortened(line.decode())}"
        )
    _check_names(value, _JSON)
    given = {field: one for field, one in value.items() if one is not None}
    for field, one in given.items():
        if not _JSON[field].fits(one):
            raise ConfigurationError(
                f"{field!r} must be {_JSON[field].words}, not {_shortened(json.dumps(one))}"
            )
    return _from_fields(given)


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ConfigurationError(f"{next(name for name in names if names.count(name) > 1)!r} is there twice")
    return found


def _no_number(text: str) -> float:
    raise ConfigurationError(f"{text} is no number of JSON")


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN else f"{line[: _SHOWN - 1]}…"


class _Field(NamedTuple):
    fits: Callable[[Any], bool]
    words: str


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _are_paths(value: object) -> bool:
    return _is_text(value) or (isinstance(value, list) and all(map(_is_text, value)))


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_priority(value: Any) -> bool:
    return _is_number(value) and 0 <= value <= 1


def _lasts(value: object, *, zero: bool = False) -> bool:
    try:
        parse_duration(value, "", zero=zero)
    except ConfigurationError:
        return False
    return True


def _are_attempts(value: Any) -> bool:
    return type(value) is int and (value >= 1 or value == -1)


_SPANS: Final = 'text such as "30s" or "5 min"'
_JSON: Final = {
    "task": _Field(_is_text, "text"),
    "params": _Field(lambda value: isinstance(value, dict), "an object"),
    "inputs": _Field(_are_paths, "a path or a list of paths"),
    "outputs": _Field(_are_paths, "a path or a list of paths"),
    "key": _Field(lambda value: isinstance(value, (str, int, float)), "text or a number"),
    "lane": _Field(lambda value: isinstance(value, (str, int, float)), "text or a number"),
    "duplicate": _Field(lambda value: value in ("join", "error"), '"join" or "error"'),
    "force": _Field(lambda value: isinstance(value, bool), "true or false"),
    "priority": _Field(_is_priority, "a number from 0 to 1"),
    "timeout": _Field(_lasts, f"a positive number of seconds, or {_SPANS}"),
    "retry": _Field(_are_attempts, "a whole number of at least 1, or -1"),
    "must_complete": _Field(lambda value: isinstance(value, bool), "true or false"),
    "cost": _Field(lambda value: isinstance(value, dict), "an object"),
    "delay": _Field(partial(_lasts, zero=True), f"a number of seconds of at least 0, or {_SPANS}"),
    "run_at": _Field(_is_number, "a Unix timestamp"),
    "metadata": _Field(lambda value: isinstance(value, dict), "an object"),
}
