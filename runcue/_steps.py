"""Driving a handler's coroutine by hand: its first step, and the rest of it.

Lives here: the two functions that let one asyncio task run many works, and one that times what others await. A handler
that returns without suspending costs no task of its own; one that suspends is carried on by the task it began in, each
step in its own contextvars.

Must not know: works' states, limits, the dispatcher.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from contextvars import Context
from types import CoroutineType, coroutine
from typing import Any

from runcue._work import Work

__all__ = ["first_step", "go_on", "watched"]


def first_step(context: Context, handler: Callable[[Work], Any], work: Work) -> tuple[Any, Any]:
    """Call an async handler in its work's own context and take it to its first suspension.

    Returns:
        The coroutine, and what it yielded.

    Raises:
        StopIteration: It returned without suspending; the value is the result.
    """
    steps = context.run(handler, work)
    if type(steps) is not CoroutineType:
        steps = steps.__await__()
    return steps, context.run(steps.send, None)


@coroutine
def go_on(context: Context, steps: Any, yielded: Any) -> Generator[Any, Any, Any]:
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
def watched(
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
