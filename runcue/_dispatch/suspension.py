"""What a suspended asyncio task waits for, read from outside.

asyncio has no public way to ask. So this follows the coroutines of a task down to the one that is suspended, and the
future that it is suspended on to whatever alone will end that: another task; `gather` and `shield`, by the private
attributes `_children` and `_callbacks` of their futures; `wait`, `wait_for`, `as_completed` and the task groups of
asyncio and anyio, by their frames. The loop makes no difference: uvloop runs asyncio's own tasks and futures. Versions
of Python do: in 3.11 `wait_for` has a waiter and a timer of its own, from 3.12 on it is an `asyncio.timeout()`; up to
3.12 `as_completed` is a generator, and only the callbacks of what is left know all of it, from 3.13 on an object.

Whatever cannot be read to its very end counts as moving: who takes a waiting task for a moving one misses something,
the opposite would be fatal to healthy work.

Lives here: `read`, what a task waits for; `beside`, what else may end that wait: time-outs around it, and tasks that
the frames on the way hold.

Must not know: work units, handlers, who wants to know and why.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import sys
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from math import inf, nextafter
from types import AsyncGeneratorType, CellType, CoroutineType, GeneratorType, MethodType
from typing import Any, Final, NamedTuple

from runcue._handlers.coroutines import driven_by

__all__ = ["MOVING", "OtherEnd", "Suspension", "beside", "closure_of", "read"]

MOVING: Final = "moving"
"""In the place of a future: a task is about to take a step."""

# What stands between a coroutine and another one that it awaits; it leads to that by reference only.
_WRAPPERS: Final = ("coroutine_wrapper", "async_generator_asend", "async_generator_athrow", "anext_awaitable")
_FRAMES: Final[tuple[type, ...]] = (CoroutineType, GeneratorType, AsyncGeneratorType)
_CONTAINERS: Final = (list, tuple, set, frozenset, deque, dict)

_WAIT: Final = getattr(getattr(asyncio.tasks, "_wait", None), "__code__", None)
_FUTURE_AWAITED: Final = getattr(getattr(asyncio.futures, "_PyFuture", asyncio.Future), "__await__", None)
_AS_COMPLETED: Final[Any] = getattr(asyncio.tasks, "_AsCompletedIterator", None)

# An object that thousands of handlers share is looked at for each of them.
_MOST: Final = 100
# So far from a context manager is looked for what it is made of: an exit stack of generators of time-outs.
_DEEPEST: Final = 6


class Suspension(NamedTuple):
    """What an asyncio task waits for.

    Attributes:
        ends: What was found where it comes to an end, as given by whoever can tell.
        moving: None if it waits for that alone. Otherwise the future of something else, or `MOVING`.
        tasks: The asyncio tasks on the way, itself included.
        frames: The suspended coroutines on the way.
        timers: What else on the way may have an end by itself.
    """

    ends: list[Any]
    moving: Any
    tasks: set[Any]
    frames: list[Any]
    timers: list[Any]


def read(
    task: Any, steps: Any, end_of: Callable[[Any], Any], resting: Collection[Any] = (), most: float = inf
) -> Suspension:
    """Read what a suspended asyncio task waits for.

    Args:
        task: The task.
        steps: Its coroutine, or the part of it that matters.
        end_of: Of a suspended coroutine what it waits for beyond what asyncio knows; None if that is not known.
        resting: Asyncio tasks that count neither as moving nor as waiting for anything.
        most: No more is read, of thousands that a gather waits for, once so many ends were found.
    """
    try:
        return _read(task, steps, end_of, resting, most)
    except Exception:  # of a future that is somebody's own
        return Suspension([], MOVING, {task}, [], [])


def _read(task: Any, steps: Any, end_of: Any, resting: Collection[Any], most: float) -> Suspension:
    found = Suspension([], None, set(), [], [])
    moving = None
    line: list[Iterator[Any]] = [iter((task,))]
    while line and len(found.ends) < most:
        if (future := next(line[-1], None)) is None:
            line.pop()
            continue
        if future in found.tasks:
            continue
        found.tasks.add(future)
        if future in resting:
            continue
        if future.done():
            moving = MOVING
            continue
        if not hasattr(future, "get_coro"):
            members = _behind(future)
        else:
            on = getattr(future, "_fut_waiter", None)
            if on is None or on.done():
                moving = MOVING
                continue
            way = _way_down(steps if future is task else future.get_coro())
            future = on
            if way is None:
                members = None
            else:
                found.frames.extend(way)
                end = end_of(way[-1])
                if end is not None:
                    found.ends.extend(end.ends)
                    line.append(iter(end.tasks))
                    continue
                members = _members(way, on, found.timers)
                if members is None:
                    members = _behind(on)
        if members is None:
            moving = future
            continue
        if not members:
            moving = MOVING
        line.append(reversed(members))
    return found._replace(moving=moving)


def _way_down(outermost: Any) -> list[Any] | None:
    """The coroutines from one to the innermost that it awaits, which awaits a future; None if they cannot be read."""
    way: list[Any] = []
    inner = outermost
    while inner is not None:
        kind = type(inner)
        if kind is CoroutineType:
            way.append(inner)
            inner = inner.cr_await
        elif kind is GeneratorType:
            if inner.gi_code is getattr(_FUTURE_AWAITED, "__code__", None):
                return way or None  # a future that is written in Python
            way.append(inner)
            inner = driven_by(inner) or inner.gi_yieldfrom
        elif kind is AsyncGeneratorType:
            way.append(inner)
            inner = inner.ag_await
        elif _is_wrapper(inner):
            behind = gc.get_referents(inner)
            inner = next((one for one in behind if isinstance(one, _FRAMES) or _is_wrapper(one)), None)
        else:
            return way if way and kind.__name__ == "FutureIter" else None
    return None


def _is_wrapper(thing: Any) -> bool:
    return type(thing).__name__ in _WRAPPERS


def _code_of(coroutine: Any) -> Any:
    for name in ("cr_code", "gi_code", "ag_code"):
        if (code := getattr(coroutine, name, None)) is not None:
            return code
    return None


def _locals_of(coroutine: Any) -> dict[str, Any]:
    """Of asyncio's own frames only: looking at a user's in this way would keep what they hold alive."""
    for name in ("cr_frame", "gi_frame", "ag_frame"):
        if (frame := getattr(coroutine, name, None)) is not None:
            there: dict[str, Any] = frame.f_locals
            return there
    return {}


def _behind(future: Any) -> list[Any] | None:
    """What alone can end a future; None if that cannot be told. None of them is at its end."""
    if hasattr(future, "get_coro"):
        return [future]
    if type(future).__name__ == "_GatheringFuture":
        return _left_of_gather(future)
    for callback, _ in getattr(future, "_callbacks", None) or ():
        if _is_asyncios(callback, "shield.<locals>._outer_done_callback"):
            inner = closure_of(callback).get("inner")
            return None if inner is None else [inner]
    return None


def _members(way: list[Any], on: Any, timers: list[Any]) -> list[Any] | None:
    """What alone can end the wait in which coroutines are suspended, as their frames tell; None if they do not."""
    code = _code_of(way[-1])
    if code is _WAIT:
        return _left_of_wait(_locals_of(way[-1]))
    if code is asyncio.wait_for.__code__:
        future = _locals_of(way[-1]).get("fut")
        return [future] if asyncio.isfuture(future) else None
    if code is asyncio.Queue.get.__code__ and len(way) > 1:
        return _left_of_as_completed(way, on, timers)
    if code.co_name == "__aexit__":
        group = _locals_of(way[-1]).get("self")
        if isinstance(group, _groups()) and getattr(group, "_on_completed_fut", None) is on:
            return _all_open(getattr(group, "_tasks", ()))
    return None


def _left_of_gather(future: Any) -> list[Any] | None:
    """The children that `gather` waits for."""
    children = list(getattr(future, "_children", ()))
    left = [child for child in children if not child.done()]
    if len(left) < len(children) and any(child.done() and _has_failed(child) for child in children):
        for child in left:
            for callback, _ in getattr(child, "_callbacks", None) or ():
                if _is_asyncios(callback, "gather.<locals>._done_callback"):
                    closure = closure_of(callback)
                    if closure.get("outer") is future and closure.get("return_exceptions"):
                        return left
        return []  # the failure is on its way
    return left


def _left_of_wait(there: dict[str, Any]) -> list[Any]:
    """What `wait` waits for, by its variables."""
    futures, until = list(there.get("fs", ())), there.get("return_when")
    done = [future for future in futures if future.done()]
    if until == asyncio.FIRST_COMPLETED and done:
        return []
    if until == asyncio.FIRST_EXCEPTION and any(map(_has_failed, done)):
        return []
    return [future for future in futures if not future.done()]


def _has_failed(future: Any) -> bool:
    return bool(future.cancelled()) or future.exception() is not None


def _left_of_as_completed(way: list[Any], on: Any, timers: list[Any]) -> list[Any] | None:
    """What `as_completed` has left, if it is that which waits at a queue of its own."""
    queue = _locals_of(way[-1]).get("self")
    owner: Any = _locals_of(way[-2]).get("self")
    if _AS_COMPLETED is not None:
        if type(owner) is not _AS_COMPLETED or owner._done is not queue:
            return None
        timers.append(owner._timeout_handle)
        return _all_open(owner._todo)
    for task in asyncio.all_tasks(on.get_loop()):
        for callback, _ in getattr(task, "_callbacks", None) or ():
            if _is_asyncios(callback, "as_completed.<locals>._on_completion"):
                closure = closure_of(callback)
                if closure.get("done") is queue:
                    timers.append(closure.get("timeout_handle"))
                    return _all_open(closure.get("todo", ()))
    return None


def _all_open(futures: Iterable[Any]) -> list[Any]:
    """Futures of which those that are done are taken out at once; none if one is there still: that is on its way."""
    every = list(futures)
    return [] if any(future.done() for future in every) else every


def _is_asyncios(function: Any, name: str) -> bool:
    is_there = getattr(function, "__module__", None) == "asyncio.tasks"
    return is_there and getattr(function, "__qualname__", None) == name


def closure_of(function: Any) -> dict[str, Any]:
    """What a function has of the one that it was made in, by name."""
    found = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            found[name] = cell.cell_contents
        except ValueError:
            pass  # not set yet
    return found


def _groups() -> tuple[type, ...]:
    # anyio is not imported for this: whoever has one of its groups has done so.
    own = getattr(sys.modules.get("anyio._backends._asyncio"), "TaskGroup", None)
    return (asyncio.TaskGroup,) if own is None else (asyncio.TaskGroup, own)


class OtherEnd(NamedTuple):
    """What else may end a wait.

    Attributes:
        when: The first instant ahead, by the loop's time, at which something will; inf if there is none.
        tasks: The open asyncio tasks that are not on the way.
        outside: What goes on outside of the loop, for people; "" if nothing does.
    """

    when: float
    tasks: list[Any]
    outside: str


def beside(found: Suspension, after: float) -> OtherEnd:
    """What else may end a wait, or the task in it, by what the frames on the way hold.

    That is: what has a `when()` or a finite `deadline` that lies ahead, as time-outs and timers have, asyncio tasks,
    and what goes on outside of the loop. A bare `call_later()` that nobody keeps cannot be seen.

    Args:
        found: What was read.
        after: The time of the loop for which everything has happened that was to happen before it.
    """
    try:
        return _beside(found, after)
    except Exception:  # of a type that is somebody's own: whatever it is, it may end the wait
        return OtherEnd(nextafter(after, inf), [], "")


def _beside(found: Suspension, after: float) -> OtherEnd:
    until, outside = inf, ""
    tasks: dict[Any, None] = {}
    groups = _groups()
    for thing in (*found.timers, *(one for frame in found.frames for one in _held(frame))):
        # By their types alone: what frames hold is the user's, and asking it may run anything.
        kind = type(thing)
        if kind.__module__ == "builtins":
            continue  # as nearly all are
        if issubclass(kind, asyncio.Task):
            if thing not in found.tasks and not thing.done():
                tasks[thing] = None
        elif issubclass(kind, groups):
            for one in list(getattr(thing, "_tasks", ())):
                if one not in found.tasks and not one.done():
                    tasks[one] = None
        else:
            when = _instant_of(thing)
            if after < when < until:
                until = when
            outside = outside or _outside(thing)
    return OtherEnd(until, list(tasks), outside)


def _outside(thing: Any) -> str:
    """What goes on outside of the loop, if it is a thread or a process, or a future that stands for one."""
    kind = type(thing)
    if issubclass(kind, threading.Thread):
        goes_on = threading.Thread.is_alive(thing) and thing is not threading.current_thread()
        return f"the thread {thing.name}" if goes_on else ""
    if kind.__name__ in ("Process", "Popen") and kind.__module__ in ("asyncio.subprocess", "subprocess"):
        return f"the process {thing.pid}" if thing.returncode is None else ""
    if issubclass(kind, concurrent.futures.Future):
        return "" if thing.done() else "a call in another thread or process"
    if issubclass(kind, asyncio.Future) and not thing.done():
        for callback, _ in getattr(thing, "_callbacks", None) or ():
            if getattr(callback, "__qualname__", "") == "_chain_future.<locals>._call_check_cancel":
                return "a call in another thread or process"
    return ""


def _held(frame: Any) -> Iterator[Any]:
    """What a suspended frame holds: its variables, what these list or have as attributes, what a `with` is made of."""
    for thing in gc.get_referents(frame):
        one = thing
        if type(one) is CellType:
            try:
                one = one.cell_contents
            except ValueError:
                continue
        if type(one) is MethodType and one.__name__ in ("__exit__", "__aexit__"):
            # The context manager of a `with` whose body is suspended.
            yield from _made_of(one.__self__, _DEEPEST)
            continue
        yield one
        if type(one) in _CONTAINERS:
            yield from _in(one)
        elif type(one).__module__.partition(".")[0] in ("builtins", "runcue"):
            continue
        elif hasattr(type(one), "__exit__") or hasattr(type(one), "__aexit__"):
            yield from _made_of(one, _DEEPEST)
        elif not issubclass(type(one), asyncio.AbstractEventLoop):
            # The `self` of a method, or whatever watches over the wait.
            for part in list(_attributes_of(one).values()):
                yield part
                if type(part) in _CONTAINERS and len(part) <= _MOST:
                    yield from _in(part)


def _in(container: Any) -> list[Any]:
    return list(container.values() if type(container) is dict else container)


def _made_of(manager: Any, depth: int) -> Iterator[Any]:
    """A context manager, and those that it has entered itself."""
    yield manager
    if depth <= 0:
        return
    parts = list(_attributes_of(manager).values())
    if hasattr(type(manager), "__slots__"):
        parts += gc.get_referents(manager)
    scope = getattr(manager, "cancel_scope", None) if issubclass(type(manager), _groups()) else None
    for part in (*parts, scope):
        if hasattr(type(part), "__exit__") or hasattr(type(part), "__aexit__"):
            yield from _made_of(part, depth - 1)
        else:
            yield part
        if type(part) in _FRAMES:
            for one in gc.get_referents(part):
                if type(one) is MethodType and one.__name__ in ("__exit__", "__aexit__"):
                    yield from _made_of(one.__self__, depth - 1)
                else:
                    yield one
        elif type(part) is deque:  # an exit stack
            for entry in list(part):
                for one in entry if type(entry) is tuple else (entry,):
                    if type(one) is MethodType:
                        yield from _made_of(one.__self__, depth - 1)


def _instant_of(thing: Any) -> float:
    """When something has its time, -inf if it has none. Its type is asked first: a user's object may do anything."""
    kind = type(thing)
    try:
        if callable(getattr(kind, "when", None)):
            instant = thing.when()
        elif hasattr(kind, "deadline"):
            instant = thing.deadline
        else:
            instant = _attributes_of(thing).get("deadline")
        if type(instant) not in (float, int) or _is_over(thing):
            return -inf
        return float(instant)
    except Exception:
        return -inf


def _attributes_of(thing: Any) -> dict[str, Any]:
    """What an object holds by itself; nothing is asked of it."""
    try:
        there: dict[str, Any] = object.__getattribute__(thing, "__dict__")
    except Exception:
        return {}
    return there


def _is_over(thing: Any) -> bool:
    """Whether a timer was cancelled, or a time-out is not entered any more."""
    if isinstance(thing, asyncio.Timeout):
        return getattr(getattr(thing, "_state", None), "name", "") in ("EXPIRED", "EXITED")
    if callable(getattr(type(thing), "cancelled", None)):
        return bool(thing.cancelled())
    return getattr(thing, "_active", True) is False  # anyio's scopes
