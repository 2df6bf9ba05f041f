"""Driving coroutines by hand, step by step.

Lives here: what carries a handler on after the first step that the dispatcher took, each step in its own contextvars;
and what times the steps of callbacks that are awaited.

Must not know: work units' states, limits, the dispatcher.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from contextvars import Context
from types import coroutine
from typing import Any

__all__ = ["resume", "timed"]


@coroutine
def resume(steps: Any, yielded: Any, context: Context) -> Generator[Any, Any, Any]:
    """Go on with a coroutine whose first step has been taken, each step in its own context.

    `await steps` would not do: a coroutine that is suspended already cannot be awaited again.
    """
    send, throw = steps.send, steps.throw
    while True:
        thrown: BaseException | None = None
        sent: Any = None
        try:
            sent = yield yielded
        except BaseException as error:
            # GeneratorExit too: the handler sees its own end as it would in a task of its own.
            thrown = error
        try:
            yielded = context.run(send, sent) if thrown is None else context.run(throw, thrown)
        except StopIteration as stop:
            return stop.value


@coroutine
def timed(
    awaitable: Awaitable[Any], now: Callable[[], float], told: Callable[[float], None]
) -> Generator[Any, Any, Any]:
    """Await something, and tell of each step how long it kept the event loop."""
    steps: Any = awaitable.__await__()
    sent: Any = None
    thrown: BaseException | None = None
    while True:
        began = now()
        try:
            if thrown is None:
                # An iterator need not be a generator.
                yielded = next(steps) if sent is None else steps.send(sent)
            elif hasattr(steps, "throw"):
                yielded = steps.throw(thrown)
            else:
                raise thrown
        except StopIteration as stop:
            return stop.value
        finally:
            told(now() - began)
        sent = thrown = None
        try:
            sent = yield yielded
        except BaseException as error:
            thrown = error
