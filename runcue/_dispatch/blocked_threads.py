"""What handlers wait for in other threads: read off stacks, and off the futures that lead from one thread to another.

A thread that is started by a handler does not have its context variables (`asyncio.to_thread()` hands them over, no
other does). So it is not known by itself that it works for that handler. But if the handler waits for it, that can be
seen: by `Thread.join()`, also at the end of a `with ThreadPoolExecutor()`; by `result()` of a future, `wait()` and
`as_completed()` of `concurrent.futures`; by awaiting `loop.run_in_executor()`. From there it goes on to what that
thread is blocked by, be it a call into the event loop. Who waits for an event, a queue or the like does not tell for
whom; it may be any of the blocked threads that have the very same one among their variables.

Lives here: `waited_for`, and where the threads are that wait.

Must not know: who wants to know, what is done about it.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import concurrent.futures.thread
import queue
import sys
import threading
from collections.abc import Collection, Iterable, Iterator
from types import CodeType, FrameType
from typing import Any, Final

from runcue._dispatch.suspension import MOVING, closure_of
from runcue._dispatch.thread_calls import ThreadCalls
from runcue._dispatch.waiting import Waiting
from runcue._dispatch.whereabouts import place_of
from runcue._handlers.outputs import run_handler
from runcue._model.callables import is_of_runcue
from runcue._model.work import Work

__all__ = ["places_of_waiting", "waited_for"]

_DEEPEST: Final = 1000

_RUN_HANDLER: Final = run_handler.__code__
_POOLED: Final[CodeType | None] = getattr(
    getattr(getattr(concurrent.futures.thread, "_WorkItem", None), "run", None), "__code__", None
)
_CALL: Final = ThreadCalls._outcome_of.__code__
_WAITING: Final = frozenset(
    (threading.__file__, queue.__file__, concurrent.futures.Future.result.__code__.co_filename)
)

# Where threads wait, and in which variable it is seen for what.
_WAITS: Final = {
    threading.Thread.join.__code__: "self",
    concurrent.futures.Future.result.__code__: "self",
    concurrent.futures.Future.exception.__code__: "self",
    concurrent.futures.wait.__code__: "fs",
    concurrent.futures.as_completed.__code__: "pending",
    queue.Queue.get.__code__: "self",
    queue.Queue.put.__code__: "self",
    queue.Queue.join.__code__: "self",
    threading.Event.wait.__code__: "self",
    threading.Barrier.wait.__code__: "self",
    threading.Semaphore.acquire.__code__: "self",
}
_SHARED: Final = (
    queue.Queue,
    threading.Event,
    threading.Barrier,
    threading.Semaphore,
    asyncio.Event,
    asyncio.Queue,
)
_AWAITED: Final = (asyncio.Event.wait.__code__, asyncio.Queue.get.__code__)
_LIST: Final = 100
"""Longer lists among the variables of a thread are not looked through for what it shares."""


def waited_for(own: Iterable[Any], waiting: Waiting) -> set[Any]:
    """All that some wait for: threads by their idents, futures, asyncio tasks.

    Args:
        own: Work units whose handlers are in flight, and asyncio tasks.
        waiting: Knows what handlers and tasks wait for in the event loop.
    """
    try:
        return _waited_for(own, waiting)
    except Exception:  # of a future or an object that is somebody's own, or that is changed just now
        return set()


def _waited_for(own: Iterable[Any], waiting: Waiting) -> set[Any]:
    stacks = sys._current_frames()
    runs: dict[Any, int] = {}
    pooled: dict[Any, int] = {}
    for ident, innermost in stacks.items():
        for frame in _outwards(innermost):
            if frame.f_code is _RUN_HANDLER:
                runs[frame.f_locals.get("work")] = ident
                break
            if frame.f_code is _POOLED:
                pooled[frame.f_locals["self"].future] = ident
                break
    line: list[Any] = []
    for one in own:
        if not isinstance(one, Work):
            line.append(one)
        elif one._runner is None:
            line.append(runs.get(one))
        else:
            line += _awaited(waiting.read_handler(one))
    found: set[Any] = {None}
    while line:
        one = line.pop()
        if one in found:
            continue
        found.add(one)
        if isinstance(one, int):
            line += _blocked_by(stacks.get(one))
        elif isinstance(one, threading.Thread):
            line.append(one.ident)
        elif isinstance(one, concurrent.futures.Future):
            line.append(pooled.get(one))
            line += _chained(getattr(one, "_done_callbacks", ()))
        elif isinstance(one, _SHARED):
            line += (ident for ident, frame in stacks.items() if _blocked_by(frame) and _has(frame, one))
        elif isinstance(one, asyncio.Task):
            line += _awaited(waiting.read(one))
        else:
            line += _chained(callback for callback, _ in getattr(one, "_callbacks", None) or ())
    found.discard(None)
    return found


def places_of_waiting(awaited: Collection[Any]) -> list[str]:
    """At which lines the threads are that are blocked by something, each line once: "ask (app.py:12)".

    Args:
        awaited: Futures and asyncio tasks, by which they are.
    """
    try:
        found = {id(one) for one in awaited}
        # Of an asyncio task it is a future of their own that they see.
        for one in awaited:
            callbacks = (callback for callback, _ in getattr(one, "_callbacks", None) or ())
            found |= {id(future) for future in _chained(callbacks, "_call_set_state", "destination")}
        blocked = [
            frame
            for frame in sys._current_frames().values()
            if any(id(one) in found for one in _blocked_by(frame))
        ]
        return list(dict.fromkeys(filter(None, (place_of(list(_outwards(frame))) for frame in blocked))))
    except Exception:  # as below
        return []


def _outwards(frame: FrameType | None) -> Iterator[FrameType]:
    for _ in range(_DEEPEST):
        if frame is None:
            return
        yield frame
        frame = frame.f_back


def _awaited(found: Any) -> Iterator[Any]:
    """What a suspended task waits for, itself included."""
    if found is not None:
        yield from found.tasks
        if found.moving is not MOVING:
            yield found.moving
        if found.frames and getattr(found.frames[-1], "cr_code", None) in _AWAITED:
            yield found.frames[-1].cr_frame.f_locals.get("self")


def _blocked_by(innermost: FrameType | None) -> list[Any]:
    """What a thread is blocked by; nothing if it is not, or does not tell."""
    found: list[Any] = []
    for frame in _outwards(innermost):
        code = frame.f_code
        if code in _WAITS:
            # Those further in are how this one waits.
            there = frame.f_locals.get(_WAITS[code])
            found = list(there) if isinstance(there, set | list | tuple | frozenset) else [there]
        elif code is _CALL and found:
            # A call of runcue's own into the event loop, where it is an asyncio task.
            found.append(frame.f_locals["call"].task)
        elif code.co_filename not in _WAITING and not (found and is_of_runcue(code)):
            break
    return found


def _has(innermost: FrameType, shared: Any) -> bool:
    """Whether a thread has something among its variables, or as an attribute or a member of one of these."""
    for frame in _outwards(innermost):
        if frame.f_code.co_filename in _WAITING or is_of_runcue(frame.f_code):
            continue
        for value in frame.f_locals.values():
            if value is shared or any(one is shared for one in _parts_of(value)):
                return True
    return False


def _parts_of(value: Any) -> Iterable[Any]:
    # By its type alone: asking a user's object may run anything.
    kind = type(value)
    if kind is dict or kind is list or kind is tuple:
        return () if len(value) > _LIST else tuple(value.values() if kind is dict else value)
    if isinstance(kind.__dict__.get("__dict__"), property) or issubclass(kind, type):
        return ()
    try:
        return tuple(object.__getattribute__(value, "__dict__").values())
    except AttributeError:
        return ()


def _chained(
    callbacks: Iterable[Any], name: str = "_call_check_cancel", end: str = "source"
) -> Iterator[Any]:
    """What a future of asyncio stands for that is one of `concurrent.futures`, or the other way round."""
    for callback in callbacks:
        if getattr(callback, "__qualname__", "") == f"_chain_future.<locals>.{name}":
            yield closure_of(callback).get(end)
