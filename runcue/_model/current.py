"""Which cue's code is running here: how a call knows that it comes from inside.

Lives here: one context variable, and how something is called in the name of a cue. Handlers, gates, listeners and the
tasks and threads they spawn see it set; that is how `submit()` is still allowed from inside while a cue drains, and why
`drain()` is not. It is set in the contexts that they run in, once per context and not once per work.

Must not know: what is done with the answer.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar, copy_context
from typing import Any

__all__ = ["CURRENT", "call_inside"]

CURRENT: ContextVar[Any] = ContextVar("runcue_current", default=None)
"""The dispatcher whose code this is, None outside of all cues."""


def call_inside(home: Any, call: Callable[..., Any], *args: Any) -> Any:
    """Call something in the name of a cue, whoever has set it off: what it calls and spawns is inside of that cue.

    Args:
        home: The dispatcher of the cue.
        call: What to call; it sees the context variables of here.
        *args: With what.
    """
    if CURRENT.get() is home:
        return call(*args)
    context = copy_context()
    context.run(CURRENT.set, home)
    return context.run(call, *args)
