"""What is done at each pass of the garbage collector, without a line of Python being executed.

Python asks for signals that have come where a function begins. During a long pass, or a long call of a C function in
which one falls, one comes easily; and what its handler raises inside of a callback of the collector is printed and
forgotten. A plain function in `gc.callbacks` loses Ctrl-C by that: of 40 that came during full passes Python 3.13 lost
40, and 3.12 lost 32. So what is done there is made of functions that are written in C, as is all that puts them
together; a function in Python is called where there is something for it, which is rare.

Lives here: `at_each_pass`, `anew`, of which its steps are made, and `next_at_each_pass`, which is
quicker.

Must not know: what the steps are for.
"""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, Literal

__all__ = ["anew", "at_each_pass", "next_at_each_pass"]


def anew(make: Callable[..., Iterable[Any]], *args: Any) -> Iterable[Any]:
    """An iterable that is made anew each time that it is gone through, such as `anew(map, print, names)`."""
    # Of a class of its own: it is there that iter() looks. Nor does it become a method.
    found: Iterable[Any] = type("anew", (), {"__iter__": staticmethod(partial(make, *args))})()
    return found


def at_each_pass(phase: Literal["start", "stop"], steps: Iterable[Any]) -> Callable[..., Any]:
    """Go through an iterable at the start or at the end of each pass.

    Args:
        phase: When.
        steps: What is gone through, made of what is written in C. What comes out of it does not matter.

    Returns:
        What was put into `gc.callbacks`.
    """
    # That is called with the phase and a dict: getattr(this, phase, the dict) goes through it if it has that attribute.
    through = {"__iter__": staticmethod(partial(iter, steps)), phase: property(partial(deque, maxlen=0))}
    callback = partial(getattr, type("at_each_pass", (), through)())
    gc.callbacks.append(callback)
    return callback


def next_at_each_pass(*, start: Iterator[Any], stop: Iterator[Any]) -> Callable[..., Any]:
    """Go one step further in an endless iterator at the start of each pass, and in another one at its end.

    Args:
        start: Made of what is written in C, such as `map(times.append, iter(monotonic, None))`.
        stop: Likewise.

    Returns:
        What was put into `gc.callbacks`.
    """
    # What a property calls with its object is next(the iterator, that object).
    steps = {"start": property(partial(next, start)), "stop": property(partial(next, stop))}
    callback = partial(getattr, type("next_at_each_pass", (), steps)())
    gc.callbacks.append(callback)
    return callback
