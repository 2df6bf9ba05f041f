"""Work units written down in a file: reading them for a cue, and submitting them.

Lives here: `read` and `submit`. The form of a line is that of `runcue.submissions`.

Must not know: how a cue is rehearsed.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import runcue
from runcue.submissions import Submission, read_lines
from runcue_sim._engine.clocks import paced, wall_clock
from runcue_sim._text.error_origin import one_line
from runcue_sim._text.usage import BadUsage, nearest

__all__ = ["Submission", "read", "submit"]


def read(path: str, tasks: Iterable[str]) -> list[Submission]:
    """Read work units from a file.

    Args:
        path: Where it is; "-" for standard input.
        tasks: The names of the tasks there are.

    Raises:
        BadUsage: It cannot be read, a line of it is none, or is of another task.
    """
    known = list(tasks)
    found = []
    try:
        with _opened(path) as (file, name):
            for one in read_lines(file, name):
                if one.task not in known:
                    raise BadUsage(f"{one.where}: there is no task {one.task!r}; {nearest(one.task, known)}")
                found.append(one)
    except runcue.ConfigurationError as error:
        raise BadUsage(one_line(str(error))) from error
    except (OSError, ValueError) as error:  # a ValueError: a name that no file can have
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise BadUsage(f"{path} cannot be read: {reason}") from error
    return found


@contextmanager
def _opened(path: str) -> Iterator[tuple[IO[bytes], str]]:
    if path == "-":
        yield sys.stdin.buffer, "standard input"
        return
    with Path(path).open("rb") as file:
        yield file, path


async def submit(cue: runcue.Cue, submissions: Iterable[Submission], rate: float | None = None) -> None:
    """Submit work units, in their order.

    Args:
        cue: The cue.
        submissions: The work units.
        rate: How many a second, by the clock of the event loop; None: all at once.

    Raises:
        BadUsage: The cue takes one of them not.
    """
    # An instant is as far ahead as it is now, wherever a virtual clock begins.
    shift = wall_clock() - time.time()
    async for one in paced(submissions, rate):
        options = dict(one.options)
        if isinstance(run_at := options.get("run_at"), int | float):
            options["run_at"] = run_at + shift
        try:
            await cue.submit(one.task, params=one.params, **options)
        except runcue.RuncueError as error:
            raise BadUsage(f"{one.where}: {one_line(str(error))}") from error
