"""Which cue's code is running here: how a call knows that it comes from inside.

Lives here: one context variable. Handlers, listeners and the tasks and threads they spawn see it set; that is how
`submit()` is still allowed from inside while a cue drains, and why `drain()` is not.

Must not know: what is done with the answer.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from runcue._work import Work

__all__ = ["CURRENT", "call_inside"]

CURRENT: ContextVar[Any] = ContextVar("runcue_current")
"""The Work whose handler this is, or the dispatcher whose callback this is."""


def call_inside(handler: Callable[[Work], Any], work: Work) -> Any:
    """Call a handler as the one of that work. To be run in the work's own context."""
    CURRENT.set(work)
    return handler(work)
