"""Processes that were forked in user code and come out of it: there is nobody there who takes what it gives.

Lives here: `FORKS`, by which such a process is known, and `leave`, its end. Whoever calls user code looks whether it is
another process that comes back. That must not publish or throw away what its parent is writing. A thread has nothing
more to do there, and an event loop is that of the parent: the two would serve the same sockets, and whatever else is
under way would be done twice.

Must not know: work units, executors.
"""

from __future__ import annotations

import os
import sys
import traceback
from typing import Final, NoReturn

from runcue._model.errors import WrongLoop

__all__ = ["FORKS", "leave", "leave_suspended"]


class _Forks:
    """How often this process, or one that it comes from, was forked."""

    def __init__(self) -> None:
        self.number = 0

    def count(self) -> None:
        self.number += 1


FORKS: Final = _Forks()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=FORKS.count)


def leave(error: BaseException | None) -> NoReturn:
    """End a process that was forked in user code.

    Args:
        error: What that has raised; None: it has returned.
    """
    code: object = 1
    try:
        if error is None:
            code = 0
        elif not isinstance(error, SystemExit):
            traceback.print_exception(error)
        elif error.code is None or isinstance(error.code, int):
            code = error.code or 0
        else:
            print(error.code, file=sys.stderr)  # noqa: T201 - as sys.exit() does
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        # Whatever stands against saying something: beyond this there is a loop that belongs to the parent.
        os._exit(code & 0xFF if isinstance(code, int) else 1)


def leave_suspended(whose: str) -> NoReturn:
    """End a process that was forked in what is awaited in an event loop, and awaits something itself.

    Args:
        whose: What it was forked in, for the message.
    """
    text = (
        f"{whose} has forked this process, which awaits something, and its event loop is the parent's. End such a "
        "process by os._exit() before it awaits, or let multiprocessing or asyncio.create_subprocess_exec() make it."
    )
    leave(WrongLoop(text))
