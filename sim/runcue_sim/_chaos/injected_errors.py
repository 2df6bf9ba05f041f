"""The errors that faults make handlers raise, and how to know them.

Lives here: `InjectedError`, `OwnCancelledError`; `is_injected`.

Must not know: who raises them, when.
"""

from __future__ import annotations

import asyncio

import runcue


class InjectedError(Exception):
    """A failure that a fault asked for."""


class OwnCancelledError(asyncio.CancelledError):
    """What a handler raises that says it was cancelled, and was not."""


def is_injected(error: BaseException) -> bool:
    """Whether a work failed because a fault made it."""
    cause = error.__cause__ if isinstance(error, runcue.HandlerExited) else error
    injected = (InjectedError, runcue.GiveUp, ConnectionError, SystemExit, asyncio.CancelledError)
    return isinstance(cause, injected)
