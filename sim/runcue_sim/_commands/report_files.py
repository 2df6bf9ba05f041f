"""Where reports are written: checked before a run, written after it.

Must not know: what is in them.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import runcue
from runcue_sim._text.usage import BadUsage


def check_writable(*paths: str | None) -> None:
    """Find out before a run whether its reports can be written.

    Args:
        *paths: Where; None for nowhere, "-" for standard output.

    Raises:
        BadUsage: One of them cannot.
    """
    for path in paths:
        if path is None or path == "-":
            continue
        try:
            if Path(path).is_dir():
                raise IsADirectoryError(None, "it is a folder")
            with tempfile.TemporaryFile(dir=Path(path).parent):
                pass
            if Path(path).exists() and not os.access(path, os.W_OK):
                raise PermissionError(None, "permission denied")
        except OSError as error:
            raise BadUsage(f"{path} cannot be written: {error.strerror}") from error


@contextlib.contextmanager
def told_in_one_line() -> Iterator[None]:
    """Make one line of what goes wrong while a report is written."""
    try:
        yield
    except (OSError, runcue.RuncueError) as error:
        raise BadUsage(f"a report cannot be written: {error}") from error


def write_json(path: str | None, text: str) -> None:
    """Write a report that was not meant for standard output.

    Args:
        path: Where; None for nowhere, "-" for standard output, where it is by now.
        text: The report.

    Raises:
        BadUsage: It cannot be written.
    """
    if path not in (None, "-"):
        with told_in_one_line():
            runcue.atomic_write(path, text, durable=False)
