"""Driving coroutines by hand, step by step.

Lives here: what carries a handler on after the first step that the dispatcher took, each step in its own contextvars;
and what drives callbacks that are awaited. Of each step it is known for how long it has kept the event loop, and what
turns out to be awaitable in its turn is awaited as well.

Must not know: work units' states, limits, the dispatcher.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator
from contextvars import Context
from types import GeneratorType, coroutine
from typing import Any, NamedTuple

from runcue._callbacks.door import BLOCKS_AFTER, Door
from runcue._callbacks.forks import FORKS, leave, leave_suspended
from runcue._model.awaitables import is_awaitable
from runcue._model.texts import describe, name_of
from runcue._model.work import Work

__all__ = ["FirstStep", "as_coroutine", "begin_to_follow", "driven_by", "follow", "resume", "watched"]

Blocked = Callable[[float, float], None]
"""Takes from when and until when a step has kept the event loop."""

Ended = Callable[[Work, Context, Any, BaseException | None, float], Awaitable[None] | None]
"""Takes what a handler has returned or raised, with its contextvars, and when its last step began. It reads the clock
anyway, and sees whether that step has kept the event loop. It may give what is to
be awaited after that."""


@coroutine
def resume(
    steps: Any, yielded: Any, context: Context, work: Work, door: Door, ended: Ended
) -> Generator[Any, Any, None]:
    """Go on with a coroutine whose first step has been taken, each step in its own context.

    `await steps` would not do: a coroutine that is suspended already cannot be awaited again.

    Args:
        steps: The coroutine.
        yielded: What its first step has yielded.
        context: The contextvars of its steps.
        work: The work unit whose handler it is.
        door: Hears of steps that keep the event loop, the last one aside.
        ended: Takes what has come of it.
    """
    # The name `steps` is read out of this frame, and out of that of `_drive`, by `driven_by`.
    send, throw = steps.send, steps.throw
    now = door.now
    forks = FORKS.number
    value: Any = None
    failure: BaseException | None = None
    while True:
        thrown: BaseException | None = None
        try:
            yield yielded  # an asyncio task sends nothing back
        except GeneratorExit:
            raise  # it is being closed; the coroutine is as well, which sees its own end then, if it has not yet
        except BaseException as error:
            thrown = error
        began = now()
        try:
            yielded = context.run(send, None) if thrown is None else context.run(throw, thrown)
        except StopIteration as stop:
            if FORKS.number != forks:
                leave(None)
            value = stop.value
            break
        except BaseException as error:
            if FORKS.number != forks:
                leave(error)
            failure = error
            break
        door.left_by_handler(work, began)
        if FORKS.number != forks:
            leave_suspended(f"The handler of {name_of(work)}")
    rest = ended(work, context, value, failure, began)
    # Its traceback leads to this frame, and to all that the handler had: together they would live on.
    failure = thrown = None
    if rest is not None:
        steps = None
        yield from rest.__await__()


@coroutine
def follow(
    value: Any, context: Context | None, work: Work, door: Door, stepped: Callable[[], object] | None = None
) -> Generator[Any, Any, Any]:
    """Await what a handler has returned to be awaited, and what that gives, to the end.

    Args:
        value: What it has returned.
        context: The contextvars of its steps; None for those that it is awaited in.
        work: The work unit whose handler it was.
        door: Hears of steps that keep the event loop.
        stepped: Called after each step.
    """
    run: Callable[..., Any] = _in_place if context is None else context.run

    def blocked(began: float, ended: float) -> None:
        door.blocked_by_handler(work, began, ended)

    def step(call: Callable[[Any], Any], argument: Any) -> Any:
        assert stepped is not None
        try:
            return run(call, argument)
        finally:
            stepped()

    while is_awaitable(value):
        value = yield from _drive(value, run if stepped is None else step, door.now, blocked)
    return value


class FirstStep(NamedTuple):
    """What came of the first step of what is to be awaited.

    Attributes:
        rest: The coroutine; None if that was all of it.
        yielded: What it has yielded.
        value: What it gave.
        error: What it raised.
    """

    rest: Any = None
    yielded: Any = None
    value: Any = None
    error: BaseException | None = None


def begin_to_follow(work: Work, value: Any, context: Context, door: Door) -> FirstStep:
    """Take the first step of what a handler has returned to be awaited.

    Args:
        work: The work unit whose handler it was.
        value: What it has returned.
        context: The contextvars of its steps.
        door: Hears of steps that keep the event loop.
    """
    steps = follow(value, None, work, door)
    try:
        return FirstStep(steps, context.run(steps.send, None))
    except StopIteration as stop:
        return FirstStep(value=stop.value)
    except BaseException as error:
        return FirstStep(error=error)


def as_coroutine(call: Callable[[Work], Any]) -> Callable[[Work], Any]:
    """What a plain handler is called by that runs in the event loop, as if it were an `async def`."""

    async def in_loop(work: Work) -> Any:
        return call(work)

    in_loop.__wrapped__ = call  # type: ignore[attr-defined]
    return in_loop


@coroutine
def watched(
    value: Any, now: Callable[[], float], blocked: Blocked, cancelled: Callable[[], None]
) -> Generator[Any, Any, Any]:
    """Await what a callback has returned, and what that gives, to the end.

    The asyncio task that it is awaited in is runcue's. If the callback cancels it, that reaches the callback itself, as
    it would anywhere, and nothing else.

    Args:
        value: What the callback has returned.
        now: The clock.
        blocked: Takes each step that has kept the event loop for more than `BLOCKS_AFTER`.
        cancelled: Called if the callback has cancelled the task as the last that it did.
    """
    task = asyncio.current_task()
    assert task is not None
    # How often the callback has cancelled it without its having come yet: it comes where the task is suspended next.
    own = 0

    def come() -> None:
        nonlocal own
        while own:
            task.uncancel()
            own -= 1

    def step(call: Callable[[Any], Any], argument: Any) -> Any:
        nonlocal own
        if isinstance(argument, asyncio.CancelledError):
            come()
        before = task.cancelling()
        try:
            return call(argument)
        finally:
            own += max(0, task.cancelling() - before)

    while is_awaitable(value):
        value = yield from _drive(value, step, now, blocked)
    if own:
        cancelled()
        try:
            yield
        except asyncio.CancelledError:
            come()
            if task.cancelling():
                raise
    return value


def _in_place(call: Callable[[Any], Any], argument: Any) -> Any:
    return call(argument)


def _drive(
    awaitable: Any, call: Callable[..., Any], now: Callable[[], float], blocked: Blocked
) -> Generator[Any, Any, Any]:
    """Await something, each step by way of a function that calls another one."""
    steps: Any = None
    thrown: BaseException | None = None
    forks = FORKS.number
    while True:
        began = now()
        try:
            if steps is None:
                # A coroutine of the old form, by types.coroutine, is its own steps.
                steps = awaitable if isinstance(awaitable, GeneratorType) else awaitable.__await__()
            if thrown is not None:
                # An iterator need not be a generator.
                if not hasattr(steps, "throw"):
                    raise thrown
                yielded = call(steps.throw, thrown)
            else:
                yielded = call(next, steps)
        except StopIteration as stop:
            if FORKS.number != forks:
                leave(None)
            return stop.value
        except BaseException as error:
            if FORKS.number != forks:
                leave(error)
            raise
        finally:
            if (ended := now()) - began > BLOCKS_AFTER:
                blocked(began, ended)
        if FORKS.number != forks:
            leave_suspended(describe(awaitable))
        thrown = None
        try:
            yield yielded
        except GeneratorExit:
            raise  # as above
        except BaseException as error:
            thrown = error


def driven_by(generator: Any) -> Any:
    """What a suspended one of these carries on, None if it is none: Python itself does not know what it waits for."""
    if generator.gi_code is resume.__code__ or generator.gi_code is _drive.__code__:
        return generator.gi_frame.f_locals["steps"]
    return None
