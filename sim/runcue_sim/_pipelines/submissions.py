"""Work units written down in a file, one JSON object a line: reading them, and submitting them.

Lives here: `read` and `submit`. Whatever is wrong with a line is said with its number.

Must not know: how a cue is rehearsed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

import runcue
from runcue_sim._engine.clocks import paced
from runcue_sim._text.error_origin import one_line
from runcue_sim._text.usage import BadUsage, nearest

_BOM: Final = b"\xef\xbb\xbf"
_SHOWN: Final = 60


class Submission(NamedTuple):
    """A line of such a file.

    Attributes:
        where: The file and the line, for messages.
        task: The name of its task.
        params: As for `Cue.submit`.
        options: Likewise.
    """

    where: str
    task: str
    params: dict[str, Any]
    options: dict[str, Any]


def read(path: str, tasks: Iterable[str]) -> list[Submission]:
    """Read work units from a file.

    Args:
        path: Where it is; "-" for standard input.
        tasks: The names of the tasks there are.

    Raises:
        BadUsage: It cannot be read, or a line of it is none.

    Example of a line:
        {"task": "ask", "params": {"page": 1}, "outputs": "out/1.txt"}
    """
    known = list(tasks)
    try:
        if path == "-":
            return list(_all(sys.stdin.buffer, "standard input", known))
        with Path(path).open("rb") as file:
            return list(_all(file, path, known))
    except (OSError, ValueError) as error:  # a ValueError: a name that no file can have
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise BadUsage(f"{path} cannot be read: {reason}") from error


def _all(file: IO[bytes], name: str, tasks: list[str]) -> Iterator[Submission]:
    # Split at line feeds alone: text may hold other characters that str.splitlines() takes for ends of lines.
    for number, line in enumerate(file, 1):
        if number == 1:
            line = line.removeprefix(_BOM)
        if line := line.strip():
            where = f"{name}:{number}"
            try:
                yield _submission(where, _parsed(line), tasks)
            except _MalformedError as error:
                raise BadUsage(f"{where}: {error}") from error.__cause__


class _MalformedError(Exception):
    """What is wrong with a line."""


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line.decode(), object_pairs_hook=_without_repeats, parse_constant=_no_number)
    except UnicodeDecodeError as error:
        raise _MalformedError(f"byte {error.start + 1} of the line is not UTF-8") from error
    except json.JSONDecodeError as error:
        raise _MalformedError(
            f"no JSON: {error.msg} at character {error.pos + 1} of {one_line(line.decode(), _SHOWN)}"
        ) from error
    except RecursionError as error:
        raise _MalformedError("too deeply nested") from error
    except ValueError as error:  # a number of more digits than Python reads
        raise _MalformedError(one_line(str(error))) from error
    if not isinstance(value, dict):
        shown = one_line(line.decode(), _SHOWN)
        raise _MalformedError(
            f'each line must be an object such as {{"task": "...", "params": {{}}}}, not {shown}'
        )
    return value


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise _MalformedError(f"{next(name for name in names if names.count(name) > 1)!r} is there twice")
    return found


def _no_number(text: str) -> float:
    raise _MalformedError(f"{text} is no number of JSON")


def _submission(where: str, given: dict[str, Any], tasks: list[str]) -> Submission:
    for field, value in given.items():
        if field not in _FIELDS:
            raise _MalformedError(f"there is no field {field!r}; {nearest(field, _FIELDS)}")
        # What is null is as good as not there.
        if value is not None and not _FIELDS[field].fits(value):
            raise _MalformedError(
                f"{field!r} must be {_FIELDS[field].words}, not {one_line(json.dumps(value), _SHOWN)}"
            )
    task = given.get("task")
    if task is None:
        raise _MalformedError('it has no "task"')
    if task not in tasks:
        raise _MalformedError(f"there is no task {task!r}; {nearest(task, tasks)}")
    options = {
        field: value
        for field, value in given.items()
        if field not in ("task", "params") and value is not None
    }
    return Submission(where, task, given.get("params") or {}, options)


class _Field(NamedTuple):
    fits: Callable[[Any], bool]
    words: str


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _are_paths(value: object) -> bool:
    return _is_text(value) or (isinstance(value, list) and all(map(_is_text, value)))


_FIELDS: Final = {
    "task": _Field(_is_text, "text"),
    "params": _Field(lambda value: isinstance(value, dict), "an object"),
    "inputs": _Field(_are_paths, "a path or a list of paths"),
    "outputs": _Field(_are_paths, "a path or a list of paths"),
    "key": _Field(lambda value: isinstance(value, (str, int, float)), "text or a number"),
    "duplicate": _Field(lambda value: value in ("join", "error"), '"join" or "error"'),
    "force": _Field(lambda value: isinstance(value, bool), "true or false"),
}


async def submit(cue: runcue.Cue, submissions: Iterable[Submission], rate: float | None = None) -> None:
    """Submit work units, in their order.

    Args:
        cue: The cue.
        submissions: The work units.
        rate: How many a second, by the clock of the event loop; None: all at once.

    Raises:
        BadUsage: The cue takes one of them not.
    """
    async for one in paced(submissions, rate):
        try:
            await cue.submit(one.task, params=one.params, **one.options)
        except runcue.RuncueError as error:
            raise BadUsage(f"{one.where}: {one_line(str(error))}") from error


__all__ = ["Submission", "read", "submit"]
